"""Texts cut into batches, of sequences or of streams, and the rows of them that a process has."""
import hashlib
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlstm import CharLSTM
from engine.parallel import SingleProcess
from engine.model.batches import Text
from engine.model.text import nearest
from models import TEXT, halves_up, member, prepared, spelled
from texts import POEM, TEXTS, as_read, written


def slowly_cut(text, ratio, B, S, stateful=False):
    """Return the batches by part, each a list of (characters, targets) rows, cut slowly."""
    sequences = [text[k:k + S] for k in range(0, len(text) - S + 1, S)]
    n_train = halves_up((1 - ratio) * len(sequences))
    if n_train == len(sequences):                    # no sequence to validate with
        text = text[:n_train * S]
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
    """Return what slowly_cut returns for a part, from a model that prepared the text."""
    return [[tuple(spelled(model, side[:, b]) for side in pair) for b in range(model.batch_size)]
            for pair in zip(model.X[part], model.Y[part])]


def test_summary_of_a_text(text_file, capsys):
    """Two lines, or none with verbose=False."""
    settings = dict(ratio_valid=0.3, batch_size=3, seq_length=7)
    model = prepared(text_file(POEM[:149]), verbose=True, **settings)
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(f'text.txt: 149 characters, {len(model.uchar)} distinct') and model.batch_size == 3
    assert second == ('5 batches to train and 2 to validate, each of 3 sequences of 7 characters; 2 characters '
                      'left out for want of a whole batch')
    prepared(text_file(POEM[:148]), verbose=True, **settings)
    assert capsys.readouterr().out.endswith('; 1 character left out for want of a whole batch\n')
    prepared(text_file(''.join(map(chr, range(0x4e00, 0x4e00 + 1013)))), ratio_valid=0, batch_size=1, seq_length=1013,
             verbose=True)
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(' 1,013 characters, 1,013 distinct')
    assert second == '1 batch to train and 0 to validate, each of 1 sequence of 1,013 characters'
    prepared(text_file(POEM), batch_size=1, seq_length=7, stateful=True, verbose=True)
    assert capsys.readouterr().out.endswith(', each of 7 steps of 1 stream\n')
    prepared(text_file(POEM), **settings)
    assert capsys.readouterr() == ('', '')


@settings(max_examples=200)
@given(text=TEXTS, ratio=st.one_of(st.just(0), st.floats(0, 0.95)), B=st.integers(1, 7), S=st.integers(2, 9),
       stateful=st.booleans())
