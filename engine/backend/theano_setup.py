"""Import Theano with this project's settings. No other module imports it: they take `theano` and `tt` from here.

Read this file from top to bottom: settings, the folder of compiled code, the import, what Theano computes on, and how
its compiler fails. `tt` is Theano's tensor module, so that T can mean steps everywhere.
"""
import configparser
import contextlib
import errno
import importlib.machinery
import importlib.util
import io
import logging
import os
import re
import shlex
import shutil
import struct
import sys
import sysconfig
import threading
import traceback
import warnings

from engine.terminal import ctrl_c_delayed, lacks_memory, warn

PYTHON = '{}.{}'.format(*sys.version_info)
if sys.version_info < (3, 8):
    raise ImportError(f'this is Python {PYTHON}, and CharLSTM runs on Python 3.8 and later: start it with one of these')
if sysconfig.get_config_var('Py_GIL_DISABLED'):
    raise ImportError(f'this is Python {PYTHON} without the global interpreter lock, on which nobody has tried Theano: '
                      'start CharLSTM with a Python that has it')
if sys.flags.optimize > 1:
    raise ImportError('Python was started with -OO or PYTHONOPTIMIZE=2, and Theano cannot be imported without its '
                      'docstrings: leave that out')
# Late: they import NumPy, which may be missing on an older Python.
from engine.backend import compiler, modules, patches  # noqa: E402
from engine.backend.modules import CompilerError  # noqa: E402

UNTESTED = (3, 15)                                                       # and later Pythons
HEADER = os.path.join(sysconfig.get_path('include'), 'Python.h')         # all C code for this Python includes it
COMPILER_ADVICE = 'Debian, Ubuntu: apt install g++; macOS: xcode-select --install; conda: conda install gxx'


# ---------------------------------------------------------------- settings

DEFAULT_FOLDER = '~/.theano/charlstm'
DEFAULTS = {                 # of Theano's options; what the user sets takes precedence
    'floatX': 'float32',     # what GPUs compute in, and twice as fast on CPUs
    'blas.ldflags': '',      # NumPy's own BLAS; with NumPy 1.22 or later Theano finds no other
    'base_compiledir': DEFAULT_FOLDER,
    'compile.wait': '1',     # seconds, and up to 2, from look to look at a lock that another process has in its import
    'compile.timeout': '30',  # seconds until it breaks the lock of a process that was killed on another machine
    'allow_gc': 'False',     # keep intermediate arrays between calls: new ones cost page faults
}

_threads = os.environ.get('OMP_NUM_THREADS', '')
if _threads and not (_threads.isdecimal() and 1 <= int(_threads) <= 4096):         # OpenMP would end the process
    raise ValueError(f'OMP_NUM_THREADS is {_threads[:20]}: expected a whole number of threads, from 1 to 4096')

# Idle threads wait some microseconds for new work, and then sleep. By default they wait actively for much longer. Where
# another program is busy on the same cores, they then take time from the thread that they wait for, and a step takes
# ten times as long.
if 'OMP_WAIT_POLICY' not in os.environ:
    os.environ['OMP_WAIT_POLICY'] = 'PASSIVE'
    os.environ.setdefault('GOMP_SPINCOUNT', '1000')


def flags():
    """Return the items of THEANO_FLAGS, split at commas that are not in quotes, as Theano does."""
    text = os.environ.get('THEANO_FLAGS', '')
    words = shlex.shlex(text, posix=True)
    words.whitespace, words.whitespace_split, words.commenters = ',', True, ''
    try:
        return list(words)
    except ValueError:                             # the import of Theano reports this
        return text.split(',')


def setting(name):
    """Return the value that THEANO_FLAGS or a .theanorc gives to an option of Theano, or None."""
    pairs = [flag.strip().split('=', 1) for flag in flags() if '=' in flag]
    rc = configparser.RawConfigParser(strict=False)
    with contextlib.suppress(configparser.Error, UnicodeDecodeError):
        rc.read([os.path.expanduser(path) for path in os.environ.get('THEANORC', '~/.theanorc').split(os.pathsep)])
    section, option = name.split('.') if '.' in name else ('global', name)
    return dict(pairs).get(name, rc.get(section, option, fallback=None))


