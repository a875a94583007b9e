"""Optimisers of one's own: README's Adam against NumPy, saved and resumed; what is refused; edits."""
import json

import numpy as np
import pytest

import charlstm
import numpy_model
from cells import readme_classes
from charlstm import CharLSTM, read_about, read_averages, tt
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
        model.dyn_lrate.set_value(rate)
        ratios = model.theano_train_rmsprop(x, y)[2:]
        for (name, gradient), ratio in zip(numpy_model.gradients(p, x, y, l2=0.02).items(), ratios):
            m[name] = 0.9 * m[name] + 0.1 * gradient
            v[name] = 0.999 * v.get(name, 0) + 0.001 * gradient ** 2
            step = rate * (m[name] / (1 - 0.9 ** t)) / (np.sqrt(v[name] / (1 - 0.999 ** t)) + 1e-3)
            np.testing.assert_allclose(ratio, np.linalg.norm(step) / np.linalg.norm(p[name]), rtol=1e-5)
            p[name] = p[name] - step
            np.testing.assert_allclose(model.p[name].get_value(), p[name], rtol=1e-6, atol=1e-7, err_msg=name)


def test_steps_of_any_optimiser_are_limited(interpreted):
    """Adam's first step is one rate for each number whose gradient is well above eps."""
    free, limited = made(lrate=0.5), made(lrate=0.5, step_clip=0.25)
    before = free.p['U1'].get_value()
    for model in (free, limited):
        model.theano_train_rmsprop(*X)
    changes = [abs(model.p['U1'].get_value() - before).max() for model in (free, limited)]
    np.testing.assert_allclose(changes, [0.5, 0.125], rtol=1e-3)


# ---------------------------------------------------------------- saved and resumed

def test_adam_resumes_bit_for_bit(make, path):
    first, second = make(), make(seed=2)
    trained(first, 0, 3)
    assert second.resume(first.save_params(path, dict(at=3))) == dict(at=3)
    assert trained(second, 3, 6) == trained(first, 3, 6)
    stored, again = load(first.save_params(path)), load(second.save_params(path))
    assert {name: array.tobytes() for name, array in stored.items()} == {
        name: array.tobytes() for name, array in again.items()}
    assert stored['state_count'] == 6 and {'state_means_c', 'm_c'} < set(stored)
    assert read_about(path)['optimiser'] == ['count', 'mean_squares', 'means']
    assert set(read_averages(path)) == set(NAMES)


def test_state_begins_anew_where_averages_of_rmsprop_do(make, path):
    """With model_setup, also of a checkpoint, and with parameters of other shapes; not with load_params."""
    model, counts = make(), []

    def count():
        counts.append(float(model._training_state()['count'].get_value()))
    trained(model, 0, 2)
    model.load_params(model.save_params(path))
    count()
    model.model_setup(num_units1=4, num_units2=2)
    count()
    trained(model, 0, 1)
    count()
    model.model_setup(model.save_params(path), num_units1=4, num_units2=2)
    count()
    trained(model, 0, 1)
    model.load_params(make().save_params(path))
    model.model_setup(num_units1=5, num_units2=2)
    count()
    assert counts == [2, 0, 1, 0, 0]


@pytest.mark.parametrize('theirs, ours', [(CharLSTM, Adam), (Adam, CharLSTM)])
def test_run_of_another_optimiser_is_not_resumed(make, path, refused, theirs, ours):
    saved, model = make(theirs).save_params(path, {}), make(ours)
    before = trained(model, 0, 1), model.p['c'].get_value()
    with refused(ValueError, path, 'another optimiser', 'count, mean_squares, means', 'init'):
        model.resume(saved)
    assert (model.p['c'].get_value() == before[1]).all()
    model.load_params(saved)
    model.init_params(saved)


@pytest.mark.parametrize('name, change', [
    ('state_count', lambda a: None), ('state_count', lambda a: a[None]), ('state_means_c', lambda a: a[1:]),
    ('m_U1', lambda a: None), ('state_means_c', lambda a: np.nan * a)])
def test_state_that_is_missing_or_wrong(make, path, refused, name, change):
    arrays = load(make().save_params(path, {}))
    metadata = json.loads(str(arrays.pop('about')))
    arrays[name] = change(arrays[name])
    arrays = {name: array for name, array in arrays.items() if array is not None}
    metadata['arrays'] = sorted(arrays)
    np.savez(path, about=np.array(json.dumps(metadata)), **arrays)
    with refused(ValueError, path, 'that can be '):
        make().resume(path)


def test_optimiser_without_a_state_is_resumed(make, path):
    class Plain(CharLSTM):
        optimiser = staticmethod(charlstm.sgd)
        optimiser_state = staticmethod(lambda parameters: {})
    first, second = make(Plain), make(Plain, seed=2)
    trained(first, 0, 2)
    second.resume(first.save_params(path, {}))
    assert trained(second, 2, 4) == trained(first, 2, 4) and read_averages(path) == {}


