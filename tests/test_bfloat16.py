"""precision='bfloat16', with each instruction set that this processor has: what is rounded, and what is refused."""
import contextlib
import functools
import math
import os
from unittest import mock

import numpy as np
import pytest

import charlstm
import numpy_model
from charlstm import CharLSTM, read_about
from engine.backend import compiler
from engine.backend.theano_setup import theano
from engine.graph import ops
from engine.graph.library import Library
from judges import to_bfloat16
from models import trained
from scripts import FAST, STATEFUL, TEXT, TRAIN, load
from scripts import run as run_script
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


def test_checkpoint_is_of_float32_and_resumes_to_the_bit(by, make_model, path, capsys):
    def make(precision, seed=4):
        return make_model(seed, kind=functools.partial(CharLSTM, precision=precision), grad_clip=5, lrate=0.01)

    model, other, plain = make('bfloat16'), make('bfloat16', 5), make('float32')
    trained(model, 0, 4)
    other.resume(model.save_params(path, progress={}))
    assert {load(path)[name].dtype for name in numpy_model.NAMES} == {np.dtype('float32')}
    assert read_about(path)['precision'] == 'bfloat16'
    plain.resume(path)
    assert 'trained in bfloat16: it goes on in float32' in capsys.readouterr().err
    np.testing.assert_allclose(plain.score_text(TEXT[:50]), model.score_text(TEXT[:50]), rtol=0.05)
    assert trained(other, 4, 9) == trained(model, 4, 9)
    for variable in model.p.values():                      # as sure as a model that was trained without dropout
        variable.set_value(60 * variable.get_value())
    plain.load_params(model.save_params(path))


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


@pytest.mark.parametrize('instructions, cell, kernel, expected', [
    ('emulated', charlstm.lstm_cell, True, 'bfloat16'), ('emulated', charlstm.lstm_cell, False, 'float32'),
    ('no', charlstm.lstm_cell, True, 'float32'),
    ('emulated', lambda a_o, C_prev: (theano.tensor.sin(a_o), C_prev), True, 'float32')])
def test_auto_is_what_the_machine_and_the_cell_have(monkeypatch, instructions, cell, kernel, expected):
    monkeypatch.setenv(compiler.VARIABLE, instructions)
    model = type('Mine', (CharLSTM,), dict(cell=staticmethod(cell)))(precision='auto', kernel=kernel)
    assert model.precision == expected


def test_run_goes_on_where_bfloat16_is_missing(tmp_path):
    """The checkpoint records what was used, and a line says what computes."""
    (tmp_path / 't.txt').write_text(TEXT)
    for epoch, has, precision, words in ((1, 'emulated', 'bfloat16', ['t.txt', 'r', *STATEFUL, '--output-dir', '.']),
                                         (2, 'no', 'float32', ['--resume', 'r_t.txt_epoch1.npz'])):
        done = run_script(TRAIN, *words, '--epochs', epoch, cwd=tmp_path, flags=FAST, env={compiler.VARIABLE: has})
        about = read_about(tmp_path / f'r_t.txt_epoch{epoch}.npz')
        assert about['precision'] == about['progress']['options']['precision'] == precision
        assert ('products in bfloat16 (emulated)' in done.stdout) == (precision == 'bfloat16')
        assert ('trained in bfloat16: it goes on in float32' in done.stderr) == (epoch == 2)
