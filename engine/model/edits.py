"""What a class or an edit has replaced: what is compiled again, and whether C may compute the network.

The first argument of most functions is the model.
"""
import contextlib
import difflib
import inspect
import types

import numpy as np

from engine.backend.theano_setup import theano
from engine.graph.cell import Cell
from engine.graph.standard import is_standard_layer

# The static methods of CharLSTM that a class or an object may replace.
REPLACEABLE = ('cell', 'layer', 'network', 'objective', 'penalty', 'optimiser', 'optimiser_state',
               'initial_parameters', 'memory')
NO_TRACES = {'traceback.limit': 0}             # of symbols that are only compared, which take time


class CompiledFunctions(dict):
    """The compiled functions of a model by name; a pickle or a deep copy is empty.

    key, lp: what they were compiled from. found: what depends on the key alone: the Cell, and whether the kernel
    computes the same as the layer. operations: of their network. in_c: whether C computes the same as that, which also
    depends on the parameters. held: a copy of the model for sampling.py.
    """
    key = lp = operations = in_c = held = None

    def __init__(self, key=None, lp=None, found=None):
        super().__init__()
        self.key, self.lp, self.found = key, lp, {} if found is None else found

    def __reduce__(self):
        return CompiledFunctions, ()

    def renewed(self, lp):
        """Return an empty one for other parameters or lp."""
        return CompiledFunctions(self.key, lp, self.found)


def content_of(function):
    """Return what changes if a function is edited: its code and defaults or, with a closure, the function itself."""
    function = getattr(function, '__func__', function)
    if type(function) is not types.FunctionType or function.__closure__:
        return function
    defaults = *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()
    return function.__code__, [v.tobytes() if isinstance(v, np.ndarray) else v for v in defaults]


def functions(model):
    """Return the compiled functions by name, after dropping them if one of REPLACEABLE, remembers or lp has changed.

    Raise ValueError for functions that were replaced in a way that would be ignored.
    """
    key, lp = ([content_of(getattr(model, name)) for name in REPLACEABLE], model.remembers), {**model.lp}
    if model.functions.key != key:
        refuse_ignored(model)
        refuse_misspelt(model)
        refuse_arguments(model)
        if not isinstance(model.remembers, dict) or not {*model.remembers.values()} <= {1, -1}:
            raise ValueError(f'remembers is {model.remembers}: expected a dict of signs, 1 or -1, by the name of a row')
        model.functions = CompiledFunctions((key[0], dict(model.remembers)), lp)
    elif model.functions.lp != lp:
        model.functions = model.functions.renewed(lp)
    return model.functions


def refuse_ignored(model):
    """Raise ValueError if one of REPLACEABLE is a method, or was replaced in the module charlstm, without effect."""
    of_file = model.training_step.__globals__
    for name in REPLACEABLE:
        function = getattr(model, name)
        if hasattr(function, '__self__'):
            raise ValueError(f'{name} of {type(model).__name__} is a method: write @staticmethod above it')
        if getattr(function, '__globals__', None) is of_file and of_file.get(function.__name__, function) != function:
            raise ValueError(f'{function.__name__} was replaced in the module {function.__module__}, which changes no '
                             f'model: replace {name} in a subclass or an object')


def base_of(model):
    """Return CharLSTM, or that of an edited copy of its file."""
    return [each for each in type(model).__mro__ if 'training_step' in vars(each)][-1]


def refuse_arguments(model):
    """Raise ValueError if one of REPLACEABLE cannot be called as that of CharLSTM is. A cell has its own arguments."""
    base = base_of(model)
    for name in [each for each in REPLACEABLE[1:] if getattr(model, each) is not getattr(base, each)]:
        arguments = inspect.signature(getattr(base, name)).parameters
        least = [each for each, argument in arguments.items() if argument.default is argument.empty]
        for given in [least, [*arguments]] if name == 'network' else [least]:      # truncate is given in training
            try:
                inspect.signature(getattr(model, name)).bind(*given)
            except TypeError as error:
                raise ValueError(f'{name} of {type(model).__name__}: {error}; expected a function of '
                                 f'{", ".join(given)}') from None


def refuse_misspelt(model):
    """Raise ValueError if its class or itself has a function or a dict whose name is nearly one that is used."""
    classes, base = type(model).__mro__, base_of(model)
    for owner in (model, *classes[:classes.index(base)]):
        for name, value in vars(owner).items():
            if name == 'training_step':
                raise ValueError(f'{name} of {type(model).__name__} replaces nothing: edit it in a copy of charlstm.py')
            if not hasattr(base, name) and (callable(getattr(value, '__func__', value)) or isinstance(value, dict)):
                refuse_name(type(model).__name__, name, vars(owner), base)


def refuse_name(owner, name, own, base):
    """Raise ValueError if a name that nothing reads is nearly one of REPLACEABLE, or that of a function of base's file.

    owner: the name of the class. own: what it has by name. base: CharLSTM. A class that also has the right name may
    have others like it, such as cell and cell_of_one_unit.
    """
    of_file = {getattr(base, each).__name__: each for each in REPLACEABLE}             # lstm_cell: cell ...
    near = [of_file.get(name), *difflib.get_close_matches(name.lower(), (*REPLACEABLE, 'remembers'), 1, 0.8),
            'initial_parameters' if name.startswith('initial') else None]
    right = next(filter(None, near), None)
    if right and right not in own:
        raise ValueError(f'{owner} has {name}, which nothing reads: expected {right}, or another name for a function '
                         'of your own')
    if right is None and isinstance(base.training_step.__globals__.get(name), types.FunctionType):
        raise ValueError(f'{name} of {owner} replaces nothing: edit {name} in a copy of charlstm.py, and name that '
                         'copy, as by --cell copy/charlstm.py:CharLSTM')


def cell_of_model(model):
    """Return the Cell of the attributes cell and remembers. Raises ValueError if the function is no cell."""
    found, floatX, remembers = functions(model).found, theano.config.floatX, model.remembers
    if floatX not in found:
        cell = Cell(model.cell, floatX, remembers)
        rows = [row[2:] for row in cell.rows]
        if remembers is not base_of(model).remembers and not {*remembers} <= {*rows}:
            raise ValueError(f'remembers of {type(model).__name__} is {remembers}: expected names of rows of its cell, '
                             f'{", ".join(rows)}, and the sign of each')
        found[floatX] = cell
    return found[floatX]


def has_standard_layer(model):
    """Return whether the kernel computes the same as the model's layer, by their graphs."""
    found = functions(model).found
    if 'layer' not in found:
        found['layer'] = False
        with contextlib.suppress(Exception), theano.change_flags(**NO_TRACES):         # an error comes again in its use
            found['layer'] = is_standard_layer(model.layer, cell_of_model(model))
    return found['layer']
