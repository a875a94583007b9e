"""Measure the reading of texts: seconds and memory of prepare_input.

    python tests/benchmarks/text.py [--megabytes 1 10 100 1000] [--rounds 3]

Each reading is in a separate process. The text has one byte a character, was
just written and is in the system's cache. Memory is the process's peak beyond
what it held after importing charlstm. Medians of the rounds.
"""
import argparse
import random
import tempfile
from pathlib import Path

from common import ALPHABET, Worker, median, peak_memory, print_head, print_row, timed

MEGABYTE = 1000000


def write_text(path, megabytes):
    """Write random characters, the same megabyte again and again."""
    random.seed(1)
    block = ''.join(random.choices(ALPHABET, k=MEGABYTE)).encode()
    with open(path, 'wb') as f:
        for _ in range(megabytes):
            f.write(block)


def make_reader(path):
    import charlstm
    model = charlstm.CharLSTM()

    def read():
        before = peak_memory()
        seconds = timed(lambda: model.prepare_input(path, verbose=False))[0]
        return seconds, peak_memory() - before
    return read


def measure(path, rounds):
    """Return the median seconds and bytes of memory."""
    results = []
    for _ in range(rounds):
        worker = Worker(make_reader, str(path))
        worker.ready()
        results.append(worker())
        worker.close()
    return [median(values) for values in zip(*results)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--megabytes', type=int, nargs='+', default=[1, 10, 100, 1000])
    parser.add_argument('--rounds', type=int, default=3, help='readings of each text (default: %(default)s)')
    options = parser.parse_args()
    print_head()
    widths = (8, 9, 10, 17)
    print_row(*zip(('text, MB', 'seconds', 'memory, MB', 'bytes a character'), widths))
    for megabytes in options.megabytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'text.txt'
            write_text(path, megabytes)
            seconds, memory = measure(path, options.rounds)
        print_row(*zip((megabytes, '{:.2f}'.format(seconds), '{:,.0f}'.format(memory / 1e6),
                        '{:.2f}'.format(memory / (megabytes * MEGABYTE))), widths))


if __name__ == '__main__':
    main()
