"""Runs of the real train.py: which ones there are (ROWS), training what lacks of them, and a table from their logs.

`python tests/benchmarks/quality.py recipes` is the command. A run is known by its name alone: after a change of
what train.py does by default, take a new folder.
"""
import glob
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, Optional

from common import ROOT, median, print_head, print_row

from engine.files import write_whole
from engine.state.parameters import read_about
from engine.run.run import EPOCHS
from engine.run.schedule import Schedule
from engine.state.batches import Text
from text_input.fetch_novel import write_python_reference

# ---------------------------------------------------------------- the table of runs


class Row(NamedTuple):
    """A recipe: its name; the name of its text; the most epochs, None for those of train.py; its other options; seeds,
    a run for each."""
    name: str
    text: str
    epochs: Optional[int]
    options: tuple = ()
    seeds: tuple = (1,)


def units(n):
    """The options for n units in both layers."""
    return ('--num-units1', str(n), '--num-units2', str(n))


BUNDLED = ('--init', os.path.relpath(str(ROOT / 'training_results' / 'prideandprejudice.npz')))      # 2x256

NOVEL, BEGINNING, REFERENCE, LIBRARY = 'novel', 'reference60k', 'reference', 'library'
ROWS = [Row('novel-256', NOVEL, 30, units(256), (1, 2, 3)),
        Row('novel-512', NOVEL, 36, units(512)),
        Row('novel-256-original', NOVEL, 75, units(256) + ('--original',)),
        Row('novel-256-no-stateful', NOVEL, 30, units(256) + ('--no-stateful',)),
        *[Row(f'{text}-{n}', text, None, units(n))
          for text in (BEGINNING, REFERENCE, LIBRARY) for n in (128, 256, 512)],
        *[Row(f'{text}-256-init', text, None, units(256) + BUNDLED) for text in (BEGINNING, REFERENCE)]]
LEVELS = (1.192, 1.170)            # costs of the novel: the best of (c), and about half way from there to the default's


# ---------------------------------------------------------------- texts

def write(path, text):
    """Write a text in UTF-8, whole or not at all."""
    with write_whole(path) as f:
        f.write(text.encode('utf-8'))


def write_beginning(path):
    """Write the first 60,000 characters of Python's language reference, which it writes beside that."""
    write(path, made(REFERENCE, path.parent).read_text(encoding='utf-8')[:60000])


def write_library(path):
    """Write the sources of the standard library's modules, no packages, an empty line between them: up to 5 MB."""
    sources = sorted(Path(sysconfig.get_path('stdlib')).glob('*.py'))
    write(path, '\n'.join(source.read_text(encoding='utf-8') for source in sources)[:5_000_000])


WRITERS = {BEGINNING: write_beginning, REFERENCE: write_python_reference, LIBRARY: write_library}


def made(name, folder):
    """The path of one of these texts in a folder, written now where it was not there."""
    path = folder / (name + '.txt')
    if not path.exists():                      # another Python's differs, and a run goes on with its own text alone
        WRITERS[name](path)
    return path


# ---------------------------------------------------------------- a run

class Run:
    """One seed of a row, with its files in a folder; it says there how far it is, so nothing is kept here.

    text: the path of its text. name: what train.py calls it.
    """

    def __init__(self, row, seed, novel, folder):
        self.row, self.seed, self.folder = row, seed, folder
        self.text = novel if row.text == NOVEL else folder / (row.text + '.txt')
        self.name = f'{row.name}-seed{seed}'

    def _files(self, ending):
        """Those of this run with such an ending, which may have a *."""
        return list(self.folder.glob(glob.escape(f'{self.name}_{self.text.name}') + ending))

    def newest(self):
        """The checkpoint of this run that is furthest on, and what it says of itself; None and {} where there is none.

        By epoch and batch: a file's time would change with a copy of the folder.
        """
        checkpoints = [(path, read_about(path)) for path in self._files('_*.npz')]
        return max(checkpoints, default=(None, {}),
                   key=lambda checkpoint: [checkpoint[1]['progress'][count] for count in ('epoch', 'batch')])

    def finished(self):
        """Whether it has its epochs, or ran out of patience before."""
        progress = self.newest()[1].get('progress')
        if not progress:
            return False
        options = progress['options']
        options = SimpleNamespace(**dict(options, epochs=self.row.epochs or options['epochs']))
        return Schedule.resumed(options, progress).finished

    def command(self):
        """The words of the command that begins it or goes on with it."""
        checkpoint, epochs = self.newest()[0], ['--epochs', self.row.epochs] if self.row.epochs else []
        if checkpoint:
            words = ['--resume', checkpoint, *epochs]
        else:                                  # logs without a checkpoint are of a run that was killed in epoch 1
            words = [self.text, self.name, '--output-dir', self.folder, '--random-seed', self.seed, *epochs,
                     *self.row.options, *['--overwrite'] * bool(self._files('.out'))]
        return [sys.executable, os.path.relpath(str(ROOT / 'train.py')), *map(str, words)]

    def train(self):
        """Write its text and run it to its end. Raises KeyboardInterrupt where it was asked to stop before."""
        if self.row.text != NOVEL:
            made(self.row.text, self.folder)
        print('\n' + shlex.join(self.command()), file=sys.stderr, flush=True)
        status = call(self.command())
        if status:
            print(f'{self.name}: train.py ended with status {status}', file=sys.stderr)

    def log(self):
        """Validation costs (nats a character) and training speeds (characters a second), by epoch from 1 on."""
        lines = [line for path in self._files(EPOCHS) for line in path.read_text().splitlines()]
        rows = [[float(number) for number in line.split()] for line in lines if not line.startswith('#')]
        return [row[2] for row in rows], [row[4] for row in rows]

    def characters(self):
        """How many characters an epoch learns from."""
        about = self.newest()[1]['text']
        text = Text(self.text, *[about[name] for name in ('ratio_valid', 'batch_size', 'seq_length', 'encoding',
                                                          'stateful')], progress=False)
        return sum(y.size for y in text.Y['train'])


