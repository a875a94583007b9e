"""Run Theano's own operations on a CPU without its C++: by whole arrays in NumPy, elementwise formulas in C.

Importing this module patches Theano. An operation is planned once for the arrays that it reads and writes, since most
stay the same from one training step to the next. Planned says when it is planned again.
"""
import contextlib
import ctypes
import functools
import operator
import zlib

import numpy as np

from engine.backend import compiler
from engine.backend.theano_setup import theano, tt
from engine.graph import formula
from engine.graph.library import Library, empty, reused, source

gof, scalar = theano.gof, theano.scalar
infer_reuse_pattern = theano.compile.function_module.infer_reuse_pattern
CHANGES = [0]                  # how many values have been set: by set_value, and by functions with updates
WORTH_THREADS = 1e8            # multiply-adds of a product for which NumPy uses all threads
POINTERS = {'float32': 'REAL', 'float64': 'REAL', 'bool': 'uint8_t'}


def same(arrays, others):
    """Return whether two lists have the same objects."""
    return all(map(operator.is_, arrays, others))


# ---------------------------------------------------------------- any elementwise operation, by whole arrays

# For operations whose function in NumPy is not in nfunc_spec of Theano's class; others are called number by number.
BY_ARRAYS = {name: formula.OPERATIONS[name][1] for name in ('Switch', 'Clip', 'ScalarSigmoid', 'ScalarSoftplus')} | {
    'Identity': lambda x: x, 'Cast': lambda x: x, 'Inv': lambda x: 1 / x,
    'Second': lambda x, y: np.broadcast_to(y, np.broadcast_shapes(x.shape, y.shape)),
    'Add': lambda *arrays: functools.reduce(np.add, arrays),
    'Mul': lambda *arrays: functools.reduce(np.multiply, arrays)}


@functools.lru_cache(maxsize=None)
def function_of(op):
    """Return a function of arrays for a scalar operation of Theano."""
    name, (spec, *_) = type(op).__name__, getattr(op, 'nfunc_spec', None) or ['']
    return BY_ARRAYS.get(name) or getattr(np, spec, None) or np.frompyfunc(op.impl, op.nin, op.nout)


def evaluated(op, dtypes, arrays):
    """Return a list of the results of a scalar operation on arrays. dtypes: those of the results."""
    if isinstance(op, scalar.Composite):
        values = dict(zip(op.fgraph.inputs, arrays))
        for node in op.fgraph.toposort():
            inputs = [v.data if isinstance(v, gof.Constant) else values[v] for v in node.inputs]
            values.update(zip(node.outputs, evaluated(node.op, [v.dtype for v in node.outputs], inputs)))
        return [np.asarray(v.data if isinstance(v, gof.Constant) else values[v]) for v in op.fgraph.outputs]
    if dtypes[0].startswith('float'):          # functions of integers are computed in the type of the result, as in C
        arrays = [x.astype(dtypes[0]) if x.dtype.kind in 'iub' else x for x in map(np.asarray, arrays)]
    found = function_of(op)(*arrays)
    return [np.asarray(x).astype(dtype, copy=False) for x, dtype in zip([found] if op.nout == 1 else found, dtypes)]


def shape_of(node, arrays):
    """Return the shape of an Elemwise's outputs. Raise ValueError for arrays whose shapes do not fit."""
    shapes = [x.shape for x in arrays]
    for sizes, can in zip(zip(*shapes), zip(*[v.broadcastable for v in node.inputs])):
        if len({n for n, broadcast in zip(sizes, can) if not broadcast}) > 1:
            raise ValueError(f'Input dimension mis-match: elementwise operation on arrays of shapes {shapes}')
    return np.broadcast_shapes(*shapes)


def perform(op, node, inputs, storage):
    """Compute an Elemwise by whole arrays, as its method of this name, but never in place: see performed_plan."""
    shape = shape_of(node, inputs)
    with np.errstate(all='ignore'):
        found = evaluated(op.scalar_op, [v.dtype for v in node.outputs], inputs)
    for slot, value in zip(storage, found):
        slot[0] = np.broadcast_to(value, shape).copy()


# ---------------------------------------------------------------- formulas of floating-point numbers

