"""Translate the cell of an LSTM layer, a formula in Python, and its derivative to C and JavaScript.

The graph of a function of Theano's symbols, such as charlstm.lstm_cell, and Theano's graph of its gradient become a
Program: lines such as ('t3', 'Mul', ('t0', 'C_prev')), each an operation on one unit. The code is generated from these
lines: layer.c and network.js contain no formula.
"""
import collections
import hashlib
import json
import re
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.backend.theano_setup import theano, tt

GATES = ('a_f', 'a_i', 'a_o', 'a_g')           # pre-activations: forget, input, output gate and cell update
INPUTS = GATES + ('C_prev',)
STANDARD = 'b9d82cea2d1907f4'      # start of the SHA-256 of the standard formula, which checkpoints leave out
CELL_H = (Path(__file__).parent / 'cell.h').read_text(encoding='utf-8').partition('*/\n')[2]
PLACES = len(GATES)    # numbers per unit that the forward pass can keep; they overwrite the pre-activations

# Theano's scalar operations by name: a template of its text, and its function in NumPy. A template that is a name, such
# as exp, is called as vector_exp in C (functions.h) and as math.exp in JavaScript (network.js).
OPERATIONS = {
    'Add': ('{} + {}', np.add), 'Sub': ('{} - {}', np.subtract), 'Mul': ('{} * {}', np.multiply),
    'TrueDiv': ('{} / {}', np.divide), 'Neg': ('-{}', np.negative), 'Pow': ('pow', np.power), 'Exp': ('exp', np.exp),
    'Expm1': ('expm1', np.expm1), 'Log': ('log', np.log), 'Log1p': ('log1p', np.log1p), 'Sqrt': ('sqrt', np.sqrt),
    'Tanh': ('tanh', np.tanh), 'ScalarSigmoid': ('sigmoid', lambda x: 1 / (1 + np.exp(-x))),   # also if exp(-x) is inf
    'ScalarSoftplus': ('softplus', lambda x: np.logaddexp(0, x)), 'Abs': ('abs', np.abs), 'Sgn': ('sign', np.sign),
    'Minimum': ('min', np.minimum), 'Maximum': ('max', np.maximum),
    'Clip': ('clip', lambda x, low, high: np.where(x < low, low, np.where(x > high, high, x))),
    'LT': ('less', np.less), 'GT': ('greater', np.greater), 'LE': ('less_equal', np.less_equal),
    'GE': ('greater_equal', np.greater_equal), 'EQ': ('equal', np.equal), 'NEQ': ('not_equal', np.not_equal),
    'AND': ('{} * {}', np.multiply), 'OR': ('max', np.maximum), 'Switch': ('where', np.where)}         # AND: of 0 and 1
PRECEDENCE = {'{} + {}': 1, '{} - {}': 1, '{} * {}': 2, '{} / {}': 2, '-{}': 3}         # all others: 4
# Their results are kept for the backward pass, which recomputes those of all others.
COSTLY = ('Pow', 'Exp', 'Expm1', 'Log', 'Log1p', 'Sqrt', 'Tanh', 'ScalarSigmoid', 'ScalarSoftplus')
# Operations that are expressed by others.
REPLACED = {'Sqr': lambda x: ('Mul', x, x), 'Inv': lambda x: ('TrueDiv', 1.0, x), 'Invert': lambda x: ('Sub', 1.0, x)}
# Unsupported operations to name last: they only come along with what a user wrote, such as a mean over units.
NAMED_LAST = r'[^{]*$', r'Shape|Subtensor|\w*DimShuffle', 'Elemwise'
KNOWN = {*OPERATIONS, *REPLACED, 'Identity', 'Cast', 'Second'}


class Code(NamedTuple):
    """Lines (name, operation, arguments), and outputs. A value is a float, or the name of an input or a line."""
    lines: tuple
    outputs: tuple


class Program(NamedTuple):
    """A cell as code for one unit. own: number of the cell's own parameters; kept: of numbers kept for `backward`.

    forward: from INPUTS and own_inputs to h, C and the kept numbers. backward: from these ('kept0' and so on),
    own_inputs, C_prev, C, dh and dC to the gradients of INPUTS and own_inputs.
    """
    own: int
    kept: int
    forward: Code
    backward: Code


def own_inputs(n):
    """Return the names in code of a cell's n own parameters."""
    return tuple(f'own[{k}]' for k in range(n))


# ---------------------------------------------------------------- from a graph to lines

