"""The eight parameters of a model, its cell's own, and its vocabulary, as arrays of a checkpoint."""
from typing import NamedTuple

import numpy as np

from engine.state.checkpoint import opened
from engine.state.text import codec, vocabulary

NAMES = ('U1', 'W1', 'b1', 'U2', 'W2', 'b2', 'V', 'c')       # of all models; those of a cell follow in all lists

UTF8_BYTES = frozenset(range(0x80, 0xC0)) | frozenset(range(0xC2, 0xF5))     # that go on, or begin, a character


def parameter_shapes(V, H1, H2):
    """Name to shape of the eight parameters; the leading 4 are the gates f, i, o, g."""
    return dict(U1=(4, H1, V), W1=(4, H1, H1), b1=(4, H1),
                U2=(4, H2, H1), W2=(4, H2, H2), b2=(4, H2),
                V=(V, H2), c=(V,))


def parameter_count(V, H1, H2):
    """How many numbers the eight parameters have together."""
    return sum(int(np.prod(shape)) for shape in parameter_shapes(V, H1, H2).values())


def own_names(names):
    """The names of the parameters that a cell has of its own, each with the number of its layer."""
    return [name + layer for layer in '12' for name in names]


def own_of_layer(p, layer):
    """The cell's own parameters of layer 1 or 2, from all by name: p_f1 and p_o1, say."""
    return [value for name, value in p.items() if name not in NAMES and name.endswith(str(layer))]


def stacked(U):
    """The weights U (4,H,n), an array or a symbol, of the four gates side by side for one product: (n,4H)."""
    return U.reshape((-1, U.shape[2])).T


def units(parameters):
    """H1 and H2 of parameters by name."""
    return parameters['W1'].shape[-1], parameters['W2'].shape[-1]


def _characters(strings, encoding):
    """The characters that bytes, each alone in a string of them, stand for.

    Where they are parts of characters, as of UTF-8, they stand for themselves, as the
    surrogates by which Python escapes them (PEP 383). Those that cannot be of UTF-8 are of latin-1.
    """
    if codec(encoding).name == 'utf-8':
        high = {s[0] for s in strings if s[0] > 127}
        utf8 = high <= UTF8_BYTES and {byte < 0xC0 for byte in high} == {True, False}     # some begin, some go on
        return [s.decode('ascii', 'surrogateescape') if utf8 else s.decode('latin-1') for s in strings]
    try:
        return [s.decode(encoding) for s in strings]
    except UnicodeError:
        return [s.decode('ascii', 'surrogateescape') for s in strings]


def _stored_vocabulary(array, encoding='utf-8'):
    """The characters of a stored uchar, or None where it is none.

    The original of this program stored bytes ('S1'), of a text in that encoding. NumPy
    strips a NUL from a string, so that an empty one can only have been a NUL.
    """
    if array.ndim != 1 or array.dtype.kind not in 'SU':
        return None
    nul = '\0' if array.dtype.kind == 'U' else b'\0'
    try:
        strings = [s or nul for s in array.tolist()]
    except (SystemError, ValueError):          # numbers that no character has
        return None
    if array.dtype.kind == 'S':
        strings = _characters(strings, encoding)
    distinct_characters = all(len(s) == 1 for s in strings) and len(set(strings)) == len(strings)
    return vocabulary(strings) if distinct_characters else None


def are_bytes(uchar):
    """Whether a vocabulary is of bytes, those above 127 escaped as _stored_vocabulary says."""
    return any(ch > '\x7f' for ch in uchar) and all(ch <= '\x7f' or '\udc80' <= ch <= '\udcff' for ch in uchar)


def to_store(uchar):
    """The array of a vocabulary that _stored_vocabulary reads."""
    return np.array([ch.encode('ascii', 'surrogateescape') for ch in uchar] if are_bytes(uchar) else list(uchar))


def read_parameters(path, dtype, encoding='utf-8'):
    """Parameters (name to array of that dtype) and uchar (V,) of a checkpoint, a path or an open one, checked.

    encoding: of the text, where the vocabulary is one of bytes, as the original of this program
    stored it. The parameters of its cell follow the eight. Raises OSError when the file cannot be
    read, ValueError when it is no checkpoint.
    """
    with opened(path) as stored:
        own = own_names(cell_of(stored)['parameters'])
        found = {name: stored.shape(name) for name in (*NAMES, *own)}      # before anything large is read
        uchar = _stored_vocabulary(stored['uchar'], encoding)
        if uchar is None:
            raise stored.refusal('its uchar is no list of distinct characters')
        if len(found['U1']) != 3 or len(found['U2']) != 3:
            raise stored.refusal('its U1 or U2 has not three dimensions')
        shapes = parameter_shapes(len(uchar), found['U1'][1], found['U2'][1])
        shapes.update({name: shapes['b' + name[-1]][1:] for name in own})
        for name, shape in shapes.items():
            if 0 in shape:
                raise stored.refusal(f'it has no units or no characters, as {name} of shape {shape} says')
        for name, shape in found.items():
            if shape != shapes[name]:
                raise stored.refusal(f'{name} has shape {shape} where uchar and the other arrays ask for '
                                     f'{shapes[name]}')
        return {name: _numbers(stored, name, dtype) for name in shapes}, uchar


