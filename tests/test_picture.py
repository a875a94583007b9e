"""The picture of a run's costs: any title, any costs, any settings of matplotlib's user.

What is drawn is read back from the PNG.
"""
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from matplotlib.image import imread

from engine.run.picture import draw_costs, legible
from scripts import ROOT

nan, inf = float('nan'), float('inf')
STEPS = [(i / 100, 3 - i / 200) for i in range(1, 201)]
EPOCHS = [(1, 2.7, 2.6), (2, 2.2, nan)]


@pytest.fixture
def draw(tmp_path):
    """Draw, with each warning an error, and return the image as an array of grey, 0 black to 1 white."""
    def draw(title='r_t.txt', steps=STEPS, epochs=EPOCHS):
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            draw_costs(tmp_path / 'p.png', title, steps, epochs)
        assert os.listdir(tmp_path) == ['p.png']
        return imread(str(tmp_path / 'p.png'))[:, :, :3].mean(axis=2)
    return draw


def title_ink(image):
    """Return the part above the frame, as bool: where there is ink."""
    ink = image < 0.5
    top = np.flatnonzero(ink.sum(axis=1) > 500)[-2]               # of the rows with so much ink the last is its bottom
    return ink[:top - 2]


def glyphs(image):
    """Return how many pieces, with white between them, the title has from left to right."""
    columns = title_ink(image).any(axis=0)
    return np.count_nonzero(np.diff(np.concatenate([[0], columns])) == 1)


# ---------------------------------------------------------------- what a title says

@pytest.mark.parametrize('title, shown', [
    ('café — naïve $x^$ \\', 'café — naïve $x^$ \\'), ('a\x1b[31m\0\n\t\x7f', r'a\x1b[31m\x00\n\t\x7f'),
    (os.fsdecode(b'caf\xe9.txt'), r'caf\udce9.txt'), ('a\u202eb\u2028\ufeff', r'a\u202eb\u2028\ufeff'),
    ('r_שלום\n.txt', r'r_שלום\n.txt'), ('I' * 99, 'I' * 40 + ' ... ' + 'I' * 40)])
def test_title_shows_every_character(title, shown):
    assert legible(title) == shown


def test_title_of_a_decomposed_file_name_is_composed(draw):
    assert np.array_equal(draw('cafe\u0301'), draw('caf\xe9'))


# ---------------------------------------------------------------- what is drawn

@pytest.mark.parametrize('title, pieces', [
    ('H', 1), ('H$', 2), ('$H^$', 4), (r'$\frac$', 7), (r'H\\$H$\$', 8), ('H\0', 5), ('H\udce9', 7), ('', 0),
    ('H\U00012000', 2), ('I' * 200 + 'H' * 55, 83)])
def test_title_is_drawn_as_it_is(draw, title, pieces):
    """Each of these characters is a piece: no formula, no second line. Some touch. The two ends of a long one fit."""
    image = draw(title)
    assert pieces - title.count('r') - title.count('f') <= glyphs(image) <= pieces
    assert not title_ink(image)[:, [0, -1]].any()


@pytest.mark.parametrize('steps, epochs', [
    ([], []), ([(0.1, nan)], [(1, nan, nan)]), ([(0, 2)], [(1, 2, nan)]), ([(0.5, nan), (1, 2)], [(1, 2, 2.1)]),
    ([(0, 1), (1, inf)], [(1, inf, nan), (2, 1, 3)]), (STEPS * 7, [])])
def test_all_costs_are_drawn(draw, steps, epochs):
    assert glyphs(draw('H', steps, epochs)) == 1


def test_lines_are_drawn(draw):
    """Each of the three has its ink: the picture without one has less."""
    whole, no_steps = draw(), draw(steps=[])
    no_validation = draw(epochs=[(epoch, cost, nan) for epoch, cost, _ in EPOCHS])
    assert (whole < 0.9).sum() > max((no_steps < 0.9).sum(), (no_validation < 0.9).sum())


# ---------------------------------------------------------------- settings of matplotlib's user

DRAW = f'''
import sys
sys.path.insert(0, sys.argv[1])
from engine.run.picture import draw_costs
draw_costs('p.png', 'a_%$.txt', {STEPS}, [(1, 2, 3)])
'''


def test_settings_do_not_matter(tmp_path, draw):
    drawn, folder = draw('a_%$.txt', epochs=[(1, 2, 3)]), tmp_path / 'other'
    folder.mkdir()
    (folder / 'matplotlibrc').write_text('text.usetex: True\nbackend: garbage\nfont.family: nothing\nwhat')
    env = {**os.environ, 'MPLCONFIGDIR': str(folder), 'MPLBACKEND': 'tkagg', 'DISPLAY': ''}
    result = subprocess.run([sys.executable, '-W', 'error', '-c', DRAW, str(ROOT)], cwd=str(folder), env=env,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, '', '')
    assert np.array_equal(imread(str(folder / 'p.png'))[:, :, :3].mean(axis=2), drawn)


# ---------------------------------------------------------------- what cannot be written

def test_picture_that_cannot_be_written_is_one_error(tmp_path, draw, refused):
    with refused(FileNotFoundError, 'cannot write', tmp_path / 'none' / 'p.png'):
        draw_costs(tmp_path / 'none' / 'p.png', 't', STEPS, EPOCHS)
    (tmp_path / 'folder').mkdir()
    with refused(OSError, 'cannot write', tmp_path / 'folder'):
        draw_costs(tmp_path / 'folder', 't', STEPS, EPOCHS)
    assert os.listdir(tmp_path) == ['folder']
