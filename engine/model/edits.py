"""What a class or an edit has replaced: what is compiled again, and what a checkpoint records of it.

The first argument of most functions is the model.
"""
import difflib
import hashlib
import inspect
import io
import sys
import tokenize
import types

import numpy as np

from engine.backend.theano_setup import theano
from engine.graph.cell import Cell

# SHA-256 of charlstm.py's functions that C computes, with those that they call, as written() returns them.
STANDARD = dict(layer='4aa4f68a95b1ae47e31fbe2b56e00da67f68cb363ef3a7e998ab16da338fcce7',
                network='4691b0be0f4172d4455bb9bb75256618fff4927a29047a5884f6e6812eab4c24')
# What a run minimises, and how. The last two are no attributes of a class.
TRAINING = ('network', 'layer', 'objective', 'penalty', 'optimiser', 'optimiser_state', 'update',
            'running_averages')
# The static methods of CharLSTM that a class or an object may replace.
REPLACEABLE = ('cell', 'layer', 'network', 'objective', 'penalty', 'optimiser', 'optimiser_state',
               'initial_parameters', 'memory')


class CompiledFunctions(dict):
    """The compiled functions of a model by name; a pickle or a deep copy is empty.

    sources: what they were compiled from. cell: their Cell. operations: of their network. written: checksums of the
    functions of symbols, by name. held: a copy of the model for sampling.py.
    """
    sources = cell = operations = written = held = None

    def __reduce__(self):
        return CompiledFunctions, ()


def base_of(model):
    """Return the class CharLSTM of charlstm.py, or of an edited copy of it, from which the model's class derives."""
    return [cls for cls in type(model).__mro__ if cls.__name__ == 'CharLSTM'][-1]


def file_of(model):
    """Return the module of base_of, whose functions the class uses."""
    return sys.modules[base_of(model).__module__]


def content_of(function):
    """Return what changes if a function is edited: its code and defaults or, with a closure, the function itself."""
    function = getattr(function, '__func__', function)
    if type(function) is not types.FunctionType or function.__closure__:
        return function
    defaults = *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()
    return function.__code__, [v.tobytes() if isinstance(v, np.ndarray) else v for v in defaults]


def functions(model):
    """Return the compiled functions by name, after dropping them if a symbol function or lp was edited.

    Raise ValueError for functions that were replaced in a way that would be ignored.
    """
    of_file = [value for value in vars(file_of(model)).values() if isinstance(value, types.FunctionType)]
    edited = [getattr(model, name) for name in REPLACEABLE]
    now = [*map(content_of, (*edited, *of_file))], model.remembers, getattr(model.lp, 'data', {})
    if model.functions.sources != now:
        refuse_ignored(model)
        model.functions = CompiledFunctions()
        model.functions.sources = now[0], dict(model.remembers), {**now[2]}
    return model.functions


def refuse_ignored(model):
    """Raise ValueError if one of REPLACEABLE is misspelt, a method, or another function than that in charlstm.py."""
    base, file = base_of(model), file_of(model)
    refuse_misspelt(model, base)
    for name in REPLACEABLE:
        if hasattr(getattr(model, name), '__self__'):
            raise ValueError(f'{name} of {type(model).__name__} is a method: write @staticmethod above it')
        function = getattr(base, name)
        if name != 'memory' and vars(file).get(function.__name__) is not function:
            raise ValueError(f'{name} was replaced for all models, in {file.__name__} or its CharLSTM: '
                             'replace it in a subclass or an object')


def refuse_misspelt(model, base):
    """Raise ValueError if a class or an object has a function or a dict whose name is nearly one that is used.

    A class that also has the right one may have others like it, such as cell and cell_of_one_unit.
    """
    names, own = (*REPLACEABLE, 'remembers'), dict(vars(model))
    of_file = {getattr(base, name).__name__: name for name in REPLACEABLE}             # lstm_cell: cell ...
    for cls in type(model).__mro__[:type(model).__mro__.index(base)]:
        own.update(vars(cls))
    for name, value in own.items():
        if hasattr(base, name) or not (callable(getattr(value, '__func__', value)) or isinstance(value, dict)):
            continue
        near = [of_file.get(name), *difflib.get_close_matches(name, names, 1, 0.8),
                'initial_parameters' if name.startswith('initial') else None]
        right = next(filter(None, near), None)
        if right and right not in own:
            raise ValueError(f'{type(model).__name__} has {name}, which nothing reads: expected {right}, or another '
                             'name for a function of your own')
        if right is None and isinstance(vars(file_of(model)).get(name), types.FunctionType):
            raise ValueError(f'{name} of {type(model).__name__} replaces nothing: edit {name} in a copy of charlstm.py, '
                             'and name that, as by --cell copy/charlstm.py:CharLSTM')


def cell_of_model(model):
    """Return the Cell of the attributes cell and remembers. Raises ValueError if the function is no cell."""
    made = functions(model)
    made.cell = made.cell or Cell(model.cell, theano.config.floatX, model.remembers)
    return made.cell


def tokens(function):
    """Return the source of a function without comments, docstrings and spaces; '' if it has none."""
    kept, before = [], tokenize.INDENT
    try:
        for token in tokenize.generate_tokens(io.StringIO(inspect.getsource(function)).readline):
            if token.type in (tokenize.COMMENT, tokenize.NL):
                continue
            if not (token.type == tokenize.STRING and before in (tokenize.INDENT, tokenize.NEWLINE)):
                kept.append(token.string.strip())
            before = token.type
    except (OSError, SyntaxError, TypeError, tokenize.TokenError):     # not in a file, or a lambda in an expression
        pass
    return ''.join(kept)


def written(function):
    """Return the SHA-256 of the tokens of a function, and of the functions of its file that it calls."""
    found, waiting = {}, [function]
    while waiting:
        each = waiting.pop()
        found[each] = tokens(each)
        names = getattr(each, '__globals__', {})
        called = [names.get(name) for name in getattr(getattr(each, '__code__', None), 'co_names', ())]
        waiting += [other for other in called if inspect.isfunction(other) and other not in found
                    and other.__module__ == each.__module__]
    return hashlib.sha256('\n'.join(found.values()).encode()).hexdigest()


def written_functions(model):
    """Return written() of the functions with which a model trains, by name: as they are compiled, once."""
    made = functions(model)
    made.written = made.written or {
        name: written(getattr(model, name, None) or vars(file_of(model))[name]) for name in TRAINING}
    return made.written


def is_standard(model, *names):
    """Return whether functions of a model, of STANDARD, are those of charlstm.py as published."""
    base, found = base_of(model), written_functions(model)
    return all(getattr(model, name) is getattr(base, name) and found[name] == STANDARD[name] for name in names)
