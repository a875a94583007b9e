"""What a checkpoint is, and its file: read as untrusted input, checked at once, and written.

It is one state of a model, an npz file of these arrays, under which it can be resumed bit for bit:

    U1, W1, b1 ... V, c             the parameters, to predict with: running averages, if the run has them
    weights_U1 ...                  the trained parameters, if those are averages
    m_U1 ..., state_NAME_U1 ...     the optimiser's state: m of RMSprop (mean_squares), and all else by name
    carried_h1, carried_C1 ...      the states before the next training batch, (B,H) and (B,SH), and carried_memory,
                                    (B,n), of a network that has any
    validation_h1 ...               those before the next validation batch
    stream_train_rmsprop_0 ...      the states of Theano's random streams, by function
    uchar                           the characters, (V,)
    about                           METADATA, as JSON

A file of 2016, or a .safetensors of PyTorch, has only parameters and uchar.
"""
import contextlib
import io
import json
import os
import sys

import numpy as np

from engine import checks
from engine.data.parameters import in_layers, layers_of, parameter_shapes, units
from engine.files import named, write_whole
from engine.run import table
from engine.run.schedule import Schedule
from engine.terminal import script

FORMAT = 2                     # version of the metadata and of the names of the arrays
# A file is a decompression bomb if its arrays need more than ROOM bytes and more than RATIO times the size of the file:
# large arrays of real parameters never compress that well.
ROOM, RATIO = 1 << 26, 10

SOURCE = dict(path=str, characters=int, sha256=str)        # of a text
# The metadata, by name: the type of each value; a dict of types: such a dict, None or {}.
METADATA = {
    'format': int, 'versions': dict, 'precision': str,
    'class': str | None,                                   # unless it is CharLSTM
    'cell': dict(formula=str, parameters=list),            # '' of the standard one; names of its own parameters
    'parameters': list | None,                             # all names, if they are not those that such a cell has
    'predicts': list | None,                               # costs_of_line of the model
    'lp': dict(lrate=float), 'optimiser': list, 'averaged_steps': int,     # optimiser: names of its state
    'random': dict | None, 'validation_index': int,        # the state of NumPy's generator; the next validation batch
    'text': dict(SOURCE, encoding=str, ratio_valid=float, batch_size=int, seq_length=int, stateful=bool, valid=SOURCE,
                 test=SOURCE),
    'progress': dict | None}                               # any; of a run, all fields of Schedule, or at least:
PROGRESS = dict(epoch=int, batch=int, rate=float, last_rate=float | None, best_epoch=int,
                options=dict(run=str, units=list))


def check_types(values, types):
    """Raise an error unless values from JSON have these types, by name. A whole number is at least 0."""
    for name, kind in types.items():
        value = values.get(name)
        if isinstance(kind, dict):
            if value not in (None, {}):
                check_types(value, kind)
        elif not isinstance(value, kind) or isinstance(value, bool) != (kind is bool) or (
                isinstance(value, int) and not 0 <= value < 2 ** 63):
            raise ValueError(f'{name} is {value!r}: expected {kind}')


