"""The page of two models: produce_text.py --against, its data, and its view in Chromium."""
import re

import numpy as np
import pytest

import numpy_model
from charlstm import CharLSTM
from engine.backend.theano_setup import theano
from models import default_mode
from pages import (HOSTILE, NOT_HACKED, SHOWN_AS, array_of, colour, colour_in, data_of, expected_of, model_of_own_cell,
                   shown_colour, write_page_of)
from scripts import TEXT, load, write_chain

SHOWN = TEXT[:760].replace('—', '')[:700]         # without the character that B does not know


@pytest.fixture(scope='module')
def other(tmp_path_factory):
    """Return the path of a checkpoint B of other sizes; it knows no dash, but two characters that A never saw."""
    uchar = sorted(set(TEXT) - {'—'} | set('☃ß'))
    path = tmp_path_factory.mktemp('other') / 'other.npz'
    np.savez(str(path), uchar=np.array(uchar), **numpy_model.random_parameters(4, 'float32', len(uchar), 6, 3))
    return path


def against(checkpoint):
    """Return a checkpoint's model and path, as write_page takes them to compare."""
    model = CharLSTM()
    model.model_setup(str(checkpoint))
    return model, str(checkpoint)


@pytest.fixture(scope='module')
def compared(short_run, other, tmp_path_factory):
    """Return the path of a page of a run's checkpoint against the other one."""
    return write_page_of(short_run.folder / 'r_t.txt_best.npz', tmp_path_factory.mktemp('against') / 'page.html',
                         SHOWN, against=against(other))


@pytest.fixture(scope='module')
def costs(short_run, other):
    """Return the costs of A and of B."""
    return [expected_of(load(path), SHOWN)[2] for path in (short_run.folder / 'r_t.txt_best.npz', other)]


# ---------------------------------------------------------------- the data

def test_data_are_those_of_an_independent_model(compared, other, costs):
    data, p = data_of(compared), load(other)
    _, probabilities, _ = expected_of(p, SHOWN)
    assert ''.join(data['uchar'][k] for k in array_of(data['text'])) == SHOWN
    np.testing.assert_allclose(array_of(data['costs']), costs[0], rtol=1e-3)
    data = data['against']
    assert data['name'] == 'other.npz' and 'layers of 6 and 3 units' in data['model']
    assert data['uchar'] == p['uchar'].tolist() and ''.join(data['uchar'][k] for k in array_of(data['text'])) == SHOWN
    np.testing.assert_allclose(array_of(data['costs']), costs[1], rtol=1e-3)
    best = np.argsort(-probabilities)[:, :5]
    assert (array_of(data['best']).reshape(-1, 5) == best).mean() > 0.99           # some probabilities are almost equal
    np.testing.assert_allclose(array_of(data['chances']).reshape(-1, 5), np.take_along_axis(probabilities, best, 1),
                               rtol=2e-3)


def test_page_has_no_parameters_of_the_other_model(compared):
    assert set(data_of(compared)['against']) == {'name', 'model', 'uchar', 'bytes', 'text', 'costs', 'best', 'chances'}


def test_other_model_may_have_another_cell(short_run, text_file, tmp_path):
    other = model_of_own_cell(text_file(TEXT))
    with default_mode(theano.compile.mode.FAST_COMPILE):
        other.model_setup(num_units1=4, num_units2=3)
        saved = other.save_params(str(tmp_path / 'own.npz'))
        write_page_of(short_run.folder / 'r_t.txt_best.npz', tmp_path / 'page.html', TEXT[:90], against=(other, saved))
        np.testing.assert_allclose(array_of(data_of(tmp_path / 'page.html')['against']['costs']),
                                   other.score_text(TEXT[:90]), rtol=1e-3)


# ---------------------------------------------------------------- the command

def test_page_has_the_characters_that_both_know(produce, other, tmp_path):
    (tmp_path / 'x.txt').write_text('☃' + TEXT, encoding='utf-8')
    result = produce('--page', tmp_path / 'p.html', '--score', tmp_path / 'x.txt', '--against', other)
    assert (result.returncode, result.stdout) == (0, '')
    unknown_to_a, unknown_to_b, wrote = result.stderr.splitlines()
    assert "the model never saw are left out: '☃' (1)" in unknown_to_a and wrote.startswith('wrote ')
    assert f"{other} never saw are left out: '—' ({TEXT.count('—')})" in unknown_to_b
    data = data_of(tmp_path / 'p.html')
    shown = TEXT.replace('—', '')
    assert ''.join(data['uchar'][k] for k in array_of(data['text'])) == shown
    assert data['source'] == f'All {len(shown):,} characters of x.txt.' and not data['own']


