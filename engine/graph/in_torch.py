"""Compute Theano's graphs on a device by PyTorch: the same graphs as on a CPU, node by node, on tensors.

Values of a graph are tensors on the device or, such as sizes, arrays of NumPy. What reads only these is Theano's own.
Only --device imports this module.
"""
import contextlib
import ctypes
import functools
import itertools
import math
import operator
import os
import re
import types

import numpy as np

from engine.backend.theano_setup import theano, tt
from engine.graph import in_numpy, ops
from engine.graph.cell import cell_p_places, inputs_of, places
from engine.graph.elementwise import CHANGES, random_streams
from engine.graph.formula import OPERATIONS, PRODUCTS
from engine.terminal import warn

os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')            # with it, products have the same bits each time
# On a CPU, torch.lstm has thousands of small loops, between which threads should spin, and PyTorch allocates its arrays
# anew in each step, which costs a third of it in page faults unless malloc keeps its memory.
if os.environ.get('GOMP_SPINCOUNT') == '1000':             # as theano_setup.py sets it; read when PyTorch is loaded
    os.environ['GOMP_SPINCOUNT'] = '100000'
with contextlib.suppress(AttributeError, TypeError):       # not in glibc
    ctypes.CDLL(None).mallopt(-1, 2 ** 30)                 # M_TRIM_THRESHOLD
    ctypes.CDLL(None).mallopt(-3, 2 ** 25)                 # M_MMAP_THRESHOLD, at its largest
import torch  # noqa: E402

torch.backends.cudnn.deterministic = True

gof, subtensor = theano.gof, tt.subtensor


# ---------------------------------------------------------------- devices, and variables on them

def device_of(name):
    """Return a device of PyTorch by its name, such as cuda:1, or torch:cpu. Raise ValueError if it is not there."""
    try:
        device = torch.device(str(name).removeprefix('torch:'))
        torch.zeros(1, device=device).cpu()
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        there = [f'cuda:{k} ({torch.cuda.get_device_name(k)})' for k in range(torch.cuda.device_count())]
        raise ValueError(f'the device {name} is not there ({re.split("[,(]|$", str(error), flags=re.M)[0]}): expected '
                         f'one of {", ".join([*there, "torch:cpu", "cpu"])}') from None
    return device


def described(name):
    """Return the name of a device and of its processor."""
    processor = f' ({torch.cuda.get_device_name(device_of(name))})' if name.startswith('cuda') else ''
    return f'{name}{processor}, by PyTorch {torch.__version__}'


class OnDevice(tt.sharedvar.TensorSharedVariable):
    """A shared variable whose value is a tensor, which stays the same when a value of the same shape is set."""
    tensor = None

    def get_value(self, borrow=False, return_internal_type=False):
        return self.tensor.cpu().numpy().copy()

    def set_value(self, value, borrow=False):
        CHANGES[0] += 1
        value = torch.from_numpy(np.array(value, self.dtype))
        if self.tensor.shape == value.shape:
            self.tensor.copy_(value)
        else:
            self.tensor = value.to(self.tensor.device)

    def __reduce__(self):
        return shared, (self.get_value(), self.name, self.of)


def shared(array, name, device):
    """Return an OnDevice with the values of an array. device: its name."""
    array = np.asarray(array)
    found = OnDevice(name, tt.TensorType(array.dtype, array.ndim * [False]), np.empty(array.ndim * (0,), array.dtype),
                     strict=False)
    found.container.storage[0] = None                      # a user's own function of it fails; it would read no tensor
    found.of, found.tensor = device, torch.from_numpy(array.copy()).to(device_of(device))
    return found


# ---------------------------------------------------------------- elementwise operations

def of_tensors(function):
    """Return a function of tensors that may also get numbers, but not numbers alone."""
    def called(*arguments):
        like = next(v for v in arguments if isinstance(v, torch.Tensor))
        return function(*[v if isinstance(v, torch.Tensor) else torch.full((), v, device=like.device, dtype=(
            like.dtype if isinstance(v, float) else None)) for v in arguments])            # () promotes no type
    return called


