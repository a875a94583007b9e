"""Networks of a class, those of engine/README.md: every way computes what NumPy does, and what follows an edit."""
import contextlib
import json

import numpy as np
import pytest

import charlstm
from cells import README_CODE, readme_classes
from charlstm import CharLSTM, read_about, tt
from engine.backend import compiler
from engine.backend.theano_setup import theano
from engine.model.compile import is_standard, operations
from engine.model.edits import has_standard_layer
from engine.run.info import description
from models import default_mode
from numpy_model import costs, lstm
from scripts import FAST, PRODUCE, TRAIN, assert_refused, load, run, succeeded
from theano.tensor.shared_randomstreams import RandomStreams

LETTERS = 'abcdefghijklm'
TEXT = ''.join(np.random.default_rng(1).choice(list(LETTERS), 300)) + LETTERS
V, B, T = len(LETTERS), 3, 7
NAMES = 'Residual', 'Tied', 'Learned', 'Convolution', 'Attention', 'Variational', 'Mixture'
LP = dict(lrate=0.05, dropout=0.3, dropconnect=0.2, smoothing=0.1, ar=0.7, tar=1.3, l2=0.02, average=0.9, grad_clip=5)
CLASSES = {**readme_classes(), 'CharLSTM': CharLSTM}


@pytest.fixture
def make(tmp_path):
    """Return a function that makes a model of a class with a text, and 5 units in layers 1 and 2."""
    def make(name, seed=1, text=TEXT, lp=LP, layers=2, **settings):
        (tmp_path / 't.txt').write_text(text)
        model = CLASSES[name](random_seed=seed, **settings)
        model.prepare_input(str(tmp_path / 't.txt'), 0.3, B, T, verbose=False, stateful=True)
        model.model_setup(num_units1=5, num_units2=5, layers=layers, **lp)
        return model
    return make


def trained(model, steps=3):
    for x, y in zip(model.X['train'][:steps], model.Y['train'][:steps]):
        model.theano_train_rmsprop(x, y)
    return model


def bits_of(model):
    variables = *model.p.values(), *model.weights.values()
    return [v.get_value().tobytes() for v in variables]


# ---------------------------------------------------------------- the networks in NumPy

def predicted(name, p, x, hold={}, masks=(1, 1)):
    """Return the probabilities (T,B,V) after characters x (T,B), from zero states, by loops.

    hold: as for hold=. masks: of dropout, of each layer, (H,B).
    """
    n = x.shape[1]
    states = [np.zeros((5, n)) for _ in range(4)]
    if name == 'Learned':
        states = [np.repeat(p[state][:, None], n, axis=1) for state in ('h01', 'C01', 'h02', 'C02')]
    found, vectors, past = [], [np.zeros((5, n))] * 2, [np.zeros((5, n))] * 20
    for now in x:
        below, states_now = (p['E'][:, now] if name == 'Tied' else np.eye(V)[:, now]), []
        if name == 'Convolution':
            vectors = [*vectors[-2:], p['E'][0][:, now]]
            below = np.tanh(sum(p['K'][k].T @ vectors[k] for k in range(3)))
        total = 0
        for k in (1, 2):
            h, C = states[2 * k - 2:2 * k]
            a = [p[f'U{k}'][row] @ below + p[f'W{k}'][row] @ h + p[f'b{k}'][row][:, None] for row in range(4)]

            def keep(value, state='C', k=k):
                for unit, fixed in hold.get(f'C{k}', {}).items():
                    value[unit] = fixed
                return value
            h, C = lstm(*a, C, keep=keep)
            states_now += [h, C]
            total = total + h
            below = total if name == 'Residual' else h * masks[k - 1]
        states, h = states_now, below
        if name == 'Attention':
            chances = softmax(np.array([(h * each).sum(axis=0) for each in past]))
            past, below = [*past[1:], h], h + sum(chance * each for chance, each in zip(chances, past))
        outputs, shares = [below], [1]
        if name == 'Mixture':
            outputs, shares = [np.tanh(p['S'][k].T @ h) for k in range(3)], softmax(p['G'].T @ h)
        V_matrix = p['E'].T if name == 'Tied' else p['V']
        found.append(sum(share * softmax(V_matrix @ each + p['c'][:, None]) for share, each in zip(shares, outputs)).T)
    return np.array(found)


