"""The page in Chromium: tabs, modes, address, numbers compared with an independent model, and hostile texts."""
import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import numpy_model
from cells import gru_in_numpy
from numpy_model import NAMES, sigmoid
from pages import (HOSTILE, NOT_HACKED, REMEMBER, array_of, assert_chance, assert_colours, assert_mean, data_of,
                   expected_of, gates_of, last_look, levels_of, levels_of_cells, looked_at, numbers, page_of_own_cell,
                   read_by, rounded, shown, write_page_of)
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
    """Check colours, the mean, the expected characters at the selected place."""
    browser.open(written, scheme=scheme)
    assert looked_at(browser) == 51 + judge.costs[50:400].argmax()
    assert_colours(browser, '#text span', [0, *judge.costs / 6 * 16], scheme == 'dark')
    assert_mean(browser, '#mean', judge.costs)
    browser.point('#character-44')
    assert looked_at(browser) == 44
    browser.click('#character-30')
    for key, k in (('ArrowRight', 31), ('ArrowLeft', 30), ('End', 699)):
        browser.press(key)
        assert looked_at(browser) == k
        best = np.argsort(-judge.probabilities[k - 1])[:5]
        assert browser.all('#where .what')[:5] == [shown(judge.uchar[j]) for j in best]
        text = browser.text('#where')
        assert shown(TEXT[k]) + ': chance ' in text and text.startswith('…' + TEXT[k - 24:k].replace('\n', '↵') + '?')
        assert_chance(browser.text('#where p'), np.exp(-judge.costs[k - 1]))
    np.testing.assert_allclose(6 * levels_of(browser), [0, *judge.costs], rtol=1e-3)


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
    np.testing.assert_allclose(3 * levels_of(browser)[first:k], effects, rtol=0, atol=2e-5)
    largest = first + np.argsort(-abs(effects))[:5]
    assert browser.all('#where .what') == [f'{shown(uchar[codes[j]])} ({k - j} before)' for j in largest]
    return [0] * first + list(-effects / 3 * 16) + [0] * (len(codes) - k)


def test_why(browser, written, judge, of_own_cell):
    """Check the effects in colours and a list, also with a custom cell."""
    path, model = of_own_cell
    browser.open(written)
    browser.click('[value=why]')                           # keeps the marked character
    assert looked_at(browser) == 51 + judge.costs[50:400].argmax()
    for k, chosen in ((3, 2), (699, 0), (101, 1), (250, 5)):
        levels = assert_why(browser, judge.uchar, chosen, k, lambda x: numpy_model.forward(judge.p, x)[0], judge.codes)
    assert_colours(browser, '#text span', levels)
    browser.open(path, view='#surprise&mode=why')
    codes = np.array([list(model.uchar).index(ch) for ch in TEXT[:300]])
    assert_why(browser, list(model.uchar), 3, 117, lambda x: model.theano_predict(x)[0], codes)


def test_typed_text(browser, written, judge):
    """Check costs, what comes next, colours for a unit, unknown characters, and the return to the page's text."""
    words = 'the cats and dogs on a hill sat'

    def check(words):
        words = '\n' + words                               # a line is read after a line end
        browser.wait(f'text.own && text.reading().done === {len(words)}')
        codes, _, costs = expected_of(judge.p, words)
        states, probabilities = read_by(judge.p, codes)
        best = np.argsort(-probabilities)[:5]
        assert_mean(browser, '#mean', costs)
        assert_colours(browser, '#text span', [0, *costs / 6 * 16, 0])
        assert looked_at(browser) == len(words) and 'What comes next' in browser.text('#where')
        assert browser.all('#where .what') == [shown(judge.uchar[k]) for k in best]
        return costs, states[3][:, 6]

    browser.open(written, view='#surprise&place=600')
    browser.value("byId('words').select()")
    for key in words:
        browser.press(key)
    costs, C = check(words)
    np.testing.assert_allclose(6 * levels_of(browser), [0, *costs, 0], rtol=1e-3)
    go(browser, 'cells')
    browser.set('#units', 'C2:6')
    of_page = read_by(judge.p, judge.codes)[0][3][:, 6]
    assert_colours(browser, '#text span', [*levels_of_cells(browser, written, C, 5 + 6, of_page), 0])
    go(browser, 'surprise')
    browser.set('#words', words[:9] + '☃ "' + words[12:])
    check(words[:9] + ' ' + words[12:])
    assert 'never saw them: ☃ ".' in browser.text('#words-unknown')
    browser.set('#words', '☃')                             # nothing is left, so nothing of the page's text is meant
    assert looked_at(browser) == 51 + judge.costs[50:400].argmax()
    browser.set('#words', '')
    assert_colours(browser, '#text span', [0, *judge.costs / 6 * 16])
    assert looked_at(browser) == 51 + judge.costs[50:400].argmax() and not browser.text('#words-unknown')


