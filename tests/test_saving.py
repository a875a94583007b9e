"""What a reader saves of a page, and what Surprise and Cells find in the text, in Chromium."""
import csv
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest

import numpy_model
from numpy_model import NAMES
from pages import SLOWLY, array_of, assert_colours, data_of, expected_of, looked_at, place, shown
from scripts import TEXT, load

SVG = '{http://www.w3.org/2000/svg}'
# Takes a file that the page saves before the browser does: its name, type and text.
TAKE = """(() => {
  window.saved = [];
  const blobs = new Map();
  URL.createObjectURL = blob => (blobs.set('blob:' + blobs.size, blob), 'blob:' + (blobs.size - 1));
  HTMLAnchorElement.prototype.click = function () {
    const {download, href} = this, blob = blobs.get(href);
    saved.push(blob.text().then(text => [download, blob.type, text]));
  };
})()"""


def save(browser, view, kind):
    """Return name, type and text of the file that a button saves."""
    browser.value(TAKE)
    browser.value(f"""Array.from(document.querySelectorAll('#{view}-side button, #{view}-panel button'))
        .find(button => button.textContent === 'Save {kind}').click()""")
    return browser.value('Promise.all(saved).then(all => all[0])')


def rows_of(browser, view):
    """Return the rows that a view saves as CSV, after the first with the names, as dicts."""
    name, kind, text = save(browser, view, 'CSV')
    assert name == f'r_t.txt_best_{view}.csv' and kind == 'text/csv'
    return list(csv.DictReader(io.StringIO(text, newline='')))


@pytest.fixture(scope='module')
def states(short_run):
    """Return h1, C1, h2 and C2 (n,H) after each character of the page, by the parameters that it has."""
    p = load(short_run.folder / 'r_t.txt_best.npz')
    codes = np.array([list(p['uchar']).index(ch) for ch in TEXT[:700]])
    p, after, found = {name: p[name].astype('float16').astype(float) for name in NAMES}, None, []
    for code in codes:
        _, after = numpy_model.forward(p, np.array([[code]]), after)
        found.append([state[:, 0] for state in after])
    return [np.array(state) for state in zip(*found)]


# ---------------------------------------------------------------- tables

def test_costs_are_saved(browser, written, short_run):
    browser.open(written)
    rows = rows_of(browser, 'surprise')
    assert ''.join(row['character'] for row in rows) == TEXT[:700] and rows[0]['nats'] == ''
    assert [int(row['number']) for row in rows] == list(range(700))
    costs = expected_of(load(short_run.folder / 'r_t.txt_best.npz'))[2]
    np.testing.assert_allclose([float(row['nats']) for row in rows[1:]], costs, rtol=1e-3)


def test_states_of_a_step_are_saved(browser, written, states):
    browser.open(written, view='#inside&place=444')
    browser.wait("byId('inside-status').textContent.startsWith('It read')")
    rows = rows_of(browser, 'inside')
    assert [(row['layer'], row['unit']) for row in rows] == [('1', str(k)) for k in range(5)] + [
        ('2', str(k)) for k in range(7)]
    for name, (first, second) in (('h', (0, 2)), ('C', (1, 3))):
        expected = np.concatenate([states[first][444], states[second][444]])
        np.testing.assert_allclose([float(row[name]) for row in rows], expected, atol=1e-5)


def test_effects_and_typed_words_and_epochs_are_saved(browser, written, short_run):
    browser.open(written, view='#why&place=150')
    browser.wait("document.querySelectorAll('#why-effects .bars').length === 1")
    rows = rows_of(browser, 'why')
    assert [int(row['number']) for row in rows] == list(range(50, 150))
    effect = float(rows[99][f'effect on {TEXT[150]}'])
    assert browser.all(place(149), 'element.title') == [f'{effect:+.2f} nats'.replace('-', '\u2212')]
    browser.click('#tab-words')
    browser.set('#words-box', 'a "cat",☃\nsat')
    browser.wait("!byId('words-status').textContent.startsWith('Reading')")
    rows = rows_of(browser, 'words')
    assert ''.join(row['character'] for row in rows) == 'a "cat",☃\nsat'
    known = [float(row['nats']) for row in rows if row['nats']]
    assert browser.text('#words-status').startswith(f'Mean: {np.mean(known):.3f} nats')
    for view in ('learning', 'about'):
        browser.click('#tab-' + view)
        rows = rows_of(browser, view)
        np.testing.assert_allclose([float(row['validation']) for row in rows], short_run.costs)


def test_words_that_are_not_read_yet_have_no_costs(browser, written):
    """Also where an earlier text had some."""
    browser.open(written, view='#words')
    browser.set('#words-box', 'a cat sat on the hill ' * 9)
    browser.wait("byId('words-status').textContent.startsWith('Mean')")
    browser.value(SLOWLY)
    browser.value(TAKE)
    browser.value("""(box => { box.value = 'the dogs and cats ' + box.value; box.dispatchEvent(new Event('input'));
        byId('words-csv').click() })(byId('words-box'))""")
    rows = list(csv.DictReader(io.StringIO(browser.value('Promise.all(saved).then(all => all[0][2])'), newline='')))
    assert len(rows) == 9 * 22 + 18 and [row for row in rows if row['nats']] == []


