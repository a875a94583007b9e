"""Compile what a model computes, when it is needed, and again after edits: methods of CharLSTM."""
import functools

import numpy as np

from engine.backend import bfloat16, compiler
from engine.backend.theano_setup import on_cpu, theano, tt
from engine.data.parameters import base_names, in_layers, layers_of, named_state, rows_of, units
from engine.kernel.elementwise import SameArrays
from engine.kernel.fallback import StepByStep, costs_follow, flat, is_as_in_c, log_probabilities, state_symbols
from engine.kernel.ops import Kernel
from engine.kernel.scan import Scan
from engine.methods.state import (CompiledFunctions, arrays, cell_of_model, functions, optimiser_variables, sizes,
                                  vocabulary_size)
from engine.parallel import DataParallelStep
from engine.terminal import number_of, warn


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
        for H in units(p) if not cell.program else ():
            cell.check(H)
        step_by_step = not (model.kernel and cell.program)
        in_c = bool(compiler.cxx) and not step_by_step
        made.operations = Kernel(cell, in_c, bfloat16.instructions(model.precision), step_by_step) if on_cpu() else (
            Scan(cell))
    return made.operations


def computes_on(model):
    """Return a description of what computes the network."""
    if theano.config.device != 'cpu':
        name = theano.gpuarray.type.get_context(None).devname.strip()      # as its driver gives it
        return f'{theano.config.device} ({name}), by theano.scan, in {theano.config.floatX}'
    threads = compiler.threads() if not compiler.cxx or compiler.openmp() else 1
    by, instructions = 'the C kernel' if operations(model).in_c else 'NumPy', bfloat16.instructions(model.precision)
    products = f', products in bfloat16 ({instructions})' if instructions else ''
    slow = '' if compiler.cxx else ', at a half to a quarter of the speed of C, which needs a C++ compiler such as g++'
    return f'the CPU, {number_of(threads, "thread")}, by {by}, in {theano.config.floatX}{products}{slow}'


def compile(model, *names):
    """Recompile after something that the functions read has changed: those in names now, the others when used."""
    model.functions = CompiledFunctions()
    for name in names:
        compiled(model, name)


def compiled(model, name):
    """Return the compiled function 'predict', 'check', 'train_rmsprop', 'train_sgd', 'texts' or 'states'."""
    vocabulary_size(model)
    made = functions(model)
    if name not in made:
        build = dict(predict=build_forward, states=build_forward, check=build_forward, texts=build_texts,
                     train_rmsprop=build_train, train_sgd=build_train)[name]
        made[name] = build(model, operations(model), name)
    return made[name]


def build_forward(model, ops, name):
    """Compile a function of characters x (T,B), targets y (T,B) (only 'check'), and states.

    'predict' returns log probabilities (T*B,V) and the new states. 'states' returns the states after each step, then
    the new states. 'check' returns the mean cost, the most probable characters, the new states and the costs (T,B).
    """
    x, states = tt.imatrix('x'), state_symbols(model.p)
    y = tt.imatrix('y') if name == 'check' else x          # the others' results do not depend on the targets
    outputs = model.symbols.network(x, y, states, model.p, ops)
    if name == 'check':
        return SameArrays([x, y, *flat(states)], [outputs.costs.mean(), outputs.best, *flat(outputs.after),
                                                  outputs.costs])
    if name == 'predict' and not costs_follow(outputs, x):
        warn('network was edited, and its costs could not be shown to be -log p: training and validation use them, but '
             'scores, alternatives and pages show -log p')
    results = flat(outputs.states) if name == 'states' else [log_probabilities(outputs)]
    return SameArrays([x, *flat(states)], results + flat(outputs.after))


def build_texts(model, ops, name):
    """Return what reads and writes texts: in C, a Texts or, if C does not compute this network, a StepByStep."""
    if ops.in_c and is_as_in_c(model.symbols.network, model.p, ops):
        return ops.texts(model.p)
    if ops.in_c:
        warn('network was edited and engine/kernel/sampling.c was not: texts are read and written step by step, slowly')
    return StepByStep(compiled(model, 'predict'), functools.partial(sizes, model), cell_of_model(model).counts.S)


