"""Several processes that train one model: the same numbers as one, and what they do when one of them fails."""
import os
import re
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest

import mpi
from cells import OWN
from engine import process_group
from engine.files import lock
from models import member
from mpi import needs_mpi
from scripts import ROOT, STATEFUL, TEXT as SENTENCES, TRAIN, arrays_and_about, assert_refused, finish, load, \
    log_rows, run, succeeded

SPREAD = ROOT / 'tests' / 'spread.py'
LETTERS = 'abcdefgh'
TEXT = ''.join(np.random.default_rng(7).choice(list(LETTERS), 823)) + LETTERS
DOUBLE = mpi.FAST + ',floatX=float64'
LIMIT = 60         # seconds in which a failure must have ended all, however busy the machine is


# ---------------------------------------------------------------- who has what

@pytest.mark.parametrize('size', [1, 2, 3, 5])
def test_rows_are_shared_out(size):
    for B in (5, 7, 11):
        shares = [member(rank, size).rows(B) for rank in range(size)]
        assert [row for share in shares for row in range(share.start, share.stop)] == list(range(B))
        lengths = [share.stop - share.start for share in shares]
        assert max(lengths) - min(lengths) <= 1


def test_more_processes_than_rows(refused):
    with refused(ValueError, 3, 4):
        member(0, 4).rows(3)


# ---------------------------------------------------------------- the numbers of one process

def spread_over(folder, n, name, *options):
    """Run spread.py in n processes; a function from a rank to what that process left."""
    result = mpi.run(n, SPREAD, name, '--text', 't.txt', *options, cwd=str(folder), flags=DOUBLE)
    assert result.returncode == 0 and result.stderr.count('only the last 4 of the ') == 1, result.stderr
    return lambda rank=0: load(folder / f'{name}_rank{rank}.npz')


def differences(one, other, names):
    return max(np.nanmax(abs(one[name] - other[name])) for name in names)


PEEPHOLES = tuple(name + layer for name in OWN for layer in '12')
PARAMETERS = ('U1', 'W1', 'b1', 'U2', 'W2', 'b2', 'V', 'c')


@needs_mpi
def test_several_processes_learn_what_one_does(tmp_path):
    """In float64, stateful, a last batch that is shorter, all that a step may have: 40 steps, more than an epoch."""
    (tmp_path / 't.txt').write_text(TEXT)
    one, two, three = [spread_over(tmp_path, n, str(n)) for n in (1, 2, 3)]
    for found in (two(), three()):
        assert differences(one(), found, PARAMETERS) < 1e-10
        assert differences(one(), found, ['validation']) < 1e-12
        np.testing.assert_allclose(found['costs'], one()['costs'], rtol=1e-9)
    assert abs(one()['costs'][:, 0]).min() > 0 and len(one()['validation']) == 4
    for of, n in ((two, 2), (three, 3)):                   # and the processes are alike to the bit
        for rank in range(1, n):
            for array in set(of()) - {'rows', 'kept'}:
                np.testing.assert_array_equal(of()[array], of(rank)[array])
    assert [int(three(rank)['rows']) for rank in range(3)] == [3, 2, 2]
    assert sum(int(three(rank)['kept']) for rank in range(3)) <= len(TEXT)

    again = spread_over(tmp_path, 2, 'again', '--resume', '2_20.npz')()            # as never stopped, to the bit
    for name in set(again) - {'costs', 'validation'}:
        np.testing.assert_array_equal(again[name], two()[name])
    for name, left in (('costs', 20), ('validation', 2)):
        np.testing.assert_array_equal(again[name], two()[name][-left:])
    for n in (1, 3):                                       # and in other numbers of processes within rounding
        changed = spread_over(tmp_path, n, f'changed{n}', '--resume', '2_20.npz')()
        assert differences(two(), changed, PARAMETERS) < 1e-10
        np.testing.assert_allclose(changed['validation'], two()['validation'][-2:], rtol=1e-12)


