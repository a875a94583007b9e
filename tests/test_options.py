"""The command lines: options out of range or of the wrong kind, --resume that they contradict, and --help."""
import json
import re

import numpy as np
import pytest

import train
from charlstm import CharLSTM
from damage import write_checkpoint
from engine.run import table
from engine.run.options import Options
from learner import options, settled
from scripts import (PRODUCE, ROOT, SMALL, STATEFUL, TRAIN, Compiling, assert_changes_nothing, assert_refused, load,
                     refuse_training, run, snapshot, succeeded)


# ---------------------------------------------------------------- ranges and kinds

OUT_OF_RANGE = {
    'epochs': [0, 10 ** 10], 'save-every': [0], 'valid-every': [0], 'patience': [-1], 'warmup': [-1],
    'batch-size': [0, -1], 'seq-length': [1, -1], 'num-units1': [0, 10 ** 12], 'num-units2': [0],
    'bptt-maxdepth': [0, -2], 'lrate-decay-epoch': [0], 'random-seed': [-1], 'ratio-valid': [1.0, -0.1, np.nan],
    'lrate': [0.0, -0.1, np.nan, np.inf, 1e300, 1e-50], 'lrate-decay': [0.0, 1.5, np.nan],
    'drate': [1.0, -0.1, np.nan, 0.99999999999],
    'eps': [0.0, np.nan, 1e300], 'l1': [-0.1, np.inf], 'l2': [-0.1, 1e300], 'grad-clip': [-0.1, 1e300, 1e-300],
    'step-clip': [-0.1],
    'dropout': [1.0, 1e-6], 'dropconnect': [1.0, 1e-6], 'smoothing': [1.0, -0.1], 'ar': [-0.1], 'tar': [-0.1, np.inf],
    'reset': [1.0], 'average': [1.0], 'anneal': [-0.1, 1.5, np.nan]}


@pytest.mark.parametrize('option, value', [
    (option, value) for option, values in OUT_OF_RANGE.items() for value in values])
def test_number_out_of_range(folder, in_process, option, value):
    before = snapshot(folder)
    result = in_process(TRAIN, 't.txt', 'r', *SMALL, '--output-dir', 'results', '--{}={}'.format(option, value))
    assert_refused(result, f'train.py: --{option} is {value}')
    assert snapshot(folder) == before


@pytest.mark.parametrize('option, words', [
    (['--lrate', 'inf'], '--lrate is inf: expected a finite number above 0'),
    (['--bptt-maxdepth', 0], '--bptt-maxdepth is 0: expected a whole number, at least 1, or -1 for all'),
    (['--l1', '1e-300'], '--l1 is 1e-300, which float32 rounds to 0: expected a number that it can hold'),
    (['--epochs', 10 ** 20], '--epochs is a whole number of more than 18 digits: expected at most 1,000,000,000')])
def test_what_was_expected_of_a_large_number(folder, in_process, option, words):
    refuse_training(folder, in_process, words, options=option)


@pytest.mark.parametrize('name', ['', '-run'])
def test_run_name_that_no_command_could_have(refused, name):
    with refused(ValueError, f'the run name {name!r} ', 'at least one character', 'no - at its beginning'):
        Options(dict(input='t.txt', run=name)).settle()


def test_zero_in_a_process(folder):
    refuse_training(folder, run, ' is 0: expected', options=['--epochs', 0])


@pytest.mark.parametrize('option, value', [
    ('length', 0), ('length', -5), ('count', 0), ('count', -1), ('count', 10 ** 15)])
def test_number_out_of_range_for_sampling(folder, in_process, option, value):
    write_checkpoint('p.npz')
    before = snapshot(folder)
    result = in_process(PRODUCE, 'p.npz', 'out.txt', '--{}={}'.format(option, value))
    assert_refused(result, f'produce_text.py: --{option} is {value}')
    assert snapshot(folder) == before


@pytest.mark.parametrize('script, arguments, named', [
    (TRAIN, ['t.txt', 'r', '--epochs', 'many'], '--epochs'), (TRAIN, ['t.txt', 'r', '--lrate', 'x'], '--lrate'),
    (TRAIN, ['t.txt', 'r', '--batch-size', '2.5'], '--batch-size'), (TRAIN, ['t.txt', 'r', 'more'], 'more'),
    (PRODUCE, ['p.npz', '--method', 'best'], '--method')])
def test_argument_of_the_wrong_kind(folder, in_process, script, arguments, named):
    """The parser refuses it itself."""
    assert_changes_nothing(folder, in_process, script, *arguments, words=[named, '--help lists the options'])


