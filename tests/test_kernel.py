"""Each Op of engine/graph/ops.py by itself, in cases that test_every_way.py does not cover.

These are any memory order, NaN and infinity, in-place Ops, inputs that do not match, and any number of threads.
"""
import contextlib
import ctypes
import itertools
import os
import platform
import re
import shutil
import subprocess
from functools import lru_cache

import numpy as np
import pytest

import numpy_model
from charlstm import CharLSTM, lstm_cell
from engine import checks
from engine.backend import compiler
from engine.backend.theano_setup import theano, tt
from engine.graph import library, ops
from engine.graph.cell import Cell
from engine.graph.elementwise import openblas
from engine.graph.fallback import StepByStep
from engine.graph.in_c import c_functions
from engine.graph.in_numpy import Arrays
from engine.graph.library import Library
from cells import OWN, peephole_cell, three_states
from numpy_model import NAMES, chosen, lstm, sigmoid

DTYPES = ('float32', 'float64')
TOLERANCE = {'float32': dict(rtol=2e-5, atol=3e-6), 'float64': dict(rtol=1e-12, atol=1e-13)}
LONG_SUMS = {'float32': dict(rtol=1e-4, atol=2e-5), 'float64': dict(rtol=1e-10, atol=1e-12)}     # of gradients
INTERPRETED = theano.Mode(theano.gof.vm.VM_Linker(use_cloop=False, c_thunks=False), optimizer=None)
TINY = np.finfo('float32').tiny             # of the normal numbers
OPS = ('Product', 'SumsOfSquares', 'TakeColumns', 'AddColumns', 'LSTM', 'LSTM in place', 'LSTMGradient',
       'LSTMGradient in place', 'SoftmaxCrossEntropy', 'SoftmaxCrossEntropyGradient', 'LSTM with peepholes',
       'LSTMGradient with peepholes')
STANDARD, PEEPHOLES = Cell(lstm_cell, 'float64').program, Cell(peephole_cell, 'float64').program
LIBRARIES = {dtype: Library(dtype, STANDARD) for dtype in DTYPES}


def symbol(dtype, ndim):
    return theano.tensor.TensorType(dtype, [False] * ndim)()


def symbols(values):
    return [symbol(value.dtype, value.ndim) for value in map(np.asarray, values)]


def function_of(op, variables, mode):
    """Return a Theano function of an Op that may overwrite its inputs."""
    overwritten = [k for inputs in op.destroy_map.values() for k in inputs]
    inputs = [theano.In(v, mutable=k in overwritten) for k, v in enumerate(variables)]
    return theano.function(inputs, op.make_node(*variables).outputs, mode=mode, accept_inplace=True)


@lru_cache(maxsize=None)
def compiled(op, types):
    return function_of(op, [symbol(*kind) for kind in types], INTERPRETED)


def run(op, values):
    """Return the outputs of an Op."""
    values = [np.asarray(value) for value in values]
    function = compiled(op, tuple((str(value.dtype), value.ndim) for value in values))
    return function(*[value.copy() if op.destroy_map and value.flags.c_contiguous else value for value in values])


def assert_computes(op, values, expected, **tolerance):
    """Assert that an Op returns what is expected, with its shapes and types."""
    outputs = run(op, values)
    assert len(outputs) == len(expected)
    for output, value in zip(outputs, expected):
        assert output.shape == value.shape
        assert output.dtype == ('int32' if value.dtype.kind == 'i' else op.library.dtype)
        np.testing.assert_allclose(output, value, **tolerance or TOLERANCE[op.library.dtype])


# ---------------------------------------------------------------- inputs

@pytest.fixture(params=DTYPES)
def dtype(request):
    return request.param


@pytest.fixture
def random():
    return np.random.default_rng(5)


def reals(random, dtype, *shape):
    return random.uniform(-1, 1, shape).astype(dtype)


def wholes(random, dtype, *shape):
    """Return whole numbers so small that sums of their products are exact."""
    return random.integers(-4, 5, shape).astype(dtype)


def rows(random, below, *shape):
    return random.integers(below, size=shape, dtype=np.int32)


def layer_inputs(random, dtype, T, B, H):
    """Return a_x, W, b, h0, C0."""
    return [reals(random, dtype, *shape) for shape in ((T, B, 4 * H), (4, H, H), (4, H), (B, H), (B, H))]


