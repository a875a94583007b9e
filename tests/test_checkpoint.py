"""Damaged checkpoints and npz files that are not checkpoints are refused in one line, and nothing in them is run."""
import math
import os
import random
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from charlstm import CharLSTM, read_about, read_checkpoint
from damage import ABOUT, DAMAGE, METADATA, PROGRESS, TEXT_OF_RUN, TRACE, about, write_checkpoint
from engine.model.saving import read_run
from engine.run.checkpoint import FORMAT, write
from numpy_model import NAMES, random_parameters
from scripts import B, ROOT


@pytest.mark.parametrize('name', DAMAGE)
def test_damage_is_refused_and_nothing_run(name, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)                                   # an unpickled Payload would create a file here
    DAMAGE[name]('p.npz')
    with refused(ValueError, 'p.npz is not a checkpoint'):
        (read_about if name in ABOUT else read_checkpoint)('p.npz')
    assert os.listdir('.') == ['p.npz']


def test_pickled_payload_would_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    DAMAGE['pickle: array V']('p.npz')
    np.load('p.npz', allow_pickle=True)['V']
    assert os.path.exists(TRACE)


def test_undamaged_checkpoint_is_read(path):
    """The file that the table damages, also by a path of bytes, and one with metadata, which the original's lack."""
    parameters, uchar = read_checkpoint(write_checkpoint(path))
    assert set(parameters) == set(NAMES) and len(uchar) == len(parameters['c'])
    assert read_about(path) == {} and read_checkpoint(os.fsencode(path))[1].tolist() == uchar.tolist()
    changes = dict(validation_index=3, later='field', text=TEXT_OF_RUN, progress=PROGRESS, lp=dict(lrate=1.0))
    about(**changes)(path)
    assert read_about(path) == dict(METADATA, format=FORMAT, arrays=[], **changes)


def test_damage_takes_little_memory(tmp_path):
    """Reading the whole table in one process, after the bundled model, adds less than 150 MB to its memory."""
    for k, damage in enumerate(DAMAGE.values()):
        damage(str(tmp_path / f'{k}.npz'))
    code = """
import glob, os, resource, sys
from engine.run.checkpoint import read_about, read_checkpoint
for path in [None, *glob.glob(sys.argv[1] + '/*.npz')]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (read_about, lambda path: read_checkpoint(path, dtype='float32')):
        try:
            read(path or 'training_results/prideandprejudice.npz')
        except ValueError:
            pass
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 150_000, (path, os.path.getsize(path), grown)         # kilobytes
"""
    subprocess.run([sys.executable, '-c', code, str(tmp_path)], cwd=ROOT, check=True, timeout=60)


@pytest.mark.parametrize('text, encoding, uchar', [
    ('abc\0', 'utf-8', 'abc\0'), ('abé', 'utf-8', 'abÃ©'), ('abé', 'latin-1', 'abé'), ('ab“€', 'cp1252', 'ab“€')])
def test_vocabulary_of_bytes_is_read_as_text(path, tmp_path, text, encoding, uchar):
    """It is decoded with the encoding if each byte is a character, otherwise as latin-1."""
    stored = np.array([bytes([byte]) for byte in text.encode(encoding)])
    write_checkpoint(path, **random_parameters(1, V=len(stored)), uchar=stored)
    model = CharLSTM()
    model.load_params(path, encoding=encoding)
    assert ''.join(model.uchar) == uchar and model.generate_text(uchar, 0) == uchar
    again = read_checkpoint(model.save_params(tmp_path / 'again'))
    assert ''.join(again[1]) == uchar


def read_all(path):
    """Return everything that is read from a run's checkpoint: arrays as bytes by name, uchar and metadata."""
    model = CharLSTM()
    model.text, model.lp = SimpleNamespace(rows=dict(train=B, valid=B)), dict(average=0.9)
    _, uchar, metadata, arrays = read_run(model, str(path))
    return {name: array.tobytes() for name, array in arrays.items()}, uchar.tolist(), metadata


def mutated(whole, chance):
    """Return a file's bytes with a bit flipped, some removed, or some inserted; often in its zip directory."""
    start = chance.randrange(chance.choice([0, whole.index(b'PK\x01\x02')]), len(whole))
    flipped = bytes([whole[start] ^ 1 << chance.randrange(8)])
    end = chance.choice([start + chance.randrange(40), len(whole)])
    return chance.choice([whole[:start] + flipped + whole[start + 1:], whole[:start] + whole[end:],
                          whole[:start] + bytes(chance.choices(range(256), k=30)) + whole[start:]])


def test_mutated_bytes_are_refused_or_change_nothing(short_run, tmp_path):
    chance, whole, refused = random.Random(10), short_run.checkpoint.read_bytes(), 0
    good, path = read_all(short_run.checkpoint), tmp_path / 'p.npz'
    for _ in range(120):
        path.write_bytes(mutated(whole, chance))
        try:
            assert read_all(path) == good
        except (OSError, ValueError) as error:
            assert str(path) in str(error) and '\n' not in str(error)
            refused += 1
    assert 60 < refused < 120


def test_what_is_no_file(tmp_path, refused):
    for read in (read_checkpoint, read_about, CharLSTM().load_params):
        with refused(FileNotFoundError, tmp_path / 'missing.npz'):
            read(tmp_path / 'missing.npz')
        with refused(IsADirectoryError, tmp_path):
            read(tmp_path)


@pytest.mark.parametrize('progress', [dict(cost=math.nan), dict(cost=np.float32(1))], ids=['nan', 'NumPy'])
def test_progress_that_could_not_be_read_is_not_written(path, progress):
    with pytest.raises((TypeError, ValueError)):
        write(path, {}, dict(METADATA, progress=progress))
    assert not os.path.exists(path)