# ---------------------------------------------------------------- figures

@pytest.mark.parametrize('view', ['surprise', 'why', 'cells', 'words', 'inside', 'learning', 'about'])
def test_figure_is_a_drawing(browser, written, view):
    browser.open(written, view=f'#{view}&place=130')
    browser.later('1', 300)
    name, kind, text = save(browser, view, 'SVG')
    assert (name, kind) == (f'r_t.txt_best_{view}.svg', 'image/svg+xml')
    root = ElementTree.fromstring(text)
    assert root.tag == SVG + 'svg' and len(list(root.iter())) > 8 and 'class=' not in text
    if view == 'surprise':
        characters = [element.text or '' for element in root.iter(SVG + 'text')]
        assert ''.join(characters) == TEXT[:700].replace('\n', '↵')
        fills = [element.get('fill') for element in root.iter(SVG + 'rect')]
        assert fills[1:] == [colour for colour in browser.all('#text span', 'getComputedStyle(element).backgroundColor')
                         if colour != 'rgba(0, 0, 0, 0)']
    if view == 'about':
        assert all(line.get('stroke').startswith('rgb') for line in root.iter(SVG + 'polyline'))


@pytest.mark.parametrize('words, caret', [('the cat ' * 200, 1600), ('the cat\n' + 'a hill ' * 200, 1408),
                                          ('☃𝄞' * 450 + 'the cat ' * 60, 1830), ('the cat ' * 2510, 20080)])
def test_figure_is_of_what_is_around_the_cursor(browser, written, words, caret):
    """Also in a text without line ends, and after characters of two units of UTF-16. caret: in these units."""
    browser.open(written, view='#words')
    browser.set('#words-box', words)
    browser.value(f"byId('words-box').setSelectionRange({caret}, {caret})")
    root = ElementTree.fromstring(save(browser, 'words', 'SVG')[2])
    shown = ''.join(text.text or '' for text in root.iter(SVG + 'text'))
    around = len(words.encode('utf-16-le')[:2 * caret].decode('utf-16-le'))
    words, around = words[:20_000], min(around, 20_000)    # what is read of it
    assert shown == words[max(0, min(around - 600, len(words) - 1200)):][:1200].replace('\n', '')


def test_figure_of_characters_that_xml_does_not_have(browser, written):
    """And of wide ones: each has the room of what it shows, on the background of the page."""
    words = 'a\f\ufffeb漢\tc\x1b' * 17
    browser.open(written, view='#words', scheme='dark')
    browser.set('#words-box', words)
    root = ElementTree.fromstring(save(browser, 'words', 'SVG')[2])
    background, view = root[0], [float(size) for size in root.get('viewBox').split()]
    assert background.tag == SVG + 'rect' and background.get('fill') == 'rgb(21, 22, 26)'
    assert [float(background.get(name)) for name in ('x', 'y', 'width', 'height')] == view
    characters = list(root.iter(SVG + 'text'))
    assert [element.text or '' for element in characters] == ['a', r'\x0c', r'\ufffe', 'b', '漢', '', 'c', r'\x1b'] * 17
    x, y = [np.array([float(element.get(name)) for element in characters]) for name in ('x', 'y')]
    columns = np.array([1, 4, 6, 1, 2, 1, 1, 4] * 17)
    same = np.diff(y) == 0
    np.testing.assert_allclose(np.diff(x)[same], columns[:-1][same] * 8.4)
    assert (x + columns * 8.4).max() <= view[2] and len(set(y)) == 5 and y.max() < view[3]
    assert (x[1:][~same] == 0).all()


def test_table_of_why_is_saved_once_it_is_found(browser, written):
    browser.open(written, view='#why&place=150')
    browser.wait("document.querySelectorAll('#why-effects .bars').length === 1")
    assert not browser.value("byId('why-csv').disabled")
    browser.value('void state.change({place: 0})')
    assert browser.value("byId('why-csv').disabled")


# ---------------------------------------------------------------- Surprise and Cells

def test_next_and_previous_surprising_character(browser, written, short_run):
    costs = expected_of(load(short_run.folder / 'r_t.txt_best.npz'))[2]
    surprising = [k for k in range(1, 700) if np.float16(costs[k - 1]) >= 4]       # as the page keeps costs
    assert len(surprising) > 3
    browser.open(written)
    for k in surprising[:3]:
        browser.value("byId('surprising-next').click()")
        assert looked_at(browser) == k
    browser.value("byId('surprising-previous').click()")
    assert looked_at(browser) == surprising[1] and not browser.is_visible('#surprising-none')
    browser.value('void state.change({place: 699})')
    browser.value("byId('surprising-next').click()")
    assert browser.is_visible('#surprising-none') and looked_at(browser) == 699
    browser.value('void state.change({place: 20})')
    assert not browser.is_visible('#surprising-none')


