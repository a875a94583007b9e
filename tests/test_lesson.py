"""The lesson: its derived gradient, its model in NumPy, the cells of its experiments, and how exercises are checked."""
import contextlib
import inspect
import re
from types import SimpleNamespace

import numpy as np
import pytest

from cells import readme_classes
from charlstm import CharLSTM, tt
from engine.lesson import cells, exercise, numpy_lstm
from numpy_model import LETTERS, NAMES, V, gradients, random_parameters, sigmoid
from scripts import ROOT, assert_refused, load, run, succeeded

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


@pytest.mark.parametrize('cls, C_of, h_of', [
    (cells.ForgetBias, lambda f, i, o, g, C: sigmoid(f + 1) * C + sigmoid(i) * np.tanh(g), None),
    (cells.NoForgetGate, lambda f, i, o, g, C: C + sigmoid(i) * np.tanh(g), None),
    *[(cls, lambda f, i, o, g, C: sigmoid(f) * C + sigmoid(-f) * np.tanh(g), None)
      for cls in (cells.NoInputGate, readme_classes()['Coupled'])],
    (cells.NoOutputGate, lambda f, i, o, g, C: sigmoid(f) * C + sigmoid(i) * np.tanh(g), lambda o, C: np.tanh(C)),
    (cells.ReLU, lambda f, i, o, g, C: sigmoid(f) * C + sigmoid(i) * np.maximum(g, 0),
     lambda o, C: sigmoid(o) * np.maximum(C, 0))])
def test_cells_have_the_formulas_of_the_experiments(cls, C_of, h_of, interpreted):
    arrays = np.random.default_rng(3).normal(0, 2, (5, B, H1))
    expected = C_of(*arrays)
    named = dict(zip(('a_f', 'a_i', 'a_o', 'a_g', 'C_prev'), map(tt.constant, arrays)))
    h, C = [value.eval() for value in cls.cell(*[named[name] for name in inspect.signature(cls.cell).parameters])]
    np.testing.assert_allclose(C, expected, rtol=1e-12)
    np.testing.assert_allclose(h, h_of(arrays[2], C) if h_of else sigmoid(arrays[2]) * np.tanh(C), rtol=1e-12)


# ---------------------------------------------------------------- exercises

SOLUTIONS = (ROOT / 'tests' / 'attention.py').read_text(encoding='utf-8') + '''
def gradient(f, i, o, g, C_prev, C, dh, dC):
    D = dC + dh * o * (1 - np.tanh(C) ** 2)
    da_f, da_i = D * C_prev * f * (1 - f), D * g * i * (1 - i)
    return D, da_f, da_i, dh * np.tanh(C) * o * (1 - o), D * i * (1 - g ** 2), D * f

class Peepholes(CharLSTM):
    @staticmethod
    def cell(a_f, a_o, a_g, C_prev, p_f=0, p_o=0):
        f = tt.nnet.sigmoid(a_f + p_f * C_prev)
        C = f * C_prev + (1 - f) * tt.tanh(a_g)
        return tt.nnet.sigmoid(a_o + p_o * C) * tt.tanh(C), C

class Normalisation(CharLSTM):
    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        rows = [a / tt.sqrt((a ** 2).mean(axis=1, keepdims=True) + 1e-8) for a in (a_f, a_i, a_o, a_g)]
        return CharLSTM.cell(*rows, C_prev)

class Lion(CharLSTM):
    @staticmethod
    def optimiser_state(parameters):
        return dict(means=[0 * p for p in parameters])
    @staticmethod
    def optimiser(gradients, parameters, state, lrate, lp):
        steps = [lrate * tt.sgn(0.9 * m + 0.1 * g) for m, g in zip(state['means'], gradients)]
        return steps, dict(means=[0.99 * m + 0.01 * g for m, g in zip(state['means'], gradients)])
'''


@pytest.mark.parametrize('name, old, new, said', [
    *[(name, '', '', None) for name in exercise.EXERCISES],
    ('gradient', 'dC + dh * o', 'dC + dh', r'D is .* at \[0, 0\]: expected '),
    ('gradient', 'D * f\n', '(D * f).sum(axis=0)\n', r'dC_prev has the shape \(5,\): expected \(3, 5\)'),
    ('gradient', 'return D', 'D', 'gradient does not return D, da_f'),
    ('gradient', 'D * g', 'D * G', r"mine\.py, line 28: NameError: name 'G' is not defined"),
    ('gradient', 'D * g', 'D ** * g', r'mine\.py, line 28'),
    ('gradient', 'def gradient', 'def grad', r'mine\.py has no gradient'),
    ('peepholes', 'a_f, a_o, a_g, C_prev, p_f', 'a_f, a_i, a_o, a_g, C_prev, p_f', ': expected a_f, a_o, a_g'),
    ('peepholes', '@staticmethod', '', '@staticmethod above it'),
    ('normalisation', ', keepdims=True', '', r'mine\.py, line 41: .*mis-match'),
    ('lion', '0.99 * m', '0.9 * m', 'step 3 is '),
    ('attention', 's <= t', 's >= t', 'later characters'), ('attention', 's <= t', 's < t', 'finite'),
    ('attention', 's <= t', 'tt.eq(s, t)', 'earlier characters')])
def test_exercise(name, old, new, said, tmp_path, interpreted, capsys):
    (tmp_path / 'mine.py').write_text(SOLUTIONS.replace(old, new))
    with pytest.raises(ValueError, match=said) if said else contextlib.nullcontext():
        exercise.program(SimpleNamespace(name=name, file=str(tmp_path / 'mine.py')))
    assert capsys.readouterr().out == f'{name} is right\n' * (said is None)