def formula_of(node):
    """Return the Code of an Elemwise, and which inputs it reads, as x0, x1 ...; None if it has numbers of other types.

    It does not read constants of other types, such as the 1 of switch(..., 1), which are in its lines.
    """
    dtype = node.outputs[0].dtype
    inner = [isinstance(v, gof.Constant) and v.data.size == 1 and v.dtype not in (dtype, 'bool') for v in node.inputs]
    used = [k for k in range(len(inner)) if not inner[k]]
    if len(node.outputs) > 1 or dtype not in POINTERS or dtype == 'bool' or any(
            node.inputs[k].dtype not in (dtype, 'bool') for k in used):
        return None
    values = {v: float(v.data.item()) if inner[k] else f'x{k}' for k, v in enumerate(node.inputs)}
    trace = formula.Trace(values, dtype)
    results = trace.add(node.outputs)
    return (formula.code_of(trace.lines, results), used) if trace.unknown is None else None


def c_function(code, used, kinds, dtypes):
    """Return the arguments of FORMULA, in formulas.h, after the name.

    kinds: how many numbers each input has: 'all' (rows, n), one for each 'row', or 'one'.
    """
    statements, (result,) = formula.written(code, {}, **formula.IN_C)
    loads = {'all': 'load(x{k}_at + at, m)', 'row': 'number(x{k}_at[r])', 'one': 'number(*x{k}_at)'}
    inputs = list(zip(used, kinds, dtypes))
    lines = {kind: [f'const vector x{k} = {loads[kind].format(k=k)};' for k, of, dtype in inputs
                    if of == kind and (kind, dtype) != ('all', 'bool')] for kind in loads}
    flags = [k for k, kind, dtype in inputs if (kind, dtype) == ('all', 'bool')]
    lines['all'] += [f'const vector x{k} = load(x{k}_numbers + j - begin, m);' for k in flags]
    chunks = [f'REAL x{k}_numbers[CHUNK]; to_numbers(x{k}_at + r * n + begin, stop - begin, x{k}_numbers);'
              for k in flags]
    arguments = 'long rows, long n' + ''.join(f', const {POINTERS[dtype]} *x{k}_at' for k, _, dtype in inputs)
    parts = [lines['one'], lines['row'], chunks, [*lines['all'], *statements]]
    return ', '.join([f'({arguments}, REAL *out)', str(int('row' in kinds)), *map(' '.join, parts), result])


