/* A character-level language model: an LSTM that CharLSTM trained.  It needs only C99 and libm:
 *
 *     cc -O3 -march=native model.c -lm -o model && ./model "It is " 300 0.7
 *
 * With the character x, and the hidden state h and cell state C of a layer, a step of the layer is
 *
 *     a_k  = U[k].x + W[k].h + b[k]      the rows {{rows}}
 *     h, C = cell(a, C)                  the states {{states}}, side by side in C
 *
 * A later layer reads the h of the layer below, and softmax(Vw.h + c) is the distribution of the next character
 * (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).
 *
 * To use it in another program, include this file after #define MODEL_ONLY, which leaves out main, and begin each text
 * with a model_state of zeros. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Characters in the vocabulary; layers, and the units of the largest. */
enum { V = {{V}}, LAYERS = {{LAYERS}}, LARGEST = {{LARGEST}} };

/* Rows of b.  The first OF_U have U, and the last OF_W have W.  Cell states. */
enum { ROWS = {{ROWS}}, OF_U = {{OF_U}}, OF_W = {{OF_W}}, STATES = {{STATES}} };

/* The values are at the end of this file.  Matrices are (inputs, outputs), with the rows k of a layer side by side. */
{{declarations}}

/* Each layer: its units H, and below, how many numbers it reads. */
static const struct {
    int H, below;
    const float *U, *W, *b, *cell_p;
} layers[LAYERS] = {{{layers}}};

/* The characters by number, each a UTF-8 string; "" is the NUL. */
static const char characters[V][5];

/* What the model remembers of a text. */
typedef struct {
    float h[LAYERS][LARGEST], C[LAYERS][STATES * LARGEST];    /* of a layer, the first H, and STATES*H */
} model_state;

/* ---- The network --------------------------------------------------------------------------- */

/* Adds the product of x (n) and a matrix (n, m) to sum (m).  It takes four inputs for each pass over the sums.  The
 * sums do not depend on each other, so the compiler vectorises the loop. */
static void add_product(size_t n, size_t m, const float *x, const float *matrix, float *restrict sum)
{
    const size_t fours = n - n % 4;
    for (size_t k = 0; k < fours; k += 4) {
        const float *r0 = matrix + k * m, *r1 = r0 + m, *r2 = r1 + m, *r3 = r2 + m;
        for (size_t j = 0; j < m; j++)
            sum[j] += x[k] * r0[j] + x[k + 1] * r1[j] + x[k + 2] * r2[j] + x[k + 3] * r3[j];
    }
    for (size_t k = fours; k < n; k++)
        for (size_t j = 0; j < m; j++) sum[j] += x[k] * matrix[k * m + j];
}

{{functions}}

/* Updates h (H) and C (STATES*H) of a layer by one step, from its pre-activations a (ROWS*H){{cell_p_comment}}. */
static void cell(size_t H, const float *restrict a{{cell_p_argument}}, float *restrict h, float *restrict C)
{
    {{cell}}
}

/* Reads a character x, a number below V.  Sets log_p (V) to the log probabilities of the next one. */
void model_read(model_state *s, int x, float *log_p)
{
    const float *h = NULL;                                  /* of the layer below */
    float a[ROWS * LARGEST];
    double scores[V], largest = -INFINITY, sum = 0;         /* float keeps too few digits of large scores */

    for (int k = 0; k < LAYERS; k++) {
        const size_t H = layers[k].H;
        memcpy(a, layers[k].b, ROWS * H * sizeof *a);
        if (k == 0)                                         /* a row of U is U.x of one character */
            for (size_t j = 0; j < OF_U * H; j++) a[j] += layers[k].U[x * OF_U * H + j];
        else
            add_product(layers[k].below, OF_U * H, h, layers[k].U, a);
        if (OF_W) add_product(H, OF_W * H, s->h[k], layers[k].W, a + (ROWS - OF_W) * H);
        cell(H, a{{cell_p}}, s->h[k], s->C[k]);
        h = s->h[k];
    }

    for (size_t v = 0; v < V; v++) scores[v] = c[v];
    for (int k = 0; k < layers[LAYERS - 1].H; k++)
        for (size_t v = 0; v < V; v++) scores[v] += (double)h[k] * Vw[k * V + v];
    for (size_t v = 0; v < V; v++) largest = fmax(largest, scores[v]);
    for (size_t v = 0; v < V; v++) sum += exp(scores[v] - largest);
    for (size_t v = 0; v < V; v++) log_p[v] = (float)(scores[v] - largest - log(sum));
}

