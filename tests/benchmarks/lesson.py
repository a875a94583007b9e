"""Run every command of train.py in engine/lesson/README.md with several seeds, and print the table of that file.

    python tests/benchmarks/lesson.py --results DIR

DIR gets logs and checkpoints. A finished run in it is only read, so Ctrl-C loses nothing but the run that it stops.
All runs together take a quarter of an hour on two cores.
"""
import argparse
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

from common import ROOT, print_head

import train
from engine import terminal
from engine.run.options import Options, run_name

LESSON = ROOT / 'engine' / 'lesson' / 'README.md'


def command_lines():
    """Return the commands of the lesson, in their order."""
    return re.findall(r'^    ((?:python|head|tail) .*)$', LESSON.read_text(encoding='utf-8'), re.MULTILINE)


def options_of(line):
    """Return the Options of a command of train.py."""
    return Options(vars(train.build_parser().parse_args(shlex.split(line)[2:])))


def best_cost(o, seed, folder):
    """Return the best validation cost of a run with another seed, or a word where train.py stops it."""
    name = f'{o.run}-{seed}'
    path = Path(folder) / f'{run_name(name, o.input)}_result.json'
    if not finished(path):
        typed = dict(o.typed, input=o.input, run=name, random_seed=seed, output_dir=folder, overwrite=True)
        subprocess.run([sys.executable, 'train.py', *terminal.typed(typed)], cwd=str(ROOT), stdout=subprocess.DEVNULL)
    result = finished(path)
    return result['best_valid_nats'] if result else 'stopped'


def finished(path):
    """Return the result of a finished run, a dict; None without one: an interrupted run writes that file too."""
    result = json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}
    return result if result.get('finished') else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--results', metavar='DIR', required=True)
    parser.add_argument('--seeds', metavar='N', type=int, default=3)
    options = parser.parse_args()
    folder = str(Path(options.results).resolve())
    Path(folder).mkdir(parents=True, exist_ok=True)
    print_head()
    print('| run | mean of the best costs | each |\n| --- | --- | --- |')
    for line in command_lines():
        if line.startswith(('python -c ', 'head ', 'tail ')):       # it makes a text
            subprocess.run(re.sub('^python', shlex.quote(sys.executable), line), shell=True, cwd=str(ROOT), check=True,
                           stdout=subprocess.DEVNULL)
        o = options_of(line) if line.startswith('python train.py ') else None
        if o is None or not o.ratio_valid:
            continue
        costs = [best_cost(o, seed, folder) for seed in range(1, options.seeds + 1)]
        numbers = [cost for cost in costs if not isinstance(cost, str)]
        mean = f'{sum(numbers) / len(numbers):.3f}' if len(numbers) == len(costs) else ''
        each = ', '.join(cost if isinstance(cost, str) else f'{cost:.3f}' for cost in costs)
        print(f'| `{o.run}` | {mean} | {each} |', flush=True)


if __name__ == '__main__':
    main()
