"""Measure how long a newcomer waits: seconds until something is compiled, written or printed, cold and warm.

    python tests/benchmarks/startup.py [--rounds 5]

    cold, first text           until train.py has printed a text of the model, on a text as long as a novel
    cold, produce_text.py      whole process, one text of 500 characters
    warm, train.py             whole process, an epoch of 6 batches, with its picture
    warm, produce_text.py      whole process

Cold: with an empty folder of compiled code. Every number is a median.
"""
import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from common import ALPHABET, ROOT, print_head, table, timed

NOVEL = 700_000            # characters of a text as long as a novel


def settings(compiled):
    """Return settings of a process that uses a folder of compiled code."""
    environment = dict(os.environ, THEANO_FLAGS=f'blas.ldflags=,base_compiledir={compiled}', THEANORC=os.devnull)
    return dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding='utf-8',
                env=environment)


def output(compiled, *arguments):
    """Return the standard output of a Python process."""
    return subprocess.run([sys.executable, *map(str, arguments)], check=True, **settings(compiled)).stdout


def first_text(folder, compiled):
    """Return the seconds until train.py has printed a sample."""
    words = [sys.executable, ROOT / 'train.py', folder / 'novel.txt', 'cold', '--output-dir', folder, '--overwrite']
    begin = time.perf_counter()
    with subprocess.Popen(words, **settings(compiled)) as process:
        for line in process.stdout:
            if 'what it writes after' in line:                 # an epoch or earlier
                process.kill()
                return time.perf_counter() - begin
    raise SystemExit('train.py ended without a text')


def produce_text(folder, compiled):
    return timed(lambda: output(compiled, ROOT / 'produce_text.py', folder / 'warm_short.txt_epoch1.npz',
                                folder / 'out.txt', '--length', 500, '--count', 1))[0]


def train(folder, compiled):
    return timed(lambda: output(compiled, ROOT / 'train.py', folder / 'short.txt', 'warm', '--output-dir', folder,
                                '--overwrite', '--epochs', 1))[0]


def measure(folder, number):
    """Run each program once, and return its seconds by name. number: that of the round."""
    warm = folder / 'warm'
    return {'cold, first text': first_text(folder, folder / f'cold-train-{number}'),
            'cold, produce_text.py': produce_text(folder, folder / f'cold-produce-{number}'),
            'warm, train.py': train(folder, warm), 'warm, produce_text.py': produce_text(folder, warm)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=5, help='of all programs (default: %(default)s)')
    options = parser.parse_args()
    print_head()
    characters = ''.join(random.Random(1).choices(ALPHABET, k=NOVEL))
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / 'novel.txt').write_text(characters)
        (folder / 'short.txt').write_text(characters[:20_000])
        for program in (train, produce_text):               # these warm, and write the checkpoint
            program(folder, folder / 'warm')
        rounds = [measure(folder, number) for number in range(options.rounds)]
    row = table('what is waited for    ', 'seconds')
    for name in rounds[0]:
        row(name, f'{median(seconds[name] for seconds in rounds):.2f}')


if __name__ == '__main__':
    main()
