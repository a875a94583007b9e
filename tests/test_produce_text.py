"""produce_text.py as a user runs it: its texts, scores and description of a checkpoint, and what it refuses."""
import hashlib
import json
import math
import os
import re
import shlex
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import produce_text
import train
from charlstm import CharLSTM
from damage import write_checkpoint
from engine.backend.theano_setup import theano
from engine.output import report
from engine.page.page import title as title_of_page
from engine.run import info, table
from engine.run.checkpoint import opened
from models import P, default_mode
from numpy_model import costs_of
from scripts import (FAST, PRODUCE, ROOT, TEXT, TRAIN, assert_refused, contents, finish, load, run, sequences, snapshot,
                     start, succeeded, write_chain, wrote)


# ---------------------------------------------------------------- writing

def test_text_is_printed_and_appended(produce, short_run, tmp_path):
    out = tmp_path / 'out.txt'
    result = produce(out, '--random-seed', 1)
    printed, first = wrote(result, out), contents(out)     # the same, so that a file that is redirected to has headings
    for words in ('r_t.txt_best.npz: 2 layers of 5 and 7 units, ', f' t.txt ({len(TEXT):,} characters), ',
                  f'{short_run.costs.min():.4f} nats ({short_run.costs.min() / math.log(2):.4f} bits)'):
        assert words in result.stderr.splitlines()[0]
    texts = sequences(first, 3)
    assert printed == first[:-1]
    assert len(set(texts)) == 3 and set(''.join(texts)) <= set(TEXT)
    model = CharLSTM(random_seed=1)            # after a line end, since the text has no empty lines
    model.model_setup('r_t.txt_best.npz')
    for text, whole in zip(texts, model.generate_text('\n', 361, count=3, temperature=0.7, top_p=0.9)):
        assert_ended(text, whole.lstrip('\n'), 180)
    assert wrote(produce(out, '--random-seed', 1), out) == printed and contents(out) == first + first
    wrote(produce(out, '--random-seed', 2), out)
    again = contents(out)
    assert again.startswith(first + first) and sequences(again[2 * len(first):], 3) != texts


def assert_ended(text, whole, near):
    """Assert that a text is another one up to the last sentence or line of its last characters, or else word."""
    ends = [re.match(f'(?s).*{end}', whole) for end in (r'[.!?](?=\s)', r'\S(?=\s*\n)')]
    late = [end[0] for end in ends if end and len(end[0]) >= len(whole) - near]
    assert text == [*late, re.sub(r'\s+\S*$', '', whole)][0]


def test_bundled_model_knows_english():
    """The repository's checkpoint, stored in half precision, gives English a lower cost than reversed English."""
    model = CharLSTM()
    model.model_setup(ROOT / 'training_results' / 'prideandprejudice.npz')
    english = 'She had never seen a place for which nature had done more, and he was not at all sorry to hear it.'
    with default_mode(theano.compile.mode.FAST_COMPILE):
        forwards, backwards = [model.score_text(text).mean() for text in (english, english[::-1])]
    assert forwards < 1.6 < 3 < backwards


def test_units_are_held(produce, tmp_path):
    words = ['--random-seed', 3, '--count', 1, '--length', 40, '--prime', 'the ']
    held = produce(tmp_path / 'out', *words, '--hold', 'C2:6=-4.5', '--hold', 'C1:0=2', '--hold', 'C1:1=0')
    model = CharLSTM(random_seed=3)
    model.model_setup('r_t.txt_best.npz')
    expected = model.generate_text('the ', 44, hold={'C1': {0: 2, 1: 0}, 'C2': {6: -4.5}}, temperature=0.7, top_p=0.9)
    assert_ended(wrote(held, tmp_path / 'out')[:-1], expected, 20)


def test_prime_file_and_stop(produce, tmp_path):
    """The length excludes the prime. A text ends with a stop, or with a sentence, line or word."""
    (tmp_path / 'prime').write_bytes('\ufeffthe café\r\n'.encode())
    texts = []
    for name, stop in (('free', ''), ('stopped', 'a')):
        wrote(produce(tmp_path / name, '--count', 3, '--length', 300, '--random-seed', 4, '--stop', stop,
                      '--prime-file', tmp_path / 'prime'), tmp_path / name)
        texts.append(sequences(contents(tmp_path / name), 3))
    assert all(text.startswith('the café\n') and 159 < len(text) <= 309 for text in texts[0])
    ends = [text.find('a', 9) + 1 for text in texts[0]]
    assert all(ends) and texts[1] == [text[:end] for text, end in zip(texts[0], ends)]


