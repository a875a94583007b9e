"""Compile what a model computes, when it is needed, and again after edits: methods of CharLSTM."""
import contextlib
import functools
import itertools

import numpy as np

from engine.backend import compiler
from engine.backend.theano_setup import theano, tt
from engine.data.parameters import in_layers, layers_of, named_state, recurrent
from engine.graph.cell import line_that_makes, lines_of
from engine.graph.elementwise import SameArrays
from engine.graph.ops import Kernel, SoftmaxCrossEntropy
from engine.graph.scan import Scan
from engine.graph.standard import equal_computations, standard_network
from engine.model.edits import NO_TRACES, REPLACEABLE, CompiledFunctions, cell_of_model, functions, has_standard_layer
from engine.model.state import (arrays, continue_streams, in_torch, kinds, new_kinds, optimiser_variables, sizes,
                                vocabulary_size, widths, zero_states)
from engine.parallel import DataParallelStep
from engine.terminal import number_of, warn


def operations(model):
    """Return the operations of the network: a Kernel or, without it, a Scan."""
    cell, made = cell_of_model(model), functions(model)
    if made.operations is None:
        check_parameters(model, cell)
        if model.precision == 'bfloat16' and not cell.program:
            raise ValueError(f'precision bfloat16 needs the C kernel, which cannot compute the cell {cell.name} '
                             f'({cell.unknown}): use float32')
        for H in sizes(model) if model.p and not cell.program else ():
            cell.check(H)
        if model.kernel:
            layer = None if has_standard_layer(model) else model.layer
            in_c = bool(compiler.cxx and cell.program)
            made.operations = Kernel(cell, in_c, compiler.bfloat16(model.precision, cell.dtype), layer,
                                     model.device != 'cpu')
        else:
            made.operations = Scan(cell, model.layer)
        check_functions(model, made.operations)
    return made.operations


def check_parameters(model, cell):
    """Raise ValueError if the model has other parameters or states than new ones of its class have."""
    if model.p:
        carried = [state.shape[1] for state in model.carried or model.validation[0] or ()]
        expected = new_kinds(model, vocabulary_size(model), sizes(model))
        if kinds(arrays(model.p)) != expected or carried not in ([], [*widths(model, sizes(model)).values()]):
            raise ValueError(f'{type(model).__name__}, with the cell {cell.name}, has other parameters or states than '
                             'before: call model_setup')


def computes_on(model):
    """Return a description of what computes the network."""
    if model.device != 'cpu':
        way = 'torch.lstm' if operations(model).in_one_call else 'a loop over steps'
        return f'{in_torch().described(model.device)}, by {way}, in {theano.config.floatX}'
    threads = compiler.threads() if not compiler.cxx or compiler.openmp() else 1
    by = 'the C kernel' if operations(model).in_c else 'NumPy' if model.kernel else 'theano.scan'
    instructions = compiler.bfloat16(model.precision, theano.config.floatX)
    products = f', products in bfloat16 ({instructions})' if instructions else ''
    slow = '' if compiler.cxx else '; C, with a compiler such as g++, is 2.1 to 2.7 times as fast'
    return f'the CPU, {number_of(threads, "thread")}, by {by}, in {theano.config.floatX}{products}{slow}'


def compile(model, *names):
    """Recompile after something that the functions read has changed: those in names now, the others when used."""
    model.functions = CompiledFunctions()
    for name in names:
        compiled(model, name)


def compiled(model, name):
    """Return the compiled 'predict', 'scores', 'check', 'states', 'train_rmsprop', 'train_sgd' or 'texts'."""
    vocabulary_size(model)
    made = functions(model)
    if name not in made:
        build = dict(texts=build_texts, train_rmsprop=build_train, train_sgd=build_train).get(name, build_forward)
        made[name] = build(model, operations(model), name)
        continue_streams(model, name, getattr(made[name], 'streams', []))
    return made[name]


def metrics(model):
    """Return the names of the network's metrics."""
    batch, _ = batch_of(model, tt.imatrix('x'), tt.imatrix('y'))
    return list(model.network(batch, model.p, operations(model)).metrics)


def has_standard_network(model, ops):
    """Return whether C computes the same as the model's network when it predicts, by their graphs."""
    made = functions(model)
    if made.in_c is None:
        made.in_c = False
        with contextlib.suppress(Exception), theano.change_flags(**NO_TRACES):         # an error comes again in its use
            x, y = tt.imatrices('x', 'y')
            batch, _ = batch_of(model, x, y)
            outputs = model.network(batch, model.p, ops)
            own = [outputs.costs, outputs.probabilities, *states_after(outputs)]
            standard = standard_network(x, y, batch.states, model.p, ops)
            made.in_c = len(own) == len(standard) and equal_computations(own, standard)
    return made.in_c


