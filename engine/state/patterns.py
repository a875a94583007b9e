"""What a checkpoint may say of itself: it is data from a stranger, and checked once, when it is read."""
import os
import re

from engine.checks import RANGES, own_name

LARGEST = 1e300
MOST = 10 ** 9                         # epochs and the like
LONGEST_FORMULA = 1 << 16             # characters
LONGEST = 4096                         # characters: what systems allow in a path, and all that is named is shorter


def whole(value, below=2 ** 63):
    return type(value) is int and 0 <= value < below


def number(value):
    return type(value) in (int, float) and -LARGEST < value < LARGEST      # and so no nan


def nats(value):
    """A cost, or a sum of them: none is below zero."""
    return number(value) and value >= 0


def string(value):
    if not isinstance(value, str) or len(value) > LONGEST or '\0' in value:
        return False
    try:
        value.encode('utf-8', 'surrogateescape')           # which no system's names go beyond
    except UnicodeEncodeError:
        return False
    return True


def boolean(value):
    return isinstance(value, bool)


def nothing(value):
    return value is None


def anything(value):
    return True


def file_name(value):
    return string(value) and bool(value) and os.path.basename(value) == value      # a backslash is a letter to most


def matches(value, pattern):
    """Whether a value of JSON is as the pattern says.

    That is a function of a value, a tuple of patterns of which one must fit, or a dict by
    key: those that do not end in '?' must be there, and others than these are not allowed
    unless the key '...' is among them.
    """
    if isinstance(pattern, tuple):
        return any(matches(value, one) for one in pattern)
    if not isinstance(pattern, dict):
        return pattern(value)
    known = {key.rstrip('?'): one for key, one in pattern.items()}
    needed = set(pattern) & set(known) - {'...'}
    return (isinstance(value, dict) and needed <= set(value) and ('...' in known or set(value) <= set(known))
            and all(matches(item, known[key]) for key, item in value.items() if key in known))


def list_of(pattern, length=None):
    """The pattern of a list of values that fit another, of that length if one is given."""
    return lambda value: (isinstance(value, list) and length in (None, len(value))
                          and all(matches(item, pattern) for item in value))


GENERATOR = {                                              # NumPy's default one: PCG64
    'bit_generator': lambda value: value == 'PCG64',
    'state': {'state': lambda value: whole(value, 2 ** 128),
              'inc': lambda value: whole(value, 2 ** 128) and value % 2 == 1},
    'has_uint32': lambda value: whole(value, 2), 'uinteger': lambda value: whole(value, 2 ** 32)}
TEXT = {'path': string, 'characters': whole, 'encoding': string,
        'sha256': lambda value: string(value) and bool(re.fullmatch('[0-9a-f]{64}', value)),
        'ratio_valid': lambda value: number(value) and 0 <= value < 1,
        'batch_size': lambda value: whole(value) and value > 0, 'seq_length': lambda value: whole(value) and value > 1,
        'stateful?': boolean}
LEARNING = {name + '?': number for name in RANGES}
CELL = {'formula': lambda value: isinstance(value, str) and len(value) <= LONGEST_FORMULA,
        'parameters': lambda value: list_of(own_name)(value) and len(set(value)) == len(value)}
METADATA = {'lp?': LEARNING, 'averaged?': whole, 'trials?': whole, 'random?': GENERATOR, 'text?': (TEXT, {}),
         'cell?': CELL,
         'versions?': {'python?': string, 'numpy?': string, 'theano?': string, 'device?': string},
         'arrays?': list_of(string),
         'progress?': anything}                            # the caller's of save_params