class Checkpoint(dict):
    """The arrays of a checkpoint by name. No code in the file can run.

    metadata: a dict of the form METADATA; {} if there is none, as in the original's files
    sources: the texts of its run, dicts of the form SOURCE, by role: 'train', 'valid', 'test'
    options: those of its run by name, wherever the metadata keeps them; None if it holds no run that can be resumed
    """

    def __init__(self, path, names=None):
        """Read a file, or only the arrays in names. Raises OSError, or ValueError if it is not a checkpoint."""
        self._path, self.metadata, self.sources, self.options = os.fsdecode(path), {}, {}, None
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
        if 'about' in self:
            with self.refusing(f'its metadata is damaged, or not of format {FORMAT}'):
                self._read_metadata()

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

    def _read_metadata(self):
        """Set metadata, sources and options. Raise any error if a value has another type or is out of range."""
        self.metadata = metadata = json.loads(str(self['about']))
        json.dumps(metadata, allow_nan=False)                      # raises for nan and infinity
        check_types(metadata, METADATA)
        ''.join([*metadata['cell']['parameters'], *metadata['optimiser'], *(metadata.get('parameters') or [])])
        np.zeros(24) + np.array(metadata.get('predicts') or 0, float)          # raises unless these are 24 numbers
        if metadata['format'] != FORMAT:
            raise ValueError
        if metadata['random'] is not None:
            np.random.PCG64().state = metadata['random']           # raises if it is not valid
        lp, text, run, fields = metadata['lp'], metadata['text'], metadata['progress'] or {}, Schedule.__annotations__
        run = run if 'best_cost' in run else {}                    # of train.py, not another dict
        if run:
            check_types(run, {name: fields[name] for name in fields.keys() & run.keys()} | PROGRESS)
        sources = dict(train=text, valid=text['valid'], test=text['test']) if text else {}
        self.sources = {role: source for role, source in sources.items() if source}
        paths = {role: source and source['path'] for role, source in sources.items()}
        options = {**table.DEFAULTS, **lp, **text, **paths, **run.get('options', {})}
        options.update(input=paths.get('train'), no_stateful=not text.get('stateful'))
        options = table.checked_options({name: options[name] for name in table.OF_RUN})
        self.options = options if lp and text and run.get('options') else None

    def array(self, name, dtype, shape=None):
        """Return an array as dtype. Raise ValueError if it is missing, not finite, or not of that shape."""
        if name in self and self[name].dtype.kind == 'f' and shape in (None, self[name].shape):
            with np.errstate(over='ignore'):               # too large values become infinite
                array = self[name].astype(dtype)
            if np.isfinite(array).all():
                return array
        found = f'has shape {self[name].shape}' if name in self else 'is missing'
        raise self.refusal(f'its {name} {found}: expected finite numbers in {dtype}, of shape {shape or "any"}')

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
            if array.dtype.kind != 'U' or not 0 < len(set(strings)) == len(''.join(strings)) == len(array):
                raise ValueError
            return np.array(strings, dtype=object)


def opened(checkpoint):
    """Return the Checkpoint at a path, or the argument itself if it is a Checkpoint."""
    return checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)


def read_about(path):
    """Return the metadata of a checkpoint, or {}. Raises OSError, or ValueError if it is not a checkpoint."""
    return Checkpoint(path, ['about']).metadata


def read_checkpoint(path, encoding='utf-8', dtype=None):
    """Return the parameters of a checkpoint, name to array of type dtype, and its characters, uchar (V,).

    path: may be an open Checkpoint. encoding: of the text, if the vocabulary is stored as bytes, as in the original.
    dtype: None for floatX. Raises OSError if the file cannot be read, and ValueError if it is not a checkpoint.
    """
    if dtype is None:
        from engine.backend.theano_setup import theano     # late: most of what run/ does needs no Theano
        dtype = theano.config.floatX
    encoding, stored = checks.encoding('encoding', encoding), opened(path)
    cell_p, others = stored.metadata.get('cell', {}).get('parameters', []), stored.metadata.get('parameters')
    layers = max(1, layers_of(stored))
    sizes = {'c', *in_layers('b', layers)}
    names = others or [*parameter_shapes(0, layers * (0,)), *in_layers(cell_p, layers)]
    if len({*names}) < len(names) or not sizes <= {*names} <= stored.keys() or 0 in units(stored):
        raise stored.refusal(f'expected parameters {", ".join(names)[:200]}, each once, and units in each layer')
    uchar, rows = stored.vocabulary(encoding), [(*np.shape(stored.get(name)), 0)[0] for name in ('b1', 'U1', 'W1')]
    shapes = parameter_shapes(len(uchar), units(stored), rows, cell_p)
    if others:                                 # of a class with parameters of its own, only these shapes are known
        shapes = {name: shapes[name] if name in sizes else stored[name].shape for name in names}
    return {name: stored.array(name, dtype, shape) for name, shape in shapes.items()}, uchar


def read_mean_squares(path):
    """Return RMSprop's mean squares of gradients from a checkpoint, float32, by name of the parameter.

    {} if there are none, or all are 0 for a parameter, which RMSprop never trained. Errors: as for read_checkpoint.
    """
    stored = opened(path)
    p, _ = read_checkpoint(stored, dtype='float32')
    squares = {name: stored.array(f'm_{name}', 'float32') for name in p if f'm_{name}' in stored}
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
