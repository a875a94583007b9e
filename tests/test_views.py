"""The page in Chromium: tabs, modes, address, numbers compared with an independent model, and hostile texts."""
import os
from types import SimpleNamespace

import numpy as np
import pytest

import numpy_model
from engine.data.parameters import Checkpoint
from numpy_model import NAMES, sigmoid
from pages import (HOSTILE, NOT_HACKED, array_of, assert_colours, assert_mean, column_of, data_of, expected_of,
                   levels_of_cells, loaded, looked_at, numbers, page_of_own_cell, place, read_by, rounded, shown,
                   write_page_of)
from scripts import TEXT, load, write_chain


@pytest.fixture(scope='module')
def judge(short_run):
    """Return the checkpoint of `written`, its parameters p rounded as in the page, and an independent model's costs."""
    checkpoint = short_run.folder / 'r_t.txt_best.npz'
    codes, probabilities, costs = expected_of(load(checkpoint))
    return SimpleNamespace(checkpoint=checkpoint, p=rounded(checkpoint), uchar=load(checkpoint)['uchar'].tolist(),
                           codes=codes, probabilities=probabilities, costs=costs)


@pytest.fixture(scope='module')
def of_own_cell(tmp_path_factory):
    return page_of_own_cell(tmp_path_factory.mktemp('own_cell'))


def go(browser, view):
    """Open a view with its tab."""
    browser.click(f'[href="#{view}"]')
    browser.wait(f"document.body.dataset.view === '{view}'")


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_surprise(browser, written, judge, scheme):
    """Check colours, the mean, the expected characters at the selected place, surprising places, and the table."""
    browser.open(written, scheme=scheme)
    assert looked_at(browser) == 51 + judge.costs[50:400].argmax()
    assert_colours(browser, '#text span', [0, *judge.costs / 6 * 16], scheme == 'dark')
    assert_mean(browser, '#mean', judge.costs)
    browser.point(place(44))
    assert looked_at(browser) == 44
    browser.click(place(30))
    for key, k in (('ArrowRight', 31), ('ArrowLeft', 30), ('End', 699)):
        browser.press(key)
        assert looked_at(browser) == k
        best = np.argsort(-judge.probabilities[k - 1])[:5]
        assert browser.all('#where .what')[:5] == [shown(judge.uchar[j]) for j in best]
        text = browser.text('#where')
        assert shown(TEXT[k]) + ' cost' in text and text.startswith('…' + TEXT[k - 24:k].replace('\n', '↵') + '?')
        np.testing.assert_allclose(numbers(text)[-2:], judge.costs[k - 1] / [1, np.log(2)], atol=0.016)
    browser.click('#previous')
    assert looked_at(browser) == 1 + np.flatnonzero(judge.costs[:698] >= 4)[-1]
    np.testing.assert_allclose(column_of(browser, 'surprise', 'nats'), [np.nan, *judge.costs], rtol=1e-3)


def assert_why(browser, uchar, chosen, k, predict, codes):
    """Assert the effects on a character in the list of Why, and return their colour levels.

    predict: a function from texts (T,B) to probabilities (T,B,V).
    """
    browser.value(f'void state.change({{place: {k}}})')
    browser.wait("byId('why-choice').options.length")
    chosen = int(browser.all('#why-choice option', 'element.value')[chosen])
    browser.set('#why-choice', str(chosen))
    first = max(0, k - 100)
    without = np.stack([np.delete(codes[:k], j) for j in range(first, k)], axis=1)
    effects = np.log(predict(codes[:k, None])[-1, 0, chosen]) - np.log(predict(without)[-1, :, chosen])
    found = column_of(browser, 'surprise', 'effect on ' + uchar[chosen])
    np.testing.assert_allclose(found, effects, rtol=0, atol=2e-5)
    largest = first + np.argsort(-abs(effects))[:5]
    assert browser.all('#where .what') == [f'{k - j} before: {shown(uchar[codes[j]])}' for j in largest]
    return [0] * first + list(effects / 3 * 16) + [0] * (len(codes) - k)


