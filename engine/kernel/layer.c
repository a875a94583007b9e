/* An LSTM layer forward and backward over a whole sequence: products, and the cell of engine/kernel/cell.py for each unit. */

/* ---- LSTM forward -------------------------------------------------------------------------- */

typedef struct {
    long T, B, H;
    const REAL *pre, *b, *h0, *c0; /* (T, B, 4H), (4, H), (B, H), (B, H) */
    const REAL *const *own;        /* the cell's own parameters, (H) each */
    REAL *kept, *cells, *h;        /* (T, B, 4H), (T, B, H), (T, B, H) */
    REAL *panels;                  /* packed weights (strips of PANEL units, 4 gates, K, PANEL) */
} forward_pass;

/* The cell's own parameters of n units from j on. */
INLINE void load_own(const REAL *const *own, long j, long n, vector *to)
{
    for (long k = 0; k < OWN; k++) to[k] = load(own[k] + j, n);
}

/* The panels of weights W (4, H, K) that read K numbers: panel 4*s + k has gate k of strip s, the units
 * from s*PANEL on. */
static void pack_forward(long H, long K, const REAL *W, REAL *packed, long part, long parts)
{
    const long panels = 4 * (round_up(H, PANEL) / PANEL);
    for (long i = split(panels, parts, part); i < split(panels, parts, part + 1); i++) {
        const long unit = i / 4 * PANEL, k = i % 4;
        pack_panel(K, at_most(H - unit, PANEL), W + (k * H + unit) * K, 1, K,
                   packed + i * round_up(K, LANES) * PANEL);
    }
}

/* How many numbers these panels have. */
INLINE long weights_size(long H, long K) { return 4 * round_up(H, PANEL) * round_up(K, LANES); }

/* sums (4, rows, PANEL) = or += packed vectors (rows, K) . a strip's panels (4, K, PANEL) */
static void strip_sums(long rows, long K, const REAL *vectors, const REAL *packed, long strip, REAL *sums,
                       int accumulate)
{
    const long depth = round_up(K, LANES);
    for (long k = 0; k < 4; k++)
        multiply_panel(rows, BY_ROWS, K, vectors, tile_size(K), packed + (4 * strip + k * PANEL) * depth,
                       sums + k * rows * PANEL, PANEL, accumulate);
}

/* From the sums W.h of a tile and strip, (4, gate_step) with rows of PANEL, the tile's cells and h of step t, and what
 * is kept for the backward pass; h also packed, for the next step. */
static void forward_strip(const forward_pass *p, long t, long row, long rows, long strip,
                          const REAL *sums, long gate_step, REAL *packed_h)
{
    const long B = p->B, H = p->H;
    const REAL *cells_before = t > 0 ? p->cells + (t - 1) * B * H : p->c0; /* (B, H) */
    for (long j = strip; j < at_most(strip + PANEL, H); j += LANES) {
        const long n = at_most(H - j, LANES);
        vector own[OWN + 1];
        load_own(p->own, j, n, own);
        for (long r = 0; r < rows; r++) {
            const long at = (t * B + row + r) * H + j;
            const REAL *pre = p->pre + 4 * at - 3 * j, *sum = sums + r * PANEL + j - strip;
            vector a[4], kept[4] = {{0}}, h, c;
            for (long k = 0; k < 4; k++)
                a[k] = load(sum + k * gate_step, LANES) + load(pre + k * H, n) + load(p->b + k * H + j, n);
            cell_forward(a[0], a[1], a[2], a[3], load(cells_before + (row + r) * H + j, n), own, kept, &h, &c);
            for (long k = 0; k < 4; k++) store(p->kept + 4 * at - 3 * j + k * H, kept[k], n);
            store(p->cells + at, c, n);
            store(p->h + at, h, n);
            store(packed_h + j / LANES * CHUNK + r * LANES, h, n);
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

/* All steps of batch rows begin to end. */
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
        REAL *swap = now;
        now = next;
        next = swap;
    }
}

/* Fills cells (T, B, H) and h (T, B, H) from pre (T, B, 4H), W (4, H, H), b (4, H), own (OWN of (H)), h0 (B, H) and
 * c0 (B, H):
 *     h[t], cells[t] = the cell of the four gates of pre[t] + b + W . h[t-1], and of cells[t-1]
 * and h_end and c_end (B, H) are those of the last step, h0 and c0 when T is 0.  kept (T, B, 4H) gets what the backward
 * pass needs, and 0 past KEPT; it may be the same memory as pre.  Returns 0, or -1 when out of memory. */
static int lstm_forward(long T, long B, long H, const REAL *pre, const REAL *W, const REAL *b, const REAL *const *own,
                        const REAL *h0, const REAL *c0, REAL *kept, REAL *cells, REAL *h, REAL *h_end, REAL *c_end,
                        int n_threads)
{
    forward_pass p = {T, B, H, pre, b, h0, c0, own, kept, cells, h, NULL};
    const long weights = weights_size(H, H);
    const long share = forward_size((B + n_threads - 1) / n_threads, H);
    p.panels = scratch(weights + n_threads * share);
    if (!p.panels) return -1;
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++) pack_forward(H, H, W, p.panels, i, n_threads);
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++)
        forward_rows(&p, split(B, n_threads, i), split(B, n_threads, i + 1), p.panels + weights + i * share);
    memcpy(h_end, T > 0 ? h + (T - 1) * B * H : h0, B * H * sizeof(REAL));
    memcpy(c_end, T > 0 ? cells + (T - 1) * B * H : c0, B * H * sizeof(REAL));
    return 0;
}

