"""Digests of a model's functions, by which a checkpoint knows its network, and a run what it minimises and how."""
import hashlib
import zlib

import numpy as np

from engine.backend.theano_setup import theano, tt
from engine.data.parameters import RECORDED, in_layers, map_state, named_state
from engine.kernel.cell import Counts
from engine.kernel.formula import Trace
from engine.kernel.scan import Scan, flat, state_symbols
from engine.methods import state
from engine.methods.state import REPLACEABLE, cell_of_model, functions, new_parameters
from engine.run import table

gof = theano.gof
# Digests of the functions of charlstm.py, which checkpoints leave out.
STANDARD = dict(
    layer='4063241ccc7760fbcb22aabb2cdd6e146b5b0a37b9e46067e8873280c6c1fd43',
    network='46c9cf967291a575654e88a6759b4d23d0b4255832a124d5f9dea662283c7230',
    objective='8b6f1ad6bdcc8cdaea73a2e03719e52892d67565f5c3b2f541ff712b710788e5',
    penalty='4a2a1f6e067742e200c778f38307bb507b09aa41aa4629f8b8c1252015ee17df',
    optimiser='4cfe9a3e0bd41002ef6d8ce7b7ccf64808a5cd5e2f3e58e580d92442c0a5d1c8')
OF_BASES = {}                  # by class: the code of charlstm.py, and digests of its functions by name
# Of what a function is made: a network's costs, unlike its predictions, are part of the objective.
PARTS = dict(network=('network', 'layer'), objective=('objective', 'network', 'layer'),
             optimiser=('optimiser', 'optimiser_state'))
# Learning parameters with which a step has all terms, whatever others there will be.
ALL_TERMS = {name: (zlib.crc32(name.encode()) % 63 + 1) / 64 for name in table.LEARNING} | {'bptt_maxdepth': 7}


def named(name, inputs, *ndims):
    """Return the outputs, of so many dimensions, of an operation that is only a name."""
    def operation():
        pass
    operation.__name__ = name
    inputs = list(map(tt.as_tensor_variable, inputs))
    outputs = [tt.TensorType(theano.config.floatX, ndim * [False]) for ndim in ndims]
    return theano.compile.ops.FromFunctionOp(operation, [v.type for v in inputs], outputs, None)(*inputs)


class Names(Scan):
    """Operations with a layer that is a name, and without the cell's own parameters: the same for each cell."""

    def __init__(self, name):
        self.own, self.name = (), name

    def layer(self, a_x, W, b, own, before, truncate):
        h, C, *last = named(f'{self.name} {truncate}', [a_x, W, b, *before, *own], 3, 3, 2, 2)
        return h, C, tuple(last)


def digest_of(outputs):
    """Return the SHA-256 of the graph of symbols: of its lines, in which values are the SHA-256 of theirs."""
    inputs = [v for v in gof.graph.inputs(outputs) if not isinstance(v, gof.Constant)]
    trace, known = Trace({v: f'input {v.name}{numbers_of(v)}' for v in inputs}, theano.config.floatX), {}

    def sha(name, values):
        texts = [str(np.float32(v)) if isinstance(v, float) else known.get(v, v) for v in values]
        return hashlib.sha256(f'{name}({", ".join(texts)})'.encode()).hexdigest()

    values = trace.add(outputs)
    for name, line in trace.lines.items():
        known[name] = sha(line[0], line[1:])
    return sha('', values)


def numbers_of(v):
    """Return a checksum of a user's shared variable, such as constants, as text; '' for symbols and random states."""
    if not isinstance(v, tt.sharedvar.TensorSharedVariable) or hasattr(v.tag, 'of_model') or 'float' not in v.dtype:
        return ''
    return f' {zlib.crc32(np.float32(v.get_value()).tobytes()):08x}'


def symbols_of(arrays, prefix=''):
    """Return shared variables by name for arrays by name, as in a model; their values do not matter."""
    symbols = {name: theano.shared(np.asarray(array, theano.config.floatX), prefix + name)
               for name, array in arrays.items()}
    for v in symbols.values():
        v.tag.of_model = True
    return symbols


# ---------------------------------------------------------------- what a function computes, as symbols
# p: arrays of the parameters by name. ops: a Names.

def layer(model, p, ops):
    def cell(inputs):
        return named('cell', inputs, 2, 2)
    cell.counts = Counts(4, 4, 4, 1, 0)                    # those of lstm_cell
    a_x, W, b, *before = [tt.TensorType(theano.config.floatX, ndim * [False])(each) for each, ndim in dict(
        a_x=3, W=3, b=2, h0=2, C0=2).items()]
    h, C, last = model.layer(a_x, W, b, [], before, 7, cell)
    return [h, C, *last]


