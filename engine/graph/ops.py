"""The LSTM on the CPU: Theano Ops that call the kernel, in C or in NumPy.

charlstm.py composes its network from the class Kernel, at the end of this file, or from Scan in engine/graph/scan.py.

Sizes: T steps, B sequences, H units, N = T*B characters, V characters in the vocabulary. In braces are the Counts of
the cell: {b}, {U} and {W} rows of b, U and W, such as gates, and {S} states, side by side.
"""
import collections
import ctypes
import functools

import numpy as np

from engine import checks
from engine.backend.theano_setup import theano, tt
from engine.data.parameters import layers_of, stacked, units
from engine.graph.elementwise import CHANGES, Planned
from engine.graph.library import Library, empty, loaded, passed, reused

gof = theano.gof
_constant = theano.gradient.grad_undefined             # for an input without a gradient


def contiguous(arrays):
    """Return arrays in C order, aligned, as copies if they are not, and pairs of these copies and their originals."""
    found = [x if x.flags.carray else x.copy() for x in arrays]
    return found, [(copy, x) for copy, x in zip(found, arrays) if copy is not x]


@functools.lru_cache(maxsize=None)
def expression(text):
    """Return the code of a size, such as 4*H."""
    return compile(text, text, 'eval')


class _KernelOp(gof.Op):
    """An Op that calls the kernel.

    A subclass declares its inputs and outputs by name, with their shapes. dict(U='D,V', index='int32 N') declares an
    array (D,V) of the library's dtype and an int32 array (N,) of characters below V. A name with "cell_p" stands for
    each of the cell's own parameters, one with "matrix" for each of its matrices. The method `call` returns a function
    that calls the kernel for the arrays and the sizes.
    """
    __props__ = ('library',)
    inputs, outputs = {}, {}
    destroy_map = {}                           # for Theano: an output to the inputs whose memory it takes

    def __init__(self, library):
        self.library = library
        counts = library.counts
        vectors, matrices = range(counts.cell_p), range(counts.M)
        many = dict(cell_p=vectors, d_cell_p=vectors, matrix=matrices, d_matrix=matrices)
        self.inputs, self.outputs = [
            {f'{name}{k}': text.format(**counts._asdict()) for name, text in declared.items()
             for k in many.get(name, [''])} for declared in (self.inputs, self.outputs)]

    def _arrays(self, declared):
        """Return the dtype and the sizes of each of the declared arrays."""
        parts = [text.rpartition(' ') for text in declared.values()]
        return [(dtype or self.library.dtype, shape.split(',')) for dtype, _, shape in parts]

    def make_node(self, *inputs):
        inputs = [tt.as_tensor_variable(v) for v in inputs]
        for v, (dtype, sizes) in zip(inputs, self._arrays(self.inputs)):
            if (v.dtype, v.ndim) != (dtype, len(sizes)):
                raise TypeError(f'{type(self).__name__}: got {v.dtype} of {v.ndim} dimensions, expected {dtype} of '
                                f'{len(sizes)}; tt.cast(..., {dtype!r}) changes a type')
        return gof.Apply(self, inputs, [tt.TensorType(dtype, [False] * len(sizes))()
                                        for dtype, sizes in self._arrays(self.outputs)])

    def infer_shape(self, node, shapes):
        """Return the shapes of the outputs, so that Theano needs no array to know its size."""
        named = dict(pair for (_, sizes), shape in zip(self._arrays(self.inputs), shapes) for pair in zip(sizes, shape))
        return [tuple(eval(n, {}, named) for n in sizes) for _, sizes in self._arrays(self.outputs)]

    def make_thunk(self, node, storage_map, compute_map, no_recycling, impl=None):
        return Planned(node, storage_map, compute_map, self.plan)

    def _misfit(self, shapes):
        return ValueError(f'{type(self).__name__}: shapes {shapes} or characters do not match: expected {self.inputs}')

    def plan(self, arrays, before):
        """Return the arrays of the outputs, and a function that fills them, as Planned describes."""
        inputs, copies = contiguous(arrays)
        shapes, declared = [x.shape for x in inputs], self._arrays(self.inputs)
        pairs = [pair for (_, names), shape in zip(declared, shapes) for pair in zip(names, shape)]
        sizes = {name: n for name, n in pairs if name.isidentifier()}
        if any(eval(expression(name), {}, sizes) != n for name, n in pairs):
            raise self._misfit(shapes)
        results = [reused(array, tuple(eval(expression(n), {}, sizes) for n in shape), dtype)
                   for array, (dtype, shape) in zip(before, self._arrays(self.outputs))]
        for k, (taken,) in self.destroy_map.items():
            results[k] = inputs[taken]
        in_range = [self.library.call('all_below', sizes['V'], x.size, x)
                    for x, (dtype, _) in zip(inputs, declared) if dtype == 'int32']
        run = self.call(inputs, results, **sizes)

        def fill():
            for copy, x in copies:
                copy[...] = x
            if not all([check() for check in in_range]):           # a list takes less time than a generator
                raise self._misfit(shapes)
            run()
        return results, fill if copies or in_range else run


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
        return [out], self.library.product(a, b, out)

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
        found, copies = contiguous(arrays)
        results = [reused(array, (), v.dtype) for array, v in zip(before, found)]
        sizes = (ctypes.c_long * len(found))(*[x.size for x in found])
        run = self.library.call('sums_of_squares', len(found), sizes, found, results)

        def fill():
            for copy, x in copies:
                copy[...] = x
            run()
        return results, fill if copies else run