/* ---- LSTM backward ------------------------------------------------------------------------- */

typedef struct {
    long T, B, H, first;
    const REAL *const *own;             /* the cell's own parameters, (H) each */
    const REAL *kept, *cells, *c0, *dh; /* (T,B,4H), (T,B,H), (B,H), (T,B,H) */
    REAL *dpre;                         /* (T,B,4H) */
    REAL *dc;     /* (B,H), the gradient on cells[t] that comes back from step t+1 */
    REAL *panels; /* packed weights (strips of PANEL units, 4 gates, round_up(H, LANES), PANEL) */
} backward_pass;

static void pack_backward(const backward_pass *p, const REAL *W, long part, long parts)
{
    const long H = p->H, depth = round_up(H, LANES), panels = 4 * (round_up(H, PANEL) / PANEL);
    for (long i = split(panels, parts, part); i < split(panels, parts, part + 1); i++) {
        const long unit = i / 4 * PANEL, k = i % 4;
        pack_panel(H, at_most(H - unit, PANEL), W + k * H * H + unit, H, 1, p->panels + i * depth * PANEL);
    }
}

/* From the sums dpre[t+1].W of a tile and strip, rows of PANEL, the tile's dpre of step t, also packed, for the
 * step before.  Takes dc of cells[t], leaves that of cells[t-1].  Adds dpre, and the gradients of the cell's own
 * parameters, to db (4 + OWN, round_up(H, LANES)). */
static void backward_strip(const backward_pass *p, long t, long row, long rows, long strip,
                           const REAL *sums, REAL *packed_dpre, REAL *db)
{
    const long B = p->B, H = p->H, depth = round_up(H, LANES);
    const REAL *cells_before = t > 0 ? p->cells + (t - 1) * B * H : p->c0; /* (B, H) */
    for (long j = strip; j < at_most(strip + PANEL, H); j += LANES) {
        const long n = at_most(H - j, LANES);
        vector own[OWN + 1], total[4 + OWN] = {{0}};
        load_own(p->own, j, n, own);
        for (long r = 0; r < rows; r++) {
            const long at = (t * B + row + r) * H + j, at_batch = (row + r) * H + j;
            const vector dh = load(p->dh + at, n) + load(sums + r * PANEL + j - strip, LANES);
            vector kept[4], d[4 + OWN], dc;
            for (long k = 0; k < KEPT; k++) kept[k] = load(p->kept + 4 * at - 3 * j + k * H, n);
            cell_backward(kept, load(cells_before + at_batch, n), load(p->cells + at, n), own, dh,
                          load(p->dc + at_batch, n), d, &dc, d + 4);
            store(p->dc + at_batch, dc, n);
            for (long k = 4; k < 4 + OWN; k++) total[k] += d[k];
            for (long k = 0; k < 4; k++) {
                total[k] += d[k];
                store(p->dpre + 4 * at - 3 * j + k * H, d[k], n);
                store(packed_dpre + (k * depth + j) / LANES * CHUNK + r * LANES, d[k], n);
            }
        }
        for (long k = 0; k < 4 + OWN; k++)
            store(db + k * depth + j, load(db + k * depth + j, LANES) + total[k], LANES);
    }
}

/* How much scratch a thread with `rows` batch rows needs in backward_rows. */
static long backward_size(long rows, long H)
{
    return 2 * tiles_size(rows, 4 * round_up(H, LANES)) + rows * PANEL;
}

