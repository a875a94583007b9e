"""The state of a model between two steps: methods of CharLSTM.

The first argument of each function is the model. Its attributes, besides those in the docstring of CharLSTM:

    group, precision, kernel    process group, precision of the inputs of matrix products, whether to use the C kernel
    device                      'cpu', or the name of PyTorch's device that computes steps
    text, stateful              the prepared Text or None, and whether each batch continues the one before
    weights, averaged_steps     the trained weights by name, if p is their running average, or {}; steps averaged so far
    average_weight, rate        shared scalars: the weight of that average in a step, and dyn_lrate
    optimiser_variables         the optimiser's state, as shared variables; {} until it is needed
    carried                     states before the next training batch, h and C of each layer (B,H), or None
    validation                  states before the next validation batch, and its index
    best                        the parameters of the best epoch of fit, by name, or None
    functions                   compiled functions by name, a CompiledFunctions
    streams                     by name of a function, the states of Theano's random streams, as shared variables
"""
import collections
import math
import secrets
import sys
import types

import numpy as np

from engine import checks
from engine.backend import compiler, theano_setup
from engine.backend.theano_setup import theano
from engine.data.batches import Text
from engine.data.parameters import NOT_PARAMETERS, map_state, named_state, units
from engine.data.text import shown
from engine.kernel.cell import Cell, own_parameters
from engine.parallel import group_of
from engine.run import table
from engine.terminal import warn


# The static methods of CharLSTM that a class or an object may replace. base_of and file_of say where they come from.
REPLACEABLE = ('cell', 'layer', 'network', 'objective', 'penalty', 'optimiser', 'optimiser_state',
               'initial_parameters')


class Learning(collections.UserDict):
    """The learning parameters, which are checked when set. engine/run/table.py has their names and ranges."""

    def __setitem__(self, name, value):
        if name not in table.LEARNING:
            raise ValueError(f'{name} is not a learning parameter: expected one of {", ".join(table.LEARNING)}')
        value = table.LEARNING[name].checked(value)
        if name in self.data and name == 'lrate' and value != self.data[name]:
            raise ValueError(f"lp['lrate'] is the initial rate and cannot become {value}: set dyn_lrate or, in fit, "
                             'schedule.rate_factor')
        if name in self.data and name == 'average' and bool(value) != bool(self.data[name]):
            raise ValueError("lp['average'] cannot be switched on or off after model_setup")
        self.data[name] = value


class CompiledFunctions(dict):
    """The compiled functions of a model by name; a pickle or a deep copy is empty.

    sources: what they were compiled from. cell: their Cell. operations: of their network. written: checksums of the
    functions of symbols, by name. held: a copy of the model for sampling.py.
    """
    sources = cell = operations = written = held = None

    def __reduce__(self):
        return CompiledFunctions, ()


def in_torch():
    """Return the module in_torch. Raise ValueError without PyTorch, which only devices other than the CPU need."""
    try:
        from engine.kernel import in_torch
    except ModuleNotFoundError as error:
        raise ValueError(f'a device other than the CPU needs PyTorch ({error}): pip install -r '
                         'engine/requirements-gpu.txt') from None
    return in_torch


def begin(model, random_seed, kernel, comm, precision, device):
    """Set the attributes of a new model. Arguments and errors: as for CharLSTM."""
    compiler.bfloat16(precision, theano.config.floatX, kernel)         # raises ValueError before a text is read
    model.device = theano_setup.DEVICE if device is None else device
    if model.device != 'cpu':
        if not kernel or precision != 'float32' or group_of(comm).size > 1:
            raise ValueError(f'the device {model.device} computes by PyTorch, in one process: expected the kernel, and '
                             'precision float32')
        in_torch().device_of(model.device)
    model.group, model.precision, model.kernel = group_of(comm), precision, checks.flag('kernel', kernel)
    seed = secrets.randbits(128) if random_seed is None else checks.whole('random_seed', random_seed, 0, math.inf)
    model.random = np.random.default_rng(model.group.broadcast(int, seed))         # the same numbers in all processes
    model.uchar, model.batch_size, model.stateful, model.text, model.schedule = [], None, False, None, None
    model.X, model.Y, model.n_batches, model.texts = {}, {}, {}, {}
    model.p, model.lp, model.rate, model.average_weight = {}, {}, None, None
    model.weights, model.averaged_steps, model.optimiser_variables, model.best = {}, 0, {}, None
    model.carried, model.validation, model.functions = None, (None, 0), CompiledFunctions()
    model.streams = {}


