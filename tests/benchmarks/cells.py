"""Compare cells: what they cost on tiny Shakespeare, and how fast they train, beside PyTorch loops over the same cells.

    python tests/benchmarks/cells.py costs FILE --results DIR [--cell FILE:CLASS]
    python tests/benchmarks/cells.py speed [--steps 15]

Each cell has as many units as the standard one, 2x128, and then as many as give about as many parameters.

costs    validation costs on nanoGPT's split of FILE after 15 epochs with the default recipe. Of three learning rates,
         the default, a third of it and, if that was better, a ninth, the best for seed 1 is taken for two more seeds. A
         finished run in DIR is only read, and another one is resumed. --cell: the rows of this class alone.
speed    all sides of a row take turns, each in a process of its own. They begin with the same parameters, and unless
         the costs of their first steps are those of the cell in NumPy, nothing is timed. PyTorch runs an eager loop
         over the steps of each layer.
"""
import argparse
import functools
import math
import types
from pathlib import Path

from common import ROOT, Worker, print_head, refuse_other_costs, table, trained
from training import RATE, STEPS, V, in_turns, make_batches, take_turns

UNITS, BATCH, EPOCHS, RATES, SEEDS = 128, 50, 15, (1, 1 / 3, 1 / 9), (1, 2, 3)
# Each cell's class in engine/lesson/cells.py, or CharLSTM, and the name of its function in tests/cells.py.
CELLS = {'RNN': ('RNN', 'rnn'), 'GRU': ('GRU', 'gru'), 'minGRU': ('MinGRU', 'mingru'),
         'LSTM, no forget gate': ('NoForgetGate', 'no_forget'), 'LSTM, coupled gates': ('NoInputGate', 'coupled'),
         'LSTM': ('CharLSTM', 'standard'), 'LSTM, peepholes': ('Peepholes', 'peephole'), 'sLSTM': ('SLSTM', 'slstm'),
         'GRU of 2014': ('GRU2014', 'gru_2014'), 'mLSTM': ('MLSTM', 'mlstm'),
         'LSTM, normalised': ('Normalised', 'normalised')}


def in_numpy(name):
    """Return the cell as a function of NumPy."""
    import cells
    return getattr(cells, f'{CELLS[name][1]}_in_numpy')


def option_of(name):
    """Return what --cell of train.py takes for a cell of CELLS or a FILE:CLASS; None for the standard cell."""
    if name == 'LSTM':
        return None
    return f'{ROOT}/engine/lesson/cells.py:{CELLS[name][0]}' if name in CELLS else name


@functools.cache
def cell_of(name):
    """Return the Cell."""
    from charlstm import CharLSTM
    from engine.graph.cell import Cell
    from engine.terminal import load_class
    return Cell(load_class(option_of(name), CharLSTM).cell, 'float32')


def parameters_of(name, units, V):
    """Return how many parameters a model has."""
    from engine.data.parameters import parameter_shapes
    shapes = parameter_shapes(V, (units, units), cell_of(name).counts.rows, cell_of(name).parameters)
    return sum(map(math.prod, shapes.values()))


def rows_of(V, names=CELLS):
    """Yield name, units and number of parameters of each row: all with UNITS, then those with as many parameters."""
    most = parameters_of('LSTM', UNITS, V)
    for name in names:
        yield name, UNITS, parameters_of(name, UNITS, V)
    for name in names:
        units = min(range(64, 512), key=lambda units: abs(parameters_of(name, units, V) - most))
        if units != UNITS:
            yield name, units, parameters_of(name, units, V)


# ---------------------------------------------------------------- costs

def costs(options):
    """Train or read all runs, and print the table."""
    from engine.run.recipe import lrate
    from quality import SPLITS, cut
    print_head()
    parts = cut(SPLITS['shakespeare'], [options.file])
    options.results.mkdir(parents=True, exist_ok=True)
    paths = [options.results / f'{name}.txt' for name in ('train', 'valid')]
    for part, path in zip(parts, paths):
        path.write_text(part.text, encoding='utf-8', newline='')

    def run(name, units, factor, seed):
        """Return the best validation cost of a run, in nats."""
        title = CELLS[name][1] if name in CELLS else name.rpartition(':')[2]
        result = trained(paths[0], f'{title}-{units}-rate{factor:.2g}-seed{seed}', options.results, '--valid',
                         paths[1], '--epochs', EPOCHS, '--num-units1', units, '--lrate', factor * lrate([units]),
                         '--random-seed', seed, '--batch-size', 50, '--seq-length', 50,
                         *(['--cell', option_of(name)] if option_of(name) else []))
        return result['best_valid_nats']

    row = table('                cell', 'units', 'parameters', '  nats', 'rate', '                each seed')
    V = len(set(''.join(part.text for part in parts)))
    for name, units, count in rows_of(V, [options.cell] if options.cell else CELLS):
        first = {}
        for factor in RATES:                               # a lower one only if the last was better than the one before
            if len(first) < 2 or min(first, key=first.get) == [*first][-1]:
                first[factor] = run(name, units, factor, SEEDS[0])
        factor = min(first, key=first.get)
        each = [first[factor], *[run(name, units, factor, seed) for seed in SEEDS[1:]]]
        row(name, f'2x{units}', f'{count:,}', f'{sum(each) / len(each):.4f}', f'{factor * lrate([units]):.3g}',
            ', '.join(f'{cost:.4f}' for cost in each))


# ---------------------------------------------------------------- speed

