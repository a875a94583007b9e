"""What clang needs to compile Theano's code and the kernel as g++ does: options, and OpenMP.

Theano knows which options g++ needs for this processor, and none of clang's. Apple's compiler is a clang, also under
the name of g++.
"""
import functools
import os
import platform
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

# Where omp.h and its library are, besides the compiler's own folders: conda's, and Homebrew's on ARM and on Intel.
PREFIXES = sys.prefix, '/opt/homebrew/opt/libomp', '/usr/local/opt/libomp'
TO_INSTALL = 'Debian, Ubuntu: apt install g++ python3-dev; macOS: xcode-select --install; conda: conda install gxx'
OPENMP = 'Debian, Ubuntu: apt install libomp-dev; macOS: brew install libomp; conda: conda install llvm-openmp'


class Compiler(NamedTuple):
    """What is known of a C++ compiler.

    clang: its version, '' for another compiler. target: options for this processor; None where Theano knows them.
    openmp: options for loops over threads, () if it has none. quiet: options against warnings and, of clang, errors.
    """
    clang: str
    target: list | None
    openmp: tuple
    quiet: tuple


@functools.lru_cache(maxsize=None)
def of(cxx):
    """Return the Compiler at a path or of a name, '' for none. Only what is not g++ on Linux is asked what it is."""
    version = None
    if shutil.which(cxx.strip('"')) and (sys.platform == 'darwin' or cxx not in ('g++', shutil.which('g++'))):
        version = re.search(r'clang version (\S+)', subprocess.getoutput(f'"{cxx}" --version'))
    if not version:
        openmp = ('-fopenmp',) if cxx and sys.platform != 'darwin' else ()
        return Compiler('', None, openmp, ('-Wno-psabi',))             # of vectors as arguments
    # Theano writes numbers of 64 bits into lists of 32 bits, which g++ only warns of.
    native = '-mcpu=native' if platform.machine() in ('arm64', 'aarch64') else '-march=native'
    return Compiler(version.group(1), [native], _openmp(cxx), ('-Wno-c++11-narrowing',))


def _openmp(cxx):
    """Return options for OpenMP, whose library clang does not always come with; () where there is none."""
    own = subprocess.getoutput(f'"{cxx}" -print-resource-dir')     # not -print-file-name, which also finds that of g++
    if os.path.exists(os.path.join(own, 'include', 'omp.h')):
        return ('-fopenmp',)
    for prefix in PREFIXES:
        if os.path.exists(os.path.join(prefix, 'include', 'omp.h')):
            library = os.path.join(prefix, 'lib')
            enable = ('-Xclang', '-fopenmp', '-lomp') if sys.platform == 'darwin' else ('-fopenmp',)
            return (*enable, f'-I{prefix}/include', f'-L{library}', f'-Wl,-rpath,{library}')
    return ()
