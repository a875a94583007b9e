"""The network's operations in Theano's own, to check the kernel."""
from engine.backend.theano_setup import tt
from engine.data.parameters import stacked


class Scan:
    """The four operations that make up the network, as in the class Kernel of ops.py.

    cell: a Cell. layer: a function like that of charlstm.py. cell_parameters: the names of those of the cell.
    """
    in_c = False

    def __init__(self, cell, layer):
        self.cell_parameters, self._cell, self._layer = tuple(cell.parameters), cell, layer

    def columns(self, U, x):
        """Return the columns x (N,) of weights U (rows,H,V): their products with one-hot vectors, (N,rows*H)."""
        return stacked(U)[x]

    def product(self, a, B):
        """Return the matrix product a.B (M,N)."""
        return tt.dot(a, B)

    def layer(self, a_x, W, b, cell_parameters, before, truncate):
        """Return what the function layer of charlstm.py does, from the same arguments."""
        return self._layer(a_x, W, b, cell_parameters, before, truncate, self._cell)

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
