"""The view Why in Chromium: its effects against an independent model, and what it shows of them."""
import re

import numpy as np
import pytest

import numpy_model
from numpy_model import NAMES
from pages import HOSTILE, NOT_HACKED, SHOWN_AS, colour, page_of_own_cell, shown_colour, write_page_of
from scripts import TEXT, load, write_chain

# Logarithms of the probabilities of the character k: after the text before it, and without each of the last characters.
EFFECTS = '''(k => {
  const first = Math.max(0, k - WINDOW);
  readingOfText = readingOfText || new Reading(newNetwork(1), text);
  const work = withoutEach(readingOfText, k, first, newNetwork(k - first + 1));
  let found = work.next();
  while (!found.done) found = work.next();
  return [found.value.whole, ...found.value.without].map(logs => Array.from(logs));
})'''


def without_each(codes, k):
    """Return the characters before k (k,), and these without each of the last 100 (k-1,100), a column for each."""
    first = max(0, k - 100)
    return codes[:k], np.stack([np.delete(codes[:k], j) for j in range(first, k)], axis=1)


def looked_at(browser, k):
    """Look at the character k, and wait for its effects."""
    browser.value(f'lookAt({k})')
    browser.wait('explained')


@pytest.fixture(scope='module')
def rounded(short_run):
    """Return the parameters of `written` as the page stores them, and TEXT[:700] as numbers."""
    p = load(short_run.folder / 'r_t.txt_best.npz')
    codes = np.array([list(p['uchar']).index(ch) for ch in TEXT[:700]])
    return {name: p[name].astype('float16').astype(float) for name in NAMES}, codes


@pytest.fixture(scope='module')
def effects(rounded):
    """Return a function that computes the effects on the character k, (at most 100, V), in NumPy, from whole texts."""
    p, codes = rounded

    def of(k):
        whole, without = without_each(codes, k)
        logs = [np.log(numpy_model.forward(p, x)[0][-1]) for x in (whole[:, None], without)]
        return logs[0] - logs[1]
    return of


def test_logarithms_are_those_of_whole_texts(browser, written, rounded):
    """Which an independent model reads from their beginning; a place again after others, with what is kept of these."""
    p, codes = rounded
    browser.open(written, view='#why')
    for k in (3, 699, 57, 100, 101, 250, 251, 57):
        expected = [np.log(numpy_model.forward(p, x)[0][-1]) for x in
                    (lambda whole, without: (whole[:, None], without))(*without_each(codes, k))]
        found = browser.value(f'{EFFECTS}({k})')
        np.testing.assert_allclose(found, np.concatenate(expected), rtol=0, atol=1e-5)
    # Without the only character before it, nothing is known but the bias.
    bias = p['c'] - np.log(np.exp(p['c']).sum())
    np.testing.assert_allclose(browser.value(f'{EFFECTS}(1)')[1], bias, rtol=0, atol=1e-5)
    assert browser.value('products.run !== null') and browser.errors == []


def test_javascript_computes_what_webassembly_does(browser, written):
    browser.open(written, view='#why')
    expected = browser.value(f'{EFFECTS}(130)')
    browser.value('void (products.run = null)')
    found = browser.value(f'{EFFECTS}(130)')
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert found != expected                               # rounded in another order


def test_browser_without_webassembly_says_so(browser, written):
    browser.open(written, view='#surprise')
    browser.value("void (WebAssembly.Module = function () { throw new Error('refused') })")
    browser.value("void (inSlices = (work, show) => { work.next(); show(0.25); return () => {} })")
    browser.click('#tab-why')
    shown = browser.value("byId('why-effects').textContent")
    assert 'Reading the text up to here: 25 %.' in shown and 'no WebAssembly' in shown
    assert browser.value('products.run') is None and browser.errors == []


