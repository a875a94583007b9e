"""Compile the kernel's C code, each file once, and several at a time.

The name of a compiled file contains a checksum of its source, the compiler and its options. A file gets its name when
it is complete, so no locks are needed: two processes that compile the same file replace it by an equal one.
"""
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed

from engine.files import partial_name
from engine.terminal import bar

# Where omp.h and its library may be, besides the compiler's own folders: conda's, and Homebrew's on ARM and on Intel.
PREFIXES = sys.prefix, '/opt/homebrew/opt/libomp', '/usr/local/opt/libomp'
TO_INSTALL = 'Debian, Ubuntu: apt install g++; macOS: xcode-select --install; conda: conda install gxx'
OPENMP = 'Debian, Ubuntu: apt install libomp-dev; macOS: brew install libomp; conda: conda install llvm-openmp'
FLAGS = ('-O3', '-fPIC', '-fno-math-errno', '-fvisibility=hidden', '-fno-semantic-interposition',
         '-Wno-psabi')                         # which warns about vectors as arguments
MOST_AT_ONCE = 8           # compilers; each takes 200 MB
# The C macros that choose the instructions in engine/kernel/operands.h.
MACROS = {'AMX': ['AMX_BF16'], 'AVX-512': ['AVX512_BF16'], 'emulated': []}
VARIABLE = 'CHARLSTM_BFLOAT16'                 # environment variable that chooses among them
ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA = 158, 0x1023, 18      # constants of Linux on x86-64
cxx, folder, more_flags = '', None, ()         # the compiler, '' for none; where compiled files are; the user's options


class CompilerError(OSError):
    """The C++ compiler failed or cannot be run."""


def cannot_keep(why):
    """Return the OSError to raise if compiled code cannot be written."""
    return OSError(f'cannot save compiled code: {str(why).rstrip(".")}; choose another folder: '
                   'THEANO_FLAGS=base_compiledir=FOLDER')


def threads():
    """Return the number of threads of this process: its share of the cores if several processes train together."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    return int(os.environ.get('OMP_NUM_THREADS') or cores)


# ---------------------------------------------------------------- the compiler

def use(command, compiledir, flags):
    """Set the compiler, '' for none, the folder of compiled files, and the user's options. Raises CompilerError."""
    global cxx, folder, more_flags
    cxx, folder, more_flags = command.strip('"'), os.path.join(compiledir, 'kernel'), tuple(flags.split())
    if cxx and not shutil.which(cxx):
        raise CompilerError(f'{cxx} cannot be run; {TO_INSTALL}; to do without, by NumPy: THEANO_FLAGS=cxx=')


@functools.lru_cache(maxsize=None)
def _macros(cxx, options):
    """Return the macros that a compiler defines, name to value: they tell its version and what the processor has."""
    done = subprocess.run([cxx, *options, '-dM', '-E', '-x', 'c++', os.devnull], capture_output=True, encoding='utf-8')
    return dict(line.split(' ', 2)[1:] for line in done.stdout.splitlines() if line.count(' ') > 1)


def target():
    """Return the options that choose the processor's instructions, and those of the user."""
    return '-mcpu=native' if platform.machine() in ('arm64', 'aarch64') else '-march=native', *more_flags


def macros():
    """Return the compiler's macros for this processor."""
    return _macros(cxx, target())


def openmp():
    """Return the compiler's options for OpenMP, () if its library, which clang may come without, is not found."""
    if '__clang__' not in macros():
        return ('-fopenmp',)
    resources = subprocess.getoutput(f'"{cxx}" -print-resource-dir')     # not -print-file-name, which also finds g++'s
    if os.path.exists(os.path.join(resources, 'include', 'omp.h')):
        return ('-fopenmp',)
    for prefix in PREFIXES:
        if os.path.exists(os.path.join(prefix, 'include', 'omp.h')):
            library = os.path.join(prefix, 'lib')
            enable = ('-Xclang', '-fopenmp', '-lomp') if sys.platform == 'darwin' else ('-fopenmp',)
            return (*enable, f'-I{prefix}/include', f'-L{library}', f'-Wl,-rpath,{library}')
    return ()


