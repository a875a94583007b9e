"""produce_text.py as a user runs it: what it writes and scores, what it refuses, and disks that are full."""
import hashlib
import json
import math
import os
import re
import resource
from pathlib import Path

import numpy as np
import pytest

import train
from charlstm import CharLSTM
from damage import ARRAYS, DAMAGE, write_checkpoint
from engine import analysis, report, scoring
from engine.run import table
from engine.backend.theano_setup import theano
from models import P, default_mode
from numpy_model import H1, H2, LETTERS, costs, forward
from scripts import (FAST, PRODUCE, ROOT, TEXT, assert_changes_nothing, assert_refused, contents, finish,
                     load, run, sequences, snapshot, start, succeeded, write_chain, wrote)


# ---------------------------------------------------------------- writing

def test_text_is_printed_and_appended(produce, tmp_path):
    out = tmp_path / 'out.txt'
    printed = wrote(produce(out, '--random-seed', 1), out)
    first = contents(out)
    texts = sequences(first, 5, 100)
    assert printed == '\n\n'.join(texts) + '\n'
    assert len(set(texts)) == 5 and set(''.join(texts)) <= set(TEXT)
    assert wrote(produce(out, '--random-seed', 1), out) == printed and contents(out) == first + first
    wrote(produce(out, '--random-seed', 2), out)
    again = contents(out)
    assert again.startswith(first + first) and sequences(again[2 * len(first):], 5, 100) != texts


def test_first_line_says_which_model_writes(produce, short_run, lettered, tmp_path):
    """As much as the checkpoint has in its metadata, of train.py or of others."""
    def first_line(checkpoint):
        result = produce(tmp_path / 'out', '--count', 1, checkpoint=checkpoint)
        assert len(wrote(result, tmp_path / 'out', headings=0)) == 101
        return result.stderr.splitlines()[0]

    size = '{}: 2 layers of {} and {} units, {:,} parameters'.format
    count = sum(load('r_t.txt_best.npz')[name].size for name in P)
    assert first_line('r_t.txt_best.npz') == size('r_t.txt_best.npz', 5, 7, count) + (
        ', learned from t.txt ({:,} characters), validation cost {:.4f} nats ({:.4f} bits) a character'.format(
            len(TEXT), short_run.costs.min(), short_run.costs.min() / np.log(2)))
    old = write_checkpoint(str(tmp_path / 'old.npz'))
    assert first_line(old) == size(old, 3, 2, sum(array.size for name, array in ARRAYS.items() if name != 'uchar'))
    for progress in (None, dict(note='mine'), dict(epoch=3, best_cost=None)):
        path = lettered.save_params(tmp_path / 'mine', progress)
        assert first_line(path).endswith(' parameters, learned from text.txt ({} characters)'.format(2 * len(LETTERS)))
        assert '11 characters' in succeeded(produce('--info', checkpoint=path))
    (tmp_path / 'texts').mkdir()
    (tmp_path / 'texts' / 'a.txt').write_text(LETTERS)
    lettered.prepare_input(str(tmp_path / 'texts') + os.sep, 0, batch_size=2, seq_length=3, verbose=False)
    assert first_line(lettered.save_params(tmp_path / 'mine')).endswith(' learned from texts (11 characters)')


def test_without_arguments_the_bundled_model_writes(program, tmp_path):
    write_checkpoint(program / 'training_results' / 'prideandprejudice.npz')
    path = os.path.join('program', 'text_output', 'prideandprejudice.npz.out')
    result = run(program / 'produce_text.py', cwd=tmp_path, flags=FAST)
    assert wrote(result, path) == '\n\n'.join(sequences(contents(tmp_path / path), 5, 100)) + '\n'
    assert result.stderr.startswith(os.path.join('program', 'training_results', 'prideandprejudice.npz: '))


def test_bundled_model_knows_english():
    """The repository's checkpoint, in half the precision of its training, expects English more than its reverse."""
    model = CharLSTM()
    model.model_setup(ROOT / 'training_results' / 'prideandprejudice.npz')
    assert load(ROOT / 'training_results' / 'prideandprejudice.npz')['W1'].dtype == np.float16
    english = 'She had never seen a place for which nature had done more, and he was not at all sorry to hear it.'
    with default_mode(theano.compile.mode.FAST_COMPILE):
        costs = [model.score_text(text).mean() for text in (english, english[::-1])]
    assert costs[0] < 1.6 < 3 < costs[1]


@pytest.mark.parametrize('method', ['argmax', 'max'])
def test_options_of_sampling(produce, tmp_path, method):
    prime, length = 'the café 𝄞', 33
    wrote(produce(tmp_path / 'out', '--count', 3, '--length', length, '--prime', prime, '--method', method),
          tmp_path / 'out', headings=3)
    p, texts = load('r_t.txt_best.npz'), sequences(contents(tmp_path / 'out'), 3, len(prime) + length)
    assert texts == texts[:1] * 3 and texts[0].startswith(prime)
    codes = np.searchsorted(p['uchar'], list(texts[0]))
    for k, expected in enumerate(forward(p, codes[:-1, None])[0][len(prime) - 1:, 0]):
        assert expected[codes[len(prime) + k]] > expected.max() * (1 - 1e-4)     # either of two as probable ones


def test_units_are_held(produce, tmp_path):
    words = ['--random-seed', 3, '--count', 1, '--length', 40, '--prime', 'the ']
    held = produce(tmp_path / 'out', *words, '--hold', 'C2:6=-4.5', '--hold', 'C1:0=2')
    printed = wrote(held, tmp_path / 'out', headings=0)
    model = CharLSTM(random_seed=3)
    model.model_setup('r_t.txt_best.npz')
    assert printed == model.generate_text('the ', 44, hold={'C1': {0: 2}, 'C2': {6: -4.5}}) + '\n'
    assert printed != wrote(produce(tmp_path / 'free', *words), tmp_path / 'free', headings=0)


