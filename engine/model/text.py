"""Text files as numbers of their characters."""
import codecs
import collections
import hashlib
import io
import math
import os
import re
import stat
import sys

import numpy as np

from engine.model import checks
from engine.model.files import named
from engine.terminal import bar, number_of

CHUNK = 1 << 20        # bytes that are decoded at a time: enough to be fast, and little memory
LOOK = 1 << 20         # bytes at the beginning of a file in a folder that say whether it is a text
BEGINNING = 1 << 16    # bytes at the beginning of any file that say whether it is one of NO_TEXTS
CONTROLS = re.compile(b'[\0-\x06\x0e-\x19\x1c-\x1f]')             # bytes that texts do not have
# Files that are no texts in any encoding: how they begin, what they are, and how the message on one ends. In a zip file
# the name of its first member is 30 bytes from the beginning; others and, if they are not compressed, contents follow.
SAVE, UNPACK = ': save it as plain text (UTF-8)', ': unpack it'
NO_TEXTS = [(re.compile(beginning, re.DOTALL), what, ending) for beginning, what, ending in (
    (rb'PK\x03\x04.{26}\w+\.npy', 'a checkpoint', ', not a text'),
    (rb'.{5}\0\0\0\{"', 'a file of safetensors', ', not a text'),
    (rb'PK\x03\x04.{26}mimetype.*?application/epub', 'an EPUB book', SAVE),
    (rb'PK\x03\x04.{26}mimetype.*?application/vnd\.oasis', 'an OpenDocument file', SAVE),
    (rb'PK\x03\x04.*?(?<!\w)word/', 'a Word document', SAVE),
    (rb'PK\x03\x04', 'a zip archive', UNPACK),
    (rb'\x1f\x8b', 'a gzip archive', UNPACK),
    (rb'\xd0\xcf\x11\xe0', 'a Word or other Office document', SAVE),         # of before 2007
    (rb'\{\\rtf', 'an RTF document', SAVE),
    (rb'%PDF', 'a PDF document', SAVE))]


# ---------------------------------------------------------------- characters and their numbers

def vocabulary(characters):
    """Return an array (V,) of one-character strings; of objects, since NumPy's strings lose a NUL."""
    return np.array(list(characters), dtype=object)


def shown(characters, most=10):
    """Return at most `most` characters for an error message, by their escapes where they do not print."""
    return ', '.join(map(repr, sorted(characters)[:most])) + (', ...' if len(characters) > most else '')


