"""The logs of a run: how they look, and how they are written and read. Those that are read are untrusted input."""
import contextlib
import io
import json
import os
import re
import secrets
import warnings

import numpy as np

from engine.model.files import append, lock, named, open_to_append
from engine.model.parameters import NAMES

STEPS, EPOCHS, SAMPLES, PASSAGE = LOGS = '.out', '_epochs.out', '_samples.txt', '_passage.out'    # endings of the logs
BEST, INTERRUPTED, EPOCH = '_best.npz', '_interrupted.npz', '_epoch{}.npz'     # endings of checkpoints
COLUMNS = 'epoch', 'cost', 'valid_cost', 'lrate', 'characters_per_second'      # of EPOCHS, for the fields of an Epoch
ID = '# id {}\n'                      # of a log; each log that begins gets a new one
ANY_ID = '0' * 16                     # of the length of an id
SAMPLE = '# epoch {}:\n'
SAMPLE_LENGTH = 200
LONGEST_SAMPLE = 6 * SAMPLE_LENGTH    # characters: a log has an escape of 6 for one that UTF-8 cannot encode
PASSAGE_HEADING = ('# the beginning of the {} text: {}\n'
                   '# epoch, and the cost of each of these characters but the first, in nats\n')
LONGEST_HEADING = 10_000              # characters: each of a passage may be escaped
LARGEST = 100_000_000                 # bytes of a log that is read for a page


def with_all_digits(number):
    """Return a number as text: with as few digits as tell it from other numbers of its type, be that float32 or not."""
    return str(np.float32(number) if isinstance(number, float) and float(np.float32(number)) == number else number)


# ---------------------------------------------------------------- writing

class Logs:
    """The logs of a run. Of several processes only the first opens them, so that the others write nothing.

    steps, epochs: what was logged, rows (epoch, training cost), and rows of COLUMNS.
    """

    def __init__(self, path, names=NAMES, passage=('validation', ''), original=False):
        """Take a function from an ending to a path, the names of the model's parameters, and the passage of its text.

        original: whether the log of the steps is as the program of 2016 wrote it, without a heading.
        """
        self._path, self._original = path, original
        self._files = {}                       # open, by ending
        self._ids = {ending: secrets.token_hex(8) for ending in LOGS}
        of_text, text = passage
        self._headings = {
            STEPS: '# epoch cost valid_cost ' + ' '.join('ratio_' + name for name in names) + '\n',
            EPOCHS: f'# {" ".join(COLUMNS)}\n', SAMPLES: '', PASSAGE: PASSAGE_HEADING.format(of_text, json.dumps(text))}
        self.steps, self.epochs = [], []
        self._kept = {}                        # rows of STEPS and EPOCHS that sizes_of found, by ending

    def _heading(self, ending, log_id):
        """Return the first lines of a log with that id, bytes."""
        if ending == STEPS and self._original:
            return b''
        return (self._headings[ending] + ID.format(log_id)).encode()

    def lacks_rows(self, path):
        """Return whether a file is a log with at most a heading, as a run leaves that was killed when it began."""
        for ending in LOGS:
            if path == self._path(ending):
                heading = self._heading(ending, ANY_ID)
                with named('read', path), open(path, 'rb') as log:
                    found = log.read(len(heading) + 1)
                return not found or re.sub(rb'[0-9a-f]{16}\n$', ANY_ID.encode() + b'\n', found) == heading
        return False

    def sizes_of(self, stored):
        """Return the sizes of the logs that are those of a checkpoint, by ending. stored: what stored() returned then.

        They keep their ids. Each has the id that the checkpoint knows, a row that ends at that size and, where it is
        read, only rows.
        """
        sizes = {ending: log['size'] for ending, log in stored.items() if self._is_ours(ending, **log)}
        if self._original and not {STEPS, EPOCHS} <= set(sizes):
            for ending in (STEPS, EPOCHS):                 # they have one id
                sizes.pop(ending, None)
        self._ids.update({ending: stored[ending]['id'] for ending in sizes})
        return sizes

    def _is_ours(self, ending, id, size):
        path = self._path(ending)
        if not os.path.exists(path):
            return False
        with named('read', path), open(path, 'rb') as log:
            known = log.read(min(size, os.fstat(log.fileno()).st_size))        # size: untrusted
        complete = len(known) == size and known[-1:] in (b'', b'\n')           # a power cut may leave zeros
        if not (complete and known.startswith(self._heading(ending, id))):
            return False
        return ending not in (STEPS, EPOCHS) or self._keep_rows(ending, known)

    def _keep_rows(self, ending, known):
        """Keep the rows of STEPS or EPOCHS for open(). Return whether these bytes are only rows as of this run."""
        try:
            found = rows(io.TextIOWrapper(io.BytesIO(known), 'utf-8'))
        except ValueError:
            return False
        self._kept[ending] = found[:, :2 if ending == STEPS else len(COLUMNS)].tolist()
        return not len(found) or found.shape[1] == len(self._headings[ending].split()) - 1         # without the #

    def refuse_locked(self):
        """Raise ValueError if another process has the run."""
        if os.path.exists(self._path(STEPS)):
            with contextlib.suppress(PermissionError), open_to_append(self._path(STEPS)) as log:
                lock(log)

    def lock(self):
        """Open the log of the steps, so that no other process can have the run. Raise ValueError if another has it."""
        self._files[STEPS] = open_to_append(self._path(STEPS))
        lock(self._files[STEPS])

    def open(self, sizes):
        """Open the other logs. Cut all to sizes in bytes by ending, those of sizes_of, or begin them anew."""
        self._files.update({ending: open_to_append(self._path(ending)) for ending in LOGS if ending != STEPS})
        for ending, log in self._files.items():
            size = min(sizes.get(ending, 0), os.fstat(log.fileno()).st_size)
            with named('write', self._path(ending)):
                log.truncate(size)
            if not size:
                append(log, self._heading(ending, self._ids[ending]).decode())
        self.steps, self.epochs = [self._kept[ending] if ending in sizes else [] for ending in (STEPS, EPOCHS)]

    def close(self):
        for log in self._files.values():
            log.close()

    def stored(self):
        """Return what a checkpoint keeps of the logs."""
        return {ending: dict(id=self._ids[ending], size=os.fstat(log.fileno()).st_size)
                for ending, log in self._files.items()}

    def _write(self, ending, text):
        if ending in self._files:
            append(self._files[ending], text)

    def _row(self, ending, numbers):
        self._write(ending, ' '.join(f'{float(number):.6g}' for number in numbers) + '\n')

    def step(self, epoch, cost, valid_cost, ratios):
        """Log a training step. epoch: how many were read; ratios: of the update of each parameter."""
        self.steps.append((epoch, float(cost)))
        numbers = [epoch, cost, valid_cost, *ratios]
        if self._original:
            self._write(STEPS, ' '.join(map(with_all_digits, numbers)) + '\n')
        else:
            self._row(STEPS, numbers)

    def epoch(self, epoch):
        """Log an Epoch."""
        self.epochs.append(epoch)
        self._row(EPOCHS, epoch)

    def sample(self, epoch, text, costs):
        """Log what the model writes after an epoch, and the costs of the passage."""
        self._write(SAMPLES, f'{SAMPLE.format(epoch)}{text}\n\n')
        self._row(PASSAGE, [epoch, *costs])


