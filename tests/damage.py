"""Checkpoints that are damaged in every way, and the words that their refusals must have: for class and scripts.

DAMAGE has them by name, each with a function of a path that writes the file. A
good file's arrays are small, in float64 and exact in float32. RUN_DAMAGE has what
a run cannot go on from, each with a function that changes the arrays and the about of one
that can.
"""
import copy
import functools
import io
import math
import os
import pickle
import zipfile
import zlib
from typing import Callable, NamedTuple, Tuple

import numpy as np

from engine.run.run import LOGS, headings

from numpy_model import NAMES, random_parameters

CHARACTERS = 'abé— 𝄞\n'
ARRAYS = dict(random_parameters(5, 'float32', V=len(CHARACTERS), H1=3, H2=2), uchar=np.array(list(CHARACTERS)))
TRACE = 'unpickled'           # the file that a Payload leaves in the current folder


class Damage(NamedTuple):
    write: Callable[[str], None]
    words: Tuple[str, ...]
    of_about: bool = False    # in what the checkpoint says of itself, so that its parameters can be read


class Payload:
    """Makes a file when it is unpickled."""

    def __reduce__(self):
        return open, (TRACE, 'w')


# ---------------------------------------------------------------- ways to write a file

def write_checkpoint(path, **changes):
    """A checkpoint whose every array is right but for the changes; one that is None is left out. Returns its path."""
    np.savez(path, **{name: array for name, array in dict(ARRAYS, **changes).items() if array is not None})
    return str(path)


def npy(shape, descr='<f4', content=b''):
    """A member of an npz file whose header says what it wants."""
    header = repr(dict(descr=descr, fortran_order=False, shape=shape)).encode()
    header += b' ' * (-(len(header) + 11) % 64) + b'\n'
    return b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little') + header + content


def saved(array):
    """The bytes of an npy file."""
    f = io.BytesIO()
    np.save(f, array)
    return f.getvalue()


def arrays(**changes):
    return lambda path: write_checkpoint(path, **changes)


def members(**changes):
    """A good checkpoint but for the members of the zip file that are given, bytes."""
    def write(path):
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as npz:
            for name, array in dict(ARRAYS, about=np.array('{}')).items():
                npz.writestr(name + '.npy', changes.get(name, saved(array)))
    return write


def content(data):
    def write(path):
        with open(path, 'wb') as f:
            f.write(data)
    return write


def edited(edit):
    """A good checkpoint but for what edit does to its bytes, a bytearray."""
    def write(path):
        write_checkpoint(path)
        with open(path, 'r+b') as f:
            data = bytearray(f.read())
            edit(data)
            f.seek(0)
            f.write(data)
    return write


def cut(share):
    """Of a good checkpoint the first bytes: this share of them, and not the last."""
    def write(path):
        size = os.path.getsize(write_checkpoint(path))
        os.truncate(path, min(int(share * size), size - 1))
    return write


def flip(name, byte, mask):
    """Change a byte of the numbers of an array."""
    def edit(data):
        numbers = ARRAYS[name].tobytes()
        assert data.count(numbers) == 1
        data[data.index(numbers) + byte] ^= mask
    return edited(edit)


def forge_size(data):
    """Let the zip file's own list say that U1 is of 4 GB, of which none are there."""
    entry = data.rindex(b'PK\x01\x02', 0, data.rindex(b'U1.npy'))
    data[entry + 24:entry + 28] = (2 ** 32 - 2).to_bytes(4, 'little')


@functools.lru_cache(maxsize=None)
def bomb(kind, H):
    """The bytes of a small file that unfolds to some hundred MB of zeros: arrays of H units, which fit each other."""
    V, f = len(CHARACTERS), io.BytesIO()
    with zipfile.ZipFile(f, 'w', kind) as npz:
        for name, array in dict(random_parameters(5, V=V, H1=1, H2=1), uchar=ARRAYS['uchar']).items():
            shape = array.shape if name == 'uchar' else tuple(H if n == 1 else n for n in array.shape)
            zeros = bytes(4 * math.prod(shape)) if name != 'uchar' else array.tobytes()
            npz.writestr(name + '.npy', npy(shape, array.dtype.str if name == 'uchar' else '<f4', zeros))
    return f.getvalue()


