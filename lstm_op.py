"""The LSTM layer on the CPU: Theano Ops around the C kernel in lstm_op.c.

The functions at the end of this file are what charlstm.py builds its graph
from, and have their namesakes there, written with theano.scan; the two give
the same numbers. Import charlstm first: it configures Theano.

Sizes: T steps, B sequences, H units, N = T*B characters, V characters in the
vocabulary; "4H" is the gates f, i, o, g side by side.
"""
import os
import zlib

import numpy as np
import theano
import theano.tensor as T
from theano import gof
from theano.gradient import DisconnectedType, disconnected_type

# Idle threads sleep, after some microseconds in which the next piece of work may come: by default they go on
# looking for it for a while, and where another program is busy on the same cores they take the time of the very
# thread that they wait for, which makes a step ten times as long.
if 'OMP_WAIT_POLICY' not in os.environ:
    os.environ['OMP_WAIT_POLICY'] = 'PASSIVE'
    os.environ.setdefault('GOMP_SPINCOUNT', '1000')

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lstm_op.c')) as _f:
    KERNEL = _f.read()
with open(os.path.abspath(__file__)) as _f:
    SOURCE = _f.read()

# Between Theano and the kernel: contiguous inputs, outputs whose memory is used again, threads.
GLUE = r'''
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

static int threads(void)
{
#ifdef _OPENMP
    return omp_get_max_threads();   /* OMP_NUM_THREADS, else the cores that this process may use */
#else
    return 1;
#endif
}

#define DIM(i, axis) ((long)PyArray_DIM(x[i], axis))
#define STEP(i, axis) ((long)(PyArray_STRIDE(x[i], axis) / (npy_intp)sizeof(REAL)))
#define REALS(array) ((REAL *)PyArray_DATA(array))
#define INTS(array) ((int32_t *)PyArray_DATA(array))
'''


class _KernelOp(gof.Op):
    """An Op that calls the kernel for one dtype, 'float32' or 'float64'.

    A subclass says in C: `sizes`, declarations from the inputs x[0], x[1], ...;
    `fits`, whether their shapes agree; `shapes`, the outputs' (type, ndim, three
    dimensions); `call`, which fills the outputs, named {0}, {1}, ..., and
    returns 0, or -1 when out of memory, after statements `before`. In Python it
    says `perform`, the same in NumPy, against which it is tested.
    """
    __props__ = ('dtype',)
    before = ''
    strided = False            # whether the call takes inputs of any strides
    destroy_map = {}           # as Theano has it: by number of an output, a list with the input that it overwrites

    def __init__(self, dtype):
        self.dtype = dtype

    def matrix(self, ndim=2):
        return T.TensorType(self.dtype, [False] * ndim)()

    def check(self, inputs, ndims):
        """The inputs as symbols; TypeError where a dtype or a number of dimensions is another than in ndims."""
        inputs = [T.as_tensor_variable(v) for v in inputs]
        for k, (v, ndim) in enumerate(zip(inputs, ndims)):
            dtype = 'int32' if ndim == 'indices' else self.dtype
            ndim = 1 if ndim == 'indices' else ndim
            if v.dtype != dtype or v.ndim != ndim:
                raise TypeError('{}: input {} is {} with {} dimensions; expected {} with {}'.format(
                    type(self).__name__, k, v.dtype, v.ndim, dtype, ndim))
        return inputs

    def c_support_code(self):
        real = {'float32': 'float', 'float64': 'double'}[self.dtype]
        return '#define REAL {}\n'.format(real) + KERNEL + GLUE

    def c_headers(self):
        return ['<omp.h>'] if self._openmp() else []

    def c_compile_args(self):
        # Vector types as arguments of inlined functions: GCC notes that their ABI once changed.
        return ['-Wno-psabi', '-Wno-unused-function'] + ['-fopenmp'] * self._openmp()

    @staticmethod
    def _openmp():
        return theano.config.cxx != '' and os.uname().sysname != 'Darwin'    # Apple's clang has no OpenMP

    def c_code_cache_version(self):
        return (zlib.crc32((KERNEL + SOURCE).encode()),)

    def c_code(self, node, name, inputs, outputs, sub):
        made = ' || '.join(
            'overwrite(&{}, x[{}])'.format(out, *self.destroy_map[k]) if k in self.destroy_map
            else 'output(&{}, {})'.format(out, shape) for k, (out, shape) in enumerate(zip(outputs, self.shapes)))
        return '''{{
            PyArrayObject *given[] = {{{inputs}}}, *x[{n}] = {{NULL}};
            int failed = 1;
            if ({take}) {{}}
            else {{
                {sizes}
                if (!({fits})) PyErr_SetString(PyExc_ValueError, "{op}: the shapes of its inputs do not fit");
                else if (!({made})) {{
                    {before}
                    failed = {call};
                    if (failed) PyErr_NoMemory();
                }}
            }}
            for (int i = 0; i < {n}; i++) Py_XDECREF(x[i]);
            if (failed) {fail}
        }}'''.format(
            inputs=', '.join(inputs), n=len(inputs), op=type(self).__name__, fail=sub['fail'], made=made,
            take='as_they_are({}, given, x)'.format(len(inputs)) if self.strided
            else 'in_c_order({}, given, x)'.format(len(inputs)),
            sizes=self.sizes, fits=self.fits, before=self.before.format(*outputs), call=self.call.format(*outputs))


