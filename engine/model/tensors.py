"""Files of safetensors with the arrays of torch.nn.LSTM: read as untrusted input, in the place of an npz file."""
import io
import json
import os
import re

import numpy as np

from engine.model.files import named
from engine.terminal import number_of

GATES = [1, 0, 3, 2]           # PyTorch's gates are i, f, g, o, and ours f, i, o, g: it leads there and back
KINDS = 'weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'
SHOWN, LONGEST = 20, 60          # names in a message, and their characters
LARGEST = 16 * 0x110000          # of the text that is the vocabulary: an entry is at most "\ud83d\ude00" and a comma
ARRAYS = 'torch.nn.LSTM(V, H1), torch.nn.LSTM(H1, H2) and torch.nn.Linear(H2, V); the first one reads one-hot vectors'


def as_npz(path, refusal):
    """Read a file of safetensors; return it as a file of npz, in memory, with the parameters and uchar by our names.

    refusal: from a reason to the ValueError to raise where the file is damaged or has other arrays. The layers are
    those of two nn.LSTM or of one, and the output is an nn.Linear, under any names. Raises OSError when it cannot be
    read, and ImportError where the package safetensors is missing.
    """
    import safetensors
    with named('read', path), open(path, 'rb'):            # an error that names what is wrong
        pass
    try:
        with safetensors.safe_open(os.fspath(path), 'numpy') as f:             # compares all sizes with the file's
            uchar = _vocabulary(f.metadata() or {}, refusal)
            slices = {name: f.get_slice(name) for name in f.keys()}
            shapes = {name: tuple(found.get_shape()) for name, found in slices.items()}
            names, units = _names(shapes, len(uchar), refusal)
            for name in shapes:
                if slices[name].get_dtype() not in ('F64', 'F32', 'F16'):
                    raise refusal(f'{name} is of type {slices[name].get_dtype()}, not F64, F32 or F16')
            p = _parameters({name: f.get_tensor(name) for name in shapes}, names, units)
    except safetensors.SafetensorError:
        raise refusal('it is no safetensors file, or one that was cut short') from None
    npz = io.BytesIO()
    np.savez(npz, uchar=np.array(uchar), **p)
    return npz


def _vocabulary(about, refusal):
    """Return the characters of a file's metadata, a list. Raises ValueError where it has none."""
    try:
        uchar = json.loads(about['vocabulary']) if len(about['vocabulary']) < LARGEST else None
        if isinstance(uchar, list) and uchar and all(isinstance(ch, str) and len(ch) == 1 for ch in uchar):
            return uchar
    except (KeyError, ValueError, RecursionError):
        pass
    raise refusal("its metadata has no vocabulary: write it by save_file(tensors, path, metadata={'vocabulary': "
                  'json.dumps(characters)}), with a list of characters')


def _names(shapes, V, refusal):
    """Return names, the arrays of both layers, by KINDS, and of the output, weight and bias; and H1 and H2.

    Raises ValueError where the arrays, by shapes, are not those of such a model.
    """
    heads = sorted(name for name in shapes if re.search(r'weight_hh_l\d+$', name))
    layers = [[kind.join(name.rsplit('weight_hh', 1)) for kind in KINDS] for name in heads]
    output = sorted(set(shapes).difference(*layers), reverse=True)
    if len(layers) != 2 or len(output) != 2:
        found = ', '.join(f'{name[:LONGEST]} {shapes[name]}' for name in sorted(shapes)[:SHOWN])
        raise refusal(f'it has {number_of(len(shapes), "array")}: {found or "none"}')
    H1, H2 = [(shapes[name] or (0,))[-1] for name in heads]
    expected = {}
    for names, n, H in zip(layers, (V, H1), (H1, H2)):
        expected.update(zip(names, [(4 * H, n), (4 * H, H), (4 * H,), (4 * H,)]))
    expected.update({output[0]: (V, H2), output[1]: (V,)})
    for name, shape in expected.items():
        if shapes.get(name) != shape:
            found = f'has shape {shapes[name]}' if name in shapes else 'is missing'
            raise refusal(f'{name[:LONGEST]} {found}; expected {shape}, by the vocabulary of {V} and the other arrays')
    return [*layers, output], (H1, H2)


def _parameters(tensors, names, units):
    """Return the parameters by our names. tensors: by theirs; names, units: as _names returns them."""
    *layers, output = [[tensors[name] for name in of_layer] for of_layer in names]
    p = dict(zip(('V', 'c'), output))
    for k, (U, W, *b), H in zip('12', layers, units):
        b = np.add(*b, dtype=np.result_type(*b, np.float32))
        p.update({name + k: array.reshape(4, H, *array.shape[1:])[GATES] for name, array in zip('UWb', (U, W, b))})
    return p


def tensors_file(cell, p, uchar):
    """Return the file in bytes; arguments as of c_file. Raises ImportError where the package safetensors is missing."""
    from safetensors.numpy import save
    tensors = {'linear.weight': p['V'], 'linear.bias': p['c']}
    for k in '12':
        U, W, b = [np.concatenate(p[name + k][GATES]) for name in 'UWb']
        arrays = U, W, b, np.full_like(b, -0.0)            # -0.0 leaves all bits of what it is added to, also of -0.0
        tensors.update({f'lstm{k}.{kind}_l0': array for kind, array in zip(KINDS, arrays)})
    about = {'format': 'pt', 'vocabulary': json.dumps(list(uchar)), 'arrays': ARRAYS}
    return save({name: np.ascontiguousarray(array) for name, array in tensors.items()}, about)
