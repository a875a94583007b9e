"""The kernel's parts once more, by theano.scan: for GPUs, without a compiler, and for cells that the kernel cannot run.

The class Scan has the same methods as Kernel in kernel.py, with the same arguments and numbers, in Theano's own
operations. To change the model, edit charlstm.py: Kernel and Scan follow it.
"""
import collections

from engine.state.parameters import stacked
from engine.backend.theano_setup import theano, tt


class Scan:
    """The five things that the network is made of."""

    def __init__(self, cell):
        """cell: a cell.Cell."""
        self._cell = cell
        self.updates = collections.OrderedDict()       # of random numbers that a cell draws, for the function that does

    @staticmethod
    def columns(U, x):
        """The products (N,4H) of weights U (4,H,V) with one-hot vectors of characters x (N,): the columns of U."""
        return stacked(U)[x]

    @staticmethod
    def product(a, B):
        """The matrix product a.B (M,N)."""
        return tt.dot(a, B)

    def layer(self, a_x, W, b, own, state, truncate):
        """A layer over whole sequences, from the input's share a_x (T,B,4H) of the pre-activations.

        W (4,H,H), b (4,H): recurrent weights and bias. own: the cell's own parameters, (H,)
        each. state: h and C before the first step, (B,H) each. truncate: the gradient
        flows through the last so many steps, -1 for all. Returns h and C after each step,
        (T,B,H) each, and the state after the last.
        """
        def step(a, h_prev, C_prev, W_T, *own):
            a = a + tt.dot(h_prev, W_T)                                # (B, 4H)
            H = a.shape[1] // 4
            gates = [a[:, k * H:(k + 1) * H] for k in range(4)]
            return self._cell(gates + [C_prev], [value.dimshuffle('x', 0) for value in own])

        (h, C), updates = theano.scan(step, sequences=a_x + b.flatten(), outputs_info=list(state),
                                      non_sequences=[stacked(W), *own], truncate_gradient=truncate)
        self.updates.update(updates)
        return h, C, (h[-1], C[-1])

    @staticmethod
    def cross_entropy(scores, c, y):
        """Softmax and its cost, for scores (T*B,V), bias c (V,) and targets y (T,B).

        Returns costs -log p[y] (T,B), in nats; the most probable characters,
        int (T,B); and the probabilities p = softmax(scores + c) (T*B,V).
        """
        costs, p, best = tt.nnet.crossentropy_softmax_argmax_1hot_with_bias(scores, c, y.flatten())
        return costs.reshape(y.shape), best.reshape(y.shape), p

    @staticmethod
    def sum_of_squares(v):
        """The sum of the squares of all numbers in v."""
        return tt.sqr(v).sum()
