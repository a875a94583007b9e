"""The page of --page: its network and the class compared in a JavaScript engine, its data, and the page in Chromium."""
import os
import re
import shutil

import numpy as np
import pytest

import numpy_model
from charlstm import CharLSTM
from engine.run import logs
from engine.page import page
from engine.page.page import best_units, fill_template, logged_costs, to_float16
from engine.kernel.drawing import choose, continue_texts, likely
from engine.training import zero_states
from engine.backend.theano_setup import theano
from models import default_mode
from numpy_model import NAMES, V
from pages import (HOSTILE, NOT_HACKED, array_of, assert_colours, colour, data_of, expected_of, looked_at,
                   place, shown, write_page_of)
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


@pytest.mark.parametrize('temperature, top_k, apart', [(1, 11, 0), (0.5, 7, 0), (3, 2, 0), (100, 7, 200)])
def test_writing_is_pythons_on_the_same_random_numbers(javascript, model, temperature, top_k, apart):
    """apart: how far the scores of even and odd characters are apart: far, where one of them is 0 in float32."""
    model.p['c'].set_value(model.p['c'].get_value() - apart * (np.arange(V) % 2).astype('float32'))
    choice = dict(temperature=temperature, topK=top_k, seed=5)
    written = javascript('written(200, p, prime, choice)', p=parameters(model), prime=[3, 1, 4], choice=choice)
    bits = np.array([int(number * 2 ** 53) for number in javascript('randoms(200, 5)')])[:, None]
    text, *_ = continue_texts(model.compiled('predict'), np.array([[3], [1], [4]], np.int32), bits, 200,
                              np.array([temperature, top_k, 1], 'float32'), *zero_states(model, 1))
    assert written == text[:, 0].tolist() and len({number % 2 for number in written[3:]}) == 2


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
    """Return the path of a page of two models whose text, names and vocabularies are an attack."""
    folder = tmp_path_factory.mktemp('hostile')
    names = [str(folder / f'{name}<img src=x onerror=hacked=1>\u2028.npz') for name in 'ab']
    for name, extra in zip(names, ('', '<>é')):
        write_chain(name, np.array(sorted(set(HOSTILE + extra))))
    other = CharLSTM()
    other.model_setup(names[1])
    return write_page_of(names[0], folder / 'page.html', HOSTILE, 'a text of ' + HOSTILE, against=(other, names[1]))


def test_hostile_text_is_data(hostile):
    html = hostile.read_bytes()
    assert html.isascii()
    assert html.count(b'<script') == html.count(b'</script') == 2 and b'<img' not in html and b'hacked=1>' not in html
    data = data_of(hostile)
    assert ''.join(data['uchar'][k] for k in array_of(data['text'])) == HOSTILE
    assert data['source'] == 'a text of ' + HOSTILE and data['name'] == 'a<img src=x onerror=hacked=1>\u2028.npz'


def test_nothing_is_fetched_and_no_other_script_may_run():
    template = (page.HERE / 'page.html').read_text(encoding='utf-8')
    for policy in ("default-src 'none'", "base-uri 'none'", "form-action 'none'"):
        assert policy in template
    assert not re.search(r'\b(src|href|url)\s*[=(]', template)
    scripts = [path.read_text(encoding='utf-8') for path in page.HERE.glob('*.js')]
    script = ''.join(scripts)
    for forbidden in ('innerHTML', 'outerHTML', 'insertAdjacent', 'document.write', 'eval(', 'fetch(', '</script'):
        assert forbidden not in script
    html = fill_template('function cell() {}', {}).decode()
    assert [html.count(script) for script in scripts] == [1] * len(scripts)
    for script in scripts:
        html = html.replace(script, '')
    assert '{{' not in html


def test_scripts_share_few_names():
    """They become one script, in which a second function of a name would silently replace the first.

    What only one file uses is inside of its class, function or object, so that few names have to be known elsewhere.
    """
    declared = [match.groups() for path in page.HERE.glob('*.js') for match in re.finditer(
        r'^(const|let|var|class|function)\*? (\w+)', path.read_text(encoding='utf-8'), re.MULTILINE)]
    kinds, names = zip(*declared)
    assert {'math', 'Network', 'whyView'} <= set(names) and len(names) == len(set(names)) < 60
    assert set(kinds) == {'const', 'class', 'function'}                # what changes is inside of them


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


