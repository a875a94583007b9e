"""Read and write texts by a compiled function, for networks that C does not compute.

Characters are (B,), texts (T,B).
"""
import numpy as np

from engine import checks
from engine.graph.elementwise import blas_threads


def likely(p, top_k, top_p):
    """Return probabilities p (V,B) or (V,), zero except the top_k largest and, of these, the fewest with a share top_p.

    Characters as probable as the last of these stay, too (top_p: Holtzman et al. 2020).
    """
    if top_k >= len(p) and top_p >= 1:
        return p
    largest_first = -np.sort(-p, axis=0)
    p = np.where(p < largest_first[min(top_k, len(p)) - 1], 0, p)
    if top_p >= 1:
        return p
    sums_before = np.cumsum(largest_first, axis=0, dtype=np.float64) - largest_first
    kept = sums_before < top_p * p.sum(axis=0, dtype=np.float64)
    return np.where(p < largest_first.min(axis=0, where=kept, initial=1), 0, p)


def choose(p, numbers):
    """Return characters (B,) drawn by p (V,B), or p (V,) if B is 1, with random numbers (B,) from 0 to 1."""
    sums = np.add.accumulate(p, dtype=np.float64)
    drawn = numbers * sums[-1]
    # The first above the draw: exactly by the distribution, and never a character of probability 0.
    return sums.searchsorted(drawn, 'right') if sums.ndim == 1 else (sums > drawn).argmax(axis=0)


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
        texts, unread, numbers = np.concatenate([prime, np.empty((n, B), np.int32)]), prime, bits * 2.0 ** -53
        with np.errstate(over='ignore'):                   # to -inf, at low temperatures
            for k in range(n):
                if k == 2:                                 # all shapes are those of the step before
                    compute = compute.again
                scores, *states = compute(unread, *states)
                scores, unread = scores[-1] if B == 1 else scores[-B:].T, texts[len(prime) + k:][:1]   # the last step's
                if len(bits):
                    p = np.exp((scores - scores.max(axis=0)) / temperature)        # (V, B) or (V)
                    unread[:] = choose(likely(p, int(top_k), top_p), numbers[k])
                else:
                    unread[:] = scores.argmax(axis=0)
        return [texts, *[state.copy() for state in states]]                        # the next call overwrites them
