"""The LSTM on the CPU: Theano Ops that call the C code of this folder.

charlstm.py composes its network from the class Kernel, at the end of this file. The class Scan, in
engine/kernel/scan.py, has the same methods with theano.scan.

Sizes: T steps, B sequences, H units, N = T*B characters, V characters in the vocabulary; "4H" is the gates f, i, o, g
side by side.
"""
import ctypes
import functools
import re
from pathlib import Path

import numpy as np

from engine.backend.bfloat16 import MACROS
from engine.backend.modules import compiled_file, load
from engine.backend.theano_setup import theano, tt
from engine.kernel.cell import c_functions
from engine.model.parameters import NAMES, own_of_layer, stacked

gof = theano.gof
DisconnectedType, disconnected_type = theano.gradient.DisconnectedType, theano.gradient.disconnected_type

HERE = Path(__file__).resolve().parent
C_FILES = {path.name: path.read_text(encoding='utf-8') for path in HERE.glob('*.[ch]')}
C_TYPES = dict(float32='float', float64='double', int32='int32_t', int64='int64_t')


@functools.lru_cache(maxsize=None)
def joined(text, cell=''):
    """Return C code with the files in place of their #include lines, also in these files; cell: C code for cell.h."""
    files = dict(C_FILES, **{'cell.h': cell})
    return re.sub('^#include "(.*)"$', lambda found: joined(files[found.group(1)], cell), text, flags=re.MULTILINE)


# ---------------------------------------------------------------- what all Ops share

