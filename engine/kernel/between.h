/* What the stages of a cell with sums over its units share (cell.h). */
#ifndef BETWEEN
#define BETWEEN

#include "products.c"

/* Some rows of the batch, which pass the stages together, and the memory for that, of between_size numbers. */
typedef struct {
    long begin, count;
    REAL *memory;
} stage_rows;

/* The memory of a row for n units.  The sums have LANES parts for each strip: they are added up in the order of the
 * strips, whoever computed them. */
typedef struct {
    long units, n, width, strips, strip_step;
    int begins;                          /* whether these units are the first of their strip */
    REAL *carried, *of_row;              /* (CARRIED, width), (OF_ROW) */
    REAL *addends;                       /* (SUMS, LANES), of these units' strip */
} between;

INLINE long between_size(long rows, long H)
{
    const long size = rows * (CARRIED * round_up(H, PANEL) + OF_ROW + panel_count(H) * SUMS * LANES);
    return round_up(size, CACHE_LINE / (long)sizeof(REAL));
}

/* Returns it for the n units from j on of row number `row`. */
INLINE between between_of(const stage_rows *rows, long H, long row, long j, long n)
{
    between m;
    m.units = H, m.n = n, m.width = round_up(H, PANEL), m.strips = panel_count(H), m.begins = j % PANEL == 0;
    m.strip_step = rows->count * SUMS * LANES;
    m.carried = rows->memory + row * CARRIED * m.width + j;
    m.addends = rows->memory + rows->count * CARRIED * m.width + row * SUMS * LANES + j / PANEL * m.strip_step;
    m.of_row = rows->memory + rows->count * CARRIED * m.width + m.strips * m.strip_step + row * OF_ROW;
    return m;
}

#define vector_units() number((REAL)m->units)

/* Adds these units' x to sum k. */
INLINE void add_up(const between *m, long k, vector x)
{
    REAL *sum = m->addends + k * LANES;
    vector addend = x;
    if (m->n < LANES) {                  /* past the last unit there is nothing to add */
        const vector part = x;
        addend = number(0);
        memcpy(&addend, &part, m->n * sizeof(REAL));
    }
    store(sum, m->begins ? addend : load(sum, LANES) + addend, LANES);
}

/* Returns sum k, in all lanes, for units that begin with the first. */
INLINE vector total(const between *m, long k)
{
    REAL parts[LANES];
    vector lanes = {0};
    for (long i = 0; i < m->strips; i++) lanes += load(m->addends + i * m->strip_step + k * LANES, LANES);
    store(parts, lanes, LANES);
    for (long n = LANES / 2; n > 0; n /= 2)
        for (long l = 0; l < n; l++) parts[l] += parts[l + n];
    return number(parts[0]);
}

#endif
