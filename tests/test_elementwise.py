"""Theano's own operations in NumPy, and its elementwise formulas in C, compared with NumPy."""
import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from engine.backend import compiler
from engine.backend.theano_setup import theano, tt
from engine.graph.elementwise import SameArrays, openblas

RANDOM = np.random.RandomState(0)


@pytest.fixture(params=['C', 'NumPy'])
def by(request, monkeypatch):
    """Compute with a compiler, and without one."""
    if request.param == 'NumPy':
        monkeypatch.setattr(compiler, 'cxx', '')
    return request.param


def symbol(dtype, *broadcast):
    return tt.TensorType(dtype, broadcast)()


def thunks(f):
    """Return the formulas of a function."""
    return [node.tag.formula for node in f.maker.fgraph.toposort() if getattr(node.tag, 'formula', None)]


def in_memory_orders(values):
    """Yield an array as it is, in column order, reversed in memory, and with gaps."""
    yield values
    yield np.asfortranarray(values)
    yield values[::-1].copy()[::-1]
    wide = np.repeat(values, 2, axis=-1)
    yield wide[..., ::2]


@pytest.mark.parametrize('shape', [(7,), (3, 5), (2, 3, 5), (0, 3), (4, 1, 3, 2), (151, 149)])     # the last in threads
def test_formula_on_arrays_in_any_memory_order(by, shape):
    a, b = [symbol('float32', *[False] * len(shape)) for _ in range(2)]
    number = tt.scalar('number', 'float32')
    f = theano.function([a, b, number], [number * a * tt.sqr(b) + tt.exp(a), tt.switch(a > b, a, -b)])
    assert [found.path is not None for found in thunks(f)] == 2 * [by == 'C']
    values = [RANDOM.normal(size=shape).astype('float32') for _ in range(2)]
    for x, y in itertools.product(*map(in_memory_orders, values)):
        found = f(x, y, np.float32(1.75))
        np.testing.assert_allclose(found[0], 1.75 * x * y ** 2 + np.exp(x), rtol=2e-6, atol=1e-6)
        np.testing.assert_array_equal(found[1], np.where(x > y, x, -y))


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('shape', [(2, 3, 5), (1, 7, 33), (5, 1, 1), (31, 37, 40)])
def test_formula_of_rows_numbers_and_flags(by, shape, dtype):
    """Arrays that are broadcast along each axis, and a bool array, as dropout's."""
    kinds = [(False, False, False), (False, False, True), (True, True, True), (True, False, False), (False, True, True)]
    symbols, flags = [symbol(dtype, *kind) for kind in kinds], symbol('bool', False, False, False)
    values = [RANDOM.normal(size=np.where(kind, 1, shape)).astype(dtype) for kind in kinds]
    kept = RANDOM.rand(*shape) < 0.5
    a, row, number, first, column = symbols
    x, r, n, f, c = values
    found = theano.function([*symbols, flags], [
        a * flags * number, tt.tanh(a) - row, row * number * (a - first), a * column, row / number])(*values, kept)
    for value, expected in zip(found, (x * kept * n, np.tanh(x) - r, r * n * (x - f), x * c, r / n)):
        assert value.dtype == dtype
        np.testing.assert_allclose(value, expected, rtol=2e-6 if dtype == 'float32' else 1e-12, atol=1e-6)


@pytest.mark.parametrize('shape', [(5, 3), (151, 149)])
def test_formula_overwrites_an_input_in_any_memory_order(by, shape):
    """An update of a shared variable does this."""
    kept, other = theano.shared(np.zeros((1, 1), 'float32'), borrow=True), tt.matrix('other', 'float32')
    f = theano.function([other], [], updates=[(kept, kept * 0.5 - other)])
    x, y = RANDOM.normal(size=(2, *shape)).astype('float32')
    for before, taken in itertools.product(in_memory_orders(x), in_memory_orders(y)):
        kept.set_value(before.copy(order='A'), borrow=True)
        memory = kept.get_value(borrow=True)
        f(taken)
        np.testing.assert_allclose(kept.get_value(), x * 0.5 - y, rtol=1e-6, atol=1e-7)
        assert kept.get_value(borrow=True) is memory


