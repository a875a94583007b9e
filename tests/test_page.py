"""The page of --page: its network and the class compared in a JavaScript engine, its data, and the page in Chromium."""
import json
import os
import re
import shutil

import numpy as np
import pytest

import numpy_model
from charlstm import CharLSTM
from engine.page import page
from engine.page.page import best_units, fill_template, logged_costs, to_float16
from engine.kernel.drawing import choose, continue_texts, likely
from engine.backend.theano_setup import theano
from models import CODES, default_mode
from numpy_model import NAMES, V
from pages import (HOSTILE, NOT_HACKED, array_of, colour, colour_in, data_of, expected_of, page_of_own_cell,
                   shown_colour, write_page_of)
from scripts import (FAST, PRODUCE, TEXT, assert_changes_nothing, load, run, snapshot, succeeded, write_chain)


# ---------------------------------------------------------------- the network in JavaScript

@pytest.fixture
def model(compiled_models):
    """Return a model with the kernel, with the parameters that it was made with, rounded to those of a page."""
    model, start = compiled_models('float32')
    for variable, array in start.items():
        variable.set_value(array)
    for p in model.p.values():
        p.set_value(to_float16(p.get_value()).astype('float32'))
    return model


def parameters(model):
    return {name: model.p[name].get_value().ravel().tolist() for name in NAMES}


def test_probabilities_are_the_models(javascript, model, compiled_models):
    """Up to rounding; and those of the unrounded parameters up to the rounding to 16 bits."""
    found = javascript('probabilities(p, x)', p=parameters(model), x=CODES[:200].tolist())
    np.testing.assert_allclose(found, model.theano_predict(CODES[:200])[0][:, 0], rtol=1e-5, atol=1e-7)
    for variable, array in compiled_models('float32')[1].items():
        variable.set_value(array)
    unrounded = model.theano_predict(CODES[:200])[0][:, 0]
    assert 0 < abs(found - unrounded).max() < 2 ** -11                     # the rounding of a number of 1


@pytest.mark.parametrize('temperature, top_k', [(1, 11), (0.5, 7), (3, 2)])
def test_writing_is_pythons_on_the_same_random_numbers(javascript, model, temperature, top_k):
    choice = dict(temperature=temperature, topK=top_k, seed=5)
    written = javascript('written(200, p, prime, choice)', p=parameters(model), prime=[3, 1, 4], choice=choice)
    bits = np.array([int(number * 2 ** 53) for number in javascript('randoms(200, 5)')])[:, None]
    text, *_ = continue_texts(model._function('predict'), np.array([[3], [1], [4]], np.int32), bits, 200,
                              np.array([temperature, top_k, 1], 'float32'), *model._zero_states(1))
    assert written == text[:, 0].tolist()


def test_held_text_draws_the_random_numbers_of_the_free_one(javascript, model):
    new = 'times(300, (writer => () => writer.next())(new Writer(arrays(p), prime, choice, held)))'
    settings = dict(p=parameters(model), prime=[], choice=dict(temperature=1, topK=V, seed=5))
    free = javascript(new.replace(', held', ''), **settings)
    none, held, hardly = [javascript(new, held=held, **settings) for held in (
        [], [dict(layer=2, number=1, value=-3)], [dict(layer=1, number=6, value=1e-3)])]
    assert free == none and free[0] == held[0] and free != held
    assert 30 < sum(a == b for a, b in zip(free, hardly)) < 300           # of 11 characters, equal by chance: 27


def test_draw_of_all_kinds_of_distributions(javascript):
    """With zeros, ties and sums that are not 1; random numbers at the borders too."""
    chance = np.random.default_rng(3)
    for top_k in (1, 3, V):
        p = (chance.integers(0, 4, (300, V)) * (chance.random((300, V)) < 0.7)).astype('float32')
        p[:, 4] += 1
        bits = chance.integers(2 ** 53, size=300)
        bits[:40], bits[40:80] = 0, 2 ** 53 - 1
        found = javascript('p.map((p, i) => draw(likely(Float32Array.from(p), k), u[i]))', p=p.tolist(), k=top_k,
                           u=(bits * 2.0 ** -53).tolist())
        np.testing.assert_array_equal(found, choose(likely(p, top_k, 1), bits))


def test_random_numbers_are_even_and_repeatable(javascript):
    draws = {seed: javascript('randoms(20000, seed)', seed=seed) for seed in (0, 1, 2 ** 32 - 1)}
    for seed, numbers in draws.items():
        counts = np.histogram(numbers, bins=50, range=(0, 1))[0]
        assert sum(counts) == 20000 and ((counts - 400) ** 2 / 400).sum() < 100          # chi-square: 49 +- 10
        assert numbers[:5] == javascript('randoms(5, seed)', seed=seed)
    assert len({numbers[0] for numbers in draws.values()}) == 3


