"""Commands that a user is told to type: they run as they stand, from the folder and with the Python of now."""
import os
import shlex
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))         # where the scripts are
BIN = 'Scripts' if os.name == 'nt' else 'bin'
# Without these Open MPI's mpiexec refuses to run as root, before anything of ours runs.
AS_ROOT = ['OMPI_ALLOW_RUN_AS_ROOT=1', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1']


def _word(word):
    """A word as a shell reads it; by escapes where it has what no terminal shows."""
    if word.isprintable():
        return shlex.quote(word)
    return "$'{}'".format(''.join(f'\\x{byte:02x}' for byte in os.fsencode(word)))


def quoted(words):
    """Words as one command line of the shell of this system."""
    return subprocess.list2cmdline(words) if os.name == 'nt' else ' '.join(map(_word, words))


def spelled(name):
    """An option as it is typed."""
    return '--' + name.replace('_', '-')


def typed(given):
    """Options of train.py, by name, as the words of a command line; what has its place there comes first."""
    words = [given[name] for name in ('input', 'run') if name in given]
    for name, value in given.items():
        if name not in ('input', 'run'):
            words += [spelled(name)] + ([str(value)] if value is not True else [])
    return words


def near(path):
    """Return a path as seen from the current folder where it is below that, otherwise absolute; never like an option.

    From the root all paths stay absolute: they are read elsewhere, in the log of a service.
    """
    try:
        path, current = os.path.abspath(path), os.path.abspath(os.curdir)
    except FileNotFoundError:                          # the current folder was removed
        return path
    below = os.path.join(current, '')
    if path == current:
        return os.curdir
    if path.startswith(below) and current != os.path.dirname(current):
        path = path[len(below):]
    return os.path.join(os.curdir, path) if path.startswith('-') else path


def _program(path):
    """A program as it is typed: by its name alone where that finds it."""
    found = shutil.which(os.path.basename(path))
    if found and os.path.abspath(found) == os.path.abspath(path):
        return os.path.basename(path)
    path = near(path)
    return path if os.path.dirname(path) else os.path.join(os.curdir, path)


def _python():
    return _program(sys.executable or 'python')


def _python_with(*requirements):
    """The options of `uv run` for a Python that Theano runs on, with what files in this package's folder list."""
    return ['--python', '>=3.8,<3.12', *[word for name in requirements for word in (
        '--with-requirements', near(os.path.join(ROOT, name)))]]


def script(name, *arguments, processes=1):
    """The command that runs a script of this package, as the one at hand was started: by uv, or by this Python.

    processes: in how many.
    """
    by_uv = os.environ.get('UV')                       # its own path, which `uv run` hands down
    words = [near(os.path.join(ROOT, name)), *arguments]
    if processes == 1:
        return quoted([_program(by_uv), 'run', *words] if by_uv else [_python(), *words])
    mpiexec = ['--bind-to', 'none', '-n', str(processes)]
    as_root = AS_ROOT if hasattr(os, 'geteuid') and os.geteuid() == 0 else []
    if not by_uv:
        beside = os.path.join(os.path.dirname(sys.executable), 'mpiexec')          # where pip puts it
        return quoted([*as_root, _program(beside) if os.path.exists(beside) else 'mpiexec', *mpiexec, _python(),
                       *words])
    return quoted([*as_root, _program(by_uv), 'run', '--no-project',
                   *_python_with('requirements.txt', 'requirements-mpi.txt'), 'mpiexec', *mpiexec, 'python', *words])


def _at_hand():
    """The words after `uv run` for the script that runs now; train.py where that is none that can be named."""
    program = sys.argv[0] if sys.argv else ''
    if os.path.basename(program) in ('train.py', 'produce_text.py'):       # they say themselves what they need
        return [near(os.path.join(ROOT, os.path.basename(program))), *sys.argv[1:]]
    if program.endswith('.py') and os.path.isfile(program):
        return [*_python_with('requirements.txt'), near(program), *sys.argv[1:]]
    return [near(os.path.join(ROOT, 'train.py'))]


def with_uv(*options):
    """The command that runs the script at hand on a Python that Theano runs on, which uv finds or fetches.

    options: more for `uv run`.
    """
    run = quoted(['run', *options, *_at_hand()])
    if shutil.which('uv'):
        return f'uv {run}'
    if sys.prefix != sys.base_prefix:                  # in a virtual environment, which can take uv
        python = quoted([_python()])
        return f'{python} -m pip install uv && {python} -m uv {run}'
    pip, uv = [os.path.join('venv', BIN, name) for name in ('pip', 'uv')]
    return f'{quoted([_python()])} -m venv venv && {pip} install uv && {uv} {run}'


def install(requirements='requirements.txt'):
    """The command that installs what this package needs, or what a file in its folder lists, for the Python of now."""
    return quoted([_python(), '-m', 'pip', 'install', '-r', near(os.path.join(ROOT, requirements))])


def with_mpi(processes):
    """The command that installs what several processes need or, where uv runs this script, runs it in so many."""
    if not os.environ.get('UV'):
        return install('requirements-mpi.txt')
    return script('train.py', *sys.argv[1:], processes=processes)
