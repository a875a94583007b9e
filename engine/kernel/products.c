/* Matrix products, from a microkernel that computes a small tile of the result in registers.
 *
 * Why it is fast.  Nearly all the time goes into products  C = A . B,  and a core can do two vector
 * multiply-adds a cycle as long as their numbers are in registers:
 *
 *   tile     The microkernel computes a tile of C, at most MAX_ROWS rows by PANEL = 2 vectors of
 *            columns, entirely in registers.  For each k it loads two vectors of B and multiplies
 *            them by A[r, k] of each row: 26 multiply-adds for 15 loads with 32 registers.
 *
 *                         B[k, 0:PANEL]
 *              A[0, k]    C[0, 0:PANEL]
 *              A[1, k]    C[1, 0:PANEL]        C[r, :] += A[r, k] * B[k, :]
 *                ...           ...
 *
 *   packing  A and B are first copied into the order in which tiles read them, so that a tile only
 *            walks forward through memory.  B becomes panels: PANEL columns with all their k, then the
 *            next PANEL columns.  A becomes tiles, cut into chunks of LANES words (operands.h).  Missing
 *            columns and missing k become zeros, so tiles need no special cases.
 *   LSTM     The recurrent weights are packed once per sequence.  A strip of PANEL units gets its gates as
 *            soon as its sums are ready, while they are in the nearest cache, and h goes straight into
 *            the packed form that the next step's tiles read.
 *   threads  Batch rows do not depend on each other: a thread takes its share of them through all
 *            T steps and never waits for another.  Shares depend only on the number of threads, so
 *            the same number of threads gives the same bits. */
#ifndef PRODUCTS_C
#define PRODUCTS_C

#include "kernel.h"
#include "operands.h"

#define PANEL (2 * LANES) /* columns of a tile */

/* Rows of a tile.  Two sums per row, two vectors of B and a number of A take 13*2 + 3 of 32 registers with 13 rows, and
 * 6*2 + 3 of 16 with 6.  AMX has registers for whole tiles.  ARM multiplies by a lane of a register, so each row also
 * needs one for A: with 8 rows, g++ 14 and clang 14 keep everything in 32 registers; with 10, g++ does not. */
#if defined(AMX_BF16)
#define MAX_ROWS AMX_ROWS
#elif defined(__AVX512F__)
#define MAX_ROWS 13
#elif defined(__aarch64__)
#define MAX_ROWS 8
#else
#define MAX_ROWS 6
#endif

#define BLOCK (8L * MAX_ROWS) /* rows of A that are packed and multiplied at a time */

/* ---- Packing ------------------------------------------------------------------------------- */

/* The number of panels for N columns, and where panel i begins among panels that are K deep. */
INLINE long panel_count(long N) { return (N + PANEL - 1) / PANEL; }
INLINE long panel_at(long K, long i) { return i * words(K) * PANEL; }

/* Packs one panel of B, (K, columns) with any strides, as (words(K), PANEL). */
static void pack_panel(long K, long columns, const REAL *b, long k_stride, long column_stride,
                       REAL *panel)
{
    if (columns < PANEL) memset(panel, 0, words(K) * PANEL * sizeof(REAL));
    if (column_stride == 1 && columns == PANEL)
        for (long k = 0; k < PER_WORD * words(K); k += PER_WORD, panel += PANEL)
            for (long c = 0; c < PANEL; c += LANES)
                store(panel + c, words_across(b + k * k_stride + c, LANES, k_stride, K - k), LANES);
    else
        for (long c = 0; c < columns; c++)
            for (long k = 0; k < K; k += DEEP) {
                const vector w = words_along(b + c * column_stride + k * k_stride, k_stride, K - k);
                for (long l = 0; l < LANES; l++) panel[(k / PER_WORD + l) * PANEL + c] = w[l];
            }
}

/* A tile of A is packed in chunks of LANES words.  In a chunk either a row's words stay together or a
 * column's, whichever needs no transposition: word k of row r is number r*LANES + k of its chunk (BY_ROWS) or
 * number k*COLUMN + r (BY_COLUMNS; AMX reads only rows).  COLUMN is MAX_ROWS rounded up to whole vectors. */
typedef enum { BY_ROWS, BY_COLUMNS } order;

#define COLUMN ((MAX_ROWS + LANES - 1) / LANES * LANES)
#define CHUNK (COLUMN * LANES)

/* The rows of A are cut into as few tiles as possible, of nearly equal sizes. */
typedef struct { long number, first, count; } tile_rows;

INLINE long tile_count(long rows) { return (rows + MAX_ROWS - 1) / MAX_ROWS; }