def test_writer_begins_with_a_random_character(javascript, model):
    p, new = parameters(model), 'new Writer(arrays(p), [], {temperature: 1, topK: 11, seed}).prime[0]'
    first = {javascript(new, p=p, seed=seed) for seed in range(60)}
    assert first <= set(range(V)) and len(first) > 6


# ---------------------------------------------------------------- the data

@pytest.fixture(scope='module')
def hostile(tmp_path_factory):
    """Return the path of a page whose text, names and vocabulary are an attack."""
    folder = tmp_path_factory.mktemp('hostile')
    checkpoint = folder / '<img src=x onerror=hacked=1>\u2028.npz'
    write_chain(checkpoint, np.array(sorted(set(HOSTILE))))
    return write_page_of(checkpoint, folder / 'page.html', HOSTILE, 'a text of ' + HOSTILE)


def test_hostile_text_is_data(hostile):
    html = hostile.read_bytes()
    assert html.isascii()
    assert html.count(b'<script') == html.count(b'</script') == 2 and b'<img' not in html and b'hacked=1>' not in html
    data = data_of(hostile)
    assert ''.join(data['uchar'][k] for k in array_of(data['text'])) == HOSTILE
    assert data['source'] == 'a text of ' + HOSTILE and data['name'] == '<img src=x onerror=hacked=1>\u2028.npz'


def test_nothing_is_fetched_and_no_other_script_may_run():
    template = (page.HERE / 'page.html').read_text(encoding='utf-8')
    assert "default-src 'none'" in template and not re.search(r'\b(src|href|url)\s*[=(]', template)
    scripts = [path.read_text(encoding='utf-8') for path in page.HERE.glob('*.js')]
    script = ''.join(scripts)
    for forbidden in ('innerHTML', 'outerHTML', 'insertAdjacent', 'document.write', 'eval(', 'fetch(', '</script'):
        assert forbidden not in script
    html = fill_template('function cell() {}', {}).decode()
    assert [html.count(script) for script in scripts] == [1] * len(scripts)
    for script in scripts:
        html = html.replace(script, '')
    assert '{{' not in html


def test_scripts_declare_different_functions():
    """They become one script, in which a second function of a name would silently replace the first."""
    names = [name for path in page.HERE.glob('*.js')
             for name in re.findall(r'^function (\w+)', path.read_text(encoding='utf-8'), re.MULTILINE)]
    assert {'paint', 'addView', 'softmax'} <= set(names) and len(names) == len(set(names))


def test_data_are_those_of_an_independent_model(written, short_run):
    data, p = data_of(written), load(short_run.folder / 'r_t.txt_best.npz')
    codes, probabilities, costs = expected_of(p)
    assert data['uchar'] == p['uchar'].tolist() and not data['bytes']
    np.testing.assert_array_equal(array_of(data['text']), codes)
    np.testing.assert_allclose(array_of(data['costs']), costs, rtol=1e-3)
    np.testing.assert_allclose(array_of(data['chances']).reshape(-1, 5), -np.sort(-probabilities)[:, :5], rtol=2e-3)
    for name in NAMES:
        np.testing.assert_array_equal(array_of(data['parameters'][name]), p[name].astype('float16').ravel())
    C = numpy_model.forward(p, codes[:400, None])[1][1::2]
    for unit, states in zip(data['units'], array_of(data['states']).reshape(-1, 700)):
        step = (unit['most'] - unit['least']) / 255
        found = unit['least'] + step * states[399]
        assert abs(found - C[unit['layer'] - 1][unit['number'], 0]) <= 0.51 * step + 1e-4
    assert len(data['units']) == 5 + 7 and {len(r) for r in data['correlations'].values()} == {5 + 7}
    assert np.array(data['epochs'])[:, [0, 2]].tolist() == [[k, cost] for k, cost in enumerate(short_run.costs, 1)]


def test_units_are_chosen_by_turns():
    correlations = np.array([[0.1, -0.9, 0.5, 0, 0.2], [0.3, -0.95, 0.1, 0, -0.6]])
    assert best_units(correlations, 9).tolist() == [1, 2, 4, 0, 3]
    assert best_units(correlations, 2).tolist() == [1, 2]


