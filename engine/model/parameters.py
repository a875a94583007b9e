"""The parameters of a model, its eight and its cell's own, and its vocabulary, as arrays of a checkpoint."""
import math
import sys

import numpy as np

from engine.model.checkpoint import opened
from engine.model.text import codec, vocabulary

NAMES = ('U1', 'W1', 'b1', 'U2', 'W2', 'b2', 'V', 'c')       # of all models; a cell's own come after them

# Bytes that begin a character of UTF-8, after which others continue it.
UTF8_FIRST, UTF8_CONTINUED = frozenset(range(0xC2, 0xF5)), frozenset(range(0x80, 0xC0))


def parameter_shapes(V, H1, H2, own=()):
    """Return the shapes of all parameters by name; the leading 4 are the gates f, i, o, g. own: names of a cell's own.
    """
    return dict(U1=(4, H1, V), W1=(4, H1, H1), b1=(4, H1),
                U2=(4, H2, H1), W2=(4, H2, H2), b2=(4, H2),
                V=(V, H2), c=(V,), **{name: (H1 if name.endswith('1') else H2,) for name in own_names(own)})


def check_initial(p, V, H1, H2, own, dtype):
    """Return p, the parameters of a new model, arrays by name. own: the names of the cell's own.

    Raises ValueError where a name, a shape or a type is not as it should be.
    """
    shapes = parameter_shapes(V, H1, H2, own)
    if set(p) != set(shapes):
        raise ValueError(f'initial_parameters returned {", ".join(p)}: expected {", ".join(shapes)}; a parameter of '
                         "one's own is one of cell_parameters")
    for name, shape in shapes.items():
        if (p[name].shape, p[name].dtype) != (shape, dtype):
            raise ValueError(f'initial_parameters returned {p[name].dtype} {p[name].shape} for {name}: expected '
                             f'{dtype} {shape}')
    return p


def own_names(names):
    """Return the names of a cell's own parameters, each with the number of its layer."""
    return [name + layer for layer in '12' for name in names]


def own_of_layer(p, layer):
    """Return the cell's own parameters of layer 1 or 2 from p, all parameters by name: p_f1 and p_o1, say."""
    return [value for name, value in p.items() if name not in NAMES and name.endswith(str(layer))]


def stacked(U):
    """Return the weights U (4,H,n), an array or a symbol, with the four gates side by side: (n,4H).

    The C code is written for this order. charlstm.py has the same function for its readers to edit, which
    kernel/network.py would notice.
    """
    return U.reshape((-1, U.shape[2])).T


def units(shapes):
    """Return H1 and H2, from the shapes of parameters by name."""
    return shapes['W1'][-1], shapes['W2'][-1]


# ---------------------------------------------------------------- the vocabulary

def _characters(strings, encoding):
    """Return the characters that bytes stand for, each in a string of one byte.

    Bytes that are parts of characters, as of UTF-8, stand for themselves, as the surrogates by
    which Python escapes them (PEP 383). Bytes that cannot be of UTF-8 are read as latin-1.
    """
    if codec(encoding).name == 'utf-8':
        high = {s[0] for s in strings if s[0] > 127}
        utf8 = high <= UTF8_FIRST | UTF8_CONTINUED and high & UTF8_FIRST and high & UTF8_CONTINUED
        return [s.decode('ascii', 'surrogateescape') if utf8 else s.decode('latin-1') for s in strings]
    try:
        return [s.decode(encoding) for s in strings]
    except UnicodeError:
        return [s.decode('ascii', 'surrogateescape') for s in strings]


def _vocabulary(array, encoding):
    """Return the characters of a stored uchar, or None where it is no list of distinct characters.

    The original of this program stored bytes ('S1'), of a text in that encoding. NumPy
    strips a NUL from a string, so that an empty one can only have been a NUL.
    """
    codec(encoding)                    # raises ValueError for an unknown one, also where it is not used
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
    """Return whether a vocabulary is of bytes, those above 127 escaped as in _characters."""
    return any(ch > '\x7f' for ch in uchar) and all(ch <= '\x7f' or '\udc80' <= ch <= '\udcff' for ch in uchar)


