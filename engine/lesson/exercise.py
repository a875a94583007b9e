"""Judge files with solutions of the exercises: python -m engine.lesson.exercise NAME FILE..."""
import ast
import contextlib
import glob
import json
import os
import re
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np

from charlstm import CharLSTM, lstm_cell, tt
from engine.data.parameters import read_parameters
from engine.data.text import encoded
from engine.kernel.cell import STANDARD_ARGUMENTS, Cell
from engine.lesson.numpy_lstm import forward, lstm, sigmoid
from engine.methods.state import refuse_ignored
from engine.run import table
from engine.terminal import BUNDLED, Parser, load_class, main, number_of

SECONDS, MEMORY = 60, 4 * 2 ** 30              # most time, and bytes of address space, for a file
B, H, V, T, RANDOM = 3, 5, 7, 6, np.random.default_rng(1)
FUNCTIONS = dict(sigmoid=sigmoid, tanh=np.tanh, sqrt=np.sqrt, sign=np.sign,           # of formulas
                 mean=lambda a: a.mean(axis=1, keepdims=True), sum=lambda a: a.sum(axis=1, keepdims=True),
                 mean_over_the_batch=lambda a: a.mean(axis=0, keepdims=True), mean_of_all=np.mean)
OTHERS = [*'fiogmC', 'C_prev', 'D', 'dh', 'dC', 'tanh(C)', 'tanh(g)', 'g * (1 - g)', '1 - f ** 2', '1 - i ** 2',
          '1 - o ** 2', 'p_f', 'p_o', '1 - f', '(1 - sigmoid(a_f))', 'sigmoid', 'tanh', 'sum', 'mean_over_the_batch',
          'mean_of_all', '(a - mean(a)) / sqrt(mean((a - mean(a)) ** 2))', '(a - mean(a))', 'a * sqrt(mean(a ** 2))',
          'sqrt(mean((a - mean(a)) ** 2))', '2', '0.9', '0.1', '0.99', '0.01', '0.99 * m + 0.01 * g',
          '(dC + dh) * o * (1 - tanh(C) ** 2)', '(1 - g) ** 2', 'D * f + dC', 'sigmoid(a_f) + p_f * C_prev', 'abs(a)']


def require(right, words):
    if not right:
        raise ValueError(words)


def result_of(formula, arrays):
    """Return the value of the last line of a formula, lines of Python that read arrays by name."""
    names, (*lines, last) = dict(arrays, **FUNCTIONS), formula.splitlines()
    exec('\n'.join(lines), names)
    return eval(last, names)


def mistakes(formula, value):
    """Yield the value of each formula with a mistake, such as one of OTHERS in a wrong place, and what it is."""
    lines, found = formula.splitlines(), []                # and an order, since some mistakes equal others
    for k, line in enumerate(lines):
        for node in filter(lambda node: isinstance(node, ast.expr), ast.walk(ast.parse(line))):
            old, *parts = [ast.get_source_segment(line, each) for each in (node, *ast.iter_child_nodes(node))]
            new = [(1, f'-({old})', f'has the wrong sign before {old}')]
            if isinstance(node, ast.BinOp):
                left, _, right = parts
                behind = re.sub(r'^[ )]*[*+] (?![*])|^[ )]*', '', old[len(left):])
                new += [(0, left, f'lacks {behind}'),
                        (0, right, f'lacks {left} -' if isinstance(node.op, ast.Sub) else f'lacks {left}')]
            if isinstance(node, ast.Call):
                new.append((0, parts[1], f'lacks {parts[0]} of {parts[1]}'))
            new += [(2, other, f'has {other} instead of {old}') for other in OTHERS]
            new += [(3, f'({old}) * ({other})', f'has a factor {other} too many') for other in OTHERS]
            for order, text, words in new:
                text = f'{line[:node.col_offset]}({text}){line[node.end_col_offset:]}'
                found.append((order, '\n'.join([*lines[:k], text, *lines[k + 1:]]), words))
    for _, text, words in sorted(found, key=lambda each: each[0]):
        with contextlib.suppress(Exception):               # some are no formulas any more
            yield value(text), words


