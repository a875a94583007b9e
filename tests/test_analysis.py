"""Alternatives, states and correlations, against numpy_model.py and by hand."""
import numpy as np
import pytest

import numpy_model
from charlstm import CharLSTM
from engine import analysis
from models import CODES, P, TEXT
from numpy_model import H1, H2
from scripts import write_counter

PROBABILITIES = numpy_model.forward(P, CODES[:40, None])[0][:, 0]          # (40, V)


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


@pytest.mark.parametrize('k', [0, 12, 2.5])
def test_number_of_alternatives_out_of_range(stateful, refused, k):
    with refused(ValueError, 'k is', repr(k)):
        stateful.alternatives(TEXT, k)


@pytest.mark.parametrize('what', ['alternatives', 'states'])
@pytest.mark.parametrize('text, word', [('a', '1 characters'), ('aé', "'é'"), ([3, 99], '99')])
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


def test_unit_that_never_changes_follows_nothing():
    states = np.array([[1, 0.5], [1, -3], [1, 7]], 'float32')
    assert analysis.correlation(np.array([1, 2, 3]), states)[0] == 0


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
