"""Import Theano with this project's settings. Other modules take `theano`, and its tensor module `tt`, from here."""
import functools
import importlib.util
import logging
import os
import sys
import warnings

from engine.backend import compiler, patches
from engine.terminal import warn

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


def _use_settings(configparser):
    """Make DEFAULTS the defaults of Theano's options, and take its compiler away unless it computes on a GPU.

    THEANO_FLAGS and .theanorc still take precedence.
    """
    add, config = configparser.AddConfigVar, configparser.config

    def add_changed(name, doc, option, *arguments, **settings):
        option.default = DEFAULTS.get(name, option.default)
        if name == 'compiledir':
            option.filter = functools.partial(_folder, option.filter)
        add(name, doc, option, *arguments, **settings)
        if name == 'cxx' and config.device == 'cpu':
            compiler.cxx, config.cxx = config.cxx, ''

    configparser.AddConfigVar = add_changed


def _on_gpu_patch_compiler(cmodule):
    """Patch the module that compiles Theano's own C++, which only a GPU needs."""
    if cmodule.config.device != 'cpu':
        from engine.backend import gpu                     # late: few need it
        gpu.patch_compiler(cmodule)


def _folder(make, path):
    """Make the folder of compiled code by Theano's function."""
    try:
        return make(path)
    except (OSError, ValueError) as error:
        raise compiler.cannot_keep(error) from None


# ---------------------------------------------------------------- the import

def _check_device(device):
    """Raise ValueError for a device that cannot be used: Theano itself would continue on the CPU."""
    if not getattr(sys.modules.get('theano.gpuarray'), 'pygpu_activated', False):
        why = 'see the message of Theano above' if importlib.util.find_spec('pygpu') else 'pygpu is not installed'
        raise ValueError(f'device={device} cannot be used ({why}): set THEANO_FLAGS=device=cpu')


def _import_theano():
    """Import Theano with these settings and patches, and return it."""
    for name in ('theano.configdefaults', 'theano.tensor.blas', 'theano.gof.cmodule'):     # compilers and BLAS
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings('ignore', module=r'(.*[/\\])?theano[./\\]|engine\.backend\.patches$')    # by file or module
    for name in [name for name in sys.modules if name.split('.')[0] == 'theano']:
        del sys.modules[name]                              # from an import without the patches, even a failed one
    patches.before_import({'theano.configparser': _use_settings, 'theano.gof.cmodule': _on_gpu_patch_compiler})
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        import theano
        import theano.tensor
    if theano.config.device != 'cpu':
        from engine.backend import gpu
        _check_device(theano.config.device)
        gpu.patch(theano)
    compiler.use(compiler.cxx, theano.config.compiledir, theano.config.gcc.cxxflags)
    if compiler.cxx and not compiler.openmp() and compiler.threads() > 1:
        warn(f'{compiler.cxx} has no OpenMP, so the kernel uses one of {compiler.threads()} cores; {compiler.OPENMP}')
    return theano


theano = _import_theano()
tt = theano.tensor


# ---------------------------------------------------------------- what Theano computes on

def on_cpu():
    """Return whether the kernel can compute the network: it needs a CPU, and float32 or float64."""
    return theano.config.device == 'cpu' and theano.config.floatX in ('float32', 'float64')
