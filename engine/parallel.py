"""Train one model in several processes, by MPI: share the rows of a batch, and exchange sums and results.

mpi4py is imported only for several processes, and NumPy late, because the number of threads must be set first.
"""
import hashlib
import os

from engine.terminal import rank_and_size


class SingleProcess:
    """A process group of one process, which has all rows. ProcessGroup has the same methods."""
    size, rank = 1, 0
    first = property(lambda self: self.rank == 0)          # whether this is the process that prints and writes
    stop_requested = False                                 # whether this process received a request to stop

    @property
    def stop_agreed(self):
        """Return whether all processes agreed to stop, as of their last all_reduce."""
        return self.stop_requested

    def rows(self, B):
        """Return this process's slice of the rows of a batch of B rows. The shares differ by at most one row."""
        if B < self.size:
            raise ValueError(f'the batch size is {B}: expected at least {self.size}, a row for each process')
        return slice(self.rank * B // self.size, (self.rank + 1) * B // self.size)

    def broadcast(self, function, *arguments):
        """Call function(*arguments) in rank 0 only; return its result, or raise its exception, in all processes."""
        return function(*arguments)

    def mean(self, means, n):
        """Return means by name over the characters of all processes, and their number. means, n: of this process."""
        return means, n

    def gather(self, arrays):
        """Return arrays of all rows, joined from each process's arrays of its rows, in rank 0; None in the others."""
        return arrays

    def check_in_sync(self, arrays, *more):
        """Raise ValueError if arrays or more, such as the state of a random generator, differ between processes."""


class ProcessGroup(SingleProcess):
    """The processes of an mpi4py communicator."""
    stop_agreed = False

    def __init__(self, comm):
        self._comm = comm
        self.size, self.rank = comm.Get_size(), comm.Get_rank()

    def broadcast(self, function, *arguments):
        outcome = None
        if self.first:
            try:
                outcome = function(*arguments), None
            except Exception as error:
                outcome = None, error
        received = self._comm.bcast(outcome)
        result, error = outcome or received                # rank 0 raises its own exception, with the traceback
        if error:
            raise error
        return result

    def all_reduce(self, numbers):
        """Sum an array over all processes, in place, and return it. Its last element carries stop requests."""
        from mpi4py import MPI
        numbers[-1] = self.stop_requested
        self._comm.Allreduce(MPI.IN_PLACE, numbers)
        self.stop_agreed = self.stop_agreed or bool(numbers[-1])
        return numbers

    def mean(self, means, n):
        import numpy as np
        *sums, count, _ = self.all_reduce(np.array([*[mean * n for mean in means.values()], n, 0]))
        return {name: float(total / count) for name, total in zip(means, sums)}, int(count)

    def gather(self, arrays):
        import numpy as np
        parts = self._comm.gather(arrays)                      # None except in rank 0; may be an empty list
        return parts and parts[0] and [np.concatenate(rows) for rows in zip(*parts)]

    def check_in_sync(self, arrays, *more):
        state = b''.join([repr(more).encode(), *[array.tobytes() for array in arrays]])
        if len(set(self._comm.allgather(hashlib.blake2b(state).digest()))) > 1:
            raise ValueError('the processes have different parameters, cells or random numbers: do all machines have '
                             'the same files, hardware and versions?')


class DataParallelStep:
    """A training step of several processes: each computes the gradient of its own rows, and applies their sum.

    gradient: a function from the inputs of a step to cost, best, new states, gradients and number of characters
    update: a function from the gradients of the whole batch and its number of characters to the update ratios
    count: how many gradients there are
    """

    def __init__(self, gradient, update, group, count):
        self.streams = gradient.streams
        self._gradient, self._update, self._group, self._count, self._sums = gradient, update, group, count, None

    def __call__(self, *inputs):
        """Return what the compiled step of a single process does; best and states are of this process's rows only."""
        import numpy as np                                 # late: see the top of this file
        cost, best, *more, size = self._gradient(*inputs)
        after, gradients = more[:-self._count], more[-self._count:]
        parts = [*map(np.ravel, gradients), np.array([cost * size, size, 0], cost.dtype)]
        # One sum over all numbers is faster than one for each array; its memory is reused.
        self._sums = np.concatenate(parts, out=self._sums)
        self._group.all_reduce(self._sums)
        *sums, (cost, size, _) = np.split(self._sums, np.cumsum([part.size for part in parts[:-1]]))
        sums = [part.reshape(gradient.shape) for part, gradient in zip(sums, gradients)]
        return [cost / size, best, *after, *self._update(*sums, size)]


def group_of(comm):
    """Return the process group of an mpi4py communicator; None: a SingleProcess. A group is returned unchanged."""
    if comm is None or isinstance(comm, SingleProcess):
        return comm or SingleProcess()
    return ProcessGroup(comm)


def join():
    """Return the group of all processes that were started together. Raise ValueError if MPI finds another number."""
    size = rank_and_size()[1]
    if size == 1:
        return SingleProcess()
    # For Open MPI: steps are ten times as fast if other programs use the same cores, and sums faster on a slow network.
    os.environ.setdefault('OMPI_MCA_mpi_yield_when_idle', '1')
    os.environ.setdefault('OMPI_MCA_btl_tcp_links', '2')
    from mpi4py import MPI
    world = MPI.COMM_WORLD
    if size not in (None, world.Get_size()):
        raise ValueError(f'mpiexec started {size} processes, but mpi4py finds {world.Get_size()}: use the mpiexec of '
                         'the MPI that mpi4py was installed with')
    # Divide the cores among the processes that may run on them, as threads, unless OMP_NUM_THREADS is set.
    cores = os.sched_getaffinity(0) if hasattr(os, 'sched_getaffinity') else set(range(os.cpu_count() or 1))
    sharing = sum(bool(theirs & cores) for theirs in world.Split_type(MPI.COMM_TYPE_SHARED).allgather(cores))
    os.environ.setdefault('OMP_NUM_THREADS', str(max(1, len(cores) // sharing)))
    return ProcessGroup(world)
