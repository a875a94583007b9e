"""The view Your words in Chromium: its costs, C and probabilities against an independent model."""
import numpy as np
import pytest

import numpy_model
from numpy_model import NAMES
from pages import array_of, assert_colours, data_of, shown, write_page_of
from scripts import TEXT, load, write_chain

READY = "!byId('words-status').textContent.startsWith('Reading')"


def enter(browser, words):
    """Put a text into the box as if it was pasted, and wait until it is read."""
    browser.set('#words-box', words)
    browser.wait(READY)


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


def check(browser, reader, words, scheme='light'):
    """Compare costs and the next character's probabilities with those of an independent model."""
    costs, _, following = reader(words)
    assert browser.text('#typed') == words + ' '
    levels = [0, *costs / 6 * 16, 0]                       # the last is for the space after the text
    if len(words) > 20:
        assert_colours(browser, '#typed span', levels, scheme == 'dark')
    assert browser.text('#words-status').startswith(f'Mean: {costs.mean():.3f} nats')
    best = np.argsort(-following)[:8]
    assert browser.all('#words-next .what') == [shown(reader.uchar[k]) for k in best]
    check_bars(browser, following[best])


def check_bars(browser, expected):
    widths = browser.all('#words-next .bar div', 'parseFloat(element.style.width)')
    np.testing.assert_allclose(widths, 100 * expected, rtol=1e-4)


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_typing_colours_by_surprise(browser, written, reader, scheme):
    browser.open(written, scheme=scheme, view='#words&words=')
    browser.focus('#words-box')
    for key in 'the cats and dogs on a hill sat':
        browser.press(key)
    browser.wait(READY)
    check(browser, reader, 'the cats and dogs on a hill sat', scheme)


def test_edits_anywhere(browser, written, reader):
    """What is new is read, from where states are kept, and the elements of the rest stay."""
    browser.open(written, view='#words')
    words = TEXT[:137]
    enter(browser, words)
    check(browser, reader, words)
    for edited in (words + 'e', words[:60] + 'aa' + words[61:], words[5:], words[5:90], 'a' + words[5:90], 'aa', 'a a'):
        browser.value("void (kept = Array.from(document.querySelectorAll('#typed span')).at(-2))")
        enter(browser, edited)
        check(browser, reader, edited)
    assert browser.value("Array.from(document.querySelectorAll('#typed span')).at(-2) === kept")   # 'aa' became 'a a'
    enter(browser, '')
    assert browser.all('#words-next > *') == [] and browser.text('#words-status') == ''
    enter(browser, 'a')
    assert len(browser.all('#words-next .bar')) == 8


def test_lines_are_those_of_the_text(browser, written):
    """Each a block, however line ends are typed, pasted and deleted."""
    browser.open(written, view='#words')
    for words in ('a\nb', 'a\n\nb', 'a\n\n', 'ab\n\n', 'ab', 'ab\nc\nd\ne', 'ab\nc\nXd\ne', 'ab\nc\nXde', '\nXde', ''):
        enter(browser, words)
        expected = (words + ' ').splitlines(keepends=True)
        assert browser.all('#typed > *') == expected and browser.all('#typed span') == [*words, ' ']


def test_colours_by_a_unit_of_cells(browser, written, reader):
    browser.open(written, view='#words')
    words, data = TEXT[200:290], data_of(written)
    enter(browser, words)
    states = array_of(data['states']).reshape(-1, 700)
    assert len(browser.all('#words-colour option')) == len(data['units']) + 1
    C, flipped = reader(words)[1], set()
    for u, unit in enumerate(data['units']):
        browser.set('#words-colour', str(u))
        browser.wait(READY)
        # As in Cells, the palest and the deepest colours are those of quantiles in the text of the page.
        low, high = unit['least'] + (unit['most'] - unit['least']) * np.sort(states[u])[[14, 685]] / 255
        level = np.clip((C[unit['layer'] - 1][:, unit['number']] - low) / (high - low), 0, 1)
        negative = max((r[u] for r in data['correlations'].values()), key=abs) < 0
        flipped.add(negative)
        assert_colours(browser, '#typed span', [*-16 * (1 - level if negative else level), 0])
    assert flipped == {True, False}
    browser.set('#words-colour', '')
    browser.wait(READY)
    check(browser, reader, words)


