"""Patch Theano 1.0.5 in memory for Python 3.10 and NumPy 2.0 and later. Its files stay unchanged.

An import hook loads Theano's modules. In these modules, and in no others, `numpy` also has the names that NumPy has
removed, and modules that no longer exist have replacements. A module with an entry in PATCHES is patched as soon as it
is loaded. Each entry below names the place in Theano that needs it.
"""
import builtins
import copy
import importlib.machinery
import importlib.util
import inspect
import re
import shutil
import sys
import sysconfig
import textwrap
import types
import zlib
from pathlib import Path

import numpy as np
import scipy


def compiled_for():
    """Return the name of a folder for code that was compiled for this Python and NumPy, and with these patches."""
    patches = b''.join(Path(__file__).with_name(f'{name}.py').read_bytes() for name in ('patches', 'gpu', 'formulas'))
    python = '{}.{}'.format(*sys.version_info)
    return f'python{python}-numpy{np.__version__}-patches{zlib.crc32(patches):08x}'


def rewrite(owner, name, changes):
    """Compile a method again with changes of its source: regular expression to replacement.

    Raises ImportError where one of them is not found.
    """
    lines, first = inspect.getsourcelines(getattr(owner, name))
    source = textwrap.dedent(''.join(lines))
    for old, new in changes.items():
        source, count = re.subn(old, new, source, flags=re.DOTALL)
        if not count:
            raise ImportError(f'{owner.__name__}.{name} is not that of Theano 1.0.5: install that version')
    names = {}
    # Keep the line numbers for tracebacks.
    code = compile('\n' * (first - 1) + source, inspect.getsourcefile(owner), 'exec')
    exec(code, vars(sys.modules[owner.__module__]), names)
    setattr(owner, name, names[name])


# ---------------------------------------------------------------- names and modules that no longer exist

class _Cast(dict):
    """Stand for numpy.cast: type to a function that converts to it."""
    def __missing__(self, dtype):
        return lambda x: np.asarray(x).astype(getattr(dtype, 'dtype', dtype))      # that of a type of Theano's


# Name to what it was. Comments: where Theano uses it.
REMOVED_NAMES = {
    'complex': complex,                           # scalar/basic.py, modulo and complex numbers
    'product': np.prod,                           # scalar/basic.py, Mul in Python
    'cast': _Cast(),                              # scalar/basic.py, gradients of exp2, arcsin and others
    'sctype2char': lambda dtype: np.dtype(dtype).char,           # tensor/elemwise.py, functions of whole numbers
    'ComplexWarning': np.exceptions.ComplexWarning,              # tensor/slinalg.py, tensor/nnet/conv.py
    'MAXDIMS': -2 ** 31,                          # tensor/extra_ops.py, for "no axis": now NPY_RAVEL_AXIS in C
}


def _module(name, **names):
    module = types.ModuleType(name)
    vars(module).update(names)
    return module


def _lazy(module, name):
    """Return a function of a module, which is imported when the function is called."""
    return lambda *arguments, **more: getattr(importlib.import_module(module), name)(*arguments, **more)


def _replacements():
    """Return the modules that Theano imports instead of others, by full names."""
    # gof/cmodule.py, configdefaults.py, tensor/blas.py
    config = _module('distutils.sysconfig', get_config_var=sysconfig.get_config_var,
                     get_python_version=sysconfig.get_python_version,
                     get_python_inc=lambda plat_specific=False: sysconfig.get_path(
                         'platinclude' if plat_specific else 'include'),
                     get_python_lib=lambda plat_specific, standard_lib: sysconfig.get_path('platstdlib'))
    spawn = _module('distutils.spawn', find_executable=shutil.which)
    include = _module('numpy.distutils.misc_util', get_numpy_include_dirs=lambda: [np.get_include()])
    distutils = _module('numpy.distutils', misc_util=include)
    sigtools, signaltools = 'scipy.signal._sigtools', 'scipy.signal._signaltools'
    return {
        'distutils': _module('distutils', sysconfig=config, spawn=spawn),
        'distutils.sysconfig': config, 'distutils.spawn': spawn, 'numpy.distutils': distutils,
        'numpy': _module('numpy', **vars(np) | REMOVED_NAMES | dict(
            distutils=distutils, __getattr__=lambda name: getattr(np, name))),     # parts that are imported later
        'numpy.linalg.linalg': np.linalg,          # gpuarray/linalg.py
        'imp': _module('imp'),                     # tests/breakpoint.py, which gpuarray/opt.py imports: not used
        'pkg_resources': _module('pkg_resources', DistributionNotFound=ImportError),       # gpuarray/linalg.py
        'mpi4py': _module('mpi4py'),               # tensor/io.py, not used: the import would start MPI
        # tensor/nnet/conv.py, abstract_conv.py: removed, or slow to import
        'scipy.signal.sigtools': _module('sigtools', _convolve2d=_lazy(sigtools, '_convolve2d')),
        'scipy.signal.signaltools': _module('signaltools', **{name: _lazy(signaltools, name) for name in (
            '_valfrommode', '_bvalfromboundary', 'convolve')})}


_REPLACEMENTS = _replacements()


# ---------------------------------------------------------------- patches of a module

def _integers(safe_asarray):
    """Let misc/safe_asarray.py convert an integer to a type that cannot hold it, as scalar/basic.py tries to do."""
    asarray = safe_asarray._asarray
    safe_asarray._asarray = lambda a, dtype, order=None: asarray(
        np.asarray(a) if isinstance(a, (int, list, tuple)) else a, dtype, order)


