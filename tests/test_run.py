"""The files of a run: their names, logs, checkpoints and picture; and runs that stop in every way and go on.

Nothing may differ then from a run that never stopped. Of 20 SIGKILLs, 14 come from
outside to a real train.py when its log has a number of rows drawn by chance, and 6 at
an exact place of the writing of a checkpoint, by a driver that runs train.py and counts
calls. Their pictures are stubs: matplotlib takes a second.
"""
import json
import math
import os
import random
import re
import shutil
import signal
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from engine.state.checkpoint import write
from damage import HEADINGS
from engine.files import partial_name
from engine.run.run import LOGS, Run
from learner import by_number, learn, progress_in
from numpy_model import NAMES, costs, forward, random_parameters
from scripts import (B, FAST, N_TRAIN, N_VALID, ROOT, S, SMALL, STATEFUL, TEXT, TRAIN, Compiling, arrays_and_about,
                     assert_refused, finish, load, log_rows, refuse_training, run, settings, size_of_png, snapshot,
                     start, succeeded, without_privileges)

RESULTS = ['r_t.txt' + end for end in ('.out', '_epochs.out', '.png', '_epoch7.npz', '_interrupted.npz')]
VALID_EVERY = 6                               # steps, in the fixture `trained`; the first one of epoch 3 is among them


# ---------------------------------------------------------------- names of the results

def test_names_of_the_results(trained):
    assert sorted(os.listdir(str(trained.results))) == [
        'r1_sentences.txt' + end for end in ('.out', '.png', '_best.npz', '_epoch2.npz', '_epoch3.npz', '_epochs.out',
                                             '_samples.txt')]


@pytest.mark.parametrize('name', ['a/b', '/', '../r', 'r/', ''])
def test_run_name_that_is_a_path(folder, here, name):
    refuse_training(folder, here, 'run name', repr(name), name=name)


def test_run_name_that_is_a_path_in_a_process(folder):
    refuse_training(folder, run, 'run name', repr('../r'), name='../r')


def train_results(name):
    """The files of a run of that name, as train.py knows them."""
    return Run('results', name + '_t.txt')


@pytest.mark.parametrize('name', ['..', '.', 'a b', 'ü', '%s{}'])
def test_odd_run_name_stays_in_the_output_folder(folder, here, name):
    before = set(snapshot(folder))
    with pytest.raises(Compiling):
        here(TRAIN, 't.txt', name, *SMALL, '--output-dir', 'results')
    assert set(snapshot(folder)) == before                   # refused by nothing, and nothing written before compiling
    runs = train_results(name)
    assert os.path.split(runs.path('.out')) == ('results', name + '_t.txt.out')


@pytest.mark.parametrize('output', ['t.txt', 't.txt/x', '/proc/x'])
def test_output_folder_that_cannot_be(folder, here, output):
    refuse_training(folder, here, output, options=['--output-dir', output])


def test_output_folder_without_permission(folder):
    (folder / 'results').chmod(0o555)
    refuse_training(folder, run, 'r_t.txt.out', 'Permission denied', '--output-dir', preexec_fn=without_privileges)
    refuse_training(folder, run, 'results/new', 'Permission denied', '--output-dir names another',
                    options=['--output-dir', 'results/new'], preexec_fn=without_privileges)


def test_error_of_any_kind_says_which_checkpoint_there_is(refused):
    """Also of a kind that cannot be made from a message alone."""
    run = Run('results', 'r_t.txt', 'r_t.txt_epoch3.npz')
    unicode_error = UnicodeEncodeError('utf-8', 'a', 0, 1, 'why')
    for error, kind in ((unicode_error, ValueError), (FileNotFoundError(2, 'gone'), OSError)):
        with refused(kind, str(error), '--resume r_t.txt_epoch3.npz'), run.rescuing():
            raise error


def test_file_that_only_looks_like_a_checkpoint_is_no_earlier_result(folder):
    (folder / 'results' / 'r_t.txt_epoch1_npz').write_bytes(b'mine')
    Run('results', 'r_t.txt').check(overwrite=False)
    (folder / 'results' / 'r_t.txt_epoch10.npz').write_bytes(b'earlier')
    with pytest.raises(ValueError):
        Run('results', 'r_t.txt').check(overwrite=False)


# ---------------------------------------------------------------- earlier results

@pytest.mark.parametrize('name', RESULTS)
def test_earlier_result_is_not_replaced(folder, here, name):
    (folder / 'results' / name).write_bytes(b'precious')
    refuse_training(folder, here, os.path.join('results', name), '--overwrite')


def test_earlier_results_are_not_replaced_in_a_process(folder):
    for name in RESULTS:
        (folder / 'results' / name).write_bytes(b'precious')
    refuse_training(folder, run, 'exists already', '--overwrite')


@pytest.mark.parametrize('text, options, word', [
    ('missing.txt', [], 'missing.txt'), ('t.txt', ['--epochs', 0], 'epochs'), ('t.txt', ['--lrate', 'nan'], 'lrate'),
    ('t.txt', ['--seq-length', 1000], 'need')], ids=['missing text', 'epochs', 'rate', 'too short'])
def test_overwrite_with_bad_input_loses_nothing(folder, here, text, options, word):
    for name in RESULTS:
        (folder / 'results' / name.replace('t.txt', text)).write_bytes(b'precious')
    refuse_training(folder, here, word, text=text, options=['--overwrite'] + options)


