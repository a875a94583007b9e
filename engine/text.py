"""A text file as numbers of its characters, split for training and validation, and cut into batches."""
import codecs
import functools
import hashlib
import io
import math
import os
import sys
from collections.abc import Sequence

import numpy as np

from engine import checks
from engine.files import named
from engine.team import Alone
from engine.terminal import progress_bar

CHUNK = 1 << 20        # bytes decoded at a time: enough to be fast, small beside any text


# ---------------------------------------------------------------- characters and their numbers

def vocabulary(characters):
    """An array (V,) of one-character strings; of objects, since NumPy's strings lose a NUL."""
    return np.array(list(characters), dtype=object)


def shown(characters, most=10):
    """Characters for an error message, at most `most` of them and those that do not print by their escapes."""
    return ', '.join(map(repr, sorted(characters)[:most])) + (', ...' if len(characters) > most else '')


def encoded(text, uchar, what):
    """A string as numbers of uchar, int (n,). Raises ValueError that names what, where it has other characters."""
    number = {ch: k for k, ch in enumerate(uchar)}
    unknown = set(text) - set(number)
    if unknown:
        raise ValueError(f'{what} has characters that the model never saw: {shown(unknown)}')
    return np.array([number[ch] for ch in text], np.int32)


def without_unknown(text, uchar):
    """A string without the characters that are not in uchar, and how often it had each of those, by character."""
    unknown = {ch: text.count(ch) for ch in sorted(set(text) - set(uchar))}
    return text.translate({ord(ch): None for ch in unknown}), unknown


def nearest(x):
    """The nearest whole number, halves upwards as in the Python 2 of the original; Python 3 rounds them to even."""
    whole = math.floor(x)
    return whole + (x - whole >= 0.5)


def smallest_type(vocabulary_size):
    """The smallest unsigned integer type that can number a vocabulary."""
    return np.min_scalar_type(max(vocabulary_size - 1, 0))


def recode(codes, table):
    """codes with every value k replaced by table[k]; in place where the type allows, as texts are big."""
    new = codes if codes.dtype == table.dtype else np.empty(len(codes), table.dtype)
    for start in range(0, len(codes), CHUNK):
        new[start:start + CHUNK] = table[codes[start:start + CHUNK]]
    return new


def renumbered(codes, uchar, new_uchar):
    """Codes of a text over uchar as codes over new_uchar, which has all its characters; codes may be overwritten."""
    number = {ch: k for k, ch in enumerate(new_uchar)}
    return recode(codes, np.array([number[ch] for ch in uchar], smallest_type(len(new_uchar))))


# ---------------------------------------------------------------- reading

def text_files(path):
    """The files of a text: path alone or, where it is a folder, those in it in order of name.

    Hidden ones, and what Python keeps in __pycache__, are left out.

    Raises ValueError for a folder of none, or of anything but files.
    """
    if not os.path.isdir(path):
        return [path]
    files = [os.path.join(path, name) for name in sorted(os.listdir(path)) if not name.startswith(('.', '__'))]
    if not files:
        raise ValueError(f'the folder {path} has no files to read')
    for file in files:
        if not os.path.isfile(file):
            raise ValueError(f'{file} is no text file: a folder to read must hold nothing but texts')
    return files


def _decoded(path, encoding, progress, digest, advice='name its encoding with the option encoding'):
    """The text of a file in pieces, with line ends as LF and without a byte order mark; its bytes go to digest.

    advice: what to do where it is not in that encoding.
    """
    try:
        ''.encode(encoding)                                # also refuses codecs that are not of text
        decoder = codecs.getincrementaldecoder(encoding)()
    except LookupError:
        raise ValueError(f'unknown text encoding {encoding!r}: try utf-8, latin-1 or cp1252') from None
    line_ends = io.IncrementalNewlineDecoder(None, translate=True)
    offset, first = 0, True
    with named('read', path), open(path, 'rb') as f, progress_bar(
            sys.stderr, progress, total=os.path.getsize(path), unit='B', unit_scale=True, leave=False, desc='reading',
            delay=1) as bar:
        while True:
            chunk = f.read(CHUNK)
            digest.update(chunk)
            waiting = len(decoder.getstate()[0])           # bytes of a character that the last chunk cut
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeError as error:                  # some codecs do not say where
                start, reason = getattr(error, 'start', 0), getattr(error, 'reason', error)
                raise ValueError(f'{path} is not {encoding}: byte {offset - waiting + start} ({reason}); {advice}'
                                 ) from None
            text = line_ends.decode(text, final=not chunk)
            if first and text:
                text, first = text[text[0] == '\ufeff':], False
            if text:
                yield text
            if not chunk:
                return
            offset += len(chunk)
            bar.update(len(chunk))


