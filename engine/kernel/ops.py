"""The LSTM on the CPU: Theano Ops that call the C code of this folder.

charlstm.py composes its network from the class Kernel, at the end of this file, or from Scan in engine/kernel/scan.py.

Sizes: T steps, B sequences, H units, N = T*B characters, V characters in the vocabulary; "4H" stands for the gates f,
i, o, g side by side.
"""
import ctypes
import functools
import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.backend.bfloat16 import MACROS
from engine.backend.modules import compiled_file, load
from engine.backend.theano_setup import theano, tt
from engine.kernel.cell import Program, c_functions
from engine.model.parameters import NAMES, own_of_layer, stacked

gof = theano.gof
_constant = theano.gradient.grad_undefined             # for an input without a gradient

C_FILES = {path.name: path.read_text(encoding='utf-8') for path in Path(__file__).resolve().parent.glob('*.[ch]')}
NOTHING = ctypes.c_char * 0    # for _address


@functools.lru_cache(maxsize=None)
def joined(text, cell=''):
    """Return C code with #include lines replaced by the files, also within these. cell: C code for cell.h."""
    files = dict(C_FILES, **{'cell.h': cell})
    return re.sub('^#include "(.*)"$', lambda found: joined(files[found.group(1)], cell), text, flags=re.MULTILINE)


class Library(NamedTuple):
    """The compiled kernel for a dtype and a cell. bfloat16: None, or a key of MACROS, the instructions for products."""
    dtype: str
    program: Program
    bfloat16: str | None = None

    def path(self):
        """Return the path of the library, which may still have to be compiled."""
        macros = ['REAL float' if self.dtype == 'float32' else 'REAL double']
        macros += ['PER_WORD 2', *MACROS[self.bfloat16]] if self.bfloat16 else []
        head, cell = ''.join(f'#define {macro}\n' for macro in macros), c_functions(self.program)
        return compiled_file('kernel', '', [compiled_file(name, joined(f'{head}#include "{name}"\n', cell))
                                            for name in ('sampling.c', 'embedding.c', 'vectors.c')])


@functools.lru_cache(maxsize=None)
def loaded(library):
    """Compile, load and return a Library, with the argument types of kernel.h's functions."""
    C = load(library.path())
    for name, arguments in re.findall(r'^int (\w+)\(([^)]*)\);', C_FILES['kernel.h'], re.MULTILINE):
        getattr(C, name).argtypes = [
            ctypes.c_void_p if '*' in argument else ctypes.c_long if 'long' in argument else ctypes.c_int
            for argument in arguments.split(',') if argument != 'void']
    return C


def _address(array):
    """Return array.ctypes.data of an array in C order, in a third of the time."""
    return ctypes.addressof(NOTHING.from_buffer(array))


def _output(slot, shape, dtype):
    """Return the address of an array for an output, and put the array in Theano's slot, a list of one item.

    The array of the last call is reused, since new memory costs page faults. A new one begins at a cache line.
    """
    array = slot[0]
    if array is None or array.shape != shape or not array.flags.carray:
        memory = np.empty(np.dtype(dtype).itemsize * math.prod(shape) + 64, np.uint8)
        array = slot[0] = np.ndarray(shape, dtype, memory, -_address(memory) % 64)
    return _address(array)


class _KernelOp(gof.Op):
    """An Op that calls the kernel.

    A subclass declares its inputs and outputs by name, with their shapes. dict(U='D,V', index='int32 N') declares an
    array (D,V) of the library's dtype and an int32 array (N,) of characters below V. N='int64 ' is a number and the
    size N. A name with "own" stands for each of the cell's own parameters. The method `run` calls C with the addresses
    of the arrays and the sizes, and returns -1 when out of memory.
    """
    __props__ = ('library',)
    inputs, outputs = {}, {}
    destroy_map = {}                           # for Theano: an output to the inputs whose memory it takes

    def __init__(self, library):
        self.library, self._plans = library, {}
        self.inputs, self.outputs = [
            {f'{name}{k}': text for name, text in declared.items()
             for k in (range(library.program.own) if 'own' in name else [''])}
            for declared in (self.inputs, self.outputs)]

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

    def compiled_files(self):
        return [self.library.path()]           # engine/backend/modules.py compiles it along with others

    def make_thunk(self, node, storage_map, compute_map, no_recycling, impl=None):
        self._C = loaded(self.library)         # now, not in the first call
        return super().make_thunk(node, storage_map, compute_map, no_recycling, 'py')

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

    def perform(self, node, inputs, storage):
        """Compute the outputs. A training step calls this some 17 times, with about 5 microseconds of overhead each."""
        inputs = [x if x.flags.carray else x.copy() for x in inputs]               # in C order, aligned
        shapes, addresses = tuple([x.shape or (x.item(),) for x in inputs]), [_address(x) for x in inputs]
        if shapes not in self._plans:
            self._plans[shapes] = self._plan(shapes)
        sizes, outputs, characters = self._plans[shapes]
        for k in characters:
            if not self._C.all_below(sizes['V'], inputs[k].size, addresses[k]):
                raise self._misfit(shapes)
        for k, (taken,) in self.destroy_map.items():
            storage[k][0] = inputs[taken]
        if self.run(addresses, [_output(slot, shape, dtype) for slot, (dtype, shape) in zip(storage, outputs)],
                    **sizes):
            raise MemoryError


