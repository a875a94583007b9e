"""Run Theano's own operations on a CPU without its C++: by whole arrays in NumPy, elementwise formulas in C.

Importing this module patches Theano. Views and sizes are computed again only for other arrays than in the call before,
since most arrays of a training step stay the same from step to step.
"""
import ctypes
import functools
import operator
import zlib

import numpy as np

from engine.backend import compiler
from engine.backend.theano_setup import theano, tt
from engine.kernel import formula
from engine.kernel.library import empty, reused, source

gof, scalar = theano.gof, theano.scalar
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
    # An integer divided by one, or its square root, is computed in the type of the result, as in C.
    if dtypes[0].startswith('float') and isinstance(op, (scalar.UnaryScalarOp, scalar.TrueDiv)):
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
    """Compute an Elemwise by whole arrays, as its method of this name, but never in place."""
    shape = shape_of(node, inputs)
    with np.errstate(all='ignore'):
        found = evaluated(op.scalar_op, [v.dtype for v in node.outputs], inputs)
    for slot, value in zip(storage, found):
        slot[0] = np.broadcast_to(value, shape).copy()


# ---------------------------------------------------------------- formulas of floating-point numbers

def code_of(node):
    """Return the Code of an Elemwise, and which inputs it reads, as x0, x1 ...; None if it has numbers of other types.

    It does not read constants of other types, such as the 1 of switch(..., 1), which are in its lines.
    """
    dtype, op = node.outputs[0].dtype, node.op.scalar_op
    inner = [isinstance(v, gof.Constant) and v.data.size == 1 and v.dtype not in (dtype, 'bool') for v in node.inputs]
    used = [k for k in range(len(inner)) if not inner[k]]
    if len(node.outputs) > 1 or dtype not in POINTERS or dtype == 'bool' or any(
            node.inputs[k].dtype not in (dtype, 'bool') for k in used):
        return None
    if isinstance(op, scalar.Composite):
        variables, outputs = op.fgraph.inputs, op.fgraph.outputs
    else:
        variables = [scalar.get_scalar_type(v.dtype)() for v in node.inputs]
        outputs = op.make_node(*variables).outputs
    values = {v: float(node.inputs[k].data.item()) if inner[k] else f'x{k}' for k, v in enumerate(variables)}
    trace = formula.Trace(values, dtype)
    results = trace.add(outputs)
    return None if trace.unknown else (formula.code_of(trace.lines, results), used)


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


def overwritten(node):
    """Return which input each output overwrites, by number. Sizes are not overwritten: they are not computed again."""
    pairs = getattr(node.op, 'destroy_map', {}).items()
    return {k: number for k, (number, *_) in pairs if not is_settled(node.inputs[number])}


class Formula:
    """An Elemwise of floating-point numbers, in C or NumPy.

    name, text: of its function in C. path: of the library with it, which may still have to be compiled, or None.
    """

    def __init__(self, node, code, used):
        out, self.path = node.outputs[0].broadcastable, None
        self.node, self.code, self.used = node, code, used
        self.dtype, self.in_place = node.outputs[0].dtype, overwritten(node).get(0)
        kinds = {(*out[:-1], True): 'row', (True,) * len(out): 'one', out: 'all'}
        # Arrays that are broadcast along other axes may still have the shape of the output.
        self.kinds = [kinds.get(node.inputs[k].broadcastable, 'all') for k in used]
        body = c_function(code, used, self.kinds, [node.inputs[k].dtype for k in used])
        self.name = f'formula_{zlib.crc32(body.encode()):08x}'
        self.text = f'FORMULA({self.name}, {body})\n'

    @functools.cached_property
    def function(self):
        """Return the function in C."""
        found = getattr(compiler.load(self.path), self.name)
        found.argtypes, found.restype = [ctypes.c_long] * 2 + [ctypes.c_void_p] * (len(self.used) + 1), None
        return found

    def plan(self, arrays, before):
        """Return the array of the output, in a list, and a function that fills it, as Planned describes."""
        shape = shape_of(self.node, arrays)
        out = reused(before[0], shape, self.dtype) if self.in_place is None else arrays[self.in_place]
        arrays = [arrays[k] for k in self.used]
        if self.path and self.suits_c(arrays, shape):
            n = shape[-1] if 'row' in self.kinds else out.size
            return [out], functools.partial(self.function, out.size // max(1, n), n,
                                            *[x.ctypes.data for x in (*arrays, out)])
        in_numpy = formula.InNumPy(self.code, [f'x{k}' for k in self.used])
        scratch = [empty(shape, self.dtype) for _ in range(in_numpy.scratch)]

        def compute():
            numbers = [x.astype(self.dtype) if x.dtype == bool else x for x in arrays]     # since True + True is True
            with np.errstate(all='ignore'):
                in_numpy.run(numbers, [out], scratch)
        return [out], compute

    def suits_c(self, arrays, shape):
        """Return whether arrays have the shapes that the function in C expects, in C order."""
        expected = dict(all=shape, row=(*shape[:-1], 1), one=(1,) * len(shape))
        return all(x.shape == expected[kind] and x.flags.c_contiguous and x.flags.aligned
                   for x, kind in zip(arrays, self.kinds))


