"""Measure training with your own cells, beside the standard cell and beside PyTorch loops over the same cells.

    python tests/benchmarks/cells.py [--units 256] [--steps 15] [--no-compile]

All sides take turns, each in a process of its own. They begin with the same parameters, and unless the costs of their
first steps agree, nothing is timed. PyTorch runs a loop over the steps of each layer, eager, and with
torch.compile of a step: the product with h, and the cell. Every number is from the median step.
"""
import argparse

from common import Worker, parameters, print_head, refuse_other_costs, set_parameters, table
from training import RATE, STEPS, V, in_turns, make_batches, take_turns

BATCH = 50
CELLS = ('standard', 'coupled', 'peepholes')


def make_ours(name, units):
    import cells
    import charlstm
    import numpy as np
    import numpy_model
    batches = make_batches(BATCH)
    model = charlstm.CharLSTM(random_seed=1)
    model.cell = dict(standard=charlstm.lstm_cell, coupled=cells.coupled_cell, peepholes=cells.peephole_cell)[name]
    model.cell_parameters = dict.fromkeys(cells.OWN, 0) if name == 'peepholes' else {}
    model.model_setup(char_dim=V, num_units1=units, num_units2=units, lrate=RATE)
    if 'by the C kernel' not in model.computes_on():
        raise SystemExit(f'the cell {name} does not run in C')
    p = set_parameters(model)
    in_numpy = dict(standard=numpy_model.lstm, coupled=cells.coupled_in_numpy, peepholes=cells.peephole_in_numpy)[name]
    own = cells.OWN if name == 'peepholes' else ()
    p.update({each + layer: np.zeros(units) for each in own for layer in '12'})
    x, y = next(make_batches(BATCH))
    expected = numpy_model.costs(numpy_model.forward(p, x, cell=in_numpy, own=own)[0], y).mean()
    refuse_other_costs({'NumPy': [expected], name: [model.theano_check(x, y)[0]]})
    return in_turns(lambda: model.theano_train_rmsprop(*next(batches))[0])


def torch_cell(a, C, *own, coupled):
    """Return h and C of a cell in PyTorch, from pre-activations a (B,4H), C (B,H) and peepholes, if any."""
    import torch
    a_f, a_i, a_o, a_g = a.chunk(4, 1)
    if own:
        a_f, a_i = a_f + own[0] * C, a_i + own[1] * C
    f = torch.sigmoid(a_f)
    C = f * C + (1 - f if coupled else torch.sigmoid(a_i)) * torch.tanh(a_g)
    return torch.sigmoid(a_o + own[2] * C if own else a_o) * torch.tanh(C), C


def make_pytorch(name, units, compiled):
    import torch
    from torch import nn
    batches = make_batches(BATCH)

    def step(a_x, h, C, W, *own):
        return torch_cell(torch.addmm(a_x, h, W), C, *own, coupled=name == 'coupled')
    step = torch.compile(step) if compiled else step
    p = {name: torch.from_numpy(array) for name, array in parameters(V, units).items()}

    class Layer(nn.Module):
        def __init__(self, k):
            super().__init__()
            self.U, self.W = [nn.Parameter(p[f'{name}{k}'].flatten(0, 1).T.contiguous()) for name in 'UW']     # (n, 4H)
            self.b = nn.Parameter(p[f'b{k}'].flatten())
            self.own = nn.ParameterList([nn.Parameter(torch.zeros(units)) for _ in range(3 * (name == 'peepholes'))])

        def forward(self, x):
            a = (self.U[x] if x.dtype == torch.int64 else x.matmul(self.U)) + self.b                # (T, B, 4H)
            h = C = torch.zeros(x.shape[1], units)
            outputs = []
            for a_x in a.unbind():
                h, C = step(a_x, h, C, self.W, *self.own)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--units', type=int, default=256)
    parser.add_argument('--steps', type=int, default=15, help='least number of timed steps (default: %(default)s)')
    parser.add_argument('--no-compile', dest='compile', action='store_false', help='leave out torch.compile')
    options = parser.parse_args()
    print_head('torch')
    sides = ['ours', 'eager'] + ['compiled'] * options.compile
    workers = {}
    for name in CELLS:
        workers[name, 'ours'] = Worker(make_ours, name, options.units)
        for side in sides[1:]:
            workers[name, side] = Worker(make_pytorch, name, options.units, side == 'compiled')
    for name in CELLS:
        refuse_other_costs({f'{name}, {side}': workers[name, side].ready() for side in sides})
    seconds = take_turns(workers, 1, options.steps)
    for worker in workers.values():
        worker.close()
    print(f'2x{options.units}, batch {BATCH} x {STEPS} characters, V = {V}')
    row = table('     cell', 'characters/s', 'of standard', *[f'over {side}' for side in sides[1:]])
    for name in CELLS:
        ours = seconds[name, 'ours']
        row(name, f'{STEPS * BATCH / ours:,.0f}', f'{seconds["standard", "ours"] / ours:.2f}',
            *[f'{seconds[name, side] / ours:.2f}' for side in sides[1:]])


if __name__ == '__main__':
    main()
