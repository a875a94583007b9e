"""Make, load, save and export the parameters of a model: methods of CharLSTM."""
import functools
import os
import platform
import shlex
import subprocess

import numpy as np

from engine import VERSION, checks
from engine.backend.theano_setup import theano
from engine.data import parameters
from engine.data.parameters import base_names, in_layers, layers_of, named_state, parameter_shapes, rows_of, units
from engine.kernel.fallback import is_as_in_c
from engine.methods.compile import computes_on, operations
from engine.methods.state import (CompiledFunctions, Learning, arrays, cell_of_model, optimiser_variables,
                                  set_parameters, set_text, sizes, updated, warn_if_truncated)
from engine.run import table
from engine.terminal import ROOT, near, warn

shell = functools.cache(subprocess.getstatusoutput)        # a command's status and output, the first time


def model_setup(model, mfile=None, num_units1=128, num_units2=128, lrate=2e-3, drate=0.95, eps=1e-8, bptt_maxdepth=50,
                l1=0, l2=0, char_dim=None, initial='original', encoding='utf-8', layers=2, **learning):
    """Make a model with new parameters or, with mfile, those of a checkpoint. Set p, lp and dyn_lrate.

    num_units1, num_units2: units of layer 1, and of each layer above it. char_dim: V, needed if no text was prepared.
    initial: 'original' or 'chrono', for original_parameters or chrono_parameters of charlstm.py; 'zeros', for resume.
    mfile, encoding: as filename and encoding of load_params, with the same errors.
    learning: dropout, dropconnect, smoothing, ar, tar, reset, average, momentum, weight_decay, grad_clip, step_clip.
    `python train.py --help` explains these and the others; the defaults are those of the original. Raises ValueError
    for arguments out of range.
    """
    lp = Learning({**table.INITIAL, **learning, 'lrate': lrate, 'drate': drate, 'eps': eps,
                   'bptt_maxdepth': bptt_maxdepth, 'l1': l1, 'l2': l2})
    checks.choice('initial', initial, ('original', 'chrono', 'zeros'))
    H1, H2 = checks.whole('num_units1', num_units1, 1), checks.whole('num_units2', num_units2, 1)
    of_layers = H1, *[H2] * (checks.whole('layers', layers, 1, checks.MOST_LAYERS) - 1)
    if mfile is not None:
        p, uchar = model.group.broadcast(read_fitting, model, mfile, encoding)
    else:
        uchar = model.uchar
        if char_dim is None and not uchar:
            raise ValueError('no text yet: call prepare_input first, or pass char_dim')
        n = checks.whole('char_dim', len(uchar) if char_dim is None else char_dim, 1)
        if uchar and n != len(uchar):
            raise ValueError(f'char_dim is {n}: the vocabulary has {len(uchar)} characters')
        cell = cell_of_model(model)
        make = dict(original=model.symbols.original_parameters, chrono=model.symbols.chrono_parameters).get(initial)
        p = make(n, of_layers, cell, model.random) if make else {}
        for name, shape in parameter_shapes(n, of_layers, cell.counts.rows, cell.own).items():
            if name not in p:
                p[name] = np.full(shape, cell.own.get(name[:-1], 0), theano.config.floatX)
    renumber_text(model, uchar)                            # first, since it may raise ValueError
    model.lp = lp
    set_parameters(model, p, uchar)
    model.functions, model.optimiser_variables = CompiledFunctions(), {}
    model.average_weight = theano.shared(np.zeros((), theano.config.floatX), 'average_weight', allow_downcast=True)
    model.rate = theano.shared(np.asarray(lp['lrate'], theano.config.floatX), 'lrate', allow_downcast=True)
    warn_if_truncated(model)


# ---------------------------------------------------------------- checkpoints

def versions(model):
    """Return versions, the device and its threads, the processor, and the commit of a clone or None, by name."""
    no_name, line = shell("grep -m1 'model name' /proc/cpuinfo")           # of the processor; not on ARM
    no_clone, commit = shell(f'git -C {shlex.quote(ROOT)} --git-dir=.git describe --always --exclude="*" --dirty')
    return dict(charlstm=VERSION, python=platform.python_version(), numpy=np.__version__, theano=theano.__version__,
                device=computes_on(model), processor=platform.processor() if no_name else line.partition(': ')[2],
                commit=None if no_clone else commit)


