"""Compile a function in less time than Theano does: fewer modules, each of them faster, and several at once.

Theano makes a module of C++ for each kind of operation in a function, and compiles one after the other. Here

    Python      operations on constants, parts of arrays and single whole numbers run in Python, and are no modules
    formulas    an elementwise formula is one module, whatever the number of dimensions of its arrays (formulas.py)
    kernel      the operations of the kernel are libraries of plain C, which share what is compiled
    header      the headers of Python and NumPy are compiled once, where many modules include them
    cores       all that is missing of a function is compiled at once, on all cores

The name of a compiled file has a checksum of its source and of the compiler's options, and it gets this name when it is
complete. So nothing is locked: two processes that compile the same replace each other's file by an equal one.
"""
import collections
import concurrent.futures
import contextlib
import ctypes
import errno
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
import types
from typing import NamedTuple

from engine.backend import compiler, patches

cmodule = theano = None            # Theano, and its module of that name; set when they are imported
FLAGS = ['-O3', '-fno-math-errno', '-fvisibility=hidden']          # of the kernel, with Theano's for this processor
MOST_AT_ONCE = 8           # compilers, each of which takes 200 MB
WORTH_HEADER = 6           # modules: for fewer, compiling the headers ahead takes longer than it saves
HEADERS = ('Python.h', 'iostream', 'theano_mod_helper.h', 'math.h', 'numpy/arrayobject.h', 'numpy/arrayscalars.h',
           'vector', 'algorithm')                              # of most of Theano's modules
NOT_WRITTEN = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG]


class CompilerError(OSError):
    """The C++ compiler has failed."""


def cannot_keep(why):
    """Return the error to raise where compiled code cannot be written."""
    return OSError(f'cannot keep compiled code: {why}; name another folder: THEANO_FLAGS=base_compiledir=FOLDER')


def cores():
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


_report = lambda done, total: None             # noqa: E731


@contextlib.contextmanager
def compiling(report=_report):
    """Call report(done, total) inside, with numbers of files, before files are compiled together and after each."""
    global _report
    before, _report = _report, report
    try:
        yield
    finally:
        _report = before


# ---------------------------------------------------------------- files

class File(NamedTuple):
    """A file to compile: an object, a library that is linked with objects, or a module of Python.

    objects: paths; None for an object. options, libraries: words of the command before the source, and after it.
    """
    source: str
    options: list
    objects: tuple | None = ()
    libraries: list = []
    is_module: bool = False

    def command(self, source, made, header):
        kind = '-c' if self.objects is None else cmodule.get_gcc_shared_library_arg()
        return [_cxx(), kind, *header, *self.options, source, *(self.objects or ()), '-o', made, *self.libraries]


_files, _loaded = {}, {}           # by path


def _cxx():
    return cmodule.config.cxx


def _optimised(flags):
    """Return compiler options without -O, if Theano is set so."""
    return [flag for flag in flags if not (cmodule.config.cmodule.remove_gxx_opt and flag.startswith('-O'))]


def _path(name, file):
    """Return the path of a file in Theano's folder of compiled code."""
    version = hashlib.sha256('\n'.join([*file.command('', '', []), file.source]).encode()).hexdigest()[:16]
    suffix = 'o' if file.objects is None else cmodule.get_lib_extension()
    path = os.path.join(cmodule.config.compiledir, 'compiled', f'{name}-{version}.{suffix}')
    _files[path] = file
    return path


def compiled_file(name, source, objects=None, python=False):
    """Return the path at which C source of the kernel is compiled. Nothing is compiled yet: load() does that.

    objects: None for an object, otherwise the paths of those that a library is linked with. python: whether the
    library is a module of Python.
    """
    cxx = compiler.of(_cxx())
    options = [*_optimised(FLAGS), *cxx.quiet, *cxx.openmp, *cmodule.GCC_compiler.compile_args()]
    if python:
        return _path(name, _module(source, flags=options))
    return _path(name, File(source, options, None if objects is None else tuple(objects)))


