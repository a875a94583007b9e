"""What is asked of a compiler that is not g++: its version, options for this processor, and OpenMP."""
import os
import shutil
import sys

import pytest

from engine.backend import compiler
from engine.backend.theano_setup import theano
from scripts import FAST, ROOT, run

TARGET = ('-Xclang', '-target-cpu', '-Xclang', 'apple-m1', '-Xclang', '-target-feature', '-Xclang', '+neon')


@pytest.fixture
def clang(tmp_path, monkeypatch):
    """Return a function that writes a compiler and returns its path. answers: what it prints, by words of options."""
    monkeypatch.setattr(compiler, 'PREFIXES', [str(tmp_path / 'none')])

    def write(name='clang++', **answers):
        cases = ''.join(f"  *{option}*) echo '{answer}'; exit 0;;\n" for option, answer in answers.items())
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}esac\nexit 1\n')
        path.chmod(0o755)
        return str(path)
    return write


CC1 = ' "/usr/bin/clang" "-cc1" "-target-cpu" "apple-m1" "-o" "null.o" "-target-feature" "+neon"'


def test_clang_by_any_name(clang, tmp_path):
    """Apple's is also called g++, and names no processor by -march before clang 15."""
    found = compiler.of(clang('g++-13', version='Apple clang version 14.0.3 (clang-1403)', mcpu=CC1))
    assert found == ('14.0.3', TARGET, ())
    assert compiler.of(clang('other', version='other 3.1')) == ('', None, ('-fopenmp',))
    assert compiler.of('') == ('', None, ()) and compiler.of('g++') == ('', None, ('-fopenmp',))
    assert compiler.of(str(tmp_path / 'none')) == ('', None, ('-fopenmp',))


@pytest.mark.parametrize('platform, enable', [('linux', ('-fopenmp',)), ('darwin', ('-Xclang', '-fopenmp', '-lomp'))])
def test_openmp_beside_clang(clang, tmp_path, monkeypatch, platform, enable):
    """As Homebrew and conda bring it, and as a compiler that has its own says."""
    answers = dict(version='clang version 19.1.7', march=CC1)
    brew = tmp_path / 'opt' / 'libomp'
    (brew / 'include').mkdir(parents=True)
    (brew / 'include' / 'omp.h').write_text('')
    monkeypatch.setattr(sys, 'platform', platform)
    assert compiler.of(clang('a', **answers, resource=tmp_path / 'lib')).openmp == ()
    assert compiler.of(clang('b', **answers, resource=brew)).openmp == ('-fopenmp',)
    monkeypatch.setattr(compiler, 'PREFIXES', [str(tmp_path), str(brew)])
    found = compiler.of(clang('c', **answers, resource=tmp_path / 'lib')).openmp
    assert found == (*enable, f'-I{brew}/include', f'-L{brew}/lib', f'-Wl,-rpath,{brew}/lib')


@pytest.mark.skipif(not shutil.which('clang++'), reason='clang++ is not installed')
def test_clang_without_openmp_uses_one_thread_and_says_so(tmp_path):
    """Its code is in a folder of its own, and the cores that are lost are named in one line."""
    path = tmp_path / 'clang++'
    path.write_text('#!/bin/sh\ncase "$*" in *print-resource-dir*) echo /none;; '
                    f'*) exec {shutil.which("clang++")} "$@";; esac')
    path.chmod(0o755)
    code = ('import sys; sys.prefix = "/none"\nfrom engine.backend.theano_setup import computes_on, theano\n'
            'print(computes_on(True)); print(theano.config.compiledir)')
    result = run('-c', code, cwd=ROOT, flags=f'{FAST},cxx={path}', env={'OMP_NUM_THREADS': '2'})
    on, folder = result.stdout.splitlines()
    assert on == 'the CPU, 1 thread, by the C kernel, in float32' and '-clang' in os.path.basename(folder)
    assert folder != theano.config.compiledir
    lines = result.stderr.splitlines()
    cores = len(os.sched_getaffinity(0))
    assert len(lines) == (cores > 1) and all(
        f'{path} has no OpenMP, so the kernel uses one of {cores} cores' in line and 'libomp' in line for line in lines)
