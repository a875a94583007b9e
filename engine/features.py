"""What can be named at each character of a text, as a number (n,): what a unit may be found to follow."""
import numpy as np

QUOTES = '"\u201c\u201d\u201e\xab\xbb'          # all but single ones, which are apostrophes too
BRACKETS = {**dict.fromkeys('([{', 1), **dict.fromkeys(')]}', -1)}


def depths(text, step):
    """How deep each character is inside something, 0 for outside. step: a depth and a character to the depth after it.

    An empty line ends all: speech that goes on after it is opened again there, and one
    mark that was forgotten would else turn the rest of the text inside out.
    """
    depth, found = 0, []
    for before, character in zip(' ' + text, text):
        depth = 0 if before == character == '\n' else step(depth, character)
        found.append(depth)
    return np.array(found)


def in_quotes(text):
    """1 from an opening quotation mark to before the closing one, else 0."""
    return depths(text, lambda depth, character: 1 - depth if character in QUOTES else depth)


def in_brackets(text):
    """1 from an opening bracket to before the one that closes it, else 0."""
    return np.minimum(depths(text, lambda depth, character: max(0, depth + BRACKETS.get(character, 0))), 1)


def since(text, begins):
    """Characters since the last one for which begins() holds, which has 0, or since before the text."""
    at = np.arange(len(text))
    return at - np.maximum.accumulate(np.where([begins(character) for character in text], at, -1))


NAMED = {
    'inside quotes': in_quotes,
    'inside brackets': in_brackets,
    'position in the line': lambda text: since(text, lambda character: character == '\n'),
    'position in the word': lambda text: since(text, lambda character: not character.isalnum()),
    'capital letters': lambda text: np.array([character.isupper() for character in text], int),
    'distance to the last full stop': lambda text: since(text, lambda character: character in '.\u3002')}


def correlation(feature, states):
    """Pearson's correlation (H,) of a feature (n,) with the states (n,H) of units; 0 with one that never changes."""
    feature, states = feature - feature.mean(), states - states.mean(axis=0, dtype=np.float64)
    spread = np.sqrt((feature ** 2).sum() * (states ** 2).sum(axis=0))
    return np.divide(feature.dot(states), spread, out=np.zeros_like(spread), where=spread > 0)
