"""A training step of several processes, from two functions that Theano compiled."""
import numpy as np


class DataParallelStep:
    """A training step of several processes: each computes the gradient of its own rows, and all apply the sum.

    Called as the compiled step of one process, with the same results: of the whole batch, except the most probable
    characters and the states. gradient: a function from the inputs of a step to cost, best, four states, gradients and
    number of characters. update: from gradients of the whole batch and its number of characters to the ratios.
    """

    def __init__(self, gradient, update, group):
        self._gradient, self._update, self._group, self._sums = gradient, update, group, None

    def get_shared(self):
        """Return the shared variables of both functions, as a compiled function does."""
        return self._gradient.get_shared() + self._update.get_shared()

    def __call__(self, *inputs):
        cost, best, h1, C1, h2, C2, *gradients, size = self._gradient(*inputs)
        parts = [*map(np.ravel, gradients), np.array([cost * size, size, 0], cost.dtype)]
        # One sum of all numbers takes less time than many sums; its memory is used again.
        self._sums = np.concatenate(parts, out=self._sums)
        self._group.all_reduce(self._sums)
        *sums, (cost, size, _) = np.split(self._sums, np.cumsum([part.size for part in parts[:-1]]))
        sums = [part.reshape(gradient.shape) for part, gradient in zip(sums, gradients)]
        return [cost / size, best, h1, C1, h2, C2] + self._update(*sums, size)
