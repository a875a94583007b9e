"""tests/benchmarks/quality.py: texts are cut as published, and costs are per published symbol."""
import json
import math
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
from quality import SPLITS, cut, pieces  # noqa: E402


def made_up(n, alphabet, seed=1):
    """Return a random text of n characters."""
    return ''.join(random.Random(seed).choices(alphabet, k=n))


def test_published_text_has_the_published_parts():
    split = SPLITS['shakespeare']
    assert [len(piece) for piece in pieces(range(split.lengths[0]), split.cuts)] == [1_003_854, 111_540]   # nanoGPT's


@pytest.mark.parametrize('seed', range(5))
def test_bytes_are_cut_between_characters(tmp_path, capsys, seed):
    """Count the bytes of each prefix of the text one by one, with CRLF and a byte order mark."""
    text = made_up(331, 'a\n\né€𝄞', seed) + 'z\n'
    ends = [3]                                             # of each prefix; a byte order mark has 3 bytes
    for character in text:
        ends.append(ends[-1] + (2 if character == '\n' else len(character.encode('utf-8'))))
    ends[-1] -= 1                                          # the last line ends in LF
    first, second = [max(k for k, end in enumerate(ends) if end <= ends[-1] * percent // 100) for percent in (80, 90)]
    for name, content in (('lf', text.encode('utf-8')),
                          ('crlf', text.replace('\n', '\r\n').encode('utf-8-sig')),
                          ('none', text.rstrip('\n').encode('utf-8'))):
        (tmp_path / name).write_bytes(content)
        parts = cut(SPLITS['warandpeace'], [tmp_path / name])
        assert [part.text for part in parts] == [text[:first], text[first:second], text[second:]]
        assert [part.symbols for part in parts] == [ends[first], ends[second] - ends[first], ends[-1] - ends[second]]
        assert f'warpeace_input.txt has {ends[-1]} symbols, expected 3,258,246' in capsys.readouterr().out


def test_penn_treebank_by_characters_and_by_words_is_the_same_text(tmp_path):
    lines = [['the', '<unk>', "n't", 'N'], ['a'], ['mr.', 'b']]
    by_words = ''.join(' ' + ' '.join(words) + ' \n' for words in lines)
    by_characters = ''.join(symbol + ' ' for words in lines for symbol in [*'_'.join(words), '\n'])
    texts = set()
    for name, content in (('words', by_words), ('characters', by_characters)):
        (tmp_path / name).write_text(content)
        texts.update(part.text for part in cut(SPLITS['penn'], [tmp_path / name] * 3))
    assert texts == {"the <unk> n't N\na\nmr. b\n"}


def test_costs_are_those_of_the_published_symbols(tmp_path, capsys, monkeypatch):
    """Runs only write a result, with their seed as the test cost. Finished runs are not started again."""
    text, started = made_up(3217, 'abcdé\n') + '.\n', []
    (tmp_path / 'text').write_text(text, encoding='utf-8')

    def train(words, **settings):
        started.append(words)
        options = dict(zip(words, words[1:]))
        result = dict(finished=True, parameters=123_456, best_epoch=2, epochs=7)
        for name, more in (('valid', 0.25), ('test', 0), ('test_adapted', -0.5)):
            result[f'{name}_nats'] = int(options['--random-seed']) + more
        path = tmp_path / 'results' / f'{words[3]}_{os.path.basename(words[2])}_result.json'
        path.write_text(json.dumps(result))
        return SimpleNamespace(wait=lambda: 0)

    monkeypatch.setattr(common.subprocess, 'Popen', train)
    monkeypatch.setattr(quality, 'cost_of_charlstm', lambda path, text: 2 * int(path.name[20]))   # its seed
    options = quality.build_parser().parse_args(['published', 'warandpeace', str(tmp_path / 'text'), '--results', str(
        tmp_path / 'results'), '--units', '256', '--seeds', '2'])
    quality.published(options)
    rows = [[cell.strip() for cell in line.split('|')] for line in capsys.readouterr().out.splitlines()]
    names = [tmp_path / 'results' / f'warandpeace-{part}.txt' for part in ('train', 'valid', 'test')]
    parts = [name.read_bytes().decode('utf-8') for name in names]
    assert ''.join(parts) == text and len(started) == 2
    assert [started[0][started[0].index(option) + 1] for option in ('--valid', '--test')] == list(map(str, names[1:]))
    for part, title, cost in ((1, 'validation', 1.75), (2, 'test', 1.5), (2, 'test, adapted', 1)):     # means of two
        symbols = sum(2 if character in 'é\n' else 1 for character in parts[part]) - (part == 2)       # ends in LF
        nats = cost * (len(parts[part]) - 1) / (symbols - 1)
        row, = [cells for cells in rows if title in cells]
        assert row[2:6] == ['0.12 M', title, f'{nats:.4f}', f'{nats / math.log(2):.4f}']
        assert row[6] == (f'{3 * nats / cost:.4f}' if part == 1 else '')
    quality.published(options)
    assert len(started) == 2


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
