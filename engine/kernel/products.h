/* Tiles and panels, the packed forms of what is multiplied, and the functions that pack and multiply them (products.c). */
#ifndef PRODUCTS_H
#define PRODUCTS_H

#include "kernel.h"
#include "operands.h"

#define PANEL (2 * LANES) /* columns of a tile */

/* Rows of a tile: with 13, two sums a row, two vectors of B and a number of A take 13*2 + 3 of 32 registers; with 6,
 * 6*2 + 3 of 16.  AMX has registers of whole tiles. */
#if defined(AMX_BF16)
#define MAX_ROWS AMX_ROWS
#elif defined(__AVX512F__) || defined(__aarch64__)
#define MAX_ROWS 13
#else
#define MAX_ROWS 6
#endif

/* How many panels N columns become, and where panel i of panels that are K deep begins. */
INLINE long panel_count(long N) { return (N + PANEL - 1) / PANEL; }
INLINE long panel_at(long K, long i) { return i * words(K) * PANEL; }

/* A tile of A is packed in chunks of LANES words.  In a chunk either a row's words stay together or a
 * column's, whichever needs no transposition: word k of row r is number r*LANES + k of its chunk (BY_ROWS) or
 * number k*COLUMN + r (BY_COLUMNS; AMX reads only rows).  COLUMN is MAX_ROWS rounded up to whole vectors. */
typedef enum { BY_ROWS, BY_COLUMNS } order;

#define COLUMN ((MAX_ROWS + LANES - 1) / LANES * LANES)
#define CHUNK (COLUMN * LANES)

/* The rows of A are cut into as few and as equal tiles as possible. */
typedef struct { long first, count; } tile_rows;

INLINE long tile_count(long rows) { return (rows + MAX_ROWS - 1) / MAX_ROWS; }

INLINE tile_rows rows_of_tile(long rows, long i)
{
    const long first = split(rows, tile_count(rows), i);
    const tile_rows tile = {first, split(rows, tile_count(rows), i + 1) - first};
    return tile;
}

/* The size of one packed tile, K deep, and of all the tiles of `rows` rows. */
INLINE long tile_size(long K) { return words(K) * COLUMN; }
INLINE long tiles_size(long rows, long K) { return tile_count(rows) * tile_size(K); }

/* Where the chunk that begins with number k of each row is in a tile. */
INLINE long chunk_at(long k) { return k / DEEP * CHUNK; }

/* One panel of B, (K, columns) with any strides, to (words(K), PANEL). */
void pack_panel(long K, long columns, const REAL *b, long k_stride, long column_stride, REAL *panel);

/* All tiles of A, (rows, K) with any strides.  For BY_COLUMNS row_stride is 1, and `rows_after` more rows follow in
 * memory. */
void pack_tiles(order by, long rows, long rows_after, long K, const REAL *a, long row_stride, long k_stride,
                REAL *tiles);

/* c (rows, PANEL) = or += packed tiles of A, tile_step numbers apart, . one packed panel of B */
void multiply_panel(long rows, order by, long K, const REAL *tiles, long tile_step, const REAL *panel, REAL *c,
                    long c_stride, int accumulate);

#endif
