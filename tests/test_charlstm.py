"""CharLSTM against numpy_model.py: prediction, cost, gradients, steps, dropout, validation; and training as a whole."""
import inspect
import math

import numpy as np
import pytest
from scipy import stats

import charlstm
import numpy_model
from charlstm import CharLSTM
from engine import training
from engine.backend.theano_setup import theano
from engine.kernel.scan import Scan
from engine.model.dropout import begins_anew
from models import P, PARTS, RATIO, S, TEXT, parameters_of, set_parameters
from numpy_model import H1, H2, NAMES, V
from scripts import FAST, TRAIN, load, run, succeeded

SIZES = dict(char_dim=V, num_units1=H1, num_units2=H2)
COSTS = 'l1', 'l2', 'bptt_maxdepth', 'ar', 'tar'         # the learning parameters of numpy_model.gradients
TOLERANCE = {'float32': dict(rtol=3e-4, atol=3e-6), 'float64': dict(rtol=1e-6, atol=1e-9)}
# RMSprop divides a small gradient by about eps, 1e-3 here, and so magnifies its rounding
RMSPROP_TOLERANCE = {'float32': dict(rtol=3e-3, atol=3e-4), 'float64': dict(rtol=1e-6, atol=1e-6)}


@pytest.fixture(params=['float32', 'float64', 'scan'])
def model(request, compiled_models):
    """Return a model in its first state: the kernel in both types (in float64 truncated), and the scan in float32."""
    model, start = compiled_models(request.param)
    for variable, value in start.items():
        variable.set_value(value)
    with theano.change_flags(floatX='float64' if request.param == 'float64' else 'float32'):
        yield model


def batch(T, B, seed=0):
    """Return random inputs and targets (T,B)."""
    return np.random.default_rng(seed).integers(0, V, (2, T, B))


def set_random_parameters(model):
    """Set parameters that are all away from zero; return them as numpy_model takes them."""
    p = numpy_model.random_parameters(5, theano.config.floatX)
    p['V'] *= 8                                                  # so that what is read decides, not c alone
    set_parameters(model, p)
    return p


def new_model(kernel=True, **settings):
    model = CharLSTM(random_seed=5, kernel=kernel)
    model.model_setup(**SIZES, **settings)
    return model


# ---------------------------------------------------------------- interface

def test_public_methods_have_the_names_and_defaults_of_the_original():
    defaults = {
        'prepare_input': dict(filepath=None, ratio_valid=0.30, batch_size=50, seq_length=50, verbose=True),
        'model_setup': dict(mfile=None, num_units1=128, num_units2=128, lrate=2e-3, drate=0.95, eps=1e-8,
                            bptt_maxdepth=50, l1=0, l2=0, char_dim=None),
        'generate_text': dict(seed='', text_length=100, method='normal'),
    }
    for name, expected in defaults.items():
        arguments = list(inspect.signature(getattr(CharLSTM, name)).parameters.values())[1:]
        has_default = {a.name: None if a.default is a.empty else a.default for a in arguments[:len(expected)]}
        assert list(has_default.items()) == list(expected.items())         # in this order too


def test_parameters_and_learning_parameters_of_a_new_model():
    model = new_model(lrate=0.25, l1=0.5)
    assert {name: p.get_value().shape for name, p in model.p.items()} == dict(
        U1=(4, H1, V), W1=(4, H1, H1), b1=(4, H1), U2=(4, H2, H1), W2=(4, H2, H2), b2=(4, H2), V=(V, H2), c=(V,))
    assert model.dyn_lrate.get_value() == 0.25
    assert model.lp == dict(lrate=0.25, drate=0.95, eps=1e-8, bptt_maxdepth=50, l1=0.5, l2=0,
                            dropout=0, grad_clip=0, step_clip=0, dropconnect=0, smoothing=0, ar=0, tar=0,
                            reset=0, average=0, momentum=0, weight_decay=0)


# ---------------------------------------------------------------- prediction and cost

