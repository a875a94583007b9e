/* The kernel's functions that ops.py calls.  Unless stated otherwise, they return 0, or -1 when out of memory. */
#ifndef KERNEL_H
#define KERNEL_H

#include "vectors.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- vectors.c */

/* Returns the number of threads to use: OMP_NUM_THREADS, or the number of cores that this process may use.  A forked
 * process uses one, since it lacks the threads that libgomp would wait for. */
int threads(void);

/* Returns whether all N indices are from 0 to V - 1. */
int all_below(long V, long N, const int32_t *index);

/* *sums[k] = the sum of the squares of the N[k] numbers v[k], for each of `count` k.  LANES sums of 1024 squares each
 * are computed as REAL and then added up as double. */
int sums_of_squares(long count, const long *N, const REAL *const *v, REAL *const *sums);

/* ---- products.c */

/* C (M, N) = A (M, K) . B (K, N), or C += with `accumulate`.  Strides are in numbers: a_row from row to
 * row of A, a_column from column to column; exchange them for the transpose.  C's columns are adjacent. */
int matmul(long M, long N, long K, const REAL *a, long a_row, long a_column, const REAL *b, long b_row, long b_column,
           REAL *c, long c_row, int accumulate, int n_threads);

/* ---- embedding.c */

/* out (N, D) = the columns index (N) of U (D, V), as rows. */
int take_columns(long N, long V, long D, const REAL *U, const int32_t *index, REAL *out, int n_threads);

/* The gradient of take_columns: column v of dU (D, V) = the sum of the rows n of d (N, D) for which index[n] is v. */
int add_columns(long N, long V, long D, const int32_t *index, const REAL *d, REAL *dU, int n_threads);

/* ---- layer.c */

/* Fills C (T, B, STATES*H) and h (T, B, H) from a_x (T, B, OF_U*H), W (OF_W, H, H), b (ROWS, H), cell_p (CELL_P of (H),
 * then MATRICES of (H, H)), h0 (B, H) and C0 (B, STATES*H):
 *     h[t], C[t] = cell(the rows of a_x[t] + b + W . h[t-1], C[t-1])
 * where the first OF_U rows have a_x, and the last OF_W have W.h.  h_end and C_end become h and C of the last step, or
 * h0 and C0 if T is 0.  kept (T, B, ROWS*H) gets what the backward pass needs; it may be the same memory as a_x if OF_U
 * is ROWS. */
int lstm_forward(long T, long B, long H, const REAL *a_x, const REAL *W, const REAL *b, const REAL *h0,
                 const REAL *C0, const REAL *const *cell_p, REAL *h, REAL *C, REAL *kept, REAL *h_end, REAL *C_end,
                 int n_threads);

/* The gradients da (T, B, ROWS*H), dW (OF_W, H, H), db (ROWS, H), dC0 (B, STATES*H) and d_cell_p (like cell_p), from the
 * gradient dh (T, B, H) on every h[t] and the inputs and outputs of lstm_forward.  They flow through the last
 * `truncate` steps, -1: all (truncated backpropagation); da of earlier steps is 0, and so is dC0.  da may be the same
 * memory as kept. */
int lstm_backward(long T, long B, long H, long truncate, const REAL *dh, const REAL *W, const REAL *h,
                  const REAL *C, const REAL *kept, const REAL *h0, const REAL *C0, const REAL *const *cell_p,
                  REAL *da, REAL *dW, REAL *db, REAL *dC0, REAL *const *d_cell_p, int n_threads);

/* ---- softmax.c */

/* From scores (N, V), bias (V) and targets y (N): p (N, V) = softmax(scores + bias), cost (N) = -log p[y], best (N) =
 * the indices of the largest scores, and spread (N) = the mean of -log p over all characters. */
int cross_entropy(long N, long V, const REAL *scores, const REAL *bias, const int32_t *y,
                  REAL *cost, int32_t *best, REAL *p, REAL *spread, int n_threads);

/* dscores (N, V) and dbias (V) = the gradients of cost times dcost (N) plus spread times dspread (N). */
int cross_entropy_gradient(long N, long V, const REAL *dcost, const REAL *dspread, const REAL *p,
                           const int32_t *y, REAL *dscores, REAL *dbias);

/* ---- sampling.c */

enum { MOST_LAYERS = 9 };

/* A layer of a model that writes. */
typedef struct {
    long H;
    const REAL *U, *W, *b;     /* as trained, but the first layer's U by characters: (V, OF_U*H) */
    const REAL *const *cell_p;    /* the cell's own parameters, as for lstm_forward */
    REAL *h, *C;               /* the states; those before the text become those after it */
} sampled_layer;

/* A model with V characters, and B texts.  Their first `prime` characters are known; the others are drawn, unless log_p
 * asks for predictions. */
typedef struct {
    long V, B, prime, length, layers;
    sampled_layer *layer;    /* `layers` of them, at most MOST_LAYERS */
    const REAL *Vw, *c;
    const int64_t *bits;     /* (length - prime, B): 53 random bits for each draw; NULL: take the most probable */
    int32_t *text;           /* (length, B): the first `prime` rows are known */
    double temperature;      /* scores are divided by it before the softmax */
    long top_k;              /* only the k most probable characters are drawn, */
    double top_p;            /* and of these, only the fewest that together have this share of the probability */
    REAL *panels;            /* the packed weights */
    REAL *log_p;             /* (length, B, V), or NULL: gets the log probabilities after each character of a text */
} sampling;

/* Continues the B texts.  Their last character is drawn, but not read.  With log_p, it reads all characters. */
int sample(sampling *p, int n_threads);

/* Returns how many numbers the packed weights have. */
int packed_size(const sampling *p);

/* Packs the weights into panels, before sample is called.  Returns 0. */
int pack(sampling *p);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
