"""CharLSTM against numpy_model.py: prediction, cost, gradients, steps, dropout, scores; and training as a whole."""
import inspect
import math
import sys
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
from scipy import stats

import charlstm
import numpy_model
from charlstm import CharLSTM, tt
from engine import analysis
from engine.kernel.scan import Scan
from engine.model.dropout import begins_anew
from engine.backend.theano_setup import theano
from models import CODES, P, PARTS, RATIO, S, TEXT, set_parameters
from numpy_model import H1, H2, NAMES, V

SIZES = dict(char_dim=V, num_units1=H1, num_units2=H2)
COSTS = 'l1', 'l2', 'bptt_maxdepth', 'ar', 'tar'         # the learning parameters of numpy_model.gradients
TOLERANCE = {'float32': dict(rtol=3e-4, atol=3e-6), 'float64': dict(rtol=1e-6, atol=1e-9)}
# RMSprop divides a small gradient by about eps, 1e-3 here, and so magnifies its rounding
RMSPROP_TOLERANCE = {'float32': dict(rtol=3e-3, atol=3e-4), 'float64': dict(rtol=1e-6, atol=1e-6)}
only_float32 = pytest.mark.parametrize('model', ['float32'], indirect=True)


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


def test_parameters_have_the_names_and_shapes_of_the_rule():
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
    functions = dict(model._functions)
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
    assert model._functions == functions                      # the same ones served all sizes


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


def test_two_steps_of_sgd_agree_with_numpy(model):
    assert_two_steps_agree_with_numpy(
        model, model.theano_train_sgd, lambda g, p, state, rate: (numpy_model.sgd_step(g, rate), state))


def assert_rmsprop_agrees_with_numpy(model):
    assert_two_steps_agree_with_numpy(
        model, model.theano_train_rmsprop,
        lambda *arguments: numpy_model.rmsprop_step(*arguments, model.lp), RMSPROP_TOLERANCE)


def test_two_steps_of_rmsprop_agree_with_numpy(model):
    assert_rmsprop_agrees_with_numpy(model)


def test_two_steps_of_a_truncated_scan_agree_with_numpy(float64, interpreted):
    """With bptt_maxdepth k V and c too learn from the last k steps only."""
    assert_rmsprop_agrees_with_numpy(new_model(
        kernel=False, drate=0.7, eps=1e-3, momentum=0.6, weight_decay=0.2, bptt_maxdepth=3, l1=0.03, l2=0.02, ar=0.7,
        tar=1.3))


def test_first_update_ratio_of_c_is_infinite(model):
    """c starts at zero; the ratios of b1 and b2 are finite, since the forget gates' biases do not."""
    ratios = model.theano_train_rmsprop(*batch(5, 3))[2:]
    assert [name for name, ratio in zip(NAMES, ratios) if not np.isfinite(ratio)] == ['c'] and ratios[-1] == np.inf
    assert np.isfinite(model.theano_train_rmsprop(*batch(5, 3))[-1])


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


def test_validation_carries_the_state_over_all_of_its_streams(stateful):
    stateful.theano_train_sgd(stateful.X['train'][0], stateful.Y['train'][0])      # whose states are not validation's
    carried = [np.array(state) for state in stateful._carried]
    streams = PARTS['valid']
    expected = numpy_model.costs(numpy_model.forward(P, streams[:, :-1].T)[0], streams[:, 1:].T).mean()
    np.testing.assert_allclose(stateful.validate(), expected, rtol=1e-5)
    np.testing.assert_array_equal(np.concatenate(stateful._carried, axis=1), np.concatenate(carried, axis=1))


# ---------------------------------------------------------------- single validation batches

def costs_of_batches():
    """Return the cost of each validation batch, with the states carried from batch to batch."""
    x, y = PARTS['valid'][:, :-1].T, PARTS['valid'][:, 1:].T
    whole = numpy_model.costs(numpy_model.forward(P, x)[0], y)                     # (T, B)
    return [whole[start:start + S].mean() for start in range(0, len(whole), S)]


def test_validation_batches_follow_each_other_and_begin_again_after_the_last(stateful):
    """Training carries states of its own, and validation of all begins from zero, in between. Nothing is drawn."""
    expected, found, random = costs_of_batches(), [], stateful.random.bit_generator.state
    for _ in range(2 * len(expected) + 2):
        found.append(stateful.validate_batch())
        stateful.theano_train_sgd(stateful.X['train'][0], stateful.Y['train'][0])
        stateful.validate()
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
    assert len(expected) > 4
    found = np.array([model.validate_batch() for _ in range(60)])
    drawn = np.abs(found[:, None] - expected).argmin(axis=1)
    np.testing.assert_allclose(found, np.take(expected, drawn), rtol=1e-5)
    assert set(drawn) == set(range(len(expected))) and (np.diff(drawn) == 1).mean() < 0.9
    model.random = np.random.default_rng(8)
    again = [model.validate_batch() for _ in range(9)]
    model.random = np.random.default_rng(8)
    assert [model.validate_batch() for _ in range(9)] == again and model._validation_states is None


