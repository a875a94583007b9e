"""Edits of charlstm.py's functions, what an object replaces, and learning parameters take effect at the next call."""
import contextlib
import copy

import numpy as np
import pytest

import charlstm
from cells import coupled_cell, readme_classes
from charlstm import CharLSTM, lstm_cell, read_about, read_mean_squares, tt
from engine.backend.theano_setup import theano
from theano.sandbox.rng_mrg import MRG_RandomStreams
from theano.tensor.shared_randomstreams import RandomStreams
from engine.model.edits import REPLACEABLE
from engine.model.state import named_state, optimiser_variables
from models import P, TEXT, default_mode, set_parameters
from models import trained as returned
from numpy_model import H1, H2, LETTERS, NAMES, V
from scripts import load

X, Y = np.random.default_rng(4).integers(V, size=(2, 5, 3))
# All functions of a training step are used, and its limits are reached.
SETTINGS = dict(smoothing=0.1, ar=1, tar=1, l2=0.1, grad_clip=0.01, step_clip=1, average=0.9, lrate=0.1, eps=1e-4)
TRAINING, READING = {'rmsprop', 'sgd'}, {'predict', 'text', 'held text', 'other programs'}
Adam = readme_classes()['Adam']
leak = 0.1
pytestmark = pytest.mark.usefixtures('interpreted')


def made(kernel=True, **settings):
    model = CharLSTM(random_seed=1, kernel=kernel)
    model.model_setup(char_dim=V, num_units1=H1, num_units2=H2, **settings)
    model.uchar = list(LETTERS)
    return model


def trained(model, step):
    """Return the results of a first training step and the parameters after it, as bytes."""
    set_parameters(model)
    for name, variable in model.weights.items():
        variable.set_value(P[name].astype('float32'))
    for variable in named_state(optimiser_variables(model), model.p).values():
        variable.set_value(0 * variable.get_value())
    model.averaged_steps, model.random = 0, np.random.default_rng(1)
    found = [*step(X, Y), *[p.get_value() for p in (*model.p.values(), *model.weights.values())]]
    assert {type(value) for value in found[:1] + found[2:10]} == {float}
    set_parameters(model)
    return [np.asarray(value).tobytes() for value in found]


def computed(model, folder):
    """Return the model's results by name; 'other programs' is the text of a C file, or 'refused'."""
    found = {'rmsprop': trained(model, model.theano_train_rmsprop), 'sgd': trained(model, model.theano_train_sgd),
             'predict': model.theano_predict(X)[0].tobytes(), 'text': model.generate_text('ab', 50, 'argmax'),
             'held text': model.generate_text('ab', 50, 'argmax', hold={'C1': {0: 1.0}})}
    try:
        model.export(folder / 'model.c')
        found['other programs'] = (folder / 'model.c').read_text()
    except ValueError as error:
        assert '\n' not in str(error)
        found['other programs'] = 'refused'
    return found


@pytest.fixture(scope='module')
def unedited(tmp_path_factory):
    """Return a model and its results, after asserting that without an edit nothing is compiled again."""
    with default_mode(theano.compile.mode.FAST_COMPILE):
        model, folder = made(**SETTINGS), tmp_path_factory.mktemp('unedited')
        found, compiled = computed(model, folder), dict(model.functions)
        assert computed(model, folder) == found and model.functions == compiled
        return model, found


def after(name, change):
    """Return an edit of a helper in charlstm.py, which then returns change(previous result, *arguments).

    What reads a helper is compiled again if it is asked for.
    """
    def edit(patch, model):
        function = getattr(charlstm, name)
        patch.setattr(charlstm, name, lambda *arguments: change(function(*arguments), *arguments))
        model.compile()
    return edit


def instead(name, change):
    """Return an edit that replaces a function of a model, by one that returns change(result, *arguments)."""
    def edit(patch, model):
        function = getattr(model, name)
        setattr(model, name, lambda *arguments: change(function(*arguments), *arguments))
    return edit


