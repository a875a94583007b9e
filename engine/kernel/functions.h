/* Functions of vectors.  Those named vector_... are for a cell's code, which engine/graph/in_c.py generates;
 * OPERATIONS in formula.py has each of them in NumPy. */
#ifndef FUNCTIONS_H
#define FUNCTIONS_H

#include "vectors.h"

/* ---- Choices ------------------------------------------------------------------------------- */

/* The result of a comparison of vectors: all bits of a lane are 1, or all are 0. */
typedef __typeof__((vector){0} < (vector){0}) mask;

INLINE vector choose(mask which, vector yes, vector no)
{
    return (vector)((which & (mask)yes) | (~which & (mask)no));
}

INLINE vector number(REAL x)
{
    vector v;
    for (long l = 0; l < LANES; l++) v[l] = x;
    return v;
}

/* NaN is neither less nor greater, so it stays.  If low is above high, numbers below low become low. */
INLINE vector vector_clip(vector x, vector low, vector high)
{
    return choose(x < low, low, choose(x > high, high, x));
}

INLINE vector clamp(vector x, REAL low, REAL high) { return vector_clip(x, number(low), number(high)); }

/* ---- Sigmoid, tanh and the exponential of softmax ------------------------------------------ */

/* Float: polynomials.  Largest error for 2^-40 < |x| < 128, in units in the last place: sigmoid
 * 2.5, tanh 2.7.  A sigmoid below 1.2e-38 (a subnormal float) may become 0.
 * Double: the C library, lane by lane.  NaN gives NaN. */

/* e^t = 2^n e^r with an integer n and |r| <= ln(2)/2: returns e^r - 1 and sets *power to 2^n, for
 * -87 <= t < 88.8 (2^128 is infinity) and NaN.  For float only. */
INLINE vector exp_parts(vector t, vector *power)
{
    const REAL magic = 12582912; /* 1.5 * 2^23: adding it rounds to an integer */
    const vector shifted = t * (REAL)1.44269504 + magic; /* t / ln(2); n in its lowest bits */
    const vector n = shifted - magic;
    /* ln(2) in two parts, the first with so few bits that n times it is exact. */
    const vector r = t - n * (REAL)0.693359375 + n * (REAL)2.12194440e-4;
    /* e^r - 1 = r + r^2 q(r); q was fitted for the smallest relative error, 1.7e-8. */
    const vector q = (REAL)4.999999815e-01 + r * ((REAL)1.666654362e-01
                   + r * ((REAL)4.166719986e-02 + r * ((REAL)8.366520581e-03
                   + r * (REAL)1.388252144e-03)));
    /* n to the exponent, whose bias is 127; magic's bits fall out */
    *power = (vector)(((bits)shifted << 23) + (127u << 23));
    return r + r * r * q;
}

INLINE vector vector_sigmoid(vector x)
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
INLINE vector vector_tanh(vector x)
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

/* e^x for x <= 0; 0 below -87, where float underflows. */
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

/* ---- The other functions that a cell may call ---------------------------------------------- */

/* The C library, lane by lane. */
#define BY_LANES(name, of_x) \
    INLINE vector vector_##name(vector v) \
    { \
        for (long l = 0; l < LANES; l++) { \
            const REAL x = v[l]; \
            v[l] = (REAL)(of_x); \
        } \
        return v; \
    }
BY_LANES(sqrt, sqrt(x))
BY_LANES(abs, fabs(x))

/* Comparisons give 1 or 0.  NaN is unequal to everything; all other comparisons with it give 0. */
#define COMPARISON(name, operator) \
    INLINE vector vector_##name(vector x, vector y) { return choose(x operator y, number(1), number(0)); }
COMPARISON(less, <)
COMPARISON(greater, >)
COMPARISON(less_equal, <=)
COMPARISON(greater_equal, >=)
COMPARISON(equal, ==)
COMPARISON(not_equal, !=)

INLINE vector vector_where(vector which, vector yes, vector no) { return choose(which != number(0), yes, no); }

/* A zero and NaN stay as they are. */
INLINE vector vector_sign(vector x) { return choose(x > number(0), number(1), choose(x < number(0), number(-1), x)); }

