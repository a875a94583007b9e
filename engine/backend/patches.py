"""Patches of Theano 1.0.5, in memory, for later Pythons and NumPys than it knows: its files stay as they are.

Where something is missing, a loader of ours loads Theano's modules. It gives them, and nobody else, the names that
NumPy had and stand-ins for modules that are gone, and patches a module as soon as it is loaded. Beside each patch stand
the place in Theano that needs it and the first version of Python or NumPy without what it asks for.
"""
import builtins
import copy
import importlib.machinery
import importlib.util
import re
import shutil
import sys
import sysconfig
import types
import warnings
import zlib

import numpy as np
import scipy

PYTHON = sys.version_info[:2]
NUMPY, SCIPY = [tuple(int(number) for number in module.__version__.split('.')[:2]) for module in (np, scipy)]


# ---------------------------------------------------------------- names and modules that are gone

class _Cast(dict):
    """numpy.cast: type to a function that converts to it."""
    def __missing__(self, dtype):
        return lambda x: np.asarray(x).astype(getattr(dtype, 'dtype', dtype))      # that of a type of Theano's


def _module(name, **names):
    module = types.ModuleType(name)
    vars(module).update(names)
    return module


# Name to what it was, given where NumPy lacks it: the first such NumPy, and where Theano uses it.
NAMES = {
    'bool': lambda: bool,                         # 1.24, before 2.0; scalar/basic.py and others, getattr(np, dtype)
    'complex': lambda: complex,                   # 1.24; scalar/basic.py, modulo and complex numbers
    'product': lambda: np.prod,                   # 2.0; scalar/basic.py, Mul in Python
    'cast': _Cast,                                # 2.0; scalar/basic.py, gradients of exp2, arcsin and others
    'sctype2char': lambda: lambda dtype: np.dtype(dtype).char,   # 2.0; tensor/elemwise.py, functions of whole numbers
    'ComplexWarning': lambda: np.exceptions.ComplexWarning,      # 2.0; tensor/slinalg.py, tensor/nnet/conv.py
    'MAXDIMS': lambda: -2 ** 31,                  # 2.0; tensor/extra_ops.py, for "no axis": now NPY_RAVEL_AXIS in C
}


def _old_numpy():
    """Return a copy of NumPy's namespace with the names that it lacks."""
    numpy = _module('numpy', **dict(vars(np), __getattr__=lambda name: getattr(np, name)))    # for what comes later
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')           # of those that are about to go
        missing = [name for name in NAMES if not hasattr(np, name)]
    vars(numpy).update((name, NAMES[name]()) for name in missing)
    return numpy


def _gone(name):
    try:
        return importlib.util.find_spec(name) is None
    except ImportError:                            # of a package that is gone
        return True


def _distutils():
    """Return what gof/cmodule.py and configdefaults.py use of distutils, which Python 3.12 dropped, by full names."""
    def get_python_inc(plat_specific=False):
        return sysconfig.get_path('platinclude' if plat_specific else 'include')

    def get_python_lib(plat_specific=False, standard_lib=False):
        return sysconfig.get_path(('plat' if plat_specific else '') + 'stdlib' if standard_lib
                                  else 'platlib' if plat_specific else 'purelib')

    config = _module('distutils.sysconfig', get_config_h_filename=sysconfig.get_config_h_filename,
                     get_config_var=sysconfig.get_config_var, get_python_inc=get_python_inc,
                     get_python_lib=get_python_lib, get_python_version=sysconfig.get_python_version)
    spawn = _module('distutils.spawn', find_executable=shutil.which)
    return {'distutils': _module('distutils', sysconfig=config, spawn=spawn), 'distutils.sysconfig': config,
            'distutils.spawn': spawn}


def _later(module, *names):
    """Return functions of a module by name, which import it when they are called."""
    def later(name):
        return lambda *arguments, **more: getattr(importlib.import_module(module), name)(*arguments, **more)
    return {name: later(name) for name in names}