def parameters(name, units):
    """Return the float32 parameters by name with which all sides start."""
    import numpy_model
    return numpy_model.lively_parameters(1, V, units, units, in_numpy(name))


def make_ours(name, units):
    import numpy_model
    from engine.lesson import cells
    batches, p = make_batches(BATCH), parameters(name, units)
    model = getattr(cells, CELLS[name][0])(random_seed=1)
    model.model_setup(char_dim=V, num_units1=units, num_units2=units, lrate=RATE)
    if 'by the C kernel' not in model.computes_on():
        raise SystemExit(f'the cell {name} does not run in C')
    for each, array in p.items():
        model.p[each].set_value(array)
    x, y = next(make_batches(BATCH))
    expected = numpy_model.costs(numpy_model.forward(p, x, cell=in_numpy(name))[0], y).mean()
    refuse_other_costs({'NumPy': [expected], name: [model.theano_check(x, y)[0]]})
    return in_turns(lambda: model.theano_train_rmsprop(*next(batches))[0])


def make_pytorch(name, units):
    import numpy_model
    import torch
    from torch import nn
    batches, function = make_batches(BATCH), in_numpy(name)
    rows, states, cell_p = numpy_model.declared(function)
    G, of_U, of_W = numpy_model.row_counts(function)
    # The same formula with torch in place of NumPy. A row is a sequence here, and a column there.
    names = dict(np=torch, sigmoid=torch.sigmoid, normalised=lambda a: nn.functional.layer_norm(a, a.shape[1:]))
    cell = types.FunctionType(function.__code__, names, None,
                              (lambda value, state='C': value,))

    def product(M):
        return lambda vector: torch.mm(vector, M)

    def step(a_x, h, W, b, before, *values):
        a_h = [0] * (G - of_W) + list(torch.mm(h, W).chunk(of_W, 1) if of_W else ())
        of_x = [*a_x.chunk(of_U, 1), *b[of_U:]]
        arguments = dict(zip(rows, [x + h for x, h in zip(of_x, a_h)]))
        arguments.update(zip(cell_p, [product(v) if v.ndim == 2 else v for v in values]))
        h, *after = cell(**arguments, **{f'{state}_prev': value for state, value in zip(states, before)})
        return h, after
    p = {each: torch.from_numpy(array) for each, array in parameters(name, units).items()}

    class Layer(nn.Module):
        def __init__(self, k):
            super().__init__()
            self.U, self.W = [nn.Parameter(p[f'{each}{k}'].flatten(0, 1).T.contiguous()) for each in 'UW']     # (n, GH)
            self.b = nn.Parameter(p[f'b{k}'])
            self.cell_p = nn.ParameterList([nn.Parameter(p[f'{each}{k}']) for each in cell_p])

        def forward(self, x):
            of_x = self.U[x] if x.dtype == torch.int64 else x.matmul(self.U)
            a = of_x + self.b[:of_U].flatten()                                     # (T, B, UH)
            h, *after = [torch.zeros(x.shape[1], units) for _ in range(1 + len(states))]
            outputs = []
            for a_x in a.unbind():
                h, after = step(a_x, h, self.W, self.b, after, *self.cell_p)
                outputs.append(h)
            return torch.stack(outputs)

    output = nn.Linear(units, V)
    with torch.no_grad():
        output.weight.copy_(p['V'])
        output.bias.copy_(p['c'])
    model = nn.Sequential(Layer(1), Layer(2), output)
    rule = torch.optim.RMSprop(model.parameters(), lr=RATE, alpha=0.95, eps=1e-8)

    def learn():
        x, y = map(torch.from_numpy, next(batches))
        rule.zero_grad()
        cost = nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
        cost.backward()
        rule.step()
        return cost.item()
    return in_turns(learn)


def speed(options):
    """Time all sides of each row, and print the table."""
    print_head('torch')
    print(f'batch {BATCH} x {STEPS} characters, V = {V}')
    row = table('                cell', 'units', 'characters/s', f'of LSTM 2x{UNITS}', 'over PyTorch')
    for name, units, _ in rows_of(V):
        workers = {'LSTM': Worker(make_ours, 'LSTM', UNITS), 'ours': Worker(make_ours, name, units),
                   'PyTorch': Worker(make_pytorch, name, units)}
        found = {side: worker.ready() for side, worker in workers.items()}
        refuse_other_costs({f'{name}, {side}': found[side] for side in ('ours', 'PyTorch')})
        (lstm, _), (ours, _), (pytorch, _) = take_turns(workers, 1, options.steps).values()
        row(name, f'2x{units}', f'{STEPS * BATCH / ours:,.0f}', f'{lstm / ours:.2f}', f'{pytorch / ours:.2f}')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(metavar='COMMAND', required=True)
    add = commands.add_parser('costs', help='validation costs on tiny Shakespeare')
    add.set_defaults(function=costs)
    add.add_argument('file', metavar='FILE', type=Path, help='tiny Shakespeare')
    add.add_argument('--results', metavar='DIR', type=Path, required=True, help='folder of the texts and the runs')
    add.add_argument('--cell', metavar='FILE:CLASS', help='a class of your own, as for train.py')
    add = commands.add_parser('speed', help='characters a second, and over PyTorch')
    add.set_defaults(function=speed)
    add.add_argument('--steps', type=int, default=15, help='least number of timed steps (default: %(default)s)')
    options = parser.parse_args()
    options.function(options)


if __name__ == '__main__':
    main()
