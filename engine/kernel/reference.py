"""The kernel's layer and its drawing of characters in plain NumPy, which the C code is tested against.

continue_texts also writes the texts where the C code cannot.

Sizes: T steps, B sequences, H units, V characters; "4H" is the gates f, i, o, g side by side. program: the cell, a
cell.Program; own: the values of its own parameters, (H,) each; dot: the matrix product.
"""
import numpy as np

from engine.kernel.cell import GATES, evaluate, own_inputs


def to_bfloat16(a):
    """Return float32 numbers rounded to the nearest of 8 significant bits, of two as near to the even one."""
    with np.errstate(invalid='ignore'):
        upper = (a.view(np.uint32).astype(np.uint64) + 0x7fff + (a.view(np.uint32) >> 16 & 1) >> 16).astype(np.uint32)
    return np.where(np.isnan(a), a, (upper << 16).view(np.float32))


# ---------------------------------------------------------------- a layer

def _named(own):
    return dict(zip(own_inputs(len(own)), own))


def step(program, a_x, W, b, own, h, C, dot=np.dot):
    """Return h and C (B,H) after a step, and what is kept for the gradient, (B,H) each.

    a_x (B,4H), W (4,H,H), b (4,H); h and C (B,H) before the step.
    """
    H = W.shape[2]
    a = a_x + b.ravel() + dot(h, W.reshape(4 * H, H).T)              # (B, 4H)
    return evaluate(program.forward, dict(zip(GATES, np.split(a, 4, axis=1)), C_prev=C, **_named(own)))


def layer(program, a_x, W, b, own, h, C, kept, dot=np.dot):
    """Return h and C (T,B,H) of all steps from a_x (T,B,4H), kept, and the last h and C (B,H).

    kept (T,B,4H), which may be a_x, is filled with what is kept of each step side by side, then zeros.
    """
    hs, Cs = [np.empty(a_x.shape[:2] + W.shape[2:], a_x.dtype) for _ in range(2)]
    for t in range(len(a_x)):
        h, C, *values = step(program, a_x[t], W, b, own, h, C, dot)
        hs[t], Cs[t], kept[t] = h, C, 0
        for k, value in enumerate(values):
            kept[t, :, k * W.shape[2]:(k + 1) * W.shape[2]] = value
    return hs, Cs, kept, h.copy(), C.copy()                          # copies, since without steps these are inputs


def layer_gradient(program, dh, W, own, h, C, kept, h0, C0, truncate, da, dot=np.dot):
    """Return the gradients da (T,B,4H), dW (4,H,H), db (4,H) and those of own, (H,) each, from dh (T,B,H) on each h.

    h, C and kept are outputs of layer. The gradients flow through the last `truncate` steps, -1: all.
    da is filled; it may be the memory of kept.
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
        dW += dot(da[t].T, h[t - 1] if t else h0)
        dh_later = dot(da[t], W4)
    return [da, dW.reshape(W.shape), da.sum(axis=(0, 1)).reshape(4, H), *d_own]


# ---------------------------------------------------------------- characters, drawn

def likely(p, top_k, top_p):
    """Return probabilities p (B,V), zero where top_k or top_p excludes a character.

    Only the top_k most probable remain, and of these only the fewest whose probabilities sum to top_p
    (Holtzman et al. 2020).
    """
    largest_first = -np.sort(-p, axis=1)
    sums_before = np.cumsum(largest_first, axis=1, dtype=np.float64) - largest_first
    kept = np.minimum((sums_before < top_p * p.sum(axis=1, keepdims=True, dtype=np.float64)).sum(axis=1), top_k)
    return np.where(p < largest_first[np.arange(len(p)), np.maximum(kept, 1) - 1][:, None], 0, p)


def choose(p, bits):
    """Return a character for each row of p (B,V), drawn with 53 random bits (B,); bits None: the most probable."""
    if bits is None:
        return p.argmax(axis=1).astype(np.int32)
    cumulative = np.cumsum(p, axis=1, dtype=np.float64)
    # The first above the draw: exactly the distribution, and never a character of probability 0.
    return (cumulative > bits[:, None] * 2.0 ** -53 * cumulative[:, -1:]).argmax(axis=1).astype(np.int32)


def continue_texts(predict, prime, bits, n, choice, *states):
    """Return what ops.Sample computes: texts, int (m+n,B), and the states after all characters but the last.

    predict: a function from characters (T,B) and states to [probabilities (T*B,V) of what follows each character, or
    (B,V) of what follows the last ones, and the new states]. prime: int (m,B), the first characters, none of which has
    been read; bits: int (n,B) from 0 to 2^53 - 1, or (0,B) to take the most probable characters; choice: temperature,
    top_k and top_p.
    """
    temperature, top_k, top_p = choice
    text, unread = prime, prime
    if not n and len(prime) > 1:
        _, *states = predict(prime[:-1], *states)
    for k in range(n):
        p, *states = predict(unread, *states)
        p = p[-prime.shape[1]:]                                                    # (B, V) after the last step
        if temperature != 1:
            p = (p / p.max(axis=1, keepdims=True)) ** np.asarray(1 / temperature, p.dtype)
        p = likely(p, int(top_k), top_p)
        unread = choose(p, bits[k] if len(bits) else None)[None]
        text = np.concatenate([text, unread])
    return [text] + list(states)
