"""Judge solutions of the exercises in README.md, each file in a process of its own, in limited time and memory.

    python -m engine.lesson.exercise NAME FILE...
"""
import contextlib
import glob
import multiprocessing
import runpy
import traceback

import numpy as np

from charlstm import CharLSTM, lstm_cell, tt
from engine.data.parameters import read_parameters
from engine.data.text import encoded
from engine.kernel.cell import Cell
from engine.lesson.numpy_lstm import forward, lstm, sigmoid
from engine.methods.state import refuse_ignored
from engine.run import table
from engine.terminal import BUNDLED, Parser, load_class, main, number_of

SECONDS, MEMORY = 60, 4 * 2 ** 30              # most time, and bytes of address space, for a file
B, H, V, T = 3, 5, 7, 6
RANDOM = np.random.default_rng(1)


def require(right, words):
    if not right:
        raise ValueError(words)


def values(variables):
    """Return the values, as arrays, of symbols that depend only on constants."""
    return [np.asarray(tt.as_tensor_variable(variable).eval()) for variable in variables]


def result_of(formula, arrays):
    """Return the value of the last line of a formula, lines of Python that read arrays by name."""
    names, (*lines, last) = dict(arrays, sigmoid=sigmoid, tanh=np.tanh, sqrt=np.sqrt), formula.splitlines()
    exec('\n'.join(lines), names)
    return eval(last, names)


def is_near(found, expected):
    return np.shape(found) == np.shape(expected) and np.allclose(found, expected, atol=1e-5, rtol=1e-4)


def load(path, name):
    """Return an object of the class with this name, without a text."""
    model = load_class(f'{path}:{name}', CharLSTM)(random_seed=1)
    refuse_ignored(model)
    return model


def verdict(name, found, expected, errors=()):
    """Return whether an array is right, and a sentence. errors: pairs of a wrong array, and what is wrong."""
    if is_near(found, expected):
        return True, f'{name} is right'
    if np.shape(found) != np.shape(expected):
        return False, f'{name} has the shape {np.shape(found)}: expected {np.shape(expected)}'
    k = np.argmax(abs(found - expected))
    number = f'has a number {np.ravel(found)[k]:.6f}: expected {expected.flat[k]:.6f}'
    return False, f'{name} {next((words for wrong, words in errors if is_near(found, wrong)), number)}'


# ---------------------------------------------------------------- the gradient

ROWS = {'D': 'dC + dh * o * (1 - tanh(C) ** 2)', 'da_f': 'D * C_prev * f * (1 - f)', 'da_i': 'D * g * i * (1 - i)',
        'da_o': 'dh * tanh(C) * o * (1 - o)', 'da_g': 'D * i * (1 - g ** 2)', 'dC_prev': 'D * f'}
FACTORS = ['C', 'C_prev', 'tanh(C)', 'D', 'dh', 'dC', 'g * (1 - g)', '(1 - tanh(C))',
           *[form.replace('x', gate) for form in ('x', '(1 - x)', '(1 - x ** 2)') for gate in 'fiog']]


def with_errors(row):
    """Yield formulas that differ from a row of the gradient by one error, and what the error is."""
    summand, _, product = row.rpartition(' + ')
    begin, factors = summand and f'{summand} + ', product.split(' * ')
    if summand:
        yield from ((summand, f'lacks {product}'), (product, f'lacks {summand}'))
    yield f'{begin}-{product}', f'has the wrong sign before {product}'
    for new in ['1', *FACTORS]:
        for k, end in [(k, k + n) for n in (1, 2) for k in range(len(factors) - n + 1)]:
            part, changed = ' * '.join(factors[k:end]), ' * '.join([*factors[:k], new, *factors[end:]])
            yield begin + changed, f'lacks {part}' if new == '1' else f'has {new} instead of {part}'
        yield f'{row} * {new}', f'has a factor {new} too many'


def gradient(path):
    """Judge a NumPy function of the six rows against Theano's gradient of lstm_cell. Rows may follow from a wrong D."""
    function, names = runpy.run_path(path).get('gradient'), ('a_f', 'a_i', 'a_o', 'a_g', 'C_prev')
    require(callable(function), 'the file has no function gradient')
    p = dict(zip((*names, 'dh', 'dC'), RANDOM.normal(0, 1, (7, B, H))))
    inputs = [tt.constant(p[name]) for name in names]
    h, C = lstm_cell(*inputs)
    expected = dict(zip(ROWS, values(tt.grad((p['dh'] * h + p['dC'] * C).sum(), [C, *inputs]))))
    p.update({name: sigmoid(p[f'a_{name}']) for name in 'fio'}, g=np.tanh(p['a_g']), C=C.eval())
    found = function(*[p[name].copy() for name in ('f', 'i', 'o', 'g', 'C_prev', 'C', 'dh', 'dC')])
    require(isinstance(found, tuple) and len(found) == len(ROWS), f'expected a tuple of {", ".join(ROWS)}')
    p['D'] = found[0] if np.shape(found[0]) == (B, H) else expected['D']
    return [verdict(name, row, expected[name] if name == 'D' else result_of(ROWS[name], p), [
        *[(result_of(formula, p), words) for formula, words in with_errors(ROWS[name])],
        *[(expected[other], f'is {other}') for other in ROWS]]) for name, row in zip(ROWS, found)]