@pytest.mark.parametrize('length', [1, 33])
def test_length_does_not_count_the_prime(produce, tmp_path, length):
    """But it counts the random character that replaces a missing prime. One text has no heading."""
    for prime in ('', 'the café\\n'):
        out = tmp_path / f'out{len(prime)}'
        text = wrote(produce(out, '--count', 1, '--length', length, '--prime', prime), out, headings=0)
        assert len(text) == len('the café\n' * bool(prime)) + length + 1
        assert text[-1] == '\n' and sequences(contents(out), 1) == [text[:-1]]


def test_prime_file_and_stop(produce, tmp_path):
    (tmp_path / 'prime').write_bytes('\ufeffthe café\r\n'.encode('utf-8'))

    def texts(name, *more):
        out = tmp_path / name
        printed = wrote(produce(out, '--count', 3, '--length', 300, '--random-seed', 4, '--prime-file',
                                tmp_path / 'prime', *more), out, headings=3)
        found = sequences(contents(out), 3)
        assert printed == '\n\n'.join(found) + '\n'
        return found

    free, stopped = texts('free'), texts('stopped', '--stop', 'a')
    assert [len(text) for text in free] == [9 + 300] * 3
    ends = [text.find('a', 9) + 1 for text in free]
    assert any(ends) and stopped == [text[:end or None] for text, end in zip(free, ends)]
    assert all(text.startswith('the café\n') for text in stopped)


@pytest.mark.parametrize('options, words', [
    (['--prime', 'the ', '--prime-file', 't.txt'], ['--prime', '--prime-file']),
    (['--temperature', 0], ['temperature is 0']), (['--length', 0], ['--length is 0']),
    (['--adapt'], ['--adapt', '--score']), (['--score', 't.txt', '--adapt', 0], ['--adapt is 0.0', 'above 0']),
    (['--adapt', 0], ['--adapt', '--score']), (['--score', 't.txt', '--adapt', 0.1], ['adapt is 0.1', '0.0001']),
    (['--info', '--score', 't.txt'], ['--info', '--score']),
    (['--page', 'x.html', '--count', 2], ['--page', '--count']), (['--overwrite'], ['--overwrite', '--page']),
    (['--page', 'x.html', '--score', 't.txt', '--json'], ['--page', '--json']),
    (['--json'], ['--json needs --score or --info']), (['--tune-temperature', 't.txt'], ['--tune-temperature needs']),
    (['--score', 't.txt', '--lines', '--adapt'], ['--lines', '--adapt']),
    (['--score', 't.txt', '--lines', '--tune-temperature', 't.txt'], ['--lines', '--tune-temperature']),
    (['--score', ''], ['cannot read']),
    (['--hold', 'C2:4'], ['--hold is C2:4', 'STATE:UNIT=VALUE']), (['--hold', 'C2:4=x'], ['--hold is C2:4=x']),
    (['--hold', 'C2:7=1'], ['a unit of C2 to hold is 7']), (['--hold', 'h1:0=1'], ["'h1'"]),
    (['--hold', 'C2:1=2', '--hold', 'C1:1=2', '--hold', 'C2:01=3'], ['--hold has C2:1 twice']),
    (['--page', 'r_t.txt_best.npz', '--overwrite'], ['--page is r_t.txt_best.npz', 'checkpoint']),
    (['--page', 't.txt', '--score', './t.txt', '--overwrite'], ['t.txt is also read']),
    (['--page', 't.txt', '--prime-file', 't.txt', '--overwrite'], ['t.txt is also read']),
    (['--page', 'x.html', '--copies', 't.txt', '--length', 1_000_001], ['1,000,001 characters']),
    *[([*option, '--method', 'max'], [f'{option[0]} is for drawing', '--method max']) for option in (
        ['--temperature', 2], ['--top-k', 3], ['--top-p', 0.5])],
    (['--prime-file', ''], ["cannot read ''"]), (['--prime-file', '/dev/null'], ['/dev/null is ']),
    (['--prime', '', '--prime-file', 't.txt'], ['--prime and --prime-file', 'only one']),
    (['', '--count', 1], ["OUT is ''", 'leave it out']), (['out.txt', '--stop', 'aZ'], ['--stop has', "'Z'"]),
    *[(['--score', 't.txt', *option], [f'{option[0]} is for writing', '--score', 'leave it out']) for option in (
        ['--length', 5], ['--count', 2], ['--prime', 'a'], ['--prime-file', 't.txt'], ['--stop', 'a'],
        ['--random-seed', 1], ['--method', 'max'], ['--temperature', 2], ['--top-k', 3], ['--top-p', 0.5])],
    (['--info', '--lines'], ['--lines is for writing', '--info']),
    (['--page', 'x.html', '--score', 't.txt', '--lines'], ['--lines is for writing', '--score']),
    (['--page', 'x.html', '--score', 't.txt', '--length', 9], ['--length is for writing', '--score']),
    (['--score', 't.txt', 'out.txt'], ['OUT is out.txt', '--score']),
    (['--info', 'out.txt'], ['OUT is out.txt', '--info']),
    (['out.txt', '--prime', 'aZ☃\U0001f600\x1bb'], ['the prime has', "'Z'", "'☃'", "'\U0001f600'", r"'\x1b'"])],
    ids=repr)
def test_options_that_are_refused(produce, short_run, options, words):
    before = snapshot(short_run.folder)
    assert_refused(produce(*options), *words)
    assert snapshot(short_run.folder) == before