def save_params(model, filename, progress=None):
    """Write the state of this object to an npz file atomically; '.npz' is added if it is missing.

    load_params and resume read the file. progress: any dict that JSON can hold, which resume returns. Returns the name
    of the file. Raises OSError if it cannot be written, and ValueError if there is nothing to save, a number is not
    finite, or the processes are out of sync.
    """
    if not model.p or not model.uchar:
        raise ValueError('nothing to save: there are no parameters or no vocabulary yet')
    filename = os.fsdecode(filename).removesuffix('.npz') + '.npz'
    cell, (validation_states, validation_index) = cell_of_model(model), model.validation
    stored = {**arrays(model.p), **arrays(named_state(optimiser_variables(model), model.p)),
              **{f'weights_{name}': array for name, array in arrays(model.weights).items()}}
    model.group.check_in_sync(stored.values(), model.random.bit_generator.state, cell.formula)
    for prefix, states in (('carried_', model.carried), ('validation_', validation_states)):
        rows = model.group.gather(states) or []
        stored.update({prefix + name: state for name, state in zip(in_layers('hC', layers_of(model.p)), rows)})
    metadata = dict(
        lp=dict(model.lp), averaged_steps=model.averaged_steps, validation_index=validation_index,
        random=model.random.bit_generator.state, text=model.text.metadata() if model.text else {}, progress=progress,
        cell=dict(formula='' if cell.standard else cell.formula, parameters=list(cell.own)),
        optimiser=sorted(model.optimiser_variables), precision=model.precision, versions=versions(model))
    if not all(np.isfinite(array).all() for array in stored.values()):
        raise ValueError(f"{filename} was not written: the parameters or the optimiser's state are no longer finite")
    model.group.broadcast(parameters.write, filename, dict(stored, uchar=np.array(model.uchar)), metadata)
    return filename


def read_checkpoint(path, encoding='utf-8'):
    """Return the parameters of a checkpoint, name to array in floatX, and its characters, uchar (V,).

    encoding: as for load_params. Raises OSError if the file cannot be read, and ValueError if it is not a checkpoint.
    """
    return parameters.read_parameters(path, theano.config.floatX, encoding)


def read_any(model, filename, encoding, other_cell=True):
    """Return the parameters and uchar of a checkpoint, whose cell must have the rows of this model's.

    other_cell: whether another formula is allowed, with a warning. Raise ValueError for others.
    """
    stored, cell, line = parameters.opened(filename), cell_of_model(model), ''
    p, uchar = read_checkpoint(stored, encoding)
    if stored.cell['formula'] != ('' if cell.standard else cell.formula):
        line = (f"{stored} was trained with another cell than {type(model).__name__}'s: give --cell its class, as it "
                f'was; {near(os.path.join(ROOT, "charlstm.py"))}:CharLSTM, unedited, is the standard one')
    if rows_of(p) != cell.counts.rows or line and not other_cell:
        raise ValueError(line or f'{stored} has parameters of another cell than its formula')
    if line:
        warn(line)
    return p, uchar


def read_run(model, filename):
    """Return parameters, uchar, and what read_run of parameters.py returns. Raise ValueError for another cell."""
    stored = parameters.opened(filename)
    p, uchar = read_any(model, stored, 'utf-8', other_cell=False)
    return p, uchar, *parameters.read_run(stored, p, model.optimiser_state, cell_of_model(model).counts.S)


def read_fitting(model, filename, encoding, other_cell=True):
    """Return the parameters that this model has, and uchar, from a checkpoint. Errors: as for load_params."""
    p, uchar = read_any(model, filename, encoding, other_cell)
    names = *base_names(layers_of(p)), *in_layers(cell_of_model(model).own, layers_of(p))
    if not p.keys() >= set(names):
        raise ValueError(f'{filename} lacks parameters of the cell of this model: init_params or --init starts them '
                         'at their initial values')
    return {name: p[name] for name in names}, uchar