class _KernelOp(gof.Op):
    """An Op that calls the kernel for one dtype, 'float32' or 'float64'.

    A subclass declares inputs and outputs, each by its name in C: dict(U='(D,V)', index='int32 (N)') are an array of
    dtype and one of int32. The letters are sizes, which C has by these names too; (...) is any shape.

        files       the C files that code needs beside vectors.c
        code        C statements that fill the outputs and set `failed` to 0, or to -1 when out of memory
        declares    C declarations for code and for the shapes of outputs
        fits        a C condition on the inputs; their shapes are checked anyway
        overwrites  name of an output to the name of the input whose memory it takes
        strided     whether code takes inputs of any strides; otherwise they are made contiguous
    """
    __props__ = ('dtype',)
    files, declares, fits, overwrites, strided = (), '', '1', {}, False

    def __init__(self, dtype):
        self.dtype = dtype

    @property
    def destroy_map(self):
        """Return overwrites by numbers, as Theano wants it."""
        inputs, outputs = list(self.inputs), list(self.outputs)
        return {outputs.index(output): [inputs.index(name)] for output, name in self.overwrites.items()}

    def _arrays(self, declared):
        """Yield name, dtype and shape, a list of sizes or None for any, of the declared inputs or outputs."""
        for name, text in declared.items():
            dtype, shape = text.rstrip(')').split('(')
            yield name, dtype.strip() or self.dtype, None if shape == '...' else shape.split(',') if shape else []

    def make_node(self, *inputs):
        """Raise TypeError for an input of another dtype or number of dimensions than declared."""
        inputs = [tt.as_tensor_variable(v) for v in inputs]
        for v, (name, dtype, shape) in zip(inputs, self._arrays(self.inputs)):
            if v.dtype != dtype or shape is not None and len(shape) != v.ndim:
                raise TypeError(f'{type(self).__name__}: {name} is {v.dtype} with {v.ndim} dimensions; '
                                f'expected {dtype} {self.inputs[name]}')
        outputs = [tt.TensorType(dtype, [False] * len(shape))() for _, dtype, shape in self._arrays(self.outputs)]
        return gof.Apply(self, inputs, outputs)

    def infer_shape(self, node, shapes):
        sizes = {}
        for (_, _, letters), values in zip(self._arrays(self.inputs), shapes):
            sizes.update(zip(letters or [], values))       # '4*H' among the letters does no harm
        return [tuple(eval(size, {}, sizes) for size in shape) for _, _, shape in self._arrays(self.outputs)]

    # ---- C

    def make_thunk(self, node, storage_map, compute_map, no_recycling, impl=None):
        """Return what Theano runs, in all its modes: C, as there is no other code."""
        return super().make_thunk(node, storage_map, compute_map, no_recycling, 'c')

    def _macros(self):
        return []

    def _cell(self):
        return ''

    def _source(self, text):
        """Return C code with what it includes."""
        macros = [f'REAL {C_TYPES[self.dtype]}', *self._macros()]
        return joined(''.join(f'#define {macro}\n' for macro in macros) + text, self._cell())

    def library(self):
        """Return the path of the library with this Op's `op`, of call.h, and the C files that it needs."""
        objects = [compiled_file(name, self._source(f'#include "{name}"\n')) for name in ('vectors.c', *self.files)]
        return compiled_file(type(self).__name__, self._source(self._operation()), objects)

    def compiled_files(self):
        """Return the paths of what make_c_thunk loads."""
        return [self.library(), compiled_file('call', joined(C_FILES['call.c']), (), python=True)]

    def _operation(self):
        """Return `op`, the function of call.h: C that checks the inputs, gives the outputs shapes, and runs `code`."""
        sizes, fits, pointers = {}, [self.fits], []
        for k, (name, dtype, shape) in enumerate(self._arrays(self.inputs)):
            pointers.append(f'const {C_TYPES[dtype]} *{name} = (const {C_TYPES[dtype]} *)in[{k}].data;')
            for axis, size in enumerate(shape or []):
                found = f'in[{k}].shape[{axis}]'
                if size.isidentifier() and size not in sizes:
                    sizes[size] = f'const long {size} = {found};'
                else:
                    fits.append(f'{found} == {size}')
        shapes, filled = [], []
        for k, (name, dtype, shape) in enumerate(self._arrays(self.outputs)):
            shapes += [f'out[{k}].shape[{axis}] = {size};' for axis, size in enumerate(shape)]
            filled.append(f'{C_TYPES[dtype]} *{name} = ({C_TYPES[dtype]} *)out[{k}].data;')
        return f'''
            #include "call.h"
            #include "kernel.h"
            #ifdef __cplusplus
            extern "C"
            #endif
            __attribute__((visibility("default"))) int op(int run, const array *in, array *out)
            {{
                {' '.join(pointers)}
                {' '.join(sizes.values())}
                {self.declares}
                int failed;
                if (!run) {{
                    if (!({' && '.join(fits)})) return 1;
                    {' '.join(shapes)}
                    return 0;
                }}
                {' '.join(filled)}
                {self.code}
                return failed;
            }}'''.replace('\n            ', '\n')

    def make_c_thunk(self, node, storage_map, compute_map, no_recycling):
        """Return what Theano runs: a function that calls `op` with the arrays in Theano's storage."""
        library, call = [load(path) for path in self.compiled_files()]
        inputs = [(storage_map[v], np.dtype(dtype).num, -1 if shape is None else len(shape), self.strided)
                  for v, (_, dtype, shape) in zip(node.inputs, self._arrays(self.inputs))]
        outputs = [(storage_map[v], np.dtype(dtype).num, len(shape), self.destroy_map.get(k, [-1])[0])
                   for k, (v, (_, dtype, shape)) in enumerate(zip(node.outputs, self._arrays(self.outputs)))]
        expected = ', '.join(f'{name} {text}' for name, text in self.inputs.items())
        capsule = call.make(ctypes.cast(library.op, ctypes.c_void_p).value, f'{type(self).__name__}: shapes or values '
                            f'of its inputs do not fit: expected {expected}', [None] * 3, inputs, outputs)

        def thunk():
            call.run(capsule)
            for output in node.outputs:
                compute_map[output][0] = True

        thunk.cthunk, thunk.lazy = capsule, False
        thunk.inputs, thunk.outputs = [[storage_map[v] for v in variables] for variables in (node.inputs, node.outputs)]
        return thunk


def _no_gradient(output_gradients):
    """Return whether all gradients are of DisconnectedType, which stands for zeros."""
    return all(isinstance(g.type, DisconnectedType) for g in output_gradients)


# ---------------------------------------------------------------- products and the embedding

class _ProductOp(_KernelOp):
    """An Op with products. bfloat16: None, or a key of MACROS: what multiplies operands that are rounded to it."""
    __props__ = ('dtype', 'bfloat16')

    def __init__(self, dtype, bfloat16=None):
        super().__init__(dtype)
        self.bfloat16 = bfloat16

    def _macros(self):
        return ['PER_WORD 2', *MACROS[self.bfloat16]] if self.bfloat16 else []


