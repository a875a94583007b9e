"""Bad input through the two scripts: exit status 2, one line on stderr, and nothing written or lost.

Each kind has a process of its own. Of cases that are much alike, as the options out of range, most
run the script in this process instead (the fixture `here`), since a process of its own costs each
of them a second for Theano's import.
"""
import ctypes
import itertools
import os
import pickle
import re
import resource
import runpy
import signal
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from engine.run import Run
from numpy_model import NAMES, random_parameters
from scripts import FAST, PRODUCE, ROOT, SMALL, TRAIN, assert_refused, finish, load, run, sentences, snapshot, start

TEXT = sentences()
RESULTS = ['r_t.txt' + end for end in ('.out', '_epochs.out', '.png', '_epoch7.npz', '_interrupted.npz')]


class Compiling(BaseException):       # so that no script catches it
    """The script took its input, and began to compile."""


@pytest.fixture
def here(monkeypatch, capfd):
    """Runs a script's main() in this process, up to where it would compile."""
    monkeypatch.syspath_prepend(str(ROOT))
    from charlstm import theano

    def compiling(*args, **kwargs):
        raise Compiling

    def call(script, *arguments):
        capfd.readouterr()
        monkeypatch.setattr(sys, 'argv', [str(script)] + [str(a) for a in arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(script), run_name='__main__')
        out, err = capfd.readouterr()
        return SimpleNamespace(returncode=end.value.code, stdout=out, stderr=err)

    monkeypatch.setattr(theano, 'function', compiling)
    return call


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a text t.txt and the results of an earlier run, other."""
    (tmp_path / 't.txt').write_bytes(TEXT.encode('utf-8'))
    (tmp_path / 'results').mkdir()
    (tmp_path / 'results' / 'other_t.txt.out').write_bytes(b'earlier')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_changes_nothing(folder, call, script, *arguments, words, **options):
    """The script refuses, with these words, and leaves the folder as it was."""
    before = snapshot(folder)
    assert_refused(call(script, *arguments, **options), *words)
    assert snapshot(folder) == before


def refuse_training(folder, call, *words, text='t.txt', name='r', options=(), **more):
    assert_changes_nothing(folder, call, TRAIN, text, name, *SMALL, '--output-dir', 'results', *options,
                           words=['train.py: '] + list(words), **more)


def without_privileges():
    """Make permissions count for root too, in the program that this process is about to become."""
    if os.geteuid() == 0:
        for capability in (1, 2):                    # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            if ctypes.CDLL(None, use_errno=True).prctl(24, capability, 0, 0, 0):        # PR_CAPBSET_DROP
                raise OSError(ctypes.get_errno(), 'cannot drop a capability')


# ---------------------------------------------------------------- the text

@pytest.mark.parametrize('path, why', [
    ('missing.txt', 'No such file'), ('results', 'Is a directory'), ('t.txt/x', 'Not a directory'),
    ('/proc/self/mem', 'Input/output error')], ids=['missing', 'a directory', 'below a file', 'fails when read'])
def test_text_that_cannot_be_read(folder, path, why):
    refuse_training(folder, run, 'cannot read ' + path, why, text=path)


def test_text_without_permission(folder):
    (folder / 'secret.txt').write_text(TEXT)
    (folder / 'secret.txt').chmod(0)
    before = sorted(os.listdir(str(folder))), os.listdir('results')
    result = run(TRAIN, 'secret.txt', 'r', '--output-dir', 'results', preexec_fn=without_privileges)
    assert_refused(result, 'train.py: cannot read secret.txt', 'Permission denied')
    assert (sorted(os.listdir(str(folder))), os.listdir('results')) == before


def test_empty_text(folder):
    (folder / 'empty.txt').write_bytes(b'')
    refuse_training(folder, run, 'empty.txt', '0 characters', text='empty.txt')


@pytest.mark.parametrize('content', [
    b'a' * 3000, b'\r\n' * 3000, b'\xef\xbb\xbf' + b'a' * 3000, '𝄞'.encode('utf-8') * 3000],
    ids=['a', 'CRLF', 'byte order mark and a', 'astral'])
def test_text_of_one_character(folder, here, content):
    (folder / 'same.txt').write_bytes(content)
    refuse_training(folder, here, 'same.txt', 'only one distinct character', text='same.txt')


def test_text_of_one_character_in_a_process(folder):
    (folder / 'same.txt').write_bytes(b'a' * 3000)
    refuse_training(folder, run, 'same.txt', 'only one distinct character', text='same.txt')


MEBIBYTE = 2 ** 20            # pieces in which a text is read


@pytest.mark.parametrize('content, encoding, offset', [
    (b'one\xfftwo', 'utf-8', 3),
    ('déjà vu'.encode('latin-1'), 'utf-8', 1),
    ('déjà vu'.encode('utf-8'), 'ascii', 1),
    (b'abc' * 999 + b'\xc3', 'utf-8', 2997),
    (b'a' * (MEBIBYTE - 1) + 'é'.encode() + b'b' * 10 + b'\xff', 'utf-8', MEBIBYTE + 11),
    (b'a' * (MEBIBYTE - 1) + b'\xc3' + b'b' * 10, 'utf-8', MEBIBYTE - 1),
    ('ab'.encode('utf-16') + b'\x00\xdcxx', 'utf-16', 6),
    (b'no byte order mark', 'utf-16', 0),
], ids=['bad byte', 'latin-1', 'ascii', 'cut at the end', 'in the second piece', 'across pieces', 'utf-16', 'no mark'])
def test_wrong_encoding(folder, here, content, encoding, offset):
    (folder / 'odd.txt').write_bytes(content)
    refuse_training(folder, here, 'odd.txt', 'byte {} '.format(offset), 'option encoding', text='odd.txt',
                    options=['--encoding', encoding])


def test_wrong_encoding_in_a_process(folder):
    (folder / 'odd.txt').write_bytes('déjà vu'.encode('latin-1'))
    refuse_training(folder, run, 'odd.txt', 'byte 1 ', 'option encoding', text='odd.txt')


@pytest.mark.parametrize('name', ['utf-99', '', 'hex'])
def test_encoding_that_is_none(folder, here, name):
    refuse_training(folder, here, repr(name), 'encoding', options=['--encoding', name])


def settings(ratio, B, S):
    return ['--ratio-valid', ratio, '--batch-size', B, '--seq-length', S]


@pytest.mark.parametrize('ratio, B, S', [(0.3, 6, 11), (0, 50, 2), (0.5, 1, 3), (0.9, 7, 5), (0.99, 3, 4)])
def test_text_too_short_for_a_batch(folder, here, ratio, B, S):
    """The number that is named is the least that will do: by trial, of the issue's rule and of the script."""
    needed = S * next(n for n in itertools.count(1) if round((1 - ratio) * n) >= B)
    (folder / 'short.txt').write_text(('ab' * needed)[:needed - 1])
    refuse_training(folder, here, 'has {:,} characters'.format(needed - 1), 'need {:,}'.format(needed),
                    text='short.txt', options=settings(ratio, B, S))
    (folder / 'short.txt').write_text(('ab' * needed)[:needed])
    with pytest.raises(Compiling):
        here(TRAIN, 'short.txt', 'r', '--output-dir', 'results', *settings(ratio, B, S))


@pytest.mark.parametrize('options', [settings(0.3, 6, 1000), settings(0.9999999999, 6, 11)],
                         ids=['long sequences', 'hardly any training'])
def test_text_too_short_in_a_process(folder, options):
    refuse_training(folder, run, 't.txt has {:,} characters'.format(len(TEXT)), 'need', options=options, timeout=20)


# ---------------------------------------------------------------- options

OUT_OF_RANGE = {
    'epochs': [0, -1], 'save-every': [0, -3], 'valid-every': [0, -3], 'batch-size': [0, -1], 'seq-length': [1, 0, -1],
    'num-units1': [0, -1, 10 ** 12], 'num-units2': [0, -1], 'bptt-maxdepth': [0, -2],
    'lrate-decay-epoch': [0, -1], 'random-seed': [-1], 'ratio-valid': [1.0, -0.1, np.nan, np.inf],
    'lrate': [0.0, -0.1, np.nan, np.inf], 'lrate-decay': [0.0, -0.5, 1.5, np.nan, np.inf],
    'drate': [1.0, -0.1, np.nan], 'eps': [0.0, -1e-8, np.nan],
    'l1': [-0.1, np.nan, np.inf], 'l2': [-0.1, np.nan, np.inf]}


@pytest.mark.parametrize('option, value', [
    (option, value) for option, values in OUT_OF_RANGE.items() for value in values])
def test_number_out_of_range(folder, here, option, value):
    before = snapshot(folder)
    result = here(TRAIN, 't.txt', 'r', *SMALL, '--output-dir', 'results', '--{}={}'.format(option, value))
    assert_refused(result, 'train.py: ', str(value))
    assert re.search(option.replace('-', '[-_]'), result.stderr)
    assert snapshot(folder) == before


@pytest.mark.parametrize('option', ['epochs', 'num-units1', 'seq-length'])
def test_zero_in_a_process(folder, option):
    refuse_training(folder, run, ' is 0: expected', options=['--' + option, 0])


@pytest.mark.parametrize('option, value', [
    ('length', 0), ('length', -5), ('count', 0), ('count', -1), ('count', 10 ** 15), ('random-seed', -1)])
def test_number_out_of_range_for_sampling(folder, here, option, value):
    write_checkpoint('p.npz')
    before = snapshot(folder)
    result = here(PRODUCE, 'p.npz', 'out.txt', '--{}={}'.format(option, value))
    assert_refused(result, 'produce_text.py: ', str(value))
    assert re.search(option.replace('-', '[-_]'), result.stderr)
    assert snapshot(folder) == before


@pytest.mark.parametrize('script, arguments, named', [
    (TRAIN, ['t.txt', 'r', '--epochs', 'many'], '--epochs'), (TRAIN, ['t.txt', 'r', '--lrate', 'x'], '--lrate'),
    (TRAIN, ['t.txt', 'r', '--batch-size', '2.5'], '--batch-size'), (TRAIN, ['t.txt', 'r', 'more'], 'more'),
    (PRODUCE, ['p.npz', '--method', 'best'], '--method'), (PRODUCE, [], 'PARAMS')])
def test_argument_of_the_wrong_kind(folder, here, script, arguments, named):
    """argparse's own refusal, which has its usage before the line."""
    before = snapshot(folder)
    result = here(script, *arguments)
    assert result.returncode == 2 and result.stderr.startswith('usage: ')
    assert named in result.stderr.splitlines()[-1] and 'Traceback' not in result.stderr
    assert snapshot(folder) == before


# ---------------------------------------------------------------- run names and results

@pytest.mark.parametrize('name', ['a/b', '/', '../r', 'r/', ''])
def test_run_name_that_is_a_path(folder, here, name):
    refuse_training(folder, here, 'run name', repr(name), name=name)


def test_run_name_that_is_a_path_in_a_process(folder):
    refuse_training(folder, run, 'run name', repr('../r'), name='../r')


def train_results(name):
    """The files of a run of that name, as train.py knows them."""
    return Run('results', name, 't.txt')


@pytest.mark.parametrize('name', ['..', '.', 'a b', 'ü', '%s{}'])
def test_odd_run_name_stays_in_the_output_folder(folder, here, name):
    before = set(snapshot(folder))
    with pytest.raises(Compiling):
        here(TRAIN, 't.txt', name, *SMALL, '--output-dir', 'results')
    assert set(snapshot(folder)) == before                   # refused by nothing, and nothing written before compiling
    runs = train_results(name)
    assert os.path.dirname(runs.path('.out')) == 'results' and os.path.basename(runs.path('.out')) == name + '_t.txt.out'


@pytest.mark.parametrize('name', RESULTS)
def test_earlier_result_is_not_replaced(folder, here, name):
    (folder / 'results' / name).write_bytes(b'precious')
    refuse_training(folder, here, os.path.join('results', name), '--overwrite')


def test_earlier_results_are_not_replaced_in_a_process(folder):
    for name in RESULTS:
        (folder / 'results' / name).write_bytes(b'precious')
    refuse_training(folder, run, 'exists already', '--overwrite')


@pytest.mark.parametrize('text, options, word', [
    ('missing.txt', [], 'missing.txt'), ('t.txt', ['--epochs', 0], 'epochs'), ('t.txt', ['--lrate', 'nan'], 'lrate'),
    ('t.txt', ['--seq-length', 1000], 'need')], ids=['missing text', 'epochs', 'rate', 'too short'])
def test_overwrite_with_bad_input_loses_nothing(folder, here, text, options, word):
    for name in RESULTS:
        (folder / 'results' / name.replace('t.txt', text)).write_bytes(b'precious')
    refuse_training(folder, here, word, text=text, options=['--overwrite'] + options)


@pytest.mark.parametrize('output', ['t.txt', 't.txt/x', '/proc/x'])
def test_output_folder_that_cannot_be(folder, here, output):
    refuse_training(folder, here, output, options=['--output-dir', output])


def test_output_folder_without_permission(folder):
    (folder / 'results').chmod(0o555)
    refuse_training(folder, run, 'r_t.txt.out', 'Permission denied', preexec_fn=without_privileges)


# ---------------------------------------------------------------- checkpoints

def write_checkpoint(path, **changes):
    """A checkpoint whose every array is right but for the changes; one that is None is left out."""
    uchar = np.array(list('abé— 𝄞\n'))
    arrays = dict(random_parameters(5, 'float32', len(uchar), 3, 2), uchar=uchar)
    arrays.update(changes)
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def stored(name):
    return load(write_checkpoint('p.npz'))[name]


def refuse_checkpoint(folder, call, *words, path='p.npz', **options):
    assert_changes_nothing(folder, call, PRODUCE, path, 'out.txt', words=['produce_text.py: '] + list(words), **options)


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


def test_text_is_no_checkpoint(folder):
    refuse_checkpoint(folder, run, 't.txt', 'npz', path='t.txt')


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04', b'\x93NUMPY\x01\x00'], ids=['empty', 'zip', 'npy'])
def test_file_that_is_no_npz(folder, here, content):
    (folder / 'p.npz').write_bytes(content)
    refuse_checkpoint(folder, here, 'p.npz', 'npz')


@pytest.mark.parametrize('kept', [0.02, 0.5, 0.9, 0.999])
def test_checkpoint_cut_short(folder, here, kept):
    write_checkpoint('p.npz')
    content = (folder / 'p.npz').read_bytes()
    (folder / 'p.npz').write_bytes(content[:int(kept * len(content))])
    refuse_checkpoint(folder, here, 'p.npz', 'cut short')


def test_checkpoint_cut_short_in_a_process(folder):
    write_checkpoint('p.npz')
    content = (folder / 'p.npz').read_bytes()
    (folder / 'p.npz').write_bytes(content[:-1])
    refuse_checkpoint(folder, run, 'p.npz', 'cut short')


def test_checkpoint_with_a_damaged_byte(folder, here):
    damaged = stored('U1').tobytes()
    content = (folder / 'p.npz').read_bytes()
    assert content.count(damaged) == 1
    (folder / 'p.npz').write_bytes(content.replace(damaged, damaged[:7] + b'~' + damaged[8:]))
    refuse_checkpoint(folder, here, 'p.npz', 'U1')


@pytest.mark.parametrize('name', NAMES + ('uchar',))
def test_checkpoint_without_an_array(folder, here, name):
    write_checkpoint('p.npz', **{name: None})
    refuse_checkpoint(folder, here, 'p.npz', 'no ' + name)


@pytest.mark.parametrize('change', ['longer', 'another dimension', 'a number'])
@pytest.mark.parametrize('name', NAMES)
def test_checkpoint_of_inconsistent_shapes(folder, here, name, change):
    array = stored(name)
    array = {'longer': np.concatenate([array, array[..., :1]], axis=-1), 'another dimension': array[None],
             'a number': array.flat[0]}[change]
    write_checkpoint('p.npz', **{name: array})
    refuse_checkpoint(folder, here, 'p.npz', 'shape' if change == 'longer' else 'p.npz')


def test_checkpoint_of_inconsistent_shapes_in_a_process(folder):
    write_checkpoint('p.npz', uchar=np.array(list('abc')))
    refuse_checkpoint(folder, run, 'p.npz', 'shape')


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf, 1e300], ids=['nan', 'inf', '-inf', 'beyond float32'])
@pytest.mark.parametrize('name', ['U1', 'b2', 'c'])
def test_checkpoint_with_a_number_that_is_not_finite(folder, here, name, value):
    array = stored(name).astype('float64')
    array.flat[-1] = value
    write_checkpoint('p.npz', **{name: array})
    refuse_checkpoint(folder, here, 'p.npz', name, 'finite')


