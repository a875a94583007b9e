"""Costs of lines and at temperatures, adapting, alternatives, states and correlations, against numpy_model.py."""
import math

import numpy as np
import pytest
import scipy.optimize

import numpy_model
from charlstm import CharLSTM, read_averages
from engine import analysis
from models import CODES, P, TEXT, set_parameters
from numpy_model import H1, H2, LETTERS, NAMES, V
from scripts import write_chain, write_counter

PROBABILITIES = numpy_model.forward(P, CODES[:40, None])[0][:, 0]          # (40, V)


# ---------------------------------------------------------------- lines

@pytest.fixture
def lined(stateful, monkeypatch):
    """Return a model that knows a line end instead of a."""
    monkeypatch.setattr(stateful, 'uchar', ['\n', *LETTERS[1:]])
    return stateful


def cost_of_line(line, p=P):
    """Return the cost of a line and of the line end after it, by itself, after a line end."""
    codes = np.array([0, *[LETTERS.index(ch) for ch in line], 0])[:, None]
    return numpy_model.costs(numpy_model.forward(p, codes[:-1])[0], codes[1:]).sum()


@pytest.mark.parametrize('rows, room, most', [(3, 7, 7), (64, 2000, 13 * 48)])
def test_costs_of_lines_are_those_of_each_by_itself(lined, monkeypatch, rows, room, most):
    """Lines of similar length are read together, in pieces: at most `room` characters, and one of each line."""
    monkeypatch.setattr(analysis, 'LINES', rows)
    monkeypatch.setattr(analysis, 'SCORED', room)
    random = np.random.default_rng(7)
    lines = [''.join(random.choice(list(LETTERS[1:]), n)) for n in (5, 0, 47, 1, 2, 2, 11, 0, 3, 30, 7, 1, 4)]
    predict, read, done = lined._function('predict'), [], []

    def counted(x, *states):
        read.append(x.size)
        return predict(x, *states)
    monkeypatch.setitem(lined._functions, 'predict', counted)
    found = lined.score_lines(lines, done.append)
    np.testing.assert_allclose(found, [cost_of_line(line) for line in lines], rtol=1e-5)
    assert found.dtype == np.float64 and max(read) <= most
    assert sum(done) == sum(map(len, lines)) + len(lines)
    np.testing.assert_allclose(lined.score_lines(iter(lines[::-1])), found[::-1], rtol=1e-5)
    assert lined.score_lines([]).shape == (0,)


@pytest.mark.parametrize('lines, words', [
    ('bcd', ['string', 'list']), (['b', 'c\nd'], ['line end in it', r"'c\nd'"]), (['b', 'cé'], ["'é'"]),
    (3, ['lines is of type int', 'list of strings']), ([3], ['a line is of type int'])])
def test_lines_that_cannot_be_scored(lined, refused, monkeypatch, lines, words):
    with refused(ValueError, *words):
        lined.score_lines(lines)
    monkeypatch.setattr(lined, 'uchar', list(LETTERS))
    with refused(ValueError, 'never saw a line end'):
        lined.score_lines([])


# ---------------------------------------------------------------- the temperature

@pytest.mark.parametrize('temperature', [0.05, 0.7, 3])
def test_costs_at_a_temperature(stateful, monkeypatch, temperature):
    monkeypatch.setattr(analysis, 'SCORED', 7)
    powers = PROBABILITIES ** (1 / temperature)
    expected = -np.log(powers[np.arange(40), CODES[1:41]] / powers.sum(axis=1))
    np.testing.assert_allclose(stateful.score_text(TEXT[:41], temperature=temperature), expected, rtol=1e-4, atol=1e-5)


def test_tuned_temperature_costs_least(lined, monkeypatch):
    """On a text that the model wrote at a temperature of 0.8, read in several pieces."""
    monkeypatch.setattr(analysis, 'SCORED', 70)
    text = lined.generate_text('b', 1500, temperature=0.8)
    codes = np.array([lined.uchar.index(ch) for ch in text])
    logs = np.log(numpy_model.forward(P, codes[:-1, None])[0][:, 0])

    def mean(inverse):
        return (np.log(np.exp(logs * inverse).sum(axis=1)) - inverse * logs[np.arange(len(logs)), codes[1:]]).mean()
    done = []
    found = lined.tune_temperature(text, progress=lambda costs: done.append(len(costs)))
    best = scipy.optimize.minimize_scalar(mean, (0.5, 2))
    assert mean(1 / found) - best.fun < 1e-6 and abs(found * best.x - 1) < 0.01 and 0.5 < found < 0.99
    assert sum(done) == 1499 and len(done) == 22


