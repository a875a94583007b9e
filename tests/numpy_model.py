"""The NumPy model, in float64, that the tests compare charlstm.py with: the lesson's, and what only tests use.

It shares no code with charlstm.py. Gradients are finite differences of the cost, because a derivation could make the
same mistake as Theano's graph.
"""
import functools
import inspect

import numpy as np

from engine.lesson.numpy_lstm import lstm, sigmoid       # noqa: F401 (tests take them from here)

V, H1, H2 = 11, 7, 4         # the sizes of most tests: small and different, so that swapped axes do not match
LETTERS = 'abcdefghijk'      # V of them
NAMES = ('U1', 'W1', 'b1', 'U2', 'W2', 'b2', 'V', 'c')


def units_of(H1, H2, layers):
    """Return the units of each layer. H2: of all layers above the first, or a tuple of those of each."""
    return H1, *(H2 if isinstance(H2, tuple) else [H2] * (layers - 1))


def random_parameters(seed, dtype='float64', V=V, H1=H1, H2=H2, rows=(4, 4, 4), layers=2):
    """Return all parameters, including biases, uniform in +-0.8 and exact in dtype. rows: of b, U and W."""
    (b, U, W), shapes, below, random = rows, {}, V, np.random.default_rng(seed)
    for k, H in enumerate(units_of(H1, H2, layers), 1):
        shapes.update({f'U{k}': (U, H, below), f'W{k}': (W, H, H), f'b{k}': (b, H)})
        below = H
    return {name: random.uniform(-0.8, 0.8, shape).astype(dtype).astype('float64')
            for name, shape in dict(shapes, V=(V, below), c=(V,)).items()}


def lively_parameters(seed, V, H1, H2, cell=lstm, layers=2):
    """Return float32 parameters whose predictions depend on the text before, without being chaotic. cell: in NumPy."""
    rows, cell_p, random = row_counts(cell), declared(cell)[2], np.random.default_rng(seed)
    p = random_parameters(seed, V=V, H1=H1, H2=H2, rows=rows, layers=layers)
    for name, array in p.items():
        scale = dict(W=1.5, U=2, V=18).get(name[0])
        if scale and name != 'U1':
            p[name] = array * (scale / array.shape[-1] ** 0.5)
    p.update({f'{name}{k}': random.uniform(-1.2, 1.2, (H, H)) / H ** 0.5 if name[:2] == 'M_' else
              random.uniform(-0.5, 0.5, H) for k, H in enumerate(units_of(H1, H2, layers), 1) for name in cell_p})
    return {name: array.astype('float32') for name, array in p.items()}


def same(value, state='C'):
    return value


def holding(hold, layer):
    """Return a function that sets rows of a state (H,B) to the values of hold, such as {'C2': {3: 5.0}}."""
    def keep(value, state='C'):
        for unit, fixed in hold.get(f'{state}{layer}', {}).items():
            value[unit] = fixed
        return value
    return keep


def declared(cell):
    """Return the names of a cell's rows in memory, of its states, and of its own parameters."""
    names = [name for name in inspect.signature(cell).parameters if name != 'keep']
    states = [name for name in names if name.endswith('_prev')]
    rows = [name for kind in ('x_', 'a_', 'h_') for name in names if name.startswith(kind) and name not in states]
    cell_p = [name for name in names if name not in rows + states]
    return rows, [name[:-len('_prev')] for name in states], sorted(cell_p, key=lambda name: name[:2] == 'M_')


def row_counts(cell):
    """Return how many rows b, U and W have."""
    kinds = [name[0] for name in declared(cell)[0]]
    return len(kinds), len(kinds) - kinds.count('h'), len(kinds) - kinds.count('x')


