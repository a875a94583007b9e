"""Compile functions faster than Theano does: fewer modules, each compiled faster, and several at once.

Theano makes a C++ module for each kind of operation and compiles them one by one. Here, small operations run in Python,
an elementwise formula is one module for arrays of any number of dimensions (formulas.py), the kernel's operations are
libraries of plain C that share objects, and all files that a function still needs are compiled on all cores.

The name of a compiled file contains a checksum of its source and the compiler's options. A file gets its name when it
is complete, so no locks are needed: two processes that compile the same file replace it by an equal one.
"""
import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import types
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import NamedTuple

from engine.backend import patches

# Where omp.h and its library may be, besides the compiler's own folders: conda's, and Homebrew's on ARM and on Intel.
PREFIXES = sys.prefix, '/opt/homebrew/opt/libomp', '/usr/local/opt/libomp'
TO_INSTALL = 'Debian, Ubuntu: apt install g++ python3-dev; macOS: xcode-select --install; conda: conda install gxx'
OPENMP = 'Debian, Ubuntu: apt install libomp-dev; macOS: brew install libomp; conda: conda install llvm-openmp'
cmodule = theano = None            # Theano and its module gof.cmodule, set when they are imported
FLAGS = '-O3', '-fno-math-errno', '-fvisibility=hidden', '-fno-semantic-interposition'        # for the kernel
MOST_AT_ONCE = 8           # compilers; each takes 200 MB
WORTH_HEADER = 6           # modules: with fewer, precompiling the headers takes longer than it saves
HEADERS = ('Python.h', 'iostream', 'theano_mod_helper.h', 'math.h', 'numpy/arrayobject.h', 'numpy/arrayscalars.h',
           'vector', 'algorithm')                              # which most of Theano's modules include


class CompilerError(OSError):
    """The C++ compiler failed or cannot be run."""


def cannot_keep(why):
    """Return the OSError to raise if compiled code cannot be written."""
    return OSError(f'cannot save compiled code: {why}; choose another folder: THEANO_FLAGS=base_compiledir=FOLDER')


def threads():
    """Return the number of threads of this process: its share of the cores if several processes train together."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    return int(os.environ.get('OMP_NUM_THREADS') or cores)


def _report(done, total):
    pass


@contextlib.contextmanager
def compiling(report=_report):
    """In this context, call report(done, total), in files, before a set of files is compiled and after each of them."""
    global _report
    before, _report = _report, report
    try:
        yield
    finally:
        _report = before


# ---------------------------------------------------------------- files

class File(NamedTuple):
    """A file to compile: an object, a library linked with objects, or a Python module."""
    source: str
    options: tuple                     # arguments of the compiler before the source
    objects: tuple | None = ()         # paths; None for an object
    libraries: tuple = ()              # arguments after the source
    is_module: bool = False


_files = {}                        # by path


def _path(name, file):
    """Return the path for a file in Theano's folder of compiled code, and register the file."""
    version = hashlib.sha256(repr((cmodule.config.cxx, file)).encode()).hexdigest()[:16]
    suffix = 'o' if file.objects is None else cmodule.get_lib_extension()
    path = os.path.join(cmodule.config.compiledir, 'compiled', f'{name}-{version}.{suffix}')
    _files[path] = file
    return path


def compiled_file(name, source, objects=None):
    """Return the path for a compiled C source of the kernel. It is not compiled yet: load() does that.

    objects: None to make an object, otherwise the paths of the objects to link into a library.
    """
    cxx = compiler_of(cmodule.config.cxx)
    options = *FLAGS, *cxx.openmp, *cmodule.GCC_compiler.compile_args(), *cxx.quiet
    return _path(name, File(source, options, None if objects is None else tuple(objects)))


def _module(source, include_dirs=(), lib_dirs=(), libs=(), flags=()):
    """Return the File of a Python module."""
    includes = [f'-I{path}' for path in [*include_dirs, *cmodule.std_include_dirs()] if path]
    libraries = [f'-L{path}' for path in [*lib_dirs, *cmodule.std_lib_dirs()] if path]
    libraries += [f'-l{name}' for name in [*libs, *cmodule.std_libs()]]
    cxx = compiler_of(cmodule.config.cxx)
    options = *flags, *cxx.openmp, '-fvisibility=hidden', *cxx.quiet, *includes
    return File(patches.c_code(source), options, libraries=tuple(libraries), is_module=True)