def test_flags_are_numbers(by):
    a, b = tt.vector('a', 'bool'), tt.vector('b', 'bool')
    p, q = tt.cast(a, 'float32'), tt.cast(b, 'float32')
    functions = [theano.function([a, b], y, on_unused_input='ignore') for y in (p + q, p - q, -p, tt.exp(p))]
    for order in (1, -1):
        x, y = np.array([True, True, False])[::order], np.array([True, False, False])[::order]
        for f, expected in zip(functions, (1.0 * x + y, 1.0 * x - y, -1.0 * x, np.exp(1.0 * x))):
            assert f(x, y).dtype == 'float32'
            np.testing.assert_allclose(f(x, y), expected, rtol=1e-6)


def test_constants_of_other_types_and_one_file_for_equal_formulas():
    a, b = tt.vector('a', 'float32'), tt.matrix('b', 'float32')
    f = theano.function([a, b], [tt.switch(a > 0.5, 0.5 / a, 1), tt.switch(b > 0.5, 0.5 / b, 1)])
    x = np.array([0.25, 1, 4], 'float32')
    np.testing.assert_array_equal(f(x, x[None])[0], [1, 0.5, 0.125])
    first, second = thunks(f)
    assert first.path == second.path and first.name == second.name


@pytest.mark.parametrize('dtype', ['float32', 'int8'])
def test_shapes_that_differ_raise_an_error(by, dtype):
    """Theano broadcasts only what it knows to have one row or number."""
    a, b = [symbol(dtype, False) for _ in range(2)]
    f = theano.function([a, b], a * b)
    for m, n in ((3, 4), (1, 4), (0, 1), (0, 1)):
        with pytest.raises(ValueError, match='Input dimension mis-match'):
            f(np.ones(m, dtype), np.ones(n, dtype))


def test_operations_that_are_not_in_c():
    """By whole arrays, in the types of Theano's own results; the last of them number by number."""
    a, k = tt.vector('a', 'float32'), tt.vector('k', 'int32')
    x, n = np.array([-1.5, 0, 0.5, 2.5], 'float32'), np.array([-7, 2, 3, 0], 'int32')
    pairs = {a // 2: x // 2, k % 3: n % 3, k / 2: n / 2, tt.sqrt(abs(k)): np.sqrt(abs(n)), k ** 2: n ** 2, k & 3: n & 3,
             tt.cast(a, 'int8'): x.astype('int8'), tt.clip(k, -1, 2): n.clip(-1, 2), tt.arctan2(a, k): np.arctan2(x, n),
             tt.arctan2(tt.cast(k, 'int8'), tt.cast(k + 1, 'int8')): np.arctan2(n, n + 1.0),
             a + a * k + k: x + x * n + n, tt.erf(a): [-0.96610515, 0, 0.5204999, 0.999593]}
    for value, (symbols, expected) in zip(theano.function([a, k], list(pairs))(x, n), pairs.items()):
        np.testing.assert_allclose(value, expected, rtol=1e-6, err_msg=str(symbols))
        assert value.dtype == symbols.dtype


def test_calls_with_equal_other_and_changed_arrays(by):
    """The same array with other numbers, other shapes in between, an array that is no view, and results kept."""
    x, counter = tt.matrix('x', 'float32'), theano.shared(np.int64(1), 'counter')
    views = [x.T.reshape((-1,)), x[1:].dimshuffle(1, 0), x.shape[0] * counter, tt.tanh(x).sum(axis=1),
             2 * x + x.shape[1]]
    f, kept = theano.function([x], views, updates=[(counter, counter + 1)]), []
    memory = RANDOM.normal(size=(3, 5)).astype('float32')
    for call, value in enumerate([memory, memory, memory[:2], memory.T, memory], 1):
        memory *= 1.5
        expected = (value.T.ravel(), value[1:].T, len(value) * call, np.tanh(value).sum(axis=1),
                    2 * value + value.shape[1])
        kept.append((f(value), [np.array(each) for each in expected]))
    for results, expected in kept:             # also those of earlier calls
        for found, wanted in zip(results[2:], expected[2:]):
            np.testing.assert_allclose(found, wanted, rtol=1e-5)
    for found, wanted in zip(*kept[-1]):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_copies_of_numbers_that_change_in_place(by):
    """A number of a shared variable, and a reshape that is no view, after an update in place."""
    s, m, x = theano.shared(np.ones(3, 'float32')), theano.shared(np.ones((2, 3), 'float32')), tt.scalar('x', 'float32')
    step = theano.function([], [], updates=[(s, 2 * s), (m, 3 * m)])
    f = theano.function([x], [x * s[0], x + m.T.reshape((6,)), x * s[:2]])
    for factor in (1, 2, 4):
        for found, expected in zip(f(1), (factor, 1 + 3.0 ** np.log2(factor), factor)):
            np.testing.assert_allclose(found, expected, rtol=1e-6)
        step()


