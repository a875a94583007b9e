"""save_params and load_params: round trips, files of the original program, and every kind of damage."""
import errno
import io
import os
import pickle

import numpy as np
import pytest

import charlstm
import numpy_model
from charlstm import CharLSTM, theano
from numpy_model import NAMES, V

LETTERS = 'abcdefghijk'
assert len(LETTERS) == V


def arrays_of(model):
    return {name: model.p[name].get_value() for name in NAMES}


def checkpoint(path, **changed):
    """Write a good checkpoint with some arrays changed, added or, where None, left out; returns its path."""
    arrays = dict(dict(numpy_model.random_parameters(1), uchar=np.array(list(LETTERS))), **changed)
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return str(path)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'params.npz')


@pytest.fixture
def model(text_file):
    """A small model with a vocabulary, and parameters unlike those of other seeds."""
    model = CharLSTM(random_seed=6)
    model.prepare_input(text_file(LETTERS * 2), ratio_valid=0, batch_size=2, seq_length=3, verbose=False)
    model.model_setup(num_units1=7, num_units2=4)
    return model


# ---------------------------------------------------------------- what is written can be read

@pytest.mark.parametrize('floatX', ['float32', 'float64'])
def test_round_trip_is_exact_to_the_bit(text_file, path, floatX):
    text = 'b\U0001d11ea\0é\n\ufffd€'                            # NUL and characters beyond 16 bits too
    with theano.change_flags(floatX=floatX):
        model, other = CharLSTM(random_seed=1), CharLSTM(random_seed=2)
        model.prepare_input(text_file(text), ratio_valid=0, batch_size=1, seq_length=2, verbose=False)
        model.model_setup(num_units1=7, num_units2=4)
        assert model.save_params(path) == path
        other.model_setup(mfile=path)
    assert ''.join(other.uchar) == ''.join(sorted(text))
    for name, array in arrays_of(model).items():
        loaded = other.p[name].get_value()
        assert loaded.dtype == floatX and loaded.shape == array.shape and loaded.tobytes() == array.tobytes()


def test_loading_replaces_parameters_of_any_size(model, tmp_path):
    wide = numpy_model.random_parameters(2, H1=9, H2=5)
    model.theano_predict([0, 1])                                  # compiled for the old parameters
    for arrays in (numpy_model.random_parameters(1), wide):
        model.load_params(checkpoint(tmp_path / 'other.npz', **arrays))
        for name in NAMES:
            np.testing.assert_array_equal(model.p[name].get_value(), arrays[name].astype('float32'))
        expected, _ = numpy_model.forward(arrays, np.array([[0], [1]]))
        np.testing.assert_allclose(model.theano_predict([0, 1])[0], expected, rtol=1e-4)


def test_ending_npz_is_added_where_it_lacks(model, tmp_path):
    assert model.save_params(str(tmp_path / 'a')) == str(tmp_path / 'a.npz')
    assert model.save_params(tmp_path / 'b.npz') == str(tmp_path / 'b.npz')
    assert sorted(os.listdir(str(tmp_path))) == ['a.npz', 'b.npz', 'text.txt']


def test_reader_of_the_original_finds_its_nine_arrays(model, path):
    model.save_params(path)
    with np.load(path, allow_pickle=False) as npz:
        for name in NAMES:
            np.testing.assert_array_equal(npz[name], model.p[name].get_value())
        assert npz['uchar'].dtype == '<U1' and ''.join(npz['uchar']) == LETTERS


def test_file_of_the_original_loads(path):
    """Bytes in any order, float64, and arrays that are not ours."""
    shuffled = [ch.encode('latin-1') for ch in 'k\0bcéefgdia']
    arrays = numpy_model.random_parameters(1)
    checkpoint(path, uchar=np.array(shuffled, 'S1'), epoch=np.array(7), note=np.array(['x', 'yz']))
    model = CharLSTM()
    model.model_setup(mfile=path)                                 # under float32
    assert ''.join(model.uchar) == 'k\0bcéefgdia'
    for name in NAMES:
        assert model.p[name].get_value().dtype == np.float32
        np.testing.assert_array_equal(model.p[name].get_value(), arrays[name].astype('float32'))
    x = np.array([[3, 0], [1, 10], [5, 5]])
    np.testing.assert_allclose(model.theano_predict(x)[0], numpy_model.forward(arrays, x)[0], rtol=1e-4)


