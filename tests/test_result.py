"""The result of a run, and the texts that were named to validate and to test with, which are scored at its end."""
import json
import math
import re
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest

from charlstm import CharLSTM, read_averages
from engine.run.result import read
from learner import progress_of, quick
from numpy_model import NAMES, costs, forward
from scripts import (DRIVER, ROOT, STATEFUL, TEXT, TRAIN, WITH_COSTS, Compiling, arrays_and_about, assert_refused,
                     load, log_rows, refuse_training, run, snapshot, succeeded)

TEXTS = {'t': TEXT, 'valid': TEXT[::-1][:407] + 'ß', 'test': TEXT[300:805] + 'ñ'}
OPTIONS = [*STATEFUL, *'--dropout 0.2 --epochs 3 --save-every 1 --valid-every 5 --lrate 0.03'.split()]
FIXED = ['--valid', 'valid.txt', '--test', 'test.txt', '--test-adapt']
SCORE, STEP = ('charlstm', 'CharLSTM.score_text'), ('charlstm', 'CharLSTM.theano_train_rmsprop')
KILL = 'signal', int(signal.SIGKILL)

# Runs train.py and prints when it takes a text to score, scores, steps and loads parameters.
SPY = '''
import runpy, sys
sys.path.insert(0, sys.argv[1])
from charlstm import CharLSTM, read_averages
from engine.training import State

class Texts(dict):
    def __getitem__(self, role):
        print('spy: text', role)
        return dict.__getitem__(self, role)

def spied(name):
    function = getattr(CharLSTM, name)
    def call(self, *arguments, **settings):
        if self.texts:                           # not of the copy that adapts
            print('spy:', name)
        return function(self, *arguments, **settings)
    setattr(CharLSTM, name, call)

set_text = State._set_text
def set_spied(self, text):
    set_text(self, text)
    self.texts = Texts(self.texts)
State._set_text = set_spied
for name in ('theano_train_rmsprop', 'score_text', 'load_params'):
    spied(name)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name='__main__')
'''


@pytest.fixture(scope='module')
def fixed(tmp_path_factory):
    """Return a finished run with texts to validate and to test with, which a spy watched."""
    folder = tmp_path_factory.mktemp('fixed')
    for name, text in TEXTS.items():
        (folder / f'{name}.txt').write_text(text, encoding='utf-8')
    env = quick(folder)
    out = succeeded(run('-c', SPY, ROOT, TRAIN, 't.txt', 'r', *OPTIONS, *FIXED, '--output-dir', 'results', cwd=folder,
                        env=env))
    return SimpleNamespace(folder=folder, env=env, out=out, results=folder / 'results', result=result_of(folder))


@pytest.fixture
def copied(fixed, tmp_path):
    """Return a copy of the finished run, with its texts."""
    folder = tmp_path / 'copy'
    shutil.copytree(str(fixed.folder), str(folder))
    return folder


def result_of(folder):
    return json.loads((folder / 'results' / 'r_t.txt_result.json').read_text())


def resume(folder, fixed, *words, at=None, do=KILL, checkpoint='r_t.txt_epoch3.npz'):
    """Resume the run, and let a driver do something at the call of a function if there is one."""
    command = ['-c', DRIVER, ROOT, *at, *do] if at else [TRAIN]
    return run(*command, '--resume', f'results/{checkpoint}', *words, cwd=folder, env=fixed.env)


def cost_by_numpy(checkpoint, text):
    """Return the mean cost of a text as one stream, of all characters but the first."""
    p = load(checkpoint)
    codes = np.searchsorted(p['uchar'], list(text))[:, None]
    p = {name: p[name].astype('float64') for name in NAMES}
    return costs(forward(p, codes[:-1])[0], codes[1:]).mean()


# ---------------------------------------------------------------- what is scored, and when

def test_fixed_texts_cost_what_numpy_says(fixed):
    best = fixed.results / 'r_t.txt_best.npz'
    for name in ('valid', 'test'):
        np.testing.assert_allclose(fixed.result[f'{name}_nats'], cost_by_numpy(best, TEXTS[name]), rtol=2e-5)
    for name in ('best_valid', 'valid', 'test', 'test_adapted'):
        assert fixed.result[f'{name}_bits'] == pytest.approx(fixed.result[f'{name}_nats'] / math.log(2), rel=1e-12)
        assert f'{fixed.result[name + "_nats"]:.4f} nats ({fixed.result[name + "_bits"]:.4f} bits)' in fixed.out


def test_adapted_score_is_that_of_the_best_model(fixed, interpreted):
    best = fixed.results / 'r_t.txt_best.npz'
    model = CharLSTM()
    model.load_params(best)
    adapted = model.score_text(TEXTS['test'], 1e-4, averages=read_averages(best)).mean(dtype='float64')
    assert fixed.result['test_adapted_nats'] == pytest.approx(adapted, rel=1e-4)
    assert abs(adapted / fixed.result['test_nats'] - 1) > 1e-4