def test_states_are_those_of_the_parameters_in_the_page(monkeypatch, short_run):
    monkeypatch.setattr(page, 'EVERY', 100)
    p, model = load(short_run.folder / 'r_t.txt_best.npz'), CharLSTM()
    model.model_setup(str(short_run.folder / 'r_t.txt_best.npz'))
    with default_mode(theano.compile.mode.FAST_COMPILE):
        found = page.snapshots(model, TEXT[:350])
    codes = np.array([list(p['uchar']).index(ch) for ch in TEXT[:300]])
    rounded = {name: p[name].astype('float16').astype(float) for name in NAMES}
    assert found['sizes'] == [5, 5, 7, 7] and found['every'] == 100
    for k, states in enumerate(array_of(found['states']).reshape(3, 24)):
        expected = numpy_model.forward(rounded, codes[:100 * k + 100, None])[1]
        np.testing.assert_allclose(states, np.concatenate(expected)[:, 0], atol=1e-5)
    np.testing.assert_array_equal(model.p['U1'].get_value(), p['U1'])              # which are rounded only meanwhile
    monkeypatch.setattr(model, 'precision', 'bfloat16')
    assert len(array_of(page.snapshots(model, TEXT[:350])['states'])) == 0


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


def test_log_without_costs(tmp_path, monkeypatch, capfd):
    (tmp_path / 'x_epochs.out').write_text('# epoch\n1 2 nonsense\n')
    assert logged_costs(str(tmp_path / 'x_best.npz')) == []
    assert 'x_epochs.out is no log' in capfd.readouterr().err
    (tmp_path / 'x_epochs.out').write_text('# epoch\n')
    assert logged_costs(str(tmp_path / 'x_best.npz')) == []
    (tmp_path / 'x_epochs.out').write_text('1 2.5 nan 0.1 9\n')
    assert logged_costs(str(tmp_path / 'x_best.npz')) == [[1, 2.5, None]]
    monkeypatch.setattr(logs, 'rows', lambda path: open(tmp_path / 'gone'))            # as if it could not be read
    assert logged_costs(str(tmp_path / 'x_best.npz')) == [] and 'x_epochs.out' in capfd.readouterr().err


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
    left_out = " Left out of the file, since a model never saw them: '☃' (1)."
    assert text == TEXT and data['source'] == f'{len(TEXT):,} of {len(TEXT) + 1:,} characters of x.txt.' + left_out
    said = succeeded(produce('--info'))
    for path in re.findall(r'(?m)(?<=^)/[^:]+|(?<=path )/[^,]+|(?<=input )/[^,]+', said):
        said = said.replace(path, os.path.basename(path))
    assert '\n'.join(data['info']) + '\n' == said and 'path t.txt' in said
    assert str(short_run.folder).encode() not in (tmp_path / 'p.html').read_bytes()
    data, text = page_of(900)
    assert text == TEXT[:900]
    assert data['source'] == f'The first 900 of {len(TEXT) + 1:,} characters of x.txt.' + left_out
    assert page.beginning_of(TEXT[:90], 'x.txt') == (TEXT[:90], 'All 90 characters of x.txt.')
    assert produce('--page', tmp_path / 'p.html', '--score', 't.txt', '--overwrite').returncode == 0
    assert 'characters of t.txt. The model learned from this file' in data_of(tmp_path / 'p.html')['source']


def test_page_of_a_text_that_the_model_writes(produce, tmp_path):
    def text(name, *options):
        assert produce('--page', tmp_path / name, '--prime', 'the ', '--random-seed', 3, *options).returncode == 0
        data = data_of(tmp_path / name)
        assert data['source'] == 'A text that the model wrote after a beginning of 4 characters.' and not data['own']
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
    """With no output but a line on where it is."""
    result = run(PRODUCE, short_run.checkpoint, '--page', 'p.html', '--length', 60, flags=FAST, cwd=folder)
    assert (result.returncode, result.stdout) == (0, '') and result.stderr.startswith('wrote p.html, ')
    assert result.stderr.count('\n') == 1


def test_large_page_says_how_to_make_it_smaller(produce, monkeypatch, tmp_path):
    monkeypatch.setattr(page, 'LARGE', 9_000)
    _, hint = produce('--page', tmp_path / 'p.html', '--length', 9).stderr.splitlines()
    assert 'a shorter text' in hint and 'fewer units' in hint


# ---------------------------------------------------------------- in a browser

def expected_in_page(short_run):
    """Return the vocabulary, and what an independent model computes for the text of `written`, as expected_of."""
    p = load(short_run.folder / 'r_t.txt_best.npz')
    return p['uchar'].tolist(), *expected_of(p)


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_colours_are_those_of_the_costs(browser, written, short_run, scheme):
    *_, costs = expected_in_page(short_run)
    browser.open(written, scheme=scheme)
    assert_colours(browser, '#text span', [0, *costs / 6 * 16], scheme == 'dark')
    nats, bits = re.fullmatch(r'Mean: (.*) nats \((.*) bits\) a character\.', browser.text('#mean')).groups()
    np.testing.assert_allclose([float(nats), float(bits)], costs.mean() / [1, np.log(2)], atol=6e-4)


