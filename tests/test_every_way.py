"""A table of all ways to compute a model, and tests that they agree. A way that is in no row fails here.

A row is a way; its columns are the answers that it can give (tests/ways.py). Answers are compared with the model in
NumPy, and trained parameters with finite differences of NumPy's costs. Texts are checked character by character: those
of the most probable characters by the probabilities in NumPy, drawn ones by a statistic. Several processes: see
test_process_group.py.
"""
import contextlib
import inspect
import platform
import shutil

import numpy as np
import pytest

import test_export
import ways
from cells import LAB
from engine.backend import compiler
from engine.backend.theano_setup import theano, tt
from engine.export.export import FORMATS
from engine.graph import cell, ops, scan
from engine.model.compile import batch_of, operations
from engine.model.step import kept_units, kept_weights
from engine.page.page import PRODUCTS
from engine.run import table
from judges import assert_drawn, assert_most_probable, assert_near, to_bfloat16
from models import default_mode
from numpy_model import same
from test_bfloat16 import INSTRUCTIONS
from scripts import run, succeeded
from ways import (CASES, EVERY_LINE, IMPROBABLE, OF_PAGE, SETTINGS, STEPS_OF_PAGE, InExportedC, InJavaScript,
                  InLab, InLearner, InNumPy, InTheano, Resumed)

PREDICTED = {'probabilities'}          # and the states of the case
WRITTEN = {'greedy', 'drawn', 'held'}
TRAINED = {'reported', 'weights', 'averages', 'squares', 'sums'}
EVERYTHING = PREDICTED | WRITTEN | TRAINED | {
    'read', 'states that were read', 'best', 'best of check', 'mean', 'costs', 'improbable', 'line', 'line_costs',
    'costs of alternatives', 'alternatives', 'chances'}


@contextlib.contextmanager
def patched(floatX='float32', bfloat16_by=None, without_compiler=False, any_cell=False, simplified=True):
    """Compute in this way: with other instructions, without a compiler, or as if the cell could not be code.

    simplified: whether Theano simplifies graphs, which takes seconds; other rows do.
    A float64 value in a float32 graph would be slow, so it is an error.
    """
    flags = dict(floatX=floatX, warn_float64='raise' if floatX == 'float32' else 'ignore')
    mode = contextlib.nullcontext() if simplified else not_optimised()
    with pytest.MonkeyPatch.context() as patch, theano.change_flags(**flags), mode:
        if bfloat16_by:
            patch.setenv(compiler.VARIABLE, bfloat16_by)
        if without_compiler:
            patch.setattr(compiler, 'cxx', '')
        if any_cell:
            patch.setattr(cell, '_program', lambda *arguments: None)
        yield


def not_optimised():
    return default_mode(theano.compile.mode.FAST_COMPILE)


class Elsewhere:
    """Answers that other processes wrote. start: a function that starts them, given the prefix of their files."""

    def __init__(self, folder, start):
        self.out = folder / 'answers'
        start(self.out)

    def answers(self, case):
        return dict(np.load(f'{self.out}_{CASES.index(case)}.npz'))


def compiled(compiler='', options=''):
    """Return a function that starts a process whose code is made by another compiler or with other options."""
    def start(out):
        if compiler and not shutil.which(compiler):
            pytest.skip(f'{compiler} is not installed')
        if options and platform.machine() != 'x86_64':
            pytest.skip('options of another processor')
        flags = ['mode=FAST_COMPILE', f'cxx={compiler}' if compiler else f'gcc.cxxflags={options}']
        succeeded(run(ways.__file__, out, flags=','.join([*flags, f'base_compiledir={theano.config.base_compiledir}'])))
    return start


def racer():
    return pytest.importorskip('py_mini_racer').MiniRacer


