"""Patches of Theano: each is needed, nobody else sees it, and compiled code is kept apart by Python and NumPy."""
import os
import sys

import numpy as np
import pytest

from engine.backend import patches
from scripts import FAST, ROOT, run, succeeded

WHEEL = ROOT / 'engine' / 'backend' / 'theano_wheel'
PLAIN = 'cxx='                          # nothing is compiled
# What computes with Theano, by the patch that it needs; each ends in an error, or in another number, without it.
NAMES = {
    'bool': '',                                                                            # the import
    'complex': 'n = theano.scalar.int32()\nassert theano.function([n], n % 3)(5) == 2',
    'product': 'assert f(tt.mul(x, x, x))([2, 3]).tolist() == [8, 27]',
    'cast': 'assert abs(f(tt.grad(tt.exp2(x).sum(), x))([0, 1]) - np.log(2) * np.array([1, 2])).max() < 1e-6',
    'sctype2char': 'assert abs(theano.function([i], tt.exp(i))([0, 1]) - np.exp([0, 1])).max() < 1e-6',
    'ComplexWarning': 'from theano.tensor.slinalg import expm\nm = tt.matrix()\n'
                      'g = theano.function([m], tt.grad(expm(m).sum(), m))(np.diag([1, 2]).astype("float32"))\n'
                      'assert abs(np.diag(g) - np.exp([1, 2])).max() < 1e-5',
    'MAXDIMS': 'assert f(tt.cumsum(x))([0.5, 3]).tolist() == [0.5, 3.5]'}
MODULES = {
    'distutils': '', 'numpy.distutils': '', 'imp': 'import theano.gpuarray', 'pkg_resources': 'import theano.gpuarray',
    'scipy.signal.sigtools': 'a, b = tt.tensor4(), tt.tensor4()\nones = np.ones((1, 1, 3, 3), "float32")\n'
                             'assert theano.function([a, b], tt.nnet.conv2d(a, b))(ones, ones).item() == 9\n',
    'numpy.linalg.linalg': 'import sys; sys.modules["skcuda"] = None; import theano.gpuarray.linalg'}
MRG = ('from theano.sandbox.rng_mrg import MRG_RandomStreams\n'
       'random = theano.function([], MRG_RandomStreams(3).uniform((1,)))')
CHANGES = {
    '_autocasting': ('floatX=float64,' + PLAIN, 'assert theano.function([x], x * 0.1)([1])[0] == 0.1'),
    '_inverse': ('floatX=float64,' + PLAIN, 'assert theano.function([x], tt.inv(x))([3])[0] == 1 / 3'),
    '_upcast': (PLAIN, 'n = tt.lscalar()\nassert theano.function([n], tt.ceil_intdiv(n, 2))(5) == 3'),
    '_zeros_like': (PLAIN, 'assert f(tt.grad((x * theano.gradient.zero_grad(x)).sum(), x))([2, 3]).tolist() == [2, 3]'),
    '_generators': (PLAIN, 'from theano.tensor.shared_randomstreams import RandomStreams\n'
                           'draw = theano.function([], RandomStreams(3).uniform((1,)), no_default_updates=True)\n'
                           'assert draw() == draw()'),
    '_mrg': (PLAIN, MRG + '\nassert random() != random()'),
    '_whole_numbers': (PLAIN, 'assert tt.constant(300).dtype == "int16"'),
    '_lazylinker': ('', 'import lazylinker_ext.lazylinker_ext'),
    '_scatter_add': ('', 'assert f(tt.inc_subtensor(tt.zeros(3)[[1, 1]], x))([2, 3]).tolist() == [0, 5, 0]')}
C_CODE = {
    'elsize': MRG + '\nassert random() != random()',
    'MAXDIMS': 'assert f(tt.cumsum(tt.outer(x, x)))([1, 2]).tolist() == [1, 3, 5, 9]'}
