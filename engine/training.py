"""The state of a model between two steps, and its compiled functions: methods of CharLSTM.

The first argument of each function is the model. Its attributes, besides those in the docstring of CharLSTM:

    group, precision, kernel    process group, precision of the inputs of matrix products, whether to use the C kernel
    text, stateful              the prepared Text or None, and whether each batch continues the one before
    weights, averaged_steps     the trained weights by name, if p is their running average, or {}; steps averaged so far
    average_weight, rate        shared scalars: the weight of that average in a step, and dyn_lrate
    optimiser_variables         the optimiser's state, as shared variables; {} until it is needed
    carried                     states before the next training batch, h and C of each layer (B,H), or None
    validation                  states before the next validation batch, and its index
    best                        the parameters of the best epoch of fit, by name, or None
    functions                   compiled functions by name, a CompiledFunctions
"""
import collections
import functools
import math
import platform
import secrets
import shlex
import subprocess
import types

import numpy as np

from engine.backend import bfloat16, compiler, theano_setup
from engine.backend.theano_setup import compiling, on_cpu, theano, tt
from engine.kernel.cell import Cell
from engine.kernel.fallback import continue_texts, costs_follow, is_as_in_c, log_probabilities
from engine.kernel.ops import Kernel
from engine.kernel.scan import Scan
from engine.model import checks
from engine.model.batches import Text, begins_anew, kept_units, kept_weights
from engine.model.parameters import (base_names, in_layers, layers_of, map_state, named_state, rows_of, units,
                                     updates_of)
from engine.model.text import shown
from engine.parallel import DataParallelStep, group_of
from engine.run import table
from engine.terminal import ROOT, bar, warn

shell = functools.cache(subprocess.getstatusoutput)        # a command's status and output, the first time


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

    sources: what they were compiled from. cell: their Cell. operations: of their network. held: a copy of the model
    for engine/sampling.py.
    """
    sources = cell = operations = held = None

    def __reduce__(self):
        return CompiledFunctions, ()


def begin(model, random_seed, kernel, comm, precision):
    """Set the attributes of a new model. Arguments and errors: as for CharLSTM."""
    bfloat16.instructions(precision, kernel)               # raises ValueError before a text is read
    model.group, model.precision, model.kernel = group_of(comm), precision, checks.flag('kernel', kernel)
    seed = secrets.randbits(128) if random_seed is None else checks.whole('random_seed', random_seed, 0, math.inf)
    model.random = np.random.default_rng(model.group.broadcast(int, seed))         # the same numbers in all processes
    model.uchar, model.batch_size, model.stateful, model.text, model.schedule = [], None, False, None, None
    model.X, model.Y, model.n_batches, model.texts = {}, {}, {}, {}
    model.p, model.lp, model.rate, model.average_weight = {}, {}, None, None
    model.weights, model.averaged_steps, model.optimiser_variables, model.best = {}, 0, {}, None
    model.carried, model.validation, model.functions = None, (None, 0), CompiledFunctions()


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
    warn_if_truncated(model)
    if verbose and model.group.first:
        print(text.summary())


def set_text(model, text):
    """Set the Text of the model, and end any running fit."""
    model.text, model.uchar, model.batch_size, model.stateful = text, list(text.uchar), text.batch_size, text.stateful
    model.X, model.Y, model.n_batches, model.texts = text.X, text.Y, text.n_batches, text.texts
    model.schedule, model.carried, model.validation = None, None, (None, 0)


def warn_if_truncated(model):
    """Warn if sequences are longer than the gradient reaches back."""
    depth, T = model.lp.get('bptt_maxdepth', -1), len(model.X['train'][0]) if model.text else 0
    if 0 < depth < T:
        warn(f'only the last {depth} of the {T} steps of a sequence are trained on: bptt_maxdepth is '
             f'{depth}, seq_length {model.text.seq_length}; set them to the same number')


def reset_states(model):
    """Reset the states that training carries from batch to batch to zeros, as at the start of the text."""
    model.carried = None


# ---------------------------------------------------------------- the parameters

def arrays(variables):
    """Return the arrays of shared variables by name. Do not write to them."""
    return {name: variable.get_value(borrow=True) for name, variable in variables.items()}


def vocabulary_size(model):
    """Return the number of characters that the model knows. Raises ValueError if there are no parameters."""
    if not model.p:
        raise ValueError('no model yet: first call fit, or prepare_input and model_setup, or load a checkpoint')
    return model.p['c'].get_value(borrow=True).shape[0]


def sizes(model):
    """Return the units of each layer, from the first on. Raises ValueError if there are no parameters."""
    vocabulary_size(model)
    return units(arrays(model.p))


def zero_states(model, B):
    """Return the states before a text, of each layer h (B,H), and C (B,SH): its S cell states side by side."""
    S = cell_of_model(model).counts.S
    return [np.zeros((B, n * H), theano.config.floatX) for H in sizes(model) for n in (1, S)]


def state_names(model):
    """Return the names of the states of all layers: h1, C1, h2, C2 and so on."""
    return in_layers('hC', layers_of(model.p))


def kinds(arrays):
    """Return the shapes and types of arrays by name."""
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def updated(variables, new):
    """Set shared variables to new values, and return them by name: new ones if a shape or a type changes."""
    if kinds(arrays(variables)) != kinds(new):
        return {name: theano.shared(array, name) for name, array in new.items()}
    for name, array in new.items():
        variables[name].set_value(array)
    return variables


def set_parameters(model, new, uchar):
    """Replace parameters and vocabulary, and end any running fit. Keep compiled functions if shapes and types stay."""
    model.uchar, variables = list(uchar), updated(model.p, new)
    if variables is not model.p:
        model.p, model.functions, model.optimiser_variables = variables, CompiledFunctions(), {}
    model.weights, model.averaged_steps = updated(model.weights, new if model.lp.get('average') else {}), 0
    model.schedule, model.carried, model.validation = None, None, (None, 0)


def optimiser_variables(model):
    """Return the optimiser's state as shared variables; the initial one if names, shapes or types have changed."""
    initial = map_state(lambda value: np.asarray(value, model.p['c'].dtype),
                        model.optimiser_state(list(arrays(model.p).values())))
    now = arrays(named_state(model.optimiser_variables, model.p))
    if kinds(now) != kinds(named_state(initial, model.p)):
        model.optimiser_variables = map_state(theano.shared, initial)
    return model.optimiser_variables


