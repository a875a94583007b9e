"""The state of a CharLSTM between two steps: its vocabulary, and saving, loading and resuming bit for bit."""
import json
import os
import pickle
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import numpy_model
from charlstm import CharLSTM, read_about, read_checkpoint
from damage import DAMAGE, write_checkpoint
from engine.backend.theano_setup import theano
from models import parameters_of, prepared, spelled, text_of, trained
from numpy_model import LETTERS, NAMES
from scripts import ROOT, load, run, succeeded
from texts import CHARACTERS, POEM


def checkpoint(path, **changed):
    """Write a checkpoint of V characters with some arrays changed or added; returns its path."""
    arrays = dict(numpy_model.random_parameters(1), uchar=np.array(list(LETTERS)))
    return write_checkpoint(path, **dict(arrays, **changed))


# ---------------------------------------------------------------- the vocabulary

def test_vocabulary_is_a_list_that_is_empty_before_a_text(path, text_file):
    model = CharLSTM()
    assert model.uchar == [] and not model.uchar
    model.prepare_input(text_file('abracadabra'), 0, 1, 2, verbose=False)
    assert model.uchar == list('abcdr') and model.uchar.index('r') == 4
    model.model_setup(num_units1=7, num_units2=4)
    model.save_params(path)
    _, uchar = read_checkpoint(path)
    assert isinstance(uchar, np.ndarray) and uchar.tolist() == model.uchar
    for take in (model.load_params, model.resume, model.init_params, lambda path: model.model_setup(path)):
        take(path)
        assert isinstance(model.uchar, list) and model.uchar == list('abcdr')


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
    assert err.count('\n') == 1 and path in err and "'x', 'y', 'é'" in err
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


def test_refused_text_leaves_the_one_before(text_file):
    model = prepared(text_file(POEM), seq_length=3)
    before = text_of(model)
    for changed in (dict(encoding='ascii'), dict(batch_size=10 ** 6), dict(seq_length=1)):
        with pytest.raises(ValueError):
            model.prepare_input(text_file(POEM * 2, name='other.txt'), **changed)
    assert text_of(model) == before and model.batch_size == 1 and model.n_batches == dict(train=50, valid=0)


@pytest.mark.parametrize('depth, warns', [(9, True), (10, False), (-1, False)])
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
@settings(max_examples=20)
@given(characters=st.sets(CHARACTERS, min_size=1, max_size=40), H1=st.integers(1, 5), H2=st.integers(1, 5),
       seed=st.integers(0, 99), progress=st.dictionaries(st.text(CHARACTERS), st.one_of(
           st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.text(CHARACTERS)),
                                                        max_size=3))
def test_checkpoint_round_trip(shared_folder, floatX, characters, H1, H2, seed, progress):
    with theano.change_flags(floatX=floatX):
        model, other = CharLSTM(random_seed=seed), CharLSTM(random_seed=seed + 1)
        model.uchar = sorted(characters)
        model.model_setup(num_units1=H1, num_units2=H2)
        path = model.save_params(str(shared_folder / 'p'), progress)
        assert path == str(shared_folder / 'p.npz') == model.save_params(path, progress)     # an ending that is added
        other.model_setup(mfile=path)
        assert other.resume(path) == progress and other.uchar == sorted(characters)
    arrays = load(path)                                           # as a reader of the original's nine arrays finds them
    assert arrays['uchar'].dtype == '<U1' and [ch or '\0' for ch in arrays['uchar'].tolist()] == sorted(characters)
    for name, array in parameters_of(model).items():
        for found in (other.p[name].get_value(), arrays[name]):
            assert (found.dtype, found.shape, found.tobytes()) == (floatX, array.shape, array.tobytes())
    assert other.random.random() == model.random.random()


