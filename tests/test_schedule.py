"""What train.py's loop does with its costs: rates, the best epoch, patience, and costs that explode."""
import re

import numpy as np
import pytest

import train
from engine import terminal
from engine.schedule import Schedule
from learner import Learner, by_number, epochs_of, learn, progress_in, rising
from scripts import FAST, STATEFUL, TEXT, TRAIN, assert_refused, run


# ---------------------------------------------------------------- the learning rate

def test_plateau_divides_the_rate_and_returns_to_the_best(tmp_path):
    score = by_number(5, 4, 4.5, 4.0, 3, 3.5, 3.4, 3.3, 3.2)
    model, now = learn(tmp_path, score, '--plateau', 2, '--plateau-factor', 4, '--lrate', 8, '--epochs', 9)
    assert epochs_of(tmp_path)[:, 3].tolist() == [8, 8, 8, 8, 2, 2, 2, 0.5, 0.5]
    assert now.rate == 0.125 and (now.best_cost, now.best_epoch, now.stale) == (3, 5, 4)
    # The best had learned at 8, 8, 2; what came after it was twice forgotten.
    assert model.rates == [8, 8, 2]


def test_decay_without_plateau(tmp_path):
    model, _ = learn(tmp_path, by_number(5, 6, 7, 8), '--lrate', 8, '--lrate-decay', 0.5,
                       '--lrate-decay-epoch', 3, '--epochs', 4)
    assert epochs_of(tmp_path)[:, 3].tolist() == model.rates
    assert model.rates[0] == 8 and np.allclose(np.divide(model.rates[2:], model.rates[1:-1]), 0.5)


def test_rate_rises_while_warming_up(tmp_path):
    """Over the steps of the whole run, of which an epoch here is one."""
    model, _ = learn(tmp_path, by_number(*range(9, 2, -1)), '--lrate', 8, '--warmup', 4, '--epochs', 7)
    assert model.rates == [2, 4, 6, 8, 8, 8, 8]


@pytest.mark.parametrize('stop_after', [1, 2, 4, 5])
def test_resumed_where_the_plateau_went_back_to_the_best(tmp_path, stop_after):
    (tmp_path / 'straight').mkdir()
    options = '--plateau 1 --lrate 8 --save-every 1'.split()
    straight, _ = learn(tmp_path / 'straight', rising, *options, '--epochs', 7)
    learn(tmp_path, rising, *options, '--epochs', stop_after)
    again, _ = learn(tmp_path, rising, *options, '--epochs', 7,
                       resume=str(tmp_path / 'r_t.txt_epoch{}.npz'.format(stop_after)))
    assert again.rates == straight.rates == [8, 4, 2, 1]
    np.testing.assert_array_equal(epochs_of(tmp_path)[:, :4], epochs_of(tmp_path / 'straight')[:, :4])


def test_what_goes_on_after_the_end(tmp_path):
    """The options that more() names let a finished run go on, and one that is not finished needs none."""
    options = {**train.DEFAULTS, 'epochs': 5, 'patience': 3, 'save_every': 10}
    for epoch, stale in ((5, 0), (4, 3), (5, 3), (4, 2)):
        now = Schedule({**options}, epoch=epoch, stale=stale)
        words = now.more()
        assert bool(words) == now.finished
        now.options.update(zip([word[2:] for word in words[::2]], map(int, words[1::2])))
        assert not now.finished


@pytest.mark.parametrize('batches, epochs', [(200, [1, 2, 3, 4]), (100, [1, 2, 3, 4]), (40, [1, 2, 4, 6]),
                                             (30, [1, 3, 6, 9])])
def test_samples_come_after_the_first_epoch_and_then_every_hundred_steps_at_most(batches, epochs):
    options = {**train.DEFAULTS, 'epochs': 99, 'patience': 0, 'save_every': 50}
    shown = [n for n in range(1, 10) if Schedule.resumed(options, dict(epoch=n), batches).shows]
    assert shown[:4] == epochs


# ---------------------------------------------------------------- the end

def test_patience_stops(tmp_path, capsys):
    model, now = learn(tmp_path, by_number(5, 4, 6, 3, 7, 3, 3.5), '--patience', 3, '--epochs', 99)
    assert epochs_of(tmp_path)[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert (tmp_path / 'r_t.txt_epoch7.npz').exists()
    assert re.search(r'3 epochs.*3\.0.*epoch 4\b', capsys.readouterr().out)
    assert progress_in(tmp_path, '_best.npz')['epoch'] == 4


def test_clock_that_stands_still(tmp_path, monkeypatch):
    """As between two looks at a coarse one, or where an interrupted epoch has no step left."""
    monkeypatch.setattr(terminal.time, 'time', lambda: 1.0)
    learn(tmp_path, by_number(5, 4), '--epochs', 2)
    assert epochs_of(tmp_path)[:, 2].tolist() == [5, 4]


@pytest.mark.parametrize('cost', [float('nan'), float('inf'), 6.2])
def test_explosion(tmp_path, monkeypatch, cost):
    """Three times the running mean, now 2.039, or no number: stopped, the last checkpoint named, nothing saved."""
    given = iter([2.0, 5.9, 2.0, cost])
    monkeypatch.setattr(Learner, 'theano_train_rmsprop', lambda self, x, y: [next(given), None] + [0.5] * 8)
    with pytest.raises(ValueError) as caught:
        learn(tmp_path, by_number(5, 4, 3, 2), '--epochs', 4, '--save-every', 2)
    for word in ('r_t.txt_best.npz', '--grad-clip', '--lrate', 'epoch 4'):
        assert word in str(caught.value)
    assert '\n' not in str(caught.value) and len(epochs_of(tmp_path)) == 3
    assert progress_in(tmp_path, '_best.npz')['epoch'] == 3


def test_explosion_in_a_process(tmp_path):
    (tmp_path / 't.txt').write_text(TEXT, encoding='utf-8')
    result = run(TRAIN, tmp_path / 't.txt', 'r', *STATEFUL, '--output-dir', tmp_path, '--lrate', 1e20, flags=FAST)
    assert_refused(result, 'epoch 1', 'no checkpoint was written yet', '--grad-clip', '--lrate')
    assert not list(tmp_path.glob('*.npz'))
