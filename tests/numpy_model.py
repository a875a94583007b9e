"""The NumPy model, in float64, that the tests compare charlstm.py with: the lesson's, and what only tests use.

It shares no code with charlstm.py. Gradients are finite differences of the cost, because a derivation could make the
same mistake as Theano's graph.
"""
import numpy as np

from engine.lesson import numpy_lstm
from engine.lesson.numpy_lstm import lstm, sigmoid       # noqa: F401 (tests take them from here)

V, H1, H2 = 11, 7, 4         # the sizes of most tests: small and different, so that swapped axes do not match
LETTERS = 'abcdefghijk'      # V of them
NAMES = ('U1', 'W1', 'b1', 'U2', 'W2', 'b2', 'V', 'c')


def random_parameters(seed, dtype='float64', V=V, H1=H1, H2=H2):
    """Return all eight parameters, including biases, uniform in +-0.8 and exact in dtype."""
    shapes = dict(U1=(4, H1, V), W1=(4, H1, H1), b1=(4, H1), U2=(4, H2, H1), W2=(4, H2, H2), b2=(4, H2),
                  V=(V, H2), c=(V,))
    random = np.random.default_rng(seed)
    return {name: random.uniform(-0.8, 0.8, shapes[name]).astype(dtype).astype('float64') for name in NAMES}


def lively_parameters(seed, V, H1, H2):
    """Return float32 parameters whose predictions depend on the text before, without being chaotic."""
    p = random_parameters(seed, V=V, H1=H1, H2=H2)
    for name, scale in (('W1', 1.5 / H1 ** 0.5), ('U2', 2 / H1 ** 0.5), ('W2', 1.5 / H2 ** 0.5), ('V', 18 / H2 ** 0.5)):
        p[name] *= scale
    return {name: array.astype('float32') for name, array in p.items()}


def same(value):
    return value


def holding(values):
    """Return a function that sets rows of C (H,B) to values, a dict by unit."""
    def hold(C):
        C[list(values)] = np.array(list(values.values()))[:, None]
        return C
    return hold


def forward(p, x, states=None, masks=None, cell=lstm, own=(), hold={}, rounded=same):
    """Return the probabilities (T,B,V) of the characters after x (T,B), and the final states h1, C1, h2, C2.

    States are (H,B), a column for each sequence. masks: factors of h1 (T,B,H1) and h2 (T,B,H2) on their way up. cell: a
    function like lstm that takes parameters, (H,1) each, after C_prev; own: their names. hold: the units whose C is
    held, such as {'C2': {3: 5.0}}. rounded: a function that rounds the inputs of matrix products.
    """
    def of_layer(k):
        own_of_layer, keep = [p[f'{name}{k}'][:, None] for name in own], holding(hold.get(f'C{k}', {}))
        return lambda *inputs: cell(*inputs, *own_of_layer, keep=keep)

    return numpy_lstm.forward(p, x, states, masks, (of_layer(1), of_layer(2)),
                              lambda W, h: rounded(W) @ rounded(h))[:2]


def costs(probabilities, y):
    """Return the costs (T,B) of the targets y (T,B), in nats."""
    T, B = y.shape
    return np.array([[-np.log(probabilities[t, n, y[t, n]]) for n in range(B)] for t in range(T)])


def gradients(p, x, y, l1=0, l2=0, bptt_maxdepth=-1, ar=0, tar=0, h=1e-5, states=None, masks=None):
    """Return the gradients of (total + l1 sum|p| + l2 sum p^2) / (T B) by name, from central differences.

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
        total, after = sum(l1 * np.abs(a).sum() + l2 * (a ** 2).sum() for a in p.values()), constant
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


def sgd_step(gradient, lrate):
    return lrate * gradient


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