def test_batches(shared_folder, text, ratio, B, S, stateful):
    model = CharLSTM(random_seed=1)
    read = as_read(text)
    enough = halves_up((1 - ratio) * (len(read) // S)) >= B and len(set(read)) > 1
    try:
        model.prepare_input(written(shared_folder, text), ratio, B, S, verbose=False, stateful=stateful)
    except ValueError as error:
        assert not enough and '\n' not in str(error)
        return
    assert enough
    for part, expected in slowly_cut(read, ratio, B, S, stateful).items():
        assert model.n_batches[part] == len(model.X[part]) == len(model.Y[part]) == len(expected)
        assert batches_of(model, part) == expected
        assert {side.dtype for side in [*model.X[part], *model.Y[part]]} <= {np.dtype('int32')}


@pytest.mark.parametrize('x, whole', [
    (0, 0), (0.5, 1), (1.5, 2), (2.5, 3), (3.5, 4), ((1 - 0.9) * 5, 0), (2 ** 51 + 0.5, 2 ** 51 + 1),
    (2.0 ** 60, 2 ** 60), (0.49999999999999994, 0), (2.4999999999999996, 2),       # in floats, x + 0.5 rounds as well
])
def test_halves_are_rounded_up(x, whole):
    assert nearest(x) == halves_up(x) == whole and nearest(np.float64(x)) == whole


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


@pytest.mark.parametrize('stateful', [True, False])
@pytest.mark.parametrize('ratio, fixed', [(0, False), (0.3, False), (0.9, False), (0.3, True)])
def test_processes_have_their_rows_of_texts_that_the_first_reads(text_file, tmp_path, stateful, ratio, fixed):
    """Of a fixed validation text of fewer rows than the batch, too; only the first has whole texts."""
    path, others = text_file(TEXT * 8 + 'é'), {}
    if fixed:
        others = dict(valid=text_file(TEXT[:50], name='valid.txt'), test=text_file('xy', name='test.txt'))
    broadcasts, shares = [], []

    def send(find, *arguments):
        broadcasts.append(find(*arguments))
        return broadcasts[-1]

    def text(group=SingleProcess()):
        return Text(path, ratio, 7, 9, 'utf-8', stateful, False, group, **others)

    whole = text()
    for rank in range(3):
        group, received = member(rank, 3), iter(list(broadcasts))
        group.broadcast = send if rank == 0 else lambda find, *arguments: next(received)
        shares.append(text(group))
        (tmp_path / 'text.txt').write_text('another')      # which nobody reads
    assert max(array.nbytes for array in broadcasts[1:]) <= len(TEXT * 8) / 7             # a byte a character
    assert [sorted(share.texts) for share in shares] == [sorted(others), [], []]
    for rank, share in enumerate(shares):
        assert share.n_batches == whole.n_batches and share.metadata() == whole.metadata()
        for part, R in (('train', 7), ('valid', 5 if fixed else 7)):
            for own, of_all in [*zip(share.X[part], whole.X[part]), *zip(share.Y[part], whole.Y[part])]:
                np.testing.assert_array_equal(own, of_all[:, member(rank, 3).rows(R)])
        share.renumber(list(reversed(share.uchar)))
        of_all = whole.X['train'][0][:, member(rank, 3).rows(7)]
        np.testing.assert_array_equal(share.X['train'][0], len(whole.uchar) - 1 - of_all)
        assert sum(kept.nbytes for kept in share._kept.values()) <= len(TEXT * 8) * 3 / 7 + 50


# ---------------------------------------------------------------- texts to validate and to test with

OTHERS = dict(valid='Über allen Gipfeln ist Ruh. ', test='a𝄞')


@settings(max_examples=100)
@given(text=TEXTS, valid=TEXTS, test=TEXTS, B=st.integers(1, 7), S=st.integers(2, 9), stateful=st.booleans())
def test_fixed_split(shared_folder, text, valid, test, B, S, stateful):
    """All of the first text is for training, and a short validation text has fewer rows, of at least S characters."""
    paths = {}
    for role, content in (('train', text), ('valid', valid), ('test', test)):
        (shared_folder / role).mkdir(exist_ok=True)
        paths[role] = written(shared_folder / role, content)
    texts = {'train': as_read(text), 'valid': as_read(valid), 'test': as_read(test)}
    vocabulary = sorted(set(''.join(texts.values())))
    enough = (len(texts['train']) >= B * S and len(texts['valid']) >= S and len(texts['test']) > 1
              and len(vocabulary) > 1)
    model = CharLSTM(random_seed=1)
    try:
        model.prepare_input(paths['train'], batch_size=B, seq_length=S, verbose=False, stateful=stateful,
                            valid=paths['valid'], test=paths['test'])
    except ValueError as error:
        assert not enough and '\n' not in str(error)
        return
    assert enough and model.uchar == vocabulary
    rows = {'train': B, 'valid': min(B, len(texts['valid']) // S)}
    for part, R in rows.items():
        # In streams, what is left of fewer characters than rows.
        learned = texts[part] if not stateful else texts[part][:len(texts[part]) // R * R]
        expected = slowly_cut(texts[part], 0, R, S)['train'] if not stateful else streams(learned, R, S)
        assert [[tuple(spelled(model, side[:, b]) for side in pair) for b in range(R)]
                for pair in zip(model.X[part], model.Y[part])] == expected
    assert {role: spelled(model, codes) for role, codes in model.texts.items()} == {
        role: texts[role] for role in ('valid', 'test')}


def streams(text, R, S):
    """Return the batches of R streams of a text, whose length R divides, as slowly_cut does."""
    length = len(text) // R
    rows = [text[b * length:(b + 1) * length] for b in range(R)]
    return [[(row[k:k + S][:length - 1 - k], row[k + 1:k + 1 + S]) for row in rows] for k in range(0, length - 1, S)]


def test_texts_are_renumbered_with_the_batches(text_file):
    paths = {role: text_file(content, name=role) for role, content in OTHERS.items()}
    text = Text(text_file(POEM), 0.3, 3, 5, 'utf-8', True, False, **paths)
    before, uchar = {role: codes.copy() for role, codes in text.texts.items()}, list(text.uchar)
    x = text.X['valid'][0]
    text.renumber(['-', *reversed(uchar)])
    for role, codes in text.texts.items():
        np.testing.assert_array_equal(codes, len(uchar) - before[role])
    np.testing.assert_array_equal(text.X['valid'][0], len(uchar) - x)


def test_summary_and_metadata_of_a_fixed_split(text_file, capsys):
    paths = {role: text_file(content, name=role) for role, content in OTHERS.items()}
    model = prepared(text_file(POEM), verbose=True, batch_size=3, seq_length=7, **paths)
    first, valid, test, _ = capsys.readouterr().out.splitlines()
    distinct = len(set(POEM + ''.join(OTHERS.values())))
    assert first.endswith(f'{len(POEM)} characters, {distinct} distinct in all texts')
    assert 'valid: 28 characters to validate with, in sequences' in valid and 'test: 2 characters' in test
    metadata = model.text.metadata()
    for role, content in OTHERS.items():
        digest = hashlib.sha256(content.encode('utf-8')).hexdigest()
        assert metadata[role] == dict(path=paths[role], characters=len(content), sha256=digest)
        assert model.fingerprint(role) == digest
    assert metadata['ratio_valid'] == 0 and model.fingerprint() == metadata['sha256']
    prepared(text_file(POEM), verbose=True, batch_size=1, seq_length=7, stateful=True, **paths)
    assert 'valid: 28 characters to validate with, in 1 stream while' in capsys.readouterr().out


@pytest.mark.parametrize('role, content, words', [
    ('valid', 'abcd', ['4 characters', 'needs 5']), ('test', 'a', ['1 character:', 'needs 2']),
    ('valid', '', ['0 characters'])])
def test_fixed_text_that_is_too_short(text_file, refused, role, content, words):
    with refused(ValueError, text_file(content, name=role), *words):
        prepared(text_file(POEM), seq_length=5, **{role: text_file(content, name=role)})


# ---------------------------------------------------------------- refusals

@pytest.mark.parametrize('ratio_valid, batch_size, seq_length', [
    (0, 1, 2), (0.3, 50, 3), (0.5, 1, 4), (0.9, 4, 2), (1 / 3, 11, 2), (0.99, 3, 2), (0.875, 1, 26),
])
def test_text_too_short_names_the_number_of_characters_that_works(text_file, refused, ratio_valid, batch_size,
                                                                  seq_length):
    settings = dict(ratio_valid=ratio_valid, batch_size=batch_size, seq_length=seq_length)
    with pytest.raises(ValueError) as caught:
        prepared(text_file('a'), **settings)
    needed = int(re.search(r'need ([\d,]+)', str(caught.value)).group(1).replace(',', ''))
    assert prepared(text_file(('ab' * needed)[:needed]), **settings).n_batches['train'] == 1
    path = text_file(('ab' * needed)[:needed - 1])
    with refused(ValueError, path, '{:,}'.format(needed), 'has {:,} character'.format(needed - 1)):
        prepared(path, **settings)


@pytest.mark.parametrize('name, values', [
    ('ratio_valid', [-0.1, 1, 1.5, float('nan'), float('inf'), '0.3', None]),
    ('batch_size', [0, -1, 2.5, float('nan'), '3', None]),
    ('seq_length', [1, 0, -1, 2.5, float('nan'), '3', None]),
    ('stateful', ['False', 1, None]), ('verbose', ['no', 0]),
])
def test_settings_out_of_range(text_file, refused, name, values):
    for value in values:
        with refused(ValueError, f'{name} is {value!r}'):
            prepared(text_file(POEM), **{name: value})
