"""Check a solution of an exercise: python -m engine.lesson check NAME FILE"""
import runpy
import traceback
from functools import partial

import numpy as np

from charlstm import tt
from engine.lesson.cells import NoInputGate, Peepholes
from engine.lesson.numpy_lstm import forward, lstm_gradient, sigmoid
from engine.model.edits import refuse_ignored

T, B, H, V = 6, 3, 5, 7


def require(right, words):
    if not right:
        raise ValueError(words)


def compare(name, found, expected):
    """Raise ValueError with the first wrong number, unless an array is the expected one up to rounding."""
    found = np.asarray(found)
    require(found.shape == expected.shape, f'{name} has the shape {found.shape}: expected {expected.shape}')
    for at in np.argwhere(~np.isclose(found, expected, rtol=1e-4, atol=1e-5)).tolist():
        raise ValueError(f'{name} is {found[tuple(at)]:.6f} at {at}: expected {expected[tuple(at)]:.6f}')


def by_theano(cell, dh, dC, *arguments):
    """Return C of a cell, and the gradients of its arguments, from those of h and C; all are arrays."""
    symbols = [*map(tt.constant, arguments)]
    h, C = cell(*symbols)
    return C.eval(), [gradient.eval() for gradient in tt.grad((dh * h + dC * C).sum(), symbols)]


def compare_gradients(names, found, expected):
    require(found is not None and len(found) == len(expected), f'expected {len(expected)} arrays: {", ".join(names)}')
    for name, *gradients in zip(names, found, expected):
        compare(name, *gradients)


def coupled(function, random):                             # random: NumPy's generator
    a_f, a_o, a_g, C_prev, dh, dC = random.normal(0, 1, (6, B, H))
    C, expected = by_theano(NoInputGate.cell, dh, dC, a_f, a_o, a_g, C_prev)
    found = function(sigmoid(a_f), sigmoid(a_o), np.tanh(a_g), C_prev, C, dh, dC)
    compare_gradients(['da_f', 'da_o', 'da_g', 'dC_prev'], found, expected)


def peephole(function, random):
    (a_f, a_i, a_o, a_g, C_prev, dh, dC), p = random.normal(0, 1, (7, B, H)), random.normal(0, 1, H)
    C, expected = by_theano(lambda *row: Peepholes.cell(*row[:5], p_o=row[5]), dh, dC, a_f, a_i, a_o, a_g, C_prev, p)
    found = function(sigmoid(a_f), sigmoid(a_i), sigmoid(a_o + p * C), np.tanh(a_g), p, C_prev, C, dh, dC)
    compare_gradients(['da_f', 'da_i', 'da_o', 'da_g', 'dC_prev', 'dp'], found, expected)


def remember(function, random):
    """Measure, step by step backwards, how much of a derivative is left with the bias of f that a function returns."""
    for n, share in ((50, 0.5), (50, 0.9), (7, 0.1)):
        dC, zero = np.ones(1), np.zeros(1)
        for _ in range(n):
            _, dC = lstm_gradient(zero + function(n, share), zero, zero, zero, zero, zero, zero, dC)
        compare(f'the share after {n} steps', dC, np.array([share]))


def attention_weights(h):
    e = np.exp(np.einsum('tbj,sbj->bts', h, h)) * np.tri(len(h))               # 0 for later steps s: (B, T, T)
    return e / e.sum(axis=2, keepdims=True)


def weights(function, random):
    h = random.normal(0, 1, (T, B, H))
    compare('the weight', function(tt.constant(h)).eval(), attention_weights(h))


def check_network(model, random, formula):
    """Check the probabilities of a network whose scores read formula(h1, h2), (T,B,n), in place of h2."""
    model.model_setup(char_dim=V, units=[H, H])
    x, p = random.integers(V, size=(T, B)), {name: shared.get_value() for name, shared in model.p.items()}
    _, _, memory = forward({**p, 'V': p['V'][:, :H]}, x)
    h = formula(*[np.array([states[k].T for *_, states in memory]) for k in (0, 2)])
    require(p['V'].shape == (V, h.shape[2]), f'V has the shape {p["V"].shape}: expected {(V, h.shape[2])}')
    e = np.exp(h @ p['V'].T + p['c'])
    compare('the probability', model.theano_predict(x)[0], e / e.sum(axis=2, keepdims=True))


EXERCISES = dict(
    coupled=coupled, peephole=peephole, remember=remember, weights=weights,
    Attention=partial(check_network, formula=lambda h1, h2: h2 + np.einsum('bts,sbj->tbj', attention_weights(h2), h2)),
    Skip=partial(check_network, formula=lambda h1, h2: np.concatenate([h1, h2], axis=2)))


def check(name, solution):
    """Print that a solution, a function or a class, is right, or raise ValueError with its first wrong number."""
    if isinstance(solution, type):
        solution = solution(random_seed=1)
        refuse_ignored(solution)
    EXERCISES[name](solution, np.random.default_rng(1))
    print(f'{name} is right')


def program(options):
    require(options.name in EXERCISES, f'no exercise {options.name}: expected one of {", ".join(EXERCISES)}')
    try:
        solution = runpy.run_path(options.file).get(options.name)
        require(solution, f'{options.file} has no {options.name}')
        check(options.name, solution)
    except Exception as error:
        lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == options.file]
        place = f'{options.file}, line {lines[-1]}: {type(error).__name__}: ' if lines else ''
        raise ValueError(place + str(error).partition('\n')[0]) from None
