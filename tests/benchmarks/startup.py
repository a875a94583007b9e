"""Measure seconds from the start of a process, warm (all code is compiled) and cold (none is).

    python tests/benchmarks/startup.py [--rounds 5] [--cold-rounds 5]

    import theano              only the import, with the patches that this Python and NumPy need, whole process
    produce_text.py, first     to the first character that the model drew, on standard output
    produce_text.py, whole     whole process, one text of 500 characters
    train.py, first step       to the first row in the log of the costs

They take turns; every number is a median.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import ALPHABET, ROOT, median, print_head, print_row

IMPORT, FIRST, WHOLE, STEP = 'import theano', 'produce_text.py, first', 'produce_text.py, whole', 'train.py, first step'


def write_texts(folder):
    """Write a text as long as a novel, and one of a few batches."""
    import random
    random.seed(1)
    characters = random.choices(ALPHABET, k=700000)
    (folder / 'novel.txt').write_text(''.join(characters))
    (folder / 'short.txt').write_text(''.join(characters[:20000]))


def start(compiledir, *arguments, **options):
    flags = 'blas.ldflags=,base_compiledir={}'.format(compiledir)
    return subprocess.Popen([sys.executable] + [str(a) for a in arguments], stderr=subprocess.DEVNULL,
                            env=dict(os.environ, THEANO_FLAGS=flags, THEANORC=os.devnull), **options)


def succeeded(process):
    if process.wait():
        raise SystemExit('{} failed'.format(' '.join(process.args)))


def import_theano(folder, compiledir):
    begin = time.perf_counter()
    succeeded(start(compiledir, '-c', 'from engine.backend.theano_setup import theano', cwd=str(ROOT)))
    return {IMPORT: time.perf_counter() - begin}


def produce_text(folder, compiledir):
    begin = time.perf_counter()
    process = start(compiledir, ROOT / 'produce_text.py', folder / 'run0_short.txt_epoch1.npz', folder / 'out.txt',
                    '--length', 500, '--count', 1, stdout=subprocess.PIPE)
    process.stdout.readline()                                # the heading
    process.stdout.read(2)                               # the random character that begins a text, and the first drawn
    first = time.perf_counter() - begin
    process.stdout.read()
    succeeded(process)
    return {FIRST: first, WHOLE: time.perf_counter() - begin}


def first_step(folder, compiledir):
    log = folder / 'run1_novel.txt.out'
    log.unlink() if log.exists() else None
    begin = time.perf_counter()
    process = start(compiledir, ROOT / 'train.py', folder / 'novel.txt', 'run1', '--output-dir', folder, '--overwrite',
                    stdout=subprocess.DEVNULL)
    while not (log.exists() and log.read_bytes().count(b'\n') > 1):      # the first line names the columns
        if process.poll() is not None:
            raise SystemExit('train.py ended before its first step')
        time.sleep(0.005)
    seconds = time.perf_counter() - begin
    process.kill()
    process.wait()
    return {STEP: seconds}


PROGRAMS = (import_theano, produce_text, first_step)


def measure(folder, rounds, cold):
    """Return the median seconds by name."""
    seconds = {name: [] for name in (IMPORT, FIRST, WHOLE, STEP)}
    for _ in range(rounds):
        for program in PROGRAMS:
            compiledir = folder / 'compiled'
            if cold:
                compiledir = Path(tempfile.mkdtemp(dir=str(folder)))
            for name, value in program(folder, compiledir).items():
                seconds[name].append(value)
            if cold:
                shutil.rmtree(str(compiledir))
    return {name: median(values) for name, values in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=5, help='warm runs of each (default: %(default)s)')
    parser.add_argument('--cold-rounds', type=int, default=5, help='cold runs of each (default: %(default)s)')
    options = parser.parse_args()
    print_head()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_texts(folder)
        succeeded(start(folder / 'compiled', ROOT / 'train.py', folder / 'short.txt', '--output-dir', folder,
                        '--epochs', 1, stdout=subprocess.DEVNULL))       # the checkpoint for produce_text.py
        measure(folder, 1, cold=False)                                   # warms
        columns = [measure(folder, options.rounds, cold=False), measure(folder, options.cold_rounds, cold=True)]
    widths = (22, 8, 22, 8, 22)
    print_row(*zip(('seconds', 'warm', 'over import theano', 'cold', 'over import theano'), widths))
    for name in columns[0]:
        cells = [text for column in columns
                 for text in ('{:.2f}'.format(column[name]), '{:.2f}'.format(column[name] / column[IMPORT]))]
        print_row(*zip([name] + cells, widths))


if __name__ == '__main__':
    main()
