"""The page in Chromium: a test for each of its views, whose numbers are those of an independent model, and one each for
its layout, its address, the tables that it saves, and hostile texts."""
import csv
import io
import os
import re
import time

import numpy as np
import pytest

import numpy_model
from charlstm import CharLSTM
from engine.model.copies import compare
from numpy_model import NAMES, sigmoid
from pages import (HOSTILE, NOT_HACKED, array_of, assert_colours, data_of, expected_of, looked_at, numbers,
                   page_of_own_cell, place, read_by, rounded, shown, write_page_of)
from scripts import FAST, PRODUCE, TEXT, load, run, write_chain


@pytest.fixture(scope='module')
def checkpoint(short_run):
    return short_run.folder / 'r_t.txt_best.npz'


@pytest.fixture(scope='module')
def of_text(checkpoint):
    """Return the vocabulary, and what an independent model computes for the text of `written`, as expected_of."""
    p = load(checkpoint)
    return p['uchar'].tolist(), *expected_of(p)


def codes_of(words, uchar):
    return np.array([uchar.index(ch) for ch in words])


def rows_of(browser, view):
    """Return the rows of the CSV that a view saves, as dicts."""
    browser.value("""(() => {
      const blobs = new Map();
      URL.createObjectURL = blob => (blobs.set('blob:' + blobs.size, blob), 'blob:' + (blobs.size - 1));
      HTMLAnchorElement.prototype.click = function () { window.saved = [blobs.get(this.href), this.download]; };
    })()""")
    browser.value(f"""Array.from(document.querySelectorAll('#{view}-side button, #{view}-panel button'))
        .find(button => button.textContent === 'Save CSV').click()""")
    assert browser.value('saved[1]') == f'r_t.txt_best_{view}.csv'
    return list(csv.DictReader(io.StringIO(browser.value('saved[0].text()'), newline='')))


# ---------------------------------------------------------------- the views

@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_surprise(browser, written, of_text, scheme):
    """Colours, the mean, what was expected at the place that the reader looks at, and the table."""
    uchar, _, probabilities, costs = of_text
    browser.open(written, scheme=scheme)
    assert_colours(browser, '#text span', [0, *costs / 6 * 16], scheme == 'dark')
    np.testing.assert_allclose(numbers(browser.text('#mean')), costs.mean() / [1, np.log(2)], atol=6e-4)
    browser.point(place(44))
    assert looked_at(browser) == 44
    browser.click(place(30))
    for key, k in (('ArrowRight', 31), ('ArrowLeft', 30), ('End', 699)):
        browser.press(key)
        assert looked_at(browser) == k
        assert browser.all('#where .what')[:5] == [shown(uchar[j]) for j in np.argsort(-probabilities[k - 1])[:5]]
        text = browser.text('#where')
        assert shown(TEXT[k]) + ' came' in text and text.startswith('…' + TEXT[k - 24:k].replace('\n', '↵') + '?')
        np.testing.assert_allclose(numbers(text)[-2:], costs[k - 1] / [1, np.log(2)], atol=0.016)
    rows = rows_of(browser, 'surprise')
    assert ''.join(row['character'] for row in rows) == TEXT[:700] and rows[0]['nats'] == ''
    np.testing.assert_allclose([float(row['nats']) for row in rows[1:]], costs, rtol=1e-3)


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


def logs_of(predict, codes, k):
    """Return the LOGS of the character k. predict: a function from texts (T,B) to probabilities (T,B,V)."""
    without = np.stack([np.delete(codes[:k], j) for j in range(max(0, k - 100), k)], axis=1)
    return np.concatenate([np.log(predict(x)[-1]) for x in (codes[:k, None], without)])


