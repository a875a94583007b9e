"""How texts are written: their form, and that their characters are drawn from the model's own predictions."""
import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

import numpy_model
from charlstm import CharLSTM
from engine import sampling
from engine.kernel.ops import Kernel
from models import P, set_parameters, spelled
from numpy_model import H1, H2, LETTERS, V, chosen, forward

FIVE = 'abcde'


@pytest.fixture(params=['kernel', 'scan'])
def model(request, text_file):
    """A model of five letters that predicts each with a probability of its own, which depends on the text before."""
    if request.param == 'scan':
        request.getfixturevalue('interpreted')
    model = CharLSTM(random_seed=11, kernel=request.param == 'kernel')
    model.prepare_input(text_file(FIVE * 6), ratio_valid=0, batch_size=2, seq_length=5, verbose=False)
    model.model_setup(num_units1=7, num_units2=4)
    for name, array in numpy_model.random_parameters(2, 'float32', V=5).items():
        model.p[name].set_value((3 * array).astype('float32'))
    return model


def numbers(model, text):
    return np.array([model.uchar.index(ch) for ch in text])


def following(model, text):
    """The distribution (V,) of the character after text, by running the model over all of it."""
    return model.theano_predict(numbers(model, text))[0][-1, 0].astype('float64')


# ---------------------------------------------------------------- form

@pytest.mark.parametrize('method', ['normal', 'argmax', 'max'])
def test_text_has_the_length_asked_for_and_begins_with_the_seed(model, method):
    for seed in ('', 'a', 'decade'):
        for length in (len(seed), len(seed) + 1, 33, 150):
            text = model.generate_text(seed, length, method)
            assert len(text) == length and text.startswith(seed) and set(text) <= set(FIVE)
    assert len(model.generate_text()) == 100


def test_seed_longer_than_the_text_comes_back_as_it_is(model):
    assert model.generate_text('decade', 3) == 'decade'
    assert model.generate_text('decade', 0) == 'decade'
    assert model.generate_text('', 0) == ''


def test_count_texts_are_made_together(model):
    texts = model.generate_text('ab', 40, count=5)
    assert [len(text) for text in texts] == [40] * 5 and all(text.startswith('ab') for text in texts)
    assert len(set(texts)) == 5
    assert len({text[0] for text in model.generate_text('', 1, count=60)}) == 5


@pytest.mark.parametrize('arguments, words', [
    (dict(method='beam'), ('method', "'beam'", "'normal'", "'argmax'", "'max'")),
    (dict(method=None), ('method', 'None')),
    (dict(seed='Ab\n\u20ac\u202e'), ('never saw', r"'\n', 'A', '\u202e', '€'")),      # which of them print shows
    (dict(text_length=-1), ('text_length', '-1')),
    (dict(text_length=2.5), ('text_length', '2.5')),
    (dict(count=0), ('count', '0')),
])
def test_arguments_that_are_refused(model, refused, arguments, words):
    with refused(ValueError, *words):
        model.generate_text(**arguments)


def test_without_vocabulary_or_parameters(refused, text_file):
    with refused(ValueError, 'prepare_input'):
        CharLSTM().generate_text()
    model = CharLSTM()
    model.prepare_input(text_file(FIVE), ratio_valid=0, batch_size=1, seq_length=2, verbose=False)
    with refused(ValueError, 'model_setup'):
        model.generate_text('a')


@pytest.mark.parametrize('argument, value', [
    ('temperature', 0), ('temperature', -1), ('temperature', math.nan), ('temperature', math.inf), ('top_k', 0),
    ('top_k', -2), ('top_k', 1.5), ('top_p', 0), ('top_p', 1.1), ('top_p', math.nan), ('top_p', -0.2)])
def test_argument_out_of_range(stateful, refused, argument, value):
    with refused(ValueError, argument, value):
        stateful.generate_text('ab', 5, **{argument: value})


# ---------------------------------------------------------------- probabilities

def test_argmax_is_the_most_probable_character_after_the_whole_text(model):
    """State is carried from step to step, and from one piece of text to the next: the kernel makes it in pieces."""
    text = model.generate_text('dec', 150, method='argmax')
    assert len(set(text)) > 2                                     # a fixed point would show nothing
    best = model.theano_predict(numbers(model, text))[1][:, 0]
    assert text[3:] == spelled(model, best[2:-1])
    assert model.generate_text('dec', 150, method='max') == text  # another name for it
    assert text[3:20] == ''.join(model.uchar[following(model, text[:n]).argmax()] for n in range(3, 20))


