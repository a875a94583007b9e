/* Writes texts: the whole model, which reads and draws character by character. */
#ifndef SAMPLING_C
#define SAMPLING_C

#include "layer.c"
#include "softmax.c"
#include <sched.h>

#define TWO_TO_53 9007199254740992.0 /* a double holds all integers up to it, so the quotient is exact */

static int larger_first(const void *a, const void *b)
{
    const REAL x = *(const REAL *)a, y = *(const REAL *)b;
    return (x < y) - (x > y);
}

/* Zeros the probabilities (V) that top_k excludes, and then those that top_p, a share of the sum of the others,
 * excludes.  Characters as probable as the last one stay.  sorted (V) is scratch. */
static void keep_likely(const sampling *p, REAL *probabilities, REAL *sorted)
{
    double total = 0, sum = 0;
    long kept = 0, k = at_most(p->top_k, p->V);
    if (p->top_k >= p->V && p->top_p >= 1) return;
    memcpy(sorted, probabilities, p->V * sizeof(REAL));
    qsort(sorted, p->V, sizeof(REAL), larger_first);
    while (k < p->V && sorted[k] == sorted[k - 1]) k++;
    for (long v = 0; v < k; v++) total += sorted[v];
    while (kept < k && (kept == 0 || p->top_p >= 1 || sum < p->top_p * total)) sum += sorted[kept++];
    for (long v = 0; v < p->V; v++)
        if (probabilities[v] < sorted[kept - 1]) probabilities[v] = 0;
}

/* Returns the first number whose cumulative probability is above u, for u in [0, 1): exactly by the distribution,
 * and never a number of probability 0. */
static int32_t draw(long V, const REAL *p, double u)
{
    double total = 0, cumulative = 0;
    long v = 0;
    for (long k = 0; k < V; k++) total += p[k];
    for (cumulative = p[0]; v + 1 < V && !(cumulative > u * total); cumulative += p[++v]) {}
    return (int32_t)v;
}

/* Where the packed weights of each layer and those of the output begin in panels, and the size of all. */
typedef struct { long U[MOST_LAYERS], W[MOST_LAYERS], matrices[MOST_LAYERS], V, size; } places;

/* The units that layer k reads, if it is not the first. */
INLINE long below(const sampling *p, long k) { return p->layer[k - 1].H; }

/* The units of the last layer. */
INLINE long last_units(const sampling *p) { return below(p, p->layers); }

static places places_of(const sampling *p)
{
    places at = {{0}, {0}, {0}, 0, 0};
    for (long k = 0; k < p->layers; k++) {
        const long H = p->layer[k].H;
        at.U[k] = at.V;
        at.W[k] = at.U[k] + (k > 0 ? weights_size(OF_U, H, below(p, k)) : 0);
        at.matrices[k] = at.W[k] + weights_size(OF_W, H, H);
        at.V = at.matrices[k] + weights_size(PRODUCTS, H, H);
    }
    at.size = at.V + panel_at(last_units(p), panel_count(p->V));
    return at;
}

int packed_size(const sampling *p) { return (int)places_of(p).size; }

int pack(sampling *p)
{
    const places at = places_of(p);
    const long last = last_units(p);
    for (long k = 0; k < p->layers; k++) {
        const sampled_layer *layer = p->layer + k;
        const long H = layer->H;
        if (k > 0) pack_weights(OF_U, H, below(p, k), layer->U, below(p, k), 1, p->panels + at.U[k], 0, 1);
        pack_weights(OF_W, H, H, layer->W, H, 1, p->panels + at.W[k], 0, 1);
        pack_matrices(forward_products, PRODUCTS, H, layer->cell_p, p->panels + at.matrices[k], 0, 1);
    }
    for (long v = 0; v < p->V; v += PANEL)
        pack_panel(last, at_most(p->V - v, PANEL), p->Vw + v * last, 1, last,
                   p->panels + at.V + panel_at(last, v / PANEL));
    return 0;
}