@pytest.mark.parametrize('options, words', [
    (['t.txt'], ['t.txt is a text of the run of this model', '--score', 'choose another name']),
    (['x.txt', '--copies', 'x.txt'], ['x.txt is also read']),
    (['x.txt', '--prime-file', './x.txt'], ['x.txt is also read'])])
def test_nothing_is_appended_to_a_text_that_is_read_or_was_learned(produce, short_run, options, words):
    (short_run.folder / 'x.txt').write_text('the the')
    before = snapshot(short_run.folder)
    assert_refused(produce(*options, '--length', 20), *words)
    assert snapshot(short_run.folder) == before


# ---------------------------------------------------------------- escapes, and a sequence on each line


def test_prime_and_stop_have_escapes_and_a_file_has_none(produce, tmp_path):
    """With a model that writes a, line end, tab, backslash, n, a, ..."""
    chain, out = write_chain(tmp_path / 'p.npz', np.array(list('a\n\t\\n'))), tmp_path / 'out'
    (tmp_path / 'prime').write_text(r'a\n')

    def text(*options):
        return wrote(produce(out, '--count', 1, '--length', 9, *options, checkpoint=chain), out, headings=0)

    assert text('--prime', r'\n\t\\n') == '\n\t\\n' + 'a\n\t\\na\n\t\\' + '\n'
    assert text('--prime', 'a', '--stop', r'\n') == 'a\n' + '\n'
    assert text('--prime', r'\t', '--stop', r'\\n') == '\t\\n' + '\n'
    assert text('--prime-file', tmp_path / 'prime') == r'a\n' + 'a\n\t\\na\n\t\\' + '\n'


def test_each_sequence_on_a_line(produce, tmp_path):
    """The same texts as without --lines, except for the line ends at their beginnings and ends."""
    common = ['--count', 7, '--length', 30, '--random-seed', 2, '--prime', r'\n', '--stop', r'\n']
    wrote(produce(tmp_path / 'headed', *common), tmp_path / 'headed', headings=7)
    texts = sequences(contents(tmp_path / 'headed'), 7)
    assert all(text.startswith('\n') for text in texts) and any(text.endswith('\n') for text in texts)
    printed = wrote(produce(tmp_path / 'lines', *common, '--lines'), tmp_path / 'lines', headings=0)
    assert printed == contents(tmp_path / 'lines') == ''.join(text.strip('\n') + '\n' for text in texts)
    assert printed.count('\n') == 7


def test_empty_prime_file_is_refused(produce, tmp_path):
    (tmp_path / 'prime').write_bytes('\ufeff'.encode())
    assert_refused(produce(tmp_path / 'out', '--prime-file', tmp_path / 'prime'), 'prime is empty', '--prime-file')
    assert not (tmp_path / 'out').exists()


def test_line_ends_inside_of_a_sequence_are_escaped(produce, tmp_path):
    """As those of another --stop, and of a prime."""
    chain, out = write_chain(tmp_path / 'p.npz', np.array(list('\nab'))), tmp_path / 'out'
    for options, line in ((['--prime', 'b', '--stop', r'b\na'], r'b\nab\na'), (['--prime', r'ab\na'], r'ab\nab')):
        printed = wrote(produce(out, '--lines', '--count', 2, *options, checkpoint=chain), out, headings=0)
        assert printed == f'{line}\n' * 2


def test_lines_of_a_model_without_line_ends(produce, tmp_path):
    """They end at the length. A typed --stop that could never come is refused."""
    chain, out = write_chain(tmp_path / 'p.npz', np.array(list('ab'))), tmp_path / 'out'
    options = ['--lines', '--prime', 'a', '--count', 2, '--length', 3]
    assert wrote(produce(out, *options, checkpoint=chain), out, headings=0) == 'abab\nabab\n'
    assert_refused(produce(out, *options, '--stop', r'\n', checkpoint=chain), '--stop has', r"'\n'")


def test_prime_of_no_characters_with_lines_is_a_random_one(produce, tmp_path):
    chain, out = write_chain(tmp_path / 'p.npz', np.array(list('\nab'))), tmp_path / 'out'
    options = ['--lines', '--prime', '', '--count', 40, '--random-seed', 1]
    printed = wrote(produce(out, *options, checkpoint=chain), out, headings=0)
    assert set(printed.splitlines()) == {'ab', 'b'}        # after a line end or a, and after b


def test_lines_are_lists_by_default(produce, tmp_path):
    """Other values of --prime and --stop take precedence."""
    chain, out = write_chain(tmp_path / 'p.npz', np.array(list('\nab'))), tmp_path / 'out'
    assert wrote(produce(out, '--lines', '--count', 3, checkpoint=chain), out, headings=0) == 'ab\nab\nab\n'
    options = ['--lines', '--count', 2, '--prime', r'\na', '--stop', 'b']
    assert wrote(produce(out, *options, checkpoint=chain), out, headings=0) == 'ab\nab\n'


# ---------------------------------------------------------------- scores