def _no_gradient(output_gradients):
    """A Disconnected gradient stands for zeros; True where all are."""
    return all(isinstance(g.type, DisconnectedType) for g in output_gradients)


class Product(_KernelOp):
    """The matrix product of a (M,K) and b (K,N), each of any strides: (M,N)."""
    strided = True
    sizes = 'const long M = DIM(0, 0), K = DIM(0, 1), N = DIM(1, 1);'
    fits = 'DIM(1, 0) == K'
    shapes = ('PyArray_TYPE(x[0]), 2, M, N, 0',)
    call = ('matmul(M, N, K, REALS(x[0]), STEP(0, 0), STEP(0, 1), REALS(x[1]), STEP(1, 0), STEP(1, 1), '
            'REALS({0}), N, 0, threads())')

    def make_node(self, a, b):
        return gof.Apply(self, self.check([a, b], [2, 2]), [self.matrix()])

    def perform(self, node, inputs, outputs):
        outputs[0][0] = np.dot(*inputs)

    def infer_shape(self, node, shapes):
        return [(shapes[0][0], shapes[1][1])]

    def L_op(self, inputs, outputs, gradients):
        (a, b), (d,) = inputs, gradients
        # b is the transpose of some weights, so its gradient is computed as that of the weights: their
        # memory is then in order, and the update of the weights walks straight through it.
        return [self(d, b.T), self(d.T, a).T]


class SumOfSquares(_KernelOp):
    """The sum of the squares of all numbers in an array: 0-d."""
    sizes = 'const long N = (long)PyArray_SIZE(x[0]);'
    fits = '1'
    shapes = ('PyArray_TYPE(x[0]), 0, 0, 0, 0',)
    call = 'sum_of_squares(N, REALS(x[0]), REALS({0}))'

    def make_node(self, v):
        v = T.as_tensor_variable(v)
        return gof.Apply(self, self.check([v], [v.ndim]), [self.matrix(0)])

    def perform(self, node, inputs, outputs):
        outputs[0][0] = np.asarray(np.square(inputs[0], dtype=np.float64).sum(), self.dtype)

    def infer_shape(self, node, shapes):
        return [()]


class TakeColumns(_KernelOp):
    """The columns `index` int (N,) of U (D,V), one a row: (N,D)."""
    sizes = 'const long D = DIM(0, 0), V = DIM(0, 1), N = DIM(1, 0);'
    fits = 'all_below(V, N, INTS(x[1]))'
    shapes = ('PyArray_TYPE(x[0]), 2, N, D, 0',)
    call = 'take_columns(N, V, D, REALS(x[0]), INTS(x[1]), REALS({0}), threads())'

    def make_node(self, U, index):
        return gof.Apply(self, self.check([U, index], [2, 'indices']), [self.matrix()])

    def perform(self, node, inputs, outputs):
        outputs[0][0] = inputs[0].T[inputs[1]]

    def infer_shape(self, node, shapes):
        return [(shapes[1][0], shapes[0][0])]

    def L_op(self, inputs, outputs, gradients):
        (U, index), (d,) = inputs, gradients
        return [AddColumns(self.dtype)(U, index, d), disconnected_type()]

    def connection_pattern(self, node):
        return [[True], [False]]


