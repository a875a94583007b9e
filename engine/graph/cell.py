"""Translate the cell of a layer, a formula in Python, and its derivative to lines of operations.

The graph of a function of Theano's symbols, such as charlstm.lstm_cell, and Theano's graph of its gradient become a
Program: lines such as ('t3', 'Mul', ('t0', 'before[0]')), each an operation on one unit. in_c.py writes these lines in
C: layer.c contains no formula.
"""
import collections
import contextlib
import inspect
import re
import traceback
from typing import NamedTuple

import numpy as np

from engine import checks
from engine.backend.theano_setup import theano, tt
from engine.data.parameters import PREFIXES, cell_parameter_shape, is_matrix, units
from engine.graph.formula import COSTLY, Code, Constant, Trace, code_of, equations

# The standard formula, that of lstm_cell in charlstm.py, which checkpoints leave out.
STANDARD = 'C = sigmoid(a_f) * C_prev + sigmoid(a_i) * tanh(a_g); h = sigmoid(a_o) * tanh(C)'
STANDARD_ARGUMENTS = 'a_f', 'a_i', 'a_o', 'a_g', 'C_prev'
CUMSUM = [tt.extra_ops.CumOp(axis, 'add') for axis in (1, -1)]
EXAMPLE = 'expected, for example, cell(a_z, x_n, h_n, C_prev, p=0), which returns h and C'
# Names that others have: of parameters, of values in a formula, and of arrays in a checkpoint.
TAKEN = re.compile(rf'(U|W|b|h|M_|t\d+|)$|{PREFIXES}')


# ---------------------------------------------------------------- what a cell's signature declares

class Counts(NamedTuple):
    """How many rows b, U and W have, and how many states S, own parameters (H,) and matrices M there are.

    Row k of b is row k - (b - W) of W.
    """
    b: int
    U: int
    W: int
    S: int
    cell_p: int
    M: int = 0

    @property
    def rows(self):
        """Return how many rows b, U and W have, as parameter_shapes takes them."""
        return self[:3]


class Declared(NamedTuple):
    """The arguments of a cell. rows: names in the order of b. states: without _prev.

    parameters: their initial values by name, numbers or functions of (units, random); the matrices come last.
    The rows of U only, x_NAME, come first, then those of U and W, a_NAME, and last those of W only, h_NAME.
    """
    rows: tuple
    states: tuple
    parameters: dict

    @property
    def names(self):
        """Return the names of the arguments but K_NAME: the rows, the states and the own parameters."""
        return (*self.rows, *[f'{state}_prev' for state in self.states], *self.parameters)

    @property
    def counts(self):
        kinds = collections.Counter([name[0] for name in self.rows])
        matrices = sum(map(is_matrix, self.parameters))
        return Counts(len(self.rows), kinds['x'] + kinds['a'], kinds['a'] + kinds['h'], len(self.states),
                      len(self.parameters) - matrices, matrices)


def several(argument):
    """Return the names that an argument stands for: C0_prev, C1_prev and C2_prev for C_prev: 3, else its own."""
    n = argument.annotation
    return [argument.name.replace('_prev', f'{k}_prev') for k in range(n)] if isinstance(n, int) else [argument.name]


