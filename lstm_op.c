/* LSTM on the CPU: a layer forward and backward over a whole sequence, matrix products, an embedding, softmax
 * and sampling, in C with GCC/clang vector types (valid as C11 and as C++, no intrinsics).
 *
 * Names: T steps, B batch rows, H units; gates f, i, o, g (forget, input, output, candidate) are gates
 * 0 to 3, and column k*H + j of an axis "4H" is gate k of unit j.  Arrays are row-major, contiguous.
 *
 * Why it is fast.  Nearly all the time goes into products  C = A . B,  and a core can do two vector
 * multiply-adds a cycle if only their numbers are at hand:
 *
 *   tile     The microkernel computes a tile of C, at most MAX_ROWS rows by PANEL = 2 vectors of
 *            columns, entirely in registers.  For each k it loads two vectors of B and multiplies
 *            them by A[r, k] of each row: 26 multiply-adds for 15 loads where there are 32 registers.
 *
 *                         B[k, 0:PANEL]
 *              A[0, k]    C[0, 0:PANEL]
 *              A[1, k]    C[1, 0:PANEL]        C[r, :] += A[r, k] * B[k, :]
 *                ...           ...
 *
 *   packing  A and B are first copied into the order in which tiles read them, so that a tile only
 *            walks forward through memory.  B becomes panels: PANEL columns with all their k, then the
 *            next PANEL columns.  A becomes tiles, cut into chunks of LANES k.  Missing columns and
 *            missing k become zeros, so a tile knows no edges.
 *   LSTM     The recurrent weights are packed once a sequence.  A strip of PANEL units gets its gates as
 *            soon as its sums are there, while they are in the nearest cache, and h goes straight into
 *            the packed form that the next step's tiles read.
 *   threads  Batch rows do not depend on each other: a thread takes its share of them through all
 *            T steps and never waits for another.  Shares follow from the number of threads alone, so
 *            the same number of threads gives the same bits.
 *
 * Not reentrant: scratch memory is kept between calls (Theano calls hold Python's GIL). */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif

/* The width of a vector register, and how many rows of two sums fit into the registers beside two
 * vectors of B and one number of A: 13*2 + 3 of 32 registers, 6*2 + 3 of 16. */
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define MAX_ROWS 13
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#define MAX_ROWS 6
#elif defined(__aarch64__)
#define VECTOR_BYTES 16
#define MAX_ROWS 13
#else
#define VECTOR_BYTES 16
#define MAX_ROWS 6
#endif

#define LANES ((long)(VECTOR_BYTES / sizeof(REAL))) /* numbers in a vector */
#define PANEL (2 * LANES)                           /* columns of a tile */

typedef REAL vector __attribute__((vector_size(VECTOR_BYTES)));

#define INLINE static inline __attribute__((always_inline))

/* Before a loop over thread numbers: its iterations run at the same time. */
#ifdef _OPENMP
#define FOR_EACH_THREAD _Pragma("omp parallel for num_threads(n_threads) schedule(static, 1)")
#else
#define FOR_EACH_THREAD
#endif

/* ---- Small helpers ------------------------------------------------------------------------- */

INLINE long at_most(long n, long limit) { return n < limit ? n : limit; }

INLINE long round_up(long n, long multiple) { return (n + multiple - 1) / multiple * multiple; }

/* Where part number `part` of `parts` nearly equal parts of n begins (part == parts: n). */
INLINE long split(long n, long parts, long part) { return n * part / parts; }

/* n numbers as a vector (LANES if n is more); the other lanes are 0. */
INLINE vector load(const REAL *from, long n)
{
    vector v = {0};
    if (n >= LANES) memcpy(&v, from, sizeof v);
    else memcpy(&v, from, n * sizeof(REAL));
    return v;
}

/* The first n lanes of v (all if n is more than LANES) to memory. */
INLINE void store(REAL *to, vector v, long n)
{
    if (n >= LANES) memcpy(to, &v, sizeof v);
    else memcpy(to, &v, n * sizeof(REAL));
}

