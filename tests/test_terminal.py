"""What scripts show on a terminal and in a pipe, and how they end: progress, encodings, signals, exit statuses."""
import argparse
import io
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

import produce_text
import train
from damage import write_checkpoint
from engine import terminal
from engine.parallel import SingleProcess
from numpy_model import NAMES
from scripts import (FAST, N_TRAIN, PRODUCE, ROOT, SMALL, TEXT, TRAIN, assert_changes_nothing, assert_refused,
                     contents, environment, finish, interrupted, load, paste, run, sequences, start, succeeded,
                     write_chain, wrote)

NUMBER = r'[\d,.]+'

# A script that prints control characters, characters that ASCII lacks, and others.
KINDS = "\x1b[31m|\r|\x9b|\x00|\x7f|\b|\u2028\u2029|\u202a\u202e|\u2066\u2069|\u200d\u200e\u200f|\t|é|—|𝄞|\udce9"
PRINTS = f"""
import argparse, sys
sys.path.insert(0, {str(ROOT)!r})
from engine import terminal
def program(options):
    print({KINDS!r})
    terminal.note({KINDS!r})
    raise ValueError({KINDS!r})
terminal.main(argparse.ArgumentParser(prog='p'), program, lambda options: '')
"""
SHOWN = (r'\x1b[31m|\r|\x9b|\x00|\x7f|\x08|\u2028\u2029|\u202a\u202e|\u2066\u2069|'              # on a terminal
         '\u200d\u200e\u200f|\t|é|—|𝄞|' r'\udce9')
PIPED, ASCII = [KINDS.encode(encoding, 'backslashreplace').decode() for encoding in ('utf-8', 'ascii')]


# ---------------------------------------------------------------- messages

@pytest.mark.parametrize('message, shown', [
    ('a smaller batch_size or seq_length', 'a smaller --batch-size or --seq-length'),
    ('name it with the option encoding', 'name it with --encoding'), ('the option of it', 'the option of it'),
    ('top_k is 0', 'top_k is 0'), ('--batch-size is 0', '--batch-size is 0'),
    ('./batch_size, batch_size.txt, my_batch_size and lp[batch_size=1]',) * 2])
def test_options_in_a_message_are_as_they_are_typed(message, shown):
    assert terminal._as_typed(message, train.build_parser()) == shown


# ---------------------------------------------------------------- a terminal

def on_terminal(arguments, folder, interrupt_at=None, close_at=None, columns=80, **changes):
    """Run Python on a terminal; return its exit status and what the terminal got.

    interrupt_at: the output after which the user presses Ctrl-C; close_at: after which the terminal is closed.
    """
    import fcntl
    import termios
    pid, screen = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))
        os.chdir(str(folder))
        os.environ.pop('COLUMNS', None)         # pytest-xdist sets it for its workers
        os.execve(sys.executable, [sys.executable] + [str(a) for a in arguments], environment(FAST, **changes))
    shown = b''
    while select.select([screen], [], [], 300)[0]:
        try:
            more = os.read(screen, 4096)
        except OSError:                     # Linux: the other end is closed
            more = b''
        if not more:
            break
        shown += more
        if interrupt_at and interrupt_at in shown:
            os.write(screen, b'\x03')
            interrupt_at = None
        if close_at and close_at in shown:
            break
    os.close(screen)
    return os.WEXITSTATUS(os.waitpid(pid, 0)[1]), shown.decode('utf-8').replace('\r\n', '\n')


