"""What the scripts share: streams, messages, printed commands, progress, signals, options, and how a script ends."""
import argparse
import contextlib
import difflib
import errno
import functools
import importlib.util
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

# All but tab and line feed, and what separates lines or turns their direction.
CONTROLS = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]')
# How libraries and device drivers report that memory is not enough.
NO_MEMORY = re.compile(f'{os.strerror(errno.ENOMEM)}|out of (host |device )?memory|out of resources|'
                       'invalid buffer size|allocation failure', re.IGNORECASE)


# ---------------------------------------------------------------- streams

class _Wrapper:
    """A stream that changes some methods of another stream."""

    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)


class EscapedStream(_Wrapper):
    """A stream that escapes control characters, for a terminal: names and texts may contain any."""

    def write(self, text):
        return self.stream.write(CONTROLS.sub(lambda match: ascii(match.group())[1:-1], text))


class ForwardedStream(EscapedStream):
    """The output of one of several processes, which mpiexec forwards: it may look like a terminal, without a width."""

    def isatty(self):
        return False


class UnreadStream(_Wrapper):
    """A stream that raises no error when its reader is gone, or its terminal closed: what is written then is lost."""

    def _call(self, method, *arguments):
        try:
            return method(*arguments)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):            # EIO: of a terminal
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def write(self, text):
        return self._call(self.stream.write, text)

    def flush(self):
        self._call(self.stream.flush)


def _set_up_streams(rank, size, needs_reader):
    """Wrap standard output and errors so that they exist, accept any character, and escape controls on a terminal.

    All processes but the first are silent. size: None if it is unknown. Without needs_reader, they
    may lose their reader.
    """
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        if stream is None or rank:                     # None: closed; no other file should get its number
            stream = open(os.devnull, 'w', encoding='utf-8')
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')
        if not needs_reader:
            stream = UnreadStream(stream)
        if size != 1:
            stream = ForwardedStream(stream)
        elif stream.isatty():
            stream = EscapedStream(stream)
        setattr(sys, name, stream)


# ---------------------------------------------------------------- messages

def one_line(text):
    """Return a text with its line ends escaped: names of files may contain some."""
    return text.replace('\n', '\\n')


def printable(text):
    """Return a text in which characters that do not print, such as line ends and control characters, are escaped."""
    return ''.join(ch if ch.isprintable() else ascii(ch)[1:-1] for ch in text)


def bits(nats):
    """Return a cost in nats in bits."""
    return nats / math.log(2)


def number_of(n, noun):
    """Return a number of things as text; noun: in the singular."""
    plural = noun + ('es' if noun.endswith('tch') else 's')
    return f'{n:,} {noun if n == 1 else plural}'


def nats_and_bits(cost):
    """Return a cost per character, in nats, as text in both units."""
    return f'{cost:.4f} nats ({bits(cost):.4f} bits)'


def warn(line):
    """Print a warning of one line to standard error."""
    note(f'charlstm: {one_line(line)}')


def note(line):
    """Print a line to standard error, after what was printed to standard output before it."""
    sys.stdout.flush()
    print(line, file=sys.stderr, flush=True)


def lacks_memory(error):
    """Return whether an error, by its type or its message, means that memory is not enough."""
    return isinstance(error, MemoryError) or bool(NO_MEMORY.search(str(error)))


def without_file(error):
    """Return the message for a system error that names no file: it is of the current folder or of print; '' for others.

    engine.model.files.named puts the file into the message.
    """
    if not isinstance(error, OSError) or not error.strerror or error.filename:
        return ''
    if isinstance(error, FileNotFoundError):
        return 'the current folder was removed: go to another one, with cd'
    return f'cannot write standard output: {error.strerror}'