@pytest.mark.parametrize('name, array', [
    ('U1', np.ones((4, 3, 7), int)), ('c', np.ones(7, complex)), ('b1', np.full((4, 3), 'x')),
    ('uchar', np.arange(7)), ('uchar', np.array(['a'] * 7)), ('uchar', np.array(['ab'] + list('cdefgh'))),
    ('uchar', np.array([list('abcdefg')])), ('uchar', np.array(['', ''] + list('cdefg')))],
    ids=['whole numbers', 'complex', 'strings', 'numbers', 'the same', 'two letters', 'two dimensions', 'two of none'])
def test_checkpoint_of_wrong_types(folder, here, name, array):
    write_checkpoint('p.npz', **{name: array})
    refuse_checkpoint(folder, here, 'p.npz', name)


@pytest.mark.parametrize('V, H1, H2', [(7, 0, 2), (7, 3, 0), (0, 3, 2)])
def test_checkpoint_of_nothing(folder, here, V, H1, H2):
    write_checkpoint('p.npz', **random_parameters(5, V=V, H1=H1, H2=H2), **({} if V else {'uchar': np.array([], str)}))
    refuse_checkpoint(folder, here, 'p.npz')


class Payload:
    """Leaves a file behind when it is unpickled."""
    def __reduce__(self):
        return open, ('unpickled', 'w')