def test_why(browser, written, checkpoint, of_text, text_file, tmp_path):
    """Effects at several places, also with a cell of one's own; and their colours and table."""
    uchar, codes, _, _ = of_text
    p, places = rounded(checkpoint), [3, 699, 57, 101, 251, 57]
    browser.open(written, view='#why')
    assert browser.value('new Products(model.parameters(), 1).run !== null')             # the policy allows WebAssembly
    for k, found in zip(places, browser.value(f'{LOGS}({places})')):
        np.testing.assert_allclose(found, logs_of(lambda x: numpy_model.forward(p, x)[0], codes, k), rtol=0, atol=1e-5)
    browser.click(place(250))
    browser.wait("document.querySelectorAll('#why-effects .bars').length === 1")
    chosen = int(browser.all('#why-choice option', 'element.value')[5])
    browser.set('#why-choice', str(chosen))
    logs = logs_of(lambda x: numpy_model.forward(p, x)[0], codes, 250)
    effect = logs[0, chosen] - logs[1:, chosen]
    assert_colours(browser, '#text span', [0] * 150 + list(effect / 3 * 16) + [0] * 450)
    largest = np.argsort(-abs(effect))[:5]
    assert browser.all('#why-effects .what') == [f'{100 - j} before: {shown(TEXT[150 + j])}' for j in largest]
    rows = rows_of(browser, 'why')
    np.testing.assert_allclose([float(row[f'effect on {uchar[chosen]}']) for row in rows], effect, atol=1e-4)
    path, model = page_of_own_cell(tmp_path, text_file(TEXT), 3)
    browser.open(path)
    found, = browser.value(f'{LOGS}([117])')
    expected = logs_of(lambda x: model.theano_predict(x)[0], codes_of(TEXT[:300], list(model.uchar)), 117)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_against(browser, checkpoint, of_text, tmp_path):
    """Costs of two models, which was less surprised, and where they differ most."""
    uchar = sorted(set(TEXT) | set('☃ß'))
    np.savez(str(tmp_path / 'other.npz'), uchar=np.array(uchar),
             **numpy_model.random_parameters(4, 'float32', len(uchar), 6, 3))
    other = CharLSTM()
    other.model_setup(str(tmp_path / 'other.npz'))
    path = write_page_of(checkpoint, tmp_path / 'page.html', TEXT[:700],
                         against=(other, str(tmp_path / 'other.npz')))
    costs = of_text[3], expected_of(load(tmp_path / 'other.npz'))[2]
    differences = costs[0] - costs[1]
    browser.open(path, view='#against')
    assert_colours(browser, '#text span', [0, *-differences / np.sort(abs(differences))[int(0.98 * 698)] * 16],
                   margin=0.1)
    for line, cost in zip(browser.all('#models p'), costs):
        np.testing.assert_allclose(numbers(line)[-2:], cost.mean() / [1, np.log(2)], atol=1e-3)
    error = differences[:600].reshape(6, 100).mean(axis=1).std(ddof=1) / np.sqrt(6)
    size = abs(differences.mean())
    verdict = browser.text('#verdict')
    assert verdict[0] == ('B' if differences.mean() > 0 else 'A')
    np.testing.assert_allclose(numbers(verdict), [size, error, size / np.log(2)], atol=1.1e-3)
    listed = browser.all('#differences > *', "Number(element.id.slice('difference-'.length))")
    sizes = abs(differences[np.array(listed) - 1])
    assert len(sizes) == 100 and (np.diff(sizes) < 2e-2).all() and sizes[0] > np.sort(abs(differences))[-1] - 2e-2
    browser.click('#differences li:nth-child(3)')
    assert looked_at(browser) == listed[2]
    both = numbers(browser.text('#both').split(' came, for ')[1])
    np.testing.assert_allclose(both[:2], [cost[listed[2] - 1] for cost in costs], atol=0.02)


def chosen_unit(browser):
    return int(browser.all('#units [aria-selected=true]', 'element.id')[0][len('unit-'):])


def test_cells(browser, written, checkpoint, of_text):
    """Colours by C of the chosen unit, or by its h, units that are held, and the table."""
    data = data_of(written)
    states = array_of(data['states']).reshape(-1, 700).astype(float)
    browser.open(written, view='#cells')
    correlations = data['correlations'][browser.value("byId('feature').value")]

    def check(values):
        low, high = np.sort(values)[[14, 685]][::-1 if correlations[chosen_unit(browser)] < 0 else 1]
        assert_colours(browser, '#text span', -np.clip((values - low) / (high - low) * 16, 0, 15.5))

    order = browser.all('#units > *', 'Number(element.id.slice(5))')
    assert sorted(order) == list(range(12)) and (np.diff(np.abs(correlations)[order]) <= 0).all()
    check(states[order[0]])
    browser.click('#units li:nth-child(4)')
    browser.press('j')
    assert chosen_unit(browser) == order[4]
    check(states[order[4]])
    browser.set('#hold-at', '255')
    assert browser.value("byId('hold').checked") and browser.all('#units .held', 'element.id') == [f'unit-{order[4]}']
    most = data['units'][order[4]]['most']
    assert browser.value("byId('hold-value').value") == f'{most:.2f}'.replace('-', '\u2212')
    browser.set('#of', 'h')
    browser.wait("byId('pale').textContent.startsWith('h')")
    unit = data['units'][order[4]]
    expected, _ = read_by(rounded(checkpoint), of_text[1])
    h = expected[2 * unit['layer'] - 2][:, unit['number']]
    check(h)
    rows = rows_of(browser, 'cells')
    np.testing.assert_allclose([float(row[f'h{unit["layer"]}:{unit["number"]}']) for row in rows], h, atol=1e-5)
    browser.value("void (byId('extremes').open = true)")
    browser.wait("byId('lowest').children.length === 4")
    browser.value("document.querySelector('#highest button').click()")
    assert h[looked_at(browser)] > h.max() - 1e-3


