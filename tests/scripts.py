"""What the tests of the two scripts share: running them and looking at what they left."""
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
TRAIN, PRODUCE = ROOT / 'train.py', ROOT / 'produce_text.py'

# Theano then optimises little and compiles less, so a process takes 3 s instead of 10: for runs
# where not the numbers matter but what happens around them.
FAST = 'mode=FAST_COMPILE'

B, S, H1, H2 = 6, 11, 5, 7         # sequences in a batch, characters in a sequence, units
SMALL = '--num-units1 5 --num-units2 7 --batch-size 6 --seq-length 11 --random-seed 3 --no-stateful'.split()


def sentences(count=40):
    """Different sentences, with characters of two, three and four bytes in UTF-8."""
    chance = random.Random(1)
    words = 'the old cat sat café by a hill — while 𝄞 sang and rain fell on dogs'.split()
    return ''.join('{}. {}.\n'.format(i, ' '.join(chance.choices(words, k=15))) for i in range(count))


def environment(flags='', **changes):
    """This environment with other Theano flags; only where compiled code is kept stays the user's."""
    kept = [flag for flag in os.environ.get('THEANO_FLAGS', '').split(',') if 'compiledir' in flag]
    env = dict(os.environ, THEANO_FLAGS=','.join(kept + [flags] * bool(flags)), THEANORC=os.devnull,
               PYTHONIOENCODING='utf-8', no_proxy='127.0.0.1')
    env.update(changes)
    return env


def start(script, *arguments, flags='', env=None, **options):
    """A script as a process of its own."""
    return subprocess.Popen([sys.executable, str(script)] + [str(a) for a in arguments], encoding='utf-8',
                            env=environment(flags, **env or {}), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def finish(process, timeout=600):
    """The CompletedProcess of what start() began; timeout only keeps a hang from stopping the tests."""
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run(script, *arguments, timeout=600, **options):
    """Run a script to its end."""
    return finish(start(script, *arguments, **options), timeout)


def succeeded(result):
    """The standard output of a run that ended well and had nothing to say on stderr."""
    assert (result.returncode, result.stderr) == (0, '')
    return result.stdout


def assert_refused(result, *words):
    """Exit status 2 and one line on stderr, which has the words."""
    assert 'Traceback' not in result.stderr, result.stderr
    assert (result.returncode, result.stderr.count('\n')) == (2, 1), (result.returncode, result.stderr)
    missing = [word for word in words if word not in result.stderr]
    assert not missing, '{} not in {!r}'.format(missing, result.stderr)


def snapshot(folder):
    """All that a folder holds: relative path to bytes, None for a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in Path(folder).rglob('*')}


def copy_of_program(folder):
    """The program without texts and results, in a folder where it may write."""
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
    """The arrays of a checkpoint by name."""
    with np.load(str(checkpoint)) as npz:
        return {name: npz[name] for name in npz.files}