enum { CACHE_LINE = 64 }; /* bytes */

/* Where a cache line begins in memory, which has CACHE_LINE bytes more than are needed: vectors that lie across two
 * lines, each load and store of them two, made the LSTM layers up to a tenth slower. */
INLINE char *aligned(char *memory) { return memory + CACHE_LINE - (uintptr_t)memory % CACHE_LINE; }

/* Scratch for n numbers, aligned; NULL when out of memory.  The memory stays for the next call, which gets
 * the same again: fresh megabytes would cost a page fault every 4 KiB. */
static REAL *scratch(long n)
{
    static char *memory = NULL;
    static long size = 0;
    const long bytes = n * (long)sizeof(REAL) + CACHE_LINE;
    if (bytes > size) {
        free(memory);
        memory = (char *)malloc(bytes);
        size = memory ? bytes : 0;
    }
    return memory ? (REAL *)aligned(memory) : NULL;
}

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

/* ---- Packing ------------------------------------------------------------------------------- */

/* One panel of B, (K, columns) with any strides, to (round_up(K, LANES), PANEL). */
static void pack_panel(long K, long columns, const REAL *b, long k_stride, long column_stride,
                       REAL *panel)
{
    if (columns < PANEL || K % LANES) memset(panel, 0, round_up(K, LANES) * PANEL * sizeof(REAL));
    if (column_stride == 1 && columns == PANEL)
        for (long k = 0; k < K; k++) memcpy(panel + k * PANEL, b + k * k_stride, PANEL * sizeof(REAL));
    else
        for (long c = 0; c < columns; c++)
            for (long k = 0; k < K; k++)
                panel[k * PANEL + c] = b[k * k_stride + c * column_stride];
}

/* A tile of A is packed in chunks of LANES k.  In a chunk either a row's numbers stay together or a
 * column's, whichever needs no transposition: A[r, k] is number r*LANES + k of its chunk (BY_ROWS) or
 * number k*COLUMN + r (BY_COLUMNS).  COLUMN is MAX_ROWS rounded up to whole vectors. */
typedef enum { BY_ROWS, BY_COLUMNS } order;

#define COLUMN ((MAX_ROWS + LANES - 1) / LANES * LANES)
#define CHUNK (COLUMN * LANES)

/* The rows of A are cut into as few and as equal tiles as possible. */
typedef struct { long first, count; } tile_rows;

INLINE long tile_count(long rows) { return (rows + MAX_ROWS - 1) / MAX_ROWS; }

INLINE tile_rows rows_of_tile(long rows, long i)
{
    const long first = split(rows, tile_count(rows), i);
    const tile_rows tile = {first, split(rows, tile_count(rows), i + 1) - first};
    return tile;
}

/* The size of one packed tile, K deep, and of all the tiles of `rows` rows. */
INLINE long tile_size(long K) { return round_up(K, LANES) * COLUMN; }
INLINE long tiles_size(long rows, long K) { return tile_count(rows) * tile_size(K); }

/* A chunk of a tile of A, (rows, depth) with any strides and depth at most LANES, BY_ROWS ... */
INLINE void pack_rows(long rows, long depth, const REAL *a, long row_stride, long k_stride, REAL *chunk)
{
    for (long r = 0; r < rows; r++, a += row_stride, chunk += LANES)
        if (k_stride == 1) store(chunk, load(a, depth), LANES);
        else
            for (long k = 0; k < LANES; k++) chunk[k] = k < depth ? a[k * k_stride] : 0;
}

/* ... and BY_COLUMNS, for a row stride of 1. */
INLINE void pack_columns(long rows, long depth, const REAL *a, long k_stride, REAL *chunk)
{
    if (depth < LANES) memset(chunk, 0, CHUNK * sizeof(REAL));
    for (long k = 0; k < depth; k++, a += k_stride, chunk += COLUMN)
        for (long r = 0; r < rows; r += LANES) store(chunk + r, load(a + r, rows - r), LANES);
}

/* All tiles of A, (rows, K) with any strides.  For BY_COLUMNS row_stride is 1, and in memory `rows_after`
 * more rows follow; chunks are outermost there, as the tiles of one share cache lines. */