class _SumsOfSquares(gof.Optimizer):
    """Lets the kernel compute all tt.sqr(x).sum() of a graph, such as those of gradients, several with one call."""

    def add_requirements(self, fgraph):
        fgraph.attach_feature(gof.toolbox.ReplaceValidate())

    def apply(self, fgraph):
        library = next((node.op.library for node in fgraph.apply_nodes if isinstance(node.op, _KernelOp)), None)
        levels, found = {}, collections.defaultdict(list)  # those of one level do not depend on each other
        for node in fgraph.toposort() if library else ():
            levels[node] = max([0, *[levels[v.owner] for v in node.inputs if v.owner]])
            square = node.inputs[0].owner if isinstance(node.op, tt.Sum) and node.outputs[0].ndim == 0 else None
            if square and square.op == tt.sqr and square.inputs[0].dtype == node.outputs[0].dtype == library.dtype:
                found[levels[node]].append((node.outputs[0], square.inputs[0]))
                levels[node] += 1
        for pairs in found.values():
            sums, arrays = zip(*pairs)
            new = SumsOfSquares(library)(*arrays, return_list=True)
            fgraph.replace_all_validate([*zip(sums, new)], reason='charlstm_sums_of_squares')


# After Theano's simplifications, before it fuses elementwise operations (49).
theano.compile.optdb.register('charlstm_sums_of_squares', _SumsOfSquares(), 48, 'fast_run')


class TakeColumns(_KernelOp):
    """The columns `index` of U, as rows."""
    inputs, outputs = dict(U='D,V', index='int32 N'), dict(columns='N,D')

    def call(self, inputs, outputs, N, V, D):
        return self.library.call('take_columns', N, V, D, *inputs, *outputs)

    def L_op(self, inputs, outputs, gradients):
        (U, index), (d,) = inputs, gradients
        return [AddColumns(self.library)(U, index, d), _constant(self, 1, index)]


class AddColumns(_KernelOp):
    """The gradient of TakeColumns: zeros like U, with row n of d added to column index[n]."""
    inputs, outputs = dict(U='D,V', index='int32 N', d='N,D'), dict(dU='D,V')

    def call(self, inputs, outputs, N, V, D):
        return self.library.call('add_columns', N, V, D, *inputs[1:], *outputs)


class _LayerOp(_KernelOp):
    """An Op of a layer. Gradients flow through the last `truncate` steps, -1: all. in_place: overwrite may_destroy."""
    __props__ = ('library', 'truncate', 'in_place')

    def __init__(self, library, truncate=-1, in_place=False):
        super().__init__(library)
        self.truncate, self.in_place, self.destroy_map = truncate, in_place, self.may_destroy if in_place else {}


