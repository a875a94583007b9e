"""A text cut into batches, for training and for validation. Of several processes, each has its own rows of them."""
import os
from collections.abc import Sequence

import numpy as np

from engine.model import checks
from engine.parallel import SingleProcess
from engine.model.text import nearest, read_together, renumbered, shown
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
    """A text file as numbers, to train on and to validate with, each part cut into batches; and a text to test with.

    CharLSTM.prepare_input says how it is cut. Of a short validation text there are fewer sequences or streams in a
    batch, each of at least seq_length characters.

    Attributes: sources, by 'train' and, where they were named, by 'valid' and 'test': the path of a text, its number of
    characters, and the sha256 of its file; texts, by 'valid' and 'test': these as numbers (n,), in the first process
    only; passage, the beginning of the part to validate with, or to train with if there is no other, as numbers by
    'validation' or 'training', also in the first process only; uchar (V,), the distinct characters of all of them; the
    arguments encoding, ratio_valid, batch_size, seq_length, stateful; X, Y, n_batches: inputs, targets and their
    number, each by 'train' and 'valid'. Of several processes, each keeps only its own rows of all batches.
    """

    def __init__(self, path, ratio_valid, batch_size, seq_length, encoding, stateful, progress, group=SingleProcess(),
                 valid=None, test=None):
        """Read a text. group: a SingleProcess or a ProcessGroup.

        Raises OSError when a file cannot be read, ValueError for arguments out of range, a wrong encoding, or a text
        too short for one batch.
        """
        checks.real('ratio_valid', ratio_valid, 'from 0 to below 1', lambda r: 0 <= r < 1)
        checks.whole('batch_size', batch_size, 1)
        checks.whole('seq_length', seq_length, 2)
        self.encoding = encoding
        # Python's own numbers, which JSON can hold, also where they were NumPy's.
        self.ratio_valid = float(ratio_valid if valid is None else 0)
        self.batch_size, self.seq_length = int(batch_size), int(seq_length)
        self.stateful = checks.flag('stateful', stateful)
        paths = {'train': checks.path('filepath', path)}
        paths.update({role: checks.path(role, path) for role, path in dict(valid=valid, test=test).items()
                      if path is not None})
        self._read(paths, group, progress)
        self._cut()

    def _read(self, paths, group, progress):
        """Read the texts in the first process, and keep this process's rows of all batches: by part, codes (R,L)."""
        def read():
            texts, *others = read_together(paths.values(), self.encoding, progress)
            codes.update(zip(paths, texts))
            return [len(text) for text in texts], *others

        def row(part, b):
            return self._rows(codes)[part][b].ravel()

        codes = {}
        characters, self.uchar, sha256, self._files = group.broadcast(read)
        self.sources = {role: dict(path=paths[role], characters=characters[k], sha256=sha256[k])
                        for k, role in enumerate(paths)}
        self._check_lengths(group.size)
        self.passage = self._beginning(codes) if group.first else {}
        self.texts = {role: text for role, text in codes.items() if role != 'train'}
        if group.size == 1:
            self._kept = {part: rows.reshape(len(rows), -1) for part, rows in self._rows(codes).items()}
            return
        self._kept = {}
        for part in PARTS:                                 # row by row, as no other process holds the whole text
            R = self._row_count(part)
            rows, own = enumerate(group.broadcast(row, part, b) for b in range(R)), group.rows(R)
            self._kept[part] = np.stack([kept for b, kept in rows if own.start <= b < own.stop])

    def _row_count(self, part):
        """Return R, the number of rows of a part's batches: batch_size, or fewer of a short validation text."""
        if part == 'train' or part not in self.sources:
            return self.batch_size
        return min(self.batch_size, self.sources[part]['characters'] // self.seq_length)

    def _parts(self, texts):
        """Return the codes (n,) of each of PARTS, a dict. texts: the codes of each text, by role."""
        if 'valid' in texts:
            return {part: texts[part] for part in PARTS}
        text, length = texts['train'], self.seq_length
        n_train = nearest((1 - self.ratio_valid) * (len(text) // length)) * length              # characters
        # Less than a sequence is only what a ratio_valid of about 0 leaves.
        return {'train': text[:n_train], 'valid': text[n_train:] if len(text) - n_train >= length else text[:0]}

    def _beginning(self, texts):
        """Return the passage by its name, a dict. texts: the codes of each text, by role."""
        parts = self._parts(texts)
        name, part = ('validation', 'valid') if len(parts['valid']) else ('training', 'train')
        return {name: parts[part][:PASSAGE].copy()}

    def _rows(self, texts):
        """Return the rows of all batches by part, views (R,n,length) of codes: n pieces that follow each other.

        texts: the codes of each, by role.
        """
        length, rows = self.seq_length, {}
        for part, of_part in self._parts(texts).items():
            R = self._row_count(part)
            if self.stateful:
                rows[part] = of_part[:len(of_part) // R * R].reshape(R, 1, -1)
            else:                                          # a sequence of each batch
                n = len(of_part) // length // R
                rows[part] = of_part[:n * R * length].reshape(n, R, length).swapaxes(0, 1)
        return rows

    def _check_lengths(self, processes):
        """Raise ValueError where a text is too short, or where there is nothing to learn."""
        def refuse(role, why):
            source = self.sources[role]
            raise ValueError(f'{source["path"]} has {number_of(source["characters"], "character")}: {why}')

        # Sequences, of which batch_size train; one less than the quotient, as rounding decides the last ones.
        needed = max(self.batch_size, int((self.batch_size - 0.5) / (1 - self.ratio_valid)) - 1)
        while nearest((1 - self.ratio_valid) * needed) < self.batch_size:
            needed += 1
        characters = self.sources['train']['characters']
        if characters < needed * self.seq_length:
            share = '' if 'valid' in self.sources else f' with {self.ratio_valid:g} of the text for validation,'
            fits = int(self.batch_size * characters / (needed * self.seq_length)) // 4       # for some batches
            example = f', such as a batch_size of {fits}' if fits else ''
            refuse('train', f'batches of {self.batch_size} sequences of {self.seq_length} characters,{share} need '
                            f'{needed * self.seq_length:,}; take a longer text, or a smaller batch_size or '
                            f'seq_length{example}')
        if 'valid' in self.sources and self._row_count('valid') < processes:
            each = ', a sequence for each process' if processes > 1 else ''
            refuse('valid', f'a text to validate with needs {processes * self.seq_length:,}{each}; take a longer one, '
                            'or a smaller seq_length')
        if 'test' in self.sources and self.sources['test']['characters'] < 2:
            refuse('test', 'a text to test with needs 2')
        if len(self.uchar) < 2:
            raise ValueError(f'{self.sources["train"]["path"]} has only one distinct character, {shown(self.uchar)}: '
                             'there is nothing to learn')

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
        # The whole texts may share their memory with the rows, which are renumbered in place.
        self.texts = {role: renumbered(codes.copy(), self.uchar, uchar) for role, codes in self.texts.items()}
        self._kept = {part: renumbered(codes.ravel(), self.uchar, uchar).reshape(codes.shape)
                      for part, codes in self._kept.items()}
        self.passage = {name: renumbered(codes, self.uchar, uchar) for name, codes in self.passage.items()}
        self.uchar = uchar
        self._cut()

    def metadata(self):
        """Return what a checkpoint keeps of the text, a dict: with absolute paths, as it may be read from elsewhere."""
        names = 'encoding', 'ratio_valid', 'batch_size', 'seq_length', 'stateful'
        sources = {role: dict(source, path=os.path.abspath(source['path'])) for role, source in self.sources.items()}
        return {**sources['train'], **{name: getattr(self, name) for name in names},
                'valid': sources.get('valid'), 'test': sources.get('test')}

    def summary(self):
        """Return a few lines for a person: how long the texts are, of how many files, and how they are cut."""
        B, length, n = self.batch_size, self.seq_length, self.n_batches
        batches = f'{number_of(n["train"], "batch")} to train and {n["valid"]:,} to validate, each of '
        if self.stateful:
            batches += f'{number_of(length, "step")} of {number_of(B, "stream")}'
        else:
            of_first = n['train'] if 'valid' in self.sources else sum(n.values())
            dropped = self.sources['train']['characters'] - of_first * B * length
            batches += f'{number_of(B, "sequence")} of {number_of(length, "character")}'
            if dropped:
                batches += f'; {number_of(dropped, "character")} left out for want of a whole batch'
        rows = f'in {number_of(self._row_count("valid"), "stream")}' if self.stateful else 'in sequences'
        in_all = ' in all texts' if len(self.sources) > 1 else ''
        ends = {'train': f', {len(self.uchar):,} distinct{in_all}',
                'valid': f' to validate with, {rows} while the model trains, and as one stream at the end',
                'test': ' to test with at the end; before that, only their vocabulary is used'}
        lines = []
        for (role, source), files in zip(self.sources.items(), self._files):
            lines += [f'{source["path"]}: {source["characters"]:,} characters{ends[role]}', files]
        return '\n'.join(filter(None, [*lines, batches]))
