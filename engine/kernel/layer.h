/* A step of a layer in parts, for layer.c, which runs them over whole sequences, and sampling.c, over two layers. */
#ifndef LAYER_H
#define LAYER_H

#include "products.h"

typedef struct {
    long T, B, H;
    const REAL *a_x, *b, *h0, *C0; /* (T, B, 4H), (4, H), (B, H), (B, H) */
    const REAL *const *own;        /* the cell's own parameters, (H) each */
    REAL *kept, *C, *h;            /* (T, B, 4H), (T, B, H), (T, B, H) */
    REAL *panels;                  /* packed weights (strips of PANEL units, 4 gates, K, PANEL) */
} forward_pass;

/* The panels, by gate_panel, of weights W (4, H, K) that read K numbers.  For the backward pass, W (4, H, H) with the
 * strides of its axes exchanged. */
void pack_gates(long H, long K, const REAL *W, long unit_stride, long k_stride, REAL *packed, long part, long parts);

/* How many numbers all these panels have. */
INLINE long weights_size(long H, long K) { return panel_at(K, 4 * panel_count(H)); }

/* sums (4, rows, PANEL) = or += packed vectors (rows, K) . a strip's panels (4, K, PANEL) */
void strip_sums(long rows, long K, const REAL *vectors, const REAL *packed, long strip, REAL *sums, int accumulate);

/* The cell of all tiles of a strip at step t, from the sums W.h, (4, rows, PANEL): C, h and what is kept for the
 * backward pass.  h is also packed for the next step. */
void forward_tiles(const forward_pass *p, long t, long begin, long rows, long strip, const REAL *sums, REAL *packed_h);

#endif
