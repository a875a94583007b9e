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


# Environment variables that hold Theano's compiler, PyTorch and OpenBLAS to AVX2 on a processor that has more.
AVX2 = dict(THEANO_FLAGS='gcc.cxxflags=-march=haswell', ATEN_CPU_CAPABILITY='avx2', ONEDNN_MAX_CPU_ISA='AVX2',
            MKL_ENABLE_INSTRUCTIONS='AVX2', OPENBLAS_CORETYPE='Haswell')


def add_flag(flag):
    """Add a setting of Theano's to those of this process."""
    flags = [os.environ['THEANO_FLAGS']] if os.environ.get('THEANO_FLAGS') else []
    os.environ['THEANO_FLAGS'] = ','.join([*flags, flag])


def hold_to_avx2():
    """Let all sides, which are processes that begin later, use AVX2 at most."""
    flag, *variables = AVX2.items()
    add_flag(flag[1])
    os.environ.update(variables)
    print('held to AVX2: ' + ' '.join(f'{name}={value}' for name, value in AVX2.items()))


def processor():
    """Return the processor's name."""
    with contextlib.suppress(OSError), open('/proc/cpuinfo') as f:
        for line in f:
            if line.startswith('model name'):
                return line.split(':')[1].strip()
    return platform.processor() or platform.machine()


def print_head(*libraries):
    """Print date, machine and versions, the lines above a table."""
    from engine.backend.modules import cores               # late: workers need no Theano
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


class Worker:
    """A function in a process of its own, which sleeps while it is not called.

    Thread pools of different libraries in one process slow each other down.
    In processes that take turns, each has the machine to itself.
    """

    def __init__(self, make, *arguments):
        """Start the process, which calls make(*arguments) for the function."""
        context = multiprocessing.get_context('spawn')
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
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


def make_product(library):
    """Return a function that returns the seconds of the fastest of three products of N x N matrices in float32."""
    import numpy as np
    a, b = np.random.default_rng(1).standard_normal((2, N, N), dtype=np.float32)
    if library == 'scipy':
        from scipy.linalg.blas import sgemm
        a, b = b.T, a.T                                      # in BLAS's own order of storage: nothing is copied
        return lambda: min(timed(lambda: sgemm(1, a, b), 4)[1:])
    import torch
    a, b = torch.from_numpy(a), torch.from_numpy(b)
    return lambda: min(timed(lambda: torch.mm(a, b), 4)[1:])


class Peak:
    """The sgemm peak: the best of all measurements in a run, over SciPy and PyTorch."""

    def __init__(self):
        self._workers = {library: Worker(make_product, library) for library in ('scipy', 'torch')}
        self._seconds = {library: [] for library in self._workers}
        for worker in self._workers.values():
            worker.ready()

    def measure(self):
        for library, worker in self._workers.items():
            self._seconds[library].append(worker())

    def close(self):
        """Return the flops a second of the faster library, and a line that names both."""
        flops = {library: 2 * N ** 3 / min(seconds) for library, seconds in self._seconds.items()}
        for worker in self._workers.values():
            worker.close()
        return max(flops.values()), 'sgemm peak in GFLOP/s: ' + ', '.join(
            f'{library} {of_library / 1e9:.0f}' for library, of_library in flops.items())


median = statistics.median
