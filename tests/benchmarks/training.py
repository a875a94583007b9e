"""Measure training steps of CharLSTM, with the kernel and as a scan graph, beside PyTorch's nn.LSTM and RMSprop.

    python tests/benchmarks/training.py [--units 128 256] [--batches 50] [--steps 15] [--no-scan] [--bfloat16]
                                        [--text FILE]

All take turns, each in a separate process. They begin with the same parameters, and unless the
costs of their first steps agree, nothing is timed. --bfloat16 adds CharLSTM with that precision, and PyTorch with its
autocast to it. A turn has several steps, since
the first ones wake threads and caches. Every number is from the median step. The
share of the peak is 6 x the multiply-adds of one forward step, divided by the time
and by the speed of the fastest 2048-cubed product of the same run.
"""
import argparse
import itertools
import sys

from common import (ALPHABET, Peak, Worker, copy_to_torch, median, parameters, print_head, print_row,
                    refuse_other_costs, set_parameters, timed)

TURN, TURN_STEPS = 0.2, 3  # seconds and steps that a turn takes at least
TURNS = 5                  # of each, at least
STEPS = 49                 # T: characters read in a sequence of 50
COMPARED = 4               # steps of each side, whose costs are compared
RATE = 2e-4                # so low that rounding does not grow in these steps


def make_batches(batch, path):
    """Return V, and batches (x, y), each int (T,B), of a text or of random characters."""
    import numpy as np
    if path:
        with open(path, encoding='utf-8') as f:
            characters, codes = np.unique(np.array(list(f.read(1000000))), return_inverse=True)
        V = len(characters)
    else:
        V = len(ALPHABET)
        codes = np.random.default_rng(1).integers(V, size=4 * batch * (STEPS + 1))
    n = min(4, len(codes) // (batch * (STEPS + 1)))
    sequences = codes[:n * batch * (STEPS + 1)].reshape(n, batch, STEPS + 1).transpose(0, 2, 1)       # (n, T+1, B)
    return V, [(np.ascontiguousarray(s[:-1]), np.ascontiguousarray(s[1:])) for s in sequences]


def in_turns(step):
    """Return a function that returns the seconds of each step in a turn. Its attribute found: the first steps' costs.

    step: a function that returns a cost.
    """
    def turn():
        seconds = []
        while sum(seconds) < TURN or len(seconds) < TURN_STEPS:
            seconds += timed(step)
        return seconds
    turn.found = [step() for _ in range(COMPARED)]         # the first one also compiles
    return turn


def make_ours(kernel, units, batch, path, precision='float32'):
    import charlstm
    import numpy as np
    V, batches = make_batches(batch, path)
    model = charlstm.CharLSTM(random_seed=1, kernel=kernel, precision=precision)
    model.model_setup(char_dim=V, num_units1=units, num_units2=units, lrate=RATE)
    set_parameters(model)
    batches = itertools.cycle([(x.astype(np.int32), y.astype(np.int32)) for x, y in batches])
    return in_turns(lambda: model.theano_train_rmsprop(*next(batches))[0])


def make_pytorch(units, batch, path, autocast=False):
    import torch
    from torch import nn
    V, batches = make_batches(batch, path)
    batches = itertools.cycle([(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches])
    one_hot = nn.Embedding.from_pretrained(torch.eye(V))                           # frozen: only copies rows
    lstm, output = nn.LSTM(V, units, num_layers=2), nn.Linear(units, V)
    copy_to_torch(parameters(V, units), lstm, output)
    rule = torch.optim.RMSprop([*lstm.parameters(), *output.parameters()], lr=RATE, alpha=0.95, eps=1e-8)

    def step():
        x, y = next(batches)
        rule.zero_grad()
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
            h, _ = lstm(one_hot(x))                                                # (T, B, H)
            scores = output(h.flatten(0, 1))
        cost = nn.functional.cross_entropy(scores.float(), y.flatten())
        cost.backward()
        rule.step()
        return cost.item()
    return in_turns(step)


def measure(units, batch, options, without):
    """Return the median seconds and the peak memory of each, by name."""
    workers = {'ours': Worker(make_ours, True, units, batch, options.text, without=without),
               'PyTorch': Worker(make_pytorch, units, batch, options.text, without=without)}
    if options.bfloat16:
        workers['bfloat16'] = Worker(make_ours, True, units, batch, options.text, 'bfloat16', without=without)
        workers['PT bf16'] = Worker(make_pytorch, units, batch, options.text, True, without=without)
    if options.scan:
        workers['scan'] = Worker(make_ours, False, units, batch, options.text, without=without)
    refuse_other_costs({name: worker.ready() for name, worker in workers.items()})
    for worker in workers.values():
        worker()                                                                   # warms
    seconds, turns = {name: [] for name in workers}, 0
    while turns < TURNS or min(map(len, seconds.values())) < options.steps:
        turns += 1
        for name, worker in workers.items():
            seconds[name] += worker()
    return {name: (median(seconds[name]), worker.close()) for name, worker in workers.items()}


def multiply_adds(V, H):
    """Return the multiply-adds of one character forward: W1, U2, W2, the output; U1 is only looked up."""
    return 3 * 4 * H * H + V * H


def print_table(results, V, peak):
    """Print the table. results: (units, batch) to what measure returned."""
    names = list(next(iter(results.values())))
    others = names[1:]
    groups = [('', ['units', 'batch']), ('characters/s', names), ('ours over', others),
              ('share of the peak', names), ('peak memory, MB', names)]
    print_row(*[(title, 11 * len(columns) - 2) for title, columns in groups])
    print_row(*[(column, 9) for _, columns in groups for column in columns])
    for (units, batch), result in results.items():
        seconds = {name: result[name][0] for name in names}
        flops = 6 * multiply_adds(V, units) * STEPS * batch
        cells = [str(units), str(batch)]
        cells += ['{:,.0f}'.format(STEPS * batch / seconds[name]) for name in names]
        cells += ['{:.2f}'.format(seconds[name] / seconds['ours']) for name in others]
        cells += ['{:.2f}'.format(flops / seconds[name] / peak) for name in names]
        cells += ['{:,.0f}'.format(result[name][1] / 1e6) for name in names]
        print_row(*[(cell, 9) for cell in cells])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--units', type=int, nargs='+', default=[64, 128, 256, 512])
    parser.add_argument('--batches', type=int, nargs='+', default=[1, 50, 200])
    parser.add_argument('--steps', type=int, default=15, help='least number of timed steps (default: %(default)s)')
    parser.add_argument('--no-scan', dest='scan', action='store_false', help='leave out the scan graph')
    parser.add_argument('--bfloat16', action='store_true', help='add both sides with products in bfloat16')
    parser.add_argument('--text', metavar='FILE', help='text to learn (default: random characters)')
    options = parser.parse_args()
    print_head('torch')
    peak, results = Peak(), {}
    for units in options.units:
        peak.measure()
        for batch in options.batches:
            print('units {}, batch {} ...'.format(units, batch), file=sys.stderr)
            results[units, batch] = measure(units, batch, options, peak.numpys_environment())
    peak.measure()
    flops, line = peak.close()
    print_table(results, make_batches(1, options.text)[0], flops)
    print('\n' + line)


if __name__ == '__main__':
    main()
