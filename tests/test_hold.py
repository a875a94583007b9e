"""Writing with cell states held, against the model in NumPy: standard and own cells, in C and by theano.scan."""
import contextlib

import numpy as np
import pytest

import cells
import numpy_model
from cells import OWN, evaluate, peephole_cell
from charlstm import CharLSTM, lstm_cell, tt
from engine.backend.theano_setup import theano
from engine.kernel.cell import HOLD, INPUTS, Cell, held_cell
from models import default_mode, spelled
from numpy_model import H1, H2, LETTERS, V, random_parameters, sigmoid

HOLDS = {'C1': {2: -1.5, 0: 0.25}, 'C2': {3: -1}}              # also a whole number
PEEPHOLES = dict(p_f=0.3, p_i=-0.2, p_o=0.4)


@pytest.fixture(scope='module', params=['kernel', 'scan', 'own in C', 'own by scan'])
def made(request):
    """Return a model with vocabulary LETTERS, and the arguments of numpy_model.forward for its cell."""
    model, in_numpy = CharLSTM(random_seed=2, kernel=request.param in ('kernel', 'own in C')), {}
    if 'own' in request.param:
        model.cell, model.cell_parameters = peephole_cell, PEEPHOLES
        in_numpy = dict(cell=cells.peephole_in_numpy, own=OWN)
    model.model_setup(char_dim=V, num_units1=H1, num_units2=H2)
    model.uchar = list(LETTERS)
    with contextlib.nullcontext() if model.kernel else default_mode(theano.compile.mode.FAST_COMPILE):
        for hold in (None, HOLDS):
            model.generate_text('ab', 4, hold=hold)
        model.functions['held'].compiled('predict')
    assert model.runs_in_c() == model.functions['held'].runs_in_c() == (request.param in ('kernel', 'own in C'))
    return model, in_numpy


@pytest.fixture
def model(made):
    """Return that model with parameters by which its predictions differ much."""
    random = np.random.default_rng(5)
    for name, array in random_parameters(4, 'float32').items():
        made[0].p[name].set_value((2 * array).astype('float32'))
    for name in made[0].p:
        if name[:-1] in OWN:
            made[0].p[name].set_value(random.uniform(-0.5, 0.5, made[0].p[name].get_value().shape).astype('float32'))
    made[0].random = np.random.default_rng(9)
    return made[0]


def probabilities(model, made, text, hold=HOLDS):
    """Return the probabilities (T,V) of what follows each character, by the model in NumPy."""
    p = {name: value.get_value().astype('float64') for name, value in model.p.items()}
    x = np.array([LETTERS.index(ch) for ch in text])[:, None]
    return numpy_model.forward(p, x, hold=hold, **made[1])[0][:, 0]


def test_probabilities_are_those_in_numpy(model, made):
    model.generate_text('ab', 3, hold=HOLDS)
    expected = probabilities(model, made, LETTERS * 3)
    found = model.functions['held'].theano_predict([LETTERS.index(ch) for ch in LETTERS * 3])[0][:, 0]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-7)
    assert abs(expected - probabilities(model, made, LETTERS * 3, {})).max() > 0.1             # it matters


def test_most_probable_text_is_that_in_numpy(model, made):
    """From the seed on, in a second piece, and with other parameters, for which nothing is compiled again."""
    held, texts = model.functions['held'], [model.generate_text('cab', 60, method='argmax')]
    for _ in range(2):
        texts.append(model.generate_text('cab', 60, method='argmax', hold=HOLDS))
        assert texts[-1][3:] == spelled(model, probabilities(model, made, texts[-1]).argmax(axis=1)[2:-1])
        for p in model.p.values():
            p.set_value(-p.get_value())
    assert len(set(texts)) == 3 and len(set(texts[1][3:])) > 1 and model.functions['held'] is held


def test_held_and_free_texts_draw_the_same_random_numbers(model, made):
    texts = {}
    for name, hold in (('free', None), ('none', {}), ('no unit', {'C1': {}}), ('held', HOLDS)):
        model.random = np.random.default_rng(9)
        texts[name] = model.generate_text('', 30, count=3, hold=hold), model.random.bit_generator.state
    random = np.random.default_rng(9)
    first = random.integers(V, size=(1, 3), dtype=np.int32)[0]
    bits = random.integers(2 ** 53, size=(29, 3))
    for text, number, draws in zip(texts['held'][0], first, bits.T * 2.0 ** -53):
        assert text[0] == LETTERS[number]
        cumulative = probabilities(model, made, text).cumsum(axis=1)[:-1]
        assert text[1:] == spelled(model, (cumulative > draws[:, None]).argmax(axis=1))
    assert texts['free'] == texts['none'] == texts['no unit']
    assert texts['held'][0] != texts['free'][0] and texts['held'][1] == texts['free'][1]


def test_texts_in_turns(model):
    """Two held texts and a free one that are written at the same time do not disturb each other."""
    holds = HOLDS, {'C2': {0: np.float32(-3)}}, None
    alone = [model.generate_text('cab', 45, 'argmax', hold=hold) for hold in holds]
    streams = [model.stream_text('cab', 45, 'argmax', hold=hold) for hold in holds]
    assert [''.join(text for text, in pieces) for pieces in zip(*zip(*streams))] == alone and len(set(alone)) == 3


def test_held_model_is_made_again_after_model_setup(interpreted):
    model = CharLSTM(kernel=False)
    for H in (3, 5):
        model.model_setup(char_dim=V, num_units1=H, num_units2=2)
        model.uchar = list(LETTERS)
        assert len(model.generate_text('ab', 5, hold={'C1': {H - 1: 1.0}})) == 5
    model.cell = cells.coupled_cell
    assert len(model.generate_text('ab', 5, hold={'C2': {1: 1.0}})) == 5 and len(model.p) == 8


def test_in_float64(float64, interpreted):
    """A value that only this type holds exactly."""
    model = CharLSTM(kernel=False)
    model.model_setup(char_dim=V, num_units1=3, num_units2=2)
    model.uchar = list(LETTERS)
    assert len(model.generate_text('ab', 5, hold={'C1': {0: 1 + 1e-12}})) == 5
    assert model.functions['held'].p['held at1'].get_value().tolist() == [1 + 1e-12, 0, 0]


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


def test_cell_that_is_not_in_c(interpreted):
    """It is held by theano.scan."""
    def normalised(a_f, a_i, a_o, a_g, C_prev):
        C = tt.nnet.sigmoid(a_f) * C_prev + a_g - a_g.mean(axis=1, keepdims=True)
        return tt.nnet.sigmoid(a_i + a_o) * tt.tanh(C), C
    model = CharLSTM(random_seed=1)
    model.cell = normalised
    model.model_setup(char_dim=V, num_units1=3, num_units2=2)
    model.uchar = list(LETTERS)
    free = model.generate_text('ab', 9, 'argmax')
    held = model.generate_text('ab', 9, 'argmax', hold={'C1': {0: 9.0, 1: -9.0}, 'C2': {1: 9.0}})
    assert held != free == model.generate_text('ab', 9, 'argmax', hold={}) and not model.runs_in_c()