PROGRAM = '''
from engine.backend import patches
{}
from charlstm import theano, tt
import numpy as np
x, i = tt.vector(), tt.bvector()
def f(y):
    return lambda values: theano.function([x], y)(np.array(values, 'float32'))
{}
'''


def assert_needed(without, code, flags=(PLAIN, PLAIN)):
    """code runs, and does not where a patch is taken away."""
    as_it_is, less = [run('-c', PROGRAM.format(change, code), cwd=ROOT, flags=flag)
                      for change, flag in zip(('', without), flags)]
    assert as_it_is.returncode == 0, as_it_is.stderr
    assert less.returncode, 'runs without this patch'


def only_where(needed):
    return pytest.mark.skipif(not needed, reason='this Python and this NumPy do not need it')


# ---------------------------------------------------------------- each patch is needed

@pytest.mark.parametrize('name', [
    pytest.param(name, marks=only_where(name in vars(patches._MODULES['numpy']) and not hasattr(np, name)))
    for name in patches.NAMES])
def test_name_of_numpy(name):
    assert_needed(f'del vars(patches._MODULES["numpy"])["{name}"]', NAMES[name])


@pytest.mark.parametrize('name', [pytest.param(name, marks=only_where(name in patches._MODULES)) for name in MODULES])
def test_module_that_is_gone(name):
    without = f'for name in list(patches._MODULES):\n    if name.startswith("{name}"): del patches._MODULES[name]'
    if name == 'scipy.signal.sigtools' and patches.SCIPY < (1, 15):
        pytest.skip('this SciPy still has the old name')
    if name == 'numpy.distutils':
        without += '\ndel patches._MODULES["numpy"].distutils'
    assert_needed(without, MODULES[name])


@pytest.mark.parametrize('module, since, name', [
    pytest.param(module, since, patch.__name__, marks=only_where(patches.NUMPY >= since))
    for module, changes in patches.PATCHES.items() for since, patch in changes if patch.__name__ in CHANGES])
def test_change_of_a_module(tmp_path, module, since, name):
    """Those of C++ code in folders that hold no compiled code yet."""
    flags, code = CHANGES[name]
    assert_needed(f'patches.PATCHES["{module}"].remove(({since}, patches.{name}))', code,
                  [flags or f'base_compiledir={tmp_path / folder}' for folder in 'ab'])


@only_where(patches.NUMPY >= (2, 0))
@pytest.mark.parametrize('name', C_CODE)
def test_change_of_generated_code(tmp_path, name):
    assert_needed(f'del patches.C_CODE[[old for old in patches.C_CODE if "{name}" in old][0]]', C_CODE[name],
                  [f'base_compiledir={tmp_path / folder}' for folder in 'ab'])


def test_every_patch_has_its_test():
    assert set(NAMES) == set(patches.NAMES) and set(MODULES) >= {
        name for name in patches._MODULES
        if name != 'numpy' and not name.startswith(('distutils.', 'scipy.signal.signaltools'))}
    assert set(CHANGES) | {'_generated_code'} == {
        patch.__name__ for changes in patches.PATCHES.values() for _, patch in changes}
    assert len(C_CODE) == len(patches.C_CODE)


def test_nothing_is_patched_where_all_is_there():
    """As beside Python 3.11 and NumPy 1.23 with setuptools."""
    code = ('import sys; from engine.backend import patches; patches.NUMPY, patches._MODULES = (1, 23), {"numpy": patches.np}\n'
            'patches.before_import(); print(patches._Finder in sys.meta_path)')
    assert succeeded(run('-c', code, cwd=ROOT)) == 'False\n'


# ---------------------------------------------------------------- nobody else sees them