def build_train(model, ops, name):
    """Compile a training step, from x, y, states, weights and what is kept to cost, best, new states and ratios.

    A single process has one function for the whole step. A process group sums the gradients between two halves.
    """
    if not model.lp:
        raise ValueError('no learning parameters yet: call model_setup first')
    cell, lp = cell_of_model(model), dict(model.lp)
    if model.kernel and not cell.program:
        warn(f'the cell {cell.name} uses {cell.unknown}, which is not in C: it runs in NumPy, more slowly')
    (x, y), states, weights = tt.imatrices('x', 'y'), state_symbols(model.p), tt.matrix('cost_weights')
    kept = {name: [tt.TensorType('bool', 3 * [False])() for _ in states]           # bool: new memory costs page faults
            for name in ('dropout', 'dropconnect') if lp[name]}
    masks = {name: [scaled(each, lp[name]) for each in symbols] for name, symbols in kept.items()}
    trained = model.weights or model.p                     # if there are weights, p is their running average
    cost, outputs = model.symbols.objective(
        x, y, states, weights, masks.get('dropout'), masks.get('dropconnect'), trained, ops, lp)
    gradients = gradients_of(cost, trained, ops)
    inputs = [x, y, *flat(states), weights, *flat(kept.values())]
    results = [outputs.costs.mean(), outputs.best, *flat(outputs.after)]
    if model.group.size == 1:
        ratios, updates = second_half(model, ops, name, lp, gradients, outputs.costs.size)
        return SameArrays(inputs, results + ratios, updates=updates)
    first = SameArrays(inputs, results, gradients + [outputs.costs.size])
    sums, size = [g.type() for g in gradients], tt.scalar('size')          # of the whole batch
    ratios, updates = second_half(model, ops, name, lp, sums, size)
    second = SameArrays(sums + [size], ratios, updates=updates)
    return DataParallelStep(first, second, model.group, len(gradients))


def scaled(kept, share):
    """Return what a mask multiplies by, from what it keeps, so that its mean is 1: share is rounded as in step.py."""
    return kept * np.asarray(1 / (1 - round(share * 2 ** 16) / 2 ** 16), theano.config.floatX)


def gradients_of(cost, trained, ops):
    """Return the gradients of a cost. trained: parameters by name; each must be used, or ValueError is raised."""
    try:
        gradients = tt.grad(cost, list(trained.values()), return_disconnected='None', disconnected_inputs='ignore')
    except (NotImplementedError, theano.gradient.NullTypeGradError) as error:
        if not ops.in_c:
            raise
        raise ValueError('the edited network needs a gradient that is not in C: use --kernel off or '
                         'CharLSTM(kernel=False)') from error
    unused = [name for name, gradient in zip(base_names(layers_of(trained)), gradients)    # a cell need not use its own
              if gradient is None and arrays(trained)[name].size]                          # and may have no W
    if unused:
        raise ValueError(f'the costs do not depend on {", ".join(unused)}: use all parameters in network')
    return [tt.zeros_like(p) if g is None else g for p, g in zip(trained.values(), gradients)]


def second_half(model, ops, name, lp, gradients, size):
    """Return the update ratios of a step, and its updates: pairs of a shared variable and its new value."""
    optimiser, state = model.symbols.sgd, {}
    if name == 'train_rmsprop':
        optimiser, state = model.optimiser, optimiser_variables(model)
    parameters = list((model.weights or model.p).values())
    averages = list(model.p.values()) if model.weights else []
    ratios, new, new_averages, new_state = model.symbols.update(
        gradients, size, parameters, averages, model.average_weight, state, model.rate, lp, optimiser, ops)
    if len(new) != len(parameters) or set(new_state) != set(state):
        raise ValueError(f'the optimiser returned {len(new)} steps and the state {sorted(new_state)}: expected '
                         f'{len(parameters)} steps and the state {sorted(state)}')
    before, after = [named_state(each, model.p) for each in (state, new_state)]
    updates = [*[(name, before[name], after[name]) for name in before], *zip(model.p, averages, new_averages),
               *zip(model.p, parameters, new)]
    for name, old, value in updates:
        found = getattr(value, 'type', None) or tt.TensorType(old.dtype, np.ndim(value) * [False])
        if (found.dtype, found.ndim) != (old.dtype, old.ndim):
            raise ValueError(f'the optimiser makes {found} of {name}, {old.type}: expected the same type, as by '
                             f'tt.cast(..., {old.dtype!r})')
    return ratios, [(old, value) for _, old, value in updates]
