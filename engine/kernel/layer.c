/* An LSTM layer over whole sequences, forward and backward: matrix products, and the cell for each unit, the functions
 * cell_forward and cell_backward, which engine/graph/in_c.py generates from the formula.  cell.h declares them. */
#ifndef LAYER_C
#define LAYER_C

#include "products.c"
#include "cell.h"

enum { FIRST_OF_W = ROWS - OF_W }; /* rows of the cell before it read the input only, those from OF_U on h only */
enum { STRIP_SUMS = ROWS + AT_ONCE }; /* of a strip: of the rows, and then products for other stages than the first */

/* The index of number k of unit j of row n in an array (N, count * H).  Row n of an array (T, B, ...) is t*B + b. */
INLINE long number_at(long count, long H, long n, long k, long j) { return (count * n + k) * H + j; }

/* ---- Forward ------------------------------------------------------------------------------- */

typedef struct {
    long T, B, H;
    const REAL *a_x, *b, *h0, *C0; /* (T, B, OF_U*H), (ROWS, H), (B, H), (B, STATES*H) */
    const REAL *const *cell_p;        /* the cell's own parameters, (H) each, and matrices, (H, H) */
    REAL *kept, *C, *h;            /* (T, B, ROWS*H), (T, B, STATES*H), (T, B, H) */
    REAL *panels;                  /* packed weights (strips of PANEL units, OF_W rows, K, PANEL) */
    REAL *matrices;                /* the packed matrices of forward_products (strips, K, PANEL) */
    const REAL *W;                 /* (OF_W, H, H), if they are not packed, for one step of few rows */
} forward_pass;

/* Loads the cell's own parameters for the n units from j on. */
INLINE void load_cell_p(const REAL *const *cell_p, long j, long n, vector *to)
{
    for (long k = 0; k < CELL_P; k++) to[k] = load(cell_p[k] + j, n);
}

/* Packs weights W (count, H, K), which read K numbers, into panels: those of a strip of PANEL units are adjacent.  For
 * the backward pass, the strides of the axes of W (count, H, H) are exchanged. */
static void pack_weights(long count, long H, long K, const REAL *W, long unit_stride, long k_stride, REAL *packed,
                         long part, long parts)
{
    const long all = count * panel_count(H);
    for (long i = split(all, parts, part); i < split(all, parts, part + 1); i++) {
        const long unit = i / count * PANEL;
        pack_panel(K, at_most(H - unit, PANEL), W + i % count * H * K + unit * unit_stride, k_stride, unit_stride,
                   packed + panel_at(K, i));
    }
}

/* The size of all these panels, in numbers. */
INLINE long weights_size(long count, long H, long K) { return panel_at(K, count * panel_count(H)); }

/* Packs the matrix of each product of the cell, as multiply_vectors reads them. */
static void pack_matrices(const cell_product *products, long count, long H, const REAL *const *cell_p, REAL *packed,
                          long part, long parts)
{
    for (long k = 0; k < count; k++) {
        const int transposed = products[k].transposed;
        pack_weights(1, H, H, cell_p[CELL_P + products[k].matrix], transposed ? H : 1, transposed ? 1 : H,
                     packed + weights_size(k, H, H), part, parts);
    }
}

/* The panels of the strip that begins with unit `strip`, a multiple of PANEL. */
INLINE const REAL *panels_of(const REAL *packed, long count, long K, long strip)
{
    return packed + panel_at(K, count * (strip / PANEL));
}

/* sums (ROWS, rows, PANEL) += packed vectors (rows, K) . a strip's panels (count, K, PANEL), for rows of the cell from
 * `first` on.  Those from `fresh` on are set, not added to. */
static void strip_sums(long rows, long first, long count, long fresh, long K, const REAL *vectors, const REAL *panels,
                       REAL *sums)
{
    for (long k = 0; k < count; k++)
        multiply_panel(rows, BY_ROWS, K, vectors, tile_size(K), panels + panel_at(K, k),
                       sums + (first + k) * rows * PANEL, PANEL, first + k < fresh);
}

/* Computes a stage of the cell for a tile's n units from j on at step t: the first one from the sums W.h, (ROWS,
 * row_step) with rows of PANEL, and others from products in their place.  The last one stores the states, h and what
 * the backward pass needs, and packs h for the next step.  tile: rows of a thread. */
