"""How a file becomes characters, and characters become batches."""
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlstm import CharLSTM, read_text
from engine import text as text_module
from engine.text import renumbered, smallest_type, vocabulary
from models import PARTS, RATIO, TEXT, B, S, prepared, text_of

POEM = 'Zwölf Boxkämpfer jagen\nEva über den Sylter Deich.\n' * 3
CHARACTERS = st.characters(blacklist_categories=['Cs'])
TEXTS = st.one_of(st.text(CHARACTERS, min_size=2, max_size=90), st.text('ab\n\r\0é𝄞', min_size=2, max_size=400))


def as_read(text):
    """A text as it should be read: without byte order mark, and with line ends as LF."""
    if text.startswith('\ufeff'):
        text = text[1:]
    return text.replace('\r\n', '\n').replace('\r', '\n')


def written(folder, text):
    path = folder / 't.txt'
    path.write_bytes(text.encode('utf-8'))
    return str(path)


# ---------------------------------------------------------------- batches

def slowly_cut(text, ratio, B, S, stateful=False):
    """Part to the batches, each a list of (characters, targets) rows, by the rule's words."""
    sequences = [text[k:k + S] for k in range(0, len(text) - S + 1, S)]
    n_train = int(round((1 - ratio) * len(sequences)))
    parts = {}
    for part, piece in (('train', text[:n_train * S]), ('valid', text[n_train * S:])):
        if stateful:
            length = len(piece) // B
            streams = [piece[b * length:(b + 1) * length] for b in range(B)]
            starts = range(0, max(0, length - 1), S)
            parts[part] = [[(s[k:k + S][:length - 1 - k], s[k + 1:k + 1 + S]) for s in streams] for k in starts]
        else:
            rows = [(s[:-1], s[1:]) for s in (sequences[:n_train] if part == 'train' else sequences[n_train:])]
            parts[part] = [rows[k:k + B] for k in range(0, len(rows) - B + 1, B)]
    return parts


def batches_of(model, part):
    """What slowly_cut gives of a part, from a model that prepared the text."""
    return [[tuple(''.join(model.uchar[side[:, b]]) for side in pair) for b in range(model.batch_size)]
            for pair in zip(model.X[part], model.Y[part])]


@pytest.mark.parametrize('length, ratio_valid, batch_size, seq_length', [
    (150, 0.30, 3, 7), (149, 0.30, 4, 5), (61, 0, 5, 3), (60, 0, 5, 3), (120, 0.5, 1, 11), (97, 0.9, 2, 2),
    (42, 0.5, 3, 7), (98, 0.25, 7, 7), (102, 0.125, 2, 6),
])
def test_batches_are_those_of_a_slow_cut(text_file, capsys, length, ratio_valid, batch_size, seq_length):
    text = POEM[:length]
    expected = slowly_cut(text, ratio_valid, batch_size, seq_length)
    model = prepared(text_file(text), ratio_valid=ratio_valid, batch_size=batch_size, seq_length=seq_length,
                     verbose=True)
    assert list(model.uchar) == sorted(set(text)) and model.batch_size == batch_size
    for part in ('train', 'valid'):
        assert model.n_batches[part] == len(model.X[part]) == len(model.Y[part]) == len(expected[part])
        assert batches_of(model, part) == expected[part]
        for side in list(model.X[part]) + list(model.Y[part]):
            assert side.dtype == np.int32 and side.shape == (seq_length - 1, batch_size)
    used = sum(len(batches) for batches in expected.values()) * batch_size * seq_length
    out, err = capsys.readouterr()
    assert '{} characters that fill no batch are dropped'.format(length - used) in out and err == ''
    assert '{} characters, {} distinct'.format(length, len(model.uchar)) in out


@settings(max_examples=500)
@given(text=TEXTS, ratio=st.one_of(st.just(0), st.floats(0, 0.95)), B=st.integers(1, 7), S=st.integers(2, 9),
       stateful=st.booleans())
