"""Whether functions of symbols were edited since something was compiled from them."""
import types

import numpy as np

COMPARED = int, float, complex, str, bytes, types.MethodType, np.generic       # by value; all others by identity
LIBRARIES = ('theano', 'numpy', 'scipy', 'builtins')           # whose insides do not change
MISSING = object()


def _library(value):
    """Return whether a value is a library's own."""
    module = getattr(value, '__module__', None) or type(value).__module__
    return isinstance(module, str) and module.split('.')[0] in LIBRARIES


def _same(a, b):
    return a is b or type(a) is type(b) and isinstance(a, COMPARED) and a == b


def _names(code):
    """Return the names of globals and attributes in code, and in the functions inside of it."""
    inside = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return {*code.co_names}.union(*map(_names, inside))


class Reads:
    """All that Python functions read besides their arguments, as it is now.

    That is their code and defaults, what the names in them mean, with attributes of these and items of lists and dicts,
    and the same of the functions that they call. The insides of libraries and of arrays are not looked at.
    """

    def __init__(self, functions):
        self._places, self._seen = [], set()       # a place: a function of a key, the key, and the value found
        for function in functions:
            self._follow(function, ())

    def differ(self):
        """Return whether something has changed. It takes some microseconds."""
        return not all(_same(read(key, MISSING), value) for read, key, value in self._places)

    def _add(self, read, key, names):
        value = read(key, MISSING)
        if value is not MISSING:
            self._places.append((read, key, value))
            self._follow(value, names)

    def _follow(self, value, names):
        """Add what can change inside of a value. names: what the function that reads it calls attributes."""
        if id(value) in self._seen or isinstance(value, (int, float, str, bytes, type(None))):
            return
        self._seen.add(id(value))
        if isinstance(value, types.MethodType):
            names = _names(value.__func__.__code__) if isinstance(value.__func__, types.FunctionType) else ()
            self._follow(value.__func__, ())
            self._follow(value.__self__, names)
        elif isinstance(value, types.FunctionType) and not _library(value):
            self._follow_function(value)
        elif isinstance(value, (dict, list, tuple)):
            self._places.append((lambda key, missing: len(value), None, len(value)))
            for key in value if isinstance(value, dict) else range(len(value)):
                self._add(value.get if isinstance(value, dict) else lambda k, missing: value[k], key, names)
        elif isinstance(value, types.ModuleType) or not _library(value):
            for name in names:
                self._add(lambda name, missing: getattr(value, name, missing), name, names)

    def _follow_function(self, function):
        names = _names(function.__code__)
        for name in ('__code__', '__defaults__', '__kwdefaults__'):
            self._add(lambda name, missing: getattr(function, name), name, ())
        for cell in function.__closure__ or ():
            self._add(lambda cell, missing: cell.cell_contents, cell, names)
        for name in names:
            self._add(function.__globals__.get, name, names)
