"""The files of one run: names, logs, checkpoints and picture. While a Run is open no other process can have it."""
import contextlib
import os
import re
import secrets
import warnings
import zlib

import numpy as np

from engine import commands
from engine.state.checkpoint import Checkpoint
from engine.files import append_whole, has_other_names, lock, named, open_log, partial_name
from engine.run.options import CHANGEABLE
from engine.state.parameters import NAMES
from engine.run.picture import can_draw, draw_costs
from engine.run.schedule import CALM, FALLS, PROGRESS
from engine.state.patterns import MOST, file_name, list_of, matches, whole
from engine.process_group import SingleProcess
from engine.progress import duration
from engine.terminal import warn

STEPS, EPOCHS, SAMPLES = '.out', '_epochs.out', '_samples.txt'


def headings(names):
    """Return the first lines of the logs by their endings; names: of the parameters."""
    return {STEPS: '# epoch cost valid_cost ' + ' '.join('ratio_' + name for name in names) + '\n',
            EPOCHS: '# epoch cost valid_cost lrate characters_per_second\n', SAMPLES: ''}


LOGS = headings(NAMES)                 # of a model without parameters of its cell's own
PICTURE = '.png'
SAMPLE_LENGTH = 200
LONGEST_NAME = 255 - len(partial_name(f'_epoch{MOST}.npz'))     # bytes: what systems allow, less the longest ending
PARTIAL = r'\.[0-9a-f]{12}\.part'
ROWS = re.compile(rb'[-+.\deinfa \n]*')                         # numbers, nan and inf among them
SAMPLE = '# epoch {}:\n'


def log_rows(path):
    """The rows of a log, (n, columns); none of one that has but a heading. Raises ValueError where it is no log."""
    with named('read', path), warnings.catch_warnings():
        warnings.simplefilter('ignore')                    # of a log without rows yet
        return np.loadtxt(path, ndmin=2, encoding='utf-8')


# What a checkpoint keeps of a run: its Schedule, and what it knows of its files.
RUN_PROGRESS = {**PROGRESS, 'name?': file_name, 'id?': file_name, 'inode?': whole,
                'log_sizes?': {ending: whole for ending in LOGS},
                'logs?': {ending: list_of(whole, 2) for ending in LOGS}}
REACHED = {'...': None, **{name: PROGRESS[name] for name in ('options', 'epoch', 'batch', 'rate_factor?', 'high?')}}


def _progress_in(path):
    """The progress in the checkpoint of a run, or None where it is none."""
    try:
        with Checkpoint(path) as stored:
            progress = stored.metadata.get('progress')
    except (OSError, ValueError):
        return None
    return progress if matches(progress, REACHED) else None


def _of_one_run(progress, other):
    """Return whether two checkpoints' progress is of one run: by its id or, where it is older, its options."""
    if progress.get('id') or other.get('id'):
        return progress.get('id') == other.get('id')
    options = [{name: value for name, value in one['options'].items() if name not in CHANGEABLE}
               for one in (progress, other)]
    return options[0] == options[1]


def _how_far(progress):
    """A key to compare how far checkpoints are: what a run gave up when it diverged is behind all that came later."""
    return -progress.get('rate_factor', 1), progress['epoch'], progress['batch']


def _furthest(paths, counts=bool):
    """The path, of some files, of the checkpoint of a run that is furthest, or None.

    counts: says by its progress, None for other files, whether one counts.
    """
    found = {path: _progress_in(path) for path in paths if path.endswith('.npz')}
    return max([path for path in found if counts(found[path])], key=lambda path: _how_far(found[path]), default=None)