def test_why(browser, written, judge, of_own_cell):
    """Check the effects in colours, a list and a table, also with a custom cell."""
    path, model = of_own_cell
    browser.open(written, view='#surprise&mode=why')
    for k, chosen in ((3, 2), (699, 0), (101, 1), (250, 5)):
        levels = assert_why(browser, judge.uchar, chosen, k, lambda x: numpy_model.forward(judge.p, x)[0], judge.codes)
    assert_colours(browser, '#text span', levels)
    browser.open(path, view='#surprise&mode=why')
    codes = np.array([list(model.uchar).index(ch) for ch in TEXT[:300]])
    assert_why(browser, list(model.uchar), 3, 117, lambda x: model.theano_predict(x)[0], codes)


@pytest.mark.parametrize('alike', [False, True])
def test_two_models(browser, judge, alike, tmp_path):
    """Check both costs, which model was less surprised, if any, where they differ, and which trained on the text."""
    uchar, p, chance = sorted(set(TEXT) | set('☃ß' * (not alike))), load(judge.checkpoint), np.random.default_rng(5)
    np.savez(str(tmp_path / 'A.npz'), uchar=np.array(uchar), **(
        {name: p[name] + 0.05 * chance.normal(size=p[name].shape) for name in NAMES} if alike else
        numpy_model.random_parameters(4, 'float32', len(uchar), 6, 3)))
    B = Checkpoint(str(judge.checkpoint))
    path = write_page_of(tmp_path / 'A.npz', tmp_path / 'page.html', TEXT[:700], against=(loaded(judge.checkpoint), B),
                         sha256=B.metadata['text']['sha256'])
    costs = np.array([expected_of(load(tmp_path / 'A.npz'))[2], judge.costs])
    differences = costs[0] - costs[1]
    size, error = abs(differences.mean()), differences[:600].reshape(6, 100).mean(axis=1).std(ddof=1) / np.sqrt(6)
    browser.open(path, view='#surprise&mode=against')
    assert_colours(browser, '#text span', [0, *-differences / np.sort(abs(differences))[int(0.98 * 698)] * 16],
                   margin=0.1)
    for line, cost, trained in zip(('#models p', '#models p + p'), costs, (False, True)):
        assert_mean(browser, line, cost)
        assert ('It was trained on this text' in browser.text(line)) == trained
    assert (size < 2 * error) == alike
    assert browser.text('#verdict').startswith('No winner' if alike else 'B was less surprised')
    np.testing.assert_allclose(numbers(browser.text('#verdict')), [size, error], atol=1.1e-3)
    if not alike:
        browser.click(place(100))
        browser.click('#next')
        k = 101 + np.flatnonzero(abs(differences[100:]) >= 2)[0]
        assert looked_at(browser) == k
        np.testing.assert_allclose(numbers(browser.text('#where'))[-3:-1], costs[:, k - 1], atol=0.02)


def test_guess(browser, written, judge):
    """The reader is right at every third place; the model guesses like an independent one."""
    places, model = [], 0
    browser.open(written, view='#surprise&mode=guess')
    for at in range(10):
        before = browser.text('#guess-before')[1:-1]
        (bottom,), (end,) = [browser.all(each, 'element.getBoundingClientRect().bottom') for each in (
            '#guess-before', '#guess .asked')]
        assert end <= bottom                               # the place is visible
        k = TEXT.index(before) + len(before)
        guess = TEXT[k] if at % 3 == 0 else 'z'
        browser.click('#guess-line') if guess == '\n' else browser.press(guess)
        model += judge.probabilities[k - 1].argmax() == judge.codes[k]
        assert browser.text('#guess-score') == f'You {at // 3 + 1}, model {model} of {at + 1}.'
        assert f', it is {shown(TEXT[k])}. You: {shown(guess)}; the model: ' in browser.text('#where')
        places.append(k)
        browser.press('Enter')
    assert places == sorted(set(places)) and browser.text('#guess-score').startswith('10 places')


