"""prepare_input: how a file becomes characters, and characters become batches."""
import io
import re

import numpy as np
import pytest

from charlstm import CharLSTM
from engine import text as text_module

POEM = 'Zwölf Boxkämpfer jagen\nEva über den Sylter Deich.\n' * 3


def prepared(path, **settings):
    model = CharLSTM(random_seed=1)
    model.prepare_input(path, **dict(dict(ratio_valid=0, batch_size=1, seq_length=2, verbose=False), **settings))
    return model


def text_of(model):
    """The text that a model prepared, put together from its batches (a last partial sequence is not in them)."""
    return ''.join(ch for part in ('train', 'valid') for x, y in zip(model.X[part], model.Y[part])
                   for ch in model.uchar[np.vstack([x, y[-1:]]).T.ravel()])


def cut_slowly(text, ratio_valid, batch_size, seq_length):
    """The issue's words in plain Python: vocabulary, and the batches X and Y by part, as nested lists (T,B)."""
    uchar = sorted(set(text))
    sequences = [text[i:i + seq_length] for i in range(0, len(text), seq_length)]
    sequences = [s for s in sequences if len(s) == seq_length]
    n_train = round((1 - ratio_valid) * len(sequences))
    X, Y = {}, {}
    for part, of_part in dict(train=sequences[:n_train], valid=sequences[n_train:]).items():
        X[part], Y[part] = [], []
        for i in range(0, len(of_part) // batch_size * batch_size, batch_size):
            batch = [[uchar.index(ch) for ch in s] for s in of_part[i:i + batch_size]]
            X[part].append([[s[t] for s in batch] for t in range(seq_length - 1)])
            Y[part].append([[s[t + 1] for s in batch] for t in range(seq_length - 1)])
    return uchar, X, Y


# ---------------------------------------------------------------- batches

@pytest.mark.parametrize('length, ratio_valid, batch_size, seq_length', [
    (150, 0.30, 3, 7), (149, 0.30, 4, 5), (61, 0, 5, 3), (60, 0, 5, 3), (120, 0.5, 1, 11), (97, 0.9, 2, 2),
    (42, 0.5, 3, 7), (98, 0.25, 7, 7), (102, 0.125, 2, 6),
])
def test_batches_are_those_of_a_slow_cut(text_file, capsys, length, ratio_valid, batch_size, seq_length):
    text = POEM[:length]
    uchar, X, Y = cut_slowly(text, ratio_valid, batch_size, seq_length)
    model = prepared(text_file(text), ratio_valid=ratio_valid, batch_size=batch_size, seq_length=seq_length,
                     verbose=True)
    assert list(model.uchar) == uchar and model.batch_size == batch_size
    assert model.n_batches == {part: len(X[part]) for part in X}
    for part in ('train', 'valid'):
        assert len(model.X[part]) == len(model.Y[part]) == len(X[part])
        for i in range(len(X[part])):
            for got, expected in ((model.X[part][i], X[part][i]), (model.Y[part][i], Y[part][i])):
                assert got.dtype == np.int32 and got.shape == (seq_length - 1, batch_size)
                assert got.tolist() == expected
    used = sum(len(batches) for batches in X.values()) * batch_size * seq_length
    out, err = capsys.readouterr()
    assert '{} characters that fill no batch are dropped'.format(length - used) in out and err == ''
    assert '{} characters, {} distinct'.format(length, len(uchar)) in out


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


def test_refusal_leaves_what_was_prepared(text_file):
    model = prepared(text_file(POEM), seq_length=3)
    before = text_of(model)
    for settings in (dict(encoding='ascii'), dict(batch_size=10 ** 6), dict(seq_length=1)):
        with pytest.raises(ValueError):
            model.prepare_input(text_file(POEM * 2, name='other.txt'), **settings)
    assert text_of(model) == before and model.batch_size == 1 and model.n_batches == dict(train=50, valid=0)


# ---------------------------------------------------------------- the vocabulary of a model that has parameters

def with_parameters(text_file, text):
    model = prepared(text_file(text))
    model.model_setup(num_units1=7, num_units2=4)
    return model


def test_text_whose_characters_are_known_keeps_parameters_and_vocabulary(text_file, capsys):
    model = with_parameters(text_file, 'abcdefgh')
    p = {name: value.get_value() for name, value in model.p.items()}
    model.prepare_input(text_file('hcbhcb', name='other.txt'), 0, 1, 2, verbose=False)
    assert ''.join(model.uchar) == 'abcdefgh' and text_of(model) == 'hcbhcb'
    assert model.X['train'][0].tolist() == [[7]]
    assert all((model.p[name].get_value() == value).all() for name, value in p.items())
    assert capsys.readouterr().err == ''


def test_text_with_unknown_characters_drops_the_parameters_with_a_warning(text_file, capsys, refused):
    model = with_parameters(text_file, 'abcdefgh')
    path = text_file('abxyaé', name='other.txt')
    model.prepare_input(path, 0, 1, 2, verbose=False)
    err = capsys.readouterr().err
    assert err.count('\n') == 1 and path in err and r"'x', 'y', '\xe9'" in err
    assert ''.join(model.uchar) == 'abxyé' and text_of(model) == 'abxyaé'
    assert model.p == {}
    with refused(ValueError, 'model_setup'):
        model.generate_text('a')
    model.model_setup(num_units1=3, num_units2=2)
    assert model.p['c'].get_value().shape == (5,)


def test_text_after_a_model_that_was_set_up_by_char_dim(text_file):
    """Such a model has parameters, but no vocabulary that the text could be compared with."""
    model = CharLSTM()
    model.model_setup(num_units1=7, num_units2=4, char_dim=3)
    model.prepare_input(text_file('abcabc'), 0, 1, 2, verbose=False)
    assert ''.join(model.uchar) == 'abc' and text_of(model) == 'abcabc'
