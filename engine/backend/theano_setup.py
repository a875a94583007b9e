"""Import Theano with this project's settings. Other modules take `theano`, and its tensor module `tt`, from here."""
import functools
import logging
import os
import sys
import warnings

from engine.backend import compiler, patches
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


# ---------------------------------------------------------------- the import

def _import_theano():
    """Import Theano with these settings and patches, and return it."""
    for name in ('theano.configdefaults', 'theano.tensor.blas', 'theano.gof.cmodule'):     # compilers and BLAS
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings('ignore', module=r'(.*[/\\])?theano[./\\]|engine\.backend\.patches$')    # by file or module
    for name in [name for name in sys.modules if name.split('.')[0] == 'theano']:
        del sys.modules[name]                              # from an import without the patches, even a failed one
    patches.before_import({'theano.configparser': _use_settings})
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