def test_predict_and_check_agree_with_numpy_for_two_sizes_of_batch(model):
    p = set_random_parameters(model)
    functions = dict(model.functions)
    for T, B in ((5, 3), (8, 2)):
        x, y = batch(T, B)
        expected, _ = numpy_model.forward(p, x)
        probabilities, best = model.theano_predict(x)
        cost, best_in_check = model.theano_check(x, y)
        assert probabilities.shape == (T, B, V) and probabilities.dtype == theano.config.floatX
        np.testing.assert_allclose(probabilities, expected, **TOLERANCE[theano.config.floatX])
        assert len(np.unique(expected.argmax(axis=2))) > 2            # or a mix-up of places would not show
        np.testing.assert_array_equal(best, expected.argmax(axis=2))
        np.testing.assert_array_equal(best_in_check, expected.argmax(axis=2))
        np.testing.assert_allclose(cost, numpy_model.costs(expected, y).mean(), **TOLERANCE[theano.config.floatX])
    probabilities, best = model.theano_predict(x[:, 0])              # a vector counts as one sequence
    np.testing.assert_allclose(probabilities, expected[:, :1], **TOLERANCE[theano.config.floatX])
    assert best.shape == (8, 1)
    assert model.functions == functions                       # the same ones served all sizes


# ---------------------------------------------------------------- gradients and steps

def assert_two_steps_agree_with_numpy(model, train, rule, tolerances=TOLERANCE):
    """Compare two consecutive steps at different rates, on batches of different T and B, one of them a vector.

    rule: (gradient, p, state, rate) to (step, new state), of NumPy. The parameters after each step and everything that
    the function returns are compared.
    """
    tolerance = tolerances[theano.config.floatX]
    p, states = set_random_parameters(model), dict.fromkeys(NAMES, (0, 0))
    for (T, B), rate in (((5, 3), 1.0), ((4, 1), 0.5)):
        x, y = batch(T, B, seed=T)
        before = {name: model.p[name].get_value() for name in NAMES}
        model.dyn_lrate.set_value(rate)
        cost, best, *ratios = train(x, y) if B > 1 else train(x[:, 0], y[:, 0])
        expected, _ = numpy_model.forward(p, x)
        np.testing.assert_allclose(cost, numpy_model.costs(expected, y).mean(), **tolerance)
        np.testing.assert_array_equal(best, expected.argmax(axis=2))
        gradients = numpy_model.gradients(p, x, y, **{name: model.lp[name] for name in COSTS})
        assert len(ratios) == len(NAMES)
        for name, ratio in zip(NAMES, ratios):
            step, states[name] = rule(gradients[name], p[name], states[name], rate)
            np.testing.assert_allclose(before[name] - model.p[name].get_value(), step, err_msg=name, **tolerance)
            np.testing.assert_allclose(ratio, np.linalg.norm(step) / np.linalg.norm(p[name]), err_msg=name,
                                       **tolerance)
            p[name] = p[name] - step


def assert_rmsprop_agrees_with_numpy(model):
    assert_two_steps_agree_with_numpy(
        model, model.theano_train_rmsprop,
        lambda *arguments: numpy_model.rmsprop_step(*arguments, model.lp), RMSPROP_TOLERANCE)


def test_two_steps_of_each_rule_agree_with_numpy(model):
    assert_two_steps_agree_with_numpy(
        model, model.theano_train_sgd, lambda g, p, state, rate: (numpy_model.sgd_step(g, rate), state))
    assert_rmsprop_agrees_with_numpy(model)


def test_two_steps_of_a_truncated_scan_agree_with_numpy(float64, interpreted):
    """With bptt_maxdepth k V and c too learn from the last k steps only."""
    assert_rmsprop_agrees_with_numpy(new_model(
        kernel=False, drate=0.7, eps=1e-3, momentum=0.6, weight_decay=0.2, bptt_maxdepth=3, l1=0.03, l2=0.02, ar=0.7,
        tar=1.3))


# ---------------------------------------------------------------- states carried from batch to batch

def test_training_carries_the_state(stateful):
    """Two batches in turn cost what one text of both costs, and from zero again once states are reset."""
    x, y = PARTS['train'][:, :2 * S].T, PARTS['train'][:, 1:2 * S + 1].T
    whole = numpy_model.costs(numpy_model.forward(P, x)[0], y)

    def step(i):
        return float(stateful.theano_train_sgd(stateful.X['train'][i], stateful.Y['train'][i])[0])

    np.testing.assert_allclose([step(0), step(1)], [whole[:S].mean(), whole[S:].mean()], rtol=1e-5)
    stateful.reset_states()
    from_zero = numpy_model.costs(numpy_model.forward(P, x[S:])[0], y[S:]).mean()
    assert abs(from_zero - whole[S:].mean()) > 1e-3
    np.testing.assert_allclose(step(1), from_zero, rtol=1e-5)