class AddColumns(_KernelOp):
    """The gradient of TakeColumns: rows d (N,D) added into zeros like U (D,V), each into column index[n]."""
    sizes = 'const long D = DIM(0, 0), V = DIM(0, 1), N = DIM(1, 0);'
    fits = 'DIM(2, 0) == N && DIM(2, 1) == D && all_below(V, N, INTS(x[1]))'
    shapes = ('PyArray_TYPE(x[0]), 2, D, V, 0',)
    call = 'add_columns(N, V, D, INTS(x[1]), REALS(x[2]), REALS({0}), threads())'

    def make_node(self, U, index, d):
        return gof.Apply(self, self.check([U, index, d], [2, 'indices', 2]), [self.matrix()])

    def perform(self, node, inputs, outputs):
        U, index, d = inputs
        outputs[0][0] = np.zeros(U.shape, self.dtype)
        np.add.at(outputs[0][0].T, index, d)

    def infer_shape(self, node, shapes):
        return [shapes[0]]


def _sigmoid(x):
    with np.errstate(over='ignore'):           # exp(-x) = inf is right: the quotient is 0
        return 1 / (1 + np.exp(-x))


def _numpy_step(a_x, W, b, h, C, gates=None):
    """h and C (B,H) after one step from a_x (B,4H), W (4,H,H), b (4,H); fills gates (B,4H)."""
    H = W.shape[2]
    a = a_x + b.ravel() + h.dot(W.reshape(4 * H, H).T)               # (B, 4H)
    f, i, o = np.split(_sigmoid(a[:, :3 * H]), 3, axis=1)            # (B, H)
    g = np.tanh(a[:, 3 * H:])
    C = f * C + i * g
    if gates is not None:
        gates[:] = np.concatenate([f, i, o, g], axis=1)
    return o * np.tanh(C), C


class _LayerOp(_KernelOp):
    """What LSTM and LSTMGradient share.

    truncate: the gradient flows through the last so many steps, -1: all.
    in_place: whether the largest output overwrites the input of its shape;
    Theano sees to it where nothing else needs that input.
    """
    __props__ = ('dtype', 'truncate', 'in_place')

    def __init__(self, dtype, truncate=-1, in_place=False):
        _KernelOp.__init__(self, dtype)
        self.truncate, self.in_place = truncate, in_place
        if in_place:
            self.destroy_map = self.overwrites


class LSTM(_LayerOp):
    """A layer over whole sequences.

    Inputs: pre-activations a_x (T,B,4H), without the bias; W (4,H,H); b (4,H);
    h0, C0 (B,H), the states before the first step. Outputs: h (T,B,H); C
    (T,B,H); the gates after their sigmoid or tanh (T,B,4H); the states after
    the last step (B,H), h and C, in memory of their own: a function gives away
    that of what it returns, and with views of all steps it would be theirs. The
    gradient goes through the first h to a_x, W and b alone; the states before
    are constants to it.
    """
    overwrites = {2: [0]}                      # a_x by the gates
    sizes = 'const long T = DIM(0, 0), B = DIM(0, 1), H = DIM(1, 1);'
    fits = ('DIM(0, 2) == 4 * H && DIM(1, 0) == 4 && DIM(1, 2) == H && DIM(2, 0) == 4 && DIM(2, 1) == H '
            '&& DIM(3, 0) == B && DIM(3, 1) == H && DIM(4, 0) == B && DIM(4, 1) == H')
    shapes = tuple('PyArray_TYPE(x[0]), ' + shape
                   for shape in ('3, T, B, H', '3, T, B, H', '3, T, B, 4 * H', '2, B, H, 0', '2, B, H, 0'))
    call = ('lstm_forward(T, B, H, REALS(x[0]), REALS(x[1]), REALS(x[2]), REALS(x[3]), REALS(x[4]), '
            'REALS({2}), REALS({1}), REALS({0}), REALS({3}), REALS({4}), threads())')

    def make_node(self, a_x, W, b, h0, C0):
        return gof.Apply(self, self.check([a_x, W, b, h0, C0], [3, 3, 2, 2, 2]),
                         [self.matrix(ndim) for ndim in (3, 3, 3, 2, 2)])

    def perform(self, node, inputs, outputs):
        a_x, W, b, h, C = inputs
        H = W.shape[2]
        hs, Cs = [np.empty(a_x.shape[:2] + (H,), self.dtype) for _ in range(2)]
        gates = a_x if self.in_place else np.empty_like(a_x)
        for t in range(len(a_x)):
            h, C = _numpy_step(a_x[t], W, b, h, C, gates[t])
            hs[t], Cs[t] = h, C
        for output, value in zip(outputs, (hs, Cs, gates, h.copy(), C.copy())):      # copies: with no steps, of the inputs
            output[0] = value

    def infer_shape(self, node, shapes):
        (steps, batch, H4), (_, H, _) = shapes[:2]
        return [(steps, batch, H), (steps, batch, H), (steps, batch, H4), (batch, H), (batch, H)]

    def connection_pattern(self, node):
        return [[True] * 3 + [False] * 2] * 3 + [[False] * 5] * 2

    def L_op(self, inputs, outputs, gradients):
        a_x, W, b, h0, C0 = inputs
        h, C, gates = outputs[:3]
        if not _no_gradient(gradients[1:]):
            raise NotImplementedError('the gradient through C or the gates of LSTM: only that through h is there')
        if _no_gradient(gradients):
            return [disconnected_type() for _ in inputs]
        da, dW, db = LSTMGradient(self.dtype, self.truncate)(gradients[0], W, h, C, gates, h0, C0)
        return [da, dW, db, disconnected_type(), disconnected_type()]