/* A step of a layer is a sequence of length 1, of this thread's rows, that overwrites C (rows, STATES*H) and h (rows, H). */
static forward_pass one_step(long rows, long H, const REAL *a_x, const REAL *b, const REAL *const *cell_p, REAL *C,
                             REAL *h, REAL *kept, REAL *panels, REAL *matrices)
{
    forward_pass p;
    p.T = 1, p.B = rows, p.H = H;
    p.a_x = a_x, p.b = b, p.cell_p = cell_p, p.h0 = h, p.C0 = C;
    p.kept = kept, p.C = C, p.h = h;
    p.panels = panels, p.matrices = matrices;
    return p;
}

/* Draws the character after step s in each of the texts begin to begin + rows, from scores (rows, scores_row).
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

/* Sets the log probabilities after step s of each of these texts, as for draw_characters. */
static void predict_characters(const sampling *p, long s, long begin, long rows, const REAL *scores, long scores_row,
                               REAL *probabilities)
{
    for (long r = 0; r < rows; r++, scores += scores_row) {
        REAL log_total, *log_p = p->log_p + (s * p->B + begin + r) * p->V;
        const long best = softmax(p->V, scores, p->c, 1, probabilities, &log_total);
        for (long v = 0; v < p->V; v++) log_p[v] = scores[v] + p->c[v] - (scores[best] + p->c[best]) - log_total;
    }
}

/* ---- A step of some texts, by one thread or two -------------------------------------------- */

/* Texts begin to begin + rows, which are written together. */
typedef struct {
    const sampling *p;
    long begin, rows;
    places at;                           /* of the packed weights */
    forward_pass layer[MOST_LAYERS];
    REAL *now[MOST_LAYERS], *next[MOST_LAYERS];    /* packed h of the layers, before and after this step */
    REAL *a_x;                           /* (rows, OF_U*H): what the first layer reads in this step */
    REAL *sums[2];                       /* scratch of the first thread and of its helper, (STRIP_SUMS, rows, PANEL) */
    REAL *scores, *probabilities, *sorted;
    stage_rows of_stages[MOST_LAYERS];   /* what the stages of a layer share */
    int helped;                          /* whether a helper may take strips */
    char apart[CACHE_LINE];              /* what follows changes often */
    uint64_t left;                       /* which strips of this step no thread has taken */
    char apart_too[CACHE_LINE];
    long done;                           /* how many strips of this step the helper has computed */
} writer;

/* Computes a stage of a strip of units of a layer.  The strips do not depend on each other. */
static void compute_strip(const writer *w, long layer, int stage, long strip, REAL *sums)
{
    const forward_pass *p = w->layer + layer;
    if (stage > 0) {
        later_stage(p, stage, 0, w->of_stages + layer, strip, sums, w->next[layer]);
        return;
    }
    if (layer == 0) {
        memset(sums, 0, FIRST_OF_W * w->rows * PANEL * sizeof(REAL));
    } else {
        const long H = below(w->p, layer);
        strip_sums(w->rows, 0, OF_U, 0, H, w->next[layer - 1],
                   panels_of(w->p->panels + w->at.U[layer], OF_U, H, strip), sums);
    }
    strip_sums(w->rows, FIRST_OF_W, OF_W, layer == 0 ? 0 : OF_U, p->H, w->now[layer],
               panels_of(p->panels, OF_W, p->H, strip), sums);
    first_stage(p, 0, w->of_stages + layer, strip, sums, w->next[layer]);
}

/* A text reads all weights for each character, and those of a large model do not fit into the caches of one core.  So
 * two threads share the strips.  The first takes them from the beginning and its helper from the end, so that each core
 * has in its caches the weights that it read before.  Who computes a strip does not change its numbers.
 *
 * The helper spins while it waits.  If it waits for long, the first thread is not running or draws from a huge
 * vocabulary, and the helper ends.  If the helper was suspended within a strip, the first thread waits for it once, and
 * then works alone. */

#define WORTH_HELPER (1L << 20)          /* bytes of weights; a core's second-level cache has about as many, or more */
#define SHORT_WAIT 500                   /* pauses: some microseconds */
#define LONG_WAIT 20000                  /* about a millisecond */
#define STOP UINT64_MAX                  /* in `left` */