def test_validation_batches_and_validation_of_all_carry_states_of_their_own(stateful):
    """Batches follow each other, and begin again after the last. Training goes on in between. Nothing is drawn."""
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
        stateful.reset_states()
    assert isinstance(found[0], float) and stateful.n_batches['valid'] == len(expected) > 3
    np.testing.assert_allclose(found, expected * 2 + expected[:2], rtol=1e-5)
    from_zero = stateful.theano_check(stateful.X['valid'][1], stateful.Y['valid'][1])[0]
    assert abs(from_zero - expected[1]) > 1e-3                    # it would show
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


# ---------------------------------------------------------------- dropout, smoothing, penalties, limits

def test_masks():
    masks = training.masks(new_model(dropout=0.3), np.zeros((301, 53)), slice(0, 53))
    assert [mask.shape for mask in masks] == [(301, 53, H1), (301, 53, H2)]
    for mask in masks:
        values, counts = np.unique(mask, return_counts=True)
        np.testing.assert_allclose(values, [0, 1 / 0.7], rtol=1e-4)
        deviation = math.sqrt(0.3 * 0.7 / mask.size)
        assert abs(counts[0] / mask.size - 0.3) < 5 * deviation
        assert abs(mask.mean() - 1) < 5 * deviation / 0.7
        for axis in range(3):                               # every step, stream and unit has its own
            differ = (np.roll(mask, 1, axis) != mask).mean()
            assert abs(differ - 2 * 0.3 * 0.7) < 0.02


def test_smoothing_changes_what_is_learned_but_not_the_costs_that_are_reported(interpreted):
    """A step of gradient descent changes the bias c by the mean of p less the targets, which smoothing spreads."""
    x, y = [side.astype('int32') for side in batch(5, 3)]
    plain, smooth = [new_model(lrate=1, smoothing=share) for share in (0, 0.25)]
    cost, p = plain.theano_check(x, y)[0], plain.theano_predict(x)[0]
    onto_targets, after = p.mean(axis=(0, 1)) - np.bincount(y.ravel(), minlength=V) / y.size, []
    for model in (plain, smooth):
        assert model.theano_train_sgd(x, y)[0] == cost
        after.append(-model.p['c'].get_value())                                    # c is 0 before
    np.testing.assert_allclose(after[0], onto_targets, atol=1e-6)
    np.testing.assert_allclose(after[1], 0.75 * onto_targets + 0.25 * (p.mean(axis=(0, 1)) - 1 / V), atol=1e-6)


def test_outputs_are_penalised_before_dropout_and_from_the_states_before(float64, interpreted, monkeypatch):
    """At rate 1 a step of SGD is the gradient."""
    model = new_model(kernel=False, dropout=0.4, bptt_maxdepth=-1, ar=0.7, tar=1.3, lrate=1)
    p, (x, y), random = set_random_parameters(model), batch(5, 3), np.random.default_rng(3)
    masks = [(random.random(x.shape + (H,)) < 0.6) * 1.7 for H in (H1, H2)]
    states = [random.uniform(-0.9, 0.9, (H, 3)) for H in (H1, H1, H2, H2)]
    monkeypatch.setattr(training, 'masks', lambda model, x, rows: masks)
    monkeypatch.setattr(training, 'states_before', lambda model, x, rows: [state.T for state in states])
    cost = model.theano_train_sgd(x, y)[0]
    np.testing.assert_allclose(cost, numpy_model.costs(numpy_model.forward(p, x, states, masks)[0], y).mean())
    expected = numpy_model.gradients(p, x, y, ar=0.7, tar=1.3, states=states, masks=masks)
    for name in NAMES:
        np.testing.assert_allclose(p[name] - model.p[name].get_value(), expected[name], rtol=1e-6, atol=1e-9)


def test_a_short_gradient_is_not_touched(interpreted):
    gradients = [theano.shared(np.array(values, 'float32')) for values in ([[0.3, -0.4]], [1.2])]        # norm 1.3
    for limit, factor in ((1.31, 1), (1.29, 1.29 / 1.3), (0.13, 0.1)):
        clipped = [np.asarray(g.eval()) for g in charlstm.clip(gradients, limit, Scan)]
        np.testing.assert_allclose(np.concatenate([g.ravel() for g in clipped]), np.array([0.3, -0.4, 1.2]) * factor,
                                   rtol=1e-6)


