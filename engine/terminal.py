"""What is said to a person: warnings, a progress bar, and how both scripts begin and end."""
import contextlib
import signal
import sys
import threading
import time

QUIET = 30         # seconds between lines of progress where there is no terminal
SLOW = 2           # seconds of silence after which there is a line
EXIT_INTERRUPTED = 130  # exit status of a program that Ctrl-C ended


def warn(line):
    """Tell the user something in one line, where it does not mix with a program's output."""
    sys.stderr.write(f'charlstm: {line}\n')


def main(parser, program, less):
    """Run program(options) as a script: what the user can mend ends it with one line and exit status 2.

    program returns the exit status, None for 0. less: which options need less memory, with their verb.
    """
    options = parser.parse_args()
    try:
        if hasattr(sys.stdout, 'reconfigure'):
            sys.stdout.reconfigure(errors='replace')   # a terminal that lacks a character shows a mark
        sys.exit(program(options) or 0)
    except MemoryError as error:
        parser.exit(2, f'{parser.prog}: not enough memory: {error}; {less} less\n')
    except ImportError as error:
        hint = '' if 'pip install' in str(error) else ': run "pip install -r requirements.txt"'
        parser.exit(2, f'{parser.prog}: {error}{hint}\n')
    except (OSError, ValueError) as error:
        parser.exit(2, f'{parser.prog}: {error}\n')
    except KeyboardInterrupt:
        parser.exit(EXIT_INTERRUPTED, f'{parser.prog}: interrupted\n')


@contextlib.contextmanager
def say_if_slow(line='compiling, this first time only ...'):
    """Where what is inside lasts more than a moment, say a line to a person at a terminal."""
    notice = threading.Timer(SLOW, sys.stderr.write, [line + '\n'])
    if sys.stderr.isatty():
        notice.start()
    try:
        yield
    finally:
        notice.cancel()


def duration(seconds):
    """Seconds as a person says them."""
    minutes, seconds = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours} h {minutes} min'
    return f'{minutes} min {seconds} s' if minutes else f'{seconds} s'


class StopRequest:
    """Ctrl-C or SIGTERM asks to stop after the step at hand; a second one stops at once."""

    def __init__(self):
        self.asked = False

    def __enter__(self):
        self.before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _ask(self, number, frame):
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def until_asked(self, items):
        """The items, up to the one after which it was asked to stop."""
        for item in items:
            yield item
            if self.asked:
                return

    def __exit__(self, *error):
        for number, handler in self.before.items():
            signal.signal(number, handler)


class ProgressBar:
    """A progress bar on a terminal, plain lines elsewhere. total, done: steps of the whole run."""

    def __init__(self, total, done):
        from tqdm import tqdm                          # late, so that --help needs nothing installed
        self.total, self.done, self.first = total, done, done
        self.valid_cost = float('nan')                 # the last one there was
        self.start = self.last_line = self.epoch_start = time.time()
        self.read = 0                                  # characters since then
        self.bar = tqdm(total=total, initial=done, file=sys.stdout, dynamic_ncols=True, smoothing=0.05,
                        bar_format='{desc}, {remaining} left |{bar}|', disable=not sys.stdout.isatty())

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
        """Show a step that read so many characters; a valid_cost of nan leaves the one before in its place."""
        self.done += 1
        self.read += characters
        if valid_cost == valid_cost:                   # not nan
            self.valid_cost = valid_cost
        state = f'epoch {epoch}/{epochs}, cost {cost:.3f}, valid {self.valid_cost:.3f}, {self.speed():,.0f} chars/s'
        self.bar.set_description_str(state, refresh=False)
        self.bar.update()
        if self.bar.disable and time.time() - self.last_line > QUIET:
            left = (time.time() - self.start) / (self.done - self.first) * (self.total - self.done)
            self.line(f'{state}, {duration(left)} left')

    def close(self):
        self.bar.close()
