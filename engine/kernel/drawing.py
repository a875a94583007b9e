"""Drawing characters (B,) and writing texts (T,B) in NumPy, where C cannot write them."""
import numpy as np


def likely(p, top_k, top_p):
    """Return probabilities p (B,V), zero where top_k or top_p excludes a character.

    Only the top_k most probable remain, and of these only the fewest that have a share top_p of the probability of all
    that remain (Holtzman et al. 2020), each time with those as probable as the last.
    """
    largest_first = -np.sort(-p, axis=1)
    p = np.where(p < largest_first[:, [min(top_k, p.shape[1]) - 1]], 0, p)
    if top_p >= 1:
        return p
    sums_before = np.cumsum(largest_first, axis=1, dtype=np.float64) - largest_first
    kept = (sums_before < top_p * p.sum(axis=1, keepdims=True, dtype=np.float64)).sum(axis=1)
    return np.where(p < largest_first[np.arange(len(p)), np.maximum(kept, 1) - 1][:, None], 0, p)


def choose(p, bits):
    """Return a character for each row of p (B,V), drawn with 53 random bits (B,)."""
    cumulative = np.cumsum(p, axis=1, dtype=np.float64)
    # The first above the draw: exactly the distribution, and never a character of probability 0.
    return (cumulative > bits[:, None] * 2.0 ** -53 * cumulative[:, -1:]).argmax(axis=1).astype(np.int32)


def continue_texts(predict, prime, bits, n, choice, *states):
    """Return what ops.Sample computes: texts, int (m+n,B), and the states after all characters but the last.

    predict: a function from characters (T,B) and states to log probabilities (T*B,V) and new states. Rest: as there.
    """
    temperature, top_k, top_p = choice
    text, unread = prime, prime
    for k in range(n):
        logs, *states = predict(unread, *states)
        logs = logs[-prime.shape[1]:]                                              # (B, V) after the last step
        if len(bits):
            with np.errstate(over='ignore'):               # to -inf, at low temperatures
                p = np.exp((logs - logs.max(axis=1, keepdims=True)) / temperature)
            unread = choose(likely(p, int(top_k), top_p), bits[k])[None]
        else:
            unread = logs.argmax(axis=1).astype(np.int32)[None]
        text = np.concatenate([text, unread])
    return [text, *states]