INLINE void forward_units(const forward_pass *p, const int stage, long t, const stage_rows *rows, tile_rows tile,
                          long j, const long n, const REAL *sums, long row_step, REAL *packed_h)
{
    const long B = p->B, H = p->H;
    const REAL *C_before = t > 0 ? p->C + (t - 1) * B * STATES * H : p->C0; /* (B, STATES*H) */
    vector cell_p[CELL_P + 1];
    load_cell_p(p->cell_p, j, n, cell_p);
    for (long r = 0; r < tile.count; r++) {
        const long row = rows->begin + tile.first + r, at = t * B + row, at_words = words_at(tile, H, r, j);
        between m = between_of(rows, H, tile.first + r, at_words, j, n);
        m.products = sums + r * PANEL, m.product_step = row_step;
        vector a[ROWS], kept[ROWS], before[STATES], after[STATES], h;
        for (long k = 0; k < ROWS && stage == 0; k++) {
            a[k] = load(sums + r * PANEL + k * row_step, LANES);
            if (k < OF_U) a[k] += load_row(p->a_x + number_at(OF_U, H, at, k, j), n, OF_U * H);
            a[k] += load(p->b + k * H + j, n);
        }
        for (long s = 0; s < STATES; s++) before[s] = load(C_before + number_at(STATES, H, row, s, j), n);
        cell_forward(stage, &m, a, before, cell_p, kept, &h, after);
        if (stage + 1 < STAGES) continue;
        for (long k = 0; k < KEPT; k++) store(p->kept + number_at(ROWS, H, at, k, j), kept[k], n);
        for (long s = 0; s < STATES; s++) store(p->C + number_at(STATES, H, at, s, j), after[s], n);
        store(p->h + at * H + j, h, n);
        store_words(packed_h + at_words, j % DEEP, h, n);
    }
}

/* The same for all units of a strip.  Whole vectors have code of their own, without calls that copy a part. */
INLINE void forward_strip(const forward_pass *p, const int stage, long t, const stage_rows *rows, tile_rows tile,
                          long strip, const REAL *sums, long row_step, REAL *packed_h)
{
    for (long j = strip; j < at_most(strip + PANEL, p->H); j += LANES)
        if (j + LANES <= p->H)
            forward_units(p, stage, t, rows, tile, j, LANES, sums + j - strip, row_step, packed_h);
        else forward_units(p, stage, t, rows, tile, j, p->H - j, sums + j - strip, row_step, packed_h);
}

/* The same for all tiles of a strip, sums (ROWS, rows, PANEL), or products (AT_ONCE, rows, PANEL). */
INLINE void forward_tiles(const forward_pass *p, const int stage, long t, const stage_rows *rows, long strip,
                          const REAL *sums, REAL *packed_h)
{
    for (long i = 0; i < tile_count(rows->count); i++) {
        const tile_rows tile = rows_of_tile(rows->count, i);
        forward_strip(p, stage, t, rows, tile, strip, sums + tile.first * PANEL, rows->count * PANEL, packed_h);
    }
}

/* Computes the first stage of a strip: one function for all callers, which compiles faster than a copy in each. */
static void first_stage(const forward_pass *p, long t, const stage_rows *rows, long strip, const REAL *sums,
                        REAL *packed_h)
{
    forward_tiles(p, 0, t, rows, strip, sums, packed_h);
}

/* The first unit of strip i in step t.  Every other step begins with the strips, and thus the weights, that the step
 * before it ended with: they are still in the nearer caches, which may be too small for all. */
INLINE long strip_at(long H, long t, long i) { return (t % 2 ? panel_count(H) - 1 - i : i) * PANEL; }

/* Computes what a stage, not the first one, computes once for each row. */
static void stage_of_rows(const forward_pass *p, int stage, const stage_rows *rows)
{
    for (long r = 0; r < rows->count; r++) {
        const between m = between_of(rows, p->H, r, 0, 0, 0);
        cell_forward_row(stage, &m);
    }
}

/* Computes the rest of that stage for a strip; products is scratch.  Unrolled, k is a constant: each stage has code of
 * its own, which loads only what it reads. */