@lru_cache(maxsize=None)
def examples(dtype):
    """Return each Op and inputs for it by name. All sizes are different."""
    random = np.random.default_rng(3)
    index, of_layer, dh = rows(random, 5, 7), layer_inputs(random, dtype, 3, 29, 17), reals(random, dtype, 3, 29, 17)
    with_peepholes = of_layer + [reals(random, dtype, 17) for _ in OWN]

    def of_gradient(program, values):
        return [dh, values[1], *run(ops.LSTM(Library(dtype, program)), values)[:3], *values[3:]]

    values = dict(zip(OPS, [
        [reals(random, dtype, 67, 71), reals(random, dtype, 71, 43)],
        [reals(random, dtype, 3, 41, 7)],
        [reals(random, dtype, 3, 5), index],
        [reals(random, dtype, 3, 5), index, reals(random, dtype, 7, 3)],
        of_layer, of_layer,
        of_gradient(STANDARD, of_layer), of_gradient(STANDARD, of_layer),
        [reals(random, dtype, 7, 5), reals(random, dtype, 5), index],
        [reals(random, dtype, 7), reals(random, dtype, 7), softmax(reals(random, dtype, 7, 5)), index],
        with_peepholes, of_gradient(PEEPHOLES, with_peepholes)]))
    made = {}
    for name in OPS:
        kernel = Library(dtype, PEEPHOLES if 'peepholes' in name else STANDARD)
        more = dict(in_place=True) if 'place' in name else {}
        op = getattr(ops, name.split()[0])(kernel, **more)
        made[name] = op, values[name]
    return made


# ---------------------------------------------------------------- the same in NumPy

def layer(a_x, W, b, h, C):
    """Return the outputs of LSTM, in float64, by the cell of the model in NumPy."""
    steps = []
    for a in a_x:
        sums = a.reshape(len(a), *b.shape) + b + np.einsum('kij,nj->nki', W.astype('float64'), h)
        a = sums.swapaxes(0, 1)                                                      # (4, B, H)
        h, C = lstm(*a, C)
        steps.append((h, C, np.concatenate([*sigmoid(a[:3]), np.tanh(a[3])], axis=1)))
    return *map(np.array, zip(*steps)), h, C


def softmax(scores):
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# ---------------------------------------------------------------- products and rows

def test_product_is_exact_on_whole_numbers_of_any_strides(dtype, random):
    big, b = wholes(random, dtype, 19, 40), wholes(random, dtype, 9, 21)
    views = [big[:, 2:11], big[:, 9:0:-1], big[::-2, ::-1][:, :9], big[:, ::4][:, :9], big.T[3:12].T,
             big[:9].T, big[::-1][:9].T, np.broadcast_to(big[:, :1], (19, 9)), np.broadcast_to(big[4, 3:12], (7, 9)),
             np.broadcast_to(big[3, 3], (5, 9))]
    pairs = [(a, b) for a in views]
    for M, K, N in ((1, 1, 1), (3, 5, 2), (29, 1, 7), (13, 16, 64), (27, 70, 1), (131, 300, 37), (0, 3, 5), (3, 0, 5),
                    (3, 5, 0), (1, 16, 4), (2, 70, 5), (4, 33, 131), (5, 33, 131)):
        pairs.append((wholes(random, dtype, M, K), wholes(random, dtype, K, N)))
        pairs.append((pairs[-1][0], pairs[-1][1].T.copy().T))
    for a, b in pairs:
        expected = (a.astype('int64') @ b.astype('int64')).astype(dtype)
        assert_computes(ops.Product(LIBRARIES[dtype]), [a, b], [expected], rtol=0)
        assert_computes(ops.Product(LIBRARIES[dtype]), [b.T, a.T], [expected.T], rtol=0)


def test_sums_of_squares(dtype, random):
    """They are exact for whole numbers, and as accurate for many reals as for few."""
    shapes = (1, 0, 1), (1, 1, 1), (3, 5, 7), (3, 50001), ()
    for made, tolerance in ((wholes, 0), (reals, 1e-6)):
        arrays = [made(random, dtype, *shape) for shape in shapes]
        expected = [np.asarray(sum((float(x) ** 2 for x in v.flat), 0.0)) for v in arrays]
        assert_computes(ops.SumsOfSquares(LIBRARIES[dtype]), arrays, expected, rtol=tolerance)


