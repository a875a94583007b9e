"""Cells: their code in C, JavaScript and NumPy against theano.scan and finite differences, and their checkpoints."""
import ctypes
import inspect
import json
import re
import subprocess

import numpy as np
import pytest

import cells
import charlstm
from cells import (coupled_cell, logical_cell, odd_cell, peephole_cell, products_cell, readme_classes,
                   same_sums_cell, sorted_cell, sums_cell, three_states)
from charlstm import CharLSTM, lstm_cell, tt
from engine.backend import compiler
from engine.backend.theano_setup import theano
from engine.data.parameters import NAMES
from engine.graph import cell as cells_in_code, formula
from engine.graph.cell import Cell
from engine.graph.library import joined
from engine.lesson import cells as lesson_cells
from engine.model.compile import operations
from engine.page.page import formulas
from engine.run.info import description
from pages import context_of, run_in_javascript
from scripts import load

TEXT = ''.join(np.random.default_rng(1).choice(list('abcdefghijk'), 263)) + 'abcdefghijk'
CELLS = lstm_cell, coupled_cell, peephole_cell
ORDERED = readme_classes()['Ordered'].cell
HALF, EYE = theano.shared(np.float32(0.5)) * 1, tt.eye(7, dtype='float32')


def model_with(cell, path, kernel=True, seed=1, **settings):
    class Model(CharLSTM):
        pass
    Model.cell = staticmethod(cell)
    model = Model(random_seed=seed, kernel=kernel)
    model.prepare_input(path, 0.4, 3, 7, verbose=False, stateful=True)
    model.model_setup(num_units1=7, num_units2=5, **dict(dict(initial='chrono'), **settings))
    return model


def trained(model, steps=3, rule='rmsprop'):
    """Train for some steps. Return their costs, and the parameters after them."""
    costs = [getattr(model, 'theano_train_' + rule)(model.X['train'][k], model.Y['train'][k])[0] for k in range(steps)]
    return np.array(costs), {name: p.get_value() for name, p in model.p.items()}


@pytest.fixture
def path(text_file):
    return text_file(TEXT)


# ---------------------------------------------------------------- code generated from a graph

@pytest.mark.parametrize('cell, formula', [
    (lstm_cell, 'C = sigmoid(a_f) * C_prev + sigmoid(a_i) * tanh(a_g); h = sigmoid(a_o) * tanh(C)'),
    (lambda a_f, a_i, x_o, a_g, C_prev: (C_prev - (a_f - a_i) - (x_o + a_g), C_prev / (a_f * a_i) - -x_o),
     '(x_o, a_f, a_i, a_g, C_prev): h = C_prev - (a_f - a_i) - (x_o + a_g); C = C_prev / (a_f * a_i) - -x_o'),
    (lambda n_prev, h_f, x_n: (h_f + x_n, n_prev), '(x_n, h_f, n_prev): n = n_prev; h = h_f + x_n'),
    (lambda a_f, C_prev: (a_f - C_prev.mean(axis=1, keepdims=True), C_prev),       # a mean, which Theano casts
     '(a_f, C_prev): h = a_f - sum(C_prev) / units(); C = C_prev'),
    (lambda x_f, C_prev: (tt.cumsum(tt.cumsum(C_prev, axis=1) + x_f, axis=-1), C_prev),
     '(x_f, C_prev, triangle=ee1c6c14): h = dot(dot(C_prev, triangle) + x_f, triangle); C = C_prev'),
    (lambda x_f, C_prev: (x_f / 3 * 0.1, np.pi * C_prev), '(x_f, C_prev): h = x_f / 3 * 0.1; C = 3.1415927 * C_prev'),
    (lambda x_f, C_prev: ((2 * x_f) ** 2 + 0.1 * C_prev + 0 * x_f, 1 * C_prev + 0),
     '(x_f, C_prev): t1 = 2 * x_f; h = t1 * t1 + 0.1 * C_prev + 0 * x_f; C = C_prev')])