INLINE tile_rows rows_of_tile(long rows, long i)
{
    const long first = split(rows, tile_count(rows), i);
    const tile_rows tile = {i, first, split(rows, tile_count(rows), i + 1) - first};
    return tile;
}

/* The size of one packed tile, K deep, and of all the tiles of `rows` rows. */
INLINE long tile_size(long K) { return words(K) * COLUMN; }
INLINE long tiles_size(long rows, long K) { return tile_count(rows) * tile_size(K); }

/* Where in a tile the chunk is that begins with number k of each row. */
INLINE long chunk_at(long k) { return k / DEEP * CHUNK; }

/* Where in all the tiles of rows of K numbers the words of row r of a tile are that begin with number k, BY_ROWS. */
INLINE long words_at(tile_rows tile, long K, long r, long k)
{
    return tile.number * tile_size(K) + chunk_at(k) + r * LANES;
}

/* Packs a chunk of a tile of A, (rows, at most DEEP of depth) with any strides, BY_ROWS ... */
INLINE void pack_rows(long rows, long depth, const REAL *a, long row_stride, long k_stride, REAL *chunk)
{
    for (long r = 0; r < rows; r++, a += row_stride, chunk += LANES)
        store(chunk, words_along(a, k_stride, depth), LANES);
}

/* ... and word k of a chunk BY_COLUMNS, for a row stride of 1, from its first number of each row. */
INLINE void pack_column(long rows, long depth, const REAL *a, long k_stride, long k, REAL *chunk)
{
    for (long r = 0; r < rows; r += LANES) {
        const vector w = words_across(a + r, rows - r, k_stride, depth);
#ifdef AMX_BF16
        for (long l = 0; l < LANES; l++) chunk[(r + l) * LANES + k] = w[l];
#else
        store(chunk + k * COLUMN + r, w, LANES);
#endif
    }
}

/* Packs all tiles of A, (rows, K) with any strides.  For BY_COLUMNS row_stride is 1, `rows` at most BLOCK, `rows_after`
 * more rows follow in memory, and the loop over k is the outer one, so that memory is read in its order. */
static void pack_tiles(order by, long rows, long rows_after, long K, const REAL *a, long row_stride,
                       long k_stride, REAL *tiles)
{
    if (by == BY_ROWS)
        for (long i = 0; i < tile_count(rows); i++) {
            const tile_rows tile = rows_of_tile(rows, i);
            for (long k0 = 0; k0 < K; k0 += DEEP)
                pack_rows(tile.count, K - k0, a + tile.first * row_stride + k0 * k_stride, row_stride, k_stride,
                          tiles + i * tile_size(K) + chunk_at(k0));
        }
    else {
        long first[BLOCK / MAX_ROWS];
        for (long i = 0; i < tile_count(rows); i++) first[i] = rows_of_tile(rows, i).first;
        for (long k = 0; k < words(K); k++)
            for (long i = 0; i < tile_count(rows); i++)
                pack_column(at_most(rows - first[i] + rows_after, COLUMN), K - k * PER_WORD,
                            a + first[i] + k * PER_WORD * k_stride, k_stride, k % LANES,
                            tiles + i * tile_size(K) + chunk_at(k * PER_WORD));
    }
}

/* ---- The microkernel ----------------------------------------------------------------------- */

/* c (rows, columns) = or += sums (rows, PANEL) */
static void copy_columns(long rows, long columns, const REAL *sums, REAL *c, long c_row, int accumulate)
{
    for (long r = 0; r < rows; r++)
        for (long n = 0; n < columns; n++)
            c[r * c_row + n] = accumulate ? c[r * c_row + n] + sums[r * PANEL + n] : sums[r * PANEL + n];
}

/* Stands before a loop over rows: unrolled, compilers keep the sums in registers, and else in memory. */
#ifdef __clang__
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif

/* c (rows, PANEL) = packed tile a (rows, K) . packed panel b (K, PANEL), or c += with `accumulate`.
 * `rows` and `by` are constants wherever this is inlined, so that the sums live in registers. */