def test_pointing_and_keys_show_what_was_expected(browser, written, short_run):
    uchar, _, probabilities, costs = expected_in_page(short_run)

    def check(k):
        assert looked_at(browser) == k
        best = [shown(uchar[j]) for j in np.argsort(-probabilities[k - 1])[:5]]
        assert browser.all('#where .what')[:5] == best
        text = browser.text('#where')
        assert shown(TEXT[k]) + ' came' in text
        assert text.startswith('…' + TEXT[max(0, k - 24):k].replace('\n', '↵') + '?')
        nats, bits = re.search(r'for (.*) nats \((.*) bits\)$', text).groups()
        np.testing.assert_allclose([float(nats), float(bits)], costs[k - 1] / [1, np.log(2)], atol=0.016)

    browser.open(written)
    browser.point(place(44))
    check(44)
    browser.click(place(30))
    check(30)
    for key, k in (('ArrowRight', 31), ('ArrowLeft', 30), ('Home', 0), ('ArrowRight', 1), ('End', 699)):
        browser.press(key)
        if k:
            check(k)
    browser.press('ArrowUp')
    browser.press('ArrowDown')
    assert looked_at(browser) > 600


def test_lines_are_blocks(browser, short_run, tmp_path):
    """A long line is several, and none of its characters is lost."""
    text = TEXT[:30] + '\n\n' + 'hill dog ' * 300 + '\n' + TEXT[30:60]
    browser.open(write_page_of(short_run.folder / 'r_t.txt_best.npz', tmp_path / 'page.html', text))
    lines = [line.replace('\u21b5', '') for line in browser.all('#text > *')]
    assert ''.join(lines) == text and max(map(len, lines)) < 1010
    assert len(lines) == len(text.splitlines()) + 2 and browser.fits()


def chosen_unit(browser):
    return int(browser.all('#units [aria-selected=true]', 'element.id')[0][len('unit-'):])


def test_line_has_its_own_direction(browser, tmp_path):
    """In the text, and in Your words, over which the box for typing lies."""
    text = 'שלום עולם\nabc\n'
    checkpoint = write_chain(tmp_path / 'p.npz', np.array(sorted(set(text))))
    browser.open(write_page_of(checkpoint, tmp_path / 'page.html', text))
    for view, spans in (('surprise', '#text span'), ('words', '#typed span')):
        browser.click('#tab-' + view)
        browser.set('#words-box', text)
        left = browser.all(spans, 'element.getBoundingClientRect().left')
        box, = browser.all(spans.split()[0], '(box => [box.left, box.right])(element.getBoundingClientRect())')
        assert sum(box) / 2 < left[3] < left[0] < box[1] and box[0] <= left[10] < left[11] < left[12] < sum(box) / 2


def test_click_on_a_unit_recolours(browser, written):
    browser.open(written, view='#cells')
    data = data_of(written)
    states = array_of(data['states']).reshape(-1, 700).astype(float)
    correlations = data['correlations'][browser.value("byId('feature').value")]

    def check():
        u = chosen_unit(browser)
        low, high = np.sort(states[u])[[14, 685]][::-1 if correlations[u] < 0 else 1]
        levels = np.clip((states[u] - low) / (high - low) * 16, 0, 15.5)
        assert_colours(browser, '#text span', -levels)      # the colours of the cells are those of levels below 0
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
    browser.focus('#units')
    browser.press('Home')
    assert check() == first and len({first, second, third}) == 3
    order = browser.all('#units > *', 'Number(element.id.slice(5))')
    assert sorted(order) == list(range(12)) and (np.diff(np.abs(correlations)[order]) <= 0).all()


WRITTEN = "byId('stop').textContent === 'Continue'"        # whether the page has stopped writing


def write_in(browser, **fields):
    """Return the text that the page writes with these values in its fields."""
    for name, value in fields.items():
        browser.set('#' + name.replace('_', '-'), value)
    browser.click('#write')
    browser.wait(f"{WRITTEN} && byId('written').textContent || !byId('wrong').hidden")
    return browser.text('#written')


def text_of_writer(javascript, short_run, prime, n, held=(), **choice):
    """Return the text that network.js writes with the parameters of the page."""
    p = load(short_run.folder / 'r_t.txt_best.npz')
    numbers = javascript(
        'times(prime.length + n, (writer => () => writer.next())(new Writer(arrays(p), prime, choice, held)))',
        p={name: p[name].astype('float16').astype(float).ravel().tolist() for name in NAMES}, n=n, choice=choice,
        prime=[p['uchar'].tolist().index(ch) for ch in prime], held=held)
    return ''.join(p['uchar'][k] for k in numbers)