def _compiler():
    """Return what is known of the compiler that Theano is going to use."""
    cxx = setting('cxx')
    return compiler.of(compiler.DEFAULT if cxx is None else cxx)


def _compiled_for():
    """Return the name of a folder: no code is mixed that was compiled for another Python, or by another compiler."""
    clang = _compiler().clang
    return f'{patches.compiled_for()}-clang{clang}' if clang else patches.compiled_for()


def _quoted(name, value):
    """Return an item of THEANO_FLAGS, in quotes, as its value may have a comma."""
    value = value.replace('\\', r'\\').replace('"', r'\"')
    return f'{name}="{value}"'


def _all_flags():
    """Return the THEANO_FLAGS for the import: DEFAULTS and then the user's own.

    A compiledir of the user's gets a subfolder for this Python and NumPy: there Theano distinguishes compiled code by
    NumPy's ABI, but neither by Python nor by patches.
    """
    defaults = dict(DEFAULTS, compiledir_format=f'compiledir_%(short_platform)s-%(processor)s-{_compiled_for()}')
    result = [f'{name}={value}' for name, value in defaults.items() if setting(name) is None]
    if not os.path.exists(HEADER):
        result.append('cxx=')
    if os.environ.get('THEANO_FLAGS'):
        result.append(os.environ['THEANO_FLAGS'])
    if _compiler().clang:
        result.append(_quoted('gcc.cxxflags', f'{setting("gcc.cxxflags") or ""} {compiler.ACCEPTED}'))
    folder = setting('compiledir')
    if folder:
        result.append(_quoted('compiledir', os.path.join(folder, _compiled_for())))
    return ','.join(result)


# ---------------------------------------------------------------- compiled code
#
# A module in DEFAULT_FOLDER that does not load, as one that a power cut left empty, is removed and compiled again. In a
# folder that the user set nothing is removed.

USERS_FOLDER = setting('compiledir') or setting('base_compiledir')
FOLDER = os.path.expanduser(USERS_FOLDER or DEFAULT_FOLDER)
NOT_LOADED = [os.strerror(number) for number in (errno.EPERM, errno.EACCES, errno.EMFILE, errno.ENFILE)]


def _is_good(error):
    """Return whether an ImportError is not of the compiled file itself, which the system only did not load."""
    return lacks_memory(error) or any(words in str(error) for words in NOT_LOADED)


def _remove(path):
    """Remove a module that does not load. Return whether it was in DEFAULT_FOLDER; others stay."""
    inside = not USERS_FOLDER and os.path.realpath(path).startswith(os.path.join(os.path.realpath(FOLDER), ''))
    if inside:
        shutil.rmtree(os.path.dirname(path), ignore_errors=True)
    return inside


def _is_cut_off(path):
    """Return whether a file of 64-bit ELF ends before its section headers, which are its last part."""
    with open(path, 'rb') as f:
        header = f.read(64)
    if len(header) < 64 or header[:5] != b'\x7fELF\2':
        return False
    start, = struct.unpack_from('=Q', header, 40)
    size, number = struct.unpack_from('=HH', header, 58)
    return start + size * number > os.path.getsize(path)