def test_score_of_a_file(produce, tmp_path):
    text = '7. the dog sang — café.\nold cat by a hill'
    (tmp_path / 'x.txt').write_bytes(text.replace('\n', '\r\n').encode('utf-8'))
    out = succeeded(produce('--score', tmp_path / 'x.txt')).splitlines()
    p = load('r_t.txt_best.npz')
    codes = np.array([list(p['uchar']).index(ch) for ch in text])[:, None]
    nats = costs(forward(p, codes[:-1])[0], codes[1:])[:, 0]
    printed = re.search(r'(\d+) characters, ([\d.]+) nats and ([\d.]+) bits per character, perplexity ([\d.]+)', out[0])
    assert int(printed.group(1)) == len(text)
    np.testing.assert_allclose([float(printed.group(k)) for k in (2, 3, 4)],
                               [nats.mean(), nats.mean() / math.log(2), math.exp(nats.mean())], atol=6e-4)
    places = [re.match(r' *([\d.]+) nats at character (\d+): (.*) after ', line).groups() for line in out[-10:]]
    shown, at = [float(cost) for cost, _, _ in places], [int(place) for _, place, _ in places]
    np.testing.assert_allclose(shown, np.sort(nats)[::-1][:10], atol=6e-4)
    np.testing.assert_allclose(shown, nats[np.array(at) - 2], atol=6e-4)          # in any order where they are as large
    assert len(set(at)) == 10
    assert [ch for _, _, ch in places] == [repr(text[place - 1]) for place in at]


def test_score_leaves_out_what_the_model_never_saw(produce, tmp_path):
    known = 'the dog sang — café.\nold cat by a hill'
    (tmp_path / 'known').write_text(known, encoding='utf-8')
    (tmp_path / 'more').write_text('☃' + known[:9] + 'Z\x1b☃' + known[9:], encoding='utf-8')
    left_out, *rest = succeeded(produce('--score', tmp_path / 'more')).splitlines()
    expected = succeeded(produce('--score', tmp_path / 'known'))
    expected = re.sub(r'(?<=at character )\d+', lambda at: str(int(at.group()) + (1 if int(at.group()) <= 9 else 4)),
                      expected)                            # the numbers are those of the file, from 1
    assert rest == expected.replace(str(tmp_path / 'known'), str(tmp_path / 'more')).splitlines()
    assert left_out.startswith('4 characters ') and 'left out' in left_out
    for words in ("'☃' (2)", "'Z' (1)", r"'\x1b' (1)"):
        assert words in left_out
    others = ''.join(chr(0x4e00 + k) for k in range(27))
    (tmp_path / 'others').write_text(known + others + 2 * others[13:], encoding='utf-8')
    named = succeeded(produce('--score', tmp_path / 'others')).splitlines()[0]
    assert re.findall(r"'(.)' \((\d)\)", named) == [(ch, '3') for ch in others[13:]] + [(ch, '1') for ch in others[:6]]
    assert named.startswith('55 characters ') and named.endswith(', and 7 more')
    (tmp_path / 'none').write_text('☃Z', encoding='utf-8')
    result = produce('--score', tmp_path / 'none')
    assert_refused(result, f'{tmp_path / "none"} has 0 characters that the model knows: at least 2')
    assert result.stdout.startswith('2 characters ')
    (tmp_path / 'one').write_text('☃a', encoding='utf-8')
    result = produce('--score', tmp_path / 'known', '--tune-temperature', tmp_path / 'one')
    assert_refused(result, f'{tmp_path / "one"} has 1 character that the model knows: at least 2')
    assert result.stdout == "1 character that the model never saw, left out: '☃' (1)\n"         # and nothing is scored


def test_score_with_adapting(produce, tmp_path):
    """It prints both scores, and leaves the checkpoint as it is."""
    (tmp_path / 'x.txt').write_text('the dog sang. ' * 40)
    before = Path('r_t.txt_best.npz').read_bytes()

    with np.load('r_t.txt_best.npz') as stored:            # without the averages of RMSprop
        np.savez(str(tmp_path / 'bare.npz'), **{name: stored[name] for name in (*P, 'uchar')})

    def scores(*rate, how, checkpoint='r_t.txt_best.npz'):
        result = produce('--score', tmp_path / 'x.txt', '--adapt', *rate, checkpoint=checkpoint)
        lines = succeeded(result).splitlines()[:2]
        assert f'x.txt, adapting at {how}: ' in lines[1]
        return [float(re.search(r'([\d.]+) nats', line).group(1)) for line in lines]

    bare, averages = str(tmp_path / 'bare.npz'), 'with the averages of RMSprop'
    (static, adapted), (same, slower) = scores(how=f'0.0001 {averages}'), scores(0.00001, how=f'1e-05 {averages}')
    assert adapted < slower < static == same and Path('r_t.txt_best.npz').read_bytes() == before
    (static, adapted), (same, slower) = [scores(*rate, how=f'{(*rate, 0.1)[0]} by gradient descent', checkpoint=bare)
                                         for rate in ([], [0.001])]
    assert adapted < slower < static == same


@pytest.mark.parametrize('adapt', [[], ['--adapt']], ids=['static', 'adapting'])
def test_control_c_prints_the_scores_so_far(produce, tmp_path, monkeypatch, adapt):
    """In the third piece of 7 characters, with or without adapting; the costs of two pieces are printed."""
    monkeypatch.setattr(analysis, 'SCORED', 7)
    monkeypatch.setattr(analysis, 'ADAPTED', 7)
    (tmp_path / 'x.txt').write_text('the dog sang. ' * 3)
    whole = produce('--score', tmp_path / 'x.txt', *adapt).stdout.splitlines()
    pieces, original, stop = [], analysis.costs_of, 3 + 6 * len(adapt)

    def costs_of(probabilities, y):
        pieces.append(original(probabilities, y))
        if len(pieces) == stop:
            raise KeyboardInterrupt
        return pieces[-1]
    monkeypatch.setattr(analysis, 'costs_of', costs_of)
    result = produce('--score', tmp_path / 'x.txt', *adapt)
    assert (result.returncode, result.stderr) == (
        130, 'produce_text.py: interrupted after 14 of 41 characters were scored\n')
    lines = result.stdout.splitlines()
    assert lines[:-1] == whole[:len(adapt)] and 'as far as it was scored: 15 characters' in lines[-1]
    nats = float(re.search(r'([\d.]+) nats', lines[-1]).group(1))
    np.testing.assert_allclose(nats, np.concatenate(pieces[stop - 3:-1]).mean(), atol=6e-5)