def declared(function, name):
    """Return what the signature of a cell declares. Raise ValueError if it is not the signature of a cell."""
    kinds, cell_p = dict(x=[], a=[], h=[], M=[], K=[], state=[]), {}
    if hasattr(function, '__self__') or not callable(function):
        raise ValueError(f'the cell {name} is no function, or a method: write @staticmethod above it')
    for argument in inspect.signature(function).parameters.values():
        is_own = argument.default is not argument.empty
        kind = 'state' if argument.name.endswith('_prev') else re.match('([xahMK])_.|', argument.name)[1]
        if is_own != (kind in (None, 'K')) or argument.kind not in (argument.POSITIONAL_OR_KEYWORD,
                                                                    argument.KEYWORD_ONLY):
            raise ValueError(f'the cell {name} has an argument {argument}: {EXAMPLE}')
        if kind is None:
            cell_p[argument.name] = argument.default if callable(argument.default) else checks.real(
                f'the initial value of {argument.name} in the cell {name}', argument.default, 'for all units',
                lambda v: True)
        else:
            kinds[kind] += several(argument)
    states = [state.removesuffix('_prev') for state in kinds['state']]
    found = Declared((*kinds['x'], *kinds['a'], *kinds['h']), tuple(states),
                     {**cell_p, **dict.fromkeys(kinds['M'], lambda units, random: random.uniform(         # like W
                         -units ** -0.5, units ** -0.5, (units, units)))})
    refused = {*states} & {*found.rows, *cell_p} | {each for each in (*states, *cell_p) if TAKEN.match(each)} | {
        each for each in found.names if not each.isascii()}
    if 'h' in states:
        raise ValueError(f'the cell {name} has an argument h_prev: return h as a state, too, as in cell(a_z, y_prev), '
                         'which returns h and h')
    if refused:
        raise ValueError(f'the cell {name} has an argument for {min(refused)!r}: choose another name, in ASCII')
    if not (found.states and kinds['x'] + kinds['a']):
        raise ValueError(f'the cell {name} declares no state, or no row that reads the input: {EXAMPLE}')
    return found


def initial_cell_parameters(cell, H, random):
    """Return the initial values of a cell's own parameters for H units by name. Raise ValueError for another shape."""
    cell_p = {name: np.asarray(value(H, random) if callable(value) else np.full(H, value), cell.dtype)
              for name, value in cell.parameters.items()}
    for constant in cell.constants:
        constant.array(H)                                  # raises for another shape
    for name, array in cell_p.items():
        if array.shape != cell_parameter_shape(name, H):
            raise ValueError(f'the cell {cell.name} has initial values of {name} of the shape {array.shape}: expected '
                             f'{cell_parameter_shape(name, H)}')
    return cell_p


def places(name, n):
    """Return the names in code of n values: name[0], name[1] ..."""
    return tuple(f'{name}[{k}]' for k in range(n))


def parts(array, n, H):
    """Return the n parts (B,H) of an array (B,n*H)."""
    return [array[:, k * H:(k + 1) * H] for k in range(n)]


def inputs_of(counts):
    """Return the names in code of a cell's inputs: rows, states before the step, own parameters and matrices."""
    return places('a', counts.b) + places('before', counts.S) + cell_p_places(counts)


def cell_p_places(counts):
    """Return the names in code of a cell's own parameters and matrices."""
    return places('cell_p', counts.cell_p) + places('M', counts.M)


def triangle(units):
    """Return the matrix (H,H) whose product with v (B,H) is the cumulative sum of v over the units."""
    return np.triu(np.ones((units, units)))


def with_products(outputs):
    """Return outputs in a list, with products with a `triangle` in the place of each tt.cumsum(v, axis=1)."""
    for node in theano.gof.graph.io_toposort([], outputs):
        if node.op in CUMSUM and node.inputs[0].type == outputs[0].type:
            v, = node.inputs
            product = tt.dot(v, Constant('triangle', triangle, v.dtype)(v.shape[1]))
            return with_products(theano.clone([*outputs], {node.outputs[0]: product}))         # another may read it
    return outputs


# ---------------------------------------------------------------- the Program

class Program(NamedTuple):
    """A cell as code for one unit. kept: how many numbers the forward pass keeps for `backward`, at most counts.b.

    forward: from the inputs a, before, cell_p and M to h, the states after the step, and kept. backward: from kept,
    before, after, cell_p, M, dh and d_after to da, factors, d_before and d_cell_p. pairs: (k, v, g) if v^T.g, of
    factors or da, is a part of the gradient of M[k]; v and g are numbers in da and, from counts.b on, in factors.
    """
    counts: Counts
    kept: int
    forward: Code
    backward: Code
    pairs: tuple

    @property
    def factors(self):
        """Return how many factors `backward` computes."""
        counts = self.counts
        return len(self.backward.outputs) - counts.b - counts.S - counts.cell_p


