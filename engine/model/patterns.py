"""Patterns that untrusted values of JSON must match: a checkpoint's metadata and the record of a run.

Nothing here needs NumPy, so that --help does not wait for it.
"""
import os
import re

LARGEST = 1e300
MOST = 10 ** 9                         # epochs and the like
LONGEST_FORMULA = 1 << 16              # characters
LONGEST = 4096                         # characters of other strings: systems allow no longer path
DEEPEST = 20                           # levels of lists and dicts: at some 1,000, Python itself fails


def whole(value, below=2 ** 63):
    """Return whether a value is a whole number, at least 0 and less than `below`."""
    return type(value) is int and 0 <= value < below


def number(value):
    """Return whether a value is a finite number, not a truth value."""
    return type(value) in (int, float) and -LARGEST < value < LARGEST      # false for nan


def nats(value):
    """Return whether a value can be a cost or a sum of costs: none is below zero."""
    return number(value) and value >= 0


def positive(value):
    """Return whether a value is a finite number above zero."""
    return number(value) and value > 0


def string(value):
    """Return whether a value is a string that an option or a path can be."""
    if not isinstance(value, str) or len(value) > LONGEST or '\0' in value:
        return False
    try:
        value.encode('utf-8', 'surrogateescape')           # Python escapes any byte of a file name so
    except UnicodeEncodeError:
        return False
    return True


def boolean(value):
    return isinstance(value, bool)


def nothing(value):
    return value is None


COST = nothing, nats                   # nothing: there is none yet
# How far a run is: what people read of its progress, which has more.
REACHED = {'epoch': lambda value: whole(value, MOST + 1), 'batch': whole, 'rate': positive, 'best_cost': COST,
           'best_epoch': whole}


def shallow(value, levels=DEEPEST):
    """Return whether lists and dicts in a value of JSON are at most so many levels deep."""
    if not isinstance(value, (dict, list, tuple)):
        return True
    items = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(shallow(item, levels - 1) for item in items)


def file_name(value):
    """Return whether a value is the name of a file without a folder. On POSIX a backslash is a letter."""
    return string(value) and bool(value) and os.path.basename(value) == value


def random_id(value):
    """Return whether a value is an id of a run or of a log, as secrets.token_hex(8) makes it."""
    return isinstance(value, str) and bool(re.fullmatch('[0-9a-f]{16}', value))


def matches(value, pattern):
    """Return whether a value of JSON matches a pattern.

    A pattern is a function of a value, a tuple of patterns of which one must match, or a dict of patterns by key,
    all of which the value must have. The key '...' allows keys that the pattern does not name.
    """
    if isinstance(pattern, tuple):
        return any(matches(value, one) for one in pattern)
    if not isinstance(pattern, dict):
        return pattern(value)
    needed = set(pattern) - {'...'}
    return (isinstance(value, dict) and needed <= set(value) and ('...' in pattern or set(value) == needed)
            and all(matches(value[key], pattern[key]) for key in needed))


def list_of(pattern):
    """Return the pattern of a list whose items match another pattern."""
    return lambda value: isinstance(value, list) and all(matches(item, pattern) for item in value)
