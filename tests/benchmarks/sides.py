"""Provide the sides that a benchmark compares: one process, or several that train together, asleep between turns.

Each process waits for its commands at a socket. In a collective operation of MPI it would poll, and take time from
the side whose turn it is.
"""
import contextlib
import itertools
import os
import socket
import subprocess
import sys
import tempfile
import time
from multiprocessing import connection
from pathlib import Path

from common import SETTLE, peak_memory, timed

SHARES = dict(dropout=0.3, dropconnect=0.2)        # about train.py's choice for a novel; does not affect the time
SEQUENCE = 50                                      # characters in a sequence, as in train.py


class Side:
    """Processes that learn a text: side(method, *arguments) calls Learner.method in each and returns a list."""

    def __init__(self, folder, launch, text, units, batch, threads=1):
        """Start the processes and wait until all have compiled.

        launch: the words of mpiexec before Python's, [] for one process. folder: for temporary files.
        Raises SystemExit with the output of the processes if one fails.
        """
        self.units, folder = units, Path(tempfile.mkdtemp(dir=str(folder)))
        self._errors, self._pipes, path = folder / 'errors', [], str(folder / 'socket')
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as server:
            server.settimeout(1)
            server.bind(path)
            server.listen()
            self._start([*launch, sys.executable, __file__, path, text, units, batch, threads], threads)
            try:
                self._pipes = self._join(server)
                self._answers()                         # that they have compiled
            except BaseException:
                self.end()
                raise

    def _start(self, words, threads):
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads), OMPI_ALLOW_RUN_AS_ROOT='1',
                           OMPI_ALLOW_RUN_AS_ROOT_CONFIRM='1')               # for containers
        with open(self._errors, 'w') as errors:         # in a separate session, which Ctrl-C does not reach
            self._process = subprocess.Popen(list(map(str, words)), stdin=subprocess.DEVNULL, stdout=errors,
                                             stderr=errors, env=environment, start_new_session=True)

    def _join(self, server):
        """Return a pipe to each process, by rank; the first process that connects says how many there are."""
        found, size = {}, 1
        while len(found) < size:
            try:
                pipe = connection.Connection(server.accept()[0].detach())
            except socket.timeout:
                if self._process.poll() is not None:
                    self._fail()
            else:
                rank, size = self._answer(pipe)
                found[rank] = pipe
        return [pipe for _, pipe in sorted(found.items())]

    def _answer(self, pipe):
        try:
            return pipe.recv()
        except (EOFError, ConnectionResetError):
            self._fail()

    def _answers(self):
        return [self._answer(pipe) for pipe in self._pipes]

    def _fail(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)                      # so that its message is complete
        raise SystemExit(f'a process of the benchmark ended:\n{self._errors.read_text()[-3000:]}')

    def __call__(self, method, *arguments):
        for pipe in self._pipes:
            pipe.send((method, *arguments))
        answers = self._answers()
        time.sleep(SETTLE)
        return answers

    def close(self):
        """End the processes and return the peak memory of each, in bytes."""
        for pipe in self._pipes:
            pipe.send(None)
        peaks = self._answers()
        self._process.wait()
        return peaks

    def end(self):
        """End the processes if they still run."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self._process.kill()


# ---------------------------------------------------------------- in each of the processes

class Learner:
    """A model that reads a text again and again, set up and trained as train.py does by default."""

    def __init__(self, group, text, units, batch):
        from engine.run.recipe import lrate
        from engine.table import DEFAULTS, LEARNING
        with group.one_per_node_first():
            from charlstm import CharLSTM
        self._model = CharLSTM(random_seed=1, comm=group)
        self._model.prepare_input(text, 0, batch, SEQUENCE, verbose=False, stateful=True)
        batches = zip(self._model.X['train'], self._model.Y['train'])
        self._batches = itertools.cycle([(x, y) for x, y in batches if len(x) == SEQUENCE])
        # None: by the length of the text and the number of units.
        fixed = {name: DEFAULTS[name] for name in (*LEARNING, 'initial') if DEFAULTS[name] is not None}
        self._model.model_setup(num_units1=units, num_units2=units, **SHARES, **fixed)
        # The rate of train.py's first step: at the whole rate large models diverge, and compute with subnormal numbers.
        self._model.dyn_lrate.set_value(lrate(units, units) / DEFAULTS['warmup'])
        with group.one_per_node_first():
            self._model.compile('train_rmsprop')

    def steps(self, n):
        """Return the seconds of each of n training steps."""
        return timed(lambda: self._model.theano_train_rmsprop(*next(self._batches)), n)


def pin(rank, threads):
    """Bind this process to its own cores, one for each thread, if the system can."""
    if hasattr(os, 'sched_setaffinity'):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[rank * threads:(rank + 1) * threads])


def serve(path, text, units, batch, threads):
    from engine import process_group
    group = process_group.join()
    pin(group.rank, int(threads))                       # before NumPy's threads start
    with connection.Client(path) as pipe, contextlib.suppress(EOFError):       # EOFError: the benchmark has ended
        pipe.send((group.rank, group.size))
        learner = Learner(group, text, int(units), int(batch))
        pipe.send(None)
        for method, *arguments in iter(pipe.recv, None):
            pipe.send(getattr(learner, method)(*arguments))
        pipe.send(peak_memory())


if __name__ == '__main__':
    serve(*sys.argv[1:])