def _place_of(error):
    """Return the line of the user's own code that raised an error, as text and as Python; None where there is none.

    It is the innermost one outside of libraries, if that is not in a file of this program other than charlstm.py.
    """
    import sysconfig                           # late, so that --help does not wait for them
    import traceback
    libraries = [sysconfig.get_path(name) + os.sep for name in ('stdlib', 'platstdlib', 'purelib', 'platlib')]
    program = [os.path.join(ROOT, *names) for names in (('engine', ''), ('train.py',), ('produce_text.py',))]
    if isinstance(error, SyntaxError) and error.filename:
        frames = [traceback.FrameSummary(error.filename, error.lineno, '')]
    else:
        frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        path = os.path.abspath(frame.filename)
        if path.startswith(tuple(libraries)):
            continue
        if path.startswith(tuple(program)) or not os.path.isfile(path):
            return None
        return f'{near(path)}, line {frame.lineno}', frame.line
    return None


def _message(error, needs_less, options):
    """Return the message of an error that the user can correct; None for a bug. For needs_less see main."""
    unnamed = without_file(error)
    place, line = _place_of(error) or (None, None)
    if isinstance(error, (OSError, ValueError)) and str(error) and not unnamed and (
            not place or line.startswith('raise ')):
        return str(error).split('\nApply node')[0]         # where Theano begins to explain its graph
    if lacks_memory(error):
        text = error.strerror if unnamed else str(error)
        if error.args and isinstance(error.args[0], bytes):            # pygpu's
            text = error.args[0].decode(errors='replace')
        text = ''.join(text.splitlines()[:1])[:200]                    # Theano adds many lines
        less = needs_less(options) if options and not isinstance(error, (OSError, ImportError)) else ''
        advice = f'{less} less' if less else 'end other programs, or use a machine with more memory'
        return f'not enough memory: {text}; {advice}' if text else f'not enough memory; {advice}'
    if unnamed:
        return unnamed
    if isinstance(error, ImportError):
        # Python names the module that is missing; our own errors say what to do.
        return f'{error}: {find_packages()}' if error.name else str(error)
    if place:
        return f'{place}: {type(error).__name__}: {error}'
    return None


# ---------------------------------------------------------------- printed commands

