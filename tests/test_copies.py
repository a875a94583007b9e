"""Passages of a text that stand in another: against a search by hand, as produce_text.py says them, and in its page."""
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlstm import CharLSTM
from engine import copies
from engine.backend.theano_setup import theano
from engine.copies import Original, Passage, copied_passages, longest_passage
from engine.page.page import write_page
from models import default_mode
from pages import NOT_HACKED, place
from scripts import TEXT, assert_refused, contents, sequences, snapshot, write_chain


def found_by_hand(written, text, least):
    """Return what copied_passages should, by trying every passage."""
    def stands(start, end):
        return 0 <= start < end <= len(written) and written[start:end] in text

    return [Passage(start, end - start, text.index(written[start:end]))
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
    written, text = texts
    assert copied_passages(written, text, least) == found_by_hand(written, text, least)
    by_hand = found_by_hand(written, text, 1)
    assert longest_passage(written, text) == max(by_hand, key=lambda passage: passage.length, default=None)


@pytest.mark.parametrize('n', [30, 31, 32, 45, 46, 47, 48])
def test_passage_at_any_place(n):
    """Of the default length too, wherever it begins in the two texts, also at their beginnings and ends."""
    alphabet = [chr(code) for code in range(0x4e00, 0x4e00 + n)]
    passage = ''.join(alphabet)
    for before, after in itertools.product((0, 1, 14, 15, 16, 17), (0, 1, 15)):
        found = copied_passages('x' * after + passage + 'x' * before, '.' * before + passage + '.' * after)
        assert found == ([Passage(after, n, before)] if n > 30 else [])


@pytest.mark.parametrize('written, text, passages', [
    (' ' * 5_000, ' ' * 400_000, [(0, 5_000, 0)]),
    (' ' * 100_000, ' ' * 5_000, [(k, 5_000, 0) for k in range(95_001)]),
    ('ab' * 2_500 + 'c', 'b' + 'ab' * 200_000 + 'd', [(0, 5_000, 1)]),
    (('a' * 70 + 'b') * 50, ('a' * 69 + 'b') * 6_000,
     [(0, 69, 0)] + [(1 + 71 * k, 139, 0) for k in range(49)] + [(3_480, 70, 0)])], ids=range(4))
def test_repetitive_texts(written, text, passages):
    """Of which all pairs of places would take hours."""
    assert copied_passages(written, text) == [Passage(*one) for one in passages]


def test_what_is_refused(refused, monkeypatch):
    with refused(ValueError, 'least is 0'):
        copied_passages('a', 'a', 0)
    monkeypatch.setattr(copies, 'MOST_WRITTEN', 3)
    with refused(ValueError, '4 characters', 'at most 3'):
        copied_passages('abcd', 'a')
    assert Original('abc', 'x').compare(['ab', 'c']).characters == 3       # what joins them does not count
    with refused(ValueError, '4 characters', 'at most 3'):
        Original('abc', 'x').compare(['ab', 'cd'])


# ---------------------------------------------------------------- in words

BOOK = 'First line.\nThe second line is\n' + ''.join(map(chr, range(0x400, 0x464))) + '\nand the last.\n'
LETTERS = BOOK[31:131]                                     # 100 different ones, in line 3


def test_numbers_of_copies():
    """A character in two passages counts once, and no passage is of two texts."""
    found = Original(LETTERS[:50] + '.' + LETTERS[10:60] + '.' + LETTERS[60:], 'x').compare(
        [LETTERS[:40], LETTERS[40:], '.', LETTERS[:60]])
    assert [passage.length for passage in found.passages] == [40, 40, 50, 50]
    assert (found.characters, found.copied, found.longest.length) == (161, 140, 50) and not found.whole
    assert '87.0 % of 161 characters' in found.share()
    assert Original('x' + LETTERS, 'x').compare([LETTERS]).whole
    share, none = Original('abc', 'x.txt').compare(['def']).lines()
    assert share.startswith('0.0 % of 3 characters') and none == 'no character stands in x.txt'
    share, longest, _ = Original('abc', 'x.txt').compare(['c']).lines()
    assert ' of 1 character stands ' in share and longest == "the longest passage has 1 character: 'c'"
    assert Original('abc', 'x.txt').compare(['']).longest is None


@pytest.fixture
def chain(produce, tmp_path, monkeypatch):
    """Return produce for a model that writes LETTERS again and again, in a folder with BOOK."""
    checkpoint = write_chain(tmp_path / 'p.npz', np.array(list(LETTERS)))
    (tmp_path / 'book.txt').write_bytes(BOOK.replace('\n', '\r\n').encode('utf-16'))
    monkeypatch.chdir(tmp_path)
    return lambda *options: produce('--copies', 'book.txt', '--encoding', 'utf-16', *options, checkpoint=checkpoint)


def test_copies_of_what_is_written(chain, tmp_path):
    """The prime, of which there would be 40 more, does not count."""
    result = chain('out', '--prime', LETTERS[20:60], '--length', 70, '--count', 2, '--method', 'max')
    assert sequences(contents(tmp_path / 'out'), 2) == [LETTERS[20:] + LETTERS[:30]] * 2
    share, longest, place = result.stderr.splitlines()[-3:]
    assert share == '57.1 % of 140 characters stand in book.txt in passages of over 30 characters'
    assert longest == f'the longest passage has 40 characters: {LETTERS[60:]!r}'
    assert place == (f'it stands there at character {31 + 60 + 1}, line 3, between {LETTERS[20:60]!r} and '
                     + repr('\nand the last.\n'))
    assert result.stdout == '\n\n'.join(sequences(contents(tmp_path / 'out'), 2)) + '\n'
    said = chain('out', '--length', 9, '--count', 1).stderr                # whose random first character counts
    assert '0.0 % of 9 characters' in said and 'the longest passage has ' in said
    result = chain('--page', 'p.html', '--prime', LETTERS[20:60], '--length', 70, '--method', 'max')
    html = (tmp_path / 'p.html').read_text()
    for said in (result.stderr, html):
        assert '57.1 % of 70 characters' in said
    assert '"start": 40, "length": 40, "line": 3' in html


def test_copies_of_a_file_in_a_folder(chain, produce, tmp_path):
    (tmp_path / 'books').mkdir()
    (tmp_path / 'books' / 'a.txt').write_text('nothing')
    (tmp_path / 'books' / 'b.txt').write_text(BOOK, encoding='utf-8')
    (tmp_path / 'x.txt').write_text('☃' + LETTERS[:50], encoding='utf-8')
    options = ['--score', 'x.txt', '--copies', 'books']
    result = produce(*options, checkpoint='p.npz')
    *_, share, longest, place = result.stdout.splitlines()
    assert share.startswith('98.0 % of 51 characters stand in books')
    assert 'at character 41, line 5, between' in place and repr(LETTERS[:50]) in longest
    found = json.loads(produce(*options, '--json', checkpoint='p.npz').stdout)['copies']
    passage = dict(start=1, length=50, at=40, line=5, before='nothing\n\n' + BOOK[:31][-31:], after=LETTERS[50:90])
    assert found == dict(file='books', characters=51, copied_characters=50, longest=passage, passages=[passage])


@pytest.mark.parametrize('options, words', [
    (['--copies', 'missing.txt'], ['missing.txt', 'No such file']), (['--copies', 'empty.txt'], ['empty.txt is empty']),
    (['--info'], ['--copies', '--info']), (['--score', 'book.txt', '--lines'], ['--copies', '--lines']),
    (['--length', 300_000], ['1,500,000 characters', '1,000,000'])], ids=repr)
def test_what_the_script_refuses(chain, tmp_path, options, words):
    """Before it writes."""
    (tmp_path / 'empty.txt').write_text('')
    before = snapshot(tmp_path)
    assert_refused(chain(*options, *['out'] * (options[0] in ('--copies', '--length'))), *words)
    assert snapshot(tmp_path) == before


# ---------------------------------------------------------------- on the page

@pytest.fixture(scope='module')
def page_of(short_run, tmp_path_factory):
    """Return a function that writes the page of a text with what of its end stands in another, and returns its path."""
    path, checkpoint = tmp_path_factory.mktemp('page') / 'page.html', str(short_run.folder / 'r_t.txt_best.npz')
    model = CharLSTM()
    model.model_setup(checkpoint)

    def write(text, original, name='book.txt', prime=0):
        with default_mode(theano.compile.mode.FAST_COMPILE):
            write_page(path, model, checkpoint, text, 'a text',
                       copies=Original(original, name).compare([text[prime:]]))
        return path
    return write


def underlined(browser, attribute='data-copied'):
    marked = browser.all('#text span', f"element.hasAttribute('{attribute}')")
    return [k for k in range(len(marked)) if marked[k]]


@pytest.mark.parametrize('view, width', [('surprise', 1280), ('cells', 390)])
def test_page_underlines_passages(browser, page_of, view, width):
    """Those of the text after the prime, with the one in question emphasised, in every view beside the text."""
    text, name = TEXT[:400], 'a <b>book</b>\u202e.txt'
    original = ('One\n<img src=x onerror=hacked=1>' + text[100:200] + '!\n' + text[150:260] + '<'
                + text[300:325])
    browser.open(page_of(text, original, name, 120), view='#' + view, width=width)
    assert underlined(browser) == list(range(120, 260)) and underlined(browser, 'data-looked') == []
    line = browser.text('#copies')
    assert line.startswith(r'50.0 % of 280 characters stand in a <b>book</b>\u202e.txt in')
    assert 'the longest has 110' in line
    browser.click(place(160))                              # in both passages
    assert underlined(browser, 'data-looked') == list(range(150, 260))
    shown = browser.text('#passage')
    number = 1 + original.partition(text[150:260])[0].count('\n')
    assert shown.startswith(rf'110 characters stand in line {number} of a <b>book</b>\u202e.txt:')
    browser.focus('#text')
    for _ in range(12):
        browser.press('ArrowLeft')
    assert underlined(browser, 'data-looked') == list(range(120, 200))
    shown = browser.text('#passage')
    assert shown.startswith('80 characters stand in line 2 of') and text[100:120] in shown.replace('\u21b5', '\n')
    styles = browser.all('#text span', 'getComputedStyle(element).textDecorationLine')
    assert [styles[k] for k in (100, 120, 230)] == ['none', 'underline', 'underline'] and browser.fits()
    browser.press('Home')
    assert browser.text('#passage') == '' and underlined(browser, 'data-looked') == []
    browser.click('#tab-' + ('cells' if view == 'surprise' else 'surprise'))
    assert underlined(browser) == list(range(120, 260))
    assert browser.value(NOT_HACKED + " && !document.querySelector('main b b')")


@pytest.mark.parametrize('size', [(1280, 600), (390, 780)])
def test_passage_is_in_sight_beside_a_long_panel(browser, page_of, size):
    browser.open(page_of(TEXT[:90], '☃' + TEXT[20:70] + '☃'), *size, view='#cells')
    browser.value('scrollTo(0, document.body.scrollHeight)')
    browser.value("byId('character-30').click()")
    top, bottom = browser.value("(box => [box.top, box.bottom])(byId('passage').getBoundingClientRect())")
    assert 0 < top < bottom <= size[1]


@pytest.mark.parametrize('original, lined, words', [
    (TEXT, range(0), ['All is one passage']), ('☃', range(0), ['0.0 % of 90 characters']),
    ('☃' + TEXT[20:45] + '☃', range(20, 45), ['0.0 % of 90', 'The longest passage, of 25'])])
def test_page_of_one_passage_of_none_and_of_a_short_one(browser, page_of, original, lined, words):
    browser.open(page_of(TEXT[:90], original))
    assert underlined(browser) == list(lined) and all(word in browser.text('#copies') for word in words)
    browser.click(place(70))
    assert browser.text('#passage') == ''
