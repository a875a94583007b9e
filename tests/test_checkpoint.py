"""npz files that are no checkpoints, or damaged ones: refused in one line, and nothing in them is run."""
import math
import os
import pickle
import string
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm import CharLSTM, read_about, read_checkpoint
from damage import ARRAYS, DAMAGE, TRACE, Payload, arrays, npy, saved, write_checkpoint
from engine.state.checkpoint import write
from numpy_model import NAMES
from scripts import ROOT, environment


@pytest.fixture(scope='module')
def good(tmp_path_factory):
    """The bytes of a checkpoint as train.py writes them, and what is in it."""
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
    monkeypatch.chdir(tmp_path)                                   # where what is unpickled would leave a file
    DAMAGE[name].write('p.npz')
    with refused(ValueError, 'p.npz is not a checkpoint', *DAMAGE[name].words):
        (read_about if DAMAGE[name].of_about else read_checkpoint)('p.npz')
    assert os.listdir('.') == ['p.npz']


@pytest.mark.parametrize('name', ['uchar', 'c', 'U1', 'about'])
def test_what_was_pickled_would_have_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    DAMAGE['pickle: array ' + name].write('p.npz')
    np.load('p.npz', allow_pickle=True)[name]
    assert os.path.exists(TRACE)
    os.remove(TRACE)
    pickle.loads(pickle.dumps(Payload())).close()
    assert os.path.exists(TRACE)


def test_undamaged_checkpoint_is_read(path):
    """What the table changes one thing of; and about, which the original has not."""
    parameters, uchar = read_checkpoint(write_checkpoint(path))
    assert set(parameters) == set(NAMES) and len(uchar) == len(parameters['c'])
    assert read_about(path) == {}
    arrays(about=np.array('{"trials": 3}'))(path)
    assert read_about(path) == {'trials': 3}


def test_missing_file_and_directory(tmp_path, refused):
    for call in (CharLSTM().load_params, lambda path: CharLSTM().model_setup(mfile=path)):
        with refused(FileNotFoundError, tmp_path / 'missing.npz'):
            call(tmp_path / 'missing.npz')
        with refused(IsADirectoryError, tmp_path):
            call(tmp_path)


@pytest.mark.parametrize('name', ['fifo', '/dev/zero', '/dev/full'])
def test_what_may_never_end_is_refused_at_once(tmp_path, refused, name):
    """A FIFO waits for somebody who writes to it, and a device may go on for ever."""
    os.mkfifo(tmp_path / 'fifo')
    for read in (read_checkpoint, read_about):
        with refused(ValueError, name, 'no npz file'):
            read(str(tmp_path / name))


def test_progress_too_long_to_be_read_again_is_not_written(path, refused):
    with refused(ValueError, path, 'not written', '1,048,576'):
        write(path, {}, dict(progress='x' * 2 ** 20))
    assert not os.path.exists(path)


@pytest.mark.parametrize('where', ['zipfile.ZipFile', 'numpy.lib.format.read_array_header_1_0', 'numpy.frombuffer'])
def test_want_of_memory_is_not_called_damage(path, monkeypatch, refused, where):
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
    """In a process that can have no more than 256 MiB: a ValueError, and not for want of memory."""
    forged = [(damage, str(tmp_path / '{}.npz'.format(k))) for k, (name, damage) in enumerate(DAMAGE.items())
              if name.startswith('forged')]
    for damage, path in forged:
        damage.write(path)
    result = subprocess.run([sys.executable, '-c', READ, str(ROOT)] + [path for _, path in forged],
                            env=environment(OMP_NUM_THREADS='1'), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            encoding='utf-8')
    assert result.returncode == 0, result.stderr
    said = result.stdout.splitlines()
    assert len(said) == 2 * len(forged) >= 2 * 13
    for (damage, path), checkpoint, about in zip(forged, said[::2], said[1::2]):
        refused = [checkpoint, about] if damage.of_about else [checkpoint]         # it says whose parameters they are
        assert all(said.startswith('ValueError ' + path) and damage.words[0] in said for said in refused), refused
        assert damage.of_about or about == 'read'


# ---------------------------------------------------------------- any damage

def assert_same_or_refused(path, good):
    """What a damaged checkpoint does to each of its readers."""
    _, (parameters, uchar), about = good
    for read in (read_checkpoint, read_about):
        try:
            found = read(str(path))
        except (ValueError, OSError) as error:
            assert str(path) in str(error) and '\n' not in str(error)
            continue
        if read is read_about:
            assert found in (about, {})                     # without the name 'about' it says nothing
        else:
            assert list(found[1]) == list(uchar)
            assert all(found[0][name].tobytes() == parameters[name].tobytes() for name in NAMES)


@given(position=st.floats(0, 1), junk=st.binary(max_size=30), instead=st.integers(0, 40))
def test_any_damage(good, shared_folder, position, junk, instead):
    path, whole = shared_folder / 'damaged.npz', good[0]
    start = int(position * len(whole))
    path.write_bytes(whole[:start] + junk + whole[start + instead:])
    assert_same_or_refused(path, good)


@pytest.mark.parametrize('kind', [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA],
                         ids=['deflate', 'bzip2', 'lzma'])
@pytest.mark.parametrize('says', ['all', 'little in its header', 'little everywhere'])
def test_bomb_of_zeros_takes_no_memory(path, refused, kind, says):
    """A small file that unfolds to 200 MB, whatever it says of that."""
    right, zeros = ARRAYS['U1'].shape, b'\0' * 200_000_000
    content = npy((4, 5_000, 2_500) if says == 'all' else right, content=zeros)
    with zipfile.ZipFile(path, 'w', kind) as bomb:
        for name, array in ARRAYS.items():
            bomb.writestr(name + '.npy', content if name == 'U1' else saved(array))
        if says == 'little everywhere':
            bomb.getinfo('U1.npy').file_size = len(npy(right, content=b'\0' * 4 * math.prod(right)))
    assert os.path.getsize(path) < 1_000_000
    del zeros, content
    tracemalloc.start()
    try:
        with refused(ValueError, path):
            read_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