class _Trace:
    """The lines of a graph by name, the values of variables, and an unsupported operation or None."""

    def __init__(self, inputs, dtype):
        self.values, self.dtype, self.lines, self.unknown = inputs, dtype, {}, None

    def add(self, variables):
        """Add the graphs of variables to the lines; return the variables' values."""
        for node in theano.gof.graph.io_toposort(list(self.values), variables):
            arguments = [self._value(variable) for variable in node.inputs]
            for index, output in enumerate(node.outputs):
                value = self._translated(node.op, output, node.inputs, arguments)
                if value is None:
                    self._note(f'{node.op} of {output.type}')
                    value = self._line(f'{node.op}.{index}' if len(node.outputs) > 1 else str(node.op), *arguments)
                self.values[output] = value
        return [self._value(variable) for variable in variables]

    def _value(self, variable):
        if variable not in self.values:
            constant = getattr(variable, 'data', None)
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
        """Return the value of an operation, or None if it is not supported."""
        name, constant = type(getattr(op, 'scalar_op', None)).__name__, all(isinstance(v, float) for v in arguments)
        if isinstance(op, tt.elemwise.DimShuffle) and constant:
            return arguments[0]                # the same number for every unit
        if not isinstance(op, tt.Elemwise) or name not in KNOWN:
            return None
        # Constants may have any type. In a float64 model, Theano keeps comparisons and their products in float32.
        types = {v.dtype for v, value in zip(inputs, arguments) if not isinstance(value, float)} | {output.dtype}
        if not constant and not types <= {self.dtype, 'bool', 'float32'}:
            return None
        if output.dtype == 'bool' and name == 'Add':
            name = 'OR'
        if output.dtype == 'bool' and name == 'Cast':          # a comparison with 0
            name, arguments = 'NEQ', [*arguments, 0.0]
        value = self._simple(name, *arguments)
        # An integer that is too large for its type becomes another number in Theano.
        exact = 'float' in output.dtype or not isinstance(value, float) or np.array(value).astype(output.dtype) == value
        return value if exact else None

    def _simple(self, operation, *arguments):
        """Return the value of an operation, simplified, and computed now if it is constant."""
        if operation in ('Identity', 'Cast', 'Second'):                # Second: the second argument, broadcast
            return arguments[-1]
        if operation in REPLACED:
            return self._simple(*REPLACED[operation](*arguments))
        if len(arguments) > 2 and operation in ('Add', 'Mul'):         # of any number of arguments
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
            # Theano's gradients ask this way which of two numbers was taken. Rounding must not change the answer.
            which, x, y = self.lines[arguments[0]]
            if arguments[1] == x:
                return self._line('GE' if which == 'Maximum' else 'LE', x, y)
        return self._line(operation, *arguments)

    def _line(self, *line):
        name = next((name for name, known in self.lines.items() if known == line), f't{len(self.lines)}')
        self.lines[name] = line
        return name


def _code(lines, outputs, known={}):
    """Return the Code of the lines that `outputs` need. known: values to the names of inputs that hold them."""
    needed = {*outputs} - {*known}
    for name, (_, *arguments) in reversed(lines.items()):
        if name in needed:
            needed.update({*arguments} - {*known})

    def renamed(values):
        return tuple(known.get(value, value) for value in values)

    return Code(tuple((name, operation, renamed(arguments)) for name, (operation, *arguments) in lines.items()
                      if name in needed), renamed(outputs))


def _reads(lines, C):
    """Return for each value which of INPUTS, dh, dC and C it depends on; dependence through C counts as on C only."""
    reads = {name: {name} for name in (*INPUTS, 'dh', 'dC')}
    for name, (_, *arguments) in lines.items():
        reads[name] = {C} if name == C else set().union(*[reads.get(value, ()) for value in arguments])
    return reads


def _kept(lines, C, gradients, costly=COSTLY):
    """Return the values that the forward pass keeps for the gradients, sorted by the gates that they come from.

    The backward pass has C and C_prev anyway, and recomputes cheap operations. It also reads results of costly
    functions, such as sigmoid(a_f), and pre-activations. If these are more than PLACES, only pre-activations are kept.
    """
    reads, wanted, kept = _reads(lines, C), {*gradients}, []
    for value in [*reversed(lines), *GATES]:
        if value in wanted and reads[value] & {*GATES}:
            if value in GATES or lines[value][0] in costly and not reads[value] & {'dh', 'dC'}:
                kept.insert(0, value)
            else:
                wanted.update(lines[value][1:])
    if len(kept) > PLACES:
        return _kept(lines, C, gradients, costly=())
    return sorted(kept, key=lambda value: min(map(GATES.index, reads[value] & {*GATES})))