def test_cells(browser, of_own_cell):
    """Compare C, h and gates in colours, legend and lists with the class. Correlations order the units."""
    path, model = of_own_cell
    states = {of: np.concatenate([states[of + '1'], states[of + '2']], axis=1).astype(float)
              for states in [model.states(TEXT[:300])] for of in 'hC'}
    names = [f'{layer}:{unit}' for layer, H in ((1, 7), (2, 5)) for unit in range(H)]

    def check(of, u):
        browser.wait(f"byId('value').textContent.startsWith('Value of {of}{names[u]} after ')")
        values, k = states[of][:, u], looked_at(browser)
        assert_colours(browser, '#text span', levels_of_cells(browser, path, values, u, values))
        ends = [numbers(browser.text(end))[0] for end in ('#pale', '#deep')]
        np.testing.assert_allclose(sorted(ends), np.sort(values)[[6, 293]], atol=6e-3)
        np.testing.assert_allclose(numbers(browser.text('#value')), values[[k]], atol=6e-3)
        found = browser.value(f"Array.from(text.valuesOf('C{names[u]}', '{of}'))")
        np.testing.assert_allclose(found, values, atol=1e-5)

    browser.open(path, view='#cells&place=100')
    layer, number = re.match(r'C(\d):(\d+) is unit \2 of layer \1$', browser.text('#cells-example')).groups()
    assert int(number) < (7, 5)[int(layer) - 1]
    tries, cards = [browser.all(part, 'element.getBoundingClientRect().' + end)[0] for part, end in (
        ('section[data-view=cells] .try', 'bottom'), ('#gallery', 'top'))]
    assert cards - tries > 8
    browser.set('#feature', 'position in the line')
    since = [k - TEXT.rfind('\n', 0, k + 1) for k in range(300)]
    r = np.array([np.corrcoef(since, C)[0, 1] for C in states['C'].T])
    order = np.argsort(-abs(np.array(data_of(path)['correlations']['position in the line'])), kind='stable')
    assert browser.all('#units option', 'element.value') == ['C' + names[u] for u in order]
    np.testing.assert_allclose([numbers(line)[0] for line in browser.all('#units option')], abs(r[order]), atol=6e-3)
    check('C', order[0])
    assert browser.all('#gallery h2') == []                # the text is too short
    browser.value('gallery.GOOD = gallery.FEWEST = 0, gallery.hasStrips = null, gallery.show()')
    assert 'counts the letters of the line' in browser.all('#gallery h2')
    assert len({*browser.all('#gallery .number')}) == len(browser.all('#gallery h2'))          # each names another cell
    browser.set('#units', 'C' + names[order[5]])
    assert browser.all('#hold', 'element.hash')[0].startswith(
        f'#surprise&temperature=0.7&hold=C{names[order[5]]}=')
    browser.set('#of', 'h')
    check('h', order[5])
    browser.value("getSelection().setBaseAndExtent(text.spans[120].firstChild, 0, text.spans[129].firstChild, 1)")
    browser.value("byId('text').dispatchEvent(new Event('pointerup'))")    # on or off in the phrase, and not around it
    around = np.r_[90:120, 130:160]
    ends = np.array(data_of(path)['ranges'])
    contrasts = (states['C'][120:130].mean(axis=0) - states['C'][around].mean(axis=0)) / (ends[:, 1] - ends[:, 0])
    found = browser.all('#units option')
    np.testing.assert_allclose([numbers(line)[0] for line in found], -np.sort(-abs(contrasts)), atol=6e-3)
    best = abs(contrasts).argmax()
    assert found[0].startswith('C' + names[best]) and ('low' in found[0]) == (contrasts[best] < 0)
    browser.wait(f"byId('value').textContent.startsWith('Value of C{names[best]} after ')")         # no longer h
    pale, deep = [numbers(browser.text(end))[0] for end in ('#pale', '#deep')]
    assert (pale < deep) == (contrasts[best] > 0)          # the phrase is dark
    assert browser.all('#feature option:checked') == [f'the phrase “{TEXT[120:130]}”'.replace('\n', '↵')]
    browser.set('#feature', 'position in the line')
    assert browser.all('#units option', 'element.value') == ['C' + names[u] for u in order]
    assert browser.all('#feature option:checked')[0].startswith('position in the line')
    browser.set('#units', 'C' + names[order[5]])
    layer, unit = map(int, names[order[5]].split(':'))
    assert browser.value("""performance.now = () => NaN; state.change({of: 'f'}); delete performance.now;
        text.spans.every(({level}) => !level) && byId('deep').textContent""") == '…'                # while it reads
    for gate, values in gates_of(model, TEXT[:300], layer, unit).items():
        browser.set('#of', gate)
        browser.wait(f"byId('value').textContent.startsWith('Value of {gate}{layer}:{unit} as it reads ')")
        np.testing.assert_allclose(levels_of(browser), (values + 1) / 2 if gate == 'g' else values, atol=1e-5)