def assert_follows(counts, expected):
    assert expected.min() > 5                                     # else chi-square says nothing
    assert stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-3


@pytest.mark.parametrize('n, together', [(4000, True), (700, False)], ids=['in one batch', 'one by one'])
def test_drawn_characters_follow_the_predicted_probabilities(model, n, together):
    """Of two characters in a row, so that the state after the first draw counts too."""
    texts = (model.generate_text('dab', 5, count=n) if together else
             [model.generate_text('dab', 5) for _ in range(n)])
    pairs, expected = [first + second for first in FIVE for second in FIVE], []
    for first in FIVE:
        expected.extend(n * following(model, 'dab')[numbers(model, first)] * following(model, 'dab' + first))
    expected = np.array(expected)
    counts = np.array([sum(text[3:] == pair for text in texts) for pair in pairs])
    frequent = expected > 5
    assert frequent.sum() > 8 and expected.max() > 2 * n / 25       # far from uniform, or a mistake would not show
    assert_follows(np.append(counts[frequent], counts[~frequent].sum() + 6),
                   np.append(expected[frequent], expected[~frequent].sum() + 6))


def test_first_character_is_drawn_uniformly_where_there_is_no_seed(model):
    texts = [model.generate_text('', 1) for _ in range(500)]
    assert_follows(np.array([texts.count(ch) for ch in FIVE]), np.full(5, 100.0))


@pytest.mark.parametrize('impossible', ['e', 'a', 'abde'])
def test_characters_of_probability_zero_are_never_drawn(model, impossible):
    """Neither the last, which in the original got what was left over, nor the first."""
    c = np.zeros(5, 'float32')
    c[numbers(model, impossible)] = -1e4
    model.p['c'].set_value(c)
    assert (following(model, 'c')[numbers(model, impossible)] == 0).all()
    text = ''.join(model.generate_text('c', 100, count=30))
    assert set(text) == set(FIVE) - set(impossible)


def test_smallest_and_largest_draw_give_possible_characters(model):
    """The ends of the random bits, which no statistic meets."""
    model.p['c'].set_value(np.array([-1e4, 0, 0, 0, -1e4], 'float32'))
    drawn = []
    for bits in (0, 2 ** 53 - 1):
        model.random = SimpleNamespace(integers=lambda high, size: np.full(size, bits))
        drawn.append(set(model.generate_text('c', 200)[1:]))
        assert (following(model, 'c')[numbers(model, drawn[-1])] > 0).all()
    assert len(drawn[0]) == 1 and drawn[1] == {'d'}


# ---------------------------------------------------------------- temperature, top_k and top_p

@pytest.mark.parametrize('choice', [
    dict(), dict(temperature=0.4), dict(temperature=3.0), dict(top_k=4), dict(top_p=0.6),
    dict(temperature=0.7, top_k=5, top_p=0.8)], ids=str)
def test_frequencies_of_the_first_character(stateful, choice):
    n = 6007
    expected = chosen(forward(P, np.array([[3], [7]]))[0][-1, 0], **choice)
    assert (expected == 0).any() == ('top_k' in choice or 'top_p' in choice)
    texts = stateful.generate_text('dh', 3, count=n, **choice)
    counts = np.array([sum(text[2] == ch for text in texts) for ch in LETTERS])
    assert (counts[expected == 0] == 0).all()
    assert (abs(counts / n - expected) <= 5 * np.sqrt(expected * (1 - expected) / n)).all()


def test_the_most_probable_of_one(stateful):
    assert stateful.generate_text('cab', 41, top_k=1) == stateful.generate_text('cab', 41, method='argmax')
    assert stateful.generate_text('cab', 41, top_p=1e-9) == stateful.generate_text('cab', 41, method='argmax')


@pytest.mark.parametrize('top_k', [V, 10 ** 6, 2 ** 63, 10 ** 50])
def test_top_k_beyond_the_vocabulary_is_no_choice(stateful, top_k):
    stateful.random = np.random.default_rng(3)
    text = stateful.generate_text('ab', 30, top_k=top_k)
    stateful.random = np.random.default_rng(3)
    assert stateful.generate_text('ab', 30) == text


