"""Functions that the scripts share: messages, printed commands, progress, signals, options, and exit."""
import argparse
import contextlib
import difflib
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
import traceback

from engine import VERSION

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))             # the folder of the scripts
BUNDLED = os.path.join(ROOT, 'training_results', 'prideandprejudice.npz')      # a checkpoint
PROGRAM = '__main__', 'train', 'produce_text', 'charlstm', 'engine', 'text_input'          # the program's modules
EXIT_INTERRUPTED = 130                 # exit status after Ctrl-C
QUIET = 30                             # seconds between lines of progress without a terminal
# Environment variables of each launcher: the rank of a process, and the number of processes.
LAUNCHERS = (('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'), ('PMI_RANK', 'PMI_SIZE'),
             ('PMIX_RANK', 'SLURM_STEP_NUM_TASKS'))
# argparse's arguments for the kinds of options that are types.
KINDS = {bool: dict(action='store_true'), int: dict(type=int, metavar='N'), float: dict(type=float, metavar='X')}


# ---------------------------------------------------------------- messages

def printable(text):
    """Return a text with its unprintable characters, such as line ends and control characters, escaped."""
    return ''.join(ch if ch.isprintable() else ascii(ch)[1:-1] for ch in text)


def bits(nats):
    return nats / math.log(2)


def nats_and_bits(cost):
    """Return a cost per character in nats as text, in both units."""
    return f'{cost:.4f} nats ({bits(cost):.4f} bits)'


def layers_of_units(units):
    """Return words such as '2 layers of 5 and 7 units'."""
    *others, last = map(str, units)
    return f'{number_of(len(units), "layer")} of {" and ".join(filter(None, [", ".join(others), last]))} units'


def number_of(n, noun):
    """Return a number of things as text, such as '2 epochs'. noun: singular."""
    plural = 'es' if noun.endswith('tch') else 's'
    return f'{n:,} {noun}{"" if n == 1 else plural}'


def note(line):
    """Print a line to standard error, after flushing standard output to keep their order."""
    sys.stdout.flush()
    print(line, file=sys.stderr, flush=True)


def warn(line):
    note(f'charlstm: {line}')


warn_once = functools.cache(warn)      # such as for a file that is looked at twice


# ---------------------------------------------------------------- printed commands, which run as pasted

def spelled(name):
    """Return an option as it is typed: --batch-size for batch_size."""
    return '--' + name.replace('_', '-')


def words_of(options):
    """Return a dict of train.py's options as words of a command line, positional ones first, without None and False."""
    options = {name: value for name, value in options.items() if value is not None and value is not False}
    words = [options.pop(name) for name in ('input', 'run') if name in options]
    for name, value in options.items():
        values = [] if value is True else value if isinstance(value, list) else [value]
        words += [spelled(name), *map(str, values)]
    return words


def near(path):
    """Return a path relative to the current folder if it is inside it, otherwise absolute."""
    return os.path.abspath(path).removeprefix(os.path.join(os.getcwd(), ''))


def script(name, *arguments, processes=1):
    """Return the command that runs a script of this program from the current folder, in one or several processes."""
    python = os.path.basename(sys.executable)
    if shutil.which(python) != sys.executable:
        python = near(sys.executable)
    runner = ['uv', 'run'] if 'UV' in os.environ else [python]         # set by `uv run`
    if processes > 1:
        runner = ['mpiexec', '--bind-to', 'none', '-n', str(processes), python, '-m', 'mpi4py']
    join = subprocess.list2cmdline if os.name == 'nt' else shlex.join          # Windows' shells have other quotes
    return join([*runner, near(os.path.join(ROOT, name)), *arguments])


# ---------------------------------------------------------------- progress

class _Lines(contextlib.ExitStack):        # a context manager with a close()
    """Progress without a terminal: a line every QUIET seconds. bar() describes the methods."""

    def __init__(self, total, description, unit):
        super().__init__()
        self.n, self.total, self.desc, self.unit, self.last_line = 0, total, description, unit, time.time()

    def update(self, n):
        self.n += n
        if time.time() - self.last_line > QUIET:
            note(f'{self.desc}: {self.n:,} of {self.total:,} {self.unit}')
            self.last_line = time.time()

    def write(self, line):
        print(line, flush=True)
        self.last_line = time.time()


