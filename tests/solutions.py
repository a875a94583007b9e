"""Solutions of the exercises of the lesson."""
import numpy as np

from charlstm import CharLSTM, initial_parameters, network, output_layer, run_layer, tt


def coupled(f, o, g, C_prev, C, dh, dC):
    D = dC + dh * o * (1 - np.tanh(C) ** 2)
    return D * (C_prev - g) * f * (1 - f), dh * np.tanh(C) * o * (1 - o), D * (1 - f) * (1 - g ** 2), D * f


def peephole(f, i, o, g, p, C_prev, C, dh, dC):
    da_o = dh * np.tanh(C) * o * (1 - o)
    D = dC + dh * o * (1 - np.tanh(C) ** 2) + da_o * p
    da_f, da_i, da_g = D * C_prev * f * (1 - f), D * g * i * (1 - i), D * i * (1 - g ** 2)
    return da_f, da_i, da_o, da_g, D * f, (da_o * C).sum(axis=0)


def remember(n, share):
    f = share ** (1 / n)
    return np.log(f / (1 - f))


def weights(h):
    T, h = h.shape[0], h.dimshuffle(1, 0, 2)
    t, s = tt.arange(T)[:, None], tt.arange(T)[None, :]
    scores = tt.switch(s <= t, tt.batched_dot(h, h.dimshuffle(0, 2, 1)), -np.inf)          # (B, T, T)
    e = tt.exp(scores - scores.max(axis=2, keepdims=True))
    return e / e.sum(axis=2, keepdims=True)


class Attention(CharLSTM):
    @staticmethod
    def network(batch, p, ops, truncate=-1):
        layers = network(batch, p, ops, truncate).layers
        h2 = layers[1].h
        mean = tt.batched_dot(weights(h2), h2.dimshuffle(1, 0, 2)).dimshuffle(1, 0, 2)
        mask = 1 if batch.h_masks is None else batch.h_masks[1]
        return output_layer((h2 + mean) * mask, layers, batch, p, ops)


class Skip(CharLSTM):
    @staticmethod
    def initial_parameters(V, units, cell, initial, random):
        p = initial_parameters(V, units, cell, initial, random)
        return {**p, 'V': random.normal(0, 0.1, (V, sum(units)))}

    @staticmethod
    def network(batch, p, ops, truncate=-1):
        layer1 = run_layer(1, batch.x, batch, p, ops, truncate)
        layer2 = run_layer(2, layer1.dropped, batch, p, ops, truncate)
        h = tt.concatenate([each.dropped for each in (layer1, layer2)], axis=2)
        return output_layer(h, [layer1, layer2], batch, p, ops)
