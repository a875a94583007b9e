"""The kernel in NumPy: the functions of kernel.h on arrays, without a compiler, and for cells that are not elementwise.

The names of functions and arguments, and their shapes, are those of kernel.h. What a layer keeps for its gradient is in
another order here: (T, rows, B, H), so that all arrays of a step are contiguous.
"""
import collections
import functools

import numpy as np

from engine.backend.theano_setup import theano, tt
from engine.data.parameters import is_matrix
from engine.graph.cell import cell_p_places, inputs_of, places
from engine.graph.elementwise import SameArrays, blas_threads
from engine.graph.formula import InNumPy


class ProgramStep:
    """One step of an elementwise cell, and its gradient. program: the cell's Program."""

    def __init__(self, program):
        self.counts = counts = program.counts
        self.kept, self._program = program.kept, program
        self.forward = InNumPy(program.forward, inputs_of(counts))
        self._backward = InNumPy(program.backward, [
            *places('kept', program.kept), *places('before', counts.S), *places('after', counts.S),
            *cell_p_places(counts), 'dh', *places('d_after', counts.S)])

    def backward(self, x, y):
        """Fill the arrays y from the arrays x, as forward does from a, before, cell_p and M to h, after and kept.

        x: kept, before, after, cell_p, M, dh and d_after. y: da, d_before, d_cell_p, whose sums over the rows are the
        gradients, and the gradients of M. All are (B,H), but each of cell_p is (H,), and of the matrices M (H,H).
        """
        factors = np.empty((self._program.factors, *y[0].shape), y[0].dtype)
        da, of_matrices = [*y[:self.counts.b], *factors], len(y) - self.counts.M
        self._backward(x, [*da, *y[self.counts.b:of_matrices]])
        for gradient in y[of_matrices:]:
            gradient[...] = 0
        for k, v, g in self._program.pairs:
            y[of_matrices + k] += da[v].T.dot(da[g])


class TheanoStep:
    """The same for any Cell, by Theano's functions of one step. The pre-activations are kept for the gradient."""

    def __init__(self, cell, function=SameArrays):
        """Make it of a Cell. function: what compiles a graph, with the arguments of SameArrays."""
        self.counts, self.kept, self._function = cell.counts, cell.counts.b, function
        self._inputs = [(tt.vector if name in cell.parameters and not is_matrix(name) else tt.matrix)(name, cell.dtype)
                        for name in cell.declared.names]
        self._outputs = cell([v.dimshuffle('x', 0) if v.ndim == 1 else v for v in self._inputs])

    @functools.cached_property
    def step(self):
        """A function from the rows, states and own parameters to h and the states after the step."""
        return self._function(self._inputs, [], self._outputs)

    @functools.cached_property
    def gradient(self):
        """A function from these, dh and d_after to the gradients: of own parameters (1,H), and of matrices (H,H)."""
        known = collections.OrderedDict((tt.tensor_copy(v), v.type()) for v in self._outputs)
        gradients = theano.grad(None, self._inputs, known_grads=known, disconnected_inputs='ignore')
        gradients = [gradient.dimshuffle('x', 0) if gradient.ndim == 1 else gradient for gradient in gradients]
        return self._function([*self._inputs, *known.values()], [], gradients)

    def forward(self, x, y):
        for array, value in zip(y, [*self.step(*x), *x[:self.kept]]):
            array[...] = value

    def backward(self, x, y):
        n, S = self.kept + self.counts.S, self.counts.S                # the states after the step are not needed
        for array, value in zip(y, self.gradient(*x[:n], *x[n + S:])):
            array[len(value):] = 0             # the gradients of cell_p, (1,H), are sums over all rows
            array[:len(value)] = value


