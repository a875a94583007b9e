/* An LSTM layer forward and backward over a whole sequence, with the sigmoid and tanh of its gates. */

/* ---- Sigmoid and tanh ---------------------------------------------------------------------- */

/* Float: own polynomials.  Largest error for 2^-40 < |x| < 128, in units in the last place: sigmoid
 * 2.5, tanh 2.7.  Where sigmoid is under 1.2e-38 (not a normal float any more) it may come out as 0.
 * Double: the C library, one lane after the other.  NaN gives NaN. */

/* A comparison of vectors: all bits of a lane 1 or 0. */
typedef __typeof__((vector){0} < (vector){0}) mask;

INLINE vector choose(mask which, vector yes, vector no)
{
    return (vector)((which & (mask)yes) | (~which & (mask)no));
}

/* NaN is neither less nor greater, so it stays. */
INLINE vector clamp(vector x, REAL low, REAL high)
{
    const vector lowest = low + (vector){0}, highest = high + (vector){0};
    x = choose(x < lowest, lowest, x);
    return choose(x > highest, highest, x);
}

/* e^t = 2^n e^r with a whole n and |r| <= ln(2)/2: returns e^r - 1 and sets *power to 2^n, for
 * -87 <= t < 88.8 (2^128 is infinity) and NaN.  For float only. */
INLINE vector exp_parts(vector t, vector *power)
{
    typedef uint32_t bit_vector __attribute__((vector_size(VECTOR_BYTES)));
    const REAL magic = 12582912; /* 1.5 * 2^23: adding it rounds to a whole number */
    const vector shifted = t * (REAL)1.44269504 + magic; /* t / ln(2); n in its lowest bits */
    const vector n = shifted - magic;
    /* ln(2) in two parts, the first of so few bits that n times it is exact. */
    const vector r = t - n * (REAL)0.693359375 + n * (REAL)2.12194440e-4;
    /* e^r - 1 = r + r^2 q(r); q was fitted for the smallest relative error, 1.7e-8. */
    const vector q = (REAL)4.999999815e-01 + r * ((REAL)1.666654362e-01
                   + r * ((REAL)4.166719986e-02 + r * ((REAL)8.366520581e-03
                   + r * (REAL)1.388252144e-03)));
    bit_vector bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + (127u << 23); /* n to the exponent, whose bias is 127; magic's bits fall out */
    memcpy(power, &bits, sizeof bits);
    return r + r * r * q;
}

INLINE vector sigmoid(vector x)
{
    vector y = x;
    if (sizeof(REAL) == sizeof(float)) {
        vector power;
        const vector e = exp_parts(clamp(-x, -87, (REAL)88.75), &power);
        return 1 / (1 + power * (1 + e));
    }
    for (long l = 0; l < LANES; l++) y[l] = 1 / (1 + exp(-x[l]));
    return y;
}

/* From 9.02 on tanh is 1 in float.  y = e^2x - 1 as  2^n (e^r - 1) + (2^n - 1)  keeps its digits
 * near 0, where n = 0. */
INLINE vector hyperbolic_tangent(vector x)
{
    vector y = x;
    if (sizeof(REAL) == sizeof(float)) {
        vector power;
        const vector e = exp_parts(clamp(2 * x, (REAL)-18.1, (REAL)18.1), &power);
        y = power * e + (power - 1);
        return y / (y + 2);
    }
    for (long l = 0; l < LANES; l++) y[l] = tanh(x[l]);
    return y;
}

/* ---- LSTM forward -------------------------------------------------------------------------- */

typedef struct {
    long T, B, H;
    const REAL *pre, *b, *h0, *c0; /* (T, B, 4H), (4, H), (B, H), (B, H) */
    REAL *gates, *cells, *h;       /* (T, B, 4H), (T, B, H), (T, B, H) */
    REAL *panels;                  /* packed weights (strips of PANEL units, 4 gates, K, PANEL) */
} forward_pass;

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

/* From the sums W.h of a tile and strip, (4, gate_step) with rows of PANEL, the tile's gates, cells and
 * h of step t; h also packed, for the next step. */
