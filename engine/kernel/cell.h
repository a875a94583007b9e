/* The cell of a layer, as declarations for readers and editors.  In a compiled model, this file is
 * replaced by functions that engine/kernel/cell.py generates from the cell's formula (lstm_cell in charlstm.py).
 *
 * Both work on LANES units of one row.  a_*: pre-activations of the gates.  C_prev, C and h: cell state before and
 * after the step, and hidden state.  own (OWN): the cell's own parameters.  kept (KEPT): what the forward pass keeps
 * for the backward pass.  A name that begins with d is a gradient: dC comes from the next step, and da (4) is
 * that of the pre-activations. */
#ifndef CELL
#define CELL

#include "functions.h"

enum { OWN = 0 };
enum { KEPT = 4 };

void cell_forward(vector a_f, vector a_i, vector a_o, vector a_g, vector C_prev, const vector *own, vector *kept,
                  vector *h, vector *C);
void cell_backward(const vector *kept, vector C_prev, vector C, const vector *own, vector dh, vector dC, vector *da,
                   vector *dC_prev, vector *d_own);

#endif
