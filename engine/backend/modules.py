"""Compile a function in less time than Theano does: fewer modules, each of them faster, and several at once.

Theano makes a module of C++ for each kind of operation in a function, and compiles one after the other. Inside
active(), the graph of a function and its numbers stay the same, but

    Python      operations on constants, parts of arrays and single whole numbers run in Python, and are no modules
    formulas    an elementwise formula is one module, whatever the number of dimensions of its arrays (formulas.py)
    kernel      the operations of the kernel are libraries of plain C, which share what is compiled
    header      the headers of Python and NumPy are compiled once, where many modules include them
    cores       all that is missing of a function is compiled at once, on all cores

Functions that are compiled outside, such as a user's own, are compiled as Theano does.
"""
import collections
import contextlib
import ctypes
import errno
import hashlib
import importlib.machinery
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib

from engine.backend import compiler, formulas

try:
    import fcntl
except ImportError:        # Windows
    fcntl = None

theano = None              # set by install(): this module is imported before Theano is


class CompilerError(OSError):
    """The C++ compiler has failed."""


class _Now(threading.local):
    """How this thread compiles.

    active: whether faster than Theano. raises: whether it raises _Missing before it compiles. made: the path of a
    module that is compiled already, where Theano is about to compile it; None otherwise. report: see active().
    """
    def __init__(self):
        self.active, self.raises, self.made, self.report = False, False, None, lambda done, total, seconds: None


_now = _Now()


def cores():
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


@contextlib.contextmanager
def active(report):
    """Compile functions faster inside.

    report: is called before files are compiled together, and when each was, with the numbers of those and of all, and
    with the seconds since the first was begun.
    """
    before = vars(_now).copy()
    vars(_now).update(active=True, raises=False, made=None, report=report)
    try:
        yield
    finally:
        vars(_now).update(before)


# ---------------------------------------------------------------- operations in Python

def _runs_in_python(node):
    """Return whether an operation takes as long in Python: on constants, parts of arrays, or single whole numbers.

    A function has few of these, each with a module of its own, unlike reshapes and transposes: these are many, of few
    modules, and a call of Python costs 10 microseconds where the step before has filled the caches.
    """
    tensor = theano.tensor
    if all(isinstance(v, theano.gof.Constant) for v in node.inputs):           # is computed once, for the graph
        return True
    if type(node.op) in (tensor.Join, tensor.Split, tensor.subtensor.Subtensor, tensor.subtensor.IncSubtensor,
                         tensor.basic.ScalarFromTensor, tensor.basic.TensorFromScalar):
        return True
    return (type(node.op) is tensor.Elemwise and not isinstance(node.op.scalar_op, theano.scalar.Composite) and all(
        v.type.ndim == 0 and v.type.dtype in tensor.discrete_dtypes for v in node.inputs + node.outputs))


def _make_thunk(make_thunk):
    def in_python_or_c(op, node, storage_map, compute_map, no_recycling, impl=None):
        if impl is None and _now.active and _runs_in_python(node):
            impl = 'py'
        return make_thunk(op, node, storage_map, compute_map, no_recycling, impl)
    return in_python_or_c


# ---------------------------------------------------------------- files of the kernel
#
# They are in a folder of Theano's folder of compiled code. The name of a file has a checksum of its source and of the
# options, and a file beside it has a checksum of what was compiled: a file that was damaged is compiled again.

FOLDER = 'kernel'
SUM = '.sum'               # follows the name of a file, in the name of the one with its checksum
FLAGS = ['-O3', '-fno-math-errno', '-fvisibility=hidden']          # with Theano's for this processor

Recipe = collections.namedtuple('Recipe', 'source objects python')
_recipes, _loaded = {}, {}         # by path


