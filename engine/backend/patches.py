"""Patch Theano 1.0.5 in memory for Python 3.10 and NumPy 2.0 and later. Its files stay unchanged.

An import hook loads Theano's modules. In these modules, and in no others, `numpy` also has the names that NumPy has
removed, and modules that no longer exist are replaced. `_patch` patches a module as soon as it is loaded. Comments name
the place in Theano that needs a patch.
"""
import builtins
import copy
import importlib.machinery
import inspect
import re
import shutil
import sys
import textwrap
import types

import numpy as np
import scipy


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

def _patch(module):
    """Patch a module of Theano after it is loaded."""
    match module.__name__:
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
        case 'theano.tensor.raw_random':           # copy.copy of a generator now shares its state
            module.copy = copy.deepcopy
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
    """Load a module of Theano so that it imports by `_import`, and patch it. hooks: further patches, by module name."""
    hooks = {}

    def exec_module(self, module):
        vars(module)['__builtins__'] = _BUILTINS
        super().exec_module(module)
        _patch(module)
        self.hooks.get(module.__name__, lambda module: None)(module)


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


def before_import(hooks):
    """Install the import hook. hooks: name of a module of Theano to a function that patches it."""
    _Loader.hooks = hooks
    # theano.scan's loop in C does not compile. Without this module, Theano uses the one in Python.
    sys.modules['theano.scan_module.scan_perform_ext'] = None
    first = sys.meta_path.index(importlib.machinery.PathFinder)           # other hooks stay before it
    sys.meta_path.insert(first, _Finder)
