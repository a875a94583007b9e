"""Reading a file, or a folder of files, as characters and their numbers."""
import errno
import functools
import gzip
import hashlib
import io
import os
import sys
import threading
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlstm import CharLSTM, read_checkpoint, read_text
from engine import terminal
from engine.model import text as text_module
from engine.model.text import read_string, renumbered, shown, smallest_type, vocabulary, without_unknown
from models import prepared, text_of
from texts import CHARACTERS, POEM, TEXTS, as_read, written


# ---------------------------------------------------------------- characters

@settings(max_examples=80)
@given(text=TEXTS, chunk=st.sampled_from([1, 2, 3, 7, 1 << 20]))
def test_vocabulary_round_trip(shared_folder, text, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, 'CHUNK', chunk)
        codes, uchar, _ = read_text(written(shared_folder, text))
    assert list(uchar) == sorted(set(as_read(text)))
    assert ''.join(uchar[codes]) == as_read(text)                 # uchar is an array here
    assert read_string(shared_folder / 't.txt') == as_read(text)
    assert codes.dtype == 'uint8' or len(uchar) > 256


@settings(max_examples=80)
@given(text=TEXTS, more=st.text(CHARACTERS, max_size=300), data=st.data())
def test_recoding(text, more, data):
    old = sorted(set(text))
    new = data.draw(st.permutations(sorted(set(text) | set(more))))
    codes = np.array([old.index(ch) for ch in text], smallest_type(len(old)))
    again = renumbered(codes, vocabulary(old), vocabulary(new))
    assert ''.join(new[k] for k in again) == text


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16-be', 'latin-1', 'shift_jis'])
def test_line_ends_and_characters_across_chunks(text_file, monkeypatch, encoding):
    """Against Python's own text files, which have universal line ends."""
    letters = {'latin-1': 'é', 'shift_jis': 'あ'}.get(encoding, 'é€\U0001d11e')
    text = 'ab\r\nb{0}\r\r\n{0}\n\r\r{0}{0}\r\n\r\n'.format(letters)
    path = text_file(text * 2, encoding)
    with io.open(path, newline=None, encoding=encoding) as f:
        expected = f.read()
    assert '\r' not in expected and len(expected) % 2 == 0
    for chunk in (1, 2, 3, 4, 5, 7, 1000):
        monkeypatch.setattr(text_module, 'CHUNK', chunk)
        model = prepared(path, encoding=encoding)
        assert text_of(model) == expected and model.uchar == sorted(set(expected))


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])                # which write a mark
def test_byte_order_mark_is_dropped_at_the_start_only(text_file, encoding):
    assert read_string(text_file('abc\ufeff', encoding), encoding.replace('-sig', '')) == 'abc\ufeff'


@pytest.mark.parametrize('chunk', [3, 1 << 20])
@pytest.mark.parametrize('encoding, data', [
    ('utf-8', b'abcdefg\xe2\x82x'),
    ('utf-8', b'abcdefgh\xe2\x82'),                              # cut off at the end of the file
    ('cp1252', b'abcdefg\x81'),
    ('utf-16-le', 'abcd'.encode('utf-16-le') + b'\x00\xd8a\x00'),
    ('shift_jis', 'abcdあ'.encode('shift_jis') + b'\xff\xff'),
])
def test_wrong_encoding_names_the_byte(text_file, monkeypatch, refused, encoding, data, chunk):
    with pytest.raises(UnicodeDecodeError) as caught:
        data.decode(encoding)                                    # at one go, so that no offset must be added up
    monkeypatch.setattr(text_module, 'CHUNK', chunk)
    path = text_file(data)
    with refused(ValueError, path, encoding, 'byte {} '.format(caught.value.start), 'option encoding'):
        prepared(path, encoding=encoding)


@pytest.mark.parametrize('encoding, said', [
    ('utf-16-le', ' has 49 NUL characters: if it is UTF-16, add --encoding utf-16-le\n'),
    ('utf-8', ' has 1 NUL character: if'), ('latin-1', '')])
