"""Progress of long work: bars on a terminal, lines elsewhere."""
import contextlib
import functools
import shutil
import sys
import threading
import time

from engine import commands
from engine.terminal import note, number_of, printable, warn

QUIET = 30         # seconds between lines of progress without a terminal,
COMPILING = 3      # and while something is compiled
FORECAST = 10      # seconds of training, if an epoch takes longer, after which its whole time is estimated
SLOW = 1           # seconds of silence before the first line of say_if_slow
TIMED = 3          # files that are compiled before the time left is estimated
TIME = len('10:00:00 left')                            # columns of a terminal that a bar keeps for it


def duration(seconds):
    """Return a number of seconds as text, such as '1 min 5 s'."""
    if seconds < 0.05:
        return 'under 0.1 s'
    if seconds < 9.95:
        return f'{seconds:.1f} s'
    minutes, seconds = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours} h {minutes} min'
    return f'{minutes} min {seconds} s' if minutes else f'{seconds} s'


def is_watched(file):
    """Return whether a stream is shown while it is written to, by a terminal or a notebook."""
    return file.isatty() or type(file).__module__.startswith('ipykernel')


@contextlib.contextmanager
def say_if_slow(line, file=None, shown=True, pause=None):
    """Print a line with the time so far, after SLOW seconds and then every QUIET seconds, until the block ends.

    line: a text, or a function that returns the whole line. file: standard error by default. shown: whether to print
    at all. pause: seconds between lines, instead of QUIET.
    """
    file, done, start = file or sys.stderr, threading.Event(), time.time()

    def report():
        wait = SLOW
        while not done.wait(wait):
            print(line() if callable(line) else f'{line}, {duration(time.time() - start)} so far ...', file=file,
                  flush=True)
            wait = pause or QUIET

    if shown:
        threading.Thread(target=report, daemon=True).start()
    try:
        yield
    finally:
        done.set()


class Compilation(contextlib.ExitStack):
    """How far a function is compiled: a line after SLOW seconds of that, and then every COMPILING seconds.

    file: where it is printed; None for standard error, if that is a terminal or a notebook.
    """
    def __init__(self, name, file=None):
        super().__init__()
        self._name, self._files, self._left = name, '', ''
        self._file, self._shown = file or sys.stderr, file or is_watched(sys.stderr)   # compiling() redirects it

    def report(self, done, total):
        """Take the numbers of compiled files and of all. The first call is before the first file."""
        first = not self._files
        self._files = f'{done} of {number_of(total, "file")}'
        seconds = 0 if first else time.time() - self._start
        estimated = TIMED <= done < total
        self._left = f'about {duration(seconds / done * (total - done))} left' if estimated else ''
        if first:
            self._start = time.time()
            self.enter_context(say_if_slow(self._line, self._file, self._shown, COMPILING))

    def _line(self):
        left = self._left or f'{duration(time.time() - self._start)} so far'
        return f'compiling {self._name}, this first time only: {self._files}, {left} ...'


