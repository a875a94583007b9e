"""Patch Theano 1.0.5 in memory for Pythons and NumPys that are newer than it. Its files stay unchanged.

An import hook loads Theano's modules. In these modules, and in no others, `numpy` also has the names that NumPy has
removed, and modules that no longer exist have replacements. A module with an entry in PATCHES is patched as soon as it
is loaded. Each entry below names the place in Theano that needs it and the first version of Python or NumPy that does.
"""
import builtins
import contextlib
import copy
import importlib.machinery
import importlib.util
import inspect
import os
import pickle
import re
import shutil
import sys
import sysconfig
import types
import warnings
import zlib

import numpy as np
import scipy

from engine.model import files
from engine.backend import gpu

PYTHON = sys.version_info[:2]
NUMPY, SCIPY = [tuple(int(number) for number in module.__version__.split('.')[:2]) for module in (np, scipy)]


# ---------------------------------------------------------------- names and modules that no longer exist

class _Cast(dict):
    """Stand for numpy.cast: type to a function that converts to it."""
    def __missing__(self, dtype):
        return lambda x: np.asarray(x).astype(getattr(dtype, 'dtype', dtype))      # that of a type of Theano's


def _module(name, **names):
    module = types.ModuleType(name)
    vars(module).update(names)
    return module


# Name to what it was. Comments: the first NumPy without it, and where Theano uses it.
REMOVED_NAMES = {
    'bool': lambda: bool,                         # 1.24, before 2.0; scalar/basic.py and others, getattr(np, dtype)
    'complex': lambda: complex,                   # 1.24; scalar/basic.py, modulo and complex numbers
    'product': lambda: np.prod,                   # 2.0; scalar/basic.py, Mul in Python
    'cast': _Cast,                                # 2.0; scalar/basic.py, gradients of exp2, arcsin and others
    'sctype2char': lambda: lambda dtype: np.dtype(dtype).char,   # 2.0; tensor/elemwise.py, functions of whole numbers
    'ComplexWarning': lambda: np.exceptions.ComplexWarning,      # 2.0; tensor/slinalg.py, tensor/nnet/conv.py
    'MAXDIMS': lambda: -2 ** 31,                  # 2.0; tensor/extra_ops.py, for "no axis": now NPY_RAVEL_AXIS in C
}


def _old_numpy():
    """Return a copy of NumPy's namespace that also has REMOVED_NAMES."""
    numpy = _module('numpy', **dict(vars(np), __getattr__=lambda name: getattr(np, name)))    # parts imported later
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')           # of names that NumPy will remove
        missing = [name for name in REMOVED_NAMES if not hasattr(np, name)]
    vars(numpy).update((name, REMOVED_NAMES[name]()) for name in missing)
    return numpy


def _distutils():
    """Return what gof/cmodule.py and configdefaults.py use of distutils, by full names."""
    config = _module('distutils.sysconfig', get_config_var=sysconfig.get_config_var,
                     get_python_version=sysconfig.get_python_version,
                     get_python_inc=lambda plat_specific=False: sysconfig.get_path(
                         'platinclude' if plat_specific else 'include'),
                     get_python_lib=lambda plat_specific, standard_lib: sysconfig.get_path('platstdlib'))
    spawn = _module('distutils.spawn', find_executable=shutil.which)
    return {'distutils': _module('distutils', sysconfig=config, spawn=spawn), 'distutils.sysconfig': config,
            'distutils.spawn': spawn}


def _lazy_functions(module, *names):
    """Return a module's functions by name; the module is imported when one of them is called."""
    def lazy(name):
        return lambda *arguments, **more: getattr(importlib.import_module(module), name)(*arguments, **more)
    return {name: lazy(name) for name in names}


