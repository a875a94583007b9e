"""The LSTM on the CPU: Theano Ops around the C kernel in the .c files beside this one.

The class Kernel at the end has what charlstm.py composes its network from. The class Scan, in
engine/kernel/scan.py, has the same with theano.scan.

Sizes: T steps, B sequences, H units, N = T*B characters, V characters in the
vocabulary; "4H" is the gates f, i, o, g side by side.
"""
import os
import zlib
from pathlib import Path

import numpy as np

from engine.kernel import cell, reference
from engine.state.parameters import own_of_layer, stacked
from engine.sampling import continue_texts
from engine.backend.theano_setup import theano, tt

gof = theano.gof
DisconnectedType, disconnected_type = theano.gradient.DisconnectedType, theano.gradient.disconnected_type

HERE = Path(__file__).resolve().parent
SOURCE = Path(__file__).read_text(encoding='utf-8')
C_FILES = {name: (HERE / (name + '.c')).read_text(encoding='utf-8')
           for name in ('products', 'functions', 'characters', 'layer', 'sampling', 'glue')}


# ---------------------------------------------------------------- what all Ops share

class _KernelOp(gof.Op):
    """An Op that calls the kernel for one dtype, 'float32' or 'float64'.

    A subclass says the shapes of the inputs that it `takes` and of the outputs that it `gives`, such as
    'T,B,4*H int32:N': letters are sizes, which C code has by these names, `*` is any shape, and of
    another type than dtype are those with a name before them. In C it says `call`, which fills the outputs,
    named {0}, {1}, ..., and returns 0, or -1 when out of memory; statements `before` it; `sizes`, more of them, from
    the inputs x[0], x[1], ...; `fits`, more conditions; and `files`, of C_FILES. In Python it
    says `compute`, the outputs from the inputs in NumPy, against which the C code is tested.
    """
    __props__ = ('dtype',)
    files = ('products', 'functions', 'characters', 'glue')
    sizes = before = ''
    fits = '1'
    strided = False            # whether the call takes inputs of any strides
    destroy_map = {}           # as Theano has it: by number of an output, a list with the input that it overwrites

    def __init__(self, dtype):
        self.dtype = dtype

    def _kinds(self, specification):
        """The dtype and the shape, a list, or None for any, of all entries of takes or gives."""
        for entry in specification.split():
            dtype, _, shape = entry.rpartition(':')
            yield dtype or self.dtype, None if shape == '*' else shape.split(',') if shape else []

    def make_node(self, *inputs):
        """Raises TypeError where an input's dtype or number of dimensions is another than it takes."""
        inputs = [tt.as_tensor_variable(v) for v in inputs]
        if len(inputs) != len(self.takes.split()):
            raise TypeError(f'{type(self).__name__}: {len(inputs)} inputs; expected {len(self.takes.split())}')
        for k, (v, (dtype, shape)) in enumerate(zip(inputs, self._kinds(self.takes))):
            if v.dtype != dtype or shape is not None and len(shape) != v.ndim:
                raise TypeError(f'{type(self).__name__}: input {k} is {v.dtype} with {v.ndim} dimensions; '
                                f'expected {dtype} with {shape}')
        outputs = [tt.TensorType(dtype, [False] * len(shape))() for dtype, shape in self._kinds(self.gives)]
        return gof.Apply(self, inputs, outputs)

    def infer_shape(self, node, shapes):
        sizes = {}
        for (_, names), values in zip(self._kinds(self.takes), shapes):
            sizes.update(zip(names or [], values))         # '4*H' among the names does no harm
        return [tuple(eval(size, {}, sizes) for size in shape) for _, shape in self._kinds(self.gives)]

    def perform(self, node, inputs, outputs):
        for output, value, variable in zip(outputs, self.compute(*inputs), node.outputs):
            output[0] = np.asarray(value, variable.dtype)

    def c_support_code(self):
        real = {'float32': 'float', 'float64': 'double'}[self.dtype]
        return f'#define REAL {real}\n' + '\n'.join(map(self._file, self.files))

    def _file(self, name):
        return C_FILES[name]

    def c_headers(self):
        return ['<omp.h>'] if self._openmp() else []

    def c_compile_args(self):
        # Vector types as arguments of inlined functions: GCC notes that their ABI once changed.
        return ['-Wno-psabi', '-Wno-unused-function'] + ['-fopenmp'] * self._openmp()

    @staticmethod
    def _openmp():
        return theano.config.cxx != '' and os.uname().sysname != 'Darwin'    # Apple's clang has no OpenMP

    def c_code_cache_version(self):
        return (zlib.crc32((self.c_support_code() + SOURCE).encode()),)

    def c_code(self, node, name, inputs, outputs, sub):
        declared, fits = {}, []
        for k, (_, shape) in enumerate(self._kinds(self.takes)):
            for axis, size in enumerate(shape or []):
                if size.isidentifier() and size not in declared:
                    declared[size] = f'const long {size} = DIM({k}, {axis});'
                else:
                    fits.append(f'DIM({k}, {axis}) == {size}')
        made = ' || '.join(
            'overwrite(&{}, x[{}])'.format(out, *self.destroy_map[k]) if k in self.destroy_map
            else f'output(&{out}, NPY_{dtype.upper()}, {len(shape)}, {", ".join((shape + ["0"] * 3)[:3])})'
            for k, (out, (dtype, shape)) in enumerate(zip(outputs, self._kinds(self.gives))))
        return '''{{
            PyArrayObject *given[] = {{{inputs}}}, *x[{n}] = {{NULL}};
            int failed = 1;
            if ({take}({n}, given, x)) {{}}
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
            take='as_they_are' if self.strided else 'in_c_order', sizes=' '.join([*declared.values(), self.sizes]),
            fits=' && '.join(fits + [self.fits]),
            before=self.before.format(*outputs), call=self.call.format(*outputs))


def _no_gradient(output_gradients):
    """A Disconnected gradient stands for zeros; True where all are."""
    return all(isinstance(g.type, DisconnectedType) for g in output_gradients)


# ---------------------------------------------------------------- products and the embedding

class Product(_KernelOp):
    """The matrix product of a (M,K) and b (K,N), each of any strides: (M,N)."""
    takes, gives = 'M,K K,N', 'M,N'
    strided = True
    call = ('matmul(M, N, K, REALS(x[0]), STEP(0, 0), STEP(0, 1), REALS(x[1]), STEP(1, 0), STEP(1, 1), '
            'REALS({0}), N, 0, threads())')

    def compute(self, a, b):
        return [np.dot(a, b)]

    def L_op(self, inputs, outputs, gradients):
        (a, b), (d,) = inputs, gradients
        # b is the transpose of some weights, so its gradient is computed as that of the weights: their
        # memory is then in order, and the update of the weights walks straight through it.
        return [self(d, b.T), self(d.T, a).T]


class SumOfSquares(_KernelOp):
    """The sum of the squares of all numbers in an array: 0-d."""
    takes, gives = '*', ':'
    call = 'sum_of_squares((long)PyArray_SIZE(x[0]), REALS(x[0]), REALS({0}))'

    def compute(self, v):
        return [np.square(v, dtype=np.float64).sum()]


class TakeColumns(_KernelOp):
    """The columns `index` int (N,) of U (D,V), one a row: (N,D)."""
    takes, gives = 'D,V int32:N', 'N,D'
    fits = 'all_below(V, N, INTS(x[1]))'
    call = 'take_columns(N, V, D, REALS(x[0]), INTS(x[1]), REALS({0}), threads())'

    def compute(self, U, index):
        return [U.T[index]]

    def L_op(self, inputs, outputs, gradients):
        (U, index), (d,) = inputs, gradients
        return [AddColumns(self.dtype)(U, index, d), disconnected_type()]

    def connection_pattern(self, node):
        return [[True], [False]]


class AddColumns(_KernelOp):
    """The gradient of TakeColumns: rows d (N,D) added into zeros like U (D,V), each into column index[n]."""
    takes, gives = 'D,V int32:N N,D', 'D,V'
    fits = 'all_below(V, N, INTS(x[1]))'
    call = 'add_columns(N, V, D, INTS(x[1]), REALS(x[2]), REALS({0}), threads())'

    def compute(self, U, index, d):
        dU = np.zeros(U.shape, self.dtype)
        np.add.at(dU.T, index, d)
        return [dU]


# ---------------------------------------------------------------- the layer

class _CellOp(_KernelOp):
    """What Ops with a cell in them share.

    program: the cell, a cell.Program. Its own parameters, (H,) each, are inputs after those that a subclass `takes`;
    `layers` says for which layers: how C names an array of them, and their H.
    """
    __props__ = ('dtype', 'program')
    files = ('products', 'functions', 'cell', 'layer', 'glue')
    layers = (('own', 'H'),)

    def __init__(self, dtype, program):
        super().__init__(dtype)
        self.program = program
        for name, H in self.layers:
            first = len(self.takes.split())
            numbers = range(first, first + program.own)
            self.takes += f' {H}' * program.own
            self.sizes += f' const REAL *{name}[] = {{{"".join(f"REALS(x[{k}]), " for k in numbers)}NULL}};'

    def _file(self, name):
        return cell.c_functions(self.program) if name == 'cell' else super()._file(name)


class _LayerOp(_CellOp):
    """What LSTM and LSTMGradient share.

    truncate: the gradient flows through the last so many steps, -1: all.
    in_place: whether the largest output overwrites the input of its shape;
    Theano sees to it where nothing else needs that input.
    """
    __props__ = ('dtype', 'program', 'truncate', 'in_place')

    def __init__(self, dtype, program, truncate=-1, in_place=False):
        super().__init__(dtype, program)
        self.truncate, self.in_place = truncate, in_place
        if in_place:
            self.destroy_map = self.overwrites

    def room_like(self, a_x):
        """Memory in NumPy for what is kept, as the C code has it."""
        return a_x if self.in_place else np.empty_like(a_x)


class LSTM(_LayerOp):
    """A layer over whole sequences.

    Inputs: pre-activations a_x (T,B,4H), without the bias; W (4,H,H); b (4,H);
    h0, C0 (B,H), the states before the first step; the cell's own parameters, (H,) each.
    Outputs: h (T,B,H); C (T,B,H); what is kept for the gradient (T,B,4H); the states after
    the last step (B,H), h and C, in memory of their own: a function gives away
    that of what it returns, and with views of all steps it would be theirs. The
    gradient goes through the first h to a_x, W, b and the cell's own parameters alone; the
    states before are constants to it.
    """
    takes, gives = 'T,B,4*H 4,H,H 4,H B,H B,H', 'T,B,H T,B,H T,B,4*H B,H B,H'
    overwrites = {2: [0]}                      # a_x by what is kept
    call = ('lstm_forward(T, B, H, REALS(x[0]), REALS(x[1]), REALS(x[2]), own, REALS(x[3]), REALS(x[4]), '
            'REALS({2}), REALS({1}), REALS({0}), REALS({3}), REALS({4}), threads())')

    def compute(self, a_x, W, b, h0, C0, *own):
        return reference.layer(self.program, a_x, W, b, own, h0, C0, self.room_like(a_x))

    def connection_pattern(self, node):
        inputs = [True] * 3 + [False] * 2 + [True] * self.program.own
        return [[connected] * 3 + [False] * 2 for connected in inputs]

    def L_op(self, inputs, outputs, gradients):
        a_x, W, b, h0, C0, *own = inputs
        h, C, kept = outputs[:3]
        if not _no_gradient(gradients[1:]):
            raise NotImplementedError('the gradient through C or what LSTM keeps: only that through h is there')
        if _no_gradient(gradients):
            return [disconnected_type() for _ in inputs]
        da, dW, db, *d_own = LSTMGradient(self.dtype, self.program, self.truncate)(
            gradients[0], W, h, C, kept, h0, C0, *own)
        return [da, dW, db, disconnected_type(), disconnected_type(), *d_own]


class LSTMGradient(_LayerOp):
    """The gradient of LSTM: dh (T,B,H) and what LSTM took and gave to da_x (T,B,4H), dW (4,H,H), db (4,H).

    After these, those of the cell's own parameters, (H,) each.
    """
    takes, gives = 'T,B,H 4,H,H T,B,H T,B,H T,B,4*H B,H B,H', 'T,B,4*H 4,H,H 4,H'
    overwrites = {0: [4]}                      # what was kept by da_x
    call = ('lstm_backward(T, B, H, first, REALS(x[1]), own, REALS(x[4]), REALS(x[3]), REALS(x[2]), REALS(x[5]), '
            'REALS(x[6]), REALS(x[0]), REALS({0}), REALS({1}), REALS({2}), d_own, threads())')

    def __init__(self, dtype, program, truncate=-1, in_place=False):
        super().__init__(dtype, program, truncate, in_place)
        self.sizes += f' const long depth = {truncate}, first = depth < 0 || depth > T ? 0 : T - depth;'
        self.gives += ' H' * program.own
        d_own = ''.join(f'REALS({{{3 + k}}}), ' for k in range(program.own))
        self.before = f'REAL *d_own[] = {{{{{d_own}NULL}}}};'

    def compute(self, dh, W, h, C, kept, h0, C0, *own):
        return reference.layer_gradient(self.program, dh, W, own, h, C, kept, h0, C0, self.truncate,
                                        self.room_like(kept))


@gof.local_optimizer([LSTM, LSTMGradient], inplace=True)
def _in_place(node):
    """The same node in place, where it is not; Theano takes it back where something else needs the input."""
    if isinstance(node.op, _LayerOp) and not node.op.in_place:
        op = type(node.op)(node.op.dtype, node.op.program, node.op.truncate, in_place=True)
        return op(*node.inputs, return_list=True)


# After all that changes the graph (up to 50), before Theano's own elementwise operations in place (75);
# once, also where this module is loaded again.
if 'charlstm_in_place' not in theano.compile.optdb.__db__:
    theano.compile.optdb.register('charlstm_in_place', gof.TopoOptimizer(
        _in_place, failure_callback=gof.TopoOptimizer.warn_inplace), 70, 'fast_run', 'inplace')


# ---------------------------------------------------------------- softmax with its cost

class SoftmaxCrossEntropy(_KernelOp):
    """Costs -log softmax(scores + c)[y], in nats, of scores (N,V), bias c (V,), targets y int (N,).

    Outputs: costs (N,); the most probable characters, int (N,); probabilities (N,V).
    """
    takes, gives = 'N,V V int32:N', 'N int32:N N,V'
    fits = 'all_below(V, N, INTS(x[2]))'
    call = ('cross_entropy(N, V, REALS(x[0]), REALS(x[1]), INTS(x[2]), REALS({0}), INTS({1}), REALS({2}), '
            'threads())')

    def compute(self, scores, c, y):
        a = scores + c
        a = a - a.max(axis=1, keepdims=True)
        total = np.exp(a).sum(axis=1, keepdims=True)
        return [np.log(total[:, 0]) - a[np.arange(len(y)), y], a.argmax(axis=1), np.exp(a) / total]

    def connection_pattern(self, node):
        return [[True, False, True], [True, False, True], [False] * 3]

    def L_op(self, inputs, outputs, gradients):
        if not _no_gradient(gradients[1:]):
            raise NotImplementedError('the gradient through the probabilities: only that through the costs is there')
        dscores, dc = SoftmaxCrossEntropyGradient(self.dtype)(gradients[0], outputs[2], inputs[2])
        return [dscores, dc, disconnected_type()]


class SoftmaxCrossEntropyGradient(_KernelOp):
    """The gradient of SoftmaxCrossEntropy: dcosts (N,), probabilities (N,V), y int (N,) to dscores (N,V), dc (V,)."""
    takes, gives = 'N N,V int32:N', 'N,V V'
    fits = 'all_below(V, N, INTS(x[2]))'
    call = 'cross_entropy_gradient(N, V, REALS(x[0]), REALS(x[1]), INTS(x[2]), REALS({0}), REALS({1}))'

    def compute(self, dcosts, probabilities, y):
        dscores = probabilities.copy()
        dscores[np.arange(len(y)), y] -= 1
        dscores *= dcosts[:, None]
        return [dscores, dscores.sum(axis=0)]


# ---------------------------------------------------------------- sampling

class Sample(_CellOp):
    """Continuations of texts, character after character without a return to Python.

    Inputs: given, int (m,B), the texts' characters so far, of which none has
    been read; bits (n,B), int64 from 0 to 2^53 - 1, a number for each character
    to draw, or of shape (0,B) to take the most probable; n, a 0-d int64; choice
    (3,): temperature, top_k and top_p; the states h1, C1 (B,H1), h2, C2
    (B,H2) before given; the eight parameters, U1 as (V,4H1); the cell's own, of layer 1, then
    of layer 2. Outputs: the texts, int (m+n,B), and the states after all characters but the last.
    """
    files = ('products', 'functions', 'cell', 'layer', 'characters', 'sampling', 'glue')
    layers = (('own1', 'H1'), ('own2', 'H2'))
    takes = ('int32:M,B int64:drawn,B int64: 3 B,H1 B,H1 B,H2 B,H2 V,4*H1 4,H1,H1 4,H1 4,H2,H1 4,H2,H2 4,H2 V,H2 V')
    gives = 'int32:M+N,B B,H1 B,H1 B,H2 B,H2'
    sizes = 'const long N = (long)*(int64_t *)PyArray_DATA(x[2]);'
    fits = 'M > 0 && N >= 0 && (drawn == N || drawn == 0) && all_below(V, M * B, INTS(x[0]))'
    before = """
        const REAL *choice = REALS(x[3]);
        memcpy(INTS({0}), INTS(x[0]), M * B * sizeof(int32_t));
        memcpy(REALS({1}), REALS(x[4]), B * H1 * sizeof(REAL));
        memcpy(REALS({2}), REALS(x[5]), B * H1 * sizeof(REAL));
        memcpy(REALS({3}), REALS(x[6]), B * H2 * sizeof(REAL));
        memcpy(REALS({4}), REALS(x[7]), B * H2 * sizeof(REAL));
        sampling p = {{V, H1, H2, B, M, M + N, REALS(x[8]), REALS(x[9]), REALS(x[10]), REALS(x[11]), REALS(x[12]),
                      REALS(x[13]), REALS(x[14]), REALS(x[15]), own1, own2,
                      drawn ? (int64_t *)PyArray_DATA(x[1]) : NULL, INTS({0}), choice[0], (long)choice[1],
                      choice[2], REALS({1}), REALS({2}), REALS({3}), REALS({4}), NULL, NULL, NULL, NULL}};"""
    call = 'sample(&p, threads())'

    def compute(self, given, bits, n, choice, h1, C1, h2, C2, U1, W1, b1, U2, W2, b2, V, c, *own):
        own1, own2 = own[:self.program.own], own[self.program.own:]

        def predict(x, h1, C1, h2, C2):
            for row in x:
                h1, C1, *_ = reference.step(self.program, U1[row], W1, b1, own1, h1, C1)
                h2, C2, *_ = reference.step(self.program, h1.dot(stacked(U2)), W2, b2, own2, h2, C2)
            scores = h2.dot(V.T) + c                                              # (B, V)
            p = np.exp(scores - scores.max(axis=1, keepdims=True))
            return p / p.sum(axis=1, keepdims=True), h1, C1, h2, C2
        return continue_texts(predict, given, bits, int(n), choice, h1, C1, h2, C2)

    def infer_shape(self, node, shapes):
        raise tt.basic.ShapeError('n is no shape')


# ---------------------------------------------------------------- what charlstm.py composes its network from

class Kernel:
    """The five things that the network is made of, and how it writes, in C. The bias b of a layer is added in layer."""
    updates = {}               # of random numbers that a cell draws: none

    def __init__(self, cell):
        """cell: a cell.Cell with a program."""
        self._program = cell.program

    @staticmethod
    def columns(U, x):
        """As Scan.columns."""
        return TakeColumns(U.dtype)(U.reshape((-1, U.shape[2])), x)

    @staticmethod
    def product(a, B):
        """As Scan.product."""
        return Product(a.dtype)(a, B)

    def layer(self, a_x, W, b, own, state, truncate):
        """As Scan.layer."""
        h, C, _, h_end, C_end = LSTM(a_x.dtype, self._program, truncate)(a_x, W, b, *state, *own)
        return h, C, (h_end, C_end)

    @staticmethod
    def cross_entropy(scores, c, y):
        """As Scan.cross_entropy."""
        costs, best, p = SoftmaxCrossEntropy(scores.dtype)(scores, c, y.flatten())
        return costs.reshape(y.shape), best.reshape(y.shape), p

    @staticmethod
    def sum_of_squares(v):
        """As Scan.sum_of_squares."""
        return SumOfSquares(v.dtype)(v)

    def sample(self, given, bits, n, choice, states, p):
        """The outputs of Sample for the parameters p by name."""
        U1 = stacked(p['U1'])                                                     # (V, 4H1)
        return Sample(U1.dtype, self._program)(
            given, bits, n, choice, *states, U1, *[p[name] for name in 'W1 b1 U2 W2 b2 V c'.split()],
            *own_of_layer(p, 1), *own_of_layer(p, 2))
