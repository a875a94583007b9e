"""The state of a CharLSTM between two steps: its vocabulary, and saving, loading and resuming bit for bit."""
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import numpy_model
from charlstm import CharLSTM, read_about, read_checkpoint
from engine.backend.theano_setup import theano
from engine.model.state import optimiser_variables
from models import TEXT, parameters_of, prepared, spelled, text_of
from numpy_model import LETTERS, NAMES, random_parameters
from scripts import load
from texts import CHARACTERS


def checkpoint(path, **changed):
    """Write a checkpoint of V characters with some arrays changed or added; return its path."""
    np.savez(path, **{**random_parameters(1), 'uchar': np.array(list(LETTERS)), **changed})
    return str(path)


def as_bytes(arrays):
    return {name: array.tobytes() for name, array in arrays.items()}


@pytest.fixture
def model(text_file):
    """Return a model that has parameters and a text of eight letters."""
    model = prepared(text_file('abcdefgh'))
    model.model_setup(num_units1=7, num_units2=4)
    return model


def test_text_whose_characters_are_known_keeps_parameters_and_vocabulary(model, text_file):
    p = parameters_of(model)
    model.prepare_input(text_file('hcbhcb', name='other.txt'), 0, 1, 2, verbose=False)
    assert ''.join(model.uchar) == 'abcdefgh' and text_of(model) == 'hcbhcb' and model.X['train'][0].tolist() == [[7]]
    assert as_bytes(parameters_of(model)) == as_bytes(p)


def test_text_with_unknown_characters_drops_the_parameters_with_a_warning(model, text_file, capsys):
    model.prepare_input(text_file('abxyaé', name='other.txt'), 0, 1, 2, verbose=False)
    err = capsys.readouterr().err
    assert err.count('\n') == 1 and "'x', 'y', 'é'" in err
    assert ''.join(model.uchar) == 'abxyé' and text_of(model) == 'abxyaé' and model.p == {}


def test_a_line_warns_of_sequences_longer_than_the_gradient_reaches(text_file, capsys, interpreted):
    model = prepared(text_file('abc' * 30), batch_size=2, seq_length=11)           # 10 steps
    for depth, warns in ((9, True), (10, False), (-1, False)):
        model.model_setup(num_units1=7, num_units2=4, bptt_maxdepth=depth)
        model.theano_train_sgd(model.X['train'][0], model.Y['train'][0])
        assert ('bptt_maxdepth' in capsys.readouterr().err) == warns


@pytest.mark.parametrize('floatX', ['float32', 'float64'])
@settings(max_examples=20)
@given(characters=st.sets(CHARACTERS, min_size=1, max_size=40), H1=st.integers(1, 5), H2=st.integers(1, 5),
       seed=st.integers(0, 99), progress=st.dictionaries(st.text(CHARACTERS), st.none() | st.integers(), max_size=3))
def test_checkpoint_round_trip(shared_folder, floatX, characters, H1, H2, seed, progress):
    with theano.change_flags(floatX=floatX):
        model, other = CharLSTM(random_seed=seed), CharLSTM(random_seed=seed + 1)
        model.uchar = sorted(characters)
        model.model_setup(num_units1=H1, num_units2=H2)
        path = model.save_params(str(shared_folder / 'p'), progress)
        assert path == str(shared_folder / 'p.npz') == model.save_params(path, progress)     # .npz is added if missing
        other.model_setup(mfile=path)
        assert other.resume(path) == progress and other.uchar == sorted(characters)
    arrays = load(path)                                           # as a reader of the original's nine arrays would
    assert arrays['uchar'].dtype == '<U1' and [ch or '\0' for ch in arrays['uchar'].tolist()] == sorted(characters)
    for name, array in parameters_of(model).items():
        for found in (other.p[name].get_value(), arrays[name]):
            assert (found.dtype, found.shape, found.tobytes()) == (floatX, array.shape, array.tobytes())
    assert other.random.random() == model.random.random()


