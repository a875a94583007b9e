"""The Options of one run, be it new or resumed."""
import math
import os
import secrets

from engine.model.files import base_name
from engine.model.parameters import read_about, read_shapes, units
from engine.run import recipe, table
from engine.terminal import near, number_of

LAST = 'last'                          # for --resume: the newest checkpoint of the run


class Options:
    """The options of a run by attribute; None: not chosen yet. typed: those that were chosen by the user, by name."""

    def __init__(self, typed):
        """Take options by name. Raise ValueError for those that are out of range or contradict each other."""
        self.typed = table.checked(typed)
        vars(self).update(table.DEFAULTS)
        for name, preset in table.PRESETS.items():
            vars(self).update(preset if typed.get(name) else {})
        vars(self).update(self.typed)
        if self.small and self.input is None:
            self.input = near(table.SMALL_TEXT)
        self.check()
        if self.valid is not None:
            self.ratio_valid = 0.0                         # all of the input is learned from

    def check(self):
        """Raise ValueError for options that contradict each other."""
        if self.original and self.small or self.valid is not None and 'ratio_valid' in self.typed:
            raise ValueError('--original and --small exclude each other, and so do --valid and --ratio-valid')
        if self.test_adapt and self.test is None:
            raise ValueError('--test-adapt needs --test, the text to adapt to')
        if not self.run or os.path.basename(self.run) != self.run:
            raise ValueError(f'the run name {self.run!r} is part of file names: expected no path separators')

    def kept(self, place):
        """Return the options that a checkpoint keeps in this place, a dict by name; see Option in table.py."""
        return {name: vars(self)[name] for name, row in table.ROWS.items() if row.kept == place}

    @property
    def name(self):
        """Return what the names of the run's files begin with."""
        return f'{self.run}_{base_name(self.input)}'

    def summary(self, parameters, validates):
        """Return two lines on the model and its training. validates: whether there are validation batches."""
        cell = f', of {self.cell}' if self.cell else ''
        begins = f', from the parameters of {self.init}' if self.init else ''
        most = 'up to ' if self.patience and validates else ''
        first = math.floor(round((1 - self.anneal) * self.epochs, 6)) + 1
        falling = f', falling from epoch {first} on' if first <= self.epochs else ''
        return (f'2 layers of {self.num_units1} and {self.num_units2} units{cell}, {parameters:,} parameters{begins}; '
                f'{most}{number_of(self.epochs, "epoch")}; random seed {self.random_seed}\n'
                f'learning rate {self.lrate:g}{falling}; dropout {self.dropout:g}, dropconnect {self.dropconnect:g}')


def choose(typed, find_input):
    """Return the Options of a run, and the progress of the run that is resumed, {} for a new one.

    find_input: makes the path of a new run's text from what was typed, or None. Raise ValueError for options that are
    out of range or contradict the resumed run.
    """
    o = Options(typed)
    if o.resume in (None, LAST):
        o.input = find_input(o.input)
    if o.resume == LAST:
        from engine.run.run import newest                  # late: fit needs no files of a run
        o.resume = newest(o)
        print(f'resuming from {o.resume}' if o.resume else 'this run has no checkpoint yet: a new run')
        o.init = None if o.resume else o.init              # which is for a new run
    if o.resume:
        progress = read_progress(o.resume)
        _take_over(o, progress['options'])
        return o, progress
    o.random_seed = secrets.randbelow(10 ** 9) if o.random_seed is None else o.random_seed
    return recipe.set_units(o), {}


def read_progress(path):
    """Return the progress of the run in a checkpoint, with all options of the run. Raise ValueError if there is none.

    A checkpoint keeps an option in one place: in the progress, the learning parameters, or the metadata of the text.
    """
    num_units1, num_units2 = units(read_shapes(path)[0])               # raises ValueError where --init would not help
    metadata = read_about(path)
    progress, lp, text = map(metadata.get, ('progress', 'lp', 'text'))
    if not (lp and text and progress and 'options' in progress):
        raise ValueError(f'{path} holds no run that can be resumed; --init starts a new one from its parameters')
    train, valid, test = [source and source['path'] for source in (text, text['valid'], text['test'])]
    stored = {**table.INITIAL, **progress['options'], **lp, **text, 'input': train, 'valid': valid, 'test': test,
              'no_stateful': not text['stateful'], 'num_units1': num_units1, 'num_units2': num_units2,
              'precision': metadata['precision']}
    options = {name: stored.get(name, table.DEFAULTS[name]) for name in table.OF_RUN}
    return {**progress, 'options': table.checked(options)}


def _take_over(o, before):
    """Give Options those of the run that they resume, a dict. Raise ValueError where a typed one contradicts it."""
    folder = os.path.dirname(os.path.abspath(o.resume))
    if o.init or 'output_dir' in o.typed and os.path.realpath(o.output_dir) != os.path.realpath(folder):
        raise ValueError(f'a run is resumed in the folder of {o.resume}: leave out --init and --output-dir')
    if before['cell'] and not o.cell:
        raise ValueError(f'the run in {o.resume} trained the class of --cell {before["cell"]}: name it again')
    changed = {name: value for name, value in o.typed.items() if name in table.OF_RUN}
    for name, value in changed.items():
        smaller = name == 'lrate' and value < before['lrate']
        moved = name in ('input', 'valid', 'test', 'cell') and before[name] is not None
        if name not in table.CHANGEABLE and not (value == before[name] or smaller or moved):
            raise ValueError(f'{name} is {value}, but the run in {o.resume} had {before[name]}: when a run is resumed, '
                             + table.MAY_CHANGE)
    vars(o).update({**before, **changed, 'output_dir': folder})
    o.check()
