"""tests/benchmarks/quality.py: texts are cut as published, and costs are per published symbol."""
import json
import os
import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from models import prepared, set_parameters
from scripts import ROOT

sys.path.append(str(ROOT / 'tests' / 'benchmarks'))        # at the end, since some modules there have the same names

import common  # noqa: E402
import minutes  # noqa: E402
import numpy_model  # noqa: E402
import quality  # noqa: E402
from quality import SPLITS, pieces  # noqa: E402


def made_up(n, alphabet, seed=1):
    """Return a random text of n characters."""
    return ''.join(random.Random(seed).choices(alphabet, k=n))


def test_published_text_has_the_published_parts():
    split = SPLITS['shakespeare']
    assert [len(piece) for piece in pieces(range(split.lengths[0]), split.cuts)] == [1_003_854, 111_540]   # nanoGPT's


@pytest.fixture
def results(tmp_path, monkeypatch, capsys):
    """Results of two runs on a made-up text, with their seeds as the test costs. Return the text and the folder."""
    text, started = made_up(3217, 'abcdé\n') + '.\n', []
    (tmp_path / 'text').write_text(text, encoding='utf-8')

    def train(words, **settings):
        started.append(words)
        options = dict(zip(words, words[1:]))
        seed = int(options['--random-seed'])
        result = dict(finished=True, parameters=123_456, epochs=6 + seed, option_epochs=40, units='256 256',
                      option_seq_length=int(options['--seq-length']), test_nats=seed, test_adapted_nats=seed - 0.5)
        path = tmp_path / 'results' / f'{words[3]}_{os.path.basename(words[2])}_result.json'
        path.write_text(json.dumps(result))
        return SimpleNamespace(wait=lambda: 0)

    monkeypatch.setattr(common.subprocess, 'Popen', train)
    monkeypatch.setattr(quality, 'cost_of_charlstm', lambda path, text: 2 * int(path.name[20]))   # its seed
    options = quality.build_parser().parse_args(['published', 'warandpeace', str(tmp_path / 'text'), '--results', str(
        tmp_path / 'results'), '--units', '256', '--seeds', '2', '--options', '--seq-length 71'])
    quality.published(options)
    quality.published(options)
    first, second = started                                # finished runs are not started again
    assert first[first.index('--valid') + 1] == str(tmp_path / 'results' / 'warandpeace-valid.txt')
    return text, tmp_path / 'results'


def test_costs_are_those_of_the_published_symbols(results, capsys):
    text, folder = results
    parts = [(folder / f'warandpeace-{part}.txt').read_bytes().decode('utf-8') for part in ('train', 'valid', 'test')]
    assert ''.join(parts) == text
    first, second, last = np.cumsum([len(part.replace('\n', '\r\n').encode()) for part in parts])
    for percent, end in ((80, first), (90, second)):       # the text begins with a mark of 3 bytes, and ends in LF
        assert 0 <= (3 + last - 1) * percent // 100 - (3 + end) < 2
    scales = []
    for part, ends_in_lf in ((parts[1], 0), (parts[2], 1)):
        symbols = sum(2 if character in 'é\n' else 1 for character in part) - ends_in_lf
        scales.append((len(part) - 1) / (symbols - 1))
    for seed in (1, 2):
        found = json.loads((folder / f'warandpeace-256-seed{seed}.json').read_text())
        assert found['published_nats'] == pytest.approx(seed * scales[1])
        assert found['published_adapted_nats'] == pytest.approx((seed - 0.5) * scales[1])
        assert found['published_valid_in_pieces_nats'] == pytest.approx(2 * seed * scales[0])
    row = [f'{cost * scales[1]:.3f}' for cost in (1.5, 1, 1, 2)]
    expected = '| CharLSTM 2x256, sequences of 71 | 0.12 M | {}; adapted {} | mean of {}, {} |'.format(*row)
    assert capsys.readouterr().out.splitlines()[-1] == expected


def test_rows_of_the_readme_are_those_of_the_result_files(results, capsys):
    quality.compare(quality.build_parser().parse_args(['table']))
    capsys.readouterr()
    with pytest.raises(ValueError, match='has no results for this row of README.md: [|] CharLSTM'):
        quality.compare(SimpleNamespace(results=results[1]))


def test_cost_in_pieces_is_that_of_numpy(tmp_path):
    """Each piece of 13 characters is predicted from zero states. A shorter last piece is not scored."""
    p, text = numpy_model.lively_parameters(3, 11, 7, 4), made_up(13 * 35 + 8, numpy_model.LETTERS)    # crosses 32 rows
    (tmp_path / 't.txt').write_text(text)
    model = prepared(tmp_path / 't.txt')
    model.model_setup(num_units1=7, num_units2=4)
    set_parameters(model, p)
    model.save_params(tmp_path / 'a.npz')
    numbers = np.array([numpy_model.LETTERS.index(character) for character in text])
    x, y = [numbers[start:start + 13 * 35].reshape(35, 13).T for start in (0, 1)]
    expected = numpy_model.costs(numpy_model.forward(p, x)[0], y).mean()
    assert minutes.cost_of_charlstm(tmp_path / 'a.npz', text, 13) == pytest.approx(expected, rel=1e-5)