INLINE uint64_t strips_left(uint64_t layer, uint64_t stage, uint64_t first, uint64_t end)
{
    return layer << 56 | stage << 48 | first << 24 | end;
}
INLINE long layer_of(uint64_t left) { return (long)(left >> 56); }
INLINE int stage_of(uint64_t left) { return (int)(left >> 48 & 0xff); }
INLINE long first_of(uint64_t left) { return (long)(left >> 24 & 0xffffff); }
INLINE long end_of(uint64_t left) { return (long)(left & 0xffffff); }

/* Waits a moment.  From time to time it lets another thread run, perhaps the one that it waits for. */
INLINE void pause_thread(long waited)
{
    if (waited % SHORT_WAIT == SHORT_WAIT - 1) sched_yield();
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Takes one of the strips in `left`; `rest` are the others.  Returns 0 if another thread was faster. */
INLINE int take(writer *w, uint64_t left, uint64_t rest)
{
    return __atomic_compare_exchange_n(&w->left, &left, rest, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static void help(writer *w)
{
    WITHOUT_SUBNORMALS
    set_tiles();
    for (long waited = 0; waited < LONG_WAIT; waited++) {
        const uint64_t left = __atomic_load_n(&w->left, __ATOMIC_ACQUIRE);
        if (left == STOP) return;
        if (first_of(left) == end_of(left)) {
            pause_thread(waited);
        } else if (take(w, left, left - 1)) {
            compute_strip(w, layer_of(left), stage_of(left), (end_of(left) - 1) * PANEL, w->sums[1]);
            __atomic_add_fetch(&w->done, 1, __ATOMIC_RELEASE);
            waited = 0;
        }
    }
}

/* Computes a stage of all strips of a layer, with the helper if it reads weights. */
static void compute_strips(writer *w, long layer, int stage)
{
    const long count = panel_count(w->p->layer[layer].H);
    long cell_p = 0, waited = 0;
    int multiplies = stage == 0;
    for (long k = 0; k < PRODUCTS; k++) multiplies |= forward_products[k].stage == stage;
    if (!w->helped || !multiplies) {
        for (long i = 0; i < count; i++) compute_strip(w, layer, stage, i * PANEL, w->sums[0]);
        return;
    }
    w->done = 0;
    __atomic_store_n(&w->left, strips_left(layer, stage, 0, count), __ATOMIC_RELEASE);
    for (;;) {
        const uint64_t left = __atomic_load_n(&w->left, __ATOMIC_ACQUIRE);
        const long first = first_of(left), end = end_of(left);
        if (first == end) break;
        if (!take(w, left, strips_left(layer, stage, first + 1, end))) continue;
        compute_strip(w, layer, stage, first * PANEL, w->sums[0]);
        cell_p++;
    }
    for (; __atomic_load_n(&w->done, __ATOMIC_ACQUIRE) < count - cell_p; waited++) pause_thread(waited);
    if (waited > LONG_WAIT) w->helped = 0;
}

/* ---- Texts --------------------------------------------------------------------------------- */

/* The units of the largest layer. */
static long most_units(const sampling *p)
{
    long most = 0;
    for (long k = 0; k < p->layers; k++)
        if (p->layer[k].H > most) most = p->layer[k].H;
    return most;
}

/* How much scratch a writer of `rows` texts needs. */
static long writer_size(const sampling *p, long rows)
{
    const long V = round_up(p->V, PANEL);
    long size = 2 * V + rows * (2 * STRIP_SUMS * PANEL + (2 * OF_U + ROWS) * most_units(p) + V);
    for (long k = 0; k < p->layers; k++)
        size += 2 * tiles_size(rows, p->layer[k].H) + between_size(rows, p->layer[k].H);
    return size;
}

/* Returns the writer of texts begin to end. */
static writer writer_of(const sampling *p, long begin, long end, REAL *memory)
{
    const long rows = end - begin, V = round_up(p->V, PANEL), most = most_units(p);
    writer w;
    memset(memory, 0, writer_size(p, rows) * sizeof(REAL)); /* past the last unit packed h stays 0 */
    w.p = p, w.begin = begin, w.rows = rows, w.at = places_of(p);
    w.helped = 0, w.left = strips_left(0, 0, 0, 0), w.done = 0;
    for (long k = 0; k < p->layers; k++) {
        const long size = tiles_size(rows, p->layer[k].H);
        w.now[k] = memory, w.next[k] = memory + size, memory += 2 * size;
    }
    w.sums[0] = memory, w.sums[1] = w.sums[0] + STRIP_SUMS * rows * PANEL;
    w.scores = w.sums[1] + STRIP_SUMS * rows * PANEL, w.probabilities = w.scores + rows * V, w.sorted = w.probabilities + V;
    w.a_x = w.sorted + V;
    REAL *none = w.a_x + OF_U * rows * most;                /* later layers get all from their two products */
    REAL *kept = none + OF_U * rows * most;
    memory = kept + ROWS * rows * most;
    for (long k = 0; k < p->layers; k++) {
        const sampled_layer *layer = p->layer + k;
        const long H = layer->H;
        const stage_rows of_stages = {0, rows, memory};
        w.of_stages[k] = of_stages, memory += between_size(rows, H);
        w.layer[k] = one_step(rows, H, k == 0 ? w.a_x : none, layer->b, layer->cell_p, layer->C + begin * STATES * H,
                              layer->h + begin * H, kept, p->panels + w.at.W[k], p->panels + w.at.matrices[k]);
        pack_tiles(BY_ROWS, rows, 0, H, w.layer[k].h, H, 1, w.now[k]);
    }
    return w;
}

/* Writes all characters of a writer's texts. */
static void write_texts(writer *w)
{
    const sampling *p = w->p;
    const long V = p->V, rows = w->rows, scores_row = round_up(V, PANEL), last = last_units(p);
    const long width = OF_U * p->layer[0].H;
    WITHOUT_SUBNORMALS
    set_tiles();
    for (long s = 0; s + !p->log_p < p->length; s++) {
        for (long r = 0; r < rows; r++)
            memcpy(w->a_x + r * width, p->layer[0].U + p->text[s * p->B + w->begin + r] * width, width * sizeof(REAL));
        for (long k = 0; k < p->layers; k++)
            for (int stage = 0; stage < STAGES; stage++) {
                if (stage > 0) stage_of_rows(w->layer + k, stage, w->of_stages + k);
                compute_strips(w, k, stage);
            }
        for (long k = 0; k < p->layers; k++) swap(&w->now[k], &w->next[k]);
        if (!p->log_p && s + 1 < p->prime) continue;
        for (long v = 0; v < V; v += PANEL)
            multiply_panel(rows, BY_ROWS, last, w->now[p->layers - 1], tile_size(last),
                           p->panels + w->at.V + panel_at(last, v / PANEL), w->scores + v, scores_row, 0);
        if (p->log_p) predict_characters(p, s, w->begin, rows, w->scores, scores_row, w->probabilities);
        else draw_characters(p, s, w->begin, rows, w->scores, scores_row, w->probabilities, w->sorted);
    }
    __atomic_store_n(&w->left, STOP, __ATOMIC_RELEASE);
}

int sample(sampling *p, int n_threads)
{
    const int shared = p->B == 1 && n_threads > 1;
    if (n_threads > p->B) n_threads = p->B > 0 ? (int)p->B : 1;
    const long cell_p = writer_size(p, (p->B + n_threads - 1) / n_threads);
    REAL *memory = scratch(0, n_threads * cell_p);
    if (!memory) return -1;
    if (shared && places_of(p).V * (long)sizeof(REAL) > WORTH_HELPER) {
        writer w = writer_of(p, 0, 1, memory);
        w.helped = 1;
        n_threads = 2;
        FOR_EACH_THREAD
        for (int i = 0; i < n_threads; i++) {
            if (i == 0) write_texts(&w);
            else help(&w);
        }
        return 0;
    }
    FOR_EACH_THREAD
    for (int i = 0; i < n_threads; i++) {
        writer w = writer_of(p, split(p->B, n_threads, i), split(p->B, n_threads, i + 1), memory + i * cell_p);
        write_texts(&w);
    }
    return 0;
}

#endif
