"""Read and write texts by a compiled function, for networks that C does not compute.

Characters are (B,), texts (T,B).
"""
import numpy as np

from engine import checks
from engine.graph.elementwise import blas_threads


def likely(p, top_k, top_p):
    """Return probabilities p (B,V), zero except the top_k largest and, of these, the fewest with a share top_p.

    Characters as probable as the last of these stay, too (top_p: Holtzman et al. 2020).
    """
    if top_k >= p.shape[1] and top_p >= 1:
        return p
    largest_first = -np.sort(-p, axis=1)
    p = np.where(p < largest_first[:, [min(top_k, p.shape[1]) - 1]], 0, p)
    if top_p >= 1:
        return p
    sums_before = np.cumsum(largest_first, axis=1, dtype=np.float64) - largest_first
    kept = (sums_before < top_p * p.sum(axis=1, keepdims=True, dtype=np.float64)).sum(axis=1)
    return np.where(p < largest_first[np.arange(len(p)), np.maximum(kept, 1) - 1][:, None], 0, p)


def choose(p, bits):
    """Return a character for each row of p (B,V), drawn with 53 random bits (B,)."""
    cumulative = p.cumsum(axis=1, dtype=np.float64)
    # The first above the draw: exactly by the distribution, and never a character of probability 0.
    return (cumulative > bits[:, None] * 2.0 ** -53 * cumulative[:, -1:]).argmax(axis=1).astype(np.int32)


class StepByStep:
    """Reads and writes texts as ops.Texts does, by compiled functions.

    compiled: a function from a name to a function from characters (T,B) and states to new states, after log
    probabilities (T*B,V), 'predict', or scores_of, 'scores'. widths: a function without arguments to the widths of the
    states, which set_value may change.
    """

    def __init__(self, compiled, widths):
        self._compiled, self._widths = compiled, widths

    def begin(self):
        """Compile what writes: it reads the parameters in each call."""
        self._compiled('scores')

    def read(self, x, *states):
        """Return what Texts.read does."""
        logs, *after = self._compiled('predict')(x, *checks.states(states, x.shape[1], self._widths()))
        return logs.reshape(*x.shape, -1), after

    @blas_threads()
    def write(self, prime, bits, n, choice, *states):
        """Return what Texts.write does."""
        (temperature, top_k, top_p), B, compute = map(float, choice), prime.shape[1], self._compiled('scores')
        texts, unread = [prime], prime
        with np.errstate(over='ignore'):                   # to -inf, at low temperatures
            for k in range(n):
                if k == 2:                                 # all shapes are those of the step before
                    compute = compute.again
                scores, *states = compute(unread, *states)
                scores = scores[-B:]                                               # (B, V) after the last step
                if len(bits):
                    p = np.exp((scores - scores.max(axis=1, keepdims=True)) / temperature)
                    unread = choose(likely(p, int(top_k), top_p), bits[k])[None]
                else:
                    unread = scores.argmax(axis=1).astype(np.int32)[None]
                texts.append(unread)
        return [np.concatenate(texts), *[state.copy() for state in states]]        # the next call overwrites them
