"""Measure training in several processes on one machine.

    python tests/benchmarks/scaling.py [--turns 5] [--steps 3] [--units 256 512] [--batches 50 200]

2 processes of 1 thread, 1 process of 2 threads and 1 of 1 take turns; every thread has its own core.

Needs Open MPI and mpi4py (engine/requirements-mpi.txt) and two cores that are otherwise idle. Times are medians.
"""
import argparse
import contextlib
import importlib.util
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from common import ALPHABET, cores, median, print_head
from sides import SEQUENCE, Side

MPIEXEC = shutil.which('mpiexec', path=os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']]))
TWO = [MPIEXEC, '--bind-to', 'none', '--map-by', ':OVERSUBSCRIBE', '-n', '2']      # the processes choose their cores
TURN = 0.5                                         # seconds that a turn takes at least


def print_table(titles, rows):
    """Print a table in Markdown."""
    for cells in [titles, ['---'] * len(titles)] + rows:
        print('| ' + ' | '.join(cells) + ' |')
    print(flush=True)


def milliseconds(seconds):
    return f'{seconds * 1e3:,.3g}' if seconds < 0.1 else f'{seconds * 1e3:,.0f}'


def note(line):
    print(f'{line} ...', file=sys.stderr, flush=True)


def write_text(path, rows):
    """Write a text that is long enough for four batches of this many rows."""
    random.seed(1)
    path.write_text(''.join(random.choices(ALPHABET, k=4 * (rows + 1) * SEQUENCE)), encoding='utf-8')


def warm_up(side, steps):
    """Wake a side. Returns how many steps it should take in a turn: at least `steps`, and more if they are short."""
    side('steps', 2)
    return max(steps, math.ceil(TURN / side('steps', 1)[0][0]))


# ---------------------------------------------------------------- one machine

SIDES = {'1 process of 1 thread': (1, 1), '1 process of 2 threads': (1, 2), '2 processes of 1 thread': (2, 1)}


def measure_machine(start, units, batch, o):
    """Return the median seconds of a step and the peak memory of each process, in bytes, by side."""
    with contextlib.ExitStack() as stack:
        sides = {name: start(stack, TWO if processes == 2 else [], units, batch, threads)
                 for name, (processes, threads) in SIDES.items()}
        n = max(warm_up(side, o.steps) for side in sides.values())
        seconds = {name: [] for name in sides}
        for _ in range(o.turns):
            for name, side in sides.items():
                seconds[name] += side('steps', n)[0]
        return {name: (median(seconds[name]), side.close()) for name, side in sides.items()}


def machine(start, o):
    rows = []
    for units, batch in o.sizes:
        note(f'one machine: units {units}, batch {batch}')
        results = measure_machine(start, units, batch, o)
        one, threads, two = [results[name][0] for name in SIDES]
        memory = [' + '.join(f'{peak / 1e6:,.0f}' for peak in peaks) for _, peaks in results.values()]
        rows.append([f'2x{units}', str(batch), *map(milliseconds, (one, threads, two)), f'{one / two:.2f}',
                     f'{threads / two:.2f}', *memory])
    print(f'Milliseconds of a training step, and peak memory of each process in MB, of {", ".join(SIDES)}:\n')
    print_table(['units', 'batch', '1x1, ms', '1x2, ms', '2x1, ms', '2x1 over 1x1', '2x1 over 1x2', '1x1, MB',
                 '1x2, MB', '2x1, MB'], rows)


# ---------------------------------------------------------------- all of it

def build_parser():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--turns', type=int, default=5, help='turns of each side (default: %(default)s)')
    parser.add_argument('--steps', type=int, default=3, help='least number of steps in a turn (default: %(default)s)')
    parser.add_argument('--units', type=int, nargs='+', default=[256, 512])
    parser.add_argument('--batches', type=int, nargs='+', default=[50, 200])
    return parser


def starter(folder, o):
    """Return a function that starts a Side, which an ExitStack ends at the latest."""
    text = folder / 'text.txt'
    write_text(text, max(o.batches))

    def start(stack, launch, units, batch, threads):
        side = Side(folder, launch, text, units, batch, threads)
        stack.callback(side.end)
        return side
    return start


def main():
    o = build_parser().parse_args()
    o.sizes = sorted((units, batch) for units in o.units for batch in o.batches)
    if not MPIEXEC or not importlib.util.find_spec('mpi4py') or cores() < 2:
        raise SystemExit('scaling.py needs two cores and what engine/requirements-mpi.txt names')
    for name in ('SIGTERM', 'SIGHUP'):                 # end as by Ctrl-C, and leave no processes
        signal.signal(getattr(signal, name), lambda number, _: sys.exit(128 + number))
    print_head('mpi4py')
    version = subprocess.run([MPIEXEC, '--version'], check=True, encoding='utf-8', stdout=subprocess.PIPE).stdout
    print(version.splitlines()[0] + '\n', flush=True)
    with tempfile.TemporaryDirectory() as folder:
        machine(starter(Path(folder), o), o)


if __name__ == '__main__':
    main()
