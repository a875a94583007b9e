/* The cell of a layer: a template.  in_c.py replaces each name in braces by code that it generates from the cell's
 * formula (lstm_cell in charlstm.py).
 *
 * Both work on LANES units of one row.  a (ROWS): pre-activations.  before, after (STATES): the states.  h: the hidden
 * state.  cell_p (CELL_P): the cell's parameters and constants.  kept (KEPT): what the forward pass keeps for the
 * backward pass.  A name that begins with d is a gradient: d_after comes from the next step.  factors (FACTORS): with
 * da, vectors whose products are the gradients of the cell's own matrices.
 *
 * The first OF_U rows read the input, the last OF_W rows h of the step before.
 *
 * A cell with sums or maxima over its units, or products with matrices of its own, runs in stages, each of which all
 * units of a row pass before the next begins:
 *   1. a _row function, once for each row, finishes the sums of the stage before and computes what follows from sums
 *      alone (OF_ROW numbers; a maximum is one of the sums, too);
 *   2. products of the vectors that the stage before has packed are computed, for a strip of units (at most AT_ONCE);
 *   3. for all units, in `between`, values that later stages read are stored (CARRIED), sums are added to (SUMS), and
 *      vectors are packed for products of the next stage (VECTORS).
 * Only the first stage can read a and dh; the last one has the results.  A cell without these has one stage. */
#ifndef CELL
#define CELL
#include "functions.h"

enum { {{sizes}} };            /* ROWS = 4, ... */

#include "between.h"
static const cell_product forward_products[PRODUCTS + 1] = {{forward_products}};
static const cell_product backward_products[BACKWARD_PRODUCTS + 1] = {{backward_products}};
static const factor_pair factor_pairs[PAIRS + 1] = {{factor_pairs}};

INLINE void cell_forward(int stage, const between *m, const vector *a, const vector *before, const vector *cell_p,
                         vector *kept, vector *h, vector *after)
{
    {{forward}}
}

INLINE void cell_forward_row(int stage, const between *m)
{
    {{forward_row}}
}

INLINE void cell_backward(int stage, const between *m, const vector *kept, const vector *before, const vector *after,
                          const vector *cell_p, vector dh, const vector *d_after, vector *da, vector *d_before,
                          vector *d_cell_p, vector *factors)
{
    (void)factors;
    {{backward}}
}

INLINE void cell_backward_row(int stage, const between *m)
{
    {{backward_row}}
}

#endif