def test_written_text_is_compared_too(produce, other, tmp_path):
    assert produce('--page', tmp_path / 'p.html', '--against', other, '--length', 60).returncode == 0
    data = data_of(tmp_path / 'p.html')
    assert data['own'] and len(array_of(data['against']['costs'])) == len(array_of(data['costs'])) > 40
    assert produce('--page', tmp_path / 'q.html', '--length', 60).returncode == 0
    assert data_of(tmp_path / 'q.html')['against'] is None


def test_against_that_is_refused(produce, other, tmp_path):
    bytes_of = write_chain(tmp_path / 'bytes.npz', np.frombuffer('aé€'.encode(), 'S1'))
    for options, words in [(['--against', other], ['--against needs --page']),
                           (['--page', tmp_path / 'p.html', '--against', tmp_path / 'missing.npz'], ['missing.npz']),
                           (['--page', tmp_path / 'p.html', '--against', bytes_of],
                            ['bytes.npz learned bytes', 'compared with characters'])]:
        result = produce(*options)
        line = result.stderr.splitlines()[-1]              # after a warning that these are bytes
        assert result.returncode == 2 and [word for word in words if word not in line] == []
    assert [path.name for path in tmp_path.iterdir()] == ['bytes.npz']


# ---------------------------------------------------------------- in a browser

