"""What train.py learns with where nothing else is asked for, and the recipe of 2016."""
import re
from types import SimpleNamespace

import numpy as np
import pytest

import train
from engine.run import recipe
from engine.run.options import join
from numpy_model import NAMES
from scripts import FAST, N_TRAIN, PRODUCE, SMALL, TEXT, TRAIN, load, log_rows, run, succeeded


@pytest.mark.parametrize('characters, parameters, expected', [
    (480000, 884555, 0.29), (480000, 3400000, 0.48), (3500000, 884555, 0), (40000, 884555, 0.6), (10 ** 9, 10 ** 6, 0)])
def test_less_is_left_out_where_there_is_more_to_learn_from(characters, parameters, expected):
    assert recipe.dropout(characters, parameters) == pytest.approx(expected, abs=0.011)


@pytest.mark.parametrize('batches, expected', [(192, (40, 6)), (1, (7500, 1150)), (17, (442, 68)), (10 ** 5, (40, 6))])
def test_short_text_is_read_more_often(batches, expected):
    o = SimpleNamespace(**dict(train.DEFAULTS, num_units1=5, num_units2=7, batch_size=50, seq_length=50, init='x.npz'))
    recipe.complete(o, batches, 33)
    assert (o.epochs, o.patience, o.save_every) == (*expected, 10)


def joined(*given):
    return join(train.DEFAULTS, None, vars(train.build_parser().parse_args(list(given))))


def test_what_is_given_wins_over_every_recipe():
    for more in ([], ['--original']):
        o = joined('t.txt', '--dropout', '0.1', '--epochs', '3', *more)
        assert (o['dropout'], o['epochs']) == (0.1, 3)
    assert joined('t.txt', '--original')['dropconnect'] == 0 and joined('t.txt')['dropconnect'] is None


def test_original_is_a_plain_loop_over_the_class(tmp_path):
    """With the class's defaults, to the last bit, at the rates of 2016."""
    (tmp_path / 't.txt').write_text(TEXT, encoding='utf-8')
    sizes = [option for option in SMALL if option != '--no-stateful']
    options = [*sizes, '--original', '--epochs', 12, '--output-dir', tmp_path]
    succeeded(run(TRAIN, tmp_path / 't.txt', 'r', *options, flags=FAST))
    stored = load(tmp_path / 'r_t.txt_epoch12.npz')

    code = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from charlstm import CharLSTM
model = CharLSTM(random_seed=3)
model.prepare_input(sys.argv[2], batch_size=6, seq_length=11, verbose=False)
model.model_setup(num_units1=5, num_units2=7)
for epoch in range(1, 13):
    model.dyn_lrate.set_value(2e-3 * 0.97 ** max(0, epoch - 9))
    for x, y in zip(model.X['train'], model.Y['train']):
        model.theano_train_rmsprop(x, y)
np.savez(sys.argv[3], **{name: p.get_value() for name, p in model.p.items()})
"""
    succeeded(run('-c', code, TRAIN.parent, tmp_path / 't.txt', tmp_path / 'plain.npz', flags=FAST))
    plain = load(tmp_path / 'plain.npz')
    for name in NAMES:
        assert stored[name].tobytes() == plain[name].tobytes(), name

    # A row a step as the program of 2016 wrote it, with the cost of another validation batch, of the same parameters.
    rows = log_rows(tmp_path / 'r_t.txt.out')
    np.testing.assert_allclose(rows[:, 0], [n + i / N_TRAIN for n in range(12) for i in range(N_TRAIN)], rtol=1e-5)
    assert rows[0, 0] == 0 and len(set(rows[:, 2])) > 0.9 * len(rows)
    assert sorted(path.name for path in tmp_path.glob('*_epoch*.npz')) == ['r_t.txt_epoch10.npz', 'r_t.txt_epoch12.npz']


def test_original_without_validation(tmp_path):
    (tmp_path / 't.txt').write_text(TEXT, encoding='utf-8')
    sizes = [option for option in SMALL if option != '--no-stateful']
    succeeded(run(TRAIN, tmp_path / 't.txt', 'r', *sizes, '--original', '--epochs', 2, '--ratio-valid', 0,
                  '--output-dir', tmp_path, flags=FAST))
    rows = log_rows(tmp_path / 'r_t.txt.out')
    assert (rows[:, 2] == -1).all() and rows[0, 0] == 0 and rows[-1, 0] < 2


def test_short_text_is_saved_every_ten_epochs(tmp_path):
    """Of an epoch of 2 steps. It says no more of that than of a longer one."""
    (tmp_path / 't.txt').write_text(TEXT[:200], encoding='utf-8')
    out = succeeded(run(TRAIN, tmp_path / 't.txt', 'r', *SMALL, '--epochs', 60, '--patience', 0, '--output-dir',
                        tmp_path, flags=FAST))
    saved = sorted(path.name for path in tmp_path.glob('*_epoch*.npz'))
    assert saved == [f'r_t.txt_epoch{n}0.npz' for n in range(1, 7)]
    assert re.findall('^epoch ([0-9]+)/', out, re.MULTILINE) == ['1', '50', '60']


def test_info_says_what_was_chosen_and_a_run_is_resumed_with_it(tmp_path):
    (tmp_path / 't.txt').write_text(TEXT, encoding='utf-8')
    sizes = [option for option in SMALL if option != '--no-stateful']
    succeeded(run(TRAIN, tmp_path / 't.txt', 'r', *sizes, '--epochs', 1, '--output-dir', tmp_path, flags=FAST))
    said = succeeded(run(PRODUCE, tmp_path / 'r_t.txt_epoch1.npz', '--info'))
    options = re.search('^options: (.*)', said, re.MULTILINE).group(1)
    assert {name.split(' ')[0] for name in options.split(', ')} == {
        name.replace('_', '-') for name in train.DEFAULTS} - {'resume', 'overwrite', 'init', 'output-dir'}
    assert re.search(r'dropout 0\.\d+, dropconnect 0\.\d+, .*warmup 100, .*patience \d+', options)
    again = succeeded(run(TRAIN, '--resume', tmp_path / 'r_t.txt_epoch1.npz', '--epochs', 2, flags=FAST))
    assert 'epoch 2/2' in again and np.isfinite(load(tmp_path / 'r_t.txt_epoch2.npz')['raw_W1']).all()
