"""The model of charlstm.py in NumPy and float64, with its gradient by hand. README.md in this folder derives it.

T, B, H1, H2 and V are as in charlstm.py. Each column is a sequence: h and C are (H,B), pre-activations (4,H,B).
"""
import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def lstm(a_f, a_i, a_o, a_g, C_prev, keep=lambda C: C):
    """Return h and C after a step, (H,B). keep: a function of C before h is computed, to hold a unit."""
    C = keep(sigmoid(a_f) * C_prev + sigmoid(a_i) * np.tanh(a_g))
    return sigmoid(a_o) * np.tanh(C), C


def lstm_gradient(a_f, a_i, a_o, a_g, C_prev, C, dh, dC):
    """Return the gradients of the pre-activations (4,H,B) and of C_prev. dh, dC: gradients of h and C."""
    f, i, o, g = sigmoid(a_f), sigmoid(a_i), sigmoid(a_o), np.tanh(a_g)
    D = dC + dh * o * (1 - np.tanh(C) ** 2)                    # C affects the next steps, and h
    da_f, da_i = D * C_prev * f * (1 - f), D * g * i * (1 - i)
    da_o, da_g = dh * np.tanh(C) * o * (1 - o), D * i * (1 - g ** 2)
    return np.stack([da_f, da_i, da_o, da_g]), D * f


def forward(p, x, states=None, masks=None, cells=(lstm, lstm), product=np.matmul):
    """Return the probabilities (T,B,V) of the character after each of x (T,B), the last states, and backward's memory.

    states: h1, C1, h2, C2 before the first step; None for zeros. masks: dropout masks (T,B,H1) and (T,B,H2), which
    multiply h1 and h2 on their way up. cells, product: replacements for the cells and matmul, for the tests.
    """
    (T, B), H1, H2 = x.shape, p['b1'].shape[1], p['b2'].shape[1]
    states = states or [np.zeros((H, B)) for H in (H1, H1, H2, H2)]
    mask1, mask2 = masks or [np.ones((T, B, 1))] * 2
    probabilities, memory = [], []
    for t in range(T):
        h1, C1, h2, C2 = before = states
        a1 = p['U1'][:, :, x[t]] + product(p['W1'], h1) + p['b1'][:, :, None]              # U.x is a column: (4,H1,B)
        h1, C1 = cells[0](*a1, C1)
        a2 = product(p['U2'], h1 * mask1[t].T) + product(p['W2'], h2) + p['b2'][:, :, None]            # (4,H2,B)
        h2, C2 = cells[1](*a2, C2)
        scores = product(p['V'], h2 * mask2[t].T) + p['c'][:, None]                                    # (V,B)
        e = np.exp(scores - scores.max(axis=0))
        probabilities.append((e / e.sum(axis=0)).T)
        states = h1, C1, h2, C2
        memory.append((before, a1, a2, states))
    return np.array(probabilities), states, memory


def backward(p, x, y, probabilities, memory):
    """Return the gradients, name to array, of the mean cost -log p[y], from the results of forward() without masks."""
    def down(W, da):                                           # from pre-activations to the input of W
        return (W.transpose(0, 2, 1) @ da).sum(axis=0)
    d, one_hot = {name: np.zeros_like(array) for name, array in p.items()}, np.eye(len(p['c']))
    dh1 = dC1 = dh2 = dC2 = 0                                  # nothing follows the last step
    for t in reversed(range(len(x))):
        (h1_prev, C1_prev, h2_prev, C2_prev), a1, a2, (h1, C1, h2, C2) = memory[t]
        dscores = (probabilities[t] - one_hot[y[t]]).T / y.size                            # (V,B)
        da2, dC2 = lstm_gradient(*a2, C2_prev, C2, dh2 + p['V'].T @ dscores, dC2)
        da1, dC1 = lstm_gradient(*a1, C1_prev, C1, dh1 + down(p['U2'], da2), dC1)
        dh1, dh2 = down(p['W1'], da1), down(p['W2'], da2)      # for the previous step
        for name, gradient in dict(
                U1=da1 @ one_hot[x[t]], W1=da1 @ h1_prev.T, b1=da1.sum(axis=2), U2=da2 @ h1.T, W2=da2 @ h2_prev.T,
                b2=da2.sum(axis=2), V=dscores @ h2.T, c=dscores.sum(axis=1)).items():
            d[name] += gradient                                # every step uses the same parameters
    return d


def learn(p, codes, epochs, B=10, T=50, lrate=0.01):
    """Train p in place on codes (n,), read as B streams, B < n, once per epoch. Yield the mean cost of each epoch.

    The gradient flows through T steps, the states through all steps (truncated backpropagation through time).
    """
    length = (len(codes) - 1) // B
    x, y = [codes[start:start + B * length].reshape(B, length).T for start in (0, 1)]      # (length,B)
    squares = {name: np.zeros_like(array) for name, array in p.items()}
    for _ in range(epochs):
        states, costs = None, []
        for t in range(0, length, T):
            probabilities, states, memory = forward(p, x[t:t + T], states)
            costs.append(-np.log(np.take_along_axis(probabilities, y[t:t + T, :, None], axis=2)).mean())
            for name, gradient in backward(p, x[t:t + T], y[t:t + T], probabilities, memory).items():
                squares[name] = 0.95 * squares[name] + 0.05 * gradient ** 2                # RMSprop
                p[name] -= lrate * gradient / (np.sqrt(squares[name]) + 1e-8)
        yield np.mean(costs)


def write(p, random, length):
    """Return the numbers of characters that the model writes: each is drawn and then read."""
    codes, states = [random.integers(len(p['c']))], None
    while len(codes) < length:
        probabilities, states, _ = forward(p, np.array([codes[-1:]]), states)
        codes.append(random.choice(len(p['c']), p=probabilities[0, 0]))
    return codes