def with_beginning_of_another(data):
    """Before the directory of a good checkpoint, the members of another."""
    f = io.BytesIO()
    np.savez(f, **{name: array for name, array in ARRAYS.items() if name != 'c'})
    data[:data.index(b'PK\x01\x02')] = f.getvalue()[:f.getvalue().index(b'PK\x01\x02')]


def with_value(name, value):
    array = ARRAYS[name].copy()
    array.flat[-1] = value
    return array


def longer(array):
    return np.concatenate([array, array[..., :1]], axis=-1)


# ---------------------------------------------------------------- the table

NO_NPZ = ('it is no npz file, or one that was cut short',)
NO_CHARACTERS = ('its uchar is no list of distinct characters',)


def flat(name):
    """What is said where an array has not the dimensions or shape that it should have."""
    return ('three dimensions', 'U1 or U2') if name in ('U1', 'U2') else (name + ' has shape',)


def unreadable(name):
    return ('its {} is damaged'.format('metadata' if name == 'about' else name),) + ('or holds Python objects',) * (name != 'about')


def infinite(name):
    return (name + ' has values that are no finite float32 numbers',)


DAMAGE = {
    'file: empty': Damage(content(b''), NO_NPZ),
    'file: text': Damage(content(b'epoch,cost\n1,2.5\n'), NO_NPZ),
    'file: PK': Damage(content(b'PK\x03\x04'), NO_NPZ),
    'file: PK and text': Damage(content(b'PK\x03\x04 and no more'), NO_NPZ),
    'file: npy': Damage(content(saved(np.arange(5.0))), NO_NPZ),
    'file: start of an npy': Damage(content(b'\x93NUMPY\x01\x00'), NO_NPZ),
    'file: pickle': Damage(content(pickle.dumps([1, 2])), NO_NPZ),
    'pickle: the file': Damage(content(pickle.dumps(Payload())), NO_NPZ),
    'byte: of U1': Damage(flip('U1', 7, 0x7e), unreadable('U1')),
    'byte: of W2': Damage(flip('W2', 20, 1), unreadable('W2')),
    'shape: U1 of three gates': Damage(arrays(U1=ARRAYS['U1'][:3]), ('U1 has shape',)),
    'shape: U1 of no units': Damage(arrays(U1=ARRAYS['U1'][:, :0]), ('no units or no characters', 'U1')),
    'shape: U2 of two dimensions': Damage(arrays(U2=ARRAYS['U2'][0]), flat('U2')),
    'shape: three characters': Damage(arrays(uchar=np.array(list('abc'))), ('U1 has shape',)),
    'nothing: H1': Damage(arrays(**random_parameters(5, V=7, H1=0, H2=2)), ('no units or no characters',)),
    'nothing: H2': Damage(arrays(**random_parameters(5, V=7, H1=3, H2=0)), ('no units or no characters',)),
    'nothing: V': Damage(arrays(**random_parameters(5, V=0, H1=3, H2=2), uchar=np.array([], str)),
                         ('no units or no characters',)),
    'type: U1 of whole numbers': Damage(arrays(U1=np.ones((4, 3, 7), int)), infinite('U1')),
    'type: b1 of strings': Damage(arrays(b1=np.full((4, 3), 'x')), infinite('b1')),
    'type: c of whole numbers': Damage(arrays(c=np.arange(7)), infinite('c')),
    'type: c of strings': Damage(arrays(c=np.arange(7).astype(str)), infinite('c')),
    'type: c of truth values': Damage(arrays(c=ARRAYS['c'] > 0), infinite('c')),
    'type: c of complex numbers': Damage(arrays(c=ARRAYS['c'] + 0j), infinite('c')),
    'type: c of objects': Damage(arrays(c=ARRAYS['c'].astype(object)), unreadable('c')),
    'uchar: of objects': Damage(arrays(uchar=np.array(list('abcdefg'), object)), unreadable('uchar')),
    'uchar: numbers': Damage(arrays(uchar=np.arange(7)), NO_CHARACTERS),
    'uchar: one character less': Damage(arrays(uchar=np.array(list('abcdef'))), ('U1 has shape',)),
    'uchar: all the same': Damage(arrays(uchar=np.array(['a'] * 7)), NO_CHARACTERS),
    'uchar: no code point': Damage(arrays(uchar=np.array(list(range(97, 103)) + [0x110000], '<u4').view('<U1')),
                                   NO_CHARACTERS),
    'uchar: one twice': Damage(arrays(uchar=np.array(list('abcdefa'))), NO_CHARACTERS),
    'uchar: two letters': Damage(arrays(uchar=np.array(list('abcdef') + ['gh'])), NO_CHARACTERS),
    'uchar: two letters first': Damage(arrays(uchar=np.array(['ab'] + list('cdefgh'))), NO_CHARACTERS),
    'uchar: two bytes': Damage(arrays(uchar=np.array([b'ab'] + list('cdefgh'), 'S2')), NO_CHARACTERS),
    'uchar: one byte twice': Damage(arrays(uchar=np.array([bytes([k]) for k in b'\xc3\xa9abcd\xc3'])), NO_CHARACTERS),
    'uchar: two of none': Damage(arrays(uchar=np.array(['', ''] + list('cdefg'))), NO_CHARACTERS),
    'uchar: two dimensions': Damage(arrays(uchar=np.array([list('abcdefg')])), NO_CHARACTERS),
    'uchar: no dimension': Damage(arrays(uchar=np.array('abcdefg')), NO_CHARACTERS),
    'forged: many numbers that are none': Damage(members(U1=npy((1, 10 ** 10, 0))), ('U1 has shape',)),
    'forged: size of U1 in the zip file': Damage(edited(forge_size), unreadable('U1')),
}
DAMAGE.update({'cut: to {:g} %'.format(100 * share): Damage(cut(share), NO_NPZ)
               for share in (0.01, 0.02, 0.3, 0.5, 0.6, 0.9, 0.95, 0.999, 1)})