def test_adapting_to_a_text_does_not_depend_on_the_optimiser(make):
    averages = {name: np.full(p.get_value().shape, 0.3) for name, p in make().p.items()}
    for settings in (dict(adapt=0.5), dict(adapt=0.01, averages=averages)):
        found = [make(kind).score_text(TEXT[:90], **settings) for kind in (CharLSTM, Adam)]
        assert (found[0] == found[1]).all()
    assert abs(found[0] - make().score_text(TEXT[:90])).max() > 1e-5


# ---------------------------------------------------------------- changes and mistakes

def test_optimiser_that_is_changed_counts(interpreted):
    """Of an object, between two steps, also a number that it reads. A state of other names begins anew."""
    model, fresh = made(CharLSTM), made()
    model.theano_train_rmsprop(*X)
    for name, p in model.p.items():
        fresh.p[name].set_value(p.get_value())
    model.optimiser, model.optimiser_state = Adam.optimiser, Adam.optimiser_state
    for each in (model, fresh):
        each.theano_train_rmsprop(*X)
    assert all((p.get_value() == fresh.p[name].get_value()).all() for name, p in model.p.items())

    factor = [1]

    def faster(gradients, parameters, state, lrate, lp):
        steps, state = Adam.optimiser(gradients, parameters, state, lrate, lp)
        return [factor[0] * step for step in steps], state
    model.optimiser, changes = faster, []                  # the names stay, and so does the state
    for factor[0] in (2, 0.5):
        before = model.p['c'].get_value()
        model.theano_train_rmsprop(*X)
        changes.append(abs(model.p['c'].get_value() - before).max())
    assert model._training_state()['count'].get_value() == 3
    assert changes[0] > 2 * changes[1]


def returning(steps=lambda g: g, state=lambda s: s):
    """Return an optimiser whose steps and new state are made from the gradients and from the state."""
    return lambda gradients, parameters, before, lrate, lp: (steps(gradients), state(before))


@pytest.mark.parametrize('optimiser, initial, words', [
    (returning(lambda g: g[1:]), dict(n=0), ['7 steps', '8 steps']),
    (returning(state=lambda s: {}), dict(n=0), ['the state of no names', 'the state n']),
    (returning(state=lambda s: dict(n=tt.cast(s['n'], 'float64'))), dict(n=0), ['float64', 'state_n', 'float32']),
    (returning(lambda g: [g.sum() for g in g]), {}, ['U1', 'float32', 'scalar']),
    (returning(), dict(n=[0]), ['list n', '1 items', '8']), (returning(), {'a b': 0}, ["'a b'", 'letters']),
    (returning(lambda g: [0, *g[1:]]), {}, ['returned 0 for U1', 'expected TensorType(float32']),
    (lambda gradients, *more: gradients, {}, ['returned list', 'two things']),
    (returning(state=lambda s: list(s)), {}, ['two things', 'a dict']),
    (returning(), [1], ['optimiser_state', 'a dict'])])
def test_what_is_no_optimiser(interpreted, refused, optimiser, initial, words):
    model = made(CharLSTM)
    model.optimiser, model.optimiser_state = optimiser, lambda parameters: initial
    with refused(ValueError, *words):
        model.theano_train_rmsprop(*X)


def test_optimiser_that_draws_random_numbers(interpreted, capsys):
    """A warning says that no checkpoint keeps them."""
    noise = tt.shared_randomstreams.RandomStreams(5)
    model, without = made(CharLSTM), made(CharLSTM)
    model.optimiser = returning(lambda g: [step + noise.normal(step.shape, std=0.1, dtype=step.dtype) for step in g])
    model.optimiser_state = without.optimiser_state = lambda parameters: {}
    without.optimiser = returning()
    without.theano_train_rmsprop(*X)
    assert 'draws' not in capsys.readouterr().err
    model.theano_train_rmsprop(*X)
    assert 'training draws random numbers by Theano, which no checkpoint keeps' in capsys.readouterr().err


def test_parameters_that_an_optimiser_gets_are_named(interpreted):
    """Also where their average is saved: so some of them may have a rate of their own."""
    def biases_stay(gradients, parameters, state, lrate, lp):
        return [0 * g if p.name in ('b1', 'b2', 'c') else g for g, p in zip(gradients, parameters)], state
    for average in (0, 0.9):
        model = made(CharLSTM, average=average)
        model.optimiser, before = biases_stay, {name: p.get_value() for name, p in model.p.items()}
        model.theano_train_rmsprop(*X)
        assert {name for name, p in model.p.items() if (p.get_value() == before[name]).all()} == {'b1', 'b2', 'c'}