class Run:
    """A run by the folder of its files and the beginning of their names.

    Of several processes the first alone reads and writes them.

    last_checkpoint: the newest that is known to be whole, or None. say: prints a line
    for the user, print itself if no other is set.
    """
    BEST, INTERRUPTED, EPOCH = '_best.npz', '_interrupted.npz', '_epoch{}.npz'     # endings of its checkpoints,
    START = '_start.npz'                   # of which this one is there until there is one of an epoch
    say = staticmethod(print)

    def __init__(self, directory, name, resumed=None, progress=None, group=SingleProcess(), names=NAMES):
        """resumed, progress: the checkpoint that it resumes from, and what that says. group: a SingleProcess or a ProcessGroup.

        names: of the model's parameters.
        """
        self._group, self._headings = group, headings(names)
        self.directory = commands.near(directory)
        self.name = name
        self.last_checkpoint, self._progress = resumed, progress or {}
        self._good = None                      # the newest checkpoint of the end of an epoch
        self._needed = ()                      # options without which the run would stop again
        self.id = self._progress.get('id', secrets.token_hex(8))       # tells it from others of its name
        self._overwrite = False
        # Whether there is matplotlib, whether it has drawn this run, and whether it has failed to.
        self._draws, self._drawn, self._undrawn = True, False, False
        self._logs, self._checksums = {}, {}
        self._steps, self._epochs = [], []     # rows (epoch, training cost), and the same with validation cost

    def path(self, ending):
        """The file of this run with that ending."""
        return commands.near(os.path.join(self.directory, self.name + ending))

    # ---- beginning and going on

    def _earlier(self):
        """The names of all files that a run of this name may have left."""
        endings = [re.escape(ending) for ending in (*LOGS, PICTURE, self.BEST, self.INTERRUPTED, self.START)]
        endings.append(re.escape(self.EPOCH.format(0)).replace('0', r'\d+'))
        ours = re.compile('{}({})'.format(re.escape(self.name), '|'.join(endings)))
        there = os.listdir(self.directory) if os.path.isdir(self.directory) else []
        return sorted(name for name in there if ours.fullmatch(name))

    def check(self, overwrite):
        """Refuse what would replace earlier results of this name, unless that is wanted; make the folder.

        A line says where there will be no picture.
        """
        self._draws = can_draw()
        if not self._draws:
            warn(f'matplotlib is not installed, so there will be no picture of the costs; to install it: '
                 f'{commands.install()}')
        self._overwrite = overwrite
        self._group.broadcast(self._check)

    def _check(self):
        if len(os.fsencode(self.name)) > LONGEST_NAME:
            raise ValueError(f'{self.name[:40]}...: the names of run and text are too long together for those of its '
                             f'files, by {len(os.fsencode(self.name)) - LONGEST_NAME} bytes')
        for name in self._earlier():
            path = self.path(name[len(self.name):])
            if not os.path.isfile(path):                   # a FIFO, which would hang, a folder, or a link to nowhere
                raise ValueError(f'{path} is no file that can be replaced: remove it, or choose another run name')
            if name.endswith(tuple(LOGS)) and has_other_names(path):
                raise ValueError(f'{path} is a link, through which no log is written: replace it by a copy, or remove '
                                 'it')
        self._refuse_to_replace(self._to_replace())
        try:
            with named('make the folder', self.directory):
                os.makedirs(self.directory, exist_ok=True)
        except OSError as error:
            raise type(error)(f'{error}; --output-dir names another folder for the results') from None
        if not os.access(self.directory, os.W_OK):
            raise PermissionError(f'cannot write {self.path(STEPS)}: Permission denied; --output-dir names another '
                                  'folder for the results')

    def _refuse_to_replace(self, to_replace):
        if not to_replace or self._overwrite:
            return
        paths = [self.path(name[len(self.name):]) for name in to_replace]
        further = _furthest(paths)
        first = further or paths[0]
        go_on = f'go on from it with {commands.script("train.py", "--resume", first)}, ' if further else ''
        if self.last_checkpoint:
            raise ValueError(f'{first} is further than {self.last_checkpoint}, or of another run: {go_on}'
                             f'{"or " * bool(go_on)}--overwrite to drop {", ".join(to_replace)}')
        raise ValueError(f'{first} exists already: choose another run name, {go_on}or --overwrite to replace the '
                         'results of that run')

    def _to_replace(self):
        """The names of files that this run would replace, and that are no earlier state of it."""
        return self._later() if self.last_checkpoint else self._earlier()

    def _later(self):
        """The names of checkpoints of this name that are no earlier state of this run than the one that goes on."""
        later = []
        for name in self._earlier():
            path = os.path.join(self.directory, name)
            goes_on = os.path.exists(self.last_checkpoint) and os.path.samefile(path, self.last_checkpoint)
            if name.endswith('.npz') and not goes_on:
                progress = _progress_in(path)
                ours = progress and _of_one_run(progress, self._progress)
                if not ours or _how_far(progress) > _how_far(self._progress):
                    later.append(name)
        return later

    @contextlib.contextmanager
    def open(self):
        """Hold the logs: new ones or, where a run goes on, as they were at its checkpoint."""
        try:
            self._group.broadcast(self._open)
            yield
        finally:
            for log in self._logs.values():
                log.close()

    def _open(self):
        if self.last_checkpoint:
            self._reopen_logs()
        else:
            self._open_logs({})
        for ending, heading in self._headings.items():
            if not os.fstat(self._logs[ending].fileno()).st_size:
                self._write(ending, heading)

    def _reopen_logs(self):
        """Open those of a resumed run: what came after the checkpoint is cut off, and what is missing begun anew."""
        sizes = {ending: size for ending, (size, checksum) in self._progress.get('logs', {}).items()
                 if self._is_ours(ending, size, checksum)}
        if STEPS not in sizes:         # the only one of which every checkpoint knows more than anybody
            sizes = {}
        missing = [self.path(ending) for ending in LOGS if ending not in sizes]
        others = [path for path in missing + [self.path(PICTURE)] * (not sizes) if os.path.exists(path)]
        if others and not self._overwrite:
            raise ValueError(f'not known to be of the run in {self.last_checkpoint}: {", ".join(others)}; move that '
                             'checkpoint to another folder, or --overwrite to begin them anew')
        self._open_logs(sizes)
        if missing:
            self.say(f'{", ".join(missing)}: not found, or not of this run, so begun anew')
        self._reload()

    def _is_ours(self, ending, size, checksum):
        """Return whether a log exists, begins with the bytes that the checkpoint knows, and goes on as such a log.

        The steps must have a row, since their heading is known to anybody. A checkpoint from before the first row
        knows which file it was instead.
        """
        path, heading = self.path(ending), self._headings[ending].encode()
        if not os.path.exists(path):
            return False
        with named('read', path), open(path, 'rb') as log:
            data, inode = log.read(), os.fstat(log.fileno()).st_ino
        least = len(heading) + (ending == STEPS and inode != self._progress.get('inode'))
        beginning, rest = data[:size], data[size:].rstrip(b'\0')         # zeros: of a power cut
        start = SAMPLE.split('{')[0].encode()
        goes_on = start.startswith(rest[:len(start)]) if ending == SAMPLES else ROWS.fullmatch(rest)
        return bool(goes_on and len(beginning) == size >= least
                    and beginning.startswith(heading) and zlib.crc32(beginning) == checksum)

    def _open_logs(self, sizes):
        """Open all, cut to sizes in bytes by ending, and remove what is left of earlier runs of this name."""
        self._logs[STEPS] = open_log(self.path(STEPS))
        lock(self._logs[STEPS])
        # Again: another process may have begun and ended a run of this name since.
        to_replace = self._to_replace()
        self._refuse_to_replace([name for name in to_replace if os.path.getsize(os.path.join(self.directory, name))])
        for ending in LOGS:
            log = self._logs[ending] = self._logs.get(ending) or open_log(self.path(ending))
            with open(self.path(ending), 'rb') as before:
                kept = before.read(sizes.get(ending, 0))
            with named('write', self.path(ending)):
                log.truncate(len(kept))
            self._checksums[ending] = zlib.crc32(kept)
        for name in to_replace + self._partial():
            if not name.endswith(tuple(LOGS)):
                os.remove(os.path.join(self.directory, name))

    def _partial(self):
        """The names of what processes that died while they wrote a file of this run have left."""
        ours = re.compile(re.escape(self.name) + r'(_[^.]*\.npz|\.png)' + PARTIAL)
        return [name for name in os.listdir(self.directory) if ours.fullmatch(name)]

    def _reload(self):
        """Take the costs of a run that goes on from its logs."""
        for rows, ending, columns in ((self._steps, STEPS, 2), (self._epochs, EPOCHS, 3)):
            rows.extend(log_rows(self.path(ending))[:, :columns].tolist())

    @contextlib.contextmanager
    def rescuing(self):
        """An error inside also says which checkpoint there is to go on from."""
        try:
            yield
        except (OSError, ValueError) as error:
            kind = OSError if isinstance(error, OSError) else ValueError       # some of these take other arguments
            raise kind(f'{error}; {self._rescue()}') from None

    @contextlib.contextmanager
    def interruptible(self, when):
        """A KeyboardInterrupt inside says when it came, and what is kept."""
        try:
            yield
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f' {when}; {self._rescue()}') from None

    def _rescue(self):
        if self.last_checkpoint:
            return f'the last checkpoint is {self.last_checkpoint}, go on with: {self._going_on()}'
        return 'no checkpoint was written yet'

    def _going_on(self, *more):
        return commands.script('train.py', '--resume', self.last_checkpoint, *self._needed, *more,
                               processes=self._group.size)

    # ---- logs

    def _write(self, ending, text):
        if not self._group.first:
            return
        data = text.encode('utf-8', 'backslashreplace')
        append_whole(self._logs[ending], data)
        self._checksums[ending] = zlib.crc32(data, self._checksums[ending])

    def _row(self, ending, numbers):
        self._write(ending, ' '.join(f'{float(number):.6g}' for number in numbers) + '\n')

    def log_step(self, cost, now, ratios):
        """Log a training step; now: the run's Schedule."""
        epoch, valid_cost = now.row()
        self._steps.append((epoch, float(cost)))
        self._row(STEPS, [epoch, cost, valid_cost, *ratios])

    def log_epoch(self, now, cost, valid_cost, speed, seconds):
        """A row and a line for the epoch that ended; speed in characters a second."""
        self._epochs.append((now.epoch, cost, valid_cost))
        self._row(EPOCHS, [now.epoch, cost, valid_cost, now.rate, speed])
        if now.should_report:
            self.say(f'epoch {now.epoch}/{now.options["epochs"]}: cost {cost:.4f}, validation {valid_cost:.4f}, rate '
                     f'{now.rate:.4g}, {speed:,.0f} characters/s, {duration(seconds)}')

    def sample(self, model, now):
        """Print a short text of the model, and keep it, if one is due; the training's own chance is not touched."""
        if not (now.should_report and self._group.first):
            return
        before = model.random.bit_generator.state
        text = model.generate_text(text_length=SAMPLE_LENGTH)
        model.random.bit_generator.state = before
        self._write(SAMPLES, f'{SAMPLE.format(now.epoch)}{text}\n\n')
        self.say(f'what it writes after epoch {now.epoch}:\n{text}\n')

    def draw(self):
        """Draw the picture of all costs so far; where that fails, in whatever way, the run goes on with a warning."""
        if not (self._group.first and self._draws):
            return
        try:
            draw_costs(self.path(PICTURE), self.name, self._steps, self._epochs)
            self._drawn = True
        except Exception as error:
            if not self._undrawn:
                warn(f'{self.path(PICTURE)} could not be drawn: {" ".join(str(error).split())}')
            self._undrawn = True

    # ---- checkpoints

    def save(self, model, now, ending):
        """Write a checkpoint of the model and of now, a Schedule."""
        logs = {end: [os.fstat(log.fileno()).st_size, self._checksums[end]] for end, log in self._logs.items()}
        inode = {'inode': os.fstat(self._logs[STEPS].fileno()).st_ino} if self._logs and ending == self.START else {}
        progress = now.progress(logs=logs, name=self.name, id=self.id, **inode)
        self.last_checkpoint = model.save_params(self.path(ending), progress)
        if ending != self.INTERRUPTED and now.calm:
            self._good = self.last_checkpoint
            if ending != self.START:
                self._group.broadcast(self._remove_start)
        if (now.should_report or now.batch) and ending != self.START:
            self.say('saved ' + self.last_checkpoint)

    def _remove_start(self):
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.path(self.START))

    def catch_up(self, model, now):
        """Save what a run should have beside it: at its start, or where a stop or a move took it away."""
        if not self.last_checkpoint:
            return self.save(model, now, self.START)
        self._good = self._group.broadcast(self._newest_good)
        at_end = now.epoch and not now.batch
        if now.best_epoch and not self._group.broadcast(self._has_best, now.best_epoch):
            if at_end and now.best_epoch == now.epoch:
                self.save(model, now, self.BEST)
            else:
                self.say(f'the parameters of its best epoch, {now.best_epoch}, are gone: the next epoch counts as best')
                now.forget_best()
        if at_end and now.should_save and not self._group.broadcast(os.path.exists, self.path(self.EPOCH.format(now.epoch))):
            self.save(model, now, self.EPOCH.format(now.epoch))
        if now.finished:
            self.say('there is nothing left to learn in this run')
            self.draw()

    def _has_best(self, epoch):
        """Whether the parameters of that epoch of this run are there."""
        progress = _progress_in(self.path(self.BEST))
        return bool(progress) and progress['epoch'] == epoch and progress.get('id', self.id) == self.id

    def _newest_good(self):
        """The newest good checkpoint of the end of an epoch of this run, otherwise the one that it resumes from.

        So it goes back to the same one whether it was interrupted or not.
        """
        def counts(progress):
            return (progress and progress.get('id') == self.id and _how_far(progress) <= _how_far(self._progress)
                    and progress.get('high', 0) < CALM)
        paths = [self.path(name[len(self.name):]) for name in self._earlier() if not name.endswith(self.INTERRUPTED)]
        return _furthest(paths, counts) or self.last_checkpoint

    def newest(self):
        """The furthest checkpoint of a run of this name, or None."""
        return _furthest([self.path(name[len(self.name):]) for name in self._earlier()])

    def fall_back(self, model, now, error):
        """Return to the last good checkpoint, at half the rate, after a Diverged error.

        Raises ValueError where that has failed too often.
        """
        failed = now.rate
        if not now.fall_back(model.resume(self._good)):
            self._needed = '--lrate', f'{now.smaller_rate:g}'
            raise ValueError(f'{error}, as after each of the {FALLS} times that the run went back to {self._good} and '
                             f'halved the rate, to {failed:.4g} at last: stopped')
        now.begin_epoch()
        self.say(f'{error}: back to epoch {now.epoch} in {self._good}, at half the rate, {now.rate:.4g}')

    def go_back(self, model, now):
        """Give the model the parameters of the best epoch again."""
        model.resume(self.path(self.BEST))
        self.say(f'no better validation cost in {now.stale} epochs: back to epoch {now.best_epoch}, rate '
                 f'{now.rate:.4g}')

    def say_where(self, now):
        """Print where everything is, and what to do with it; now: the run's Schedule."""
        best = self.path(self.BEST)
        write = best if os.path.exists(best) else self.last_checkpoint
        drawn = f', drawn in {self.path(PICTURE)}' if self._drawn else ''
        print(f'costs: {self.path(STEPS)} and {self.path(EPOCHS)}{drawn}')
        print('next: ' + commands.script('produce_text.py', write))
        print('to go on: ' + self._going_on(*now.more()))
