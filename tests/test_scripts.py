"""train.py and produce_text.py as a user runs them, each in a process of its own."""
import ast
import glob
import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from numpy_model import NAMES, costs, forward
from scripts import (B, FAST, H1, H2, PRODUCE, ROOT, S, SMALL, TRAIN, assert_refused, copy_of_program, environment,
                     finish, load, run, sentences, snapshot, start, succeeded)
from test_fetch_novel import NOVEL, closed_url, server  # noqa: F401, fixtures

TEXT = sentences()                                      # 237 sequences: 0.7 of them has to be rounded up
N_TRAIN = round(0.7 * (len(TEXT) // S)) // B            # batches, by the rule
N_VALID = (len(TEXT) // S - round(0.7 * (len(TEXT) // S))) // B
NUMBER = r'[\d,.]+'
VALID_EVERY = 5                                         # steps; the very last one is among them
LEARN = SMALL + ('--epochs 3 --save-every 2 --lrate-decay 0.5 --lrate-decay-epoch 2 --valid-every 5 '
                 '--output-dir results').split()


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
    """A finished run, on a machine where matplotlib never ran."""
    folder = tmp_path_factory.mktemp('trained')
    text = folder / 'sentences.txt'
    text.write_bytes(TEXT.encode('utf-8'))
    result = run(TRAIN, text, 'r1', *LEARN, cwd=folder, env={'MPLCONFIGDIR': str(folder / 'matplotlib')})
    results = folder / 'results'
    return SimpleNamespace(folder=folder, text=text, result=result, results=results,
                           checkpoint=results / 'r1_sentences.txt_epoch3.npz',
                           steps=results / 'r1_sentences.txt.out', epochs=results / 'r1_sentences.txt_epochs.out')


def header(log):
    """The names of the columns."""
    line = log.read_text().splitlines()[0]
    assert line.startswith('#')
    return line[1:].split()


def size_of_png(path):
    """(width, height), and fails where the file is no PNG."""
    start = path.read_bytes()[:24]
    assert start[:8] == b'\x89PNG\r\n\x1a\n' and start[12:16] == b'IHDR'
    return struct.unpack('>II', start[16:])


# ---------------------------------------------------------------- train.py

def test_training_says_what_it_does_and_nothing_on_stderr(trained):
    out = succeeded(trained.result)
    assert '\r' not in out
    for words in ('{:,} characters'.format(len(TEXT)), '{} batches'.format(N_TRAIN), '0.002', '0.95', '1e-08'):
        assert words in out
    lines = out.splitlines()
    assert [line[:9] for line in lines if line.startswith('epoch')] == ['epoch 1/3', 'epoch 2/3', 'epoch 3/3']
    saved = [line.split()[-1] for line in lines if line.startswith('saved')]
    assert [name for name in saved if not name.endswith('_best.npz')] == [
        'results/r1_sentences.txt_epoch2.npz', 'results/r1_sentences.txt_epoch3.npz']
    assert lines[-2:] == ['next: python produce_text.py results/r1_sentences.txt_best.npz',
                          'to go on: python train.py --resume ' + saved[-1]]


def test_names_of_the_results(trained):
    assert sorted(os.listdir(str(trained.results))) == [
        'r1_sentences.txt' + end for end in ('.out', '.png', '_best.npz', '_epoch2.npz', '_epoch3.npz', '_epochs.out', '_samples.txt')]


def test_log_of_the_steps(trained):
    rows = np.loadtxt(str(trained.steps))
    assert rows.shape == (3 * N_TRAIN, 11)
    np.testing.assert_allclose(rows[:, 0], np.arange(1, 3 * N_TRAIN + 1) / N_TRAIN, rtol=1e-5)
    names = header(trained.steps)
    assert len(names) == 11 and all(name.endswith(p) for name, p in zip(names[3:], NAMES))
    assert np.flatnonzero(np.isfinite(rows[:, 2])).tolist() == list(range(0, 3 * N_TRAIN, VALID_EVERY))
    assert rows[0, 10] == np.inf                    # c starts at zero
    rows[0, 10] = rows[~np.isfinite(rows[:, 2]), 2] = 1
    assert np.isfinite(rows).all() and (rows > 0).all()


def test_log_of_the_epochs(trained):
    rows, steps = np.loadtxt(str(trained.epochs)), np.loadtxt(str(trained.steps))
    assert len(header(trained.epochs)) == 5
    assert rows[:, 0].tolist() == [1, 2, 3]
    np.testing.assert_allclose(rows[:, 1], steps[:, 1].reshape(3, N_TRAIN).mean(axis=1), rtol=1e-5)
    assert (np.diff(rows[:, 1]) < 0).all()
    np.testing.assert_allclose(rows[:, 3], [2e-3, 1e-3, 5e-4])      # halved from epoch 2 on
    assert (rows[:, 4] > 0).all()


def test_checkpoint_has_the_shapes_and_characters(trained):
    stored = load(trained.checkpoint)
    assert stored['uchar'].tolist() == sorted(set(TEXT))
    V = len(set(TEXT))
    assert {name: stored[name].shape for name in NAMES} == dict(
        U1=(4, H1, V), W1=(4, H1, H1), b1=(4, H1), U2=(4, H2, H1), W2=(4, H2, H2), b2=(4, H2), V=(V, H2), c=(V,))
    assert {stored[name].dtype for name in NAMES} == {np.dtype('float32')}


def validation_costs(checkpoint):
    """The costs of the validation batches by the issue's rules: text, split, order of batches and model at once."""
    p = load(checkpoint)
    codes = np.searchsorted(p['uchar'], list(TEXT)[:len(TEXT) // S * S]).reshape(-1, S)
    valid = codes[round(0.7 * len(codes)):][:N_VALID * B].reshape(N_VALID, B, S).transpose(0, 2, 1)     # (n, S, B)
    return [costs(forward(p, batch[:-1])[0], batch[1:]).mean() for batch in valid]


@pytest.mark.parametrize('epoch', [2, 3])
def test_validation_cost_of_an_epoch_is_that_of_its_checkpoint(trained, epoch):
    expected = validation_costs(trained.results / 'r1_sentences.txt_epoch{}.npz'.format(epoch))
    np.testing.assert_allclose(np.loadtxt(str(trained.epochs))[epoch - 1, 2], np.mean(expected), rtol=2e-5)


def test_validation_cost_of_a_step_is_that_of_one_batch(trained):
    drawn = np.loadtxt(str(trained.steps))[-1, 2]
    assert np.isclose(drawn, validation_costs(trained.checkpoint), rtol=2e-5, atol=0).any()


def test_plot(trained):
    width, height = size_of_png(trained.results / 'r1_sentences.txt.png')
    assert 600 <= width <= 2000 and 400 <= height <= 1500
    from matplotlib.image import imread
    red, _, blue = imread(str(trained.results / 'r1_sentences.txt.png')).transpose(2, 0, 1)[:3]
    assert (blue - red > 0.3).sum() > 1000 and (red - blue > 0.3).sum() > 100     # curves of two colours


def test_same_seed_gives_the_same_run_and_overwrite_replaces_only_it(trained, tmp_path):
    results = tmp_path / 'results'
    shutil.copytree(str(trained.results), str(results))
    old = [results / ('r1_sentences.txt' + end) for end in ('_epoch99.npz', '_interrupted.npz')]
    others = [results / name for name in ('r11_sentences.txt.out', 'r1_sentences.txt2.out', 'notes.txt',
                                          'r1_sentences.txt_epoch2.npz.bak', 'r1_sentences_txt.out')]
    for path in old + others:
        path.write_bytes(b'kept?')
    succeeded(run(TRAIN, trained.text, 'r1', *LEARN, '--overwrite', cwd=tmp_path))
    assert not any(path.exists() for path in old)
    assert [path.read_bytes() for path in others] == [b'kept?'] * len(others)
    assert (results / trained.steps.name).read_bytes() == trained.steps.read_bytes()
    epochs = [np.loadtxt(str(folder / trained.epochs.name)) for folder in (results, trained.results)]
    np.testing.assert_array_equal(epochs[0][:, :4], epochs[1][:, :4])           # all but the speed
    for n in (2, 3):
        name = 'r1_sentences.txt_epoch{}.npz'.format(n)
        again, first = load(results / name), load(trained.results / name)
        about = [json.loads(str(stored.pop('about'))) for stored in (again, first)]
        for said in about:
            del said['progress']['log_sizes']                                       # the speed has a digit more or less
        assert about[0] == about[1]
        assert {key: a.tobytes() for key, a in again.items()} == {key: a.tobytes() for key, a in first.items()}


@pytest.fixture(scope='module')
def unvalidated(tmp_path_factory):
    """A run without validation, on a text in latin-1, under a name with a space."""
    folder = tmp_path_factory.mktemp('unvalidated')
    text = TEXT.replace('—', '\xa0').replace('𝄞', 'ÿ')
    (folder / 't.txt').write_bytes(text.encode('latin-1'))
    result = run(TRAIN, folder / 't.txt', 'my run', *SMALL, '--epochs', 2, '--ratio-valid', 0, '--encoding', 'latin-1',
                 '--output-dir', folder, flags=FAST, cwd=folder)
    return SimpleNamespace(folder=folder, text=text, result=result)


def test_no_validation_gives_nan_columns_and_a_plot(unvalidated):
    succeeded(unvalidated.result)
    for end in ('.out', '_epochs.out'):
        rows = np.loadtxt(str(unvalidated.folder / ('my run_t.txt' + end)))
        assert np.isnan(rows[:, 2]).all() and np.isfinite(rows[:, 1]).all()
    assert size_of_png(unvalidated.folder / 'my run_t.txt.png') > (600, 400)


def test_encoding(unvalidated):
    stored = load(unvalidated.folder / 'my run_t.txt_epoch2.npz')
    assert stored['uchar'].tolist() == sorted(set(unvalidated.text))


def test_next_command_survives_a_space(unvalidated):
    words = shlex.split(unvalidated.result.stdout.splitlines()[-2])
    assert len(words) == 4 and words[0] == 'next:' and os.path.normpath(words[3]) == 'my run_t.txt_epoch2.npz'


def test_ascii_terminal_does_not_end_training(tmp_path):
    (tmp_path / 'texte-é.txt').write_text(TEXT, encoding='utf-8')
    result = run(TRAIN, tmp_path / 'texte-é.txt', 'ü', *SMALL, '--epochs', 1, '--output-dir', tmp_path, flags=FAST,
                 env={'LC_ALL': 'C', 'PYTHONIOENCODING': 'ascii'})
    succeeded(result)
    assert (tmp_path / 'ü_texte-é.txt_epoch1.npz').exists()


@pytest.mark.parametrize('way', ['THEANO_FLAGS', 'THEANORC', '.theanorc'])
def test_the_users_theano_settings_win(trained, tmp_path, way):
    (tmp_path / 't.txt').write_text(TEXT[:100])
    (tmp_path / '.theanorc').write_text('' if way == 'THEANO_FLAGS' else '[global]\nfloatX = float64\n')
    env = {'HOME': str(tmp_path), 'MPLCONFIGDIR': str(trained.folder / 'matplotlib'),
           'THEANORC': str(tmp_path / '.theanorc') if way == 'THEANORC' else '~/.theanorc'}
    flags = FAST + ',floatX=float64' * (way == 'THEANO_FLAGS')
    succeeded(run(TRAIN, tmp_path / 't.txt', 'r', *SMALL, '--epochs', 1, '--output-dir', tmp_path, flags=flags,
                  env=env))
    stored = load(tmp_path / 'r_t.txt_epoch1.npz')
    assert {stored[name].dtype for name in NAMES} == {np.dtype('float64')}


def test_warns_where_the_gradient_reaches_no_whole_sequence(tmp_path):
    (tmp_path / 't.txt').write_text(TEXT[:100])
    result = run(TRAIN, tmp_path / 't.txt', 'r', *SMALL, '--epochs', 1, '--bptt-maxdepth', S - 2,
                 '--output-dir', tmp_path, flags=FAST)
    assert (result.returncode, result.stderr.count('\n')) == (0, 1)
    assert 'bptt_maxdepth is {}'.format(S - 2) in result.stderr and 'seq_length' in result.stderr


# ---------------------------------------------------------------- stopping a run

@pytest.fixture
def program(tmp_path):
    return copy_of_program(tmp_path / 'program')


def interrupted(process, log, number=signal.SIGINT, rows=1):
    """What comes of a running train.py that is sent a signal when it has logged some steps."""
    deadline = time.time() + 300
    while not (log.exists() and log.read_text().count('\n') > rows):
        assert process.poll() is None and time.time() < deadline, 'it does not train'
        time.sleep(0.02)
    process.send_signal(number)
    return finish(process)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=['SIGINT', 'SIGTERM'])
def test_interrupted_training_leaves_all_that_it_learned(program, number):
    (program / 't.txt').write_text(TEXT, encoding='utf-8')
    log = program / 'training_results' / 'r_t.txt.out'
    result = interrupted(start('train.py', 't.txt', 'r', *SMALL, flags=FAST, cwd=program), log, number, rows=3)
    assert (result.returncode, result.stderr) == (130, '')

    path = 'training_results/r_t.txt_interrupted.npz'
    assert [p.name for p in log.parent.glob('*.npz')] == ['r_t.txt_interrupted.npz']
    assert not list(log.parent.glob('*.part'))
    assert log.read_text().endswith('\n') and np.loadtxt(str(log)).shape[1] == 11
    saying, following, going_on = [line for line in result.stdout.splitlines() if path in line]
    assert 'interrupted in epoch' in result.stdout and saying == 'saved ' + path
    command = shlex.split(following)
    assert command[:2] == ['next:', 'python']
    assert '# sequence 4:' in succeeded(run(*command[2:], flags=FAST, cwd=program))
    assert shlex.split(going_on) == 'to go on: python train.py --resume'.split() + [path]


# ---------------------------------------------------------------- train.py without arguments

def train_a_little(program, url, text):
    """Start the copied train.py without input, stop it after a step. Returns its output and the characters it saw."""
    results = program / 'training_results'
    process = start(program / 'train.py', '--num-units1', 2, '--num-units2', 3, flags=FAST, cwd=program.parent,
                    env={'CHARLSTM_NOVEL_URL': url})
    result = interrupted(process, results / ('run0_%s.out' % text))
    assert (result.returncode, result.stderr) == (130, '')
    return result.stdout, load(results / ('run0_%s_interrupted.npz' % text))['uchar'].tolist()


def test_default_text_is_fetched_once(program, server):  # noqa: F811
    _, characters = train_a_little(program, server.url, 'prideandprejudice.txt')
    assert characters == sorted(set(NOVEL))
    assert (program / 'text_input' / 'prideandprejudice.txt').read_bytes() == NOVEL.encode('utf-8')
    again = run(program / 'train.py', cwd=program.parent, env={'CHARLSTM_NOVEL_URL': server.url})
    assert_refused(again, 'run0_prideandprejudice.txt', 'exists already', '--overwrite')
    assert len(server.requests) == 1


def test_default_text_without_a_network(program, closed_url):  # noqa: F811
    from pydoc_data.topics import topics
    out, characters = train_a_little(program, closed_url, 'python_reference.txt')
    assert len([line for line in out.splitlines() if closed_url in line and 'python_reference.txt' in line]) == 1
    assert [path.name for path in (program / 'text_input').glob('*.txt')] == ['python_reference.txt']
    assert characters == sorted(set('\n'.join(topics.values())))


@pytest.mark.parametrize('path', ['missing.txt', ''])
def test_a_path_of_the_users_never_falls_back(program, closed_url, path):  # noqa: F811
    before = snapshot(program)
    result = run(program / 'train.py', path, '--batch-size', 10 ** 8, cwd=program,
                 env={'CHARLSTM_NOVEL_URL': closed_url})
    assert_refused(result)
    assert 'reference' not in result.stderr + result.stdout
    assert snapshot(program) == before


# ---------------------------------------------------------------- a terminal

@pytest.fixture(scope='module')
def terminal(tmp_path_factory):
    """What a terminal of 80 columns shows of a run with as many steps as the novel's 75 epochs have, up to Ctrl-C."""
    import fcntl
    import termios
    folder = tmp_path_factory.mktemp('terminal')
    (folder / 't.txt').write_text(TEXT, encoding='utf-8')
    arguments = [str(TRAIN), 't.txt', 'r', *SMALL, '--epochs', str(15675 // N_TRAIN), '--output-dir', '.']
    pid, screen = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
        os.chdir(str(folder))
        os.execve(sys.executable, [sys.executable] + arguments, environment(FAST))
    shown = b''
    while select.select([screen], [], [], 300)[0]:
        try:
            more = os.read(screen, 4096)
        except OSError:                     # how Linux says that the other end is closed
            more = b''
        if not more:
            break
        if b'epoch 2/' in more and b'epoch 2/' not in shown:
            os.write(screen, b'\x03')
        shown += more
    os.close(screen)
    status = os.waitpid(pid, 0)[1]
    return SimpleNamespace(status=os.WEXITSTATUS(status), folder=folder,
                           lines=shown.decode('utf-8').replace('\r\n', '\n').replace('\r', '\n').split('\n'))


def test_progress_bar(terminal):
    bars = [line for line in terminal.lines if 'chars/s' in line]
    last = bars[-1]
    for words in (r'epoch \d+/\d+', 'cost ' + NUMBER, 'valid ' + NUMBER, NUMBER + ' chars/s'):
        assert re.search(words, last), (words, last)
    assert len(bars) > 1
    assert len([line for line in terminal.lines if line.startswith('epoch 1/') and 'characters/s' in line]) == 1


def test_progress_bar_shows_the_time_left(terminal):
    assert re.search(r', (\d+:)?\d+:\d\d left \|', [line for line in terminal.lines if 'chars/s' in line][-1])


def test_control_c_on_a_terminal(terminal):
    assert terminal.status == 130
    assert re.fullmatch(r'next: python produce_text.py (\./)?r_t.txt_(best|interrupted).npz', terminal.lines[-3])
    assert set(NAMES) < set(load(terminal.folder / 'r_t.txt_interrupted.npz'))


# ---------------------------------------------------------------- produce_text.py

def sequences(text, count, length):
    """The texts in what produce_text.py wrote; fails where it has another form."""
    form = ''.join('# sequence {}:\n(.{{{}}})\n\n'.format(i, length) for i in range(count))
    match = re.fullmatch(form, text, re.DOTALL)
    assert match, text
    return list(match.groups())


def contents(path):
    return path.read_bytes().decode('utf-8')


def test_text_is_printed_and_appended(trained, tmp_path):
    def produce(seed):
        return succeeded(run(PRODUCE, trained.checkpoint, 'out.txt', '--random-seed', seed, flags=FAST, cwd=tmp_path))

    printed = produce(1)
    first = contents(tmp_path / 'out.txt')
    assert printed == first + 'appended to out.txt\n'
    texts = sequences(first, 5, 100)
    assert len(set(texts)) == 5 and set(''.join(texts)) <= set(TEXT)
    assert produce(1) == printed and contents(tmp_path / 'out.txt') == first + first
    produce(2)
    again = contents(tmp_path / 'out.txt')
    assert again.startswith(first + first) and sequences(again[2 * len(first):], 5, 100) != texts


def test_default_output(trained, program, tmp_path):
    out = succeeded(run(program / 'produce_text.py', trained.checkpoint, cwd=tmp_path))
    written = contents(program / 'text_output' / 'r1_sentences.txt_epoch3.out')
    assert len(sequences(written, 5, 100)) == 5 and out.startswith(written)
    assert 'r1_sentences.txt_epoch3.out' in out[len(written):]


def test_options_of_sampling(trained, tmp_path):
    prime, length = 'the café 𝄞', 33
    succeeded(run(PRODUCE, trained.checkpoint, tmp_path / 'out', '--count', 3, '--length', length, '--prime', prime,
                  '--method', 'argmax', flags=FAST))
    p = load(trained.checkpoint)
    expected = prime
    while len(expected) < length:
        x = np.searchsorted(p['uchar'], list(expected))[:, None]
        expected += p['uchar'][forward(p, x)[0][-1, 0].argmax()]
    assert sequences(contents(tmp_path / 'out'), 3, length) == [expected] * 3


def test_ascii_terminal_does_not_spoil_the_file(trained, tmp_path):
    result = run(PRODUCE, trained.checkpoint, tmp_path / 'é.txt', '--prime', 'the 𝄞', '--count', 2, flags=FAST,
                 env={'LC_ALL': 'C', 'PYTHONIOENCODING': 'ascii'})
    assert succeeded(result).isascii()
    assert all(text.startswith('the 𝄞') for text in sequences(contents(tmp_path / 'é.txt'), 2, 100))


# ---------------------------------------------------------------- the machine: compiler, Python, packages

def assert_warns_of_no_compiler(result):
    assert result.returncode == 0
    assert result.stderr.count('\n') == 1 and 'C++ compiler' in result.stderr and 'install' in result.stderr


def test_without_a_compiler(tmp_path):
    (tmp_path / 't.txt').write_text(TEXT[:100])
    assert_warns_of_no_compiler(run(TRAIN, tmp_path / 't.txt', 'r', *SMALL, '--epochs', 1, '--output-dir', tmp_path,
                                    flags='cxx=,' + FAST))
    assert_warns_of_no_compiler(run(PRODUCE, tmp_path / 'r_t.txt_epoch1.npz', tmp_path / 'out', flags='cxx='))
    assert len(sequences(contents(tmp_path / 'out'), 5, 100)) == 5


def other_pythons():
    """The interpreters of this machine, from 3.6 on, that Theano 1.0.5 does not run on."""
    names = ['python' + version for version in ('3.6', '3.7', '3.12', '3.13', '3.14')]
    more = glob.glob(os.path.expanduser('~/.pyenv/versions/*/bin/python'))
    for path in [shutil.which(name) for name in names] + more:
        asked = path and subprocess.run([path, '-c', 'import sys; print(sys.version_info[:2])'],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding='utf-8')
        version = ast.literal_eval(asked.stdout) if asked and asked.returncode == 0 else None
        if version and version >= (3, 6) and not (3, 8) <= version <= (3, 11):
            yield path


def pretended(version, script):
    """Arguments that make this Python run a script as another version of it."""
    return ['-c', 'import runpy, sys; sys.version_info = {}; sys.path.insert(0, {!r}); '
                  'runpy.run_path({!r}, run_name="__main__")'.format(version, str(ROOT), str(script)), 'x']


@pytest.mark.parametrize('script', [TRAIN, PRODUCE], ids=['train', 'produce_text'])
def test_wrong_python(script, tmp_path):
    commands = [[sys.executable] + pretended((3, minor, 0), script) for minor in (7, 12)]
    for command in commands + [[path, str(script), 'x'] for path in other_pythons()]:
        result = subprocess.run(command, cwd=str(tmp_path), env=environment(PYTHONDONTWRITEBYTECODE='1'),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8')
        assert_refused(result, 'Python 3.8 to 3.11', 'pip install -r requirements.txt')
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def without(tmp_path):
    """Environments in which some packages cannot be imported."""
    def changes(*packages):
        (tmp_path / 'stubs').mkdir()
        for package in packages:
            (tmp_path / 'stubs' / (package + '.py')).write_text('raise ImportError("No module named %s")' % package)
        return {'PYTHONPATH': str(tmp_path / 'stubs')}
    return changes


@pytest.mark.parametrize('package', ['theano', 'numpy', 'tqdm'])
@pytest.mark.parametrize('script', [TRAIN, PRODUCE], ids=['train', 'produce_text'])
def test_missing_package(script, package, without):
    assert_refused(run(script, 'x', env=without(package)), package, 'pip install -r requirements.txt')


# ---------------------------------------------------------------- --help

TRAIN_DEFAULTS = {
    'num-units1': 256, 'num-units2': 256, 'batch-size': 50, 'seq-length': 50, 'ratio-valid': 0.3, 'lrate': 2e-3,
    'drate': 0.95, 'eps': 1e-8, 'bptt-maxdepth': 50, 'l1': 0, 'l2': 0, 'epochs': 75, 'lrate-decay': 0.97,
    'lrate-decay-epoch': 10, 'save-every': 10, 'random-seed': None, 'encoding': 'utf-8', 'overwrite': None,
    'output-dir': 'training_results', 'input': 'prideandprejudice.txt', 'run': 'run0'}
PRODUCE_DEFAULTS = {
    'length': 100, 'count': 5, 'prime': None, 'method': 'normal', 'random-seed': None, 'OUT': 'text_output'}


@pytest.mark.parametrize('script, defaults', [(TRAIN, TRAIN_DEFAULTS), (PRODUCE, PRODUCE_DEFAULTS)],
                         ids=['train', 'produce_text'])
def test_help_needs_no_package_and_names_the_defaults(script, defaults, without):
    shown = succeeded(run(script, '--help', env=dict(without('theano', 'numpy', 'matplotlib', 'tqdm'), COLUMNS='300')))
    for name, default in defaults.items():
        entry = re.search(r'^ +(--)?{}\s.*(\n {{20,}}.*)?'.format(name), shown, re.MULTILINE)
        assert entry, name
        said = re.search(r'\(default: (.*)\)', entry.group())
        if isinstance(default, str):
            assert default in said.group(1)
        elif default is not None:
            assert float(said.group(1)) == default, entry.group()