def test_another_float_type_than_the_models(path, interpreted, refused):
    """The optimiser's state is saved in the model's; what computes is refused until the type is set back."""
    model = CharLSTM(random_seed=1)
    model.model_setup(num_units1=3, num_units2=2, char_dim=4)
    model.uchar = list('abcd')
    x = np.array([[0, 3], [2, 1]])
    model.theano_train_rmsprop(x, x[::-1])
    before = load(model.save_params(path))
    with theano.change_flags(floatX='float64'):
        model.save_params(path)
        for computes in (model.theano_predict, lambda x: model.theano_train_rmsprop(x, x), model.score_text):
            with refused(ValueError, 'the model is of float32', 'floatX is float64', 'set that back'):
                computes(x if computes != model.score_text else 'abba')
    assert {name: array.tobytes() for name, array in load(path).items()} == {
        name: array.tobytes() for name, array in before.items()} and before['m_U1'].any()
    model.theano_train_rmsprop(x, x[::-1])
    assert (load(model.save_params(path))['m_U1'] != before['m_U1']).any()


def test_settings_of_a_text_may_be_numpy_numbers(text_file, path):
    """As they come from a grid that is searched; a checkpoint has them as Python's own."""
    model = CharLSTM(random_seed=1)
    model.prepare_input(text_file('abc' * 30), np.float32(0.25), np.int64(2), np.uint8(3), verbose=False, stateful=True)
    model.model_setup(num_units1=7, num_units2=4)
    model.save_params(path)
    text = read_about(path)['text']
    assert (text['ratio_valid'], text['batch_size'], text['seq_length'], text['stateful']) == (0.25, 2, 3, True)


def test_representation(lettered, text_file, tmp_path):
    """A line for a notebook; nothing is compiled or loaded for it."""
    class Mine(CharLSTM):
        pass

    assert repr(lettered) == 'CharLSTM(7 and 4 units, 11 characters, 779 parameters, text text.txt of 22 characters)'
    model, path = Mine(), lettered.save_params(tmp_path / 'p')
    assert repr(model) == 'Mine(no model, no text)'
    model.model_setup(path)
    assert repr(model) == 'Mine(7 and 4 units, 11 characters, 779 parameters, no text)'
    new = CharLSTM()
    new.prepare_input(text_file(LETTERS * 2, name='a\nb.txt'), 0, 2, 3, verbose=False)
    assert repr(new) == r'CharLSTM(no model, text a\nb.txt of 22 characters)'
    assert not model._functions and not new._functions


def test_loading_replaces_parameters_of_any_size(lettered, tmp_path):
    wide = numpy_model.random_parameters(2, H1=9, H2=5)
    lettered.theano_predict([0, 1])                                  # compiled for the old parameters
    for arrays in (numpy_model.random_parameters(1), wide):
        lettered.load_params(checkpoint(tmp_path / 'other.npz', **arrays))
        for name in NAMES:
            np.testing.assert_array_equal(lettered.p[name].get_value(), arrays[name].astype('float32'))
        expected, _ = numpy_model.forward(arrays, np.array([[0], [1]]))
        np.testing.assert_allclose(lettered.theano_predict([0, 1])[0], expected, rtol=1e-4)


def test_file_of_the_original_loads(path, refused):
    """Bytes in any order, float64, and other arrays beside the nine."""
    shuffled = [ch.encode('latin-1') for ch in 'k\0bcéefgdia']
    arrays = numpy_model.random_parameters(1)
    checkpoint(path, uchar=np.array(shuffled, 'S1'), epoch=np.array(7), note=np.array(['x', 'yz']))
    model = CharLSTM()
    returned = model.load_params(path)                            # under float32
    assert ''.join(model.uchar) == 'k\0bcéefgdia' and list(returned) == list(NAMES)
    for name in NAMES:
        assert model.p[name].get_value().dtype == np.float32
        np.testing.assert_array_equal(returned[name], arrays[name].astype('float32'))
        returned[name][:] = 7                                     # it is the caller's own
        np.testing.assert_array_equal(model.p[name].get_value(), arrays[name].astype('float32'))
    with refused(ValueError, 'model_setup'):                      # there are no learning parameters
        model.theano_train_sgd([0, 1], [1, 2])
    model.model_setup(mfile=path)
    x = np.array([[3, 0], [1, 10], [5, 5]])
    np.testing.assert_allclose(model.theano_predict(x)[0], numpy_model.forward(arrays, x)[0], rtol=1e-4)