READ = "byId('inside-status').textContent.startsWith('It read')"


def sums(browser):
    """Return what the gates add up, (4,4): three parts and the sum."""
    return np.reshape([numbers(cell) for cell in browser.all('#inside-sums td')], (4, 4))


def formula(browser):
    """Return the lines of the cell's formula, and their numbers."""
    return {line: numbers(text) for line, text in zip(browser.all('#inside-formula dt'),
                                                      browser.all('#inside-formula dd'))}


def test_inside(browser, written, checkpoint, of_text):
    """Each number of a step, of a unit of each layer, in the text and in what is typed; and the table."""
    uchar, codes, _, _ = of_text
    p = rounded(checkpoint)

    def check(codes, layer, unit):
        browser.wait(READ)
        states, probabilities = read_by(p, codes)
        h, C = states[2 * layer - 2][-2], states[2 * layer - 1][:, unit]
        below = p['U1'][:, unit, codes[-1]] if layer == 1 else p['U2'][:, unit] @ states[0][-1]
        parts = np.array([below, p[f'W{layer}'][:, unit] @ h, p[f'b{layer}'][:, unit]]).T
        np.testing.assert_allclose(sums(browser), np.column_stack([parts, parts.sum(axis=1)]), atol=0.0051)
        f, i, o = sigmoid(parts.sum(axis=1)[:3])
        found = formula(browser)
        np.testing.assert_allclose(found['C = f \xd7 C_prev + i \xd7 g'],
                                   [f, C[-2], i, np.tanh(parts[3].sum()), C[-1]], atol=0.0051)
        np.testing.assert_allclose(found['h = o \xd7 tanh(C)'], [o, C[-1], o * np.tanh(C[-1])], atol=0.0051)
        best = np.argsort(-probabilities)[:6]
        assert browser.all('#inside-next .what')[:6] == [shown(uchar[k]) for k in best]
        return states

    browser.open(written, view='#inside&place=600&unit=C2:6')
    check(codes[:601], 2, 6)
    browser.focus('#inside-strip')
    browser.press('ArrowRight')
    states = check(codes[:602], 2, 6)
    rows = rows_of(browser, 'inside')
    np.testing.assert_allclose([float(row['C']) for row in rows], np.concatenate([states[1][-1], states[3][-1]]),
                               atol=1e-5)
    browser.set('#inside-unit', 'c1:4')
    check(codes[:602], 1, 4)
    browser.set('#inside-text', 'words')
    browser.set('#inside-words', 'the ☃cat')
    browser.wait("!byId('inside-unknown').hidden")
    check(codes_of('the cat', uchar), 1, 4)


def test_inside_of_a_cell_of_ones_own(browser, text_file, tmp_path):
    """Its parameters have their names in the formula, and the numbers are the class's."""
    path, model = page_of_own_cell(tmp_path, text_file(TEXT), 3)
    browser.open(path, view='#inside&place=120&unit=C2:3')
    browser.wait(READ)
    found = formula(browser)
    assert list(found)[1:] == ['i = sigmoid(a_i + p_i \xd7 C_prev)', 'f = sigmoid(a_f + p_f \xd7 C_prev)',
                               'C = f \xd7 C_prev + i \xd7 g', 'o = sigmoid(a_o + p_o \xd7 C)', 'h = o \xd7 tanh(C)']
    states = model.states(TEXT[:121])
    p_o = model.p['p_o2'].get_value()[3]
    np.testing.assert_allclose(found['o = sigmoid(a_o + p_o \xd7 C)'][:3], [sums(browser)[2, 3], p_o,
                                                                            states['C2'][120, 3]], atol=0.0051)
    np.testing.assert_allclose(found['h = o \xd7 tanh(C)'][-1], states['h2'][120, 3], atol=0.0051)