class Arrays:
    """Stands in for a Library, in NumPy. cell: a ProgramStep or TheanoStep."""

    def __init__(self, dtype, cell):
        self.dtype, self.counts, self.cell = dtype, cell.counts, cell

    def call(self, name, *arguments):
        """Return a function that calls the method of a name with arguments, as Library.call does."""
        return functools.partial(getattr(self, name), *arguments)

    @staticmethod
    def product(a, b, out):
        """Return a function that fills out (M,N) with the product of a and b."""
        return blas_threads(out.size * len(b))(lambda: np.dot(a, b, out))

    @staticmethod
    def all_below(V, N, index):
        return not N or 0 <= index.min() <= index.max() < V

    @staticmethod
    def sums_of_squares(count, N, arrays, sums):
        for x, total in zip(arrays, sums):
            np.dot(x.ravel(), x.ravel(), total)

    @staticmethod
    def take_columns(N, V, D, U, index, out):
        if N > V:
            np.take(np.ascontiguousarray(U.T), index, axis=0, out=out, mode='clip')        # otherwise, out is buffered
        else:
            out[...] = U[:, index].T

    @staticmethod
    def add_columns(N, V, D, index, d, dU):
        order = index.argsort(kind='stable')
        starts = np.flatnonzero(np.diff(index[order], prepend=-1))
        dU[...] = 0
        dU[:, index[order[starts]]] = np.add.reduceat(d[order], starts, axis=0).T

    def lstm_forward(self, T, B, H, a_x, W, b, h0, C0, cell_p, h, C, kept, h_end, C_end):
        counts = self.cell.counts
        W = np.ascontiguousarray(W.transpose(0, 2, 1)) if T > 1 else W.transpose(0, 2, 1)
        b, a_x = b[:, None], a_x.reshape(T, B, counts.U, H).transpose(0, 2, 1, 3)
        h_prev, before, states = h0, self._states(C0), self._states(C)
        a, kept = np.empty((counts.b, B, H), h.dtype), kept.reshape(T, counts.b, B, H)[:, :self.cell.kept]
        of_U, of_W = a[:counts.U], a[counts.b - counts.W:]
        with np.errstate(all='ignore'):
            for t in range(T):
                a[:counts.b - counts.W] = 0
                np.matmul(h_prev, W, of_W)
                np.add(a, b, a)
                np.add(of_U, a_x[t], of_U)
                self.cell.forward([*a, *before, *cell_p], [h[t], *states[t], *kept[t]])
                h_prev, before = h[t], states[t]
        h_end[...], C_end[...] = h_prev, C[-1] if T else C0

    def _states(self, C):
        """Return C (...,B,SH) as (...,S,B,H)."""
        S = self.cell.counts.S
        return C.reshape(*C.shape[:-1], S, C.shape[-1] // S).swapaxes(-3, -2)

    def lstm_backward(self, T, B, H, truncate, dh, W, h, C, kept, h0, C0, cell_p, da, dW, db, dC0, d_cell_p):
        counts = self.cell.counts
        first = 0 if truncate < 0 or truncate > T else T - truncate
        dh_next, dC = np.zeros_like(h0), np.zeros_like(C0)
        of_h, d, d_before = np.empty((B, H), h.dtype), np.empty((counts.b, B, H), h.dtype), np.empty_like(C0)
        kept = kept.reshape(T, counts.b, B, H)[:, :self.cell.kept]
        d_cell_p_now = [np.empty((H if total.ndim == 2 else B, H), h.dtype) for total in d_cell_p]
        of_W, before, states = slice((counts.b - counts.W) * H, None), self._states(C0), self._states(C)
        for total in d_cell_p:
            total[...] = 0
        with np.errstate(all='ignore'):
            for t in reversed(range(first, T)):
                np.add(dh[t], dh_next, of_h)
                self.cell.backward([*kept[t], *(states[t - 1] if t else before), *states[t], *cell_p, of_h,
                                    *self._states(dC)], [*d, *self._states(d_before), *d_cell_p_now])
                da[t].reshape(B, counts.b, H)[...] = d.transpose(1, 0, 2)
                for total, now in zip(d_cell_p, d_cell_p_now):
                    total += now if total.ndim == 2 else now.sum(axis=0)
                np.dot(da[t, :, of_W], W.reshape(-1, H), dh_next)
                dC, d_before = d_before, dC
        da[:first] = 0
        rows = da.reshape(T * B, -1)
        db.reshape(-1)[...] = np.ones(T * B, h.dtype).dot(rows)
        rows = rows[:, of_W]
        with blas_threads(rows.size * H):
            dW.reshape(-1, H)[...] = rows[B:].T.dot(h[:-1].reshape(-1, H)) + (rows[:B].T.dot(h0) if T else 0)
        dC0[...] = 0 if first else dC

    @staticmethod
    def cross_entropy(N, V, scores, bias, y, cost, best, p, spread):
        np.add(scores, bias, p)
        best[...] = p.argmax(axis=1)
        p -= p.max(axis=1, keepdims=True)
        cost[...], spread[...] = p[np.arange(N), y], p.mean(axis=1)
        np.exp(p, p)
        sums = p.sum(axis=1)
        np.subtract(np.log(sums), cost, cost)
        np.subtract(np.log(sums), spread, spread)
        p /= sums[:, None]

    @staticmethod
    def cross_entropy_gradient(N, V, dcost, dspread, p, y, dscores, dbias):
        np.multiply(p, (dcost + dspread)[:, None], dscores)
        dscores -= dspread[:, None] / V
        dscores[np.arange(N), y] -= dcost
        dbias[...] = np.ones(N, p.dtype).dot(dscores)
