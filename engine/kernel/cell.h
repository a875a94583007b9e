/* The cell of a layer, as declarations for readers and editors.  In a compiled model, this file is
 * replaced by functions that engine/kernel/cell.py generates from the cell's formula (lstm_cell in charlstm.py).
 *
 * Both work on LANES units of one row.  a (ROWS): pre-activations.  before, after (STATES): the cell states before and
 * after the step.  h: the hidden state.  own (OWN): the cell's own parameters.  kept (KEPT): what the forward pass
 * keeps for the backward pass.  A name that begins with d is a gradient: d_after comes from the next step.
 *
 * The first OF_U rows read the input, the last OF_W rows h of the step before.
 *
 * A cell may have sums over its units.  What reads them is a later stage, which begins when all units of the row have
 * passed the stage before.  A stage adds to the sums (SUMS) and carries values (CARRIED) to later ones, in `between`
 * of layer.c.  a and dh can be read by the first stage only, and the results are those of the last stage.  The _row
 * functions compute, once for each row and stage, what depends on sums only (OF_ROW). */
#ifndef CELL
#define CELL

#include "functions.h"

enum { ROWS = 4, OF_U = 4, OF_W = 4, STATES = 1, OWN = 0, KEPT = 4 };
enum { STAGES = 1, BACKWARD_STAGES = 1, CARRIED = 0, SUMS = 0, OF_ROW = 0 };

#include "between.h"

void cell_forward(int stage, const between *m, const vector *a, const vector *before, const vector *own, vector *kept,
                  vector *h, vector *after);
void cell_backward(int stage, const between *m, const vector *kept, const vector *before, const vector *after,
                   const vector *own, vector dh, const vector *d_after, vector *da, vector *d_before, vector *d_own);
void cell_forward_row(int stage, const between *m);
void cell_backward_row(int stage, const between *m);

#endif