def _replacements():
    """Return the modules that Theano imports instead of others, by full names."""
    modules = {'numpy': _old_numpy()}
    if PYTHON >= (3, 12):
        modules.update(_distutils())
        modules['imp'] = _module('imp')            # tests/breakpoint.py, which gpuarray/opt.py imports: not used
        include = _module('numpy.distutils.misc_util', get_numpy_include_dirs=lambda: [np.get_include()])
        modules['numpy.distutils'] = modules['numpy'].distutils = _module(    # gof/cmodule.py, tensor/blas.py
            'numpy.distutils', misc_util=include)
    if NUMPY >= (2, 4):
        modules['numpy.linalg.linalg'] = np.linalg           # gpuarray/linalg.py
    if SCIPY >= (1, 8):                            # tensor/nnet/conv.py, abstract_conv.py; removed, or slow to import
        modules['scipy.signal.sigtools'] = _module('sigtools', **_lazy_functions(
            'scipy.signal._sigtools', '_convolve2d'))
        modules['scipy.signal.signaltools'] = _module('signaltools', **_lazy_functions(
            'scipy.signal._signaltools', '_valfrommode', '_bvalfromboundary', 'convolve'))
    if importlib.util.find_spec('pkg_resources') is None:    # gpuarray/linalg.py; removed from setuptools 81
        modules['pkg_resources'] = _module('pkg_resources', DistributionNotFound=ImportError)
    return modules


_REPLACEMENTS = _replacements()


# ---------------------------------------------------------------- patches of a module
#
# "now" is from the version of NumPy on that PATCHES names.

def _integers(safe_asarray):
    """Let misc/safe_asarray.py convert an integer to a type that cannot hold it, as scalar/basic.py tries to do."""
    asarray = safe_asarray._asarray

    def converted(a, dtype, order=None):
        return asarray(np.asarray(a) if isinstance(a, (int, list, tuple)) else a, dtype, order)

    safe_asarray._asarray = converted


class _Float(float):
    """A float that is compared with an array in float64, not in the array's type."""
    __hash__ = float.__hash__

    def __eq__(self, other):
        return np.float64(self) == other


def _autocast(basic):
    """Let a float become float32 only where float32 holds it, with floatX=float64.

    scalar/basic.py, NumpyAutocaster, tests that by ==, and now np.float32(0.1) == 0.1.
    """
    call = basic.NumpyAutocaster.__call__
    basic.NumpyAutocaster.__call__ = lambda self, x: call(self, _Float(x) if type(x) is float else x)


def _inverse(basic):
    """Let Inv in Python divide in float64: scalar/basic.py divides np.float32(1) by a float, which now is float32."""
    impl = basic.Inv.impl
    basic.Inv.impl = lambda self, x: impl(self, np.asarray(x))


def _upcast(basic):
    """Let scalar.upcast take variables, which are no dtypes now, from tensor/basic.py (ceil_intdiv), sparse/opt.py."""
    upcast = basic.upcast

    def upcast_all(*dtypes):
        return upcast(*(dtype.dtype if isinstance(dtype, basic.gof.Variable) else dtype for dtype in dtypes))

    basic.upcast = upcast_all


def _zeros_like(gradient):
    """Let consider_constant and zero_grad have gradients: gradient.py passes zeros_like a variable as dtype."""
    def zeros(self, inputs, gradients):
        return [g.zeros_like() for g in gradients]

    gradient.ConsiderConstant.grad = gradient.ZeroGrad.grad = zeros


def _random_generators(raw_random):
    """Let RandomFunction draw from a copy of its generator: copy.copy of one now shares its state."""
    raw_random.copy = copy.deepcopy


def _mrg(rng_mrg):
    """Let MRG_RandomStreams run in NumPy: sandbox/rng_mrg.py combines an int32 with 0xffffffff, now an error."""
    next_value = rng_mrg.mrg_next_value
    rng_mrg.mrg_next_value = lambda *arguments, mask, **more: next_value(*arguments, mask=np.int64(mask), **more)