def test_batches(shared_folder, text, ratio, B, S, stateful):
    model = CharLSTM(random_seed=1)
    read = as_read(text)
    enough = round((1 - ratio) * (len(read) // S)) >= B and len(set(read)) > 1
    try:
        model.prepare_input(written(shared_folder, text), ratio, B, S, verbose=False, stateful=stateful)
    except ValueError as error:
        assert not enough and '\n' not in str(error)
        return
    assert enough
    for part, expected in slowly_cut(read, ratio, B, S, stateful).items():
        assert model.n_batches[part] == len(model.X[part]) == len(model.Y[part]) == len(expected)
        assert batches_of(model, part) == expected


@pytest.mark.parametrize('part', ['train', 'valid'])
def test_streams_have_every_character_once_and_in_order(text_file, part):
    model = prepared(text_file(TEXT), ratio_valid=RATIO, batch_size=B, seq_length=S, stateful=True)
    streams, X, Y = PARTS[part], model.X[part], model.Y[part]
    np.testing.assert_array_equal(np.concatenate(list(X)), streams[:, :-1].T)
    np.testing.assert_array_equal(np.concatenate(list(Y)), streams[:, 1:].T)
    lengths = [len(x) for x in X]
    assert lengths[:-1] == [S] * (len(lengths) - 1) and 0 < lengths[-1] < S         # the sizes leave a shorter one
    assert model.n_batches[part] == len(X) == len(Y) == len(lengths)
    assert {x.dtype for x in X} == {np.dtype('int32')}


def test_quiet_when_not_verbose(text_file, capsys):
    prepared(text_file(POEM))
    assert capsys.readouterr() == ('', '')


def test_batches_are_indexed_as_a_list(text_file):
    batches = prepared(text_file('abcdefghij' * 3), batch_size=3, seq_length=2).X['train']
    everything = [batch.tolist() for batch in batches]
    assert len(batches) == len(everything) == 5 and everything[0] != everything[1]
    assert batches[-1].tolist() == everything[-1] and batches[-5].tolist() == everything[0]
    assert [batch.tolist() for batch in batches[1:4:2]] == everything[1:4:2]
    assert [batch.tolist() for batch in batches[::-1]] == everything[::-1]
    assert batches[np.int64(2)].tolist() == everything[2]
    for outside in (5, -6):
        with pytest.raises(IndexError):
            batches[outside]


# ---------------------------------------------------------------- characters

@given(text=TEXTS, chunk=st.sampled_from([1, 2, 3, 7, 1 << 20]))
def test_vocabulary_round_trip(shared_folder, text, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, 'CHUNK', chunk)
        codes, uchar, _ = read_text(written(shared_folder, text))
    assert list(uchar) == sorted(set(as_read(text)))
    assert ''.join(uchar[codes]) == as_read(text)
    assert codes.dtype == 'uint8' or len(uchar) > 256


@given(text=TEXTS, more=st.text(CHARACTERS, max_size=300), data=st.data())
def test_recoding(text, more, data):
    old = sorted(set(text))
    new = data.draw(st.permutations(sorted(set(text) | set(more))))
    codes = np.array([old.index(ch) for ch in text], smallest_type(len(old)))
    again = renumbered(codes, vocabulary(old), vocabulary(new))
    assert ''.join(new[k] for k in again) == text


def test_characters_are_numbered_in_sorted_order(text_file):
    model = prepared(text_file('b\U0001d11ea\0é\0B\n'))
    assert list(model.uchar) == ['\0', '\n', 'B', 'a', 'b', 'é', '\U0001d11e']
    assert text_of(model) == 'b\U0001d11ea\0é\0B\n'


def test_more_than_256_distinct_characters(text_file):
    text = ''.join(chr(0x400 + k * 37 % 300) for k in range(600))
    model = prepared(text_file(text))
    assert len(model.uchar) == 300 and text_of(model) == text


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-be', 'utf-32', 'latin-1', 'shift_jis'])
def test_line_ends_and_characters_across_chunks(text_file, monkeypatch, encoding):
    """Python's own text files, which know universal line ends, are what to agree with."""
    letters = {'latin-1': 'é', 'shift_jis': 'あ'}.get(encoding, 'é€\U0001d11e')
    text = 'ab\r\nb{0}\r\r\n{0}\n\r\r{0}{0}\r\n\r\n'.format(letters)
    path = text_file(text * 2, encoding)
    with io.open(path, newline=None, encoding=encoding) as f:
        expected = f.read()
    assert '\r' not in expected and len(expected) % 2 == 0
    for chunk in (1, 2, 3, 4, 5, 7, 1000):
        monkeypatch.setattr(text_module, 'CHUNK', chunk)
        model = prepared(path, encoding=encoding)
        assert text_of(model) == expected and list(model.uchar) == sorted(set(expected))


def test_line_end_across_the_border_of_real_chunks(text_file):
    model = prepared(text_file('a' * (2 ** 20 - 1) + '\r\nbc'), seq_length=2 ** 19 + 1)
    assert text_of(model) == 'a' * (2 ** 20 - 1) + '\nbc'


def test_bare_cr_at_the_end_of_the_file_is_a_line_end(text_file):
    assert text_of(prepared(text_file('abc\r'))) == 'abc\n'


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-16', 'utf-16-le', 'utf-32'])
def test_byte_order_mark_is_dropped_at_the_start_only(text_file, encoding):
    mark = '' if encoding in ('utf-16', 'utf-32') else '\ufeff'              # these two write one themselves
    model = prepared(text_file(mark + 'abc\ufeff', encoding), encoding=encoding)
    assert text_of(model) == 'abc\ufeff'


@pytest.mark.parametrize('chunk', [3, 1 << 20])
@pytest.mark.parametrize('encoding, data', [
    ('utf-8', b'ab\xffcd'),
    ('utf-8', b'abcdefg\xe2\x82x'),
    ('utf-8', b'abcdefgh\xe2\x82'),                              # cut off at the end of the file
    ('utf-8', 'grün'.encode('latin-1')),
    ('ascii', 'abcdefgü'.encode('utf-8')),
    ('cp1252', b'abcdefg\x81'),
    ('utf-16', 'abcd'.encode('utf-16') + b'\x00'),
    ('utf-16-le', 'abcd'.encode('utf-16-le') + b'\x00\xd8a\x00'),
    ('shift_jis', 'abcあ'.encode('shift_jis') + b'\x82'),
    ('shift_jis', 'abcdあ'.encode('shift_jis') + b'\xff\xff'),
])
def test_wrong_encoding_names_the_byte(text_file, monkeypatch, refused, encoding, data, chunk):
    with pytest.raises(UnicodeDecodeError) as caught:
        data.decode(encoding)                                    # at one go, so that no offset must be added up
    monkeypatch.setattr(text_module, 'CHUNK', chunk)
    path = text_file(data)
    with refused(ValueError, path, encoding, 'byte {} '.format(caught.value.start), 'option encoding'):
        prepared(path, encoding=encoding)


@pytest.mark.parametrize('encoding', ['klingon', 'hex', 'zlib', ''])
def test_unknown_encoding(text_file, refused, encoding):
    with refused(ValueError, 'encoding', repr(encoding)):
        prepared(text_file(POEM), encoding=encoding)


# ---------------------------------------------------------------- refusals

@pytest.mark.parametrize('ratio_valid, batch_size, seq_length', [
    (0, 1, 2), (0, 7, 5), (0.3, 50, 3), (0.3, 1, 9), (0.3, 7, 3), (0.5, 1, 4), (0.5, 3, 5), (0.9, 4, 2),
    (0.25, 2, 7), (0.75, 5, 3), (1 / 3, 11, 2), (0.99, 3, 2), (0.7, 13, 2),
])
def test_text_too_short_names_the_number_of_characters_that_works(text_file, refused, ratio_valid, batch_size,
                                                                  seq_length):
    settings = dict(ratio_valid=ratio_valid, batch_size=batch_size, seq_length=seq_length)
    with pytest.raises(ValueError) as caught:
        prepared(text_file('a'), **settings)
    needed = int(re.search(r'need ([\d,]+)', str(caught.value)).group(1).replace(',', ''))
    assert prepared(text_file(('ab' * needed)[:needed]), **settings).n_batches['train'] == 1
    path = text_file(('ab' * needed)[:needed - 1])
    with refused(ValueError, path, '{:,}'.format(needed), '{:,} characters'.format(needed - 1)):
        prepared(path, **settings)


def test_empty_file(text_file, refused):
    for empty in (b'', b'\xef\xbb\xbf'):
        path = text_file(empty)
        with refused(ValueError, path, '0 characters', 'need 6'):
            prepared(path, batch_size=2, seq_length=3)


def test_one_distinct_character(text_file, refused):
    path = text_file('\n' * 50)
    with refused(ValueError, path, 'one distinct character', r"'\n'"):
        prepared(path)


def test_file_that_cannot_be_read(tmp_path, refused):
    with refused(FileNotFoundError, tmp_path / 'missing.txt'):
        prepared(tmp_path / 'missing.txt')
    with refused(IsADirectoryError, tmp_path):
        prepared(tmp_path)


@pytest.mark.parametrize('name, values', [
    ('ratio_valid', [-0.1, 1, 1.5, float('nan'), float('inf'), '0.3', None]),
    ('batch_size', [0, -1, 2.5, float('nan'), '3', None]),
    ('seq_length', [1, 0, -1, 2.5, float('nan'), '3', None]),
])
def test_settings_out_of_range(text_file, refused, name, values):
    for value in values:
        with refused(ValueError, name, repr(value)):
            prepared(text_file(POEM), **{name: value})
