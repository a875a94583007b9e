"""The files of a run: their names, logs, checkpoints and picture; and runs that are stopped in every way and resumed.

A resumed run must not differ from one that never stopped. A driver runs train.py, counts
calls, and at one of them sends a signal or fills the disk: at a step, or at an exact place of
the writing of a checkpoint.
"""
import errno
import json
import math
import os
import re
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest

from damage import write_checkpoint
from engine.model.checkpoint import Checkpoint, write
from engine.model.files import partial_name
from engine.run.logs import LOGS
from engine.run.options import Options
from engine.run.run import Run
from engine.run.schedule import Schedule
from learner import Learner, by_number, learn, progress_of, quick, settled
from models import member
from numpy_model import NAMES, costs, forward, random_parameters
from scripts import (B, DRIVER, FAST, N_TRAIN, N_VALID, ROOT, S, SMALL, STATEFUL, TEXT, TRAIN, Compiling,
                     arrays_and_about, assert_refused, load, log_rows, refuse_training, run, snapshot, succeeded,
                     without_id, without_privileges)

RESULTS = ['r_t.txt' + end for end in ('.out', '_epochs.out', '.png', '_epoch7.npz', '_interrupted.npz',
                                     '_result.json')]
VALID_EVERY = 6                               # steps, in the fixture `trained`; the first one of epoch 3 is among them


# ---------------------------------------------------------------- names of the results

def test_names_of_the_results(trained):
    assert sorted(os.listdir(str(trained.results))) == [
        'r1_sentences.txt' + end for end in (
            '.out', '.png', '_best.npz', '_epoch2.npz', '_epoch3.npz', '_epochs.out', '_passage.out', '_result.json',
            '_samples.txt')]


@pytest.mark.parametrize('name, output, words', [
    *[(name, 'results', ['run name', repr(name), 'at least one character']) for name in ('a/b', '../r', 'r/', '')],
    ('r', '', ["cannot make the folder ''"]),
    ('n' * 230, 'results', ['too long']),
    *[('r', output, [output, '--output-dir names another'])
      for output in ('t.txt', 't.txt/x', '/proc/x', '/proc')]], ids=repr)
def test_names_that_cannot_be(folder, in_process, name, output, words):
    refuse_training(folder, in_process, *words, name=name, options=['--output-dir', output])


@pytest.mark.parametrize('name', ['..', 'a b', 'ü%s{}'])
def test_odd_run_name_stays_in_the_output_folder(folder, in_process, name):
    before = set(snapshot(folder))
    with pytest.raises(Compiling):
        in_process(TRAIN, 't.txt', name, *SMALL, '--output-dir', 'results')
    assert set(snapshot(folder)) == before       # it is not refused, and writes nothing before it compiles
    assert os.path.split(Run('results', name + '_t.txt').path('.out')) == ('results', name + '_t.txt.out')


def test_output_folder_without_permission(folder, refused):
    """Of a new run, and of one that is resumed."""
    (folder / 'results').chmod(0o555)
    refuse_training(folder, run, 'r_t.txt.out', 'Permission denied', '--output-dir', preexec_fn=without_privileges)
    with refused(OSError, 'cannot write /proc/r_t.txt.out: ', 'copy the checkpoint to a folder that can be written'):
        Run('/proc', 'r_t.txt', 'r_t.txt_epoch3.npz').check(overwrite=False)


def test_results_that_would_become_part_of_a_text(folder, in_process):
    """Hidden folders are no part of it."""
    os.mkdir('books')
    (folder / 'books' / '1.txt').write_text(TEXT, encoding='utf-8')
    os.symlink('books', 'link')
    for words in (dict(text='.'), dict(text='books', options=['--output-dir', 'link']),
                  dict(options=['--test', 'books', '--output-dir', 'books/a/b'])):
        refuse_training(folder, in_process, ' is inside the text folder ', 'name a folder outside', **words)
    with pytest.raises(Compiling):
        in_process(TRAIN, 'books', 'r', *SMALL, '--output-dir', 'books/.hidden')


def test_error_of_any_kind_says_which_checkpoint_there_is(refused):
    """Also of a kind that cannot be made from a message alone, and of print, which names no file."""
    run = Run('results', 'r_t.txt', 'r_t.txt_epoch3.npz')
    unicode_error = UnicodeEncodeError('utf-8', 'a', 0, 1, 'why')
    for error, kind, said in (
            (unicode_error, ValueError, str(unicode_error)), (FileNotFoundError('f: gone'), OSError, 'f: gone'),
            (OSError(28, 'full'), OSError, 'cannot write standard output: full; the last checkpoint')):
        with refused(kind, said, '--resume r_t.txt_epoch3.npz'), run.naming_checkpoint('at once'):
            raise error


# ---------------------------------------------------------------- earlier results

