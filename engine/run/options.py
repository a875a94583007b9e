"""The Options of one run, be it new or resumed."""
import contextlib
import math
import os
import secrets
from pathlib import Path

from engine.run import table
from engine.model.files import base_name
from engine.run import recipe
from engine.run.result import TITLES
from engine.run.run import RUN_PROGRESS, Run
from engine.run.schedule import epochs_before_fall
from engine.model.checkpoint import Checkpoint, sources
from engine.model.parameters import read_shapes, units
from engine.model.patterns import boolean, file_name, matches, nothing, number, string
from engine.terminal import ROOT, near, number_of, script, spelled, typed

LAST = 'last'                                                  # for --resume: the newest checkpoint of the run
TEXTS = {'input': 'train', 'valid': 'valid', 'test': 'test'}   # options that name texts, and the roles of these
BYTES = 16                     # of each parameter in a checkpoint: itself, its average and RMSprop's two
MUCH = 1.5e9                   # bytes of all checkpoints of a run, above which the start of the run says how many
OF_TEXT = 'encoding', 'ratio_valid', 'batch_size', 'seq_length'         # kept with a text under the same names
KINDS = {int: lambda value: type(value) is int, float: number, bool: boolean}
# What a checkpoint keeps of the options, as part of the progress of a run. A class that it names is never loaded unless
# the user names one, too: a checkpoint is untrusted input.
STORED = {'run': file_name, **{
    name: row.kind.__contains__ if isinstance(row.kind, tuple) else KINDS.get(row.kind, (string, nothing))
    for name, row in table.ROWS.items() if row.kept == 'run'}}