def is_near(found, expected):
    return np.shape(found) == np.shape(expected) and np.allclose(found, expected, atol=1e-5, rtol=1e-4)


def model_of(path, name):
    model = load_class(f'{path}:{name}', CharLSTM)(random_seed=1)
    refuse_ignored(model)
    return model


def verdict(name, found, right, errors):
    """Return whether an array is one of `right`, and a sentence. errors: pairs of a wrong array, and what is wrong."""
    if any(is_near(found, each) for each in right):
        return True, f'{name} is right'
    if np.shape(found) != np.shape(right[0]):
        return False, f'{name} has the shape {np.shape(found)}: expected {np.shape(right[0])}'
    k = np.argmax(abs(found - right[0]))
    number = f'has a number {np.ravel(found)[k]:.6f}: expected {right[0].flat[k]:.6f}'
    return False, f'{name} {next((words for wrong, words in errors if is_near(found, wrong)), number)}'


ROWS = {'D': 'dC + dh * o * (1 - tanh(C) ** 2)', 'da_f': 'D * C_prev * (f * (1 - f))', 'da_i': 'D * g * (i * (1 - i))',
        'da_o': 'dh * tanh(C) * (o * (1 - o))', 'da_g': 'D * i * (1 - g ** 2)', 'dC_prev': 'D * f'}


def gradient(path):
    """Judge a NumPy function of the six rows against Theano's gradient of lstm_cell. Rows may follow from a wrong D."""
    function = runpy.run_path(path).get('gradient')
    require(callable(function), 'the file has no function gradient')
    p = dict(zip((*STANDARD_ARGUMENTS, 'dh', 'dC'), RANDOM.normal(0, 1, (7, B, H))))
    inputs = [tt.constant(p[name]) for name in STANDARD_ARGUMENTS]
    h, C = lstm_cell(*inputs)
    expected = {name: v.eval() for name, v in zip(ROWS, tt.grad((p['dh'] * h + p['dC'] * C).sum(), [C, *inputs]))}
    p.update({name: sigmoid(p[f'a_{name}']) for name in 'fio'}, g=np.tanh(p['a_g']), C=C.eval())
    found = function(*[p[name].copy() for name in ('f', 'i', 'o', 'g', 'C_prev', 'C', 'dh', 'dC')])
    got = f'{len(found)} values' if isinstance(found, (tuple, list, np.ndarray)) else type(found).__name__
    require(got == '6 values', f'gradient returns {got}: expected {", ".join(ROWS)}')
    again = dict(p, f=sigmoid(p['f']), i=sigmoid(p['i']), o=sigmoid(p['o']), g=np.tanh(p['g']))
    said, p['D'] = [], expected['D']

    def errors(name):
        yield from mistakes(ROWS[name], lambda formula: result_of(formula, p))
        yield result_of(ROWS[name], dict(again, D=p['D'])), 'applies sigmoid and tanh again'
        yield from ((expected[other], f'is {other}') for other in ROWS)
    for name, row in zip(ROWS, found):
        said.append(verdict(name, row, [expected[name], result_of(ROWS[name], p)], errors(name)))
        if name == 'D' and np.shape(row) == (B, H):
            p['D'] = row
    return said


HOLDS = {'C1:42=0.7': (1, 42, 0.7), 'C1:45=-1.7': (1, 45, -1.7), 'C2:2=-1.5': (2, 2, -1.5), 'C2:222=0.6': (2, 222, 0.6)}


