"""The only importer of Theano: its settings, its import and what can fail there; every module takes `theano` and `tt`
from here.

`tt` is Theano's tensor module, so that T can mean steps everywhere.
"""
import configparser
import contextlib
import errno
import importlib.util
import io
import logging
import os
import re
import sys
import sysconfig
import threading
import traceback
import warnings

from engine import commands, interrupts
from engine.backend import cache
from engine.terminal import lacks_memory, warn

PYTHON = '{}.{}'.format(*sys.version_info)
if sys.version_info < (3, 8):
    raise ImportError(f'this is Python {PYTHON}, and CharLSTM runs on Python 3.8 and later: start it with one of these')
from engine.backend import gpu, patches            # which need a NumPy of a later Python

UNTRIED = (3, 14)          # the first Python on which this was not tried

_threads = os.environ.get('OMP_NUM_THREADS', '')
if _threads and not (_threads.isdecimal() and 1 <= int(_threads) <= 4096):         # what OpenMP ends the process for
    raise ValueError(f'OMP_NUM_THREADS is {_threads[:20]}: expected a whole number of threads, from 1 to 4096')

DEFAULTS = {
    'floatX': 'float32',     # what GPUs compute in, and twice as fast on CPUs
    'blas.ldflags': '',      # NumPy's own BLAS; Theano cannot find one beside NumPy 1.22 or later
    'base_compiledir': cache.OURS,
    'compiledir_format': f'compiledir_%(short_platform)s-%(processor)s-{patches.compiled_for()}',
    'compile.timeout': '30',  # seconds until the lock of a process is broken that was killed on another machine
    'allow_gc': 'False',     # keep intermediate arrays between calls: fresh ones cost page faults
}
COMPILER_ADVICE = 'Debian, Ubuntu: apt install g++; macOS: xcode-select --install; conda: conda install gxx'
# Not the compiler's fault.
FULL = ('No space left on device', 'Disk quota exceeded', 'Read-only file system', 'File too large',
        "you don't have read, write or listing permissions")
NO_DAMAGE = (errno.EPERM, errno.EACCES, errno.EMFILE, errno.ENFILE)        # why a good file is not loaded
HEADER = os.path.join(sysconfig.get_path('include'), 'Python.h')         # what C code for this Python begins with

# Idle threads sleep, after some microseconds in which the next piece of work may come: by default they go on
# looking for it for a while, and where another program is busy on the same cores they take the time of the very
# thread that they wait for, which makes a step ten times as long.
if 'OMP_WAIT_POLICY' not in os.environ:
    os.environ['OMP_WAIT_POLICY'] = 'PASSIVE'
    os.environ.setdefault('GOMP_SPINCOUNT', '1000')


_COMPILING = threading.RLock()         # so that one thread at a time redirects what Theano prints


class CompilerError(OSError):
    """A C++ compiler that does not compile what it should."""


def _ours():
    """DEFAULTS without the options that THEANO_FLAGS or a .theanorc sets: what the user set wins."""
    return {name: value for name, value in DEFAULTS.items() if cache.setting(name) is None}


def _separate():
    """Return the compiledir that the user set, if any, as a flag with a folder in it for this Python and NumPy.

    In one folder Theano tells compiled code apart by NumPy's ABI, but neither by Python nor by these patches.
    """
    folder = cache.setting('compiledir')
    if not folder:
        return []
    own = os.path.join(folder, patches.compiled_for()).replace('\\', r'\\').replace('"', r'\"')
    return [f'compiledir="{own}"']                 # as Theano reads it, with a comma in it too


@contextlib.contextmanager
def _flags(ours):
    """THEANO_FLAGS with these options before the user's own."""
    before = os.environ.get('THEANO_FLAGS')
    flags = [f'{name}={value}' for name, value in ours.items()]
    os.environ['THEANO_FLAGS'] = ','.join(flags + [before] * bool(before) + _separate())
    try:
        yield
    finally:
        if before is None:
            del os.environ['THEANO_FLAGS']
        else:
            os.environ['THEANO_FLAGS'] = before


def _silence():
    # No compiler, an odd one, NumPy's BLAS: we say it better.
    for name in ('theano.configdefaults', 'theano.tensor.blas', 'theano.gof.cmodule'):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings('ignore', module=r'theano\.|engine\.patches$')        # what only Theano could change


def _loading(load):
    """Theano's function that loads a compiled module, which then also keeps its checksum."""
    def loading(path, *arguments):
        module = load(path, *arguments)
        cache.remember(path)
        return module
    return loading


