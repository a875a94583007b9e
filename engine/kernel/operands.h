/* The packed inputs of matrix products: words of PER_WORD numbers.  A single number is a REAL.  Two are bfloat16, the
 * upper halves of floats: numbers k and k + 1 of a row of A, or of a column of B.  Products of words are summed in
 * float (Kalamkar et al. 2019).  AVX512_BF16 and AMX_BF16 choose the instructions. */
#ifndef OPERANDS_H
#define OPERANDS_H

#include "vectors.h"
#if defined(AVX512_BF16) || defined(AMX_BF16)
#include <immintrin.h>
#ifdef __AVX512BF16__
#define CONVERTS /* the processor rounds to bfloat16 */
#endif
#endif

#ifndef PER_WORD
#define PER_WORD 1
#endif
#define DEEP (PER_WORD * LANES) /* numbers in a vector of words */

typedef uint16_t halves __attribute__((vector_size(VECTOR_BYTES / 2)));

/* The number of words for K numbers, rounded up to whole vectors. */
INLINE long words(long K) { return round_up(K, DEEP) / PER_WORD; }

/* Rounds each lane to a bfloat16 in its upper half, to the nearest, ties to even.  NaN stays NaN. */
INLINE bits rounded(vector v)
{
    const bits b = (bits)v, is_nan = (bits)(v != v);
    return ((b + 0x7fff + (b >> 16 & 1)) & ~is_nan) | ((b | 0x400000) & is_nan);
}

INLINE halves to_halves(vector v)
{
#ifdef CONVERTS
    return (halves)_mm512_cvtneps_pbh((__m512)v);
#endif
    return __builtin_convertvector(rounded(v) >> 16, halves);
}

/* The words of 2 * LANES numbers, two vectors. */
INLINE vector to_words(vector first, vector second)
{
#ifdef CONVERTS
    return (vector)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
#endif
    const halves both[2] = {to_halves(first), to_halves(second)};
    vector words;
    memcpy(&words, both, sizeof words);
    return words;
}

/* A word for each of n columns, from the first of K rows that are k_stride apart; a missing row is 0. */
INLINE vector words_across(const REAL *from, long n, long k_stride, long K)
{
    const vector none = {0}, first = K > 0 ? load_row(from, n, k_stride) : none;
    if (PER_WORD == 1) return first;
    const vector second = K > 1 ? load_row(from + k_stride, n, k_stride) : none;
#ifdef CONVERTS
    const uint16_t order[] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
                              8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return (vector)_mm512_permutexvar_epi16(_mm512_loadu_si512(order), (__m512i)to_words(first, second));
#endif
    return (vector)(__builtin_convertvector(to_halves(first), bits)
                    | __builtin_convertvector(to_halves(second), bits) << 16);
}

/* LANES words, from the first of K numbers that are k_stride apart; missing numbers are 0. */
INLINE vector words_along(const REAL *from, long k_stride, long K)
{
    REAL numbers[DEEP] = {0};
    if (k_stride != 1) {
        for (long k = 0; k < at_most(K, DEEP); k++) numbers[k] = from[k * k_stride];
        from = numbers, K = DEEP;
    }
    const vector first = load(from, K);
    return PER_WORD == 1 ? first : to_words(first, load(from + LANES, K > LANES ? K - LANES : 0));
}

/* Stores the first n lanes of v in a row of words, as its numbers from k on. */
INLINE void store_words(REAL *row, long k, vector v, long n)
{
    const halves half = to_halves(v);
    if (PER_WORD == 1) store(row + k, v, n);
    else if (n >= LANES) memcpy((uint16_t *)row + k, &half, sizeof half);
    else memcpy((uint16_t *)row + k, &half, n * sizeof half[0]);
}

/* sum + word * v */
INLINE vector multiply_add(vector sum, const REAL *word, vector v)
{
    uint32_t pair;
    memcpy(&pair, word, sizeof pair);
    const bits none = {0}, w = none + pair, b = (bits)v;
    if (PER_WORD == 1) return sum + *word * v;
#ifdef AVX512_BF16
    return (vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)w, (__m512bh)b);
#endif
    sum += (vector)(w << 16) * (vector)(b << 16);
    return sum + (vector)(w & 0xffff0000) * (vector)(b & 0xffff0000);
}

#ifdef AMX_BF16

enum { AMX_ROWS = 16 };

/* Gives this thread's tile registers 0 to 4 AMX_ROWS rows of one vector each, which takes as long as ten products. */
INLINE void set_tiles(void)
{
    struct { uint8_t palette, start, none[14]; uint16_t bytes[16]; uint8_t rows[16]; } tiles = {1, 0, {0}, {0}, {0}};
    for (int i = 0; i < 5; i++) tiles.bytes[i] = VECTOR_BYTES, tiles.rows[i] = AMX_ROWS;
    _tile_loadconfig(&tiles);
}

/* sums (AMX_ROWS, 2 * LANES) = chunks of words a, (AMX_ROWS, LANES) each, . words b (words(K), 2 * LANES) */
INLINE void tile_sums(long K, const REAL *a, const REAL *b, REAL *sums)
{
    _tile_zero(0); _tile_zero(1);
    for (long k = 0; k < K; k += DEEP, a += AMX_ROWS * LANES, b += 2 * LANES * LANES) {
        _tile_loadd(2, a, VECTOR_BYTES);
        _tile_loadd(3, b, 2 * VECTOR_BYTES);
        _tile_loadd(4, b + LANES, 2 * VECTOR_BYTES);
        _tile_dpbf16ps(0, 2, 3); _tile_dpbf16ps(1, 2, 4);
    }
    _tile_stored(0, sums, 2 * VECTOR_BYTES); _tile_stored(1, sums + LANES, 2 * VECTOR_BYTES);
}

#else

INLINE void set_tiles(void) {}

#endif
#endif
