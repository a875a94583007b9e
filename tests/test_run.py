"""The files of a run: their names, logs, checkpoints and picture; and runs that are stopped in every way and resumed.

A resumed run must not differ from one that never stopped. A driver runs train.py, counts calls of a function, and at
one of them sends a signal or fills the disk: at a step, or at an exact point while a checkpoint is written.
"""
import json
import math
import os
import random
import re
import shutil
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest

from engine.run.checkpoint import write
from engine.run.logs import LOGS
from engine.run.results import checkpoints_of, newest
from learner import Learner, by_number, learn, progress_of, run_of
from models import as_new, prepared
from numpy_model import NAMES, costs, costs_of, forward
from scripts import (B, DRIVER, N_TRAIN, N_VALID, ROOT, S, STATEFUL, TEXT, TRAIN, arrays_and_about, assert_refused,
                     finish, load, log_rows, refuse_training, run, snapshot, start, succeeded, without_id)

VALID_EVERY = 6                               # steps, in the fixture `trained`, such as the first step of epoch 3


# ---------------------------------------------------------------- names of the results

def test_names_of_the_results(trained):
    assert sorted(os.listdir(str(trained.results))) == [
        'r1_sentences.txt' + end for end in (
            '.out', '.png', '_best.npz', '_epoch2.npz', '_epoch3.npz', '_epochs.out', '_passage.out', '_result.json',
            '_samples.txt')]


@pytest.mark.parametrize('ending', [*LOGS, '.png', '_result.json'])
def test_earlier_result_is_not_replaced(folder, in_process, ending):
    (folder / 'results' / f'r_t.txt{ending}').write_bytes(b'precious')
    refuse_training(folder, in_process, f'results/r_t.txt{ending}', '--overwrite')


def test_overwrite_replaces_only_the_run_and_loses_nothing_of_it_by_a_bad_input(folder, in_process):
    old = [folder / f'r_t.txt{ending}' for ending in ('_epoch99.npz', '_interrupted.npz', '_result.json')]
    others = [folder / name for name in ('r1_t.txt.out', 'r_t.txt2.out', 'notes.txt', 'r_t.txt_epoch2.npz.bak')]
    for path in old + others:
        path.write_bytes(b'precious')
    refuse_training(folder, in_process, options=['--overwrite', '--seq-length', 1000])
    learn(folder, by_number(5), '--epochs', 1, '--overwrite')
    assert not any(path.exists() for path in old) and all(path.exists() for path in others)


# ---------------------------------------------------------------- logs and checkpoints

def test_logs_of_the_steps_and_epochs(trained):
    steps, names = np.loadtxt(str(trained.steps)), trained.steps.read_text().splitlines()[0][1:].split()
    assert steps.shape == (3 * N_TRAIN, 11)
    np.testing.assert_allclose(steps[:, 0], np.arange(1, 3 * N_TRAIN + 1) / N_TRAIN, rtol=1e-5)
    assert len(names) == 11 and all(name.endswith(p) for name, p in zip(names[3:], NAMES))
    computed = steps[::VALID_EVERY, 2]              # the rows between repeat the last value
    np.testing.assert_array_equal(steps[:, 2], np.repeat(computed, VALID_EVERY)[:len(steps)])
    assert len(set(computed)) > len(computed) / 2
    assert steps[0, 10] == np.inf and np.isfinite(steps[1:]).all() and (steps > 0).all()      # c starts at zero
    rows = np.loadtxt(str(trained.epochs))
    assert rows.shape == (3, 5) and rows[:, 0].tolist() == [1, 2, 3]
    np.testing.assert_allclose(rows[:, 1], steps[:, 1].reshape(3, N_TRAIN).mean(axis=1), rtol=1e-5)
    assert (np.diff(rows[:, 1]) < 0).all()
    np.testing.assert_allclose(rows[:, 3], [2e-3, 1e-3, 5e-4])      # halved at epoch 2 and later
    assert (rows[:, 4] > 0).all()


