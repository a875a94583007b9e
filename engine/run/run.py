"""The files of one run: names, logs, checkpoints and picture. While a Run is open no other process can have it."""
import contextlib
import math
import os
import re
import secrets
import tempfile

from engine.run import logs
from engine.model.files import named, partial_name, refuse_to_replace
from engine.run.logs import EPOCHS, LOGS, SAMPLE_LENGTH, STEPS, Logs
from engine.parallel import SingleProcess
from engine.run import result
from engine.run.picture import draw_costs
from engine.run.result import RESULT
from engine.run.schedule import FALLS, PROGRESS, RISING
from engine.model.checkpoint import Checkpoint
from engine.model.parameters import read_about
from engine.model.patterns import MOST, file_name, matches, random_id
from engine.terminal import duration, nats_and_bits, near, script, typed, warn

PICTURE = '.png'
LONGEST_NAME = 255 - len(partial_name(f'_epoch{MOST}.npz'))     # bytes: what systems allow, less the longest ending
PARTIAL = r'\.[0-9a-f]{12}\.part'

# What a checkpoint keeps of a run: its Schedule, and what it knows of its files.
RUN_PROGRESS = {**PROGRESS, 'name': file_name, 'id': random_id, 'logs': logs.STORED}


def _progress_in(path):
    """Return the progress in the checkpoint of a run, or None if it is none."""
    with contextlib.suppress(OSError, ValueError), Checkpoint(path) as stored:
        progress = stored.metadata.get('progress')
        return progress if matches(progress, RUN_PROGRESS) else None


def _damage(paths):
    """Return why the first of the paths that has the name of a checkpoint, and is none, cannot be read; or None."""
    for path in paths:
        if path.endswith('.npz'):
            try:
                read_about(path)
            except (OSError, ValueError) as error:
                return str(error)
    return None


def _how_far(progress):
    """Return a key to compare how far checkpoints are. A smaller rate_factor is further: the run has diverged."""
    return -progress['rate_factor'], progress['epoch'], progress['batch']


def _furthest(paths, counts=bool):
    """Return which of the paths is that of the checkpoint of a run that is furthest, or None.

    counts: a function that says by its progress (None for a file that is no checkpoint of a run) whether a file counts.
    """
    found = {path: _progress_in(path) for path in paths if path.endswith('.npz')}
    return max([path for path in found if counts(found[path])], key=lambda path: _how_far(found[path]), default=None)


