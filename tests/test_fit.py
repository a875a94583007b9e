"""CharLSTM.fit: what it begins with, what it refuses, and going on. tests/test_readme.py compares it with train.py."""
import signal

import numpy as np
import pytest

from charlstm import CharLSTM, tt
from engine.run.schedule import Diverged
from models import TEXT

SMALL = dict(num_units1=5, num_units2=3, batch_size=2, seq_length=7)


@pytest.fixture
def book(text_file):
    return text_file(TEXT)


def test_original_recipe_has_the_defaults_of_the_class(book, interpreted):
    model = CharLSTM(random_seed=1)
    epochs = list(model.fit(book, 'original', epochs=2, **SMALL))
    other = CharLSTM(random_seed=1)
    other.prepare_input(book, batch_size=2, seq_length=7)
    other.model_setup(num_units1=5, num_units2=3)
    assert model.lp == other.lp and [epoch.number for epoch in epochs] == [1, 2]
    assert {epoch.rate for epoch in epochs} == {2e-3}


def test_small_recipe_has_the_units_epochs_and_text_of_the_option(book):
    for path, V in ((None, 61), (book, len(set(TEXT)))):
        model = CharLSTM(random_seed=1)
        model.fit(path, 'small', batch_size=3, seq_length=7)
        assert model.p['U1'].get_value().shape == (4, 64, V) and model.p['W2'].get_value().shape == (4, 64, 64)
        assert model.schedule.options.epochs == 40
    model.fit(path, 'small', num_units1=9, epochs=3, batch_size=3, seq_length=7)
    assert model.p['W2'].get_value().shape == (4, 9, 9) and model.schedule.options.epochs == 3


def test_best_cost_and_patience_are_counted(book, interpreted, monkeypatch):
    model, costs = CharLSTM(random_seed=1), iter([3.0, 2.5, 2.75, 2.75, 2.75])
    monkeypatch.setattr(CharLSTM, 'validation_costs', lambda self: [(next(costs), 1)])
    epochs = list(model.fit(book, 'original', epochs=9, patience=2, **SMALL))
    assert [epoch.valid_cost for epoch in epochs] == [3, 2.5, 2.75, 2.75]
    assert (model.schedule.best_cost, model.schedule.best_epoch) == (2.5, 2)


def test_option_that_is_none_is_that_of_the_recipe(book, interpreted, path, capfd):
    """And a model with parameters is told that it gets new ones, unless init says where they come from."""
    model = CharLSTM(random_seed=1)
    model.fit(book, 'original', lrate=None, epochs=None, dropout=None, **{**SMALL, 'num_units1': 3, 'num_units2': None})
    assert (model.lp['lrate'], model.lp['dropout'], model.schedule.epochs) == (2e-3, 0, 75)
    assert model.p['W2'].get_value().shape == (4, 3, 3)
    begin, sizes = model.save_params(path), {name: SMALL[name] for name in ('batch_size', 'seq_length')}
    model.load_params(begin)
    assert 'init=' not in capfd.readouterr().err
    model.fit(book, num_units1=5, **sizes)
    assert 'init=' in capfd.readouterr().err
    model.load_params(begin)
    model.fit(book, init=begin, num_units1=None, **sizes)
    assert 'init=' not in capfd.readouterr().err and model.p['W1'].get_value().shape == (4, 3, 3)


def test_cell_and_parameters_of_ones_own(book, interpreted):
    class Leaky(CharLSTM):
        cell_parameters = {'leak': 0.5}

        @staticmethod
        def cell(a_f, a_i, a_o, a_g, C_prev, leak):
            C = leak * C_prev + tt.tanh(a_i * a_g)
            return tt.tanh(a_o * C), C

    model = Leaky(random_seed=1)
    list(model.fit(book, epochs=1, **SMALL))
    assert not np.allclose(model.p['leak1'].get_value(), 0.5)


@pytest.mark.parametrize('arguments, options, word', [
    ((), {}, 'a text'), ((), {'epochs': 3}, 'a text'), (('t.txt', 'best'), {}, 'recipe'),
    ((None, 'original'), {}, 'no text'), (('t.txt',), {'units': 3}, 'units'), (('t.txt',), {'resume': 'p'}, 'resume'),
    (('t.txt',), {'init': 5}, 'init'), (('t.txt',), {'anneal': None}, 'anneal'),
    (('t.txt',), {'no_stateful': 'False'}, 'no_stateful'), (('t.txt',), {'epochs': 0}, 'epochs')])
def test_what_is_refused(refused, arguments, options, word):
    model = CharLSTM(random_seed=1)
    with refused(ValueError, word):
        model.fit(*arguments, **options)                   # at once, not when the first epoch is asked for
    assert model.p == {} and model.schedule is None


def test_costs_that_are_not_finite(book, interpreted, monkeypatch):
    model = CharLSTM(random_seed=1)
    monkeypatch.setattr(CharLSTM, 'theano_train_rmsprop', lambda self, x, y: [float('nan'), None])
    with pytest.raises(Diverged, match='the cost is nan in epoch 1'):
        list(model.fit(book, epochs=3, **SMALL))


def test_what_ends_a_fit_and_what_does_not(text_file, book, interpreted, tmp_path, refused):
    model, more = CharLSTM(random_seed=1), text_file(TEXT * 3, name='more.txt')
    next(model.fit(book, epochs=4, **SMALL))
    with pytest.raises(OSError):
        model.prepare_input(tmp_path / 'missing.txt')
    assert [epoch.number for epoch in model.fit()] == [2, 3, 4]
    assert list(model.fit()) == []                         # nothing is left
    model.prepare_input(more, batch_size=2, seq_length=7)
    with refused(ValueError, 'another text or model'):
        model.fit()
    assert [epoch.number for epoch in model.fit(more, epochs=2, **SMALL)] == [1, 2]


@pytest.mark.parametrize('where', ['_step_inputs', '_cost_weights', '_rows'])
def test_ctrl_c_within_a_step_neither_loses_nor_repeats_it(book, interpreted, monkeypatch, where):
    """Before the step's random numbers, after them, and at its beginning: fit() continues bit for bit."""
    model, whole, calls = CharLSTM(random_seed=1), CharLSTM(random_seed=1), []
    costs = [epoch.cost for epoch in whole.fit(book, epochs=2, **SMALL)]
    step = getattr(CharLSTM, where)

    def interrupted(self, *arguments):
        found = step(self, *arguments)
        calls.append(where)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return found

    monkeypatch.setattr(CharLSTM, where, interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(model.fit(book, epochs=2, **SMALL))
    assert len(calls) == 3 and model.schedule.step == 3
    assert [epoch.cost for epoch in model.fit()] == costs
    for name, p in whole.p.items():
        assert (p.get_value() == model.p[name].get_value()).all(), name


def test_rate_is_set_by_the_schedule(book, interpreted):
    model = CharLSTM(random_seed=1)
    rates = [next(model.fit(book, 'original', epochs=3, **SMALL)).rate]
    model.schedule.rate_factor = 0.25
    for epoch in model.fit():
        rates.append(epoch.rate)
        assert model.dyn_lrate.get_value() == np.float32(epoch.rate)
    assert rates == [2e-3, 5e-4, 5e-4]