@needs_mpi
def test_batches_from_zero_states_without_validation_by_a_cell_with_peepholes(tmp_path):
    (tmp_path / 't.txt').write_text(TEXT)
    one, two = [spread_over(tmp_path, n, str(n), '--no-stateful', '--valid', 0, '--peepholes')()
                for n in (1, 2)]
    assert differences(one, two, PARAMETERS + PEEPHOLES) < 1e-10
    assert all(abs(one[name] - 0.2).max() > 1e-3 for name in PEEPHOLES)
    assert np.isnan(one['validation']).all() and np.isnan(two['validation']).all()


GRADIENT = '''
import sys, numpy as np
sys.path[:0] = sys.argv[1:3]
from mpi4py import MPI
import numpy_model
from charlstm import CharLSTM
model = CharLSTM(random_seed=1, comm=MPI.COMM_WORLD)
model.prepare_input(sys.argv[3], 0, 5, 4, verbose=False)
model.model_setup(num_units1=3, num_units2=2, lrate=0.5)
p = numpy_model.random_parameters(4, V=len(model.uchar), H1=3, H2=2)
for name, array in p.items():
    model.p[name].set_value(array)
whole = CharLSTM()
whole.prepare_input(sys.argv[3], 0, 5, 4, verbose=False)
x, y = whole.X['train'][0], whole.Y['train'][0]
cost, *_ = model.theano_train_sgd(model.X['train'][0], model.Y['train'][0])
expected = numpy_model.costs(numpy_model.forward(p, x)[0], y).mean()
np.testing.assert_allclose(cost, expected, rtol=1e-12)
for name, gradient in numpy_model.gradients(p, x, y).items():
    np.testing.assert_allclose((p[name] - model.p[name].get_value()) / 0.5, gradient, atol=1e-9)
try:
    model.theano_train_sgd(x, y)                                       # of all processes
except ValueError as error:
    assert '5' in str(error), error
    print('done' * (model.group.rank == 1), end='')
'''


@needs_mpi
def test_gradient_is_the_mean_of_all_rows(text_file):
    """Against finite differences in NumPy of the whole batch, of which one process has 3 rows and one 2."""
    assert succeeded(mpi.run(2, '-c', GRADIENT, ROOT, ROOT / 'tests', text_file('abacadabacadabcdaabbccdd'),
                             flags=DOUBLE)) == 'done'


# ---------------------------------------------------------------- train.py

OPTIONS = [*STATEFUL, '--epochs', 2, '--save-every', 1, '--output-dir', 'results']
PATCHED = '''
import os, runpy, signal, sys, time
sys.path.insert(0, sys.argv[1])
import charlstm
from engine.state import checkpoint
train, saved, steps = charlstm.CharLSTM.theano_train_rmsprop, checkpoint.write, [0]
rank, home = int(os.environ.get('OMPI_COMM_WORLD_RANK', 0)), sys.argv[3]
def step(self, x, y):
    steps[0] += 1
    self.done = steps[0] / self.n_batches['train']
    {0}
    return train(self, x, y)
charlstm.CharLSTM.theano_train_rmsprop = step
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name='__main__')
'''


@pytest.fixture
def text(tmp_path):
    """The folder of a text t.txt."""
    (tmp_path / 't.txt').write_text(SENTENCES, encoding='utf-8')
    return tmp_path


def broken(text, line, *options, n=2):
    """What comes of a run in which each process does this before each step, and the seconds that it then lasts."""
    result = mpi.run(n, '-c', PATCHED.format(line), ROOT, TRAIN, 't.txt', 'r', *OPTIONS, *options, cwd=str(text))
    last_step = os.path.getmtime(text / 'results' / 'r_t.txt.out')
    return SimpleNamespace(seconds=time.time() - last_step, **vars(result))


def ours(result):
    """What the program itself said on standard error: mpiexec's own lines come before, after and between."""
    return re.findall(r'train\.py: .*|Traceback', result.stderr)