def test_nothing_to_save_yet(path, refused, text_file):
    model = CharLSTM()
    with refused(ValueError, 'nothing to save'):
        model.save_params(path)
    model.prepare_input(text_file(LETTERS), ratio_valid=0, batch_size=1, seq_length=2, verbose=False)
    with refused(ValueError, 'nothing to save'):
        model.save_params(path)
    assert not os.path.exists(path)


def test_training_needs_model_setup_after_load_params(path, refused):
    """load_params brings no learning parameters."""
    model = CharLSTM()
    model.load_params(checkpoint(path))
    assert model.theano_predict([0, 1])[0].shape == (2, 1, V)
    with refused(ValueError, 'model_setup'):
        model.theano_train_sgd([0, 1], [1, 2])


# ---------------------------------------------------------------- with a text prepared before

def decoded(model):
    return [''.join(model.uchar[codes.ravel()]) for x, y in zip(model.X['train'], model.Y['train']) for codes in (x, y)]


@pytest.mark.parametrize('uchar', ['kjihgfedcba', 'klmnopabcdefghij', ''.join(map(chr, range(90, 500)))])
def test_batches_are_renumbered_for_the_loaded_vocabulary(model, path, uchar):
    before = decoded(model)
    checkpoint(path, uchar=np.array(list(uchar)), **numpy_model.random_parameters(1, V=len(uchar)))
    model.model_setup(mfile=path)
    assert ''.join(model.uchar) == uchar and decoded(model) == before
    assert model.n_batches == dict(train=3, valid=0)


def test_loaded_vocabulary_must_know_the_prepared_text(model, path, refused):
    before, uchar, arrays = decoded(model), list(model.uchar), arrays_of(model)
    checkpoint(path, uchar=np.array(list('abcdefghiJK')))
    with refused(ValueError, path, "'j', 'k'"):
        model.load_params(path)
    assert decoded(model) == before and list(model.uchar) == uchar
    assert all((model.p[name].get_value() == arrays[name]).all() for name in NAMES)


# ---------------------------------------------------------------- damage

def test_missing_file_and_directory(tmp_path, refused):
    for call in (CharLSTM().load_params, lambda path: CharLSTM().model_setup(mfile=path)):
        with refused(FileNotFoundError, tmp_path / 'missing.npz'):
            call(tmp_path / 'missing.npz')
        with refused(IsADirectoryError, tmp_path):
            call(tmp_path)


def npy_bytes():
    f = io.BytesIO()
    np.save(f, np.arange(5.0))
    return f.getvalue()


@pytest.mark.parametrize('data', [b'', b'epoch,cost\n1,2.5\n', b'PK\x03\x04 and no more', npy_bytes(),
                                  pickle.dumps([1, 2])], ids=['empty', 'text', 'PK', 'npy', 'pickle'])
def test_file_that_is_no_npz(path, refused, data):
    with open(path, 'wb') as f:
        f.write(data)
    with refused(ValueError, path, 'not a checkpoint'):
        CharLSTM().load_params(path)


@pytest.mark.parametrize('part', [0.01, 0.3, 0.6, 0.95, 1])
def test_file_that_was_cut_short(path, refused, part):
    checkpoint(path)
    size = os.path.getsize(path)
    os.truncate(path, min(int(part * size), size - 1))
    with refused(ValueError, path, 'not a checkpoint'):
        CharLSTM().load_params(path)


def test_file_with_a_changed_byte(path, refused):
    checkpoint(path)
    with open(path, 'rb') as f:
        data = bytearray(f.read())
    data[data.index(numpy_model.random_parameters(1)['W2'].tobytes()) + 20] ^= 1
    with open(path, 'wb') as f:
        f.write(data)
    with refused(ValueError, path, 'W2'):
        CharLSTM().load_params(path)


good = numpy_model.random_parameters(1)


def with_value(name, value):
    array = good[name].copy()
    array.flat[-1] = value
    return array