@pytest.mark.parametrize('uchar, options, printed', [
    ('a\n\t\\n', ['--prime', r'\n\t\\n', '--count', 1, '--length', 5], '\n\t\\na\n'),
    ('ab\n', ['--count', 1, '--length', 5], 'ab\n'), ('ab', ['--prime', 'a', '--count', 1, '--length', 4], 'ababa\n'),
    ('a\n\t\\n', ['--prime', 'a', '--stop', r'\n', '--count', 1], 'a\n\n'),
    ('\nab', ['--lines', '--count', 3], 'ab\nab\nab\n'),
    ('\nab', ['--lines', '--count', 2, '--prime', r'\na', '--stop', 'b'], 'ab\nab\n'),
    ('\nab', ['--lines', '--count', 2, '--prime', 'b', '--stop', r'b\na'], 'b\\nab\\na\n' * 2),
    ('ab', ['--lines', '--count', 2, '--prime', 'a', '--length', 3], 'abab\nabab\n')])
def test_escapes_and_sequences_on_lines(produce, tmp_path, uchar, options, printed):
    """The model writes the characters of uchar in order, over and over."""
    chain, out = write_chain(tmp_path / 'p.npz', np.array(list(uchar))), tmp_path / 'out'
    assert wrote(produce(out, *options, checkpoint=chain), out) == printed
    assert '--lines' not in options or contents(out) == printed


# ---------------------------------------------------------------- scores

def test_score_of_a_file(produce, tmp_path):
    """Positions are counted in the file, including characters that the model never saw, which are left out."""
    text = '7. the☃ dog sang — café.\nold cat by a hillZ☃'
    (tmp_path / 'x.txt').write_bytes(text.replace('\n', '\r\n').encode())
    left_out, mean, _, *rest = succeeded(produce('--score', tmp_path / 'x.txt')).splitlines()
    assert left_out == "left out 3 characters that the model never saw: '☃' (2), 'Z' (1)"
    p, known = load('r_t.txt_best.npz'), text.replace('☃', '').replace('Z', '')
    nats = costs_of(p, known)
    printed = re.search(r'(\d+) characters, ([\d.]+) nats and ([\d.]+) bits per character', mean)
    np.testing.assert_allclose([float(number) for number in printed.groups()],
                               [len(known), nats.mean(), nats.mean() / math.log(2)], atol=6e-4)
    places = [re.match(r' *([\d.]+) nats at character (\d+): (.*) after ', line).groups() for line in rest]
    np.testing.assert_allclose([float(cost) for cost, _, _ in places], np.sort(nats)[::-1][:10], atol=6e-4)
    for cost, place, shown in places:
        at = int(place) - 1
        assert shown == repr(text[at]) and abs(nats[at - text[:at].count('☃') - 1] - float(cost)) < 6e-4


def test_memory_of_a_score(tmp_path, capsys):
    """Besides the model's, it is at most 10 bytes a character: no list has all characters or places."""
    (tmp_path / 'x.txt').write_bytes(b'ab.\n' * 50_000)
    costs, options = np.ones(149_999), produce_text.build_parser().parse_args(['--score', f'{tmp_path}/x.txt'])
    costs[-1] = 2
    model = SimpleNamespace(uchar='\nab', score_text=lambda text, progress: costs)
    tracemalloc.start()
    try:
        report.print_score(model, SimpleNamespace(metadata={}), options)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "2.000 nats at character 200,000: '\\n' after " in capsys.readouterr().out and peak < 10 * 200_000


