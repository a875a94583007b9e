"""The command lines: options that are out of range, of the wrong type or contradict --resume, and --help."""
import contextlib
import re
import shutil

import numpy as np
import pytest

import train
from damage import PROGRESS, SOURCE, TEXT_OF_RUN, about, write_checkpoint
from engine.page import page
from engine.run import table
from engine.run.checkpoint import Checkpoint
from engine.run.options import Options, set_units
from learner import options
from scripts import PRODUCE, ROOT, TRAIN, Compiling, assert_changes_nothing, assert_refused, run, succeeded

OUT_OF_RANGE = {
    'epochs': [0, 10 ** 10], 'save_every': [0], 'valid_every': [0], 'patience': [-1], 'warmup': [-1],
    'batch_size': [0, -1], 'seq_length': [1], 'units': [[], [0], 10 * [3], 3], 'num_units1': [0, 10 ** 12],
    'num_units2': [0], 'bptt_maxdepth': [0, -2], 'lrate_decay_epoch': [0], 'random_seed': [-1],
    'ratio_valid': [1.0, -0.1, np.nan],
    'lrate': [0.0, -0.1, np.nan, np.inf], 'lrate_decay': [0.0, 1.5, np.nan],
    'drate': [1.0, -0.1, np.nan], 'eps': [0.0, np.nan], 'l1': [-0.1, np.inf], 'l2': [-0.1],
    'grad_clip': [-0.1], 'step_clip': [-0.1], 'dropout': [1.0, -0.1], 'dropconnect': [1.0],
    'smoothing': [1.0, -0.1], 'ar': [-0.1], 'tar': [-0.1, np.nan], 'reset': [1.0], 'average': [1.0],
    'anneal': [-0.1, 1.5, np.nan], 'original': ['yes'], 'encoding': ['', 'hex'], 'kernel': ['maybe'],
    'initial': ['zero'], 'precision': ['float16'], 'run': ['', 'a/b', '../r']}


CONTRADICTIONS = [dict(original=True, small=True), dict(valid='t.txt', ratio_valid=0.3), dict(test_adapt=True)]


@pytest.mark.parametrize('words', [
    *[{name: value} for name, values in OUT_OF_RANGE.items() for value in values], *CONTRADICTIONS], ids=repr)
def test_options_that_are_out_of_range_or_contradict(refused, words):
    with refused(ValueError, *[] if words in CONTRADICTIONS else words):
        Options(words)


@pytest.mark.parametrize('typed, expected', [
    ({}, [256, 256]), (dict(layers=3), [256, 256, 256]), (dict(num_units1=9), [9, 9]), (dict(small=True), [64, 64]),
    (dict(num_units2=9, layers=3), [256, 9, 9]), (dict(small=True, num_units1=9), [9, 9]),
    (dict(units=[9, 5, 7], num_units1=9, layers=3), [9, 5, 7]), (dict(units=[9, 5, 7], num_units2=5), None),
    (dict(units=[9], layers=2), None), (dict(units=[9, 9], num_units1=8), None), (dict(layers=1, num_units2=7), None)])
def test_units_are_said_in_either_way(refused, typed, expected):
    with contextlib.nullcontext() if expected else refused(ValueError, *list(typed)[-1:]):
        assert set_units(Options(typed)).units == expected


@pytest.mark.parametrize('script, arguments, named', [
    (TRAIN, ['t.txt', 'r', '--epochs', 'many'], '--epochs'), (TRAIN, ['t.txt', 'r', '--lrate', 'x'], '--lrate'),
    (TRAIN, ['t.txt', '--epochs', 0, 'r'], 'epochs is 0'),                     # options may come between the names
    (TRAIN, ['t.txt', 'r', 'more'], 'more'), (PRODUCE, ['p.npz', '--method', 'best'], '--method')])
def test_argument_of_the_wrong_kind(folder, in_process, script, arguments, named):
    assert_changes_nothing(folder, in_process, script, *arguments, words=[named])


@pytest.mark.parametrize('words', [
    ['--lrate', 0.5], ['--l1', 0.1], ['--num-units1', 6], ['--units', 5, 5], ['--layers', 1],
    ['--random-seed', 4], ['--valid-every', 7], ['--no-stateful'],
    ['--small'], ['--init', 'other.npz'], ['--output-dir', 'elsewhere'],
    ['--test', 't.txt'], ['--valid', 't.txt'], ['--cell', 'mine.py:Mine'], ['t.txt', 'another run']], ids=str)
