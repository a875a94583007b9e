"""Processes that train one model together, by MPI: which rows are whose, and what they tell each other.

Nothing here is needed to understand the model: with one process, an SingleProcess, each of its methods
gives back what it was given. mpi4py is imported where there are others alone, and NumPy where it
is needed, since the number of threads must be set before that.
"""
import contextlib
import hashlib
import os
import sys
import time
import traceback

from engine import commands
from engine.terminal import Visible

# What launchers tell each process, in environment variables: its number, and how many there are.
LAUNCHERS = (('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'), ('PMI_RANK', 'PMI_SIZE'),
             ('PMIX_RANK', 'SLURM_STEP_NUM_TASKS'))
# What suits Open MPI to this work, where the user has not set it.
OPEN_MPI = {
    'OMPI_MCA_mpi_yield_when_idle': '1',       # a step ten times as fast where others use the same cores
    'OMPI_MCA_btl_tcp_links': '2',             # sums over a network of 1 Gbit/s in two thirds of the time
}
GRACE = 5          # seconds that a process which ends waits for the others to do so too, before it aborts them
LAST = 0.5         # seconds that the first process stays longer than the others, where all leave together
_leaving = []      # once this process has joined the others: a communicator of all, for nothing but to leave together


class SingleProcess:
    """One process by itself: all rows are its own, and there is nobody to ask."""

    size, rank = 1, 0
    stop_requested = False               # whether somebody asked this process to stop

    @property
    def first(self):
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    @property
    def stop_agreed(self):
        """Whether all processes stop, as they agreed when they last counted something together."""
        return self.stop_requested

    def rows(self, B):
        """The rows of a batch of B that are this process's, a slice; shares differ by one at most.

        Raises ValueError where there are fewer rows than processes.
        """
        if B < self.size:
            raise ValueError(f'the batch size is {B}: expected at least {self.size}, a row for each process')
        share, more = divmod(B, self.size)
        start = self.rank * share + min(self.rank, more)
        return slice(start, start + share + (self.rank < more))

    def broadcast(self, find, *arguments):
        """What find(*arguments) returns, or raises, in the first process: in all of them."""
        return find(*arguments)

    def mean(self, cost, n):
        """Of a mean cost of n characters in each process, that of all together, and their number."""
        return cost, n

    def gather(self, arrays):
        """Arrays of all rows, from those of the rows of each process; in the first process alone."""
        return arrays

    def check_in_sync(self, arrays, random):
        """Raise ValueError where arrays, or the state of a generator, are not the same in all processes."""

    @contextlib.contextmanager
    def one_per_node_first(self):
        """What is inside runs in one process of each machine first, and then in the others, which find it compiled."""
        yield


class ProcessGroup(SingleProcess):
    """The processes of an mpi4py communicator, of which this is one."""

    def __init__(self, comm):
        self._comm, self._stop_agreed = comm, False
        self.size, self.rank = comm.Get_size(), comm.Get_rank()

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):              # a communicator is of this run of this program
        return SingleProcess, ()

    @property
    def stop_agreed(self):
        return self._stop_agreed

    def broadcast(self, find, *arguments):
        outcome = None
        if self.first:
            try:
                outcome = find(*arguments), None
            except Exception as error:
                outcome = None, error
        received = self._comm.bcast(outcome)
        found, error = outcome or received             # in the first its own, which knows where it was raised
        if error:
            raise error
        return found

    def all_reduce(self, numbers):
        """Sum an array over all processes, in place. Its last number is theirs to agree to stop with."""
        from mpi4py import MPI
        numbers[-1] = self.stop_requested
        self._comm.Allreduce(MPI.IN_PLACE, numbers)
        self._stop_agreed = self._stop_agreed or bool(numbers[-1])
        return numbers

    def mean(self, cost, n):
        import numpy as np
        cost_sum, whole, _ = self.all_reduce(np.array([cost * n, n, 0]))
        return float(cost_sum / whole), int(whole)

    def gather(self, arrays):
        import numpy as np
        parts = self._comm.gather(arrays)
        return parts and parts[0] and [np.concatenate(rows) for rows in zip(*parts)]

    def check_in_sync(self, arrays, random):
        digest = hashlib.blake2b(repr(random).encode())
        for array in arrays:
            digest.update(array.tobytes())
        digests = self._comm.allgather(digest.digest())
        others = [rank for rank, theirs in enumerate(digests) if theirs != digests[0]]
        if others:
            raise ValueError(f'process {others[0]} has other parameters, or drew other random numbers, than process 0: '
                             'are all machines of one kind, with the same versions, and was all called in all alike?')

    @contextlib.contextmanager
    def one_per_node_first(self):
        from mpi4py import MPI
        machine = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        if machine.Get_rank():
            machine.Barrier()
        yield
        if not machine.Get_rank():
            machine.Barrier()
        machine.Free()


