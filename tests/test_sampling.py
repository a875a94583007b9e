"""Writing texts: their format, drawing characters from the model's predictions, and held units."""
import contextlib
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

import numpy_model
from cells import evaluate
from charlstm import CharLSTM, tt
from damage import write_checkpoint
from engine.backend.theano_setup import theano
from engine.graph.cell import Cell, held_cell, inputs_of
from engine.graph.library import Library
from engine.model import sampling
from judges import assert_drawn
from models import default_mode, spelled
from numpy_model import H1, H2, LETTERS, V, chosen
from scripts import ROOT, run, succeeded

FIVE = 'abcde'


@pytest.fixture(scope='module', params=['kernel', 'scan'])
def compiled_model(request):
    model = CharLSTM(kernel=request.param == 'kernel')
    model.model_setup(char_dim=5, num_units1=7, num_units2=4)
    model.uchar = list(FIVE)
    with default_mode(theano.compile.mode.FAST_COMPILE) if request.param == 'scan' else contextlib.nullcontext():
        model.compile('predict', 'texts')
    return model


@pytest.fixture
def model(compiled_model):
    """Return a model of five letters whose predictions vary widely and depend on the text before."""
    for name, array in numpy_model.random_parameters(2, 'float32', V=5).items():
        compiled_model.p[name].set_value((3 * array).astype('float32'))
    compiled_model.random = np.random.default_rng(11)
    return compiled_model


def numbers(model, text):
    return np.array([model.uchar.index(ch) for ch in text])


def following(model, text):
    """Return the distribution (V,) of the character after text, by running the model over all of it."""
    return model.theano_predict(numbers(model, text))[0][-1, 0].astype('float64')


# ---------------------------------------------------------------- format

@pytest.mark.parametrize('method', ['normal', 'argmax'])
def test_length_of_texts_and_their_beginning(model, method):
    for seed in ('', 'a', 'decade'):
        for length in (len(seed), len(seed) + 1, 33, 70):
            text = model.generate_text(seed, length, method)
            assert len(text) == length and text.startswith(seed) and set(text) <= set(FIVE)
    assert len(model.generate_text()) == 100 and model.generate_text('', 0) == ''
    assert model.generate_text('decade', 3) == model.generate_text('decade', 0) == 'decade'
    texts = model.generate_text('ab', 40, count=5)
    assert [(len(text), text[:2]) for text in texts] == [(40, 'ab')] * 5 and len(set(texts)) == 5


@pytest.mark.parametrize('piece', [1, 3, 512])
@pytest.mark.parametrize('length', [1, 3, 36])
def test_stop_ends_each_text_after_its_first_occurrence(stateful, monkeypatch, piece, length):
    """The end of a text does not change the others of its batch."""
    monkeypatch.setattr(sampling, 'PIECE', piece)

    def texts(**stop):
        stateful.random = np.random.default_rng(3)
        return stateful.generate_text('ab', 90, count=5, **stop)

    free = texts()
    for stop in {free[0][40:40 + length], free[3][2:2 + length], free[1][-length:]}:
        ends = [text.find(stop, 2) for text in free]
        assert max(ends) >= 0
        assert texts(stop=stop) == [text if end < 0 else text[:end + length] for text, end in zip(free, ends)]


# ---------------------------------------------------------------- probabilities

def test_argmax_is_the_most_probable_character_after_the_whole_text(model):
    """State is carried from step to step, and from one piece of a text to the next."""
    text = model.generate_text('dec', 150, method='argmax')
    assert len(set(text)) > 2                                     # a fixed point would prove nothing
    best = model.theano_predict(numbers(model, text))[1][:, 0]
    assert text[3:] == spelled(model, best[2:-1])
    for choice in (dict(method='max'), dict(method='argmax', temperature=1e30), dict(top_k=1), dict(top_p=1e-9),
                   dict(temperature=0), dict(temperature=1e-7), dict(temperature=5e-324)):
        assert model.generate_text('dec', 150, **choice) == text


