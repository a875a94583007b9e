"""Import Theano with this project's settings. Other modules take `theano`, and its tensor module `tt`, from here."""
import functools
import importlib.util
import logging
import os
import sys
import sysconfig
import warnings

from engine.backend import formulas, modules, patches
from engine.backend.modules import CompilerError, compiling  # noqa: F401
from engine.terminal import number_of, warn

HEADER = os.path.join(sysconfig.get_path('include'), 'Python.h')         # all C code for this Python includes it
DEFAULTS = {                 # for Theano's options; the user's settings take precedence
    'floatX': 'float32',     # what GPUs compute in, and twice as fast on CPUs
    'blas.ldflags': '',      # NumPy's own BLAS; Theano finds no other
    'base_compiledir': '~/.theano/charlstm',
    'compile.wait': '1',     # seconds, up to 2, between looks at the lock of another process that imports Theano
    'allow_gc': 'False',     # keep intermediate arrays between calls: new ones cost page faults
}
if not os.path.exists(HEADER):
    DEFAULTS['cxx'] = ''

# Idle threads spin for some microseconds, and then sleep. By default they spin much longer: with another program on the
# same cores, a step then takes ten times as long.
if 'OMP_WAIT_POLICY' not in os.environ:
    os.environ['OMP_WAIT_POLICY'] = 'PASSIVE'
    os.environ.setdefault('GOMP_SPINCOUNT', '1000')


def _use_settings(configparser):
    """Make DEFAULTS the defaults of Theano's options. THEANO_FLAGS and .theanorc still take precedence."""
    add = configparser.AddConfigVar

    def add_changed(name, doc, option, *arguments, **settings):
        option.default = DEFAULTS.get(name, option.default)
        if name == 'compiledir':
            option.filter = functools.partial(_folder, configparser.config, option.filter)
        add(name, doc, option, *arguments, **settings)

    configparser.AddConfigVar = add_changed


def _folder(config, make, path):
    """Make a folder in `path` by Theano's `make`, for this Python and NumPy: Theano would also load code for others."""
    clang = modules.compiler_of(config.cxx).clang
    try:
        return make(os.path.join(path, patches.compiled_for() + (f'-clang{clang}' if clang else '')))
    except (OSError, ValueError) as error:
        raise modules.cannot_keep(error) from None


# ---------------------------------------------------------------- the import

def _check_device(device):
    """Raise ValueError for a device that cannot be used: Theano itself would continue on the CPU."""
    if not getattr(sys.modules.get('theano.gpuarray'), 'pygpu_activated', False):
        why = 'see the message of Theano above' if importlib.util.find_spec('pygpu') else 'pygpu is not installed'
        raise ValueError(f'device={device} cannot be used ({why}): set THEANO_FLAGS=device=cpu')


def _warn_of_slowness(cxx):
    """Warn if a compiler, Python's header, or OpenMP is missing."""
    if not cxx:
        missing = 'there is no C++ compiler' if os.path.exists(HEADER) else f'{HEADER} is missing'
        warn(f'{missing}, so everything runs many times slower; {modules.TO_INSTALL}')
    elif not modules.compiler_of(cxx).openmp and modules.threads() > 1:
        warn(f'{cxx} has no OpenMP, so the kernel uses one of {modules.threads()} cores; {modules.OPENMP}')


def _import_theano():
    """Import Theano with these settings and patches, and return it."""
    for name in ('theano.configdefaults', 'theano.tensor.blas', 'theano.gof.cmodule'):     # compilers and BLAS
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings('ignore', module=r'(.*[/\\])?theano[./\\]|engine\.backend\.patches$')    # by file or module
    for name in [name for name in sys.modules if name.split('.')[0] == 'theano']:
        del sys.modules[name]                              # from an import without the patches, even a failed one
    patches.before_import({'theano.configparser': _use_settings, 'theano.gof.cmodule': modules.install_compiler,
                           'theano.gof.cc': modules.install_cache, 'theano.tensor.elemwise': formulas.install})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            import theano
            import theano.tensor
    except AssertionError as error:
        if error.args and isinstance(error.args[0], OSError):
            raise error.args[0] from None                  # from the first module that Theano compiles
        raise
    if theano.config.device != 'cpu':
        from engine.backend import gpu                     # late: few need it
        _check_device(theano.config.device)
        gpu.patch(theano)
    modules.install(theano)
    _warn_of_slowness(theano.config.cxx)
    return theano


theano = _import_theano()
tt = theano.tensor


# ---------------------------------------------------------------- what Theano computes on

def kernel_runs():
    """Return whether the C kernel can be tried: it needs a CPU, a compiler, and float32 or float64."""
    return bool(theano.config.cxx) and theano.config.device == 'cpu' and theano.config.floatX in ('float32', 'float64')


def device():
    """Return the name of Theano's device and, except for the CPU, the name that its driver gives."""
    if theano.config.device == 'cpu':
        return 'cpu'
    return f'{theano.config.device} ({theano.gpuarray.type.get_context(None).devname.strip()})'


def computes_on(in_c, bfloat16=None):
    """Return a description of what computes the network. in_c: the C kernel. bfloat16: its instructions, or None."""
    if theano.config.device != 'cpu':
        return f'{device()}, by theano.scan, in {theano.config.floatX}'
    threads = modules.threads() if not in_c or modules.compiler_of(theano.config.cxx).openmp else 1
    by = 'by the C kernel' if in_c else 'by theano.scan, many times slower than the C kernel'
    products = f', products in bfloat16 ({bfloat16})' if bfloat16 else ''
    return f'the CPU, {number_of(threads, "thread")}, {by}, in {theano.config.floatX}{products}'
