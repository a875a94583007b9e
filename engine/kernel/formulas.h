/* What the functions have in common that elementwise.py generates, each an elementwise formula on whole arrays. */
#include "kernel.h"
#include "functions.h"

enum { CHUNK = 1024 }; /* numbers that a formula computes at a time, a multiple of LANES */

/* Converts n flags, 0 or 1.  GCC vectorises this loop, but not the conversion of a single vector. */
INLINE void to_numbers(const uint8_t *flags, long n, REAL *numbers)
{
    for (long k = 0; k < n; k++) numbers[k] = flags[k];
}

/* Where thread i of n_threads begins in n numbers. */
INLINE long first_of(long n, long n_threads, long i) { return at_most(round_up(split(n, n_threads, i), LANES), n); }

/* Defines a function that fills out (rows, n).  ONE, ROW and ALL are statements for the whole array, a row, and a
 * vector at number `at`, of which m are left; FLAGS is for a chunk.  Threads share the rows if BY_ROWS is 1, else the
 * columns. */
#define FORMULA(NAME, ARGUMENTS, BY_ROWS, ONE, ROW, FLAGS, ALL, RESULT) \
    __attribute__((visibility("default"))) void NAME ARGUMENTS \
    { \
        const int n_threads = rows * n > FEW_NUMBERS ? threads() : 1; \
        ONE \
        FOR_EACH_THREAD \
        for (int i = 0; i < n_threads; i++) { \
            WITHOUT_SUBNORMALS \
            const long last = BY_ROWS ? split(rows, n_threads, i + 1) : rows; \
            for (long r = BY_ROWS ? split(rows, n_threads, i) : 0; r < last; r++) { \
                ROW \
                const long end = BY_ROWS ? n : first_of(n, n_threads, i + 1); \
                for (long begin = BY_ROWS ? 0 : first_of(n, n_threads, i); begin < end; begin += CHUNK) { \
                    const long stop = at_most(begin + CHUNK, end); \
                    FLAGS \
                    for (long j = begin; j < stop; j += LANES) { \
                        const long at = r * n + j, m = stop - j; \
                        ALL \
                        store(out + at, RESULT, m); \
                    } \
                } \
            } \
        } \
    }
