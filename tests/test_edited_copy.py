"""Copies of charlstm.py that were edited: other words change nothing, another formula changes everything."""
import ast
import doctest
from types import SimpleNamespace

import numpy as np
import pytest

import charlstm
from charlstm import CharLSTM
from engine.backend.theano_setup import theano
from engine.page.page import Shown, write_page
from engine.terminal import load_class
from models import default_mode
from numpy_model import LETTERS, H1, H2, V
from scripts import ROOT

X = np.random.default_rng(4).integers(V, size=(20, 5, 13))
Y = (3 * X + 1) % V                    # so that texts depend on what was learnt
SOURCE = (ROOT / 'charlstm.py').read_text(encoding='utf-8')
EDITED = 'network', 'run_layer', 'output_layer', 'layer', 'lstm_cell'
pytestmark = pytest.mark.usefixtures('interpreted')


def instead(old, new):
    """Return an edit that puts new in the place of old."""
    def edit(source):
        assert source.count(old) == 1
        return source.replace(old, new)
    return edit


class Renamed(ast.NodeTransformer):
    """Gives all local variables of the functions EDITED other names, except the arguments of a cell, which it reads."""

    def visit_FunctionDef(self, function):
        if function.name in EDITED:
            given = [arg.arg for arg in function.args.args] if function.name == 'lstm_cell' else []
            self.names = {name for node in ast.walk(function) for name in (
                [node.arg] if isinstance(node, ast.arg) else
                [node.id] if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else [])} - {*given}
            for node in ast.walk(function):
                if isinstance(node, ast.Name) and node.id in self.names:
                    node.id = 'my_' + node.id
                elif isinstance(node, ast.arg) and node.arg in self.names:
                    node.arg = 'my_' + node.arg
        return function


def renamed(source):
    """Return the file with other names of local variables, and without its comments."""
    return ast.unparse(Renamed().visit(ast.parse(source)))


def results(folder, source):
    """Return what a model of a file computes, and why it may not be shown in a page or in C."""
    folder.mkdir()
    (folder / 'copy.py').write_text(source, encoding='utf-8')
    model = load_class(f'{folder / "copy.py"}:CharLSTM', CharLSTM)(random_seed=1)
    model.model_setup(char_dim=V, num_units1=H1, num_units2=H2, lrate=0.1)
    model.uchar = list(LETTERS)
    for x, y in zip(X, Y):
        model.theano_train_rmsprop(x, y)
    found = SimpleNamespace(text=model.generate_text('ab', 200), refused=None)
    found.parameters = b''.join(p.get_value().tobytes() for p in model.p.values())
    try:
        model.export(folder / 'model.c')
        found.program = (folder / 'model.c').read_text(encoding='utf-8')
        write_page(folder / 'page.html', model, model.save_params(folder / 'params'), Shown('abcdef' * 9, 'a text'))
        assert (folder / 'page.html').stat().st_size > 10_000
    except ValueError as error:
        found.program, found.refused = None, str(error)
    return found


@pytest.fixture(scope='module')
def unedited(tmp_path_factory):
    with default_mode(theano.compile.mode.FAST_COMPILE):
        found = results(tmp_path_factory.mktemp('unedited') / 'copy', SOURCE)
    assert found.program and not found.refused
    return found


