"""produce_text.py as a user runs it: what it writes and scores, checkpoints that it refuses, disks that are full."""
import math
import os
import re
import resource
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import produce_text
from charlstm import CharLSTM
from damage import DAMAGE, write_checkpoint
from engine import terminal
from engine.theano_setup import theano
from models import P, default_mode
from numpy_model import H1, H2, LETTERS, costs, forward
from scripts import (FAST, PRODUCE, ROOT, TEXT, Compiling, assert_changes_nothing, assert_refused, contents, load, run,
                     sequences, succeeded, without_privileges)


@pytest.fixture
def produce(monkeypatch, capfd, judged):
    """produce_text.py's main() in this process, on our checkpoint; returns status, output and errors."""
    monkeypatch.chdir(judged.folder)

    def call(*arguments, checkpoint='r_t.txt_best.npz'):
        capfd.readouterr()
        monkeypatch.setattr(sys, 'argv', ['produce_text.py', checkpoint] + [str(a) for a in arguments])
        status = 0
        try:
            with default_mode(theano.compile.mode.FAST_COMPILE):
                terminal.main(produce_text.build_parser(), produce_text.program, less='')
        except SystemExit as end:
            status = end.code
        out, err = capfd.readouterr()
        return SimpleNamespace(returncode=status, stdout=out, stderr=err)

    return call


# ---------------------------------------------------------------- writing

def test_text_is_printed_and_appended(trained, tmp_path):
    def produce(seed):
        return succeeded(run(PRODUCE, trained.checkpoint, 'out.txt', '--random-seed', seed, flags=FAST, cwd=tmp_path))

    printed = produce(1)
    first = contents(tmp_path / 'out.txt')
    assert printed == first + 'appended to out.txt\n'
    texts = sequences(first, 5, 100)
    assert len(set(texts)) == 5 and set(''.join(texts)) <= set(TEXT)
    assert produce(1) == printed and contents(tmp_path / 'out.txt') == first + first
    produce(2)
    again = contents(tmp_path / 'out.txt')
    assert again.startswith(first + first) and sequences(again[2 * len(first):], 5, 100) != texts


def test_default_output(trained, program, tmp_path):
    out = succeeded(run(program / 'produce_text.py', trained.checkpoint, cwd=tmp_path))
    written = contents(program / 'text_output' / 'r1_sentences.txt_epoch3.out')
    assert len(sequences(written, 5, 100)) == 5 and out.startswith(written)
    assert 'r1_sentences.txt_epoch3.out' in out[len(written):]


def test_without_arguments_the_bundled_model_writes(trained, program, tmp_path):
    shutil.copy(str(trained.checkpoint), str(program / 'training_results' / 'prideandprejudice.npz'))
    out = succeeded(run(program / 'produce_text.py', cwd=tmp_path, flags=FAST))
    written = (program / 'text_output' / 'prideandprejudice.out').read_text(encoding='utf-8')
    assert written.count('# sequence ') == 5 and out.startswith(written[:50])


def test_bundled_model_knows_english():
    """What is in the repository loads, in half the precision that it was trained in, and expects what is English."""
    model = CharLSTM()
    model.model_setup(ROOT / 'training_results' / 'prideandprejudice.npz')
    assert load(ROOT / 'training_results' / 'prideandprejudice.npz')['W1'].dtype == np.float16
    english = 'She had never seen a place for which nature had done more, and he was not at all sorry to hear it.'
    with default_mode(theano.compile.mode.FAST_COMPILE):
        costs = [model.score_text(text).mean() for text in (english, english[::-1])]
    assert costs[0] < 1.6 < 3 < costs[1]


def test_options_of_sampling(trained, tmp_path):
    prime, length = 'the café 𝄞', 33
    succeeded(run(PRODUCE, trained.checkpoint, tmp_path / 'out', '--count', 3, '--length', length, '--prime', prime,
                  '--method', 'argmax', flags=FAST))
    p, texts = load(trained.checkpoint), sequences(contents(tmp_path / 'out'), 3, length)
    assert texts == texts[:1] * 3 and texts[0].startswith(prime)
    codes = np.searchsorted(p['uchar'], list(texts[0]))
    for k, expected in enumerate(forward(p, codes[:-1, None])[0][len(prime) - 1:, 0]):
        assert expected[codes[len(prime) + k]] > expected.max() * (1 - 1e-4)       # of two as probable either will do


