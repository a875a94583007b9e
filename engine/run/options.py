"""The options of train.py: a table of them for argparse, and the Options of one run, be it new or resumed."""
import argparse
import contextlib
import math
import os
import secrets

from engine import commands
from engine.checks import RANGES, learning, real, shown
from engine.commands import spelled
from engine.files import base_name
from engine.run import recipe
from engine.run.result import TITLES
from engine.run.schedule import epochs_before_fall
from engine.run.table import CHANGEABLE
from engine.state.patterns import MOST, boolean, file_name, matches, nothing, number, string

LAST = 'last'                                                  # for --resume: the newest checkpoint of the run
TEXTS = {'input': 'train', 'valid': 'valid', 'test': 'test'}   # options that name texts, and the roles of these
NOT_STORED = ('resume', 'overwrite', 'init', 'output_dir')     # they belong to one start, not to the run
BYTES = 12                     # of each parameter in a checkpoint: itself, its average and that of its squares
MUCH = 1e9                     # bytes of all checkpoints of a run, above which the start of the run says how many


# ---------------------------------------------------------------- the table

def add(group, rows, suppress=False):
    """Add rows (name, kind, default, help) of options to an argparse group.

    kind: int, float, bool for a flag, a tuple of choices, how a string is named in the
    help, or a dict of argparse's own arguments. suppress: leave options that are not typed
    out of the result, instead of setting them to their defaults.
    """
    for name, kind, default, text in rows:
        value = argparse.SUPPRESS if suppress else default
        text += '' if default is None or default == '' or kind is bool else f' (default: {default})'
        if kind is bool:
            settings = dict(action='store_true')
        elif isinstance(kind, dict):
            settings = kind
        elif isinstance(kind, tuple):
            settings = dict(choices=kind)
        elif isinstance(kind, str):
            settings = dict(type=str, metavar=kind)
        else:
            settings = dict(type=kind, metavar={int: 'N', float: 'X'}[kind])
        group.add_argument('--' + name, default=value, help=text, **settings)


def stored_pattern(table):
    """Return the pattern of what stored() returns; table: rows of all options by title, as for add."""
    pattern = {'input': string, 'run': file_name}
    for name, kind, _, _ in (row for rows in table.values() for row in rows):
        fits = {int: lambda value: type(value) is int, float: number, bool: boolean}.get(kind, string)
        if isinstance(kind, tuple):
            fits = kind.__contains__
        name = name.replace('-', '_')
        if name not in (*NOT_STORED, *RANGES):
            pattern[name] = (fits, nothing) if name in TEXTS else fits
    return pattern


# ---------------------------------------------------------------- the options of a run

