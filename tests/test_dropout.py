"""What dropout keeps, and resets of rows: the same in any process, and with the right probability."""
import numpy as np

from engine.model.batches import begins_anew, kept_units


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
