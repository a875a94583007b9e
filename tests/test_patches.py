"""Patches of Theano: each is needed, no other module sees them, and compiled code is separate by Python and NumPy."""
import importlib.util
import json
import os
import runpy
import subprocess
import sys

import numpy as np
import pytest

from engine.backend import patches
from scripts import FAST, ROOT, run, succeeded

WHEEL = ROOT / 'engine' / 'backend' / 'theano_wheel'
PLAIN = 'cxx='                          # nothing is compiled


# ---------------------------------------------------------------- each patch is needed

MRG = ('from theano.sandbox.rng_mrg import MRG_RandomStreams\n'
       'random = theano.function([], MRG_RandomStreams(3).uniform((1,)))\nassert random() != random()')
# Programs that use Theano, by the patch that they need: without it each raises an error.
PROGRAMS = {
    'complex': 'n = theano.scalar.int32()\nassert theano.function([n], n % 3)(5) == 2',
    'product': 'assert f(tt.mul(x, x, x))([2, 3]).tolist() == [8, 27]',
    'cast': 'assert abs(f(tt.grad(tt.exp2(x).sum(), x))([0, 1]) - np.log(2) * np.array([1, 2])).max() < 1e-6',
    'sctype2char': 'assert abs(theano.function([i], tt.exp(i))([0, 1]) - np.exp([0, 1])).max() < 1e-6',
    'ComplexWarning': 'from theano.tensor.slinalg import expm\nm = tt.matrix()\n'
                      'g = theano.function([m], tt.grad(expm(m).sum(), m))(np.diag([1, 2]).astype("float32"))\n'
                      'assert abs(np.diag(g) - np.exp([1, 2])).max() < 1e-5',
    'MAXDIMS': 'assert f(tt.cumsum(x))([0.5, 3]).tolist() == [0.5, 3.5]',
    'imp': 'import theano.gpuarray', 'pkg_resources': 'import theano.gpuarray.linalg',
    'scipy.signal.sigtools': 'a, b = tt.tensor4(), tt.tensor4()\nones = np.ones((1, 1, 3, 3), "float32")\n'
                             'assert theano.function([a, b], tt.nnet.conv2d(a, b))(ones, ones).item() == 9\n',
    'numpy.linalg.linalg': 'import sys; sys.modules["skcuda"] = None; import theano.gpuarray.linalg',
    '_autocast': 'with theano.change_flags(floatX="float64"):\n'
                 '    x = tt.vector()\n    assert theano.function([x], x * 0.1)([1])[0] == 0.1',
    '_inverse': 'x = tt.dvector()\nassert theano.function([x], tt.inv(x))([3])[0] == 1 / 3',
    '_upcast': 'n = tt.lscalar()\nassert theano.function([n], tt.ceil_intdiv(n, 2))(5) == 3',
    '_zeros_like': 'assert f(tt.grad((x * theano.gradient.zero_grad(x)).sum(), x))([2, 3]).tolist() == [2, 3]',
    '_random_generators': 'from theano.tensor.shared_randomstreams import RandomStreams\n'
                          'draw = theano.function([], RandomStreams(3).uniform((1,)), no_default_updates=True)\n'
                          'assert draw() == draw()',
    '_mrg': MRG,
    '_integers': 'assert tt.constant(300).dtype == "int16"'}
IN_C = {
    '_scatter_add': 'assert f(tt.inc_subtensor(tt.zeros(3)[[1, 1]], x))([2, 3]).tolist() == [0, 5, 0]',
    'elsize': MRG,
    'MAXDIMS': 'assert f(tt.cumsum(tt.outer(x, x)))([1, 2]).tolist() == [1, 3, 5, 9]',
    'batched_dot': 'a, b = np.arange(24.0).reshape(2, 3, 4), np.arange(40.0).reshape(2, 4, 5)\n'
                   'c, d = tt.dtensor3(), tt.dtensor3()\n'
                   'assert (theano.function([c, d], tt.batched_dot(c, d))(a, b) == a @ b).all()'}
AT_IMPORT = ['bool', 'distutils', 'numpy.distutils', '_lazylinker']         # without them Theano cannot be imported

