"""The picture of a run's costs."""
import logging
import warnings

import numpy as np

from engine.model.files import write_whole
from engine.terminal import printable


def draw_costs(path, title, steps, epochs):
    """Draw costs in nats a character against epochs, as a PNG.

    steps: rows (epoch, training cost); epochs: rows (epoch, mean training cost, validation cost or nan).
    """
    logging.getLogger('matplotlib').setLevel(logging.ERROR)      # it logs about its font cache
    from matplotlib.figure import Figure                         # pyplot would look for a backend
    width = max(1, len(steps) // 1000)                           # steps averaged to a point, so that lines show
    steps = np.array(steps[:len(steps) // width * width], float).reshape(-1, width, 2).mean(axis=1)
    epochs = np.array(epochs, float).reshape(-1, 3)
    figure = Figure(figsize=(8, 5))
    axes = figure.subplots()
    axes.plot(steps[:, 0], steps[:, 1], color='#9ecae1', linewidth=1, label='training, a batch')
    axes.plot(epochs[:, 0] - 0.5, epochs[:, 1], color='#08519c', marker='o', markersize=4,
              label='training, mean of an epoch, at its middle')
    if np.isfinite(epochs[:, 2]).any():
        axes.plot(epochs[:, 0], epochs[:, 2], color='#d94801', marker='o', markersize=4,
                  label='validation, all batches')
    axes.set(xlabel='epoch', ylabel='cost, nats per character', xlim=(0, None))
    axes.set_title(printable(title).replace('$', r'\$'))         # a bare $ begins a formula
    axes.grid(alpha=0.3)
    axes.legend()
    with warnings.catch_warnings(), write_whole(path) as f:
        warnings.filterwarnings('ignore', 'Glyph')               # of a character that the font lacks, drawn as a box
        figure.savefig(f, format='png', dpi=110, bbox_inches='tight')
