"""What dropout keeps, and resets of rows, with the right probability. test_process_group.py shares the rows."""
from types import SimpleNamespace

import numpy as np
import pytest

from engine.methods import step as steps
from engine.methods.step import begins_anew, kept_units, kept_weights


def test_rows_begin_anew_with_the_right_probability():
    drawn = np.stack([begins_anew(np.random.default_rng(seed), 0.2, slice(0, 301)) for seed in range(200)])
    for share in (drawn.mean(), drawn[:, 0].mean()):
        assert abs(share - 0.2) < 5 * np.sqrt(0.2 * 0.8 / (drawn.size if share == drawn.mean() else 200))
    part = begins_anew(np.random.default_rng(4), 0.2, slice(100, 301))
    np.testing.assert_array_equal(part, drawn[4, 100:])


@pytest.mark.parametrize('share', [0.3, 0.9999])
def test_share_of_all_numbers_that_may_be_drawn(monkeypatch, share):
    """It is exact. test_every_way.py divides what is kept by this share."""
    numbers = np.arange(2 ** 16, dtype=np.uint16)
    monkeypatch.setattr(steps, 'row_numbers', lambda *arguments: numbers.view(np.uint64)[None])
    random = SimpleNamespace(integers=lambda *arguments, **settings: numbers.reshape(4, 2 ** 7, 2 ** 7))
    units = kept_units(None, share, slice(0, 1), 2 ** 9, [2 ** 7])
    weights = kept_weights(random, share, [(4, 2 ** 7, 2 ** 7)])
    assert [kept.sum() for kept in units + weights] == 2 * [2 ** 16 - round(share * 2 ** 16)]
