"""Shared by the tests of the two scripts: functions that run them and examine their output."""
import functools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
TRAIN, PRODUCE = ROOT / 'train.py', ROOT / 'produce_text.py'

# With these flags Theano optimises little and compiles less, so a process takes 3 s instead of 10: for runs whose
# numbers do not matter.
FAST = 'mode=FAST_COMPILE'

B, S, H1, H2 = 6, 11, 5, 7         # sequences in a batch, characters in a sequence, units
STATEFUL = '--num-units1 5 --num-units2 7 --batch-size 6 --seq-length 11 --random-seed 3'.split()
SMALL = STATEFUL + ['--no-stateful']


def sentences(count=40):
    """Return different sentences, with characters of two, three and four bytes in UTF-8."""
    chance = random.Random(1)
    words = 'the old cat sat café by a hill — while 𝄞 sang and rain fell on dogs'.split()
    return ''.join('{}. {}.\n'.format(i, ' '.join(chance.choices(words, k=15))) for i in range(count))


TEXT = sentences()                                      # 237 sequences: 0.7 of them has to be rounded up
N_TRAIN = round(0.7 * (len(TEXT) // S)) // B            # batches, by the rule of the split
N_VALID = (len(TEXT) // S - round(0.7 * (len(TEXT) // S))) // B


# Runs train.py and, before, during or after the n-th call of a function, sends a signal or fills the disk.
DRIVER = '''
import importlib, os, resource, runpy, signal, sys
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
    if isinstance(args[0], str) and 'compiledir' in args[0]:       # Theano's compiled code
        return function(*args, **kwargs)
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


# Runs train.py with the validation costs in an argument.
WITH_COSTS = '''
import runpy, sys
sys.path.insert(0, sys.argv[1])
from charlstm import CharLSTM
costs = iter([float(cost) for cost in sys.argv[2].split(',')])
def validating(self):
    return dict(cost=next(costs))
    yield
CharLSTM.validating = validating
sys.argv = sys.argv[3:]
runpy.run_path(sys.argv[0], run_name='__main__')
'''


class Compiling(BaseException):       # so that no script catches it
    """Raised by the fixture `in_process` when a script has accepted its input and begins to compile."""


# A folder with a stand-in for matplotlib, since the real one would take half the time of a short run.
FAKES = tempfile.TemporaryDirectory()
(Path(FAKES.name) / 'matplotlib').mkdir()
(Path(FAKES.name) / 'matplotlib' / '__init__.py').touch()
(Path(FAKES.name) / 'matplotlib' / 'figure.py').write_text(
    "from unittest.mock import MagicMock\nFigure = lambda **k: MagicMock(savefig=lambda f, **k: f.write(b'picture'), "
    "**{'subplots.return_value.get_ylim.return_value': (0, 1)})\n")
WITH_MATPLOTLIB = {'PYTHONPATH': ''}       # for environment(): the real matplotlib


def environment(flags='', **changes):
    """Return the current environment with these Theano flags, the same folder of compiled code, and FAKES."""
    kept = [flag for flag in os.environ.get('THEANO_FLAGS', '').split(',') if 'compiledir' in flag]
    env = dict(os.environ, THEANO_FLAGS=','.join(kept + [flags] * bool(flags)), THEANORC=os.devnull,
               PYTHONIOENCODING='utf-8', PYTHONPATH=FAKES.name, no_proxy='127.0.0.1',
               OMP_NUM_THREADS='1')                                    # many tests run at once
    if 'PYTHONDONTWRITEBYTECODE' in env:                   # otherwise each process would compile Theano's modules
        env['PYTHONPYCACHEPREFIX'] = bytecode()
    env.update(changes)
    return env


@functools.cache
def bytecode():
    """Return a folder with the bytecode of the scripts' imports, written by one process, as others may be killed."""
    env = {name: value for name, value in os.environ.items() if name != 'PYTHONDONTWRITEBYTECODE'}
    modules = 'train, produce_text, charlstm, engine.model.fit, engine.run.results, tqdm'
    subprocess.run([sys.executable, '-c', f'import {modules}'], cwd=str(ROOT), check=True,
                   env=dict(env, PYTHONPYCACHEPREFIX=FAKES.name))
    return FAKES.name


def start(script, *arguments, flags='', env=None, **options):
    """Start a script in a new process."""
    return subprocess.Popen([sys.executable, str(script)] + [str(a) for a in arguments], encoding='utf-8',
                            env=environment(flags, **env or {}), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def finish(process, timeout=600):
    """Wait for a process, which is killed after the timeout, and return its CompletedProcess.

    Its stderr has no lines on how far it is, which only a busy machine makes it print.
    """
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    err = re.sub('(?m)^.*: [0-9,]+( of [0-9,]+)? (files|steps|characters)\n', '', err)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run(script, *arguments, timeout=600, **options):
    """Run a script to its end."""
    return finish(start(script, *arguments, **options), timeout)


def succeeded(result):
    """Return the standard output of a run, after asserting that it succeeded and that stderr is empty."""
    assert (result.returncode, result.stderr) == (0, ''), (result.returncode, result.stderr)
    return result.stdout


def assert_refused(result, *words):
    """Assert exit status 2 and one line on stderr, which has the words."""
    assert 'Traceback' not in result.stderr, result.stderr
    assert (result.returncode, result.stderr.count('\n')) == (2, 1), (result.returncode, result.stderr)
    missing = [word for word in words if word not in result.stderr]
    assert not missing, '{} not in {!r}'.format(missing, result.stderr)


def snapshot(folder):
    """Return a folder's contents without Python's caches: the bytes by relative path, None for a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in Path(folder).rglob('*') if '__pycache__' not in path.parts}


def assert_changes_nothing(folder, call, script, *arguments, words, **options):
    """Assert that a script refuses with these words and changes nothing. call: run, or the fixture `in_process`."""
    before = snapshot(folder)
    assert_refused(call(script, *arguments, **options), *words)
    assert snapshot(folder) == before


def refuse_training(folder, call, *words, text='t.txt', name='r', options=(), **more):
    """Assert that train.py refuses a text, a name or options in the fixture `folder`, and changes nothing."""
    assert_changes_nothing(folder, call, TRAIN, text, name, *SMALL, '--output-dir', 'results', *options,
                           words=['train.py: '] + list(words), **more)


def interrupted(process, log, number=signal.SIGINT, lines=2):
    """Send a signal to train.py once it has logged some steps; return its CompletedProcess."""
    deadline = time.time() + 300
    while not (log.exists() and log.read_text().count('\n') > lines):
        assert process.poll() is None and time.time() < deadline, 'train.py logs no steps'
        time.sleep(0.02)
    process.send_signal(number)
    return finish(process)


def copy_of_program(folder):
    """Copy the program, without texts and results, to a folder and return the folder."""
    folder.mkdir()
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(str(path), str(folder))
    shutil.copytree(str(ROOT / 'engine'), str(folder / 'engine'), ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('text_input', 'training_results', 'text_output'):
        (folder / name).mkdir()
    shutil.copy(str(ROOT / 'text_input' / 'fetch_novel.py'), str(folder / 'text_input'))
    return folder


def load(checkpoint):
    """Return the arrays of a checkpoint by name."""
    with np.load(str(checkpoint)) as npz:
        return {name: npz[name] for name in npz.files}


def log_rows(path):
    """Return the rows of a log, (n, columns)."""
    return np.loadtxt(str(path), ndmin=2)


def without_id(log):
    """Return the bytes of a log without the line of its id, which differs in each run."""
    return re.sub(rb'(?m)^# id [0-9a-f]{16}\n', b'', log.read_bytes())


def sequences(text, count):
    """Return the texts in a file of produce_text.py, after asserting its format."""
    form = ''.join('# sequence {}:\n(.*?)\n\n'.format(i) for i in range(1, count + 1))
    match = re.fullmatch(form, text, re.DOTALL)
    assert match, text
    return list(match.groups())


def wrote(result, path):
    """Return what produce_text.py wrote to stdout, after asserting that it succeeded.

    Its stderr must have the description of the model, the path that the text was appended to, and nothing else.
    """
    about, *said = [line for line in result.stderr.splitlines() if line]
    assert result.returncode == 0 and ' units, ' in about and not about.startswith('charlstm: '), result.stderr
    assert said == [f'appended to {path}']
    return result.stdout


def write_chain(path, uchar):
    """Write a checkpoint like the original's that predicts, after each of uchar (V,), the next. Return its path.

    Its two layers pass on the current character and remember nothing.
    """
    same, none = np.eye(len(uchar)), np.zeros((len(uchar), len(uchar)))
    U, W = np.stack([none, none, none, 9 * same]), np.zeros((4,) + none.shape)
    b = np.repeat([[-99.0], [99.0], [99.0], [0.0]], len(uchar), axis=1)  # forgets all, input and output open
    np.savez(str(path), U1=U, W1=W, b1=b, U2=U, W2=W, b2=b, V=99 * np.roll(same, 1, axis=0), c=none[0], uchar=uchar)
    return str(path)


def paste(line, folder, flags=FAST, **changes):
    """Run a command line in a folder, as if pasted into a shell, and `finish` it."""
    return finish(subprocess.Popen(line, shell=True, cwd=str(folder), env=environment(flags, **changes),
                                   encoding='utf-8', stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE))


def contents(path):
    return path.read_bytes().decode('utf-8')


def arrays_and_about(checkpoint):
    """Return a checkpoint's arrays as bytes by name, and its metadata without log sizes, which depend on the speed."""
    arrays = load(checkpoint)
    about = json.loads(str(arrays.pop('about')))
    del about['progress']['logs'], about['progress']['id']           # the id differs in each run
    return dict({name: array.tobytes() for name, array in arrays.items()}, about=about)
