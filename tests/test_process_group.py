"""Several processes that train one model: the same numbers as with one process, and what happens when one fails."""
import json
import os
import re
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest

import mpi
from cells import OWN
from models import member
from mpi import needs_mpi
from numpy_model import NAMES
from scripts import ROOT, STATEFUL, TEXT as SENTENCES, TRAIN, arrays_and_about, finish, load, log_rows, run

PROCESSES = ROOT / 'tests' / 'processes.py'
LETTERS = 'abcdefgh'
TEXT = ''.join(np.random.default_rng(7).choice(list(LETTERS), 823)) + LETTERS
LIMIT = 60         # seconds in which a failure must end all processes, even on a busy machine


# ---------------------------------------------------------------- shares

def test_shares_of_rows(refused):
    for size in (1, 2, 3, 5):
        for B in (5, 7, 11):
            shares = [member(rank, size).rows(B) for rank in range(size)]
            assert [row for share in shares for row in range(share.start, share.stop)] == list(range(B))
            lengths = [share.stop - share.start for share in shares]
            assert max(lengths) - min(lengths) <= 1
    with refused(ValueError, 3, 4):
        member(0, 4).rows(3)


# ---------------------------------------------------------------- the numbers of one process

def differences(one, other, names):
    return max(np.nanmax(abs(one[name] - other[name])) for name in names)


@needs_mpi
def test_several_processes_learn_what_one_does(tmp_path):
    """In float64, with all options of a step and a last batch that is shorter, for more than one epoch.

    The three processes also compare a gradient with NumPy's, and refuse to save what differs between them.
    """
    (tmp_path / 't.txt').write_text(TEXT)
    (tmp_path / 'few.txt').write_text('abacadabacadabcdaabbccdd')
    options = dict(cwd=str(tmp_path), flags=mpi.FAST + ',floatX=float64')
    for result in (mpi.run(3, PROCESSES, '3', **options), run(PROCESSES, '1', **options)):
        assert result.returncode == 0 and result.stderr.count('only the last 4 of the ') == 3, result.stderr

    def arrays(n, model, rank=0):
        return load(tmp_path / f'{n}_{model}_rank{rank}.npz')
    one, three = arrays(1, 'straight'), arrays(3, 'straight')
    assert differences(one, three, NAMES) < 1e-10
    assert differences(one, three, ['validation']) < 1e-12
    np.testing.assert_allclose(three['costs'], one['costs'], rtol=1e-9)
    assert abs(one['costs'][:, 0]).min() > 0 and len(one['validation']) == 4
    others = [arrays(3, 'straight', rank) for rank in (1, 2)]
    for name in set(three) - {'rows', 'kept'}:             # the processes have the same bits
        for other in others:
            np.testing.assert_array_equal(three[name], other[name])
    assert [int(found['rows']) for found in (three, *others)] == [3, 2, 2]
    assert sum(int(found['kept']) for found in (three, *others)) <= len(TEXT)

    resumed = arrays(3, 'resumed')                         # the same bits as without a stop
    for name in set(resumed) - {'costs', 'validation'}:
        np.testing.assert_array_equal(resumed[name], three[name])
    for name, left in (('costs', 20), ('validation', 2)):
        np.testing.assert_array_equal(resumed[name], three[name][-left:])
    changed = arrays(1, 'resumed')                         # in another number of processes only rounding differs
    assert differences(three, changed, NAMES) < 1e-10
    np.testing.assert_allclose(changed['validation'], three['validation'][-2:], rtol=1e-12)

    one, three = arrays(1, 'cell'), arrays(3, 'cell')      # peepholes, Adam, zero states, no validation
    peepholes = tuple(name + layer for name in OWN for layer in '12')
    assert differences(one, three, NAMES + peepholes) < 1e-10
    assert all(abs(one[name] - 0.2).max() > 1e-3 for name in peepholes)
    assert np.isnan(one['validation']).all() and np.isnan(three['validation']).all()


# ---------------------------------------------------------------- train.py

