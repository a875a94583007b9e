"""How a compiler that is not g++ is queried for its version and OpenMP."""
import sys

import pytest

from engine.backend import modules
from engine.backend.modules import compiler_of


@pytest.fixture
def clang(tmp_path):
    """Return a function that writes a fake compiler and returns its path. answers: its output, by words of options."""
    def write(name='clang++', **answers):
        cases = ''.join(f"  *{option}*) echo '{answer}'; exit 0;;\n" for option, answer in answers.items())
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}esac\nexit 1\n')
        path.chmod(0o755)
        return str(path)
    return write


def test_clang_by_any_name(clang):
    """Apple's clang is also called g++."""
    found = compiler_of(clang('g++-13', version='Apple clang version 14.0.3 (clang-1403)'))
    assert found.clang == '14.0.3' and found.openmp == () and '-Wno-c++11-narrowing' in found.quiet
    for name in ('g++', '', '/no/such', clang('other', version='other 3.1')):
        found = compiler_of(name)
        assert (found.clang, found.target, found.openmp) == ('', None, ('-fopenmp',) * bool(name))


@pytest.mark.parametrize('platform, enable', [('linux', ('-fopenmp',)), ('darwin', ('-Xclang', '-fopenmp', '-lomp'))])
def test_openmp_beside_clang(clang, tmp_path, monkeypatch, platform, enable):
    """The library is from Homebrew or conda, or the compiler reports that it has its own."""
    brew = tmp_path / 'opt' / 'libomp'
    (brew / 'include').mkdir(parents=True)
    (brew / 'include' / 'omp.h').write_text('')
    monkeypatch.setattr(sys, 'platform', platform)
    monkeypatch.setattr(modules, 'PREFIXES', [str(tmp_path), str(brew)])
    version = 'clang version 19.1.7'
    assert compiler_of(clang('b', version=version, resource=brew)).openmp == ('-fopenmp',)
    found = compiler_of(clang('c', version=version, resource=tmp_path / 'lib')).openmp
    assert found == (*enable, f'-I{brew}/include', f'-L{brew}/lib', f'-Wl,-rpath,{brew}/lib')
