"""Check your class for an exercise in README.md: python -m engine.lesson.exercise NAME FILE:CLASS"""
import numpy as np

from charlstm import CharLSTM, lstm_cell, tt
from engine.kernel.cell import Cell
from engine.kernel.scan import Scan
from engine.lesson.numpy_lstm import lstm, sigmoid
from engine.methods.state import refuse_ignored
from engine.run import table
from engine.terminal import Parser, load_class, main

B, H, V, T = 3, 5, 7, 6
RANDOM = np.random.default_rng(1)


def require(right, words):
    if not right:
        raise ValueError(words)


def require_near(name, found, *expected):
    """Raise ValueError unless the array `found` is one of those expected."""
    require(any(np.allclose(found, array, atol=1e-3) for array in expected),
            f'{name} of the first unit is {found[0, 0]:.6f}: expected {expected[0][0, 0]:.6f}')


def values(variables):
    """Return the values, as arrays, of symbols that depend only on constants."""
    return [np.asarray(tt.as_tensor_variable(variable).eval()) for variable in variables]


def of_cell(cell, arrays, own=()):
    """Return h and C from a Cell, (2,B,H). own: values of its own parameters, (H,) each."""
    return np.array(values(cell(list(map(tt.constant, [*arrays, *[array[None, :] for array in own]])))))


def standard_cell(model, own=()):
    """Return the Cell of a model that has the rows and the state of lstm_cell and, by name, own parameters."""
    cell, expected = Cell(model.cell, 'float64'), Cell(lstm_cell, 'float64').declared.names
    require(cell.declared.names[:5] == expected and set(own) <= {*cell.own},
            f'the cell has the arguments {", ".join(cell.declared.names)}: expected {", ".join([*expected, *own])}')
    return cell


def peepholes(model):
    """Check that the gates f and i also see C_prev, and that o also sees the new C."""
    cell = standard_cell(model, ['p_f', 'p_i', 'p_o'])
    a_f, a_i, a_o, a_g, C_prev = arrays = RANDOM.normal(0, 1, (5, B, H))
    p_f, p_i, p_o = own = RANDOM.normal(0, 1, (3, H))
    C = sigmoid(a_f + p_f * C_prev) * C_prev + sigmoid(a_i + p_i * C_prev) * np.tanh(a_g)
    h = sigmoid(a_o + p_o * C) * np.tanh(C)
    for name, found, expected in zip('hC', of_cell(cell, arrays, own), (h, C)):
        require_near(name, found, expected)


def normalised(a):
    """Return a (B,H) with mean 0 and variance 1 over the units."""
    return (a - a.mean(axis=1, keepdims=True)) / a.std(axis=1, keepdims=True)


def normalisation(model):
    """Check that the four gates are normalised over the units of each row; h may also see a normalised C."""
    cell = standard_cell(model)
    own = [np.full(H, value) for value in cell.own.values()]
    *gates, C_prev = arrays = RANDOM.normal(1, 2, (5, B, H))
    _, _, a_o, _ = gates = [normalised(a) for a in gates]
    h, C = lstm(*gates, C_prev)
    found = of_cell(cell, arrays, own)
    require_near('C', found[1], C)
    require_near('h', found[0], h, sigmoid(a_o) * np.tanh(normalised(C)))


def adam(model):
    """Check three steps against Kingma & Ba 2015, with betas 0.9 and 0.999, and eps 1e-8."""
    parameters = [RANDOM.normal(0, 1, shape) for shape in ((2, 3), (4,))]
    means, squares, state = [0, 0], [0, 0], model.optimiser_state(parameters)
    for t in (1, 2, 3):
        gradients = [RANDOM.normal(0, 1, p.shape) for p in parameters]
        means = [0.9 * m + 0.1 * g for m, g in zip(means, gradients)]
        squares = [0.999 * v + 0.001 * g ** 2 for v, g in zip(squares, gradients)]
        returned = model.optimiser(list(map(tt.constant, gradients)), list(map(tt.constant, parameters)), state,
                                   tt.constant(0.01), dict(table.INITIAL, eps=1e-8))
        require(isinstance(returned[-1], dict), 'the optimiser returns no state: expected the steps and a dict')
        steps, state = returned
        state = {name: values(value) if isinstance(value, list) else values([value])[0]
                 for name, value in state.items()}
        for m, v, step in zip(means, squares, values(steps)):
            expected = 0.01 * m / (1 - 0.9 ** t) / (np.sqrt(v / (1 - 0.999 ** t)) + 1e-8)
            require(np.allclose(step, expected),
                    f'step {t} of a number is {step.flat[0]:.6f}: expected {expected.flat[0]:.6f}')


class Forgetful(Scan):
    """The operations of the network, with layers whose states are zero before each step."""

    def layer(self, a_x, W, b, own, before, truncate):
        """Return h and C (T,B,H), and both after the last step. W is not used, since h before each step is 0."""
        a, own, zeros = a_x + b.flatten(), [value.dimshuffle('x', 0) for value in own], tt.zeros_like(before[0])
        steps = [self._cell([*[a[t, :, k * H:(k + 1) * H] for k in range(4)], zeros, *own]) for t in range(T)]
        return (*map(tt.stack, zip(*steps)), steps[-1])


def attention(model):
    """Check that a network whose layers cannot remember still sees earlier characters, and never later ones."""
    model.model_setup(char_dim=V, num_units1=H, num_units2=H)
    dtype = model.p['c'].dtype
    ops, states = Forgetful(Cell(model.cell, dtype), model.layer), 2 * [2 * [tt.constant(np.zeros((B, H), dtype))]]
    x = RANDOM.integers(V, size=(T, B), dtype=np.int32)
    other = x.copy()
    other[2], network = (x[2] + 1) % V, model.network
    before, after = [array.reshape(T, B, V) for array in values(
        network(tt.constant(read), tt.constant(x), states, model.p, ops).probabilities for read in (x, other))]
    require(np.isfinite(before).all(), 'predictions are not finite')
    require(np.allclose(before[:2], after[:2], atol=1e-6),
            'predictions depend on later characters: expected each step to see none of them')
    require(not np.allclose(before[3:], after[3:], atol=1e-6),
            'predictions do not depend on earlier characters when the layers forget everything after each step: '
            'expected attention to see them')


EXERCISES = dict(peepholes=peepholes, normalisation=normalisation, adam=adam, attention=attention)


def program(options):
    model = load_class(options.solution, CharLSTM)(random_seed=1)
    try:
        refuse_ignored(model)
        Cell(model.cell, 'float64')
        EXERCISES[options.name](model)
    except (KeyError, TypeError, ValueError) as error:     # a class that does not fit; others show where they are
        begin = {KeyError: 'optimiser_state has no ', TypeError: 'TypeError: '}.get(type(error), '')
        raise ValueError(f'not yet: {begin}{error}'.partition('\n')[0]) from None
    print(f'{options.solution} solves it')


if __name__ == '__main__':
    parser = Parser(prog='exercise.py', description='Check whether your class solves an exercise.')
    parser.add_argument('name', metavar='NAME', choices=EXERCISES, help=f'one of {", ".join(EXERCISES)}')
    parser.add_argument('solution', metavar='FILE:CLASS', help='class as in train.py --cell')
    main(parser, program)
