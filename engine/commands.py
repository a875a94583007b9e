"""Commands that a user is told to type: they run as they stand, from the folder and with the Python of now."""
import os
import shlex
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))         # where the scripts are
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
    wheel, mpi = [near(os.path.join(ROOT, 'engine', name)) for name in ('backend/theano_wheel', 'requirements-mpi.txt')]
    return quoted([*as_root, _program(by_uv), 'run', '--no-project', '--with', wheel, '--with', 'matplotlib,tqdm',
                   '--with-requirements', mpi, 'mpiexec', *mpiexec, 'python', *words])


def install(requirements='requirements.txt'):
    """Return the command that installs what this package needs, or what a file in its folder lists, for this Python.

    pip takes paths in such a file from the current folder.
    """
    pip = ['-m', 'pip', 'install', '-r', requirements]
    if near(ROOT) == os.curdir:
        return quoted([_python(), *pip])
    change = 'cd /d' if os.name == 'nt' else 'cd'
    return f'({change} {quoted([ROOT])} && {quoted([os.path.abspath(sys.executable), *pip])})'


def with_mpi(processes):
    """The command that installs what several processes need or, where uv runs this script, runs it in so many."""
    if not os.environ.get('UV'):
        return install('engine/requirements-mpi.txt')
    return script('train.py', *sys.argv[1:], processes=processes)
