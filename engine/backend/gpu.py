"""Patch Theano's GPU backend in memory: its C++, bugs on every device, CUDA too, and what OpenCL lacks (pocl 6)."""
import functools
import re

from engine.backend.patches import rewrite

# Regular expressions for C++ that no longer compiles, and their replacements.
C_CODE = {
    r'PyArray_DESCR\((\w+)\)->elsize': r'PyArray_ITEMSIZE(\1)',          # sandbox/rng_mrg.py, sparse/opt.py
    r'\bNPY_MAXDIMS\b': 'NPY_RAVEL_AXIS',          # for "no axis": tensor/basic.py, extra_ops.py, subtensor.py
    r'\bPyInt_(\w+)|defined\(NPY_PY3K\)': lambda found: f'PyLong_{found[1]}' if found[1] else '1',     # lazylinker_c.c
}


def patch_compiler(cmodule):
    """Patch Theano's newly imported module gof.cmodule: compile its C++ with the replacements of C_CODE."""
    compile_str = cmodule.GCC_compiler.compile_str

    def compile_changed(module_name, src_code, *arguments, **settings):
        for old, new in C_CODE.items():
            src_code = re.sub(old, new, src_code)
        return compile_str(module_name, src_code, *arguments, **settings)

    cmodule.GCC_compiler.compile_str = staticmethod(compile_changed)


def patch(theano):
    """Fix bugs on every device. On OpenCL, also patch what does not run or is too slow."""
    rewrite(theano.scan_module.scan_op.Scan, 'execute', {
        # An output that keeps only its last rows is a ring buffer. At the end, scan moves the rows to their places.
        # With an odd number of rows, it would overwrite some of them before reading them.
        r'store_steps\[idx\] // 2': 'store_steps[idx] / 2',
        # scan compares addresses of outputs by `gpudata`, which exists on CUDA only.
        r'(\w+)\.gpudata': r'(\1.base_data, \1.offset)'})
    del theano.tensor.subtensor.AdvancedIncSubtensor1.c_code       # uses an iterator that NumPy no longer has
    softmax = theano.gpuarray.nnet.GpuCrossentropySoftmaxArgmax1HotWithBias
    softmax.gpu_kernels = _cross_entropy_kernels(softmax.gpu_kernels)
    if theano.config.device.startswith('opencl'):
        _opencl(theano.gpuarray.elemwise.GpuElemwise, theano.gpuarray.opt.gpu_optimizer)


def _cross_entropy_kernels(kernels):
    """Return gpu_kernels of the softmax with cross-entropy, changed so that OpenCL compiles it and the argmax is right.

    OpenCL requires shared memory to be declared at the head of a kernel, not inside a loop. For the argmax, each thread
    starts from the first number it reads, at index LID_0: Theano starts from 0, so that character 0 would always win.
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
    """Patch Theano's class of elementwise Ops and its graph optimizer for OpenCL."""
    # OpenCL has no nan(""), which T.maximum and T.minimum use, and no real numbers as conditions, which T.switch uses.
    rewrite(elemwise, '_generate_op_string', {'return support_code, kop': (
        """return support_code, __import__('re').sub(
            '= ([^ ]+) [?]', lambda found: f'= ({found.group(1)} != 0) ?', kop.replace('nan("")', 'NAN'))""")})
    # OpenCL compiles at each start, which takes most of the startup time. So nodes with the same kernel share it, and
    # its `nd` variants, for arrays with gaps, are compiled when they are first used.
    rewrite(elemwise, 'c_init_code_struct', {
        r'ge = (GpuElemwise_new\(.*?)%\(nd\)s, GE_CONVERT_F16\);':
            r'static GpuElemwise *shared = NULL; if (!shared) shared = \1 0, GE_CONVERT_F16); ge = shared;'})
    rewrite(elemwise, 'c_cleanup_code_struct', {r'GpuElemwise_free\(ge\);': ''})
    # libgpuarray compiles a kernel, which takes 30 ms, each time it sets memory to zero. Copy a zero instead.
    optimizer.remove_tags('local_gpualloc_memset_0', 'fast_run', 'gpuarray')