def test_file_of_the_original_loads(path, refused):
    """It has bytes in any order, float64 and more than the nine arrays; the model may have had other sizes before."""
    uchar, arrays = 'k\0bcéefgdia', random_parameters(1)
    checkpoint(path, uchar=np.array([ch.encode('latin-1') for ch in uchar], 'S1'), epoch=np.array(7))
    model = CharLSTM()
    returned = model.load_params(path)                            # under float32
    assert model.uchar == read_checkpoint(path)[1].tolist() == list(uchar) and list(returned) == list(NAMES)
    for name in NAMES:
        np.testing.assert_array_equal(returned[name], arrays[name].astype('float32'))
        returned[name][:] = 7                                     # it is the caller's own
        np.testing.assert_array_equal(model.p[name].get_value(), arrays[name].astype('float32'))
    with refused(ValueError, 'model_setup'):                      # there are no learning parameters
        model.theano_train_sgd([0, 1], [1, 2])
    x = np.array([[3, 0], [1, 10], [5, 5]])
    for p in (arrays, random_parameters(2, H1=9, H2=5)):
        model.model_setup(mfile=checkpoint(path, **p))
        np.testing.assert_allclose(model.theano_predict(x)[0], numpy_model.forward(p, x)[0], rtol=1e-4)


@pytest.mark.parametrize('uchar', ['kjihgfedcba', ''.join(map(chr, range(90, 500)))])
def test_batches_are_renumbered_for_the_loaded_vocabulary(lettered, path, uchar):
    def decoded():
        return [spelled(lettered, codes) for x, y in zip(lettered.X['train'], lettered.Y['train']) for codes in (x, y)]
    before = decoded()
    lettered.model_setup(mfile=checkpoint(path, uchar=np.array(list(uchar)), **random_parameters(1, V=len(uchar))))
    assert ''.join(lettered.uchar) == uchar and decoded() == before and lettered.n_batches == dict(train=3, valid=0)


def test_nothing_that_cannot_be_loaded_is_saved(lettered, path, refused, text_file):
    """An earlier file of that name stays unchanged."""
    for model in (CharLSTM(), prepared(text_file(LETTERS))):
        with refused(ValueError, 'nothing to save'):
            model.save_params(path)
    assert not os.path.exists(path)
    before = load(lettered.save_params(path))
    for variable in (optimiser_variables(lettered)['mean_squares'][-1], lettered.p['c']):
        variable.set_value(np.where(np.arange(11) == 3, np.float32('nan'), variable.get_value()))
        with refused(ValueError, path, 'finite'):
            lettered.save_params(path)
    assert as_bytes(load(path)) == as_bytes(before)


def test_failed_loading_leaves_the_model_as_it_was(lettered, path, refused):
    before, text, lp = parameters_of(lettered), text_of(lettered), dict(lettered.lp)
    for word, changed in ((path, dict(V=np.zeros(()))), (path, dict(c=np.full(11, np.inf))),
                          ("'j', 'k'", dict(uchar=np.array(list('abcdefghiJK'))))):
        for load_params in (lettered.load_params, lambda mfile: lettered.model_setup(mfile, lrate=0.5, l1=0.5)):
            with refused(ValueError, word):
                load_params(checkpoint(path, **changed))
    with refused(ValueError, 'char_dim'):
        lettered.model_setup(char_dim=4, lrate=0.5, l1=0.5)
    assert ''.join(lettered.uchar) == LETTERS and text_of(lettered) == text and lettered.lp == lp
    assert as_bytes(parameters_of(lettered)) == as_bytes(before)


def test_init_on_another_text(make_model, path):
    old, new_text = make_model(1, 'abcdefgh é' * 9), 'ca—feé 𝄞' * 11
    new, fresh = make_model(5, new_text), make_model(5, new_text)
    new.init_params(old.save_params(path))
    p, q, f = [parameters_of(m) for m in (old, new, fresh)]
    for name in ('W1', 'b1', 'U2', 'W2', 'b2'):
        np.testing.assert_array_equal(q[name], p[name])
    known = [ch in 'abcdefgh é' for ch in new.uchar]
    for k, ch in enumerate(new.uchar):
        source, j = (p, old.uchar.index(ch)) if known[k] else (f, k)
        np.testing.assert_array_equal(q['U1'][:, :, k], source['U1'][:, :, j])
        np.testing.assert_array_equal(q['V'][k], source['V'][j])
        assert q['c'][k] == source['c'][j]
    assert sum(known) == 6 and len(known) == 8


