"""The command lines: options out of range or of the wrong kind, --resume that they contradict, and --help."""
import re

import numpy as np
import pytest

import train
from damage import write_checkpoint
from scripts import PRODUCE, SMALL, TRAIN, Compiling, assert_refused, refuse_training, run, snapshot, succeeded


# ---------------------------------------------------------------- ranges and kinds

OUT_OF_RANGE = {
    'epochs': [0, -1], 'save-every': [0, -3], 'valid-every': [0, -3], 'batch-size': [0, -1], 'seq-length': [1, 0, -1],
    'num-units1': [0, -1, 10 ** 12], 'num-units2': [0, -1], 'bptt-maxdepth': [0, -2],
    'lrate-decay-epoch': [0, -1], 'random-seed': [-1], 'ratio-valid': [1.0, -0.1, np.nan, np.inf],
    'lrate': [0.0, -0.1, np.nan, np.inf], 'lrate-decay': [0.0, -0.5, 1.5, np.nan, np.inf],
    'drate': [1.0, -0.1, np.nan], 'eps': [0.0, -1e-8, np.nan],
    'l1': [-0.1, np.nan, np.inf], 'l2': [-0.1, np.nan, np.inf]}


@pytest.mark.parametrize('option, value', [
    (option, value) for option, values in OUT_OF_RANGE.items() for value in values])
def test_number_out_of_range(folder, here, option, value):
    before = snapshot(folder)
    result = here(TRAIN, 't.txt', 'r', *SMALL, '--output-dir', 'results', '--{}={}'.format(option, value))
    assert_refused(result, 'train.py: ', str(value))
    assert re.search(option.replace('-', '[-_]'), result.stderr)
    assert snapshot(folder) == before


@pytest.mark.parametrize('option', ['epochs', 'num-units1', 'seq-length'])
def test_zero_in_a_process(folder, option):
    refuse_training(folder, run, ' is 0: expected', options=['--' + option, 0])


@pytest.mark.parametrize('option, value', [
    ('length', 0), ('length', -5), ('count', 0), ('count', -1), ('count', 10 ** 15), ('random-seed', -1)])
def test_number_out_of_range_for_sampling(folder, here, option, value):
    write_checkpoint('p.npz')
    before = snapshot(folder)
    result = here(PRODUCE, 'p.npz', 'out.txt', '--{}={}'.format(option, value))
    assert_refused(result, 'produce_text.py: ', str(value))
    assert re.search(option.replace('-', '[-_]'), result.stderr)
    assert snapshot(folder) == before


@pytest.mark.parametrize('script, arguments, named', [
    (TRAIN, ['t.txt', 'r', '--epochs', 'many'], '--epochs'), (TRAIN, ['t.txt', 'r', '--lrate', 'x'], '--lrate'),
    (TRAIN, ['t.txt', 'r', '--batch-size', '2.5'], '--batch-size'), (TRAIN, ['t.txt', 'r', 'more'], 'more'),
    (PRODUCE, ['p.npz', '--method', 'best'], '--method')])
def test_argument_of_the_wrong_kind(folder, here, script, arguments, named):
    """argparse's own refusal, which has its usage before the line."""
    before = snapshot(folder)
    result = here(script, *arguments)
    assert result.returncode == 2 and result.stderr.startswith('usage: ')
    assert named in result.stderr.splitlines()[-1] and 'Traceback' not in result.stderr
    assert snapshot(folder) == before


def test_options_may_stand_between_the_names(folder, here):
    write_checkpoint('p.npz')
    before = snapshot(folder)
    assert_refused(here(TRAIN, 't.txt', '--epochs', 0, 'r', '--output-dir', 'results'), '--epochs is 0')
    assert_refused(here(PRODUCE, '--count', 2, 'p.npz', '--length', 0, 'out.txt'), '--length is 0')
    assert snapshot(folder) == before


# ---------------------------------------------------------------- --resume

@pytest.mark.parametrize('option, value', [('--lrate', 0.5), ('--dropout', 0.1), ('--num-units1', 6),
                                           ('--random-seed', 4), ('--valid-every', 7), ('--no-stateful', None)])
