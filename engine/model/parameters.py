"""The parameters of a model, its eight and its cell's own, and the state of an optimiser, by name."""

NAMES = ('U1', 'W1', 'b1', 'U2', 'W2', 'b2', 'V', 'c')       # of all models; a cell's own come after them


def parameter_shapes(V, H1, H2, own=()):
    """Return the shapes of all parameters by name; the 4 are the gates f, i, o, g. own: names of a cell's own."""
    return dict(U1=(4, H1, V), W1=(4, H1, H1), b1=(4, H1), U2=(4, H2, H1), W2=(4, H2, H2), b2=(4, H2),
                V=(V, H2), c=(V,), **{name: (H1 if name.endswith('1') else H2,) for name in own_names(own)})


def own_names(names):
    """Return the names of a cell's own parameters, each with the number of its layer."""
    return [name + layer for layer in '12' for name in names]


def own_of_layer(p, layer):
    """Return the cell's own parameters of layer 1 or 2 from p, all parameters by name: p_f1 and p_o1, say."""
    return [value for name, value in p.items() if name not in NAMES and name.endswith(str(layer))]


def stacked(U):
    """Return weights U (4,H,n), an array or a symbol, as the C code has them, the four gates side by side: (n,4H)."""
    return U.reshape((-1, U.shape[2])).T               # charlstm.py has the same for its readers to edit


def units(p):
    """Return H1 and H2, from arrays of parameters by name."""
    return p['b1'].shape[1], p['b2'].shape[1]


def map_state(function, state):
    """Return a state, by name an array or a list with one for each parameter, with a function applied to each."""
    return {name: [function(item) for item in value] if isinstance(value, (list, tuple)) else function(value)
            for name, value in state.items()}


def named_state(state, parameters):
    """Return the arrays or symbols of a state by their names in a checkpoint. parameters: their names."""
    named = {}
    for name, value in state.items():
        prefix = 'm' if name == 'mean_squares' else f'state_{name}'
        if isinstance(value, (list, tuple)):
            named.update({f'{prefix}_{parameter}': item for parameter, item in zip(parameters, value, strict=True)})
        else:
            named[prefix] = value
    return named
