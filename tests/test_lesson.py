"""The model in NumPy, with its gradient by hand, against finite differences and the class."""
import numpy as np
import pytest

from charlstm import CharLSTM
from engine.lesson import numpy_lstm
from numpy_model import LETTERS, NAMES, V, costs, gradients, lively_parameters, random_parameters
from scripts import ROOT, assert_refused, load, run, succeeded

T, B, H1, H2 = 6, 3, 5, 2
UNITS = dict(num_units1=H1, num_units2=H2)


# ---------------------------------------------------------------- the model in NumPy

def two_batches():
    """Return the parameters p, and characters x and y of two batches that follow each other."""
    characters = np.random.default_rng(1).integers(V, size=(2 * T + 1, B))
    return random_parameters(2, H1=H1, H2=H2), [(characters[start:start + T], characters[start + 1:start + 1 + T])
                                                for start in (0, T)]


def test_gradient_by_hand_is_that_of_finite_differences():
    """Of a batch from zero states, and of the next one."""
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
    """Probabilities, costs and gradients in float64, the latter from a step of gradient descent at rate 1."""
    p, batches = two_batches()
    model = CharLSTM(random_seed=1)
    model.model_setup(char_dim=V, lrate=1, bptt_maxdepth=-1, **UNITS)
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
    """A text in which each character follows another one."""
    p = random_parameters(3, V=4, H1=H1, H2=H2)
    found = list(numpy_lstm.learn(p, np.arange(403) % 4, 60, B=2, T=7))
    assert found[0] > 0.7 and found[-1] < 0.1
    written = numpy_lstm.write(p, np.random.default_rng(1), 41)
    assert np.mean(np.diff(written) % 4 == 1) > 0.8 and len(written) == 41


def test_model_in_numpy_is_short_and_needs_numpy_alone():
    source = (ROOT / 'engine' / 'lesson' / 'numpy_lstm.py').read_text(encoding='utf-8')
    assert len(source.splitlines()) <= 120
    assert [line for line in source.splitlines() if 'import ' in line] == ['import numpy as np']


def in_numpy(*words, env={}):
    return run('-m', 'engine.lesson', *words, cwd=ROOT, env=env)


def test_class_and_numpy_read_each_others_checkpoints(tmp_path, without):
    """And the program begins with those that the class wrote. It needs no Theano, and three epochs lower the cost."""
    text, out, again, path = [tmp_path / name for name in ('t.txt', 'a.npz', 'b.npz', 'class.npz')]
    text.write_text(LETTERS * 30)
    first = succeeded(in_numpy(text, out, '--epochs', 2, env=without('theano', 'scipy')))
    model = CharLSTM(random_seed=1)
    model.model_setup(out)
    codes = np.arange(40)[:, None] % V
    p = {name: load(out)[name] for name in NAMES}
    np.testing.assert_allclose(model.theano_predict(codes)[0], numpy_lstm.forward(p, codes)[0], rtol=1e-3, atol=1e-6)
    model.save_params(path)
    second = succeeded(in_numpy(text, again, '--init', path, '--epochs', 1))
    cost = [float(line.split()[3]) for line in (first + second).splitlines() if line.startswith('epoch')]
    assert len(cost) == 3 and cost[0] > cost[1] > cost[2]
    assert load(again)['uchar'].tolist() == list(LETTERS)


@pytest.mark.parametrize('words, said', [
    (['short.txt', 'a.npz'], ['short.txt has 10 characters', 'more than 10']),
    (['none.txt', 'a.npz'], ['none.txt', 'No such file']),
    (['t.txt', 't.txt'], ['t.txt exists already', '--overwrite']),
    (['t.txt', 'a.npz', '--init', 't.txt'], ['t.txt is not a checkpoint']),
    (['t.txt', 'a.npz', '--init', 'p.npz'], ['t.txt has characters that the model never saw', "'z'"]),
    (['t.txt', 'a.npz', '--epochs', 0], ['--epochs is 0', 'at least 1'])])
def test_what_the_program_in_numpy_refuses(tmp_path, words, said):
    (tmp_path / 'short.txt').write_text('abcdefghij')
    (tmp_path / 't.txt').write_text(LETTERS * 3 + 'z')
    np.savez(str(tmp_path / 'p.npz'), uchar=np.array(list(LETTERS)), **lively_parameters(1, V, H1, H2))
    assert_refused(run('-m', 'engine.lesson', *words, cwd=tmp_path, env={'PYTHONPATH': str(ROOT)}), *said)
    assert not (tmp_path / 'a.npz').exists()


def test_program_in_numpy_refuses_another_cell(tmp_path, interpreted):
    class Other(CharLSTM):
        @staticmethod
        def cell(a_f, a_i, a_o, a_g, C_prev):
            return a_f * a_i * a_o * a_g, C_prev

    model = Other(random_seed=1)
    model.model_setup(char_dim=V, **UNITS)
    model.uchar = list(LETTERS)
    model.save_params(tmp_path / 'other.npz')
    (tmp_path / 't.txt').write_text(LETTERS * 3)
    result = in_numpy(tmp_path / 't.txt', tmp_path / 'a.npz', '--init', tmp_path / 'other.npz')
    assert_refused(result, 'has another cell', 'expected that of charlstm.py')