@functools.lru_cache(maxsize=None)
def load(path):
    """Return a loaded library or module. Compile it first if it is missing."""
    build([path])
    if not _files[path].is_module:
        return ctypes.PyDLL(path)                          # keeps the GIL, as calls take only microseconds
    spec = importlib.util.spec_from_file_location(os.path.basename(path).partition('-')[0], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---------------------------------------------------------------- several at once

def build(paths):
    """Compile missing files, and the objects they need, on all cores. Raises CompilerError or another OSError."""
    paths = {path for path in paths if not os.path.exists(path)}
    paths |= {needed for path in paths for needed in _files[path].objects or () if not os.path.exists(needed)}
    if not paths:
        return
    # Objects come first, then modules, then libraries, so that a file waits only for files that have begun. Otherwise
    # the order is that of a set. It differs between processes, so those that start together begin with different files.
    order = sorted(paths, key=lambda path: (bool(_files[path].objects), _files[path].is_module))
    of_modules = [_files[path].options for path in order if _files[path].is_module]
    common = max(of_modules, key=of_modules.count, default=None)
    _report(0, len(order))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(min(threads(), MOST_AT_ONCE)) as pool:
        header = pool.submit(_compile_header, folder, common) if of_modules.count(common) >= WORTH_HEADER else None
        started = {}
        for path in order:
            file = _files[path]
            needs = [started[needed] for needed in file.objects or () if needed in started]
            if header and file.is_module and file.options == common:
                needs.append(header)
            started[path] = pool.submit(_compile, path, file, folder, needs)
        try:
            for done, future in enumerate(as_completed(started.values()), 1):
                future.result()
                _report(done, len(order))
        except OSError as error:
            if error.errno:                                # not from the compiler
                raise cannot_keep(error.strerror) from error
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _compile_header(folder, options):
    """Precompile the headers that most modules include. Return the options that include them."""
    path = os.path.join(folder, 'headers.hpp')
    with open(path, 'w', encoding='utf-8') as f:
        f.writelines(f'#include <{name}>\n' for name in HEADERS)
    subprocess.run([cmodule.config.cxx, *options, '-x', 'c++-header', path, '-o', path + '.gch'],
                   stdin=subprocess.DEVNULL, capture_output=True)
    return '-include', path


def _compile(path, file, folder, needs):
    """Compile a file after `needs`: futures of its objects, which have no result, and of the precompiled headers."""
    header = [word for needed in needs for word in needed.result() or ()]
    if os.path.exists(path):                               # another process has compiled it
        return
    source, partial = os.path.join(folder, os.path.basename(path) + '.cpp'), f'{path}.{os.getpid()}.part'
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(source, 'w', encoding='utf-8') as f:
        f.write(file.source + '\n')
    kind = '-c' if file.objects is None else cmodule.get_gcc_shared_library_arg()
    command = [cmodule.config.cxx, kind, *header, *file.options, source, *(file.objects or ()), '-o', partial,
               *file.libraries]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, encoding='utf-8', errors='replace')
    if done.returncode:
        said = ' '.join(done.stderr.replace(folder + os.sep, '').split())
        raise CompilerError(f'the C++ compiler failed ({done.returncode}: {said[:200]})')
    os.replace(partial, path)


# ---------------------------------------------------------------- Theano's modules

def _runs_in_python(node):
    """Return whether an operation is as fast in Python: on constants, parts of arrays, or single integers.

    A function has few of them, and each would need its own module. Reshapes and transposes are many but share modules.
    """
    tensor = theano.tensor
    small = (tensor.Join, tensor.Split, tensor.subtensor.Subtensor, tensor.subtensor.IncSubtensor,
             tensor.basic.ScalarFromTensor, tensor.basic.TensorFromScalar)
    if type(node.op) in small or all(isinstance(v, theano.gof.Constant) for v in node.inputs):
        return True
    return (type(node.op) is tensor.Elemwise and not isinstance(node.op.scalar_op, theano.scalar.Composite) and all(
        v.type.ndim == 0 and v.type.dtype in tensor.discrete_dtypes for v in node.inputs + node.outputs))


def _path_of(linker):
    """Return the path of an operation's module. linker: the CLinker that has its code."""
    file = _module(linker.get_src_code(), linker.header_dirs(), linker.lib_dirs(), linker.libraries(),
                   linker.compile_args())
    return _path(linker.get_dynamic_module().code_hash, file)


def _paths_of(node, in_c):
    """Return the paths of the files that an operation needs. in_c: whether Theano's own operations run in C."""
    if hasattr(node.op, 'compiled_files'):
        return node.op.compiled_files()
    if not in_c or type(node.op).make_thunk is not theano.gof.Op.make_thunk or _runs_in_python(node):
        return []
    try:
        node.op.prepare_node(node, storage_map={}, compute_map={}, impl='c')
        return [_path_of(theano.gof.CLinker().accept(theano.gof.FunctionGraph(node.inputs, node.outputs)))]
    except (NotImplementedError, theano.gof.utils.MethodNotDefined):
        return []


