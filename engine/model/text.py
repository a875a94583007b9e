"""Text files as numbers of their characters."""
import collections
import codecs
import glob
import hashlib
import io
import math
import os
import sys

import numpy as np

from engine.model import checks
from engine.model.files import named

CHUNK = 1 << 20        # bytes that are decoded at a time: enough to be fast, and little memory


# ---------------------------------------------------------------- characters and their numbers

def vocabulary(characters):
    """Return an array (V,) of one-character strings; of objects, since NumPy's strings lose a NUL."""
    return np.array(list(characters), dtype=object)


def shown(characters, most=10):
    """Return at most `most` characters for an error message, by their escapes if they do not print."""
    return ', '.join(map(repr, sorted(characters)[:most])) + (', ...' if len(characters) > most else '')


def encoded(text, uchar, name):
    """Return a string as numbers of uchar, int32 (n,).

    Raises ValueError if it has other characters; name: what the message calls the string.
    """
    number = {ch: k for k, ch in enumerate(uchar)}
    unknown = set(text) - set(number)
    if unknown:
        raise ValueError(f'{name} has characters that the model never saw: {shown(unknown)}')
    return np.array([number[ch] for ch in text], np.int32)


def without_unknown(text, uchar):
    """Return a string without the characters that are not in uchar, and how often each of those was in it."""
    counts = collections.Counter(text)
    unknown = {ch: counts[ch] for ch in sorted(counts.keys() - set(uchar))}
    return text.translate({ord(ch): None for ch in unknown}), unknown


def string_of(codes, uchar):
    """Return numbers of uchar as a string, in pieces, since an array of characters takes much more memory."""
    return ''.join(''.join(uchar[codes[start:start + CHUNK]]) for start in range(0, len(codes), CHUNK))


def nearest(x):
    """Return the nearest whole number, halves rounded up as in Python 2, which the original ran on."""
    below = math.floor(x)
    return below + 1 if x - below >= 0.5 else below


def smallest_type(vocabulary_size):
    """Return the smallest unsigned integer type that can number a vocabulary."""
    return np.min_scalar_type(max(vocabulary_size - 1, 0))


def renumbered(codes, uchar, new_uchar):
    """Return codes (n,) over uchar as codes over new_uchar, which has all its characters; codes may be overwritten."""
    number = {ch: k for k, ch in enumerate(new_uchar)}
    table = np.array([number[ch] for ch in uchar], smallest_type(len(new_uchar)))
    new = codes if codes.dtype == table.dtype else np.empty(len(codes), table.dtype)
    for start in range(0, len(codes), CHUNK):              # in place if possible, as texts are big
        new[start:start + CHUNK] = table[codes[start:start + CHUNK]]
    return new


# ---------------------------------------------------------------- reading

def source_name(source):
    """Return the path of a text, or the name of an open one. Raises TypeError if it is neither."""
    return str(getattr(source, 'name', '<text>')) if hasattr(source, 'read') else os.fsdecode(source)


def _opened(source):
    """Yield the files of a text, open, with their names: one file or, in order of path, the .txt files of a folder.

    Raises ValueError for a folder without any.
    """
    name, paths = source_name(source), ['']
    if hasattr(source, 'read'):
        yield source, name
        return
    if os.path.isdir(name):
        paths = sorted(glob.glob('**/*.txt', root_dir=name, recursive=True), key=lambda path: path.split(os.sep))
    if not paths:
        raise ValueError(f'the folder {name} has no .txt files')
    for path in paths:
        path = os.path.join(name, path) if path else name
        with named('read', path), open(path, 'rb') as f:
            yield f, path


def _decoded(f, name, encoding, digest):
    """Yield the text of an open file in pieces, with line ends as LF, without a byte order mark; digest gets its bytes.

    Raises ValueError if it is not in that encoding.
    """
    decoder, line_ends = codecs.getincrementaldecoder(encoding)(), io.IncrementalNewlineDecoder(None, translate=True)
    size, chunk, beginning = 0, True, True
    while chunk:
        chunk = f.read(CHUNK)                              # a string, if the file is open as text
        data = chunk.encode('utf-8', 'surrogatepass') if isinstance(chunk, str) else chunk
        digest.update(data)
        size += len(data)
        try:
            text = chunk if isinstance(chunk, str) else decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            byte = size - len(error.object) + error.start          # error.object begins with what was left before
            raise ValueError(f'{name} is not {encoding}: byte {byte} ({error.reason}); name its encoding with '
                             '--encoding') from None
        text = line_ends.decode(text, final=not chunk)
        if beginning and text:
            text, beginning = text.removeprefix('\ufeff'), False
        if text:
            yield text


def _pieces(source, encoding, digest):
    """Yield a text in pieces as _decoded does; the files of a folder are joined by empty lines."""
    end = None
    for f, name in _opened(source):
        if end is not None:
            digest.update(b'\0')
            yield '\n' if end == '\n' else '\n\n'
        end = '\n'                                         # stays if the file is empty
        for text in _decoded(f, name, encoding, digest):
            yield text
            end = text[-1]


def read_text(path, encoding='utf-8'):
    """Read a text as numbers: a file by its path or open, or the .txt files of a folder, joined by empty lines.

    CRLF and bare CR are read as LF, and a byte order mark is dropped. The
    text is held once, in the smallest integer type that its vocabulary allows.

    Returns codes (number of characters,); uchar (V,), the sorted distinct
    characters, such that uchar[codes] is the text; and the SHA-256 of the file
    in hexadecimal. Raises OSError if the file cannot be read, and ValueError if
    it is not in that encoding, or a folder without texts.
    """
    encoding, digest = checks.encoding('encoding', encoding), hashlib.sha256()
    # Characters are numbered in the order in which they appear, and in sorted order when all are known.
    unseen, points, pieces = sys.maxunicode, np.empty(0, np.uint32), []            # points: of the characters
    code_of = np.full(sys.maxunicode + 1, unseen, np.uint32)                       # by code point
    for text in _pieces(path, encoding, digest):
        piece = np.frombuffer(text.encode('utf-32-le', 'surrogatepass'), np.uint32)
        new = np.unique(piece[code_of[piece] == unseen])
        code_of[new] = len(points) + np.arange(len(new))
        points = np.append(points, new)
        pieces.append(code_of[piece].astype(smallest_type(len(points))))
    rank = np.argsort(np.argsort(points)).astype(smallest_type(len(points)))
    end = sum(map(len, pieces))
    codes = np.empty(end, rank.dtype)
    while pieces:                                          # from the last one: memory for all is needed only once
        piece = pieces.pop()
        end -= len(piece)
        codes[end:end + len(piece)] = rank[piece]
    return codes, vocabulary(map(chr, np.sort(points))), digest.hexdigest()


def read_together(paths, encoding='utf-8'):
    """Read several texts as numbers of one vocabulary, that of all of them. Arguments and errors: as for read_text.

    Returns a list of the codes of each text; uchar (V,); and a list of the SHA-256 of each.
    """
    texts = [read_text(path, encoding) for path in paths]
    uchar = vocabulary(sorted(set().union(*(own for _, own, _ in texts))))
    return [renumbered(codes, own, uchar) for codes, own, _ in texts], uchar, [sha256 for *_, sha256 in texts]


def read_string(path, encoding='utf-8'):
    """Read a text as a string. Arguments and errors: as for read_text."""
    return string_of(*read_text(path, encoding)[:2])