class LSTM(_LayerOp):
    """A layer over whole sequences.

    Inputs: a_x, the input's share of the pre-activations; weights W and bias b; h0 and C0, the states before the first
    step. Outputs: h and C, the states after each step; kept, which the gradient reads; h_end and C_end, the states
    after the last step. These are copies, since views would keep the memory of all steps.
    """
    inputs = dict(a_x='T,B,{U}*H', W='{W},H,H', b='{b},H', h0='B,H', C0='B,{S}*H', cell_p='H', matrix='H,H')
    outputs = dict(h='T,B,H', C='T,B,{S}*H', kept='T,B,{b}*H', h_end='B,H', C_end='B,{S}*H')

    @property
    def may_destroy(self):
        return {2: [0]} if self.library.counts.U == self.library.counts.b else {}

    def call(self, inputs, outputs, T, B, H):
        return self.library.call('lstm_forward', T, B, H, *inputs[:5], inputs[5:], *outputs)

    def L_op(self, inputs, outputs, gradients):
        a_x, W, b, h0, C0, *cell_p = inputs
        h, C, kept = outputs[:3]
        if not _no_gradient(*gradients[1:]):
            raise ValueError('in the kernel, gradients flow through h of a layer, not C or the last states: use '
                             '--kernel off or CharLSTM(kernel=False)')
        gradient = LSTMGradient(self.library, self.truncate)
        da, dW, db, dC0, *d_cell_p = gradient(gradients[0], W, h, C, kept, h0, C0, *cell_p)
        counts, H = self.library.counts, h.shape[2]
        width = counts.W * H                   # Theano computes this product only if it is read
        dh0 = Product(self.library)(da[0, :, da.shape[2] - width:], W.reshape((width, H))) if counts.W else (
            tt.zeros_like(h0))
        return [da if counts.U == counts.b else da[:, :, :counts.U * H], dW, db, dh0, dC0, *d_cell_p]


class LSTMGradient(_LayerOp):
    """The gradients of the pre-activations, W, b, C0 and own parameters, from dh, that of h."""
    inputs = dict(dh='T,B,H', W='{W},H,H', h='T,B,H', C='T,B,{S}*H', kept='T,B,{b}*H', h0='B,H', C0='B,{S}*H',
                  cell_p='H', matrix='H,H')
    outputs = dict(da='T,B,{b}*H', dW='{W},H,H', db='{b},H', dC0='B,{S}*H', d_cell_p='H', d_matrix='H,H')
    may_destroy = {0: [4]}

    def call(self, inputs, outputs, T, B, H):
        return self.library.call('lstm_backward', T, B, H, self.truncate, *inputs[:7], inputs[7:], *outputs[:4],
                                 outputs[4:])


@gof.local_optimizer([LSTM, LSTMGradient], inplace=True)
def _in_place(node):
    """Return the outputs of the same Op in place. Theano undoes this if something else needs the input."""
    if isinstance(node.op, _LayerOp) and not node.op.in_place:
        return type(node.op)(node.op.library, node.op.truncate, True)(*node.inputs, return_list=True)


# After everything that changes the graph (up to 50), before Theano's elementwise operations in place (75).
theano.compile.optdb.register('charlstm_in_place', gof.TopoOptimizer(
    _in_place, failure_callback=gof.TopoOptimizer.warn_inplace), 70, 'fast_run', 'inplace')


class WholeLayer(theano.Op):
    """A layer of the standard cell on a device, by torch.lstm: cuDNN on CUDA, oneDNN or ATen on a CPU.

    Inputs: characters x (N,) or vectors x (N,D), and U (4H,D), or only a_x = U.x (T,B,4H); W, b, h0 and C0.
    Outputs: h (T,B,H), C_end, and a function from their gradients to those of the inputs but x (N,).
    """
    __props__ = ('truncate',)

    def __init__(self, truncate):
        self.truncate = truncate

    def make_node(self, *inputs):
        C0 = inputs[-1]
        return gof.Apply(self, inputs, [tt.tensor3(dtype=C0.dtype), C0.type(), gof.generic()])

    def L_op(self, inputs, outputs, gradients):
        d = [tt.zeros_like(v) if _no_gradient(g) else g for v, g in zip(outputs[:2], gradients)]
        learned = [v for v in inputs if v.ndim > 1]
        return [_constant(self, 0, v) for v in inputs if v.ndim == 1] + WholeLayerGradient()(outputs[2], *d, *learned)