class LSTMGradient(_LayerOp):
    """The gradient of LSTM: dh (T,B,H) and what LSTM took and gave to da_x (T,B,4H), dW (4,H,H), db (4,H)."""
    overwrites = {0: [4]}                      # the gates by da_x
    fits = ('DIM(1, 0) == 4 && DIM(1, 1) == H && DIM(1, 2) == H '
            '&& DIM(2, 0) == T && DIM(2, 1) == B && DIM(2, 2) == H '
            '&& DIM(3, 0) == T && DIM(3, 1) == B && DIM(3, 2) == H '
            '&& DIM(4, 0) == T && DIM(4, 1) == B && DIM(4, 2) == 4 * H '
            '&& DIM(5, 0) == B && DIM(5, 1) == H && DIM(6, 0) == B && DIM(6, 1) == H')
    shapes = ('PyArray_TYPE(x[0]), 3, T, B, 4 * H', 'PyArray_TYPE(x[0]), 3, 4, H, H', 'PyArray_TYPE(x[0]), 2, 4, H, 0')
    call = ('lstm_backward(T, B, H, first, REALS(x[1]), REALS(x[4]), REALS(x[3]), REALS(x[2]), REALS(x[5]), '
            'REALS(x[6]), REALS(x[0]), REALS({0}), REALS({1}), REALS({2}), threads())')

    def __init__(self, dtype, truncate=-1, in_place=False):
        _LayerOp.__init__(self, dtype, truncate, in_place)
        self.sizes = ('const long T = DIM(0, 0), B = DIM(0, 1), H = DIM(0, 2), depth = {}, '
                      'first = depth < 0 || depth > T ? 0 : T - depth;'.format(truncate))

    def make_node(self, dh, W, h, C, gates, h0, C0):
        inputs = self.check([dh, W, h, C, gates, h0, C0], [3, 3, 3, 3, 3, 2, 2])
        return gof.Apply(self, inputs, [self.matrix(3), self.matrix(3), self.matrix(2)])

    def perform(self, node, inputs, outputs):
        dh, W, h, C, gates, h0, C0 = inputs
        steps, H = len(dh), W.shape[2]
        W4 = W.reshape(4 * H, H)
        da, dW = gates if self.in_place else np.empty_like(gates), np.zeros_like(W4)
        dh_later, dC = np.zeros_like(h0), np.zeros_like(C0)
        first = 0 if self.truncate < 0 else max(0, steps - self.truncate)
        da[:first] = 0
        for t in range(steps - 1, first - 1, -1):
            f, i, o, g = np.split(gates[t].copy(), 4, axis=1)        # da may be the same memory
            C_prev, h_prev, tanh_C = (C[t - 1] if t else C0), (h[t - 1] if t else h0), np.tanh(C[t])
            dht = dh[t] + dh_later
            dC = dC + dht * o * (1 - tanh_C ** 2)
            da[t] = np.concatenate([dC * C_prev * f * (1 - f), dC * g * i * (1 - i),
                                    dht * tanh_C * o * (1 - o), dC * i * (1 - g ** 2)], axis=1)
            dW += da[t].T.dot(h_prev)
            dh_later, dC = da[t].dot(W4), dC * f
        outputs[0][0], outputs[1][0] = da, dW.reshape(W.shape)
        outputs[2][0] = da.sum(axis=(0, 1)).reshape(4, H)

    def infer_shape(self, node, shapes):
        return [shapes[4], shapes[1], shapes[1][:2]]


