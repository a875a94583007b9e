"""A text cut into batches, for training and for validation. Of several processes, each has its own rows of them."""
import os
from collections.abc import Sequence

import numpy as np

from engine.model import checks
from engine.model.text import nearest, read_together, renumbered, shown, source_name
from engine.terminal import number_of

PARTS = ('train', 'valid')     # of which there are batches
PASSAGE = 300                  # characters in a passage


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
    """A text as numbers, to train on and to validate with, each part cut into batches; and a text to test with.

    CharLSTM.prepare_input says how it is cut. A short validation text has fewer sequences or streams in a batch, each
    of at least seq_length characters. Attributes:

    sources: by 'train' and, if they were named, 'valid' and 'test': path, characters (their number) and sha256
    texts: by 'valid' and 'test', the numbers (n,) of these, in the first process only
    passage: the beginning of the part to validate with, or to train with if there is no other, as numbers by
        'validation' or 'training', in the first process only
    uchar: (V,), the distinct characters of all texts
    encoding, ratio_valid, batch_size, seq_length, stateful: the arguments
    steps: T of a whole batch
    X, Y, n_batches: inputs, targets and their number, each by 'train' and 'valid'; only this process's rows
    """

    def __init__(self, path, ratio_valid, batch_size, seq_length, encoding, stateful, group, valid=None, test=None):
        """Read a text. path, valid, test: paths or open texts. group: a SingleProcess or a ProcessGroup.

        Raises OSError if a file cannot be read, and ValueError for arguments out of range, a wrong encoding, or a text
        too short for one batch.
        """
        checks.real('ratio_valid', ratio_valid, 'from 0 to below 1', lambda r: 0 <= r < 1)
        self.encoding, self.ratio_valid = encoding, float(ratio_valid if valid is None else 0)
        self.batch_size = checks.whole('batch_size', batch_size, 1)
        self.seq_length = checks.whole('seq_length', seq_length, 2)
        self.stateful = checks.flag('stateful', stateful)
        self.steps = self.seq_length if stateful else self.seq_length - 1
        named = {'train': path, 'valid': valid, 'test': test}
        named = {role: source for role, source in named.items() if role == 'train' or source is not None}
        codes = {}                                         # by role, in the first process only

        def read():
            texts, uchar, sha256 = read_together(named.values(), encoding)
            codes.update(zip(named, texts))
            return uchar, {role: dict(path=source_name(named[role]), characters=len(text), sha256=checksum)
                           for (role, text), checksum in zip(codes.items(), sha256)}

        self.uchar, self.sources = group.broadcast(read)
        self._check_lengths(group.size)
        parts = self._parts(codes) if group.first else None
        self.texts = {role: text for role, text in codes.items() if role != 'train'}
        self.passage = {}
        if group.first:
            name, part = ('validation', 'valid') if len(parts['valid']) else ('training', 'train')
            self.passage = {name: parts[part][:PASSAGE].copy()}
        self._kept = {part: self._own_rows(part, parts, group) for part in PARTS}          # codes (R,L)
        self._cut()

    def _check_lengths(self, processes):
        """Raise ValueError if a text is too short, or if there is nothing to learn."""
        sequences = nearest((1 - self.ratio_valid) * (self.sources['train']['characters'] // self.seq_length))
        for role, enough, why in (
                ('train', sequences >= self.batch_size,
                 f'{number_of(sequences, "sequence")} of {self.seq_length} characters to train on, and a batch has '
                 f'{self.batch_size:,}; take a longer text, or a smaller batch_size or seq_length'),
                ('valid', self._row_count('valid') >= processes,
                 f'a text to validate with needs {processes * self.seq_length:,}; take a longer one, or a smaller '
                 'seq_length'),
                ('test', self.sources.get('test', {}).get('characters', 2) >= 2, 'a text to test with needs 2'),
                ('train', len(self.uchar) > 1, f'all are {shown(self.uchar)}, so there is nothing to learn')):
            if not enough:
                source = self.sources[role]
                raise ValueError(f'{source["path"]} has {number_of(source["characters"], "character")}: {why}')

    def _row_count(self, part):
        """Return R, the number of rows of a part's batches: batch_size, or fewer of a short validation text."""
        if part == 'train' or part not in self.sources:
            return self.batch_size
        return min(self.batch_size, self.sources[part]['characters'] // self.seq_length)

    def _parts(self, codes):
        """Return the codes (n,) of each of PARTS, a dict. codes: of each text, by role."""
        if 'valid' in codes:
            return {part: codes[part] for part in PARTS}
        text, length = codes['train'], self.seq_length
        n_train = nearest((1 - self.ratio_valid) * (len(text) // length)) * length              # characters
        # Less than a sequence is only what a ratio_valid of about 0 leaves.
        return {'train': text[:n_train], 'valid': text[n_train:] if len(text) - n_train >= length else text[:0]}

    def _own_rows(self, part, parts, group):
        """Return this process's rows of all batches of a part, codes (R,L). parts: those of all, in the first process.
        """
        R, length = self._row_count(part), self.seq_length

        def rows():
            codes = parts[part]
            if self.stateful:
                return codes[:len(codes) // R * R].reshape(R, -1)
            n = len(codes) // length // R                  # batches; each has a sequence of each row
            return codes[:n * R * length].reshape(n, R, length).swapaxes(0, 1).reshape(R, -1)

        if group.size == 1:
            return rows()
        whole, own = rows() if group.first else None, group.rows(R)
        received = (group.broadcast(lambda: whole[b]) for b in range(R))       # one at a time, as the whole is large
        return np.stack([row for b, row in enumerate(received) if own.start <= b < own.stop])

    def _cut(self):
        """Set X, Y and n_batches from what is kept."""
        self.X, self.Y = [{part: Batches(codes, self.seq_length, self.steps, shift)
                           for part, codes in self._kept.items()} for shift in (0, 1)]
        self.n_batches = {part: len(batches) for part, batches in self.X.items()}

    def renumber(self, uchar):
        """Number the text by another vocabulary, which has all its characters."""
        # The whole texts may share their memory with the rows, which are renumbered in place.
        self.texts = {role: renumbered(codes.copy(), self.uchar, uchar) for role, codes in self.texts.items()}
        self._kept = {part: renumbered(codes.ravel(), self.uchar, uchar).reshape(codes.shape)
                      for part, codes in self._kept.items()}
        self.passage = {name: renumbered(codes, self.uchar, uchar) for name, codes in self.passage.items()}
        self.uchar = uchar
        self._cut()

    def metadata(self):
        """Return what a checkpoint keeps of the text, a dict: with absolute paths, as it may be read from elsewhere."""
        sources = {role: dict(source) for role, source in self.sources.items()}
        for source in sources.values():
            if os.path.exists(source['path']):             # unlike the name of a text in memory
                source['path'] = os.path.abspath(source['path'])
        return dict(sources['train'], encoding=self.encoding, ratio_valid=self.ratio_valid, batch_size=self.batch_size,
                    seq_length=self.seq_length, stateful=self.stateful, valid=sources.get('valid'),
                    test=sources.get('test'))

    def summary(self):
        """Return a few lines for a person: how long the texts are, and how they are cut."""
        B, length, n = self.batch_size, self.seq_length, self.n_batches
        in_all = ' in all texts' if len(self.sources) > 1 else ''
        ends = {'train': f', {len(self.uchar):,} distinct{in_all}',
                'valid': ' to validate with: in batches while the model trains, and as one stream at the end',
                'test': ' to test with at the end; before that, only their vocabulary is used'}
        lines = [f'{source["path"]}: {source["characters"]:,} characters{ends[role]}'
                 for role, source in self.sources.items()]
        pieces = f'{number_of(B, "sequence")} of {number_of(length, "character")}'
        if self.stateful:
            pieces = f'{number_of(length, "step")} of {number_of(B, "stream")}'
        lines.append(f'{number_of(n["train"], "batch")} to train and {n["valid"]:,} to validate, each of {pieces}')
        return '\n'.join(lines)