@pytest.mark.parametrize('name', ['U1', 'uchar', 'c'])
def test_pickled_objects_are_not_unpickled(folder, here, name):
    write_checkpoint('p.npz', **{name: np.array([Payload()], object)})
    refuse_checkpoint(folder, here, 'p.npz', name)


@pytest.mark.parametrize('whole', [True, False], ids=['the file', 'an array'])
def test_pickled_objects_are_not_unpickled_in_a_process(folder, whole):
    write_checkpoint('p.npz', V=np.array([Payload()], object))
    if whole:
        (folder / 'p.npz').write_bytes(pickle.dumps(Payload()))
    refuse_checkpoint(folder, run, 'p.npz', 'npz')


# ---------------------------------------------------------------- prime and output of produce_text.py

@pytest.mark.parametrize('earlier', [True, False], ids=['old file', 'new file'])
def test_prime_with_unknown_characters(folder, earlier):
    write_checkpoint('p.npz')
    if earlier:
        (folder / 'out.txt').write_bytes(b'earlier')
    assert_changes_nothing(folder, run, PRODUCE, 'p.npz', 'out.txt', '--prime', 'aZ☃\U0001f600b', flags=FAST,
                           words=["'Z'", r"'\u2603'", r"'\U0001f600'"])


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


# ---------------------------------------------------------------- a full disk

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


