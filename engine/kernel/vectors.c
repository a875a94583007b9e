/* Threads, the check of indices, and sums of squares. */
#include "kernel.h"
#ifdef _OPENMP
#include <omp.h>
#include <pthread.h>

static void use_one_thread(void) { omp_set_num_threads(1); }

int threads(void)
{
    static int registered = 0;
    if (!registered) registered = !pthread_atfork(NULL, NULL, use_one_thread);
    return omp_get_max_threads();
}

#else
int threads(void) { return 1; }
#endif

int all_below(long V, long N, const int32_t *index)
{
    for (long n = 0; n < N; n++)
        if (index[n] < 0 || index[n] >= V) return 0;
    return 1;
}

static double sum_of_squares(long N, const REAL *v)
{
    WITHOUT_SUBNORMALS
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
    return total;
}

int sums_of_squares(long count, const long *N, const REAL *const *v, REAL *const *sums)
{
    long all = 0;
    for (long k = 0; k < count; k++) all += N[k];
    const int n_threads = all > 100000 ? threads() : 1; /* with fewer, waking another takes longer than it saves */
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++)
        for (long k = i; k < count; k += n_threads) *sums[k] = (REAL)sum_of_squares(N[k], v[k]);
    return 0;
}
