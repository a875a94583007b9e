"""Checks of arguments: what is out of range is refused in one line."""
import array
import codecs
import math
import numbers
import os
import re
import sys

LARGEST = 2 ** 31 - 1                  # that C's and Theano's int can hold


def shown(value):
    """Return a value as a message shows it; a whole number must not fill the screen."""
    long = isinstance(value, numbers.Integral) and abs(value) >= 10 ** 18
    return 'a whole number of more than 18 digits' if long else repr(value)


def choice(name, value, choices):
    """Raise ValueError unless value is one of the choices, strings."""
    if not (isinstance(value, str) and value in choices):
        raise ValueError(f'{name} is {shown(value)}: expected one of {", ".join(map(repr, choices))}')


def flag(name, value):
    """Return value as a bool. Raise ValueError unless it is True or False: any text, also 'off', would count as True.
    """
    import numpy as np                 # late, so that --help does not wait for it
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f'{name} is {shown(value)}: expected True or False')
    return bool(value)


def whole(name, value, least, most=LARGEST):
    """Return value as an int. Raise ValueError unless it is a whole number of at least `least`, and at most `most`."""
    if not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f'{name} is {shown(value)}: expected a whole number, at least {least}')
    if value > most:
        raise ValueError(f'{name} is {shown(value)}: expected at most {most:,}')
    return int(value)


def real(name, value, expected, fits):
    """Return value as a float. Raise ValueError unless it is finite and fits(value); expected: that in words."""
    # Not math.isfinite, which fails for whole numbers of hundreds of digits.
    if not (isinstance(value, numbers.Real) and -sys.float_info.max <= value <= sys.float_info.max and fits(value)):
        raise ValueError(f'{name} is {shown(value)}: expected a finite number {expected}')
    return float(value)                # Python's own: Theano takes a np.float64 for a request to compute in that type


def real32(name, value, expected, fits):
    """Return value as a float, as real does. Raise ValueError also where float32 makes it another kind of number.

    That is infinity, one that does not fit, or 0, which turns some options off.
    """
    value = real(name, value, expected, fits)
    near = array.array('f', [value])[0]
    if not (math.isfinite(near) and fits(near) and (near or not value)):
        raise ValueError(f'{name} is {value!r}, which float32 rounds to {near:g}: expected a number that it can hold, '
                         f'{expected}')
    return value


def temperature(value):
    """Return the temperature of a softmax. Raise ValueError if it is below 0.

    0 means the most probable character, as does all below 1e-30, which float32 can hold.
    """
    return max(real('temperature', value, 'at least 0', lambda v: v >= 0), 1e-30)


def encoding(name, value):
    """Return the name of the codec of a text encoding. Raise ValueError where there is none."""
    try:
        ''.encode(value)                                   # also refuses codecs that are not of text
        return codecs.lookup(value).name
    except (LookupError, TypeError, UnicodeError):
        raise ValueError(f'{name} is {value!r}, an unknown text encoding: try utf-8, latin-1 or cp1252') from None


def path(name, value):
    """Return a path as a string. Raise ValueError where it is none."""
    try:
        return os.fsdecode(value)
    except TypeError:
        raise ValueError(f'{name} is {value!r}: expected a path') from None


def characters(name, values, V):
    """Return character numbers as int32 (T,B), from shape (T,B) or (T,). Raise ValueError unless all are below V."""
    import numpy as np                 # late, as in flag
    values = np.asarray(values)
    if values.dtype.kind not in 'iu' or values.ndim not in (1, 2) or values.size == 0:
        raise ValueError(f'{name} has type {values.dtype} and shape {values.shape}: expected character numbers of '
                         'shape (T, B) or (T,)')
    if values.min() < 0 or values.max() >= V:
        raise ValueError(f'{name} has character numbers from {values.min()} to {values.max()}: the model knows 0 to '
                         f'{V - 1}')
    return values.astype(np.int32).reshape(len(values), -1)


def depth(name, value):
    """Return a number of steps as an int. Raise ValueError unless it is -1, for all, or at least 1."""
    if value != -1 and not (isinstance(value, numbers.Integral) and value >= 1):
        raise ValueError(f'{name} is {shown(value)}: expected a whole number, at least 1, or -1 for all')
    return min(int(value), LARGEST)


def cell_parameters(initial):
    """Return a cell's own parameters, name to initial value. Raise ValueError for what a checkpoint cannot hold."""
    if not isinstance(initial, dict):
        raise ValueError(f'cell_parameters is {initial!r}: expected a dict of names to initial values')
    for name, value in initial.items():
        if not own_name(name):
            raise ValueError(f'the cell has a parameter {name!r}: expected a name of letters and digits, none of '
                             'U, W, b, h, C, a_f, a_i, a_o, a_g, C_prev, t0, t1 ..., m_..., state_..., weights_..., '
                             'carried_... and validation_...')
        real32(f'the initial value of {name}', value, 'for all units', lambda v: True)
    return dict(initial)


def own_name(name):
    """Return whether a parameter of a cell may have this name: nothing else has it in a checkpoint or a formula."""
    return (isinstance(name, str) and name.isidentifier() and len(name) < 100
            and not re.fullmatch(r'U|W|b|h|C|a_[fiog]|C_prev|t\d+|(m|state|weights|carried|validation)_.*', name))
