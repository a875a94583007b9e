/* A cell, written by engine/kernel/cell.py.  The file cell.c has the standard cell, for readers and
 * editors; a compiled model has its own. */
#ifndef CELL_C
#define CELL_C

#include "functions.c"

enum { OWN = 0 };  /* the cell's own parameters */
enum { KEPT = 4 }; /* numbers that it keeps for the backward pass */

INLINE void cell_forward(vector a_f, vector a_i, vector a_o, vector a_g, vector C_prev, const vector *own,
                         vector *kept, vector *h, vector *C)
{
    const vector t0 = vector_tanh(a_g);
    const vector t1 = vector_sigmoid(a_i);
    const vector t3 = vector_sigmoid(a_f);
    const vector t5 = t3 * C_prev + t1 * t0;
    const vector t7 = vector_sigmoid(a_o);
    const vector t8 = t7 * vector_tanh(t5);
    *h = t8;
    *C = t5;
    kept[0] = t3;
    kept[1] = t1;
    kept[2] = t7;
    kept[3] = t0;
}

INLINE void cell_backward(const vector *kept, vector C_prev, vector C, const vector *own, vector dh, vector dC,
                          vector *da, vector *dC_prev, vector *d_own)
{
    const vector t6 = vector_tanh(C);
    const vector t14 = dh * kept[2] * (number(1.0) - t6 * t6) + dC;
    const vector t17 = t14 * C_prev * kept[0] * (number(1.0) - kept[0]);
    const vector t21 = t14 * kept[3] * kept[1] * (number(1.0) - kept[1]);
    const vector t25 = dh * t6 * kept[2] * (number(1.0) - kept[2]);
    const vector t29 = t14 * kept[1] * (number(1.0) - kept[3] * kept[3]);
    const vector t30 = t14 * kept[0];
    da[0] = t17;
    da[1] = t21;
    da[2] = t25;
    da[3] = t29;
    *dC_prev = t30;
}

#endif
