"""Choose the processor's instructions for products in bfloat16, the upper half of a float32."""
import ctypes
import os
import platform

from engine.backend import compiler
from engine.backend.theano_setup import theano

# The C macros that choose the instructions in engine/kernel/operands.h.
MACROS = {'AMX': ['AMX_BF16'], 'AVX-512': ['AVX512_BF16'], 'emulated': []}
VARIABLE = 'CHARLSTM_BFLOAT16'                             # environment variable that chooses among them

ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA = 158, 0x1023, 18      # constants of Linux on x86-64


def _may_use_amx():
    """Ask Linux for permission to use AMX, as each process must once. Return whether it was granted."""
    if platform.system() != 'Linux' or platform.machine() != 'x86_64':
        return False
    return ctypes.CDLL(None).syscall(ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0


def instructions(precision, kernel=True):
    """Return the instructions for products at this precision: None for 'float32', a key of MACROS for 'bfloat16'.

    kernel: whether the C kernel may be used. Raises ValueError for any other precision, and for bfloat16 if it would
    not be faster than float32 here, as on Intel processors with AVX-512 but without AMX.
    """
    if precision == 'float32':
        return None
    if precision != 'bfloat16':
        raise ValueError(f"precision is {precision!r}: expected 'float32' or 'bfloat16'")
    if not (kernel and compiler.cxx and theano.config.floatX == 'float32'):
        raise ValueError('precision bfloat16 needs the C kernel, on a CPU and with a C++ compiler, and floatX=float32')
    macros = compiler.macros()
    usable = {'AMX': '__AMX_BF16__' in macros and _may_use_amx(), 'AVX-512': '__AVX512BF16__' in macros,
              'emulated': True}
    wanted = os.environ.get(VARIABLE)
    if wanted and not usable.get(wanted):
        raise ValueError(f'{VARIABLE} is {wanted!r}: expected one of {", ".join(k for k in usable if usable[k])}')
    if wanted:
        return wanted
    if usable['AMX']:
        return 'AMX'
    if usable['AVX-512'] and any(name.startswith('__znver') for name in macros):
        return 'AVX-512'
    raise ValueError('precision bfloat16 needs an Intel processor with AMX or AMD Zen 4 or later, and a compiler that '
                     f'supports it: use float32, or {VARIABLE}=emulated, which gives the same results slowly')