def load_params(model, filename, encoding='utf-8', other_cell=True):
    """Replace parameters and uchar by those of a checkpoint. Return the parameters, name to array in floatX.

    filename: a path (.safetensors: a file of PyTorch) or an open Checkpoint. encoding: of the text, if the vocabulary
    is stored as bytes, as in the original. other_cell: whether a cell of another formula is only warned of. Renumbers
    the batches of a prepared text. Raises OSError if the file cannot be read, and ValueError if it is not a checkpoint,
    or lacks a character of the text or a parameter of the cell.
    """
    p, uchar = model.group.broadcast(read_fitting, model, filename, encoding, other_cell)
    renumber_text(model, uchar)
    set_parameters(model, p, uchar)
    return p


def renumber_text(model, uchar):
    """Renumber the prepared text for another vocabulary. Raise ValueError if it lacks a character of the text."""
    if model.text is not None and list(uchar) != model.uchar:
        model.text.renumber(uchar)
        set_text(model, model.text)


def resume(model, filename):
    """Restore what save_params wrote. First call prepare_input and model_setup with the same arguments as then.

    Training then continues bit for bit, once dyn_lrate and lp are set as they were. Returns the progress passed to
    save_params. Raises OSError if the file cannot be read, and ValueError if it is not a checkpoint of such a run.
    """
    p, uchar, metadata, state = model.group.broadcast(read_run, model, filename)
    if metadata['precision'] != model.precision or bool(state['weights_']) != bool(model.lp.get('average')):
        raise ValueError(f'{filename} was trained with precision {metadata["precision"]} and '
                         f'{"with" if state["weights_"] else "without"} averaged parameters: resume needs the same')
    renumber_text(model, uchar)
    set_parameters(model, p, uchar)
    model.weights, model.averaged_steps = updated(model.weights, state['weights_']), metadata['averaged_steps']
    for name, variable in named_state(optimiser_variables(model), model.p).items():
        variable.set_value(state[''][name])
    model.carried, validation = [
        [array[model.group.rows(len(array))] for array in state[prefix].values()] or None
        for prefix in ('carried_', 'validation_')]
    model.validation = validation, metadata['validation_index']
    model.random.bit_generator.state = metadata['random']
    return metadata['progress']


def init_params(model, filename, encoding='utf-8'):
    """Start from the parameters of a checkpoint of another text. First call prepare_input and model_setup.

    Characters in both texts keep their rows and columns; the others stay as in a new model. encoding and errors: as
    for load_params. Also raises ValueError if the numbers of units differ.
    """
    old, uchar = model.group.broadcast(read_any, model, filename, encoding)
    if units(old) != sizes(model):
        raise ValueError(f'{filename} has layers of {units(old)} units, and this model of {sizes(model)}: they must be '
                         'the same')
    new = {name: p.get_value() for name, p in model.p.items()}
    # The indices of the characters in both texts. The type is object, since NumPy's strings lose a NUL.
    _, in_new, in_old = np.intersect1d(np.array(model.uchar, object), uchar, return_indices=True)
    new['U1'][:, :, in_new] = old['U1'][:, :, in_old]
    new['V'][in_new], new['c'][in_new] = old['V'][in_old], old['c'][in_old]
    new.update({name: old[name] for name in new if name in old and name not in ('U1', 'V', 'c')})
    set_parameters(model, new, model.uchar)


def other_program_cell(model, what):
    """Return the Cell. Raises ValueError if another program cannot compute this model. what: such as 'a page'."""
    sizes(model)                                           # raises without a model
    cell, ops = cell_of_model(model), operations(model)
    if not cell.program:
        raise ValueError(f'{what} cannot compute the cell {cell.name}: it uses {cell.unknown}')
    if not is_as_in_c(model.symbols.network, model.p, ops):
        raise ValueError(f'{what} cannot compute an edited network: it has that of charlstm.py without your edits')
    return cell


def export(model, path):
    """Write the model for other programs atomically. The ending of path selects .safetensors (PyTorch) or .c.

    A .safetensors also loads as a checkpoint. Raises OSError, and ValueError for another ending or an unsuitable model.
    """
    from engine.kernel import export as exports            # late: most programs export nothing
    ending = exports.format_of(path)
    cell = other_program_cell(model, exports.FORMATS[ending])
    model.group.broadcast(exports.write, path, cell, arrays(model.p), model.uchar)
