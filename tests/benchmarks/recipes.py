"""Run train.py for the recipes in ROWS, finish what is unfinished, and print a table from the logs.

The command is `python tests/benchmarks/quality.py recipes`; published.py uses Run and what follows it for its own rows.
A run is recognised only by its name: after a change of train.py's defaults, use a new folder.
"""
import glob
import os
import shlex
import subprocess
import sys
import sysconfig
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, Optional

from common import ROOT, median, print_head, print_row

import numpy as np

from engine.model.files import write_whole
from engine.model.parameters import read_about
from engine.run.run import EPOCHS
from engine.run.schedule import Schedule
from text_input.fetch_novel import write_python_reference

# ---------------------------------------------------------------- the table of runs


class Row(NamedTuple):
    """A recipe: its name; the name of its text; the most epochs, None for train.py's default; its other options; its
    seeds, with a run for each."""
    name: str
    text: str
    epochs: Optional[int]
    options: tuple = ()
    seeds: tuple = (1,)


def units(n):
    """Return the options for n units in both layers."""
    return ('--num-units1', str(n), '--num-units2', str(n))


BUNDLED = ('--init', os.path.relpath(str(ROOT / 'training_results' / 'prideandprejudice.npz')))      # 2x256

NOVEL, BEGINNING, REFERENCE, LIBRARY = 'novel', 'reference60k', 'reference', 'library'
ROWS = [Row('novel-256', NOVEL, 30, units(256), (1, 2, 3)),
        Row('novel-256-bfloat16', NOVEL, 30, units(256) + ('--precision', 'bfloat16'), (1, 2, 3)),
        Row('novel-512', NOVEL, 36, units(512)),
        Row('novel-512-bfloat16', NOVEL, 30, units(512) + ('--precision', 'bfloat16'), (1, 2, 3)),
        Row('novel-1024-bfloat16', NOVEL, 11, units(1024) + ('--precision', 'bfloat16')),
        Row('novel-256-original', NOVEL, 75, units(256) + ('--original',)),
        Row('novel-256-no-stateful', NOVEL, 30, units(256) + ('--no-stateful',)),
        *[Row(f'{text}-{n}', text, None, units(n))
          for text in (BEGINNING, REFERENCE, LIBRARY) for n in (128, 256, 512)],
        *[Row(f'{text}-256-init', text, None, units(256) + BUNDLED) for text in (BEGINNING, REFERENCE)]]


# ---------------------------------------------------------------- texts

def write(path, text):
    """Write a text in UTF-8, whole or not at all."""
    with write_whole(path) as f:
        f.write(text.encode('utf-8'))


def write_beginning(path):
    """Write the first 60,000 characters of Python's language reference, and the whole reference beside them."""
    write(path, made(REFERENCE, path.parent).read_text(encoding='utf-8')[:60000])


def write_library(path):
    """Write the sources of the standard library's modules, without packages, joined by empty lines: up to 5 MB."""
    sources = sorted(Path(sysconfig.get_path('stdlib')).glob('*.py'))
    write(path, '\n'.join(source.read_text(encoding='utf-8') for source in sources)[:5_000_000])


WRITERS = {BEGINNING: write_beginning, REFERENCE: write_python_reference, LIBRARY: write_library}


def made(name, folder):
    """Return the path of one of these texts in a folder, and write it if it does not exist."""
    path = folder / f'{name}.txt'
    if not path.exists():                      # another Python's differs, and a run can only resume with its own text
        WRITERS[name](path)
    return path


# ---------------------------------------------------------------- a run

