"""What a run resumes from besides its parameters: the optimiser's state, the weights, and states of the network."""
from typing import NamedTuple

import numpy as np

from engine.model.checkpoint import opened
from engine.model.parameters import read_finite, read_shapes, units

STATES = ('h1', 'C1', 'h2', 'C2')
MEAN_SQUARES = 'mean_squares'          # the state of RMSprop, by which score_text can adapt


# ---------------------------------------------------------------- the state of an optimiser, a dict

def map_state(function, state):
    """Return a state with a function applied to each of its arrays, or symbols. Raises ValueError for no dict."""
    if not isinstance(state, dict):
        raise ValueError(f'optimiser_state returned {state!r}: expected a dict, by name')
    return {name: list(map(function, value)) if isinstance(value, (list, tuple)) else function(value)
            for name, value in state.items()}


def shown(state):
    """Return the names in a state, as a message shows them."""
    return ', '.join(sorted(state)) or 'of no names'


def named_state(state, parameters):
    """Return the arrays or symbols of a state by their names in a checkpoint.

    parameters: their names. Raises ValueError where a list has not one item for each, or a name cannot be stored.
    """
    named = {}
    for name, value in state.items():
        if not (isinstance(name, str) and name.isidentifier()):
            raise ValueError(f"the optimiser's state has the name {name!r}: expected letters and digits")
        prefix = 'm' if name == MEAN_SQUARES else f'state_{name}'
        if not isinstance(value, (list, tuple)):
            named[prefix] = value
        elif len(value) == len(parameters):
            named.update({f'{prefix}_{parameter}': item for parameter, item in zip(parameters, value)})
        else:
            raise ValueError(f"the list {name} of the optimiser's state has {len(value)} items: expected "
                             f'{len(parameters)}, one for each parameter')
    return named


def checked_step(result, parameters, state):
    """Return the steps that an optimiser returned, and pairs of a shared variable of its state and its new value.

    result: what it returned, steps, a list of symbols, and the new state. parameters: a list of shared variables.
    Raises ValueError where that is something else, a wrong number of steps, another state than the optimiser got, or a
    symbol of another type.
    """
    if not (isinstance(result, (tuple, list)) and len(result) == 2 and isinstance(result[1], dict)):
        raise ValueError(f'the optimiser returned {type(result).__name__}: expected two things, a list of steps and '
                         'the new state, a dict')
    steps, new_state = list(result[0]), result[1]
    numbers = range(len(parameters))
    before, after = named_state(state, numbers), named_state(new_state, numbers)
    if len(steps) != len(parameters) or set(before) != set(after):
        raise ValueError(f'the optimiser returned {len(steps)} steps and the state {shown(new_state)}: expected '
                         f'{len(parameters)} steps and the state {shown(state)}')
    updates = [(variable, after[name]) for name, variable in before.items()]
    for variable, new in [*zip(parameters, steps), *updates]:
        if (getattr(new, 'dtype', None), getattr(new, 'ndim', None)) != (variable.dtype, variable.ndim):
            raise ValueError(f'the optimiser returned {getattr(new, "type", repr(new))} for {variable}: expected '
                             f'{variable.type}')
    return steps, updates


# ---------------------------------------------------------------- what a run resumes from

class RunState(NamedTuple):
    """What a run resumes from, as arrays.

    optimiser: its state, by the names of named_state. weights: what is trained, by name, where the
    parameters of the checkpoint are an average of it; {} where they are not. carried, validation:
    the states h1, C1, h2, C2 before the next batch of training and of validation, each (B,H), or None.
    """
    optimiser: dict
    weights: dict
    carried: list = None
    validation: list = None

    def arrays(self):
        """Return all arrays by their names in a checkpoint."""
        named = dict(self.optimiser)
        named.update({'weights_' + name: weights for name, weights in self.weights.items()})
        for prefix, states in (('carried_', self.carried), ('validation_', self.validation)):
            named.update({prefix + name: state for name, state in zip(STATES, states or [])})
        return named


def _read(stored, prefix, shapes, dtype):
    """Return arrays by name: {} where the checkpoint has none of them, None where some lack or have other shapes."""
    found = {name: read_finite(stored, prefix + name, dtype) for name in shapes if prefix + name in stored}
    return found if not found or {name: array.shape for name, array in found.items()} == shapes else None


def read_run(stored, parameters, optimiser_state):
    """Read what a run resumes from. Returns a RunState, in the type of the parameters, and the metadata.

    stored: an open checkpoint. parameters: its parameters by name. optimiser_state: as in CharLSTM. The metadata has
    the state of the generator. Raises ValueError where something is missing or wrong, or where the state is that of
    another optimiser.
    """
    def read(prefix, shapes):
        found = _read(stored, prefix, shapes, dtype)
        if found is None:
            raise no_run
        return found

    def read_states(prefix):
        B = (stored[prefix + 'h1'].shape + (0,))[0] if prefix + 'h1' in stored else 0          # () has no rows
        return list(read(prefix, dict(h1=(B, H1), C1=(B, H1), h2=(B, H2), C2=(B, H2))).values()) or None

    no_run = ValueError(f'{stored} holds no run that can be resumed; init starts a new one from its parameters')
    metadata, dtype = stored.metadata, parameters['c'].dtype
    shapes = {name: p.shape for name, p in parameters.items()}
    if not metadata or metadata['random'] is None:
        raise no_run
    state, theirs = optimiser_state(list(parameters.values())), metadata['optimiser']
    if theirs != sorted(state):
        raise ValueError(f'{stored} holds the state of another optimiser, {shown(theirs)}, than this model has, '
                         f'{shown(state)}: a run is resumed with its own; init starts a new one from its parameters')
    of_optimiser = {name: np.shape(value) for name, value in named_state(state, parameters).items()}
    H1, H2 = units(shapes)
    run = RunState(read('', of_optimiser), read('weights_', shapes), read_states('carried_'),
                   read_states('validation_'))
    if len(run.optimiser) < len(of_optimiser):
        raise no_run
    if any(name.startswith('m_') and m.min() < 0 for name, m in run.optimiser.items()):
        raise stored.refusal('it has averages of squares below zero')
    return run, metadata


def read_averages(path, dtype='float32'):
    """Return RMSprop's averages of squared gradients from a checkpoint, by the name of a parameter.

    {} where it has none: only zeros for a parameter are those of a model that RMSprop never trained, and what is
    below zero is no square. Raises OSError when the file cannot be read, ValueError when it is no checkpoint or an
    average is damaged.
    """
    with opened(path) as stored:
        averages = _read(stored, 'm_', read_shapes(stored)[0], dtype) or {}
    return averages if all(m.min() >= 0 and m.any() for m in averages.values()) else {}