def to_store(uchar):
    """Return the array of a vocabulary for a checkpoint."""
    return np.array([ch.encode('ascii', 'surrogateescape') for ch in uchar] if are_bytes(uchar) else list(uchar))


# ---------------------------------------------------------------- reading a checkpoint

def cell_of(stored):
    """Return the cell of an open checkpoint, a dict: formula, '' for the standard cell, and names of parameters."""
    return stored.metadata['cell'] if stored.metadata else dict(formula='', parameters=[])


def read_shapes(path, encoding='utf-8'):
    """Read and check the headers of the parameters of a checkpoint, a path or an open one.

    Returns their shapes by name, the cell's own after the eight, and uchar (V,). encoding: of the
    text, where the vocabulary is one of bytes, as the original of this program stored it. Raises
    OSError when the file cannot be read, ValueError when it is no checkpoint.
    """
    with opened(path) as stored:
        own = cell_of(stored)['parameters']
        found = {name: stored.shape(name) for name in (*NAMES, *own_names(own))}
        few = math.prod(stored.shape('uchar')) <= sys.maxunicode + 1       # not more than there are
        uchar = _vocabulary(stored['uchar'], encoding) if few else None
        if uchar is None:
            raise stored.refusal('its uchar is no list of distinct characters')
        if len(found['U1']) != 3 or len(found['U2']) != 3:
            raise stored.refusal('its U1 or U2 has not three dimensions')
        shapes = parameter_shapes(len(uchar), found['U1'][1], found['U2'][1], own)
        for name, shape in shapes.items():
            if 0 in shape:
                raise stored.refusal(f'it has no units or no characters: {name} would have shape {shape}')
            if found[name] != shape:
                raise stored.refusal(f'{name} has shape {found[name]}; expected {shape}, by uchar and the other arrays')
        return shapes, uchar


def read_parameters(path, dtype, encoding='utf-8'):
    """Read the parameters of a checkpoint, name to array of that dtype, and uchar (V,).

    path, encoding, and the errors raised: as for read_shapes; also ValueError for values that are no finite numbers.
    """
    with opened(path) as stored:
        shapes, uchar = read_shapes(stored, encoding)                      # before anything large is read
        return {name: read_finite(stored, name, dtype) for name in shapes}, uchar


def read_finite(stored, name, dtype):
    """Read an array of an open checkpoint in that type. Raises ValueError for values that are no finite numbers."""
    array = stored[name]
    with np.errstate(over='ignore', invalid='ignore'):             # what does not fit becomes infinite
        array = array.astype(dtype) if array.dtype.kind == 'f' else np.full((), np.nan)
    if not np.isfinite(array).all():
        raise stored.refusal(f'{name} has values that are no finite {dtype} numbers')
    return array


def read_about(path):
    """Read the metadata of a checkpoint, a dict; empty where it has none.

    Its keys are those of METADATA in engine/model/checkpoint.py. Among them are 'lp', the learning parameters, {}
    before model_setup; 'text', with path, characters, sha256 and how it was cut, {} without one; 'versions'; and
    'progress', as save_params got it. Raises OSError when the file cannot be read, and ValueError when it is no
    npz file or its metadata is damaged; the parameters are not read.
    """
    with opened(path) as stored:
        return stored.metadata


def carry_over(old, old_uchar, new, new_uchar):
    """Return parameters by name for new_uchar: the old ones, with the new ones' values for characters not in old_uchar.

    The names are those of new, which may have other parameters of a cell. The arrays of new are written to.
    """
    number = {ch: k for k, ch in enumerate(old_uchar)}
    known = [k for k, ch in enumerate(new_uchar) if ch in number]
    same = [number[new_uchar[k]] for k in known]                   # their numbers in old_uchar
    new['U1'][:, :, known] = old['U1'][:, :, same]
    new['V'][known], new['c'][known] = old['V'][same], old['c'][same]
    kept = {name: old[name] for name in new if name in old and name not in ('U1', 'V', 'c')}
    return dict(new, **kept)