def test_formulas(cell, formula):
    """Brackets only where needed, a name for a value that is used twice, no addition of 0 or product with 1."""
    for dtype in ('float32', 'float64'):
        found = Cell(cell, dtype)
        assert sorted(re.split('[;:] ', re.sub(r'\bt\d+', 't1', found.formula))) == sorted(re.split('[;:] ', formula))
        assert found.standard == (cell is lstm_cell)               # by the hash of its formula


def unary(dtype):
    x = np.concatenate([np.linspace(-9, 9, 73), [0.0, -0.0, 1, 1e-30, 87, -87, 1e30, -1e30, np.inf, -np.inf, np.nan]])
    return [np.concatenate([x, 10 * np.random.default_rng(4).normal(size=6)]).astype(dtype)]


def several(dtype, n):
    x = [-1.5, -1, -0.0, 0, 0.5, 2, np.inf, -np.inf, np.nan]
    return [side.ravel().astype(dtype) for side in np.meshgrid(*[x] * n)]


FUNCTIONS = {'exp': tt.exp, 'expm1': tt.expm1, 'log': tt.log, 'log1p': tt.log1p, 'sqrt': tt.sqrt, 'tanh': tt.tanh,
             'sigmoid': tt.nnet.sigmoid, 'softplus': tt.nnet.softplus, 'abs': abs, 'sign': tt.sgn, 'pow': tt.pow,
             'min': tt.minimum, 'max': tt.maximum, 'clip': tt.clip, 'less': tt.lt, 'greater': tt.gt,
             'less_equal': tt.le, 'greater_equal': tt.ge, 'equal': tt.eq, 'not_equal': tt.neq, 'where': tt.switch}
ARGUMENTS = dict(dict.fromkeys('pow min max less greater less_equal greater_equal equal not_equal'.split(), 2),
                 clip=3, where=3)


def cases(dtype):
    """Yield the name, the inputs (n,) and the outputs of each function, as Theano computes single numbers."""
    for name, function in FUNCTIONS.items():
        n = ARGUMENTS.get(name, 1)
        values = unary(dtype) if n == 1 else several(dtype, n)
        if name == 'where':
            values[0] = (values[0] > 0).astype(dtype)              # 0 or 1, as from comparisons
        if name == 'pow':                                          # finite exponents only
            values = [side[np.isfinite(values[1])] for side in values]
        if name == 'sign':
            values = [values[0][~np.isnan(values[0])]]
        number_by_number = function(*[tt.vector(dtype=dtype) for _ in values]).owner.op.scalar_op.impl
        with np.errstate(all='ignore'):
            yield name, values, np.array([number_by_number(*numbers) for numbers in zip(*values)], dtype)


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_functions_in_c_and_numpy_are_theanos(dtype, tmp_path):
    in_numpy = {text: function for name, (text, function) in formula.OPERATIONS.items()
                if '{' not in text and name not in (*formula.REDUCTIONS, 'Units', *formula.PRODUCTS)}
    assert set(in_numpy) == set(FUNCTIONS)
    real, tolerance = {'float32': ('float', 3e-6), 'float64': ('double', 1e-13)}[dtype]
    wrappers = ''.join('''
        extern "C" void of_{0}(long n, const REAL *x, const REAL *y, const REAL *z, REAL *to) {{
            for (long i = 0; i < n; i += LANES)
                store(to + i, vector_{0}({1}), n - i);
        }}'''.format(name, ', '.join(f'load({side} + i, n - i)' for side in 'xyz'[:ARGUMENTS.get(name, 1)]))
        for name in FUNCTIONS)
    source = joined(f'#define REAL {real}\n#include "functions.h"\n{wrappers}')
    subprocess.run([compiler.cxx, *'-x c++ -O2 -march=native -shared -fPIC -w -o x.so -'.split()],
                   input=source.encode(), cwd=str(tmp_path), check=True)
    library = ctypes.CDLL(str(tmp_path / 'x.so'))
    for name, values, expected in cases(dtype):
        found = np.empty_like(expected)
        pointers = [np.ascontiguousarray(side) for side in (values * 3)[:3]]
        getattr(library, 'of_' + name)(ctypes.c_long(len(found)), *[side.ctypes.data_as(ctypes.c_void_p) for side in
                                                                    pointers + [found]])
        with np.errstate(all='ignore'):
            computed = 1.0 * in_numpy[name](*values)
        for result in (found, computed):
            np.testing.assert_allclose(result, expected, rtol=tolerance, atol=1e-37, err_msg=name)


