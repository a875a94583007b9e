"""Patches of Theano: programs that need them run, and no other module sees them."""
from scripts import FAST, ROOT, run

# Programs by the patch that they need. Without it, each raises an error.
PROGRAMS = {
    'complex': 'n = theano.scalar.int32()\nassert theano.function([n], n % 3)(5) == 2',
    'product': 'assert f(tt.mul(x, x, x))([2, 3]).tolist() == [8, 27]',
    'cast': 'assert abs(f(tt.grad(tt.exp2(x).sum(), x))([0, 1]) - np.log(2) * np.array([1, 2])).max() < 1e-6',
    'sctype2char': 'assert abs(theano.function([i], tt.exp(i))([0, 1]) - np.exp([0, 1])).max() < 1e-6',
    'MAXDIMS': 'assert f(tt.cumsum(x))([0.5, 3]).tolist() == [0.5, 3.5]',
    'imp': 'import theano.gpuarray', 'pkg_resources': 'import theano.gpuarray.linalg',
    'numpy.linalg.linalg': 'import sys; sys.modules["skcuda"] = None; import theano.gpuarray.linalg',
    'autocast': 'with theano.change_flags(floatX="float64"):\n'
                '    x = tt.vector()\n    assert theano.function([x], x * 0.1)([1])[0] == 0.1',
    'inverse': 'x = tt.dvector()\nassert theano.function([x], tt.inv(x))([3])[0] == 1 / 3',
    'upcast': 'n = tt.lscalar()\nassert theano.function([n], tt.ceil_intdiv(n, 2))(5) == 3',
    'zeros_like': 'assert f(tt.grad((x * theano.gradient.zero_grad(x)).sum(), x))([2, 3]).tolist() == [2, 3]',
    'random generators': 'from theano.tensor.shared_randomstreams import RandomStreams\n'
                         'draw = theano.function([], RandomStreams(3).uniform((1,)), no_default_updates=True)\n'
                         'assert draw() == draw()',
    'mrg': 'from theano.sandbox.rng_mrg import MRG_RandomStreams\n'
           'random = theano.function([], MRG_RandomStreams(3).uniform((1,)))\nassert random() != random()',
    'multinomial': 'from theano.sandbox.rng_mrg import MRG_RandomStreams\n'
                   'draws = MRG_RandomStreams(3).multinomial(pvals=np.full((300, 4), 0.25, "float32"))\n'
                   'assert theano.function([], draws)().sum() == 300',
    'integers': 'assert tt.constant(300).dtype == "int16"'}
RUNNER = """
import sys
from charlstm import theano, tt
import numpy as np
x, i = tt.vector(), tt.bvector()
def f(y):
    return lambda values: theano.function([x], y, mode=theano.Mode('vm', 'fast_run'))(np.array(values, 'float32'))
for program in sys.argv[1:]:
    exec(program, dict(globals()))
"""


def test_programs_that_need_a_patch():
    result = run('-W', 'ignore', '-c', RUNNER, *PROGRAMS.values(), cwd=ROOT, flags=FAST)
    assert result.returncode == 0, result.stderr


def test_numpy_and_other_modules_stay_unchanged():
    """Nor is scipy.stats, which takes half a second to import, imported before Theano uses it."""
    code = '''
import sys, warnings
warnings.simplefilter('ignore')
import numpy as np
before = dict(vars(np))
from charlstm import CharLSTM, theano
print(sorted(set(vars(np)) - set(before) - {name.split('.')[1] for name in sys.modules if name.startswith('numpy.')}))
print([name for name, value in before.items() if vars(np)[name] is not value])
print([name for name in ('distutils', 'imp', 'pkg_resources', 'mpi4py') if name in sys.modules
       and not hasattr(sys.modules[name], '__file__')])
print(theano.tensor.basic.np.ndarray is np.ndarray, theano.tensor.basic.np.fft.fft is np.fft.fft)
print("scipy.stats" in sys.modules, "scipy.signal" in sys.modules)
print(round(float(theano.tensor.chi2sf(2.0, 2.0).eval()), 4))
'''
    printed = run('-c', code, cwd=ROOT, flags='cxx=').stdout.splitlines()             # nothing is compiled
    assert printed == ['[]', '[]', '[]', 'True True', 'False False', '0.3679']