static void pack_tiles(order by, long rows, long rows_after, long K, const REAL *a, long row_stride,
                       long k_stride, REAL *tiles)
{
    if (by == BY_ROWS)
        for (long i = 0; i < tile_count(rows); i++) {
            const tile_rows tile = rows_of_tile(rows, i);
            for (long k0 = 0; k0 < K; k0 += LANES)
                pack_rows(tile.count, at_most(K - k0, LANES), a + tile.first * row_stride + k0 * k_stride,
                          row_stride, k_stride, tiles + i * tile_size(K) + k0 * COLUMN);
        }
    else
        for (long k0 = 0; k0 < K; k0 += LANES)
            for (long i = 0; i < tile_count(rows); i++) {
                const long first = rows_of_tile(rows, i).first;
                pack_columns(at_most(rows - first + rows_after, COLUMN), at_most(K - k0, LANES),
                             a + first + k0 * k_stride, k_stride, tiles + i * tile_size(K) + k0 * COLUMN);
            }
}

/* ---- The microkernel ----------------------------------------------------------------------- */

/* c (rows, PANEL) = packed tile a (rows, K) . packed panel b (K, PANEL), or c += with `accumulate`.
 * `rows` and `by` are constants wherever this is inlined, so that the sums live in registers. */
INLINE void tile_of_rows(const long rows, const order by, long K, const REAL *a, const REAL *b,
                         REAL *c, long c_stride, int accumulate)
{
    const long row_step = by == BY_ROWS ? LANES : 1, k_step = by == BY_ROWS ? 1 : COLUMN;
    vector sum[MAX_ROWS][2] = {{{0}}};
    for (long r = 0; r < rows; r++) /* where the sums go in the end is fetched meanwhile, to be written */
        for (long v = 0; v < 2; v++) __builtin_prefetch(c + r * c_stride + v * LANES, 1);
    for (long k0 = 0; k0 < K; k0 += LANES, a += CHUNK)
        for (long k = 0; k < LANES; k++, b += PANEL) {
            const vector left = load(b, LANES), right = load(b + LANES, LANES);
            for (long r = 0; r < rows; r++) {
                const REAL factor = a[r * row_step + k * k_step];
                sum[r][0] += factor * left;
                sum[r][1] += factor * right;
            }
        }
    for (long r = 0; r < rows; r++, c += c_stride)
        for (long v = 0; v < 2; v++) {
            if (accumulate) sum[r][v] += load(c + v * LANES, LANES);
            store(c + v * LANES, sum[r][v], LANES);
        }
}

/* The same with 1 to MAX_ROWS rows, known only when it runs. */
static void multiply_tile(long rows, order by, long K, const REAL *a, const REAL *b,
                          REAL *c, long c_stride, int accumulate)
{
#define WITH_ROWS(n) \
    case n: \
        if (by == BY_ROWS) tile_of_rows(n, BY_ROWS, K, a, b, c, c_stride, accumulate); \
        else tile_of_rows(n, BY_COLUMNS, K, a, b, c, c_stride, accumulate); \
        break;
    switch (rows) {
        WITH_ROWS(1) WITH_ROWS(2) WITH_ROWS(3) WITH_ROWS(4) WITH_ROWS(5) WITH_ROWS(6)
#if MAX_ROWS > 6
        WITH_ROWS(7) WITH_ROWS(8) WITH_ROWS(9) WITH_ROWS(10) WITH_ROWS(11) WITH_ROWS(12) WITH_ROWS(13)
#endif
    }
#undef WITH_ROWS
}

/* c (rows, PANEL) = or += packed tiles of A, tile_step numbers apart, . one packed panel of B */
static void multiply_panel(long rows, order by, long K, const REAL *tiles, long tile_step,
                           const REAL *panel, REAL *c, long c_stride, int accumulate)
{
    for (long i = 0; i < tile_count(rows); i++) {
        const tile_rows tile = rows_of_tile(rows, i);
        multiply_tile(tile.count, by, K, tiles + i * tile_step, panel, c + tile.first * c_stride, c_stride,
                      accumulate);
    }
}

