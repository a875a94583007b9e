"""Compare cells and networks with the LSTM: what they cost, and how fast they train, beside PyTorch loops.

    python tests/benchmarks/cells.py costs FILE --results DIR [--cell FILE:CLASS [FILE:CLASS ...]]
    python tests/benchmarks/cells.py speed [--steps 15]

costs    validation costs on the last 10 % of a text, with the default recipe, of eleven cells or of your classes, with
         as many units as the LSTM, and then as many as give about as many parameters. Of three learning rates, the
         default, a third of it and, if that was better, a ninth, the best for seed 1 is taken for the other seeds.
         Prints means over the seeds with their standard deviations (sd), and mean differences to the LSTM of the same
         seed with their standard errors. DIR gets all runs in costs.csv, the curves of the best rates in costs.png. A
         finished run in DIR is only read, and another one is resumed; edited classes begin anew.
speed    2x128 units. All sides of a row take turns, each in a process of its own. They begin with the same parameters,
         and unless the costs of their first steps are those of the cell in NumPy, nothing is timed. PyTorch runs a loop
         over the steps of each layer, eagerly and with torch.compile of a step, which takes long before the first one.
"""
import argparse
import bisect
import csv
import functools
import hashlib
import inspect
import math
import time
import types
from pathlib import Path

import numpy as np

from common import ROOT, Worker, draw_curves, print_head, refuse_other_costs, table, trained, write_part
from training import RATE, STEPS, V, in_turns, make_batches, take_turns

