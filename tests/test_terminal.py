"""The output of scripts on a terminal and in a pipe, how they end, and the commands that they print."""
import ast
import os
import pty
import re
import select
import shlex
import signal
import struct
import sys

import pytest

from damage import write_checkpoint
from engine import terminal
from engine.parallel import SingleProcess
from learner import by_number, learn
from numpy_model import NAMES
from scripts import (FAST, N_TRAIN, PRODUCE, ROOT, SMALL, TRAIN, assert_changes_nothing, assert_refused,
                     copy_of_program, environment, finish, interrupted, load, paste, run, start)


def on_terminal(arguments, folder, interrupt_at=None, close_at=None, columns=80):
    """Run Python on a terminal; return its exit status and what it wrote to the terminal.

    interrupt_at: the output after which the user presses Ctrl-C; close_at: the output after which the terminal closes.
    """
    import fcntl
    import termios
    pid, screen = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', columns and 24, columns, 0, 0))
        os.chdir(str(folder))
        os.environ.pop('COLUMNS', None)         # pytest-xdist sets it for its workers
        os.execve(sys.executable, [sys.executable] + [str(a) for a in arguments], environment(FAST))
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
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode('utf-8').replace('\r\n', '\n')


LONG = [TRAIN, 't.txt', 'r', *SMALL, '--epochs', 15675 // N_TRAIN, '--output-dir', '.']


@pytest.mark.parametrize('end', ['interrupt_at', 'close_at'])
def test_training_on_a_terminal_is_saved_when_it_is_interrupted_or_the_terminal_closed(with_text, end):
    status, screen = on_terminal(LONG, with_text, **{end: b'epoch 3/'})        # printed, not only in the bar
    assert status == 130 and set(NAMES) < set(load(with_text / 'r_t.txt_interrupted.npz'))
    assert (with_text / 'r_t.txt_result.json').exists() and r'\r' not in screen and r'\x' not in screen


def test_training_is_saved_when_nobody_reads_its_output(with_text):
    process = start(*LONG, flags=FAST, cwd=with_text)
    while not process.stdout.readline().startswith('epoch 1/'):
        assert process.poll() is None
    process.stdout.close()
    result = finish(process)
    assert (result.returncode, result.stderr) == (130, '') and (with_text / 'r_t.txt_interrupted.npz').exists()


BAR = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from engine import terminal
with terminal.bar(100, 'reading \x1b[2J', 'steps') as bar:
    for i in range(20):
        time.sleep(0.1)
        bar.update(5)
    bar.desc = 'epoch 123/400, cost 1.234, valid 1.234'
    time.sleep(0.2)
    bar.update(0)
    bar.write('a line')
print('end')
"""


@pytest.mark.parametrize('columns', [80, 0])           # a terminal may report 0 columns
def test_bar_on_a_terminal(tmp_path, columns):
    """Beside a long text, the bar still has 20 cells."""
    status, screen = on_terminal(['-c', BAR], tmp_path, columns=columns)
    assert status == 0 and '\x1b[2J' not in screen
    assert re.search(r'\rreading \\x1b\[2J: +\d+%\|.*\| 00:0\d left', screen)
    assert re.search(r'\repoch 123/400, cost 1.234, valid 1.234: 100%\|.{20,}\| 00:00 left *\r', screen)
    assert re.search('\r +\ra line\n(.*\r)?end\n$', screen, re.DOTALL)


def test_bar_says_when_the_model_is_validated(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(terminal, 'QUIET', -1)             # a line for each update
    learn(tmp_path, by_number(5, 4), '--epochs', 2)
    shown = re.findall('^(epoch.*):', capfd.readouterr().err, re.MULTILINE)
    assert shown == ['epoch 1/2, cost 2.000, valid 2.500', 'epoch 1/2, validating',
                     'epoch 2/2, cost 2.000, valid 2.500', 'epoch 2/2, validating']


def test_lines_without_a_terminal(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(terminal, 'QUIET', 30)
    monkeypatch.setattr(terminal.time, 'time', lambda: now[0])
    with terminal.bar(5000, 'scoring x', 'characters') as bar:
        for seconds in (31, 29, 2, 31):
            now[0] += seconds
            bar.update(1000)
        bar.write('a line')
    assert capsys.readouterr() == ('a line\n', ''.join(
        f'scoring x: {n} of 5,000 characters\n' for n in ('1,000', '3,000', '4,000')))


def raising(error, module='engine.x'):
    """Return a function that raises an error in a module, by default of the program."""
    namespace = {'__name__': module, 'error': error}
    exec('def program(options):\n    raise error', namespace)
    return namespace['program']


@pytest.mark.parametrize('program, ends_with, line', [
    (lambda options: None, 0, ''), (lambda options: 130, 130, ''),
    (raising(ValueError('x is no file')), 2, 'p: x is no file\n'),
    (raising(FileNotFoundError('cannot read x')), 2, 'p: cannot read x\n'),
    (raising(KeyboardInterrupt(' while compiling')), 130, 'p: interrupted while compiling\n'),
    (raising(MemoryError('of 5 GB')), 2, 'p: not enough memory: of 5 GB\n'),
    (raising(RuntimeError('CUDA_ERROR_OUT_OF_MEMORY: out of memory\nApply node')), 2,
     'p: not enough memory: CUDA_ERROR_OUT_OF_MEMORY: out of memory\n'),
    (raising(ModuleNotFoundError('No module named x', name='x.y')), 2, 'p: No module named x: pip install x\n'),
    # Python shows the traceback.
    (raising(ValueError('shapes'), 'users'), ValueError, ''), (raising(TypeError()), TypeError, '')])
def test_how_a_script_ends(monkeypatch, capsys, program, ends_with, line):
    """ends_with: the status, or an error that stays."""
    monkeypatch.setattr(sys, 'argv', ['p'])
    with pytest.raises(SystemExit if type(ends_with) is int else ends_with) as end:
        terminal.main(terminal.Parser(prog='p'), program)
    assert (getattr(end.value, 'code', ends_with), capsys.readouterr().err) == (ends_with, line)


@pytest.mark.parametrize('script, package', [(TRAIN, 'theano'), (PRODUCE, 'numpy')], ids=['train', 'produce_text'])
def test_missing_package(script, package, without, folder):
    arguments = ['t.txt', 'r', '--output-dir', 'results'] if script == TRAIN else [
        write_checkpoint('p.npz'), 'out', '--prime-file', 't.txt']
    changes = without(package)         # creates a folder in the current one
    assert_changes_nothing(folder, run, script, *arguments, env=changes, words=[
        package, 'is the virtual environment active? If it is: pip install -r requirements.txt'])


@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGINT])
def test_training_goes_on_where_a_signal_is_ignored(with_text, number):
    """nohup ignores the signal of a closed terminal, and a shell script ignores Ctrl-C in its background jobs."""
    process = start(TRAIN, 't.txt', 'r', *SMALL, '--epochs', 7, '--output-dir', '.', flags=FAST, cwd=with_text,
                    preexec_fn=lambda: signal.signal(number, signal.SIG_IGN))
    result = interrupted(process, with_text / 'r_t.txt.out', number)
    assert (result.returncode, result.stderr) == (0, '') and (with_text / 'r_t.txt_epoch7.npz').exists()


def test_second_signal_stops_at_once():
    group = SingleProcess()
    with terminal.stopped_by_signals(group):
        signal.raise_signal(signal.SIGTERM)
        assert group.stop_agreed
        for number in (signal.SIGINT, signal.SIGUSR1):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)


@pytest.mark.parametrize('where, shown', [
    ('some where $HOME', '{}/train.py'), ("its author's", 'char lstm/train.py'), ("its author's/char", '{}/train.py'),
    ("its author's/char lstm", 'train.py')])
def test_script_runs_when_pasted(monkeypatch, tmp_path, where, shown):
    """The command has the shortest path of the script, and its arguments arrive unchanged."""
    root = tmp_path / "its author's" / 'char lstm'
    root.parent.mkdir()
    copy_of_program(root)
    (tmp_path / where).mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / where)
    monkeypatch.setattr(terminal, 'ROOT', str(root))
    odd = "it's $HOME \\ *.npz"
    line = terminal.script('train.py', '--resume', odd)
    assert shlex.split(line)[1:] == [shown.format(root), '--resume', odd]
    assert_refused(paste(line, os.curdir), f'train.py: cannot read {odd}: ')


def test_runners(monkeypatch):
    """Commands start with python if the shell finds it, otherwise its path; with uv if it started this; or mpiexec."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv('UV', raising=False)
    monkeypatch.setattr(sys, 'executable', '/no where/python')
    assert terminal.script('train.py', 'a') == "'/no where/python' train.py a"
    assert terminal.script('train.py', processes=2) == (
        "mpiexec --bind-to none -n 2 '/no where/python' -m mpi4py train.py")
    monkeypatch.setattr(terminal.shutil, 'which', lambda name: sys.executable)
    assert terminal.script('train.py') == 'python train.py'
    monkeypatch.setenv('UV', '/bin/uv')
    assert terminal.script('train.py') == 'uv run train.py'
    monkeypatch.setattr(os, 'name', 'nt')                  # Windows, whose shells have other quotes
    line = terminal.script('train.py', 'my results\\a.npz')
    monkeypatch.undo()
    assert line == 'uv run train.py "my results\\a.npz"'


def test_uv_and_pip_install_the_same():
    """uv reads the block at the beginning of a script (PEP 723)."""
    lines = (ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
    wheel, *required = [line for line in lines if line and not line.startswith('#')]
    assert (ROOT / wheel).is_dir()
    for script in (TRAIN, PRODUCE):
        source = script.read_text(encoding='utf-8')
        dependencies = re.search('^# dependencies = (.*)$', source, re.MULTILINE).group(1)
        assert ast.literal_eval(dependencies) == ['Theano==1.0.5', *required]
        assert f'\n# Theano = {{ path = "{wheel[2:]}" }}\n' in source