def step_shown(browser):
    """Return the gates' pre-activations (4,4), three parts and their sum, and the numbers of each formula line."""
    browser.wait("byId('inside-status').textContent.startsWith('It read')")
    formula = zip(browser.all('#inside-formula dt'), map(numbers, browser.all('#inside-formula dd')))
    return np.reshape([numbers(cell) for cell in browser.all('#inside-sums td')], (4, 4)), dict(formula)


def test_inside(browser, written, judge, of_own_cell):
    """Check each number of a step, for a unit of each layer, in the page's text and a typed one.

    With a custom cell, the formula names the cell's parameters.
    """
    p = judge.p

    def check(codes, layer, unit):
        sums, formula = step_shown(browser)
        states, probabilities = read_by(p, codes)
        h, C = states[2 * layer - 2][-2], states[2 * layer - 1][:, unit]
        below = p['U1'][:, unit, codes[-1]] if layer == 1 else p['U2'][:, unit] @ states[0][-1]
        parts = np.array([below, p[f'W{layer}'][:, unit] @ h, p[f'b{layer}'][:, unit]]).T
        np.testing.assert_allclose(sums, np.column_stack([parts, parts.sum(axis=1)]), atol=6e-5)
        f, i, o = sigmoid(parts.sum(axis=1)[:3])
        second, strongest = parts[0][(np.sign(f - 0.5) * parts[0]).argsort()[1:]]
        stays, above_all, rest = browser.text('#inside-conclusion').partition(', above all because of ')
        assert bool(above_all) == (abs(strongest) >= 1.5 * abs(second))
        said = numbers(rest.partition(', which adds ')[2] if above_all else stays.partition('. ')[2])
        of_f = [strongest] if above_all else []
        np.testing.assert_allclose(said[:1 + len(of_f)], [*of_f, i * np.tanh(parts[3].sum())], atol=5.1e-3)
        for line, expected in (('C = f \xd7 C_prev + i \xd7 g', [f, C[-2], i, np.tanh(parts[3].sum()), C[-1]]),
                               ('h = o \xd7 tanh(C)', [o, C[-1], o * np.tanh(C[-1])]), ('C_prev', C[-2])):
            np.testing.assert_allclose(formula[line], expected, atol=6e-5)
        assert browser.all('#inside-next .what')[:5] == [shown(judge.uchar[k]) for k in np.argsort(-probabilities)[:5]]
        return np.concatenate([state[-1] for state in states])

    browser.open(written, view='#inside&place=600&unit=C2:6')
    check(judge.codes[:601], 2, 6)
    browser.click('#inside-strip span:nth-child(43)')      # the second after the current one, and gives the focus
    browser.press('ArrowLeft')
    found = browser.value('Array.from(text.reading().states(text.place))')
    np.testing.assert_allclose(found, check(judge.codes[:602], 2, 6), atol=1e-5)
    browser.value("location.hash = '#inside&unit=C1:4&hold=C1:4=1'")
    browser.wait("byId('inside-name').textContent.startsWith('C1:4')")
    check(judge.codes[:602], 1, 4)
    assert 'A unit is held. That' in browser.value('document.body.innerText')
    browser.click('#machine figure:nth-of-type(3) rect:nth-of-type(2)')            # unit 1 of layer 2
    check(judge.codes[:602], 2, 1)
    browser.value("void state.change({unit: 'C1:4'})")
    browser.set('#words', 'the cat')
    check(expected_of(judge.p, '\nthe cat')[0], 1, 4)
    browser.click('#inside-play')                          # begins again after the last character
    browser.wait("byId('inside-status').textContent.startsWith('It read line end and')")
    browser.wait("text.place === 7 && byId('inside-play').textContent === 'Play'")
    browser.click('#inside-next-step')                     # as this does
    browser.wait("byId('inside-status').textContent.startsWith('It read line end and')")
    browser.click('section[data-view=inside] .try a:nth-of-type(2)')
    browser.wait('!text.own')
    assert step_shown(browser) and TEXT[looked_at(browser)] == '\n'
    assert browser.value("byId('words').value === live.line()")
    path, model = of_own_cell
    browser.open(path, view='#inside')
    assert browser.all('#inside-one', 'element.checkVisibility()') == [False]
    assert browser.all('#machine svg + figcaption') == ['layer 1: 7 units', 'layer 2: 5 units']
    browser.open(path, view='#inside&place=120&unit=C2:3')
    sums, formula = step_shown(browser)
    C, p_o = model.states(TEXT[:121])['C2'][120, 3], model.p['p_o2'].get_value()[3]
    np.testing.assert_allclose(formula['o = sigmoid(a_o + p_o \xd7 C)'],
                               [sums[2, 3], p_o, C, sigmoid(sums[2, 3] + p_o * C)], atol=1.1e-4)