class _CutOff:
    """An import hook that raises ImportError for a module of Theano's that is cut off: loading it would end Python."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if re.match(r'(cutils_ext|lazylinker_ext|scan_perform|tmp\w+)\.', name):
            spec = importlib.machinery.PathFinder.find_spec(name, path, target)
            if spec and spec.has_location and _is_cut_off(spec.origin):
                raise ImportError(f'{spec.origin} is cut off', path=spec.origin)


def _compile_damaged(theano):
    """Let Theano compile a module again that does not load."""
    cache = theano.gof.cmodule.ModuleCache
    module_from_key = cache.module_from_key

    def again(self, *arguments, **settings):
        try:
            return module_from_key(self, *arguments, **settings)
        except ImportError as error:
            if _is_good(error) or not _remove(error.path or ''):
                raise
        self.refresh(cleanup=False)                        # forgets what is gone
        return module_from_key(self, *arguments, **settings)

    cache.module_from_key = again


# ---------------------------------------------------------------- the import

FULL = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT)]
NOT_WRITTEN = [*modules.NOT_WRITTEN, "you don't have read, write or listing permissions"]


def _files(error):
    """Return the names of the files whose code raised an error, or called the code that did."""
    return {os.path.basename(frame.filename) for frame in traceback.extract_tb(error.__traceback__)}


def _write_error(why):
    """Return the error to raise where compiled code cannot be written."""
    why = next((words for words in NOT_WRITTEN if words in why), why[:200])
    room = 'make room, or ' if why in FULL else ''
    return OSError(f'cannot keep compiled code in {FOLDER}: {why}; {room}name another folder: '
                   'THEANO_FLAGS=base_compiledir=FOLDER')


def _assertion_error(error):
    """Return the error to raise where an assertion of Theano about its compiled code has failed."""
    line = traceback.extract_tb(error.__traceback__)[-1].line
    return OSError(f'the compiled code in {FOLDER} is not as Theano expects it ({line}): start again; if '
                   'that does not help, check that the C++ compiler works, and remove that folder')


def _compiler_error(why):
    """Return the error to raise where the C++ compiler does not work."""
    return CompilerError(f'the C++ compiler does not work ({why[:200]}); {COMPILER_ADVICE}; or continue without one, '
                         'many times slower: THEANO_FLAGS=cxx=')


def _import_error(error):
    """Return the error to raise where `import theano` raised this one."""
    why = ' '.join(str(error).split()) or type(error).__name__
    files = _files(error)
    if lacks_memory(error):
        return MemoryError(f'to import Theano ({why[:200]})')
    if 'Unable to create the compiledir' in why or any(words in why for words in NOT_WRITTEN):
        return _write_error(why)
    if isinstance(error, (ValueError, configparser.Error)) and files & {'configparser.py', 'configdefaults.py'}:
        rc = os.environ.get('THEANORC', '~/.theanorc')
        return ValueError(f'THEANO_FLAGS or {rc} cannot be used as settings of Theano: {why[:200]}')
    if files & {'lazylinker_c.py', 'cmodule.py', 'vm.py'}:
        return _assertion_error(error) if isinstance(error, AssertionError) else _compiler_error(why)
    # With a NumPy or SciPy that it does not know, Theano raises errors of all kinds.
    return ImportError(f'Theano 1.0.5 cannot be imported ({why[:200]}): pip install -r requirements.txt')


def _load_error(error, path):
    """Return the error to raise for an ImportError of a module that was compiled."""
    why = ' '.join(str(error).split())[:200]
    if lacks_memory(error):
        return MemoryError(f'to load compiled code ({why})')
    if _is_good(error):
        return OSError(f'compiled code cannot be loaded ({why}); name another folder for it: '
                       'THEANO_FLAGS=base_compiledir=FOLDER')
    if _remove(path):
        return OSError(f'compiled code in {path} was damaged and has been removed: start again ({why})')
    return OSError(f'compiled code in {path} is damaged: remove {os.path.dirname(path)}, and start again ({why})')


def _silence():
    """Hide warnings about compilers and BLAS, as this project has its own, and those that only Theano could avoid."""
    for name in ('theano.configdefaults', 'theano.tensor.blas', 'theano.gof.cmodule'):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings('ignore', module=r'theano\.|engine\.backend\.patches$')


def _forget_failed_import():
    """Drop what is left of an earlier `import theano` that failed, as it does with NumPy 1.22 or later."""
    if 'theano' not in sys.modules:
        for name in [name for name in sys.modules if name.startswith('theano.')]:
            del sys.modules[name]


@contextlib.contextmanager
def _temporarily(mapping, name, value):
    """Give a name in a mapping another value. Afterwards restore its old value, or remove the name."""
    before = {name: mapping[name]} if name in mapping else {}
    mapping[name] = value
    try:
        yield
    finally:
        del mapping[name]
        mapping.update(before)


def _import_quietly():
    """Return Theano and what it printed while it was imported.

    Theano would import mpi4py, which starts MPI: that is slow, and may fail for a single process.
    """
    printed = io.StringIO()
    try:
        with warnings.catch_warnings(), ctrl_c_delayed(), \
                contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(printed), \
                _temporarily(os.environ, 'THEANO_FLAGS', _all_flags()), \
                _temporarily(sys.modules, 'mpi4py', sys.modules.get('mpi4py')):
            warnings.simplefilter('ignore')
            import theano
            import theano.tensor
    except Exception as error:
        raise _import_error(error) from None
    return theano, printed.getvalue()


def _warn_of_unknown_flags(theano):
    """Warn of THEANO_FLAGS that Theano ignores."""
    unknown = [flag for flag in flags() if flag.strip() and '=' not in flag]
    unknown += theano.configparser.THEANO_FLAGS_DICT           # Theano has removed the options that it knows
    if unknown:
        warn(f'THEANO_FLAGS has {", ".join(unknown)}: Theano does not know that, and ignores it')


def _check_device(theano, printed):
    """Raise ValueError where the user set a device that cannot be used: Theano would continue on the CPU.

    printed: what Theano printed about it.
    """
    activated = getattr(sys.modules.get('theano.gpuarray'), 'pygpu_activated', False)
    for name in ('device', 'init_gpu_device', 'contexts'):
        value = getattr(theano.config, name)
        if value not in ('', 'cpu') and not activated:
            lines = [line.strip() for line in printed.splitlines() if line.strip() and line != 'NoneType: None']
            why = lines[-1][:200] if lines else 'Theano gives no reason'
            if importlib.util.find_spec('pygpu') is None:
                why = 'pygpu is not installed'
            raise ValueError(f'THEANO_FLAGS or .theanorc sets {name}={value}, which cannot be used ({why}): set '
                             f'THEANO_FLAGS={name}={"cpu" if name == "device" else ""}')


def _check_virtual_machine(theano):
    """Raise OSError where Theano could not load its loop over a function's operations in C: it does not say so."""
    if theano.config.cxx and not hasattr(theano.gof.vm, 'CVM'):
        module = os.path.join(theano.config.compiledir, 'lazylinker_ext', 'lazylinker_ext.so')
        try:
            importlib.import_module('theano.gof.lazylinker_c')
        except ImportError as error:
            raise _load_error(error, error.path or module) from None