@needs_mpi
def test_train_in_two_processes(text):
    """Float32, an epoch: costs within 1e-4 of one process's, and nothing twice; then the run goes on in one."""
    one, two = [mpi.run(n, TRAIN, 't.txt', name, *OPTIONS, cwd=str(text)) for n, name in ((1, 'a'), (2, 'b'))]
    assert (one.returncode, two.returncode, ours(two)) == (0, 0, []), two.stderr

    def said(out):
        return [line.split(',')[0] for line in out.replace('b_t', 'a_t').splitlines() if re.search('epoch \\d', line)]
    assert said(two.stdout) == said(one.stdout)
    assert re.search('^to resume: .*mpiexec .*-n 2 .*train.py --resume', two.stdout, re.MULTILINE)
    results = text / 'results'
    assert {path.name.replace('b_t', 'a_t') for path in results.iterdir()} == {
        path.name for path in results.iterdir() if path.name.startswith('a')}
    for ending in ('.out', '_epochs.out'):
        first, second = [log_rows(results / f'{name}_t.txt{ending}') for name in 'ab']
        np.testing.assert_allclose(second[:, :3], first[:, :3], atol=1e-4)
    first, second = [load(results / f'{name}_t.txt_epoch2.npz') for name in 'ab']
    for name in PARAMETERS:
        np.testing.assert_allclose(second[name], first[name], atol=1e-3)
    assert first['trial_C2'].shape == second['trial_C2'].shape == (6, 7)          # of all rows
    resumed = succeeded(mpi.run(1, TRAIN, '--resume', 'results/b_t.txt_epoch1.npz', '--overwrite', cwd=str(text)))
    assert 'resuming after epoch 1' in resumed
    np.testing.assert_allclose(log_rows(results / 'b_t.txt_epochs.out')[:, :3],
                               log_rows(results / 'a_t.txt_epochs.out')[:, :3], atol=1e-4)


PATIENT = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
from engine import process_group
process_group.GRACE, process_group.LAST = 100, 5         # enough for the busiest machine
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def refused_in_one_line(folder, *arguments):
    """The line that three processes end with. mpiexec adds nothing to it but, at times, a warning of its library."""
    result = mpi.run(3, '-c', PATIENT, ROOT, TRAIN, *arguments, '--output-dir', 'results', cwd=str(folder))
    lines = [line for line in result.stderr.splitlines() if line.strip() and not line.startswith('[warn] Epoll')]
    if lines[0].startswith('usage: '):
        lines = lines[-1:] + [line for line in lines[1:-1] if line[0] != ' ']
    assert (result.returncode, len(lines)) == (2, 1), result.stderr
    assert result.stdout.count('characters') <= 1
    return lines[0]


@needs_mpi
@pytest.mark.parametrize('arguments, words', [
    (['absent.txt', 'r'], ['absent.txt', 'No such file']),
    (['t.txt', 'r', '--batch-size', '1'], ['1', '3', 'row for each process']),
    (['t.txt', 'r', '--lrate', 'fast'], ['--lrate', 'fast']),
    (['--resume', 't.txt'], ['t.txt', 'no npz'])])
def test_bad_input_is_one_line(text, arguments, words):
    line = refused_in_one_line(text, *arguments)
    assert line.startswith('train.py: ') and all(word in line for word in words)
    assert not (text / 'results').exists()


@needs_mpi
def test_run_that_another_process_writes_is_refused_in_one_line(text):
    (text / 'results').mkdir()
    with open(text / 'results' / 'r_t.txt.out', 'w') as log:
        lock(log)
        assert 'another process' in refused_in_one_line(text, 't.txt', 'r', *OPTIONS, '--overwrite')


@needs_mpi
def test_exception_in_one_process_ends_all(text):
    result = broken(text, "if rank == 1 and self.done > 1: raise ValueError('broken here')")
    said = ours(result)
    assert result.returncode == 2 and len(said) == 1 and 'broken here' in said[0], result.stderr
    assert result.seconds < LIMIT
    assert load(text / 'results' / 'r_t.txt_epoch1.npz')


@needs_mpi
def test_bug_in_one_process_ends_all_with_its_traceback(text):
    result = broken(text, 'if rank == 1: raise KeyError("a bug")')
    assert result.returncode not in (0, 2) and result.stderr.count('Traceback') == 1 and 'a bug' in result.stderr
    assert result.seconds < LIMIT