@pytest.mark.parametrize('edit', [
    renamed,
    instead('    h = tt.nnet.sigmoid(a_o) * tt.tanh(C)\n',
            '    o = tt.nnet.sigmoid(a_o)\n    h = o * tt.tanh(C)  # the output gate lets it out\n'),
    instead('    C = tt.nnet.sigmoid(a_f) * C_prev + tt.nnet.sigmoid(a_i) * tt.tanh(a_g)\n',
            '    g, i, f = tt.tanh(a_g), tt.nnet.sigmoid(a_i), tt.nnet.sigmoid(a_f)\n    C = f * C_prev + i * g\n'),
    instead('    for k in range(1, 1 + len(batch.states)):\n', '    for k, _ in enumerate(batch.states, start=1):\n'),
    instead("    scores = ops.product(h.reshape((-1, h.shape[2])), p['V'].T)",
            "    flat, weights = h.reshape((-1, h.shape[2])), p['V']\n    scores = ops.product(flat, weights.T)"),
    instead("    scores = ops.product(h.reshape((-1, h.shape[2])), p['V'].T)",
            "    def scores_of(h):\n        return ops.product(h.reshape((-1, h.shape[2])), p['V'].T)\n\n"
            '    scores = scores_of(h)'),
    instead('    if x.ndim == 2:\n        a_x = ops', '    first = x.ndim == 2\n    if first:\n        a_x = ops'),
    instead('        h, *C = cell([*a, *cell.split(C_prev), *cell_parameters])\n',
            '        found = cell(list(a) + list(cell.split(C_prev)) + list(cell_parameters))\n'
            '        h, C = found[0], found[1:]\n'),
    instead('    (h, C), _ = scan(one_step, sequences=a_x, outputs_info=[*before], truncate_gradient=truncate,\n'
            '                     non_sequences=', '    (h, C), _ = scan(one_step, truncate_gradient=truncate, '
            'outputs_info=list(before),\n                     sequences=a_x, non_sequences='),
    instead('    return [lrate * g for g in gradients], {}\n',
            '    steps = [lrate * g for g in gradients]\n    return steps, {}\n')])
def test_other_words_change_nothing(unedited, tmp_path, edit):
    found = results(tmp_path / 'copy', edit(SOURCE))
    assert found == unedited


@pytest.mark.parametrize('old, new, refused', [
    ("ops.product(x.reshape((-1, x.shape[2])), stacked(p[f'U{k}']))",
     "0.5 * ops.product(x.reshape((-1, x.shape[2])), stacked(p[f'U{k}']))", True),
    ("ops.product(h.reshape((-1, h.shape[2])), p['V'].T)", "0.5 * ops.product(h.reshape((-1, h.shape[2])), p['V'].T)",
     True),
    ("ops.columns(p[f'U{k}'], x.flatten())", "0.5 * ops.columns(p[f'U{k}'], x.flatten())", True),
    ('(a_x, tt.dot(h_prev, W), b)', '(a_x, 0.5 * tt.dot(h_prev, W), b)', True),
    ('tt.concatenate(C, axis=1)\n', 'tt.concatenate([0.5 * each for each in C], axis=1)\n', True),
    ('        h = layers[-1].dropped ', '        h = FACTOR * layers[-1].dropped ', True),
    ("ops.layer(a_x, p[f'W{k}']", "ops.layer(a_x, -p[f'W{k}']", True),
    ("ops.cross_entropy(scores, p['c'], batch.y)", "ops.cross_entropy(scores, 0.5 * p['c'], batch.y)", True),
    ('tt.nnet.sigmoid(a_o) * tt.tanh(C)\n', 'tt.nnet.sigmoid(a_o) * tt.tanh(0.5 * C)\n', False),
    ('tt.nnet.sigmoid(a_i) * tt.tanh(a_g)', 'tt.nnet.sigmoid(a_i) * 0.5 * tt.tanh(a_g)', False)])
def test_another_formula_changes_everything(unedited, tmp_path, old, new, refused):
    """A cell is computed by other programs as it is edited, and a network or a layer that is edited is refused."""
    source = SOURCE.replace('def network(', 'FACTOR = 2\n\n\ndef network(')
    found = results(tmp_path / 'copy', instead(old, new)(source))
    assert found.parameters != unedited.parameters and found.text != unedited.text
    assert found.program != unedited.program and bool(found.refused) == refused


def test_examples_of_the_methods_run(tmp_path, monkeypatch):
    """Of each method that charlstm.py defines and that takes more than a batch, in their order."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'book.txt').write_text('It is a truth that all of them knew. What he said was true.\n\n' * 40)
    model, run = CharLSTM(random_seed=1), []
    for name, function in [*vars(CharLSTM).items()]:
        for test in doctest.DocTestFinder(recurse=False).find(function, name, charlstm, dict(model=model)):
            failed, tried = doctest.DocTestRunner(verbose=False).run(test)
            assert not failed, name
            run += tried * [name]
    assert {'prepare_input', 'model_setup', 'fit', 'generate_text', 'sample', 'resume', 'export'} <= {*run}
