"""How functions are compiled in less time than by Theano alone: the same numbers, in fewer modules, several at once."""
import collections
import itertools
import os
import select
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from engine.backend import modules, theano_setup
from engine.backend.theano_setup import CompilerError, compiling, theano
from scripts import ROOT, finish, start

tt = theano.tensor
FAST_RUN = theano.Mode('cvm', 'fast_run')


def function(inputs, outputs, **settings):
    """Return a function that is compiled as the class compiles its own."""
    with compiling():
        made = theano.function(inputs, outputs, mode=FAST_RUN, **settings)
    assert getattr(theano.gof.compilelock.get_lock, 'n_lock', 0) == 0          # other processes need not wait
    return made


def modules_of(f, kind):
    """Return the compiled modules of a function's operations of a kind."""
    return [thunk.thunk.module.__file__ for node, thunk in zip(f.maker.fgraph.toposort(), f.fn.thunks)
            if isinstance(node.op, kind) and hasattr(thunk, 'thunk')]


@pytest.fixture
def random():
    return np.random.RandomState(0)


# ---------------------------------------------------------------- elementwise formulas

def in_memory_orders(values):
    """Yield an array as NumPy makes it, transposed in memory, reversed, and with gaps."""
    yield values
    yield np.asfortranarray(values)
    yield values[::-1].copy()[::-1]
    wide = np.repeat(values, 2, axis=-1)
    yield wide[..., ::2]


@pytest.mark.parametrize('shape', [(7,), (3, 5), (2, 3, 5), (0, 3), (4, 1, 3, 2)])
def test_formula_on_arrays_in_any_memory_order(shape, random):
    dtype = [False] * len(shape)
    a, b, out = [tt.TensorType('float32', dtype)(name) for name in ('a', 'b', 'out')]
    number = tt.scalar('number', 'float32')
    f = function([a, b, number], [number * a * tt.sqr(b) + tt.exp(a), tt.switch(a > b, a, -b)])
    values = [random.normal(size=shape).astype('float32') for _ in range(2)]
    for x, y in itertools.product(*map(in_memory_orders, values)):
        found = f(x, y, np.float32(1.75))
        np.testing.assert_allclose(found[0], 1.75 * x * y ** 2 + np.exp(x), rtol=2e-6, atol=1e-6)
        np.testing.assert_array_equal(found[1], np.where(x > y, x, -y))
    assert len(modules_of(f, tt.Elemwise)) == 2


def test_formula_overwrites_an_input_in_any_memory_order(random):
    """As an update of a shared variable does."""
    kept, other = theano.shared(np.zeros((1, 1), 'float32'), borrow=True), tt.matrix('other', 'float32')
    f = function([other], [], updates=[(kept, kept * 0.5 - other)])
    x, y = random.normal(size=(2, 5, 3)).astype('float32')
    for before, taken in itertools.product(in_memory_orders(x), in_memory_orders(y)):
        kept.set_value(before.copy(order='A'), borrow=True)
        memory = kept.get_value(borrow=True)
        f(taken)
        np.testing.assert_allclose(kept.get_value(), x * 0.5 - y, rtol=1e-6, atol=1e-7)
        assert kept.get_value(borrow=True) is memory


def test_one_module_for_all_numbers_of_dimensions():
    """And another one where arrays are broadcast, which has Theano's code."""
    found = collections.Counter()
    for ndim in (0, 1, 2, 3):
        a, b = [tt.TensorType('float32', [False] * ndim)() for _ in range(2)]
        found.update(modules_of(function([a, b], a * b - tt.sqr(b)), tt.Elemwise))
    assert list(found.values()) == [4]
    row = tt.row(dtype='float32')
    f = function([b, row], tt.sqr(b.flatten(2)) * row)
    x, y = np.arange(12, dtype='float32').reshape(3, 2, 2), np.arange(4, dtype='float32')[None]
    np.testing.assert_array_equal(f(x, y), np.square(x.reshape(3, 4)) * y)


