"""The parameters of a model, by name and shape, and the checkpoints that store them.

A checkpoint is an npz file of arrays and, in the entry `about`, metadata as JSON; it is read as untrusted input.
"""
import contextlib
import io
import json
import os
import re
import sys

import numpy as np

from engine import checks
from engine.files import named, write_whole
from engine.terminal import script

PREFIXES = '(m|state|weights|carried|validation|stream)_'      # of a checkpoint's arrays that are no parameters
NOT_PARAMETERS = re.compile(PREFIXES + '|(about|uchar)$')
FORMAT = 2                     # version of the metadata and of the names of the arrays
# A file is a decompression bomb if its arrays need more than ROOM bytes and more than RATIO times the size of the file:
# large arrays of real parameters never compress that well.
ROOM, RATIO = 1 << 26, 10

# Forms for fits(). The progress may be any dict; that of a run has options, and the bundled model's only what is shown.
SOURCE = dict(path=str, characters=int, sha256=str)
TEXT = dict(SOURCE, encoding=str, ratio_valid=float, batch_size=int, seq_length=int, stateful=bool,
            valid=(None, SOURCE), test=(None, SOURCE))
METADATA = dict(format=FORMAT, lp=({}, dict(lrate=float)), averaged_steps=int, validation_index=int,
                random=(None, dict), text=({}, TEXT), progress=(None, dict), cell=dict(formula=str, parameters=list),
                optimiser=list, precision=str, versions=dict,
                functions=(None, dict), predicts=(None, list), parameters=(None, list), **{'class': (None, str)})
SHOWN = dict(epoch=int, batch=int, rate=float, best_cost=(None, float), best_epoch=int)
RUN_OPTIONS = dict(run=str, cell=(None, str), units=list)
RUN = dict(SHOWN, cost_sum=float, characters=int, last_cost=float, rate_factor=float, stale=int,
           fewer_epochs=(None, int), id=str, logs=dict, valid_batch_cost=(None, float), options=RUN_OPTIONS)


def parameter_shapes(V, units, rows=(4, 4, 4), own=()):
    """Return the shapes of all parameters by name. units: of each layer, from the first on. rows: of b, U and W.

    own: names of the cell's own parameters.
    """
    (b, U, W), shapes, below = rows, {}, V
    for k, H in enumerate(units, 1):
        shapes.update({f'U{k}': (U, H, below), f'W{k}': (W, H, H), f'b{k}': (b, H)})
        below = H
    return dict(shapes, V=(V, below), c=(V,), **{
        f'{name}{k}': own_shape(name, H) for k, H in enumerate(units, 1) for name in own})


NAMES = tuple(parameter_shapes(0, (0, 0)))                 # of two layers; a cell's own parameters follow


def is_matrix(name):
    """Return whether a cell's own parameter is a matrix (H,H), not a vector (H,)."""
    return name.startswith('M_')


def own_shape(name, H):
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


# ---------------------------------------------------------------- checkpoints

def fits(value, form):
    """Return whether a value from JSON has a form: forms by name, a tuple of alternatives, a type, or a value.

    A name is missing if its value is None.
    """
    if isinstance(form, tuple):
        return any(fits(value, each) for each in form)
    if isinstance(form, dict) and form:
        return type(value) is dict and all(fits(value.get(name), form[name]) for name in form)
    if form in (int, float):                               # a whole number is a float, too; int: at least 0
        return type(value) in (int, form) and (0 if form is int else -1e99) <= value < 2 ** 63
    return value == form or type(value) is form