@needs_mpi
def test_killed_process_ends_all_and_the_run_goes_on(text):
    result = broken(text, 'if rank == 1 and self.done > 1.5: os.kill(os.getpid(), signal.SIGKILL)')
    assert result.returncode != 0 and result.seconds < LIMIT
    straight = mpi.run(2, TRAIN, text / 't.txt', 's', *OPTIONS, cwd=str(text))
    again = mpi.run(2, TRAIN, '--resume', 'results/r_t.txt_epoch1.npz', cwd=str(text))
    assert (straight.returncode, again.returncode) == (0, 0), again.stderr
    found, expected = [arrays_and_about(text / 'results' / f'{name}_t.txt_epoch2.npz') for name in 'rs']
    for about in (found['about'], expected['about']):
        del about['progress']['name'], about['progress']['options']['run']
    assert found == expected                       # to the bit


@needs_mpi
def test_full_disk_at_the_process_that_writes(text):
    line = ("checkpoint.write = lambda path, *more: (_ for _ in ()).throw(OSError(28, 'cannot write ' + path)) "
            "if 'epoch2' in path else saved(path, *more)")
    result = broken(text, line)
    said = ours(result)
    assert result.returncode == 2 and len(said) == 1, result.stderr
    assert 'epoch2.npz' in said[0] and '--resume' in said[0]
    assert result.seconds < LIMIT and load(text / 'results' / 'r_t.txt_best.npz')


@needs_mpi
def test_processes_that_differ_stop_the_run(text):
    result = broken(text, "if rank == 1: self.p['c'].set_value(self.p['c'].get_value() + 1e-6)", '--average', 0)
    said = ours(result)
    assert result.returncode == 2 and len(said) == 1 and 'process 1' in said[0], result.stderr
    assert [path.name for path in (text / 'results').glob('*.npz')] == ['r_t.txt_start.npz']


@needs_mpi
def test_all_processes_go_back_together(text):
    """Where the numbers of one are no numbers any more: all then have half the rate, and the run comes to its end."""
    line = ("if rank == 1 and self.done > 1.4 and self.dyn_lrate.get_value() == np.float32(0.004): "
            "self._trained()['c'].set_value(self._trained()['c'].get_value() * np.nan)")
    result = broken(text, 'import numpy as np\n    ' + line, '--lrate', 0.004, '--warmup', 0, '--epochs', 3)
    assert result.returncode == 0 and not ours(result), result.stderr
    assert len(re.findall('the cost is nan in epoch 2: back to epoch 1 .*, 0.002', result.stdout)) == 1
    assert log_rows(text / 'results' / 'r_t.txt_epochs.out')[:, 3].tolist() == [0.004, 0.002, 0.002]


@needs_mpi
def test_run_that_diverges_in_two_processes_ends_with_one_line(text):
    result = mpi.run(2, TRAIN, 't.txt', 'r', *OPTIONS, '--lrate', 1e20, '--epochs', 9, cwd=str(text))
    said = ours(result)
    assert result.returncode == 2 and len(said) == 1 and '--lrate 0.001' in said[0], result.stderr
    assert 'mpiexec' in said[0] and result.stdout.count('back to epoch 0') == 5


def signalled(text, number, ready):
    """What comes of a run of many epochs whose mpiexec gets a signal when a file is there."""
    process = mpi.start(2, TRAIN, 't.txt', 'r', *OPTIONS, '--epochs', 10 ** 6, '--patience', 0, cwd=str(text))
    deadline = time.time() + 300
    while not (text / 'results' / ready).exists():
        assert process.poll() is None and time.time() < deadline, 'it does not train'
        time.sleep(0.05)
    process.send_signal(number)
    return finish(process, LIMIT)


@needs_mpi
def test_stop_is_agreed_upon(text):
    """SIGUSR1, which mpiexec hands on: all stop at the border of a step, with a checkpoint of the moment."""
    result = signalled(text, signal.SIGUSR1, 'r_t.txt_epoch1.npz')
    assert result.returncode == 130 and 'interrupted in epoch' in result.stdout, result.stderr
    assert 'MPI_ABORT' not in result.stderr and not ours(result)
    saved = load(text / 'results' / 'r_t.txt_interrupted.npz')
    assert saved['carried_h1'].shape == (6, 5)


