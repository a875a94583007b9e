"""What Theano's GPU backend needs to run on OpenCL: it was tried on CUDA alone.

All is changed in memory after the import of Theano, and only where its device is one of OpenCL.
"""
import functools
import inspect
import re
import sys
import textwrap


def patch(theano):
    """Change what does not run on OpenCL, or too slowly."""
    from theano.gpuarray import elemwise, nnet, opt
    # scan looks by the address whether an output is where it was, and `gpudata` exists on CUDA only.
    _rewrite(theano.scan_module.scan_op.Scan, 'execute', r'(\w+)\.gpudata', r'(\1.base_data, \1.offset)')
    sys.modules['theano.scan_module.scan_perform_ext'] = None      # the same loop in C, which reads gpudata too
    softmax = nnet.GpuCrossentropySoftmaxArgmax1HotWithBias
    softmax.gpu_kernels = _cross_entropy_kernels(softmax.gpu_kernels)
    # OpenCL has no nan(""). T.maximum and T.minimum have it, and 'return support_code, kop' is the code of them all.
    _rewrite(elemwise.GpuElemwise, '_generate_op_string', 'return support_code, kop',
             '''return support_code, kop.replace('nan("")', 'NAN')''')
    # Kernels for arrays of more than 4 GB: half of all that are compiled at each start.
    _rewrite(elemwise.GpuElemwise, 'c_init_code_struct', 'GE_CONVERT_F16', 'GE_CONVERT_F16 | GE_NOADDR64')
    # To set memory to zero libgpuarray compiles a kernel each time, which takes 30 ms; to copy a zero it does not.
    opt.gpu_optimizer.remove_tags('local_gpualloc_memset_0', 'fast_run', 'gpuarray')
    # Theano means to keep the compiled code of an op without properties, but takes () for 'no version'.
    _rewrite(theano.gof.cc.CLinker, 'cmodule_key_', r'node\.op\.__props__\)', "node.op.__props__ or ('none',))")


def _rewrite(owner, name, old, new):
    """Replace the regular expression old by new in the source of a method."""
    module, source = sys.modules[owner.__module__], textwrap.dedent(inspect.getsource(getattr(owner, name)))
    source, count = re.subn(old, new, source)
    assert count, f'{owner.__name__}.{name} is not that of Theano 1.0.5'
    names = {}
    exec(compile(source, inspect.getsourcefile(owner), 'exec'), vars(module), names)
    setattr(owner, name, names[name])


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
