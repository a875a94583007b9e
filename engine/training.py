"""The state of a model between two steps, its compiled functions, and its checkpoints: methods of CharLSTM.

Each function takes the model first. What it is made of, besides what the docstring of CharLSTM lists:

    group, precision, kernel    the processes that train it, of the inputs of products, and whether C computes it
    text                        the Text that was prepared, or None
    weights, averaged_steps     what is trained, by name, where p is its running average over so many steps, or {}
    average_weight, rate        shared scalars: the weight of that average in a step, and dyn_lrate
    optimiser_variables         what optimiser_state returns, as shared variables; {} until it is needed
    carried                     states before the next training batch, four arrays (B,H), or None
    validation                  states before the next validation batch, and its index
    best                        the parameters of the best epoch of fit, by name, or None
    functions, made_from        what was compiled, by name, and from what
"""
import collections
import functools
import math
import secrets
import sys

import numpy as np

from engine.backend import bfloat16
from engine.backend.theano_setup import compiling, device, kernel_runs, theano, tt
from engine.kernel.cell import Cell
from engine.kernel.fallback import continue_texts, costs_follow, is_as_in_c, log_probabilities
from engine.kernel.ops import Kernel
from engine.kernel.scan import Scan
from engine.model import checks, dropout
from engine.model.batches import Text
from engine.model.files import base_name
from engine.model.parameters import NAMES, own_names, units
from engine.model.run_state import map_state, named_state
from engine.model.text import encoded, shown
from engine.parallel import DataParallelStep, group_of
from engine.run import table
from engine.terminal import bar, printable, warn

STATES = ('h1', 'C1', 'h2', 'C2')
DRAWS = 'draws random numbers by Theano, which no checkpoint keeps: a resumed run draws others'


class Learning(collections.UserDict):
    """The learning parameters, which are checked when they are set: engine/run/table.py has their names and ranges."""

    def __setitem__(self, name, value):
        if name not in table.LEARNING:
            raise ValueError(f'{name} is no learning parameter: expected one of {", ".join(table.LEARNING)}')
        value = table.LEARNING[name].checked(value)
        if name in self.data and name == 'lrate' and value != self.data[name]:
            raise ValueError(f"lp['lrate'] is only the first rate: set dyn_lrate or, in fit, schedule.rate_factor, not "
                             f'{value}')
        if name in self.data and name == 'average' and bool(value) != bool(self.data[name]):
            raise ValueError("lp['average'] begins and ends only with model_setup")
        self.data[name] = value


def begin(model, random_seed, kernel, comm, precision):
    """Give a new model its attributes. Arguments and errors: as of CharLSTM."""
    if random_seed is not None:
        checks.whole('random_seed', random_seed, 0, most=math.inf)
    bfloat16.instructions(precision, kernel)               # refuse before a text is read
    model.group, model.precision, model.kernel = group_of(comm), precision, kernel and kernel_runs()
    seed = secrets.randbits(128) if random_seed is None else random_seed
    model.random = np.random.default_rng(model.group.broadcast(int, seed))         # the same numbers in all processes
    model.uchar, model.batch_size, model.text, model.schedule = [], None, None, None
    model.X, model.Y, model.n_batches, model.texts = {}, {}, {}, {}
    model.p, model.lp, model.rate, model.average_weight = {}, {}, None, None
    model.weights, model.averaged_steps, model.optimiser_variables, model.best = {}, 0, {}, None
    model.carried, model.validation = None, (None, 0)
    model.functions, model.made_from = {}, None


def describe(model):
    """Return a line on the sizes of the model and on its text."""
    of_model = '{} and {} units, {} characters'.format(*sizes(model), V(model)) if model.p else 'no model'
    of_text = f'text {base_name(source(model)["path"])}' if model.text else 'no text'
    return printable(f'{type(model).__name__}({of_model}, {of_text})')


def get_rate(model):
    """Return the learning rate, a shared scalar; None before model_setup. It may be set to a number above 0."""
    return model.rate


def set_rate(model, rate):
    if model.rate is None:
        raise ValueError('no model yet: call model_setup first')
    model.rate.set_value(rate)


def tell(model, line):
    """Warn the user, in the first process only."""
    if model.group.first:
        warn(line)


# ---------------------------------------------------------------- the text

