"""The page of two models: produce_text.py --against, its data, and its view in Chromium."""
import re

import numpy as np
import pytest

import numpy_model
from charlstm import CharLSTM
from engine.backend.theano_setup import theano
from models import default_mode
from pages import (array_of, assert_colours, data_of, expected_of, looked_at, model_of_own_cell, place, shown,
                   write_page_of)
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
    assert set(data) == {'name', 'model', 'uchar', 'bytes', 'text', 'costs', 'best', 'chances'}        # no parameters
    assert data['name'] == 'other.npz' and 'layers of 6 and 3 units' in data['model']
    assert data['uchar'] == p['uchar'].tolist() and ''.join(data['uchar'][k] for k in array_of(data['text'])) == SHOWN
    np.testing.assert_allclose(array_of(data['costs']), costs[1], rtol=1e-3)
    best = np.argsort(-probabilities)[:, :5]
    assert (array_of(data['best']).reshape(-1, 5) == best).mean() > 0.99           # some probabilities are almost equal
    np.testing.assert_allclose(array_of(data['chances']).reshape(-1, 5), np.take_along_axis(probabilities, best, 1),
                               rtol=2e-3)


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
    assert "the model never saw, left out: '☃' (1)" in unknown_to_a and wrote.startswith('wrote ')
    assert f"{other} never saw, left out: '—' ({TEXT.count('—')})" in unknown_to_b
    data = data_of(tmp_path / 'p.html')
    shown = TEXT.replace('—', '')
    assert ''.join(data['uchar'][k] for k in array_of(data['text'])) == shown
    assert data['source'] == (
        f"{len(shown):,} of {len(TEXT) + 1:,} characters of x.txt. Left out of the file, since a model never saw them: "
        f"'☃' (1), '—' ({TEXT.count('—'):,}).") and not data['own']


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
    """B has the colours of levels below 0."""
    differences = costs[1] - costs[0]
    levels = differences / np.sort(abs(differences))[int(0.98 * 698)] * 16
    browser.open(compared, view='#against', scheme=scheme)
    assert_colours(browser, '#text span', [0, *levels], scheme == 'dark', margin=0.1)


def test_costs_and_their_difference(browser, compared, costs):
    browser.open(compared, view='#against')
    assert browser.colours('#models b', 'color') == browser.colours('body', 'color') * 2
    for line, name, cost in zip(browser.all('#models p'), ['A r_t.txt_best.npz', 'B other.npz'], costs):
        found = re.fullmatch(f'{name}: (.*) nats \\((.*) bits\\) a character', line).groups()
        np.testing.assert_allclose([float(number) for number in found], cost.mean() / [1, np.log(2)], atol=1e-3)
    differences = costs[0] - costs[1]
    blocks = differences[:600].reshape(6, 100).mean(axis=1)
    found = re.fullmatch(r'(.) was less surprised, by (.*) \xb1 (.*) nats \((.*) bits\) a character\.',
                         browser.text('#verdict')).groups()
    assert found[0] == ('B' if differences.mean() > 0 else 'A')
    size = abs(differences.mean())
    np.testing.assert_allclose([float(number) for number in found[1:]],
                               [size, blocks.std(ddof=1) / np.sqrt(6), size / np.log(2)], atol=1.1e-3)


def test_no_standard_error_of_few_characters(browser, short_run, other, tmp_path):
    checkpoint = short_run.folder / 'r_t.txt_best.npz'
    for n, compared_with, words in ((500, other, 'nats'), (501, other, '\xb1'), (500, checkpoint, 'surprised alike')):
        browser.open(write_page_of(checkpoint, tmp_path / 'p.html', SHOWN[:n], against=against(compared_with)),
                     view='#against')
        assert words in browser.text('#verdict') and ('\xb1' in browser.text('#verdict')) == (words == '\xb1')


def test_biggest_differences_come_first_and_lead_to_their_place(browser, compared, costs):
    differences = costs[0] - costs[1]

    def listed():
        return browser.all('#differences > *', "Number(element.id.slice('difference-'.length))")

    def selected():
        """Return the only character that is selected, at which the reader looks."""
        name, = browser.all('#differences [aria-selected=true]', 'element.id')
        assert browser.all('#differences', "element.getAttribute('aria-activedescendant')") == [name]
        assert name == f'difference-{looked_at(browser)}'
        return looked_at(browser)

    browser.open(compared, view='#against')
    sizes = abs(differences[np.array(listed()) - 1])
    assert len(sizes) == 100 and (np.diff(sizes) < 2e-2).all()
    np.testing.assert_allclose(np.sort(sizes), np.sort(abs(differences))[-100:], atol=2e-2)
    browser.click('#differences li:nth-child(3)')
    assert selected() == listed()[2]
    browser.focus('#differences')
    browser.press('ArrowDown')
    assert selected() == listed()[3]
    browser.press('Home')
    assert selected() == listed()[0]
    for winner, sign in (('A', -1), ('B', 1)):
        browser.set('#better', winner)
        assert listed() and (np.sign(differences[np.array(listed()) - 1]) == sign).all()
        assert re.fullmatch(winner + r' by \d+\.\d\d', browser.text('#differences .number'))


def test_place_shows_what_both_expected(browser, compared, short_run, other, costs):
    browser.open(compared, view='#against')
    browser.click(place(30))
    for path, column, cost in ((short_run.folder / 'r_t.txt_best.npz', 1, costs[0]), (other, 2, costs[1])):
        p = load(path)
        _, probabilities, _ = expected_of(p, SHOWN)
        rows = browser.all(f'#both .pair > :nth-child({column}) .what')
        assert rows[:5] == [shown(p['uchar'][j]) for j in np.argsort(-probabilities[29])[:5]]
        assert shown(SHOWN[30]) in rows and f'{cost[29]:.1f}' in browser.text('#both')
    end, difference = browser.all('#both b')[-1], costs[0][29] - costs[1][29]
    assert end[0] == ('B' if difference > 0 else 'A')
    assert abs(float(end.rsplit(' ', 1)[1]) - abs(difference)) < 0.02
    browser.press('Home')
    assert 'first character' in browser.text('#both')
    assert browser.all('#text', "element.getAttribute('aria-describedby')") == ['both']


def test_page_of_one_model_has_no_such_view(browser, written):
    browser.open(written, view='#against')
    assert browser.value('document.body.dataset.view') == 'surprise' and browser.all('#tab-against') == []


@pytest.mark.parametrize('width', [1280, 390])
def test_view_fits(browser, compared, width):
    browser.open(compared, view='#against', width=width)
    browser.click('#differences li')
    assert browser.fits() and all(browser.all('aside', 'element.scrollWidth <= element.clientWidth'))
    browser.value("byId('differences').scrollIntoView({block: 'nearest'})")
    bottom, = browser.all('#differences', 'innerHeight + 1 - element.getBoundingClientRect().bottom')
    assert bottom >= 0                                     # it can be scrolled into the window
    assert browser.all('#against-side select', 'element.labels.length') == [1]
