"""Compiling the kernel's files: once each, several at a time, by any compiler, and what is said if that fails."""
import os
import sys
import time

import pytest

from engine.backend import compiler
from engine.backend.compiler import CompilerError
from scripts import ROOT, finish, start

COMPILER = """#!/bin/sh
# Runs {real}, and logs what it compiles.
for word; do case "$word" in *.?pp) echo "$word" >> {log};; esac; done
exec {real} "$@"
"""
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from engine.backend import compiler, theano_setup
names = 'exp', 'tan', 'cosh', 'sqrt', 'log1p', 'sinh'
source = '#include <math.h>\\nextern "C" __attribute__((visibility("default"))) double of(double x) {{ return {}(x); }}'
paths = [compiler.compiled_file(name, source.format(name)) for name in names]
compiler.build(paths)
import ctypes
for path in paths:
    function = compiler.load(path).of
    function.argtypes, function.restype = [ctypes.c_double], ctypes.c_double
    print(function(0), end=' ')
"""


def test_starts_that_are_killed_or_at_once_and_one_that_compiles_nothing(tmp_path):
    """A killed start keeps the files that it has finished."""
    script, log = tmp_path / 'cxx', tmp_path / 'log'
    script.write_text(COMPILER.format(real=compiler.cxx, log=log))
    script.chmod(0o755)

    def begin():
        return start('-c', PROGRAM, ROOT, flags=f'cxx={script},base_compiledir={tmp_path}')

    def succeeds(process):
        result = finish(process)
        return (result.returncode, result.stdout) == (0, '1.0 0.0 1.0 0.0 0.0 0.0 ')

    def finished():
        return set(tmp_path.rglob('*.so'))

    for _ in range(2):
        before, process = finished(), begin()
        while not finished() > before:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.communicate()
    assert before < finished() and all([succeeds(process) for process in [begin(), begin()]])
    assert len(log.read_text().splitlines()) >= 6
    log.write_text('')
    assert succeeds(begin()) and log.read_text() == ''


def test_error_of_the_compiler_is_one_line(refused, capfd):
    path = compiler.compiled_file('broken', '#error "what is wrong"')
    with refused(CompilerError, 'the C++ compiler failed (1: ', 'what is wrong', 'THEANO_FLAGS=cxx='):
        compiler.load(path)
    assert capfd.readouterr() == ('', '') and not os.path.exists(path)


@pytest.mark.parametrize('platform, enable', [('linux', ('-fopenmp',)), ('darwin', ('-Xclang', '-fopenmp', '-lomp'))])
def test_openmp_beside_clang(tmp_path, monkeypatch, platform, enable):
    """The library is from Homebrew or conda, or the compiler has its own. Apple's clang is also called g++."""
    assert compiler.openmp() == ('-fopenmp',)
    brew, clang = tmp_path / 'opt' / 'libomp', tmp_path / 'g++'
    (brew / 'include').mkdir(parents=True)
    (brew / 'include' / 'omp.h').touch()
    clang.write_text('#!/bin/sh\ncase "$*" in\n*-dM*) echo "#define __clang__ 1";;\n*) echo "$RESOURCES";;\nesac\n')
    clang.chmod(0o755)
    monkeypatch.setattr(sys, 'platform', platform)
    monkeypatch.setattr(compiler, 'cxx', str(clang))
    found = (*enable, f'-I{brew}/include', f'-L{brew}/lib', f'-Wl,-rpath,{brew}/lib')
    for own, prefix, options in ((brew, tmp_path, ('-fopenmp',)), (tmp_path, tmp_path, ()), (tmp_path, brew, found)):
        monkeypatch.setenv('RESOURCES', str(own))
        monkeypatch.setattr(compiler, 'PREFIXES', [str(tmp_path), str(prefix)])
        assert compiler.openmp() == options
