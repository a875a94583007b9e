"""Each program in tests/benchmarks runs once, at its smallest, and prints a number in a table.

What takes long is left out: only the options are read of most runs of train.py and produce_text.py, workers have no
processes of their own, and unless PyTorch is installed, CharLSTM takes its turns. The PyTorch model of minutes.py, and
nanoGPT, are never trained. quality.py also cuts texts as published, and its costs are per published symbol.
"""
import importlib.util
import json
import os
import random
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import numpy_model
import produce_text
import train
from browser import CHROMIUM
from cells import README_CODE
from models import prepared, set_parameters
from scripts import FAST, ROOT, TEXT, environment

sys.path.append(str(ROOT / 'tests' / 'benchmarks'))        # at the end, since some modules there have the same names

import benchmarks.cells  # noqa: E402
import common  # noqa: E402
import minutes  # noqa: E402
import quality  # noqa: E402
import training  # noqa: E402


class Worker:
    """A common.Worker without a process of its own."""

    def __init__(self, make, *arguments):
        self.turn = make(*arguments)

    def ready(self):
        return getattr(self.turn, 'found', None)

    def __call__(self):
        return self.turn()

    def close(self):
        return 1


def read_options(script, *words):
    parser = (train if script.name == 'train.py' else produce_text).build_parser()
    return parser.parse_args([str(word) for word in words])


def trained(text, name, folder, *options):
    read_options(ROOT / 'train.py', text, name, '--output-dir', folder, *options)
    return dict(best_valid_nats=1.25)


def curve(words, cwd, *more):
    if words[1] == 'train.py' and cwd == ROOT:             # not nanoGPT's
        read_options(ROOT / words[1], *words[2:])
    return [[1, 2.5], [99, 1.5]]


# What replaces attributes of the programs' modules, by name.
STAND_INS = dict(
    Worker=Worker, trained=trained, curve=curve, TURN=0, STEPS=1, N=8, NOVEL=20_000,
    CELLS={'LSTM': ('CharLSTM', 'standard')}, output=lambda compiled, *words: read_options(*words),
    held_out=lambda checkpoint: SimpleNamespace(text='"Yes,"\nhe said.\n' * 20),
    settings=lambda compiled: dict(
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding='utf-8', env=environment(FAST)),
    subprocess=SimpleNamespace(run=lambda *words, **more: None, DEVNULL=None))


def without_pytorch(module):
    """Return more stand-ins, for what a module needs PyTorch for."""
    def make_pytorch(*arguments):
        turn = module.make_ours(*[each for each in arguments if each is not True])         # of PyTorch alone
        vars(turn).setdefault('found', 'CharLSTM')
        return turn

    make_product = getattr(module, 'make_product', None)
    return dict(print_head=lambda *libraries: common.print_head(), version=len, make_pytorch=make_pytorch,
                make_product=lambda library, *more: make_product(library.replace('torch', 'numpy'), *more))


@pytest.mark.parametrize('command, names', [
    ('cells.py speed --steps 1', 'Worker CELLS'),
    ('lesson.py --results {folder}', 'trained subprocess'),
    ('page.py --rounds 1 --seconds 0 --picture {folder}/page.png', ''),
    ('quality.py published shakespeare {text} --results {folder} --units 3 --options=--epochs=1', ''),
    ('quality.py minutes {text} --nanogpt {folder} --results {folder}', 'curve'),
    ('sampling.py --units 3 --streams 2 --length 9 --rounds 1', 'Worker'),
    ('startup.py --rounds 1', 'NOVEL output settings'),
    ('tracking.py --results {folder} --seeds 1', 'STEPS CELLS'),
    ('units.py training_results/prideandprejudice.npz', 'held_out'),
    ('training.py --units 3 --batches 2 --steps 1 --no-numpy', 'Worker N')])
def test_program(command, names, monkeypatch, tmp_path, text_file, capfd):
    if command.startswith('page.py') and CHROMIUM is None:
        pytest.skip('Chromium is missing: apt install chromium')
    program, *words = command.format(folder=tmp_path, text=text_file(3 * TEXT)).split()
    module = importlib.import_module(f'benchmarks.{program.removesuffix(".py")}')
    stand_ins = {name: STAND_INS[name] for name in ('TURN', *names.split())}
    if importlib.util.find_spec('torch') is None:
        stand_ins.update(without_pytorch(module))
    for owner in (module, minutes, training):
        for name in stand_ins.keys() & vars(owner).keys():
            monkeypatch.setattr(owner, name, stand_ins[name])
    monkeypatch.setattr(sys, 'argv', [program, *words])
    monkeypatch.chdir(ROOT)
    module.main()
    rows = [line for line in capfd.readouterr().out.splitlines() if line.startswith('| ')]
    assert re.search(r'\d', rows[-1])


def test_costs_of_a_network_beside_the_lstm(tmp_path, monkeypatch, text_file, capfd):
    """The statistics are those of the runs. The same command only reads these, unless the file of the class changes."""
    words = *'--units 5 --epochs 1 --seeds 2 --cell'.split(), text_file(README_CODE[-1], name='mine.py') + ':Tied'
    monkeypatch.setattr(sys, 'argv', ['', 'costs', text_file(3 * TEXT), '--results', str(tmp_path), *words])
    monkeypatch.setattr(benchmarks.cells, 'RATES', [1])
    benchmarks.cells.main()
    monkeypatch.setattr(common.subprocess, 'Popen', None)          # it starts a run
    benchmarks.cells.main()
    *_, tied, _ = [line.split('|') for line in capfd.readouterr().out.splitlines() if ' 2x' in line]
    runs = np.genfromtxt(tmp_path / 'costs.csv', delimiter=',', names=True, dtype=None, encoding='utf-8')
    (of_lstm, costs, _), (most, fewer, nearest) = runs['best_valid_nats'].reshape(3, 2), runs['parameters'][::2]
    expected = costs.mean(), np.ptp(costs) / 2 ** 0.5, np.mean(costs - of_lstm), np.ptp(costs - of_lstm) / 2
    assert [*map(float, tied[4:8])] == pytest.approx(expected, abs=6e-5)                   # of two seeds
    assert (tmp_path / 'costs.png').read_bytes()[1:4] == b'PNG' and abs(nearest - most) < most - fewer
    text_file(README_CODE[-1] + '#', name='mine.py')
    pytest.raises(TypeError, benchmarks.cells.main)


# ---------------------------------------------------------------- published figures

def made_up(n, alphabet):
    """Return a random text of n characters."""
    return ''.join(random.Random(1).choices(alphabet, k=n))


def test_published_text_has_the_published_parts():
    split = quality.SPLITS['shakespeare']                  # nanoGPT's
    assert [len(piece) for piece in quality.pieces(range(split.lengths[0]), split.cuts)] == [1_003_854, 111_540]


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


def test_parts_are_bytes_and_their_costs_make_the_row(results, capsys):
    text, folder = results
    parts = [(folder / f'warandpeace-{part}.txt').read_text(encoding='utf-8') for part in ('train', 'valid', 'test')]
    published = b'\xef\xbb\xbf' + text[:-1].replace('\n', '\r\n').encode() + b'\n'
    assert ''.join(parts).replace('\xff', '\r').encode('latin-1') == published
    assert [len(part) for part in parts] == [len(published) * 8 // 10, (n := len(published)) * 9 // 10 - n * 8 // 10,
                                             n - n * 9 // 10]
    assert capsys.readouterr().out.splitlines()[-1] == (
        '| CharLSTM 2x256, sequences of 71 | 0.12 M | 1.500; adapted 1.000 | mean of 1.000, 2.000 |')


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
