"""CharLSTM.fit: initial parameters, refusals, and continuing. tests/test_readme.py compares it with train.py."""
import copy
import pickle
import signal
import threading

import pytest

from charlstm import CharLSTM
from engine.model import step as steps
from engine.terminal import warn_once
from models import TEXT

SMALL = dict(num_units1=5, num_units2=3, batch_size=2, seq_length=7)


@pytest.fixture
def book(text_file):
    return text_file(TEXT)


def test_small_recipe_has_the_units_epochs_and_text_of_the_option(book):
    for path, V in ((None, 61), (book, len(set(TEXT)))):
        model = CharLSTM(random_seed=1)
        model.fit(path, 'small', batch_size=3, seq_length=7)
        assert model.p['U1'].get_value().shape == (4, 64, V) and model.p['W2'].get_value().shape == (4, 64, 64)
        assert model.schedule.options.epochs == 40
    model.fit(path, 'small', num_units1=9, epochs=3, batch_size=3, seq_length=7)
    assert model.p['W2'].get_value().shape == (4, 9, 9) and model.schedule.options.epochs == 3


def test_option_that_is_none_is_that_of_the_recipe(book, interpreted, path, capfd):
    """Also, a line warns that a model's parameters are replaced by new ones, unless init names their source."""
    model = CharLSTM(random_seed=1)
    model.fit(book, 'original', lrate=None, epochs=None, dropout=None, **{**SMALL, 'num_units1': 3, 'num_units2': None})
    assert (model.lp['lrate'], model.lp['dropout'], model.schedule.epochs) == (2e-3, 0, 75)
    begin = model.save_params(path)
    for init, units, warns in ((None, 5, True), (begin, 3, False)):
        model.load_params(begin)
        capfd.readouterr()
        model.fit(book, init=init, num_units1=None if init else 5, batch_size=2, seq_length=7)
        assert ('init=' in capfd.readouterr().err) == warns and model.p['W2'].get_value().shape == (4, units, units)


@pytest.mark.parametrize('arguments, options, word', [
    ((), {}, 'a text'), ((), {'epochs': 3}, 'a text'), (('t.txt', 'best'), {}, 'recipe'),
    ((None, 'original'), {}, 'a text'), (('t.txt',), {'units': 3}, 'units'), (('t.txt',), {'resume': 'p'}, 'resume'),
    (('t.txt',), {'no_stateful': 'False'}, 'no_stateful'), (('t.txt',), {'epochs': 0}, 'epochs')])
def test_what_is_refused(refused, arguments, options, word):
    model = CharLSTM(random_seed=1)
    with refused(ValueError, word):
        model.fit(*arguments, **options)                   # at once, not when the first epoch is requested
    assert model.p == {} and model.schedule is None


def test_what_ends_a_fit_and_what_does_not(text_file, book, interpreted, tmp_path, refused):
    model, more = CharLSTM(random_seed=1), text_file(TEXT * 3, name='more.txt')
    next(model.fit(book, epochs=4, **SMALL))
    with pytest.raises(OSError):
        model.prepare_input(tmp_path / 'missing.txt')
    assert [epoch.number for epoch in model.fit()] == [2, 3, 4]
    assert list(model.fit()) == []                         # nothing is left
    model.prepare_input(more, batch_size=2, seq_length=7)
    with refused(ValueError, 'expected a text'):
        model.fit()
    assert [epoch.number for epoch in model.fit(more, epochs=2, **SMALL)] == [1, 2]


def test_fit_that_no_loop_reads_says_so_once(book, interpreted, capfd):
    warn_once.cache_clear()
    model = CharLSTM(random_seed=1)
    for _ in range(2):
        model.fit(book, verbose=False, **SMALL)
    assert capfd.readouterr().err.count('fit has trained nothing') == 1 and model.schedule.step == 0
    warn_once.cache_clear()
    next(model.fit(book, verbose=False, **SMALL))
    assert capfd.readouterr().err.count('fit has trained nothing') == 0 and model.schedule.step > 0


@pytest.mark.parametrize('where', ['as_batch', 'states_before', 'kept_in_step'])
def test_ctrl_c_within_a_step_neither_loses_nor_repeats_it(book, interpreted, monkeypatch, where):
    """Interrupt it at its start, before its random numbers, or after them: fit() then continues bit for bit."""
    model, whole, calls = CharLSTM(random_seed=1), CharLSTM(random_seed=1), []
    costs = [epoch.cost for epoch in whole.fit(book, epochs=2, **SMALL)]
    function = getattr(steps, where)
    signal.signal(signal.SIGINT, signal.default_int_handler)           # a script in this process may have changed it

    def interrupted(*arguments):
        calls.append(where)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return function(*arguments)

    monkeypatch.setattr(steps, where, interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(model.fit(book, epochs=2, **SMALL))
    assert model.schedule.step == 3
    assert [epoch.cost for epoch in model.fit()] == costs
    for name, p in whole.p.items():
        assert (p.get_value() == model.p[name].get_value()).all(), name


def test_fit_in_a_thread(book, interpreted):
    options = dict(SMALL, epochs=2, verbose=False)
    expected, found = list(CharLSTM(random_seed=1).fit(book, **options)), []
    thread = threading.Thread(target=lambda: found.extend(CharLSTM(random_seed=1).fit(book, **options)))
    thread.start()
    thread.join()
    assert [epoch[:4] for epoch in found] == [epoch[:4] for epoch in expected]


@pytest.mark.parametrize('duplicate', [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_model_that_is_duplicated_in_fit_trains_on_like_the_original(book, interpreted, duplicate):
    """Bit for bit, with states, averages and dropout; both end with the best parameters, and write."""
    model = CharLSTM(random_seed=1)
    with open(book, encoding='utf-8') as f:
        next(model.fit(f, epochs=5, lrate=0.3, verbose=False, **SMALL))
    model.generate_text('a', 3, hold={'C1': {0: 1.5}})
    new = duplicate(model)
    assert model.functions and not new.functions and new.p['c'] is not model.p['c']
    results = [([epoch[:4] for epoch in each.fit()], each.generate_text(text_length=20), each.schedule.best_epoch,
                [p.get_value().tolist() for p in (*each.p.values(), *each.weights.values())]) for each in (model, new)]
    assert results[0] == results[1]
    assert copy.copy(model).functions is model.functions