def test_what_the_model_wrote_is_marked(browser, judge, tmp_path):
    """It is left out of the mean, and is neither a first place nor one to guess."""
    browser.open(write_page_of(judge.checkpoint, tmp_path / 'page.html', TEXT[:700], written=301))
    assert browser.all('#text [data-written]', 'element.id') == [place(301)[1:]]
    assert browser.text('#mean').startswith('Mean of the first 301: ')
    assert_mean(browser, '#mean', judge.costs[:300])
    assert looked_at(browser) == 51 + judge.costs[50:300].argmax()
    browser.click('[value=guess]')
    for _ in range(10):
        assert browser.text('#guess-before')[1:-1] in TEXT[:300]
        browser.press('z')
        browser.press('Enter')


def test_typed_text(browser, written, judge):
    """Check costs, what comes next, colours for a unit, unknown characters, and the return to the page's text."""
    words = 'the cats and dogs on a hill sat'

    def check(words):
        browser.wait(f'text.own && text.reading().done === {len(words)}')
        codes, _, costs = expected_of(judge.p, words)
        states, probabilities = read_by(judge.p, codes)
        best = np.argsort(-probabilities)[:5]
        assert_mean(browser, '#mean', costs)
        assert_colours(browser, '#text span', [0, *costs / 6 * 16, 0])
        assert looked_at(browser) == len(words) and 'What comes next' in browser.text('#where')
        assert browser.all('#where .what') == [shown(judge.uchar[k]) for k in best]
        return costs, states[3][:, 6], best

    browser.open(written, view='#surprise&place=600')
    browser.click('#own summary')
    browser.focus('#words')
    for key in words:
        browser.press(key)
    costs, C, best = check(words)
    np.testing.assert_allclose(column_of(browser, 'surprise', 'nats'), [np.nan, *costs], rtol=1e-3)
    browser.click('[value=why]')
    browser.wait("byId('why-choice').options.length")
    assert [int(number) for number in browser.all('#why-choice option', 'element.value')[:5]] == best.tolist()
    go(browser, 'cells')
    browser.set('#units', 'C2:6')
    assert_colours(browser, '#text span', [*levels_of_cells(browser, written, C, 5 + 6), 0])
    go(browser, 'surprise')
    browser.click('[value=surprise]')
    browser.set('#words', words[:9] + '☃ "' + words[12:])
    check(words[:9] + ' ' + words[12:])
    assert 'never saw them: ☃ ".' in browser.text('#words-unknown')
    browser.set('#words', '')
    assert_colours(browser, '#text span', [0, *judge.costs / 6 * 16])
    assert looked_at(browser) == 51 + judge.costs[50:400].argmax() and not browser.text('#words-unknown')