def test_sums_of_squares_of_a_graph_are_computed_together(random):
    """Those that depend on others come after them."""
    x, a = tt.matrix('x'), random.normal(size=(13, 7)).astype('float32')
    y = ops.Product(LIBRARIES['float32'])(x, x.T)
    first = tt.sqr(x).sum(), (y ** 2).sum()
    function = theano.function([x], [*first, tt.sqr(y / tt.sqrt(first[1]) - y).sum()])
    nodes = function.maker.fgraph.apply_nodes
    assert sorted(len(n.inputs) for n in nodes if isinstance(n.op, ops.SumsOfSquares)) == [1, 2]
    a_a = a.astype(float) @ a.T
    expected = (a.astype(float) ** 2).sum(), (a_a ** 2).sum(), ((a_a / np.sqrt((a_a ** 2).sum()) - a_a) ** 2).sum()
    np.testing.assert_allclose(function(a), expected, rtol=1e-5)


# ---------------------------------------------------------------- the layer and its functions

@pytest.mark.parametrize('M', [1, 35])                     # few rows, and many, whose product has another function
def test_subnormal_numbers_are_0_in_c_alone(dtype, M):
    """They made a layer with saturated gates 20 times slower."""
    tiny = np.full((M, 1), np.finfo(dtype).tiny, dtype)
    assert (run(ops.Product(LIBRARIES[dtype]), [tiny, np.full((1, 3), 0.5, dtype)])[0] == 0).all()
    assert (run(ops.Product(LIBRARIES[dtype]), [tiny, np.full((1, 3), 2, dtype)])[0] > 0).all()
    assert (0.5 * tiny > 0).all()


@pytest.mark.parametrize('T, B, H', [(1, 1, 1), (1, 1, 33), (1, 4, 65), (1, 5, 16), (2, 3, 17)])
def test_layer_of_one_step_and_few_rows(dtype, random, T, B, H):
    """Then its weights are not packed."""
    values = layer_inputs(random, dtype, T, B, H)
    assert_computes(ops.LSTM(LIBRARIES[dtype]), values, layer(*values))


def floats():
    """Return floats of every exponent, and many in the range where the functions bend."""
    x = np.concatenate([np.arange(0, 2 ** 32, 7919, dtype=np.uint32).view(np.float32),
                        np.linspace(-90, 90, 200003, dtype=np.float32)])
    return x[np.isfinite(x)]


def assert_exact(values, expected, bound, least=TINY):
    """Assert that float32 numbers above `least` are exact to `bound` units in the last place, all others to `least`."""
    rounded, error = expected.astype('float32'), np.abs(values - expected)
    finite, normal = np.isfinite(rounded), np.abs(expected) > least
    units = error / np.spacing(np.abs(rounded)).astype('float64')
    assert (units < bound)[finite & normal].all()
    assert (error < least)[finite & ~normal].all()
    np.testing.assert_array_equal(values[~finite], rounded[~finite])


def test_functions_are_as_exact_as_functions_h_states(random):
    x = floats()
    normal = np.where(np.abs(x) < TINY, TINY, x)                   # for log and pow
    log_x = np.log(np.abs(normal).astype('float64'))
    y = random.uniform(-85, 85, len(x)) / log_x
    y = np.where(x < 0, y.round(), y).astype('float32')
    u, v, w = symbols([x, normal, y])
    functions = [tt.nnet.sigmoid(u), tt.tanh(u), tt.exp(u), tt.expm1(u), tt.log1p(u), tt.nnet.softplus(u), tt.log(v),
                 v ** w]
    sigmoids, tanh, exp, expm1, log1p, softplus, log, power = theano.function([u, v, w], functions)(x, normal, y)
    x, normal, y = (values.astype('float64') for values in (x, normal, y))
    with np.errstate(all='ignore'):
        assert_exact(sigmoids, sigmoid(x), 2.5)
        assert_exact(tanh, np.tanh(x), 2.7)
        assert_exact(exp, np.exp(x), 1.4, 2.4e-38)
        assert_exact(expm1, np.expm1(x), 1.8, 2.4e-38)
        assert_exact(log1p, np.log1p(x), 1)
        assert_exact(softplus, np.logaddexp(0, x), 1.9, 2.4e-38)
        assert_exact(log, np.log(normal), 1)
        assert_exact(power, normal ** y, 1 + 2.2 * np.abs(y * log_x), 2.4e-38)


