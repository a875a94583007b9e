"""Measure how long a newcomer waits: seconds until something is compiled, written or printed, cold and warm.

    python tests/benchmarks/startup.py [--rounds 5] [--against FOLDER]

    cold, compile train.py     what train.py with its defaults, on a text as long as a novel, says it compiled in
    cold, first text           until train.py has printed a text of the model
    cold, produce_text.py      whole process, one text of 500 characters
    lstm_cell edited           compile train_rmsprop, sample and check of another cell, all else being compiled
    warm, train.py             whole process, an epoch of 6 batches, with its picture
    warm, produce_text.py      whole process
    warm, import charlstm      whole process
    prepare_input, 100 MB      of a text with one byte a character, in the system's cache

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
from statistics import median

from common import ALPHABET, ROOT, print_head, print_row

EDIT = '''
import sys, time
sys.path.insert(0, sys.argv[1])
import charlstm
tt = charlstm.tt
model = charlstm.CharLSTM(random_seed=1)
model.prepare_input(sys.argv[2], stateful=True, verbose=False)
model.model_setup(dropout=0.1, dropconnect=0.07, smoothing=0.001, ar=2, tar=2, reset=0.05, average=0.999, grad_clip=5,
                  step_clip=2)
model.compile('train_rmsprop', 'sample', 'check')
factor = float(sys.argv[3])
def cell(a_f, a_i, a_o, a_g, C_prev):
    C = tt.nnet.sigmoid(a_f) * C_prev + tt.nnet.sigmoid(a_i) * tt.tanh(a_g) * factor
    return tt.nnet.sigmoid(a_o) * tt.tanh(C), C
model.cell = cell
start = time.perf_counter()
model.compile('train_rmsprop', 'sample', 'check')
print(time.perf_counter() - start)
'''
READ = '''
import sys, time
sys.path.insert(0, sys.argv[1])
import charlstm
start = time.perf_counter()
charlstm.CharLSTM().prepare_input(sys.argv[2], verbose=False)
print(time.perf_counter() - start)
'''


@contextlib.contextmanager
def started(compiled, *arguments):
    """Start a process of Python that uses a folder of compiled code; kill it at the end of the block."""
    environment = dict(os.environ, THEANO_FLAGS=f'blas.ldflags=,base_compiledir={compiled}', THEANORC=os.devnull)
    process = subprocess.Popen([sys.executable, *map(str, arguments)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding='utf-8', env=environment)
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
    raise SystemExit(f'{" ".join(process.args)} ended without a line that has "{words}"')


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
            raise SystemExit(f'{" ".join(process.args)} failed')
    return time.perf_counter() - begin


def train(root, folder, compiled):
    begin = time.perf_counter()
    with started(compiled, root / 'train.py', folder / 'novel.txt', 'cold', '--output-dir', folder,
                 '--overwrite') as process:
        compiling = seconds_in(line_with(process, 'compiled in '))
        line_with(process, 'what it writes after')         # an epoch or earlier
        return compiling, time.perf_counter() - begin


def produce_text(root, folder, compiled):
    return [whole(compiled, root / 'produce_text.py', folder / 'warm_short.txt_epoch1.npz', folder / 'out.txt',
                  '--length', 500, '--count', 1)]


def edit(root, folder, compiled):
    with started(compiled, '-c', EDIT, root, folder / 'short.txt', random.random()) as process:
        return [float(process.stdout.read())]


def warm_training(root, folder, compiled):
    return [whole(compiled, root / 'train.py', folder / 'short.txt', 'warm', '--output-dir', folder, '--overwrite',
                  '--epochs', 1)]


def import_charlstm(root, folder, compiled):
    return [whole(compiled, '-c', 'import sys; sys.path.insert(0, sys.argv[1]); import charlstm', root)]


def read(root, folder, compiled):
    with started(compiled, '-c', READ, root, folder / 'large.txt') as process:
        return [float(process.stdout.read())]


# A function that returns seconds, the names of these, and whether its folder of compiled code is empty.
PROGRAMS = ((train, ['cold, compile train.py', 'cold, first text'], True),
            (produce_text, ['cold, produce_text.py'], True), (edit, ['lstm_cell edited'], False),
            (warm_training, ['warm, train.py'], False), (produce_text, ['warm, produce_text.py'], False),
            (import_charlstm, ['warm, import charlstm'], False), (read, ['prepare_input, 100 MB'], False))


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
    options = parser.parse_args()
    print_head()
    roots = [ROOT, options.against.resolve()] if options.against else [ROOT]
    characters = ''.join(random.Random(1).choices(ALPHABET, k=700_000))
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder) / str(k) for k in range(len(roots))]
        for root, place in zip(roots, folders):
            place.mkdir()
            (place / 'novel.txt').write_text(characters)
            (place / 'short.txt').write_text(characters[:20_000])
            (place / 'large.txt').write_text(characters * 143)
            for program in (warm_training, produce_text, edit):         # these warm, and write the checkpoint
                program(root, place, place / 'warm')
        rounds = [[measure(root, place, number) for root, place in zip(roots, folders)]
                  for number in range(options.rounds)]
    widths = (24, 8, 8, 8)
    print_row(*zip(['seconds', 'here'] + ['there', 'ratio'] * (len(roots) - 1), widths))
    for name in rounds[0][0]:
        found = [median(turn[k][name] for turn in rounds) for k in range(len(roots))]
        found += [found[0] / found[-1]] * (len(roots) - 1)
        print_row(*zip([name, *[f'{value:.2f}' for value in found]], widths))


if __name__ == '__main__':
    main()