def _compile_str(module_name, src_code, location, include_dirs=(), lib_dirs=(), libs=(), preargs=(), **more):
    """Compile a module in a folder and import it. This replaces Theano's compile_str."""
    path = os.path.join(location, f'{module_name}.{cmodule.get_lib_extension()}')
    _files[path] = _module(src_code, include_dirs, lib_dirs, libs, preargs)
    build([path])
    open(os.path.join(location, '__init__.py'), 'w').close()
    return cmodule.dlimport(path)


def install_compiler(imported):
    """Patch Theano's newly imported module gof.cmodule. Raises CompilerError if the compiler cannot be run."""
    global cmodule
    cmodule, cxx = imported, imported.config.cxx
    if cxx and not shutil.which(cxx.strip('"')):                   # on Windows, Theano adds quotes
        raise CompilerError(f'{cxx} cannot be run; {TO_INSTALL}; to do without, many times slower: THEANO_FLAGS=cxx=')
    cmodule.GCC_compiler.march_flags = compiler_of(cxx).target
    cmodule.GCC_compiler.compile_str = staticmethod(_compile_str)


def install_cache(cc):
    """Make Theano's module gof.cc cache modules by their code, without its locks and its index of their uses."""
    modules = {}

    def module_from_key(key, lnk, keep_lock=False):
        if key not in modules:
            modules[key] = load(_path_of(lnk))
        return modules[key]

    cc.get_module_cache = lambda: types.SimpleNamespace(module_from_key=module_from_key, refresh=lambda: None)


def install(imported):
    """Patch Theano after its import."""
    global theano
    theano = imported
    linker, op = theano.gof.vm.VM_Linker, theano.gof.Op
    make_all, make_thunk = linker.make_all, op.make_thunk

    def make_all_at_once(self, *arguments, **settings):
        in_c = theano.config.cxx and self.c_thunks is not False
        distinct = {(node.op, *(v.type for v in node.inputs + node.outputs)): node for node in self.fgraph.apply_nodes}
        build([path for node in distinct.values() for path in _paths_of(node, in_c)])
        return make_all(self, *arguments, **settings)

    def make_thunk_in_python_or_c(self, node, storage_map, compute_map, no_recycling, impl=None):
        if impl is None and _runs_in_python(node):
            impl = 'py'
        return make_thunk(self, node, storage_map, compute_map, no_recycling, impl)

    linker.make_all, op.make_thunk = make_all_at_once, make_thunk_in_python_or_c


# ---------------------------------------------------------------- what clang needs

# Theano knows g++'s options for this processor, but not clang's. Apple's compiler is clang, even if called g++.

class Compiler(NamedTuple):
    """The kind of a C++ compiler, and its options.

    clang: clang's version, '' for another compiler. target: options for this processor; None if Theano knows them.
    openmp: options for OpenMP, () without it. quiet: options that silence warnings and, in clang, errors.
    """
    clang: str
    target: list | None
    openmp: tuple
    quiet: tuple


@functools.lru_cache(maxsize=None)
def compiler_of(cxx):
    """Return the Compiler with a path or name, '' for none. It is run to ask for its version, except g++ on Linux."""
    version = None
    if shutil.which(cxx.strip('"')) and (sys.platform == 'darwin' or cxx not in ('g++', shutil.which('g++'))):
        version = re.search(r'clang version (\S+)', subprocess.getoutput(f'"{cxx}" --version'))
    if not version:
        openmp = ('-fopenmp',) if cxx and sys.platform != 'darwin' else ()
        return Compiler('', None, openmp, ('-Wno-psabi',))             # about vectors as arguments
    # Theano initialises 32-bit arrays with 64-bit numbers, about which g++ only warns.
    native = '-mcpu=native' if platform.machine() in ('arm64', 'aarch64') else '-march=native'
    return Compiler(version.group(1), [native], _openmp(cxx), ('-Wno-c++11-narrowing',))


def _openmp(cxx):
    """Return clang's options for OpenMP, () if its library, which clang may come without, is not found."""
    own = subprocess.getoutput(f'"{cxx}" -print-resource-dir')     # not -print-file-name, which also finds g++'s
    if os.path.exists(os.path.join(own, 'include', 'omp.h')):
        return ('-fopenmp',)
    for prefix in PREFIXES:
        if os.path.exists(os.path.join(prefix, 'include', 'omp.h')):
            library = os.path.join(prefix, 'lib')
            enable = ('-Xclang', '-fopenmp', '-lomp') if sys.platform == 'darwin' else ('-fopenmp',)
            return (*enable, f'-I{prefix}/include', f'-L{library}', f'-Wl,-rpath,{library}')
    return ()