@pytest.mark.parametrize('name', RESULTS)
def test_earlier_result_is_not_replaced(folder, in_process, name):
    (folder / 'results' / name).write_bytes(b'precious')
    refuse_training(folder, in_process, os.path.join('results', name), '--overwrite')


def test_text_that_is_a_file_of_the_run_is_not_replaced(folder, in_process):
    (folder / 'results' / 'r_t.txt.out').write_text(TEXT, encoding='utf-8')
    refuse_training(folder, in_process, 'results/r_t.txt.out is also read',
                    options=['--overwrite', '--test', 'results/r_t.txt.out'])


def test_checkpoint_that_the_run_begins_from_is_not_replaced(folder, in_process):
    write_checkpoint('results/r_t.txt_best.npz')
    refuse_training(folder, in_process, 'results/r_t.txt_best.npz is also read',
                    options=['--overwrite', '--init', 'results/r_t.txt_best.npz', '--num-units1', 3, '--num-units2', 2])


@pytest.mark.parametrize('text, options, word', [
    ('missing.txt', [], 'missing.txt'), ('t.txt', ['--epochs', 0], 'epochs'), ('t.txt', ['--lrate', 'nan'], 'lrate'),
    ('t.txt', ['--seq-length', 1000], 'a batch has')], ids=['missing text', 'epochs', 'rate', 'too short'])
def test_overwrite_with_bad_input_loses_nothing(folder, in_process, text, options, word):
    for name in RESULTS:
        (folder / 'results' / name.replace('t.txt', text)).write_bytes(b'precious')
    refuse_training(folder, in_process, word, text=text, options=['--overwrite'] + options)


def test_same_seed_gives_the_same_run_and_overwrite_replaces_only_it(trained, tmp_path):
    results = tmp_path / 'results'
    shutil.copytree(str(trained.results), str(results))
    old = [results / ('r1_sentences.txt' + end) for end in ('_epoch99.npz', '_interrupted.npz')]
    others = [results / name for name in (
        'r11_sentences.txt.out', 'r1_sentences.txt2.out', 'notes.txt', 'r1_sentences.txt_epoch2.npz.bak',
        'r1_sentences.txt_epoch1_npz', 'r1_sentences_txt.out')]
    for path in old + others:
        path.write_bytes(b'kept?')
    fake = {'PYTHONPATH': quick(tmp_path)['PYTHONPATH']}                      # with as many threads as before
    succeeded(run(TRAIN, trained.text, 'r1', *trained.options, '--overwrite', cwd=tmp_path, env=fake))
    assert not any(path.exists() for path in old)
    assert [path.read_bytes() for path in others] == [b'kept?'] * len(others)
    assert without_id(results / trained.steps.name) == without_id(trained.steps)
    epochs = [np.loadtxt(str(folder / trained.epochs.name)) for folder in (results, trained.results)]
    np.testing.assert_array_equal(epochs[0][:, :4], epochs[1][:, :4])           # all but the speed
    for n in (2, 3):
        name = 'r1_sentences.txt_epoch{}.npz'.format(n)
        assert arrays_and_about(results / name) == arrays_and_about(trained.results / name)


# ---------------------------------------------------------------- logs, picture and checkpoints

def header(log):
    """Return the names of the columns."""
    line = log.read_text().splitlines()[0]
    assert line.startswith('#')
    return line[1:].split()