# A row: the name of a way, a function that makes it in a folder, its answers, and their tolerances against NumPy:
# absolute for probabilities and states, and relative to the largest change for what training changes.
FLOAT32, FLOAT64, BFLOAT16 = (2e-5, 1e-3), (1e-9, 1e-6), (4e-3, 0.1)
ROWS = {
    'C float64': (lambda folder: InTheano(lambda: patched('float64')), EVERYTHING, FLOAT64),
    'C float32': (lambda folder: InTheano(), EVERYTHING, FLOAT32),
    **{f'C bfloat16 {by}': (lambda folder, by=by: InTheano(
        lambda: patched(bfloat16_by=by, simplified=False), precision='bfloat16'),
                            EVERYTHING, BFLOAT16) for by in compiler.MACROS},
    'C by clang': (lambda folder: Elsewhere(folder, compiled('clang++')), EVERYTHING, FLOAT32),
    'C, vectors of 32 bytes': (lambda folder: Elsewhere(folder, compiled(options='-march=haswell')), EVERYTHING,
                               FLOAT32),
    'C, vectors of 16 bytes': (lambda folder: Elsewhere(folder, compiled(options='-march=x86-64')), EVERYTHING,
                               FLOAT32),
    'C, graph not optimised': (lambda folder: InTheano(not_optimised), EVERYTHING, FLOAT32),
    'NumPy': (lambda folder: InTheano(lambda: patched(without_compiler=True)), EVERYTHING, FLOAT32),
    'NumPy float64': (lambda folder: InTheano(
        lambda: patched('float64', without_compiler=True, simplified=False)), EVERYTHING, FLOAT64),
    'any cell': (lambda folder: InTheano(lambda: patched(any_cell=True, simplified=False)), EVERYTHING, FLOAT32),
    'any cell float64, without a compiler': (lambda folder: InTheano(
        lambda: patched('float64', without_compiler=True, any_cell=True, simplified=False)), EVERYTHING, FLOAT64),
    'scan': (lambda folder: InTheano(not_optimised, asked=['predicted', 'trained'], kernel=False),
             EVERYTHING - WRITTEN, FLOAT32),
    'resumed': (lambda folder: Resumed(folder / 'p.npz'), TRAINED, FLOAT32),
    **{f'JavaScript{part}{without}': (lambda folder, of=of, first=first: of(racer(), first), answers, tolerances)
       for without, first in (('', ''), (', no relaxed SIMD', 'PRODUCTS.shift();'))
       for part, of, answers, tolerances in (('', InJavaScript, PREDICTED | WRITTEN, FLOAT32),
                                             (', learning', InLearner, TRAINED, (None, 1e-4)))},
    'JavaScript, laboratory': (lambda folder: InLab(racer()), TRAINED, (None, 1e-4)),
    'exported C': (lambda folder: InExportedC(folder, test_export.compiled, test_export.numbers_in_c), PREDICTED,
                   FLOAT32),
    'PyTorch': (lambda folder: InTheano(device='torch:cpu'), EVERYTHING, FLOAT32),
    'PyTorch float64': (lambda folder: InTheano(lambda: patched('float64'), device='torch:cpu'), EVERYTHING, FLOAT64),
}
TORCH = ['PyTorch', 'PyTorch float64']         # rows tested in test_torch.py
ELSEWHERE = ['NumPy float64', 'any cell', 'any cell float64, without a compiler', 'scan', 'C, graph not optimised',
             'C bfloat16 emulated']            # rows tested in test_other_ways.py, by another process
# Ways that differ from another row by no code of a cell's, as by a compiler, and scan, which calls its function.
NO_NEW_CODE = ['C by clang', 'C, vectors of 32 bytes', 'C, vectors of 16 bytes', 'C, graph not optimised', *TORCH,
               'any cell float64, without a compiler', 'NumPy float64', 'C bfloat16 emulated', 'resumed', 'scan',
               *[name for name in ROWS if 'no relaxed' in name]]
EXACT = 'C float64'                    # the reference for trained parameters: its gradient is verified
# The same way with the settings of a page that trains.
EXACT_OF_PAGE = {'of page': (lambda folder: InTheano(lambda: patched('float64'), ['trained'], OF_PAGE, STEPS_OF_PAGE),)}