# ---------------------------------------------------------------- softmax and its cost

def test_cross_entropy_of_extreme_scores(dtype):
    """No exponential overflows, improbable targets have their exact cost, and the first of equal scores is the best."""
    scores = np.array([[1e4, 0, -1e4], [-1e30, -1e30, -1e30], [0, 100, 100]], dtype)
    values = [scores, np.zeros(3, dtype), np.array([2, 1, 0], np.int32)]
    assert_computes(ops.SoftmaxCrossEntropy(LIBRARIES[dtype]), values, [
        np.array([2e4, np.log(3), 100 + np.log(2)]), np.array([0, 0, 1]),
        np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0, 0.5, 0.5]]),
        np.array([1e4, np.log(3), 100 / 3 + np.log(2)])])


# ---------------------------------------------------------------- sampling

def written(p, prime, bits, n, choice, states):
    """Return the text that the model in NumPy writes with these random bits, and the states before its last row."""
    temperature, top_k, top_p = choice
    text, states = prime, numpy_model.forward(p, prime[:-1], states)[1]
    for k in range(n):
        (now,), states = numpy_model.forward(p, text[-1:], states)                  # (B, V)
        drawn = now.argmax(axis=1)
        if len(bits):
            cumulative = np.cumsum([chosen(row, temperature, int(top_k), top_p) for row in now], axis=1)
            drawn = (cumulative > bits[k][:, None] / 2 ** 53).argmax(axis=1)
        text = np.vstack([text, drawn])
    return text, states


@pytest.mark.parametrize('m, n, B, V, H1, H2, choice', [
    (3, 5, 4, 11, 7, 2, dict()), (7, 2, 29, 70, 17, 33, dict(method='argmax')),
    (7, 2, 29, 70, 17, 33, dict(temperature=0.4)), (3, 9, 4, 11, 7, 2, dict(temperature=2.5, top_k=3)),
    (3, 9, 4, 11, 7, 2, dict(top_p=0.7)), (7, 5, 29, 70, 17, 33, dict(temperature=0.8, top_k=7, top_p=0.6)),
    (1, 6, 1, 2, 1, 1, dict(top_k=1)), (4, 0, 3, 5, 6, 7, dict()), (1, 0, 2, 3, 5, 4, dict())], ids=str)
def test_text_is_drawn_from_the_models_distribution(dtype, random, m, n, B, V, H1, H2, choice):
    """Also by StepByStep, which writes where C does not."""
    method, temperature, top_k, top_p = (dict(method='normal', temperature=1, top_k=10 ** 6, top_p=1) | choice).values()
    prime, bits = rows(random, V, m, B), random.integers(2 ** 53, size=(n if method == 'normal' else 0, B))
    choice, states = (temperature, top_k, top_p), [reals(random, dtype, B, H) for H in (H1, H1, H2, H2)]
    p = numpy_model.random_parameters(m + n, dtype, V, H1, H2)
    texts = ops.Texts(LIBRARIES[dtype], {name: theano.shared(p[name].astype(dtype)) for name in NAMES},
                      Cell(lstm_cell, dtype))
    expected, end = written(p, prime, bits, n, choice, [state.T.astype('float64') for state in states])

    def predict(x, *states):
        probabilities, after = numpy_model.forward(p, x, [state.T for state in states])
        return np.log(probabilities.reshape(-1, V)), *[state.T for state in after]

    predict.again = predict
    for writer in (texts, StepByStep(lambda name: predict, lambda: [H1, H1, H2, H2])):
        text, *after = writer.write(prime, bits, n, choice, *map(np.copy, states))
        assert text.dtype == 'int32'
        np.testing.assert_array_equal(text, expected)
        for found, state in zip(after, end if n or writer is texts else []):
            np.testing.assert_allclose(found, state.T, **TOLERANCE[dtype])
    for characters, before in ((prime + V, states), (prime, states[1:])):
        with pytest.raises(ValueError):
            texts.write(characters, bits, n, choice, *before)


# ---------------------------------------------------------------- inputs that do not match

# Input axes whose size no other input shares.
FREE = dict(Product={(0, 0), (1, 1)}, SumsOfSquares={(0, 0), (0, 1), (0, 2)}, TakeColumns={(0, 0), (0, 1), (1, 0)},
            AddColumns={(0, 1)}, LSTM={(0, 0)}, SoftmaxCrossEntropyGradient={(2, 1)})