def _autocast(basic):
    """Let a float become float32 only where float32 holds it, with floatX=float64: now np.float32(0.1) == 0.1."""
    rewrite(basic.NumpyAutocaster, '__call__', {'x == x_': 'np.asarray(x) == x_'})


def _inverse(basic):
    """Let Inv in Python divide in float64: scalar/basic.py divides np.float32(1) by a float, which now is float32."""
    impl = basic.Inv.impl
    basic.Inv.impl = lambda self, x: impl(self, np.asarray(x))


def _upcast(basic):
    """Let scalar.upcast take variables, which are no dtypes now, from tensor/basic.py (ceil_intdiv), sparse/opt.py."""
    upcast = basic.upcast
    basic.upcast = lambda *dtypes: upcast(*(v.dtype if isinstance(v, basic.gof.Variable) else v for v in dtypes))


def _degrees(basic):
    """Let deg2rad and rad2deg have gradients: scalar/basic.py passes the type of a variable as dtype."""
    for op in (basic.Deg2Rad, basic.Rad2Deg):
        rewrite(op, 'L_op', {r', gz\.type\)': ', gz.type.dtype)'})


def _zeros_like(gradient):
    """Let consider_constant and zero_grad have gradients: gradient.py passes zeros_like a variable as dtype."""
    gradient.ConsiderConstant.grad = gradient.ZeroGrad.grad = lambda self, inputs, gradients: [
        g.zeros_like() for g in gradients]


def _random_generators(raw_random):
    """Let RandomFunction draw from a copy of its generator: copy.copy of one now shares its state."""
    raw_random.copy = copy.deepcopy


def _mrg(rng_mrg):
    """Let MRG_RandomStreams run in NumPy: sandbox/rng_mrg.py combines an int32 with 0xffffffff, now an error."""
    next_value = rng_mrg.mrg_next_value
    rng_mrg.mrg_next_value = lambda *arguments, mask, **more: next_value(*arguments, mask=np.int64(mask), **more)


def _scatter_add(subtensor):
    """Let AdvancedIncSubtensor1 run in NumPy: the iterator that its C++ code uses does not exist any more."""
    def c_code(self, *arguments):
        raise subtensor.theano.gof.utils.MethodNotDefined('c_code')

    subtensor.AdvancedIncSubtensor1.c_code = c_code


# Module of Theano to its patches.
PATCHES = {
    'theano.gradient': [_zeros_like],
    'theano.misc.safe_asarray': [_integers],
    'theano.sandbox.rng_mrg': [_mrg],
    'theano.scalar.basic': [_autocast, _degrees, _inverse, _upcast],
    'theano.tensor.raw_random': [_random_generators],
    'theano.tensor.subtensor': [_scatter_add],
}
# Regular expressions for what does not compile in C++, and their replacements.
C_CODE = {
    r'PyArray_DESCR\((\w+)\)->elsize': r'PyArray_ITEMSIZE(\1)',          # sandbox/rng_mrg.py, sparse/opt.py
    r'\bNPY_MAXDIMS\b': 'NPY_RAVEL_AXIS',          # for "no axis": tensor/basic.py, extra_ops.py, subtensor.py
    r'\bPyInt_(\w+)|defined\(NPY_PY3K\)': lambda found: f'PyLong_{found[1]}' if found[1] else '1',     # lazylinker_c.c
    # tensor/blas.py: BatchedDot wants a gemm of constant matrices, which Theano's replacement of a BLAS does not have.
    r'const dtype\*, const dtype\*, const int\*, const dtype\*, const int\*,':
        'const dtype*, dtype*, const int*, dtype*, const int*,',
    # scalar/basic.py: complex numbers, in which NumPy's type has no names for its two parts.
    r'(?s)(struct theano_complex\d+) : public npy_complex\d+(.*? scalar_type;)': r'\1\2 scalar_type real, imag;',
}


def c_code(text):
    """Return C++ code of Theano's, changed by C_CODE."""
    for old, new in C_CODE.items():
        text = re.sub(old, new, text)
    return text


# ---------------------------------------------------------------- the import hook

def _import(name, globals=None, locals=None, fromlist=(), level=0):
    """Import like __import__, but from _REPLACEMENTS first.

    `import scipy` alone is enough, as SciPy imports its parts when they are used. scipy.stats, which Theano hardly
    uses, would take half a second.
    """
    top = name.partition('.')[0]
    if level == 0 and name in _REPLACEMENTS:
        return _REPLACEMENTS[name if fromlist else top]
    if level == 0 and top == 'scipy' and not fromlist:
        return scipy
    module = __import__(name, globals, locals, fromlist, level)
    return _REPLACEMENTS['numpy'] if module is np else module


_BUILTINS = dict(vars(builtins), __import__=_import)


class _Loader(importlib.machinery.SourceFileLoader):
    """Load a module of Theano, let it import by `_import`, and patch it."""

    def exec_module(self, module):
        vars(module)['__builtins__'] = _BUILTINS
        super().exec_module(module)
        for patch in PATCHES.get(module.__name__, ()):
            patch(module)


class _Finder:
    """Find Theano's modules for `_Loader`, which uses compiled bytecode as Python itself does."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition('.')[0] != 'theano':
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def before_import(more):
    """Install the import hook. more: module of Theano to a patch, besides PATCHES."""
    for name, patch in more.items():
        PATCHES.setdefault(name, []).append(patch)
    # The loop of theano.scan in C does not compile. Without this module Theano takes the one in Python.
    sys.modules['theano.scan_module.scan_perform_ext'] = None
    first = sys.meta_path.index(importlib.machinery.PathFinder)           # other hooks stay before it
    sys.meta_path.insert(first, _Finder)
