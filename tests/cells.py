"""Cells that the tests train with, the same cells in NumPy, and the code in "Changing the model" of the READMEs."""
import inspect
import re
from pathlib import Path

import numpy as np

from charlstm import CharLSTM, lstm_cell, tt
from engine.graph.formula import OPERATIONS, PRODUCTS
from engine.lesson.cells import GRU, GRU2014, MLSTM, RNN, SLSTM, MinGRU, Normalised, Peepholes
from engine.page.page import LSTM
from numpy_model import lstm, same, sigmoid

OWN = ('p_f', 'p_i', 'p_o')            # parameters of the cell with peepholes
peephole_cell = Peepholes.cell
READMES = [(Path(__file__).resolve().parents[1] / folder / 'README.md').read_text(encoding='utf-8')
           for folder in ('', 'engine')]
SECTIONS = [text.split('\n## Changing the model\n')[1].split('\n## ')[0] for text in READMES]
README_CODE = re.findall(r'```python\n(.*?)```', ''.join(SECTIONS), re.DOTALL)      # two cells, Adam, networks


def fourth_powers(parameters, l1, l2):
    return sum(l1 * abs(p).sum() + l2 * (p ** 4).sum() for p in parameters)


def readme_classes():
    """Return the classes in the READMEs by name, and Fourth, with another penalty."""
    names = {}
    exec(''.join(README_CODE), names)
    return {**names, 'Fourth': type('Fourth', (CharLSTM,), dict(penalty=staticmethod(fourth_powers)))}


def coupled_cell(a_f, a_i, a_o, a_g, C_prev):
    f = tt.nnet.sigmoid(a_f)
    C = f * C_prev + (1 - f) * tt.tanh(a_g)
    return tt.nnet.sigmoid(a_o) * tt.tanh(C), C


def odd_cell(a_f, a_i, a_o, a_g, C_prev):
    """Return h and C from many operations; the backward pass reads more than four values of the forward pass."""
    C = tt.clip(tt.nnet.relu(a_f) * 0.1, 0, 1) * C_prev + (
        tt.exp(-a_i ** 2) * tt.log(1 + abs(a_g)) / (1 + tt.sqrt(1.5 + a_f ** 2)))
    return tt.switch(a_o > 0, (1 + a_o ** 2) ** -0.75, tt.expm1(a_o)) * tt.maximum(C, tt.nnet.softplus(-C)), C


def logical_cell(a_f, a_i, a_o, a_g, C_prev):
    """Return h and C from comparisons in arithmetic, needed brackets, infinity, and clip bounds in reverse."""
    f, i = tt.nnet.sigmoid(a_f), tt.nnet.sigmoid(a_i)
    kept = tt.minimum(f * C_prev - (1 - i) * tt.tanh(a_g), np.inf)
    C = tt.maximum(kept + i * tt.tanh(a_g), -0.3) + ((a_i > 0) | (a_g > 0.1)) * 0.125 - (-(-kept)) * 0.25  # noqa: B002
    bounded = tt.clip(C, tt.tanh(a_f), -0.2) * ~(a_g < -0.5)
    both = ((a_o > 0) + (a_f > 0)).astype(C.dtype)                 # + of bools is or
    return tt.switch(a_o > -0.5, bounded - (kept - (C - f)), tt.tanh(C) * both), C


def three_states(h_r, a_f, x_g, a_o, C_prev, n_prev, kept_prev, p_f=0.5, q=-0.25):
    """Return h and three states from rows of all kinds; C is read by no other state, and kept by h alone."""
    n = tt.nnet.sigmoid(a_f + p_f * n_prev) * n_prev + tt.exp(-tt.sqr(x_g))
    C = tt.tanh(h_r) * C_prev + q * x_g
    kept = tt.minimum(tt.maximum(kept_prev * 0.5, a_o), 0.7)
    return tt.nnet.sigmoid(a_o) * tt.tanh(C / (1 + abs(n))) + 0.1 * kept, C, n, kept


def sums_cell(x_n, h_r, a_f, C_prev, n_prev, p=0.3):
    """Return h and two states from sums of a sum, a state, an own parameter and a softmax; a state is a sum."""
    def total(a):
        return a.sum(axis=1, keepdims=True)
    e = tt.exp(a_f - 0.01 * total(a_f - 0.9 * a_f.mean(axis=-1, keepdims=True)))
    C = tt.nnet.sigmoid(a_f) * C_prev + e / total(e) * x_n
    h = tt.tanh(h_r) * tt.nnet.sigmoid(C_prev.mean(axis=1, keepdims=True)) + p * n_prev / (1 + total(p * p))
    return h, C, 0 * n_prev + total(tt.tanh(C_prev)) / 7