def test_cells(browser, of_own_cell):
    """Compare C and h in colours, legend, lists, drawing and table with the class. Correlations order the units."""
    path, model = of_own_cell
    states = {of: np.concatenate([states[of + '1'], states[of + '2']], axis=1).astype(float)
              for states in [model.states(TEXT[:300])] for of in 'hC'}
    names = [f'{layer}:{unit}' for layer, H in ((1, 7), (2, 5)) for unit in range(H)]

    def check(of, u):
        browser.wait(f"byId('value').textContent.startsWith('{of}{names[u]} after ')")
        values, k = states[of][:, u], looked_at(browser)
        assert_colours(browser, '#text span', levels_of_cells(browser, path, values, u))
        levels = [browser.all(part, 'element.classList.value.match(/v\\d+/)[0]') for part in ('#text span', 'svg rect')]
        assert levels[1][:64] == levels[0][k - 32:k + 32]              # if there are several units, of the first
        ends = [numbers(browser.text(end))[0] for end in ('#pale', '#deep')]
        np.testing.assert_allclose(sorted(ends), np.sort(values)[[6, 293]], atol=6e-3)
        np.testing.assert_allclose(numbers(browser.text('#value')), values[[k]], atol=6e-3)
        np.testing.assert_allclose(column_of(browser, 'cells', of + names[u]), values, atol=1e-5)
        browser.value("byId('highest').querySelector('button').click()")
        assert values[looked_at(browser)] > values.max() - 1e-6
        browser.click(place(100))

    browser.open(path, view='#cells&place=100')
    browser.set('#feature', 'position in the line')
    since = [k - TEXT.rfind('\n', 0, k + 1) for k in range(300)]
    r = np.array([np.corrcoef(since, C)[0, 1] for C in states['C'].T])
    order = np.argsort(-abs(r))
    assert browser.all('#units option', 'element.value') == ['C' + names[u] for u in order]
    np.testing.assert_allclose([numbers(line)[0] for line in browser.all('#units option')], r[order], atol=6e-3)
    check('C', order[0])
    for key in 'jjk':
        browser.press(key)
    check('C', order[1])
    browser.set('#units', 'C' + names[order[5]])
    browser.set('#of', 'h')
    check('h', order[5])


def step_shown(browser):
    """Return the gates' pre-activations (4,4), three parts and their sum, and the numbers of each formula line."""
    browser.wait("byId('inside-status').textContent.startsWith('It read')")
    formula = zip(browser.all('#inside-formula dt'), map(numbers, browser.all('#inside-formula dd')))
    return np.reshape([numbers(cell) for cell in browser.all('#inside-sums td')], (4, 4)), dict(formula)


def test_inside(browser, written, judge):
    """Check each number of a step, for a unit of each layer, in the page's text and a typed one, and the table."""
    p = judge.p

    def check(codes, layer, unit):
        sums, formula = step_shown(browser)
        states, probabilities = read_by(p, codes)
        h, C = states[2 * layer - 2][-2], states[2 * layer - 1][:, unit]
        below = p['U1'][:, unit, codes[-1]] if layer == 1 else p['U2'][:, unit] @ states[0][-1]
        parts = np.array([below, p[f'W{layer}'][:, unit] @ h, p[f'b{layer}'][:, unit]]).T
        np.testing.assert_allclose(sums, np.column_stack([parts, parts.sum(axis=1)]), atol=6e-5)
        f, i, o = sigmoid(parts.sum(axis=1)[:3])
        for line, expected in (('C = f \xd7 C_prev + i \xd7 g', [f, C[-2], i, np.tanh(parts[3].sum()), C[-1]]),
                               ('h = o \xd7 tanh(C)', [o, C[-1], o * np.tanh(C[-1])]), ('C_prev', C[-2])):
            np.testing.assert_allclose(formula[line], expected, atol=6e-5)
        assert browser.all('#inside-next .what')[:5] == [shown(judge.uchar[k]) for k in np.argsort(-probabilities)[:5]]
        return np.concatenate([states[1][-1], states[3][-1]])

    browser.open(written, view='#inside&place=600&unit=C2:6')
    check(judge.codes[:601], 2, 6)
    browser.focus('#inside-strip')
    browser.press('ArrowRight')
    np.testing.assert_allclose(column_of(browser, 'inside', 'C'), check(judge.codes[:602], 2, 6), atol=1e-5)
    browser.set('#inside-unit', 'c1:4')
    check(judge.codes[:602], 1, 4)
    browser.set('#words', 'the cat')
    check(expected_of(judge.p, 'the cat')[0], 1, 4)