def test_prime_file_and_stop(produce, tmp_path):
    (tmp_path / 'prime').write_bytes('\ufeffthe café\r\n'.encode('utf-8'))
    out = tmp_path / 'out'
    common = [out, '--count', 3, '--length', 300, '--random-seed', 4, '--prime-file', tmp_path / 'prime']
    free, stopped = [re.findall(r'# sequence \d:\n(.*?)\n\n(?=# sequence|appended)', succeeded(produce(*common, *more)),
                                re.DOTALL) for more in ([], ['--stop', 'a'])]
    assert [len(text) for text in free] == [300] * 3
    ends = [text.find('a', 9) + 1 for text in free]
    assert any(ends) and stopped == [text[:end or None] for text, end in zip(free, ends)]
    assert all(text.startswith('the café\n') for text in stopped)
    assert out.read_text(encoding='utf-8').endswith(stopped[2] + '\n\n')


def test_prime_and_prime_file(produce, tmp_path):
    (tmp_path / 'prime').write_text('the ')
    assert_refused(produce(tmp_path / 'out', '--prime', 'the ', '--prime-file', tmp_path / 'prime'), '--prime-file')
    assert_refused(produce(tmp_path / 'out', '--temperature', 0), 'temperature', '0')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('earlier', [True, False], ids=['old file', 'new file'])
def test_prime_with_unknown_characters(folder, earlier):
    write_checkpoint('p.npz')
    if earlier:
        (folder / 'out.txt').write_bytes(b'earlier')
    assert_changes_nothing(folder, run, PRODUCE, 'p.npz', 'out.txt', '--prime', 'aZ☃\U0001f600b', flags=FAST,
                           words=["'Z'", r"'\u2603'", r"'\U0001f600'"])


# ---------------------------------------------------------------- scores and what a checkpoint says

def test_score_of_a_file(produce, tmp_path):
    text = '7. the dog sang — café.\nold cat by a hill'
    (tmp_path / 'x.txt').write_bytes(text.replace('\n', '\r\n').encode('utf-8'))
    out = succeeded(produce('--score', tmp_path / 'x.txt')).splitlines()
    p = load('r_t.txt_best.npz')
    codes = np.array([list(p['uchar']).index(ch) for ch in text])[:, None]
    nats = costs(forward(p, codes[:-1])[0], codes[1:])[:, 0]
    said = re.search(r'(\d+) characters, ([\d.]+) nats and ([\d.]+) bits per character, perplexity ([\d.]+)', out[0])
    assert int(said.group(1)) == len(text)
    np.testing.assert_allclose([float(said.group(k)) for k in (2, 3, 4)],
                               [nats.mean(), nats.mean() / math.log(2), math.exp(nats.mean())], atol=6e-4)
    places = [re.match(r' *([\d.]+) nats at character (\d+): (.*) after ', line).groups() for line in out[-10:]]
    shown, at = [float(cost) for cost, _, _ in places], [int(place) for _, place, _ in places]
    np.testing.assert_allclose(shown, np.sort(nats)[::-1][:10], atol=6e-4)
    np.testing.assert_allclose(shown, nats[np.array(at) - 1], atol=6e-4)          # in any order where they are as large
    assert len(set(at)) == 10
    assert [ch for _, _, ch in places] == [repr(text[place]) for place in at]


def test_score_with_adapting_says_both(produce, tmp_path):
    (tmp_path / 'x.txt').write_text('the dog sang. ' * 90)
    before = Path('r_t.txt_best.npz').read_bytes()
    out = succeeded(produce('--score', tmp_path / 'x.txt', '--adapt')).splitlines()
    static, adapted = [float(re.search(r'([\d.]+) nats', line).group(1)) for line in out[:2]]
    assert 'adapting at 0.1' in out[1] and adapted < static - 0.1 and Path('r_t.txt_best.npz').read_bytes() == before
    slower = succeeded(produce('--score', tmp_path / 'x.txt', '--adapt', 0.001)).splitlines()[1]
    assert adapted < float(re.search(r'([\d.]+) nats', slower).group(1)) < static


