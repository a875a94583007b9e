"""Files of safetensors with the arrays of torch.nn.LSTM: read as untrusted input, in the place of an npz file."""
import io
import json
import os
import re

import numpy as np

from engine import commands
from engine.files import named

GATES = [1, 0, 3, 2]           # PyTorch's gates are i, f, g, o, and ours f, i, o, g: it leads there and back
KINDS = 'weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'
ARRAYS = 'torch.nn.LSTM(V, H1), torch.nn.LSTM(H1, H2) and torch.nn.Linear(H2, V); the first one reads one-hot vectors'


def as_npz(path, refusal):
    """Read a file of safetensors; return it as a file of npz, in memory, with the parameters and uchar by our names.

    refusal: from a reason to the ValueError to raise where the file is damaged or has other arrays. The layers are
    those of two nn.LSTM or of one, and the output is an nn.Linear, under any names. Raises OSError when it cannot be
    read, and ImportError where the package safetensors is missing.
    """
    safetensors = commands.imported('safetensors')
    with named('read', path), open(path, 'rb'):            # an error that names what is wrong
        pass
    try:
        with safetensors.safe_open(os.fspath(path), 'numpy') as f:             # compares all sizes with the file's
            about, kinds = f.metadata() or {}, {name: f.get_slice(name).get_dtype() for name in f.keys()}
            tensors = {name: f.get_tensor(name) for name in kinds if kinds[name] in ('F64', 'F32', 'F16')}
    except safetensors.SafetensorError:
        raise refusal('it is no safetensors file, or one that was cut short') from None
    for name in set(kinds) - set(tensors):
        raise refusal(f'{name} is of type {kinds[name]}, not F64, F32 or F16')
    try:
        uchar = np.array(json.loads(about['vocabulary']))
        if uchar.dtype.kind != 'U':
            raise ValueError('no list of strings')
    except (KeyError, ValueError, RecursionError):
        raise refusal("its metadata has no vocabulary: write it by save_file(tensors, path, metadata={'vocabulary': "
                      'json.dumps(characters)}), with a list of characters') from None
    npz = io.BytesIO()
    np.savez(npz, uchar=uchar, **_parameters(tensors, uchar.size, refusal))
    return npz


def _parameters(tensors, V, refusal):
    """Return the parameters by our names. Raises ValueError where the tensors have other shapes."""
    heads = sorted(name for name in tensors if re.search(r'weight_hh_l\d+$', name))
    layers = [[kind.join(name.rsplit('weight_hh', 1)) for kind in KINDS] for name in heads]
    output = sorted(set(tensors).difference(*layers), reverse=True)            # the weight, the bias
    if len(layers) != 2 or len(output) != 2:
        found = ', '.join(f'{name} {tensors[name].shape}' for name in sorted(tensors)[:20])
        raise refusal(f'its arrays are {found or "none"}')
    shapes, (H1, H2) = {}, [(tensors[name].shape or (0,))[-1] for name in heads]
    for names, n, H in zip(layers, (V, H1), (H1, H2)):
        shapes.update(zip(names, [(4 * H, n), (4 * H, H), (4 * H,), (4 * H,)]))
    shapes.update({output[0]: (V, H2), output[1]: (V,)})
    for name, shape in shapes.items():
        found = f'has shape {tensors[name].shape}' if name in tensors else 'is missing'
        if name not in tensors or tensors[name].shape != shape:
            raise refusal(f'{name} {found}; expected {shape}, by the vocabulary of {V} and the other arrays')
    p = dict(V=tensors[output[0]], c=tensors[output[1]])
    for k, names, H in zip('12', layers, (H1, H2)):
        U, W, *b = [tensors[name] for name in names]
        b = np.add(*b, dtype=np.result_type(*b, np.float32))
        p.update({name + k: array.reshape(4, H, *array.shape[1:])[GATES] for name, array in zip('UWb', (U, W, b))})
    return p


def tensors_file(cell, p, uchar):
    """Return the file in bytes; arguments as of c_file. Raises ImportError where the package safetensors is missing."""
    save = commands.imported('safetensors.numpy').save
    tensors = {'linear.weight': p['V'], 'linear.bias': p['c']}
    for k in '12':
        U, W, b = [np.concatenate(p[name + k][GATES]) for name in 'UWb']
        arrays = U, W, b, np.full_like(b, -0.0)            # -0.0 leaves all bits of what it is added to, also of -0.0
        tensors.update({f'lstm{k}.{kind}_l0': array for kind, array in zip(KINDS, arrays)})
    about = {'format': 'pt', 'vocabulary': json.dumps(list(uchar)), 'arrays': ARRAYS}
    return save({name: np.ascontiguousarray(array) for name, array in tensors.items()}, about)
