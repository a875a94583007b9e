"""The view in which the reader guesses characters: its places, its score, and its controls in Chromium."""
import numpy as np
import pytest

from pages import data_of, expected_of, random_numbers, shown, write_page_of
from scripts import TEXT, load, write_chain

TRIES, ALL_WRONG = 5, 6


def places_of(browser, seed):
    """Return the places of a seed in TEXT[:700].

    The first ten of a shuffle (Fisher and Yates 1938) of all places after the first hundred.
    """
    found = list(range(100, 700))
    for j, number in enumerate(random_numbers(browser, 10, seed)):
        other = j + int(number * (600 - j))
        found[j], found[other] = found[other], found[j]
    return sorted(found[:10])


def before(k):
    """Return what is shown of the text before the place k, with a mark for the place."""
    return ('…' if k > 500 else '') + TEXT[max(0, k - 500):k].replace('\n', '↵\n') + '?'


def begin(browser, path, seed=1, **window):
    """Open a page and begin a round, all by keys."""
    browser.open(path, view='#guess', **window)
    browser.set('#guess-seed', str(seed))
    browser.focus('#guess-seed')
    browser.press('Enter')


def guess(browser, characters):
    """Guess characters in this order, and go on to the next place."""
    for character in characters:
        if browser.focused() == 'guess-typed':
            browser.press('Enter' if character == '\n' else character)
    assert browser.focused() == 'guess-next'
    browser.press('Enter')


def says(browser, words, where='status'):
    return words in browser.text('#guess-' + where)


def write_chain_page(folder, text, uchar, source=None):
    """Write a page of a chain of characters with a text. Return its path."""
    return write_page_of(write_chain(folder / 'p.npz', uchar), folder / 'page.html', text, source)


# ---------------------------------------------------------------- the places

@pytest.mark.parametrize('seed', [1, 2, 2 ** 32 - 1])
def test_places_are_drawn_by_the_random_numbers_of_the_page(browser, written, seed):
    begin(browser, written, seed)
    for k in places_of(browser, seed):
        assert browser.text('#guess-before') == before(k)
        guess(browser, [TEXT[k]] if TEXT[k] in ' \neas' else ' \neas')
    assert len(browser.all('#guess-answers > *')) == 10 and browser.value("byId('guess-seed').value") == str(
        (seed + 1) % 2 ** 32)


def test_short_text(browser, tmp_path):
    begin(browser, write_chain_page(tmp_path, 'ab', np.array(['a', 'b'])))
    assert browser.text('#guess-before') == 'a?'
    browser.press('a')
    assert browser.focused() == 'guess-typed' and says(browser, 'Guess 2 of 2')
    guess(browser, 'b')
    assert len(browser.all('#guess-answers > *')) == 1


def test_places_can_be_typed(browser, tmp_path):
    """Parts of a character, and controls, are no places; letters of more than one byte are no guesses there."""
    uchar = np.array([b'a', b'\xc3', b'\xa9', b'\x01'])
    begin(browser, write_chain_page(tmp_path, 'aé\x01' * 90, uchar))
    browser.call('Input.insertText', text='é')
    assert says(browser, 'Expected one character', 'wrong') and says(browser, 'Guess 1 of 4')
    for _ in range(10):
        assert browser.text('#guess-before')[-2] == '1'    # of \x01, before the only character that can be typed
        guess(browser, 'a')
    browser.open(write_chain_page(tmp_path, '\x01\x01', np.array(['\x01'])), view='#guess')
    browser.click('#guess-begin')
    assert says(browser, 'No character', 'wrong') and not browser.is_visible('#guess-round')


# ---------------------------------------------------------------- a round