@gof.local_optimizer([LSTM, LSTMGradient], inplace=True)
def _in_place(node):
    """The same node in place, where it is not; Theano takes it back where something else needs the input."""
    if isinstance(node.op, _LayerOp) and not node.op.in_place:
        return type(node.op)(node.op.dtype, node.op.truncate, in_place=True)(*node.inputs, return_list=True)


# After all that changes the graph (up to 50), before Theano's own elementwise operations in place (75);
# once, also where this module is loaded again.
if 'lstm_op_in_place' not in theano.compile.optdb.__db__:
    theano.compile.optdb.register('lstm_op_in_place', gof.TopoOptimizer(
        _in_place, failure_callback=gof.TopoOptimizer.warn_inplace), 70, 'fast_run', 'inplace')


class SoftmaxCrossEntropy(_KernelOp):
    """Costs -log softmax(scores + c)[y], in nats, of scores (N,V), bias c (V,), targets y int (N,).

    Outputs: costs (N,); the most probable characters, int (N,); probabilities (N,V).
    """
    sizes = 'const long N = DIM(0, 0), V = DIM(0, 1);'
    fits = 'DIM(1, 0) == V && DIM(2, 0) == N && all_below(V, N, INTS(x[2]))'
    shapes = ('PyArray_TYPE(x[0]), 1, N, 0, 0', 'NPY_INT32, 1, N, 0, 0', 'PyArray_TYPE(x[0]), 2, N, V, 0')
    call = ('cross_entropy(N, V, REALS(x[0]), REALS(x[1]), INTS(x[2]), REALS({0}), INTS({1}), REALS({2}), '
            'threads())')

    def make_node(self, scores, c, y):
        inputs = self.check([scores, c, y], [2, 1, 'indices'])
        return gof.Apply(self, inputs, [self.matrix(1), T.ivector(), self.matrix(2)])

    def perform(self, node, inputs, outputs):
        scores, c, y = inputs
        a = scores + c
        a = a - a.max(axis=1, keepdims=True)
        total = np.exp(a).sum(axis=1, keepdims=True)
        outputs[0][0] = (np.log(total[:, 0]) - a[np.arange(len(y)), y]).astype(self.dtype)
        outputs[1][0] = a.argmax(axis=1).astype(np.int32)
        outputs[2][0] = np.exp(a) / total

    def infer_shape(self, node, shapes):
        return [shapes[2], shapes[2], shapes[0]]

    def connection_pattern(self, node):
        return [[True, False, True], [True, False, True], [False] * 3]

    def L_op(self, inputs, outputs, gradients):
        if not _no_gradient(gradients[1:]):
            raise NotImplementedError('the gradient through the probabilities: only that through the costs is there')
        dscores, dc = SoftmaxCrossEntropyGradient(self.dtype)(gradients[0], outputs[2], inputs[2])
        return [dscores, dc, disconnected_type()]


class SoftmaxCrossEntropyGradient(_KernelOp):
    """The gradient of SoftmaxCrossEntropy: dcosts (N,), probabilities (N,V), y int (N,) to dscores (N,V), dc (V,)."""
    sizes = 'const long N = DIM(1, 0), V = DIM(1, 1);'
    fits = 'DIM(0, 0) == N && DIM(2, 0) == N && all_below(V, N, INTS(x[2]))'
    shapes = ('PyArray_TYPE(x[1]), 2, N, V, 0', 'PyArray_TYPE(x[1]), 1, V, 0, 0')
    call = 'cross_entropy_gradient(N, V, REALS(x[0]), REALS(x[1]), INTS(x[2]), REALS({0}), REALS({1}))'

    def make_node(self, dcosts, probabilities, y):
        inputs = self.check([dcosts, probabilities, y], [1, 2, 'indices'])
        return gof.Apply(self, inputs, [self.matrix(2), self.matrix(1)])

    def perform(self, node, inputs, outputs):
        dcosts, probabilities, y = inputs
        dscores = probabilities.copy()
        dscores[np.arange(len(y)), y] -= 1
        outputs[0][0] = dscores * dcosts[:, None]
        outputs[1][0] = outputs[0][0].sum(axis=0)

    def infer_shape(self, node, shapes):
        return [shapes[1], (shapes[1][1],)]


