"""An LSTM layer forward and backward in plain NumPy: what the Ops of kernel.py are held against.

Sizes: T steps, B sequences, H units; "4H" is the gates f, i, o, g side by side. program: the cell, a cell.Program;
own: the values of its own parameters, (H,) each.
"""
import numpy as np

from engine.kernel.cell import GATES, evaluate, own_inputs


def _named(own):
    return dict(zip(own_inputs(len(own)), own))


def step(program, a_x, W, b, own, h, C):
    """h and C (B,H) after a step from a_x (B,4H), W (4,H,H), b (4,H), and what is kept for the gradient, (B,H) each."""
    H = W.shape[2]
    a = a_x + b.ravel() + h.dot(W.reshape(4 * H, H).T)               # (B, 4H)
    return evaluate(program.forward, dict(zip(GATES, np.split(a, 4, axis=1)), C_prev=C, **_named(own)))


def layer(program, a_x, W, b, own, h, C, kept):
    """All steps from a_x (T,B,4H): h (T,B,H), C (T,B,H), kept (T,B,4H), which may be a_x, and the last h and C.

    What is kept of a step lies side by side, and after it zeros.
    """
    hs, Cs = [np.empty(a_x.shape[:2] + W.shape[2:], a_x.dtype) for _ in range(2)]
    for t in range(len(a_x)):
        h, C, *values = step(program, a_x[t], W, b, own, h, C)
        hs[t], Cs[t], kept[t] = h, C, 0
        for k, value in enumerate(values):
            kept[t, :, k * W.shape[2]:(k + 1) * W.shape[2]] = value
    return hs, Cs, kept, h.copy(), C.copy()                          # copies: with no steps, of the inputs


def layer_gradient(program, dh, W, own, h, C, kept, h0, C0, truncate, da):
    """Gradients of what layer took, from dh (T,B,H) on each h and what layer gave.

    They flow through the last `truncate` steps, -1: all. Returns da (T,B,4H), which
    may be the memory of kept, dW (4,H,H), db (4,H) and those of own, (H,) each.
    """
    steps, H = len(dh), W.shape[2]
    W4 = W.reshape(4 * H, H)
    dW, dh_later, dC = np.zeros_like(W4), np.zeros_like(h0), np.zeros_like(C0)
    d_own = [np.zeros_like(value) for value in own]
    first = 0 if truncate < 0 else max(0, steps - truncate)
    da[:first] = 0
    for t in range(steps - 1, first - 1, -1):
        parts = np.split(kept[t].copy(), 4, axis=1)                  # da may be the same memory
        inputs = {f'kept{k}': part for k, part in enumerate(parts)}
        gradients = evaluate(program.backward, dict(
            inputs, C_prev=C[t - 1] if t else C0, C=C[t], dh=dh[t] + dh_later, dC=dC, **_named(own)))
        da[t], dC = np.concatenate(gradients[:4], axis=1), gradients[4]
        for total, part in zip(d_own, gradients[5:]):
            total += part.sum(axis=0)
        dW += da[t].T.dot(h[t - 1] if t else h0)
        dh_later = da[t].dot(W4)
    return [da, dW.reshape(W.shape), da.sum(axis=(0, 1)).reshape(4, H), *d_own]