def _no_gradient(*output_gradients):
    """Return whether all gradients are of DisconnectedType, which stands for zeros."""
    return all(isinstance(g.type, theano.gradient.DisconnectedType) for g in output_gradients)


class Product(_KernelOp):
    """The matrix product of a and b, with any strides."""
    inputs, outputs = dict(a='M,K', b='K,N'), dict(ab='M,N')

    def perform(self, node, inputs, storage):
        (a, b), C = inputs, self._C
        (M, K), N = a.shape, b.shape[1]
        if len(b) != K:
            raise self._misfit((a.shape, b.shape))
        strides_a, strides_b = [[stride // x.itemsize for stride in x.strides] for x in inputs]
        if C.matmul(M, N, K, a.ctypes.data, *strides_a, b.ctypes.data, *strides_b,
                    _output(storage[0], (M, N), a.dtype), N, 0, C.threads()):
            raise MemoryError

    def L_op(self, inputs, outputs, gradients):
        (a, b), (d,) = inputs, gradients
        # b is a transpose of weights. Its gradient is one, too, so that it has the weights' order in memory.
        return [self(d, b.T), self(d.T, a).T]


class SumsOfSquares(_KernelOp):
    """The sum of squares of each array, of any shape."""

    def make_node(self, *arrays):
        return gof.Apply(self, arrays, [tt.scalar(dtype=self.library.dtype) for _ in arrays])

    def perform(self, node, inputs, storage):
        for v, slot in zip(inputs, storage):
            v = v if v.flags.carray else v.copy()
            self._C.sum_of_squares(v.size, _address(v), _output(slot, (), v.dtype))


class TakeColumns(_KernelOp):
    """The columns `index` of U, as rows."""
    inputs, outputs = dict(U='D,V', index='int32 N'), dict(columns='N,D')

    def run(self, inputs, outputs, N, V, D):
        return self._C.take_columns(N, V, D, *inputs, *outputs, self._C.threads())

    def L_op(self, inputs, outputs, gradients):
        (U, index), (d,) = inputs, gradients
        return [AddColumns(self.library)(U, index, d), _constant(self, 1, index)]


class AddColumns(_KernelOp):
    """The gradient of TakeColumns: zeros like U, with row n of d added to column index[n]."""
    inputs, outputs = dict(U='D,V', index='int32 N', d='N,D'), dict(dU='D,V')

    def run(self, inputs, outputs, N, V, D):
        return self._C.add_columns(N, V, D, *inputs[1:], *outputs, self._C.threads())


def _pointers(addresses):
    """Return a C array of the addresses of a cell's own parameters."""
    return (ctypes.c_void_p * len(addresses))(*addresses)


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
    inputs = dict(a_x='T,B,4*H', W='4,H,H', b='4,H', h0='B,H', C0='B,H', own='H')
    outputs = dict(h='T,B,H', C='T,B,H', kept='T,B,4*H', h_end='B,H', C_end='B,H')
    may_destroy = {2: [0]}

    def run(self, inputs, outputs, T, B, H):
        return self._C.lstm_forward(T, B, H, *inputs[:5], _pointers(inputs[5:]), *outputs, self._C.threads())

    def L_op(self, inputs, outputs, gradients):
        a_x, W, b, h0, C0, *own = inputs
        h, C, kept = outputs[:3]
        if not _no_gradient(*gradients[1:]):
            raise NotImplementedError('in C, gradients flow through h of a layer, not C or the last states')
        da, dW, db, *d_own = LSTMGradient(self.library, self.truncate)(gradients[0], W, h, C, kept, h0, C0, *own)
        return [da, dW, db, _constant(self, 3, h0), _constant(self, 4, C0), *d_own]


class LSTMGradient(_LayerOp):
    """The gradients of a_x, W, b and the cell's own parameters, from dh, that of h. h0 and C0 are constants."""
    inputs = dict(dh='T,B,H', W='4,H,H', h='T,B,H', C='T,B,H', kept='T,B,4*H', h0='B,H', C0='B,H', own='H')
    outputs = dict(da_x='T,B,4*H', dW='4,H,H', db='4,H', d_own='H')
    may_destroy = {0: [4]}

    def run(self, inputs, outputs, T, B, H):
        return self._C.lstm_backward(T, B, H, self.truncate, *inputs[:7], _pointers(inputs[7:]), *outputs[:3],
                                     _pointers(outputs[3:]), self._C.threads())


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

    def run(self, inputs, outputs, N, V):
        return self._C.cross_entropy(N, V, *inputs, *outputs, self._C.threads())

    def L_op(self, inputs, outputs, gradients):
        if not _no_gradient(*gradients[1:3]):
            raise NotImplementedError('in C, gradients flow through the costs of softmax, not the probabilities')
        dcosts, dspread = [tt.zeros_like(outputs[0]) if _no_gradient(g) else g for g in (gradients[0], gradients[3])]
        dscores, dc = SoftmaxCrossEntropyGradient(self.library)(dcosts, dspread, outputs[2], inputs[2])
        return [dscores, dc, _constant(self, 2, inputs[2])]


class SoftmaxCrossEntropyGradient(_KernelOp):
    """The gradient of SoftmaxCrossEntropy, from the gradients of costs and spread."""
    inputs = dict(dcosts='N', dspread='N', probabilities='N,V', y='int32 N')
    outputs = dict(dscores='N,V', dc='V')

    def run(self, inputs, outputs, N, V):
        return self._C.cross_entropy_gradient(N, V, *inputs, *outputs)


class _Sampling(ctypes.Structure):
    """The struct `sampling` of kernel.h."""
    _fields_ = [(name, kind) for kind, names in (
        (ctypes.c_long, 'V H1 H2 B prime length'), (ctypes.c_void_p, 'U1 W1 b1 U2 W2 b2 Vw c own1 own2 bits text'),
        (ctypes.c_double, 'temperature'), (ctypes.c_long, 'top_k'), (ctypes.c_double, 'top_p'),
        (ctypes.c_void_p, 'h1 C1 h2 C2 panels1 panels2 panels3 panels4')) for name in names.split()]


class Sample(_KernelOp):
    """Continue texts character by character, without returning to Python.

    Inputs: prime, the first characters of the texts, which are not read yet; bits, a number from 0 to 2^53 - 1 for each
    character to draw, or shape (0,B) to take the most probable ones; N, the number of characters to write; choice, made
    of temperature, top_k and top_p; the states before prime; the parameters, with U1 as (V,4H1); the cell's own.
    Outputs: the texts, and the states after all characters but the last.
    """
    inputs = dict(prime='int32 M,B', bits='int64 drawn,B', N='int64 ', choice='3',
                  h1='B,H1', C1='B,H1', h2='B,H2', C2='B,H2', U1='V,4*H1', W1='4,H1,H1', b1='4,H1',
                  U2='4,H2,H1', W2='4,H2,H2', b2='4,H2', Vw='V,H2', c='V', own1_='H1', own2_='H2')
    outputs = dict(text='int32 M+N,B', h1_end='B,H1', C1_end='B,H1', h2_end='B,H2', C2_end='B,H2')

    def run(self, inputs, outputs, V, H1, H2, B, M, N, drawn):
        real = np.ctypeslib.as_ctypes_type(self.library.dtype)
        prime, bits, _, choice, *states = inputs[:8]
        temperature, top_k, top_p = (real * 3).from_address(choice)
        parameters, count = inputs[8:16], self.library.program.own
        own1, own2 = _pointers(inputs[16:16 + count]), _pointers(inputs[16 + count:])
        text, *after = outputs
        ctypes.memmove(text, prime, 4 * M * B)
        for H, state, before in zip((H1, H1, H2, H2), after, states):
            ctypes.memmove(state, before, ctypes.sizeof(real) * B * H)
        sampling = _Sampling(V, H1, H2, B, M, M + N, *parameters, ctypes.addressof(own1), ctypes.addressof(own2),
                             bits if drawn else None, text, temperature, int(top_k), top_p, *after)
        return self._C.sample(ctypes.byref(sampling), self._C.threads())


class Kernel:
    """The methods of scan.Scan in C, and sampling. cell: a Cell with a program. bfloat16: as for Library."""
    updates = {}               # of random numbers that a cell draws: none

    def __init__(self, cell, bfloat16=None):
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

    def sums_of_squares(self, arrays):
        return SumsOfSquares(self._library)(*arrays, return_list=True)

    def sample(self, prime, bits, n, choice, states, p):
        """Return the outputs of Sample for the parameters p by name."""
        return Sample(self._library)(
            prime, bits, n, choice, *states, stacked(p['U1']), *[p[name] for name in NAMES[1:]], *own_of_layer(p, 1),
            *own_of_layer(p, 2))
