"""A solution of the exercise `attention` of the lesson: train.py --cell tests/attention.py:Attention"""
import numpy as np

from charlstm import CharLSTM, network, output_layer, tt


def attention(h):
    """Return for each step t of h (T,B,H) a mean of h over the steps s up to t, with weights softmax(h_t . h_s)."""
    T, h = h.shape[0], h.dimshuffle(1, 0, 2)
    t, s = tt.arange(T)[:, None], tt.arange(T)[None, :]
    scores = tt.switch(s <= t, tt.batched_dot(h, h.dimshuffle(0, 2, 1)), -np.inf)          # (B, T, T)
    weights = tt.exp(scores - scores.max(axis=2, keepdims=True))
    return tt.batched_dot(weights / weights.sum(axis=2, keepdims=True), h).dimshuffle(1, 0, 2)


class Attention(CharLSTM):
    """The scores also see h2 of earlier steps."""

    @staticmethod
    def network(batch, p, ops, truncate=-1):
        layers = network(batch, p, ops, truncate).layers
        h2 = layers[1].h
        mask = 1 if batch.h_masks is None else batch.h_masks[1]
        return output_layer((h2 + attention(h2)) * mask, layers, batch, p, ops)
