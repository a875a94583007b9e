"""The LSTM on the CPU: Theano Ops that call the kernel, in C or in NumPy.

charlstm.py composes its network from the class Kernel, at the end of this file, or from Scan in engine/kernel/scan.py.

Sizes: T steps, B sequences, H units, N = T*B characters, V characters in the vocabulary. In braces are the Counts of
the cell: {b}, {U} and {W} rows of b, U and W, such as gates, and {S} states, side by side.
"""
import ctypes
import functools

import numpy as np

from engine.backend.theano_setup import theano, tt
from engine.kernel.elementwise import Planned, same
from engine.kernel.in_numpy import AnyCell, Arrays, Elementwise
from engine.kernel.library import Library, empty, reused
from engine.model import checks
from engine.model.parameters import NAMES, own_of_layer, stacked, updates_of

gof = theano.gof
_constant = theano.gradient.grad_undefined             # for an input without a gradient


class _KernelOp(gof.Op):
    """An Op that calls the kernel.

    A subclass declares its inputs and outputs by name, with their shapes. dict(U='D,V', index='int32 N') declares an
    array (D,V) of the library's dtype and an int32 array (N,) of characters below V. N='int64 ' is a number and the
    size N. A name with "own" stands for each of the cell's own parameters. The method `run` calls the kernel with the
    arrays, as library.passed makes them, and the sizes. It returns -1 when C is out of memory.
    """
    __props__ = ('library',)
    inputs, outputs = {}, {}
    destroy_map = {}                           # for Theano: an output to the inputs whose memory it takes

    def __init__(self, library):
        self.library, self._plans = library, {}
        self.inputs, self.outputs = [
            {f'{name}{k}': text.format(**library.counts._asdict()) for name, text in declared.items()
             for k in (range(library.counts.own) if 'own' in name else [''])}
            for declared in (self.inputs, self.outputs)]

    @property
    def _kernel(self):
        return self.library.functions()

    def _arrays(self, declared):
        """Return the dtype and the sizes of each of the declared arrays."""
        parts = [text.rpartition(' ') for text in declared.values()]
        return [(dtype or self.library.dtype, shape.split(',') if shape else []) for dtype, _, shape in parts]

    def make_node(self, *inputs):
        inputs = [tt.as_tensor_variable(v) for v in inputs]
        for v, (dtype, sizes) in zip(inputs, self._arrays(self.inputs)):
            if (v.dtype, v.ndim) != (dtype, len(sizes)):
                raise TypeError(f'{type(self).__name__}: got {v.type}, expected {self.inputs}')
        return gof.Apply(self, inputs, [tt.TensorType(dtype, [False] * len(sizes))()
                                        for dtype, sizes in self._arrays(self.outputs)])

    def infer_shape(self, node, shapes):
        """Return the shapes of the outputs, so that Theano needs no array to know its size."""
        named = dict(pair for (_, sizes), shape in zip(self._arrays(self.inputs), shapes) for pair in zip(sizes, shape))
        named.update(zip(self.inputs, node.inputs))        # a number is a size, too
        return [tuple(eval(n, {}, named) for n in sizes) for _, sizes in self._arrays(self.outputs)]

    def make_thunk(self, node, storage_map, compute_map, no_recycling, impl=None):
        self.library.functions()               # loads them now, not in the first call
        return Planned(node, storage_map, compute_map, self.plan)

    def perform(self, node, inputs, storage):
        results, fill = self.plan(inputs, [slot[0] for slot in storage])
        if fill:
            fill()
        for slot, result in zip(storage, results):
            slot[0] = result

    def _plan(self, shapes):
        """Return the sizes by name, dtype and shape of each output, and which inputs are characters."""
        inputs = self._arrays(self.inputs)
        pairs = [pair for name, (_, sizes), shape in zip(self.inputs, inputs, shapes)
                 for pair in zip(sizes or [name], shape)]
        sizes = {size: n for size, n in pairs if size.isidentifier()}
        if any(eval(size, {}, sizes) != n for size, n in pairs):
            raise self._misfit(shapes)
        outputs = [(dtype, tuple(eval(n, {}, sizes) for n in shape)) for dtype, shape in self._arrays(self.outputs)]
        return sizes, outputs, [k for k, (dtype, _) in enumerate(inputs) if dtype == 'int32']

    def _misfit(self, shapes):
        return ValueError(f'{type(self).__name__}: shapes {shapes} or characters do not match: expected {self.inputs}')

    def plan(self, arrays, before):
        """Return the arrays of the outputs, and a function that fills them, as Planned describes."""
        inputs = [x if x.flags.carray else x.copy() for x in arrays]               # in C order, aligned
        shapes, passed, kernel = tuple([x.shape or (x.item(),) for x in inputs]), self.library.passed, self._kernel
        if shapes not in self._plans:
            self._plans[shapes] = self._plan(shapes)
        sizes, outputs, characters = self._plans[shapes]
        results = [reused(array, shape, dtype) for array, (dtype, shape) in zip(before, outputs)]
        for k, (taken,) in self.destroy_map.items():
            results[k] = inputs[taken]
        indices = [(inputs[k].size, passed(inputs[k])) for k in characters]
        run = functools.partial(self.run, kernel, list(map(passed, inputs)), list(map(passed, results)), **sizes)

        def fill():
            for index in indices:
                if not kernel.all_below(sizes['V'], *index):
                    raise self._misfit(shapes)
            if run():
                raise MemoryError

        if not same(inputs, arrays):           # the next call needs new copies
            fill()
            return results, False
        return results, fill


