"""The files of one run: checkpoints, logs, result and picture. While a Run is open no other process can have it."""
import contextlib
import json
import math
import os
import re
import sys

from engine.model.parameters import how_to_adapt, opened, read_about
from engine.model.files import base_name, write_whole
from engine.run.logs import EPOCHS, LOGS, STEPS, Logs, draw_costs
from engine.run.schedule import Schedule
from engine.run.table import OF_RUN, TITLES
from engine.terminal import bar, bits, duration, nats_and_bits, near, script, typed, warn

BEST, INTERRUPTED, EPOCH = '_best.npz', '_interrupted.npz', '_epoch{}.npz'     # endings of checkpoints
PICTURE, RESULT = '.png', '_result.json'
NOT_IN_RESULT = 'input', 'run', 'valid', 'test', 'random_seed'      # options: paths on this computer, or own fields
ENDINGS = '|'.join([*map(re.escape, [*LOGS, PICTURE, RESULT, BEST, INTERRUPTED]), r'_epoch\d+\.npz'])
EARLY = 10                 # seconds of the first epoch after which it has its first sample
SAMPLE_LENGTH = 200        # characters
FALLS = 5                  # times that a run goes back to one checkpoint, each time at half the rate, before it ends


def files_of(o):
    """Return the paths of all files that runs of this name have left in their folder. o: the Options of one."""
    names = sorted(os.listdir(o.output_dir)) if os.path.isdir(o.output_dir) else []
    return [near(os.path.join(o.output_dir, file)) for file in names
            if re.fullmatch(f'{re.escape(o.name)}({ENDINGS})', file)]


def checkpoints_of(o):
    """Return the progress in the checkpoints among these files, dicts by their paths."""
    return {path: read_about(path).get('progress') or {} for path in files_of(o) if path.endswith('.npz')}


def how_far(progress):
    """Return a key to compare checkpoints of a run. A smaller rate_factor is further: the run has diverged."""
    return -progress.get('rate_factor', 1), progress.get('epoch', 0), progress.get('batch', 0)


def newest(o, ignored=()):
    """Return the furthest of these checkpoints, or None. ignored: an ending."""
    found = {path: then for path, then in checkpoints_of(o).items() if not path.endswith(ignored)}
    return max(found, key=lambda path: how_far(found[path]), default=None)