def _warn_of_slowness(theano, imported_before):
    """Warn of a type, a missing compiler or a missing header that make everything slower."""
    if imported_before and setting('floatX') is None and theano.config.floatX == 'float64':
        warn('theano was imported before charlstm and computes in float64; float32 is twice as fast: import charlstm '
             "first, or set theano.config.floatX = 'float32'")
    if not theano.config.cxx and not os.path.exists(HEADER):
        warn(f'{HEADER} is missing, so nothing can be compiled and everything runs many times slower; Debian, Ubuntu: '
             f'apt install python{PYTHON}-dev; Fedora: dnf install python3-devel; conda and uv bring Pythons '
             'that have it')
    elif theano.config.cxx and not compiler.of(theano.config.cxx).openmp and modules.cores() > 1:
        warn(f'{theano.config.cxx} has no OpenMP, so the kernel uses one of {modules.cores()} cores; to train up to '
             f'that many times as fast, install its library ({compiler.ADVICE})')
    elif not theano.config.cxx:
        warn(f'no C++ compiler found, so everything runs many times slower; install g++ ({COMPILER_ADVICE})')


def _import_theano():
    """Return Theano, imported with these settings and patches. Raise an error of one line where that fails."""
    if sys.version_info >= UNTESTED:
        warn(f'this is Python {PYTHON}, on which nobody has tested CharLSTM yet')
    imported_before = 'theano' in sys.modules
    _silence()
    _forget_failed_import()
    patches.before_import()
    sys.meta_path.insert(0, _CutOff)
    theano, printed = _import_quietly()
    if theano.config.cxx and not shutil.which(theano.config.cxx.strip('"')):     # on Windows, Theano adds quotes
        raise _compiler_error(f'{theano.config.cxx} cannot be run')
    if not imported_before:
        _warn_of_unknown_flags(theano)
    _check_device(theano, printed)
    _check_virtual_machine(theano)
    patches.after_import(theano)
    modules.install(theano)
    _compile_damaged(theano)
    _warn_of_slowness(theano, imported_before)
    return theano