def encoded(text, uchar, name):
    """Return a string as numbers of uchar, int32 (n,).

    Raises ValueError where it has other characters; name: what the message calls the string.
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


def recode(codes, table):
    """Return codes (n,) with each value k replaced by table[k]; in place where the type allows, as texts are big."""
    new = codes if codes.dtype == table.dtype else np.empty(len(codes), table.dtype)
    for start in range(0, len(codes), CHUNK):
        new[start:start + CHUNK] = table[codes[start:start + CHUNK]]
    return new


def renumbered(codes, uchar, new_uchar):
    """Return codes over uchar as codes over new_uchar, which has all its characters; codes may be overwritten."""
    number = {ch: k for k, ch in enumerate(new_uchar)}
    return recode(codes, np.array([number[ch] for ch in uchar], smallest_type(len(new_uchar))))


# ---------------------------------------------------------------- the files of a text

def codec(encoding):
    """Return the codec of a text encoding. Raises ValueError where there is none."""
    return codecs.lookup(checks.encoding('encoding', encoding))


def _known(start):
    """Return what a file of NO_TEXTS is, by its beginning, and how a message on it ends; '' and '' for others."""
    return next(((what, ending) for beginning, what, ending in NO_TEXTS if beginning.match(start)), ('', ''))


def _begins_as_utf_16(start):
    return start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


def _binary_kind(path, encoding):
    """Return what a file is that begins as no text does, in some words; '' for a text.

    Unknown ones begin with NULs, or with control characters and not in that encoding.
    """
    with named('read', path), open(path, 'rb') as f:
        start = f.read(LOOK)
    what, _ = _known(start)
    if what:
        return what.split(' ', 1)[1]                       # without its article
    try:
        binary = '\0' in codec(encoding).incrementaldecoder().decode(start)
    except UnicodeError:
        binary = not _begins_as_utf_16(start) and bool(CONTROLS.search(start))
    return f'binary file {os.path.splitext(path)[1]}'.strip() if binary else ''


def _reason_to_skip(path, is_folder, encoding):
    """Return why something in a folder is no part of a text, in a word or two; '' for a text or a folder to read."""
    name = os.path.basename(path)
    if name.startswith('.'):
        return 'hidden folder' if is_folder else 'hidden file'
    if is_folder and name == '__pycache__':
        return 'cache'
    if is_folder:
        return 'link to a folder' if os.path.islink(path) else ''
    if not os.path.isfile(path):
        return 'dead link' if os.path.islink(path) else 'device'
    return _binary_kind(path, encoding)


def _text_files(path, encoding):
    """Return the files of a text, and a line on them.

    Where path is a folder, the files are the texts in it and in its subfolders, in order of path. The line says how
    many these are, and what is left out: hidden files and folders, caches, NO_TEXTS and other binary files, links to
    folders and what is no file. Otherwise the file is path itself, and the line is ''. Raises ValueError for a folder
    without texts.
    """
    def refuse(error):
        with named('read', error.filename):
            raise error

    if not os.path.isdir(path):
        return [path], ''
    files, skipped = [], collections.Counter()
    for folder, subfolders, names in os.walk(path, onerror=refuse):
        to_read = []
        for name in names + subfolders:
            found, is_folder = os.path.join(folder, name), name in subfolders
            reason = _reason_to_skip(found, is_folder, encoding)
            if reason:
                skipped[reason] += 1
            elif is_folder:
                to_read.append(name)
            else:
                files.append(found)
        subfolders[:] = to_read
    left_out = '; left out: ' if skipped else ''
    left_out += ', '.join(f'{n:,} x {reason}' for reason, n in sorted(skipped.items()))
    if not files:
        raise ValueError(f'the folder {path} has no files to read{left_out}')
    return sorted(files, key=lambda file: file.split(os.sep)), f'{len(files):,} files read{left_out}'


# ---------------------------------------------------------------- reading

def _opened(path):
    """Open a text file. Raise ValueError for a device."""
    mode = os.stat(path).st_mode
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise ValueError(f'{path} is a device, which may never end: expected a text file, or a folder of text files')
    return open(path, 'rb', buffering=BEGINNING)


def _check_beginning(path, start, encoding, in_folder):
    """Raise ValueError for a file that begins as one of NO_TEXTS, or as UTF-16 or UTF-32 in another encoding."""
    what, ending = _known(start)
    if what:
        raise ValueError(f'{path} is {what}{ending}')
    marked = 'utf-32' if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)) else (       # begins as UTF-16
        'utf-16' if _begins_as_utf_16(start) else '')
    if not codec(encoding).name.startswith(marked):
        advice = f'add --encoding {marked}'
        if in_folder:
            advice = f'save it as {encoding}, or {advice} if all files of the folder are {marked.upper()}'
        raise ValueError(f'{path} is {marked.upper()}: {advice}')


def _decoded(path, encoding, progress, digest, in_folder):
    """Yield the text of a file in pieces, with line ends as LF and without a byte order mark; digest gets its bytes.

    in_folder: whether it is one of the files of a folder, which have one encoding.
    """
    advice = 'name its encoding with the option encoding'
    if in_folder:
        advice = f'take it out of the folder if it is no text, or {advice}'
    decoder = io.IncrementalNewlineDecoder(codec(encoding).incrementaldecoder(), translate=True)
    offset = 0
    with named('read', path), _opened(path) as f, bar(
            os.path.getsize(path), 'reading', 'bytes') as shown:
        _check_beginning(path, f.peek(), encoding, in_folder)        # what peek() returns is read again
        chunk = first = True
        while chunk:
            chunk = f.read(CHUNK)
            digest.update(chunk)
            offset += len(chunk)
            if progress:
                shown.update(len(chunk))
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:            # of these bytes and of what was left of those before
                byte = offset - len(error.object) + error.start
                if not chunk:
                    advice = f'it ends in the middle of a character: end it before that byte, or {advice}'
                raise ValueError(f'{path} is not {encoding}: byte {byte} ({error.reason}); {advice}') from None
            except UnicodeError as error:                  # of a codec that does not say where
                raise ValueError(f'{path} is not {encoding} ({error}); {advice}') from None
            if first and text:
                text, first = text[1:] if text[0] == '\ufeff' else text, False
            if text:
                yield text


def _joined(path, files, encoding, progress, digest):
    """Yield the text of a file or, joined by empty lines, of the files of a folder, in pieces as _decoded does."""
    end = '\n'
    for file in files:
        if file != files[0]:
            digest.update(b'\0')
            yield '\n' if end == '\n' else '\n\n'
            end = '\n'                                     # stays, where the next file is empty
        for text in _decoded(file, encoding, progress, digest, in_folder=file != path):
            if file != path and '\0' in text:              # such as a picture, in an encoding that takes any byte
                raise ValueError(f'{file} has NUL characters, so it is no text: take it out of the folder')
            yield text
            end = text[-1]


def read_files(path, encoding='utf-8', progress=False):
    """Read a text as read_text does. Also return a line on the files of a folder or on NULs in a file, '' for none."""
    digest = hashlib.sha256()
    with named('read', path):
        files, line = _text_files(path, encoding)
        size = sum(os.path.getsize(file) + 2 for file in files)
    codes, n = np.empty(size, np.uint8), 0                             # rarely more characters than bytes
    # Characters are numbered in the order in which they appear, and in sorted order when all are known.
    unseen, points = sys.maxunicode, np.empty(0, np.uint32)            # the code points of the characters
    code_of = np.full(sys.maxunicode + 1, unseen, np.uint32)           # by code point
    for text in _joined(path, files, encoding, progress, digest):
        piece = np.frombuffer(text.encode('utf-32-le', 'surrogatepass'), np.uint32)
        new = np.unique(piece[code_of[piece] == unseen])
        code_of[new] = len(points) + np.arange(len(new))
        points = np.append(points, new)
        dtype = max(codes.dtype, smallest_type(len(points)))
        if dtype != codes.dtype:                           # astype would touch all of it, however short the text is
            codes, narrow = np.empty(len(codes), dtype), codes
            codes[:n] = narrow[:n]
        if n + len(piece) > len(codes):
            codes = np.concatenate([codes, np.empty(n + len(piece), codes.dtype)])
        codes[n:n + len(piece)] = code_of[piece]
        n += len(piece)
    if 0 in points and not codec(encoding).name.startswith('utf-16'):             # a NUL
        nuls = np.count_nonzero(codes[:n] == code_of[0])
        line = f'{path} has {number_of(nuls, "NUL character")}: if it is UTF-16, add --encoding utf-16-le'
    order = np.argsort(points)
    table = np.empty(len(order), codes.dtype)
    table[order] = np.arange(len(order))
    return recode(codes[:n], table), vocabulary(map(chr, points[order])), digest.hexdigest(), line


def read_text(path, encoding='utf-8', progress=False):
    """Read a text file, or the text files of a folder in order of path, joined by empty lines, as numbers.

    CRLF and bare CR are read as LF, and a byte order mark is dropped. The
    text is held once, in the smallest integer type that its vocabulary allows.

    Returns codes (number of characters,); uchar (V,), the sorted distinct
    characters, such that uchar[codes] is the text; and the SHA-256 of the file
    in hexadecimal. Raises OSError when the file cannot be read, ValueError when
    it is a device, one of NO_TEXTS, not in that encoding, or a folder without texts.
    """
    return read_files(path, encoding, progress)[:3]


def read_together(paths, encoding='utf-8', progress=False):
    """Read several texts as numbers of one vocabulary, that of all of them. Arguments and errors: as for read_text.

    Returns four: a list of the codes of each text; uchar (V,); and lists of the SHA-256 of each text and of the line on
    its files, as read_files returns them.
    """
    texts = [read_files(path, encoding, progress) for path in paths]
    uchar = vocabulary(sorted(set().union(*(own for _, own, *_ in texts))))
    codes = [codes if len(own) == len(uchar) else renumbered(codes, own, uchar) for codes, own, *_ in texts]
    return codes, uchar, [sha256 for *_, sha256, _ in texts], [line for *_, line in texts]


def read_string(path, encoding='utf-8'):
    """Read a text as a string. Arguments and errors: as for read_text."""
    codes, uchar, _ = read_text(path, encoding)
    return string_of(codes, uchar)