def setting(**functions):
    """Return an edit that sets functions of a model."""
    return lambda patch, model: vars(model).update(functions)


def without_sign(batch, p, *more):
    return charlstm.network(batch, {**p, 'V': -p['V']}, *more)


adam = setting(optimiser=Adam.optimiser, optimiser_state=Adam.optimiser_state)


def slower(a_x, W, *more):
    return charlstm.layer(a_x, 0.5 * W, *more)


def doubled(values, *arguments):
    return [2 * value for value in values]


@pytest.mark.parametrize('edit, changes', [
    (lambda patch, model: patch.setattr(lstm_cell, '__code__', coupled_cell.__code__), TRAINING | READING),
    (setting(cell=coupled_cell), TRAINING | READING), (setting(layer=slower), TRAINING | READING),
    (setting(network=without_sign), TRAINING | READING),
    (instead('network', lambda outputs, *more: outputs._replace(costs=outputs.costs * 1.1)),
     TRAINING | {'other programs'}),
    (instead('network', lambda outputs, *more: outputs._replace(layers=[
        each._replace(h=2 * each.h) for each in outputs.layers])), TRAINING),                 # of AR and TAR alone
    (instead('objective', lambda found, *more: (found[0] + tt.sqr(more[1]['U1']).sum(), found[1])), TRAINING),
    (instead('penalty', lambda costs, parameters, *more: costs + 50 * abs(parameters[0]).sum()), TRAINING),
    (after('output_layer', lambda outputs, *more: outputs._replace(costs=outputs.costs * 1.1)),
     TRAINING | {'other programs'}),
    (after('update', lambda found, *more: (doubled(found[0]), found[1])), TRAINING),
    (after('sgd', lambda found, *more: (doubled(found[0]), found[1])), {'sgd'}),
    (instead('optimiser', lambda found, *more: (doubled([0.01 * step for step in found[0]]), found[1])), {'rmsprop'}),
    (adam, {'rmsprop'})])
def test_edits_count_in_what_was_compiled(monkeypatch, unedited, tmp_path, edit, changes):
    """The results are those of a model compiled after the edit; nothing else changes."""
    model, before = copy.copy(unedited[0]), unedited[1]
    edit(monkeypatch, model)
    found = computed(model, tmp_path)
    assert {name for name, value in found.items() if value != before[name]} == changes
    if READING <= changes:
        again = made(**SETTINGS)
        vars(again).update({name: value for name, value in vars(model).items() if name in REPLACEABLE})
        assert found == computed(again, tmp_path)


@pytest.mark.parametrize('name', ['network', 'lstm_cell', 'layer', 'rmsprop'])
def test_function_replaced_in_the_module_is_refused(monkeypatch, refused, name):
    """Otherwise it would be ignored. A model says so before it computes anything, and goes on when it is undone."""
    with monkeypatch.context() as patch:
        patch.setattr(charlstm, name, lambda *arguments: 0)
        with refused(ValueError, f'{name} was replaced in the module charlstm', 'in a subclass'):
            made()
    assert len(made().generate_text('ab', 3)) == 3


@pytest.mark.parametrize('name', REPLACEABLE)
def test_method_is_refused(refused, name):
    with refused(ValueError, f'{name} of ', '@staticmethod'):
        type('Model', (CharLSTM,), {name: lambda self, *arguments: 0})().model_setup(char_dim=V)


@pytest.mark.parametrize('name, said', [
    ('optimizer', 'optimiser'), ('optimizer_state', 'optimiser_state'), ('objetive', 'objective'),
    ('initial_params', 'initial_parameters'), ('initializer', 'initial_parameters'), ('memroy', 'memory'),
    ('lstm_cell', 'cell'), ('rmsprop', 'optimiser'), ('update', 'a copy of charlstm.py'), ('layer_norm', None)])
