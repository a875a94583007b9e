"""What is said to a person: warnings, a progress bar, and how both scripts begin and end."""
import argparse
import contextlib
import errno
import functools
import os
import re
import signal
import sys
import threading
import time

from engine import commands, interrupts
from engine.interrupts import EXIT_INTERRUPTED

QUIET = 30         # seconds between lines of progress where there is no terminal
FORECAST = 10      # seconds of training, or a whole epoch, after which it is said how long all of it takes
SLOW = 2           # seconds of silence after which there is a line
CONTROLS = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f]')       # all but tab and line feed


class _Around:
    """A stream that does some things otherwise than the one around which it is. terminal: that one."""

    def __init__(self, terminal):
        self.terminal = terminal

    def __getattr__(self, name):
        return getattr(self.terminal, name)


class Visible(_Around):
    """A terminal that shows control characters as their escapes: names and texts are data, and may hold any."""

    def write(self, text):
        return self.terminal.write(CONTROLS.sub(lambda match: ascii(match.group())[1:-1], text))


class Passed(Visible):
    """Standard output or errors of one of several processes: what started them passes it on to whatever it has."""

    def isatty(self):
        return False               # also where it looks like a terminal, which would be one without a width


class Unheard(_Around):
    """A stream that goes on when nobody reads it any more."""

    def _or_nothing(self, do, *arguments):
        try:
            return do(*arguments)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.terminal.fileno())

    def write(self, text):
        return self._or_nothing(self.terminal.write, text)

    def flush(self):
        self._or_nothing(self.terminal.flush)


def one_line(text):
    """A text that stays in its line, also where names in it have line ends."""
    return text.replace('\n', '\\n')


def warn(line):
    """Tell the user something in one line, where it does not mix with a program's output."""
    note(f'charlstm: {one_line(line)}')


def note(line):
    """A line beside a program's output, in its order."""
    sys.stdout.flush()
    print(line, file=sys.stderr, flush=True)


class Parser(argparse.ArgumentParser):
    """A parser of options that takes no abbreviations of them, and in which --option=-- has the value --."""

    def __init__(self, **settings):
        super().__init__(allow_abbrev=False, **settings)

    def _get_values(self, action, strings):
        if action.option_strings and strings == ['--']:    # argparse would drop that, and fail for want of a value
            value = self._get_value(action, '--')
            self._check_value(action, value)
            return value
        return super()._get_values(action, strings)


def _open_streams(place):
    """Standard output and errors that are there, take any character, and hand no control characters to a terminal.

    Of several processes, those but the first are silent.
    """
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        if stream is None:                             # closed: also, no file of ours shall take its number
            stream = open(os.devnull, 'w', encoding='utf-8')
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')
        if place[0]:
            stream = open(os.devnull, 'w', encoding='utf-8')
        setattr(sys, name, Passed(stream) if place != (0, 1) else Visible(stream) if stream.isatty() else stream)


def _end(parser, process_group, status, what):
    """End the program, and those that it shares its work with, with a line after all that it has printed."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    line = one_line(f'{parser.prog}: {what}')
    if process_group:
        process_group.end(status, line)
    parser.exit(status, line + '\n')


# What libraries and the drivers of devices say for want of memory.
NO_MEMORY = re.compile(f'{os.strerror(errno.ENOMEM)}|out of (host |device )?memory|out of resources|'
                       'invalid buffer size|allocation failure', re.IGNORECASE)


def lacks_memory(error):
    """Return whether an error is for want of memory, also where only its words say so."""
    return isinstance(error, MemoryError) or bool(NO_MEMORY.search(str(error)))


def _not_enough(error, less):
    """Return what to say where memory is not enough; less: as main's, for the options of now."""
    advice = f'{less} less' if less else 'end other programs, or take a machine with more'
    said = getattr(error, 'args', None) and error.args[0]      # pygpu's is bytes
    said = said.decode(errors='replace') if isinstance(said, bytes) else str(error)
    said = ''.join(said.splitlines()[:1])[:200]                # Theano adds much to it
    return f'not enough memory{": " * bool(said)}{said}; {advice}'