def test_nothing_to_save_yet(path, refused, text_file):
    for model in (CharLSTM(), prepared(text_file(LETTERS))):
        with refused(ValueError, 'nothing to save'):
            model.save_params(path)
    assert not os.path.exists(path)


@pytest.mark.parametrize('name', ['', 'results', 'results/', '.'])
def test_name_that_no_checkpoint_can_have(lettered, tmp_path, monkeypatch, refused, name):
    (tmp_path / 'results').mkdir()
    monkeypatch.chdir(tmp_path)
    with refused(ValueError, f'filename is {name!r}: expected '):
        lettered.save_params(name)
    assert sorted(os.listdir()) == ['results', 'text.txt'] and os.listdir('results') == []


@pytest.mark.parametrize('changed, value', [('parameters', np.nan), ('mean squares', np.inf)])
def test_numbers_that_are_not_finite_are_not_saved(lettered, tmp_path, refused, changed, value):
    """An earlier file of that name stays as it was."""
    path = lettered.save_params(tmp_path / 'p')
    before = (tmp_path / 'p.npz').read_bytes()
    variable = lettered.p['c'] if changed == 'parameters' else lettered._training_state()['mean_squares'][-1]
    array = variable.get_value()
    array[3] = value
    variable.set_value(array)
    with refused(ValueError, path, 'finite'):
        lettered.save_params(path)
    assert (tmp_path / 'p.npz').read_bytes() == before


# ---------------------------------------------------------------- with a text prepared before

def decoded(model):
    return [spelled(model, codes) for x, y in zip(model.X['train'], model.Y['train']) for codes in (x, y)]


@pytest.mark.parametrize('uchar', ['kjihgfedcba', ''.join(map(chr, range(90, 500)))])
def test_batches_are_renumbered_for_the_loaded_vocabulary(lettered, path, uchar):
    before = decoded(lettered)
    checkpoint(path, uchar=np.array(list(uchar)), **numpy_model.random_parameters(1, V=len(uchar)))
    lettered.model_setup(mfile=path)
    assert ''.join(lettered.uchar) == uchar and decoded(lettered) == before
    assert lettered.n_batches == dict(train=3, valid=0)


def test_failed_loading_leaves_the_model_as_it_was(lettered, path, refused):
    before, text = parameters_of(lettered), decoded(lettered)
    for name in ('file: text', 'shape: V a number', 'number: 1e+300 in c'):
        DAMAGE[name].write(path)
        for load_params in (lettered.load_params, lettered.resume):
            with refused(ValueError, path, 'not a checkpoint', *DAMAGE[name].words):
                load_params(path)
    checkpoint(path, uchar=np.array(list('abcdefghiJK')))
    with refused(ValueError, path, "'j', 'k'"):                   # of the text that was prepared
        lettered.load_params(path)
    assert ''.join(lettered.uchar) == LETTERS and decoded(lettered) == text
    assert all((lettered.p[name].get_value() == before[name]).all() for name in NAMES)


# ---------------------------------------------------------------- resuming

AVERAGING = dict(dropout=0.3, grad_clip=2, step_clip=1.5, smoothing=0.1, ar=0.7, tar=1.3, dropconnect=0.2,
                 reset=0.3, average=0.9, initial='chrono')


@pytest.mark.parametrize('changed', [dict(dropout=0.3, grad_clip=2), AVERAGING], ids=['without an average', 'with one'])
def test_model_resumes_bit_for_bit(make_model, tmp_path, changed):
    """With the kernel, in the middle of the text, with dropout and carried states, in an object of another seed.

    An average has not its whole weight yet: that depends on the number of steps, which is saved, too.
    """
    first, second = make_model(1, **changed), make_model(2, **changed)

    trained(first, 0, 3)
    assert second.resume(first.save_params(tmp_path / 'p', dict(mine=[1, None, 'é']))) == dict(mine=[1, None, 'é'])
    assert trained(second, 3, 7) == trained(first, 3, 7)
    a, b = [load(model.save_params(tmp_path / 'end')) for model in (first, second)]
    assert {name: array.tobytes() for name, array in a.items()} == {name: array.tobytes() for name, array in b.items()}
    assert set(a) >= {'carried_h1', 'm_U1'} and ('weights_W1' in a) == ('average' in changed)
    assert 'weights_W1' not in a or (a['weights_W1'] != a['W1']).any()