class Options:
    """The options of a run by attribute; None: not chosen yet."""

    def __init__(self, table, defaults, typed):
        """Take the rows of all options by title, as for add; all defaults by name; the options that were typed."""
        self._table, self._defaults, self.typed = table, defaults, typed
        vars(self).update({**defaults, **(recipe.ORIGINAL if typed.get('original') else {}), **typed})

    def _of_run(self, values):
        """Return those of values, a dict by name, that belong to the run."""
        return {name: values[name] for name in self._defaults if name in values and name not in NOT_STORED}

    def of_run(self):
        """Return those of these options that belong to the run, a dict by name."""
        return self._of_run(vars(self))

    def stored(self):
        """Return what the progress in a checkpoint keeps of these options, a dict by name; the others are in its lp."""
        return {name: value for name, value in self.of_run().items() if name not in RANGES}

    def arguments_of(self, function):
        """Return those options that are parameters of a function, a dict by name."""
        import inspect                 # late, so that --help does not wait for it
        return {name: vars(self)[name] for name in inspect.signature(function).parameters if name in self._defaults}

    @contextlib.contextmanager
    def chosen(self, find_input, group):
        """Choose all options that do not depend on the length of the text.

        Yield the open Checkpoint (None in all processes but the first) and the progress of the run that is resumed;
        None and None for a new run. find_input: makes the path of a new run's text from what was typed, or None.
        Raise ValueError for options that are out of range or contradict the resumed run, and OSError.
        """
        if self.resume == LAST:
            vars(self).update(group.broadcast(self._newest_checkpoint, find_input))
        with checkpoint_of(self.resume, self._table, group) as (checkpoint, progress):
            vars(self).update(group.broadcast(self._choose, find_input, checkpoint, progress))
            yield checkpoint, progress

    def _newest_checkpoint(self, find_input):
        """Return the options that --resume last stands for."""
        from engine.run.run import Run         # late, so that --help does not wait for NumPy
        run = Run(self.output_dir, run_name(self.run, self.input or find_input(None)))
        newest = run.newest()
        if newest is None:
            print(f'{run.path("")} has no checkpoint yet: a new run')
            return dict(resume=None)
        print(f'resuming from {newest}' if self.init is None else
              f'resuming from {newest}, without --init {self.init}, which is for a new run')
        return dict(resume=newest, init=None)

    def _choose(self, find_input, checkpoint, progress):
        """Choose as chosen() does, in the first process. Return all attributes."""
        if progress:
            self._take_over(progress)
        self.settle()
        if progress:
            for name in TEXTS:
                setattr(self, name, find_text(checkpoint, name, vars(self)[name], self.typed.get(name)))
        else:
            self.input = find_input(self.input)
            self.run_name = run_name(self.run, self.input)
            if self.random_seed is None:
                self.random_seed = secrets.randbelow(10 ** 9)
        return vars(self)

    def settle(self):
        """Choose what depends on no text. Raise ValueError for options out of range."""
        self._check()
        recipe.set_units(self)
        if self.valid is not None:
            self.ratio_valid = 0.0                         # all of the input is learned from

    def _take_over(self, progress):
        """Take the options of the run to resume, from progress. Raise ValueError where a typed one contradicts it."""
        before = progress['options']
        folder = os.path.dirname(os.path.abspath(self.resume))
        if self.init:
            raise ValueError('got --init and --resume: expected only one of them')
        if 'output_dir' in self.typed and os.path.realpath(self.output_dir) != os.path.realpath(folder):
            raise ValueError(f'--output-dir is {self.output_dir}, but a run is resumed in the folder of {self.resume}')
        typed = self._of_run(self.typed)
        for name, value in typed.items():
            smaller = name == 'lrate' and value < before['lrate']
            moved = name in TEXTS and before[name] is not None
            if name not in CHANGEABLE and value != before[name] and not (smaller or moved):
                raise ValueError(
                    f'{spelled(name)} is {value}, but the run in {self.resume} had '
                    f'{"none" if before[name] is None else before[name]}; only '
                    f'{", ".join(map(spelled, CHANGEABLE))} may change when a run is resumed, and --lrate become '
                    'smaller')
        self.run_name = progress['name']
        vars(self).update({**before, **typed, **{name: before[name] for name in TEXTS}, 'output_dir': folder})

    def make_paths_absolute(self):
        """Name the texts as a checkpoint keeps them: a run may be resumed from another folder."""
        for name in TEXTS:
            if vars(self)[name] is not None:
                setattr(self, name, os.path.abspath(vars(self)[name]))

    def _check(self):
        """Raise ValueError for options out of range, of those that no function checks before the text is read."""
        for name, least in (('num_units1', 1), ('num_units2', 1), ('warmup', 0), ('epochs', 1), ('valid_every', 1),
                            ('save_every', 1), ('lrate_decay_epoch', 1), ('patience', 0)):
            value = vars(self)[name]
            if value is not None and not least <= value <= MOST:
                raise ValueError(f'{spelled(name)} is {shown(value)}: expected at least {least}, at most {MOST:,}')
        learning({name: value for name, value in vars(self).items() if value is not None})
        if self.valid is not None and 'ratio_valid' in self.typed:
            raise ValueError('got --valid and --ratio-valid: expected only one of them, as --valid is all of the '
                             'validation text')
        if self.test_adapt and self.test is None:
            raise ValueError('--test-adapt needs --test, the text to adapt to')
        real('--anneal', self.anneal, 'from 0 to 1', lambda share: 0 <= share <= 1)
        if not 0 < self.lrate_decay <= 1:
            raise ValueError(f'--lrate-decay is {self.lrate_decay}: expected a number above 0, at most 1')
        if not self.run or os.path.basename(self.run) != self.run or '\0' in self.run:
            raise ValueError(f'the run name {self.run!r} is part of file names: expected no path separators in it')
        self._check_used()

    def _check_used(self):
        """Raise ValueError for an option that was typed, and that other options of the run make useless."""
        no_validation = self.valid is None and not self.ratio_valid
        for name, useless, why in (
                ('patience', no_validation and self.patience, 'a run with --ratio-valid 0 has no validation costs'),
                ('valid_every', no_validation, 'a run with --ratio-valid 0 has no validation costs'),
                ('lrate_decay_epoch', self.lrate_decay == 1, 'with --lrate-decay 1 the rate does not decay'),
                ('reset', self.no_stateful and self.reset, 'with --no-stateful, as in the recipe of --original, every '
                                                           'batch starts from zero states'),
                ('initial', self.init is not None, f'the parameters begin as those of --init {self.init}')):
            if useless and name in self.typed:
                raise ValueError(f'{spelled(name)} is {vars(self)[name]}, but {why}: leave it out')

    def summary(self, parameters):
        """Return lines on what learns, how often, how to repeat it, and what was chosen.

        The last one is on the disk, if the checkpoints take much of it. parameters: how many there are.
        """
        begins = f', from the parameters of {self.init}' if self.init else ''
        most = 'up to ' if self.patience else ''
        first = math.floor(epochs_before_fall(self.epochs, self.anneal)) + 1
        falls = self.anneal > 0 and first <= self.epochs
        falling = f', falling from epoch {first} on' if falls else ''
        lines = [f'2 layers of {self.num_units1} and {self.num_units2} units, {parameters:,} parameters{begins}; '
                 f'{most}{self.epochs} epochs; random seed {self.random_seed}',
                 f'learning rate {self.lrate:g}{falling}; dropout {self.dropout:g}, dropconnect {self.dropconnect:g}']
        if self.patience and (self.valid or self.ratio_valid):
            ends = 'let the rate fall early or, where it falls already, end the run' if falls else 'end the run'
            lines.append(f'patience {self.patience}: so many epochs without a better validation cost {ends}')
        files, size = self.epochs // self.save_every, BYTES * parameters
        if files * size > MUCH:
            lines.append(f'up to {files:,} checkpoints of {size / 1e6:.1f} MB, one every {self.save_every} epochs: a '
                         'larger --save-every takes less of the disk')
        return '\n'.join(lines)


