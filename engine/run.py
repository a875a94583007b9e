"""The files of one run: names, logs, checkpoints and picture. While a Run is open no other process can have it."""
import contextlib
import os
import re
import shlex
import warnings

import numpy as np

from engine.checkpoint import Checkpoint
from engine.files import append_whole, lock, named
from engine.parameters import NAMES
from engine.picture import draw_costs
from engine.terminal import duration

STEPS, EPOCHS, SAMPLES = '.out', '_epochs.out', '_samples.txt'
LOGS = {STEPS: '# epoch cost valid_cost ' + ' '.join('ratio_' + name for name in NAMES) + '\n',
        EPOCHS: '# epoch cost valid_cost lrate characters_per_second\n', SAMPLES: ''}     # by ending, their headings
PICTURE = '.png'
SAMPLE_LENGTH = 200


@contextlib.contextmanager
def checkpoint_of(path):
    """The Checkpoint of a run that goes on, open, and its progress; None and None without a path."""
    if path is None:
        yield None, None
        return
    with Checkpoint(path) as stored:
        progress = stored.about.get('progress')
        if not isinstance(progress, dict) or 'options' not in progress:
            raise ValueError(f'{path} holds no run that can be resumed; --init starts a new one from its parameters')
        yield stored, progress


def check_text(path, sha256, stored):
    """Raise ValueError where a text is another than that of the run in an open checkpoint."""
    then = stored.about['text']
    if sha256 != then['sha256']:
        raise ValueError(f'{path} is not the text of that run, which had {then["characters"]:,} characters and '
                         f'SHA-256 {then["sha256"]}; --init starts a new run on another text')


