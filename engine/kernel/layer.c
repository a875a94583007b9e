/* An LSTM layer over whole sequences, forward and backward: matrix products, and the cell for each unit.
 *
 * The cell is two functions, cell_forward and cell_backward, which engine/kernel/cell.py generates from the
 * formula.  cell.h declares them. */
#ifndef LAYER_C
#define LAYER_C

#include "products.c"
#include "cell.h"

/* The index of gate k of unit j of row n in an array (N, 4H).  Row n of an array (T, B, 4H) is t*B + b. */
INLINE long gate_at(long H, long n, long k, long j) { return (4 * n + k) * H + j; }

/* ---- Forward ------------------------------------------------------------------------------- */

typedef struct {
    long T, B, H;
    const REAL *a_x, *b, *h0, *C0; /* (T, B, 4H), (4, H), (B, H), (B, H) */
    const REAL *const *own;        /* the cell's own parameters, (H) each */
    REAL *kept, *C, *h;            /* (T, B, 4H), (T, B, H), (T, B, H) */
    REAL *panels;                  /* packed weights (strips of PANEL units, 4 gates, K, PANEL) */
} forward_pass;

/* Loads the cell's own parameters for the n units from j on. */
INLINE void load_own(const REAL *const *own, long j, long n, vector *to)
{
    for (long k = 0; k < OWN; k++) to[k] = load(own[k] + j, n);
}

/* The number of the panel with gate k of the strip that begins with unit `strip`, a multiple of PANEL. */
INLINE long gate_panel(long strip, long k) { return 4 * (strip / PANEL) + k; }

/* Packs weights W (4, H, K), which read K numbers, into panels numbered by gate_panel.  For the backward pass, the
 * strides of the axes of W (4, H, H) are exchanged. */
static void pack_gates(long H, long K, const REAL *W, long unit_stride, long k_stride, REAL *packed, long part,
                       long parts)
{
    const long count = 4 * panel_count(H);
    for (long i = split(count, parts, part); i < split(count, parts, part + 1); i++) {
        const long unit = i / 4 * PANEL, gate = i % 4;
        pack_panel(K, at_most(H - unit, PANEL), W + gate * H * K + unit * unit_stride, k_stride, unit_stride,
                   packed + panel_at(K, i));
    }
}

/* The size of all these panels, in numbers. */
INLINE long weights_size(long H, long K) { return panel_at(K, 4 * panel_count(H)); }

/* sums (4, rows, PANEL) = or += packed vectors (rows, K) . a strip's panels (4, K, PANEL) */
static void strip_sums(long rows, long K, const REAL *vectors, const REAL *packed, long strip, REAL *sums,
                       int accumulate)
{
    for (long k = 0; k < 4; k++)
        multiply_panel(rows, BY_ROWS, K, vectors, tile_size(K), packed + panel_at(K, gate_panel(strip, k)),
                       sums + k * rows * PANEL, PANEL, accumulate);
}

/* Computes the cell for a tile and strip at step t, from the sums W.h, (4, gate_step) with rows of PANEL.  Stores C, h
 * and what the backward pass needs, and packs h for the next step. */
static void forward_strip(const forward_pass *p, long t, long row, long rows, long strip,
                          const REAL *sums, long gate_step, REAL *packed_h)
{
    const long B = p->B, H = p->H;
    const REAL *C_before = t > 0 ? p->C + (t - 1) * B * H : p->C0; /* (B, H) */
    for (long j = strip; j < at_most(strip + PANEL, H); j += LANES) {
        const long n = at_most(H - j, LANES);
        vector own[OWN + 1];
        load_own(p->own, j, n, own);
        for (long r = 0; r < rows; r++) {
            const long at = t * B + row + r;
            const REAL *sum = sums + r * PANEL + j - strip;
            vector a[4], kept[4] = {{0}}, h, C;
            for (long k = 0; k < 4; k++)
                a[k] = load(sum + k * gate_step, LANES) + load_row(p->a_x + gate_at(H, at, k, j), n, 4 * H)
                     + load(p->b + k * H + j, n);
            cell_forward(a[0], a[1], a[2], a[3], load(C_before + (row + r) * H + j, n), own, kept, &h, &C);
            for (long k = 0; k < 4; k++) store(p->kept + gate_at(H, at, k, j), kept[k], n);
            store(p->C + at * H + j, C, n);
            store(p->h + at * H + j, h, n);
            store_words(packed_h + chunk_at(j) + r * LANES, j % DEEP, h, n);
        }
    }
}

/* The same for all tiles of a strip, sums (4, rows, PANEL). */
static void forward_tiles(const forward_pass *p, long t, long begin, long rows, long strip, const REAL *sums,
                          REAL *packed_h)
{
    for (long i = 0; i < tile_count(rows); i++) {
        const tile_rows tile = rows_of_tile(rows, i);
        forward_strip(p, t, begin + tile.first, tile.count, strip, sums + tile.first * PANEL, rows * PANEL,
                      packed_h + i * tile_size(p->H));
    }
}

