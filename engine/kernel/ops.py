"""The LSTM on the CPU: Theano Ops that call the C code of this folder.

charlstm.py composes its network from the class Kernel, at the end of this file. The class Scan, in
engine/kernel/scan.py, has the same methods with theano.scan.

Sizes: T steps, B sequences, H units, N = T*B characters, V characters in the vocabulary; "4H" is the gates f, i, o, g
side by side.
"""
import ctypes
import functools
import math
import re
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from engine.backend.bfloat16 import MACROS
from engine.backend.modules import compiled_file, load
from engine.backend.theano_setup import theano, tt
from engine.kernel.cell import Program, c_functions
from engine.model.parameters import NAMES, own_of_layer, stacked

gof = theano.gof
DisconnectedType, disconnected_type = theano.gradient.DisconnectedType, theano.gradient.disconnected_type

HERE = Path(__file__).resolve().parent
C_FILES = {path.name: path.read_text(encoding='utf-8') for path in HERE.glob('*.[ch]')}
C_TYPES = dict(float32='float', float64='double')
CACHE_LINE = 64                # bytes, to which the kernel's memory is aligned


# ---------------------------------------------------------------- the library

@functools.lru_cache(maxsize=None)
def joined(text, cell=''):
    """Return C code with the files in place of their #include lines, also in these files; cell: C code for cell.h."""
    files = dict(C_FILES, **{'cell.h': cell})
    return re.sub('^#include "(.*)"$', lambda found: joined(files[found.group(1)], cell), text, flags=re.MULTILINE)


class Library(NamedTuple):
    """The compiled kernel for a dtype, 'float32' or 'float64', and a cell.

    bfloat16: None, or a key of MACROS: what multiplies the operands of products, which are rounded to bfloat16.
    """
    dtype: str
    program: Program
    bfloat16: Optional[str] = None

    def path(self):
        """Return the path of the library, which may still have to be compiled."""
        macros = [f'REAL {C_TYPES[self.dtype]}', *(['PER_WORD 2', *MACROS[self.bfloat16]] if self.bfloat16 else [])]
        head, cell = ''.join(f'#define {macro}\n' for macro in macros), c_functions(self.program)
        objects = [compiled_file(name, joined(f'{head}#include "{name}"\n', cell))
                   for name in ('sampling.c', 'embedding.c', 'vectors.c')]
        return compiled_file('kernel', '', objects)


@functools.lru_cache(maxsize=None)
def loaded(library):
    """Return a Library compiled and loaded, with the functions of kernel.h and their types."""
    C = load(library.path())
    for name, arguments in re.findall(r'^int (\w+)\(([^)]*)\);', C_FILES['kernel.h'], re.MULTILINE):
        getattr(C, name).argtypes = [
            ctypes.c_void_p if '*' in argument else ctypes.c_long if 'long' in argument else ctypes.c_int
            for argument in arguments.split(',') if argument != 'void']
    return C


# ---------------------------------------------------------------- what all Ops share

def _declared(arrays, dtype):
    """Return dtype, axes and bound of each array, from 'T B 4H' or 'int32 < V: N'; axes are (factor, size)."""
    found = []
    for text in arrays.values():
        kind, _, shape = text.rpartition(':')
        name, _, bound = kind.partition(' < ')
        axes = [re.fullmatch(r'(\d*)(\w*)', axis).groups() for axis in shape.split()]
        found.append((name or dtype, [(int(factor or 1), size) for factor, size in axes], bound))
    return found


def _output(slot, shape, dtype):
    """Return an array for an output, which Theano's slot, a list of one, gets.

    That of the last call is used again where it fits, as fresh memory costs page faults. A new one begins at a cache
    line, as NumPy's do not.
    """
    last = slot[0]
    if last is None or last.shape != shape or not last.flags.carray:
        memory = np.empty(np.dtype(dtype).itemsize * math.prod(shape) + CACHE_LINE, np.uint8)
        slot[0] = np.ndarray(shape, dtype, memory, -memory.ctypes.data % CACHE_LINE)
    return slot[0]