def _joined(path, encoding, progress, digest):
    """The text of a file or, joined by empty lines, of the files of a folder, in pieces as _decoded yields them."""
    files, end = text_files(path), '\n'
    for file in files:
        if file != files[0]:
            digest.update(b'\0')
            yield '\n' if end == '\n' else '\n\n'
            end = '\n'                                     # of a file that has nothing in it
        advice = ['take it out of the folder if it is no text, else name its encoding with the option encoding']
        for text in _decoded(file, encoding, progress, digest, *advice * (file != path)):
            if file != path and '\0' in text:              # such as a picture, in an encoding that takes any byte
                raise ValueError(f'{file} has NUL characters, so it is no text: take it out of the folder')
            yield text
            end = text[-1]


class _Numbering:
    """Characters numbered in the order in which they appear, for a text that is read piece by piece."""

    def __init__(self):
        self._code_of = np.full(sys.maxunicode + 1, sys.maxunicode, np.uint32)     # by code point; maxunicode: none yet
        self._points = np.empty(0, np.uint32)                                      # code points in order of appearance

    def codes(self, text):
        """The numbers of a piece, uint32."""
        piece = np.frombuffer(text.encode('utf-32-le', 'surrogatepass'), np.uint32)
        new = np.unique(piece[self._code_of[piece] == sys.maxunicode])
        self._code_of[new] = len(self._points) + np.arange(len(new))
        self._points = np.append(self._points, new)
        return self._code_of[piece]

    @property
    def type(self):
        """The smallest unsigned integer type for the numbers so far."""
        return smallest_type(len(self._points))

    def sorted(self):
        """The sorted characters, uchar (V,), and a table from the numbers to their places in it."""
        order = np.argsort(self._points)
        table = np.empty(len(order), self.type)
        table[order] = np.arange(len(order))
        return vocabulary(chr(point) for point in self._points[order]), table


def read_text(path, encoding='utf-8', progress=False):
    """Read a text file, or the files of a folder in order of name, joined by empty lines, as numbers.

    CRLF and bare CR are read as LF, and a byte order mark is dropped. The
    text is held once, in the smallest integer type that its vocabulary allows.

    Returns codes (number of characters,); uchar (V,), the sorted distinct
    characters, such that uchar[codes] is the text; and the SHA-256 of the file
    in hexadecimal. Raises OSError when the file cannot be read, ValueError when
    it is not in that encoding, or a folder holds something else than texts.
    """
    digest, numbering = hashlib.sha256(), _Numbering()
    with named('read', path):
        size = sum(os.path.getsize(file) + 2 for file in text_files(path))
    codes, n = np.empty(size, np.uint8), 0                             # rarely more characters than bytes
    for text in _joined(path, encoding, progress, digest):
        piece = numbering.codes(text)
        codes = codes.astype(max(codes.dtype, numbering.type), copy=False)
        if n + len(piece) > len(codes):
            codes = np.concatenate([codes, np.empty(n + len(piece), codes.dtype)])
        codes[n:n + len(piece)] = piece
        n += len(piece)
    uchar, table = numbering.sorted()
    return recode(codes[:n], table.astype(codes.dtype)), uchar, digest.hexdigest()


