"""Text files as numbers of their characters."""
import codecs
import collections
import glob
import hashlib
import io
import os
import sys

import numpy as np

from engine.model import checks
from engine.model.files import named

CHUNK = 1 << 20        # bytes that are decoded at a time: enough to be fast, and little memory


def vocabulary(characters):
    """Return an array (V,) of one-character strings; of objects, since NumPy's strings lose a NUL."""
    return np.array(list(characters), dtype=object)


def shown(characters, most=10):
    """Return at most `most` characters for an error message, by their escapes if they do not print."""
    return ', '.join(map(repr, sorted(characters)[:most])) + (', ...' if len(characters) > most else '')


def encoded(text, uchar, name):
    """Return a string as numbers of uchar, int32 (n,). Raise ValueError, which names it, for other characters."""
    number = {ch: k for k, ch in enumerate(uchar)}
    if set(text) - set(number):
        raise ValueError(f'{name} has characters that the model never saw: {shown(set(text) - set(number))}')
    return np.array([number[ch] for ch in text], np.int32)


def without_unknown(text, uchar):
    """Return a string without the characters that are not in uchar, and how often each of those was in it."""
    counts = collections.Counter(text)
    unknown = {ch: counts[ch] for ch in sorted(counts.keys() - set(uchar))}
    return text.translate({ord(ch): None for ch in unknown}), unknown


def string_of(codes, uchar):
    """Return numbers of uchar as a string, in pieces, since an array of characters takes much more memory."""
    return ''.join(''.join(uchar[codes[start:start + CHUNK]]) for start in range(0, len(codes), CHUNK))


def smallest_type(vocabulary_size):
    """Return the smallest unsigned integer type that can number a vocabulary."""
    return np.min_scalar_type(max(vocabulary_size - 1, 0))


def renumbered(codes, uchar, new_uchar):
    """Return codes, of any shape, over uchar as codes over new_uchar, which has all its characters."""
    number = {ch: k for k, ch in enumerate(new_uchar)}
    table = np.array([number[ch] for ch in uchar], smallest_type(len(new_uchar)))
    new = np.empty(codes.shape, table.dtype)
    for start in range(0, codes.size, CHUNK):              # as NumPy makes an index of eight bytes of each number
        new.flat[start:start + CHUNK] = table[codes.flat[start:start + CHUNK]]
    return new


# ---------------------------------------------------------------- reading

def source_name(source):
    """Return the path of a text, or the name of an open one. Raises TypeError if it is neither."""
    return str(getattr(source, 'name', '<text>')) if hasattr(source, 'read') else os.fsdecode(source)


def _files(source):
    """Yield the files of a text, open: a file or, in order of path, the .txt files of a folder."""
    if hasattr(source, 'read'):
        yield source
        return
    name = os.fsdecode(source)
    paths = [name]
    if os.path.isdir(name):
        paths = glob.glob(os.path.join(glob.escape(name), '**', '*.txt'), recursive=True)
        if not paths:
            raise ValueError(f'the folder {name} has no .txt files')
    for path in sorted(paths, key=lambda path: path.split(os.sep)):
        with named('read', path), open(path, 'rb') as f:
            yield f


def _decoded(f, encoding, digest):
    """Yield the text of an open file in pieces, without a byte order mark, line ends as LF; digest gets its bytes."""
    decoder, line_ends = codecs.getincrementaldecoder(encoding)(), io.IncrementalNewlineDecoder(None, translate=True)
    chunk, beginning = True, True
    while chunk:
        chunk = f.read(CHUNK)
        as_text = isinstance(chunk, str)                   # as the file was opened
        digest.update(chunk.encode('utf-8', 'surrogatepass') if as_text else chunk)
        try:
            text = chunk if as_text else decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise ValueError(f'{source_name(f)} is not {encoding} ({error.reason}): name its --encoding') from None
        text = line_ends.decode(text, final=not chunk)
        if beginning and text:
            text, beginning = text.removeprefix('\ufeff'), False
        if text:
            yield text


def _pieces(source, encoding, digest):
    """Yield a text in pieces as _decoded does; the files of a folder are joined by empty lines."""
    encoding, end = checks.encoding('encoding', encoding), None
    for f in _files(source):
        if end is not None:
            digest.update(b'\0')
            yield '\n' if end == '\n' else '\n\n'
        end = '\n'                                         # stays if the file is empty
        for text in _decoded(f, encoding, digest):
            yield text
            end = text[-1]


def read_text(path, encoding='utf-8'):
    """Read a text as numbers: a file by its path or open, or the .txt files of a folder, joined by empty lines.

    CRLF and bare CR are read as LF, and a byte order mark is dropped. Returns codes (characters,), in the smallest
    integer type; uchar (V,), the sorted distinct characters; and the SHA-256 of the file in hexadecimal. Raises OSError
    if the file cannot be read, and ValueError if it is not in that encoding, or a folder without texts.
    """
    digest = hashlib.sha256()
    pieces = list(_pieces(path, encoding, digest))
    uchar = sorted(set().union(*pieces))
    number = np.zeros(sys.maxunicode + 1, smallest_type(len(uchar)))               # of each code point
    number[[ord(ch) for ch in uchar]] = np.arange(len(uchar))
    for k, piece in enumerate(pieces):                     # in the place of the string, as texts are big
        pieces[k] = number[np.frombuffer(piece.encode('utf-32-le', 'surrogatepass'), np.uint32)]
    return np.concatenate([number[:0], *pieces]), vocabulary(uchar), digest.hexdigest()


def read_together(named, encoding, codes):
    """Read texts, by name a path or an open file, into codes, a dict, as numbers of the vocabulary of all of them.

    Return uchar (V,) and, by name, path, number of characters and sha256. Errors: as for read_text.
    """
    texts = {name: read_text(source, encoding) for name, source in named.items()}
    uchar = vocabulary(sorted(set().union(*(own for _, own, _ in texts.values()))))
    codes.update({name: renumbered(text, own, uchar) for name, (text, own, _) in texts.items()})
    return uchar, {name: dict(path=source_name(named[name]), characters=len(codes[name]), sha256=sha256)
                   for name, (*_, sha256) in texts.items()}


def read_string(path, encoding='utf-8'):
    """Read a text as a string. Arguments and errors: as for read_text."""
    return ''.join(_pieces(path, encoding, hashlib.sha256()))