def _forget_failed_import():
    """Drop what is left of an `import theano` of the user's that failed, as it does beside NumPy 1.22 or later."""
    if 'theano' not in sys.modules:
        for name in [name for name in sys.modules if name.startswith('theano.')]:
            del sys.modules[name]


def _files(error):
    """The names of the files whose code an error went through."""
    return {os.path.basename(frame.filename) for frame in traceback.extract_tb(error.__traceback__)}


def _contradiction(error):
    """The error to raise where Theano's list of what it compiled contradicts itself, which it asserts; None otherwise.

    In compile_str it asserts that the compiler has made a file.
    """
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if not isinstance(error, AssertionError) or frame.name == 'compile_str':
        return None
    return OSError(f"Theano's list of the compiled code in {cache.folder()} contradicts itself ({frame.line}): start "
                   'again; where that does not help, remove that folder, and all is compiled again')


def _full(error):
    """The error to raise where compiled code cannot be written."""
    why = next((why for why in FULL if why in str(error)), ' '.join(str(error).split())[:200])
    return OSError(f'cannot keep compiled code in {cache.folder()}: {why}; make room, or name another folder: '
                   'THEANO_FLAGS=base_compiledir=FOLDER')


def _where_set(error):
    """Return where the user set what Theano's reader of settings does not understand, which raised this error."""
    rc = os.environ.get('THEANORC', '~/.theanorc')
    if 'shlex.py' in _files(error):
        return 'THEANO_FLAGS'
    return rc if isinstance(error, (configparser.Error, UnicodeDecodeError)) else f'THEANO_FLAGS or {rc}'


def _unknown_flags(theano):
    """Return those of THEANO_FLAGS that Theano does not know, which it ignores."""
    without_value = [flag for flag in cache.flags() if flag.strip() and '=' not in flag]
    return without_value + list(theano.configparser.THEANO_FLAGS_DICT)     # of which it has removed all that it knows


def _why_not(error):
    """The error to raise where `import theano` raised this one."""
    why = ' '.join(str(error).split())[:200] or type(error).__name__
    if lacks_memory(error):
        return MemoryError(f'to import Theano ({why})')
    if 'Unable to create the compiledir' in why or any(words in str(error) for words in FULL):
        return _full(error)
    if isinstance(error, (ValueError, configparser.Error)) and _files(error) & {'configparser.py', 'configdefaults.py'}:
        return ValueError(f'{_where_set(error)} cannot be used as settings of Theano: {why}')
    if _files(error) & {'lazylinker_c.py', 'cmodule.py', 'vm.py'}:
        return _contradiction(error) or CompilerError(
            f'the C++ compiler does not work ({why}); {COMPILER_ADVICE}; or go without one, many times slower: '
            'THEANO_FLAGS=cxx=')
    # beside a NumPy or SciPy that it does not know it raises all kinds
    return ImportError(f'Theano 1.0.5 cannot be imported ({why}): run {commands.install()}')


def _check_device(theano, said):
    """Raise ValueError where a device was asked for and cannot be had; said: what Theano printed about it.

    Theano goes on without it, on the CPU.
    """
    asked = {name: getattr(theano.config, name) for name in ('device', 'init_gpu_device', 'contexts')}
    asked = {name: value for name, value in asked.items() if value not in ('', 'cpu')}
    if asked and not getattr(sys.modules.get('theano.gpuarray'), 'pygpu_activated', False):
        name, value = next(iter(asked.items()))
        why = [line.strip() for line in said.splitlines() if line.strip() and line != 'NoneType: None']
        if importlib.util.find_spec('pygpu') is None:
            why = ['pygpu is not installed']
        raise ValueError(f'THEANO_FLAGS or .theanorc asks for {name}={value}, which cannot be had '
                         f'({why[-1][:200] if why else "Theano does not say why"}): set THEANO_FLAGS={name}='
                         f'{"cpu" if name == "device" else ""}')


@contextlib.contextmanager
def _without_mpi():
    """Theano imports mpi4py where that is installed, which begins MPI: slow, and not for a process by itself."""
    if 'mpi4py' in sys.modules:
        yield
        return
    sys.modules['mpi4py'] = None
    try:
        yield
    finally:
        del sys.modules['mpi4py']