class _NoBar:
    """A stand-in for tqdm's progress bar where none is shown: all its methods do nothing."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def __getattr__(self, name):
        return lambda *arguments, **settings: None


@functools.lru_cache(maxsize=None)     # once
def _warn_of_no_bar():
    warn(f'tqdm cannot be imported, so there will be no progress bar; to install it: {commands.install()}')


def progress_bar(file, shown=True, **settings):
    """Return tqdm's progress bar if it is to be shown and the file is a terminal, otherwise a _NoBar.

    The bar writes to the terminal itself, not through an EscapedStream, because it moves by control characters.
    """
    if not (shown and file.isatty()):
        return _NoBar()
    try:
        from tqdm import tqdm                          # late, so that --help needs nothing installed
    except ImportError:
        _warn_of_no_bar()
        return _NoBar()
    return tqdm(file=getattr(file, 'stream', file), dynamic_ncols=True, **settings)


def _estimate_from(bar, done):
    """Let a bar estimate the time left without what was done until now, before which something is compiled."""
    bar.n = bar.initial = bar.last_print_n = done
    bar.unpause()


class Countdown:
    """How many characters of some work are done: a bar on a terminal, otherwise a line every QUIET seconds.

    The time left is estimated without the first piece, before which functions are compiled.
    """

    def __init__(self, name, total):
        self.name, self.total, self.done = name, total, 0
        self.last_line = time.time()
        # The name, which may be long, is where a terminal's width cuts it off.
        self.bar = progress_bar(sys.stderr, total=total, unit=' characters', unit_scale=True, leave=False, delay=1,
                                desc=printable(name),
                                bar_format='{percentage:.0f} %, {remaining} left, {rate_fmt}, {desc} |{bar}|')

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.bar.close()

    def add(self, n):
        """Count n more characters as done."""
        now = time.time()
        if not self.done:
            self.start, self.first, self.done = now, n, n
            return _estimate_from(self.bar, n)
        self.done += n
        self.bar.update(n)
        if isinstance(self.bar, _NoBar) and now - self.last_line > QUIET:
            left = (now - self.start) / (self.done - self.first) * (self.total - self.done)
            note(f'{self.name}: {self.done:,} of {self.total:,} characters, {duration(left)} left')
            self.last_line = now


class _Speed:
    """The speed of an epoch. epoch_start: when it began; read: how many characters were read since."""

    def begin_epoch(self):
        """Begin to measure the speed of an epoch."""
        self.epoch_start, self.read = time.time(), 0

    def speed(self):
        """Return the characters per second of this epoch, a finite number even before the clock moves."""
        return self.read / max(time.time() - self.epoch_start, 1e-6)


class Watch(_Speed):
    """What follows the steps of a training loop: this one only measures the speed, and never stops the loop."""
    stopped = False

    def step(self, cost, ratios, characters):
        """Take the cost and the update ratios of a step, and how many characters it has read."""
        self.read += characters

    def until_stopped(self, items):
        """Yield the items until the loop is to stop."""
        for item in items:
            yield item
            if self.stopped:
                return


def _fitting(fields, columns):
    """Return the first fields, joined, as many of them as have room."""
    text = ''
    for field in fields:
        if len(text + field) > columns:
            break
        text += field
    return text


class ProgressBar(_Speed):
    """The progress of training: a bar on a terminal, otherwise lines.

    steps: how many an epoch has; done: how many the run has made. The time left is estimated without
    the first step, in which a GPU's driver compiles.
    """

    def __init__(self, steps, done):
        self.steps, self.done_before = steps, done
        self.begin_epoch()
        self.last_line = self.epoch_start
        self.forecast = False                          # whether the estimate was printed
        self.bar = progress_bar(sys.stdout, total=None, initial=done, desc='starting, ', smoothing=0.05,
                                bar_format='{desc}{remaining} left |{bar}|')
        self.go_back(done)

    def go_back(self, done):
        """Continue from an earlier step of the run."""
        self.done = self.bar.n = done
        self.first = done + 1                          # the step that the estimate leaves out

    @contextlib.contextmanager
    def paused(self):
        """Do not count the time of the block for the speed."""
        start = time.time()
        yield
        self.epoch_start += time.time() - start

    def line(self, text):
        """Print a line above the bar."""
        self.bar.clear()
        print(text, flush=True)
        self.last_line = time.time()

    def step(self, epoch, epochs, cost, valid_cost, characters):
        """Show a step, which read this number of characters. epochs: those of the whole run, which may become fewer.

        Return whether this is the time for a text before the end of the epoch: once, with the estimate of the time,
        where much of the epoch is left.
        """
        self.done += 1
        self.read += characters
        fields = [f'epoch {epoch}/{epochs}, ', f'cost {cost:.3f}, ', f'valid {valid_cost:.3f}, ',
                  f'{self.speed():,.0f} chars/s, ']
        self.bar.total = total = epochs * self.steps
        self.bar.set_description_str(_fitting(fields, shutil.get_terminal_size().columns - TIME), refresh=False)
        if self.done == self.first:                    # both estimates of the time left, the bar's too, begin here
            self.start = time.time()
            _estimate_from(self.bar, self.done)
            return False
        self.bar.update()
        elapsed = time.time() - self.start
        seconds = elapsed / (self.done - self.first)   # of a step
        estimates = not self.forecast and (elapsed > FORECAST or self.done % self.steps == 0)
        if estimates:
            what = f'what is left of {epochs} epochs' if self.done_before else f'{epochs} epochs'
            whole = f', {duration(seconds * (total - self.done_before))} for {what}' if epochs > 1 else ''
            self.line(f'estimated training time: {duration(seconds * self.steps)} an epoch{whole}')
            self.forecast = True
        if isinstance(self.bar, _NoBar) and time.time() - self.last_line > QUIET:
            self.line(f'{"".join(fields)}{duration(seconds * (total - self.done))} left')
        return estimates and seconds * (-self.done % self.steps) > FORECAST / 2        # seconds left of the epoch

    def close(self):
        self.bar.close()
