"""Cells that the tests train with, the same cells in NumPy, and the code in "Changing the model" of the READMEs."""
import re
from pathlib import Path

import numpy as np

from charlstm import tt
from engine.kernel.formula import OPERATIONS
from numpy_model import same, sigmoid

OWN = ('p_f', 'p_i', 'p_o')            # parameters of the cell with peepholes
READMES = [(Path(__file__).resolve().parents[1] / folder / 'README.md').read_text(encoding='utf-8')
           for folder in ('', 'engine')]
SECTIONS = [text.split('\n## Changing the model\n')[1].split('\n## ')[0] for text in READMES]
README_CODE = re.findall(r'```python\n(.*?)```', ''.join(SECTIONS), re.DOTALL)      # a cell, two more, Adam, a penalty


def readme_classes():
    """Return the classes in the READMEs by name: Coupled, Peepholes, Normalised and Adam."""
    names = {}
    exec(''.join(README_CODE[:3]), names)
    return names


def coupled_cell(a_f, a_i, a_o, a_g, C_prev):
    f = tt.nnet.sigmoid(a_f)
    C = f * C_prev + (1 - f) * tt.tanh(a_g)
    return tt.nnet.sigmoid(a_o) * tt.tanh(C), C


def peephole_cell(a_f, a_i, a_o, a_g, C_prev, p_f, p_i, p_o):
    f, i = tt.nnet.sigmoid(a_f + p_f * C_prev), tt.nnet.sigmoid(a_i + p_i * C_prev)
    C = f * C_prev + i * tt.tanh(a_g)
    return tt.nnet.sigmoid(a_o + p_o * C) * tt.tanh(C), C


def odd_cell(a_f, a_i, a_o, a_g, C_prev):
    """Return h and C from many operations; the backward pass reads more than four values of the forward pass."""
    C = tt.clip(tt.nnet.relu(a_f) * 0.1, 0, 1) * C_prev + (
        tt.exp(-a_i ** 2) * tt.log(1 + abs(a_g)) / (1 + tt.sqrt(1.5 + a_f ** 2)))
    return tt.switch(a_o > 0, (1 + a_o ** 2) ** -0.75, tt.expm1(a_o)) * tt.maximum(C, tt.nnet.softplus(-C)), C


def logical_cell(a_f, a_i, a_o, a_g, C_prev):
    """Return h and C from comparisons in arithmetic, needed brackets, a maximum of a sum and clip bounds in reverse."""
    f, i = tt.nnet.sigmoid(a_f), tt.nnet.sigmoid(a_i)
    kept = f * C_prev - (1 - i) * tt.tanh(a_g)
    C = tt.maximum(kept + i * tt.tanh(a_g), -0.3) + ((a_i > 0) | (a_g > 0.1)) * 0.125 - (-(-kept)) * 0.25  # noqa: B002
    bounded = tt.clip(C, tt.tanh(a_f), -0.2) * ~(a_g < -0.5)
    both = ((a_o > 0) + (a_f > 0)).astype(C.dtype)                 # + of bools is or
    return tt.switch(a_o > -0.5, bounded - (kept - (C - f)), tt.tanh(C) * both), C


def coupled_in_numpy(a_f, a_i, a_o, a_g, C_prev, keep=same):
    C = keep(sigmoid(a_f) * C_prev + (1 - sigmoid(a_f)) * np.tanh(a_g))
    return sigmoid(a_o) * np.tanh(C), C


def peephole_in_numpy(a_f, a_i, a_o, a_g, C_prev, p_f, p_i, p_o, keep=same):
    C = keep(sigmoid(a_f + p_f * C_prev) * C_prev + sigmoid(a_i + p_i * C_prev) * np.tanh(a_g))
    return sigmoid(a_o + p_o * C) * np.tanh(C), C


def evaluate(code, inputs):
    """Return the outputs of code in NumPy, all in the shape and type of C_prev. inputs: arrays by name."""
    values, like = dict(inputs), inputs['C_prev']
    with np.errstate(all='ignore'):
        for name, operation, arguments in code.lines:
            values[name] = 1.0 * OPERATIONS[operation][1](*[values.get(value, value) for value in arguments])
    return [np.broadcast_to(np.asarray(values.get(value, value), like.dtype), like.shape) for value in code.outputs]