def prepare_input(model, filepath, ratio_valid=0.30, batch_size=50, seq_length=50, verbose=True, encoding='utf-8',
                  stateful=False, valid=None, test=None):
    """Read a text and cut it into batches. A text is a file, an open text file, or a folder of text files.

    The text is cut into consecutive sequences of seq_length characters (a last partial one is dropped), which give
    seq_length - 1 inputs and as many targets. Of n sequences the first (1 - ratio_valid) n, rounded, are for
    training, the others for validation. Consecutive ones fill the batches, and those that fill none are dropped.

    With stateful, the rows of a batch are batch_size long pieces of the training text (or of the validation text)
    that continue from batch to batch: T = seq_length, the last batch may be shorter, and every character is
    predicted. Training and validate then carry the states along.

    valid: a text to validate with. All of the first text is then for training, and ratio_valid is not used. The
    batches of a short one have fewer rows. test: a text to test with, of which only the vocabulary is used. uchar
    has the characters of all texts. Both are kept in the attribute texts, as numbers that score_text takes.

    Sets uchar, batch_size, texts, X, Y and n_batches: X['train'][i] are the inputs and Y['train'][i] the targets of
    the i-th batch, int32 (T,B) with T = seq_length - 1. If the object has parameters that know all characters of
    the texts, uchar stays as it is. If they do not know one, they are dropped, with a warning. Ends any running fit.

    Raises OSError when the file cannot be read, and ValueError for arguments out of range, a wrong encoding, or a
    text too short for one batch.
    """
    text = Text(filepath, ratio_valid, batch_size, seq_length, encoding, stateful, model.group, valid, test)
    if model.p and not model.uchar and V(model) == len(text.uchar):        # set up by char_dim, for this text
        model.uchar = list(text.uchar)
    unknown = set(text.uchar) - set(model.uchar)
    if model.p and unknown:
        tell(model, f'the parameters do not know {shown(unknown)} of the text and were dropped; model_setup makes new '
                    'ones')
        set_parameters(model, {}, text.uchar)
    elif model.p:
        text.renumber(model.uchar)
    set_text(model, text)
    model.schedule = None
    reset_states(model)
    warn_if_truncated(model)
    if verbose and model.group.first:
        print(text.summary())


def set_text(model, text):
    """Let a Text be that of the model."""
    model.text, model.uchar, model.batch_size = text, list(text.uchar), text.batch_size
    model.X, model.Y, model.n_batches, model.texts = text.X, text.Y, text.n_batches, text.texts
    model.validation = None, 0


def is_stateful(model):
    """Return whether the text's rows continue from batch to batch."""
    return model.text is not None and model.text.stateful


def source(model, role='train'):
    """Return the path of the text to train, 'valid' or 'test' with, its number of characters and its sha256, a dict."""
    if not has_text(model, role):
        raise ValueError(f'no text to {role} with yet: call prepare_input with one first')
    return model.text.sources[role]


def has_text(model, role):
    """Return whether there is a text of its own to train, 'valid' or 'test' with."""
    return model.text is not None and role in model.text.sources


def passage(model):
    """Return the beginning of the validation text, by which a run shows what it learns: 'validation' and a string.

    Where there is none, it is 'training' and the beginning of that. Of several processes only the first has it.
    Raises ValueError where no text was prepared.
    """
    if model.text is None:
        raise ValueError('no text yet: call prepare_input first')
    return model.text.passage


def encode(model, text, name):
    """Return a string as numbers of uchar, int32 (n,). Raises ValueError for unknown ones. name: of the string."""
    if not model.uchar:
        raise ValueError('no vocabulary: call fit or prepare_input, or load a checkpoint, first')
    return encoded(text, model.uchar, name)


def warn_if_truncated(model):
    """Warn where sequences are longer than the gradient reaches."""
    depth = model.lp.get('bptt_maxdepth', -1)
    if model.text is not None and 0 < depth < model.text.steps:
        tell(model, f'only the last {depth} of the {model.text.steps} steps of a sequence are trained on: '
                    f'bptt_maxdepth is {depth}, seq_length {model.text.seq_length}; set them to one number')


def reset_states(model):
    """Forget the states that training carries from batch to batch, as at the start of the text."""
    model.carried = None


# ---------------------------------------------------------------- the parameters

def arrays(variables):
    """Return the arrays of shared variables, both by name; not to be written to."""
    return {name: variable.get_value(borrow=True) for name, variable in variables.items()}


