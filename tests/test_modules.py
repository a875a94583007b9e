"""Functions compile faster than by Theano alone, into fewer modules and several at once, with the same results."""
import collections
import functools
import itertools
import os
import time

import numpy as np
import pytest

from engine.backend import modules
from engine.backend.theano_setup import CompilerError, compiling, theano
from scripts import ROOT, finish, start

tt, RANDOM = theano.tensor, np.random.RandomState(0)
function = functools.partial(theano.function, mode=theano.Mode('cvm', 'fast_run'))


def modules_of(f, kind):
    """Return the files of the compiled modules of a function's operations of a kind."""
    return [thunk.thunk.module.__file__ for node, thunk in zip(f.maker.fgraph.toposort(), f.fn.thunks)
            if isinstance(node.op, kind) and hasattr(thunk, 'thunk')]


# ---------------------------------------------------------------- elementwise formulas

def in_memory_orders(values):
    """Yield an array as it is, in column order, reversed in memory, and with gaps."""
    yield values
    yield np.asfortranarray(values)
    yield values[::-1].copy()[::-1]
    wide = np.repeat(values, 2, axis=-1)
    yield wide[..., ::2]


@pytest.mark.parametrize('shape', [(7,), (3, 5), (2, 3, 5), (0, 3), (4, 1, 3, 2), (151, 149)])     # the last in threads
def test_formula_on_arrays_in_any_memory_order(shape):
    dtype = [False] * len(shape)
    a, b = [tt.TensorType('float32', dtype)(name) for name in ('a', 'b')]
    number = tt.scalar('number', 'float32')
    f = function([a, b, number], [number * a * tt.sqr(b) + tt.exp(a), tt.switch(a > b, a, -b)])
    values = [RANDOM.normal(size=shape).astype('float32') for _ in range(2)]
    for x, y in itertools.product(*map(in_memory_orders, values)):
        found = f(x, y, np.float32(1.75))
        np.testing.assert_allclose(found[0], 1.75 * x * y ** 2 + np.exp(x), rtol=2e-6, atol=1e-6)
        np.testing.assert_array_equal(found[1], np.where(x > y, x, -y))
    assert len(modules_of(f, tt.Elemwise)) == 2


@pytest.mark.parametrize('shape', [(5, 3), (151, 149)])
def test_formula_overwrites_an_input_in_any_memory_order(shape):
    """An update of a shared variable does this."""
    kept, other = theano.shared(np.zeros((1, 1), 'float32'), borrow=True), tt.matrix('other', 'float32')
    f = function([other], [], updates=[(kept, kept * 0.5 - other)])
    x, y = RANDOM.normal(size=(2, *shape)).astype('float32')
    for before, taken in itertools.product(in_memory_orders(x), in_memory_orders(y)):
        kept.set_value(before.copy(order='A'), borrow=True)
        memory = kept.get_value(borrow=True)
        f(taken)
        np.testing.assert_allclose(kept.get_value(), x * 0.5 - y, rtol=1e-6, atol=1e-7)
        assert kept.get_value(borrow=True) is memory


def test_one_module_for_all_numbers_of_dimensions():
    found = collections.Counter()
    for ndim in (0, 1, 2, 3):
        a, b = [tt.TensorType('float32', [False] * ndim)() for _ in range(2)]
        found.update(modules_of(function([a, b], a * b - tt.sqr(b)), tt.Elemwise))
    assert list(found.values()) == [4]


@pytest.mark.parametrize('dtype', ['int8', 'uint16', 'int64', 'float64', 'bool'])
def test_formulas_of_other_types(dtype):
    """Shapes that differ raise an error."""
    a, b = [tt.TensorType(dtype, [False])() for _ in range(2)]
    x, y = np.array([0, 1, 1, 0, 1], dtype), np.array([1, 0, 1, 1, 1], dtype)
    f = function([a, b], [tt.eq(a, b), tt.maximum(a, b), tt.cast(a, 'float32') / 2])
    for value, expected in zip(f(x, y), (x == y, np.maximum(x, y), x / np.float32(2))):
        np.testing.assert_array_equal(value, expected)
    for m, n in ((3, 4), (1, 4), (0, 1)):
        with pytest.raises(ValueError, match='Input dimension mis-match'):
            f(x[:m], y[:n])


# ---------------------------------------------------------------- operations in Python

def test_parts_of_arrays_are_no_modules():
    x, n = tt.tensor3('x', 'float32'), tt.iscalar('n')
    joined = tt.join(0, x[:1] + 1, x.reshape((x.shape[0], -1, 1)).dimshuffle(0, 2, 1)[..., :x.shape[2]][:n])
    f = function([x, n], [tt.inc_subtensor(x[1:], joined[:-2]), (x.shape[0] * n) // 3])
    value = RANDOM.normal(size=(3, 1, 5)).astype('float32')
    first, second = f(value, 3)
    expected = value.copy()
    expected[1:] += np.concatenate([value[:1] + 1, value])[:-2]
    np.testing.assert_array_equal(first, expected)
    assert second == 3
    compiled = {type(node.op).__name__ for node, thunk in zip(f.maker.fgraph.toposort(), f.fn.thunks)
                if hasattr(thunk, 'cthunk')}
    assert compiled == {'DimShuffle', 'Elemwise', 'Reshape', 'Shape_i'}


# ---------------------------------------------------------------- the compiler

COMPILER = """#!/bin/sh
# Runs {real}, and logs what it compiles.
for word; do case "$word" in *.?pp) echo "$word" >> {log};; esac; done
exec {real} "$@"
"""
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from engine.backend.theano_setup import theano, tt
a = tt.vector('a')
made = theano.function([a], [formula(a) for formula in (tt.exp, tt.tan, tt.cosh, tt.sqrt, tt.log1p, tt.sinh)])
print(*[value.item() for value in made([0])])
"""


def test_starts_that_are_killed_or_at_once_and_one_that_compiles_nothing(tmp_path):
    """A killed start keeps the modules that it has finished."""
    script, log = tmp_path / 'cxx', tmp_path / 'log'
    script.write_text(COMPILER.format(real=theano.config.cxx, log=log))
    script.chmod(0o755)

    def begin():
        return start('-c', PROGRAM, ROOT, flags=f'cxx={script},base_compiledir={tmp_path}')

    def succeeds(process):
        result = finish(process)               # stderr may report that Theano took over the lock of a killed start
        return (result.returncode, result.stdout) == (0, '1.0 0.0 1.0 0.0 0.0 0.0\n')

    def finished():
        return set(tmp_path.rglob('*.so'))

    for _ in range(2):
        before, process = finished(), begin()
        while not finished() > before:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.communicate()
    assert before < finished() and all([succeeds(process) for process in [begin(), begin()]])
    assert len(log.read_text().splitlines()) > 8
    log.write_text('')
    assert succeeds(begin()) and log.read_text() == ''


def test_error_of_the_compiler_is_one_line(refused, capfd):
    path = modules.compiled_file('broken', '#error "what is wrong"', ())
    with refused(CompilerError, 'the C++ compiler failed (1: ', 'what is wrong'), compiling():
        modules.load(path)
    assert capfd.readouterr() == ('', '') and not os.path.exists(path)


def test_files_are_counted():
    seen = []
    source = f'int of_{os.getpid()}_{time.time_ns()}() {{ return 1; }}'              # differs in each run
    first = modules.compiled_file('first', source)
    second = modules.compiled_file('second', '', [first])
    with compiling(lambda *numbers: seen.append(numbers)):
        modules.load(second)
    assert seen == [(0, 2), (1, 2), (2, 2)]
    for name in (first, second):
        os.remove(name)