/* How much scratch a thread with `rows` batch rows needs in forward_rows. */
static long forward_size(long rows, long H) { return 2 * tiles_size(rows, H) + 4 * rows * PANEL; }

/* Computes all steps of batch rows begin to end. */
static void forward_rows(const forward_pass *p, long begin, long end, REAL *memory)
{
    const long H = p->H, rows = end - begin, size = tiles_size(rows, H);
    REAL *now = memory, *next = now + size, *sums = next + size; /* packed h of this step and the next */
    memset(next, 0, size * sizeof(REAL));                        /* past unit H it stays 0 */
    pack_tiles(BY_ROWS, rows, 0, H, p->h0 + begin * H, H, 1, now);
    for (long t = 0; t < p->T; t++) {
        for (long strip = 0; strip < H; strip += PANEL) {
            strip_sums(rows, H, now, p->panels, strip, sums, 0);
            forward_tiles(p, t, begin, rows, strip, sums, next);
        }
        swap(&now, &next);
    }
}

int lstm_forward(long T, long B, long H, const REAL *a_x, const REAL *W, const REAL *b, const REAL *h0, const REAL *C0,
                 const REAL *const *own, REAL *h, REAL *C, REAL *kept, REAL *h_end, REAL *C_end, int n_threads)
{
    forward_pass p;
    p.T = T, p.B = B, p.H = H;
    p.a_x = a_x, p.b = b, p.own = own, p.h0 = h0, p.C0 = C0;
    p.kept = kept, p.C = C, p.h = h;
    const long weights = weights_size(H, H);
    const long share = forward_size((B + n_threads - 1) / n_threads, H);
    p.panels = scratch(weights + n_threads * share);
    if (!p.panels) return -1;
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++) pack_gates(H, H, W, H, 1, p.panels, i, n_threads);
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++)
        forward_rows(&p, split(B, n_threads, i), split(B, n_threads, i + 1), p.panels + weights + i * share);
    memcpy(h_end, T > 0 ? h + (T - 1) * B * H : h0, B * H * sizeof(REAL));
    memcpy(C_end, T > 0 ? C + (T - 1) * B * H : C0, B * H * sizeof(REAL));
    return 0;
}

/* ---- Backward ------------------------------------------------------------------------------ */

typedef struct {
    long T, B, H, first;
    const REAL *const *own;             /* the cell's own parameters, (H) each */
    const REAL *kept, *C, *C0, *dh;     /* (T, B, 4H), (T, B, H), (B, H), (T, B, H) */
    REAL *da;                           /* (T, B, 4H) */
    REAL *dC;                           /* (B, H), the gradient on C[t] that comes back from step t+1 */
    REAL *panels;                       /* packed weights (strips of PANEL units, 4 gates, words(H), PANEL) */
} backward_pass;

/* Computes the gradient of the cell for a tile and strip at step t, from the sums da[t+1].W, rows of PANEL.  Stores da
 * of step t, and packs it for step t-1.  Replaces dC, the gradient on C[t], by that on C[t-1].  Adds da and the
 * gradients of the cell's own parameters to db (4 + OWN, round_up(H, LANES)). */
static void backward_strip(const backward_pass *p, long t, long row, long rows, long strip,
                           const REAL *sums, REAL *packed_da, REAL *db)
{
    const long B = p->B, H = p->H, depth = round_up(H, LANES);
    const REAL *C_before = t > 0 ? p->C + (t - 1) * B * H : p->C0; /* (B, H) */
    for (long j = strip; j < at_most(strip + PANEL, H); j += LANES) {
        const long n = at_most(H - j, LANES);
        vector own[OWN + 1], total[4 + OWN] = {{0}};
        load_own(p->own, j, n, own);
        for (long r = 0; r < rows; r++) {
            const long at = t * B + row + r, at_state = (row + r) * H + j;
            const vector dh = load_row(p->dh + at * H + j, n, H) + load(sums + r * PANEL + j - strip, LANES);
            vector kept[4], d[4 + OWN], dC;
            for (long k = 0; k < KEPT; k++) kept[k] = load_row(p->kept + gate_at(H, at, k, j), n, 4 * H);
            cell_backward(kept, load_row(C_before + at_state, n, H), load_row(p->C + at * H + j, n, H), own, dh,
                          load(p->dC + at_state, n), d, &dC, d + 4);
            store(p->dC + at_state, dC, n);
            for (long k = 4; k < 4 + OWN; k++) total[k] += d[k];
            for (long k = 0; k < 4; k++) {
                total[k] += d[k];
                store(p->da + gate_at(H, at, k, j), d[k], n);
                store_words(packed_da + k * tile_size(H) + chunk_at(j) + r * LANES, j % DEEP, d[k], n);
            }
        }
        for (long k = 0; k < 4 + OWN; k++)
            store(db + k * depth + j, load(db + k * depth + j, LANES) + total[k], LANES);
    }
}

