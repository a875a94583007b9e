"""Whether functions of symbols were edited since something was compiled from them."""
import functools
import inspect
import types

import numpy as np

COMPARED = int, float, complex, str, bytes, types.MethodType, np.generic       # by value; most others by identity
LIBRARIES = ('theano', 'numpy', 'scipy', 'builtins')           # whose insides do not change
FUNCTIONS = types.FunctionType, types.MethodType
MISSING = object()


def _library(value):
    """Return whether a value is a library's own."""
    module = getattr(value, '__module__', None) or type(value).__module__
    return isinstance(module, str) and module.split('.')[0] in LIBRARIES


def _same(a, b):
    """Return whether two values are one, or equal numbers, strings, methods, or tuples or lists of these."""
    if a is b or type(a) is not type(b):
        return a is b
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(_same, a, b))
    return isinstance(a, COMPARED) and a == b


def _names_in(code):
    """Return the names of globals and attributes in code, and in the functions inside of it."""
    inside = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return frozenset(code.co_names).union(*map(_names_in, inside)) - {'__dict__'}      # in which all is


def _names(function):
    """Return the names of globals and attributes in a function or method, and in the functions that it may call.

    It may pass an object to one of these, which reads an attribute of it. They are globals, of modules, of the
    functions around it, and methods of its own object.
    """
    names, functions, cls = frozenset(), [function], type(getattr(function, '__self__', None))
    for each in functions:                                     # which grows
        each = getattr(each, '__func__', each)
        if isinstance(each, types.FunctionType) and not _library(each):
            own = _names_in(each.__code__)
            names |= own
            read = [each.__globals__.get(name) for name in own] + _contents(each)
            owners = [cls, *[value for value in read if isinstance(value, types.ModuleType)]]
            read += [inspect.getattr_static(owner, name, None) for owner in owners for name in own]
            read = [getattr(value, '__func__', value) for value in read]
            functions += [value for value in read if isinstance(value, types.FunctionType) and value not in functions]
    return names


def _contents(function):
    """Return the values of the variables of the functions around a function that it reads."""
    return [_attributes(cell)('cell_contents', MISSING) for cell in function.__closure__ or ()]


def _attributes(value):
    """Return a function like dict.get of the attributes of a value, also where a property raises any error."""
    def read(name, missing):
        try:
            return getattr(value, name)
        except Exception:
            return missing
    return read


class Reads:
    """All that Python functions read besides their arguments, as it is now.

    That is their code and defaults, what the names in them mean, with attributes of these and items of lists and dicts,
    and the same of the functions that they call. The insides of libraries and of arrays are not looked at.
    """

    def __init__(self, functions):
        self._places, self._seen = [], set()       # a place: a function of a key, the key, and the value found
        for function in functions:
            self._follow(function, frozenset())
            self._follow(function.__call__, frozenset())       # of an object that acts as a function

    def differ(self):
        """Return whether something has changed. It takes some microseconds."""
        for read, key, value in self._places:
            if not _same(read(key, MISSING), value):
                return True
        return False

    def _add(self, owner, read, key, names):
        """Add the place of a key in its owner, if it has it, and what can change inside of the value there.

        What is new each time that it is read cannot be compared: it is left out.
        """
        value = read(key, MISSING)
        if value is MISSING or not _same(read(key, MISSING), value):
            return
        if (id(owner), key) not in self._seen:
            self._seen.add((id(owner), key))
            self._places.append((read, key, value))
        self._follow(value, names)

    def _follow(self, value, names):
        """Add what can change inside of a value. names: what the function that reads it calls attributes."""
        if isinstance(value, functools.partial):
            self._follow((value.func, value.args, value.keywords), names | _names(value.func))
        elif isinstance(value, types.ModuleType) or not (
                isinstance(value, (int, float, str, bytes, tuple, list, dict, *FUNCTIONS)) or _library(value)):
            self._follow_attributes(value, names)
        elif isinstance(value, tuple):
            for item in value:
                self._follow(item, names)
        elif isinstance(value, FUNCTIONS):
            self._follow_function(value)
        elif isinstance(value, (list, dict)) and (id(value), names) not in self._seen:
            self._seen.add((id(value), names))
            self._follow_items(value, names)

    def _follow_attributes(self, value, names):
        """Add attributes of an object and, of a class, those that super() finds; of properties, what these read."""
        for owner in [cls for cls in value.__mro__ if cls is not object] if isinstance(value, type) else [value]:
            for name in names:
                if (id(owner), name, names) in self._seen:
                    continue
                self._seen.add((id(owner), name, names))
                found = inspect.getattr_static(owner, name, None)
                if isinstance(found, property) and found.fget and not isinstance(owner, type):
                    self._follow(types.MethodType(found.fget, owner), names)
                self._add(owner, _attributes(owner), name, names)

    def _follow_items(self, values, names):
        self._places.append((lambda key, missing: len(values), None, len(values)))
        read = values.get if isinstance(values, dict) else lambda k, missing: values[k]
        for key in values if isinstance(values, dict) else range(len(values)):
            self._add(values, read, key, names)

    def _follow_function(self, value):
        """Add what a function or method reads; a method may be a new object each time that it is read."""
        function, names = getattr(value, '__func__', value), _names(value)
        if function is not value:
            self._follow(value.__self__, names)
        if not isinstance(function, types.FunctionType) or _library(function) or (id(function), names) in self._seen:
            return
        self._seen.add((id(function), names))
        for name in ('__code__', '__defaults__', '__kwdefaults__'):
            self._add(function, _attributes(function), name, names)
        for cell in function.__closure__ or ():
            self._add(cell, _attributes(cell), 'cell_contents', names)
        for name in _names_in(function.__code__):
            self._add(function.__globals__, function.__globals__.get, name, names)