def goes_on(javascript, judge, line, length, temperature, seed, *held):
    """Return what network.js writes after a line."""
    found = javascript('writes(n, p, prime, choice, held)', n=length, prime=[judge.uchar.index(ch) for ch in line],
                       p={name: judge.p[name].ravel().tolist() for name in NAMES}, held=held,
                       choice=dict(temperature=temperature, seed=seed))
    return ''.join(judge.uchar[k] for k in found)[len(line):]


def test_line(browser, written, judge, javascript):
    """The next letters are an independent model's at a temperature, and can be typed; Another writes another text."""
    def check(line, temperature, seed, *held):
        browser.wait(f'!work.isBusy() && !writing.isBusy() && live.reading().numbers.length === {len(line)}')
        written = goes_on(javascript, judge, line, 200, temperature, seed, *held)
        assert browser.text('#ghost') == written.replace('\n', '↵\n')
        if held:
            return
        p = read_by(judge.p, [judge.uchar.index(ch) for ch in line])[1] ** (1 / temperature)
        best = np.argsort(-p)[:6]
        assert browser.all('#choices .key') == [shown(judge.uchar[k]) for k in best]
        widths = browser.all('#choices .bar div', 'parseFloat(element.style.width)')
        np.testing.assert_allclose(widths, 100 * p[best] / p.sum(), rtol=2e-3)
        return line + judge.uchar[best[0]]

    browser.open(written, view='#surprise&words=the &temperature=0.8&seed=7')
    line = check('\nthe ', 0.8, 7)                        # read after a line end
    browser.click('#choices .key')
    check(line, 0.8, 7)
    browser.click('#another')
    check(line, 0.8, 8)
    browser.set('#temperature', '1.5')
    check(line, 1.5, 8)
    assert browser.all('#holding', 'element.checkVisibility()') == [False]         # no cell counts
    browser.value("location.hash = '#surprise&hold=C2:3=-9'")
    browser.wait('state.hold')
    check(line, 1.5, 8, dict(state='C', layer=2, number=3, value=-9))
    assert [browser.text(part) for part in ('#held-name', '#let-go')] == ['Unit C2:3 is held', 'Held: let it go']
    browser.click('#let-go')
    browser.value('gallery.GOOD = gallery.FEWEST = 0, live.counter = once(() => gallery.features().find('
                  "({feature}) => feature === 'position in the line')), live.write()")
    check(line, 1.5, 8)
    name, *ends = browser.value('[live.counter().name, ...live.endsOf(live.counter())]')
    states = read_by(judge.p, [judge.uchar.index(ch) for ch in line])[0][2 * int(name[1]) - 1]
    np.testing.assert_allclose(ends[0] + browser.value("byId('held-at').valueAsNumber") * (ends[1] - ends[0]),
                               np.clip(states[-1, int(name[3:])], min(ends), max(ends)), atol=1e-4)
    levels = np.clip((states[1:, int(name[3:])] - ends[0]) / (ends[1] - ends[0]), 0, 1)
    np.testing.assert_allclose(browser.all('#typed span', 'element.level'), levels, atol=1e-4)
    browser.set('#held-at', '0.25')
    value = 0.75 * ends[0] + 0.25 * ends[1]
    check(line, 1.5, 8, dict(state='C', layer=int(name[1]), number=int(name[3:]), value=value))
    np.testing.assert_allclose(browser.all('#typed span', 'element.level'), 0.25, atol=1e-9)
    browser.click('#let-go')
    check(line, 1.5, 8)
    browser.click('#words-none')
    check('\n' + browser.value('live.line()'), 1.5, 8)
    browser.set('#words', '')                              # how a line begins
    check('\n', 1.5, 8)
    height, padding, line = map(float, browser.value("""(({paddingTop, lineHeight}) => [byId('live').clientHeight,
        paddingTop.slice(0, -2), lineHeight.slice(0, -2)])(getComputedStyle(byId('words')))"""))
    assert abs((height - padding) / line - 7) < 0.1        # no line is cut at the bottom of its box


