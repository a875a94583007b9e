"""Print a cell, the gradient that Theano derives from it, and both in C.

    python -m engine.lesson.formulas [FILE:CLASS]
"""
from charlstm import CharLSTM
from engine.kernel.cell import INPUTS, Cell, c_functions, own_inputs
from engine.kernel.formula import equations
from engine.terminal import Parser, load_class, main


def program(options):
    """Run the whole program."""
    cls = load_class(options.cell, CharLSTM)
    own = list(cls.cell_parameters)
    cell = Cell(cls.cell, own, 'float32')
    if cell.program is None:
        raise ValueError(f'the cell {cell.name} is not elementwise, because of {cell.unknown}: NumPy computes it '
                         'and its gradient')
    names = dict(zip(own_inputs(len(own)), own))
    kept = [f'kept{k}' for k in range(cell.program.kept)]
    gradients = [f'd{name}' for name in (*INPUTS, *own)]
    print('The cell, and the values that it stores for its gradient:\n')
    print('\n'.join(equations(cell.program.forward, names, ['h', 'C', *kept], '{:g}'.format)))
    print('\nIts gradient, from dh and dC:\n')
    print('\n'.join(equations(cell.program.backward, names, gradients, '{:g}'.format)))
    print(f'\nIn C:\n\n{c_functions(cell.program)}', end='')


if __name__ == '__main__':
    parser = Parser(prog='formulas.py', description=__doc__.splitlines()[0])
    parser.add_argument('cell', metavar='FILE:CLASS', nargs='?', help='class with a cell, as in train.py --cell '
                        '(default: the cell of charlstm.py)')
    main(parser, program)