class Run:
    """A run by its name and that of its text.

    last_checkpoint: the newest that is known to be whole, or None. say: prints a line
    for the user, print itself if no other is set.
    """
    BEST, INTERRUPTED, EPOCH = '_best.npz', '_interrupted.npz', '_epoch{}.npz'     # endings of its checkpoints
    say = staticmethod(print)

    def __init__(self, directory, run, text, resumed=None):
        """resumed: the checkpoint that it goes on from, or None."""
        self.directory = os.path.relpath(os.path.abspath(directory))
        self.name = f'{run}_{os.path.basename(text)}'
        self.last_checkpoint = resumed
        self._logs = {}
        self._steps, self._epochs = [], []     # rows (epoch, training cost), and the same with validation cost

    def path(self, ending):
        """The file of this run with that ending."""
        return os.path.join(self.directory, self.name + ending)

    # ---- beginning and going on

    def _earlier(self):
        endings = [re.escape(ending) for ending in (*LOGS, PICTURE, self.BEST, self.INTERRUPTED)]
        endings.append(re.escape(self.EPOCH.format(0)).replace('0', r'\d+'))
        ours = re.compile('{}({})'.format(re.escape(self.name), '|'.join(endings)))
        there = os.listdir(self.directory) if os.path.isdir(self.directory) else []
        return sorted(name for name in there if ours.fullmatch(name))

    def check(self, overwrite):
        """Refuse results of an earlier run of this name, unless they are to be replaced; make the folder."""
        earlier = self._earlier()
        if earlier and not overwrite:
            raise ValueError(f'{os.path.join(self.directory, earlier[0])} exists already: choose another run name, '
                             '--resume it, or --overwrite to replace the results of that run')
        with named('make the folder', self.directory):
            os.makedirs(self.directory, exist_ok=True)

    @contextlib.contextmanager
    def open(self, progress):
        """Hold the logs: new ones or, with a checkpoint's progress, as they were then."""
        try:
            if progress:
                self._reopen_logs(progress['log_sizes'])
            else:
                self._begin_logs()
            yield
        finally:
            for log in self._logs.values():
                log.close()

    def _begin_logs(self):
        """Those of a new run; what is left of an earlier one is removed."""
        self._open_logs({})
        for name in self._earlier():
            if not name.endswith(tuple(LOGS)):
                os.remove(os.path.join(self.directory, name))
        for ending, heading in LOGS.items():
            self._write(ending, heading)

    def _reopen_logs(self, sizes):
        """Those of the run that goes on; what was written after the checkpoint is cut off."""
        for ending in LOGS:
            there = os.path.getsize(self.path(ending)) if os.path.exists(self.path(ending)) else 0
            if there < sizes.get(ending, 0):
                raise ValueError(f'{self.path(ending)} is shorter than it was at {self.last_checkpoint}: a run goes on '
                                 'where its logs are; --init starts a new one from its parameters')
        self._open_logs(sizes)
        self._reload()

    def _open_logs(self, sizes):
        for ending in LOGS:
            with named('write', self.path(ending)):
                log = self._logs[ending] = open(self.path(ending), 'ab', buffering=0)
                if ending == STEPS:
                    lock(log)
                log.truncate(min(sizes.get(ending, 0), log.tell()))

    def _reload(self):
        """Take the costs of a run that goes on from its logs."""
        for rows, ending, columns in ((self._steps, STEPS, 2), (self._epochs, EPOCHS, 3)):
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')            # of a log without rows yet
                rows.extend(np.loadtxt(self.path(ending), ndmin=2)[:, :columns].tolist())

    @contextlib.contextmanager
    def rescuing(self):
        """An error inside also says which checkpoint there is to go on from."""
        try:
            yield
        except (OSError, ValueError) as error:
            kind = OSError if isinstance(error, OSError) else ValueError       # some of these take other arguments
            raise kind(f'{error}; {self._rescue()}') from None

    def _rescue(self):
        if self.last_checkpoint:
            return 'the last checkpoint is {}, go on with: python train.py --resume {}'.format(
                self.last_checkpoint, shlex.quote(self.last_checkpoint))
        return 'no checkpoint was written yet'

    # ---- logs

    def _write(self, ending, text):
        append_whole(self._logs[ending], text.encode('utf-8'))

    def _row(self, ending, numbers):
        self._write(ending, ' '.join(f'{float(number):.6g}' for number in numbers) + '\n')

    def log_step(self, epoch, cost, valid_cost, ratios):
        """A row for a training step; epoch: how much was read, with its fraction."""
        self._steps.append((epoch, float(cost)))
        self._row(STEPS, [epoch, cost, valid_cost, *ratios])

    def log_epoch(self, now, cost, valid_cost, speed, seconds):
        """A row and a line for the epoch that ended; speed in characters a second."""
        self._epochs.append((now.epoch, cost, valid_cost))
        self._row(EPOCHS, [now.epoch, cost, valid_cost, now.rate, speed])
        self.say(f'epoch {now.epoch}/{now.options["epochs"]}: cost {cost:.4f}, validation {valid_cost:.4f}, rate '
                 f'{now.rate:.4g}, {speed:,.0f} characters/s, {duration(seconds)}')

    def sample(self, model, epoch):
        """Print a short text of the model at hand, and keep it; the training's own chance is not touched."""
        before = model.random.bit_generator.state
        text = model.generate_text(text_length=SAMPLE_LENGTH)
        model.random.bit_generator.state = before
        self._write(SAMPLES, f'# epoch {epoch}:\n{text}\n\n')
        self.say(text)

    def draw(self):
        """Draw the picture of all costs so far."""
        draw_costs(self.path(PICTURE), self.name, self._steps, self._epochs)

    # ---- checkpoints

    def save(self, model, now, ending):
        """Write a checkpoint of the model and of now, a Schedule."""
        sizes = {log: os.fstat(f.fileno()).st_size for log, f in self._logs.items()}
        self.last_checkpoint = model.save_params(self.path(ending), now.progress(log_sizes=sizes))
        self.say('saved ' + self.last_checkpoint)

    def go_back(self, model, now):
        """Give the model the parameters of the best epoch again."""
        best = self.path(self.BEST)
        if model.resume(best)['epoch'] != now.best_epoch:
            self.last_checkpoint = best
            raise ValueError(f'{best} is newer than the checkpoint that this run went on from')
        self.say(f'no better validation cost in {now.stale} epochs: back to epoch {now.best_epoch}, rate '
                 f'{now.rate:.4g}')

    def say_where(self):
        """Print where everything is, and what to do with it."""
        best = self.path(self.BEST)
        write = best if os.path.exists(best) else self.last_checkpoint
        print(f'costs: {self.path(STEPS)} and {self.path(EPOCHS)}, drawn in {self.path(PICTURE)}')
        print('next: python produce_text.py ' + shlex.quote(write))
        print('to go on: python train.py --resume ' + shlex.quote(self.last_checkpoint))
