"""Properties that must hold for whatever text, size or damaged file: hypothesis looks for one that breaks them."""
import io
import pickle
import string
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import charlstm
from charlstm import CharLSTM, read_about, read_checkpoint
from engine import text as text_module
from engine.text import renumbered, smallest_type, vocabulary
from numpy_model import NAMES, random_parameters
from scripts import ROOT, environment

several = settings(max_examples=200, deadline=None, derandomize=True, database=None)
CHARACTERS = st.characters(blacklist_categories=['Cs'])
TEXTS = st.one_of(st.text(CHARACTERS, min_size=2, max_size=90), st.text('ab\n\r\0é𝄞', min_size=2, max_size=400))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """One for all examples, as hypothesis wants it."""
    return tmp_path_factory.mktemp('properties')


# ---------------------------------------------------------------- texts

def as_read(text):
    """A text as it should be read: without byte order mark, and with line ends as LF."""
    if text.startswith('\ufeff'):
        text = text[1:]
    return text.replace('\r\n', '\n').replace('\r', '\n')


def written(folder, text):
    path = folder / 't.txt'
    path.write_bytes(text.encode('utf-8'))
    return str(path)


@several
@given(text=TEXTS, chunk=st.sampled_from([1, 2, 3, 7, 1 << 20]))
def test_vocabulary_round_trip(folder, text, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, 'CHUNK', chunk)
        codes, uchar, _ = charlstm.read_text(written(folder, text))
    assert list(uchar) == sorted(set(as_read(text)))
    assert ''.join(uchar[codes]) == as_read(text)
    assert codes.dtype == 'uint8' or len(uchar) > 256


@several
@given(text=TEXTS, more=st.text(CHARACTERS, max_size=300), data=st.data())
def test_recoding(text, more, data):
    old = sorted(set(text))
    new = data.draw(st.permutations(sorted(set(text) | set(more))))
    codes = np.array([old.index(ch) for ch in text], smallest_type(len(old)))
    again = renumbered(codes, vocabulary(old), vocabulary(new))
    assert ''.join(new[k] for k in again) == text


def slowly_cut(text, ratio, B, S, stateful):
    """Part to the batches, each a list of (characters, targets) rows, by the rule's words."""
    sequences = [text[k:k + S] for k in range(0, len(text) - S + 1, S)]
    n_train = int(round((1 - ratio) * len(sequences)))
    parts = {}
    for part, piece in (('train', text[:n_train * S]), ('valid', text[n_train * S:])):
        if stateful:
            length = len(piece) // B
            streams = [piece[b * length:(b + 1) * length] for b in range(B)]
            starts = range(0, max(0, length - 1), S)
            parts[part] = [[(s[k:k + S][:length - 1 - k], s[k + 1:k + 1 + S]) for s in streams] for k in starts]
        else:
            rows = [(s[:-1], s[1:]) for s in (sequences[:n_train] if part == 'train' else sequences[n_train:])]
            parts[part] = [rows[k:k + B] for k in range(0, len(rows) - B + 1, B)]
    return parts


@settings(several, max_examples=500)
@given(text=TEXTS, ratio=st.one_of(st.just(0), st.floats(0, 0.95)), B=st.integers(1, 7), S=st.integers(2, 9),
       stateful=st.booleans())