def same_sums_cell(a_f, a_g, C_prev, n_prev):
    """Return h and two states from sums of what is the same for all units, also in gradients, and their comparisons."""
    def total(a):
        return a.sum(axis=1)[:, None]
    C = tt.tanh(C_prev - tt.sqr(C_prev).mean(axis=1).dimshuffle(0, 'x') + a_f / tt.cast(a_f.shape[1], C_prev.dtype))
    both = (total(a_g) > 0).astype(C.dtype) + (total(a_g) > -9) - total(tt.ones_like(a_f)) / 7
    n = total(C_prev + total(tt.tanh(a_f))) + tt.zeros_like(n_prev)
    return tt.tanh(a_f) * (total(C) - total(n) / 99) / 9 + 0.1 * both * tt.tanh(a_g), C, tt.tanh(n / 99)


def products_cell(a_f, x_g, C_prev, n_prev, M_a, M_b, p=lambda units, random: random.uniform(0.1, 1, units)):
    """Return h and two states from products of a state, a product, a constant, and with a transpose, and their sums."""
    q = tt.dot(C_prev, M_a)
    r = tt.dot(tt.tanh(x_g * q) + p * a_f, M_b.T)
    n = n_prev * 0.5 + tt.tanh(r - r.mean(axis=1, keepdims=True)) + tt.dot(tt.tanh(a_f), M_a)
    C = tt.nnet.sigmoid(a_f) * C_prev + tt.dot(tt.sqr(n), M_b) * x_g + tt.dot(tt.ones_like(n), M_a) / 9
    return tt.tanh(C) * q.sum(axis=1, keepdims=True), tt.tanh(C), tt.tanh(n)


def ordered_cell(a_m, a_f, x_g, C_prev, K_up=lambda units: np.tri(units, k=-1) / 64,
                 K_least=lambda units: np.linspace(0, 0.5, units)):
    """Return h and C from a cumulative softmax, constants, a maximum, and a product of a constant."""
    m = 0.75 * tt.cumsum(tt.nnet.softmax(a_m), axis=1) + K_least - K_least.mean(axis=1, keepdims=True)
    C = m * C_prev + tt.nnet.sigmoid(a_f - (0.7 * a_f + x_g * C_prev).max(axis=1, keepdims=True)) * x_g
    return tt.tanh(C + tt.dot(C_prev, K_up)), C


def sorted_cell(a_f, C_prev):
    """Return the same h and C from an operation that C does not have."""
    return 2 * (0.5 * C_prev + tt.tanh(tt.sort(a_f, axis=1)),)


# The same in NumPy. A matrix is a function of a vector.
# keep: a function of a state and its name that may hold units of it.

def coupled_in_numpy(a_f, a_o, a_g, C_prev, keep=same):
    C = keep(sigmoid(a_f) * C_prev + (1 - sigmoid(a_f)) * np.tanh(a_g))
    return sigmoid(a_o) * np.tanh(C), C


def no_forget_in_numpy(a_i, a_o, a_g, C_prev, keep=same):
    C = keep(C_prev + sigmoid(a_i) * np.tanh(a_g))
    return sigmoid(a_o) * np.tanh(C), C


standard_in_numpy = lstm


def peephole_in_numpy(a_f, a_i, a_o, a_g, C_prev, p_f, p_i, p_o, keep=same):
    C = keep(sigmoid(a_f + p_f * C_prev) * C_prev + sigmoid(a_i + p_i * C_prev) * np.tanh(a_g))
    return sigmoid(a_o + p_o * C) * np.tanh(C), C


def rnn_in_numpy(a_h, C_prev, keep=same):
    h = keep(np.tanh(a_h))
    return h, h


def gru_in_numpy(a_z, a_r, x_n, h_n, C_prev, keep=same):
    h = keep(sigmoid(a_z) * C_prev + (1 - sigmoid(a_z)) * np.tanh(x_n + sigmoid(a_r) * h_n))
    return h, h


def gru_2014_in_numpy(a_z, a_r, x_n, C_prev, M_n, keep=same):
    h = keep(sigmoid(a_z) * C_prev + (1 - sigmoid(a_z)) * np.tanh(x_n + M_n(sigmoid(a_r) * C_prev)))
    return h, h


