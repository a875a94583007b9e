"""The view in which the reader guesses characters: its places, its score, and its controls in Chromium."""
import numpy as np
import pytest

from pages import HOSTILE, NOT_HACKED, SHOWN_AS, data_of, expected_of, write_page_of
from scripts import TEXT, load, write_chain

TRIES, ALL_WRONG = 5, 6


def begin(browser, path, seed=1, **window):
    """Open a page and begin a round, all by keys. Return the places."""
    browser.open(path, view='#guess', **window)
    browser.value(f"byId('guess-seed').value = {seed}; byId('guess-seed').focus()")
    enter(browser)
    return browser.value('places')


def enter(browser):
    """Press Enter, so that it also activates a button."""
    key = dict(key='Enter', code='Enter', windowsVirtualKeyCode=13)
    browser.call('Input.dispatchKeyEvent', type='keyDown', text='\r', **key)
    browser.call('Input.dispatchKeyEvent', type='keyUp', **key)


def focus(browser):
    return browser.value('document.activeElement.id')


def status(browser):
    return browser.value("byId('guess-status').textContent")


def guess(browser, characters):
    """Guess characters in this order, and go on to the next place."""
    for character in characters:
        if focus(browser) == 'guess-typed':
            enter(browser) if character == '\n' else browser.press(character)
    assert focus(browser) == 'guess-next'
    enter(browser)


def write_chain_page(folder, text, uchar, source=None):
    """Write a page of a chain of characters with a text. Return its path."""
    return write_page_of(write_chain(folder / 'p.npz', uchar), folder / 'page.html', text, source)


# ---------------------------------------------------------------- the places

@pytest.mark.parametrize('seed', [1, 2, 2 ** 32 - 1])
def test_places_are_drawn_by_the_random_numbers_of_the_page(browser, written, javascript, seed):
    """The first ten of a shuffle (Fisher and Yates 1938) of all places after the first hundred."""
    open_places = list(range(100, 700))
    for j, number in enumerate(javascript('randoms(10, seed)', seed=seed)):
        other = j + int(number * (600 - j))
        open_places[j], open_places[other] = open_places[other], open_places[j]
    assert begin(browser, written, seed) == sorted(open_places[:10])


def test_places_are_spread_over_the_text(browser, written):
    browser.open(written)
    found = np.array(browser.value('Array.from({length: 300}, (_, seed) => choosePlaces(seed))'))
    assert found.shape == (300, 10) and (np.diff(found) > 0).all() and found.min() >= 100 and found.max() == 699
    counts = np.histogram(found, bins=10, range=(100, 700))[0]
    assert ((counts - 300) ** 2 / 300).sum() < 28                     # chi-square: 9 +- 4


def test_short_text(browser, tmp_path):
    assert begin(browser, write_chain_page(tmp_path, 'ab', np.array(['a', 'b']))) == [1]
    browser.press('a')
    assert focus(browser) == 'guess-typed' and 'Guess 2 of 2' in status(browser)
    guess(browser, 'b')
    assert browser.value("byId('guess-answers').children.length") == 1 and browser.errors == []


def test_places_can_be_typed(browser, tmp_path):
    """Parts of a character, and controls, are no places; letters of more than one byte are no guesses there."""
    uchar = np.array([b'a', b'\xc3', b'\xa9', b'\x01'])
    places = begin(browser, write_chain_page(tmp_path, 'aé\x01' * 90, uchar))
    assert len(places) == 10 and {k % 4 for k in places} == {0}
    browser.call('Input.insertText', text='é')
    assert 'Expected one character' in browser.value("byId('guess-wrong').textContent")
    assert 'Guess 1 of 4' in status(browser) and browser.errors == []
    browser.open(write_chain_page(tmp_path, '\x01\x01', np.array(['\x01'])), view='#guess')
    browser.click('#guess-begin')
    assert 'No character' in browser.value("byId('guess-wrong').textContent")
    assert browser.value("byId('guess-round').hidden") and browser.errors == []


# ---------------------------------------------------------------- a round

def test_score_is_that_of_independent_ranks(browser, written, short_run):
    """The reader types the same letters at each place, and finds some."""
    p, tries = load(short_run.folder / 'r_t.txt_best.npz'), ' \neas'
    _, probabilities, costs = expected_of(p)
    of_text = np.array([list(p['uchar']).index(ch) for ch in TEXT[1:700]])
    ranks = 1 + (probabilities > probabilities[np.arange(699), of_text][:, None]).sum(axis=1)
    ranks = np.minimum(ranks, ALL_WRONG)
    bits = -np.log2((np.bincount(ranks, minlength=ALL_WRONG + 1)[1:] + 1) / (699 + ALL_WRONG))
    bits[-1] += np.log2(len(p['uchar']) - TRIES)
    assert np.exp2(-bits[:-1]).sum() + np.exp2(-bits[-1]) * (len(p['uchar']) - TRIES) == pytest.approx(1)     # a code

    places = begin(browser, written, 3)
    for _ in places:
        guess(browser, tries)
    readers = [tries.find(TEXT[k]) + 1 or ALL_WRONG for k in places]
    assert 1 < len(set(readers)) and readers.count(ALL_WRONG) < 10
    expected = [np.mean(bits[np.array(readers) - 1]), np.mean(bits[ranks[np.array(places) - 1] - 1]),
                np.mean(costs[np.array(places) - 1]) / np.log(2)]
    shown = browser.value("Array.from(document.querySelectorAll('#guess-scores .number'), cell => cell.textContent)")
    np.testing.assert_allclose([float(cell[:-len(' bits')]) for cell in shown], expected, atol=6e-3)
    answers = browser.value("Array.from(byId('guess-answers').children, item => item.querySelector('p').textContent)")
    for k, reader, answer in zip(places, readers, answers):
        one, two = [{1: '1 guess', ALL_WRONG: 'not found'}.get(r, f'{r} guesses') for r in (reader, ranks[k - 1])]
        assert answer.startswith(f'{SHOWN_AS.get(TEXT[k], TEXT[k])}. You: {one} (') and f'The model: {two};' in answer
    rows = browser.value("Array.from(document.querySelectorAll('#guess-answers li:first-child .bars .what'), "
                         "cell => cell.textContent)")
    expected = p['uchar'][probabilities[places[0] - 1].argmax()]
    assert rows[0] == SHOWN_AS.get(expected, expected)
    assert focus(browser) == 'guess-heading' and browser.value("byId('guess-seed').value") == '4'
    assert browser.errors == [] and len(browser.requests) == 1