def test_words(browser, written, checkpoint, of_text):
    """Costs of what is typed and edited, colours by a unit, what follows, and the table."""
    uchar, p = of_text[0], rounded(checkpoint)

    def check(typed, words, levels=None):
        browser.wait("!byId('words-status').textContent.startsWith('Reading')")
        codes = codes_of(words, uchar)
        costs = numpy_model.costs(numpy_model.forward(p, codes[:-1, None])[0], codes[1:, None])[:, 0]
        assert browser.text('#typed') == typed + ' '
        assert browser.text('#words-status').startswith(f'Mean: {costs.mean():.3f} nats')
        best = np.argsort(-read_by(p, codes)[1])[:8]
        assert browser.all('#words-next .what') == [shown(uchar[k]) for k in best]
        return costs

    browser.open(written, view='#words&words=')
    browser.focus('#words-box')
    words = 'the cats and dogs on a hill sat'
    for key in words:
        browser.press(key)
    costs = check(words, words)
    assert_colours(browser, '#typed span', [0, *costs / 6 * 16, 0])
    rows = rows_of(browser, 'words')
    np.testing.assert_allclose([float(row['nats']) for row in rows[1:]], costs, rtol=1e-3)
    browser.set('#words-box', words[:9] + '☃ "' + words[12:])
    check(words[:9] + '☃ "' + words[12:], words[:9] + ' ' + words[12:])
    assert 'never saw ☃ ":' in browser.text('#words-unknown')
    browser.set('#words-box', words)
    unit, states = data_of(written)['units'][0], array_of(data_of(written)['states']).reshape(-1, 700)[0]
    browser.set('#words-colour', '0')
    check(words, words)
    low, high = unit['least'] + (unit['most'] - unit['least']) * np.sort(states)[[14, 685]] / 255
    C = read_by(p, codes_of(words, uchar))[0][2 * unit['layer'] - 1][:, unit['number']]
    level = np.clip((C - low) / (high - low), 0, 1)
    correlations = [r[0] for r in data_of(written)['correlations'].values()]
    negative = max(correlations, key=abs) < 0
    assert_colours(browser, '#typed span', [*-16 * (1 - level if negative else level), 0])


STOPPED = "byId('stop').textContent === 'Continue'"        # whether the page has stopped writing


def test_writing(browser, written, checkpoint, of_text, javascript):
    """The free text and one with a unit held are those of network.js; a stopped text continues."""
    uchar, p = of_text[0], rounded(checkpoint)

    def text_of(held):
        found = javascript('written(n, p, prime, choice, held)', n=300, prime=[uchar.index(ch) for ch in 'the '],
                           p={name: p[name].ravel().tolist() for name in NAMES}, held=held,
                           choice=dict(temperature=0.8, topK=33, seed=7))
        return ''.join(uchar[k] for k in found)

    def write():
        browser.click('#write')
        browser.wait(f"{STOPPED} && byId('written').textContent || !byId('wrong').hidden")
        return browser.text('#written')

    browser.open(written, view='#writing')
    for name, value in dict(prime='the ', length='300', seed='7', temperature='0.8').items():
        browser.set('#' + name, value)
    assert write() == text_of([])
    unit = data_of(written)['units'][0]
    name = 'C{layer}:{number}'.format(**unit)
    browser.value(f"void (location.hash = '#writing&hold={name}={unit['most']}')")
    browser.wait("byId('held-pane').checkVisibility()")
    write()
    expected = [text_of(held) for held in ([], [dict(layer=unit['layer'], number=unit['number'], value=unit['most'])])]
    same = len(os.path.commonprefix(expected))
    for pane, text in zip(('#written', '#written-held'), expected):
        assert browser.all(pane + ' > *') == ['the ', text[4:same], text[same:]]
    browser.click('#hold-none')
    browser.set('#length', '20000')
    whole = write()
    browser.value("byId('write').click(); byId('stop').click()")
    part = browser.text('#written')
    assert len(part) < 20004
    browser.click('#stop')
    browser.wait(STOPPED)
    assert browser.text('#written') == whole and whole.startswith(part)
    browser.set('#temperature', '-1')
    assert write() == whole and 'Temperature' in browser.text('#wrong')