INLINE void tile_of_rows(const long rows, const order by, long K, const REAL *a, const REAL *b,
                         REAL *c, long c_stride, int accumulate)
{
    const long row_step = by == BY_ROWS ? LANES : 1, k_step = by == BY_ROWS ? 1 : COLUMN;
    const vector none = {0};
    vector sum[MAX_ROWS][2];
    UNROLLED
    for (long r = 0; r < rows; r++) {
        sum[r][0] = sum[r][1] = none;
        __builtin_prefetch(c + r * c_stride, 1); /* the cache fetches meanwhile what is written at the end */
        __builtin_prefetch(c + r * c_stride + LANES, 1);
    }
    for (long k0 = 0; k0 < K; k0 += DEEP, a += CHUNK)
        for (long k = 0; k < LANES; k++, b += PANEL) {
            const vector left = load(b, LANES), right = load(b + LANES, LANES);
            UNROLLED
            for (long r = 0; r < rows; r++) {
                const REAL *factor = a + r * row_step + k * k_step;
                sum[r][0] = multiply_add(sum[r][0], factor, left);
                sum[r][1] = multiply_add(sum[r][1], factor, right);
            }
        }
    UNROLLED
    for (long r = 0; r < rows; r++, c += c_stride) {
        store(c, accumulate ? sum[r][0] + load(c, LANES) : sum[r][0], LANES);
        store(c + LANES, accumulate ? sum[r][1] + load(c + LANES, LANES) : sum[r][1], LANES);
    }
}

/* The same for 1 to MAX_ROWS rows, a number that the compiler does not know. */
static void multiply_tile(long rows, order by, long K, const REAL *a, const REAL *b,
                          REAL *c, long c_stride, int accumulate)
{
#ifdef AMX_BF16
    REAL sums[AMX_ROWS * PANEL];
    tile_sums(K, a, b, sums);
    copy_columns(rows, PANEL, sums, c, c_stride, accumulate);
    (void)by;
#else
#define WITH_ROWS(n) \
    case n: \
        if (by == BY_ROWS) tile_of_rows(n, BY_ROWS, K, a, b, c, c_stride, accumulate); \
        else tile_of_rows(n, BY_COLUMNS, K, a, b, c, c_stride, accumulate); \
        break;
    switch (rows) {
        WITH_ROWS(1) WITH_ROWS(2) WITH_ROWS(3) WITH_ROWS(4) WITH_ROWS(5) WITH_ROWS(6)
#if MAX_ROWS > 6
        WITH_ROWS(7) WITH_ROWS(8)
#endif
#if MAX_ROWS > 8
        WITH_ROWS(9) WITH_ROWS(10) WITH_ROWS(11) WITH_ROWS(12) WITH_ROWS(13)
#endif
    }
#undef WITH_ROWS
#endif
}

/* c (rows, PANEL) = or += packed tiles of A, tile_step numbers apart, . one packed panel of B.  set_tiles comes first. */
static void multiply_panel(long rows, order by, long K, const REAL *tiles, long tile_step,
                           const REAL *panel, REAL *c, long c_stride, int accumulate)
{
    for (long i = 0; i < tile_count(rows); i++) {
        const tile_rows tile = rows_of_tile(rows, i);
        multiply_tile(tile.count, by, K, tiles + i * tile_step, panel, c + tile.first * c_stride, c_stride,
                      accumulate);
    }
}

/* ---- Few rows ------------------------------------------------------------------------------ */

/* With so few rows of A, packing B takes longer than the product. */
#define FEW 4

INLINE REAL sum_of_lanes(vector v)
{
    typedef REAL part __attribute__((vector_size(16)));    /* the smallest register: nothing goes through memory */
    part parts[VECTOR_BYTES / 16];
    memcpy(parts, &v, sizeof v);
    for (long i = 1; i < VECTOR_BYTES / 16; i++) parts[0] += parts[i];
    for (long l = 1; l < 16 / (long)sizeof(REAL); l++) parts[0][0] += parts[0][l];
    return parts[0][0];
}

/* c = or += row (K) . columns of B that are b_column apart.  `columns` is a constant, so that sums stay in registers. */
INLINE void dot_columns(const long columns, long K, const REAL *row, const REAL *b, long b_column, REAL *c,
                        int accumulate)
{
    vector sum[FEW] = {{0}};
    for (long k = 0; k < K; k += LANES) {
        const vector x = load(row + k, K - k);
        UNROLLED
        for (long j = 0; j < columns; j++) sum[j] += x * load(b + j * b_column + k, K - k);
    }
    UNROLLED
    for (long j = 0; j < columns; j++) c[j] = accumulate ? c[j] + sum_of_lanes(sum[j]) : sum_of_lanes(sum[j]);
}

/* C (M, N) = or += A (M, K) . B (K, N), for few rows.  The numbers of A's rows, C's rows and B's columns are adjacent. */
static void multiply_few(long M, long N, long K, const REAL *a, long a_row, const REAL *b, long b_column, REAL *c,
                         long c_row, int accumulate)
{
    for (long n = 0; n < N; n += n + FEW <= N ? FEW : 1)
        for (long m = 0; m < M; m++)
            if (n + FEW <= N) dot_columns(FEW, K, a + m * a_row, b + n * b_column, b_column, c + m * c_row + n, accumulate);
            else dot_columns(1, K, a + m * a_row, b + n * b_column, b_column, c + m * c_row + n, accumulate);
}