def test_units_fit_into_the_page(monkeypatch, short_run):
    monkeypatch.setattr(page, 'MOST_STATES', 700 * 3)
    monkeypatch.setattr(page, 'LEAST_UNITS', 2)
    model = CharLSTM()
    model.model_setup(str(short_run.folder / 'r_t.txt_best.npz'))
    with default_mode(theano.compile.mode.FAST_COMPILE):
        assert [len(page.cells(model, TEXT[:n])['units']) for n in (700, 1400)] == [3, 2]


def test_numbers_beyond_float16():
    assert to_float16(np.array([1e9, -1e9, 0.5])).tolist() == [65504, -65504, 0.5]


@pytest.mark.parametrize('name, found', [
    ('r_t.txt_best.npz', 5), ('r_t.txt_epoch2.npz', 5), ('r_t.txt.npz', 5), ('other_best.npz', 0)])
def test_log_beside_a_checkpoint(short_run, name, found):
    assert len(logged_costs(str(short_run.folder / name))) == found


def test_log_without_costs(tmp_path, capfd):
    (tmp_path / 'x_epochs.out').write_text('# epoch\n1 2 nonsense\n')
    assert logged_costs(str(tmp_path / 'x_best.npz')) == []
    assert 'x_epochs.out is no log' in capfd.readouterr().err
    (tmp_path / 'x_epochs.out').write_text('# epoch\n')
    assert logged_costs(str(tmp_path / 'x_best.npz')) == []
    (tmp_path / 'x_epochs.out').write_text('1 2.5 nan 0.1 9\n')
    assert logged_costs(str(tmp_path / 'x_best.npz')) == [[1, 2.5, None]]


# ---------------------------------------------------------------- the command

def test_page_of_a_file(produce, short_run, monkeypatch, tmp_path):
    (tmp_path / 'x.txt').write_text('☃' + TEXT, encoding='utf-8')

    def page_of(most_characters):
        monkeypatch.setattr(page, 'MOST_CHARACTERS', most_characters)
        result = produce('--page', tmp_path / 'p.html', '--score', tmp_path / 'x.txt', '--overwrite')
        assert (result.returncode, result.stdout) == (0, '')
        left_out, wrote = result.stderr.splitlines()
        assert "'☃' (1)" in left_out and wrote.startswith(f'wrote {tmp_path / "p.html"}, 0.')
        data = data_of(tmp_path / 'p.html')
        return data, ''.join(data['uchar'][k] for k in array_of(data['text']))

    data, text = page_of(len(TEXT))
    assert text == TEXT and data['source'] == f'All {len(TEXT):,} characters of x.txt.'
    said = succeeded(produce('--info'))
    for path in re.findall(r'(?m)(?<=^)/[^:]+|(?<=path )/[^,]+|(?<=input )/[^,]+', said):
        said = said.replace(path, os.path.basename(path))
    assert '\n'.join(data['info']) + '\n' == said and 'path t.txt' in said
    assert str(short_run.folder).encode() not in (tmp_path / 'p.html').read_bytes()
    data, text = page_of(900)
    assert text == TEXT[:900] and data['source'] == f'The first 900 of {len(TEXT):,} characters of x.txt.'


def test_page_of_a_text_that_the_model_writes(produce, tmp_path):
    def text(name, *options):
        assert produce('--page', tmp_path / name, '--prime', 'the ', '--random-seed', 3, *options).returncode == 0
        data = data_of(tmp_path / name)
        return ''.join(data['uchar'][k] for k in array_of(data['text']))

    short = text('a', '--length', 50)
    assert len(short) == 54 and short.startswith('the ')
    assert len(text('b')) == 2004


def test_page_of_a_text_with_held_units_says_so(produce, tmp_path):
    result = produce('--page', tmp_path / 'p.html', '--length', 30, '--hold', 'C2:4=-3', '--hold', 'C1:0=2')
    assert result.returncode == 0
    data = data_of(tmp_path / 'p.html')
    assert 'units were held: C2:4=-3, C1:0=2' in data['source']
    assert not data['own']                      # the model with free units would have drawn other characters


def test_existing_page_is_replaced_only_by_overwrite(produce, tmp_path):
    path = tmp_path / 'p.html'
    path.write_text('mine')
    before = snapshot(tmp_path)
    result = produce('--page', path)
    assert (result.returncode, result.stderr.count('\n')) == (2, 1) and '--overwrite' in result.stderr
    assert snapshot(tmp_path) == before
    assert produce('--page', path, '--overwrite', '--length', 9).returncode == 0
    assert data_of(path)['info'] and [name.name for name in tmp_path.iterdir()] == ['p.html']


