"""Export a model for other programs: as a C file, from model.c and functions.c, or as a safetensors file."""
import os
import re

import numpy as np

from engine.kernel.formula import written
from engine.kernel.library import C_FILES
from engine.model.files import write_whole
from engine.model.parameters import stacked
from engine.model.tensors import tensors_file

FORMATS = {'.safetensors': "PyTorch's nn.LSTM", '.c': 'a C file'}


def format_of(path):
    """Return the ending of a path, a key of FORMATS. Raises ValueError for another."""
    ending = os.path.splitext(path)[1]
    if ending not in FORMATS:
        raise ValueError(f'{path} cannot be exported: expected a name that ends in {" or ".join(FORMATS)}')
    return ending


def write(path, cell, p, uchar):
    """Write a model: a Cell that has a program, parameters p by name, and uchar (V,). See CharLSTM.export."""
    ending = format_of(path)
    if ending == '.safetensors' and not cell.standard:
        raise ValueError(f"PyTorch's nn.LSTM has only the standard cell, but this model has {cell.name}: export .c")
    contents = (c_file if ending == '.c' else tensors_file)(cell, p, uchar)
    with write_whole(path) as f:
        f.write(contents)


def _array(declaration, array):
    """Return the definition of an array in C. Nine digits give exactly the same float32."""
    digits = ['%.9g' % value for value in array.astype(np.float32).ravel().tolist()]
    digits = ['-0.0' if number == '-0' else number for number in digits]       # in C, -0 is the integer 0
    numbers = re.sub(r'((?:\S+ ){8})', r'\1\n', ', '.join(digits))
    return f'static const float {declaration} = {{\n{numbers}\n}};'


def _string(character):
    """Return a character as a C string, with octal escapes for bytes that are not printable ASCII."""
    encoded = character.encode('utf-8').replace(b'\0', b'')
    return '"' + ''.join(chr(b) if 32 <= b < 127 and b not in b'"\\?' else f'\\{b:03o}' for b in encoded) + '"'


def _cell(cell):
    """Return the lines of a step of unit k: the inputs that the cell reads, its formula, and the new h and states."""
    counts, forward = cell.counts, cell.program.forward
    code = forward._replace(outputs=forward.outputs[:1 + counts.S])
    read = {value for _, _, arguments in code.lines for value in arguments} | set(code.outputs)
    parts = {name: name[:-1].split('[') for name in cell.named if name in read}            # of a[0]: a and 0
    names = {name: array + i for name, (array, i) in parts.items()}
    inputs = [f'{names[name]} = {"C" if array == "before" else array}[{i} * H + k]'
              for name, (array, i) in parts.items()]
    statements, (h, *states) = written(code, names, 'const float {} = {};', lambda value: f'{np.float32(value)}f',
                                       'cell_')
    lines = [f'const float {", ".join(inputs[start:start + 4])};' for start in range(0, len(inputs), 4)]
    return '\n        '.join([*lines, *statements, f'h[k] = {h};',
                              *[f'C[{s} * H + k] = {state};' for s, state in enumerate(states)]])


def _functions(text):
    """Return the functions of functions.c that the text of a cell calls, and those that these call."""
    needed = []
    for block in reversed(C_FILES['functions.c'].strip().split('\n\n')):
        if re.search(r'\w+\(float', block).group().replace('float', '') in text:
            needed, text = [block, *needed], text + block
    return '\n\n'.join(needed)


def c_file(cell, p, uchar):
    """Return the C file as bytes. The arguments are those of `write`."""
    lines, strings, counts, text = _cell(cell), ',\n'.join(map(_string, uchar)), cell.counts, C_FILES['model.c']
    arrays = {'U1[V * OF_U * H1]': stacked(p['U1']), 'W1[H1 * OF_W * H1]': stacked(p['W1']), 'b1[ROWS * H1]': p['b1'],
              'U2[H1 * OF_U * H2]': stacked(p['U2']), 'W2[H2 * OF_W * H2]': stacked(p['W2']), 'b2[ROWS * H2]': p['b2'],
              'Vw[H2 * V]': p['V'].T, 'c[V]': p['c']}
    if not counts.W:                                       # C has no empty arrays
        text = re.sub(r'.*\bW[12]\b.*\n', '', text)
        arrays = {name: array for name, array in arrays.items() if array.size}
    parts = dict(V=len(uchar), H1=p['b1'].shape[1], H2=p['b2'].shape[1], ROWS=counts.b, OF_U=counts.U, OF_W=counts.W,
                 STATES=counts.S, rows=', '.join(cell.rows) + '; x_ has no W, and h_ no U' * (counts.U + counts.W < 2 * counts.b), states=', '.join(cell.states), cell=lines,
                 functions=_functions(lines), own_arrays='', own_argument='', own1='', own2='', own_comment='')
    if cell.own:
        own = {f'own{k}[{len(cell.own)} * H{k}]': np.stack([p[f'{name}{k}'] for name in cell.own]) for k in '12'}
        parts.update(own_arrays=f'\nstatic const float {", ".join(own)};', own1=', own1', own2=', own2',
                     own_argument=', const float *restrict own', own_comment=f', and own: {", ".join(cell.own)}')
        arrays.update(own)
    numbers = [f'static const char characters[V][5] = {{\n{strings}\n}};', *map(_array, arrays, arrays.values())]
    parts['numbers'] = '\n\n'.join(numbers)
    return re.sub(r'{{(\w+)}}', lambda match: str(parts[match.group(1)]), text).encode()