def set_rate(model, rate):
    """Set dyn_lrate. Raise ValueError unless the rate is a finite number of at least 0."""
    model.rate.set_value(checks.real('dyn_lrate', np.asarray(rate).item(), 'of at least 0', lambda v: v >= 0))


def finite(model):
    """Return whether all parameters and the optimiser's state are finite."""
    variables = {**named_state(model.optimiser_variables, model.p), **model.p}, model.weights
    return all(np.isfinite(array).all() for each in variables for array in arrays(each).values())


def versions(model):
    """Return versions, the device and its threads, the processor, and the commit of a clone or None, by name."""
    no_name, line = shell("grep -m1 'model name' /proc/cpuinfo")           # of the processor; not on ARM
    no_clone, commit = shell(f'git -C {shlex.quote(ROOT)} --git-dir=.git describe --always --exclude="*" --dirty')
    return dict(python=platform.python_version(), numpy=np.__version__, theano=theano.__version__,
                device=computes_on(model), processor=platform.processor() if no_name else line.partition(': ')[2],
                commit=None if no_clone else commit)


# ---------------------------------------------------------------- compiled functions

def code_of(function):
    """Return what changes if a function is edited: its code and defaults or, with a closure, the function itself."""
    function = getattr(function, '__func__', function)
    if not isinstance(function, types.FunctionType) or function.__closure__:
        return function
    return function.__code__, function.__defaults__, function.__kwdefaults__


def functions(model):
    """Return the compiled functions by name, after dropping them if a symbol function, the cell or lp was edited."""
    edited = model.cell, model.optimiser, model.optimiser_state, *model._symbols().values()
    now = [code_of(function) for function in edited], dict(model.remembers), {**getattr(model.lp, 'data', {})}
    if model.functions.sources != now:
        model.functions = CompiledFunctions()
        model.functions.sources = now
    return model.functions


def cell_of_model(model):
    """Return the Cell of the attributes cell and remembers. Raises ValueError if the function is no cell."""
    made = functions(model)
    made.cell = made.cell or Cell(model.cell, theano.config.floatX, model.remembers)
    return made.cell