def test_name_that_nothing_reads_is_refused_with_the_right_one(refused, name, said):
    """In a class and in an object, unless it is a number, or the class has the right one, too."""
    function, replaced = staticmethod(lambda *arguments: 0), CharLSTM()
    setattr(replaced, name, function)
    for each in (type('Own', (CharLSTM,), {name: function})(), replaced):
        with refused(ValueError, name, said) if said else contextlib.nullcontext():
            each.model_setup(char_dim=V)
    type('Number', (CharLSTM,), {name: 3})().model_setup(char_dim=V)
    if hasattr(CharLSTM, str(said)):
        both = {name: function, said: staticmethod(vars(CharLSTM)[said])}
        type('Both', (CharLSTM,), both)().model_setup(char_dim=V)


@pytest.mark.parametrize('name, function, said', [
    ('memory', 3, 'not a callable'), ('memory', lambda: 0, 'a function of units'), ('penalty', lambda p: 0, 'l1, l2'),
    ('network', lambda batch, p: 0, 'ops'), ('network', lambda batch, p, ops: 0, 'truncate'),
    ('optimiser', lambda gradients: 0, 'lrate'), ('objective', lambda *more: None, 'objective of Own does not return'),
    ('objective', lambda *more: charlstm.objective(*more)[0], 'objective of Own does not return'),
    ('objective', lambda *more: charlstm.objective(*more)[::-1], 'objective of Own does not return'),
    ('optimiser', lambda *more: None, 'optimiser of Own does not return'),
    ('initial_parameters', lambda *more: None, 'expected a dict'), ('training_step', lambda *more: 0, 'a copy of'),
    ('penalty', lambda *more: None, 'penalty of Own does not return'),
    ('remembers', {'a_f': 1}, 'expected names of rows'),
    ('remembers', {'f': 'yes'}, 'signs'), ('remembers', [1], 'signs'), ('Cell', lambda *more: 0, 'expected cell')])
def test_function_with_other_arguments_or_results_is_refused(refused, name, function, said):
    model = type('Own', (CharLSTM,), {name: staticmethod(function) if callable(function) else function})()
    with refused(ValueError, name, said):
        model.model_setup(char_dim=V, num_units1=H1, num_units2=H2)
        model.theano_train_rmsprop(X, Y)


def test_what_a_cell_reads_counts_after_compile(monkeypatch):
    """As the docstring of CharLSTM says: only its code is compared."""
    model, costs = made(kernel=False), []
    model.cell = lambda a_f, a_i, a_o, a_g, C_prev: [leak * value for value in lstm_cell(a_f, a_i, a_o, a_g, C_prev)]
    for value in (0.1, 0.3, 0.3):
        monkeypatch.setitem(globals(), 'leak', value)
        costs.append(model.theano_check(X, Y)[0])
        if len(costs) == 2:
            model.compile('check')
    assert costs[0] == costs[1] != costs[2]


def test_cell_with_other_states_needs_a_new_setup(refused):
    """Its rows are the same, but the states carried from batch to batch are not."""
    model = made()
    model.stateful = True
    model.theano_train_rmsprop(X, Y)
    model.cell = lambda a_f, a_i, a_o, a_g, C_prev, n_prev: (a_f * n_prev, C_prev + a_i * a_o, a_g)
    with refused(ValueError, 'call model_setup'):
        model.theano_train_rmsprop(X, Y)


@pytest.mark.parametrize('kernel', [True, False])
def test_warning_of_edited_costs(monkeypatch, capsys, kernel):
    model = made(kernel)
    score, cost = model.score_text('abcabc'), model.theano_check(X, Y)[0]
    assert capsys.readouterr().err == ''
    instead('network', lambda outputs, *more: outputs._replace(costs=outputs.costs * 1.1))(monkeypatch, model)
    assert model.theano_check(X, Y)[0] == pytest.approx(1.1 * cost) and (model.score_text('abcabc') == score).all()
    line, = capsys.readouterr().err.splitlines()
    assert '-log p' in line and 'scores' in line