def _program(trace, variables, h, C, dh, dC):
    """Return the Program of a cell whose operations are supported; None if its gradient has others."""
    known = collections.OrderedDict([(tt.tensor_copy(h), dh), (tt.tensor_copy(C), dC)])    # h may be C, or an input
    gradients = trace.add(theano.grad(None, variables, known_grads=known, disconnected_inputs='ignore'))
    if trace.unknown:
        return None
    h, C = trace.values[h], trace.values[C]
    kept = _kept(trace.lines, C, gradients)
    names = {value: f'kept{k}' for k, value in enumerate(kept)}
    if C in trace.lines:
        names[C] = 'C'
    return Program(len(variables) - len(INPUTS), len(kept), _code(trace.lines, [h, C, *kept]),
                   _code(trace.lines, gradients, names))


# ---------------------------------------------------------------- from lines to text and numbers

def written(code, names, line, constant, prefix='', apart=()):
    """Return code as text: a list of statements, and the expressions of its outputs.

    names: values to other names in the text. line: a format of a statement, for a name and an expression. constant: a
    function from a float to text. prefix: of functions. apart: lines that are statements even if they are read once.
    """
    uses = collections.Counter([value for line in code.lines for value in line[2]] + 2 * list(code.outputs))
    known, statements = {}, []                 # value to text and precedence

    def text(value, least=0):
        if isinstance(value, float):
            return constant(value)
        expression, precedence = known.get(value, (names.get(value, value), 4))
        return f'({expression})' if precedence < least else expression

    for name, operation, arguments in code.lines:
        template = OPERATIONS.get(operation, [operation])[0]
        precedence = PRECEDENCE.get(template, 4)
        if precedence < 4:                     # a last operand of the same precedence gets brackets: a - (b - c), -(-a)
            least = [precedence, precedence + 1][-len(arguments):]
            expression = template.format(*map(text, arguments, least))
        else:
            expression = f'{prefix}{template}({", ".join(map(text, arguments))})'
        if uses[name] > 1 or name in apart:
            statements.append(line.format(names.get(name, name), expression))
        else:
            known[name] = expression, precedence
    return statements, [text(value) for value in code.outputs]


def equations(code, names, results, constant, apart=()):
    """Return code as lines of text, name = expression. results: the names of the outputs; others as for written."""
    computed = {name for name, *_ in code.lines}
    named = {value: name for value, name in zip(reversed(code.outputs), reversed(results)) if value in computed}
    lines, outputs = written(code, {**names, **named}, '{} = {}', constant, apart=apart)
    return lines + [f'{name} = {output}' for name, output in zip(results, outputs) if name != output]


# Arguments of written for the bodies of functions.
IN_C = dict(line='const vector {} = {};', constant='number({!r})'.format, prefix='vector_')
IN_JAVASCRIPT = dict(line='const {} = {};', constant=repr, prefix='math.')


def _body(code, language, outputs, names={}, inputs={}):
    """Return the body of a function. outputs: a format for each; inputs: names to what is first read into them."""
    statements, values = written(code, names, **language)
    return ('\n    ' if language is IN_C else '\n  ').join([
        *[language['line'].format(*pair) for pair in inputs.items()], *statements,
        *[output.format(value) for output, value in zip(outputs, values)]])


def c_functions(program):
    """Return cell.h with the declarations of its two functions replaced by definitions for this cell."""
    kept = [f'kept[{k}]' for k in range(program.kept)]
    results = [*[f'da[{k}]' for k in range(PLACES)], '*dC_prev', *[f'd_own[{k}]' for k in range(program.own)]]
    bodies = [_body(program.forward, IN_C, [f'{place} = {{}};' for place in ('*h', '*C', *kept)]),
              _body(program.backward, IN_C, [f'{place} = {{}};' for place in results],
                    {f'kept{k}': place for k, place in enumerate(kept)})]
    text = CELL_H.replace('OWN = 0', f'OWN = {program.own}').replace('KEPT = 4', f'KEPT = {program.kept}')
    return re.sub(r'void (.*?\));', lambda found: f'INLINE void {found[1]}\n{{\n    {bodies.pop(0)}\n}}\n', text,
                  flags=re.DOTALL)


