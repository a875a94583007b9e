"""The parameters of a model: names, shapes and initial values; and the names of all arrays of a checkpoint."""
import math
import re

import numpy as np

from engine import checks

PREFIXES = '(m|state|weights|carried|validation|stream)_'      # of a checkpoint's arrays that are no parameters
NOT_PARAMETERS = re.compile(PREFIXES + '|(about|uchar)$')


def parameter_shapes(V, units, rows=(4, 4, 4), cell_p=()):
    """Return the shapes of all parameters by name. units: of each layer, from the first on. rows: of b, U and W.

    cell_p: names of the cell's own parameters.
    """
    (b, U, W), shapes, below = rows, {}, V
    for k, H in enumerate(units, 1):
        shapes.update({f'U{k}': (U, H, below), f'W{k}': (W, H, H), f'b{k}': (b, H)})
        below = H
    return dict(shapes, V=(V, below), c=(V,), **{
        f'{name}{k}': cell_parameter_shape(name, H) for k, H in enumerate(units, 1) for name in cell_p})


NAMES = tuple(parameter_shapes(0, (0, 0)))                 # of two layers; a cell's own parameters follow


def is_matrix(name):
    """Return whether a cell's own parameter is a matrix (H,H), not a vector (H,)."""
    return name.startswith('M_')


def cell_parameter_shape(name, H):
    """Return the shape of a cell's own parameter."""
    return (H, H) if is_matrix(name) else (H,)


def in_layers(names, layers):
    """Return names with the number of each layer, those of the first layer first."""
    return [f'{name}{k}' for k in range(1, layers + 1) for name in names]


def recurrent(p):
    """Return the recurrent weights W1, W2 ... of parameters by name, those that there are."""
    return {name: p[name] for name in in_layers('W', layers_of(p)) if name in p}


def stacked(U):
    """Return weights U (rows,H,n), an array or a symbol, with all rows side by side as in C: (n,rows*H)."""
    return U.reshape((-1, U.shape[2])).T


def layers_of(p):
    """Return how many layers a model has. p: parameters by name."""
    return sum(name in p for name in in_layers('b', checks.MOST_LAYERS))


def units(p):
    """Return the units of each layer, from the first on. p: arrays of parameters by name."""
    return tuple((*p[name].shape, 0, 0)[1] for name in in_layers('b', layers_of(p)))


def map_state(function, state):
    """Apply a function to each array of a state, a dict of arrays or of lists with one array per parameter."""
    return {name: [function(item) for item in value] if isinstance(value, (list, tuple)) else function(value)
            for name, value in state.items()}


def named_state(state, parameters):
    """Return the arrays or symbols of a state by their names in a checkpoint. parameters: names of the parameters."""
    named = {}
    for name, value in state.items():
        prefix = 'm' if name == 'mean_squares' else f'state_{name}'
        if isinstance(value, (list, tuple)):
            named.update({f'{prefix}_{parameter}': item for parameter, item in zip(parameters, value, strict=True)})
        else:
            named[prefix] = value
    return named


def initial_parameters(V, units, cell, initial, random):
    """Return the parameters of a new model: arrays by name. A class may have others, but needs c, b1 ... for the sizes.

    initial 'original': weights are uniform in +-1/sqrt(inputs), biases 0, but 1 for the forget gates, so that a new
    model remembers: a forget gate at sigmoid(0) halves the cell state at every step (Jozefowicz et al. 2015).
    'chrono': uniform in +-1/sqrt(units of the layer, for V and c the last), but U1 in +-1, since its input is
    one-hot. A quarter of the units of each layer remember for 2 to 100 steps: their biases of f are log(steps - 1),
    those of i the negative of that (Tallec & Ollivier 2018).

    units: of each layer, from the first on. cell: a Cell. cell.remembers: signs by the index of a row, {0: 1, 1: -1},
    from CharLSTM.remembers: a unit remembers if the bias of row 0, f, is large, and that of row 1, i, very negative.
    random: NumPy's generator. Parameters that the cell declares may be left out.
    """
    shapes = parameter_shapes(V, units, cell.counts.rows)
    if initial == 'original':
        p = uniform(shapes, {name: shape[-1] for name, shape in shapes.items() if name[0] in 'UWV'}, random)
        for k in range(1, len(units) + 1):
            for row, sign in cell.remembers.items():
                p[f'b{k}'][row] = max(0, sign)             # 1 for f, and 0 for i
        return p
    sizes = {f'{name}{k}': H for k, H in enumerate(units, start=1) for name in 'UWb'}
    p = uniform(shapes, {**sizes, 'U1': 1, 'V': units[-1], 'c': units[-1]}, random)
    for k, H in enumerate(units, start=1):
        biases = np.log(random.uniform(1, 99, H // 4))     # log(steps - 1)
        for row, sign in cell.remembers.items():
            p[f'b{k}'][row, :H // 4] = sign * biases
    return p


def uniform(shapes, sizes, random):
    """Return arrays by name, uniform in +-1/sqrt(size); 0 for names without a size."""
    limits = {name: 1 / math.sqrt(sizes.get(name, math.inf)) for name in shapes}
    return {name: random.uniform(-limits[name], limits[name], shape) for name, shape in shapes.items()}