def softmax(scores):
    """Return the probabilities (n,B) of scores (n,B)."""
    e = np.exp(scores - scores.max(axis=0))
    return e / e.sum(axis=0)


@pytest.fixture(params=['C', 'NumPy', 'C, float64', 'Theano, float64'])
def way(request, monkeypatch):
    """Return whether a way uses the kernel, and the tolerance of its probabilities, while it is set."""
    if request.param == 'NumPy':
        monkeypatch.setattr(compiler, 'cxx', '')
    floatX, atol = ('float64', 1e-12) if 'float64' in request.param else ('float32', 2e-6)
    kernel = 'Theano' not in request.param
    # Theano's own loop is compiled without optimisations: in seconds, not a quarter of a minute.
    mode = contextlib.nullcontext() if kernel else default_mode(theano.compile.mode.FAST_COMPILE)
    with theano.change_flags(floatX=floatX), mode:
        yield dict(kernel=kernel), atol


@pytest.mark.parametrize('name', NAMES)
def test_every_way_computes_the_network(make, name, way):
    """It predicts, reads, writes, also with held cells, and its gradient is the slope of the cost."""
    settings, atol = way
    model = make(name, lp=dict(lrate=1), **settings)
    random = np.random.default_rng(3)
    for v in model.p.values():
        v.set_value(random.uniform(-0.8, 0.8, v.get_value().shape).astype(v.dtype))
    p = {key: v.get_value().astype('float64') for key, v in model.p.items()}
    x, y = model.X['train'][0], model.Y['train'][0]
    expected = predicted(name, p, x)
    np.testing.assert_allclose(model.theano_predict(x)[0], expected, atol=atol)
    first, states = model.read(x[:3])
    np.testing.assert_allclose(np.exp(np.concatenate([first, model.read(x[3:], states)[0]])), expected, atol=atol)
    np.testing.assert_allclose(model.score_text(TEXT[:9]), costs(
        predicted(name, p, np.array([[LETTERS.index(ch)] for ch in TEXT[:8]])),
        np.array([[LETTERS.index(ch)] for ch in TEXT[1:9]]))[:, 0], atol=20 * atol)
    for hold in ({}, {'C1': {2: 1.5}, 'C2': {0: -2.0}}):
        text = model.generate_text('ab', 30, 'argmax', hold=hold)
        codes = np.array([[LETTERS.index(ch)] for ch in text])
        found = predicted(name, p, codes[:-1], hold)[1:, 0]
        assert (found[np.arange(28), codes[2:, 0]] >= found.max(axis=1) - 2 * atol).all()
    model.theano_train_sgd(x, y)
    streams = [np.random.RandomState(seed) for seed in np.random.RandomState(1).randint(2 ** 30, size=2)]
    masks = [stream.binomial(1, 0.7, (B, 5)).T / 0.7 for stream in streams] if name == 'Variational' else (1, 1)
    for key, value in p.items():
        direction, ends = random.choice([-1, 1], value.shape), []
        for step in (1e-5, -1e-5):
            moved = predicted(name, {**p, key: value + step * direction}, x, masks=masks)
            ends.append(costs(moved, y).mean())
        gradient = value - model.p[key].get_value()
        np.testing.assert_allclose((gradient * direction).sum(), (ends[0] - ends[1]) / 2e-5, err_msg=key,
                                   atol=max(1e-8, 15 * atol))


# ---------------------------------------------------------------- what belongs to a class