@pytest.mark.parametrize('name', OPS)
def test_shapes_that_do_not_fit(name, dtype):
    op, values = examples(dtype)[name]
    refused, axes = set(), {(k, axis) for k, value in enumerate(values) for axis in range(np.ndim(value))}
    for k, axis in axes:
        longer = np.pad(values[k], [(0, axis == a) for a in range(values[k].ndim)], mode='edge')
        try:
            run(op, values[:k] + [longer] + values[k + 1:])
        except ValueError:
            refused.add((k, axis))
    assert refused == axes - FREE.get(name.split()[0], set())


@pytest.mark.parametrize('name, k', [('TakeColumns', 1), ('AddColumns', 1), ('SoftmaxCrossEntropy', 2),
                                     ('SoftmaxCrossEntropyGradient', 3)])
def test_numbers_out_of_range(name, k, dtype):
    """The error names the operation, also in the same array as before, and a call after it succeeds."""
    op, values = examples(dtype)[name]
    changed = np.array(values[k])
    for number, fits in ((4, True), (-1, False), (5, False), (-2 ** 31, False), (4, True)):
        changed.flat[-1] = number
        with contextlib.nullcontext() if fits else pytest.raises(ValueError, match=f'^{name}:'):
            run(op, values[:k] + [changed] + values[k + 1:])


# ---------------------------------------------------------------- layouts, NaN and infinity

LAYOUTS = dict(
    columns=lambda v: np.asfortranarray(v),
    every_second=lambda v: np.repeat(v, 2, axis=-1)[..., ::2],
    reversed=lambda v: v[::-1].copy()[::-1],
    part=lambda v: np.pad(v, 1, mode='edge')[(slice(1, -1),) * v.ndim],
    read_only=lambda v: np.frombuffer(v.tobytes(), v.dtype).reshape(v.shape),
)


@pytest.mark.parametrize('name', OPS)
def test_inputs_that_are_not_contiguous(name, dtype):
    """Inputs may also be read-only. Outputs begin at a cache line."""
    op, values = examples(dtype)[name]
    expected = run(op, values)
    assert all(k in op.destroy_map or output.ctypes.data % 64 == 0 for k, output in enumerate(expected))
    for layout in LAYOUTS.values():
        changed = [layout(v) if np.ndim(v) else v for v in values]
        assert not all(np.asarray(v).flags.carray for v in changed)
        for output, value in zip(run(op, changed), expected):
            np.testing.assert_allclose(output, value, **TOLERANCE[dtype])


@pytest.mark.parametrize('name', OPS)
def test_results_stay_when_the_function_is_called_again(name):
    """The function reuses only memory that it has not returned, also in Theano's default mode."""
    op, values = examples('float32')[name]
    for function in (lambda *values: run(op, values), function_of(op, symbols(values), None)):
        first = function(*map(np.copy, values))
        kept = [np.copy(output) for output in first]
        function(*[value if value.dtype.kind == 'i' else 2 * value for value in map(np.asarray, values)])
        for output, value in zip(first, kept):
            np.testing.assert_array_equal(output, value)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_passed_on(dtype, random, value):
    for H, k in itertools.product((3, 17), range(5)):
        values = layer_inputs(random, dtype, 4, 5, H)
        values[k].flat[1] = value
        with np.errstate(all='ignore'):
            assert_computes(ops.LSTM(LIBRARIES[dtype]), values, layer(*values))
    for changed in (0, 1):
        pair = [reals(random, dtype, 67, 71), reals(random, dtype, 71, 43)]
        pair[changed].flat[-1] = value
        with np.errstate(all='ignore'):
            np.testing.assert_allclose(run(ops.Product(LIBRARIES[dtype]), pair)[0], np.dot(*pair), **LONG_SUMS[dtype])
    scores, c, y = reals(random, dtype, 4, 5), reals(random, dtype, 5), np.array([0, 1, 2, 3], np.int32)
    scores[1, 1] = scores[2, 4] = value
    with np.errstate(all='ignore'):
        p = softmax(scores.astype('float64') + c)
        expected = [-np.log(p[np.arange(4), y]), p, p - np.eye(4, 5)]
    costs, _, probabilities, _ = run(ops.SoftmaxCrossEntropy(LIBRARIES[dtype]), [scores, c, y])
    dscores, _ = run(ops.SoftmaxCrossEntropyGradient(LIBRARIES[dtype]),
                     [np.ones(4, dtype), np.zeros(4, dtype), probabilities, y])
    for output, wanted in zip([costs, probabilities, dscores], expected):
        np.testing.assert_allclose(output, wanted, **TOLERANCE[dtype])