def is_standard(model):
    """Return whether C computes the model's network and layer, by their graphs."""
    return has_standard_layer(model) and has_standard_network(model, operations(model))


def flat(pairs):
    """Return the items of pairs in one list, such as the states of all layers: h1, C1, h2, C2 and so on."""
    return list(itertools.chain(*pairs))


def batch_of(model, x, y):
    """Return a Batch of characters x and targets y, to predict with, and the symbols of its states in a list."""
    states = [tt.matrices(f'h{k}', f'C{k}') for k in range(1, 1 + layers_of(model.p))]
    memory = [tt.matrix('memory')] * bool(model.memory(sizes(model)))
    return model.Batch(x, y, states, *memory), flat(states) + memory


def states_after(outputs):
    """Return the states after the last step, from Outputs, in the order of batch_of."""
    return flat([each.after for each in outputs.layers]) + ([] if outputs.memory is None else [outputs.memory])


def build_forward(model, ops, name):
    """Compile a function of characters x (T,B), targets y (T,B) (only 'check'), and states.

    'predict' returns log probabilities (T*B,V) and the new states, 'scores' scores_of in their place. 'states' returns
    the states after each step, then the new states. 'check' returns the mean cost, the most probable characters, the
    new states, the costs (T,B), and the means of the network's metrics, whose names it has.
    """
    x = tt.imatrix('x')
    y = tt.imatrix('y') if name == 'check' else x          # the others' results do not depend on the targets
    batch, states = batch_of(model, x, y)
    outputs = model.network(batch, model.p, ops)
    after = states_after(outputs)
    if name == 'check':
        means = [metric.mean() for metric in outputs.metrics.values()]
        function = function_of(model, [x, y, *states], [
            outputs.costs.mean(), outputs.best, *after, outputs.costs, *means])
        function.metrics = list(outputs.metrics)
        return function
    if name == 'predict' and not costs_follow(outputs, x):
        warn(f'the costs of the network of {type(model).__name__} could not be shown to be -log p: training and '
             'validation use them, but scores and alternatives are -log p')
    of_characters = dict(states=flat([each[:2] for each in outputs.layers]), scores=[scores_of(outputs)])
    results = of_characters.get(name) or [tt.nnet.logsoftmax(scores_of(outputs))]
    return function_of(model, [x, *states], results + after)


def scores_of(outputs):
    """Return log probabilities plus any number (T*B,V), from Outputs, since probabilities may become 0."""
    node = outputs.probabilities.owner
    if node is not None and isinstance(node.op, (SoftmaxCrossEntropy, tt.nnet.CrossentropySoftmaxArgmax1HotWithBias)):
        scores, bias = node.inputs[:2]
        return scores + bias
    return tt.log(tt.maximum(outputs.probabilities, np.finfo(outputs.probabilities.dtype).tiny))


def costs_follow(outputs, y):
    """Return whether, by their graph, the costs of a network's Outputs are -log p[y]."""
    softmax = outputs.probabilities.owner      # its first output is the costs, in C and in Theano's own operation
    return softmax is not None and equal_computations([outputs.costs], [softmax.outputs[0].reshape(y.shape)])


def check_functions(model, ops):
    """Compute a small batch by functions that were replaced, so that an error names the line.

    Raise ValueError if they return something else than those of charlstm.py do.
    """
    of_symbols = 'layer', 'network', 'objective', 'penalty', 'optimiser', 'memory'
    if not model.p or has_standard_network(model, ops) and all(
            getattr(model, name).__module__ == model.training_step.__module__ for name in of_symbols):
        return
    x, weights, p, lp = tt.imatrix('x'), tt.matrix(), model.p, dict(model.lp)
    batch, states = batch_of(model, x, x)
    masks = [tt.tensor3() for _ in batch.states] if lp.get('dropout') else []
    values = np.zeros((3, 2)), *zero_states(model, 2), np.ones((3, 2)), *[np.ones((3, 2, H)) for H in sizes(model)]
    parameters, wrong = list(p.values()), {}               # parameters have the shapes of their gradients
    with lines_of(replaced_first(model), type(model).__name__, dict(zip((x, *states, weights, *masks), values))):
        outputs = model.network(batch, p, ops)
        if not hasattr(outputs, 'memory'):
            raise ValueError(f'network of {type(model).__name__} returns {outputs}: expected Outputs')
        kinds = [[f'{v.dtype} {theano.gof.op.get_test_value(v).shape}' for v in each]
                 for each in (states_after(outputs), states)]
        if kinds[0] != kinds[1]:
            raise ValueError(f'network of {type(model).__name__} returns the states {", ".join(kinds[0])} for two '
                             f'sequences: expected {", ".join(kinds[1])}, h and C of each layer and, last, memory')
        wrong['network'] = {getattr(v, 'ndim', None) for v in [*outputs[:4], *outputs.metrics.values()]} != {2}
        if lp and not wrong['network']:
            training = batch._replace(cost_weights=weights, h_masks=masks or len(batch.states) * [1], W_masks={})
            found = model.objective(training, p, ops, lp, model.network)
            wrong['objective'] = not is_pair(found) or getattr(found[0], 'ndim', None) != 0 or not hasattr(
                found[1], 'costs')
            cost = model.penalty(parameters, lp['l1'], lp['l2'])
            wrong['penalty'] = not isinstance(cost, (int, float, np.number, theano.Variable)) or np.ndim(cost)
            found = model.optimiser(parameters, parameters, optimiser_variables(model), model.rate, lp)
            wrong['optimiser'] = not is_pair(found) or not isinstance(found[1], dict)
    if any(wrong.values()):
        name = next(filter(wrong.get, wrong))
        raise ValueError(f'{name} of {type(model).__name__} does not return what that of charlstm.py does')