class Formula:
    """An Elemwise of floating-point numbers, in C or NumPy.

    name, text: of its function in C. path: of the library with it, which may still have to be compiled, or None.
    """

    def __init__(self, node, code, used):
        out, self.path = node.outputs[0].broadcastable, None
        self.node, self.code, self.used = node, code, used
        self.dtype, self.in_place = node.outputs[0].dtype, node.op.inplace_pattern.get(0)
        kinds = {(*out[:-1], True): 'row', (True,) * len(out): 'one', out: 'all'}
        # Arrays that are broadcast along other axes may still have the shape of the output.
        self.kinds = [kinds.get(node.inputs[k].broadcastable, 'all') for k in used]
        body = c_function(code, used, self.kinds, [node.inputs[k].dtype for k in used])
        self.name = f'formula_{zlib.crc32(body.encode()):08x}'
        self.text = f'FORMULA({self.name}, {body})\n'

    def plan(self, arrays, before):
        """Return the array of the output, in a list, and a function that fills it, as Planned describes."""
        shape = shape_of(self.node, arrays)
        out = reused(before[0], shape, self.dtype) if self.in_place is None else arrays[self.in_place]
        if not out.flags.writeable:
            out = empty(shape, self.dtype)
        arrays = [arrays[k] for k in self.used]
        if self.path and self.suits_c(arrays, shape):
            n = shape[-1] if 'row' in self.kinds else out.size
            function, sizes = compiler.load(self.path)[self.name], (out.size // max(1, n), n)
            pointers = [ctypes.c_void_p.from_param(x.ctypes.data) for x in (*arrays, out)]         # converted once
            return [out], functools.partial(function, *map(ctypes.c_long.from_param, sizes), *pointers)
        in_numpy = formula.InNumPy(self.code, [f'x{k}' for k in self.used])

        def compute():
            numbers = [x.astype(self.dtype) if x.dtype == bool else x for x in arrays]     # since True + True is True
            with np.errstate(all='ignore'):
                in_numpy(numbers, [out])
        return [out], compute

    def suits_c(self, arrays, shape):
        """Return whether arrays have the shapes that the function in C expects, in C order."""
        expected = dict(all=shape, row=(*shape[:-1], 1), one=(1,) * len(shape))
        return all(x.shape == expected[kind] and x.flags.c_contiguous and x.flags.aligned
                   for x, kind in zip(arrays, self.kinds))


# ---------------------------------------------------------------- NumPy's products

@functools.cache
def openblas():
    """Return functions that get and set how many threads NumPy's OpenBLAS uses, and how many it used at first."""
    library = ctypes.CDLL(np._core._multiarray_umath.__file__)
    for name in ('scipy_openblas_{}_num_threads64_', 'openblas_{}_num_threads'):           # NumPy's own, and Debian's
        with contextlib.suppress(AttributeError):
            get_threads, set_threads = getattr(library, name.format('get')), getattr(library, name.format('set'))
            return get_threads, set_threads, get_threads()
    return (lambda: 1), (lambda n: None), 1                # another BLAS keeps its threads


@contextlib.contextmanager
def blas_threads(multiply_adds=0):
    """Let NumPy use one thread in the block, or all for a large product: idle ones spin, which slows the kernel's."""
    get_threads, set_threads, most = openblas()
    before = get_threads()
    set_threads(most if multiply_adds > WORTH_THREADS else 1)
    try:
        yield
    finally:
        set_threads(before)


# ---------------------------------------------------------------- thunks

class Planned:
    """Theano's thunk of an operation that is planned for the arrays that it reads and writes.

    It is planned again if one of these is not the array of the last call, if one that is read has another shape (set in
    place), or if sizes or indices, which the plan itself reads, have other values.

    plan: a function from the arrays of the inputs, and those of the outputs in the last call, to the arrays of the
    outputs, and a function that fills them, or None if nothing is left to do. values: the inputs that it reads.
    """
    lazy = False

    def __init__(self, node, storage_map, compute_map, plan, values=()):
        self.inputs, self.outputs = [[storage_map[v] for v in side] for side in (node.inputs, node.outputs)]
        self.values = [storage_map[v] for v in values if not isinstance(v, gof.Constant)]
        self.reads_sizes = all(map(is_size, values))
        self.computed, self.plan, self.arrays, self.read = [compute_map[v] for v in node.outputs], plan, [], None

    def __call__(self):
        inputs, before = [[cell[0] for cell in side] for side in (self.inputs, self.outputs)]
        read = [x.shape for x in inputs], [cell[0].tobytes() for cell in self.values]
        if read != self.read or not same(inputs + before, self.arrays):
            results, self.fill = self.plan(inputs, before)
            for slot, result in zip(self.outputs, results):
                slot[0] = result
            self.arrays, self.read = inputs + results, read
        if self.fill:
            self.fill()
        for computed in self.computed:
            computed[0] = True


class Loop(gof.vm.Loop):
    """Theano's loop over the thunks of a function. If all arrays are those of the last call, it only fills them.

    settled: thunks that need not be looked at in that case. They read `given`, inputs of the function, and what others
    of them make; the only values among these are sizes of arrays. `given` also has one array that they make, since
    Theano's Function.free takes them all away.
    """

    def __init__(self, nodes, thunks, pre_call_clear):
        super().__init__(nodes, thunks, pre_call_clear)
        views = {id(thunk.outputs[k]) for node, thunk in zip(nodes, thunks) if isinstance(thunk, Planned)
                 for k in (*getattr(node.op, 'view_map', ()), *getattr(node.op, 'destroy_map', ()))}
        self.pre_call_clear = [cell for cell in pre_call_clear if id(cell) not in views]   # their memory is an input's
        self.settled, self.runs, changing, read = set(), None, set(map(id, self.pre_call_clear)), {}
        for thunk in thunks:
            outputs = {*map(id, thunk.outputs)}
            if isinstance(thunk, Planned) and thunk.reads_sizes and not changing & {*map(id, thunk.inputs), *outputs}:
                self.settled.add(thunk)
                read.update({id(cell): cell for cell in thunk.inputs})
            else:
                changing |= outputs
        made = {id(cell): cell for thunk in self.settled for cell in thunk.outputs}
        self.given = [cell for key, cell in read.items() if key not in made] + [*made.values()][:1]

    def __call__(self):
        if self.time_thunks:                               # for theano.function(..., profile=True)
            self.runs = None
            return super().__call__()
        for cell in self.pre_call_clear:
            cell[0] = None
        arrays = [x for x, in self.given]
        equal = self.runs and same(arrays, self.arrays) and [x.shape for x in arrays] == self.shapes
        runs = self.runs if equal else list(zip(self.thunks, self.nodes, self.thunks))
        self.runs = None                                   # after an error, all are looked at
        for run, node, thunk in runs:
            try:
                run()
            except Exception as raised:
                arguments = zip(node.inputs, thunk.inputs)
                none = any(x is None and isinstance(v.type, tt.TensorType) for v, (x,) in arguments)
                error = ValueError('expected an ndarray, not None') if none else raised        # as Theano's C code says
                gof.link.raise_with_op(node, thunk, (type(error), error, raised.__traceback__))
        if not equal:
            self.arrays = [x for x, in self.given]
            self.shapes = [x.shape for x in self.arrays]
            filling = [thunk.fill if thunk in self.settled else thunk for thunk in self.thunks]
            runs = [run for run in zip(filling, self.nodes, self.thunks) if run[0]]
        self.runs = runs


def random_streams(variables):
    """Return which of some shared variables are the states of Theano's random streams, which each call changes."""
    return [v for v in variables if getattr(v, 'default_update', None)]


class SameArrays:
    """A compiled function that gets its inputs in the same arrays in each call, so that nothing is planned again.

    inputs, outputs, settings: as for theano.function. Calls return copies of the outputs, then `borrowed`, further
    outputs, in arrays that the next call overwrites.
    """

    def __init__(self, inputs, outputs, borrowed=(), **settings):
        self.copied, self.dtypes, self.arrays, self.steps = len(outputs), [v.dtype for v in inputs], [], None
        outputs = [theano.Out(v, borrow=True) for v in (*outputs, *borrowed)]
        self.function = theano.function(inputs, outputs, on_unused_input='ignore', **settings)
        self.streams = random_streams(self.function.get_shared())

    def __call__(self, *inputs):
        inputs = list(map(np.asarray, inputs))
        known = [x.shape for x in inputs] == [x.shape for x in self.arrays]
        arrays = self.arrays if known else [empty(x.shape, dtype) for x, dtype in zip(inputs, self.dtypes)]
        for array, x in zip(arrays, inputs):
            np.copyto(array, x, casting='safe')
        self.function.trust_input = known                  # Theano has checked arrays like these
        with blas_threads():
            results = self.function(*arrays)
        self.arrays, self.steps = arrays, None             # not before, since Theano may raise an error
        return [*[v.copy() for v in results[:self.copied]], *results[self.copied:]]

    def again(self, *inputs):
        """Return the outputs for inputs of the same shapes, in arrays that the next call overwrites.

        Nothing but these inputs may have changed since the last call, such as a parameter.
        """
        if not self.steps:
            function, graph = self.function.fn, self.function.maker.fgraph
            changed, destroyers = {*graph.inputs[:len(inputs)]}, getattr(graph, 'destroyers', lambda v: ())
            if self.streams or not getattr(function, 'runs', None):    # those of a Loop, unless Theano profiles
                return self(*inputs)
            for node in (*function.nodes, *reversed(function.nodes)):  # what is overwritten is computed again, too
                overwriting = [w for v in node.outputs for other in destroyers(v) for w in other.outputs]
                if changed.intersection(node.inputs + overwriting):
                    changed.update(node.outputs)
            self.steps = [run for run, node, _ in function.runs if changed.intersection(node.outputs)]
            for container, array in zip(self.function.input_storage, self.arrays):
                container.storage[0] = array                           # Theano has emptied it
        for array, x in zip(self.arrays, inputs):
            array[...] = x
        for run in self.steps:
            run()
        return [container.storage[0] for container in self.function.output_storage]


# From which input on operations read sizes and indices. These compute sizes, or views, which may be of sizes.
SIZES = {tt.Elemwise: 0, tt.opt.MakeVector: 0, tt.ScalarFromTensor: 0, tt.TensorFromScalar: 0,
         tt.ARange: 0, theano.compile.ops.Shape_i: 1, tt.DimShuffle: 1, tt.Reshape: 1, tt.subtensor.Subtensor: 1}
# Theano performs these in Python, into arrays that stay the same. The last ones read no sizes.
PERFORMED = {tt.Sum: 1, tt.Alloc: 1, tt.Split: 1, tt.IncSubtensor: 2, **SIZES, **dict.fromkeys((
    tt.Join, tt.Dot, tt.blas.Dot22, tt.blas.BatchedDot, tt.elemwise.CAReduce, tt.nnet.nnet.Softmax,
    tt.nnet.nnet.SoftmaxWithBias, tt.extra_ops.CumOp), 99)}


def is_size(v):
    """Return whether a variable is a constant or a size, computed from sizes and numbers into a new array."""
    if v.owner is None:
        return isinstance(v, gof.Constant)
    if not hasattr(v.owner.tag, 'size'):
        v.owner.tag.size = computes_size(v.owner)
    return v.owner.tag.size


def computes_size(node):
    """Return whether the output of an operation is a size, as is_size does."""
    op, first, taken = node.op, SIZES.get(type(node.op)), getattr(node.op, 'inplace_pattern', {}).values()
    if first is None or getattr(node.tag, 'formula', None):
        return False
    return isinstance(op, theano.compile.ops.Shape_i) or all(
        is_size(v) or v.ndim == 0 and k >= first and k not in taken for k, v in enumerate(node.inputs))


def performed_plan(node):
    """Return the plan of an operation that Theano performs in Python, with one output if it is in place."""
    op, out, destroyers = node.op, node.outputs[0], getattr(getattr(node, 'fgraph', None), 'destroyers', lambda v: ())
    in_place = [] if is_size(out) else [k for taken in getattr(op, 'destroy_map', {}).values() for k in taken]
    once = is_size(out) and all(is_size(other.outputs[0]) for other in destroyers(out))     # not if others overwrite it
    params = node.run_params()
    more = [] if params is gof.graph.NoParams else [params]

    def plan(arrays, before):
        def run():
            slots = [[None] for _ in node.outputs]
            op.perform(node, arrays, slots, *more)
            return [slot[0] for slot in slots]

        def fill():
            for result, found in zip(results, run()):
                if found is not result:
                    result[...] = found

        results = [arrays[k] for k in in_place if arrays[k].flags.writeable] or run()
        is_view = getattr(op, 'view_map', None) and (np.may_share_memory(results[0], arrays[0]) or not results[0].size)
        return results, None if once or is_view else fill
    return plan


def formulas_of(nodes):
    """Tag nodes, in order: an Elemwise with its Formula, and what computes a size. Return the libraries' paths."""
    found = []
    for node in nodes:
        if isinstance(node.op, tt.Elemwise):
            code = formula_of(node)
            node.tag.formula = code and Formula(node, *code)
            found += [node.tag.formula] if code and compiler.cxx else []
        node.tag.size = computes_size(node)
    paths = {}
    for dtype in {each.dtype for each in found}:
        texts = sorted({each.text for each in found if each.dtype == dtype})
        included = source('#include "vectors.c"\n#include "formulas.h"\n', dtype)
        paths[dtype] = compiler.compiled_file('formulas', f'{included}extern "C" {{\n{"".join(texts)}}}\n')
    for each in found:
        each.path = paths[each.dtype]
    return list(paths.values())


def install():
    """Patch Theano."""
    linker, elemwise, make_thunk = gof.vm.VM_Linker, tt.Elemwise, gof.Op.make_thunk
    make_all, container, set_value = linker.make_all, gof.link.Container, gof.link.Container.__set__

    def make_all_at_once(self, *arguments, **settings):
        nodes = self.fgraph.toposort()
        libraries = {getattr(node.op, 'library', None) for node in nodes}
        compiler.build([*formulas_of(nodes), *[each.path() for each in libraries if isinstance(each, Library)]])
        # A new value keeps its array if nothing reads the old value, as RMSprop's sums without momentum.
        outputs, inputs = self.fgraph.outputs, self.fgraph.inputs
        unread = {outputs[k] for k, i in (self.fgraph.update_mapping or {}).items() if not inputs[i].clients}
        self.no_recycling = infer_reuse_pattern(self.fgraph, {*outputs} & {*self.no_recycling} - unread)
        return make_all(self, *arguments, **settings)

    def make_planned_thunk(self, node, storage_map, compute_map, no_recycling, impl=None):
        found, values = getattr(node.tag, 'formula', None), ()
        if found:
            plan = found.plan
        elif type(self) in PERFORMED and (type(self) is tt.Split or len(node.outputs) == 1):
            plan = performed_plan(node)
            if type(self) is not elemwise or is_size(node.outputs[0]):
                values = node.inputs[PERFORMED[type(self)]:]
        else:
            return make_thunk(self, node, storage_map, compute_map, no_recycling, impl)
        return Planned(node, storage_map, compute_map, plan, values)

    def set_counted(self, value):
        set_value(self, value)
        CHANGES[0] += 1

    container.data = container.value = property(container.__get__, set_counted)
    gof.vm.calculate_reallocate_info = lambda *arguments: {}       # each number has an array of its own
    gof.vm.Loop = Loop
    linker.make_all, gof.Op.make_thunk, elemwise.perform = make_all_at_once, make_planned_thunk, perform


install()