def test_no_number_takes_a_step_above_the_limit(interpreted):
    """A gradient that has long been near 0 takes the largest; RMSprop's averages do not depend on the limit."""
    random, m = np.random.default_rng(4), np.array([1e-20, 1.0, 4.0, 1e-20, 0.25], 'float32')
    g = np.array([1e-4, 0.3, -7.0, -2.0, 1e-3], 'float32') + random.uniform(0, 1e-6, 5).astype('float32')
    lp = dict(drate=0.99, eps=1e-8, momentum=0, weight_decay=0)
    expected, (new_m, _) = numpy_model.rmsprop_step(g, 0, (m, 0), 1.0, lp)
    assert (np.abs(expected) > 2).sum() == 3                          # up to 1 / sqrt(1 - drate), which is 10
    steps, state = charlstm.rmsprop([theano.shared(g)], [theano.shared(g)], dict(
        mean_squares=[theano.shared(m)], sums=[theano.shared(0 * g)]), 0.5, lp)
    average, = state['mean_squares']
    np.testing.assert_allclose(average.eval(), new_m, rtol=1e-5)
    for limit in (2, 3.5):
        step, = charlstm.limited(steps, limit * 0.5)
        np.testing.assert_allclose(step.eval(), 0.5 * np.clip(expected, -limit, limit), rtol=1e-4)


def test_training_limits_its_gradient_and_its_steps(interpreted):
    """In sum, and number by number; both in multiples of the rate."""
    def change(train, **limit):
        model = new_model(lrate=0.5, drate=0.9, **limit)
        before = {name: value.get_value() for name, value in model.p.items()}
        model.dyn_lrate.set_value(0.25)
        getattr(model, train)(*[side.astype('int32') for side in batch(5, 3)])
        return np.concatenate([(before[name] - value.get_value()).ravel() for name, value in model.p.items()])

    free, clipped = [change('theano_train_sgd', grad_clip=limit) for limit in (0, 0.01)]
    assert np.linalg.norm(free) > 0.25 * 0.1
    np.testing.assert_allclose(clipped, free * 0.25 * 0.01 / np.linalg.norm(free), atol=1e-6)
    free, limited = [change('theano_train_rmsprop', step_clip=limit) for limit in (0, 1.5)]
    assert abs(free).max() > 0.7
    np.testing.assert_allclose(limited, np.clip(free, -1.5 * 0.25, 1.5 * 0.25), rtol=1e-5, atol=1e-6)


def test_settings_may_be_numpy_numbers(interpreted):
    """np.float64 comes from every np.logspace, and Theano takes it for a request to compute in float64."""
    with theano.change_flags(warn_float64='raise'):
        model = new_model(**{name: np.float64(value) for name, value in
                             dict(lrate=0.1, drate=0.9, eps=1e-6, l1=1e-3, l2=1e-3).items()})
        model.lp['dropout'] = np.float64(0.1)
        for train in (model.theano_train_sgd, model.theano_train_rmsprop):
            assert np.isfinite(train(*batch(5, 3))[0])
    assert {p.get_value().dtype for p in model.p.values()} == {np.dtype('float32')}


# ---------------------------------------------------------------- learning

def test_learns_a_repeated_text_by_heart(text_file):
    """What follows an 'a' depends on up to three characters before it, so that memory is needed."""
    text = 'abracadabra, ' * 40
    model = CharLSTM(random_seed=1)
    model.prepare_input(text_file(text), ratio_valid=0, batch_size=3, seq_length=26, verbose=False)
    model.model_setup(num_units1=19, num_units2=17, lrate=0.01, l1=1e-4, l2=1e-4)
    costs = []
    for _ in range(60):
        for x, y in zip(model.X['train'], model.Y['train']):
            costs.append(model.theano_train_rmsprop(x, y)[0])
    assert costs[0] > 1.5 and costs[-1] < 0.05
    assert model.generate_text('a', 100, method='argmax') == text[:100]


