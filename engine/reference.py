"""An LSTM layer forward and backward in plain NumPy: what the Ops of kernel.py are held against.

Sizes: T steps, B sequences, H units; "4H" is the gates f, i, o, g side by side.
"""
import numpy as np


def sigmoid(x):
    with np.errstate(over='ignore'):           # exp(-x) = inf is right: the quotient is 0
        return 1 / (1 + np.exp(-x))


def step(a_x, W, b, h, C, gates=None):
    """h and C (B,H) after one step from a_x (B,4H), W (4,H,H), b (4,H); fills gates (B,4H)."""
    H = W.shape[2]
    a = a_x + b.ravel() + h.dot(W.reshape(4 * H, H).T)               # (B, 4H)
    f, i, o = np.split(sigmoid(a[:, :3 * H]), 3, axis=1)             # (B, H)
    g = np.tanh(a[:, 3 * H:])
    C = f * C + i * g
    if gates is not None:
        gates[:] = np.concatenate([f, i, o, g], axis=1)
    return o * np.tanh(C), C


def layer(a_x, W, b, h, C, gates):
    """All steps from a_x (T,B,4H): h (T,B,H), C (T,B,H), gates (T,B,4H), which may be a_x, and the last h and C."""
    hs, Cs = [np.empty(a_x.shape[:2] + W.shape[2:], a_x.dtype) for _ in range(2)]
    for t in range(len(a_x)):
        h, C = step(a_x[t], W, b, h, C, gates[t])
        hs[t], Cs[t] = h, C
    return hs, Cs, gates, h.copy(), C.copy()                         # copies: with no steps, of the inputs


def layer_gradient(dh, W, h, C, gates, h0, C0, truncate, da):
    """Gradients of what layer took, from dh (T,B,H) on each h and what layer gave.

    They flow through the last `truncate` steps, -1: all. Returns da (T,B,4H), which
    may be the memory of gates, dW (4,H,H) and db (4,H).
    """
    steps, H = len(dh), W.shape[2]
    W4 = W.reshape(4 * H, H)
    dW, dh_later, dC = np.zeros_like(W4), np.zeros_like(h0), np.zeros_like(C0)
    first = 0 if truncate < 0 else max(0, steps - truncate)
    da[:first] = 0
    for t in range(steps - 1, first - 1, -1):
        f, i, o, g = np.split(gates[t].copy(), 4, axis=1)            # da may be the same memory
        C_prev, h_prev, tanh_C = (C[t - 1] if t else C0), (h[t - 1] if t else h0), np.tanh(C[t])
        dht = dh[t] + dh_later
        dC = dC + dht * o * (1 - tanh_C ** 2)
        da[t] = np.concatenate([dC * C_prev * f * (1 - f), dC * g * i * (1 - i),
                                dht * tanh_C * o * (1 - o), dC * i * (1 - g ** 2)], axis=1)
        dW += da[t].T.dot(h_prev)
        dh_later, dC = da[t].dot(W4), dC * f
    return da, dW.reshape(W.shape), da.sum(axis=(0, 1)).reshape(4, H)
