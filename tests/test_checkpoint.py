"""Damaged checkpoints, and npz files that are none: they are refused in one line, and nothing in them is run."""
import functools
import json
import math
import os
import random
import tracemalloc
import zipfile

import numpy as np
import pytest

from charlstm import CharLSTM, read_about, read_checkpoint
from damage import ARRAYS, DAMAGE, METADATA, TRACE, about, members, npy, saved, write_checkpoint
from engine.model.checkpoint import Checkpoint, write
from engine.run_state import read_run
from numpy_model import NAMES
from scripts import ROOT, run, succeeded


# ---------------------------------------------------------------- the table of damage.py

@pytest.mark.parametrize('name', DAMAGE)
def test_damage_is_refused_and_nothing_run(name, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)                                   # where a Payload that is unpickled leaves a file
    DAMAGE[name].write('p.npz')
    with refused(ValueError, 'p.npz is not a checkpoint', *DAMAGE[name].words):
        (read_about if DAMAGE[name].of_about else read_checkpoint)('p.npz')
    assert os.listdir('.') == ['p.npz']


@pytest.mark.parametrize('name', ['V', 'about'])
def test_pickled_payload_would_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    DAMAGE['pickle: array ' + name].write('p.npz')
    np.load('p.npz', allow_pickle=True)[name]
    assert os.path.exists(TRACE)


def test_undamaged_checkpoint_is_read(path):
    """The file of which the table changes one thing, and one with metadata, which the original has not."""
    parameters, uchar = read_checkpoint(write_checkpoint(path))
    assert set(parameters) == set(NAMES) and len(uchar) == len(parameters['c'])
    assert read_about(path) == {}
    about(validation_index=3)(path)
    assert read_about(path) == dict(METADATA, format=1, arrays=[], validation_index=3)


def test_learning_parameter_that_is_newer_than_the_checkpoint(program, short_run):
    """It is added as engine/run/table.py says; --info lists it with the value of INITIAL."""
    table, row = program / 'engine' / 'table.py', "        _learning('l2', float, 0.0,"
    source = table.read_text(encoding='utf-8')
    assert source.count(row) == 1
    new = "        _learning('inertia', float, 0.875, 'share of the step before', BELOW_1, 0.125),\n"
    table.write_text(source.replace(row, new + row), encoding='utf-8')
    before, after = [json.loads(succeeded(run(root / 'produce_text.py', short_run.checkpoint, '--info', '--json')))
                     for root in (ROOT, program)]
    assert len(before['learning']) > 9
    assert after['learning'] == dict(before['learning'], inertia=0.125)
    assert {**after, 'learning': None} == {**before, 'learning': None}


def read_all(path):
    """Return all that is read of a checkpoint of a run: arrays as bytes by name, uchar and metadata."""
    with Checkpoint(str(path)) as stored:
        parameters, uchar = read_checkpoint(stored)
        run, metadata = read_run(stored, parameters, CharLSTM.optimiser_state)
        arrays = {name: array.tobytes() for name, array in {**parameters, **run.arrays()}.items()}
    return arrays, uchar.tolist(), metadata


def mutated(whole, chance):
    """Return the bytes of a file with a bit flipped, some cut out, or some put in; often where its directory is."""
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
            assert str(path) in str(error) and '\n' not in str(error) and 'memory' not in str(error)
            refused += 1
    assert 60 < refused < 120


def test_what_is_no_file(tmp_path, refused):
    for read in (read_checkpoint, read_about, CharLSTM().load_params):
        with refused(FileNotFoundError, tmp_path / 'missing.npz'):
            read(tmp_path / 'missing.npz')
        with refused(IsADirectoryError, tmp_path):
            read(tmp_path)
    os.mkfifo(tmp_path / 'fifo')                                  # which waits for a writer; a device may never end
    for name in ('fifo', '/dev/zero'):
        with refused(ValueError, name, 'FIFO or a device: save it as a file'):
            read_checkpoint(str(tmp_path / name))
    with refused(ValueError, 'None', 'expected a path'):
        read_checkpoint(None)


def test_path_may_be_bytes(short_run):
    found, uchar = read_checkpoint(os.fsencode(short_run.checkpoint))
    assert len(found) == 8 and len(uchar) == len(found['c'])


@pytest.mark.parametrize('progress, words', [
    (dict(cost=math.nan), 'nan'), (dict(cost=[-math.inf]), 'inf'), ('x' * 2 ** 20, '1,048,576'),
    (dict(cost=np.float32(1)), 'float32'), (functools.reduce(lambda inner, _: [inner], range(20), {}), '20 levels')],
    ids=['nan', 'infinite', 'long', 'NumPy', 'deep'])
def test_progress_that_could_not_be_read_is_not_written(path, refused, progress, words):
    with refused(ValueError, path, 'not written', words):
        write(path, {}, dict(METADATA, progress=progress))
    assert not os.path.exists(path)


@pytest.mark.parametrize('where', ['zipfile.ZipFile', 'numpy.frombuffer'])
def test_lack_of_memory_is_not_called_damage(path, monkeypatch, refused, where):
    def too_much(*arguments, **more):
        raise MemoryError
    write_checkpoint(path)
    monkeypatch.setattr(where, too_much)
    with refused(OSError, f'cannot read {path}: there is not enough memory'):
        read_checkpoint(path)


@pytest.mark.parametrize('kind, forged', [(zipfile.ZIP_DEFLATED, 'header'), (zipfile.ZIP_DEFLATED, 'header and size'),
                                          (zipfile.ZIP_BZIP2, 'nothing')])
def test_decompression_bomb_takes_no_memory(path, refused, kind, forged):
    """A small file with 40 MB of zeros, also where its header, or its directory too, tells of few bytes."""
    right, zeros = ARRAYS['U1'].shape, bytes(40_000_000)
    content = npy(right if 'header' in forged else (4, 1_000, 2_500), content=zeros)
    with zipfile.ZipFile(path, 'w', kind) as bomb:
        for name, array in ARRAYS.items():
            bomb.writestr(name + '.npy', content if name == 'U1' else saved(array))
        if 'size' in forged:
            bomb.getinfo('U1.npy').file_size = len(npy(right, content=bytes(4 * math.prod(right))))
    assert os.path.getsize(path) < 200_000
    del zeros, content
    tracemalloc.start()
    try:
        with refused(ValueError, path, 'U1 is damaged' if kind == zipfile.ZIP_DEFLATED else 'is compressed'):
            read_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_vocabulary_of_more_characters_than_there_are_takes_no_memory(path, refused):
    members(uchar=npy((30_000_000,), '|S1', bytes(30_000_000)))(path)
    assert os.path.getsize(path) < 200_000
    tracemalloc.start()
    try:
        with refused(ValueError, path, 'its uchar is no list of distinct characters'):
            read_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
