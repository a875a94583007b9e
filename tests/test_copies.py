"""Passages of a text that another contains: against an exhaustive search, and in produce_text.py's output."""
import itertools
import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.output.copies import compare, copied_passages
from scripts import contents, sequences, write_chain


def found_by_hand(written, text, least):
    """Return the expected result of copied_passages, by trying every passage."""
    def stands(start, end):
        return 0 <= start < end <= len(written) and written[start:end] in text

    return [(start, end - start, text.index(written[start:end]))
            for start, end in itertools.combinations(range(len(written) + 1), 2)
            if end - start >= least and stands(start, end) and not (stands(start - 1, end) or stands(start, end + 1))]


def alternating(letters):
    """Return pairs of texts that share long passages: both are made of the same few pieces."""
    pieces = st.lists(st.text(letters, min_size=1, max_size=9), min_size=1, max_size=3)
    return pieces.flatmap(lambda some: st.tuples(*[st.lists(st.sampled_from(some), max_size=7).map(''.join)] * 2))


@settings(max_examples=300)
@given(texts=st.one_of(alternating('ab'), alternating('aé𝄞\n'),
                       st.tuples(st.text('ab', max_size=25), st.text('abc'))), least=st.integers(1, 9))
def test_passages_are_those_found_by_hand(texts, least):
    """None spans two texts."""
    written, text = texts
    assert copied_passages(written, text, least) == found_by_hand(written, text, least)
    by_hand = found_by_hand(written, text, 1)
    longest, expected = compare([written] * 2, text, 'x')['longest'], max(by_hand, key=lambda one: one[1], default=None)
    assert (longest and (longest['start'], longest['length'], longest['at'])) == expected


BOOK = 'First line.\nThe second line is\n' + ''.join(map(chr, range(0x400, 0x464))) + '\nand the last.\n'
LETTERS = BOOK[31:131]                                     # 100 different ones, in line 3
COPIES = ['--copies', 'book.txt', '--encoding', 'utf-16']


def test_copies_of_what_is_written_and_scored(produce, tmp_path, monkeypatch):
    """The model writes LETTERS again and again. The prime, which would add 40 characters, does not count."""
    monkeypatch.chdir(tmp_path)
    write_chain('p.npz', np.array(list(LETTERS)))
    (tmp_path / 'book.txt').write_bytes(BOOK.replace('\n', '\r\n').encode('utf-16'))
    options = ['--prime', LETTERS[20:60], '--length', 70, '--method', 'max', '--count', 2, *COPIES]
    result = produce('out', *options, checkpoint='p.npz')
    assert sequences(contents(tmp_path / 'out'), 2) == [LETTERS[20:] + LETTERS[:30]] * 2
    for words in ('57.1 % of 140 characters', f' 40 characters: {LETTERS[60:]!r}', f'character {31 + 60 + 1}, line 3'):
        assert words in result.stderr
    (tmp_path / 'x.txt').write_text('☃' + LETTERS[:50], encoding='utf-16')
    assert '98.0 % of 51 characters' in produce('--score', 'x.txt', *COPIES, checkpoint='p.npz').stdout
    found = json.loads(produce('--score', 'x.txt', '--json', *COPIES, checkpoint='p.npz').stdout)['copies']
    passage = dict(start=1, length=50, at=31, line=3, before=BOOK[:31], after=LETTERS[50:90])
    assert found == dict(file='book.txt', characters=51, copied_characters=50, longest=passage, passages=[passage])