/* sums (rows, PANEL) = packed dpre (rows, 4H) . strip's panel of W4 (4H, PANEL), gate after gate: one
 * gate's panel fits into the first-level cache. */
static void backward_sums(const backward_pass *p, long rows, const REAL *packed_dpre, long strip, REAL *sums)
{
    const long depth = round_up(p->H, LANES);
    for (long k = 0; k < 4; k++)
        multiply_panel(rows, BY_ROWS, depth, packed_dpre + k * tile_size(depth), tile_size(4 * depth),
                       p->panels + (4 * strip + k * PANEL) * depth, sums, PANEL, k > 0);
}

/* Steps T-1 to `first` of batch rows begin to end. */
static void backward_rows(const backward_pass *p, long begin, long end, REAL *db, REAL *memory)
{
    const long B = p->B, H = p->H, rows = end - begin, size = tiles_size(rows, 4 * round_up(H, LANES));
    REAL *now = memory, *next = now + size, *sums = next + size; /* packed dpre of steps t+1 and t */
    memset(memory, 0, backward_size(rows, H) * sizeof(REAL));    /* no dpre[T]; past unit H it stays 0 */
    memset(db, 0, (4 + OWN) * round_up(H, LANES) * sizeof(REAL));
    memset(p->dc + begin * H, 0, rows * H * sizeof(REAL));
    for (long t = p->T - 1; t >= p->first; t--) {
        for (long strip = 0; strip < H; strip += PANEL) {
            if (t < p->T - 1) backward_sums(p, rows, now, strip, sums);
            for (long i = 0; i < tile_count(rows); i++) {
                const tile_rows tile = rows_of_tile(rows, i);
                backward_strip(p, t, begin + tile.first, tile.count, strip, sums + tile.first * PANEL,
                               next + i * tile_size(4 * round_up(H, LANES)), db);
            }
        }
        REAL *swap = now;
        now = next;
        next = swap;
    }
    for (long t = 0; t < p->first; t++)
        memset(p->dpre + (t * B + begin) * 4 * H, 0, rows * 4 * H * sizeof(REAL));
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

/* dW (4H, H) = the sum over steps t >= first of  dpre[t]^T . h[t-1],  where h[-1] is h0 */
static int backward_weights(long T, long B, long H, long first, const REAL *dpre, const REAL *h,
                            const REAL *h0, REAL *dW, int n_threads)
{
    const int with_h0 = first == 0 && T > 0;
    const long start = with_h0 ? 1 : first;
    if (with_h0 && matmul(4 * H, H, B, dpre, 1, 4 * H, h0, H, 1, dW, H, 0, n_threads)) return -1;
    return matmul(4 * H, H, (T - start) * B, dpre + start * B * 4 * H, 1, 4 * H,
                  h + (start - 1) * B * H, H, 1, dW, H, with_h0, n_threads);
}

/* The gradients dpre (T, B, 4H), dW (4, H, H), db (4, H) and d_own (OWN of (H)), from the gradient dh (T, B, H) on
 * every h[t] and what lstm_forward took and gave.  They flow through steps t >= first alone (truncated
 * backpropagation): dpre is 0 before.  dpre may be the same memory as kept.
 * Returns 0, or -1 when out of memory. */
static int lstm_backward(long T, long B, long H, long first, const REAL *W, const REAL *const *own, const REAL *kept,
                         const REAL *cells, const REAL *h, const REAL *h0, const REAL *c0, const REAL *dh,
                         REAL *dpre, REAL *dW, REAL *db, REAL *const *d_own, int n_threads)
{
    backward_pass p = {T, B, H, first, own, kept, cells, c0, dh, dpre, NULL, NULL};
    const long weights = weights_size(H, H), db_size = (4 + OWN) * round_up(H, LANES);
    const long share = backward_size((B + n_threads - 1) / n_threads, H);
    p.panels = scratch(weights + n_threads * (db_size + share) + B * H);
    if (!p.panels) return -1;
    REAL *db_parts = p.panels + weights, *memory = db_parts + n_threads * db_size;
    p.dc = memory + n_threads * share;
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++) pack_backward(&p, W, i, n_threads);
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++)
        backward_rows(&p, split(B, n_threads, i), split(B, n_threads, i + 1), db_parts + i * db_size,
                      memory + i * share);
    add_up_db(H, db_parts, n_threads, db, d_own);
    return backward_weights(T, B, H, first, dpre, h, h0, dW, n_threads);
}