theano = _import_theano()
tt = theano.tensor


# ---------------------------------------------------------------- what Theano computes on

def kernel_runs():
    """Return whether the C kernel can be tried: on a CPU, with a compiler, in a type that it has."""
    return bool(theano.config.cxx) and theano.config.device == 'cpu' and theano.config.floatX in ('float32', 'float64')


def _without_c():
    """Return whether Theano's mode runs the Python code of all operations, as mode=FAST_COMPILE does."""
    linker = theano.compile.mode.get_default_mode().linker
    return isinstance(linker, theano.gof.link.PerformLinker) or getattr(linker, 'c_thunks', None) is False


def device():
    """Return the name of Theano's device, and for others than the CPU also the name that their driver gives."""
    if theano.config.device == 'cpu':
        return 'cpu'
    return f'{theano.config.device} ({theano.gpuarray.type.get_context(None).devname.strip()})'


def computes_on(in_c, bfloat16=None):
    """Return a text that says what computes the network.

    in_c: whether the C kernel does. bfloat16: what multiplies it, None for float32.
    """
    if theano.config.device != 'cpu':
        return f'{device()}, by theano.scan, in {theano.config.floatX}'
    threads = int(os.environ.get('OMP_NUM_THREADS') or modules.cores())
    if in_c and not compiler.of(theano.config.cxx).openmp:
        threads = 1
    by = 'by the C kernel' if in_c else 'by theano.scan, many times slower than the C kernel'
    if not in_c and _without_c() and theano.config.cxx:
        mode, linker = theano.config.mode, theano.config.linker
        why = f'linker={linker}' if mode == 'Mode' else f'mode={mode}'
        by = f'in Python, many times slower than in C (Theano has {why})'
    products = f', products in bfloat16 ({bfloat16})' if bfloat16 else ''
    counted = '1 thread' if threads == 1 else f'{threads} threads'
    return f'the CPU, {counted}, {by}, in {theano.config.floatX}{products}'


# ---------------------------------------------------------------- errors of compiling

def _compile_error(error):
    """Return the error to raise where Theano could not compile a function. None: this one itself is clear enough."""
    why = ' '.join(str(error).split())
    if isinstance(error, ImportError) and (error.path or '').startswith(theano.config.compiledir):
        return _load_error(error, error.path)
    if lacks_memory(error):
        return MemoryError(f'to compile and load ({why[:200]})')
    if isinstance(error, AssertionError) and 'cmodule.py' in _files(error):
        return _assertion_error(error)
    if isinstance(error, OSError) and not isinstance(error, CompilerError):
        return _write_error(why)
    return None


_COMPILING = threading.RLock()         # only one thread at a time may redirect what Theano prints


@contextlib.contextmanager
def compiling(report=lambda done, total, seconds: None):
    """Drop what Theano prints while it compiles inside, and raise an error of one line where that fails.

    report: as for modules.active.
    """
    try:
        with _COMPILING, contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), \
                modules.active(report):
            yield
    except Exception as error:
        plain = _compile_error(error)
        if plain is None:
            raise
        raise plain from error
