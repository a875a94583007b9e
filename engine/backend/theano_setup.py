"""Import Theano 1.0.5 with this project's settings, patched for Python 3.10 and NumPy 2.0 and later.

Other modules take `theano`, and its tensor module `tt`, from here. Theano's files stay unchanged: an import hook loads
its modules. In these modules, and in no others, `numpy` also has the names that NumPy has removed, and modules that no
longer exist are replaced. `_patch` patches a module as soon as it is loaded. Comments name the place in Theano that
needs a patch.
"""
import builtins
import copy
import functools
import importlib.machinery
import inspect
import logging
import os
import re
import shutil
import sys
import textwrap
import threading
import types
import warnings

import numpy as np
import scipy

from engine.backend import compiler
from engine.terminal import warn

DEVICE = 'cpu'                # what THEANO_FLAGS=device= or .theanorc ask for; PyTorch computes there, not Theano
DEFAULTS = {                 # for Theano's options; the user's settings take precedence
    'floatX': 'float32',     # what GPUs compute in, and twice as fast on CPUs
    'blas.ldflags': '',      # NumPy's own BLAS; Theano finds no other
    'base_compiledir': '~/.theano/charlstm',
    'compile.wait': '1',     # seconds, up to 2, between looks at the lock of another process that imports Theano
    'allow_gc': 'False',     # keep intermediate arrays between calls: new ones cost page faults
}

# Idle threads spin for some microseconds, and then sleep. By default they spin much longer: with another program on the
# same cores, a step then takes ten times as long.
if 'OMP_WAIT_POLICY' not in os.environ:
    os.environ['OMP_WAIT_POLICY'] = 'PASSIVE'
    os.environ.setdefault('GOMP_SPINCOUNT', '1000')
if ',' in os.environ.get('OMP_NUM_THREADS', ''):           # one for each level of nested loops; Theano expects a number
    os.environ['OMP_NUM_THREADS'] = os.environ['OMP_NUM_THREADS'].split(',')[0]


def _use_settings(configparser):
    """Make DEFAULTS the defaults of Theano's options, and take its compiler and its device away.

    THEANO_FLAGS and .theanorc still take precedence.
    """
    add, config = configparser.AddConfigVar, configparser.config

    def take_device(value):
        global DEVICE
        DEVICE = value
        return 'cpu'

    def add_changed(name, doc, option, *arguments, **settings):
        option.default = DEFAULTS.get(name, option.default)
        if name == 'compiledir':
            option.filter = functools.partial(_folder, option.filter)
        if name == 'device':
            option.filter = take_device
        add(name, doc, option, *arguments, **settings)
        if name == 'cxx':
            compiler.cxx, config.cxx = config.cxx, ''

    configparser.AddConfigVar = add_changed


def _folder(make, path):
    """Make the folder of compiled code by Theano's function."""
    try:
        return make(path)
    except (OSError, ValueError) as error:
        raise compiler.cannot_keep(error) from None


# ---------------------------------------------------------------- names and modules that no longer exist

class _Cast(dict):
    """Stand in for numpy.cast: map a type to a function that converts to it."""
    def __missing__(self, dtype):
        return lambda x: np.asarray(x).astype(getattr(dtype, 'dtype', dtype))      # Theano's types have a dtype


# Removed name to its replacement. Comments: where Theano uses it.
REMOVED_NAMES = {
    'complex': complex,                           # scalar/basic.py, modulo and complex numbers
    'product': np.prod,                           # scalar/basic.py, Mul in Python
    'cast': _Cast(),                              # scalar/basic.py, gradients of exp2, arcsin and others
    'sctype2char': lambda dtype: np.dtype(dtype).char,           # tensor/elemwise.py, functions of integers
    'MAXDIMS': -2 ** 31,                          # tensor/extra_ops.py, for "no axis": now NPY_RAVEL_AXIS in C
}


def _module(name, **names):
    module = types.ModuleType(name)
    vars(module).update(names)
    return module


def _replacements():
    """Return the modules that Theano imports in place of others, by full name."""
    # gof/cmodule.py, configdefaults.py, tensor/blas.py: only to find the compiler, since Theano compiles nothing
    spawn, distutils = _module('distutils.spawn', find_executable=shutil.which), _module('numpy.distutils')
    return {
        'distutils': _module('distutils', spawn=spawn), 'distutils.sysconfig': _module('distutils.sysconfig'),
        'distutils.spawn': spawn, 'numpy.distutils': distutils,
        'numpy': _module('numpy', **vars(np) | REMOVED_NAMES | dict(
            distutils=distutils, __getattr__=lambda name: getattr(np, name))),     # submodules imported later
        'numpy.linalg.linalg': np.linalg,          # gpuarray/linalg.py
        'imp': _module('imp'),                     # tests/breakpoint.py, which gpuarray/opt.py imports: not used
        'pkg_resources': _module('pkg_resources', DistributionNotFound=ImportError),       # gpuarray/linalg.py
        'mpi4py': _module('mpi4py'),               # tensor/io.py, not used: the import would start MPI
        'scipy.signal.signaltools': _module('signaltools')}        # tensor/nnet/conv.py does without; slow to import


_REPLACEMENTS = _replacements()


# ---------------------------------------------------------------- patches of a module

