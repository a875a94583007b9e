/* Writing texts: a whole two-layer model that reads and draws character after character. */
#ifndef SAMPLING_C
#define SAMPLING_C

#include "layer.c"
#include "softmax.c"

#define TWO_TO_53 9007199254740992.0 /* a double holds all whole numbers up to it, so the quotient is exact */

static int larger_first(const void *a, const void *b)
{
    const REAL x = *(const REAL *)a, y = *(const REAL *)b;
    return (x < y) - (x > y);
}

/* Zeros the probabilities (V) that top_k and top_p leave out; sorted (V) is scratch. */
static void keep_likely(const sampling *p, REAL *probabilities, REAL *sorted)
{
    double total = 0, sum = 0;
    long kept = 0;
    if (p->top_k >= p->V && p->top_p >= 1) return;
    memcpy(sorted, probabilities, p->V * sizeof(REAL));
    qsort(sorted, p->V, sizeof(REAL), larger_first);
    for (long v = 0; v < p->V; v++) total += sorted[v];
    while (kept == 0 || (kept < at_most(p->top_k, p->V) && sum < p->top_p * total)) sum += sorted[kept++];
    for (long v = 0; v < p->V; v++)
        if (probabilities[v] < sorted[kept - 1]) probabilities[v] = 0;
}

/* The first number whose cumulative probability is above u, for u in [0, 1): exactly the distribution,
 * and never a number of probability 0. */
static int32_t draw(long V, const REAL *p, double u)
{
    double total = 0, cumulative = 0;
    long v = 0;
    for (long k = 0; k < V; k++) total += p[k];
    for (cumulative = p[0]; v + 1 < V && !(cumulative > u * total); cumulative += p[++v]) {}
    return (int32_t)v;
}

/* The panels of the output weights (V, H2). */
static void pack_outputs(const sampling *p)
{
    for (long v = 0; v < p->V; v += PANEL)
        pack_panel(p->H2, at_most(p->V - v, PANEL), p->Vw + v * p->H2, 1, p->H2,
                   p->V_panels + panel_at(p->H2, v / PANEL));
}

/* A step of a layer is a sequence of one, of this thread's rows only, that overwrites its states C and h (rows, H). */
static forward_pass one_step(long rows, long H, const REAL *a_x, const REAL *b, const REAL *const *own, REAL *C,
                             REAL *h, REAL *kept, REAL *panels)
{
    forward_pass p;
    p.T = 1, p.B = rows, p.H = H;
    p.a_x = a_x, p.b = b, p.own = own, p.h0 = h, p.C0 = C;
    p.kept = kept, p.C = C, p.h = h;
    p.panels = panels;
    return p;
}

/* The character after step s in each of the texts begin to begin + rows, from scores (rows, scores_row).
 * probabilities and sorted (scores_row) are scratch. */
static void draw_characters(const sampling *p, long s, long begin, long rows, const REAL *scores, long scores_row,
                            REAL *probabilities, REAL *sorted)
{
    for (long r = 0; r < rows; r++) {
        REAL log_total;
        const long at = (s + 1) * p->B + begin + r;
        const long best = softmax(p->V, scores + r * scores_row, p->c, (REAL)(1 / p->temperature), probabilities,
                                  &log_total);
        keep_likely(p, probabilities, sorted);
        p->text[at] = p->bits ? draw(p->V, probabilities, (double)p->bits[at - p->prime * p->B] / TWO_TO_53)
                              : (int32_t)best;
    }
}

/* How much scratch a thread with `rows` texts needs in sample_rows. */
static long sample_size(const sampling *p, long rows)
{
    const long H = p->H1 > p->H2 ? p->H1 : p->H2, V = round_up(p->V, PANEL);
    return 2 * tiles_size(rows, p->H1) + 2 * tiles_size(rows, p->H2) + rows * (4 * PANEL + 8 * H + V) + 2 * V;
}