def test_score_with_adapting_and_as_json(produce, tmp_path):
    """It adapts with RMSprop's mean squares if the checkpoint has them."""
    (tmp_path / 'é.txt').write_text('the dog sang ☃ café. ' * 9, encoding='utf-8')
    with np.load('r_t.txt_best.npz') as stored:
        np.savez(tmp_path / 'bare.npz', **{name: stored[name] for name in (*P, 'uchar')})
    for checkpoint, rate in (('r_t.txt_best.npz', 1.2e-4), (tmp_path / 'bare.npz', 0.1)):
        options = ['--score', tmp_path / 'é.txt', '--adapt']
        left_out, *lines = succeeded(produce(*options, checkpoint=str(checkpoint))).splitlines()
        result = produce(*options, '--json', checkpoint=str(checkpoint))
        assert result.stdout.isascii() and result.stderr.splitlines() == [left_out, *lines[:2]]
        found = json.loads(result.stdout)
        for line, one in zip(lines, (found, found['adapted'])):
            assert '{nats_per_character:.4f} nats and {bits_per_character:.4f} bits per character'.format(**one) in line
        assert found['adapted']['nats_per_character'] < found['nats_per_character']
        assert (found['adapted']['rate'], found['adapted']['mean_squares']) == (rate, rate < 0.1)
        assert found.items() >= dict(
            model=os.path.basename(checkpoint), file='é.txt', characters=9 * 20, unknown_characters={'☃': 9},
            sha256=hashlib.sha256((tmp_path / 'é.txt').read_bytes()).hexdigest()).items()
        assert lines[3:] == ['{nats:8.3f} nats at character {:,}: {character!r} after {after!r}'.format(
            one['at'] + 1, **one) for one in found['least_expected']]


def test_score_of_each_line(produce, tmp_path):
    """In the file's order; the last line has no line end. Characters that are left out are reported, but lines stay."""
    lines = ['old cat', '', 'a ☃dog\tby\u2028rain', '', *['sat by a hill'[:n] for n in range(1, 14)], 'the end']
    (tmp_path / 'x.txt').write_bytes('\r\n'.join(lines).encode())
    result = produce('--score', tmp_path / 'x.txt', '--lines')
    rows = [row.split('\t', 2) for row in result.stdout[:-1].split('\n')]
    p, known = load('r_t.txt_best.npz'), [''.join(ch for ch in line if ch not in '☃\t\u2028') for line in lines]
    assert [(int(n), line) for _, n, line in rows] == [(len(line) + 1, whole) for line, whole in zip(known, lines)]
    expected = [costs_of(p, f'\n{line}\n').sum() for line in known]
    np.testing.assert_allclose([float(nats) for nats, _, _ in rows], expected, rtol=1e-5, atol=1e-5)
    (left_out, total), n = result.stderr.splitlines(), sum(map(len, known)) + len(lines)
    assert left_out.startswith('left out 3 characters ') and f'18 lines, {n} characters' in total
    assert f'{sum(expected) / n:.4f} nats (' in total and f'{sum(expected) / 18:.4f} nats (' in total
    found = json.loads(produce('--score', tmp_path / 'x.txt', '--lines', '--json').stdout)
    assert [(one['characters'], one['line']) for one in found['lines']] == [(int(n), line) for _, n, line in rows]
    np.testing.assert_allclose([one['nats'] for one in found['lines']], expected, rtol=1e-5)
    np.testing.assert_allclose(found['bits_per_character'], sum(expected) / n / math.log(2), rtol=1e-5)
    assert found['scored_characters'] == n


# ---------------------------------------------------------------- the metadata of a checkpoint

def test_info(produce, short_run):
    """Options are printed as train.py takes them, first those that differ from their defaults."""
    lines = dict(line.split(': ', 1) for line in succeeded(produce('--info')).splitlines())
    for title, words in (('r_t.txt_best.npz', ' parameters, 33 characters: '), ('text', f'characters {len(TEXT):,}, '),
                         ('versions', 'theano 1.0.5'), ('versions', 'device the CPU, 1 thread, by the C kernel'),
                         ('cell', 'the standard one'), ('progress', 'epoch 4'),
                         ('progress', 'learning rate before warm-up and annealing 0.03, '),
                         ('progress', 'learning rate of the last step 0.01331'),
                         ('best validation cost', f'{short_run.costs.min():.4f} nats')):
        assert words in lines[title]
    metadata = json.loads(str(load(short_run.folder / 'r_t.txt_best.npz')['about']))
    kept = {**metadata['progress']['options'], **metadata['lp']}
    unlike, alike = [vars(train.build_parser().parse_args(lines[title].split()))
                     for title in ('options', 'options at their defaults')]
    assert lines['run'] == kept.pop('run') and unlike['lrate'] == 0.03 and 'valid_every' in alike
    assert {**unlike, **alike} == {name: value for name, value in kept.items() if value not in (None, False)
                                   or type(value) in (int, float)}
    assert all((value == table.DEFAULTS[name]) == (name in alike) for name, value in {**unlike, **alike}.items())