def test_inside_of_a_custom_cell(browser, of_own_cell):
    """The formula names the cell's parameters, and the numbers are the class's."""
    path, model = of_own_cell
    browser.open(path, view='#inside&place=120&unit=C2:3')
    sums, formula = step_shown(browser)
    states, p_o = model.states(TEXT[:121]), model.p['p_o2'].get_value()[3]
    C, o, line = states['C2'][120, 3], sigmoid(sums[2, 3] + p_o * states['C2'][120, 3]), 'o = sigmoid(a_o + p_o \xd7 C)'
    assert list(formula)[5:8] == ['i = sigmoid(a_i + p_i \xd7 C_prev)', 'f = sigmoid(a_f + p_f \xd7 C_prev)',
                                  'C = f \xd7 C_prev + i \xd7 g']
    np.testing.assert_allclose(formula['C_prev'] + formula['p_o'], [states['C2'][119, 3], p_o], atol=6e-5)
    np.testing.assert_allclose(formula[line] + formula['h = o \xd7 tanh(C)'],
                               [sums[2, 3], p_o, C, o, o, C, states['h2'][120, 3]], atol=1.1e-4)


def test_writing(browser, written, judge, javascript):
    """The free text and one with a held unit are the same as from network.js; a stopped text continues."""
    wrote = "byId('stop').textContent === 'Again'"

    def text_of(*held):
        found = javascript('writes(n, p, prime, choice, held)', n=300, prime=[judge.uchar.index(ch) for ch in 'the '],
                           p={name: judge.p[name].ravel().tolist() for name in NAMES}, held=held,
                           choice=dict(temperature=0.8, topK=33, seed=7))
        return ''.join(judge.uchar[k] for k in found)

    browser.open(written, view='#writing')
    for name, value in dict(prime='the ', length='300', seed='7', temperature='0.8').items():
        browser.set('#' + name, value)
    browser.wait(wrote)
    assert browser.text('#written') == text_of()
    browser.value("state.change({view: 'cells', unit: 'C2:3'})")
    browser.click('#hold')
    C, held = read_by(judge.p, judge.codes)[0][3][:, 3], browser.value("byId('hold-at').valueAsNumber")
    assert min(abs(held - C.min()), abs(held - C.max())) < 1e-4
    browser.set('#hold-at', '0.5')
    browser.wait(wrote)
    expected = [text_of(), text_of(dict(state='C', layer=2, number=3, value=0.5))]
    same = len(os.path.commonprefix(expected))
    for pane, text in zip(('#written', '#written-held'), expected):
        assert browser.all(pane + ' > *') == ['the ', text[4:same], '\u2503', text[same:]]
    browser.click('#hold-none')
    browser.set('#length', '20000')
    browser.wait(wrote)
    whole = browser.text('#written')
    browser.value("byId('stop').click(); byId('stop').click()")        # begins again, and stops after a slice
    part = browser.text('#written')
    browser.click('#stop')
    browser.wait(wrote)
    assert browser.text('#written') == whole and whole.startswith(part) and len(part) < len(whole)


def assert_curve(browser, costs):
    """Assert that the validation curve has the shape of costs, and that the table has the costs."""
    points = browser.all('#learning-curve polyline.validation', "element.getAttribute('points')")[0].split()
    np.testing.assert_allclose(np.corrcoef([-float(point.split(',')[1]) for point in points], costs)[0, 1], 1)
    np.testing.assert_allclose(column_of(browser, 'learning', 'validation'), costs)


def test_log_of_the_run(browser, written, short_run):
    """Check the sample and the passage's costs at each logged epoch, the curve of all costs, and the metadata."""
    log = data_of(written)['learning']
    costs = array_of(log['costs']).reshape(len(log['epochs']), -1).astype(float)
    browser.open(written, view='#learning')
    browser.focus('#when')
    for key, k in (('Home', 0), ('ArrowRight', 1), ('End', -1)):
        browser.press(key)
        assert browser.text('#sample') == log['samples'][k]
        assert_colours(browser, '#passage-learned > *', [0, *costs[k] / 6 * 16])
        assert_mean(browser, '#passage-cost', costs[k])
        assert browser.text('#when-costs').startswith(f'Epoch {log["epochs"][k]}: training ')
        assert_mean(browser, '#when-costs', short_run.costs[log['epochs'][k] - 1])
    assert_curve(browser, short_run.costs)
    assert all(words in browser.text('#info') for words in ('5 and 7 units', 'sha256'))