def test_score_at_a_tuned_temperature(produce, tmp_path):
    """Which suits the text that tunes it; without other characters in that one, and also when adapting."""
    (tmp_path / 'x.txt').write_text('the dog sang. ' * 9)
    (tmp_path / 'valid.txt').write_text('☃old cats sat by hills. ' * 9, encoding='utf-8')
    model = CharLSTM()
    model.model_setup('r_t.txt_best.npz')
    with default_mode(theano.compile.mode.FAST_COMPILE):
        temperature = model.tune_temperature('old cats sat by hills. ' * 9)
        mean = model.score_text('the dog sang. ' * 9, temperature=temperature).mean()
    out = succeeded(produce('--score', tmp_path / 'x.txt', '--tune-temperature', tmp_path / 'valid.txt', '--adapt'))
    left_out, plain, tuned, adapted, both, *_ = out.splitlines()
    assert left_out.startswith('9 characters ') and abs(temperature - 1) > 0.01
    assert tuned.startswith(f'{tmp_path / "x.txt"}, at temperature {temperature:.3f}: 126 characters, {mean:.4f} nats')
    assert 'adapting' in adapted and 'temperature' not in plain + adapted
    assert 'adapting at 0.0001 with the averages of RMSprop, at temperature ' in both
    assert len({line.split(': ')[1] for line in (plain, tuned, adapted, both)}) == 4


# ---------------------------------------------------------------- the cost of each line

def lines_of_scores(text):
    """Return the rows of --score --lines: nats, characters and line."""
    return [(float(nats), int(n), line) for nats, n, line in (row.split('\t', 2) for row in text[:-1].split('\n'))]


def test_score_of_each_line(produce, tmp_path, monkeypatch):
    """In the file's order, several windows; the last line has no end. What is left out is said, and the line stays."""
    lines = ['old cat', '', 'a ☃dog\tby\u2028rain', '', *['sat by a hill'[:n] for n in range(1, 14)], 'the end']
    (tmp_path / 'x.txt').write_bytes('\r\n'.join(lines).encode('utf-8'))
    monkeypatch.setattr(scoring, 'WINDOW', 5)
    result = produce('--score', tmp_path / 'x.txt', '--lines')
    assert result.returncode == 0
    rows = lines_of_scores(result.stdout)
    assert [line for _, _, line in rows] == lines
    p, known = load('r_t.txt_best.npz'), [''.join(ch for ch in line if ch not in '☃\t\u2028') for line in lines]
    assert [n for _, n, _ in rows] == [len(line) + 1 for line in known]
    expected = []
    for line in known:
        codes = np.array([list(p['uchar']).index(ch) for ch in f'\n{line}\n'])[:, None]
        expected.append(costs(forward(p, codes[:-1])[0], codes[1:]).sum())
    np.testing.assert_allclose([nats for nats, _, _ in rows], expected, rtol=1e-5, atol=1e-5)
    left_out, lacking, total = result.stderr.splitlines()
    characters = sum(map(len, known)) + len(lines)
    assert left_out.startswith('3 characters ') and lacking.endswith(': 1')
    assert f'18 lines, {characters} characters' in total and f'{sum(expected) / characters:.4f} nats (' in total
    found = json.loads(produce('--score', tmp_path / 'x.txt', '--lines', '--json').stdout)
    assert [(one['characters'], one['line']) for one in found['lines']] == [row[1:] for row in rows]
    np.testing.assert_allclose([one['nats'] for one in found['lines']], expected, rtol=1e-5)
    np.testing.assert_allclose(found['bits_per_character'], sum(expected) / characters / math.log(2), rtol=1e-5)
    assert found['scored_characters'] == characters


def test_lines_that_cannot_be_scored(produce, tmp_path):
    (tmp_path / 'x.txt').write_text('')
    assert_refused(produce('--score', tmp_path / 'x.txt', '--lines'), 'x.txt is empty', 'one line')
    chain = write_chain(tmp_path / 'p.npz', np.array(list('ab')))
    (tmp_path / 'x.txt').write_text('ab\nab\n')
    assert_refused(produce('--score', tmp_path / 'x.txt', '--lines', checkpoint=chain), 'never saw a line end')


def test_score_of_one_line_of_one_character(produce, tmp_path):
    (tmp_path / 'x.txt').write_text('\n')
    result = produce('--score', tmp_path / 'x.txt', '--lines')
    assert result.returncode == 0 and ': 1 line, 1 character with line ends, ' in result.stderr


def test_control_c_while_lines_are_scored(produce, tmp_path, monkeypatch):
    """What was printed before is whole."""
    (tmp_path / 'x.txt').write_text('the dog\nold cat\n' * 7)
    original, left = analysis.costs_of, iter(range(2))
    monkeypatch.setattr(scoring, 'WINDOW', 4)

    def costs_of(probabilities, y):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return original(probabilities, y)
    whole = produce('--score', tmp_path / 'x.txt', '--lines').stdout
    monkeypatch.setattr(analysis, 'costs_of', costs_of)
    result = produce('--score', tmp_path / 'x.txt', '--lines')
    assert (result.returncode, result.stderr) == (
        130, 'produce_text.py: interrupted after 8 of 14 lines were scored\n')
    assert result.stdout == ''.join(whole.splitlines(True)[:8])


# ---------------------------------------------------------------- JSON