def compiled_file(name, source, objects=None, python=False):
    """Return the path at which C source is compiled.

    objects: None for an object, otherwise the paths of those that a library is linked with. python: whether the
    library is a module of Python. Nothing is compiled yet: load() does that.
    """
    version = _sum('\n'.join([*_command(), *(objects or ()), source]).encode())[:16]
    suffix = 'o' if objects is None else theano.gof.cmodule.get_lib_extension()
    path = os.path.join(theano.config.compiledir, FOLDER, f'{name}-{version}.{suffix}')
    _recipes[path] = Recipe(source, objects, python)
    return path


def load(path):
    """Return a library, compiled before where it is missing. Raises ImportError where it does not load, or OSError."""
    if path not in _loaded:
        if not _is_whole(path):
            if _now.raises:
                raise _Missing
            with _Build() as build:
                build.add(path)
                build.run()
        try:
            _loaded[path] = _module(path) if _recipes[path].python else ctypes.PyDLL(path)
        except OSError as error:
            raise ImportError(str(error), path=path) from None         # as of a module of Theano's
    return _loaded[path]


def _command():
    """Return the command that compiles the files of the kernel, without their names."""
    flags, cxx = theano.gof.cmodule.GCC_compiler.compile_args(), compiler.of(theano.config.cxx)
    warnings = [] if cxx.clang else ['-Wno-psabi']                 # of vectors as arguments
    return [theano.config.cxx, *_optimised(FLAGS), *warnings, *cxx.openmp, *flags]


def _module(path):
    """Return a module of Python, whose name is that of its file up to the checksum."""
    name = os.path.basename(path).partition('-')[0]
    loader = importlib.machinery.ExtensionFileLoader(name, path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


def _sum(data):
    return hashlib.sha256(data).hexdigest()


def _sum_of_file(path):
    with open(path, 'rb') as f:
        return _sum(f.read())


def _is_whole(path):
    """Return whether a file is there as it was compiled."""
    try:
        with open(path + SUM, 'rb') as f:
            return f.read() == _sum_of_file(path).encode()
    except OSError:
        return False


# ---------------------------------------------------------------- several at once

NOT_WRITTEN = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)]
MOST_AT_ONCE = 8           # compilers, each of which takes 200 MB
LONGEST_WAIT = 300         # seconds for what other processes compile: they may have been suspended
WORTH_HEADER = 6           # modules: for fewer, compiling the headers ahead takes longer than it saves
HEADERS = ('Python.h', 'iostream', 'theano_mod_helper.h', 'math.h', 'numpy/arrayobject.h', 'numpy/arrayscalars.h',
           'vector', 'algorithm')                              # of most of Theano's modules

Arguments = collections.namedtuple('Arguments', 'module_name src_code include_dirs lib_dirs libs preargs')


class _File:
    """A file to compile.

    name: what it is, the same in all processes. command: what makes it, at the path `made`. size: of its source.
    needs: files that must be there before. found: returns whether another process has made it. finish: is called
    with that path when it was made.
    """
    def __init__(self, name, command, size, needs=(), found=lambda: False, finish=lambda made: None):
        self.name, self.command, self.made = name, command, command[command.index('-o') + 1]
        self.size, self.needs, self.found, self.finish = size, needs, found, finish
        self.done = False