@pytest.mark.parametrize('temperature', [1e-7, 1e-37, 1e-40, 1e-50, 5e-324])
def test_hardly_any_temperature_takes_the_most_probable(stateful, temperature):
    text = stateful.generate_text('cab', 41, temperature=temperature)
    assert text == stateful.generate_text('cab', 41, method='argmax')


# ---------------------------------------------------------------- stop

@pytest.mark.parametrize('first, longest', [(1, 2), (3, 3), (32, 1024)])
@pytest.mark.parametrize('length', [1, 2, 3, 5, 36])
def test_stop_ends_each_text_after_its_first_occurrence(stateful, monkeypatch, first, longest, length):
    monkeypatch.setattr(sampling, 'FIRST_PIECE', first)
    monkeypatch.setattr(sampling, 'LONGEST_PIECE', longest)

    def texts(**stop):
        stateful.random = np.random.default_rng(3)
        return stateful.generate_text('ab', 90, count=5, **stop)

    free = texts()
    for stop in {free[0][40:40 + length], free[3][2:2 + length], free[1][-length:]}:
        ends = [text.find(stop, 2) for text in free]
        assert max(ends) >= 0
        # A text is drawn on by itself, whatever the others of its batch do.
        assert texts(stop=stop) == [text if end < 0 else text[:end + length] for text, end in zip(free, ends)]


# ---------------------------------------------------------------- the same text again

def test_same_seed_draws_the_same_text(model):
    texts = []
    for seed in (1, 1, 2):
        model.random = np.random.default_rng(seed)
        texts.append([model.generate_text('', 60), model.generate_text('', 60), model.generate_text('a', 60, count=2)])
    assert texts[0] == texts[1]
    assert all(same != other for same, other in zip(texts[0], texts[2]))
    assert texts[0][0] != texts[0][1]                             # the next text goes on drawing


@pytest.mark.parametrize('choice', [dict(), dict(temperature=0.4, top_k=5, top_p=0.8), dict(method='argmax')], ids=str)
def test_without_the_kernel_the_same_seed_gives_the_same_text(stateful, choice, interpreted):
    scan = CharLSTM(kernel=False)
    scan.model_setup(char_dim=V, num_units1=H1, num_units2=H2)
    scan.uchar = stateful.uchar
    set_parameters(scan)
    scan.random, stateful.random = np.random.default_rng(9), np.random.default_rng(9)
    texts = scan.generate_text('cab', 23, count=4, **choice)
    assert stateful.generate_text('cab', 23, count=4, **choice) == texts
    assert len(set(texts)) == (1 if choice.get('method') else 4)


# ---------------------------------------------------------------- any object that has parameters

@pytest.mark.parametrize('batch_size', [1, 7])
def test_works_before_and_after_training_at_any_batch_size(text_file, batch_size):
    model = CharLSTM(random_seed=1)
    model.prepare_input(text_file(FIVE * 30), ratio_valid=0, batch_size=batch_size, seq_length=9, verbose=False)
    model.model_setup(num_units1=7, num_units2=4)
    assert len(model.generate_text('ab', 50)) == 50
    before = model.generate_text('ab', 50, method='argmax')
    for _ in range(30):
        model.theano_train_rmsprop(model.X['train'][0], model.Y['train'][0])
    after = model.generate_text('ab', 50, method='argmax')
    assert after != before                                        # it speaks of the parameters of now
    best = model.theano_predict(numbers(model, after))[1][:, 0]
    assert after[2:] == spelled(model, best[1:-1])


def test_checkpoint_compiles_sampling_alone(model, tmp_path):
    path = model.save_params(tmp_path / 'params.npz')
    kernel = isinstance(model._ops(), Kernel)
    other = CharLSTM(random_seed=2, kernel=kernel)
    other.model_setup(mfile=path)
    assert set(other._functions) == set()
    assert other.generate_text('ab', 50, method='argmax') == model.generate_text('ab', 50, method='argmax')
    assert set(other._functions) == ({'sample'} if kernel else {'sample', 'predict'})


def test_text_prepared_for_a_loaded_model_is_continued(model, tmp_path, text_file):
    path = model.save_params(tmp_path / 'params.npz')
    other = CharLSTM()
    other.model_setup(mfile=path)
    other.prepare_input(text_file('dada' * 9, name='other.txt'), ratio_valid=0, batch_size=3, seq_length=4,
                        verbose=False)
    assert other.generate_text('abc', 40, method='argmax') == model.generate_text('abc', 40, method='argmax')