def likely(p, top_k, top_p):
    """Probabilities p (B,V) without those that top_k and top_p leave out of a draw, which become zero.

    top_k: only the so many most probable characters are drawn; top_p: only the
    fewest that have this probability together (Holtzman et al. 2020).
    """
    largest_first = -np.sort(-p, axis=1)
    sums_before = np.cumsum(largest_first, axis=1, dtype=np.float64) - largest_first
    kept = np.minimum((sums_before < top_p * p.sum(axis=1, keepdims=True, dtype=np.float64)).sum(axis=1), top_k)
    return np.where(p < largest_first[np.arange(len(p)), np.maximum(kept, 1) - 1][:, None], 0, p)


class Sample(_KernelOp):
    """Continuations of texts, character after character without a return to Python.

    Inputs: given, int (m,B), the texts' characters so far, of which none has
    been read; bits (n,B), int64 from 0 to 2^53 - 1, a number for each character
    to draw, or of shape (0,B) to take the most probable; n, a 0-d int64; choice
    (3,): temperature, top_k and top_p; the states h1, C1 (B,H1), h2, C2
    (B,H2) before given; the eight parameters. Outputs: the texts, int (m+n,B),
    and the states after all characters but the last.
    """
    sizes = ('const long M = DIM(0, 0), B = DIM(0, 1), N = (long)*(int64_t *)PyArray_DATA(x[2]), '
             'H1 = DIM(4, 1), H2 = DIM(6, 1), V = DIM(15, 0);')
    fits = ('M > 0 && N >= 0 && DIM(1, 1) == B && (DIM(1, 0) == N || DIM(1, 0) == 0) && all_below(V, M * B, INTS(x[0])) '
            '&& DIM(3, 0) == 3 '
            '&& DIM(4, 0) == B && DIM(5, 0) == B && DIM(6, 0) == B && DIM(7, 0) == B '
            '&& DIM(5, 1) == H1 && DIM(7, 1) == H2 '
            '&& DIM(8, 0) == V && DIM(8, 1) == 4 * H1 && DIM(9, 0) == 4 && DIM(9, 1) == H1 && DIM(9, 2) == H1 '
            '&& DIM(10, 0) == 4 && DIM(10, 1) == H1 && DIM(11, 0) == 4 && DIM(11, 1) == H2 && DIM(11, 2) == H1 '
            '&& DIM(12, 0) == 4 && DIM(12, 1) == H2 && DIM(12, 2) == H2 && DIM(13, 0) == 4 && DIM(13, 1) == H2 '
            '&& DIM(14, 0) == V && DIM(14, 1) == H2')
    shapes = ('NPY_INT32, 2, M + N, B, 0',) + tuple(
        'PyArray_TYPE(x[{}]), 2, B, {}, 0'.format(k, H) for k, H in ((4, 'H1'), (5, 'H1'), (6, 'H2'), (7, 'H2')))
    before = """
        const REAL *choice = REALS(x[3]);
        memcpy(INTS({0}), INTS(x[0]), M * B * sizeof(int32_t));
        memcpy(REALS({1}), REALS(x[4]), B * H1 * sizeof(REAL));
        memcpy(REALS({2}), REALS(x[5]), B * H1 * sizeof(REAL));
        memcpy(REALS({3}), REALS(x[6]), B * H2 * sizeof(REAL));
        memcpy(REALS({4}), REALS(x[7]), B * H2 * sizeof(REAL));
        sampling p = {{V, H1, H2, B, M, M + N, REALS(x[8]), REALS(x[9]), REALS(x[10]), REALS(x[11]), REALS(x[12]),
                      REALS(x[13]), REALS(x[14]), REALS(x[15]), DIM(1, 0) ? (int64_t *)PyArray_DATA(x[1]) : NULL,
                      INTS({0}), choice[0], (long)choice[1], choice[2], REALS({1}), REALS({2}), REALS({3}), REALS({4}),
                      NULL, NULL, NULL, NULL}};"""
    call = 'sample(&p, threads())'

    def make_node(self, given, bits, n, choice, h1, C1, h2, C2, U1, W1, b1, U2, W2, b2, V, c):
        given, bits, n = [T.as_tensor_variable(v) for v in (given, bits, n)]
        for v, kind in ((given, T.imatrix), (bits, T.lmatrix), (n, T.lscalar)):
            if v.type != kind:
                raise TypeError('Sample: expected {}, got {}'.format(kind, v.type))
        U1, = self.check([U1], [3])
        rest = self.check([choice, h1, C1, h2, C2, _stacked(U1), W1, b1, U2, W2, b2, V, c],
                          [1] + [2] * 5 + [3, 2, 3, 3, 2, 2, 1])
        return gof.Apply(self, [given, bits, n] + rest, [T.imatrix()] + [self.matrix() for _ in range(4)])

    def perform(self, node, inputs, outputs):
        given, bits, n, (temperature, top_k, top_p), h1, C1, h2, C2, U1, W1, b1, U2, W2, b2, V, c = inputs
        text = np.concatenate([given, np.zeros((n, given.shape[1]), np.int32)])
        for s in range(len(text) - 1):
            h1, C1 = _numpy_step(U1[text[s]], W1, b1, h1, C1)
            h2, C2 = _numpy_step(h1.dot(U2.reshape(-1, U2.shape[2]).T), W2, b2, h2, C2)
            if s + 1 >= len(given):
                scores = (h2.dot(V.T) + c) * self._real(1 / temperature)
                p = np.exp(scores - scores.max(axis=1, keepdims=True))
                p = likely(p / p.sum(axis=1, keepdims=True), int(top_k), top_p)
                text[s + 1] = choose(p, bits[s + 1 - len(given)] if len(bits) else None)
        for output, value in zip(outputs, (text, h1, C1, h2, C2)):
            output[0] = value

    def _real(self, number):
        return np.asarray(number, self.dtype)


