"""The model as a file of ONNX, from characters and states to probabilities and states: model.onnx.txt with the numbers.

A layer of the standard cell is ONNX's LSTM, and one of another cell a Scan of the lines of the cell's Program.
"""
import json
import re

import numpy as np

from engine.export.templates import filled, text_of
from engine.model.parameters import own_of_layer, stacked

GATES = [1, 2, 0, 3]                   # of ONNX: i, o, f, c; ours are f, i, o, g


def _cell(program, k, arrays):
    """Return the lines of a cell in layer k, and the names of its h and C. Its constants are added to arrays."""
    def named(value):
        if isinstance(value, str):
            return f'{value}_{k}' if value.startswith('own') else value
        name = f'number{len(arrays)}'
        arrays[name] = np.float32(value)
        return name

    lines = [f'{name} = cell.{operation} ({", ".join(map(named, arguments))})'
             for name, operation, arguments in program.forward.lines]
    return dict(zip(('cell', 'h', 'C'), ('\n        '.join(lines), *map(named, program.forward.outputs))))


def onnx_file(cell, p, uchar):
    """Return the file in bytes; arguments as of c_file. Raises ImportError where the package onnx is missing."""
    import onnx
    from onnx import inliner, parser
    model, lstm, scan = re.split('---- .*\n', text_of('model.onnx.txt'))
    arrays = dict(vocabulary=np.array(len(uchar)), zero_and_one=np.array([0, 1], np.float32), V=p['V'].T, c=p['c'])
    parts = dict(V=len(uchar), H1=p['b1'].shape[1], H2=p['b2'].shape[1], functions=text_of('functions.onnx.txt'))
    for k, up in (('1', 'one_hot'), ('2', 'h1_steps')):
        U, W, b = [p[name + k] for name in 'UWb']
        layer = dict(k=k, up=up, H=b.shape[1])
        if cell.standard:
            U, W, b = [array[GATES].reshape(1, 4 * b.shape[1], -1) for array in (U, W, b)]
            b = np.concatenate([b, 0 * b], axis=1)[:, :, 0]                # ONNX has a second b, for W
            arrays.update(first=np.array([0]), second=np.array([1]))               # axes
        else:
            U, W, b = stacked(U), stacked(W), b.ravel()
            arrays.update({f'own{i}_{k}': array for i, array in enumerate(own_of_layer(p, k))})
            layer.update(_cell(cell.program, k, arrays))
        arrays.update({f'U{k}': U, f'W{k}': W, f'b{k}': b})
        parts[f'layer{k}'] = filled(lstm if cell.standard else scan, layer)
    made = parser.parse_model(filled(model, parts))
    made.graph.initializer.extend([onnx.numpy_helper.from_array(np.asarray(array, order='C'), name)
                                   for name, array in arrays.items()])
    made = inliner.inline_local_functions(made)
    del made.opset_import[1]                   # of the functions
    onnx.helper.set_model_props(made, dict(vocabulary=json.dumps(list(uchar))))
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()
