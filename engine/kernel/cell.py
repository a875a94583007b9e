"""The cell of an LSTM layer. Its formula in Python, and its derivative, become code in C and JavaScript.

A cell is a function of Theano's symbols, such as charlstm.lstm_cell. Its graph, and Theano's graph of its gradient,
become a Program: lines such as ('t3', 'Mul', ('t0', 'C_prev')), each an operation on one unit.
All other forms of the cell are written from these lines: layer.c and network.js have no formula.
"""
import collections
import hashlib
import json
import re
import zlib
from typing import Callable, NamedTuple

import numpy as np

from engine.backend.theano_setup import theano, tt

GATES = ('a_f', 'a_i', 'a_o', 'a_g')           # pre-activations: forget, input, output gate and cell update
INPUTS = GATES + ('C_prev',)
STANDARD = 'b9d82cea2d1907f4'      # the beginning of the SHA-256 of the standard formula, which checkpoints leave out
PLACES = len(GATES)    # numbers a unit that the forward pass can keep: they overwrite the pre-activations


def as_float(compare):
    """Return a comparison of NumPy's that gives 0.0 or 1.0, as Theano's do in arithmetic."""
    return lambda x, y: compare(x, y) * 1.0


# Theano's scalar operations by name: how each is written as text, and its function in NumPy. In the text, exp and so on
# become vector_exp and so on in C (functions.h), and math.exp and so on in JavaScript (network.js).
OPERATIONS = {
    'Add': ('{} + {}', np.add), 'Sub': ('{} - {}', np.subtract), 'Mul': ('{} * {}', np.multiply),
    'TrueDiv': ('{} / {}', np.divide), 'Neg': ('-{}', np.negative), 'Pow': ('pow({}, {})', np.power),
    'Exp': ('exp({})', np.exp), 'Expm1': ('expm1({})', np.expm1), 'Log': ('log({})', np.log),
    'Log1p': ('log1p({})', np.log1p), 'Sqrt': ('sqrt({})', np.sqrt), 'Tanh': ('tanh({})', np.tanh),
    'ScalarSigmoid': ('sigmoid({})', lambda x: 1 / (1 + np.exp(-x))),     # exp(-x) = inf is right: the result is 0
    'ScalarSoftplus': ('softplus({})', lambda x: np.logaddexp(0, x)),
    'Abs': ('abs({})', np.abs), 'Sgn': ('sign({})', np.sign),
    'Minimum': ('min({}, {})', np.minimum), 'Maximum': ('max({}, {})', np.maximum),
    'Clip': ('clip({}, {}, {})', lambda x, low, high: np.where(x < low, low, np.where(x > high, high, x))),
    'LT': ('less({}, {})', as_float(np.less)), 'GT': ('greater({}, {})', as_float(np.greater)),
    'LE': ('less_equal({}, {})', as_float(np.less_equal)), 'GE': ('greater_equal({}, {})', as_float(np.greater_equal)),
    'EQ': ('equal({}, {})', as_float(np.equal)), 'NEQ': ('not_equal({}, {})', as_float(np.not_equal)),
    'AND': ('{} * {}', np.multiply), 'OR': ('max({}, {})', np.maximum),         # of 0 and 1
    'Switch': ('where({}, {}, {})', np.where)}
PRECEDENCE = {'{} + {}': 1, '{} - {}': 1, '{} * {}': 2, '{} / {}': 2, '-{}': 3}         # of all others: 4
# Their results are kept for the backward pass; it computes those of all others again.
COSTLY = ('Pow', 'Exp', 'Expm1', 'Log', 'Log1p', 'Sqrt', 'Tanh', 'ScalarSigmoid', 'ScalarSoftplus')
# Operations that are written with others.
REPLACED = {'Sqr': lambda x: ('Mul', x, x), 'Inv': lambda x: ('TrueDiv', 1.0, x), 'Invert': lambda x: ('Sub', 1.0, x)}
# Unknown things that are named last: those that come with what a user wrote, such as a mean over units.
NAMED_LAST = r'[^{]*$', r'Shape|Subtensor|\w*DimShuffle', 'Elemwise'
KNOWN = {*OPERATIONS, *REPLACED, 'Identity', 'Cast', 'Second'}