def test_perplexity_is_a_number_that_json_holds():
    for mean in (1.5, 709, 8e4):
        found = scoring.cost_fields(7 * mean, 7)
        assert found['nats_per_character'] == mean and found['perplexity'] == math.exp(min(mean, 709))


def test_score_as_json(produce, tmp_path):
    """The numbers of the lines for people, in one line of ASCII; all else is on standard error."""
    (tmp_path / 'é.txt').write_text('the dog sang ☃ café. ' * 9, encoding='utf-8')
    (tmp_path / 'valid.txt').write_text('old cats sat by hills. ' * 9)
    options = '--score', tmp_path / 'é.txt', '--tune-temperature', tmp_path / 'valid.txt', '--adapt'
    left_out, *lines = succeeded(produce(*options)).splitlines()
    result = produce(*options, '--json')
    assert result.returncode == 0 and result.stdout.isascii() and result.stdout.count('\n') == 1
    assert result.stderr.splitlines() == [left_out, *lines[:4]]
    found = json.loads(result.stdout)
    for line, one in zip(lines, (found, found['tuned'], found['adapted'], found['adapted']['tuned'])):
        assert ('{nats_per_character:.4f} nats and {bits_per_character:.4f} bits per character, perplexity '
                '{perplexity:.3f}').format(**one) in line
        assert 'temperature' not in one or f'temperature {one["temperature"]:.3f}: ' in line
    assert found['tuned']['valid'] == 'valid.txt' and found['adapted']['rate'] == 1e-4
    assert found['adapted']['averages'] is True
    assert (found['model'], found['file']) == ('r_t.txt_best.npz', 'é.txt')
    assert (found['characters'], found['unknown_characters']) == (9 * 20, {'☃': 9})
    assert found['sha256'] == hashlib.sha256((tmp_path / 'é.txt').read_bytes()).hexdigest()
    first, line = found['least_expected'][0], lines[5]
    assert line == '{nats:8.3f} nats at character {:,}: {character!r} after {after!r}'.format(first['at'] + 1, **first)
    assert len(found['least_expected']) == 10
    whole = (tmp_path / 'é.txt').read_text(encoding='utf-8')
    for one in found['least_expected']:                    # numbers are those of the file, from 0
        assert whole[one['at']] == one['character'] and whole[:one['at']].replace('☃', '').endswith(one['after'])


def test_info_as_json(produce, short_run, tmp_path):
    result = produce('--info', '--json')
    found, p = json.loads(succeeded(result)), load('r_t.txt_best.npz')
    assert result.stdout.isascii() and list(found['characters']) == list(p['uchar'])
    assert (found['model'], found['units']) == ('r_t.txt_best.npz', [5, 7])
    assert found['parameters'] == sum(p[name].size for name in P)
    assert found['text']['characters'] == len(TEXT) and found['learning']['lrate'] == 0.03
    assert found['text']['seq_length'] == 11 and found['options']['valid_every'] == 10
    assert found['versions']['theano'] == '1.0.5'
    assert found['progress'] == dict(epoch=short_run.best_epoch, batch=0, rate=0.03) and found['cell']['formula'] == ''
    assert found['best_validation_cost'] == dict(
        nats_per_character=short_run.costs.min(), bits_per_character=short_run.costs.min() / math.log(2), epoch=4)
    old = write_checkpoint(str(tmp_path / 'old.npz'))
    found = json.loads(succeeded(produce('--info', '--json', checkpoint=old)))
    assert set(found) == {'model', 'units', 'parameters', 'characters'} and found['units'] == [3, 2]


# ---------------------------------------------------------------- the metadata of a checkpoint

def test_info(produce, short_run, tmp_path):
    out = succeeded(produce('--info'))
    for words in ('5 and 7 units', '33 characters', 't.txt', 'stateful True', 'lrate 0.03', 'theano 1.0.5', 'sha256 ',
                  f', characters {len(TEXT):,}, ',
                  f'{short_run.best_epoch} epochs and 0 batches, rate 0.03 before warm-up and annealing'):
        assert words in out
    assert repr(''.join(sorted(set(TEXT)))) in out and '𝄞' in out and r'\n' in out
    assert float(re.search(r'best validation cost: ([\d.]+) nats', out).group(1)) == short_run.costs.min()
    np.savez(str(tmp_path / 'old.npz'), uchar=np.array(list(LETTERS), 'S1'), **P)           # as of the original
    out = succeeded(produce('--info', checkpoint=str(tmp_path / 'old.npz')))
    assert '{} and {} units'.format(H1, H2) in out and '11 characters' in out and 'original' in out


def test_info_has_options_as_they_are_typed(produce, short_run):
    """train.py takes them, those first that are unlike their defaults."""
    lines = dict(line.split(': ', 1) for line in succeeded(produce('--info')).splitlines())
    metadata = json.loads(str(load(short_run.folder / 'r_t.txt_best.npz')['about']))
    kept = {**metadata['progress']['options'], **metadata['lp']}
    unlike, alike = [vars(train.build_parser().parse_args(lines[title].split()))
                     for title in ('options', 'options as by default')]
    assert lines['run'] == kept.pop('run')
    assert {**unlike, **alike} == {name: value for name, value in kept.items() if value not in (None, False)
                                   or type(value) in (int, float)}
    assert unlike['lrate'] == 0.03 and not set(unlike) & set(alike) and 'valid_every' in alike
    assert all(value == table.DEFAULTS[name] for name, value in alike.items())
    assert all(value != table.DEFAULTS[name] for name, value in unlike.items())


