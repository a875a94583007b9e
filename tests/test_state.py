"""What a CharLSTM is between two steps: its vocabulary, what it saves and loads, and that it resumes to the bit."""
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import numpy_model
from charlstm import CharLSTM
from damage import DAMAGE, write_checkpoint
from engine.text import vocabulary
from engine.theano_setup import theano
from models import parameters_of, prepared, text_of
from numpy_model import LETTERS, NAMES, V
from scripts import load

POEM = 'Zwölf Boxkämpfer jagen\nEva über den Sylter Deich.\n' * 3
CHARACTERS = st.characters(blacklist_categories=['Cs'])


def checkpoint(path, **changed):
    """Write a checkpoint of V characters with some arrays changed or added; returns its path."""
    arrays = dict(numpy_model.random_parameters(1), uchar=np.array(list(LETTERS)))
    return write_checkpoint(path, **dict(arrays, **changed))


# ---------------------------------------------------------------- a text for a model that has parameters

def with_parameters(text_file, text):
    model = prepared(text_file(text))
    model.model_setup(num_units1=7, num_units2=4)
    return model


def test_text_whose_characters_are_known_keeps_parameters_and_vocabulary(text_file, capsys):
    model = with_parameters(text_file, 'abcdefgh')
    p = parameters_of(model)
    model.prepare_input(text_file('hcbhcb', name='other.txt'), 0, 1, 2, verbose=False)
    assert ''.join(model.uchar) == 'abcdefgh' and text_of(model) == 'hcbhcb'
    assert model.X['train'][0].tolist() == [[7]]
    assert all((model.p[name].get_value() == value).all() for name, value in p.items())
    assert capsys.readouterr().err == ''


def test_text_with_unknown_characters_drops_the_parameters_with_a_warning(text_file, capsys, refused):
    model = with_parameters(text_file, 'abcdefgh')
    path = text_file('abxyaé', name='other.txt')
    model.prepare_input(path, 0, 1, 2, verbose=False)
    err = capsys.readouterr().err
    assert err.count('\n') == 1 and path in err and r"'x', 'y', '\xe9'" in err
    assert ''.join(model.uchar) == 'abxyé' and text_of(model) == 'abxyaé'
    assert model.p == {}
    with refused(ValueError, 'model_setup'):
        model.generate_text('a')
    model.model_setup(num_units1=3, num_units2=2)
    assert model.p['c'].get_value().shape == (5,)


def test_text_after_a_model_that_was_set_up_by_char_dim(text_file):
    """Such a model has parameters, but no vocabulary that the text could be compared with."""
    model = CharLSTM()
    model.model_setup(num_units1=7, num_units2=4, char_dim=3)
    model.prepare_input(text_file('abcabc'), 0, 1, 2, verbose=False)
    assert ''.join(model.uchar) == 'abc' and text_of(model) == 'abcabc'


def test_refusal_leaves_what_was_prepared(text_file):
    model = prepared(text_file(POEM), seq_length=3)
    before = text_of(model)
    for settings in (dict(encoding='ascii'), dict(batch_size=10 ** 6), dict(seq_length=1)):
        with pytest.raises(ValueError):
            model.prepare_input(text_file(POEM * 2, name='other.txt'), **settings)
    assert text_of(model) == before and model.batch_size == 1 and model.n_batches == dict(train=50, valid=0)


@pytest.mark.parametrize('depth, warns', [(3, True), (9, True), (10, False), (50, False), (-1, False)])
def test_one_line_warns_of_sequences_longer_than_the_gradient_reaches(text_file, capsys, depth, warns):
    model = CharLSTM()
    path = text_file('abc' * 30)
    model.prepare_input(path, batch_size=2, seq_length=11, verbose=False)          # 10 steps
    assert capsys.readouterr() == ('', '')
    model.model_setup(num_units1=7, num_units2=4, bptt_maxdepth=depth)
    out, err = capsys.readouterr()
    assert (out, err.count('\n')) == ('', int(warns))
    assert not warns or ('last {} of the 10 steps'.format(depth) in err and 'bptt_maxdepth' in err)
    model.prepare_input(path, batch_size=2, seq_length=12, verbose=False)          # 11 steps
    assert capsys.readouterr().err.count('\n') == (0 < depth < 11)


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
    for name, array in parameters_of(model).items():
        loaded = other.p[name].get_value()
        assert loaded.dtype == floatX and loaded.shape == array.shape and loaded.tobytes() == array.tobytes()


