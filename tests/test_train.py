"""train.py as a user runs it: its text, its output, its initial parameters, and what it refuses."""
import json
import math
import re
import shlex
from pydoc_data.topics import topics
from types import SimpleNamespace

import numpy as np
import pytest

from novel import NOVEL
from scripts import (FAST, N_TRAIN, PRODUCE, ROOT, SMALL, STATEFUL, TEXT, TRAIN, WITH_MATPLOTLIB, Compiling,
                     assert_refused, interrupted, load, paste, refuse_training, run, start, succeeded,
                     without_id)


def test_training_says_what_it_does_and_nothing_on_stderr(trained):
    out = succeeded(trained.result)
    assert '\r' not in out and out.startswith('reading ')
    for words in (f'{len(TEXT):,} characters', f'{N_TRAIN} batches', f' {math.log(33):.2f} by guessing, ',
                  '; up to 3 epochs; random seed 3\n', '\nlearning rate 0.002; dropout 0.'):
        assert words in out
    lines = out.splitlines()
    assert [line[:9] for line in lines if line.startswith('epoch')] == ['epoch 1/3', 'epoch 2/3', 'epoch 3/3']
    saved = [line.split()[-1] for line in lines if line.startswith('saved')]
    assert [name for name in saved if not name.endswith('_best.npz')] == ['results/r1_sentences.txt_epoch3.npz']
    assert [line for line in lines if 'it writes' in line] == [f'what it writes after epoch {n}:' for n in (1, 3)]
    following, resuming = [shlex.split(line.split(': ', 1)[1]) for line in lines[-2:]]
    assert lines[-2].startswith('next: ') and lines[-1].startswith('to resume: ')
    assert following[-2:] == [str(PRODUCE), 'results/r1_sentences.txt_best.npz']
    assert resuming[-5:] == [str(TRAIN), '--resume', saved[-1], '--epochs', '6']


@pytest.mark.parametrize('layers, said', [(1, '1 layer of 5 units'), (3, '3 layers of 5, 7 and 7 units')])
def test_other_numbers_of_layers(tmp_path, produce, layers, said):
    """Trained, resumed bit for bit, described, started from, exported and read again, scored, adapted, and held."""
    (tmp_path / 't.txt').write_text('the dog sang. old cats sat by a hill.\n' * 70)
    small = ['t.txt', 'r', *[word for word in STATEFUL if layers > 1 or word not in ('--num-units2', '7')]]
    words = [*small, '--layers', layers, '--epochs', 2, '--save-every', 1, '--output-dir', 'out']
    out = succeeded(run(TRAIN, *words, cwd=tmp_path, flags=FAST))
    best, straight = tmp_path / 'out/r_t.txt_best.npz', load(tmp_path / 'out/r_t.txt_epoch2.npz')
    assert said in out and {f'W{layers}', f'weights_U{layers}', 'V'} <= {*straight} and f'W{layers + 1}' not in straight
    succeeded(run(TRAIN, '--resume', 'out/r_t.txt_epoch1.npz', '--overwrite', cwd=tmp_path, flags=FAST))
    resumed = load(tmp_path / 'out/r_t.txt_epoch2.npz')
    assert all(straight[name].tobytes() == resumed[name].tobytes() for name in straight if name != 'about')
    assert said in succeeded(run(TRAIN, 't.txt', 'i', *STATEFUL[4:], '--init', best, '--epochs', 1, '--output-dir',
                                 'out', cwd=tmp_path, flags=FAST))
    tensors = tmp_path / 'm.safetensors'
    assert produce('--export', tensors, checkpoint=str(best)).returncode == 0
    scored, again, adapted = [
        json.loads(produce('--score', tmp_path / 't.txt', *more, '--json', checkpoint=str(model)).stdout)
        for model, more in ((best, []), (tensors, []), (best, ['--adapt']))]
    nats = [found['nats_per_character'] for found in (scored, again, adapted['adapted'])]
    assert nats[0] == nats[1] != nats[2] and said in produce('--info', checkpoint=str(tensors)).stdout
    words = '--count', 1, '--length', 9, tmp_path / 'text', '--hold'
    assert produce(*words, f'C{layers}:4=1', checkpoint=str(best)).returncode == 0
    assert_refused(produce(*words, f'C{layers + 1}:4=1', checkpoint=str(best)), f"'C{layers}'")