# ---------------------------------------------------------------- thunks

class Planned:
    """Theano's thunk of an operation that is planned again only if its arrays may not be those of the last call.

    plan: a function from the arrays of the inputs, and those of the outputs in the last call, to the arrays of the
    outputs, and a function that fills them, or None if nothing is left to do.
    """
    lazy = False

    def __init__(self, node, storage_map, compute_map, plan):
        self.cells, self.slots = [[storage_map[v] for v in side] for side in (node.inputs, node.outputs)]
        self.computed, self.plan, self.fill = [compute_map[v] for v in node.outputs], plan, None

    def __call__(self):
        results, self.fill = self.plan(*[[cell[0] for cell in side] for side in (self.cells, self.slots)])
        for slot, result in zip(self.slots, results):
            slot[0] = result
        if self.fill:
            self.fill()
        for computed in self.computed:
            computed[0] = True


class Loop(gof.vm.Loop):
    """Theano's loop over the thunks of a function. If all arrays are those of the last call, it only fills them."""

    def __init__(self, nodes, thunks, pre_call_clear):
        super().__init__(nodes, thunks, pre_call_clear)
        cleared, fresh, other, cells = {id(cell): cell for cell in pre_call_clear}, fresh_outputs(nodes), set(), {}
        self.settled, self.before, self.runs = set(), [], None         # settled: their arrays may stay the same
        for node, thunk in zip(nodes, thunks):
            slots, in_place = getattr(thunk, 'slots', []), overwritten(node)
            for k, slot in enumerate(slots):               # the memory of a view, or in place, is an input's
                if k in in_place or isinstance(node.op, VIEWS) or node.outputs[k] not in fresh:
                    cleared.pop(id(slot), None)
            if not slots or other.intersection(node.inputs) or any(id(slot) in cleared for slot in slots):
                other.update(node.outputs)                 # these may be new arrays in each call
            else:
                self.settled.add(thunk)
                cells.update((id(cell), cell) for cell in (*thunk.cells, *slots))
        self.cells, self.pre_call_clear = list(cells.values()), list(cleared.values())

    def __call__(self):
        for cell in self.pre_call_clear:
            cell[0] = None
        again = self.runs is not None and same([cell[0] for cell in self.cells], self.before)
        try:
            for run in self.runs if again else self.thunks:
                run()
        except Exception:
            self.runs = None                               # the thunks may have been planned for other arrays since
            failed, = [k for k, thunk in enumerate(self.thunks) if run in (thunk, getattr(thunk, 'fill', None))]
            gof.link.raise_with_op(self.nodes[failed], self.thunks[failed])
        if not again:
            self.before = [cell[0] for cell in self.cells]
            self.runs = list(filter(None, [t.fill if t in self.settled else t for t in self.thunks]))


def fresh_outputs(nodes):
    """Return the variables of a function that need new memory in each call, such as those that it returns.

    The new value of a shared variable does not if the function does not read the old one.
    """
    fgraph = nodes[0].fgraph if nodes else gof.FunctionGraph([], [])
    unread = {k for k, variable in fgraph.update_mapping.items() if not fgraph.inputs[variable].clients}
    return theano.compile.function_module.infer_reuse_pattern(
        fgraph, [v for k, v in enumerate(fgraph.outputs) if k not in unread])


class SameArrays:
    """A compiled function that gets its inputs in the same arrays in each call, so that nothing is planned again.

    inputs, outputs, settings: as for theano.function. Calls return copies of the outputs, then `borrowed`, further
    outputs, in arrays that the next call overwrites.
    """

    def __init__(self, inputs, outputs, borrowed=(), **settings):
        self.copied, self.dtypes, self.arrays = len(outputs), [v.dtype for v in inputs], []
        outputs = [theano.Out(v, borrow=True) for v in (*outputs, *borrowed)]
        self.function = theano.function(inputs, outputs, on_unused_input='ignore', **settings)

    def __call__(self, *inputs):
        inputs = list(map(np.asarray, inputs))
        known = [x.shape for x in inputs] == [x.shape for x in self.arrays]
        arrays = self.arrays if known else [empty(x.shape, dtype) for x, dtype in zip(inputs, self.dtypes)]
        for array, x in zip(arrays, inputs):
            np.copyto(array, x, casting='safe')
        self.function.trust_input = known                  # Theano has checked arrays like these
        results = self.function(*arrays)
        self.arrays = arrays                               # not before, since Theano may raise an error
        return [*[v.copy() for v in results[:self.copied]], *results[self.copied:]]


MADE_OF_SIZES = (tt.opt.MakeVector, tt.ScalarFromTensor, tt.TensorFromScalar, tt.Elemwise)
VIEWS = tt.DimShuffle, tt.Reshape, tt.subtensor.Subtensor