@settings(max_examples=60)
@given(characters=st.sets(CHARACTERS, min_size=1, max_size=40), H1=st.integers(1, 5), H2=st.integers(1, 5),
       seed=st.integers(0, 99), progress=st.dictionaries(st.text(CHARACTERS), st.one_of(
           st.none(), st.floats(allow_nan=False), st.integers(), st.text(CHARACTERS)), max_size=3))
def test_checkpoint_round_trip(shared_folder, characters, H1, H2, seed, progress):
    model, other = CharLSTM(random_seed=seed), CharLSTM(random_seed=seed + 1)
    model.uchar = vocabulary(sorted(characters))
    model.model_setup(num_units1=H1, num_units2=H2)
    path = model.save_params(shared_folder / 'p', progress)
    other.model_setup(mfile=path)
    assert other.resume(path) == progress
    assert list(other.uchar) == sorted(characters)
    for name in NAMES:
        a, b = model.p[name].get_value(), other.p[name].get_value()
        assert (a.shape, a.tobytes()) == (b.shape, b.tobytes())
    assert other.random.random() == model.random.random()


def test_loading_replaces_parameters_of_any_size(lettered, tmp_path):
    wide = numpy_model.random_parameters(2, H1=9, H2=5)
    lettered.theano_predict([0, 1])                                  # compiled for the old parameters
    for arrays in (numpy_model.random_parameters(1), wide):
        lettered.load_params(checkpoint(tmp_path / 'other.npz', **arrays))
        for name in NAMES:
            np.testing.assert_array_equal(lettered.p[name].get_value(), arrays[name].astype('float32'))
        expected, _ = numpy_model.forward(arrays, np.array([[0], [1]]))
        np.testing.assert_allclose(lettered.theano_predict([0, 1])[0], expected, rtol=1e-4)


def test_ending_npz_is_added_where_it_lacks(lettered, tmp_path):
    assert lettered.save_params(str(tmp_path / 'a')) == str(tmp_path / 'a.npz')
    assert lettered.save_params(tmp_path / 'b.npz') == str(tmp_path / 'b.npz')
    assert sorted(os.listdir(str(tmp_path))) == ['a.npz', 'b.npz', 'text.txt']


def test_reader_of_the_original_finds_its_nine_arrays(lettered, path):
    lettered.save_params(path)
    with np.load(path, allow_pickle=False) as npz:
        for name in NAMES:
            np.testing.assert_array_equal(npz[name], lettered.p[name].get_value())
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


@pytest.mark.parametrize('what', ['parameters', 'averages'])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_nothing_that_is_not_finite_is_saved(lettered, tmp_path, refused, what, value):
    """Nor over what is there."""
    path = lettered.save_params(tmp_path / 'p')
    before = (tmp_path / 'p.npz').read_bytes()
    variable = lettered.p['c'] if what == 'parameters' else lettered._averages['c']
    good = variable.get_value()
    bad = good.copy()
    bad[3] = value
    variable.set_value(bad)
    try:
        with refused(ValueError, path, 'finite'):
            lettered.save_params(path)
    finally:
        variable.set_value(good)
    assert (tmp_path / 'p.npz').read_bytes() == before


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
def test_batches_are_renumbered_for_the_loaded_vocabulary(lettered, path, uchar):
    before = decoded(lettered)
    checkpoint(path, uchar=np.array(list(uchar)), **numpy_model.random_parameters(1, V=len(uchar)))
    lettered.model_setup(mfile=path)
    assert ''.join(lettered.uchar) == uchar and decoded(lettered) == before
    assert lettered.n_batches == dict(train=3, valid=0)


def test_loaded_vocabulary_must_know_the_prepared_text(lettered, path, refused):
    before, uchar, arrays = decoded(lettered), list(lettered.uchar), parameters_of(lettered)
    checkpoint(path, uchar=np.array(list('abcdefghiJK')))
    with refused(ValueError, path, "'j', 'k'"):
        lettered.load_params(path)
    assert decoded(lettered) == before and list(lettered.uchar) == uchar
    assert all((lettered.p[name].get_value() == arrays[name]).all() for name in NAMES)


