"""What a run resumes from besides its parameters: RMSprop's averages, the weights, and states of the network."""
from typing import NamedTuple

from engine.state.checkpoint import opened
from engine.state.parameters import read_finite, read_shapes, units

STATES = ('h1', 'C1', 'h2', 'C2')


class RunState(NamedTuple):
    """What a run resumes from, as arrays.

    averages: RMSprop's, by a parameter's name. weights: what is trained, by name, where the
    parameters of the checkpoint are an average of it; {} where they are not. carried, validation:
    the states h1, C1, h2, C2 before the next batch of training and of validation, each (B,H), or None.
    """
    averages: dict
    weights: dict
    carried: list = None
    validation: list = None

    def arrays(self):
        """Return all arrays by their names in a checkpoint."""
        named = {'m_' + name: m for name, m in self.averages.items()}
        named.update({'raw_' + name: weights for name, weights in self.weights.items()})
        for prefix, states in (('carried_', self.carried), ('trial_', self.validation)):
            named.update({prefix + name: state for name, state in zip(STATES, states or [])})
        return named


def _read(stored, prefix, shapes, dtype):
    """Return arrays by name: {} where the checkpoint has none of them, None where some lack or have other shapes."""
    found = {name: stored.shape(prefix + name) for name in shapes if prefix + name in stored}
    if found and found != shapes:
        return None
    return {name: read_finite(stored, prefix + name, dtype) for name in found}


def read_run(stored, parameters):
    """Read what a run resumes from. Returns a RunState, in the type of the parameters, and the metadata.

    stored: an open checkpoint. parameters: its parameters by name. The metadata has 'random' and
    'progress' and, where there are weights, 'averaged'. Raises ValueError where something is missing or wrong.
    """
    def read(prefix, shapes):
        found = _read(stored, prefix, shapes, dtype)
        if found is None:
            raise no_run
        return found

    def read_states(prefix):
        B = (stored.shape(prefix + 'h1') + (0,))[0] if prefix + 'h1' in stored else 0          # () has no rows
        return list(read(prefix, dict(h1=(B, H1), C1=(B, H1), h2=(B, H2), C2=(B, H2))).values()) or None

    no_run = ValueError(f'{stored} holds no run that can be resumed; init starts a new one from its parameters')
    metadata, dtype = stored.metadata, parameters['c'].dtype
    shapes = {name: p.shape for name, p in parameters.items()}
    H1, H2 = units(shapes)
    run = RunState(read('m_', shapes), read('raw_', shapes), read_states('carried_'), read_states('trial_'))
    if not run.averages or not {'random', 'progress'} <= set(metadata) or run.weights and 'averaged' not in metadata:
        raise no_run
    if any(m.min() < 0 for m in run.averages.values()):
        raise stored.refusal('it has averages of squares below zero')
    return run, metadata


def read_averages(path, dtype='float32'):
    """Return RMSprop's averages of squared gradients from a checkpoint, by the name of a parameter.

    {} where it has none: only zeros for a parameter are those of a model that RMSprop never trained, and what is
    below zero is no square. Raises what read_shapes raises, and ValueError where an average is damaged.
    """
    with opened(path) as stored:
        averages = _read(stored, 'm_', read_shapes(stored)[0], dtype) or {}
    return averages if all(m.min() >= 0 and m.any() for m in averages.values()) else {}