# Runs programs after a change of the patches, and prints the names of those that fail.
RUNNER = """
import json, sys
from engine.backend import patches
{}
from charlstm import theano, tt
import numpy as np
x, i = tt.vector(), tt.bvector()
def f(y):
    return lambda values: theano.function([x], y)(np.array(values, 'float32'))
failed = []
for name, program in json.loads(sys.argv[1]).items():
    try:
        exec(program, dict(globals()))
    except Exception:
        failed.append(name)
print(json.dumps(failed))
"""
REMOVE = """
modules, changes = patches._REPLACEMENTS, patches.PATCHES
for name in {!r}:
    vars(modules['numpy']).pop(name, None)
    for module in [module for module in modules if module.startswith(name)]:
        del modules[module]
    for module in changes:
        changes[module] = [change for change in changes[module] if change[1].__name__ != name]
"""


def is_needed(name):
    """Return whether this Python and this NumPy need a patch, named as above."""
    if name == 'scipy.signal.sigtools':
        return patches.SCIPY >= (1, 15)               # earlier ones still have the old name
    if name in patches.REMOVED_NAMES:
        return name in vars(patches._REPLACEMENTS['numpy']) and not hasattr(np, name)
    since = {patch.__name__: since for changes in patches.PATCHES.values() for since, patch in changes}
    return name in patches._REPLACEMENTS or patches.NUMPY >= since.get(name, (99,))


def failing(programs, change='', flags=PLAIN):
    """Return the names of the programs that fail after a change of the patches."""
    result = run('-c', RUNNER.format(change), json.dumps(programs), cwd=ROOT, flags=flags)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])             # after what Theano prints


def test_each_patch_is_needed():
    programs = {name: code for name, code in PROGRAMS.items() if is_needed(name)}
    assert failing(programs) == []
    assert failing(programs, REMOVE.format(list(programs))) == list(programs)


@pytest.mark.skipif(patches.NUMPY < (2, 0), reason='this NumPy needs no patches of C code')
def test_each_patch_of_c_code_is_needed(tmp_path):
    """Without the patches, in a folder that has no compiled code yet: otherwise that would be used."""
    assert failing(IN_C, flags=FAST) == []
    change = REMOVE.format(['_scatter_add']) + 'patches.C_CODE.clear()'
    assert failing(IN_C, change, flags=f'base_compiledir={tmp_path}') == list(IN_C)


@pytest.mark.parametrize('name', [pytest.param(name, marks=pytest.mark.skipif(
    not is_needed(name), reason='this Python and this NumPy do not need it')) for name in AT_IMPORT])
def test_theano_cannot_be_imported_without_a_patch(tmp_path, name):
    names = [name, 'distutils'] if name == 'numpy.distutils' else [name]      # also an attribute of numpy
    with pytest.raises(AssertionError, match='Error'):
        failing({}, REMOVE.format(names), flags=f'base_compiledir={tmp_path}')


def test_every_patch_has_its_test():
    modules = {name for name in patches._REPLACEMENTS
               if name != 'numpy' and not name.startswith(('distutils.', 'scipy.signal.signaltools'))}
    changes = {patch.__name__ for changes in patches.PATCHES.values() for _, patch in changes}
    assert {*PROGRAMS, *IN_C, *AT_IMPORT, '_generated_code'} >= {*patches.REMOVED_NAMES, *modules, *changes}
    assert len(set(IN_C) - changes) == len(patches.C_CODE)


def test_nothing_is_patched_where_nothing_is_missing():
    """As with Python 3.11, NumPy 1.23 and setuptools."""
    code = ('import sys; from engine.backend import patches; patches.NUMPY, patches._REPLACEMENTS = (1, 23), {}\n'
            'patches.before_import(); print(patches._Finder in sys.meta_path)')
    assert succeeded(run('-c', code, cwd=ROOT)) == 'False\n'


# ---------------------------------------------------------------- no other module sees them

