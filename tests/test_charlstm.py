"""Training steps and validation against numpy_model.py, and whole training runs; test_every_way.py has prediction."""
import inspect
import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

import numpy_model
from charlstm import CharLSTM
from engine.backend.theano_setup import theano
from engine.lesson.cells import GRU, RNN, MinGRU, NoForgetGate
from engine.model import step as steps
from engine.model.step import begins_anew, kept_units, kept_weights
from models import P, PARTS, RATIO, S, TEXT, parameters_of, set_parameters
from numpy_model import H1, H2, NAMES, V
from scripts import FAST, TRAIN, load, run, succeeded

SIZES = dict(char_dim=V, num_units1=H1, num_units2=H2)

def set_random_parameters(model):
    """Set all parameters, biases too, to random values; return them in numpy_model's format."""
    p = numpy_model.random_parameters(5, theano.config.floatX)
    p['V'] *= 8                                                  # so that the input matters, not only c
    set_parameters(model, p)
    return p


def new_model(kernel=True, **settings):
    model = CharLSTM(random_seed=5, kernel=kernel)
    model.model_setup(**SIZES, **settings)
    return model


def test_interface_of_the_original():
    """Check the order and defaults of arguments, and parameters and biases. Everything added since 2016 is off."""
    for method, expected in ((CharLSTM.prepare_input, [0.30, 50, 50, True]),
                             (CharLSTM.model_setup, [None, 128, 128, 2e-3, 0.95, 1e-8, 50, 0, 0, None]),
                             (CharLSTM.generate_text, ['', 100, 'normal'])):
        defaults = [a.default for a in inspect.signature(method).parameters.values() if a.default is not a.empty]
        assert defaults[:len(expected)] == expected
    model = new_model(lrate=0.25, l1=0.5)
    for name, biases in (('b1', [1, 0, 0, 0]), ('b2', [1, 0, 0, 0]), ('c', 0)):
        assert (model.p[name].get_value().T == biases).all()
    assert {name: p.get_value().shape for name, p in model.p.items()} == dict(
        U1=(4, H1, V), W1=(4, H1, H1), b1=(4, H1), U2=(4, H2, H1), W2=(4, H2, H2), b2=(4, H2), V=(V, H2), c=(V,))
    assert model.dyn_lrate.get_value() == 0.25 and {name: value for name, value in model.lp.items() if value} == dict(
        lrate=0.25, drate=0.95, eps=1e-8, bptt_maxdepth=50, l1=0.5)