class WholeLayerGradient(theano.Op):
    """The gradients of the inputs of WholeLayer but characters, by torch.autograd."""
    __props__ = ()

    def make_node(self, gradient, dh, dC, *learned):
        return gof.Apply(self, [gradient, dh, dC, *learned], [v.type() for v in learned])


def factors(a_x):
    """Return x and U whose product is the input's share a_x, if its graph says so, for WholeLayer; otherwise a_x."""
    reshaped = a_x.owner and isinstance(a_x.owner.op, tt.Reshape)
    made = a_x.owner.inputs[0].owner if reshaped else None
    if made and isinstance(made.op, Product):
        return made.inputs[0], made.inputs[1].T
    return made.inputs[::-1] if made and isinstance(made.op, TakeColumns) else [a_x]


class SoftmaxCrossEntropy(_KernelOp):
    """Costs -log p[y], in nats, with p = softmax(scores + c); the most probable characters; p; the means of -log p."""
    inputs = dict(scores='N,V', c='V', y='int32 N')
    outputs = dict(costs='N', best='int32 N', probabilities='N,V', spread='N')

    def call(self, inputs, outputs, N, V):
        return self.library.call('cross_entropy', N, V, *inputs, *outputs)

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

    def call(self, inputs, outputs, N, V):
        return self.library.call('cross_entropy_gradient', N, V, *inputs, *outputs)


class _Layer(ctypes.Structure):
    """The struct `sampled_layer` of kernel.h."""
    _fields_ = [('H', ctypes.c_long), *[(name, ctypes.c_void_p) for name in ('U', 'W', 'b', 'cell_p', 'h', 'C')]]


class _Sampling(ctypes.Structure):
    """The struct `sampling` of kernel.h."""
    _fields_ = [(name, kind) for kind, names in (
        (ctypes.c_long, 'V B prime length layers'), (ctypes.c_void_p, 'layer Vw c bits text'),
        (ctypes.c_double, 'temperature'), (ctypes.c_long, 'top_k'), (ctypes.c_double, 'top_p'),
        (ctypes.c_void_p, 'panels log_p')) for name in names.split()]


class Texts:
    """A model that reads and writes texts in C. p: shared variables by name. cell: a Cell.

    The weights are packed in the first call, and again after `begin`, set_value or a function with updates. The states
    are contiguous arrays of the library's type, which become the new states.
    """

    def __init__(self, library, p, cell):
        self._library, self._p, self._cell, self._packed = library, p, cell, None
        self._kernel = loaded(library)

    def begin(self):
        """Begin a text: look at the parameters again, as they may have been changed in place."""
        self._packed = None

    def _model(self):
        """Return the struct of the model, packed again if parameters may have changed, and keep what it points to."""
        if self._packed == CHANGES[0]:
            return self._struct
        p = {name: np.require(v.get_value(borrow=True), requirements='CAW') for name, v in self._p.items()}
        p = self._cell.with_constants({**p, 'U1': np.ascontiguousarray(stacked(p['U1']))})
        cell_p = [passed([p[f'{name}{k}'] for name in self._cell.read]) for k in range(1, 1 + layers_of(p))]
        self._layers = (_Layer * len(cell_p))(*[
            (H, *[passed(p[f'{name}{k}']) for name in 'UWb'], ctypes.addressof(cell_p[k - 1]))
            for k, H in enumerate(units(p), 1)])
        struct = _Sampling(V=len(p['V']), layers=len(cell_p), layer=ctypes.addressof(self._layers), Vw=passed(p['V']),
                           c=passed(p['c']))
        panels = empty((self._kernel.packed_size(ctypes.byref(struct)),), self._library.dtype)
        struct.panels = passed(panels)
        self._kernel.pack(ctypes.byref(struct))
        self._struct, self._kept, self._packed = struct, (p, cell_p, panels), CHANGES[0]
        return struct

    def _call(self, struct, states, threads, text, **fields):
        """Call `sample` of kernel.h. text: int32 (length,B). fields: of its struct."""
        length, B = text.shape
        checks.states(states, B, checks.widths([layer.H for layer in self._layers], self._library.counts.S))
        for layer, h, C in zip(self._layers, states[::2], states[1::2]):
            layer.h, layer.C = passed(h), passed(C)
        for name, value in dict(fields, B=B, length=length, text=text).items():
            setattr(struct, name, passed(value))
        self._kernel.sample(ctypes.byref(struct), threads)

    def read(self, x, *states):
        """Return log probabilities (T,B,V) after each of the characters x, int32 (T,B) below V, and the new states.

        Raises ValueError if the states have other shapes than the model's.
        """
        struct = self._model()
        log_p = np.empty((*x.shape, struct.V), self._library.dtype)
        threads = self._kernel.threads() if x.size > 1 else 1                  # waking a second one takes too long
        self._call(struct, states, threads, x, prime=len(x), log_p=log_p)
        return log_p, states

    def write(self, prime, bits, n, choice, *states):
        """Return texts of M + n characters, int32 (M+n,B), and the states after all characters but the last.

        prime: their first M characters, int32. bits: a number from 0 to 2^53 - 1 for each character to draw, int64
        (n,B), or shape (0,B) to take the most probable ones. choice: temperature, top_k and top_p. Errors: as for read,
        and ValueError for characters that the model does not have, as it may be another than when the text began.
        """
        struct, (temperature, top_k, top_p) = self._model(), map(float, choice)
        text = np.concatenate([prime, np.empty((n, prime.shape[1]), np.int32)])
        if not self._kernel.all_below(struct.V, prime.size, passed(text)):
            raise ValueError(f'the text has characters that are not below {struct.V}')
        self._call(struct, states, self._kernel.threads(), text, prime=len(prime), temperature=temperature,
                   bits=bits if len(bits) else None, top_k=int(top_k), top_p=top_p, log_p=None)
        return [text, *states]