# By name of Theano's scalar operation, for tensors and numbers. Others have the name of their function in formula.py.
FUNCTIONS = {
    'Add': operator.add, 'Sub': operator.sub, 'Mul': operator.mul, 'TrueDiv': operator.truediv, 'Neg': operator.neg,
    'LT': operator.lt, 'GT': operator.gt, 'LE': operator.le, 'GE': operator.ge, 'EQ': operator.eq, 'NEQ': operator.ne,
    'AND': operator.mul, 'Pow': operator.pow, 'Sqr': torch.square, 'Inv': torch.reciprocal, 'Invert': operator.invert,
    'Identity': lambda x: x, 'Cast': lambda x: x, 'Second': of_tensors(lambda x, y: torch.broadcast_tensors(x, y)[1]),
    'Minimum': of_tensors(torch.minimum), 'Maximum': of_tensors(torch.maximum), 'OR': of_tensors(torch.maximum),
    'Switch': of_tensors(lambda which, yes, no: torch.where(which != 0, yes, no)),
    'Clip': of_tensors(lambda x, low, high: torch.where(x < low, low, torch.where(x > high, high, x))),
    'Abs': lambda x: x if x.dtype == torch.bool else x.abs(),
    'ScalarSoftplus': lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    'Sum': lambda x: x.sum(dim=-1, keepdim=True), 'Max': lambda x: x.amax(dim=-1, keepdim=True),
    'Dot': torch.matmul, 'DotT': lambda x, M: torch.matmul(x, M.t())}


def function_of(name):
    """Return a function of tensors for a scalar operation, or None."""
    named = OPERATIONS.get(name, ('', None))[1]
    return FUNCTIONS.get(name) or getattr(torch, getattr(named, '__name__', ''), None)


def elementwise(op, dtype, arguments):
    """Return the result of an Elemwise, which is not fused with others, on tensors and numbers. dtype: its type."""
    name, function = type(op.scalar_op).__name__, function_of(type(op.scalar_op).__name__)
    if dtype.is_floating_point:                            # functions of integers are computed in the result's type
        arguments = [v.to(dtype) if isinstance(v, torch.Tensor) else v for v in arguments]
    else:
        function = {'AND': operator.and_, 'OR': operator.or_}.get(name, function)
    if name in ('Add', 'Mul'):                             # of any number of arguments; + of bools is or
        return functools.reduce(operator.or_ if dtype == torch.bool and name == 'Add' else function, arguments)
    return function(*arguments).to(dtype)


def full(value, like):
    """Return a tensor or a number in the shape of another tensor."""
    return value.expand_as(like) if isinstance(value, torch.Tensor) else torch.full_like(like, value)


class Lines:
    """Code of formula.py as a function of tensors: from values by name, first of a (B,H) one, to the outputs (B,H)."""

    def __init__(self, code):
        self._code = [(name, operation, function_of(operation), arguments) for name, operation, arguments in code.lines]
        self._outputs = code.outputs

    def __call__(self, values):
        values, like = dict(values), next(iter(values.values()))
        for name, operation, function, arguments in self._code:
            read = [values.get(v, v) for v in arguments]
            if operation in PRODUCTS:
                read[0] = full(read[0], like)
            if operation == 'Units':
                values[name] = float(like.shape[1])
            elif any(isinstance(v, torch.Tensor) for v in read):
                values[name] = function(*read).to(like.dtype)          # comparisons become numbers
            else:
                values[name] = float(OPERATIONS[operation][1](*read))
        return [full(values.get(v, v), like) for v in self._outputs]


# ---------------------------------------------------------------- a layer

