/* Writes texts: the whole two-layer model, which reads and draws character by character. */
#ifndef SAMPLING_C
#define SAMPLING_C

#include "layer.c"
#include "softmax.c"
#ifndef _WIN32
#include <sched.h>
#endif

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

/* Where the packed weights of each kind begin in panels, and their size. */
typedef struct { long W1, U2, W2, V, size; } places;

static places places_of(const sampling *p)
{
    places at = {0, 0, 0, 0, 0};
    at.U2 = weights_size(OF_W, p->H1, p->H1);
    at.W2 = at.U2 + weights_size(OF_U, p->H2, p->H1);
    at.V = at.W2 + weights_size(OF_W, p->H2, p->H2);
    at.size = at.V + panel_at(p->H2, panel_count(p->V));
    return at;
}

int packed_size(const sampling *p) { return (int)places_of(p).size; }

int pack(sampling *p)
{
    const places at = places_of(p);
    pack_weights(OF_W, p->H1, p->H1, p->W1, p->H1, 1, p->panels + at.W1, 0, 1);
    pack_weights(OF_U, p->H2, p->H1, p->U2, p->H1, 1, p->panels + at.U2, 0, 1);
    pack_weights(OF_W, p->H2, p->H2, p->W2, p->H2, 1, p->panels + at.W2, 0, 1);
    for (long v = 0; v < p->V; v += PANEL)
        pack_panel(p->H2, at_most(p->V - v, PANEL), p->Vw + v * p->H2, 1, p->H2,
                   p->panels + at.V + panel_at(p->H2, v / PANEL));
    return 0;
}

/* A step of a layer is a sequence of length 1, of this thread's rows, that overwrites C (rows, STATES*H) and h (rows, H). */
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
    forward_pass layer1, layer2;
    const REAL *U2_panels, *V_panels;
    REAL *now1, *next1, *now2, *next2;   /* packed h of the layers, before and after this step */
    REAL *a_x;                           /* (rows, OF_U*H1): what layer 1 reads in this step */
    REAL *sums[2];                       /* scratch of the first thread and of its helper, (ROWS, rows, PANEL) */
    REAL *scores, *probabilities, *sorted;
    int helped;                          /* whether a helper may take strips */
    char apart[CACHE_LINE];              /* what follows changes often */
    uint64_t left;                       /* which strips of this step no thread has taken */
    char apart_too[CACHE_LINE];
    long done;                           /* how many strips of this step the helper has computed */
} writer;