class _Claims:
    """Locks by which processes tell each other what they compile, so that no two compile the same.

    A lock is on one byte of a file that all open, and the system frees it when a process ends. Where it has no such
    locks, several processes may compile the same, and one of the results is used.
    """
    def __init__(self):
        self._file = None
        if fcntl:
            with contextlib.suppress(OSError):
                self._file = open(os.path.join(theano.config.compiledir, 'compiling'), 'ab')

    def _lock(self, file, how):
        if self._file:
            fcntl.lockf(self._file, how, 1, zlib.crc32(file.name.encode()))

    def take(self, file):
        """Return whether this process is to compile a file."""
        try:
            self._lock(file, fcntl and fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:                            # a file system without locks
            self._file = None
        return True

    def release(self, file):
        self._lock(file, fcntl and fcntl.LOCK_UN)

    def close(self):
        if self._file:
            self._file.close()


class _Build:
    """Files that are compiled together: a context in which they have a temporary folder, in that of compiled code."""

    def __init__(self):
        with theano.gof.compilelock.lock_ctx():            # under which other processes remove empty folders
            temporary = tempfile.mkdtemp(dir=theano.config.compiledir)         # after a kill, Theano removes it later
            self._folder = os.path.join(temporary, 'build')        # Theano expects at most one module in `temporary`
            os.mkdir(self._folder)
        self._files, self._header, self._modules = {}, [], []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        shutil.rmtree(os.path.dirname(self._folder), ignore_errors=True)

    def _write(self, suffix, text):
        """Write text to a new file, and return its path."""
        number = len(self._files) + len(self._header) + len(self._modules)
        path = os.path.join(self._folder, f'{number}{suffix}')
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text + '\n')
        return path

    def add(self, path):
        """Add a file of the kernel, and what it needs, unless it is there. Return a list of the _File, or of none."""
        if path not in self._files and not _is_whole(path):
            source, objects, python = _recipes[path]
            needs = [file for needed in objects or () for file in self.add(needed)]
            cmodule, written = theano.gof.cmodule, self._write('.cpp', source)
            command = [*_command(), '-c' if objects is None else cmodule.get_gcc_shared_library_arg()]
            includes, libraries = _of_python() if python else ([], [])
            command += [*includes, written, *(objects or ()), '-o', written + os.path.splitext(path)[1], *libraries]

            def finish(made):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path + SUM, 'w') as f:
                    f.write(_sum_of_file(made))
                os.replace(made, path)

            self._files[path] = _File(path, command, len(source), needs, lambda: _is_whole(path), finish)
        return [self._files[path]] if path in self._files else []

    def add_header(self, arguments):
        """Add the header that all modules include, with the options of a module."""
        flags, includes, _ = _options(arguments)
        path = self._write('.hpp', ''.join(f'#include <{name}>\n' for name in HEADERS))
        command = [theano.config.cxx, *flags, *includes, '-x', 'c++-header', path, '-o', path + '.gch']
        self._header = [_File(path, command, 0)]

    def add_module(self, name, arguments, **more):
        """Add a module of Theano's. more: for _File."""
        flags, includes, libraries = _options(arguments)
        source = self._write('.cpp', arguments.src_code)
        made = f'{source}.{theano.gof.cmodule.get_lib_extension()}'
        header = [word for file in self._header for word in ('-include', file.name)]
        command = [theano.config.cxx, theano.gof.cmodule.get_gcc_shared_library_arg(), *flags, *header, *includes,
                   source, '-o', made, *libraries]
        self._modules.append(_File(name, command, len(arguments.src_code), self._header, **more))

    def run(self):
        """Compile all files, the largest of each kind first, and finish each as soon as it is compiled."""
        claims, running, start = _Claims(), {}, time.time()
        moved = start                                          # when something was last begun or finished
        patient = True                                         # whether it waits for what others compile
        waiting = [file for files in (self._header, self._files.values(), self._modules)
                   for file in sorted(files, key=lambda file: -file.size)]
        total = len(waiting)
        if waiting:
            _now.report(0, total, 0)

        def end(file):
            file.done = True
            claims.release(file)
            _now.report(total - len(waiting) - len(running), total, time.time() - start)

        try:
            while waiting or running:
                for file in [file for file in waiting if all(needed.done for needed in file.needs)]:
                    patient = patient and time.time() - moved < LONGEST_WAIT
                    if len(running) < min(cores(), MOST_AT_ONCE) and (claims.take(file) or not patient):
                        moved = time.time()
                        waiting.remove(file)
                        if file.found():
                            end(file)
                        else:
                            running[file] = self._start(file)
                for file in [file for file, process in running.items() if process.poll() is not None]:
                    self._check(file, running.pop(file))
                    file.finish(file.made)
                    moved = time.time()
                    end(file)
                time.sleep(0.005)
        finally:
            for process in running.values():
                if hasattr(os, 'killpg'):          # with what the compiler's driver has started
                    with contextlib.suppress(OSError):
                        os.killpg(process.pid, signal.SIGKILL)
                process.kill()
                process.wait()
            claims.close()

    def _start(self, file):
        with open(file.made + '.txt', 'wb') as f:
            try:
                return subprocess.Popen(file.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=f,
                                        start_new_session=True,
                                        env=dict(os.environ, TMPDIR=self._folder))     # a killed one leaves its files
            except OSError as error:
                raise CompilerError(f'the C++ compiler {error.filename} cannot be run ({error.strerror})') from error

    def _check(self, file, process):
        """Raise OSError where the compiler could not write, CompilerError where it has failed otherwise."""
        if process.returncode == 0 and os.path.exists(file.made) or file in self._header:
            return             # where the headers are not compiled ahead, modules include them as they are
        with open(file.made + '.txt', encoding='utf-8', errors='replace') as f:
            messages = ' '.join(f.read().replace(self._folder + os.sep, '').replace('\n', '. ').split())
        for why in [*NOT_WRITTEN, os.strerror(errno.ENOMEM)]:          # the compiler has only words for it
            if why in messages:
                raise OSError(why)
        raise CompilerError(f'the C++ compiler failed (status {process.returncode}: {messages[:200]})')


