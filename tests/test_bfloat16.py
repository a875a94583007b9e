"""precision='bfloat16', with each instruction set that this processor has: what is rounded, and what is refused."""
import contextlib
import functools
import math
import os
from unittest import mock

import numpy as np
import pytest

import numpy_model
from charlstm import CharLSTM, read_about
from engine.backend import compiler
from engine.backend.theano_setup import theano
from engine.graph import ops
from engine.graph.library import Library
from judges import to_bfloat16
from models import trained
from scripts import TEXT, load
from test_kernel import LAYOUTS, STANDARD, reals, run


def usable(name):
    with mock.patch.dict(os.environ, {compiler.VARIABLE: name}), contextlib.suppress(ValueError):
        return compiler.bfloat16('bfloat16', theano.config.floatX) == name


INSTRUCTIONS = [name for name in compiler.MACROS if usable(name)]


@pytest.fixture(params=INSTRUCTIONS)
def by(request, monkeypatch):
    """Multiply with each instruction set of this processor in turn, and return its name."""
    monkeypatch.setenv(compiler.VARIABLE, request.param)
    return request.param


NUMBERS = [1, -1, 0.1, 1 / 3, 1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20, -1 - 2 ** -8, 3.3e38, 1e-30, 255.5,
           np.inf, -np.inf, np.nan]


def test_operands_are_rounded_to_the_nearest_and_then_to_the_even(by):
    random = np.random.default_rng(3)
    x = np.array([*NUMBERS, *random.uniform(-9, 9, 300)], 'float32')
    for a, b in ((x[:, None], np.ones((1, 1), 'float32')), (np.ones((1, 1), 'float32'), x[None])):
        product, = run(ops.Product(Library('float32', STANDARD, by)), [a, b])
        np.testing.assert_array_equal(product.ravel(), to_bfloat16(x.astype('float64')))


@pytest.mark.parametrize('M, K, N', [(1, 1, 1), (3, 5, 2), (17, 31, 33), (14, 33, 65), (29, 70, 81), (107, 1100, 35)])
def test_product_is_that_of_rounded_operands(by, M, K, N):
    random = np.random.default_rng(M)
    first, second = reals(random, 'float32', M, K), reals(random, 'float32', K, N)
    expected = to_bfloat16(first.astype('float64')) @ to_bfloat16(second.astype('float64'))
    for layout in (np.copy, *LAYOUTS.values()):
        a, b = layout(first), layout(second)
        product, = run(ops.Product(Library('float32', STANDARD, by)), [a, b])
        np.testing.assert_allclose(product, expected, rtol=1e-4, atol=1e-5 * math.sqrt(K))
        assert np.abs(product - a.astype('float64') @ b).max() > 1e-5 * (K > 1)       # not float32's


def test_checkpoint_is_of_float32_and_resumes_to_the_bit(by, make_model, path, refused):
    def make(precision, seed=4):
        return make_model(seed, kind=functools.partial(CharLSTM, precision=precision), grad_clip=5, lrate=0.01)

    model, other, plain = make('bfloat16'), make('bfloat16', 5), make('float32')
    trained(model, 0, 4)
    other.resume(model.save_params(path, progress={}))
    assert {load(path)[name].dtype for name in numpy_model.NAMES} == {np.dtype('float32')}
    assert read_about(path)['precision'] == 'bfloat16'
    with refused(ValueError, 'precision bfloat16'):
        plain.resume(path)
    plain.load_params(path)                                        # for writing and scoring
    np.testing.assert_allclose(plain.score_text(TEXT[:50]), model.score_text(TEXT[:50]), rtol=0.05)
    assert trained(other, 4, 9) == trained(model, 4, 9)


@pytest.mark.parametrize('floatX, instructions, settings', [
    ('float32', 'emulated', dict(precision='half')), ('float64', 'emulated', dict(precision='bfloat16')),
    ('float32', 'emulated', dict(precision='bfloat16', kernel=False)), ('float32', 'no', dict(precision='bfloat16'))])
def test_arguments_that_are_refused(floatX, instructions, settings, monkeypatch, refused):
    monkeypatch.setenv(compiler.VARIABLE, instructions)
    with theano.change_flags(floatX=floatX), refused(ValueError):
        CharLSTM(**settings)


@pytest.mark.parametrize('macros, amx, expected', [
    ({'__AVX512F__'}, True, None), ({'__AVX512BF16__', '__AVX512F__'}, True, None), (set(), True, None),
    ({'__AVX512BF16__', '__znver4__'}, False, 'AVX-512'), ({'__AVX512BF16__', '__AMX_BF16__'}, True, 'AMX'),
    ({'__AVX512BF16__', '__AMX_BF16__'}, False, None)])
def test_instructions_are_those_that_are_faster_than_float32(macros, amx, expected, monkeypatch, refused):
    """amx: whether Linux permits AMX."""
    monkeypatch.delenv(compiler.VARIABLE, raising=False)
    monkeypatch.setattr(compiler, 'macros', lambda: dict.fromkeys(macros))
    monkeypatch.setattr(compiler, '_may_use_amx', lambda: amx)
    with contextlib.nullcontext() if expected else refused(ValueError, compiler.VARIABLE):
        assert compiler.bfloat16('bfloat16', theano.config.floatX) == expected


def test_cell_that_is_not_in_c_is_refused(monkeypatch, refused):
    monkeypatch.setenv(compiler.VARIABLE, 'emulated')
    model = CharLSTM(precision='bfloat16')
    model.cell = lambda a_o, C_prev: (theano.tensor.tanh(a_o) * C_prev.mean(), C_prev)
    model.model_setup(char_dim=7)
    with refused(ValueError, 'precision bfloat16 needs the C kernel'):
        model.compile('predict')