def _why(error):
    """Return what an OSError or ValueError says; those of files are named where they are met."""
    if not (isinstance(error, OSError) and error.strerror and not error.filename):
        return error
    if isinstance(error, FileNotFoundError):
        return 'the current folder was removed: go to another one, with cd'
    if lacks_memory(error):
        return _not_enough(error.strerror, '')
    return f'cannot write standard output: {error.strerror}'


def main(parser, program, less, heard=True, process_group=None):
    """Run program(options) as a script: what the user can mend ends it with one line and exit status 2.

    program returns the exit status, None for 0. less(options): which of the options take less
    memory where they are smaller, with their verb, '' for none. A reader of the output that
    has seen enough, such as `head`, ends it with 0 or, where it need not be heard, not at all.
    process_group: the module engine.process_group, for a program that may run as several processes.
    """
    _open_streams(process_group.rank_and_size() if process_group else (0, 1))
    if not heard and not sys.stdout.isatty():
        sys.stdout = Unheard(sys.stdout)
    try:
        # Options may stand between names; on a Python too old for that, one line must still say that it is too old.
        options = getattr(parser, 'parse_intermixed_args', parser.parse_args)()
        os.getcwd()                                    # raises where the folder was removed
        status = program(options) or 0
        sys.stdout.flush()
    except SystemExit as error:                        # the parser's
        if error.code and process_group:
            process_group.end(error.code, '')
        raise
    except BrokenPipeError:
        status = 0
    except ImportError as error:
        if lacks_memory(error):
            _end(parser, process_group, 2, _not_enough(error, ''))
        hint = '' if re.search('install|uv run|runs on Python', str(error)) else f': run {commands.install()}'
        _end(parser, process_group, 2, f'{error}{hint}')
    except (OSError, ValueError) as error:
        _end(parser, process_group, 2, _why(error))
    except KeyboardInterrupt as error:
        _end(parser, process_group, EXIT_INTERRUPTED, f'interrupted{error}')
    except Exception as error:
        if not lacks_memory(error):
            raise
        _end(parser, process_group, 2, _not_enough(error, less(options)))
    finally:
        interrupts.raise_again()
        try:
            sys.stdout.flush()
        except OSError:                                # nobody reads it, or its disk is full: not again at the very end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if status and process_group:
        process_group.end(status, '')
    sys.exit(status)


@contextlib.contextmanager
def say_if_slow(line, file=None, shown=None):
    """Say a line after SLOW seconds, and again every QUIET seconds, with the time so far, until what is inside is done.

    file: standard errors, if no other is given; shown: whether to say it, True only for a terminal if not given.
    """
    file, over, start = file or sys.stderr, threading.Event(), time.time()

    def speak():
        pause = SLOW
        while not over.wait(pause):
            print(f'{line}, {duration(time.time() - start)} so far ...', file=file, flush=True)
            pause = QUIET

    speaker = threading.Thread(target=speak, daemon=True)
    if file.isatty() if shown is None else shown:
        speaker.start()
    try:
        yield
    finally:
        over.set()


def duration(seconds):
    """Seconds as a person says them."""
    if seconds < 9.95:
        return f'{seconds:.1f} s'
    minutes, seconds = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours} h {minutes} min'
    return f'{minutes} min {seconds} s' if minutes else f'{seconds} s'