def test_text_with_nuls_may_be_utf_16(text_file, capsys, encoding, said):
    """Without a byte order mark, it is also UTF-8."""
    text = '\0' + 'a' * 99 if encoding == 'utf-8' else 'ab dog ' * 7
    path = text_file(text, encoding)
    CharLSTM().prepare_input(path, 0, batch_size=2, seq_length=3)
    out = capsys.readouterr().out
    assert path + said in out and ('NUL' in out) == bool(said)


@pytest.mark.parametrize('encoding', ['klingon', 'hex', None])
def test_unknown_encoding(text_file, lettered, path, refused, encoding):
    """Also for a checkpoint of characters, which does not need it."""
    lettered.save_params(path)
    for read in (lambda **encoding: prepared(text_file(POEM), **encoding),
                 *[functools.partial(read, path) for read in (
                     read_text, read_checkpoint, lettered.load_params, lettered.model_setup, lettered.init_params)]):
        with refused(ValueError, f'encoding is {encoding!r}'):
            read(encoding=encoding)


@pytest.mark.parametrize('characters, most, line', [
    ('—𝄞ß', 10, "'ß', '—', '𝄞'"), ('\n\u202e\udcc3', 10, r"'\n', '\u202e', '\udcc3'"),
    ('dcba', 3, "'a', 'b', 'c', ..."), ('cba', 3, "'a', 'b', 'c'"),
])
def test_characters_are_shown_as_themselves_where_they_print(characters, most, line):
    assert shown(set(characters), most) == line


@settings(max_examples=80)
@given(text=TEXTS, uchar=st.sets(CHARACTERS))
def test_text_without_unknown_characters(text, uchar):
    uchar |= set(text[::2])
    kept, unknown = without_unknown(text, vocabulary(sorted(uchar)))
    assert kept == ''.join(ch for ch in text if ch in uchar)
    assert unknown == {ch: text.count(ch) for ch in text if ch not in uchar}


# ---------------------------------------------------------------- folders

def folder_of(path, texts):
    """Make a folder with files of these texts, or bytes, by name, and no others; returns its path."""
    path.mkdir(exist_ok=True)
    for old in path.iterdir():
        old.unlink()
    for name, text in texts.items():
        (path / name).write_bytes(text if isinstance(text, bytes) else text.encode('utf-8'))
    return str(path)


def joined(texts):
    """Join texts by empty lines; each but the last also ends its line."""
    ended = [text + '\n' if text and not text.endswith('\n') else text for text in texts[:-1]]
    return '\n'.join(ended + texts[-1:])


