"""Read .safetensors files with the arrays of torch.nn.LSTM, as checkpoints and untrusted input; and write them."""
import json
import re

import numpy as np

GATES = [1, 0, 3, 2]           # PyTorch's gates are i, f, g, o, ours f, i, o, g: the same order leads there and back
KINDS = 'weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'
ARRAYS = 'torch.nn.LSTM(V, H1), torch.nn.LSTM(H1, H2) ... torch.nn.Linear(H, V); the first one reads one-hot vectors'
WITH_EMBEDDING = ', or those of a torch.nn.Embedding(V, n)'
VOCABULARY = "has no vocabulary: save_file(tensors, path, metadata={'vocabulary': json.dumps(list)})"


def read_tensors(path, refusal):
    """Return the parameters and uchar of a .safetensors file under our names.

    refusal: makes the ValueError to raise from a reason. The layers may be an nn.LSTM each, or one of all, and the
    output is an nn.Linear, under any names. An nn.Embedding E before them becomes a part of U1, weight_ih.E^T. Raises
    OSError if the file cannot be read.
    """
    import safetensors                                     # late: most users do not need it
    try:
        with safetensors.safe_open(path, 'numpy') as f:    # checks all sizes against the file's
            tensors = {name: f.get_tensor(name) for name in f.keys()}
            uchar = np.array(json.loads((f.metadata() or {})['vocabulary']))
    except (KeyError, RecursionError, TypeError, ValueError, safetensors.SafetensorError):
        raise refusal(f'it is damaged, has types that NumPy lacks, or {VOCABULARY}') from None
    return dict(uchar=uchar, **_parameters(tensors, refusal))


def _parameters(tensors, refusal):
    """Return the parameters by our names, from tensors by PyTorch's. Raises ValueError if they are of another model."""
    heads = sorted(name for name in tensors if re.search(r'weight_hh_l\d+$', name))
    layers = [[kind.join(name.rsplit('weight_hh', 1)) for kind in KINDS] for name in heads]
    others, p = set(tensors).difference(*layers), {}
    try:
        bias, = [name for name in others if tensors[name].ndim == 1]           # only nn.Linear has one
        output = bias.removesuffix('bias') + 'weight'
        p['V'], p['c'] = tensors[output], tensors[bias]
        for k, names in enumerate(layers, 1):
            U, W, *b = [tensors[name] for name in names]
            p.update({f'{name}{k}': array.reshape(4, W.shape[1], *array.shape[1:])[GATES]
                      for name, array in zip('UWb', (U, W, np.add(*b, dtype=np.result_type(*b, np.float32))))})
        for name in others - {bias, output}:
            p['U1'] = np.matmul(p['U1'], tensors[name].T, dtype=np.result_type(p['U1'], np.float32))
    except (IndexError, KeyError, TypeError, ValueError):
        listing = ', '.join(f'{name[:60]!r} {tensors[name].shape}' for name in sorted(tensors)[:20])
        raise refusal(f'it has {listing or "no arrays"}; expected the arrays of {ARRAYS}{WITH_EMBEDDING}') from None
    return p


def tensors_file(cell, p, uchar):
    """Return the bytes of a .safetensors file. The arguments are those of export.write, without path."""
    from safetensors.numpy import save                     # late, as in read_tensors
    tensors = {'linear.weight': p['V'], 'linear.bias': p['c']}
    for k in range(1, len(p) // 3 + 1):                    # U, W and b of each layer; then V and c
        U, W, b = [np.concatenate(p[f'{name}{k}'][GATES]) for name in 'UWb']
        arrays = U, W, b, np.full_like(b, -0.0)            # adding -0.0 changes no bits, not even those of -0.0
        tensors.update({f'lstm{k}.{kind}_l0': array for kind, array in zip(KINDS, arrays)})
    about = {'format': 'pt', 'vocabulary': json.dumps(list(uchar)), 'arrays': ARRAYS}
    return save({name: np.ascontiguousarray(array) for name, array in tensors.items()}, about)