def test_same_seed_gives_the_same_numbers(text_file, interpreted):
    path, runs = text_file('The same again? Yes. ' * 9), []
    for seed in (4, 4, 5):
        model = CharLSTM(random_seed=seed)
        model.prepare_input(path, batch_size=3, seq_length=11, verbose=False)
        model.model_setup(num_units1=7, num_units2=4, dropout=0.3)
        costs = [float(model.theano_train_rmsprop(x, y)[0]) for x, y in zip(model.X['train'], model.Y['train'])]
        runs.append((costs, model.generate_text(text_length=30), model.generate_text(text_length=30),
                     [model.p[name].get_value().tolist() for name in NAMES]))
    assert runs[0] == runs[1]
    assert all(same != other for same, other in zip(runs[0], runs[2]))
    assert runs[0][1] != runs[0][2]                                # the second text goes on drawing


# ---------------------------------------------------------------- fit

def test_fit_ends_with_the_parameters_of_the_best_epoch(tmp_path, interpreted):
    """Those of train.py's _best.npz, but for rounding; the text is random, so that later epochs are worse."""
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


# ---------------------------------------------------------------- refusals

@pytest.mark.parametrize('name, values', [
    ('num_units1', [0, 2.5, math.nan, '7', None]), ('num_units2', [0, -3]), ('lrate', [0, math.inf, '0.1', None]),
    ('drate', [-0.1, 1, math.nan]), ('eps', [0, -1e-8]), ('bptt_maxdepth', [0, -2, 2.5, '3']), ('dropout', [1, -0.1]),
    ('l1', [-1e-9, math.nan]), ('char_dim', [0, 2.5, '11', None]), ('initial', ['zero']), ('dropuot', [0.1])])
def test_settings_out_of_range(refused, name, values):
    for value in values:
        with refused(ValueError, name):
            CharLSTM().model_setup(**{**SIZES, name: value})


@pytest.mark.parametrize('use', [
    *[lambda model, x=x: model.theano_predict(x) for x in ([[0.0, 1.0]], [[0, V]], [[-1, 0]], [], [[[1]]], 3, ['a'])],
    *[lambda model, y=y: model.theano_train_sgd([[0, 1]], y) for y in ([[0, 1, 2]], [[0], [1]], [0, 1], [[0, V]])],
    lambda model: CharLSTM(random_seed=-1), lambda model: CharLSTM(random_seed=1.5), lambda model: CharLSTM().fit(),
    lambda model: CharLSTM().theano_predict([0]), lambda model: CharLSTM(precision='float16'),
    lambda model: setattr(CharLSTM(), 'dyn_lrate', 0.1)])
def test_arguments_out_of_range(refused, use):
    with refused(ValueError):
        use(new_model())


def test_failed_setup_changes_nothing(tmp_path, text_file, refused):
    model = new_model(lrate=0.25)
    before, p = dict(model.lp), parameters_of(model)
    with pytest.raises(OSError):
        model.model_setup(str(tmp_path / 'missing.npz'), lrate=0.5)
    model.uchar = list('abc')
    with refused(ValueError, 'char_dim'):
        model.model_setup(char_dim=4, lrate=0.5)
    assert model.lp == before and model.dyn_lrate.get_value() == 0.25 and (model.p['U1'].get_value() == p['U1']).all()


# ---------------------------------------------------------------- initial values

@pytest.mark.parametrize('initial, sizes', [
    ('original', dict(U1=50, W1=40, U2=40, W2=30, V=30)),
    ('chrono', dict(U1=1, W1=40, U2=30, W2=30, V=30, c=30))])
def test_initial_weights_are_uniform_within_one_over_root_of_inputs_or_units(initial, sizes):
    model = CharLSTM(random_seed=1)
    model.model_setup(char_dim=50, num_units1=40, num_units2=30, initial=initial)
    for name, size in sizes.items():
        assert_uniform(model.p[name].get_value() * math.sqrt(size), -1, 1)


def assert_uniform(values, low, high):
    """Assert that values are between low and high, and that they may be from this uniform distribution."""
    assert low - 1e-5 < values.min() and values.max() < high + 1e-5
    assert stats.kstest(values.ravel(), 'uniform', args=(low, high - low)).pvalue > 1e-3


