"""The kernel in C: its files as compiled libraries, and the addresses of arrays."""
import ctypes
import functools
import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.backend import compiler
from engine.backend.compiler import MACROS
from engine.graph.cell import Program

FOLDER = Path(__file__).resolve().parents[1] / 'kernel'
C_FILES = {path.name: path.read_text(encoding='utf-8') for path in FOLDER.glob('*.[ch]')}


def empty(shape, dtype):
    """Return a new array that begins at a cache line."""
    memory = np.empty(np.dtype(dtype).itemsize * math.prod(shape) + 64, np.uint8)
    return np.ndarray(shape, dtype, memory, -memory.ctypes.data % 64)


def reused(array, shape, dtype):
    """Return an array if it is contiguous and has that shape, otherwise a new one: new memory costs page faults."""
    return array if array is not None and array.shape == shape and array.flags.carray else empty(shape, dtype)


@functools.lru_cache(maxsize=None)
def joined(text, cell=''):
    """Return C code with #include lines replaced by the files, also within these. cell: C code for cell.h."""
    files = dict(C_FILES, **{'cell.h': cell})
    return re.sub('^#include "(.*)"$', lambda found: joined(files[found.group(1)], cell), text, flags=re.MULTILINE)


def source(text, dtype, bfloat16=None, cell=''):
    """Return C code with all that it includes. bfloat16: None, or a key of MACROS. cell: C code for cell.h."""
    macros = ['REAL float' if dtype == 'float32' else 'REAL double']
    macros += ['PER_WORD 2', *MACROS[bfloat16]] if bfloat16 else []
    return joined(''.join(f'#define {macro}\n' for macro in macros) + text, cell)


class Library(NamedTuple):
    """The compiled kernel for a dtype and a cell. bfloat16: None, or a key of MACROS, the instructions for products."""
    dtype: str
    program: Program
    bfloat16: str | None = None

    @property
    def counts(self):
        """Return the Counts of the cell."""
        return self.program.counts

    def path(self):
        """Return the path of the library, which may still have to be compiled."""
        from engine.graph.in_c import c_functions         # late: NumPy's form needs no C
        text = ''.join(f'#include "{name}"\n' for name in ('sampling.c', 'embedding.c', 'vectors.c'))
        cell = c_functions(self.program, C_FILES['cell.h'])
        return compiler.compiled_file('kernel', source(text, self.dtype, self.bfloat16, cell))

    def call(self, name, *arguments):
        """Return a function that calls the kernel's of a name with numbers, arrays and lists of arrays.

        It adds the number of threads if the function takes one. It does not keep arrays alive.
        """
        C, function = loaded(self), loaded(self)[name]     # without argtypes: arguments are converted once, here
        kinds, function.errcheck = getattr(C, name).argtypes, checked
        given = [kind.from_param(passed(value)) for kind, value in zip(kinds, arguments)]
        if len(kinds) > len(given):
            return lambda: function(*given, C.threads())
        return functools.partial(function, *given)

    def product(self, a, b, out):
        """Return a function that fills out (M,N) with the product of a and b, of any strides."""
        strides = [stride // x.itemsize for x in (a, b) for stride in x.strides]
        return self.call('matmul', *out.shape, len(b), a, *strides[:2], b, *strides[2:], out, out.shape[1], 0)


def passed(value):
    """Return what a function in C takes for an array, a list of arrays, or anything else."""
    if isinstance(value, list):
        return (ctypes.c_void_p * len(value))(*map(passed, value))
    return value.ctypes.data if isinstance(value, np.ndarray) else value


def checked(result, function, arguments):
    """Return the result of a function of kernel.h. Raise MemoryError for -1."""
    if result == -1:
        raise MemoryError('for the kernel')
    return result


@functools.lru_cache(maxsize=None)
def loaded(library):
    """Compile, load and return a Library, with the argument types of kernel.h's functions."""
    C = compiler.load(library.path())
    for name, arguments in re.findall(r'^int (\w+)\(([^)]*)\);', C_FILES['kernel.h'], re.MULTILINE):
        getattr(C, name).errcheck, getattr(C, name).argtypes = checked, [
            ctypes.c_void_p if '*' in argument else ctypes.c_long if 'long' in argument else ctypes.c_int
            for argument in arguments.split(',') if argument != 'void']
    return C
