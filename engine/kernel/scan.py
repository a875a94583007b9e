"""The network's operations by theano.scan, for GPUs."""
from engine.backend.theano_setup import theano, tt
from engine.data.parameters import stacked


class Scan:
    """The five operations that make up the network, as in the class Kernel of ops.py. cell: a Cell."""
    in_c = False

    def __init__(self, cell):
        self._cell = cell

    def columns(self, U, x):
        """Return the columns x (N,) of weights U (rows,H,V): their products with one-hot vectors, (N,rows*H)."""
        return stacked(U)[x]

    def product(self, a, B):
        """Return the matrix product a.B (M,N)."""
        return tt.dot(a, B)

    def layer(self, a_x, W, b, own, state, truncate):
        """Return h and C (T,B,H) after each step of a layer, and the state after the last.

        a_x (T,B,UH): the input's share of the pre-activations, of U rows. W (W,H,H), b (b,H): recurrent weights and
        bias. own: the cell's own parameters, (H,) each. state: h and C before the first step, (B,H) and (B,SH).
        truncate: the gradient flows through the last `truncate` steps, -1: all.
        """
        counts, H = self._cell.counts, b.shape[1]

        def parts(array, n):
            """Return an array (B,nH) as n arrays (B,H)."""
            return [array[:, k * H:(k + 1) * H] for k in range(n)]

        def step(a_x, h_prev, C_prev, W_T, b, *own):
            of_x = parts(a_x, counts.U) + [b[k] for k in range(counts.U, counts.b)]        # a_x has the other biases
            of_h = parts(tt.dot(h_prev, W_T), counts.W) if counts.W else []
            rows = [x + h for x, h in zip(of_x, [0] * (counts.b - counts.W) + of_h)]       # (B, H) each
            own = [value.dimshuffle('x', 0) for value in own]
            h, *states = self._cell([*rows, *parts(C_prev, counts.S), *own])
            return h, tt.concatenate(states, axis=1)                   # (B, H), (B, SH)

        (h, C), _ = theano.scan(step, sequences=a_x + b[:counts.U].flatten(), outputs_info=list(state),
                                non_sequences=[stacked(W), b, *own], truncate_gradient=truncate)
        return h, C, (h[-1], C[-1])

    def cross_entropy(self, scores, c, y):
        """Return costs -log p[y] (T,B), in nats; the most probable characters, int (T,B); p (T*B,V); spread (T,B).

        p: the probabilities softmax(scores + c), of scores (T*B,V) and bias c (V,). y: the targets, int (T,B).
        spread: the means of -log p over all characters.
        """
        costs, p, best = tt.nnet.crossentropy_softmax_argmax_1hot_with_bias(scores, c, y.flatten())
        a = scores + c
        a_y = tt.switch(tt.eq(tt.arange(a.shape[1]), y.flatten().dimshuffle(0, 'x')), a, 0).sum(axis=1)
        spread = costs + a_y - a.mean(axis=1)                          # since -log p[v] = costs + a_y - a[v]
        return costs.reshape(y.shape), best.reshape(y.shape), p, spread.reshape(y.shape)

    def sums_of_squares(self, arrays):
        """Return, for each of the arrays, the sum of the squares of all its numbers."""
        return [tt.sqr(v).sum() for v in arrays]