def operations(model):
    """Return the operations of the network: a Kernel or, on a GPU, a Scan."""
    cell, made = cell_of_model(model), functions(model)
    p = arrays(model.p)
    layers = layers_of(p)
    names = [*base_names(layers), *in_layers(cell.own, layers)]
    widths = [n * H for H in units(p) for n in (1, cell.counts.S)]
    carried = [state.shape[1] for state in model.carried or model.validation[0] or ()]
    if p and (list(p), rows_of(p)) != (names, cell.counts.rows) or carried not in ([], widths):
        raise ValueError(f'the cell {cell.name} has other parameters or states than the model: call model_setup')
    if model.precision == 'bfloat16' and not cell.program:
        raise ValueError(f'precision bfloat16 needs the C kernel, which cannot compute the cell {cell.name} '
                         f'({cell.unknown}): use float32')
    if made.operations is None:
        step_by_step = not (model.kernel and cell.program)
        in_c = bool(compiler.cxx) and not step_by_step
        made.operations = Kernel(cell, in_c, bfloat16.instructions(model.precision), step_by_step) if on_cpu() else (
            Scan(cell))
    return made.operations


def computes_on(model):
    """Return a description of what computes the network."""
    return theano_setup.computes_on(operations(model).in_c, bfloat16.instructions(model.precision))


def compile(model, *names):
    """Recompile after something that the functions read has changed: those in names now, the others when used."""
    model.functions = CompiledFunctions()
    for name in names:
        compiled(model, name)


def compiled(model, name):
    """Return the compiled function 'predict', 'check', 'train_rmsprop', 'train_sgd', 'sample', 'read' or 'states'."""
    vocabulary_size(model)
    made = functions(model)
    if name not in made:
        build = dict(predict=build_forward, states=build_forward, check=build_forward, sample=build_sample,
                     read=build_read, train_rmsprop=build_train, train_sgd=build_train)[name]
        with bar(None, f'compiling {name}, once', 'files') as progress:
            def report(done, total):
                progress.total = total
                progress.update(done - progress.n)

            with compiling(report):
                made[name] = build(model, operations(model), name)
    return made[name]


def build_forward(model, ops, name):
    """Compile a function of characters x (T,B), targets y (T,B) (only 'check'), and states.

    'predict' returns log probabilities (T*B,V) and the new states. 'states' returns the states after each step, then
    the new states. 'check' returns the mean cost, the most probable characters, the new states and the costs (T,B).
    """
    x, states = tt.imatrix('x'), tt.matrices(state_names(model))
    y = tt.imatrix('y') if name == 'check' else x          # the others' results do not depend on the targets
    outputs = model._symbols()['network'](x, y, states, model.p, ops)
    if name == 'check':
        results = [outputs.costs.mean(), outputs.best, *outputs.after, outputs.costs]
        return theano.function([x, y, *states], results, on_unused_input='ignore')
    if name == 'predict' and not costs_follow(outputs, x):
        warn('network was edited, and its costs could not be shown to be -log p: training and validation use them, but '
             'scores, alternatives and pages show -log p')
    results = outputs.states if name == 'states' else [log_probabilities(outputs)]
    return theano.function([x, *states], results + outputs.after, on_unused_input='ignore')


def build_sample(model, ops, name):
    """Compile 'sample', from prime, bits, n, choice and states to texts (m+n,B) and new states; in C if possible."""
    if ops.in_c and is_as_in_c(model._symbols()['network'], model.p, ops):
        prime, bits, n, choice = tt.imatrix('prime'), tt.lmatrix('bits'), tt.lscalar('n'), tt.vector('choice')
        states = tt.matrices(state_names(model))
        return theano.function([prime, bits, n, choice] + states, ops.sample(prime, bits, n, choice, states, model.p))
    predict = compiled(model, 'predict')
    if ops.in_c:
        warn('network was edited and engine/kernel/sampling.c was not: texts are written step by step, more slowly')
    return functools.partial(continue_texts, predict)