def reads_of(lines, states, rows):
    """Return for each value which of the rows, dh and d_after it depends on, and on which states after the step.

    What a value depends on through a state does not count.
    """
    reads = {name: {name} for name in (*rows, 'dh', *places('d_after', len(states)))}
    for name, (_, *arguments) in lines.items():
        reads[name] = {name} if name in states else set().union(*[reads.get(value, ()) for value in arguments])
    return reads


def _kept(lines, states, gradients, rows, costly=COSTLY):
    """Return the values that the forward pass keeps for the gradients, sorted by the rows that they come from.

    The backward pass has the states anyway, and recomputes cheap operations. It also reads results of costly functions,
    such as sigmoid(a_f), and pre-activations. If these are more than the rows, only pre-activations are kept.
    """
    reads, wanted, kept = reads_of(lines, states, rows), {*gradients}, []
    for value in [*reversed(lines), *rows]:
        if value in wanted and reads[value] & {*rows}:
            if value in rows or lines[value][0] in costly and not any(name[0] == 'd' for name in reads[value]):
                kept.insert(0, value)
            else:
                wanted.update(lines[value][1:])
    if len(kept) > len(rows):
        return _kept(lines, states, gradients, rows, costly=())
    return sorted(kept, key=lambda value: min(map(rows.index, reads[value] & {*rows})))


def factors_of(gradient):
    """Return pairs of symbols v and g whose products v^T.g add up to Theano's gradient of a matrix, or to None, 0."""
    if gradient is None:
        return []
    op, inputs = gradient.owner.op, gradient.owner.inputs
    if isinstance(op, tt.Dot):                                         # of the transpose of v, and g
        return [(inputs[0].owner.inputs[0], inputs[1])]
    if isinstance(op, tt.elemwise.DimShuffle):                         # the transpose of g^T.v
        return [(g, v) for v, g in factors_of(*inputs)]
    return [pair for v in inputs for pair in factors_of(v)]            # a sum


def _program(trace, counts, variables, outputs, d_outputs):
    """Return the Program of a cell whose operations are supported; None if its gradient has others."""
    # Copies, since an output may be another one, or an input.
    known = collections.OrderedDict(zip(map(tt.tensor_copy, outputs), d_outputs))
    found = theano.grad(None, variables, known_grads=known, disconnected_inputs='ignore', return_disconnected='None')
    n, matrices = counts.b + counts.S + counts.cell_p, sum(constant.is_matrix for constant in trace.constants)
    counts = counts._replace(cell_p=counts.cell_p + len(trace.constants) - matrices, M=counts.M + matrices)
    gradients = trace.add([tt.zeros_like(v) if gradient is None else gradient
                           for v, gradient in zip(variables, found[:n])]) + [0.0] * (len(trace.constants) - matrices)
    pairs = [(k, *trace.add(pair)) for k, gradient in enumerate(found[n:]) for pair in factors_of(gradient)]
    if trace.unknown is not None:
        return None
    h, *states = [trace.values[output] for output in outputs]
    da = gradients[:counts.b]
    factors = [v for v in dict.fromkeys(value for _, *pair in pairs for value in pair) if v not in da]
    gradients[counts.b:counts.b] = factors
    numbers = {v: (da + factors).index(v) for v in da + factors}
    kept = _kept(trace.lines, states, gradients, places('a', counts.b))
    names = {**dict(zip(kept, places('kept', len(kept)))),
             **{state: place for state, place in zip(states, places('after', counts.S)) if state in trace.lines}}
    return Program(counts, len(kept), code_of(trace.lines, [h, *states, *kept]),
                   code_of(trace.lines, gradients, names), tuple((k, numbers[v], numbers[g]) for k, v, g in pairs))


# ---------------------------------------------------------------- errors in functions of a user

def in_files(functions, traces):
    """Return the last entry of a list of traceback that is in one of the files of functions, the first file first."""
    for path in dict.fromkeys(f.__code__.co_filename for f in functions if hasattr(f, '__code__')):
        for entry in reversed(traces):
            if entry[0] == path:
                return f'{path}, line {entry[1]}'


