"""tests/benchmarks/published.py: texts are cut as published, what is not as published is said, and the table."""
import json
import math
import random
import sys
from pathlib import Path

import pytest

from damage import METADATA
from engine.run import table
from engine.model.checkpoint import write
from learner import by_number, learn, progress_of
from scripts import ROOT

sys.path.append(str(ROOT / 'tests' / 'benchmarks'))        # at the end: some modules there have names of ours

import published  # noqa: E402
import quality  # noqa: E402
import recipes  # noqa: E402
from published import SPLITS, cut, pieces  # noqa: E402


def made_up(n, alphabet, seed=1):
    """Return a random text of n characters."""
    return ''.join(random.Random(seed).choices(alphabet, k=n))


def command(*arguments):
    """Run quality.py published in this process. Return the exit status."""
    options = quality.build_parser().parse_args(['published', *map(str, arguments)])
    return options.function(options)


# ---------------------------------------------------------------- cuts

@pytest.mark.parametrize('name, lengths', [('shakespeare', [1_003_854, 111_540]),          # as nanoGPT prints them
                                           ('text8', [90_000_000, 5_000_000, 5_000_000])])
def test_published_text_has_the_published_parts(name, lengths):
    split = SPLITS[name]
    assert [len(piece) for piece in pieces(range(split.lengths[0]), split.cuts)] == lengths


def test_characters_are_cut_where_their_number_says(tmp_path):
    text = made_up(1237, 'abé\n')
    (tmp_path / 'input.txt').write_text(text, encoding='utf-8')
    parts, _ = cut(SPLITS['shakespeare'], [tmp_path / 'input.txt'])
    assert [part.text for part in parts] == [text[:1113], text[1113:]]         # 0.9 * 1237 = 1113.3
    assert [part.scale for part in parts] == [1, 1]


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
        assert lines[0] == f'warpeace_input.txt has {ends[-1]} bytes, expected 3,258,246'


def test_penn_treebank_by_characters_and_by_words_is_the_same_text(tmp_path):
    lines = [['the', '<unk>', "n't", 'N'], ['a'], ['mr.', 'b']]
    by_words = ''.join(' ' + ' '.join(words) + ' \n' for words in lines)
    symbols = [symbol for words in lines for symbol in [*'_'.join(words), '\n']]
    by_characters = ''.join(symbol + ' ' for symbol in symbols)
    texts = []
    for name, content in (('words', by_words), ('characters', by_characters)):
        (tmp_path / name).write_text(content)
        parts, _ = cut(SPLITS['penn'], [tmp_path / name] * 3)
        texts += [part.text for part in parts]
    assert set(texts) == {"the <unk> n't N\na\nmr. b\n"} and len(texts) == 6


# ---------------------------------------------------------------- what is not as published

def test_differences_are_named(tmp_path):
    split = SPLITS['penn']._replace(lengths=(2, 0, 3), distinct=4)             # in thousands, rounded down
    paths = []
    for n, alphabet in ((2000, 'abc'), (999, 'ab'), (3999, 'abcd')):
        paths.append(tmp_path / str(n))
        paths[-1].write_text(made_up(n, alphabet))
    assert cut(split, paths)[1] == []
    assert cut(split, paths[::-1])[1] == ['ptb.char.train.txt has 3,999 characters, expected 2 thousand',
                                          'ptb.char.test.txt has 2,000 characters, expected 3 thousand']
    paths[1].write_text(made_up(1000, 'abcde'))
    assert cut(split, paths)[1] == ['ptb.char.valid.txt has 1,000 characters, expected 0 thousand',
                                    'the text has 5 distinct characters, expected 4']


