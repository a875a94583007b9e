"""Check a solution of an exercise: python -m engine.lesson.exercise NAME FILE"""
import runpy
import traceback

import numpy as np

from charlstm import lstm_cell, tt
from engine.graph.cell import STANDARD_ARGUMENTS, Cell, declared
from engine.lesson.numpy_lstm import lstm, sigmoid
from engine.model.edits import refuse_ignored
from engine.terminal import Parser, main

B, H, V, RANDOM = 3, 5, 7, np.random.default_rng(1)


def require(right, words):
    if not right:
        raise ValueError(words)


def compare(name, found, expected):
    """Raise ValueError with the first wrong number, unless an array is the expected one up to rounding."""
    require(found.shape == expected.shape, f'{name} has the shape {found.shape}: expected {expected.shape}')
    for at in np.argwhere(~np.isclose(found, expected, rtol=1e-4, atol=1e-5)).tolist():
        raise ValueError(f'{name} is {found[tuple(at)]:.6f} at {at}: expected {expected[tuple(at)]:.6f}')


def gradient(function):
    """Check a NumPy function of the six rows against Theano's gradient of lstm_cell."""
    a_f, a_i, a_o, a_g, C_prev, dh, dC = RANDOM.normal(0, 1, (7, B, H))
    inputs = [tt.constant(array) for array in (a_f, a_i, a_o, a_g, C_prev)]
    h, C = lstm_cell(*inputs)
    expected = [row.eval() for row in tt.grad((dh * h + dC * C).sum(), [C, *inputs])]
    found = function(sigmoid(a_f), sigmoid(a_i), sigmoid(a_o), np.tanh(a_g), C_prev, C.eval(), dh, dC)
    names = ['D', *[f'd{name}' for name in STANDARD_ARGUMENTS]]
    require(found is not None and len(found) == 6, f'gradient does not return {", ".join(names)}')
    for name, row, right in zip(names, map(np.asarray, found), expected):
        compare(name, row, right)


def check_cell(function, formula):
    """Check h and C of a cell against a formula, a function of arrays with the same arguments."""
    cell, names = Cell(function, 'float64'), declared(formula, 'expected').names
    require(cell.declared.names == names,
            f'cell has the arguments {", ".join(cell.declared.names)}: expected {", ".join(names)}')
    cell.check(H)
    arrays = [RANDOM.normal(1, 2, (1 if name in cell.parameters else B, H)) for name in names]
    rows = [*zip('hC', cell([tt.constant(array) for array in arrays]), formula(*arrays))]
    for name, symbol, expected in reversed(rows):          # C first, since h follows from it
        compare(name, symbol.eval(), expected)


def peepholes(a_f, a_o, a_g, C_prev, p_f=0, p_o=0):
    f = sigmoid(a_f + p_f * C_prev)
    C = f * C_prev + (1 - f) * np.tanh(a_g)
    return sigmoid(a_o + p_o * C) * np.tanh(C), C


def normalisation(a_f, a_i, a_o, a_g, C_prev):             # by Zhang & Sennrich 2019
    return lstm(*[a / np.sqrt((a ** 2).mean(axis=1, keepdims=True)) for a in (a_f, a_i, a_o, a_g)], C_prev)


def lion(model):
    """Check five steps of Lion (Chen et al. 2023), with betas 0.9 and 0.99."""
    m, state = np.zeros(999), model.optimiser_state([np.ones(999)])
    for k, size in enumerate((1, 0.1, 1, 0.1, 0.01), 1):   # sizes for which m counts, too
        g = RANDOM.normal(0, size, 999)
        (step,), state = model.optimiser([tt.constant(g)], [tt.ones(999)], state, tt.constant(0.01), {})
        compare(f'step {k}', tt.as_tensor_variable(step).eval(), 0.01 * np.sign(0.9 * m + 0.1 * g))
        m = 0.99 * m + 0.01 * g


def attention(model):
    """Check that a network with a cell that forgets all still sees earlier characters, and never later ones."""
    model.cell = lambda x_h, C_prev: (tt.tanh(8 * x_h), tt.tanh(8 * x_h))
    model.model_setup(char_dim=V, units=[H, H])
    x = np.int32([[1, 1], [4, 4], [2, 5], [6, 6], [0, 0], [3, 3]])     # two texts, which differ at step 2
    probabilities = model.theano_predict(x)[0]                         # (T,2,V)
    same = [np.allclose(*of_texts, atol=1e-6) for of_texts in probabilities]
    require(np.isfinite(probabilities).all(), 'predictions are not finite')
    require(all(same[:2]), 'predictions depend on later characters')
    require(not all(same[3:]), 'predictions do not depend on earlier characters')


EXERCISES = dict(gradient=gradient, peepholes=lambda model: check_cell(model.cell, peepholes),
                 normalisation=lambda model: check_cell(model.cell, normalisation), lion=lion, attention=attention)


def program(options):
    name = options.name if options.name == 'gradient' else options.name.capitalize()       # of a class
    try:
        solution = runpy.run_path(options.file).get(name)
        require(callable(solution), f'{options.file} has no {name}')
        if name != 'gradient':
            solution = solution(random_seed=1)
            refuse_ignored(solution)
        EXERCISES[options.name](solution)
    except Exception as error:
        lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == options.file]
        line = f'{options.file}, line {lines[-1]}: {type(error).__name__}: ' if lines else ''
        raise ValueError(line + str(error).partition('\n')[0]) from None
    print(f'{options.name} is right')


if __name__ == '__main__':
    parser = Parser(prog='exercise.py', description='Check a solution: it is right, or has a wrong number.')
    parser.add_argument('name', metavar='NAME', choices=EXERCISES, help=f'one of {", ".join(EXERCISES)}')
    parser.add_argument('file', metavar='FILE', help='Python file with your solution')
    main(parser, program)
