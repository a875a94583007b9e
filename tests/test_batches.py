"""Texts cut into batches of sequences or streams, and the rows of a batch that each process gets."""
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlstm import CharLSTM
from engine.data import text as texts
from engine.data.batches import Text
from engine.parallel import SingleProcess
from models import TEXT, halves_up, member, prepared, spelled
from texts import POEM, TEXTS, as_read, written


def slowly_cut(text, ratio, B, S, stateful=False):
    """Return the batches by part, each a list of rows (characters, targets), cut by a slow but plain method."""
    sequences = [text[k:k + S] for k in range(0, len(text) - S + 1, S)]
    n_train = halves_up((1 - ratio) * len(sequences))
    if n_train == len(sequences):                    # no validation sequence
        text = text[:n_train * S]
    parts = {}
    for part, piece in (('train', text[:n_train * S]), ('valid', text[n_train * S:])):
        if stateful:
            parts[part] = streams(piece[:len(piece) // B * B], B, S)
        else:
            rows = [(s[:-1], s[1:]) for s in (sequences[:n_train] if part == 'train' else sequences[n_train:])]
            parts[part] = [rows[k:k + B] for k in range(0, len(rows) - B + 1, B)]
    return parts


def streams(text, R, S):
    """Return the batches of R streams of a text, in the format of slowly_cut. R must divide its length."""
    length = len(text) // R
    rows = [text[b * length:(b + 1) * length] for b in range(R)]
    return [[(row[k:k + S][:length - 1 - k], row[k + 1:k + 1 + S]) for row in rows] for k in range(0, length - 1, S)]


def batches_of(model, part, rows):
    """Return a part of a model's batches in the format of slowly_cut."""
    return [[tuple(spelled(model, side[:, b]) for side in pair) for b in range(rows)]
            for pair in zip(model.X[part], model.Y[part])]


@settings(max_examples=200)
@given(text=TEXTS, ratio=st.one_of(st.just(0), st.floats(1e-30, 0.95)), B=st.integers(1, 7), S=st.integers(2, 9),
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
        assert batches_of(model, part, B) == expected
        assert {side.dtype for side in [*model.X[part], *model.Y[part]]} <= {np.dtype('int32')}
        for side in (model.X[part], model.Y[part]):
            np.testing.assert_equal(list(side[1:]), list(side)[1:])
            np.testing.assert_equal([side[-k] for k in range(1, len(side) + 1)], list(side)[::-1])


@pytest.mark.parametrize('stateful', [True, False])
def test_memory_of_a_text(text_file, monkeypatch, stateful):
    """It takes at most 2.5 bytes a character while it is read, and 1.2 afterwards, without the 2 MB of tables."""
    monkeypatch.setattr(texts, 'PIECE', 1 << 15, raising=False)
    n, path = 10 ** 7, text_file('The same, or 2.\n' * 625_000)
    tracemalloc.start()
    try:
        text = Text(path, 0.3, 47, 53, 'utf-8', stateful, SingleProcess())
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert text.sources['train']['characters'] == n and after < 1.2 * n and peak < 2.5 * n + 2e6


@pytest.mark.parametrize('stateful', [True, False])
@pytest.mark.parametrize('ratio, fixed', [(0, False), (0.3, False), (0.9, False), (0.3, True)])
def test_processes_have_their_rows_of_texts_that_the_first_reads(text_file, tmp_path, stateful, ratio, fixed):
    """Also of a fixed validation text with fewer rows than the batch."""
    path, others = text_file(TEXT * 8 + 'é'), {}
    if fixed:
        others = dict(valid=text_file(TEXT[:50], name='valid.txt'), test=text_file('xy', name='test.txt'))
    broadcasts, shares = [], []

    def send(find, *arguments):
        broadcasts.append(find(*arguments))
        return broadcasts[-1]

    def text(group=SingleProcess()):
        return Text(path, ratio, 7, 9, 'utf-8', stateful, group, **others)

    whole = text()
    for rank in range(3):
        group, received = member(rank, 3), iter(list(broadcasts))
        group.broadcast = send if rank == 0 else lambda find, *arguments: next(received)
        shares.append(text(group))
        (tmp_path / 'text.txt').write_text('another')      # the others must not read it
    for rank, share in enumerate(shares):
        assert share.n_batches == whole.n_batches and share.metadata() == whole.metadata()
        for part, R in (('train', 7), ('valid', 5 if fixed else 7)):
            for own, of_all in [*zip(share.X[part], whole.X[part]), *zip(share.Y[part], whole.Y[part])]:
                np.testing.assert_array_equal(own, of_all[:, member(rank, 3).rows(R)])
        share.renumber(list(reversed(share.uchar)))
        of_all = whole.X['train'][0][:, member(rank, 3).rows(7)]
        np.testing.assert_array_equal(share.X['train'][0], len(whole.uchar) - 1 - of_all)
        for role, codes in whole.texts.items():
            np.testing.assert_array_equal(share.texts[role], len(whole.uchar) - 1 - codes)


@settings(max_examples=100)
@given(text=TEXTS, valid=TEXTS, test=TEXTS, B=st.integers(1, 7), S=st.integers(2, 9), stateful=st.booleans())
def test_fixed_split(shared_folder, text, valid, test, B, S, stateful):
    """The whole first text is for training. A short validation text has fewer rows, of at least S characters each."""
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
        # Streams leave out a remainder of fewer characters than rows.
        learned = texts[part] if not stateful else texts[part][:len(texts[part]) // R * R]
        expected = slowly_cut(texts[part], 0, R, S)['train'] if not stateful else streams(learned, R, S)
        assert batches_of(model, part, R) == expected
    assert {role: spelled(model, codes) for role, codes in model.texts.items()} == {
        role: texts[role] for role in ('valid', 'test')}


@pytest.mark.parametrize('text, settings', [
    ('', {}), ('\ufeff', {}), ('\n' * 50, {}), (POEM[:99], dict(batch_size=15)), (POEM, dict(ratio_valid=0.99)),
    (POEM, dict(valid='abcd')), (POEM, dict(valid='')), (POEM, dict(test='a')),
    *[(POEM, dict([setting])) for setting in (
        ('ratio_valid', -0.1), ('ratio_valid', 1), ('ratio_valid', math.nan), ('ratio_valid', '0.3'),
        ('batch_size', 0), ('batch_size', 2.5), ('batch_size', '3'), ('seq_length', 1), ('stateful', 'False'))]])
def test_refusals(text_file, refused, text, settings):
    """A text is too short or has only one distinct character, or a setting is out of range."""
    settings = {name: text_file(value, name=name) if name in ('valid', 'test') else value
                for name, value in settings.items()}
    with refused(ValueError):
        prepared(text_file(text), **{**dict(batch_size=3, seq_length=7), **settings})


NAMES = sorted(['Éa', *[a + b for a in 'ABCFGH' for b in 'aDehil']], key=lambda name: name.replace('É', 'E').lower())


@pytest.mark.parametrize('lines, valid, are_sorted', [(NAMES, None, True), (NAMES[::-1], None, False),
                                                      (NAMES[:20], None, False), (NAMES, POEM, False)])
def test_sorted_lines_are_reported(text_file, lines, valid, are_sorted):
    valid = valid and text_file(valid, name='valid')
    model = prepared(text_file('\n'.join(lines)), ratio_valid=0.3, batch_size=2, seq_length=5, valid=valid)
    assert ('are sorted' in model.text.summary()) == are_sorted


def test_a_refusal_names_the_least_length_and_the_largest_batch_size(text_file, refused):
    def prepare(n, batch_size):
        prepared(text_file('a' + 'b' * (n - 1)), batch_size=batch_size, ratio_valid=0.3, seq_length=7)
    prepare(126, 13)
    prepare(90, 8)
    for n, batch_size, least, largest in ((90, 13, 126, 8), (125, 13, 126, 12), (90, 9, 91, 8)):
        with refused(ValueError, f'it has {n} characters; expected at least {least}, or --batch-size {largest}'):
            prepare(n, batch_size)