class Layer:
    """A layer over whole sequences and its gradient, as in ops.py, on tensors. cell: a Cell."""

    def __init__(self, cell, device):
        self.counts = cell.counts
        step = DeviceProgramStep(cell.program) if cell.program else DeviceTheanoStep(cell, device)
        self._forward, self._backward = step.forward, step.backward
        if device.type == 'cuda' and cell.program:
            self._forward, self._backward = [in_one_kernel(each, f'cell {cell.name}') for each in (
                step.forward, step.backward)]

    def forward(self, op, a_x, W, b, h, C, *cell_p):
        """Return h and C of all steps, kept, and h and C after the last step. kept: lists of tensors for each step."""
        counts, (T, B, H) = self.counts, (*a_x.shape[:2], b.shape[1])
        first, of_h, all_h, all_C, all_kept = counts.b - counts.W, W.reshape(counts.W * H, H).t(), [], [], []
        of_x = a_x.reshape(T, B, counts.U, H) + b[:counts.U]
        for t in range(T):
            sums = torch.matmul(h, of_h).reshape(B, counts.W, H)
            rows = [of_x[t, :, k] if k < first else sums[:, k - first] + (of_x[t, :, k] if k < counts.U else b[k])
                    for k in range(counts.b)]
            h, after, kept = self._forward(rows, C.split(H, dim=1), cell_p)
            C = torch.cat(after, dim=1)
            all_h.append(h), all_C.append(C), all_kept.append(kept)
        return torch.stack(all_h), torch.stack(all_C), all_kept, h, C

    def backward(self, op, dh, W, h, C, kept, h0, C0, *cell_p):
        """Return da (T,B,bH), dW, db, dC0 and the gradients of cell_p."""
        counts, (T, B, H) = self.counts, dh.shape
        begin = 0 if op.truncate < 0 or op.truncate > T else T - op.truncate
        first, of_h = (counts.b - counts.W) * H, W.reshape(counts.W * H, H)
        da, d_cell_p = [dh.new_zeros(B, counts.b * H)] * T, [torch.zeros_like(v) for v in cell_p]
        dh_next, dC = torch.zeros_like(h0), [torch.zeros_like(v) for v in C0.split(H, dim=1)]
        for t in reversed(range(begin, T)):
            before, after = (C[t - 1] if t else C0).split(H, dim=1), C[t].split(H, dim=1)
            rows, dC, now = self._backward(kept[t], before, after, cell_p, dh[t] + dh_next, dC)
            da[t], d_cell_p = torch.cat(rows, dim=1), [total + d for total, d in zip(d_cell_p, now)]
            dh_next = torch.matmul(da[t][:, first:], of_h)
        da, h_before = torch.stack(da), torch.cat([h0[None], h[:-1]])
        dW = torch.matmul(da[:, :, first:].reshape(T * B, -1).t(), h_before.reshape(T * B, H))
        dC0 = torch.zeros_like(C0) if begin else torch.cat(dC, dim=1)
        return da, dW.reshape(W.shape), da.sum(dim=(0, 1)).reshape(counts.b, H), dC0, *d_cell_p


class DeviceProgramStep:
    """A step of a cell with a program, and its gradient."""

    def __init__(self, program):
        self._program, self._counts = program, program.counts
        self._lines = Lines(program.forward), Lines(program.backward)

    def forward(self, a, before, cell_p):
        """Return h (B,H), the states after the step, and what the gradient needs of it, a list each."""
        S = self._counts.S
        h, *others = self._lines[0](dict(zip(inputs_of(self._counts), [*a, *before, *cell_p])))
        return h, others[:S], others[S:]

    def backward(self, kept, before, after, cell_p, dh, d_after):
        """Return the gradients of the rows, of the states before the step, and of cell_p, a list each."""
        (b, _, _, S, n, M), pairs = self._counts, self._program.pairs
        names = ['dh', *places('kept', self._program.kept), *places('before', S), *places('after', S),
                 *cell_p_places(self._counts), *places('d_after', S)]
        found = self._lines[1](dict(zip(names, [dh, *kept, *before, *after, *cell_p, *d_after])))
        vectors, d_before, d_cell_p = found[:b + self._program.factors], found[-n - S:][:S], found[len(found) - n:]
        d_matrices = [sum([torch.matmul(vectors[v].t(), vectors[g]) for m, v, g in pairs if m == k],
                          start=torch.zeros_like(cell_p[n + k])) for k in range(M)]
        return vectors[:b], d_before, [v.sum(dim=0) for v in d_cell_p] + d_matrices