def line_that_makes(variable, functions):
    """Return the line that made a symbol, if it is in a file of one of the functions, as in_files does."""
    return in_files(functions, (getattr(variable.tag, 'trace', None) or [[]])[0])


@contextlib.contextmanager
def lines_of(functions, what, values={}):
    """Raise ValueError with the line, for errors in functions. values: of symbols, computed with in the block, too."""
    for symbol, value in values.items():
        symbol.tag.test_value = np.asarray(value, symbol.dtype)
    try:
        with np.errstate(all='ignore'), theano.change_flags(compute_test_value='ignore' if values else 'off'):
            yield
    except Exception as error:                             # Theano raises all kinds
        place = in_files(functions, traceback.extract_tb(error.__traceback__))
        if place is None or isinstance(error, np.linalg.LinAlgError):
            raise
        said = re.sub(r'(?s)\[\[.*\]\]', 'arrays', str(error)).partition('\n')[0]
        if said == 'Variables do not support boolean operations.':
            said = 'symbols are neither true nor false: write tt.switch(condition, yes, no) instead of if'
        raise ValueError(f'{what}, {place}: {said or type(error).__name__}') from None


# ---------------------------------------------------------------- the Cell

class Cell:
    """The cell of a model. Called with symbols (B,H) of its inputs, it returns h and the new states, (B,H) each.

    function    of symbols, like lstm_cell; dtype: the type of all numbers
    rows, states, parameters: what its signature declares, as in Declared; counts: how many of each
    constants   the Constants of its program; read: names of these and of parameters in the order of C
    remembers   numbers of the rows whose biases make a unit remember, to their signs
    formula     its graph as text; standard: whether it is the standard formula, which checkpoints leave out
    program     the Program, or None if an operation cannot be code for one unit
    unknown     that operation and its line, as text, or None
    """

    def __init__(self, function, dtype, remembers={}, arguments=None):
        """Make a cell. arguments: a Declared in place of the function's signature."""
        self.function, self.dtype = function, dtype
        self.name = getattr(function, '__qualname__', str(function)).split('<locals>.')[-1]
        self.declared = arguments = arguments or declared(function, self.name)
        self.rows, self.states, self.parameters = arguments
        self.counts = counts = arguments.counts
        suffixes = [row[2:] for row in self.rows]
        self.remembers = {suffixes.index(name): sign for name, sign in remembers.items() if name in suffixes}
        inputs = inputs_of(counts)
        self.named = dict(zip(inputs, arguments.names))
        gradients = ('dh', *places('d_after', counts.S))
        variables = [tt.matrix(name, dtype) for name in (*inputs, *gradients)]
        n, trace = len(inputs), Trace(dict(zip(variables, (*inputs, *gradients))), dtype, of_cell=True)
        with lines_of([function], f'the cell {self.name}'):
            given = inspect.signature(function).parameters
            self._constants = [Constant(name, argument.default, dtype) for name, argument in given.items()
                               if name.startswith('K_') and argument.default is not argument.empty]
            self._lists = {name: several(argument) for name, argument in given.items() if several(argument) != [name]}
            outputs = with_products(self(variables[:n]))
        code = code_of(trace.lines, trace.add(outputs))
        self.named.update({place: constant.name for constant, place in trace.constants.items()})
        # Constants are rounded to float32, so that the formula is the same for both types.
        self.formula = '; '.join(equations(code, self.named, ('h', *self.states),
                                           lambda value: re.sub(r'\.0$', '', str(np.float32(value)))))
        rows_and_states = arguments.names[:counts.b + counts.S]
        if rows_and_states != STANDARD_ARGUMENTS or trace.constants:
            self.formula = f'({", ".join((*rows_and_states, *[v.text for v in trace.constants]))}): {self.formula}'
        self.standard = self.formula == STANDARD
        known = trace.unknown is None                      # in the formula; the gradient may have others
        self.program = _program(trace, counts, variables[:n], outputs, variables[n:]) if known else None
        self.unknown, unknown = None, trace.unknown
        if unknown is not None:
            place = line_that_makes(unknown, [function])
            self.unknown = f'{unknown.owner.op if unknown.owner else unknown}' + (f', in {place}' if place else '')
        self.constants = [*trace.constants] if self.program else []
        self.read = [self.named[place] for place in cell_p_places(self.program.counts if self.program else counts)]

    def with_constants(self, p):
        """Return parameters by name, arrays, and the constants of each layer."""
        return {**p, **{f'{constant.name}{k}': constant.array(H) for k, H in enumerate(units(p), 1)
                        for constant in self.constants}}

    def __call__(self, inputs):
        values = {**dict(zip(self.declared.names, inputs)), **{
            constant.name: constant(inputs[0].shape[1]) for constant in self._constants}}
        lists = {name: [values.pop(each) for each in names] for name, names in self._lists.items()}
        returned = self.function(**values, **lists)
        if isinstance(returned, (list, tuple)):
            returned = [v for each in returned for v in (each if isinstance(each, (list, tuple)) else [each])]
        expected = ('h', *self.states)
        if not isinstance(returned, (list, tuple)) or len(returned) != len(expected):
            raise ValueError(f'the cell {self.name} returns {returned}: expected {" and ".join(expected)}, as in '
                             f'return {", ".join(expected)}')
        for name, value in zip(expected, returned):
            found = getattr(value, 'type', value)
            if found != inputs[self.counts.b].type:
                raise ValueError(f'the cell {self.name} returns {found} for {name}: expected the type of '
                                 f'{self.states[0]}_prev, {inputs[self.counts.b].type}; Python numbers keep the type, '
                                 'NumPy arrays may change it')
        return returned

    def pre_activations(self, a_x, a_h, b):
        """Return the pre-activations of a step, (B,H) each, from a_x, the rows U[r].x, and a_h, the rows W[r].h_prev.

        The first rows of b read only x, and the last ones only h.
        """
        H, counts = b.shape[1], self.counts
        of_x = parts(a_x, counts.U, H) + [0] * (counts.b - counts.U)
        of_h = [0] * (counts.b - counts.W) + parts(a_h, counts.W, H)
        return [of_x[r] + of_h[r] + b[r] for r in range(counts.b)]

    def split(self, C):
        """Return the states in C (B,SH), (B,H) each."""
        return parts(C, self.counts.S, C.shape[1] // self.counts.S)

    def check(self, H):
        """Raise ValueError, with its line, if the function cannot compute H units, as sizes do not match."""
        random = np.random.default_rng(0)
        cell_p, numbers = initial_cell_parameters(self, H, random), random.uniform(size=(H + 1, H))
        values = {tt.TensorType(self.dtype, (name in cell_p and not is_matrix(name), False))(name):
                  np.atleast_2d(cell_p.get(name, numbers)) for name in self.declared.names}
        try:
            with lines_of([self.function], f'the cell {self.name}', values):
                self([*values])
        except np.linalg.LinAlgError:                      # it may be able to compute other numbers
            return


HOLD = 'is held', 'held at'    # parameters of a held cell, before a state's name: names that no user's cell can have


def held_cell(cell):
    """Return a Cell like `cell` whose units may be held: C is `held at C` in units whose `is held C` is 1, not 0.

    There are two such parameters for each state, before the cell's own. h and other states that the cell computes from
    a state follow from the held one.
    """
    names = [f'{name} {state}' for state in cell.states for name in HOLD]

    def held(**inputs):
        holds = [inputs.pop(name) for name in names]
        outputs, before = list(cell(list(inputs.values()))), [inputs[f'{state}_prev'] for state in cell.states]
        for k, (is_held, held_at) in enumerate(zip(holds[::2], holds[1::2]), 1):
            if outputs[k] in before + outputs[1:k]:        # what reads that one must not follow from this one
                outputs[k] = tt.tensor_copy(outputs[k])
            at = tt.switch(is_held, held_at, outputs[k])
            outputs = theano.clone(outputs, replace={outputs[k]: at})
        return outputs
    held.__qualname__ = cell.name
    parameters = {**dict.fromkeys(names, 0), **cell.parameters}
    return Cell(held, cell.dtype, arguments=cell.declared._replace(parameters=parameters))
