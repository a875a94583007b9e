"""How costs control train.py's loop: rates, the best epoch, patience, and costs that are not finite."""
import numpy as np
import pytest

from engine.parallel import SingleProcess
from engine.run.schedule import Schedule
from learner import Learner, by_number, epochs_of, learn, progress_of, settled
from scripts import log_rows

NAN = float('nan')


@pytest.mark.parametrize('words, rates', [
    ('--lrate-decay 0.5 --lrate-decay-epoch 3 --epochs 4', [8, 8, 4, 2]),
    ('--lrate-decay 0.5 --epochs 3', [8, 8, 8]), ('--lrate-decay-epoch 2 --epochs 3', [8, 8, 8]),      # no decay
    ('--warmup 4 --epochs 12', [2, 4, 6, *9 * [8]]),                           # in steps; an epoch has one
    ('--warmup 100 --epochs 7', [4, *6 * [8]])])                               # at most a third of the run
def test_rates(tmp_path, words, rates):
    model, _ = learn(tmp_path, by_number(*range(15, 2, -1)), '--lrate', 8, *words.split())
    assert epochs_of(tmp_path)[:, 3].tolist() == model.rates == rates


def test_rate_falls_at_the_end(tmp_path):
    """It falls linearly to a twentieth over the last two fifths of the run. With more epochs, it falls later."""
    words = '--lrate 8 --anneal 0.4 --save-every 1 --patience 0'.split()
    model, _ = learn(tmp_path, lambda rates: 3, *words, '--epochs', 10)
    np.testing.assert_allclose(model.rates, np.interp(range(10), [6, 10], [8, 0.4]))
    assert epochs_of(tmp_path)[:, 3] == pytest.approx(model.rates, rel=1e-5)
    model, _ = resumed(tmp_path, lambda rates: 3, *words, '--epochs', 20, epoch=10)
    np.testing.assert_allclose(model.rates[10:], np.interp(range(10, 20), [12, 20], [8, 0.4]))


def resumed(folder, score, *words, epoch):
    """Resume learn from the checkpoint of an epoch, and return its results."""
    return learn(folder, score, *words, resume=str(folder / f'r_t.txt_epoch{epoch}.npz'))


def test_resumed_with_a_smaller_rate(tmp_path):
    words = '--lrate-decay 0.5 --lrate-decay-epoch 2 --save-every 1'.split()
    learn(tmp_path, by_number(5, 4), *words, '--lrate', 8, '--epochs', 2)
    resumed(tmp_path, by_number(3, 2), *words, '--lrate', 2, '--epochs', 4, epoch=2)
    assert epochs_of(tmp_path)[:, 3].tolist() == [8, 4, 0.5, 0.25]


@pytest.mark.parametrize('batches, epochs', [(200, [1, 2, 3, 4]), (40, [1, 2, 4, 6]), (30, [1, 3, 6, 9])])
def test_samples_come_after_the_first_epoch_and_then_every_hundred_steps_at_most(batches, epochs):
    assert [n for n in range(1, 10) if Schedule(settled(), batches, epoch=n).should_report][:4] == epochs


def test_finished_run_is_resumed_with_larger_limits(tmp_path):
    _, now = learn(tmp_path, by_number(5, 4, 4, 4), '--epochs', 4, '--patience', 2)        # both end together
    assert now.out_of_patience and now.larger_limits() == ['--epochs', '8', '--patience', '4']
    words = '--anneal', 0, '--epochs', 5, '--patience', 3
    for epoch, stale in ((5, 0), (4, 3), (5, 3), (20, 0)):                     # 20: resumed with fewer epochs
        more = Schedule(settled(*words), epoch=epoch, stale=stale).larger_limits()
        assert not Schedule(settled(*words, *more), epoch=epoch, stale=stale).finished