def validation_costs(checkpoint):
    """Return the costs of the validation batches, independently read, split, cut into batches and computed."""
    p = load(checkpoint)
    codes = np.searchsorted(p['uchar'], list(TEXT)[:len(TEXT) // S * S]).reshape(-1, S)
    valid = codes[math.floor(0.7 * len(codes) + 0.5):][:N_VALID * B].reshape(N_VALID, B, S)
    valid = valid.transpose(0, 2, 1)                                                            # (n, S, B)
    return [costs(forward(p, batch[:-1])[0], batch[1:]).mean() for batch in valid]


def test_validation_costs_are_those_of_the_checkpoints(trained):
    """A step logs the cost of one batch, with the parameters before the step, like the training cost."""
    of_batches = [validation_costs(trained.results / f'r1_sentences.txt_epoch{epoch}.npz') for epoch in (2, 3)]
    np.testing.assert_allclose(np.loadtxt(str(trained.epochs))[1:, 2], np.mean(of_batches, axis=1), rtol=2e-5)
    drawn = np.loadtxt(str(trained.steps))[2 * N_TRAIN, 2]
    assert 2 * N_TRAIN % VALID_EVERY == 0 and np.isclose(drawn, of_batches[0], rtol=2e-5, atol=0).any()


PASSAGE = TEXT[round(0.7 * (len(TEXT) // S)) * S:][:300]       # 30 % are held out


def test_costs_are_those_of_the_checkpoints(short_run):
    """Compare each epoch that has a sample with an independent model."""
    lines = (short_run.folder / 'r_t.txt_passage.out').read_text(encoding='ascii').splitlines()
    of_text, passage = re.fullmatch('# the beginning of the (.*) text: (".*")', lines[0]).groups()
    rows = np.array([line.split() for line in lines if not line.startswith('#')], float)
    samples = (short_run.folder / 'r_t.txt_samples.txt').read_text(encoding='utf-8')
    assert (of_text, json.loads(passage), rows.shape[1]) == ('validation', PASSAGE, 300)
    assert rows[:, 0].tolist() == [int(n) for n in re.findall('^# epoch (.*):$', samples, re.MULTILINE)]
    assert 1 < len(rows) <= 5 and rows[-1, 0] == 5
    for epoch, *logged in rows:
        p = load(short_run.folder / f'r_t.txt_epoch{int(epoch)}.npz')
        np.testing.assert_allclose(logged, costs_of(p, PASSAGE), rtol=1e-4, atol=1e-5)


def test_watching_changes_nothing(stateful_model):
    """The parameters, the validation costs and the next random numbers stay the same."""
    def end(watched):
        model = as_new(stateful_model)
        for x, y in zip(model.X['train'][:6], model.Y['train'][:6]):
            model.theano_train_sgd(x, y)
            validation = model.validate_batch()
            if watched:
                model.passage_costs(), model.sample(40)
        return ([p.get_value().tobytes() for p in model.p.values()], validation, model.validate(),
                model.random.bit_generator.state)

    assert end(True) == end(False)


@pytest.mark.parametrize('stateful', [True, False])
@pytest.mark.parametrize('text, ratio, valid, expected', [
    (TEXT, 0.3, None, ('validation', TEXT[round(0.7 * (len(TEXT) // 7)) * 7:][:300])),
    (TEXT, 0, None, ('training', TEXT[:300])),
    (TEXT[:100], 0.2, None, ('validation', TEXT[77:100])),          # after 11 of 14 sequences, to the end
    (TEXT, 0.3, TEXT[50:60], ('validation', TEXT[50:60]))], ids=['a part', 'none', 'short', 'a text of its own'])
def test_passage(text_file, stateful, text, ratio, valid, expected):
    other = {} if valid is None else dict(valid=text_file(valid, name='valid.txt'))
    model = prepared(text_file(text), ratio_valid=ratio, batch_size=2, seq_length=7, stateful=stateful, **other)
    assert model.text.passage == expected


# ---------------------------------------------------------------- one run, stopped and resumed

OPTIONS = STATEFUL + '--dropout 0.2 --grad-clip 5 --epochs 6 --save-every 1 --valid-every 5'.split()
BATCHES = -(-(round(0.7 * (len(TEXT) // S)) * S // B - 1) // S)      # per epoch, of 6 streams and 11 steps

# Makes the first epoch count as a long one, which has a sample after its first step.
LONG = f'import sys; sys.path.insert(0, {str(ROOT)!r}); from engine.run import results; results.EARLY = -1\n'
STEP, RENAME, SYNC = ('charlstm', 'CharLSTM.theano_train_rmsprop'), ('os', 'replace'), ('os', 'fsync')


class Results:
    """The results of one run in a separate folder; the run may be stopped and resumed."""

    def __init__(self, folder, text):
        folder.mkdir(exist_ok=True)
        self.folder, self.log = folder, folder / 'r_t.txt.out'
        self.begin = [text, 'r', *OPTIONS, '--output-dir', folder]

    def file(self, ending):
        return self.folder / ('r_t.txt' + ending)

    def resume(self):
        return ['--resume', newest(checkpoints_of(SimpleNamespace(output_dir=self.folder, name='r_t.txt')))]

    def run(self, *words, at=None, do=('signal', int(signal.SIGKILL))):
        """Run train.py. at: the function, the number of the call, and when the driver acts; do: what it does."""
        command = [TRAIN] if at is None else ['-c', LONG + DRIVER, ROOT, *at[0], *at[1:], *do]
        return run(*command, *words, cwd=self.folder)

    def end(self):
        """Return the contents of the finished run: logs without speeds, arrays and progress of its checkpoints."""
        logs = [without_id(self.file(end)) for end in ('.out', '_samples.txt', '_passage.out')]
        epochs = log_rows(self.file('_epochs.out'))[:, :4].tolist()
        return dict(logs=logs, epochs=epochs, last=arrays_and_about(self.file('_epoch6.npz')),
                    best=arrays_and_about(self.file('_best.npz')))


def assert_same(end, straight):
    for part in ('epochs', 'logs', 'last', 'best'):
        assert end[part] == straight[part], part


@pytest.fixture(scope='module')
def text(tmp_path_factory):
    """Return the text of all runs."""
    path = tmp_path_factory.mktemp('text') / 't.txt'
    path.write_text(TEXT, encoding='utf-8')
    return path


@pytest.fixture(scope='module')
def straight(text, tmp_path_factory):
    """Return a run that never stopped."""
    whole = Results(tmp_path_factory.mktemp('straight'), text)
    succeeded(whole.run(*whole.begin))
    assert len(log_rows(whole.log)) == 6 * BATCHES
    return SimpleNamespace(run=whole, end=whole.end())


@pytest.fixture
def stopping(text, tmp_path):
    return Results(tmp_path / 'results', text)


# The first start is killed within epoch 1; the second, a new run, at the end of epoch 1; others at each point of the
# writing of a checkpoint; the last within an epoch after one.
WRITING = [(STEP, 9, 'before'), (SYNC, 1, 'torn'), (RENAME, 1, 'after'), (RENAME, 2, 'before'), (SYNC, 4, 'torn'),
           (STEP, 9, 'before')]


def test_killed_and_resumed_is_the_straight_run(straight, stopping):
    """One command is killed within epochs and at each point of the writing of a checkpoint."""
    command = [*stopping.begin, '--resume', 'last']
    for at, said in zip(WRITING, [*['no checkpoint yet: starting a new run'] * 3, *['resuming from r_t.txt_'] * 3]):
        killed = stopping.run(*command, at=at)
        assert killed.returncode == -signal.SIGKILL and said in killed.stdout
    succeeded(stopping.run(*command))
    assert_same(stopping.end(), straight.end)
    assert 'nothing is left to train' in succeeded(stopping.run(*command))
    assert_same(stopping.end(), straight.end)
    assert not list(stopping.folder.glob('*.part'))


def test_stopped_at_random_moments_and_resumed_is_the_straight_run(straight, stopping):
    """It is stopped by kill -9, kill and Ctrl-C, at any moment from the first import to the last file."""
    chance, command, stops = random.Random(time.time()), [*stopping.begin, '--resume', 'last'], []
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT) * 2:
        process = start(TRAIN, *command, cwd=stopping.folder)
        time.sleep(0.5 + 2 * chance.random())
        process.send_signal(number)
        stops.append(finish(process))
        assert stops[-1].returncode in (0, 130, -number) and 'Traceback' not in stops[-1].stderr, stops[-1]
    succeeded(stopping.run(*command))
    assert_same(stopping.end(), straight.end)


@pytest.mark.parametrize('at, batch', [((STEP, 2 * BATCHES, 'before'), BATCHES), ((RENAME, 5, 'before'), 0)],
                         ids=['last step of an epoch', 'its end'])
def test_interrupted_and_resumed_is_the_straight_run(straight, stopping, at, batch):
    """The checkpoint of the interruption is deleted once later ones exist."""
    result = stopping.run(*stopping.begin, at=at, do=('signal', int(signal.SIGINT)))
    assert (result.returncode, result.stderr) == (130, '') and f'after 1 of the {BATCHES} steps' in result.stdout
    assert progress_of(stopping.file('_interrupted.npz'))['batch'] == batch
    assert ('carried_C2' in load(stopping.file('_interrupted.npz'))) == (batch > 0)
    succeeded(stopping.run('--resume', stopping.file('_interrupted.npz')))
    assert_same(stopping.end(), straight.end)
    assert not stopping.file('_interrupted.npz').exists()


def test_full_disk_and_resumed_is_the_straight_run(straight, stopping):
    """First no more rows of a log can be written, then no checkpoint, which is larger than the logs.

    One line names the file, another the last good checkpoint.
    """
    first = stopping.run(*stopping.begin, at=(STEP, BATCHES + 9, 'before'), do=('full', 1000))
    assert_refused(first, 'cannot write', 'r_t.txt.out: File too large')
    assert re.search('\nto resume: .*r_t.txt_epoch1.npz\n', first.stdout)
    second = stopping.run(*stopping.resume(), at=(STEP, BATCHES, 'before'), do=('full', 12000))
    assert_refused(second, 'r_t.txt_best.npz: File too large')
    assert not list(stopping.folder.glob('*.part'))
    succeeded(stopping.run(*stopping.resume()))
    assert_same(stopping.end(), straight.end)


# ---------------------------------------------------------------- resumed elsewhere, and from an earlier epoch

def learned(folder, *costs):
    """Train a Learner for one epoch per cost, each with a checkpoint."""
    folder.mkdir(exist_ok=True)
    learn(folder, by_number(*costs), '--epochs', len(costs), '--save-every', 1)


def test_moved_checkpoint_is_resumed_with_logs_of_its_own(straight, text, tmp_path):
    """It has another name and is in another folder, without its logs, and its text has moved."""
    (tmp_path / 't.txt').write_text(TEXT, encoding='utf-8')
    moved = Results(tmp_path / 'moved', text)
    shutil.copy(str(straight.run.file('_epoch2.npz')), str(tmp_path / 'moved' / 'mine.npz'))
    succeeded(moved.run(tmp_path / 't.txt', '--resume', tmp_path / 'moved' / 'mine.npz'))
    whole = moved.end()
    assert whole['logs'][0] == straight.end['logs'][0].split(b'\n', 1)[0] + b'\n' + b'\n'.join(
        straight.end['logs'][0].split(b'\n')[1 + 2 * BATCHES:])
    for part in ('last', 'best'):
        assert {name: array for name, array in whole[part].items() if name != 'about'} == {
            name: array for name, array in straight.end[part].items() if name != 'about'}


@pytest.mark.parametrize('ending, damage', [
    *[(ending, lambda data: b'what somebody wrote\n' * 99) for ending in LOGS], ('.out', lambda data: data[:-1]),
    ('_samples.txt', lambda data: re.sub(rb'(?<=# id )\w+', b'0' * 16, data))],
    ids=[*LOGS, 'cut short', 'of another run'])
def test_log_without_all_that_the_checkpoint_knows_is_not_cut(tmp_path, refused, ending, damage):
    learned(tmp_path, 5, 4)
    path = tmp_path / f'r_t.txt{ending}'
    path.write_bytes(damage(path.read_bytes()))
    (tmp_path / 'r_t.txt_result.json').write_text('[1]')   # it cannot be read, and stays, too
    checkpoint, before = str(tmp_path / 'r_t.txt_epoch2.npz'), snapshot(tmp_path)
    with refused(ValueError, path, '--overwrite'):
        learn(tmp_path, by_number(3), '--epochs', 3, resume=checkpoint)
    assert snapshot(tmp_path) == before
    learn(tmp_path, by_number(3), '--epochs', 3, '--overwrite', resume=checkpoint)
    assert log_rows(tmp_path / 'r_t.txt_epochs.out')[:, 2].tolist() == ([3] if ending == '_epochs.out' else [5, 4, 3])


@pytest.mark.parametrize('ending, damage', [('.out', bytes(6)), ('_epochs.out', b'edited'), ('_epochs.out', b' 1 1 1')])
def test_log_with_a_damaged_row_is_named_in_one_line(tmp_path, refused, ending, damage):
    learned(tmp_path, 5, 4)
    path, resumed = tmp_path / f'r_t.txt{ending}', dict(resume=str(tmp_path / 'r_t.txt_epoch2.npz'))
    good = path.read_bytes()
    path.write_bytes(good[:-7] + damage + b'\n')
    (tmp_path / 'r_t.txt_result.json').write_text('{}')
    before = snapshot(tmp_path)
    with refused(ValueError, path, 'remove it'):
        learn(tmp_path, by_number(3), '--epochs', 3, **resumed)
    assert snapshot(tmp_path) == before
    path.unlink()
    path.symlink_to(tmp_path / 'mine')                     # a link is not followed
    (tmp_path / 'mine').write_bytes(good + b'precious')
    with refused(OSError, path):
        learn(tmp_path, by_number(3), '--epochs', 3, **resumed)
    assert (tmp_path / 'mine').read_bytes() == good + b'precious'
    path.unlink()
    learn(tmp_path, by_number(3), '--epochs', 3, **resumed)
    assert log_rows(tmp_path / 'r_t.txt_epochs.out')[:, 2].tolist() == ([5, 4, 3] if ending == '.out' else [3])


@pytest.mark.parametrize('epochs, said', [(0, 'nothing was saved yet: '), (1, 'last saved: {}\nto resume: ')])
def test_second_ctrl_c_says_what_was_saved(tmp_path, capfd, epochs, said):
    def stop(rates):
        if len(rates) > epochs:
            raise KeyboardInterrupt
        return 5
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path, stop, '--epochs', 3, '--save-every', 1)
    assert said.format(tmp_path / 'r_t.txt_epoch1.npz') in capfd.readouterr().out


def test_partial_files_of_a_killed_run_are_removed_and_no_others(tmp_path):
    learned(tmp_path, 5, 4)
    for name in ('r_t.txt.png', 'r_t.txt_best.npz', 'r_u.txt.png', 'r_t.txt.txt', 'r_t.txt.png.copy'):
        (tmp_path / f'{name}.0123456789ab.part').touch()
    learn(tmp_path, by_number(3), '--epochs', 3, resume=str(tmp_path / 'r_t.txt_epoch2.npz'))
    assert sorted(path.name[:-18] for path in tmp_path.glob('*.part')) == [
        'r_t.txt.png.copy', 'r_t.txt.txt', 'r_u.txt.png']


def test_going_back_behind_newer_checkpoints_needs_overwrite(tmp_path, refused):
    learned(tmp_path, 5, 4, 6, 3)
    before, options = snapshot(tmp_path), ['--epochs', 3, '--save-every', 1]
    with refused(ValueError, 'r_t.txt_best.npz exists already', '--overwrite'):
        learn(tmp_path, by_number(7), *options, resume=str(tmp_path / 'r_t.txt_epoch2.npz'))
    assert snapshot(tmp_path) == before
    _, now = learn(tmp_path, by_number(7), *options, '--overwrite', resume=str(tmp_path / 'r_t.txt_epoch2.npz'))
    assert sorted(path.name for path in tmp_path.glob('*.npz')) == ['r_t.txt_best.npz'] + [
        f'r_t.txt_epoch{n}.npz' for n in (1, 2, 3)]
    assert (now.epoch, now.best_cost, now.best_epoch) == (3, 4, 2)      # it went back to the best one
    assert log_rows(tmp_path / 'r_t.txt_epochs.out')[:, 2].tolist() == [5, 4, 7]


def test_damaged_checkpoints_are_skipped(tmp_path, capfd):
    """A line names each, once. The best one is written again."""
    learned(tmp_path, 5, 4, 6)
    paths = cut, best, flipped = [tmp_path / f'r_t.txt_{name}.npz' for name in ('epoch1', 'best', 'epoch0')]
    last = (tmp_path / 'r_t.txt_epoch3.npz').read_bytes()
    for path, content in zip(paths, (last[:-100], b'', last.replace(np.float64(0.012).tobytes(), bytes(8)))):
        path.write_bytes(content)
    found = str(newest(checkpoints_of(SimpleNamespace(output_dir=tmp_path, name='r_t.txt'))))
    assert os.path.basename(found) == 'r_t.txt_epoch3.npz' and len(flipped.read_bytes()) == len(last)
    flipped.unlink()
    _, now = learn(tmp_path, by_number(7, 8), '--epochs', 5, '--save-every', 1, resume=found)
    said = capfd.readouterr().err
    assert [said.count(str(path)) for path in paths] == [1, 1, 1] and cut.exists()
    assert (now.best_epoch, now.best_cost) == (4, 7) and progress_of(best)['epoch'] == 4


# ---------------------------------------------------------------- refused

def test_text_that_is_not_of_the_run(straight, in_process, tmp_path):
    """It has changed, or is no longer where the checkpoint says."""
    changed, moved = tmp_path / 't.txt', tmp_path / 'moved.npz'
    changed.write_text(TEXT.replace('the', 'eht', 1), encoding='utf-8')
    arrays = load(shutil.copy(str(straight.run.file('_epoch2.npz')), str(moved)))
    about = json.loads(str(arrays.pop('about')))
    about['text']['path'] = str(tmp_path / 'gone' / 't.txt')
    write(str(moved), arrays, about)
    assert_refused(in_process(TRAIN, changed, '--resume', straight.run.file('_epoch2.npz')), str(changed))
    assert_refused(in_process(TRAIN, '--resume', moved), str(tmp_path / 'gone' / 't.txt'))


def test_second_run_of_a_name_waits_for_the_end_of_the_first(tmp_path, refused):
    first, second = [run_of(tmp_path, Learner(None), '--overwrite') for _ in range(2)]
    first.check({})
    second.check({})
    with first.open():
        before = snapshot(tmp_path)
        with refused(ValueError, 'r_t.txt.out', 'another process'), second.open():
            pass
        assert snapshot(tmp_path) == before
    with second.open():
        pass


