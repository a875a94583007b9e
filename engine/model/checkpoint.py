"""Checkpoints: npz files, read as untrusted input, and written whole or not at all.

A checkpoint holds arrays by name, and metadata as JSON in the entry `about`. What the arrays mean
is in parameters.py and run_state.py.
"""
import contextlib
import errno
import functools
import io
import json
import math
import os
import re
import zipfile

import numpy as np

from engine.model import checks
from engine.model.files import named, write_whole
from engine.model.patterns import (
    DEEPEST, LONGEST_FORMULA, boolean, list_of, matches, nothing, number, shallow, string, whole)
from engine.run.table import INITIAL, LEARNING

FORMAT = 1                     # of the metadata and the names of the arrays
# A file is a decompression bomb where its arrays are larger than ROOM and than RATIO times the file, both in bytes:
# no large arrays of real parameters compress so well.
ROOM, RATIO = 1 << 26, 10
LONGEST_METADATA = 1 << 20     # characters of JSON
LONGEST_HEADER = 1 << 14       # bytes


# ---------------------------------------------------------------- what metadata may hold

GENERATOR = {                                              # NumPy's default one: PCG64
    'bit_generator': lambda value: value == 'PCG64',
    'state': {'state': lambda value: whole(value, 2 ** 128),
              'inc': lambda value: whole(value, 2 ** 128) and value % 2 == 1},
    'has_uint32': lambda value: whole(value, 2), 'uinteger': lambda value: whole(value, 2 ** 32)}
SOURCE = {'path': string, 'characters': whole,
          'sha256': lambda value: string(value) and bool(re.fullmatch('[0-9a-f]{64}', value))}
TEXT = {**SOURCE, 'valid': (SOURCE, nothing), 'test': (SOURCE, nothing), 'encoding': string,
        'ratio_valid': lambda value: number(value) and 0 <= value < 1,
        'batch_size': lambda value: whole(value) and value > 0, 'seq_length': lambda value: whole(value) and value > 1,
        'stateful': boolean}
CELL = {'formula': lambda value: isinstance(value, str) and len(value) <= LONGEST_FORMULA,
        'parameters': lambda value: list_of(checks.own_name)(value) and len(set(value)) == len(value)}
METADATA = {'format': whole, 'arrays': list_of(string), 'lp': lambda value: (
                isinstance(value, dict) and all(string(name) and number(item) for name, item in value.items())),
            'averaged_steps': whole, 'validation_index': whole, 'random': (GENERATOR, nothing), 'text': (TEXT, {}),
            'cell': CELL, 'optimiser': list_of(string), 'precision': ('float32', 'bfloat16').__contains__,
            'versions': dict.fromkeys(('python', 'numpy', 'theano', 'device'), string),
            'progress': shallow}                           # any value that the caller of save_params passed


# ---------------------------------------------------------------- reading

def sources(text):
    """Return what metadata of the text has on each text of a run, by the name of its option; None for no text."""
    return {'input': text, 'valid': text.get('valid'), 'test': text.get('test')}


