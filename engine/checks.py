"""Arguments that are out of range, refused in one line."""
import math
import numbers

import numpy as np


def whole(name, value, least):
    """Raises ValueError unless value is a whole number of at least `least`."""
    if not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f'{name} is {value!r}: expected a whole number, at least {least}')


def real(name, value, expected, fits):
    """Raises ValueError unless value is a finite number that fits; expected: what that means, in words."""
    if not (isinstance(value, numbers.Real) and math.isfinite(value) and fits(value)):
        raise ValueError(f'{name} is {value!r}: expected a number {expected}')


def characters(name, values, V):
    """Character numbers as int32 (T,B); shape (T,) counts as B = 1. Raises ValueError unless all are below V."""
    values = np.asarray(values)
    if values.dtype.kind not in 'iu' or values.ndim not in (1, 2) or values.size == 0:
        raise ValueError(f'{name} has type {values.dtype} and shape {values.shape}: expected character numbers of '
                         'shape (T, B) or (T,)')
    if values.min() < 0 or values.max() >= V:
        raise ValueError(f'{name} has character numbers from {values.min()} to {values.max()}: the model knows 0 to '
                         f'{V - 1}')
    return values.astype(np.int32).reshape(len(values), -1)


def learning(lrate, drate, eps, bptt_maxdepth, l1, l2, dropout, grad_clip, dropconnect, reset, average):
    """The learning parameters in a dict. Raises ValueError where one is out of range."""
    ranges = dict(lrate=(lrate, 'above 0', lambda v: v > 0), drate=(drate, 'from 0 to below 1', lambda v: 0 <= v < 1),
                  eps=(eps, 'above 0', lambda v: v > 0), l1=(l1, 'of at least 0', lambda v: v >= 0),
                  l2=(l2, 'of at least 0', lambda v: v >= 0),
                  grad_clip=(grad_clip, 'of at least 0', lambda v: v >= 0))
    for name, share in (('dropout', dropout), ('dropconnect', dropconnect), ('reset', reset), ('average', average)):
        ranges[name] = share, 'from 0 to below 1', lambda v: 0 <= v < 1
    for name, (value, expected, fits) in ranges.items():
        real(name, value, expected, fits)
    if bptt_maxdepth != -1:
        whole('bptt_maxdepth', bptt_maxdepth, 1)
        bptt_maxdepth = min(bptt_maxdepth, 2 ** 31 - 1)              # what C and Theano can count to
    # Python's own numbers: Theano takes a np.float64 for a request to compute in that type.
    return dict(lrate=float(lrate), drate=float(drate), eps=float(eps), bptt_maxdepth=int(bptt_maxdepth),
                l1=float(l1), l2=float(l2), dropout=float(dropout), grad_clip=float(grad_clip),
                dropconnect=float(dropconnect), reset=float(reset), average=float(average))
