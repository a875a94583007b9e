"""The network as other parts of the program compute it, to find out whether charlstm.network is still the same."""
import numpy as np

from engine.backend.theano_setup import theano, tt
from engine.kernel.ops import SoftmaxCrossEntropy
from engine.model.parameters import own_of_layer, stacked


def _two_layers(x, states, p, ops):
    """Return the probabilities (T*B,V) and the states after x (T,B), from parameters p by name."""
    T, B = x.shape[0], x.shape[1]
    a1 = ops.columns(p['U1'], x.flatten())
    h1, _, after1 = ops.layer(a1.reshape((T, B, -1)), p['W1'], p['b1'], own_of_layer(p, 1), states[:2], -1)
    a2 = ops.product(h1.reshape((-1, h1.shape[2])), stacked(p['U2']))
    h2, _, after2 = ops.layer(a2.reshape((T, B, -1)), p['W2'], p['b2'], own_of_layer(p, 2), states[2:], -1)
    scores = ops.product(h2.reshape((-1, h2.shape[2])), p['V'].T)
    _, _, probabilities, _ = ops.cross_entropy(scores, p['c'], x)
    return [probabilities, *after1, *after2]


def is_as_in_c(network, p, ops):
    """Return whether a network, charlstm.network as it is now, has the graph that sampling.c and network.js compute."""
    x, states = tt.imatrix('x'), tt.matrices('h1', 'C1', 'h2', 'C2')
    found = network(x, x, states, p, ops)
    return theano.scan_module.scan_utils.equal_computations([found.probabilities] + found.after,
                                                            _two_layers(x, states, p, ops))


def log_probabilities(found):
    """Return the logarithms (T*B,V) of the probabilities of Outputs.

    Of a softmax they come from its scores, so that they are finite also where the probability is 0 in float32. Where
    network was edited to make probabilities in another way, the smallest of their type stands for smaller ones.
    """
    made, scans = found.probabilities.owner, tt.nnet.crossentropy_softmax_argmax_1hot_with_bias
    if made is not None and isinstance(made.op, (SoftmaxCrossEntropy, type(scans))):
        scores, bias = made.inputs[:2]
        return tt.nnet.logsoftmax(scores + bias)
    return tt.log(tt.maximum(found.probabilities, np.finfo(found.probabilities.dtype).tiny))


def costs_follow(found, y):
    """Return whether the costs of Outputs that network returned are -log p[y], by their graph."""
    softmax = found.probabilities.owner        # its first output are the costs, in C and in Theano's own operation
    return softmax is not None and theano.scan_module.scan_utils.equal_computations(
        [found.costs], [softmax.outputs[0].reshape(y.shape)])
