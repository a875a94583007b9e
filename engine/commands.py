"""Commands that are printed for the user to paste: they run from the current folder, with the current Python."""
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys

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