def bar(total, description, unit):
    """Return a context manager that shows progress: tqdm's bar on a terminal or in a notebook, otherwise lines.

    update(n) counts n more units, desc is the text before the bar, write(line) prints a line above the bar to standard
    output, and close() removes the bar.
    """
    in_notebook = type(sys.stdout).__module__.startswith('ipykernel')
    on_terminal = sys.stderr.isatty() and rank_and_size() == (0, 1)    # what mpiexec forwards may look like a terminal
    if not (on_terminal or in_notebook):
        return _Lines(total, description, unit)
    from tqdm import tqdm              # late: it is slow to import. Text, since not every notebook shows widgets

    class Bar(tqdm):
        def write(self, line):
            self.clear()
            print(line, flush=True)

    shown = Bar(total=total, desc=printable(description), leave=False, delay=1, miniters=0, smoothing=0,
                bar_format='{desc}: {percentage:3.0f}%|{bar}| {remaining} left',
                file=sys.stdout if in_notebook else sys.stderr)        # in a notebook, prints then replace the bar
    if on_terminal:                        # otherwise tqdm shows nothing if the terminal reports 0 columns or lines
        shown.nrows, shown.dynamic_ncols = 24, lambda file: (shutil.get_terminal_size().columns - 1, 24)
    return shown


# ---------------------------------------------------------------- interrupts

@contextlib.contextmanager
def ctrl_c_delayed():
    """Delay the KeyboardInterrupt of Ctrl-C to the end of the block, so that the block is completed."""
    in_main = threading.current_thread() is threading.main_thread()        # others neither get nor may set signals
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
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


@contextlib.contextmanager
def stopped_by_signals(group):
    """Stop a process group after the current step when a signal arrives, and at once when a second one does.

    The signals are SIGINT of Ctrl-C, SIGTERM, SIGUSR1, which mpiexec passes on to all processes, and SIGHUP of a closed
    terminal. Ignored signals stay ignored, such as SIGHUP under nohup.
    """
    def request(number, frame):
        if number == getattr(signal, 'SIGHUP', None):      # may arrive twice: from the shell and the system
            sys.stdout = sys.stderr = open(os.devnull, 'w', encoding='utf-8')
        elif group.stop_requested:
            raise KeyboardInterrupt
        group.stop_requested = True

    numbers = {getattr(signal, name, signal.SIGINT) for name in ('SIGINT', 'SIGTERM', 'SIGUSR1', 'SIGHUP')}
    handlers = {number: signal.signal(number, request) for number in numbers
                if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


# ---------------------------------------------------------------- options

class Parser(argparse.ArgumentParser):
    """A parser that accepts no abbreviated options, and prints an error as one line, without the usage."""

    def __init__(self, **settings):
        super().__init__(allow_abbrev=False, **settings)
        self.add_argument('--version', action='version', version=f'CharLSTM {VERSION}')

    def add_options(self, table, first):
        """Add the options in a table: lists of Option (engine/run/table.py) by the title of their group.

        first: the names of those that most people need, which --help shows first.
        """
        rows = {row.name: row for group in table.values() for row in group}
        groups = {'most used': [rows[name] for name in first], **{
            title: [row for row in group if row.name not in first] for title, group in table.items()}}
        for title, rows in groups.items():
            group = self.add_argument_group(title)
            for row in rows:
                has_default = row.default not in (None, '') and row.kind is not bool
                text = f'{row.help} (default: {row.default})' if has_default else row.help
                group.add_argument(spelled(row.name), default=self.argument_default or row.default, help=text,
                                   **_settings(row.kind))

    def error(self, message):
        near = [option for word in re.findall(r'(?<=unrecognized arguments: )--[^ =]+', message)
                for option in difflib.get_close_matches(word, self._option_string_actions, 1)]
        self.exit(2, f'{self.prog}: {message}; {f"did you mean {near[0]}?" if near else "--help lists the options"}\n')


def _settings(kind):
    """Return argparse's arguments for the kind of an Option."""
    if isinstance(kind, tuple):
        return dict(choices=kind)
    if isinstance(kind, str):
        return dict(metavar=kind)
    return kind if isinstance(kind, dict) else KINDS[kind]


# ---------------------------------------------------------------- running a script

def rank_and_size():
    """Return the rank of this process and the number of processes (None: unknown), as set by the launcher."""
    for rank, size in LAUNCHERS:
        if os.environ.get(rank, '').isdecimal():
            return int(os.environ[rank]), int(os.environ[size]) if size in os.environ else None
    return 0, 1


def _set_up_streams(rank):
    """Make standard output and error accept any character, and hide closed ones and those of all processes but one."""
    for name in 'stdout', 'stderr':
        if rank or getattr(sys, name) is None:             # a shell closed it, as by >&-
            setattr(sys, name, open(os.devnull, 'w', encoding='utf-8'))
        elif hasattr(getattr(sys, name), 'reconfigure'):
            getattr(sys, name).reconfigure(errors='backslashreplace')


def _message(error):
    """Return one line for an error that the user can correct; None for any other, which shows its traceback."""
    text = str(error)
    if isinstance(error, MemoryError) or re.search('(?i)out of memory', text):       # also a GPU's
        return f'not enough memory: {text.partition(chr(10))[0]}'
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or '').split('.')[0]
        if package in ('theano', 'numpy', 'scipy'):
            return f'{text}: is the virtual environment active? If it is: pip install -r requirements.txt'
        return f'{text}: pip install {package}'
    if isinstance(error, ValueError):                      # only if this program raised it, not a library
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        return text if frame.f_globals.get('__name__', '').split('.')[0] in PROGRAM else None
    return text if isinstance(error, (OSError, ImportError)) else None


