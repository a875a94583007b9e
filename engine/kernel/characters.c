/* From characters to vectors and back: the embedding, and softmax with its cost. */

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
