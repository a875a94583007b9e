"""Commands that are printed for the user: they run when pasted, in a folder of any name. And the requirements."""
import ast
import os
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import train
from engine import commands
from scripts import PRODUCE, ROOT, TRAIN, assert_refused, copy_of_program, path_without_uv, paste, program, succeeded

REAL = shlex.quote(sys.executable)
PRINT = 'import json, sys; print(json.dumps(sys.argv[1:]))'        # a program that prints its arguments


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return a copy of the program in a folder whose name needs quotes, outside the current folder; without uv."""
    root = tmp_path / "its author's" / 'char lstm'
    root.parent.mkdir()
    copy_of_program(root)
    (tmp_path / 'some where $HOME').mkdir()
    monkeypatch.chdir(tmp_path / 'some where $HOME')
    monkeypatch.setattr(commands, 'ROOT', str(root))
    monkeypatch.setenv('PATH', path_without_uv())
    monkeypatch.delenv('UV', raising=False)
    return root


# ---------------------------------------------------------------- the scripts

@pytest.mark.parametrize('where, shown', [('some where $HOME', '{}/train.py'), ("its author's", 'char lstm/train.py'),
                                          ("its author's/char lstm", 'train.py')])
def test_script_runs_when_pasted(place, monkeypatch, tmp_path, where, shown):
    """By its shortest path, and its arguments arrive unchanged."""
    monkeypatch.chdir(tmp_path / where)
    odd = "it's $HOME \\ *.npz"
    line = commands.script('train.py', '--resume', odd)
    assert shlex.split(line)[1:] == [shown.format(place), '--resume', odd]
    assert_refused(paste(line, os.curdir), f'train.py: cannot read {odd}: ')


@pytest.mark.parametrize('kind, found', [('python', True), ('python', False), ('uv', False)])
def test_runner_is_printed_by_its_name_if_the_shell_finds_it(place, monkeypatch, tmp_path, kind, found):
    """Otherwise by its path, which begins with ./ in its own folder."""
    runner = tmp_path / 'my programs' / kind
    program(runner, 'shift\nexec {} "$@"'.format(REAL) if kind == 'uv' else 'exec {} "$@"'.format(REAL))
    if kind == 'uv':
        monkeypatch.setenv('UV', str(runner))
    else:
        monkeypatch.setattr(sys, 'executable', str(runner))
    if found:
        monkeypatch.setenv('PATH', os.pathsep.join([str(runner.parent), os.environ['PATH']]))
    for folder, name in ((place, str(runner)), (tmp_path, os.path.join('my programs', kind)),
                         (runner.parent, os.path.join(os.curdir, kind))):
        monkeypatch.chdir(folder)
        line = commands.script('train.py', '--help')
        words = shlex.split(line)
        assert words[0] == (kind if found else name) and words[1:-2] == ['run'] * (kind == 'uv')
    assert succeeded(paste(line, folder)).startswith('usage: train.py ')


@pytest.mark.parametrize('uid, variables', [(0, '11'), (1000, '')])
@pytest.mark.parametrize('by_uv', [False, True], ids=['python', 'uv'])
def test_several_processes(place, monkeypatch, tmp_path, uid, variables, by_uv):
    """Open MPI's mpiexec needs two variables when it runs as root. uv adds mpi4py."""
    programs = tmp_path / 'programs'
    program(programs / 'mpiexec', 'echo "$OMPI_ALLOW_RUN_AS_ROOT$OMPI_ALLOW_RUN_AS_ROOT_CONFIRM:$*"')
    monkeypatch.setattr(sys, 'executable', str(programs / 'python'))
    monkeypatch.setattr(sys, 'argv', ['train.py', '--resume', 'a b'])
    monkeypatch.setattr(os, 'geteuid', lambda: uid)
    for name in ('OMPI_ALLOW_RUN_AS_ROOT', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM'):
        monkeypatch.delenv(name, raising=False)
    if by_uv:
        monkeypatch.setenv('UV', str(programs / 'uv'))
    line = commands.script('train.py', '--resume', 'a b', processes=2)
    printed = succeeded(paste(line, os.curdir))
    runner = f'{programs}/uv run --with mpi4py' if by_uv else f'{programs}/python'
    assert printed == f'{variables}:--bind-to none -n 2 {runner} {place}/train.py --resume a b\n'
    assert commands.with_mpi(2) == line if by_uv else commands.with_mpi(2).endswith('-r engine/requirements-mpi.txt)')


def test_install_runs_in_the_folder_of_the_requirements(place, monkeypatch, tmp_path):
    """Paths in requirements.txt are relative to it; the shell stays in its own folder."""
    (tmp_path / 'pip.py').write_text('import os; print(os.path.realpath(os.curdir))\n' + PRINT)
    for folder in (Path.cwd(), place):
        monkeypatch.chdir(folder)
        out = succeeded(paste(f'{commands.install()} && pwd', folder, PYTHONPATH=str(tmp_path))).splitlines()
        assert out == [str(place), '["install", "-r", "requirements.txt"]', str(folder)]


def test_missing_packages_are_in_the_virtual_environment_if_it_is_another_one(place, monkeypatch):
    assert commands.find_packages() == f'run {commands.install()}'
    activate = place / 'venv' / 'bin' / 'activate'
    activate.parent.mkdir(parents=True)
    activate.touch()
    assert commands.find_packages() == f'the virtual environment is not active: run source {shlex.quote(str(activate))}'
    monkeypatch.chdir(place)
    assert commands.find_packages().endswith(': run source venv/bin/activate')
    monkeypatch.setattr(sys, 'prefix', str(place / 'venv'))
    assert commands.find_packages() == f'run {commands.install()}'


# ---------------------------------------------------------------- words

@pytest.mark.parametrize('path, shown', [
    ('a b/c', 'a b/c'), ('./a', 'a'), ('x/../a', 'a'), ('..', '{above}'), ('../currentbeside', '{above}/currentbeside'),
    ('/', '/'), ('{current}/a', 'a'), ('{current}/a/', 'a'), ('{above}/b', '{above}/b'), ('-a', './-a')])
def test_near(tmp_path, monkeypatch, path, shown):
    (tmp_path / 'current').mkdir()
    monkeypatch.chdir(tmp_path / 'current')
    places = dict(current=tmp_path / 'current', above=tmp_path)
    assert commands.near(path.format(**places)) == shown.format(**places)


@pytest.mark.parametrize('options', [
    dict(input='a b.txt', run="it's"), dict(run='r', lrate=0.5, input='t'),
    dict(input='t', no_stateful=True, bptt_maxdepth=-1, encoding='utf-16', init='/x y/p.npz'),
    dict(resume='p.npz', epochs=7), dict(input='t', resume='-p.npz', valid='-t.txt'), {}])
def test_typed_options_are_parsed_as_the_same_options(options):
    words = shlex.split(commands.quoted(commands.typed(options)))
    assert vars(train.build_parser().parse_args(words)) == options


@pytest.mark.parametrize('encoding, shown', [
    ('ascii', r"$'\xc3\xa9\x20\xe2\x82\xac'"), ('latin-1', r"$'\xc3\xa9\x20\xe2\x82\xac'"), ('utf-8', "'é €'"),
    (None, "'é €'")])
def test_word_that_the_output_does_not_show_is_escaped(monkeypatch, encoding, shown):
    monkeypatch.setattr(sys, 'stdout', SimpleNamespace(encoding=encoding))
    assert commands.quoted(['é €', "it's?"]) == shown + " 'it'\"'\"'s?'"


# ---------------------------------------------------------------- requirements

WHEEL = './engine/backend/theano_wheel'


def test_uv_and_pip_install_the_same():
    """uv reads the block at the beginning of a script (PEP 723)."""
    lines = (ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
    required = [line for line in lines if line and not line.startswith('#')]
    assert required[0] == WHEEL and (ROOT / WHEEL).is_dir()
    for script in (TRAIN, PRODUCE):
        text = script.read_text(encoding='utf-8')
        block = re.search(r'^# /// script\n((?:# .*\n)+)# ///$', text, re.MULTILINE).group(1).splitlines()
        assert block[0] == '# requires-python = ">=3.10"'
        assert ast.literal_eval(block[1].split('# dependencies = ')[1]) == ['Theano==1.0.5', *required[1:]]
        assert block[2:] == ['# [tool.uv.sources]', f'# Theano = {{ path = "{WHEEL[2:]}" }}']