def _finite(text):
    """Return the number that a text is. Raises ValueError for NaN, Infinity, and numbers that become infinite."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError('not finite')
    return value


class Checkpoint:
    """An open npz file. Its arrays are checked and read when they are asked for.

    Nothing is unpickled, so nothing in the file can run. A file of PyTorch, .safetensors, is read at once, as an npz
    file without metadata. Raises OSError when the file cannot be read, and ValueError when it is no npz file or a
    decompression bomb.
    """

    def __init__(self, path):
        self.path = path = checks.path('the checkpoint', path)
        of_torch = path.lower().endswith('.safetensors')
        self._expected = ('the arrays of an nn.LSTM of two layers, or of two of one, and of an nn.Linear' if of_torch
                          else 'an npz file as train.py and save_params write it')
        if not (os.path.isfile(path) or os.path.isdir(path)) and os.path.exists(path):
            raise self.refusal('it is a FIFO or a device: save it as a file')
        with self._refusing(f'it is no {"safetensors" if of_torch else "npz"} file, or one that was cut short'):
            if not of_torch:
                self._zip = zipfile.ZipFile(path)
        if of_torch:
            from engine.model.tensors import as_npz                # late: most users need none of its packages
            self._zip = zipfile.ZipFile(as_npz(path, self.refusal))
        members = self._zip.infolist()
        size = sum(member.file_size for member in members)
        # zipfile decompresses other kinds in one piece, however large that is.
        known = all(member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members)
        if not known or size > max(ROOM, RATIO * os.path.getsize(path)):
            self._zip.close()
            raise self.refusal(f'its directory tells of {size:,} bytes of arrays, so that it is damaged or a '
                               'decompression bomb' if known else 'it is compressed in a way that NumPy does not use')
        self._names = set(self._zip.namelist())

    def __str__(self):
        return str(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._zip.close()

    def refusal(self, why):
        """Return the ValueError that says why this file cannot be used."""
        return ValueError(f'{self.path} is not a checkpoint that can be used: {why}; expected {self._expected}')

    @contextlib.contextmanager
    def _refusing(self, why):
        """Turn any error inside into an OSError where the system failed, otherwise into a refusal.

        Nobody sees the message of a ValueError that is raised inside: it is a comment.
        """
        try:
            yield
        except MemoryError:
            raise OSError(f'cannot read {self.path}: there is not enough memory for it') from None
        except Exception as error:             # zipfile and NumPy raise all kinds on damaged bytes
            # A forged offset before the beginning of the file is an OSError, too, but no failure of the system.
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                with named('read', self.path):
                    raise
            raise self.refusal(why) from None

    def __contains__(self, name):
        return name + '.npy' in self._names

    @contextlib.contextmanager
    def _member(self, name):
        """Open the bytes of an array in the zip file. Any error inside becomes one about that array."""
        if name not in self:
            raise self.refusal(f'it has no {name}')
        with self._refusing(f'its {name} is damaged or holds Python objects'), self._zip.open(name + '.npy') as member:
            yield member

    def shape(self, name):
        """Return the shape of an array. Only its header is read. Raises as for the array."""
        with self._member(name) as member:
            f = io.BytesIO(member.read(LONGEST_HEADER))
            if np.lib.format.read_magic(f) != (1, 0):
                raise ValueError('NumPy writes other versions only for headers that no array here needs')
            shape, _, dtype = np.lib.format.read_array_header_1_0(f)
            size = math.prod(shape) * dtype.itemsize
            # Items without size would fit into no bytes in any number, and Python would make an object of each.
            if not dtype.itemsize or min(shape, default=0) < 0 or (
                    f.tell() + size != self._zip.getinfo(name + '.npy').file_size):
                raise ValueError('a forged shape')
            return shape

    def __getitem__(self, name):
        """Return an array. Raises ValueError where it is missing or damaged."""
        self.shape(name)               # a check: NumPy makes an array of any shape before it reads the numbers
        with self._member(name) as member:
            return np.lib.format.read_array(member, allow_pickle=False)

    @functools.cached_property
    def metadata(self):
        """Return the metadata, a dict; empty where the file has none, as those of the original of this program.

        Raises ValueError where it is damaged or of another format, or where an array that it lists is missing.
        """
        if 'about' not in self:
            return {}
        try:
            if self._zip.getinfo('about.npy').file_size > 4 * LONGEST_METADATA + LONGEST_HEADER:
                raise ValueError('too long')
            metadata = json.loads(str(self['about']), parse_float=_finite, parse_constant=_finite)
        except (SystemError, TypeError, ValueError, RecursionError):
            raise self.refusal('its metadata is damaged') from None
        if isinstance(metadata, dict) and metadata.get('format') != FORMAT:
            raise self.refusal(f'its metadata is of format {str(metadata.get("format")):.20}, and this program reads '
                               f'format {FORMAT}')
        if not matches(metadata, METADATA):
            raise self.refusal('its metadata is damaged')
        for name in metadata['arrays']:
            if name not in self:
                raise self.refusal(f'it has no {name}, which it was written with')
        for name in metadata['lp']:
            if name not in LEARNING:
                raise self.refusal(f'its learning parameter {name} is not in engine/run/table.py: add its row again')
        if metadata['lp']:             # a user may have added a row to the table since this was written
            metadata['lp'] = {**INITIAL, **metadata['lp']}
        return metadata


@contextlib.contextmanager
def opened(checkpoint):
    """Open a path as a Checkpoint, and close it afterwards; or yield an open Checkpoint, which stays open."""
    if isinstance(checkpoint, Checkpoint):
        yield checkpoint
    else:
        with Checkpoint(checkpoint) as stored:
            yield stored


# ---------------------------------------------------------------- writing

def write(path, arrays, metadata):
    """Write arrays by name and metadata, a dict that JSON can hold, to an npz file, whole or not at all.

    The metadata has the keys of METADATA but format and arrays, which are added. Raises OSError when it cannot be
    written, and ValueError for metadata that could not be read.
    """
    if not shallow(metadata['progress']):
        raise ValueError(f'{path} was not written: its progress has lists or dicts of more than {DEEPEST} levels')
    try:
        about = json.dumps(dict(metadata, format=FORMAT, arrays=sorted(arrays)), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f'{path} was not written: its metadata, with the progress, is not as JSON can hold it: '
                         f'{error}') from None
    if len(about) > LONGEST_METADATA:
        raise ValueError(f'{path} was not written: its metadata, with the progress, has {len(about):,} characters as '
                         f'JSON; expected at most {LONGEST_METADATA:,}')
    # In memory first: on a full disk zipfile would print a traceback when it is cleaned away.
    npz = io.BytesIO()
    np.savez(npz, about=np.array(about), **arrays)
    with write_whole(path) as f:
        f.write(npz.getbuffer())