UNITS, BATCH, RATES = 128, 50, (1, 1 / 3, 1 / 9)
COLUMNS = 'cell units parameters option_lrate random_seed best_valid_nats best_epoch epochs seconds run'.split()
# Each cell's class in engine/lesson/cells.py, or CharLSTM, and the name of its function in tests/cells.py.
CELLS = {'LSTM': ('CharLSTM', 'standard'), 'RNN': ('RNN', 'rnn'), 'GRU': ('GRU', 'gru'),
         'GRU of 2014': ('GRU2014', 'gru_2014'), 'minGRU': ('MinGRU', 'mingru'), 'sLSTM': ('SLSTM', 'slstm'),
         'multiplicative LSTM': ('MLSTM', 'mlstm'), 'LSTM, no forget gate': ('NoForgetGate', 'no_forget'),
         'LSTM, coupled gates': ('NoInputGate', 'coupled'), 'LSTM, peepholes': ('Peepholes', 'peephole'),
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
def model_of(name):
    """Return a model without parameters."""
    from charlstm import CharLSTM
    from engine.terminal import load_class
    return load_class(option_of(name), CharLSTM)(random_seed=1)


def parameters_of(name, units, V):
    """Return how many parameters a model has."""
    from engine.model.state import new_kinds
    return sum(math.prod(shape) for shape, _ in new_kinds(model_of(name), V, (units, units)).values())


def rows_of(V, units=UNITS, names=CELLS):
    """Yield name and units of each row: all with those units, then those with about as many parameters as the LSTM."""
    most, sizes = parameters_of('LSTM', units, V), range(1, 8 * units)
    yield from ((name, units) for name in names)
    for name in names:
        k = bisect.bisect_left(sizes, most, key=lambda n: parameters_of(name, n, V))
        nearest = min(sizes[max(0, k - 1):k + 1], key=lambda n: abs(parameters_of(name, n, V) - most))
        if nearest != units:
            yield name, nearest


# ---------------------------------------------------------------- costs

def code_of(name):
    """Return the first digits of the SHA-256 of the files of a class and of those that it derives from."""
    files = dict.fromkeys(map(inspect.getfile, type(model_of(name)).__mro__[:-1]))
    return hashlib.sha256(b''.join(Path(file).read_bytes() for file in files)).hexdigest()[:8]


def run(options, name, code, units, factor, seed):
    """Return the result of a run at the default rate times a factor. code: code_of the name at the start."""
    from engine.run.recipe import lrate
    if code_of(name) != code:
        raise ValueError(f'{name} was edited meanwhile: the same command trains it anew')
    title, folder = CELLS[name][1] if name in CELLS else name.rpartition(':')[2], options.results
    return trained(folder / 'train.txt', f'{title}-{code}-{units}-{options.epochs}epochs-rate{factor:.2g}-seed{seed}',
                   folder, '--valid', folder / 'valid.txt', '--epochs', options.epochs, '--num-units1', units,
                   '--lrate', factor * lrate([units]), '--random-seed', seed, '--batch-size', 50, '--seq-length', 50,
                   '--precision', 'float32', *(['--cell', option_of(name)] if option_of(name) else []))


def results_of(options, name, code, units):
    """Return the results of the runs of a row: those at its best rate, in the order of their seeds, and the others."""
    found = {}
    for factor in RATES:                                   # a lower one only if the last was better than the one before
        if len(found) < 2 or found[RATES[1]]['best_valid_nats'] < found[1]['best_valid_nats']:
            found[factor] = run(options, name, code, units, factor, 1)
    best = min(found, key=lambda factor: found[factor]['best_valid_nats'])
    first, seeds = found.pop(best), range(2, options.seeds + 1)
    return [first, *[run(options, name, code, units, best, seed) for seed in seeds], *found.values()]


def costs(options):
    """Train or read all runs, write their table and curves, and print the means."""
    from engine.data.text import read_string
    from quality import pieces
    print_head()
    names, parts = ['LSTM', *options.cell] if options.cell else [*CELLS], pieces(read_string(options.file)[0], (90,))
    codes = {name: code_of(name) for name in names}
    for name, part in zip(('train', 'valid'), parts):
        write_part(options.results / f'{name}.txt', part)
    rows = dict.fromkeys(rows_of(len(set(''.join(parts))), options.units, names))
    for name, units in reversed(rows):                     # the LSTM last, since a new class may have an error
        rows[name, units] = results_of(options, name, codes[name], units)
    write_costs(rows, options)
    print(f'{len(parts[0]):,} characters to train, {len(parts[1]):,} to validate; {options.epochs} epochs, '
          f'{options.seeds} seeds; costs in nats a character\n')
    print_costs(rows, options.seeds)
    print(f'\nall runs: {options.results / "costs.csv"}; curves: {options.results / "costs.png"}')


def write_costs(rows, options):
    """Write the table, of numbers of each result, and the picture. rows: what results_of returns, by name and units."""
    with open(options.results / 'costs.csv', 'w', encoding='utf-8', newline='') as f:
        writer = csv.DictWriter(f, COLUMNS, extrasaction='ignore')
        writer.writeheader()
        writer.writerows({**result, 'cell': name} for (name, _), results in rows.items() for result in results)
    names, curves = list(dict.fromkeys(name for name, _ in rows)), []
    for (name, units), results in rows.items():
        for seed, result in enumerate(results[:options.seeds], 1):
            log = options.results / f'{result["run"]}_train.txt_epochs.out'
            curves.append((*np.loadtxt(log, usecols=(0, 2), ndmin=2).T, dict(
                color=f'C{names.index(name) - 1}' if name != 'LSTM' else 'black', linewidth=0.8,
                linestyle='-' if units == options.units else '--',
                label=f'{name} 2x{units}' if seed == 1 else None)))
    draw_curves(options.results / 'costs.png', curves, xlabel='epochs', ylabel='validation cost, nats a character')


def print_costs(rows, seeds):
    """Print means over the seeds, and over their differences to the LSTM, as a table. rows: as in write_costs."""
    row = table(f'{"cell":>{max(len(name) for name, _ in rows)}}', 'units', 'parameters', '  nats', '    sd',
                'minus LSTM', 'standard error', '  rate')
    lstm, *_ = [[result['best_valid_nats'] for result in results[:seeds]] for results in rows.values()]
    for (name, units), results in rows.items():
        each = [result['best_valid_nats'] for result in results[:seeds]]
        difference = np.subtract(each, lstm)
        sd, error = np.std([each, difference], axis=1, ddof=1) if seeds > 1 else (math.nan, math.nan)
        row(name, f'2x{units}', f'{results[0]["parameters"]:,}', f'{np.mean(each):.4f}', f'{sd:.4f}',
            f'{difference.mean():+.4f}', f'{error / math.sqrt(seeds):.4f}', f'{results[0]["option_lrate"]:.3g}')


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


def make_pytorch(name, units, compiled=False):
    import numpy_model
    import torch
    from torch import nn
    batches, function = make_batches(BATCH), in_numpy(name)
    rows, states, cell_p = numpy_model.declared(function)
    G, of_U, of_W = numpy_model.row_counts(function)
    # The same formula with torch in place of NumPy. A row is a sequence here, and a column there.
    names = dict(__builtins__=__builtins__, np=torch, sigmoid=torch.sigmoid,       # the first for torch.compile
                 normalised=lambda a: nn.functional.layer_norm(a, a.shape[1:]))
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
    step = torch.compile(step) if compiled else step
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
    row = table('                cell', 'characters/s', f'of LSTM 2x{UNITS}', 'over PyTorch', 'over compiled',
                'seconds before training: ours', 'PyTorch', 'compiled')
    for name in CELLS:
        sides = {'LSTM': (make_ours, 'LSTM', UNITS), 'ours': (make_ours, name, UNITS),
                 'PyTorch': (make_pytorch, name, UNITS), 'compiled': (make_pytorch, name, UNITS, True)}
        workers, found, waited = {}, {}, {}
        for side, arguments in sides.items():
            start = time.perf_counter()
            workers[side] = Worker(*arguments)
            found[side], waited[side] = workers[side].ready(), time.perf_counter() - start
        del found['LSTM']
        refuse_other_costs(found)
        lstm, ours, *theirs = [seconds for seconds, _ in take_turns(workers, 1, options.steps).values()]
        row(name, f'{STEPS * BATCH / ours:,.0f}', f'{lstm / ours:.2f}',
            *[f'{each / ours:.2f}' for each in theirs], *[f'{waited[side]:.1f}' for side in found])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(metavar='COMMAND', required=True)
    add = commands.add_parser('costs', help='validation costs, beside the LSTM')
    add.set_defaults(function=costs)
    add.add_argument('file', metavar='FILE', type=Path, help='a text: the first 90 %% to train, the rest to validate')
    add.add_argument('--results', metavar='DIR', type=Path, required=True, help='folder of the texts and the runs')
    add.add_argument('--cell', metavar='FILE:CLASS', nargs='+', help='classes of your own, as for train.py')
    for name, number, text in (('--units', UNITS, 'of each of two layers'), ('--epochs', 15, 'of each run'),
                               ('--seeds', 3, 'number of runs at the best rate')):
        add.add_argument(name, type=int, metavar='N', default=number, help=f'{text} (default: %(default)s)')
    add = commands.add_parser('speed', help='characters a second, and over PyTorch')
    add.set_defaults(function=speed)
    add.add_argument('--steps', type=int, default=15, help='least number of timed steps (default: %(default)s)')
    options = parser.parse_args()
    try:
        options.function(options)
    except (ValueError, OSError) as error:
        parser.exit(2, f'cells.py: {error}\n')


if __name__ == '__main__':
    main()