# ---------------------------------------------------------------- in place

def test_layers_of_a_model_work_in_place(compiled_models):
    """Nor are the states that a function returns views, which would keep the memory of all steps."""
    nodes = compiled_models('float32')[0].functions['train_rmsprop'].function.maker.fgraph
    layers = [node.op for node in nodes.toposort() if isinstance(node.op, (ops.LSTM, ops.LSTMGradient))]
    assert len(layers) == 4 and all(op.in_place for op in layers)
    states = [v.owner for v in nodes.outputs if v.ndim == 2 and v.dtype == 'float32']
    assert [type(node.op) for node in states[:4]] == [ops.LSTM] * 4


def test_layers_overwrite_nothing_that_is_needed(random):
    """They overwrite neither inputs nor outputs of a function, nor anything that another node reads."""
    op, values = ops.LSTM(LIBRARIES['float64']), layer_inputs(random, 'float64', 3, 5, 2)
    kept, (a_x, *rest) = [v.copy() for v in values], symbols(values)
    twice, thrice = 2 * a_x, 3 * a_x
    layers = [op(a, *rest) for a in (a_x, twice, thrice)]
    dW = theano.grad(layers[0][0].sum(), rest[0])                                    # reads the gates that are returned
    results = theano.function([a_x] + rest, sum(layers, []) + [twice, thrice.sum(), dW])(*values)
    expected = sum([list(layer(n * values[0], *values[1:])) for n in (1, 2, 3)], [])
    for found, wanted in zip(results, expected + [2 * values[0], 3 * values[0].sum()]):
        np.testing.assert_allclose(found, wanted, **TOLERANCE['float64'])
    for value, before in zip(values, kept):
        np.testing.assert_array_equal(value, before)


# ---------------------------------------------------------------- compilers

COMPILERS = {'gcc': 'gcc -x c -std=c11', 'g++': 'g++ -x c++ -std=c++11', 'clang++': 'clang++ -x c++ -std=c++11'}


@pytest.mark.parametrize('compiler, real, processor', [
    ('gcc', 'double', '-march=native'), ('g++', 'double', '-mavx2 -mfma -fopenmp'), ('gcc', 'float', '-msse2 -fopenmp'),
    ('gcc', 'float', '-mavx2 -DPER_WORD=2 -fopenmp'),
    ('g++', 'float', '-mavx512f -mavx512bf16 -DPER_WORD=2 -DAVX512_BF16 -fopenmp'),
    ('gcc', 'float', '-mavx512f -mamx-tile -mamx-bf16 -DPER_WORD=2 -DAMX_BF16 -fopenmp'),
    ('clang++', 'float', '-march=native')])