def test_functions_in_javascript_are_theanos():
    racer = pytest.importorskip('py_mini_racer')
    context = context_of(racer.MiniRacer, {})
    operations = {template: name for name, (template, _) in formula.OPERATIONS.items() if name != 'OR'}
    assert {*formula.OPERATIONS} < {*json.loads(context.eval('JSON.stringify(Object.keys(LOOPS))'))}
    for name, values, expected in cases('float64'):
        inputs = [f'x{k}' for k in range(len(values))]
        code = dict(inputs=inputs, lines=[['found', operations[name], inputs]], outputs=['found'])
        found, = run_in_javascript(context, json.dumps(code), len(expected), np.array(values), 1)
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-37, err_msg=name)


LESSON = [each for each in vars(lesson_cells).values() if inspect.isclass(each)]
ELEMENTWISE = [each for each in LESSON if 'def cell(' in cells.in_lab(each.cell)
               and not re.search(r'\b(dot|normalised)\(', cells.in_lab(each.cell))]


@pytest.mark.parametrize('cell, in_lab', [*[(cell, None) for cell in (
    odd_cell, logical_cell, three_states, sums_cell, same_sums_cell, products_cell, *[each.cell for each in LESSON])],
    *[(each.cell, cells.in_lab(each.cell)) for each in ELEMENTWISE]])
