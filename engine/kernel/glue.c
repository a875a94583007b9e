/* Between Theano and the kernel: contiguous inputs, outputs whose memory is used again, threads. */

/* n arrays in C order, as new references. Returns 0, or -1 with a Python error set. */
static int in_c_order(int n, PyArrayObject **from, PyArrayObject **to)
{
    for (int i = 0; i < n; i++)
        if (!(to[i] = (PyArrayObject *)PyArray_GETCONTIGUOUS(from[i]))) return -1;
    return 0;
}

static int as_they_are(int n, PyArrayObject **from, PyArrayObject **to)
{
    for (int i = 0; i < n; i++) Py_INCREF(to[i] = from[i]);
    return 0;
}

/* A new array in C order that begins at a cache line, as NumPy's own do not. */
static PyArrayObject *aligned_array(int type, int ndim, npy_intp *shape)
{
    npy_intp n = PyArray_MultiplyList(shape, ndim) + CACHE_LINE;     /* so many numbers more are bytes enough */
    PyObject *array = NULL, *memory = PyArray_EMPTY(1, &n, type, 0);
    if (memory)
        array = PyArray_New(&PyArray_Type, ndim, shape, type, NULL, aligned(PyArray_BYTES((PyArrayObject *)memory)), 0,
                            NPY_ARRAY_CARRAY, NULL);
    if (!array) Py_XDECREF(memory);
    else if (PyArray_SetBaseObject((PyArrayObject *)array, memory)) Py_CLEAR(array);
    return (PyArrayObject *)array;
}

/* An output of that shape: the one of the last call where it fits, as fresh memory costs page faults. */
static int output(PyArrayObject **out, int type, int ndim, npy_intp d0, npy_intp d1, npy_intp d2)
{
    npy_intp shape[3] = {d0, d1, d2};
    if (*out && PyArray_ISCARRAY(*out) && PyArray_NDIM(*out) == ndim
        && PyArray_CompareLists(PyArray_DIMS(*out), shape, ndim)) return 0;
    Py_XDECREF(*out);
    *out = aligned_array(type, ndim, shape);
    return *out ? 0 : -1;
}

/* An output in the memory of an input. */
static int overwrite(PyArrayObject **out, PyArrayObject *input)
{
    Py_INCREF(input);
    Py_XDECREF(*out);
    *out = input;
    return 0;
}

#if defined(_OPENMP) && !defined(_WIN32)
#include <pthread.h>
static void one_thread(void) { omp_set_num_threads(1); }
/* A process that is forked has none of the threads that libgomp would wait for, so it goes on with one. */
static void mind_forks(void)
{
    static int minded = 0;
    if (!minded) minded = !pthread_atfork(NULL, NULL, one_thread);
}
#else
static void mind_forks(void) {}
#endif

static int threads(void)
{
#ifdef _OPENMP
    mind_forks();
    return omp_get_max_threads();   /* OMP_NUM_THREADS, else the cores that this process may use */
#else
    return 1;
#endif
}

#define DIM(i, axis) ((long)PyArray_DIM(x[i], axis))
#define STEP(i, axis) ((long)(PyArray_STRIDE(x[i], axis) / (npy_intp)sizeof(REAL)))
#define REALS(array) ((REAL *)PyArray_DATA(array))
#define INTS(array) ((int32_t *)PyArray_DATA(array))
