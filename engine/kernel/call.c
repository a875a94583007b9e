/* Between Theano and an Op of the kernel: inputs in C order, and outputs whose memory is used again.
 *
 * A module of Python, compiled once for all Ops.  make() returns what Theano's virtual machine runs: a capsule with a
 * function, whose context is a `call`. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <numpy/arrayobject.h>
#include <stdint.h>

#include "call.h"

enum { MOST_ARRAYS = 256, ALIGNMENT = 64 /* bytes of a cache line */ };

/* An input or output.  storage: Theano's list of one array.  option: of an input, whether any strides will do; of an
 * output, the number of the input whose memory it takes, or -1. */
typedef struct { PyObject *storage; int type, dimensions, option; } slot;

typedef struct {
    PyObject *error;    /* Theano's list of an error's type, value and traceback: its virtual machine reads it here */
    operation *run;
    PyObject *expected; /* what the message of an error says */
    int inputs, outputs;
    slot slots[MOST_ARRAYS]; /* inputs, then outputs */
} call;

static array view(PyArrayObject *of)
{
    array v = {PyArray_DATA(of), (long)PyArray_SIZE(of), {0}, {0}};
    for (int d = 0; d < PyArray_NDIM(of) && d < MOST_DIMENSIONS; d++) {
        v.shape[d] = (long)PyArray_DIM(of, d);
        v.stride[d] = (long)(PyArray_STRIDE(of, d) / PyArray_ITEMSIZE(of));
    }
    return v;
}

/* An input as a new reference; NULL with a Python error set. */
static PyArrayObject *input(const slot *s)
{
    PyObject *found = PyList_GET_ITEM(s->storage, 0);
    PyArrayObject *given = (PyArrayObject *)found;
    if (!PyArray_Check(found) || PyArray_TYPE(given) != s->type || !PyArray_ISALIGNED(given)
        || (s->dimensions >= 0 && PyArray_NDIM(given) != s->dimensions)) {
        PyErr_SetString(PyExc_TypeError, "an input of the kernel is no aligned array of its type and dimensions");
        return NULL;
    }
    if (!s->option) return (PyArrayObject *)PyArray_GETCONTIGUOUS(given);
    Py_INCREF(given);
    return given;
}

/* A new array in C order that begins at a cache line, as NumPy's do not. */
static PyArrayObject *aligned_array(int type, int dimensions, npy_intp *shape)
{
    npy_intp n = PyArray_MultiplyList(shape, dimensions) + ALIGNMENT; /* more numbers than ALIGNMENT bytes hold */
    PyObject *made = NULL, *memory = PyArray_EMPTY(1, &n, type, 0);
    if (memory) {
        char *bytes = PyArray_BYTES((PyArrayObject *)memory);
        made = PyArray_New(&PyArray_Type, dimensions, shape, type, NULL, bytes + ALIGNMENT - (uintptr_t)bytes % ALIGNMENT,
                           0, NPY_ARRAY_CARRAY, NULL);
    }
    if (!made) Py_XDECREF(memory);
    else if (PyArray_SetBaseObject((PyArrayObject *)made, memory)) Py_CLEAR(made);
    return (PyArrayObject *)made;
}

/* Lets the storage of an output have an array of that shape: that of the last call where it fits, as fresh memory costs
 * page faults.  taken: the input whose memory it takes, or NULL.  Returns 0, or -1 with a Python error set. */
static int output(const slot *s, const long *wanted, PyArrayObject *taken)
{
    npy_intp shape[MOST_DIMENSIONS];
    PyObject *last = PyList_GET_ITEM(s->storage, 0), *made = (PyObject *)taken;
    for (int d = 0; d < s->dimensions; d++) shape[d] = wanted[d];
    if (!taken && PyArray_Check(last)) {
        PyArrayObject *old = (PyArrayObject *)last;
        if (PyArray_TYPE(old) == s->type && PyArray_NDIM(old) == s->dimensions && PyArray_ISCARRAY(old)
            && PyArray_CompareLists(PyArray_DIMS(old), shape, s->dimensions)) return 0;
    }
    if (taken) Py_INCREF(made);
    else made = (PyObject *)aligned_array(s->type, s->dimensions, shape);
    return made ? PyList_SetItem(s->storage, 0, made) : -1; /* which takes the reference */
}

