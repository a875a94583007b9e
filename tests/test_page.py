"""The page of --page: its network in a JavaScript engine, compared with the class; its data; and the command."""
import base64
import re
import shutil
import subprocess

import numpy as np
import pytest

from engine.terminal import BUNDLED
from engine.graph.fallback import StepByStep
from engine.model.state import zero_states
from engine.page import page
from engine.page.page import learning, logged_costs
from engine.run.checkpoint import opened
from numpy_model import NAMES, V
from pages import array_of, data_of, expected_of, read_by, text_of
from scripts import S, TEXT, load


# ---------------------------------------------------------------- the network in JavaScript

@pytest.mark.parametrize('temperature, apart', [(1, 0), (0.5, 0), (3, 0), (100, 200)])
def test_writing_is_pythons_on_the_same_random_numbers(javascript, compiled_models, temperature, apart):
    """apart: the distance between the scores of even and odd characters; if large, some probabilities underflow."""
    model, start = compiled_models('float32')
    for variable, array in start.items():
        variable.set_value(array)
    model.p['c'].set_value(model.p['c'].get_value() - apart * (np.arange(V) % 2).astype('float32'))
    choice = dict(temperature=temperature, seed=5)
    p = {name: model.p[name].get_value().ravel().tolist() for name in NAMES}
    found = javascript('writes(200, p, prime, choice, [])', p=p, prime=[3, 1, 4], choice=choice)
    bits = np.array([int(number * 2 ** 53) for number in javascript('randoms(200, 5)')])[:, None]
    writer = StepByStep(model.compiled, lambda: [7, 7, 4, 4])
    text, *_ = writer.write(np.array([[3], [1], [4]], np.int32), bits, 200,
                            np.array([temperature, V, 1], 'float32'), *zero_states(model, 1))
    assert found == text[:, 0].tolist() and len({number % 2 for number in found[3:]}) == 2


def test_products_are_compiled_from_their_source(javascript, tmp_path):
    """The WebAssembly in a page gives the same bits as product.c, compiled again by the command in it."""
    command = re.search('(?s)(for option.*done)', (page.HERE / 'product.c').read_text()).group(1)
    shutil.copy(page.HERE / 'product.c', tmp_path)
    subprocess.run(command, shell=True, cwd=str(tmp_path), stderr=subprocess.DEVNULL)
    paths = sorted(tmp_path.glob('*.wasm'))                # of clang 14, only that without relaxed SIMD
    if not paths:
        pytest.skip('clang or wasm-ld is missing: apt install clang lld')
    both = [[base64.b64encode(path.read_bytes()).decode() for path in (page.HERE / path.name, path)] for path in paths]
    for found in javascript("""both.map(pair => pair.map(bytes => {
        Memory.product = new WebAssembly.Module(bytesOf(bytes));
        const memory = new Memory(), {at} = memory.place(1, 4000), random = new Random(3);
        memory.numbers.set(times(3000, () => random.next() - 0.5), at);
        memory.multiplyAdd(3000, 0, 100, 1, 96, 7, 96, 7, 1, 96);
        memory.multiplyAdd(3200, 0, 100, 8, 40, 5, 40, 3, 11, 40);
        memory.functions.squash(4 * 3100, 4 * 3100, 99, 2);
        return Array.from(memory.numbers.slice(0, 3600));
    }))""", both=both):
        assert found[0] == found[1] and np.ptp(found[0][3000:]) > 1


# ---------------------------------------------------------------- the data

