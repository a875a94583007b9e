"""What test_team.py runs in one process or, by mpiexec, in several: python spread.py OUT --text TEXT [options]."""
import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine import process_group  # noqa: E402

B, T, STEPS = 7, 6, 40                 # of which neither 2 nor 3 divides the first
SETTINGS = dict(num_units1=5, num_units2=3, lrate=0.02, bptt_maxdepth=4, l1=0.03, l2=0.02, dropout=0.3, grad_clip=0.5,
                dropconnect=0.2, reset=0.1, average=0.9)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('out')
    parser.add_argument('--text', required=True)
    parser.add_argument('--resume')
    parser.add_argument('--no-stateful', action='store_true')
    parser.add_argument('--peepholes', action='store_true')
    parser.add_argument('--valid', type=float, default=0.4)
    o = parser.parse_args()
    comm = None
    if process_group.rank_and_size()[1] != 1:
        from mpi4py import MPI
        comm = MPI.COMM_WORLD
    from charlstm import CharLSTM
    model = CharLSTM(random_seed=5, comm=comm)
    if o.peepholes:
        import cells
        model.cell, model.cell_parameters = cells.peephole_cell, dict.fromkeys(cells.OWN, 0.2)
    model.prepare_input(o.text, o.valid, B, T, verbose=False, stateful=not o.no_stateful)
    model.model_setup(**SETTINGS)
    done = model.resume(o.resume)['done'] if o.resume else 0
    n, costs, validation = model.n_batches['train'], [], []
    for step in range(done, STEPS):
        if step % n == 0:
            model.reset_states()
        x, y = model.X['train'][step % n], model.Y['train'][step % n]
        cost, best, *ratios = model.theano_train_rmsprop(x, y)
        assert best.shape == x.shape
        costs.append([cost, *ratios])
        if step % 10 == 9:
            validation.append([model.validate_batch(), model.validate()])
            model.save_params(f'{o.out}_{step + 1}', dict(done=step + 1))
    arrays = {name: p.get_value() for name, p in model.p.items()}
    arrays.update({'m_' + name: m.get_value() for name, m in model._mean_squares.items()})
    costs = np.reshape(costs, (-1, 1 + len(model.p)))
    np.savez(f'{o.out}_rank{model.group.rank}.npz', costs=costs, validation=validation,
             rows=model.X['train'][0].shape[1], kept=sum(kept.nbytes for kept in model._text._kept.values()), **arrays)


if __name__ == '__main__':
    main()