OPTIONS = [*STATEFUL, '--epochs', 2, '--save-every', 1, '--output-dir', 'results']
# Runs train.py with a statement before each step.
PATCHED = '''
import os, runpy, signal, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import charlstm
train, steps, rank = charlstm.CharLSTM.theano_train_rmsprop, [0], int(os.environ['OMPI_COMM_WORLD_RANK'])
def step(self, x, y):
    steps[0] += 1
    epochs = steps[0] / self.n_batches['train']
    {0}
    return train(self, x, y)
charlstm.CharLSTM.theano_train_rmsprop = step
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name='__main__')
'''


@pytest.fixture
def text(tmp_path):
    """Return the folder of a text t.txt."""
    for name, content in (('t', SENTENCES), ('valid', SENTENCES[1000:1500]), ('test', SENTENCES[::-1][:700] + 'ñ')):
        (tmp_path / f'{name}.txt').write_text(content, encoding='utf-8')
    return tmp_path


def run_with(text, statement, *options):
    """Run train.py in two processes with a statement before each step; return also the seconds after the last step."""
    result = mpi.run(2, '-c', PATCHED.format(statement), ROOT, TRAIN, 't.txt', 'r', *OPTIONS, *options, cwd=str(text))
    last_step = os.path.getmtime(text / 'results' / 'r_t.txt.out')
    return SimpleNamespace(seconds=time.time() - last_step, **vars(result))


def own_lines(result):
    """Return the lines of the program itself on standard error: mpiexec adds others."""
    return re.findall(r'train\.py: .*|Traceback', result.stderr)


@needs_mpi
def test_train_in_two_processes(text):
    """In float32 the costs of two epochs are within 1e-4 of those with one process, and nothing is printed twice.

    The first process scores the texts that were named to validate and to test with.
    Resumed after the first epoch, the run ends with the same bits.
    """
    fixed = '--valid', text / 'valid.txt', '--test', text / 'test.txt'
    one = run(TRAIN, 't.txt', 'a', *OPTIONS, *fixed, flags=mpi.FAST, cwd=str(text))
    two = mpi.run(2, TRAIN, text / 't.txt', 'b', *OPTIONS, *fixed, cwd=str(text))
    assert (one.returncode, two.returncode, own_lines(two)) == (0, 0, []), one.stderr + two.stderr

    def epochs(out):
        return [line.split(',')[0] for line in out.replace('b_t', 'a_t').splitlines() if re.search('epoch \\d', line)]
    assert epochs(two.stdout) == epochs(one.stdout)
    assert re.search('^to resume: .*mpiexec .*-n 2 .*train.py --resume', two.stdout, re.MULTILINE)
    results = text / 'results'
    assert {path.name.replace('b_t', 'a_t') for path in results.iterdir()} == {
        path.name for path in results.iterdir() if path.name.startswith('a')}
    for ending in ('.out', '_epochs.out', '_passage.out'):
        first, second = [log_rows(results / f'{name}_t.txt{ending}') for name in 'ab']
        np.testing.assert_allclose(second[:, :3], first[:, :3], atol=1e-4)
    scores = [json.loads((results / f'{name}_t.txt_result.json').read_text()) for name in 'ab']
    for name in ('valid_nats', 'test_nats'):
        np.testing.assert_allclose(*[found[name] for found in scores], atol=1e-4)
    assert two.stdout.count('test text test.txt') == 1
    first, second = [load(results / f'{name}_t.txt_epoch2.npz') for name in 'ab']
    for name in NAMES:
        np.testing.assert_allclose(second[name], first[name], atol=1e-3)
    assert first['validation_C2'].shape == second['validation_C2'].shape == (6, 7)          # of all rows

    expected = arrays_and_about(results / 'b_t.txt_epoch2.npz')
    resumed = mpi.run(2, TRAIN, '--resume', 'results/b_t.txt_epoch1.npz', '--overwrite', cwd=str(text))
    assert resumed.returncode == 0 and 'resuming after epoch 1' in resumed.stdout, resumed.stderr
    assert arrays_and_about(results / 'b_t.txt_epoch2.npz') == expected


@needs_mpi
@pytest.mark.parametrize('statement, status, said', [
    ('if rank == 1 and epochs > 1.5: os.kill(os.getpid(), signal.SIGKILL)', range(1, 256), []),
    ("if rank == 0 and epochs > 1: raise OSError(28, 'the disk is full', 'x')", [2], ['the disk is full']),
    ('if rank == 1 and epochs > 1: raise KeyError("a bug")', {1, *range(3, 256)}, ['Traceback', 'a bug'])],
    ids=['killed', 'full disk', 'bug'])