def test_batches(folder, text, ratio, B, S, stateful):
    model = CharLSTM(random_seed=1)
    read = as_read(text)
    enough = round((1 - ratio) * (len(read) // S)) >= B and len(set(read)) > 1
    try:
        model.prepare_input(written(folder, text), ratio, B, S, verbose=False, stateful=stateful)
    except ValueError as error:
        assert not enough and '\n' not in str(error)
        return
    assert enough
    for part, expected in slowly_cut(read, ratio, B, S, stateful).items():
        X, Y = model.X[part], model.Y[part]
        assert model.n_batches[part] == len(X) == len(Y) == len(expected)
        found = [[tuple(''.join(model.uchar[side[:, b]]) for side in pair) for b in range(B)] for pair in zip(X, Y)]
        assert found == expected


# ---------------------------------------------------------------- checkpoints

@settings(several, max_examples=60)
@given(characters=st.sets(CHARACTERS, min_size=1, max_size=40), H1=st.integers(1, 5), H2=st.integers(1, 5),
       seed=st.integers(0, 99), progress=st.dictionaries(st.text(CHARACTERS), st.one_of(
           st.none(), st.floats(allow_nan=False), st.integers(), st.text(CHARACTERS)), max_size=3))
def test_checkpoint_round_trip(folder, characters, H1, H2, seed, progress):
    model, other = CharLSTM(random_seed=seed), CharLSTM(random_seed=seed + 1)
    model.uchar = vocabulary(sorted(characters))
    model.model_setup(num_units1=H1, num_units2=H2)
    path = model.save_params(folder / 'p', progress)
    other.model_setup(mfile=path)
    assert other.resume(path) == progress
    assert list(other.uchar) == sorted(characters)
    for name in NAMES:
        a, b = model.p[name].get_value(), other.p[name].get_value()
        assert (a.shape, a.tobytes()) == (b.shape, b.tobytes())
    assert other.random.random() == model.random.random()


@pytest.fixture(scope='module')
def good(tmp_path_factory):
    """The bytes of a checkpoint as train.py writes them, and what is in it."""
    folder = tmp_path_factory.mktemp('good')
    model = CharLSTM(random_seed=2)
    model.prepare_input(written(folder, string.printable), 0, 2, 5, verbose=False, stateful=True)
    model.model_setup(num_units1=13, num_units2=11)
    path = folder / 'p.npz'
    model.save_params(path, dict(epoch=3, batch=1))
    return path.read_bytes(), read_checkpoint(str(path)), read_about(str(path))


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


@pytest.mark.parametrize('mask', [0xff, 0x01])
def test_flipped_bytes(good, tmp_path, mask):
    path, whole = tmp_path / 'p.npz', good[0]
    directory = whole.index(b'PK\x01\x02')                  # zip's list of its members: there each byte
    positions = list(range(0, len(whole), 997)) + list(range(directory, len(whole), 7)) + list(range(0, 160, 3))
    assert len(positions) > 200
    for position in positions:
        damaged = bytearray(whole)
        damaged[position] ^= mask
        path.write_bytes(damaged)
        assert_same_or_refused(path, good)


def test_cut_short(good, tmp_path):
    path, whole = tmp_path / 'p.npz', good[0]
    for length in list(range(0, len(whole), 997)) + list(range(len(whole) - 30, len(whole))):
        path.write_bytes(whole[:length])
        for read in (read_checkpoint, read_about):
            with pytest.raises((ValueError, OSError)) as caught:
                read(str(path))
            assert '\n' not in str(caught.value)


@several
@given(position=st.floats(0, 1), junk=st.binary(max_size=30), instead=st.integers(0, 40))
def test_any_damage(good, folder, position, junk, instead):
    path, whole = folder / 'damaged.npz', good[0]
    start = int(position * len(whole))
    path.write_bytes(whole[:start] + junk + whole[start + instead:])
    assert_same_or_refused(path, good)


def npy(shape, descr='<f4', content=b''):
    """A member of an npz file whose header says what it wants."""
    header = repr(dict(descr=descr, fortran_order=False, shape=shape)).encode()
    header += b' ' * (-(len(header) + 11) % 64) + b'\n'
    return b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little') + header + content


def forged(path, **members):
    """A good small checkpoint but for the members given, bytes."""
    arrays = dict(random_parameters(1, 'float32', V=3, H1=2, H2=4), uchar=np.array(list('abc')), about=np.array('{}'))
    with zipfile.ZipFile(str(path), 'w', zipfile.ZIP_DEFLATED) as npz:
        for name, array in arrays.items():
            f = io.BytesIO()
            np.save(f, array.astype('f4') if array.dtype.kind == 'f' else array)
            npz.writestr(name + '.npy', members.get(name, f.getvalue()))
    return str(path)


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
    headers = {'U1': [npy((4, 10 ** 6, 10 ** 6)), npy((2 ** 62, 2 ** 62)), npy((-4, -10 ** 9), content=b'x' * 64),
                      npy((4, 2, 10 ** 9), '<f8', b'x' * 64), npy((10 ** 9,), '|V0'), npy((1, 10 ** 10, 0))],
               'uchar': [npy((10 ** 9,), '<U1', b'a\0\0\0'), npy((10 ** 9,), '<U0'), npy((10 ** 9,), '|S0'),
                         npy((1,), '<U1000000000')],
               'about': [npy((), '<U1000000000'), npy((10 ** 10,), '<U0')]}
    paths = []
    for name, contents in headers.items():
        for content in contents:
            paths.append((name, forged(tmp_path / '{}{}.npz'.format(name, len(paths)), **{name: content})))
    result = subprocess.run([sys.executable, '-c', READ, str(ROOT)] + [path for _, path in paths],
                            env=environment(OMP_NUM_THREADS='1'), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            encoding='utf-8')
    assert result.returncode == 0, result.stderr
    said = result.stdout.splitlines()
    assert len(said) == 2 * len(paths)
    for (name, path), checkpoint, about in zip(paths, said[::2], said[1::2]):
        assert (about if name == 'about' else checkpoint).startswith('ValueError ' + path), (name, checkpoint, about)
        assert (checkpoint if name == 'about' else about) == 'read'


class Bomb:
    def __reduce__(self):
        return open, (str(self.path), 'w')


@pytest.mark.parametrize('name', ['U1', 'c', 'uchar', 'about'])
def test_pickles_are_never_executed(tmp_path, refused, name):
    bomb = Bomb()
    bomb.path = tmp_path / 'executed'
    f = io.BytesIO()
    np.save(f, np.array([bomb], dtype=object), allow_pickle=True)
    reader = read_about if name == 'about' else read_checkpoint
    for content in (f.getvalue(), pickle.dumps(bomb), npy((4, 2, 3), '|O', pickle.dumps(bomb))):
        path = forged(tmp_path / 'p.npz', **{name: content})
        with refused(ValueError, path, name):
            reader(path)
    assert not bomb.path.exists()
    pickle.loads(pickle.dumps(bomb)).close()                # which would have left this
    assert bomb.path.exists()


@pytest.mark.parametrize('text', ['', 'null', '5', '[1]', '"abc"', '{"a":', '[' * 10 ** 5, '{"text": "x"}'])
def test_about_that_is_none(tmp_path, refused, text):
    """It is read as a dict, or refused."""
    f = io.BytesIO()
    np.save(f, np.array(text))
    path = forged(tmp_path / 'p.npz', about=f.getvalue())
    if text.startswith('{"text"'):
        assert read_about(path) == {'text': 'x'}
    else:
        with refused(ValueError, path):
            read_about(path)