/* All characters of texts begin to end. */
static void sample_rows(const sampling *p, long begin, long end, REAL *memory)
{
    const long H1 = p->H1, H2 = p->H2, V = p->V, B = p->B, rows = end - begin;
    const long size1 = tiles_size(rows, H1), size2 = tiles_size(rows, H2), scores_row = round_up(V, PANEL);
    const long H = H1 > H2 ? H1 : H2;
    REAL *now1 = memory, *next1 = now1 + size1, *now2 = next1 + size1, *next2 = now2 + size2; /* packed h */
    REAL *sums = next2 + size2, *a_x = sums + 4 * rows * PANEL, *kept = a_x + 4 * rows * H;
    REAL *scores = kept + 4 * rows * H, *probabilities = scores + rows * scores_row;
    REAL *sorted = probabilities + scores_row;
    memset(memory, 0, sample_size(p, rows) * sizeof(REAL)); /* past the last unit packed h stays 0 */
    const forward_pass layer1 = one_step(rows, H1, a_x, p->b1, p->own1, p->C1 + begin * H1, p->h1 + begin * H1, kept,
                                         p->W1_panels);
    const forward_pass layer2 = one_step(rows, H2, a_x, p->b2, p->own2, p->C2 + begin * H2, p->h2 + begin * H2, kept,
                                         p->W2_panels);
    pack_tiles(BY_ROWS, rows, 0, H1, layer1.h, H1, 1, now1);
    pack_tiles(BY_ROWS, rows, 0, H2, layer2.h, H2, 1, now2);
    for (long s = 0; s + 1 < p->length; s++) {
        for (long r = 0; r < rows; r++)
            memcpy(a_x + r * 4 * H1, p->U1 + p->text[s * B + begin + r] * 4 * H1, 4 * H1 * sizeof(REAL));
        for (long strip = 0; strip < H1; strip += PANEL) {
            strip_sums(rows, H1, now1, layer1.panels, strip, sums, 0);
            forward_tiles(&layer1, 0, 0, rows, strip, sums, next1);
        }
        memset(a_x, 0, 4 * rows * H2 * sizeof(REAL)); /* layer 2 gets all from the two products */
        for (long strip = 0; strip < H2; strip += PANEL) {
            strip_sums(rows, H1, next1, p->U2_panels, strip, sums, 0);
            strip_sums(rows, H2, now2, layer2.panels, strip, sums, 1);
            forward_tiles(&layer2, 0, 0, rows, strip, sums, next2);
        }
        swap(&now1, &next1);
        swap(&now2, &next2);
        if (s + 1 < p->prime) continue;
        for (long v = 0; v < V; v += PANEL)
            multiply_panel(rows, BY_ROWS, H2, now2, tile_size(H2), p->V_panels + panel_at(H2, v / PANEL),
                           scores + v, scores_row, 0);
        draw_characters(p, s, begin, rows, scores, scores_row, probabilities, sorted);
    }
}

int sample(sampling *p, int n_threads)
{
    if (n_threads > p->B) n_threads = p->B > 0 ? (int)p->B : 1;
    const long W1 = weights_size(p->H1, p->H1), U2 = weights_size(p->H2, p->H1), W2 = weights_size(p->H2, p->H2);
    const long outputs = panel_at(p->H2, panel_count(p->V));
    const long own = sample_size(p, (p->B + n_threads - 1) / n_threads);
    p->W1_panels = scratch(W1 + U2 + W2 + outputs + n_threads * own);
    if (!p->W1_panels) return -1;
    p->U2_panels = p->W1_panels + W1;
    p->W2_panels = p->U2_panels + U2;
    p->V_panels = p->W2_panels + W2;
    REAL *memory = p->V_panels + outputs;
    pack_gates(p->H1, p->H1, p->W1, p->H1, 1, p->W1_panels, 0, 1);
    pack_gates(p->H2, p->H1, p->U2, p->H1, 1, p->U2_panels, 0, 1);
    pack_gates(p->H2, p->H2, p->W2, p->H2, 1, p->W2_panels, 0, 1);
    pack_outputs(p);
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++)
        sample_rows(p, split(p->B, n_threads, i), split(p->B, n_threads, i + 1), memory + i * own);
    return 0;
}

#endif