@pytest.mark.parametrize('name', [*NAMES, 'Fourth'])
def test_run_resumes_bit_for_bit(make, path, name):
    """All parameters of the class are stored, and averaged."""
    first, second = trained(make(name)), make(name, seed=2)
    second.resume(first.save_params(path))
    reader = type(first)()
    reader.load_params(path)
    assert bits_of(second) == bits_of(first) and reader.score_text(TEXT).tobytes() == first.score_text(TEXT).tobytes()
    assert bits_of(trained(second, 6)) == bits_of(trained(first, 6))
    own = dict(Tied={'E'}, Learned={'h01', 'C02'}).get(name, set())
    stored, kept = load(path), dict(Convolution={'carried_memory'}, Variational={'stream_train_rmsprop_0'})
    assert {prefix + key for prefix in ('', 'm_', 'weights_') for key in own} | kept.get(name, set()) <= {*stored}
    assert ('V' in stored) == (name != 'Tied')


def test_layer_of_a_class_is_used(make):
    """With the kernel for the rest. C reads and writes as it says."""
    model, halved = make('CharLSTM', lp=dict(lrate=1)), make('CharLSTM', lp=dict(lrate=1))
    halved.layer = lambda a_x, W, *more: CharLSTM.layer(a_x, 0.5 * W, *more)
    for name, p in model.p.items():
        p.set_value((0.5 if name[0] == 'W' else 1) * halved.p[name].get_value())
    x, y = model.X['train'][0], model.Y['train'][0]
    np.testing.assert_allclose(halved.theano_predict(x)[0], model.theano_predict(x)[0], atol=1e-6)
    assert halved.generate_text('ab', 30, 'argmax') == model.generate_text('ab', 30, 'argmax')
    before = model.p['U1'].get_value()
    for each in (model, halved):
        each.theano_train_sgd(x, y)
    np.testing.assert_allclose(halved.p['U1'].get_value(), model.p['U1'].get_value(), atol=1e-6)
    assert abs(model.p['U1'].get_value() - before).max() > 1e-3 and operations(halved).in_c


# ---------------------------------------------------------------- what a checkpoint says of its model

def test_what_computes_the_same_is_standard(make, monkeypatch):
    """By the graphs of network and layer. An edit of what they call is one, too, once it is compiled."""
    model, output_layer = make('CharLSTM'), charlstm.output_layer
    assert is_standard(model) and has_standard_layer(make('Residual')) and not is_standard(make('Residual'))
    monkeypatch.setattr(charlstm, 'output_layer', lambda h, *more: output_layer(2 * h, *more))
    model.compile()
    assert has_standard_layer(model) and not is_standard(model)


def test_network_may_be_standard_with_two_layers_alone():
    """Parameters are replaced, and no function is: what was found of the network with two layers no longer holds."""
    class Two(CharLSTM):
        @staticmethod
        def network(batch, p, ops, truncate=-1):
            p = p if len(batch.states) == 2 else {**p, 'V': -p['V']}
            return charlstm.network(batch, p, ops, truncate)

    model = Two(random_seed=1)
    for units, expected in (([3, 4], True), ([3, 4, 5], False), ([5, 3], True)):
        model.model_setup(char_dim=6, units=units)
        assert is_standard(model) == expected


FACTOR = 2


class Louder(CharLSTM):
    """Its bias c counts more."""
    factor = staticmethod(lambda: 2)

    @staticmethod
    def network(batch, p, *more):
        return charlstm.network(batch, {**p, 'c': FACTOR * Louder.factor() * p['c']}, *more)


def louder(factor):
    return lambda batch, p, *more: charlstm.network(batch, {**p, 'c': factor * p['c']}, *more)


def column(k):
    return lambda batch, p, *more: charlstm.network(batch, {**p, 'c': p['c'] + p['V'][:, k]}, *more)


def leaky(leak):
    def cell(a_f, a_i, a_o, a_g, C_prev):
        h, C = charlstm.lstm_cell(a_f, a_i, a_o, a_g, C_prev)
        return h * leak, C
    return cell