/* Whether multiply_few computes a product of M rows: not of bfloat16, whose numbers are rounded when they are packed. */
INLINE int are_few(long M) { return PER_WORD == 1 && M <= FEW; }

/* ---- Matrix product ------------------------------------------------------------------------ */

/* C = A . B is computed in slices of at most DEPTH k and blocks of BLOCK rows.  A slice of a block's tiles stays in the
 * second-level cache while panel after panel is multiplied with all of them.  With fewer, deeper slices, C is read and
 * written less often. */
#define DEPTH 1024L

/* With fewer multiply-adds, or few rows, waking another thread takes longer than it saves. */
#define WORTH_THREADS 3e6

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

/* Packed panel i of B, of the slice that begins at k0. */
INLINE REAL *panel_of_slice(const product *p, long k0, long i)
{
    return p->packed_b + panel_at(k0, panel_count(p->N)) + panel_at(slice_depth(p, k0), i);
}

static void pack_b(const product *p, long part, long parts)
{
    const long count = panel_count(p->N);
    for (long k0 = 0; k0 < p->K; k0 += p->depth)
        for (long i = split(count, parts, part); i < split(count, parts, part + 1); i++)
            pack_panel(slice_depth(p, k0), at_most(p->N - i * PANEL, PANEL),
                       p->b + k0 * p->b_row + i * PANEL * p->b_column, p->b_row, p->b_column,
                       panel_of_slice(p, k0, i));
}

/* Computes rows m to m + rows of C, at most BLOCK: the part of A . B from slice k0. */
static void multiply_block(const product *p, long m, long rows, long k0, REAL *tiles)
{
    const order by = p->a_row == 1 ? BY_COLUMNS : BY_ROWS;
    const long depth = slice_depth(p, k0);
    const int accumulate = p->accumulate || k0 > 0;
    REAL sums[BLOCK * PANEL];
    pack_tiles(by, rows, p->M - (m + rows), depth, p->a + m * p->a_row + k0 * p->a_column, p->a_row,
               p->a_column, tiles);
    for (long n = 0; n < p->N; n += PANEL) {
        const REAL *panel = panel_of_slice(p, k0, n / PANEL);
        REAL *c = p->c + m * p->c_row + n;
        if (n + PANEL <= p->N) {
            multiply_panel(rows, by, depth, tiles, tile_size(depth), panel, c, p->c_row, accumulate);
        } else {
            multiply_panel(rows, by, depth, tiles, tile_size(depth), panel, sums, PANEL, 0);
            copy_columns(rows, p->N - n, sums, c, p->c_row, accumulate);
        }
    }
}

/* Computes rows begin to end of C, block by block. */
static void multiply_rows(const product *p, long begin, long end, REAL *tiles)
{
    const long rows = end - begin, blocks = (rows + BLOCK - 1) / BLOCK;
    WITHOUT_SUBNORMALS
    set_tiles();
    for (long k0 = 0; k0 < p->K || k0 == 0; k0 += p->depth)
        for (long i = 0; i < blocks; i++) {
            const long first = split(rows, blocks, i);
            multiply_block(p, begin + first, split(rows, blocks, i + 1) - first, k0, tiles);
        }
}

int matmul(long M, long N, long K, const REAL *a, long a_row, long a_column, const REAL *b, long b_row, long b_column,
           REAL *c, long c_row, int accumulate, int n_threads)
{
    const long slices = (K + DEPTH - 1) / DEPTH, depth = slices ? round_up((K + slices - 1) / slices, DEEP) : DEEP;
    const long a_size = tiles_size(BLOCK, depth);
    if (are_few(M) || (double)M * N * K < WORTH_THREADS) n_threads = 1;
    if (are_few(M) && a_column == 1 && b_row == 1) {
        WITHOUT_SUBNORMALS
        multiply_few(M, N, K, a, a_row, b, b_column, c, c_row, accumulate);
        return 0;
    }
    product p;
    p.M = M, p.N = N, p.K = K;
    p.a = a, p.a_row = a_row, p.a_column = a_column;
    p.b = b, p.b_row = b_row, p.b_column = b_column;
    p.c = c, p.c_row = c_row, p.accumulate = accumulate, p.depth = depth;
    p.packed_b = scratch(0, panel_at(K, panel_count(N)) + n_threads * a_size);
    if (!p.packed_b) return -1;
    REAL *tiles = p.packed_b + panel_at(K, panel_count(N));
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++) pack_b(&p, i, n_threads);
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++)
        multiply_rows(&p, split(M, n_threads, i), split(M, n_threads, i + 1), tiles + i * a_size);
    return 0;
}

#endif