def mlstm_in_numpy(x_f, x_i, x_o, x_g, x_m, h_m, C_prev, M_f, M_i, M_o, M_g, keep=same):
    m = x_m * h_m
    C = keep(sigmoid(x_f + M_f(m)) * C_prev + sigmoid(x_i + M_i(m)) * np.tanh(x_g + M_g(m)))
    return sigmoid(x_o + M_o(m)) * np.tanh(C), C


def mingru_in_numpy(x_z, x_n, C_prev, keep=same):
    h = keep((1 - sigmoid(x_z)) * C_prev + sigmoid(x_z) * x_n)
    return h, h


def slstm_in_numpy(a_f, a_i, a_o, a_z, C_prev, n_prev, m_prev, keep=same):
    log_f = -np.log1p(np.exp(-a_f))
    m = keep(np.maximum(log_f + m_prev, a_i), 'm')
    n = keep(np.exp(log_f + m_prev - m) * n_prev + np.exp(a_i - m), 'n')
    C = keep(np.exp(log_f + m_prev - m) * C_prev + np.exp(a_i - m) * np.tanh(a_z))
    return sigmoid(a_o) * C / n, C, n, m


def normalised(a):
    return (a - a.mean(axis=0)) / np.sqrt(a.var(axis=0) + 1e-5)


def normalised_in_numpy(a_f, a_i, a_o, a_g, C_prev, s_f, s_i, s_o, s_g, s_C, b_f, b_C, keep=same):
    C = keep(sigmoid(s_f * normalised(a_f) + b_f) * C_prev +
             sigmoid(s_i * normalised(a_i)) * np.tanh(s_g * normalised(a_g)))
    return sigmoid(s_o * normalised(a_o)) * np.tanh(s_C * normalised(C) + b_C), C


def three_in_numpy(h_r, a_f, x_g, a_o, C_prev, n_prev, kept_prev, p_f, q, keep=same):
    n = keep(sigmoid(a_f + p_f * n_prev) * n_prev + np.exp(-x_g ** 2), 'n')
    C, kept = keep(np.tanh(h_r) * C_prev + q * x_g), keep(np.clip(a_o, kept_prev / 2, 0.7), 'kept')
    return sigmoid(a_o) * np.tanh(C / (1 + abs(n))) + 0.1 * kept, C, n, kept


def ordered_in_numpy(a_m, a_f, x_g, C_prev, keep=same):
    e = np.exp(a_m - a_m.max(axis=0))
    m = 0.75 * (e / e.sum(axis=0)).cumsum(axis=0) + np.linspace(0, 0.5, len(a_m))[:, None] - 0.25
    C = keep(m * C_prev + sigmoid(a_f - (0.7 * a_f + x_g * C_prev).max(axis=0)) * x_g)
    return np.tanh(C + (C_prev[::-1].cumsum(axis=0)[::-1] - C_prev) / 64), C


# Cells of the table of ways: in Theano and in NumPy.
CELLS = {'standard': (lstm_cell, lstm), 'RNN': (RNN.cell, rnn_in_numpy), 'GRU': (GRU.cell, gru_in_numpy),
         'GRU of 2014': (GRU2014.cell, gru_2014_in_numpy), 'multiplicative LSTM': (MLSTM.cell, mlstm_in_numpy),
         'minGRU': (MinGRU.cell, mingru_in_numpy), 'sLSTM': (SLSTM.cell, slstm_in_numpy),
         'peepholes': (Peepholes.cell, peephole_in_numpy), 'normalised': (Normalised.cell, normalised_in_numpy),
         'three states': (three_states, three_in_numpy), 'ordered': (ordered_cell, ordered_in_numpy)}


def in_lab(function):
    """Return the code of a cell in Python as a formula for a page's laboratory."""
    return inspect.getsource(function).replace('@staticmethod', '')


# Cells that a page's laboratory can train, by formula.
LAB = {'standard': LSTM, **{name: in_lab(CELLS[name][0]) for name in ('RNN', 'GRU', 'minGRU', 'sLSTM')}}


def evaluate(code, inputs):
    """Return the outputs of code in NumPy, all in the shape and type of C_prev. inputs: arrays by name."""
    values, like = dict(inputs), inputs['before[0]']
    with np.errstate(all='ignore'):
        for name, operation, arguments in code.lines:
            numbers = [values.get(value, value) for value in arguments] or [like]
            out = [np.empty_like(like)] * (operation in PRODUCTS)
            values[name] = 1.0 * OPERATIONS[operation][1](*numbers, *out)
    return [np.broadcast_to(np.asarray(values.get(value, value), like.dtype), like.shape) for value in code.outputs]