def forgetful(a_x, W, *more):
    return charlstm.layer(a_x, 0.5 * W, *more)


def equal(batch, parameters, *more):                       # to the network of factor 4
    return charlstm.network(batch, {**parameters, 'c': parameters['c'] * 3 + parameters['c']}, *more)


def of_base(patch, model):
    model.__class__ = type('Louder', (type('Base', (CharLSTM,), dict(cell=staticmethod(leaky(0.5)))),), {})
    model.network = Louder.network


@pytest.mark.parametrize('first, second, edit, same', [
    (dict(layer=forgetful), {}, None, False), (dict(network=louder(2)), dict(network=louder(3)), None, False),
    (dict(network=column(0)), dict(network=column(3)), None, False),
    (dict(cell=leaky(theano.shared(np.float32(1)))), dict(cell=leaky(theano.shared(np.float32(2)))), None, False),
    ({}, {}, lambda patch, model: patch.setitem(globals(), 'FACTOR', 3), False), ({}, {}, of_base, False),
    ({}, {}, lambda patch, model: patch.setattr(Louder, 'factor', staticmethod(lambda: 1)), False),
    ({}, dict(network=louder(4)), None, True), ({}, dict(network=equal), None, True)])
def test_another_model_is_noticed_at_reading(make, path, refused, monkeypatch, first, second, edit, same):
    """By the loop over time, a closure, an index, a shared number, a global one, the base class, and a helper.

    What computes the same, whatever its name, is the same.
    """
    CLASSES['Louder'] = Louder
    model, other = make('Louder'), make('Louder')
    vars(model).update(first)
    model.p['c'].set_value(np.linspace(-1, 1, V).astype('float32'))
    saved = model.save_params(path)
    model.load_params(saved)
    if edit:
        edit(monkeypatch, other)
    vars(other).update(second)
    with contextlib.nullcontext() if same else refused(ValueError, 'another cell or network', 'that of Louder'):
        other.load_params(saved)


def test_a_flipped_bit_of_a_parameter_is_noticed(make, path, refused):
    stored = load(make('CharLSTM').save_params(path))
    stored['W1'].view(np.uint32)[2, 1, 3] ^= 1 << 30        # of the exponent
    np.savez(path, **stored)
    with refused(ValueError, path, 'is damaged'):
        CharLSTM().load_params(path)


def test_costs_that_are_not_the_same_twice_are_not_recorded(make, path, capsys):
    random, model = RandomStreams(seed=1), make('CharLSTM')
    model.p['c'].set_value(np.linspace(-1, 1, V).astype('float32'))
    model.network = lambda batch, p, *more: charlstm.network(
        batch, {**p, 'c': p['c'] * random.uniform((V,))}, *more)
    model.load_params(model.save_params(path))
    assert read_about(path)['predicts'] is None and 'not the same twice' in capsys.readouterr().err
    assert len({*model.generate_text('ab', 60, 'argmax')[9:]}) > 2           # it draws for each character


def test_metrics_of_a_network_are_reported(make, tmp_path):
    """By fit, which averages them over the validation text, as it does the cost."""
    class Accurate(CharLSTM):
        @staticmethod
        def network(batch, *more):
            outputs = charlstm.network(batch, *more)
            return outputs._replace(metrics=dict(right=tt.eq(outputs.best, batch.y), cost2=2 * outputs.costs))
    model = Accurate(random_seed=1)
    (tmp_path / 't.txt').write_text(TEXT)
    epoch, = model.fit(str(tmp_path / 't.txt'), units=[5], epochs=1, batch_size=3, seq_length=7, no_stateful=True,
                       verbose=False)
    right = np.concatenate([model.theano_check(x, y)[1] == y for x, y in zip(model.X['valid'], model.Y['valid'])])
    assert epoch.metrics == pytest.approx(dict(right=right.mean(), cost2=2 * epoch.valid_cost))
    assert f', right {right.mean():.4g}, cost2' in str(epoch)


