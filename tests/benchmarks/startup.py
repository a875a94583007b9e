"""Measure how long a newcomer waits: seconds until something is compiled, written or printed, cold and warm.

    python tests/benchmarks/startup.py [--rounds 5] [--against FOLDER] [--install]

    cold, compile train.py     what train.py with its defaults, on a text as long as a novel, says it compiled in
    cold, first text           until train.py has printed a text of the model
    cold, produce_text.py      whole process, one text of 500 characters
    cold, notebook             until a line says that the first training step is being compiled
    lstm_cell edited           compile train_rmsprop, sample and check of another cell, all else being compiled
    warm, train.py             whole process, an epoch of 6 batches, with its picture
    warm, produce_text.py      whole process
    warm, import theano        with the patches that this Python and NumPy need, whole process
    install, first text        until the README's first command in an empty folder has printed a text, with a
                               virtual environment and pip without its cache; only with --install, and once

Cold: with an empty folder of compiled code. --against: another checkout of this project, such as an older one, in a
second column; the two take turns. Every number is a median.
"""
import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import ALPHABET, ROOT, median, print_head, print_row

MODEL = '''
import sys, time
sys.path.insert(0, sys.argv[1])
import charlstm
model = charlstm.CharLSTM(random_seed=1)
model.prepare_input(sys.argv[2], stateful=True, verbose=False)
model.model_setup(dropout=0.1, dropconnect=0.07, smoothing=0.001, ar=2, tar=2, reset=0.05, average=0.999, grad_clip=5,
                  step_clip=2)
'''
EDIT = MODEL + '''
tt = charlstm.tt
model.compile('train_rmsprop', 'sample', 'check')
def lstm_cell(a_f, a_i, a_o, a_g, C_prev):
    C = tt.nnet.sigmoid(a_f) * C_prev + tt.nnet.sigmoid(a_i) * tt.tanh(a_g) * {factor}
    return tt.nnet.sigmoid(a_o) * tt.tanh(C), C
charlstm.lstm_cell = lstm_cell
start = time.perf_counter()
model.compile('train_rmsprop', 'sample', 'check')
print(time.perf_counter() - start)
'''
NOTEBOOK = '''
import sys
class OutStream:                       # as in a notebook's kernel
    write = sys.stdout.write
    flush = sys.stdout.flush
    def isatty(self): return False
OutStream.__module__ = 'ipykernel.iostream'
sys.stderr = OutStream()
''' + MODEL + '''
model.theano_train_rmsprop(model.X['train'][0], model.Y['train'][0])
'''


def write_texts(folder):
    """Write a text as long as a novel, and one of a few batches."""
    random.seed(1)
    characters = random.choices(ALPHABET, k=700000)
    (folder / 'novel.txt').write_text(''.join(characters))
    (folder / 'short.txt').write_text(''.join(characters[:20000]))


