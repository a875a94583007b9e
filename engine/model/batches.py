"""A text cut into batches, and the random numbers of their rows. Of several processes, each has its own rows."""
import math
import os

import numpy as np

from engine.model import checks
from engine.model.text import encoded, read_together
from engine.terminal import number_of

PASSAGE = 300                  # characters in a passage


def characters_to_train(n, seq_length, ratio_valid):
    """Return how many of n characters are to train on, in whole sequences: the others are to validate with."""
    # Halves are rounded up, as by Python 2 in the original.
    return math.floor((1 - ratio_valid) * (n // seq_length) + 0.5) * seq_length


class Text:
    """A text as numbers, cut into batches to train on and to validate with; CharLSTM.prepare_input says how.

    sources: by 'train' and, if they were named, 'valid' and 'test': path, characters (their number) and sha256
    texts: by 'valid' and 'test', the numbers (n,) of these
    passage: 'validation' or 'training', and the beginning of that part, a string
    uchar: (V,), the distinct characters of all texts
    encoding, ratio_valid, batch_size, seq_length, stateful: the arguments
    steps: T of a whole batch
    X, Y, n_batches: inputs, targets (lists of int32 (T,B)) and their number, by 'train' and 'valid'; of this process
    """

    def __init__(self, path, ratio_valid, batch_size, seq_length, encoding, stateful, group, valid=None, test=None):
        """Read texts, by paths or open. Raises OSError if one cannot be read, and ValueError if one is too short."""
        checks.real('ratio_valid', ratio_valid, 'from 0 to below 1', lambda r: 0 <= r < 1)
        self.encoding, self.ratio_valid = encoding, float(ratio_valid if valid is None else 0)
        self.batch_size = B = checks.whole('batch_size', batch_size, 1)
        self.seq_length = S = checks.whole('seq_length', seq_length, 2)
        self.stateful = checks.flag('stateful', stateful)
        self.steps = S if stateful else S - 1
        roles = dict(train=path, valid=valid, test=test)
        named = {role: source for role, source in roles.items() if source is not None}
        self.uchar, self.sources, codes = group.broadcast(read_together, named, encoding)
        text, self.texts = codes['train'], {role: codes[role] for role in codes if role != 'train'}
        learned = characters_to_train(len(text), S, self.ratio_valid)
        self._check_lengths(learned // S, group.size)
        n = len(text) if 'valid' in self.texts else learned
        rest = self.texts.get('valid', text[n:])
        # Less than a sequence is only what a ratio_valid of about 0 leaves.
        parts = {'train': text[:n], 'valid': rest if len(rest) >= S else rest[:0]}
        rows = {'train': B, 'valid': min(B, len(rest) // S) if 'valid' in self.texts else B}
        name, part = ('validation', 'valid') if len(parts['valid']) else ('training', 'train')
        self.passage = name, ''.join(self.uchar[parts[part][:PASSAGE]])
        own = {part: self._rows(parts[part], R)[group.rows(R)] for part, R in rows.items()}
        self.X, self.Y = [{part: self._cut(codes, shift) for part, codes in own.items()} for shift in (0, 1)]
        self.n_batches = {part: len(batches) for part, batches in self.X.items()}

    def _check_lengths(self, sequences, processes):
        """Raise ValueError if a text is too short, or if there is nothing to learn. sequences: those to train on."""
        for role, source in self.sources.items():
            n = source['characters']
            enough = dict(train=sequences >= self.batch_size and len(self.uchar) > 1,
                          valid=n // self.seq_length >= processes, test=n > 1)
            if not enough[role]:
                raise ValueError(f'{source["path"]} is too short: it has {number_of(n, "character")}, '
                                 f'{len(self.uchar)} distinct; take a longer text, or a smaller batch_size '
                                 f'({self.batch_size:,}) or seq_length ({self.seq_length:,})')

    def _rows(self, codes, R):
        """Return the rows of all batches of a part of the text, codes (R,L)."""
        if self.stateful:
            return codes[:len(codes) // R * R].reshape(R, -1)
        n = len(codes) // self.seq_length // R             # batches; each has a sequence of each row
        sequences = codes[:n * R * self.seq_length].reshape(n, R, self.seq_length)
        return sequences.swapaxes(0, 1).reshape(R, -1)

    def _cut(self, codes, shift):
        """Return the inputs (shift 0) or the targets (shift 1) of the batches in rows (R,L)."""
        end = codes.shape[1] - 1
        return [np.ascontiguousarray(codes[:, start + shift:min(start + self.steps, end) + shift].T, np.int32)
                for start in range(0, end, self.seq_length)]

    def renumber(self, uchar):
        """Number the text by another vocabulary. Raise ValueError if that lacks one of its characters."""
        number = encoded(''.join(self.uchar), uchar, 'the text that was prepared')
        self.texts = {role: number[codes] for role, codes in self.texts.items()}
        self.X, self.Y = [{part: [number[x].astype(np.int32) for x in batches] for part, batches in side.items()}
                          for side in (self.X, self.Y)]
        self.uchar = uchar

    def metadata(self):
        """Return what a checkpoint keeps of the text, a dict: with absolute paths, as it may be read from elsewhere."""
        found = dict(valid=None, test=None)
        for role, source in self.sources.items():
            path = source['path']                          # not always one: it may be the name of a text in memory
            found[role] = dict(source, path=os.path.abspath(path) if os.path.exists(path) else path)
        return dict(found.pop('train'), encoding=self.encoding, ratio_valid=self.ratio_valid,
                    batch_size=self.batch_size, seq_length=self.seq_length, stateful=self.stateful, **found)

    def summary(self):
        """Return a few lines on how long the texts are, and how they are cut."""
        B, length, n = self.batch_size, self.seq_length, self.n_batches
        ends = {'train': f', {len(self.uchar):,} distinct' + (' in all texts' if len(self.sources) > 1 else ''),
                'valid': ' to validate with', 'test': ' to test with at the end'}
        lines = [f'{source["path"]}: {source["characters"]:,} characters{ends[role]}'
                 for role, source in self.sources.items()]
        pieces = (f'{number_of(length, "step")} of {number_of(B, "stream")}' if self.stateful else
                  f'{number_of(B, "sequence")} of {number_of(length, "character")}')
        lines.append(f'{number_of(n["train"], "batch")} to train and {n["valid"]:,} to validate, each of {pieces}')
        return '\n'.join(lines)


# ---------------------------------------------------------------- which units, weights and states a step leaves out

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