class DeviceTheanoStep:
    """The same for a cell without a program, by Theano's graphs of one step."""

    def __init__(self, cell, device):
        self._step = in_numpy.TheanoStep(cell, lambda inputs, _, outputs: Graph(inputs, outputs, cell, device))

    def forward(self, a, before, cell_p):
        h, *after = self._step.step(*a, *before, *cell_p)
        return h, after, a

    def backward(self, kept, before, after, cell_p, dh, d_after):
        found, n = self._step.gradient(*kept, *before, *cell_p, dh, *d_after), len(kept)
        d_cell_p = [d[0] if v.ndim == 1 else d for v, d in zip(cell_p, found[n + len(before):])]
        return found[:n], found[n:n + len(before)], d_cell_p


NUMBERS = itertools.count()


def in_one_kernel(function, name):
    """Return a method compiled by PyTorch or, if that fails when it is called, as it is."""
    # PyTorch compiles the same code object at most eight times; each model has one of its own.
    code = function.__code__.replace(co_name=f'{function.__name__}_{next(NUMBERS)}')
    made = torch.compile(types.MethodType(types.FunctionType(code, function.__globals__), function.__self__))

    def called(*arguments):
        nonlocal made
        try:
            return made(*arguments)
        except Exception as error:                         # PyTorch raises all kinds, as without a compiler
            if made is function or isinstance(error, torch.OutOfMemoryError) or (
                    torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()):
                raise
            warn(f'PyTorch cannot compile the {name} ({type(error).__name__}): it runs operation by operation')
            made = function
            return made(*arguments)
    return called


# ---------------------------------------------------------------- operations of graphs, to lists of results