def test_initial_biases():
    """Original: 1 for the forget gates. Chrono: a quarter of the units remembers for 2 to 100 steps.

    That is 1 / (1 - f) steps, with f the forget gate without input; what comes in has the weight 1 - f.
    """
    model = CharLSTM(random_seed=1)
    model.model_setup(char_dim=50, num_units1=401, num_units2=302, initial='original')
    for name, biases in (('b1', [1, 0, 0, 0]), ('b2', [1, 0, 0, 0]), ('c', 0)):
        assert (model.p[name].get_value().T == biases).all()
    model.model_setup(char_dim=50, num_units1=401, num_units2=302, initial='chrono')
    for name, H, n in (('b1', 401, 100), ('b2', 302, 75)):
        biases = model.p[name].get_value()
        f, i = 1 / (1 + np.exp(-biases[:2, :n].astype('float64')))
        np.testing.assert_allclose(i, 1 - f, rtol=1e-5)
        assert_uniform(1 / (1 - f), 2, 100)
        assert_uniform(biases[:, n:] * math.sqrt(H), -1, 1)
        assert_uniform(biases[2:, :n] * math.sqrt(H), -1, 1)


# ---------------------------------------------------------------- the running average, DropConnect, resets

def test_what_predicts_is_the_average_of_what_is_trained(interpreted):
    model = new_model(average=0.8, lrate=0.5)
    average, weight = None, []
    for t in range(1, 60):
        model.theano_train_sgd(*batch(5, 3, seed=t))
        raw = {name: p.get_value() for name, p in training.trained(model).items()}
        weight.append(min(0.8, 1 - 10 / (t + 9)))
        average = raw if t == 1 else {name: weight[-1] * average[name] + (1 - weight[-1]) * raw[name] for name in NAMES}
    assert weight[0] == 0 and weight[-1] == 0.8 > weight[-30]
    p = {name: model.p[name].get_value().astype('float64') for name in NAMES}
    for name in NAMES:
        np.testing.assert_allclose(p[name], average[name], atol=2e-5)
    assert max(abs(p[name] - raw[name]).max() for name in NAMES) > 1e-3
    x, _ = batch(5, 3)
    np.testing.assert_allclose(model.theano_predict(x)[0], numpy_model.forward(p, x)[0], rtol=1e-4)


def test_dropped_connections_carry_nothing_and_learn_nothing(interpreted, monkeypatch):
    model = new_model(dropconnect=0.4, lrate=50.0)
    p, (x, y) = set_random_parameters(model), batch(5, 3)
    chance = np.random.default_rng(2)
    kept = [(chance.random((4, H, H)) < 0.6) * 1.6 for H in (H1, H2)]
    monkeypatch.setattr(training, 'masks', lambda model, x, rows: [k.astype('float32') for k in kept])
    dropped = dict(p, W1=p['W1'] * kept[0], W2=p['W2'] * kept[1])
    before = {name: model.p[name].get_value() for name in NAMES}
    cost = model.theano_train_sgd(x, y)[0]
    np.testing.assert_allclose(cost, numpy_model.costs(numpy_model.forward(dropped, x)[0], y).mean(), rtol=1e-5)
    for name, k in zip(('W1', 'W2'), kept):
        moved = model.p[name].get_value() != before[name]
        assert not moved[k == 0].any() and moved[k > 0].all()
    np.testing.assert_allclose(model.theano_check(x, y)[0], numpy_model.costs(numpy_model.forward(
        {name: model.p[name].get_value().astype('float64') for name in NAMES}, x)[0], y).mean(), rtol=1e-5)


def test_rows_that_are_reset_begin_with_zeros(interpreted, text_file):
    model = CharLSTM(random_seed=3)
    text = ''.join(np.random.default_rng(1).choice(list('abcdefghijk'), 400)) + 'abcdefghijk'
    model.prepare_input(text_file(text), 0, 7, 5, verbose=False, stateful=True)
    model.model_setup(num_units1=H1, num_units2=H2, reset=0.5, lrate=1e-30)
    p = set_random_parameters(model)
    (x0, x1), (y0, y1) = model.X['train'][:2], model.Y['train'][:2]
    after = numpy_model.forward(p, x0)[1]
    seen = set()
    for seed in range(6):
        model.reset_states()
        model.theano_train_sgd(x0, y0)
        model.random = np.random.default_rng(seed)
        kept = ~begins_anew(np.random.default_rng(seed), 0.5, slice(0, 7))
        states = [state * kept for state in after]                              # (H, B)
        expected = numpy_model.costs(numpy_model.forward(p, x1, states)[0], y1).mean()
        np.testing.assert_allclose(model.theano_train_sgd(x1, y1)[0], expected, rtol=1e-5)
        seen.add(kept.sum())
    assert len(seen) > 1


