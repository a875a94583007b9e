"""The network and the loop over time that C computes when it writes, and so do the page, exports and PyTorch.

A model's own, however it is written, may be computed so if its graph is the same.
"""
from engine.backend.theano_setup import theano, tt
from engine.data.parameters import stacked

equal_computations = theano.scan_module.scan_utils.equal_computations


def standard_network(x, y, states, p, ops):
    """Return what network of charlstm.py predicts: costs, probabilities, and the states after each layer."""
    h, after = x, []
    for k, before in enumerate(states, 1):
        if k == 1:
            a_x = ops.columns(p['U1'], h.flatten())
        else:
            a_x = ops.product(h.reshape((-1, h.shape[2])), stacked(p[f'U{k}']))
        a_x = a_x.reshape((h.shape[0], h.shape[1], -1))
        own = [p[f'{name}{k}'] for name in ops.cell_parameters]
        h, _, last = ops.layer(a_x, p[f'W{k}'], p[f'b{k}'], own, before, -1)
        after += last
    costs, _, probabilities, _ = ops.cross_entropy(ops.product(h.reshape((-1, h.shape[2])), p['V'].T), p['c'], y)
    return [costs, probabilities, *after]


def standard_layer(a_x, W, b, cell_parameters, before, truncate, cell, scan):
    """Return what layer of charlstm.py computes: h and C after each step, and after the last."""
    def step(a_x, h_prev, C_prev, W, b, *cell_parameters):
        h, *C = cell([*cell.pre_activations(a_x, tt.dot(h_prev, W), b), *cell.split(C_prev), *cell_parameters])
        return h, tt.concatenate(C, axis=1)

    own = [v if v.ndim == 2 else v[None, :] for v in cell_parameters]
    (h, C), _ = scan(step, sequences=a_x, outputs_info=[*before], truncate_gradient=truncate,
                     non_sequences=[stacked(W), b, *own])
    return h, C, (h[-1], C[-1])


def two_steps(step, sequences, outputs_info, truncate_gradient, non_sequences):
    """Return what theano.scan does for a text of two steps, without a loop, which takes long to build."""
    first = step(sequences[0], *outputs_info, *non_sequences)
    if truncate_gradient == 1:
        first = [theano.gradient.disconnected_grad(v) for v in first]
    second = step(sequences[1], *first, *non_sequences)
    return [tt.stack(pair) for pair in zip(first, second)], {}


def is_standard_layer(layer, cell):
    """Return whether a function computes what layer of charlstm.py does, by their graphs. cell: the Cell it calls."""
    tensor3, matrix = [tt.TensorType(cell.dtype, n * [False]) for n in (3, 2)]
    own = [tt.TensorType(cell.dtype, (2 if name.startswith('M_') else 1) * [False])() for name in cell.parameters]
    a_x, W, b, before = tensor3(), tensor3(), matrix(), (matrix(), matrix())
    found = [each(a_x, W, b, own, before, 1, cell, two_steps) for each in (layer, standard_layer)]
    return equal_computations(*[[h, C, *after] for h, C, after in found])