# ---------------------------------------------------------------- the processor's instructions for products in bfloat16

def _may_use_amx():
    """Ask Linux for permission to use AMX, as each process must once. Return whether it was granted."""
    if platform.system() != 'Linux' or platform.machine() != 'x86_64':
        return False
    return ctypes.CDLL(None).syscall(ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0


def bfloat16(precision, dtype, kernel=True):
    """Return the instructions for products at this precision: None for 'float32', a key of MACROS for 'bfloat16'.

    dtype: of all numbers. kernel: whether the C kernel may be used. Raises ValueError for any other precision, and for
    bfloat16 if it would not be faster than float32 here, as on Intel processors with AVX-512 but without AMX.
    """
    if precision == 'float32':
        return None
    if precision != 'bfloat16':
        raise ValueError(f"precision is {precision!r}: expected 'float32' or 'bfloat16'")
    if not (kernel and cxx and dtype == 'float32'):
        raise ValueError('precision bfloat16 needs the C kernel, on a CPU and with a C++ compiler, and floatX=float32')
    found = macros()
    usable = {'AMX': '__AMX_BF16__' in found and _may_use_amx(), 'AVX-512': '__AVX512BF16__' in found,
              'emulated': True}
    is_zen = any(name.startswith('__znver') for name in found)
    chosen = os.environ.get(VARIABLE) or ('AVX-512' if is_zen and not usable['AMX'] else 'AMX')
    if not usable.get(chosen):
        raise ValueError(
            f'precision bfloat16 ({chosen}) needs an Intel processor with AMX or AMD Zen 4 or later, and a compiler '
            f'that supports it: use float32, or {VARIABLE}=emulated, which gives the same results slowly')
    return chosen


# ---------------------------------------------------------------- files

_sources = {}                      # by path


def compiled_file(name, source):
    """Return the path for a library of a C source. It is not compiled yet: load() does that."""
    version = hashlib.sha256(repr((cxx, FLAGS, target(), sorted(macros().items()), source)).encode()).hexdigest()[:16]
    path = os.path.join(folder, f'{name}-{version}.so')
    _sources[path] = source
    return path


@functools.lru_cache(maxsize=None)
def load(path):
    """Return a loaded library. Compile it first if it is missing."""
    build([path])
    return ctypes.PyDLL(path)                              # keeps the GIL, as calls take only microseconds


def build(paths):
    """Compile missing files on all cores. Raises CompilerError or another OSError."""
    paths = {path for path in paths if not os.path.exists(path)}
    if not paths:
        return
    with (bar(len(paths), 'compiling, once', 'files') as progress, tempfile.TemporaryDirectory() as work,
          ThreadPoolExecutor(min(threads(), MOST_AT_ONCE)) as pool):
        longest_first = sorted(paths, key=lambda path: -len(_sources[path]))
        started = [pool.submit(_compile, path, work) for path in longest_first]
        try:
            for future in as_completed(started):
                future.result()
                progress.update(1)
        except OSError as error:
            if error.errno:                                # not from the compiler
                raise cannot_keep(error.strerror) from error
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _compile(path, work):
    """Compile a file in the folder `work`."""
    if os.path.exists(path):                               # another process has compiled it
        return
    source, partial = os.path.join(work, os.path.basename(path) + '.cpp'), partial_name(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(source, 'w', encoding='utf-8') as f:
        f.write(_sources[path] + '\n')
    command = [cxx, '-shared', *FLAGS, *openmp(), *target(), source, '-o', partial]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, encoding='utf-8', errors='replace')
    if done.returncode:
        said = ' '.join(done.stderr.replace(work + os.sep, '').split())
        raise CompilerError(f'the C++ compiler failed ({done.returncode}: {said[:200]}); '
                            'to do without, by NumPy: THEANO_FLAGS=cxx=')
    os.replace(partial, path)