# In the browser: keeps the averaged parameters of the last look, which is shown as soon as it is complete.
KEPT = """void (Lesson.prototype.look = (look => function* () {
  const found = yield* look.call(this), p = this.learner.network.parameters(this.learner.averages);
  window.learned = Object.fromEntries(Object.entries(p).map(([name, array]) => [name, Array.from(array)]));
  return found;
})(Lesson.prototype.look))"""


def test_learning_in_the_page(browser, written, javascript, tmp_path):
    """Train on a file: the cost falls, the last look matches an independent model, and the slider has earlier ones."""
    H, words = 32, np.random.default_rng(1).choice(['He said:', '"I am cold."', 'in an old hut,', 'the king'], 350)
    text = '<img src=x onerror=hacked=1>' + ' '.join(words)
    (tmp_path / 'a.txt').write_text(text)
    browser.open(written, view='#learning')
    browser.value(KEPT)
    browser.click('[value=here]')
    browser.set('#learn-units', str(H))
    browser.choose('#learn-file', tmp_path / 'a.txt')
    browser.click('#learn-go')
    browser.wait("Number(byId('when').max) > 2 && byId('when-costs').textContent.match(/validation (.*?) /)[1] < 1")
    browser.click('#learn-go')
    p, uchar, last = browser.value('learned'), sorted(set(text)), browser.text('#sample')
    shapes, passage = dict(U=(4, H, -1), W=(4, H, H), b=(4, H), V=(-1, H), c=-1), text[int(np.ceil(0.9 * len(text))):]
    costs = expected_of(dict({name: np.reshape(p[name], shapes[name[0]]) for name in NAMES}, uchar=uchar), passage)[2]
    assert browser.text('#learn-go') == 'Continue' and browser.text('#passage-learned') == passage
    assert_colours(browser, '#passage-learned > *', [0, *costs / 6 * 16])
    for line in ('#when-costs', '#passage-cost'):
        assert_mean(browser, line, costs)
    wrote = javascript('writes(300, p, [], {temperature: 0.7, topK: p.c.length, seed: 1}, [])', p=p)
    assert last == ''.join(uchar[k] for k in wrote)
    looks = column_of(browser, 'learning', 'validation')
    assert_curve(browser, looks)
    browser.focus('#when')
    browser.press('Home')
    assert_mean(browser, '#when-costs', looks[0])
    assert abs(looks[0] - np.log(len(uchar))) < 0.3 and browser.text('#sample') != last
    browser.click('#learn-go')
    browser.wait(f"Number(byId('when').max) > {len(looks)}")
    assert browser.value("byId('when').value === byId('when').max && window.onbeforeunload !== null")
    assert browser.value(NOT_HACKED)


@pytest.mark.parametrize('width', [1280, 390, 320])
def test_tabs_are_links(browser, written, width):
    """Each tab shows its view, which fits the window. Back returns, and keys move from tab to tab."""
    browser.open(written, width=width)
    for view in ('cells', 'inside', 'writing', 'learning'):
        go(browser, view)
        assert browser.fits() and browser.all('nav [aria-current]', 'element.hash') == ['#' + view]
        assert browser.all('section', 'element.checkVisibility()') == [
            view in views.split() for views in browser.all('section', 'element.dataset.view')]
    browser.value('history.back()')
    browser.wait("document.body.dataset.view === 'writing'")
    for key, view in (('Home', 'surprise'), ('End', 'learning'), ('ArrowLeft', 'writing'), ('ArrowRight', 'learning')):
        browser.press(key)
        assert browser.value('document.activeElement.hash') == '#' + view
    for mode in browser.value('modes()'):
        browser.value(f"state.change({{view: 'surprise', mode: '{mode}'}})")
        assert browser.fits() and browser.value('document.body.dataset.mode') == mode


