"""What is edited counts from the next call on: functions of symbols, values that these read, learning parameters."""
import copy
import functools
import pickle
import types

import numpy as np
import pytest

import charlstm
from charlstm import CharLSTM, lstm_cell, read_about
from cells import coupled_cell
from engine.backend.theano_setup import computes_on
from engine.kernel.edits import Reads
from test_cell import edit_network

X = np.arange(60, dtype=np.int32).reshape(12, 5) % 7
leak = 0.1
settings = dict(leak=0.1, other=[1, 2])
own_settings = types.SimpleNamespace(leak=0.1)


@pytest.fixture(autouse=True)
def interpreted_all(interpreted):
    pass


def made(cls=CharLSTM, cell=None, **settings):
    model = cls(random_seed=1)
    if cell:
        model.cell = cell
    model.model_setup(char_dim=7, num_units1=3, num_units2=4, **settings)
    model.uchar = list('abcdefg')
    return model


def computed(model):
    """Return what a model computes by functions that are compiled apart, with a training step at a rate near 0."""
    model.random = np.random.default_rng(1)
    model.dyn_lrate.set_value(1e-30)
    return [model.theano_check(X, X[::-1])[0], model.theano_predict(X)[0][-1, 0, 0], model.states('abc')['C2'][-1, 0],
            model.theano_train_rmsprop(X, X[::-1])[0], model.score_text('abcabc').mean(),
            model.generate_text('ab', 30, 'argmax'), model.generate_text('ab', 30, 'argmax', hold={'C1': {0: 1.0}})]


def leaky(a_f, a_i, a_o, a_g, C_prev, by):
    h, C = lstm_cell(a_f, a_i, a_o, a_g, C_prev)
    return h + by * C, C


class Leaky(CharLSTM):
    leak = 0.1

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        return leaky(a_f, a_i, a_o, a_g, C_prev, Leaky.leak)


class OfObject(CharLSTM):
    leak = 0.1

    def cell(self, a_f, a_i, a_o, a_g, C_prev):
        return leaky(a_f, a_i, a_o, a_g, C_prev, self.leak)


def of_closure():
    leak = 0.1

    def cell(a_f, a_i, a_o, a_g, C_prev):
        return leaky(a_f, a_i, a_o, a_g, C_prev, leak)

    def change():
        nonlocal leak
        leak = 0.4 - leak
    return cell, change


def global_cell(a_f, a_i, a_o, a_g, C_prev):
    return leaky(a_f, a_i, a_o, a_g, C_prev, leak)


def settings_cell(a_f, a_i, a_o, a_g, C_prev):
    return leaky(a_f, a_i, a_o, a_g, C_prev, settings['leak'])


def helped_cell(a_f, a_i, a_o, a_g, C_prev):
    return (lambda *inputs: global_cell(*inputs))(a_f, a_i, a_o, a_g, C_prev)


class Callable:
    leak = 0.1

    def __call__(self, *inputs):
        return leaky(*inputs, self.leak)


class OfBase(CharLSTM):
    @staticmethod
    def cell(*inputs):
        return super(OfBase, OfBase).cell(*inputs)


class OfBaseOfObject(CharLSTM):
    def cell(self, *inputs):
        return super().cell(*inputs)


def partial_cell(*inputs, settings):
    return leaky(*inputs, settings['leak'])


def of_settings(*inputs):
    return leaky(*inputs, leak_of(own_settings))


def leak_of(settings):
    return settings.leak


class Passing(CharLSTM):
    leak = 0.1

    def cell(self, *inputs):
        return leaky(*inputs, leak_of(self))


class PassingToMethod(CharLSTM):
    leak = 0.1

    def of(self, other):
        return other.leak

    def cell(self, *inputs):
        return leaky(*inputs, self.of(own_settings))


class WithProperty(CharLSTM):
    _config = types.SimpleNamespace(leak=0.1)

    @property
    def config(self):
        return self._config

    def cell(self, *inputs):
        return leaky(*inputs, self.config.leak)


def with_default(*inputs, settings=own_settings):
    return leaky(*inputs, settings.leak)


def with_leak_of(*inputs, settings):
    return leaky(*inputs, settings.leak)


