/* How call.c calls an Op: the C function `op` that ops.py writes for it. */
#ifndef CALL_H
#define CALL_H

enum { MOST_DIMENSIONS = 3 };

/* An input or output.  size: how many numbers it has.  Strides are in numbers. */
typedef struct { void *data; long size, shape[MOST_DIMENSIONS], stride[MOST_DIMENSIONS]; } array;

/* First with run = 0: sets the shapes of the outputs; returns 1 where the inputs do not fit.  Then with run = 1: fills
 * the outputs; returns -1 when out of memory.  Otherwise 0. */
typedef int operation(int run, const array *in, array *out);

#endif