@pytest.mark.parametrize('dtype', ['int8', 'uint16', 'int64', 'float64', 'bool'])
def test_formulas_of_other_types(dtype):
    """And of shapes that differ."""
    a, b = [tt.TensorType(dtype, [False])() for _ in range(2)]
    x, y = np.array([0, 1, 1, 0, 1], dtype), np.array([1, 0, 1, 1, 1], dtype)
    f = function([a, b], [tt.eq(a, b), tt.maximum(a, b), tt.cast(a, 'float32') / 2])
    for value, expected in zip(f(x, y), (x == y, np.maximum(x, y), x / np.float32(2))):
        np.testing.assert_array_equal(value, expected)
    for m, n in ((3, 4), (1, 4), (0, 1)):
        with pytest.raises(ValueError, match='Input dimension mis-match'):
            f(x[:m], y[:n])


# ---------------------------------------------------------------- operations in Python

def test_parts_of_arrays_are_no_modules(random):
    x, n = tt.tensor3('x', 'float32'), tt.iscalar('n')
    joined = tt.join(0, x[:1] + 1, x.reshape((x.shape[0], -1, 1)).dimshuffle(0, 2, 1)[..., :x.shape[2]][:n])
    f = function([x, n], [tt.inc_subtensor(x[1:], joined[:-2]), (x.shape[0] * n) // 3])
    value = random.normal(size=(3, 1, 5)).astype('float32')
    first, second = f(value, 3)
    expected = value.copy()
    expected[1:] += np.concatenate([value[:1] + 1, value])[:-2]
    np.testing.assert_array_equal(first, expected)
    assert second == 3
    compiled = {type(node.op).__name__ for node, thunk in zip(f.maker.fgraph.toposort(), f.fn.thunks)
                if hasattr(thunk, 'cthunk')}
    assert compiled == {'DimShuffle', 'Elemwise', 'Reshape', 'Shape_i'}


def test_functions_of_the_user_are_compiled_as_theano_does():
    """Also in the process, and right after one, in which the class compiles its own."""
    a = tt.matrix('a', 'float32')
    ours, theirs = function([a], a.T * 2 + 1), theano.function([a], a.T * 2 + 1, mode=FAST_RUN)
    assert modules_of(ours, tt.Elemwise) != modules_of(theirs, tt.Elemwise)
    parts = [compiled([a], a[0]) for compiled in (function, lambda *graph: theano.function(*graph, mode=FAST_RUN))]
    assert [bool(modules_of(f, tt.subtensor.Subtensor)) for f in parts] == [False, True]


# ---------------------------------------------------------------- the compiler

COMPILER = """#!/bin/sh
# {real}, which writes down what it compiles for a function, and then does what a test wants.
for word; do case "$word" in {folder}/*/tmp*/*.?pp) echo "$(md5sum < "$word") $word" >> {log};; esac; done
{then}
exec {real} "$@"
"""
TINY = """
import sys
sys.path.insert(0, sys.argv[1])
from charlstm import CharLSTM
from engine.backend.theano_setup import theano
model = CharLSTM(random_seed=1)
model.model_setup(char_dim=7, num_units1=5, num_units2=3, dropout=0.25, average=0.5)
model.compile('train_rmsprop', 'sample', 'predict')
print('held' if getattr(theano.gof.compilelock.get_lock, 'n_lock', 0) else 'free')        # Theano's lock
"""
FORMULAS = """
import sys
sys.path.insert(0, sys.argv[1])
from engine.backend.theano_setup import compiling, theano, tt
a = tt.vector('a')
with compiling():
    f = theano.function([a], [formula(a) for formula in (tt.exp, tt.tan, tt.cosh, tt.sqrt, tt.log1p, tt.sinh)])
print(*[value.item() for value in f([0])])
"""


@pytest.fixture
def compiler(tmp_path):
    """Return a function that starts a program with an empty folder of compiled code and a compiler that does more."""
    def begin(then='', code=TINY):
        script = tmp_path / 'cxx'
        script.write_text(COMPILER.format(real=theano.config.cxx, folder=tmp_path / 'code', log=tmp_path / 'log',
                                          then=then))
        script.chmod(0o755)
        return start('-c', code, ROOT, flags=f'cxx={script},base_compiledir={tmp_path / "code"}')
    return begin


def folders(tmp_path):
    """Return what is left of what was compiled together."""
    return [path for path in (tmp_path / 'code').glob('*/tmp*') if not (path / 'key.pkl').exists()]


def test_two_starts_compile_nothing_twice(compiler, tmp_path):
    """And they leave nothing but what they compiled. A third start compiles nothing."""
    for result in map(finish, [compiler(), compiler()]):
        assert (result.returncode, result.stdout, result.stderr) == (0, 'free\n', '')
    compiled = [line for line in (tmp_path / 'log').read_text().splitlines() if not line.endswith('.hpp')]
    sources = [line.split()[0] for line in compiled]
    assert len(sources) > 20 and len(set(sources)) == len(sources)
    assert folders(tmp_path) == []
    (tmp_path / 'log').write_text('')
    assert finish(compiler()).stdout == 'free\n' and (tmp_path / 'log').read_text() == ''


def test_compiler_that_cannot_compile_headers_ahead(compiler, tmp_path):
    result = finish(compiler('case "$*" in *c++-header*) echo none >&2; exit 1;; esac', FORMULAS))
    assert (result.returncode, result.stdout, result.stderr) == (0, '1.0 0.0 1.0 0.0 0.0 0.0\n', '')
    assert '.hpp\n' in (tmp_path / 'log').read_text()


def test_interrupt_kills_the_compilers(compiler, tmp_path):
    """Also what they have started. What they had finished stays, and nothing that was begun is left."""
    os.mkfifo(tmp_path / 'fifo')
    held = os.open(tmp_path / 'fifo', os.O_RDONLY | os.O_NONBLOCK)         # it ends when no compiler has it open
    process = compiler('case "$*" in *Softmax*|*softmax*|*header*) '
                       f'exec 9> {tmp_path}/fifo; echo >&9; sleep 300 & wait;; esac')
    while not select.select([held], [], [], 0.1)[0]:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert error.splitlines()[-1].startswith('KeyboardInterrupt')
    found = b'a line of each'
    while found:
        assert select.select([held], [], [], 60)[0], 'a compiler runs on'
        found = os.read(held, 99)
    os.close(held)
    assert folders(tmp_path) == []
    assert finish(compiler()).stdout == 'free\n'


LIBRARIES = 'm', 'dl', 'pthread', 'c'          # that are everywhere


class Copied(theano.gof.Op):
    """A copy of an array by C that needs a library. comment: in its code, so that it was never compiled before."""
    __props__ = 'library', 'comment'

    def __init__(self, library, comment):
        self.library, self.comment = library, comment

    def make_node(self, x):
        return theano.gof.Apply(self, [x], [x.type()])

    def perform(self, node, inputs, outputs):
        raise NotImplementedError

    def c_libraries(self):
        return [self.library]

    def c_code_cache_version(self):
        return (1,)

    def c_code(self, node, name, inputs, outputs, sub):
        (x,), (out,) = inputs, outputs
        return (f'Py_XDECREF({out}); {out} = (PyArrayObject *)PyArray_NewCopy({x}, NPY_CORDER); '
                f'if (!{out}) {sub["fail"]} /* {self.comment} */')


def test_two_operations_of_one_code_and_other_libraries(random):
    """Theano names a module by its code alone, as those of theano.scan's products and sums."""
    x, comment = tt.vector('x', 'float32'), f'of {os.getpid()} at {time.time()}'
    f = function([x], [Copied(library, comment)(x) for library in LIBRARIES])
    assert [found.tolist() for found in f(np.arange(3, dtype='float32'))] == 4 * [[0, 1, 2]]
    assert len(set(modules_of(f, Copied))) == 4


def test_module_that_does_not_load_at_first_is_compiled_again(monkeypatch):
    """As where a virus scanner reads it: the second time, the file that was compiled ahead is gone."""
    load, failed = theano.gof.cmodule.dlimport, []

    def fails_once(path):
        if path.endswith('.so') and not failed:
            failed.append(path)
            raise ImportError('damaged', path=path)
        return load(path)

    monkeypatch.setattr(theano.gof.cmodule, 'dlimport', fails_once)
    monkeypatch.setattr(theano_setup, 'USERS_FOLDER', None)
    monkeypatch.setattr(theano_setup, 'FOLDER', theano.config.base_compiledir)
    x = tt.vector('x', 'float32')
    f = function([x], Copied('m', f'that fails, of {os.getpid()} at {time.time()}')(x))
    assert failed and f(np.arange(3, dtype='float32')).tolist() == [0, 1, 2]


def test_folder_in_which_is_compiled_stays():
    """Theano removes empty ones, also those of other processes, when it reads what was compiled.

    At the end of a process it looks for at most one module in a folder whose modules are not known yet.
    """
    with modules._Build() as build:
        cache = theano.gof.cmodule.ModuleCache(theano.config.compiledir)
        assert os.path.isdir(build._folder)
        for name in ('0.cpp.so', '1.cpp.so'):
            open(os.path.join(build._folder, name), 'w').close()
        cache.clear_unversioned()
        assert os.path.isdir(build._folder)
        build.run()
    assert not os.path.exists(os.path.dirname(build._folder))


@pytest.mark.parametrize('damage', [None, b'', b'ELF', 'sum'])
def test_damaged_file_of_the_kernel_is_compiled_again(damage):
    """As after a power cut: a library that was cut off, or an object that a later library is linked with."""
    source = 'extern "C" __attribute__((visibility("default"))) double half(double x) { return x / 2; }'
    path = modules.compiled_file(f'halves{os.getpid()}', source, ())           # of this process alone
    try:
        assert modules.load(path).half
        assert modules._is_whole(path)
        os.remove(path)                                # another file then: this process has loaded the old one
        if damage == 'sum':
            Path(path + modules.SUM).write_bytes(b'\xff\xfe')
        elif damage is not None:
            Path(path).write_bytes(damage)
        assert not modules._is_whole(path)
        del modules._loaded[path]
        assert modules.load(path).half and modules._is_whole(path)
    finally:
        for name in (path, path + modules.SUM):
            os.remove(name)
        modules._loaded.pop(path, None)


def test_process_that_was_suspended_is_not_waited_for_for_ever(monkeypatch):
    """It keeps its claims."""
    monkeypatch.setattr(modules._Claims, 'take', lambda claims, file: False)
    monkeypatch.setattr(modules, 'LONGEST_WAIT', 0.05)
    path = modules.compiled_file('claimed', f'int of_{os.getpid()}_{time.time_ns()}() {{ return 1; }}', ())
    modules.load(path)
    for name in (path, path + modules.SUM):
        os.remove(name)


def test_error_of_the_compiler_is_one_line(refused, capfd):
    path = modules.compiled_file('broken', '#error "what is wrong"', ())
    with refused(CompilerError, 'the C++ compiler failed (status 1: ', 'what is wrong'), compiling():
        modules.load(path)
    assert capfd.readouterr() == ('', '') and not os.path.exists(path)


def test_report_counts_all_files(tmp_path):
    seen = []
    source = f'int of_{os.getpid()}_{time.time_ns()}() {{ return 1; }}'              # another one in each run
    first = modules.compiled_file('first', source)
    second = modules.compiled_file('second', '', [first])
    with compiling(lambda *numbers: seen.append(numbers)):
        modules.load(second)
    assert [numbers[:2] for numbers in seen] == [(0, 2), (1, 2), (2, 2)] and all(seconds >= 0 for *_, seconds in seen)
    for name in (first, second):
        os.remove(name)
        os.remove(name + modules.SUM)