class Product(_ProductOp):
    """The matrix product of a and b, each of any strides."""
    inputs, outputs = dict(a='(M,K)', b='(K,N)'), dict(ab='(M,N)')
    files, strided = ('products.c',), True
    code = '''failed = matmul(M, N, K, a, in[0].stride[0], in[0].stride[1], b, in[1].stride[0], in[1].stride[1],
                             ab, N, 0, threads());'''

    def L_op(self, inputs, outputs, gradients):
        (a, b), (d,) = inputs, gradients
        # b is the transpose of weights, so its gradient is computed as a transpose, too: it then lies in memory in the
        # order of the weights, in which their update reads it.
        return [self(d, b.T), self(d.T, a).T]


class SumOfSquares(_KernelOp):
    """The sum of the squares of all numbers in v."""
    inputs, outputs = dict(v='(...)'), dict(total='()')
    code = 'failed = sum_of_squares(in[0].size, v, total);'


class TakeColumns(_KernelOp):
    """The columns `index` of U, one a row."""
    inputs, outputs = dict(U='(D,V)', index='int32 (N)'), dict(columns='(N,D)')
    files, fits = ('embedding.c',), 'all_below(V, N, index)'
    code = 'failed = take_columns(N, V, D, U, index, columns, threads());'

    def L_op(self, inputs, outputs, gradients):
        (U, index), (d,) = inputs, gradients
        return [AddColumns(self.dtype)(U, index, d), disconnected_type()]

    def connection_pattern(self, node):
        return [[True], [False]]


class AddColumns(_KernelOp):
    """The gradient of TakeColumns: row n of d added to column index[n] of zeros like U."""
    inputs, outputs = dict(U='(D,V)', index='int32 (N)', d='(N,D)'), dict(dU='(D,V)')
    files, fits = ('embedding.c',), 'all_below(V, N, index)'
    code = 'failed = add_columns(N, V, D, index, d, dU, threads());'


# ---------------------------------------------------------------- the layer

class _CellOp(_ProductOp):
    """An Op with a cell: program, a cell.Program.

    The cell's own parameters are inputs after those that a subclass declares. own: for each layer, the
    name in C of an array of them, to the layer's H.
    """
    __props__ = ('dtype', 'program', 'bfloat16')
    own = dict(own='H')

    def __init__(self, dtype, program, bfloat16=None):
        super().__init__(dtype, bfloat16)
        self.program = program
        for array, H in self.own.items():
            names = [f'{array}_{k}' for k in range(program.own)]
            self.inputs = dict(self.inputs, **dict.fromkeys(names, f'({H})'))
            self.declares += f' const REAL *{array}[] = {{{", ".join(names + ["NULL"])}}};'

    def _cell(self):
        return c_functions(self.program)


class _LayerOp(_CellOp):
    """An Op of a layer, forward or backward.

    truncate: the gradient flows through the last `truncate` steps, -1: all. in_place: whether an output overwrites an
    input, as may_overwrite says. Theano does this only where nothing else needs that input.
    """
    __props__ = ('dtype', 'program', 'truncate', 'in_place', 'bfloat16')
    files = ('sampling.c',)

    def __init__(self, dtype, program, truncate=-1, in_place=False, bfloat16=None):
        super().__init__(dtype, program, bfloat16)
        self.truncate, self.in_place, self.overwrites = truncate, in_place, self.may_overwrite if in_place else {}


class LSTM(_LayerOp):
    """A layer over whole sequences.

    Inputs: the input's share a_x of the pre-activations; weights W and bias b; the states h0, C0 before the first step;
    the cell's own parameters, (H,) each.
    Outputs: the states h, C after each step; what the gradient needs of the forward pass, kept; the states h_end, C_end
    after the last step. These are copies: a compiled function hands the memory of its results to the caller, and with
    views that would be the memory of all steps.
    The gradient flows from h to a_x, W, b and the cell's own parameters only; h0 and C0 are constants.
    """
    inputs = dict(a_x='(T,B,4*H)', W='(4,H,H)', b='(4,H)', h0='(B,H)', C0='(B,H)')
    outputs = dict(h='(T,B,H)', C='(T,B,H)', kept='(T,B,4*H)', h_end='(B,H)', C_end='(B,H)')
    may_overwrite = dict(kept='a_x')
    code = 'failed = lstm_forward(T, B, H, a_x, W, b, h0, C0, own, h, C, kept, h_end, C_end, threads());'

    def connection_pattern(self, node):
        inputs = [True] * 3 + [False] * 2 + [True] * self.program.own
        return [[connected] * 3 + [False] * 2 for connected in inputs]

    def L_op(self, inputs, outputs, gradients):
        a_x, W, b, h0, C0, *own = inputs
        h, C, kept = outputs[:3]
        if not _no_gradient(gradients[1:]):
            raise NotImplementedError('in C, a layer has a gradient through h, but none through C or the last states')
        da, dW, db, *d_own = LSTMGradient(self.dtype, self.program, self.truncate, bfloat16=self.bfloat16)(
            gradients[0], W, h, C, kept, h0, C0, *own)
        return [da, dW, db, disconnected_type(), disconnected_type(), *d_own]