# They run from the current folder, with the current Python.
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))         # the folder of the scripts
BUNDLED = os.path.join(ROOT, 'training_results', 'prideandprejudice.npz')      # a checkpoint
# Without these, Open MPI's mpiexec refuses to run as root before it starts any process.
AS_ROOT = ['OMPI_ALLOW_RUN_AS_ROOT=1', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1']


def _word(word):
    """Return a word quoted for the shell, with escapes if it has characters that are not shown as themselves."""
    encoding = getattr(sys.stdout, 'encoding', None) or 'utf-8'
    if word.isprintable() and word.encode(encoding, 'replace').decode(encoding) == word:
        return shlex.quote(word)
    return "$'{}'".format(''.join(f'\\x{byte:02x}' for byte in os.fsencode(word)))


def quoted(words):
    """Return words as a command line of this system's shell."""
    return subprocess.list2cmdline(words) if os.name == 'nt' else ' '.join(map(_word, words))


def spelled(name):
    """Return an option as it is typed: --batch-size for batch_size."""
    return '--' + name.replace('_', '-')


def as_arguments(message):
    """Return a message in which the options are as in Python: batch_size for --batch-size."""
    return re.sub(r'--([a-z][a-z0-9-]+)', lambda found: found.group(1).replace('-', '_'), message)


def typed(options):
    """Return options of train.py, a dict by name, as words of a command line; the positional ones first.

    Those that are None are left out, and flags that are False.
    """
    options = {name: value for name, value in options.items() if value is not None and value is not False}
    words = [options.pop(name) for name in ('input', 'run') if name in options]
    for name, value in options.items():
        if str(value).startswith('-'):
            words.append(f'{spelled(name)}={value}')       # otherwise it would be read as another option
        else:
            words += [spelled(name)] + ([str(value)] if value is not True else [])
    return words


def near(path):
    """Return a path relative to the current folder if it is inside it, otherwise absolute; it never begins with '-'."""
    try:
        path, relative = os.path.abspath(path), os.path.relpath(path)
    except (FileNotFoundError, ValueError):            # the current folder was removed; another drive of Windows
        return path
    if relative.split(os.sep)[0] == os.pardir:
        return path
    return os.path.join(os.curdir, relative) if relative.startswith('-') else relative


def _program(path):
    """Return a program as it is typed: its name if the shell finds it by that, otherwise its path."""
    found = shutil.which(os.path.basename(path))
    if found and os.path.abspath(found) == os.path.abspath(path):
        return os.path.basename(path)
    path = near(path)
    return path if os.path.dirname(path) else os.path.join(os.curdir, path)


def _python():
    return _program(sys.executable or 'python')


def script(name, *arguments, processes=1):
    """Return the command that runs a script of this package, in one or several processes.

    It uses this Python or, if `uv run` started the current script, uv.
    """
    uv = os.environ.get('UV')                          # set by `uv run`: the path of uv
    runner = [_program(uv), 'run'] if uv else [_python()]
    if uv and processes > 1:
        runner += ['--with', 'mpi4py']
    if processes > 1:
        mpiexec = os.path.join(os.path.dirname(sys.executable), 'mpiexec')         # where pip installs it
        as_root = AS_ROOT if hasattr(os, 'geteuid') and os.geteuid() == 0 else []
        runner = [*as_root, _program(mpiexec) if os.path.exists(mpiexec) else 'mpiexec', '--bind-to', 'none',
                  '-n', str(processes), *runner]
    return quoted([*runner, near(os.path.join(ROOT, name)), *arguments])


def install(requirements='requirements.txt'):
    """Return the command that installs a file of requirements in the package's folder for this Python.

    pip resolves paths in such a file from the current folder.
    """
    pip = ['-m', 'pip', 'install', '-r', requirements]
    if near(ROOT) == os.curdir:
        return quoted([_python(), *pip])
    change = 'cd /d' if os.name == 'nt' else 'cd'
    return f'({change} {quoted([ROOT])} && {quoted([os.path.abspath(sys.executable), *pip])})'


def find_packages():
    """Return what a message on a missing package advises: a command, after a reason if there is one.

    It activates the virtual environment of the README, if that exists and this Python is another one, or installs.
    """
    folder = os.path.join(ROOT, 'venv')
    activate = os.path.join(folder, *(['Scripts', 'activate'] if os.name == 'nt' else ['bin', 'activate']))
    if not os.path.exists(activate) or os.path.realpath(sys.prefix) == os.path.realpath(folder):
        return f'run {install()}'
    words = [near(activate)] if os.name == 'nt' else ['source', near(activate)]
    return f'the virtual environment is not active: run {quoted(words)}'


def imported(package):
    """Import and return an optional package. Raises ImportError where it is missing, with the command that helps."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        install, package = [_python(), '-m', 'pip', 'install'], package.split('.')[0]
        with_uv = [_program(os.environ.get('UV', 'uv')), 'run', '--with', package, *sys.argv]
        raise ImportError(f'{error}: run {quoted(with_uv if "UV" in os.environ else [*install, package])}') from None


def with_mpi(processes):
    """Return the command that installs mpi4py or, under `uv run`, that runs this script with it."""
    if os.environ.get('UV'):
        return script('train.py', *sys.argv[1:], processes=processes)
    return install('engine/requirements-mpi.txt')


# ---------------------------------------------------------------- progress

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

    def report(self, done, total, seconds):
        """Take the numbers of compiled files and of all, and the seconds so far. The first call is before the first."""
        first = not self._files
        self._files = f'{done} of {number_of(total, "file")}'
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
    warn(f'tqdm cannot be imported, so there will be no progress bar; to install it: {install()}')


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


# ---------------------------------------------------------------- interrupts

EXIT_INTERRUPTED = 130  # exit status of a program that Ctrl-C ended
ENDING = signal.SIGINT, signal.SIGTERM  # Ctrl-C, and `kill`


def _end_now(number, frame):
    with contextlib.suppress(OSError):
        os.write(2, f'{os.path.basename(sys.argv[0])}: interrupted\n'.encode('utf-8', 'replace'))
    os._exit(EXIT_INTERRUPTED)


def end_at_once():
    """Let Ctrl-C or SIGTERM end the program with one line: a module could catch a KeyboardInterrupt."""
    for number in ENDING:
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):       # not if it is ignored
            signal.signal(number, _end_now)


def raise_again():
    """Let Ctrl-C or SIGTERM raise KeyboardInterrupt, after end_at_once(), so that nothing that was begun is left."""
    for number in ENDING:
        if signal.getsignal(number) is _end_now:
            signal.signal(number, signal.default_int_handler)


@contextlib.contextmanager
def ctrl_c_delayed():
    """Delay the KeyboardInterrupt of Ctrl-C to the end of the block, which then is not left half done."""
    if (threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGINT) is not signal.default_int_handler):
        yield
        return
    received = []
    signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if received:
            raise KeyboardInterrupt from None


class StopRequest:
    """A context in which a signal requests a stop after the current step; a second signal stops at once.

    The signals are Ctrl-C, SIGTERM, SIGUSR1, which mpiexec passes to all processes and which
    batch systems send before the time is over, and SIGHUP, of a terminal that was closed. A
    second SIGHUP does not stop at once: the shell may send one, and the system another. A signal that is
    ignored stays so, as SIGHUP under nohup, and Ctrl-C in the background of a shell script.
    """
    HANGUP = getattr(signal, 'SIGHUP', None)
    SIGNALS = [getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGUSR1', 'SIGHUP') if hasattr(signal, name)]

    def __init__(self, group):
        """Take a SingleProcess or a ProcessGroup, whose processes agree to stop."""
        self._group = group

    def __enter__(self):
        self._handlers = {number: signal.signal(number, self._request) for number in self.SIGNALS
                          if signal.getsignal(number) != signal.SIG_IGN}
        return self

    def _request(self, number, frame):
        if self._group.stop_requested and number != self.HANGUP:
            raise KeyboardInterrupt
        self._group.stop_requested = True

    @property
    def agreed(self):
        """Return whether all processes stop now."""
        return self._group.stop_agreed

    def __exit__(self, *error):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


# ---------------------------------------------------------------- the options and the end of a script

class Parser(argparse.ArgumentParser):
    """A parser of options that accepts no abbreviations of them, and '--' as a value, as in --stop=--.

    An error is one line, without the usage of all options.
    """

    def __init__(self, **settings):
        super().__init__(allow_abbrev=False, **settings)

    def add_options(self, table):
        """Add the options of a table, lists of Option (engine/run/table.py) by the titles of their groups.

        Their defaults are those of the table, unless the parser has one for all.
        """
        for title, rows in table.items():
            group = self.add_argument_group(title)
            for row in rows:
                kind, default = row.kind, self.argument_default or row.default
                text = row.help                        # which has a default in words
                if row.default not in (None, '') and kind is not bool:
                    text += f' (default: {row.default})'
                if kind is bool:
                    settings = dict(action='store_true')
                elif isinstance(kind, dict):
                    settings = kind
                elif isinstance(kind, tuple):
                    settings = dict(choices=kind)
                elif isinstance(kind, str):
                    settings = dict(type=str, metavar=kind)
                else:
                    settings = dict(type=kind, metavar={int: 'N', float: 'X'}[kind])
                group.add_argument(spelled(row.name), default=default, help=text, **settings)

    def print_help(self, file=None):
        print(self.format_help(), end='', file=file, flush=True)       # argparse would drop an OSError

    def _get_values(self, action, strings):
        if action.option_strings and strings == ['--']:    # which older versions of argparse drop
            value = self._get_value(action, '--')
            self._check_value(action, value)
            return value
        return super()._get_values(action, strings)

    def parse_intermixed_args(self, args=None, namespace=None):
        # Options may stand between names; on a Python too old for that, one line must still say that it is too old.
        parse = getattr(self, 'parse_known_intermixed_args', self.parse_known_args)
        options, unknown = parse(args, namespace)
        if unknown:
            self._refuse(unknown)
        return options

    def _refuse(self, words):
        """Refuse words that are neither options nor arguments."""
        known = [name[2:] for name in self._option_string_actions if name.startswith('--')]
        for word in words:
            if word.startswith('-'):
                if os.path.exists(word):
                    self.error(f'unknown option {word}', f': if the file is meant, write {os.path.join(".", word)}')
                option = word.split('=')[0]
                name = option.lstrip('-')
                close = [other for other in known if other.startswith(name)] or difflib.get_close_matches(name, known)
                if close:
                    self.error(f'unknown option {option}', f': did you mean --{close[0]}?')
                self.error(f'unknown option {option}')
        self.error(f'too many arguments: {" ".join(words)}')

    def error(self, message, advice='; --help lists the options'):
        self.exit(2, one_line(f'{self.prog}: {message}{advice}') + '\n')


def _as_typed(message, parser):
    """Return a message in which options are as they are typed: 'batch_size' where it stands alone, 'the option l1'."""
    def with_dashes(word):
        option = spelled(word.group().split()[-1])
        return option if option in parser._option_string_actions else word.group()

    return re.sub(r'the option [a-z]+|(?<![\w./\\-])[a-z]+_[a-z_0-9]+(?![\w./\\=-])', with_dashes, message)


def _end(parser, process_group, status, message):
    """End all processes of the program, and print a line after all its output."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    line = one_line(f'{parser.prog}: {message}')
    if process_group:
        process_group.end(status, line)
    parser.exit(status, line + '\n')


def main(parser, program, needs_less, needs_reader=True, process_group=None):
    """Run program(options) as a script: an error that the user can correct ends it with one line and exit status 2.

    program returns the exit status, None for 0. needs_less(options) returns which options need less memory
    if they are smaller, with a verb, such as 'a smaller --batch-size needs', or ''. When the reader of
    the output ends, as `head` does, the script ends with status 0, or continues if not needs_reader.
    process_group: the module engine.parallel, for a program that may run as several processes.
    """
    rank, size = process_group.rank_and_size() if process_group else (0, 1)
    _set_up_streams(rank, size, needs_reader)
    options = None
    try:
        options = parser.parse_intermixed_args()
        os.getcwd()                                    # raises where the folder was removed
        status = program(options) or 0
        sys.stdout.flush()
    except SystemExit as error:                        # the parser's
        if error.code and process_group:
            process_group.end(error.code, '')
        raise
    except BrokenPipeError:
        status = 0
    except KeyboardInterrupt as error:
        _end(parser, process_group, EXIT_INTERRUPTED, f'interrupted{error}')
    except Exception as error:
        message = _message(error, needs_less, options)
        if message is None:
            raise
        _end(parser, process_group, 2, _as_typed(message, parser) if isinstance(error, ValueError) else message)
    finally:
        raise_again()
        try:
            sys.stdout.flush()
        except OSError:                                # no reader, or a full disk: Python must not fail again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if status and process_group:
        process_group.end(status, '')
    sys.exit(status)


# ---------------------------------------------------------------- a class of one's own

def load_class(words, base):
    """Return the class that FILE:CLASS names, a subclass of base, which is CharLSTM; None stands for base.

    The file is imported, and so may be files beside it; its errors are raised. Raises ValueError for no such class.
    """
    if words is None:
        return base
    path, _, name = words.rpartition(':')
    if not (path.endswith('.py') and os.path.isfile(path)):
        raise ValueError(f'--cell is {words}: expected FILE:CLASS, of a file such as mine.py:Coupled')
    path, module_name = os.path.realpath(path), os.path.splitext(os.path.basename(path))[0]
    module = sys.modules.get(module_name)
    if getattr(module, '__file__', None) != path:          # otherwise it is charlstm.py, which has base itself
        spec = importlib.util.spec_from_file_location(module_name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(module_name, module)
        sys.path.append(os.path.dirname(path))
        spec.loader.exec_module(module)
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f'{path} has no class {name} that is a subclass of CharLSTM')
    return found
