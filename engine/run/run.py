"""The files of one run: checkpoints, logs, result and picture. While a Run is open no other process can have it."""
import contextlib
import math
import os
import re
import secrets
import sys

from engine.model.parameters import read_about
from engine.run import result
from engine.run.logs import BEST, EPOCH, EPOCHS, INTERRUPTED, LOGS, SAMPLE_LENGTH, STEPS, Logs
from engine.run.picture import draw_costs
from engine.run.result import RESULT
from engine.run.schedule import FALLS, Schedule
from engine.terminal import duration, nats_and_bits, near, script, typed, warn

PICTURE = '.png'
ENDINGS = re.compile('|'.join(map(re.escape, [*LOGS, PICTURE, RESULT, BEST, INTERRUPTED])) + r'|_epoch\d+\.npz')
EARLY = 10         # seconds of the first epoch after which it has its first sample


def files_of(folder, name):
    """Return the paths of all files that runs of this name have left in a folder."""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [near(os.path.join(folder, file)) for file in names
            if file.startswith(name) and ENDINGS.fullmatch(file[len(name):])]


def checkpoints_of(folder, name):
    """Return the Schedules in the checkpoints that runs of this name have left in a folder, by their paths."""
    return {path: Schedule.read(read_about(path).get('progress') or {})
            for path in files_of(folder, name) if path.endswith('.npz')}


def newest(folder, name):
    """Return the furthest checkpoint of the runs of this name in a folder, or None."""
    found = checkpoints_of(folder, name)
    return max(found, key=lambda path: found[path].how_far, default=None)


