"""The lesson: its derived gradient, its model in NumPy, the cells of its experiments, and how exercises are checked."""
import contextlib
import inspect
import re

import numpy as np
import pytest

import charlstm

from cells import README_CODE, readme_classes
from charlstm import CharLSTM, tt
from engine.lesson import cells, exercise, numpy_lstm
from numpy_model import LETTERS, NAMES, V, costs, gradients, random_parameters, sigmoid
from scripts import FAST, ROOT, assert_refused, load, run, succeeded

T, B, H1, H2 = 6, 3, 5, 2


def two_batches():
    """Return the parameters p, and the characters x and y of two consecutive batches."""
    characters = np.random.default_rng(1).integers(V, size=(2 * T + 1, B))
    return random_parameters(2, H1=H1, H2=H2), [(characters[start:start + T], characters[start + 1:start + 1 + T])
                                                for start in (0, T)]


def test_gradient_by_hand_is_that_of_finite_differences():
    """One batch begins with zero states, the next with the states after it."""
    (p, batches), states = two_batches(), None
    for x, y in batches:
        expected = gradients(p, x, y, states=states)
        probabilities, after, memory = numpy_lstm.forward(p, x, states)
        found = numpy_lstm.backward(p, x, y, probabilities, memory)
        assert set(found) == set(NAMES)
        for name in NAMES:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-9, err_msg=name)
        states = after


def test_model_in_numpy_is_the_class(float64):
    """Compare probabilities, costs and gradients in float64; the gradients are from an SGD step at rate 1."""
    p, batches = two_batches()
    model = CharLSTM(random_seed=1)
    model.model_setup(char_dim=V, lrate=1, bptt_maxdepth=-1, num_units1=H1, num_units2=H2)
    for name in NAMES:
        model.p[name].set_value(p[name])
    x, y = batches[0]
    probabilities, _, memory = numpy_lstm.forward(p, x)
    np.testing.assert_allclose(model.theano_predict(x)[0], probabilities, rtol=0, atol=1e-10)
    cost = model.theano_train_sgd(x, y)[0]
    assert abs(cost - costs(probabilities, y).mean()) < 1e-10
    for name, gradient in numpy_lstm.backward(p, x, y, probabilities, memory).items():
        np.testing.assert_allclose(p[name] - model.p[name].get_value(), gradient, rtol=0, atol=1e-10, err_msg=name)


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


class OldPeephole(CharLSTM):
    """The output gate reads the previous C."""
    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev, p_f=0, p_i=0, p_o=0):
        return charlstm.lstm_cell(a_f + p_f * C_prev, a_i + p_i * C_prev, a_o + p_o * C_prev, a_g, C_prev)


class Uncorrected(CharLSTM):
    """Adam without the bias correction."""
    optimiser_state = staticmethod(readme_classes()['Adam'].optimiser_state)

    @staticmethod
    def optimiser(gradients, parameters, state, lrate, lp):
        squares = [0.999 * v + 0.001 * g ** 2 for v, g in zip(state['mean_squares'], gradients)]
        means = [0.9 * m + 0.1 * g for m, g in zip(state['means'], gradients)]
        return [lrate * m / (tt.sqrt(v) + lp['eps']) for m, v in zip(means, squares)], dict(
            state, means=means, mean_squares=squares)


class ForgetsAll(CharLSTM):
    """Nothing has an effect, neither mean, variance nor other rows."""
    cell = staticmethod(lambda a_f, a_i, a_o, a_g, C_prev: (C_prev * 0, C_prev * 0))


class Normalised(CharLSTM):
    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        f, i, o, g = map(cells.normalised, (a_f, a_i, a_o, a_g))
        C = tt.nnet.sigmoid(f) * C_prev + tt.nnet.sigmoid(i) * tt.tanh(g)
        return tt.nnet.sigmoid(o) * tt.tanh(cells.normalised(C)), C


class OnlyC(CharLSTM):
    """All gates are normalised, but h is C."""

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        _, C = Normalised.cell(a_f, a_i, a_o, a_g, C_prev)
        return C, C


SOLUTIONS = readme_classes()


@pytest.mark.parametrize('name, cls, said', [
    ('peepholes', cells.Peepholes, None), ('normalisation', Normalised, None),
    ('adam', SOLUTIONS['Adam'], None),
    ('peepholes', CharLSTM, 'C_prev, p_f, p_i, p_o'), ('peepholes', OldPeephole, 'h of the first unit'),
    *[('normalisation', cls, 'C of the first unit') for cls in (CharLSTM, ForgetsAll)],
    ('normalisation', OnlyC, 'h of the first unit'),
    ('adam', CharLSTM, 'step 1'), ('adam', Uncorrected, 'step 1'), ('attention', CharLSTM, 'earlier characters'),
    ('attention', Normalised, 'earlier characters')])
def test_solution(name, cls, said, interpreted):
    """said: what is wrong with it, or None."""
    with pytest.raises(ValueError, match=re.escape(said)) if said else contextlib.nullcontext():
        exercise.EXERCISES[name](cls())


@pytest.mark.parametrize('seen, said', [('s <= t', None), ('s >= t', 'later characters'), ('s < t', 'finite'),
                                        ('tt.eq(s, t)', 'earlier characters')])
def test_attention(seen, said, interpreted):
    """The solution, and variants in which step t sees the steps s for which the comparison `seen` is true."""
    source, names = (ROOT / 'tests' / 'attention.py').read_text(encoding='utf-8'), {}
    assert 's <= t' in source
    exec(source.replace('s <= t', seen), names)
    with pytest.raises(ValueError, match=said) if said else contextlib.nullcontext():
        exercise.attention(names['Attention']())


ADAM, PEEPHOLES = README_CODE[2], inspect.getsource(cells.Peepholes)
PEEPHOLES = PEEPHOLES.replace('sigmoid', 'tt.nnet.sigmoid').replace('tanh', 'tt.tanh')


@pytest.mark.parametrize('name, source, old, new, said', [
    ('peepholes', PEEPHOLES, ' * tt.tanh(C), C', ' * tt.tanh(C)', 'expected h and C'),
    ('peepholes', PEEPHOLES, '    @staticmethod\n', '', '@staticmethod above it'),
    ('adam', ADAM, ', dict(means=means, mean_squares=squares, count=t)', '', 'no state'),
    ('adam', ADAM, 'def optimiser_state', 'def state', "optimiser_state has no 'count'")])
def test_class_that_does_not_fit(tmp_path, in_process, name, source, old, new, said):
    assert old in source
    (tmp_path / 'mine.py').write_text(README_CODE[0] + source.replace(old, new, 1))
    result = in_process(ROOT / 'engine/lesson/exercise.py', name, f'{tmp_path}/mine.py:{name.capitalize()}')
    assert_refused(result, 'exercise.py: not yet: ', said)


def test_error_of_the_users_own_cell_comes_first(tmp_path):
    (tmp_path / 'mine.py').write_text('from charlstm import CharLSTM, tt\n\n\nclass Typo(CharLSTM):\n'
                                      '    @staticmethod\n    def cell(a_f, a_i, a_o, a_g, C_prev):\n'
                                      '        return tt.nnet.sigmiod(a_f), C_prev\n')
    result = run('-m', 'engine.lesson.exercise', 'peepholes', tmp_path / 'mine.py:Typo', cwd=ROOT, flags=FAST)
    assert result.returncode and re.search('AttributeError: .*sigmiod', result.stderr)