# ---------------------------------------------------------------- the text

def prepare_input(model, filepath, ratio_valid=0.30, batch_size=50, seq_length=50, verbose=True, encoding='utf-8',
                  stateful=False, valid=None, test=None):
    """Read a text (a file, an open text file or a folder of text files), and cut it into batches.

    The text is cut into sequences of seq_length characters: a share 1 - ratio_valid, rounded, for training, the rest
    for validation. A batch has batch_size consecutive sequences. Its inputs X['train'][i] lack their last characters,
    its targets Y['train'][i] their first: int32 (T,B), T = seq_length - 1. Sequences that fill no batch are dropped.

    stateful: each row of a batch continues the row of the batch before, T = seq_length, and training and validation
    carry the states along. valid: a validation text; all of the first text is then for training. test: a test text;
    only its characters matter here, for the vocabulary. Parameters that know all characters stay, with their uchar;
    others are dropped with a warning. Raises OSError if a file cannot be read, and ValueError for arguments out of
    range, a wrong encoding, or a text too short for one batch.
    """
    text = Text(filepath, ratio_valid, batch_size, seq_length, encoding, stateful, model.group, valid, test)
    unknown = set(text.uchar) - set(model.uchar)
    if model.p and unknown:
        warn(f'the parameters were dropped: they do not know {shown(unknown)} of the text; model_setup makes new ones')
        set_parameters(model, {}, text.uchar)
    elif model.p:
        text.renumber(model.uchar)
    set_text(model, text)
    if verbose and model.group.first:
        print(text.summary())


def set_text(model, text):
    """Set the Text of the model, and end any running fit."""
    model.text, model.uchar, model.batch_size, model.stateful = text, list(text.uchar), text.batch_size, text.stateful
    model.X, model.Y, model.n_batches, model.texts = text.X, text.Y, text.n_batches, text.texts
    model.schedule, model.carried, model.validation = None, None, (None, 0)


# ---------------------------------------------------------------- the parameters

def shared(model, array, name=None):
    """Return a shared variable with the values of an array, on the model's device."""
    return theano.shared(array, name) if model.device == 'cpu' else in_torch().shared(array, name, model.device)


def stored(variable):
    """Return the array of a shared variable or, on another device, its tensor. Do not write to it."""
    return variable.tensor if hasattr(variable, 'tensor') else variable.get_value(borrow=True)


def arrays(variables):
    """Return the arrays of shared variables by name. Do not write to them."""
    return {name: variable.get_value(borrow=True) for name, variable in variables.items()}


def vocabulary_size(model):
    """Return the number of characters that the model knows. Raises ValueError if there are no parameters."""
    if not model.p:
        raise ValueError('no model yet: first call fit, or prepare_input and model_setup, or load a checkpoint')
    return stored(model.p['c']).shape[0]


def sizes(model):
    """Return the units of each layer, from the first on. Raises ValueError if there are no parameters."""
    vocabulary_size(model)
    return units({name: stored(v) for name, v in model.p.items()})


def new_parameters(model, V, units, initial, random):
    """Return the parameters of a new model by name, those that its cell declares last. Arguments: initial_parameters.

    Raises ValueError if sizes cannot be read from them, or a checkpoint has other arrays of such a name.
    """
    cell = cell_of_model(model)
    p = {name: np.asarray(value, theano.config.floatX)
         for name, value in model.initial_parameters(V, units, cell, initial, random).items()}
    sizes = {'c': (V,), **{f'b{k}': (cell.counts.b, H) for k, H in enumerate(units, 1)}}
    if any(np.shape(p.get(name)) != shape for name, shape in sizes.items()) or any(map(NOT_PARAMETERS.match, p)):
        raise ValueError(f'initial_parameters of {type(model).__name__} returns {", ".join(p)}: expected the sizes '
                         f'{sizes}, and no other array of a checkpoint, such as m_U1')
    own = {f'{name}{k}': array for k, H in enumerate(units, 1)
           for name, array in own_parameters(cell, H, random).items()}
    return {**p, **{name: array for name, array in own.items() if name not in p}}


def new_kinds(model, V, units):
    """Return the shapes and types of the parameters of a new model by name."""
    return kinds(new_parameters(model, V, units, 'original', np.random.default_rng(0)))