def run_name(run, text):
    """Return what the names of a run's files begin with; run: the option, text: the path of the text."""
    return f'{run}_{base_name(text)}'


# ---------------------------------------------------------------- the checkpoint and the texts of a run that is resumed

@contextlib.contextmanager
def checkpoint_of(path, table, group):
    """Open the checkpoint of a run to resume: yield it (None in all processes but the first) and its progress.

    The progress then has all options of the run, also those that the checkpoint keeps as learning parameters. Without a
    path yield None and None. table: rows of all options, by which the stored ones are checked: a checkpoint is
    untrusted input. Raise ValueError where no run can be resumed from it, and OSError.
    """
    def read_progress():
        nonlocal checkpoint
        # Late, so that --help does not wait for NumPy.
        from engine.run.run import RUN_PROGRESS
        from engine.state.checkpoint import Checkpoint
        checkpoint = opened.enter_context(Checkpoint(path))
        progress, lp = map(checkpoint.metadata.get, ('progress', 'lp'))
        if not lp or not matches(progress, {**RUN_PROGRESS, 'options': stored_pattern(table)}):
            raise ValueError(f'{path} holds no run that can be resumed; --init starts a new one from its parameters')
        options = {**progress['options'], **lp}
        for name, array in (('num_units1', 'W1'), ('num_units2', 'W2')):       # before a model of that size is made
            if (options[name],) != checkpoint.shape(array)[-1:]:
                raise checkpoint.refusal(f'{spelled(name)} of its run is not the size of its {array}')
        return dict(progress, options=options)

    checkpoint = None
    if path is None:
        yield None, None
        return
    with contextlib.ExitStack() as opened:
        progress = group.broadcast(read_progress)
        yield checkpoint, progress


def find_text(checkpoint, option, path, typed):
    """Return where a text of the run in an open checkpoint is now: as typed or, where it has moved, near by.

    option: of TEXTS. path: where it was; None for a run without it. Raise ValueError where it is not found.
    """
    if path is None:
        return None
    # Not a device, which may never end. Not a file of /proc either, which may never end, and whose size is 0.
    if typed or os.path.isdir(path) or os.path.isfile(path) and os.path.getsize(path):
        return typed or path
    folder, name = os.path.dirname(os.path.abspath(checkpoint.path)), os.path.basename(path)
    for place in (folder, os.path.join(folder, os.pardir, 'text_input'), os.path.join(commands.ROOT, 'text_input'), ''):
        found = os.path.join(place, name)
        if os.path.isfile(found):
            print(f'{path} is gone: taking {commands.near(found)}')
            return found
    words = [name] if option == 'input' else [spelled(option), name]
    raise ValueError(f'{path}, the {TITLES[TEXTS[option]]} of that run, is gone: name it where it is now, as in '
                     f'{commands.script("train.py", *words, "--resume", str(checkpoint.path))}')


def check_texts(options, model, checkpoint):
    """Raise ValueError where a text of a model is not that of the run in an open checkpoint; options: of the run."""
    text, progress = checkpoint.metadata['text'], checkpoint.metadata['progress']
    stored = {'train': text, 'valid': text.get('valid'), 'test': text.get('test')}
    for name, role in TEXTS.items():
        path, then = vars(options)[name], stored[role]
        if path is not None and (not then or model.fingerprint(role) != then['sha256']):
            had = f', which had {then["characters"]:,} characters and SHA-256 {then["sha256"]}' if then else ''
            raise ValueError(f'{path} is not the {TITLES[role]} of that run{had}; --init starts a new run on another '
                             'text')
    if progress['batch'] > model.n_batches['train']:
        raise checkpoint.refusal(f'it is at batch {progress["batch"]} of {model.n_batches["train"]}')
