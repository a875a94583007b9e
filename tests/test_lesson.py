"""The lesson: its derived gradient, its model in NumPy, the cells of its experiments, and how exercises are checked."""
import inspect
import re
import sys

import numpy as np
import pytest

from charlstm import CharLSTM, tt
from engine.lesson import cells, exercise, numpy_lstm
from numpy_model import LETTERS, NAMES, V, gradients, random_parameters, sigmoid
from scripts import FAST, ROOT, assert_refused, load, run, succeeded

T, B, H1, H2 = 6, 3, 5, 2


def test_gradient_by_hand_is_that_of_finite_differences():
    """One batch begins with zero states, the next with the states after it."""
    p, states = random_parameters(2, H1=H1, H2=H2), None
    characters = np.random.default_rng(1).integers(V, size=(2 * T + 1, B))
    for start in (0, T):
        x, y = characters[start:start + T], characters[start + 1:start + 1 + T]
        expected = gradients(p, x, y, states=states)
        probabilities, after, memory = numpy_lstm.forward(p, x, states)
        found = numpy_lstm.backward(p, x, y, probabilities, memory)
        assert set(found) == set(NAMES)
        for name in NAMES:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-9, err_msg=name)
        states = after


def test_model_in_numpy_learns_and_writes():
    """The text repeats its four characters in order."""
    p = random_parameters(3, V=4, H1=H1, H2=H2)
    found = list(numpy_lstm.learn(p, np.arange(403) % 4, 60, B=2, T=7))
    assert found[0] > 0.7 and found[-1] < 0.1
    written = numpy_lstm.write(p, np.random.default_rng(1), 41)
    assert np.mean(np.diff(written) % 4 == 1) > 0.8 and len(written) == 41


def test_program_in_numpy_writes_a_checkpoint_that_the_class_reads(tmp_path):
    """It does not replace a checkpoint, and two epochs lower the cost."""
    (tmp_path / 't.txt').write_text(LETTERS * 30)
    words = '-m', 'engine.lesson', tmp_path / 't.txt', tmp_path / 'a.npz', '--epochs', 2
    first, second = [float(cost) for cost in re.findall('cost ([0-9.]+)', succeeded(run(*words, cwd=ROOT)))]
    assert first > second
    model = CharLSTM(random_seed=1)
    model.model_setup(tmp_path / 'a.npz')
    codes, stored = np.arange(40)[:, None] % V, load(tmp_path / 'a.npz')
    np.testing.assert_allclose(model.theano_predict(codes)[0], numpy_lstm.forward(stored, codes)[0], rtol=1e-3,
                               atol=1e-6)
    assert list(model.uchar) == list(LETTERS)
    assert_refused(run(*words, cwd=ROOT), 'a.npz exists already')


def test_table_of_the_derivation_is_what_the_command_prints():
    printed = succeeded(run('-m', 'engine.lesson.gradient', cwd=ROOT))
    lesson = (ROOT / 'engine' / 'lesson' / 'README.md').read_text(encoding='utf-8')
    rows = [re.findall('`(.*?)`', line) for line in lesson.splitlines() if re.match(r'\| (D|da_.|dC_prev) = ', line)]
    assert len(rows) == 6
    for theano, c in rows:
        assert f'\n{theano}\n' in printed and f'    const vector {c};\n' in printed


def relu(a):
    return np.maximum(a, 0)


@pytest.mark.parametrize('cls, C_of, h_of', [
    (cells.ForgetBias, lambda f, i, o, g, C: sigmoid(f + 1) * C + sigmoid(i) * np.tanh(g), None),
    (cells.NoForgetGate, lambda f, i, o, g, C: C + sigmoid(i) * np.tanh(g), None),
    (cells.NoInputGate, lambda f, i, o, g, C: sigmoid(f) * C + sigmoid(-f) * np.tanh(g), None),
    (cells.NoOutputGate, lambda f, i, o, g, C: sigmoid(f) * C + sigmoid(i) * np.tanh(g), lambda o, C: np.tanh(C)),
    (cells.ReLU, lambda f, i, o, g, C: sigmoid(f) * C + sigmoid(i) * relu(g), lambda o, C: sigmoid(o) * relu(C))])