def test_characters_of_probability_zero_are_never_drawn(model):
    """Not even by the smallest or largest random bits, which no statistical test meets. The first is any character."""
    texts = model.generate_text('', 1, count=500)
    assert stats.chisquare([texts.count(ch) for ch in FIVE]).pvalue > 1e-3
    model.p['c'].set_value(np.array([-1e4, 0, 0, 0, -1e4], 'float32'))
    assert set(''.join(model.generate_text('c', 100, count=30))) == set('bcd')
    drawn = []
    for bits in (0, 2 ** 53 - 1):
        model.random = SimpleNamespace(integers=lambda high, size: np.full(size, bits))
        drawn.append(set(model.generate_text('c', 60)[1:]))
        assert (following(model, 'c')[numbers(model, drawn[-1])] > 0).all()
    assert len(drawn[0]) == 1 and drawn[1] == {'d'}


def test_temperatures_divide_scores_that_are_far_apart(model):
    """High ones also work for probabilities that are 0 in float32, and low ones if the divided scores are infinite."""
    n, c = 3001, np.array([0, -200, -300, -100, 0], 'float32')
    model.p['V'].set_value(0 * model.p['V'].get_value())
    model.p['c'].set_value(c)
    expected = chosen(np.exp(c.astype(float)) / np.exp(c.astype(float)).sum(), temperature=100)
    texts = model.generate_text('c', 2, count=n, temperature=100)
    shares = np.array([sum(text[1] == ch for text in texts) for ch in FIVE]) / n
    assert (abs(shares - expected) <= 5 * np.sqrt(expected * (1 - expected) / n)).all()
    model.p['c'].set_value(-1e10 * c)
    assert model.generate_text('a', 9, temperature=1e-30) == 'a' + 8 * 'c'


# ---------------------------------------------------------------- threads, and changed parameters


WRITES = '''
from engine.lesson.cells import CharLSTM, MLSTM, Normalised
model = {}(random_seed=3)
model.model_setup(char_dim=7, num_units1=301, num_units2=290)      # more than WORTH_HELPER bytes in sampling.c
model.uchar = list('abcdefg')
for p in model.p.values():
    p.set_value(5 * p.get_value())
print(model.generate_text('ab', 700), model.generate_text('ab', 50, count=3))
'''


@pytest.mark.parametrize('name', ['CharLSTM', 'Normalised', 'MLSTM'])
def test_two_threads_write_one_text_as_one_does(name):
    """Each computes some units of a step. The text has several pieces."""
    writes = WRITES.format(name)
    text, = {succeeded(run('-c', writes, cwd=ROOT, env={'OMP_NUM_THREADS': threads})) for threads in '1223'}
    assert len(set(text.split()[0])) == 7


def test_a_text_follows_parameters_that_are_changed_in_place(model):
    """The weights are packed for each text, and for a piece only if they were replaced or trained."""
    pieces = model.stream_text('abc', 700, method='argmax')
    begun, one = next(pieces) + next(pieces), model.generate_text('abc', 700, method='argmax')
    model.p['V'].get_value(borrow=True)[...] *= -1
    other = model.generate_text('abc', 700, method='argmax')
    best = model.theano_predict(numbers(model, other))[1][:, 0]
    assert other != one and ''.join(begun) == one[:515] and other[3:] == spelled(model, best[2:-1])


# ---------------------------------------------------------------- a step of one's own

def test_read_follows_changes_of_the_parameters(stateful):
    """By training steps, a function of one's own, and other values. The states that it was given stay the same."""
    x, y = stateful.X['train'][0][:3], stateful.Y['train'][0][:3]
    stateful.dyn_lrate = 0.1
    _, states = stateful.read(x)
    before, seen = [state.copy() for state in states], []
    grow = theano.function([], [], updates=[(p, p * 1.5 + 0.1) for p in stateful.p.values()])
    for change in (lambda: None, lambda: stateful.theano_train_sgd(x, y), lambda: stateful.theano_train_rmsprop(x, y),
                   lambda: stateful.p['W2'].set_value(np.asfortranarray(2 * stateful.p['W2'].get_value())), grow, grow):
        change()
        seen.append(stateful.read(x)[0])
        np.testing.assert_allclose(np.exp(seen[-1]), stateful.theano_predict(x)[0], rtol=1e-5)
        stateful.read(x, states)
        assert all((state == copy).all() for state, copy in zip(states, before))
    assert all(abs(one - other).max() > 1e-4 for one, other in zip(seen, seen[1:]))


