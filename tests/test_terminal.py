"""What a person sees of the scripts, and how they end: progress, few characters, signals, exit statuses."""
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
from types import SimpleNamespace

import numpy as np
import pytest

import produce_text
import train
from damage import write_checkpoint
from engine import commands, terminal
from numpy_model import NAMES
from scripts import (FAST, N_TRAIN, PRODUCE, ROOT, SMALL, TEXT, TRAIN, assert_changes_nothing, assert_refused,
                     contents, environment, finish, interrupted, load, paste, run, sequences, start, succeeded,
                     write_chain, wrote)

NUMBER = r'[\d,.]+'

# A script of ours that prints characters of all kinds: those that control a terminal, those that it lacks, and others.
KINDS = "\x1b[31m|\r|\x9b|\x00|\x7f|\b|\t|é|—|𝄞|\udce9"
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
SHOWN = r'\x1b[31m|\r|\x9b|\x00|\x7f|\x08|' + '\t|é|—|𝄞|' + r'\udce9'            # on a terminal
PIPED, ASCII = [KINDS.encode(encoding, 'backslashreplace').decode() for encoding in ('utf-8', 'ascii')]


# ---------------------------------------------------------------- a terminal

def on_terminal(arguments, folder, interrupt_at=None, **changes):
    """The exit status of a Python program and what a terminal of 80 columns gets from it.

    interrupt_at: with what on the terminal its user hits Ctrl-C.
    """
    import fcntl
    import termios
    pid, screen = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
        os.chdir(str(folder))
        os.execve(sys.executable, [sys.executable] + [str(a) for a in arguments], environment(FAST, **changes))
    shown = b''
    while select.select([screen], [], [], 300)[0]:
        try:
            more = os.read(screen, 4096)
        except OSError:                     # how Linux says that the other end is closed
            more = b''
        if not more:
            break
        shown += more
        if interrupt_at and interrupt_at in shown:
            os.write(screen, b'\x03')
            interrupt_at = None
    os.close(screen)
    return os.WEXITSTATUS(os.waitpid(pid, 0)[1]), shown.decode('utf-8').replace('\r\n', '\n')