@pytest.mark.parametrize('stateful', [True, False], ids=['streams', 'sequences'])
def test_validation_batch_without_a_validation_text(text_file, stateful):
    model = CharLSTM(random_seed=1)
    model.prepare_input(text_file(TEXT), 0, 3, S, verbose=False, stateful=stateful)
    model.model_setup(num_units1=H1, num_units2=H2)
    assert math.isnan(model.validate_batch()) and math.isnan(model.validate())
    assert math.isnan(CharLSTM().validate_batch())
    assert model._functions == {}                                 # nothing was compiled for it


# ---------------------------------------------------------------- dropout

def test_masks():
    masks = new_model(dropout=0.3)._masks(np.zeros((301, 53)), slice(0, 53))
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


# ---------------------------------------------------------------- smoothing

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


# ---------------------------------------------------------------- activation regularisation

def test_outputs_are_penalised_before_dropout_and_from_the_states_before(float64, interpreted, monkeypatch):
    """At rate 1 a step of SGD is the gradient."""
    model = new_model(kernel=False, dropout=0.4, bptt_maxdepth=-1, ar=0.7, tar=1.3, lrate=1)
    p, (x, y), random = set_random_parameters(model), batch(5, 3), np.random.default_rng(3)
    masks = [(random.random(x.shape + (H,)) < 0.6) * 1.7 for H in (H1, H2)]
    states = [random.uniform(-0.9, 0.9, (H, 3)) for H in (H1, H1, H2, H2)]
    monkeypatch.setattr(model, '_masks', lambda x, rows: masks)
    monkeypatch.setattr(model, '_states_before', lambda x, rows: [state.T for state in states])
    cost = model.theano_train_sgd(x, y)[0]
    np.testing.assert_allclose(cost, numpy_model.costs(numpy_model.forward(p, x, states, masks)[0], y).mean())
    expected = numpy_model.gradients(p, x, y, ar=0.7, tar=1.3, states=states, masks=masks)
    for name in NAMES:
        np.testing.assert_allclose(p[name] - model.p[name].get_value(), expected[name], rtol=1e-6, atol=1e-9)


# ---------------------------------------------------------------- limits

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


# ---------------------------------------------------------------- what a GPU needs


def test_settings_may_be_numpy_numbers(interpreted, capsys):
    """np.float64 comes from every np.logspace, and Theano takes it for a request to compute in float64."""
    with theano.change_flags(warn_float64='raise'):
        model = new_model(**{name: np.float64(value) for name, value in
                             dict(lrate=0.1, drate=0.9, eps=1e-6, l1=1e-3, l2=1e-3).items()})
        for train in (model.theano_train_sgd, model.theano_train_rmsprop):
            assert np.isfinite(train(*batch(5, 3))[0])
    assert {p.get_value().dtype for p in model.p.values()} == {np.dtype('float32')}
    assert capsys.readouterr().err == ''


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


# ---------------------------------------------------------------- scores

@pytest.mark.parametrize('n', [2, 7, 8, 9, 15, 40])
def test_score_of_a_text_of_any_length(stateful, monkeypatch, n):
    monkeypatch.setattr(analysis, 'SCORED', 7)
    expected = numpy_model.costs(numpy_model.forward(P, CODES[:n - 1, None])[0], CODES[1:n, None])[:, 0]
    np.testing.assert_allclose(stateful.score_text(TEXT[:n]), expected, rtol=1e-4)
    np.testing.assert_array_equal(stateful.score_text(CODES[:n]), stateful.score_text(TEXT[:n]))


# ---------------------------------------------------------------- refusals

@pytest.mark.parametrize('name, values', [
    ('num_units1', [0, 2.5, math.nan, '7', None]), ('num_units2', [0, -3, None]), ('lrate', [0, math.inf, '0.1', None]),
    ('drate', [-0.1, 1, math.nan]), ('eps', [0, -1e-8]), ('bptt_maxdepth', [0, -2, 2.5, '3']),
    ('l1', [-1e-9, math.nan]),
    ('l2', [-1e-9]), ('char_dim', [0, 2.5, '11']), ('initial', ['zero']),
])
def test_settings_out_of_range(refused, name, values):
    for value in values:
        with refused(ValueError, f'{name} is {value!r}'):
            CharLSTM().model_setup(**dict(SIZES, **{name: value}))