# Of the bundled model: a unit of layer 1 or 2, and the value of its C.
HOLDS = 'C1:42=0.7', 'C1:45=-1.7', 'C2:15=0.2', 'C2:222=0.6'


def weights(path):
    """Judge which character gains most in mean log probability over held-out text while a unit is held at a value."""
    answers, (p, uchar) = runpy.run_path(path).get('weights', {}), read_parameters(BUNDLED, float)
    with open(BUNDLED.replace('.npz', '_held_out.txt'), encoding='utf-8') as file:
        x = encoded(file.read(4000), uchar).reshape(20, 200).T                         # (T,B)

    def mean_logs(layer=0, unit=0, value=0):
        def held(C):
            return np.where(np.arange(len(C))[:, None] == unit, value, C)
        cells = [lstm if k != layer else lambda *arrays: lstm(*arrays, held) for k in (1, 2)]
        return np.log(forward(p, x, cells=cells)[0]).mean(axis=(0, 1))                 # (V,)

    free, said = mean_logs(), []
    for hold in HOLDS:
        layer, unit, value = hold[1:].replace('=', ':').split(':')
        gains, answer = mean_logs(int(layer), int(unit), float(value)) - free, answers.get(hold)
        rank = [*uchar[np.argsort(-gains)], answer].index(answer)
        words = 'is right' if rank < 3 else f'raises {rank} others more' if answer else 'has no answer'
        said.append((rank < 3, f'{hold} {words}'))
    return said


# ---------------------------------------------------------------- cells

# Coupled gates, f and 1 - f, in which f also sees C_prev, and o the new C.
PEEPHOLES = dict(C='f = sigmoid(a_f + p_f * C_prev)\nf * C_prev + (1 - f) * tanh(a_g)',
                 h='sigmoid(a_o + p_o * C) * tanh(C)')
# Pre-activations are divided by the root of their mean square (Zhang & Sennrich 2019).
NORMALISE = 'def n(a):\n    return a / sqrt((a ** 2).mean(axis=1, keepdims=True))\n'
NORMALISATION = dict(C=NORMALISE + 'sigmoid(n(a_f)) * C_prev + sigmoid(n(a_i)) * tanh(n(a_g))',
                     h=NORMALISE + 'sigmoid(n(a_o)) * tanh(C)')
ERRORS = [                     # what stands in a formula, what a solution has instead, and what is wrong
    ('p_f * C_prev', '0', 'has an f that does not see C_prev'),
    ('p_f * C_prev', 'p_o * C_prev', 'has p_o instead of p_f'),
    ('+ p_', '- p_', 'has the wrong sign before its peephole'),
    ('(1 - f) *', '(1 - sigmoid(a_f)) *', 'has an i that is not 1 - f: it lacks the peephole'),
    ('(1 - f) *', 'f *', 'has f instead of 1 - f'),
    ('(1 - f) *', '', 'lacks 1 - f'),
    ('f * C_prev + (1 - f)', '(1 - f) * C_prev + f', 'has f and 1 - f swapped'),
    ('p_o * C)', '0)', 'has an o that does not see C'),
    ('p_o * C)', 'p_o * C_prev)', 'has an o that sees C_prev: expected the new C'),
    ('p_o * C)', 'p_f * C)', 'has p_f instead of p_o'),
    *[(f'n({a})', a, f'has an {a} that is not normalised') for a in ('a_f', 'a_i', 'a_o', 'a_g')],
    (NORMALISE, 'n = lambda a: a\n', 'is not normalised'),
    ('return a', 'a = a - a.mean(axis=1, keepdims=True)\n    return a', 'has the mean subtracted, too'),
    ('sqrt(', '(', 'lacks the square root'),
    ('axis=1, ', 'axis=0, ', 'is normalised over the batch: expected axis=1, the units'),
    ('axis=1, ', '', 'is normalised over batch and units: expected axis=1, the units'),
    ('.mean(axis', '.sum(axis', 'has the sum of the squares: expected their mean'),
    ('tanh(a_g)', 'a_g', 'lacks tanh of a_g'),
    ('* tanh(C)', '* C', 'lacks tanh of C'),
]


