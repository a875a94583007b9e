"""What checkpoints say of themselves, forged field by field: one clear line, and nothing touched."""
import copy
import json
import math
import os
import random

import numpy as np
import pytest

from engine.state.checkpoint import Checkpoint
from engine.state.parameters import read_run
from engine.state.patterns import file_name, list_of, matches, number, whole
from engine.run.run import Run
from engine.run.options import checkpoint_of, run_name
from engine.process_group import SingleProcess
from charlstm import read_checkpoint
from damage import RUN_DAMAGE, WRONG, forged, leaves
from scripts import PRODUCE, TRAIN, Compiling, assert_refused, load, snapshot
from train import OPTIONS


@pytest.fixture(scope='module')
def run_file(judged, tmp_path_factory):
    """A folder with a run that can go on, its checkpoint, and what that says."""
    folder = tmp_path_factory.mktemp('forged')
    for name in os.listdir(str(judged.folder)):
        if name.startswith('r_t.txt') and not name.endswith('.npz'):
            for run in ('r_t.txt', 'other_t.txt'):             # of the other there are logs alone
                (folder / name.replace('r_t.txt', run)).write_bytes((judged.folder / name).read_bytes())
    arrays = load(judged.folder / 'r_t.txt_epoch5.npz')
    return folder, arrays, json.loads(str(arrays.pop('about')))


def write(run_file, about, **changed):
    folder, arrays, _ = run_file
    path = folder / 'r_t.txt_epoch5.npz'
    arrays = {name: array for name, array in dict(arrays, **changed).items() if array is not None}
    np.savez(str(path), about=np.array(json.dumps(about)), **arrays)
    return path


@pytest.mark.parametrize('name', RUN_DAMAGE)
def test_damaged_run_is_refused(run_file, here, refused, name):
    """In one line, before it compiles or before its logs are opened; and no file is touched."""
    folder, arrays, about = run_file[0], dict(run_file[1]), copy.deepcopy(run_file[2])
    RUN_DAMAGE[name].change(arrays, about)
    checkpoint = write((folder, arrays, None), about)
    before = snapshot(folder)
    try:
        assert_refused(here(TRAIN, '--resume', checkpoint, '--epochs', 9), 'train.py: ', *RUN_DAMAGE[name].words)
    except Compiling:
        with refused(ValueError, *RUN_DAMAGE[name].words), \
                checkpoint_of(str(checkpoint), OPTIONS, SingleProcess()) as (_, progress):
            name = progress.get('name') or run_name(progress['options']['run'], progress['options']['input'])
            with Run(str(folder), name, str(checkpoint), progress).open():
                pass
    assert snapshot(folder) == before


def test_forged_fields(run_file, here):
    """Each is refused in one line, or is as good as what was there; and no file is touched."""
    folder, _, about = run_file
    chance, tried, refused = random.Random(4), 0, 0
    cases = [(path, wrong) for path in leaves(about) for wrong in WRONG]
    cases += [(path[:-1] + ('resume',), '/etc/passwd') for path in leaves(about) if isinstance(path[-1], str)]
    for path, wrong in chance.sample(cases, 250):
        checkpoint = write(run_file, forged(about, path, wrong))
        before = snapshot(folder)
        for script, words in ((TRAIN, ['--resume', checkpoint, '--epochs', 9]), (PRODUCE, [checkpoint, '--info'])):
            tried += 1
            try:
                result = here(script, *words)
            except Compiling:                              # what was forged is as good as what was there
                continue
            assert (result.returncode, result.stderr.count('\n')) in ((2, 1), (0, 0)), (path, wrong, result.stderr)
            refused += result.returncode == 2
        assert snapshot(folder) == before, (path, wrong)
    assert refused > tried / 3


def test_what_was_not_forged_is_taken(run_file, here):
    checkpoint = write(run_file, run_file[2])
    with pytest.raises(Compiling):
        here(TRAIN, '--resume', checkpoint, '--epochs', 9)
    assert here(PRODUCE, checkpoint, '--info').returncode == 0


def test_negative_averages_of_squares(run_file, refused):
    name = 'm_W2'
    path = write(run_file, run_file[2], m_W2=-1 - run_file[1][name])
    with Checkpoint(str(path)) as stored, refused(ValueError, path, 'below zero'):
        read_run(stored, read_checkpoint(stored)[0])


@pytest.mark.parametrize('value, pattern, expected', [
    (3, whole, True), (-3, whole, False), (True, whole, False), (3.0, whole, False), (math.nan, number, False),
    ([1, 2], list_of(whole), True), ([1, 2], list_of(whole, 3), False), ([1, 'x'], list_of(whole), False),
    ({'a': 1}, {'a': whole}, True), ({}, {'a': whole}, False), ({}, {'a?': whole}, True),
    ({'a': 1, 'b': 2}, {'a': whole}, False), ({'a': 1, 'b': 2}, {'a': whole, '...': None}, True),
    ({'a': 'x'}, {'a?': whole}, False), ('x', {'a?': whole}, False), (None, (whole, lambda v: v is None), True)])
def test_patterns(value, pattern, expected):
    assert bool(matches(value, pattern)) == expected


@pytest.mark.parametrize('value, expected', [
    (r'$\frac$', True), ('..', True), ('a\udcffb', True), ('x' * 4096, True), ('x' * 4097, False), ('', False),
    ('a/b', False), ('/', False), ('a\0b', False), ('\ud800', False), (b'x', False)])
def test_names_of_files(value, expected):
    assert file_name(value) == expected