# ---------------------------------------------------------------- beginning and ending

def group_of(comm):
    """The group of an mpi4py communicator, None for none."""
    if isinstance(comm, SingleProcess):
        return comm
    return SingleProcess() if comm is None or comm.Get_size() == 1 else ProcessGroup(comm)


def rank_and_size():
    """The number of this process and how many there are (None: not said), by what started it; 0 and 1 by itself."""
    for rank, size in LAUNCHERS:
        if os.environ.get(rank, '').isdecimal():
            return int(os.environ[rank]), int(os.environ[size]) if size in os.environ else None
    return 0, 1


def join():
    """The group of all processes that were started together.

    Raises ImportError where mpi4py is missing, ValueError where it is of another MPI than what started them.
    """
    size = rank_and_size()[1]
    if size == 1:
        return SingleProcess()
    for name, value in OPEN_MPI.items():
        os.environ.setdefault(name, value)
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:           # RuntimeError: without the library of an MPI
        raise ImportError(f'started by mpiexec, but mpi4py cannot be imported ({" ".join(str(error).split())}): '
                          f'run {commands.with_mpi(size or 2)}') from None
    if size not in (None, MPI.COMM_WORLD.Get_size()):
        raise ValueError(f'mpiexec started {size} processes, of which mpi4py knows {MPI.COMM_WORLD.Get_size()}: they '
                         'are of different MPIs; use the mpiexec of the one that mpi4py was installed with')
    share_cores(MPI.COMM_WORLD)
    group = group_of(MPI.COMM_WORLD)
    if group.size > 1:
        _leaving[:], sys.excepthook = [MPI.COMM_WORLD.Dup()], end_by_traceback
    return group


def end(status, why):
    """End all processes with a status other than 0, and say why in one of them. Return at once where there is one.

    Where all processes come here, they leave together, and Open MPI's mpiexec adds nothing. Where others
    have not come after GRACE seconds, all are aborted.
    """
    rank, size = rank_and_size()
    if (rank, size) == (0, 1):
        return
    if not _leaving:
        with contextlib.suppress(ImportError, ValueError):
            join()
    if rank == 0:
        _say(why)
    seconds = GRACE * (1 + rank / (size or rank + 1))      # one after another, so that one alone says why
    if _leaving:
        together = _all_arrive(_leaving[0], seconds)
        if rank and not together:
            _say(why)
        _leave(rank) if together else _leaving[0].Abort(status)
    elif rank:                         # the end of the first ends all
        time.sleep(seconds)
        _say(why)
    sys.exit(status)


def end_by_traceback(kind, error, trace):
    """End all processes where one has met a bug. It is sys.excepthook."""
    end(1, ''.join(traceback.format_exception(kind, error, trace)))


def _say(why):
    if why:
        print(why.rstrip(), file=Visible(sys.__stderr__), flush=True)


def _all_arrive(comm, seconds):
    """Return whether all processes of a communicator come here in so many seconds."""
    request, deadline = comm.Ibarrier(), time.time() + seconds
    while not request.Test():
        if time.time() > deadline:
            return False
        time.sleep(0.01)
    return True


def _leave(rank):
    """End this process, unless it is the first, which is left to end last and with another status than 0.

    Open MPI's mpiexec tells at length of such a status where it has other processes to end.
    """
    from mpi4py import MPI
    MPI.Finalize()
    if rank:
        os._exit(0)                    # at once: files and terminal are the first's
    time.sleep(LAST)


def share_cores(comm):
    """Set the number of threads, where it is not set, to this process's share of the cores that it may run on."""
    from mpi4py import MPI
    cores = os.sched_getaffinity(0) if hasattr(os, 'sched_getaffinity') else set(range(os.cpu_count() or 1))
    machine = comm.Split_type(MPI.COMM_TYPE_SHARED)
    sharers = sum(bool(theirs & cores) for theirs in machine.allgather(cores))       # also of those who need it not
    machine.Free()
    os.environ.setdefault('OMP_NUM_THREADS', str(max(1, len(cores) // sharers)))
