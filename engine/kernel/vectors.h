/* Shared by all files of the kernel: vectors of numbers, loops over threads, and scratch memory.
 *
 * The kernel runs the LSTM on the CPU.  It is C with the vector types of GCC and clang, valid as C11 and as C++11,
 * without intrinsics except for products, in operands.h, and for subnormals.  REAL is float or double.  kernel.h
 * declares what Ops call.  sampling.c, embedding.c and vectors.c are linked into one library.  sampling.c includes
 * softmax.c and layer.c, which includes products.c, so that the compiler optimises them together: with calls between
 * files, all was 5 % slower.
 *
 * Names: T steps, B sequences, H units, V characters.  Column k*H + j of an axis "ROWS*H" is row k of the cell, such as
 * a gate, for unit j; cell.h has the counts.  Arrays are row-major and contiguous.
 *
 * Not reentrant: scratch memory is kept between calls (Theano's calls hold Python's GIL). */
#ifndef VECTORS_H
#define VECTORS_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif

/* ---- Vectors ------------------------------------------------------------------------------- */

/* The width of a vector register. */
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#define LANES ((long)(VECTOR_BYTES / sizeof(REAL))) /* numbers in a vector */

typedef REAL vector __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t bits __attribute__((vector_size(VECTOR_BYTES)));

#define INLINE static inline __attribute__((always_inline))

/* Loads n numbers, at most LANES, as a vector; the other lanes are 0.  Here and in store, what is copied in part has a
 * variable of its own, so that whole vectors stay in registers. */
INLINE vector load(const REAL *from, long n)
{
    vector whole, part = {0};
    if (n >= LANES) {
        memcpy(&whole, from, sizeof whole);
        return whole;
    }
    memcpy(&part, from, n * sizeof(REAL));
    return part;
}

/* The same from a row, and asks the cache for a later one: the processor does not foresee rows that are far apart. */
INLINE vector load_row(const REAL *from, long n, long row_stride)
{
    __builtin_prefetch(from + 8 * row_stride);
    return load(from, n);
}

/* Stores the first n lanes of v, at most LANES. */
INLINE void store(REAL *to, vector v, long n)
{
    const vector part = v;
    if (n >= LANES) memcpy(to, &v, sizeof v);
    else memcpy(to, &part, n * sizeof(REAL));
}

INLINE void swap(REAL **a, REAL **b)
{
    REAL *first = *a;
    *a = *b;
    *b = first;
}

/* ---- Integers ------------------------------------------------------------------------------ */

INLINE long at_most(long n, long limit) { return n < limit ? n : limit; }

INLINE long round_up(long n, long multiple) { return (n + multiple - 1) / multiple * multiple; }

/* Where part number `part` of `parts` nearly equal parts of n begins (part == parts: n). */
INLINE long split(long n, long parts, long part) { return n * part / parts; }

/* ---- Threads ------------------------------------------------------------------------------- */

/* Waking another thread takes longer than to compute so many numbers. */
enum { FEW_NUMBERS = 20000 };

#ifdef _OPENMP
/* Stands before a loop over thread numbers, to run its iterations in parallel. */
#define FOR_EACH_THREAD _Pragma("omp parallel for num_threads(n_threads) schedule(static, 1)")
#else
#define FOR_EACH_THREAD
#endif

/* ---- Subnormal numbers ---------------------------------------------------------------------- */

/* Numbers below 1.2e-38 (double: 2.2e-308) in a layer whose gates are saturated made training 20 times slower.  In a
 * block that begins with WITHOUT_SUBNORMALS, this thread takes them for 0. */
#if defined(__SSE__)
enum { FLUSH = 0x8040 }; /* in the control register MXCSR: of results, and of operands */
INLINE uint64_t control(void) { return __builtin_ia32_stmxcsr(); }
INLINE void set_control(const uint64_t *value) { __builtin_ia32_ldmxcsr((unsigned)*value); }
#elif defined(__aarch64__)
enum { FLUSH = 1 << 24 }; /* in the control register FPCR */
INLINE uint64_t control(void)
{
    uint64_t value;
    __asm__ volatile("mrs %0, fpcr" : "=r"(value));
    return value;
}
INLINE void set_control(const uint64_t *value) { __asm__ volatile("msr fpcr, %0" : : "r"(*value)); }
#else
enum { FLUSH = 0 };
INLINE uint64_t control(void) { return 0; }
INLINE void set_control(const uint64_t *value) { (void)value; }
#endif

#define WITHOUT_SUBNORMALS \
    const uint64_t before_block __attribute__((cleanup(set_control))) = control(), in_block = before_block | FLUSH; \
    set_control(&in_block);

/* ---- Scratch memory ------------------------------------------------------------------------ */

enum { CACHE_LINE = 64 }; /* bytes */

/* The first cache line in memory, which has CACHE_LINE bytes more than needed.  A vector that lies across two lines
 * needs two loads or stores, which made the LSTM layers up to 10 % slower. */
INLINE char *aligned(char *memory) { return memory + CACHE_LINE - (uintptr_t)memory % CACHE_LINE; }

/* Scratch for n numbers, aligned; NULL when out of memory.  The memory is kept, and the next call with the same `which`,
 * 0 or 1, reuses it: new memory would cost a page fault every 4 KiB. */
static inline REAL *scratch(int which, long n)
{
    static char *memory[2] = {NULL, NULL};
    static long size[2] = {0, 0};
    const long bytes = n * (long)sizeof(REAL) + CACHE_LINE;
    if (bytes > size[which]) {
        free(memory[which]);
        memory[which] = (char *)malloc(bytes);
        size[which] = memory[which] ? bytes : 0;
    }
    return memory[which] ? (REAL *)aligned(memory[which]) : NULL;
}

#endif
