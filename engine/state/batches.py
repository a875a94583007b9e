"""A text cut into batches, for training and for validation. Of several processes, each has its own rows of them."""
import os
from collections.abc import Sequence

import numpy as np

from engine import checks
from engine.process_group import SingleProcess
from engine.state.text import nearest, read_files, renumbered, shown


class Batches(Sequence):
    """The inputs (shift 0) or the targets (shift 1) of the batches of a part of a text, each int32 (T,B).

    A batch is cut out of codes (B,L) when it is read. Batch i begins at column i * step and has T columns, or as many
    as are left.
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
    """A text file as numbers, the first part of it to train on and the rest to validate with, each cut into batches.

    Of n sequences of seq_length characters (a last partial one is dropped) the first
    (1 - ratio_valid) n, rounded, are for training. The batches of a part are
    sequences one after the other or, if stateful, pieces of batch_size long
    streams that continue from batch to batch.

    Attributes: path, encoding, sha256 of the file; characters, their number, and uchar (V,),
    those that are distinct; the arguments ratio_valid, batch_size, seq_length, stateful; X, Y,
    n_batches: inputs, targets and their number, each by 'train' and 'valid'. Of several
    processes, each keeps only its own rows of all batches.
    """

    def __init__(self, path, ratio_valid, batch_size, seq_length, encoding, stateful, progress, group=SingleProcess()):
        """Read a text. group: a SingleProcess or a ProcessGroup. Raises what CharLSTM.prepare_input raises."""
        checks.real('ratio_valid', ratio_valid, 'from 0 to below 1', lambda r: 0 <= r < 1)
        checks.whole('batch_size', batch_size, 1)
        checks.whole('seq_length', seq_length, 2)
        self.path, self.encoding = os.fspath(path), encoding
        # Python's own numbers, which JSON can hold, also where they were NumPy's.
        self.ratio_valid, self.batch_size, self.seq_length = float(ratio_valid), int(batch_size), int(seq_length)
        self.stateful = bool(stateful)
        self._read(group, progress)
        self._cut()

    def _read(self, group, progress):
        """Read the text in the first process, and keep this process's rows of all batches: by part, codes (B,L)."""
        def read():
            nonlocal codes
            codes, *others = read_files(self.path, self.encoding, progress)
            return (len(codes), *others)

        def row(part, b):
            return self._rows(codes)[part][b].ravel()

        codes, own = None, group.rows(self.batch_size)
        self.characters, self.uchar, self.sha256, self._files = group.broadcast(read)
        self._check_length()
        if group.size == 1:
            self._kept = {part: rows.reshape(self.batch_size, -1) for part, rows in self._rows(codes).items()}
            return
        self._kept = {}
        for part in ('train', 'valid'):                    # row by row, as no other process holds the whole text
            rows = enumerate(group.broadcast(row, part, b) for b in range(self.batch_size))
            self._kept[part] = np.stack([kept for b, kept in rows if own.start <= b < own.stop])

    def _rows(self, codes):
        """Return the rows of all batches by part, views (B,n,length) of codes: n pieces that follow each other."""
        B, length, rows = self.batch_size, self.seq_length, {}
        n_train = nearest((1 - self.ratio_valid) * (len(codes) // length)) * length              # characters
        for part, of_part in (('train', codes[:n_train]), ('valid', codes[n_train:])):
            if self.stateful:
                rows[part] = of_part[:len(of_part) // B * B].reshape(B, 1, -1)
            else:                                          # a sequence of each batch
                n = len(of_part) // length // B
                rows[part] = of_part[:n * B * length].reshape(n, B, length).swapaxes(0, 1)
        return rows

    def _check_length(self):
        """Raise ValueError where the text is too short for a batch to train on, or has nothing to learn."""
        # Sequences, of which batch_size train; one less than the quotient, as rounding decides the last ones.
        needed = max(self.batch_size, int((self.batch_size - 0.5) / (1 - self.ratio_valid)) - 1)
        while nearest((1 - self.ratio_valid) * needed) < self.batch_size:
            needed += 1
        if self.characters < needed * self.seq_length:
            raise ValueError(
                f'{self.path} has {self.characters:,} characters: batches of {self.batch_size} sequences of '
                f'{self.seq_length} characters, with {self.ratio_valid:g} of the text for validation, need '
                f'{needed * self.seq_length:,}; take a longer text, or a smaller batch_size or seq_length')
        if len(self.uchar) < 2:
            raise ValueError(f'{self.path} has only one distinct character, {shown(self.uchar)}: there is nothing to '
                             'learn')

    def _cut(self):
        """Set X, Y and n_batches from what is kept."""
        self.X, self.Y = [{part: Batches(codes, self.seq_length, self.steps, shift)
                           for part, codes in self._kept.items()} for shift in (0, 1)]
        self.n_batches = {part: len(batches) for part, batches in self.X.items()}

    @property
    def steps(self):
        """Return T of a whole batch."""
        return self.seq_length if self.stateful else self.seq_length - 1

    def renumber(self, uchar):
        """Number the text by another vocabulary, which has all its characters."""
        self._kept = {part: renumbered(codes.ravel(), self.uchar, uchar).reshape(codes.shape)
                      for part, codes in self._kept.items()}
        self.uchar = uchar
        self._cut()

    def metadata(self):
        """Return what a checkpoint keeps of the text, a dict."""
        names = 'path', 'characters', 'sha256', 'encoding', 'ratio_valid', 'batch_size', 'seq_length', 'stateful'
        return {name: getattr(self, name) for name in names}

    def summary(self):
        """Return a few lines for a person: how long the text is, of how many files, and how it is cut."""
        B, length, n = self.batch_size, self.seq_length, self.n_batches
        batches = f'{n["train"]} batches to train and {n["valid"]} to validate, each of '
        if self.stateful:
            batches += f'{length} steps of {B} streams'
        else:
            dropped = self.characters - sum(n.values()) * B * length
            batches += f'{B} sequences of {length} characters; {dropped:,} characters that fill no batch are dropped'
        lines = [f'{self.path}: {self.characters:,} characters, {len(self.uchar)} distinct', self._files, batches]
        return '\n'.join(filter(None, lines))