def is_pair(values):
    return isinstance(values, (tuple, list)) and len(values) == 2


def check_parts(model, ops):
    """Raise ValueError if the network predicts something else when it reads a text in two parts than at once."""
    x, random = tt.imatrix('x'), np.random.default_rng(0)
    batch, states = batch_of(model, x, x)
    p = {name: v.type(name) for name, v in model.p.items()}
    characters = np.array([[0, 1], [1, 0], [0, 1]]) % vocabulary_size(model)
    values = [characters, *zero_states(model, 2),          # noise, since parameters may be 0 at first
              *[v + random.normal(0, v.shape[-1] ** -0.5, v.shape) for v in arrays(model.p).values()]]
    with lines_of(replaced_first(model), type(model).__name__, dict(zip([x, *states, *p.values()], values))):
        first = model.network(batch._replace(x=x[:2], y=x[:2]), p, ops)
        rest = model.network(batch._replace(x=x[2:], y=x[2:], states=[each.after for each in first.layers],
                                            memory=first.memory), p, ops)
        whole, again = [model.network(batch, p, ops) for _ in range(2)]
        whole, again, *parts = [np.log(each.probabilities.tag.test_value) for each in (whole, again, first, rest)]
    # A network that draws random numbers also differs when it reads the whole text twice.
    if np.allclose(whole, again, atol=0.02) and not np.allclose(whole, np.concatenate(parts), atol=0.02):
        raise ValueError(f'the network of {type(model).__name__} predicts something else if a text is read in parts, '
                         'so it cannot write or score one: what it reads of earlier steps must be in h, C or memory')


def replaced_first(model):
    """Return the functions of a model that may be replaced; those of charlstm.py last."""
    return sorted([getattr(model, name) for name in REPLACEABLE],
                  key=lambda f: f.__module__ == model.training_step.__module__)


def function_of(model, *arguments, **updates):
    """Return a SameArrays of inputs, outputs and updates or, if the model is on another device, its like there."""
    if model.device == 'cpu':
        return SameArrays(*arguments, **updates)
    return in_torch().Function(*arguments, **updates, cell=cell_of_model(model), device=model.device)


def build_texts(model, ops, name):
    """Return what reads and writes texts: in C, a Texts or, if C does not compute this network, a StepByStep.

    Raise ValueError if a text cannot be read in parts.
    """
    if not is_standard(model):
        check_parts(model, ops)
    elif ops.in_c:
        return ops.texts(model.p)
    from engine.graph.fallback import StepByStep          # late: C runs most models
    return StepByStep(functools.partial(compiled, model), lambda: widths(model, sizes(model)).values())


