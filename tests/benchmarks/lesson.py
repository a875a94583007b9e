"""Run every command of train.py in engine/lesson/README.md with several seeds, and print the table of that file.

    python tests/benchmarks/lesson.py --results DIR

DIR gets logs and checkpoints. A finished run in it is only read; an unfinished one is resumed. All runs together take a
quarter of an hour on two cores.
"""
import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

from common import ROOT, print_head, table, trained

LESSON = ROOT / 'engine' / 'lesson' / 'README.md'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--results', metavar='DIR', type=Path, required=True)
    parser.add_argument('--seeds', metavar='N', type=int, default=3)
    options = parser.parse_args()
    print_head()
    row = table('         run', 'mean of the best costs', '              each')
    for line in re.findall(r'^    ((?:python|head|tail) .*)$', LESSON.read_text(encoding='utf-8'), re.MULTILINE):
        if line.startswith(('python -c ', 'head ', 'tail ')):       # it makes a text
            subprocess.run(re.sub('^python', shlex.quote(sys.executable), line), shell=True, cwd=ROOT, check=True,
                           stdout=subprocess.DEVNULL)
        if not line.startswith('python train.py ') or '--ratio-valid 0' in line:
            continue
        text, run, *words = shlex.split(line.replace('--random-seed 1', ''))[2:]
        results = [trained(ROOT / text, f'{run}-{seed}', options.results.resolve(), *words, '--random-seed', seed)
                   for seed in range(1, options.seeds + 1)]
        costs = [result['best_valid_nats'] for result in results]
        row(f'`{run}`', f'{sum(costs) / len(costs):.3f}', ', '.join(f'{cost:.3f}' for cost in costs))


if __name__ == '__main__':
    main()