def zero_states(model, B):
    """Return the states before a text, of each layer h (B,H), and C (B,SH): its S cell states side by side."""
    widths = checks.widths(sizes(model), cell_of_model(model).counts.S)
    return [np.zeros((B, width), theano.config.floatX) for width in widths]


def kinds(arrays):
    """Return the shapes and types of arrays by name."""
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def updated(model, variables, new):
    """Set shared variables to new values, and return them by name: new ones if a shape or a type changes."""
    if kinds(arrays(variables)) != kinds(new):
        return {name: shared(model, array, name) for name, array in new.items()}
    for name, array in new.items():
        variables[name].set_value(array)
    return variables


def set_parameters(model, new, uchar):
    """Replace parameters and vocabulary, and end any running fit. Keep compiled functions if shapes and types stay."""
    model.uchar, variables = list(uchar), updated(model, model.p, new)
    if variables is not model.p:
        model.p, model.functions, model.optimiser_variables = variables, CompiledFunctions(), {}
    model.weights, model.averaged_steps = updated(model, model.weights, new if model.lp.get('average') else {}), 0
    model.schedule, model.carried, model.validation = None, None, (None, 0)


def variables(model):
    """Return the shared variables of all parameters and of the optimiser's state by their names in a checkpoint."""
    weights = {f'weights_{name}': variable for name, variable in model.weights.items()}
    return {**model.p, **weights, **named_state(model.optimiser_variables, model.p)}


def optimiser_variables(model):
    """Return the optimiser's state as shared variables; the initial one if names, shapes or types have changed."""
    initial = map_state(lambda value: np.asarray(value, model.p['c'].dtype),
                        model.optimiser_state(list(arrays(model.p).values())))
    now = arrays(named_state(model.optimiser_variables, model.p))
    if kinds(now) != kinds(named_state(initial, model.p)):
        model.optimiser_variables = map_state(lambda array: shared(model, array), initial)
    return model.optimiser_variables


def continue_streams(model, name, streams):
    """Let a new function draw random numbers from where that of its name has come to, if their states are alike."""
    for new, old in zip(streams, model.streams.get(name, [])):
        if stream_state(new).shape == stream_state(old).shape:
            new.set_value(old.get_value())
    model.streams = {**model.streams, name: streams}       # a new dict, since a copy of the model draws for itself


def stream_state(variable):
    """Return the state of a random stream as an array: (n,6) of MRG_RandomStreams, (627,) of RandomStreams."""
    value = variable.get_value()
    if isinstance(value, np.random.RandomState):
        _, keys, *more = value.get_state()
        return np.array([*keys, *more])
    return value


def stream_of(state):
    """Return a random stream of that state. Raise ValueError if it is none."""
    if state.ndim == 1:
        *keys, position, has_gauss, gauss = state
        value = np.random.RandomState()
        value.set_state(('MT19937', keys, checks.whole('a position', int(position), 0, 624), int(has_gauss), gauss))
        return theano.shared(value)
    return theano.shared(state.astype(np.int32))


def set_number(variable, value):
    """Set a shared scalar. Its array or tensor stays the same, so that compiled functions plan nothing again."""
    number = stored(variable)
    if isinstance(number, np.ndarray):
        number[...] = value
        value = number
    variable.set_value(value, borrow=True)


def set_rate(model, rate):
    """Set dyn_lrate. Raise ValueError unless the rate is a finite number of at least 0."""
    set_number(model.rate, checks.real('dyn_lrate', np.asarray(rate).item(), 'of at least 0', lambda v: v >= 0))


def finite(model):
    """Return whether all parameters and the optimiser's state are finite."""
    return all(np.isfinite(array).all() for array in arrays(variables(model)).values())


# ---------------------------------------------------------------- compiled functions

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
    """Raise ValueError if one of REPLACEABLE is a method, or if its function in charlstm.py is another one."""
    base, file = base_of(model), file_of(model)
    for name in REPLACEABLE:
        if hasattr(getattr(model, name), '__self__'):
            raise ValueError(f'{name} of {type(model).__name__} is a method: write @staticmethod above it')
        function = getattr(base, name)
        if vars(file).get(function.__name__) is not function:
            raise ValueError(f'{name} was replaced for all models, in {file.__name__} or its CharLSTM: '
                             'replace it in a subclass or an object')


def cell_of_model(model):
    """Return the Cell of the attributes cell and remembers. Raises ValueError if the function is no cell."""
    made = functions(model)
    made.cell = made.cell or Cell(model.cell, theano.config.floatX, model.remembers)
    return made.cell