def build_read(model, ops, name):
    """Return 'read', from characters x (T,B) and states to log probabilities (T,B,V) and new states."""
    if ops.in_c and is_as_in_c(model._symbols()['network'], model.p, ops):
        return ops.reader(model.p)
    predict, S = compiled(model, 'predict'), cell_of_model(model).counts.S

    def read(x, *states):
        logs, *after = predict(x, *checks.states(states, x.shape[1], sizes(model), S))
        return logs.reshape(*x.shape, -1), after
    return read


def build_train(model, ops, name):
    """Compile a training step, from x, y, states, weights and what is kept to cost, best, new states and ratios.

    A single process has one function for the whole step. A process group sums the gradients between two halves.
    """
    if not model.lp:
        raise ValueError('no learning parameters yet: call model_setup first')
    cell, symbols, lp = cell_of_model(model), model._symbols(), dict(model.lp)
    if model.kernel and not cell.program:
        warn(f'the cell {cell.name} uses {cell.unknown}, which is not elementwise: it runs in NumPy, more slowly')
    (x, y), states, weights = tt.imatrices('x', 'y'), tt.matrices(state_names(model)), tt.matrix('weights')
    # Rounded as in kept_units and kept_weights, so that the mean of a mask is 1.
    shares = [round(lp[name] * 2 ** 16) / 2 ** 16 for name in ('dropout', 'dropconnect') if lp[name]
              for _ in sizes(model)]
    kept = [tt.TensorType('bool', 3 * [False])() for _ in shares]   # bool: new memory costs page faults
    masks = [each * np.asarray(1 / (1 - share), theano.config.floatX) for each, share in zip(kept, shares)]
    trained = model.weights or model.p                     # if there are weights, p is their running average
    parameters, averages = list(trained.values()), list(model.p.values()) if lp['average'] else []
    cost, outputs = symbols['objective'](x, y, states, weights, masks, trained, ops, lp)
    try:
        gradients = tt.grad(cost, parameters, return_disconnected='None', disconnected_inputs='ignore')
    except (NotImplementedError, theano.gradient.NullTypeGradError) as error:
        if not ops.in_c:
            raise
        raise ValueError('the edited network needs a gradient that is not in C: use --kernel off or '
                         'CharLSTM(kernel=False)') from error
    unused = [name for name, gradient in zip(base_names(layers_of(model.p)), gradients)    # a cell need not use its own
              if gradient is None and arrays(model.p)[name].size]                          # and may have no W
    if unused:
        raise ValueError(f'the costs do not depend on {", ".join(unused)}: use all parameters in network')
    gradients = [tt.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients)]
    optimiser, state = symbols['sgd'], {}
    if name == 'train_rmsprop':
        optimiser, state = model.optimiser, optimiser_variables(model)

    def second_half(gradients, size):
        """Return the update ratios and the updates, pairs of a shared variable and its new value."""
        ratios, new, new_averages, new_state = symbols['update'](
            gradients, size, parameters, averages, model.average_weight, state, model.rate, lp, optimiser, ops)
        if len(new) != len(parameters) or set(new_state) != set(state):
            raise ValueError(f'the optimiser returned {len(new)} steps and the state {sorted(new_state)}: expected '
                             f'{len(parameters)} steps and the state {sorted(state)}')
        before, after = [named_state(each, model.p) for each in (state, new_state)]
        return ratios, [*[(before[name], after[name]) for name in before], *zip(averages, new_averages),
                        *zip(parameters, new)]

    inputs = [x, y, *states, weights, *kept]
    results = [outputs.costs.mean(), outputs.best, *outputs.after]
    if model.group.size == 1:
        ratios, updates = second_half(gradients, outputs.costs.size)
        return theano.function(inputs, results + ratios, updates=updates, on_unused_input='ignore')
    first = theano.function(inputs, results + [theano.Out(g, borrow=True) for g in gradients] + [outputs.costs.size],
                            on_unused_input='ignore')
    sums, size = [g.type() for g in gradients], tt.scalar('size')          # of the whole batch
    ratios, updates = second_half(sums, size)
    second = theano.function(sums + [size], ratios, updates=updates, on_unused_input='ignore')
    return DataParallelStep(first, second, model.group, len(gradients))


# ---------------------------------------------------------------- a step