def test_integers_that_are_no_sizes(by):
    """They may be computed into the same array, or be changed by the user."""
    x, n = tt.vector('x', 'float32'), tt.lscalar('n')
    count = tt.gt(x, 0).sum()
    f = theano.function([x, n], [x[:count].sum(), 3 * n, x[n:n + 1], x.reshape((n, -1)).shape[0] * 1.0])
    number = np.array(1)
    for values in ([1, -1, 5, 2], [1, 1, 0, 2], [1, 1, 1, 2]):
        number[...] = number % 2 + 1
        found = f(np.array(values, 'float32'), number)
        positive, k = sum(value > 0 for value in values), int(number)
        for each, expected in zip(found, (sum(values[:positive]), 3 * k, values[k:k + 1], k)):
            np.testing.assert_array_equal(each, expected)


def test_sizes_stay_the_same_when_a_formula_may_overwrite_them():
    x = theano.shared(np.full((3, 5), 2, 'float32'), 'x')
    size = tt.cast(x.shape[0], 'float32')
    f = theano.function([], [tt.sqr(x[0, 0]) / size, size + x[0, 1]])
    assert any(node.op.destroy_map for node in f.maker.fgraph.toposort() if isinstance(node.op, tt.Elemwise))
    results = [f() for _ in range(4)]
    for result in results:
        np.testing.assert_allclose(result, [4 / 3, 5], rtol=1e-6)
    assert len({id(value) for result in results for value in result}) == 8


M, V_, X, N_ = tt.ivector('m'), tt.scalar('v', 'float32'), tt.vector('x', 'float32'), tt.iscalar('n')
SIZED = {                       # expressions of sizes that come from numbers, and the same in NumPy
    'alloc': (tt.extra_ops.cumsum(tt.alloc(V_, M.sum())) * 1, lambda m, v, x, n: np.cumsum(np.full(sum(m), v))),
    'concatenate': (tt.concatenate([tt.alloc(V_, N_), 2 * X[:M[0]]]) * V_,
                    lambda m, v, x, n: np.concatenate([np.full(n, v), 2 * x[:m[0]]]) * v),
    'repeat': (tt.extra_ops.repeat(X, N_) + X[N_], lambda m, v, x, n: np.repeat(x, n) + x[n]),
    'split': (2 * tt.split(X, tt.stack([M[0], 5 - M[0]]), 2)[1], lambda m, v, x, n: 2 * x[m[0]:]),
    'empty part': (tt.split(X, tt.stack([N_ - N_, 5 - N_ + N_]), 2)[1] * V_ + tt.split(X, [0, 5], 2)[1],
                   lambda m, v, x, n: x * v + x),
    'reshape': (tt.zeros((M.prod(),)).reshape((M[0], -1)) + V_, lambda m, v, x, n: np.full(m, v)),
    'shape': (tt.exp(X[N_:]).shape[0] * tt.ones_like(X[:N_]), lambda m, v, x, n: np.full(n, len(x) - n)),
    'inc': (2 * tt.inc_subtensor(X[:N_], tt.alloc(V_, N_)), lambda m, v, x, n: 2 * (x + v * (np.arange(len(x)) < n)))}


@pytest.mark.parametrize('name', SIZED)
def test_sizes_that_depend_on_numbers(by, name):
    """The numbers change in place; the arrays stay the same."""
    symbols, expected = SIZED[name]
    f = theano.function([M, V_, X, N_], symbols, on_unused_input='ignore')
    m, v, x, n = np.array([2, 3], 'int32'), np.array(2, 'float32'), np.arange(5, dtype='float32'), np.array(1, 'int32')
    for m[0], m[1], n[...] in ((2, 3, 1), (2, 3, 1), (4, 3, 2), (1, 3, 2), (1, 4, 4), (1, 2, 3)):
        x += 1
        np.testing.assert_allclose(f(m, v, x, n), expected(m, v, x, n), rtol=1e-6)