/* ---- Matrix product ------------------------------------------------------------------------ */

/* C = A . B goes in slices of at most DEPTH k and blocks of BLOCK rows: a slice of a block's tiles stays in the
 * second-level cache while the panels pass by, each of them read by all tiles in turn.  Fewer, deeper slices spare
 * reading and writing C again. */
#define DEPTH 1024L
#define BLOCK (8L * MAX_ROWS)

/* With fewer multiply-adds than this, waking another thread costs more than it saves. */
#define WORTH_THREADS 1e5

/* A (M, K) and B (K, N), with the strides of their axes in numbers, and C (M, N). */
typedef struct {
    long M, N, K;
    const REAL *a;
    long a_row, a_column;
    const REAL *b;
    long b_row, b_column;
    REAL *c;
    long c_row;
    int accumulate;  /* C += A . B */
    long depth;      /* of a slice */
    REAL *packed_b;  /* slice after slice, panel after panel */
} product;

INLINE long slice_depth(const product *p, long k0) { return at_most(p->K - k0, p->depth); }

/* The packed panel with column n of B, of the slice that begins at k0. */
INLINE REAL *panel_at(const product *p, long k0, long n)
{
    return p->packed_b + k0 * round_up(p->N, PANEL) + n * round_up(slice_depth(p, k0), LANES);
}

static void pack_b(const product *p, long part, long parts)
{
    const long panels = round_up(p->N, PANEL) / PANEL;
    for (long k0 = 0; k0 < p->K; k0 += p->depth)
        for (long i = split(panels, parts, part); i < split(panels, parts, part + 1); i++)
            pack_panel(slice_depth(p, k0), at_most(p->N - i * PANEL, PANEL),
                       p->b + k0 * p->b_row + i * PANEL * p->b_column, p->b_row, p->b_column,
                       panel_at(p, k0, i * PANEL));
}

/* c (rows, columns) = or += sums (rows, PANEL) */
static void copy_columns(long rows, long columns, const REAL *sums, REAL *c, long c_row, int accumulate)
{
    for (long r = 0; r < rows; r++)
        for (long n = 0; n < columns; n++)
            c[r * c_row + n] = accumulate ? c[r * c_row + n] + sums[r * PANEL + n] : sums[r * PANEL + n];
}

/* `rows` (at most BLOCK) rows of C from row m on: the part of A . B that slice k0 gives. */
static void multiply_block(const product *p, long m, long rows, long k0, REAL *tiles)
{
    const order by = p->a_row == 1 ? BY_COLUMNS : BY_ROWS;
    const long depth = slice_depth(p, k0);
    const int accumulate = p->accumulate || k0 > 0;
    REAL sums[BLOCK * PANEL];
    pack_tiles(by, rows, p->M - (m + rows), depth, p->a + m * p->a_row + k0 * p->a_column, p->a_row,
               p->a_column, tiles);
    for (long n = 0; n < p->N; n += PANEL) {
        const REAL *panel = panel_at(p, k0, n);
        REAL *c = p->c + m * p->c_row + n;
        if (n + PANEL <= p->N) {
            multiply_panel(rows, by, depth, tiles, tile_size(depth), panel, c, p->c_row, accumulate);
        } else {
            multiply_panel(rows, by, depth, tiles, tile_size(depth), panel, sums, PANEL, 0);
            copy_columns(rows, p->N - n, sums, c, p->c_row, accumulate);
        }
    }
}

/* Rows begin to end of C, block by block. */
static void multiply_rows(const product *p, long begin, long end, REAL *tiles)
{
    const long rows = end - begin, blocks = (rows + BLOCK - 1) / BLOCK;
    for (long k0 = 0; k0 < p->K || k0 == 0; k0 += p->depth)
        for (long i = 0; i < blocks; i++) {
            const long first = split(rows, blocks, i);
            multiply_block(p, begin + first, split(rows, blocks, i + 1) - first, k0, tiles);
        }
}

