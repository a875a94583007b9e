"""Checkpoints: npz files of arrays and, in the entry `about`, metadata as JSON; they are read as untrusted input."""
import contextlib
import functools
import io
import json
import os
import zipfile

import numpy as np

from engine.model.files import named, write_whole

FORMAT = 1                     # of the metadata and the names of the arrays
# A file is a decompression bomb if its arrays are larger than ROOM and than RATIO times the file, both in bytes: no
# large arrays of real parameters compress so well.
ROOM, RATIO = 1 << 26, 10
LONGEST = 1 << 22              # bytes of metadata, in which a character has four
METADATA = dict(lp={}, averaged_steps=0, validation_index=0, random=None, text={}, progress=None,
                cell=dict(formula='', parameters=[]), optimiser=[], precision='float32', versions={})


class Checkpoint:
    """An open npz file. Its arrays are read when they are asked for, and nothing in the file can run.

    A .safetensors is read as one without metadata. Raises OSError, and ValueError for what is no checkpoint or a bomb.
    """

    def __init__(self, path):
        self.path = file = os.fsdecode(path)
        if self.path.lower().endswith('.safetensors'):
            from engine.model.tensors import as_npz                # late: most users need none of its packages
            file = as_npz(self.path, self.refusal)
        with self.refusing('it is no npz file, cut short, or a decompression bomb'):
            self._npz = np.load(file, allow_pickle=False)
            members = self._npz.zip.infolist()
            # zipfile decompresses other kinds in one piece, however large that is.
            if sum(member.file_size for member in members) > max(ROOM, RATIO * os.path.getsize(self.path)) or any(
                    member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
                raise ValueError

    def __str__(self):
        return self.path

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._npz.close()

    def refusal(self, why):
        """Return the ValueError that says why this file cannot be used."""
        return ValueError(f'{self.path} is not a checkpoint that can be used: {why}')

    @contextlib.contextmanager
    def refusing(self, why):
        """Turn any error inside but an OSError into a refusal: zipfile and NumPy raise all kinds on damaged bytes."""
        try:
            with named('read', self.path):
                yield
        except OSError:
            raise
        except Exception:
            raise self.refusal(why) from None

    def __contains__(self, name):
        return name in self._npz

    def __getitem__(self, name):
        """Return an array. Raises ValueError if it is missing or damaged."""
        with self.refusing(f'its {name} is missing, damaged, larger than memory, or holds Python objects'):
            return np.asarray(self._npz[name])             # NumPy returns bytes that are no array as they are

    @functools.cached_property
    def metadata(self):
        """Return the metadata, with METADATA for what is missing; {} if there is none, as in a file of the original."""
        if 'about' not in self:
            return {}
        about = self['about']
        with self.refusing(f'its metadata is damaged, or not of format {FORMAT}'):
            metadata = {**METADATA, **json.loads(str(about) if about.nbytes <= LONGEST else '')}
            cell = metadata['cell']
            ''.join([cell['formula'], *cell['parameters'], *metadata['optimiser']])      # raises unless all are strings
            if metadata['format'] != FORMAT or any(
                    type(metadata[name]) is not type(value) for name, value in METADATA.items() if value is not None):
                raise ValueError
            if metadata['random'] is not None:
                np.random.PCG64().state = metadata['random']       # which checks it
            return metadata


def opened(checkpoint):
    """Return a context with the Checkpoint of a path, which it closes, or with an open one, which stays open."""
    return contextlib.nullcontext(checkpoint) if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)


def write(path, arrays, metadata):
    """Write arrays by name and metadata, a dict with the keys of METADATA, to an npz file, whole or not at all.

    Raises OSError if it cannot be written, and ValueError for metadata that could not be read.
    """
    about = np.array(json.dumps(dict(metadata, format=FORMAT, arrays=sorted(arrays)), allow_nan=False))
    if about.nbytes > LONGEST:
        raise ValueError(f'{path} was not written: its metadata, with the progress, has {about.nbytes:,} bytes')
    npz = io.BytesIO()                 # in memory first: on a full disk zipfile would print a traceback of its own
    np.savez(npz, about=about, **arrays)
    with write_whole(path) as f:
        f.write(npz.getbuffer())
