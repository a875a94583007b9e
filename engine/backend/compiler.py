"""What clang needs to compile Theano's code and the kernel as g++ does: options, OpenMP, a folder of its own.

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
from typing import NamedTuple, Tuple

DEFAULT = 'clang++' if sys.platform == 'darwin' else 'g++'                 # that Theano takes unless it is set
# Theano writes numbers of 64 bits into lists of 32 bits, which g++ only warns of.
ACCEPTED = '-Wno-c++11-narrowing'
# Where omp.h and its library are, beside the compiler's own folders: conda's, and Homebrew's on ARM and on Intel.
PREFIXES = sys.prefix, '/opt/homebrew/opt/libomp', '/usr/local/opt/libomp'
ADVICE = 'Debian, Ubuntu: apt install libomp-dev; macOS: brew install libomp; conda: conda install llvm-openmp'


class Compiler(NamedTuple):
    """What is known of a C++ compiler.

    clang: its version, '' for another compiler. target: options for this processor; None where Theano knows them.
    openmp: options for loops over threads, () if it has none.
    """
    clang: str
    target: Tuple[str, ...]
    openmp: Tuple[str, ...]


def _output(*command):
    """Return what a command prints; '' where it fails."""
    try:
        found = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               check=True)
    except (OSError, subprocess.CalledProcessError):
        return ''
    return found.stdout.decode(errors='replace')


@functools.lru_cache(maxsize=None)
def of(cxx):
    """Return the Compiler at a path or of a name, '' for none. Only what is not g++ on Linux is asked what it is."""
    version = ''
    if cxx and (sys.platform == 'darwin' or cxx not in ('g++', shutil.which('g++'))):
        found = re.search(r'clang version (\S+)', _output(cxx, '--version'))
        version = found.group(1) if found else ''
    if not version:
        return Compiler('', None, ('-fopenmp',) if cxx and sys.platform != 'darwin' else ())
    return Compiler(version, _target(cxx), _openmp(cxx))


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
