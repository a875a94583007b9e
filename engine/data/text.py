"""Read texts, and encode their characters as numbers."""
import codecs
import glob
import hashlib
import io
import os
import sys

import numpy as np

from engine import checks
from engine.files import named

PIECE = 1 << 20                # bytes that are read and encoded at a time, to save memory


def shown(characters, most=10):
    """List at most `most` characters for an error message, as escapes if they are not printable."""
    return ', '.join(map(repr, sorted(characters)[:most])) + (', ...' if len(characters) > most else '')


def encoded(text, uchar, name='the text'):
    """Return a string as indices into uchar, in the smallest type, (n,). Raise ValueError for other characters."""
    number = np.full(sys.maxunicode + 1, len(uchar), np.min_scalar_type(len(uchar)))           # of each code point
    number[[ord(ch) for ch in uchar]] = np.arange(len(uchar))
    codes = number[np.frombuffer(text.encode('utf-32-le', 'surrogatepass'), np.uint32)]
    if len(uchar) in codes:
        raise ValueError(f"{name} contains {shown(set(text) - set(uchar))}, which the model's training text lacks")
    return codes


# ---------------------------------------------------------------- reading

def source_name(source):
    """Return the path of a text, or the name of an open file."""
    return str(getattr(source, 'name', '<text>')) if hasattr(source, 'read') else os.fsdecode(source)


def _files(source):
    """Yield the open files of a text: one file, or the .txt files of a folder in order of their paths."""
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


def _pieces(source, encoding, digest):
    """Yield a text in pieces, with blank lines between the files of a folder. Update the digest with their bytes."""
    encoding, end = checks.encoding('encoding', encoding), None
    for f in _files(source):
        if end is not None:
            digest.update(b'\0')
            yield '\n\n' if end.strip('\n') else '\n'
        content, decoder, end = True, None, ''             # end: the last character
        while content:
            content = f.read(PIECE)
            if isinstance(content, str):                   # the file is open in text mode
                content, encoding = content.encode(), 'utf-8'
            digest.update(content)
            decoder = decoder or io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
            try:
                piece = decoder.decode(content, final=not content)
            except UnicodeError as error:
                raise ValueError(f'{source_name(f)} is not {encoding} ({getattr(error, "reason", error)}): set '
                                 f'--encoding, one for all files, or convert this one to {encoding}') from None
            piece = piece if end else piece.removeprefix('\ufeff')
            end = piece[-1:] or end
            yield piece


def read_text(path, encoding='utf-8'):
    """Read a text as numbers: the path of a file, an open file, or a folder of .txt files, joined by blank lines.

    CRLF and bare CR are read as LF, and a byte order mark is dropped. Returns codes (characters,), in the smallest
    integer type; uchar (V,), the sorted distinct characters; and the SHA-256 of the file in hexadecimal. Raises OSError
    if the file cannot be read, and ValueError if it is not in that encoding or is a folder without texts.
    """
    uchar, sources, codes = read_together({'text': path}, encoding)
    return codes['text'], uchar, sources['text']['sha256']


def read_together(named, encoding):
    """Read several texts as numbers of their joint vocabulary. named: name to path or open file.

    Returns uchar (V,); by name, a dict of path, characters (how many) and sha256; and by name, the numbers (n,).
    """
    seen, sources, codes = [], {}, {}
    for name, source in named.items():
        digest, codes[name] = hashlib.sha256(), []
        for piece in _pieces(source, encoding, digest):
            seen += sorted(set(piece) - set(seen))
            codes[name].append(encoded(piece, seen))
        sources[name] = dict(path=source_name(source), characters=sum(map(len, codes[name])), sha256=digest.hexdigest())
    uchar = np.array(sorted(seen), dtype=object)           # object, since NumPy's strings lose a NUL
    number = encoded(''.join(seen), uchar)                 # of each place in `seen`
    for name, pieces in codes.items():
        end = sources[name]['characters']
        codes[name] = np.empty(end, number.dtype)
        while pieces:                                      # from the end, since only its memory can be returned
            piece = number[pieces.pop()]
            codes[name][end - len(piece):end] = piece
            end -= len(piece)
    return uchar, sources, codes


def read_string(path, encoding='utf-8'):
    """Return a text as a string, and the SHA-256 of the file in hexadecimal. The arguments are those of read_text."""
    digest = hashlib.sha256()
    return ''.join(_pieces(path, encoding, digest)), digest.hexdigest()
