"""Cut a text into batches. In a process group, each process has some rows of each."""
import collections
import math
import os

import numpy as np

from engine import checks
from engine.data.text import encoded, read_together
from engine.terminal import number_of

PASSAGE = 300                  # characters of the passage whose costs a run logs
BEGINNING = 10_000             # characters whose lines are compared, to recognise a sorted list


def characters_to_train(n, seq_length, ratio_valid):
    """Return how many of n characters are for training, in whole sequences. The rest are for validation."""
    # Halves are rounded up, as in the original, which ran on Python 2.
    return math.floor((1 - ratio_valid) * (n // seq_length) + 0.5) * seq_length


class Batches(collections.UserList):
    """Inputs or targets (T,B) of many batches: views of a text in the smallest type, each made int32 on its way out."""

    def __getitem__(self, i):
        found = super().__getitem__(i)
        return found if isinstance(i, slice) else np.ascontiguousarray(found, np.int32)


class Text:
    """A text as numbers, cut into training and validation batches as CharLSTM.prepare_input describes.

    sources: for 'train' and, if passed, 'valid' and 'test': a dict of path, characters (how many) and sha256
    codes: all of them as numbers (n,); texts: without 'train'; parts: those for 'train' and 'valid'
    passage: 'validation' or 'training', and the first PASSAGE characters of that part
    uchar: the distinct characters of all texts, (V,)
    encoding, ratio_valid, batch_size, seq_length, stateful: the arguments
    rows: for 'train' and 'valid': sequences in a batch of all processes
    X, Y, n_batches: for 'train' and 'valid': inputs and targets (Batches of this process's rows), and how many
    """

    def __init__(self, path, ratio_valid, batch_size, seq_length, encoding, stateful, group, valid=None, test=None):
        """Read the texts, paths or open files. Raises OSError if one cannot be read, ValueError if one is too short."""
        checks.real('ratio_valid', ratio_valid, 'from 0 to below 1', lambda r: 0 <= r < 1)
        self.encoding, self.ratio_valid = encoding, float(ratio_valid if valid is None else 0)
        self.batch_size = checks.whole('batch_size', batch_size, 1)
        self.seq_length = S = checks.whole('seq_length', seq_length, 2)
        self.stateful = checks.flag('stateful', stateful)
        self._group = group
        roles = dict(train=path, valid=valid, test=test)
        named = {role: source for role, source in roles.items() if source is not None}
        self.uchar, self.sources, self.codes = group.broadcast(read_together, named, encoding)
        self._check_lengths(characters_to_train(len(self.codes['train']), S, self.ratio_valid) // S, group.size)
        self._cut()

    def _cut(self):
        """Set texts, passage and batches from codes."""
        B, S, text = self.batch_size, self.seq_length, self.codes['train']
        self.texts = {role: codes for role, codes in self.codes.items() if role != 'train'}
        n = len(text) if 'valid' in self.texts else characters_to_train(len(text), S, self.ratio_valid)
        rest = self.texts.get('valid', text[n:])
        # If ratio_valid is near 0, less than a sequence may be left: then nothing is for validation.
        self.parts = parts = {'train': text[:n], 'valid': rest if len(rest) >= S else rest[:0]}
        self.rows = {'train': B, 'valid': min(B, len(rest) // S) if 'valid' in self.texts else B}
        name, part = ('validation', 'valid') if len(parts['valid']) else ('training', 'train')
        self.passage = name, ''.join(self.uchar[parts[part][:PASSAGE]])
        sequences = {part: self._sequences(parts[part], R) for part, R in self.rows.items()}
        self.X = {part: Batches([codes[:, :-1].T for codes in each]) for part, each in sequences.items()}
        self.Y = {part: Batches([codes[:, 1:].T for codes in each]) for part, each in sequences.items()}
        self.n_batches = {part: len(batches) for part, batches in self.X.items()}

    def _check_lengths(self, sequences, processes):
        """Raise ValueError if a text is too short or all characters are the same. sequences: those for training."""
        S, B = self.seq_length, self.batch_size
        if len(self.uchar) == 1:
            raise ValueError(f'{self.sources["train"]["path"]} has no other character than {self.uchar[0]!r}: expected '
                             'two different ones')
        least = dict(train=S * math.ceil((B - 0.5) / (1 - self.ratio_valid)), valid=S * processes, test=2)
        for role, source in self.sources.items():
            n = source['characters']
            if not (sequences >= B if role == 'train' else n >= least[role]):
                smaller = f', or --batch-size {sequences}' if role == 'train' and 0 < sequences < B else ''
                raise ValueError(f'{source["path"]} is too short: it has {number_of(n, "character")}; expected at '
                                 f'least {least[role]:,}{smaller}')

    def _sequences(self, codes, R):
        """Return the sequences of all batches of one part of the text: views of codes (R,T+1), this process's rows."""
        S, rows = self.seq_length, self._group.rows(R)
        if self.stateful:                                  # a batch begins with the last target of the one before
            streams = codes[:len(codes) // R * R].reshape(R, -1)[rows]
            return [streams[:, start:start + S + 1] for start in range(0, streams.shape[1] - 1, S)]
        n = len(codes) // S // R                           # batches, with one sequence per row
        return codes[:n * R * S].reshape(n, R, S)[:, rows]

    def renumber(self, uchar):
        """Renumber the text for another vocabulary. Raise ValueError if it lacks a character of the text."""
        number = encoded(''.join(self.uchar), uchar, 'the prepared text')
        self.codes, self.uchar = {role: number[codes] for role, codes in self.codes.items()}, np.array(uchar, object)
        self._cut()

    def metadata(self):
        """Return what a checkpoint stores about the text, a dict. Paths are absolute, to be valid in any folder."""
        sources = dict(valid=None, test=None)
        for role, source in self.sources.items():
            path = source['path']                          # or the name of a text in memory
            sources[role] = dict(source, path=os.path.abspath(path) if os.path.exists(path) else path)
        return dict(sources.pop('train'), encoding=self.encoding, ratio_valid=self.ratio_valid,
                    batch_size=self.batch_size, seq_length=self.seq_length, stateful=self.stateful, **sources)

    def summary(self):
        """Return a few lines on the lengths of the texts and on the batches."""
        B, length, n = self.batch_size, self.seq_length, self.n_batches
        ends = {'train': f', {len(self.uchar):,} distinct' + (' in all texts' if len(self.sources) > 1 else ''),
                'valid': ' for validation', 'test': ' for the test at the end'}
        lines = [f'{source["path"]}: {source["characters"]:,} characters{ends[role]}'
                 for role, source in self.sources.items()]
        pieces = f'{number_of(B, "sequence")} of {number_of(length, "character")}'
        lines.append(f'{number_of(n["train"], "batch")} for training, {n["valid"]:,} for validation, each of {pieces}')
        *first, _ = ''.join(self.uchar[self.codes['train'][:BEGINNING]]).casefold().split('\n')
        in_order = sum(a <= b for a, b in zip(first, first[1:]))       # most, if sorted: some sort accents otherwise
        if n['valid'] and 'valid' not in self.texts and len(set(first)) > 20 and in_order > 0.9 * len(first):
            lines.append('the lines of the text are sorted, so its end, for validation, has other first letters: '
                         'shuffle them (text_input/README.md)')
        return '\n'.join(lines)