@pytest.mark.parametrize('script, arguments, words', [
    (TRAIN, ['run1', 't.txt'], ['run1 is no file, but t.txt is one: ', 'train.py t.txt run1']),
    (TRAIN, ['p.npz'], ['p.npz is a checkpoint, not a text', '--resume p.npz', '--init p.npz']),
    (TRAIN, ['t.txt', 'p.npz'], ['p.npz is a checkpoint, not a text', '--init p.npz'])])
def test_names_in_the_wrong_order(folder, in_process, script, arguments, words):
    write_checkpoint('p.npz')
    assert_changes_nothing(folder, in_process, script, *arguments, words=words)


def test_options_may_stand_between_the_names(folder, in_process):
    write_checkpoint('p.npz')
    before = snapshot(folder)
    assert_refused(in_process(TRAIN, 't.txt', '--epochs', 0, 'r', '--output-dir', 'results'), '--epochs is 0')
    assert_refused(in_process(PRODUCE, '--count', 2, 'p.npz', '--length', 0, 'out.txt'), '--length is 0')
    assert snapshot(folder) == before


# ---------------------------------------------------------------- --resume

@pytest.mark.parametrize('option, value', [('--lrate', 0.5), ('--l1', 0.1), ('--num-units1', 6),
                                           ('--random-seed', 4), ('--valid-every', 7), ('--no-stateful', None),
                                           ('--small', None), ('--precision', 'bfloat16')])
def test_contradicting_option_is_refused(short_run, in_process, option, value):
    arguments = [option] + [value] * (value is not None)
    words = ' '.join(map(str, arguments))
    refused = in_process(TRAIN, '--resume', short_run.checkpoint, *arguments)
    assert_refused(refused, f'got {words}, but the run in {short_run.checkpoint} had ', '--epochs', '--save-every')
    assert (' had none;' in refused.stderr) == (value is None)


def test_contradicting_run_name_is_refused(short_run, in_process):
    assert_refused(in_process(TRAIN, short_run.folder / 't.txt', 'mine', '--resume', short_run.checkpoint),
                   f'got the run name mine, but the run in {short_run.checkpoint} had r;')


@pytest.mark.parametrize('option, value', [('--init', 'other.npz'), ('--output-dir', 'elsewhere')])
def test_option_that_makes_no_sense_for_a_resumed_run_is_refused(short_run, in_process, option, value, tmp_path):
    assert_refused(in_process(TRAIN, '--resume', short_run.checkpoint, option, tmp_path / value), option)


def test_options_that_may_change_or_are_the_same_are_taken(short_run, in_process, capfd):
    last = short_run.folder / 'r_t.txt_epoch5.npz'
    with pytest.raises(Compiling):
        in_process(TRAIN, '--resume', last, '--epochs', 91, '--save-every', 2, '--lrate', 0.03, '--encoding', 'U8')
    assert '; up to 91 epochs' in capfd.readouterr().out


def test_one_epoch_is_said_in_the_singular(folder, in_process, capfd):
    with pytest.raises(Compiling):
        in_process(TRAIN, 't.txt', 'r', '--output-dir', 'results', '--batch-size', 6, '--seq-length', 11, '--epochs', 1)
    assert 'up to 1 epoch; ' in capfd.readouterr().out


def test_many_large_checkpoints_are_announced(folder, in_process, capfd):
    """Of a list of names, 7,500 epochs of a step with a checkpoint every 80 by default."""
    (folder / 'names.txt').write_text('Anna\nBob\n' * 400)
    for words, announced in (([], False), (['--save-every', 10], True)):
        with pytest.raises(Compiling):
            in_process(TRAIN, 'names.txt', 'r', '--output-dir', 'results', *words)
        lines = [line for line in capfd.readouterr().out.splitlines() if 'checkpoints of' in line]
        assert bool(lines) == announced
    assert re.fullmatch(r'up to 750 checkpoints of 12\.\d MB, .* a larger --save-every .*', lines[0])


def test_patience_of_a_resumed_run_without_validation_is_refused(trained, in_process, tmp_path):
    checkpoint = tmp_path / 'r1_sentences.txt_epoch3.npz'
    arrays = load(trained.checkpoint)
    about = json.loads(str(arrays.pop('about')))
    about['text']['ratio_valid'] = 0.0
    np.savez(str(checkpoint), about=np.array(json.dumps(about)), **arrays)
    assert_refused(in_process(TRAIN, '--resume', checkpoint, '--patience', 3), '--patience is 3', '--ratio-valid 0')


# ---------------------------------------------------------------- options of a new run

