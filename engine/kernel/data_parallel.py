"""A training step of several processes, from two functions that Theano compiled."""
import numpy as np


class DataParallelStep:
    """A training step of several processes: each has the gradient of its own rows, and all make the update of the sum.

    Called as the compiled step of one process, with the same results, of the whole batch
    but for the most probable characters and the states.
    """

    def __init__(self, gradient, update, group):
        """gradient: the inputs of a step to cost, best, four states, n gradients and the number of characters.

        update: n gradients of the whole batch and its number of characters to the ratios.
        """
        self._gradient, self._update, self._group, self._sums = gradient, update, group, None

    def __call__(self, *inputs):
        cost, best, h1, C1, h2, C2, *gradients, size = self._gradient(*inputs)
        if self._sums is None:
            self._make_room(gradients)
        for view, gradient in zip(self._views, gradients):
            view[...] = gradient
        self._sums[-3:] = cost * size, size, 0
        cost, size, _ = self._group.all_reduce(self._sums)[-3:]
        return [cost / size, best, h1, C1, h2, C2] + self._update(*self._views, size)

    def _make_room(self, gradients):
        """One array for all that is summed, as one sum of many numbers takes less time than many, and views of it."""
        self._sums, self._views, start = np.empty(sum(g.size for g in gradients) + 3, gradients[0].dtype), [], 0
        for g in gradients:
            self._views.append(self._sums[start:start + g.size].reshape(g.shape))
            start += g.size
