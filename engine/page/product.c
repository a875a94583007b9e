/* Adds to C (I,J) the product of A (I,L) and B (L,J), for network.js. A row is row_c, row_a or row_b numbers from the
   next one, and a number of a row of A step_a from the next one. `rows` takes I a multiple of 4 and J of 8, `row` one
   row and J a multiple of 32: the sums of so many numbers stay in registers while l runs. Compile it, for product.js:

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
