"""The result of a run, and the scores of its validation and test texts at its end."""
import json
import math
import re
import shutil
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from charlstm import CharLSTM, read_mean_squares
from engine.backend import compiler
from engine.model import saving
from learner import progress_of
from numpy_model import NAMES, costs_of
from scripts import (DRIVER, FAST, PRODUCE, ROOT, STATEFUL, TEXT, TRAIN, WITH_COSTS, arrays_and_about, assert_refused,
                     load, log_rows, run, succeeded)

TEXTS = {'t': TEXT, 'valid': TEXT[::-1][:407] + 'ß', 'test': TEXT[300:805] + 'ñ'}
OPTIONS = [*STATEFUL, *'--dropout 0.2 --epochs 3 --save-every 1 --valid-every 5 --lrate 0.03'.split()]
FIXED = ['--valid', 'valid.txt', '--test', 'test.txt', '--test-adapt']
SCORE, STEP = ('charlstm', 'CharLSTM.score_text'), ('charlstm', 'CharLSTM.theano_train_rmsprop')


def made(folder, *words):
    """Return a finished run with validation and test texts."""
    for name, text in TEXTS.items():
        (folder / f'{name}.txt').write_text(text, encoding='utf-8')
    result = run(TRAIN, 't.txt', 'r', *OPTIONS, '--output-dir', 'results', *words, cwd=folder, flags=FAST)
    return SimpleNamespace(folder=folder, out=result.stdout, said=result.stderr, results=folder / 'results',
                           result=result_of(folder))


@pytest.fixture(scope='module')
def fixed(tmp_path_factory):
    return made(tmp_path_factory.mktemp('fixed'), *FIXED)


@pytest.fixture
def copied(fixed, tmp_path):
    """Return a copy of the finished run, with its texts."""
    folder = tmp_path / 'copy'
    shutil.copytree(str(fixed.folder), str(folder))
    return folder


def result_of(folder):
    return json.loads((folder / 'results' / 'r_t.txt_result.json').read_text())


def resume(folder, *words, at=None, do=('signal', int(signal.SIGKILL)), checkpoint='r_t.txt_epoch3.npz'):
    """Resume the run. at: a call of a function, at which DRIVER does something, or None."""
    command = ['-c', DRIVER, ROOT, *at, *do] if at else [TRAIN]
    return run(*command, '--resume', f'results/{checkpoint}', *words, cwd=folder, flags=FAST)


def test_fixed_texts_cost_what_numpy_says(fixed):
    best = fixed.results / 'r_t.txt_best.npz'
    for name in ('valid', 'test'):
        np.testing.assert_allclose(fixed.result[f'{name}_nats'], costs_of(load(best), TEXTS[name]).mean(), rtol=2e-5)
    for name in ('best_valid', 'valid', 'test', 'test_adapted'):
        assert fixed.result[f'{name}_bits'] == pytest.approx(fixed.result[f'{name}_nats'] / math.log(2), rel=1e-12)
        assert f'{fixed.result[name + "_nats"]:.4f} nats ({fixed.result[name + "_bits"]:.4f} bits)' in fixed.out


def test_adapted_score_is_that_of_the_best_model(fixed, interpreted):
    best = fixed.results / 'r_t.txt_best.npz'
    model = CharLSTM()
    model.load_params(best)
    adapted = model.score_text(TEXTS['test'], 1.2e-4, mean_squares=read_mean_squares(best)).mean(dtype='float64')
    assert fixed.result['test_adapted_nats'] == pytest.approx(adapted, rel=1e-4)
    assert abs(adapted / fixed.result['test_nats'] - 1) > 1e-4


def test_scores_of_a_run_in_bfloat16_are_those_of_produce_text(tmp_path, monkeypatch):
    """To the last digit, since both are in float32. A text that is used for training and validation gets a warning."""
    monkeypatch.setenv(compiler.VARIABLE, 'emulated')
    run_of = made(tmp_path, '--test', 'valid.txt', '--precision', 'bfloat16', '--valid', 't.txt')
    for name, text in (('valid', 't.txt'), ('test', 'valid.txt')):
        said = run(PRODUCE, run_of.results / 'r_t.txt_best.npz', '--score', text, '--json', cwd=tmp_path,
                   flags=FAST)
        assert json.loads(said.stdout)['nats_per_character'] == run_of.result[f'{name}_nats']
    assert re.findall('the (.*) is the training text', run_of.said) == ['validation text']