def weights(path):
    """Judge which character gains most in mean log probability over held-out text while a unit is held at a value."""
    answers, (p, uchar) = runpy.run_path(path).get('weights', {}), read_parameters(BUNDLED, float)
    text = Path(BUNDLED.replace('.npz', '_held_out.txt')).read_text(encoding='utf-8')
    x = encoded(text[:4000], uchar).reshape(20, 200).T                                 # (T,B)

    def mean_logs(layer=0, unit=0, value=0):
        def held(C):
            return np.where(np.arange(len(C))[:, None] == unit, value, C)
        cells = [lstm if k != layer else lambda *arrays: lstm(*arrays, held) for k in (1, 2)]
        return np.log(forward(p, x, cells=cells)[0]).mean(axis=(0, 1))                 # (V,)

    free, said = mean_logs(), []
    for hold, where in HOLDS.items():                      # layer, unit, and the value of C
        answer, at = answers.get(hold), [k for k, ch in enumerate(uchar) if ch == answers.get(hold)]
        gains = mean_logs(*where) - free if at else None
        better = int(sum(gains > gains[at[0]])) if at else len(uchar)
        words = f'has {answer!r}: {f"{better} characters gain more" if at else "expected one character of the model"}'
        said.append((better < 3, f'{hold} {"is right" if better < 3 else words}'))
    return said


PEEPHOLES = ('f = sigmoid(a_f + p_f * C_prev)\nf * C_prev + (1 - f) * tanh(a_g)', 'sigmoid(a_o + p_o * C) * tanh(C)')
NORMALISE = 'norm = lambda a: a / sqrt(mean(a ** 2))\n'                 # by Zhang & Sennrich 2019
NORMALISATION = (NORMALISE + 'sigmoid(norm(a_f)) * C_prev + sigmoid(norm(a_i)) * tanh(norm(a_g))',
                 NORMALISE + 'sigmoid(norm(a_o)) * tanh(C)')


def judge_cell(path, name, formulas, rows, own=()):
    """Judge C, and then h, which may follow from a wrong C. formulas: of C and h. own: names of parameters (H,)."""
    cell, expected = Cell(model_of(path, name).cell, 'float64'), [*[f'a_{row}' for row in rows], 'C_prev', *own]
    require(list(cell.declared.names) == expected,
            f'the cell has the arguments {", ".join(cell.declared.names)}: expected {", ".join(expected)}')
    arrays = {name: RANDOM.normal(1, 2, H if name in own else (B, H)) for name in expected}
    h, C = [v.eval() for v in cell([tt.constant(np.atleast_2d(array)) for array in arrays.values()])]
    require(not is_near(h, result_of(formulas[0], arrays)), 'the cell returns C, h: expected h, C')
    said = []
    for name, found, formula in zip('Ch', (C, h), formulas):
        said.append(verdict(name, found, [result_of(formula, arrays)],
                            mistakes(formula, lambda formula: result_of(formula, arrays))))
        arrays[name] = found
    return said


LION = ['sign(0.9 * m + 0.1 * g)', '0.99 * m + 0.01 * g']             # a step without the rate, and the new m


def lion(path):
    """Judge five steps of Lion (Chen et al. 2023), with betas 0.9 and 0.99."""
    model, p, steps = model_of(path, 'Lion'), RANDOM.normal(0, 1, 999), []
    gradients, state = [RANDOM.normal(0, size, 999) for size in (1, 0.1, 1, 0.1, 0.01)], model.optimiser_state([p])
    for g in gradients:                                    # of sizes for which m counts, too
        (step,), state = model.optimiser([tt.constant(g)], [tt.constant(p)], state, tt.constant(0.01),
                                         dict(table.INITIAL))
        steps.append(tt.as_tensor_variable(step).eval())

    def expected(step, new_m):
        ms = [np.zeros(999)]
        for g in gradients:
            ms.append(result_of(new_m, dict(m=ms[-1], g=g)))
        return np.array([0.01 * result_of(step, dict(m=m, g=g)) for m, g in zip(ms, gradients)])

    def errors():
        yield from ((p - right, 'is p minus the step'), (100 * right, 'lacks the rate'),
                    (expected(LION[0], '0 * g'), 'lacks 0.9 * m, or m stays 0'),
                    (expected(LION[0], '0.9 * m + 0.1 * g'), 'has 0.9 and 0.1 in m'))
        yield from mistakes(LION[0], lambda step: expected(step, LION[1]))
        yield from mistakes(LION[1], lambda new_m: expected(LION[0], new_m))
    right = expected(*LION)
    return [verdict('the step', np.array(steps), [right], errors())]


