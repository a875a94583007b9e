"""Provide what the benchmarks share: the head of their tables, and workers that take turns."""
import contextlib
import datetime
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]            # the latter has the model in NumPy, and judges of texts

SETTLE = 0.15              # seconds between turns: idle threads of a pool spin before they sleep, OpenBLAS's for 0.1 s
ALPHABET = ' \n' + ''.join(chr(k) for k in range(33, 111))     # 80 characters, about what a novel has


def processor():
    """Return the processor's name."""
    with contextlib.suppress(OSError), open('/proc/cpuinfo') as f:
        for line in f:
            if line.startswith('model name'):
                return line.split(':')[1].strip()
    return platform.processor() or platform.machine()


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()


def print_head(*libraries):
    """Print date, machine and versions, the lines above a table."""
    versions = ['Python ' + platform.python_version()] + [
        '{} {}'.format(name, metadata.version(name)) for name in ('Theano', 'numpy', 'scipy') + libraries]
    print('{}; {}, {} cores, load average {:.1f} at the start; {}'.format(
        datetime.date.today(), processor(), cores(), os.getloadavg()[0], platform.system()))
    print(', '.join(versions) + '\n', flush=True)


def print_row(*cells):
    """Print a line of a table: cells (text, width), flush right."""
    print('  '.join('{:>{}}'.format(text, width) for text, width in cells), flush=True)


def peak_memory():
    """Return the most memory that this process ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)


def timed(function, times=1):
    """Return the seconds of each of several calls in a row."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return seconds


@contextlib.contextmanager
def environment_without(names):
    """Hide these environment variables from processes that are started inside."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


class Worker:
    """A function in a process of its own, which sleeps while it is not called.

    Thread pools of different libraries in one process slow each other down.
    In processes that take turns, each has the machine to itself.
    """

    def __init__(self, make, *arguments, without=()):
        """Start the process, which calls make(*arguments) for the function. without: environment variables to drop."""
        context = multiprocessing.get_context('spawn')
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        with environment_without(without):
            self._process.start()
        theirs.close()

    def ready(self):
        """Wait until the function is made. Return its attribute `found`, what it computed before, or None."""
        return self._pipe.recv()

    def __call__(self, *arguments):
        self._pipe.send(arguments)
        result = self._pipe.recv()
        time.sleep(SETTLE)
        return result

    def close(self):
        """End the process and return its peak memory in bytes."""
        self._pipe.send(None)
        peak = self._pipe.recv()
        self._process.join()
        return peak


def _serve(pipe, make, arguments):
    function = make(*arguments)
    pipe.send(getattr(function, 'found', None))
    with contextlib.suppress(EOFError):                    # the benchmark has ended
        for call in iter(pipe.recv, None):
            pipe.send(function(*call))
        pipe.send(peak_memory())


# ---------------------------------------------------------------- what is timed is right

def parameters(V, units):
    """Return parameters by name, float32, with which all sides of a benchmark begin, and predict differently."""
    import numpy_model
    return numpy_model.lively_parameters(1, V, units, units)


def set_parameters(model):
    """Give a CharLSTM the parameters that all sides begin with. Return them."""
    p = parameters(len(model.p['c'].get_value()), len(model.p['b1'].get_value()[0]))
    for name, array in p.items():
        model.p[name].set_value(array)
    return p


def copy_to_torch(arrays, lstm, output):
    """Give two layers of nn.LSTM and a nn.Linear the parameters of a CharLSTM, arrays by name.

    The second bias of each layer, which only PyTorch has, stays 0.
    """
    import torch
    p = {name: torch.from_numpy(array) for name, array in arrays.items()}
    with torch.no_grad():
        for layer in (1, 2):
            for in_torch, in_ours in (('weight_ih', 'U'), ('weight_hh', 'W'), ('bias_ih', 'b')):
                gates = p[f'{in_ours}{layer}'][[1, 0, 3, 2]]                       # PyTorch's order: i, f, g, o
                getattr(lstm, f'{in_torch}_l{layer - 1}').copy_(gates.flatten(0, 1))
            getattr(lstm, f'bias_hh_l{layer - 1}').zero_().requires_grad_(False)
        output.weight.copy_(p['V'])
        output.bias.copy_(p['c'])


def refuse_other_costs(found):
    """End the benchmark where two sides, by name, computed other costs of the first steps of training."""
    (one, expected), *others = found.items()
    for name, costs in others:
        tolerance = 0.03 if 'bf' in name else 2e-3
        if max(abs(a - b) for a, b in zip(costs, expected)) > tolerance * max(expected):
            raise SystemExit(f'nothing is timed: the costs of {name}, {costs}, are not those of {one}, {expected}')


# ---------------------------------------------------------------- the peak of the machine

N = 2048                                                     # of the product that gives the sgemm peak
FORCED = ('OPENBLAS_CORETYPE', 'OPENBLAS_L2_SIZE')           # set, these can understate the peak


def make_product(library):
    """Return a function that returns the seconds of the fastest of three products of N x N matrices in float32."""
    import numpy as np
    random = np.random.default_rng(1)
    a, b = random.standard_normal((2, N, N), dtype=np.float32)
    if library == 'numpy':
        def product():
            return a.dot(b)
    elif library == 'scipy':
        from scipy.linalg.blas import sgemm

        def product():
            return sgemm(1, b.T, a.T).T                      # in BLAS's own order of storage: nothing is copied
    else:
        import torch
        torch_a, torch_b = torch.from_numpy(a), torch.from_numpy(b)

        def product():
            return torch.mm(torch_a, torch_b).numpy()
    rows = slice(0, N, 100)
    if abs(product()[rows] - a[rows].astype(np.float64).dot(b)).max() > 1e-2:
        raise ArithmeticError('the product of {} is wrong'.format(library))
    return lambda: min(timed(product, 4)[1:])


class Peak:
    """The sgemm peak: the best of all measurements in a run, over NumPy, SciPy and PyTorch."""

    def __init__(self):
        environments = [()] + [FORCED] * any(name in os.environ for name in FORCED)
        self._workers = {(library, without): Worker(make_product, library, without=without)
                         for library in ('numpy', 'scipy', 'torch') for without in environments}
        self._seconds = {key: [] for key in self._workers}
        for worker in self._workers.values():
            worker.ready()

    def measure(self):
        for key, worker in self._workers.items():
            self._seconds[key].append(worker())

    def of(self, library, without):
        """Return the flops a second of a library in an environment."""
        return 2 * N ** 3 / min(self._seconds[library, without])

    def numpys_environment(self):
        """Return the variables to drop so that NumPy's own product, which the scan graph uses, is fastest."""
        return max([without for library, without in self._workers if library == 'numpy'],
                   key=lambda without: self.of('numpy', without))

    def close(self):
        """Return the flops a second of the fastest library, and a line that names it and the others."""
        count = min(len(seconds) for seconds in self._seconds.values())
        best = {}
        for (library, without), worker in self._workers.items():
            worker.close()
            best[library] = max(best.get(library, 0), self.of(library, without))
        ranked = sorted(best, key=best.get, reverse=True)
        return best[ranked[0]], 'sgemm peak in GFLOP/s, the best of {} measurements: {}'.format(
            count, ', '.join('{} {:.0f}'.format(library, best[library] / 1e9) for library in ranked))


median = statistics.median