def test_failure_of_one_process_ends_all(text, statement, status, said):
    """And is said once. The checkpoint of the epoch before stays."""
    result = run_with(text, statement)
    assert result.returncode % 256 in status and result.seconds < LIMIT, result.stderr
    assert len(own_lines(result)) == len(said[:1]) and all(words in result.stderr for words in said)
    assert load(text / 'results' / 'r_t.txt_epoch1.npz')


@needs_mpi
@pytest.mark.parametrize('arguments, words', [
    (['absent.txt', 'r'], 'absent.txt'), (['t.txt', 'r', '--batch-size', '1'], 'the batch size is 1'),
    (['t.txt', 'r', '--lrate', 'fast'], '--lrate')], ids=['found by rank 0', 'found by each', 'found by the parser'])
def test_bad_input_is_said_once(text, arguments, words):
    result = mpi.run(2, TRAIN, *arguments, '--output-dir', 'results', cwd=str(text))
    lines = own_lines(result)
    assert result.returncode == 2 and len(lines) == 1 and words in lines[0], result.stderr
    assert not (text / 'results').exists()


@needs_mpi
def test_all_processes_go_back_together(text):
    """If the parameters of one process are no longer finite, all continue at half the rate to the end of the run."""
    result = run_with(text, "if rank == 1 and epochs > 1.4 and self.dyn_lrate.get_value() == np.float32(0.004): "
                      "self._trained()['c'].set_value(self._trained()['c'].get_value() * np.nan)",
                      '--lrate', 0.004, '--warmup', 0, '--anneal', 0, '--epochs', 3)
    assert result.returncode == 0 and not own_lines(result), result.stderr
    assert len(re.findall('the cost is nan in epoch 2: back to epoch 1 .*, 0.002', result.stdout)) == 1
    assert log_rows(text / 'results' / 'r_t.txt_epochs.out')[:, 3].tolist() == [0.004, 0.002, 0.002]


@needs_mpi
@pytest.mark.parametrize('number', [signal.SIGUSR1, signal.SIGINT])
def test_signal_to_mpiexec_leaves_a_checkpoint(text, number):
    """mpiexec passes SIGUSR1 on, and all processes stop after the same step. After SIGINT it ends them."""
    process = mpi.start(2, TRAIN, 't.txt', 'r', *OPTIONS, '--epochs', 10 ** 6, '--patience', 0, cwd=str(text))
    deadline = time.time() + 300
    while not (text / 'results' / 'r_t.txt_epoch1.npz').exists():
        assert process.poll() is None and time.time() < deadline, 'it does not train'
        time.sleep(0.05)
    process.send_signal(number)
    result = finish(process, LIMIT)
    newest = load(max((text / 'results').glob('*.npz'), key=os.path.getmtime))
    if number == signal.SIGUSR1:
        assert result.returncode == 130 and 'interrupted in epoch' in result.stdout, result.stderr
        assert not own_lines(result)
        newest = load(text / 'results' / 'r_t.txt_interrupted.npz')
        assert newest['carried_h1'].shape == (6, 5)
    assert result.returncode != 0 and newest['validation_h1'].shape == (6, 5)
    assert all(np.isfinite(array).all() for array in newest.values() if array.dtype.kind == 'f')


# ---------------------------------------------------------------- the start

@needs_mpi
def test_threads_share_the_cores():
    """A number of threads that the user set stays: that of the last of three processes."""
    code = ('import os, sys; sys.path.insert(0, sys.argv[1]); rank = os.environ["OMPI_COMM_WORLD_RANK"]\n'
            'os.environ.pop("OMP_NUM_THREADS", None)\nif rank == "2": os.environ["OMP_NUM_THREADS"] = "71"\n'
            'from engine import parallel; parallel.join()\n'
            'print(rank + ":" + os.environ["OMP_NUM_THREADS"] + "\\n", end="", flush=True)')
    out = mpi.run(3, '-c', code, ROOT).stdout
    share = max(1, len(os.sched_getaffinity(0)) // 3)
    assert sorted(re.findall(r'^\d:\d+$', out, re.MULTILINE)) == [f'0:{share}', f'1:{share}', '2:71']