class Checkpoint(dict):
    """The arrays of an npz file, or of a .safetensors without metadata, by name. No code in the file can run.

    metadata: a dict of the form METADATA; {} if there is none, as in the original's files
    cell: the metadata's entry on the cell; without one, that for the standard cell
    sources: the texts of its run, dicts of the form SOURCE, by role: 'train', 'valid', 'test'
    """

    def __init__(self, path, names=None):
        """Read a file, or only the arrays in names. Raises OSError, or ValueError if it is not a checkpoint."""
        self._path = os.fsdecode(path)
        if self._path.lower().endswith('.safetensors'):
            from engine.data.tensors import read_tensors   # late: most users do not need its package
            self.update(read_tensors(self._path, self.refusal))
        else:
            with named('read', self._path), open(self._path, 'rb') as f:
                if f.read(2) != b'PK':
                    raise self.refusal(f'it is not an npz file; to train on a text: {script("train.py", self._path)}')
                with self.refusing('it is damaged, does not fit in memory, or holds Python objects'):
                    f.seek(0)
                    npz, size = np.load(f, allow_pickle=False), os.fstat(f.fileno()).st_size
                    if sum(member.file_size for member in npz.zip.infolist()) > max(ROOM, RATIO * size):
                        raise ValueError
                    self.update({name: np.asarray(npz[name]) for name in npz.files if name in (names or npz.files)})
        self.metadata = self._metadata() if 'about' in self else {}
        self.cell = self.metadata.get('cell', dict(formula='', parameters=[]))
        text = self.metadata.get('text', {})
        sources = dict(train=text, valid=text.get('valid'), test=text.get('test'))
        self.sources = {role: source for role, source in sources.items() if source}

    def __str__(self):
        return self._path

    def refusal(self, why):
        """Return the ValueError that says why this file cannot be used."""
        return ValueError(f'{self} is not a checkpoint that can be used: {why}')

    @contextlib.contextmanager
    def refusing(self, why):
        """Turn any error inside into a refusal: zipfile and NumPy raise all kinds on damaged bytes."""
        try:
            yield
        except Exception:
            raise self.refusal(why) from None

    def finite(self, name, dtype):
        """Return an array as dtype. Raises ValueError if it is missing, or has values that are not finite."""
        if name in self and self[name].dtype.kind == 'f':
            with np.errstate(over='ignore'):               # too large values become infinite
                array = self[name].astype(dtype)
            if np.isfinite(array).all():
                return array
        raise self.refusal(f'its {name} is missing, or has values that are not finite numbers in {dtype}')

    def _metadata(self):
        with self.refusing(f'its metadata is damaged, or not of format {FORMAT}'):
            metadata = json.loads(str(self['about']))
            json.dumps(metadata, allow_nan=False)                  # raises for nan and infinity
            lists = metadata['cell']['parameters'], metadata['optimiser'], metadata.get('parameters') or []
            ''.join([*sum(lists, []), *(metadata.get('functions') or {}).values()])    # raises unless these are strings
            np.zeros(24) + np.array(metadata.get('predicts') or 0, float)      # raises unless these are 24 numbers
            progress = metadata['progress'] or {}
            forms = [form for name, form in (('best_cost', SHOWN), ('options', RUN)) if name in progress]
            if not (fits(metadata, METADATA) and all(fits(progress, form) for form in forms)
                    and metadata['text'].get('seq_length') != 0):
                raise ValueError
            if metadata['random'] is not None:
                np.random.PCG64().state = metadata['random']       # raises if it is not valid
            return metadata

    def vocabulary(self, encoding):
        """Return the characters, (V,). encoding: of the bytes that the original stored; latin-1 if that fails."""
        with self.refusing('its uchar is not a list of distinct characters'):
            array = np.ravel(self['uchar'])[:sys.maxunicode + 2]       # more cannot be distinct
            if array.dtype.kind == 'S':
                try:
                    array = np.char.decode(array, encoding)
                except UnicodeError:                       # single bytes of longer characters
                    array = np.char.decode(array, 'latin-1')
            strings = [string or '\0' for string in array.tolist()]           # NumPy strips a NUL from a string
            if array.dtype.kind != 'U' or not len(set(strings)) == len(''.join(strings)) == len(array):
                raise ValueError
            return np.array(strings, dtype=object)


def opened(checkpoint):
    """Return the Checkpoint at a path, or the argument itself if it is a Checkpoint."""
    return checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)


def read_about(path):
    """Return the metadata of a checkpoint, or {}. Raises OSError, or ValueError if it is not a checkpoint."""
    return Checkpoint(path, ['about']).metadata


def read_parameters(path, dtype, encoding='utf-8'):
    """Return the parameters of a checkpoint, name to array of type dtype, and uchar (V,).

    path: may be an open Checkpoint. encoding: of the text, if the vocabulary is stored as bytes, as in the original.
    Raises OSError if the file cannot be read, and ValueError if it is not a checkpoint.
    """
    encoding, stored = checks.encoding('encoding', encoding), opened(path)
    own, layers = stored.cell['parameters'], max(1, layers_of(stored))
    names = stored.metadata.get('parameters') or [*parameter_shapes(0, layers * (0,)), *in_layers(own, layers)]
    sizes = 'c', *in_layers('b', layers)       # of a class with parameters of its own, only these shapes are known
    if len({*names}) < len(names) or not {*names} >= {*sizes}:
        raise stored.refusal('its parameters have the names of others, or there is no b or c')
    p = {name: stored.finite(name, dtype) for name in names}
    uchar = stored.vocabulary(encoding)
    rows = [(*np.shape(p.get(name)), 0)[0] for name in ('b1', 'U1', 'W1')]
    shapes = parameter_shapes(len(uchar), units(p), rows, own)
    for name, shape in shapes.items() if not stored.metadata.get('parameters') else zip(sizes, map(shapes.get, sizes)):
        if p[name].shape != shape or 0 in shape and name[0] != 'W':                # some cells have no W
            raise stored.refusal(f'{name} has shape {p[name].shape}; expected {shape}, from uchar and the other arrays')
    return p, uchar


def read_mean_squares(path):
    """Return RMSprop's mean squares of gradients from a checkpoint, float32, by name of the parameter.

    {} if there are none, or all are 0 for a parameter, which RMSprop never trained. Errors: as for read_parameters.
    """
    stored = opened(path)
    p, _ = read_parameters(stored, 'float32')
    squares = {name: stored.finite(f'm_{name}', 'float32') for name in p if f'm_{name}' in stored}
    trained = [name for name, m in squares.items()
               if m.shape == p[name].shape and (m.any() and m.min() >= 0 or not m.size)]
    return squares if len(trained) == len(p) else {}


def write(path, arrays, metadata):
    """Write arrays by name, and metadata, a dict with the keys of METADATA, to an npz file atomically."""
    about = np.array(json.dumps(dict(metadata, format=FORMAT, arrays=sorted(arrays)), allow_nan=False))
    npz = io.BytesIO()                 # in memory first: on a full disk zipfile would print its own traceback
    np.savez(npz, about=about, **arrays)
    with write_whole(path) as f:
        f.write(npz.getbuffer())