def _import_theano():
    if sys.version_info >= UNTRIED:
        warn(f'this is Python {PYTHON}: nobody has tried CharLSTM on it yet, and it goes on')
    ours, imported = _ours(), 'theano' in sys.modules
    headless = not os.path.exists(HEADER)
    if headless:
        ours['cxx'] = ''
    _silence()
    _forget_failed_import()
    patches.refuse_unpatched()
    patches.before_import()
    removed = cache.remove_damaged()
    if removed:
        warn(removed)
    try:
        with warnings.catch_warnings(), _flags(ours), contextlib.redirect_stderr(io.StringIO()) as said, \
                contextlib.redirect_stdout(io.StringIO()), _without_mpi(), interrupts.held():
            warnings.simplefilter('ignore')
            import theano
            import theano.tensor
    except Exception as error:
        raise _why_not(error) from None
    unknown = [] if imported else _unknown_flags(theano)
    if unknown:
        warn(f'THEANO_FLAGS has {", ".join(unknown)}: Theano does not know that, and ignores it')
    _check_device(theano, said.getvalue())
    patches.after_import(theano)
    if theano.config.device != 'cpu':
        gpu.patch(theano)
    theano.gof.cmodule.dlimport = _loading(theano.gof.cmodule.dlimport)
    cache.remember_loaded()
    if imported and 'floatX' in ours and theano.config.floatX == 'float64':
        warn('theano was imported before charlstm and computes in float64; float32 is twice as fast: import charlstm '
             "first, or set theano.config.floatX = 'float32'")
    if not theano.config.cxx and headless:
        warn(f'{HEADER} is missing, so nothing can be compiled and everything runs many times slower; Debian, Ubuntu: '
             f'apt install python{PYTHON}-dev; Fedora: dnf install python3-devel; conda and uv bring Pythons '
             'that have it')
    elif not theano.config.cxx:
        warn(f'no C++ compiler found, so everything runs many times slower; install g++ ({COMPILER_ADVICE})')
    return theano


theano = _import_theano()
tt = theano.tensor


def kernel_runs():
    """Whether the kernel can be tried: on a CPU, with a compiler, in a type it has."""
    return bool(theano.config.cxx) and theano.config.device == 'cpu' and theano.config.floatX in ('float32', 'float64')


def device():
    """Return Theano's device, with its own name where it is not the CPU."""
    if theano.config.device == 'cpu':
        return 'cpu'
    return f'{theano.config.device} ({theano.gpuarray.type.get_context(None).devname.strip()})'


def computes_on(in_c):
    """Return what the network is computed on, for a person. in_c: whether by the C kernel."""
    if theano.config.device != 'cpu':
        return f'{device()}, by theano.scan, in {theano.config.floatX}'
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    threads = int(os.environ.get('OMP_NUM_THREADS') or cores)
    by = 'by the C kernel' if in_c else 'by theano.scan, many times slower than the C kernel'
    return f'the CPU, {threads} thread{"s" * (threads > 1)}, {by}, in {theano.config.floatX}'


def _failed(error):
    """The error to raise where a function could not be compiled, or None where this one says it: Theano's are of no
    class of their own."""
    said = ' '.join(str(error).split())
    if lacks_memory(error):
        return MemoryError(f'to compile and load ({said[:200]})')
    if isinstance(error, ImportError) and (error.path or '').startswith(theano.config.compiledir):
        if any(os.strerror(number) in said for number in NO_DAMAGE):
            return OSError(f'compiled code cannot be loaded ({said[:200]}); name another folder for it: '
                           'THEANO_FLAGS=base_compiledir=FOLDER')
        return OSError(f'{cache.discard(error.path)} ({said[:200]})')
    failed = re.search('Compilation failed.*', said)
    if failed and not any(why in said for why in FULL):
        return CompilerError(f'the C++ compiler failed ({failed.group()[:200]})')
    if isinstance(error, OSError) and error.filename == theano.config.cxx:
        return CompilerError(f'the C++ compiler {error.filename} cannot be run ({error.strerror})')
    if isinstance(error, AssertionError) and 'cmodule.py' in _files(error):
        return _contradiction(error) or CompilerError(f'the C++ compiler {theano.config.cxx} compiles nothing')
    return _full(error) if failed or isinstance(error, OSError) else None


@contextlib.contextmanager
def compiling():
    """A compiler that fails inside is a CompilerError of one line, and what Theano prints of it is dropped."""
    try:
        with _COMPILING, contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    except CompilerError:            # of a function that is compiled inside of another
        raise
    except Exception as error:
        lock = theano.gof.compilelock
        if getattr(lock.get_lock, 'n_lock', 0):    # kept after a failure, so that others would wait
            lock.release_lock()
        failed = _failed(error)
        if failed is None:
            raise
        raise failed from error
