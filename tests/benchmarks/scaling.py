"""Measure training in several processes on one machine.

    python tests/benchmarks/scaling.py [--turns 5] [--steps 9] [--units 256 512] [--batches 50 200]

One process with one thread, one with two, and two with one take turns, each turn in new processes; every thread has its
own core. Needs Open MPI and mpi4py (engine/requirements-mpi.txt) and two cores that are otherwise idle. Times are
medians.
"""
import argparse
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from common import ALPHABET, print_head, table, timed

MPIEXEC = shutil.which('mpiexec', path=os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']]))
SIDES = (1, 1), (1, 2), (2, 1)                     # processes, and threads of each
SEQUENCE = 50                                      # characters in a sequence, as in train.py


def learn(out, text, units, batch, threads, steps):
    """Do training steps with dropout in one of the processes of a side. Write their seconds."""
    from mpi4py import MPI
    comm, threads = MPI.COMM_WORLD, int(threads)
    if hasattr(os, 'sched_setaffinity'):           # before NumPy's threads start
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[comm.rank * threads:(comm.rank + 1) * threads])
    from charlstm import CharLSTM
    model = CharLSTM(random_seed=1, comm=comm)
    model.prepare_input(text, 0, int(batch), SEQUENCE, verbose=False, stateful=True)
    # A low rate: large models otherwise diverge, and compute with subnormal numbers.
    model.model_setup(num_units1=int(units), num_units2=int(units), lrate=1e-4, dropout=0.2, dropconnect=0.13,
                      smoothing=0.001, ar=2, tar=2, average=0.999, momentum=0.9, weight_decay=0.02, grad_clip=5,
                      step_clip=2)
    batches = itertools.cycle([(x, y) for x, y in zip(model.X['train'], model.Y['train']) if len(x) == SEQUENCE])
    seconds = timed(lambda: model.theano_train_rmsprop(*next(batches)), 2 + int(steps))[2:]        # two warm caches
    Path(out, f'{comm.rank}.json').write_text(json.dumps(seconds))


def turn(text, processes, threads, units, batch, steps):
    """Return the seconds of the steps of the first process of a side."""
    launch = [MPIEXEC, '--bind-to', 'none', '--map-by', ':OVERSUBSCRIBE', '-n', '2'] if processes == 2 else []
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), OMPI_ALLOW_RUN_AS_ROOT='1',
                       OMPI_ALLOW_RUN_AS_ROOT_CONFIRM='1')                       # for containers
    with tempfile.TemporaryDirectory() as out:
        words = [sys.executable, __file__, 'learn', out, text, units, batch, threads, steps]
        subprocess.run([*launch, *map(str, words)], check=True, env=environment, stdout=subprocess.DEVNULL)
        return json.loads(Path(out, '0.json').read_text())


def cells(text, units, batch, options):
    """Return the cells of a row of the table."""
    print(f'units {units}, batch {batch} ...', file=sys.stderr, flush=True)
    turns = [[turn(text, *side, units, batch, options.steps) for side in SIDES] for _ in range(options.turns)]
    one, threads, two = [median(s for seconds in of_side for s in seconds) for of_side in zip(*turns)]
    return [f'2x{units}', str(batch), *[f'{s * 1e3:,.1f}' for s in (one, threads, two)], f'{one / two:.2f}',
            f'{threads / two:.2f}']


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--turns', type=int, default=5, help='turns of each side (default: %(default)s)')
    parser.add_argument('--steps', type=int, default=9, help='timed steps in a turn (default: %(default)s)')
    parser.add_argument('--units', type=int, nargs='+', default=[256, 512])
    parser.add_argument('--batches', type=int, nargs='+', default=[50, 200])
    options = parser.parse_args()
    print_head('mpi4py')
    print('Milliseconds of a training step, by processes x threads:\n')
    with tempfile.TemporaryDirectory() as folder:
        text, chance = Path(folder) / 'text.txt', random.Random(1)
        text.write_text(''.join(chance.choices(ALPHABET, k=4 * (max(options.batches) + 1) * SEQUENCE)))
        row = table('units', 'batch', *[f'{p}x{t}, ms' for p, t in SIDES], '2x1 over 1x1', '2x1 over 1x2')
        for units, batch in itertools.product(options.units, options.batches):
            row(*cells(text, units, batch, options))


if __name__ == '__main__':
    learn(*sys.argv[2:]) if sys.argv[1:2] == ['learn'] else main()