def test_refusals(tmp_path, capsys):
    results = tmp_path / 'results'
    (tmp_path / 'latin').write_bytes(b'caf\xe9 ' * 9)
    (tmp_path / 'short').write_text('abcdefgh')
    (tmp_path / 'text').write_text(made_up(50, 'ab'))
    results.mkdir()
    (results / 'shakespeare-train.txt').write_text('of another copy')
    for arguments, words in (
            ([], 'name a split, shakespeare, penn, warandpeace, text8'),
            (['penn', 'a', 'b'], 'got 2 files, expected 3: ptb.char.train.txt (5,017 thousand characters), '),
            (['text8'], 'got 0 files, expected 1: text8 (100,000,000 characters), 27 distinct; from http://matt'),
            (['shakespeare', tmp_path / 'missing'], 'missing: No such file'),
            (['shakespeare', tmp_path / 'latin'], 'latin is not in UTF-8'),
            (['text8', tmp_path / 'short'], 'got 8 characters, too few for all parts; expected text8 (100,000,000 '),
            (['shakespeare', tmp_path / 'text', '--seeds', 0], 'got --seeds 0, expected at least 1'),
            (['shakespeare', tmp_path / 'text'], 'shakespeare-train.txt exists and is another text')):
        assert command(*arguments, '--results', results) == 2
        out, err = capsys.readouterr()
        assert not out and err.startswith('quality.py published: ') and words in err and err.count('\n') == 1
    assert command('shakespeare', tmp_path / 'text') == 2 and '--results' in capsys.readouterr().err
    assert [path.name for path in results.iterdir()] == ['shakespeare-train.txt']
    assert (results / 'shakespeare-train.txt').read_text() == 'of another copy'
    with pytest.raises(SystemExit, match="no row matches 'x': expected one of shakespeare-256 shakespeare-512"):
        command('shakespeare', tmp_path / 'text', '--results', results, '--only', 'x')
    with pytest.raises(SystemExit) as caught:
        command('hamlet', '--list')
    assert caught.value.code == 2 and "invalid choice: 'hamlet'" in capsys.readouterr().err


# ---------------------------------------------------------------- what is printed

def test_list_has_all_that_is_published_and_the_commands(tmp_path, capsys):
    assert command('--list') == 0
    out = capsys.readouterr().out
    joined = ' '.join(out.split())
    for name, split in SPLITS.items():
        assert split.title in joined and split.origin in joined
        assert f'quality.py published {name} {" ".join(split.files)} --results DIR\n' in out
        for units in split.units:
            assert f'{name}-{units}-seed1 --output-dir DIR --random-seed 1 --num-units1 {units} ' in out
    assert '1.4697    (2.120)   nanoGPT' in out and '(0.814)   1.175     Merity' in out
    assert command('penn', '--list', '--only', '*-512', '--seeds', 2, '--results', tmp_path / 'none') == 0
    out = capsys.readouterr().out
    assert 'penn-512-seed2' in out and 'penn-256' not in out and 'Shakespeare' not in out
    assert not (tmp_path / 'none').exists()


def test_readme_has_the_published_figures():
    section = (ROOT / 'tests' / 'benchmarks' / 'README.md').read_text(encoding='utf-8').split('**Published splits**')[1]
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in section.splitlines() if line.startswith('| ')]
    for split in SPLITS.values():
        assert split.origin.split(', ')[0].split()[-1] in section
        for figure in split.figures:
            _, parameters, part, nats, bits, source = published.figure_cells(figure)
            assert [figure.model, parameters, part, nats, bits, source] in rows


@pytest.fixture
def stand_in(monkeypatch):
    """Let runs only write a result, whose test cost is their seed. Return the list of the commands."""
    commands = []

    def train(run):
        commands.append(run.command())
        path = run.folder / f'{run.name}_{run.text.name}_result.json'
        costs = {f'{name}_nats': run.seed + more for name, more in (('valid', .25), ('test', 0), ('test_adapted', -.5))}
        path.write_text(json.dumps(dict(costs, finished=True, parameters=123_456, best_epoch=run.seed, epochs=7,
                                        train_characters=12_000)))
        rows = [f'{epoch} 0 0 0 {speed}\n' for epoch, speed in enumerate((25, 50, 50), 1)]
        (run.folder / f'{run.name}_{run.text.name}_epochs.out').write_text(''.join(rows))

    monkeypatch.setattr(recipes.Run, 'train', train)
    monkeypatch.setattr(recipes.Run, 'finished', lambda run: bool(run.result()))
    return commands