def test_text_is_coloured_by_h(browser, written, states):
    data = data_of(written)
    browser.open(written, view='#cells&unit=C2:4')
    assert 'C2:4' in rows_of(browser, 'cells')[0]
    browser.set('#of', 'h')
    browser.wait("byId('pale').textContent.startsWith('h')")
    h = states[2][:, 4]
    rows = rows_of(browser, 'cells')
    np.testing.assert_allclose([float(row['h2:4']) for row in rows], h, atol=1e-5)
    u = next(k for k, unit in enumerate(data['units']) if (unit['layer'], unit['number']) == (2, 4))
    r = data['correlations'][browser.value("byId('feature').value")][u]
    low, high = np.sort(h)[[14, 685]][::-1 if r < 0 else 1]
    assert_colours(browser, '#text span', -np.clip((h - low) / (high - low) * 16, 0, 15.5))
    browser.value('void state.change({place: 77})')
    assert browser.text('#value') == f'at {shown(TEXT[77])}: {h[77]:.2f}'.replace('-', '\u2212')
    browser.wait("location.hash.includes('of=h')")
    browser.reload()
    browser.wait("byId('pale').textContent.startsWith('h')")


def test_reading_for_h_goes_on_while_units_are_looked_through(browser, written):
    """And the status says how much is read, not a C, until C is chosen again."""
    browser.open(written, view='#cells')
    browser.value(SLOWLY)
    browser.set('#of', 'h')
    browser.wait("parseInt(byId('value').textContent.split(': ')[1]) >= 10")
    browser.focus('#units')
    browser.press('j')
    browser.value('void state.change({place: 77})')
    shares = browser.value("""new Promise(then => {
        const found = [], timer = setInterval(() => {
          found.push(byId('value').textContent);
          if (found.length === 9) then((clearInterval(timer), found));
        }, 20);
      })""")
    shares = [int(re.fullmatch('Reading the text: (.*) %[.]', share).group(1)) for share in shares]
    assert 10 <= shares[0] and shares == sorted(shares)
    browser.set('#of', 'C')
    assert browser.text('#value').startswith('at ')
    assert browser.later("byId('value').textContent", 100).startswith('at ')
    browser.set('#of', 'h')
    browser.wait("byId('pale').textContent.startsWith('h')")


def test_contexts_of_the_highest_and_the_lowest(browser, written):
    data = data_of(written)
    browser.open(written, view='#cells&unit=C1:2')
    browser.value("void (byId('extremes').open = true)")
    browser.wait("byId('lowest').children.length === 4")
    u = next(k for k, unit in enumerate(data['units']) if (unit['layer'], unit['number']) == (1, 2))
    C = array_of(data['states']).reshape(-1, 700)[u].astype(int)
    for name, sign in (('highest', 1), ('lowest', -1)):
        chosen = []
        for k in range(4):
            browser.value(f"document.querySelectorAll('#{name} button')[{k}].click()")
            chosen.append(looked_at(browser))
        assert C[chosen[0]] == (sign * C).max() * sign and (np.diff(sign * C[chosen]) <= 0).all()
        assert min(abs(a - b) for a in chosen for b in chosen if a != b) >= 30
        assert browser.all(f'#{name} b') == [shown(TEXT[k]) for k in chosen]
        far = [k for k in range(700) if min(abs(k - j) for j in chosen) >= 30]
        assert (sign * C[far]).max() <= (sign * C[chosen[-1]])


def test_several_units_side_by_side(browser, written):
    data = data_of(written)
    browser.open(written, view='#cells&place=250')
    browser.click('#multiples summary')
    browser.wait("document.querySelector('#multiples svg') !== null")
    names = browser.all('#multiples text', "element.getAttribute('text-anchor') === 'end' ? element.textContent : ''")
    assert list(filter(None, names)) == browser.all('#units .what')[:8]
    levels = browser.all('#multiples rect', "Number(/v([0-9]+)/.exec(element.getAttribute('class'))[1])")
    assert len(levels) == 8 * 64 and browser.text('#multiples .at') == TEXT[250]
    listed = browser.all('#units > *', 'Number(element.id.slice(5))')[:8]
    states = array_of(data['states']).reshape(-1, 700).astype(float)
    r = data['correlations'][browser.value("byId('feature').value")]
    for row, u in enumerate(listed):
        low, high = np.sort(states[u])[[14, 685]][::-1 if r[u] < 0 else 1]
        expected = np.clip((states[u][218:282] - low) / (high - low) * 16, 0, 15)
        found = np.array(levels[64 * row:64 * row + 64])
        clear = abs(expected - np.rint(expected)) > 0.02
        np.testing.assert_array_equal(found[clear], expected[clear].astype(int))
    lines = browser.all('#multiples text')[-2:]
    assert ' '.join(lines).endswith('low is pale, high deep, reversed where its correlation is negative.')
    root = ElementTree.fromstring(save(browser, 'cells', 'SVG')[2])
    assert [text.text for text in root.iter(SVG + 'text')][-2:] == lines
    browser.click('#tab-why')
    assert not browser.is_visible('#multiples')
    assert re.search(r'#why', browser.value('address.written()'))