class Code(NamedTuple):
    """Straight-line code. lines: (name, operation, arguments); outputs: values.

    A value is a name, of an input or a line, or a constant, a float.
    """
    lines: tuple
    outputs: tuple


class Program(NamedTuple):
    """A cell as code for one unit. own: how many parameters the cell itself has.

    forward: from INPUTS and own_inputs to h, C and the values to keep for backward. backward: from these ('kept0' and
    so on), own_inputs, C_prev, C, and the gradients dh and dC to the gradients of INPUTS and of own_inputs.
    """
    own: int
    forward: Code
    backward: Code

    @property
    def kept(self):                            # how many numbers
        return len(self.forward.outputs) - 2


def own_inputs(n):
    """Return the names in code of the n parameters of a cell itself."""
    return tuple(f'own{k}' for k in range(n))


# ---------------------------------------------------------------- from a graph to lines

class _Trace:
    """The lines of a graph, name to operation and arguments.

    values: variable to value. unknown: the first operation or variable that code cannot have, or None.
    """

    def __init__(self, inputs, dtype):
        """Take the inputs, variable to name, and the model's type."""
        self.values, self.lines, self.unknown, self._dtype = dict(inputs), {}, None, dtype
        self._names = {}                       # line to its name: equal lines are one

    def add(self, variables):
        """Add the graphs of variables to the lines; return the variables' values."""
        for node in theano.gof.graph.io_toposort(list(self.values), variables):
            arguments = [self._value(variable) for variable in node.inputs]
            for index, output in enumerate(node.outputs):
                if output not in self.values:
                    value = self._translated(node.op, output, node.inputs, arguments)
                    if value is None:
                        name = f'{node.op}.{index}' if len(node.outputs) > 1 else str(node.op)
                        dtype = getattr(output, 'dtype', self._dtype)
                        self._note(f'{node.op} of type {dtype}' if dtype != self._dtype else str(node.op))
                        value = self._line(name, *arguments)
                    self.values[output] = value
        return [self._value(variable) for variable in variables]

    def _value(self, variable):
        if variable not in self.values:
            constant = getattr(variable, 'data', None) if isinstance(variable, theano.Constant) else None
            if isinstance(constant, np.ndarray) and constant.size == 1 and constant.dtype.kind in 'biuf':
                self.values[variable] = float(constant.item())
            else:                              # an array or a shared variable; a checksum tells arrays apart
                data = f'_{zlib.crc32(constant.tobytes()):08x}' if isinstance(constant, np.ndarray) else ''
                self.values[variable] = f'{variable.name or variable.type}{data}'
                self._note(self.values[variable])
        return self.values[variable]

    def _note(self, what):
        self.unknown = min(filter(None, [self.unknown, what]),
                           key=lambda what: [bool(re.match(pattern, what)) for pattern in NAMED_LAST])

    def _translated(self, op, output, inputs, arguments):
        """Return the value of an operation, or None where code cannot have it."""
        name, constant = type(getattr(op, 'scalar_op', None)).__name__, all(isinstance(v, float) for v in arguments)
        if isinstance(op, tt.elemwise.DimShuffle) and constant:
            return arguments[0]                # a number for every unit
        if not isinstance(op, tt.Elemwise) or name not in KNOWN:
            return None
        # Constants may have any type. In a float64 model, Theano keeps comparisons and their products in float32.
        types = {v.dtype for v, value in zip(inputs, arguments) if not isinstance(value, float)} | {output.dtype}
        of_bits = name in ('AND', 'OR', 'Invert') and output.dtype != 'bool'           # of whole numbers
        if of_bits or not constant and not types <= {self._dtype, 'bool', 'float32'}:
            return None
        if output.dtype == 'bool' and name == 'Add':
            name = 'OR'
        elif output.dtype == 'bool' and name == 'Cast':        # compares numbers with 0
            name, arguments = 'NEQ', [*arguments, 0.0]
        value = self._simple(name, *arguments)
        # A whole number that is too large for its type is another number in Theano.
        exact = 'float' in output.dtype or not isinstance(value, float) or np.array(value).astype(output.dtype) == value
        return value if exact else None

    def _simple(self, operation, *arguments):
        """Return the value of an operation, computed now where it is constant."""
        if operation in ('Identity', 'Cast', 'Second'):                # Second: the second, in the shape of the first
            return arguments[-1]
        if operation in REPLACED:
            return self._simple(*REPLACED[operation](*arguments))
        if len(arguments) > 2 and operation in ('Add', 'Mul'):         # they take any number
            return self._simple(operation, self._simple(operation, *arguments[:-1]), arguments[-1])
        if all(isinstance(value, float) for value in arguments):
            with np.errstate(all='ignore'):
                return float(OPERATIONS[operation][1](*arguments))
        neutral = dict(Add=0.0, Mul=1.0).get(operation)
        if neutral in arguments:
            return arguments[1 - arguments.index(neutral)]
        if operation == 'Pow' and arguments[1] in (1.0, 2.0, 0.5):
            x, power = arguments
            return x if power == 1 else self._line('Sqrt', x) if power == 0.5 else self._line('Mul', x, x)
        if operation == 'EQ' and self.lines.get(arguments[0], ' ')[0] in ('Maximum', 'Minimum'):
            # In this way Theano's gradients ask which of two numbers was taken. Rounding must not change the answer.
            which, x, y = self.lines[arguments[0]]
            if arguments[1] == x:
                return self._line('GE' if which == 'Maximum' else 'LE', x, y)
        return self._line(operation, *arguments)

    def _line(self, *line):
        name = self._names.setdefault(line, f't{len(self._names)}')
        self.lines[name] = line
        return name