def test_cells_have_the_formulas_of_the_experiments(cls, C_of, h_of, interpreted):
    arrays = np.random.default_rng(3).normal(0, 2, (5, B, H1))
    expected = C_of(*arrays)
    named = dict(zip(('a_f', 'a_i', 'a_o', 'a_g', 'C_prev'), map(tt.constant, arrays)))
    h, C = [value.eval() for value in cls.cell(*[named[name] for name in inspect.signature(cls.cell).parameters])]
    np.testing.assert_allclose(C, expected, rtol=1e-12)
    np.testing.assert_allclose(h, h_of(arrays[2], C) if h_of else sigmoid(arrays[2]) * np.tanh(C), rtol=1e-12)


# ---------------------------------------------------------------- exercises

SOLUTIONS = '''
import numpy as np
from charlstm import CharLSTM, tt


def gradient(f, i, o, g, C_prev, C, dh, dC):
    D = dC + dh * o * (1 - np.tanh(C) ** 2)
    da_f = D * C_prev * f * (1 - f)
    da_i = D * g * i * (1 - i)
    da_o = dh * np.tanh(C) * o * (1 - o)
    da_g = D * i * (1 - g ** 2)
    return D, da_f, da_i, da_o, da_g, D * f


class Peepholes(CharLSTM):
    @staticmethod
    def cell(a_f, a_o, a_g, C_prev, p_f=0, p_o=0):
        f = tt.nnet.sigmoid(a_f + p_f * C_prev)
        C = f * C_prev + (1 - f) * tt.tanh(a_g)
        return tt.nnet.sigmoid(a_o + p_o * C) * tt.tanh(C), C


def normalised(a):
    return a / tt.sqrt((a ** 2).mean(axis=1, keepdims=True) + 1e-8)


class Normalisation(CharLSTM):
    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        f, i, o, g = [normalised(a) for a in (a_f, a_i, a_o, a_g)]
        C_now = tt.nnet.sigmoid(f) * C_prev + tt.nnet.sigmoid(i) * tt.tanh(g)
        return tt.nnet.sigmoid(o) * tt.tanh(C_now), C_now


class Lion(CharLSTM):
    @staticmethod
    def optimiser_state(parameters):
        return dict(means=[0 * p for p in parameters])

    @staticmethod
    def optimiser(gradients, parameters, state, lrate, lp):
        steps = [lrate * tt.sgn(0.9 * m + 0.1 * g) for m, g in zip(state['means'], gradients)]
        means = [0.99 * m + 0.01 * g for m, g in zip(state['means'], gradients)]
        return steps, dict(means=means)


weights = {'C1:42=0.7': '\\n', 'C1:45=-1.7': '?', 'C2:2=-1.5': ',', 'C2:222=0.6': 'I'}
'''


def judged(tmp_path, name, *changes):
    """Return the points of SOLUTIONS after changes, pairs of old and new, and the line on them."""
    source = SOLUTIONS
    for old, new in changes:
        assert old in source, old
        source = source.replace(old, new)
    path = tmp_path / f'{abs(hash(source))}.py'            # load_class keeps the classes of a path
    path.write_text(source)
    return exercise.judge(name, str(path))


@pytest.fixture(autouse=True)
def unlimited(monkeypatch):
    """Judge in this process, without its limit of memory."""
    monkeypatch.setitem(sys.modules, 'resource', None)


@pytest.mark.parametrize('name', [name for name in exercise.EXERCISES if name != 'attention'])
def test_solution_has_all_points(name, tmp_path, interpreted):
    points, line = judged(tmp_path, name)
    assert points == exercise.EXERCISES[name][1] and 'is right' in line and 'expected' not in line