def test_opening_of_a_line(browser, written):
    """A page begins with the beginning of a line, in whole words. Curly quotes are read as straight ones if known."""
    browser.open(written)
    assert TEXT.partition('\n')[2].startswith(browser.value('live.line()'))
    for text, line in (('x y\n\n  It is a truth universally acknowledged', 'It is a truth universally '),
                       ('lly\nemma\nzoe', 'emma'), ('no line end', 'no line end')):
        assert browser.value(f'openingOf({text!r})') == line
    assert browser.value('new Vocabulary([...`a"\u2019`]).taken("\u201ca\u2018\u2019", 9)') == dict(
        numbers=[1, 0, 2], line='Left out, since the model never saw them: \u2018. ')
    assert browser.value('[0.5, 0.052, 0.002, 0.00077].map(format.percent)') == ['50 %', '5.2 %', '0.20 %', '0.077 %']


def assert_curve(browser, costs):
    """Assert that the validation curve has the shape of costs."""
    points = browser.all('#learning-curve polyline.solid', "element.getAttribute('points')")[0].split()
    np.testing.assert_allclose(np.corrcoef([-float(point.split(',')[1]) for point in points], costs)[0, 1], 1)


def test_log_of_the_run(browser, written, short_run):
    """Check the sample and the passage's costs at each logged epoch, the curve of all costs, and the metadata."""
    log = data_of(written)['learning']
    costs = [array_of(look['costs']).astype(float) for look in log['looks']]
    browser.open(written, view='#learning')
    browser.wait("byId('when').value === byId('when').max")            # it plays by itself
    browser.value("byId('when').focus()")
    for key, k in (('Home', 0), ('ArrowRight', 1), ('End', -1)):
        browser.press(key)
        assert browser.text('#sample') == log['looks'][k]['sample']
        assert_colours(browser, '#passage-learned > *', [0, *costs[k] / 6 * 16])
        assert_mean(browser, '#passage-cost', costs[k])
        assert browser.text('#when-costs').startswith(f'Epoch {log["looks"][k]["time"]:g}, ')
        assert_mean(browser, '#when-costs', short_run.costs[int(log['looks'][k]['time']) - 1])
    assert_curve(browser, short_run.costs)
    browser.set('#learn-text', 'short')
    browser.click('#learn-go')
    assert browser.value("!byId('looks').hidden") and browser.text('#learn-wrong').startswith('The text has 5 ch')
    assert all(words in browser.text('#info') for words in ('5 and 7 units', 'sha256'))