@pytest.mark.parametrize('options, words', [
    (['--ratio-valid', 0, '--patience', 3], ['--patience is 3', '--ratio-valid 0']),
    (['--ratio-valid', 0, '--valid-every', 10], ['--valid-every is 10', '--ratio-valid 0']),
    (['--lrate-decay-epoch', 10], ['--lrate-decay-epoch is 10', '--lrate-decay 1']),
    (['--no-stateful', '--reset', 0.1], ['--reset is 0.1', '--no-stateful']),
    (['--original', '--reset', 0.1], ['--reset is 0.1', '--original']),
    (['--original', '--small'], ['--original and --small', 'only one']),
    (['--initial', 'chrono', '--init', 'p.npz'], ['--initial is chrono', '--init p.npz']),
    (['--init', ''], ['cannot read'])], ids=repr)
def test_option_that_would_be_ignored_is_refused(folder, in_process, options, words):
    write_checkpoint('p.npz')
    assert_changes_nothing(folder, in_process, TRAIN, 't.txt', 'r', '--output-dir', 'results', *options, words=words)


@pytest.mark.parametrize('options', [
    ['--ratio-valid', 0, '--patience', 0], ['--valid', 't.txt', '--patience', 3, '--valid-every', 3],
    ['--original', '--lrate-decay-epoch', 5], ['--original', '--reset', 0]], ids=repr)
def test_option_that_is_used_is_accepted(folder, in_process, options):
    with pytest.raises(Compiling):
        in_process(TRAIN, 't.txt', 'r', *STATEFUL, '--output-dir', 'results', *options)


def test_typed_options_win_over_every_recipe():
    for more in ([], ['--original'], ['--small']):
        o = options('--dropout', 0.1, '--epochs', 3, *more)
        assert (o.dropout, o.epochs) == (0.1, 3)
    assert options('--original').dropconnect == 0 and options().dropconnect is None


def test_small_run_has_a_text_of_its_own(folder, in_process, capfd):
    own = f'{ROOT / "text_input" / "coriolanus.txt"}: 99,843 characters'
    for words, text in (([], own), (['t.txt', 'r', '--batch-size', 6, '--seq-length', 11], 't.txt: 2,607 characters')):
        with pytest.raises(Compiling):
            in_process(TRAIN, *words, '--small', '--output-dir', 'results')
        out = capfd.readouterr().out
        assert out.startswith(text) and 'gains from' not in out
        assert '\n2 layers of 64 and 64 units, ' in out and 'up to 40 epochs' in out


def test_summary_of_a_run_that_nothing_ends_early(folder, in_process, capfd):
    with pytest.raises(Compiling):
        in_process(TRAIN, 't.txt', 'r', *SMALL, '--ratio-valid', 0, '--epochs', 7, '--output-dir', 'results')
    assert '; 7 epochs; random seed' in capfd.readouterr().out


def test_default_that_the_help_has_in_words_is_none_until_the_text_is_known():
    assert {name for name, default in table.DEFAULTS.items() if default is None} > {
        'num_units1', 'num_units2', 'epochs', 'patience', 'save_every'}
    assert vars(train.build_parser().parse_args([])) == {}


def test_every_learning_parameter_is_an_option_that_the_model_gets():
    model, o = CharLSTM(random_seed=1), settled('--lrate', 0.25, '--dropout', 0.5)
    model.model_setup(num_units1=3, num_units2=2, char_dim=5, **o.learning())
    assert model.lp == o.learning() and (model.lp['lrate'], model.lp['dropout'], model.lp['ar']) == (0.25, 0.5, 2)


# ---------------------------------------------------------------- --help

TRAIN_DEFAULTS = {
    'num-units1': '256, or those of --init', 'num-units2': 'those of layer 1', 'batch-size': 50, 'seq-length': 50,
    'ratio-valid': 0.3, 'lrate': '0.012 for 256 units, half of that for twice as many in the larger layer',
    'drate': 0.99, 'anneal': 0.5, 'step-clip': 2, 'smoothing': 0.001, 'ar': 2, 'tar': 2, 'eps': 1e-8,
    'bptt-maxdepth': 50, 'l1': 0, 'l2': 0, 'epochs': '40, and more for a short text',
    'patience': '6, and more for a short text', 'lrate-decay': 1, 'lrate-decay-epoch': 10,
    'save-every': '10, and more in a run of over 1,000 epochs', 'random-seed': None,
    'encoding': 'utf-8', 'overwrite': None, 'output-dir': 'training_results', 'input': 'prideandprejudice.txt',
    'run': 'run0'}
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
