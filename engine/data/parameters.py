"""The parameters of a model, by name and shape, and the names of all arrays of a checkpoint."""
import re

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