static void later_stage(const forward_pass *p, int stage, long t, const stage_rows *rows, long strip,
                        REAL *products, REAL *packed_h)
{
    UNROLLED
    for (int k = 1; k < STAGES; k++)
        if (k == stage) {
            multiply_vectors(forward_products, PRODUCTS, k, rows, p->H, strip, p->matrices, products);
            forward_tiles(p, k, t, rows, strip, products, packed_h);
        }
}

/* How much scratch a thread with `rows` batch rows needs in forward_rows. */
static long forward_size(long rows, long H)
{
    return 2 * tiles_size(rows, H) + STRIP_SUMS * rows * PANEL + between_size(rows, H);
}

/* Computes all steps of batch rows begin to end. */
static void forward_rows(const forward_pass *p, long begin, long end, REAL *memory)
{
    WITHOUT_SUBNORMALS
    const long H = p->H, rows = end - begin, size = tiles_size(rows, H);
    REAL *now = memory, *next = now + size, *sums = next + size; /* packed h of this step and the next */
    REAL *products = sums + ROWS * rows * PANEL;
    const stage_rows of_thread = {begin, rows, sums + STRIP_SUMS * rows * PANEL};
    memset(next, 0, size * sizeof(REAL));                        /* past unit H it stays 0 */
    memset(sums, 0, FIRST_OF_W * rows * PANEL * sizeof(REAL));   /* these rows stay 0 */
    memset(of_thread.memory, 0, VECTORS * size * sizeof(REAL));  /* as above */
    pack_tiles(BY_ROWS, rows, 0, H, p->h0 + begin * H, H, 1, now);
    set_tiles();
    for (long t = 0; t < p->T; t++) {
        for (long i = 0; i < panel_count(H); i++) {
            const long strip = strip_at(H, t, i);
            if (p->W)
                for (long k = 0; k < OF_W; k++)
                    multiply_few(rows, at_most(H - strip, PANEL), H, p->h0 + begin * H, H, p->W + (k * H + strip) * H, H,
                                 sums + (FIRST_OF_W + k) * rows * PANEL, PANEL, 0);
            else
                strip_sums(rows, FIRST_OF_W, OF_W, 0, H, now, panels_of(p->panels, OF_W, H, strip), sums);
            first_stage(p, t, &of_thread, strip, sums, next);
        }
        for (int stage = 1; stage < STAGES; stage++) {
            stage_of_rows(p, stage, &of_thread);
            for (long i = 0; i < panel_count(H); i++)
                later_stage(p, stage, t, &of_thread, strip_at(H, t, i), products, next);
        }
        swap(&now, &next);
    }
}

int lstm_forward(long T, long B, long H, const REAL *a_x, const REAL *W, const REAL *b, const REAL *h0, const REAL *C0,
                 const REAL *const *cell_p, REAL *h, REAL *C, REAL *kept, REAL *h_end, REAL *C_end, int n_threads)
{
    forward_pass p;
    p.T = T, p.B = B, p.H = H;
    p.a_x = a_x, p.b = b, p.cell_p = cell_p, p.h0 = h0, p.C0 = C0;
    p.kept = kept, p.C = C, p.h = h;
    p.W = T == 1 && are_few(B) ? W : NULL;
    if (p.W || (double)T * B * ROWS * H * H < WORTH_THREADS) n_threads = 1;
    const long weights = p.W ? 0 : weights_size(OF_W, H, H), matrices = weights_size(PRODUCTS, H, H);
    const long states = B * STATES * H, share = forward_size((B + n_threads - 1) / n_threads, H);
    p.panels = scratch(0, weights + matrices + n_threads * share);
    if (!p.panels) return -1;
    p.matrices = p.panels + weights;
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++) {
        if (!p.W) pack_weights(OF_W, H, H, W, H, 1, p.panels, i, n_threads);
        pack_matrices(forward_products, PRODUCTS, H, cell_p, p.matrices, i, n_threads);
    }
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++)
        forward_rows(&p, split(B, n_threads, i), split(B, n_threads, i + 1), p.matrices + matrices + i * share);
    memcpy(h_end, T > 0 ? h + (T - 1) * B * H : h0, B * H * sizeof(REAL));
    memcpy(C_end, T > 0 ? C + (T - 1) * states : C0, states * sizeof(REAL));
    return 0;
}

/* ---- Backward ------------------------------------------------------------------------------ */

