"""Metadata of checkpoints, forged field by field: each is refused in one clear line, and no file is changed."""
import copy
import json
import os
import random

import numpy as np
import pytest

from engine.run.run import Run
from engine.run.options import stored_progress
from engine.model.checkpoint import Checkpoint
from damage import RUN_DAMAGE, WRONG, forged, leaves
from scripts import PRODUCE, TRAIN, Compiling, assert_refused, load, snapshot


@pytest.fixture(scope='module')
def run_file(short_run, tmp_path_factory):
    """Return a folder with a run that can be resumed, and the arrays and metadata of its checkpoint."""
    folder = tmp_path_factory.mktemp('forged')
    for name in os.listdir(str(short_run.folder)):
        if name.startswith('r_t.txt') and not name.endswith('.npz'):
            for run in ('r_t.txt', 'other_t.txt'):             # the other has only logs
                (folder / name.replace('r_t.txt', run)).write_bytes((short_run.folder / name).read_bytes())
    arrays = load(short_run.folder / 'r_t.txt_epoch5.npz')
    return folder, arrays, json.loads(str(arrays.pop('about')))


def write(folder, arrays, metadata):
    path = folder / 'r_t.txt_epoch5.npz'
    arrays = {name: array for name, array in arrays.items() if array is not None}
    np.savez(str(path), about=np.array(json.dumps(metadata)), **arrays)
    return path


@pytest.mark.parametrize('name', RUN_DAMAGE)
def test_damaged_run_is_refused(run_file, in_process, refused, name):
    """In one line, before it compiles or before its logs are opened; and no file is changed."""
    folder, arrays, metadata = run_file[0], dict(run_file[1]), copy.deepcopy(run_file[2])
    RUN_DAMAGE[name].change(arrays, metadata)
    checkpoint = write(folder, arrays, metadata)
    before = snapshot(folder)
    try:
        assert_refused(in_process(TRAIN, '--resume', checkpoint, '--epochs', 9), 'train.py: ', *RUN_DAMAGE[name].words)
    except Compiling:
        with refused(ValueError, *RUN_DAMAGE[name].words), Checkpoint(checkpoint) as stored:
            progress = stored_progress(stored)
            with Run(str(folder), progress['name'], str(checkpoint), progress).open():
                pass
    assert snapshot(folder) == before


def test_forged_fields(run_file, in_process):
    """Each is refused in one line, or is as good as the value before; and no file is changed."""
    folder, arrays, metadata = run_file
    chance, tried, refused = random.Random(4), 0, 0
    cases = [(path, wrong) for path in leaves(metadata) for wrong in WRONG]
    cases += [(path[:-1] + ('resume',), '/etc/passwd') for path in leaves(metadata) if isinstance(path[-1], str)]
    for path, wrong in chance.sample(cases, 60):
        checkpoint = write(folder, arrays, forged(metadata, path, wrong))
        before = snapshot(folder)
        for script, words in ((TRAIN, ['--resume', checkpoint, '--epochs', 9]), (PRODUCE, [checkpoint, '--info'])):
            tried += 1
            try:
                result = in_process(script, *words)
            except Compiling:                              # the forged value is as good as the one before
                continue
            assert (result.returncode, result.stderr.count('\n')) in ((2, 1), (0, 0)), (path, wrong, result.stderr)
            refused += result.returncode == 2
        assert snapshot(folder) == before, (path, wrong)
    assert refused > tried / 3


def test_checkpoint_that_is_not_forged_is_taken(run_file, in_process):
    checkpoint = write(*run_file)
    with pytest.raises(Compiling):
        in_process(TRAIN, '--resume', checkpoint, '--epochs', 9)
    assert in_process(PRODUCE, checkpoint, '--info').returncode == 0
