"""A text file as numbers of its characters, split for training and validation, and cut into batches."""
import codecs
import hashlib
import io
import math
import os
import sys
from collections.abc import Sequence

import numpy as np

from engine import checks
from engine.files import named
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


def read_text(path, encoding='utf-8', progress=False):
    """Read a text file, or the files of a folder in order of name, joined by empty lines, as numbers.

    CRLF and bare CR are read as LF, and a byte order mark is dropped. The
    text is held once, in the smallest integer type that its vocabulary allows.

    Returns codes (number of characters,); uchar (V,), the sorted distinct
    characters, such that uchar[codes] is the text; and the SHA-256 of the file
    in hexadecimal. Raises OSError when the file cannot be read, ValueError when
    it is not in that encoding, or a folder holds something else than texts.
    """
    digest = hashlib.sha256()
    code_of = np.full(sys.maxunicode + 1, sys.maxunicode, np.uint32)   # by code point; maxunicode: none yet
    points = np.empty(0, np.uint32)                                    # code points in order of appearance
    with named('read', path):
        size = sum(os.path.getsize(file) + 2 for file in text_files(path))
    codes, n = np.empty(size, np.uint8), 0                             # rarely more characters than bytes
    for text in _joined(path, encoding, progress, digest):
        piece = np.frombuffer(text.encode('utf-32-le', 'surrogatepass'), np.uint32)
        new = np.unique(piece[code_of[piece] == sys.maxunicode])
        code_of[new] = len(points) + np.arange(len(new))
        points = np.append(points, new)
        codes = codes.astype(max(codes.dtype, smallest_type(len(points))), copy=False)
        if n + len(piece) > len(codes):
            codes = np.concatenate([codes, np.empty(n + len(piece), codes.dtype)])
        codes[n:n + len(piece)] = code_of[piece]
        n += len(piece)
    order = np.argsort(points)
    table = np.empty(len(points), codes.dtype)
    table[order] = np.arange(len(points))
    return recode(codes[:n], table), vocabulary(chr(point) for point in points[order]), digest.hexdigest()


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

    Attributes: path, encoding, sha256 of the file; codes (n,), uchar (V,) such that
    uchar[codes] is the text; ratio_valid, batch_size, seq_length, stateful as given;
    X, Y, n_batches: inputs, targets and their number, each by 'train' and 'valid'.
    """

    def __init__(self, path, ratio_valid, batch_size, seq_length, encoding, stateful, progress):
        """Raises OSError when the file cannot be read; ValueError as CharLSTM.prepare_input says."""
        checks.real('ratio_valid', ratio_valid, 'from 0 to below 1', lambda r: 0 <= r < 1)
        checks.whole('batch_size', batch_size, 1)
        checks.whole('seq_length', seq_length, 2)
        self.path, self.encoding = os.fspath(path), encoding
        # Python's own numbers, which JSON can hold, also where they were NumPy's.
        self.ratio_valid, self.batch_size, self.seq_length = float(ratio_valid), int(batch_size), int(seq_length)
        self.stateful = bool(stateful)
        self.codes, self.uchar, self.sha256 = read_text(path, encoding, progress)
        self._check_length()
        self._cut()

    def _check_length(self):
        # Sequences, of which batch_size train; one less than the quotient, as rounding decides the last ones.
        needed = max(self.batch_size, int((self.batch_size - 0.5) / (1 - self.ratio_valid)) - 1)
        while nearest((1 - self.ratio_valid) * needed) < self.batch_size:
            needed += 1
        if len(self.codes) < needed * self.seq_length:
            raise ValueError(
                f'{self.path} has {len(self.codes):,} characters: batches of {self.batch_size} sequences of '
                f'{self.seq_length} characters, with {self.ratio_valid:g} of the text for validation, need '
                f'{needed * self.seq_length:,}; take a longer text or a smaller batch or sequence')
        if len(self.uchar) < 2:
            raise ValueError(f'{self.path} has only one distinct character, {shown(self.uchar)}: there is nothing to '
                             'learn')

    def _cut(self):
        """Set X, Y and n_batches to views of the codes."""
        codes, B, length = self.codes, self.batch_size, self.seq_length
        n_train = nearest((1 - self.ratio_valid) * (len(codes) // length)) * length         # characters
        self.X, self.Y = {}, {}
        for part, piece in (('train', codes[:n_train]), ('valid', codes[n_train:])):
            if self.stateful:
                streams = piece[:len(piece) // B * B].reshape(B, -1)
                self.X[part], self.Y[part] = [_Streams(streams, length, shift) for shift in (0, 1)]
            else:
                sequences = piece[:len(piece) // length * length].reshape(-1, length)
                self.X[part], self.Y[part] = [_Sequences(sequences, B, shift) for shift in (0, 1)]
        self.n_batches = {part: len(batches) for part, batches in self.X.items()}

    @property
    def steps(self):
        """T of a whole batch."""
        return self.seq_length if self.stateful else self.seq_length - 1

    def renumber(self, uchar):
        """Number the text by another vocabulary, which has all its characters."""
        self.codes, self.uchar = renumbered(self.codes, self.uchar, uchar), uchar
        self._cut()

    def about(self):
        """What a checkpoint says of it."""
        return dict(path=self.path, characters=len(self.codes), sha256=self.sha256, encoding=self.encoding,
                    ratio_valid=self.ratio_valid, batch_size=self.batch_size, seq_length=self.seq_length,
                    stateful=self.stateful)

    def summary(self):
        """Two lines for a person: how long it is, and what became of it."""
        B, length, n = self.batch_size, self.seq_length, self.n_batches
        batches = f'{n["train"]} batches to train and {n["valid"]} to validate, each of '
        if self.stateful:
            batches += f'{length} steps of {B} streams'
        else:
            dropped = len(self.codes) - sum(n.values()) * B * length
            batches += f'{B} sequences of {length} characters; {dropped:,} characters that fill no batch are dropped'
        return f'{self.path}: {len(self.codes):,} characters, {len(self.uchar)} distinct\n' + batches
