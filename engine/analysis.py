"""How a model reads a text: what it expects, what it remembers, and what its units follow.

The public functions of a model are methods of CharLSTM, by the same names.
"""
import numpy as np

from engine import checks
from engine.state.run_state import STATES
from engine.state.state import locked

SCORED, ADAPTED = 2000, 20     # characters scored at a time, at most, and with adapt
PROBABILITIES = 1 << 20        # that scoring holds at a time, at most: V for each character, and one character at least


def costs_of(probabilities, y):
    """Return the costs -log p[y] (T,), in nats, of characters y (T,1) by the probabilities (T,V) of all."""
    expected = probabilities[np.arange(len(y)), y[:, 0]]
    # A probability too small for its type costs as much as the smallest that the type has.
    return -np.log(np.maximum(expected, np.finfo(expected.dtype).tiny))


# ---------------------------------------------------------------- reading

def _encode(model, text):
    """Return a text, a string or numbers, as numbers (n,). Raises ValueError for fewer than two characters."""
    numbers = model._encode(text, 'the text') if isinstance(text, str) else np.asarray(text)
    if len(numbers) < 2:
        raise ValueError(f'the text to score has {len(numbers)} characters: at least 2 are needed')
    return numbers


def _piece_length(model):
    """Return how many characters to score at a time, so that memory is bounded for any V."""
    return max(1, min(SCORED, PROBABILITIES // model._V()))


def _read(model, numbers, length):
    """Read numbers (n,) in pieces of that length, with the states carried along.

    Yields characters x (T,1), the characters that follow them, y (T,1), the states before x, and the
    probabilities (T,V) of what follows each of x.
    """
    states = model._zero_states(1)
    for start in range(0, len(numbers) - 1, length):
        piece = checks.characters('text', numbers[start:start + length + 1], model._V())             # (T+1, 1)
        x, y = piece[:-1], piece[1:]
        probabilities, *after = model._function('predict')(x, *states)
        yield x, y, states, probabilities
        states = after


def _copy(model, **settings):
    """Return a model with a copy of the parameters, to train with settings of model_setup."""
    copy, (H1, H2) = type(model)(kernel=model._kernel), model._units()
    vars(copy).update({name: vars(model)[name] for name in ('cell', 'cell_parameters') if name in vars(model)})
    copy._cell = model._cell               # so that no warning about it is repeated
    copy.model_setup(char_dim=model._V(), num_units1=H1, num_units2=H2, **settings)
    copy._set_parameters(model._arrays(), model.uchar)
    return copy


@locked
def score_text(model, text, adapt=0, progress=None):
    """Return the cost of each character of a text but the first, in nats, float (n-1,).

    The text may be a string or numbers of uchar, int (n,), of any length; it
    is read once with the states carried along. adapt: the rate at which a copy of
    the model keeps learning from what it has just scored, by gradient descent
    (dynamic evaluation: Krause et al. 2018); the model itself does not change. 0: no learning.
    progress: a function that is called with the costs of each piece as they come.
    Raises ValueError for fewer than two characters, for unknown ones, or for a negative rate.
    """
    numbers, costs = _encode(model, text), []
    checks.real('adapt', adapt, 'of at least 0', lambda v: v >= 0)
    reader, length = (_copy(model, lrate=adapt, grad_clip=1), ADAPTED) if adapt else (model, _piece_length(model))
    for x, y, states, probabilities in _read(reader, numbers, length):
        costs.append(costs_of(probabilities, y))
        if progress:
            progress(costs[-1])
        if adapt:
            reader._function('train_sgd')(x, y, *states, reader._cost_weights(x, 1))
    return np.concatenate(costs)


@locked
def alternatives(model, text, k=5):
    """Return what the model expects at each character of a text but the first.

    text: as for score_text. Returns the costs (n-1,) in nats; the k most probable characters as numbers
    of uchar, int (n-1,k), the most probable first; and their probabilities (n-1,k). Raises
    ValueError as score_text does, and unless k is from 1 to V.
    """
    checks.whole('k', k, 1, model._V())
    costs, best, of_best = [], [], []
    for _, y, _, probabilities in _read(model, _encode(model, text), _piece_length(model)):
        costs.append(costs_of(probabilities, y))
        best.append(np.argsort(-probabilities, axis=1, kind='stable')[:, :k])
        of_best.append(np.take_along_axis(probabilities, best[-1], axis=1))
    return np.concatenate(costs), np.concatenate(best), np.concatenate(of_best)


@locked
def states(model, text):
    """Return the states after each character of a text: a dict of h1, C1 (n,H1) and h2, C2 (n,H2).

    The text, as for score_text, is read from zero states. Raises ValueError as score_text does.
    """
    x, after, pieces = checks.characters('text', _encode(model, text), model._V()), model._zero_states(1), []
    for start in range(0, len(x), SCORED):
        *of_steps, h1, C1, h2, C2 = model._function('states')(x[start:start + SCORED], *after)
        pieces.append([state[:, 0] for state in of_steps])
        after = h1, C1, h2, C2
    return dict(zip(STATES, map(np.concatenate, zip(*pieces))))


def correlations(model, text, states):
    """Return how well each unit follows the FEATURES of a text.

    text: as for score_text. states: what states(text) returned. The result is a dict. It has for each feature
    that varies in the text, such as 'inside quotes', a dict of Pearson's correlations: h1, C1 (H1,) and
    h2, C2 (H2,). Raises ValueError as score_text does.
    """
    string = ''.join([model.uchar[k] for k in _encode(model, text)])
    features = {name: feature(string) for name, feature in FEATURES.items()}
    return {name: {of: correlation(feature, states[of]) for of in STATES}
            for name, feature in features.items() if np.ptp(feature)}


# ---------------------------------------------------------------- features: a number at each character of a text

QUOTES = '"\u201c\u201d\u201e\xab\xbb'          # all but single ones, which are apostrophes too
BRACKETS = {**dict.fromkeys('([{', 1), **dict.fromkeys(')]}', -1)}


def depths(text, step):
    """Return how deep each character is inside something, 0 for outside, int (n,).

    step: a function of a depth and a character that returns the depth after the character. An empty
    line ends all depths: the next paragraph of a speech opens it again, and one mark that
    was forgotten would otherwise turn the rest of the text inside out.
    """
    depth, found = 0, []
    for before, character in zip(' ' + text, text):
        depth = 0 if before == character == '\n' else step(depth, character)
        found.append(depth)
    return np.array(found)


def in_quotes(text):
    """Return 1 from an opening quotation mark to before the closing one, otherwise 0, int (n,)."""
    return depths(text, lambda depth, character: 1 - depth if character in QUOTES else depth)


def in_brackets(text):
    """Return 1 from an opening bracket to before the one that closes it, otherwise 0, int (n,)."""
    return np.minimum(depths(text, lambda depth, character: max(0, depth + BRACKETS.get(character, 0))), 1)


def since(text, begins):
    """Return how many characters ago begins() last held, or since before the text, int (n,)."""
    at = np.arange(len(text))
    return at - np.maximum.accumulate(np.where([begins(character) for character in text], at, -1))


FEATURES = {
    'inside quotes': in_quotes,
    'inside brackets': in_brackets,
    'position in the line': lambda text: since(text, lambda character: character == '\n'),
    'position in the word': lambda text: since(text, lambda character: not character.isalnum()),
    'capital letters': lambda text: np.array([character.isupper() for character in text], int),
    'distance to the last full stop': lambda text: since(text, lambda character: character in '.\u3002')}


def correlation(feature, states):
    """Return Pearson's correlation (H,) of a feature (n,) with the states (n,H) of units, 0 for constant states."""
    feature, states = feature - feature.mean(), states - states.mean(axis=0, dtype=np.float64)
    spread = np.sqrt((feature ** 2).sum() * (states ** 2).sum(axis=0))
    return np.divide(feature.dot(states), spread, out=np.zeros_like(spread), where=spread > 0)