def test_patience_stops(tmp_path, capsys):
    learn(tmp_path, by_number(5, 4, 6, 3, 7, 3, 3.5), '--patience', 3, '--epochs', 99)
    assert epochs_of(tmp_path)[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert (tmp_path / 'r_t.txt_epoch7.npz').exists() and 'in 3 epochs' in capsys.readouterr().out
    assert progress_of(tmp_path / 'r_t.txt_best.npz')['epoch'] == 4


FALLING = '--lrate 8 --anneal 0.4 --save-every 1'.split()


def early(*more):
    """Return options and costs of a run with FALLING in which two epochs without improvement precede the fall."""
    return [*FALLING, '--patience', 2, '--epochs', 30], [9, 8, 7, 6, 6, 7, *more]


def test_rate_falls_early_where_patience_ends(tmp_path, capsys):
    """The rate falls as in a shorter run whose fall begins at this epoch. Then patience starts over.

    Resumed with the epochs of the printed command, the rate falls again as in any run of that many epochs.
    """
    words, costs = early(5, 5, 4, 4)
    model, now = learn(tmp_path, by_number(*costs), *words)
    np.testing.assert_allclose(model.rates, np.interp(range(10), [6, 10], [8, 0.4]))
    np.testing.assert_allclose(epochs_of(tmp_path)[:, 3], model.rates, rtol=1e-5)
    assert (now.best_cost, now.best_epoch) == (4, 9) and now.finished and not now.out_of_patience
    out = capsys.readouterr().out
    assert 'falls early, and the run ends by epoch 10\n' in out and 'epoch 1/30:' in out and 'epoch 10/10:' in out
    assert now.larger_limits() == ['--epochs', '60']
    again, _ = resumed(tmp_path, lambda rates: 4 - len(rates) / 99, *words, '--epochs', 60, epoch=10)
    np.testing.assert_allclose(again.rates[10:], np.interp(range(10, 60), [36, 60], [8, 0.4]))
    words, costs = early(6, 6)
    model, now = learn(tmp_path, by_number(*costs), *words, '--overwrite')
    assert len(model.rates) == 8 and now.out_of_patience


@pytest.mark.parametrize('epoch, patience', [(5, 2), (6, 2), (7, 2), (9, 2), (6, 3)])
def test_run_whose_rate_falls_early_is_resumed(tmp_path, epoch, patience):
    """The run was killed in the next epoch, in one case with more patience until then."""
    words, costs = early(5, 5, 4, 4)
    straight, _ = learn(tmp_path, by_number(*costs), *words)
    with pytest.raises(IndexError):
        learn(tmp_path, by_number(*costs[:epoch]), *words, '--patience', patience, '--overwrite')
    again, now = resumed(tmp_path, by_number(*costs[epoch:]), *words, epoch=epoch)
    assert again.rates == straight.rates and now.finished and again.bar.n == again.bar.total


def costing(monkeypatch, cost):
    """Let a Learner's steps cost cost(n, rate), after n steps."""
    def step(self, x, y):
        self.rates.append(self.dyn_lrate)
        return [cost(len(self.rates), self.dyn_lrate), None] + [0.5] * 8
    monkeypatch.setattr(Learner, 'theano_train_rmsprop', step)


def falling(rates):
    """Return a validation cost that each epoch lowers."""
    return 9 - 0.01 * len(rates)


def test_strange_passages_of_the_validation_text_stop_nothing(tmp_path, monkeypatch):
    costs = [5.0, float('inf'), NAN, 900.0, 3.0]
    monkeypatch.setattr(Learner, 'validate_batch', lambda self: float('inf'))
    model, now = learn(tmp_path, by_number(*costs), '--epochs', 5, '--lrate', 8, '--save-every', 1)
    assert (now.best_cost, now.best_epoch, model.rates) == (3, 5, [8] * 5)
    np.testing.assert_array_equal(epochs_of(tmp_path)[:, 2], costs)
    again, _ = resumed(tmp_path, by_number(2.0), '--epochs', 6, '--lrate', 8, epoch=5)
    assert len(again.rates) == 6


@pytest.mark.parametrize('bad', [NAN, float('inf'), 2.5])                      # guessing costs log 10 = 2.3
def test_cost_that_is_too_high_goes_back_at_half_the_rate(tmp_path, monkeypatch, bad):
    """The run goes back to its last checkpoint."""
    costing(monkeypatch, lambda n, rate: bad if rate > {3: 4, 5: 1}.get(n, 9) else 2.0)
    model, now = learn(tmp_path, falling, '--epochs', 7, '--lrate', 8, '--save-every', 3)
    assert model.rates == [8] * 2 + [4] * 2 + [1] * 3 and now.rate_factor == 1 / 8


@pytest.mark.parametrize('costs', [[99, 2.35, 2.36, 2.35], [99, 50, 9, 3]], ids=['random letters', 'falling'])
def test_costs_above_guessing_that_are_no_divergence(tmp_path, monkeypatch, costs):
    costing(monkeypatch, lambda n, rate: costs[n - 1])
    model, now = learn(tmp_path, falling, '--epochs', 4, '--lrate', 8)
    assert model.rates == 4 * [8] and now.finished


def test_parameters_that_are_not_finite_go_back(tmp_path, monkeypatch):
    """They are also found if no cost shows them, after the last step of an epoch."""
    monkeypatch.setattr(Learner, 'finite', lambda self: self.rates[-1] < 8 or len(self.rates) < 3)
    model, _ = learn(tmp_path, falling, '--epochs', 4, '--lrate', 8)
    assert model.rates == [8, 8, 4, 4] and model.bar.n == model.bar.total


def test_run_that_goes_back_behind_an_early_fall_has_all_epochs_again(tmp_path, monkeypatch, capsys):
    costing(monkeypatch, lambda n, rate: NAN if n == 4 and rate > 4 else 2.0)
    model, now = learn(tmp_path, lambda rates: [3, 4, 5][len(rates) - 1] if rates[-1] == 8 else falling(rates) - 7,
                       '--lrate', 8, '--epochs', 20, '--patience', 2, '--anneal', 0.5)
    assert 'the run ends by epoch 6\n' in capsys.readouterr().out and now.epoch == 20
    assert (model.bar.n, model.bar.total, model.bar.desc[:11]) == (20, 20, 'epoch 20/20')


@pytest.mark.parametrize('at, words, said', [
    (4, [], ['nan in epoch 4', '--resume last', 'lower --lrate than 8']),
    (1, [], ['nan in epoch 1', 'lower --lrate than 8, or with --no-stateful']),
    (4, ['--original'], ['nan in epoch 4', 'lower --lrate than 0.002'])],
    ids=['in vain', 'no checkpoint', 'original'])
def test_run_that_cannot_go_back_ends_with_one_line(tmp_path, monkeypatch, refused, at, words, said):
    costing(monkeypatch, lambda n, rate: NAN if n == at else 2.0)
    with refused(ValueError, *said):
        learn(tmp_path, falling, '--epochs', 5, *words or ['--lrate', 8], '--save-every', 2)


@pytest.mark.parametrize('stop_after', [1, 3, 4, 5, 8])
def test_resumed_where_the_run_went_back(tmp_path, monkeypatch, stop_after):
    """If it is interrupted before, while or after it goes back, and is resumed, the run equals the straight one."""
    def cost(n, rate):
        return NAN if n == 5 and rate > 2 else 2.0
    (tmp_path / 'straight').mkdir()
    options = ['--epochs', 7, '--lrate', 8, '--save-every', 4]
    monkeypatch.setattr(Learner, 'n_batches', {'train': 2, 'valid': 1})
    monkeypatch.setattr(Learner, 'X', {part: list(x) * 2 for part, x in Learner.X.items()})
    monkeypatch.setattr(Learner, 'Y', Learner.X)
    costing(monkeypatch, cost)
    straight, _ = learn(tmp_path / 'straight', falling, *options)
    assert straight.rates == [8] * 4 + [2] * 10
    group, steps = SingleProcess(), []

    def stopping(n, rate):
        steps.append(n)
        group.stop_requested = len(steps) >= stop_after
        return cost(n, rate)
    costing(monkeypatch, stopping)
    learn(tmp_path, falling, *options, group=group)
    costing(monkeypatch, cost)
    again, _ = learn(tmp_path, falling, *options, resume=str(tmp_path / 'r_t.txt_interrupted.npz'))
    assert again.rates == straight.rates and not (tmp_path / 'r_t.txt_interrupted.npz').exists()
    for ending in ('.out', '_epochs.out'):
        rows = [log_rows(folder / ('r_t.txt' + ending))[:, :4] for folder in (tmp_path, tmp_path / 'straight')]
        np.testing.assert_array_equal(*rows)


