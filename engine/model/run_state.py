"""What a run resumes from besides its parameters: the optimiser's state, weights, and states of the network."""
import numpy as np

from engine.model.checkpoint import opened
from engine.model.parameters import read_finite, read_parameters, units

RATES = 0.1, 1e-4              # at which a model adapts to a text, without mean squares of RMSprop and with them


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


def read_run(path, optimiser_state, dtype):
    """Return the parameters, uchar, metadata and further arrays of a run's checkpoint.

    These are dicts by prefix: '' for the optimiser's state, 'weights_', and 'carried_' and 'validation_' for states of
    the network; {} if there are none. Raises ValueError if something is missing or of another shape.
    """
    with opened(path) as stored:
        (p, uchar, _), metadata = read_parameters(stored, dtype), stored.metadata
        if not metadata or metadata['random'] is None:
            raise ValueError(f'{stored} holds no run that can be resumed; init starts a new run from it')
        state, arrays, weights = optimiser_state(list(p.values())), {}, {name: array.shape for name, array in p.items()}
        H1, H2 = [(H,) for H in units(weights)]
        states = dict(h1=H1, C1=H1, h2=H2, C2=H2)                                  # of any number of rows
        expected = {'': {name: np.shape(value) for name, value in named_state(state, p).items()},
                    'weights_': weights, 'carried_': states, 'validation_': states}
        for prefix, shapes in expected.items():
            arrays[prefix] = {name: read_finite(stored, prefix + name, dtype)
                              for name in shapes if prefix + name in stored}
            found = {name: array.shape[-len(shapes[name]):] for name, array in arrays[prefix].items()}
            if (found or not prefix) and found != shapes or metadata['optimiser'] != sorted(state):
                raise ValueError(f'{stored} lacks arrays of a run with this optimiser; init starts a new run from it')
    return p, uchar, metadata, arrays


def read_averages(path):
    """Return RMSprop's mean squares of gradients from a checkpoint, float32, by the name of a parameter.

    {} if it has none, or only zeros for a parameter: RMSprop never trained it. Raises OSError if the file cannot be
    read, and ValueError if it is no checkpoint.
    """
    with opened(path) as stored:
        p = read_parameters(stored, 'float32')[0]
        found = {name: read_finite(stored, f'm_{name}', 'float32') for name in p if f'm_{name}' in stored}
    shapes_differ = {name: m.shape for name, m in found.items()} != {name: array.shape for name, array in p.items()}
    return {} if shapes_differ or not all(m.min() >= 0 and m.any() for m in found.values()) else found


def how_to_adapt(checkpoint, rate=True):
    """Return what score_text needs to adapt to a text: a rate, and RMSprop's mean squares, {} if there are none.

    checkpoint: a path or an open one. rate: True for the default one.
    """
    averages = read_averages(checkpoint)
    return dict(adapt=RATES[bool(averages)] if rate is True else rate, averages=averages)