def test_contradicting_option_is_refused(judged, here, option, value):
    arguments = [option] + [value] * (value is not None)
    assert_refused(here(TRAIN, '--resume', judged.checkpoint, *arguments), option, str(judged.checkpoint), '--epochs',
                   '--save-every')


@pytest.mark.parametrize('option, value', [('--init', 'other.npz'), ('--output-dir', 'elsewhere')])
def test_option_that_a_resumed_run_cannot_heed_is_refused(judged, here, option, value, tmp_path):
    assert_refused(here(TRAIN, '--resume', judged.checkpoint, option, tmp_path / value), option)


def test_options_that_may_change_or_are_the_same_are_taken(judged, here, capfd):
    last = judged.folder / 'r_t.txt_epoch5.npz'
    with pytest.raises(Compiling):
        here(TRAIN, '--resume', last, '--epochs', 91, '--save-every', 2, '--lrate', 0.03)
    assert '; up to 91 epochs' in capfd.readouterr().out


def test_many_large_checkpoints_are_announced(folder, here, capfd):
    """What a list of names takes of the disk: 7,500 epochs of a step, and a checkpoint every ten."""
    (folder / 'names.txt').write_text('Anna\nBob\n' * 400)
    for options, said in (([], True), (['--save-every', 1000], False), (['--num-units1', 9], False)):
        with pytest.raises(Compiling):
            here(TRAIN, 'names.txt', 'r', '--output-dir', 'results', *options)
        lines = [line for line in capfd.readouterr().out.splitlines() if 'checkpoints of' in line]
        assert bool(lines) == said
        assert not said or re.fullmatch(r'up to 750 checkpoints of 9\.\d MB, .* a larger --save-every .*', lines[0])


# ---------------------------------------------------------------- --help

TRAIN_DEFAULTS = {
    'num-units1': '256, or those of --init', 'num-units2': 'those of layer 1', 'batch-size': 50, 'seq-length': 50,
    'ratio-valid': 0.3, 'lrate': 5e-3, 'drate': 0.95, 'eps': 1e-8, 'bptt-maxdepth': 50, 'l1': 0, 'l2': 0,
    'epochs': '40, and more for a short text', 'patience': '6, and more for a short text', 'lrate-decay': 1,
    'lrate-decay-epoch': 10, 'save-every': 10, 'random-seed': None, 'encoding': 'utf-8',
    'overwrite': None, 'output-dir': 'training_results', 'input': 'prideandprejudice.txt', 'run': 'run0'}
PRODUCE_DEFAULTS = {
    'length': '100; in a page 2000', 'count': 5, 'prime': 'a random character', 'stop': 'never', 'lines': None,
    'method': 'normal',
    'temperature': 1, 'top-k': 'from all', 'top-p': 1, 'random-seed': 'a new one', 'encoding': 'utf-8',
    'PARAMS': 'the bundled one', 'OUT': 'text_output/<file name of PARAMS>.out'}


@pytest.mark.parametrize('script, defaults', [(TRAIN, TRAIN_DEFAULTS), (PRODUCE, PRODUCE_DEFAULTS)],
                         ids=['train', 'produce_text'])
def test_help_needs_no_package_and_names_the_defaults(script, defaults, without):
    shown = succeeded(run(script, '--help', env=dict(without('theano', 'numpy', 'matplotlib', 'tqdm'), COLUMNS='300')))
    for name, default in defaults.items():
        entry = re.search(r'^ +(--)?{}\s.*(\n {{20,}}.*)?'.format(name), shown, re.MULTILINE)
        assert entry, name
        said = re.search(r'\(default: (.*)\)', entry.group())
        if isinstance(default, str):
            assert default in said.group(1)
        elif default is not None:
            assert float(said.group(1)) == default, entry.group()


def test_default_that_is_said_in_words_is_none_until_the_text_is_known():
    assert {name for name, default in train.DEFAULTS.items() if default is None} > {
        'num_units1', 'num_units2', 'epochs', 'patience'}
    assert vars(train.build_parser().parse_args([])) == {}