def test_writing_writes(browser, written, javascript, short_run):
    browser.open(written, view='#writing')
    text = write_in(browser, prime='the café', length='300', seed='7', temperature='0.8', top_k='9')
    assert text == text_of_writer(javascript, short_run, 'the café', 300, temperature=0.8, topK=9, seed=7)
    browser.focus('#prime')
    for key in 'jak':                                      # j and k step from unit to unit only in another view
        browser.press(key)
    assert browser.value("byId('prime').value") == 'the caféjak'
    assert write_in(browser, prime='the café', seed='8') != text and write_in(browser, seed='7') == text
    assert 'characters' in browser.text('#speed')


def test_long_prime_does_not_block_the_page(browser, written):
    """The page reads it in slices too."""
    browser.open(written, view='#writing')
    browser.set('#prime', 'the ' * 20000)
    browser.set('#length', '20')
    browser.click('#write')
    assert browser.text('#stop') == 'Stop' and 0 < len(browser.text('#written .prime')) < 80000
    browser.click('#stop')
    assert browser.value(WRITTEN) and len(browser.text('#written')) < 80000
    browser.click('#stop')
    browser.wait(WRITTEN)
    assert len(browser.text('#written')) == 80020


def test_settings_that_are_wrong(browser, written):
    browser.open(written, view='#writing')
    for fields, words in [(dict(prime='☃ß'), ['never saw', '☃', 'ß']),
                          (dict(prime='', temperature='0'), ['Temperature', '0.01']),
                          (dict(temperature='1', top_k='0'), ['k most probable', '33']),
                          (dict(top_k='3', length='1.5'), ['Characters']),
                          (dict(length='9', seed='-1'), ['Seed', '0'])]:
        for name, value in fields.items():
            browser.set('#' + name.replace('_', '-'), value)
        browser.wait(WRITTEN)
        before = browser.text('#written')
        assert browser.is_visible('#wrong') == ('☃' in fields.get('prime', ''))      # a number may be half typed
        assert write_in(browser) == before
        assert [word for word in words if word not in browser.text('#wrong')] == []


def test_fields_say_what_they_take(browser, written):
    browser.open(written, view='#writing')
    limits = [browser.value(f"byId('{name}').nextSibling.textContent") for name in (
        'temperature', 'top-k', 'length', 'seed', 'guess-seed')]
    assert limits == ['0.01 to 100', '1 to 33', '1 to 1,000,000', '0 to 4,294,967,295', '0 to 4,294,967,295']
    for name, most in (('temperature', '100'), ('top-k', '33'), ('seed', str(2 ** 32 - 1))):
        assert write_in(browser, **{name: most, 'length': '3'}) and not browser.is_visible('#wrong')
        write_in(browser, **{name: most + '1'})
        assert browser.is_visible('#wrong')
        browser.set('#' + name, '1')
    assert write_in(browser, temperature='0,5', length='20') == write_in(browser, temperature='0.5')
    assert not browser.is_visible('#wrong')
    write_in(browser, length='2,0')
    assert browser.is_visible('#wrong')


def test_hostile_text_runs_nothing(browser, hostile):
    """In no view."""
    names = {'\n': '\u21b5\n', '\0': r'\x00', '\x1b': r'\x1b', '\u2028': r'\u2028', '\u2029': r'\u2029',
             '\u202e': r'\u202e', '\ud800': r'\ud800'}
    seen = ''.join(names.get(ch, ch) for ch in HOSTILE)
    browser.open(hostile)
    assert browser.text('#text') == seen and browser.text('#source') == 'a text of ' + seen
    for view, panel in (('surprise', 'where'), ('against', 'both'), ('cells', 'value')):
        browser.click('#tab-' + view)
        browser.focus('#text')
        browser.press('Home')
        for _ in HOSTILE:
            browser.press('ArrowRight')
        assert browser.text('#' + panel)
    assert r'b<img src=x onerror=hacked=1>\u2028.npz' in browser.text('#models')
    browser.click('#tab-why')
    browser.wait("document.querySelector('#why-effects .bars') !== null")
    assert re.match(r'….*\?\} gets .* %\. What mattered most, in nats:(\d+ before: .*[+−]\d\.\d\d){5}$',
                    browser.text('#why-effects'))
    browser.click('#tab-words')
    browser.set('#words-box', HOSTILE.replace('\ud800', ''))   # which DevTools cannot send
    assert browser.text('#typed') == HOSTILE.replace('\ud800', '') + ' '
    browser.click('#tab-guess')
    browser.click('#guess-begin')
    for _ in range(10):
        for key in ('<', '>', '/', '{', '}', 'Enter'):
            browser.press(key)
    assert len(browser.all('#guess-answers > *')) == 10
    browser.click('#tab-about')
    browser.click('#tab-writing')
    assert write_in(browser, prime='</script>', length='200').startswith('</script>')
    assert browser.value(NOT_HACKED) and browser.value('document.scripts.length') == 2
    assert browser.value('document.title') == r'What a<img src=x onerror=hacked=1>\u2028.npz learned'