DAMAGE.update({'missing: ' + name: Damage(arrays(**{name: None}), ('it has no {};'.format(name),)) for name in ARRAYS})
DAMAGE.update({
    'bomb: bzip2': Damage(lambda path: content(bomb(zipfile.ZIP_BZIP2, 1300))(path), unreadable('U1')),
    'bomb: lzma': Damage(lambda path: content(bomb(zipfile.ZIP_LZMA, 1300))(path), unreadable('U1')),
    'bomb: deflate': Damage(lambda path: content(bomb(zipfile.ZIP_DEFLATED, 1300))(path), ('would unfold to no end',)),
    'bomb: about of lists': Damage(arrays(about=np.array('{"progress": [' + '[],' * 10 ** 6 + '[]]}')),
                                   ('its metadata is damaged',), True),
    'spliced: the directory of another': Damage(edited(with_beginning_of_another), ())})
for name in NAMES:
    array, shape = ARRAYS[name], (name + ' has shape',)
    DAMAGE.update({
        'shape: {} longer'.format(name): Damage(arrays(**{name: longer(array)}), shape),
        'shape: {} shorter'.format(name): Damage(arrays(**{name: array[..., :-1]}), shape),
        'shape: {} with a dimension more'.format(name): Damage(arrays(**{name: array[None]}), flat(name)),
        'shape: {} a number'.format(name): Damage(arrays(**{name: array.flat[0]}), flat(name))})
DAMAGE.update({'number: {} in {}'.format(value, name): Damage(arrays(**{name: with_value(name, value)}), infinite(name))
               for name in ('U1', 'b1', 'b2', 'V', 'c') for value in (np.nan, np.inf, -np.inf, 1e300)})     # in float32
