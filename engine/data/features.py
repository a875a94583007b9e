"""Features of a text, a number at each character, and how well numbers follow them."""
import numpy as np

QUOTES = '"\u201c\u201d\u201e\xab\xbb'          # except single ones, which are also apostrophes
BRACKETS = {**dict.fromkeys('([{', 1), **dict.fromkeys(')]}', -1)}


def depths(text, step):
    """Return the depth of each character, int (n,). step: a function of a depth and a character to the next depth.

    A blank line resets it to 0: each paragraph of a speech opens its quotes again, and a closing mark may be missing.
    """
    depth, result = 0, []
    for before, character in zip(' ' + text, text):
        depth = 0 if before == character == '\n' else step(depth, character)
        result.append(depth)
    return np.array(result)


def since(text, begins):
    """Return how many characters ago begins(character) was last true, at first from before the text, int (n,)."""
    at = np.arange(len(text))
    return at - np.maximum.accumulate(np.where([begins(character) for character in text], at, -1))


FEATURES = {
    'inside quotes': lambda text: depths(text, lambda depth, ch: 1 - depth if ch in QUOTES else depth),
    'inside brackets': lambda text: depths(text, lambda depth, ch: max(0, depth + BRACKETS.get(ch, 0))).clip(max=1),
    'position in the line': lambda text: since(text, lambda ch: ch == '\n'),
    'position in the word': lambda text: since(text, lambda ch: not ch.isalnum()),
    'capital letters': lambda text: np.array([ch.isupper() for ch in text], int),
    'distance to the last full stop': lambda text: since(text, lambda ch: ch in '.\u3002')}

# Kinds of characters, each with those that are not of a kind before it.
KINDS = {'line ends': lambda ch: ch == '\n', 'quotation marks': lambda ch: ch in QUOTES, 'spaces': str.isspace,
         'other characters': lambda ch: True}


def correlation(feature, states):
    """Return the Pearson correlations (H,) of a feature (n,) with states (n,H) of units; 0 for constant states."""
    feature, states = feature - feature.mean(), states - states.mean(axis=0, dtype=np.float64)
    spread = np.sqrt((feature ** 2).sum() * (states ** 2).sum(axis=0))
    return np.divide(feature.dot(states), spread, out=np.zeros_like(spread), where=spread > 0)
