"""Costs of texts and lines, adaptation and correlations, against numpy_model.py; test_every_way.py has the rest."""
import math

import numpy as np
import pytest

import numpy_model
from charlstm import CharLSTM, read_mean_squares, tt
from engine.data.features import FEATURES
from engine.model import adapt, score as scores
from models import CODES, P, TEXT, set_parameters
from numpy_model import H1, H2, LETTERS, NAMES, V
from scripts import load

PROBABILITIES = numpy_model.forward(P, CODES[:40, None])[0][:, 0]          # (40, V)
COSTS = -np.log(PROBABILITIES[np.arange(40), CODES[1:41]])                 # (40,)


@pytest.fixture
def lined(stateful, monkeypatch):
    """Return a model whose vocabulary has a line end in place of 'a'."""
    monkeypatch.setattr(stateful, 'uchar', ['\n', *LETTERS[1:]])
    return stateful


def counting(model, monkeypatch):
    """Return a list to which each call of the model's function 'predict' appends its number of characters."""
    predict, read = model.compiled('predict'), []
    monkeypatch.setitem(model.functions, 'predict', lambda x, *states: read.append(x.size) or predict(x, *states))
    return read


@pytest.mark.parametrize('most', [1, 3, 7])
def test_costs_and_alternatives_of_a_text(stateful, monkeypatch, most):
    """Texts are read in pieces of at most SCORED characters."""
    monkeypatch.setattr(scores, 'SCORED', most)
    read, done = counting(stateful, monkeypatch), []
    np.testing.assert_allclose(stateful.score_text(TEXT[:41], progress=done.extend), COSTS, rtol=1e-4)
    assert max(read) == most and sum(read) == len(done) == 40
    np.testing.assert_array_equal(stateful.score_text(CODES[:41]), done)
    for k in (1, V):
        costs, best, chances = stateful.alternatives(TEXT[:41], k)
        np.testing.assert_allclose(costs, COSTS, rtol=1e-4)
        np.testing.assert_allclose(chances, -np.sort(-PROBABILITIES)[:, :k], rtol=1e-4)
        np.testing.assert_allclose(PROBABILITIES[np.arange(40)[:, None], best], chances, rtol=1e-4)


@pytest.mark.parametrize('rows, room, most', [(3, 7, 7), (64, 2000, 13 * 48)])
def test_costs_of_lines_are_those_of_each_by_itself(lined, monkeypatch, rows, room, most):
    """Lines of similar length are read together, in pieces of at most `room` characters, one or more of each line."""
    monkeypatch.setattr(scores, 'LINES', rows)
    monkeypatch.setattr(scores, 'SCORED', room)
    random = np.random.default_rng(7)
    lines = [''.join(random.choice(list(LETTERS[1:]), n)) for n in (5, 0, 47, 1, 2, 2, 11, 0, 3, 30, 7, 1, 4)]
    read, done = counting(lined, monkeypatch), []
    found = lined.score_lines(lines, done.append)
    assert found.dtype == np.float64 and max(read) <= most and sum(done) == sum(map(len, lines)) + len(lines)
    p = {**P, 'uchar': lined.uchar}                                # a line is read after a line end
    np.testing.assert_allclose(found, [numpy_model.costs_of(p, f'\n{line}\n').sum() for line in lines], rtol=1e-5)
    np.testing.assert_allclose(lined.score_lines(iter(lines[::-1])), found[::-1], rtol=1e-5)
    assert lined.score_lines([]).shape == (0,)


