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


def test_small_recipe_has_the_units_epochs_and_text_of_the_option(book, monkeypatch):
    monkeypatch.setattr(CharLSTM, 'epochs', lambda self, schedule: iter(()))
    for path, V in ((None, 61), (book, len(set(TEXT)))):
        model = CharLSTM(random_seed=1)
        assert list(model.fit(path, 'small', batch_size=3, seq_length=7)) == []
        assert model.p['U1'].get_value().shape == (4, 64, V) and model.p['W2'].get_value().shape == (4, 64, 64)
        assert model.schedule.options.epochs == 40
    list(model.fit(path, 'small', num_units1=9, epochs=3, batch_size=3, seq_length=7))
    assert model.p['W2'].get_value().shape == (4, 9, 9) and model.schedule.options.epochs == 3


def test_best_cost_and_patience_are_counted(book, interpreted, monkeypatch):
    model, costs = CharLSTM(random_seed=1), iter([3.0, 2.5, 2.75, 2.75, 2.75])
    monkeypatch.setattr(CharLSTM, 'validation_costs', lambda self: [(next(costs), 1)])
    epochs = list(model.fit(book, 'original', epochs=9, patience=2, **SMALL))
    assert [epoch.valid_cost for epoch in epochs] == [3, 2.5, 2.75, 2.75]
    assert (model.schedule.best_cost, model.schedule.best_epoch) == (2.5, 2)


def test_option_that_is_none_is_that_of_the_recipe(book, interpreted, path):
    model = CharLSTM(random_seed=1)
    model.fit(book, 'original', lrate=None, epochs=None, dropout=None, **{**SMALL, 'num_units1': 3, 'num_units2': None})
    assert (model.lp['lrate'], model.lp['dropout'], model.schedule.epochs) == (2e-3, 0, 75)
    assert model.p['W2'].get_value().shape == (4, 3, 3)
    begin = model.save_params(path)
    model.fit(book, init=begin, num_units1=None, **{name: SMALL[name] for name in ('batch_size', 'seq_length')})
    assert model.p['W1'].get_value().shape == (4, 3, 3)


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


@pytest.mark.parametrize('arguments, options, words', [
    ((), {}, ['nothing to continue', 'a text']), ((), {'epochs': 3}, ['expected none, or a text']),
    (('t.txt', 'best'), {}, ["recipe is 'best'", "'default', 'original', 'small'"]),
    ((None, 'Small'), {}, ["recipe is 'Small'", "'small'"]),
    ((None, 'original'), {}, ["recipe is 'original'", 'no text']),
    (('t.txt',), {'units': 3}, ['no option units', 'num_units1']), (('t.txt',), {'resume': 'p'}, ['no option resume']),
    (('t.txt',), {'init': 5}, ['checkpoint is 5', 'a path']), (('missing.txt',), {'foo': 3}, ['no option foo']),
    (('t.txt',), {'anneal': None}, ['anneal is None']),
    (('t.txt',), {'no_stateful': 'False'}, ["no_stateful is 'False': expected True or False"]),
    (('t.txt',), {'epochs': 0}, ['epochs is 0', 'at least 1']), (('t.txt',), {'dropout': 1.5}, ['dropout is 1.5'])])
def test_what_is_refused(arguments, options, words):
    model = CharLSTM(random_seed=1)
    with pytest.raises(ValueError) as caught:
        model.fit(*arguments, **options)                   # at once, not when the first epoch is asked for
    assert all(word in str(caught.value) for word in words) and '--' not in str(caught.value)
    assert model.p == {} and model.schedule is None


def test_costs_that_are_not_finite(book, interpreted, monkeypatch):
    model = CharLSTM(random_seed=1)
    monkeypatch.setattr(CharLSTM, 'theano_train_rmsprop', lambda self, x, y: [float('nan'), None])
    with pytest.raises(Diverged, match='the cost is nan in epoch 1'):
        list(model.fit(book, epochs=3, **SMALL))


OTHERS = {'text': lambda model, path: model.prepare_input(path, batch_size=2, seq_length=7),
          'model': lambda model, path: model.model_setup(num_units1=3),
          'checkpoint': lambda model, path: model.model_setup(model.save_params(path + '.npz')),
          'parameters': lambda model, path: model.load_params(model.save_params(path + '.npz')),
          'init': lambda model, path: model.init_params(model.save_params(path + '.npz')),
          'fit': lambda model, path: next(model.fit(path, epochs=3, **SMALL))}