def main(parser, program):
    """Run program(options) as a script, and exit with the status that it returns (None: 0).

    The status is 2 after an error that the user can correct, printed as one line, and 0 if the output pipe is closed.
    """
    rank, _ = rank_and_size()
    _set_up_streams(rank)
    message = ''
    try:
        options = parser.parse_intermixed_args()
        status = program(options) or 0
        status = 0 if rank else status         # otherwise mpiexec ends the first process, which may still write
        sys.stdout.flush()
    except BrokenPipeError:
        status = 0
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())         # at exit, Python flushes what is left
    except KeyboardInterrupt as error:
        status, message = EXIT_INTERRUPTED, f'interrupted{error}'
    except Exception as error:
        status, message = 2, _message(error)
        if message is None:
            raise
    finally:
        if rank:                               # meanwhile, the first process prints why and ends, which ends this one
            time.sleep(1)
            sys.stderr = sys.__stderr__
    parser.exit(status, message and f'{parser.prog}: {message}\n')


def load_class(words, base):
    """Return the class that FILE:CLASS names: base (CharLSTM), a subclass, or that of an edited copy of charlstm.py.

    words: FILE:CLASS, or None for base. Raise ValueError if there is no such class.
    """
    if words is None:
        return base
    path, _, name = words.rpartition(':')
    if not (path.endswith('.py') and os.path.isfile(path)):
        raise ValueError(f'{words} is not a class: expected FILE:CLASS, such as mine.py:Coupled, of an existing file')
    unique = re.sub(r'\W', '_', os.path.abspath(path))     # the file's own name may be taken, as by json.py
    if os.path.samefile(path, sys.modules[base.__module__].__file__):
        unique = base.__module__
    if unique not in sys.modules:
        sys.path.append(os.path.dirname(os.path.abspath(path)))        # for what the file imports from its folder
        spec = importlib.util.spec_from_file_location(unique, path)
        sys.modules[unique] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[unique])
        except SyntaxError as error:
            raise ValueError(f'{error.filename or path}, line {error.lineno}: {error.msg}') from None
    found = getattr(sys.modules[unique], name, None)
    if base.__name__ not in [cls.__name__ for cls in getattr(found, '__mro__', ())]:       # a copy has its own base
        raise ValueError(f'{path} has no class {name} that is a subclass of {base.__name__}')
    return found