class Run:
    """One seed of a row, with its files in a folder. Its state is read from these files and kept nowhere else.

    text: the path of the text that it learns. name: the name of the run.
    """

    def __init__(self, row, seed, text, folder):
        self.row, self.seed, self.text, self.folder = row, seed, text, folder
        self.name = f'{row.name}-seed{seed}'

    def _files(self, ending):
        """Return the files of this run with this ending, which may have a *."""
        return list(self.folder.glob(glob.escape(f'{self.name}_{self.text.name}') + ending))

    def newest(self):
        """Return the furthest checkpoint of this run and its metadata; None and {} if it has no checkpoint.

        Progress decides, by epoch and batch: a file's time changes when the folder is copied.
        """
        checkpoints = [(path, read_about(path)) for path in self._files('_*.npz')]
        return max(checkpoints, default=(None, {}),
                   key=lambda checkpoint: [checkpoint[1]['progress'][count] for count in ('epoch', 'batch')])

    def finished(self):
        """Return whether it has all its epochs, or ran out of patience before."""
        metadata = self.newest()[1]
        if not metadata:
            return False
        progress = metadata['progress']
        options = SimpleNamespace(**metadata['lp'], **progress['options'])
        options.epochs = self.row.epochs or options.epochs
        return Schedule.resumed(options, progress).finished

    def command(self):
        """Return the words of the command that begins or resumes it."""
        checkpoint, epochs = self.newest()[0], ['--epochs', self.row.epochs] if self.row.epochs else []
        if checkpoint:
            words = ['--resume', checkpoint, *epochs]
        else:                                  # logs without a checkpoint: a run that was killed in epoch 1
            words = [self.text, self.name, '--output-dir', self.folder, '--random-seed', self.seed, *epochs,
                     *self.row.options, *['--overwrite'] * bool(self._files('.out'))]
        return [sys.executable, os.path.relpath(str(ROOT / 'train.py')), *map(str, words)]

    def train(self):
        """Run it to its end. Raises KeyboardInterrupt if a signal stopped it."""
        print('\n' + shlex.join(self.command()), file=sys.stderr, flush=True)
        status = call(self.command())
        if status:
            print(f'{self.name}: train.py ended with status {status}', file=sys.stderr)

    def log(self):
        """Return validation costs (nats a character) and training speeds (characters a second), by epoch from 1 on."""
        rows = [row for path in self._files(EPOCHS) for row in np.loadtxt(str(path), ndmin=2).tolist()]
        return [row[2] for row in rows], [row[4] for row in rows]


def call(command):
    """Run a command with its output on stderr, and return its exit status. Ctrl-C, which reaches the command too, is
    raised when that has ended: train.py saves a checkpoint first."""
    process = subprocess.Popen(command, stdout=sys.stderr)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


# ---------------------------------------------------------------- several runs

def chosen(rows, options):
    """Return the rows whose names match --only, with the epochs of --epochs. Raises SystemExit if none matches."""
    matching = [row._replace(epochs=options.epochs or row.epochs) for row in rows
                if fnmatchcase(row.name, options.only)]
    if not matching:
        raise SystemExit(f'no row matches {options.only!r}: expected one of {joined(row.name for row in rows)}')
    return matching


def finish(runs):
    """Train the runs that are not finished, one after the other, until a signal stops one."""
    try:
        for run in runs:
            if not run.finished():
                run.train()
    except KeyboardInterrupt:
        print('interrupted; the same command continues', file=sys.stderr)


# ---------------------------------------------------------------- the table of results

COLUMNS = (('row', 22), ('seeds', 8), ('best', 7), ('of each', 22), ('epoch', 8), ('characters/s', 12))


def joined(values, form='{}'):
    return ' '.join(map(form.format, values))


def cells(row, runs):
    """Return the cells of a row, from the logs of its runs that have an epoch and a checkpoint."""
    runs = [run for run in runs if run.row is row and run.newest()[0] and run.log()[0]]
    if not runs:
        return [row.name] + ['-'] * (len(COLUMNS) - 1)
    costs, speeds = zip(*[run.log() for run in runs])
    best = [min(of_run) for of_run in costs]
    return [row.name, joined(f'{run.seed}{"" if run.finished() else "*"}' for run in runs),
            f'{sum(best) / len(best):.4f}', joined(best, '{:.4f}'),
            joined(of_run.index(cost) + 1 for of_run, cost in zip(costs, best)),
            f'{median(speed for of_run in speeds for speed in of_run):,.0f}']


def print_table(rows, runs):
    """Print a line for each row; * marks a seed whose run is not finished."""
    print_row(*COLUMNS)
    for row in rows:
        print_row(*zip(cells(row, runs), (width for _, width in COLUMNS)))


def print_commands(row, runs):
    """Print a row, and for each of its runs the command that Run.train would run now."""
    print(f'{row.name}: {row.text}, seeds {joined(row.seeds)}')
    for run in runs:
        if run.row is row:
            print('    ' + (f'# seed {run.seed} is finished' if run.finished() else shlex.join(run.command())))


def recipes(options):
    """Train, finish or read the runs of the rows whose names match. Returns 1 if one is not finished, otherwise 0."""
    rows = chosen(ROWS, options)
    texts = {row.text: options.novel if row.text == NOVEL else options.results / f'{row.text}.txt' for row in rows}
    runs = [Run(row, seed, texts[row.text], options.results) for row in rows for seed in row.seeds]
    if options.list:
        for row in rows:
            print_commands(row, runs)
        return 0
    print_head()
    options.results.mkdir(parents=True, exist_ok=True)
    for name in texts:
        if name != NOVEL:
            made(name, options.results)
    finish(runs)
    print_table(rows, runs)
    return 0 if all(run.finished() for run in runs) else 1
