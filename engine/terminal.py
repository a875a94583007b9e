"""What both scripts share: output streams, messages, the parser of options, and how a script ends."""
import argparse
import contextlib
import difflib
import errno
import math
import os
import re
import sys

from engine import commands, interrupts

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
    program = [os.path.join(commands.ROOT, *names) for names in (('engine', ''), ('train.py',), ('produce_text.py',))]
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
        return f'{commands.near(path)}, line {frame.lineno}', frame.line
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
        return f'{error}: {commands.find_packages()}' if error.name else str(error)
    if place:
        return f'{place}: {type(error).__name__}: {error}'
    return None


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
                group.add_argument(commands.spelled(row.name), default=default, help=text, **settings)

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
                near = [other for other in known if other.startswith(name)] or difflib.get_close_matches(name, known)
                if near:
                    self.error(f'unknown option {option}', f': did you mean --{near[0]}?')
                self.error(f'unknown option {option}')
        self.error(f'too many arguments: {" ".join(words)}')

    def error(self, message, advice='; --help lists the options'):
        self.exit(2, one_line(f'{self.prog}: {message}{advice}') + '\n')


def _as_typed(message, parser):
    """Return a message in which options are as they are typed: 'batch_size' where it stands alone, 'the option l1'."""
    def typed(word):
        option = commands.spelled(word.group().split()[-1])
        return option if option in parser._option_string_actions else word.group()

    return re.sub(r'the option [a-z]+|(?<![\w./\\-])[a-z]+_[a-z_0-9]+(?![\w./\\=-])', typed, message)


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
        _end(parser, process_group, interrupts.EXIT_INTERRUPTED, f'interrupted{error}')
    except Exception as error:
        message = _message(error, needs_less, options)
        if message is None:
            raise
        _end(parser, process_group, 2, _as_typed(message, parser) if isinstance(error, ValueError) else message)
    finally:
        interrupts.raise_again()
        try:
            sys.stdout.flush()
        except OSError:                                # no reader, or a full disk: Python must not fail again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if status and process_group:
        process_group.end(status, '')
    sys.exit(status)
