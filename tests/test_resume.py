"""Runs that stop in every way and go on: nothing may differ from a run that never stopped.

Of 20 SIGKILLs, 14 come from outside to a real train.py when its log has a number of rows drawn by chance,
and 6 at an exact place of the writing of a checkpoint, by a driver that runs train.py and counts calls.
The pictures, of which test_scripts.py looks at the contents, are stubs here: matplotlib takes a second.
"""
import json
import random
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from charlstm import CharLSTM
from numpy_model import NAMES, random_parameters
from scripts import FAST, ROOT, TRAIN, assert_refused, finish, load, sentences, start, succeeded
from test_bad_input import Compiling, here  # noqa: F401, a fixture

TEXT = sentences()
BATCHES = -(-(round(0.7 * (len(TEXT) // 11)) * 11 // 6 - 1) // 11)      # per epoch, of 6 streams and 11 steps
OPTIONS = ('--num-units1 5 --num-units2 7 --batch-size 6 --seq-length 11 --random-seed 3 --dropout 0.2 --grad-clip 5 '
           '--epochs 6 --save-every 1 --valid-every 5').split()

PYPLOT = '''
from unittest.mock import MagicMock
class figure:
    savefig = lambda self, f, **k: f.write(b'picture')
subplots = lambda **k: (figure(), MagicMock())
close = MagicMock()
'''

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


class Run:
    """The results in a folder of their own of one run, which may stop and go on."""

    def __init__(self, folder, shared):
        self.folder, self.shared = folder, shared
        self.log = self.file('.out')

    def file(self, ending):
        return self.folder / ('r_t.txt' + ending)

    def arguments(self):
        """What goes on from the last checkpoint of an epoch, or begins where there is none."""
        saved = [n for n in range(1, 7) if self.file('_epoch{}.npz'.format(n)).exists()]
        if saved:
            return ['--resume', self.file('_epoch{}.npz'.format(saved[-1]))]
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
        return dict(logs=logs, epochs=epochs, last=contents(self.file('_epoch6.npz')),
                    best=contents(self.file('_best.npz')))


def contents(checkpoint):
    """Name to bytes of a checkpoint's arrays, and what it says without the lengths of logs, which have speeds."""
    arrays = load(checkpoint)
    about = json.loads(str(arrays.pop('about')))
    del about['progress']['log_sizes']
    return dict({name: array.tobytes() for name, array in arrays.items()}, about=about)


def assert_same(end, straight):
    for part in ('epochs', 'logs', 'last', 'best'):
        assert end[part] == straight[part], part


@pytest.fixture(scope='module')
def shared(tmp_path_factory):
    """A folder with the text and the stub."""
    folder = tmp_path_factory.mktemp('shared')
    (folder / 't.txt').write_text(TEXT, encoding='utf-8')
    (folder / 'stubs' / 'matplotlib').mkdir(parents=True)
    (folder / 'stubs' / 'matplotlib' / '__init__.py').write_text('use = id')
    (folder / 'stubs' / 'matplotlib' / 'pyplot.py').write_text(PYPLOT)
    return SimpleNamespace(text=folder / 't.txt', stubs=folder / 'stubs')


@pytest.fixture(scope='module')
def straight(shared, tmp_path_factory):
    """A run that never stopped."""
    whole = Run(tmp_path_factory.mktemp('straight'), shared)
    succeeded(whole.run(*whole.new()))
    assert whole.rows() == 6 * BATCHES
    return SimpleNamespace(run=whole, end=whole.end())


@pytest.fixture
def stopping(shared, tmp_path):
    folder = tmp_path / 'results'
    folder.mkdir()
    return Run(folder, shared)


# ---------------------------------------------------------------- kill -9

# The checkpoints of epoch 2 are the 4th and 5th file that a new run writes, after three in epoch 1;
# a run that goes on after epoch 1 writes them as its 1st and 2nd.
WRITING = [(SYNC, 4, 'torn'), (RENAME, 1, 'before'), (RENAME, 1, 'after'),
           (SYNC, 2, 'torn'), (RENAME, 2, 'before'), (RENAME, 2, 'after')]


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
        return [Run(tmp_path_factory.mktemp('killed'), shared) for _ in range(count)]

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
    assert stopping.run(*stopping.new(), at=(RENAME, 4, 'after')).returncode == -signal.SIGKILL
    assert json.loads(str(load(stopping.file('_best.npz'))['about']))['progress']['epoch'] == 2
    succeeded(stopping.run('--resume', stopping.file('_best.npz')))
    assert_same(stopping.end(), straight.end)


def test_killed_after_the_plateau_went_back_to_the_best(stopping, tmp_path):
    """Validation has only characters that training never shows, so each epoch makes its cost worse."""
    (tmp_path / 'straight').mkdir()
    (tmp_path / 't.txt').write_text('abc' * 600 + 'de' * 385)
    options = ['--lrate', 0.01, '--plateau', 1]
    whole = Run(tmp_path / 'straight', SimpleNamespace(text=tmp_path / 't.txt', stubs=stopping.shared.stubs))
    stopping.shared = whole.shared
    out = succeeded(whole.run(*whole.new(), *options))
    assert re.search(r'epoch 2/6:[^\n]*\nno better[^\n]*back to epoch 1,', out)
    steps = whole.rows() // 6
    assert stopping.run(*stopping.new(), *options, at=(STEP, 2 * steps + 2, 'after')).returncode == -signal.SIGKILL
    succeeded(stopping.run(*stopping.arguments()))
    assert_same(stopping.end(), whole.end())


# ---------------------------------------------------------------- Ctrl-C

@pytest.mark.parametrize('at, batch', [((STEP, BATCHES + 9, 'before'), 9), ((STEP, 2 * BATCHES, 'before'), BATCHES),
                                       ((RENAME, 4, 'before'), 0)],
                         ids=['middle of an epoch', 'its last step', 'its end'])
def test_interrupted_and_resumed_is_the_straight_run(straight, stopping, at, batch):
    """With fewer epochs at first, as that option may change."""
    result = stopping.run(*stopping.new(), '--epochs', 3, at=at, do=('signal', int(signal.SIGINT)))
    assert (result.returncode, result.stderr) == (130, '')
    stored = load(stopping.file('_interrupted.npz'))
    assert json.loads(str(stored['about']))['progress']['batch'] == batch
    assert ('carried_C2' in stored) == (batch > 0)
    succeeded(stopping.run('--resume', stopping.file('_interrupted.npz'), '--epochs', 6))
    assert_same(stopping.end(), straight.end)


def test_interrupted_at_the_very_end_keeps_the_last_epoch(stopping):
    """A signal while the best parameters are written, with no step left to stop before."""
    result = stopping.run(*stopping.new(), '--epochs', 1, at=(RENAME, 1, 'before'), do=('signal', int(signal.SIGINT)))
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


# ---------------------------------------------------------------- what is refused

@pytest.fixture
def checkpoint(straight):
    return straight.run.file('_epoch2.npz')


def test_changed_text_is_refused(straight, checkpoint, here, tmp_path):  # noqa: F811
    (tmp_path / 't.txt').write_text(TEXT.replace('the', 'eht', 1), encoding='utf-8')
    before = straight.run.end()
    assert_refused(here(TRAIN, tmp_path / 't.txt', '--resume', checkpoint), str(tmp_path / 't.txt'), 'SHA-256')
    assert straight.run.end() == before


@pytest.mark.parametrize('option, value', [('--lrate', 0.5), ('--dropout', 0.1), ('--num-units1', 6),
                                           ('--random-seed', 4), ('--valid-every', 7), ('--no-stateful', None)])
def test_contradicting_option_is_refused(straight, checkpoint, here, option, value):  # noqa: F811
    arguments = [option] + [value] * (value is not None)
    assert_refused(here(TRAIN, '--resume', checkpoint, *arguments), option, str(checkpoint), '--epochs', '--save-every')


@pytest.mark.parametrize('option, value', [('--init', 'other.npz'), ('--output-dir', 'elsewhere')])
def test_option_that_a_resumed_run_cannot_heed_is_refused(checkpoint, here, option, value, tmp_path):  # noqa: F811
    assert_refused(here(TRAIN, '--resume', checkpoint, option, tmp_path / value), option)


def test_options_that_may_change_or_are_the_same_are_taken(checkpoint, here, capfd):  # noqa: F811
    with pytest.raises(Compiling):
        here(TRAIN, '--resume', checkpoint, '--epochs', 91, '--save-every', 2, '--dropout', 0.2)
    assert '; 91 epochs' in capfd.readouterr().out


@pytest.fixture
def model(text_file):
    """Makes models of their own seeds with one text."""
    def make(seed, text=TEXT, **settings):
        model = CharLSTM(random_seed=seed)
        model.prepare_input(text_file(text), batch_size=3, seq_length=5, verbose=False, stateful=True)
        model.model_setup(num_units1=4, num_units2=2, **settings)
        return model
    return make


def test_checkpoint_of_the_class_is_no_run(model, here, tmp_path, refused):  # noqa: F811
    path = model(1).save_params(tmp_path / 'p')
    assert_refused(here(TRAIN, '--resume', path), path, 'no run', '--init')
    np.savez(str(tmp_path / 'old.npz'), uchar=model(1).uchar.astype('U1'), **{
        name: array.astype('float32') for name, array in random_parameters(2, V=len(set(TEXT)), H1=4, H2=2).items()})
    assert_refused(here(TRAIN, '--resume', tmp_path / 'old.npz'), 'old.npz', 'no run', '--init')
    with refused(ValueError, 'old.npz', 'resume'):
        model(1).resume(tmp_path / 'old.npz')


# ---------------------------------------------------------------- the class

def test_class_resumes_to_the_bit(model, tmp_path):
    """With the kernel, in the middle of the text, with dropout and carried states, in an object of another seed."""
    first, second = model(1, dropout=0.3, grad_clip=2), model(2, dropout=0.3, grad_clip=2)

    def steps(model, start, end):
        batches = zip(model.X['train'][start:end], model.Y['train'][start:end])
        return [[np.asarray(value).tobytes() for value in model.theano_train_rmsprop(x, y)] for x, y in batches]

    steps(first, 0, 3)
    assert second.resume(first.save_params(tmp_path / 'p', dict(mine=[1, None, 'é']))) == dict(mine=[1, None, 'é'])
    assert steps(second, 3, 7) == steps(first, 3, 7)
    assert second.save_params(tmp_path / 'b') and first.save_params(tmp_path / 'a')
    a, b = load(tmp_path / 'a.npz'), load(tmp_path / 'b.npz')
    assert {name: array.tobytes() for name, array in a.items()} == {name: array.tobytes() for name, array in b.items()}
    assert set(a) >= {'carried_h1', 'm_U1'}


# ---------------------------------------------------------------- --init

def test_init_on_another_text(model, tmp_path, text_file):
    old, new_text = model(1, 'abcdefgh é' * 9), 'ca—feé 𝄞' * 11
    path = old.save_params(tmp_path / 'p')
    new, fresh = model(5, new_text), model(5, new_text)
    new.init_params(path)
    p, q, f = [{name: m.p[name].get_value() for name in NAMES} for m in (old, new, fresh)]
    for name in ('W1', 'b1', 'U2', 'W2', 'b2'):
        np.testing.assert_array_equal(q[name], p[name])
    known = 0
    for k, ch in enumerate(sorted(set(new_text))):
        before = sorted(set('abcdefgh é')).index(ch) if ch in 'abcdefgh é' else None
        known += before is not None
        source, j = (f, k) if before is None else (p, before)
        np.testing.assert_array_equal(q['U1'][:, :, k], source['U1'][:, :, j])
        np.testing.assert_array_equal(q['V'][k], source['V'][j])
        assert q['c'][k] == source['c'][j]
    assert known == 6 and len(q['c']) == 8


def test_init_through_train(straight, checkpoint, here, capfd, tmp_path):  # noqa: F811
    """Other units are refused in one line; the right ones go on to compile."""
    units = ['--num-units1', 5, '--num-units2', 7]
    (tmp_path / 'new.txt').write_text(TEXT[::-1] + 'ñ', encoding='utf-8')
    command = [TRAIN, tmp_path / 'new.txt', 'x', '--batch-size', 6, '--seq-length', 11, '--output-dir', tmp_path,
               '--init', checkpoint]
    assert_refused(here(*command, '--num-units1', 6, '--num-units2', 7), str(checkpoint), '5 and 7 units', '6 and 7')
    with pytest.raises(Compiling):
        here(*command, *units)
    assert '2 layers of 5 and 7 units' in capfd.readouterr().out


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