@pytest.mark.parametrize('other', OTHERS)
def test_another_text_or_model_ends_what_was_begun(text_file, book, interpreted, refused, other):
    model, more = CharLSTM(random_seed=1), text_file(TEXT * 3, name='more.txt')
    loop = model.fit(book, epochs=3, **SMALL)
    next(loop)
    OTHERS[other](model, more)
    with refused(ValueError, 'fit cannot go on', 'begin with a text'):
        next(loop)
    if other != 'fit':
        with refused(ValueError, 'nothing to continue', 'another text or model'):
            model.fit()
    else:
        assert next(model.fit()).number == 2
    assert [epoch.number for epoch in model.fit(more, epochs=2, **SMALL)] == [1, 2]


def test_another_text_after_the_last_epoch(text_file, book, interpreted):
    model, more = CharLSTM(random_seed=1), text_file(TEXT * 3, name='more.txt')
    for epoch in model.fit(book, epochs=2, **SMALL):
        if epoch.number == 2:
            OTHERS['text'](model, more)
    assert model.has_text('train') and model.schedule is None


def test_what_fails_ends_nothing(book, tmp_path, interpreted, refused):
    model = CharLSTM(random_seed=1)
    next(model.fit(book, epochs=4, **SMALL))
    for failing in (lambda: model.prepare_input(tmp_path / 'missing.txt'),
                    *[lambda read=read: read(tmp_path / 'missing.npz') for read in (
                        model.model_setup, model.load_params, model.init_params)]):
        with pytest.raises(OSError):
            failing()
    assert [epoch.number for epoch in model.fit()] == [2, 3, 4]
    with refused(ValueError, 'finished after epoch 4', 'expected a text'):
        model.fit()


@pytest.mark.parametrize('units', [3, 4])
def test_resuming_ends_what_was_begun(book, path, interpreted, refused, units):
    """Also where the checkpoint is of the same run, as its schedule is not in it."""
    other, model = CharLSTM(random_seed=1), CharLSTM(random_seed=1)
    next(other.fit(book, epochs=3, **dict(SMALL, num_units2=units)))
    loop = model.fit(book, epochs=3, **SMALL)
    next(loop)
    model.resume(other.save_params(path))
    with refused(ValueError, 'fit cannot go on', 'other parameters'):
        next(loop)


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


def test_two_loops_over_one_run(book, interpreted, refused):
    model = CharLSTM(random_seed=1)
    older = model.fit(book, epochs=4, **SMALL)
    newer = model.fit()
    assert [next(older).number, next(newer).number] == [1, 2]
    with refused(ValueError, 'another one went on with the model'):
        next(older)
    assert [epoch.number for epoch in newer] == [3, 4]


def test_fit_that_another_one_replaced_before_its_first_epoch(book, interpreted, refused):
    model = CharLSTM(random_seed=1)
    first, second = model.fit(book, epochs=3, **SMALL), model.fit(book, epochs=2, **SMALL)
    with refused(ValueError, 'another fit ended it'):
        next(first)
    assert [epoch.number for epoch in second] == [1, 2]


def test_rate_is_set_by_the_schedule(book, interpreted, refused):
    """Another one is refused where it would have no effect: not after the last epoch."""
    model = CharLSTM(random_seed=1)
    loop = model.fit(book, 'original', epochs=3, **SMALL)
    rates = [next(loop).rate]
    model.dyn_lrate = 0.5
    with refused(ValueError, 'dyn_lrate is 0.5', 'schedule.rate_factor'):
        next(loop)
    model.schedule.rate_factor = 0.25
    for epoch in model.fit():
        rates.append(epoch.rate)
        assert model.dyn_lrate.get_value() == np.float32(epoch.rate)
        if epoch.number == 3:
            model.dyn_lrate = 0.5
    assert rates == [2e-3, 5e-4, 5e-4] and model.dyn_lrate.get_value() == 0.5


def test_step_may_set_its_own_rate(book, interpreted):
    class Constant(CharLSTM):
        def theano_train_rmsprop(self, x, y):
            self.dyn_lrate = 0.125
            return super().theano_train_rmsprop(x, y)

    model = Constant(random_seed=1)
    assert len(list(model.fit(book, 'original', epochs=2, **SMALL))) == 2 and model.dyn_lrate.get_value() == 0.125