class Kernel:
    """The methods of scan.Scan in C or NumPy, and sampling in C. cell: a Cell.

    in_c: whether to use C, for a cell with a program. bfloat16: as for Library. layer: None, or a function that is used
    in the place of the kernel's, as in Scan. on_device: whether PyTorch computes.
    in_one_call: whether it does so by torch.lstm.
    """

    def __init__(self, cell, in_c, bfloat16=None, layer=None, on_device=False):
        self.in_c, self.cell_parameters, self._cell, self._layer = in_c, tuple(cell.parameters), cell, layer
        self.in_one_call = on_device and cell.standard and not layer
        if in_c:
            self.library = Library(cell.dtype, cell.program, bfloat16)
        else:
            from engine.graph import in_numpy         # late: C runs most models
            step = in_numpy.ProgramStep(cell.program) if cell.program else in_numpy.TheanoStep(cell)
            self.library = in_numpy.Arrays(cell.dtype, step)

    def columns(self, U, x):
        return TakeColumns(self.library)(U.reshape((-1, U.shape[2])), x)

    def product(self, a, B):
        return Product(self.library)(a, B)

    def layer(self, a_x, W, b, cell_parameters, before, truncate):
        if self._layer:
            return self._layer(a_x, W, b, cell_parameters, before, truncate, self._cell)
        H, named = b.shape[1], dict(zip(self.cell_parameters, cell_parameters))
        named.update({each.name: each(H) if each.is_matrix else each(H)[0] for each in self._cell.constants})
        h, C, _, h_end, C_end = LSTM(self.library, truncate)(a_x, W, b, *before, *map(named.get, self._cell.read))
        if self.in_one_call and theano.config.compute_test_value == 'off':
            h, C_end, _ = WholeLayer(truncate)(*factors(a_x), W, b, *before)
            h_end = h[-1]                                  # C of all steps is computed as above, if it is read
        return h, C, (h_end, C_end)

    def cross_entropy(self, scores, c, y):
        costs, best, p, spread = SoftmaxCrossEntropy(self.library)(scores, c, y.flatten())
        return costs.reshape(y.shape), best.reshape(y.shape), p, spread.reshape(y.shape)

    def texts(self, p):
        """Return the Texts of parameters p, shared variables by name."""
        return Texts(self.library, p, self._cell)