/* Computes a strip of units of layer 1 or 2.  The strips of a layer do not depend on each other. */
static void compute_strip(const writer *w, long layer, long strip, REAL *sums)
{
    const long H1 = w->p->H1, H2 = w->p->H2;
    if (layer == 1) {
        memset(sums, 0, FIRST_OF_W * w->rows * PANEL * sizeof(REAL));
        strip_sums(w->rows, FIRST_OF_W, OF_W, 0, H1, w->now1, panels_of(w->layer1.panels, OF_W, H1, strip), sums);
        forward_tiles(&w->layer1, 0, 0, w->rows, strip, sums, w->next1);
    } else {
        strip_sums(w->rows, 0, OF_U, 0, H1, w->next1, panels_of(w->U2_panels, OF_U, H1, strip), sums);
        strip_sums(w->rows, FIRST_OF_W, OF_W, OF_U, H2, w->now2, panels_of(w->layer2.panels, OF_W, H2, strip), sums);
        forward_tiles(&w->layer2, 0, 0, w->rows, strip, sums, w->next2);
    }
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

INLINE uint64_t strips_left(uint64_t layer, uint64_t first, uint64_t end) { return layer << 48 | first << 24 | end; }
INLINE long layer_of(uint64_t left) { return (long)(left >> 48); }
INLINE long first_of(uint64_t left) { return (long)(left >> 24 & 0xffffff); }
INLINE long end_of(uint64_t left) { return (long)(left & 0xffffff); }

/* Waits a moment.  From time to time it lets another thread run, perhaps the one that it waits for. */
INLINE void pause_thread(long waited)
{
#ifndef _WIN32
    if (waited % SHORT_WAIT == SHORT_WAIT - 1) sched_yield();
#endif
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
    for (long waited = 0; waited < LONG_WAIT; waited++) {
        const uint64_t left = __atomic_load_n(&w->left, __ATOMIC_ACQUIRE);
        if (left == STOP) return;
        if (first_of(left) == end_of(left)) {
            pause_thread(waited);
        } else if (take(w, left, left - 1)) {
            compute_strip(w, layer_of(left), (end_of(left) - 1) * PANEL, w->sums[1]);
            __atomic_add_fetch(&w->done, 1, __ATOMIC_RELEASE);
            waited = 0;
        }
    }
}

/* Computes all strips of a layer of H units. */
static void compute_layer(writer *w, long layer, long H)
{
    const long count = panel_count(H);
    long own = 0, waited = 0;
    if (!w->helped) {
        for (long i = 0; i < count; i++) compute_strip(w, layer, i * PANEL, w->sums[0]);
        return;
    }
    w->done = 0;
    __atomic_store_n(&w->left, strips_left(layer, 0, count), __ATOMIC_RELEASE);
    for (;;) {
        const uint64_t left = __atomic_load_n(&w->left, __ATOMIC_ACQUIRE);
        const long first = first_of(left), end = end_of(left);
        if (first == end) break;
        if (!take(w, left, strips_left(layer, first + 1, end))) continue;
        compute_strip(w, layer, first * PANEL, w->sums[0]);
        own++;
    }
    for (; __atomic_load_n(&w->done, __ATOMIC_ACQUIRE) < count - own; waited++) pause_thread(waited);
    if (waited > LONG_WAIT) w->helped = 0;
}

/* ---- Texts --------------------------------------------------------------------------------- */

/* How much scratch a writer of `rows` texts needs. */
static long writer_size(const sampling *p, long rows)
{
    const long H = p->H1 > p->H2 ? p->H1 : p->H2, V = round_up(p->V, PANEL);
    return 2 * (tiles_size(rows, p->H1) + tiles_size(rows, p->H2) + V)
           + rows * (2 * ROWS * PANEL + OF_U * p->H1 + (OF_U + ROWS) * H + V);
}

/* Returns the writer of texts begin to end. */
static writer writer_of(const sampling *p, long begin, long end, REAL *memory)
{
    const long H1 = p->H1, H2 = p->H2, H = H1 > H2 ? H1 : H2, rows = end - begin;
    const long size1 = tiles_size(rows, H1), size2 = tiles_size(rows, H2), V = round_up(p->V, PANEL);
    const places at = places_of(p);
    writer w;
    memset(memory, 0, writer_size(p, rows) * sizeof(REAL)); /* past the last unit packed h stays 0 */
    w.p = p, w.begin = begin, w.rows = rows, w.helped = 0, w.left = strips_left(1, 0, 0), w.done = 0;
    w.now1 = memory, w.next1 = w.now1 + size1, w.now2 = w.next1 + size1, w.next2 = w.now2 + size2;
    w.sums[0] = w.next2 + size2, w.sums[1] = w.sums[0] + ROWS * rows * PANEL;
    w.a_x = w.sums[1] + ROWS * rows * PANEL;
    REAL *none = w.a_x + OF_U * rows * H1, *kept = none + OF_U * rows * H; /* layer 2 gets all from its two products */
    w.scores = kept + ROWS * rows * H, w.probabilities = w.scores + rows * V, w.sorted = w.probabilities + V;
    w.U2_panels = p->panels + at.U2, w.V_panels = p->panels + at.V;
    w.layer1 = one_step(rows, H1, w.a_x, p->b1, p->own1, p->C1 + begin * STATES * H1, p->h1 + begin * H1, kept,
                        p->panels + at.W1);
    w.layer2 = one_step(rows, H2, none, p->b2, p->own2, p->C2 + begin * STATES * H2, p->h2 + begin * H2, kept,
                        p->panels + at.W2);
    pack_tiles(BY_ROWS, rows, 0, H1, w.layer1.h, H1, 1, w.now1);
    pack_tiles(BY_ROWS, rows, 0, H2, w.layer2.h, H2, 1, w.now2);
    return w;
}

/* Writes all characters of a writer's texts. */
static void write_texts(writer *w)
{
    const sampling *p = w->p;
    const long H1 = p->H1, H2 = p->H2, V = p->V, rows = w->rows, scores_row = round_up(V, PANEL);
    for (long s = 0; s + !p->log_p < p->length; s++) {
        for (long r = 0; r < rows; r++)
            memcpy(w->a_x + r * OF_U * H1, p->U1 + p->text[s * p->B + w->begin + r] * OF_U * H1,
                   OF_U * H1 * sizeof(REAL));
        compute_layer(w, 1, H1);
        compute_layer(w, 2, H2);
        swap(&w->now1, &w->next1);
        swap(&w->now2, &w->next2);
        if (!p->log_p && s + 1 < p->prime) continue;
        for (long v = 0; v < V; v += PANEL)
            multiply_panel(rows, BY_ROWS, H2, w->now2, tile_size(H2), w->V_panels + panel_at(H2, v / PANEL),
                           w->scores + v, scores_row, 0);
        if (p->log_p) predict_characters(p, s, w->begin, rows, w->scores, scores_row, w->probabilities);
        else draw_characters(p, s, w->begin, rows, w->scores, scores_row, w->probabilities, w->sorted);
    }
    __atomic_store_n(&w->left, STOP, __ATOMIC_RELEASE);
}

int sample(sampling *p, int n_threads)
{
    const int shared = p->B == 1 && n_threads > 1;
    if (n_threads > p->B) n_threads = p->B > 0 ? (int)p->B : 1;
    const places at = places_of(p);
    const long own = writer_size(p, (p->B + n_threads - 1) / n_threads);
    REAL *memory = scratch((p->panels ? 0 : at.size) + n_threads * own);
    if (!memory) return -1;
    if (!p->panels) {
        p->panels = memory, memory += at.size;
        pack(p);
    }
    if (shared && at.V * (long)sizeof(REAL) > WORTH_HELPER) {
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
        writer w = writer_of(p, split(p->B, n_threads, i), split(p->B, n_threads, i + 1), memory + i * own);
        write_texts(&w);
    }
    return 0;
}

#endif