def forward(p, x, states=None, masks=None, cell=lstm, hold={}, rounded=same):
    """Return the probabilities (T,B,V) of the characters after x (T,B), and the final states h1, C1, h2, C2 and so on.

    States are (H,B), a column for each sequence; several states of a cell are one below the other in C. masks: factors
    (T,B,H) of the h of each layer on its way up. cell: a function like lstm, whose arguments are named as those of
    CharLSTM.cell; its own parameters are (H,1), and its matrices functions of a vector (H,B). hold: the units whose
    states are held, such as {'C2': {3: 5.0}}. rounded: a function that rounds the inputs of matrix products.
    """
    (rows, names, cell_p), (G, of_U, of_W), (T, B) = declared(cell), row_counts(cell), x.shape
    layers, probabilities = range(1, 1 + sum(f'b{k}' in p for k in range(1, 10))), []
    states = states or [np.zeros((n * p[f'b{k}'].shape[1], B)) for k in layers for n in (1, len(names))]

    def product(W, h):
        return rounded(W) @ rounded(h)

    def padded(sums, before, after):
        """Return sums (rows,H,B) of some rows as those of all G rows, with zeros."""
        return np.pad(sums, [(before, after), (0, 0), (0, 0)])

    for t in range(T):
        now, up = [], None
        for k, h, C in zip(layers, states[::2], states[1::2]):
            of_x = p['U1'][:, :, x[t]] if up is None else product(p[f'U{k}'], up)              # x is one-hot
            a = padded(of_x, 0, G - of_U) + padded(product(p[f'W{k}'], h), G - of_W, 0) + p[f'b{k}'][:, :, None]
            arguments = dict(zip(rows, a), **{
                name: functools.partial(product, value.T) if value.ndim == 2 else value[:, None]
                for name, value in zip(cell_p, [p[f'{name}{k}'] for name in cell_p])})
            arguments.update(zip([f'{name}_prev' for name in names], np.split(C, len(names))))
            h, *after = cell(**arguments, keep=holding(hold, k))
            up, now = h * masks[k - 1][t].T if masks else h, [*now, h, np.concatenate(after)]
        scores, states = product(p['V'], up) + p['c'][:, None], now                                    # (V,B)
        e = np.exp(scores - scores.max(axis=0))
        probabilities.append((e / e.sum(axis=0)).T)
    return np.array(probabilities), states


def costs(probabilities, y):
    """Return the costs (T,B) of the targets y (T,B), in nats."""
    T, B = y.shape
    return np.array([[-np.log(probabilities[t, n, y[t, n]]) for n in range(B)] for t in range(T)])


def costs_of(p, text):
    """Return the costs (n-1,) of the characters of a text but the first. p: the arrays of a checkpoint."""
    codes = np.array([list(p['uchar']).index(ch) for ch in text])[:, None]
    return costs(forward(p, codes[:-1])[0], codes[1:])[:, 0]


def gradients(p, x, y, bptt_maxdepth=-1, ar=0, tar=0, h=1e-5, states=None, masks=None):
    """Return the gradients of total / (T B) by name, from central differences.

    total: the sum over all characters of cost + ar mean h2^2 + tar mean (h2 - h2 before)^2, means over the units.

    With bptt_maxdepth k only the last k steps have a cost, and the states before the first of them are constants.
    states: the states before x, or None for zeros. masks: as for forward.
    """
    T, B = x.shape
    k = T if bptt_maxdepth == -1 else min(bptt_maxdepth, T)

    def steps(start, end, states):
        return forward(p, x[start:end], states, masks and [mask[start:end] for mask in masks])

    constant = steps(0, T - k, states)[1]

    def objective():
        total, after = 0, constant
        for t in range(T - k, T):
            before = after[2]
            probabilities, after = steps(t, t + 1, after)
            squares = ar * after[2] ** 2 + tar * (after[2] - before) ** 2                            # (H2, B)
            total += costs(probabilities, y[t:t + 1]).sum() + squares.mean(axis=0).sum()
        return total / (T * B)

    result = {name: np.empty_like(p[name]) for name in NAMES}
    for name in NAMES:
        for index in np.ndindex(*p[name].shape):
            value = p[name][index]
            p[name][index] = value + h
            above = objective()
            p[name][index] = value - h
            below = objective()
            p[name][index] = value
            result[name][index] = (above - below) / (2 * h)
    return result


def rmsprop_step(gradient, p, state, lrate, lp):
    """Return the step of RMSprop for a parameter, and its new state: the mean square and the sum of gradients."""
    m, v = state
    m = lp['drate'] * m + (1 - lp['drate']) * gradient ** 2
    v = lp['momentum'] * v + gradient
    return lrate * (1 - lp['momentum']) * v / (np.sqrt(m) + lp['eps']) + lrate * lp['weight_decay'] * p, (m, v)


def chosen(p, temperature=1, top_k=None, top_p=1):
    """Return probabilities p (V,) at a temperature, restricted to the top_k most probable characters and then to the
    first of these that sum to top_p. They are renormalised each time."""
    p = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
    order = list(np.argsort(-p))[:top_k]
    p = np.where(np.isin(np.arange(len(p)), order), p, 0) / p[order].sum()
    kept = [order.pop(0)]
    while order and p[kept].sum() < top_p:
        kept.append(order.pop(0))
    return np.where(np.isin(np.arange(len(p)), kept), p, 0) / p[kept].sum()
