"""The page of --page: its network in a JavaScript engine, compared with the class; its data; and the command."""
import base64
import os
import re
import shutil
import subprocess

import numpy as np
import pytest

import numpy_model
from charlstm import CharLSTM
from engine.kernel.fallback import StepByStep, choose, likely
from engine.page import page
from engine.page.page import fill_template, learning, logged_costs, to_float16
from engine.run.recipe import lrate
from engine.methods.state import zero_states
from numpy_model import NAMES, V
from pages import HOSTILE, array_of, data_of, expected_of, read_by, text_of, write_page_of
from scripts import FAST, PRODUCE, S, TEXT, load, run, snapshot, succeeded, write_chain


# ---------------------------------------------------------------- the network in JavaScript

@pytest.fixture
def model(compiled_models):
    """Return a model with the kernel and its initial parameters, rounded as in a page."""
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
    """apart: the distance between the scores of even and odd characters; if large, some probabilities underflow."""
    model.p['c'].set_value(model.p['c'].get_value() - apart * (np.arange(V) % 2).astype('float32'))
    choice = dict(temperature=temperature, topK=top_k, seed=5)
    found = javascript('writes(200, p, prime, choice, [])', p=parameters(model), prime=[3, 1, 4], choice=choice)
    bits = np.array([int(number * 2 ** 53) for number in javascript('randoms(200, 5)')])[:, None]
    writer = StepByStep(model.compiled('predict'), lambda: (7, 4), 1)
    text, *_ = writer.write(np.array([[3], [1], [4]], np.int32), bits, 200,
                            np.array([temperature, top_k, 1], 'float32'), *zero_states(model, 1))
    assert found == text[:, 0].tolist() and len({number % 2 for number in found[3:]}) == 2


def test_held_text_draws_the_random_numbers_of_the_free_one(javascript, model):
    settings = dict(p=parameters(model), choice=dict(temperature=1, topK=V, seed=5))
    free, held, hardly = [javascript('writes(300, p, [], choice, held)', held=held, **settings) for held in (
        [], [dict(state='C', layer=2, number=1, value=-3)], [dict(state='C', layer=1, number=6, value=1e-3)])]
    assert free[0] == held[0] and free != held
    assert 30 < sum(a == b for a, b in zip(free, hardly)) < 300           # by chance, 1 in 11 would be equal: 27


def test_draw_of_all_kinds_of_distributions(javascript):
    """They have zeros, ties and sums that are not 1; the random numbers include the extremes."""
    chance = np.random.default_rng(3)
    for top_k in (1, 3, V):
        p = (chance.integers(0, 4, (300, V)) * (chance.random((300, V)) < 0.7)).astype('float32')
        p[:, 4] += 1
        bits = chance.integers(2 ** 53, size=300)
        bits[:40], bits[40:80] = 0, 2 ** 53 - 1
        found = javascript('p.map((p, i) => draw(likely(Float32Array.from(p), k), u[i]))', p=p.tolist(), k=top_k,
                           u=(bits * 2.0 ** -53).tolist())
        np.testing.assert_array_equal(found, choose(likely(p, top_k, 1), bits))