def test_temperature_stays_in_its_range(tmp_path, interpreted):
    """The model is always right, so the lower, the better."""
    model = CharLSTM()
    model.model_setup(write_chain(tmp_path / 'p.npz', np.array(list('abc'))))
    assert model.tune_temperature('abcabcab') == 1 / 4


# ---------------------------------------------------------------- scores far apart

def test_costs_of_characters_whose_probability_is_0_in_float32(lined):
    """By all methods; at a temperature that is 0 in float32, too, which means the least that is computed, 1e-30."""
    p = dict(P, c=P['c'] - 250 * (np.arange(V) == 3))
    set_parameters(lined, p)
    logs, y = np.log(numpy_model.forward(p, CODES[:40, None])[0][:, 0]), CODES[1:41, None]
    assert (y == 3).any()
    for temperature, used in ((1, 1), (100, 100), (1e-46, 1e-30)):
        below = (logs - logs.max(axis=1, keepdims=True)) / used
        expected = np.log(np.exp(below).sum(axis=1)) - np.take_along_axis(below, y, axis=1)[:, 0]
        np.testing.assert_allclose(lined.score_text(CODES[:41], temperature=temperature), expected, rtol=1e-3)
    np.testing.assert_allclose(lined.alternatives(CODES[:41])[0], -np.take_along_axis(logs, y, axis=1)[:, 0], rtol=1e-3)
    lines = ['bd', 'ddcde', '']
    np.testing.assert_allclose(lined.score_lines(lines), [cost_of_line(line, p) for line in lines], rtol=1e-4)


def test_costs_that_are_not_finite(lined, refused):
    set_parameters(lined, {**P, 'c': 3e38 * (-1.0) ** np.arange(V)})
    for score, text in ((lined.score_text, CODES), (lined.tune_temperature, CODES), (lined.score_lines, ['bcdb'])):
        with refused(ValueError, 'no finite costs', 'a lower rate'):
            score(text)


# ---------------------------------------------------------------- adapting

@pytest.mark.parametrize('averaged, rate', [(False, 0.7), (True, 0.007)])
def test_adapting_learns_from_what_was_scored(float64, interpreted, monkeypatch, averaged, rate):
    """Three pieces by hand: each scored with what was learned from those before it, from the states before it.

    With RMSprop's averages, gradients are divided by their roots, plus a tenth of the roots' mean, and the parameters
    go a part of the way back to those of the model.
    """
    monkeypatch.setattr(analysis, 'ADAPTED', 4)
    monkeypatch.setattr(analysis, 'CLIPS', (1, 1))                 # which these gradients exceed
    monkeypatch.setattr(analysis, 'DECAY', 0.3)
    model, random, p = CharLSTM(), np.random.default_rng(5), P
    model.model_setup(char_dim=V, num_units1=H1, num_units2=H2)
    set_parameters(model)
    averages = {name: random.uniform(0, 2, p[name].shape) for name in NAMES}
    averages['b1'][0, 0] = 0
    roots = {name: np.sqrt(m) for name, m in averages.items()}
    divisors = {name: r + r.mean() / 10 if averaged else 1 for name, r in roots.items()}
    decay = 0.3 if averaged else 0
    adapting = dict(adapt=rate, **dict(averages=averages) if averaged else {})
    numbers = random.integers(V, size=12)
    found, expected, states = model.score_text(numbers, **adapting), [], None
    for start in (0, 4, 8):
        x, y = numbers[start:start + 4][:11 - start, None], numbers[start + 1:start + 5][:, None]
        probabilities, after = numpy_model.forward(p, x, states)
        expected += list(numpy_model.costs(probabilities, y)[:, 0])
        gradients = numpy_model.gradients(p, x, y, states=states)
        shrunk = min(1, 1 / math.sqrt(sum((g ** 2).sum() for g in gradients.values())))
        p = {name: p[name] - rate * shrunk * gradients[name] / divisors[name] - decay * (p[name] - P[name])
             for name in NAMES}
        states = after
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert abs(found - model.score_text(numbers))[4:].max() > 1e-4
    costs = [model.score_text(numbers, **adapting, temperature=t).mean() for t in (0.9, 1.1)]
    assert (costs[0] < costs[1]) == (model.tune_temperature(numbers, **adapting) < 1)