def js_functions(cell):
    """Return a Cell as three functions of one unit in JavaScript, which network.js and learner.js call.

    They read and write an array n, at given indices of h, C and so on; a unit's gates are H numbers apart, from index a
    or da on. As in C, what cellForward keeps for cellBackward overwrites the pre-activations. cellHeld is a forward
    pass that may hold C: after the cell's own parameters, `own` says whether it does (1 or 0), and at which value.
    """
    program, gates, d_gates = cell.program, *[[f'n[{name} + {k} * H]' for k in range(PLACES)] for name in ('a', 'da')]
    inputs = dict(zip(INPUTS, [*gates, 'n[before]']))
    forward, held = [_body(code.forward, IN_JAVASCRIPT, [f'{at} = {{}};' for at in ('n[h_at]', 'n[C_at]', *kept)],
                           inputs=inputs) for code, kept in ((program, gates), (held_cell(cell).program, ()))]
    inputs = {**{f'kept{k}': gates[k] for k in range(program.kept)}, 'C_prev': 'n[before]', 'C': 'n[C_at]',
              'dh': 'n[dh_at]', 'dC': 'n[dC_at]'}
    outputs = [f'{at} = {{}};' for at in (*d_gates, 'n[dC_at]')] + [f'd_own[{k}] += {{}};' for k in range(program.own)]
    backward = _body(program.backward, IN_JAVASCRIPT, outputs, inputs=inputs)
    return f'''function cellForward(n, a, before, h_at, C_at, own, H) {{
  {forward}
}}

function cellHeld(n, a, before, h_at, C_at, own, H) {{
  {held}
}}

function cellBackward(n, a, before, C_at, own, dh_at, dC_at, da, d_own, H) {{
  {backward}
}}
'''


def js_steps(cell):
    """Return the formula of a Cell in JavaScript for inside.js: its lines as text, and a function for their values.

    A line is a name and an expression. Names are f, i, o, g, h, C, the cell's own parameters, and t0, t1 ... for other
    values that are read twice. A gate is the first costly function of its pre-activation and of no other one.
    """
    program, gates, own = cell.program, {}, dict(zip(own_inputs(len(cell.own)), cell.own))
    h, C = program.forward.outputs[:2]
    lines = {name: (operation, *arguments) for name, operation, arguments in program.forward.lines}
    reads, code = _reads(lines, C), _code(lines, [h, C])
    for name, (operation, *_) in lines.items():
        of_gates = [gate[-1] for gate in GATES if gate in reads[name]]
        if operation in COSTLY and len(of_gates) == 1 and not {*of_gates} & {*gates.values(), *cell.own}:
            gates[name] = of_gates[0]
    shown = equations(code, {**gates, **own}, 'hC', '{:.6g}'.format, apart=gates)
    statements, values = written(code, {}, **IN_JAVASCRIPT, apart=gates)
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


class Cell:
    """The cell of a model. Called with five symbols (B,H) and those of its own parameters, it returns h and C (B,H).

    function    of symbols, like lstm_cell; own: the names of its own parameters; dtype: the type of all numbers
    formula     its graph as text; standard: whether it is the standard formula, which checkpoints leave out
    program     the Program, or None if an operation cannot be code for one unit
    unknown     that operation, or None
    """

    def __init__(self, function, own, dtype):
        self.function, self.own, self.dtype = function, tuple(own), dtype
        self.name = getattr(function, '__qualname__', str(function)).split('<locals>.')[-1]
        *variables, dh, dC = [tt.matrix(name, dtype) for name in (*INPUTS, *self.own, 'dh', 'dC')]
        h, C = self(variables[:5], variables[5:])
        names = own_inputs(len(self.own))
        trace = _Trace(dict(zip([*variables, dh, dC], [*INPUTS, *names, 'dh', 'dC'])), dtype)
        code = _code(trace.lines, trace.add([h, C]))
        # Constants are rounded to float32, so that the formula is the same for both types.
        self.formula = '; '.join(equations(code, dict(zip(names, self.own)), 'hC',
                                           lambda value: re.sub(r'\.0$', '', str(np.float32(value)))))
        self.standard = hashlib.sha256(self.formula.encode()).hexdigest().startswith(STANDARD)
        self.program = None if trace.unknown else _program(trace, variables, h, C, dh, dC)
        self.unknown = trace.unknown

    def __call__(self, inputs, own):
        returned = self.function(*inputs, **dict(zip(self.own, own)))
        if not isinstance(returned, (list, tuple)) or len(returned) != 2:
            raise ValueError(f'the cell {self.name} returns {returned}: expected h and C')
        for name, value in zip('hC', returned):
            found = getattr(value, 'type', value)
            if found != inputs[4].type:
                raise ValueError(f'the cell {self.name} returns {found} for {name}: expected the type of C_prev, '
                                 f'{inputs[4].type}; Python numbers keep the type, NumPy arrays may change it')
        return returned


HOLD = 'is held', 'held at'    # parameters of a held cell: names that no user's cell can have


def held_cell(cell):
    """Return a Cell like `cell` whose units may be held: C is `held at` in units whose `is held` is 1, not 0.

    These parameters come after the cell's own. h follows from the held C, if the cell computes h from C.
    """
    def held(*inputs, **own):
        is_held, held_at = [own.pop(name) for name in HOLD]
        h, C = cell(inputs, list(own.values()))
        C_held = tt.switch(is_held, held_at, C)
        return theano.clone(h, replace={C: C_held}), C_held
    held.__qualname__ = cell.name
    return Cell(held, cell.own + HOLD, cell.dtype)