def test_guess(browser, written, of_text):
    """A reader types the same letters at each place; the score is that of independent ranks."""
    uchar, codes, probabilities, costs = of_text
    tries, all_wrong = ' \neas', 6
    ranks = 1 + (probabilities > probabilities[np.arange(699), codes[1:]][:, None]).sum(axis=1)
    ranks = np.minimum(ranks, all_wrong)
    bits = -np.log2((np.bincount(ranks, minlength=all_wrong + 1)[1:] + 1) / (699 + all_wrong))
    bits[-1] += np.log2(len(uchar) - len(tries))
    browser.open(written, view='#guess')
    browser.set('#guess-seed', '3')
    browser.focus('#guess-seed')
    browser.press('Enter')
    places = []
    for _ in range(10):
        before = browser.text('#guess-before')[-60:-1].replace('↵', '')
        places.append(TEXT.index(before) + len(before))
        for character in tries:
            if browser.value("document.activeElement.id") == 'guess-typed':
                browser.press('Enter' if character == '\n' else character)
        browser.press('Enter')
    readers = [tries.find(TEXT[k]) + 1 or all_wrong for k in places]
    assert 1 < len(set(readers)) and readers.count(all_wrong) < 10
    at = np.array(places) - 1
    expected = [np.mean(bits[np.array(readers) - 1]), np.mean(bits[ranks[at] - 1]), np.mean(costs[at]) / np.log(2)]
    found = [float(cell[:-len(' bits')]) for cell in browser.all('#guess-scores .number')]
    np.testing.assert_allclose(found, expected, atol=6e-3)


def test_learn(browser, written, tmp_path):
    """A model learns a text; what the view shows is that of the checkpoint that it saves, which writes such a text."""
    text = ''.join(f'He said: "I am {word}." ' for word in np.random.default_rng(1).choice(
        ['cold', 'in an old hut', 'here', 'a king'], 60))
    browser.open(written, view='#learn')
    browser.set('#learn-text', text)
    browser.set('#learn-units', '32')
    browser.click('#learn-start')
    browser.wait("""byId('learn-stop').textContent === 'Stop' && !byId('learn-stop').disabled && Number(
        byId('learn-progress').textContent.match(/Validation: (.*?) nats/)?.[1] ?? 9) < 0.3""")
    browser.value("byId('learn-stop').click()")
    progress = browser.text('#learn-progress')
    browser.call('Page.setDownloadBehavior', behavior='allow', downloadPath=str(tmp_path))
    browser.value("byId('learn-save').click()")
    end = time.time() + 30
    while not (tmp_path / 'learned.npz').exists():
        assert time.time() < end
        browser.later('0')
    found = load(tmp_path / 'learned.npz')
    codes = codes_of(text, list(found['uchar']))
    passage = codes[int(np.ceil(len(codes) * 0.9)):]
    assert ''.join(found['uchar'][passage]) == browser.text('#learn-passage')
    costs = numpy_model.costs(numpy_model.forward(found, passage[:-1, None])[0], passage[1:, None])[:, 0]
    n = (len(passage) - 1) // 5 * 5                        # five batches of one stream
    assert abs(float(re.search('Validation: (.*?) nats', progress).group(1)) - costs[:n].mean()) < 2e-3
    result = run(PRODUCE, 'learned.npz', 'o.txt', '--length', 400, '--count', 1, '--random-seed', 1, flags=FAST,
                 cwd=tmp_path)
    assert result.returncode == 0 and 'aid: "I am ' in (tmp_path / 'o.txt').read_text()


def test_learning_and_about(browser, written, short_run):
    """Each logged epoch: its sample, and the costs of the passage; the curve of all costs; and what the model is."""
    data = data_of(written)
    found, each = data['learning'], len(data['learning']['passage']) - 1
    browser.open(written, view='#learning')
    browser.focus('#epoch')
    for key, k in (('Home', 0), ('ArrowRight', 1), ('End', len(found['epochs']) - 1)):
        browser.press(key)
        costs = array_of(found['costs']).astype(float)[k * each:(k + 1) * each]
        assert browser.text('#sample') == found['samples'][k]
        assert_colours(browser, '#scored > *', [0, *costs / 6 * 16])
        assert f'Epoch {found["epochs"][k]}: training ' in browser.text('#epoch-costs')
    browser.click('#tab-about')
    assert all(words in browser.value("byId('about-panel').innerText") for words in ('5 and 7 units', 'sha256'))
    points = browser.all('#curve .validation', "element.getAttribute('points')")[0].split()
    heights = [-float(point.split(',')[1]) for point in points]
    np.testing.assert_allclose(np.corrcoef(heights, short_run.costs)[0, 1], 1)
    np.testing.assert_allclose([float(row['validation']) for row in rows_of(browser, 'about')], short_run.costs)