class _KernelOp(gof.Op):
    """An Op that calls the kernel. library: a Library.

    A subclass declares its inputs and outputs by name, with their shapes: dict(U='D V', index='int32 < V: N') are an
    array (D,V) of the library's dtype and one (N,) of int32, whose numbers are from 0 to V - 1. overwrites: the name of
    an output to that of the input whose memory it takes.
    """
    __props__ = ('library',)
    overwrites = {}

    def __init__(self, library):
        self.library = library

    @functools.cached_property
    def _in(self):
        return _declared(self.inputs, self.library.dtype)

    @functools.cached_property
    def _out(self):
        return _declared(self.outputs, self.library.dtype)

    @functools.cached_property
    def _C(self):
        return loaded(self.library)

    @functools.cached_property
    def destroy_map(self):
        """Return overwrites by numbers, as Theano wants it."""
        inputs, outputs = list(self.inputs), list(self.outputs)
        return {outputs.index(output): [inputs.index(name)] for output, name in self.overwrites.items()}

    def make_node(self, *inputs):
        """Raise TypeError for an input of another dtype or number of dimensions than declared."""
        inputs = [tt.as_tensor_variable(v) for v in inputs]
        for v, (name, text), (dtype, axes, _) in zip(inputs, self.inputs.items(), self._in):
            if (v.dtype, v.ndim) != (dtype, len(axes)):
                raise TypeError(f'{type(self).__name__}: {name} is {v.dtype} with {v.ndim} dimensions; '
                                f'expected {dtype} ({text})')
        return gof.Apply(self, inputs, [tt.TensorType(dtype, [False] * len(axes))() for dtype, axes, _ in self._out])

    def infer_shape(self, node, shapes):
        sizes = {size: n for shape, (_, axes, _) in zip(shapes, self._in) for n, (factor, size) in zip(shape, axes)
                 if factor == 1}
        return [tuple(sizes[size] if factor == 1 else factor * sizes[size] for factor, size in axes)
                for _, axes, _ in self._out]

    def compiled_files(self):
        """Return the paths of what must be compiled, which engine/backend/modules.py does for many Ops at once."""
        return [self.library.path()]

    def make_thunk(self, node, storage_map, compute_map, no_recycling, impl=None):
        self._C
        return super().make_thunk(node, storage_map, compute_map, no_recycling, 'py')

    # ---- a call: this is on the path of each training step

    def sizes(self, inputs):
        """Return the sizes by name, and '': 1. Raises ValueError for inputs whose shapes or values do not fit."""
        sizes = {'': 1}
        for x, (_, axes, _) in zip(inputs, self._in):
            for n, (factor, size) in zip(x.shape, axes):
                if sizes.setdefault(size, n // factor) * factor != n:
                    self.refuse(inputs)
        for x, (_, _, bound) in zip(inputs, self._in):
            if bound and not self._C.all_below(sizes[bound], x.size, x.ctypes.data):
                self.refuse(inputs)
        return sizes

    def refuse(self, inputs):
        raise ValueError(f'{type(self).__name__}: shapes {[x.shape for x in inputs]} or values of its inputs do not fit: '
                         f'expected {self.inputs}')

    def perform(self, node, inputs, storage):
        inputs = [x if x.flags.c_contiguous else np.ascontiguousarray(x) for x in inputs]
        sizes = self.sizes(inputs)
        outputs = []
        for k, (slot, (dtype, axes, _)) in enumerate(zip(storage, self._out)):
            if k in self.destroy_map:
                slot[0] = inputs[self.destroy_map[k][0]]
            outputs.append(_output(slot, tuple([factor * sizes[size] for factor, size in axes]), dtype))
        del sizes['']
        if self.run([x.ctypes.data for x in inputs], [x.ctypes.data for x in outputs], **sizes):
            raise MemoryError

    def run(self, inputs, outputs, **sizes):
        """Call C with the addresses of arrays; return 0, or -1 when out of memory."""
        raise NotImplementedError


def _no_gradient(output_gradients):
    """Return whether all gradients are of DisconnectedType, which stands for zeros."""
    return all(isinstance(g.type, DisconnectedType) for g in output_gradients)


# ---------------------------------------------------------------- products and the embedding

class Product(_KernelOp):
    """The matrix product of a and b, each of any strides."""
    inputs, outputs = dict(a='M K', b='K N'), dict(ab='M N')

    def perform(self, node, inputs, storage):
        (a, b), C = inputs, self._C
        M, K, N = a.shape[0], *b.shape
        if a.shape[1] != K:
            self.refuse(inputs)
        ab = _output(storage[0], (M, N), self.library.dtype)
        strides = [stride // x.itemsize for x in inputs for stride in x.strides]
        if C.matmul(M, N, K, a.ctypes.data, *strides[:2], b.ctypes.data, *strides[2:], ab.ctypes.data, N, 0,
                    C.threads()):
            raise MemoryError

    def L_op(self, inputs, outputs, gradients):
        (a, b), (d,) = inputs, gradients
        # b is the transpose of weights, so its gradient is computed as a transpose, too: it then lies in memory in the
        # order of the weights, in which their update reads it.
        return [self(d, b.T), self(d.T, a).T]


class SumOfSquares(_KernelOp):
    """The sum of the squares of all numbers in v, of any shape."""
    inputs, outputs = dict(v='...'), dict(total='')

    def make_node(self, v):
        if v.dtype != self.library.dtype:
            raise TypeError(f'SumOfSquares: v is {v.dtype}; expected {self.library.dtype}')
        return gof.Apply(self, [v], [tt.scalar(dtype=v.dtype)])

    def infer_shape(self, node, shapes):
        return [()]

    def perform(self, node, inputs, storage):
        v = np.ascontiguousarray(inputs[0])
        self._C.sum_of_squares(v.size, v.ctypes.data, _output(storage[0], (), v.dtype).ctypes.data)


class TakeColumns(_KernelOp):
    """The columns `index` of U, one a row."""
    inputs, outputs = dict(U='D V', index='int32 < V: N'), dict(columns='N D')

    def run(self, inputs, outputs, N, V, D):
        return self._C.take_columns(N, V, D, *inputs, *outputs, self._C.threads())

    def L_op(self, inputs, outputs, gradients):
        (U, index), (d,) = inputs, gradients
        return [AddColumns(self.library)(U, index, d), disconnected_type()]

    def connection_pattern(self, node):
        return [[True], [False]]


class AddColumns(_KernelOp):
    """The gradient of TakeColumns: row n of d added to column index[n] of zeros like U."""
    inputs, outputs = dict(U='D V', index='int32 < V: N', d='N D'), dict(dU='D V')

    def run(self, inputs, outputs, N, V, D):
        return self._C.add_columns(N, V, D, *inputs[1:], *outputs, self._C.threads())


# ---------------------------------------------------------------- the layer

def _pointers(addresses):
    """Return an array of C with the addresses of a cell's own parameters."""
    return (ctypes.c_void_p * len(addresses))(*addresses)


class _LayerOp(_KernelOp):
    """An Op of a layer, forward or backward, whose last inputs are the cell's own parameters, (H,) each.

    truncate: the gradient flows through the last `truncate` steps, -1: all. in_place: whether an output overwrites an
    input, as may_overwrite says. Theano does this only where nothing else needs that input.
    """
    __props__ = ('library', 'truncate', 'in_place')

    def __init__(self, library, truncate=-1, in_place=False):
        super().__init__(library)
        self.truncate, self.in_place, self.overwrites = truncate, in_place, self.may_overwrite if in_place else {}
        self.inputs = dict(self.inputs, **{f'own_{k}': 'H' for k in range(library.program.own)})


class LSTM(_LayerOp):
    """A layer over whole sequences.

    Inputs: the input's share a_x of the pre-activations; weights W and bias b; the states h0, C0 before the first step.
    Outputs: the states h, C after each step; what the gradient needs of the forward pass, kept; the states h_end, C_end
    after the last step. These are copies: a compiled function hands the memory of its results to the caller, and with
    views that would be the memory of all steps.
    The gradient flows from h to a_x, W, b and the cell's own parameters only; h0 and C0 are constants.
    """
    inputs = dict(a_x='T B 4H', W='4 H H', b='4 H', h0='B H', C0='B H')
    outputs = dict(h='T B H', C='T B H', kept='T B 4H', h_end='B H', C_end='B H')
    may_overwrite = dict(kept='a_x')

    def run(self, inputs, outputs, T, B, H):
        return self._C.lstm_forward(T, B, H, *inputs[:5], _pointers(inputs[5:]), *outputs, self._C.threads())

    def connection_pattern(self, node):
        inputs = [True] * 3 + [False] * 2 + [True] * self.library.program.own
        return [[connected] * 3 + [False] * 2 for connected in inputs]

    def L_op(self, inputs, outputs, gradients):
        a_x, W, b, h0, C0, *own = inputs
        h, C, kept = outputs[:3]
        if not _no_gradient(gradients[1:]):
            raise NotImplementedError('in C, a layer has a gradient through h, but none through C or the last states')
        da, dW, db, *d_own = LSTMGradient(self.library, self.truncate)(gradients[0], W, h, C, kept, h0, C0, *own)
        return [da, dW, db, disconnected_type(), disconnected_type(), *d_own]


class LSTMGradient(_LayerOp):
    """The gradient of LSTM, from the gradient dh on h and from inputs and outputs of LSTM.

    After its outputs follow the gradients of the cell's own parameters, (H,) each.
    """
    inputs = dict(dh='T B H', W='4 H H', h='T B H', C='T B H', kept='T B 4H', h0='B H', C0='B H')
    outputs = dict(da_x='T B 4H', dW='4 H H', db='4 H')
    may_overwrite = dict(da_x='kept')

    def __init__(self, library, truncate=-1, in_place=False):
        super().__init__(library, truncate, in_place)
        self.outputs = dict(self.outputs, **{f'd_own_{k}': 'H' for k in range(library.program.own)})

    def run(self, inputs, outputs, T, B, H):
        return self._C.lstm_backward(T, B, H, self.truncate, *inputs[:7], _pointers(inputs[7:]), *outputs[:3],
                                     _pointers(outputs[3:]), self._C.threads())


@gof.local_optimizer([LSTM, LSTMGradient], inplace=True)
def _in_place(node):
    """Return the outputs of the same Op in place; Theano undoes this where something else needs the input."""
    if isinstance(node.op, _LayerOp) and not node.op.in_place:
        return type(node.op)(node.op.library, node.op.truncate, True)(*node.inputs, return_list=True)


# After everything that changes the graph (up to 50), before Theano's elementwise operations in place (75).
# Registered only once, even if this module is loaded twice.
if 'charlstm_in_place' not in theano.compile.optdb.__db__:
    theano.compile.optdb.register('charlstm_in_place', gof.TopoOptimizer(
        _in_place, failure_callback=gof.TopoOptimizer.warn_inplace), 70, 'fast_run', 'inplace')


# ---------------------------------------------------------------- softmax with its cost

class SoftmaxCrossEntropy(_KernelOp):
    """Costs -log p[y], in nats, with p = softmax(scores + c); the most probable characters; p; the means of -log p."""
    inputs = dict(scores='N V', c='V', y='int32 < V: N')
    outputs = dict(costs='N', best='int32: N', probabilities='N V', spread='N')

    def run(self, inputs, outputs, N, V):
        return self._C.cross_entropy(N, V, *inputs, *outputs, self._C.threads())

    def connection_pattern(self, node):
        return [[True, False, True, True], [True, False, True, True], [False] * 4]

    def L_op(self, inputs, outputs, gradients):
        if not _no_gradient(gradients[1:3]):
            raise NotImplementedError('in C, softmax has a gradient through the costs, but none through probabilities')
        dcosts = tt.zeros_like(outputs[0]) if _no_gradient(gradients[:1]) else gradients[0]
        more = [g for g in gradients[3:] if not _no_gradient([g])]
        dscores, dc = SoftmaxCrossEntropyGradient(self.library, bool(more))(dcosts, outputs[2], inputs[2], *more)
        return [dscores, dc, disconnected_type()]


class SoftmaxCrossEntropyGradient(_KernelOp):
    """The gradient of SoftmaxCrossEntropy, from the gradient on the costs and, with smoothing, on spread."""
    __props__ = ('library', 'smoothing')
    inputs = dict(dcosts='N', probabilities='N V', y='int32 < V: N')
    outputs = dict(dscores='N V', dc='V')

    def __init__(self, library, smoothing=False):
        super().__init__(library)
        self.smoothing, self.inputs = smoothing, dict(self.inputs, **dict(dspread='N') if smoothing else {})

    def run(self, inputs, outputs, N, V):
        dcosts, probabilities, y, dspread = inputs if self.smoothing else [*inputs, None]
        return self._C.cross_entropy_gradient(N, V, dcosts, dspread, probabilities, y, *outputs)


# ---------------------------------------------------------------- sampling

class _Sampling(ctypes.Structure):
    """`sampling` of kernel.h."""
    _fields_ = [*[(name, ctypes.c_long) for name in ('V', 'H1', 'H2', 'B', 'prime', 'length')],
                *[(name, ctypes.c_void_p) for name in ('U1', 'W1', 'b1', 'U2', 'W2', 'b2', 'Vw', 'c', 'own1', 'own2',
                                                       'bits', 'text')],
                ('temperature', ctypes.c_double), ('top_k', ctypes.c_long), ('top_p', ctypes.c_double),
                *[(name, ctypes.c_void_p) for name in ('h1', 'C1', 'h2', 'C2', 'panels1', 'panels2', 'panels3',
                                                       'panels4')]]


class Sample(_KernelOp):
    """Continuations of texts, character after character without a return to Python.

    Inputs: prime, the first characters of the texts, none of which has been read; bits, a number from 0 to 2^53 - 1
    for each character to draw, or of shape (0,B) to take the most probable ones; n, how many characters follow; choice,
    which is temperature, top_k and top_p; the states before prime; the eight parameters, U1 as (V,4H1); the cell's
    own, of layer 1, then of layer 2.
    Outputs: the texts, and the states after all characters but the last.
    """
    inputs = dict(prime='int32 < V: M B', bits='int64: drawn B', n='int64:', choice='3',
                  h1='B H1', C1='B H1', h2='B H2', C2='B H2', U1='V 4H1', W1='4 H1 H1', b1='4 H1',
                  U2='4 H2 H1', W2='4 H2 H2', b2='4 H2', Vw='V H2', c='V')
    outputs = dict(text='int32: L B', h1_end='B H1', C1_end='B H1', h2_end='B H2', C2_end='B H2')

    def __init__(self, library):
        super().__init__(library)
        self.inputs = dict(self.inputs, **{f'own{layer}_{k}': f'H{layer}' for layer in (1, 2)
                                           for k in range(library.program.own)})

    def infer_shape(self, node, shapes):
        raise tt.basic.ShapeError('the length of the texts is a value, n, and follows from no shape')

    def sizes(self, inputs):
        """Return the sizes, with L, the length of the texts, and choice as numbers."""
        sizes, n = super().sizes(inputs), int(inputs[2])
        if sizes['M'] < 1 or n < 0 or sizes['drawn'] not in (0, n):
            self.refuse(inputs)
        return dict(sizes, L=sizes['M'] + n, choice=inputs[3].tolist())

    def run(self, inputs, outputs, V, H1, H2, B, M, L, drawn, choice):
        prime, bits, _, _, *states = inputs[:8]
        parameters, count = inputs[8:16], self.library.program.own
        own1, own2 = _pointers(inputs[16:16 + count]), _pointers(inputs[16 + count:])
        text, *after = outputs
        ctypes.memmove(text, prime, 4 * M * B)
        for H, state, before in zip((H1, H1, H2, H2), after, states):
            ctypes.memmove(state, before, np.dtype(self.library.dtype).itemsize * B * H)
        sampling = _Sampling(V, H1, H2, B, M, L, *parameters, ctypes.addressof(own1), ctypes.addressof(own2),
                             bits if drawn else None, text, choice[0], int(choice[1]), choice[2], *after)
        return self._C.sample(ctypes.byref(sampling), self._C.threads())


# ---------------------------------------------------------------- what charlstm.py composes its network from

class Kernel:
    """The five operations of which the network is made, with the methods of scan.Scan but in C, and sampling."""
    updates = {}               # of random numbers that a cell draws: none

    def __init__(self, cell, bfloat16=None):
        """Take a cell.Cell that has a program. bfloat16: as for Library."""
        self._library = Library(cell.dtype, cell.program, bfloat16)

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

    def sum_of_squares(self, v):
        return SumOfSquares(self._library)(v)

    def sample(self, prime, bits, n, choice, states, p):
        """Return the outputs of Sample for the parameters p by name."""
        U1 = stacked(p['U1'])                                                     # (V, 4H1)
        return Sample(self._library)(
            prime, bits, n, choice, *states, U1, *[p[name] for name in NAMES[1:]],
            *own_of_layer(p, 1), *own_of_layer(p, 2))