def _stand_ins():
    """Return modules by their full names: the old NumPy, and those that are gone."""
    modules = {'numpy': _old_numpy()}
    if PYTHON >= (3, 12):
        modules.update(_distutils())
        modules['imp'] = _module('imp')            # tests/breakpoint.py, which gpuarray/opt.py imports: not used
    if _gone('numpy.distutils'):                   # gof/cmodule.py, tensor/blas.py; from Python 3.12 on
        include = _module('numpy.distutils.misc_util', get_numpy_include_dirs=lambda: [np.get_include()])
        modules['numpy.distutils'] = modules['numpy'].distutils = _module('numpy.distutils', misc_util=include)
    if _gone('numpy.linalg.linalg'):               # gpuarray/linalg.py; from NumPy 2.4 on
        modules['numpy.linalg.linalg'] = np.linalg
    if SCIPY >= (1, 8):                            # tensor/nnet/conv.py and abstract_conv.py; gone, or slow to import
        modules['scipy.signal.sigtools'] = _module('sigtools', **_later('scipy.signal._sigtools', '_convolve2d'))
        modules['scipy.signal.signaltools'] = _module('signaltools', **_later(
            'scipy.signal._signaltools', '_valfrommode', '_bvalfromboundary', 'convolve'))
    if _gone('pkg_resources'):                     # gpuarray/linalg.py; setuptools brought it up to version 80
        modules['pkg_resources'] = _module('pkg_resources', DistributionNotFound=ImportError)
    return modules


# ---------------------------------------------------------------- patches of a module, by versions of NumPy

def _whole_numbers(safe_asarray):
    """Let whole numbers be converted to a type that cannot hold them, as autocasting tries: an error from 2.0 on."""
    asarray = safe_asarray._asarray

    def converted(a, dtype, order=None):
        return asarray(np.asarray(a) if isinstance(a, (int, list, tuple)) else a, dtype, order)

    safe_asarray._asarray = converted


class _Float(float):
    """A float to which an array is compared in float64, not in its own type."""
    __hash__ = float.__hash__

    def __eq__(self, other):
        return np.float64(self) == other


def _autocasting(basic):
    """Let a float become float32 only where float32 holds it, with floatX=float64.

    scalar/basic.py, NumpyAutocaster, tries by ==, and from 2.0 on np.float32(0.1) == 0.1: x * 0.1 would take the 0.1
    of float32.
    """
    call = basic.NumpyAutocaster.__call__
    basic.NumpyAutocaster.__call__ = lambda self, x: call(self, _Float(x) if type(x) is float else x)


def _inverse(basic):
    """Let Inv in Python divide as precisely as its argument is: scalar/basic.py divides np.float32(1) by a float, which
    from 2.0 on is float32."""
    impl = basic.Inv.impl
    basic.Inv.impl = lambda self, x: impl(self, np.asarray(x))


def _upcast(basic):
    """Let scalar.upcast take variables, as tensor/basic.py (ceil_intdiv) and sparse/opt.py do.

    From 2.3 on, an object whose attribute dtype is text is no dtype.
    """
    upcast = basic.upcast

    def upcast_all(*dtypes):
        return upcast(*(dtype.dtype if isinstance(dtype, basic.gof.Variable) else dtype for dtype in dtypes))

    basic.upcast = upcast_all


def _zeros_like(gradient):
    """Let consider_constant and zero_grad have gradients: gradient.py gives zeros_like a variable as dtype."""
    def zeros(self, inputs, gradients):
        return [g.zeros_like() for g in gradients]

    gradient.ConsiderConstant.grad = gradient.ZeroGrad.grad = zeros


def _generators(raw_random):
    """Let RandomFunction draw from a copy of a generator that is to stay as it is: from 2.0 on copy.copy shares it."""
    raw_random.copy = copy.deepcopy


def _mrg(rng_mrg):
    """Let MRG_RandomStreams run in NumPy: sandbox/rng_mrg.py has an int32 and 0xffffffff, an error from 2.0 on."""
    next_value = rng_mrg.mrg_next_value
    rng_mrg.mrg_next_value = lambda *arguments, mask, **more: next_value(*arguments, mask=np.int64(mask), **more)


# What NumPy's C API lacks from 2.0 on, in generated code, and what stands for it.
C_CODE = {
    r'PyArray_DESCR\((\w+)\)->elsize': r'PyArray_ITEMSIZE(\1)',          # sandbox/rng_mrg.py, sparse/opt.py
    r'\bNPY_MAXDIMS\b': 'NPY_RAVEL_AXIS',          # for "no axis": tensor/basic.py, extra_ops.py, subtensor.py
}


def _generated_code(cmodule):
    """Change generated C++ code before Theano looks, by this code, for what it has compiled."""
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
    """Let gof/c_code/lazylinker_c.c use names of Python 2, which NumPy's headers define before 2.1."""
    compile_str = cmodule.GCC_compiler.compile_str

    def compile_changed(module_name, src_code, *arguments, **more):
        if module_name == 'lazylinker_ext':
            names = ''.join(f'#define PyInt_{name} PyLong_{name}\n' for name in ('AsLong', 'FromLong', 'Check'))
            src_code = f'#define NPY_PY3K\n{names}{src_code}'
        return compile_str(module_name, src_code, *arguments, **more)

    cmodule.GCC_compiler.compile_str = staticmethod(compile_changed)


