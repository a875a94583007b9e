"""What a page shows of the logs beside the checkpoint of a run."""
import os

import numpy as np

from engine.run import logs
from engine.terminal import warn

MOST_EPOCHS = 100              # that a page shows samples and costs of


def logged_costs(checkpoint):
    """Return rows [epoch, mean training cost, validation cost or None] of the log beside a run's checkpoint, or []."""
    path = logs.path_beside(checkpoint, logs.EPOCHS)
    if not os.path.isfile(path):
        return []
    try:
        rows = logs.rows(path).reshape(-1, len(logs.COLUMNS))[:, :3]
    except (OSError, ValueError):
        warn(f'{path} is no log of costs, so the page has no picture of them')
        return []
    return [[cost if np.isfinite(cost) else None for cost in row] for row in rows.tolist()]


def evenly(items, most):
    """Return at most that many of a list of items, evenly chosen, with the first and the last."""
    places = np.linspace(0, len(items) - 1, min(most, len(items)))
    return [items[int(place)] for place in np.rint(places)]


def learning(checkpoint, rows):
    """Return what the logs beside a run's checkpoint show of its learning, a dict; None if one is missing or damaged.

    rows: those of logged_costs. The dict has which text the passage is from, the passage as a list of characters, the
    epochs, at most MOST_EPOCHS, the costs (epochs, n-1) and the samples of these, and how many epochs were logged.
    """
    paths = [logs.path_beside(checkpoint, ending) for ending in (logs.SAMPLES, logs.PASSAGE)]
    if not all(map(os.path.isfile, paths)):
        return None
    found = []
    for read, path in zip((logs.read_samples, logs.read_passage), paths):
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