def test_product_is_compiled_from_its_source(javascript, tmp_path):
    """The WebAssembly in product.js gives the same bits as product.c, compiled again by the command in it."""
    source = page.HERE / 'product.c'
    command = re.search(r'(?s)(clang .*?product\.wasm)', source.read_text()).group(1).replace('\\\n', ' ')
    built = subprocess.run(command.replace('product.c', str(source)), shell=True, cwd=str(tmp_path),
                           stderr=subprocess.PIPE, text=True)
    if built.returncode:
        pytest.skip('clang or wasm-ld is missing: apt install clang lld')
    rebuilt = base64.b64encode((tmp_path / 'product.wasm').read_bytes()).decode()
    found = javascript("""(() => {
        const random = new Random(3), products = bytes => {
          Memory.product = new WebAssembly.Module(bytesOf(bytes));
          const memory = new Memory(), {at} = memory.place(1, 4000);
          memory.numbers.set(numbers, at);
          memory.multiplyAdd(3000, 0, 100, 1, 96, 7, 96, 7, 1, 96);
          memory.multiplyAdd(3200, 0, 100, 8, 40, 5, 40, 3, 11, 40);
          return Array.from(memory.numbers.slice(3000, 3600));
        }, numbers = times(3000, () => random.next() - 0.5);
        return {numbers, found: [PRODUCT, rebuilt].map(products)};
    })()""", rebuilt=rebuilt)
    n, (kept, new) = np.array(found['numbers'], 'float32'), found['found']
    assert kept == new
    np.testing.assert_allclose(kept[:96], n[:7] @ n[100:772].reshape(7, 96), rtol=1e-5, atol=1e-6)
    A = n[3 * np.arange(8)[:, None] + 11 * np.arange(5)]
    np.testing.assert_allclose(kept[200:520], (A @ n[100:300].reshape(5, 40)).ravel(), rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- the data

def test_data_are_those_of_an_independent_model(written, short_run):
    """Costs, probabilities, parameters, states, and the contents of the logs beside the checkpoint."""
    data, p = data_of(written), load(short_run.folder / 'r_t.txt_best.npz')
    codes, probabilities, costs = expected_of(p)
    assert data['uchar'] == p['uchar'].tolist()
    np.testing.assert_array_equal(array_of(data['text']), codes)
    np.testing.assert_allclose(array_of(data['costs']), costs, atol=1e-5)
    np.testing.assert_allclose(array_of(data['chances']).reshape(-1, 5), -np.sort(-probabilities)[:, :5], rtol=2e-3)
    for name in NAMES:
        np.testing.assert_array_equal(array_of(data['parameters'][name]), p[name].astype('float16').ravel())
    C = np.concatenate(read_by(p, codes)[0][1::2], axis=1)
    for name, ends in (('least', C.min(axis=0)), ('most', C.max(axis=0))):
        np.testing.assert_allclose(array_of(data['ranges'][name]), ends, rtol=1e-4, atol=1e-5)
    position = [k - TEXT.rfind('\n', 0, k + 1) for k in range(700)]
    np.testing.assert_allclose(data['correlations']['position in the line'],
                               [np.corrcoef(position, c)[0, 1] for c in C.T], atol=1e-3)
    assert data['sizes'] == [5, 7] and {len(r) for r in data['correlations'].values()} == {5 + 7}
    assert np.array(data['epochs'])[:, [0, 2]].tolist() == [[k, cost] for k, cost in enumerate(short_run.costs, 1)]
    learner = data['learner']
    assert learner['rates'] == {'32': lrate(32, 32), '64': lrate(64, 64), '128': lrate(128, 128)}
    assert learner['name'] == 'coriolanus.txt' and 90_000 < len(learner['text'])
    samples = (short_run.folder / 'r_t.txt_samples.txt').read_text(encoding='utf-8')
    assert all(f'\n{sample}\n' in samples for sample in data['learning']['samples'])
    rows = np.loadtxt(short_run.folder / 'r_t.txt_passage.out')
    np.testing.assert_allclose(array_of(data['learning']['costs']), rows[:, 1:].ravel(), rtol=1e-3)
    assert data['learning']['epochs'] == rows[:, 0].tolist() and len(data['learning']['passage']) == rows.shape[1]


def test_of_many_epochs_some_are_evenly_chosen(tmp_path):
    """Only epochs in all three logs are chosen. If a run went back, the last row of an epoch counts."""
    checkpoint = str(tmp_path / 'r_t.txt_best.npz')
    assert logged_costs(checkpoint) == [] and learning(checkpoint, []) is None
    (tmp_path / 'r_t.txt_epochs.out').write_text('1 9 nan 1 9\n' + ''.join(f'{n} 3 2 1 9\n' for n in range(2, 1001)))
    (tmp_path / 'r_t.txt_passage.out').write_text(
        '# the beginning of the validation text: "aé\\n"\n'
        '# epoch, and the cost of each of these characters but the first, in nats\n1 99 99\n'
        + ''.join(f'{n} {n / 8} 1\n' for n in range(1, 1101)), encoding='utf-8')
    (tmp_path / 'r_t.txt_samples.txt').write_text('# id 0123456789abcdef\n' + ''.join(
        f'# epoch {n}:\n{n}\n\n' for n in range(1, 1001)))
    rows = logged_costs(checkpoint)
    assert rows[:2] == [[1, 9, None], [2, 3, 2]]
    found = learning(checkpoint, rows)
    assert (found['passage'], found['logged'], len(found['epochs'])) == (['a', 'é', '\n'], 1000, 100)
    assert found['epochs'][::99] == [1, 1000] and set(np.diff(found['epochs'])) == {10, 11}
    assert [int(text) for text in found['samples']] == found['epochs']
    np.testing.assert_allclose(array_of(found['costs'])[::2] * 8, found['epochs'])


@pytest.mark.parametrize('ending, damaged', [('_epochs.out', b'1 2 3 4 5\n2 2\0\0'), ('_epochs.out', b'nonsense\n'),
                                             ('_passage.out', b'# a line\n1 2\n'), ('_samples.txt', b'\xff\xfe')])
def test_damaged_log_is_left_out(short_run, tmp_path, capfd, ending, damaged):
    shutil.copytree(short_run.folder, tmp_path / 'copy')
    checkpoint, log = str(tmp_path / 'copy' / 'r_t.txt_best.npz'), tmp_path / 'copy' / f'r_t.txt{ending}'
    assert learning(checkpoint, logged_costs(checkpoint)) and not capfd.readouterr().err
    log.write_bytes(damaged)
    costs = logged_costs(checkpoint)
    assert len(costs) == (0 if ending == '_epochs.out' else 5) and learning(checkpoint, costs) is None
    said = capfd.readouterr().err
    assert said.count('\n') == 1 and str(log) in said


@pytest.fixture(scope='module')
def hostile(tmp_path_factory):
    """Return the path of a page of two models whose text, names and vocabularies contain an attack."""
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
    assert text_of(data) == HOSTILE and data['source'] == 'a text of ' + HOSTILE


def test_nothing_is_fetched_and_no_other_script_may_run():
    template = (page.HERE / 'page.html').read_text(encoding='utf-8')
    for policy in ("default-src 'none'", "base-uri 'none'", "form-action 'none'"):
        assert policy in template
    assert not re.search(r'\b(src|url)\s*[=(]|href="[^#]', template)
    scripts = [path.read_text(encoding='utf-8') for path in page.HERE.glob('*.js')]
    for forbidden in ('innerHTML', 'outerHTML', 'insertAdjacent', 'document.write', 'eval(', 'fetch(', '</script'):
        assert forbidden not in ''.join(scripts)
    html = fill_template('function cell() {}', {}).decode()
    assert [html.count(script) for script in scripts] == [1] * len(scripts)


# ---------------------------------------------------------------- the command

def test_page_of_a_file(produce, short_run, monkeypatch, tmp_path):
    """Also with another model, which does not know the dash. The page names no folder."""
    uchar = sorted(set(TEXT) - {'—'} | set('☃ß'))
    np.savez(str(tmp_path / 'other.npz'), uchar=np.array(uchar),
             **numpy_model.random_parameters(4, 'float32', len(uchar), 6, 3))
    (tmp_path / 'x.txt').write_text('☃' + TEXT, encoding='utf-8')
    shown = TEXT.replace('—', '')

    def page_of(most_characters, *options):
        monkeypatch.setattr(page, 'MOST_CHARACTERS', most_characters)
        result = produce('--page', tmp_path / 'p.html', '--score', tmp_path / 'x.txt', '--overwrite', *options)
        assert (result.returncode, result.stdout) == (0, '') and f'wrote {tmp_path / "p.html"}, 0.' in result.stderr
        return data_of(tmp_path / 'p.html')

    data = page_of(len(TEXT))
    assert text_of(data) == TEXT
    assert data['source'] == (f'{len(TEXT):,} of the {len(TEXT) + 1:,} characters of x.txt, from its beginning. '
                              "Left out 1 character that the model never saw: '☃' (1).")
    said = succeeded(produce('--info'))
    for path in re.findall(r'(?m)(?<=^)/[^:]+|(?<=path )/[^,]+|(?<=input )/[^,]+', said):
        said = said.replace(path, os.path.basename(path))
    assert '\n'.join(data['info']) + '\n' == said and data['against'] is None
    assert str(short_run.folder).encode() not in (tmp_path / 'p.html').read_bytes()
    data = page_of(900, '--against', tmp_path / 'other.npz')
    assert text_of(data) == shown[:900] and data['source'] == (
        f'900 of the {len(TEXT) + 1:,} characters of x.txt, from its beginning. Left out {TEXT.count("—") + 1} '
        f"characters that the model never saw: '—' ({TEXT.count('—')}), '☃' (1).")
    other = data['against']
    np.testing.assert_allclose(array_of(other['costs']), expected_of(load(tmp_path / 'other.npz'), shown[:900])[2],
                               rtol=1e-3)
    assert other['name'] == 'other.npz' and 'layers of 6 and 3 units' in other['model']
    assert produce('--page', tmp_path / 'p.html', '--score', 't.txt', '--overwrite').returncode == 0
    assert 'beginning. The model was trained on this file' in data_of(tmp_path / 'p.html')['source']


def test_page_of_a_text_that_the_model_writes(produce, tmp_path):
    for options, length, source in (
            (['--length', 50], 50, 'A text that the model wrote itself.'),
            (['--length', 50, '--prime', 'the '], 54, 'A text that the model wrote after a prime of 4 characters.'),
            (['--length', 30, '--hold', 'C2:4=-3'], 30, 'A text that the model wrote with C2:4 held at -3.')):
        assert produce('--page', tmp_path / 'p', '--random-seed', 3, '--overwrite', *options).returncode == 0
        data = data_of(tmp_path / 'p')
        assert (len(text_of(data)), data['source']) == (length, source)


def test_page_of_held_out_text(produce, short_run, monkeypatch, tmp_path):
    """It is from the run's own file or, if that has changed, the passage in its log, which the model continues."""
    sequences = round(0.7 * (len(TEXT) // S))
    assert produce('--page', tmp_path / 'p').returncode == 0
    data = data_of(tmp_path / 'p')
    assert text_of(data) == TEXT[sequences * S:][:page.MOST_CHARACTERS]
    assert data['source'] == 'Validation text from t.txt, on which the model was not trained.'
    monkeypatch.setattr(page, 'read_text', lambda *arguments: ([], [], 'another sha256'))
    assert produce('--page', tmp_path / 'p', '--overwrite').returncode == 0
    data = data_of(tmp_path / 'p')
    assert text_of(data)[:300] == TEXT[sequences * S:][:300] and (len(text_of(data)), data['written']) == (2300, 300)
    assert data['source'].startswith('300 characters of validation text, ')


@pytest.mark.parametrize('options', [['--page', 'missing/p.html', '--length', 9], ['--page', 'p.html', '--info'],
                                     ['--page', 't.txt'], ['--page', 'p.html', '--against', 'missing.npz'],
                                     ['--against', 'r_t.txt_best.npz']])
def test_what_is_refused(produce, short_run, options):
    before = snapshot(short_run.folder)
    result = produce(*options)
    assert result.returncode == 2 and result.stderr.splitlines()[-1].startswith('produce_text.py: ')
    assert snapshot(short_run.folder) == before


def test_page_in_a_process(folder, short_run):
    """The only output is a line with the path of the page."""
    result = run(PRODUCE, short_run.checkpoint, '--page', 'p.html', '--length', 60, flags=FAST, cwd=folder)
    assert (result.returncode, result.stdout, result.stderr.count('\n')) == (0, '', 1)
    assert result.stderr.startswith('wrote p.html, ')
