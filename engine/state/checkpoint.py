"""Checkpoints: npz files, safely in and whole out. What the arrays mean is for others to know."""
import contextlib
import errno
import functools
import io
import json
import operator
import os
import zipfile

import numpy as np

from engine.files import named, write_whole
from engine.state.patterns import METADATA, matches

ROOM, FOLDED = 1 << 26, 10       # bytes that all arrays may have, and to how many a byte of the file may unfold in more
LONGEST_METADATA = 1 << 20    # characters: as JSON, each of them may take up 20 bytes
LONGEST_HEADER = 1 << 14    # bytes
PIECE = 1 << 20            # bytes unfolded at a time


@contextlib.contextmanager
def _offsets_of_liars():
    """What is read from before a file's beginning is damage in it, and no failure of the system."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise ValueError('a forged offset') from None
        raise


class Checkpoint:
    """An npz file that is opened once, to be handed down; its arrays are read, and checked, when they are asked for.

    Nothing is unpickled, so nothing in it can run. Raises OSError when the
    file cannot be read, and ValueError when it is no npz file.
    """

    def __init__(self, path):
        self.path, self._metadata = path, None
        try:
            with named('read', path), _offsets_of_liars():
                if not (os.path.isfile(path) or os.path.isdir(path)) and os.path.exists(path):
                    raise ValueError('a FIFO, to open which waits for somebody to write, or a device that never ends')
                self._zip = zipfile.ZipFile(path)
            self._names = set(self._zip.namelist())
            self._unfolded = sum(member.file_size for member in self._zip.infolist())
            self._room = max(ROOM, FOLDED * os.path.getsize(path))
        except OSError:
            raise
        except MemoryError:
            raise self._too_large() from None
        except Exception:                      # zipfile raises all kinds on damaged bytes
            raise self.refusal('it is no npz file, or one that was cut short') from None

    def __str__(self):
        return str(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._zip.close()

    def refusal(self, why):
        """The error that says why this file is of no use."""
        return ValueError(f'{self.path} is not a checkpoint that can be used: {why}; expected an npz file as train.py '
                          'and save_params write it')

    def _too_large(self):
        return OSError(f'cannot read {self.path}: there is not enough memory for it')

    def __contains__(self, name):
        return name + '.npy' in self._names

    def shape(self, name):
        """The shape of an array, of which no more than the header is read. Raises as for the array itself."""
        return self._reading(name, self._header)[0]

    def __getitem__(self, name):
        """An array. Raises ValueError where it is missing or damaged."""
        if self._unfolded > self._room:                    # no large arrays of numbers are so alike
            raise self.refusal('it is small, and would unfold to no end')
        return self._reading(name, self._array)

    def _reading(self, name, read):
        """What a method reads of an array, with the errors of both."""
        if name not in self:
            raise self.refusal(f'it has no {name}')
        try:
            with named('read', self.path), _offsets_of_liars():
                return read(self._zip.getinfo(name + '.npy'))
        except OSError:
            raise
        except MemoryError:
            raise self._too_large() from None
        except Exception:                      # the readers of zip and npy raise all kinds on damaged bytes
            raise self.refusal(f'its {name} is damaged or holds Python objects') from None

    def _header(self, member):
        """Shape, type, whether it is in Fortran's order, and the length of what comes before the numbers."""
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError('of other kinds a little unfolds to any amount at once')
        with self._zip.open(member) as packed:
            f = io.BytesIO(packed.read(LONGEST_HEADER))
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = read_header[np.lib.format.read_magic(f)](f)
        size = functools.reduce(operator.mul, shape, dtype.itemsize)           # in Python's numbers, of any length
        # Of a type without size there could be any number, and NumPy makes room for all.
        if dtype.hasobject or not dtype.itemsize or min(shape, default=0) < 0 or size != member.file_size - f.tell():
            raise ValueError('Python objects, or a forged shape')
        return shape, dtype, fortran, f.tell()

    def _array(self, member):
        """The array of a member of the zip file; no more is unfolded than it says that it has."""
        shape, dtype, fortran, start = self._header(member)
        numbers, done = bytearray(member.file_size - start), 0
        with self._zip.open(member) as packed:
            packed.read(start)
            while True:
                piece = packed.read(PIECE)
                if not piece:
                    break
                numbers[done:done + len(piece)] = piece
                done += len(piece)
        if done != member.file_size - start:
            raise ValueError('cut short')
        return np.frombuffer(numbers, dtype).reshape(shape, order='F' if fortran else 'C')

    def _said(self):
        """The about as it is stored, a string. Raises ValueError where that is damaged, or too long."""
        if self._zip.getinfo('about.npy').file_size > 4 * LONGEST_METADATA + LONGEST_HEADER:
            raise ValueError('too long')
        return str(self['about'])

    @property
    def metadata(self):
        """What it says of itself, as a dict; empty where it says nothing. Raises ValueError where that is damaged."""
        if self._metadata is None:
            try:
                metadata = json.loads(self._said()) if 'about' in self else {}
            except (TypeError, ValueError, RecursionError):
                raise self.refusal('its metadata is damaged') from None
            if not matches(metadata, METADATA):
                raise self.refusal('its metadata is damaged, or of a later version')
            lost = [name for name in metadata.get('arrays', []) if name not in self]
            if lost:
                raise self.refusal(f'it has lost its {lost[0]}')
            self._metadata = metadata
        return self._metadata


@contextlib.contextmanager
def opened(checkpoint):
    """`with opened(...)` takes a path, which it opens and closes, or a Checkpoint, which it leaves open."""
    if isinstance(checkpoint, Checkpoint):
        yield checkpoint
    else:
        with Checkpoint(checkpoint) as stored:
            yield stored


def write(path, arrays, metadata):
    """Write arrays by name and about, a dict that JSON can hold, to an npz file, whole or not at all.

    Raises OSError when it cannot be written, and ValueError where about is too long.
    """
    said = json.dumps(dict(metadata, arrays=sorted(arrays)))
    if len(said) > LONGEST_METADATA:
        raise ValueError(f'{path} was not written: its progress and the like have {len(said):,} characters as JSON, '
                         f'where {LONGEST_METADATA:,} are the most')
    # In memory first: on a full disk zipfile would print a traceback when it is cleaned away.
    npz = io.BytesIO()
    np.savez(npz, about=np.array(said), **arrays)
    with write_whole(path) as f:
        f.write(npz.getbuffer())