typedef struct {
    long T, B, H, first;
    const REAL *const *cell_p;             /* the cell's own parameters, (H) each, and matrices, (H, H) */
    const REAL *kept, *C, *C0, *dh;     /* (T, B, ROWS*H), (T, B, STATES*H), (B, STATES*H), (T, B, H) */
    REAL *da;                           /* (T, B, ROWS*H) */
    REAL *factors;                      /* (T, B, FACTORS*H) */
    REAL *dC;                           /* (B, STATES*H), the gradient on C[t] that comes back from step t+1 */
    REAL *panels;                       /* packed weights (strips of PANEL units, OF_W rows, words(H), PANEL) */
    REAL *matrices;                     /* the packed matrices of backward_products */
} backward_pass;

/* Computes a stage of the cell's gradient for a tile's n units from j on at step t: the first one from the sums
 * da[t+1].W, rows of PANEL, and others from products in their place.  The last one stores da of step t, and packs it for
 * step t-1.  It replaces dC, the gradient on C[t], by that on C[t-1], and adds da and the gradients of the cell's own
 * parameters to db (ROWS + CELL_P, round_up(H, LANES)). */
INLINE void backward_units(const backward_pass *p, const int stage, long t, const stage_rows *rows, tile_rows tile,
                           long j, const long n, const REAL *sums, REAL *packed_da, REAL *db)
{
    const long B = p->B, H = p->H, depth = round_up(H, LANES), states = STATES * H;
    const REAL *C_before = t > 0 ? p->C + (t - 1) * B * states : p->C0; /* (B, STATES*H) */
    vector cell_p[CELL_P + 1], d_sums[ROWS + CELL_P] = {{0}};
    load_cell_p(p->cell_p, j, n, cell_p);
    for (long r = 0; r < tile.count; r++) {
        const long row = rows->begin + tile.first + r, at = t * B + row, at_state = row * states + j;
        between m = between_of(rows, H, tile.first + r, words_at(tile, H, r, j), j, n);
        m.products = sums + r * PANEL, m.product_step = rows->count * PANEL;
        vector dh = {0}, kept[ROWS], d[ROWS + CELL_P], factors[FACTORS + 1];
        vector before[STATES], after[STATES], dC[STATES], dC_before[STATES];
        if (stage == 0) dh = load_row(p->dh + at * H + j, n, H) + load(sums + r * PANEL, LANES);
        for (long k = 0; k < KEPT; k++) kept[k] = load_row(p->kept + number_at(ROWS, H, at, k, j), n, ROWS * H);
        for (long s = 0; s < STATES; s++) {
            before[s] = load_row(C_before + at_state + s * H, n, states);
            after[s] = load_row(p->C + at * states + s * H + j, n, states);
            dC[s] = load(p->dC + at_state + s * H, n);
        }
        cell_backward(stage, &m, kept, before, after, cell_p, dh, dC, d, dC_before, d + ROWS, factors);
        if (stage + 1 < BACKWARD_STAGES) continue;
        for (long k = 0; k < FACTORS; k++) store(p->factors + number_at(FACTORS, H, at, k, j), factors[k], n);
        for (long s = 0; s < STATES; s++) store(p->dC + at_state + s * H, dC_before[s], n);
        for (long k = ROWS; k < ROWS + CELL_P; k++) d_sums[k] += d[k];
        for (long k = 0; k < ROWS; k++) {
            d_sums[k] += d[k];
            store(p->da + number_at(ROWS, H, at, k, j), d[k], n);
            if (k >= FIRST_OF_W)
                store_words(packed_da + (k - FIRST_OF_W) * tile_size(H) + chunk_at(j) + r * LANES, j % DEEP, d[k],
                            n);
        }
    }
    if (stage + 1 == BACKWARD_STAGES)
        for (long k = 0; k < ROWS + CELL_P; k++)
            store(db + k * depth + j, load(db + k * depth + j, LANES) + d_sums[k], LANES);
}