def test_numpy_and_other_modules_stay_unchanged():
    """And scipy.stats, which takes half a second to import, is imported only when Theano uses it."""
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
print("scipy.stats" in sys.modules, "scipy.signal" in sys.modules)
print(round(float(theano.tensor.chi2sf(2.0, 2.0).eval()), 4))
'''
    *printed, scipy, probability = run('-c', code, cwd=ROOT, flags=PLAIN).stdout.splitlines()
    assert printed == ['[]', '[]', '[]', 'True True'] and probability == '0.3679'
    if patches.are_needed() and patches.SCIPY >= (1, 9):
        assert scipy == 'False False'


@pytest.mark.parametrize('option, place', [('base_compiledir', 'é"'), ('compiledir', ''), ('compiledir', 'c,d "é')])
def test_compiled_code_is_separate_by_python_numpy_and_patches(tmp_path, option, place):
    """In every folder: Theano itself would load the code of others."""
    code = 'from engine.backend.theano_setup import theano; print(theano.config.compiledir)'
    folder = run('-c', code, cwd=ROOT, flags=f"{PLAIN},{option}='{tmp_path / place}'").stdout.strip()
    assert folder.startswith(f'{tmp_path / place}{os.sep}') and folder.endswith(patches.compiled_for())
    assert 'python{}.{}-numpy{}-'.format(*sys.version_info[:2], np.__version__) in folder


# ---------------------------------------------------------------- Theano's wheel

def test_names_that_theanos_setup_needs(tmp_path):
    """They exist, and a sitecustomize.py that this one hides runs too."""
    (tmp_path / 'sitecustomize.py').write_text('print("hidden")')
    code = ('import configparser, io\nparser = configparser.SafeConfigParser()\n'
            'parser.readfp(io.StringIO("[a]\\nb = c"))\nprint(parser.get("a", "b"))')
    paths = os.pathsep.join([str(WHEEL), str(tmp_path)])
    assert run('-W', 'ignore', '-c', code, env={'PYTHONPATH': paths}).stdout == 'hidden\nc\n'


BUILD = 'import backend, sys; print(backend.build_wheel(sys.argv[1]))'
PIP = '''
import os, sys
print('pip:', *[argument for argument in sys.argv[1:] if argument != {folder!r}], file=sys.stderr)
assert not [name for name in os.environ if 'BACKEND_PATH' in name]
open(os.path.join({folder!r}, 'some-1.whl'), 'w').close()
sys.exit({status})
'''


@pytest.mark.parametrize('status', [0, 1])
def test_wheel_is_built_by_pip(tmp_path, status):
    """From the source in the package index. Where pip fails, its own words are the message.

    It gets no variables in which another pip, or an older one, names the path of this backend to it.
    """
    folder = tmp_path / 'wheels'
    folder.mkdir()
    (tmp_path / 'pip.py').write_text(PIP.format(folder=str(folder), status=status))
    paths = dict.fromkeys(['PEP517_BACKEND_PATH', '_PYPROJECT_HOOKS_BACKEND_PATH_JSON'], str(WHEEL))
    result = run('-c', BUILD, folder, cwd=WHEEL, env={'PYTHONPATH': str(tmp_path), **paths})
    printed = result.stderr.splitlines()
    assert printed[0] == ('pip: wheel --no-build-isolation --no-deps --no-binary Theano --wheel-dir Theano==1.0.5')
    if status:
        assert result.returncode and printed[1:] == ['pip could not build Theano 1.0.5: it says above why']
    else:
        assert (result.returncode, result.stdout) == (0, 'some-1.whl\n')


@pytest.mark.parametrize('pip, status, options, needed', [
    (None, 0, ['-I'], []), (None, 1, ['-I'], ['pip']), ('of the build', 0, [], [])])
def test_wheel_needs_another_pip_only_where_this_python_has_none(monkeypatch, pip, status, options, needed):
    """Which saves two seconds. The build's own environment hides that of this Python, but not from -I."""
    calls = []
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: pip)
    monkeypatch.setattr(subprocess, 'call', lambda words, **settings: calls.append(words) or status)
    backend = runpy.run_path(str(WHEEL / 'backend.py'))
    assert backend['get_requires_for_build_wheel']() == needed
    assert calls == [[sys.executable, *options, '-m', 'pip', '--version']]
