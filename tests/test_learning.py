"""What a run logs of its learning, its reading for a page, and the view of the page that shows it."""
import json
import re
import shutil

import numpy as np
import pytest

import numpy_model
from charlstm import CharLSTM
from engine.run import logs
from engine.page.logs import evenly, learning, logged_costs
from engine.run.logs import PASSAGE
from learner import by_number, learn, progress_of
from models import as_new, prepared
from pages import HOSTILE, NOT_HACKED, array_of, assert_colours, data_of, write_page_of
from scripts import S, TEXT, load, log_rows, write_chain

PASSAGE_OF_TEXT = TEXT[round(0.7 * (len(TEXT) // S)) * S:][:300]       # 30 % are for validation


def passage_log(folder, name='r_t.txt'):
    """Return the name of the text, the passage and the rows of the log in a folder, read by another way."""
    lines = (folder / f'{name}_passage.out').read_text(encoding='ascii').splitlines()
    of_text, passage = re.fullmatch('# the beginning of the (.*) text: (".*")', lines[0]).groups()
    assert lines[1].startswith('# epoch, ') and re.fullmatch('# id [0-9a-f]{16}', lines[2])
    return of_text, json.loads(passage), np.array([line.split() for line in lines[3:]], float)


# ---------------------------------------------------------------- the log

def test_costs_are_those_of_the_checkpoints(short_run):
    """Of each epoch that has a sample, by an independent model."""
    of_text, passage, rows = passage_log(short_run.folder)
    samples = (short_run.folder / 'r_t.txt_samples.txt').read_text(encoding='utf-8')
    assert (of_text, passage, rows.shape[1]) == ('validation', PASSAGE_OF_TEXT, 300)
    assert rows[:, 0].tolist() == [int(n) for n in re.findall('^# epoch (.*):$', samples, re.MULTILINE)]
    assert 1 < len(rows) <= 5 and rows[-1, 0] == 5
    for epoch, *costs in rows:
        p = load(short_run.folder / f'r_t.txt_epoch{int(epoch)}.npz')
        codes = np.array([list(p['uchar']).index(ch) for ch in passage])[:, None]
        expected = numpy_model.costs(numpy_model.forward(p, codes[:-1])[0], codes[1:])[:, 0]
        np.testing.assert_allclose(costs, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(log_rows(short_run.folder / 'r_t.txt_passage.out'), rows)


def test_costs_are_those_of_score_text(stateful):
    np.testing.assert_allclose(stateful.passage_costs(), stateful.score_text(stateful.passage()[1]), rtol=1e-5)


def test_watching_changes_nothing(stateful_model):
    """Not what is learned, nor the states that are carried, nor what is validated and drawn next."""
    def end(watched):
        model = as_new(stateful_model)
        for x, y in zip(model.X['train'][:6], model.Y['train'][:6]):
            model.theano_train_sgd(x, y)
            validation = model.validate_batch()
            if watched:
                model.passage_costs()
        return ([p.get_value().tobytes() for p in model.p.values()] + [state.tobytes() for state in model._carried]
                + [state.tobytes() for state in model._validation_states],
                validation, model.validate(), model.random.bit_generator.state)

    assert end(True) == end(False)


@pytest.mark.parametrize('stateful', [True, False])
@pytest.mark.parametrize('text, ratio, valid, expected', [
    (TEXT, 0.3, None, ('validation', TEXT[round(0.7 * (len(TEXT) // 7)) * 7:][:300])),
    (TEXT, 0, None, ('training', TEXT[:300])),
    (TEXT[:100], 0.2, None, ('validation', TEXT[77:100])),          # 11 of 14 sequences, and what is left
    (TEXT, 0.3, TEXT[50:60], ('validation', TEXT[50:60]))], ids=['a part', 'none', 'short', 'a text of its own'])
def test_passage(text_file, stateful, text, ratio, valid, expected):
    other = {} if valid is None else dict(valid=text_file(valid, name='valid.txt'))
    model = prepared(text_file(text), ratio_valid=ratio, batch_size=2, seq_length=7, stateful=stateful, **other)
    assert model.passage() == expected
    model._text.renumber(['#', *reversed(model.uchar)])
    assert model.passage() == expected


def test_passage_without_a_text(refused):
    with refused(ValueError, 'prepare_input'):
        CharLSTM().passage()


def test_passage_is_in_the_first_process_only(text_file, refused):
    model = prepared(text_file(TEXT), ratio_valid=0.3, batch_size=2, seq_length=7)
    model._text.passage = {}                       # as in the others
    with refused(ValueError, 'only the first process'):
        model.passage()


def test_passage_of_any_characters_is_one_line(tmp_path):
    found = logs.Logs(lambda ending: str(tmp_path / f'r_t.txt{ending}'), passage=('training', HOSTILE + '\n{}'))
    found.lock()
    found.cut()
    found.close()
    assert passage_log(tmp_path)[:2] == ('training', HOSTILE + '\n{}')


def test_rows_after_the_checkpoint_are_cut(tmp_path):
    learn(tmp_path, by_number(5, 4, 3), '--epochs', 3, '--save-every', 1)
    whole = (tmp_path / 'r_t.txt_passage.out').read_bytes()
    for name in ('best', 'epoch3'):
        (tmp_path / f'r_t.txt_{name}.npz').unlink()
    size = progress_of(tmp_path / 'r_t.txt_epoch2.npz')['logs'][PASSAGE]['size']
    assert size < len(whole)
    learn(tmp_path, by_number(3), '--epochs', 3, resume=str(tmp_path / 'r_t.txt_epoch2.npz'))
    assert (tmp_path / 'r_t.txt_passage.out').read_bytes() == whole


# ---------------------------------------------------------------- read for a page

HEADING = ('# the beginning of the validation text: "aé\\n"\n'
           '# epoch, and the cost of each of these characters but the first, in nats\n')
ID = '# id 0123456789abcdef\n'
SAMPLES = ID + '# epoch 1:\nb\n\n\n\n# epoch 2:\n# epoch 9:\n\n\n# epoch 3:\n\\udc80c\n\n'


def write_logs(folder, passage=HEADING + '1 0.5 2\n3 0.25 1\n', samples=SAMPLES, epochs='1 3 2.5 1 9\n2 3 2 1 9\n'
               '3 2.75 nan 1 9\n'):
    """Write logs of a run r of t.txt, and return the path of its checkpoint, which is not there."""
    for ending, content in (('passage.out', passage), ('samples.txt', samples), ('epochs.out', epochs)):
        content = content if isinstance(content, bytes) else content.encode()
        (folder / f'r_t.txt_{ending}').write_bytes(content)
    return str(folder / 'r_t.txt_best.npz')


def read(checkpoint):
    """Return what a page gets of the logs beside a checkpoint; the costs as lists."""
    found = learning(checkpoint, logged_costs(checkpoint))
    return found and dict(found, costs=found['costs'].tolist())


def test_logs_are_read(tmp_path, capfd):
    """Epochs that all three have; the last row of each, where a run went back."""
    assert read(write_logs(tmp_path)) == dict(text='validation', passage=['a', 'é', '\n'], epochs=[1, 3], logged=2,
                                              costs=[[0.5, 2], [0.25, 1]], samples=['b', '\\udc80c'])
    again = write_logs(tmp_path, HEADING + '1 0.5 2\n2 9 9\n3 7 7\n2 0.125 4\n', SAMPLES + '# epoch 2:\nd\n\n')
    found = read(again)
    assert (found['epochs'], found['costs'], found['samples']) == (
        [1, 2, 3], [[0.5, 2], [0.125, 4], [7, 7]], ['b', 'd', '\\udc80c'])
    assert read(write_logs(tmp_path, HEADING)) is None and read(write_logs(tmp_path, samples=ID)) is None
    assert capfd.readouterr().err == ''


def test_logs_of_a_run_are_read(short_run):
    found = learning(str(short_run.folder / 'r_t.txt_epoch2.npz'), logged_costs(str(short_run.checkpoint)))
    of_text, passage, rows = passage_log(short_run.folder)
    assert (found['text'], ''.join(found['passage']), found['epochs']) == (of_text, passage, rows[:, 0].tolist())
    np.testing.assert_array_equal(found['costs'], rows[:, 1:])
    assert all(190 < len(sample) <= 200 for sample in found['samples'])


@pytest.mark.parametrize('missing', ['passage.out', 'samples.txt', 'epochs.out'])
def test_without_a_log_there_is_nothing_to_show(tmp_path, capfd, missing):
    checkpoint = write_logs(tmp_path)
    (tmp_path / f'r_t.txt_{missing}').unlink()
    assert read(checkpoint) is None and capfd.readouterr().err == ''


@pytest.mark.parametrize('damaged', [
    dict(passage='1 0.5 2\n'), dict(passage=HEADING.replace('aé', 'a') + '1 0.5 2\n'), dict(passage=HEADING + '1 2\n'),
    dict(passage=HEADING + '1 nan 2\n'), dict(passage=HEADING + '1e400 1 2\n'), dict(passage=HEADING + '1.5 1 2\n'),
    dict(passage=HEADING + '1 x 2\n'), dict(passage=HEADING + '1 0.5 2\n1 0.5\n'), dict(passage=b'\xff\0'),
    dict(passage=HEADING.replace('"aé\\n"', '["a", "b", "c"]') + '1 0.5 2\n'), dict(passage='#' * 30_000),
    dict(passage=HEADING.replace('"aé\\n"', '"' + '[' * 5000) + '1 0.5 2\n'),
    dict(samples='mine\n' + SAMPLES), dict(samples=SAMPLES[len(ID):]), dict(samples=SAMPLES.encode() + b'\xff\n\n'),
    dict(samples=ID + '# epoch x:\nb\n\n')],
    ids=lambda logs: str(*logs.values())[-30:])
def test_damaged_logs_are_a_warning(tmp_path, capfd, damaged):
    assert read(write_logs(tmp_path, **damaged)) is None
    warning, = capfd.readouterr().err.splitlines()
    assert f'r_t.txt_{"passage.out" if "passage" in damaged else "samples.txt"} is not as a run writes it' in warning


def test_many_epochs_are_evenly_chosen(tmp_path):
    passage = HEADING + ''.join(f'{n} {n / 8} 1\n' for n in range(1, 1001))
    samples = ID + ''.join(f'# epoch {n}:\n{n}\n\n' for n in range(1, 1001))
    found = read(write_logs(tmp_path, passage, samples, ''.join(f'{n} 3 2 1 9\n' for n in range(1, 1001))))
    assert (found['logged'], len(found['epochs']), found['epochs'][0], found['epochs'][-1]) == (1000, 100, 1, 1000)
    assert set(np.diff(found['epochs'])) == {10, 11}
    assert [row[0] * 8 for row in found['costs']] == found['epochs'] == [int(text) for text in found['samples']]
    assert evenly([4, 5, 6], 100) == [4, 5, 6] and evenly([4, 5, 6], 2) == [4, 6] and evenly([], 2) == []


# ---------------------------------------------------------------- in a browser

@pytest.fixture(scope='module')
def page_of_run(short_run, tmp_path_factory):
    return write_page_of(short_run.folder / 'r_t.txt_best.npz', tmp_path_factory.mktemp('page') / 'p.html', TEXT[:90])


def assert_shows(browser, data, k):
    """Assert that the page shows the k-th of its epochs: its sample, costs, colours and dots."""
    found, each = data['learning'], len(data['learning']['passage']) - 1
    epoch, costs = found['epochs'][k], array_of(found['costs']).astype(float)[k * each:(k + 1) * each]
    _, training, validation = next(row for row in data['epochs'] if row[0] == epoch)
    assert browser.value("byId('epoch').valueAsNumber") == k
    value = re.fullmatch(fr'epoch {epoch}, validation cost (\S+) nats', spoken(browser)).group(1)
    assert abs(float(value) - validation) < 5.1e-3
    nats = re.fullmatch(fr'Epoch {epoch}: training (\S+) nats \(.*\), validation (\S+) nats \(.*\)',
                        browser.text('#epoch-costs')).groups()
    np.testing.assert_allclose(np.array(nats, float), [training, validation], atol=5.1e-4)
    assert browser.text('#sample') == found['samples'][k]
    mean = re.search('Mean: (.*?) nats', browser.text('#scored-costs')).group(1)
    assert abs(float(mean) - costs.mean()) < 6e-4
    assert_colours(browser, '#scored > *', [0, *costs / 6 * 16])
    at = [number for number, *_ in data['epochs']].index(epoch)
    for name in ('training', 'validation'):                # the dot is at the curve's point
        corner, = browser.all(f'#learning-curve polyline.{name}', f'[element.points[{at}].x, element.points[{at}].y]')
        dot, = browser.all(f'#learning-curve circle.{name}', '[element.cx.baseVal.value, element.cy.baseVal.value]')
        np.testing.assert_allclose(dot, corner, atol=0.01)


def spoken(browser):
    """Return what a screen reader says of the slider."""
    return browser.all('#epoch', "element.getAttribute('aria-valuetext')")[0]


def test_slider_shows_the_epochs(browser, page_of_run):
    data = data_of(page_of_run)
    last = len(data['learning']['epochs']) - 1
    assert last > 0
    browser.open(page_of_run, view='#learning')
    assert_shows(browser, data, last)
    assert browser.text('#scored') == PASSAGE_OF_TEXT.replace('\n', '↵\n')
    assert browser.all('#epoch', 'element.labels[0].textContent') == ['Epoch']
    browser.focus('#epoch')
    for key, k in (('Home', 0), ('ArrowRight', 1), ('ArrowLeft', 0), ('End', last)):
        browser.press(key)
        assert_shows(browser, data, k)


def test_epochs_play(browser, page_of_run):
    data = data_of(page_of_run)
    last = len(data['learning']['epochs']) - 1
    browser.open(page_of_run, view='#learning')
    said = browser.value("""['click', 'click'].map(() => { byId('play').click(); return byId('play').textContent })""")
    assert said == ['Pause', 'Play'] and browser.later("byId('epoch').value", 700) == '0'
    assert_shows(browser, data, 0)
    browser.click('#play')
    browser.click('#tab-about')                            # which stops it
    browser.click('#tab-learning')
    assert browser.text('#play') == 'Play'
    browser.click('#play')
    browser.wait("byId('play').textContent === 'Play'")
    assert_shows(browser, data, last)


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_view_fits_a_phone(browser, page_of_run, scheme):
    browser.open(page_of_run, width=390, view='#learning', scheme=scheme)
    assert browser.fits()
    browser.value('scrollTo(0, 400)')
    (top, bottom), = browser.all('#epoch', '(box => [box.top, box.bottom])(element.getBoundingClientRect())')
    assert 0 < top < bottom < 300                          # the slider stays in sight
    assert browser.value("document.querySelector('nav').getBoundingClientRect().bottom") <= top


def test_no_view_without_logs(browser, short_run, tmp_path):
    shutil.copy(str(short_run.checkpoint), str(tmp_path / 'p.npz'))
    browser.open(write_page_of(tmp_path / 'p.npz', tmp_path / 'p.html', TEXT[:90]), view='#learning')
    assert browser.value('document.body.dataset.view') == 'surprise' and browser.all('#tab-learning') == []
    assert not browser.is_visible('#learning-panel')


def test_hostile_logs_are_data(browser, tmp_path):
    hostile = HOSTILE.replace('\ud800', '')
    heading = HEADING.replace('"aé\\n"', json.dumps(hostile))
    rows = f'1{" -1e300" * (len(hostile) - 1)}\n2{" 1e300" * (len(hostile) - 1)}\n'
    checkpoint = write_logs(tmp_path, heading + rows,
                            f'{ID}# epoch 1:\n{hostile}\n\n# epoch 2:\nb\n\n', '1 nan nan 1 9\n2 3 nan 1 9\n')
    write_chain(checkpoint, np.array(['a', 'b']))
    browser.open(write_page_of(checkpoint, tmp_path / 'p.html', 'abab'), view='#learning')
    browser.focus('#epoch')
    assert spoken(browser) == 'epoch 2, training cost 3.00 nats'
    browser.press('Home')
    assert spoken(browser) == 'epoch 1'
    names = {'\0': r'\x00', '\x1b': r'\x1b', '\u2028': r'\u2028', '\u2029': r'\u2029', '\u202e': r'\u202e'}
    assert browser.text('#sample') == ''.join(names.get(ch, ch) for ch in hostile)
    assert len(browser.all('#scored > *')) == len(hostile) and browser.value(NOT_HACKED)


def test_page_says_that_it_has_some_of_many_epochs(browser, tmp_path):
    numbers = range(1, 1501)
    checkpoint = write_logs(tmp_path, HEADING + ''.join(f'{n} 1 1\n' for n in numbers), ID + ''.join(
        f'# epoch {n}:\nb\n\n' for n in numbers), ''.join(f'{n} 3 2 1 9\n' for n in numbers))
    write_chain(checkpoint, np.array(['a', 'b']))
    browser.open(write_page_of(checkpoint, tmp_path / 'p.html', 'abab'), view='#learning')
    assert '100 of the 1,500 epochs' in browser.text('#learning-chosen')
    assert browser.value("byId('epoch').max") == '99'