/* The same for all tiles of a strip, sums (rows, PANEL), or products (AT_ONCE, rows, PANEL). */
INLINE void backward_tiles(const backward_pass *p, const int stage, long t, const stage_rows *rows, long strip,
                           const REAL *sums, REAL *packed_da, REAL *db)
{
    for (long i = 0; i < tile_count(rows->count); i++) {
        const tile_rows tile = rows_of_tile(rows->count, i);
        const REAL *of_tile = sums + tile.first * PANEL - strip;
        REAL *packed = packed_da + i * OF_W * tile_size(p->H);
        for (long j = strip; j < at_most(strip + PANEL, p->H); j += LANES)
            if (j + LANES <= p->H) backward_units(p, stage, t, rows, tile, j, LANES, of_tile + j, packed, db);
            else backward_units(p, stage, t, rows, tile, j, p->H - j, of_tile + j, packed, db);
    }
}

/* Computes the stages after the first one, unrolled as in later_stage.  products is scratch. */
static void backward_stages(const backward_pass *p, long t, const stage_rows *rows, REAL *products, REAL *packed_da,
                            REAL *db)
{
    UNROLLED
    for (int stage = 1; stage < BACKWARD_STAGES; stage++) {
        for (long r = 0; r < rows->count; r++) {
            const between m = between_of(rows, p->H, r, 0, 0, 0);
            cell_backward_row(stage, &m);
        }
        for (long i = 0; i < panel_count(p->H); i++) {
            const long strip = strip_at(p->H, t, i);
            multiply_vectors(backward_products, BACKWARD_PRODUCTS, stage, rows, p->H, strip, p->matrices,
                             products);
            backward_tiles(p, stage, t, rows, strip, products, packed_da, db);
        }
    }
}

/* How much scratch a thread with `rows` batch rows needs in backward_rows. */
static long backward_size(long rows, long H)
{
    return 2 * OF_W * tiles_size(rows, H) + STRIP_SUMS * rows * PANEL + between_size(rows, H);
}

/* sums (rows, PANEL) = packed da (rows, OF_W*H) . strip's panel of W (OF_W*H, PANEL), row after row of the cell: the
 * panel of one fits into the first-level cache. */
static void backward_sums(const backward_pass *p, long rows, const REAL *packed_da, long strip, REAL *sums)
{
    const long H = p->H;
    const REAL *panels = panels_of(p->panels, OF_W, H, strip);
    for (long k = 0; k < OF_W; k++)
        multiply_panel(rows, BY_ROWS, H, packed_da + k * tile_size(H), OF_W * tile_size(H), panels + panel_at(H, k),
                       sums, PANEL, k > 0);
}

/* Computes steps T-1 down to `first` of batch rows begin to end. */
static void backward_rows(const backward_pass *p, long begin, long end, REAL *db, REAL *memory)
{
    WITHOUT_SUBNORMALS
    const long B = p->B, H = p->H, rows = end - begin, size = OF_W * tiles_size(rows, H);
    REAL *now = memory, *next = now + size, *sums = next + size; /* packed da of steps t+1 and t */
    const stage_rows of_thread = {begin, rows, sums + STRIP_SUMS * rows * PANEL};
    memset(memory, 0, backward_size(rows, H) * sizeof(REAL));    /* no da[T]; past unit H it stays 0 */
    memset(db, 0, (ROWS + CELL_P) * round_up(H, LANES) * sizeof(REAL));
    memset(p->dC + begin * STATES * H, 0, rows * STATES * H * sizeof(REAL));
    set_tiles();
    for (long t = p->T - 1; t >= p->first; t--) {
        for (long i = 0; i < panel_count(H); i++) {
            const long strip = strip_at(H, t, i);
            if (t < p->T - 1) backward_sums(p, rows, now, strip, sums);
            backward_tiles(p, 0, t, &of_thread, strip, sums, next, db);
        }
        backward_stages(p, t, &of_thread, sums + rows * PANEL, next, db);
        swap(&now, &next);
    }
    for (long t = 0; t < p->first; t++)
        memset(p->da + (t * B + begin) * ROWS * H, 0, rows * ROWS * H * sizeof(REAL));
}

/* db (ROWS, H) and d_cell_p (CELL_P of (H)) = the sums of the threads' parts, each (ROWS + CELL_P, round_up(H, LANES)) */
static void add_up_db(long H, const REAL *parts, int n_threads, REAL *db, REAL *const *d_cell_p)
{
    const long depth = round_up(H, LANES);
    for (long k = 0; k < ROWS + CELL_P; k++) {
        REAL *sum = k < ROWS ? db + k * H : d_cell_p[k - ROWS];
        for (long j = 0; j < H; j++) {
            sum[j] = 0;
            for (int i = 0; i < n_threads; i++) sum[j] += parts[((ROWS + CELL_P) * i + k) * depth + j];
        }
    }
}