@pytest.mark.parametrize('options, words', [
    (['--page', 'missing/p.html'], ['cannot write missing/p.html', 'No such file']),
    (['--page', 'results', '--overwrite'], ['results exists already', 'no file']),
    (['--page', ''], ['cannot write', 'No such file']),
    (['--page', 'p.html', '--info'], ['--page', '--info']),
    (['--page', 'p.html', '--score', 't.txt', '--adapt'], ['--adapt prints', '--page shows', 'leave out one']),
    (['out.txt', '--page', 'p.html'], ['OUT is out.txt', '--page'])])
def test_page_that_is_refused(folder, produce, short_run, options, words):
    shutil.copy(str(short_run.folder / 'r_t.txt_best.npz'), str(folder))
    os.chdir(str(folder))
    assert_changes_nothing(folder, lambda _, *arguments: produce(*arguments[1:]), PRODUCE, 'r_t.txt_best.npz', *options,
                           words=words)


def test_page_in_a_process(folder, short_run):
    """Refused before Theano is imported; and written, with no output but a line on where it is."""
    (folder / 'existing').write_text('mine')
    assert_changes_nothing(folder, run, PRODUCE, short_run.checkpoint, '--page', 'existing', words=['exists already'])
    result = run(PRODUCE, short_run.checkpoint, '--page', 'p.html', '--length', 60, flags=FAST, cwd=folder)
    assert (result.returncode, result.stdout) == (0, '') and result.stderr.startswith('wrote p.html, ')
    assert result.stderr.count('\n') == 1


def test_large_page_says_how_to_make_it_smaller(produce, monkeypatch, tmp_path):
    monkeypatch.setattr(page, 'LARGE', 9_000)
    _, hint = produce('--page', tmp_path / 'p.html', '--length', 9).stderr.splitlines()
    assert 'a smaller --length' in hint and 'fewer units' in hint


# ---------------------------------------------------------------- in a browser