# Regular expressions for what does not compile in generated code, and their replacements. NumPy 2.0 removed some of its
# C API.
C_CODE = {
    r'PyArray_DESCR\((\w+)\)->elsize': r'PyArray_ITEMSIZE(\1)',          # sandbox/rng_mrg.py, sparse/opt.py
    r'\bNPY_MAXDIMS\b': 'NPY_RAVEL_AXIS',          # for "no axis": tensor/basic.py, extra_ops.py, subtensor.py
    # tensor/blas.py: BatchedDot wants a gemm of constant matrices, which Theano's replacement of a BLAS does not have.
    # Every NumPy has this, but only with these is C code changed.
    r'const dtype\*, const dtype\*, const int\*, const dtype\*, const int\*,':
        'const dtype*, dtype*, const int*, dtype*, const int*,',
}


def _generated_code(cmodule):
    """Change generated C++ code by C_CODE, before Theano searches for it in what it has compiled."""
    code = cmodule.DynamicModule.code

    def changed(text):
        for old, new in C_CODE.items():
            text = re.sub(old, new, text)
        return text

    def changed_code(self):
        if not self.finalized:
            self.support_code = [changed(text) for text in self.support_code]
            for function in self.functions:
                function.code_block = changed(function.code_block)
        return code(self)

    cmodule.DynamicModule.code = changed_code


def _lazylinker(cmodule):
    """Define names of Python 2 for gof/c_code/lazylinker_c.c, which NumPy's headers define before 2.1."""
    compile_str = cmodule.GCC_compiler.compile_str

    def compile_changed(module_name, src_code, *arguments, **more):
        if module_name == 'lazylinker_ext':
            names = ''.join(f'#define PyInt_{name} PyLong_{name}\n' for name in ('AsLong', 'FromLong', 'Check'))
            src_code = f'#define NPY_PY3K\n{names}{src_code}'
        return compile_str(module_name, src_code, *arguments, **more)

    cmodule.GCC_compiler.compile_str = staticmethod(compile_changed)


def _scatter_add(subtensor):
    """Let AdvancedIncSubtensor1 run in NumPy: the iterator that its C++ code uses does not exist any more."""
    def c_code(self, *arguments):
        raise subtensor.theano.gof.utils.MethodNotDefined('c_code')

    subtensor.AdvancedIncSubtensor1.c_code = c_code


# Module of Theano to its patches, each after the first NumPy that needs it.
PATCHES = {
    'theano.gof.cmodule': [((2, 0), _generated_code), ((2, 1), _lazylinker)],
    'theano.gradient': [((2, 3), _zeros_like)],
    'theano.misc.safe_asarray': [((2, 0), _integers)],
    'theano.sandbox.rng_mrg': [((2, 0), _mrg)],
    'theano.scalar.basic': [((2, 0), _autocast), ((2, 0), _inverse), ((2, 3), _upcast)],
    'theano.tensor.raw_random': [((2, 0), _random_generators)],
    'theano.tensor.subtensor': [((2, 0), _scatter_add)],
}


# ---------------------------------------------------------------- the import hook

def _import(name, globals=None, locals=None, fromlist=(), level=0):
    """Import like __import__, but from _REPLACEMENTS first.

    From SciPy 1.9 on, `import scipy` alone is enough, as SciPy imports its parts when they are used. scipy.stats, which
    Theano hardly uses, would take half a second.
    """
    top = name.partition('.')[0]
    if level == 0 and name in _REPLACEMENTS:
        return _REPLACEMENTS[name if fromlist else top]
    if level == 0 and top == 'scipy' and not fromlist and SCIPY >= (1, 9):
        return scipy
    module = __import__(name, globals, locals, fromlist, level)
    return _REPLACEMENTS['numpy'] if module is np else module


_BUILTINS = dict(vars(builtins), __import__=_import)


class _Loader(importlib.machinery.SourceFileLoader):
    """Load a module of Theano, let it import by `_import`, and patch it."""

    def exec_module(self, module):
        vars(module)['__builtins__'] = _BUILTINS
        super().exec_module(module)
        for since, patch in PATCHES.get(module.__name__, ()):
            if NUMPY >= since:
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


