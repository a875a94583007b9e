/* x, limited to -87 ... 87.  Integers are compared so that the compiler vectorises this, too: positive floats have the
 * order of their bits. */
static inline float within_87(float x)
{
    const int32_t largest = 0x42ae0000; /* 87 */
    union { float value; int32_t bits; } size = { fabsf(x) };
    size.bits = size.bits < largest ? size.bits : largest;
    return copysignf(size.value, x);
}

/* e^x - 1, to some units in the last place.  Unlike expm1f, the compiler vectorises it.
 * e^x = 2^n e^r with an integer n, and e^r - 1 by its series. */
static inline float power_minus_1(float x)
{
    const float t = within_87(x);
    const int32_t exponent = (int32_t)(t * 1.44269504f + 127.5f);               /* n + 127, as a float stores it */
    const float n = (float)(exponent - 127), r = t - n * 0.693359375f + n * 2.12194440e-4f;    /* t - n ln(2) */
    const union { int32_t bits; float value; } power = { exponent << 23 };
    const float e = r * (1 + r / 2 * (1 + r / 3 * (1 + r / 4 * (1 + r / 5 * (1 + r / 6 * (1 + r / 7))))));
    return power.value * e + (power.value - 1);
}

static inline float cell_sigmoid(float x) { return 1 / (2 + power_minus_1(-x)); }

static inline float cell_tanh(float x)
{
    const float e = power_minus_1(2 * x);
    return e / (e + 2);
}

static inline float cell_exp(float x) { return expf(x); }

static inline float cell_expm1(float x) { return expm1f(x); }

static inline float cell_log(float x) { return logf(x); }

static inline float cell_log1p(float x) { return log1pf(x); }

static inline float cell_sqrt(float x) { return sqrtf(x); }

static inline float cell_pow(float x, float y) { return powf(x, y); }

static inline float cell_softplus(float x) { return x > 0 ? x + log1pf(expf(-x)) : log1pf(expf(x)); }

static inline float cell_abs(float x) { return fabsf(x); }

static inline float cell_sign(float x) { return x > 0 ? 1 : x < 0 ? -1 : x; }

static inline float cell_min(float x, float y) { return x < y || x != x ? x : y; }

static inline float cell_max(float x, float y) { return x > y || x != x ? x : y; }

static inline float cell_clip(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

static inline float cell_less(float x, float y) { return x < y; }

static inline float cell_less_equal(float x, float y) { return x <= y; }

static inline float cell_greater(float x, float y) { return x > y; }

static inline float cell_greater_equal(float x, float y) { return x >= y; }

static inline float cell_equal(float x, float y) { return x == y; }

static inline float cell_not_equal(float x, float y) { return x != y; }

static inline float cell_where(float which, float yes, float no) { return which != 0 ? yes : no; }