class Bounded(CharLSTM):
    leak, top = 0.1, 1

    @property
    def bounds(self):
        return self.leak, [self.top], np.zeros(2)           # all of it new each time

    def cell(self, *inputs):
        return leaky(*inputs, self.bounds[0])


def doubled(U, stacked=charlstm.stacked):
    return 2 * stacked(U)


@pytest.mark.parametrize('cls, cell, change', [
    (Leaky, None, lambda patch, model: patch.setattr(Leaky, 'leak', 0.3)),
    (OfObject, None, lambda patch, model: setattr(model, 'leak', 0.3)),
    (CharLSTM, global_cell, lambda patch, model: patch.setitem(globals(), 'leak', 0.3)),
    (CharLSTM, helped_cell, lambda patch, model: patch.setitem(globals(), 'leak', 0.3)),
    (CharLSTM, settings_cell, lambda patch, model: patch.setitem(settings, 'leak', 0.3)),
    (CharLSTM, settings_cell, lambda patch, model: patch.setitem(globals(), 'settings', dict(leak=0.3))),
    (CharLSTM, functools.partial(partial_cell, settings=settings),
     lambda patch, model: patch.setitem(settings, 'leak', 0.3)),
    (CharLSTM, Callable(), lambda patch, model: patch.setattr(Callable, 'leak', 0.3)),
    (CharLSTM, of_settings, lambda patch, model: patch.setattr(own_settings, 'leak', 0.3)),
    (Passing, None, lambda patch, model: setattr(model, 'leak', 0.3)),
    (Bounded, None, lambda patch, model: setattr(model, 'leak', 0.3)),
    (PassingToMethod, None, lambda patch, model: patch.setattr(own_settings, 'leak', 0.3)),
    (CharLSTM, with_default, lambda patch, model: patch.setattr(own_settings, 'leak', 0.3)),
    (CharLSTM, functools.partial(with_leak_of, settings=own_settings),
     lambda patch, model: patch.setattr(own_settings, 'leak', 0.3)),
    *[(cls, None, lambda patch, model: patch.setattr(charlstm, 'lstm_cell', coupled_cell))
      for cls in (OfBase, OfBaseOfObject)],
    (CharLSTM, *of_closure()),
    (CharLSTM, None, lambda patch, model: patch.setattr(charlstm, 'lstm_cell', coupled_cell)),
    (CharLSTM, None, lambda patch, model: patch.setattr(lstm_cell, '__code__', coupled_cell.__code__)),
    (CharLSTM, None, lambda patch, model: patch.setattr(charlstm, 'stacked', doubled)),
    (CharLSTM, None, lambda patch, model: patch.setattr(charlstm, 'network', edit_network))])
@pytest.mark.parametrize('setup', [False, True])
def test_edit_counts_in_all_functions(monkeypatch, cls, cell, change, setup):
    """As in an object that was made after it, whether model_setup is called again or not."""
    model = made(cls, cell)
    before = computed(model)
    change(monkeypatch, model) if change.__code__.co_argcount else change()
    if setup:
        parameters = {name: p.get_value() for name, p in model.p.items()}
        model.model_setup(char_dim=7, num_units1=3, num_units2=4)
        for name, array in parameters.items():
            model.p[name].set_value(array)
    after, fresh = computed(model), made(cls, cell)
    fresh.leak = getattr(model, 'leak', None)
    assert after == computed(fresh) and after[0] != before[0] and after[3] != before[3]


def test_nothing_is_compiled_again_without_an_edit():
    model = made(Leaky)
    computed(model)
    functions = dict(model._functions)
    Leaky.leak = 0.5 / 5                       # an equal number
    computed(model)
    assert model._functions == functions and set(functions) > {'predict', 'check', 'train_rmsprop', 'held'}


def test_property_that_returns_something_new_is_no_edit():
    model = made(Bounded)
    model.theano_check(X, X)
    functions = dict(model._functions)
    model.theano_check(X, X)
    assert model._functions == functions


def test_attribute_of_what_a_property_returns(monkeypatch):
    model = WithProperty(random_seed=1)
    reads = Reads([model.cell])
    assert not reads.differ()
    monkeypatch.setattr(WithProperty._config, 'leak', 0.3)
    assert reads.differ()