def are_needed():
    """Return whether Theano cannot be imported without these patches."""
    return NUMPY >= (1, 24) or 'pkg_resources' in _REPLACEMENTS


def before_import():
    """Install the import hook, if this Python or this NumPy needs it.

    Raises ImportError where Theano was imported without the patches that this NumPy needs.
    """
    if _Finder in sys.meta_path or not are_needed():
        return
    if 'theano' in sys.modules and NUMPY >= (1, 24):
        raise ImportError('theano was imported before charlstm, without the patches that NumPy '
                          f'{np.__version__} needs: import charlstm first')
    first = sys.meta_path.index(importlib.machinery.PathFinder)           # other hooks stay before it
    sys.meta_path.insert(first, _Finder)


# ---------------------------------------------------------------- patches after the import

def _code_version(op):
    """Return a version of the C code of one of Theano's COps.

    Theano takes a hash() for it. That differs from process to process, so each process would compile the Op again.
    """
    parameters = op.params_type.c_code_cache_version() if hasattr(op, 'params_type') else ()
    return (zlib.crc32(''.join(op.func_codes).encode()), parameters)


def _save_keys(key_data):
    """Write the key.pkl of a compiled module, the list of what it was compiled for, so that it is complete or absent.

    Theano writes into the file. Another process that starts meanwhile reads a part of it and removes the module as
    broken, although this process still uses it.
    """
    partial = files.partial_name(key_data.key_pkl)
    try:
        with open(partial, 'wb') as f:
            pickle.dump(key_data, f, protocol=pickle.HIGHEST_PROTOCOL)
        os.replace(partial, key_data.key_pkl)
    finally:
        with contextlib.suppress(OSError):
            os.remove(partial)


def _unless_removed(clear):
    """Return a method that cleans a folder of compiled code, and stops where another process cleans it as well."""
    def clear_quietly(self, *arguments, **settings):
        with contextlib.suppress(FileNotFoundError):
            clear(self, *arguments, **settings)
    return clear_quietly


def _again_if_removed(refresh):
    """Return a method that reads a folder of compiled code, anew where another process removed a part meanwhile."""
    def refresh_again(self, *arguments, **settings):
        for _ in range(20):                        # not without end, since the error may have another cause
            with contextlib.suppress(FileNotFoundError):
                return refresh(self, *arguments, **settings)
        return refresh(self, *arguments, **settings)
    return refresh_again


def after_import(theano):
    """Apply the patches that need no import hook, those for devices included."""
    theano.gof.op.COp.c_code_cache_version = _code_version
    theano.gof.cmodule.KeyData.save_pkl = _save_keys
    cache = theano.gof.cmodule.ModuleCache
    cache.clear_unversioned = _unless_removed(cache.clear_unversioned)         # when the process ends
    cache.refresh = _again_if_removed(cache.refresh)
    # An Op with the properties () counts as one without a version, which is compiled at each start.
    gpu.rewrite(theano.gof.cc.CLinker, 'cmodule_key_', {r'node\.op\.__props__\)': "node.op.__props__ or ('none',))"})
    on_device = theano.config.device != 'cpu'
    if PYTHON >= (3, 11) or NUMPY >= (2, 0) or on_device:
        # theano.scan's loop in C. It does not compile with these (longintrepr.h, PyArray_Descr), and on devices it has
        # the error that gpu.py corrects in the loop in Python. Theano takes that one where the other has no module.
        sys.modules['theano.scan_module.scan_perform_ext'] = None
    if on_device:
        gpu.patch(theano)


def compiled_for():
    """Return the name of a folder for code that was compiled for this Python and NumPy, and with these patches."""
    patches = ''.join(map(inspect.getsource, (sys.modules[__name__], gpu)))
    return f'python{PYTHON[0]}.{PYTHON[1]}-numpy{np.__version__}-patches{zlib.crc32(patches.encode()):08x}'
