"""How characters are drawn, in NumPy: what writes without the kernel, and what the kernel's own is held against."""
import numpy as np

from engine import checks

# Characters that are sampled before they are shown: few at first, to show something soon, then
# more, since each time the kernel packs the weights again.
FIRST_PIECE, LONGEST_PIECE = 32, 1024


def pieces(length):
    """The sizes of the pieces in which so many characters are written."""
    piece = FIRST_PIECE
    while length > 0:
        yield min(piece, length)
        length, piece = length - piece, min(2 * piece, LONGEST_PIECE)


def likely(p, top_k, top_p):
    """Probabilities p (B,V) without those that top_k and top_p leave out of a draw, which become zero.

    top_k: only the so many most probable characters are drawn; top_p: only the
    fewest that have this probability together (Holtzman et al. 2020).
    """
    largest_first = -np.sort(-p, axis=1)
    sums_before = np.cumsum(largest_first, axis=1, dtype=np.float64) - largest_first
    kept = np.minimum((sums_before < top_p * p.sum(axis=1, keepdims=True, dtype=np.float64)).sum(axis=1), top_k)
    return np.where(p < largest_first[np.arange(len(p)), np.maximum(kept, 1) - 1][:, None], 0, p)


def choose(p, bits):
    """A character for each row of probabilities p (B,V): drawn with 53 random bits (B,), the most probable for None."""
    if bits is None:
        return p.argmax(axis=1).astype(np.int32)
    cumulative = np.cumsum(p, axis=1, dtype=np.float64)
    # The first above the draw: exactly the distribution, and never a character of probability 0.
    return (cumulative > bits[:, None] * 2.0 ** -53 * cumulative[:, -1:]).argmax(axis=1).astype(np.int32)


def checked_choice(temperature, top_k, top_p, V, dtype):
    """The three as the array that continue_texts takes, top_k None for V.

    Raises ValueError where one is out of range.
    """
    checks.real('temperature', temperature, 'above 0', lambda v: v > 0)
    checks.whole('top_k', V if top_k is None else top_k, 1, most=float('inf'))
    checks.real('top_p', top_p, 'above 0, at most 1', lambda v: 0 < v <= 1)
    # Within what the type can hold: below 1e-30 all temperatures mean the most probable.
    return np.array([max(temperature, 1e-30), min(top_k or V, V), top_p], dtype)


def continue_texts(predict, given, bits, n, choice, *states):
    """Texts continued character after character: what kernel.Sample does, with its arguments.

    predict: characters (T,B) and states to [probabilities (T*B,V) of what follows
    each, or (B,V) of what follows the last, and the new states]. given: int (m,B), of
    which none has been read; bits: int (n,B) from 0 to 2^53 - 1, or (0,B) to take
    the most probable. Returns the texts, int (m+n,B), and the states after all
    characters but the last.
    """
    temperature, top_k, top_p = choice
    text, read = given, given
    if not n and len(given) > 1:
        _, *states = predict(given[:-1], *states)
    for k in range(n):
        p, *states = predict(read, *states)
        p = p[-given.shape[1]:]                                                    # (B, V) after the last step
        if temperature != 1:
            p = (p / p.max(axis=1, keepdims=True)) ** np.asarray(1 / temperature, p.dtype)
        p = likely(p, int(top_k), top_p)
        read = choose(p, bits[k] if len(bits) else None)[None]
        text = np.concatenate([text, read])
    return [text] + list(states)


def until(stop, before, string):
    """string up to the end of its first stop, which may have begun in `before`, the end of what was there.

    before is None where the text has ended. Returns what is left of string, and
    before for the next one.
    """
    if before is None:
        return '', None
    at = (before + string).find(stop)
    if at >= 0:
        return string[:at + len(stop) - len(before)], None
    return string, (before + string)[max(0, len(before + string) - len(stop) + 1):]


def stream(sample, given, length, choice, states, strings, stop, draw):
    """Yield what is written after given (m,B) piece by piece, each a list of B strings, up to length characters in all.

    sample: continue_texts, but for predict; strings: numbers (n,B) to B strings; stop:
    what ends a text, '' for nothing; draw: n to the bits (n,B) of n characters.
    """
    tails = [''] * given.shape[1]
    for n in pieces(length - len(given)):
        if all(tail is None for tail in tails):
            return
        text, *states = sample(given, draw(n), n, choice, *states)                 # (m+n, B)
        written = strings(text[len(given):])
        if stop:
            written, tails = zip(*[until(stop, tail, string) for tail, string in zip(tails, written)])
        yield list(written)
        given = text[-1:]