def test_numpy_and_other_modules_stay_as_they_are():
    code = '''
import sys, warnings
warnings.simplefilter('ignore')
import numpy as np
before = dict(vars(np))
from charlstm import CharLSTM, theano
print(sorted(set(vars(np)) - set(before) - {name.split('.')[1] for name in sys.modules if name.startswith('numpy.')}))
print([name for name, value in before.items() if vars(np)[name] is not value])
print([name for name in ('distutils', 'imp', 'pkg_resources') if type(sys.modules.get(name)) is not type(None)
       and not hasattr(sys.modules[name], '__file__')])
print(theano.tensor.basic.np.ndarray is np.ndarray, theano.tensor.basic.np.fft.fft is np.fft.fft)
'''
    assert succeeded(run('-c', code, cwd=ROOT, flags=FAST)) == '[]\n[]\n[]\nTrue True\n'


@only_where(patches.needed() and patches.SCIPY >= (1, 9))
def test_scipy_is_imported_where_it_is_used():
    """scipy.stats takes half a second, which every start would wait for."""
    code = ('import sys, charlstm\nprint("scipy.stats" in sys.modules, "scipy.signal" in sys.modules)\n'
            'from charlstm import theano\nprint(round(float(theano.tensor.chi2sf(2.0, 2.0).eval()), 4))')
    assert run('-c', code, cwd=ROOT, flags=PLAIN).stdout == 'False False\n0.3679\n'


def test_old_numpy_has_what_comes_later():
    """Modules of NumPy that are imported after the copy was made."""
    assert patches._MODULES['numpy'].testing is np.testing
    with pytest.raises(AttributeError):
        patches._MODULES['numpy'].no_such_name


@pytest.mark.parametrize('place', ['', 'a b', 'c,d', 'é"'])
@pytest.mark.parametrize('option', ['base_compiledir', 'compiledir'])
def test_compiled_code_is_kept_apart(tmp_path, option, place):
    """By Python, NumPy and patches, in whichever folder: Theano alone would load that of others."""
    code = 'from engine.backend.theano_setup import theano; print(theano.config.compiledir)'
    folder = run('-c', code, cwd=ROOT, flags=f"{PLAIN},{option}='{tmp_path / place}'").stdout.strip()
    assert folder.startswith(f'{tmp_path / place}{os.sep}') and folder.endswith(patches.compiled_for())
    assert 'python{}.{}-numpy{}-'.format(*sys.version_info[:2], np.__version__) in folder


# ---------------------------------------------------------------- Theano's wheel

def test_names_that_theanos_setup_needs(tmp_path):
    """They are there, and the module of that name that is hidden runs too."""
    (tmp_path / 'sitecustomize.py').write_text('print("hidden")')
    code = ('import configparser, io\nparser = configparser.SafeConfigParser()\n'
            'parser.readfp(io.StringIO("[a]\\nb = c"))\nprint(parser.get("a", "b"))')
    paths = os.pathsep.join([str(WHEEL), str(tmp_path)])
    assert run('-W', 'ignore', '-c', code, env={'PYTHONPATH': paths}).stdout == 'hidden\nc\n'


BUILD = 'import backend, sys; print(backend.build_wheel(sys.argv[1]))'
PIP = '''
import os, sys
print('pip:', *[argument for argument in sys.argv[1:] if argument != {folder!r}], file=sys.stderr)
open(os.path.join({folder!r}, 'some-1.whl'), 'w').close()
sys.exit({status})
'''


@pytest.mark.parametrize('status', [0, 1])
def test_wheel_is_built_by_pip(tmp_path, status):
    """From the source of the package index, where pip finds one; where not, its words are the message."""
    folder = tmp_path / 'wheels'
    folder.mkdir()
    (tmp_path / 'pip.py').write_text(PIP.format(folder=str(folder), status=status))
    result = run('-c', BUILD, folder, cwd=WHEEL, env={'PYTHONPATH': str(tmp_path)})
    said = result.stderr.splitlines()
    assert said[0] == ('pip: wheel --no-build-isolation --no-deps --no-binary Theano --wheel-dir Theano==1.0.5')
    if status:
        assert result.returncode and said[1:] == ['pip could not build Theano 1.0.5: it says above why']
    else:
        assert (result.returncode, result.stdout) == (0, 'some-1.whl\n')
