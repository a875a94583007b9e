"""The logs of a run: how they are written, drawn and read."""
import json
import logging
import math
import os
import re
import warnings

import numpy as np

from engine.model.files import append_text, lock, named, open_to_append, write_whole
from engine.terminal import printable

STEPS, EPOCHS, SAMPLES, PASSAGE = LOGS = '.out', '_epochs.out', '_samples.txt', '_passage.out'    # endings of the logs
COLUMNS = 'epoch', 'cost', 'valid_cost', 'lrate', 'characters_per_second'      # of EPOCHS, for the fields of an Epoch


class Logs:
    """The logs of a run. Of several processes only the first opens them; in the others nothing is written.

    steps, epochs: what was logged, rows (epoch, training cost), and rows of COLUMNS.
    """

    def __init__(self, path, run_id, names, passage, original):
        """Take a function from an ending to a path; original: whether the log of the steps is as in 2016."""
        self._path, self._original, self.files, self.steps, self.epochs = path, original, {}, [], []
        headings = {STEPS: f'# epoch cost valid_cost {" ".join("ratio_" + name for name in names)}\n',
                    EPOCHS: f'# {" ".join(COLUMNS)}\n',
                    SAMPLES: '',
                    PASSAGE: f'# the beginning of the {passage[0]} text: {json.dumps(passage[1])}\n'
                             '# epoch, and the cost of each of these characters but the first, in nats\n'}
        self._headings = {ending: f'{heading}# id {run_id}\n' for ending, heading in headings.items()}
        if original:
            self._headings[STEPS] = ''

    def lock(self):
        """Open the logs. Raise ValueError if another process has the run."""
        for ending in LOGS:
            self.files[ending] = open_to_append(self._path(ending))
            lock(self.files[ending])

    def cut(self, sizes, overwrite):
        """Cut the logs to their sizes at a checkpoint, {} for a new run. Raise ValueError if one is of another run."""
        for ending, log in self.files.items():
            heading, size, found = self._headings[ending].encode(), sizes.get(ending, 0), os.path.getsize(log.name)
            with open(log.name, 'rb') as written:
                is_of_run = found >= size and written.read(len(heading)) == heading
            if size and found and not is_of_run and not overwrite:
                raise ValueError(f'{log.name} is not as it was at the checkpoint: --overwrite begins it anew')
            log.truncate(size if is_of_run else 0)
            if not (size and is_of_run):
                append_text(log, self._headings[ending])
        self.steps = rows(self._path(STEPS))[:, :2].tolist()
        self.epochs = rows(self._path(EPOCHS)).tolist()

    def _write(self, ending, text):
        if ending in self.files:
            append_text(self.files[ending], text)

    def _row(self, ending, numbers):
        self._write(ending, ' '.join(f'{float(number):.6g}' for number in numbers) + '\n')

    def step(self, schedule, cost, ratios):
        """Log a training step that a Schedule has counted. ratios: of the update of each parameter."""
        epoch, valid_cost = schedule.epoch + schedule.batch / schedule.batches, schedule.valid_batch_cost
        if self._original:             # as the program of 2016: counted from 0, -1 without validation, and all digits
            epoch = schedule.epoch + (schedule.batch - 1) / schedule.batches
            shown = -1 if math.isnan(valid_cost) else np.float32(valid_cost)
            self._write(STEPS, ' '.join(map(str, [epoch, np.float32(cost), shown, *map(np.float32, ratios)])) + '\n')
        else:
            self._row(STEPS, [epoch, cost, valid_cost, *ratios])
        self.steps.append((epoch, float(cost)))

    def epoch(self, epoch):
        """Log an Epoch."""
        self.epochs.append(epoch)
        self._row(EPOCHS, epoch)

    def sample(self, epoch, text, costs):
        """Log what the model writes after an epoch, and the costs of the passage."""
        self._write(SAMPLES, f'# epoch {epoch}:\n{text}\n\n')
        self._row(PASSAGE, [epoch, *costs])


def draw_costs(path, title, logs):
    """Draw costs in nats a character against epochs, as a PNG. logs: Logs."""
    logging.getLogger('matplotlib').setLevel(logging.ERROR)      # it logs about its font cache
    from matplotlib.figure import Figure                         # pyplot would look for a backend
    n = len(logs.steps)
    width = max(1, n // 1000)                                    # steps averaged to a point, so that lines show
    at, of_steps = np.array(logs.steps[:n // width * width], float).reshape(-1, width, 2).mean(axis=1).T
    epoch, cost, valid_cost, *_ = np.array(logs.epochs, float).reshape(-1, len(COLUMNS)).T
    figure = Figure(figsize=(8, 5))
    axes, dots = figure.subplots(), dict(marker='o', markersize=4)
    axes.plot(at, of_steps, color='#9ecae1', linewidth=1, label='training, a batch')
    axes.plot(epoch - 0.5, cost, color='#08519c', label='training, mean of an epoch, at its middle', **dots)
    if np.isfinite(valid_cost).any():
        axes.plot(epoch, valid_cost, color='#d94801', label='validation, all batches', **dots)
    axes.set(xlabel='epoch', ylabel='cost, nats per character', xlim=(0, None))
    axes.set_title(printable(title).replace('$', r'\$'))         # a bare $ begins a formula
    axes.grid(alpha=0.3)
    axes.legend()
    with warnings.catch_warnings(), write_whole(path) as f:
        warnings.filterwarnings('ignore', 'Glyph')               # of a character that the font lacks, drawn as a box
        figure.savefig(f, format='png', dpi=110, bbox_inches='tight')


# ---------------------------------------------------------------- reading, for a page; errors are OSError or ValueError

def path_beside(checkpoint, ending):
    """Return the path of the log with that ending beside a run's checkpoint, a path or an open one."""
    return re.sub(r'(_best|_interrupted|_epoch\d+)?\.npz$', '', str(checkpoint)) + ending


def rows(log):
    """Return the rows of a log, (n, columns)."""
    with named('read', log), warnings.catch_warnings():
        warnings.simplefilter('ignore')                    # of a log without rows yet
        return np.loadtxt(log, ndmin=2, encoding='utf-8')


def read_samples(path):
    """Return what a model wrote, by epoch, the last text of each."""
    with named('read', path), open(path, encoding='utf-8', newline='') as f:
        _, *parts = re.split(r'(?:\A# id \w+\n|\n\n)# epoch (\d+):\n', f.read())
    return {int(epoch): text.rstrip('\n') for epoch, text in zip(parts[::2], parts[1::2])}


def read_passage(path):
    """Return the name of the text that a passage is from, the passage, and its costs (n-1,) by epoch."""
    with named('read', path), open(path, encoding='utf-8') as f:
        text, passage = re.fullmatch('# the beginning of the (.*?) text: (.*)\n', f.readline()).groups()
    return text, json.loads(passage), {int(row[0]): row[1:] for row in rows(path)}