@pytest.mark.parametrize('averaged, rate', [(False, 0.7), (True, 0.007)])
def test_adapting_learns_from_what_was_scored(float64, interpreted, monkeypatch, averaged, rate):
    """Three pieces by hand: each is scored with the parameters and states adapted to the pieces before it.

    With RMSprop's mean squares, gradients are divided by their roots, plus a tenth of the roots' mean, and the
    parameters are the model's minus two sums of steps, each with its own decay.
    """
    monkeypatch.setattr(scores, 'ADAPTED', 4)
    monkeypatch.setattr(adapt, 'CLIPS', (1, 1))                 # which these gradients exceed
    monkeypatch.setattr(adapt, 'SUMS', dict(fast=(0.9, 0.3), slow=(0.4, 0.03)))
    model, random, p = CharLSTM(), np.random.default_rng(5), P
    model.model_setup(char_dim=V, num_units1=H1, num_units2=H2)
    set_parameters(model)
    mean_squares = {name: random.uniform(0, 2, p[name].shape) for name in NAMES}
    mean_squares['b1'][0, 0] = 0
    roots = {name: np.sqrt(m) for name, m in mean_squares.items()}
    divisors = {name: r + r.mean() / 10 if averaged else 1 for name, r in roots.items()}
    shares, decays = ((0.9, 0.4), (0.3, 0.03)) if averaged else ((1,), (0,))
    sums = [{name: 0 for name in NAMES} for _ in shares]
    numbers = random.integers(V, size=12)
    found, expected, states = model.score_text(numbers, rate, mean_squares=mean_squares if averaged else None), [], None
    for start in (0, 4, 8):
        x, y = numbers[start:start + 4][:11 - start, None], numbers[start + 1:start + 5][:, None]
        probabilities, after = numpy_model.forward(p, x, states)
        expected += list(numpy_model.costs(probabilities, y)[:, 0])
        gradients = numpy_model.gradients(p, x, y, states=states)
        shrunk = min(1, 1 / math.sqrt(sum((g ** 2).sum() for g in gradients.values())))
        for name in NAMES:
            step = rate * shrunk * gradients[name] / divisors[name]
            for total, share, decay in zip(sums, shares, decays):
                total[name] = total[name] * (1 - decay) + share * step
        p = {name: P[name] - sum(total[name] for total in sums) for name in NAMES}
        states = after
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert abs(found - model.score_text(numbers))[4:].max() > 1e-4


def test_adapting_leaves_the_model_and_its_generator_as_they_were(interpreted):
    model = CharLSTM(random_seed=1)
    model.model_setup(char_dim=V, num_units1=3, num_units2=2, average=0.9, dropout=0.5)
    before, generator = {name: p.get_value() for name, p in model.p.items()}, model.random.bit_generator.state
    costs = [model.score_text(np.tile([1, 2, 3], 30), adapt=rate).mean() for rate in (0, 0.5)]
    assert costs[1] < costs[0] - 0.1 and model.random.bit_generator.state == generator
    for name, value in before.items():
        np.testing.assert_array_equal(model.p[name].get_value(), value)


def test_mean_squares_of_checkpoints(stateful, path):
    """A trained checkpoint has them; otherwise, or if RMSprop cannot have such mean squares, {} is returned."""
    stateful.theano_train_rmsprop(stateful.X['train'][0], stateful.Y['train'][0])
    arrays = load(stateful.save_params(path))
    mean_squares = read_mean_squares(path)
    assert set(mean_squares) == set(NAMES) and all((m == arrays['m_' + name]).all() for name, m in mean_squares.items())
    for wrong in (0 * arrays['m_b2'], -arrays['m_b2'], np.ones(V + 1)):
        np.savez(path, **{**arrays, 'm_b2': wrong})
        assert read_mean_squares(path) == {}


def test_correlations_are_pearsons(stateful):
    states = stateful.states(TEXT)
    found = stateful.correlations(TEXT, states)
    assert 'position in the word' in found and 'inside brackets' not in found      # TEXT has no brackets
    for name, of in found.items():
        feature = FEATURES[name](TEXT)
        for key, array in states.items():
            np.testing.assert_allclose(of[key], [np.corrcoef(feature, unit)[0, 1] for unit in array.T], atol=1e-6)
    states['C1'][:, 2] = 0.5                                   # a unit that never changes follows nothing
    assert stateful.correlations(TEXT, states)['position in the word']['C1'][2] == 0