class Run:
    """The files of a run, by their folder and the beginning of their names.

    Of several processes only the first reads and writes them.

    model, schedule: those of follow(). last_checkpoint: the newest that is known to be whole, or None. say: a function
    that prints a line for the user; train.py sets it to one that respects the progress bar.
    """
    BEST, INTERRUPTED, EPOCH = logs.BEST, logs.INTERRUPTED, logs.EPOCH           # endings of checkpoints
    START = '_start.npz'                   # another ending; the file is removed when an epoch has its checkpoint
    say = staticmethod(print)

    def __init__(self, directory, name, resumed=None, progress=None, group=SingleProcess(), cell=None, **of_model):
        """Take the folder and the run's name; of a resumed run, the path of its checkpoint and the progress in it.

        group: a SingleProcess or a ProcessGroup. cell: the option, or None. of_model: further arguments of Logs.
        """
        self._group = group
        self.directory = near(directory)
        self.name = name
        self.last_checkpoint, self._progress = resumed, progress or {}
        self._fallback = None                  # the newest checkpoint to go back to when the run diverges
        self._cell = typed({'cell': cell})
        self._needed = ()                      # options without which a resumed run would stop again
        self.id = self._progress.get('id', secrets.token_hex(8))       # distinguishes it from others of its name
        self._overwrite = False
        self._drawn = self._failed_to_draw = False
        self.model = self.schedule = None
        self._logs = Logs(self.path, **of_model)

    def follow(self, model, schedule):
        """Take the model and the Schedule that the other methods log, save and report."""
        self.model, self.schedule = model, schedule

    def path(self, ending):
        """Return the path of this run's file with that ending."""
        return near(os.path.join(self.directory, self.name + ending))

    # ---- the start, new or resumed

    def _earlier(self, more=''):
        """Return the paths of all files that a run of this name may have left. more: a regex of what follows the names.
        """
        endings = [re.escape(ending) for ending in (*LOGS, PICTURE, RESULT, self.BEST, self.INTERRUPTED, self.START)]
        endings.append(re.escape(self.EPOCH.format(0)).replace('0', r'\d+'))
        ours = re.compile('{}({}){}'.format(re.escape(self.name), '|'.join(endings), more))
        names = os.listdir(self.directory) if os.path.isdir(self.directory) else []
        return [self.path(name[len(self.name):]) for name in sorted(names) if ours.fullmatch(name)]

    def check(self, overwrite, read=()):
        """Make the folder. Raise ValueError if the run would replace earlier results of this name, unless overwrite.

        read: paths of what the run reads, or None; they are never replaced.
        """
        self._overwrite = overwrite
        self._group.broadcast(self._check, read)

    def _check(self, read):
        too_long = len(os.fsencode(self.name)) - LONGEST_NAME
        if too_long > 0:
            raise ValueError(f'{self.name[:40]}...: the names of run and text are too long together for those of its '
                             f'files, by {too_long} bytes')
        for path in self._earlier():
            refuse_to_replace(path, True, read)            # nor a FIFO, which would hang, or a link to nowhere
        self._logs.check_names(self._earlier())
        self._logs.refuse_locked()
        self._refuse_to_replace(self._to_replace())
        try:
            with named('make the folder', self.directory):
                os.makedirs(self.directory, exist_ok=True)
            with named('write', self.path(STEPS)), tempfile.TemporaryFile(dir=self.directory):
                pass                                       # an attempt, for the system's reason
        except OSError as error:
            advice = ('copy the checkpoint to a folder that can be written, and resume it there' if self.last_checkpoint
                      else '--output-dir names another folder for the results')
            raise type(error)(f'{error}; {advice}') from None

    def _refuse_to_replace(self, paths):
        if not paths or self._overwrite:
            return
        further = _furthest(paths)
        first = further or paths[0]
        command = script('train.py', '--resume', first, *self._cell, processes=self._group.size)
        resume = f'resume it with {command}, or ' if further else ''
        if self.last_checkpoint:
            why = _damage(paths) or f'{first} is further than {self.last_checkpoint}, or of another run'
            raise ValueError(f'{why}: {resume}--overwrite to drop {", ".join(map(os.path.basename, paths))}')
        raise ValueError(f'{first} exists already: choose another run name, {resume or "or "}--overwrite to replace '
                         'the results of that run')

    def _to_replace(self):
        """Return the paths of files of this name that are no earlier state of this run, without logs that lack rows."""
        if not self.last_checkpoint:
            return [path for path in self._earlier() if not self._logs.lacks_rows(path)]
        return [path for path in self._earlier() if path.endswith('.npz')
                and not self._has_passed(_progress_in(path))]

    def _has_passed(self, progress):
        """Return whether progress, of a checkpoint or None, is of this run and no further than where it is resumed."""
        return bool(progress) and progress['id'] == self.id and _how_far(progress) <= _how_far(self._progress)

    @contextlib.contextmanager
    def open(self):
        """Keep the logs open inside: new ones or, in a run that is resumed, as they were at its checkpoint."""
        try:
            self._group.broadcast(self._reopen_logs if self.last_checkpoint else self._open_logs)
            yield
        finally:
            self._logs.close()

    def _reopen_logs(self):
        """Open the logs of a resumed run: cut off what came after the checkpoint, and begin anew what is missing."""
        sizes = self._logs.sizes_of(self._progress['logs'])
        missing = [self.path(ending) for ending in LOGS if ending not in sizes]
        not_ours = list(missing)
        if not sizes:
            not_ours.append(self.path(PICTURE))
        found = result.read(self.path(RESULT), self.id)
        if not found:
            not_ours.append(self.path(RESULT))
        others = [path for path in not_ours if os.path.exists(path)]
        if others and not self._overwrite:
            raise ValueError(f'not known to be of the run in {self.last_checkpoint}: {", ".join(others)}; move that '
                             'checkpoint to another folder, or --overwrite to begin them anew')
        self._open_logs(sizes)
        if found and found['epochs'] > self._progress['epoch']:        # of epochs that are read again
            os.remove(self.path(RESULT))
        if missing:
            self.say(f'{", ".join(missing)}: not found, or not of this run, so begun anew')

    def _open_logs(self, sizes={}):
        """Open all logs, cut to sizes in bytes by ending (or to 0), and remove other files that this run replaces."""
        self._logs.lock()
        # Again: another process may have begun and ended a run of this name since.
        to_replace = self._to_replace()
        self._refuse_to_replace(to_replace)
        self._logs.open(sizes)
        for path in to_replace + self._earlier(PARTIAL):
            if not path.endswith(LOGS):
                os.remove(path)

    # ---- when it stops

    @contextlib.contextmanager
    def naming_checkpoint(self, when):
        """Let an error or a KeyboardInterrupt inside also say from which checkpoint the run can be resumed.

        when: what the message of a KeyboardInterrupt says of its time.
        """
        try:
            yield
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f' {when}; {self._last_checkpoint_line()}') from None
        except (OSError, ValueError) as error:
            kind = OSError if isinstance(error, OSError) else ValueError       # some of these take other arguments
            raise kind(f'{error}; {self._last_checkpoint_line()}') from None

    def _last_checkpoint_line(self):
        if self.last_checkpoint:
            return f'the last checkpoint is {self.last_checkpoint}, resume it with: {self._resume_command()}'
        return 'no checkpoint was written yet'

    def _resume_command(self, *more):
        return script('train.py', *typed({'resume': self.last_checkpoint}), *self._cell,
                               *self._needed, *more, processes=self._group.size)

    def conclude(self):
        """Score the fixed texts if the run is finished, say the result, and write it. Return whether nothing is left.

        The model then has the parameters that were scored, if it scored.
        """
        schedule = self.schedule
        if schedule.best_epoch:
            self.say(f'best validation cost: {nats_and_bits(schedule.best_cost)} a character, after epoch '
                     f'{schedule.best_epoch}')
        names, best, path = result.to_score(schedule.options), self._best_checkpoint(), self.path(RESULT)
        before = self._group.broadcast(result.read, path, self.id)
        scores = result.stored_scores(before, names, schedule)
        if scores:
            self.say(f'scored already, as {path} says:')
        elif names and schedule.finished:
            scores = self._scores(best, before)
        for line in result.lines(self.model, schedule.options, scores) if scores else ():
            self.say(line)
        complete = schedule.finished and bool(scores or not names)
        found = result.fields(self.model, schedule, scores, id=self.id, finished=complete,
                              checkpoint=os.path.basename(best), training_seconds=self._training_seconds())
        started_at = self._progress.get('epoch'), self._progress.get('batch')
        if before.get('epochs') == schedule.epoch and started_at == (schedule.epoch, schedule.batch):
            # Nothing was learned with other options.
            found.update({name: value for name, value in before.items() if name.startswith('option_')})
        self._group.broadcast(result.write, path, found)
        return complete

    def _best_checkpoint(self):
        """Return the path of the best checkpoint or, without validation, of the last one."""
        return self.path(self.BEST) if self.schedule.best_epoch else self.last_checkpoint

    def _scores(self, checkpoint, before):
        """Return the scores of the fixed texts by name, {} if a stop is requested. before: the result until now."""
        again = ''
        if any(before.get(f'{name}_nats') is not None for name in result.to_score(self.schedule.options)):
            again = f' again: the scores until now are of the model of epoch {before["checkpoint_epoch"]}'
        self.say(f'scoring with {checkpoint}, of epoch {result.epoch_of_best(self.schedule)}{again}')
        self.model.load_params(checkpoint)
        scores = self._group.broadcast(result.score, self.model, self.schedule.options, checkpoint)
        if not scores:
            self.say('interrupted before all was scored: the run scores when it is resumed')
        return scores

    def _training_seconds(self):
        """Return how long the epochs took, without the validation after each, by their log; None if it lacks any."""
        x, n = self.model.X['train'], self.model.n_batches['train']
        characters = self.model.batch_size * ((n - 1) * len(x[0]) + len(x[-1]))
        speeds = [row[4] for row in self._logs.epochs]
        if {row[0] for row in self._logs.epochs} != set(range(1, self.schedule.epoch + 1)) or not all(speeds):
            return None
        return round(sum(characters / speed for speed in speeds), 3)

    def print_results(self, complete):
        """Print where everything is, and the commands to write with it and to resume.

        complete: what conclude() returned.
        """
        best, more = self.path(self.BEST), self.schedule.larger_limits() if complete else []
        drawn = f', drawn in {self.path(PICTURE)}' if self._drawn else ''
        print(f'costs: {self.path(STEPS)} and {self.path(EPOCHS)}{drawn}')
        print(f'result: {self.path(RESULT)}')
        checkpoint = best if os.path.exists(best) else self.last_checkpoint
        print('next: ' + script('produce_text.py', checkpoint, *self._cell))
        print('to resume: ' + self._resume_command(*more))

    # ---- logs

    def log_step(self, cost, ratios):
        """Log a training step."""
        epoch, valid_cost = self.schedule.row()
        self._logs.step(epoch, cost, valid_cost, ratios)

    def log_epoch(self, epoch, seconds):
        """Log an Epoch that ended and, if it should be reported, print a line. seconds: that it took."""
        schedule = self.schedule
        _, cost, valid_cost, rate, speed = epoch
        self._logs.epoch(epoch)
        if schedule.should_report:
            validation = 'no validation' if math.isnan(valid_cost) else f'validation {nats_and_bits(valid_cost)}'
            self.say(f'epoch {schedule.epoch}/{schedule.epochs}: cost {nats_and_bits(cost)}, {validation}, rate '
                     f'{rate:.4g}, {speed:,.0f} characters/s, {duration(seconds)}')

    def first_sample(self):
        """In the first epoch, print a short text of the model. No file has it, as the clock says when it is written.

        With --original, print nothing. The model's generator stays.
        """
        schedule = self.schedule
        if schedule.epoch == 0 and not schedule.options.original and self._group.first:
            self.say(f'what it writes after {schedule.batch:,} of the {schedule.batches:,} steps of epoch 1:\n'
                     f'{self.model.sample(SAMPLE_LENGTH)}\n')

    def sample(self):
        """If the epoch should be reported, print and log a short text of the model, and log the costs of the passage.

        The model's generator stays.
        """
        schedule = self.schedule
        if not (schedule.should_report and self._group.first):
            return
        text = self.model.sample(SAMPLE_LENGTH)
        self._logs.sample(schedule.epoch, text, self.model.passage_costs())
        self.say(f'what it writes after epoch {schedule.epoch}:\n{text}\n')

    def draw(self):
        """Draw the picture of all costs so far. If that fails, in whatever way, warn once; the run continues."""
        if not self._group.first:
            return
        try:
            draw_costs(self.path(PICTURE), self.name, self._logs.steps, [row[:3] for row in self._logs.epochs])
            self._drawn = True
        except Exception as error:
            if not self._failed_to_draw:
                warn(f'{self.path(PICTURE)} could not be drawn: {" ".join(str(error).split())[:200]}')
            self._failed_to_draw = True

    # ---- checkpoints

    def save(self, ending):
        """Write a checkpoint of the model and of the schedule."""
        progress = self.schedule.progress(logs=self._logs.stored(), name=self.name, id=self.id)
        self.last_checkpoint = self.model.save_params(self.path(ending), progress)
        if ending != self.INTERRUPTED and not self.schedule.rising:
            self._fallback = self.last_checkpoint
            if ending != self.START:
                self._group.broadcast(self._remove_start)
        if (self.schedule.should_report or self.schedule.batch) and ending != self.START:
            self.say('saved ' + self.last_checkpoint)

    def _remove_start(self):
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.path(self.START))

    def save_missing(self):
        """Write the checkpoints that the run should have: at its start, or where a stop or a move took one away."""
        schedule = self.schedule
        if not self.last_checkpoint:
            return self.save(self.START)
        self._fallback = self._group.broadcast(self._newest_fallback)
        at_end = schedule.epoch and not schedule.batch
        if schedule.best_epoch and not self._group.broadcast(self._has_best, schedule.best_epoch):
            if at_end and schedule.best_epoch == schedule.epoch:
                self.save(self.BEST)
            else:
                self.say(f'the parameters of its best epoch, {schedule.best_epoch}, are gone: another one will '
                         'count as best')
                schedule.forget_best()
        ending = self.EPOCH.format(schedule.epoch)
        if at_end and schedule.should_save and not self._group.broadcast(os.path.exists, self.path(ending)):
            self.save(ending)
        if schedule.finished:
            self.say('there is nothing left to learn in this run: the options that it learned with stay')
            self.draw()

    def _has_best(self, epoch):
        """Return whether the best checkpoint of this run exists and is of that epoch."""
        progress = _progress_in(self.path(self.BEST))
        return bool(progress) and progress['epoch'] == epoch and progress['id'] == self.id

    def _newest_fallback(self):
        """Return the newest checkpoint of this run, of the end of an epoch, that was not written while the cost rose.

        If there is none, return the one that the run resumes from. So a run goes back to the same checkpoint whether it
        was interrupted or not.
        """
        paths = [path for path in self._earlier() if not path.endswith(self.INTERRUPTED)]
        return _furthest(paths, lambda progress: self._has_passed(progress) and progress['high_steps'] < RISING
                         ) or self.last_checkpoint

    def newest(self):
        """Return the furthest checkpoint of a run of this name, or None."""
        return _furthest(self._earlier())

    def damage(self):
        """Return why one of the checkpoints of this name cannot be read, or None."""
        return _damage(self._earlier())

    def fall_back(self, error):
        """Return to the last good checkpoint, at half the rate, after a Diverged error.

        Raise ValueError if that has failed too often, and with --original.
        """
        schedule = self.schedule
        if schedule.options.original:
            self._needed = '--lrate', f'{min(schedule.options.lrate / 2, 1e-3):g}'
            raise ValueError(f'{error}: stopped, as a run with --original never goes back to a checkpoint; the program '
                             'of 2016 would continue and write nan')
        failed = schedule.rate
        if not schedule.fall_back(self.model.resume(self._fallback)):
            not_tried = min(schedule.options.lrate / 2 ** (FALLS + 1), 1e-3)
            self._needed = '--lrate', f'{not_tried:g}'
            raise ValueError(f'{error}, as after each of the {FALLS} times that the run went back to {self._fallback} '
                             f'and halved the rate, to {failed:.4g} at last: stopped')
        schedule.begin_epoch()
        self.say(f'{error}: back to epoch {schedule.epoch} in {self._fallback}, at half the rate, {schedule.rate:.4g}')