def test_log_of_the_steps(trained):
    rows = np.loadtxt(str(trained.steps))
    assert rows.shape == (3 * N_TRAIN, 11)
    np.testing.assert_allclose(rows[:, 0], np.arange(1, 3 * N_TRAIN + 1) / N_TRAIN, rtol=1e-5)
    names = header(trained.steps)
    assert len(names) == 11 and all(name.endswith(p) for name, p in zip(names[3:], NAMES))
    computed = rows[::VALID_EVERY, 2]               # the rows between repeat the last one
    np.testing.assert_array_equal(rows[:, 2], np.repeat(computed, VALID_EVERY)[:len(rows)])
    assert len(set(computed)) > len(computed) / 2
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
    """Return the costs of the validation batches by the rules of text, split, order of batches and model."""
    p = load(checkpoint)
    codes = np.searchsorted(p['uchar'], list(TEXT)[:len(TEXT) // S * S]).reshape(-1, S)
    valid = codes[math.floor(0.7 * len(codes) + 0.5):][:N_VALID * B].reshape(N_VALID, B, S)
    valid = valid.transpose(0, 2, 1)                                                            # (n, S, B)
    return [costs(forward(p, batch[:-1])[0], batch[1:]).mean() for batch in valid]


def test_validation_costs_are_those_of_the_checkpoints(trained):
    """That of a step is of one batch, by the parameters before the step, as the training cost is."""
    of_batches = [validation_costs(trained.results / f'r1_sentences.txt_epoch{epoch}.npz') for epoch in (2, 3)]
    np.testing.assert_allclose(np.loadtxt(str(trained.epochs))[1:, 2], np.mean(of_batches, axis=1), rtol=2e-5)
    drawn = np.loadtxt(str(trained.steps))[2 * N_TRAIN, 2]
    assert 2 * N_TRAIN % VALID_EVERY == 0 and np.isclose(drawn, of_batches[0], rtol=2e-5, atol=0).any()


def test_best_has_the_lowest_validation_cost_of_the_log(short_run):
    assert log_rows(short_run.folder / 'r_t.txt_epochs.out')[:, 2].tolist() == short_run.costs.tolist()
    assert short_run.costs.argmin() + 1 == short_run.best_epoch
    best = load(short_run.folder / 'r_t.txt_best.npz')
    for epoch in range(1, len(short_run.costs) + 1):
        stored = load(short_run.folder / 'r_t.txt_epoch{}.npz'.format(epoch))
        assert [np.array_equal(best[name], stored[name]) for name in NAMES] == [
            epoch == short_run.best_epoch] * len(NAMES)
    assert progress_of(short_run.folder / 'r_t.txt_best.npz')['best_cost'] == short_run.costs.min()


# ---------------------------------------------------------------- one run, stopped and resumed

OPTIONS = STATEFUL + '--dropout 0.2 --grad-clip 5 --epochs 6 --save-every 1 --valid-every 5'.split()
BATCHES = -(-(round(0.7 * (len(TEXT) // S)) * S // B - 1) // S)      # per epoch, of 6 streams and 11 steps

STEP, RENAME, SYNC = ('charlstm', 'CharLSTM.theano_train_rmsprop'), ('os', 'replace'), ('os', 'fsync')


class Results:
    """The results of one run in a folder of their own; the run may be stopped and resumed."""

    def __init__(self, folder, shared):
        self.folder, self.shared = folder, shared
        self.log = self.file('.out')

    def file(self, ending):
        return self.folder / ('r_t.txt' + ending)

    def resume(self):
        """Return the words that resume from the newest checkpoint."""
        saved = {path: progress_of(path) for path in self.folder.glob('r_t.txt_*.npz')}
        return ['--resume', max(saved, key=lambda path: (saved[path]['epoch'], saved[path]['batch'],
                                                         '_epoch' in path.name))]

    def begin(self):
        return [self.shared.text, 'r', *OPTIONS, '--output-dir', self.folder]

    def run(self, *words, at=None, do=('signal', int(signal.SIGKILL))):
        """Run train.py; at: function, number of the call and when, where the driver does something."""
        command = [TRAIN] if at is None else ['-c', DRIVER, ROOT, *at[0], *at[1:], *do]
        return run(*command, *words, cwd=self.folder, env=self.shared.env)

    def end(self):
        """Return all that the finished run holds: logs without speeds, arrays and progress of its checkpoints."""
        logs = [without_id(self.file(end)) for end in ('.out', '_samples.txt', '_passage.out')]
        epochs = log_rows(self.file('_epochs.out'))[:, :4].tolist()
        return dict(logs=logs, epochs=epochs, last=arrays_and_about(self.file('_epoch6.npz')),
                    best=arrays_and_about(self.file('_best.npz')))


def assert_same(end, straight):
    for part in ('epochs', 'logs', 'last', 'best'):
        assert end[part] == straight[part], part


@pytest.fixture(scope='module')
def shared(tmp_path_factory):
    """Return the text and the environment of all runs."""
    folder = tmp_path_factory.mktemp('shared')
    (folder / 't.txt').write_text(TEXT, encoding='utf-8')
    return SimpleNamespace(text=folder / 't.txt', env=quick(folder))


@pytest.fixture(scope='module')
def straight(shared, tmp_path_factory):
    """Return a run that never stopped."""
    whole = Results(tmp_path_factory.mktemp('straight'), shared)
    succeeded(whole.run(*whole.begin()))
    assert len(log_rows(whole.log)) == 6 * BATCHES
    return SimpleNamespace(run=whole, end=whole.end())


@pytest.fixture
def stopping(shared, tmp_path):
    folder = tmp_path / 'results'
    folder.mkdir()
    return Results(folder, shared)


# ---------------------------------------------------------------- kill -9

# A run that is resumed from its start writes three files in epoch 1, and then the best checkpoint of epoch 2. One
# that is resumed after epoch 1 writes that as its 1st, and then is resumed from it.
WRITING = [(STEP, 9, 'before'), (SYNC, 4, 'torn'), (RENAME, 1, 'before'), (RENAME, 1, 'after'), (SYNC, 1, 'torn')]


def test_killed_and_resumed_is_the_straight_run(straight, stopping):
    """By one command: in the first epoch, and at each place of the writing of a checkpoint."""
    command = [*stopping.begin(), '--resume', 'last']
    for at, said in zip(WRITING, ['no checkpoint yet: a new run', *['resuming from r_t.txt_'] * 4]):
        killed = stopping.run(*command, at=at)
        assert killed.returncode == -signal.SIGKILL and said in killed.stdout
    assert progress_of(stopping.file('_best.npz'))['epoch'] == 2 and not stopping.file('_epoch2.npz').exists()
    succeeded(stopping.run(*command))
    assert_same(stopping.end(), straight.end)
    assert 'nothing left to learn' in succeeded(stopping.run(*command))
    assert_same(stopping.end(), straight.end)


# ---------------------------------------------------------------- Ctrl-C

@pytest.mark.parametrize('at, batch', [((STEP, 2 * BATCHES, 'before'), BATCHES), ((RENAME, 5, 'before'), 0)],
                         ids=['last step of an epoch', 'its end'])
def test_interrupted_and_resumed_is_the_straight_run(straight, stopping, at, batch):
    result = stopping.run(*stopping.begin(), at=at, do=('signal', int(signal.SIGINT)))
    assert (result.returncode, result.stderr) == (130, '')
    assert progress_of(stopping.file('_interrupted.npz'))['batch'] == batch
    assert ('carried_C2' in load(stopping.file('_interrupted.npz'))) == (batch > 0)
    succeeded(stopping.run('--resume', stopping.file('_interrupted.npz')))
    assert_same(stopping.end(), straight.end)


def test_interrupted_at_the_very_end_keeps_the_last_epoch(stopping):
    """A signal while the best parameters are written, with no step left to stop before."""
    result = stopping.run(*stopping.begin(), '--epochs', 1, at=(RENAME, 2, 'before'), do=('signal', int(signal.SIGINT)))
    assert result.returncode == 130 and 'Traceback' not in result.stderr
    assert progress_of(stopping.file('_epoch1.npz'))['epoch'] == 1


# ---------------------------------------------------------------- a text in the first epoch

# Lets an epoch count as a long one from its second step on.
LONG = f'import sys; sys.path.insert(0, {str(ROOT)!r}); from engine import progress; progress.FORECAST = -1\n'


def test_run_that_writes_in_its_first_epoch_is_the_straight_run(straight, stopping):
    """Also where it is stopped in that epoch and resumed; both print a text once, before the end of the epoch."""
    said = []
    for words in (stopping.begin, stopping.resume):
        interrupt = [1 if words == stopping.begin else 99, 'after', 'signal', int(signal.SIGINT)]
        result = run('-c', LONG + DRIVER, ROOT, 'engine.run.run', 'Run.first_sample', *interrupt, *words(),
                     cwd=stopping.folder, env=stopping.shared.env)
        assert result.stderr == ''
        said.append([line for line in result.stdout.splitlines() if re.match('what it writes|epoch|interrupted', line)])
    steps = f'of the {BATCHES} steps of epoch 1:'
    assert said[0] == [f'what it writes after 2 {steps}', 'interrupted in epoch 1']
    assert said[1][0] == f'what it writes after 4 {steps}' and said[1][1].startswith('epoch 1/6: ')
    assert not [line for line in said[1][1:] if steps in line]
    assert_same(stopping.end(), straight.end)


def test_no_text_before_the_end_of_a_later_epoch_nor_as_of_2016(tmp_path):
    for words, epoch, count in (([], 0, 1), ([], 1, 0), (['--original'], 0, 0)):
        said, of_run = [], Run(str(tmp_path), 'r_t.txt')
        of_run.say = said.append
        of_run.follow(Learner(None), Schedule(settled(*words), epoch, batch=30))
        of_run.first_sample()
        assert said == ['what it writes after 30 of the 100 steps of epoch 1:\nsample\n'] * count


# ---------------------------------------------------------------- a full disk

def test_full_disk_and_resumed_is_the_straight_run(straight, stopping):
    """First no row can be written any more, then no checkpoint, which is larger than the logs.

    One line names the file and the last checkpoint, which is good, and nothing is half-written.
    """
    first = stopping.run(*stopping.begin(), at=(STEP, BATCHES + 9, 'before'), do=('full', 1000))
    assert_refused(first, 'cannot write', 'r_t.txt.out: File too large', 'r_t.txt_epoch1.npz')
    assert stopping.log.read_text().endswith('\n') and log_rows(stopping.log).shape[1] == 11
    second = stopping.run(*stopping.resume(), at=(STEP, BATCHES, 'before'), do=('full', 12000))
    assert_refused(second, 'r_t.txt_best.npz: File too large', 'r_t.txt_epoch1.npz')
    assert not list(stopping.folder.glob('*.part'))
    succeeded(stopping.run(*stopping.resume()))
    assert_same(stopping.end(), straight.end)


def test_picture_on_a_full_disk(folder):
    """It is larger than a checkpoint, here of no averages. The run continues without it."""
    result = run('-c', DRIVER, ROOT, *STEP, 1, 'before', 'full', 36000, 't.txt', 'r', *SMALL, '--output-dir', 'results',
                 '--average', 0, '--epochs', 2, flags=FAST, cwd=str(folder))
    assert (result.returncode, result.stderr.count('\n')) == (0, 1)
    assert 'results/r_t.txt.png could not be drawn: cannot write results/r_t.txt.png: File too large' in result.stderr
    assert sorted(os.listdir('results')) == ['other_t.txt.out', 'r_t.txt.out', 'r_t.txt_best.npz', 'r_t.txt_epoch2.npz',
                                             'r_t.txt_epochs.out', 'r_t.txt_passage.out', 'r_t.txt_result.json',
                                             'r_t.txt_samples.txt']


# ---------------------------------------------------------------- resumed elsewhere, and from earlier

def learned(folder, *costs):
    """Train a Learner for an epoch a cost, with a checkpoint of each. Return its checkpoints' names."""
    folder.mkdir(exist_ok=True)
    learn(folder, by_number(*costs), '--epochs', len(costs), '--save-every', 1)
    return sorted(path.name for path in folder.glob('*.npz'))


def test_moved_checkpoint_is_resumed_with_logs_of_its_own(straight, shared, tmp_path):
    """Under another name, in another folder, without its logs, and with its text elsewhere."""
    (tmp_path / 'text').mkdir()
    (tmp_path / 'moved').mkdir()
    (tmp_path / 'text' / 'renamed.txt').write_text(TEXT, encoding='utf-8')
    moved = Results(tmp_path / 'moved', shared)
    shutil.copy(str(straight.run.file('_epoch2.npz')), str(tmp_path / 'moved' / 'mine.npz'))
    out = succeeded(moved.run(tmp_path / 'text' / 'renamed.txt', '--resume', tmp_path / 'moved' / 'mine.npz'))
    assert 'begun anew' in out and moved.log.name in out
    whole = moved.end()
    assert whole['logs'][0] == straight.end['logs'][0].split(b'\n', 1)[0] + b'\n' + b'\n'.join(
        straight.end['logs'][0].split(b'\n')[1 + 2 * BATCHES:])
    for part in ('last', 'best'):
        assert {name: array for name, array in whole[part].items() if name != 'about'} == {
            name: array for name, array in straight.end[part].items() if name != 'about'}


def test_text_that_moved_is_found_beside_the_checkpoint(straight, in_process, tmp_path, capfd):
    shutil.copytree(str(straight.run.folder), str(tmp_path / 'results'))
    checkpoint = tmp_path / 'results' / 'r_t.txt_epoch6.npz'
    arrays = load(checkpoint)
    about = json.loads(str(arrays.pop('about')))
    about['text']['path'] = str(tmp_path / 'gone' / 't.txt')
    write(str(checkpoint), arrays, about)
    refused = in_process(TRAIN, '--resume', checkpoint)
    assert_refused(refused, str(tmp_path / 'gone' / 't.txt'), 'is gone', '--resume')
    shutil.copy(str(straight.run.shared.text), str(tmp_path / 'results' / 't.txt'))
    with pytest.raises(Compiling):
        in_process(TRAIN, '--resume', checkpoint)
    assert 'taking ' + str(tmp_path / 'results' / 't.txt') in capfd.readouterr().out


@pytest.mark.parametrize('make, words', [
    (os.mkfifo, ['cannot be read again: save the text as a file', 'train.py FILE --resume']),
    ('/dev/fd/63', ['/dev/fd/63, ', 'cannot be read again']), (lambda path: path.touch(), ['is empty now: name it']),
    (lambda path: None, ['is gone: name it where it is now', 'train.py ./-t.txt --resume'])])
def test_text_that_cannot_be_read_again(straight, in_process, monkeypatch, tmp_path, make, words):
    """Of that name, an empty file in the current folder is not taken either. FILE stands for a name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'FILE').write_text(TEXT, encoding='utf-8')
    checkpoint = shutil.copy(str(straight.run.file('_epoch2.npz')), 'p.npz')
    (tmp_path / 'texts').mkdir()
    text = tmp_path / 'texts' / '-t.txt'
    (tmp_path / text.name).touch()
    if callable(make):
        make(text)
    arrays = load(checkpoint)
    about = json.loads(str(arrays.pop('about')))
    about['text']['path'] = str(text) if callable(make) else make
    write(checkpoint, arrays, about)
    assert_refused(in_process(TRAIN, '--resume', checkpoint), *words)


def test_moved_checkpoint_is_resumed_a_second_time(tmp_path, refused, capsys):
    """Its own logs are another's then. The furthest checkpoint is named, with the command that resumes it."""
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


MINE = b'what somebody wrote\n' * 99


def with_progress(checkpoint, **changes):
    """Change the progress in a checkpoint. Return its path."""
    with Checkpoint(str(checkpoint)) as stored:
        arrays = {name: stored[name] for name in stored.metadata['arrays']}
        metadata = dict(stored.metadata, progress=dict(stored.metadata['progress'], **changes))
    write(str(checkpoint), arrays, metadata)
    return str(checkpoint)


def assert_resumed_is_refused(folder, refused, checkpoint, *words):
    """Assert that the run is not resumed from a checkpoint, and no file changes."""
    before = snapshot(folder)
    with refused(ValueError, *words):
        learn(folder, by_number(3), '--epochs', 3, resume=checkpoint)
    assert snapshot(folder) == before


@pytest.mark.parametrize('ending, damage', [
    *[(ending, lambda data: MINE) for ending in LOGS], ('.out', lambda data: data[:-1]),
    ('_epochs.out', lambda data: data[:-9] + bytes(9)),
    ('_samples.txt', lambda data: re.sub(rb'(?<=# id )\w+', b'0' * 16, data)),
    ('_epochs.out', lambda data: re.sub(rb'(?m)^(\d \S+ \S+)(.*)', lambda row: row[1] + b' ' * len(row[2]), data)),
    ('.out', lambda data: data.replace(b'2.5', bytes(3))), ('_epochs.out', lambda data: data.replace(b'\n2', b'\nx'))],
    ids=[*LOGS, 'cut short', 'zeros of a power cut', 'of another run', 'three columns', 'zeros', 'no number'])
def test_log_without_all_that_the_checkpoint_knows_is_not_cut(tmp_path, refused, ending, damage):
    learned(tmp_path, 5, 4)
    path = tmp_path / f'r_t.txt{ending}'
    path.write_bytes(damage(path.read_bytes()))
    checkpoint = str(tmp_path / 'r_t.txt_epoch2.npz')
    assert_resumed_is_refused(tmp_path, refused, checkpoint, 'not known', f'r_t.txt{ending};')
    learn(tmp_path, by_number(3), '--epochs', 3, resume=checkpoint, overwrite=True)
    assert log_rows(tmp_path / 'r_t.txt_epochs.out')[:, 2].tolist() == ([3] if ending == '_epochs.out' else [5, 4, 3])


def test_log_of_the_steps_of_an_original_run_goes_with_that_of_the_epochs(tmp_path, refused):
    """It has no heading."""
    words, steps, epochs = ['--original', '--epochs'], tmp_path / 'r_t.txt.out', tmp_path / 'r_t.txt_epochs.out'
    learn(tmp_path, by_number(5, 4), *words, 2)
    checkpoint, first, whole = str(tmp_path / 'r_t.txt_epoch2.npz'), epochs.read_bytes(), steps.read_bytes()
    steps.write_bytes(whole + b'2.0 ')
    learn(tmp_path, by_number(3), *words, 3, resume=checkpoint)
    assert steps.read_bytes().startswith(whole) and len(log_rows(steps)) == 3
    for name in ('_best.npz', '_epoch3.npz'):
        (tmp_path / f'r_t.txt{name}').unlink()
    for missing in (epochs, steps):
        before = missing.read_bytes()
        missing.write_bytes(MINE if missing == epochs else whole[:-1])
        changed = snapshot(tmp_path)
        with refused(ValueError, 'not known', f'{steps.name}'):
            learn(tmp_path, by_number(3), *words, 3, resume=checkpoint)
        assert snapshot(tmp_path) == changed
        missing.write_bytes(before)
    assert epochs.read_bytes().startswith(first)


@pytest.mark.parametrize('rest', [b'3 2.5', b'3 2.5 inf nan 1e-05\n', b'\0\0\0'], ids=repr)
def test_log_loses_rows_that_a_stop_left(tmp_path, rest):
    learned(tmp_path, 5, 4)
    for ending in LOGS:
        with open(str(tmp_path / f'r_t.txt{ending}'), 'ab') as log:
            log.write(rest)
    learn(tmp_path, by_number(3), '--epochs', 3, resume=str(tmp_path / 'r_t.txt_epoch2.npz'))
    assert log_rows(tmp_path / 'r_t.txt_epochs.out')[:, 2].tolist() == [5, 4, 3]


def test_another_run_replaces_no_checkpoint(tmp_path, refused):
    learned(tmp_path, 5, 4)
    checkpoint = with_progress(tmp_path / 'r_t.txt_epoch2.npz', id='0123456789abcdef')
    with refused(ValueError, 'or of another run', '--overwrite to drop r_t.txt_best.npz, r_t.txt_epoch1.npz'):
        learn(tmp_path, by_number(3), '--epochs', 3, resume=checkpoint)
    learn(tmp_path, by_number(3), '--epochs', 3, resume=checkpoint, overwrite=True)
    assert log_rows(tmp_path / 'r_t.txt_epochs.out')[:, 2].tolist() == [5, 4, 3]


# ---------------------------------------------------------------- links


@pytest.mark.parametrize('ending', ['_best.npz', '_epoch1.npz'])
def test_checkpoint_replaces_a_link_and_not_what_it_leads_to(tmp_path, ending):
    (tmp_path / 'mine').write_bytes(MINE)
    os.symlink(tmp_path / 'mine', tmp_path / f'r_t.txt{ending}')
    learn(tmp_path, by_number(5), '--epochs', 1, '--save-every', 1, overwrite=True)
    assert (tmp_path / 'mine').read_bytes() == MINE and not (tmp_path / f'r_t.txt{ending}').is_symlink()
    assert progress_of(tmp_path / f'r_t.txt{ending}')['epoch'] == 1


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


def test_damaged_checkpoint_is_named_with_its_reason(folder, refused, in_process, capfd):
    """Where the run is resumed from another one, and where none is left."""
    names = learned(folder / 'results', 5, 4)
    for name in ('r_t.txt_best.npz', 'r_t.txt_epoch1.npz', 'r_t.txt_epoch2.npz'):
        os.truncate(str(folder / 'results' / name), 999)
        if name.endswith('best.npz'):
            with refused(ValueError, f'{name} is not a checkpoint', 'cut short', f': --overwrite to drop {name}'):
                learn(folder / 'results', by_number(3), '--epochs', 3, resume='results/r_t.txt_epoch2.npz')
    assert 'r_t.txt_best.npz' in names
    command = [TRAIN, 't.txt', 'r', *SMALL, '--output-dir', 'results', '--resume', 'last']
    assert_refused(in_process(*command), 'r_t.txt_best.npz is not a checkpoint', 'cut short', '--overwrite begins')
    with pytest.raises(Compiling):
        in_process(*command, '--overwrite')
    assert 'no checkpoint yet: a new run' in capfd.readouterr().out


def test_resume_last_where_another_text_took_the_place_of_the_default(tmp_path):
    """As Python's reference does where the novel cannot be fetched: the run has the name of that."""
    learned(tmp_path, 5)
    o = Options(dict(input='novel.txt', run='r', output_dir=str(tmp_path), resume='last'))
    assert o._newest_checkpoint(lambda path: 't.txt')['resume'] == str(tmp_path / 'r_t.txt_best.npz')


def test_resume_last_without_what_is_for_a_new_run(straight, in_process, tmp_path, capfd):
    """What a new run starts from is not read. Its options hold."""
    shutil.copytree(str(straight.run.folder), str(tmp_path / 'results'))
    command = [*Results(tmp_path / 'results', straight.run.shared).begin(), '--resume', 'last']
    with pytest.raises(Compiling):
        in_process(TRAIN, *command, '--init', 'gone.npz')
    assert ', without --init gone.npz, which is for a new run\n' in capfd.readouterr().out
    assert_refused(in_process(TRAIN, *command, '--dropout', 0.5), 'got --dropout 0.5, but ')


@pytest.mark.parametrize('ending', [*LOGS, '.png', '_best.npz'])
def test_one_file_that_is_no_heading_is_not_replaced(tmp_path, refused, ending):
    """A log has more than its heading, or another one's; other files may have anything."""
    with Run(str(tmp_path), 'r_t.txt').open():
        pass
    again = Run(str(tmp_path), 'r_t.txt')
    again.check(overwrite=False)
    path, more = tmp_path / f'r_t.txt{ending}', b'1' if ending in LOGS else b''
    path.write_bytes(path.read_bytes() + more if path.exists() else more)
    before = snapshot(tmp_path)
    for begin in (lambda: again.check(overwrite=False), again.open().__enter__):
        with refused(ValueError, f'r_t.txt{ending} exists already', '--overwrite'):
            begin()
        assert snapshot(tmp_path) == before


def test_command_to_resume_has_as_many_processes(tmp_path, refused):
    learned(tmp_path, 5)
    with refused(ValueError, 'mpiexec', '-n 3', '--resume'):
        Run(str(tmp_path), 'r_t.txt', group=member(0, 3)).check(overwrite=False)


def test_going_back_to_where_the_best_is_lost(tmp_path, capsys):
    learned(tmp_path, 5, 6, 3)
    _, now = learn(tmp_path, by_number(7), '--epochs', 3, '--save-every', 1, overwrite=True,
                   resume=str(tmp_path / 'r_t.txt_epoch2.npz'))
    assert 'best epoch, 1, are gone' in capsys.readouterr().out
    assert (now.best_cost, now.best_epoch) == (7, 3)


def test_last_epoch_has_a_line_where_patience_ends_the_run(tmp_path, capsys):
    learn(tmp_path, by_number(5, 6, 6, 6), '--epochs', 9, '--patience', 2)
    out = capsys.readouterr().out
    assert re.findall('^epoch (.*?):', out, re.MULTILINE) == ['1/9', '3/9']
    assert out.index('epoch 3/9') < out.index('what it writes after epoch 3')


def test_parts_of_dead_processes_are_removed(tmp_path):
    """But no other file, even if its name is almost like theirs."""
    ours = [os.path.basename(partial_name(f'r_t.txt{ending}'))
            for ending in ('_epoch1.npz', '_best.npz', '.png', '_result.json')]
    kept = ['other_t.txt_best.npz.0123456789ab.part', 'r_t.txt.part', 'r_t.txt2_epoch1.npz.0123456789ab.part',
            'r_t.txt_best.npz.mine.part', 'r_t.txt_small_epoch1.npz.0123456789ab.part']
    for name in ours + kept:
        (tmp_path / name).write_bytes(b'part')
    learned(tmp_path, 5)
    assert sorted(path.name for path in tmp_path.glob('*.part')) == sorted(kept)


# ---------------------------------------------------------------- no run, or not its text

def test_changed_text_is_refused(straight, in_process, tmp_path):
    (tmp_path / 't.txt').write_text(TEXT.replace('the', 'eht', 1), encoding='utf-8')
    before = straight.run.end()
    result = in_process(TRAIN, tmp_path / 't.txt', '--resume', straight.run.file('_epoch2.npz'))
    assert_refused(result, f'{tmp_path / "t.txt"}, of {len(TEXT):,} characters', 'SHA-256')
    assert straight.run.end() == before


def test_checkpoint_of_the_class_is_no_run(make_model, in_process, tmp_path, refused):
    path = make_model(1).save_params(tmp_path / 'p')
    assert_refused(in_process(TRAIN, '--resume', path), path, 'no run', '--init')
    np.savez(str(tmp_path / 'old.npz'), uchar=np.array(make_model(1).uchar), **{
        name: array.astype('float32') for name, array in random_parameters(2, V=len(set(TEXT)), H1=4, H2=2).items()})
    assert_refused(in_process(TRAIN, '--resume', tmp_path / 'old.npz'), 'old.npz', 'no run', '--init')
    np.savez(str(tmp_path / 'foreign.npz'), a=np.zeros(3))
    foreign = in_process(TRAIN, '--resume', tmp_path / 'foreign.npz')
    assert_refused(foreign, 'foreign.npz is not a checkpoint', 'it has no U1')
    assert '--init' not in foreign.stderr
    with refused(ValueError, 'old.npz', 'resume'):
        make_model(1).resume(tmp_path / 'old.npz')


# ---------------------------------------------------------------- two runs of one name

def test_second_run_of_a_name_waits_for_the_end_of_the_first(tmp_path, refused):
    """Also where the first has saved a checkpoint, and before the second compiles."""
    learned(tmp_path / 'other', 5)
    first, second = Run(str(tmp_path), 'r_t.txt'), Run(str(tmp_path), 'r_t.txt')
    first.check(overwrite=False)
    second.check(overwrite=True)
    with first.open():
        shutil.copy(str(tmp_path / 'other' / 'r_t.txt_best.npz'), str(tmp_path))
        before = snapshot(tmp_path)
        with refused(ValueError, 'r_t.txt.out', 'another process'), second.open():
            pass
        for overwrite in (False, True):
            with refused(ValueError, 'r_t.txt.out is being written by another process'):
                Run(str(tmp_path), 'r_t.txt').check(overwrite)
        assert snapshot(tmp_path) == before
    with second.open():
        pass


def test_folder_without_locks(tmp_path, monkeypatch):
    """As some network file systems have none."""
    def no_lock(*arguments):
        raise OSError(errno.ENOSYS, 'Function not implemented')
    monkeypatch.setattr('fcntl.flock', no_lock)
    assert 'r_t.txt_epoch2.npz' in learned(tmp_path, 5, 4)


def test_second_start_does_not_replace_what_the_first_did_meanwhile(tmp_path, refused):
    """Both have passed the check, and compile; then the first is done before the second opens its logs."""
    second = Run(str(tmp_path), 'r_t.txt')
    second.check(overwrite=False)
    learned(tmp_path, 5, 4)
    before = snapshot(tmp_path)
    with refused(ValueError, 'exists already'), second.open():
        pass
    assert snapshot(tmp_path) == before