@needs_mpi
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_that_end_mpiexec_leave_a_checkpoint(text, number):
    result = signalled(text, number, 'r_t.txt_epoch1.npz')
    assert result.returncode != 0
    newest = max((text / 'results').glob('*.npz'), key=os.path.getmtime)
    assert all(np.isfinite(array).all() for array in load(newest).values() if array.dtype.kind == 'f')
    assert load(newest)['trial_h1'].shape == (6, 5)


# ---------------------------------------------------------------- finding the others

def started(rank, size):
    """What Open MPI tells a process."""
    return {'OMPI_COMM_WORLD_RANK': str(rank), 'OMPI_COMM_WORLD_SIZE': str(size)}


def test_without_mpi4py(text, without):
    """One line, from one process, and none trains."""
    lacking = without('mpi4py')
    if mpi.MPIEXEC:
        result = mpi.run(2, TRAIN, 't.txt', 'r', *OPTIONS, cwd=str(text), env=lacking)
        said = ours(result)
        assert result.returncode == 2 and len(said) == 1, result.stderr
        assert 'mpi4py' in said[0] and 'requirements-mpi.txt' in said[0]
    for rank in (0, 1):                # where the others are not there to end it, each says it
        result = run(TRAIN, 't.txt', 'r', *OPTIONS, cwd=str(text), env={**lacking, **started(rank, 2)})
        assert_refused(result, 'mpi4py', 'requirements-mpi.txt')
    assert not (text / 'results').exists()


@needs_mpi
def test_mpiexec_of_another_mpi(text):
    """Each process then finds itself alone: they must not all train a run of one name."""
    code = ('import os, runpy, sys\nos.environ["OMPI_COMM_WORLD_SIZE"] = "3"\nsys.path.insert(0, sys.argv[1])\n'
            'sys.argv = sys.argv[2:]\nrunpy.run_path(sys.argv[0], run_name="__main__")')
    result = finish(mpi.start(1, '-c', code, ROOT, TRAIN, 't.txt', 'r', *OPTIONS, cwd=str(text)))
    said = ours(result)
    assert result.returncode == 2 and len(said) == 1, result.stderr
    assert 'mpiexec started 3' in said[0] and 'different MPIs' in said[0]
    assert not (text / 'results').exists()


def test_alone_nothing_of_mpi_is_imported(text):
    code = ('import runpy, sys\nsys.path.insert(0, sys.argv[1])\nsys.argv = sys.argv[2:]\ntry:\n'
            '    runpy.run_path(sys.argv[0], run_name="__main__")\nfinally:\n    assert "mpi4py" not in sys.modules')
    succeeded(run('-c', code, ROOT, TRAIN, 't.txt', 'r', *OPTIONS, flags=mpi.FAST, cwd=str(text)))


@needs_mpi
def test_threads_share_the_cores(tmp_path):
    """Where that is not said, as in all processes but the last here."""
    code = ('import os, sys; sys.path.insert(0, sys.argv[1]); rank = os.environ["OMPI_COMM_WORLD_RANK"]\n'
            'os.environ.pop("OMP_NUM_THREADS", None)\nif rank == "2": os.environ["OMP_NUM_THREADS"] = "71"\n'
            'from engine import process_group; process_group.join()\n'
            'print(rank + ":" + os.environ["OMP_NUM_THREADS"] + "\\n", end="", flush=True)')
    out = finish(mpi.start(3, '-c', code, ROOT)).stdout
    share = max(1, len(os.sched_getaffinity(0)) // 3)
    assert sorted(re.findall(r'\d:\d+', out)) == [f'0:{share}', f'1:{share}', '2:71']


def test_model_copies_without_its_team(lettered):
    import copy
    import pickle
    assert copy.deepcopy(process_group.SingleProcess()).size == 1
    assert pickle.loads(pickle.dumps(lettered)).group.first
    group = process_group.ProcessGroup(SimpleNamespace(Get_size=lambda: 2, Get_rank=lambda: 1))
    assert copy.deepcopy(group) is group and pickle.loads(pickle.dumps(group)).size == 1