@pytest.mark.parametrize('kernel', [True, False])
def test_read_refuses_other_states_and_characters(refused, kernel):
    model = CharLSTM(kernel=kernel)
    model.model_setup(char_dim=5, num_units1=7, num_units2=4)
    _, states = model.read([[1, 2]])
    for x, before in (([[5, 0]], states), ([[1, 2]], states[:3]), ([[1, 2, 3]], states), ([[1, 2]], states[::-1])):
        with refused(ValueError):
            model.read(x, before)


def test_two_models_write_together(tmp_path, monkeypatch, capsys):
    """The code of README.md: its characters cost the entropy of the mixed distribution."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    code, = re.findall(r'```python\n(import numpy as np\n.*?)```', text, re.DOTALL)
    for seed, name in enumerate(('subject', 'style')):
        write_checkpoint(f'{name}.npz', **numpy_model.random_parameters(seed), uchar=np.array([*LETTERS]))
    np.random.seed(1)
    names = {}
    exec('from charlstm import CharLSTM\n' + code, names)
    text, (one, other) = capsys.readouterr().out, names['models']
    numbers = np.array([3, *[one.uchar.index(ch) for ch in text]])[:, None]
    p = np.sqrt(one.theano_predict(numbers[:-1])[0] * other.theano_predict(numbers[:-1])[0])
    assert len(text) == 300
    assert_drawn(numbers[1:], p / p.sum(axis=2, keepdims=True), 'mixed')


# ---------------------------------------------------------------- held units

HOLDS = {'C1': {2: -1.5, 0: 0.25}, 'C2': {3: -1}}              # an int works as well


@pytest.fixture
def apart(stateful):
    """Return a model whose predictions vary widely."""
    for p in stateful.p.values():
        p.set_value(3 * p.get_value())
    return stateful


def test_held_and_free_texts_draw_the_same_random_numbers(apart):
    texts = {}
    for name, hold in (('free', None), ('none', {}), ('no unit', {'C1': {}}), ('held', HOLDS)):
        apart.random = np.random.default_rng(9)
        texts[name] = apart.generate_text('', 30, count=3, hold=hold), apart.random.bit_generator.state
    assert texts['free'] == texts['none'] == texts['no unit']
    assert texts['held'][0] != texts['free'][0] and texts['held'][1] == texts['free'][1]


def test_texts_in_turns(apart):
    """Two held texts and a free one in parallel do not affect each other. Nothing is compiled again."""
    holds = HOLDS, {'C2': {0: np.float32(3), 1: -3}}, None
    alone = [apart.generate_text('cab', 45, 'argmax', hold=hold) for hold in holds]
    held = apart.functions.held
    streams = [apart.stream_text('cab', 45, 'argmax', hold=hold) for hold in holds]
    assert [''.join(text for text, in pieces) for pieces in zip(*zip(*streams))] == alone and len(set(alone)) == 3
    assert apart.functions.held is held


@pytest.mark.parametrize('hold', [None, {'C1': {1: 2.0}}])
def test_nothing_is_compiled_once_a_text_has_begun(interpreted, hold):
    """Otherwise, on a terminal, the bar would erase its beginning."""
    model = CharLSTM()
    model.model_setup(char_dim=5, num_units1=7, num_units2=4)
    model.uchar = list(FIVE)
    pieces = model.stream_text('abc', 40, hold=hold)
    assert next(pieces) == ['abc']
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theano, 'function', None)
        patch.setattr(Library, 'path', None)
        assert len(next(pieces)[0]) == 37


@pytest.mark.parametrize('cell, names', [
    (lambda a_f, a_o, C_prev: (tt.tanh(a_o), a_f * C_prev), 'C'), (lambda a_f, C_prev: (C_prev, C_prev * a_f), 'C'),
    (lambda a_f, C_prev, n_prev: (tt.tanh(a_f + C_prev), tt.tanh(a_f), C_prev), 'n'),                # a delay line
    (lambda a_f, C_prev, n_prev: (2 * a_f, a_f, a_f), 'Cn')])
def test_held_states_that_h_does_not_read(cell, names):
    """h stays, unless it is computed from them, as in the last case; other states and units stay always.

    In test_every_way.py, h follows from held states.
    """
    made, random = Cell(cell, 'float64'), np.random.default_rng(3)
    held, is_held = held_cell(made), np.array([0, 1, 0, 1.0])
    assert [*held.parameters] == [f'{name} {state}' for state in made.states for name in ('is held', 'held at')]
    inputs = {name: random.uniform(-1, 1, (3, 4)) for name in inputs_of(held.counts)}
    for k, state in enumerate(made.states):
        inputs[f'cell_p[{2 * k}]'] = is_held * (state in names)
    h, *states = evaluate(made.program.forward, inputs)[:1 + len(made.states)]
    found, *after = evaluate(held.program.forward, inputs)[:1 + len(made.states)]
    stays = (is_held == 0) | (names != 'Cn')
    np.testing.assert_array_equal(found[:, stays], h[:, stays])
    for k, state in enumerate(states):
        is_held, value = [inputs[f'cell_p[{2 * k + j}]'] for j in (0, 1)]
        np.testing.assert_array_equal(after[k], np.where(is_held, value, state))


# ---------------------------------------------------------------- refusals

@pytest.mark.parametrize('arguments', [
    dict(method='beam'), dict(method=None), dict(seed='Ab\n\u20ac\u202e'), dict(text_length=-1),
    dict(text_length=2.5), dict(count=0), dict(temperature=-1), dict(temperature=math.nan), dict(temperature=math.inf),
    dict(top_k=0), dict(top_k=1.5), dict(top_p=0), dict(top_p=1.1), dict(top_p=math.nan), dict(hold={'C3': {0: 1}}),
    dict(hold={'h1': {0: 1}}), dict(hold={'C1': {H1: 1}}), dict(hold={'C2': {-1: 1}}), dict(hold={'C2': {0.5: 1}}),
    dict(hold={'C2': {1: math.nan}}), dict(hold={'C2': {1: '5'}})], ids=str)
def test_arguments_that_are_refused(stateful, refused, arguments):
    with refused(ValueError):
        stateful.generate_text(**arguments)


def test_models_that_cannot_write(stateful, refused):
    with refused(ValueError, 'model_setup'):
        CharLSTM().generate_text()
    stateful.p['V'].set_value(np.full((V, H2), np.nan, 'float32'))
    with refused(ValueError, 'finite'):
        stateful.generate_text('ab')


@pytest.mark.parametrize('letters, likely, expected', [
    ('a.\n ', '\n', '.\n\n'), ('a.\n ', 'a', '\n'), ('a. ', 'a', '. '), ('ab', 'a', '')])
def test_a_text_for_readers_begins_a_paragraph_line_or_sentence(letters, likely, expected):
    """After an empty line, if the model expects one after a sentence."""
    model = CharLSTM(random_seed=1)
    model.uchar = list(letters)
    model.model_setup(char_dim=len(letters), num_units1=3, num_units2=2)
    model.p['c'].set_value(9 * (np.array(model.uchar) == likely).astype('float32'))
    assert sampling.opening(model) == expected


@pytest.mark.parametrize('text, near, expected', [
    ('One. Two three', 14, 'One.'), ('One. Two three', 9, 'One. Two'), ('"No!" said Mr. Bennet to', 24, '"No!"'),
    ('a line\n\nand more', 10, 'a line'), ('a line\n\nand more', 9, 'a line\n\nand'), ('unbroken', 8, 'unbroken')])
def test_a_text_for_readers_ends_with_a_sentence_line_or_word(text, near, expected):
    assert text[:sampling.end_of(text, near)] == expected
