"""Damaged checkpoints, one for each check in the code, and the words that their refusals must have.

DAMAGE has them by name, each with a function of a path that writes the file. A
good file's arrays are small, in float64 and exact in float32. RUN_DAMAGE has checkpoints that no
run can resume from, each with a function that changes the arrays and the metadata of a good one.
"""
import copy
import functools
import io
import math
import json
import os
import pickle
import zipfile
from typing import Callable, NamedTuple, Tuple

import numpy as np

from engine.model.parameters import parameter_shapes

from numpy_model import random_parameters

CHARACTERS = 'abé— 𝄞\n'
ARRAYS = dict(random_parameters(5, 'float32', V=len(CHARACTERS), H1=3, H2=2), uchar=np.array(list(CHARACTERS)))
METADATA = dict(lp={}, averaged_steps=0, validation_index=0, random=None, text={},
                cell=dict(formula='', parameters=[]), optimiser=[], precision='float32',
                versions=dict.fromkeys(('python', 'numpy', 'theano', 'device'), '1'), progress=None)     # for write()
TRACE = 'unpickled'           # the file that a Payload leaves in the current folder


class Damage(NamedTuple):
    write: Callable[[str], None]
    words: Tuple[str, ...]
    of_about: bool = False    # in the metadata, while the parameters are good


class Payload:
    """Makes a file when it is unpickled."""

    def __reduce__(self):
        return open, (TRACE, 'w')


# ---------------------------------------------------------------- ways to write a file

def write_checkpoint(path, **changes):
    """Write a good checkpoint but for the changes; an array that is None is left out. Returns its path."""
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


def about(**changes):
    """Return a writer of a good checkpoint but for some of its metadata."""
    return arrays(about=np.array(json.dumps({**METADATA, 'format': 1, 'arrays': [], **changes})))


def members(**changes):
    """Return a writer of a good checkpoint but for some members of the zip file, bytes."""
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


def edited(edit):
    """Return a writer of a good checkpoint but for what edit does to its bytes, a bytearray."""
    def write(path):
        write_checkpoint(path)
        with open(path, 'r+b') as f:
            data = bytearray(f.read())
            edit(data)
            f.seek(0)
            f.write(data)
    return write


def cut(share):
    """Return a writer of the first bytes of a good checkpoint: this share of them, and not the last."""
    def write(path):
        size = os.path.getsize(write_checkpoint(path))
        os.truncate(path, min(int(share * size), size - 1))
    return write


def flip_byte(data):
    """Change a byte of the numbers of U1."""
    numbers = ARRAYS['U1'].tobytes()
    assert data.count(numbers) == 1
    data[data.index(numbers) + 7] ^= 0x7e


def forge_size(data):
    """Let the directory of the zip file say that U1 has 4 GB, of which it has none."""
    entry = data.rindex(b'PK\x01\x02', 0, data.rindex(b'U1.npy'))
    data[entry + 24:entry + 28] = (2 ** 32 - 2).to_bytes(4, 'little')


@functools.lru_cache(maxsize=None)
def bomb(H):
    """Return the bytes of a small file of large arrays of zeros, which fit each other, for layers of H units."""
    f = io.BytesIO()
    with zipfile.ZipFile(f, 'w', zipfile.ZIP_DEFLATED) as npz:
        npz.writestr('uchar.npy', saved(ARRAYS['uchar']))
        for name, shape in parameter_shapes(len(CHARACTERS), H, H).items():
            npz.writestr(name + '.npy', npy(shape, content=bytes(4 * math.prod(shape))))
    return f.getvalue()


def with_beginning_of_another(data):
    """Put the members of another checkpoint before the directory of a good one."""
    f = io.BytesIO()
    np.savez(f, **{name: array for name, array in ARRAYS.items() if name != 'c'})
    data[:data.index(b'PK\x01\x02')] = f.getvalue()[:f.getvalue().index(b'PK\x01\x02')]


def with_value(name, value):
    array = ARRAYS[name].copy()
    array.flat[-1] = value
    return array


# ---------------------------------------------------------------- the table

NO_NPZ = ('it is no npz file, or one that was cut short',)
NO_CHARACTERS = ('its uchar is no list of distinct characters',)
EMPTY = ('no units or no characters',)
BOMB = ('bytes of arrays', 'a decompression bomb')


def unreadable(name):
    return (f'its {name} is damaged or holds Python objects',) if name != 'about' else ('its metadata is damaged',)


def infinite(name):
    return (name + ' has values that are no finite float32 numbers',)


