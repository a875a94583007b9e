/* Adds the product of A (I,L) and B (L,J) to C (I,J), for network.js. row_c, row_a and row_b are the distances between
   rows, and step_a that between the numbers in a row of A. I must be a multiple of 4 and J of 8 for `rows`, and J a
   multiple of 32 for `row`: this many sums stay in registers while l runs. To compile it for product.js:

       clang --target=wasm32 -O2 -msimd128 -nostdlib -Wl,--no-entry,--import-memory,--export=row,--export=rows \
             -Wl,--strip-all,-z,stack-size=0 product.c -o product.wasm */
typedef float four __attribute__((vector_size(16), aligned(4)));

#define PRODUCT(NAME, R, F) \
void NAME(float *C, const float *A, const float *B, int I, int J, int L, int row_c, int row_a, int step_a, int row_b) \
{ \
    for (int i = 0; i < I; i += R) \
        for (int j = 0; j < J; j += 4 * F) { \
            four sum[R][F]; \
            for (int r = 0; r < R; r++) \
                for (int f = 0; f < F; f++) \
                    sum[r][f] = *(four *)(C + (i + r) * row_c + j + 4 * f); \
            for (int l = 0; l < L; l++) \
                for (int r = 0; r < R; r++) \
                    for (int f = 0; f < F; f++) \
                        sum[r][f] += A[(i + r) * row_a + l * step_a] * *(four *)(B + l * row_b + j + 4 * f); \
            for (int r = 0; r < R; r++) \
                for (int f = 0; f < F; f++) \
                    *(four *)(C + (i + r) * row_c + j + 4 * f) = sum[r][f]; \
        } \
}

PRODUCT(row, 1, 8)
PRODUCT(rows, 4, 2)