def test_kernel_compiles_without_warnings(compiler, real, processor, tmp_path):
    """Also without OpenMP, as Apple's clang compiles it, and for processors with shorter vectors than this one's."""
    if processor != '-march=native' and platform.machine() != 'x86_64':
        pytest.skip('options of another processor')
    if not shutil.which(compiler):
        pytest.skip(f'{compiler} is not installed')
    command = (f'{COMPILERS[compiler]} -O1 -DREAL={real} {processor} -Wall -Wextra -Wno-unused-function -Wno-psabi '
               '-c -o x.o -')
    formula = '\nFORMULA(f, (long rows, long n, REAL *out), 0, , , , , load(out + at, m))'
    for name, more in (('sampling.c', ''), ('embedding.c', ''), ('vectors.c', ''), ('formulas.h', formula)):
        source = library.joined(f'#include "{name}"{more}\n', c_functions(
            Cell(three_states, 'float64').program, library.C_FILES['cell.h']))
        result = subprocess.run(command.split(), input=source, encoding='utf-8', cwd=str(tmp_path),
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert (result.returncode, result.stdout) == (0, ''), name


# ---------------------------------------------------------------- threads, processes and versions

def outputs_of_all_ops():
    return [output for dtype in DTYPES for op, values in examples(dtype).values() for output in run(op, values)]


def outputs_of_rows(T, B, H):
    """Return the outputs of Ops whose threads share T*B rows."""
    random, N, V = np.random.default_rng(3), T * B, 67
    arrays = [reals(random, 'float32', *shape) for shape in ((H, V), (N, H), (H, 4 * H), (N, V), (V,))]
    index, library = rows(random, V, N), LIBRARIES['float32']
    return [*run(ops.TakeColumns(library), [arrays[0], index]), *run(ops.Product(library), arrays[1:3]),
            *run(ops.LSTM(library), layer_inputs(random, 'float32', T, B, H)),
            *run(ops.SoftmaxCrossEntropy(library), [*arrays[3:], index])]


needs_openmp = pytest.mark.skipif(not compiler.openmp(), reason='no OpenMP')


@contextlib.contextmanager
def any_number_of_threads():
    """Yield a function that sets the kernel's number of threads. An Op must already have loaded OpenMP's library."""
    with open('/proc/self/maps') as f:
        openmp = ctypes.CDLL(re.search(r'/\S*/lib(gomp|omp|omp5)\.so\S*', f.read()).group())
    before = openmp.omp_get_max_threads()
    try:
        yield openmp.omp_set_num_threads
    finally:
        openmp.omp_set_num_threads(before)


@needs_openmp
def test_any_number_of_threads_gives_the_same_numbers_and_the_same_bits_each_time():
    outputs_of_all_ops()
    results, counts = [], []
    with any_number_of_threads() as set_threads:
        for n in (1, 2, 3, 2):
            set_threads(n)
            results.append(outputs_of_all_ops() + outputs_of_rows(20, 29, 41))
            counts.append(len(os.listdir('/proc/self/task')))
    assert counts[2] - counts[1] == 1                                               # with 3 threads and with 2
    for one, two, three, two_again in zip(*results):
        assert two.tobytes() == two_again.tobytes()
        for other in (two, three):
            np.testing.assert_allclose(other, one, **LONG_SUMS['float32' if one.dtype == 'float32' else 'float64'])


@needs_openmp
def test_few_rows_stay_in_the_calling_thread():
    """Waking another takes longer: with two threads, an edited network wrote at a third of its speed."""
    outputs_of_all_ops()
    with any_number_of_threads() as set_threads:
        set_threads(9)
        before = len(os.listdir('/proc/self/task'))
        outputs_of_rows(1, 1, 512), outputs_of_rows(1, 5, 128)
        assert len(os.listdir('/proc/self/task')) == before


def test_c_has_room_for_all_layers():
    assert f'MOST_LAYERS = {checks.MOST_LAYERS} ' in library.C_FILES['kernel.h']


@pytest.mark.parametrize('name, old', [('layer.c', 'cell_forward(stage'), ('vectors.c', 'omp_get_max_threads()')])
def test_names_of_compiled_files_follow_all_code(name, old, monkeypatch):
    """Otherwise an old library would run after a change."""
    before = LIBRARIES['float32'].path()
    assert old in library.C_FILES[name]
    monkeypatch.setitem(library.C_FILES, name, library.C_FILES[name].replace(old, old.replace('(', '( ')))
    monkeypatch.setattr(library, 'joined', library.joined.__wrapped__)
    after = LIBRARIES['float32'].path()
    assert len({before, after, Library('float32', PEEPHOLES).path(), Library('float64', STANDARD).path()}) == 4


def test_numpys_openblas_uses_one_thread_in_a_layer_and_all_in_large_products(monkeypatch):
    get_threads, set_threads, most = openblas()   # NumPy's own; another BLAS keeps its threads
    monkeypatch.setattr(compiler, 'cxx', '')
    model = CharLSTM(random_seed=1)
    model.model_setup(char_dim=5, num_units1=7, num_units2=3, dropout=0)
    x, a, seen, before = np.arange(33).reshape(11, 3) % 5, np.ones((500, 500), 'float32'), [], get_threads()
    model.theano_train_rmsprop(x, x)                       # compiles
    for function in (np.dot, np.matmul):
        monkeypatch.setattr(np, function.__name__, lambda *arrays, function=function: (
            seen.append(get_threads()) or function(*arrays)))
    try:
        set_threads(2)
        model.theano_train_rmsprop(x, x)
        assert {*seen} == {1} and len(seen) > 11 * 4 and get_threads() == 2
        Arrays.product(a, a, np.empty_like(a))()
        assert seen[-1] == most
    finally:
        set_threads(before)