def test_learning_in_the_page(browser, written, javascript):
    """Train on a pasted text: an independent model agrees with the last look."""
    H, words = 32, np.random.default_rng(1).choice(['He said:', '"I am cold."', 'in an old hut,', 'the king'], 350)
    text = '<img src=x onerror=hacked=1>' + ' '.join(words)
    passage = text[int(np.ceil(0.9 * len(text))):]
    browser.open(written, view='#learning')
    browser.value(REMEMBER)
    browser.set('#learn-size', f'1x{H}')
    browser.set('#learn-text', text)
    browser.click('#learn-go')
    browser.wait("Number(byId('when').max) > 2 && lesson.looks.at(-1).valid < 1")
    browser.click('#learn-go')
    assert browser.text('#learn-go') == 'Continue training'
    looks = browser.value('lesson.looks.map(({valid}) => valid)')
    assert_curve(browser, looks)
    assert ', with layers of 32 units.' in browser.text('#learn-status')
    assert f' on {len(passage)} of {len(passage)} held-out letters.' in browser.text('#learn-status')
    assert f'({min(looks):.3f} nats)' in browser.text('#learn-status')
    p = last_look(browser, U=(4, H, -1), W=(4, H, H), b=(4, H), V=(-1, H), c=-1)
    x = np.array([p['uchar'].index(ch) for ch in passage])[:, None]
    costs = numpy_model.costs(numpy_model.forward(p, x[:-1])[0], x[1:])[:, 0]
    assert_colours(browser, '#passage-learned > *', [0, *costs / 6 * 16])
    for line in ('#when-costs', '#passage-cost'):
        assert_mean(browser, line, costs)
    wrote = javascript('writes(300, p, [], {temperature: 0.7, seed: 1}, [])',
                       p={name: array.ravel().tolist() for name, array in p.items() if name != 'uchar'})
    assert browser.text('#sample') == re.sub(r'\s+\S*$', '', ''.join(p['uchar'][k] for k in wrote))
    browser.click('#learn-go')
    browser.wait(f"Number(byId('when').max) >= {len(looks)}")
    assert browser.value("byId('when').value === byId('when').max && window.onbeforeunload !== null")
    browser.set('#learn-text', TEXT[:2000])                # which starts another training
    assert browser.text('#learn-go') == 'Train one now' and not browser.value('work.isBusy()')
    browser.click('#learn-go')
    browser.wait("byId('learn-status').textContent.includes(' of 200 held-out letters')")
    browser.click('#learn-run')                           # trains on while the page's network is looked at
    browser.wait('views().learning && state.source === "run"')
    assert browser.value('work.isBusy()') and browser.value(NOT_HACKED)


def train_both(browser, layers, formula):
    """Train a formula and the LSTM with layers of 32 units for three looks. Return the names in the table."""
    browser.set('#learn-size', f'{layers}x32')
    browser.value(f"[...byId('chips').children].find(chip => chip.textContent === '{formula}').click()")
    browser.click('#lab-go')
    browser.wait(f"byId('own-name').textContent === '{formula}, {layers}x32' && lesson.looks.length > 2")
    browser.click('#lab-go')
    return browser.all('#lab-tried button')


def test_lab(browser, written, of_own_cell):
    """The cell is the formula's. What was tried on a text stays until it is cleared."""
    browser.open(written, view='#lab')
    browser.value(REMEMBER)
    browser.set('#formula', 'cell(a_f, C_prev)\nC = C_prv')
    assert browser.text('#formula-wrong') == 'Line 2, column 5: C_prv is not declared.'
    assert browser.all('#lab-go', 'element.disabled') == [True]
    assert train_both(browser, 2, 'GRU') == ['LSTM, 2x32', 'GRU, 2x32']
    for view in ('inside', 'lab'):                          # where its training is still there
        go(browser, view)
    assert browser.text('#lab-go') == 'Continue training'
    H, V = 32, browser.value('lesson.uchar.length')
    assert f'GRU, 2x32{3 * H * (V + 3 * H) + 8 * H + V * (H + 1):,}' in browser.all('#lab-tried tr')[1]
    p = last_look(browser, U=(3, H, -1), W=(3, H, H), b=(4, H), V=(V, H), c=V)
    x = np.array(browser.value('lesson.heldOut'))[:, None]
    costs = numpy_model.costs(numpy_model.forward(p, x[:-1], cell=gru_in_numpy)[0], x[1:])
    np.testing.assert_allclose(costs.mean(), browser.value('lesson.looks.at(-1).valid'), atol=1e-4)
    assert f'{costs.mean():.3f}' in browser.all('#lab-tried tr')[1]
    assert train_both(browser, 1, 'RNN') == ['LSTM, 1x32', 'RNN, 1x32', 'LSTM, 2x32', 'GRU, 2x32']
    assert [len(browser.all(f'#lab-{part} polyline')) for part in ('curve', 'reach')] == [4, 6]           # C of LSTMs
    hues = browser.all('#lab-tried tr', "element.style.getPropertyValue('--hue')")
    assert len({*hues}) == 4
    assert train_both(browser, 2, 'LSTM')[:3] == ['LSTM, 2x32', 'LSTM, 1x32', 'RNN, 1x32']        # no rival
    assert browser.all('#lab-tried tr', "element.style.getPropertyValue('--hue')") == [hues[2], *hues[:2], hues[3]]
    browser.click('#lab-clear')
    assert browser.all('#lab-tried button') == ['LSTM, 2x32']
    browser.open(of_own_cell[0], view='#lab')               # it begins with the page's cell
    assert 'sigmoid(a_o + p_o * C)' in browser.value('formula.value') and not browser.text('#formula-wrong')
    browser.set('#learn-size', '2x32')
    for lines, said in (('C = 3 * C_prev + 9 * a_f', 'C = 3 * C_prev + 9 * a_f is the first line'),
                        ('b = log(a_f)\nC = b', 'b = log(a_f) is the first line that is not finite. It was'),
                        ('C = C_prev + sqrt(a_f - a_f)', 'The cost or its gradient is not finite, although each')):
        browser.set('#formula', f'cell(a_f, C_prev)\n{lines}\nreturn C, C')
        browser.click('#lab-go')
        browser.wait(f"byId('learn-wrong').textContent.startsWith('{said}')")
        assert browser.text('#lab-go') == 'Train' and 'NaN' not in browser.value('document.body.innerText')


