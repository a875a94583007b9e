"""Write, plot and read the logs of a run."""
import io
import json
import logging
import math
import os
import re
import warnings

import numpy as np

from engine.files import append_text, lock, named, open_to_append, write_whole
from engine.terminal import printable

STEPS, EPOCHS, SAMPLES, PASSAGES = LOGS = '.out', '_epochs.out', '_samples.txt', '_passage.out'    # file name endings
BEST, INTERRUPTED, EPOCH = '_best.npz', '_interrupted.npz', '_epoch{}.npz'     # those of checkpoints
OF_CHECKPOINT = '|'.join(map(re.escape, (BEST, INTERRUPTED, EPOCH))).replace(r'\{\}', r'\d+')
COLUMNS = 'epoch', 'cost', 'valid_cost', 'lrate', 'characters_per_second'      # of EPOCHS; metrics follow


class Logs:
    """The logs of a run. If there are several processes, only the first one opens and writes them.

    steps, epochs: what was logged: rows (epoch, training cost), and for each epoch a dict of numbers by column
    """

    def __init__(self, path, run_id, names, metrics, passage, original):
        """Prepare the logs. path: a function from an ending to a path. original: log the steps as in 2016."""
        self._path, self._original, self._parameters = path, original, len(names)
        self.files, self._sizes, self.steps, self.epochs, self._columns = {}, {}, [], [], [*COLUMNS, *metrics]
        headings = {STEPS: f'# epoch cost valid_cost {" ".join("ratio_" + name for name in names)}\n',
                    EPOCHS: f'# {" ".join(self._columns)}\n',
                    SAMPLES: '',
                    PASSAGES: f'# the beginning of the {passage[0]} text: {json.dumps(passage[1])}\n'
                             '# epoch, and the cost of each of these characters but the first, in nats\n'}
        self._headings = {ending: f'{heading}# id {run_id}\n' for ending, heading in headings.items()}
        if original:
            self._headings[STEPS] = ''

    def lock(self, sizes, overwrite):
        """Lock and read the logs, up to their sizes at a checkpoint ({}: a new run). Raise ValueError if that fails."""
        for ending in LOGS:
            log = self.files[ending] = open_to_append(self._path(ending), follow=False)
            lock(log)
            heading, size, found = self._headings[ending].encode(), sizes.get(ending, 0), os.path.getsize(log.name)
            with open(log.name, 'rb') as written:
                is_of_run = size in range(found + 1) and written.read(len(heading)) == heading
            if size and found and not is_of_run and not overwrite:
                raise ValueError(f'{log.name} does not match the checkpoint: --overwrite starts it anew')
            self._sizes[ending] = size if is_of_run else 0
        self.steps = rows(self._path(STEPS), 3 + self._parameters, self._sizes[STEPS])[:, :2].tolist()
        found = rows(self._path(EPOCHS), len(self._columns), self._sizes[EPOCHS])
        self.epochs = [dict(zip(self._columns, row)) for row in found.tolist()]

    def cut(self):
        """Truncate the logs to the sizes up to which they were read. Begin the others anew, with their headings."""
        for ending, log in self.files.items():
            log.truncate(self._sizes[ending])
            if not self._sizes[ending]:
                append_text(log, self._headings[ending])

    def _write(self, ending, text):
        if ending in self.files:
            append_text(self.files[ending], text)

    def _row(self, ending, numbers):
        self._write(ending, ' '.join(f'{float(number):.6g}' for number in numbers) + '\n')

    def step(self, schedule, cost, ratios):
        """Log a training step that a Schedule has recorded. ratios: the update ratio of each parameter."""
        epoch, valid_cost = schedule.epoch + schedule.batch / schedule.batches, schedule.valid_batch_cost
        if self._original:             # as in 2016: counted from 0, all digits, and -1 without validation
            epoch = schedule.epoch + (schedule.batch - 1) / schedule.batches
            shown = -1 if math.isnan(valid_cost) else np.float32(valid_cost)
            self._write(STEPS, ' '.join(map(str, [epoch, np.float32(cost), shown, *map(np.float32, ratios)])) + '\n')
        else:
            self._row(STEPS, [epoch, cost, valid_cost, *ratios])
        self.steps.append((epoch, float(cost)))

    def epoch(self, epoch):
        *numbers, metrics = epoch
        self.epochs.append(dict(zip(COLUMNS, numbers)) | metrics)
        self._row(EPOCHS, self.epochs[-1].values())

    def sample(self, epoch, text, costs):
        """Log the sample after an epoch, and the costs of the passage."""
        self._write(SAMPLES, f'# epoch {epoch}:\n{text}\n\n')
        self._row(PASSAGES, [epoch, *costs])


