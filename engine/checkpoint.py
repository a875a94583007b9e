"""Checkpoints: npz files, safely in and whole out. What the arrays mean is for others to know."""
import contextlib
import functools
import io
import json
import operator
import zipfile

import numpy as np

from engine.files import named, write_whole

DEFLATE_LIMIT = 1100      # a byte of a zip file unfolds to at most 1032 bytes; a larger size is a lie


class Checkpoint:
    """An npz file that is opened once, to be handed down; its arrays are read, and checked, when they are asked for.

    Nothing is unpickled, so nothing in it can run. Raises OSError when the
    file cannot be read, and ValueError when it is no npz file.
    """

    def __init__(self, path):
        self.path, self._about = path, None
        try:
            with named('read', path):
                self._zip = zipfile.ZipFile(path)
            self._names = set(self._zip.namelist())
        except OSError:
            raise
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

    def __contains__(self, name):
        return name + '.npy' in self._names

    def __getitem__(self, name):
        """An array. Raises ValueError where it is missing or damaged."""
        if name not in self:
            raise self.refusal(f'it has no {name}')
        try:
            with named('read', self.path):
                return self._array(self._zip.getinfo(name + '.npy'))
        except OSError:
            raise
        except Exception:                      # the readers of zip and npy raise all kinds on damaged bytes
            raise self.refusal(f'its {name} is damaged or holds Python objects') from None

    def _array(self, member):
        """The array of a member of the zip file, of no more bytes than the file can hold."""
        if member.file_size > DEFLATE_LIMIT * member.compress_size:
            raise ValueError('a forged size')
        f = io.BytesIO(self._zip.read(member))
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read_header[np.lib.format.read_magic(f)](f)
        size = functools.reduce(operator.mul, shape, dtype.itemsize)           # in Python's numbers, of any length
        # Of a type without size there could be any number, and NumPy makes room for all.
        if dtype.hasobject or not dtype.itemsize or size != member.file_size - f.tell():
            raise ValueError('Python objects, or a forged shape')
        f.seek(0)
        return np.lib.format.read_array(f, allow_pickle=False)

    @property
    def about(self):
        """What it says of itself, as a dict; empty where it says nothing. Raises ValueError where that is damaged."""
        if self._about is None:
            try:
                self._about = dict(json.loads(str(self['about']))) if 'about' in self else {}
            except (TypeError, ValueError, RecursionError):
                raise self.refusal('its about is damaged') from None
        return self._about


@contextlib.contextmanager
def opened(checkpoint):
    """`with opened(...)` takes a path, which it opens and closes, or a Checkpoint, which it leaves open."""
    if isinstance(checkpoint, Checkpoint):
        yield checkpoint
    else:
        with Checkpoint(checkpoint) as stored:
            yield stored


def write(path, arrays, about):
    """Write arrays by name and about, a dict that JSON can hold, to an npz file, whole or not at all.

    Raises OSError when it cannot be written.
    """
    # In memory first: on a full disk zipfile would print a traceback when it is cleaned away.
    npz = io.BytesIO()
    np.savez(npz, about=np.array(json.dumps(about)), **arrays)
    with write_whole(path) as f:
        f.write(npz.getbuffer())