/* Returns the number of the next character, drawn at a temperature with u, a random number in [0, 1).  A temperature
 * below 1 makes probable characters more probable; 0 takes the most probable one. */
int model_write(const float *log_p, double temperature, double u)
{
    int best = 0;
    double sum = 0;
    for (int v = 1; v < V; v++)
        if (log_p[v] > log_p[best]) best = v;
    if (temperature <= 0) return best;
    for (int v = 0; v < V; v++) sum += exp((log_p[v] - log_p[best]) / temperature);
    u *= sum;
    for (int v = 0; v < V; v++)
        if ((u -= exp((log_p[v] - log_p[best]) / temperature)) < 0) return v;
    return best;
}

/* Returns the number of the character that a text begins with, and sets *bytes to its length; -1 if unknown. */
int model_number(const char *text, size_t *bytes)
{
    for (int v = 0; v < V; v++) {
        *bytes = strlen(characters[v]);
        if (*bytes && strncmp(text, characters[v], *bytes) == 0) return v;
    }
    return -1;
}

/* Prints the character of a number. */
void model_print(int v)
{
    fwrite(characters[v], 1, *characters[v] ? strlen(characters[v]) : 1, stdout);
}

#ifndef MODEL_ONLY

/* Returns a random number in [0, 1), by SplitMix64 (Steele et al. 2014). */
static double random_number(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0; /* 2^53 */
}

int main(int argc, char **argv)
{
    const char *prime = argc > 1 ? argv[1] : "";
    long length = 100, seed = (long)time(NULL);
    double temperature = 1;
    char rest;
    if (argc > 5 || (argc > 2 && (sscanf(argv[2], "%9ld%c", &length, &rest) != 1 || length < 1))
        || (argc > 3 && (sscanf(argv[3], "%lf%c", &temperature, &rest) != 1 || temperature < 0 || !(temperature < 1e9)))
        || (argc > 4 && sscanf(argv[4], "%9ld%c", &seed, &rest) != 1)) {
        fprintf(stderr, "expected: %s [PRIME [LENGTH [TEMPERATURE [SEED]]]], as in \"It is \" 300 0.7 1\n", argv[0]);
        return 2;
    }

    model_state state = {{{0}}, {{0}}};
    float log_p[V] = {0};                           /* without a prime, all first characters are equally probable */
    uint64_t random = (uint64_t)seed;
    size_t bytes;
    for (const char *rest_of_prime = prime; *rest_of_prime; rest_of_prime += bytes)       /* all, before printing */
        if (model_number(rest_of_prime, &bytes) < 0) {
            fprintf(stderr, "%s: the model never saw the first character of: %s\n", argv[0], rest_of_prime);
            return 2;
        }
    while ((*prime || length-- > 0) && !ferror(stdout)) {
        const int x = *prime ? model_number(prime, &bytes) : model_write(log_p, temperature, random_number(&random));
        if (*prime) prime += bytes;
        model_print(x);
        model_read(&state, x, log_p);
    }
    if (putchar('\n') != EOF && fflush(stdout) == 0 && !ferror(stdout)) return 0;
    fprintf(stderr, "%s: cannot write to standard output\n", argv[0]);
    return 2;
}

#endif

/* ---- The numbers --------------------------------------------------------------------------- */

{{numbers}}