def test_without_javascript_or_webassembly(browser, written):
    """Only a message is shown."""
    script = browser.call('Page.addScriptToEvaluateOnNewDocument', source='delete window.WebAssembly')
    browser.open(written)
    browser.call('Page.removeScriptToEvaluateOnNewDocument', **script)
    assert browser.text('body') == 'This page needs WebAssembly with SIMD, which this browser does not have.'
    browser.open(written)
    browser.call('Emulation.setScriptExecutionDisabled', value=True)
    try:
        browser.call('Page.reload')
        browser.wait("document.body?.innerText.startsWith('This page needs JavaScript')")
        assert '\n' not in browser.value('document.body.innerText')
    finally:
        browser.call('Emulation.setScriptExecutionDisabled', value=False)
    browser.opened.append(written.as_uri())


@pytest.mark.parametrize('width', [1280, 390, 320])
def test_tabs_are_links(browser, written, width):
    """Each tab shows its view from its top, which fits the window. Back returns. What is typed at first is a line."""
    browser.open(written, width=width)
    browser.press('e')
    assert browser.value("byId('words').value === live.line() + 'e'")
    browser.set('#words', '')
    browser.value('text.goTo(699)')
    for view in ('cells', 'inside', 'learning', 'lab', 'about'):
        go(browser, view)
        assert browser.fits() and browser.all('nav [aria-current]', 'element.hash') == ['#' + view]
        assert browser.value('[scrollY, state.pinned]') == [0, True]
        assert browser.all('section', 'element.checkVisibility()') == [
            view in views.split() for views in browser.all('section', 'element.dataset.view')]
    assert browser.all('#pin, #unpin', 'element.hidden') == [True, False]
    browser.press('Escape')                                # unpins anywhere
    assert not browser.value('state.pinned') and browser.all('#pin, #unpin', 'element.hidden') == [False, True]
    browser.value('history.back()')
    browser.wait("document.body.dataset.view === 'lab'")
    browser.value("location.hash = '#cells&of=h'")
    browser.wait("byId('reading').getBoundingClientRect().top < 250")  # the link scrolls to what it changes
    for mode in browser.value('Object.keys(modes())'):
        browser.value(f"state.change({{view: 'surprise', mode: '{mode}'}})")
        assert browser.fits() and browser.value('document.body.dataset.mode') == mode


@pytest.mark.parametrize('view', ['surprise', 'surprise&mode=why', 'cells'])
def test_panel_does_not_cover_the_place(browser, written, view):
    """The window is narrow, so the panel is at the bottom."""
    browser.open(written, width=390, view=f'#{view}&place=60')
    browser.value("byId('text').focus({preventScroll: true})")
    for key in ('Escape', 'End', 'ArrowLeft', 'Home', *['ArrowRight'] * 3):
        browser.press(key)
        top, bottom = browser.all('#text .here', '(box => [box.top, box.bottom])(element.getBoundingClientRect())')[0]
        assert 0 <= top and bottom <= browser.all('aside', 'element.getBoundingClientRect().top')[0], key


