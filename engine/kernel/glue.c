/* Between Theano and the kernel: inputs in C order, and outputs whose memory is used again. */
#ifndef GLUE_C
#define GLUE_C

#include <Python.h>
#include <numpy/arrayobject.h>

#include "vectors.c"

/* An input in C order, as a new reference; NULL with a Python error set. */
static PyArrayObject *in_c_order(PyArrayObject *array) { return (PyArrayObject *)PyArray_GETCONTIGUOUS(array); }

/* An input with the strides that it has, as a new reference. */
static PyArrayObject *unchanged(PyArrayObject *array)
{
    Py_INCREF(array);
    return array;
}

/* From one number to the next along an axis of an array of REAL, in numbers. */
static long stride(PyArrayObject *array, int axis)
{
    return (long)(PyArray_STRIDE(array, axis) / (npy_intp)sizeof(REAL));
}

/* A new array in C order that begins at a cache line, as NumPy's do not. */
static PyArrayObject *aligned_array(int type, int ndim, npy_intp *shape)
{
    npy_intp n = PyArray_MultiplyList(shape, ndim) + CACHE_LINE; /* more numbers than CACHE_LINE bytes hold */
    PyObject *array = NULL, *memory = PyArray_EMPTY(1, &n, type, 0);
    if (memory)
        array = PyArray_New(&PyArray_Type, ndim, shape, type, NULL, aligned(PyArray_BYTES((PyArrayObject *)memory)),
                            0, NPY_ARRAY_CARRAY, NULL);
    if (!array) Py_XDECREF(memory);
    else if (PyArray_SetBaseObject((PyArrayObject *)array, memory)) Py_CLEAR(array);
    return (PyArrayObject *)array;
}

/* *out = an output of that shape: that of the last call where it fits, as fresh memory costs page faults.
 * Returns 0, or -1 with a Python error set. */
static int output(PyArrayObject **out, int type, int ndim, npy_intp d0, npy_intp d1, npy_intp d2)
{
    npy_intp shape[3] = {d0, d1, d2};
    if (*out && PyArray_ISCARRAY(*out) && PyArray_NDIM(*out) == ndim
        && PyArray_CompareLists(PyArray_DIMS(*out), shape, ndim)) return 0;
    Py_XDECREF(*out);
    *out = aligned_array(type, ndim, shape);
    return *out ? 0 : -1;
}

/* *out = an output in the memory of an input.  Returns 0. */
static int overwrite(PyArrayObject **out, PyArrayObject *input)
{
    Py_INCREF(input);
    Py_XDECREF(*out);
    *out = input;
    return 0;
}

#endif
