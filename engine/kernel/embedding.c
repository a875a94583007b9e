/* The embedding: from characters to vectors, and its gradient. */
#include "kernel.h"

/* A character's vector is a column of the weights U (D, V).  The functions below use the rows of a table, the
 * transpose of U, since the numbers of a row are adjacent in memory. */

/* Where share `part` of `parts` of the D numbers of a row begins.  Shares are whole cache lines, so that no two threads
 * write to the same line. */
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

int take_columns(long N, long V, long D, const REAL *U, const int32_t *index, REAL *out, int n_threads)
{
    if (N * D < FEW_NUMBERS) n_threads = 1;
    if (N < V / 8) { /* a table would take longer */
        for (long n = 0; n < N; n++)
            for (long d = 0; d < D; d++) out[n * D + d] = U[d * V + index[n]];
        return 0;
    }
    REAL *table = scratch(0, V * D);
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

/* One thread's share of add_columns: rows begin to end of dU (D, V), added up in these columns of table (V, D). */
static void add_share(long N, long V, long D, long begin, long end, const int32_t *index, const REAL *d, REAL *table,
                      REAL *dU)
{
    WITHOUT_SUBNORMALS
    for (long v = 0; v < V; v++) memset(table + v * D + begin, 0, (end - begin) * sizeof(REAL));
    for (long n = 0; n < N; n++) {
        REAL *row = table + index[n] * D;
        for (long j = begin; j < end; j += LANES)
            store(row + j, load(row + j, end - j) + load(d + n * D + j, end - j), end - j);
    }
    for (long v = 0; v < V; v++)
        for (long j = begin; j < end; j++) dU[j * V + v] = table[v * D + j];
}

int add_columns(long N, long V, long D, const int32_t *index, const REAL *d, REAL *dU, int n_threads)
{
    REAL *table = scratch(0, V * D);
    if (!table) return -1;
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++)
        add_share(N, V, D, share_begin(D, n_threads, i), share_begin(D, n_threads, i + 1), index, d, table, dU);
    return 0;
}
