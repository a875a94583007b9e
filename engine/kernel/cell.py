"""Translate the cell of an LSTM layer, a formula in Python, and its derivative to C and JavaScript.

The graph of a function of Theano's symbols, such as charlstm.lstm_cell, and Theano's graph of its gradient become a
Program: lines such as ('t3', 'Mul', ('t0', 'C_prev')), each an operation on one unit. The code is generated from these
lines: layer.c and network.js contain no formula.
"""
import collections
import hashlib
import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.backend.theano_setup import theano, tt
from engine.kernel.formula import IN_C, IN_JAVASCRIPT, Code, Trace, code_of, equations, written

GATES = ('a_f', 'a_i', 'a_o', 'a_g')           # pre-activations: forget, input, output gate and cell update
INPUTS = GATES + ('C_prev',)
STANDARD = 'b9d82cea2d1907f4'      # start of the SHA-256 of the standard formula, which checkpoints leave out
CELL_H = (Path(__file__).parent / 'cell.h').read_text(encoding='utf-8').partition('*/\n')[2]
PLACES = len(GATES)    # numbers per unit that the forward pass can keep; they overwrite the pre-activations

# Their results are kept for the backward pass, which recomputes those of all others.
COSTLY = ('Pow', 'Exp', 'Expm1', 'Log', 'Log1p', 'Sqrt', 'Tanh', 'ScalarSigmoid', 'ScalarSoftplus')


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
    return Program(len(variables) - len(INPUTS), len(kept), code_of(trace.lines, [h, C, *kept]),
                   code_of(trace.lines, gradients, names))


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
    reads, code = _reads(lines, C), code_of(lines, [h, C])
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
        trace = Trace(dict(zip([*variables, dh, dC], [*INPUTS, *names, 'dh', 'dC'])), dtype)
        code = code_of(trace.lines, trace.add([h, C]))
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