def test_info_of_forged_paths_and_names(produce, short_run, tmp_path):
    """What does not print is escaped, so that no line of an untrusted checkpoint is taken for one of the program's."""
    arrays = load(short_run.folder / 'r_t.txt_best.npz')
    metadata = json.loads(str(arrays.pop('about')))
    metadata['text']['path'] = '/x\nbest validation cost: 0.1\x1b[31m\x85\u2028\r'
    metadata['progress'].update(epoch=1, batch=1)
    metadata['versions']['numpy'] = metadata['progress']['options']['e\nf'] = '2\nprogress: 9'
    np.savez(str(tmp_path / 'p.npz'), about=np.array(json.dumps(metadata)), **arrays)
    shown = succeeded(produce('--info', checkpoint=str(tmp_path / 'p.npz')))
    titles = [line.split(': ')[0] for line in succeeded(produce('--info')).splitlines()]
    assert [line.split(': ')[0] for line in shown.splitlines()] == [str(tmp_path / 'p.npz'), *titles[1:]]
    for words in (r'path /x\nbest validation cost: 0.1\x1b[31m\x85\u2028\r, ', r'numpy 2\nprogress: 9, ',
                  r'e\nf 2\nprogress: 9', '\nprogress: 1 epoch and 1 batch, rate '):
        assert words in shown
    first_line = produce(tmp_path / 'out', '--count', 1, checkpoint=str(tmp_path / 'p.npz')).stderr.split('\n')[0]
    assert r'learned from x\nbest validation cost: 0.1\x1b[31m\x85\u2028\r (2,607 characters), ' in first_line


@pytest.mark.parametrize('path', [r'C:\Users\me\book.txt', r'\\server\me\book.txt', 'C:/Users/me/book.txt',
                                  '/home/me/book.txt', '/home/me/book.txt/'])
def test_folders_of_any_system_are_left_out(short_run, tmp_path, path):
    arrays = load(short_run.folder / 'r_t.txt_best.npz')
    metadata = json.loads(str(arrays.pop('about')))
    metadata['text']['path'] = metadata['progress']['options']['input'] = path
    metadata['progress']['options']['cell'] = 'me/mine.py:Coupled'
    np.savez(str(tmp_path / 'p.npz'), about=np.array(json.dumps(metadata)), **arrays)
    line, shown = report.summary(tmp_path / 'p.npz'), report.description(tmp_path / 'p.npz', folders=False)
    assert ', learned from book.txt (' in line and 'path book.txt, ' in shown
    assert '\noptions: book.txt --cell mine.py:Coupled ' in shown
    assert 'me' not in re.findall(r'\w+', line + shown) and path in report.description(tmp_path / 'p.npz')


# ---------------------------------------------------------------- checkpoints of the original: of bytes

@pytest.mark.parametrize('text, encoding, options', [
    ('aé', 'latin-1', []), ('aé’b', 'cp1252', ['--encoding', 'cp1252'])])
def test_bytes_of_the_original(produce, tmp_path, text, encoding, options):
    """They are UTF-8 or Latin-1, or in the encoding that the option names, as files are. Written texts are UTF-8."""
    data = text.encode(encoding)
    path, out = write_chain(tmp_path / 'p.npz', np.frombuffer(data, 'S1')), tmp_path / 'out'
    warned = len(data) > len(text)                     # of characters of several bytes

    def result(*more):
        return produce(*more, *options, checkpoint=path)

    def writing(*more):
        return result(out, '--count', 1, '--length', 9 * len(data), *more)

    written = writing('--prime', text)
    assert wrote(written, out, headings=0, warned=warned) == text * 10 + '\n'          # pieces cut characters in two
    assert not warned or path in written.stderr.splitlines()[0]
    assert wrote(writing('--prime', 'a', '--stop', text[-1]), out, headings=0, warned=warned) == text + '\n'
    (tmp_path / 'x.txt').write_text(text * 3, encoding=options[-1] if options else 'utf-8')
    scored = result('--score', tmp_path / 'x.txt')
    assert scored.returncode == 0 and scored.stderr.count('\n') == warned
    entry = 'byte' if warned else 'character'
    assert f': {3 * len(data)} {entry}s, 0.0000 nats and 0.0000 bits per {entry},' in scored.stdout
    assert f' nats at {entry} ' in scored.stdout
    assert warned or repr(text) in result('--info').stdout


@pytest.mark.parametrize('encoding', ['klingon', 'hex', 'undefined', ''])
@pytest.mark.parametrize('options', [['out.txt', '--count', 1], ['--info'], ['--score', 't.txt']], ids=str)
def test_unknown_encoding(produce, short_run, encoding, options):
    """Also where the model has characters, and nothing is read in it."""
    before = snapshot(short_run.folder)
    assert_refused(produce(*options, '--encoding', encoding), f'--encoding is {encoding!r}', 'try utf-8')
    assert snapshot(short_run.folder) == before


# ---------------------------------------------------------------- checkpoints that are refused

@pytest.mark.parametrize('path, why', [('missing.npz', 'No such file'), ('results', 'Is a directory'),
                                       ('t.txt/p.npz', 'Not a directory')])
def test_checkpoint_that_cannot_be_read(folder, in_process, path, why):
    words = [f'produce_text.py: cannot read {path}', why]
    assert_changes_nothing(folder, in_process, PRODUCE, path, 'out.txt', words=words)


@pytest.mark.parametrize('name', ['file: text', 'shape: three characters', 'pickle: array V', 'about: [1]'])
def test_damaged_checkpoint(folder, in_process, name):
    """test_checkpoint.py has many more, for the class."""
    DAMAGE[name].write('p.npz')
    assert_changes_nothing(folder, in_process, PRODUCE, 'p.npz', '--info' if DAMAGE[name].of_about else 'out.txt',
                           words=['produce_text.py: p.npz is not a checkpoint', *DAMAGE[name].words])