@pytest.mark.parametrize('seed', [-1, 1.5, 'x'])
def test_random_seed_out_of_range(refused, seed):
    with refused(ValueError, 'random_seed', repr(seed)):
        CharLSTM(random_seed=seed)


@pytest.mark.parametrize('value', ['off', 'False', 0, None])
def test_kernel_is_true_or_false(refused, value):
    with refused(ValueError, f'kernel is {value!r}: expected True or False'):
        CharLSTM(kernel=value)
    assert not CharLSTM(kernel=np.False_).runs_in_c()


def test_char_dim_must_be_that_of_the_text(text_file, refused):
    model = CharLSTM()
    with refused(ValueError, 'prepare_input', 'char_dim'):
        model.model_setup()
    model.prepare_input(text_file('abc' * 30), batch_size=2, seq_length=5, verbose=False)
    with refused(ValueError, 'char_dim', '4', '3'):
        model.model_setup(char_dim=4)
    model.model_setup(num_units1=7, num_units2=4, char_dim=3)
    assert model.p['c'].get_value().shape == (3,)


def test_functions_need_a_model_or_a_text(refused):
    x, y = batch(5, 3)
    for call in (lambda m: m.theano_predict(x), lambda m: m.theano_check(x, y),
                 lambda m: m.theano_train_sgd(x, y), lambda m: m.theano_train_rmsprop(x, y)):
        with refused(ValueError, 'model_setup'):
            call(CharLSTM())
    with refused(ValueError, 'no text yet', 'prepare_input'):
        CharLSTM().validate()
    with refused(ValueError, 'model_setup'):
        CharLSTM().javascript()


def test_function_that_does_not_exist(refused):
    model = CharLSTM()
    model.model_setup(**SIZES)
    with refused(ValueError, "no function 'nonsense': expected one of predict, check, "):
        model.compile('nonsense')


def test_model_that_is_replaced_while_it_validates(make_model, refused, interpreted):
    model = make_model(1)
    costs = model.validation_costs()
    next(costs)
    model.model_setup(num_units1=4, num_units2=3)
    with refused(ValueError, 'the model was replaced', 'begin again'):
        next(costs)


@only_float32
@pytest.mark.parametrize('x', [
    [[0.0, 1.0]], [[0, V]], [[-1, 0]], [], [[]], [[[1]]], 3, ['a', 'b'],
], ids=repr)
def test_character_numbers_out_of_range(model, refused, x):
    with refused(ValueError, 'x has'):
        model.theano_predict(x)
    with refused(ValueError, 'y has'):
        model.theano_check([[0, 1]], x)


@only_float32
def test_targets_must_have_the_shape_of_the_inputs(model, refused):
    for y in ([[0, 1, 2]], [[0], [1]], [0, 1]):
        with refused(ValueError, 'shape'):
            model.theano_train_sgd([[0, 1]], y)


def test_second_setup_starts_anew():
    """RMSprop's averages are zero again, as for any new model."""
    first, second = new_model(), new_model()
    x, y = batch(5, 3)
    second.theano_train_rmsprop(x, y)
    second.random = np.random.default_rng(1)
    first.random = np.random.default_rng(1)
    for model in (first, second):
        model.model_setup(num_units1=H1, num_units2=H2, char_dim=V)
        model.theano_train_rmsprop(x, y)
    for name in first.p:
        np.testing.assert_array_equal(first.p[name].get_value(), second.p[name].get_value())


def test_failed_setup_changes_nothing(tmp_path):
    model = new_model(lrate=0.25)
    before = dict(model.lp)
    with pytest.raises(OSError):
        model.model_setup(str(tmp_path / 'missing.npz'), lrate=0.5)
    assert model.lp == before and model.dyn_lrate.get_value() == 0.25


# ---------------------------------------------------------------- edits that cannot be trained

@pytest.mark.parametrize('change, words', [
    (dict(D=np.zeros(3)), ['V, c, D', 'expected U1', 'cell_parameters']),
    (dict(b1=np.zeros(4, 'float32')), ['float32 (4,) for b1', f'float32 (4, {H1})']),
    (dict(W2=np.zeros((4, H2, H2))), ['float64', 'W2', f'float32 (4, {H2}, {H2})'])])
def test_initial_parameters_that_were_edited_are_checked(monkeypatch, refused, change, words):
    unedited = charlstm.initial_parameters
    monkeypatch.setattr(charlstm, 'initial_parameters', lambda *arguments: {**unedited(*arguments), **change})
    with refused(ValueError, *words):
        new_model()