def judge_cell(path, name, formulas, rows, own=()):
    """Judge C, and then h, which may follow from a wrong C. formulas: of h and C. own: names of parameters (H,)."""
    cell, expected = Cell(load(path, name).cell, 'float64'), [*[f'a_{row}' for row in rows], 'C_prev', *own]
    require(list(cell.declared.names) == expected,
            f'the cell has the arguments {", ".join(cell.declared.names)}: expected {", ".join(expected)}')
    arrays = {name: RANDOM.normal(1, 2, H if name in own else (B, H)) for name in expected}
    h, C = values(cell([tt.constant(np.atleast_2d(array)) for array in arrays.values()]))
    require(not is_near(h, result_of(formulas['C'], arrays)), 'the cell returns C, h: expected h, C')
    said = []
    for name, found, formula in (('C', C, formulas['C']), ('h', h, formulas['h'])):
        said.append(verdict(name, found, result_of(formula, arrays), [
            (result_of(formula.replace(old, new), arrays), words) for old, new, words in ERRORS if old in formula]))
        arrays[name] = found
    return said


def lion(path):
    """Judge five steps of Lion (Chen et al. 2023), with betas 0.9 and 0.99."""
    model, p, m = load(path, 'Lion'), np.zeros(77), 0
    state = model.optimiser_state([p])
    for t in range(1, 6):
        g = RANDOM.normal(0, 1, 77)
        returned = model.optimiser([tt.constant(g)], [tt.constant(p)], state, tt.constant(0.01), dict(table.INITIAL))
        require(isinstance(returned[-1], dict), 'the optimiser returns no state: expected the steps and a dict')
        (step,), state = returned
        right, words = verdict(f'step {t}', *values([step]), 0.01 * np.sign(0.9 * m + 0.1 * g))
        require(right, words)
        m = 0.99 * m + 0.01 * g
    return [(True, 'it is right')] * 2


def attention(path):
    """Judge whether a network whose layers cannot remember still sees earlier characters, and never later ones."""
    model = load(path, 'Attention')
    model.model_setup(char_dim=V, num_units1=H, num_units2=H)
    for layer in '12':                                     # without W, and with a closed forget gate
        W, b = model.p[f'W{layer}'], model.p[f'b{layer}']
        W.set_value(0 * W.get_value())
        b.set_value(b.get_value() - np.float32([[99], [0], [0], [0]]))
    x = RANDOM.integers(V, size=(T, B), dtype=np.int32)
    other = np.where(np.arange(T)[:, None] == 2, (x + 1) % V, x).astype(np.int32)
    before, after = [model.theano_predict(read)[0] for read in (x, other)]             # (T,B,V)
    require(np.isfinite(before).all(), 'predictions are not finite')
    require(np.allclose(before[:2], after[:2], atol=1e-6),
            'predictions depend on later characters: expected each step to see none of them')
    require(not np.allclose(before[3:], after[3:], atol=1e-6), 'predictions do not depend on earlier characters when '
            'the layers forget everything after each step: expected attention to see them')
    return [(True, 'it is right')] * 3


# ---------------------------------------------------------------- the program

EXERCISES = dict(              # by name: how to judge a file, and the points
    gradient=(gradient, 6), weights=(weights, 4),
    peepholes=(lambda path: judge_cell(path, 'Peepholes', PEEPHOLES, 'fog', ('p_f', 'p_o')), 2),
    normalisation=(lambda path: judge_cell(path, 'Normalisation', NORMALISATION, 'fiog'), 2),
    lion=(lion, 2), attention=(attention, 3))


def judge(name, path):
    """Return the points of a file, and a line on it."""
    with contextlib.suppress(ImportError):                 # on Windows
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        said = EXERCISES[name][0](path)
        return sum(right for right, _ in said), '; '.join(dict.fromkeys(words for _, words in said))
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(path)]
        line = f'{error}'.partition('\n')[0]
        return 0, f'{type(error).__name__} in line {lines[-1]}: {line}' if lines else line


def judged_apart(name, path):
    """Return what judge returns, in a process of its own."""
    with multiprocessing.get_context('spawn').Pool(1) as pool:                 # ends the process, too
        try:
            return pool.apply_async(judge, (name, path)).get(SECONDS)
        except multiprocessing.TimeoutError:
            return 0, f'stopped after {SECONDS} s'


def program(options):
    (_, most), solved = EXERCISES[options.name], True
    for path in [path for file in options.files for path in sorted(glob.glob(file)) or [file]]:       # for Windows
        points, line = judged_apart(options.name, path)
        print(f'{path}: {number_of(points, "point")} of {most}: {line}', flush=True)
        solved &= points == most
    return 0 if solved else 2


if __name__ == '__main__':
    parser = Parser(prog='exercise.py', description='Judge solutions of an exercise, and print a line for each file.')
    parser.add_argument('name', metavar='NAME', choices=EXERCISES, help=f'one of {", ".join(EXERCISES)}')
    parser.add_argument('files', metavar='FILE', nargs='+', help='Python file with your solution')
    main(parser, program)