def whole_layer(op, *inputs):
    inputs = [v.detach().requires_grad_(v.is_floating_point()) for v in inputs]
    with torch.enable_grad():
        x, *U, W, b, h0, C0 = inputs
        n, (B, H) = b.numel(), h0.shape
        U = U[0] if U else torch.eye(n, dtype=x.dtype, device=x.device)
        if x.ndim == 1:
            x = h0.new_zeros(len(x), U.shape[1]).scatter_(1, x[:, None].long(), 1)
        # The rows f, i, o, g in the order i, f, g, o, and all in one array with a second bias, as cuDNN has them.
        parts = [v.reshape(2, 2, -1).flip(1).flatten() for v in (U, W, b)] + [h0.new_zeros(n)]
        U, W, *biases = torch.cat(parts).split([len(v) for v in parts])
        x, states = x.reshape(-1, B, len(U) // n), (h0[None], C0[None])
        settings = [U.reshape(n, -1), W.reshape(n, H), *biases], True, 1, 0.0, True, False, False
        begin = max(0, len(x) - op.truncate) if op.truncate > 0 else 0
        if begin:
            with torch.no_grad():
                early, *states = torch.lstm(x[:begin], states, *settings)
        h, _, C = torch.lstm(x[begin:], states, *settings)
        learned, found = [v for v in inputs if v.requires_grad], [torch.cat([early, h]) if begin else h, C[0]]
    gradient = functools.partial(torch.autograd.grad, found, learned, allow_unused=True, materialize_grads=True)
    return [v.detach() for v in found] + [gradient]


def of_columns(op, U, index, d):
    """Return zeros like U with the rows of d added to its columns, by a product: sums in any order would differ."""
    one_hot = torch.zeros(len(index), U.shape[1], dtype=d.dtype, device=d.device)
    return [torch.matmul(d.t(), one_hot.scatter_(1, index[:, None].long(), 1))]


def cross_entropy(op, scores, c, y):
    logs = torch.log_softmax(scores + c, dim=1)
    costs = -logs.gather(1, y[:, None].long())[:, 0]
    return [costs, logs.argmax(dim=1).to(torch.int32), logs.exp(), -logs.mean(dim=1)]


def cross_entropy_gradient(op, dcosts, dspread, p, y):
    right = torch.zeros_like(p).scatter_(1, y[:, None].long(), 1)
    dscores = dcosts[:, None] * (p - right) + dspread[:, None] * (p - 1 / p.shape[1])
    return [dscores, dscores.sum(dim=0)]


def dimshuffle(op, x):
    kept = [k for k in op.new_order if k != 'x']
    dropped = [k for k in range(x.ndim) if k not in kept]              # axes of one number
    return [x.permute(kept + dropped).reshape([1 if k == 'x' else x.shape[k] for k in op.new_order])]


def indexed(op, arguments):
    """Return the index of a Subtensor or IncSubtensor."""
    index = subtensor.get_idx_list((None, *map(int, arguments)), op.idx_list)
    if any(isinstance(each, slice) and (each.step or 1) < 0 for each in index):
        raise NotImplementedError                          # in PyTorch
    return index


def increased(op, x, y, *index):
    x = x.clone()
    part = x[indexed(op, index)]                           # a view
    part.copy_(y if op.set_instead_of_inc else part + y)
    return [x]


def total(op, x):
    axes = tuple(range(x.ndim)) if op.axis is None else op.axis
    return [(x.sum(dim=axes) if axes else x).to(getattr(torch, op.dtype or str(x.dtype).removeprefix('torch.')))]


OPERATIONS_OF_GRAPHS = {
    tt.elemwise.DimShuffle: dimshuffle, tt.Reshape: lambda op, x, shape: [x.reshape(shape.tolist())],
    theano.compile.ops.Shape_i: lambda op, x: [np.array(x.shape[op.i])],
    theano.compile.ops.Shape: lambda op, x: [np.array(x.shape)],
    theano.compile.ops.Rebroadcast: lambda op, x: [x], tt.Dot: lambda op, a, b: [torch.matmul(a, b)],
    subtensor.Subtensor: lambda op, x, *index: [x[indexed(op, index)]], subtensor.IncSubtensor: increased,
    subtensor.AdvancedSubtensor1: lambda op, x, index: [x[torch.as_tensor(index).long()]],
    tt.Split: lambda op, x, axis, sizes: x.split(sizes.tolist(), dim=int(axis)),
    tt.Join: lambda op, axis, *parts: [torch.cat(parts, dim=int(axis))],
    tt.Sum: total, tt.Alloc: lambda op, value, *shape: [value.expand(*map(int, shape)).clone()],
    tt.nnet.LogSoftmax: lambda op, x: [torch.log_softmax(x, dim=1)],
    tt.nnet.Softmax: lambda op, x: [torch.softmax(x, dim=1)],
    tt.nnet.SoftmaxGrad: lambda op, d, p: [p * (d - (d * p).sum(dim=1, keepdim=True))],
    ops.Product: lambda op, a, b: [torch.matmul(a, b)],
    ops.WholeLayer: whole_layer, ops.WholeLayerGradient: lambda op, gradient, dh, dC, *_: gradient([dh, dC]),
    ops.SumsOfSquares: lambda op, *arrays: [torch.square(x).sum() for x in arrays],
    ops.TakeColumns: lambda op, U, index: [U.t()[index.long()]], ops.AddColumns: of_columns,
    ops.SoftmaxCrossEntropy: cross_entropy, ops.SoftmaxCrossEntropyGradient: cross_entropy_gradient}


# Which arguments are sizes or indices, and stay arrays.
SIZE_ARGUMENTS = {tt.Join: [0], subtensor.IncSubtensor: range(2, 99), **dict.fromkeys(
    (tt.Reshape, tt.Split, tt.Alloc, subtensor.Subtensor), range(1, 99))}


class Graph:
    """A graph of Theano, simplified, as a function of tensors and arrays to tensors. cell: the model's Cell.

    copied: whether a call made a tensor of an array.
    """
    named = set()                                          # operations that were named in a warning

    def __init__(self, inputs, outputs, cell, device):
        self.device, layer = device, Layer(cell, device)
        self._kinds = {**OPERATIONS_OF_GRAPHS, ops.LSTM: layer.forward, ops.LSTMGradient: layer.backward}
        self.shared = [v for v in gof.graph.inputs(outputs)
                       if isinstance(v, theano.compile.SharedVariable) and v not in inputs]
        mode = theano.compile.mode.get_default_mode().excluding('inplace', 'fusion', 'BlasOpt')
        self._graph = gof.FunctionGraph([*inputs, *self.shared], outputs)
        mode.optimizer.optimize(self._graph)
        self._nodes, last = self._graph.toposort(), {}
        for k, node in enumerate(self._nodes):
            last.update(dict.fromkeys([*node.inputs, *node.outputs], k))
        kept = {*self._graph.outputs}
        self._freed = [[v for v in {*node.inputs, *node.outputs} if last[v] == k and v not in kept]
                       for k, node in enumerate(self._nodes)]
        self._constants = {v: self._constant(v) for v in gof.graph.variables(self._graph.inputs, self._graph.outputs)
                           if isinstance(v, gof.Constant)}
        self.copied = False

    def _constant(self, v):
        """Return a constant: a tensor if it has more than one number, and these are no sizes."""
        return v.data if np.size(v.data) <= 1 or v.dtype.startswith('int') else self._tensor(v.data)

    def __call__(self, *inputs):
        shared = [v.tensor if isinstance(v, OnDevice) else v.get_value() for v in self.shared]
        values = {**self._constants, **dict(zip(self._graph.inputs, (*inputs, *shared)))}
        for node, freed in zip(self._nodes, self._freed):
            values.update(zip(node.outputs, self._results(node, [values[v] for v in node.inputs])))
            for v in freed:
                values.pop(v, None)
        return [self._tensor(values[v]) for v in self._graph.outputs]

    def _results(self, node, arguments):
        """Return the results of an operation."""
        op, kind = node.op, type(node.op)
        is_number = kind is tt.Alloc and 'float' in node.outputs[0].dtype      # it is filled in, not copied
        if not is_number and not any(isinstance(x, (torch.Tensor, list)) for x in arguments):
            return self._in_numpy(node, arguments)
        if kind is tt.Elemwise and function_of(type(op.scalar_op).__name__):
            read = [x.item() if isinstance(x, np.ndarray) and x.size == 1 else self._tensor(x) for x in arguments]
            return [elementwise(op, getattr(torch, node.outputs[0].dtype), read)]
        function = self._kinds.get(kind)
        if function:
            read = [x if k in SIZE_ARGUMENTS.get(kind, ()) else self._tensor(x) for k, x in enumerate(arguments)]
            with contextlib.suppress(NotImplementedError):
                return function(op, *read)
        name = type(getattr(op, 'scalar_op', op)).__name__
        if name not in self.named:
            self.named.add(name)
            warn(f'{name} runs on the processor in NumPy, in each step')
        found = self._in_numpy(node, [x.cpu().numpy() if isinstance(x, torch.Tensor) else x for x in arguments])
        return [self._tensor(x) if np.ndim(x) else x for x in found]

    def _tensor(self, x):
        """Return an array as a tensor, a number by filling one; what is no array as it is."""
        if not isinstance(x, (np.ndarray, np.generic)):
            return x
        if np.size(x) == 1:
            return torch.full(x.shape, x.item(), dtype=getattr(torch, str(x.dtype)), device=self.device)
        self.copied = True
        return torch.as_tensor(np.array(x), device=self.device)

    @staticmethod
    def _in_numpy(node, arrays):
        """Return the results of an operation as Theano computes them."""
        cells = {v: [x] for v, x in zip(node.inputs, arrays)} | {v: [None] for v in node.outputs}
        node.op.make_thunk(node, cells, {v: [v in node.inputs] for v in cells}, [])()
        return [cells[v][0] for v in node.outputs]


# ---------------------------------------------------------------- compiled functions

class Function:
    """A compiled function as elementwise.SameArrays, from arrays to arrays, which computes on a device."""

    def __init__(self, inputs, outputs, updates=(), *, cell, device):
        """Arguments as for SameArrays, without `borrowed`. cell: the model's Cell. device: its name."""
        self.streams = random_streams(gof.graph.inputs(outputs))
        updates = {v: v.default_update for v in self.streams} | dict(updates)
        self._updated, self._count, self._dtypes = [*updates], len(outputs), [v.dtype for v in inputs]
        self._graph, self._steps = Graph(inputs, [*outputs, *updates.values()], cell, device_of(device)), {}

    def __call__(self, *inputs):
        inputs = [np.asarray(x, dtype) for x, dtype in zip(inputs, self._dtypes)]
        # A variable has another tensor after a value of another shape was set.
        read = [v.tensor if isinstance(v, OnDevice) else v for v in self._graph.shared]
        key = tuple(map(id, read)), *[x.shape for x in inputs]
        if key not in self._steps:
            self._steps = {each: step for each, step in self._steps.items() if each[0] == key[0]}
            self._steps[key] = Step(self._run, inputs, self._graph, read)
        if self._updated:
            CHANGES[0] += 1
        return self._steps[key](inputs)

    again = __call__

    def _run(self, tensors):
        """Return the outputs as bytes in one tensor, and their shapes and types, after setting what is updated."""
        found = self._graph(*tensors)
        outputs, new = found[:self._count], found[self._count:]
        kinds = [(x.shape, str(x.dtype).removeprefix('torch.')) for x in outputs]
        as_bytes = torch.cat([x.contiguous().reshape(-1).view(torch.uint8) for x in outputs])
        # A new value may be the old one of another variable.
        old = {v.tensor.untyped_storage()._cdata for v in self._updated if isinstance(v, OnDevice)}
        new = [value.clone() if isinstance(value, torch.Tensor) and value.untyped_storage()._cdata in old else value
               for value in new]
        for v, value in zip(self._updated, new):
            if isinstance(v, OnDevice):
                v.tensor.copy_(value)
            else:
                v.set_value(value)
        return as_bytes, kinds


@functools.cache
def memory_of(device):
    """Return the memory that all recorded steps on a device share, as no two run at the same time."""
    return torch.cuda.graph_pool_handle()


class Step:
    """A function for inputs of certain shapes, whose tensors stay the same; on CUDA it is recorded, and replayed.

    graph: what it computes. read: what else it reads, only tensors if it may be recorded.
    """
    EAGER = 3                                              # calls before that

    def __init__(self, function, inputs, graph, read):
        self._function, self._graph, self._read, self.calls = function, graph, read, 0
        self.tensors = [torch.from_numpy(np.array(x)).to(graph.device) for x in inputs]

    def run(self):
        """Return the outputs as bytes in one tensor, and set their shapes and types."""
        found, self.kinds = self._function(self.tensors)
        return found

    replay = run

    def record(self):
        """Let replay repeat the recorded kernels, which read the same tensors."""
        device, graph = self._graph.device, torch.cuda.CUDAGraph()
        try:
            # After an error, the stream is to be the one of before.
            with torch.cuda.device(device), torch.cuda.stream(torch.cuda.current_stream(device)), torch.cuda.graph(
                    graph, memory_of(device), torch.cuda.Stream(device)):
                found = self.run()
        except Exception as error:                         # PyTorch raises all kinds
            warn(f'PyTorch cannot record a step ({str(error).partition(chr(10))[0]}): it runs kernel by kernel')
            return

        def replay():
            with torch.cuda.device(device):
                graph.replay()
            return found
        self.replay = replay

    def __call__(self, inputs):
        for tensor, x in zip(self.tensors, inputs):
            tensor.copy_(torch.from_numpy(np.array(x)))
        self.calls += 1
        # What was copied from the processor in a call cannot be recorded.
        on_device = all(isinstance(x, torch.Tensor) for x in self._read) and not self._graph.copied
        if self.calls == 1 + self.EAGER and on_device and self._graph.device.type == 'cuda':
            self.record()
        numbers, begin, arrays = self.replay().cpu().numpy(), 0, []            # the only copy from the device
        for shape, dtype in self.kinds:
            end = begin + np.dtype(dtype).itemsize * math.prod(shape)
            arrays.append(numbers[begin:end].view(dtype).reshape(shape))
            begin = end
        return arrays