/* NaN if either is NaN. */
INLINE vector vector_min(vector x, vector y) { return choose((x < y) | (x != x), x, y); }
INLINE vector vector_max(vector x, vector y) { return choose((x > y) | (x != x), x, y); }

/* ---- Exponentials, logarithms and powers --------------------------------------------------- */

/* Float: the largest error of normal numbers, in units in the last place: exp 1.4, expm1 1.8, log and log1p 1.0,
 * softplus 1.9, pow 1 + 2.2 |y log x|.  Results of exp, expm1, softplus and pow below 2.4e-38 may become 0.  log and
 * pow take a subnormal x for 0, or for one of 5.9e-39 to 1.2e-38.  Double: the C library, lane by lane. */

/* For float: e^x - less, where less is 0 or 1. */
INLINE vector exp_less(vector x, REAL less)
{
    vector power;
    const vector e = exp_parts(clamp(x, -87, (REAL)88.75), &power);
    /* Half of 2^n, which would be infinity too early.  Half of the lowest, 2^-126, becomes 0. */
    const vector half = (vector)((bits)power - (1u << 23));
    return 2 * (half * e + (half - less / 2));
}

/* For float: log(x) + more.  x = 2^k (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2).  With s = f / (2 + f), log(1 + f) is
 * 2 s + 2/3 s^3 + 2/5 s^5 + ...; 2 s is computed as f - s f, since f is exact. */
INLINE vector log_plus(vector x, vector more)
{
    const uint32_t root = 0x3f3504f3; /* the bits of sqrt(1/2) */
    const bits above = (bits)x - root;
    const vector k = __builtin_convertvector((mask)above >> 23, vector);
    const vector f = (vector)((above & 0x7fffff) + root) - 1, s = f / (2 + f), z = s * s;
    const vector q = z * ((REAL)2 / 3 + z * ((REAL)2 / 5 + z * ((REAL)2 / 7 + z * ((REAL)2 / 9))));
    /* k ln(2), in two parts as in exp_parts, and the rest from small to large. */
    const vector y = k * (REAL)0.693359375 + (f - (s * (f - q) + (k * (REAL)2.12194440e-4 - more)));
    const vector zero = {0}, infinity = number(INFINITY);
    return choose(x > zero, choose(x < infinity, y, x), choose(x == zero, -infinity, number(NAN)));
}

#define FLOAT_OR_LANES(name, of_v) \
    INLINE vector vector_##name(vector v) \
    { \
        if (sizeof(REAL) == sizeof(float)) return of_v; \
        for (long l = 0; l < LANES; l++) v[l] = name(v[l]); \
        return v; \
    }
FLOAT_OR_LANES(exp, exp_less(v, 0))
FLOAT_OR_LANES(expm1, exp_less(v, 1))
FLOAT_OR_LANES(log, log_plus(v, number(0)))
/* What the sum 1 + v lost of v, divided by it, is missing in its logarithm. */
FLOAT_OR_LANES(log1p, log_plus(1 + v, (v - (1 + v - 1)) / (1 + v)))

INLINE vector vector_softplus(vector x) { return vector_max(x, number(0)) + vector_log1p(exponential(-vector_abs(x))); }

INLINE vector vector_pow(vector x, vector y)
{
    if (sizeof(REAL) == sizeof(float)) {
        const vector limited = clamp(y, -(1 << 24), 1 << 24); /* from there on, floats are even */
        const mask n = __builtin_convertvector(limited, mask), whole = __builtin_convertvector(n, vector) == limited;
        const bits sign = (bits)x & (bits)whole & (bits)n << 31; /* that of x if y is odd */
        /* x without its sign.  But if y is not whole, a finite x keeps it: the logarithm of a negative x is NaN. */
        const vector a = (vector)((bits)x & ~((bits)(whole | (x == number(-INFINITY))) << 31));
        const vector size = choose((a == number(1)) | (y == number(0)), number(1), exp_less(y * vector_log(a), 0));
        return (vector)((bits)size | sign);
    }
    for (long l = 0; l < LANES; l++) x[l] = pow(x[l], y[l]);
    return x;
}

#endif