/* C (M, N) = A (M, K) . B (K, N), or C += with `accumulate`.  Strides are in numbers: a_row from row to
 * row of A, a_column from column to column; exchange them for the transpose.  C's columns are adjacent.
 * Returns 0, or -1 when out of memory. */
static int matmul(long M, long N, long K, const REAL *a, long a_row, long a_column,
                  const REAL *b, long b_row, long b_column, REAL *c, long c_row,
                  int accumulate, int n_threads)
{
    const long slices = (K + DEPTH - 1) / DEPTH, depth = slices ? round_up((K + slices - 1) / slices, LANES) : LANES;
    product p = {M, N, K, a, a_row, a_column, b, b_row, b_column, c, c_row, accumulate, depth, NULL};
    const long a_size = tiles_size(BLOCK, depth);
    if ((double)M * N * K < WORTH_THREADS) n_threads = 1;
    p.packed_b = scratch(round_up(K, LANES) * round_up(N, PANEL) + n_threads * a_size);
    if (!p.packed_b) return -1;
    REAL *tiles = p.packed_b + round_up(K, LANES) * round_up(N, PANEL);
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++) pack_b(&p, i, n_threads);
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++)
        multiply_rows(&p, split(M, n_threads, i), split(M, n_threads, i + 1), tiles + i * a_size);
    return 0;
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

/* ---- Sum of squares ------------------------------------------------------------------------ */

/* *sum = the sum of the squares of N numbers.  Each LANES-th of a thousand or so are added up in float, those sums
 * in double.  Returns 0. */
static int sum_of_squares(long N, const REAL *v, REAL *sum)
{
    double total = 0;
    for (long begin = 0; begin < N; begin += 1024 * LANES) {
        const long end = at_most(begin + 1024 * LANES, N);
        vector part = {0};
        for (long n = begin; n < end; n += LANES) {
            const vector x = load(v + n, end - n);
            part += x * x;
        }
        for (long l = 0; l < LANES; l++) total += part[l];
    }
    *sum = (REAL)total;
    return 0;
}

/* ---- Embedding ----------------------------------------------------------------------------- */

/* A character's vector is a column of the weights U (D, V).  What is read and added to here are the rows of its
 * transpose, which lie together. */

/* Whether all N indices are numbers from 0 to V - 1. */
static int all_below(long V, long N, const int32_t *index)
{
    for (long n = 0; n < N; n++)
        if (index[n] < 0 || index[n] >= V) return 0;
    return 1;
}

/* Share `part` of `parts` of the D numbers of a row begins here: with whole cache lines, no two threads write to
 * the same one. */
INLINE long share_begin(long D, long parts, long part)
{
    return at_most(part * round_up((D + parts - 1) / parts, CACHE_LINE / (long)sizeof(REAL)), D);
}

/* Columns begin to end of table (V, D) = U (D, V), transposed. */
static void to_table(long V, long D, long begin, long end, const REAL *U, REAL *table)
{
    for (long d0 = begin; d0 < end; d0 += LANES)
        for (long v = 0; v < V; v++)
            for (long d = d0; d < at_most(d0 + LANES, end); d++) table[v * D + d] = U[d * V + v];
}

/* out (N, D) = the columns index (N) of U (D, V), one a row.  Returns 0, or -1 when out of memory. */
static int take_columns(long N, long V, long D, const REAL *U, const int32_t *index, REAL *out, int n_threads)
{
    REAL *table = scratch(V * D);
    if (!table) return -1;
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++)
        to_table(V, D, share_begin(D, n_threads, i), share_begin(D, n_threads, i + 1), U, table);
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++)
        for (long n = split(N, n_threads, i); n < split(N, n_threads, i + 1); n++)
            memcpy(out + n * D, table + index[n] * D, D * sizeof(REAL));
    return 0;
}