def test_result_has_what_the_readme_names(fixed):
    readme = (ROOT / 'training_results' / 'README.md').read_text()
    named = set(re.findall(r'`(\w+)`', readme[readme.index('## The result'):readme.index('## Resuming')]))
    assert 2 < len(named) and named <= set(fixed.result)
    assert not [value for value in fixed.result.values() if isinstance(value, (dict, list))]
    found, best = fixed.result, fixed.results / 'r_t.txt_best.npz'
    assert found['parameters'] == sum(load(best)[name].size for name in NAMES)
    assert (found['run'], found['finished'], found['epochs'], found['random_seed']) == ('r', True, 3, 3)
    assert (found['checkpoint'], found['id']) == (best.name, progress_of(best)['id'])
    validation = log_rows(fixed.results / 'r_t.txt_epochs.out')[:, 2]
    assert found['best_valid_nats'] == pytest.approx(validation.min(), rel=1e-5)
    assert found['best_epoch'] == found['checkpoint_epoch'] == validation.argmin() + 1
    for role, name in (('train', 't'), ('valid', 'valid'), ('test', 'test')):
        assert (found[f'{role}_text'], found[f'{role}_characters']) == (f'{name}.txt', len(TEXTS[name]))
        assert len(found[f'{role}_sha256']) == 64
    assert (found['cell'], found['version_device']) == ('standard', 'the CPU, 1 thread, by the C kernel, in float32')
    assert found['version_processor'] in Path('/proc/cpuinfo').read_text() and 'version_commit' in found
    assert 0 < found['training_seconds'] < 600 and found['option_dropout'] == 0.2
    assert str(fixed.folder) not in json.dumps(found)
    assert load(best)['uchar'].tolist() == sorted(set(''.join(TEXTS.values())))
    assert len(log_rows(fixed.results / 'r_t.txt.out')) == 3 * -(-(len(TEXT) // 6 - 1) // 11)      # 6 streams, 11 steps


def test_commit_of_a_clone(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, 'ROOT', str(tmp_path))
    monkeypatch.setattr(saving, 'shell', subprocess.getstatusoutput)
    found, git = [], f'git -C {tmp_path} -c user.name=a -c user.email=a@b'
    for change in ('true', f'{git} init; touch {tmp_path}/a; {git} add a; {git} commit -m a', f'echo > {tmp_path}/a'):
        assert subprocess.getstatusoutput(change)[0] == 0
        found.append(CharLSTM().versions()['commit'])
    commit = subprocess.getoutput(f'{git} rev-parse --short HEAD')
    assert found == [None, commit, f'{commit}-dirty']


def test_interrupted_run_scores_when_it_is_finished(fixed, copied, tmp_path):
    """It is first stopped in training, then while it scores, and then ends like a run that never stopped."""
    (copied / 'results').rename(tmp_path / 'away')
    steps = ['-c', DRIVER, ROOT, *STEP, 70, 'before', 'signal', int(signal.SIGINT), 't.txt', 'r', *OPTIONS, *FIXED,
             '--output-dir', 'results']
    first = run(*steps, cwd=copied, flags=FAST)
    assert (first.returncode, first.stderr) == (130, '') and 'scoring' not in first.stdout
    found = result_of(copied)
    assert not found['finished'] and found['test_nats'] is found['valid_nats'] is None and found['epochs'] == 1
    second = resume(copied, at=(*SCORE, 2, 'before'), do=('signal', int(signal.SIGINT)),
                    checkpoint='r_t.txt_interrupted.npz')
    assert second.returncode == 130 and '_epoch3.npz' in second.stdout and 'Traceback' not in second.stderr
    assert not (copied / 'results' / 'r_t.txt_result.json').exists()
    third = succeeded(resume(copied))
    assert 'nothing is left to train' in third and 'test text test.txt' in third
    different = dict(id=None, training_seconds=None, seconds=None)
    assert {**result_of(copied), **different} == {**fixed.result, **different}
    for name in ('r_t.txt_best.npz', 'r_t.txt_epoch3.npz'):
        stored, straight = [arrays_and_about(folder / 'results' / name) for folder in (copied, fixed.folder)]
        for found in (stored, straight):                                     # the paths differ
            del found['about']['text'], found['about']['progress']['options']
        assert stored == straight


def test_new_best_model_is_scored_again(fixed, copied):
    succeeded(run('-c', WITH_COSTS, ROOT, '0.5,0.25', TRAIN, '--resume', 'results/r_t.txt_epoch3.npz',
                  '--epochs', 5, cwd=copied, flags=FAST))
    found = result_of(copied)
    assert (found['best_epoch'], found['best_valid_nats'], found['option_epochs']) == (5, 0.25, 5)
    best = costs_of(load(copied / 'results' / 'r_t.txt_best.npz'), TEXTS['test']).mean()
    assert found['test_nats'] == pytest.approx(best, rel=2e-5) != fixed.result['test_nats']


def test_result_of_later_epochs_goes_when_a_run_begins_again_at_an_earlier_one(copied):
    killed = resume(copied, '--lrate', 0.01, '--overwrite', at=(*STEP, 1, 'before'),
                    checkpoint='r_t.txt_epoch1.npz')
    assert killed.returncode == -signal.SIGKILL
    assert not (copied / 'results' / 'r_t.txt_result.json').exists()


@pytest.mark.parametrize('option', ['valid', 'test'])
def test_resumed_with_another_text_is_refused(fixed, copied, in_process, monkeypatch, option):
    """Only the same text at another path is accepted."""
    monkeypatch.chdir(copied)
    (copied / 'other.txt').write_text(TEXTS[option][1:] * 2)
    result = in_process(TRAIN, '--resume', 'results/r_t.txt_epoch3.npz', f'--{option}', 'other.txt')
    assert_refused(result, 'is not the', 'SHA-256')