def test_without_units_their_means_are_read(lined, refused, monkeypatch):
    """In NumPy, a cell returns the means. Pieces of 100 characters begin with the states of the whole model."""
    codes, groups, after = CODES[:, None], [[(1, 5)], [(1, 0), (2, 3)]], [[np.zeros((H, 1)) for H in (H1, H1, H2, H2)]]
    for t in range(len(codes)):
        after.append(numpy_model.forward(P, codes[t:t + 1], after[-1])[1])
    whole = numpy_model.costs(numpy_model.forward(P, codes[:200])[0], codes[1:201])
    found = lined.ablations(TEXT.replace('a', '\n'), groups)
    for n, group in enumerate(groups):
        def fix(h):
            for k, unit in group:
                if len(h) == (H1, H2)[k - 1]:
                    h[unit] = np.mean([states[2 * k - 2][unit] for states in after[1:]])
            return h

        def cell(a_f, a_i, a_o, a_g, C_prev, keep):
            h, C = numpy_model.lstm(a_f, a_i, a_o, a_g, C_prev, keep)
            return fix(h), C
        rises = -whole
        for start in (0, 100):
            h1, C1, h2, C2 = after[start]
            found_p = numpy_model.forward(P, codes[start:start + 100], [fix(1 * h1), C1, fix(1 * h2), C2], cell=cell)[0]
            rises[start:start + 100] += numpy_model.costs(found_p, codes[start + 1:start + 101])
        ends = codes[1:201] == 0
        assert [found[kind][n] for kind in ('line ends', 'other characters')] == pytest.approx(
            [rises[ends].mean(), rises[~ends].mean()], abs=2e-6)
    each = lined.ablations(TEXT.replace('a', '\n'))['line ends']
    assert each.shape == (H1 + H2,) and each[5] == found['line ends'][0]
    monkeypatch.setattr(lined, 'cell', lambda a_f, C_prev: (C_prev, tt.tanh(a_f)), raising=False)
    with refused(ValueError, 'cannot be left out'):
        lined.ablations(TEXT)


@pytest.mark.parametrize('name, text, expected', [
    ('inside quotes', '\u201ca\u201d \u201eb\u201c \xabc\xbb', '11001100110'),
    ('inside quotes', '"a\nb\n\nc "d"', '11111000110'),
    ('inside brackets', 'a(b[c]d)e)(', '01111110001'),
    ('inside brackets', '(a\n\nb', '11100'),
    ('position in the line', 'ab\nc\n\nd', '1201001'),
    ('position in the word', "ab 'c1", '120012'),
    ('capital letters', 'aÄB1', '0110'),
    ('distance to the last full stop', 'a.bc.', '10120')])
def test_features(name, text, expected):
    assert ''.join(map(str, FEATURES[name](text).tolist())) == expected


@pytest.mark.parametrize('method, arguments', [(method, arguments) for method, *arguments in [
    *[(method, text) for method in ('score_text', 'alternatives', 'states')
      for text in ('a', 'aé', [3, 99], [-1, 2], [], 5, None, [[1, 2], [3, 4]], [0.5, 1])],
    *[('alternatives', TEXT, k) for k in (0, V + 1, 2.5)],
    *[('score_text', TEXT, rate) for rate in (-0.1, math.nan, math.inf, '0.1')], ('score_text', TEXT, 0.1, None, P),
    ('score_lines', ['b', 'c\nd']), ('score_lines', ['b', 'cé'])]], ids=str)
def test_what_cannot_be_scored(lined, refused, method, arguments):
    with refused(ValueError):
        getattr(lined, method)(*arguments)


def test_models_that_cannot_score(stateful, lined, refused):
    with refused(ValueError, 'model_setup'):
        CharLSTM().score_text([1, 2])
    with refused(ValueError, 'prepare_input'):
        CharLSTM().validate()
    set_parameters(lined, {**P, 'c': 3e38 * (-1.0) ** np.arange(V)})
    for score, text in ((lined.score_text, CODES), (lined.score_lines, ['bcdb'])):
        with refused(ValueError, 'finite'):
            score(text)
    lined.uchar = list(LETTERS)
    with refused(ValueError, 'line end'):
        lined.score_lines([])