DAMAGE = {
    'file: empty': Damage(content(b''), NO_NPZ),
    'file: text': Damage(content(b'epoch,cost\n1,2.5\n'), NO_NPZ),
    'file: PK and text': Damage(content(b'PK\x03\x04 and no more'), NO_NPZ),
    'cut: to 50 %': Damage(cut(0.5), NO_NPZ),
    'cut: to 100 %': Damage(cut(1), NO_NPZ),
    'spliced: the directory of another': Damage(edited(with_beginning_of_another), ()),
    'byte: of U1': Damage(edited(flip_byte), unreadable('U1')),
    'shape: U1 of three gates': Damage(arrays(U1=ARRAYS['U1'][:3]), ('U1 has shape',)),
    'shape: U2 of two dimensions': Damage(arrays(U2=ARRAYS['U2'][0]), ('U1 or U2 has not three dimensions',)),
    'shape: three characters': Damage(arrays(uchar=np.array(list('abc'))), ('U1 has shape',)),
    'shape: V a number': Damage(arrays(V=ARRAYS['V'].flat[0]), ('V has shape',)),
    'nothing: H1': Damage(arrays(**random_parameters(5, V=7, H1=0, H2=2)), EMPTY),
    'nothing: V': Damage(arrays(**random_parameters(5, V=0, H1=3, H2=2), uchar=np.array([], str)), EMPTY),
    'type: c of whole numbers': Damage(arrays(c=np.arange(7)), infinite('c')),
    'uchar: numbers': Damage(arrays(uchar=np.arange(7)), NO_CHARACTERS),
    'uchar: no code point': Damage(arrays(uchar=np.array(list(range(97, 103)) + [0x110000], '<u4').view('<U1')),
                                   NO_CHARACTERS),
    'uchar: one twice': Damage(arrays(uchar=np.array(list('abcdefa'))), NO_CHARACTERS),
    'uchar: two letters': Damage(arrays(uchar=np.array(list('abcdef') + ['gh'])), NO_CHARACTERS),
    'uchar: two NULs': Damage(arrays(uchar=np.array(['', ''] + list('cdefg'))), NO_CHARACTERS),
    'uchar: two dimensions': Damage(arrays(uchar=np.array([list('abcdefg')])), NO_CHARACTERS),
    'pickle: the file': Damage(content(pickle.dumps(Payload())), NO_NPZ),
    'forged: many numbers that are none': Damage(members(U1=npy((1, 10 ** 10, 0))), ('U1 has shape',)),
    'forged: size of U1 in the zip file': Damage(edited(forge_size), BOMB),
    'bomb: deflate': Damage(lambda path: content(bomb(1300))(path), BOMB),             # 81 MB
    'bomb: about of lists': Damage(arrays(about=np.array('{"progress": [' + '[],' * 10 ** 6 + '[]]}')),
                                   unreadable('about'), True)}
DAMAGE.update({'missing: ' + name: Damage(arrays(**{name: None}), (f'it has no {name};',)) for name in ('W2', 'uchar')})
DAMAGE.update({f'number: {value} in {name}': Damage(arrays(**{name: with_value(name, value)}), infinite(name))
               for name, value in (('U1', np.nan), ('V', -np.inf), ('c', 1e300))})      # in float32
for name in ('V', 'uchar', 'about'):
    objects = np.array([Payload()], dtype=object)
    DAMAGE['pickle: array ' + name] = Damage(arrays(**{name: objects}), unreadable(name), name == 'about')
DAMAGE.update({
    'pickle: member U1': Damage(members(U1=pickle.dumps(Payload())), unreadable('U1')),
    'pickle: header of about': Damage(members(about=npy((4, 2, 3), '|O', pickle.dumps(Payload()))), unreadable('about'),
                                      True)})
FORGED = {
    'U1': [npy((4, 10 ** 6, 10 ** 6)), npy((2 ** 62, 2 ** 62)), npy((-4, -10 ** 9), content=b'x' * 64),
           npy((10 ** 9,), '|V0')],
    'uchar': [npy((10 ** 9,), '<U0')],
    'about': [npy((), '<U1000000000'), npy((7,), '<U1', b'\xff' * 28)]}
DAMAGE.update({f'forged: header {k} of {name}': Damage(members(**{name: data}), unreadable(name), name == 'about')
               for name, contents in FORGED.items() for k, data in enumerate(contents)})
DAMAGE.update({f'about: {text:.9}': Damage(arrays(about=np.array(text)), unreadable('about'), True)
               for text in ('', '[1]', '[' * 10 ** 5)})
DAMAGE.update({f'about: {name}': Damage(arrays(about=np.array(f'{{{text}}}')), unreadable('about'), True)
               for name, text in {
                   'nan': '"progress": {"x": NaN}', 'infinite': '"progress": [-Infinity]',
                   'too large': '"progress": 1e999'}.items()})