def build_train(model, ops, name):
    """Compile a training step, from x, y, states, weights and what is kept to cost, best, new states and ratios.

    A single process has one function for the whole step. A process group sums the gradients between two halves.
    """
    if not model.lp:
        raise ValueError('no learning parameters yet: call model_setup first')
    cell, lp = cell_of_model(model), dict(model.lp)
    if model.kernel and not cell.program and model.device == 'cpu':
        warn(f'the cell {cell.name} uses {cell.unknown}, which is not in C: it runs in NumPy, more slowly')
    (x, y), weights = tt.imatrices('x', 'y'), tt.matrix('cost_weights')
    batch, states = batch_of(model, x, y)
    trained = model.weights or model.p                     # if there are weights, p is their running average
    of_kind = dict(dropout=batch.states, dropconnect=recurrent(trained))
    kept = {name: [tt.TensorType('bool', 3 * [False])() for _ in each]             # bool: new memory costs page faults
            for name, each in of_kind.items() if lp[name]}
    inputs = [x, y, *states, weights, *flat(kept.values())]
    masks = {name: [scaled(each, lp[name]) for each in symbols] for name, symbols in kept.items()}
    batch = batch._replace(cost_weights=weights, h_masks=masks.get('dropout', len(batch.states) * [1]),
                           W_masks=dict(zip(of_kind['dropconnect'], masks.get('dropconnect', []))))
    optimiser = dict(optimiser=model.optimiser) if name == 'train_rmsprop' else {}         # sgd by default
    state = optimiser_variables(model) if optimiser else {}
    characters = y.size if model.group.size == 1 else tt.scalar('characters')
    outputs, gradients, steps, *new = model.training_step(model, batch, ops, characters, state, **optimiser)
    check_used(model, gradients, ops)
    ratios = [tt.sqrt(tt.sqr(step).sum()) / tt.sqrt(tt.sqr(p).sum()) for step, p in zip(steps, trained.values())]
    updates = checked_updates(model, state, steps, *new)
    results = [outputs.costs.mean(), outputs.best, *states_after(outputs)]
    if model.group.size == 1:
        return function_of(model, inputs, results + ratios, updates=updates)
    # The sums of all processes take the place of the gradients in the second half.
    first, sums = SameArrays(inputs, results, gradients + [outputs.costs.size]), [g.type() for g in gradients]
    halves = theano.clone([*ratios, *[value for _, value in updates]], replace=dict(zip(gradients, sums)))
    ratios, values = halves[:len(ratios)], halves[len(ratios):]
    second = SameArrays(sums + [characters], ratios, updates=[(old, value) for (old, _), value in zip(updates, values)])
    return DataParallelStep(first, second, model.group, len(gradients))


def left_out(share):
    """Return how many of the 2^16 values of a random number leave something out: the share of them, rounded."""
    return round(share * 2 ** 16)


def scaled(kept, share):
    """Return what a mask multiplies by, from what it keeps, so that its mean is 1."""
    return kept * np.asarray(1 / (1 - left_out(share) / 2 ** 16), theano.config.floatX)


def check_used(model, gradients, ops):
    """Raise ValueError if the costs do not depend on a parameter. A cell need not use its own, or have a W."""
    trained = model.weights or model.p
    own = in_layers(ops.cell_parameters, layers_of(trained))
    unused = [name for name, gradient in zip(trained, gradients)
              if name not in own and arrays(trained)[name].size and is_zero(gradient)]
    if unused:
        raise ValueError(f'the costs do not depend on {", ".join(unused)}: use all parameters in network, or leave '
                         'them out of initial_parameters')


def is_zero(gradient):
    """Return whether a gradient is the zeros that tt.grad returns for what a cost does not depend on."""
    try:
        return tt.get_scalar_constant_value(gradient, only_process_constants=False) == 0
    except tt.NotScalarConstantError:
        return False


def checked_updates(model, state, steps, parameters, averages, new_state):
    """Return pairs of a shared variable and its new value, of a training_step with this state before it.

    Raise ValueError if an optimiser returned something else than such values.
    """
    trained = model.weights or model.p
    if len(steps) != len(trained) or set(new_state) != set(state):
        raise ValueError(f'the optimiser returned {len(steps)} steps and the state {sorted(new_state)}: expected '
                         f'{len(trained)} steps and the state {sorted(state)}')
    before, after = [named_state(each, model.p) for each in (state, new_state)]
    updates = [*[(name, before[name], after[name]) for name in before],
               *zip(model.p, model.p.values() if model.weights else [], averages),
               *zip(model.p, trained.values(), parameters)]
    for name, old, value in updates:
        found = getattr(value, 'type', None) or tt.TensorType(old.dtype, np.ndim(value) * [False])
        if (found.dtype, found.ndim) != (old.dtype, old.ndim):
            raise ValueError(f'the optimiser makes {found} of {name}, {old.type}{line_of(model, value, found.dtype)}: '
                             f'expected the same type, as by tt.cast(..., {old.dtype!r})')
    return [(old, value) for _, old, value in updates]


def line_of(model, value, dtype):
    """Return the line of the model's functions in which numbers of a type come into a value, as text, or ''."""
    for v in theano.gof.graph.ancestors([value]) if isinstance(value, theano.Variable) else ():
        others = [u for u in v.owner.inputs if not isinstance(u, theano.gof.Constant)] if v.owner else [v]
        if v.dtype == dtype not in [u.dtype for u in others]:
            place = line_that_makes(v, replaced_first(model))
            if place:
                return f', in {place}'
    return ''