def test_gradient_in_javascript_is_the_programs(cell, in_lab):
    """As are h, the states and what is kept, in float64: all cells of the lesson, odd ones, and formulas in Lab."""
    racer, made, H = pytest.importorskip('py_mini_racer'), Cell(cell, 'float64'), 7
    context, random = context_of(racer.MiniRacer, dict(own=made)), np.random.default_rng(3)
    counts, forward, backward = made.counts, made.program.forward, made.program.backward
    S, inputs, width = counts.S, {name: random.uniform(-2, 2, (H, H) if name[0] == 'M' else H)
                                  for name in cells_in_code.inputs_of(counts)}, [H] * bool(counts.M)
    h, *after = cells.evaluate(forward, inputs)
    expected, kept = [*after[:S], h, *after[S:]], after[S:]
    if in_lab:
        context.eval(f'cells.own = cellOf({json.dumps(in_lab)})')
    found = run_in_javascript(context, 'cells.own.forward', H, [*inputs.values(), *width],
                              context.eval('cells.own.forward.outputs.length'))
    compared = 1 + S if in_lab else len(expected)          # it keeps others
    np.testing.assert_allclose(found[:compared], expected[:compared], rtol=1e-12, atol=1e-12)
    states, dh, *d_after = [np.array([inputs[f'before[{k}]'] for k in range(S)]), *random.uniform(-2, 2, (1 + S, H))]
    cell_p = [inputs[name] for name in cells_in_code.cell_p_places(counts)]
    read = [*found[1 + S:], *states, *after[:S], *cell_p, *width, dh, *d_after]
    named = {**inputs, 'dh': dh, **{f'{name}[{k}]': value for name, values in (
        ('kept', kept), ('after', after[:S]), ('d_after', d_after)) for k, value in enumerate(values)}}
    expected = cells.evaluate(backward, named)
    found = run_in_javascript(context, 'cells.own.backward', H, read, len(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_formula_as_a_class():
    """The class has the cell of each formula in Lab, and of one with its own remembers and all operations."""
    racer = pytest.importorskip('py_mini_racer')
    context = context_of(racer.MiniRacer, {})
    odd = """remembers = {'g': -1}
    cell(a_f, x_g, C_prev, p_o=-0.5)               # a comment
    k, l = clip(a_f, -1, 1.5), softplus(-x_g)**2 / 3
    C = minimum(k*C_prev, maximum(l, relu(a_f))) - log(1e1 + sqrt(abs(p_o) + exp(-a_f)**-1))

    h = tanh(-(C - (k - l)) * sigmoid(x_g))"""
    for source in (*formulas().values(), odd):
        names = {}
        exec(context.eval(f'classOf({json.dumps(source)})'), names)
        assert {*names} == {'__builtins__', 'CharLSTM', 'tt', 'Mine'}
        cell, random = Cell(names['Mine'].cell, 'float64', names['Mine'].remembers), np.random.default_rng(5)
        inputs = {place: random.uniform(-2, 2, 7) for place in cells_in_code.inputs_of(cell.counts)}
        h, *after = cells.evaluate(cell.program.forward, inputs)[:1 + cell.counts.S]
        context.eval(f'cells.own = cellOf({json.dumps(source)})')
        found = run_in_javascript(context, 'cells.own.forward', 7, [*inputs.values()],
                                  context.eval('cells.own.forward.outputs.length'))
        np.testing.assert_allclose(found[:1 + cell.counts.S], [*after, h], rtol=1e-12, atol=1e-12)
        assert json.loads(context.eval('JSON.stringify(cells.own.remembers)')) == {
            str(k): sign for k, sign in cell.remembers.items()}


@pytest.mark.parametrize('formula, said, wrong', [
    ('cell(a_f, C_prv)', 'C_prv is no row (a_C_prv), no state (C_prv_prev) and no parameter (C_prv=0)', 'C_prv'),
    ('cell(a_f)', 'declare a state, such as C_prev, and a row that reads the input, such as a_g', ''),
    ('cell(a_f, h_prev)', 'h is taken: choose another name', 'h_prev'),
    ('cell(a_f, stream_a_prev)', 'stream_a is taken: choose another name', 'stream_a_prev'),
    ('cell(a_f, C_prev)\nC = C_prev', 'the end found, h = ... expected', ''),
    ('cell(a_f, C_prev)\nC = mean(C_prev)', 'mean( ) is none of sigmoid, tanh, softplus', 'mean'),
    ('cell(a_f, C_prev)\nC = maximum(C_prev)', 'maximum( ) takes 2 values, not 1', 'maximum'),
    ('cell(a_f, C_prev)\nC = toString + constructor', 'toString is not declared', 'toString'),
    ('cell(a_f, C_prev)\nC = 2**C_prev', 'C_prev found, a number expected', 'C_prev'),
    ('cell(a_f, C_prev)\nC = C_prev^2', 'a power is written with **, not ^', '^'),
    ('cell(a_f, C_prev)\nC = ' + 20_000 * '(', 'more than 100 brackets or signs within each other', '('),
    ('cell(a_f, C_prev)\nC = 1\nC = 2', 'C is set already: choose another name', 'C'),
    ('cell(a_f, C_prev)\nC, h = C_prev', '2 values expected: C, h', '')])
def test_error_in_a_formula(formula, said, wrong):
    racer = pytest.importorskip('py_mini_racer')
    found = json.loads(context_of(racer.MiniRacer, {}).eval(
        'try { cellOf(%s) } catch (error) { JSON.stringify([error.message, error.token]) }' % json.dumps(formula)))
    assert found[0].startswith(said) and found[1]['text'].strip() == wrong
    assert formula[found[1]['at']:].startswith(wrong)


# ---------------------------------------------------------------- layers and models

@pytest.mark.parametrize('cell', [odd_cell, logical_cell, sums_cell, same_sums_cell, products_cell, ORDERED,
                                  sorted_cell])
def test_c_numpy_and_scan_learn_the_same(float64, interpreted, path, cell, monkeypatch, capsys):
    """All gradients, from a step of SGD at rate 1, with truncation. test_every_way.py has the other cells.

    A line says why NumPy runs a cell.
    """
    results, cxx = [], compiler.cxx
    for kernel, in_c in ((False, False), (True, True), (True, False)):
        monkeypatch.setattr(compiler, 'cxx', cxx if in_c else '')
        model = model_with(cell, path, kernel=kernel, lrate=1, dropout=0.3, bptt_maxdepth=4)
        assert operations(model).in_c == (in_c and cell is not sorted_cell)
        results.append([*trained(model, 2, 'sgd'), model.generate_text('ab', 30)])
    (expected, theirs, same_text), *others = results
    for costs, ours, text in others:
        np.testing.assert_allclose(costs, expected, rtol=1e-9)
        for name, array in ours.items():
            np.testing.assert_allclose(array, theirs[name], rtol=1e-9, atol=1e-9, err_msg=name)
        assert text == same_text
    err = capsys.readouterr().err
    assert ('sorted_cell uses SortOp' in err and 'NumPy' in err) == (cell is sorted_cell)


@pytest.mark.parametrize('cell, words', [
    (lambda a_f, C_prev: (C_prev * a_f, 0.5), ['0.5', 'for C']),
    (lambda a_f, C_prev: (a_f * np.float64(0.1) * C_prev.astype('float64'), C_prev), ['float64', 'for h', 'float32']),
    (lambda a_f, C_prev: (C_prev.sum(), C_prev), ['scalar', 'for h']),
    (lambda a_f, C_prev, n_prev: (a_f, C_prev), ['h and C and n', 'return h, C, n']),
    (lambda a_f, C_prev, q=np.inf: (a_f, C_prev * q), ['q', 'inf']),
    (lambda f, i, o, g, C: (f, C), ['argument f', 'cell(a_z, x_n, h_n, C_prev, p=0)']),
    (lambda a_f, p=0: (a_f, a_f), ['no state']), (lambda h_f, C_prev: (h_f, C_prev), ['reads the input']),
    (lambda a_f, C_prev, **a_g: (a_f, C_prev), ['**a_g']),
    (lambda a_f, C_prev, a_g=1: (a_f, C_prev), ['a_g=1']), (lambda a_f, C_prev, K_p=1: (a_f, C_prev), ['K_p', 'units']),
    (lambda a_f, C_prev, K_p=lambda units: 1 / 0: (a_f, C_prev), ['test_cell.py, line', 'division by zero']),
    (lambda a_f, α_prev: (a_f, α_prev), ['α', 'ASCII']),
    (lambda a_f, h_prev: (a_f, h_prev), ['h_prev', 'return h as a state']),
    (lambda a_f, C_prev: (a_f, C_prev if a_f > 0 else a_f), ['test_cell.py, line', 'tt.switch']),
    (lambda a_f, C_prev, W=1: (a_f, C_prev * W), ["'W'"])])
def test_functions_that_are_no_cells(refused, path, cell, words):
    with refused(ValueError, *words):
        model_with(cell, path).compile('check')


@pytest.mark.parametrize('cell, what', [
    (lambda a_f, a_i, C_prev: (a_f * (1 - (a_i > 0)), C_prev), 'sub'),                         # of int8
    (lambda a_f, C_prev: (tt.sin(a_f), C_prev), 'sin'), (lambda a_f, C_prev: (a_f[:, ::-1] * 1, C_prev), 'Subtensor'),
    (lambda a_f, C_prev: (a_f - a_f.sum(axis=0), C_prev), 'Sum{axis=[0]'),
    (lambda a_f, C_prev: (a_f / tt.cast(a_f.size, 'float32'), C_prev), 'Prod'),
    (lambda a_f, C_prev: (a_f - tt.cast(tt.argmax(a_f, axis=1), 'float32')[:, None], C_prev), 'MaxAndArgmax'),
    (lambda a_f, C_prev, M_a: (a_f + tt.dot(C_prev, M_a * 0.5), C_prev), 'mul'),
    (lambda a_f, C_prev: (a_f + tt.dot(C_prev, tt.eye(7, dtype='float32')), C_prev), 'Eye')])
def test_cells_that_are_no_code_for_one_unit(cell, what):
    found = Cell(cell, 'float32')
    assert found.program is None and what in found.unknown
    assert found.unknown.endswith(f', in {__file__}, line {cell.__code__.co_firstlineno}')


def test_a_list_of_states_is_as_many_states():
    def listed(a_f, a_g, C_prev: 3, n_prev):
        C = [k * a_g + tt.nnet.sigmoid(a_f) * each for k, each in enumerate(C_prev)]
        return tt.tanh(sum(C) + n_prev), C, C_prev[1]

    def plain(a_f, a_g, C0_prev, C1_prev, C2_prev, n_prev):
        return listed(a_f, a_g, [C0_prev, C1_prev, C2_prev], n_prev)[0], *[
            k * a_g + tt.nnet.sigmoid(a_f) * each for k, each in enumerate((C0_prev, C1_prev, C2_prev))], C1_prev
    first, second = Cell(listed, 'float64'), Cell(plain, 'float64')
    assert (first.formula, first.states) == (second.formula, second.states)


def test_initial_values_that_are_functions(path, refused):
    """In each layer; those of a matrix are in the range of W's. A wrong shape is refused."""
    p = {name: v.get_value() for name, v in model_with(products_cell, path).p.items()}
    for k, H in enumerate((7, 5), 1):
        assert p[f'p{k}'].shape == (H,) and 0.1 < p[f'p{k}'].min() < p[f'p{k}'].max() < 1
        assert p[f'M_a{k}'].shape == (H, H) and 0.8 * H ** -0.5 < abs(p[f'M_a{k}']).max() < H ** -0.5
    with refused(ValueError, 'p', '(3,)', '(7,)'):
        model_with(lambda a_f, C_prev, p=lambda units, random: [1, 2, 3]: (a_f * p, C_prev), path)
    with refused(ValueError, 'K_p', '(3,)', '(7,)'):
        model_with(lambda a_f, C_prev, K_p=lambda units: [1, 2, 3]: (a_f * K_p, C_prev), path)


@pytest.mark.parametrize('cell, words', [
    (lambda a_f, C_prev, p=0: (a_f + tt.dot(p, C_prev), C_prev), ['(1,7)', '(8,7)']),
    (lambda a_f, C_prev: (a_f[:, :1] * a_f, C_prev), ['(8, 7)']),
    (lambda a_f, C_prev: (a_f + C_prev[:, 7].dimshuffle(0, 'x'), C_prev), ['index 7']),
    (lambda a_f, C_prev: (a_f * np.ones((1, 9), 'float32') + a_f.sum(), C_prev), ['(1, 9)'])])
def test_sizes_that_do_not_match(refused, path, cell, words):
    """They are found with any batch size, and the cell's line is named."""
    with refused(ValueError, *words, f'test_cell.py, line {cell.__code__.co_firstlineno}'):
        model_with(cell, path).compile('check')


@pytest.mark.parametrize('cell', [
    lambda a_n, C_prev: 2 * (tt.tanh(a_n) * HALF + tt.dot(C_prev, EYE),),
    lambda a_n, C_prev, k=0.5: 2 * (a_n + tt.dot(C_prev, tt.nlinalg.matrix_inverse(tt.diag(k[0]))),),
    lambda a_n, C_prev: 2 * (a_n + tt.dot(C_prev, tt.nlinalg.matrix_inverse(tt.dot(C_prev.T, C_prev) * 0 + EYE)),)])
def test_cells_whose_sizes_can_only_be_known_later(path, interpreted, cell):
    """They read what was made outside of them, or compute what needs certain numbers."""
    models = [model_with(cell, path, kernel, layers=1) for kernel in (True, False)]
    found, expected = [model.theano_check(model.X['train'][0], model.Y['train'][0])[0] for model in models]
    assert found == pytest.approx(expected)


def costs_that_read_C(*arguments):
    found = charlstm.network(*arguments)
    return found._replace(costs=found.costs + 0.1 * found.layers[0].C.mean())


def test_gradient_that_is_not_in_c_is_refused_and_by_theano(interpreted, path, refused):
    in_c, in_theano = [model_with(peephole_cell, path, kernel) for kernel in (True, False)]
    in_c.network = in_theano.network = costs_that_read_C
    with refused(ValueError, '--kernel off'):
        trained(in_c)
    x, y = in_c.X['train'][0], in_c.Y['train'][0]
    cost = in_theano.theano_check(x, y)[0]
    assert in_c.theano_check(x, y)[0] == pytest.approx(cost) == trained(in_theano, 1)[0][0]


def test_model_that_adapts_has_the_cell(path):
    model, text = model_with(coupled_cell, path, initial='original'), TEXT[:44]
    scored, adapted = [model.score_text(text, adapt=rate) for rate in (0, 0.5)]
    assert (scored[:20] == adapted[:20]).all() and abs(scored - adapted)[20:].min() > 0


# ---------------------------------------------------------------- checkpoints

def test_checkpoint_names_a_cell_that_is_not_the_standard_one(path, tmp_path):
    for cell in CELLS:
        saved, made = model_with(cell, path).save_params(tmp_path / cell.__name__), Cell(cell, 'float32')
        formula = '' if cell is lstm_cell else made.formula
        assert json.loads(str(load(saved)['about']))['cell'] == dict(formula=formula, parameters=list(made.parameters))
        assert f'cell: {formula or "the standard one"}' in description(saved).split('\n')
        assert set(load(saved)) >= {prefix + name + layer for prefix in ('', 'm_', 'state_sums_')
                                    for name in made.parameters for layer in '12'}


def test_checkpoint_of_another_cell(path, tmp_path, refused):
    """It cannot be read, but it can initialise a class of one's own."""
    saved = {cell: model_with(cell, path).save_params(tmp_path / cell.__name__) for cell in CELLS}
    model = model_with(coupled_cell, path)
    before = {name: p.get_value() for name, p in model.p.items()}
    for read in (model.resume, model.load_params, model.model_setup):
        for cell in (lstm_cell, peephole_cell):
            with refused(ValueError, 'another cell or network', 'as it was, or another checkpoint'):
                read(saved[cell])
    assert all((p.get_value() == before[name]).all() for name, p in model.p.items())
    peepholes = model_with(peephole_cell, path, seed=5)
    peepholes.init_params(saved[lstm_cell])
    assert (peepholes.p['W1'].get_value() == load(saved[lstm_cell])['W1']).all()
    assert (peepholes.p['p_o2'].get_value() == 0).all()
    with refused(ValueError, 'the shapes of U1, W1'):
        model_with(cells.GRU.cell, path).init_params(saved[lstm_cell])


def test_a_constant_is_no_parameter_but_tells_cells_apart(path, tmp_path, refused):
    rising, falling = [model_with(lambda a_f, C_prev, K_p=function: 2 * (a_f + K_p * C_prev,), path)
                       for function in (np.arange, lambda units: -np.arange(units))]
    saved = rising.save_params(tmp_path / 'p')
    assert [*rising.p] == [*falling.p] == [*NAMES] and not [name for name in load(saved) if 'K_p' in name]
    with refused(ValueError, 'another cell or network', 'as it was, or another checkpoint'):
        falling.load_params(saved)
