"""Make, load, save and export the parameters of a model."""
import contextlib
import functools
import math
import os
import platform
import shlex
import subprocess

import numpy as np

from engine import VERSION, checks
from engine.backend.theano_setup import theano
from engine.data.parameters import named_state, parameter_shapes, units
from engine.model.compile import compiled, computes_on, is_standard
from engine.model.edits import CompiledFunctions, cell_of_model, has_standard_layer
from engine.model.score import costs_of, read
from engine.model.state import (Learning, arrays, kinds, new_kinds, new_parameters, optimiser_variables,
                                reader_of, set_parameters, set_text, shared, sizes, stream_of, stream_state, variables,
                                vocabulary_size, widths, zero_states)
from engine.run import table
from engine.run.checkpoint import opened, read_checkpoint, write
from engine.terminal import ROOT, warn, warn_once

shell = functools.cache(subprocess.getstatusoutput)        # a command's status and output, the first time


def model_setup(model, mfile, units, of_2016, learning, char_dim, initial, encoding):
    """Make a model with new parameters or, with mfile, those of a checkpoint. Arguments and errors: as for CharLSTM's.

    of_2016: num_units1, num_units2 and layers, in the place of units None. learning: lp by name, except INITIAL.
    """
    lp = Learning({**table.INITIAL, **learning})
    checks.choice('initial', initial, ('original', 'chrono'))
    if units is None:
        first, others, layers = of_2016
        H1, H2 = checks.whole('num_units1', first, 1), checks.whole('num_units2', others, 1)
        units = [H1, *[H2] * (checks.whole('layers', layers, 1, checks.MOST_LAYERS) - 1)]
    units = checks.units('units', units)
    if mfile is not None:
        p, uchar = model.group.broadcast(read_fitting, model, mfile, encoding)
    else:
        uchar = model.uchar
        if char_dim is None and not uchar:
            raise ValueError('no text yet: call prepare_input first, or pass char_dim')
        n = checks.whole('char_dim', len(uchar) if char_dim is None else char_dim, 1)
        if uchar and n != len(uchar):
            raise ValueError(f'char_dim is {n}: the vocabulary has {len(uchar)} characters')
        p = new_parameters(model, n, units, initial, model.random)
    renumber_text(model, uchar)                            # first, since it may raise ValueError
    model.lp = lp
    set_parameters(model, p, uchar)
    model.functions, model.optimiser_variables = model.functions.renewed({**model.lp}), {}
    model.average_weight = shared(model, np.zeros((), theano.config.floatX), 'average_weight')
    model.rate = shared(model, np.asarray(lp['lrate'], theano.config.floatX), 'lrate')


# ---------------------------------------------------------------- checkpoints

def versions(model):
    """Return versions, the device and its threads, the processor, and the commit of a clone or None, by name."""
    no_name, line = shell("grep -m1 'model name' /proc/cpuinfo")           # of the processor; not on ARM
    no_clone, commit = shell(f'git -C {shlex.quote(ROOT)} --git-dir=.git describe --always --exclude="*" --dirty')
    return dict(charlstm=VERSION, python=platform.python_version(), numpy=np.__version__, theano=theano.__version__,
                device=computes_on(model), processor=platform.processor() if no_name else line.partition(': ')[2],
                commit=None if no_clone else commit)


def save_params(model, filename, progress):
    """Write the state of a model to an npz file atomically. Also raise ValueError if the processes are out of sync."""
    if not model.p or not model.uchar:
        raise ValueError('nothing to save: there are no parameters or no vocabulary yet')
    filename = os.fsdecode(filename).removesuffix('.npz') + '.npz'
    cell, (validation_states, validation_index) = cell_of_model(model), model.validation
    predicts = recorded_costs(model)                       # first, since a network may draw for it
    optimiser_variables(model)                             # made, if there are none yet
    stored = {**arrays(variables(model)), **{f'stream_{name}_{k}': stream_state(v)
                                             for name, streams in model.streams.items() for k, v in enumerate(streams)}}
    model.group.check_in_sync(stored.values(), model.random.bit_generator.state, cell.formula)
    for prefix, states in (('carried_', model.carried), ('validation_', validation_states)):
        rows = model.group.gather(states) or []
        stored.update({prefix + name: state for name, state in zip(widths(model, sizes(model)), rows)})
    metadata = dict(
        lp=dict(model.lp), averaged_steps=model.averaged_steps, validation_index=validation_index,
        random=model.random.bit_generator.state, text=model.text.metadata() if model.text else {}, progress=progress,
        cell=dict(formula='' if cell.standard else cell.formula, parameters=list(cell.parameters)),
        optimiser=sorted(model.optimiser_variables), precision=model.precision, versions=versions(model),
        predicts=predicts)
    shapes = [(name, array.shape) for name, array in arrays(model.p).items()]
    if shapes != [*parameter_shapes(vocabulary_size(model), sizes(model), cell.counts.rows, cell.parameters).items()]:
        metadata.update(parameters=list(model.p))
    if type(model).__name__ != 'CharLSTM':
        metadata.update({'class': type(model).__name__})
    if not all(np.isfinite(array).all() for array in stored.values()):
        raise ValueError(f"{filename} was not written: the parameters or the optimiser's state are no longer finite")
    model.group.broadcast(write, filename, dict(stored, uchar=np.array(model.uchar)), metadata)
    return filename


