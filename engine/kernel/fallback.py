"""Check whether C still computes an edited network, and write texts in NumPy if it does not."""
import itertools

import numpy as np

from engine import checks
from engine.backend.theano_setup import theano, tt
from engine.data.parameters import cell_parameters, layers_of, stacked
from engine.kernel.ops import SoftmaxCrossEntropy

equal_computations = theano.scan_module.scan_utils.equal_computations


def state_symbols(p):
    """Return symbols for the states of all layers: h and C of each, as network takes them. p: parameters by name."""
    return [tt.matrices(f'h{k}', f'C{k}') for k in range(1, 1 + layers_of(p))]


def flat(pairs):
    """Return the states of all layers in one list: h1, C1, h2, C2 and so on."""
    return list(itertools.chain(*pairs))


def is_as_in_c(network, p, ops):
    """Return whether a network, the current charlstm.network, has the graph that sampling.c and network.js compute."""
    x, before, up, states, after = tt.imatrix('x'), state_symbols(p), None, [], []
    for k, state in enumerate(before, 1):
        a = ops.columns(p['U1'], x.flatten()) if k == 1 else ops.product(up, stacked(p[f'U{k}']))
        h, C, last = ops.layer(a.reshape((x.shape[0], x.shape[1], -1)), p[f'W{k}'], p[f'b{k}'], cell_parameters(p, k),
                               state, -1)
        up, states, after = h.reshape((-1, h.shape[2])), [*states, h, C], [*after, *last]
    probabilities = ops.cross_entropy(ops.product(up, p['V'].T), p['c'], x)[2]
    outputs = network(x, x, before, p, ops)
    return equal_computations([outputs.probabilities, *flat(outputs.states), *flat(outputs.after)],
                              [probabilities, *states, *after])


def log_probabilities(outputs):
    """Return the log probabilities (T*B,V) of Outputs, from scores if possible, since probabilities may become 0."""
    node = outputs.probabilities.owner
    if node is not None and isinstance(node.op, (SoftmaxCrossEntropy, tt.nnet.CrossentropySoftmaxArgmax1HotWithBias)):
        scores, bias = node.inputs[:2]
        return tt.nnet.logsoftmax(scores + bias)
    return tt.log(tt.maximum(outputs.probabilities, np.finfo(outputs.probabilities.dtype).tiny))


def costs_follow(outputs, y):
    """Return whether, by their graph, the costs of a network's Outputs are -log p[y]."""
    softmax = outputs.probabilities.owner      # its first output is the costs, in C and in Theano's own operation
    return softmax is not None and equal_computations([outputs.costs], [softmax.outputs[0].reshape(y.shape)])


# ---------------------------------------------------------------- texts, step by step: characters (B,), texts (T,B)

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
    cumulative = np.cumsum(p, axis=1, dtype=np.float64)
    # The first above the draw: exactly by the distribution, and never a character of probability 0.
    return (cumulative > bits[:, None] * 2.0 ** -53 * cumulative[:, -1:]).argmax(axis=1).astype(np.int32)


class StepByStep:
    """Reads and writes texts as ops.Texts does, by a function that predicts.

    predict: from characters (T,B) and states to log probabilities (T*B,V) and new states. sizes: a function without
    arguments to the units of each layer, which set_value may change. S: how many states the cell has.
    """

    def __init__(self, predict, sizes, S):
        self._predict, self._sizes, self._S = predict, sizes, S

    def begin(self):
        """Do nothing: the function reads the parameters in each call."""

    def read(self, x, *states):
        """Return what Texts.read does."""
        logs, *after = self._predict(x, *checks.states(states, x.shape[1], self._sizes(), self._S))
        return logs.reshape(*x.shape, -1), after

    def write(self, prime, bits, n, choice, *states):
        """Return what Texts.write does."""
        temperature, top_k, top_p = choice
        texts, unread = [prime], prime
        for k in range(n):
            logs, *states = self._predict(unread, *states)
            logs = logs[-prime.shape[1]:]                                          # (B, V) after the last step
            if len(bits):
                with np.errstate(over='ignore'):           # to -inf, at low temperatures
                    p = np.exp((logs - logs.max(axis=1, keepdims=True)) / temperature)
                unread = choose(likely(p, int(top_k), top_p), bits[k])[None]
            else:
                unread = logs.argmax(axis=1).astype(np.int32)[None]
            texts.append(unread)
        return [np.concatenate(texts), *states]