def test_names_in_what_is_called_are_no_globals_of_the_caller(monkeypatch):
    """This file has a global named leak, and what is called reads an attribute of that name."""
    other = types.ModuleType('other')
    exec('def taken(settings): return settings.leak', vars(other))
    reads = Reads([lambda: other.taken(own_settings)])
    monkeypatch.setitem(globals(), 'leak', 3)
    assert not reads.differ()
    monkeypatch.setattr(own_settings, 'leak', 3)
    assert reads.differ()


def test_what_cannot_be_read():
    """A variable that has no value yet, and a property that raises an error."""
    class Failing:
        @property
        def leak(self):
            raise RuntimeError

    failing = Failing()

    def function():
        return later, failing.leak
    reads = Reads([function])
    assert not reads.differ()
    later = 1
    assert Reads([function]).differ() is False and later


def test_second_object_that_acts_as_a_function():
    """Its bound method may get the address of that of the first."""
    calls = [Callable() for _ in range(9)]
    reads = Reads(calls)
    for call in calls:
        assert not reads.differ()
        call.leak = 0.3
        assert reads.differ()
        del call.leak


def test_what_a_function_reads():
    """Items, lengths, defaults, and attributes that come or go; not what the function only could reach."""
    values, unused = {'a': [1, 2], 'b': {}}, [1]

    def function(x, y=values, *, z=3):
        return [value for value in y['a']], (lambda: len(values))(), x.attribute
    for change, undo in ((lambda: values['a'].append(3), values['a'].pop), (lambda: values.pop('b'), None),
                         (lambda: setattr(function, '__kwdefaults__', dict(z=4)), None)):
        reads = Reads([function])
        assert not reads.differ()
        change()
        assert reads.differ()
        if undo:
            undo()
            assert not reads.differ()
    reads = Reads([function])
    unused.append(2)
    assert not reads.differ()


class Options:
    first, second = 1, [2]
    itself = None


Options.itself = Options


def first(x):
    return Options.first, Options.itself


def second(x):
    return Options.second[0]


@pytest.mark.parametrize('change', [
    lambda patch: patch.setattr(Options, 'first', 3), lambda patch: Options.second.append(3),
    lambda patch: patch.setitem(globals(), 'second', first)])
def test_two_functions_read_one_object(monkeypatch, change):
    """Each reads another attribute of it; one attribute is the object itself."""
    monkeypatch.setattr(Options, 'second', [2])
    reads = Reads([first, lambda x: second(x)])
    assert not reads.differ()
    change(monkeypatch)
    assert reads.differ()


@pytest.mark.parametrize('owner', [dict, types.SimpleNamespace])
def test_two_functions_read_one_inner_object(owner):
    item = types.SimpleNamespace(first=1, second=2)
    outer = owner(item=item)
    functions = [lambda: outer['item'].first, lambda: outer['item'].second] if owner is dict else [
        lambda: outer.item.first, lambda: outer.item.second]
    reads = Reads(functions)
    item.second = 3
    assert reads.differ()


# ---------------------------------------------------------------- learning parameters

@pytest.mark.parametrize('name, value', [
    ('l2', 0.5), ('dropout', 0.5), ('smoothing', 0.3), ('ar', 9), ('grad_clip', 1e-3), ('drate', 0.5),
    ('bptt_maxdepth', 2), ('dropconnect', np.float64(0.5))])
def test_learning_parameter_that_is_changed_counts(name, value):
    """As if model_setup had got it."""
    arguments = dict(drate=0.9, eps=1e-3, lrate=0.1)
    model, fresh, unchanged = made(**arguments), made(**dict(arguments, **{name: value})), made(**arguments)
    model.theano_check(X, X)
    model.lp[name] = value
    for each in (model, fresh, unchanged):
        each.random = np.random.default_rng(2)
        each.theano_train_rmsprop(X, X[::-1])
    arrays = [{name: p.get_value().tobytes() for name, p in each.p.items()} for each in (model, fresh, unchanged)]
    assert arrays[0] == arrays[1] != arrays[2] and model.lp == fresh.lp


@pytest.mark.parametrize('changes, words', [
    (dict(lrate=0.1), ["lp['lrate'] is 0.1", '0.002', 'dyn_lrate', 'rate_factor']),
    (dict(average=0.9), ["lp['average']", 'model_setup']), (dict(dropuot=0.1), ['dropuot', 'expected dropout']),
    (dict(dropout=1), ['dropout is 1']), (dict(l1=-1), ['l1 is -1']), (dict(step_clip=np.nan), ['step_clip is nan'])])