def as_batch(model, x, y):
    """Return inputs and targets as int32 (T,B)."""
    x, y = checks.characters('x', x, vocabulary_size(model)), checks.characters('y', y, vocabulary_size(model))
    if x.shape != y.shape:
        raise ValueError(f'x has shape {x.shape} and y {y.shape}: expected the same')
    return x, y


def theano_train_rmsprop(model, x, y):
    """Take one step of the optimiser, RMSprop unless you set another, on a batch: x and y int (T,B) or (T,).

    It starts from zero states or, in a stateful text, from those after the last step; a share lp['reset'] of the rows
    then restarts from zeros. Returns a list: the cost and the most probable characters (T,B), both before the step, and
    the ratios ||step|| / ||p|| of all parameters, in the order of p. The cost includes dropout, but no penalties.
    """
    return train(model, 'train_rmsprop', x, y)


def theano_train_sgd(model, x, y):
    """Take one step of gradient descent. Arguments and results are those of theano_train_rmsprop."""
    return train(model, 'train_sgd', x, y)


def train(model, name, x, y):
    """Take a training step by the compiled function of this name; the rest is as in theano_train_rmsprop."""
    x, y = as_batch(model, x, y)
    function = compiled(model, name)
    B = x.shape[1] if model.group.size == 1 else model.batch_size          # rows of the whole batch
    rows = model.group.rows(B)                                             # those of x, a slice
    before = states_before(model, x, rows)
    inputs = [*before, cost_weights(model, x, B), *kept_in_step(model, x, rows)]
    if model.lp['average']:
        model.averaged_steps += 1
        # At first the average covers about the last tenth of the steps, so that it forgets the initial values.
        model.average_weight.set_value(min(model.lp['average'], 1 - 10 / (model.averaged_steps + 9)))
    cost, best, *more = function(x, y, *inputs)
    after, ratios = more[:len(before)], more[len(before):]
    model.p['c'].tag.updates = 1 + updates_of(model.p)
    if model.stateful:
        model.carried = after
    return [float(cost), best, *map(float, ratios)]


def states_before(model, x, rows):
    """Return the states before x: those carried, if any, with some rows reset to zeros."""
    if model.carried is None or len(model.carried[0]) != x.shape[1]:
        return zero_states(model, x.shape[1])
    if not model.lp['reset']:
        return model.carried
    kept = ~begins_anew(model.random, model.lp['reset'], rows)     # so that it also trains on zero states
    return [state * kept[:, None].astype(state.dtype) for state in model.carried]


def cost_weights(model, x, B):
    """Return the weight of each cost of x in the gradient, (T,B): 0 before the last bptt_maxdepth steps."""
    depth, weights = model.lp['bptt_maxdepth'], np.full(x.shape, 1 / (len(x) * B), theano.config.floatX)
    if depth != -1:
        weights[:-depth] = 0
    return weights


def kept_in_step(model, x, rows):
    """Return which units a step on x keeps, if lp has dropout, then which recurrent weights, if it has dropconnect."""
    random, dropout, dropconnect = model.random, model.lp['dropout'], model.lp['dropconnect']
    weights = in_layers('W', layers_of(model.p)) if dropconnect else []
    return [*(kept_units(random, dropout, rows, len(x), sizes(model)) if dropout else []),
            *kept_weights(random, dropconnect, [model.p[name].get_value(borrow=True).shape for name in weights])]


def check(model, x, y, states=None):
    """Return mean cost, most probable characters, new states and costs (T,B). states: those before x; None: zeros."""
    return compiled(model, 'check')(x, y, *states or zero_states(model, x.shape[1]))


def theano_predict(model, x):
    """Return [probabilities (T,B,V), most probable characters (T,B)] after each of x, int (T,B) or (T,)."""
    x = checks.characters('x', x, vocabulary_size(model))
    log_p = compiled(model, 'predict')(x, *zero_states(model, x.shape[1]))[0]      # (T*B, V)
    return [np.exp(log_p).reshape(x.shape + (-1,)), log_p.argmax(axis=1).reshape(x.shape)]


def theano_check(model, x, y):
    """Return [mean cost in nats, most probable characters (T,B)], from zero states; x and y int (T,B) or (T,)."""
    cost, best, *_ = check(model, *as_batch(model, x, y))
    return [float(cost), best]