def _optimised(flags):
    """Return compiler options without -O, if Theano is set so."""
    return [flag for flag in flags if not (theano.config.cmodule.remove_gxx_opt and flag.startswith('-O'))]


def _of_python(include_dirs=(), lib_dirs=(), libs=()):
    """Return the options for headers, and for libraries, of a module of Python that needs these beside Python's own."""
    cmodule = theano.gof.cmodule
    includes = [f'-I{path}' for path in [*include_dirs, *cmodule.std_include_dirs()] if path]
    libraries = [f'-L{path}' for path in [*lib_dirs, *cmodule.std_lib_dirs()] if path]
    return includes, libraries + [f'-l{name}' for name in [*libs, *cmodule.std_libs()]]


def _options(arguments):
    """Return the options of a module of Theano's, the folders of its headers, and its libraries."""
    flags = _optimised(arguments.preargs)
    if sys.platform != 'win32':
        flags.append('-fvisibility=hidden')
    return [flags, *_of_python(arguments.include_dirs, arguments.lib_dirs, arguments.libs)]


# ---------------------------------------------------------------- when it is compiled

class _Missing(BaseException):
    """Raised where Theano would begin to compile what a function needs, one module after the other."""


def _compile_str(compile_str):
    """Return what compiles a module, in place of Theano's function of that name."""
    def compile_module(module_name, src_code, location=None, include_dirs=None, lib_dirs=None, libs=None, preargs=None,
                       py_module=True, hide_symbols=True):
        if not _now.active:
            return compile_str(module_name, src_code, location, include_dirs, lib_dirs, libs, preargs, py_module,
                               hide_symbols)
        if _now.raises:
            raise _Missing
        path = os.path.join(location, f'{module_name}.{theano.gof.cmodule.get_lib_extension()}')
        made, _now.made = _now.made, None
        if made:
            os.replace(made, path)
        else:
            arguments = Arguments(module_name, src_code, include_dirs or [], lib_dirs or [], libs or [], preargs or [])
            with _Build() as build:
                build.add_module(module_name, arguments, finish=lambda made: os.replace(made, path))
                build.run()
        open(os.path.join(location, '__init__.py'), 'w').close()
        return theano.gof.cmodule.dlimport(path)
    return compile_module