# ---------------------------------------------------------------- validation batches

def test_validation_batches_resume_bit_for_bit(make_model, tmp_path):
    """At the beginning of the validation text, in its middle, at its end and after it; and where none was validated."""
    first, second = make_model(1), make_model(2)
    n, unused = first.n_batches['valid'], first.save_params(tmp_path / 'unused')
    whole = [first.validate_batch() for _ in range(n)]
    assert n > 3 and len(set(whole)) == n
    for done in (n, n + 2, 2 * n):
        while len(whole) < done:
            whole.append(first.validate_batch())
        path = first.save_params(tmp_path / 'p')
        assert read_about(path)['validation_index'] == (done - 1) % n + 1
        assert load(path)['validation_h1'].shape == (3, 4) and load(path)['validation_C2'].shape == (3, 2)
        second.validate_batch()                                   # it may leave nothing
        second.resume(path)
        assert [second.validate_batch() for _ in range(n + 1)] == [whole[(done + k) % n] for k in range(n + 1)]
    second.resume(unused)
    assert second.validate_batch() == whole[0]


def test_validation_begins_again_with_other_parameters_or_another_text(make_model, tmp_path):
    """Also where their states have another size."""
    model = make_model(1)
    path, read = model.save_params(tmp_path / 'p'), dict(seq_length=5, verbose=False, stateful=True)
    for change in (lambda: model.load_params(path),
                   lambda: model.prepare_input(tmp_path / 'text.txt', batch_size=4, **read),
                   lambda: model.init_params(path),
                   lambda: model.model_setup(num_units1=6, num_units2=5)):
        model.validate_batch()
        change()
        assert model.validate_batch() == model.theano_check(model.X['valid'][0], model.Y['valid'][0])[0]
    path, model = model.save_params(path), make_model(2)
    model.prepare_input(tmp_path / 'text.txt', batch_size=2, **read)        # resume takes another batch size than then
    model.model_setup(num_units1=6, num_units2=5)
    model.resume(path)
    assert np.isfinite([model.validate_batch() for _ in range(3)]).all()


# ---------------------------------------------------------------- runs that cannot be resumed

def averaging_model(folder, seed):
    """Return a model that reads a text as streams, and has an average of its parameters."""
    (folder / 't.txt').write_text(LETTERS * 30)
    model = CharLSTM(random_seed=seed)
    model.prepare_input(folder / 't.txt', 0.4, 3, 5, verbose=False, stateful=True)
    model.model_setup(num_units1=7, num_units2=4, average=0.9)
    return model


@pytest.fixture(scope='module')
def running(tmp_path_factory):
    """Return the arrays and the metadata of a checkpoint in the middle of a run."""
    folder = tmp_path_factory.mktemp('running')
    model = averaging_model(folder, seed=1)
    model.validate_batch()
    model.theano_train_rmsprop(model.X['train'][0], model.Y['train'][0])
    arrays = load(model.save_params(folder / 'p', dict(epoch=1)))
    metadata = json.loads(str(arrays.pop('about')))
    assert metadata['arrays'] == sorted(arrays)
    return arrays, metadata


def stored_run(path, running, name=None, change=None, **metadata):
    """Write that checkpoint with metadata changed, and a change of an array, which is left out if it becomes None."""
    arrays = {other: change(array) if other == name else array for other, array in running[0].items()}
    np.savez(path, about=np.array(json.dumps(dict(running[1], **metadata))),
             **{name: array for name, array in arrays.items() if array is not None})
    return path


CHANGES = {'missing': lambda a: None, 'no dimension': lambda a: a.flat[0], 'shorter': lambda a: a[..., :-1],
           'fewer rows': lambda a: a[:2], 'strings': lambda a: np.full(a.shape, 'x'),
           'infinite in float32': lambda a: np.full(a.shape, 1e300)}