class Run:
    """The files of a run, by the folder and the name that they begin with. Only the first process touches them.

    last_checkpoint: the newest that is known to be whole, or None. bar: of progress, above which lines are printed.
    """
    bar = None

    def __init__(self, model, schedule, name):
        self.model, self.schedule, self.options, self._group = model, schedule, schedule.options, model.group
        self._resumed, self._drawn = bool(schedule.id), None           # _drawn: whether the last picture was
        if not self._resumed:
            schedule.name, schedule.id = name, secrets.token_hex(8)
        self.last_checkpoint = self._fallback = self.options.resume
        if schedule.fallback and os.path.exists(self.path(schedule.fallback)):
            self._fallback = self.path(schedule.fallback)
        self.logs = Logs(self.path, list(model.p), self._group.broadcast(model.passage), self.options.original)

    def path(self, ending):
        """Return the path of this run's file with that ending."""
        return near(os.path.join(self.options.output_dir, self.schedule.name + ending))

    def say(self, line):
        """Print a line for the user. If that cannot be written, as on a closed terminal, stop as after Ctrl-C."""
        try:
            self.bar.write(line) if self.bar else print(line, flush=True)
        except OSError:
            self._group.stop_requested, sys.stdout = True, open(os.devnull, 'w', encoding='utf-8')

    def _command(self, checkpoint, *more):
        """Return the command that resumes from a checkpoint."""
        words = typed({'resume': checkpoint, 'cell': self.options.cell})
        return script('train.py', *words, *more, processes=self._group.size)

    # ---- the start, new or resumed

    def check(self):
        """Make the folder. Raise ValueError if the run would replace files of its name without --overwrite."""
        replaced = self._to_replace()
        if replaced and not self.options.overwrite:
            raise ValueError(f'{replaced[0]} exists already: resume that run with --resume last, choose another run '
                             'name, or --overwrite to drop what is further of it')
        os.makedirs(self.options.output_dir, exist_ok=True)

    def _to_replace(self):
        """Return the paths of files of this name that are no earlier state of this run."""
        where, now = (self.options.output_dir, self.schedule.name), self.schedule
        if self._resumed:
            return [path for path, then in checkpoints_of(*where).items()
                    if then.id != now.id or then.how_far > now.how_far]
        # A run that --resume last begins may have been killed before its first checkpoint.
        return [path for path in files_of(*where) if not ('resume' in self.options.typed and path.endswith(LOGS))]

    @contextlib.contextmanager
    def open(self):
        """Keep the logs open inside: new ones or, in a run that is resumed, as they were at its checkpoint.

        An OSError or KeyboardInterrupt inside also says how the run can be resumed.
        """
        try:
            self._group.broadcast(self._open)
            self._begin()
            yield
        except (KeyboardInterrupt, OSError) as error:
            what = str(error) if isinstance(error, OSError) else ' at once: what came after is lost'
            last = self.last_checkpoint
            resume = f'resume it with: {self._command(last)}' if last else 'no checkpoint was written yet'
            raise type(error)(f'{what}; {resume}') from None
        finally:
            self.logs.close()

    def _open(self):
        self.logs.lock()
        outdated = [] if self.schedule.finished else [self.path(RESULT)]       # which is written when the run ends
        for path in {*self._to_replace(), *outdated}:
            if os.path.exists(path) and not path.endswith(LOGS):
                os.remove(path)
        self.logs.cut(self.schedule.logs, self.options.overwrite)

    def _begin(self):
        """Write what a stop between two checkpoints of one epoch has left out, and forget a best model that is gone."""
        schedule = self.schedule
        if schedule.epoch and not schedule.batch:
            self._save_epoch()
        if schedule.best_epoch and not self._group.broadcast(os.path.exists, self.path(BEST)):
            self.say(f'the parameters of the best epoch, {schedule.best_epoch}, are gone: another one will be the best')
            schedule.best_cost, schedule.best_epoch, schedule.stale = None, 0, 0
        if schedule.finished:
            self.say('there is nothing left to learn in this run')
            self._draw()

    # ---- an epoch

    def sample(self, when):
        """Print a short text of the model. Return it. The generator of the model stays."""
        text = self.model.sample(SAMPLE_LENGTH)
        self.say(f'what it writes after {when}:\n{text}\n')
        return text

    def end_epoch(self, epoch, seconds):
        """Log an Epoch that took so many seconds, report it, and save the model, if that is due."""
        schedule, (number, cost, valid_cost, rate, speed) = self.schedule, epoch
        self.logs.epoch(epoch)
        if schedule.should_report:
            validation = 'no validation' if math.isnan(valid_cost) else f'validation {nats_and_bits(valid_cost)}'
            self.say(f'epoch {number}/{schedule.epochs}: cost {nats_and_bits(cost)}, {validation}, rate {rate:.4g}, '
                     f'{speed:,.0f} characters/s, {duration(seconds)}')
            if self._group.first:
                self.logs.sample(number, self.sample(f'epoch {number}'), self.model.passage_costs())
        self._save_epoch()             # after the logs were written, whose lengths it keeps
        if schedule.should_report:
            self._draw()

    def _draw(self):
        """Draw the picture of all costs so far. If that fails, in whatever way, warn once; the run continues."""
        try:
            self._group.broadcast(draw_costs, self.path(PICTURE), self.schedule.name, self.logs.steps,
                                  [row[:3] for row in self.logs.epochs])
            self._drawn = True
        except Exception as error:
            if self._drawn is not False:
                warn(f'{self.path(PICTURE)} could not be drawn: {" ".join(str(error).split())[:200]}')
            self._drawn = False

    # ---- checkpoints

    def _save_epoch(self):
        """Write the checkpoints that the epoch which ended should have."""
        schedule = self.schedule
        if schedule.best_epoch == schedule.epoch:
            self.save(BEST)
        if schedule.epoch % self.options.save_every == 0 or schedule.finished:
            self.save(EPOCH.format(schedule.epoch))

    def save(self, ending):
        """Write a checkpoint of the model and of the schedule. That of an epoch removes that of an interruption."""
        schedule, of_epoch = self.schedule, ending != INTERRUPTED
        schedule.logs, schedule.fallback = self.logs.stored(), ending if of_epoch else schedule.fallback
        self.last_checkpoint = self.model.save_params(self.path(ending), schedule.stored())
        if of_epoch:
            self._fallback = self.last_checkpoint
            if self._group.first and os.path.exists(self.path(INTERRUPTED)):
                os.remove(self.path(INTERRUPTED))
        if schedule.should_report or schedule.batch:
            self.say('saved ' + self.last_checkpoint)

    def best(self):
        """Return the path of the best checkpoint or, without validation, of the last one."""
        return self.path(BEST) if self.schedule.best_epoch else self.last_checkpoint

    def fall_back(self, error):
        """Return to the last checkpoint of an epoch, at half the rate, after a Diverged error; ValueError: in vain."""
        schedule, checkpoint = self.schedule, self._fallback
        lower = ['--lrate', f'{min(self.options.lrate / 2 ** (FALLS + 1), 1e-3):g}']
        if not checkpoint:
            raise ValueError(f'{error}: stopped; begin again with a lower rate, such as {" ".join(lower)} --overwrite')
        if self.options.original or not schedule.fall_back(self.model.resume(checkpoint)):
            raise ValueError(f'{error}: stopped; resume it at a lower rate with {self._command(checkpoint, *lower)}')
        schedule.begin_epoch()
        self.say(f'{error}: back to epoch {schedule.epoch} in {checkpoint}, at half the rate, {schedule.rate:.4g}')

    # ---- the end

    def conclude(self, scores):
        """Write the result, and print it, where all is, and the next commands. Return whether nothing is left to do.

        scores: of the fixed texts, in nats by name; {} if they were not scored.
        """
        schedule, model = self.schedule, self.model
        complete = schedule.finished and len(scores) == len(result.to_score(self.options))
        if schedule.best_epoch:
            self.say(f'best validation cost: {nats_and_bits(schedule.best_cost)} a character, after epoch '
                     f'{schedule.best_epoch}')
        for name, nats in scores.items():
            self.say(f'{result.title(model, name)}: {nats_and_bits(nats)} a character')
        X, speeds = model.X['train'], [row[4] for row in self.logs.epochs]
        characters = model.batch_size * ((schedule.batches - 1) * len(X[0]) + len(X[schedule.batches - 1]))
        known = len(speeds) >= schedule.epoch and all(speeds)          # otherwise a log was begun anew
        found = dict(finished=complete, checkpoint=os.path.basename(self.best()),
                     training_seconds=round(sum(characters / s for s in speeds), 3) if known else None)
        self._group.broadcast(result.write, self.path(RESULT), model, schedule, scores, found)
        drawn = f', drawn in {self.path(PICTURE)}' if self._drawn else ''
        self.say(f'costs: {self.path(STEPS)} and {self.path(EPOCHS)}{drawn}')
        self.say(f'result: {self.path(RESULT)}')
        self.say('next: ' + script('produce_text.py', self.best(), *typed({'cell': self.options.cell})))
        self.say('to resume: ' + self._command(self.last_checkpoint, *schedule.larger_limits() if complete else []))
        return complete
