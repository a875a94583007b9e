"""Export a model for other programs: as a C file, from model.c and functions.c, or as a safetensors file."""
import os
import re
from pathlib import Path

import numpy as np

from engine.data.parameters import layers_of, stacked, units
from engine.data.tensors import tensors_file
from engine.files import write_whole
from engine.graph.cell import places
from engine.graph.formula import code_of, filled, in_c, written
from engine.graph.in_c import Staged

IN_FLOAT = dict(line='const float {} = {};', prefix='cell_', constant=lambda value: (
    f'{np.float32(value)}f' if np.isfinite(value) else in_c(value)))
C_FILES = {name: (Path(__file__).parent / name).read_text(encoding='utf-8') for name in ('model.c', 'functions.c')}
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
    contents = (c_file if ending == '.c' else tensors_file)(cell, cell.with_constants(p), uchar)
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


def _cell_p(cell, products, p, k):
    """Return the cell's own parameters of layer k one after the other, then the matrix of each StageProduct."""
    names, counts = [f'{name}{k}' for name in cell.read], cell.program.counts
    vectors, matrices = names[:counts.cell_p], dict(zip(places('M', counts.M), names[counts.cell_p:]))
    read = [(p[matrices[product.matrix]], product.operation) for product in products]
    return np.concatenate([[], *[p[name] for name in vectors],
                           *[(M.T if operation == 'DotT' else M).ravel() for M, operation in read]])


def _cell(cell, staged):
    """Return the lines of a step of a layer: for each stage products, what follows from sums, and a loop over units."""
    counts = cell.program.counts
    parts = {name: name[:-1].split('[') for name in cell.named}                            # of a[0]: a and 0
    names = {**{name: array + i for name, (array, i) in parts.items()},
             **{value: f'total{i}' for i, value in enumerate(staged.sums)},
             **{product.name: f'products[{i}][k]' for i, product in enumerate(staged.products)}}
    begun = {**{v: (0, f'{names[v]} += {{}};') for v in staged.sums},
             **{v: ('-INFINITY', f'{names[v]} = cell_max({names[v]}, {{}});') for v in staged.maxima}}
    carried = {value: f'carried[{i}][k]' for i, value in enumerate(staged.carried)}
    arrays = dict(carried=len(carried), vectors=len(staged.vectors), products=len(staged.products))
    text = [f'float {name}[{n}][LARGEST];' for name, n in arrays.items() if n]
    text += ['memset(products, 0, sizeof products);'] * bool(staged.products)
    for k, (row, of_units, _, carries, sums, vectors) in enumerate(staged.stages):
        text += [f'add_product(H, H, vectors[{staged.vectors.index(product.vector)}], '
                 f'cell_p + ({counts.cell_p} + {i} * H) * H, products[{i}]);'
                 for i, product in enumerate(staged.products) if product.stage == k]
        text += written(row, names, **IN_FLOAT)[0] + [f'float {names[v]} = {begun[v][0]};' for v in sums]
        computed = {*carries, *[name for name, *_ in of_units.lines]}
        known = names | {v: at for v, at in carried.items() if v not in computed}
        statements, values = written(of_units, known, **IN_FLOAT)
        read = {v for _, _, arguments in of_units.lines for v in arguments} | {*of_units.outputs}
        inputs = [f'{names[name]} = {"C" if array == "before" else array}[{i} * H + k]'
                  for name, (array, i) in parts.items() if name in read and (name in carries or name not in carried)]
        results = [*[f'{carried[v]} = {{}};' for v in carries], *[begun[v][1] for v in sums],
                   *[f'vectors[{staged.vectors.index(v)}][k] = {{}};' for v in vectors], 'h[k] = {};',
                   *[f'C[{s} * H + k] = {{}};' for s in range(counts.S)]]
        text.append('\n        '.join([
            'for (size_t k = 0; k < H; k++) {',
            *[f'const float {", ".join(inputs[start:start + 4])};' for start in range(0, len(inputs), 4)],
            *statements, *[text.format(value) for text, value in zip(results, values)]]) + '\n    }')
    return '\n    '.join(text).replace('cell_units()', '(float)H')


def _functions(text):
    """Return the functions of functions.c that the text of a cell calls, and those that these call."""
    needed = []
    for block in reversed(C_FILES['functions.c'].strip().split('\n\n')):
        if re.search(r'\w+\(float', block).group().replace('float', '') in text:
            needed, text = [block, *needed], text + block
    return '\n\n'.join(needed)


def c_file(cell, p, uchar):
    """Return the C file as bytes. The arguments are those of `write`."""
    strings, counts, forward = ',\n'.join(map(_string, uchar)), cell.counts, cell.program.forward
    lines = {name: (operation, *arguments) for name, operation, arguments in forward.lines}
    staged = Staged(code_of(lines, forward.outputs[:1 + counts.S]), places('a', counts.b))       # none for a gradient
    lines = _cell(cell, staged)
    layers = range(1, layers_of(p) + 1)
    arrays = {name: array for k in layers for name, array in {
        f'U{k}': stacked(p[f'U{k}']), f'W{k}': stacked(p[f'W{k}']), f'b{k}': p[f'b{k}'],
        f'cell_p{k}': _cell_p(cell, staged.products, p, k)}.items() if array.size}       # C has no empty arrays
    arrays.update(Vw=p['V'].T, c=p['c'])
    table = [[H, below, *[f'{name}{k}' if f'{name}{k}' in arrays else 0 for name in ('U', 'W', 'b', 'cell_p')]]
             for k, H, below in zip(layers, units(p), (len(uchar), *units(p)))]
    parts = dict(V=len(uchar), LAYERS=len(layers), LARGEST=max(units(p)), ROWS=counts.b, OF_U=counts.U, OF_W=counts.W,
                 STATES=counts.S, rows=', '.join(cell.rows), states=', '.join(cell.states), cell=lines,
                 functions=_functions(lines), cell_p_argument='', cell_p='', cell_p_comment='',
                 declarations='\n'.join(f'static const float {name}[{array.size}];' for name, array in arrays.items()),
                 layers=', '.join(f'{{{", ".join(map(str, row))}}}' for row in table))
    if cell.read:
        parts.update(cell_p_argument=', const float *restrict cell_p', cell_p=', layers[k].cell_p',
                     cell_p_comment=f', and cell_p: {", ".join(cell.read)}')
    numbers = [f'static const char characters[V][5] = {{\n{strings}\n}};',
               *[_array(f'{name}[{array.size}]', array) for name, array in arrays.items()]]
    parts['numbers'] = '\n\n'.join(numbers)
    return filled(C_FILES['model.c'], parts).encode()