@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_colours_say_which_model_was_less_surprised(browser, compared, costs, scheme):
    differences = costs[0] - costs[1]
    levels = abs(differences) / np.sort(abs(differences))[int(0.98 * 698)] * 16
    clear = [k for k in range(699) if abs(levels[k] - np.rint(levels[k])) > 0.1 and 1 < levels[k] < 15.9]
    browser.open(compared, view='#against', scheme=scheme)
    for sign in (1, -1):
        chosen = [k for k in clear if np.sign(differences[k]) == sign]
        for k in chosen[::len(chosen) // 8]:
            expected = dict(hue=208, saturation=0.68) if sign > 0 else {}          # B has the other colour
            np.testing.assert_allclose(shown_colour(browser, k + 1),
                                       colour(int(levels[k]), scheme == 'dark', **expected), atol=1.5)
    assert browser.errors == [] and len(browser.requests) == 1


def test_costs_and_their_difference(browser, compared, costs):
    browser.open(compared, view='#against')
    shown = browser.value("Array.from(document.querySelectorAll('#models p'), p => p.textContent)")
    letters = colour_in(browser, "document.querySelector('#models b')).color")
    assert letters == colour_in(browser, 'document.body).color')
    for line, name, cost in zip(shown, ['A r_t.txt_best.npz', 'B other.npz'], costs):
        found = re.fullmatch(f'{name}: (.*) nats \\((.*) bits\\) a character', line).groups()
        np.testing.assert_allclose([float(number) for number in found], cost.mean() / [1, np.log(2)], atol=1e-3)
    differences = costs[0] - costs[1]
    blocks = differences[:600].reshape(6, 100).mean(axis=1)
    found = re.fullmatch(r'(.) was less surprised, by (.*) \xb1 (.*) nats \((.*) bits\) a character\.',
                         browser.value("byId('verdict').textContent")).groups()
    assert found[0] == ('B' if differences.mean() > 0 else 'A')
    size = abs(differences.mean())
    np.testing.assert_allclose([float(number) for number in found[1:]],
                               [size, blocks.std(ddof=1) / np.sqrt(6), size / np.log(2)], atol=1.1e-3)


def test_no_standard_error_of_few_characters(browser, compared):
    browser.open(compared, view='#against')
    assert browser.value('standardError(differences.slice(0, 499))') is None
    assert browser.value('standardError(differences.slice(0, 500))') > 0
    browser.value('differences.fill(0)')
    assert browser.value('verdict()') == 'Both were surprised alike.'


def test_biggest_differences_come_first_and_lead_to_their_place(browser, compared, costs):
    differences = costs[0] - costs[1]

    def listed():
        return browser.value("Array.from(byId('differences').children, item => Number(item.id.slice(11)))")

    def selected():
        return browser.value("document.querySelectorAll('#differences [aria-selected=true]').length && byId("
                             "'differences').getAttribute('aria-activedescendant') + ' ' + here")

    browser.open(compared, view='#against')
    sizes = abs(differences[np.array(listed()) - 1])
    assert len(sizes) == 100 and (np.diff(sizes) < 2e-2).all()
    np.testing.assert_allclose(np.sort(sizes), np.sort(abs(differences))[-100:], atol=2e-2)
    browser.click('#differences li:nth-child(3)')
    third = listed()[2]
    assert selected() == f'difference-{third} {third}'
    browser.value("byId('differences').focus()")
    browser.press('ArrowDown')
    fourth = listed()[3]
    assert selected() == f'difference-{fourth} {fourth}'
    browser.press('Home')
    assert selected() == f'difference-{listed()[0]} {listed()[0]}'
    for winner, sign in (('A', -1), ('B', 1)):
        browser.value(f"byId('better').value = '{winner}'; byId('better').dispatchEvent(new Event('change'))")
        assert listed() and (np.sign(differences[np.array(listed()) - 1]) == sign).all()
        first = browser.value("document.querySelector('#differences li .number').textContent")
        assert re.fullmatch(winner + r' by \d+\.\d\d', first)
    assert browser.errors == []


def test_place_shows_what_both_expected(browser, compared, short_run, other, costs):
    browser.open(compared, view='#against')
    browser.click('#text span:nth-child(31)')
    for path, column, cost in ((short_run.folder / 'r_t.txt_best.npz', 1, costs[0]), (other, 2, costs[1])):
        p = load(path)
        _, probabilities, _ = expected_of(p, SHOWN)
        rows = browser.value(f"Array.from(document.querySelectorAll('#both .pair > :nth-child({column}) .what'), "
                             "cell => cell.textContent)")
        best = [p['uchar'][j] for j in np.argsort(-probabilities[29])[:5]]
        assert rows[:5] == [SHOWN_AS.get(ch, ch) for ch in best]
        assert SHOWN_AS.get(SHOWN[30], SHOWN[30]) in rows
        assert f'{cost[29]:.1f}' in browser.value("byId('both').textContent")
    end = browser.value("document.querySelector('#both b:last-of-type').textContent")
    difference = costs[0][29] - costs[1][29]
    assert re.fullmatch('B' if difference > 0 else 'A', end[0])
    assert abs(float(end.rsplit(' ', 1)[1]) - abs(difference)) < 0.02
    browser.press('Home')
    assert 'first character' in browser.value("byId('both').textContent")
    assert browser.value("byId('text').getAttribute('aria-describedby')") == 'both' and browser.errors == []


def test_page_of_one_model_has_no_such_view(browser, written):
    browser.open(written, view='#against')
    assert browser.value("view() === 'surprise' && !document.getElementById('tab-against')") and browser.errors == []


@pytest.mark.parametrize('width', [1280, 390])
def test_view_fits(browser, compared, width):
    browser.open(compared, view='#against', width=width)
    browser.value('chooseDifference(listed[0])')
    assert browser.value('Math.max(document.documentElement.scrollWidth, innerWidth)') == width
    side = browser.value("(side => [side.scrollWidth, side.clientWidth])(document.querySelector('aside'))")
    assert side[0] <= side[1]
    last = "byId('differences').getBoundingClientRect().bottom"
    browser.value("byId('differences').scrollIntoView({block: 'nearest'})")
    assert browser.value(f'{last} <= innerHeight + 1')                # it can be scrolled into the window
    assert browser.value("Array.from(document.querySelectorAll('#against-side select'), s => s.labels.length)") == [1]


def test_hostile_names_run_nothing(browser, tmp_path):
    names = [tmp_path / f'{name}<img src=x onerror=hacked=1>\u2028.npz' for name in 'ab']
    for path, extra in zip(names, ('', '<>é')):
        write_chain(path, np.array(sorted(set(HOSTILE + extra))))
    write_page_of(names[0], tmp_path / 'page.html', HOSTILE, HOSTILE, against=against(names[1]))
    browser.open(tmp_path / 'page.html', view='#against')
    browser.value("byId('text').focus()")
    for _ in HOSTILE:
        browser.press('ArrowRight')
    assert r'b<img src=x onerror=hacked=1>\u2028.npz' in browser.value("byId('models').textContent")
    assert browser.value(NOT_HACKED) and browser.errors == []
