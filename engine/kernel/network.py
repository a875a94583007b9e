"""The network as other parts of the program compute it, to find out whether charlstm.network is still the same."""
import numpy as np

from engine.backend.theano_setup import theano, tt
from engine.kernel.ops import SoftmaxCrossEntropy
from engine.model.parameters import own_of_layer, stacked

equal_computations = theano.scan_module.scan_utils.equal_computations


def is_as_in_c(network, p, ops):
    """Return whether a network, charlstm.network as it is now, has the graph that sampling.c and network.js compute."""
    x, (h1, C1, h2, C2) = tt.imatrix('x'), tt.matrices('h1', 'C1', 'h2', 'C2')
    found, (T, B) = network(x, x, [h1, C1, h2, C2], p, ops), (x.shape[0], x.shape[1])
    a1 = ops.columns(p['U1'], x.flatten())
    h1, _, after1 = ops.layer(a1.reshape((T, B, -1)), p['W1'], p['b1'], own_of_layer(p, 1), [h1, C1], -1)
    a2 = ops.product(h1.reshape((-1, h1.shape[2])), stacked(p['U2']))
    h2, _, after2 = ops.layer(a2.reshape((T, B, -1)), p['W2'], p['b2'], own_of_layer(p, 2), [h2, C2], -1)
    scores = ops.product(h2.reshape((-1, h2.shape[2])), p['V'].T)
    probabilities = ops.cross_entropy(scores, p['c'], x)[2]
    return equal_computations([found.probabilities, *found.after], [probabilities, *after1, *after2])


def log_probabilities(found):
    """Return the logarithms (T*B,V) of the probabilities of Outputs: from the scores, as probabilities become 0.

    Without scores, in an edited network, the smallest number of the type stands for smaller probabilities.
    """
    made = found.probabilities.owner
    if made is not None and isinstance(made.op, (SoftmaxCrossEntropy, tt.nnet.CrossentropySoftmaxArgmax1HotWithBias)):
        scores, bias = made.inputs[:2]
        return tt.nnet.logsoftmax(scores + bias)
    return tt.log(tt.maximum(found.probabilities, np.finfo(found.probabilities.dtype).tiny))


def costs_follow(found, y):
    """Return whether the costs of Outputs that network returned are -log p[y], by their graph."""
    softmax = found.probabilities.owner        # its first output are the costs, in C and in Theano's own operation
    return softmax is not None and equal_computations([found.costs], [softmax.outputs[0].reshape(y.shape)])
