"""The picture of a run's costs."""
import logging
import unicodedata
import warnings

import numpy as np

from engine.model.files import write_whole

LONGEST = 80               # characters of a title; more would be wider than the picture


def legible(title):
    """Return a title with escapes for what cannot be printed, and without its middle if it is long."""
    shown = ''.join(character if character.isprintable() else character.encode('unicode_escape').decode()
                    for character in title)
    return f'{shown[:LONGEST // 2]} ... {shown[-LONGEST // 2:]}' if len(shown) > LONGEST else shown


def plot(axes, steps, epochs):
    """Draw the lines of draw_costs()."""
    width = max(1, len(steps) // 1000)                           # steps averaged to a point, so that lines show
    steps = np.array(steps[:len(steps) // width * width], float).reshape(-1, width, 2).mean(axis=1)
    epochs = np.array(epochs, float).reshape(-1, 3)
    axes.plot(steps[:, 0], steps[:, 1], color='#9ecae1', linewidth=1, label='training, a batch')
    axes.plot(epochs[:, 0] - 0.5, epochs[:, 1], color='#08519c', marker='o', markersize=4,
              label='training, mean of an epoch, at its middle')
    if np.isfinite(epochs[:, 2]).any():
        axes.plot(epochs[:, 0], epochs[:, 2], color='#d94801', marker='o', markersize=4,
                  label='validation, all batches')
    axes.set(xlabel='epoch', ylabel='cost, nats per character', xlim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()


def draw_costs(path, title, steps, epochs):
    """Draw costs in nats a character against epochs, as a PNG.

    steps: rows (epoch, training cost); epochs: rows (epoch, mean training cost,
    validation cost or nan). Raise OSError when it cannot be written, ValueError without matplotlib.
    """
    logging.getLogger('matplotlib').setLevel(logging.ERROR)      # it logs about its font cache
    try:
        import matplotlib
        from matplotlib.figure import Figure                     # pyplot would look for a backend
    except ModuleNotFoundError:
        raise ValueError('matplotlib is not installed') from None
    title = unicodedata.normalize('NFC', title)                  # Apple's file systems take accents apart
    defaults = {name: value for name, value in matplotlib.rcParamsDefault.items() if name != 'backend'}
    with matplotlib.rc_context(defaults), warnings.catch_warnings():             # a user's settings may ask for LaTeX
        warnings.filterwarnings('ignore', 'Glyph')               # of a character that the font lacks, drawn as a box
        figure = Figure(figsize=(8, 5))
        axes = figure.subplots()
        plot(axes, steps, epochs)
        axes.set_title(legible(title).replace('$', r'\$'))       # a bare $ begins a formula
        with write_whole(path) as f:
            figure.savefig(f, format='png', dpi=110, bbox_inches='tight')