def test_same_seed_gives_the_same_run_and_overwrite_replaces_only_it(trained, tmp_path):
    results = tmp_path / 'results'
    shutil.copytree(str(trained.results), str(results))
    old = [results / ('r1_sentences.txt' + end) for end in ('_epoch99.npz', '_interrupted.npz')]
    others = [results / name for name in ('r11_sentences.txt.out', 'r1_sentences.txt2.out', 'notes.txt',
                                          'r1_sentences.txt_epoch2.npz.bak', 'r1_sentences_txt.out')]
    for path in old + others:
        path.write_bytes(b'kept?')
    succeeded(run(TRAIN, trained.text, 'r1', *trained.options, '--overwrite', cwd=tmp_path))
    assert not any(path.exists() for path in old)
    assert [path.read_bytes() for path in others] == [b'kept?'] * len(others)
    assert (results / trained.steps.name).read_bytes() == trained.steps.read_bytes()
    epochs = [np.loadtxt(str(folder / trained.epochs.name)) for folder in (results, trained.results)]
    np.testing.assert_array_equal(epochs[0][:, :4], epochs[1][:, :4])           # all but the speed
    for n in (2, 3):
        name = 'r1_sentences.txt_epoch{}.npz'.format(n)
        assert arrays_and_about(results / name) == arrays_and_about(trained.results / name)


# ---------------------------------------------------------------- logs, picture and checkpoints

def header(log):
    """The names of the columns."""
    line = log.read_text().splitlines()[0]
    assert line.startswith('#')
    return line[1:].split()


def test_log_of_the_steps(trained):
    rows = np.loadtxt(str(trained.steps))
    assert rows.shape == (3 * N_TRAIN, 11)
    np.testing.assert_allclose(rows[:, 0], np.arange(1, 3 * N_TRAIN + 1) / N_TRAIN, rtol=1e-5)
    names = header(trained.steps)
    assert len(names) == 11 and all(name.endswith(p) for name, p in zip(names[3:], NAMES))
    tried = rows[::VALID_EVERY, 2]                  # and between these the last one stands again
    np.testing.assert_array_equal(rows[:, 2], np.repeat(tried, VALID_EVERY)[:len(rows)])
    assert len(set(tried)) > len(tried) / 2
    assert rows[0, 10] == np.inf                    # c starts at zero
    rows[0, 10] = 1
    assert np.isfinite(rows).all() and (rows > 0).all()


def test_log_of_the_epochs(trained):
    rows, steps = np.loadtxt(str(trained.epochs)), np.loadtxt(str(trained.steps))
    assert len(header(trained.epochs)) == 5
    assert rows[:, 0].tolist() == [1, 2, 3]
    np.testing.assert_allclose(rows[:, 1], steps[:, 1].reshape(3, N_TRAIN).mean(axis=1), rtol=1e-5)
    assert (np.diff(rows[:, 1]) < 0).all()
    np.testing.assert_allclose(rows[:, 3], [2e-3, 1e-3, 5e-4])      # halved from epoch 2 on
    assert (rows[:, 4] > 0).all()


