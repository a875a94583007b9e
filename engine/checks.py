"""Arguments that are out of range, refused in one line."""
import numbers
import re
import sys

LARGEST = 2 ** 31 - 1                  # that C's and Theano's int can hold


def shown(value):
    """A value for a message, in which a whole number may not fill the screen."""
    long = isinstance(value, numbers.Integral) and abs(value) >= 10 ** 18
    return f'a whole number of {len(hex(value)) - 2} hexadecimal digits' if long else repr(value)


def whole(name, value, least, most=LARGEST):
    """Raises ValueError unless value is a whole number of at least `least`, and at most `most`."""
    if not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f'{name} is {shown(value)}: expected a whole number, at least {least}')
    if value > most:
        raise ValueError(f'{name} is {shown(value)}: expected at most {most:,}')


def real(name, value, expected, fits):
    """Raises ValueError unless value is a finite number that fits; expected: what that means, in words."""
    # Not math.isfinite, which fails for whole numbers of hundreds of digits.
    if not (isinstance(value, numbers.Real) and -sys.float_info.max <= value <= sys.float_info.max and fits(value)):
        raise ValueError(f'{name} is {shown(value)}: expected a number {expected}')


def characters(name, values, V):
    """Character numbers as int32 (T,B); shape (T,) counts as B = 1. Raises ValueError unless all are below V."""
    import numpy as np                 # late, so that --help does not wait for it
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
                  eps=(eps, 'of at least 1e-37', lambda v: v >= 1e-37), l1=(l1, 'of at least 0', lambda v: v >= 0),
                  l2=(l2, 'of at least 0', lambda v: v >= 0),
                  grad_clip=(grad_clip, 'of at least 0', lambda v: v >= 0))
    for name, share in (('reset', reset), ('average', average)):
        ranges[name] = share, 'from 0 to below 1', lambda v: 0 <= v < 1
    for name, share in (('dropout', dropout), ('dropconnect', dropconnect)):             # by steps of a 65,536th
        ranges[name] = share, 'from 0 to at most 0.9999', lambda v: 0 <= v <= 0.9999
    for name, (value, expected, fits) in ranges.items():
        real(name, value, expected, fits)
    if bptt_maxdepth != -1:
        whole('bptt_maxdepth', bptt_maxdepth, 1, most=float('inf'))
        bptt_maxdepth = min(bptt_maxdepth, LARGEST)
    # Python's own numbers: Theano takes a np.float64 for a request to compute in that type.
    return dict(lrate=float(lrate), drate=float(drate), eps=float(eps), bptt_maxdepth=int(bptt_maxdepth),
                l1=float(l1), l2=float(l2), dropout=float(dropout), grad_clip=float(grad_clip),
                dropconnect=float(dropconnect), reset=float(reset), average=float(average))


def cell_parameters(initial):
    """Return a cell's own parameters, name to initial value. Raises ValueError for what a checkpoint cannot hold."""
    if not isinstance(initial, dict):
        raise ValueError(f'cell_parameters is {initial!r}: expected a dict of names to initial values')
    for name, value in initial.items():
        if not own_name(name):
            raise ValueError(f'the cell has a parameter {name!r}: expected a name of letters and digits, none of '
                             'U, W, b, h, C, t0, t1 ..., m_..., raw_..., carried_... and trial_...')
        real(f'the initial value of {name}', value, 'for all units', lambda v: True)
    return dict(initial)


def own_name(name):
    """Whether the parameters of a cell may have this name, which nothing else has in a checkpoint or its formula."""
    return (isinstance(name, str) and name.isidentifier() and len(name) < 100
            and not re.fullmatch(r'U|W|b|h|C|t\d+|(m|raw|carried|trial)_.*', name))
