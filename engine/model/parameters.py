"""The parameters of a model, its eight and its cell's own, and its vocabulary, as arrays of a checkpoint."""
import sys

import numpy as np

from engine.model import checks
from engine.model.checkpoint import METADATA, opened
from engine.model.text import vocabulary

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


def units(shapes):
    """Return H1 and H2, from the shapes of parameters by name."""
    return shapes['W1'][-1], shapes['W2'][-1]


def carry_over(old, old_uchar, new, new_uchar):
    """Replace values of new, the parameters of a model for new_uchar, by those of a model for old_uchar."""
    number = {ch: k for k, ch in enumerate(old_uchar)}
    known = [k for k, ch in enumerate(new_uchar) if ch in number]
    same = [number[new_uchar[k]] for k in known]                       # their numbers in old_uchar
    new['U1'][:, :, known] = old['U1'][:, :, same]
    new['V'][known], new['c'][known] = old['V'][same], old['c'][same]
    new.update({name: old[name] for name in new if name in old and name not in ('U1', 'V', 'c')})


# ---------------------------------------------------------------- reading a checkpoint

def _vocabulary(stored, encoding):
    """Return the characters of an open checkpoint, (V,).

    The original stored bytes ('S1') of a text in that encoding: those that are no characters by themselves are read as
    latin-1. NumPy strips a NUL from a string, so that an empty one can only have been a NUL.
    """
    with stored.refusing('its uchar is no list of distinct characters'):
        array = np.ravel(stored['uchar'])[:sys.maxunicode + 2]         # more cannot be distinct
        if array.dtype.kind == 'S':
            try:
                array = np.char.decode(array, encoding)
            except UnicodeError:
                array = np.char.decode(array, 'latin-1')
        strings = [string or '\0' for string in array.tolist()]
        if not len(set(strings)) == len(''.join(strings)) == len(array):
            raise ValueError
        return vocabulary(strings)


def cell_of(stored):
    """Return the cell of an open checkpoint, a dict: formula, '' for the standard cell, and names of parameters."""
    return stored.metadata.get('cell', METADATA['cell'])


def read_parameters(path, dtype, encoding='utf-8'):
    """Read the parameters of a checkpoint, name to array of that dtype; uchar (V,); and the formula of the cell.

    path: or an open checkpoint. encoding: of the text, if the vocabulary is one of bytes, as in the original. Raises
    OSError if the file cannot be read, and ValueError if it is no checkpoint.
    """
    encoding = checks.encoding('encoding', encoding)
    with opened(path) as stored:
        own, formula = cell_of(stored)['parameters'], cell_of(stored)['formula']
        p = {name: read_finite(stored, name, dtype) for name in (*NAMES, *own_names(own))}
        uchar = _vocabulary(stored, encoding)
        H1, H2 = [(*p[name].shape, 0, 0)[1] for name in ('b1', 'b2')]
        for name, shape in parameter_shapes(len(uchar), H1, H2, own).items():
            if p[name].shape != shape or 0 in shape:
                raise stored.refusal(f'{name} has shape {p[name].shape}; expected {shape}, by uchar and other arrays')
        return p, uchar, formula


def read_shapes(path, encoding='utf-8'):
    """Return the shapes of the parameters of a checkpoint by name, and uchar (V,). All as for read_parameters."""
    p, uchar, _ = read_parameters(path, 'float32', encoding)
    return {name: array.shape for name, array in p.items()}, uchar


def read_finite(stored, name, dtype):
    """Read an array of an open checkpoint in that type. Raises ValueError for values that are no finite numbers."""
    array = stored[name]
    if array.dtype.kind == 'f':
        with np.errstate(over='ignore'):                               # what does not fit becomes infinite
            array = array.astype(dtype)
        if np.isfinite(array).all():
            return array
    raise stored.refusal(f'{name} has values that are no finite {dtype} numbers')


def read_about(path):
    """Read the metadata of a checkpoint, a dict with the keys of METADATA in checkpoint.py; empty if it has none.

    Raises OSError if the file cannot be read, and ValueError if it is no npz file or its metadata is damaged.
    """
    with opened(path) as stored:
        return stored.metadata
