"""Command lines that a user is told to type: they run when pasted, from a folder of any name; and what they install."""
import ast
import json
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

import train
from engine import commands
from scripts import PRODUCE, ROOT, TRAIN, assert_refused, copy_of_program, path_without_uv, paste, program, succeeded

REAL = shlex.quote(sys.executable)
SAY = 'import json, sys; print(json.dumps(sys.argv[1:]))'          # a program that prints its arguments
NEW_VENV = '''
import os, sys
assert sys.argv[1:] == ['venv']
os.makedirs({folder!r})
with open(os.open(os.path.join({folder!r}, 'pip'), os.O_WRONLY | os.O_CREAT, 0o700), 'w') as f:
    f.write({pip!r})
'''


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A copy of the program in a folder whose names need quotes, beside the current one; no uv is to be found."""
    root = tmp_path / "its author's" / 'char lstm'
    root.parent.mkdir()
    copy_of_program(root)
    here = tmp_path / 'some where $HOME'
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(commands, 'ROOT', str(root))
    monkeypatch.setenv('PATH', path_without_uv())
    monkeypatch.delenv('UV', raising=False)
    return root


def stub(folder, name, code):
    """Make a module that `python -m` runs where PYTHONPATH has the folder."""
    folder.mkdir(exist_ok=True)
    (folder / (name + '.py')).write_text(code)


# ---------------------------------------------------------------- the scripts

@pytest.mark.parametrize('name', ['train.py', 'produce_text.py'])
@pytest.mark.parametrize('where', ['.', "its author's", "its author's/char lstm", "its author's/char lstm/engine"])
def test_script_runs_when_pasted(place, monkeypatch, tmp_path, where, name):
    monkeypatch.chdir(tmp_path / where)
    assert succeeded(paste(commands.script(name, '--help'), os.curdir)).startswith('usage: {} '.format(name))


def test_arguments_of_a_script_arrive_as_they_are(place):
    odd = "it's $HOME \\ *.npz"
    result = paste(commands.script('produce_text.py', odd, '--info'), os.curdir)
    assert_refused(result, 'produce_text.py: cannot read {}: '.format(odd))


def test_script_is_named_as_short_as_it_goes(place, monkeypatch):
    monkeypatch.chdir(place)
    assert shlex.split(commands.script('train.py', '--resume', 'a b'))[1:] == ['train.py', '--resume', 'a b']
    monkeypatch.chdir(place.parent)
    assert shlex.split(commands.script('train.py'))[1:] == [os.path.join('char lstm', 'train.py')]


@pytest.mark.parametrize('found', [True, False], ids=['on PATH', 'elsewhere'])
@pytest.mark.parametrize('kind', ['python', 'uv'])
def test_runner_is_named_by_its_name_where_that_finds_it(place, monkeypatch, tmp_path, kind, found):
    """Else by its path, and where it is in the current folder so that the shell looks there."""
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
def test_several_processes_as_root(place, monkeypatch, tmp_path, uid, variables):
    """Open MPI's mpiexec wants two variables then, which the command sets."""
    programs = tmp_path / 'programs'
    program(programs / 'mpiexec', 'echo "$OMPI_ALLOW_RUN_AS_ROOT$OMPI_ALLOW_RUN_AS_ROOT_CONFIRM:$*"')
    monkeypatch.setattr(sys, 'executable', str(programs / 'python'))
    monkeypatch.setattr(os, 'geteuid', lambda: uid)
    for name in ('OMPI_ALLOW_RUN_AS_ROOT', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM'):
        monkeypatch.delenv(name, raising=False)
    line = commands.script('train.py', '--resume', 'a b', processes=2)
    said = succeeded(paste(line, os.curdir))
    assert said.startswith(variables + ':--bind-to none -n 2 ') and said.endswith('train.py --resume a b\n')


# ---------------------------------------------------------------- what installs

def test_install_names_the_requirements_from_anywhere(place, monkeypatch, tmp_path):
    stub(tmp_path / 'stubs', 'pip', SAY)
    for folder in (Path.cwd(), place, place.parent):
        monkeypatch.chdir(folder)
        said = json.loads(succeeded(paste(commands.install(), folder, PYTHONPATH=str(tmp_path / 'stubs'))))
        assert said[:2] == ['install', '-r'] and len(said) == 3
        assert os.path.samefile(os.path.join(str(folder), said[2]), str(place / 'requirements.txt'))


def at_hand(monkeypatch, name='produce_text.py'):
    """Let a script be the one that runs. Returns its arguments."""
    arguments = ["it's.npz", '--prime', 'a  b\\n', '']
    monkeypatch.setattr(sys, 'argv', [os.path.join('..', name)] + arguments)
    return arguments


def assert_runs_by_uv(said, script, arguments):
    """What a stub of uv said that it was given: `run`, the script and its arguments."""
    run, path, *more = json.loads(said)
    assert run == 'run' and os.path.samefile(path, str(script)) and more == arguments


@pytest.mark.parametrize('name', ['train.py', 'produce_text.py'])
def test_uv_that_is_there_runs_the_script_at_hand(place, monkeypatch, tmp_path, name):
    folder = program(tmp_path / 'my bin' / 'uv', 'exec {} -c {} "$@"'.format(REAL, shlex.quote(SAY)))
    monkeypatch.setenv('PATH', os.pathsep.join([folder, os.environ['PATH']]))
    arguments = at_hand(monkeypatch, name)
    assert commands.with_uv().startswith('uv run ')
    assert_runs_by_uv(succeeded(paste(commands.with_uv(), os.curdir)), place / name, arguments)
    said = json.loads(succeeded(paste(commands.with_uv('--python', '3.11 or so'), os.curdir)))
    assert said[:3] == ['run', '--python', '3.11 or so'] and os.path.samefile(said[3], str(place / name))


def path_without_python():
    """PATH without the folder of this Python, which would be named by its name alone."""
    return os.pathsep.join(folder for folder in os.environ['PATH'].split(os.pathsep)
                           if not os.path.exists(os.path.join(folder, os.path.basename(sys.executable))))


def assert_pasted_runs_by_uv(place, monkeypatch, stubs, begins):
    """with_uv() begins so and, pasted where the stubs are found, runs the script at hand."""
    arguments = at_hand(monkeypatch)
    monkeypatch.setenv('PATH', path_without_python())
    line = commands.with_uv()
    assert line.startswith(begins)
    said = succeeded(paste(line, os.curdir, PYTHONPATH=str(stubs)))
    assert_runs_by_uv(said, place / 'produce_text.py', arguments)


def test_uv_is_installed_in_a_virtual_environment_that_is_there(place, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    stub(tmp_path / 'stubs', 'pip', "import sys; assert sys.argv[1:] == ['install', 'uv']")
    stub(tmp_path / 'stubs', 'uv', SAY)
    assert_pasted_runs_by_uv(place, monkeypatch, tmp_path / 'stubs',
                             begins='{0} -m pip install uv && {0} -m uv run '.format(REAL))


def test_uv_is_installed_in_a_new_virtual_environment(place, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'prefix', sys.base_prefix)
    uv, folder = tmp_path / 'uv', os.path.join('venv', commands.BIN)
    program(uv, 'exec {} -c {} "$@"'.format(REAL, shlex.quote(SAY)))
    pip = '#!/bin/sh\ntest "$*" = "install uv" && cp {} {}\n'.format(shlex.quote(str(uv)), os.path.join(folder, 'uv'))
    stub(tmp_path / 'stubs', 'venv', NEW_VENV.format(folder=folder, pip=pip))
    assert_pasted_runs_by_uv(place, monkeypatch, tmp_path / 'stubs',
                             begins='{} -m venv venv && '.format(REAL))


def test_another_program_than_ours_is_told_of_train(place, monkeypatch):
    monkeypatch.setattr(sys, 'prefix', sys.base_prefix)
    for argv in (['/usr/bin/pytest', 'x y'], ['-c', 'x'], [''], []):
        monkeypatch.setattr(sys, 'argv', argv)
        assert shlex.split(commands.with_uv())[-2:] == ['run', str(place / 'train.py')]


# ---------------------------------------------------------------- words

@pytest.mark.parametrize('path, seen', [
    ('a b/c', 'a b/c'), ('./a', 'a'), ('x/../a', 'a'), ('..', '{above}'), ('../herebeside', '{above}/herebeside'),
    ('/', '/'), ('{here}/a', 'a'), ('{here}/a/', 'a'), ('{above}/b', '{above}/b'), ('-a', './-a')])
def test_near(tmp_path, monkeypatch, path, seen):
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    places = dict(here=tmp_path / 'here', above=tmp_path)
    assert commands.near(path.format(**places)) == seen.format(**places)


@pytest.mark.parametrize('path, seen', [('/a/b', '/a/b'), ('a', '/a'), ('/', '.'), ('-a', '/-a')])
def test_near_keeps_the_slash_in_the_root(monkeypatch, path, seen):
    """A service has that as its current folder, and its log is read elsewhere."""
    monkeypatch.chdir('/')
    assert commands.near(path) == seen


@pytest.mark.parametrize('given', [
    dict(input='t.txt'), dict(input='a b.txt', run="it's"), dict(run='r', lrate=0.5, input='t'),
    dict(input='t', no_stateful=True, bptt_maxdepth=-1, encoding='utf-16', init='/x y/p.npz'),
    dict(resume='p.npz', epochs=7), {}])
def test_typed_options_are_parsed_as_they_were_given(given):
    words = shlex.split(commands.quoted(commands.typed(given)))
    assert vars(train.build_parser().parse_args(words)) == given


# ---------------------------------------------------------------- what is installed

def block(path):
    """requires-python and dependencies of the block of a script that uv reads (PEP 723), which is TOML."""
    text = path.read_text(encoding='utf-8')
    lines = re.search(r'^# /// script\n((?:#(?: .*)?\n)+?)# ///$', text, re.MULTILINE).group(1)
    toml = re.sub(r'^# ?', '', lines, flags=re.MULTILINE)
    requires, dependencies = re.fullmatch(r'requires-python = (".*")\ndependencies = (\[[^\]]*\])\n', toml).groups()
    return ast.literal_eval(requires), ast.literal_eval(dependencies)


def test_uv_and_pip_install_the_same():
    lines = (ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
    marked = [line.split('; ') for line in lines if line and not line.startswith('#')]
    assert {marker for _, marker in marked} == {'python_version < "3.12"'}
    requirements = sorted(requirement for requirement, _ in marked)
    for script in (TRAIN, PRODUCE):
        requires, dependencies = block(script)
        assert requires == '>=3.8,<3.12' and sorted(dependencies) == requirements