@pytest.fixture(scope='module')
def shown(tmp_path_factory):
    """What a terminal shows of a run with as many steps as the novel's 75 epochs have, up to Ctrl-C."""
    folder = tmp_path_factory.mktemp('terminal')
    (folder / 't.txt').write_text(TEXT, encoding='utf-8')
    arguments = [TRAIN, 't.txt', 'r', *SMALL, '--epochs', 15675 // N_TRAIN, '--output-dir', '.']
    status, shown = on_terminal(arguments, folder, interrupt_at=b'epoch 2/')
    return SimpleNamespace(status=status, folder=folder, lines=shown.replace('\r', '\n').split('\n'))


def test_progress_bar(shown):
    bars = [line for line in shown.lines if 'chars/s' in line]
    last = bars[-1]
    for words in (r'epoch \d+/\d+', 'cost ' + NUMBER, 'valid ' + NUMBER, NUMBER + ' chars/s'):
        assert re.search(words, last), (words, last)
    assert len(bars) > 1
    assert len([line for line in shown.lines if line.startswith('epoch 1/') and 'characters/s' in line]) == 1
    assert not [line for line in shown.lines if r'\r' in line or r'\x' in line]        # it moves by control characters


def test_progress_bar_shows_the_time_left(shown):
    assert re.search(r', (\d+:)?\d+:\d\d left \|', [line for line in shown.lines if 'chars/s' in line][-1])


def test_control_c_on_a_terminal(shown):
    assert shown.status == 130
    following = shlex.split(shown.lines[-3])
    assert following[0] == 'next:' and following[-2] == str(PRODUCE)
    assert re.fullmatch('r_t.txt_(best|interrupted).npz', os.path.basename(following[-1]))
    assert set(NAMES) < set(load(shown.folder / 'r_t.txt_interrupted.npz'))


def test_progress_without_a_terminal(monkeypatch, capsys):
    """A line where there was none for a while, with the time that is left, and once how long all of it takes."""
    now = [100.0]
    monkeypatch.setattr(terminal.time, 'time', lambda: now[0])
    bar = terminal.ProgressBar(total=10, done=4)
    bar.begin_epoch()
    for seconds in (terminal.QUIET, 1, terminal.QUIET, 1):
        now[0] += seconds
        bar.step(2, 5, 1.5, 2.5, 62)
    bar.close()
    assert capsys.readouterr().out.splitlines() == [
        'an epoch takes about 1 min 0 s, 5 epochs 5 min 0 s',
        'epoch 2/5, cost 1.500, valid 2.500, 3 chars/s, 1 min 1 s left']


def test_work_without_a_terminal_says_what_is_left(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(terminal.time, 'time', lambda: now[0])
    countdown = terminal.Countdown('scoring x', 5000, 'characters')
    for seconds in (1, terminal.QUIET, terminal.QUIET, 1):
        now[0] += seconds
        countdown.add(1000)
    countdown.close()
    assert capsys.readouterr().err.splitlines() == ['scoring x: 2,000 of 5,000 characters, 46 s left',
                                                    'scoring x: 4,000 of 5,000 characters, 16 s left']


def test_what_lasts_is_said_again_and_again_until_it_is_done(monkeypatch):
    """To a stream that other output may be kept from meanwhile, as while Theano compiles; and nothing if not shown."""
    monkeypatch.setattr(terminal, 'SLOW', 0.01)
    monkeypatch.setattr(terminal, 'QUIET', 0.01)
    stream, hidden = io.StringIO(), io.StringIO()
    with terminal.say_if_slow('compiling x', stream, True), terminal.say_if_slow('no', hidden):
        deadline = time.time() + 60
        while stream.getvalue().count('\n') < 3:
            assert time.time() < deadline
            time.sleep(0.01)
    assert all(re.fullmatch(r'compiling x, [\d.]+ s so far \.\.\.', line) for line in stream.getvalue().splitlines())
    assert hidden.getvalue() == ''


@pytest.mark.parametrize('seconds, said', [
    (0, '0.0 s'), (1.26, '1.3 s'), (9.94, '9.9 s'), (9.96, '10 s'),
    (59.4, '59 s'), (59.6, '1 min 0 s'), (3599, '59 min 59 s'), (3600, '1 h 0 min'), (90061, '25 h 1 min')])
def test_duration(seconds, said):
    assert terminal.duration(seconds) == said


@pytest.mark.parametrize('where', ['terminal', 'pipe'])
def test_text_and_what_is_said_of_it_come_in_their_order(trained, tmp_path, where):
    arguments = [PRODUCE, trained.checkpoint, 'out', '--count', 3]
    if where == 'terminal':
        status, shown = on_terminal(arguments, tmp_path)
    else:
        line = commands.quoted([sys.executable, *map(str, arguments)]) + ' 2>&1'
        result = paste(line, tmp_path, PYTHONUNBUFFERED='')
        status, shown = result.returncode, result.stdout
    text = contents(tmp_path / 'out')
    assert len(sequences(text, 3, 100)) == 3
    said = shown[:-len(text[:-1] + 'appended to out\n')]
    assert status == 0 and shown == said + text[:-1] + 'appended to out\n'
    assert re.fullmatch(r'{}: 2 layers of .*\n(compiling.*\n)*\n'.format(re.escape(str(trained.checkpoint))), said)


# ---------------------------------------------------------------- characters that control a terminal

def test_control_characters_are_shown_on_a_terminal(tmp_path):
    """In what is printed, said, and refused."""
    assert on_terminal(['-c', PRINTS], tmp_path) == (2, f'{SHOWN}\n{SHOWN}\np: {SHOWN}\n')


@pytest.mark.parametrize('encoding, expected', [('utf-8', PIPED), ('ascii', ASCII)], ids=['utf-8', 'ascii'])
def test_pipe_gets_control_characters_as_they_are(encoding, expected):
    result = subprocess.run([sys.executable, '-c', PRINTS], env=environment(PYTHONIOENCODING=encoding),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (result.returncode, result.stdout.decode(encoding)) == (2, expected + '\n')
    assert result.stderr.decode(encoding) == f'{expected}\np: {expected}\n'


def test_written_control_characters_are_shown_on_a_terminal_and_stay_in_the_file(tmp_path):
    """With a model that writes a, ESC, c, carriage return, a, ..."""
    chain = write_chain(tmp_path / 'p\x1b[2J.npz', np.array(list('a\x1bc\r')))
    status, screen = on_terminal([PRODUCE, chain, 'out', '--count', 1, '--length', 8, '--prime', 'a'], tmp_path)
    assert status == 0 and r'a\x1bc\ra\x1bc\ra' + '\n' in screen and r'p\x1b[2J.npz: ' in screen
    assert not re.search('[\x00-\x08\x0b-\x1f]', screen)
    assert sequences(contents(tmp_path / 'out'), 1) == ['a\x1bc\ra\x1bc\ra']


def test_visible_is_the_terminal_but_for_what_it_writes():
    stream = io.StringIO()
    visible = terminal.Visible(stream)
    every = ''.join(map(chr, range(256)))
    visible.write(every)
    controls = [ch for ch in every if (ch < ' ' or '\x7f' <= ch <= '\x9f') and ch not in '\t\n']
    expected = ''.join(ascii(ch)[1:-1] if ch in controls else ch for ch in every)
    assert stream.getvalue() == expected and visible.tell() == stream.tell() and len(controls) == 63


# ---------------------------------------------------------------- output that is closed

def test_closed_output_is_no_error(trained, tmp_path):
    """Nor does any file take its place."""
    python = commands.quoted([sys.executable, str(PRODUCE)])
    line = f'{python} {commands.quoted([str(trained.checkpoint)])} out --count 1 >&-'
    result = paste(line, tmp_path)
    assert wrote(result, 'out', headings=0) == '' and len(sequences(contents(tmp_path / 'out'), 1, 100)) == 1
    result = paste(line + ' 2>&-', tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, '', '')
    assert len(sequences(contents(tmp_path / 'out'), 1)[0]) == 100 + len('\n\n# sequence 1:\n') + 100
    result = paste(f'{python} --help >&-', tmp_path)
    assert (result.returncode, result.stderr) == (0, '')


def test_closed_errors_are_no_error(tmp_path):
    result = paste(f'{shlex.quote(sys.executable)} -c {shlex.quote(PRINTS)} 2>&-', tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (2, PIPED.replace('\r', '\n') + '\n', '')


def test_lines_that_nobody_reads_do_not_stop_a_run(monkeypatch):
    reading, writing = os.pipe()
    pipe = open(writing, 'w')
    monkeypatch.setattr(sys, 'stdout', terminal.Unheard(pipe))
    bar = terminal.ProgressBar(total=10, done=4)
    bar.line('one')
    assert os.read(reading, 99) == b'one\n'
    os.close(reading)
    for line in ('two', 'three'):
        bar.line(line)
    print('four', flush=True)
    bar.close()
    pipe.close()


def test_training_goes_on_when_its_reader_leaves(tmp_path):
    (tmp_path / 't.txt').write_text(TEXT, encoding='utf-8')
    process = start(TRAIN, 't.txt', 'r', *SMALL, '--epochs', 3, '--output-dir', '.', flags=FAST, cwd=tmp_path,
                    env={'PYTHONUNBUFFERED': ''})
    while not process.stdout.readline().startswith('2 layers'):
        assert process.poll() is None
    process.stdout.close()
    result = finish(process)
    assert (result.returncode, result.stderr) == (0, '')
    assert (tmp_path / 'r_t.txt_epoch3.npz').exists()


# ---------------------------------------------------------------- terminals of few characters

def test_ascii_terminal_does_not_end_training(tmp_path):
    (tmp_path / 'texte-é.txt').write_text(TEXT, encoding='utf-8')
    result = run(TRAIN, tmp_path / 'texte-é.txt', 'ü', *SMALL, '--epochs', 1, '--output-dir', tmp_path, flags=FAST,
                 env={'LC_ALL': 'C', 'PYTHONIOENCODING': 'ascii'})
    assert r'\xfc_texte-\xe9.txt_epoch1.npz' in succeeded(result)
    assert (tmp_path / 'ü_texte-é.txt_epoch1.npz').exists()


def test_ascii_terminal_does_not_spoil_the_file(trained, tmp_path):
    result = run(PRODUCE, trained.checkpoint, tmp_path / 'é.txt', '--prime', 'the 𝄞', '--count', 2, flags=FAST,
                 env={'LC_ALL': 'C', 'PYTHONIOENCODING': 'ascii'})
    texts = sequences(contents(tmp_path / 'é.txt'), 2, 105)
    assert all(text.startswith('the 𝄞') for text in texts)
    printed = wrote(result, str(tmp_path / 'é.txt').replace('é', r'\xe9'), headings=2)
    assert printed == '\n\n'.join(texts).encode('ascii', 'backslashreplace').decode() + '\n'


# ---------------------------------------------------------------- signals

@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=['SIGINT', 'SIGTERM'])
def test_interrupted_training_leaves_all_that_it_learned(program, number):
    (program / 't.txt').write_text(TEXT * 50, encoding='utf-8')        # for an epoch of more time than a signal takes
    log = program / 'training_results' / 'r_t.txt.out'
    result = interrupted(start('train.py', 't.txt', 'r', *SMALL, flags=FAST, cwd=program), log, number, rows=3)
    assert (result.returncode, result.stderr) == (130, '')

    path = 'training_results/r_t.txt_interrupted.npz'
    assert sorted(p.name for p in log.parent.glob('*.npz')) == ['r_t.txt_interrupted.npz', 'r_t.txt_start.npz']
    assert not list(log.parent.glob('*.part'))
    assert log.read_text().endswith('\n') and np.loadtxt(str(log)).shape[1] == 11
    saying, following, going_on = [line for line in result.stdout.splitlines() if path in line]
    assert 'interrupted in epoch' in result.stdout and saying == 'saved ' + path
    assert following.startswith('next: ') and going_on.startswith('to resume: ')
    wrote(paste(following[len('next: '):], program), os.path.join('text_output', 'r_t.txt_interrupted.npz.out'))
    assert shlex.split(going_on)[-3:] == ['train.py', '--resume', path]
    other = paste(going_on[len('to resume: '):] + ' --lrate 7', program)                # as far as a refusal
    assert_refused(other, 'train.py: --lrate is 7.0', path)


# ---------------------------------------------------------------- exit statuses

@pytest.mark.parametrize('outcome, status, said', [
    (None, 0, ''), (0, 0, ''), (130, 130, ''), (ValueError('x is 1'), 2, 'p: x is 1\n'),
    (ValueError('x\ny is no file'), 2, 'p: x\\ny is no file\n'),
    (MemoryError(), 2, 'p: not enough memory; a smaller --size needs less\n'),
    (OSError(28, 'it is full'), 2, 'p: cannot write standard output: it is full\n'),
    (FileNotFoundError('cannot read x'), 2, 'p: cannot read x\n'), (KeyboardInterrupt(), 130, 'p: interrupted\n'),
    (KeyboardInterrupt(' while it slept; no dream is kept'), 130, 'p: interrupted while it slept; no dream is kept\n'),
    (OSError(12, 'Cannot allocate memory'), 2,
     'p: not enough memory: Cannot allocate memory; end other programs, or take a machine with more\n'),
    (ImportError('x.so: failed to map segment: Cannot allocate memory'), 2, 'p: not enough memory: x.so: failed to map '
     'segment: Cannot allocate memory; end other programs, or take a machine with more\n'),
    (FileNotFoundError(2, 'No such file or directory'), 2, 'p: the current folder was removed: go to another one, '
     'with cd\n'),
    (MemoryError('of 5 GB'), 2, 'p: not enough memory: of 5 GB; a smaller --size needs less\n'),
    (Exception(b'clCreateBuffer: Invalid buffer size', 'Container'), 2,                    # as pygpu has it
     'p: not enough memory: clCreateBuffer: Invalid buffer size; a smaller --size needs less\n'),
    (RuntimeError('cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory\nApply node that caused it'), 2, 'p: not enough '
     'memory: cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory; a smaller --size needs less\n'),
    (ImportError('No module named x'), 2, 'p: No module named x: run {}\n'),
    (ImportError('wrong x: pip install y'), 2, 'p: wrong x: pip install y\n')], ids=repr)
def test_how_a_script_ends(monkeypatch, capsys, outcome, status, said):
    def program(options):
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome
    monkeypatch.setattr(sys, 'argv', ['p'])
    with pytest.raises(SystemExit) as end:
        terminal.main(argparse.ArgumentParser(prog='p'), program, lambda options: 'a smaller --size needs')
    assert (end.value.code, capsys.readouterr().err) == (status, said.format(commands.install()))


@pytest.mark.parametrize('script, arguments, advice', [
    (train, '', 'smaller --num-units1, --num-units2 or --batch-size need'),
    (train, '--init p.npz', 'a smaller --batch-size needs'), (train, '--resume p.npz', ''),
    (produce_text, '', 'a smaller --count or --length needs'), (produce_text, 'p --info', ''),
    (produce_text, 'p --score t --adapt', ''),
    (produce_text, '--page x --score t', ''),
    (produce_text, '--page x', 'a smaller --length needs')])
def test_advice_where_memory_is_not_enough_names_what_may_be_changed(script, arguments, advice):
    assert script.needs_less(script.build_parser().parse_intermixed_args(arguments.split())) == advice


def test_mistake_of_our_own_is_not_hidden(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['p'])
    with pytest.raises(ZeroDivisionError):
        terminal.main(argparse.ArgumentParser(prog='p'), lambda options: 1 / 0, str)


# ---------------------------------------------------------------- options

PARSERS = {'train': train.build_parser, 'produce_text': produce_text.build_parser}


def options_of(script):
    """The argparse actions of a script's options but for --help, by name."""
    return {action.option_strings[0]: action for action in PARSERS[script]()._actions
            if action.option_strings and action.dest != 'help'}


@pytest.mark.parametrize('script, name', [(script, name) for script in PARSERS for name in options_of(script)])
def test_option_whose_value_is_two_dashes(script, name, capsys):
    """It is what the option gets, or a refusal of argparse's."""
    action, parser = options_of(script)[name], PARSERS[script]()
    if action.type is str and not action.choices:
        assert getattr(parser.parse_intermixed_args([name + '=--']), action.dest) == '--'
    else:
        with pytest.raises(SystemExit) as end:
            parser.parse_intermixed_args([name + '=--'])
        assert end.value.code == 2 and name in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize('script, name', [(script, name) for script in PARSERS for name in options_of(script)])
def test_no_abbreviation_of_an_option_is_taken(script, name, capsys):
    known = options_of(script)
    for end in range(len('--') + 1, len(name)):
        if name[:end] not in known:
            with pytest.raises(SystemExit) as refused:
                PARSERS[script]().parse_intermixed_args([name[:end] + '=1'])
            assert refused.value.code == 2 and name[:end] in capsys.readouterr().err.splitlines()[-1]


def test_two_dashes_in_a_process(folder):
    write_checkpoint('p.npz')
    assert_refused(run(PRODUCE, 'p.npz', 'out', '--prime=--', flags=FAST), "the prime has characters", "'-'")
    result = run(TRAIN, 't.txt', 'r', '--valid', 't.txt')
    assert result.returncode == 2 and 'unrecognized arguments: --valid' in result.stderr


# ---------------------------------------------------------------- where and when it starts

@pytest.mark.parametrize('script', [TRAIN, PRODUCE], ids=['train', 'produce_text'])
def test_current_folder_that_was_removed(script, tmp_path):
    (tmp_path / 'gone').mkdir()
    line = 'rmdir ../gone; ' + commands.quoted([sys.executable, str(script)])
    assert_refused(paste(line, tmp_path / 'gone'), f'{script.name}: the current folder was removed')
    (tmp_path / 'gone').mkdir()
    result = paste(line + ' --help', tmp_path / 'gone')
    assert result.returncode == 0 and result.stdout.startswith(f'usage: {script.name}')


# Runs a script, or imports the class, whose user hits Ctrl-C when the module with a name begins to be imported.
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
LATE = ['theano', 'theano.configdefaults', 'theano.gof.lazylinker_c', 'theano.tensor.nlinalg', 'scipy']


@pytest.mark.parametrize('module', ['engine.run.options', 'engine.terminal', 'argparse', 'numpy', 'numpy.random', *LATE])
@pytest.mark.parametrize('script', [TRAIN, PRODUCE], ids=['train', 'produce_text'])
def test_control_c_while_a_script_starts(script, module, folder):
    write_checkpoint('p.npz')
    arguments = ['t.txt', 'r', *SMALL, '--output-dir', 'results'] if script == TRAIN else ['p.npz', 'out']
    before = sorted(os.listdir('results'))
    result = run('-c', EARLY, ROOT, module, script, *arguments, flags=FAST)
    assert (result.returncode, result.stderr) == (130, f'{script.name}: interrupted\n')
    assert sorted(os.listdir('results')) == before and not os.path.exists('out')


@pytest.mark.parametrize('module', LATE)
def test_control_c_while_the_class_is_imported(module):
    result = run('-c', EARLY, ROOT, module, 'charlstm', flags=FAST)
    assert result.returncode == -signal.SIGINT and result.stderr.splitlines()[-1] == 'KeyboardInterrupt'


def test_control_c_that_is_ignored_stays_so(folder):
    """As in a script's background, or under nohup."""
    write_checkpoint('p.npz')
    result = run('-c', EARLY, ROOT, 'numpy', PRODUCE, 'p.npz', 'out', '--count', 1, flags=FAST,
                 preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert wrote(result, 'out', headings=0)


@pytest.mark.parametrize('package', ['theano', 'numpy'])
@pytest.mark.parametrize('script', [TRAIN, PRODUCE], ids=['train', 'produce_text'])
def test_missing_package(script, package, without, folder):
    arguments = ['t.txt', 'r', '--output-dir', 'results'] if script == TRAIN else [
        write_checkpoint('p.npz'), 'out', '--prime-file', 't.txt']
    changes = without(package)         # which makes a folder here
    assert_changes_nothing(folder, run, script, *arguments, env=changes, words=[package, 'run ' + commands.install()])


# Lets Python find neither of two packages, whatever is installed.
ABSENT = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split('.')[0] in ('matplotlib', 'tqdm'):
            raise ModuleNotFoundError(f"No module named '{name}'")
sys.meta_path.insert(0, Absent())
"""


def assert_trains_and_writes_alone(folder, env, why):
    """All but the picture and the bar is there, and a line each says why these are not."""
    result = run(TRAIN, 't.txt', 'r', *SMALL, '--epochs', 2, '--output-dir', 'results', flags=FAST, env=env)
    said = result.stderr.splitlines()
    assert result.returncode == 0 and len(said) == 2, result.stderr
    for words in (why, 'tqdm cannot be imported, so there will be no progress bar'):
        assert len([line for line in said if words in line]) == 1
    assert 'drawn in' not in result.stdout
    assert sorted(name for name in os.listdir('results') if name.startswith('r_')) == [
        'r_t.txt' + ending for ending in ('.out', '_best.npz', '_epoch2.npz', '_epochs.out', '_samples.txt')]
    written = run(PRODUCE, os.path.join('results', 'r_t.txt_epoch2.npz'), 'out', '--count', 1, flags=FAST, env=env)
    assert wrote(written, 'out', headings=0)
    scored = run(PRODUCE, os.path.join('results', 'r_t.txt_epoch2.npz'), '--score', 't.txt', flags=FAST, env=env)
    assert (scored.returncode, scored.stderr) == (0, '')


def test_theano_and_numpy_alone_train_and_write(folder):
    (folder / 'absent').mkdir()
    (folder / 'absent' / 'sitecustomize.py').write_text(ABSENT)
    assert_trains_and_writes_alone(folder, {'PYTHONPATH': str(folder / 'absent')}, 'matplotlib is not installed')


def test_packages_that_are_broken_are_as_if_they_were_not_there(folder, without):
    assert_trains_and_writes_alone(folder, without('matplotlib', 'tqdm'), 'could not be drawn: No module named '
                                                                          'matplotlib')