class StopRequest:
    """Ctrl-C or SIGTERM asks to stop after the step at hand; a second one stops at once.

    So does SIGUSR1, which mpiexec hands to all processes, and batch systems send before time is over.
    """
    SIGNALS = [getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGUSR1') if hasattr(signal, name)]

    def __init__(self, group):
        """group: a SingleProcess or a ProcessGroup, which says whether all of it stops."""
        self._group = group

    def __enter__(self):
        self.before = {number: signal.signal(number, self._ask) for number in self.SIGNALS}
        return self

    def _ask(self, number, frame):
        if self._group.stop_requested:
            raise KeyboardInterrupt
        self._group.stop_requested = True

    @property
    def asked(self):
        """Whether it is time to stop."""
        return self._group.stop_agreed

    def until_asked(self, items):
        """The items, up to the one after which it was asked to stop."""
        for item in items:
            yield item
            if self.asked:
                return

    def __exit__(self, *error):
        for number, handler in self.before.items():
            signal.signal(number, handler)


class _NoBar:
    """Stand for a bar of tqdm's where that is not installed: it shows nothing."""
    disable = True

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
    """Return a bar of tqdm's on a terminal, past Visible, as it moves by control characters; elsewhere it is not shown.

    Without tqdm there is none, and a line says so.
    """
    try:
        from tqdm import tqdm                          # late, so that --help needs nothing installed
    except ImportError:
        if shown:
            _warn_of_no_bar()
        return _NoBar()
    return tqdm(file=getattr(file, 'terminal', file), disable=not (shown and file.isatty()), **settings)


class Countdown:
    """How much of some work is done and left: a bar on a terminal, else a line every QUIET seconds."""

    def __init__(self, what, total, unit):
        self.what, self.total, self.unit, self.done = what, total, unit, 0
        self.start = self.last_line = time.time()
        self.bar = progress_bar(sys.stderr, sys.stderr.isatty(), total=total, unit=' ' + unit, unit_scale=True,
                                leave=False, desc=what, delay=1)

    def add(self, n):
        """Count so much more as done."""
        self.done += n
        self.bar.update(n)
        now = time.time()
        if self.bar.disable and now - self.last_line > QUIET:
            left = (now - self.start) / self.done * (self.total - self.done)
            note(f'{self.what}: {self.done:,} of {self.total:,} {self.unit}, {duration(left)} left')
            self.last_line = now

    def close(self):
        self.bar.close()


class ProgressBar:
    """A progress bar on a terminal, plain lines elsewhere. total, done: steps of the whole run."""

    def __init__(self, total, done):
        self.total, self.done, self.first = total, done, done
        self.start = self.last_line = self.epoch_start = time.time()
        self.read = 0                                  # characters since then
        self.forecast = False                          # whether it was said how long it takes
        self.bar = progress_bar(sys.stdout, total=total, initial=done, desc='starting', smoothing=0.05,
                                dynamic_ncols=True, bar_format='{desc}, {remaining} left |{bar}|')

    def go_back(self, done):
        """Go on from a step of the run."""
        self.done = self.first = self.bar.n = done
        self.start = time.time()

    def begin_epoch(self):
        """Measure the speed from here on."""
        self.epoch_start, self.read = time.time(), 0

    def speed(self):
        """Characters a second in this epoch, also where the clock has not moved."""
        return self.read / max(time.time() - self.epoch_start, 1e-6)

    def line(self, text):
        """Print a line above the bar."""
        self.bar.clear()
        print(text, flush=True)
        self.last_line = time.time()

    def step(self, epoch, epochs, cost, valid_cost, characters):
        """Show a step that read so many characters."""
        self.done += 1
        self.read += characters
        state = f'epoch {epoch}/{epochs}, cost {cost:.3f}, valid {valid_cost:.3f}, {self.speed():,.0f} chars/s'
        self.bar.set_description_str(state, refresh=False)
        self.bar.update()
        steps, took = self.total // epochs, time.time() - self.start
        if not self.forecast and (took > FORECAST or self.done % steps == 0):
            one = took / (self.done - self.first)
            whole = f', {epochs} epochs {duration(one * self.total)}' if epochs > 1 else ''
            self.line(f'an epoch takes about {duration(one * steps)}{whole}')
            self.forecast = True
        if self.bar.disable and time.time() - self.last_line > QUIET:
            left = (time.time() - self.start) / (self.done - self.first) * (self.total - self.done)
            self.line(f'{state}, {duration(left)} left')

    def close(self):
        self.bar.close()
