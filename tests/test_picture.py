"""The picture of a run's costs: any title, any costs. The tests read the drawing back from the PNG."""
import os
import warnings
from types import SimpleNamespace

import pytest
from matplotlib.image import imread

from engine.run.logs import COLUMNS, draw_costs

nan, inf = float('nan'), float('inf')
STEPS = [(i / 100, 3 - i / 200) for i in range(1, 201)]
EPOCHS = [(1, 2.7, 2.6, 0.01, 999), (2, 2.2, nan, 0.01, 999)]


@pytest.fixture
def draw(tmp_path):
    """Return a function that draws, with warnings as errors, and returns the image in grey, from 0 black to 1 white."""
    def draw(title='r_t.txt', steps=STEPS, epochs=EPOCHS, baselines={}):
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            draw_costs(tmp_path / 'p.png', title, SimpleNamespace(
                steps=steps, epochs=[dict(zip(COLUMNS, row)) for row in epochs]), baselines)
        assert os.listdir(tmp_path) == ['p.png']
        return imread(str(tmp_path / 'p.png'))[:, :, :3].mean(axis=2)
    return draw


@pytest.mark.parametrize('title, steps, epochs', [
    ('H$', [], []), ('$H^$', [(0.1, nan)], [(1, nan, nan, 1, 9)]), ('', [(0, 2)], [(1, 2, nan, 1, 9)]),
    (r'$\frac$', [(0.5, nan), (1, 2)], [(1, 2, 2.1, 1, 9)]), ('H\0\n', STEPS * 7, []), ('H\udce9', STEPS, EPOCHS),
    ('H\U00012000', [(0, 1), (1, inf)], [(1, inf, nan, 1, 9), (2, 1, 3, 1, 9)])])
def test_any_costs_are_drawn_with_any_title(draw, title, steps, epochs):
    assert (draw(title, steps, epochs, {'letter frequencies': 2.5}) < 0.5).any()


def test_baselines_are_lines_if_they_are_near_the_curves(draw):
    """Costs fall from 3 to 2. A line goes from edge to edge, and one far off does not squash the curves."""
    without, lines = draw(), lambda image: ((image < 0.85).mean(axis=1) > 0.8).sum()       # rows of dark pixels
    for name, cost in (('letter frequencies', 2.5), ('guessing', 3.4)):
        assert lines(draw(baselines={name: cost})) > lines(without) == 2                   # the frame's
    assert (draw(baselines={'guessing': 3.8, 'letter frequencies': 1.2}) == without).all()