@pytest.fixture
def make(make_model):
    """Return a function that makes models of a class with the same text and, by default, averaged parameters."""
    return lambda kind=Adam, seed=1, **more: make_model(seed, TEXT, kind, **{
        **dict(dropout=0.3, grad_clip=2, step_clip=1.5, average=0.9), **more})


class Plain(CharLSTM):
    optimiser = staticmethod(charlstm.sgd)
    optimiser_state = staticmethod(lambda parameters: {})


def test_defining_an_optimiser_again_changes_nothing(make, path):
    """As running a notebook's cell again does, also with an array as a default."""
    def defined():
        def optimiser(gradients, parameters, state, lrate, lp, factors=np.ones(2, 'float32')):
            return [lrate * float(factors[0]) * g for g in gradients], state
        return optimiser
    model, steps = make(Plain), []
    for _ in range(2):
        model.optimiser = defined()
        steps.append(model.compiled('train_rmsprop'))
    assert steps[0] is steps[1]


def test_step_clip_does_not_limit_sgd_of_ones_own(make):
    model, same = [make(Plain) for _ in range(2)]
    model.lp['step_clip'] = same.lp['step_clip'] = 1e-4
    x, y = model.X['train'][0], model.Y['train'][0]
    assert model.theano_train_rmsprop(x, y)[2:] == same.theano_train_sgd(x, y)[2:]
    assert (model.p['c'].get_value() == same.p['c'].get_value()).all()


def drawing(streams):
    """Return a class whose network also leaves out units by random numbers of Theano, the same in all steps."""
    class Variational(CharLSTM):
        random = streams(seed=3)

        @staticmethod
        def network(batch, *more):
            if batch.h_masks is not None:                  # in training, also without dropout
                kept = [Variational.random.binomial((batch.x.shape[1], H), p=0.7, dtype='float32') for H in (4, 2)]
                batch = batch._replace(h_masks=[
                    mask * each[None, :, :] for mask, each in zip(batch.h_masks, kept)])
            return charlstm.network(batch, *more)
    return Variational


def test_copy_that_adapts_draws_from_streams_of_its_own(make):
    model = make(drawing(RandomStreams))
    returned(model, 0, 2)
    before = model.streams['train_rmsprop']
    model.score_text(TEXT[:44], 0.001, mean_squares={name: 1 + p.get_value() ** 2 for name, p in model.p.items()})
    assert model.streams['train_rmsprop'] is before != []


ALL = dict(smoothing=0.1, ar=0.7, tar=1.3, dropconnect=0.2, reset=0.3, initial='chrono')


@pytest.mark.parametrize('kind, more, state', [
    (Adam, {}, {'state_count', 'state_means_c', 'm_c'}), (Plain, {}, set()),
    (CharLSTM, ALL, {'carried_h1', 'm_U1', 'weights_W1'}), (CharLSTM, dict(average=0), {'m_U1'}),
    (drawing(RandomStreams), {}, {'stream_train_rmsprop_1'}),
    (drawing(MRG_RandomStreams), dict(dropout=0), {'stream_train_rmsprop_1'})],
    ids=['Adam', 'SGD', 'all terms', 'no average', 'RandomStreams', 'MRG_RandomStreams'])
def test_run_resumes_bit_for_bit(make, path, kind, more, state):
    """In the middle of the text, with dropout and carried states, in an object with another seed.

    The average has not reached its full weight yet. This depends on the number of steps, which is saved as well.
    """
    first, second = make(kind, **more), make(kind, seed=2, **more)
    returned(first, 0, 3)
    assert second.resume(first.save_params(path, dict(options=[1, None, 'é']))) == dict(options=[1, None, 'é'])
    assert returned(second, 3, 7) == returned(first, 3, 7)
    stored, again = [{name: array.tobytes() for name, array in load(model.save_params(path)).items()}
                     for model in (first, second)]
    assert stored == again and state <= set(stored) and set(read_mean_squares(path)) == (set(NAMES) if state else set())
    assert ('weights_W1' in stored) == ('average' not in more) and stored.get('weights_W1') != stored['W1']