def _code(lines, outputs, known={}):
    """Return the Code of the lines that outputs need. known: value to the name of an input that has it."""
    needed, stack = set(), list(outputs)
    while stack:
        value = stack.pop()
        if value in lines and value not in known and value not in needed:
            needed.add(value)
            stack.extend(lines[value][1:])

    def renamed(values):
        return tuple(known.get(value, value) for value in values)

    kept = [(name, *lines[name]) for name in lines if name in needed]
    return Code(tuple((name, operation, renamed(arguments)) for name, operation, *arguments in kept), renamed(outputs))


def _reads(lines, C):
    """Return for each value which of INPUTS, dh and dC it depends on, and on C where it reads that."""
    reads = {name: {name} for name in (*INPUTS, 'dh', 'dC')}
    for name, (_, *arguments) in lines.items():
        reads[name] = {C} if name == C else set().union(*[reads.get(value, ()) for value in arguments])
    return reads


def _kept(lines, C, gradients):
    """Return the values that the forward pass keeps for the gradients, sorted by the gates that they come from.

    The backward pass has C and C_prev anyway, and computes cheap operations again. What else it reads is kept:
    results of costly functions, such as sigmoid(a_f), and pre-activations. Where these are more than PLACES,
    only pre-activations are kept, and all is computed again from them.
    """
    reads = _reads(lines, C)

    def wanted(only_gates):
        found, seen, stack = set(), set(), list(gradients)
        while stack:
            value = stack.pop()
            if value in seen or not reads.get(value, set()) & set(GATES):
                continue
            seen.add(value)
            costly = not only_gates and value in lines and lines[value][0] in COSTLY
            if value in GATES or costly and not reads[value] & {'dh', 'dC'}:
                found.add(value)
            else:
                stack.extend(lines[value][1:])
        return found

    kept, order = wanted(only_gates=False), [*GATES, *lines]
    if len(kept) > PLACES:
        kept = wanted(only_gates=True)
    return sorted(kept, key=lambda value: (min(map(GATES.index, reads[value] & set(GATES))), order.index(value)))