def V(model):
    """Return the number of characters that the model knows. Raises ValueError where there are no parameters."""
    if not model.p:
        raise ValueError('no model yet: call model_setup first')
    return model.p['c'].get_value(borrow=True).shape[0]


def sizes(model):
    """Return H1 and H2. Raises ValueError where there are no parameters."""
    V(model)
    return units({name: model.p[name].get_value(borrow=True).shape for name in ('W1', 'W2')})


def zero_states(model, B):
    """Return the states h1, C1, h2, C2 before a text, (B,H1) and (B,H2)."""
    H1, H2 = sizes(model)
    return [np.zeros((B, H), theano.config.floatX) for H in (H1, H1, H2, H2)]


def trained(model):
    """Return what training changes, as shared variables by name."""
    return model.weights or model.p


def kinds(arrays):
    """Return the shapes and types of arrays by name."""
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def updated(variables, new):
    """Return shared variables by name with new values: the same variables, unless a shape or a type changes."""
    if kinds(arrays(variables)) != kinds(new):
        return {name: theano.shared(array, name) for name, array in new.items()}
    for name, array in new.items():
        variables[name].set_value(array)
    return variables


def set_parameters(model, new, uchar):
    """Replace parameters and vocabulary, and end fit. Compiled functions stay where all shapes and types stay."""
    model.uchar, model.schedule, before = list(uchar), None, model.p
    model.p = updated(model.p, new)
    if model.p is not before:
        model.functions, model.optimiser_variables = {}, {}
    set_weights(model, new if model.lp.get('average') else {})
    model.validation = None, 0
    reset_states(model)


def set_weights(model, new, averaged_steps=0):
    """Replace the weights, whose average over averaged_steps steps is p; {}: p itself is trained."""
    model.weights, model.averaged_steps = updated(model.weights, new), averaged_steps


def optimiser_variables(model):
    """Return the optimiser's state as shared variables; the initial one if names or shapes are those of another."""
    initial = map_state(lambda value: np.asarray(value, model.p['c'].dtype),
                        model.optimiser_state(list(arrays(model.p).values())))
    now = arrays(named_state(model.optimiser_variables, model.p))
    if kinds(now) != kinds(named_state(initial, model.p)):
        model.optimiser_variables = map_state(theano.shared, initial)
        for name, variable in named_state(model.optimiser_variables, model.p).items():
            variable.name = name
    return model.optimiser_variables


def checked(optimiser):
    """Return an optimiser that raises ValueError where it returns other things than optimiser_state says."""
    def optimise(gradients, parameters, state, lrate, lp):
        steps, new = optimiser(gradients, parameters, state, lrate, lp)
        before, after = [named_state(each, range(len(parameters))) for each in (state, new)]
        if len(steps) != len(parameters) or set(before) != set(after):
            raise ValueError(f'the optimiser returned {len(steps)} steps and the state {sorted(new)}: expected '
                             f'{len(parameters)} steps and the state {sorted(state)}')
        for variable, value in [*zip(parameters, steps), *[(before[name], after[name]) for name in before]]:
            if (getattr(value, 'dtype', None), getattr(value, 'ndim', None)) != (variable.dtype, variable.ndim):
                raise ValueError(f'the optimiser returned {getattr(value, "type", repr(value))} for {variable}: '
                                 f'expected {variable.type}')
        return steps, new
    return optimise


def finite(model):
    """Return whether all parameters and the optimiser's state are finite numbers."""
    state = named_state(model.optimiser_variables, model.p)
    return all(np.isfinite(array).all() for variables in (model.p, state, model.weights)
               for array in arrays(variables).values())


def versions(model):
    """Return the versions of what computes, and the device, as strings by name."""
    return dict(python='.'.join(map(str, sys.version_info[:3])), numpy=np.__version__, theano=theano.__version__,
                device=device())


# ---------------------------------------------------------------- compiled functions

def code_of(function):
    """Return what tells a function from an edited one: its code and defaults or, with a closure, itself."""
    function = getattr(function, '__func__', function)
    return function if getattr(function, '__closure__', None) else getattr(function, '__code__', function), getattr(
        function, '__defaults__', None)


