"""What training draws by chance: which units, weights and states a step leaves out.

What belongs to a row of a batch is drawn by its number in the whole batch, so that it is the
same whichever of several processes has the row, and each of them draws no more than its own.
"""
import numpy as np


def row_numbers(random, rows, n):
    """n random numbers, uint64, for each of some rows (a slice) of a batch: (rows, n).

    random: the generator, which moves by one draw, however many rows and numbers there are.
    """
    bits = np.random.PCG64(int(random.integers(2 ** 63)))
    bits.advance(rows.start * n)
    return bits.random_raw((rows.stop - rows.start) * n).reshape(-1, n)


def mask(numbers, share, dtype):
    """What leaves out a share, from numbers uint16 of any shape: of 0, or of more than 1 to keep the mean.

    The share is met to a 65,536th, which makes a draw take a quarter of the random bits.
    """
    dropped = round(share * 65536)
    return np.multiply(numbers >= dropped, np.asarray(65536 / (65536 - dropped), dtype),
                       out=np.empty(numbers.shape, dtype))


def unit_masks(random, share, rows, T, units, dtype):
    """Masks (T,B,H) for each number of units H, for the B rows (a slice) of a batch."""
    numbers = row_numbers(random, rows, -(-T * sum(units) // 4)).view(np.uint16)           # four in each
    masks, start = [], 0
    for H in units:
        own = numbers[:, start:start + T * H].reshape(-1, T, H)                            # (B, T, H)
        masks.append(mask(own.transpose(1, 0, 2), share, dtype))
        start += T * H
    return masks


def weight_masks(random, share, units, dtype):
    """Masks (4,H,H) for recurrent weights, for each number of units H: of the model, the same for all rows."""
    return [mask(random.integers(65536, size=(4, H, H), dtype=np.uint16), share, dtype) for H in units]


def begins_anew(random, share, rows):
    """Which of some rows (a slice) of a batch begin with zero states, each with that probability: bool (rows,)."""
    return (row_numbers(random, rows, 1)[:, 0] >> np.uint64(11)) * 2.0 ** -53 < share