@pytest.mark.parametrize('change', CHANGES)
@pytest.mark.parametrize('name', ['m_c', 'weights_U1', 'carried_h1', 'validation_C2'])
def test_run_with_a_missing_or_wrong_array(running, path, tmp_path, refused, name, change):
    with refused(ValueError, path, 'that can be '):
        averaging_model(tmp_path, 2).resume(stored_run(path, running, name, CHANGES[change], arrays=[]))


@pytest.mark.parametrize('change', [dict(random=None), dict(averaged_steps=None)], ids=str)
def test_refused_run_leaves_the_model_as_it_was(running, path, tmp_path, refused, change):
    model = averaging_model(tmp_path, seed=2)
    before, random = parameters_of(model), model.random.bit_generator.state
    with refused(ValueError, path, 'that can be '):
        model.resume(stored_run(path, running, **change))
    assert all((model.p[name].get_value() == before[name]).all() for name in NAMES)
    assert model.random.bit_generator.state == random and model._carried is None and model._validation_states is None
    wider = {name: array if name == 'uchar' else array.astype('float64') for name, array in running[0].items()}
    assert model.resume(stored_run(path, (wider, running[1]))) == dict(epoch=1)      # of a run in float64
    assert model._carried[0].dtype == 'float32' and (model._carried[0] == running[0]['carried_h1']).all()


def test_run_with_an_average_is_not_resumed_without(running, path, make_model, refused):
    plain = make_model(2, text=LETTERS * 30)
    plain.model_setup(num_units1=7, num_units2=4)
    before = plain.p['c'].get_value()
    with refused(ValueError, path, 'with an average', 'model_setup'):
        plain.resume(stored_run(path, running))
    np.testing.assert_array_equal(plain.p['c'].get_value(), before)
    plain.load_params(path)                                       # to predict it needs nothing else


# ---------------------------------------------------------------- copies, threads and processes

def test_pickled_copy_trains_as_the_model_does(tmp_path):
    """It has parameters of its own."""
    model = averaging_model(tmp_path, seed=3)
    x, y = model.X['train'][0], model.Y['train'][0]
    model.theano_train_rmsprop(x, y)
    other = pickle.loads(pickle.dumps(model))
    before = parameters_of(model)
    costs = [other.theano_train_rmsprop(x, y)[0] for _ in range(2)]
    assert all((model.p[name].get_value() == before[name]).all() for name in NAMES)
    assert costs == [model.theano_train_rmsprop(x, y)[0] for _ in range(2)]
    assert other.generate_text('', 9) == model.generate_text('', 9)


def test_first_use_in_several_threads(tmp_path):
    model, out, texts = averaging_model(tmp_path, seed=3), sys.stdout, []
    threads = [threading.Thread(target=lambda: texts.append(model.generate_text('', 5))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sys.stdout is out and [len(text) for text in texts] == [5, 5, 5]


FORK = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from charlstm import CharLSTM
model = CharLSTM(random_seed=1)
model.prepare_input(sys.argv[2], 0, 3, 5, verbose=False)
model.model_setup(num_units1=70, num_units2=40)
x, y = model.X['train'][0], model.Y['train'][0]
model.theano_train_rmsprop(x, y)
child = os.fork()
if not child:
    signal.alarm(60)                   # of a hang
cost = float(model.theano_train_rmsprop(x, y)[0])
os.write(1, f'{cost}\\n'.encode())     # in one piece: both write at once
if child:
    sys.exit(os.waitpid(child, 0)[1])
"""


def test_child_of_a_fork_trains(tmp_path):
    """With one thread, as the threads of its parent are not copied. Python 3.12 and later warn of them."""
    (tmp_path / 't.txt').write_text(LETTERS * 30)
    costs = succeeded(run('-W', 'ignore', '-c', FORK, ROOT, tmp_path / 't.txt', env={'OMP_NUM_THREADS': '2'})).split()
    assert len(costs) == 2
    np.testing.assert_allclose(float(costs[0]), float(costs[1]), rtol=1e-5)


# ---------------------------------------------------------------- starting from the parameters of another text

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