def test_parameter_that_the_network_does_not_use(monkeypatch, refused, interpreted):
    """Tied weights: the output by the embedding, so V is left over."""
    def network(x, y, states, p, *more):
        return unedited(x, y, states, dict(p, V=tt.zeros((V, H2)) + p['U1'].sum(axis=(0, 1))[:, None]), *more)
    unedited = charlstm.network
    monkeypatch.setattr(charlstm, 'network', network)
    model = new_model()
    with refused(ValueError, 'do not depend on V'):
        model.theano_train_rmsprop(*batch(5, 3))


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


def test_original_biases_are_1_for_the_forget_gates():
    model = CharLSTM(random_seed=1)
    model.model_setup(char_dim=50, num_units1=40, num_units2=30, initial='original')
    for name, biases in (('b1', [1, 0, 0, 0]), ('b2', [1, 0, 0, 0]), ('c', 0)):
        assert (model.p[name].get_value().T == biases).all()


def test_a_quarter_of_the_units_remembers_for_2_to_100_steps():
    """1 / (1 - f) steps, with f the forget gate without input; what comes in has the weight 1 - f."""
    model = CharLSTM(random_seed=1)
    model.model_setup(char_dim=50, num_units1=401, num_units2=302, initial='chrono')
    for name, H, n in (('b1', 401, 100), ('b2', 302, 75)):
        biases = model.p[name].get_value()
        f, i = 1 / (1 + np.exp(-biases[:2, :n].astype('float64')))
        np.testing.assert_allclose(i, 1 - f, rtol=1e-5)
        assert_uniform(1 / (1 - f), 2, 100)
        assert_uniform(biases[:, n:] * math.sqrt(H), -1, 1)
        assert_uniform(biases[2:, :n] * math.sqrt(H), -1, 1)


# ---------------------------------------------------------------- the running average

def test_what_predicts_is_the_average_of_what_is_trained(interpreted):
    model = new_model(average=0.8, lrate=0.5)
    average, weight = None, []
    for t in range(1, 60):
        model.theano_train_sgd(*batch(5, 3, seed=t))
        raw = {name: p.get_value() for name, p in model._trained().items()}
        weight.append(min(0.8, 1 - 10 / (t + 9)))
        average = raw if t == 1 else {name: weight[-1] * average[name] + (1 - weight[-1]) * raw[name] for name in NAMES}
    assert weight[0] == 0 and weight[-1] == 0.8 > weight[-30]
    p = {name: model.p[name].get_value().astype('float64') for name in NAMES}
    for name in NAMES:
        np.testing.assert_allclose(p[name], average[name], atol=2e-5)
    assert max(abs(p[name] - raw[name]).max() for name in NAMES) > 1e-3
    x, _ = batch(5, 3)
    np.testing.assert_allclose(model.theano_predict(x)[0], numpy_model.forward(p, x)[0], rtol=1e-4)


# ---------------------------------------------------------------- DropConnect and resets

def test_dropped_connections_carry_nothing_and_learn_nothing(interpreted, monkeypatch):
    model = new_model(dropconnect=0.4, lrate=50.0)
    p, (x, y) = set_random_parameters(model), batch(5, 3)
    chance = np.random.default_rng(2)
    kept = [(chance.random((4, H, H)) < 0.6) * 1.6 for H in (H1, H2)]
    monkeypatch.setattr(model, '_masks', lambda x, rows: [k.astype('float32') for k in kept])
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


# ---------------------------------------------------------------- threads


@only_float32
def test_several_threads_take_turns(model):
    """With one model, whose functions each have one place for their inputs: all get the numbers of one thread."""
    texts = [batch(T, B, seed=T) for T, B in ((5, 3), (6, 1), (1, 4), (7, 2))]
    model.dyn_lrate.set_value(0)                                   # steps that change nothing

    def results(k):
        x, y = texts[k]
        return [*model.theano_predict(x), *model.theano_check(x, y), model.theano_train_sgd(x, y)[0]]
    expected = [results(k) for k in range(len(texts))]
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(results, [k % len(texts) for k in range(100)]))
    finally:
        sys.setswitchinterval(switch)
    for k, result in enumerate(found):
        for array, wanted in zip(result, expected[k % len(texts)]):
            np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize('call', [CharLSTM.validate, CharLSTM.reset_states, CharLSTM.runs_in_c, CharLSTM.javascript])
def test_no_call_goes_between_the_steps_of_another_thread(model, call):
    with ThreadPoolExecutor(1) as another:
        with model._lock:
            found = another.submit(call, model)
            assert not wait([found], timeout=0.1).done
        wait([found])