def functions(model):
    """Return what was compiled, by name, after dropping what is of an edited function, cell or learning parameter."""
    now = [[code_of(function) for function in (
        model.cell, model.optimiser, model.optimiser_state, *model.symbols().values())],
        dict(model.cell_parameters), dict(model.lp)]
    if model.made_from != now:
        model.functions, model.made_from = {}, now
    return model.functions


def cell_of_model(model):
    """Return the Cell of the attributes cell and cell_parameters. Raises ValueError for what cannot be a cell."""
    made = functions(model)
    if 'cell' not in made:
        made['cell'] = Cell(model.cell, checks.cell_parameters(model.cell_parameters), theano.config.floatX)
    return made['cell']


def operations(model):
    """Return the operations of the network: a Kernel if it can compute the cell, otherwise a Scan.

    Raises ValueError where the model lacks a parameter of the cell, or for bfloat16 without the kernel.
    """
    cell = cell_of_model(model)
    if list(model.p)[len(NAMES):] != own_names(cell.own):
        raise ValueError(f'the cell {cell.name} has other parameters than the model: call model_setup after a change '
                         'of cell_parameters')
    if model.kernel and cell.program:
        return Kernel(cell, bfloat16.instructions(model.precision))
    if model.precision == 'bfloat16':
        raise ValueError(f'precision bfloat16 needs the C kernel, which cannot compute the cell {cell.name} '
                         f'({cell.unknown}): take float32')
    return Scan(cell)


def runs_in_c(model):
    """Return whether the C kernel computes this model; otherwise theano.scan does."""
    return isinstance(operations(model), Kernel)


def compile(model, *names):
    """Compile functions anew, after a change of something that they read: those of these names now, others when used.

    names: those of compiled(). Raises OSError where that fails, ValueError for a function that cannot be a cell and
    before model_setup.
    """
    model.functions = {}
    for name in names:
        compiled(model, name)


def compiled(model, name):
    """Return the function 'predict', 'check', 'train_rmsprop', 'train_sgd', 'sample' or 'states', compiled.

    Raises as compile does.
    """
    V(model)                                               # raises without a model
    made = functions(model)

    def report(done, total):
        shown.total = total
        shown.update(done - shown.n)

    if name not in made:
        build = dict(predict=build_predict, states=build_states, check=build_check, sample=build_sample,
                     train_rmsprop=functools.partial(build_train, rule='rmsprop'),
                     train_sgd=functools.partial(build_train, rule='sgd'))[name]
        ops = operations(model)
        try:
            with bar(None, f'compiling {name}, once', 'files') as shown, compiling(report):
                made[name] = build(model, ops)
        except NotImplementedError as error:               # a gradient that an edited network needs and C lacks
            if isinstance(ops, Scan) or model.precision == 'bfloat16':
                raise ValueError(f'the network cannot be computed: {error}') from error
            tell(model, f'theano.scan computes the network, many times slower: {error}')
            model.kernel, model.functions = False, {}      # not some in C and some not
            return compiled(model, name)
        if name.startswith('train'):
            warn_of_training(model, made[name])
    return made[name]


def warn_of_training(model, step):
    """Warn of what a training step, which was just compiled, does otherwise after an edit."""
    cell = cell_of_model(model)
    if model.kernel and not cell.program:
        tell(model, f'the cell {cell.name} uses {cell.unknown}, which is not in C: theano.scan runs it, many times '
                    'slower')
    if any(getattr(variable, 'default_update', None) is not None for variable in step.get_shared()):
        tell(model, f'training {DRAWS}')


def build_predict(model, ops):
    """Compile the function from characters (T,B) and states to log probabilities (T*B,V) and new states."""
    x, states = tt.imatrix('x'), tt.matrices(*STATES)
    outputs = model.symbols()['network'](x, x, states, model.p, ops)               # the targets do not matter
    if not costs_follow(outputs, x):
        tell(model, 'network was edited, and its costs could not be shown to be -log p: training and validation use '
                    'them, but scores, alternatives and pages show -log p')
    return theano.function([x, *states], [log_probabilities(outputs), *outputs.after], updates=ops.updates)


def build_states(model, ops):
    """Compile the function from characters (T,B) and states to the states after each, and those after the last."""
    x, states = tt.imatrix('x'), tt.matrices(*STATES)
    outputs = model.symbols()['network'](x, x, states, model.p, ops)
    return theano.function([x, *states], outputs.states + outputs.after, updates=ops.updates)