@pytest.mark.parametrize('kernel', [True, False])
def test_steps_with_all_terms_agree_with_numpy(float64, interpreted, monkeypatch, kernel):
    """Three steps, from states that are not zero. The reported costs exclude smoothing and penalties."""
    lp = dict(drate=0.7, eps=1e-3, momentum=0.6, weight_decay=0.2, bptt_maxdepth=3, l1=0.03, l2=0.02, ar=0.7, tar=1.3,
              smoothing=0.2, dropout=0.4, dropconnect=0.4, grad_clip=0.8, step_clip=0.9, average=0.15, lrate=0.5)
    model, random = new_model(kernel, **lp), np.random.default_rng(3)
    p, squares, clipped = set_random_parameters(model), dict.fromkeys(NAMES, (0, 0)), []
    limited, average = [], None
    set_parameters(model, p)
    for name, variable in model.weights.items():
        variable.set_value(p[name])
    for weight in (0, 1 / 11, 0.15):                           # 1 - 10 / (step + 9), at most 0.15
        x, y = np.random.default_rng(len(clipped)).integers(V, size=(2, 5, 3))
        states = [random.uniform(-0.9, 0.9, (H, 3)) for H in (H1, H1, H2, H2)]
        kept = [random.random(shape) < 0.6 for shape in (x.shape + (H1,), x.shape + (H2,), (4, H1, H1), (4, H2, H2))]
        monkeypatch.setattr(steps, 'kept_in_step', lambda model, x, rows: kept)
        *up, mask1, mask2 = [each / (1 - 26214 / 2 ** 16) for each in kept]          # 0.4 * 2^16 is 26214.4
        masks = dict(W1=mask1, W2=mask2)
        monkeypatch.setattr(steps, 'states_before', lambda model, x, rows: [state.T for state in states])
        cost, best, *ratios = model.theano_train_rmsprop(x, y)
        dropped = {name: p[name] * masks.get(name, 1) for name in NAMES}
        probabilities = numpy_model.forward(dropped, x, states, up)[0]
        np.testing.assert_allclose(cost, numpy_model.costs(probabilities, y).mean())
        np.testing.assert_array_equal(best, probabilities.argmax(axis=2))
        with monkeypatch.context() as patch:
            patch.setattr(numpy_model, 'costs', lambda probabilities, y, costs=numpy_model.costs: (
                0.8 * costs(probabilities, y) - 0.2 * np.log(probabilities).mean(axis=2)))
            g = numpy_model.gradients(dropped, x, y, bptt_maxdepth=3, ar=0.7, tar=1.3, states=states, masks=up)
        g = {name: g[name] * masks.get(name, 1) + (0.03 * np.sign(p[name]) + 0.04 * p[name]) / x.size for name in NAMES}
        norm = math.sqrt(sum((a ** 2).sum() for a in g.values()))
        clipped.append(norm > 0.8)
        for name, ratio in zip(NAMES, ratios):
            gradient = g[name] * min(1, 0.8 / norm)
            step, squares[name] = numpy_model.rmsprop_step(gradient, p[name], squares[name], 0.5, lp)
            limited += [(abs(step) > 0.45).mean()]
            step = np.clip(step, -0.45, 0.45)
            np.testing.assert_allclose(ratio, np.linalg.norm(step) / np.linalg.norm(p[name]), rtol=1e-5)
            p[name] = p[name] - step
        average = average and {name: weight * average[name] + (1 - weight) * p[name] for name in NAMES} or p.copy()
        for name in NAMES:
            np.testing.assert_allclose(model.weights[name].get_value(), p[name], rtol=1e-5, atol=1e-6, err_msg=name)
            np.testing.assert_allclose(model.p[name].get_value(), average[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert {*clipped} == {True, False} and 0.02 < np.mean(limited) < 0.98


def test_validation_batches_and_validation_of_all_carry_states_of_their_own(stateful):
    """Batches come in order, and start over after the last. Training steps run in between. Nothing is drawn."""
    x, y = PARTS['valid'][:, :-1].T, PARTS['valid'][:, 1:].T
    whole = numpy_model.costs(numpy_model.forward(P, x)[0], y)                     # (T, B)
    expected = [whole[start:start + S].mean() for start in range(0, len(whole), S)]
    found, random = [], stateful.random.bit_generator.state
    for _ in range(2 * len(expected) + 2):
        found.append(stateful.validate_batch())
        stateful.theano_train_sgd(stateful.X['train'][0], stateful.Y['train'][0])
        carried = [state.copy() for state in stateful.carried]
        np.testing.assert_allclose(stateful.validate(), whole.mean(), rtol=1e-5)
        np.testing.assert_array_equal(np.hstack(stateful.carried), np.hstack(carried))
        stateful.carried = None
    assert isinstance(found[0], float) and stateful.n_batches['valid'] == len(expected) > 3
    np.testing.assert_allclose(found, expected * 2 + expected[:2], rtol=1e-5)
    from_zero = stateful.theano_check(stateful.X['valid'][1], stateful.Y['valid'][1])[0]
    assert abs(from_zero - expected[1]) > 1e-3                    # lost states would show
    assert stateful.random.bit_generator.state == random


def test_validation_batch_without_streams_is_a_random_one_from_zero_states(text_file, interpreted):
    model = CharLSTM(random_seed=8)
    model.prepare_input(text_file(TEXT), RATIO, 3, S, verbose=False)
    model.model_setup(num_units1=H1, num_units2=H2)
    p = set_random_parameters(model)
    expected = [numpy_model.costs(numpy_model.forward(p, x)[0], y).mean()
                for x, y in zip(model.X['valid'], model.Y['valid'])]
    found = np.array([model.validate_batch() for _ in range(60)])
    drawn = np.abs(found[:, None] - expected).argmin(axis=1)
    np.testing.assert_allclose(found, np.take(expected, drawn), rtol=1e-5)
    assert set(drawn) == set(range(len(expected))) and len(expected) > 4 and (np.diff(drawn) == 1).mean() < 0.9
    model.prepare_input(text_file(TEXT), 0, 3, S, verbose=False)
    assert math.isnan(model.validate_batch()) and math.isnan(model.validate())


def test_what_dropout_keeps():
    for kept in steps.kept_in_step(new_model(dropout=0.3), np.zeros((301, 53)), slice(0, 53)):
        assert abs(kept.mean() - 0.7) < 5 * math.sqrt(0.3 * 0.7 / kept.size)
        for axis in range(3):                               # every step, stream and unit has its own
            assert abs((np.roll(kept, 1, axis) != kept).mean() - 2 * 0.3 * 0.7) < 0.02


def test_rows_begin_anew_with_the_right_probability():
    drawn = np.stack([begins_anew(np.random.default_rng(seed), 0.2, slice(0, 301)) for seed in range(200)])
    for share in (drawn.mean(), drawn[:, 0].mean()):
        assert abs(share - 0.2) < 5 * np.sqrt(0.2 * 0.8 / (drawn.size if share == drawn.mean() else 200))
    part = begins_anew(np.random.default_rng(4), 0.2, slice(100, 301))
    np.testing.assert_array_equal(part, drawn[4, 100:])


@pytest.mark.parametrize('share', [0.3, 0.9999])
def test_share_of_all_numbers_that_may_be_drawn(monkeypatch, share):
    """It is exact. test_every_way.py divides what is kept by this share."""
    numbers = np.arange(2 ** 16, dtype=np.uint16)
    monkeypatch.setattr(steps, 'row_numbers', lambda *arguments: numbers.view(np.uint64)[None])
    random = SimpleNamespace(integers=lambda *arguments, **settings: numbers.reshape(4, 2 ** 7, 2 ** 7))
    units = kept_units(None, share, slice(0, 1), 2 ** 9, [2 ** 7])
    weights = kept_weights(random, share, [(4, 2 ** 7, 2 ** 7)])
    assert [kept.sum() for kept in units + weights] == 2 * [2 ** 16 - round(share * 2 ** 16)]


def test_rows_that_are_reset_begin_with_zeros(interpreted, text_file):
    model = CharLSTM(random_seed=3)
    model.prepare_input(text_file(TEXT), 0, 7, 5, verbose=False, stateful=True)
    model.model_setup(num_units1=H1, num_units2=H2, reset=0.5, lrate=1e-30)
    p = set_random_parameters(model)
    (x0, x1), (y0, y1) = model.X['train'][:2], model.Y['train'][:2]
    after, seen = numpy_model.forward(p, x0)[1], set()
    for seed in range(6):
        model.carried = None
        model.theano_train_sgd(x0, y0)
        model.random = np.random.default_rng(seed)
        kept = ~begins_anew(np.random.default_rng(seed), 0.5, slice(0, 7))
        states = [state * kept for state in after]                              # (H, B)
        expected = numpy_model.costs(numpy_model.forward(p, x1, states)[0], y1).mean()
        np.testing.assert_allclose(model.theano_train_sgd(x1, y1)[0], expected, rtol=1e-5)
        seen.add(kept.sum())
    assert len(seen) > 1


def test_same_seed_gives_the_same_numbers(text_file, interpreted):
    """Settings may be np.float64, which Theano would take for a request to compute in float64."""
    path, runs = text_file('The same again? Yes. ' * 9), []
    for seed in (4, 4, 5):
        model = CharLSTM(random_seed=seed)
        model.prepare_input(path, batch_size=3, seq_length=11, verbose=False)
        model.model_setup(num_units1=7, num_units2=4, dropout=np.float64(0.3), lrate=np.float64(0.01))
        with theano.change_flags(warn_float64='raise'):
            costs = [model.theano_train_rmsprop(x, y)[0] for x, y in zip(model.X['train'], model.Y['train'])]
        runs.append((costs, model.generate_text(text_length=30), model.generate_text(text_length=30),
                     [p.get_value().tolist() for p in model.p.values()]))
    assert runs[0] == runs[1] and runs[0][1] != runs[0][2]         # the second text draws new random numbers
    assert all(same != other for same, other in zip(runs[0], runs[2]))


def test_fit_ends_with_the_parameters_of_the_best_epoch(tmp_path, interpreted):
    """They equal those in train.py's _best.npz up to rounding. The text is random, so that later epochs are worse."""
    (tmp_path / 't.txt').write_text(TEXT)
    settings = dict(num_units1=5, num_units2=7, batch_size=3, seq_length=11, lrate=0.05, warmup=0, epochs=8)
    options = [word for name, value in settings.items() for word in (f'--{name.replace("_", "-")}', value)]
    succeeded(run(TRAIN, 't.txt', 'r', *options, '--random-seed', 3, '--output-dir', '.', cwd=tmp_path, flags=FAST))
    model = CharLSTM(random_seed=3)
    costs, after = zip(*[(epoch.valid_cost, parameters_of(model))
                         for epoch in model.fit(tmp_path / 't.txt', verbose=False, **settings)])
    best, stored = np.argmin(costs), load(tmp_path / 'r_t.txt_best.npz')
    assert len(costs) == 8 and best < 7 and list(model.fit()) == []
    for name, array in parameters_of(model).items():
        np.testing.assert_array_equal(array, after[best][name])
        np.testing.assert_allclose(array, stored[name], rtol=1e-4, atol=1e-6)
    assert (after[-1]['c'] != after[best]['c']).any()


@pytest.mark.parametrize('initial, sizes', [
    ('original', dict(U1=50, W1=40, U2=40, W2=30, V=30)),
    ('chrono', dict(U1=1, W1=40, U2=30, W2=30, V=30, c=30))])
def test_initial_weights_are_uniform_within_one_over_root_of_inputs_or_units(initial, sizes):
    model = CharLSTM(random_seed=1)
    model.model_setup(char_dim=50, num_units1=40, num_units2=30, initial=initial)
    for name, size in sizes.items():
        assert_uniform(model.p[name].get_value() * math.sqrt(size), -1, 1)


def assert_uniform(values, low, high):
    """Assert that values are between low and high, and that they may come from this uniform distribution."""
    assert low - 1e-5 < values.min() and values.max() < high + 1e-5
    assert stats.kstest(values.ravel(), 'uniform', args=(low, high - low)).pvalue > 1e-3


@pytest.mark.parametrize('cls, signs', [(CharLSTM, [1, -1, 0, 0]), (GRU, [0, 1, 0, 0]), (MinGRU, [-1, 0]),
                                        (NoForgetGate, [-1, 0, 0]), (RNN, [0])])
def test_chrono_biases(cls, signs):
    """A quarter of the units remember for 2 to 100 steps.

    That is 1 / (1 - f) steps, if the forget gate without input is f, as is 1 - i, with the input gate i. GRU: z is the
    second row, after x_n.
    """
    model = cls(random_seed=1)
    model.model_setup(char_dim=50, num_units1=401, num_units2=302, initial='chrono')
    for name, H, n in (('b1', 401, 100), ('b2', 302, 75)):
        biases = model.p[name].get_value().astype('float64')
        for of_row, sign in zip(biases, signs, strict=True):
            if sign:
                keeps = 1 / (1 + np.exp(-sign * of_row[:n]))
                assert_uniform(1 / (1 - keeps), 2, 100)
            assert_uniform(of_row[n if sign else 0:] * math.sqrt(H), -1, 1)
        if cls is CharLSTM:
            np.testing.assert_allclose(biases[1, :n], -biases[0, :n], rtol=1e-5)


@pytest.mark.parametrize('name, values', [
    ('num_units1', [0, 2.5, math.nan, '7', None]), ('num_units2', [0, -3]), ('lrate', [0, math.inf, '0.1', None]),
    ('char_dim', [0, 2.5, '11', None]), ('initial', ['zero']), ('dropuot', [0.1])])
def test_settings_out_of_range(refused, name, values):
    """test_options.py has the others of learning."""
    for value in values:
        with refused(ValueError, name):
            CharLSTM().model_setup(**{**SIZES, name: value})


@pytest.mark.parametrize('use', [
    *[lambda model, x=x: model.theano_predict(x) for x in ([[0.0, 1.0]], [[0, V]], [[-1, 0]], [], [[[1]]], 3, ['a'])],
    *[lambda model, y=y: model.theano_train_sgd([[0, 1]], y) for y in ([[0, 1, 2]], [[0], [1]], [0, 1], [[0, V]])],
    lambda model: CharLSTM(random_seed=-1), lambda model: CharLSTM(random_seed=1.5), lambda model: CharLSTM().fit(),
    lambda model: CharLSTM().theano_predict([0]), lambda model: CharLSTM(precision='float16'),
    lambda model: CharLSTM(kernel='off'),
    *[lambda model, rate=rate: setattr(model, 'dyn_lrate', rate) for rate in (math.nan, None, -1, '0.1')]])
def test_arguments_out_of_range(refused, use):
    with refused(ValueError):
        use(new_model())