def _no_gradient(*output_gradients):
    """Return whether all gradients are of DisconnectedType, which stands for zeros."""
    return all(isinstance(g.type, theano.gradient.DisconnectedType) for g in output_gradients)


class Product(_KernelOp):
    """The matrix product of a and b, with any strides."""
    inputs, outputs = dict(a='M,K', b='K,N'), dict(ab='M,N')

    def plan(self, arrays, before):
        a, b = arrays
        if len(b) != a.shape[1]:
            raise self._misfit((a.shape, b.shape))
        out = reused(before[0], (len(a), b.shape[1]), a.dtype)
        multiply = self.library.product(a, b, out)

        def fill():
            if multiply():
                raise MemoryError
        return [out], fill

    def L_op(self, inputs, outputs, gradients):
        (a, b), (d,) = inputs, gradients
        # b is a transpose of weights. Its gradient is one, too, so that it has the weights' order in memory.
        return [self(d, b.T), self(d.T, a).T]


class SumsOfSquares(_KernelOp):
    """The sum of squares of each array, of any shape."""

    def make_node(self, *arrays):
        return gof.Apply(self, arrays, [tt.scalar(dtype=self.library.dtype) for _ in arrays])

    def infer_shape(self, node, shapes):
        return [()] * len(shapes)

    def plan(self, arrays, before):
        kernel, passed = self._kernel, self.library.passed
        copies = [v if v.flags.carray else v.copy() for v in arrays]
        results = [reused(array, (), v.dtype) for array, v in zip(before, copies)]

        def fill():
            for v, result in zip(copies, results):
                kernel.sum_of_squares(v.size, passed(v), passed(result))
        if not same(copies, arrays):
            fill()
            return results, False
        return results, fill


class TakeColumns(_KernelOp):
    """The columns `index` of U, as rows."""
    inputs, outputs = dict(U='D,V', index='int32 N'), dict(columns='N,D')

    def run(self, kernel, inputs, outputs, N, V, D):
        return kernel.take_columns(N, V, D, *inputs, *outputs, kernel.threads())

    def L_op(self, inputs, outputs, gradients):
        (U, index), (d,) = inputs, gradients
        return [AddColumns(self.library)(U, index, d), _constant(self, 1, index)]


class AddColumns(_KernelOp):
    """The gradient of TakeColumns: zeros like U, with row n of d added to column index[n]."""
    inputs, outputs = dict(U='D,V', index='int32 N', d='N,D'), dict(dU='D,V')

    def run(self, kernel, inputs, outputs, N, V, D):
        return kernel.add_columns(N, V, D, *inputs[1:], *outputs, kernel.threads())


class _LayerOp(_KernelOp):
    """An Op of a layer. Gradients flow through the last `truncate` steps, -1: all. in_place: overwrite may_destroy."""
    __props__ = ('library', 'truncate', 'in_place')

    def __init__(self, library, truncate=-1, in_place=False):
        super().__init__(library)
        self.truncate, self.in_place, self.destroy_map = truncate, in_place, self.may_destroy if in_place else {}
        self._own = library.passed_together    # for the cell's own parameters