def test_info_as_json(produce, short_run, tmp_path):
    found, p = json.loads(succeeded(produce('--info', '--json'))), load('r_t.txt_best.npz')
    assert (found['model'], found['units'], list(found['characters'])) == ('r_t.txt_best.npz', [5, 7], list(p['uchar']))
    assert found['parameters'] == sum(p[name].size for name in P) and found['cell']['formula'] == ''
    assert (found['text']['characters'], found['learning']['lrate']) == (len(TEXT), 0.03)
    logged = np.genfromtxt(short_run.folder / 'r_t.txt_epochs.out', names=True)['lrate']
    progress = found['progress']
    assert (progress['epoch'], progress['batch'], progress['rate']) == (short_run.best_epoch, 0, 0.03)
    assert progress['last_rate'] == pytest.approx(logged[short_run.best_epoch - 1], rel=1e-5)
    assert found['best_validation_cost'] == dict(
        nats_per_character=short_run.costs.min(), bits_per_character=short_run.costs.min() / math.log(2), epoch=4)
    found = json.loads(succeeded(produce('--info', '--json', checkpoint=write_checkpoint(str(tmp_path / 'old.npz')))))
    assert set(found) == {'model', 'units', 'parameters', 'characters'} and found['units'] == [3, 2]


def test_folders_of_any_system_are_left_out(short_run, tmp_path):
    arrays, path = load(short_run.folder / 'r_t.txt_best.npz'), r'C:\Users\me\book.txt'
    metadata = json.loads(str(arrays.pop('about')))
    metadata['text']['path'] = metadata['progress']['options']['input'] = path
    metadata['progress']['options']['cell'] = 'me/mine.py:Coupled'
    np.savez(tmp_path / 'p.npz', about=np.array(json.dumps(metadata)), **arrays)
    line, shown = info.summary(tmp_path / 'p.npz'), info.description(tmp_path / 'p.npz', folders=False)
    assert ' book.txt (' in line and 'path book.txt, ' in shown and ' --cell mine.py:Coupled ' in shown
    assert 'me' not in re.findall(r'\w+', line + shown) and path in info.description(tmp_path / 'p.npz')
    assert title_of_page(opened(tmp_path / 'p.npz')) == 'book.txt'


# ---------------------------------------------------------------- what is refused

@pytest.mark.parametrize('options', [
    ['--prime', 'the ', '--prime-file', 't.txt'], ['--temperature', -1], ['--count', 0], ['--length', -5], ['--adapt'],
    ['--score', 't.txt', '--adapt', 0.1], ['--info', '--score', 't.txt'], ['--page', 'x.html', '--count', 2],
    ['--overwrite'], ['--json'], ['--page', 'x.html', '--score', 't.txt', '--json'], ['--method', 'max', '--top-k', 3],
    ['--lengt=5'], ['--page', 'mine.c'], ['--page', 'missing/p.html', '--length', 9],
    ['--page', 'x.html', '--copies', 't.txt'],
    ['--score', 't.txt', '--lines', '--adapt'], ['--score', 't.txt', '--lines', '--copies', 't.txt'],
    ['--score', ''], ['--score', 't.txt', 'out.txt'], ['--hold', 'C2:4=x'], ['--hold', 'C2:7=1'], ['--prime-file', ''],
    ['--page', 'r_t.txt_best.npz'], ['--page', 't.txt', '--score', './t.txt', '--overwrite'],
    ['--page', 't.txt', '--prime-file', 't.txt', '--overwrite'], ['--export', 't.txt'], ['--export', 'new.xyz'],
    ['out.txt', '--prime', 'aZ☃'], ['--score', 't.txt', '--encoding', 'klingon'],
    ['--page', 't.txt', '--overwrite'],
    ['t.txt'], ['x.txt', '--copies', 'x.txt'], ['x.txt', '--prime-file', './x.txt'], ['r_t.txt_epoch2.npz'],
    ['out.txt', '--copies', 'missing.txt'], ['--score', 'none.txt'], ['--score', 't.txt', '--adapt', 0],
    ['--info', '--cell', 'gone.py:X'], ['--prime-file', 'none.txt'], [''],
    ['--export', 'mine.c'], ['out.txt', '--export', 'm.c']], ids=repr)
