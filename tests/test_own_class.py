"""--cell: a class of one's own, trained, resumed and used as CharLSTM is, and files that have none."""
import os
import re

import pytest

from charlstm import CharLSTM
from damage import write_checkpoint
from engine import own_class
from scripts import (FAST, PRODUCE, ROOT, SMALL, TRAIN, assert_changes_nothing, assert_refused, copy_of_program, load,
                     run, succeeded)

COUPLED = re.search('```python\n(.*?class Coupled.*?)```', (ROOT / 'README.md').read_text(encoding='utf-8'), re.DOTALL)
LEAKY = '''
import helper
from charlstm import CharLSTM

class Leaky(CharLSTM):
    cell_parameters = {'leak': helper.LEAK}

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev, leak):
        C = leak * C_prev + a_i * a_g
        return a_o * C, C
'''


def test_run_with_a_class_of_ones_own(folder):
    """A run that is resumed, with the commands that it prints, is the run that never stopped."""
    (folder / 'mine.py').write_text(COUPLED.group(1))
    words = [*SMALL, '--cell', 'mine.py:Coupled', '--output-dir', 'results']
    assert 'gains from' not in succeeded(run(TRAIN, 't.txt', 'whole', *words, '--epochs', 3, flags=FAST))
    out = succeeded(run(TRAIN, 't.txt', 'r', *words, '--epochs', 2, '--save-every', 1, '--anneal', 0, flags=FAST))
    assert '2 layers of 5 and 7 units, of mine.py:Coupled, ' in out
    next_command, resume = [re.search(f'^{name}: (.*)$', out, re.MULTILINE).group(1) for name in ('next', 'to resume')]
    assert next_command.endswith('r_t.txt_best.npz --cell mine.py:Coupled')
    assert ' --cell mine.py:Coupled' in resume
    checkpoint = 'results/r_t.txt_epoch1.npz'
    assert_refused(run(TRAIN, '--resume', checkpoint), 'learned the class mine.py:Coupled', '--cell mine.py:Coupled')
    before = load('results/r_t.txt_epoch2.npz')
    succeeded(run(TRAIN, '--resume', checkpoint, '--cell', 'mine.py:Coupled', '--overwrite', flags=FAST))
    after = load('results/r_t.txt_epoch2.npz')
    assert all(before[name].tobytes() == after[name].tobytes() for name in ('U1', 'W2', 'V', 'm_b1'))

    best = 'results/whole_t.txt_best.npz'
    scored = run(PRODUCE, best, '--score', 't.txt', '--cell', 'mine.py:Coupled', flags=FAST)
    assert 'another cell' not in scored.stderr
    other = run(PRODUCE, best, '--score', 't.txt', flags=FAST)
    assert 'was trained with another cell' in other.stderr and '--cell' in other.stderr
    assert scored.returncode == other.returncode == 0 and scored.stdout != other.stdout
    export = run(PRODUCE, best, '--export', 'm.c', flags=FAST)
    assert export.returncode == 2 and export.stderr.endswith('it was not written; add --cell\n')
    assert not os.path.exists('m.c')
    page = run(PRODUCE, best, '--page', 'p.html', '--length', 50, '--cell', 'mine.py:Coupled', flags=FAST)
    assert page.returncode == 0 and page.stderr.startswith('wrote p.html')


def test_class_has_parameters_and_imports_what_is_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr('sys.path', list(own_class.sys.path))
    (tmp_path / 'leaky.py').write_text(LEAKY)
    (tmp_path / 'helper.py').write_text('LEAK = 0.25')
    found = own_class.load_class(str(tmp_path / 'leaky.py:Leaky'), CharLSTM)
    assert issubclass(found, CharLSTM) and found.cell_parameters == {'leak': 0.25}
    assert type(own_class.make_model(None, CharLSTM, 3)) is CharLSTM
    assert not list(tmp_path.rglob('leaky*.pyc'))


