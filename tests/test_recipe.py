"""The default recipe of train.py, and the recipe of 2016."""
import math
from collections import Counter

import numpy as np
import pytest

from charlstm import CharLSTM
from engine.data.batches import Text
from engine.parallel import SingleProcess
from engine.run import recipe
from learner import Learner, learn, options, settled
from scripts import B, FAST, N_TRAIN, TEXT, TRAIN, load, run, succeeded
from test_kernel import any_number_of_threads, needs_openmp


@pytest.mark.parametrize('characters, parameters, expected', [
    (480000, 884555, 0.25), (480000, 3400000, 0.50), (2556000, 884555, 0.10), (1000000, 250000, 0.05),
    (1000000, 870000, 0.15), (700000, 910000, 0.25), (40000, 884555, 0.6), (10 ** 9, 10 ** 6, 0.02)])
def test_dropout_depends_on_characters_and_parameters(characters, parameters, expected):
    assert recipe.dropout(characters, parameters) == pytest.approx(expected, abs=0.011)


UNITS = '--units', 9, 7


@pytest.mark.parametrize('words, factor', [
    (['--epochs', 80], 1), (['--small'], 1), (['--epochs', 8], 0.2 ** 0.25), (['--init', 'p.npz'], 2 / 3),
    (['--init', 'p.npz', '--epochs', 8], 2 / 3)])
def test_dropout_is_smaller_in_fewer_epochs_than_40_or_with_init(words, factor):
    plain, other = options(*UNITS), options(*UNITS, *words)
    for o in (plain, other):
        recipe.complete(o, 400, 884555)
    assert 0.02 < plain.dropout < 0.5 and other.dropout == pytest.approx(factor * plain.dropout, abs=0.01)
    assert other.dropconnect == pytest.approx(2 / 3 * other.dropout, abs=0.01)


@pytest.mark.parametrize('batches, words, expected', [
    (192, [], (40, 6, 10)), (1, [], (7500, 1150, 80)), (17, [], (442, 68, 10)), (10 ** 5, [], (40, 6, 10)),
    (17, ['--init', 'p.npz'], (442, 23, 10))])
def test_short_text_is_read_more_often(batches, words, expected):
    """It is saved less often if it has more than 1,000 epochs. With --init, patience ends sooner."""
    o = options(*UNITS, *words)
    recipe.complete(o, batches, 33)
    assert (o.epochs, o.patience, o.save_every) == expected


@pytest.mark.parametrize('units, expected', [((256, 256), 0.012), ((512, 512), 0.006), ((300, 1024), 0.003),
                                             ((128, 64), 0.024), ((7, 5), 0.024)])
def test_large_layers_learn_at_a_smaller_rate(units, expected):
    assert settled('--num-units1', units[0], '--num-units2', units[1]).lrate == expected
    o = settled('--num-units1', units[0], '--lrate', 0.5, '--dropout', 0.45)
    assert (o.lrate, o.dropout, o.dropconnect) == (0.5, 0.45, 0.3)


@pytest.mark.parametrize('valid, block', [('a new — sentence, of ñ. ' * 9, 900_000), (None, 101)])
def test_costs_of_simple_models(text_file, monkeypatch, capsys, valid, block):
    """The validation text has characters that the training text lacks. They are counted in blocks."""
    monkeypatch.setattr(recipe, 'BLOCK', block)
    part, path = valid or TEXT, valid and text_file(valid, name='valid.txt')
    text = Text(text_file(TEXT), 0.0, 6, 11, 'utf-8', True, SingleProcess(), path)
    V, counts = len({*TEXT, *part}), Counter(TEXT)
    costs = [-math.log(1 / V), sum(-math.log((counts[ch] + 1) / (len(TEXT) + V)) for ch in part) / len(part)]
    assert list(recipe.compare(text).values()) == pytest.approx(costs, rel=1e-9)
    assert capsys.readouterr().out == (
        f'for comparison, in nats a character of the {"validation" if valid else "training"} text, '
        'less is better: {:.2f} by guessing, {:.2f} by letter frequencies\n'.format(*costs))


@needs_openmp
def test_original_is_a_plain_loop_over_the_class(with_text, interpreted):
    """With the class's defaults and the rates of 2016, the parameters are the same to the last bit."""
    sizes = '--num-units1 5 --num-units2 7 --batch-size 20 --seq-length 11 --random-seed 3'.split()
    words = [*sizes, '--original', '--epochs', 12, '--output-dir', with_text]
    succeeded(run(TRAIN, with_text / 't.txt', 'r', *words, flags=FAST))
    stored = load(with_text / 'r_t.txt_epoch12.npz')

    model = CharLSTM(random_seed=3)
    model.prepare_input(with_text / 't.txt', batch_size=20, seq_length=11, verbose=False)
    model.model_setup(num_units1=5, num_units2=7)
    model.compile('train_rmsprop')
    with any_number_of_threads() as set_threads:
        set_threads(1)                                     # as in all processes that tests start
        for epoch in range(1, 13):
            model.dyn_lrate.set_value(2e-3 * 0.97 ** max(0, epoch - 9))
            for x, y in zip(model.X['train'], model.Y['train']):
                model.theano_train_rmsprop(x, y)
    for name, p in model.p.items():
        assert stored[name].tobytes() == p.get_value().tobytes(), name

    # One row per step in the format of 2016, each with the cost of a validation batch with the same parameters.
    rows, n = [line.split(' ') for line in (with_text / 'r_t.txt.out').read_text().splitlines()], N_TRAIN * B // 20
    assert [row[0] for row in rows] == [str(epoch + i / n) for epoch in range(12) for i in range(n)]
    assert all(len(row) == 11 and row[1:] == [str(np.float32(number)) for number in row[1:]] for row in rows)
    assert all(len({row[k] for row in rows}) > 0.9 * len(rows) for k in range(1, 11))
    assert {path.name for path in with_text.glob('*_epoch*.npz')} == {f'r_t.txt_epoch{n}.npz' for n in (10, 12)}


@pytest.mark.parametrize('batches, cost', [(0, '-1'), (1, '2.5')])
def test_original_logs_as_in_2016_also_without_validation(tmp_path, monkeypatch, batches, cost):
    """A resumed run does the same."""
    monkeypatch.setattr(Learner, 'n_batches', {'train': 2, 'valid': batches})
    monkeypatch.setattr(Learner, 'X', {part: list(x) * 2 for part, x in Learner.X.items()})
    monkeypatch.setattr(Learner, 'Y', Learner.X)
    for epochs, resume in ((1, None), (2, str(tmp_path / 'r_t.txt_epoch1.npz'))):
        learn(tmp_path, lambda rates: float('nan'), '--original', '--epochs', epochs, resume=resume)
    assert (tmp_path / 'r_t.txt.out').read_text() == ''.join(
        f'{epoch} 2.0 {cost}' + 8 * ' 0.5' + '\n' for epoch in (0.0, 0.5, 1.0, 1.5))
