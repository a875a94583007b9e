"""What dropout keeps, and resets of rows: the same in any process, and with the right probability."""
from types import SimpleNamespace

import numpy as np
import pytest

import charlstm
from charlstm import CharLSTM
from engine.backend.theano_setup import theano
from engine.methods import step as steps
from engine.methods.step import begins_anew, kept_units, kept_weights


def test_a_row_keeps_the_same_units_in_any_process():
    whole = kept_units(np.random.default_rng(3), 0.3, slice(0, 11), 5, (7, 4))
    assert [kept.shape for kept in whole] == [(5, 11, 7), (5, 11, 4)]
    for rows in (slice(0, 4), slice(4, 11), slice(10, 11)):
        random = np.random.default_rng(3)
        for kept, all_rows in zip(kept_units(random, 0.3, rows, 5, (7, 4)), whole):
            np.testing.assert_array_equal(kept, all_rows[:, rows])
        left = random.integers(2 ** 63)
    random = np.random.default_rng(3)
    begins_anew(random, 0.3, slice(0, 2))
    assert random.integers(2 ** 63) == left          # the generator advances equally, whatever is drawn


def test_rows_begin_anew_with_the_right_probability():
    drawn = np.stack([begins_anew(np.random.default_rng(seed), 0.2, slice(0, 301)) for seed in range(200)])
    for share in (drawn.mean(), drawn[:, 0].mean()):
        assert abs(share - 0.2) < 5 * np.sqrt(0.2 * 0.8 / (drawn.size if share == drawn.mean() else 200))
    part = begins_anew(np.random.default_rng(4), 0.2, slice(100, 301))
    np.testing.assert_array_equal(part, drawn[4, 100:])


@pytest.mark.parametrize('share', [0.3, 0.9999])
def test_masks_have_the_mean_1(float64, interpreted, monkeypatch, share):
    """This is their mean over all 2^16 numbers that may be drawn."""
    objective, masks, model = charlstm.objective, [], CharLSTM()
    monkeypatch.setattr(charlstm, 'objective', lambda *inputs: (
        masks.extend(inputs[4] + inputs[5]) or objective(*inputs)))
    model.model_setup(char_dim=5, num_units1=3, num_units2=2, dropout=share, dropconnect=share)
    model.compile('train_sgd')
    numbers = np.arange(2 ** 16, dtype=np.uint16)
    monkeypatch.setattr(steps, 'row_numbers', lambda *arguments: numbers.view(np.uint64)[None])
    random = SimpleNamespace(integers=lambda *arguments, **settings: numbers.reshape(4, 2 ** 7, 2 ** 7))
    units = kept_units(None, share, slice(0, 1), 2 ** 9, [2 ** 7])
    weights = kept_weights(random, share, [(4, 2 ** 7, 2 ** 7)])
    for mask, kept in zip(masks, units * 2 + weights * 2, strict=True):
        drawn, = [each for each in theano.gof.graph.inputs([mask]) if not isinstance(each, theano.Constant)]
        np.testing.assert_allclose(mask.eval({drawn: kept}).mean(), 1, rtol=1e-14)
