"""The picture of a run's costs."""
import importlib.util
import logging

import numpy as np

from engine.files import write_whole


def check_matplotlib():
    """Raise ImportError where there is nothing to draw with: before the first epoch, not after it."""
    if importlib.util.find_spec('matplotlib') is None:
        raise ImportError('No module named matplotlib')


def draw_costs(path, title, steps, epochs):
    """Draw costs in nats a character against epochs, as a PNG.

    steps: rows (epoch, training cost); epochs: rows (epoch, mean training cost,
    validation cost or nan). Raises OSError when it cannot be written.
    """
    logging.getLogger('matplotlib').setLevel(logging.ERROR)      # it speaks of its font cache
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    figure, axes = plt.subplots(figsize=(8, 5))
    width = max(1, len(steps) // 1000)                           # steps averaged to a point, so that lines show
    steps = np.array(steps[:len(steps) // width * width]).reshape(-1, width, 2).mean(axis=1)
    epochs = np.array(epochs)
    axes.plot(steps[:, 0], steps[:, 1], color='#9ecae1', linewidth=1, label='training, a batch')
    axes.plot(epochs[:, 0] - 0.5, epochs[:, 1], color='#08519c', marker='o', markersize=4,
              label='training, mean of an epoch, at its middle')
    if np.isfinite(epochs[:, 2]).any():
        axes.plot(epochs[:, 0], epochs[:, 2], color='#d94801', marker='o', markersize=4,
                  label='validation, all batches')
    axes.set(xlabel='epoch', ylabel='cost, nats per character', title=title, xlim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    with write_whole(path) as f:
        figure.savefig(f, format='png', dpi=110, bbox_inches='tight')
    plt.close(figure)