@pytest.mark.parametrize('old, new, said', [
    ('D = dC + dh * o', 'D = dh * o', 'D lacks dC'),
    ('(1 - np.tanh(C) ** 2)', '(1 - np.tanh(C))', 'D lacks ** 2'),
    ('dC + dh', 'dC - dh', 'D has the wrong sign before dh'),
    ('D * C_prev * f', 'D * C * f', 'da_f has C instead of C_prev'),
    ('da_i = D', 'da_i = dC', 'da_i has dC instead of D'),
    ('o * (1 - o)', 'o * o * (1 - o)', 'da_o has a factor o too many'),
    ('(1 - g ** 2)', 'g * (1 - g)', 'da_g has g * (1 - g) instead of 1 - g ** 2'),
    ('return D, da_f, da_i', 'return D, da_i, da_f', 'da_f is da_i; da_i is da_f'),
    ('def gradient(f, i, o, g, C_prev, C, dh, dC):', '''def gradient(f, i, o, g, C_prev, C, dh, dC):
    f, i, o, g = *[1 / (1 + np.exp(-a)) for a in (f, i, o)], np.tanh(g)''', 'da_f applies sigmoid and tanh again'),
    ('D * i * (1 - g ** 2)', '(D * i * (1 - g ** 2)).sum(axis=0)', 'da_g has the shape (5,): expected (3, 5)'),
    ('D = dC + dh * o', 'D = (dC + dh) * o', 'D has (dC + dh) * o * (1 - tanh(C) ** 2) instead of dC + dh * o'),
    ('da_f = D', 'da_f = 3 * D', 'da_f has a number'),
    ('return D, da_f', 'return da_f', 'gradient returns 5 values: expected D, da_f'),
    ('da_i = D * g', 'da_i = D * G', 'NameError in line 9')])
def test_wrong_gradient(old, new, said, tmp_path, interpreted):
    """The error is named, and what follows from a wrong D is right."""
    points, line = judged(tmp_path, 'gradient', (old, new))
    right = 0 if re.search('5 values|Error|again', said) else 4 if 'da_i is' in said else 5
    assert said in line and (points, line.count('is right')) == (right, right), line


PEEPHOLES = [
    ('(1 - f) * tt', 'tt', 'C lacks 1 - f'),
    ('a_f + p_f * C_prev', 'a_f', 'C lacks p_f * C_prev'),
    ('a_f + p_f', 'a_f + p_o', 'C has p_o instead of p_f'),
    ('a_f + p_f', 'a_f - p_f', 'C has the wrong sign before p_f'),
    ('p_o * C)', 'p_o * C_prev)', 'h has C_prev instead of C'),
    ('* tt.tanh(C), C', '* C, C', 'h lacks tanh of C'),
    ('return tt.nnet.sigmoid(a_o + p_o * C) * tt.tanh(C), C',
     'return C, tt.nnet.sigmoid(a_o + p_o * C) * tt.tanh(C)', 'the cell returns C, h: expected h, C'),
    ('p_o * C) * tt.tanh(C), C', 'p_o * C) * tt.tanh(C)', 'expected h and C'),
    ('a_f, a_o, a_g, C_prev, p_f', 'a_f, a_i, a_o, a_g, C_prev, p_f', 'expected a_f, a_o, a_g, C_prev, p_f, p_o'),
    ('    @staticmethod\n    def cell(a_f, a_o', '    def cell(a_f, a_o', '@staticmethod above it'),
    ('tt.nnet.sigmoid(a_f', 'tt.nnet.sigmiod(a_f', 'AttributeError in line 18')]
NORMALISATION = [
    ('return a / tt', 'a = a - a.mean(axis=1, keepdims=True)\n    return a / tt',
     'C has (a - mean(a)) / sqrt(mean((a - mean(a)) ** 2)) instead of a / sqrt(mean(a ** 2))'),
    ('mean(axis=1', 'mean(axis=0', 'C has mean_over_the_batch instead of mean'),
    ('.mean(', '.sum(', 'C has sum instead of mean'),
    ('tt.sqrt((', '((', 'C lacks sqrt of mean(a ** 2)'),
    (', keepdims=True) + 1e-8', ') + 1e-8', 'is there keepdims=True?'),
    ('tt.tanh(g)', 'tt.tanh(a_g)', 'C lacks norm of a_g'),
    ('tt.nnet.sigmoid(o)', 'tt.nnet.sigmoid(a_o)', 'h lacks / sqrt(mean(a ** 2))')]