def _program(trace, variables, h, C, dh, dC):
    """Return the Program of a cell without unknown operations; None where its gradient has some."""
    known = collections.OrderedDict([(tt.tensor_copy(h), dh), (tt.tensor_copy(C), dC)])    # h may be C, or an input
    gradients = trace.add(theano.grad(None, variables, known_grads=known, disconnected_inputs='ignore'))
    if trace.unknown:
        return None
    h, C = trace.add([h, C])
    kept = _kept(trace.lines, C, gradients)
    names = {value: f'kept{k}' for k, value in enumerate(kept)}
    if C in trace.lines:
        names[C] = 'C'
    return Program(own=len(variables) - len(INPUTS), forward=_code(trace.lines, [h, C, *kept]),
                   backward=_code(trace.lines, gradients, names))


# ---------------------------------------------------------------- from lines to text and numbers

def written(code, names, line, constant, prefix='', apart=()):
    """Return code as text: a list of statements, and the expressions of its outputs.

    names: value to its name in the text, where it is another. line: a format of a statement, for a name and an
    expression. constant: float to text. prefix: of the names of functions. apart: names of lines that are statements,
    though they are read only once.
    """
    uses = collections.Counter([value for line in code.lines for value in line[2]] + 2 * list(code.outputs))
    known, statements = {}, []                 # value to text and precedence

    def text(value, least=0):
        if isinstance(value, float):
            return constant(value)
        expression, precedence = known.get(value, (names.get(value, value), 4))
        return f'({expression})' if precedence < least else expression

    for name, operation, arguments in code.lines:
        template = OPERATIONS[operation][0] if operation in OPERATIONS else None
        precedence = PRECEDENCE.get(template, 4)
        if precedence < 4:                     # of the same precedence, a last operand has brackets: a - (b - c), -(-a)
            least = [precedence, precedence + 1][-len(arguments):]
            expression = template.format(*map(text, arguments, least))
        else:
            function = template.split('(')[0] if template else operation
            expression = f'{prefix}{function}({", ".join(map(text, arguments))})'
        if uses[name] > 1 or name in apart:
            statements.append(line.format(names.get(name, name), expression))
        else:
            known[name] = expression, precedence
    return statements, [text(value) for value in code.outputs]


def equations(code, names, results, constant, apart=()):
    """Return code as lines of text, name = expression. results: the names of the outputs; the rest as for written."""
    computed = {name for name, *_ in code.lines}
    named = {value: name for value, name in zip(reversed(code.outputs), reversed(results)) if value in computed}
    lines, outputs = written(code, {**names, **named}, '{} = {}', constant, apart=apart)
    return lines + [f'{name} = {output}' for name, output in zip(results, outputs) if name != output]


class Language(NamedTuple):
    """How code is written as the body of a function. statement: a format; number: a constant to text."""
    statement: str
    number: Callable
    prefix: str
    indent: str

    def body(self, program, code, outputs, names={}, inputs={}):
        """Return the body. outputs: a format for each; inputs: places that are read first, by name; others: written."""
        names = {**{name: f'own[{k}]' for k, name in enumerate(own_inputs(program.own))}, **names}
        statements, values = written(code, names, self.statement, self.number, self.prefix)
        return f'\n{self.indent}'.join([*[self.statement.format(*pair) for pair in inputs.items()], *statements,
                                        *[output.format(value) for output, value in zip(outputs, values)]])


IN_C = Language('const vector {} = {};', lambda value: 'number({})'.format(
    repr(value).replace('inf', 'INFINITY').replace('nan', 'NAN')), 'vector_', '    ')
IN_JAVASCRIPT = Language('const {} = {};', lambda value: repr(value).replace('inf', 'Infinity').replace('nan', 'NaN'),
                         'math.', '  ')


