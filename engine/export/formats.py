"""The formats in which other programs can have the model, by the endings of files."""
import os

FORMATS = {'.safetensors': "PyTorch's nn.LSTM", '.onnx': 'a file of ONNX', '.c': 'a file of C'}


def format_of(path, name='path'):
    """Return the ending of a path, one of FORMATS. Raise ValueError for another. name: of the path, in the message."""
    ending = os.path.splitext(path)[1]
    ending = ending if ending == '.C' else ending.lower()          # compilers take .C for C++
    if ending not in FORMATS:
        raise ValueError(f'{name} is {path}: expected a name that ends in {", ".join(FORMATS)}')
    return ending


def write(path, cell, p, uchar):
    """Write a Cell that has a program, parameters by name, and uchar (V,), as CharLSTM.export says."""
    import numpy as np                         # late, so that --help does not wait for it
    from engine.export import c_file, onnx_file
    from engine.model.files import write_whole
    from engine.model.tensors import tensors_file
    ending = format_of(path)
    if ending != '.safetensors':
        p = {name: array.astype(np.float32) for name, array in p.items()}
    elif not cell.standard:
        raise ValueError(f'{FORMATS[ending]} has the standard cell, and this model {cell.name}: export .onnx or .c')
    if not all(np.isfinite(array).all() for array in p.values()):
        raise ValueError(f'{path} was not written: the parameters are no finite float32 numbers')
    make = {'.safetensors': tensors_file, '.onnx': onnx_file.onnx_file, '.c': c_file.c_file}[ending]
    contents = make(cell, p, uchar)            # first: a file that cannot be made leaves no trace
    with write_whole(path) as f:
        f.write(contents)