def test_temperature_changes_the_bars(browser, written, reader):
    browser.open(written, view='#words')
    enter(browser, 'the ')
    p = reader('the ')[2]
    for temperature in (1, 0.5, 2):
        browser.set('#words-temperature', str(temperature))
        expected = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
        check_bars(browser, -np.sort(-expected)[:8])
        assert browser.text('#words-at') == f'{temperature:.2f}'
    browser.focus('#words-temperature')
    browser.press('ArrowLeft')
    assert browser.text('#words-at') == '1.95'


def test_temperature_of_an_empty_box(browser, written, reader):
    """There is nothing to show, and what is typed next is shown at that temperature; also after a reload."""
    browser.open(written, view='#words&words=')
    browser.set('#words-temperature', '0.5')
    enter(browser, 'the ')
    enter(browser, '')
    assert browser.text('#words-at') == '0.50' and browser.all('#words-next > *') == []
    enter(browser, 'the ')
    check_bars(browser, np.sort(reader('the ')[2] ** 2)[:-9:-1] / (reader('the ')[2] ** 2).sum())
    browser.later('1', 500)
    browser.reload()
    assert browser.value("byId('words-box').value") == 'the '
    browser.click('#help-open')
    assert browser.is_visible('#help')


def test_unknown_characters_are_named_and_left_out(browser, written, reader):
    browser.open(written, view='#words')
    enter(browser, 'th☃e cßat☃\t')
    assert 'never saw ☃ ß tab:' in browser.text('#words-unknown') and browser.is_visible('#words-unknown')
    assert browser.text('#words-status').startswith(f'Mean: {reader("the cat")[0].mean():.3f} nats')
    classes = browser.all('#typed span', 'element.className.split(" ")')
    assert [k for k in range(len(classes)) if {'unknown', 'v0'} <= set(classes[k])] == [2, 6, 9, 10]
    enter(browser, 'the cat')
    assert not browser.is_visible('#words-unknown')
    enter(browser, 'ΑΒΓΔΕΖΗΘΙ' * 2 + 'Κ')
    assert 'never saw Α Β Γ Δ Ε Ζ Η Θ Ι Κ:' in browser.text('#words-unknown')
    enter(browser, 'ΑΒΓΔΕΖΗΘΙΚΛΜ')
    assert 'never saw Α Β Γ Δ Ε Ζ Η Θ Ι Κ and others:' in browser.text('#words-unknown')


def test_long_paste_does_not_block_the_page(browser, written, reader):
    """It is read in slices, and a newer one takes its place."""
    browser.open(written, view='#words')
    browser.set('#words-box', 'the cat ' * 1250)
    assert browser.text('#words-status').startswith('Reading: ')
    enter(browser, 'a newer one')
    check(browser, reader, 'a newer one')
    enter(browser, 'ab' * 10_001)
    assert 'first 20,000' in browser.text('#words-unknown')
    assert browser.value("document.querySelectorAll('#typed span').length") == 20_001


def test_box_is_as_high_as_its_text(browser, written):
    """At both widths: the letters of the box lie over the same letters in colours."""
    phrase = 'a long word and the next one '
    for width in (1280, 390):
        browser.open(written, width=width, view='#words')
        for words in (phrase * 40 + '\n\n', (phrase * 14 + '\n') * 49):
            enter(browser, words)
            assert browser.value("byId('words-box').scrollHeight <= byId('words-box').clientHeight")
            assert browser.value("byId('words-box').clientHeight === byId('typed').clientHeight") and browser.fits()


def test_every_control_has_a_name_and_is_reached_by_tab(browser, written):
    browser.open(written, view='#words')
    browser.focus('#tab-words')
    browser.press('Tab')
    assert browser.focused() == 'help-open'
    for name, label in (('words-box', 'Your words'), ('words-temperature', 'Temperature'),
                        ('words-colour', 'Coloured by')):
        browser.press('Tab')
        assert browser.focused() == name
        named, = browser.all('#' + name, 'element.ariaLabel || element.labels[0].textContent')
        assert named.startswith(label)


def test_character_of_several_bytes_has_their_cost(browser, tmp_path):
    text = 'aé€'
    checkpoint = write_chain(tmp_path / 'p.npz', np.frombuffer(text.encode(), 'S1'))
    browser.open(write_page_of(checkpoint, tmp_path / 'page.html', text * 3), view='#words')
    enter(browser, 'aé€aa')
    levels = browser.all('#typed span', 'element.className')[:-1]
    assert levels == ['v0', 'v0', 'v0', 'v0', 'v15']       # the chain expects all but the second a
    assert browser.text('#words-next .what') == r'\xc3'
