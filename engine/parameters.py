"""The eight parameters of a model and its vocabulary, as arrays of a checkpoint."""
import numpy as np

from engine.checkpoint import opened
from engine.text import vocabulary

NAMES = ('U1', 'W1', 'b1', 'U2', 'W2', 'b2', 'V', 'c')       # the parameters, in the order of all lists of them


def parameter_shapes(V, H1, H2):
    """Name to shape of the eight parameters; the leading 4 are the gates f, i, o, g."""
    return dict(U1=(4, H1, V), W1=(4, H1, H1), b1=(4, H1),
                U2=(4, H2, H1), W2=(4, H2, H2), b2=(4, H2),
                V=(V, H2), c=(V,))


def parameter_count(V, H1, H2):
    """How many numbers the eight parameters have together."""
    return sum(int(np.prod(shape)) for shape in parameter_shapes(V, H1, H2).values())


def units(parameters):
    """H1 and H2 of parameters by name."""
    return parameters['W1'].shape[-1], parameters['W2'].shape[-1]


def _stored_vocabulary(array):
    """The characters of a stored uchar, or None where it is none.

    The original of this program stored bytes ('S1'). NumPy strips a NUL from
    a string, so that an empty one can only have been a NUL.
    """
    if array.ndim != 1 or array.dtype.kind not in 'SU':
        return None
    strings = [s.decode('latin-1') if array.dtype.kind == 'S' else s for s in array.tolist()]
    strings = [s or '\0' for s in strings]
    distinct_characters = all(len(s) == 1 for s in strings) and len(set(strings)) == len(strings)
    return vocabulary(strings) if distinct_characters else None


def read_parameters(path, dtype):
    """Parameters (name to array of that dtype) and uchar (V,) of a checkpoint, a path or an open one, checked.

    Raises OSError when the file cannot be read, ValueError when it is no checkpoint.
    """
    with opened(path) as stored:
        arrays = {name: stored[name] for name in NAMES}
        uchar = _stored_vocabulary(stored['uchar'])
        if uchar is None:
            raise stored.refusal('its uchar is no list of distinct characters')
        if arrays['U1'].ndim != 3 or arrays['U2'].ndim != 3:
            raise stored.refusal('its U1 or U2 has not three dimensions')
        shapes = parameter_shapes(len(uchar), arrays['U1'].shape[1], arrays['U2'].shape[1])
        for name, shape in shapes.items():
            if 0 in shape:
                raise stored.refusal(f'it has no units or no characters, as {name} of shape {shape} says')
        for name, array in arrays.items():
            if array.shape != shapes[name]:
                raise stored.refusal(f'{name} has shape {array.shape} where uchar and the other arrays ask for '
                                     f'{shapes[name]}')
            with np.errstate(over='ignore', invalid='ignore'):     # what does not fit becomes infinite
                arrays[name] = array.astype(dtype) if array.dtype.kind == 'f' else np.full((), np.nan)
            if not np.isfinite(arrays[name]).all():
                raise stored.refusal(f'{name} has values that are no finite {dtype} numbers')
        return arrays, uchar


def read_about(path):
    """What a checkpoint says of itself, as a dict; empty for one that says nothing.

    Keys: 'lp'; 'random', the state of the generator; 'text', with path,
    characters, sha256, encoding, ratio_valid, batch_size, seq_length, stateful;
    'versions'; and 'progress', what save_params was given.
    """
    with opened(path) as stored:
        return stored.about


# ---------------------------------------------------------------- what a run goes on from

CARRIED = ('carried_h1', 'carried_C1', 'carried_h2', 'carried_C2')      # a checkpoint's names for the states


def run_arrays(averages, raw, carried):
    """What a run goes on from as arrays by a checkpoint's names.

    averages, raw: by a parameter's name, as read_run says; carried: four arrays, or None.
    """
    return dict({'m_' + name: m for name, m in averages.items()}, **{'raw_' + name: p for name, p in raw.items()},
                **dict(zip(CARRIED, carried or [])))


def read_run(stored, parameters):
    """What an open checkpoint has for its run to go on, beside its parameters, in their type.

    Returns RMSprop's averages by name; the parameters that were trained by name, {} where
    those are the checkpoint's own and no average of them; the carried states, four
    arrays (B,H) or None; and what it says of itself, with 'random' and 'progress'.
    Raises ValueError where something lacks.
    """
    about, dtype = stored.about, parameters['c'].dtype
    averages, raw = [{name: stored[prefix + name] for name in NAMES if prefix + name in stored}
                     for prefix in ('m_', 'raw_')]
    carried = [stored[name] for name in CARRIED if name in stored] or None
    try:
        np.random.default_rng().bit_generator.state = about['random']            # raises where it is none
        about['progress']
        averages = {name: averages[name].astype(dtype) for name in NAMES}
        raw = raw and {name: raw[name].astype(dtype) for name in NAMES}
        carried = carried and [array.astype(dtype) for array in carried]
        if any(arrays[name].shape != p.shape or not np.isfinite(arrays[name]).all()
               for arrays in (averages, raw or averages) for name, p in parameters.items()):
            raise ValueError
        if raw and not about['averaged'] >= 0:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise ValueError(f'{stored} holds no run that can be resumed; init starts a new one from its '
                         'parameters') from None
    return averages, raw, carried, about


def carry_over(old, old_uchar, new, new_uchar):
    """Parameters by name for new_uchar: the old ones, with the new ones' values for characters not in old_uchar.

    The arrays of new are written to.
    """
    number = {ch: k for k, ch in enumerate(old_uchar)}
    here = [k for k, ch in enumerate(new_uchar) if ch in number]
    there = [number[new_uchar[k]] for k in here]
    new['U1'][:, :, here] = old['U1'][:, :, there]
    new['V'][here], new['c'][here] = old['V'][there], old['c'][there]
    return dict(old, U1=new['U1'], V=new['V'], c=new['c'])