@pytest.mark.parametrize('name, array', [
    *[(name, None) for name in NAMES + ('uchar',)],
    *[(name, array[..., :-1]) for name, array in good.items()],
    *[(name, array[None]) for name, array in good.items()],
    ('U1', good['U1'][:3]), ('U1', good['U1'][:, :0]), ('U1', np.array(1.0)), ('U2', good['U2'][0]),
    ('b1', with_value('b1', np.nan)), ('V', with_value('V', np.inf)), ('c', with_value('c', -np.inf)),
    ('U1', with_value('U1', 1e300)),                             # infinite in float32
    ('c', np.arange(V)), ('c', np.arange(V).astype(str)), ('c', good['c'] > 0), ('c', good['c'] + 0j),
    ('c', good['c'].astype(object)),
    ('uchar', np.array(list('abcdefghij'))), ('uchar', np.array(list('abcdefghija'))),
    ('uchar', np.array(list('abcdefghij') + ['kl'])), ('uchar', np.array([b'kl'] + list(b'abcdefghij'), 'S2')),
    ('uchar', np.array([''] * 2 + list('abcdefghi'))), ('uchar', np.array(list(LETTERS)).reshape(1, -1)),
    ('uchar', np.array(LETTERS)), ('uchar', np.arange(V)), ('uchar', np.array(list(LETTERS), dtype=object)),
])
def test_damaged_or_missing_array_is_named(path, refused, name, array):
    checkpoint(path, **{name: array})
    with refused(ValueError, path, 'not a checkpoint', name):
        CharLSTM().load_params(path)


def test_model_without_units_or_characters(path, refused):
    for sizes, uchar in ((dict(H1=0), LETTERS), (dict(H2=0), LETTERS), (dict(V=0), '')):
        checkpoint(path, **numpy_model.random_parameters(1, **sizes), uchar=np.array(list(uchar), 'U1'))
        with refused(ValueError, path, 'not a checkpoint'):
            CharLSTM().load_params(path)


class Dangerous:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, 'w')


@pytest.mark.parametrize('name', ['uchar', 'c', 'U1'])
def test_pickled_objects_are_refused_and_never_run(path, tmp_path, refused, name):
    trace = str(tmp_path / 'trace')
    checkpoint(path, **{name: np.array([Dangerous(trace)], dtype=object)})
    with refused(ValueError, path, name):
        CharLSTM().load_params(path)
    assert not os.path.exists(trace)
    np.load(path, allow_pickle=True)[name]                        # it would have run
    assert os.path.exists(trace)


def test_failed_loading_leaves_the_model_as_it_was(model, path):
    before = arrays_of(model)
    checkpoint(path, c=with_value('c', np.nan))
    with pytest.raises(ValueError):
        model.load_params(path)
    assert ''.join(model.uchar) == LETTERS
    assert all((model.p[name].get_value() == before[name]).all() for name in NAMES)


# ---------------------------------------------------------------- failing writes

def fail(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize('module, function, failing', [
    (os, 'fsync', fail), (os, 'replace', fail)])
def test_failing_write_leaves_the_earlier_file(model, tmp_path, path, monkeypatch, refused, module, function, failing):
    model.save_params(path)
    with open(path, 'rb') as f:
        before = f.read()
    files = sorted(os.listdir(str(tmp_path)))
    monkeypatch.setattr(module, function, failing)
    model.p['c'].set_value(np.ones(V, 'float32'))
    with refused(OSError, path, os.strerror(errno.ENOSPC)):
        model.save_params(path)
    with open(path, 'rb') as f:
        assert f.read() == before
    assert sorted(os.listdir(str(tmp_path))) == files             # nothing half-written is left either


def test_interrupted_write_leaves_the_earlier_file(model, tmp_path, path, monkeypatch):
    model.save_params(path)
    files = sorted(os.listdir(str(tmp_path)))

    def interrupted(number):
        raise KeyboardInterrupt
    monkeypatch.setattr(os, 'fsync', interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.save_params(path)
    assert sorted(os.listdir(str(tmp_path))) == files
    charlstm.read_checkpoint(path)                                # raises where it is damaged


def test_place_that_cannot_be_written(model, tmp_path, refused):
    with refused(FileNotFoundError, tmp_path / 'missing' / 'params.npz'):
        model.save_params(tmp_path / 'missing' / 'params.npz')
    (tmp_path / 'folder.npz').mkdir()
    with refused(OSError, tmp_path / 'folder.npz'):
        model.save_params(tmp_path / 'folder.npz')
    assert sorted(os.listdir(str(tmp_path))) == ['folder.npz', 'text.txt']