LION = [
    ('0.9 * m + 0.1 * g', 'g', 'the step lacks 0.9 * m, or m stays 0'),
    ('lrate * tt', 'parameters[0] - lrate * tt', 'the step is p minus the step'),
    ('tt.sgn(0.9 * m + 0.1 * g)', '(0.9 * m + 0.1 * g)', 'the step lacks sign of 0.9 * m + 0.1 * g'),
    ('lrate * tt.sgn', '-lrate * tt.sgn', 'the step has the wrong sign'),
    ('lrate * tt.sgn', 'tt.sgn', 'the step lacks the rate'),
    ('0.99 * m + 0.01 * g', '0.9 * m + 0.01 * g', 'the step has 0.9 instead of 0.99'),
    ('0.99 * m + 0.01 * g', '0.9 * m + 0.1 * g', 'the step has 0.9 and 0.1 in m'),
    ('steps, dict(means=means)', 'steps', 'values to unpack'), ('def optimiser_state', 'def state', "'means'")]


@pytest.mark.parametrize('name, old, new, said', [
    (name, *row) for name, rows in dict(peepholes=PEEPHOLES, normalisation=NORMALISATION, lion=LION).items()
    for row in rows])
def test_wrong_class(name, old, new, said, tmp_path, interpreted):
    """The error is named; h counts if it follows from a wrong C."""
    points, line = judged(tmp_path, name, (old, new))
    assert said in line and (points == 0 or 'is right' in line and points == 1), line


def test_wrong_answers_on_units(tmp_path):
    points, line = judged(tmp_path, 'weights', ("{'C1:42=0.7': '\\n'", "{'C1:42=0.7': 'x'"), (", 'C2:2=-1.5': ','", ''))
    assert points == 2 and re.search(r"C1:42=0.7 has 'x': \d+ char.* gain more; .*; C2:2=-1.5 has None: expected", line)


@pytest.mark.parametrize('old, new, said', [
    ('s <= t', 's <= t', None), ('s <= t', 's >= t', 'later characters'), ('s <= t', 's < t', 'finite'),
    ('s <= t', 'tt.eq(s, t)', 'earlier characters'), ('weights.sum(axis=2', 'weights.sum(axis=1', 'later characters')])
def test_attention(old, new, said, tmp_path, interpreted):
    """The solution, and variants: step t sees other steps s, or its weights do not sum to 1."""
    source, path = (ROOT / 'tests' / 'attention.py').read_text(encoding='utf-8'), tmp_path / f'{len(new)}.py'
    assert old in source
    path.write_text(source.replace(old, new))
    points, line = exercise.judge('attention', str(path))
    assert (points, line) == (3, 'it is right') if said is None else points == 0 and said in line


def test_several_files_cost_a_line_each(tmp_path):
    """One that exits, one that takes too much memory, and a missing one do not stop the judge, nor does a print."""
    (tmp_path / 'a.py').write_text(SOLUTIONS + 'print(7, end="")\n')
    (tmp_path / 'b.py').write_text('import sys\nsys.exit(3)\n')
    (tmp_path / 'c.py').write_text('import numpy\nnumpy.ones(2 ** 33)\n')
    words = 'peepholes', tmp_path / '*.py', tmp_path / 'd.py'
    result = run('-m', 'engine.lesson.exercise', *words, cwd=ROOT, flags=FAST)
    said = [line.removeprefix(f'{tmp_path}/') for line in result.stdout.splitlines()]
    assert said[:2] == ['a.py: 2 points of 2: C is right; h is right', 'b.py: 0 points of 2: SystemExit in line 2: 3']
    assert said[2].startswith('c.py: 0 points of 2: ') and 'MemoryError in line 2' in said[2]
    assert said[3].startswith(f'd.py: 0 points of 2: {tmp_path}/d.py:Peepholes is not a class')
    assert (len(said), result.returncode, result.stderr) == (4, 0, '')


def test_file_that_hangs_or_kills_its_process(tmp_path, monkeypatch):
    (tmp_path / 'b.py').write_text('import os\nprint(6)\nos.kill(os.getpid(), 9)\n')
    assert exercise.judged_apart('lion', str(tmp_path / 'b.py')) == (0, 'ended without a result, with exit status -9')
    (tmp_path / 'a.py').write_text('while True:\n    pass\n')
    monkeypatch.setattr(exercise, 'SECONDS', 0.1)
    assert exercise.judged_apart('lion', str(tmp_path / 'a.py')) == (0, 'stopped after 0.1 s')
