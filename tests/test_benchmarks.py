"""Each program in tests/benchmarks runs once, at its smallest, and prints a number in a table.

What takes long is left out: only the options are read of most runs of train.py and produce_text.py, workers have no
processes of their own, and unless PyTorch is installed, CharLSTM takes its turns. The PyTorch model of minutes.py, and
nanoGPT, are never trained.
"""
import importlib.util
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

import produce_text
import train
from browser import CHROMIUM
from scripts import FAST, ROOT, TEXT, environment

FOLDER = ROOT / 'tests' / 'benchmarks'
sys.path.append(str(FOLDER))                               # at the end, since some modules there have the same names

import common  # noqa: E402
import minutes  # noqa: E402
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
    Worker=Worker, trained=trained, curve=curve, TURN=0, N=8, NOVEL=20_000, rows_of=lambda V: [('LSTM', 3, 99)],
    output=lambda compiled, *words: read_options(*words), settings=lambda compiled: dict(
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding='utf-8', env=environment(FAST)),
    subprocess=SimpleNamespace(run=lambda *words, **more: None, DEVNULL=None))


def without_pytorch(module):
    """Return more stand-ins, for what a module needs PyTorch for."""
    def make_pytorch(*arguments):
        turn = module.make_ours(*arguments)
        vars(turn).setdefault('found', 'CharLSTM')
        return turn

    make_product = getattr(module, 'make_product', None)
    return dict(print_head=lambda *libraries: common.print_head(), version=len, make_pytorch=make_pytorch,
                make_product=lambda library, *more: make_product(library.replace('torch', 'numpy'), *more))


@pytest.mark.parametrize('command, names', [
    ('cells.py costs {text} --results {folder} --cell engine/lesson/cells.py:GRU', 'trained'),
    ('cells.py speed --steps 1', 'Worker rows_of'),
    ('lesson.py --results {folder}', 'trained subprocess'),
    ('page.py --rounds 1 --seconds 0 --picture {folder}/page.png', ''),
    ('quality.py published shakespeare {text} --results {folder} --units 3 --options=--epochs=1', ''),
    ('quality.py minutes {text} --nanogpt {folder} --results {folder}', 'curve'),
    ('sampling.py --units 3 --streams 2 --length 9 --rounds 1', 'Worker'),
    ('startup.py --rounds 1', 'NOVEL output settings'),
    ('training.py --units 3 --batches 2 --steps 1 --no-numpy', 'Worker N')])
def test_program(command, names, monkeypatch, tmp_path, text_file, capfd):
    if command.startswith('page.py') and CHROMIUM is None:
        pytest.skip('Chromium is missing: apt install chromium')
    program, *words = command.format(folder=tmp_path, text=text_file(3 * TEXT)).split()
    spec = importlib.util.spec_from_file_location('benchmark', FOLDER / program)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    stand_ins = {name: STAND_INS[name] for name in ('TURN', *names.split())}
    if importlib.util.find_spec('torch') is None:
        stand_ins.update(without_pytorch(module))
    for owner in (module, minutes, training):
        for name in stand_ins.keys() & vars(owner).keys():
            monkeypatch.setattr(owner, name, stand_ins[name])
    monkeypatch.setattr(sys, 'path', [*sys.path])
    monkeypatch.setattr(sys, 'argv', [program, *words])
    monkeypatch.chdir(ROOT)
    module.main()
    rows = [line for line in capfd.readouterr().out.splitlines() if line.startswith('| ')]
    assert re.search(r'\d', rows[-1])
