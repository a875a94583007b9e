"""What a person sees of the scripts, and how they end: progress, few characters, signals, exit statuses."""
import argparse
import os
import pty
import re
import select
import shlex
import signal
import struct
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from engine import terminal
from numpy_model import NAMES
from scripts import (FAST, N_TRAIN, PRODUCE, SMALL, TEXT, TRAIN, assert_refused, contents, environment, interrupted,
                     load, run, sequences, start, succeeded)

NUMBER = r'[\d,.]+'


# ---------------------------------------------------------------- a terminal

@pytest.fixture(scope='module')
def shown(tmp_path_factory):
    """What a terminal of 80 columns shows of a run with as many steps as the novel's 75 epochs have, up to Ctrl-C."""
    import fcntl
    import termios
    folder = tmp_path_factory.mktemp('terminal')
    (folder / 't.txt').write_text(TEXT, encoding='utf-8')
    arguments = [str(TRAIN), 't.txt', 'r', *SMALL, '--epochs', str(15675 // N_TRAIN), '--output-dir', '.']
    pid, screen = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
        os.chdir(str(folder))
        os.execve(sys.executable, [sys.executable] + arguments, environment(FAST))
    shown = b''
    while select.select([screen], [], [], 300)[0]:
        try:
            more = os.read(screen, 4096)
        except OSError:                     # how Linux says that the other end is closed
            more = b''
        if not more:
            break
        if b'epoch 2/' in more and b'epoch 2/' not in shown:
            os.write(screen, b'\x03')
        shown += more
    os.close(screen)
    status = os.waitpid(pid, 0)[1]
    return SimpleNamespace(status=os.WEXITSTATUS(status), folder=folder,
                           lines=shown.decode('utf-8').replace('\r\n', '\n').replace('\r', '\n').split('\n'))


def test_progress_bar(shown):
    bars = [line for line in shown.lines if 'chars/s' in line]
    last = bars[-1]
    for words in (r'epoch \d+/\d+', 'cost ' + NUMBER, 'valid ' + NUMBER, NUMBER + ' chars/s'):
        assert re.search(words, last), (words, last)
    assert len(bars) > 1
    assert len([line for line in shown.lines if line.startswith('epoch 1/') and 'characters/s' in line]) == 1


def test_progress_bar_shows_the_time_left(shown):
    assert re.search(r', (\d+:)?\d+:\d\d left \|', [line for line in shown.lines if 'chars/s' in line][-1])


def test_control_c_on_a_terminal(shown):
    assert shown.status == 130
    assert re.fullmatch(r'next: python produce_text.py (\./)?r_t.txt_(best|interrupted).npz', shown.lines[-3])
    assert set(NAMES) < set(load(shown.folder / 'r_t.txt_interrupted.npz'))


def test_progress_without_a_terminal(monkeypatch, capsys):
    """A line where there was none for a while, with the time that is left."""
    now = [100.0]
    monkeypatch.setattr(terminal.time, 'time', lambda: now[0])
    bar = terminal.ProgressBar(total=10, done=4)
    bar.begin_epoch()
    for seconds in (terminal.QUIET, 1, terminal.QUIET, 1):
        now[0] += seconds
        bar.step(2, 5, 1.5, float('nan') if bar.done > 4 else 2.5, 62)
    bar.close()
    assert capsys.readouterr().out.splitlines() == [
        'epoch 2/5, cost 1.500, valid 2.500, 4 chars/s, 1 min 2 s left',
        'epoch 2/5, cost 1.500, valid 2.500, 4 chars/s, 31 s left']


@pytest.mark.parametrize('seconds, said', [
    (0, '0 s'), (59.4, '59 s'), (59.6, '1 min 0 s'), (3599, '59 min 59 s'), (3600, '1 h 0 min'), (90061, '25 h 1 min')])
def test_duration(seconds, said):
    assert terminal.duration(seconds) == said


# ---------------------------------------------------------------- terminals of few characters

def test_ascii_terminal_does_not_end_training(tmp_path):
    (tmp_path / 'texte-é.txt').write_text(TEXT, encoding='utf-8')
    result = run(TRAIN, tmp_path / 'texte-é.txt', 'ü', *SMALL, '--epochs', 1, '--output-dir', tmp_path, flags=FAST,
                 env={'LC_ALL': 'C', 'PYTHONIOENCODING': 'ascii'})
    succeeded(result)
    assert (tmp_path / 'ü_texte-é.txt_epoch1.npz').exists()


def test_ascii_terminal_does_not_spoil_the_file(trained, tmp_path):
    result = run(PRODUCE, trained.checkpoint, tmp_path / 'é.txt', '--prime', 'the 𝄞', '--count', 2, flags=FAST,
                 env={'LC_ALL': 'C', 'PYTHONIOENCODING': 'ascii'})
    assert succeeded(result).isascii()
    assert all(text.startswith('the 𝄞') for text in sequences(contents(tmp_path / 'é.txt'), 2, 100))


# ---------------------------------------------------------------- signals

@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=['SIGINT', 'SIGTERM'])
def test_interrupted_training_leaves_all_that_it_learned(program, number):
    (program / 't.txt').write_text(TEXT * 50, encoding='utf-8')        # for an epoch of more time than a signal takes
    log = program / 'training_results' / 'r_t.txt.out'
    result = interrupted(start('train.py', 't.txt', 'r', *SMALL, flags=FAST, cwd=program), log, number, rows=3)
    assert (result.returncode, result.stderr) == (130, '')

    path = 'training_results/r_t.txt_interrupted.npz'
    assert [p.name for p in log.parent.glob('*.npz')] == ['r_t.txt_interrupted.npz']
    assert not list(log.parent.glob('*.part'))
    assert log.read_text().endswith('\n') and np.loadtxt(str(log)).shape[1] == 11
    saying, following, going_on = [line for line in result.stdout.splitlines() if path in line]
    assert 'interrupted in epoch' in result.stdout and saying == 'saved ' + path
    command = shlex.split(following)
    assert command[:2] == ['next:', 'python']
    assert '# sequence 4:' in succeeded(run(*command[2:], flags=FAST, cwd=program))
    assert shlex.split(going_on) == 'to go on: python train.py --resume'.split() + [path]


# ---------------------------------------------------------------- exit statuses

@pytest.mark.parametrize('outcome, status, said', [
    (None, 0, ''), (0, 0, ''), (130, 130, ''), (ValueError('x is 1'), 2, 'p: x is 1\n'),
    (FileNotFoundError('cannot read x'), 2, 'p: cannot read x\n'), (KeyboardInterrupt(), 130, 'p: interrupted\n'),
    (MemoryError('of 5 GB'), 2, 'p: not enough memory: of 5 GB; a smaller --size needs less\n'),
    (ImportError('No module named x'), 2, 'p: No module named x: run "pip install -r requirements.txt"\n'),
    (ImportError('wrong x: pip install y'), 2, 'p: wrong x: pip install y\n')], ids=repr)
def test_how_a_script_ends(monkeypatch, capsys, outcome, status, said):
    def program(options):
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome
    monkeypatch.setattr(sys, 'argv', ['p'])
    with pytest.raises(SystemExit) as end:
        terminal.main(argparse.ArgumentParser(prog='p'), program, less='a smaller --size needs')
    assert (end.value.code, capsys.readouterr().err) == (status, said)


def test_mistake_of_our_own_is_not_hidden(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['p'])
    with pytest.raises(ZeroDivisionError):
        terminal.main(argparse.ArgumentParser(prog='p'), lambda options: 1 / 0, less='')


@pytest.mark.parametrize('package', ['theano', 'numpy', 'tqdm'])
@pytest.mark.parametrize('script', [TRAIN, PRODUCE], ids=['train', 'produce_text'])
def test_missing_package(script, package, without):
    assert_refused(run(script, 'x', env=without(package)), package, 'pip install -r requirements.txt')