def test_folder_is_read_in_order_of_name(tmp_path, capsys):
    """In order of code points. All files that are not hidden are read, whatever their ending."""
    folder = folder_of(tmp_path / 'texts', {
        'b.txt': 'second\r\n', 'é': 'last', 'E': '\ufefffirst', 'c.log': '', 'd': 'fourth\n\n', '.hidden': b'\xff\0'})
    expected = 'first\n\nsecond\n\n\nfourth\n\n\nlast'
    assert joined(['first', 'second\n', '', 'fourth\n\n', 'last']) == expected
    assert read_string(folder) == read_string(folder + os.sep) == read_string(tmp_path / 'texts') == expected
    model = prepared(folder, verbose=True)
    assert text_of(model) == expected[:len(expected) // 2 * 2] and model.uchar == sorted(set(expected))
    out, err = capsys.readouterr()
    assert out.startswith(f'{folder}: {len(expected)} characters, {len(set(expected))} distinct\n') and err == ''


@settings(max_examples=50)
@given(texts=st.lists(st.one_of(st.just(''), st.text(CHARACTERS.filter(lambda ch: ch != '\0'), max_size=30),
                                st.text('a\n\ré', max_size=5)), min_size=1, max_size=5),
       chunk=st.sampled_from([1, 2, 7, 1 << 20]))
def test_folders(shared_folder, texts, chunk):
    folder = folder_of(shared_folder / 'texts', {str(k): text for k, text in enumerate(texts)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, 'CHUNK', chunk)
        assert read_string(folder) == joined([as_read(text) for text in texts])


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-16'])
def test_folder_of_more_than_256_distinct_characters(tmp_path, encoding):
    """None of the files has so many. In UTF-16 each has its own byte order mark, and zero bytes that are no NUL."""
    texts = {'{:03}'.format(k): chr(0x400 + k) for k in range(300)}
    folder = folder_of(tmp_path / 'texts', {name: text.encode(encoding) for name, text in texts.items()})
    assert read_string(folder, encoding) == '\n\n'.join(texts.values())
    assert read_text(folder, encoding)[0].dtype == 'uint16'


def test_sha256_is_of_the_bytes_and_of_where_files_end(tmp_path):
    splits = [('ab', 'cd'), ('abc', 'd'), ('a', 'bcd'), ('a', 'b', 'cd'), ('abcd', ''), ('', 'abcd'), ('abcd',),
              ('ab\r', '\ncd'), ('ab\r\n', 'cd'), ('ab\n', 'cd')]
    digests = [read_text(folder_of(tmp_path / 'texts', dict(zip('abc', split))))[2] for split in splits]
    assert len(set(digests)) == len(splits)
    folder = folder_of(tmp_path / 'texts', dict(zip('xyz', splits[3])))
    assert read_text(folder)[2] == digests[3] == prepared(folder).fingerprint()        # whatever the names are
    written(tmp_path, 'ab\r\ncd')
    assert read_text(tmp_path / 't.txt')[2] == hashlib.sha256(b'ab\r\ncd').hexdigest()


@pytest.mark.parametrize('read', [prepared, read_text, read_string])
def test_what_cannot_be_read(tmp_path, refused, read):
    folder = folder_of(tmp_path / 'texts', {'.gitignore': 'text'})
    for name, error, words in ((folder, ValueError, ['no files', '1 x hidden file']),
                               ('/dev/zero', ValueError, ['is a device', 'expected a text file']),
                               (str(tmp_path / 'missing.txt'), FileNotFoundError, [])):
        with refused(error, name, *words):
            read(name)


def test_path_of_bytes(text_file):
    path, model = text_file(POEM), CharLSTM()
    model.prepare_input(os.fsencode(path), batch_size=2, seq_length=7)
    assert model.source()['path'] == path


@pytest.mark.parametrize('name', ['filepath', 'valid', 'test'])
def test_what_is_no_path(text_file, refused, name):
    for value in (5, None) if name == 'filepath' else (5,):
        with refused(ValueError, f'{name} is {value}: expected a path'):
            CharLSTM().prepare_input(**{'filepath': text_file(POEM), name: value})


PNG = b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR'


def test_folder_with_subfolders_in_order_of_path(tmp_path, capsys):
    """As sorted by the names on the way; Python's packages have texts of names that begin with __."""
    texts = {'a/z': 'one', 'a/b/c': 'zero', 'a.txt': 'two', 'b': 'three', 'c/__init__.py': 'four',
             'c/d/__main__.py': 'five'}
    for name, text in texts.items():
        (tmp_path / 'texts' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'texts' / name).write_text(text)
    assert read_string(tmp_path / 'texts') == '\n\n'.join(['zero', 'one', 'two', 'three', 'four', 'five'])
    prepared(str(tmp_path / 'texts'), verbose=True)
    assert capsys.readouterr().out.splitlines()[1] == '6 files read'


def test_files_that_are_no_texts_are_left_out_with_a_line(tmp_path, capsys):
    folder = folder_of(tmp_path / 'texts', {
        'a': 'first', 'b.png': PNG, 'c.png': PNG, 'd.bz2': b'BZh9\0', 'e': b'abc\0',
        '.hidden': b'text', 'z': 'last'})
    for name in ('.git', '__pycache__', 'sub/__pycache__', 'sub/.git'):
        os.makedirs(os.path.join(folder, name))
        (tmp_path / 'texts' / name / 'text').write_text('no')
    os.symlink(written(tmp_path, 'linked'), os.path.join(folder, 'aa'))
    os.symlink(str(tmp_path), os.path.join(folder, 'round'))
    os.symlink('nowhere', os.path.join(folder, 'dead'))
    os.mkfifo(os.path.join(folder, 'fifo'))
    assert read_string(folder) == 'first\n\nlinked\n\nlast'
    left_out = ('3 files read; left out: 1 x binary file, 1 x binary file .bz2, 2 x binary file .png, 2 x cache, 1 x '
                'dead link, 1 x device, 1 x hidden file, 2 x hidden folder, 1 x link to a folder')
    prepared(folder, verbose=True)
    assert capsys.readouterr().out.splitlines()[1] == left_out


def test_fifo_is_read_when_a_line_has_said_that_it_waits_for_a_writer(tmp_path, monkeypatch):
    path = tmp_path / 'fifo'
    os.mkfifo(path)

    class Screen(io.StringIO):
        def flush(self):                                   # after the line
            path.write_text(POEM, encoding='utf-8')

    monkeypatch.setattr(terminal, 'SLOW', 0)
    monkeypatch.setattr(sys, 'stderr', Screen())
    late = threading.Timer(30, path.write_text, ['no line'])
    late.start()
    assert read_string(path) == POEM
    late.cancel()
    assert f'{path} is a FIFO: waiting for a program that writes to it' in sys.stderr.getvalue()


@pytest.mark.parametrize('data, words', [
    ('déjà vu'.encode('utf-16'), ['is UTF-16: save it as utf-8, or add --encoding utf-16 if all']),
    (b'abcdefg\xe2\x82x', ['not utf-8', 'byte 7 ', 'option encoding'])])
def test_text_of_another_encoding_is_not_left_out(tmp_path, monkeypatch, refused, data, words):
    """The byte is counted from the beginning of that file."""
    monkeypatch.setattr(text_module, 'CHUNK', 3)
    folder = folder_of(tmp_path / 'texts', dict(a='text ' * 9, b=data, c='text'))
    with refused(ValueError, os.path.join(folder, 'b'), *words):
        read_text(folder)


def test_file_of_a_folder_that_has_nul_characters_far_from_its_beginning(tmp_path, monkeypatch, refused):
    """A single file may have them, as the user named it."""
    monkeypatch.setattr(text_module, 'CHUNK', 3)
    monkeypatch.setattr(text_module, 'LOOK', 7)
    data = b'abcdefg\0h'
    folder = folder_of(tmp_path / 'texts', dict(a='text', b=data, c='text'))
    with refused(ValueError, os.path.join(folder, 'b'), 'NUL'):
        read_text(folder, 'latin-1')
    assert read_string(os.path.join(folder, 'b'), 'latin-1') == as_read(data.decode('latin-1'))


# ---------------------------------------------------------------- documents, archives and checkpoints

def zipped(*members):
    """Return the bytes of a zip file with these members, pairs of a name and contents."""
    f = io.BytesIO()
    with zipfile.ZipFile(f, 'w') as archive:
        for name, content in members:
            archive.writestr(name, content, zipfile.ZIP_STORED if name == 'mimetype' else zipfile.ZIP_DEFLATED)
    return f.getvalue()


def saved(**arrays):
    f = io.BytesIO()
    np.savez(f, **arrays)
    return f.getvalue()


SAVE = 'save it as plain text (UTF-8)'
XML = '<x>' + 'word ' * 3000
DOCUMENTS = {
    'a.docx': (zipped(('[Content_Types].xml', XML), ('_rels/.rels', XML), ('word/document.xml', XML)),
               'a Word document', f': {SAVE}'),
    'a.safetensors': (b'\x09\1\0\0\0\0\0\0{"a":' + bytes(99), 'a file of safetensors', ', not a text'),
    'a.epub': (zipped(('mimetype', 'application/epub+zip'), ('OEBPS/a.xhtml', XML)), 'an EPUB book', f': {SAVE}'),
    'a.odt': (zipped(('mimetype', 'application/vnd.oasis.opendocument.text'), ('content.xml', XML)),
              'an OpenDocument file', f': {SAVE}'),
    'a.zip': (zipped(('password/a.txt', XML), ('b.txt', XML)), 'a zip archive', ': unpack it'),
    'a.npz': (saved(U1=np.ones(3)), 'a checkpoint', ', not a text'),
    'a.gz': (gzip.compress(b'text'), 'a gzip archive', ': unpack it'),
    'a.doc': (b'\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1' + bytes(99), 'a Word or other Office document', f': {SAVE}'),
    'a.rtf': (b'{\\rtf1\\ansi text}', 'an RTF document', f': {SAVE}'),
    'a.pdf': (b'%PDF-1.7\ntext', 'a PDF document', f': {SAVE}')}


@pytest.mark.parametrize('chunk', [3, 1 << 20])
@pytest.mark.parametrize('name', DOCUMENTS)
def test_file_of_another_kind_is_named(text_file, monkeypatch, refused, name, chunk):
    """Whatever the encoding, which might take any byte."""
    monkeypatch.setattr(text_module, 'CHUNK', chunk)
    data, what, ending = DOCUMENTS[name]
    path = text_file(data, name=name)
    for encoding in ('utf-8', 'latin-1', 'utf-16'):
        with pytest.raises(ValueError) as caught:
            read_text(path, encoding)
        assert str(caught.value) == f'{path} is {what}{ending}'


def test_files_of_other_kinds_in_a_folder_are_left_out(tmp_path, capsys):
    contents = {name: data for name, (data, _, _) in DOCUMENTS.items()}
    folder = folder_of(tmp_path / 'texts', {**contents, 'b.rtf': contents['a.rtf'], 'c': 'text', 'd': '{ %PDF PK'})
    assert read_string(folder) == 'text\n\n{ %PDF PK'
    prepared(folder, verbose=True)
    assert capsys.readouterr().out.splitlines()[1] == (
        '2 files read; left out: 1 x EPUB book, 1 x OpenDocument file, 1 x PDF document, 2 x RTF document, 1 x Word '
        'document, 1 x Word or other Office document, 1 x checkpoint, 1 x file of safetensors, 1 x gzip archive, '
        '1 x zip archive')


def test_utf_16_is_named(text_file, refused):
    for encoding in ('utf-16-le', 'utf-16-be'):
        path = text_file('\ufefftext', encoding)
        for wrong in ('utf-8', 'latin-1'):
            with refused(ValueError, f'{path} is UTF-16: add --encoding utf-16'):
                read_text(path, wrong)
        assert read_string(path, 'utf-16') == 'text'


@pytest.mark.parametrize('encoding', ['utf-32-le', 'utf-32-be'])
def test_utf_32_is_named(text_file, refused, encoding):
    """Also where the encoding is UTF-16, as which one of the two begins."""
    path = text_file('\ufefftext', encoding)
    for wrong in ('utf-8', 'latin-1', 'utf-16') if encoding == 'utf-32-le' else ('utf-8', 'latin-1'):
        with refused(ValueError, f'{path} is UTF-32: add --encoding utf-32'):
            read_text(path, wrong)
    assert read_string(path, 'utf-32') == 'text'


def test_file_that_ends_in_a_character_says_so(text_file, refused):
    with refused(ValueError, 'byte 7 ', 'it ends in the middle of a character: end it before that byte'):
        read_text(text_file(b'abcdefg\xe2\x82'))


def test_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch, refused):
    folder, inner = folder_of(tmp_path / 'texts', dict(a='text')), str(tmp_path / 'texts' / 'inner')

    def walk(path, onerror):
        onerror(PermissionError(errno.EACCES, 'Permission denied', inner))
        return []
    monkeypatch.setattr(os, 'walk', walk)
    with refused(PermissionError, f'cannot read {inner}: Permission denied'):
        read_text(folder)


# ---------------------------------------------------------------- refusals

@pytest.mark.parametrize('data, words', [
    (b'', ['0 characters', 'need 6']), (b'\xef\xbb\xbf', ['0 characters', 'need 6']),
    (b'\n' * 50, ['one distinct character', r"'\n'"])])
def test_texts_of_nothing_to_learn(text_file, refused, data, words):
    path = text_file(data)
    with refused(ValueError, path, *words):
        prepared(path, batch_size=2, seq_length=3)