def cell_of(stored):
    """The cell that an open checkpoint names, a dict: formula, '' for the standard cell, and names of parameters."""
    return stored.metadata.get('cell') or dict(formula='', parameters=[])


def _numbers(stored, name, dtype):
    """An array of an open checkpoint in that type. Raises ValueError where it has values that are no finite numbers."""
    array = stored[name]
    with np.errstate(over='ignore', invalid='ignore'):             # what does not fit becomes infinite
        array = array.astype(dtype) if array.dtype.kind == 'f' else np.full((), np.nan)
    if not np.isfinite(array).all():
        raise stored.refusal(f'{name} has values that are no finite {dtype} numbers')
    return array


def read_about(path):
    """What a checkpoint says of itself, as a dict; empty for one that says nothing.

    Keys: 'lp'; 'random', the state of the generator; 'text', with path,
    characters, sha256, encoding, ratio_valid, batch_size, seq_length, stateful;
    'versions'; and 'progress', what save_params was given.
    """
    with opened(path) as stored:
        return stored.metadata


# ---------------------------------------------------------------- what a run goes on from

STATES = ('h1', 'C1', 'h2', 'C2')


class RunState(NamedTuple):
    """What a run goes on from, beside the parameters themselves.

    averages: RMSprop's, by a parameter's name. weights: the parameters that are trained, by name,
    {} where those are the checkpoint's own and no average of them. carried, validation: the
    states h1, C1, h2, C2, each (B,H), that training and the next trial of a validation batch
    go on from, or None.
    """
    averages: dict
    weights: dict
    carried: list = None
    validation: list = None

    def arrays(self):
        """All of it as arrays by a checkpoint's names."""
        named = {'m_' + name: m for name, m in self.averages.items()}
        named.update({'raw_' + name: p for name, p in self.weights.items()})
        for kind, states in (('carried_', self.carried), ('trial_', self.validation)):
            named.update({kind + name: state for name, state in zip(STATES, states or [])})
        return named


def read_run(stored, parameters):
    """What an open checkpoint has for its run to go on: a RunState in the parameters' type, and its metadata.

    The metadata has 'random' and 'progress', and with raw 'averaged'. Raises ValueError where something lacks.
    """
    metadata, dtype = stored.metadata, parameters['c'].dtype
    H1, H2 = units(parameters)

    def group(prefix, shapes):
        found = {name: stored.shape(prefix + name) for name in shapes if prefix + name in stored}
        if found and found != shapes:
            raise lacking
        return {name: _numbers(stored, prefix + name, dtype) for name in found}

    def states(prefix):
        B = (stored.shape(prefix + 'h1') + (0,))[0] if prefix + 'h1' in stored else 0
        return list(group(prefix, dict(h1=(B, H1), C1=(B, H1), h2=(B, H2), C2=(B, H2))).values()) or None

    lacking = ValueError(f'{stored} holds no run that can be resumed; init starts a new one from its parameters')
    shapes = {name: p.shape for name, p in parameters.items()}
    run = RunState(group('m_', shapes), group('raw_', shapes), states('carried_'), states('trial_'))
    if not run.averages or not {'random', 'progress'} <= set(metadata) or run.weights and 'averaged' not in metadata:
        raise lacking
    if any(m.min() < 0 for m in run.averages.values()):
        raise stored.refusal('it has averages of squares below zero')
    return run, metadata


def carry_over(old, old_uchar, new, new_uchar):
    """Parameters by name for new_uchar: the old ones, with the new ones' values for characters not in old_uchar.

    The names are those of new, which may have other parameters of a cell. The arrays of new are written to.
    """
    number = {ch: k for k, ch in enumerate(old_uchar)}
    here = [k for k, ch in enumerate(new_uchar) if ch in number]
    there = [number[new_uchar[k]] for k in here]
    new['U1'][:, :, here] = old['U1'][:, :, there]
    new['V'][here], new['c'][here] = old['V'][there], old['c'][there]
    kept = {name: old[name] for name in new if name in old and name not in ('U1', 'V', 'c')}
    return dict(new, **kept)
