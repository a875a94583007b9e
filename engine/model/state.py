"""The state of a model between two steps.

The first argument of each function is the model. Its attributes, besides those in the docstring of CharLSTM:

    group, precision, kernel    process group, precision of the inputs of matrix products, whether to use the C kernel
    device                      'cpu', or the name of PyTorch's device that computes steps
    text, stateful              the prepared Text or None, and whether each batch continues the one before
    weights, averaged_steps     the trained weights by name, if p is their running average, or {}; steps averaged so far
    average_weight, rate        shared scalars: the weight of that average in a step, and dyn_lrate
    optimiser_variables         the optimiser's state, as shared variables; {} until it is needed
    carried                     states before the next training batch, an array (B,n) for each of widths, or None
    validation                  states before the next validation batch, and its index
    best                        the parameters of the best epoch of fit, by name, or None
    functions                   compiled functions by name, a CompiledFunctions
    streams                     by name of a function, the states of Theano's random streams, as shared variables
"""
import collections
import copy
import math
import secrets

import numpy as np

from engine import checks
from engine.backend import compiler, theano_setup
from engine.backend.theano_setup import theano
from engine.data.batches import Text
from engine.data.parameters import NOT_PARAMETERS, in_layers, map_state, named_state, units
from engine.data.text import shown
from engine.graph.cell import initial_cell_parameters
from engine.model.edits import CompiledFunctions, cell_of_model
from engine.parallel import group_of
from engine.run import table
from engine.terminal import warn


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


def in_torch():
    """Return the module in_torch. Raise ValueError without PyTorch, which only devices other than the CPU need."""
    try:
        from engine.graph import in_torch
    except ModuleNotFoundError as error:
        raise ValueError(f'a device other than the CPU needs PyTorch ({error}): pip install -r '
                         'engine/requirements-gpu.txt') from None
    return in_torch


def begin(model, random_seed, kernel, comm, precision, device):
    """Set the attributes of a new model. Arguments and errors: as for CharLSTM."""
    if precision != 'auto':
        compiler.bfloat16(precision, theano.config.floatX, kernel)     # raises ValueError before a text is read
    model.device = theano_setup.DEVICE if device is None else device
    if model.device != 'cpu':
        if not kernel or precision == 'bfloat16' or group_of(comm).size > 1:
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
    if precision == 'auto':
        able = model.group.mean(dict(able=can_use_bfloat16(model)), 1)[0]['able']          # of all processes
        model.precision = 'bfloat16' if able == 1 else 'float32'


def can_use_bfloat16(model):
    """Return whether steps of the model's cell are faster in bfloat16 here."""
    try:
        compiler.bfloat16('bfloat16', theano.config.floatX, model.kernel and model.device == 'cpu')
    except ValueError:
        return False
    return cell_of_model(model).program is not None


# ---------------------------------------------------------------- the text

def prepare_input(model, filepath, ratio_valid, batch_size, seq_length, verbose, encoding, stateful, valid, test):
    """Read a text, and cut it into batches. Arguments and errors: as for CharLSTM's.

    Of the sequences of the text, a share 1 - ratio_valid, rounded, is for training. Those that fill no batch are
    dropped. Parameters that know all characters stay, with their uchar.
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
    found = model.initial_parameters(V, units, cell, initial, random)
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ValueError(f'initial_parameters of {type(model).__name__} returns {type(found).__name__}: expected a '
                         'dict of arrays by name')
    p = {name: np.asarray(value, theano.config.floatX) for name, value in found.items()}
    sizes = {'c': (V,), **{f'b{k}': (cell.counts.b, H) for k, H in enumerate(units, 1)}}
    if any(np.shape(p.get(name)) != shape for name, shape in sizes.items()) or any(map(NOT_PARAMETERS.match, p)):
        raise ValueError(f'initial_parameters of {type(model).__name__} returns {", ".join(p)}: expected the sizes '
                         f'{sizes}, and no other array of a checkpoint, such as m_U1')
    cell_p = {f'{name}{k}': array for k, H in enumerate(units, 1)
              for name, array in initial_cell_parameters(cell, H, random).items()}
    return {**p, **{name: array for name, array in cell_p.items() if name not in p}}


def new_kinds(model, V, units):
    """Return the shapes and types of the parameters of a new model by name."""
    return kinds(new_parameters(model, V, units, 'original', np.random.default_rng(0)))


def widths(model, units):
    """Return the widths n of the states (B,n) by name: h1, C1 (the layer's S states side by side) ..., and memory."""
    memory = checks.whole(f'memory of {type(model).__name__}', model.memory(units), 0)
    found = dict(zip(in_layers('hC', len(units)), checks.widths(units, cell_of_model(model).counts.S)))
    return {**found, 'memory': memory} if memory else found


def zero_states(model, B):
    """Return the states before a text, (B,n) for each of widths."""
    return [np.zeros((B, width), theano.config.floatX) for width in widths(model, sizes(model)).values()]


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
        model.p, model.functions, model.optimiser_variables = variables, model.functions.renewed({**model.lp}), {}
    model.weights, model.averaged_steps = updated(model, model.weights, new if model.lp.get('average') else {}), 0
    model.schedule, model.carried, model.validation = None, None, (None, 0)


def reader_of(model, new, uchar):
    """Return a copy of a model, which only predicts, with other parameters."""
    reader = copy.copy(model)
    reader.p, reader.weights, reader.lp, reader.functions = {}, {}, {}, model.functions.renewed({})
    set_parameters(reader, new, uchar)
    return reader


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