def draw_costs(path, title, logs, baselines):
    """Plot the costs in Logs, in nats a character, against epochs, as a PNG, with lines at baselines, by name."""
    logging.getLogger('matplotlib').setLevel(logging.ERROR)      # it logs about its font cache
    from matplotlib.figure import Figure                   # pyplot would look for a backend
    n = len(logs.steps)
    width = max(1, n // 1000)                                    # steps averaged for a point, to keep lines readable
    at, of_steps = np.array(logs.steps[:n // width * width], float).reshape(-1, width, 2).mean(axis=1).T
    epoch, cost, valid_cost = [np.array([row[name] for row in logs.epochs], float) for name in COLUMNS[:3]]
    figure = Figure(figsize=(8, 5))
    axes, dots = figure.subplots(), dict(marker='o', markersize=4)
    axes.plot(at, of_steps, color='#9ecae1', linewidth=1, label='training, per batch')
    axes.plot(epoch - 0.5, cost, color='#08519c', label='training, mean of an epoch (at mid-epoch)', **dots)
    if np.isfinite(valid_cost).any():
        axes.plot(epoch, valid_cost, color='#d94801', label='validation, after each epoch', **dots)
    bottom, top = axes.get_ylim()
    for name, cost in baselines.items():
        if abs(cost - (bottom + top) / 2) < top - bottom:        # others would squash the curves
            axes.axhline(cost, color='0.5', linewidth=0.5)
            axes.annotate(f'{name}, {cost:.2f}', (1, cost), xycoords=('axes fraction', 'data'), ha='right',
                          va='bottom', fontsize='small', color='0.4')
    axes.set(xlabel='epoch', ylabel='cost, nats per character', xlim=(0, None))
    axes.set_title(printable(title).replace('$', r'\$'))         # a bare $ begins a formula
    axes.grid(alpha=0.3)
    axes.legend()
    with warnings.catch_warnings(), write_whole(path) as f:
        warnings.filterwarnings('ignore', 'Glyph')               # the font lacks a character and draws a box
        figure.savefig(f, format='png', dpi=110, bbox_inches='tight')


# ---------------------------------------------------------------- reading, for the page; raises OSError or ValueError

def path_beside(checkpoint, ending):
    """Return the path of the log with this ending that belongs to a checkpoint, a path or an open one."""
    return re.sub(rf'({OF_CHECKPOINT}|\.npz)$', '', str(checkpoint)) + ending


def rows(log, columns, size=-1):
    """Return the rows in the first `size` bytes of a log, or in all, (n, columns). Raise ValueError for other rows."""
    with named('read', log), open(log, 'rb') as f, warnings.catch_warnings():
        warnings.simplefilter('ignore')                    # the log may have no rows yet
        try:
            return np.loadtxt(io.BytesIO(f.read(size)), ndmin=2, encoding='utf-8').reshape(-1, columns)
        except ValueError:
            raise ValueError(f'{log} is damaged: remove it, to resume the run without its rows') from None


def read_samples(path):
    """Return the samples in a log by epoch; if an epoch has several, the last one."""
    with named('read', path), open(path, encoding='utf-8', newline='') as f:
        _, *parts = re.split(r'(?:\A# id \w+\n|\n\n)# epoch (\d+):\n', f.read())
    return {int(epoch): text.rstrip('\n') for epoch, text in zip(parts[::2], parts[1::2])}


def read_passage(path):
    """Return which text a passage begins ('validation' or 'training'), the passage, and its costs (n-1,) by epoch."""
    with named('read', path), open(path, encoding='utf-8') as f:
        found = re.match('# the beginning of the (validation|training) text: (".*)', f.readline())
    if not found:
        raise ValueError(f'{path} does not begin with a passage')
    text, passage = found[1], json.loads(found[2])
    return text, passage, {int(row[0]): row[1:] for row in rows(path, len(passage))}