def validation_costs(checkpoint):
    """The costs of the validation batches by the rules: text, split, order of batches and model at once."""
    p = load(checkpoint)
    codes = np.searchsorted(p['uchar'], list(TEXT)[:len(TEXT) // S * S]).reshape(-1, S)
    valid = codes[math.floor(0.7 * len(codes) + 0.5):][:N_VALID * B].reshape(N_VALID, B, S)
    valid = valid.transpose(0, 2, 1)                                                            # (n, S, B)
    return [costs(forward(p, batch[:-1])[0], batch[1:]).mean() for batch in valid]


@pytest.mark.parametrize('epoch', [2, 3])
def test_validation_cost_of_an_epoch_is_that_of_its_checkpoint(trained, epoch):
    expected = validation_costs(trained.results / 'r1_sentences.txt_epoch{}.npz'.format(epoch))
    np.testing.assert_allclose(np.loadtxt(str(trained.epochs))[epoch - 1, 2], np.mean(expected), rtol=2e-5)


def test_validation_cost_of_a_step_is_that_of_one_batch(trained):
    """By the parameters before the step, as the training cost is."""
    drawn = np.loadtxt(str(trained.steps))[2 * N_TRAIN, 2]
    expected = validation_costs(trained.results / 'r1_sentences.txt_epoch2.npz')
    assert 2 * N_TRAIN % VALID_EVERY == 0 and np.isclose(drawn, expected, rtol=2e-5, atol=0).any()


def test_log_that_lost_rows_since_the_checkpoint(tmp_path, refused):
    """As where the checkpoint was copied to another folder: there is nothing to append to."""
    learn(tmp_path, by_number(5, 4), '--epochs', 2, '--save-every', 1)
    (tmp_path / 'r_t.txt_epochs.out').write_bytes(b'')
    with refused(ValueError, 'r_t.txt_epochs.out'):
        learn(tmp_path, by_number(3), '--epochs', 3, resume=str(tmp_path / 'r_t.txt_epoch2.npz'))


def test_plot(trained):
    width, height = size_of_png(trained.results / 'r1_sentences.txt.png')
    assert 600 <= width <= 2000 and 400 <= height <= 1500
    from matplotlib.image import imread
    red, _, blue = imread(str(trained.results / 'r1_sentences.txt.png')).transpose(2, 0, 1)[:3]
    assert (blue - red > 0.3).sum() > 1000 and (red - blue > 0.3).sum() > 100     # curves of two colours


def test_best_has_the_lowest_validation_cost_of_the_log(judged):
    assert log_rows(judged.folder / 'r_t.txt_epochs.out')[:, 2].tolist() == judged.costs.tolist()
    assert judged.costs.argmin() + 1 == judged.best_epoch
    best = load(judged.folder / 'r_t.txt_best.npz')
    for epoch in range(1, len(judged.costs) + 1):
        stored = load(judged.folder / 'r_t.txt_epoch{}.npz'.format(epoch))
        assert [np.array_equal(best[name], stored[name]) for name in NAMES] == [epoch == judged.best_epoch] * len(NAMES)
    assert progress_of(judged.folder / 'r_t.txt_best.npz')['best_cost'] == judged.costs.min()


# ---------------------------------------------------------------- one run, stopped and resumed

OPTIONS = STATEFUL + '--dropout 0.2 --grad-clip 5 --epochs 6 --save-every 1 --valid-every 5'.split()
BATCHES = -(-(round(0.7 * (len(TEXT) // S)) * S // B - 1) // S)      # per epoch, of 6 streams and 11 steps

MATPLOTLIB = dict(__init__='''
import contextlib
rcParams, rcParamsDefault, rc_context = {'font.family': ['x']}, {}, lambda settings: contextlib.nullcontext()
''', font_manager='''
from unittest.mock import MagicMock
FontProperties = findfont = get_font = MagicMock()
fontManager = MagicMock(ttflist=[])
''', figure='''
from unittest.mock import MagicMock
Figure = lambda **k: MagicMock(savefig=lambda f, **k: f.write(b'picture'))
''')

# Runs train.py and, before, in or after the n-th call of a function, does something: a signal, or a full disk.
DRIVER = '''
import importlib, os, resource, runpy, sys
root, module, path, n, when, what, amount = sys.argv[1:8]
sys.path.insert(0, root)
sys.argv = [os.path.join(root, 'train.py')] + sys.argv[8:]
owner, (*parents, name) = importlib.import_module(module), path.split('.')
for parent in parents:
    owner = getattr(owner, parent)
function, calls = getattr(owner, name), 0
def act(first):
    if when == 'torn':
        os.ftruncate(first, os.fstat(first).st_size // 2)
    if what == 'signal':
        os.kill(os.getpid(), int(amount))
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(amount), int(amount)))
def counted(*args, **kwargs):
    global calls
    calls += 1
    if calls == int(n) and when != 'after':
        act(args[0])
    result = function(*args, **kwargs)
    if calls == int(n) and when == 'after':
        act(args[0])
    return result
setattr(owner, name, counted)
runpy.run_path(sys.argv[0], run_name='__main__')
'''
STEP, RENAME, SYNC = ('charlstm', 'CharLSTM.theano_train_rmsprop'), ('os', 'replace'), ('os', 'fsync')


def progress_of(checkpoint):
    """What a checkpoint says of how far its run is."""
    return json.loads(str(load(checkpoint)['about']))['progress']


class Trial:
    """The results in a folder of their own of one run, which may stop and go on."""

    def __init__(self, folder, shared):
        self.folder, self.shared = folder, shared
        self.log = self.file('.out')

    def file(self, ending):
        return self.folder / ('r_t.txt' + ending)

    def arguments(self):
        """What goes on from the newest checkpoint, or begins where there is none."""
        saved = {path: progress_of(path) for path in self.folder.glob('r_t.txt_*.npz')}
        if saved:
            return ['--resume', max(saved, key=lambda path: (saved[path]['epoch'], saved[path]['batch'],
                                                             '_epoch' in path.name))]
        return self.new() + ['--overwrite']

    def new(self):
        return [self.shared.text, 'r', *OPTIONS, '--output-dir', self.folder]

    def start(self, *arguments, at=None, do=('signal', int(signal.SIGKILL))):
        """train.py as a process; at: function, number of the call and when, where the driver is to do something."""
        command = [TRAIN] if at is None else ['-c', DRIVER, ROOT, *at[0], *at[1:], *do]
        return start(*command, *arguments, flags=FAST, cwd=self.folder,
                     env={'PYTHONPATH': str(self.shared.stubs), 'OMP_NUM_THREADS': '1'})

    def run(self, *arguments, **options):
        return finish(self.start(*arguments, **options))

    def rows(self):
        return self.log.read_bytes().count(b'\n') - 1 if self.log.exists() else 0

    def wait(self, process, rows):
        """Wait until the log has so many rows. Returns whether the process is still running then."""
        deadline = time.time() + 300
        while self.rows() < rows and process.poll() is None:
            assert time.time() < deadline, 'it does not train'
            time.sleep(0.001)
        return process.poll() is None

    def end(self):
        """All that the finished run holds: logs without speeds, and the arrays and progress of its checkpoints."""
        logs = [self.file(end).read_bytes() for end in ('.out', '_samples.txt')]
        epochs = [line.split()[:4] for line in self.file('_epochs.out').read_text().splitlines()[1:]]
        return dict(logs=logs, epochs=epochs, last=arrays_and_about(self.file('_epoch6.npz')),
                    best=arrays_and_about(self.file('_best.npz')))


def assert_same(end, straight):
    for part in ('epochs', 'logs', 'last', 'best'):
        assert end[part] == straight[part], part


@pytest.fixture(scope='module')
def shared(tmp_path_factory):
    """A folder with the text and the stub."""
    folder = tmp_path_factory.mktemp('shared')
    (folder / 't.txt').write_text(TEXT, encoding='utf-8')
    (folder / 'stubs' / 'matplotlib').mkdir(parents=True)
    for name, code in MATPLOTLIB.items():
        (folder / 'stubs' / 'matplotlib' / f'{name}.py').write_text(code)
    return SimpleNamespace(text=folder / 't.txt', stubs=folder / 'stubs')


@pytest.fixture(scope='module')
def straight(shared, tmp_path_factory):
    """A run that never stopped."""
    whole = Trial(tmp_path_factory.mktemp('straight'), shared)
    succeeded(whole.run(*whole.new()))
    assert whole.rows() == 6 * BATCHES
    return SimpleNamespace(run=whole, end=whole.end())


@pytest.fixture
def stopping(shared, tmp_path):
    folder = tmp_path / 'results'
    folder.mkdir()
    return Trial(folder, shared)


# ---------------------------------------------------------------- kill -9

# The checkpoints of epoch 2 are the 5th and 6th file that a new run writes, after that of the start and three in
# epoch 1; a run that goes on after epoch 1 writes the first of them as its 1st, and one that goes on from that the
# other.
WRITING = [(SYNC, 5, 'torn'), (RENAME, 1, 'before'), (RENAME, 1, 'after'),
           (SYNC, 1, 'torn'), (RENAME, 1, 'before'), (RENAME, 1, 'after')]


def killed_while_writing(run):
    for at in WRITING:
        assert run.run(*run.arguments(), at=at).returncode == -signal.SIGKILL
    assert run.file('_epoch2.npz').exists() and not run.file('_epoch3.npz').exists()
    succeeded(run.run(*run.arguments()))
    return [run.end()]


def killed_by_chance(runs, chance, kills):
    """Kill so many times, in as many runs as that takes."""
    ends = []
    for run in runs:
        while True:
            process = run.start(*run.arguments())
            ahead = run.rows() if '--resume' in process.args else 0
            if kills and run.wait(process, ahead + chance.randrange(1, 2 * BATCHES)):
                process.kill()
                kills -= finish(process).returncode == -signal.SIGKILL
            else:
                succeeded(finish(process))
                ends.append(run.end())
                break
        if not kills:
            return ends
    raise AssertionError('too few runs')


@pytest.fixture(scope='module')
def killed(shared, tmp_path_factory):
    """Ways of being killed: all that the runs then held. Two run at a time."""
    def runs(count):
        return [Trial(tmp_path_factory.mktemp('killed'), shared) for _ in range(count)]

    with ThreadPoolExecutor(2) as pool:
        tasks = {'chance 1': pool.submit(killed_by_chance, runs(9), random.Random(1), 7),
                 'chance 2': pool.submit(killed_by_chance, runs(9), random.Random(2), 7),
                 'while writing': pool.submit(killed_while_writing, *runs(1))}
    return tasks


@pytest.mark.parametrize('way', ['chance 1', 'chance 2', 'while writing'])
def test_killed_and_resumed_is_the_straight_run(straight, killed, way):
    for end in killed[way].result():
        assert_same(end, straight.end)


def test_resumed_from_the_best_that_was_written_just_before(straight, stopping):
    """It is the newest checkpoint then, newer than that of the epoch."""
    assert stopping.run(*stopping.new(), at=(RENAME, 5, 'after')).returncode == -signal.SIGKILL
    assert progress_of(stopping.file('_best.npz'))['epoch'] == 2
    succeeded(stopping.run('--resume', stopping.file('_best.npz')))
    assert_same(stopping.end(), straight.end)


def test_killed_after_the_plateau_went_back_to_the_best(stopping, tmp_path):
    """Validation has only characters that training never shows, so each epoch makes its cost worse."""
    (tmp_path / 'straight').mkdir()
    (tmp_path / 't.txt').write_text('abc' * 600 + 'de' * 385)
    options = ['--lrate', 0.01, '--plateau', 1]
    whole = Trial(tmp_path / 'straight', SimpleNamespace(text=tmp_path / 't.txt', stubs=stopping.shared.stubs))
    stopping.shared = whole.shared
    out = succeeded(whole.run(*whole.new(), *options))
    assert re.search(r'no better[^\n]*back to epoch 1,', out)
    steps = whole.rows() // 6
    assert stopping.run(*stopping.new(), *options, at=(STEP, 2 * steps + 2, 'after')).returncode == -signal.SIGKILL
    succeeded(stopping.run(*stopping.arguments()))
    assert_same(stopping.end(), whole.end())


# ---------------------------------------------------------------- Ctrl-C

@pytest.mark.parametrize('at, batch', [((STEP, BATCHES + 9, 'before'), 9), ((STEP, 2 * BATCHES, 'before'), BATCHES),
                                       ((RENAME, 5, 'before'), 0)],
                         ids=['middle of an epoch', 'its last step', 'its end'])
def test_interrupted_and_resumed_is_the_straight_run(straight, stopping, at, batch):
    """With fewer epochs at first, as that option may change."""
    result = stopping.run(*stopping.new(), '--epochs', 3, at=at, do=('signal', int(signal.SIGINT)))
    assert (result.returncode, result.stderr) == (130, '')
    assert progress_of(stopping.file('_interrupted.npz'))['batch'] == batch
    assert ('carried_C2' in load(stopping.file('_interrupted.npz'))) == (batch > 0)
    succeeded(stopping.run('--resume', stopping.file('_interrupted.npz'), '--epochs', 6))
    assert_same(stopping.end(), straight.end)


def test_interrupted_at_the_very_end_keeps_the_last_epoch(stopping):
    """A signal while the best parameters are written, with no step left to stop before."""
    result = stopping.run(*stopping.new(), '--epochs', 1, at=(RENAME, 2, 'before'), do=('signal', int(signal.SIGINT)))
    assert 'Traceback' not in result.stderr
    assert stopping.file('_epoch1.npz').exists() or stopping.file('_interrupted.npz').exists()


# ---------------------------------------------------------------- a full disk

def test_full_disk_and_resumed_is_the_straight_run(straight, stopping):
    """First no row can be written any more, then no checkpoint, which is larger than the logs."""
    first = stopping.run(*stopping.new(), at=(STEP, BATCHES + 9, 'before'), do=('full', 1000))
    assert_refused(first, 'r_t.txt.out', 'File too large', 'r_t.txt_epoch1.npz')
    second = stopping.run(*stopping.arguments(), at=(STEP, BATCHES, 'before'), do=('full', 12000))
    assert_refused(second, 'r_t.txt_best.npz', 'File too large', 'r_t.txt_epoch1.npz')
    assert not list(stopping.folder.glob('*.part'))
    succeeded(stopping.run(*stopping.arguments()))
    assert_same(stopping.end(), straight.end)


def train_on_full_disk(folder, step, room, *options):
    """train.py when from a step on no file may grow over `room` bytes."""
    return run('-c', DRIVER, ROOT, *STEP, step, 'before', 'full', room, 't.txt', 'r', *SMALL, '--output-dir', 'results',
               *options, flags=FAST, cwd=str(folder))


@pytest.fixture(scope='module')
def full_log(tmp_path_factory):
    """A run whose log gets larger than anything else, and may not grow over what it has in the middle of epoch 2."""
    folder = tmp_path_factory.mktemp('full')
    (folder / 't.txt').write_bytes(TEXT.encode('utf-8'))
    steps = round(0.7 * (len(TEXT) // 3))                                 # per epoch, and some 100 bytes each
    result = train_on_full_disk(folder, steps + 2, 100 * (steps + steps // 2), '--save-every', 1, *settings(0.3, 1, 3))
    return SimpleNamespace(result=result, log=folder / 'results' / 'r_t.txt.out')


def test_log_on_a_full_disk(full_log):
    """One line that names the log and the last checkpoint, which is good, and nothing half-written."""
    assert_refused(full_log.result, 'cannot write results/r_t.txt.out: File too large', 'results/r_t.txt_epoch1.npz')
    assert set(NAMES) < set(load(full_log.log.parent / 'r_t.txt_epoch1.npz'))
    assert not list(full_log.log.parent.glob('*.part'))


def test_log_is_whole_on_a_full_disk(full_log):
    assert full_log.log.read_text().endswith('\n')
    assert np.loadtxt(str(full_log.log)).shape[1] == 11


def test_checkpoint_on_a_full_disk(folder):
    units = ['--num-units1', 70, '--num-units2', 70]                      # for a checkpoint larger than picture and log
    result = train_on_full_disk(folder, 1, 200000, '--save-every', 2, *units)
    assert_refused(result, 'cannot write results/r_t.txt_best.npz: File too large', 'results/r_t.txt_start.npz')
    assert sorted(os.listdir('results')) == ['other_t.txt.out', 'r_t.txt.out', 'r_t.txt_epochs.out',
                                             'r_t.txt_samples.txt', 'r_t.txt_start.npz']


def test_picture_on_a_full_disk(folder):
    """It is larger than a checkpoint; the run goes on without it."""
    result = train_on_full_disk(folder, 1, 45000, '--epochs', 3)
    assert (result.returncode, result.stderr.count('\n')) == (0, 1)
    assert 'results/r_t.txt.png could not be drawn: cannot write results/r_t.txt.png: File too large' in result.stderr
    assert sorted(os.listdir('results')) == ['other_t.txt.out', 'r_t.txt.out', 'r_t.txt_best.npz', 'r_t.txt_epoch3.npz',
                                             'r_t.txt_epochs.out', 'r_t.txt_samples.txt']


# ---------------------------------------------------------------- resumed elsewhere, and from earlier

def learned(folder, *costs):
    """A Learner's run of so many epochs, with a checkpoint of each. Returns its checkpoints' names."""
    folder.mkdir(exist_ok=True)
    learn(folder, by_number(*costs), '--epochs', len(costs), '--save-every', 1)
    return sorted(path.name for path in folder.glob('*.npz'))


def test_moved_checkpoint_goes_on_with_logs_of_its_own(straight, shared, tmp_path):
    """Under another name, in another folder, without its logs, and with its text elsewhere."""
    (tmp_path / 'text').mkdir()
    (tmp_path / 'text' / 'renamed.txt').write_text(TEXT, encoding='utf-8')
    moved = Trial(tmp_path, shared)
    shutil.copy(str(straight.run.file('_epoch2.npz')), str(tmp_path / 'mine.npz'))
    out = succeeded(moved.run(tmp_path / 'text' / 'renamed.txt', '--resume', tmp_path / 'mine.npz'))
    assert 'begun anew' in out and moved.log.name in out
    whole = moved.end()
    assert whole['logs'][0] == straight.end['logs'][0].split(b'\n', 1)[0] + b'\n' + b'\n'.join(
        straight.end['logs'][0].split(b'\n')[1 + 2 * BATCHES:])
    for part in ('last', 'best'):
        assert {name: array for name, array in whole[part].items() if name != 'about'} == {
            name: array for name, array in straight.end[part].items() if name != 'about'}


def test_text_that_moved_is_found_beside_the_checkpoint(straight, here, tmp_path, capfd):
    shutil.copytree(str(straight.run.folder), str(tmp_path / 'results'))
    checkpoint = tmp_path / 'results' / 'r_t.txt_epoch6.npz'
    arrays = load(checkpoint)
    about = json.loads(str(arrays.pop('about')))
    about['progress']['options']['input'] = str(tmp_path / 'gone' / 't.txt')
    write(str(checkpoint), arrays, about)
    refused = here(TRAIN, '--resume', checkpoint)
    assert_refused(refused, str(tmp_path / 'gone' / 't.txt'), 'is gone', '--resume')
    shutil.copy(str(straight.run.shared.text), str(tmp_path / 'results' / 't.txt'))
    with pytest.raises(Compiling):
        here(TRAIN, '--resume', checkpoint)
    assert 'taking ' + str(tmp_path / 'results' / 't.txt') in capfd.readouterr().out


def test_log_of_another_run_of_that_name_is_not_cut(tmp_path, refused):
    learned(tmp_path / 'one', 5, 4)
    learned(tmp_path / 'other', 6, 3)
    shutil.copy(str(tmp_path / 'one' / 'r_t.txt_epoch2.npz'), str(tmp_path / 'other' / 'copied.npz'))
    for name in os.listdir(str(tmp_path / 'other')):
        if name.startswith('r_t.txt_') and name.endswith('.npz'):
            (tmp_path / 'other' / name).unlink()
    before = snapshot(tmp_path / 'other')
    with refused(ValueError, 'r_t.txt_epochs.out', 'copied.npz'):
        learn(tmp_path / 'other', by_number(3), '--epochs', 3, resume=str(tmp_path / 'other' / 'copied.npz'))
    assert snapshot(tmp_path / 'other') == before


def test_moved_checkpoint_goes_on_a_second_time(tmp_path, refused, capsys):
    """Its own logs are another's then; the furthest checkpoint is named, with the command that goes on from it."""
    learned(tmp_path / 'one', 5, 4)
    (tmp_path / 'moved').mkdir()
    checkpoint = str(shutil.copy(str(tmp_path / 'one' / 'r_t.txt_epoch1.npz'), str(tmp_path / 'moved' / 'a.npz')))
    options = ['--epochs', 3, '--save-every', 1]
    learn(tmp_path / 'moved', by_number(7, 3), *options, resume=checkpoint)
    furthest = str(tmp_path / 'moved' / 'r_t.txt_best.npz')
    with refused(ValueError, f'{furthest} is further than {checkpoint}', f'--resume {furthest}', '--overwrite'):
        learn(tmp_path / 'moved', by_number(2), *options, resume=checkpoint)
    learn(tmp_path / 'moved', by_number(8, 2), *options, resume=checkpoint, overwrite=True)
    assert log_rows(tmp_path / 'moved' / 'r_t.txt_epochs.out')[:, 2].tolist() == [8, 2]


def test_names_too_long_for_their_files(folder, here):
    result = here(TRAIN, 't.txt', 'n' * 230, *SMALL, '--output-dir', 'results')
    assert_refused(result, 'too long')


MINE = b'what somebody wrote\n' * 99
FORGED = {                                              # what a record may say of logs that its writer never saw
    'nothing': {}, 'sizes without checksums': dict(log_sizes={ending: 94 for ending in LOGS}),
    'nothing in them': dict(logs={ending: [0, 0] for ending in LOGS}),
    'their headings': dict(logs=HEADINGS),
    'how they begin': dict(logs={ending: [94, zlib.crc32(MINE[:94])] for ending in LOGS})}


def forge(checkpoint, **changes):
    """Let a checkpoint's progress say something else of its logs. Returns its path."""
    progress = {name: value for name, value in progress_of(checkpoint).items() if name not in ('logs', 'log_sizes')}
    write(str(checkpoint), {}, dict(progress=dict(progress, **changes)))
    return str(checkpoint)


def assert_resumed_is_refused(folder, refused, checkpoint, *words):
    """The run does not go on from a checkpoint, and no file changes."""
    before = snapshot(folder)
    with refused(ValueError, *words):
        learn(folder, by_number(3), '--epochs', 3, resume=checkpoint)
    assert snapshot(folder) == before


@pytest.mark.parametrize('ending', [*LOGS, '.png'])
@pytest.mark.parametrize('record', FORGED)
def test_forged_record_of_logs_changes_no_file(tmp_path, refused, record, ending):
    """A checkpoint by itself beside a file of the user's that is called as one of its run."""
    learned(tmp_path / 'elsewhere', 5, 4)
    (tmp_path / 'here').mkdir()
    shutil.copy(str(tmp_path / 'elsewhere' / 'r_t.txt_epoch2.npz'), str(tmp_path / 'here'))
    (tmp_path / 'here' / f'r_t.txt{ending}').write_bytes(MINE)
    checkpoint = forge(tmp_path / 'here' / 'r_t.txt_epoch2.npz', **FORGED[record])
    assert_resumed_is_refused(tmp_path / 'here', refused, checkpoint, 'not known', f'r_t.txt{ending};')


@pytest.mark.parametrize('record', FORGED)
def test_forged_record_beside_the_logs_cuts_nothing(tmp_path, refused, record):
    learned(tmp_path, 5, 4)
    checkpoint = forge(tmp_path / 'r_t.txt_epoch2.npz', **FORGED[record])
    assert_resumed_is_refused(tmp_path, refused, checkpoint, 'not known', 'r_t.txt.out, ')


@pytest.mark.parametrize('begins', [True, False], ids=['after the log', 'instead of it'])
@pytest.mark.parametrize('ending', LOGS)
def test_log_with_something_else_in_it_is_not_cut(tmp_path, refused, ending, begins):
    """All but that log is as the checkpoint knows; of the samples it knows that there were none."""
    learned(tmp_path, 5, 4)
    checkpoint, path = tmp_path / 'r_t.txt_epoch2.npz', tmp_path / f'r_t.txt{ending}'
    logs = dict(progress_of(checkpoint)['logs'])
    if not begins and ending != '.out':
        heading = b'' if ending == '_samples.txt' else path.read_bytes().splitlines(keepends=True)[0]
        logs[ending] = [len(heading), zlib.crc32(heading)]
    path.write_bytes(path.read_bytes() + MINE if begins else MINE)
    assert_resumed_is_refused(tmp_path, refused, forge(checkpoint, logs=logs), 'not known', f'r_t.txt{ending}')


@pytest.mark.parametrize('rest', [b'3 2.5', b'3 2.5 inf nan 1e-05\n', b'\0\0\0'], ids=repr)
def test_log_goes_on_after_rows_that_a_stop_left(tmp_path, rest):
    learned(tmp_path, 5, 4)
    for ending in ('.out', '_epochs.out'):
        with open(str(tmp_path / f'r_t.txt{ending}'), 'ab') as log:
            log.write(rest)
    learn(tmp_path, by_number(3), '--epochs', 3, resume=str(tmp_path / 'r_t.txt_epoch2.npz'))
    assert log_rows(tmp_path / 'r_t.txt_epochs.out')[:, 2].tolist() == [5, 4, 3]


@pytest.mark.parametrize('same', [True, False], ids=['that run', 'another'])
def test_checkpoint_older_than_ids_replaces_only_those_of_its_run(tmp_path, refused, same):
    """They are of one run if all options are the same but those that may change."""
    learned(tmp_path, 5, 4)
    for name in ('r_t.txt_best.npz', 'r_t.txt_epoch1.npz', 'r_t.txt_epoch2.npz'):
        progress = progress_of(tmp_path / name)
        del progress['id']
        if name == 'r_t.txt_epoch1.npz':
            progress['options'].update({'save_every': 7} if same else {'lrate': 0.25})
        write(str(tmp_path / name), {}, dict(progress=progress))
    resume = dict(resume=str(tmp_path / 'r_t.txt_epoch2.npz'))
    if same:
        learn(tmp_path, by_number(3), '--epochs', 3, **resume)
    else:
        with refused(ValueError, 'r_t.txt_epoch1.npz is further than'):
            learn(tmp_path, by_number(3), '--epochs', 3, **resume)


# ---------------------------------------------------------------- links

def symbolic(target, path):
    os.symlink(str(target), str(path))


def hard(target, path):
    os.link(str(target), str(path))


@pytest.mark.parametrize('link', [symbolic, hard])
@pytest.mark.parametrize('ending', LOGS)
def test_no_log_is_written_through_a_link(folder, here, refused, ending, link):
    """Of a new run that replaces an earlier one, and of one that goes on."""
    learned(folder / 'results', 5, 4)
    path = folder / 'results' / f'r_t.txt{ending}'
    path.rename(folder / 'moved')
    link(folder / 'moved', path)
    words = f'results/r_t.txt{ending} is a link'
    refuse_training(folder, here, words, options=['--overwrite'])
    assert_resumed_is_refused(folder, refused, str(folder / 'results' / 'r_t.txt_epoch2.npz'), words) \
        if False else None
    with refused(ValueError, f'r_t.txt{ending} is a link'):
        learn(folder / 'results', by_number(3), '--epochs', 3, resume=str(folder / 'results' / 'r_t.txt_epoch2.npz'))


@pytest.mark.parametrize('link', [symbolic, hard])
@pytest.mark.parametrize('ending', LOGS)
def test_no_log_is_written_through_a_link_that_was_made_since(tmp_path, refused, ending, link):
    (tmp_path / 'mine').write_bytes(b'')                   # as a log looks that another process has just begun
    run = Run(str(tmp_path), 'r_t.txt')
    run.check(overwrite=True)
    link(tmp_path / 'mine', tmp_path / f'r_t.txt{ending}')
    with refused(OSError, f'cannot write {run.path(ending)}'), run.open():
        pass
    assert (tmp_path / 'mine').read_bytes() == b''


@pytest.mark.parametrize('ending', ['_best.npz', '_epoch1.npz'])
def test_checkpoint_replaces_a_link_and_not_what_it_leads_to(tmp_path, ending):
    (tmp_path / 'mine').write_bytes(MINE)
    symbolic(tmp_path / 'mine', tmp_path / f'r_t.txt{ending}')
    learn(tmp_path, by_number(5), '--epochs', 1, '--save-every', 1, overwrite=True)
    assert (tmp_path / 'mine').read_bytes() == MINE and not (tmp_path / f'r_t.txt{ending}').is_symlink()
    assert progress_in(tmp_path, ending)['epoch'] == 1


def test_going_back_behind_newer_checkpoints_needs_overwrite(tmp_path, refused, capsys):
    later = ['r_t.txt_best.npz', 'r_t.txt_epoch3.npz', 'r_t.txt_epoch4.npz']
    assert set(later) < set(learned(tmp_path, 5, 4, 6, 3))
    before = snapshot(tmp_path)
    options = ['--epochs', 3, '--save-every', 1]
    with refused(ValueError, 'r_t.txt_best.npz is further than', '--overwrite to drop ' + ', '.join(later)):
        learn(tmp_path, by_number(7), *options, resume=str(tmp_path / 'r_t.txt_epoch2.npz'))
    assert snapshot(tmp_path) == before
    _, now = learn(tmp_path, by_number(7), *options, resume=str(tmp_path / 'r_t.txt_epoch2.npz'), overwrite=True)
    assert sorted(path.name for path in tmp_path.glob('*.npz')) == ['r_t.txt_best.npz'] + [
        f'r_t.txt_epoch{n}.npz' for n in (1, 2, 3)]
    assert (now.epoch, now.best_cost, now.best_epoch) == (3, 4, 2)      # the one that it went back to was the best
    assert progress_of(tmp_path / 'r_t.txt_best.npz')['epoch'] == 2
    assert log_rows(tmp_path / 'r_t.txt_epochs.out')[:, 2].tolist() == [5, 4, 7]


def test_resume_last(shared, straight, stopping, here, capfd):
    """A new run where there is none; then from the newest checkpoint, whatever that is; by one command."""
    command = [*stopping.new(), '--resume', 'last']
    first = stopping.run(*command, at=(STEP, BATCHES + 9, 'before'), do=('signal', int(signal.SIGINT)))
    assert first.returncode == 130 and 'no checkpoint yet: a new run' in first.stdout, first.stderr
    second = stopping.run(*command, at=(STEP, 2 * BATCHES, 'before'))
    assert second.returncode == -signal.SIGKILL and 'going on from r_t.txt_interrupted.npz' in second.stdout
    third = succeeded(stopping.run(*command))
    assert re.search(r'going on from r_t\.txt_(best|epoch\d)\.npz', third)
    assert_same(stopping.end(), straight.end)
    assert 'nothing left to learn' in succeeded(stopping.run(*command))
    assert_same(stopping.end(), straight.end)
    with pytest.raises(Compiling):                         # what a new run started from is said, and not taken again
        here(TRAIN, *command, '--init', 'gone.npz')
    assert 'which began from gone.npz' in capfd.readouterr().out
    assert_refused(here(TRAIN, *command, '--dropout', 0.5), '--dropout is 0.5')


def test_resume_last_of_a_run_that_was_killed_in_its_first_epoch(straight, stopping):
    command = [*stopping.new(), '--resume', 'last']
    assert stopping.run(*command, at=(STEP, 9, 'before')).returncode == -signal.SIGKILL
    assert 'going on from ' in succeeded(stopping.run(*command))
    assert_same(stopping.end(), straight.end)


def test_log_that_another_wrote_beside_a_checkpoint_from_before_the_first_row(stopping):
    """It looks like the run's own, heading and all, and is another file: it is not cut."""
    assert stopping.run(*stopping.new(), at=(STEP, 9, 'before')).returncode == -signal.SIGKILL
    log, start = stopping.file('.out'), stopping.file('_start.npz')
    other = log.read_bytes()
    log.rename(log.with_suffix('.moved'))
    log.write_bytes(other)
    result = stopping.run('--resume', start)
    assert (result.returncode, result.stderr.count('\n')) == (2, 1) and 'r_t.txt.out' in result.stderr
    assert log.read_bytes() == other


def test_going_back_to_where_the_best_is_lost(tmp_path, capsys):
    learned(tmp_path, 5, 6, 3)
    _, now = learn(tmp_path, by_number(7), '--epochs', 3, '--save-every', 1, overwrite=True,
                   resume=str(tmp_path / 'r_t.txt_epoch2.npz'))
    assert 'best epoch, 1, are gone' in capsys.readouterr().out
    assert (now.best_cost, now.best_epoch) == (7, 3)


def test_run_that_is_finished_trains_nothing_and_draws(tmp_path, monkeypatch):
    learned(tmp_path, 5, 4)
    drawn = []
    monkeypatch.setattr('engine.run.run.draw_costs', lambda path, *rows: drawn.append(path))
    run = Run(str(tmp_path), 'r_t.txt', str(tmp_path / 'r_t.txt_epoch2.npz'),
              progress_of(tmp_path / 'r_t.txt_epoch2.npz'))
    run.check(overwrite=False)
    with run.open():
        run.catch_up(None, SimpleNamespace(epoch=2, batch=0, best_epoch=2, should_save=True, finished=True))
    assert drawn == [run.path('.png')]
    assert sorted(path.name for path in tmp_path.glob('*.npz')) == ['r_t.txt_best.npz', 'r_t.txt_epoch1.npz',
                                                                    'r_t.txt_epoch2.npz']


def test_parts_of_dead_processes_are_removed(tmp_path):
    """But no other file, however much its name is like theirs."""
    ours = [os.path.basename(partial_name(f'r_t.txt{ending}')) for ending in ('_epoch1.npz', '_best.npz', '.png')]
    kept = ['other_t.txt_best.npz.0123456789ab.part', 'r_t.txt.part', 'r_t.txt2_epoch1.npz.0123456789ab.part',
            'r_t.txt_best.npz.mine.part']
    for name in ours + kept:
        (tmp_path / name).write_bytes(b'part')
    learned(tmp_path, 5)
    assert sorted(path.name for path in tmp_path.glob('*.part')) == sorted(kept)


# ---------------------------------------------------------------- what is no run, and no text of a run

def test_changed_text_is_refused(straight, here, tmp_path):
    (tmp_path / 't.txt').write_text(TEXT.replace('the', 'eht', 1), encoding='utf-8')
    before = straight.run.end()
    result = here(TRAIN, tmp_path / 't.txt', '--resume', straight.run.file('_epoch2.npz'))
    assert_refused(result, str(tmp_path / 't.txt'), 'SHA-256')
    assert straight.run.end() == before


def test_checkpoint_of_the_class_is_no_run(make_model, here, tmp_path, refused):
    path = make_model(1).save_params(tmp_path / 'p')
    assert_refused(here(TRAIN, '--resume', path), path, 'no run', '--init')
    np.savez(str(tmp_path / 'old.npz'), uchar=np.array(make_model(1).uchar), **{
        name: array.astype('float32') for name, array in random_parameters(2, V=len(set(TEXT)), H1=4, H2=2).items()})
    assert_refused(here(TRAIN, '--resume', tmp_path / 'old.npz'), 'old.npz', 'no run', '--init')
    with refused(ValueError, 'old.npz', 'resume'):
        make_model(1).resume(tmp_path / 'old.npz')


# ---------------------------------------------------------------- two runs of one name

def test_second_run_of_a_name_waits_for_the_death_of_the_first(stopping):
    first = stopping.start(*stopping.new(), '--epochs', 9999)
    try:
        assert stopping.wait(first, 3)
        second = stopping.run(*stopping.new(), '--overwrite')
        assert first.poll() is None and stopping.rows() > 3
    finally:
        first.kill()
        finish(first)
    assert_refused(second, 'r_t.txt.out', 'another process')
    succeeded(stopping.run(*stopping.new(), '--epochs', 1, '--overwrite'))
    assert stopping.rows() == BATCHES and not stopping.file('_epoch3.npz').exists()


def test_second_start_does_not_replace_what_the_first_did_meanwhile(tmp_path, refused):
    """Both have passed the check, and compile; then the first is done before the second opens its logs."""
    second = Run(str(tmp_path), 'r_t.txt')
    second.check(overwrite=False)
    learned(tmp_path, 5, 4)
    before = snapshot(tmp_path)
    with refused(ValueError, 'exists already'), second.open():
        pass
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize('make', [os.mkfifo, os.mkdir, lambda path: os.symlink('nowhere', path)],
                         ids=['FIFO', 'folder', 'dead link'])
@pytest.mark.parametrize('ending', ['.out', '_epochs.out', '_samples.txt', '_epoch3.npz', '_best.npz', '.png'])
def test_result_that_is_no_file(folder, here, ending, make):
    make('results/r_t.txt' + ending)
    result = here(TRAIN, 't.txt', 'r', *SMALL, '--output-dir', 'results', '--overwrite')
    assert_refused(result, 'results/r_t.txt' + ending, 'no file')
