"""A text cut into batches, for training and for validation; of several processes each has its own rows."""
import os
from collections.abc import Sequence

import numpy as np

from engine import checks
from engine.process_group import SingleProcess
from engine.state.text import TwiceRead, folder_summary, nearest, read_text, renumbered, shown, smallest_type


class _Batches(Sequence):
    """The batches of one part of the text, one side of each, cut out when asked for: int32 (T,B).

    A subclass gives rows(i), the codes (B,T) of item i.
    """

    def __getitem__(self, i):
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        i = range(len(self))[i]                            # negative i and IndexError as for a list
        return np.ascontiguousarray(self.rows(i).T, np.int32)


class _Sequences(_Batches):
    """Item i is one side, inputs (shift 0) or targets (shift 1), of the sequences i*B to (i+1)*B, codes (n, T+1)."""

    def __init__(self, sequences, batch_size, shift):
        self._sequences, self._batch_size, self._shift = sequences, batch_size, shift

    def __len__(self):
        return len(self._sequences) // self._batch_size

    def rows(self, i):
        start, T = i * self._batch_size, self._sequences.shape[1] - 1
        return self._sequences[start:start + self._batch_size, self._shift:self._shift + T]


class _Streams(_Batches):
    """Item i is one side of characters i*T to (i+1)*T of each of B streams, codes (B, L); the last may be shorter.

    So row b of an item goes on where row b of the item before ended.
    """

    def __init__(self, streams, T, shift):
        self._streams, self._T, self._shift = streams, T, shift

    def __len__(self):
        return max(0, -(-(self._streams.shape[1] - 1) // self._T))

    def rows(self, i):
        start = i * self._T
        end = min(start + self._T, self._streams.shape[1] - 1)
        return self._streams[:, start + self._shift:end + self._shift]


# ---------------------------------------------------------------- the text of a model

def _take(kept, starts, piece, offset):
    """Copy what a piece of a text, at an offset in it, has of the spans at starts (n,) to kept (n, length)."""
    length = kept.shape[1]
    first, last = np.searchsorted(starts, [offset - length, offset + len(piece)], side='right')
    for span, start in zip(kept[first:last], starts[first:last]):
        low, high = max(start, offset), min(start + length, offset + len(piece))
        if low < high:
            span[low - start:high - start] = piece[low - offset:high - offset]


class Text:
    """A text file as numbers, the first part of it to train on and the rest to validate with, each cut into batches.

    Of n sequences of seq_length characters (a last partial one is dropped) the first
    (1 - ratio_valid) n, rounded, are for training. The batches of a part are
    sequences one after the other or, if stateful, pieces of batch_size long
    streams that go on from batch to batch.

    Attributes: path, encoding, sha256 of the file; characters, their number, and uchar (V,),
    those that are distinct; ratio_valid, batch_size, seq_length, stateful as given; X, Y,
    n_batches: inputs, targets and their number, each by 'train' and 'valid'. Of several
    processes each has its own rows of all batches, and of the text no more than these need.
    """

    def __init__(self, path, ratio_valid, batch_size, seq_length, encoding, stateful, progress, group=SingleProcess()):
        """group: a SingleProcess or a ProcessGroup. Raises OSError and ValueError as CharLSTM.prepare_input says."""
        checks.real('ratio_valid', ratio_valid, 'from 0 to below 1', lambda r: 0 <= r < 1)
        checks.whole('batch_size', batch_size, 1)
        checks.whole('seq_length', seq_length, 2)
        self.path, self.encoding = os.fspath(path), encoding
        # Python's own numbers, which JSON can hold, also where they were NumPy's.
        self.ratio_valid, self.batch_size, self.seq_length = float(ratio_valid), int(batch_size), int(seq_length)
        self.stateful = bool(stateful)
        self._rows = group.rows(self.batch_size)
        self._kept = {}                # by part: the numbers of the characters in those rows, (spans, length)
        if group.size == 1:
            codes, self.uchar, self.sha256 = read_text(path, encoding, progress)
            self.characters = len(codes)
            self._check_length()
            for part, (starts, length) in self._spans().items():     # one after the other, so a view will do
                start = starts[0] if len(starts) else 0
                self._kept[part] = codes[start:start + len(starts) * length].reshape(len(starts), length)
        else:
            self._read_own(TwiceRead(path, encoding, progress), group)
        self._cut()

    def _read_own(self, text, group):
        """Read what this process needs of the text, which the first reads for all."""
        self.characters, self.uchar, self.sha256 = group.broadcast(text.survey)
        self._check_length()
        spans, pieces, offset = self._spans(), text.pieces(), 0
        for part, (starts, length) in spans.items():
            self._kept[part] = np.empty((len(starts), length), smallest_type(len(self.uchar)))
        while True:
            piece = group.broadcast(next, pieces, None)
            if piece is None:
                return
            for part, (starts, _) in spans.items():
                _take(self._kept[part], starts, piece, offset)
            offset += len(piece)

    def _spans(self):
        """By part: where in the text this process's rows of batches are, as starts (n,) of spans, and their length."""
        B, length, rows, spans = self.batch_size, self.seq_length, self._rows, {}
        n_train = nearest((1 - self.ratio_valid) * (self.characters // length)) * length         # characters
        own = rows.stop - rows.start
        for part, start, n in (('train', 0, n_train), ('valid', n_train, self.characters - n_train)):
            if self.stateful:                              # a row is n // B characters long
                spans[part] = start + np.array([rows.start * (n // B)]), own * (n // B)
            else:                                          # a batch has B sequences
                spans[part] = start + (np.arange(n // length // B) * B + rows.start) * length, own * length
        return spans

    def _check_length(self):
        # Sequences, of which batch_size train; one less than the quotient, as rounding decides the last ones.
        needed = max(self.batch_size, int((self.batch_size - 0.5) / (1 - self.ratio_valid)) - 1)
        while nearest((1 - self.ratio_valid) * needed) < self.batch_size:
            needed += 1
        if self.characters < needed * self.seq_length:
            raise ValueError(
                f'{self.path} has {self.characters:,} characters: batches of {self.batch_size} sequences of '
                f'{self.seq_length} characters, with {self.ratio_valid:g} of the text for validation, need '
                f'{needed * self.seq_length:,}; take a longer text or a smaller batch or sequence')
        if len(self.uchar) < 2:
            raise ValueError(f'{self.path} has only one distinct character, {shown(self.uchar)}: there is nothing to '
                             'learn')

    def _cut(self):
        """Set X, Y and n_batches to views of what is kept."""
        own, length = self._rows.stop - self._rows.start, self.seq_length
        self.X, self.Y = {}, {}
        for part, kept in self._kept.items():
            if self.stateful:
                streams = kept.reshape(own, -1)
                self.X[part], self.Y[part] = [_Streams(streams, length, shift) for shift in (0, 1)]
            else:
                sequences = kept.reshape(-1, length)
                self.X[part], self.Y[part] = [_Sequences(sequences, own, shift) for shift in (0, 1)]
        self.n_batches = {part: len(batches) for part, batches in self.X.items()}

    @property
    def steps(self):
        """T of a whole batch."""
        return self.seq_length if self.stateful else self.seq_length - 1

    def renumber(self, uchar):
        """Number the text by another vocabulary, which has all its characters."""
        self._kept = {part: renumbered(kept.ravel(), self.uchar, uchar) for part, kept in self._kept.items()}
        self.uchar = uchar
        self._cut()

    def metadata(self):
        """What a checkpoint says of it."""
        return dict(path=self.path, characters=self.characters, sha256=self.sha256, encoding=self.encoding,
                    ratio_valid=self.ratio_valid, batch_size=self.batch_size, seq_length=self.seq_length,
                    stateful=self.stateful)

    def summary(self):
        """A few lines for a person: how long it is, of how many files, and what became of it."""
        B, length, n = self.batch_size, self.seq_length, self.n_batches
        files = folder_summary(self.path, self.encoding)
        batches = f'{n["train"]} batches to train and {n["valid"]} to validate, each of '
        if self.stateful:
            batches += f'{length} steps of {B} streams'
        else:
            dropped = self.characters - sum(n.values()) * B * length
            batches += f'{B} sequences of {length} characters; {dropped:,} characters that fill no batch are dropped'
        return f'{self.path}: {self.characters:,} characters, {len(self.uchar)} distinct\n' + (
            files + '\n') * bool(files) + batches
