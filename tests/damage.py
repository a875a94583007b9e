"""Damaged checkpoints: DAMAGE holds them by name, each with a function that writes the file to a path."""
import io
import json
import math
import pickle
import zipfile

import numpy as np

from engine.run.checkpoint import FORMAT
from numpy_model import random_parameters

CHARACTERS = 'abé— 𝄞\n'
ARRAYS = dict(random_parameters(5, 'float32', V=len(CHARACTERS), H1=3, H2=2), uchar=np.array(list(CHARACTERS)))
METADATA = dict(lp={}, averaged_steps=0, validation_index=0, random=None, text={},
                cell=dict(formula='', parameters=[]), optimiser=[], precision='float32',
                versions=dict.fromkeys(('python', 'numpy', 'theano', 'device'), '1'), progress=None)     # for write()
SOURCE = dict(path='t.txt', characters=9, sha256='0')
TEXT_OF_RUN = dict(SOURCE, encoding='utf-8', ratio_valid=0.3, batch_size=3, seq_length=5, stateful=True, valid=None,
                   test=None)
PROGRESS = dict(epoch=1, batch=0, rate=0.5, best_cost=2.0, best_epoch=1, cost_sum=0.0, characters=0, last_cost=2.0,
                rate_factor=1.0, stale=0, fewer_epochs=None, valid_batch_cost=None, id='0', logs={},
                options=dict(run='r', cell=None, units=[3, 2]))
TRACE = 'unpickled'           # the file that a Payload leaves in the current folder


class Payload:
    """An object that creates a file when it is unpickled."""

    def __reduce__(self):
        return open, (TRACE, 'w')


def write_checkpoint(path, **changes):
    """Write a good checkpoint with changed arrays and return its path. Arrays that are None are left out."""
    np.savez(path, **{name: array for name, array in dict(ARRAYS, **changes).items() if array is not None})
    return str(path)


def npy(shape, descr='<f4', content=b''):
    """Return the bytes of an npy file whose header may be forged."""
    header = repr(dict(descr=descr, fortran_order=False, shape=shape)).encode()
    header += b' ' * (-(len(header) + 11) % 64) + b'\n'
    return b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little') + header + content


def saved(array):
    """Return the bytes of an npy file."""
    f = io.BytesIO()
    np.save(f, array)
    return f.getvalue()


def arrays(**changes):
    return lambda path: write_checkpoint(path, **changes)


def about(changed={}, **changes):
    """Return a writer of a good checkpoint with changed metadata. changed: arrays by name."""
    return arrays(about=np.array(json.dumps({**METADATA, 'format': FORMAT, 'arrays': [], **changes})), **changed)


def members(**changes):
    """Return a writer of a good checkpoint with some members of the zip file replaced by these bytes."""
    def write(path):
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as npz:
            for name, data in {**{name: saved(array) for name, array in ARRAYS.items()}, **changes}.items():
                npz.writestr(name + '.npy', data)
    return write


def content(data):
    def write(path):
        with open(path, 'wb') as f:
            f.write(data)
    return write


def with_value(name, value):
    """Return a writer of a good checkpoint with one value of an array replaced."""
    array = ARRAYS[name].copy()
    array.flat[-1] = value
    return arrays(**{name: array})


PICKLED, OBJECTS = pickle.dumps(Payload()), np.array([Payload()], dtype=object)
WRITERS = {
    'file: empty': content(b''), 'file: text': content(b'epoch,cost\n1,2.5\n'), 'file: npy': content(saved(np.ones(3))),
    'shape: U1 of three gates': arrays(U1=ARRAYS['U1'][:3]), 'shape: U2 of two dimensions': arrays(U2=ARRAYS['U2'][0]),
    'shape: three characters': arrays(uchar=np.array(list('abc'))), 'shape: V a number': arrays(V=np.float32(1)),
    'shape: no units': arrays(**random_parameters(5, V=7, H1=0, H2=2)), 'missing: W2': arrays(W2=None),
    'missing: uchar': arrays(uchar=None), 'type: c of whole numbers': arrays(c=np.arange(7)),
    'number: nan in U1': with_value('U1', np.nan), 'number: 1e+300 in c': arrays(c=np.full(7, 1e300)),
    'uchar: numbers': arrays(uchar=np.arange(7)), 'uchar: one twice': arrays(uchar=np.array(list('abcdefa'))),
    'uchar: two letters': arrays(uchar=np.array(['gh', *'abcdef'])),
    'uchar: no code point': arrays(uchar=np.array([*range(97, 103), 0x110000], '<u4').view('<U1')),
    'uchar: too many': members(uchar=npy((30_000_000,), '|S1', bytes(30_000_000))),
    'pickle: the file': content(PICKLED), 'pickle: member U1': members(U1=PICKLED),
    'pickle: array V': arrays(V=OBJECTS), 'pickle: array uchar': arrays(uchar=OBJECTS),
    'bomb: deflate': members(U1=npy((4, 3, 7), content=bytes(81_000_000))),
    **{f'forged: U1 of {header}': members(U1=npy(*header)) for header in (
        [(4, 10 ** 6, 10 ** 6)], [(2 ** 62, 2 ** 62)], [(-4, -10 ** 9)], [(10 ** 9,), '|V0'], [(1, 10 ** 10, 0)])},
    'forged: uchar': members(uchar=npy((10 ** 9,), '<U0')),
    'parameters: one twice': about(parameters=['b1', 'b2', 'c', 'c']),
    'parameters: a name of others': about(dict(U1=np.ones(3), U2=np.ones(2)), cell=dict(formula='', parameters=['U'])),
    'parameters: not there': about(parameters=['b1', 'b2', 'c', 'W9'])}
ABOUT = {
    'about: pickle': arrays(about=OBJECTS), 'about: pickled header': members(about=npy((4, 2, 3), '|O', PICKLED)),
    'about: forged header': members(about=npy((), '<U1000000000')), 'about: format 1': about(format=1),
    'about: a bomb of lists': arrays(about=np.array('{"progress": [' + '[],' * 10 ** 6 + '[]]}')),
    **{f'about: {text:.9}': arrays(about=np.array(text)) for text in ('', '[1]', '{}', '[' * 10 ** 5)},
    **{f'about: {changes}': about(**changes) for changes in (
        dict(lp=[]), dict(text=5), dict(averaged_steps='1'), dict(averaged_steps=-1), dict(optimiser=[1]),
        dict(cell=dict(formula='')), dict(cell=dict(formula='', parameters=[[]])), dict(precision=None),
        dict(random=[]), dict(random=dict(bit_generator='MT19937')), dict(lp={'l1': 1}), dict(versions={'x': 1e999}),
        dict(lp=dict(lrate=1.0, l1=-1.0)), dict(progress=dict(best_cost=2.0)),
        dict(parameters=['U1', 3]), dict(predicts=[1, 2]), dict(predicts=[[]] * 24),
        {'class': 3})},
    **{f'about: text {changes}': about(text={**TEXT_OF_RUN, **changes}) for changes in (
        dict(valid='v.txt'), dict(test=dict(SOURCE, path=None)), dict(seq_length=0), dict(characters='9'))},
    **{f'about: progress {changes}': about(progress={**PROGRESS, **changes}) for changes in (
        dict(best_cost='2'), dict(best_cost=math.nan), dict(best_cost=10 ** 40), dict(batch=None), dict(epoch=-1),
        dict(stale=True), dict(options=[]), dict(options=dict(PROGRESS['options'], run=5)),
        dict(options=dict(PROGRESS['options'], device=5)))}}
DAMAGE = {**WRITERS, **ABOUT}          # ABOUT: only the metadata is damaged
