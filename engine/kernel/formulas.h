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
