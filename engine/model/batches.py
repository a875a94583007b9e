"""A text cut into batches, for training and for validation. Of several processes, each has its own rows of them."""
import math
import os
from collections.abc import Sequence

import numpy as np

from engine.model import checks
from engine.model.text import encoded, read_together
from engine.terminal import number_of

PASSAGE = 300                  # characters in a passage


class Batches(Sequence):
    """The inputs (shift 0) or the targets (shift 1) of the batches of a part of a text, each int32 (T,B).

    A batch is cut out of codes (B,L) when it is read: batch i is T columns, or as many as are left, from i * step on.
    """

    def __init__(self, codes, step, T, shift):
        self._codes, self._step, self._T, self._shift = codes, step, T, shift

    def __len__(self):
        return max(0, -(-(self._codes.shape[1] - 1) // self._step))            # rounded up

    def __getitem__(self, i):
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        start = range(len(self))[i] * self._step           # negative i and IndexError as for a list
        end = min(start + self._T, self._codes.shape[1] - 1)
        return np.ascontiguousarray(self._codes[:, start + self._shift:end + self._shift].T, np.int32)


class Text:
    """A text as numbers, cut into batches to train on and to validate with; CharLSTM.prepare_input says how.

    sources: by 'train' and, if they were named, 'valid' and 'test': path, characters (their number) and sha256
    texts: by 'valid' and 'test', the numbers (n,) of these
    passage: 'validation' or 'training', and the beginning of that part, a string
    uchar: (V,), the distinct characters of all texts
    encoding, ratio_valid, batch_size, seq_length, stateful: the arguments
    steps: T of a whole batch
    X, Y, n_batches: inputs, targets and their number, each by 'train' and 'valid'; only this process's rows
    """

    def __init__(self, path, ratio_valid, batch_size, seq_length, encoding, stateful, group, valid=None, test=None):
        """Read texts, by paths or open. Raises OSError if one cannot be read, and ValueError if one is too short."""
        checks.real('ratio_valid', ratio_valid, 'from 0 to below 1', lambda r: 0 <= r < 1)
        self.encoding, self.ratio_valid = encoding, float(ratio_valid if valid is None else 0)
        self.batch_size = B = checks.whole('batch_size', batch_size, 1)
        self.seq_length = S = checks.whole('seq_length', seq_length, 2)
        self.stateful = checks.flag('stateful', stateful)
        self.steps = S if stateful else S - 1
        named = dict(train=path, valid=valid, test=test)
        named = {role: source for role, source in named.items() if source is not None}
        self.uchar, self.sources, codes = group.broadcast(read_together, named, encoding)
        text, self.texts = codes['train'], {role: codes[role] for role in codes if role != 'train'}
        # The sequences to train on; halves are rounded up, as by Python 2 in the original.
        sequences = math.floor((1 - self.ratio_valid) * (len(text) // S) + 0.5)
        self._check_lengths(sequences, group.size)
        n = len(text) if 'valid' in self.texts else sequences * S
        rest = self.texts.get('valid', text[n:])
        # Less than a sequence is only what a ratio_valid of about 0 leaves.
        parts = {'train': text[:n], 'valid': rest if len(rest) >= S else rest[:0]}
        rows = {'train': B, 'valid': min(B, len(rest) // S) if 'valid' in self.texts else B}
        name, part = ('validation', 'valid') if len(parts['valid']) else ('training', 'train')
        self.passage = name, ''.join(self.uchar[parts[part][:PASSAGE]])
        self._codes = {part: self._rows(parts[part], R)[group.rows(R)] for part, R in rows.items()}    # (R, L) each
        self._cut()

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

    def _cut(self):
        """Cut the rows into batches."""
        self.X, self.Y = [{part: Batches(codes, self.seq_length, self.steps, shift)
                           for part, codes in self._codes.items()} for shift in (0, 1)]
        self.n_batches = {part: len(batches) for part, batches in self.X.items()}

    def renumber(self, uchar):
        """Number the text by another vocabulary. Raise ValueError if that lacks one of its characters."""
        number = encoded(''.join(self.uchar), uchar, 'the text that was prepared')
        for texts in (self.texts, self._codes):
            texts.update({name: number[codes] for name, codes in texts.items()})
        self.uchar = uchar
        self._cut()

    def metadata(self):
        """Return what a checkpoint keeps of the text, a dict: with absolute paths, as it may be read from elsewhere."""
        def source(role):
            path = self.sources[role]['path']              # not always one: it may be the name of a text in memory
            return dict(self.sources[role], path=os.path.abspath(path) if os.path.exists(path) else path)
        others = {role: source(role) if role in self.sources else None for role in ('valid', 'test')}
        return dict(source('train'), encoding=self.encoding, ratio_valid=self.ratio_valid, batch_size=self.batch_size,
                    seq_length=self.seq_length, stateful=self.stateful, **others)

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
