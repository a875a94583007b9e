"""Check arguments, and refuse bad ones in one line. NumPy is imported late, since --help does not need it."""
import codecs
import math
import numbers

MOST_LAYERS = 9                # so that the last character of a parameter's name is the number of its layer


def choice(name, value, choices):
    """Return value. Raise ValueError unless it is one of the choices."""
    if value not in choices:
        raise ValueError(f'{name} is {value!r}: expected one of {", ".join(map(repr, choices))}')
    return value


def flag(name, value):
    """Return value. Raise ValueError unless it is True or False: any string, even 'off', would count as True."""
    if not isinstance(value, bool):
        raise ValueError(f'{name} is {value!r}: expected True or False')
    return value


def whole(name, value, least, most=2 ** 31 - 1):           # the largest that C's and Theano's int can hold
    """Return value as an int. Raise ValueError unless it is a whole number from `least` to `most`."""
    if not (isinstance(value, numbers.Integral) and least <= value <= most):
        limit = '' if most == math.inf else f' and at most {most:,}'
        raise ValueError(f'{name} is {value!r}: expected a whole number, at least {least}{limit}')
    return int(value)


def real(name, value, expected, is_valid):
    """Return value as a Python float. Raise ValueError unless it is finite and is_valid(value). expected: in words."""
    if not (isinstance(value, numbers.Real) and math.isfinite(value) and is_valid(value)):
        raise ValueError(f'{name} is {value!r}: expected a finite number {expected}')
    return float(value)                # a np.float64 would make Theano compute in float64


def units(name, value):
    """Return the units of each layer as a list. Raise ValueError unless it has 1 to MOST_LAYERS whole numbers."""
    if not (isinstance(value, (list, tuple)) and 1 <= len(value) <= MOST_LAYERS):
        raise ValueError(f'{name} is {value!r}: expected the units of each of 1 to {MOST_LAYERS} layers')
    return [whole(name, each, 1) for each in value]


def encoding(name, value):
    """Return the name of the codec for a text encoding. Raise ValueError if there is none."""
    try:
        ''.encode(value)                                   # also refuses codecs that are not for text
        return codecs.lookup(value).name
    except (LookupError, TypeError, UnicodeError):
        raise ValueError(f'{name} is {value!r}, an unknown text encoding: try utf-8, latin-1 or cp1252') from None


def characters(name, values, V):
    """Return character numbers as int32 (T,B), from shape (T,B) or (T,). Raise ValueError unless all are below V."""
    import numpy as np
    values = np.asarray(values)
    if not (values.size and values.dtype.kind in 'iu' and values.ndim in (1, 2)
            and values.view(f'u{values.itemsize}').max() < V):             # negative ones become large
        raise ValueError(f'{name} has type {values.dtype} and shape {values.shape}: expected numbers below {V}, (T,B)')
    return values.astype(np.int32, order='C').reshape(len(values), -1)


def widths(units, S):
    """Return the widths of the states of all layers: for each H of units, h is H wide, and C, of S states, SH."""
    return [n * H for H in units for n in (1, S)]


def states(values, B, widths):
    """Return arrays, the states of a model. Raise ValueError unless their shapes are (B, each of widths)."""
    found, expected = [value.shape for value in values], [(B, width) for width in widths]
    if found != expected:
        raise ValueError(f'the states have shapes {found}: expected {expected}')
    return values
