"""C code for elementwise formulas that is the same for arrays of any number of dimensions.

Theano writes nested loops, which it compiles again for each number of dimensions. The code below uses one loop if all
arrays are contiguous, and NumPy's iterator otherwise.
"""

WORTH_THREADS = 20_000     # numbers in an array: with fewer, waking another thread takes longer than it saves


def _has_any_shape(op, node):
    """Return whether _formula can compute an Elemwise: all arrays have the same shape or are a single number."""
    kinds = [v.type.broadcastable for v in node.inputs + node.outputs]
    types_in_c = not any(v.type.dtype.startswith(('float16', 'complex')) for v in node.inputs + node.outputs)
    return types_in_c and not op.openmp and all(all(kind) or not any(kind) for kind in kinds) and not any(
        any(kind) for kind in kinds[len(node.inputs):])


def _loop(count, names, kinds, address, task):
    """Return C for a loop over the elements of arrays. address: a format for the address of element i of array k."""
    lines = ' '.join(f'{kind} &{name}_i = *({kind} *)({address.format(k=k, name=name)});'
                     for k, (name, kind) in enumerate(zip(names, kinds)))
    return f'for (npy_intp i = 0; i < {count}; i++) {{ {lines} {task} }}'


def _formula(op, node, name, inputs, outputs, sub):
    """Return the C code of an Elemwise. Its text does not depend on the number of dimensions."""
    if not hasattr(node.tag, 'fake_node'):
        op.prepare_node(node, None, None, 'c')
    types = {v: var.type for v, var in zip([*inputs, *outputs], [*node.inputs, *node.outputs])}
    numbers = [v for v in dict.fromkeys(inputs) if any(types[v].broadcastable)]
    same = {outputs[o]: inputs[i] for o, i in op.inplace_pattern.items()}      # output to the input that it overwrites
    own = [v for v in outputs if v not in same]
    arrays = [v for v in dict.fromkeys(inputs) if v not in numbers] + own
    first, kinds, fail = arrays[0], [f'npy_{types[v].dtype}' for v in arrays], sub['fail']
    task = op.scalar_op.c_code(node.tag.fake_node, name + '_scalar_', [v + '_i' for v in inputs],
                               [v + '_i' for v in outputs], sub)
    task = ' '.join([f'npy_{types[o].dtype} &{o}_i = {i}_i;' for o, i in same.items()] + [task])
    same_shape = ' && '.join(f'PyArray_SAMESHAPE({first}, {v})' for v in arrays[1:] if v not in own) or '1'
    allocate = ''.join(f'''
        if (!{v} || !PyArray_SAMESHAPE({first}, {v})) {{
            Py_XDECREF({v});
            {v} = (PyArrayObject *)PyArray_NewLikeArray({first}, NPY_KEEPORDER, PyArray_DescrFromType(
                NPY_{types[v].dtype.upper()}), 0);
            if (!{v}) {fail}
        }}''' for v in own)
    allocate += ''.join(f'Py_XDECREF({o}); {o} = {i}; Py_INCREF({o});' for o, i in same.items())
    constants = ' '.join(f'const npy_{types[v].dtype} {v}_i = *(npy_{types[v].dtype} *)PyArray_DATA({v});'
                         for v in numbers)
    adjacent = [' && '.join(f'PyArray_IS_{order}_CONTIGUOUS({v})' for v in arrays) for order in 'CF']
    access = ', '.join('NPY_ITER_WRITEONLY' if v in own else 'NPY_ITER_READWRITE' if v in same.values() else
                       'NPY_ITER_READONLY' for v in arrays)
    # A task that may fail leaves the loop by goto, which threads may not.
    parallel = '' if 'goto' in task else f'_Pragma("omp parallel for simd if(n > {WORTH_THREADS})")'
    pointers = ' '.join(f'{kind} *{v}_at = ({kind} *)PyArray_DATA({v});' for v, kind in zip(arrays, kinds))
    return f'''
    if (!({same_shape})) {{
        PyErr_SetString(PyExc_ValueError, "Input dimension mis-match: the arrays of an elementwise operation have "
                        "different shapes");
        {fail}
    }}
    {allocate}
    {{
        {constants}
        if (({adjacent[0]}) || ({adjacent[1]})) {{
            const npy_intp n = PyArray_SIZE({first});
            {pointers}
            {parallel} {_loop('n', arrays, kinds, '{name}_at + i', task)}
        }} else {{
            PyArrayObject *arrays[] = {{{', '.join(arrays)}}};
            npy_uint32 access[] = {{{access}}};
            NpyIter *iterator = NpyIter_MultiNew({len(arrays)}, arrays, NPY_ITER_EXTERNAL_LOOP | NPY_ITER_ZEROSIZE_OK,
                                                 NPY_KEEPORDER, NPY_NO_CASTING, access, NULL);
            if (!iterator) {fail}
            if (NpyIter_GetIterSize(iterator)) {{
                NpyIter_IterNextFunc *next = NpyIter_GetIterNext(iterator, NULL);
                char **at = NpyIter_GetDataPtrArray(iterator);
                const npy_intp *stride = NpyIter_GetInnerStrideArray(iterator);
                const npy_intp *n = NpyIter_GetInnerLoopSizePtr(iterator);
                do {{ {_loop('*n', arrays, kinds, 'at[{k}] + i * stride[{k}]', task)} }} while (next(iterator));
            }}
            NpyIter_Deallocate(iterator);
        }}
    }}'''


def install(elemwise):
    """Patch the class Elemwise in Theano's module tensor.elemwise to use this code if it can."""
    c_code = elemwise.Elemwise.c_code

    def of_any_shape(self, node, *arguments):
        return (_formula if _has_any_shape(self, node) else c_code)(self, node, *arguments)

    elemwise.Elemwise.c_code = of_any_shape