@pytest.mark.parametrize('attack', [
    "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=hacked=1>')", "void setTimeout('hacked = 1')",
    "document.body.append(Object.assign(document.createElement('script'), {textContent: 'hacked=1'}))"])
def test_policy_lets_nothing_else_run(browser, written, attack):
    """Such as what a mistake in a script could add to the page as HTML."""
    browser.open(written)
    browser.value(attack)
    assert browser.later('typeof hacked', 100) == 'undefined' and browser.errors
    browser.errors.clear()
    del browser.requests[1:]                               # which the policy refused


def test_bytes_are_read_and_written_as_characters(browser, tmp_path):
    text = 'aé€'
    checkpoint = write_chain(tmp_path / 'p.npz', np.frombuffer(text.encode(), 'S1'))
    browser.open(write_page_of(checkpoint, tmp_path / 'page.html', text * 3))
    assert browser.text('#text') == 'a·é··€' * 3
    browser.click(place(2))
    assert r'\xa9 came' in browser.text('#where')
    browser.click('#tab-writing')
    assert write_in(browser, prime='aé', length='9', temperature='1') == 'aé€aé€'
    assert 'never saw' not in browser.text('#wrong')
    assert browser.text('#speed').startswith('9 bytes,')
    assert browser.value("byId('length').labels[0].innerText").startswith('Bytes')


def test_costs_of_a_model_of_bytes_are_called_so(browser, tmp_path):
    """Each mean is over bytes, and so is each number of them."""
    checkpoint = write_chain(tmp_path / 'p.npz', np.frombuffer('aé€'.encode(), 'S1'))
    model = CharLSTM()
    model.model_setup(checkpoint)
    path = write_page_of(checkpoint, tmp_path / 'page.html', 'aé€' * 3, against=(model, checkpoint))
    browser.open(path, view='#words')
    browser.set('#words-box', 'aé')
    browser.wait("byId('words-status').textContent.startsWith('Mean')")
    said = browser.all('#mean, #models p, #words-status')
    assert len(said) == 4 and all(re.search(r'bits\) a byte\.?$', line) for line in said)
    text, source = page.beginning_of('aé€'.encode().decode('ascii', 'surrogateescape'), 'x.txt', entry='byte')
    assert source == 'All 6 bytes of x.txt.' and len(text) == 6


def test_print_has_the_colours_and_no_buttons(browser, written):
    browser.open(written)
    browser.call('Emulation.setEmulatedMedia', media='print')
    assert not browser.is_visible('nav') and not any(browser.all('.button', 'element.checkVisibility()'))
    assert set(browser.all('#text span', 'getComputedStyle(element).printColorAdjust')) == {'exact'}
    browser.call('Emulation.setEmulatedMedia', media='')
    assert browser.is_visible('nav')


