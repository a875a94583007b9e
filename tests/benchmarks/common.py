"""Functions that the benchmarks share: heads and tables, workers that take turns, and runs of train.py."""
import contextlib
import datetime
import json
import multiprocessing
import os
import platform
import resource
import shlex
import subprocess
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
        return next(line.split(':')[1].strip() for line in f if line.startswith('model name'))
    return platform.processor() or platform.machine()


def print_head(*libraries):
    """Print date, machine and versions, the lines above a table."""
    from engine.backend.compiler import threads
    versions = [f'{name} {metadata.version(name)}' for name in ('Theano', 'numpy', 'scipy') + libraries]
    print(f'{datetime.date.today()}; {processor()}, {threads()} cores, load average {os.getloadavg()[0]:.1f} at the '
          f'start; {platform.system()}')
    print(', '.join([f'Python {platform.python_version()}', *versions]) + '\n', flush=True)


def table(*titles):
    """Print the head of a table in Markdown. Return a function that prints a row of cells, as wide as the titles."""
    def row(*cells):
        print('| ' + ' | '.join(f'{cell:>{len(title)}}' for cell, title in zip(cells, titles)) + ' |', flush=True)
    row(*titles)
    row(*['-' * len(title) for title in titles])
    return row


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
    """A function in a separate process, which sleeps between calls.

    Thread pools of several libraries in one process would slow each other down.
    """

    def __init__(self, make, *arguments):
        """Start the process, which calls make(*arguments) for the function."""
        context = multiprocessing.get_context('spawn')
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        self._process.start()
        theirs.close()

    def ready(self):
        """Wait until the function is ready. Return its attribute `found`, the results of its setup, or None."""
        return self._pipe.recv()

    def __call__(self):
        self._pipe.send(True)
        result = self._pipe.recv()
        time.sleep(SETTLE)
        return result

    def close(self):
        """End the process and return its peak memory in bytes."""
        self._pipe.send(False)
        peak = self._pipe.recv()
        self._process.join()
        return peak


def _serve(pipe, make, arguments):
    function = make(*arguments)
    pipe.send(getattr(function, 'found', None))
    with contextlib.suppress(EOFError):                    # the benchmark has ended
        while pipe.recv():
            pipe.send(function())
        pipe.send(peak_memory())


# ---------------------------------------------------------------- checks before timing

def parameters(V, units):
    """Return the float32 parameters by name with which all sides start; they make predictions depend on the text."""
    import numpy_model
    return numpy_model.lively_parameters(1, V, units, units)


def set_parameters(model):
    """Set the parameters of a CharLSTM to those with which all sides start. Return them."""
    p = parameters(len(model.p['c'].get_value()), len(model.p['b1'].get_value()[0]))
    for name, array in p.items():
        model.p[name].set_value(array)
    return p


def stacked_parameters(V, units):
    """Return parameters(V, units) with the gates one below the other in PyTorch's and Keras's order: i, f, g, o."""
    p = parameters(V, units)
    for name in ('U1', 'W1', 'b1', 'U2', 'W2', 'b2'):
        p[name] = p[name][[1, 0, 3, 2]].reshape(4 * units, *p[name].shape[2:])
    return p


def refuse_other_costs(found):
    """Exit if the sides disagree on the costs of the first training steps. found: costs by name of the side."""
    (one, expected), *others = found.items()
    for name, costs in others:
        tolerance = 0.03 if 'bf' in name else 2e-3
        if max(abs(a - b) for a, b in zip(costs, expected)) > tolerance * max(expected):
            raise SystemExit(f'nothing is timed: the costs of {name}, {costs}, are not those of {one}, {expected}')


# ---------------------------------------------------------------- pictures

def draw_curves(path, curves, **of_axes):
    """Draw curves, (x, y, a dict of arguments of plot) each, with a legend beside them, as a PNG."""
    from matplotlib.figure import Figure
    axes = Figure(figsize=(8, 4.4), layout='constrained').subplots()
    for x, y, how in curves:
        axes.plot(x, y, **how)
    axes.set(**of_axes)
    axes.grid(alpha=0.3)
    axes.legend(fontsize='small', loc='center left', bbox_to_anchor=(1, 0.5), frameon=False)
    axes.figure.savefig(path, dpi=150)


# ---------------------------------------------------------------- runs of train.py

def write_part(path, text):
    """Write a part of a text, and return its path. Raise ValueError if it exists and is another text."""
    if path.exists() and path.read_bytes() != text.encode('utf-8'):
        raise ValueError(f'{path} exists and is another text: choose another folder for --results')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode('utf-8'))
    return path


def trained(text, name, folder, *options):
    """Return the result of a run of train.py, a dict. Start or resume the run first, unless it is finished."""
    path = Path(folder) / f'{name}_{Path(text).name}_result.json'
    if not (path.exists() and json.loads(path.read_text(encoding='utf-8'))['finished']):
        words = [sys.executable, os.path.relpath(ROOT / 'train.py'), *map(str, (
            text, name, '--output-dir', folder, '--resume', 'last', *options))]
        print(shlex.join(words), file=sys.stderr, flush=True)
        Path(folder).mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(words, stdout=sys.stderr)
        try:
            status = process.wait()
        except KeyboardInterrupt:              # which reached train.py, too: it saves a checkpoint
            process.wait()
            status = 'interrupted; the same command continues'
        if status:
            raise SystemExit(status)
    return json.loads(path.read_text(encoding='utf-8'))