class LSTM(_LayerOp):
    """A layer over whole sequences.

    Inputs: a_x, the input's share of the pre-activations; weights W and bias b; h0 and C0, the states before the first
    step. Outputs: h and C, the states after each step; kept, which the gradient reads; h_end and C_end, the states
    after the last step. These are copies, since views would keep the memory of all steps.
    """
    inputs = dict(a_x='T,B,{U}*H', W='{W},H,H', b='{b},H', h0='B,H', C0='B,{S}*H', own='H')
    outputs = dict(h='T,B,H', C='T,B,{S}*H', kept='T,B,{b}*H', h_end='B,H', C_end='B,{S}*H')

    @property
    def may_destroy(self):
        return {2: [0]} if self.library.counts.U == self.library.counts.b else {}

    def run(self, kernel, inputs, outputs, T, B, H):
        return kernel.lstm_forward(T, B, H, *inputs[:5], self._own(inputs[5:]), *outputs, kernel.threads())

    def L_op(self, inputs, outputs, gradients):
        a_x, W, b, h0, C0, *own = inputs
        h, C, kept = outputs[:3]
        arguments = W, h, C, kept, h0, C0, *own
        if not isinstance(self.library, Library):
            self.library.cell.derive()         # raises ValueError now, not in the first step
            dh, dC, _, *d_ends = [tt.zeros_like(v) if _no_gradient(g) else g for v, g in zip(outputs, gradients)]
            da, dW, db, *d_own, dh0, dC0 = FullGradient(self.library, self.truncate)(dh, *arguments, dC, *d_ends)
            return [self._of_input(da, h), dW, db, dh0, dC0, *d_own]
        if not _no_gradient(*gradients[1:]):
            raise NotImplementedError('in C, gradients flow through h of a layer, not C or the last states')
        da, dW, db, *d_own = LSTMGradient(self.library, self.truncate)(gradients[0], *arguments)
        return [self._of_input(da, h), dW, db, _constant(self, 3, h0), _constant(self, 4, C0), *d_own]

    def _of_input(self, da, h):
        """Return the part of da, the gradient of all pre-activations, that is the gradient of a_x."""
        counts = self.library.counts
        return da if counts.U == counts.b else da[:, :, :counts.U * h.shape[2]]


class LSTMGradient(_LayerOp):
    """The gradients of the pre-activations, W, b and own parameters, from dh, that of h. h0 and C0 are constants."""
    inputs = dict(dh='T,B,H', W='{W},H,H', h='T,B,H', C='T,B,{S}*H', kept='T,B,{b}*H', h0='B,H', C0='B,{S}*H', own='H')
    outputs = dict(da='T,B,{b}*H', dW='{W},H,H', db='{b},H', d_own='H')
    may_destroy = {0: [4]}

    def run(self, kernel, inputs, outputs, T, B, H):
        return kernel.lstm_backward(T, B, H, self.truncate, *inputs[:7], self._own(inputs[7:]), *outputs[:3],
                                    self._own(outputs[3:]), kernel.threads())


class FullGradient(LSTMGradient):
    """The same, also from the gradients of C and the last states, and with those of h0 and C0. Only in NumPy."""
    inputs = {**LSTMGradient.inputs, 'd_C': 'T,B,{S}*H', 'd_h_end': 'B,H', 'd_C_end': 'B,{S}*H'}
    outputs = {**LSTMGradient.outputs, 'd_h0': 'B,H', 'd_C0': 'B,{S}*H'}

    def run(self, kernel, inputs, outputs, T, B, H):
        *inputs, d_C, d_h_end, d_C_end = inputs
        *outputs, d_h0, d_C0 = outputs
        kernel.lstm_backward(T, B, H, self.truncate, *inputs[:7], inputs[7:], *outputs[:3], outputs[3:], 1, d_C,
                             (d_h_end, d_C_end), (d_h0, d_C0))


@gof.local_optimizer([LSTM, LSTMGradient], inplace=True)
def _in_place(node):
    """Return the outputs of the same Op in place. Theano undoes this if something else needs the input."""
    if isinstance(node.op, _LayerOp) and not node.op.in_place:
        return type(node.op)(node.op.library, node.op.truncate, True)(*node.inputs, return_list=True)