# ---------------------------------------------------------------- reading

def path_beside(checkpoint, ending):
    """Return the path of the log with that ending beside a run's checkpoint, a path or an open one."""
    endings = [re.escape(BEST), re.escape(INTERRUPTED), re.escape(EPOCH).replace(r'\{\}', r'\d+'), '[.]npz']
    return re.sub(f'({"|".join(endings)})$', '', str(checkpoint)) + ending


def rows(log):
    """Return the rows of a log, (n, columns); none if it has only a heading. log: a path, or an open text.

    Raise ValueError if it is no log.
    """
    with named('read', log), warnings.catch_warnings():
        warnings.simplefilter('ignore')                    # of a log without rows yet
        found = np.loadtxt(log, ndmin=2, encoding='utf-8')
    return found if found.size else np.zeros((0, len(COLUMNS)))


def _check_size(path):
    if os.path.getsize(path) > LARGEST:
        raise ValueError(f'it has more than {LARGEST:,} bytes')


def read_samples(path):
    """Return what a model wrote, by epoch, the last text of each.

    Raise OSError or ValueError if the file is no such log.
    """
    _check_size(path)
    with named('read', path), open(path, encoding='utf-8', newline='') as f:
        heading = f.readline()
        before, *parts = re.split('(?:^|(?<=\n\n))' + SAMPLE.format('([0-9]{1,9})'), f.read())
    samples = {int(epoch): text.rstrip('\n') for epoch, text in zip(parts[::2], parts[1::2])}
    complete = re.fullmatch(ID.format(r'\w+'), heading) and not before
    if not complete or any(len(text) > LONGEST_SAMPLE for text in samples.values()):
        raise ValueError('it has something other than samples')
    return samples


def read_passage(path):
    """Return the name of the text that a passage is from, the passage, and the costs by epoch, the last of each.

    Costs are float (n-1,), in nats, for a passage of n characters. Raise OSError or ValueError if the file is no such
    log.
    """
    _check_size(path)
    with named('read', path), open(path, encoding='utf-8') as f:
        heading = ''.join(f.readline(LONGEST_HEADING) for _ in range(2))
    found = re.fullmatch(re.escape(PASSAGE_HEADING).replace(r'\{\}', '(.*)'), heading)
    passage, costs = json.loads(found.group(2)) if found else None, rows(path)
    if not isinstance(passage, str) or len(costs) and costs.shape[1] != max(2, len(passage)):
        raise ValueError('its heading is not that of its costs')
    if not (np.isfinite(costs).all() and (costs[:, :1] == np.rint(costs[:, :1])).all()):
        raise ValueError('it has costs that are no numbers')
    return found.group(1), passage, {int(row[0]): row[1:] for row in costs}
