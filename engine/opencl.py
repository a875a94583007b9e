"""What Theano's GPU backend needs to run on OpenCL: it was tried on CUDA alone.

All is changed in memory after the import of Theano, and only where its device is one of OpenCL.
"""
import functools
import inspect
import re
import sys
import textwrap


def patch(theano):
    """Change what does not run on OpenCL."""
    from theano.gpuarray import elemwise, nnet
    _patch_scan(theano.scan_module.scan_op)
    nnet.GpuCrossentropySoftmaxArgmax1HotWithBias.gpu_kernels = _cross_entropy_kernels(
        nnet.GpuCrossentropySoftmaxArgmax1HotWithBias.gpu_kernels)
    elemwise.GpuElemwise._generate_op_string = _op_string(elemwise.GpuElemwise._generate_op_string)


def _patch_scan(scan_op):
    """Let theano.scan see by memory and offset whether an output is where it was: `gpudata` exists on CUDA only."""
    source = textwrap.dedent(inspect.getsource(scan_op.Scan.execute))
    names = {}
    exec(re.sub(r'(\w+)\.gpudata', r'(\1.base_data, \1.offset)', source), vars(scan_op), names)
    scan_op.Scan.execute = names['execute']
    sys.modules['theano.scan_module.scan_perform_ext'] = None      # the same loop in C reads gpudata too


def _cross_entropy_kernels(kernels):
    """Return gpu_kernels of the softmax with its cost with kernels that OpenCL compiles.

    Memory that threads share is declared at the head of a kernel, not inside of a loop. And a thread begins
    with the first number that it looks at as its largest, not with number 0: with one number for each thread,
    0 would always be the most probable character.
    """
    @functools.wraps(kernels)
    def changed(*arguments):
        result = kernels(*arguments)
        for kernel in result:
            shared = re.findall(r'LOCAL_MEM \w+ [^;*]*;', kernel.code)
            code = re.sub(r'LOCAL_MEM \w+ [^;*]*;', '', kernel.code)
            code = code.replace('per_thread_row_max_j = 0;', 'per_thread_row_max_j = LID_0;')
            kernel.code = code.replace('{', '{' + ' '.join(shared), 1)
        return result
    return changed


def _op_string(generate):
    """Return the method that writes an elementwise kernel, with the constant NAN: OpenCL has no nan("")."""
    @functools.wraps(generate)
    def changed(*arguments):
        support, code = generate(*arguments)
        return support, code.replace('nan("")', 'NAN')
    return changed