def choose(p, bits):
    """A character for each row of probabilities p (B,V): drawn with 53 random bits (B,), the most probable for None."""
    if bits is None:
        return p.argmax(axis=1).astype(np.int32)
    cumulative = np.cumsum(p, axis=1, dtype=np.float64)
    # The first above the draw: exactly the distribution, and never a character of probability 0.
    return (cumulative > bits[:, None] * 2.0 ** -53 * cumulative[:, -1:]).argmax(axis=1).astype(np.int32)


# ---------------------------------------------------------------- what charlstm.py builds its graph from

def _stacked(U):
    """Weights (4,H,n) as (n,4H), the gates side by side."""
    return U.reshape((-1, U.shape[2])).T


def _layer(a_x, W, b, state, truncate):
    """A layer over whole sequences, for pre-activations a_x (T,B,4H) without the bias."""
    h, _, _, h_end, C_end = LSTM(a_x.dtype, truncate)(a_x, W, b, *state)
    return h, (h_end, C_end)


def dot(a, b):
    """The product of matrices a (M,K) and b (K,N): (M,N)."""
    return Product(a.dtype)(a, b)


def sum_of_squares(v):
    return SumOfSquares(v.dtype)(v)


def read_characters(x, U, W, b, state, truncate):
    a_x = TakeColumns(U.dtype)(U.reshape((-1, U.shape[2])), x.flatten())              # (T*B, 4H)
    return _layer(a_x.reshape((x.shape[0], x.shape[1], -1)), W, b, state, truncate)


def read_vectors(v, U, W, b, state, truncate):
    a_x = dot(v.reshape((-1, v.shape[2])), _stacked(U))                               # (T*B, 4H)
    return _layer(a_x.reshape((v.shape[0], v.shape[1], -1)), W, b, state, truncate)


def cross_entropy(scores, c, y):
    costs, best, p = SoftmaxCrossEntropy(scores.dtype)(scores, c, y.flatten())
    return costs.reshape(y.shape), best.reshape(y.shape), p


def sample(given, bits, n, choice, states, p):
    """The outputs of Sample for the parameters p, by name."""
    inputs = [given, bits, n, choice] + list(states)
    return Sample(p['U1'].dtype)(*inputs + [p[name] for name in 'U1 W1 b1 U2 W2 b2 V c'.split()])