def train_on_full_disk(folder, begin, room, *options):
    """train.py when no file may grow over room() bytes from a line of its output on that begins so."""
    process = start(TRAIN, 't.txt', 'r', *SMALL, '--output-dir', 'results', *options, flags=FAST, cwd=str(folder))
    for line in iter(process.stdout.readline, ''):
        if line.startswith(begin):
            break
    process.send_signal(signal.SIGSTOP)
    limit = room()
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    process.send_signal(signal.SIGCONT)
    return finish(process)


@pytest.fixture(scope='module')
def full_log(tmp_path_factory):
    """A run whose log may grow by half a row after the first picture."""
    folder = tmp_path_factory.mktemp('full')
    log = folder / 'results' / 'r_t.txt.out'
    (folder / 't.txt').write_bytes(TEXT.encode('utf-8'))
    result = train_on_full_disk(folder, 'epoch 2', lambda: log.stat().st_size + 20000, '--save-every', 1,
                                *settings(0.3, 1, 3))         # many steps, for time before the next picture
    return SimpleNamespace(result=result, log=log)


def test_log_on_a_full_disk(full_log):
    """One line that names the log and the last checkpoint, which is good, and nothing half-written."""
    last = re.search(r'results/(r_t\.txt_epoch\d+\.npz)', full_log.result.stderr)
    assert_refused(full_log.result, 'cannot write results/r_t.txt.out: File too large', last.group())
    assert set(NAMES) < set(load(full_log.log.parent / last.group(1)))
    assert not list(full_log.log.parent.glob('*.part'))


def test_log_is_whole_on_a_full_disk(full_log):
    assert full_log.log.read_text().endswith('\n')
    assert np.loadtxt(str(full_log.log)).shape[1] == 11


def test_checkpoint_on_a_full_disk(folder):
    units = ['--num-units1', 70, '--num-units2', 70]                      # for a checkpoint larger than picture and log
    result = train_on_full_disk(folder, 'compiled', lambda: 200000, '--save-every', 2, *units)
    assert_refused(result, 'cannot write results/r_t.txt_best.npz: File too large', 'no checkpoint')
    assert sorted(os.listdir('results')) == ['other_t.txt.out', 'r_t.txt.out', 'r_t.txt_epochs.out', 'r_t.txt_samples.txt']


def test_picture_on_a_full_disk(folder):
    result = train_on_full_disk(folder, 'compiled', lambda: 30000)
    assert_refused(result, 'cannot write results/r_t.txt.png: File too large', 'results/r_t.txt_best.npz')
    assert sorted(os.listdir('results')) == ['other_t.txt.out', 'r_t.txt.out', 'r_t.txt_best.npz', 'r_t.txt_epochs.out',
                                             'r_t.txt_samples.txt']