@pytest.mark.parametrize('rate, averages, words', [
    (0.1, P, ['adapt is 0.1', 'at most 0.01']), (0.001, {**P, 'c': np.ones(V + 1)}, ['another model']),
    (0.001, 5, ['averages is of type int', 'read_averages']),
    *[(rate, None, ['adapt', repr(rate)]) for rate in (-0.1, math.nan, math.inf, '0.1', 1e39, True)]])
def test_adapting_that_is_refused(stateful, refused, rate, averages, words):
    with refused(ValueError, *words):
        stateful.score_text('ab', adapt=rate, averages=averages)


def test_adapting_leaves_the_model_and_its_generator_as_they_were(interpreted):
    """Of a class with other arguments, and with an average of its parameters."""
    class Named(CharLSTM):
        def __init__(self, name):
            super().__init__(random_seed=1)
            self.name = name

    model = Named('one')
    model.model_setup(char_dim=V, num_units1=3, num_units2=2, average=0.9)
    before, generator = {name: p.get_value() for name, p in model.p.items()}, model.random.bit_generator.state
    costs = [model.score_text(np.tile([1, 2, 3], 30), adapt=rate).mean() for rate in (0, 0.5)]
    assert costs[1] < costs[0] - 0.1 and model.random.bit_generator.state == generator
    for name, value in before.items():
        np.testing.assert_array_equal(model.p[name].get_value(), value)


def test_averages_of_checkpoints(stateful, path, refused):
    """Of one that was trained; {} where there are none, or what no squares of RMSprop can be."""
    stateful.theano_train_rmsprop(stateful.X['train'][0], stateful.Y['train'][0])
    path = stateful.save_params(path)
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    for name, m in read_averages(path).items():
        np.testing.assert_array_equal(m, arrays['m_' + name])
    assert set(read_averages(path)) == set(NAMES)

    def averages(**changed):
        np.savez(path, **{name: array for name, array in {**arrays, **changed}.items() if array is not None})
        return read_averages(path)
    assert averages(m_b2=0 * arrays['m_b2']) == {} and averages(m_b2=-arrays['m_b2']) == {}
    with refused(ValueError, 'm_b2', 'finite'):
        averages(m_b2=np.nan * arrays['m_b2'])
    arrays.pop('about')
    assert averages(m_c=None) == {} and averages(m_c=np.ones(V + 1)) == {}


# ---------------------------------------------------------------- what it expects

@pytest.mark.parametrize('k', [1, 11])
def test_alternatives_are_the_most_probable(stateful, monkeypatch, k):
    monkeypatch.setattr(analysis, 'SCORED', 7)
    costs, best, chances = stateful.alternatives(TEXT[:41], k)
    np.testing.assert_allclose(costs, -np.log(PROBABILITIES[np.arange(40), CODES[1:41]]), rtol=1e-4)
    np.testing.assert_allclose(chances, -np.sort(-PROBABILITIES)[:, :k], rtol=1e-4)
    np.testing.assert_allclose(PROBABILITIES[np.arange(40)[:, None], best], chances, rtol=1e-4)
    for same, other in zip(stateful.alternatives(CODES[:41], k), (costs, best, chances)):
        np.testing.assert_array_equal(same, other)


@pytest.mark.parametrize('room, most', [(1, 1), (len(PROBABILITIES[0]) * 4 - 1, 3)])
def test_memory_of_scoring_is_bounded_for_any_vocabulary(stateful, monkeypatch, room, most):
    """It reads pieces for which the probabilities are few enough, with the same costs."""
    monkeypatch.setattr(analysis, 'PROBABILITIES', room)
    predict, read = stateful._function('predict'), []

    def counted(x, *states):
        read.append(len(x))
        return predict(x, *states)
    monkeypatch.setitem(stateful._functions, 'predict', counted)
    expected = -np.log(PROBABILITIES[np.arange(40), CODES[1:41]])
    np.testing.assert_allclose(stateful.score_text(TEXT[:41]), expected, rtol=1e-4)
    assert max(read) == most and sum(read) == 40
    np.testing.assert_allclose(stateful.alternatives(TEXT[:41])[0], expected, rtol=1e-4)
    assert max(read) == most and sum(read) == 80