@pytest.mark.parametrize('source, words, expected', [
    ('', 'mine.py', ['--cell is mine.py', 'FILE:CLASS']), ('', 'mine.py:', ['--cell is mine.py:', 'FILE:CLASS']),
    ('', 'gone.py:Cell', ['cannot read gone.py', 'No such file']), ('', 'mine.py:Cell', ['mine.py has no class Cell']),
    ('class Cell:\n    pass\n', 'mine.py:Cell', ['no class Cell that is a subclass of CharLSTM']),
    ('\nclass Cell(:\n', 'mine.py:Cell', ['mine.py, line 2: SyntaxError']),
    ('import sys\nsys.exit()\n', 'mine.py:Cell', ['mine.py ends the program: expected a file with a class']),
    ('from charlstm import CharLSTM\nclass Cell(CharLSTM):\n    def __init__(self, V):\n        self.V = V\n',
     'mine.py:Cell', ['mine.py:Cell cannot be made as CharLSTM is', 'the same arguments']),
    ('from charlstm import CharLSTM\nclass Cell(CharLSTM):\n    def __init__(self, *a, **k):\n        self.V = 3\n',
     'mine.py:Cell', ['mine.py:Cell has an __init__', 'super().__init__(...)']),
    ('a = 1\0', 'mine.py:Cell', ['mine.py has NUL bytes', 'UTF-16', 'save it as UTF-8']),
    ('\nraise ValueError', 'mine.py:Cell', ['mine.py, line 2: ValueError']),
    ('def f():\n    return 1 / 0\n\n\nf()\n', 'mine.py:Cell', ['mine.py, line 2: ZeroDivisionError: division'])])
@pytest.mark.parametrize('script', [TRAIN, PRODUCE])
def test_what_is_no_class_is_refused(folder, in_process, monkeypatch, script, source, words, expected):
    monkeypatch.setattr('sys.path', list(own_class.sys.path))
    (folder / 'mine.py').write_text(source)
    names = ['t.txt', 'r', *SMALL, '--output-dir', 'results'] if script == TRAIN else [write_checkpoint('p.npz')]
    assert_changes_nothing(folder, in_process, script, *names, '--cell', words, words=expected)


CELL = '''from charlstm import CharLSTM, np, tt
import math
class Cell(CharLSTM):
    @staticmethod
    def {}:
        {}
'''


@pytest.mark.parametrize('line, words', [
    ('return a_f * undefined, C', ['NameError', 'undefined']), ('return (a_f if C > 0 else a_i), C', ['TypeError']),
    ('return np.where(C > 0, a_f, a_i), C', ['ValueError']), ('return math.exp(C), C', ['TypeError'])])
def test_error_in_a_cell_is_a_line_of_its_file(folder, in_process, monkeypatch, line, words):
    monkeypatch.setattr('sys.path', list(own_class.sys.path))
    (folder / 'mine.py').write_text(CELL.format('cell(a_f, a_i, a_o, a_g, C)', line))
    assert_changes_nothing(folder, in_process, TRAIN, 't.txt', 'r', *SMALL, '--output-dir', 'results', '--cell',
                           'mine.py:Cell', words=['mine.py, line 6: ', *words])


@pytest.mark.parametrize('line, words', [
    ('return lp["inertia"]', ["mine.py, line 6: KeyError: 'inertia'"]),
    ('return tt.sqrr(gradients[0]), state', ['mine.py, line 6: AttributeError', 'sqrr'])])
def test_error_in_an_optimiser_is_a_line_of_its_file(folder, line, words):
    (folder / 'mine.py').write_text(CELL.format('optimiser(gradients, parameters, state, lrate, lp)', line))
    assert_refused(run(TRAIN, 't.txt', 'r', *SMALL, '--output-dir', 'results', '--cell', 'mine.py:Cell', flags=FAST),
                   *words)


def test_error_in_an_edit_is_a_line_of_charlstm(folder):
    program = copy_of_program(folder / 'program')
    source = (program / 'charlstm.py').read_text(encoding='utf-8')
    line = source[:source.index('tt.tanh(C)')].count('\n') + 1
    (program / 'charlstm.py').write_text(source.replace('tt.tanh(C)', 'tt.tan(C, C_prevv)'), encoding='utf-8')
    assert_refused(run(program / 'train.py', 't.txt', 'r', *SMALL, flags=FAST),
                   f'charlstm.py, line {line}: NameError: ', 'C_prevv')