static void forward_strip(const forward_pass *p, long t, long row, long rows, long strip,
                          const REAL *sums, long gate_step, REAL *packed_h)
{
    const long B = p->B, H = p->H;
    const REAL *cells_before = t > 0 ? p->cells + (t - 1) * B * H : p->c0; /* (B, H) */
    for (long j = strip; j < at_most(strip + PANEL, H); j += LANES) {
        const long n = at_most(H - j, LANES);
        for (long r = 0; r < rows; r++) {
            const long at = (t * B + row + r) * H + j;
            const REAL *pre = p->pre + 4 * at - 3 * j, *sum = sums + r * PANEL + j - strip;
            REAL *gate = p->gates + 4 * at - 3 * j;
            vector a[4];
            for (long k = 0; k < 4; k++)
                a[k] = load(sum + k * gate_step, LANES) + load(pre + k * H, n) + load(p->b + k * H + j, n);
            const vector f = sigmoid(a[0]), i = sigmoid(a[1]), o = sigmoid(a[2]);
            const vector g = hyperbolic_tangent(a[3]);
            const vector c = f * load(cells_before + (row + r) * H + j, n) + i * g;
            const vector h = o * hyperbolic_tangent(c);
            store(gate, f, n);
            store(gate + H, i, n);
            store(gate + 2 * H, o, n);
            store(gate + 3 * H, g, n);
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

/* Fills gates (T, B, 4H) (activated), cells (T, B, H) and h (T, B, H) from pre (T, B, 4H), W (4, H, H),
 * b (4, H), h0 (B, H) and c0 (B, H):
 *     f, i, o, g = sigmoid, sigmoid, sigmoid, tanh of pre[t] + b + W . h[t-1]
 *     cells[t] = f * cells[t-1] + i * g,    h[t] = o * tanh(cells[t])
 * and h_end and c_end (B, H) are those of the last step, h0 and c0 when T is 0.
 * gates may be the same memory as pre.  Returns 0, or -1 when out of memory. */
static int lstm_forward(long T, long B, long H, const REAL *pre, const REAL *W, const REAL *b,
                        const REAL *h0, const REAL *c0, REAL *gates, REAL *cells, REAL *h, REAL *h_end, REAL *c_end,
                        int n_threads)
{
    forward_pass p = {T, B, H, pre, b, h0, c0, gates, cells, h, NULL};
    const long weights = weights_size(H, H);
    const long own = forward_size((B + n_threads - 1) / n_threads, H);
    p.panels = scratch(weights + n_threads * own);
    if (!p.panels) return -1;
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++) pack_forward(H, H, W, p.panels, i, n_threads);
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++)
        forward_rows(&p, split(B, n_threads, i), split(B, n_threads, i + 1), p.panels + weights + i * own);
    memcpy(h_end, T > 0 ? h + (T - 1) * B * H : h0, B * H * sizeof(REAL));
    memcpy(c_end, T > 0 ? cells + (T - 1) * B * H : c0, B * H * sizeof(REAL));
    return 0;
}

/* ---- LSTM backward ------------------------------------------------------------------------- */

typedef struct {
    long T, B, H, first;
    const REAL *gates, *cells, *c0, *dh; /* (T,B,4H), (T,B,H), (B,H), (T,B,H) */
    REAL *dpre;                          /* (T,B,4H) */
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
 * step before.  Takes dc of cells[t], leaves that of cells[t-1].  Adds dpre to db (4, round_up(H, LANES)). */
static void backward_strip(const backward_pass *p, long t, long row, long rows, long strip,
                           const REAL *sums, REAL *packed_dpre, REAL *db)
{
    const long B = p->B, H = p->H, depth = round_up(H, LANES);
    const REAL *cells_before = t > 0 ? p->cells + (t - 1) * B * H : p->c0; /* (B, H) */
    for (long j = strip; j < at_most(strip + PANEL, H); j += LANES) {
        const long n = at_most(H - j, LANES);
        vector total[4] = {{0}};
        for (long r = 0; r < rows; r++) {
            const long at = (t * B + row + r) * H + j, at_batch = (row + r) * H + j;
            const REAL *gate = p->gates + 4 * at - 3 * j;
            const vector f = load(gate, n), i = load(gate + H, n);
            const vector o = load(gate + 2 * H, n), g = load(gate + 3 * H, n);
            const vector dh = load(p->dh + at, n) + load(sums + r * PANEL + j - strip, LANES);
            const vector tanh_c = hyperbolic_tangent(load(p->cells + at, n));
            const vector dc = load(p->dc + at_batch, n) + dh * o * (1 - tanh_c * tanh_c);
            const vector d[4] = {dc * load(cells_before + at_batch, n) * f * (1 - f),
                                 dc * g * i * (1 - i),
                                 dh * tanh_c * o * (1 - o),
                                 dc * i * (1 - g * g)};
            store(p->dc + at_batch, dc * f, n);
            for (long k = 0; k < 4; k++) {
                total[k] += d[k];
                store(p->dpre + 4 * at - 3 * j + k * H, d[k], n);
                store(packed_dpre + (k * depth + j) / LANES * CHUNK + r * LANES, d[k], n);
            }
        }
        for (long k = 0; k < 4; k++)
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
    memset(db, 0, 4 * round_up(H, LANES) * sizeof(REAL));
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

/* db (4, H) = the sum of the threads' parts, each (4, round_up(H, LANES)) */
static void add_up_db(long H, const REAL *parts, int n_threads, REAL *db)
{
    const long depth = round_up(H, LANES);
    for (long k = 0; k < 4; k++)
        for (long j = 0; j < H; j++) {
            db[k * H + j] = 0;
            for (int i = 0; i < n_threads; i++) db[k * H + j] += parts[(4 * i + k) * depth + j];
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

/* The gradients dpre (T, B, 4H), dW (4, H, H) and db (4, H), from the gradient dh (T, B, H) on every h[t]
 * and what lstm_forward took and gave.  They flow through steps t >= first alone (truncated
 * backpropagation): dpre is 0 before.  dpre may be the same memory as gates.
 * Returns 0, or -1 when out of memory. */
static int lstm_backward(long T, long B, long H, long first, const REAL *W, const REAL *gates,
                         const REAL *cells, const REAL *h, const REAL *h0, const REAL *c0,
                         const REAL *dh, REAL *dpre, REAL *dW, REAL *db, int n_threads)
{
    backward_pass p = {T, B, H, first, gates, cells, c0, dh, dpre, NULL, NULL};
    const long weights = weights_size(H, H), db_size = 4 * round_up(H, LANES);
    const long own = backward_size((B + n_threads - 1) / n_threads, H);
    p.panels = scratch(weights + n_threads * (db_size + own) + B * H);
    if (!p.panels) return -1;
    REAL *db_parts = p.panels + weights, *memory = db_parts + n_threads * db_size;
    p.dc = memory + n_threads * own;
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++) pack_backward(&p, W, i, n_threads);
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++)
        backward_rows(&p, split(B, n_threads, i), split(B, n_threads, i + 1), db_parts + i * db_size,
                      memory + i * own);
    add_up_db(H, db_parts, n_threads, db);
    return backward_weights(T, B, H, first, dpre, h, h0, dW, n_threads);
}