def test_round_by_keys(browser, written):
    places = begin(browser, written)
    k = places[0]
    assert focus(browser) == 'guess-typed' and status(browser) == 'Place 1 of 10. Guess 1 of 5.'
    shown = browser.value("byId('guess-before').textContent")
    assert shown == ('…' if k > 500 else '') + TEXT[max(0, k - 500):k].replace('\n', '↵\n') + '?'
    wrong = [ch for ch in 'abcdefgh' if ch != TEXT[k]]
    browser.press(wrong[0])
    assert f'Not {wrong[0]}. Guess 2 of 5.' in status(browser)
    browser.press(wrong[0])
    assert 'not counted again' in status(browser) and 'Guess 2 of 5' in status(browser)
    browser.call('Input.insertText', text='☃')
    assert 'never saw ☃' in browser.value("byId('guess-wrong').textContent") and 'Guess 2 of 5' in status(browser)
    browser.press(wrong[1])
    assert browser.value("byId('guess-wrong').hidden")
    assert browser.value("byId('guess-tried').textContent") == f'Tried: {wrong[0]} {wrong[1]}'
    for ch in wrong[2:5]:
        browser.press(ch)
    came = SHOWN_AS.get(TEXT[k], TEXT[k])
    assert f'it was {came}.' in status(browser) and browser.value("byId('guess-asked').textContent") == came
    assert focus(browser) == 'guess-next' and browser.value("byId('guess-typed').disabled")
    browser.press('x')                                     # typed ahead: no guess
    enter(browser)
    assert status(browser).startswith('Place 2 of 10.') and 'Guess 1 of 5' in status(browser)
    if TEXT[places[1]] == '\n':
        enter(browser)
    else:
        browser.press(TEXT[places[1]])
    assert f'Yes, {SHOWN_AS.get(TEXT[places[1]], TEXT[places[1]])}: 1 guess.' in status(browser)
    assert browser.errors == []


def test_buttons_guess_what_a_field_may_not_take(browser, written):
    places = begin(browser, written, 3)
    for name, ch in (('space', ' '), ('line end', '\n')):
        browser.value(f"Array.from(byId('guess-keys').querySelectorAll('button')).find("
                      f"button => button.textContent === '{name}').click()")
        assert f'Yes, {name}' in status(browser) if TEXT[places[0]] == ch else f'Not {name}' in status(browser)
    assert browser.errors == []


def test_composed_characters_are_guessed_when_they_are_complete(browser, written):
    """As on a phone, or with a dead key."""
    places = begin(browser, written)
    browser.call('Input.imeSetComposition', text='e', selectionStart=1, selectionEnd=1)
    assert 'Guess 1 of 5' in status(browser)
    browser.call('Input.insertText', text='é')
    assert ('Yes, é' if TEXT[places[0]] == 'é' else 'Not é. Guess 2') in status(browser)
    assert browser.value("byId('guess-typed').value") == '' and browser.errors == []


def test_seed_that_is_wrong(browser, written):
    browser.open(written, view='#guess')
    browser.value("byId('guess-seed').value = '1.5'")
    browser.click('#guess-begin')
    assert 'Seed of the places' in browser.value("byId('guess-wrong').textContent")
    assert browser.value("byId('guess-round').hidden && byId('guess-result').hidden") and browser.errors == []


def test_text_of_the_model_itself(browser, written, tmp_path):
    own = write_chain_page(tmp_path, 'abc' * 40, np.array(list('abc')))
    assert data_of(own)['own'] and data_of(own)['source'] == 'A text that the model wrote itself.'
    for path, shown in ((own, True), (written, False)):
        browser.open(path, view='#guess')
        assert browser.value("byId('guess-own').checkVisibility()") == shown
    assert 'wrote this text itself' in browser.value("byId('guess-own').textContent")


@pytest.mark.parametrize('width', [1280, 390])
def test_view_fits(browser, written, width):
    fits = f'Math.max(document.documentElement.scrollWidth, innerWidth) === {width}'
    begin(browser, written, 3, width=width)
    assert browser.value(fits)
    controls = "Array.from(document.querySelectorAll('#guess-panel :is(input, button)')).filter(control => !(%s))"
    named = 'control.labels && control.labels.length || control.textContent'
    assert browser.value((controls % named) + '.length') == 0
    for _ in range(10):
        guess(browser, ' \neas')
    assert browser.value(fits) and browser.errors == []


def test_hostile_text_is_guessed_as_text(browser, tmp_path):
    path = write_chain_page(tmp_path, HOSTILE, np.array(sorted(set(HOSTILE))), 'a text')
    places = begin(browser, path)
    for _ in places:
        guess(browser, ['<', '>', '/', '{', '}'])
    assert browser.value("byId('guess-answers').children.length") == 10
    assert browser.value(NOT_HACKED) and browser.errors == []
