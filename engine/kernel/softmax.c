/* Softmax with the cross-entropy, and its gradient. */
#ifndef SOFTMAX_C
#define SOFTMAX_C

#include "functions.h"
#include "kernel.h"

/* p (V) = softmax of scale * (scores + bias).  Returns the index of the largest;
 * *log_total is minus the logarithm of its probability. */
static long softmax(long V, const REAL *scores, const REAL *bias, REAL scale, REAL *p, REAL *log_total)
{
    long best = 0;
    REAL total = 0;
    for (long v = 0; v < V; v++) p[v] = scores[v] + bias[v];
    for (long v = 1; v < V; v++)
        if (p[v] > p[best]) best = v;
    const REAL highest = p[best]; /* subtracted first, so that nothing overflows */
    for (long v = 0; v < V; v += LANES) store(p + v, exponential(scale * (load(p + v, V - v) - highest)), V - v);
    for (long v = 0; v < V; v++) total += p[v];
    for (long v = 0; v < V; v++) p[v] /= total;
    *log_total = (REAL)log(total);
    return best;
}

/* The sum of the differences of all scores + bias from the highest. */
static REAL sum_below(long V, const REAL *scores, const REAL *bias, REAL highest)
{
    vector part = {0};
    REAL sum = 0;
    long v = 0;
    for (; v + LANES <= V; v += LANES) part += highest - (load(scores + v, LANES) + load(bias + v, LANES));
    for (; v < V; v++) sum += highest - (scores[v] + bias[v]);
    for (long l = 0; l < LANES; l++) sum += part[l];
    return sum;
}

int cross_entropy(long N, long V, const REAL *scores, const REAL *bias, const int32_t *y, REAL *cost, int32_t *best,
                  REAL *p, REAL *spread, int n_threads)
{
    if (N * V < FEW_NUMBERS) n_threads = 1;
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++) {
        WITHOUT_SUBNORMALS
        for (long n = split(N, n_threads, i); n < split(N, n_threads, i + 1); n++) {
            const REAL *row = scores + n * V;
            REAL log_total;
            best[n] = (int32_t)softmax(V, row, bias, 1, p + n * V, &log_total);
            /* The scores are subtracted first: their difference is exact if they are large. */
            cost[n] = row[best[n]] + bias[best[n]] - (row[y[n]] + bias[y[n]]) + log_total;
            spread[n] = sum_below(V, row, bias, row[best[n]] + bias[best[n]]) / V + log_total;
        }
    }
    return 0;
}

int cross_entropy_gradient(long N, long V, const REAL *dcost, const REAL *dspread, const REAL *p, const int32_t *y,
                           REAL *dscores, REAL *dbias)
{
    WITHOUT_SUBNORMALS
    memset(dbias, 0, V * sizeof(REAL));
    for (long n = 0; n < N; n++, p += V, dscores += V) {
        const REAL more = dspread[n];
        for (long v = 0; v < V; v++) dscores[v] = p[v] * (dcost[n] + more) - more / V;
        dscores[y[n]] -= dcost[n];
        for (long v = 0; v < V; v++) dbias[v] += dscores[v];
    }
    return 0;
}

#endif