@contextlib.contextmanager
def started(compiled, *arguments, **options):
    """Start a process of Python that uses a folder of compiled code; kill it at the end of the block."""
    flags = 'blas.ldflags=,base_compiledir={}'.format(compiled)
    process = subprocess.Popen([sys.executable] + [str(a) for a in arguments], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding='utf-8',
                               env=dict(os.environ, THEANO_FLAGS=flags, THEANORC=os.devnull), **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def line_with(process, words):
    """Return the next line that a process prints with these words."""
    for line in process.stdout:
        if words in line:
            return line
    raise SystemExit('{} ended without a line that has "{}"'.format(' '.join(process.args), words))


def seconds_in(line):
    """Return the seconds that a text such as 'compiled in 1 min 5 s' says."""
    words = line.split(' in ')[1].split()
    return sum(float(n) * dict(s=1, min=60)[unit] for n, unit in zip(words[::2], words[1::2]))


def whole(compiled, *arguments):
    """Return the seconds of a process, to its end."""
    begin = time.perf_counter()
    with started(compiled, *arguments) as process:
        process.stdout.read()
        if process.wait():
            raise SystemExit('{} failed'.format(' '.join(process.args)))
    return time.perf_counter() - begin


TEXT = 'what it writes after'            # above the first text, of an epoch or earlier


def train(root, folder, compiled):
    begin = time.perf_counter()
    with started(compiled, root / 'train.py', folder / 'novel.txt', 'cold', '--output-dir', folder,
                 '--overwrite') as process:
        compiling = seconds_in(line_with(process, 'compiled in '))
        line_with(process, TEXT)
        return compiling, time.perf_counter() - begin


def produce_text(root, folder, compiled):
    return [whole(compiled, root / 'produce_text.py', folder / 'warm_short.txt_epoch1.npz', folder / 'out.txt',
                  '--length', 500, '--count', 1)]


def notebook(root, folder, compiled):
    begin = time.perf_counter()
    with started(compiled, '-c', NOTEBOOK, root, folder / 'short.txt') as process:
        line = next((line for line in process.stdout if 'compiling' in line), '')      # '' where it ended without one
        return [time.perf_counter() - begin if line else float('nan')]


def edit(root, folder, compiled):
    with started(compiled, '-c', EDIT.format(factor=random.random()), root, folder / 'short.txt') as process:
        return [float(process.stdout.read())]


def warm_training(root, folder, compiled):
    return [whole(compiled, root / 'train.py', folder / 'short.txt', 'warm', '--output-dir', folder, '--overwrite',
                  '--epochs', 1)]


def import_theano(root, folder, compiled):
    return [whole(compiled, '-c', 'import sys; sys.path.insert(0, sys.argv[1]); '
                  'from engine.backend.theano_setup import theano', root)]


# A function that returns seconds, the names of these, and whether its folder of compiled code is empty.
PROGRAMS = ((train, ['cold, compile train.py', 'cold, first text'], True),
            (produce_text, ['cold, produce_text.py'], True), (notebook, ['cold, notebook'], True),
            (edit, ['lstm_cell edited'], False), (warm_training, ['warm, train.py'], False),
            (produce_text, ['warm, produce_text.py'], False), (import_theano, ['warm, import theano'], False))


def installed(root, folder):
    """Return the seconds of the README's first command in a fresh clone."""
    clone = folder / 'clone'
    command = next(line.strip() for line in (root / 'README.md').read_text(encoding='utf-8').splitlines()
                   if line.startswith('    ') and line.endswith('venv/bin/python train.py'))
    script = 'git clone -q {} {} && cd {} && {} {} install'.format(root, clone, clone, command, folder / 'novel.txt')
    environment = dict(os.environ, PIP_NO_CACHE_DIR='1', PATH='{}:{}'.format(Path(sys.executable).resolve().parent,
                                                                               os.environ['PATH']),
                       THEANO_FLAGS='base_compiledir={}'.format(folder / 'installed'), PYTHONUNBUFFERED='1')
    begin = time.perf_counter()
    process = subprocess.Popen(['bash', '-c', script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               encoding='utf-8', env=environment, start_new_session=True)
    try:
        line_with(process, TEXT)
        return {'install, first text': time.perf_counter() - begin}
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def measure(root, folder, number):
    """Return seconds by name, each program once. number: of the round."""
    seconds = {}
    for program, names, cold in PROGRAMS:
        compiled = folder / (f'cold-{program.__name__}-{number}' if cold else 'warm')
        seconds.update(zip(names, program(root, folder, compiled)))
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=5, help='of all programs (default: %(default)s)')
    parser.add_argument('--against', type=Path, metavar='FOLDER', help='another checkout, in a second column')
    parser.add_argument('--install', action='store_true', help="also the README's first command, which downloads")
    options = parser.parse_args()
    print_head()
    roots = [ROOT, options.against.resolve()] if options.against else [ROOT]
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder) / str(k) for k in range(len(roots))]
        for root, place in zip(roots, folders):
            place.mkdir()
            write_texts(place)
            for program in (warm_training, produce_text, edit):         # these warm, and write the checkpoint
                program(root, place, place / 'warm')
        rounds = [[measure(root, place, number) for root, place in zip(roots, folders)]
                  for number in range(options.rounds)]
        columns = [{name: median([turn[k][name] for turn in rounds]) for name in rounds[0][0]}
                   for k in range(len(roots))]
        if options.install:
            for root, place, column in zip(roots, folders, columns):
                column.update(installed(root, place))
    widths = (24, 8, 8, 8)
    print_row(*zip(['seconds', 'here'] + ['there', 'ratio'] * (len(roots) - 1), widths))
    for name in columns[0]:
        found = [column[name] for column in columns]
        cells = ['{:.2f}'.format(value) for value in found + [found[0] / found[-1]] * (len(roots) - 1)]
        print_row(*zip([name] + cells, widths))


if __name__ == '__main__':
    main()