for name in ('U1', 'V', 'c', 'uchar', 'about'):
    objects = np.array([Payload()], dtype=object)
    DAMAGE.update({
        'pickle: array ' + name: Damage(arrays(**{name: objects}), unreadable(name), name == 'about'),
        'pickle: member ' + name: Damage(members(**{name: pickle.dumps(Payload())}), unreadable(name), name == 'about'),
        'pickle: header of ' + name: Damage(members(**{name: npy((4, 2, 3), '|O', pickle.dumps(Payload()))}),
                                            unreadable(name), name == 'about')})
FORGED = {
    'U1': [npy((4, 10 ** 6, 10 ** 6)), npy((2 ** 62, 2 ** 62)), npy((-4, -10 ** 9), content=b'x' * 64),
           npy((4, 2, 10 ** 9), '<f8', b'x' * 64), npy((10 ** 9,), '|V0')],
    'uchar': [npy((10 ** 9,), '<U1', b'a\0\0\0'), npy((10 ** 9,), '<U0'), npy((10 ** 9,), '|S0'),
              npy((1,), '<U1000000000')],
    'about': [npy((), '<U1000000000'), npy((10 ** 10,), '<U0')]}
DAMAGE.update({'forged: header {} of {}'.format(k, name): Damage(members(**{name: data}), unreadable(name),
                                                                 name == 'about')
               for name, contents in FORGED.items() for k, data in enumerate(contents)})
DAMAGE.update({'about: {:.9}'.format(text): Damage(arrays(about=np.array(text)), ('its metadata is damaged',), True)
               for text in ('', 'null', '5', '[1]', '"abc"', '{"a":', '[' * 10 ** 5)})


# ---------------------------------------------------------------- what a run goes on from

NO_RUN, SAYS_WRONG = ('no run that can be resumed',), ('its metadata is damaged',)
WRONG = [None, True, -1, 0, 1.5, 10 ** 400, math.inf, math.nan, 'x', '', '/dev/zero', 'a/b', 'x' * 5000, 'a\0b',
         '\ud800', [], [1], {}, {'x': 1}]


class RunDamage(NamedTuple):
    change: Callable[[dict, dict], None]     # of arrays by name, and of about
    words: Tuple[str, ...]


def leaves(value, path=()):
    """The paths to all values in nested dicts and lists, also to these."""
    if path:
        yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from leaves(value[key], path + (key,))


def put(about, path, value):
    """Set the value at a path in nested dicts and lists."""
    *parents, last = path
    for key in parents:
        about = about[key]
    about[last] = value


def forged(about, path, wrong):
    """A copy of about with another value at a path."""
    about = copy.deepcopy(about)
    put(about, path, wrong)
    return about


def field(path, value):
    """A change of one field of about, by keys with slashes between them."""
    return lambda arrays, about: put(about, path.split('/'), value)


def array_of_run(name, edit):
    """A change of an array; one that is None is left out."""
    def change(arrays, about):
        arrays[name] = edit(arrays[name])
    return change


def as_run(name, logs):
    """A change to a run of another name that says of logs what anybody knows: how they begin; logs: how many bytes."""
    def change(arrays, about):
        about['progress'].pop('name', None)
        about['progress']['options']['run'] = name
        about['progress'].update(logs)
    return change