class Run:
    """The files of a run. Only the first process touches them.

    last_checkpoint: the newest that is known to be whole, or None. bar: of progress, above which lines are printed.
    """

    def __init__(self, model, schedule):
        self.model, self.schedule, self.options, self._group = model, schedule, schedule.options, model.group
        self.bar, self.last_checkpoint, self._draws = None, self.options.resume, True
        self.logs = Logs(self.path, schedule.id, model.p, model.text.passage, self.options.original)

    def path(self, ending):
        """Return the path of this run's file with that ending."""
        return near(os.path.join(self.options.output_dir, self.options.name + ending))

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

    def check(self):
        """Make the folder. Raise ValueError for other texts than those of the resumed run, and for files to replace."""
        o, model, now = self.options, self.model, vars(self.schedule)
        if o.resume:                   # an earlier state of this run stays
            self._replaced = [path for path, then in checkpoints_of(o).items()
                              if then.get('id') != now['id'] or how_far(then) > how_far(now)]
            text = read_about(o.resume)['text']
            for role, then in dict(train=text, valid=text.get('valid'), test=text.get('test')).items():
                if then and then['sha256'] != model.text.sources[role]['sha256']:
                    raise ValueError(
                        f'{model.text.sources[role]["path"]} is not the {TITLES[role]} of that run, which had '
                        f'{then["characters"]:,} characters and SHA-256 {then["sha256"]}; --init starts a new run')
        else:                          # what --resume last begins may have been killed before its first checkpoint
            self._replaced = [path for path in files_of(o) if not ('resume' in o.typed and path.endswith(LOGS))]
        if self._replaced and not o.overwrite:
            raise ValueError(f'{self._replaced[0]} exists already: resume that run with --resume last, choose another '
                             'run name, or --overwrite to drop what is further of it')
        os.makedirs(o.output_dir, exist_ok=True)

    @contextlib.contextmanager
    def open(self):
        """Keep the logs open inside: new ones or, in a run that is resumed, as they were at its checkpoint."""
        try:
            self._group.broadcast(self._open)
            self._begin()
            yield
        except (KeyboardInterrupt, OSError):
            if self.last_checkpoint:
                self.say('to resume: ' + self._command(self.last_checkpoint))
            raise
        finally:
            for log in self.logs.files.values():
                log.close()

    def _open(self):
        self.logs.lock()
        for path in [*self._replaced, self.path(RESULT)]:              # the result is written when the run ends
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
        self._save_epoch()             # after the logs were written, whose sizes it keeps
        if schedule.should_report:
            self._draw()

    def _draw(self):
        """Draw the picture of all costs so far. If that fails, in whatever way, the run continues without one."""
        try:
            if self._draws:
                self._group.broadcast(draw_costs, self.path(PICTURE), self.options.name, self.logs)
        except Exception as error:
            self._draws = False
            warn(f'{self.path(PICTURE)} could not be drawn: {error}')

    def _save_epoch(self):
        """Write the checkpoints that the epoch which ended should have."""
        schedule = self.schedule
        if schedule.best_epoch == schedule.epoch:
            self.save(BEST)
        if schedule.epoch % self.options.save_every == 0 or schedule.finished:
            self.save(EPOCH.format(schedule.epoch))

    def save(self, ending):
        """Write a checkpoint of the model and of the schedule. That of an epoch removes that of an interruption."""
        self.schedule.logs = {ending: os.path.getsize(log.name) for ending, log in self.logs.files.items()}
        self.last_checkpoint = self.model.save_params(self.path(ending), self.schedule.stored())
        if self._group.first and ending != INTERRUPTED and os.path.exists(self.path(INTERRUPTED)):
            os.remove(self.path(INTERRUPTED))
        if self.schedule.should_report or self.schedule.batch:
            self.say('saved ' + self.last_checkpoint)

    def fall_back(self, error):
        """Return to the last checkpoint of an epoch, at half the rate, after a Diverged error; ValueError: in vain."""
        schedule, o, factor = self.schedule, self.options, self.schedule.rate_factor / 2
        checkpoint = self._group.broadcast(newest, o, INTERRUPTED) or o.resume
        then = checkpoint and Schedule.resumed(o, self.model.resume(checkpoint), schedule.batches)
        if not then or o.original or factor < then.rate_factor / 2 ** FALLS:
            raise ValueError(f'{error}: stopped; begin again or --resume last, with a lower --lrate than {o.lrate:g}')
        vars(schedule).update(vars(then), rate_factor=factor)
        self.say(f'{error}: back to epoch {schedule.epoch} in {checkpoint}, at half the rate, '
                 f'{schedule.rate_of(schedule.epoch):.4g}')

    def conclude(self):
        """Score the fixed texts if the run is finished, write the result, print where all is, and the next commands."""
        schedule, group, finished = self.schedule, self._group, not self._group.stop_agreed
        best = self.path(BEST) if schedule.best_epoch else self.last_checkpoint
        if schedule.best_epoch:
            self.say(f'best validation cost: {nats_and_bits(schedule.best_cost)} a character, after epoch '
                     f'{schedule.best_epoch}')
        scores = group.broadcast(self._score, best) if finished else {}
        group.broadcast(self._write_result, scores, best)
        drawn = f', drawn in {self.path(PICTURE)}' if os.path.exists(self.path(PICTURE)) else ''
        self.say(f'costs: {self.path(STEPS)} and {self.path(EPOCHS)}{drawn}')
        self.say(f'result: {self.path(RESULT)}')
        self.say('next: ' + script('produce_text.py', best, *typed({'cell': self.options.cell})))
        self.say('to resume: ' + self._command(self.last_checkpoint, *schedule.larger_limits() if finished else []))

    def _score(self, checkpoint):
        """Print and return the mean costs of the texts to validate and to test with that were named, in nats by name.

        Each is read as one stream from zero states by the best model, in float32 as by produce_text.py.
        """
        model, o, scores = self.model, self.options, {}
        best, stored = type(model)(kernel=o.kernel == 'on'), opened(checkpoint)
        best.load_params(stored)
        named = dict(valid=o.valid, test=o.test, test_adapted=o.test_adapt)
        for name in filter(named.get, named):
            role, adapted = name.removesuffix('_adapted'), name == 'test_adapted'
            text, how = model.texts[role], how_to_adapt(stored, rate=adapted)
            title = (f'{TITLES[role]} {base_name(model.text.sources[role]["path"])}{", adapting" if adapted else ""}, '
                     f'{len(text):,} characters in one stream')
            with bar(len(text), f'scoring the {title}', 'characters') as shown:
                costs = best.score_text(text, progress=lambda costs: shown.update(len(costs)), **how)
            scores[name] = float(costs.mean(dtype='float64'))
            self.say(f'{title}: {nats_and_bits(scores[name])} a character')
        return scores

    def _write_result(self, scores, checkpoint):
        """Write a flat dict, in which missing values are None. scores: in nats by name; checkpoint: the best."""
        model, schedule, o = self.model, self.schedule, self.options
        characters = model.batch_size * sum(map(len, model.X['train']))
        seconds = sum(characters / speed for *_, speed in self.logs.epochs if speed)       # 0: an epoch without a step
        found = dict(run=o.run, id=schedule.id, finished=not self._group.stop_agreed, epochs=schedule.epoch,
                     training_seconds=round(seconds, 3), random_seed=o.random_seed,
                     parameters=sum(p.get_value(borrow=True).size for p in model.p.values()),
                     best_epoch=schedule.best_epoch or None, checkpoint=os.path.basename(checkpoint),
                     checkpoint_epoch=schedule.best_epoch or schedule.epoch)
        for role in TITLES:
            source = model.text.sources.get(role, {})
            found.update({f'{role}_text': base_name(source['path']) if source else None,
                          f'{role}_characters': source.get('characters'), f'{role}_sha256': source.get('sha256')})
        for name in ('best_valid', 'valid', 'test', 'test_adapted'):
            cost = schedule.best_cost if name == 'best_valid' else scores.get(name)
            found.update({f'{name}_nats': cost, f'{name}_bits': None if cost is None else bits(cost)})
        found.update({f'version_{name}': version for name, version in model.versions().items()})
        found.update({f'option_{name}': vars(o)[name] for name in OF_RUN if name not in NOT_IN_RESULT})
        with write_whole(self.path(RESULT)) as f:
            f.write((json.dumps(found, indent=1) + '\n').encode('ascii'))