class LSTMGradient(_LayerOp):
    """The gradient of LSTM, from the gradient dh on h and from inputs and outputs of LSTM.

    After its outputs follow the gradients of the cell's own parameters, (H,) each.
    """
    inputs = dict(dh='(T,B,H)', W='(4,H,H)', h='(T,B,H)', C='(T,B,H)', kept='(T,B,4*H)', h0='(B,H)', C0='(B,H)')
    outputs = dict(da_x='(T,B,4*H)', dW='(4,H,H)', db='(4,H)')
    may_overwrite = dict(da_x='kept')

    def __init__(self, dtype, program, truncate=-1, in_place=False, bfloat16=None):
        super().__init__(dtype, program, truncate, in_place, bfloat16)
        names = [f'd_own_{k}' for k in range(program.own)]
        self.outputs = dict(self.outputs, **dict.fromkeys(names, '(H)'))
        self.code = f'''
            REAL *d_own[] = {{{", ".join(names + ["NULL"])}}};
            failed = lstm_backward(T, B, H, {truncate}, dh, W, h, C, kept, h0, C0, own, da_x, dW, db, d_own,
                                   threads());'''


@gof.local_optimizer([LSTM, LSTMGradient], inplace=True)
def _in_place(node):
    """Return the outputs of the same Op in place; Theano undoes this where something else needs the input."""
    if isinstance(node.op, _LayerOp) and not node.op.in_place:
        op = type(node.op)(node.op.dtype, node.op.program, node.op.truncate, True, node.op.bfloat16)
        return op(*node.inputs, return_list=True)


# After everything that changes the graph (up to 50), before Theano's elementwise operations in place (75).
# Registered only once, even if this module is loaded twice.
if 'charlstm_in_place' not in theano.compile.optdb.__db__:
    theano.compile.optdb.register('charlstm_in_place', gof.TopoOptimizer(
        _in_place, failure_callback=gof.TopoOptimizer.warn_inplace), 70, 'fast_run', 'inplace')


# ---------------------------------------------------------------- softmax with its cost

class SoftmaxCrossEntropy(_KernelOp):
    """Costs -log p[y], in nats, with p = softmax(scores + c); the most probable characters; p; the means of -log p."""
    inputs = dict(scores='(N,V)', c='(V)', y='int32 (N)')
    outputs = dict(costs='(N)', best='int32 (N)', probabilities='(N,V)', spread='(N)')
    files, fits = ('softmax.c',), 'all_below(V, N, y)'
    code = 'failed = cross_entropy(N, V, scores, c, y, costs, best, probabilities, spread, threads());'

    def connection_pattern(self, node):
        return [[True, False, True, True], [True, False, True, True], [False] * 4]

    def L_op(self, inputs, outputs, gradients):
        if not _no_gradient(gradients[1:3]):
            raise NotImplementedError('in C, softmax has a gradient through the costs, but none through probabilities')
        dcosts = tt.zeros_like(outputs[0]) if _no_gradient(gradients[:1]) else gradients[0]
        more = [g for g in gradients[3:] if not _no_gradient([g])]
        dscores, dc = SoftmaxCrossEntropyGradient(self.dtype, bool(more))(dcosts, outputs[2], inputs[2], *more)
        return [dscores, dc, disconnected_type()]


class SoftmaxCrossEntropyGradient(_KernelOp):
    """The gradient of SoftmaxCrossEntropy, from the gradient on the costs and, with smoothing, on spread."""
    __props__ = ('dtype', 'smoothing')
    inputs = dict(dcosts='(N)', probabilities='(N,V)', y='int32 (N)')
    outputs = dict(dscores='(N,V)', dc='(V)')
    files, fits = ('softmax.c',), 'all_below(V, N, y)'

    def __init__(self, dtype, smoothing=False):
        super().__init__(dtype)
        self.smoothing, dspread = smoothing, 'dspread' if smoothing else 'NULL'
        self.inputs = dict(self.inputs, **dict(dspread='(N)') if smoothing else {})
        self.code = f'failed = cross_entropy_gradient(N, V, dcosts, {dspread}, probabilities, y, dscores, dc);'