def test_texts_written_in_turns_are_each_alone(make):
    model = make('Residual')
    for v in model.p.values():
        v.set_value(4 * v.get_value())
    alone = [model.generate_text(prime, 1100, 'argmax') for prime in ('ab', 'cd')]
    pieces = zip(*[model.stream_text(prime, 1100, 'argmax') for prime in ('ab', 'cd')])
    assert [''.join(text for text, in written) for written in zip(*pieces)] == alone


# ---------------------------------------------------------------- refusals

@pytest.fixture(scope='module')
def residual(tmp_path_factory):
    """Return a folder with mine.py, a text, and a run of mine.py:Residual."""
    folder = tmp_path_factory.mktemp('residual')
    (folder / 'mine.py').write_text('\n'.join(README_CODE))
    (folder / 't.txt').write_text(TEXT)
    succeeded(run(TRAIN, 't.txt', 'r', *RUN, '--cell', 'mine.py:Residual', cwd=folder, flags=FAST))
    return folder


RUN = ['--num-units1', 5, '--epochs', 2, '--save-every', 1, '--batch-size', 3, '--seq-length', 7, '--output-dir', 'o']
LAST = 'o/r_t.txt_epoch2.npz'


@pytest.mark.parametrize('words', [
    [PRODUCE, LAST, 'out'], [PRODUCE, LAST, '--score', 't.txt'], [PRODUCE, LAST, '--page', 'p.html'],
    [PRODUCE, LAST, '--export', 'm.c'],
    [TRAIN, '--resume', LAST, '--cell', 'mine.py:Coupled'], [PRODUCE, LAST, 'out', '--cell', 'mine.py:Learned']],
    ids=str)
def test_another_network_is_refused(residual, in_process, monkeypatch, words):
    monkeypatch.chdir(residual)
    result = in_process(*words)
    assert_refused(result, LAST, 'with another ', 'mine.py:Residual')
    assert not any((residual / name).exists() for name in ('out', 'p.html', 'm.c'))


def test_its_own_class_reads_it(residual, monkeypatch):
    """It says what it is, a result too; page and export are refused, and a run of another class may begin with it."""
    monkeypatch.chdir(residual)
    said = description(LAST)
    assert 'class: Residual' in said
    result = json.loads((residual / 'o/r_t.txt_result.json').read_text())
    assert result['class'] == 'Residual' and len(result['class_sha256']) == 64
    assert result['seconds'] > result['training_seconds'] > 0
    own = '--cell', 'mine.py:Residual'
    assert run(PRODUCE, LAST, 'out', *own, '--length', 9, flags=FAST).returncode == 0
    (residual / 'out').unlink()
    for words in (['--page', 'p.html', '--length', 9], ['--export', 'm.c']):
        assert_refused(run(PRODUCE, LAST, *words, *own, flags=FAST), 'the network of Residual')
    succeeded(run(TRAIN, 't.txt', 'learned', *RUN, '--init', LAST, '--cell', 'mine.py:Learned', flags=FAST))


def test_parameters_of_another_vocabulary(make, tmp_path, refused):
    """Rows of V and columns of U1 are matched by character, if they have the shapes of the standard ones.

    Whose the rows of another parameter were is not known: they begin anew.
    """
    saved = {name: trained(make(name)).save_params(tmp_path / name) for name in ('Learned', 'Tied')}
    fewer = TEXT.replace('m', 'a')
    learned = make('Learned', text=fewer)
    learned.init_params(saved['Learned'])
    stored, p = load(saved['Learned']), {key: v.get_value() for key, v in learned.p.items()}
    assert (p['V'] == stored['V'][:12]).all() and (p['h01'] == stored['h01']).all()
    with refused(ValueError, 'other characters', 'Tied'):
        make('Tied', text=fewer).init_params(saved['Tied'])
    make('Tied', seed=5).init_params(saved['Tied'])
    with_rows = make('CharLSTM'), make('CharLSTM', text=fewer)
    for model in with_rows:
        model.initial_parameters = lambda V, *more: {**charlstm.initial_parameters(V, *more), 'E': np.full((V, 3), V)}
        model.model_setup(num_units1=5, num_units2=5)
    with_rows[1].init_params(with_rows[0].save_params(tmp_path / 'E'))
    assert (with_rows[1].p['E'].get_value() == 12).all()


