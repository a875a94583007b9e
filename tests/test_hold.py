"""Writing with cell states held, against the model in NumPy; test_every_way.py compares the ways to compute it."""
import numpy as np
import pytest

import cells
import numpy_model
from cells import OWN, evaluate, peephole_cell
from charlstm import CharLSTM, lstm_cell, tt
from engine.kernel.cell import HOLD, INPUTS, Cell, held_cell
from models import P, spelled
from numpy_model import LETTERS, V, sigmoid

HOLDS = {'C1': {2: -1.5, 0: 0.25}, 'C2': {3: -1}}              # also a whole number


@pytest.fixture
def model(stateful):
    """Return a model whose predictions differ much."""
    for p in stateful.p.values():
        p.set_value(3 * p.get_value())
    return stateful


def probabilities(text, scale=3):
    """Return the probabilities (T,V) of what follows each character, by the model in NumPy."""
    p = {name: scale * array for name, array in P.items()}
    return numpy_model.forward(p, np.array([LETTERS.index(ch) for ch in text])[:, None], hold=HOLDS)[0][:, 0]


def test_most_probable_text_is_that_in_numpy(model):
    """From the seed on, in a second piece, and with other parameters, for which nothing is compiled again."""
    texts, held = [model.generate_text('cab', 60, method='argmax')], []
    for scale in (3, -3):
        texts.append(model.generate_text('cab', 60, method='argmax', hold=HOLDS))
        held.append(model.functions['held'])
        assert texts[-1][3:] == spelled(model, probabilities(texts[-1], scale).argmax(axis=1)[2:-1])
        for p in model.p.values():
            p.set_value(-p.get_value())
    assert len(set(texts)) == 3 and len(set(texts[1][3:])) > 1 and held[0] is held[1]


def test_held_and_free_texts_draw_the_same_random_numbers(model):
    texts = {}
    for name, hold in (('free', None), ('none', {}), ('no unit', {'C1': {}}), ('held', HOLDS)):
        model.random = np.random.default_rng(9)
        texts[name] = model.generate_text('', 30, count=3, hold=hold), model.random.bit_generator.state
    random = np.random.default_rng(9)
    first = random.integers(V, size=(1, 3), dtype=np.int32)[0]
    bits = random.integers(2 ** 53, size=(29, 3))
    for text, number, draws in zip(texts['held'][0], first, bits.T * 2.0 ** -53):
        assert text[0] == LETTERS[number]
        cumulative = probabilities(text).cumsum(axis=1)[:-1]
        assert text[1:] == spelled(model, (cumulative > draws[:, None]).argmax(axis=1))
    assert texts['free'] == texts['none'] == texts['no unit']
    assert texts['held'][0] != texts['free'][0] and texts['held'][1] == texts['free'][1]


def test_texts_in_turns(model):
    """Two held texts and a free one that are written at the same time do not disturb each other."""
    holds = HOLDS, {'C2': {0: np.float32(3), 1: -3}}, None
    alone = [model.generate_text('cab', 45, 'argmax', hold=hold) for hold in holds]
    streams = [model.stream_text('cab', 45, 'argmax', hold=hold) for hold in holds]
    assert [''.join(text for text, in pieces) for pieces in zip(*zip(*streams))] == alone and len(set(alone)) == 3


def test_held_model_is_made_again_after_model_setup_and_with_another_cell(interpreted):
    """Also with one that is not in C."""
    model = CharLSTM(kernel=False)
    for H in (3, 5):
        model.model_setup(char_dim=V, num_units1=H, num_units2=2)
        model.uchar = list(LETTERS)
        assert len(model.generate_text('ab', 5, hold={'C1': {H - 1: 1.0}})) == 5
    for cell in (cells.coupled_cell, lambda a_f, a_i, a_o, a_g, C: (C * a_o, a_g - a_g.mean(axis=1, keepdims=True))):
        model.cell = cell
        assert len(model.generate_text('ab', 5, hold={'C2': {1: 1.0}})) == 5 and len(model.p) == 8


@pytest.mark.parametrize('cell, own, expected', [
    (lstm_cell, (), lambda i, C: sigmoid(i['a_o']) * np.tanh(C)),
    (peephole_cell, OWN, lambda i, C: sigmoid(i['a_o'] + i['own2'] * C) * np.tanh(C)),
    (lambda a_f, a_i, a_o, a_g, C_prev: (tt.tanh(a_o), a_f * C_prev), (), lambda i, C: np.tanh(i['a_o'])),
    (lambda a_f, a_i, a_o, a_g, C_prev: (C_prev, C_prev * a_f), (), lambda i, C: i['C_prev']),
    (lambda a_f, a_i, a_o, a_g, C_prev: [a_f * C_prev] * 2, (), lambda i, C: C)])
def test_h_follows_from_the_held_C(cell, own, expected):
    """Where the cell computes h from C; without a unit held the cell is the same."""
    made, random = Cell(cell, own, 'float64'), np.random.default_rng(3)
    held = held_cell(made)
    assert held.own == own + HOLD and held.name == made.name
    names = [*INPUTS, *[f'own{k}' for k in range(len(own))]]
    inputs = {name: random.uniform(-1, 1, (3, 4)) for name in names}
    free = evaluate(made.program.forward, inputs)[:2]
    is_held, at = np.array([0, 1, 0, 1.0]), random.uniform(-2, 2, 4)
    found = evaluate(held.program.forward, dict(inputs, **{f'own{len(own)}': is_held, f'own{len(own) + 1}': at}))[:2]
    C = np.where(is_held, at, free[1])
    np.testing.assert_array_equal(found[1], C)
    np.testing.assert_allclose(found[0], expected(inputs, C), rtol=1e-13)
    np.testing.assert_array_equal(np.array(found)[:, :, ::2], np.array(free)[:, :, ::2])
