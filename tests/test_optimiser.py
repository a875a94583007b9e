"""Optimisers of one's own: README's Adam against NumPy, saved and resumed; and what is refused."""
import numpy as np
import pytest

import charlstm
import numpy_model
from cells import readme_classes
from charlstm import CharLSTM, read_averages, tt
from engine.training import optimiser_variables
from models import TEXT, set_parameters, trained
from numpy_model import H1, H2, NAMES, V
from scripts import load

Adam = readme_classes()['Adam']
X = np.random.default_rng(4).integers(V, size=(2, 5, 3), dtype=np.int32)       # x and y (T,B)


def made(kind=Adam, **settings):
    model = kind(random_seed=1)
    model.model_setup(char_dim=V, num_units1=H1, num_units2=H2, **settings)
    return model


@pytest.fixture
def make(make_model, interpreted):
    """Return a function that makes models of a class with one text and an average of the parameters."""
    return lambda kind=Adam, seed=1: make_model(seed, TEXT, kind, dropout=0.3, grad_clip=2, step_clip=1.5, average=0.9)


def test_adam_agrees_with_numpy(float64, interpreted):
    """At two rates; eps is so large that a gradient near 0 does not magnify its rounding."""
    model = made(eps=1e-3, l2=0.02)
    set_parameters(model)
    p, m, v = {name: value.get_value() for name, value in model.p.items()}, dict.fromkeys(NAMES, 0), {}
    for t, rate in enumerate((0.1, 0.1, 0.05), 1):
        x, y = np.roll(X, t, axis=1)
        model.dyn_lrate = rate
        ratios = model.theano_train_rmsprop(x, y)[2:]
        for (name, gradient), ratio in zip(numpy_model.gradients(p, x, y, l2=0.02).items(), ratios):
            m[name] = 0.9 * m[name] + 0.1 * gradient
            v[name] = 0.999 * v.get(name, 0) + 0.001 * gradient ** 2
            step = rate * (m[name] / (1 - 0.9 ** t)) / (np.sqrt(v[name] / (1 - 0.999 ** t)) + 1e-3)
            np.testing.assert_allclose(ratio, np.linalg.norm(step) / np.linalg.norm(p[name]), rtol=1e-5)
            p[name] = p[name] - step
            np.testing.assert_allclose(model.p[name].get_value(), p[name], rtol=1e-6, atol=1e-7, err_msg=name)


def test_adam_resumes_bit_for_bit(make, path):
    first, second = make(), make(seed=2)
    trained(first, 0, 3)
    assert second.resume(first.save_params(path, dict(at=3))) == dict(at=3)
    assert trained(second, 3, 6) == trained(first, 3, 6)
    stored, again = [{name: array.tobytes() for name, array in load(model.save_params(path)).items()}
                     for model in (first, second)]
    assert stored == again and {'state_count', 'state_means_c', 'm_c'} < set(stored)
    assert optimiser_variables(second)['count'].get_value() == 6 and set(read_averages(path)) == set(NAMES)


def test_state_begins_anew_with_model_setup_and_with_parameters_of_other_shapes(make, path):
    model, wider, counts = make(), make(), []
    wider.model_setup(num_units1=6, num_units2=2)
    for change in (lambda: model.load_params(model.save_params(path)),
                   lambda: model.model_setup(num_units1=4, num_units2=2),
                   lambda: model.load_params(wider.save_params(path))):
        trained(model, 0, 2)
        change()
        counts.append(float(optimiser_variables(model)['count'].get_value()))
    assert counts == [2, 0, 0]


def test_optimiser_without_a_state_is_resumed(make, path):
    class Plain(CharLSTM):
        optimiser = staticmethod(charlstm.sgd)
        optimiser_state = staticmethod(lambda parameters: {})
    first, second = make(Plain), make(Plain, seed=2)
    trained(first, 0, 2)
    second.resume(first.save_params(path, {}))
    assert trained(second, 2, 4) == trained(first, 2, 4) and read_averages(path) == {}


def test_parameters_that_an_optimiser_gets_are_named(interpreted):
    """So some of them may have a rate of their own."""
    def biases_stay(gradients, parameters, state, lrate, lp):
        return [0 * g if p.name in ('b1', 'b2', 'c') else g for g, p in zip(gradients, parameters)], state
    model = made(CharLSTM, average=0.9)
    model.optimiser, before = biases_stay, {name: p.get_value() for name, p in model.p.items()}
    model.theano_train_rmsprop(*X)
    assert {name for name, p in model.p.items() if (p.get_value() == before[name]).all()} == {'b1', 'b2', 'c'}


def test_optimiser_that_draws_random_numbers(interpreted, capsys):
    """A warning says that no checkpoint keeps them."""
    noise, model = tt.shared_randomstreams.RandomStreams(5), made(CharLSTM)
    model.optimiser = returning(lambda g: [step + noise.normal(step.shape, std=0.1, dtype=step.dtype) for step in g])
    model.theano_train_rmsprop(*X)
    assert 'no checkpoint keeps' in capsys.readouterr().err


# ---------------------------------------------------------------- refusals

def returning(steps=lambda g: g, state=lambda s: s):
    """Return an optimiser whose steps and new state are made from the gradients and from the state."""
    return lambda gradients, parameters, before, lrate, lp: (steps(gradients), state(before))


@pytest.mark.parametrize('optimiser, initial', [
    (returning(lambda g: g[1:]), dict(n=0)), (returning(state=lambda s: {}), dict(n=0)),
    (returning(state=lambda s: dict(n=tt.cast(s['n'], 'float64'))), dict(n=0)),
    (returning(lambda g: [g.sum() for g in g]), {}), (returning(lambda g: [0, *g[1:]]), {}),
    (returning(), dict(n=[0]))])
def test_what_is_no_optimiser(interpreted, refused, optimiser, initial):
    model = made(CharLSTM)
    model.optimiser, model.optimiser_state = optimiser, lambda parameters: initial
    with refused(ValueError):
        model.theano_train_rmsprop(*X)