def network(model, p, ops):
    x = tt.imatrix('x')
    outputs = model.network(x, x, state_symbols(p), symbols_of(p), ops)
    return [outputs.probabilities, *flat(outputs.states), *flat(outputs.after)]            # what it reads and writes


def objective(model, p, ops):
    (x, y), states = tt.imatrices('x', 'y'), state_symbols(p)
    masks = [tt.tensor3(f'mask {k}') for k, _ in enumerate(states)]
    weight_masks = symbols_of({name: array for name, array in p.items() if name[0] == 'W'}, 'mask ')
    return [model.objective(x, y, states, tt.matrix('cost_weights'), masks, weight_masks, symbols_of(p), ops, ALL_TERMS,
                            model.network)[0]]


def penalty(model, p, ops):
    return [tt.as_tensor_variable(model.penalty([*symbols_of(p).values()], 0.25, 0.75))]


def optimiser(model, p, ops):
    initial = model.optimiser_state(list(p.values()))
    symbols = iter(symbols_of(named_state(initial, p), 'before ').values())
    state = map_state(lambda value: next(symbols), initial)
    gradients, parameters, averages = [[*symbols_of(p, prefix).values()] for prefix in ('gradient ', '', 'average ')]
    _, *new, state = model.symbols.update(
        gradients, tt.scalar('size'), parameters, averages, tt.scalar('weight'), state, tt.scalar('lrate'), ALL_TERMS,
        model.optimiser, ops, lambda *arguments: 0)
    return list(map(tt.as_tensor_variable, [*flat(new), *named_state(state, p).values()]))


# ---------------------------------------------------------------- digests

def digest(model, name, sizes=None):
    """Return the digest of a function of a model, a name of STANDARD. sizes: V and units; None: those of the model.

    It is that of the graphs for small models of one, two and three layers, before Theano simplifies anything. So it is
    the same for all sizes and types, and for each cell. A class that has none of these models is computed with `sizes`.
    """
    made, own = functions(model).digests, cell_of_model(model).own
    key = name, sizes and tuple(sizes[1])
    if key in made:
        return made[key]
    of_layer = 'layer' if name == 'layer' or is_standard(model, 'layer') else digest(model, 'layer')

    def graphs(V, units):
        p = new_parameters(model, V, units, 'original', np.random.default_rng(0))
        if name in ('penalty', 'optimiser'):               # which treat all parameters, of each cell
            p = {each: array for each, array in p.items() if each not in in_layers(own, len(units))}
        return digest_of(globals()[name](model, p, Names(of_layer)))

    found, errors = [], []
    for layers in (1,) if name == 'layer' else (1, 2, 3):
        try:
            found.append(graphs(30, layers * (24,)))
        except Exception as error:                         # a class may need another number of layers
            found.append(type(error).__name__)
            errors.append(error)
    if len(errors) == len(found) and name != 'layer':      # a layer may need the rows of its own cell
        if not (sizes or model.p):
            raise errors[-1]
        found = [graphs(*sizes or (state.vocabulary_size(model), state.sizes(model)))]
    made[key] = hashlib.sha256(' '.join(found).encode()).hexdigest()
    return made[key]


def digest_of_base(model, name):
    """Return the digest of a function of the model's charlstm.py, which is computed once."""
    base, code = model.symbols.CharLSTM, functions(model).sources[0][len(REPLACEABLE):]
    if OF_BASES.get(base, [None])[0] != code:
        OF_BASES[base] = code, {}
    digests = OF_BASES[base][1]
    if name not in digests:
        plain = base()
        functions(plain).cell = cell_of_model(model)
        digests[name] = digest(plain, name)
    return digests[name]


def is_standard(model, name, sizes=None):
    """Return whether a function of a model computes what that of charlstm.py does, as published."""
    if all(getattr(model, part) is getattr(model.symbols.CharLSTM, part) for part in PARTS.get(name, [name])):
        return digest_of_base(model, name) == STANDARD[name]
    return digest(model, name, sizes) == STANDARD[name]


def record(model, sizes=None, names=RECORDED):
    """Return the digests of the functions that are not the standard ones, by name. sizes: as for digest."""
    return {name: digest(model, name, sizes) for name in names if not is_standard(model, name, sizes)}