def test_validation_batches_resume_bit_for_bit(make_model, tmp_path):
    """At the beginning of the validation text, at its end, after it, and again at its end."""
    first, second = make_model(1), make_model(2)
    n, unused = first.n_batches['valid'], first.save_params(tmp_path / 'unused')
    whole = [first.validate_batch() for _ in range(n)]
    assert n > 3 and len(set(whole)) == n
    for done in (n, n + 2, 2 * n):
        whole += [first.validate_batch() for _ in range(done - len(whole))]
        path = first.save_params(tmp_path / 'p')
        assert read_about(path)['validation_index'] == (done - 1) % n + 1
        assert load(path)['validation_h1'].shape == (3, 4) and load(path)['validation_C2'].shape == (3, 2)
        second.validate_batch()                                   # it must have no effect
        second.resume(path)
        assert [second.validate_batch() for _ in range(n + 1)] == [whole[(done + k) % n] for k in range(n + 1)]
    second.resume(unused)
    assert second.validate_batch() == whole[0]


def test_validation_begins_again_with_other_parameters_or_another_text(make_model, tmp_path):
    """Even if the states have another size."""
    model = make_model(1)
    path, text = model.save_params(tmp_path / 'p'), tmp_path / 'text.txt'
    for change in (lambda: model.load_params(path), lambda: model.init_params(path),
                   lambda: model.prepare_input(text, batch_size=4, seq_length=5, verbose=False, stateful=True),
                   lambda: model.model_setup(num_units1=6, num_units2=5)):
        model.validate_batch()
        change()
        assert model.validate_batch() == model.theano_check(model.X['valid'][0], model.Y['valid'][0])[0]


@pytest.fixture
def running(make_model, tmp_path):
    """Return the arrays and the metadata of a checkpoint in the middle of a run, and a model that can resume it."""
    model = make_model(1, TEXT, average=0.9)
    model.validate_batch()
    model.theano_train_rmsprop(model.X['train'][0], model.Y['train'][0])
    arrays = load(model.save_params(tmp_path / 'running', dict(epoch=1)))
    return arrays, json.loads(str(arrays.pop('about'))), make_model(2, TEXT, average=0.9)


def test_run_in_float64_is_resumed_in_float32_and_one_that_is_incomplete_is_not(running, path, refused, interpreted):
    arrays, metadata, model = running
    before, random = parameters_of(model), model.random.bit_generator.state

    def resume(changed={}, **about):
        stored = {name: array for name, array in {**arrays, **changed}.items() if array is not None}
        np.savez(path, about=np.array(json.dumps({**metadata, 'arrays': sorted(stored), **about})), **stored)
        return model.resume(path)
    for name in ('m_c', 'weights_U1', 'carried_h1', 'validation_C2'):
        for wrong in (None, arrays[name][..., :-1], np.full_like(arrays[name], np.inf), arrays[name].repeat(2, axis=0)):
            with refused(ValueError, path):
                resume({name: wrong})
    for about in (dict(random=None), dict(optimiser=['count']), dict(predicts=[1] * 24)):
        with refused(ValueError, path):
            resume(**about)
    assert as_bytes(parameters_of(model)) == as_bytes(before) and model.random.bit_generator.state == random
    assert model.carried is None and model.validation == (None, 0)
    assert resume({name: a.astype('float64') for name, a in arrays.items() if name != 'uchar'}) == dict(epoch=1)
    assert model.carried[0].dtype == 'float32' and (model.carried[0] == arrays['carried_h1']).all()
    model.model_setup(num_units1=4, num_units2=2)
    with refused(ValueError, path, 'average'):
        model.resume(path)
