"""The logs of a run: how they look, and how they are written and read."""
import json
import math
import os
import re
import secrets
import warnings

import numpy as np

from engine.model.files import append_text, lock, named, open_to_append
from engine.model.parameters import NAMES

STEPS, EPOCHS, SAMPLES, PASSAGE = LOGS = '.out', '_epochs.out', '_samples.txt', '_passage.out'    # endings of the logs
BEST, INTERRUPTED, EPOCH = '_best.npz', '_interrupted.npz', '_epoch{}.npz'     # endings of checkpoints
COLUMNS = 'epoch', 'cost', 'valid_cost', 'lrate', 'characters_per_second'      # of EPOCHS, for the fields of an Epoch
ID = '# id {}\n'                      # of a log; each log that begins gets a new one
SAMPLE, SAMPLE_LENGTH = '# epoch {}:\n', 200
PASSAGE_HEADING = ('# the beginning of the {} text: {}\n'
                   '# epoch, and the cost of each of these characters but the first, in nats\n')


class Logs:
    """The logs of a run. Of several processes only the first opens them; in the others nothing is written.

    steps, epochs: what was logged, rows (epoch, training cost), and rows of COLUMNS.
    """

    def __init__(self, path, names=NAMES, passage=('validation', ''), original=False):
        """Take a function from an ending to a path, the names of the model's parameters, and the passage of its text.

        original: whether the log of the steps is as the program of 2016 wrote it, without a heading.
        """
        self._path, self._original, self._files, self.steps, self.epochs = path, original, {}, [], []
        self._ids = {ending: secrets.token_hex(8) for ending in LOGS}
        self._headings = {
            STEPS: '# epoch cost valid_cost ' + ' '.join('ratio_' + name for name in names) + '\n', SAMPLES: '',
            EPOCHS: f'# {" ".join(COLUMNS)}\n', PASSAGE: PASSAGE_HEADING.format(passage[0], json.dumps(passage[1]))}

    def lock(self):
        """Open the logs, so that no other process can have the run. Raise ValueError if another has it."""
        for ending in LOGS:
            self._files[ending] = open_to_append(self._path(ending))
            lock(self._files[ending])

    def cut(self, stored=None, overwrite=False):
        """Cut the logs to their sizes at a checkpoint, and begin those that are empty.

        stored: what stored() returned at the checkpoint; None for a new run, which cuts all to 0. Raise ValueError if a
        log is not that of the checkpoint; with overwrite it is begun anew.
        """
        sizes = {ending: 0 if stored is None else self._known_size(ending, stored, overwrite) for ending in LOGS}
        for ending, size in sizes.items():
            self._files[ending].truncate(size)
            if not size:
                append_text(self._files[ending], self._heading(ending, self._ids[ending]))
        self.steps = rows(self._path(STEPS))[:, :2].tolist() if sizes[STEPS] else []
        self.epochs = rows(self._path(EPOCHS)).tolist() if sizes[EPOCHS] else []

    def _heading(self, ending, log_id):
        return '' if ending == STEPS and self._original else self._headings[ending] + ID.format(log_id)

    def _known_size(self, ending, stored, overwrite):
        """Return the size that a log had at the checkpoint, and keep its id; 0 for a log that begins."""
        path, then = self._path(ending), stored.get(ending, {})
        size, heading = os.path.getsize(path), self._heading(ending, then.get('id')).encode()
        with open(path, 'rb') as log:
            if size >= then.get('size', math.inf) and log.read(len(heading)) == heading:
                self._ids[ending] = then['id']
                return then['size']
        if size and not overwrite:
            raise ValueError(f'{path} is not that of the run as it was at its checkpoint: --overwrite begins it anew')
        return 0

    def close(self):
        for log in self._files.values():
            log.close()

    def stored(self):
        """Return what a checkpoint keeps of the logs."""
        return {ending: dict(id=self._ids[ending], size=os.path.getsize(self._path(ending))) for ending in self._files}

    def _write(self, ending, text):
        if ending in self._files:
            append_text(self._files[ending], text)

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
        self._write(SAMPLES, f'{SAMPLE.format(epoch)}{text}\n\n')
        self._row(PASSAGE, [epoch, *costs])


# ---------------------------------------------------------------- reading, for a page; errors are OSError or ValueError

def path_beside(checkpoint, ending):
    """Return the path of the log with that ending beside a run's checkpoint, a path or an open one."""
    return re.sub(r'(_best|_interrupted|_epoch\d+)?\.npz$', '', str(checkpoint)) + ending


def rows(log):
    """Return the rows of a log, (n, columns); none if it has only a heading."""
    with named('read', log), warnings.catch_warnings():
        warnings.simplefilter('ignore')                    # of a log without rows yet
        found = np.loadtxt(log, ndmin=2, encoding='utf-8')
    return found if found.size else np.zeros((0, len(COLUMNS)))


def read_samples(path):
    """Return what a model wrote, by epoch, the last text of each."""
    with named('read', path), open(path, encoding='utf-8', newline='') as f:
        heading = f.readline()
        before, *parts = re.split('(?:^|(?<=\n\n))' + SAMPLE.format('([0-9]{1,9})'), f.read())
    if before or not re.fullmatch(ID.format(r'\w+'), heading):
        raise ValueError('it has something other than samples')
    return {int(epoch): text.rstrip('\n') for epoch, text in zip(parts[::2], parts[1::2])}


def read_passage(path):
    """Return the name of the text that a passage is from, the passage of n characters, and its costs (n-1,) by epoch.
    """
    with named('read', path), open(path, encoding='utf-8') as f:
        found = re.fullmatch(re.escape(PASSAGE_HEADING).replace(r'\{\}', '(.*)'), f.readline() + f.readline())
    passage, costs = json.loads(found[2]) if found else None, rows(path)
    if not isinstance(passage, str) or len(costs) and costs.shape[1] != max(2, len(passage)) or not (
            np.isfinite(costs).all() and (costs[:, :1] == np.rint(costs[:, :1])).all()):
        raise ValueError('its costs are not those of its heading')
    return found[1], passage, {int(row[0]): row[1:] for row in costs}