@pytest.mark.parametrize('when', ['new', 'trained', 'copied', 'unpickled'])
def test_learning_parameter_that_cannot_change(tmp_path, refused, changes, words, when):
    model = made()
    if when != 'new':
        model.theano_train_rmsprop(X, X)
    model = dict(copied=copy.deepcopy, unpickled=lambda model: pickle.loads(pickle.dumps(model))).get(
        when, lambda model: model)(model)
    before = dict(model.lp)
    model.lp.update(changes)
    for use in (lambda: model.theano_train_rmsprop(X, X), lambda: model.theano_check(X, X),
                lambda: model.save_params(tmp_path / 'p.npz')):
        with refused(ValueError, *words):
            use()
    assert list(tmp_path.iterdir()) == []
    model.lp.clear()
    model.lp.update(before)
    model.theano_train_rmsprop(X, X)


def test_setup_replaces_what_was_changed(tmp_path):
    """As the message about average says. If it fails, lp stays as it was."""
    model = made()
    path = model.save_params(tmp_path / 'p.npz')
    model.lp['average'] = 0.75
    with pytest.raises(OSError):
        model.model_setup(tmp_path / 'missing.npz')
    assert model.lp['average'] == 0.75
    model.model_setup(path, average=0.75)
    model.theano_train_rmsprop(X, X[::-1])
    assert model.lp == dict(made().lp, average=0.75)


@pytest.mark.parametrize('trained', [False, True])
@pytest.mark.parametrize('value', [np.float32(0.25), np.float32(0), False])
def test_checkpoint_has_a_changed_learning_parameter(tmp_path, trained, value):
    """As Python's own number, also if it is equal to the value before."""
    model = made()
    if trained:
        model.theano_train_rmsprop(X, X)
    model.lp['l2'] = value
    stored = read_about(model.save_params(tmp_path / 'p.npz'))['lp']
    assert stored == dict(made().lp, l2=float(value)) and type(stored['l2']) is float


def test_rate_is_set_to_a_number(refused):
    model, other = made(), made()
    with refused(ValueError, 'model_setup'):
        CharLSTM().dyn_lrate = 0.1
    model.dyn_lrate = 0.25
    other.dyn_lrate.set_value(0.25)
    for each in (model, other):
        each.theano_train_sgd(X, X[::-1])
    assert (model.p['c'].get_value() == other.p['c'].get_value()).all() and model.dyn_lrate.get_value() == 0.25
    for wrong in (0, -1, np.nan, 'fast', None):
        with refused(ValueError, 'lrate is', 'above 0'):
            model.dyn_lrate = wrong


def test_what_training_returns_are_pythons_numbers():
    for cost, best, *ratios in (made().theano_train_rmsprop(X, X), [*made().theano_check(X, X)]):
        assert {type(number) for number in (cost, *ratios)} == {float} and best.shape == X.shape


# ---------------------------------------------------------------- costs that are not -log p

@pytest.mark.parametrize('kernel', [True, False])
def test_other_costs_than_minus_log_p_are_named(monkeypatch, capsys, kernel):
    model, network = CharLSTM(random_seed=1, kernel=kernel), charlstm.network
    model.model_setup(char_dim=7, num_units1=3, num_units2=4)
    model.uchar = list('abcdefg')
    score, cost = model.score_text('abcabc'), model.theano_check(X, X)[0]
    assert capsys.readouterr().err == ''

    def dearer(*arguments):
        found = network(*arguments)
        return found._replace(costs=found.costs * 1.1)
    monkeypatch.setattr(charlstm, 'network', dearer)
    assert model.theano_check(X, X)[0] == pytest.approx(1.1 * cost)
    assert (model.score_text('abcabc') == score).all()
    line, = capsys.readouterr().err.splitlines()
    assert 'costs are not -log p' in line and 'scores' in line
    monkeypatch.setattr(charlstm, 'network', edit_network)             # whose costs are -log p, of other probabilities
    model.score_text('abcabc')
    assert 'not -log p' not in capsys.readouterr().err


# ---------------------------------------------------------------- who computes

def test_mode_that_runs_python_says_so():
    assert 'by the C kernel' in computes_on(made().runs_in_c())
