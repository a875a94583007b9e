"""The program that test_process_group.py runs in one process and, by mpiexec, in several: python processes.py OUT.

It reads t.txt, few.txt and a checkpoint of the run of three processes. Each process writes
OUT_<model>_rank<rank>.npz of each model that it trained.
"""
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cells  # noqa: E402
import numpy_model  # noqa: E402
from charlstm import CharLSTM  # noqa: E402
from engine import parallel as process_group  # noqa: E402
from engine.training import optimiser_variables  # noqa: E402

B, T, STEPS = 7, 6, 40                 # B is divisible by neither 2 nor 3
SETTINGS = dict(num_units1=5, num_units2=3, lrate=0.02, bptt_maxdepth=4, l1=0.03, l2=0.02, dropout=0.3, grad_clip=0.5,
                dropconnect=0.2, smoothing=0.1, ar=0.7, tar=1.3, reset=0.1, average=0.9)


def train(name, comm, ratio_valid=0.4, stateful=True, resume=None, cell=False):
    """Train a model, save checkpoints NAME_<step>.npz, and return it; what it computed is in NAME_rank<rank>.npz."""
    model = CharLSTM(random_seed=5, comm=comm)
    if cell:
        model.cell, model.cell_parameters = cells.peephole_cell, dict.fromkeys(cells.OWN, 0.2)
        Adam = cells.readme_classes()['Adam']
        model.optimiser, model.optimiser_state = Adam.optimiser, Adam.optimiser_state
    model.prepare_input('t.txt', ratio_valid, B, T, verbose=False, stateful=stateful)
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
    arrays = {name: p.get_value() for name, p in model.p.items()}
    arrays.update({'m_' + name: m.get_value() for name, m in zip(model.p, optimiser_variables(model)['mean_squares'])})
    costs = np.reshape(costs, (-1, 1 + len(model.p)))
    np.savez(f'{name}_rank{model.group.rank}.npz', costs=costs, validation=validation,
             rows=model.X['train'][0].shape[1], kept=sum(kept.nbytes for kept in model.text._kept.values()), **arrays)
    return model


def check_gradient(comm):
    """Compare a step with finite differences in NumPy of the whole batch of 5 rows, and refuse a batch of all rows."""
    model, whole = CharLSTM(random_seed=1, comm=comm), CharLSTM()
    for m in (model, whole):
        m.prepare_input('few.txt', 0, 5, 4, verbose=False)
    model.model_setup(num_units1=3, num_units2=2, lrate=0.5)
    p = numpy_model.random_parameters(4, V=len(model.uchar), H1=3, H2=2)
    for name, array in p.items():
        model.p[name].set_value(array)
    x, y = whole.X['train'][0], whole.Y['train'][0]
    cost, *_ = model.theano_train_sgd(model.X['train'][0], model.Y['train'][0])
    np.testing.assert_allclose(cost, numpy_model.costs(numpy_model.forward(p, x)[0], y).mean(), rtol=1e-12)
    for name, gradient in numpy_model.gradients(p, x, y).items():
        np.testing.assert_allclose((p[name] - model.p[name].get_value()) / 0.5, gradient, atol=1e-9)
    check_refused(model.theano_train_sgd, x, y, words='5')


def swapped_gates(a_f, a_i, a_o, a_g, C_prev):
    return CharLSTM.cell(a_f, a_o, a_i, a_g, C_prev)


def check_refused(call, *arguments, words):
    """Check that a call raises ValueError with these words."""
    try:
        call(*arguments)
    except ValueError as error:
        assert words in str(error), error
    else:
        raise AssertionError(f'no error of {words}')


def main():
    out, comm, rank = sys.argv[1], None, 0
    if process_group.rank_and_size()[1] != 1:
        from mpi4py import MPI
        comm, rank = MPI.COMM_WORLD, MPI.COMM_WORLD.Get_rank()
    train(f'{out}_straight', comm)
    resumed = train(f'{out}_resumed', comm, resume='3_straight_20.npz')
    model = train(f'{out}_cell', comm, ratio_valid=0, stateful=False, cell=True)
    if comm:
        check_gradient(comm)
        if rank == 1:
            model.p['c'].set_value(model.p['c'].get_value() + 1e-6)
            resumed.cell = swapped_gates
        for wrong in (model, resumed):
            check_refused(wrong.save_params, 'none', words='the processes have different')


if __name__ == '__main__':
    main()
