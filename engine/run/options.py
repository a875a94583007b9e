"""The options of a run: those that the user typed and, for a resumed run, those that it had."""
import itertools
import math
import os
import secrets

from engine.data.parameters import units
from engine.files import base_name
from engine.run import table
from engine.run.checkpoint import Checkpoint, read_checkpoint
from engine.terminal import ROOT, layers_of_units, near, number_of, spelled


class Options:
    """The options of a run as attributes; None: not chosen yet. typed: a dict of those that the user set."""

    def __init__(self, typed):
        """Set options from a dict. Raise ValueError if some are out of range or contradict each other."""
        self.typed = table.checked_options(typed)
        vars(self).update(table.DEFAULTS)
        for name, preset in table.PRESETS.items():
            vars(self).update(preset if typed.get(name) else {})
        vars(self).update(self.typed)
        if self.small and self.input is None:
            self.input = near(os.path.join(ROOT, 'text_input', 'coriolanus.txt'))
        named = {name for name, value in self.typed.items() if not (value is None or value is False)}
        for one, other in (('original', 'small'), ('valid', 'ratio_valid')):
            if {one, other} <= named:
                raise ValueError(f'{spelled(one)} and {spelled(other)} cannot be combined: leave out one of them')
        if self.test_adapt and self.test is None:
            raise ValueError('--test-adapt needs --test, the text to adapt to')
        if not self.run or os.path.basename(self.run) != self.run:
            raise ValueError(f'the run name {self.run!r} is part of file names: expected no path separators')
        if self.valid is not None:
            self.ratio_valid = 0.0                         # train on all of the input

    def kept(self, place):
        """Return a dict of the options that a checkpoint keeps in this place; see Option in table.py."""
        return {name: vars(self)[name] for name, row in table.ROWS.items() if row.kept == place}

    @property
    def name(self):
        """Return the beginning of the names of the run's files."""
        return f'{os.path.basename(self.run)}_{base_name(self.input)}'     # basename: a checkpoint is untrusted

    def summary(self, parameters, validates):
        """Return two lines about the model and its training. validates: whether there are validation batches."""
        cell = f', of {self.cell}' if self.cell else ''
        begins = f', from the parameters of {self.init}' if self.init else ''
        most = 'up to ' if self.patience and validates else ''
        first = math.floor(round((1 - self.anneal) * self.epochs, 6)) + 1
        falling = f', falling from epoch {first} on' if first <= self.epochs else ''
        return (f'{layers_of_units(self.units)}{cell}, {parameters:,} parameters{begins}; '
                f'{most}{number_of(self.epochs, "epoch")}; random seed {self.random_seed}\n'
                f'learning rate {self.lrate:g}{falling}; dropout {self.dropout:g} of the units and '
                f'{self.dropconnect:g} of the recurrent weights')


def choose(typed, find_input):
    """Return the Options of a run, and the open checkpoint if it is resumed, otherwise None.

    find_input: a function from the typed input, or None, to the path of a new run's text.
    """
    from engine.run.results import checkpoints_of, newest                  # late: fit needs no files of a run
    o, checkpoint = Options(typed), None
    if o.resume in (None, 'last'):
        o.input = find_input(o.input)
        if 'run' not in typed and not o.overwrite:
            name_run(o)
    if o.resume == 'last':
        checkpoint = newest(checkpoints_of(o))
        print(f'resuming from {checkpoint}' if checkpoint else 'this run has no checkpoint yet: starting a new run')
        o.resume, o.init = (str(checkpoint), None) if checkpoint else (None, o.init)       # init is for a new run only
    elif o.resume:
        checkpoint = Checkpoint(o.resume)
    if o.resume:
        take_over(o, checkpoint)
    else:
        o.random_seed = secrets.randbelow(10 ** 9) if o.random_seed is None else o.random_seed
        set_units(o)
    for path in filter(None, (o.input, o.valid, o.test)):
        if o.resume and not (os.path.isfile(path) or os.path.isdir(path)):     # a checkpoint may name any device
            raise ValueError(f'{path}, a text of the run in {o.resume}, is no file or folder: give its new path')
        if os.path.isdir(path) and f'{os.path.realpath(o.output_dir)}/'.startswith(f'{os.path.realpath(path)}/'):
            raise ValueError(f'{o.output_dir} is inside of {path}, whose texts are read: choose another --output-dir, '
                             'or the samples of this run become texts of the next')
    return o, checkpoint


def name_run(o):
    """Give a run without a name the first of run0, run1, run2 ... that has no files; to resume, the last that has."""
    from engine.run.results import files_of
    last = None
    for number in itertools.count():
        o.run = f'run{number}'
        if not files_of(o):
            break
        last = o.run
    if last and o.resume:
        o.run = last
    elif last:
        print(f'{last} exists already, so this run is called {o.run}; to continue {last}, add --resume last')


def take_over(o, checkpoint):
    """Complete Options from those of the run in an open checkpoint. Raise ValueError if a typed one conflicts."""
    before, folder = checkpoint.options, os.path.dirname(os.path.abspath(o.resume))
    if before is None:
        raise ValueError(f'{o.resume} holds no run that can be resumed; --init starts a new one from its parameters')
    if o.init or 'output_dir' in o.typed and os.path.realpath(o.output_dir) != os.path.realpath(folder):
        raise ValueError(f'a run is resumed in the folder of {o.resume}: leave out --init and --output-dir')
    if before['cell'] and not o.cell:
        raise ValueError(f'the run in {o.resume} was trained with the class {before["cell"]}, not with CharLSTM: add '
                         f'--cell {before["cell"]}')
    changed = {name: value for name, value in o.typed.items() if name in table.OF_RUN}
    for name, value in changed.items():
        may = 'moved' if name == 'input' else table.ROWS[name].resumed if name in table.ROWS else 'same'
        if not (value == before[name] or may == 'any' or may == 'smaller' and value < before[name]
                or may == 'moved' and before[name] is not None):
            raise ValueError(f'{name} is {value}, but the run in {o.resume} had {before[name]}: when a run is resumed, '
                             + table.MAY_CHANGE)
    if before['precision'] == 'bfloat16':                  # which this machine may not have
        before = {**before, 'precision': 'auto'}
    vars(o).update({**before, **changed, 'output_dir': folder})
    refuse_other_units(o)


def set_units(o):
    """Set the units of each layer: those that were typed, or else of --init, or the default. Return o, the Options."""
    of_init = units(read_checkpoint(o.init, dtype='float32')[0]) if o.init is not None else None
    known = of_init or o.units or [table.UNITS] * table.LAYERS
    first, others, layers = [o.typed.get(name) for name in ('num_units1', 'num_units2', 'layers')]
    if 'units' not in o.typed:
        o.units = list(known)
        if first or others or layers:
            o.units = [first or known[0], *[others or first or known[-1]] * ((layers or len(known)) - 1)]
    refuse_other_units(o)
    return o


def refuse_other_units(o):
    """Raise ValueError if what was typed about the units disagrees with the units of o, Options."""
    typed, (first, *others) = o.typed, o.units
    said = dict(num_units1={first}, num_units2={*others}, layers={1 + len(others)})
    for name, numbers in said.items():
        if name in typed and numbers != {typed[name]}:
            raise ValueError(f'{name} is {typed[name]}, but the layers have {" ".join(map(str, o.units))} units')