def build_check(model, ops):
    """Compile the function from x, y (T,B) and states to mean cost, best characters, new states, costs (T,B)."""
    (x, y), states = tt.imatrices('x', 'y'), tt.matrices(*STATES)
    outputs = model.symbols()['network'](x, y, states, model.p, ops)
    return theano.function([x, y, *states], [outputs.costs.mean(), outputs.best, *outputs.after, outputs.costs],
                           updates=ops.updates)


def build_sample(model, ops):
    """Compile the function from prime, bits, n, choice and states to texts (m+n,B) and new states, in C if possible."""
    if isinstance(ops, Kernel) and is_as_in_c(model.symbols()['network'], model.p, ops):
        prime, bits, n, choice = tt.imatrix('prime'), tt.lmatrix('bits'), tt.lscalar('n'), tt.vector('choice')
        states = tt.matrices(*STATES)
        return theano.function([prime, bits, n, choice] + states, ops.sample(prime, bits, n, choice, states, model.p))
    predict = compiled(model, 'predict')
    if isinstance(ops, Kernel):
        tell(model, 'network was edited, and engine/kernel/sampling.c was not: texts are written a step at a time, '
                    'more slowly')
    return functools.partial(continue_texts, predict)


def build_train(model, ops, rule):
    """Compile a training step: from x, y, states, weights and masks to cost, best, new states and update ratios.

    rule: 'rmsprop' or 'sgd'. One process has one function for both halves of a step. Several sum their gradients
    between two.
    """
    if not model.lp:
        raise ValueError('no learning parameters yet: call model_setup first')
    symbols, lp = model.symbols(), dict(model.lp)
    (x, y), states, weights = tt.imatrices('x', 'y'), tt.matrices(*STATES), tt.matrix('weights')
    masks = tt.tensor3s('mask1', 'mask2') * bool(lp['dropout'])
    masks += tt.tensor3s('connections1', 'connections2') * bool(lp['dropconnect'])
    parameters, averages = list(trained(model).values()), list(model.p.values()) if lp['average'] else []
    cost, outputs = symbols['objective'](x, y, states, weights, masks, trained(model), ops, lp)
    gradients = tt.grad(cost, parameters, return_disconnected='None', disconnected_inputs='ignore')
    unused = [name for name, gradient in zip(model.p, gradients) if gradient is None]
    if unused:
        raise ValueError(f'the costs do not depend on {", ".join(unused)}: use all parameters in network')
    optimiser, state = ((symbols['sgd'], {}) if rule == 'sgd' else
                        (checked(model.optimiser), optimiser_variables(model)))

    def second_half(gradients, size):
        """Return the update ratios and the updates, pairs of a shared variable and its new value."""
        ratios, new, new_averages, new_state = symbols['update'](
            gradients, size, parameters, averages, model.average_weight, state, model.rate, lp, optimiser, ops)
        before, after = [named_state(each, model.p) for each in (state, new_state)]
        return ratios, [*[(before[name], after[name]) for name in before], *zip(averages, new_averages),
                        *zip(parameters, new)]

    inputs = [x, y, *states, weights, *masks]
    results = [outputs.costs.mean(), outputs.best, *outputs.after]
    if model.group.size == 1:
        ratios, updates = second_half(gradients, outputs.costs.size)
        return theano.function(inputs, results + ratios, updates=updates + list(ops.updates.items()))
    first = theano.function(inputs, results + [theano.Out(g, borrow=True) for g in gradients] + [outputs.costs.size],
                            updates=ops.updates)
    sums, size = [g.type() for g in gradients], tt.scalar('size')          # of the whole batch
    ratios, updates = second_half(sums, size)
    second = theano.function(sums + [size], ratios, updates=updates, on_unused_input='ignore')
    return DataParallelStep(first, second, model.group)


# ---------------------------------------------------------------- a step

def batch(model, x, y):
    """Return inputs and targets as int32 (T,B). Raises ValueError for unknown characters and different shapes."""
    x, y = checks.characters('x', x, V(model)), checks.characters('y', y, V(model))
    if x.shape != y.shape:
        raise ValueError(f'x has shape {x.shape} and y {y.shape}: expected the same')
    return x, y


