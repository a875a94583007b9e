"""Read texts, and encode their characters as numbers."""
import glob
import hashlib
import os
import sys

import numpy as np

from engine.model import checks
from engine.model.files import named


def shown(characters, most=10):
    """List at most `most` characters for an error message, as escapes if they are not printable."""
    return ', '.join(map(repr, sorted(characters)[:most])) + (', ...' if len(characters) > most else '')


def encoded(text, uchar, name='the text'):
    """Return a string as indices into uchar, in the smallest type, (n,). Raise ValueError for other characters."""
    unknown = set(text) - set(uchar)
    if unknown:
        raise ValueError(f"{name} contains {shown(unknown)}, which the model's training text does not contain")
    number = np.zeros(sys.maxunicode + 1, np.min_scalar_type(len(uchar)))            # of each code point
    number[[ord(ch) for ch in uchar]] = np.arange(len(uchar))
    return number[np.frombuffer(text.encode('utf-32-le', 'surrogatepass'), np.uint32)]


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


def _read(source, encoding):
    """Return a text as a string, with blank lines between the files of a folder, and its SHA-256 in hexadecimal."""
    encoding, digest, pieces = checks.encoding('encoding', encoding), hashlib.sha256(), []
    for f in _files(source):
        content = f.read()
        if isinstance(content, str):                       # the file is open in text mode
            content, encoding = content.encode(), 'utf-8'
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError as error:
            raise ValueError(f'{source_name(f)} is not {encoding} ({error.reason}): set its --encoding') from None
        if pieces:
            digest.update(b'\0')
            pieces.append('\n\n' if pieces[-1] and pieces[-1][-1] != '\n' else '\n')
        digest.update(content)
        pieces.append(text.removeprefix('\ufeff').replace('\r\n', '\n').replace('\r', '\n'))
    return ''.join(pieces), digest.hexdigest()


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
    texts = {name: _read(source, encoding) for name, source in named.items()}
    characters = sorted(set().union(*(text for text, _ in texts.values())))
    uchar = np.array(characters, dtype=object)             # object, since NumPy's strings lose a NUL
    sources = {name: dict(path=source_name(named[name]), characters=len(text), sha256=sha256)
               for name, (text, sha256) in texts.items()}
    return uchar, sources, {name: encoded(text, uchar) for name, (text, _) in texts.items()}


def read_string(path, encoding='utf-8'):
    """Return a text as a string. The arguments are those of read_text."""
    return _read(path, encoding)[0]