class Options:
    """The options of a run by attribute; None: not chosen yet. typed: those that were chosen by the user, by name."""

    def __init__(self, typed):
        self.typed = typed
        vars(self).update(table.DEFAULTS)
        for name, preset in table.PRESETS.items():
            if typed.get(name):
                vars(self).update(preset)
        vars(self).update(typed)
        if self.small and self.input is None:
            self.input = near(table.SMALL_TEXT)

    def of_run(self):
        """Return those of these options that belong to the run, a dict by name."""
        return {name: vars(self)[name] for name in table.OF_RUN}

    def stored(self):
        """Return what the progress in a checkpoint keeps of these options, a dict by name."""
        return {name: vars(self)[name] for name in STORED}

    def learning(self):
        """Return the learning parameters, a dict by name."""
        return {name: vars(self)[name] for name in table.LEARNING}

    @contextlib.contextmanager
    def chosen(self, find_input, group):
        """Choose all options that do not depend on the length of the text.

        Yield the open Checkpoint (None in all processes but the first) and the progress of the run that is resumed;
        None and None for a new run. find_input: makes the path of a new run's text from what was typed, or None.
        Raise ValueError for options that are out of range or contradict the resumed run, and OSError.
        """
        checkpoint = None
        if self.resume == LAST:
            vars(self).update(group.broadcast(self._newest_checkpoint, find_input))
        if self.resume is not None:
            checkpoint = group.in_first(Checkpoint, self.resume)
        with checkpoint or contextlib.nullcontext():
            progress = group.broadcast(stored_progress, checkpoint)
            vars(self).update(group.broadcast(self._choose, find_input, checkpoint, progress))
            yield checkpoint, progress

    def _newest_checkpoint(self, find_input):
        """Return the options that --resume last stands for."""
        run = Run(self.output_dir, run_name(self.run, find_input(self.input)))
        newest = run.newest()
        if newest is None:
            damage = run.damage()
            if damage and not self.overwrite:
                raise ValueError(f'{damage}; --overwrite begins the run anew')
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
                setattr(self, name, find_text(checkpoint, name, vars(self)[name], self.typed.get(name), self.cell))
        else:
            self.input = find_input(self.input)
            self.run_name = run_name(self.run, self.input)
            if self.random_seed is None:
                self.random_seed = secrets.randbelow(10 ** 9)
        self._check_folders()
        return vars(self)

    def settle(self):
        """Choose what depends on no text. Return all attributes. Raise ValueError for options out of range."""
        self._check()
        recipe.set_units(self)
        if self.valid is not None:
            self.ratio_valid = 0.0                         # all of the input is learned from
        return vars(self)

    def _take_over(self, progress):
        """Take the options of the run to resume, from progress. Raise ValueError where a typed one contradicts it."""
        before = progress['options']
        folder = os.path.dirname(os.path.abspath(self.resume))
        if self.init:
            raise ValueError('got --init and --resume: expected only one of them')
        if 'output_dir' in self.typed and os.path.realpath(self.output_dir) != os.path.realpath(folder):
            raise ValueError(f'--output-dir is {self.output_dir}, but a run is resumed in the folder of {self.resume}')
        if before['cell'] and not self.cell:
            words = typed({'resume': self.resume, 'cell': before['cell']})
            raise ValueError(f'the run in {self.resume} learned the class {before["cell"]}: name it again, as in '
                             + script('train.py', *words))
        changed = {name: value for name, value in self.typed.items() if name in table.OF_RUN}
        for name, value in changed.items():
            fits = getattr(table.ROWS.get(name), 'fits', None) or (lambda name, value: value)
            same = before[name] is not None and fits(name, before[name]) == fits(spelled(name), value)
            smaller = name == 'lrate' and value < before['lrate']
            moved = name in (*TEXTS, 'cell') and before[name] is not None
            if name not in table.CHANGEABLE and not (same or smaller or moved):
                what = f'the run name {value}' if name == 'run' else ' '.join(typed({name: value}))
                had = 'none' if before[name] is None or before[name] is False else before[name]
                raise ValueError(f'got {what}, but the run in {self.resume} had {had}; when a run is resumed, '
                                 f'{table.MAY_CHANGE}')
        self.run_name = progress['name']
        vars(self).update({**before, **changed, **{name: before[name] for name in TEXTS}, 'output_dir': folder})

    def _check(self):
        """Raise ValueError for options out of range, of those that no function checks before the text is read."""
        for name, row in table.ROWS.items():
            if row.fits and vars(self)[name] is not None:
                row.fits(spelled(name), vars(self)[name])
        if self.original and self.small:
            raise ValueError('got --original and --small: expected only one of these recipes')
        if self.valid is not None and 'ratio_valid' in self.typed:
            raise ValueError('got --valid and --ratio-valid: expected only one of them, as --valid is all of the '
                             'validation text')
        if self.test_adapt and self.test is None:
            raise ValueError('--test-adapt needs --test, the text to adapt to')
        if not self.run or self.run.startswith('-') or os.path.basename(self.run) != self.run or '\0' in self.run:
            raise ValueError(f'the run name {self.run!r} is part of file names: expected at least one character, no '
                             'path separators, and no - at its beginning')
        self._check_used()

    def _check_folders(self):
        """Raise ValueError where a text is a folder that would get the files of the run as parts of the text."""
        output = Path(os.path.realpath(self.output_dir))
        for path in filter(None, [vars(self)[name] for name in TEXTS]):
            text = Path(os.path.realpath(path))
            inside = text.is_dir() and text in (output, *output.parents)
            hidden = any(name.startswith('.') for name in output.parts[len(text.parts):])      # is no part of the text
            if inside and not hidden:
                where, advice = f'--output-dir {self.output_dir}', 'name a folder outside'
                if self.resume:
                    where, advice = f'the folder of {self.resume}', 'move the checkpoint to a folder outside'
                raise ValueError(f'{where} is inside the text folder {path}, so its files would become part of the '
                                 f'text: {advice}')

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

    def summary(self, parameters, validates):
        """Return lines on what learns, how often, how to repeat it, and what was chosen.

        The last one is on the disk, if the checkpoints take much of it. parameters: how many there are. validates:
        whether there are validation batches.
        """
        begins = f', from the parameters of {self.init}' if self.init else ''
        cell = f', of {self.cell}' if self.cell else ''
        may_end = self.patience and validates
        most = 'up to ' if may_end else ''
        first = math.floor(epochs_before_fall(self.epochs, self.anneal)) + 1
        falls = self.anneal > 0 and first <= self.epochs
        falling = f', falling from epoch {first} on' if falls else ''
        lines = [f'2 layers of {self.num_units1} and {self.num_units2} units{cell}, {parameters:,} parameters{begins}; '
                 f'{most}{number_of(self.epochs, "epoch")}; random seed {self.random_seed}',
                 f'learning rate {self.lrate:g}{falling}; dropout {self.dropout:g}, dropconnect {self.dropconnect:g}']
        if may_end:
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

