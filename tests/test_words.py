"""The view Your words in Chromium: its costs, C and probabilities against an independent model."""
import json

import numpy as np
import pytest

import numpy_model
from numpy_model import NAMES
from pages import HOSTILE, NOT_HACKED, colour, colour_in, write_page_of
from scripts import TEXT, load, write_chain

READY = 'coloured === readingOfWords.numbers.length && !byId("words-status").textContent.startsWith("Reading")'


def type_in(browser, words):
    """Put a text into the box as if it was pasted, and wait until it is read."""
    browser.value(f"byId('words').value = {json.dumps(words)}; byId('words').dispatchEvent(new Event('input'))")
    browser.wait(READY)


def choose(browser, name, value):
    browser.value(f"byId({name!r}).value = {value!r};"
                  f"for (const kind of ['input', 'change']) byId({name!r}).dispatchEvent(new Event(kind))")
    browser.wait(READY)


def shown_colour(browser, k):
    return colour_in(browser, f'typedSpans[{k}]).backgroundColor')


@pytest.fixture(scope='module')
def reader(short_run):
    """Return a function of a text: its costs (n-1,), C1 and C2 (n,H), and probabilities (V,) of what follows."""
    p = load(short_run.folder / 'r_t.txt_best.npz')
    uchar = list(p['uchar'])
    p = {name: p[name].astype('float16').astype(float) for name in NAMES}

    def read(words):
        codes, states, of_steps, probabilities = np.array([uchar.index(ch) for ch in words]), None, [], []
        for code in codes:
            step, states = numpy_model.forward(p, np.array([[code]]), states)
            probabilities.append(step[0, 0])
            of_steps.append([states[1][:, 0], states[3][:, 0]])
        costs = -np.log(np.array(probabilities)[np.arange(len(codes) - 1), codes[1:]])
        return costs, [np.array(C) for C in zip(*of_steps)], probabilities[-1]
    read.uchar = uchar
    return read


def check(browser, reader, words):
    """Compare costs and the next character's probabilities with those of an independent model."""
    costs, _, following = reader(words)
    found = browser.value('costsOfWords.slice(0, readingOfWords.numbers.length)')
    np.testing.assert_allclose(found, [0, *costs], rtol=0, atol=1e-5)
    np.testing.assert_allclose(browser.value('next.p'), following, rtol=0, atol=1e-5)
    assert browser.value("byId('words-status').textContent").startswith(f'Mean: {costs.mean():.3f} nats')
    assert browser.value("byId('typed').textContent") == words + ' '


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_typing_colours_by_surprise(browser, written, reader, scheme):
    browser.open(written, scheme=scheme, view='#words')
    browser.value("byId('words').focus()")
    for key in 'the cat':
        browser.press(key)
    browser.wait(READY)
    check(browser, reader, 'the cat')
    costs = reader('the cat')[0]
    for k, level in enumerate(costs / 6 * 16, start=1):
        if 1 <= level and abs(level - np.rint(level)) > 0.02:
            expected = colour(min(15, int(level)), scheme == 'dark')
            np.testing.assert_allclose(shown_colour(browser, k), expected, atol=1.5)
    assert (costs > 0.4).any() and browser.errors == [] and len(browser.requests) == 1


def test_edits_anywhere(browser, written, reader):
    """What is new is read, from where states are kept, and the elements of the rest stay."""
    browser.open(written, view='#words')
    words = TEXT[:137]
    type_in(browser, words)
    check(browser, reader, words)
    for edited in (words + 'e', words[:60] + 'aa' + words[61:], words[5:], words[5:90], 'a' + words[5:90], 'aa', 'a a'):
        browser.value('void (kept = typedSpans.slice(-1)[0])')
        type_in(browser, edited)
        check(browser, reader, edited)
    assert browser.value('typedSpans.slice(-1)[0] === kept')         # 'aa' became 'a a'
    type_in(browser, '')
    assert browser.value("[byId('words-next').children.length, byId('words-status').textContent]") == [0, '']
    type_in(browser, 'a')
    assert browser.value("byId('words-next').children.length") == 24 and browser.errors == []


def test_colours_by_a_unit_of_cells(browser, written, reader):
    browser.open(written, view='#words')
    words = TEXT[200:290]
    type_in(browser, words)
    units = browser.value('data.units')
    states = np.array(browser.value('Array.from(states)')).reshape(-1, 700)
    assert browser.value("byId('words-colour').options.length") == len(units) + 1
    flipped = set()
    for u, unit in enumerate(units):
        choose(browser, 'words-colour', str(u))
        C = reader(words)[1][unit['layer'] - 1][:, unit['number']]
        np.testing.assert_allclose(browser.value('cellsOfWords.slice(0, 90)'), C, rtol=0, atol=1e-5)
        r = [(abs(r[u]), r[u]) for r in browser.value('Object.values(data.correlations)')]
        # As in Cells, the palest and the deepest colours are those of quantiles in the text of the page.
        low, high = unit['least'] + (unit['most'] - unit['least']) * np.sort(states[u])[[14, 685]] / 255
        level = np.clip((C - low) / (high - low), 0, 1)
        level = (1 - level if max(r)[1] < 0 else level) * 16
        flipped.add(max(r)[1] < 0)
        for k in np.flatnonzero((abs(level - np.rint(level)) > 0.02) & (level >= 1))[:4]:
            expected = colour(min(15, int(level[k])), hue=208, saturation=0.68)
            np.testing.assert_allclose(shown_colour(browser, k), expected, atol=1.5)
    assert flipped == {True, False}
    choose(browser, 'words-colour', '')
    check(browser, reader, words)
    assert browser.errors == []