# ---------------------------------------------------------------- all views

@pytest.mark.parametrize('width', [1280, 390])
def test_views_fit_and_follow_the_keys(browser, written, width):
    browser.open(written, width=width)
    browser.focus('#tab-surprise')
    for view in ('why', 'cells', 'inside', 'words', 'writing', 'guess', 'learn', 'learning', 'about', 'surprise'):
        browser.press('ArrowRight')
        assert browser.value('document.body.dataset.view') == view and browser.fits()
        browser.wait(f"location.hash === '#{view}'")
        panels = browser.all('[role=tabpanel]:not([hidden])', 'element.id')
        assert panels == [('reading' if view in ('surprise', 'why', 'cells') else view) + '-panel']


def test_address_says_what_is_shown(browser, written):
    """A reload shows the same; nonsense is left out."""
    browser.open(written, view='#cells&place=620&feature=position%20in%20the%20line&unit=C2:3&hold=C1:4=-99,C2:0=0')
    browser.click('#tab-words')
    browser.set('#words-box', 'the 50 % & #1\nand é')
    browser.wait("decodeURIComponent(location.hash).includes('&words=the 50 %')")
    browser.reload()
    assert browser.value('document.body.dataset.view') == 'words'
    assert browser.value("byId('words-box').value") == 'the 50 % & #1\nand é'
    browser.click('#tab-cells')
    assert looked_at(browser) == 620 and browser.value("byId('feature').value") == 'position in the line'
    assert browser.all('#units [aria-selected=true] .what') == ['C2:3']
    assert set(browser.all('#units .held .what')) == {'C1:4', 'C2:0'}
    for nonsense in ('#nothing&place=5000&unit=C9:1&hold=C2:900=1,C1:0=x,,=', '#%&&=&place&hold=C1:1=Infinity'):
        browser.value('void (location.hash = "")')
        browser.open(written, view=nonsense)
        assert browser.value('document.body.dataset.view') == 'surprise' and looked_at(browser) == 1
        assert browser.all('#units .held') == []


def test_copied_passages_are_underlined(browser, checkpoint, tmp_path):
    """And the one that is looked at says where it stands."""
    text = TEXT[:400]
    original = f'One\n{text[130:200]}!\n{text[150:260]}<{text[300:325]}'
    copied = compare([text[120:]], original, 'book.txt')
    browser.open(write_page_of(checkpoint, tmp_path / 'page.html', text, copies=copied))
    marked = browser.all('#text span', "element.hasAttribute('data-copied')")
    assert [k for k in range(400) if marked[k]] == list(range(130, 260))
    assert browser.text('#copies').startswith('46.4 % of 280 characters stand in book.txt')
    browser.click(place(220))
    line = 1 + original.partition(text[150:260])[0].count('\n')
    assert browser.text('#passage').startswith(f'110 characters stand in line {line} of book.txt:')
    looked = browser.all('#text span', "element.hasAttribute('data-looked')")
    assert [k for k in range(400) if looked[k]] == list(range(150, 260))


def test_hostile_text_runs_nothing(browser, tmp_path):
    """In no view; and the page's policy lets nothing else run."""
    name = str(tmp_path / 'a<img src=x onerror=hacked=1>\u2028.npz')
    write_chain(name, np.array(sorted(set(HOSTILE))))
    model = CharLSTM()
    model.model_setup(name)
    path = write_page_of(name, tmp_path / 'page.html', HOSTILE, 'a text of ' + HOSTILE, against=(model, name))
    names = {'\n': '\u21b5\n', '\0': r'\x00', '\x1b': r'\x1b', '\u2028': r'\u2028', '\u2029': r'\u2029',
             '\u202e': r'\u202e', '\ud800': r'\ud800'}
    seen = ''.join(names.get(ch, ch) for ch in HOSTILE)
    browser.open(path)
    assert browser.text('#text') == seen and browser.text('#source') == 'a text of ' + seen
    browser.set('#words-box', HOSTILE.replace('\ud800', ''))           # which DevTools cannot send
    for view in browser.all('[role=tab]', "element.id.slice('tab-'.length)"):
        browser.click('#tab-' + view)
        browser.value('void state.change({place: 30})')
    assert browser.value(NOT_HACKED) and browser.value('document.scripts.length') == 2
    browser.value("document.body.append(Object.assign(document.createElement('script'), {textContent: 'hacked=1'}))")
    assert browser.later('typeof hacked', 100) == 'undefined' and browser.errors
    browser.errors.clear()
