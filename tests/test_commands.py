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

def test_install_finds_the_requirements_from_anywhere(place, monkeypatch, tmp_path):
    """pip runs in the folder that paths in requirements.txt begin at, and the shell stays where it is."""
    stub(tmp_path / 'stubs', 'pip', 'import os; print(os.path.realpath(os.curdir))\n' + SAY)
    for folder in (Path.cwd(), place, place.parent):
        monkeypatch.chdir(folder)
        said = succeeded(paste(f'{commands.install()} && pwd', folder, PYTHONPATH=str(tmp_path / 'stubs'))).splitlines()
        assert said == [str(place), '["install", "-r", "requirements.txt"]', str(folder)]


def test_several_processes_by_uv(place, monkeypatch, tmp_path):
    """All that they need is named with its place."""
    folder = program(tmp_path / 'my bin' / 'uv', 'exec {} -c {} "$@"'.format(REAL, shlex.quote(SAY)))
    monkeypatch.setenv('UV', os.path.join(folder, 'uv'))
    said = json.loads(succeeded(paste(commands.script('train.py', 'a b', processes=3), os.curdir)))
    needs = [word for option, word in zip(said, said[1:]) if option.startswith('--with') and os.path.isabs(word)]
    assert needs == [str(place / 'engine' / 'backend' / 'theano_wheel'), str(place / 'engine' / 'requirements-mpi.txt')]
    assert said[:2] == ['run', '--no-project'] and said[-5:] == ['-n', '3', 'python', str(place / 'train.py'), 'a b']


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

WHEEL = './engine/backend/theano_wheel ; python_version >= "3.12"'


def test_uv_and_pip_install_the_same():
    """uv reads the block at the head of a script (PEP 723)."""
    lines = (ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
    required = [line for line in lines if line and not line.startswith('#')]
    assert required[:2] == ['Theano==1.0.5; python_version < "3.12"', WHEEL] and (ROOT / WHEEL.split()[0]).is_dir()
    for script in (TRAIN, PRODUCE):
        text = script.read_text(encoding='utf-8')
        block = re.search(r'^# /// script\n((?:# .*\n)+)# ///$', text, re.MULTILINE).group(1).splitlines()
        assert block[0] == '# requires-python = ">=3.8"'
        assert ast.literal_eval(block[1].split('# dependencies = ')[1]) == ['Theano==1.0.5', *required[2:]]
        assert block[2:] == ['# [tool.uv.sources]', '# Theano = {{ path = "{}", marker = "{}" }}'.format(
            WHEEL.split()[0][2:], WHEEL.split(' ; ')[1].replace('"', "'"))]
