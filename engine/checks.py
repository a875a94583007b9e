"""Checks of arguments: what is out of range is refused in one line."""
import numbers
import re
import sys

LARGEST = 2 ** 31 - 1                  # that C's and Theano's int can hold


def shown(value):
    """Return a value as a message shows it; a whole number must not fill the screen."""
    long = isinstance(value, numbers.Integral) and abs(value) >= 10 ** 18
    return f'a whole number of {len(hex(value)) - 2} hexadecimal digits' if long else repr(value)


def whole(name, value, least, most=LARGEST):
    """Raise ValueError unless value is a whole number of at least `least`, and at most `most`."""
    if not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f'{name} is {shown(value)}: expected a whole number, at least {least}')
    if value > most:
        raise ValueError(f'{name} is {shown(value)}: expected at most {most:,}')


def real(name, value, expected, fits):
    """Return value as a float. Raise ValueError unless it is finite and fits(value); expected: that in words."""
    # Not math.isfinite, which fails for whole numbers of hundreds of digits.
    if not (isinstance(value, numbers.Real) and -sys.float_info.max <= value <= sys.float_info.max and fits(value)):
        raise ValueError(f'{name} is {shown(value)}: expected a number {expected}')
    return float(value)                # Python's own: Theano takes a np.float64 for a request to compute in that type


def characters(name, values, V):
    """Return character numbers as int32 (T,B), from shape (T,B) or (T,). Raise ValueError unless all are below V."""
    import numpy as np                 # late, so that --help does not wait for it
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
    if value != -1:
        whole(name, value, 1, most=float('inf'))
    return min(int(value), LARGEST)


AT_LEAST_0 = real, 'of at least 0', lambda v: v >= 0
BELOW_1 = real, 'from 0 to below 1', lambda v: 0 <= v < 1
LEFT_OUT = real, 'from 0 to at most 0.9999', lambda v: 0 <= v <= 0.9999        # by steps of a 65,536th

# The learning parameters of model_setup: the function that checks each, and its arguments after name and value. What
# train.py refuses and what a checkpoint may hold follow from this table.
RANGES = {'lrate': (real, 'above 0', lambda v: v > 0), 'drate': BELOW_1,
          'eps': (real, 'of at least 1e-37', lambda v: v >= 1e-37), 'bptt_maxdepth': (depth,),
          'l1': AT_LEAST_0, 'l2': AT_LEAST_0, 'dropout': LEFT_OUT, 'grad_clip': AT_LEAST_0, 'step_clip': AT_LEAST_0,
          'dropconnect': LEFT_OUT, 'smoothing': BELOW_1, 'ar': AT_LEAST_0, 'tar': AT_LEAST_0,
          'reset': BELOW_1, 'average': BELOW_1}


def learning(arguments):
    """Return those of arguments, a dict by name, that are in RANGES, as Python's own numbers.

    Raise ValueError where one is out of range.
    """
    return {name: check(name, arguments[name], *limits)
            for name, (check, *limits) in RANGES.items() if name in arguments}


def changed_learning(before, after):
    """Return learning parameters that a user has changed, as Python's own numbers.

    before: those of model_setup. Raise ValueError for other names, for values out of range, and for a change that has
    no effect after model_setup.
    """
    if set(after) != set(before):
        raise ValueError(f'lp has or lacks {", ".join(sorted(map(str, set(before) ^ set(after))))}: expected '
                         f'{", ".join(before) or "nothing before model_setup"}')
    after = learning(after)
    if after.get('lrate') != before.get('lrate'):
        raise ValueError(f"lp['lrate'] is {after['lrate']}, but it was {before['lrate']} and is only the first rate: "
                         'set dyn_lrate instead')
    if bool(after.get('average')) != bool(before.get('average')):
        raise ValueError(f"lp['average'] is {after['average']}, but it was {before['average']}: an average begins and "
                         'ends only with model_setup')
    return after


def cell_parameters(initial):
    """Return a cell's own parameters, name to initial value. Raise ValueError for what a checkpoint cannot hold."""
    if not isinstance(initial, dict):
        raise ValueError(f'cell_parameters is {initial!r}: expected a dict of names to initial values')
    for name, value in initial.items():
        if not own_name(name):
            raise ValueError(f'the cell has a parameter {name!r}: expected a name of letters and digits, none of '
                             'U, W, b, h, C, a_f, a_i, a_o, a_g, C_prev, t0, t1 ..., m_..., state_..., raw_..., '
                             'carried_... and trial_...')
        real(f'the initial value of {name}', value, 'for all units', lambda v: True)
    return dict(initial)


def own_name(name):
    """Return whether a parameter of a cell may have this name: nothing else has it in a checkpoint or a formula."""
    return (isinstance(name, str) and name.isidentifier() and len(name) < 100
            and not re.fullmatch(r'U|W|b|h|C|a_[fiog]|C_prev|t\d+|(m|state|raw|carried|trial)_.*', name))
