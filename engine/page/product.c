/* Matrix products and loops of cells, for network.js. Compile it with clang 17 or later, once for browsers with
   fused multiply-add (relaxed SIMD) and once for others:

       for option in relaxed-simd no-relaxed-simd; do
         clang --target=wasm32 -O2 -msimd128 -m$option -nostdlib -Wl,--no-entry,--import-memory,--strip-all \
               -Wl,-z,stack-size=0 product.c -o product_$option.wasm
       done */
#define EXPORTED(NAME) __attribute__((export_name(#NAME))) void NAME
#ifdef __wasm_relaxed_simd__
#define ADD_PRODUCT(SUM, A, B) SUM = __builtin_wasm_relaxed_madd_f32x4(A, B, SUM)
#else
#define ADD_PRODUCT(SUM, A, B) SUM += (A) * (B)
#endif

typedef float four __attribute__((vector_size(16), aligned(4)));
typedef int four_integers __attribute__((vector_size(16)));

static inline four all(float x)
{
    return (four){x, x, x, x};
}

static inline four *at(const float *place)
{
    return (four *)place;
}

/* Stores the first n of four numbers, or all. There is no loop, which would need a stack. */
static inline void store(float *to, four x, int n)
{
    if (n >= 4) {
        *at(to) = x;
        return;
    }
    to[0] = x[0];
    if (n > 1) to[1] = x[1];
    if (n > 2) to[2] = x[2];
}

/* Adds the product of A (L) and B (L,J) to C (J). row_b: the distance between rows. L and J must be multiples of 4.
   Rows of B are read from their beginning to their end, four at once, as memory is fastest. */
EXPORTED(row)(float *C, const float *A, const float *B, int J, int L, int row_b)
{
    for (int l = 0; l < L; l += 4, A += 4, B += 4 * row_b) {
        four a0 = all(A[0]), a1 = all(A[1]), a2 = all(A[2]), a3 = all(A[3]);
        for (int j = 0; j < J; j += 4) {
            four sum = *at(C + j), other = a1 * *at(B + row_b + j);
            ADD_PRODUCT(sum, a0, *at(B + j));
            ADD_PRODUCT(other, a3, *at(B + 3 * row_b + j));
            ADD_PRODUCT(sum, a2, *at(B + 2 * row_b + j));
            *at(C + j) = sum + other;
        }
    }
}

/* Adds the product of A (I,L) and B (L,J) to C (I,J). row_c, row_a and row_b are the distances between rows, and step_a
   that between the numbers in a row of A. I must be a multiple of R, and J of 4 F: this many sums stay in registers
   while l runs. Eight columns of B are copied to `panel` first, at most MOST rows, so that they are close together. */
enum { R = 4, F = 2, MOST = 2048 };

EXPORTED(rows)(float *C, const float *A, const float *B, int I, int J, int L, int row_c, int row_a, int step_a,
               int row_b, float *panel)
{
    for (int n = L < MOST ? L : MOST; n > 0; A += n * step_a, B += n * row_b, L -= n, n = L < MOST ? L : MOST)
        for (int j = 0; j < J; j += 4 * F) {
            for (int l = 0; l < n; l++)
                for (int f = 0; f < F; f++)
                    *at(panel + 4 * (l * F + f)) = *at(B + l * row_b + j + 4 * f);
            for (int i = 0; i < I; i += R) {
                four sum[R][F];
                for (int r = 0; r < R; r++)
                    for (int f = 0; f < F; f++)
                        sum[r][f] = *at(C + (i + r) * row_c + j + 4 * f);
                for (int l = 0; l < n; l++)
                    for (int r = 0; r < R; r++)
                        for (int f = 0; f < F; f++)
                            ADD_PRODUCT(sum[r][f], all(A[(i + r) * row_a + l * step_a]), *at(panel + 4 * (l * F + f)));
                for (int r = 0; r < R; r++)
                    for (int f = 0; f < F; f++)
                        *at(C + (i + r) * row_c + j + 4 * f) = sum[r][f];
            }
        }
}

/* Sets n numbers, from `to` on, to x OPERATION y. */
#define ELEMENTWISE(NAME, OPERATION) \
    EXPORTED(NAME)(float *to, const float *x, const float *y, int n) \
    { \
        for (int k = 0; k < n; k += 4) \
            store(to + k, *at(x + k) OPERATION *at(y + k), n - k); \
    }
ELEMENTWISE(add, +)
ELEMENTWISE(subtract, -)
ELEMENTWISE(multiply, *)

/* Sets n numbers, from `to` on, to scale sigmoid(scale x) - scale + 1: sigmoid(x) for scale 1, tanh(x) for scale 2.
   exp(-scale x) is 2^k exp(r) with |r| <= log(2) / 2, and exp(r) is the beginning of its series, within 1e-7. Adding
   SHIFT rounds to an integer, and leaves the exponent of 2^k in the lowest bits. */
EXPORTED(squash)(float *to, const float *x, int n, float scale)
{
    const float SHIFT = 3 * (1 << 22) + 127, LOG2_HIGH = 0.693145752f, LOG2_LOW = 1.42860677e-6f;
    for (int k = 0; k < n; k += 4) {
        four y = -scale * *at(x + k), most = all(87);
        y = __builtin_wasm_pmin_f32x4(__builtin_wasm_pmax_f32x4(y, -most), most);
        four shifted = y * 1.44269504f + SHIFT, power = shifted - SHIFT;
        four r = y - power * LOG2_HIGH - power * LOG2_LOW, exp = all(1 / 5040.f);
        exp = 1 / 24.f + r * (1 / 120.f + r * (1 / 720.f + r * exp));
        exp = 1 + r * (1 + r * (1 / 2.f + r * (1 / 6.f + r * exp)));
        exp *= (four)((four_integers)shifted << 23);
        store(to + k, scale / (1 + exp) - (scale - 1), n - k);
    }
}