@pytest.fixture(scope='module')
def way(tmp_path_factory):
    """Return a function from the name of a row to its way, which it makes only once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = {**ROWS, **EXACT_OF_PAGE}[name][0](tmp_path_factory.mktemp('way'))
        return made[name]
    return get


# ---------------------------------------------------------------- the judges

def judge_predicted(found, case, model, atol):
    x, y = case.batch
    probabilities, states = model.read(case, x)
    given = found['probabilities']             # of all rows of the batch, or of the first
    assert_near(given, probabilities[:, :given.shape[1]], atol, 'probabilities')
    for name, state in zip(case.states, states):
        assert_near(found[name], state[:, 0], 2 * atol, name)
    if 'costs' not in found:
        return
    assert_near(found['read'], probabilities, atol, 'read')
    assert_near(found['states that were read'], np.concatenate([state[-1, 0] for state in states]), 2 * atol, 'states')
    costs = -np.log(np.take_along_axis(probabilities, y[:, :, None], axis=2)[:, :, 0])
    p = dict(case.parameters)
    p['c'] = p['c'] - IMPROBABLE * (np.arange(case.V) == y[0, 0])
    expected = -np.log(model.read(case, x[:1], p=p)[0][0, 0, y[0, 0]])
    assert_near(found['improbable'] / expected, 1, 20 * atol, 'improbable')
    scale = max(1, np.exp(costs.max()) * atol)             # error of the logarithm of a small probability
    for name, expected in (('costs', costs), ('line_costs', costs[:, 0]), ('costs of alternatives', costs[:, 0]),
                           ('mean', costs.mean())):
        assert_near(found[name], expected, 20 * atol * scale, name)
    for name in ('best', 'best of check'):
        assert_most_probable(found[name], probabilities, 2 * atol, name)
    largest = -np.sort(-probabilities[:, 0], axis=1)[:, :found['chances'].shape[1]]
    assert_near(found['chances'], largest, atol, 'chances')
    of_alternatives = np.take_along_axis(probabilities[:, 0], found['alternatives'], axis=1)
    assert_near(of_alternatives, largest, 2 * atol, 'alternatives')


def judge_written(found, case, model, atol):
    for name in WRITTEN:
        text = found[name]
        probabilities, _ = model.read(case, text[:-1], hold=case.hold if name == 'held' else {})
        assert text[0].tolist() == [1] * text.shape[1]
        if name == 'drawn':
            assert_drawn(text[1:], probabilities, name)
        else:
            assert_most_probable(text[1:], probabilities, 2 * atol, name)


def judge_trained(found, case, exact, tolerance):
    """Compare with exact, the answers of the way EXACT."""
    columns = found['reported'].shape[1]       # costs and, except in a page, update ratios
    expected = exact['reported'][:, :columns]
    has_weights = ~np.isnan(expected)          # W of no rows has no ratio
    assert_near((found['reported'] / expected)[has_weights], 1, tolerance, 'costs and update ratios')
    parameters = case.parameters
    for name, expected in exact.items():
        kind, *of = name.split()
        if kind in TRAINED and of and expected.size:
            before = 0 if kind in ('squares', 'sums') else parameters[of[0]]
            scale = abs(expected - before).max()
            assert_near((found[name] - before) / scale, (expected - before) / scale, tolerance, name)


def pairs(names):
    """Return names of rows, each with all cases that it is tested with."""
    of = dict.fromkeys(NO_NEW_CODE, EVERY_LINE)
    of['JavaScript, laboratory'] = [case for case in CASES if case.cell in LAB]
    return [(name, case) for name in names for case in of.get(name, CASES)]


@pytest.mark.parametrize('name, case', pairs(name for name in ROWS if name not in ELSEWHERE + TORCH), ids=str)
def test_way(way, name, case):
    assert_right(way, name, case)


def assert_right(way, name, case):
    """Assert that a way gives the right answers to all that it is asked."""
    _, asked, (atol, of_training) = ROWS[name]
    if name.startswith('C bfloat16') and name.split()[-1] not in INSTRUCTIONS:
        pytest.skip('this processor has no such instructions')
    found, model = way(name).answers(case), InNumPy(to_bfloat16 if 'bfloat16' in name else same)
    assert {key.split()[0] if key.split()[0] in TRAINED else key for key in found if key not in case.states} == asked
    if 'probabilities' in asked:
        judge_predicted(found, case, model, atol)
    if 'greedy' in asked:
        judge_written(found, case, model, atol)
    if 'weights' in asked:
        judge_trained(found, case, way('of page' if 'JavaScript' in name else EXACT).answers(case), of_training)


# ---------------------------------------------------------------- the gradient that the others are compared with

def objective(case, p, masks, connections):
    """Return the training cost of parameters p in NumPy, with SETTINGS."""
    x, y = case.batch
    dropped = {**p, **{f'W{k}': p[f'W{k}'] * kept for k, kept in enumerate(connections, 1)}}
    probabilities, states = InNumPy().read(case, x, p=dropped, masks=masks)
    h = dict(zip(case.states, states))[f'h{case.layers}']
    logs, changes = np.log(probabilities), np.diff(h, axis=0, prepend=np.zeros_like(h[:1]))
    costs = -np.take_along_axis(logs, y[:, :, None], axis=2)[:, :, 0]
    total = ((1 - SETTINGS['smoothing']) * costs - SETTINGS['smoothing'] * logs.mean(axis=2)
             + SETTINGS['ar'] * (h ** 2).mean(axis=2) + SETTINGS['tar'] * (changes ** 2).mean(axis=2)).sum()
    total += sum(SETTINGS['l1'] * abs(a).sum() + SETTINGS['l2'] * (a ** 2).sum() for a in p.values())
    return total / x.size


@pytest.mark.parametrize('case', CASES, ids=str)
def test_gradient_is_the_slope_of_the_cost(way, case):
    """Compare them along the gradient of each parameter, and in a random direction."""
    found, random = way(EXACT).answers(case), np.random.default_rng(7)
    units, dropout, dropconnect = case.units, SETTINGS['dropout'], SETTINGS['dropconnect']
    of_units, of_weights = [2 ** 16 / (2 ** 16 - round(share * 2 ** 16)) for share in (dropout, dropconnect)]
    masks = [kept * of_units for kept in kept_units(random, dropout, slice(0, case.B), case.T, units)]
    shapes = [case.parameters[f'W{k + 1}'].shape for k in range(case.layers)]
    connections = [kept * of_weights for kept in kept_weights(random, dropconnect, shapes)]
    p = {name: array.astype('float64') for name, array in case.parameters.items()}
    for name, before in p.items():
        if not before.size:                                # W of no rows
            continue
        # The step is lrate ((1 - momentum) g / (sqrt((1 - drate) g^2) + 1) + weight_decay p).
        step = (before - found[f'weights {name} 1']) / SETTINGS['lrate'] - SETTINGS['weight_decay'] * before
        step /= 1 - SETTINGS['momentum']
        gradient = step / (1 - np.sqrt(1 - SETTINGS['drate']) * abs(step))
        signs = random.choice([-1, 1], before.shape)
        for direction in (gradient / np.linalg.norm(gradient), signs / before.size ** 0.5):
            ends = [objective(case, dict(p, **{name: before + h * direction}), masks, connections)
                    for h in (1e-5, -1e-5)]
            np.testing.assert_allclose((ends[0] - ends[1]) / 2e-5, (gradient * direction).sum(), rtol=1e-5, atol=1e-8,
                                       err_msg=name)


@pytest.mark.parametrize('cell', ['standard', 'RNN', 'GRU'])
def test_reach_of_the_gradient_in_a_page_is_theanos(way, cell):
    """Sizes of d cost / d h and d C, up to 50 letters before. Equal states count with h: the RNN's and GRU's C is h."""
    case, x, y = ways.Case(13, 17, 18, T=51, B=3, cell=cell), tt.imatrix(), tt.imatrix()
    model = way('scan').model(case)
    batch, states = batch_of(model, x, y)
    cost = model.network(batch, model.p, operations(model)).costs[-1].sum()
    gradients = theano.function([x, y, *states], theano.grad(cost, states[-2:], disconnected_inputs='ignore'))
    found, (x, y), sizes = way('JavaScript, learning').value(case, 'reach({}, {}, 3)'.format(
        *[characters.ravel().tolist() for characters in case.batch])), case.batch, []
    for t in range(50, 0, -1):                             # letters read before
        dh, dC = gradients(x[t:], y[t:], *model.read(x[:t])[1])
        states = [dh, dC] if cell == 'standard' else [dh + dC]
        sizes.append([np.median(np.linalg.norm(gradient, axis=1)) for gradient in states])
    np.testing.assert_allclose([list(each.values()) for each in found[1:]], sizes, rtol=1e-4)
    assert sizes[0][0] > 1e-3 and (cell != 'RNN' or sizes[49][0] < 1e-3 * sizes[0][0])


# ---------------------------------------------------------------- the table itself

def subclasses(cls):
    return {cls}.union(*map(subclasses, cls.__subclasses__()))


def ops_of(function):
    """Return the kinds of operations in the graph of a compiled function."""
    return {type(node.op) for node in function.maker.fgraph.toposort()}


def test_every_way_is_in_a_row(way):
    """Every choice that selects other code is listed here: a new one has to be added, with its row."""
    choices = {name: row.kind for name, row in table.ROWS.items()}
    assert choices['kernel'] == ('on', 'off') and choices['precision'] == ('auto', 'float32', 'bfloat16')
    assert {f'C bfloat16 {by}' for by in compiler.MACROS} == {name for name in ROWS if 'bfloat16' in name}
    assert set(FORMATS) == {'.c', '.safetensors'}              # the last is judged in test_export.py
    assert PRODUCTS == ('product_relaxed-simd', 'product_no-relaxed-simd')
    networks = {name for module in (ops, scan) for name, value in vars(module).items()
                if inspect.isclass(value) and hasattr(value, 'cross_entropy')}
    assert networks == {'Kernel', 'Scan'}


@pytest.mark.parametrize('name', ['C float32', 'NumPy'])
def test_every_operation_of_the_kernel_is_in_a_row(way, name):
    found, model = way(name), None
    for case in (CASES[0], CASES[-1]):
        found.answers(case)
        model = found.model(case)
        assert set(model.functions) >= {'predict', 'check', 'states', 'texts', 'train_rmsprop'}
        functions = [f.function for f in model.functions.values() if hasattr(f, 'function')]
        assert set().union(*map(ops_of, functions)) >= {
            op for op in subclasses(ops._KernelOp) if not op.__name__.startswith('_')}