def test_option_that_contradicts_the_resumed_run_is_refused(short_run, in_process, words):
    refused = in_process(TRAIN, '--resume', short_run.checkpoint, *words)
    assert_refused(refused)
    name = 'run' if words[0] == 't.txt' else words[0][2:]
    assert name.replace('-', '_') in refused.stderr or words[0] in refused.stderr


def test_options_that_may_change_or_are_the_same_are_taken(short_run, in_process, capfd):
    last = short_run.folder / 'r_t.txt_epoch5.npz'
    with pytest.raises(Compiling):
        in_process(TRAIN, '--resume', last, '--epochs', 91, '--save-every', 2, '--lrate', 0.03, '--encoding', 'U8')
    assert '; up to 91 epochs' in capfd.readouterr().out


def test_resume_last_without_what_is_for_a_new_run(short_run, in_process, tmp_path, capfd):
    """The run's options still apply, and --init is not read. A checkpoint that is not from a run is refused."""
    words = [TRAIN, short_run.folder / 't.txt', 'r', '--output-dir', short_run.folder, '--resume', 'last']
    with pytest.raises(Compiling):
        in_process(*words, '--init', 'gone.npz', '--epochs', 6)
    assert 'resuming after epoch 5' in capfd.readouterr().out
    assert_refused(in_process(*words, '--dropout', 0.5), 'dropout is 0.5')
    assert_refused(in_process(TRAIN, '--resume', write_checkpoint(str(tmp_path / 'p.npz'))), 'no run')


def test_finished_run_is_resumed_without_compiling(short_run, in_process, tmp_path):
    shutil.copytree(short_run.folder, tmp_path / 'copy')
    out = succeeded(in_process(TRAIN, '--resume', tmp_path / 'copy' / 'r_t.txt_epoch5.npz'))
    assert 'nothing is left to train' in out and 'compil' not in out


def test_text_that_is_a_device_is_not_read(in_process, path, monkeypatch):
    """A checkpoint may name /dev/zero, which has no end; /dev/null is a device, too."""
    monkeypatch.setattr(page, 'read_string', None)
    for changes in (dict(path='/dev/null'), dict(path=str(TRAIN), valid=dict(SOURCE, path='/dev/null'))):
        about(text={**TEXT_OF_RUN, **changes}, lp=dict(lrate=1.0), progress=PROGRESS)(path)
        assert_refused(in_process(TRAIN, '--resume', path), '/dev/null', 'no file or folder')
        assert page.held_out(Checkpoint(path)) is None


def test_typed_options_win_over_every_recipe():
    for more in ([], ['--original'], ['--small']):
        o = options('--dropout', 0.1, '--epochs', 3, *more)
        assert (o.dropout, o.epochs) == (0.1, 3)
    assert options('--original').dropconnect == 0 and options().dropconnect is None
    assert vars(train.build_parser().parse_args([])) == {}


def test_small_run_has_a_text_of_its_own(folder, in_process, capfd):
    with pytest.raises(Compiling):
        in_process(TRAIN, '--small', '--output-dir', 'results')
    out = capfd.readouterr().out
    assert f'{ROOT / "text_input" / "coriolanus.txt"}: 99,843 characters' in out
    assert '\n2 layers of 64 and 64 units, ' in out and 'up to 40 epochs' in out
    assert 'falling from epoch 21 on' in out


@pytest.mark.parametrize('script', [TRAIN, PRODUCE])
def test_help_needs_no_package_and_names_the_defaults(script, without):
    shown = succeeded(run(script, '--help', env=dict(without('theano', 'numpy', 'matplotlib', 'tqdm'), COLUMNS='300')))
    for name, row in table.ROWS.items() if script == TRAIN else ():
        entry = re.search(r'^ +--{}\s.*(\n {{20,}}.*)?'.format(name.replace('_', '-')), shown, re.MULTILINE)
        assert row.kind is bool or 'default: ' in entry.group() or name in ('init', 'resume', 'test'), name