HEADINGS = {ending: [len(heading), zlib.crc32(heading.encode())] for ending, heading in headings().items()}
NO_LOGS = dict(logs={ending: [0, 0] for ending in LOGS})
OTHER_LOG = ('not known to be of the run', 'other_t.txt.out')
RUN_DAMAGE = {
    'option: resume': RunDamage(field('progress/options/resume', '/etc/passwd'), NO_RUN),
    'option: output_dir': RunDamage(field('progress/options/output_dir', '/tmp'), NO_RUN),
    'option: overwrite': RunDamage(field('progress/options/overwrite', True), NO_RUN),
    'option: unknown': RunDamage(field('progress/options/x', 1), NO_RUN),
    'option: a string for a number': RunDamage(field('progress/options/epochs', '3'), NO_RUN),
    'option: a list for a string': RunDamage(field('progress/options/encoding', ['utf-8']), NO_RUN),
    'option: no choice': RunDamage(field('progress/options/initial', 'x'), NO_RUN),
    'option: nan': RunDamage(field('progress/options/lrate', math.nan), NO_RUN),
    'option: out of range': RunDamage(field('progress/options/dropout', 1.5), ('dropout is 1.5',)),
    'option: no end of units': RunDamage(field('progress/options/num_units1', 20000), ('--num-units1',)),
    'option: a name that is a path': RunDamage(field('progress/options/run', '../r'), NO_RUN),
    'text: a device': RunDamage(field('progress/options/input', '/dev/zero'), ('/dev/zero', 'is gone')),
    'text: a file of the system that may never end': RunDamage(field('progress/options/input', '/proc/kmsg'),
                                                               ('/proc/kmsg', 'is gone')),
    'text: another': RunDamage(field('text/sha256', '0' * 64), ('is not the text of that run',)),
    'text: no path': RunDamage(field('text/path', 5), SAYS_WRONG),
    'name: a path': RunDamage(field('progress/name', '../r_t.txt'), NO_RUN),
    'name: too long': RunDamage(field('progress/name', 'x' * 250), ('too long',)),
    'string: too long': RunDamage(field('text/encoding', 'x' * 5000), SAYS_WRONG),
    'string: NUL': RunDamage(field('versions/numpy', 'a\0b'), SAYS_WRONG),
    'string: a surrogate that no file name has': RunDamage(field('progress/options/encoding', '\ud800'), NO_RUN),
    'progress: none': RunDamage(field('progress', None), NO_RUN),
    'progress: beyond the epoch': RunDamage(field('progress/batch', 10 ** 6), ('it is at batch 1000000 of',)),
    'progress: epochs without end': RunDamage(field('progress/epoch', 2 ** 62), NO_RUN),
    'progress: costs below zero': RunDamage(field('progress/mean_cost', -1.0), NO_RUN),
    'progress: infinite cost': RunDamage(field('progress/best_cost', math.inf), NO_RUN),
    'logs: no sizes': RunDamage(lambda arrays, about: about['progress'].pop('logs'),
                                ('not known to be of the run', 'r_t.txt.out')),
    'logs: larger than memory': RunDamage(field('progress/logs', {ending: [10 ** 13, 0] for ending in LOGS}),
                                          ('not known to be of the run', 'r_t.txt.out')),
    'logs: empty ones of another run': RunDamage(as_run('other', NO_LOGS), OTHER_LOG),
    'logs: of another run, its headings': RunDamage(as_run('other', dict(logs=HEADINGS)), OTHER_LOG),
    'generator: state out of range': RunDamage(field('random/state/state', 2 ** 128), SAYS_WRONG),
    'generator: increment that is even': RunDamage(field('random/state/inc', 2), SAYS_WRONG),
    'generator: another': RunDamage(field('random/bit_generator', 'MT19937'), SAYS_WRONG),
    'states: of another shape': RunDamage(array_of_run('trial_h1', lambda states: states[:, 1:]), NO_RUN),
    'states: of one row less': RunDamage(array_of_run('trial_C2', lambda states: states[1:]), NO_RUN),
    'states: nan': RunDamage(array_of_run('trial_C1', lambda states: states * np.nan), ('no finite float32',)),
    'states: hidden by a byte of the directory': RunDamage(array_of_run('trial_h1', lambda states: None),
                                                           ('it has lost its trial_h1',)),
    'averages: below zero': RunDamage(array_of_run('m_W2', lambda m: -1 - m), ('below zero',)),
    'averages: missing': RunDamage(array_of_run('m_W2', lambda m: None), ('it has lost its m_W2',)),
    'averages: of another shape': RunDamage(array_of_run('m_c', lambda m: m[1:]), NO_RUN)}