# After everything that changes the graph (up to 50), before Theano's elementwise operations in place (75).
theano.compile.optdb.register('charlstm_in_place', gof.TopoOptimizer(
    _in_place, failure_callback=gof.TopoOptimizer.warn_inplace), 70, 'fast_run', 'inplace')


class SoftmaxCrossEntropy(_KernelOp):
    """Costs -log p[y], in nats, with p = softmax(scores + c); the most probable characters; p; the means of -log p."""
    inputs = dict(scores='N,V', c='V', y='int32 N')
    outputs = dict(costs='N', best='int32 N', probabilities='N,V', spread='N')

    def run(self, kernel, inputs, outputs, N, V):
        return kernel.cross_entropy(N, V, *inputs, *outputs, kernel.threads())

    def L_op(self, inputs, outputs, gradients):
        y, p, dp = inputs[2], outputs[2], gradients[2]
        dcosts, dspread = [tt.zeros_like(outputs[0]) if _no_gradient(g) else g for g in (gradients[0], gradients[3])]
        dscores, dc = SoftmaxCrossEntropyGradient(self.library)(dcosts, dspread, p, y)
        if not _no_gradient(dp):
            more = p * (dp - (dp * p).sum(axis=1, keepdims=True))
            dscores, dc = dscores + more, dc + more.sum(axis=0)
        return [dscores, dc, _constant(self, 2, y)]


class SoftmaxCrossEntropyGradient(_KernelOp):
    """The gradient of SoftmaxCrossEntropy, from the gradients of costs and spread."""
    inputs = dict(dcosts='N', dspread='N', probabilities='N,V', y='int32 N')
    outputs = dict(dscores='N,V', dc='V')

    def run(self, kernel, inputs, outputs, N, V):
        return kernel.cross_entropy_gradient(N, V, *inputs, *outputs)


class _Sampling(ctypes.Structure):
    """The struct `sampling` of kernel.h."""
    _fields_ = [(name, kind) for kind, names in (
        (ctypes.c_long, 'V H1 H2 B prime length'), (ctypes.c_void_p, 'U1 W1 b1 U2 W2 b2 Vw c own1 own2 bits text'),
        (ctypes.c_double, 'temperature'), (ctypes.c_long, 'top_k'), (ctypes.c_double, 'top_p'),
        (ctypes.c_void_p, 'h1 C1 h2 C2 panels log_p')) for name in names.split()]


class Sample(_KernelOp):
    """Continue texts character by character, without returning to Python.

    Inputs: prime, the first characters of the texts, which are not read yet; bits, a number from 0 to 2^53 - 1 for each
    character to draw, or shape (0,B) to take the most probable ones; N, the number of characters to write; choice, made
    of temperature, top_k and top_p; the states before prime; the parameters, with U1 transposed; the cell's own.
    Outputs: the texts, and the states after all characters but the last.
    """
    inputs = dict(prime='int32 M,B', bits='int64 drawn,B', N='int64 ', choice='3',
                  h1='B,H1', C1='B,{S}*H1', h2='B,H2', C2='B,{S}*H2', U1='V,{U}*H1', W1='{W},H1,H1', b1='{b},H1',
                  U2='{U},H2,H1', W2='{W},H2,H2', b2='{b},H2', Vw='V,H2', c='V', own1_='H1', own2_='H2')
    outputs = dict(text='int32 M+N,B', h1_end='B,H1', C1_end='B,{S}*H1', h2_end='B,H2', C2_end='B,{S}*H2')

    def run(self, kernel, inputs, outputs, V, H1, H2, B, M, N, drawn):
        real = np.ctypeslib.as_ctypes_type(self.library.dtype)
        prime, bits, _, choice, *states = inputs[:8]
        temperature, top_k, top_p = (real * 3).from_address(choice)
        parameters, count, S = inputs[8:16], self.library.counts.own, self.library.counts.S
        own1, own2 = map(self.library.passed_together, (inputs[16:16 + count], inputs[16 + count:]))
        text, *after = outputs
        ctypes.memmove(text, prime, 4 * M * B)
        for H, state, before in zip((H1, S * H1, H2, S * H2), after, states):
            ctypes.memmove(state, before, ctypes.sizeof(real) * B * H)
        sampling = _Sampling(V, H1, H2, B, M, M + N, *parameters, ctypes.addressof(own1), ctypes.addressof(own2),
                             bits if drawn else None, text, temperature, int(top_k), top_p, *after)
        return kernel.sample(ctypes.byref(sampling), kernel.threads())