def test_arguments_out_of_range(stateful, refused):
    for k in (0, 12, 2.5):
        with refused(ValueError, 'k is', repr(k)):
            stateful.alternatives(TEXT, k)
    for temperature in (-1, math.nan, math.inf, '1'):
        with refused(ValueError, 'temperature', repr(temperature)):
            stateful.score_text('ab', temperature=temperature)


@pytest.mark.parametrize('what', ['score_text', 'tune_temperature', 'alternatives', 'states'])
@pytest.mark.parametrize('text, word', [
    ('a', '1 character:'), ('aé', "'é'"), ([3, 99], '99'), ([], '0 characters'), (5, 'int64 and shape ()'),
    (None, 'expected a string'), (b'abc', 'S3 and shape ()'), ([[1, 2], [3, 4]], 'shape (2, 2)'),
    ([0.5, 1], 'float64')])
def test_text_that_cannot_be_read(stateful, refused, what, text, word):
    with refused(ValueError, word):
        getattr(stateful, what)(text)


# ---------------------------------------------------------------- what it remembers

def test_states_after_each_character(stateful):
    states = stateful.states(TEXT[:23])
    assert {name: array.shape for name, array in states.items()} == {
        'h1': (23, H1), 'C1': (23, H1), 'h2': (23, H2), 'C2': (23, H2)}
    for k in (0, 1, 7, 22):
        expected = numpy_model.forward(P, CODES[:k + 1, None])[1]
        for found, array in zip(states.values(), expected):
            np.testing.assert_allclose(found[k], array[:, 0], rtol=1e-4, atol=1e-6)
    for found, array in zip(stateful.states(CODES[:23]).values(), states.values()):
        np.testing.assert_array_equal(found, array)


def test_correlations_are_pearsons(stateful):
    states = stateful.states(TEXT)
    found = stateful.correlations(TEXT, states)
    assert 'position in the word' in found and 'inside brackets' not in found      # TEXT has no brackets
    for name, of in found.items():
        feature = analysis.FEATURES[name](TEXT)
        for key, array in states.items():
            np.testing.assert_allclose(of[key], [np.corrcoef(feature, unit)[0, 1] for unit in array.T], atol=1e-6)
    states['C1'][:, 2] = 0.5                                       # a unit that never changes follows nothing
    assert stateful.correlations(TEXT, states)['position in the word']['C1'][2] == 0


def test_correlations_of_what_is_no_text_or_of_other_states(stateful, path, refused):
    states = stateful.states(TEXT[:23])
    for numbers in ([-1, *CODES[:22]], [V, *CODES[:22]]):
        with refused(ValueError, 'text has character numbers', f'the model knows 0 to {V - 1}'):
            stateful.correlations(numbers, states)
    np.savez(path, **states)
    with np.load(path) as stored:
        assert stateful.correlations(TEXT[:23], stored)
    for other in (stateful.states(TEXT[:22]), {**states, 'C1': states['C1'][0]}, {'h1': states['h1']}, None, 5):
        with refused(ValueError, 'states has the shapes {', 'h1, C1, h2, C2, each with 23 rows'):
            stateful.correlations(TEXT[:23], other)


def test_counting_unit_is_found(tmp_path):
    """A unit that counts the characters since the last line end by construction, among others that do not."""
    text = 'one two\nthree, four and five\n\nsix sevens\n' * 9
    model = CharLSTM()
    model.model_setup(write_counter(tmp_path / 'p.npz', text))
    found = model.correlations(text, model.states(text))['position in the line']
    of = np.concatenate([found['C1'], found['C2']])
    assert np.argsort(-abs(of))[0] == 1 and of[1] > 0.999999 and np.sort(abs(of))[-2] < 0.9


# ---------------------------------------------------------------- features

@pytest.mark.parametrize('name, text, expected', [
    ('inside quotes', 'a "b" c', '0011000'),
    ('inside quotes', '\u201ca\u201d \u201eb\u201c \xabc\xbb', '11001100110'),
    ('inside quotes', '"a\nb\n\nc "d"', '11111000110'),
    ('inside brackets', 'a(b[c]d)e)(', '01111110001'),
    ('inside brackets', '(a\n\nb', '11100'),
    ('position in the line', 'ab\nc\n\nd', '1201001'),
    ('position in the word', "ab 'c1", '120012'),
    ('capital letters', 'aÄB1', '0110'),
    ('distance to the last full stop', 'a.bc.', '10120'),
])
def test_features(name, text, expected):
    assert ''.join(map(str, analysis.FEATURES[name](text).tolist())) == expected
