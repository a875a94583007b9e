"""The lesson: its derived gradient, its model in NumPy, the cells of its experiments, and how exercises are checked."""
import contextlib
import inspect
import os
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from cells import readme_classes
from charlstm import CharLSTM, tt
from engine.lesson import cells, check, numpy_lstm, ready, words
from engine.terminal import BUNDLED
from numpy_model import LETTERS, NAMES, V, gradients, random_parameters, sigmoid
from scripts import ROOT, assert_refused, load, run, succeeded

T, B, H1, H2 = 6, 3, 5, 2
TEXT = (ROOT / 'engine' / 'lesson' / 'README.md').read_text(encoding='utf-8')


def test_gradient_by_hand_is_that_of_finite_differences():
    """One batch begins with zero states, the next with the states after it."""
    p, states = random_parameters(2, H1=H1, H2=H2), None
    characters = np.random.default_rng(1).integers(V, size=(2 * T + 1, B))
    for start in (0, T):
        x, y = characters[start:start + T], characters[start + 1:start + 1 + T]
        expected = gradients(p, x, y, states=states)
        probabilities, after, memory = numpy_lstm.forward(p, x, states)
        found = numpy_lstm.backward(p, x, y, probabilities, memory)
        assert set(found) == set(NAMES)
        for name in NAMES:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-9, err_msg=name)
        states = after


def test_model_in_numpy_learns_and_writes():
    """The text repeats its four characters in order."""
    p = random_parameters(3, V=4, H1=H1, H2=H2)
    found = list(numpy_lstm.learn(p, np.arange(403) % 4, 60, B=2, T=7))
    assert found[0] > 0.7 and found[-1] < 0.1
    written = numpy_lstm.write(p, np.random.default_rng(1), 41)
    assert np.mean(np.diff(written) % 4 == 1) > 0.8 and len(written) == 41


def test_program_in_numpy_writes_a_checkpoint_that_the_class_reads(tmp_path):
    """It does not replace a checkpoint, and two epochs lower the cost."""
    (tmp_path / 't.txt').write_text(LETTERS * 30)
    words = '-m', 'engine.lesson', 'train', tmp_path / 't.txt', tmp_path / 'a.npz', '--epochs', 2
    first, second = [float(cost) for cost in re.findall('cost ([0-9.]+)', succeeded(run(*words, cwd=ROOT)))]
    assert first > second
    model = CharLSTM(random_seed=1)
    model.model_setup(tmp_path / 'a.npz')
    codes, stored = np.arange(40)[:, None] % V, load(tmp_path / 'a.npz')
    np.testing.assert_allclose(model.theano_predict(codes)[0], numpy_lstm.forward(stored, codes)[0], rtol=1e-3,
                               atol=1e-6)
    assert list(model.uchar) == list(LETTERS)
    assert_refused(run(*words, cwd=ROOT), 'a.npz exists already')


def test_commands():
    """`gradient` prints the row that the text cites; --help lists all; an error is one line."""
    assert '`da_f = t14 * C_prev * kept0 * (1 - kept0)`' in TEXT
    printed = succeeded(run('-m', 'engine.lesson', 'gradient', cwd=ROOT))
    assert '\nda_f = t14 * C_prev * kept0 * (1 - kept0)\n' in printed
    listed = succeeded(run('-m', 'engine.lesson', '--help', cwd=ROOT))
    assert re.findall('^    ([a-z]+) ', listed, re.MULTILINE) == ['ready', 'train', 'gradient', 'check', 'words']
    assert_refused(run('-m', 'engine.lesson', 'check', 'coupled', 'no.py', cwd=ROOT), 'no.py')


def test_ready_names_a_folder_and_a_file_without_use(tmp_path):
    for name in ('text_input', 'text_output'):
        (tmp_path / name).mkdir()
    with pytest.raises(OSError, match=r'^cannot write in \S*/training_results: '):
        ready.check_files(tmp_path, 'no.npz')
    assert sorted(os.listdir(tmp_path)) == ['text_input', 'text_output'] and not os.listdir(tmp_path / 'text_input')
    shutil.copy(BUNDLED, tmp_path / 'a.npz')
    for name, said in (('no.npz', 'no.npz'), ('a.npz', 'a_held_out.txt')):
        with pytest.raises(ValueError, match=rf'^cannot read \S*/{said}: [^;]*: copy the folder'):
            (tmp_path / 'training_results').mkdir(exist_ok=True)
            ready.check_files(tmp_path, f'{tmp_path}/{name}')


def test_code_of_the_derivation_checks_all_rows(capsys):
    code = re.findall('```python\n(.*?)```', TEXT, re.DOTALL)[0]
    for name in ('da_i', 'da_o', 'da_g', 'dC_prev'):       # yours are those that it prints below
        row = re.search(rf'{name} += (\S+( \S+)*)', TEXT[TEXT.index('**The rows:**'):])[1].replace('\u2212', '-')
        row = re.sub(r'(?<=[\w)]) (?=[\w(])', ' * ', row).replace('\xb2', '**2').replace('tanh', 'np.tanh')
        code = code.replace(f'{name}=0 * D', f'{name}={row}')
    exec(code, {})
    numbers = np.array(re.findall(r'-?\d\.\d+(?:e-\d+)?', capsys.readouterr().out), float).reshape(5, 2, 3)
    np.testing.assert_allclose(numbers[:, 0], numbers[:, 1], rtol=1e-5)