/* How much scratch a thread with `rows` batch rows needs in backward_rows. */
static long backward_size(long rows, long H)
{
    return 8 * tiles_size(rows, H) + rows * PANEL;
}

/* sums (rows, PANEL) = packed da (rows, 4H) . strip's panel of W4 (4H, PANEL), gate after gate: one
 * gate's panel fits into the first-level cache. */
static void backward_sums(const backward_pass *p, long rows, const REAL *packed_da, long strip, REAL *sums)
{
    const long H = p->H;
    for (long k = 0; k < 4; k++)
        multiply_panel(rows, BY_ROWS, H, packed_da + k * tile_size(H), 4 * tile_size(H),
                       p->panels + panel_at(H, gate_panel(strip, k)), sums, PANEL, k > 0);
}

/* Computes steps T-1 down to `first` of batch rows begin to end. */
static void backward_rows(const backward_pass *p, long begin, long end, REAL *db, REAL *memory)
{
    const long B = p->B, H = p->H, rows = end - begin, size = 4 * tiles_size(rows, H);
    REAL *now = memory, *next = now + size, *sums = next + size; /* packed da of steps t+1 and t */
    memset(memory, 0, backward_size(rows, H) * sizeof(REAL));    /* no da[T]; past unit H it stays 0 */
    memset(db, 0, (4 + OWN) * round_up(H, LANES) * sizeof(REAL));
    memset(p->dC + begin * H, 0, rows * H * sizeof(REAL));
    for (long t = p->T - 1; t >= p->first; t--) {
        for (long strip = 0; strip < H; strip += PANEL) {
            if (t < p->T - 1) backward_sums(p, rows, now, strip, sums);
            for (long i = 0; i < tile_count(rows); i++) {
                const tile_rows tile = rows_of_tile(rows, i);
                backward_strip(p, t, begin + tile.first, tile.count, strip, sums + tile.first * PANEL,
                               next + i * 4 * tile_size(H), db);
            }
        }
        swap(&now, &next);
    }
    for (long t = 0; t < p->first; t++)
        memset(p->da + (t * B + begin) * 4 * H, 0, rows * 4 * H * sizeof(REAL));
}

/* db (4, H) and d_own (OWN of (H)) = the sums of the threads' parts, each (4 + OWN, round_up(H, LANES)) */
static void add_up_db(long H, const REAL *parts, int n_threads, REAL *db, REAL *const *d_own)
{
    const long depth = round_up(H, LANES);
    for (long k = 0; k < 4 + OWN; k++) {
        REAL *sum = k < 4 ? db + k * H : d_own[k - 4];
        for (long j = 0; j < H; j++) {
            sum[j] = 0;
            for (int i = 0; i < n_threads; i++) sum[j] += parts[((4 + OWN) * i + k) * depth + j];
        }
    }
}

/* dW (4H, H) = the sum over steps t >= first of  da[t]^T . h[t-1],  with h[-1] = h0 */
static int backward_weights(long T, long B, long H, long first, const REAL *da, const REAL *h,
                            const REAL *h0, REAL *dW, int n_threads)
{
    const int with_h0 = first == 0 && T > 0;
    const long start = with_h0 ? 1 : first;
    if (with_h0 && matmul(4 * H, H, B, da, 1, 4 * H, h0, H, 1, dW, H, 0, n_threads)) return -1;
    return matmul(4 * H, H, (T - start) * B, da + start * B * 4 * H, 1, 4 * H,
                  h + (start - 1) * B * H, H, 1, dW, H, with_h0, n_threads);
}

int lstm_backward(long T, long B, long H, long truncate, const REAL *dh, const REAL *W, const REAL *h, const REAL *C,
                  const REAL *kept, const REAL *h0, const REAL *C0, const REAL *const *own, REAL *da, REAL *dW,
                  REAL *db, REAL *const *d_own, int n_threads)
{
    backward_pass p;
    p.T = T, p.B = B, p.H = H, p.first = truncate < 0 || truncate > T ? 0 : T - truncate;
    p.own = own, p.kept = kept, p.C = C, p.C0 = C0;
    p.dh = dh, p.da = da;
    const long weights = weights_size(H, H), db_size = (4 + OWN) * round_up(H, LANES);
    const long share = backward_size((B + n_threads - 1) / n_threads, H);
    p.panels = scratch(weights + n_threads * (db_size + share) + B * H);
    if (!p.panels) return -1;
    REAL *db_parts = p.panels + weights, *memory = db_parts + n_threads * db_size;
    p.dC = memory + n_threads * share;
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++) pack_gates(H, H, W, 1, H, p.panels, i, n_threads);
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++)
        backward_rows(&p, split(B, n_threads, i), split(B, n_threads, i + 1), db_parts + i * db_size,
                      memory + i * share);
    add_up_db(H, db_parts, n_threads, db, d_own);
    return backward_weights(T, B, H, p.first, da, h, h0, dW, n_threads);
}

#endif