def rewrite(owner, name, changes):
    """Recompile a method with changes to its source: pattern to replacement. Raises ImportError if one is not found."""
    lines, first = inspect.getsourcelines(getattr(owner, name))
    source = textwrap.dedent(''.join(lines))
    for old, new in changes.items():
        source, count = re.subn(old, new, source, flags=re.DOTALL)
        if not count:
            raise ImportError(f'{owner.__name__}.{name} differs from Theano 1.0.5: install that version')
    names = {}
    # Keep the line numbers for tracebacks.
    code = compile('\n' * (first - 1) + source, inspect.getsourcefile(owner), 'exec')
    exec(code, vars(sys.modules[owner.__module__]), names)
    setattr(owner, name, names[name])


def _patch(module):
    """Patch a module of Theano after it is loaded."""
    match module.__name__:
        case 'theano.configparser':
            _use_settings(module)
        case 'theano.scalar.basic':
            # With floatX=float64, a float becomes float32 only if that is exact. In NumPy 2, np.float32(0.1) == 0.1.
            rewrite(module.NumpyAutocaster, '__call__', {'x == x_': 'np.asarray(x) == x_'})
            upcast = module.upcast
            # tensor/basic.py (ceil_intdiv) and sparse/opt.py pass variables, which NumPy no longer takes as dtypes.
            module.upcast = lambda *dtypes: upcast(*(
                v.dtype if isinstance(v, module.gof.Variable) else v for v in dtypes))
        case 'theano.misc.safe_asarray':           # scalar/basic.py tries types that cannot hold an integer
            asarray = module._asarray
            module._asarray = lambda a, dtype, order=None: asarray(
                np.asarray(a) if isinstance(a, (int, list, tuple)) else a, dtype, order)
        case 'theano.gradient':                    # passes zeros_like a variable as dtype
            module.ConsiderConstant.grad = module.ZeroGrad.grad = lambda self, inputs, gradients: [
                g.zeros_like() for g in gradients]
        case 'theano.tensor.opt':                  # updates get the memory of their old values before others take it
            rewrite(module.InplaceElemwiseOptimizer, 'apply', {r'list\((graph\.io_toposort\(.*?\))\)': (
                r'sorted(\1, key=lambda node: not any(v in update_outs for v in node.outputs))')})
        case 'theano.compile.function_module':     # with allow_gc=False, free also took the values of shared variables
            rewrite(module.Function, 'free', {r'not isinstance\(key, theano.gof.Constant\)': 'key.owner'})
            call = module.Function.__call__

            def call_alone(self, *inputs, **named):        # other threads wait, since its arrays stay the same
                with vars(self).setdefault('lock', threading.RLock()):
                    return call(self, *inputs, **named)
            module.Function.__call__ = call_alone
        case 'theano.tensor.raw_random':           # copy.copy of a generator now shares its state
            module.copy = copy.deepcopy
        case 'theano.sandbox.multinomial':         # multiplies a number of rows by another one, an int8
            module.as_scalar = module.theano.scalar.convert_to_int64
        case 'theano.sandbox.rng_mrg':             # combines an int32 with 0xffffffff, in Python
            draw = module.mrg_next_value
            module.mrg_next_value = lambda *arguments, mask, **more: draw(*arguments, mask=np.int64(mask), **more)


# ---------------------------------------------------------------- the import hook

def _import(name, globals=None, locals=None, fromlist=(), level=0):
    """Import like __import__, but from _REPLACEMENTS first, and parts of SciPy only when they are used."""
    top = name.partition('.')[0]
    if level == 0 and name in _REPLACEMENTS:
        return _REPLACEMENTS[name if fromlist else top]
    if level == 0 and top == 'scipy' and not fromlist:
        return scipy
    module = __import__(name, globals, locals, fromlist, level)
    return _REPLACEMENTS['numpy'] if module is np else module


_BUILTINS = dict(vars(builtins), __import__=_import)


class _Loader(importlib.machinery.SourceFileLoader):
    """Load a module of Theano so that it imports by `_import`, and patch it."""

    def exec_module(self, module):
        vars(module)['__builtins__'] = _BUILTINS
        super().exec_module(module)
        _patch(module)


class _Finder:
    """Find Theano's modules for `_Loader`, which caches bytecode as Python itself does."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition('.')[0] != 'theano':
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


# ---------------------------------------------------------------- the import

def _import_theano():
    """Import Theano with these settings and patches, and return it."""
    for name in ('theano.configdefaults', 'theano.tensor.blas', 'theano.gof.cmodule'):     # compilers and BLAS
        logging.getLogger(name).setLevel(logging.ERROR)
    # By file or module; this one has _import, by which Theano's modules import.
    warnings.filterwarnings('ignore', module=r'(.*[/\\])?theano[./\\]|engine\.backend\.theano_setup$')
    for name in [name for name in sys.modules if name.split('.')[0] == 'theano']:
        del sys.modules[name]                              # from an import without the patches, even a failed one
    # theano.scan's loop in C does not compile. Without this module, Theano uses the one in Python.
    sys.modules['theano.scan_module.scan_perform_ext'] = None
    sys.meta_path.insert(sys.meta_path.index(importlib.machinery.PathFinder), _Finder)     # other hooks stay before it
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        import theano
        import theano.tensor
    compiler.use(compiler.cxx, theano.config.compiledir, theano.config.gcc.cxxflags)
    if compiler.cxx and not compiler.openmp() and compiler.threads() > 1:
        warn(f'{compiler.cxx} has no OpenMP, so the kernel uses one of {compiler.threads()} cores; {compiler.OPENMP}')
    return theano


theano = _import_theano()
tt = theano.tensor