def test_state_begins_anew_with_model_setup_and_with_parameters_of_other_shapes(make, path):
    model, wider, counts = make(), make(), []
    wider.model_setup(num_units1=6, num_units2=2)
    for change in (lambda: model.load_params(model.save_params(path)),
                   lambda: model.model_setup(num_units1=4, num_units2=2),
                   lambda: model.load_params(wider.save_params(path))):
        returned(model, 0, 2)
        change()
        counts.append(float(optimiser_variables(model)['count'].get_value()))
    assert counts == [2, 0, 0]


@pytest.mark.parametrize('name, value', [
    ('l2', 0.5), ('dropout', 0.5), ('smoothing', 0.3), ('ar', 9), ('grad_clip', 1e-3), ('drate', 0.5),
    ('bptt_maxdepth', 2), ('dropconnect', np.float64(0.5))])
def test_learning_parameter_that_is_changed_counts(path, name, value):
    """The effect is the same as with model_setup. A checkpoint stores a plain Python number."""
    arguments = dict(drate=0.9, eps=1e-3, lrate=0.1)
    model, fresh = made(**arguments), made(**{**arguments, name: value})
    before = trained(model, model.theano_train_rmsprop)
    model.lp[name] = value
    assert trained(model, model.theano_train_rmsprop) == trained(fresh, fresh.theano_train_rmsprop) != before
    assert read_about(model.save_params(path))['lp'] == dict(fresh.lp)


@pytest.mark.parametrize('name, value', [('lrate', 0.1), ('average', 0.9), ('dropuot', 0.1), ('dropout', 1),
                                         ('l1', -1), ('step_clip', np.nan)])
def test_learning_parameter_that_cannot_change(refused, name, value):
    model = made()
    with refused(ValueError, name):
        model.lp[name] = value
    assert model.lp == made().lp


def wide(v):
    return v * 1. / tt.sqrt(1. * v.size)                   # of float64, since a size is an integer


def returning(steps=lambda g: g, state=lambda s: s, initial={}):
    """Return functions: an optimiser whose steps are steps(gradients), and whose new state is state(state before)."""
    return dict(optimiser_state=lambda parameters: initial,
                optimiser=lambda gradients, parameters, before, lrate, lp: (steps(gradients), state(before)))


@pytest.mark.parametrize('functions, words', [
    (returning(lambda g: [*map(wide, g)]), ['float64, 3D) of U1', f'line {wide.__code__.co_firstlineno + 1}:']),
    (returning(state=lambda s: dict(n=wide(s['n'])), initial=dict(n=0)), ['float64, scalar) of state_n']),
    (returning(lambda g: g[:-1]), ['the optimiser returned 7 steps', 'expected 8']),
    (returning(state=lambda s: {}, initial=dict(n=0)), ['and the state []', "the state ['n']"])])
def test_what_an_optimiser_returns_is_checked(refused, functions, words):
    model = made()
    vars(model).update(functions)
    with refused(ValueError, *words):
        model.theano_train_rmsprop(X, Y)


def broadcast(batch, *more):
    outputs = charlstm.network(batch, *more)
    costs = outputs.costs[:, :1] * outputs.costs           # NumPy broadcasts here, and Theano needs tt.addbroadcast
    return outputs._replace(costs=costs)


def wide_output(batch, p, *more):
    p = {**p, 'V': p['V'] * np.ones(H2)}                   # of float64
    return charlstm.network(batch, p, *more)


@pytest.mark.parametrize('network', [broadcast, wide_output])
def test_error_in_a_network_names_its_line(refused, network):
    model = made(**SETTINGS)
    model.network = network
    with refused(ValueError, f'CharLSTM, {__file__}, line {network.__code__.co_firstlineno + 2}: '):
        model.theano_train_rmsprop(X, Y)
