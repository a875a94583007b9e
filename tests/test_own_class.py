"""--cell: a user's class, trained, resumed and used like CharLSTM, and checkpoints of another cell."""
import re
import sys

import pytest

from cells import README_CODE
from charlstm import CharLSTM
from damage import write_checkpoint
from engine.terminal import load_class
from scripts import (FAST, PRODUCE, ROOT, SMALL, TRAIN, assert_changes_nothing, assert_refused, load, run, snapshot,
                     succeeded)

# With the rows of the standard cell, so that either cell could compute the other's parameters.
COUPLED = README_CODE[0].replace('(a_f, a_o, a_g, C_prev)', '(a_f, a_i, a_o, a_g, C_prev)')
WORDS = [*SMALL, '--output-dir', 'results', '--epochs', 2, '--save-every', 1, '--anneal', 0]
LEAKY = '''
import helper_of_leaky as helper
from charlstm import CharLSTM

class Leaky(CharLSTM):
    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev, leak=helper.LEAK):
        C = leak * C_prev + a_i * a_g
        return a_o * C, C
'''


@pytest.fixture(scope='module')
def coupled(tmp_path_factory):
    """Return a folder with mine.py, a text, the results of a run with the class in mine.py, and its output, out.txt."""
    folder = tmp_path_factory.mktemp('coupled')
    (folder / 'mine.py').write_text(COUPLED)
    (folder / 't.txt').write_text('the dog sang. old cats sat by a hill.\n' * 70)
    out = succeeded(run(TRAIN, 't.txt', 'r', *WORDS, '--cell', 'mine.py:Coupled', cwd=folder, flags=FAST))
    (folder / 'out.txt').write_text(out)
    return folder


def test_run_with_a_class_of_ones_own(coupled):
    """The run prints commands with --cell, and a resumed run equals one that never stopped."""
    out, checkpoint = (coupled / 'out.txt').read_text(), 'results/r_t.txt_epoch1.npz'
    assert '2 layers of 5 and 7 units, of mine.py:Coupled, ' in out
    next_command, resume = [re.search(f'^{name}: (.*)$', out, re.MULTILINE).group(1) for name in ('next', 'to resume')]
    assert next_command.endswith('r_t.txt_best.npz --cell mine.py:Coupled') and ' --cell mine.py:Coupled' in resume
    assert_refused(run(TRAIN, '--resume', checkpoint, cwd=coupled), 'mine.py:Coupled', '--cell mine.py:Coupled')
    before = load(coupled / 'results/r_t.txt_epoch2.npz')
    succeeded(run(TRAIN, '--resume', checkpoint, '--cell', 'mine.py:Coupled', '--overwrite', cwd=coupled, flags=FAST))
    after = load(coupled / 'results/r_t.txt_epoch2.npz')
    assert all(before[name].tobytes() == after[name].tobytes() for name in ('U1', 'W2', 'V', 'm_b1'))


@pytest.mark.parametrize('words', [
    ['own.npz', 'new.txt', '--count', 1], ['own.npz', '--score', 't.txt'], ['own.npz', '--page', 'new', '--length', 40],
    ['own.npz', '--export', 'new.c']], ids=str)
def test_model_of_another_cell_is_refused_unless_it_is_named(coupled, produce, monkeypatch, words):
    """No text, page, program or cost from another cell can be mistaken for the checkpoint's own."""
    monkeypatch.chdir(coupled)
    (coupled / 'own.npz').write_bytes((coupled / 'results/r_t.txt_best.npz').read_bytes())
    before = snapshot(coupled)
    for named in ([], ['--cell', ROOT / 'charlstm.py:CharLSTM']):
        result = produce(*words[1:], *named, checkpoint=words[0])
        assert_refused(result, 'own.npz was trained with another cell or network', 'not that of CharLSTM',
                       'add --cell mine.py:Coupled')
        assert result.stdout == '' and snapshot(coupled) == before
    assert produce(*words[1:], '--cell', 'mine.py:Coupled', checkpoint=words[0]).returncode == 0
    for path in coupled.glob('new*'):
        path.unlink()