/* Rows begin to end of dU (D, V), by way of those columns of the table (V, D): what add_columns does in a thread. */
static void add_share(long N, long V, long D, long begin, long end, const int32_t *index, const REAL *d, REAL *table,
                      REAL *dU)
{
    for (long v = 0; v < V; v++) memset(table + v * D + begin, 0, (end - begin) * sizeof(REAL));
    for (long n = 0; n < N; n++) {
        REAL *row = table + index[n] * D;
        for (long j = begin; j < end; j += LANES)
            store(row + j, load(row + j, end - j) + load(d + n * D + j, end - j), end - j);
    }
    for (long v = 0; v < V; v++)
        for (long j = begin; j < end; j++) dU[j * V + v] = table[v * D + j];
}

/* The gradient of take_columns: dU (D, V) = in each column, the sum of the rows n of d (N, D) whose index[n] is its
 * number.  Returns 0, or -1 when out of memory. */
static int add_columns(long N, long V, long D, const int32_t *index, const REAL *d, REAL *dU, int n_threads)
{
    REAL *table = scratch(V * D);
    if (!table) return -1;
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++)
        add_share(N, V, D, share_begin(D, n_threads, i), share_begin(D, n_threads, i + 1), index, d, table, dU);
    return 0;
}

/* ---- Softmax and cross-entropy ------------------------------------------------------------- */

/* e^x for x <= 0; 0 below -87, where float ends. */
INLINE vector exponential(vector x)
{
    vector y = x;
    if (sizeof(REAL) == sizeof(float)) {
        const vector zero = {0}, lowest = zero - 87;
        vector power;
        const vector e = exp_parts(clamp(x, -87, 0), &power);
        return choose(x < lowest, zero, power + power * e);
    }
    for (long l = 0; l < LANES; l++) y[l] = exp(x[l]);
    return y;
}

/* p (V) = softmax of a = scale * (scores + bias).  Returns the number of the largest;
 * *log_total is minus the logarithm of its probability. */
static long softmax(long V, const REAL *scores, const REAL *bias, REAL scale, REAL *p, REAL *log_total)
{
    long best = 0;
    REAL total = 0;
    for (long v = 0; v < V; v++) p[v] = scale * (scores[v] + bias[v]);
    for (long v = 1; v < V; v++)
        if (p[v] > p[best]) best = v;
    const REAL highest = p[best]; /* subtracted, so that no exponential overflows */
    for (long v = 0; v < V; v += LANES) store(p + v, exponential(load(p + v, V - v) - highest), V - v);
    for (long v = 0; v < V; v++) total += p[v];
    for (long v = 0; v < V; v++) p[v] /= total;
    *log_total = (REAL)log(total);
    return best;
}

/* For scores (N, V), bias (V) and targets y (N): p (N, V) = softmax(scores + bias), cost (N) = -log p[y], best
 * (N) the number of the largest score.  Returns 0. */
static int cross_entropy(long N, long V, const REAL *scores, const REAL *bias, const int32_t *y,
                         REAL *cost, int32_t *best, REAL *p, int n_threads)
{
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++)
        for (long n = split(N, n_threads, i); n < split(N, n_threads, i + 1); n++) {
            const REAL *row = scores + n * V;
            REAL log_total;
            best[n] = (int32_t)softmax(V, row, bias, 1, p + n * V, &log_total);
            /* The difference of the scores first: it is exact where they are large. */
            cost[n] = row[best[n]] + bias[best[n]] - (row[y[n]] + bias[y[n]]) + log_total;
        }
    return 0;
}

/* The gradient of the costs, each times dcost (N): dscores (N, V) and dbias (V).  Returns 0. */
static int cross_entropy_gradient(long N, long V, const REAL *dcost, const REAL *p, const int32_t *y,
                                  REAL *dscores, REAL *dbias)
{
    memset(dbias, 0, V * sizeof(REAL));
    for (long n = 0; n < N; n++, p += V, dscores += V) {
        for (long v = 0; v < V; v++) dscores[v] = p[v] * dcost[n];
        dscores[y[n]] -= dcost[n];
        for (long v = 0; v < V; v++) dbias[v] += dscores[v];
    }
    return 0;
}

/* ---- Sampling ------------------------------------------------------------------------------ */