def test_temperature_changes_the_bars(browser, written, reader):
    browser.open(written, view='#words')
    type_in(browser, 'the ')
    p = reader('the ')[2]
    best = np.argsort(-p)[:8]
    names = {' ': 'space', '\n': 'line end'}
    rows = browser.value("Array.from(document.querySelectorAll('#words-next .what'), what => what.textContent)")
    assert rows == [names.get(reader.uchar[k], reader.uchar[k]) for k in best]
    for temperature in (1, 0.5, 2):
        choose(browser, 'words-temperature', str(temperature))
        expected = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
        widths = browser.value("Array.from(document.querySelectorAll('#words-next .bar div'), bar => bar.style.width)")
        np.testing.assert_allclose([float(width[:-1]) for width in widths], 100 * expected[best], rtol=1e-4)
        assert browser.value("byId('words-at').textContent") == f'{temperature:.2f}'
    browser.value("byId('words-temperature').focus()")
    browser.press('ArrowLeft')
    assert browser.value("byId('words-at').textContent") == '1.95' and browser.errors == []


def test_unknown_characters_are_named_and_left_out(browser, written, reader):
    browser.open(written, view='#words')
    type_in(browser, 'th☃e cßat☃\t')
    shown = browser.value("byId('words-unknown').textContent")
    assert 'never saw ☃ ß tab:' in shown and browser.value("byId('words-unknown').hidden") is False
    np.testing.assert_allclose(browser.value('costsOfWords.slice(1, 7)'), reader('the cat')[0], rtol=0, atol=1e-5)
    unknown = browser.value("typedSpans.map((span, k) => span.matches('.unknown.v0') ? k : -1).filter(k => k >= 0)")
    assert unknown == [2, 6, 9, 10]
    type_in(browser, 'the cat')
    assert browser.value("byId('words-unknown').hidden") and browser.errors == []


def test_long_paste_does_not_block_the_page(browser, written, reader):
    """It is read in slices, and a newer one takes its place."""
    browser.open(written, view='#words')
    browser.value("byId('words').value = 'the cat '.repeat(1250); byId('words').dispatchEvent(new Event('input'))")
    assert browser.value('coloured < 10000')
    assert browser.value("byId('words-status').textContent").startswith('Reading: ')
    type_in(browser, 'a newer one')
    check(browser, reader, 'a newer one')
    type_in(browser, 'ab' * 10_001)
    assert 'first 20,000' in browser.value("byId('words-unknown').textContent")
    assert browser.value('[coloured, typedSpans.length]') == [20_000, 20_000] and browser.errors == []


def test_box_is_as_high_as_its_text(browser, written):
    """At both widths: the letters of the box lie over the same letters in colours."""
    for width in (1280, 390):
        browser.open(written, width=width, view='#words')
        type_in(browser, 'a long word and the next one ' * 40 + '\n\n')
        assert browser.value("byId('words').scrollHeight <= byId('words').clientHeight")
        assert browser.value("byId('words').clientHeight === byId('typed').clientHeight")
        assert browser.value('document.documentElement.scrollWidth') == width and browser.errors == []


def test_every_control_has_a_name_and_is_reached_by_tab(browser, written):
    browser.open(written, view='#words')
    browser.value("byId('tab-words').focus()")
    reached = []
    for _ in range(3):
        browser.call('Input.dispatchKeyEvent', type='rawKeyDown', key='Tab', code='Tab', windowsVirtualKeyCode=9)
        browser.call('Input.dispatchKeyEvent', type='keyUp', key='Tab')
        reached.append(browser.value('document.activeElement.id'))
    assert reached == ['words', 'words-temperature', 'words-colour']
    names = browser.value("['words-temperature', 'words-colour'].map(id => byId(id).labels[0].textContent.trim())")
    assert names[0].startswith('Temperature') and names[1].startswith('Coloured by')


def test_bytes_and_hostile_text(browser, tmp_path):
    """A character of several bytes has their cost; a text that is an attack is text."""
    text = 'aé€'
    checkpoint = write_chain(tmp_path / 'p.npz', np.frombuffer(text.encode(), 'S1'))
    browser.open(write_page_of(checkpoint, tmp_path / 'page.html', text * 3), view='#words')
    type_in(browser, 'aé€aa')
    levels = browser.value("typedSpans.map(span => span.className)")
    assert levels == ['v0', 'v0', 'v0', 'v0', 'v15']                 # the chain expects all but the second a
    assert browser.value("document.querySelector('#words-next .what').textContent") == r'\xc3'
    type_in(browser, HOSTILE)
    # In a text box a half of a pair is one too, but DevTools cannot send it.
    assert browser.value("byId('typed').textContent").startswith('</script><script>hacked=1</script><img')
    assert 'never saw < / s' in browser.value("byId('words-unknown').textContent")
    assert browser.value(NOT_HACKED) and browser.errors == []
