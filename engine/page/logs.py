"""What a page shows of the logs beside the checkpoint of a run. Logs are untrusted input."""
import json
import os
import re

import numpy as np

from engine.files import named
from engine.run.run import EPOCHS, ID, PASSAGE, PASSAGE_HEADING, SAMPLE, SAMPLE_LENGTH, SAMPLES, Run, log_rows
from engine.terminal import warn

MOST_EPOCHS = 100              # that a page shows samples and costs of
LARGEST = 100_000_000          # bytes of a log that is read for a page
LONGEST_HEADING = 10_000       # characters: each of a passage may be escaped
LONGEST_SAMPLE = 6 * SAMPLE_LENGTH     # characters: a log has an escape of 6 for one that UTF-8 cannot encode


def path_beside(checkpoint, ending):
    """Return the path of the log with that ending beside a run's checkpoint, a path or an open one."""
    endings = [re.escape(Run.BEST), re.escape(Run.INTERRUPTED), re.escape(Run.EPOCH).replace(r'\{\}', r'\d+')]
    return re.sub(f'({"|".join(endings)}|[.]npz)$', '', str(checkpoint)) + ending


def logged_costs(checkpoint):
    """Return rows [epoch, mean training cost, validation cost or None] of the log beside a run's checkpoint, or []."""
    path = path_beside(checkpoint, EPOCHS)
    if not os.path.isfile(path):
        return []
    try:
        rows = log_rows(path).reshape(-1, 5)[:, :3]
    except ValueError:
        warn(f'{path} is no log of costs, so the page has no picture of them')
        return []
    return [[cost if np.isfinite(cost) else None for cost in row] for row in rows.tolist()]


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
    whole = re.fullmatch(ID.format(r'\w+'), heading) and not before
    if not whole or any(len(text) > LONGEST_SAMPLE for text in samples.values()):
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
    passage = json.loads(found.group(2)) if found else None
    rows = log_rows(path)
    if not isinstance(passage, str) or rows.size and rows.shape[1] != max(2, len(passage)):
        raise ValueError('its heading is not that of its costs')
    if not (np.isfinite(rows).all() and (rows[:, :1] == np.rint(rows[:, :1])).all()):
        raise ValueError('it has costs that are no numbers')
    return found.group(1), passage, {int(row[0]): row[1:] for row in rows}


def evenly(items, most):
    """Return at most that many of a list of items, evenly chosen, with the first and the last."""
    places = np.linspace(0, len(items) - 1, min(most, len(items)))
    return [items[int(place)] for place in np.rint(places)]


def learning(checkpoint, rows):
    """Return what the logs beside a run's checkpoint show of its learning, a dict; None if one is missing or damaged.

    rows: those of logged_costs. The dict has which text the passage is from, the passage as a list of characters, the
    epochs, at most MOST_EPOCHS, the costs (epochs, n-1) and the samples of these, and how many epochs were logged.
    """
    paths = [path_beside(checkpoint, ending) for ending in (SAMPLES, PASSAGE)]
    if not all(map(os.path.isfile, paths)):
        return None
    found = []
    for read, path in zip((read_samples, read_passage), paths):
        try:
            found.append(read(path))
        except (OSError, ValueError) as error:
            warn(f'{path} is not as a run writes it ({" ".join(str(error).split())[:100]}), so the page does not show '
                 'how the model learned')
            return None
    samples, (of_text, passage, costs) = found
    logged = sorted({epoch for epoch, *_ in rows} & set(samples) & set(costs))
    epochs = evenly([int(epoch) for epoch in logged], MOST_EPOCHS)
    if not epochs:
        return None
    return dict(text=of_text, passage=list(passage), epochs=epochs, logged=len(logged),
                costs=np.stack([costs[epoch] for epoch in epochs]), samples=[samples[epoch] for epoch in epochs])