def theano_train_rmsprop(model, x, y):
    """Do one step of the optimiser on a batch, x and y int (T,B) or (T,): of RMSprop unless you set another.

    In a stateful text the states are those after the last step, or zero in a share lp['reset'] of the rows and
    after reset_states; otherwise zero. Returns [cost, best characters, int (T,B)], both before the step, then the
    ratios ||step|| / ||p|| of U1 W1 b1 U2 W2 b2 V c and of the cell's own parameters. The cost is without
    penalties, with dropout where it is used. Raises ValueError for unknown characters, and before model_setup.
    """
    return train(model, 'train_rmsprop', x, y)


def theano_train_sgd(model, x, y):
    """Do one step of gradient descent, with the arguments and results of theano_train_rmsprop."""
    return train(model, 'train_sgd', x, y)


def train(model, name, x, y):
    """Do a training step by a compiled function, as theano_train_rmsprop does."""
    x, y = batch(model, x, y)
    function = compiled(model, name)
    rows, B = rows_of(model, x)
    inputs = [*states_before(model, x, rows), *cost_weights(model, x, B), *masks(model, x, rows)]
    if model.lp['average']:
        model.averaged_steps += 1
        # At first the average is over about a tenth of the steps, so that it forgets the initial values.
        model.average_weight.set_value(min(model.lp['average'], 1 - 10 / (model.averaged_steps + 9)))
    cost, best, h1, C1, h2, C2, *ratios = function(x, y, *inputs)
    if is_stateful(model):
        model.carried = [h1, C1, h2, C2]
    return [float(cost), best, *map(float, ratios)]


def rows_of(model, x):
    """Return which rows of the whole batch x (T,B) has, a slice, and how many rows the whole batch has."""
    if model.group.size == 1:
        return slice(0, x.shape[1]), x.shape[1]
    rows = model.group.rows(model.batch_size)
    if x.shape[1] != rows.stop - rows.start:
        raise ValueError(f'x has {x.shape[1]} rows: expected {rows.stop - rows.start}, the share that this process '
                         f'has of batches of {model.batch_size}')
    return rows, model.batch_size


def states_before(model, x, rows):
    """Return the states before x: those carried, if any, with some rows reset to zeros."""
    if not (is_stateful(model) and model.carried is not None and len(model.carried[0]) == x.shape[1]):
        return zero_states(model, x.shape[1])
    if not model.lp['reset']:
        return model.carried
    kept = ~dropout.begins_anew(model.random, model.lp['reset'], rows)     # so that the model also sees beginnings
    return [state * kept[:, None].astype(state.dtype) for state in model.carried]


def cost_weights(model, x, B):
    """Return, in a list, the weight of each cost of x in the gradient, (T,B): 0 before the last bptt_maxdepth steps."""
    depth, weights = model.lp['bptt_maxdepth'], np.full(x.shape, 1 / (len(x) * B), theano.config.floatX)
    if depth != -1:
        weights[:-depth] = 0
    return [weights]


def masks(model, x, rows):
    """Return the masks of a step on x: of units for dropout, then of weights for DropConnect, if any."""
    H, dtype, found = sizes(model), theano.config.floatX, []
    if model.lp['dropout']:
        found += dropout.unit_masks(model.random, model.lp['dropout'], rows, len(x), H, dtype)
    if model.lp['dropconnect']:
        found += dropout.weight_masks(model.random, model.lp['dropconnect'], H, dtype)
    return found


def check(model, x, y, states=None):
    """Return the mean cost of y after x, the best characters, new states and costs (T,B); states: None for zeros."""
    return compiled(model, 'check')(x, y, *states or zero_states(model, x.shape[1]))


def theano_predict(model, x):
    """Predict the character after each of x, int (T,B) or (T,), from zero states.

    Returns [probabilities (T,B,V), the most probable characters, int (T,B)]. Raises ValueError for unknown ones.
    """
    x = checks.characters('x', x, V(model))
    log_p = compiled(model, 'predict')(x, *zero_states(model, x.shape[1]))[0]      # (T*B, V)
    return [np.exp(log_p).reshape(x.shape + (-1,)), log_p.argmax(axis=1).reshape(x.shape)]


def theano_check(model, x, y):
    """Return the mean cost, in nats a character, of predicting y from x, int (T,B) or (T,), from zero states.

    The result is [cost, the most probable characters, int (T,B)]. Raises ValueError for unknown characters.
    """
    cost, best, *_ = check(model, *batch(model, x, y))
    return [float(cost), best]
