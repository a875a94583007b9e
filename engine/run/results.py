"""The files of one run: checkpoints, logs, result and picture. While a Run is open, no other process can open it."""
import contextlib
import hashlib
import json
import os
import re
import sys
import time
from pathlib import Path

from engine.files import PARTIAL, base_name, named, readable, write_whole
from engine.run.checkpoint import Checkpoint, read_about
from engine.run.logs import BEST, EPOCH, EPOCHS, INTERRUPTED, LOGS, OF_CHECKPOINT, STEPS, Logs, draw_costs
from engine.run.recipe import how_to_adapt
from engine.run.schedule import Schedule
from engine.run.table import ROWS, TITLES
from engine.terminal import bar, bits, nats_and_bits, near, script, warn_once, words_of

PICTURE, RESULT = '.png', '_result.json'
ENDINGS = '|'.join([*map(re.escape, [*LOGS, PICTURE, RESULT]), OF_CHECKPOINT])
EARLY = 4                  # seconds into the first epoch before its first sample
FALLS = 5                  # most times that a run returns to one checkpoint, each time at half the rate


def files_of(o, more=''):
    """Return the paths of files that runs of this name left in the output folder. o: Options. more: their endings."""
    names = sorted(os.listdir(o.output_dir)) if os.path.isdir(o.output_dir) else []
    return [near(os.path.join(o.output_dir, file)) for file in names
            if re.fullmatch(f'{re.escape(o.name)}({ENDINGS}){more}', file)]


def checkpoints_of(o):
    """Return the progress in each checkpoint among these files that can be read: dicts by path."""
    found = {path: readable(read_about, path) for path in files_of(o) if path.endswith('.npz')}
    return {path: metadata.get('progress') or {} for path, metadata in found.items() if metadata is not None}


def how_far(progress):
    """Return a key that sorts checkpoints from old to new. A smaller rate_factor is newer: the run has diverged."""
    return -progress.get('rate_factor', 1), progress.get('epoch', 0), progress.get('batch', 0)


def newest(found, ignored=()):
    """Return the newest of what checkpoints_of found, open, or None. ignored: an ending to leave out."""
    found = {path: then for path, then in found.items() if not path.endswith(ignored)}
    paths = sorted(found, key=lambda path: how_far(found[path]), reverse=True)
    return next(filter(None, (readable(Checkpoint, path) for path in paths)), None)


