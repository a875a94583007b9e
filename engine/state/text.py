"""Text files as numbers of their characters."""
import codecs
import collections
import hashlib
import io
import math
import os
import re
import sys

import numpy as np

from engine.files import named
from engine.progress import progress_bar

CHUNK = 1 << 20        # bytes decoded at a time: enough to be fast, small beside any text
LOOK = 1 << 20         # bytes at the beginning of a file that say whether it is a text
CONTROLS = re.compile(b'[\0-\x06\x0e-\x19\x1c-\x1f]')             # bytes that texts do not have


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

def _is_binary(path, encoding):
    """Whether a file begins as no text does: with NULs, or with control characters and not in that encoding."""
    with named('read', path), open(path, 'rb') as f:
        start = f.read(LOOK)
    try:
        return '\0' in codec(encoding).incrementaldecoder().decode(start)
    except UnicodeError:
        return not start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and bool(CONTROLS.search(start))


def _found(folder):
    """Yield all files of a folder and its subfolders, and what is no folder to be read there, each with its kind.

    The kind is None for a file that may be a text.
    """
    def refuse(error):
        raise error

    for place, folders, names in os.walk(folder, onerror=refuse):
        for name in names + folders:
            path = os.path.join(place, name)
            is_folder = name in folders
            kind = None
            if name.startswith('.'):
                kind = 'hidden folder' if is_folder else 'hidden file'
            elif is_folder and name == '__pycache__':
                kind = 'cache'
            elif is_folder and os.path.islink(path):
                kind = 'link to a folder'
            elif not is_folder and not os.path.isfile(path):
                kind = 'dead link' if os.path.islink(path) else 'device'
            if kind or not is_folder:
                yield path, kind
        folders[:] = [name for name in folders if not name.startswith('.') and name != '__pycache__']


def text_files(path, encoding='utf-8'):
    """Return the files of a text, and how many others were left out, by kind.

    The files are path alone or, where it is a folder, the texts in it and in its subfolders, in
    order of path. Hidden files and folders, caches, binary files, links to folders and what is
    no file are left out. Raises ValueError for a folder without texts.
    """
    if not os.path.isdir(path):
        return [path], {}
    files, others = [], collections.Counter()
    for file, kind in _found(path):
        if not kind and _is_binary(file, encoding):
            kind = f'binary file {os.path.splitext(file)[1]}'.strip()
        if kind:
            others[kind] += 1
        else:
            files.append(file)
    if not files:
        raise ValueError(f'the folder {path} has no files to read{_left_out(others)}')
    return sorted(files, key=lambda file: file.split(os.sep)), others


def _left_out(others):
    return '; left out: ' * bool(others) + ', '.join(f'{n:,} x {kind}' for kind, n in sorted(others.items()))


def folder_summary(path, encoding='utf-8'):
    """Return a line on the files of a folder, how many are read and what is left out; '' for a file."""
    files, others = text_files(path, encoding)
    return f'{len(files):,} files read{_left_out(others)}' if os.path.isdir(path) else ''


def codec(encoding):
    """Return the codec of a text encoding. Raises ValueError where there is none."""
    try:
        ''.encode(encoding)                                # also refuses codecs that are not of text
        return codecs.lookup(encoding)
    except LookupError:
        raise ValueError(f'unknown text encoding {encoding!r}: try utf-8, latin-1 or cp1252') from None


def _decoded(path, encoding, progress, digest, advice='name its encoding with the option encoding'):
    """The text of a file in pieces, with line ends as LF and without a byte order mark; its bytes go to digest.

    advice: what to do where it is not in that encoding.
    """
    decoder = codec(encoding).incrementaldecoder()
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


def _joined(path, files, encoding, progress, digest):
    """The text of a file or, joined by empty lines, of the files of a folder, in pieces as _decoded yields them."""
    end = '\n'
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
    """Read a text file, or the text files of a folder in order of path, joined by empty lines, as numbers.

    CRLF and bare CR are read as LF, and a byte order mark is dropped. The
    text is held once, in the smallest integer type that its vocabulary allows.

    Returns codes (number of characters,); uchar (V,), the sorted distinct
    characters, such that uchar[codes] is the text; and the SHA-256 of the file
    in hexadecimal. Raises OSError when the file cannot be read, ValueError when
    it is not in that encoding, or a folder holds no texts.
    """
    digest, numbering = hashlib.sha256(), _Numbering()
    with named('read', path):
        files, _ = text_files(path, encoding)
        size = sum(os.path.getsize(file) + 2 for file in files)
    codes, n = np.empty(size, np.uint8), 0                             # rarely more characters than bytes
    for text in _joined(path, files, encoding, progress, digest):
        piece = numbering.codes(text)
        codes = codes.astype(max(codes.dtype, numbering.type), copy=False)
        if n + len(piece) > len(codes):
            codes = np.concatenate([codes, np.empty(n + len(piece), codes.dtype)])
        codes[n:n + len(piece)] = piece
        n += len(piece)
    uchar, table = numbering.sorted()
    return recode(codes[:n], table.astype(codes.dtype)), uchar, digest.hexdigest()


class TwiceRead:
    """A text that nobody holds, and so is read twice: for its length and characters, and then for its numbers."""

    def __init__(self, path, encoding, progress):
        self._path, self._encoding, self._progress = path, encoding, progress
        self._numbering = _Numbering()

    def survey(self):
        """The number of characters, uchar and SHA-256, as read_text gives them."""
        with named('read', self._path):
            self._files, _ = text_files(self._path, self._encoding)
        digest, n = hashlib.sha256(), 0
        for text in self._read(digest):
            n += len(self._numbering.codes(text))
        uchar, self._table = self._numbering.sorted()
        self._sha256 = digest.hexdigest()
        return n, uchar, self._sha256

    def _read(self, digest):
        return _joined(self._path, self._files, self._encoding, self._progress, digest)

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


def read_string(path, encoding='utf-8'):
    """The text of a file, or of the files of a folder, as a string. Raises as read_text."""
    codes, uchar, _ = read_text(path, encoding)
    return ''.join(uchar[codes])
