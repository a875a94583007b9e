"""What clang needs to compile Theano's code and the kernel as g++ does: options, and OpenMP.

Theano knows which options g++ needs for this processor, and none of clang's. Apple's compiler is a clang, also under
the name of g++.
"""
import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from typing import NamedTuple

# Where omp.h and its library are, besides the compiler's own folders: conda's, and Homebrew's on ARM and on Intel.
PREFIXES = sys.prefix, '/opt/homebrew/opt/libomp', '/usr/local/opt/libomp'
TO_INSTALL = ('Debian, Ubuntu: apt install g++; macOS: xcode-select --install; conda: conda install gxx; without one, '
              'many times slower: THEANO_FLAGS=cxx=')
OPENMP = 'Debian, Ubuntu: apt install libomp-dev; macOS: brew install libomp; conda: conda install llvm-openmp'


class Compiler(NamedTuple):
    """What is known of a C++ compiler.

    clang: its version, '' for another compiler. target: options for this processor; None where Theano knows them.
    openmp: options for loops over threads, () if it has none. quiet: options against warnings and, of clang, errors.
    """
    clang: str
    target: tuple | None
    openmp: tuple
    quiet: tuple


def _output(*command):
    """Return what a command prints; '' where it fails."""
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              check=True, encoding='utf-8', errors='replace').stdout
    except (OSError, subprocess.CalledProcessError):
        return ''


@functools.lru_cache(maxsize=None)
def of(cxx):
    """Return the Compiler at a path or of a name, '' for none. Only what is not g++ on Linux is asked what it is."""
    version = None
    if cxx and (sys.platform == 'darwin' or cxx not in ('g++', shutil.which('g++'))):
        version = re.search(r'clang version (\S+)', _output(cxx, '--version'))
    if not version:
        openmp = ('-fopenmp',) if cxx and sys.platform != 'darwin' else ()
        return Compiler('', None, openmp, ('-Wno-psabi',))             # of vectors as arguments
    # Theano writes numbers of 64 bits into lists of 32 bits, which g++ only warns of.
    return Compiler(version.group(1), _target(cxx), _openmp(cxx), ('-Wno-c++11-narrowing',))


def _target(cxx):
    """Return options for this processor. They name it, so that code for it is never taken on another one."""
    for native in ('-march=native', '-mcpu=native'):       # the latter on ARM, before clang 15
        line = next((line for line in _output(cxx, native, '-###', '-c', '-x', 'c++', os.devnull).splitlines()
                     if '-cc1' in line), '')
        words = shlex.split(line)
        pairs = [(option, value) for option, value in zip(words, words[1:])
                 if option in ('-target-cpu', '-target-feature')]
        if pairs:
            return tuple(word for pair in pairs for each in pair for word in ('-Xclang', each))
    return ()


def _openmp(cxx):
    """Return options for OpenMP, whose library clang does not always come with; () where there is none."""
    own = _output(cxx, '-print-resource-dir').strip()      # not a file by its name: clang also finds that of g++
    if os.path.exists(os.path.join(own, 'include', 'omp.h')):
        return ('-fopenmp',)
    for prefix in PREFIXES:
        if os.path.exists(os.path.join(prefix, 'include', 'omp.h')):
            library = os.path.join(prefix, 'lib')
            enable = ('-Xclang', '-fopenmp', '-lomp') if sys.platform == 'darwin' else ('-fopenmp',)
            return (*enable, f'-I{prefix}/include', f'-L{library}', f'-Wl,-rpath,{library}')
    return ()
