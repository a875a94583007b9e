"""tests/benchmarks/published.py: texts are cut as published, and costs are those of the published symbols."""
import json
import math
import os
import random
import subprocess
import sys
from types import SimpleNamespace

import pytest

from scripts import ROOT

sys.path.append(str(ROOT / 'tests' / 'benchmarks'))        # at the end: some modules there have names of ours

import common  # noqa: E402
import published  # noqa: E402
import quality  # noqa: E402
from published import SPLITS, cut, pieces  # noqa: E402


def made_up(n, alphabet, seed=1):
    """Return a random text of n characters."""
    return ''.join(random.Random(seed).choices(alphabet, k=n))


def test_published_text_has_the_published_parts():
    split = SPLITS['shakespeare']
    assert [len(piece) for piece in pieces(range(split.lengths[0]), split.cuts)] == [1_003_854, 111_540]   # of nanoGPT


@pytest.mark.parametrize('seed', range(5))
def test_bytes_are_cut_between_characters(tmp_path, seed):
    """Count the bytes of each beginning of the text one by one, with CRLF and a byte order mark."""
    text = made_up(331, 'a\n\né€𝄞', seed) + 'z\n'
    ends = [3]                                             # of each beginning; a byte order mark has 3 bytes
    for character in text:
        ends.append(ends[-1] + (2 if character == '\n' else len(character.encode('utf-8'))))
    ends[-1] -= 1                                          # the last line ends in LF
    first, second = [max(k for k, end in enumerate(ends) if end <= ends[-1] * percent // 100) for percent in (80, 90)]
    for name, content in (('lf', text.encode('utf-8')),
                          ('crlf', text.replace('\n', '\r\n').encode('utf-8-sig')),
                          ('none', text.rstrip('\n').encode('utf-8'))):
        (tmp_path / name).write_bytes(content)
        parts, lines = cut(SPLITS['warandpeace'], [tmp_path / name])
        assert [part.text for part in parts] == [text[:first], text[first:second], text[second:]]
        assert [part.symbols for part in parts] == [ends[first], ends[second] - ends[first], ends[-1] - ends[second]]
        assert f'warpeace_input.txt has {ends[-1]} symbols, expected 3,258,246' in lines[0]


def test_penn_treebank_by_characters_and_by_words_is_the_same_text(tmp_path):
    lines = [['the', '<unk>', "n't", 'N'], ['a'], ['mr.', 'b']]
    by_words = ''.join(' ' + ' '.join(words) + ' \n' for words in lines)
    by_characters = ''.join(symbol + ' ' for words in lines for symbol in [*'_'.join(words), '\n'])
    texts = set()
    for name, content in (('words', by_words), ('characters', by_characters)):
        (tmp_path / name).write_text(content)
        texts.update(part.text for part in cut(SPLITS['penn'], [tmp_path / name] * 3)[0])
    assert texts == {"the <unk> n't N\na\nmr. b\n"}


def test_costs_are_those_of_the_published_symbols(tmp_path, capsys, monkeypatch):
    """Runs only write a result, whose test cost is their seed. A finished run is only read."""
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
    options = quality.build_parser().parse_args(['published', 'warandpeace', str(tmp_path / 'text'), '--results', str(
        tmp_path / 'results'), '--units', '256', '--seeds', '2'])
    published.published(options)
    out = capsys.readouterr().out
    names = [tmp_path / 'results' / f'warandpeace-{part}.txt' for part in ('train', 'valid', 'test')]
    parts = [name.read_bytes().decode('utf-8') for name in names]
    assert ''.join(parts) == text and len(started) == 2
    assert [started[0][started[0].index(option) + 1] for option in ('--valid', '--test')] == list(map(str, names[1:]))
    for part, title, cost in ((1, 'validation', 1.75), (2, 'test', 1.5), (2, 'test, adapted', 1)):     # means of two
        symbols = sum(2 if character in 'é\n' else 1 for character in parts[part]) - (part == 2)       # it ends in LF
        nats = cost * (len(parts[part]) - 1) / (symbols - 1)
        row, = [line for line in out.splitlines() if f' {title}  ' in line and line.startswith('CharLSTM')]
        assert f'0.12 M       {title:<14}  {nats:<8.4f}  {nats / math.log(2):<8.4f}  ' in row
    published.published(options)
    assert len(started) == 2


def test_list_may_lose_its_reader():
    """As that of `| head -1` does."""
    command = [sys.executable, str(ROOT / 'tests' / 'benchmarks' / 'quality.py'), 'published', '--list']
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as process:
        process.stdout.close()
        assert process.stderr.read() == b'' and process.wait() == 0
    listed = subprocess.run(command, capture_output=True, encoding='utf-8', check=True).stdout
    assert all(split.title in listed and split.origin in listed for split in SPLITS.values())