def test_cuts_between_words():
    """In the text, b and the end of a word have two letters after them."""
    costs = words.transition_costs('abcabdabcabda', 'abcabdabc')
    assert (costs > 0.5).nonzero()[0].tolist() == [2, 5, 8]
    assert words.peaks(np.array([3, 1, 2, 1, 1, 5])).tolist() == [False, False, True, False, False, False]
    cuts, begins = np.array([[1, 1, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0, 1]], bool)
    np.testing.assert_allclose(words.measures(cuts, begins), (2 / 5, 1 / 3, 1 / 2))


@pytest.mark.parametrize('cls, C_of, h_of', [
    (cells.ForgetBias, lambda f, i, o, g, C: sigmoid(f + 1) * C + sigmoid(i) * np.tanh(g), None),
    (cells.NoForgetGate, lambda f, i, o, g, C: C + sigmoid(i) * np.tanh(g), None),
    *[(cls, lambda f, i, o, g, C: sigmoid(f) * C + sigmoid(-f) * np.tanh(g), None)
      for cls in (cells.NoInputGate, readme_classes()['Coupled'])],
    (cells.NoOutputGate, lambda f, i, o, g, C: sigmoid(f) * C + sigmoid(i) * np.tanh(g), lambda o, C: np.tanh(C)),
    (cells.ReLU, lambda f, i, o, g, C: sigmoid(f) * C + sigmoid(i) * np.maximum(g, 0),
     lambda o, C: sigmoid(o) * np.maximum(C, 0))])
def test_cells_have_the_formulas_of_the_experiments(cls, C_of, h_of, interpreted):
    arrays = np.random.default_rng(3).normal(0, 2, (5, B, H1))
    expected = C_of(*arrays)
    named = dict(zip(('a_f', 'a_i', 'a_o', 'a_g', 'C_prev'), map(tt.constant, arrays)))
    h, C = [value.eval() for value in cls.cell(*[named[name] for name in inspect.signature(cls.cell).parameters])]
    np.testing.assert_allclose(C, expected, rtol=1e-12)
    np.testing.assert_allclose(h, h_of(arrays[2], C) if h_of else sigmoid(arrays[2]) * np.tanh(C), rtol=1e-12)


# ---------------------------------------------------------------- exercises

SOLUTIONS = (ROOT / 'tests' / 'solutions.py').read_text(encoding='utf-8')


@pytest.mark.parametrize('name, old, new, said', [
    *[(name, '', '', None) for name in check.EXERCISES], ('remember', 'numpy as np', 'numpy as np, beside', None),
    ('coupled', 'C_prev - g', 'C_prev',
     r'da_f is .* at \[0, 0\]: expected .*, f = .*, C_prev = .*, dC = .*; wrong: da_f; right: da_o, da_g, dC_prev$'),
    ('coupled', 'dC + dh', 'dC; D += dh', '^dC changed in place'),
    ('coupled', ', D * f\n', '', 'got 3 arrays: expected da_f, da_o, da_g, dC_prev'),
    ('coupled', 'return D', 'D', 'coupled returned None'),
    ('coupled', 'D = ', 'exit()#', 'line 8: SystemExit'),
    ('coupled', 'C_prev - g', 'C_prev - G', r"mine\.py, line 9: NameError: name 'G' is not defined"),
    ('coupled', 'C_prev - g', 'C_prev -', r'mine\.py, line 9'),
    ('coupled', 'def coupled', 'def couple', r'mine\.py has no coupled'),
    ('peephole', ' + da_o * p', '', r'da_f is .*: expected .*; right: da_o, dp'),
    ('peephole', 'return da_f', 'return (2 * da_f).tolist()', 'da_f is .*; wrong: da_f; right: da_i'),
    ('peephole', '.sum(axis=0)', '', r'dp has the shape \(3, 5\): expected \(5,\)'),
    ('remember', '(1 / n)', '(1 / (n - 1))', r'the share after 50 steps 0.4\d*: expected 0.5'),
    ('weights', 's <= t', 's < t', 'the weight is nan at'),
    ('weights', ' - scores.max(', ' - 900 - 0 * scores.max(', ' is nan at'),
    ('weights', '-np.inf', '0', 'the weight is .*: expected '),
    ('weights', 'batched_dot(h, h.dimshuffle(0, 2, 1))', 'batched_dot(h.dimshuffle(1, 0, 2), h)',
                r'^weights, .*mine\.py, line 27: .*BatchedDot: inputs arrays must [^\n]*$'),
    ('Attention', 'h2 + mean', 'mean', 'the probability is .*: expected '),
    ('Skip', 'sum(units)', 'units[1]', r'V has the shape \(7, 5\): expected \(7, 10\)'),
    ('Skip', '@staticmethod', '', '@staticmethod above it'),
    ('Skip', 'Skip(CharLSTM)', 'Skip', r'expected class Skip\(CharLSTM\)'), ('units', '', '', 'units has no check'),
    ('weights', 'return e /', 'e /', 'weights returned None'),
    ('Attention', 'weights(h2), h2.dimshuffle(1, 0, 2))', 'weights(h2), h2)',
                                                      r'inputs arrays must .* have sizes \[2, 3\]')])
def test_exercise(name, old, new, said, tmp_path, interpreted, capsys, monkeypatch):
    monkeypatch.delattr(cells.NoInputGate, 'cell')         # a student edited it
    (tmp_path / 'beside.py').write_text('')
    (tmp_path / 'mine.py').write_text(SOLUTIONS.replace(old, new))
    with pytest.raises(ValueError, match=said) if said else contextlib.nullcontext():
        check.program(SimpleNamespace(name=name, file=str(tmp_path / 'mine.py')))
    assert capsys.readouterr().out == f'{name} is right\n' * (said is None)