@pytest.fixture(scope='module')
def unvalidated(tmp_path_factory):
    """Return a run without validation, with a text in latin-1, a space in its name, and no cache of matplotlib."""
    folder = tmp_path_factory.mktemp('unvalidated')
    text = TEXT.replace('—', '\xa0').replace('𝄞', 'ÿ')
    (folder / 't.txt').write_bytes(text.encode('latin-1'))
    result = run(TRAIN, folder / 't.txt', 'my run', *SMALL, '--epochs', 2, '--ratio-valid', 0, '--encoding', 'latin-1',
                 '--output-dir', folder, cwd=folder, flags=FAST,
                 env=dict(WITH_MATPLOTLIB, MPLCONFIGDIR=str(folder / 'matplotlib')))
    return SimpleNamespace(folder=folder, text=text, result=result)


def test_no_validation_gives_nan_columns_and_a_plot(unvalidated):
    succeeded(unvalidated.result)
    for end in ('.out', '_epochs.out'):
        rows = np.loadtxt(str(unvalidated.folder / ('my run_t.txt' + end)))
        assert np.isnan(rows[:, 2]).all() and np.isfinite(rows[:, 1]).all()
    assert (unvalidated.folder / 'my run_t.txt.png').read_bytes().startswith(b'\x89PNG')
    stored = load(unvalidated.folder / 'my run_t.txt_epoch2.npz')
    assert stored['uchar'].tolist() == sorted(set(unvalidated.text))


def test_printed_commands_run_as_pasted_in_spite_of_a_space(unvalidated):
    following, resuming = [line.split(': ', 1)[1] for line in unvalidated.result.stdout.splitlines()[-2:]]
    written = paste(following + ' --count 1 --length 7 out.txt', unvalidated.folder)
    assert written.returncode == 0 and 1 < len(written.stdout) <= 8 and (unvalidated.folder / 'out.txt').exists()
    resumed = paste(resuming, unvalidated.folder)
    assert resumed.returncode == 0 and 'epoch 4/4' in resumed.stdout


def test_drawn_random_seed_repeats_the_run(with_text, in_process, capfd):
    """The seed is printed and stored, and another start draws another one."""
    words = SMALL[:SMALL.index('--random-seed')] + ['--epochs', 1, '--output-dir', with_text]
    first = succeeded(run(TRAIN, with_text / 't.txt', 'a', *words, flags=FAST))
    seed = re.search(r'random seed (\d+)', first).group(1)
    succeeded(run(TRAIN, with_text / 't.txt', 'b', *words, '--random-seed', seed, flags=FAST))
    assert without_id(with_text / 'a_t.txt.out') == without_id(with_text / 'b_t.txt.out')
    with pytest.raises(Compiling):
        in_process(TRAIN, with_text / 't.txt', 'c', *words)
    assert re.search(r'random seed (\d+)', capfd.readouterr().out).group(1) != seed


def test_init_through_train(short_run, in_process, capfd, tmp_path):
    """Other numbers of units are refused in one line; with the checkpoint's, typed or not, it begins to compile."""
    (tmp_path / 'new.txt').write_text(TEXT[::-1] + 'ñ', encoding='utf-8')
    command = [TRAIN, tmp_path / 'new.txt', 'x', '--batch-size', 6, '--seq-length', 11, '--output-dir', tmp_path,
               '--init', short_run.checkpoint]
    result = in_process(*command, '--num-units1', 6, '--num-units2', 7)
    assert_refused(result, str(short_run.checkpoint), '(5, 7)', '(6, 7)')
    for typed in (['--num-units1', 5, '--num-units2', 7], [], ['--small']):
        with pytest.raises(Compiling):
            in_process(*command, *typed)
        out = capfd.readouterr().out
        assert re.search(f'2 layers of 5 and 7 units, .*, from the parameters of {short_run.checkpoint}', out)


def test_output_folder_in_a_folder_of_texts_is_refused(folder, in_process):
    """The next run would read the samples of this one."""
    (folder / 'books').mkdir()
    (folder / 't.txt').rename(folder / 'books' / 't.txt')
    for output in ('books', './books/sub/..', 'books/new/results'):
        refuse_training(folder, in_process, output, text='books', options=['--output-dir', output])
    with pytest.raises(Compiling):
        in_process(TRAIN, 'books', 'r', *SMALL, '--output-dir', 'books2')