@pytest.mark.parametrize('view', ['surprise', 'surprise&mode=why', 'cells'])
def test_panel_does_not_cover_the_place(browser, written, view):
    """The window is narrow, so the panel is at the bottom."""
    browser.open(written, width=390, view=f'#{view}')
    browser.value("byId('text').focus({preventScroll: true})")
    for key in ('Escape', 'End', 'ArrowLeft', 'Home', *['ArrowRight'] * 3, *['ArrowDown'] * 12):
        browser.press(key)
        top, bottom = browser.all('#text .here', '(box => [box.top, box.bottom])(element.getBoundingClientRect())')[0]
        assert 0 <= top and bottom <= browser.all('aside', 'element.getBoundingClientRect().top')[0], key
    assert looked_at(browser) > 200


def test_address_says_what_is_shown(browser, written):
    """A reload shows the same. Links work even just before the address is written. Nonsense is ignored."""
    browser.open(written, view='#cells&place=620&feature=position%20in%20the%20line&unit=C2:3&of=h&hold=C1:4=-99')
    assert looked_at(browser) == 620
    go(browser, 'surprise')
    browser.click('[value=why]')
    browser.set('#words', 'the 50 % & #1\nand é')
    browser.wait("decodeURIComponent(location.hash).includes('&words=the 50 %')")
    browser.reload()
    assert browser.all('[name=mode]:checked, #words', 'element.value') == ['the 50 % & #1\nand é', 'why']
    go(browser, 'cells')
    assert browser.all('#feature, #units, #of', 'element.value') == ['position in the line', 'C2:3', 'h']
    go(browser, 'writing')
    assert browser.text('#held-title') == 'C1:4 held at \u221299.00'
    browser.value("state.change({place: 9}), location.hash = '#inside', address.write()")
    browser.wait("state.view === 'inside' && location.hash.startsWith('#inside&')")
    for nonsense in ('#nothing&place=-3&mode=x&unit=C9:1&hold=C2:900=1', '#%&&=&place&of=x&hold=C1:1=Infinity'):
        browser.open(written, view=nonsense)
        assert browser.value('[state.view, state.mode, state.unit, state.hold]') == ['surprise', 'surprise', None, None]


def test_hostile_text_runs_nothing(browser, tmp_path):
    """It runs in no view, and the page's policy blocks all other scripts."""
    name = tmp_path / 'a<img src=x onerror=hacked=1>\u2028.npz'
    write_chain(name, np.array(sorted(set(HOSTILE))))
    path = write_page_of(name, tmp_path / 'p.html', HOSTILE, 'a text of ' + HOSTILE, against=(loaded(name), str(name)))
    seen = ''.join(repr(ch)[1:-1] if ch in '\0\x1b\u2028\u2029\u202e\ud800' else ch for ch in HOSTILE)
    browser.open(path)
    assert browser.text('#text') == seen and browser.text('#source') == 'a text of ' + seen
    for words in ('', HOSTILE.replace('\ud800', '')):                  # DevTools cannot send a lone surrogate
        browser.set('#words', words)
        for view, mode in [(view, 'surprise') for view in ('cells', 'inside', 'writing', 'learning')] + [
                ('surprise', mode) for mode in browser.value('modes()')]:
            browser.value(f"state.change({{view: '{view}', mode: '{mode}'}}); state.change({{place: 30}})")
    assert browser.value(NOT_HACKED) and browser.value('document.scripts.length') == 2
    browser.value("document.body.append(Object.assign(document.createElement('script'), {textContent: 'hacked=1'}))")
    assert browser.later('typeof hacked', 100) == 'undefined' and browser.errors
    browser.errors.clear()
