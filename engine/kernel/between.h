/* What the stages of a cell share (cell.h). */
#ifndef BETWEEN
#define BETWEEN

#include "products.c"

/* A product v.M of the cell: the stage that reads it, which matrix M is, whether transposed, and which vector v is. */
typedef struct { int stage, matrix, transposed, vector; } cell_product;

/* Two vectors whose product v^T.g is a part of the gradient of a matrix: their numbers in da and, from ROWS on, in
 * factors. */
typedef struct { int matrix, v, g; } factor_pair;

/* Some rows of the batch, which pass the stages together, and the memory for that, of between_size numbers: packed
 * vectors (VECTORS, tiles), whose words past unit H stay 0, and what each row has in the struct `between`. */
typedef struct {
    long begin, count;
    REAL *memory;
} stage_rows;

/* The memory of a row for n units.  The sums have LANES parts for each strip: they are added up in the order of the
 * strips, whoever computed them. */
typedef struct {
    long units, n, width, strips, strip_step;
    int begins;                          /* whether these units are the first of their strip */
    long j;                              /* their first one */
    REAL *carried, *of_row;              /* (CARRIED, width), (OF_ROW) */
    REAL *addends;                       /* (SUMS, LANES), of these units' strip */
    REAL *vectors;                       /* (VECTORS, vector_step), from the words of these units on */
    const REAL *products;                /* (AT_ONCE, product_step), of these units, if the stage reads any */
    long vector_step, product_step;
} between;

INLINE long between_size(long rows, long H)
{
    const long of_row = CARRIED * round_up(H, PANEL) + OF_ROW + panel_count(H) * SUMS * LANES;
    return round_up(VECTORS * tiles_size(rows, H) + rows * of_row, CACHE_LINE / (long)sizeof(REAL));
}

/* Returns it for the n units from j on of row number `row`, without products.  words: where theirs are in vectors. */
INLINE between between_of(const stage_rows *rows, long H, long row, long words, long j, long n)
{
    between m;
    REAL *memory = rows->memory + VECTORS * tiles_size(rows->count, H);
    m.units = H, m.n = n, m.width = round_up(H, PANEL), m.strips = panel_count(H), m.begins = j % PANEL == 0, m.j = j;
    m.strip_step = rows->count * SUMS * LANES;
    m.vectors = rows->memory + words, m.vector_step = tiles_size(rows->count, H), m.products = NULL;
    m.carried = memory + row * CARRIED * m.width + j, memory += rows->count * CARRIED * m.width;
    m.addends = memory + row * SUMS * LANES + j / PANEL * m.strip_step;
    m.of_row = memory + m.strips * m.strip_step + row * OF_ROW;
    return m;
}

/* Sets sums (AT_ONCE, rows, PANEL) to the products of a strip that a stage reads.  packed: the panels of each. */
INLINE void multiply_vectors(const cell_product *products, long count, int stage, const stage_rows *rows, long H,
                             long strip, const REAL *packed, REAL *sums)
{
    for (long k = 0; k < count; k++)
        if (products[k].stage == stage) {
            multiply_panel(rows->count, BY_ROWS, H, rows->memory + products[k].vector * tiles_size(rows->count, H),
                           tile_size(H), packed + panel_at(H, k * panel_count(H) + strip / PANEL), sums, PANEL, 0);
            sums += rows->count * PANEL;
        }
}

/* Returns product k of those that this stage reads, of these units. */
INLINE vector product_at(const between *m, long k) { return load(m->products + k * m->product_step, LANES); }

/* Packs these units' x in vector k. */
INLINE void pack_vector(const between *m, long k, vector x)
{
    store_words(m->vectors + k * m->vector_step, m->j % DEEP, x, m->n);
}

#define vector_units() number((REAL)m->units)

/* Adds these units' x to sum k or, if it is a maximum, takes the larger. */
INLINE void add_up(const between *m, int is_max, long k, vector x)
{
    REAL *sum = m->addends + k * LANES;
    for (long l = m->n; l < LANES; l++) x[l] = is_max ? -INFINITY : 0; /* past the last unit */
    store(sum, m->begins ? x : is_max ? vector_max(load(sum, LANES), x) : load(sum, LANES) + x, LANES);
}

/* Returns sum or maximum k, in all lanes, for units that begin with the first. */
INLINE vector total(const between *m, int is_max, long k)
{
    const REAL *sum = m->addends + k * LANES;
    vector lanes = number(is_max ? -INFINITY : 0);
    for (long i = 0; i < m->strips; i++, sum += m->strip_step)
        lanes = is_max ? vector_max(lanes, load(sum, LANES)) : lanes + load(sum, LANES);
    for (long l = 1; is_max && l < LANES; l++) lanes = vector_max(lanes, number(lanes[l]));
    return number(is_max ? lanes[0] : sum_of_lanes(lanes));
}

#endif