def test_costs_are_those_of_the_published_symbols(tmp_path, capsys, stand_in):
    text = made_up(3217, 'abcdé\n') + '.\n'
    (tmp_path / 'text').write_text(text, encoding='utf-8')
    arguments = ['warandpeace', tmp_path / 'text', '--results', tmp_path / 'results', '--only', '*-256', '--seeds', 2]
    assert command(*arguments, '--epochs', 3) == 0
    out = capsys.readouterr().out
    names = [f'warandpeace-{part}.txt' for part in ('train', 'valid', 'test')]
    parts = [(tmp_path / 'results' / name).read_bytes().decode('utf-8') for name in names]
    assert ''.join(parts) == text
    for words, seed in zip(stand_in, (1, 2)):
        assert [words[k] for k in (2, 3)] == [str(tmp_path / 'results' / names[0]), f'warandpeace-256-seed{seed}']
        follows = dict(zip(words, words[1:]))
        assert (follows['--random-seed'], follows['--epochs']) == (str(seed), '3')
        assert [follows['--valid'], follows['--test']] == [str(tmp_path / 'results' / name) for name in names[1:]]
    for part, title, cost in ((1, 'validation', 1.75), (2, 'test', 1.5), (2, 'test, adapted', 1)):     # means of two
        symbols = sum(2 if character in 'é\n' else 1 for character in parts[part])
        if part == 2:
            symbols -= 1                                   # it ends in LF
        nats = cost * (len(parts[part]) - 1) / (symbols - 1)
        row, = [line for line in out.splitlines() if f' {title}  ' in line and line.startswith('CharLSTM')]
        assert f'0.12 M       {title:<14}  {nats:<8.4f}  {nats / math.log(2):<8.4f}  1: ' in row
        assert row.endswith(', epoch 2 of 7, 16 min')
    assert out.count('not as published: warpeace_input.txt has ') == 2         # before the runs, and at the table
    assert command(*arguments) == 0 and len(stand_in) == 2                      # finished runs are only read
    assert 'epoch 1 of 7, 16 min; 2: ' in capsys.readouterr().out


def test_run_is_resumed_until_it_is_finished(tmp_path):
    """From its newest checkpoint, by the epoch; without one it begins, and replaces logs that it finds."""
    run = recipes.Run(recipes.Row('x', 't.txt', 3), 1, Path('t.txt'), tmp_path / 'runs')
    run.folder.mkdir()
    (run.folder / 'x-seed1_t.txt.out').touch()
    assert not run.finished() and run.command()[2:4] == ['t.txt', 'x-seed1'] and '--overwrite' in run.command()
    learn(tmp_path, by_number(5, 4, 6), '--epochs', 3, '--save-every', 1)

    def take(ending):
        write(str(run.folder / f'x-seed1_t.txt{ending}'), {}, dict(
            METADATA, lp=table.INITIAL, progress=progress_of(tmp_path / f'r_t.txt{ending}')))
    take('_best.npz')
    take('_epoch1.npz')
    assert not run.finished()
    assert run.command()[2:] == ['--resume', str(run.folder / 'x-seed1_t.txt_best.npz'), '--epochs', '3']
    take('_epoch3.npz')
    assert run.finished()


def test_runs_without_a_result_are_named(tmp_path, capsys, monkeypatch, stand_in):
    def interrupted(run):
        raise KeyboardInterrupt

    monkeypatch.setattr(recipes.Run, 'train', interrupted)
    (tmp_path / 'text').write_text(made_up(99, 'ab'))
    assert command('shakespeare', tmp_path / 'text', '--results', tmp_path / 'results') == 1
    out, err = capsys.readouterr()
    assert out.count('no run is finished') == 2 and 'the same command continues' in err
    assert sorted(path.name for path in (tmp_path / 'results').iterdir()) == ['shakespeare-train.txt',
                                                                              'shakespeare-valid.txt']