# ---------------------------------------------------------------- sampling

class Sample(_CellOp):
    """Continuations of texts, character after character without a return to Python.

    Inputs: prime, the first characters of the texts, none of which has been read; bits, a number from 0 to 2^53 - 1
    for each character to draw, or of shape (0,B) to take the most probable ones; n, how many characters follow; choice,
    which is temperature, top_k and top_p; the states before prime; the eight parameters, U1 as (V,4H1); the cell's
    own, of layer 1, then of layer 2.
    Outputs: the texts, and the states after all characters but the last.
    """
    own = dict(own1='H1', own2='H2')
    inputs = dict(prime='int32 (M,B)', bits='int64 (drawn,B)', n='int64 ()', choice='(3)',
                  h1='(B,H1)', C1='(B,H1)', h2='(B,H2)', C2='(B,H2)', U1='(V,4*H1)', W1='(4,H1,H1)', b1='(4,H1)',
                  U2='(4,H2,H1)', W2='(4,H2,H2)', b2='(4,H2)', Vw='(V,H2)', c='(V)')
    outputs = dict(text='int32 (M+N,B)', h1_end='(B,H1)', C1_end='(B,H1)', h2_end='(B,H2)', C2_end='(B,H2)')
    files = ('sampling.c',)
    declares = 'const long N = (long)*n;'
    fits = 'M > 0 && N >= 0 && (drawn == N || drawn == 0) && all_below(V, M * B, prime)'
    code = '''
        memcpy(text, prime, M * B * sizeof *text);
        memcpy(h1_end, h1, B * H1 * sizeof *h1);
        memcpy(C1_end, C1, B * H1 * sizeof *C1);
        memcpy(h2_end, h2, B * H2 * sizeof *h2);
        memcpy(C2_end, C2, B * H2 * sizeof *C2);
        sampling p;
        p.V = V, p.H1 = H1, p.H2 = H2, p.B = B, p.prime = M, p.length = M + N;
        p.U1 = U1, p.W1 = W1, p.b1 = b1, p.own1 = own1;
        p.U2 = U2, p.W2 = W2, p.b2 = b2, p.own2 = own2;
        p.Vw = Vw, p.c = c;
        p.bits = drawn ? bits : NULL, p.text = text;
        p.temperature = choice[0], p.top_k = (long)choice[1], p.top_p = choice[2];
        p.h1 = h1_end, p.C1 = C1_end, p.h2 = h2_end, p.C2 = C2_end;
        failed = sample(&p, threads());'''

    def infer_shape(self, node, shapes):
        raise tt.basic.ShapeError('the length of the texts is a value, n, and follows from no shape')


# ---------------------------------------------------------------- what charlstm.py composes its network from

class Kernel:
    """The five operations of which the network is made, with the methods of scan.Scan but in C, and sampling."""
    updates = {}               # of random numbers that a cell draws: none

    def __init__(self, cell, bfloat16=None):
        """Take a cell.Cell that has a program. bfloat16: as for _ProductOp."""
        self._program, self._bfloat16 = cell.program, bfloat16

    @staticmethod
    def columns(U, x):
        return TakeColumns(U.dtype)(U.reshape((-1, U.shape[2])), x)

    def product(self, a, B):
        return Product(a.dtype, self._bfloat16)(a, B)

    def layer(self, a_x, W, b, own, state, truncate):
        h, C, _, h_end, C_end = LSTM(a_x.dtype, self._program, truncate, bfloat16=self._bfloat16)(
            a_x, W, b, *state, *own)
        return h, C, (h_end, C_end)

    @staticmethod
    def cross_entropy(scores, c, y):
        costs, best, p, spread = SoftmaxCrossEntropy(scores.dtype)(scores, c, y.flatten())
        return costs.reshape(y.shape), best.reshape(y.shape), p, spread.reshape(y.shape)

    @staticmethod
    def sum_of_squares(v):
        return SumOfSquares(v.dtype)(v)

    def sample(self, prime, bits, n, choice, states, p):
        """Return the outputs of Sample for the parameters p by name."""
        U1 = stacked(p['U1'])                                                     # (V, 4H1)
        return Sample(U1.dtype, self._program, self._bfloat16)(
            prime, bits, n, choice, *states, U1, *[p[name] for name in NAMES[1:]],
            *own_of_layer(p, 1), *own_of_layer(p, 2))