@pytest.mark.parametrize('width', [1280, 390])
def test_score_is_that_of_independent_ranks(browser, written, short_run, width):
    """The reader types the same letters at each place, and finds some."""
    p, tries = load(short_run.folder / 'r_t.txt_best.npz'), ' \neas'
    codes, probabilities, costs = expected_of(p)
    ranks = 1 + (probabilities > probabilities[np.arange(699), codes[1:]][:, None]).sum(axis=1)
    ranks = np.minimum(ranks, ALL_WRONG)
    bits = -np.log2((np.bincount(ranks, minlength=ALL_WRONG + 1)[1:] + 1) / (699 + ALL_WRONG))
    bits[-1] += np.log2(len(p['uchar']) - TRIES)
    assert np.exp2(-bits[:-1]).sum() + np.exp2(-bits[-1]) * (len(p['uchar']) - TRIES) == pytest.approx(1)     # a code

    begin(browser, written, 3, width=width)
    names = browser.all('#guess-panel :is(input, button)', 'element.labels[0]?.textContent || element.textContent')
    assert browser.fits() and len(names) > 4 and all(names)
    places = places_of(browser, 3)
    for _ in places:
        guess(browser, tries)
    assert browser.fits()
    readers = [tries.find(TEXT[k]) + 1 or ALL_WRONG for k in places]
    assert 1 < len(set(readers)) and readers.count(ALL_WRONG) < 10
    expected = [np.mean(bits[np.array(readers) - 1]), np.mean(bits[ranks[np.array(places) - 1] - 1]),
                np.mean(costs[np.array(places) - 1]) / np.log(2)]
    found = [float(cell[:-len(' bits')]) for cell in browser.all('#guess-scores .number')]
    np.testing.assert_allclose(found, expected, atol=6e-3)
    for k, reader, answer in zip(places, readers, browser.all('#guess-answers > * p')):
        one, two = [{1: '1 guess', ALL_WRONG: 'not found'}.get(r, f'{r} guesses') for r in (reader, ranks[k - 1])]
        assert answer.startswith(f'{shown(TEXT[k])}. You: {one} (') and f'The model: {two};' in answer
    rows = browser.all('#guess-answers li:first-child .bars .what')
    assert rows[0] == shown(p['uchar'][probabilities[places[0] - 1].argmax()])
    assert browser.focused() == 'guess-heading'


def test_round_by_keys(browser, written):
    begin(browser, written)
    k, second = places_of(browser, 1)[:2]
    assert browser.focused() == 'guess-typed' and browser.text('#guess-status') == 'Place 1 of 10. Guess 1 of 5.'
    wrong = [ch for ch in 'abcdefgh' if ch != TEXT[k]]
    browser.press(wrong[0])
    assert says(browser, f'Not {wrong[0]}. Guess 2 of 5.')
    browser.press(wrong[0])
    assert says(browser, 'not counted again') and says(browser, 'Guess 2 of 5')
    browser.call('Input.insertText', text='☃')
    assert says(browser, 'never saw ☃', 'wrong') and says(browser, 'Guess 2 of 5')
    browser.press(wrong[1])
    assert not browser.is_visible('#guess-wrong')
    assert browser.text('#guess-tried') == f'Tried: {wrong[0]} {wrong[1]}'
    for ch in wrong[2:5]:
        browser.press(ch)
    assert says(browser, f'it was {shown(TEXT[k])}.') and browser.text('#guess-asked') == shown(TEXT[k])
    assert browser.focused() == 'guess-next' and browser.value("byId('guess-typed').disabled")
    browser.press('x')                                     # typed ahead: no guess
    browser.press('Enter')
    assert says(browser, 'Place 2 of 10.') and says(browser, 'Guess 1 of 5')
    browser.press('Enter' if TEXT[second] == '\n' else TEXT[second])
    assert says(browser, f'Yes, {shown(TEXT[second])}: 1 guess.')


def test_buttons_guess_what_a_field_may_not_take(browser, written):
    begin(browser, written, 3)
    k = places_of(browser, 3)[0]
    for character in ' \n':
        button = 1 + browser.all('#guess-keys button').index(shown(character))
        browser.value(f"document.querySelector('#guess-keys button:nth-of-type({button})').click()")
        assert says(browser, ('Yes, ' if TEXT[k] == character else 'Not ') + shown(character))


def test_composed_characters_are_guessed_when_they_are_complete(browser, written):
    """As on a phone, or with a dead key."""
    begin(browser, written)
    browser.call('Input.imeSetComposition', text='e', selectionStart=1, selectionEnd=1)
    assert says(browser, 'Guess 1 of 5')
    browser.call('Input.insertText', text='é')
    assert says(browser, 'Yes, é' if TEXT[places_of(browser, 1)[0]] == 'é' else 'Not é. Guess 2')
    assert browser.value("byId('guess-typed').value") == ''


def test_seed_that_is_wrong(browser, written):
    begin(browser, written, 1.5)
    assert says(browser, 'Seed of the places', 'wrong')
    assert not browser.is_visible('#guess-round') and not browser.is_visible('#guess-result')


def test_text_of_the_model_itself(browser, written, tmp_path):
    own = write_chain_page(tmp_path, 'abc' * 40, np.array(list('abc')))
    assert data_of(own)['own'] and data_of(own)['source'] == 'A text that the model wrote itself.'
    for path, is_own in ((own, True), (written, False)):
        browser.open(path, view='#guess')
        assert browser.is_visible('#guess-own') == is_own and says(browser, 'wrote this text itself', 'own')