def test_old_value_that_is_read_twice_is_overwritten_by_the_new_one(by):
    """The optimiser Lion (Chen et al. 2023). Otherwise all that reads the new array is planned in each step."""
    p, m = [theano.shared(RANDOM.normal(size=(3, 5)).astype('float32')) for _ in range(2)]
    g, before = tt.matrix('g', 'float32'), (p.get_value(), m.get_value())
    memory = [v.get_value(borrow=True) for v in (p, m)]
    step = 0.1 * tt.sgn(0.9 * m + 0.1 * g)
    f = theano.function([g], abs(step).sum(), updates=[(p, p - step), (m, 0.5 * m + g)])
    gradient = RANDOM.normal(size=(3, 5)).astype('float32')
    np.testing.assert_allclose(f(gradient), 1.5, rtol=1e-6)
    assert p.get_value(borrow=True) is memory[0] and m.get_value(borrow=True) is memory[1]
    np.testing.assert_allclose(memory[0], before[0] - 0.1 * np.sign(0.9 * before[1] + 0.1 * gradient), rtol=1e-5)
    np.testing.assert_allclose(memory[1], 0.5 * before[1] + gradient, rtol=1e-5)


def test_new_value_whose_old_one_nothing_reads_keeps_its_array(by):
    """Such as RMSprop's sums without momentum. A result that is not borrowed has an array of its own."""
    v, g = theano.shared(np.zeros((3, 5), 'float32')), tt.matrix('g', 'float32')
    f = theano.function([g], [tt.sqr(g), 3 * tt.sqr(g)], updates=[(v, tt.sqr(g))])
    memory = None
    for k in (1, 2, 3):
        results, before, memory = f(np.full((3, 5), k, 'float32')), memory, v.get_value(borrow=True)
        assert [*map(np.ptp, results), *[result.max() for result in results]] == [0, 0, k ** 2, 3 * k ** 2]
        assert (memory == k ** 2).all() and results[0] is not memory and (before is memory or k == 1)


def test_function_whose_arrays_were_freed(by):
    """Those of shared variables stay."""
    x, values, s = tt.matrix('x', 'float32'), np.ones((3, 5), 'float32'), theano.shared(np.full(5, 2, 'float32'))
    f = theano.function([x], tt.tanh(s * x).sum())
    first, _ = f(values), f(values)
    f.free()
    assert f(values) == f(values) == first


@pytest.mark.parametrize('function', [tt.tanh, tt.shape, lambda x: x[[0, 1]], lambda x: tt.dot(x, x)])
def test_none_as_an_argument(function):
    x = tt.vector('x', 'float32')
    f = theano.function([x], function(x))
    for arguments, named in (([None], {}), ([], {'x': None})):
        with pytest.raises(ValueError, match='expected an ndarray, not None'):
            f(*arguments, **named)
        f(np.ones(3, 'float32'))                           # the next error is in a function that has run


def test_threads_that_call_one_function():
    x, waits = tt.vector('x', 'float32'), theano.printing.Print(global_fn=lambda op, value: time.sleep(1e-3))
    f, values = theano.function([x], waits(2 * x) + 1), [np.full(3, k, 'float32') for k in range(20)]
    with ThreadPoolExecutor(4) as pool:
        np.testing.assert_array_equal([*pool.map(f, values)], [2 * value + 1 for value in values])


def test_numpy_uses_one_thread_in_a_step():
    """Its threads and those of the kernel would take each other's time, as in products of one's own optimiser."""
    get_threads, set_threads, before = openblas()
    set_threads(2)
    x, seen = tt.vector('x', 'float32'), []
    f = SameArrays([x], [theano.printing.Print(global_fn=lambda op, value: seen.append(get_threads()))(x)])
    f(np.ones(3, 'float32'))
    set_threads(before)
    assert seen == [1]


def test_again_computes_anew_what_depends_on_the_inputs(by):
    """And what is overwritten: the product of parameters, by the formula."""
    x, p = tt.matrix('x', 'float32'), RANDOM.normal(size=(3, 3)).astype('float32')
    f = SameArrays([x], [tt.dot(theano.shared(p), theano.shared(p).T) * x, tt.concatenate([x, tt.exp(x)])])
    for k, call in enumerate((f, f, f.again, f.again, f, f.again, f.again), 1):
        value = np.full((3, 3), k / 7, 'float32')
        for found, expected in zip(call(value), (p @ p.T * value, np.concatenate([value, np.exp(value)]))):
            np.testing.assert_allclose(found, expected, rtol=1e-5)
