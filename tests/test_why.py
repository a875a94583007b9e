"""The view Why in Chromium: its effects against an independent model, and what it shows of them."""
import numpy as np
import pytest

import numpy_model
from numpy_model import NAMES
from pages import assert_colours, looked_at, page_of_own_cell, place, shown
from scripts import TEXT, load

# Logarithms of the probabilities of characters: after the text before them, and without each of the last characters.
LOGS = """(numbers => {
  const reading = new Reading(model.network(1), array(data.text));
  return numbers.map(k => {
    const first = Math.max(0, k - 100), work = reading.withoutEach(k, first, model.network(k - first + 1));
    let found = work.next();
    while (!found.done) found = work.next();
    return [found.value.whole, ...found.value.without].map(logs => Array.from(logs));
  });
})"""
READY = "document.querySelectorAll('#why-effects .bars').length === 1"
# Makes each slice of reading so short that a text needs many.
SLOWLY = 'void (performance.now = (now => () => now += 3)(0))'


def without_each(codes, k):
    """Return the characters before k (k,1), and these without each of the last 100 (k-1,100), a column for each."""
    first = max(0, k - 100)
    return codes[:k, None], np.stack([np.delete(codes[:k], j) for j in range(first, k)], axis=1)


def logs_of(predict, codes, k):
    """Return the LOGS of the character k. predict: a function from texts (T,B) to probabilities (T,B,V)."""
    return np.concatenate([np.log(predict(x)[-1]) for x in without_each(codes, k)])


def look_at(browser, k):
    """Look at the character k, and wait for its effects."""
    browser.click(place(k))
    browser.wait(READY)


@pytest.fixture(scope='module')
def rounded(short_run):
    """Return what predicts with the parameters of `written` as the page stores them, and TEXT[:700] as numbers."""
    p = load(short_run.folder / 'r_t.txt_best.npz')
    codes = np.array([list(p['uchar']).index(ch) for ch in TEXT[:700]])
    p = {name: p[name].astype('float16').astype(float) for name in NAMES}
    return (lambda x: numpy_model.forward(p, x)[0]), codes


def test_logarithms_are_those_of_whole_texts(browser, written, rounded):
    """Which an independent model reads from their beginning; a place again after others, with what is kept of these."""
    places = [3, 699, 57, 100, 101, 250, 251, 57]
    browser.open(written)
    assert browser.value('new Products(model.parameters(), 1).run !== null')             # the policy allows WebAssembly
    for k, found in zip(places, browser.value(f'{LOGS}({places})')):
        np.testing.assert_allclose(found, logs_of(*rounded, k), rtol=0, atol=1e-5)


def test_browser_without_webassembly_says_so(browser, written):
    browser.open(written)
    browser.value("void (WebAssembly.Module = function () { throw new Error('refused') })")
    browser.value("void (inSlices = (work, show) => { work.next(); show(0.25); return () => {} })")
    browser.click('#tab-why')
    text = browser.text('#why-effects')
    assert 'Reading the text up to here: 25 %.' in text and 'no WebAssembly' in text


def test_cell_of_ones_own(browser, text_file, tmp_path):
    """Its effects are those of the class."""
    path, model = page_of_own_cell(tmp_path, text_file(TEXT), 3)
    codes = np.array([model.uchar.index(ch) for ch in TEXT[:300]], np.int32)
    browser.open(path)
    found, = browser.value(f'{LOGS}([117])')
    np.testing.assert_allclose(found, logs_of(lambda x: model.theano_predict(x)[0], codes, 117), rtol=0, atol=1e-5)


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_colours_and_list_are_those_of_the_effects(browser, written, rounded, scheme):
    logs = logs_of(*rounded, 250)
    browser.open(written, scheme=scheme, view='#why')
    look_at(browser, 249)
    browser.focus('#text')
    browser.press('ArrowRight')
    browser.wait(READY)
    assert browser.all('#why-choice option')[0].endswith('which came')
    signs = set()
    for option in (0, 5, -1):
        chosen = int(browser.all('#why-choice option', 'element.value')[option])
        browser.set('#why-choice', str(chosen))
        effect = logs[0, chosen] - logs[1:, chosen]
        assert_colours(browser, '#text span', [0] * 150 + list(effect / 3 * 16) + [0] * 450, scheme == 'dark')
        largest = np.argsort(-abs(effect))[:5]
        assert browser.all('#why-effects .what') == [f'{100 - j} before: {shown(TEXT[150 + j])}' for j in largest]
        numbers = browser.all('#why-effects .number')
        found = [float(number.replace('−', '-')) for number in numbers]
        np.testing.assert_allclose(found, effect[largest], atol=0.006)
        assert browser.all(place(150 + largest[0]), 'element.title') == [numbers[0] + ' nats']
        signs.update(np.sign(effect[abs(effect) > 0.2]))
        assert option or chosen == rounded[1][250]
    assert signs == {1, -1}


def test_click_chooses_and_pointing_does_not(browser, written):
    browser.open(written, view='#why')
    look_at(browser, 30)
    browser.point(place(44))
    assert looked_at(browser) == 30 and len(browser.all('#text [title]')) == 30


def test_click_stays_on_the_way_to_another_view(browser, written):
    """Until it is let go, by a second click or by Escape."""
    browser.open(written)
    browser.point(place(44))
    assert looked_at(browser) == 44
    browser.click(place(620))
    browser.point(place(187))
    browser.click('#tab-why')
    browser.wait(READY)
    assert looked_at(browser) == 620 and browser.all('#text [title]', 'element.id')[-1] == 'character-619'
    browser.click('#tab-surprise')
    browser.click(place(620))
    browser.point(place(45))
    assert looked_at(browser) == 45
    browser.click(place(31))
    browser.press('Escape')
    browser.point(place(46))
    assert looked_at(browser) == 46


def test_first_character_and_the_second(browser, written):
    browser.open(written, view='#why')
    browser.click(place(0))
    assert 'nothing came before' in browser.text('#why-effects')
    assert browser.value("byId('why-choice').disabled")
    look_at(browser, 1)
    assert len(browser.all('#why-effects .what')) == 1
    assert browser.value("byId('why-choice').disabled") is False


def test_leaving_stops_and_takes_all_away(browser, written):
    browser.open(written, view='#why')
    look_at(browser, 200)
    assert len(browser.all('#text [title]')) == 100
    browser.value(SLOWLY)
    browser.value("byId('character-690').click(); byId('tab-surprise').click()")
    before = browser.all('#text span', 'element.className')
    assert browser.all('#text [title]') == []
    browser.later('1', 700)
    assert browser.all('#text span', 'element.className') == before


def test_newest_place_wins(browser, written):
    browser.open(written, view='#why')
    browser.value(SLOWLY)
    browser.value("for (const k of [690, 20, 640, 130]) byId('character-' + k).click()")
    browser.wait(READY)
    browser.later('1', 700)
    titled = browser.all('#text span', 'element.hasAttribute("title")')
    assert looked_at(browser) == 130 and [k for k in range(700) if titled[k]] == list(range(30, 130))
