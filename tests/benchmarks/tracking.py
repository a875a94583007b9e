"""Train the cells to track a state, on short sequences, and test them on longer ones.

    python tests/benchmarks/tracking.py --results DIR

One layer of 64 units reads a character a step and predicts the state after it. The tasks: parity of bits; a flip-flop,
which ignores most characters; and the groups S3 and S5, in words of a swap and a cycle. The length of the training
sequences rises from 2 to 40. Prints the share of right answers in the last 40 of 40 and of 400 steps, means over the
seeds. DIR/tracking.csv gets a row for each run, also with 80 and 200 steps, and runs that it has are only read.

Theory predicts (Merrill et al. 2024, Grazzi et al. 2025): minGRU, whose gates read only the
input, keeps a share from 0 to 1 of each number of its state. So it can hold a bit, and solves the flip-flop alone. All
others read h through a nonlinear function, and solve all four.
"""
import argparse
import csv
import itertools
from pathlib import Path

import numpy as np

from common import print_head, table

from benchmarks.cells import CELLS, option_of  # tests/ has another module cells

LENGTH, TIMES, STEPS, RATE = 40, (1, 2, 5, 10), 3000, 0.01
COLUMNS = 'cell', 'task', 'seed', *(f'times_{n}' for n in TIMES)


def words(n):
    """Return the permutations after each of n! permutations and a swap or a cycle, by number, (n!,2)."""
    elements = list(itertools.permutations(range(n)))
    return [[elements.index(tuple(a[k] for k in b)) for b in ((1, 0, *range(2, n)), (*range(1, n), 0))]
            for a in elements]


# Of each task, the next state by state and character, and how probable the characters are.
TASKS = {'parity': ([[0, 1], [1, 0]], [0.5, 0.5]), 'flip-flop': ([[0, 1, 0], [0, 1, 1]], [0.1, 0.1, 0.8]),
         'S3': (words(3), [0.5, 0.5]), 'S5': (words(5), [0.5, 0.5])}


def sequences(task, T, B, random):
    """Return characters x and the states after them, int32 (T,B) each."""
    after, p = TASKS[task]
    x, states = random.choice(len(p), (T, B), p=p).astype(np.int32), [np.zeros(B, np.int32)]
    for characters in x:
        states.append(np.array(after, np.int32)[states[-1], characters])
    return x, np.array(states[1:])


def accuracies(name, task, seed):
    """Return the share of right answers of a new cell after training, at each of TIMES."""
    from charlstm import CharLSTM
    from engine.terminal import load_class
    model, random = load_class(option_of(name), CharLSTM)(random_seed=seed), np.random.default_rng(seed)
    model.model_setup(char_dim=max(map(len, TASKS[task])), units=[64], drate=0.99, momentum=0.9, grad_clip=1,
                      step_clip=2, bptt_maxdepth=-1)
    for step in range(STEPS):
        model.dyn_lrate = RATE * min(1, (step + 1) / 100, 2 - 2 * step / STEPS)
        model.theano_train_rmsprop(*sequences(task, min(LENGTH, 2 + 2 * LENGTH * step // STEPS), 100, random))
    x, y = sequences(task, TIMES[-1] * LENGTH, 200, np.random.default_rng(0))
    right = model.theano_check(x, y)[1] == y
    return [right[(n - 1) * LENGTH:n * LENGTH].mean() for n in TIMES]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--results', metavar='DIR', type=Path, required=True, help='folder of tracking.csv')
    parser.add_argument('--seeds', type=int, default=3, help='runs of each cell and task (default: %(default)s)')
    options = parser.parse_args()
    print_head()
    path, found = options.results / 'tracking.csv', {COLUMNS[:3]: COLUMNS[3:]}
    if path.exists():
        found = {tuple(row[:3]): row[3:] for row in csv.reader(path.open())}
    row = table(f'{"cell":>20}', *[f'{task}, {LENGTH} steps; {TIMES[-1] * LENGTH}' for task in TASKS])
    for name in CELLS:
        cells = []
        for task in TASKS:
            runs = [(name, task, str(seed)) for seed in range(1, options.seeds + 1)]
            for run in runs:
                if run not in found:
                    found[run] = [f'{share:.4f}' for share in accuracies(name, task, int(run[2]))]
                    with path.open('w', newline='') as f:
                        csv.writer(f).writerows([*key, *each] for key, each in found.items())
            means = np.array([found[run] for run in runs], float).mean(axis=0)
            cells.append(f'{means[0]:.3f}; {means[-1]:.3f}')
        row(name, *cells)


if __name__ == '__main__':
    main()