def _module(source, include_dirs=(), lib_dirs=(), libs=(), flags=()):
    """Return the File of a module of Python."""
    includes = [f'-I{path}' for path in [*include_dirs, *cmodule.std_include_dirs()] if path]
    libraries = [f'-L{path}' for path in [*lib_dirs, *cmodule.std_lib_dirs()] if path]
    libraries += [f'-l{name}' for name in [*libs, *cmodule.std_libs()]]
    options = [*_optimised(flags), '-fvisibility=hidden', *compiler.of(_cxx()).quiet, *includes]
    return File(patches.c_code(source), options, libraries=libraries, is_module=True)


def load(path):
    """Return a library or module, compiled before where it is missing. Raises as build does, and where it is broken."""
    if path not in _loaded:
        build([path])
        _loaded[path] = _imported(path) if _files[path].is_module else ctypes.CDLL(path)
    return _loaded[path]


def _imported(path):
    """Return a module of Python, whose name is that of its file up to the checksum."""
    spec = importlib.util.spec_from_file_location(os.path.basename(path).partition('-')[0], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---------------------------------------------------------------- several at once

def build(paths):
    """Compile the files that are missing, and the objects that they need, on all cores.

    Raises CompilerError, OSError where the result cannot be written, and MemoryError.
    """
    paths = {path for path in paths if not os.path.exists(path)}
    objects = {needed for path in paths for needed in _files[path].objects or () if not os.path.exists(needed)}
    if not paths:
        return
    # The largest first, and what waits for others last. So the first ones that it waits for have begun before.
    order = sorted(paths | objects, key=lambda path: (bool(_files[path].objects), _files[path].is_module,
                                                      -len(_files[path].source)))
    options = collections.Counter(tuple(_files[path].options) for path in order if _files[path].is_module)
    common, number = (options.most_common(1) or [((), 0)])[0]
    _report(0, len(order))
    with tempfile.TemporaryDirectory() as folder, \
            concurrent.futures.ThreadPoolExecutor(min(cores(), MOST_AT_ONCE)) as pool:
        header = pool.submit(_compile_header, folder, common) if number >= WORTH_HEADER else None
        started = {}
        for path in order:
            file = _files[path]
            own_header = header if file.is_module and tuple(file.options) == common else None
            needs = [started[needed] for needed in file.objects or () if needed in started]
            started[path] = pool.submit(_compile, path, folder, own_header, needs)
        try:
            for done, future in enumerate(concurrent.futures.as_completed(started.values()), 1):
                future.result()
                _report(done, len(order))
        except OSError as error:
            raise cannot_keep(error.strerror) from error if error.errno else error
        finally:
            pool.shutdown(cancel_futures=True)


def _compile_header(folder, options):
    """Compile what most modules include. Return the options of a module that includes it; compiled or not."""
    path = os.path.join(folder, 'headers.hpp')
    with open(path, 'w', encoding='utf-8') as f:
        f.writelines(f'#include <{name}>\n' for name in HEADERS)
    subprocess.run([_cxx(), *options, '-x', 'c++-header', path, '-o', path + '.gch'], stdin=subprocess.DEVNULL,
                   capture_output=True)
    return ['-include', path]


def _compile(path, folder, header, needs):
    """Compile a file, after its header and what it needs, of which these are the futures."""
    file, (name, suffix) = _files[path], os.path.splitext(os.path.basename(path))
    source, partial = os.path.join(folder, name + '.cpp'), f'{path}.{os.getpid()}.part'
    concurrent.futures.wait(needs)
    for needed in needs:
        needed.result()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(source, 'w', encoding='utf-8') as f:
        f.write(file.source + '\n')
    _run(file.command(source, partial, header.result() if header else []), folder)
    os.replace(partial, path)


def _run(command, folder):
    """Run a compiler. Raise CompilerError where it fails, and what build raises where the system is to blame."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              encoding='utf-8', errors='replace')
    except OSError as error:
        raise CompilerError(f'the C++ compiler {command[0]} cannot be run ({error.strerror})') from None
    if done.returncode:
        said = ' '.join(done.stdout.replace(folder + os.sep, '').split())
        if os.strerror(errno.ENOMEM) in said:
            raise MemoryError(f'to compile ({said[:200]})')
        for number in NOT_WRITTEN:                     # the compiler has only words for it
            if os.strerror(number) in said:
                raise OSError(number, os.strerror(number))
        raise CompilerError(f'the C++ compiler failed (status {done.returncode}: {said[:200]})')


# ---------------------------------------------------------------- Theano's modules

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
        if impl is None and _runs_in_python(node):
            impl = 'py'
        return make_thunk(op, node, storage_map, compute_map, no_recycling, impl)
    return in_python_or_c


def _path_of(linker):
    """Return the path of the module of an operation, from the CLinker that has its code."""
    source = linker.get_src_code()
    return _path(linker.get_dynamic_module().code_hash, _module(
        source, linker.header_dirs(), linker.lib_dirs(), linker.libraries(), linker.compile_args()))


def _paths_of(node, in_c):
    """Return the paths of what an operation needs; in_c: whether operations of Theano's run in C."""
    if hasattr(node.op, 'compiled_files'):
        return node.op.compiled_files()
    if not in_c or type(node.op).make_thunk is not theano.gof.Op.make_thunk or _runs_in_python(node):
        return []
    try:
        node.op.prepare_node(node, storage_map={}, compute_map={}, impl='c')
        return [_path_of(theano.gof.CLinker().accept(theano.gof.FunctionGraph(node.inputs, node.outputs)))]
    except (NotImplementedError, theano.gof.utils.MethodNotDefined):
        return []


def _make_all(make_all):
    """Return what makes all operations of a function, in place of Theano's method of that name."""
    def at_once(linker, *arguments, **settings):
        in_c = theano.config.cxx and linker.c_thunks is not False
        distinct = {(node.op, *(v.type for v in node.inputs + node.outputs)): node for node in linker.fgraph.apply_nodes}
        build([path for node in distinct.values() for path in _paths_of(node, in_c)])
        return make_all(linker, *arguments, **settings)
    return at_once


def _compile_str(module_name, src_code, location, include_dirs=(), lib_dirs=(), libs=(), preargs=(), py_module=True,
                 hide_symbols=True):
    """Compile a module in a folder, in place of Theano's function of that name, and import it."""
    path = os.path.join(location, f'{module_name}.{cmodule.get_lib_extension()}')
    _files[path] = _module(src_code, include_dirs, lib_dirs, libs, preargs)
    build([path])
    open(os.path.join(location, '__init__.py'), 'w').close()
    return cmodule.dlimport(path)


def install_compiler(imported):
    """Patch Theano's module gof.cmodule, which has just been imported. Raises CompilerError without a compiler."""
    global cmodule
    cmodule, cxx = imported, imported.config.cxx
    if cxx and not shutil.which(cxx.strip('"')):                   # on Windows, Theano adds quotes
        raise CompilerError(f'the C++ compiler {cxx} cannot be run: {compiler.TO_INSTALL}')
    target = compiler.of(cxx).target
    if target is not None and '-march=' not in cmodule.config.gcc.cxxflags:
        cmodule.GCC_compiler.march_flags = list(target)
    cmodule.GCC_compiler.compile_str = staticmethod(_compile_str)


def install_cache(cc):
    """Let Theano's module gof.cc keep modules as this one does, without its locks and its list of what they are for."""
    modules = {}

    def module_from_key(key, lnk, keep_lock=False):
        if key not in modules:
            modules[key] = load(_path_of(lnk))
        return modules[key]

    cache = types.SimpleNamespace(module_from_key=module_from_key, refresh=lambda: None)
    cc.get_module_cache = lambda: cache


def install(imported):
    """Patch Theano, which was imported."""
    global theano
    theano = imported
    theano.gof.Op.make_thunk = _make_thunk(theano.gof.Op.make_thunk)
    theano.gof.vm.VM_Linker.make_all = _make_all(theano.gof.vm.VM_Linker.make_all)