def luminance(rgb):
    """Return the relative luminance, as WCAG defines it."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in np.array(rgb[:3]) / 255]
    return np.dot(linear, [0.2126, 0.7152, 0.0722])


def contrast(*luminances):
    lighter, darker = max(luminances), min(luminances)
    return (lighter + 0.05) / (darker + 0.05)


MARK_COLOUR = 'getComputedStyle(element).color.replace("srgb", "")'            # color(srgb red green blue / opacity)


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_borders_of_controls_are_seen(browser, written, scheme):
    """In a contrast of at least 3 to 1 to the control and to the page."""
    browser.open(written, scheme=scheme, view='#cells')
    paper = browser.colours('html')[0]
    for control in ('select', 'textarea', 'input', '.button', '[role=listbox]', '.scale'):
        for edge in browser.colours(control, 'borderTopColor'):
            assert contrast(luminance(edge), luminance(paper)) >= 3, control
    inside, edge = [luminance(browser.colours('#units', of)[0]) for of in ('backgroundColor', 'borderTopColor')]
    assert contrast(inside, edge) >= 3


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('view', ['surprise', 'cells'])
def test_text_is_legible_on_every_colour(browser, written, scheme, view):
    """In contrast of at least 4.5 to 1, and lighter or darker from level to level."""
    browser.open(written, scheme=scheme, view='#' + view)
    backgrounds = []
    for level in range(16):
        browser.value(f"void (byId('character-1').className = 'v{level}')")
        behind, = browser.colours(place(1))
        ink, = browser.colours(place(1), 'color')
        backgrounds.append(luminance(browser.colours('html')[0] if behind[3:] == [0] else behind))
        assert contrast(backgrounds[-1], luminance(ink)) >= 4.5, (level, behind, ink)
        browser.value(f"void (byId('character-1').className = 'faint v{level}')")
        *rgb, opacity = [float(x) for x in re.findall(r'[\d.]+', browser.all(place(1), MARK_COLOUR)[0])]
        under = browser.colours('html')[0] if behind[3:] == [0] else behind
        mark = opacity * np.array(rgb) * 255 + (1 - opacity) * np.array(under[:3])
        assert contrast(backgrounds[-1], luminance(mark)) >= 3, (level, behind, mark)
    assert (np.diff(backgrounds) * (1 if scheme == 'dark' else -1) > 0).all()


# An element that reaches beyond the sides of the window or of a drawing, or a name of a unit that has two lines or is
# too long; otherwise ''. A space at the end of a line of a text may hang over.
CUT = """(() => {
  const box = element.getBoundingClientRect(), frame = element.closest('svg') || document.documentElement;
  const around = frame.getBoundingClientRect(), name = element.matches('#units .what');
  const cut = element.matches('title, #inside-strip *, .written *');     // has no box, or is in a line that is cut
  return !cut && (box.left < around.left || box.right > around.right)
    || name && (box.height > 30 || element.scrollWidth > element.clientWidth);
})() ? element.outerHTML : ''"""


@pytest.mark.parametrize('width', [1280, 390])
def test_views_fit_and_follow_the_keys(browser, written, width):
    browser.open(written, width=width)
    browser.all('#units .what', "element.textContent = 'C2:1023'")
    browser.focus('#tab-surprise')
    for view in ('why', 'cells', 'inside', 'words', 'writing', 'guess', 'learn', 'learning', 'about', 'surprise'):
        browser.press('ArrowRight')
        assert browser.value('document.body.dataset.view') == view
        browser.wait(f"location.hash === '#{view}'")
        assert browser.focused() == 'tab-' + view and browser.fits() and set(browser.all('main *', CUT)) == {''}
        panels = browser.all('[role=tabpanel]:not([hidden])', 'element.id')
        assert panels == [('reading' if view in ('surprise', 'why', 'cells') else view) + '-panel']


def test_explanations_are_a_tap_away_on_a_phone(browser, written):
    for width, open_at_first in ((1280, True), (390, False)):
        browser.open(written, width=width)
        for view in ('surprise', 'why', 'cells'):
            browser.click('#tab-' + view)
            explained = f'#{view}-side details p'
            assert browser.is_visible(explained) == open_at_first
            # Not by the mouse: on its way it points at characters, whose rows change the height of what is clicked.
            browser.value(f"document.querySelector('#{view}-side summary').click()")
            assert browser.is_visible(explained) != open_at_first


def test_forced_colours_keep_the_map(browser, written):
    browser.open(written)
    before = browser.colours('#text span'), browser.colours('.scale span')
    browser.force_colours()
    assert browser.value("matchMedia('(forced-colors: active)').matches")
    assert (browser.colours('#text span'), browser.colours('.scale span')) == before
    browser.click('#tab-words')
    assert browser.colours('#words-box', 'color') == [[0, 0, 0, 0]]          # or its letters would lie on the others


# How many pixels of the text are seen, below the tabs and above what is shown beside it.
SEEN = """(box => {
  const lowest = Math.min(innerHeight, document.querySelector('aside').getBoundingClientRect().top);
  const tabs = document.querySelector('nav').getBoundingClientRect();
  return lowest - Math.max(0, tabs.bottom, box.top);
})(byId('text').getBoundingClientRect())"""


@pytest.mark.parametrize('width, height', [(320, 568), (320, 256), (390, 844)])
def test_text_is_seen_in_a_small_window(browser, written, width, height):
    browser.open(written, width=width, height=height)
    browser.value('scrollTo(0, 400)')
    assert browser.value(SEEN) >= 0.4 * height and browser.fits()


def test_letters_of_twice_the_size(browser, written):
    """The tabs cover neither the heading nor what sticks below them."""
    browser.open(written, width=1280)
    browser.call('Page.setFontSizes', fontSizes=dict(standard=32, fixed=26))
    try:
        browser.value('scrollTo(0, 300)')
        browser.click('#tab-learning')
        browser.value('scrollTo(0, 900)')
        below_tabs = browser.all('nav', 'element.getBoundingClientRect().bottom')[0]
        assert browser.all('.epochs', 'element.getBoundingClientRect().top')[0] >= below_tabs - 1 and browser.fits()
    finally:
        browser.call('Page.setFontSizes', fontSizes=dict(standard=16, fixed=13))


@pytest.mark.parametrize('least, most', [(1.03, 1.83), (0, 0.9), (2.9, 3.1), (1, 40), (0, 100), (1.1, 1.4), (7, 7)])
def test_axes_have_five_ticks_or_more(browser, written, least, most):
    browser.open(written)
    found = browser.value(f'curve.ticks({least}, {most})')
    assert all(least <= tick <= most for tick in found)
    if least < most:
        assert 5 <= len(found) <= 13 and np.allclose(np.diff(found, 2), 0)


def test_about_shows_the_metadata_and_draws_the_costs(browser, written, short_run):
    browser.open(written, view='#about')
    text = browser.value("byId('about-panel').innerText")
    assert '5 and 7 units' in text and 'sha256' in text
    assert len(browser.all('#curve polyline')) == 2
    points = browser.all('#curve .validation', "element.getAttribute('points')")[0].split()
    heights = [-float(point.split(',')[1]) for point in points]
    np.testing.assert_allclose(np.corrcoef(heights, short_run.costs)[0, 1], 1)
    costs = short_run.costs[-1], short_run.costs[-1] / np.log(2)
    assert 'validation {:.3f} nats ({:.3f} bits)'.format(*costs) in text


def test_float16_is_read_as_numpy_reads_it(browser, written):
    browser.open(written)
    numbers = np.arange(65536, dtype=np.uint16).view(np.float16)
    numbers = numbers[np.isfinite(numbers)]
    found = browser.value(f'Array.from(array({page.array_for_json(numbers)}))')
    np.testing.assert_array_equal(found, numbers.astype(float))


# ---------------------------------------------------------------- units that are held, in a browser

def test_units_are_held_by_mouse_and_by_keys(browser, written):
    browser.open(written, view='#cells')
    units = data_of(written)['units']

    def held():
        return {int(name[len('unit-'):]) for name in browser.all('#units .held', 'element.id')}

    def slider():
        """Return whether the chosen unit is held, and the value of the slider as a number and as it is shown."""
        byte, unit = int(browser.value("byId('hold-at').value")), units[chosen_unit(browser)]
        value = unit['least'] + (unit['most'] - unit['least']) * byte / 255
        shown_value = browser.value("byId('hold-value').value")
        assert shown_value == browser.value("byId('hold-at').getAttribute('aria-valuetext')")
        assert shown_value == f'{value:.2f}'.replace('-', '\u2212')
        return browser.value("byId('hold').checked"), byte

    first = chosen_unit(browser)
    assert held() == set() and not slider()[0]
    browser.click('#hold-at')                              # in the middle
    assert slider()[0] and 122 < slider()[1] < 133 and browser.focused() == 'hold-at' and held() == {first}
    for key, byte in (('Home', 0), ('End', 255)):
        browser.press(key)
        assert slider() == (True, byte)
    browser.press('j')                                     # a key of the list and of the text, not of the slider
    assert chosen_unit(browser) == first
    browser.focus('#units')
    browser.press('j')                                     # another unit, which is free
    second = chosen_unit(browser)
    assert not slider()[0] and second != first and held() == {first}
    browser.focus('#hold')
    browser.press(' ')
    assert slider()[0] and held() == {first, second}
    browser.focus('#units')
    browser.press('k')
    assert slider() == (True, 255)
    browser.focus('#hold')
    browser.press(' ')
    assert slider() == (False, 255) and held() == {second}                     # the slider stays
    labels = browser.all('#hold, #hold-at', 'element.labels[0]?.textContent || element.ariaLabel')
    assert labels == ['hold C at', 'the value to hold C at, from the least to the most in this text']


def test_sliders_of_a_unit_run_alike(browser, written):
    """In Cells and in Writing: to the right is where Cells colours more deeply."""
    feature, correlations = next(iter(data_of(written)['correlations'].items()))
    names = ['C{layer}:{number}'.format(**unit) for unit in data_of(written)['units']]
    for u in (int(np.argmax(correlations)), int(np.argmin(correlations))):
        browser.open(written, view=f'#cells&feature={feature}&unit={names[u]}'.replace(' ', '%20'))
        found = []
        for tab, slider in (('cells', '#hold-at'), ('writing', '#held-sliders input')):
            browser.click(f'#tab-{tab}')
            browser.set(slider, 100)
            browser.focus(slider)
            browser.press('ArrowRight')
            found += browser.all(slider, 'element.valueAsNumber')
        assert found == [100 + np.sign(correlations[u])] * 2
    assert min(correlations) < 0 < max(correlations)


PANES = '#written', '#written-held'


def texts_in(browser):
    """Return the prime, what is the same, and what is coloured of both texts that the page wrote."""
    return [browser.all(pane + ' > *') for pane in PANES]


@pytest.mark.parametrize('width', [1280, 390])
def test_free_and_held_texts(browser, written, javascript, short_run, width):
    """Both are those of network.js, and coloured from the first character on in which they differ."""
    browser.open(written, width=width, view='#cells')
    browser.click('#hold-at')
    browser.press('End')
    unit = data_of(written)['units'][chosen_unit(browser)]
    held = dict(layer=unit['layer'], number=unit['number'], value=unit['most'])
    description = 'C{layer}:{number} at {value:.2f}'.format(**held).replace('-', '\u2212')
    browser.value('scrollTo(0, 0)')
    assert browser.value("byId('hold').getBoundingClientRect().bottom < innerHeight")
    browser.click('#tab-writing')
    assert description in browser.text('#held-sliders')
    text = write_in(browser, prime='the ', length='300', seed='7', temperature='0.8', top_k='33')
    expected = [text_of_writer(javascript, short_run, 'the ', 300, units, temperature=0.8, topK=33, seed=7)
                for units in ([], [held])]
    same = len(os.path.commonprefix(expected))
    assert text == expected[0] and expected[0] != expected[1]
    assert texts_in(browser) == [['the ', text[4:same], text[same:]] for text in expected]
    assert f'same {same - 4};' in browser.text('#speed')
    colours = [browser.colours(pane + ' .changed')[0] for pane in PANES]
    np.testing.assert_allclose(colours, [colour(2), colour(-2)], atol=1.5)
    assert description in browser.text('#held-title') and browser.is_visible('#held-title')
    assert browser.value("byId('written-held').getAttribute('aria-labelledby')") == 'held-title'
    tops = browser.all(', '.join(PANES), 'element.getBoundingClientRect().top')
    assert (tops[0] == tops[1]) == (width == 1280) and browser.fits()
    browser.value("byId('unit-3').click()")
    browser.click('#hold-none')
    assert browser.focused() == 'write' and browser.all('#units .held') == [] and chosen_unit(browser) == 3
    assert not browser.value("byId('hold').checked") and write_in(browser) == expected[0]
    assert browser.value("byId('held-pane').hidden && byId('free-title').hidden && byId('hold-none').hidden")
    assert 'part' not in browser.text('#speed')


@pytest.mark.parametrize('held', [False, True])
def test_writing_stops_and_continues(browser, written, held):
    browser.open(written, view='#cells')
    if held:
        browser.click('#hold')
    browser.click('#tab-writing')
    write_in(browser, prime='the ', length='20000')
    whole = texts_in(browser)
    browser.click('#write')
    browser.value("""new Promise(stopped => {      // a click from here may come after the last character
      const begins = () => byId('written').textContent.length <= 100, end = performance.now() + 60000;
      const look = () => begins() && performance.now() < end ? setTimeout(look) : stopped(byId('stop').click());
      look();
    })""")
    part = texts_in(browser)
    lengths = [len(''.join(spans)) for spans in part]
    assert browser.value(WRITTEN) and 100 < lengths[0] < 20004 and lengths[1] == (lengths[0] if held else 0)
    assert browser.later('1', 100) and texts_in(browser) == part
    browser.click('#stop')
    browser.wait(WRITTEN)
    assert texts_in(browser) == whole


@pytest.mark.parametrize('held', [False, True])
def test_dragging_writes_again_from_the_same_random_numbers(browser, written, javascript, short_run, held):
    browser.open(written, view='#cells')
    unit = data_of(written)['units'][chosen_unit(browser)]
    if held:
        browser.click('#hold')
    browser.click('#tab-writing')
    browser.wait(WRITTEN)
    units = []
    if held:
        browser.set('#held-sliders input', '51')
        units = [dict(layer=unit['layer'], number=unit['number'],
                      value=unit['least'] + (unit['most'] - unit['least']) * 51 / 255)]
        assert browser.text('#held-sliders b') == 'C{layer}:{number} at {value:.2f}'.format(
            **units[0]).replace('-', '\u2212') == browser.text('#held-title').replace('Held: ', '')
    browser.set('#temperature-slider', '1.35')
    assert browser.value("byId('temperature').value") == '1.35'
    browser.wait(WRITTEN)
    for pane, of_pane in zip(PANES, [[], units] if held else [[]]):
        text = text_of_writer(javascript, short_run, '', 601, of_pane, temperature=1.35, topK=33, seed=1)
        assert browser.text(pane) == text
    browser.set('#temperature', '')                        # half typed
    assert browser.text(pane) == text and not browser.is_visible('#wrong')