def test_data_are_those_of_an_independent_model(written, short_run):
    """Costs, probabilities, parameters, and the contents of the logs beside the checkpoint."""
    checkpoint = str(short_run.folder / 'r_t.txt_best.npz')
    data, p = data_of(written), load(checkpoint)
    codes, probabilities, costs = expected_of(p)
    assert data['uchar'] == p['uchar'].tolist()
    np.testing.assert_array_equal(array_of(data['text']), codes)
    np.testing.assert_allclose(array_of(data['costs']), costs, atol=1e-5)
    np.testing.assert_allclose(array_of(data['chances']).reshape(-1, 5), -np.sort(-probabilities)[:, :5], rtol=2e-3)
    for name in NAMES:
        np.testing.assert_array_equal(array_of(data['parameters'][name]), p[name].astype('float16').ravel())
    assert data['sizes'] == [5, 7] and {len(r) for r in data['correlations'].values()} == {5 + 7}
    assert np.array(data['epochs'])[:, [0, 2]].tolist() == [[k, cost] for k, cost in enumerate(short_run.costs, 1)]
    held_out = read_by(p, expected_of(p, TEXT[round(0.7 * (len(TEXT) // S)) * S:])[0])[0][1::2]
    ends = np.concatenate([[C.min(axis=0), C.max(axis=0)] for C in held_out], axis=1)
    np.testing.assert_allclose(data['ranges'], ends.T, atol=1e-4)
    assert data['title'] == 't.txt'
    samples = (short_run.folder / 'r_t.txt_samples.txt').read_text(encoding='utf-8')
    looks = data['learning']['looks']
    assert all(f'\n{look["sample"]}\n' in samples for look in looks)
    rows = np.loadtxt(short_run.folder / 'r_t.txt_passage.out')
    np.testing.assert_allclose([array_of(look['costs']) for look in looks], rows[:, 1:], rtol=1e-3)
    assert [look['time'] for look in looks] == rows[:, 0].tolist() and len(data['learning']['passage']) == rows.shape[1]


@pytest.mark.parametrize('ending, damaged', [('_epochs.out', b'1 2 3 4 5\n2 2\0\0'), ('_epochs.out', b'nonsense\n'),
                                             ('_passage.out', b'# the beginning of the validation text: [1,2]'),
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


# ---------------------------------------------------------------- the command

def test_page_of_a_file(produce, short_run, tmp_path):
    """The page names no folder."""
    (tmp_path / 'x.txt').write_text('☃' + TEXT, encoding='utf-8')
    result = produce('--page', tmp_path / 'p.html', '--score', tmp_path / 'x.txt')
    assert (result.returncode, result.stdout) == (0, '') and f'wrote {tmp_path / "p.html"}, 0.' in result.stderr
    data, shown = data_of(tmp_path / 'p.html'), TEXT[:page.MOST_CHARACTERS]
    assert text_of(data) == shown and f' {len(TEXT) + 1:,} characters of x.txt, from its beginning' in data['source']
    assert "never saw: '☃' (1)." in data['source']
    assert ['run', 'r'] in data['info'] and str(short_run.folder).encode() not in (tmp_path / 'p.html').read_bytes()
    assert produce('--page', tmp_path / 'p.html', '--score', 't.txt', '--overwrite').returncode == 0
    assert 'beginning. The model was trained on this file' in data_of(tmp_path / 'p.html')['source']


def test_page_of_held_out_text(produce, short_run, monkeypatch, tmp_path):
    """It is from the run's own file or, if that has changed, the passage in its log.

    A held-out text beside the checkpoint comes first, of which the bundled model has one. The model can write the text.
    """
    def page_of(text, *options):
        assert produce('--page', tmp_path / 'p', '--overwrite', *options).returncode == 0
        data = data_of(tmp_path / 'p')
        assert text_of(data).startswith(text)
        return data['source'], len(text_of(data))

    beside, held_out = short_run.folder / 'r_t.txt_held_out.txt', TEXT[round(0.7 * (len(TEXT) // S)) * S:]
    beside.write_text('the cat', encoding='utf-8')
    assert page_of('the cat') == ('From t.txt, the part on which the model was not trained.', 7)
    beside.unlink()
    assert page_of('the ', '--length', 500, '--prime', 'the ')[0] == (
        'A text that the model wrote after a prime of 4 characters.')
    assert page_of('', '--length', 30, '--hold', 'C2:4=-3')[0] == 'A text that the model wrote with C2:4 held at -3.'
    assert page_of(held_out)[0] == 'Validation text from t.txt, on which the model was not trained.'
    monkeypatch.setattr(page, 'read_string', lambda *arguments: ('', 'another sha256'))
    source, length = page_of(held_out[:300])
    assert source.startswith('300 characters of validation text, ') and length == 300
    monkeypatch.undo()
    bundled = page.held_out(opened(BUNDLED)).text
    assert 9000 < len(bundled) <= page.MOST_CHARACTERS and bundled.count('"') > 60