/* Runs the Op on `held`, its inputs.  Returns 0, or -1 with a Python error set. */
static int compute(const call *c, PyArrayObject *const *held)
{
    array in[MOST_ARRAYS], out[MOST_ARRAYS];
    for (int k = 0; k < c->inputs; k++) in[k] = view(held[k]);
    if (c->run(0, in, out)) {
        PyErr_SetObject(PyExc_ValueError, c->expected);
        return -1;
    }
    for (int k = 0; k < c->outputs; k++) {
        const slot *s = &c->slots[c->inputs + k];
        if (output(s, out[k].shape, s->option < 0 ? NULL : held[s->option])) return -1;
        out[k] = view((PyArrayObject *)PyList_GET_ITEM(s->storage, 0));
    }
    if (c->run(1, in, out)) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static PyObject *none(void)
{
    Py_INCREF(Py_None);
    return Py_None;
}

/* What Theano's virtual machine calls.  Returns 0, or 1 with a Python error in c->error. */
static int execute(call *c)
{
    PyArrayObject *held[MOST_ARRAYS];
    int taken = 0;
    while (taken < c->inputs && (held[taken] = input(&c->slots[taken]))) taken++;
    const int failed = taken < c->inputs || compute(c, held);
    while (taken) Py_DECREF(held[--taken]);
    if (failed) {
        PyObject *parts[3];
        PyErr_Fetch(&parts[0], &parts[1], &parts[2]);
        for (int k = 0; k < 3; k++) PyList_SetItem(c->error, k, parts[k] ? parts[k] : none());
    }
    return failed;
}

static void destroy(PyObject *capsule)
{
    call *c = (call *)PyCapsule_GetContext(capsule);
    for (int k = 0; k < c->inputs + c->outputs; k++) Py_DECREF(c->slots[k].storage);
    Py_DECREF(c->error);
    Py_DECREF(c->expected);
    PyMem_Free(c);
}

/* Fills slots from a list of (storage, type, dimensions, option).  Returns 0, or -1 with a Python error set. */
static int fill(call *c, PyObject *described, int *count)
{
    for (Py_ssize_t k = 0; k < PyList_GET_SIZE(described); k++) {
        slot *s = &c->slots[c->inputs + c->outputs];
        if (c->inputs + c->outputs == MOST_ARRAYS) {
            PyErr_SetString(PyExc_ValueError, "an operation of the kernel has too many inputs and outputs");
            return -1;
        }
        if (!PyArg_ParseTuple(PyList_GET_ITEM(described, k), "O!iii", &PyList_Type, &s->storage, &s->type,
                              &s->dimensions, &s->option)) return -1;
        Py_INCREF(s->storage);
        ++*count;
    }
    return 0;
}

/* make(address, expected, error, inputs, outputs) returns a capsule.  address: of the `op` of an Op. */
static PyObject *make(PyObject *self, PyObject *arguments)
{
    unsigned long long address;
    PyObject *expected, *error, *inputs, *outputs, *capsule;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "KO!O!O!O!", &address, &PyUnicode_Type, &expected, &PyList_Type, &error, &PyList_Type,
                          &inputs, &PyList_Type, &outputs)) return NULL;
    call *c = (call *)PyMem_Calloc(1, sizeof(call));
    if (!c) return PyErr_NoMemory();
    c->run = (operation *)(uintptr_t)address;
    Py_INCREF(c->expected = expected);
    Py_INCREF(c->error = error);
    capsule = PyCapsule_New((void *)execute, NULL, NULL);
    if (!capsule || PyCapsule_SetContext(capsule, c) || PyCapsule_SetDestructor(capsule, destroy)) return NULL;
    if (fill(c, inputs, &c->inputs) || fill(c, outputs, &c->outputs)) Py_CLEAR(capsule);
    return capsule;
}

/* run(capsule) does what Theano's virtual machine does with it, for Theano's loops in Python. */
static PyObject *run(PyObject *self, PyObject *capsule)
{
    call *c = (call *)PyCapsule_GetContext(capsule);
    (void)self;
    if (!c) return NULL;
    if (!execute(c)) return none();
    PyObject *parts[3];
    for (int k = 0; k < 3; k++) {
        parts[k] = PyList_GET_ITEM(c->error, k);
        PyList_SET_ITEM(c->error, k, none());
        if (parts[k] == Py_None) Py_CLEAR(parts[k]);
    }
    PyErr_Restore(parts[0], parts[1], parts[2]);
    return NULL;
}

static PyMethodDef methods[] = {{"make", make, METH_VARARGS, NULL}, {"run", run, METH_O, NULL}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "call", NULL, -1, methods, NULL, NULL, NULL, NULL};

#pragma GCC visibility push(default) /* Python 3.8 does not do that by itself */
PyMODINIT_FUNC PyInit_call(void)
{
    import_array();
    return PyModule_Create(&definition);
}
#pragma GCC visibility pop