def test_texts_are_scored_once_after_the_last_step_and_the_best_model(fixed):
    seen = re.findall('spy: (.*)', fixed.out)
    last_step = len(seen) - seen[::-1].index('theano_train_rmsprop')
    assert set(seen[:last_step]) == {'theano_train_rmsprop'}
    assert seen[last_step:] == ['load_params', 'text valid', 'score_text', 'text test', 'score_text', 'text test',
                                'score_text']


def test_all_of_the_input_is_learned_from_and_the_vocabulary_is_of_all_texts(fixed):
    stored = load(fixed.results / 'r_t.txt_best.npz')
    assert stored['uchar'].tolist() == sorted(set(''.join(TEXTS.values())))
    steps = -(-(len(TEXT) // 6 - 1) // 11)                 # 6 streams, 11 steps
    assert len(log_rows(fixed.results / 'r_t.txt.out')) == 3 * steps
    assert f'{len(TEXT):,} characters, {len(stored["uchar"])} distinct in all texts' in fixed.out
    assert f'valid.txt: {len(TEXTS["valid"])} characters to validate with, in 6 streams' in fixed.out


def test_result_has_what_the_readme_lists(fixed):
    readme = (ROOT / 'training_results' / 'README.md').read_text()
    listed = set(re.findall(r'`(\w+)`', readme[readme.index('## The result'):readme.index('## Resuming')]))
    known = {name for name in fixed.result if not name.startswith(('option_', 'version_'))}
    assert known <= listed and {'option_', 'version_'} <= listed
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
    assert 0 < found['training_seconds'] < 600 and found['option_dropout'] == 0.2
    assert str(fixed.folder) not in json.dumps(found)


def test_result_of_a_run_without_fixed_texts(short_run):
    found = json.loads((short_run.folder / 'r_t.txt_result.json').read_text())
    assert found['finished'] and found['best_valid_nats'] == short_run.costs.min()
    assert {found[name] for name in found if re.match('(valid|test)_', name)} == {None}


# ---------------------------------------------------------------- stopped and resumed

def test_interrupted_run_scores_when_it_is_finished(fixed, copied, tmp_path):
    """First it is stopped in training, then while it scores, then it ends as one that never stopped."""
    (copied / 'results').rename(tmp_path / 'away')
    steps = ['-c', DRIVER, ROOT, *STEP, 70, 'before', 'signal', int(signal.SIGINT), 't.txt', 'r', *OPTIONS, *FIXED,
             '--output-dir', 'results']
    first = run(*steps, cwd=copied, env=fixed.env)
    assert (first.returncode, first.stderr) == (130, '') and 'scoring' not in first.stdout
    found = result_of(copied)
    assert not found['finished'] and found['test_nats'] is found['valid_nats'] is None and found['epochs'] == 1
    second = resume(copied, fixed, at=(*SCORE, 2, 'before'), do=('signal', int(signal.SIGINT)),
                    checkpoint='r_t.txt_interrupted.npz')
    assert (second.returncode, second.stderr) == (130, '') and 'the run scores when it is resumed' in second.stdout
    assert not result_of(copied)['finished'] and result_of(copied)['epochs'] == 3
    resuming = second.stdout.splitlines()[-1]
    assert resuming.startswith('to resume: ') and '--epochs' not in resuming
    third = succeeded(resume(copied, fixed))
    assert 'nothing left to learn' in third and 'test text test.txt' in third
    different = dict(id=None, training_seconds=None)
    assert {**result_of(copied), **different} == {**fixed.result, **different}
    for name in ('r_t.txt_best.npz', 'r_t.txt_epoch3.npz'):
        stored, straight = [arrays_and_about(folder / 'results' / name) for folder in (copied, fixed.folder)]
        for found in (stored, straight):                                     # the paths differ
            del found['about']['text'], found['about']['progress']['options']
        assert stored == straight


def test_finished_run_says_its_scores_and_does_not_score_again(fixed, copied):
    out = succeeded(resume(copied, fixed, at=(*SCORE, 1, 'before')))         # which would kill it
    assert 'scored already' in out and result_of(copied) == fixed.result
    for name in ('valid', 'test', 'test_adapted'):
        assert f'{fixed.result[name + "_nats"]:.4f} nats' in out


def test_options_that_nothing_learned_with_are_not_in_the_result(fixed, copied):
    """But those that more was learned with are."""
    out = succeeded(resume(copied, fixed, '--lrate', 0.001, '--epochs', 2, '--patience', 1))
    assert 'nothing left to learn' in out and 'options that it learned with stay' in out
    assert result_of(copied) == fixed.result and fixed.result['option_lrate'] == 0.03
    succeeded(resume(copied, fixed, '--lrate', 0.001, '--epochs', 4))
    assert (result_of(copied)['option_lrate'], result_of(copied)['option_epochs']) == (0.001, 4)


def test_new_best_model_is_scored_again_with_a_line(fixed, copied):
    out = succeeded(run('-c', WITH_COSTS, ROOT, '0.5,0.25', TRAIN, '--resume', 'results/r_t.txt_epoch3.npz',
                        '--epochs', 5, cwd=copied, env=fixed.env))
    found = result_of(copied)
    assert (found['best_epoch'], found['best_valid_nats']) == (5, 0.25)
    assert f'again: the scores until now are of the model of epoch {fixed.result["best_epoch"]}' in out
    best = cost_by_numpy(copied / 'results' / 'r_t.txt_best.npz', TEXTS['test'])
    assert found['test_nats'] == pytest.approx(best, rel=2e-5) != fixed.result['test_nats']


def test_result_of_later_epochs_goes_when_a_run_begins_again_at_an_earlier_one(fixed, copied):
    """Its scores could be taken for those of the model to come, whose epoch may be the same."""
    killed = resume(copied, fixed, '--lrate', 0.01, '--overwrite', at=(*STEP, 1, 'before'),
                    checkpoint='r_t.txt_epoch1.npz')
    assert killed.returncode == -signal.SIGKILL
    assert not (copied / 'results' / 'r_t.txt_result.json').exists()


def test_result_on_a_full_disk(fixed, copied):
    """The scores are printed, and one line says what could not be written, and how to resume."""
    (copied / 'results' / 'r_t.txt_result.json').unlink()
    result = resume(copied, fixed, at=(*SCORE, 3, 'before'), do=('full', 100))
    assert_refused(result, 'cannot write results/r_t.txt_result.json: File too large', '--resume')
    assert f'{fixed.result["test_adapted_nats"]:.4f} nats' in result.stdout
    assert not [name for name in snapshot(copied) if '_result.json' in name]


def test_result_that_is_not_of_this_run_is_not_replaced(fixed, copied):
    path = copied / 'results' / 'r_t.txt_result.json'
    for content in (json.dumps(dict(fixed.result, id='0' * 16)), '[' * 10 ** 5, 'mine', '{"id": 1}'):
        path.write_text(content)
        assert read(str(path), fixed.result['id']) == {}
    before = snapshot(copied)
    assert_refused(resume(copied, fixed), 'not known to be of the run', 'r_t.txt_result.json')
    assert snapshot(copied) == before


# ---------------------------------------------------------------- other texts, and options that contradict

@pytest.mark.parametrize('option, title', [('valid', 'validation text'), ('test', 'test text')])
def test_resumed_with_another_text(fixed, copied, in_process, monkeypatch, capfd, option, title):
    """It is refused, unless it is the same text in another place; near by, it is found."""
    monkeypatch.chdir(copied)
    words = TRAIN, '--resume', 'results/r_t.txt_epoch3.npz'
    about = json.loads(str(load(words[2])['about']))
    assert about['text'][option]['characters'] == len(TEXTS[option])
    result = in_process(*words, f'--{option}', 't.txt')
    assert_refused(result, f'characters, is not the {title} of that run', about['text'][option]['sha256'])
    (fixed.folder / f'{option}.txt').rename(fixed.folder / 'hidden')
    try:
        (copied / f'{option}.txt').rename(copied / 'elsewhere.txt')           # not in the current folder either
        assert_refused(in_process(*words), f'{option}.txt, the {title} of that run, is gone',
                       f'--{option} {option}.txt --resume')
        for place in ('elsewhere.txt', f'results/{option}.txt'):
            if not (copied / place).exists():
                shutil.copy('elsewhere.txt', place)
            with pytest.raises(Compiling):
                in_process(*words, *[f'--{option}', place] * ('elsewhere' in place))
        assert 'is gone: taking results/' in capfd.readouterr().out
    finally:
        (fixed.folder / 'hidden').rename(fixed.folder / f'{option}.txt')


def test_run_without_fixed_texts_gets_none_when_it_is_resumed(short_run, in_process):
    for option in ('--valid', '--test'):
        assert_refused(in_process(TRAIN, '--resume', short_run.checkpoint, option, short_run.folder / 't.txt'),
                       option, 'had none')


@pytest.mark.parametrize('words, said', [
    (['--valid', 't.txt', '--ratio-valid', 0.3], ['--valid and --ratio-valid']), (['--test-adapt'], ['needs --test']),
    (['--valid', 'none'], ['cannot read none']), (['--test', ''], ['cannot read '])],
    ids=str)
def test_options_that_contradict(folder, in_process, words, said):
    refuse_training(folder, in_process, *said, options=words)
