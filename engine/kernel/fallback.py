"""Check whether C still computes an edited network, and write texts in NumPy if it does not."""
import numpy as np

from engine.backend.theano_setup import theano, tt
from engine.data.parameters import in_layers, layers_of, own_of_layer, stacked
from engine.kernel.ops import SoftmaxCrossEntropy

equal_computations = theano.scan_module.scan_utils.equal_computations


def is_as_in_c(network, p, ops):
    """Return whether a network, the current charlstm.network, has the graph that sampling.c and network.js compute."""
    x, before = tt.imatrix('x'), tt.matrices(in_layers('hC', layers_of(p)))
    outputs, a, h, states, after = network(x, x, before, p, ops), ops.columns(p['U1'], x.flatten()), None, [], []
    for k in range(1, len(before) // 2 + 1):
        if k > 1:
            a = ops.product(h.reshape((-1, h.shape[2])), stacked(p[f'U{k}']))
        h, C, last = ops.layer(a.reshape((x.shape[0], x.shape[1], -1)), p[f'W{k}'], p[f'b{k}'], own_of_layer(p, k),
                               before[2 * k - 2:2 * k], -1)
        states, after = [*states, h, C], [*after, *last]
    probabilities = ops.cross_entropy(ops.product(h.reshape((-1, h.shape[2])), p['V'].T), p['c'], x)[2]
    return equal_computations([outputs.probabilities, *outputs.states, *outputs.after],
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


# ---------------------------------------------------------------- writing in NumPy: characters (B,), texts (T,B)

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


def continue_texts(predict, prime, bits, n, choice, *states):
    """Return what ops.Sample computes: texts, int (m+n,B), and the states after all characters but the last.

    predict: a function from characters (T,B) and states to log probabilities (T*B,V) and new states. Others: as there.
    """
    temperature, top_k, top_p = choice
    texts, unread = [prime], prime
    for k in range(n):
        logs, *states = predict(unread, *states)
        logs = logs[-prime.shape[1]:]                                              # (B, V) after the last step
        if len(bits):
            with np.errstate(over='ignore'):               # to -inf, at low temperatures
                p = np.exp((logs - logs.max(axis=1, keepdims=True)) / temperature)
            unread = choose(likely(p, int(top_k), top_p), bits[k])[None]
        else:
            unread = logs.argmax(axis=1).astype(np.int32)[None]
        texts.append(unread)
    return [np.concatenate(texts), *states]