def _make_all(make_all):
    """Return what makes all operations of a function, in place of Theano's method of that name."""
    def at_once(linker, *arguments, **settings):
        if not _now.active:
            return make_all(linker, *arguments, **settings)
        before, _now.raises = _now.raises, True
        try:
            return make_all(linker, *arguments, **settings)
        except _Missing:
            pass
        finally:
            _now.raises = before
        with _Build() as build:
            _add_missing(build, linker.schedule(linker.fgraph))
            build.run()
        return make_all(linker, *arguments, **settings)
    return at_once


def _c_linker(node):
    """Return what Theano makes the module of an operation with; None where it has none."""
    gof = theano.gof
    if type(node.op).make_thunk is not gof.Op.make_thunk or _runs_in_python(node):
        return None
    try:
        node.op.prepare_node(node, storage_map={}, compute_map={}, impl='c')
        linker = gof.cc.CLinker().accept(gof.FunctionGraph(node.inputs, node.outputs))
        linker.get_src_code()
        return linker
    except (NotImplementedError, gof.utils.MethodNotDefined):
        return None


def _add_missing(build, nodes):
    """Add to a _Build what the operations of a function need and is not there."""
    cache, missing = theano.gof.cc.get_module_cache(), {}
    distinct = {(node.op, *(v.type for v in node.inputs + node.outputs)): node for node in nodes}
    for node in distinct.values():
        if hasattr(node.op, 'compiled_files'):
            for path in node.op.compiled_files():
                build.add(path)
            continue
        linker = _c_linker(node)
        if linker:
            key = linker.cmodule_key()
            name = theano.gof.cmodule.get_module_hash(linker.get_src_code(), key)
            if key not in cache.entry_from_key and name not in cache.module_hash_to_key_data:
                missing[name] = linker, key
    for name, (linker, key) in missing.items():
        arguments = Arguments(linker.get_dynamic_module().code_hash, linker.get_src_code(), linker.header_dirs(),
                              linker.lib_dirs(), linker.libraries(), linker.compile_args())
        if len(missing) >= WORTH_HEADER and name == next(iter(missing)):
            build.add_header(arguments)

        def found(name=name, key=key):
            cache.refresh(cleanup=False)
            return key in cache.entry_from_key or name in cache.module_hash_to_key_data

        def finish(made, linker=linker, key=key):
            _now.made = made
            try:
                cache.module_from_key(key, linker)
            finally:
                _now.made = None

        build.add_module(name, arguments, found=found, finish=finish)


def _lock(lock):
    """Let a process look often whether another has freed Theano's lock: we hold it for milliseconds."""
    def look_often(folder, *arguments, **settings):
        return lock(folder, *arguments, **dict(dict(min_wait=0.05, max_wait=0.1), **settings))
    return look_often


@contextlib.contextmanager
def _lock_ctx(lock_dir=None, keep_lock=False, **settings):
    """Hold Theano's lock. Theano's own function of that name keeps it where the block fails, and all others wait."""
    compilelock = theano.gof.compilelock
    compilelock.get_lock(lock_dir=lock_dir, **settings)
    try:
        yield
    except BaseException:
        compilelock.release_lock()
        raise
    if not keep_lock:
        compilelock.release_lock()


def install(imported):
    """Patch Theano, which was imported."""
    global theano
    theano = imported
    gof, target = theano.gof, compiler.of(theano.config.cxx).target
    if target is not None and not re.search('-m(arch|cpu)=', theano.config.gcc.cxxflags):
        gof.cmodule.GCC_compiler.march_flags = list(target)
    gof.Op.make_thunk = _make_thunk(gof.Op.make_thunk)
    gof.vm.VM_Linker.make_all = _make_all(gof.vm.VM_Linker.make_all)
    gof.cmodule.GCC_compiler.compile_str = staticmethod(_compile_str(gof.cmodule.GCC_compiler.compile_str))
    gof.compilelock.lock, gof.compilelock.lock_ctx = _lock(gof.compilelock.lock), _lock_ctx
    formulas.install(theano.tensor.Elemwise, lambda: _now.active)