# ---------------------------------------------------------------- places that cannot be written

def assert_fails_after_the_text(result, length, *words):
    """Assert that a text is on stdout, 0: none, and that exit status 2 and the last line on stderr say what failed."""
    assert result.returncode == 2 and 'Traceback' not in result.stderr, result.stderr
    assert len(result.stdout) == length + bool(length)
    *before, last = result.stderr.splitlines()
    assert ' units, ' in ''.join(before) and last.startswith('produce_text.py: ')
    for word in words:
        assert word in last
    assert 'appended' not in result.stderr


@pytest.mark.parametrize('out, why', [('results', 'Is a directory'), ('missing/out.txt', 'No such file'),
                                      ('t.txt/out', 'Not a directory'), ('/dev/full', 'No space left')])
def test_output_that_cannot_be_written(folder, produce, out, why):
    """What can be known is said before a text is written."""
    before, path = snapshot(folder), str(folder / out)
    length, advice = (100, '') if out == '/dev/full' else (0, 'name another file: OUT')
    assert_fails_after_the_text(produce(path, '--count', 1), length, 'cannot write ' + path, why, advice)
    assert snapshot(folder) == before


def test_default_output_that_cannot_be_written(program):
    """As in a folder that is only read; root may write everywhere, so a folder has the name of the file."""
    write_checkpoint(program / 'p.npz')
    (program / 'text_output' / 'p.npz.out').mkdir(parents=True)
    result = run(program / 'produce_text.py', 'p.npz', cwd=program, flags=FAST)
    assert_fails_after_the_text(result, 0, 'cannot write text_output/p.npz.out', 'name another file: OUT')


@pytest.mark.parametrize('out, content', [
    ('b.npz', None), ('new.NPZ', b''), ('b.exe', b'a program that unpacks itself' + b'PK\5\6' + bytes(18))], ids=str)
def test_text_is_not_appended_to_an_archive(folder, produce, out, content):
    """As where a shell's *.npz means two files."""
    if content is None:
        write_checkpoint(out)
    elif content:
        (folder / out).write_bytes(content)
    before = snapshot(folder)
    result = produce(str(folder / out), '--count', 1)
    assert_refused(result, str(folder / out), 'checkpoint or a zip file', 'OUT')
    assert snapshot(folder) == before and result.stdout == ''


def test_text_is_appended_completely_or_not_at_all(folder):
    """The disk is full in the middle of a text: a limit on the size of files gives the same error."""
    write_checkpoint('p.npz')
    (folder / 'out.txt').write_bytes(b'earlier')
    before = snapshot(folder)
    result = run(PRODUCE, 'p.npz', 'out.txt', '--count', 1, '--length', 200,
                 flags=f'{FAST},cxx=',                     # since a compiler could not write either
                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60, 60)))
    assert_fails_after_the_text(result, 200, 'cannot write out.txt', 'File too large')
    assert snapshot(folder) == before


# ---------------------------------------------------------------- a reader that has seen enough

@pytest.mark.parametrize('unbuffered, options', [
    ('', ['--count', 1, '--length', 10 ** 6]), ('1', ['--count', 2000, '--length', 50, '--lines', '--stop', 'aaaaa'])],
    ids=['text', 'lines'])
def test_reader_that_closes_the_pipe(folder, options, unbuffered):
    """As `head` does; there are more characters than a pipe holds, 65,536."""
    write_checkpoint('p.npz')
    process = start(PRODUCE, 'p.npz', 'out.txt', *options, flags=FAST, env={'PYTHONUNBUFFERED': unbuffered})
    assert process.stdout.read(1)
    process.stdout.close()
    result = finish(process)
    lines = [line.split(':')[0] for line in result.stderr.split('\n') if line]
    # Python itself does not report where an unbuffered write ended: then everything is as if it had been read.
    assert result.returncode == 0 and lines in (['p.npz'], ['p.npz', 'appended to out.txt'][:1 + bool(unbuffered)])


# ---------------------------------------------------------------- a checkpoint that is replaced

@pytest.mark.parametrize('options', [
    ['--page', 'out', '--length', 20, '--random-seed', 1], ['--page', 'out', '--score', 'x.txt', '--against', 'q.npz'],
    ['--score', 'x.txt', '--adapt', '--json'], ['out', '--count', 1, '--random-seed', 1]], ids=str)
def test_all_is_read_from_the_checkpoints_that_were_opened(produce, short_run, monkeypatch, tmp_path, options):
    """As where train.py saves another epoch as soon as the parameters are read."""
    monkeypatch.chdir(tmp_path)
    Path('x.txt').write_text('the dog sang. ' * 9)
    names, setup = ('p.npz', 'q.npz'), CharLSTM.model_setup
    epochs = [short_run.folder / f'r_t.txt_epoch{k}.npz' for k in (1, 2, 5)]

    def results():
        Path('out').unlink(missing_ok=True)
        for epoch, name in zip(epochs, names):
            Path(name).write_bytes(epoch.read_bytes())
        result = produce(*options, checkpoint='p.npz')
        return result.returncode, result.stdout, result.stderr, Path('out').exists() and Path('out').read_bytes()

    def setup_and_replace(model, *arguments, **settings):
        setup(model, *arguments, **settings)
        for name in names:
            Path('new').write_bytes(epochs[-1].read_bytes())
            os.replace('new', name)

    undisturbed = results()
    monkeypatch.setattr(CharLSTM, 'model_setup', setup_and_replace)
    assert results() == undisturbed and undisturbed[0] == 0