/* dW (OF_W*H, H) = the sum over steps t >= first of  da[t]^T . h[t-1],  with h[-1] = h0, for the last rows of da */
static int backward_weights(long T, long B, long H, long first, const REAL *da, const REAL *h,
                            const REAL *h0, REAL *dW, int n_threads)
{
    const int with_h0 = first == 0 && T > 0;
    const long start = with_h0 ? 1 : first, width = ROWS * H;
    da += FIRST_OF_W * H;
    if (with_h0 && matmul(OF_W * H, H, B, da, 1, width, h0, H, 1, dW, H, 0, n_threads)) return -1;
    return matmul(OF_W * H, H, (T - start) * B, da + start * B * width, 1, width,
                  h + (start - 1) * B * H, H, 1, dW, H, with_h0, n_threads);
}

/* Number k of da and factors, (T * B, H): its first row, and the distance from row to row. */
typedef struct { const REAL *first; long step; } factor;

INLINE factor factor_of(const backward_pass *p, long k)
{
    const factor of_da = {p->da + k * p->H, ROWS * p->H}, other = {p->factors + (k - ROWS) * p->H, FACTORS * p->H};
    return k < ROWS ? of_da : other;
}

/* The gradients of the cell's own matrices, (H, H) each: sums over steps t >= first of  v[t]^T . g[t] */
static int backward_matrices(const backward_pass *p, REAL *const *d_matrices, int n_threads)
{
    const long H = p->H, first = p->first * p->B, N = (p->T - p->first) * p->B;
    for (long k = 0; k < MATRICES; k++) memset(d_matrices[k], 0, H * H * sizeof(REAL));
    for (long k = 0; k < PAIRS; k++) {
        const factor v = factor_of(p, factor_pairs[k].v), g = factor_of(p, factor_pairs[k].g);
        if (matmul(H, H, N, v.first + first * v.step, 1, v.step, g.first + first * g.step, g.step, 1,
                   d_matrices[factor_pairs[k].matrix], H, 1, n_threads)) return -1;
    }
    return 0;
}

int lstm_backward(long T, long B, long H, long truncate, const REAL *dh, const REAL *W, const REAL *h, const REAL *C,
                  const REAL *kept, const REAL *h0, const REAL *C0, const REAL *const *cell_p, REAL *da, REAL *dW,
                  REAL *db, REAL *dC0, REAL *const *d_cell_p, int n_threads)
{
    backward_pass p;
    p.T = T, p.B = B, p.H = H, p.first = truncate < 0 || truncate > T ? 0 : T - truncate;
    p.cell_p = cell_p, p.kept = kept, p.C = C, p.C0 = C0;
    p.dh = dh, p.da = da, p.dC = dC0;
    const long weights = weights_size(OF_W, H, H), db_size = (ROWS + CELL_P) * round_up(H, LANES);
    const long share = backward_size((B + n_threads - 1) / n_threads, H);
    const long matrices = weights_size(BACKWARD_PRODUCTS, H, H);
    p.panels = scratch(0, weights + matrices + n_threads * (db_size + share));
    p.factors = scratch(1, T * B * FACTORS * H);             /* kept while matmul uses the other one */
    if (!p.panels || !p.factors) return -1;
    p.matrices = p.panels + weights;
    REAL *db_parts = p.matrices + matrices, *memory = db_parts + n_threads * db_size;
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++) {
        pack_weights(OF_W, H, H, W, 1, H, p.panels, i, n_threads);
        pack_matrices(backward_products, BACKWARD_PRODUCTS, H, cell_p, p.matrices, i, n_threads);
    }
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++)
        backward_rows(&p, split(B, n_threads, i), split(B, n_threads, i + 1), db_parts + i * db_size,
                      memory + i * share);
    if (p.first) memset(dC0, 0, B * STATES * H * sizeof(REAL));
    add_up_db(H, db_parts, n_threads, db, d_cell_p);
    if (backward_matrices(&p, d_cell_p + CELL_P, n_threads)) return -1;
    return backward_weights(T, B, H, p.first, da, h, h0, dW, n_threads);
}

#endif