#define TWO_TO_53 9007199254740992.0 /* a double holds as many whole numbers, so the quotient is exact */

/* A two-layer model with V characters, and B texts of which `given` characters are known and as many
 * more are drawn as `length` asks for. */
typedef struct {
    long V, H1, H2, B, given, length;
    const REAL *U1, *W1, *b1, *U2, *W2, *b2, *Vw, *c; /* (V, 4 H1): U1 by characters; the others as trained */
    const int64_t *bits;    /* (length - given, B): 53 random bits for each draw; NULL: take the most probable */
    int32_t *text;          /* (length, B): the first `given` rows are there */
    double temperature;     /* scores are divided by it before the softmax */
    long top_k;             /* only the so many most probable characters are drawn, */
    double top_p;           /* and only the fewest that have this probability together */
    REAL *h1, *C1, *h2, *C2; /* (B, H1), (B, H2): the states; those before the text become those after it */
    REAL *W1_panels, *U2_panels, *W2_panels, *V_panels;
} sampling;

static int larger_first(const void *a, const void *b)
{
    const REAL x = *(const REAL *)a, y = *(const REAL *)b;
    return (x < y) - (x > y);
}

/* Zeros the probabilities (V) that top_k and top_p leave out; sorted (V) is scratch. */
static void keep_likely(const sampling *p, REAL *probabilities, REAL *sorted)
{
    double total = 0, sum = 0;
    long kept = 0;
    if (p->top_k >= p->V && p->top_p >= 1) return;
    memcpy(sorted, probabilities, p->V * sizeof(REAL));
    qsort(sorted, p->V, sizeof(REAL), larger_first);
    for (long v = 0; v < p->V; v++) total += sorted[v];
    while (kept == 0 || (kept < at_most(p->top_k, p->V) && sum < p->top_p * total)) sum += sorted[kept++];
    for (long v = 0; v < p->V; v++)
        if (probabilities[v] < sorted[kept - 1]) probabilities[v] = 0;
}

/* The first number whose cumulative probability is above u, for u in [0, 1): exactly the distribution,
 * and never a number of probability 0. */
static int32_t draw(long V, const REAL *p, double u)
{
    double total = 0, cumulative = 0;
    long v = 0;
    for (long k = 0; k < V; k++) total += p[k];
    for (cumulative = p[0]; v + 1 < V && !(cumulative > u * total); cumulative += p[++v]) {}
    return (int32_t)v;
}

/* The panels of the output weights (V, H2). */
static void pack_outputs(const sampling *p)
{
    for (long v = 0; v < p->V; v += PANEL)
        pack_panel(p->H2, at_most(p->V - v, PANEL), p->Vw + v * p->H2, 1, p->H2,
                   p->V_panels + v * round_up(p->H2, LANES));
}

/* How much scratch a thread with `rows` texts needs in sample_rows. */
static long sample_size(const sampling *p, long rows)
{
    const long H = p->H1 > p->H2 ? p->H1 : p->H2, V = round_up(p->V, PANEL);
    return 2 * tiles_size(rows, p->H1) + 2 * tiles_size(rows, p->H2) + rows * (4 * PANEL + 8 * H + V) + 2 * V;
}