def test_failed_loading_leaves_the_model_as_it_was(lettered, path, refused):
    before = parameters_of(lettered)
    for damage in DAMAGE.values():
        damage.write(path)
        if not damage.of_about:
            for load_params in (lettered.load_params, lettered.resume):
                with refused(ValueError, path, 'not a checkpoint', *damage.words):
                    load_params(path)
    assert ''.join(lettered.uchar) == LETTERS
    assert all((lettered.p[name].get_value() == before[name]).all() for name in NAMES)


# ---------------------------------------------------------------- going on

def test_class_resumes_to_the_bit(make_model, tmp_path):
    """With the kernel, in the middle of the text, with dropout and carried states, in an object of another seed."""
    first, second = make_model(1, dropout=0.3, grad_clip=2), make_model(2, dropout=0.3, grad_clip=2)

    def steps(model, start, end):
        batches = zip(model.X['train'][start:end], model.Y['train'][start:end])
        return [[np.asarray(value).tobytes() for value in model.theano_train_rmsprop(x, y)] for x, y in batches]

    steps(first, 0, 3)
    assert second.resume(first.save_params(tmp_path / 'p', dict(mine=[1, None, 'é']))) == dict(mine=[1, None, 'é'])
    assert steps(second, 3, 7) == steps(first, 3, 7)
    assert second.save_params(tmp_path / 'b') and first.save_params(tmp_path / 'a')
    a, b = load(tmp_path / 'a.npz'), load(tmp_path / 'b.npz')
    assert {name: array.tobytes() for name, array in a.items()} == {name: array.tobytes() for name, array in b.items()}
    assert set(a) >= {'carried_h1', 'm_U1'}


AVERAGING = dict(dropout=0.3, grad_clip=2, dropconnect=0.2, reset=0.3, average=0.9, initial='hidden')


def test_class_with_an_average_resumes_to_the_bit(make_model, tmp_path):
    """What is trained is stored beside its average; so is how long that is, which is not its whole weight yet."""
    first, second = make_model(1, **AVERAGING), make_model(2, **AVERAGING)
    batches = list(zip(first.X['train'], first.Y['train']))
    for x, y in batches[:3]:
        first.theano_train_rmsprop(x, y)
    second.resume(first.save_params(tmp_path / 'p'))
    for x, y in batches[3:7]:
        one, other = [model.theano_train_rmsprop(x, y) for model in (first, second)]
        assert all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in zip(one, other))
    a, b = [load(model.save_params(tmp_path / 'end')) for model in (first, second)]
    assert {name: array.tobytes() for name, array in a.items()} == {name: array.tobytes() for name, array in b.items()}
    assert (a['raw_W1'] != a['W1']).any()


def test_run_with_an_average_is_not_resumed_without(make_model, tmp_path, refused):
    path = make_model(1, **AVERAGING).save_params(tmp_path / 'p')
    plain = make_model(2)
    before = plain.p['c'].get_value()
    with refused(ValueError, path, 'with an average', 'model_setup'):
        plain.resume(path)
    np.testing.assert_array_equal(plain.p['c'].get_value(), before)
    plain.load_params(path)                                       # to predict it needs nothing else


# ---------------------------------------------------------------- starting from what another text taught

def test_init_on_another_text(make_model, tmp_path, text_file):
    old, new_text = make_model(1, 'abcdefgh é' * 9), 'ca—feé 𝄞' * 11
    path = old.save_params(tmp_path / 'p')
    new, fresh = make_model(5, new_text), make_model(5, new_text)
    new.init_params(path)
    p, q, f = [parameters_of(m) for m in (old, new, fresh)]
    for name in ('W1', 'b1', 'U2', 'W2', 'b2'):
        np.testing.assert_array_equal(q[name], p[name])
    known = 0
    for k, ch in enumerate(sorted(set(new_text))):
        before = sorted(set('abcdefgh é')).index(ch) if ch in 'abcdefgh é' else None
        known += before is not None
        source, j = (f, k) if before is None else (p, before)
        np.testing.assert_array_equal(q['U1'][:, :, k], source['U1'][:, :, j])
        np.testing.assert_array_equal(q['V'][k], source['V'][j])
        assert q['c'][k] == source['c'][j]
    assert known == 6 and len(q['c']) == 8