class Run:
    """The files of a run. Only the first process touches them.

    last_checkpoint: the newest one known to be complete, or None. bar: the progress bar, or None. baselines: costs to
    draw, by name.
    """

    def __init__(self, model, schedule):
        self.model, self.schedule, self.options, self._group = model, schedule, schedule.options, model.group
        self.bar, self.last_checkpoint, self.baselines = None, self.options.resume, {}

    def path(self, ending):
        return near(os.path.join(self.options.output_dir, self.options.name + ending))

    def say(self, line):
        """Print a line for the user. If that fails, as on a closed terminal, stop as after Ctrl-C."""
        try:
            self.bar.write(line) if self.bar else print(line, flush=True)
        except OSError:
            self._group.stop_requested, sys.stdout = True, open(os.devnull, 'w', encoding='utf-8')

    def _command(self, checkpoint, *more):
        words = words_of({'resume': checkpoint, 'cell': self.options.cell})
        return script('train.py', *words, *more, processes=self._group.size)

    def check(self, sources):
        """Create the output folder. Raise ValueError if files would be replaced, or texts are not those of sources."""
        o, model, now = self.options, self.model, vars(self.schedule)
        if o.resume:                   # earlier checkpoints of this run stay
            self._replaced = [path for path, then in checkpoints_of(o).items()
                              if then.get('id') != now['id'] or how_far(then) > how_far(now)]
            for role, then in sources.items():
                if then['sha256'] != model.text.sources[role]['sha256']:
                    raise ValueError(
                        f'{model.text.sources[role]["path"]} is not the {TITLES[role]} of that run, which had '
                        f'{then["characters"]:,} characters and SHA-256 {then["sha256"]}; --init starts a new run')
        else:                          # a run begun by --resume last may have been killed before its first checkpoint
            self._replaced = [path for path in files_of(o) if not ('resume' in o.typed and path.endswith(LOGS))]
        if self._replaced and not o.overwrite:
            raise ValueError(f'{self._replaced[0]} exists already: resume that run with --resume last, choose another '
                             'run name, or replace it with --overwrite')
        with named('make', o.output_dir):
            os.makedirs(o.output_dir, exist_ok=True)

    @contextlib.contextmanager
    def open(self):
        """Keep the logs open in the block: empty, or, for a resumed run, as they were at its checkpoint."""
        model = self.model
        self.logs = Logs(self.path, self.schedule.id, model.p, model.metrics(), model.text.passage,
                         self.options.original)
        try:
            self._group.broadcast(self._open)
            self._begin()
            yield
        except (KeyboardInterrupt, OSError):
            last = self.last_checkpoint
            self.say(f'last saved: {last}\nto resume: {self._command(last)}' if last else
                     'nothing was saved yet: the same command with --resume last starts again')
            raise
        finally:
            for log in self.logs.files.values():
                log.close()

    def _open(self):
        self.logs.lock(self.schedule.logs, self.options.overwrite)     # first, since it may refuse
        stopped = readable(lambda path: dict(json.loads(Path(path).read_text())), self.path(RESULT)) or {}
        self.begun = time.time() - (stopped['seconds'] if stopped.get('id') == self.schedule.id else 0)
        for path in [*self._replaced, self.path(RESULT), *files_of(self.options, PARTIAL)]:    # RESULT comes at the end
            if os.path.exists(path) and not path.endswith(LOGS):
                os.remove(path)
        self.logs.cut()

    def _begin(self):
        """Write the checkpoints that a stop after an epoch left out, and forget a best model whose file is missing."""
        schedule = self.schedule
        if schedule.epoch and not schedule.batch:
            self._save_epoch()
        if schedule.best_epoch and not self._group.broadcast(readable, read_about, self.path(BEST)):
            self.say(f'the checkpoint of the best epoch, {schedule.best_epoch}, is missing: a later one replaces it')
            schedule.best_cost, schedule.best_epoch, schedule.stale = None, 0, 0
        if schedule.finished:
            self.say('this run is finished: nothing is left to train')
            self._draw()

    def sample(self, when):
        """Print and return a sample. The state of the model's random generator stays the same."""
        text = self.model.sample()
        self.say(f'what it writes after {when}:\n{text}\n')
        return text

    def end_epoch(self, epoch, seconds):
        """Log and report an Epoch, which took this many seconds; sample, save and draw if they are due."""
        schedule, number = self.schedule, epoch.number
        self.logs.epoch(epoch)
        self.say(f'epoch {number}/{schedule.epochs}: {epoch.said}, {seconds:,.1f} s')
        if schedule.should_report and self._group.first:
            self.logs.sample(number, self.sample(f'epoch {number}'), self.model.passage_costs())
        self._save_epoch()             # after the logs, since it stores their sizes
        if schedule.should_report:
            self._draw()

    def _draw(self):
        """Plot all costs so far. If that fails for any reason, the run continues without a picture."""
        try:
            self._group.broadcast(draw_costs, self.path(PICTURE), self.options.name, self.logs, self.baselines)
        except Exception as error:
            warn_once(f'{self.path(PICTURE)} could not be drawn: {error}')

    def _save_epoch(self):
        """Write the checkpoints that are due at the end of an epoch."""
        schedule = self.schedule
        if schedule.best_epoch == schedule.epoch:
            self.save(BEST)
        if schedule.epoch % self.options.save_every == 0 or schedule.finished:
            self.save(EPOCH.format(schedule.epoch))

    def save(self, ending):
        """Write a checkpoint of the model and the schedule. At the end of an epoch, remove that of an interruption."""
        self.schedule.logs = {ending: os.path.getsize(log.name) for ending, log in self.logs.files.items()}
        self.last_checkpoint = self.model.save_params(self.path(ending), self.schedule.stored())
        if self._group.first and ending != INTERRUPTED and os.path.exists(self.path(INTERRUPTED)):
            os.remove(self.path(INTERRUPTED))
        if self.schedule.should_report or self.schedule.batch:
            self.say('saved ' + self.last_checkpoint)

    def fall_back(self, error):
        """Return to the last checkpoint of an epoch, at half the rate. Raise ValueError if the run cannot continue."""
        schedule, o, factor = self.schedule, self.options, self.schedule.rate_factor / 2
        checkpoint = self._group.broadcast(lambda: newest(checkpoints_of(o), INTERRUPTED)) or o.resume
        then = checkpoint and Schedule.resumed(o, self.model.resume(checkpoint), schedule.batches)
        if not then or o.original or factor < then.rate_factor / 2 ** FALLS:
            more = '' if then or o.no_stateful else ', or with --no-stateful: states may grow from batch to batch'
            raise ValueError(f'{error}: start again or --resume last, with a lower --lrate than {o.lrate:g}{more}')
        vars(schedule).update(vars(then), rate_factor=factor)
        self.say(f'{error}: back to epoch {schedule.epoch} in {checkpoint}, at half the rate, '
                 f'{schedule.rate_of(schedule.epoch):.4g}')

    def conclude(self):
        """Score the texts of --valid and --test if the run is finished; write the result; print the next commands."""
        schedule, group, finished = self.schedule, self._group, not self._group.stop_agreed
        best = self.path(BEST) if schedule.best_epoch else self.last_checkpoint
        if schedule.best_epoch:
            self.say(f'best validation cost: {nats_and_bits(schedule.best_cost)} a character, after epoch '
                     f'{schedule.best_epoch}')
        group.broadcast(self._write_result, best, finished)
        drawn = f', drawn in {self.path(PICTURE)}' if os.path.exists(self.path(PICTURE)) else ''
        self.say(f'costs: {self.path(STEPS)} and {self.path(EPOCHS)}{drawn}')
        self.say(f'result: {self.path(RESULT)}')
        self.say('next: ' + script('produce_text.py', best, *words_of({'cell': self.options.cell})))
        self.say('to resume: ' + self._command(self.last_checkpoint, *schedule.larger_limits() if finished else []))

    def _score(self, stored):
        """Print the mean costs of the texts of --valid and --test. Return them by name, in nats.

        The best model, in an open checkpoint, reads each as one stream from zero states, in float32.
        """
        model, o, scores = self.model, self.options, {}
        best = type(model)(kernel=o.kernel == 'on')
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

    def _write_result(self, checkpoint, finished):
        """Write the result, a flat dict; missing values are null. checkpoint: path of the best one."""
        model, schedule, o, stored = self.model, self.schedule, self.options, Checkpoint(checkpoint)
        scores = self._score(stored) if finished else {}
        characters = model.batch_size * sum(map(len, model.X['train']))
        speeds = [row['characters_per_second'] for row in self.logs.epochs]
        seconds = sum(characters / speed for speed in speeds if speed)         # 0: an epoch without a step
        file = sys.modules[type(model).__module__].__file__
        checksum = hashlib.sha256(Path(file).read_bytes()).hexdigest()
        found = dict(run=o.run, id=schedule.id, finished=finished, epochs=schedule.epoch,
                     training_seconds=round(seconds, 3), seconds=round(time.time() - self.begun, 3),
                     random_seed=o.random_seed, units=' '.join(map(str, o.units)),
                     parameters=sum(p.get_value(borrow=True).size for p in model.p.values()),
                     **{'class': type(model).__name__}, class_file=base_name(file), class_sha256=checksum,
                     cell=stored.metadata['cell']['formula'] or 'standard',
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
        found.update({f'option_{name}': vars(o)[name] for name, row in ROWS.items() if row.kept and row.in_result})
        with write_whole(self.path(RESULT)) as f:
            f.write((json.dumps(found, indent=1) + '\n').encode('ascii'))