def test_options_and_files_that_are_refused(produce, short_run, options):
    """In one line, before anything is written. OUT may not be a training text, an input or a checkpoint."""
    for name in ('x.txt', 'mine.c'):
        (short_run.folder / name).write_text('the the')
    (short_run.folder / 'none.txt').write_text('')
    before = snapshot(short_run.folder)
    assert_refused(produce(*options))
    assert snapshot(short_run.folder) == before


def test_text_in_place_of_a_checkpoint(produce):
    """The message ends with the command that trains on it."""
    result = produce(checkpoint='t.txt')
    assert_refused(result, 't.txt is not a checkpoint')
    assert shlex.split(result.stderr.split(': ')[-1])[1:] == [str(TRAIN), 't.txt']


# ---------------------------------------------------------------- files that cannot be written, and closed pipes

@pytest.mark.parametrize('out, why', [('results', 'Is a directory'), ('missing/out.txt', 'No such file')])
def test_output_that_cannot_be_written(folder, produce, out, why):
    before = snapshot(folder)
    result = produce(folder / out, '--count', 1)
    assert result.returncode == 2 and 60 < len(result.stdout) <= 361
    assert f'cannot write {folder / out}' in result.stderr.splitlines()[-1] and why in result.stderr
    assert snapshot(folder) == before and 'appended' not in result.stderr


def test_characters_that_the_output_cannot_have_are_escaped(tmp_path):
    """A pipe of Windows lacks many."""
    chain = write_chain(tmp_path / 'p.npz', np.array(list('aé')))
    words = tmp_path / 'out', '--prime', 'a', '--count', 1, '--length', 2
    result = run(PRODUCE, chain, *words, flags=FAST, env=dict(PYTHONIOENCODING='ascii'))
    assert wrote(result, tmp_path / 'out') == 'a\\xe9a\n'


def test_closed_standard_output(folder):
    """As by >&- in a shell."""
    words = write_checkpoint('p.npz'), 'out.txt', '--count', 1
    result = run(PRODUCE, *words, flags=FAST, preexec_fn=lambda: os.close(1))
    assert (wrote(result, 'out.txt'), len(contents(folder / 'out.txt')) > 30) == ('', True)


def test_reader_that_closes_the_pipe(folder):
    """As `head` does. The text is longer than the 65,536 characters that a pipe holds."""
    write_checkpoint('p.npz')
    process = start(PRODUCE, 'p.npz', 'out.txt', '--count', 1, '--length', 10 ** 6, flags=FAST)
    assert process.stdout.read(1)
    process.stdout.close()
    result = finish(process)
    assert result.returncode == 0 and result.stderr.count('\n') <= 2 and 'Traceback' not in result.stderr


@pytest.mark.parametrize('options', [['--score', 'x.txt', '--adapt'], ['out', '--random-seed', 1]], ids=str)
def test_all_is_read_from_the_checkpoint_that_was_opened(produce, short_run, monkeypatch, tmp_path, options):
    """The file is replaced just after the parameters are read, as if train.py saved another epoch."""
    monkeypatch.chdir(tmp_path)
    Path('x.txt').write_text('the dog sang. ' * 9)
    setup, epochs = CharLSTM.model_setup, [short_run.folder / f'r_t.txt_epoch{k}.npz' for k in (1, 5)]

    def setup_and_replace(model, *arguments, **settings):
        setup(model, *arguments, **settings)
        Path('new').write_bytes(epochs[1].read_bytes())
        os.replace('new', 'p.npz')

    results = []
    for replaced in (setup, setup_and_replace):
        monkeypatch.setattr(CharLSTM, 'model_setup', replaced)
        Path('p.npz').write_bytes(epochs[0].read_bytes())
        results.append(produce(*options, checkpoint='p.npz'))
    assert results[0] == results[1] and results[0].returncode == 0