@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_colours_are_those_of_the_costs(browser, written, short_run, scheme):
    _, _, costs = expected_of(load(short_run.folder / 'r_t.txt_best.npz'))
    levels = np.minimum(costs / 6 * 16, 15).astype(int)
    clear = [k for k in range(699) if abs(costs[k] / 6 * 16 - np.rint(costs[k] / 6 * 16)) > 0.02 and levels[k]]
    browser.open(written, scheme=scheme)
    for k in clear[::len(clear) // 10][:10]:
        np.testing.assert_allclose(shown_colour(browser, k + 1), colour(levels[k], scheme == 'dark'), atol=1.5)
    assert len(set(levels[clear])) > 4
    nats, bits = re.fullmatch(r'Mean: (.*) nats \((.*) bits\) a character\.',
                              browser.value("byId('mean').textContent")).groups()
    np.testing.assert_allclose([float(nats), float(bits)], costs.mean() / [1, np.log(2)], atol=6e-4)
    assert browser.errors == [] and len(browser.requests) == 1


def test_pointing_and_keys_show_what_was_expected(browser, written, short_run):
    p = load(short_run.folder / 'r_t.txt_best.npz')
    codes, probabilities, costs = expected_of(p)

    def check(k):
        rows = browser.value("Array.from(document.querySelectorAll('#where .what')).map(cell => cell.textContent)")
        best = [p['uchar'][j] for j in np.argsort(-probabilities[k - 1])[:5]]
        names = {' ': 'space', '\n': 'line end'}
        assert rows[:5] == [names.get(ch, ch) for ch in best]
        shown = browser.value("byId('where').textContent")
        assert names.get(TEXT[k], TEXT[k]) + ' came' in shown
        assert shown.startswith('…' + TEXT[max(0, k - 24):k].replace('\n', '↵') + '?')
        bits = re.search(r'\((.*) bits\)$', shown).group(1)
        assert abs(float(bits) - costs[k - 1] / np.log(2)) < 0.016
        cost = browser.value("document.querySelector('#where p b:last-of-type').textContent")
        assert abs(float(cost) - costs[k - 1]) < 0.011
        assert browser.value('here') == k

    browser.open(written)
    browser.click('#text span:nth-child(31)')
    check(30)
    for key, k in (('ArrowRight', 31), ('ArrowLeft', 30), ('Home', 0), ('ArrowRight', 1), ('End', 699)):
        browser.press(key)
        if k:
            check(k)
    browser.press('ArrowUp')
    browser.press('ArrowDown')
    assert browser.value('here') > 600 and browser.errors == []


def test_click_on_a_unit_recolours(browser, written):
    browser.open(written, view='#cells')
    data = data_of(written)
    states = array_of(data['states']).reshape(-1, 700).astype(float)

    def check():
        chosen = browser.value("document.querySelector('#units [aria-selected=true]').id")
        u, name = int(chosen[len('unit-'):]), browser.value("byId('feature').value")
        low, high = np.sort(states[u])[[14, 685]][::-1 if data['correlations'][name][u] < 0 else 1]
        levels = np.clip((states[u] - low) / (high - low) * 16, 0, 15).astype(int)
        for k in np.flatnonzero(levels)[:300:30]:
            np.testing.assert_allclose(shown_colour(browser, k), colour(levels[k], hue=208, saturation=0.68), atol=1.5)
        return u

    first = check()
    browser.click('#units li:nth-child(4)')
    second = check()
    browser.press('j')
    third = check()
    browser.press('k')
    assert check() == second
    browser.click('#next')
    assert check() == third
    browser.value("byId('units').focus()")
    browser.press('Home')
    assert check() == first and len({first, second, third}) == 3
    order = browser.value("Array.from(byId('units').children).map(item => Number(item.id.slice(5)))")
    r = np.abs(data['correlations'][browser.value("byId('feature').value")])
    assert sorted(order) == list(range(12)) and (np.diff(r[order]) <= 0).all() and browser.errors == []


def write_in(browser, **fields):
    """Return the text that the page writes with these values in its fields."""
    for name, value in fields.items():
        browser.value(f'byId({json.dumps(name.replace("_", "-"))}).value = {json.dumps(value)}')
    browser.click('#write')
    browser.wait("!running && (byId('written').textContent || !byId('wrong').hidden)")
    return browser.value("byId('written').textContent")


def test_writing_writes(browser, written, javascript, short_run):
    browser.open(written, view='#writing')
    p = load(short_run.folder / 'r_t.txt_best.npz')
    text = write_in(browser, prime='the café', length='300', seed='7', temperature='0.8', top_k='9')
    codes = {ch: k for k, ch in enumerate(p['uchar'])}
    expected = javascript('written(300, p, prime, choice)', prime=[codes[ch] for ch in 'the café'],
                          p={name: p[name].astype('float16').astype(float).ravel().tolist() for name in NAMES},
                          choice=dict(temperature=0.8, topK=9, seed=7))
    assert text == ''.join(p['uchar'][k] for k in expected)
    browser.value("byId('prime').focus()")
    for key in 'jak':                                      # j and k step from unit to unit only in another view
        browser.press(key)
    assert browser.value("byId('prime').value") == 'the caféjak'
    browser.value("byId('prime').value = 'the café'")
    assert write_in(browser, seed='8') != text and write_in(browser, seed='7') == text
    assert 'characters' in browser.value("byId('speed').textContent") and browser.errors == []


def test_long_prime_does_not_block_the_page(browser, written):
    """The page reads it in slices too."""
    browser.open(written, view='#writing')
    browser.value("byId('prime').value = 'the '.repeat(20000); byId('length').value = 20")
    browser.click('#write')
    assert browser.value('running && panes[0].writer.begins')
    browser.click('#stop')
    assert browser.value("!running && byId('written').textContent.length < 80000")
    browser.click('#stop')
    browser.wait('!running')
    assert browser.value("byId('written').textContent.length") == 80020 and browser.errors == []


def test_writing_stops_and_continues(browser, written):
    browser.open(written, view='#writing')
    whole = write_in(browser, prime='the ', length='40000')
    browser.click('#write')
    browser.wait("running && byId('written').textContent.length > 100")
    browser.click('#stop')
    part = browser.value("byId('written').textContent")
    assert browser.value("byId('stop').textContent") == 'Continue' and 100 < len(part) < len(whole)
    assert browser.value("new Promise(then => setTimeout(() => then(byId('written').textContent), 100))") == part
    browser.click('#stop')
    browser.wait('!running')
    assert browser.value("byId('written').textContent") == whole and browser.errors == []


def test_settings_that_are_wrong(browser, written):
    browser.open(written, view='#writing')
    for fields, words in [(dict(prime='☃ß'), ['never saw', '☃', 'ß']),
                          (dict(prime='', temperature='0'), ['Temperature', '0.01']),
                          (dict(temperature='1', top_k='0'), ['top k', '33']),
                          (dict(top_k='3', length='1.5'), ['Characters']),
                          (dict(length='9', seed='-1'), ['Seed', '0'])]:
        assert write_in(browser, **fields) == ''
        shown = browser.value("byId('wrong').textContent")
        assert [word for word in words if word not in shown] == []
    assert browser.errors == []


def test_hostile_text_runs_nothing(browser, hostile):
    names = {'\n': '\u21b5\n', '\0': r'\x00', '\x1b': r'\x1b', '\u2028': r'\u2028', '\u2029': r'\u2029',
             '\u202e': r'\u202e', '\ud800': r'\ud800'}
    seen = ''.join(names.get(ch, ch) for ch in HOSTILE)
    browser.open(hostile)
    assert browser.value("byId('text').textContent") == seen
    assert browser.value("byId('source').textContent") == 'a text of ' + seen
    browser.value("byId('text').focus()")
    for _ in HOSTILE:
        browser.press('ArrowRight')
    assert browser.value("byId('where').textContent")
    for view in ('cells', 'about', 'writing'):
        browser.click('#tab-' + view)
    assert write_in(browser, prime='</script>', length='200').startswith('</script>')
    assert browser.value(NOT_HACKED)
    assert browser.value('document.scripts.length') == 2 and browser.errors == []
    assert browser.value('document.title') == r'What <img src=x onerror=hacked=1>\u2028.npz learned'


def test_policy_lets_nothing_else_run(browser, written):
    """Such as what a mistake in a script could add to the page as HTML."""
    browser.open(written)
    browser.value("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=hacked=1>')")
    browser.value("document.body.append(Object.assign(document.createElement('script'), {textContent: 'hacked=1'}))")
    assert browser.value("new Promise(then => setTimeout(() => then(typeof hacked), 100))") == 'undefined'
    assert browser.errors


def test_bytes_are_read_and_written_as_characters(browser, tmp_path):
    text = 'aé€'
    checkpoint = write_chain(tmp_path / 'p.npz', np.frombuffer(text.encode(), 'S1'))
    browser.open(write_page_of(checkpoint, tmp_path / 'page.html', text * 3))
    assert browser.value("byId('text').textContent") == 'a·é··€' * 3
    browser.value('lookAt(2)')
    assert r'\xa9 came' in browser.value("byId('where').textContent")
    browser.click('#tab-writing')
    assert write_in(browser, prime='aé', length='9', temperature='1') == 'aé€aé€'
    assert 'never saw' not in browser.value("byId('wrong').textContent") and browser.errors == []


def luminance(rgb):
    """Return the relative luminance, as WCAG defines it."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in np.array(rgb[:3]) / 255]
    return np.dot(linear, [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('view', ['surprise', 'cells'])
def test_text_is_legible_on_every_colour(browser, written, scheme, view):
    """In contrast of at least 4.5 to 1, and lighter or darker from level to level."""
    browser.open(written, scheme=scheme, view='#' + view)
    backgrounds = []
    for level in range(16):
        browser.value(f"spans[1].className = 'v{level}'")
        behind, ink, paper = [colour_in(browser, place) for place in (
            'spans[1]).backgroundColor', 'spans[1]).color', 'document.documentElement).backgroundColor')]
        backgrounds.append(luminance(paper if behind[3:] == [0] else behind))
        lighter, darker = sorted([backgrounds[-1], luminance(ink)])[::-1]
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (level, behind, ink)
    assert (np.diff(backgrounds) * (1 if scheme == 'dark' else -1) > 0).all()


# What reaches beyond the sides of the window or of a drawing, and names of units that have two lines or are too long.
CUT = '''Array.from(document.querySelectorAll('main *')).filter(element => {
  const box = element.getBoundingClientRect(), frame = element.closest('svg') || document.documentElement;
  const around = frame.getBoundingClientRect(), name = element.matches('#units .what');
  return box.left < around.left || box.right > around.right
    || name && (box.height > 30 || element.scrollWidth > element.clientWidth);
}).map(element => element.outerHTML)'''


@pytest.mark.parametrize('width', [1280, 390])
def test_views_fit_and_follow_the_keys(browser, written, width):
    browser.open(written, width=width)
    browser.value("document.querySelectorAll('#units .what').forEach(what => what.textContent = 'C2:1023')")
    browser.value("byId('tab-surprise').focus()")
    for view in ('why', 'cells', 'words', 'writing', 'guess', 'learning', 'about', 'surprise'):
        browser.press('ArrowRight')
        assert browser.value('[view(), location.hash, document.activeElement.id]') == [view, '#' + view, 'tab-' + view]
        assert browser.value('Math.max(document.documentElement.scrollWidth, innerWidth)') == width
        assert browser.value(CUT) == []
        panels = browser.value("Array.from(document.querySelectorAll('[role=tabpanel]:not([hidden])'), p => p.id)")
        assert panels == [('reading' if view in ('surprise', 'why', 'cells') else view) + '-panel']
    assert browser.errors == []


def test_explanations_are_a_tap_away_on_a_phone(browser, written):
    for width, open_at_first in ((1280, True), (390, False)):
        browser.open(written, width=width)
        for view in ('surprise', 'why', 'cells'):
            browser.click('#tab-' + view)
            explained = f"document.querySelector('#{view}-side details p').checkVisibility()"
            assert browser.value(explained) == open_at_first
            # Not by the mouse: on its way it points at characters, whose rows change the height of what is clicked.
            browser.value(f"document.querySelector('#{view}-side summary').click()")
            assert browser.value(explained) != open_at_first
    assert browser.errors == []


def test_negative_levels_have_the_other_colour(browser, written):
    browser.open(written)
    browser.value('paint(k => [0, 0.5, -0.5][k % 3])')
    assert colour_in(browser, 'spans[3]).backgroundColor')[3:] == [0]
    np.testing.assert_allclose(shown_colour(browser, 4), colour(8), atol=1.5)
    np.testing.assert_allclose(shown_colour(browser, 5), colour(8, hue=208, saturation=0.68), atol=1.5)


def test_page_of_a_cell_of_ones_own_computes_it(browser, text_file, tmp_path):
    """With the parameters of the cell, as the page stores them."""
    path, model = page_of_own_cell(tmp_path, text_file(TEXT))
    expected = model.theano_predict([model.uchar.index(ch) for ch in TEXT[:300]])[0][:, 0]
    browser.open(path)
    found = browser.value('(network => Array.from(text, x => Array.from(network.read(x))))(new Network(parameters()))')
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-7)
    assert browser.errors == []


def test_about_shows_the_metadata_and_draws_the_costs(browser, written, short_run):
    browser.open(written, view='#about')
    text = browser.value("byId('about-panel').innerText")
    assert '5 and 7 units' in text and 'sha256' in text
    assert browser.value("document.querySelectorAll('svg polyline').length") == 2
    points = browser.value("document.querySelector('svg .validation').getAttribute('points')").split()
    heights = [-float(point.split(',')[1]) for point in points]
    np.testing.assert_allclose(np.corrcoef(heights, short_run.costs)[0, 1], 1)
    costs = short_run.costs[-1], short_run.costs[-1] / np.log(2)
    assert 'validation {:.3f} nats ({:.3f} bits)'.format(*costs) in text


def test_float16_is_read_as_numpy_reads_it(browser, written):
    browser.open(written)
    finite = np.arange(65536, dtype=np.uint16)
    finite = finite[np.isfinite(finite.view(np.float16))]
    found = browser.value(f'{finite.tolist()}.map(half)')
    np.testing.assert_array_equal(found, finite.view(np.float16).astype(float))


# ---------------------------------------------------------------- units that are held, in a browser

KEYS = dict(ArrowLeft=37, ArrowRight=39, Home=36, End=35, Space=32)


def press_in_control(browser, key):
    """Press a key to which the browser itself reacts."""
    named = dict(key=' ' if key == 'Space' else key, code=key, windowsVirtualKeyCode=KEYS[key])
    browser.call('Input.dispatchKeyEvent', type='rawKeyDown', **named)
    if key == 'Space':
        browser.call('Input.dispatchKeyEvent', type='char', text=' ', **named)
    browser.call('Input.dispatchKeyEvent', type='keyUp', **named)


def held_in(browser):
    """Return the units that are held, (layer, number) to value."""
    return {(unit['layer'], unit['number']): unit['value'] for unit in browser.value('heldUnits()')}


def test_units_are_held_by_mouse_and_by_keys(browser, written):
    browser.open(written, view='#cells')
    data = data_of(written)

    def chosen():
        return data['units'][browser.value('unit')]

    def shown():
        return browser.value("[byId('hold').checked, byId('hold-value').value]")

    def of(unit):
        return unit['layer'], unit['number']

    first = chosen()
    assert held_in(browser) == {} and not shown()[0]
    browser.click('#hold-at')                                          # in the middle
    middle, width = (first['least'] + first['most']) / 2, first['most'] - first['least']
    assert held_in(browser)[of(first)] == pytest.approx(middle, abs=0.02 * width)
    assert browser.value("document.activeElement.id") == 'hold-at'
    for key in ('Home', 'End'):
        press_in_control(browser, key)
        value = held_in(browser)[of(first)]
        assert value == pytest.approx(first['least' if key == 'Home' else 'most'])
        text = f'{value:.2f}'.replace('-', '\u2212')
        assert shown() == [True, text] and browser.value("byId('hold-at').getAttribute('aria-valuetext')") == text
    browser.press('j')                                                 # another unit, which is free
    second = chosen()
    assert not shown()[0] and of(second) != of(first) and list(held_in(browser)) == [of(first)]
    browser.value("byId('hold').focus()")
    press_in_control(browser, 'Space')
    assert shown()[0] and set(held_in(browser)) == {of(first), of(second)}
    assert second['least'] <= held_in(browser)[of(second)] <= second['most']
    browser.press('k')
    assert shown()[0]
    browser.value("byId('hold').focus()")
    press_in_control(browser, 'Space')
    assert shown() == [False, text] and list(held_in(browser)) == [of(second)]             # the slider stays
    assert browser.value("document.querySelectorAll('#units .held').length") == 1
    labels = browser.value("['hold', 'hold-at'].map(id => byId(id).labels[0]?.textContent || byId(id).ariaLabel)")
    assert labels == ['hold C at', 'the value to hold C at'] and browser.errors == []


def texts_in(browser):
    """Return the prime, what is the same, and what is coloured of both texts that the page wrote."""
    return [browser.value(f"Array.from(byId('{id}').children, span => span.textContent)")
            for id in ('written', 'written-held')]


@pytest.mark.parametrize('width', [1280, 390])
def test_free_and_held_texts(browser, written, javascript, short_run, width):
    """Both are those of network.js, and coloured from the first character on in which they differ."""
    browser.open(written, width=width, view='#cells')
    browser.click('#hold-at')
    press_in_control(browser, 'End')
    held = browser.value('heldUnits()')
    browser.value('scrollTo(0, 0)')
    assert browser.value("byId('hold').getBoundingClientRect().bottom < innerHeight")
    browser.click('#tab-writing')
    assert held[0]['description'] in browser.value("byId('holds').textContent")
    text = write_in(browser, prime='the ', length='300', seed='7', temperature='0.8', top_k='33')
    p = load(short_run.folder / 'r_t.txt_best.npz')
    expected = [''.join(p['uchar'][k] for k in javascript(
        'times(304, (writer => () => writer.next())(new Writer(arrays(p), prime, choice, held)))', held=units,
        p={name: p[name].astype('float16').astype(float).ravel().tolist() for name in NAMES},
        prime=[p['uchar'].tolist().index(ch) for ch in 'the '], choice=dict(temperature=0.8, topK=33, seed=7)))
        for units in ([], held)]
    same = len(os.path.commonprefix(expected))
    assert text == expected[0] and expected[0] != expected[1]
    assert texts_in(browser) == [['the ', text[4:same], text[same:]] for text in expected]
    assert f'part after {same - 4}.' in browser.value("byId('speed').textContent")
    colours = [colour_in(browser, f"document.querySelector('#{id} .changed')).backgroundColor")
               for id in ('written', 'written-held')]
    np.testing.assert_allclose(colours, [colour(2), colour(2, hue=208, saturation=0.68)], atol=1.5)
    assert held[0]['description'] in browser.value("byId('held-title').textContent")
    assert browser.value("byId(byId('written-held').getAttribute('aria-labelledby')).checkVisibility()")
    sides = browser.value("['written', 'written-held'].map(id => byId(id).getBoundingClientRect().top)")
    assert (sides[0] == sides[1]) == (width == 1280)
    assert browser.value('document.documentElement.scrollWidth <= innerWidth')
    browser.value('chooseUnit(3)')
    browser.click('#hold-none')
    assert browser.value("document.activeElement.id") == 'write' and held_in(browser) == {}
    assert browser.value("unit === 3 && !document.querySelector('#units .held') && !byId('hold').checked")
    assert write_in(browser) == expected[0]
    assert browser.value("byId('held-pane').hidden && byId('free-title').hidden && byId('hold-none').hidden")
    assert 'part' not in browser.value("byId('speed').textContent") and browser.errors == []


def test_stop_and_continue_both_texts(browser, written):
    browser.open(written, view='#cells')
    browser.click('#hold')
    browser.click('#tab-writing')
    write_in(browser, prime='the ', length='6000')
    whole = texts_in(browser)
    browser.click('#write')
    browser.value("""new Promise(stopped => {      // a click from here may come after the last character
      const begins = () => !running || byId('written').textContent.length <= 100, end = performance.now() + 60000;
      const look = () =>
        (begins() && performance.now() < end ? setTimeout(look) : stopped(byId('stop').click()));
      look();
    })""")
    browser.wait('!running')
    lengths = [len(''.join(spans)) for spans in texts_in(browser)]
    assert 100 < lengths[0] == lengths[1] < 6004
    browser.click('#stop')
    browser.wait('!running')
    assert texts_in(browser) == whole and browser.errors == []