def is_settled(v):
    """Return whether v is a constant, or a size or made of sizes: only then is each new value a new array."""
    if v.owner is None or isinstance(v.owner.op, theano.compile.ops.Shape_i):
        return isinstance(v, gof.Constant) or v.owner is not None
    return isinstance(v.owner.op, (*MADE_OF_SIZES, *VIEWS)) and all(map(is_settled, v.owner.inputs))


def performed(node, arrays):
    """Return a function that performs an operation in Python and returns the list of its results."""
    slots, params = [[None] for _ in node.outputs], node.run_params()
    more = [] if params is gof.graph.NoParams else [params]

    def run():
        node.op.perform(node, arrays, slots, *more)
        return [slot[0] for slot in slots]
    return run


def plan_again(node):
    """Return the plan of an operation whose result depends only on which arrays its inputs are, or None if it is none.

    These are sizes, what is made of them, and views whose indices and shapes are made of them.
    """
    op, view = node.op, isinstance(node.op, VIEWS)
    settled = all(map(is_settled, node.inputs[1:] if view else node.inputs))
    if not (isinstance(op, theano.compile.ops.Shape_i) or settled and isinstance(op, (*MADE_OF_SIZES, *VIEWS))):
        return None

    def plan(arrays, before):
        found = performed(node, arrays)()
        if view and not np.may_share_memory(found[0], arrays[0]):      # a copy, whose numbers change with the array's
            return repeated_plan(node)(arrays, before)
        return found, None
    return plan


def repeated_plan(node):
    """Return the plan of an operation that Theano performs in Python, whose arrays stay the same, for what reads it."""
    def plan(arrays, before):
        run = performed(node, arrays)
        if getattr(node.op, 'destroy_map', None):
            return [arrays[0]], run
        results = run()

        def fill():
            for result, found in zip(results, run()):
                if found is not result:
                    result[...] = found
        return results, fill
    return plan


def sum_plan(node):
    """Return the plan of a Sum, whose array stays the same, for what reads it."""
    op, out = node.op, node.outputs[0]

    def plan(arrays, before):
        x, = arrays
        axes = tuple(range(x.ndim)) if op.axis is None else tuple(op.axis)
        result = reused(before[0], tuple([n for axis, n in enumerate(x.shape) if axis not in axes]), out.dtype)
        # NumPy adds the numbers of a row pairwise, which is as precise as Theano's sums in float64, and faster.
        dtype = x.dtype if axes == (x.ndim - 1,) and x.dtype == out.dtype else op.acc_dtype or out.dtype
        return [result], functools.partial(np.add.reduce, x, axes, dtype, result)
    return plan


def formulas_of(nodes):
    """Attach a Formula to each Elemwise that is one. Return the paths of the libraries with those in C."""
    found = []
    for node in nodes:
        if isinstance(node.op, tt.Elemwise):
            code = code_of(node)
            node.tag.formula = code and Formula(node, *code)
            found += [node.tag.formula] if code and compiler.cxx else []
    paths = {}
    for dtype in {each.dtype for each in found}:
        threads = compiler.compiled_file('vectors.c', source('#include "vectors.c"\n', dtype))
        texts = sorted({each.text for each in found if each.dtype == dtype})
        paths[dtype] = compiler.compiled_file(
            'formulas', source('#include "formulas.h"\n', dtype) + ''.join(texts), [threads])
    for each in found:
        each.path = paths[each.dtype]
    return list(paths.values())


def install():
    """Patch Theano."""
    linker, elemwise, make_thunk = gof.vm.VM_Linker, tt.Elemwise, gof.Op.make_thunk
    make_all = linker.make_all

    def make_all_at_once(self, *arguments, **settings):
        nodes = self.fgraph.apply_nodes
        libraries = {node.op.library.path() for node in nodes if hasattr(node.op, 'library')}
        compiler.build([path for path in (*libraries, *formulas_of(nodes)) if path])
        return make_all(self, *arguments, **settings)

    def make_planned_thunk(self, node, storage_map, compute_map, no_recycling, impl=None):
        found = getattr(node.tag, 'formula', None)
        plans = {tt.Sum: sum_plan, tt.Alloc: repeated_plan, tt.Split: repeated_plan, tt.IncSubtensor: repeated_plan}
        other = plans.get(type(node.op))
        plan = plan_again(node) or (found.plan if found else other and other(node))
        if plan:
            return Planned(node, storage_map, compute_map, plan)
        return make_thunk(self, node, storage_map, compute_map, no_recycling, impl)

    gof.vm.calculate_reallocate_info = lambda *arguments: {}       # each number has an array of its own
    gof.vm.Loop = Loop
    linker.make_all, gof.Op.make_thunk, elemwise.perform = make_all_at_once, make_planned_thunk, perform


if theano.config.device == 'cpu':
    install()
