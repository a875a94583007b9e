"""Several processes that train one model: they get the results of one process, and a failure of one ends all."""
import importlib.util
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scripts import (FAST, ROOT, STATEFUL, TRAIN, arrays_and_about, environment, finish, load, log_rows, run,
                     subprocess)

# mpiexec from the folder of the tests' Python, where pip installs it, or the system's.
MPIEXEC = shutil.which('mpiexec', path=os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']]))
MISSING = [name for name, found in (('mpi4py', importlib.util.find_spec('mpi4py')), ('mpiexec', MPIEXEC)) if not found]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"no {' and no '.join(MISSING)}: see engine/requirements-mpi.txt")
LIMIT = 60         # seconds in which a failure must end all processes, even on a busy machine


OPTIONS = [*STATEFUL, '--epochs', 2, '--save-every', 1, '--output-dir', 'results']
# Runs train.py with a statement before each step.
PATCHED = '''
import os, runpy, signal, sys
sys.path.insert(0, sys.argv[1])
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


def start_mpi(processes, *words, flags=FAST, **options):
    """Start Python with arguments in several processes, which may outnumber the cores."""
    changes = dict(OMPI_ALLOW_RUN_AS_ROOT='1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM='1')       # for containers
    return subprocess.Popen(
        [MPIEXEC, '--bind-to', 'none', '--map-by', ':OVERSUBSCRIBE', '-n', str(processes),
         sys.executable, '-m', 'mpi4py', *map(str, words)], encoding='utf-8', env=environment(flags, **changes),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def run_mpi(processes, *words, **options):
    """Run Python as start_mpi() does and return its CompletedProcess."""
    return finish(start_mpi(processes, *words, **options), 300)


def own_lines(result):
    """Return the program's own lines on standard error, to which mpiexec adds others."""
    return re.findall(r'train\.py: .*|Traceback', result.stderr)


# All terms of a step, three layers of a cell with all that a cell can have, and rows that are shared unequally.
CELL = '--cell', 'mine.py:Mine'
MINE = (f'import sys\nsys.path.append({str(ROOT / "tests")!r})\nfrom cells import three_states\n'
        'from charlstm import CharLSTM\nclass Mine(CharLSTM):\n    cell = staticmethod(three_states)\n')
ALL = [*OPTIONS, *CELL, *"""--batch-size 10 --bptt-maxdepth 4 --l1 0.03 --l2 0.02 --dropout 0.3 --dropconnect 0.2
    --smoothing 0.1 --ar 0.7 --tar 1.3 --grad-clip 0.5 --step-clip 2 --reset 0.1 --average 0.9
    --weight-decay 0.1 --layers 3""".split()]


def test_several_processes_learn_what_one_does(with_text):
    """In float64, and nothing is printed twice.

    If it is resumed after the first epoch, the run ends with the same bits, and by one process up to rounding.
    """
    (with_text / 'mine.py').write_text(MINE)
    options, results = dict(cwd=str(with_text), flags=FAST + ',floatX=float64'), with_text / 'results'
    one = run(TRAIN, 't.txt', 'a', *ALL, **options)
    three = run_mpi(3, TRAIN, with_text / 't.txt', 'b', *ALL, **options)
    assert (one.returncode, three.returncode, own_lines(three)) == (0, 0, []), one.stderr + three.stderr
    assert three.stdout.count('\nepoch 1/2') == one.stdout.count('\nepoch 1/2') == 1
    assert re.search('^to resume: mpiexec .*-n 3 .* -m mpi4py .*train.py --resume', three.stdout, re.MULTILINE)
    assert {path.name.replace('b_t', 'a_t') for path in results.iterdir()} == {
        path.name for path in results.iterdir() if path.name.startswith('a')}
    for ending, columns in (('.out', None), ('_epochs.out', 4)):                   # the last is the speed
        first, second = [log_rows(results / f'{name}_t.txt{ending}')[:, :columns] for name in 'ab']
        np.testing.assert_allclose(second, first, rtol=1e-5)

    def end(name):
        arrays = load(results / f'{name}_t.txt_epoch2.npz')
        return {name: array for name, array in arrays.items() if array.dtype == 'float64'}

    expected, of_one, of_three = arrays_and_about(results / 'b_t.txt_epoch2.npz'), end('a'), end('b')
    resume = TRAIN, '--resume', 'results/b_t.txt_epoch1.npz', '--overwrite', *CELL
    assert run(*resume, **options).returncode == 0
    for found in (of_three, end('b')):
        assert set(found) == set(of_one) >= {'validation_C2', 'weights_p_f3'}
        for name, array in of_one.items():
            np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-10, err_msg=name)
    assert run_mpi(3, *resume, **options).returncode == 0
    assert arrays_and_about(results / 'b_t.txt_epoch2.npz') == expected


@pytest.mark.parametrize('statement, status, said', [
    ('if rank == 1 and epochs > 1.5: os.kill(os.getpid(), signal.SIGKILL)', range(1, 256), []),
    ("if rank == 0 and epochs > 1: raise OSError(28, 'the disk is full', 'x')", [2], ['the disk is full']),
    ('if rank == 1 and epochs > 1: raise KeyError("a bug")', {1, *range(3, 256)}, ['Traceback', 'a bug']),
    ('if rank == 1 and epochs > 1: self.p["c"].set_value(self.p["c"].get_value() + 1e-6)', [2],
     ['the processes have different parameters'])],
    ids=['killed', 'full disk', 'bug', 'different parameters'])
def test_failure_of_one_process_ends_all(with_text, statement, status, said):
    """The error is printed once. The checkpoint of the epoch before stays."""
    result = run_mpi(2, '-c', PATCHED.format(statement), ROOT, TRAIN, 't.txt', 'r', *OPTIONS, cwd=str(with_text))
    seconds = time.time() - os.path.getmtime(with_text / 'results' / 'r_t.txt.out')
    assert result.returncode % 256 in status and seconds < LIMIT, result.stderr
    assert len(own_lines(result)) == len(said[:1]) and all(words in result.stderr for words in said)
    assert load(with_text / 'results' / 'r_t.txt_epoch1.npz')


@pytest.mark.parametrize('arguments, words', [
    (['absent.txt', 'r'], 'absent.txt'), (['t.txt', 'r', '--batch-size', '1'], 'the batch size is 1')],
    ids=['found by rank 0', 'found by each'])
def test_bad_input_is_said_once(with_text, arguments, words):
    result = run_mpi(2, TRAIN, *arguments, '--output-dir', 'results', cwd=str(with_text))
    lines = own_lines(result)
    assert result.returncode == 2 and len(lines) == 1 and words in lines[0], result.stderr
    assert not (with_text / 'results').exists()


def test_signal_to_mpiexec_leaves_a_checkpoint(with_text):
    """mpiexec forwards SIGUSR1, and all processes stop after the same step."""
    process = start_mpi(2, TRAIN, 't.txt', 'r', *OPTIONS, '--epochs', 10 ** 6, '--patience', 0, cwd=str(with_text))
    deadline = time.time() + 300
    while not (with_text / 'results' / 'r_t.txt_epoch1.npz').exists():
        assert process.poll() is None and time.time() < deadline, 'train.py saves no checkpoint'
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    result = finish(process, LIMIT)
    assert result.returncode == 130 and 'interrupted in epoch' in result.stdout and not own_lines(result), result.stderr
    assert load(with_text / 'results' / 'r_t.txt_interrupted.npz')['carried_h1'].shape == (6, 5)


def test_threads_share_the_cores():
    """The last of three processes keeps the number of threads that the user has set."""
    code = ('import os, sys; sys.path.insert(0, sys.argv[1]); rank = os.environ["OMPI_COMM_WORLD_RANK"]\n'
            'os.environ.pop("OMP_NUM_THREADS", None)\nif rank == "2": os.environ["OMP_NUM_THREADS"] = "71"\n'
            'from engine import parallel; parallel.join()\n'
            'print(rank + ":" + os.environ["OMP_NUM_THREADS"] + "\\n", end="", flush=True)')
    out = run_mpi(3, '-c', code, ROOT).stdout
    share = max(1, len(os.sched_getaffinity(0)) // 3)
    assert sorted(re.findall(r'^\d:\d+$', out, re.MULTILINE)) == [f'0:{share}', f'1:{share}', '2:71']