class _TwiceRead:
    """A text that nobody holds, and so is read twice: for its length and characters, and then for its numbers."""

    def __init__(self, path, encoding, progress):
        self._read = functools.partial(_joined, path, encoding, progress)
        self._path, self._numbering = path, _Numbering()

    def survey(self):
        """The number of characters, uchar and SHA-256, as read_text gives them."""
        digest, n = hashlib.sha256(), 0
        for text in self._read(digest):
            n += len(self._numbering.codes(text))
        uchar, self._table = self._numbering.sorted()
        self._sha256 = digest.hexdigest()
        return n, uchar, self._sha256

    def pieces(self):
        """Yield all characters as numbers of uchar, piece by piece. Raises ValueError where the file has changed."""
        digest = hashlib.sha256()
        for text in self._read(digest):
            codes = self._numbering.codes(text)
            if len(codes) and codes.max() >= len(self._table):
                break
            yield self._table[codes]
        if digest.hexdigest() != self._sha256:
            raise ValueError(f'{self._path} changed while it was read: start again when it stays as it is')


def _take(kept, starts, piece, offset):
    """Copy what a piece of a text, at an offset in it, has of the spans at starts (n,) to kept (n, length)."""
    length = kept.shape[1]
    first, last = np.searchsorted(starts, [offset - length, offset + len(piece)], side='right')
    for span, start in zip(kept[first:last], starts[first:last]):
        low, high = max(start, offset), min(start + length, offset + len(piece))
        if low < high:
            span[low - start:high - start] = piece[low - offset:high - offset]


def read_string(path, encoding='utf-8'):
    """The text of a file, or of the files of a folder, as a string. Raises as read_text."""
    codes, uchar, _ = read_text(path, encoding)
    return ''.join(uchar[codes])


# ---------------------------------------------------------------- batches

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

    def __init__(self, path, ratio_valid, batch_size, seq_length, encoding, stateful, progress, team=Alone()):
        """team: an Alone or a Team. Raises OSError and ValueError as CharLSTM.prepare_input says."""
        checks.real('ratio_valid', ratio_valid, 'from 0 to below 1', lambda r: 0 <= r < 1)
        checks.whole('batch_size', batch_size, 1)
        checks.whole('seq_length', seq_length, 2)
        self.path, self.encoding = os.fspath(path), encoding
        # Python's own numbers, which JSON can hold, also where they were NumPy's.
        self.ratio_valid, self.batch_size, self.seq_length = float(ratio_valid), int(batch_size), int(seq_length)
        self.stateful = bool(stateful)
        self._rows = team.rows(self.batch_size)
        self._kept = {}                # by part: the numbers of the characters in those rows, (spans, length)
        if team.size == 1:
            codes, self.uchar, self.sha256 = read_text(path, encoding, progress)
            self.characters = len(codes)
            self._check_length()
            for part, (starts, length) in self._spans().items():     # one after the other, so a view will do
                start = starts[0] if len(starts) else 0
                self._kept[part] = codes[start:start + len(starts) * length].reshape(len(starts), length)
        else:
            self._read_own(_TwiceRead(path, encoding, progress), team)
        self._cut()

    def _read_own(self, text, team):
        """Read what this process needs of the text, which the first reads for all."""
        self.characters, self.uchar, self.sha256 = team.told(text.survey)
        self._check_length()
        spans, pieces, offset = self._spans(), text.pieces(), 0
        for part, (starts, length) in spans.items():
            self._kept[part] = np.empty((len(starts), length), smallest_type(len(self.uchar)))
        while True:
            piece = team.told(next, pieces, None)
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

    def about(self):
        """What a checkpoint says of it."""
        return dict(path=self.path, characters=self.characters, sha256=self.sha256, encoding=self.encoding,
                    ratio_valid=self.ratio_valid, batch_size=self.batch_size, seq_length=self.seq_length,
                    stateful=self.stateful)

    def summary(self):
        """Two lines for a person: how long it is, and what became of it."""
        B, length, n = self.batch_size, self.seq_length, self.n_batches
        batches = f'{n["train"]} batches to train and {n["valid"]} to validate, each of '
        if self.stateful:
            batches += f'{length} steps of {B} streams'
        else:
            dropped = self.characters - sum(n.values()) * B * length
            batches += f'{B} sequences of {length} characters; {dropped:,} characters that fill no batch are dropped'
        return f'{self.path}: {self.characters:,} characters, {len(self.uchar)} distinct\n' + batches