def test_parameters_of_other_shapes(make, path):
    """V may read more than h, under its name."""
    def of_both(V, *more):
        p = charlstm.initial_parameters(V, *more)
        return {**p, 'V': np.concatenate([p['V'], 2 * p['V']], axis=1)}

    def network(batch, p, *more):
        return charlstm.network(batch, {**p, 'V': p['V'][:, :5] + p['V'][:, 5:]}, *more)
    first, again = [make('CharLSTM', seed, lp={}) for seed in (1, 2)]
    for model in (first, again):
        model.network, model.initial_parameters = network, of_both
        model.model_setup(num_units1=5, num_units2=5)
    again.resume(trained(first).save_params(path))
    assert bits_of(again) == bits_of(first)


@pytest.mark.parametrize('name, function', [
    ('network', lambda *more: charlstm.network(*more)._replace(layers=[])), ('penalty', lambda p, l1, l2: [p[0].sum()]),
    ('network', lambda *more: None), ('network', lambda *more: charlstm.network(*more)._replace(memory=more[0].y)),
    ('objective', lambda *more: (charlstm.objective(*more)[1].costs, charlstm.objective(*more)[1]))])
def test_what_a_function_returns_is_checked(make, refused, name, function):
    model = make('CharLSTM')
    setattr(model, name, function)
    with refused(ValueError, f'{name} of CharLSTM'):
        trained(model)


def test_network_that_reads_across_time_is_refused(make, refused):
    """A convolution over characters is another function of a text that is read in parts. It may be 0 at first."""
    def network(batch, p, *more):
        before = tt.cast(tt.concatenate([batch.x[:1], batch.x[:-1]]).sum(), 'float32')
        return charlstm.network(batch, {**p, 'c': p['c'] + before * p['k']}, *more)
    model = make('CharLSTM')
    model.initial_parameters = lambda V, *more: {**charlstm.initial_parameters(V, *more), 'k': np.zeros(V)}
    model.model_setup(num_units1=5, num_units2=5)
    model.network = network
    assert np.isfinite(model.theano_predict(model.X['train'][0])[0]).all()
    for compute in (lambda: model.generate_text('ab'), lambda: model.score_text('abc'), lambda: model.read([1])):
        with refused(ValueError, 'the network of CharLSTM', 'read in parts', 'memory'):
            compute()


@pytest.mark.parametrize('p, words', [
    (lambda p: {**p, 'm_U1': p['U1']}, 'm_U1'), (lambda p: {name: p[name] for name in p if name != 'b2'}, 'b2'),
    (lambda p: {**p, 'c': p['c'][1:]}, 'c'), (lambda p: {**p, 'b1': p['b1'][:, 1:]}, 'b1')])
def test_initial_parameters_without_sizes_are_refused(refused, p, words):
    model = CharLSTM()
    model.initial_parameters = lambda *arguments: p(CharLSTM.initial_parameters(*arguments))
    with refused(ValueError, 'initial_parameters of CharLSTM', words):
        model.model_setup(char_dim=V, num_units1=5, num_units2=5)


def test_parameter_that_nothing_uses_is_named(make, refused):
    model = make('CharLSTM')
    model.initial_parameters = lambda *arguments: {**CharLSTM.initial_parameters(*arguments), 'E': np.zeros(3)}
    with refused(ValueError, 'model_setup'):
        trained(model)
    model.model_setup(num_units1=5, num_units2=5)
    with refused(ValueError, 'do not depend on E'):
        trained(model)