def c_functions(program):
    """Return the cell as two functions of vectors in C, which stand in place of cell.h."""
    kept = [f'kept[{k}]' for k in range(program.kept)]
    results = [*[f'da[{k}]' for k in range(PLACES)], '*dC_prev', *[f'd_own[{k}]' for k in range(program.own)]]
    forward = IN_C.body(program, program.forward, [f'{place} = {{}};' for place in ('*h', '*C', *kept)])
    backward = IN_C.body(program, program.backward, [f'{place} = {{}};' for place in results],
                         {f'kept{k}': place for k, place in enumerate(kept)})
    return f'''#ifndef CELL
#define CELL

#include "functions.h"

enum {{ OWN = {program.own} }};
enum {{ KEPT = {program.kept} }};

INLINE void cell_forward(vector a_f, vector a_i, vector a_o, vector a_g, vector C_prev, const vector *own,
                         vector *kept, vector *h, vector *C)
{{
    {forward}
}}

INLINE void cell_backward(const vector *kept, vector C_prev, vector C, const vector *own, vector dh, vector dC,
                          vector *da, vector *dC_prev, vector *d_own)
{{
    {backward}
}}

#endif
'''


def js_function(program):
    """Return the cell as a function of numbers in JavaScript, which network.js calls."""
    body = IN_JAVASCRIPT.body(program, program.forward, ['return [{},', '{}];'])
    return f'function cell({", ".join(INPUTS)}, own) {{\n  {body}\n}}\n'


def js_learning_functions(program):
    """Return the cell as two functions of one unit in JavaScript, which learner.js calls.

    They read and write an array n, at the places of h, C and so on. The gates of a unit are H numbers apart, from a or
    da on. As in C, what the forward pass keeps overwrites the pre-activations.
    """
    gates, d_gates = [[f'n[{name} + {k} * H]' for k in range(PLACES)] for name in ('a', 'da')]
    forward = IN_JAVASCRIPT.body(program, program.forward, [f'{at} = {{}};' for at in ('n[h_at]', 'n[C_at]', *gates)],
                                 inputs=dict(zip(INPUTS, [*gates, 'n[before]'])))
    inputs = {**{f'kept{k}': gates[k] for k in range(program.kept)}, 'C_prev': 'n[before]', 'C': 'n[C_at]',
              'dh': 'n[dh_at]', 'dC': 'n[dC_at]'}
    outputs = [f'{at} = {{}};' for at in (*d_gates, 'n[dC_at]')] + [f'd_own[{k}] += {{}};' for k in range(program.own)]
    backward = IN_JAVASCRIPT.body(program, program.backward, outputs, inputs=inputs)
    return f'''function cellForward(n, a, before, h_at, C_at, own, H) {{
  {forward}
}}

function cellBackward(n, a, before, C_at, own, dh_at, dC_at, da, d_own, H) {{
  {backward}
}}
'''


def js_steps(cell):
    """Return the formula of a Cell in JavaScript for inside.js: its lines as text, and a function of their values.

    A line is a name and an expression. Its names are f, i, o, g, h, C, those of the cell's own parameters, and t0, t1
    ... of what else is read twice. A gate is the first function of its pre-activation and of no other one.
    """
    program, own, gates = cell.program, own_inputs(len(cell.own)), {}
    h, C = program.forward.outputs[:2]
    lines = {name: (operation, *arguments) for name, operation, arguments in program.forward.lines}
    reads, code = _reads(lines, C), _code(lines, [h, C])
    for name, (operation, *_) in lines.items():
        of_gates = [gate[-1] for gate in GATES if gate in reads[name]]
        if operation in COSTLY and len(of_gates) == 1 and not {*of_gates} & {*gates.values(), *cell.own}:
            gates[name] = of_gates[0]
    shown = equations(code, {**gates, **dict(zip(own, cell.own))}, 'hC', '{:.6g}'.format, apart=gates)
    elements = {name: f'own[{k}]' for k, name in enumerate(own)}
    statements, values = written(code, elements, *IN_JAVASCRIPT[:3], apart=gates)
    results = {line.split(' = ')[0]: statement.split()[1] for line, statement in zip(shown, statements)}
    returned = ', '.join(f'{name}: {value}' for name, value in {**results, **dict(zip('hC', values))}.items())
    body = '\n  '.join([*statements, f'return {{{returned}}};'])
    formula = dict(own=cell.own, standard=cell.standard, lines=[line.split(' = ', 1) for line in shown])
    return f'''const cellFormula = {json.dumps(formula)};

/** The values of the lines of cellFormula, by name. */
function cellValues({", ".join(INPUTS)}, own) {{
  {body}
}}
'''