DAMAGE.update({
    'about: deep': Damage(about(progress=functools.reduce(lambda inner, _: [inner], range(30), 1)), unreadable('about'),
                          True),
    'about: a key of its own': Damage(about(a=1), unreadable('about'), True),
    'about: cell': Damage(about(cell=dict(formula='h = a_f', parameters=['a_f'])), unreadable('about'), True),
    'about: lp': Damage(about(lp=dict(l1='0')), unreadable('about'), True),
    'about: a learning parameter of its own': Damage(
        about(lp=dict(l1=0.5, inertia=0.5)), ('parameter inertia is not in engine/run/table.py',), True),
    'format: later': Damage(about(format=2), ('its metadata is of format 2, and this program reads format 1',), True),
    'format: none': Damage(arrays(about=np.array('{}')), ('its metadata is of format None',), True)})


# ---------------------------------------------------------------- what a run resumes from

NO_RUN, BAD_METADATA = ('no run that can be resumed',), ('its metadata is damaged',)
WRONG = [None, True, -1, 0, 1.5, 10 ** 400, math.inf, math.nan, 'x', '', '/dev/zero', 'a/b', 'x' * 5000, 'a\0b',
         '\ud800', [], [1], {}, {'x': 1}]


class RunDamage(NamedTuple):
    change: Callable[[dict, dict], None]     # of arrays by name, and of metadata
    words: Tuple[str, ...]


def leaves(value, path=()):
    """Yield the paths to all values in nested dicts and lists, and to the dicts and lists."""
    if path:
        yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from leaves(value[key], path + (key,))


def put(metadata, path, value):
    """Set the value at a path in nested dicts and lists."""
    *parents, last = path
    for key in parents:
        metadata = metadata[key]
    metadata[last] = value


def forged(metadata, path, wrong):
    """Return a copy of metadata with another value at a path."""
    metadata = copy.deepcopy(metadata)
    put(metadata, path, wrong)
    return metadata


def field(path, value):
    """Return a change of one field of the metadata, by keys with slashes between them."""
    return lambda arrays, metadata: put(metadata, path.split('/'), value)


def array_of_run(name, edit):
    """Return a change of an array; one that becomes None is left out."""
    def change(arrays, metadata):
        arrays[name] = edit(arrays[name])
    return change


def sizes(size):
    """Return a change of the size of all logs in the metadata."""
    def change(arrays, metadata):
        for log in metadata['progress']['logs'].values():
            log['size'] = size
    return change


def as_run(name, size):
    """Return a change to a run of another name, whose logs have that size."""
    def change(arrays, metadata):
        metadata['progress'].update(name=f'{name}_t.txt')
        metadata['progress']['options']['run'] = name
        sizes(size)(arrays, metadata)
    return change


RUN_DAMAGE = {
    'option: unknown': RunDamage(field('progress/options/x', 1), NO_RUN),
    'option: no choice': RunDamage(field('progress/options/initial', 'x'), NO_RUN),
    'option: missing': RunDamage(lambda arrays, metadata: metadata['progress']['options'].pop('anneal'), NO_RUN),
    'option: out of range': RunDamage(field('lp/dropout', 1.5), ('dropout is 1.5',)),
    'option: a name that is a path': RunDamage(field('progress/options/run', '../r'), NO_RUN),
    'text: a file of the system that may never end': RunDamage(
        field('text/path', '/proc/kmsg'), ('/proc/kmsg', 'cannot be read again')),
    'text: another': RunDamage(field('text/sha256', '0' * 64), ('is not the text of that run',)),
    'text: no path': RunDamage(field('text/path', 5), BAD_METADATA),
    'name: a path': RunDamage(field('progress/name', '../r_t.txt'), NO_RUN),
    'name: too long': RunDamage(field('progress/name', 'x' * 250), ('too long',)),
    'string: a surrogate that no file name has': RunDamage(field('text/encoding', '\ud800'), BAD_METADATA),
    'progress: none': RunDamage(field('progress', None), NO_RUN),
    'progress: beyond the epoch': RunDamage(field('progress/batch', 10 ** 6), ('it is at batch 1000000 of',)),
    'progress: epochs without end': RunDamage(field('progress/epoch', 2 ** 62), NO_RUN),
    'logs: no sizes': RunDamage(lambda arrays, metadata: metadata['progress'].pop('logs'), NO_RUN),
    'logs: larger than memory': RunDamage(sizes(10 ** 13), ('not known to be of the run', 'r_t.txt.out')),
    'logs: empty ones of another run': RunDamage(as_run('other', 0), ('not known to be of the run', 'other_t.txt.out')),
    'generator: state out of range': RunDamage(field('random/state/state', 2 ** 128), BAD_METADATA),
    'generator: increment that is even': RunDamage(field('random/state/inc', 2), BAD_METADATA),
    'states: nan': RunDamage(array_of_run('validation_C1', lambda states: states * np.nan), ('no finite float32',)),
    'averages: below zero': RunDamage(array_of_run('m_W2', lambda m: -1 - m), ('below zero',))}
