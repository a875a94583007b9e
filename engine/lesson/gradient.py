"""Print a cell, the gradient that Theano derives, and both in C: python -m engine.lesson gradient [FILE:CLASS]"""
import re

from charlstm import CharLSTM
from engine.graph.cell import Cell, places
from engine.graph.formula import equations
from engine.graph.in_c import c_functions
from engine.graph.library import C_FILES
from engine.terminal import load_class


def program(options):
    cls = load_class(options.cell, CharLSTM)
    cell = Cell(cls.cell, 'float32')
    if cell.program is None:
        raise ValueError(f'the cell {cell.name} uses {cell.unknown}, which is not in C: NumPy computes its gradient')
    kept, states = [f'kept{k}' for k in range(cell.program.kept)], cell.states
    names = cell.named | dict(zip(places('kept', len(kept)), kept)) | dict(zip(places('after', len(states)), states))
    names |= {place: f'd{state}' for place, state in zip(places('d_after', len(states)), states)}
    print('The cell, and the values that it stores for its gradient:\n')
    print('\n'.join(equations(cell.program.forward, names, ['h', *states, *kept], '{:g}'.format)))
    print(f'\nIts gradient, from dh and {", ".join(f"d{state}" for state in states)}:\n')
    print('\n'.join(equations(cell.program.backward, names, [f'd{v}' for v in cell.declared.names], '{:g}'.format)))
    code = c_functions(cell.program, C_FILES['cell.h'])
    functions = re.findall(r'(?ms)^INLINE void cell_(?:for|back)ward\(.*?^}\n', code)
    print('\nIn C:\n', *functions, sep='\n', end='')