def call(command):
    """Run a command, its output on stderr beside what only is progress, and hand Ctrl-C and SIGTERM on to it.

    Returns its exit status; raises KeyboardInterrupt, once it ended, where there was such a signal.
    """
    asked = []

    def hand_on(number, frame):
        asked.append(number)
        process.send_signal(number)

    # In a process group of its own: a terminal's Ctrl-C would reach it beside ours, and train.py takes a second
    # signal as a wish to stop without a checkpoint.
    process = subprocess.Popen(command, stdout=sys.stderr, preexec_fn=os.setpgrp)
    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        raise KeyboardInterrupt
    return status


# ---------------------------------------------------------------- the table of results

COLUMNS = (('row', 22), ('seeds', 8), ('best', 7), ('of each', 22), ('epoch', 8),
           *[(f'<= {level:.3f}', 8) for level in LEVELS], ('s/epoch', 8), ('min to best', 11))


def first_epoch(costs, level):
    """The first epoch whose cost is at most the level, or '-'."""
    return next((epoch for epoch, cost in enumerate(costs, 1) if cost <= level), '-')


def joined(values, form='{}'):
    return ' '.join(map(form.format, values))


def cells(row, runs):
    """The texts of a row's line, from the logs of its runs that have an epoch and its checkpoint."""
    runs = [run for run in runs if run.row is row and run.newest()[0] and run.log()[0]]
    if not runs:
        return [row.name] + ['-'] * (len(COLUMNS) - 1)
    costs = [run.log()[0] for run in runs]
    seconds = [[run.characters() / speed for speed in run.log()[1]] for run in runs]
    best = [min(of_run) for of_run in costs]
    epochs = [of_run.index(cost) + 1 for of_run, cost in zip(costs, best)]
    minutes = [sum(of_run[:epoch]) / 60 for of_run, epoch in zip(seconds, epochs)]
    reached = [joined(first_epoch(of_run, level) for of_run in costs) if row.text == NOVEL else ''
               for level in LEVELS]
    return [row.name, joined(f'{run.seed}{"" if run.finished() else "*"}' for run in runs),
            f'{sum(best) / len(best):.4f}', joined(best, '{:.4f}'), joined(epochs), *reached,
            f'{median(s for of_run in seconds for s in of_run):.1f}', f'{sum(minutes) / len(minutes):.1f}']


def print_table(rows, runs):
    """A line for each row; * marks a seed whose run is not at its end."""
    print_row(*COLUMNS)
    for row in rows:
        print_row(*zip(cells(row, runs), (width for _, width in COLUMNS)))


def print_commands(row, runs):
    """A row, and for each of its runs the command that train would run now."""
    print(f'{row.name}: {row.text}, seeds {joined(row.seeds)}')
    for run in runs:
        if run.row is row:
            print('    ' + (f'# seed {run.seed} is finished' if run.finished() else shlex.join(run.command())))


def recipes(options):
    """Train, finish or read the runs whose rows' names match; returns 1 where one is not at its end, else 0."""
    rows = [row._replace(epochs=options.epochs or row.epochs) for row in ROWS if fnmatchcase(row.name, options.only)]
    if not rows:
        raise SystemExit(f'no row matches {options.only!r}; there are {joined(row.name for row in ROWS)}')
    runs = [Run(row, seed, options.novel, options.results) for row in rows for seed in row.seeds]
    if options.list:
        for row in rows:
            print_commands(row, runs)
        return 0
    print_head()
    options.results.mkdir(parents=True, exist_ok=True)
    try:
        for run in runs:
            if not run.finished():
                run.train()
    except KeyboardInterrupt:
        print('interrupted; the same command goes on', file=sys.stderr)
    print_table(rows, runs)
    return 0 if all(run.finished() for run in runs) else 1