# ---------------------------------------------------------------- a cell, checked

class Cell:
    """The cell of a model. Called with five symbols (B,H) and those of its own parameters, it returns h and C (B,H).

    function: of symbols, as lstm_cell. own: the names of its own parameters. formula: its graph as text. program: the
    Program, or None where it has an operation that cannot be code for one unit. unknown: that operation, or None.
    draws: whether the cell draws random numbers. dtype: the type of all numbers. Raises ValueError for a function that
    cannot be a cell.
    """

    def __init__(self, function, own, dtype):
        self.function, self.own, self.dtype = function, tuple(own), dtype
        self.name = getattr(function, '__qualname__', str(function)).split('<locals>.')[-1]
        variables = [tt.matrix(name, dtype) for name in INPUTS + self.own]
        dh, dC = [tt.matrix(name, dtype) for name in ('dh', 'dC')]
        self(variables[:5], [tt.row(name, dtype) for name in self.own])            # as theano.scan calls it
        h, C = self(variables[:5], variables[5:])
        read = theano.gof.graph.ancestors([h, C])
        for variable in variables[4:]:
            if variable not in read:
                raise ValueError(f'the cell {self.name} does not use {variable.name}')
        self.draws = any(getattr(variable, 'default_update', None) is not None for variable in read)
        trace = _Trace(dict(zip([*variables, dh, dC], [*INPUTS, *own_inputs(len(self.own)), 'dh', 'dC'])), dtype)
        code = _code(trace.lines, trace.add([h, C]))
        # Constants have the digits of float32, so that both types have the same formula.
        self.formula = '; '.join(equations(code, dict(zip(own_inputs(len(self.own)), self.own)), 'hC',
                                           lambda value: re.sub(r'\.0$', '', str(np.float32(value)))))
        self.program = None if trace.unknown else _program(trace, variables, h, C, dh, dC)
        self.unknown = trace.unknown

    def __call__(self, inputs, own):
        h, C = self.function(*inputs, **dict(zip(self.own, own)))
        for name, value in (('h', h), ('C', C)):
            found = getattr(value, 'type', value)
            if found != inputs[4].type:
                raise ValueError(f'the cell {self.name} returns {found} for {name}: expected the type of C_prev, '
                                 f'{inputs[4].type}; Python numbers leave types as they are, NumPy arrays may not')
        return h, C

    @property
    def standard(self):
        """Return whether this is the cell of a checkpoint that names none."""
        return hashlib.sha256(self.formula.encode()).hexdigest().startswith(STANDARD)


HOLD = 'is held', 'held at'    # parameters of a held cell: no cell of a user has one of these names


def held_cell(cell):
    """Return a Cell like `cell`, whose units may be held: C is `held at` in units where `is held` is 1, not 0.

    These parameters come after the cell's own. h follows from the C that is held, so far as cell computes h from the
    C that it returns.
    """
    def held(*inputs, **own):
        is_held, held_at = [own.pop(name) for name in HOLD]
        h, C = cell(inputs, list(own.values()))
        C_held = tt.switch(is_held, held_at, C)
        return theano.clone(h, replace={C: C_held}), C_held
    held.__qualname__ = cell.name
    return Cell(held, cell.own + HOLD, cell.dtype)
