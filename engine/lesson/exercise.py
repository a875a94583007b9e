"""Judge a class of your own for an exercise of README.md: python -m engine.lesson.exercise NAME FILE:CLASS"""
import numpy as np

from charlstm import CharLSTM, tt
from engine.kernel.cell import GATES, Cell
from engine.lesson.numpy_lstm import sigmoid
from engine.run import table
from engine.terminal import Parser, load_class, main

B, H, V, T = 3, 5, 7, 6
RANDOM = np.random.default_rng(1)


def require(right, words):
    """Raise ValueError with these words unless what was found is right."""
    if not right:
        raise ValueError(f'not yet: {words}')


def values(variables):
    """Return the values of symbols that depend on constants alone, as arrays."""
    return [np.asarray(tt.as_tensor_variable(variable).eval()) for variable in variables]


def of_cell(cls, arrays, own=()):
    """Return h and C of the cell of a class, (2,B,H). own: its own parameters, (H,) each."""
    cell = Cell(cls.cell, cls.cell_parameters, 'float64')
    return np.array(values(cell(list(map(tt.constant, arrays)), [tt.constant(array[None, :]) for array in own])))


def peepholes(cls):
    """Gates f and i see C of the step before, and o sees the new C."""
    names = list(cls.cell_parameters)
    require(names == ['p_f', 'p_i', 'p_o'], f'cell_parameters has {names}: expected p_f, p_i and p_o')
    a_f, a_i, a_o, a_g, C_prev = arrays = RANDOM.normal(0, 1, (5, B, H))
    p_f, p_i, p_o = own = RANDOM.normal(0, 1, (3, H))
    C = sigmoid(a_f + p_f * C_prev) * C_prev + sigmoid(a_i + p_i * C_prev) * np.tanh(a_g)
    h = sigmoid(a_o + p_o * C) * np.tanh(C)
    for name, found, expected in zip('hC', of_cell(cls, arrays, own), (h, C)):
        require(np.allclose(found, expected),
                f'{name} of the first unit is {found[0, 0]:.6f}: expected {expected[0, 0]:.6f}')


def normalisation(cls):
    """The mean over the units of a row, and their variance, do not matter, for each gate; other rows do not either."""
    own = [np.full(H, float(value)) for value in cls.cell_parameters.values()]
    arrays = RANDOM.normal(0, 1, (5, B, H))
    before = of_cell(cls, arrays, own)

    def changes(k, rows, value):
        """Return how far h and C change where input k of some rows has another value, (2,B,H)."""
        changed = arrays.copy()
        changed[k, rows] = value
        return abs(of_cell(cls, changed, own) - before)

    for k, name in enumerate(GATES):
        require(changes(k, slice(None), 3 * arrays[k] + 2).max() < 1e-3,
                f'3 {name} + 2 gives another h or C than {name}: expected the same')
    require(changes(slice(None), 0, RANDOM.normal(0, 1, (5, H)))[:, 1:].max() < 1e-6,
            'h or C of a row depends on another row: expected a mean over the units of each row')
    require(changes(0, 0, arrays[0, 0] + np.eye(H)[0])[0, 0, 1:].max() > 1e-6,
            'a_f of one unit does not change h of the others: expected it to change their mean')


def adam(cls):
    """Three steps are those of Kingma & Ba 2015, with betas 0.9 and 0.999, eps 1e-8."""
    parameters = [RANDOM.normal(0, 1, shape) for shape in ((2, 3), (4,))]
    means, squares, state = [0, 0], [0, 0], cls.optimiser_state(parameters)
    for t in (1, 2, 3):
        gradients = [RANDOM.normal(0, 1, p.shape) for p in parameters]
        means = [0.9 * m + 0.1 * g for m, g in zip(means, gradients)]
        squares = [0.999 * v + 0.001 * g ** 2 for v, g in zip(squares, gradients)]
        steps, state = cls.optimiser(list(map(tt.constant, gradients)), list(map(tt.constant, parameters)), state,
                                     tt.constant(0.01), dict(table.INITIAL, eps=1e-8))
        state = {name: values(value) if isinstance(value, list) else values([value])[0]
                 for name, value in state.items()}
        for m, v, step in zip(means, squares, values(steps)):
            expected = 0.01 * m / (1 - 0.9 ** t) / (np.sqrt(v / (1 - 0.999 ** t)) + 1e-8)
            require(np.allclose(step, expected),
                    f'step {t} of a number is {step.flat[0]:.6f}: expected {expected.flat[0]:.6f}')


def attention(cls):
    """A network whose layers cannot remember still sees earlier characters, and never later ones; and it learns."""
    model = cls(random_seed=1)
    model.model_setup(char_dim=V, num_units1=H, num_units2=H, lrate=0.1)
    for layer in '12':                         # which forgets h and C after each step
        W, b = [model.p[name + layer].get_value() for name in 'Wb']
        b[GATES.index('a_f')] = -100
        model.p['W' + layer].set_value(0 * W)
        model.p['b' + layer].set_value(b)
    x = RANDOM.integers(V, size=(T, B), dtype=np.int32)
    other = x.copy()
    other[2] = (x[2] + 1) % V
    before, after = [model.theano_predict(read)[0] for read in (x, other)]
    require(np.isfinite(before).all(), 'predictions are not finite numbers')
    require(np.allclose(before[:2], after[:2], atol=1e-6),
            'predictions depend on later characters: expected none of them at each step')
    require(not np.allclose(before[3:], after[3:], atol=1e-6),
            'predictions do not depend on earlier characters when the layers forget all after each step: expected that '
            'attention sees them')
    costs = [model.theano_train_rmsprop(x, (x + 1) % V)[0] for _ in range(30)]
    require(costs[-1] < costs[0], f'the cost went from {costs[0]:.3f} to {costs[-1]:.3f}: expected a lower one')


EXERCISES = dict(peepholes=peepholes, normalisation=normalisation, adam=adam, attention=attention)


def program(options):
    """Run the whole program."""
    cls = load_class(options.solution, CharLSTM)
    Cell(cls.cell, cls.cell_parameters, 'float64')                 # raises the errors of the cell itself
    EXERCISES[options.name](cls)
    print(f'{options.solution} solves it')


if __name__ == '__main__':
    parser = Parser(prog='exercise.py', description='Tell whether a class of your own solves an exercise.')
    parser.add_argument('name', metavar='NAME', choices=EXERCISES, help=f'one of {", ".join(EXERCISES)}')
    parser.add_argument('solution', metavar='FILE:CLASS', help='class as for train.py --cell')
    main(parser, program)