def test_progress_bar_and_control_c(tmp_path):
    """In a run with as many steps as the novel's 75 epochs have."""
    (tmp_path / 't.txt').write_text(TEXT, encoding='utf-8')
    arguments = [TRAIN, 't.txt', 'r', *SMALL, '--epochs', 15675 // N_TRAIN, '--output-dir', '.']
    status, screen = on_terminal(arguments, tmp_path, interrupt_at=b'epoch 2/')
    lines = screen.replace('\r', '\n').split('\n')
    bars = [line for line in lines if 'chars/s' in line]
    assert len(bars) > 1
    for words in (r'epoch \d+/\d+', 'cost ' + NUMBER, 'valid ' + NUMBER, NUMBER + ' chars/s',
                  r', (\d+:)?\d+:\d\d left \|'):
        assert re.search(words, bars[-1]), (words, bars[-1])
    assert len([line for line in lines if line.startswith('epoch 1/') and 'characters/s' in line]) == 1
    assert not [line for line in lines if r'\r' in line or r'\x' in line]        # the bar's controls are not escaped

    assert status == 130
    following = shlex.split(lines[-3])
    assert following[0] == 'next:' and following[-2] == str(PRODUCE)
    assert re.fullmatch('r_t.txt_(best|interrupted).npz', os.path.basename(following[-1]))
    assert set(NAMES) < set(load(tmp_path / 'r_t.txt_interrupted.npz'))


# Shows both bars; before the first piece of a text, as long passes as while functions are compiled.
BARS = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from engine import terminal
bar = terminal.ProgressBar(steps=1009, done=0)
bar.begin_epoch()
for _ in range(5):
    time.sleep(0.15)
    bar.step(1, 40, 2.567, 1.84, 6200)
bar.close()
print()
with terminal.Countdown('scoring ' + 'folder/' * 13 + '\x1b[2J', 30_000) as countdown:
    time.sleep(5)
    for _ in range(6):
        countdown.add(1000)
        time.sleep(0.4)
"""


@pytest.mark.parametrize('columns, fields', [(20, 0), (40, 2), (80, 4)])
def test_bars_on_narrow_terminals(tmp_path, columns, fields):
    """No line is longer than the terminal is wide. The bar of training has whole fields, and the time left."""
    status, screen = on_terminal(['-c', BARS], tmp_path, columns=columns)
    training, scoring = [part.replace('\r', '\n').splitlines() for part in screen.split('\n', 1)]
    assert status == 0 and max(map(len, training + scoring)) <= columns
    known = ['epoch 1/40, ', r'cost 2\.567, ', r'valid 1\.840, ', NUMBER + ' chars/s, '][:fields]
    assert re.fullmatch(''.join(known) + r'\d+:\d\d:\d\d left +\|.*', training[-1])
    scored = [re.match(r'(\d+) %, 00:(\d\d) left', line) for line in scoring if ' %, ' in line]
    assert len(scored) > 2 and '\x1b[2J' not in screen
    # 24,000 characters at 0.4 s for 1,000, or somewhat more where others compute: without the first 5 s
    assert int(scored[-1].group(2)) < 25


@pytest.mark.parametrize('done, whole, left', [
    (4, '3 min 0 s for what is left of 5 epochs', '41 s'), (0, '5 min 0 s for 5 epochs', '2 min 2 s')])
def test_progress_without_a_terminal(monkeypatch, capsys, done, whole, left):
    """A line after QUIET seconds without one, with the time left, and one estimate of the whole time.

    Both leave out the first step, in which a device compiles. done: of a run that is resumed.
    """
    now = [100.0]
    monkeypatch.setattr(terminal.time, 'time', lambda: now[0])
    bar = terminal.ProgressBar(steps=2, done=done)
    bar.begin_epoch()
    for seconds in (91, terminal.QUIET, 1, terminal.QUIET, 1):
        now[0] += seconds
        bar.step(2, 5, 1.5, 2.5, 62)
    bar.close()
    assert capsys.readouterr().out.splitlines() == [
        f'estimated training time: 1 min 0 s an epoch, {whole}',
        f'epoch 2/5, cost 1.500, valid 2.500, 2 chars/s, {left} left']


def test_time_for_a_text_is_once_and_only_where_much_of_the_epoch_is_left(monkeypatch):
    """And the speed leaves out the time of that text."""
    now = [100.0]
    monkeypatch.setattr(terminal.time, 'time', lambda: now[0])

    def times(steps, seconds):
        bar = terminal.ProgressBar(steps, done=0)
        bar.begin_epoch()
        for step in range(1, 2 * steps + 1):
            now[0] += seconds
            if bar.step(1, 2, 1.5, 2.5, 62):
                yield step
                before = bar.speed()
                with bar.paused():
                    now[0] += 7
                assert bar.speed() == pytest.approx(before) == pytest.approx(62 / seconds)

    assert list(times(10, seconds=4)) == [4]               # 12 s after the first step, 24 s before the end
    assert list(times(10, seconds=1.3)) == list(times(2, seconds=11)) == list(times(100, seconds=0.01)) == []


def test_countdown_without_a_terminal(monkeypatch, capsys):
    """The time left leaves out the first piece, before which functions are compiled."""
    now = [100.0]
    monkeypatch.setattr(terminal.time, 'time', lambda: now[0])
    with terminal.Countdown('scoring x', 5000) as countdown:
        for seconds in (91, terminal.QUIET, terminal.QUIET + 1, 1):
            now[0] += seconds
            countdown.add(1000)
    assert capsys.readouterr().err.splitlines() == ['scoring x: 2,000 of 5,000 characters, 1 min 30 s left',
                                                    'scoring x: 3,000 of 5,000 characters, 1 min 1 s left']


@pytest.mark.parametrize('where', ['terminal', 'notebook', 'neither', 'named'])
def test_how_far_a_function_is_compiled(where, monkeypatch):
    """A line says it on a terminal, in a notebook, and in a file that is named for it; not where it is redirected.

    Only from where files are to be compiled.
    """
    class Stream(io.StringIO):
        def isatty(self):
            return where == 'terminal'

    def until_lines(count):
        deadline = time.time() + (0.1 if where == 'neither' else 60)
        while stream.getvalue().count('\n') < count and time.time() < deadline:
            time.sleep(0.01)

    if where == 'notebook':
        Stream.__module__ = 'ipykernel.iostream'
    stream = Stream()
    monkeypatch.setattr(terminal, 'SLOW', 0.01)
    monkeypatch.setattr(terminal, 'COMPILING', 0.01)
    if where != 'named':
        monkeypatch.setattr(sys, 'stderr', stream)
    with terminal.Compilation('check', stream if where == 'named' else None) as compilation:
        time.sleep(0.1)
        assert stream.getvalue() == ''                     # nothing is to be compiled, as far as is known
        compilation.report(0, 8, 0.0)
        until_lines(1)
        for done, seconds in ((2, 5.0), (4, 7.0)):
            compilation.report(done, 8, seconds)
            until_lines(stream.getvalue().count('\n') + 2)
    lines = stream.getvalue().splitlines()
    if where == 'neither':
        assert lines == []
    else:
        assert all(line.startswith('compiling check, this first time only: ') for line in lines)
        said = [line.split(': ')[1] for line in lines]
        assert re.fullmatch(r'0 of 8 files, (under )?[\d.]+ s so far \.\.\.', said[0])
        assert any(re.fullmatch(r'2 of 8 files, (under )?[\d.]+ s so far \.\.\.', one) for one in said)
        assert said[-1] == '4 of 8 files, about 7.0 s left ...'


def test_duration():
    for seconds, text in ((0, 'under 0.1 s'), (0.049, 'under 0.1 s'), (0.051, '0.1 s'), (1.26, '1.3 s'),
                          (9.94, '9.9 s'), (9.96, '10 s'), (59.4, '59 s'), (59.6, '1 min 0 s'),
                          (3599, '59 min 59 s'), (3600, '1 h 0 min'), (90061, '25 h 1 min')):
        assert terminal.duration(seconds) == text


@pytest.mark.parametrize('where', ['terminal', 'pipe'])
def test_output_and_errors_come_in_their_order(tmp_path, where):
    checkpoint = write_checkpoint(tmp_path / 'p.npz')
    arguments = [PRODUCE, checkpoint, 'out', '--count', 3]
    if where == 'terminal':
        status, shown = on_terminal(arguments, tmp_path)
    else:
        line = terminal.quoted([sys.executable, *map(str, arguments)]) + ' 2>&1'
        result = paste(line, tmp_path, PYTHONUNBUFFERED='')
        status, shown = result.returncode, result.stdout
    text = contents(tmp_path / 'out')
    assert len(sequences(text, 3)) == 3
    before = shown[:-len(text[:-1] + 'appended to out\n')]
    assert status == 0 and shown == before + text[:-1] + 'appended to out\n'
    assert re.fullmatch(r'{}: 2 layers of .*\n(compiling.*\n)*\n'.format(re.escape(checkpoint)), before)


# ---------------------------------------------------------------- control characters

def test_control_characters_are_shown_on_a_terminal(tmp_path):
    """In output, in messages and in errors."""
    assert on_terminal(['-c', PRINTS], tmp_path) == (2, f'{SHOWN}\n{SHOWN}\np: {SHOWN}\n')


@pytest.mark.parametrize('encoding, expected', [('utf-8', PIPED), ('ascii', ASCII)], ids=['utf-8', 'ascii'])
def test_pipe_gets_control_characters_as_they_are(encoding, expected):
    result = subprocess.run([sys.executable, '-c', PRINTS], env=environment(PYTHONIOENCODING=encoding),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (result.returncode, result.stdout.decode(encoding)) == (2, expected + '\n')
    assert result.stderr.decode(encoding) == f'{expected}\np: {expected}\n'


def test_control_characters_of_a_generated_text_stay_in_its_file(tmp_path):
    """The model writes a, ESC, c, carriage return, a, ..."""
    chain = write_chain(tmp_path / 'p\x1b[2J.npz', np.array(list('a\x1bc\r')))
    status, screen = on_terminal([PRODUCE, chain, 'out', '--count', 1, '--length', 8, '--prime', 'a'], tmp_path)
    assert status == 0 and r'a\x1bc\ra\x1bc\ra' + '\n' in screen and r'p\x1b[2J.npz: ' in screen
    assert not re.search('[\x00-\x08\x0b-\x1f]', screen)
    assert sequences(contents(tmp_path / 'out'), 1) == ['a\x1bc\ra\x1bc\ra']


# ---------------------------------------------------------------- closed output

def test_closed_output_is_no_error(tmp_path):
    """No file takes the number of the closed stream either."""
    python = terminal.quoted([sys.executable, str(PRODUCE)])
    write_checkpoint(tmp_path / 'p.npz')
    result = paste(f'{python} p.npz out --count 1 >&-', tmp_path)
    assert wrote(result, 'out', headings=0) == '' and len(sequences(contents(tmp_path / 'out'), 1)) == 1
    result = paste(f'{python} --help >&-', tmp_path)
    assert (result.returncode, result.stderr) == (0, '')
    result = paste(f'{shlex.quote(sys.executable)} -c {shlex.quote(PRINTS)} 2>&-', tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (2, PIPED.replace('\r', '\n') + '\n', '')


@pytest.mark.parametrize('script', [TRAIN, PRODUCE, ROOT / 'text_input' / 'fetch_novel.py'], ids=lambda path: path.stem)
@pytest.mark.parametrize('unbuffered', ['', '1'], ids=['buffered', 'unbuffered'])
def test_help_that_cannot_be_written(script, unbuffered, tmp_path):
    result = paste(terminal.quoted([sys.executable, str(script)]) + ' --help >/dev/full', tmp_path,
                   PYTHONUNBUFFERED=unbuffered)
    assert_refused(result, f'{script.name}: cannot write standard output: No space left')


def test_training_continues_without_its_reader(tmp_path):
    (tmp_path / 't.txt').write_text(TEXT, encoding='utf-8')
    process = start(TRAIN, 't.txt', 'r', *SMALL, '--epochs', 2, '--output-dir', '.', flags=FAST, cwd=tmp_path,
                    env={'PYTHONUNBUFFERED': ''})
    while not process.stdout.readline().startswith('2 layers'):
        assert process.poll() is None
    process.stdout.close()
    result = finish(process)
    assert (result.returncode, result.stderr) == (0, '')
    assert (tmp_path / 'r_t.txt_epoch2.npz').exists()


# ---------------------------------------------------------------- encodings

def test_ascii_terminal_does_not_change_the_file(tmp_path):
    chain = write_chain(tmp_path / 'ü.npz', np.array(list('𝄞é')))
    result = run(PRODUCE, chain, tmp_path / 'é.txt', '--prime', '𝄞', '--count', 2, '--length', 3, flags=FAST,
                 env={'LC_ALL': 'C', 'PYTHONIOENCODING': 'ascii'})
    texts = sequences(contents(tmp_path / 'é.txt'), 2)
    assert texts == ['𝄞é𝄞é'] * 2
    printed = wrote(result, str(tmp_path / 'é.txt').replace('é', r'\xe9'), headings=2)
    assert printed == '\n\n'.join(texts).encode('ascii', 'backslashreplace').decode() + '\n'
    assert r'\xfc.npz' in result.stderr


# ---------------------------------------------------------------- signals

def test_terminated_training_can_be_resumed(program):
    (program / 't.txt').write_text(TEXT * 50, encoding='utf-8')        # an epoch lasts longer than the signal takes
    log = program / 'training_results' / 'r_t.txt.out'
    result = interrupted(start('train.py', 't.txt', 'r', *SMALL, flags=FAST, cwd=program), log, signal.SIGTERM, lines=4)
    assert (result.returncode, result.stderr) == (130, '')

    path = 'training_results/r_t.txt_interrupted.npz'
    assert sorted(p.name for p in log.parent.glob('*.npz')) == ['r_t.txt_interrupted.npz', 'r_t.txt_start.npz']
    assert not list(log.parent.glob('*.part'))
    assert log.read_text().endswith('\n') and np.loadtxt(str(log)).shape[1] == 11
    saved, following, resuming = [line for line in result.stdout.splitlines() if path in line]
    assert 'interrupted in epoch' in result.stdout and saved == 'saved ' + path
    assert following.startswith('next: ') and resuming.startswith('to resume: ')
    wrote(paste(following[len('next: '):], program), os.path.join('text_output', 'r_t.txt_interrupted.npz.out'))
    assert shlex.split(resuming)[-3:] == ['train.py', '--resume', path]
    other = paste(resuming[len('to resume: '):] + ' --lrate 7', program)                # it is refused early
    assert_refused(other, 'train.py: got --lrate 7.0', path)


def test_closed_terminal_saves_a_checkpoint(tmp_path):
    """Nothing can be written to it any more, also by the progress bar."""
    (tmp_path / 't.txt').write_text(TEXT, encoding='utf-8')
    arguments = [TRAIN, 't.txt', 'r', *SMALL, '--epochs', 15675 // N_TRAIN, '--output-dir', '.']
    status, _ = on_terminal(arguments, tmp_path, close_at=b'epoch 2/')
    assert status == 130 and set(NAMES) < set(load(tmp_path / 'r_t.txt_interrupted.npz'))
    assert (tmp_path / 'r_t.txt_result.json').exists()


@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGINT])
def test_training_goes_on_where_a_signal_is_ignored(tmp_path, number):
    """Under nohup that of a closed terminal, and in the background of a shell script Ctrl-C."""
    (tmp_path / 't.txt').write_text(TEXT, encoding='utf-8')
    process = start(TRAIN, 't.txt', 'r', *SMALL, '--epochs', 7, '--output-dir', '.', flags=FAST, cwd=tmp_path,
                    preexec_fn=lambda: signal.signal(number, signal.SIG_IGN))
    result = interrupted(process, tmp_path / 'r_t.txt.out', number)
    assert (result.returncode, result.stderr) == (0, '') and (tmp_path / 'r_t.txt_epoch7.npz').exists()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signal_after_the_imports_lets_what_was_begun_be_removed(number):
    before = signal.getsignal(number)
    try:
        terminal.end_at_once()
        assert signal.getsignal(number) is terminal._end_now
        terminal.raise_again()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    finally:
        signal.signal(number, before)


def test_second_signal_stops_at_once_but_not_a_second_hangup():
    """The shell sends one when its terminal is closed, and the system another."""
    with terminal.StopRequest(SingleProcess()) as stop:
        for number in (signal.SIGHUP, signal.SIGHUP):
            signal.raise_signal(number)
            assert stop.agreed
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)


# ---------------------------------------------------------------- exit statuses

class ArrayMemoryError(MemoryError):
    """An error like NumPy's, whose argument is a shape."""
    def __str__(self):
        return f'1 GB for {self.args[0]}'


@pytest.mark.parametrize('outcome, status, errors', [
    (None, 0, ''), (130, 130, ''), (ValueError('x\ny is no file'), 2, 'p: x\\ny is no file\n'),
    (MemoryError(), 2, 'p: not enough memory; a smaller --size needs less\n'),
    (OSError(28, 'it is full'), 2, 'p: cannot write standard output: it is full\n'),
    (FileNotFoundError('cannot read x'), 2, 'p: cannot read x\n'), (KeyboardInterrupt(), 130, 'p: interrupted\n'),
    (KeyboardInterrupt(' while compiling'), 130, 'p: interrupted while compiling\n'),
    (OSError(12, 'Cannot allocate memory'), 2,
     'p: not enough memory: Cannot allocate memory; end other programs, or use a machine with more memory\n'),
    (ImportError('x.so: failed to map segment: Cannot allocate memory'), 2, 'p: not enough memory: x.so: failed to map '
     'segment: Cannot allocate memory; end other programs, or use a machine with more memory\n'),
    (FileNotFoundError(2, 'No such file or directory'), 2, 'p: the current folder was removed: go to another one, '
     'with cd\n'),
    (MemoryError('of 5 GB'), 2, 'p: not enough memory: of 5 GB; a smaller --size needs less\n'),
    (ArrayMemoryError((4, 5)), 2, 'p: not enough memory: 1 GB for (4, 5); a smaller --size needs less\n'),
    (Exception(b'clCreateBuffer: Invalid buffer size', 'Container'), 2,                    # as pygpu has it
     'p: not enough memory: clCreateBuffer: Invalid buffer size; a smaller --size needs less\n'),
    (RuntimeError('cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory\nApply node that caused it'), 2, 'p: not enough '
     'memory: cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory; a smaller --size needs less\n'),
    (ImportError('No module named x', name='x'), 2, 'p: No module named x: run {}\n'),
    (ImportError('wrong x: pip install y'), 2, 'p: wrong x: pip install y\n')], ids=repr)
def test_how_a_script_ends(monkeypatch, capsys, outcome, status, errors):
    def program(options):
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome
    monkeypatch.setattr(sys, 'argv', ['p'])
    with pytest.raises(SystemExit) as end:
        terminal.main(argparse.ArgumentParser(prog='p'), program, lambda options: 'a smaller --size needs')
    assert (end.value.code, capsys.readouterr().err) == (status, errors.format(terminal.install()))


@pytest.mark.parametrize('script, arguments, advice', [
    (train, '', 'smaller --num-units1, --num-units2 or --batch-size need'),
    (train, '--init p.npz', 'a smaller --batch-size needs'), (train, '--resume p.npz', ''),
    (produce_text, '', 'a smaller --count or --length needs'), (produce_text, 'p --info', ''),
    (produce_text, 'p --score t --adapt', ''),
    (produce_text, '--page x --score t', ''),
    (produce_text, '--page x', 'a smaller --length needs')])
def test_advice_on_memory_names_options_that_can_be_changed(script, arguments, advice):
    assert script.needs_less(script.build_parser().parse_intermixed_args(arguments.split())) == advice


def test_bug_is_not_hidden(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['p'])
    with pytest.raises(TypeError):
        terminal.main(argparse.ArgumentParser(prog='p'), terminal.bits, str)


# ---------------------------------------------------------------- options

PARSERS = {'train': train.build_parser, 'produce_text': produce_text.build_parser}


def options_of(script):
    """Return the argparse actions of a script's options by name, except --help."""
    return {action.option_strings[0]: action for action in PARSERS[script]()._actions
            if action.option_strings and action.dest != 'help'}


@pytest.mark.parametrize('script', PARSERS)
def test_two_dashes_are_a_value_and_abbreviations_are_refused(script, capsys):
    def refused(word, name):
        with pytest.raises(SystemExit) as end:
            parser.parse_intermixed_args([word])
        assert end.value.code == 2 and name in capsys.readouterr().err.splitlines()[-1]
    parser, known = PARSERS[script](), options_of(script)
    for name, action in known.items():
        if action.type is str and not action.choices:
            assert getattr(parser.parse_intermixed_args([name + '=--']), action.dest) in ('--', ['--'])
        else:
            refused(name + '=--', name)
        shorter = name[:-1]
        if shorter not in known:
            refused(shorter + '=1', shorter)


@pytest.mark.parametrize('script, words, line', [
    ('train', '--epoch 5', 'unknown option --epoch: did you mean --epochs?'),
    ('train', 'a b --seq_length=7', 'unknown option --seq_length: did you mean --seq-length?'),
    ('produce_text', '--temp 0.7', 'unknown option --temp: did you mean --temperature?'),
    ('train', '-epochs', 'unknown option -epochs: did you mean --epochs?'),
    ('train', '-book.txt', 'unknown option -book.txt: if the file is meant, write ./-book.txt'),
    ('produce_text', '--klingon=a\nb x', 'unknown option --klingon; --help lists the options'),
    ('train', 'a b --lrate 3 c d', 'too many arguments: c d; --help lists the options'),
    ('train', '--epochs x', "argument --epochs: invalid int value: 'x'; --help lists the options"),
    ('train', '--init', 'argument --init: expected one argument; --help lists the options'),
    ('produce_text', 'a --method=\n', 'argument --method: invalid choice: ')])
def test_error_of_the_parser_is_one_line(script, words, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / '-book.txt').write_text('')
    with pytest.raises(SystemExit) as end:
        PARSERS[script]().parse_intermixed_args(words.split(' '))
    out, err = capsys.readouterr()
    name = os.path.basename(sys.argv[0])
    assert (end.value.code, out, err.count('\n')) == (2, '', 1) and err.startswith(f'{name}: {line}')
    assert err.endswith(('?\n', '.txt\n', '; --help lists the options\n'))


# ---------------------------------------------------------------- the start

def test_current_folder_that_was_removed(tmp_path):
    (tmp_path / 'gone').mkdir()
    line = 'rmdir ../gone; ' + terminal.quoted([sys.executable, str(PRODUCE)])
    assert_refused(paste(line, tmp_path / 'gone'), 'produce_text.py: the current folder was removed')
    (tmp_path / 'gone').mkdir()
    result = paste(line + ' --help', tmp_path / 'gone')
    assert result.returncode == 0 and result.stdout.startswith('usage: produce_text.py')


@pytest.mark.parametrize('script', [TRAIN, PRODUCE], ids=['train', 'produce_text'])
def test_isolated_python_finds_the_program(script, tmp_path):
    assert succeeded(run('-I', script, '--help', cwd=tmp_path)).startswith(f'usage: {script.name}')


# Runs a script, or imports the class; Ctrl-C is pressed when the import of a module begins.
EARLY = """
import importlib.abc, os, runpy, signal, sys
root, module, script = sys.argv[1:4]
class Interrupt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == module:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
            sys.stderr.flush()
sys.meta_path.insert(0, Interrupt())
sys.path.insert(0, root)
sys.argv = sys.argv[3:]
if script == 'charlstm':
    import charlstm
else:
    runpy.run_path(script, run_name='__main__')
"""


@pytest.mark.parametrize('script, module', [
    (TRAIN, 'numpy'), (TRAIN, 'theano.gof.lazylinker_c'), (TRAIN, 'scipy'),
    (PRODUCE, 'theano.configdefaults')], ids=lambda value: getattr(value, 'stem', value))
def test_control_c_while_a_script_starts(script, module, folder):
    write_checkpoint('p.npz')
    arguments = ['t.txt', 'r', *SMALL, '--output-dir', 'results'] if script == TRAIN else ['p.npz', 'out']
    before = sorted(os.listdir('results'))
    result = run('-c', EARLY, ROOT, module, script, *arguments, flags=FAST)
    assert (result.returncode, result.stderr) == (130, f'{script.name}: interrupted\n')
    assert sorted(os.listdir('results')) == before and not os.path.exists('out')


def test_control_c_while_the_class_is_imported_and_where_it_is_ignored(folder):
    """It is ignored in the background of a shell script, or under nohup."""
    result = run('-c', EARLY, ROOT, 'theano.gof.lazylinker_c', 'charlstm', flags=FAST)
    assert result.returncode == -signal.SIGINT and result.stderr.splitlines()[-1] == 'KeyboardInterrupt'
    write_checkpoint('p.npz')
    result = run('-c', EARLY, ROOT, 'numpy', PRODUCE, 'p.npz', 'out', '--count', 1, flags=FAST,
                 preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert wrote(result, 'out', headings=0)


@pytest.mark.parametrize('script, package', [(TRAIN, 'theano'), (PRODUCE, 'numpy')], ids=['train', 'produce_text'])
def test_missing_package(script, package, without, folder):
    arguments = ['t.txt', 'r', '--output-dir', 'results'] if script == TRAIN else [
        write_checkpoint('p.npz'), 'out', '--prime-file', 't.txt']
    changes = without(package)         # creates a folder in the current one
    assert_changes_nothing(folder, run, script, *arguments, env=changes, words=[package, 'run ' + terminal.install()])


@pytest.mark.parametrize('package', ['theano', 'numpy'])
def test_virtual_environment_that_is_not_active(program, package, without, tmp_path):
    (program / 'venv' / 'bin').mkdir(parents=True)
    (program / 'venv' / 'bin' / 'activate').touch()
    result = run(program / 'train.py', 't.txt', 'r', cwd=tmp_path, env=without(package))
    assert_refused(result, package, ': the virtual environment is not active: run source program/venv/bin/activate\n')


# Hides matplotlib and tqdm from Python.
ABSENT = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split('.')[0] in ('matplotlib', 'tqdm'):
            raise ModuleNotFoundError(f"No module named '{name}'")
sys.meta_path.insert(0, Absent())
"""


def test_scripts_need_neither_matplotlib_nor_tqdm(folder):
    """Without them there is no picture and no bar; a line says so, for the bar only on a terminal."""
    (folder / 'absent').mkdir()
    (folder / 'absent' / 'sitecustomize.py').write_text(ABSENT)
    env = {'PYTHONPATH': str(folder / 'absent')}
    result = run(TRAIN, 't.txt', 'r', *SMALL, '--epochs', 1, '--output-dir', 'results', flags=FAST, env=env)
    assert result.returncode == 0 and 'drawn in' not in result.stdout
    assert re.fullmatch('charlstm: .* could not be drawn: matplotlib is not installed; to install it: .*\n',
                        result.stderr)
    assert sorted(name for name in os.listdir('results') if name.startswith('r_')) == [
        'r_t.txt' + ending for ending in ('.out', '_best.npz', '_epoch1.npz', '_epochs.out', '_passage.out',
                                          '_result.json', '_samples.txt')]
    status, shown = on_terminal([PRODUCE, 'results/r_t.txt_epoch1.npz', '--score', 't.txt'], folder, **env)
    assert status == 0 and shown.count('tqdm cannot be imported, so there will be no progress bar') == 1
