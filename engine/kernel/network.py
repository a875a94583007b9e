"""The network as other parts of the program compute it, to find out whether charlstm.network is still the same."""
from engine.backend.theano_setup import theano, tt
from engine.state.parameters import own_of_layer, stacked


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


def costs_follow(found, y):
    """Return whether the costs of Outputs that network returned are -log p[y], by their graph."""
    softmax = found.probabilities.owner        # its first output are the costs, in C and in Theano's own operation
    return softmax is not None and theano.scan_module.scan_utils.equal_computations(
        [found.costs], [softmax.outputs[0].reshape(y.shape)])
