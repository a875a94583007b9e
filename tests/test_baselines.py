"""What simple models would cost on a text, which a run prints and draws."""
import bz2
import math
from collections import Counter

import pytest

from engine.model.batches import Text
from engine.parallel import SingleProcess
from engine.run import baselines
from scripts import TEXT


@pytest.mark.parametrize('valid, longest', [('a new — sentence, of ñ. ' * 9, 10 ** 7), (None, 10 ** 7), (None, 700)])
def test_costs_of_simple_models(text_file, monkeypatch, valid, longest):
    """In several pieces; the validation text has characters that the training text lacks."""
    monkeypatch.setattr(baselines, 'PIECE', 101)
    monkeypatch.setattr(baselines, 'COMPRESSED', longest)
    part, path = valid or TEXT, valid and text_file(valid, name='valid.txt')
    text = Text(text_file(TEXT), 0.0, 6, 11, 'utf-8', True, SingleProcess(), path)
    V, counts = len({*TEXT, *part}), Counter(TEXT)
    assert baselines.baselines(text) == pytest.approx({
        'guessing': -math.log(1 / V),
        'letter frequencies': sum(-math.log((counts[ch] + 1) / (len(TEXT) + V)) for ch in part) / len(part),
        'bzip2': math.log(256) * len(bz2.compress(part[:longest].encode())) / len(part[:longest])}, rel=1e-9)
