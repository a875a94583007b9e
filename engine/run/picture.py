"""The picture of a run's costs."""
import logging
import warnings

import numpy as np

from engine.model.files import write_whole
from engine.run.logs import COLUMNS
from engine.terminal import printable


def draw_costs(path, title, steps, epochs):
    """Draw costs in nats a character against epochs, as a PNG. steps, epochs: rows as in Logs."""
    logging.getLogger('matplotlib').setLevel(logging.ERROR)      # it logs about its font cache
    from matplotlib.figure import Figure                         # pyplot would look for a backend
    width = max(1, len(steps) // 1000)                           # steps averaged to a point, so that lines show
    at, of_steps = np.array(steps[:len(steps) // width * width], float).reshape(-1, width, 2).mean(axis=1).T
    epoch, cost, valid_cost, *_ = np.array(epochs, float).reshape(-1, len(COLUMNS)).T
    figure = Figure(figsize=(8, 5))
    axes = figure.subplots()
    axes.plot(at, of_steps, color='#9ecae1', linewidth=1, label='training, a batch')
    dots = dict(marker='o', markersize=4)
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