class Reader:
    """A function that reads texts in C: from characters x (T,B) and states to log probabilities (T,B,V) and new states.

    The weights are packed in the first call, and again after they have changed. p: shared variables by name.
    """

    def __init__(self, library, p):
        self._library, self._p, self._packed = library, p, None

    def _pack(self, arrays):
        """Set the struct of a model with these parameters, and the arrays that it points to."""
        p, library = dict(zip(self._p, arrays)), self._library
        V, H1, H2 = *p['V'].shape[:1], p['b1'].shape[1], p['b2'].shape[1]
        inputs = [np.ascontiguousarray(stacked(p['U1'])), *[p[name] for name in NAMES[1:]]]
        own = [library.passed_together(list(map(library.passed, own_of_layer(p, k)))) for k in (1, 2)]
        self._struct = struct = _Sampling(V, H1, H2, 0, 0, 0, *map(library.passed, inputs), *map(ctypes.addressof, own))
        panels = empty((library.functions().packed_size(ctypes.byref(struct)),), library.dtype)
        struct.panels = library.passed(panels)
        library.functions().pack(ctypes.byref(struct))
        self._kept = inputs, own, panels       # in memory, for the struct

    def __call__(self, x, *states):
        kernel, passed = self._library.functions(), self._library.passed
        packed = updates_of(self._p), [variable.get_value(borrow=True) for variable in self._p.values()]
        if not (self._packed and self._packed[0] == packed[0] and same(self._packed[1], packed[1])):
            self._pack(packed[1])
            self._packed = packed
        struct, (T, B), S = self._struct, x.shape, self._library.counts.S
        states = checks.states(states, B, (struct.H1, struct.H2), S)
        states = [np.array(state, self._library.dtype, order='C') for state in states]
        log_p, x = np.empty((T, B, struct.V), self._library.dtype), np.ascontiguousarray(x, np.int32)
        struct.B, struct.prime, struct.length, struct.text, struct.log_p = B, T, T, passed(x), passed(log_p)
        struct.h1, struct.C1, struct.h2, struct.C2 = map(passed, states)
        if kernel.sample(ctypes.byref(struct), kernel.threads()):
            raise MemoryError
        return log_p, states


class Kernel:
    """The methods of scan.Scan in C or NumPy, and sampling in C. cell: a Cell.

    in_c: whether to use C, for a cell with a program. bfloat16: as for Library. step_by_step: compute the cell by
    Theano's functions of one step, as for cells without a program.
    """

    def __init__(self, cell, in_c, bfloat16=None, step_by_step=False):
        self.in_c = in_c
        if in_c:
            self._library = Library(cell.dtype, cell.program, bfloat16)
        else:
            self._library = Arrays(cell.dtype, AnyCell(cell) if step_by_step else Elementwise(cell.program))

    def columns(self, U, x):
        return TakeColumns(self._library)(U.reshape((-1, U.shape[2])), x)

    def product(self, a, B):
        return Product(self._library)(a, B)

    def layer(self, a_x, W, b, own, state, truncate):
        h, C, _, h_end, C_end = LSTM(self._library, truncate)(a_x, W, b, *state, *own)
        return h, C, (h_end, C_end)

    def cross_entropy(self, scores, c, y):
        costs, best, p, spread = SoftmaxCrossEntropy(self._library)(scores, c, y.flatten())
        return costs.reshape(y.shape), best.reshape(y.shape), p, spread.reshape(y.shape)

    def sums_of_squares(self, arrays):
        return SumsOfSquares(self._library)(*arrays, return_list=True)

    def reader(self, p):
        """Return the Reader of parameters p, shared variables by name."""
        return Reader(self._library, p)

    def sample(self, prime, bits, n, choice, states, p):
        """Return the outputs of Sample for the parameters p by name."""
        return Sample(self._library)(
            prime, bits, n, choice, *states, stacked(p['U1']), *[p[name] for name in NAMES[1:]], *own_of_layer(p, 1),
            *own_of_layer(p, 2))
