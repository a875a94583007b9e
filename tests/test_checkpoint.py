"""Damaged checkpoints, and npz files that are none: they are refused in one line, and nothing in them is run."""
import math
import os
import string
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlstm import CharLSTM, read_about, read_checkpoint
from damage import ARRAYS, DAMAGE, TRACE, arrays, npy, saved, write_checkpoint
from engine.state.checkpoint import write
from numpy_model import NAMES
from scripts import ROOT, run, succeeded


@pytest.fixture(scope='module')
def good(tmp_path_factory):
    """The bytes of a good checkpoint, its parameters with uchar, and its metadata."""
    folder = tmp_path_factory.mktemp('good')
    (folder / 't.txt').write_text(string.printable)
    model = CharLSTM(random_seed=2)
    model.prepare_input(str(folder / 't.txt'), 0, 2, 5, verbose=False, stateful=True)
    model.model_setup(num_units1=13, num_units2=11)
    path = folder / 'p.npz'
    model.save_params(path, dict(epoch=3, batch=1))
    return path.read_bytes(), read_checkpoint(str(path)), read_about(str(path))


# ---------------------------------------------------------------- the table of damage.py

@pytest.mark.parametrize('name', DAMAGE)
def test_damage_is_refused_and_nothing_run(name, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)                                   # where a Payload that is unpickled leaves a file
    DAMAGE[name].write('p.npz')
    with refused(ValueError, 'p.npz is not a checkpoint', *DAMAGE[name].words):
        (read_about if DAMAGE[name].of_about else read_checkpoint)('p.npz')
    assert os.listdir('.') == ['p.npz']


@pytest.mark.parametrize('name', ['U1', 'about'])
def test_pickled_payload_would_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    DAMAGE['pickle: array ' + name].write('p.npz')
    np.load('p.npz', allow_pickle=True)[name]
    assert os.path.exists(TRACE)


def test_undamaged_checkpoint_is_read(path):
    """The file of which the table changes one thing, and one with metadata, which the original has not."""
    parameters, uchar = read_checkpoint(write_checkpoint(path))
    assert set(parameters) == set(NAMES) and len(uchar) == len(parameters['c'])
    assert read_about(path) == {}
    arrays(about=np.array('{"trials": 3}'))(path)
    assert read_about(path) == {'trials': 3}


def test_missing_file_and_directory(tmp_path, refused):
    for read in (read_checkpoint, read_about, CharLSTM().load_params):
        with refused(FileNotFoundError, tmp_path / 'missing.npz'):
            read(tmp_path / 'missing.npz')
        with refused(IsADirectoryError, tmp_path):
            read(tmp_path)


@pytest.mark.parametrize('name', ['fifo', '/dev/zero'])
def test_fifo_and_device_are_refused_at_once(tmp_path, refused, name):
    """A FIFO waits for a writer, and a device may never end."""
    os.mkfifo(tmp_path / 'fifo')
    with refused(ValueError, name, 'no npz file'):
        read_checkpoint(str(tmp_path / name))


def test_progress_that_is_too_long_is_not_written(path, refused):
    with refused(ValueError, path, 'not written', '1,048,576'):
        write(path, {}, dict(progress='x' * 2 ** 20))
    assert not os.path.exists(path)


@pytest.mark.parametrize('where', ['zipfile.ZipFile', 'numpy.frombuffer'])
def test_lack_of_memory_is_not_called_damage(path, monkeypatch, refused, where):
    def too_much(*arguments, **more):
        raise MemoryError
    write_checkpoint(path)
    monkeypatch.setattr(where, too_much)
    with refused(OSError, f'cannot read {path}: there is not enough memory'):
        read_checkpoint(path)


READ = '''
import resource, sys
sys.path.insert(0, sys.argv[1])
import charlstm
used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2 ** 28,) * 2)
for path in sys.argv[2:]:
    for read in charlstm.read_checkpoint, charlstm.read_about:
        try:
            read(path)
            print('read')
        except Exception as error:
            print(type(error).__name__, error)
'''


def test_forged_headers_allocate_nothing(tmp_path):
    """In a process that can have no more than 256 MiB: a ValueError, and no lack of memory."""
    damages = [damage for name, damage in DAMAGE.items() if name.startswith('forged')]
    paths = [str(tmp_path / f'{k}.npz') for k in range(len(damages))]
    for damage, path in zip(damages, paths):
        damage.write(path)
    result = run('-c', READ, ROOT, *paths, env=dict(OMP_NUM_THREADS='1'))
    lines = succeeded(result).splitlines()
    assert len(lines) == 2 * len(paths) >= 2 * 9
    for damage, path, of_checkpoint, of_about in zip(damages, paths, lines[::2], lines[1::2]):
        assert damage.of_about or of_about == 'read'
        for line in [of_checkpoint, of_about] if damage.of_about else [of_checkpoint]:
            assert line.startswith('ValueError ' + path) and damage.words[0] in line


# ---------------------------------------------------------------- any damage

def assert_same_or_refused(path, good):
    """Read a damaged checkpoint: each reader returns what the good one has, or refuses it in one line."""
    _, (parameters, uchar), metadata = good
    for read in (read_checkpoint, read_about):
        try:
            found = read(str(path))
        except (ValueError, OSError) as error:
            assert str(path) in str(error) and '\n' not in str(error)
            continue
        if read is read_about:
            assert found in (metadata, {})                  # {} where the entry has lost its name, 'about'
        else:
            assert list(found[1]) == list(uchar)
            assert all(found[0][name].tobytes() == parameters[name].tobytes() for name in NAMES)


@settings(max_examples=100)
@given(position=st.floats(0, 1), junk=st.binary(max_size=30), instead=st.integers(0, 40))
def test_any_damage(good, shared_folder, position, junk, instead):
    path, whole = shared_folder / 'damaged.npz', good[0]
    start = int(position * len(whole))
    path.write_bytes(whole[:start] + junk + whole[start + instead:])
    assert_same_or_refused(path, good)


@pytest.mark.parametrize('kind, forged', [(zipfile.ZIP_DEFLATED, 'header'), (zipfile.ZIP_DEFLATED, 'header and size'),
                                          (zipfile.ZIP_BZIP2, 'nothing')])
def test_decompression_bomb_takes_no_memory(path, refused, kind, forged):
    """A small file with 40 MB of zeros, also where its header, or its directory too, tell of few bytes."""
    right, zeros = ARRAYS['U1'].shape, bytes(40_000_000)
    content = npy(right if 'header' in forged else (4, 1_000, 2_500), content=zeros)
    with zipfile.ZipFile(path, 'w', kind) as bomb:
        for name, array in ARRAYS.items():
            bomb.writestr(name + '.npy', content if name == 'U1' else saved(array))
        if 'size' in forged:
            bomb.getinfo('U1.npy').file_size = len(npy(right, content=bytes(4 * math.prod(right))))
    assert os.path.getsize(path) < 200_000
    del zeros, content
    tracemalloc.start()
    try:
        with refused(ValueError, path, 'U1 is damaged'):
            read_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
