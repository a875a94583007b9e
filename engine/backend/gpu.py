"""Patches of Theano's GPU backend, in memory, where Theano computes on a device: errors in it, and what OpenCL lacks.

Each was needed on OpenCL (libgpuarray 0.7.6, pocl 6). Those for every device are errors in code that CUDA runs too.
"""
import functools
import inspect
import re
import sys
import textwrap
import zlib


def patch(theano):
    """Patch what is wrong on every device and, on OpenCL, what does not run or is too slow."""
    gpuarray = theano.gpuarray
    _rewrite(theano.scan_module.scan_op.Scan, 'execute', {
        # Outputs of which only some rows are kept go round in their memory. At the end scan moves the rows to their
        # places, and of an odd number of rows it copies some onto rows that it has not read yet.
        r'store_steps\[idx\] // 2': 'store_steps[idx] / 2',
        # It compares addresses of outputs by `gpudata`, which exists on CUDA only.
        r'(\w+)\.gpudata': r'(\1.base_data, \1.offset)'})
    sys.modules['theano.scan_module.scan_perform_ext'] = None      # the same loop in C
    softmax = gpuarray.nnet.GpuCrossentropySoftmaxArgmax1HotWithBias
    softmax.gpu_kernels = _cross_entropy_kernels(softmax.gpu_kernels)
    _rewrite(theano.gof.cc.CLinker, 'cmodule_key_', {
        # The () of an Op without properties counts as "no version", and it is compiled at each start.
        r'node\.op\.__props__\)': "node.op.__props__ or ('none',))",
        # What was compiled with other patches is not used.
        r'version = \[\]': f'version = [{zlib.crc32(inspect.getsource(sys.modules[__name__]).encode())}]'})
    if theano.config.device.startswith('opencl'):
        _opencl(gpuarray.elemwise.GpuElemwise, gpuarray.opt.gpu_optimizer)


def _cross_entropy_kernels(kernels):
    """Return gpu_kernels of the softmax with its cost, with kernels that OpenCL compiles and with the right argmax.

    OpenCL has shared memory declared at the head of a kernel, not inside a loop. And a thread begins with
    the first number that it reads as its largest: in Theano it begins with number 0, so that with one
    number for each thread 0 would always be the most probable character.
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


def _opencl(elemwise, optimizer):
    """Patch Theano's class of elementwise Ops, and its optimizer of graphs, for OpenCL."""
    # OpenCL has no nan(""), which T.maximum and T.minimum write into their code.
    _rewrite(elemwise, '_generate_op_string',
             {'return support_code, kop': '''return support_code, kop.replace('nan("")', 'NAN')'''})
    # OpenCL compiles at each start, and takes most of it: all nodes with the same kernel share it, and its variants
    # for arrays with gaps, `nd` of them, are compiled when they are first used.
    _rewrite(elemwise, 'c_init_code_struct', {
        r'ge = (GpuElemwise_new\(.*?)%\(nd\)s, GE_CONVERT_F16\);':
            r'static GpuElemwise *shared = NULL; if (!shared) shared = \1 0, GE_CONVERT_F16); ge = shared;'})
    _rewrite(elemwise, 'c_cleanup_code_struct', {r'GpuElemwise_free\(ge\);': ''})
    # To set memory to zero libgpuarray compiles a kernel each time, in 30 ms. A zero is copied instead.
    optimizer.remove_tags('local_gpualloc_memset_0', 'fast_run', 'gpuarray')


def _rewrite(owner, name, changes):
    """Replace, in the source of a method, regular expressions by what they are mapped to."""
    lines, first = inspect.getsourcelines(getattr(owner, name))
    source = textwrap.dedent(''.join(lines))
    for old, new in changes.items():
        source, count = re.subn(old, new, source, flags=re.DOTALL)
        if not count:
            raise ImportError(f'{owner.__name__}.{name} is not that of Theano 1.0.5: install that version')
    names = {}
    # At the line where it was, for tracebacks.
    code = compile('\n' * (first - 1) + source, inspect.getsourcefile(owner), 'exec')
    exec(code, vars(sys.modules[owner.__module__]), names)
    setattr(owner, name, names[name])