def costs_of_line(model):
    """Return the costs, in nats, of a fixed line of characters from zero states, float (24,)."""
    k = np.arange(25)
    line = (k * (k + 1) // 2 % vocabulary_size(model)).astype(np.int32)
    if is_standard(model):             # without compiling 'predict'
        return costs_of(read(model, line[:-1])[0][:, 0], line[1:])
    logs, *_ = compiled(model, 'predict')(line[:-1, None], *zero_states(model, 1))
    return costs_of(logs, line[1:])


def recorded_costs(model):
    """Return costs_of_line for a checkpoint, a list; None, with a line, if they cannot tell one model from another."""
    with contextlib.suppress(ValueError):                  # not finite
        costs, again = costs_of_line(model), costs_of_line(model)
        if (costs == again).all():
            return [round(cost, 5) for cost in costs.tolist()]
    warn_once('the model predicts numbers that are not finite or, as it draws random ones, not the same twice: its '
              'checkpoints cannot tell whether another class reads them')


def of_another_class(model, stored, why):
    """Return the ValueError for an open checkpoint that another class than the model's has trained."""
    cell, then, now = (stored.options or {}).get('cell'), stored.metadata.get('class', 'CharLSTM'), type(model).__name__
    if then == now:
        then, remedy = f'{then} as it was', f'use {f"--cell {cell}" if cell else then} as it was, or another checkpoint'
    elif then == 'CharLSTM':
        remedy = 'leave out --cell, or load it with CharLSTM'
    else:
        remedy = f'add --cell {cell}' if cell else f'load it with {then}, or add --cell FILE:{then}'
    return ValueError(f'{stored} was trained with another cell or network, that of {then} and not that of {now}, or '
                      f'is damaged: {why}; {remedy}')


def read_fitting(model, filename, encoding):
    """Return the parameters and uchar of a checkpoint, as of a new model of this class. Errors: as for load_params.

    By the costs that it recorded, it notices another cell, network or global number that they read, and a damaged file.
    """
    stored = opened(filename)
    p, uchar = read_checkpoint(stored, encoding)
    expected = new_kinds(model, len(uchar), units(p))
    if kinds(p) != expected:
        found, needed = [', '.join(f'{name} {shape}' for name, (shape, dtype) in these.items()
                                   if these[name] != others.get(name)) or 'no others'
                         for these, others in ((kinds(p), expected), (expected, kinds(p)))]
        raise of_another_class(model, stored, f'it has the parameters {found}, and the class {needed}')
    p, costs, found = {name: p[name] for name in expected}, stored.metadata.get('predicts'), math.inf
    if costs is not None:
        reader = reader_of(model, p, uchar)
        with contextlib.suppress(ValueError):              # not finite
            found = costs_of_line(reader)
        rounded = 'bfloat16' in (model.precision, stored.metadata['precision'])
        if not np.allclose(found, np.array(costs), rtol=0.05 * rounded, atol=0.05 if rounded else 1e-3):
            raise of_another_class(model, stored, f'a line of text costs {np.mean(found):.6g} nats a character, and '
                                   f'{np.mean(costs):.6g} when it was saved')
    return p, uchar


def load_params(model, filename, encoding):
    """Replace parameters and uchar by those of a checkpoint, and renumber a prepared text. Return the parameters.

    filename: a path or an open Checkpoint.
    """
    p, uchar = model.group.broadcast(read_fitting, model, filename, encoding)
    renumber_text(model, uchar)
    set_parameters(model, p, uchar)
    return p


def renumber_text(model, uchar):
    """Renumber the prepared text for another vocabulary. Raise ValueError if it lacks a character of the text."""
    if model.text is not None and list(uchar) != model.uchar:
        model.text.renumber(uchar)
        set_text(model, model.text)


def read_run(model, filename):
    """Return the parameters, uchar and metadata of a run's checkpoint, and all of its arrays by name.

    Raises ValueError for another class, and if an array is missing or has another shape than in this model.
    """
    stored = opened(filename)                              # once, so that all is of one file
    p, uchar = read_fitting(model, stored, 'utf-8')
    if not stored.metadata or stored.metadata['random'] is None:
        raise ValueError(f'{stored} holds no run that can be resumed; init starts a new run from it')
    state, averages = model.optimiser_state(list(p.values())), any(name.startswith('weights_') for name in stored)
    shapes = {name: np.shape(value) for name, value in named_state(state, p).items()}
    shapes.update({f'weights_{name}': array.shape for name, array in p.items() if averages})
    for prefix, part in (('carried_', 'train'), ('validation_', 'valid')):
        if any(name.startswith(prefix) for name in stored):
            rows = model.text.rows[part] if model.text else 0
            shapes.update({prefix + name: (rows, n) for name, n in widths(model, units(p)).items()})
    then = stored.metadata['optimiser'], averages
    other = [name for name, shape in shapes.items() if np.shape(stored.get(name)) != shape]
    if other or then != (sorted(state), bool(model.lp.get('average'))):
        raise ValueError(f'{stored} was trained with another optimiser, batch size or average: resume needs the same, '
                         'and init starts a new run from it')
    streams = {name: array for name, array in stored.items() if name.startswith('stream_')}
    return p, uchar, stored.metadata, {**p, **streams, **{name: stored.array(name, p['c'].dtype) for name in shapes}}


def resume(model, filename):
    """Restore what save_params wrote, and return its progress. Random streams of Theano's go on from their states."""
    p, uchar, metadata, found = model.group.broadcast(read_run, model, filename)
    streams = {}
    for name, array in found.items():
        if name.startswith('stream_'):                     # stream_train_rmsprop_0, ...
            streams.setdefault(name.split('_', 1)[1].rpartition('_')[0], []).append(stream_of(array))
    if metadata['precision'] != model.precision and model.group.first:
        warn(f'{filename} was trained in {metadata["precision"]}: it goes on in {model.precision}')
    renumber_text(model, uchar)
    set_parameters(model, p, uchar)
    optimiser_variables(model)                             # those of the parameters' shapes
    for name, variable in variables(model).items():
        variable.set_value(found[name])
    model.carried, validation = [
        [array[model.group.rows(len(array))] for name, array in found.items() if name.startswith(prefix)] or None
        for prefix in ('carried_', 'validation_')]
    model.validation, model.averaged_steps = (validation, metadata['validation_index']), metadata['averaged_steps']
    model.random.bit_generator.state = metadata['random']
    model.streams = streams
    if streams:
        model.functions = CompiledFunctions()              # those of before have other states
    return metadata['progress']


def init_params(model, filename, encoding='utf-8'):
    """Start from the parameters of a checkpoint of another text. First call prepare_input and model_setup.

    Characters in both texts keep their rows and columns; the others stay as in a new model, and so do parameters that
    are not in the file. encoding and errors: as for load_params, but a class of one's own may start from another cell
    or network. Also raises ValueError if shapes differ.
    """
    old, uchar = model.group.broadcast(read_checkpoint, filename, encoding)
    new, H, same = {name: p.get_value() for name, p in model.p.items()}, sizes(model), list(uchar) == model.uchar
    expected, of_more = [new_kinds(model, len(uchar) + more, H) for more in (0, 1)]
    other = [name for name, kind in kinds(old).items() if kind != expected.get(name, kind)]
    if units(old) != H or other:
        raise ValueError(f'{filename} has layers of {units(old)} units, and this model of {H}: they must be the same, '
                         f'as must the shapes of {", ".join(other)}')
    standard = parameter_shapes(len(uchar), H, cell_of_model(model).counts.rows)
    if not same and any(expected.get(name, [()])[0] != standard[name] for name in ('U1', 'V')):
        raise ValueError(f'{filename} has other characters than the text, and {type(model).__name__} no standard U1 or '
                         'V: their rows cannot be matched')
    # The indices of the characters in both texts. The type is object, since NumPy's strings lose a NUL.
    _, in_new, in_old = np.intersect1d(np.array(model.uchar, object), uchar, return_indices=True)
    for name in new.keys() & old.keys():
        if same or expected.get(name) == of_more.get(name):
            new[name] = old[name]
        elif name in ('U1', 'V', 'c'):                     # with an axis of the characters
            at = (slice(None), slice(None)) if name == 'U1' else ()
            new[name][(*at, in_new)] = old[name][(*at, in_old)]
    set_parameters(model, new, model.uchar)


def other_program_cell(model, what):
    """Return the Cell. Raises ValueError if another program cannot compute this model. what: such as 'a page'."""
    sizes(model)                                           # raises without a model
    cell = cell_of_model(model)
    if not cell.program:
        raise ValueError(f'{what} cannot compute the cell {cell.name}: it uses {cell.unknown}')
    for name, is_so in (('layer', has_standard_layer(model)), ('network', is_standard(model))):
        if not is_so:
            raise ValueError(f'{what} cannot compute the {name} of {type(model).__name__}: expected one that computes '
                             f'what {name} of charlstm.py does')
    return cell


def export(model, path):
    """Write the model for other programs atomically. The ending of path selects .safetensors (PyTorch) or .c."""
    from engine.export import export as exports            # late: most programs export nothing
    ending = exports.format_of(path)
    cell = other_program_cell(model, exports.FORMATS[ending])
    model.group.broadcast(exports.write, path, cell, arrays(model.p), model.uchar)