def test_address_says_what_is_shown(browser, written):
    """A link shows the same. Links work even just before the address is written."""
    browser.open(written, view='#cells&place=620&feature=position%20in%20the%20line&unit=C2:3&of=h&hold=C1:4=-99')
    assert looked_at(browser) == 620
    go(browser, 'surprise')
    browser.click('[value=why]')
    browser.set('#words', 'the 50 % & #1\nand é')
    browser.wait("decodeURIComponent(location.hash).includes('&words=the 50 %')")
    browser.open(written, view=browser.value('location.hash'))
    assert browser.all('[name=mode]:checked, #words', 'element.value') == ['the 50 % & #1\nand é', 'why']
    go(browser, 'cells')
    assert browser.all('#of, #feature, #units', 'element.value') == ['h', 'position in the line', 'C2:3']
    assert browser.value('state.hold') == dict(unit='C1:4', value=-99)
    browser.value("state.change({place: 9, formula: 'cell(a_f)'}), location.hash = '#inside', address.write()")
    browser.wait("state.view === 'inside' && location.hash.startsWith('#inside&')")
    browser.set('#learn-size', '3x128')
    browser.wait("location.hash.includes('&size=3x128')")
    browser.open(written, view=browser.value('location.hash'))
    assert browser.all('#learn-size', 'element.value') == ['3x128']
    assert browser.value('lessonsOf([data.cell])[0].units') == [128] * 3
    browser.open(written, view='#surprise&words=the')
    browser.wait('history.state')
    browser.click('#line .try a:nth-of-type(3)')
    browser.wait("state.mode === 'why' && !state.words")
    browser.value('history.back()')
    browser.wait("state.mode === 'surprise' && state.words === 'the' && !state.pinned")


def test_hostile_text_runs_nothing(browser, tmp_path):
    """It runs in no view, and the page's policy blocks all other scripts."""
    name = tmp_path / 'a<img src=x onerror=hacked=1>\u2028.npz'
    write_chain(name, np.array(sorted(set(HOSTILE))))
    path = write_page_of(name, tmp_path / 'p.html', HOSTILE, 'a text of ' + HOSTILE)
    html = path.read_bytes()
    assert html.isascii() and b'<img' not in html and html.count(b'<script') == html.count(b'</script') == 2
    seen = ''.join(repr(ch)[1:-1] if ch in '\0\x1b\u2028\u2029\u202e\ud800' else ch for ch in HOSTILE)
    browser.open(path)
    assert browser.text('#text') == seen and browser.text('#source') == 'a text of ' + seen
    for words in ('', HOSTILE.replace('\ud800', '')):                  # DevTools cannot send a lone surrogate
        browser.set('#words', words)
        for view, mode in [(view, 'surprise') for view in ('cells', 'inside', 'learning', 'lab', 'about')] + [
                ('surprise', mode) for mode in browser.value('Object.keys(modes())')]:
            browser.value(f"state.change({{view: '{view}', mode: '{mode}'}}); state.change({{place: 30}})")
    assert browser.value(NOT_HACKED) and browser.value('document.scripts.length') == 2
    browser.value("document.body.append(Object.assign(document.createElement('script'), {textContent: 'hacked=1'}))")
    assert browser.later('typeof hacked', 100) == 'undefined' and browser.errors
    browser.errors.clear()


# axe-core checks all views and modes: npm install axe-core, or set AXE to the path of axe.min.js.
AXE = Path(os.environ.get('AXE') or 'node_modules/axe-core/axe.min.js')
FOUND = """axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map(
    ({id, nodes}) => `${location.hash} ${id}: ${nodes[0].html.slice(0, 200)} ${nodes[0].failureSummary}`))"""
VIEWS = ['surprise', 'surprise&mode=why', 'surprise&words=the&hold=C1:2=0.5', 'cells',
         'inside&unit=C1:2', 'learning', 'lab', 'about']


@pytest.mark.skipif(not AXE.is_file(), reason='axe-core is missing: npm install axe-core')
@pytest.mark.parametrize('width, scheme, source', [(1280, 'light', 'run'), (390, 'dark', 'here')])
def test_axe_finds_nothing(browser, written, width, scheme, source):
    found = []
    for view in VIEWS:
        browser.open(written, width, scheme=scheme, view='#' + view)
        browser.value(f"state.change({{source: '{source}'}})")
        browser.value("for (const details of document.querySelectorAll('details')) details.open = true")
        browser.wait("!document.body.innerText.includes('Reading')")
        browser.value(AXE.read_text(encoding='utf-8') + '; 0')
        found += browser.value(FOUND)
    assert found == []