def test_info(produce, judged):
    out = succeeded(produce('--info'))
    for words in ('5 and 7 units', '33 characters', 't.txt', 'stateful True', 'lrate 0.03', 'theano 1.0.5', 'sha256 ',
                  '{} epochs and 0 batches'.format(judged.best_epoch)):
        assert words in out
    assert float(re.search(r'best validation cost: ([\d.]+) nats', out).group(1)) == judged.costs.min()


def test_info_of_other_checkpoints(produce, lettered, tmp_path):
    """One of the original, and those of the class with a progress of the user's own."""
    np.savez(str(tmp_path / 'old.npz'), uchar=np.array(list(LETTERS), 'S1'), **P)
    out = succeeded(produce('--info', checkpoint=str(tmp_path / 'old.npz')))
    assert '{} and {} units'.format(H1, H2) in out and '11 characters' in out and 'original' in out
    for progress in (None, dict(note='mine'), dict(epoch=3)):
        path = lettered.save_params(tmp_path / 'mine', progress)
        assert '11 characters' in succeeded(produce('--info', checkpoint=path))


# ---------------------------------------------------------------- checkpoints that are refused

def refuse_checkpoint(folder, call, *words, path='p.npz', arguments=('out.txt',)):
    assert_changes_nothing(folder, call, PRODUCE, path, *arguments, words=['produce_text.py: '] + list(words))


def test_good_checkpoint_is_taken(folder, here):
    """What the other tests change one thing of."""
    write_checkpoint('p.npz')
    with pytest.raises(Compiling):
        here(PRODUCE, 'p.npz', 'out.txt')


@pytest.mark.parametrize('path, why', [('missing.npz', 'No such file'), ('results', 'Is a directory'),
                                       ('t.txt/p.npz', 'Not a directory')])
def test_checkpoint_that_cannot_be_read(folder, here, path, why):
    refuse_checkpoint(folder, here, 'cannot read ' + path, why, path=path)


def test_missing_checkpoint_in_a_process(folder):
    refuse_checkpoint(folder, run, 'cannot read missing.npz', path='missing.npz')


@pytest.mark.parametrize('name', DAMAGE)
def test_damaged_checkpoint(folder, here, name):
    DAMAGE[name].write('p.npz')
    refuse_checkpoint(folder, here, 'p.npz is not a checkpoint', *DAMAGE[name].words,
                      arguments=['--info'] if DAMAGE[name].of_about else ['out.txt'])


@pytest.mark.parametrize('name', ['file: text', 'cut: to 100 %', 'shape: three characters', 'pickle: the file',
                                  'pickle: array V'])
def test_damaged_checkpoint_in_a_process(folder, name):
    DAMAGE[name].write('p.npz')
    refuse_checkpoint(folder, run, 'p.npz is not a checkpoint', *DAMAGE[name].words)


# ---------------------------------------------------------------- places that cannot be written

@pytest.mark.parametrize('out, why', [('results', 'Is a directory'), ('missing/out.txt', 'No such file'),
                                      ('t.txt/out', 'Not a directory')])
def test_output_that_cannot_be_written(folder, here, out, why):
    write_checkpoint('p.npz')
    assert_changes_nothing(folder, here, PRODUCE, 'p.npz', out, words=['cannot write ' + out, why])


def test_output_without_permission(folder):
    write_checkpoint('p.npz')
    (folder / 'out.txt').write_bytes(b'earlier')
    (folder / 'out.txt').chmod(0o444)
    assert_changes_nothing(folder, run, PRODUCE, 'p.npz', 'out.txt', preexec_fn=without_privileges,
                           words=['cannot write out.txt', 'Permission denied'])


def test_output_on_a_full_device(folder):
    write_checkpoint('p.npz')
    assert_changes_nothing(folder, run, PRODUCE, 'p.npz', '/dev/full', flags=FAST,
                           words=['cannot write /dev/full', 'No space left'])


def test_text_is_appended_whole_or_not_at_all(folder):
    """The disk is full in the middle of a text: a limit on the size of files gives the same error."""
    write_checkpoint('p.npz')
    produce = [PRODUCE, 'p.npz', 'out.txt']
    assert run(*produce, flags=FAST).returncode == 0
    limit = os.path.getsize('out.txt') + 60
    assert_changes_nothing(folder, run, *produce, flags=FAST, words=['cannot write out.txt', 'File too large'],
                           preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
