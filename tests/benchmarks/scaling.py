"""Measure training in several processes on one machine.

    python tests/benchmarks/scaling.py [--turns 5] [--steps 9] [--units 256 512] [--batches 50 200]

1 process of 1 thread, 1 of 2 threads, and 2 processes of 1 thread take turns, and start anew for each; every thread has
its own core. Needs Open MPI and mpi4py (engine/requirements-mpi.txt) and two cores that are otherwise idle. Times are
medians.
"""
import argparse
import importlib.util
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from common import ALPHABET, median, peak_memory, print_head, timed

MPIEXEC = shutil.which('mpiexec', path=os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']]))
SIDES = (1, 1), (1, 2), (2, 1)                     # processes, and threads of each
TITLES = ('units', 'batch', '1x1, ms', '1x2, ms', '2x1, ms', '2x1 over 1x1', '2x1 over 1x2', '1x1, MB', '1x2, MB',
          '2x1, MB')
SEQUENCE = 50                                      # characters in a sequence, as in train.py


def learn(out, text, units, batch, threads, steps):
    """Train as train.py does by default, in one of the processes of a side. Write its seconds and its peak memory."""
    from engine import parallel as process_group
    group, threads = process_group.join(), int(threads)
    if hasattr(os, 'sched_setaffinity'):           # before NumPy's threads start
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[group.rank * threads:(group.rank + 1) * threads])
    from charlstm import CharLSTM
    from engine.run import fit
    model, sizes = CharLSTM(random_seed=1, comm=group), dict(num_units1=int(units), num_units2=int(units))
    schedule = fit.begin(model, text, 'default', dict(sizes, batch_size=int(batch), ratio_valid=0))
    # The rate of the first step: at the whole rate large models diverge, and compute with subnormal numbers.
    model.dyn_lrate = schedule.rate_at(0)
    model.compile('train_rmsprop')
    batches = itertools.cycle([(x, y) for x, y in zip(model.X['train'], model.Y['train']) if len(x) == SEQUENCE])
    seconds = timed(lambda: model.theano_train_rmsprop(*next(batches)), 2 + int(steps))[2:]        # two warm caches
    Path(out, f'{group.rank}.json').write_text(json.dumps([seconds, peak_memory()]))


def turn(text, processes, threads, *sizes):
    """Return the seconds of the steps of the first process of a side, and the peak memory of each, in bytes."""
    launch = [MPIEXEC, '--bind-to', 'none', '--map-by', ':OVERSUBSCRIBE', '-n', '2'] if processes == 2 else []
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), OMPI_ALLOW_RUN_AS_ROOT='1',
                       OMPI_ALLOW_RUN_AS_ROOT_CONFIRM='1')                       # for containers
    units, batch, steps = sizes
    with tempfile.TemporaryDirectory() as out:
        words = [sys.executable, __file__, 'learn', out, text, units, batch, threads, steps]
        subprocess.run([*launch, *map(str, words)], check=True, env=environment, stdout=subprocess.DEVNULL)
        found = [json.loads(Path(out, f'{rank}.json').read_text()) for rank in range(processes)]
    return found[0][0], [peak for _, peak in found]


def row(text, units, batch, options):
    """Return the cells of a row of the table."""
    print(f'units {units}, batch {batch} ...', file=sys.stderr, flush=True)
    turns = [[turn(text, *side, units, batch, options.steps) for side in SIDES] for _ in range(options.turns)]
    one, threads, two = [median(s for seconds, _ in of_side for s in seconds) for of_side in zip(*turns)]
    memory = [' + '.join(f'{peak / 1e6:,.0f}' for peak in peaks) for _, peaks in turns[-1]]
    milliseconds = [f'{s * 1e3:,.3g}' if s < 0.1 else f'{s * 1e3:,.0f}' for s in (one, threads, two)]
    return [f'2x{units}', str(batch), *milliseconds, f'{one / two:.2f}', f'{threads / two:.2f}', *memory]


def main():
    from engine.backend.modules import cores
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--turns', type=int, default=5, help='turns of each side (default: %(default)s)')
    parser.add_argument('--steps', type=int, default=9, help='timed steps in a turn (default: %(default)s)')
    parser.add_argument('--units', type=int, nargs='+', default=[256, 512])
    parser.add_argument('--batches', type=int, nargs='+', default=[50, 200])
    options = parser.parse_args()
    if not MPIEXEC or not importlib.util.find_spec('mpi4py') or cores() < 2:
        raise SystemExit('scaling.py needs two cores and what engine/requirements-mpi.txt names')
    print_head('mpi4py')
    version = subprocess.run([MPIEXEC, '--version'], check=True, encoding='utf-8', stdout=subprocess.PIPE).stdout
    print(version.splitlines()[0] + '\n\nMilliseconds of a training step, by processes x threads, and peak memory:\n')
    with tempfile.TemporaryDirectory() as folder:
        text, chance = Path(folder) / 'text.txt', random.Random(1)
        text.write_text(''.join(chance.choices(ALPHABET, k=4 * (max(options.batches) + 1) * SEQUENCE)))
        for cells in (TITLES, ['---'] * len(TITLES)):
            print('| ' + ' | '.join(cells) + ' |')
        for units, batch in itertools.product(options.units, options.batches):
            print('| ' + ' | '.join(row(text, units, batch, options)) + ' |', flush=True)


if __name__ == '__main__':
    if sys.argv[1:2] == ['learn']:
        learn(*sys.argv[2:])
    else:
        main()