def test_cell_of_ones_own(browser, text_file, tmp_path):
    """Its effects are those of the class."""
    path, model = page_of_own_cell(tmp_path, text_file(TEXT), 3)
    whole, without = without_each(np.array([model.uchar.index(ch) for ch in TEXT[:300]], np.int32), 117)
    expected = [np.log(model.theano_predict(x)[0][-1]) for x in (whole[:, None], without)]
    browser.open(path, view='#why')
    np.testing.assert_allclose(browser.value(f'{EFFECTS}(117)'), np.concatenate(expected), rtol=0, atol=1e-5)
    assert browser.errors == []


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_colours_and_list_are_those_of_the_effects(browser, written, rounded, effects, scheme):
    codes = rounded[1]
    browser.open(written, scheme=scheme, view='#why')
    browser.value("byId('text').focus()")
    looked_at(browser, 149)
    browser.press('ArrowRight')
    browser.wait('explained')
    assert browser.value("byId('why-choice').selectedOptions[0].textContent").endswith('which came')

    signs = set()

    def check(chosen):
        effect = effects(150)[:, chosen]
        levels = abs(effect) / 3 * 16
        clear = (abs(levels - np.rint(levels)) > 0.02) & (levels >= 1)
        for j in np.flatnonzero(clear)[-8:]:
            hue = dict(hue=208, saturation=0.68) if effect[j] < 0 else {}
            expected = colour(min(15, int(levels[j])), scheme == 'dark', **hue)
            np.testing.assert_allclose(shown_colour(browser, 50 + j), expected, atol=1.5)
        largest = np.argsort(-abs(effect))[:5]
        rows = browser.value("Array.from(document.querySelectorAll('#why-effects .what'), what => what.textContent)")
        assert rows == [f'{100 - j} before: {SHOWN_AS.get(TEXT[50 + j], TEXT[50 + j])}' for j in largest]
        shown = browser.value("Array.from(document.querySelectorAll('#why-effects .number'), one => one.textContent)")
        found = [float(number.replace('−', '-')) for number in shown]
        np.testing.assert_allclose(found, effect[largest], atol=0.006)
        signs.update(np.sign(effect[clear]))
        assert browser.value(f"spans[{50 + largest[0]}].title") == shown[0] + ' nats'

    check(codes[150])
    for option in (3, -1):
        other = browser.value(f"Array.from(byId('why-choice').options).slice({option})[0].value")
        browser.value(f"byId('why-choice').value = {other}; byId('why-choice').dispatchEvent(new Event('change'))")
        check(int(other))
    assert signs == {1, -1}
    assert browser.errors == [] and len(browser.requests) == 1


def test_click_chooses_and_pointing_does_not(browser, written):
    browser.open(written, view='#why')
    browser.click('#text span:nth-child(31)')
    browser.wait('explained')
    x, y = browser.value('(box => [box.x + 3, box.y + 9])(spans[44].getBoundingClientRect())')
    browser.call('Input.dispatchMouseEvent', type='mouseMoved', x=x, y=y)
    assert browser.value('[here, explained.without.length]') == [30, 30]
    browser.click('#tab-surprise')
    x, y = browser.value('(box => [box.x + 3, box.y + 9])(spans[44].getBoundingClientRect())')
    browser.call('Input.dispatchMouseEvent', type='mouseMoved', x=x, y=y)
    assert browser.value('here') == 44 and browser.errors == []


def test_first_character_and_the_second(browser, written):
    browser.open(written, view='#why')
    browser.value('lookAt(0)')
    assert 'nothing came before' in browser.value("byId('why-effects').textContent")
    assert browser.value("byId('why-choice').disabled")
    looked_at(browser, 1)
    assert browser.value("document.querySelectorAll('#why-effects .what').length") == 1
    assert browser.value("byId('why-choice').disabled") is False and browser.errors == []


def test_leaving_stops_and_takes_all_away(browser, written):
    browser.open(written, view='#why')
    looked_at(browser, 200)
    assert browser.value("document.querySelectorAll('#text [title]').length") == 100
    browser.value('lookAt(690)')
    browser.click('#tab-surprise')
    before = browser.value('spans.map(span => span.className)')
    assert browser.value("document.querySelectorAll('#text [title]').length") == 0
    later = browser.value('new Promise(then => setTimeout(() => then(spans.map(span => span.className)), 200))')
    assert later == before and browser.errors == []


def test_newest_place_wins(browser, written):
    browser.open(written, view='#why')
    browser.value('for (const k of [690, 20, 640, 130]) lookAt(k)')
    browser.wait('explained')
    later = browser.value('new Promise(then => setTimeout(() => then([explained.first, here]), 200))')
    assert later == [30, 130] and browser.errors == []


def test_hostile_text(browser, tmp_path):
    checkpoint = write_chain(tmp_path / 'p.npz', np.array(sorted(set(HOSTILE))))
    browser.open(write_page_of(checkpoint, tmp_path / 'page.html', HOSTILE), view='#why')
    looked_at(browser, len(HOSTILE) - 1)
    shown = browser.value("byId('why-effects').textContent")
    assert re.match(r'….*\?\} gets .* %\. What mattered most:(\d+ before: .*[+−]\d\.\d\d){5}$', shown)
    assert browser.value(NOT_HACKED) and browser.errors == []


def test_policy_allows_webassembly_but_no_text_as_script(browser, written):
    browser.open(written, view='#why')
    assert browser.value('products.run !== null')
    browser.value("void setTimeout('hacked = 1')")
    assert browser.value('new Promise(then => setTimeout(() => then(typeof hacked), 100))') == 'undefined'
    assert browser.errors