/* Texts begin to end, all their characters. */
static void sample_rows(const sampling *p, long begin, long end, REAL *memory)
{
    const long H1 = p->H1, H2 = p->H2, V = p->V, B = p->B, rows = end - begin;
    const long size1 = tiles_size(rows, H1), size2 = tiles_size(rows, H2), scores_row = round_up(V, PANEL);
    const long H = H1 > H2 ? H1 : H2;
    REAL *now1 = memory, *next1 = now1 + size1, *now2 = next1 + size1, *next2 = now2 + size2; /* packed h */
    REAL *sums = next2 + size2, *pre = sums + 4 * rows * PANEL, *gates = pre + 4 * rows * H;
    REAL *scores = gates + 4 * rows * H, *probabilities = scores + rows * scores_row, *sorted = probabilities + scores_row;
    memset(memory, 0, sample_size(p, rows) * sizeof(REAL)); /* past the last unit packed h stays 0 */
    /* A layer's step is a sequence of one, on this thread's rows alone, that overwrites its state. */
    const forward_pass layer1 = {1, rows, H1, pre, p->b1, NULL, p->C1 + begin * H1, gates,
                                 p->C1 + begin * H1, p->h1 + begin * H1, p->W1_panels};
    const forward_pass layer2 = {1, rows, H2, pre, p->b2, NULL, p->C2 + begin * H2, gates,
                                 p->C2 + begin * H2, p->h2 + begin * H2, p->W2_panels};
    pack_tiles(BY_ROWS, rows, 0, H1, layer1.h, H1, 1, now1);
    pack_tiles(BY_ROWS, rows, 0, H2, layer2.h, H2, 1, now2);
    for (long s = 0; s + 1 < p->length; s++) {
        for (long r = 0; r < rows; r++)
            memcpy(pre + r * 4 * H1, p->U1 + p->text[s * B + begin + r] * 4 * H1, 4 * H1 * sizeof(REAL));
        for (long strip = 0; strip < H1; strip += PANEL) {
            strip_sums(rows, H1, now1, p->W1_panels, strip, sums, 0);
            forward_tiles(&layer1, 0, 0, rows, strip, sums, next1);
        }
        memset(pre, 0, 4 * rows * H2 * sizeof(REAL)); /* layer 2 gets all from the two products */
        for (long strip = 0; strip < H2; strip += PANEL) {
            strip_sums(rows, H1, next1, p->U2_panels, strip, sums, 0);
            strip_sums(rows, H2, now2, p->W2_panels, strip, sums, 1);
            forward_tiles(&layer2, 0, 0, rows, strip, sums, next2);
        }
        REAL *swap1 = now1, *swap2 = now2;
        now1 = next1;
        next1 = swap1;
        now2 = next2;
        next2 = swap2;
        if (s + 1 < p->given) continue;
        for (long v = 0; v < V; v += PANEL)
            multiply_panel(rows, BY_ROWS, H2, now2, tile_size(H2), p->V_panels + v * round_up(H2, LANES),
                           scores + v, scores_row, 0);
        for (long r = 0; r < rows; r++) {
            REAL log_total;
            const long at = (s + 1) * B + begin + r;
            const long best = softmax(V, scores + r * scores_row, p->c, (REAL)(1 / p->temperature), probabilities,
                                      &log_total);
            keep_likely(p, probabilities, sorted);
            p->text[at] = p->bits ? draw(V, probabilities, (double)p->bits[at - p->given * B] / TWO_TO_53)
                                  : (int32_t)best;
        }
    }
}

/* Continues the B texts; the last character is drawn, not read.  Returns 0, or -1 when out of memory. */
static int sample(sampling *p, int n_threads)
{
    if (n_threads > p->B) n_threads = p->B > 0 ? (int)p->B : 1;
    const long W1 = weights_size(p->H1, p->H1), U2 = weights_size(p->H2, p->H1), W2 = weights_size(p->H2, p->H2);
    const long outputs = round_up(p->V, PANEL) * round_up(p->H2, LANES);
    const long own = sample_size(p, (p->B + n_threads - 1) / n_threads);
    p->W1_panels = scratch(W1 + U2 + W2 + outputs + n_threads * own);
    if (!p->W1_panels) return -1;
    p->U2_panels = p->W1_panels + W1;
    p->W2_panels = p->U2_panels + U2;
    p->V_panels = p->W2_panels + W2;
    REAL *memory = p->V_panels + outputs;
    pack_forward(p->H1, p->H1, p->W1, p->W1_panels, 0, 1);
    pack_forward(p->H2, p->H1, p->U2, p->U2_panels, 0, 1);
    pack_forward(p->H2, p->H2, p->W2, p->W2_panels, 0, 1);
    pack_outputs(p);
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++)
        sample_rows(p, split(p->B, n_threads, i), split(p->B, n_threads, i + 1), memory + i * own);
    return 0;
}
