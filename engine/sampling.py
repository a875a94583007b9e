"""Writing texts piece by piece, and the choices of how their characters are drawn."""
import numpy as np

from engine import checks

# Characters that are drawn before they are shown: few at first, to show something soon, then
# more, since the kernel packs the weights again for each piece.
FIRST_PIECE, LONGEST_PIECE = 32, 1024


def checked_choice(temperature, top_k, top_p, V, dtype):
    """Return the three as the array that continue_texts takes; top_k None means V.

    Raises ValueError where one is out of range.
    """
    checks.real('temperature', temperature, 'above 0', lambda v: v > 0)
    checks.whole('top_k', V if top_k is None else top_k, 1, most=float('inf'))
    checks.real('top_p', top_p, 'above 0, at most 1', lambda v: 0 < v <= 1)
    # Within what the type can hold: below 1e-30 all temperatures mean the most probable.
    return np.array([max(temperature, 1e-30), min(top_k or V, V), top_p], dtype)


def until(stop, before, string):
    """Return string up to the end of the first stop, and `before` for the string that follows.

    before: the end of the text before string, in which the stop may begin; None where the text has ended.
    """
    if before is None:
        return '', None
    at = (before + string).find(stop)
    if at >= 0:
        return string[:at + len(stop) - len(before)], None
    return string, (before + string)[max(0, len(before + string) - len(stop) + 1):]


def stream(sample, prime, length, choice, states, strings, stop, draw):
    """Yield what follows prime (m,B) piece by piece, each a list of B strings, up to length characters with prime.

    sample: continue_texts without predict; strings: numbers (n,B) to B strings; stop:
    what ends a text, '' for nothing; draw: n to the bits (n,B) of n characters.
    """
    ends, piece, left = [''] * prime.shape[1], FIRST_PIECE, length - len(prime)
    while left > 0 and any(end is not None for end in ends):
        n = min(piece, left)
        text, *states = sample(prime, draw(n), n, choice, *states)                 # (m+n, B)
        written = strings(text[len(prime):])
        if stop:
            written, ends = zip(*[until(stop, end, string) for end, string in zip(ends, written)])
        yield list(written)
        prime, left, piece = text[-1:], left - n, min(2 * piece, LONGEST_PIECE)