@pytest.mark.parametrize('name', ['leaky.py', 'json.py', 'charlstm.py'])
def test_class_has_parameters_and_imports_what_is_beside_it(tmp_path, monkeypatch, name):
    """Whatever the name of its file, which runs once."""
    monkeypatch.setattr(sys, 'path', sys.path[:])
    (tmp_path / name).write_text(LEAKY)
    (tmp_path / 'helper_of_leaky.py').write_text('LEAK = 0.25')
    found = load_class(str(tmp_path / f'{name}:Leaky'), CharLSTM)
    assert issubclass(found, CharLSTM) and found.cell.__defaults__ == (0.25,) and found.__module__ in sys.modules
    assert load_class(str(tmp_path / f'{name}:Leaky'), CharLSTM) is found
    assert load_class(None, CharLSTM) is load_class(str(ROOT / 'charlstm.py:CharLSTM'), CharLSTM) is CharLSTM


def test_edited_copy_of_the_model_is_trained_and_writes(coupled, produce):
    """Its numbers are those of a subclass with the same cell."""
    standard = 'C = tt.nnet.sigmoid(a_f) * C_prev + tt.nnet.sigmoid(a_i) * tt.tanh(a_g)'
    source = (ROOT / 'charlstm.py').read_text(encoding='utf-8')
    assert standard in source
    (coupled / 'exp').mkdir()
    (coupled / 'exp' / 'charlstm.py').write_text(source.replace(
        standard, 'f = tt.nnet.sigmoid(a_f)\n    C = f * C_prev + (1 - f) * tt.tanh(a_g)'), encoding='utf-8')
    succeeded(run(TRAIN, 't.txt', 'copy', *WORDS, '--cell', 'exp/charlstm.py:CharLSTM', cwd=coupled, flags=FAST))
    expected, found = [load(coupled / f'results/{name}_t.txt_epoch2.npz') for name in ('r', 'copy')]
    assert all(expected[name].tobytes() == found[name].tobytes() for name in ('U1', 'W2', 'V', 'm_b1'))
    texts = [produce(coupled / 'out', '--random-seed', 1, '--cell', coupled / cell,
                     checkpoint=str(coupled / 'results/copy_t.txt_epoch2.npz')).stdout
             for cell in ('mine.py:Coupled', 'exp/charlstm.py:CharLSTM')]
    assert texts[0] == texts[1] != ''


@pytest.mark.parametrize('words', ['mine.py', 'mine.py:', 'gone.py:Cell', 'mine.py:Cell', 'mine.py:Other',
                                   'wrong.py:Cell'])
@pytest.mark.parametrize('script', [TRAIN, PRODUCE])
def test_what_is_no_class_is_refused(folder, in_process, script, words):
    (folder / 'mine.py').write_text('class Other:\n    pass\n')
    (folder / 'wrong.py').write_text('\nclass Cell(:\n')
    names = ['t.txt', 'r', *SMALL, '--output-dir', 'results'] if script == TRAIN else [write_checkpoint('p.npz')]
    said = words.split(':')[0] + ', line 2: ' * words.startswith('wrong')
    assert_changes_nothing(folder, in_process, script, *names, '--cell', words, words=[said])


@pytest.mark.parametrize('source', [
    'cells = 1 / 0\n',
    'from charlstm import CharLSTM, tt\nclass Cell(CharLSTM):\n'
    '    cell = staticmethod(lambda a_f, C_prev: tt.sqrr(a_f))\n'])
def test_error_in_the_file_is_shown_where_it_is(folder, source):
    (folder / 'mine.py').write_text(source)
    result = run(TRAIN, 't.txt', 'r', *SMALL, '--output-dir', 'results', '--cell', 'mine.py:Cell', flags=FAST)
    line = source.count('\n')
    assert result.returncode and re.search(f'mine.py"?, line {line}', result.stderr)
    assert re.search("division by zero|no attribute 'sqrr'", result.stderr)
