"""Measure training in several processes: on one machine, and on two simulated ones; and predict it for 64.

    python tests/benchmarks/scaling.py [--only machine network predicted] [--turns 5] [--steps 3] [--units 256 512]

machine     2 processes of 1 thread, 1 process of 2 threads and 1 of 1 take turns; every thread has its own core
network     2 processes of 1 thread in two network namespaces (needs root), at several speeds of the link in turn, and
            the share of the step that the sum over the processes takes
predicted   steps of 1 thread with the rows that each of up to 64 machines would have, plus the time of a sum over that
            many machines, from the latency and bandwidth that `network` measured

Needs Open MPI and mpi4py (engine/requirements-mpi.txt) and two cores that are otherwise idle. Times are medians.
"""
import argparse
import contextlib
import importlib.util
import math
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import machines
from common import ALPHABET, cores, median, print_head
from engine.state.parameters import parameter_count
from sides import SEQUENCE, Side

PARTS = 'machine', 'network', 'predicted'
MPIEXEC = shutil.which('mpiexec', path=os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']]))
TWO = [MPIEXEC, '--bind-to', 'none', '--map-by', ':OVERSUBSCRIBE', '-n', '2']      # the processes choose their cores
TURN = 0.5                                         # seconds that a turn takes at least
SPEEDS = (1, 10, 0)                                # Gbit/s of the link, 0: unshaped
SMALL = 3                                          # numbers in a sum that takes as long as its latency
GAIN = 1.1                                         # twice as many machines must gain this to pay
COUNTS = [2 ** k for k in range(7)]                # machines that are predicted
CORES = (1, 16)                                    # of each of them

Link = namedtuple('Link', 'latency bandwidth')     # seconds of a message, bytes/s


def print_table(titles, rows):
    """Print a table in Markdown."""
    for cells in [titles, ['---'] * len(titles)] + rows:
        print('| ' + ' | '.join(cells) + ' |')
    print(flush=True)


def milliseconds(seconds):
    return f'{seconds * 1e3:,.3g}' if seconds < 0.1 else f'{seconds * 1e3:,.0f}'


def note(line):
    print(f'{line} ...', file=sys.stderr, flush=True)


def write_text(path, rows):
    """Write a text that is long enough for four batches of this many rows."""
    random.seed(1)
    path.write_text(''.join(random.choices(ALPHABET, k=4 * (rows + 1) * SEQUENCE)), encoding='utf-8')


def warm_up(side, steps):
    """Wake a side. Returns how many steps it should take in a turn: at least `steps`, and more if they are short."""
    side('steps', 2)
    seconds, _ = side('steps', 1)[0][0]
    return max(steps, math.ceil(TURN / seconds))


def bytes_summed(units):
    """Return the size of the sum of a step, in bytes: the gradients and three more numbers of float32."""
    return 4 * (parameter_count(len(ALPHABET), units, units) + 3)


# ---------------------------------------------------------------- one machine

SIDES = {'1 process of 1 thread': (1, 1), '1 process of 2 threads': (1, 2), '2 processes of 1 thread': (2, 1)}


def measure_machine(start, units, batch, o):
    """Return the median seconds of a step and the peak memory of each process, in bytes, by side."""
    with contextlib.ExitStack() as stack:
        sides = {name: start(stack, TWO if processes == 2 else [], units, batch, threads)
                 for name, (processes, threads) in SIDES.items()}
        n = max(warm_up(side, o.steps) for side in sides.values())
        seconds = {name: [] for name in sides}
        for _ in range(o.turns):
            for name, side in sides.items():
                seconds[name] += [step for step, _ in side('steps', n)[0]]
        return {name: (median(seconds[name]), side.close()) for name, side in sides.items()}


def machine(start, o):
    rows = []
    for units, batch in o.sizes:
        note(f'one machine: units {units}, batch {batch}')
        results = measure_machine(start, units, batch, o)
        one, threads, two = [results[name][0] for name in SIDES]
        memory = [' + '.join(f'{peak / 1e6:,.0f}' for peak in peaks) for _, peaks in results.values()]
        rows.append([f'2x{units}', str(batch), *map(milliseconds, (one, threads, two)), f'{one / two:.2f}',
                     f'{threads / two:.2f}', *memory])
    print(f'Milliseconds of a training step, and peak memory of each process in MB, of {", ".join(SIDES)}:\n')
    print_table(['units', 'batch', '1x1, ms', '1x2, ms', '2x1, ms', '2x1 over 1x1', '2x1 over 1x2', '1x1, MB',
                 '1x2, MB', '2x1, MB'], rows)


# ---------------------------------------------------------------- two machines

class Turns:
    """The measurements of a side over two machines, at one speed of the link."""

    def __init__(self):
        self.steps, self.sums, self.small_sums, self.trips, self.sent, self.count = [], [], [], [], 0, 0

    def take(self, pair, side, n):
        before = sum(pair.sent())
        by_process = side('steps', n)
        self.sent, self.count = self.sent + sum(pair.sent()) - before, self.count + n
        self.steps += zip(*by_process)
        self.sums += side('sums', bytes_summed(side.units) // 4, 3)[0]
        self.small_sums += side('sums', SMALL, 50)[0][1:]            # the first may wait for the other process
        self.trips += side('trips', 50)[0][1:]

    def step(self):
        """Return the seconds of a step, of the sum in it (mean of the processes), and of the sum without waiting."""
        return [median(values) for values in zip(*(
            (steps[0][0], sum(summing for _, summing in steps) / len(steps), min(summing for _, summing in steps))
            for steps in self.steps))]

    def link(self, units, delay):
        """Return the Link. delay: seconds to add to its latency, if the link could not be delayed."""
        latency = median(self.small_sums)
        return Link(latency + delay, bytes_summed(units) / (median(self.sums) - latency))

    def check(self, units):
        """Return the bytes that a machine sent in a step. Raises SystemExit if the sum did not go over the link."""
        sent = self.sent / self.count / 2                            # by one machine in a step
        if sent < 0.95 * bytes_summed(units):
            raise SystemExit(f'{sent:,.0f} bytes went over the link in a step: expected {bytes_summed(units):,}')
        return sent


def measure_network(start, pair, folder, units, batch, o):
    """Return the Turns of each speed, by the speed."""
    results = {speed: Turns() for speed in SPEEDS}
    with contextlib.ExitStack() as stack:
        pair.shape(0)
        side = start(stack, pair.launch(MPIEXEC, folder), units, batch, 1)
        n = warm_up(side, o.steps)
        for _ in range(o.turns):
            for speed, turns in results.items():
                pair.shape(speed)
                turns.take(pair, side, n)
        side.close()
    return results


def network(start, pair, folder, o):
    """Print the table. Returns the Link and the seconds of a step, of the largest size, by speed."""
    rows, trips = [], {speed: [] for speed in SPEEDS}
    for units, batch in o.sizes:
        note(f'two machines: units {units}, batch {batch}')
        results = measure_network(start, pair, folder, units, batch, o)
        for speed, turns in results.items():
            step, summing, exchange = turns.step()
            trips[speed] += turns.trips
            rows.append([f'2x{units}', str(batch), spelled(speed), milliseconds(step), milliseconds(summing),
                         f'{summing / step:.1%}', f'{exchange / step:.1%}', milliseconds(median(turns.sums)),
                         f'{turns.check(units) / 1e6:.1f}'])
    print('Two processes of one thread, each in a network namespace, by the link between them: Allreduce in a step,\n'
          'its share of the step, that share without waiting for the other process, Allreduce by itself, without\n'
          'steps, and what each machine sent in a step.\n')
    print_table(['units', 'batch', 'link', 'step, ms', 'Allreduce, ms', 'share', 'not waiting', 'by itself, ms',
                 'sent, MB'], rows)
    print(delays(pair, trips) + '\n')
    missing = 0 if pair.delayed else machines.DELAY
    return {speed: (turns.link(units, missing), turns.step()[0]) for speed, turns in results.items()}


def spelled(speed):
    return f'{speed} Gbit/s' if speed else 'unshaped'


def delays(pair, trips):
    """Return the line about the delay of the link. trips: seconds, by speed."""
    measured = ', '.join(f'{milliseconds(median(seconds))} ms ({spelled(speed)})' for speed, seconds in trips.items())
    added = 'was added to each way' if pair.delayed else 'was not added: this kernel has no netem'
    return f'A delay of {milliseconds(machines.DELAY)} ms {added}.\nA message there and back took {measured}.'


# ---------------------------------------------------------------- many machines

def measure_rows(start, units, batch, o):
    """Return the median seconds of a step of one thread by its number of rows, for all machine counts in COUNTS."""
    seconds = {}
    with contextlib.ExitStack() as stack:
        side = start(stack, [], units, batch, 1)
        for rows in [math.ceil(batch / count) for count in COUNTS if count <= batch]:
            side('read', rows)
            n = warm_up(side, 1)
            seconds[rows] = median(step for step, _ in side('steps', max(n, o.steps))[0])
        side.close()
    return seconds


def sum_time(size, count, link):
    """Return the seconds of a sum of `size` bytes over `count` machines in a ring: 2 (N-1) messages of an N-th."""
    return 2 * (count - 1) * (link.latency + size / count / link.bandwidth)


def predict(seconds, batch, units, link, core_count):
    """Return the seconds of a step by the number of machines of core_count cores. seconds: of measure_rows."""
    return {count: seconds[math.ceil(batch / count)] / core_count + sum_time(bytes_summed(units), count, link)
            for count in COUNTS if count <= batch}


def paying(steps):
    """Return the number of machines up to which each doubling pays."""
    counts = list(steps)
    for count, doubled in zip(counts, counts[1:]):
        if steps[count] / steps[doubled] < GAIN:
            return count
    return counts[-1]


def nominal():
    """Return nominal links, used if none was measured."""
    return {speed: (Link(machines.DELAY, speed * 1e9 / 8), None) for speed in SPEEDS if speed}


def predicted(start, links, o):
    """Print the prediction. links: by speed, as network returned them; empty if it did not run."""
    batch, used, rows, checks = max(o.batches), links or nominal(), [], []
    for units in o.predicted_units:
        note(f'predicted: units {units}')
        seconds = measure_rows(start, units, batch, o)
        for speed, core_count in [(speed, n) for speed in used if speed for n in CORES]:
            steps = predict(seconds, batch, units, used[speed][0], core_count)
            rows.append([f'2x{units}', spelled(speed), str(core_count), milliseconds(steps[1]),
                         *[f'{steps[1] / step:.1f}' for count, step in steps.items() if count > 1],
                         str(paying(steps))])
        if links and units == o.sizes[-1][0]:
            checks = [check(seconds, batch, units, speed, *links[speed]) for speed in links if speed]
    explain(batch, used, bool(links))
    print_table(['units', 'link', 'cores', 'step of 1, ms'] + [str(count) for count in COUNTS[1:] if count <= batch] +
                ['pays up to'], rows)
    print('\n'.join(checks))


def check(seconds, batch, units, speed, link, measured):
    """Return a line that compares the prediction for two machines with the measurement. seconds: of measure_rows."""
    step = predict(seconds, batch, units, link, 1)[2]
    return (f'A step of 2 machines of 1 core at 2x{units}, {spelled(speed)}: {milliseconds(step)} ms predicted, '
            f'{milliseconds(measured)} measured.')


def explain(batch, links, measured):
    """Print how the prediction is made."""
    print('PREDICTED, not measured: how many times as fast as one machine, by the number of machines N, at batch '
          f'{batch}.\nA step is a measured one, of one thread and the rows of one machine, and after it 2 (N-1) '
          'messages of an\nN-th of the gradient. Their latency and bandwidth are '
          f"{'those measured between two' if measured else 'nominal'}, the delay included:\n")
    for speed, (link, _) in links.items():
        if speed:
            print(f'- {spelled(speed)}: {milliseconds(link.latency)} ms, {link.bandwidth / 1e6:,.0f} MB/s')
    print(f'\nMachines of {CORES[1]} cores are assumed to compute {CORES[1]} times as fast, over the same link. It '
          f'pays up to the first N\nwhose doubling gains less than {GAIN - 1:.0%}.\n')


# ---------------------------------------------------------------- all of it

def build_parser():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', nargs='+', choices=PARTS, default=PARTS, help='parts to run (default: all)')
    parser.add_argument('--turns', type=int, default=5, help='turns of each side (default: %(default)s)')
    parser.add_argument('--steps', type=int, default=3, help='least number of steps in a turn (default: %(default)s)')
    parser.add_argument('--units', type=int, nargs='+', default=[256, 512])
    parser.add_argument('--batches', type=int, nargs='+', default=[50, 200])
    parser.add_argument('--predicted-units', type=int, nargs='+', default=[256, 512, 1024])
    return parser


def starter(folder, o):
    """Return a function that starts a Side, which an ExitStack ends at the latest."""
    text = folder / 'text.txt'
    write_text(text, max(o.batches))

    def start(stack, launch, units, batch, threads):
        side = Side(folder, launch, text, units, batch, threads)
        stack.callback(side.end)
        return side
    return start


def measure(folder, o):
    start, links = starter(folder, o), {}
    if 'machine' in o.only:
        machine(start, o)
    if 'network' in o.only:
        why_not = machines.lacking()
        if why_not:
            print(f'Two machines: left out, {why_not}.\n')
        else:
            with machines.Machines() as pair:
                links = network(start, pair, folder, o)
    if 'predicted' in o.only:
        predicted(start, links, o)


def main():
    o = build_parser().parse_args()
    o.sizes = sorted((units, batch) for units in o.units for batch in o.batches)
    if not MPIEXEC or not importlib.util.find_spec('mpi4py') or cores() < 2:
        raise SystemExit('scaling.py needs two cores and what engine/requirements-mpi.txt names')
    for name in ('SIGTERM', 'SIGHUP'):                 # end as by Ctrl-C, and leave no processes or namespaces
        signal.signal(getattr(signal, name), lambda number, _: sys.exit(128 + number))
    print_head('mpi4py')
    print(machines.run(MPIEXEC, '--version').splitlines()[0] + '\n', flush=True)
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), o)


if __name__ == '__main__':
    main()
