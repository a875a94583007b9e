"""Compiling the kernel's files: once each, several at a time, by any compiler, and what is said if that fails."""
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.backend import compiler
from engine.backend.compiler import CompilerError
from engine.kernel.library import source
from engine.terminal import bar
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


@pytest.mark.parametrize('cxx', ['g++', 'clang++'])
def test_sums_of_a_product_stay_in_registers(cxx):
    """No innermost loop that multiplies stores a vector."""
    if not shutil.which(cxx):
        pytest.skip(f'{cxx} is not installed')
    command = [cxx, *compiler.FLAGS, *compiler.target(), '-S', '-o', '-', '-x', 'c++', '-']
    done = subprocess.run(command, input=source('#include "products.c"\n', 'float32'), check=True,
                          capture_output=True, encoding='utf-8')
    lines, labels, found = done.stdout.splitlines(), {}, []
    for at, line in enumerate(lines):
        jump = re.match(r'\s+(?:j\w+|b\.?\w*|cbn?z\s+\w+,)\s+(\.L\w+)$', line)
        if jump and jump[1] in labels:                     # back to the beginning of a loop
            body = '\n'.join(lines[labels[jump[1]]:at])
            if not re.search(r'\s(j|b\.)\w+\s+\.L', body):
                found.append((len(re.findall(r'\svfmadd|\sfmla', body)),
                              len(re.findall(r'\s(v?mov\w+\s+%[xyz]mm\d+, .*\(|st[rp]\s+[qv])', body))))
        labels[line.partition(':')[0]] = at
    assert max(found)[0] >= 12 and not [stores for products, stores in found if products and stores], found


def test_two_threads_compile_the_same_file(tmp_path, monkeypatch):
    """Both have begun when the first ends."""
    (tmp_path / 'cxx').write_text(f'#!/bin/sh\n{compiler.cxx} "$@" && sleep 0.5\n')
    (tmp_path / 'cxx').chmod(0o755)
    monkeypatch.setattr(compiler, 'cxx', str(tmp_path / 'cxx'))
    monkeypatch.setattr(compiler, 'folder', str(tmp_path / 'compiled'))
    path = compiler.compiled_file('empty', '')
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(compiler.build, 2 * [[path]])) == [None, None]
    assert [file.name for file in (tmp_path / 'compiled').iterdir()] == [os.path.basename(path)]


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


def test_files_are_counted(monkeypatch):
    bars = []
    monkeypatch.setattr(compiler, 'bar', lambda *arguments: bars.append(bar(*arguments)) or bars[0])
    source = f'int of_{os.getpid()}_{time.time_ns()}() {{ return 1; }}'              # differs in each run
    names = [compiler.compiled_file(name, source) for name in ('first', 'second')]
    compiler.build(names)
    assert [(shown.n, shown.total) for shown in bars] == [(2, 2)]
    for name in names:
        os.remove(name)


@pytest.fixture
def clang(tmp_path, monkeypatch):
    """Return a function that makes a fake clang, which has its resources in a folder, the compiler."""
    def use(name, resources=''):
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\ncase "$*" in\n*-dM*) echo "#define __clang__ 1";;\n*) echo {resources};;\nesac\n')
        path.chmod(0o755)
        monkeypatch.setattr(compiler, 'cxx', str(path))
    return use


@pytest.mark.parametrize('platform, enable', [('linux', ('-fopenmp',)), ('darwin', ('-Xclang', '-fopenmp', '-lomp'))])
def test_openmp_beside_clang(clang, tmp_path, monkeypatch, platform, enable):
    """The library is from Homebrew or conda, or the compiler has its own. Apple's clang is also called g++."""
    assert compiler.openmp() == ('-fopenmp',)
    brew = tmp_path / 'opt' / 'libomp'
    (brew / 'include').mkdir(parents=True)
    (brew / 'include' / 'omp.h').write_text('')
    monkeypatch.setattr(sys, 'platform', platform)
    clang('g++-13', brew)
    assert compiler.openmp() == ('-fopenmp',)
    clang('clang', tmp_path / 'lib')
    monkeypatch.setattr(compiler, 'PREFIXES', [str(tmp_path)])
    assert compiler.openmp() == ()
    monkeypatch.setattr(compiler, 'PREFIXES', [str(tmp_path), str(brew)])
    assert compiler.openmp() == (*enable, f'-I{brew}/include', f'-L{brew}/lib', f'-Wl,-rpath,{brew}/lib')