def attention(path):
    """Judge whether a network whose layers cannot remember still sees earlier characters, and never later ones."""
    model = model_of(path, 'Attention')
    model.model_setup(char_dim=V, num_units1=H, num_units2=H)
    for name, p in model.p.items():                        # large weights, no W, and a closed forget gate
        change = np.float32([[99], [0], [0], [0]]) if name[0] == 'b' else 0
        p.set_value(p.get_value() * dict(W=0, U=8, V=8).get(name[0], 1) - change)
    x = RANDOM.integers(V, size=(T, B), dtype=np.int32)
    other = np.where(np.arange(T)[:, None] == 2, (x + 1) % V, x).astype(np.int32)
    before, after = [model.theano_predict(read)[0] for read in (x, other)]             # (T,B,V)
    require(np.isfinite(before).all(), 'predictions are not finite')
    require(np.allclose(before[:2], after[:2], atol=1e-6),
            'predictions depend on later characters: expected each step to see none of them')
    require(not np.allclose(before[3:], after[3:], atol=1e-6), 'predictions do not depend on earlier characters when '
            'the layers forget everything after each step: expected attention to see them')
    return [(True, 'it is right')]


EXERCISES = dict(              # by name: how to judge a file, and the points, divided among its verdicts
    gradient=(gradient, 6), weights=(weights, 4), lion=(lion, 2), attention=(attention, 3),
    peepholes=(lambda path: judge_cell(path, 'Peepholes', PEEPHOLES, 'fog', ('p_f', 'p_o')), 2),
    normalisation=(lambda path: judge_cell(path, 'Normalisation', NORMALISATION, 'fiog'), 2))


def judge(name, path):
    """Return the points of a file, and a line on it."""
    with contextlib.suppress(ImportError, OSError, ValueError):        # on Windows, or if the limit is lower already
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        right, words = zip(*EXERCISES[name][0](path))
        return sum(right) * EXERCISES[name][1] // len(right), '; '.join(words)
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(path)]
        line = f'{error}'.partition('\n')[0].replace('mis-match', 'mis-match (is there keepdims=True?)')
        return 0, f'{type(error).__name__} in line {lines[-1]}: {line}' if lines else line


def judged_apart(name, path):
    """Return the same from a process of its own, whose output is dropped."""
    command = ('import json, pathlib, sys\nfrom engine.lesson.exercise import judge\n'
               'pathlib.Path(sys.argv[1]).write_text(json.dumps(judge(*sys.argv[2:])))')
    settings = dict.fromkeys(('stdin', 'stdout', 'stderr'), subprocess.DEVNULL)
    settings['env'] = os.environ | dict.fromkeys(('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'), '1')
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / 'result'
        try:
            done = subprocess.run([sys.executable, '-c', command, result, name, path], timeout=SECONDS, **settings)
            return json.loads(result.read_bytes())
        except subprocess.TimeoutExpired:
            return 0, f'stopped after {SECONDS} s'
        except (OSError, ValueError):
            return 0, f'ended without a result, with exit status {done.returncode}'


def program(options):
    for path in [path for file in options.files for path in sorted(glob.glob(file)) or [file]]:       # for Windows
        points, line = judged_apart(options.name, path)
        print(f'{path}: {number_of(points, "point")} of {EXERCISES[options.name][1]}: {line}', flush=True)


if __name__ == '__main__':
    parser = Parser(prog='exercise.py', description='Judge solutions of an exercise, and print a line for each file.')
    parser.add_argument('name', metavar='NAME', choices=EXERCISES, help=f'one of {", ".join(EXERCISES)}')
    parser.add_argument('files', metavar='FILE', nargs='+', help='Python file with your solution')
    main(parser, program)