def stored_progress(checkpoint):
    """Return the progress of the run in an open checkpoint, with all options of the run; None for no checkpoint.

    A checkpoint keeps an option in one place: in the progress, the learning parameters, or the metadata of the text.
    Raise ValueError where no run can be resumed from it.
    """
    if checkpoint is None:
        return None
    metadata = checkpoint.metadata
    progress, lp, text = map(metadata.get, ('progress', 'lp', 'text'))
    num_units1, num_units2 = units(read_shapes(checkpoint)[0])         # raises ValueError where --init would not help
    if not (lp and text and matches(progress, {**RUN_PROGRESS, 'options': STORED})):
        raise ValueError(f'{checkpoint} holds no run that can be resumed; --init starts a new one from its parameters')
    paths = {name: source['path'] if source else None for name, source in sources(text).items()}
    return dict(progress, options={
        **progress['options'], **lp, **paths, **{name: text[name] for name in OF_TEXT}, 'num_units1': num_units1,
        'num_units2': num_units2, 'no_stateful': not text['stateful'], 'precision': metadata['precision']})


def find_text(checkpoint, option, path, typed, cell=None):
    """Return where a text of the run in an open checkpoint is now: as typed or, where it has moved, near by.

    option: of TEXTS. path: where it was; None for a run without it. cell: the option. Raise ValueError where it is not
    found.
    """
    if path is None:
        return None
    # Not a device, which may never end. Not a file of /proc either, which may never end, and whose size is 0.
    if typed or os.path.isdir(path) or _has_contents(path):
        return typed or path
    folder, name = os.path.dirname(os.path.abspath(checkpoint.path)), os.path.basename(path)
    why, where, now = 'is gone', 'name it where it is now', near(name)
    if os.path.exists(path) and not os.path.isfile(path) or path.startswith(('/dev/fd/', '/dev/std', '/proc/')):
        why, where, now = 'cannot be read again', 'save the text as a file and name that', 'FILE'
    elif os.path.exists(path):
        why = 'is empty now'
    for place in (folder, os.path.join(folder, os.pardir, 'text_input'), os.path.join(ROOT, 'text_input'), ''):
        found = os.path.join(place, name)
        if _has_contents(found):
            print(f'{path} {why}: taking {near(found)}')
            return found
    words = {option: now, 'resume': checkpoint.path, 'cell': cell}
    raise ValueError(f'{path}, the {TITLES[TEXTS[option]]} of that run, {why}: {where}, as in '
                     f'{script("train.py", *typed(words))}')


def _has_contents(path):
    """Return whether a path is that of a file that is not empty."""
    return os.path.isfile(path) and os.path.getsize(path) > 0


def check_texts(options, model, checkpoint):
    """Raise ValueError where a text of a model is not that of the run in an open checkpoint; options: of the run."""
    progress, stored = checkpoint.metadata['progress'], sources(checkpoint.metadata['text'])
    for name, role in TEXTS.items():
        path, then = vars(options)[name], stored[name]
        if path is not None and (not then or model.source(role)['sha256'] != then['sha256']):
            now = model.source(role)['characters']
            had = f', which had {then["characters"]:,} characters and SHA-256 {then["sha256"]}' if then else ''
            raise ValueError(f'{path}, of {now:,} characters, is not the {TITLES[role]} of that run{had}; --init '
                             'starts a new run on another text')
    if progress['batch'] > model.n_batches['train']:
        raise checkpoint.refusal(f'it is at batch {progress["batch"]} of {model.n_batches["train"]}')
