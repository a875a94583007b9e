"""Reading a file, a folder of files, or a text in memory as characters and their codes."""
import contextlib
import hashlib
import io
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlstm import read_text
from engine.data import text as texts
from engine.data.text import read_string
from models import prepared, text_of
from texts import POEM, TEXTS, as_read, written


@settings(max_examples=80)
@given(text=TEXTS, in_memory=st.booleans())
def test_vocabulary_round_trip(shared_folder, text, in_memory):
    path = written(shared_folder, text)
    codes, uchar, sha256 = read_text(io.StringIO(text, newline='') if in_memory else path)
    assert list(uchar) == sorted(set(as_read(text)))
    assert ''.join(uchar[codes]) == as_read(text)                 # uchar is an array here
    assert read_string(shared_folder / 't.txt') == (as_read(text), sha256)
    assert codes.dtype == 'uint8' or len(uchar) > 255
    assert sha256 == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize('piece', [1, 5, 1 << 20])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-be', 'latin-1', 'shift_jis'])
def test_line_ends(text_file, monkeypatch, encoding, piece):
    """Compare with Python's own text files, which have universal newlines. Texts are read in pieces of any size."""
    monkeypatch.setattr(texts, 'PIECE', piece, raising=False)
    letters = {'latin-1': 'é', 'shift_jis': 'あ'}.get(encoding, 'é€\U0001d11e')
    text = 'ab\r\nb{0}\r\r\n{0}\n\r\r{0}{0}\r\n\r\n'.format(letters)
    path = text_file(text * 2, encoding)
    with open(path, newline=None, encoding=encoding) as f:
        expected = f.read()
    assert '\r' not in expected and len(expected) % 2 == 0
    model = prepared(path, encoding=encoding)
    assert text_of(model) == expected and model.uchar == sorted(set(expected))


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])                # these write a mark
def test_byte_order_mark_is_dropped_at_the_start_only(text_file, encoding):
    assert read_string(text_file('abc\ufeff', encoding), encoding.replace('-sig', ''))[0] == 'abc\ufeff'


@pytest.mark.parametrize('encoding, data', [
    ('utf-8', b'abcdefg\xe2\x82x'), ('utf-8', b'abcdefgh\xe2\x82'), ('cp1252', b'abcdefg\x81'),
    ('utf-16-le', 'abcd'.encode('utf-16-le') + b'\x00\xd8a\x00'), ('utf-8', 'déjà vu'.encode('utf-16'))])
def test_wrong_encoding_names_the_option(text_file, refused, encoding, data):
    path = text_file(data)
    with refused(ValueError, path, encoding, '--encoding'):
        prepared(path, encoding=encoding)


def test_file_of_a_folder_in_another_encoding(tmp_path, refused):
    folder = folder_of(tmp_path / 'texts', {'a.txt': 'é', 'b.txt': 'é'.encode('latin-1')})
    with refused(ValueError, os.path.join(folder, 'b.txt is not utf-8'), 'convert this one to utf-8'):
        read_text(folder)


def folder_of(path, texts):
    """Make a folder with files of these texts, or bytes, by name; return its path."""
    for name, text in texts.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(text if isinstance(text, bytes) else text.encode('utf-8'))
    return str(path)


def test_folder_is_the_texts_in_order_of_path(tmp_path):
    """They are joined by empty lines; each except the last ends its line. Other files and hidden ones are ignored."""
    folder = folder_of(tmp_path / 'texts', {
        'b.txt': 'second\r\n', 'é.txt': 'last', 'E.txt': '\ufefffirst', 'c.txt': '', 'd.txt': 'fourth\n\n',
        'b/z.txt': 'inner', 'b.log': b'\xff\0', '.hidden.txt': b'\xff\0', '.git/a.txt': b'\xff\0'})
    expected = 'first\n\ninner\n\nsecond\n\n\nfourth\n\n\nlast'
    assert [read_string(path)[0] for path in (folder, folder + os.sep, tmp_path / 'texts')] == [expected] * 3
    model = prepared(folder)
    assert text_of(model) == expected[:len(expected) // 2 * 2] and model.uchar == sorted(set(expected))


def test_folder_of_more_than_256_distinct_characters(tmp_path):
    """No single file has that many. In UTF-16, each file has its own byte order mark."""
    texts = {f'{k:03}.txt': chr(0x400 + k) for k in range(300)}
    folder = folder_of(tmp_path / 'texts', {name: text.encode('utf-16') for name, text in texts.items()})
    assert read_string(folder, 'utf-16')[0] == '\n\n'.join(texts.values())
    assert read_text(folder, 'utf-16')[0].dtype == 'uint16'


def test_sha256_is_of_the_bytes_and_of_where_files_end(tmp_path):
    splits = [('ab', 'cd'), ('abc', 'd'), ('a', 'b', 'cd'), ('abcd', ''), ('', 'abcd'), ('abcd',), ('ab\r', '\ncd')]
    folders = [folder_of(tmp_path / str(k), {f'{i}.txt': text for i, text in enumerate(split)})
               for k, split in enumerate(splits)]
    digests = [read_text(folder)[2] for folder in folders]
    assert len(set(digests)) == len(splits)
    assert read_text(folder_of(tmp_path / 'x', {'y.txt': 'a', 'z/y.txt': 'b', 'z/z.txt': 'cd'}))[2] == digests[2]


@pytest.mark.parametrize('make, name', [
    (lambda path: io.StringIO(POEM), '<text>'), (lambda path: io.BytesIO(POEM.encode()), '<text>'),
    (lambda path: open(path, encoding='utf-8'), 'the path'), (lambda path: open(path, 'rb'), 'the path'),
    (lambda path: contextlib.nullcontext(os.fsencode(path)), 'the path')])                # a path of bytes
def test_open_text_is_read_like_a_file(text_file, make, name):
    """The metadata has its name instead of a path. test_fit.py trains on an open file."""
    file = text_file(POEM)
    with make(file) as source, make(file) as valid:
        model = prepared(source, batch_size=3, seq_length=7, valid=valid)
    same = prepared(file, batch_size=3, seq_length=7, valid=file)
    expected = same.text.metadata()
    if name != 'the path':
        expected['path'] = expected['valid']['path'] = name
    assert text_of(model) == text_of(same) and model.text.metadata() == expected


@pytest.mark.parametrize('make, error', [
    (lambda folder: str(folder), ValueError), (lambda folder: str(folder / 'missing.txt'), FileNotFoundError),
    (lambda folder: 'a text\nin place of a path', FileNotFoundError), (lambda folder: POEM * 99, OSError)])
def test_what_cannot_be_read(tmp_path, make, error):
    """The error is one short line, even for a text in place of a path."""
    with pytest.raises(error) as caught:
        read_text(make(tmp_path))
    assert make(tmp_path)[:5] in str(caught.value) and '\n' not in str(caught.value) and len(str(caught.value)) < 250


@pytest.mark.parametrize('encoding', ['klingon', 'hex', None])
def test_unknown_encoding(text_file, refused, encoding):
    with refused(ValueError, f'encoding is {encoding!r}'):
        prepared(text_file(POEM), encoding=encoding)
