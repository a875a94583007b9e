"""Random numbers of training: which units, weights and states a step leaves out, the same rows in any process."""
import numpy as np


def row_numbers(random, rows, n):
    """Return n random numbers, uint64, for each of some rows (a slice) of a whole batch: (rows,n)."""
    bits = np.random.PCG64(int(random.integers(2 ** 63)))              # one draw, however many rows and numbers
    bits.advance(rows.start * n)
    return bits.random_raw((rows.stop - rows.start) * n).reshape(-1, n)


def mask(numbers, share, dtype):
    """Return a mask from random numbers, uint16 of any shape: 0 for a share of them, otherwise 1 / (1 - share)."""
    dropped = round(share * 65536)                                     # rounded, so that a draw needs 16 bits
    return np.multiply(numbers >= dropped, np.asarray(65536 / (65536 - dropped), dtype),
                       out=np.empty(numbers.shape, dtype))


def unit_masks(random, share, rows, T, units, dtype):
    """Return masks (T,B,H) for each number of units H, for the B rows (a slice) of a batch."""
    numbers = row_numbers(random, rows, -(-T * sum(units) // 4)).view(np.uint16)           # four in each
    ends = T * np.cumsum(units)
    return [mask(numbers[:, end - T * H:end].reshape(-1, T, H).transpose(1, 0, 2), share, dtype)
            for end, H in zip(ends, units)]


def weight_masks(random, share, units, dtype):
    """Return masks (4,H,H) for recurrent weights, for each number of units H; they are the same for all rows."""
    return [mask(random.integers(65536, size=(4, H, H), dtype=np.uint16), share, dtype) for H in units]


def begins_anew(random, share, rows):
    """Return which rows (a slice) of a batch begin with zero states, each with that probability: bool (rows,)."""
    return (row_numbers(random, rows, 1)[:, 0] >> np.uint64(11)) * 2.0 ** -53 < share
