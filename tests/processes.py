"""The program that test_process_group.py runs in one process and, with mpiexec, in several: python processes.py OUT.

It reads t.txt, and a checkpoint of the run of three processes. The first process writes OUT_<model>_<step>.npz, and
OUT_<model>_costs.npz; a model that differs between processes is not saved.
"""
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from charlstm import CharLSTM  # noqa: E402
from engine import parallel  # noqa: E402

B, T, STEPS = 7, 6, 40                 # B is divisible by neither 2 nor 3
SETTINGS = dict(num_units1=5, num_units2=3, lrate=0.02, bptt_maxdepth=4, l1=0.03, l2=0.02, dropout=0.3, grad_clip=0.5,
                dropconnect=0.2, smoothing=0.1, ar=0.7, tar=1.3, reset=0.1, average=0.9)


def train(name, comm, resume=None):
    """Train a model, save checkpoints, and return it."""
    model = CharLSTM(random_seed=5, comm=comm)
    model.prepare_input('t.txt', 0.4, B, T, verbose=False, stateful=True)
    model.model_setup(**SETTINGS)
    done = model.resume(resume)['done'] if resume else 0
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
            model.save_params(f'{name}_{step + 1}', dict(done=step + 1))
    if model.group.first:
        np.savez(f'{name}_costs.npz', costs=costs, validation=validation)
    return model


def main():
    out, comm = sys.argv[1], None
    if parallel.rank_and_size()[1] != 1:
        from mpi4py import MPI
        comm = MPI.COMM_WORLD
    train(f'{out}_straight', comm)
    model = train(f'{out}_resumed', comm, resume='3_straight_20.npz')
    if model.group.rank == 1:
        model.p['c'].set_value(model.p['c'].get_value() + 1e-6)
    if comm:
        try:
            model.save_params('none')
        except ValueError as error:
            assert 'the processes have different parameters' in str(error)
        assert not Path('none.npz').exists()


if __name__ == '__main__':
    main()