@pytest.mark.parametrize('text', ['prideandprejudice', 'python_reference'])
def test_default_text(program, server, closed_url, text):
    """The novel is fetched once; without a network, Python's reference takes its place. A step is enough."""
    folder, results, novel = program / 'text_input', program / 'training_results', text == 'prideandprejudice'
    url = server.url if novel else closed_url
    words = dict(cwd=program.parent, env={'CHARLSTM_NOVEL_URL': url}, flags=FAST)
    process = start(program / 'train.py', '--original', '--num-units1', 2, '--num-units2', 3, **words)
    result = interrupted(process, results / f'run0_{text}.txt.out')
    assert (result.returncode, result.stderr) == (130, '') and [*folder.glob('*.txt')] == [folder / f'{text}.txt']
    said = [line for line in result.stdout.splitlines() if url in line and 'python_reference.txt' in line]
    assert len(said) == (not novel)
    characters = load(results / f'run0_{text}.txt_interrupted.npz')['uchar'].tolist()
    assert characters == sorted(set(NOVEL if novel else '\n'.join(topics.values())))
    assert_refused(run(program / 'train.py', folder / f'{text}.txt', 'run0', **words), 'exists already', '--overwrite')
    assert len(server.requests) == novel


def test_run_without_a_name_takes_the_next_one(folder, in_process, capfd):
    """The first without files or, to resume, the last with files; a name that is typed is refused if it exists."""
    said = []
    for more in ([], [], ['--resume', 'last'], ['--overwrite']):
        with pytest.raises(Compiling):
            in_process(TRAIN, 't.txt', *SMALL, '--output-dir', 'results', *more)
        said.append(re.findall('this run is called run\\d+|starting a new run', capfd.readouterr().out))
        (folder / 'results' / f'run{len(said) - 1}_t.txt.out').write_bytes(b'')
    assert said == [[], ['this run is called run1'], ['starting a new run'], []]
    result = in_process(TRAIN, 't.txt', 'run1', *SMALL, '--output-dir', 'results')
    assert_refused(result, 'run1_t.txt.out exists already')


# ---------------------------------------------------------------- Windows: its compilers and shells are not tested

# Runs a script without what Windows lacks: signals, locks and flags. A path that is open in this process can be neither
# renamed, replaced nor removed.
AS_ON_WINDOWS = '''
import glob, os, runpy, signal, sys
sys.modules.update(fcntl=None, resource=None)
for owner, names in ((os, 'O_NOFOLLOW sched_getaffinity geteuid getuid'), (signal, 'SIGUSR1 SIGHUP')):
    for name in names.split():
        delattr(owner, name)
def unless_open(change):
    def changed(*paths, **more):
        is_open = {os.path.realpath(link) for link in glob.glob('/proc/self/fd/*')}
        if is_open & {os.path.realpath(path) for path in paths}:
            raise PermissionError(13, 'The process cannot access the file because it is being used')
        return change(*paths, **more)
    return changed
for name in 'rename', 'replace', 'remove', 'unlink':
    setattr(os, name, unless_open(getattr(os, name)))
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name='__main__')
'''


def test_scripts_train_resume_write_and_refuse(with_text):
    train, more = [AS_ON_WINDOWS, ROOT / 'train.py', 't.txt', 'r', *STATEFUL, '--output-dir', '.'], dict(cwd=with_text)
    succeeded(run('-c', *train, '--epochs', 1, **more))
    assert 'resuming after epoch 1' in succeeded(run('-c', *train, '--epochs', 2, '--resume', 'last', **more))
    assert_refused(run('-c', *train, **more), 'r_t.txt.out exists already')
    assert 'epoch 1/1' in succeeded(run('-c', *train, '--epochs', 1, '--overwrite', **more))
    page = run('-c', AS_ON_WINDOWS, PRODUCE, 'r_t.txt_best.npz', '--page', 'a.html', **more)
    assert page.returncode == 0 and (with_text / 'a.html').exists(), page.stderr
    assert sorted(path.suffix for path in with_text.iterdir() if path.suffix in ('.npz', '.part')) == ['.npz', '.npz']