def _scatter_add(subtensor):
    """Let AdvancedIncSubtensor1 run in NumPy: the iterator of its C++ code is gone from NumPy 2.0 on."""
    def c_code(self, *arguments):
        raise subtensor.theano.gof.utils.MethodNotDefined('c_code')

    subtensor.AdvancedIncSubtensor1.c_code = c_code


# Module of Theano to its patches, each with the first NumPy that needs it.
PATCHES = {
    'theano.gof.cmodule': [((2, 0), _generated_code), ((2, 1), _lazylinker)],
    'theano.gradient': [((2, 3), _zeros_like)],
    'theano.misc.safe_asarray': [((2, 0), _whole_numbers)],
    'theano.sandbox.rng_mrg': [((2, 0), _mrg)],
    'theano.scalar.basic': [((2, 0), _autocasting), ((2, 0), _inverse), ((2, 3), _upcast)],
    'theano.tensor.raw_random': [((2, 0), _generators)],
    'theano.tensor.subtensor': [((2, 0), _scatter_add)],
}


# ---------------------------------------------------------------- how they get into Theano

class _Loader(importlib.machinery.SourceFileLoader):
    """Load a module of Theano, which imports by `_import`, and patch it."""

    def exec_module(self, module):
        vars(module)['__builtins__'] = _BUILTINS
        super().exec_module(module)
        for since, patch in PATCHES.get(module.__name__, ()):
            if NUMPY >= since:
                patch(module)


class _Finder:
    """Find Theano's modules for `_Loader`, which uses their compiled bytecode as Python itself does."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition('.')[0] != 'theano':
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


_MODULES = _stand_ins()


def _import(name, globals=None, locals=None, fromlist=(), level=0):
    """__import__, with the stand-ins.

    SciPy imports its parts when they are used, from 1.9 on: scipy.stats, which Theano hardly uses, takes half a second.
    """
    top = name.partition('.')[0]
    if level == 0 and name in _MODULES:
        return _MODULES[name if fromlist else top]
    if level == 0 and top == 'scipy' and not fromlist and SCIPY >= (1, 9):
        return scipy
    module = __import__(name, globals, locals, fromlist, level)
    return _MODULES['numpy'] if module is np else module


_BUILTINS = dict(vars(builtins), __import__=_import)


def needed():
    """Return whether Theano needs patches to be imported."""
    return NUMPY >= (1, 24) or any(not name.startswith(('numpy', 'scipy')) for name in _MODULES)


def refuse_unpatched():
    """Raise ImportError where Theano was imported without the patches that this NumPy needs."""
    if 'theano' in sys.modules and NUMPY >= (1, 24) and _Finder not in sys.meta_path:
        raise ImportError('theano was imported before charlstm, without the patches that NumPy '
                          f'{np.__version__} needs: import charlstm first')


def before_import():
    """Let Theano be imported with the patches that this Python and this NumPy need, if any."""
    if needed() and _Finder not in sys.meta_path:
        first = sys.meta_path.index(importlib.machinery.PathFinder)           # others still go before that
        sys.meta_path.insert(first, _Finder)


# ---------------------------------------------------------------- patches on every Python

def _code_version(op):
    """Return a version of the C code of one of Theano's COps.

    Their own is a hash(), which differs from process to process, so that each
    process would compile them again.
    """
    parameters = op.params_type.c_code_cache_version() if hasattr(op, 'params_type') else ()
    return (zlib.crc32(''.join(op.func_codes).encode()), parameters)


def after_import(theano):
    """Patch what is patched whoever imported Theano, and however."""
    theano.gof.op.COp.c_code_cache_version = _code_version
    if PYTHON >= (3, 11) or NUMPY >= (2, 0):
        # The C loop of theano.scan does not compile (longintrepr.h, PyArray_Descr), and trying raises.
        # Where it cannot be imported, Theano takes its Python loop instead.
        sys.modules['theano.scan_module.scan_perform_ext'] = None


def compiled_for():
    """Return the name of a folder whose compiled code fits: of this Python, this NumPy and these patches."""
    with open(__file__, 'rb') as f:
        return 'python{}-numpy{}-patches{:08x}'.format('{}.{}'.format(*PYTHON), np.__version__, zlib.crc32(f.read()))
