"""Check a solution of an exercise: python -m engine.lesson check NAME FILE"""
import os
import runpy
import sys
import traceback
from functools import partial

import numpy as np
from scipy.special import softmax

from charlstm import CharLSTM, tt
from engine.graph.cell import lines_of
from engine.lesson.numpy_lstm import forward, sigmoid

T, B, H, V = 6, 3, 5, 7


def require(right, words):
    if not right:
        raise ValueError(words)


def call(function, *arguments):
    found = function(*arguments)
    require(found is not None, f'{function.__name__} returned None: does it end with return?')
    return found


def compare(found, expected, inputs={}):
    """Raise ValueError with the first wrong number, and the inputs there, unless arrays, by name, are right."""
    found = {name: np.asarray(array) for name, array in found.items()}
    for name, array in found.items():
        shape = expected[name].shape
        require(array.shape == shape, f'{name} has the shape {array.shape}: expected {shape}')
    right = {name: np.isclose(array, expected[name], rtol=1e-4, atol=1e-5) for name, array in found.items()}
    wrong = [name for name in right if not right[name].all()]
    if wrong:
        name, at = wrong[0], tuple(np.argwhere(~right[wrong[0]])[0].tolist())
        there = [f', {key} = {np.round(v[at[-v.ndim:]], 4)}' for key, v in inputs.items() if at[1:]]   # not of a sum
        others = f'; wrong: {", ".join(wrong)}; right: {", ".join(n for n in found if n not in wrong) or "none"}'
        raise ValueError(f'{name} is {found[name][at]:.6f} at {list(at)}: expected {expected[name][at]:.6f}'
                         + ''.join(there) + others * bool(inputs))


# Written here, too, since other files of the lesson may be edited. Each returns what a solution reads, and h.
def coupled(a_f, a_o, a_g, C_prev):
    read, h = peephole(a_f, -a_f, a_o, a_g, C_prev, 0)     # 1 - σ(a) is σ(-a)
    return {name: read[name] for name in ('f', 'o', 'g', 'C_prev', 'C')}, h


def peephole(a_f, a_i, a_o, a_g, C_prev, p):
    f, i, g = tt.nnet.sigmoid(a_f), tt.nnet.sigmoid(a_i), tt.tanh(a_g)
    C = f * C_prev + i * g
    o = tt.nnet.sigmoid(a_o + p * C)
    return dict(f=f, i=i, o=o, g=g, p=p, C_prev=C_prev, C=C), o * tt.tanh(C)


def check_gradient(function, random, formula, names):      # random: NumPy's generator
    symbols = [tt.constant(random.normal(size=H if name == 'dp' else (B, H))) for name in names]
    dh, dC = random.normal(size=(2, B, H))
    read, h = formula(*symbols)
    gradients = tt.grad((dh * h + dC * read['C']).sum(), symbols)
    inputs = {**{key: value.eval() for key, value in read.items()}, 'dh': dh, 'dC': dC}
    given = [*map(np.copy, inputs.values())]
    found = call(function, *given)
    changed = [key for key, array in zip(inputs, given) if not np.array_equal(array, inputs[key])]
    require(not changed, f'{", ".join(changed)} changed in place: return new arrays, since other steps read these')
    require(len(found) == len(names), f'got {len(found)} arrays: expected {", ".join(names)}')
    compare(dict(zip(names, found)), {name: each.eval() for name, each in zip(names, gradients)}, inputs)


def remember(function, random):
    for n, share in ((50, 0.5), (50, 0.9), (7, 0.1)):
        f = sigmoid(float(call(function, n, share)))
        require(np.isclose(f ** n, share), f'f is {f:.6f}, the share after {n} steps {f ** n:.6f}: expected {share}')


def attention_weights(h):
    return softmax(np.where(np.tri(len(h)), np.einsum('tbj,sbj->bts', h, h), -np.inf), axis=2)         # (B, T, T)


def weights(function, random):
    for largest in (1, 1000):                              # of the second, exp of the products overflows
        h, symbol = random.normal(size=(T, B, H)) * np.geomspace(1, largest, T)[:, None, None], tt.dtensor3()
        with lines_of([function], 'weights', {symbol: h}):
            found = call(function, symbol)
        compare({'the weight': found.eval({symbol: h})}, {'the weight': attention_weights(h)})


def check_network(model, random, formula):
    """Check the probabilities of a network whose scores read formula(h1, h2), (T,B,n), in place of h2."""
    model.model_setup(char_dim=V, units=[H, H])
    x, p = random.integers(V, size=(T, B)), {name: shared.get_value() for name, shared in model.p.items()}
    _, _, memory = forward({**p, 'V': np.zeros((V, H))}, x)
    h = formula(*[np.array([states[k].T for *_, states in memory]) for k in (0, 2)])
    require(p['V'].shape == (V, h.shape[2]), f'V has the shape {p["V"].shape}: expected {(V, h.shape[2])}')
    found, expected = model.theano_predict(x)[0], softmax(h @ p['V'].T + p['c'], axis=2)
    compare({'the probability': found}, {'the probability': expected})


EXERCISES = dict(
    coupled=partial(check_gradient, formula=coupled, names=['da_f', 'da_o', 'da_g', 'dC_prev']),
    peephole=partial(check_gradient, formula=peephole, names=['da_f', 'da_i', 'da_o', 'da_g', 'dC_prev', 'dp']),
    remember=remember, weights=weights,
    Attention=partial(check_network, formula=lambda h1, h2: h2 + np.einsum('bts,sbj->tbj', attention_weights(h2), h2)),
    Skip=partial(check_network, formula=lambda h1, h2: np.concatenate([h1, h2], axis=2)))


def check(name, solution):
    """Print that a solution, a function or a class, is right, or raise ValueError with its first wrong number."""
    if isinstance(solution, type):
        require(issubclass(solution, CharLSTM), f'{name} is no CharLSTM: expected class {name}(CharLSTM)')
        solution = solution(random_seed=1)
    EXERCISES[name](solution, np.random.default_rng(1))
    print(f'{name} is right')


def program(options):
    require(options.name in EXERCISES, f'{options.name} has no check: expected one of {", ".join(EXERCISES)}')
    sys.path.append(os.path.dirname(os.path.abspath(options.file)))        # for what the file imports from there
    try:
        solution = runpy.run_path(options.file).get(options.name)
        require(solution, f'{options.file} has no {options.name}')
        check(options.name, solution)
    except (Exception, SystemExit) as error:
        lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == options.file]
        place = f'{options.file}, line {lines[-1]}: {type(error).__name__}: ' if lines else ''
        raise ValueError(place + str(error).partition('\n')[0]) from None
