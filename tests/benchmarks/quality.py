"""Measure how good the models get. Costs are nats a character; NOVEL is text_input/prideandprejudice.txt.

    python tests/benchmarks/quality.py peers NOVEL --epochs 10 --seeds 3
    python tests/benchmarks/quality.py recipes NOVEL --results DIR
    python tests/benchmarks/quality.py published NAME FILE [FILE ...] --results DIR
    python tests/benchmarks/quality.py beginnings NOVEL PARAMS [PARAMS ...]

peers      CharLSTM and PyTorch, trained the same way on the same batches: the full-validation cost after epochs 1,
           3, 10 and the best, of each seed and the means. PyTorch begins with the same initial values, and has one
           bias a gate as CharLSTM has.
recipes    runs of train.py, by the table ROWS in recipes.py: the best full-validation cost (mean over the seeds,
           and each), its epoch, and the median training speed of an epoch. DIR gets texts, logs and checkpoints. A
           finished run in DIR is only read, and an unfinished one is resumed, so Ctrl-C loses nothing. All rows
           together take about half a day on two cores.
published  runs of train.py on a published split, by the table SPLITS in published.py: their costs beside the published
           ones. FILE is the text, which the command does not fetch: --list says where it is from. DIR is as for
           recipes and gets the parts as well.
beginnings the cost of the 20 characters after the first of a text, from zero states, for each checkpoint. Of those
           in DIR, novel-256-seed1_*_best.npz was trained with some beginnings, by resets, and
           novel-256-no-stateful-seed1_*_best.npz only with beginnings.
"""
import argparse
import sys
from pathlib import Path

from common import copy_to_torch, print_head
from published import SPLITS, published
from recipes import recipes

from charlstm import CharLSTM, mean_cost
from engine.run import table

import numpy as np

SHOWN = (1, 3, 10)      # epochs


# ---------------------------------------------------------------- peers

def ours(options, seed):
    """Yield the validation cost after each epoch of CharLSTM."""
    model = CharLSTM(random_seed=seed)
    model.prepare_input(options.novel, verbose=False, stateful=not options.plain)
    model.model_setup(num_units1=options.units, num_units2=options.units)
    for _ in range(options.epochs):
        model.reset_states()
        for x, y in zip(model.X['train'], model.Y['train']):
            model.theano_train_rmsprop(x, y)
        yield model.validate()


def pytorch(options, seed):
    """Yield the validation cost after each epoch of nn.LSTM and RMSprop."""
    import torch
    from torch import nn
    torch.manual_seed(seed)
    text = CharLSTM(random_seed=seed)
    text.prepare_input(options.novel, verbose=False, stateful=not options.plain)
    V, H = len(text.uchar), options.units
    lstm, out = nn.LSTM(V, H, num_layers=2), nn.Linear(H, V)
    if not options.torch_init:
        text.model_setup(num_units1=H, num_units2=H)
        copy_to_torch({name: value.get_value() for name, value in text.p.items()}, lstm, out)
    parameters = list(lstm.parameters()) + list(out.parameters())
    rmsprop = torch.optim.RMSprop(parameters, lr=2e-3, alpha=0.95, eps=1e-8)
    one_hot = torch.eye(V)

    def cost(x, y, state):
        h, state = lstm(one_hot[torch.from_numpy(x).long()], None if options.plain else state)
        costs = nn.functional.cross_entropy(out(h).flatten(0, 1), torch.from_numpy(y).long().flatten())
        return costs, tuple(s.detach() for s in state)

    for _ in range(options.epochs):
        state = None
        for x, y in zip(text.X['train'], text.Y['train']):
            rmsprop.zero_grad()
            value, state = cost(x, y, state)
            value.backward()
            rmsprop.step()
        state, total, characters = None, 0.0, 0
        with torch.no_grad():
            for x, y in zip(text.X['valid'], text.Y['valid']):
                value, state = cost(x, y, state)
                total, characters = total + float(value) * y.size, characters + y.size
        yield total / characters


def print_costs(name, costs):
    """Print a line: the costs after the epochs of SHOWN, and the best."""
    shown = [f'{costs[n - 1]:8.4f}' if n <= len(costs) else 8 * ' ' for n in SHOWN]
    best = min(costs)
    print('{:24} {} {:8.4f} (epoch {})'.format(name, ' '.join(shown), best, costs.index(best) + 1), flush=True)


def peers(options):
    """Train both sides, one seed after the other, and print their costs."""
    print_head(*['torch'] * (not options.no_torch))
    print('2x{} units, batch 50, 50 characters, rate 2e-3, {}'.format(
        options.units, 'zero states for each batch' if options.plain else 'states carried'))
    print('{:24} {}     best'.format('after epoch', ' '.join(f'{n:8}' for n in SHOWN)))
    for name, train in (('CharLSTM', ours), ('PyTorch', pytorch))[:1 if options.no_torch else 2]:
        runs = []
        for seed in range(1, options.seeds + 1):
            runs.append(list(train(options, seed)))
            print_costs(f'{name}, seed {seed}', runs[-1])
        print_costs(f'{name}, mean', [sum(costs) / len(costs) for costs in zip(*runs)])


# ---------------------------------------------------------------- beginnings

PREDICTED, BATCH = 20, 500      # characters of a beginning; beginnings at a time, to bound memory


def beginnings(options):
    """Print for each checkpoint the cost of beginnings: of all pieces of 21 characters in the novel's last 30 %."""
    model = CharLSTM()
    model.prepare_input(options.novel, 0.3, batch_size=1, seq_length=PREDICTED + 1, verbose=False)
    for path in options.params:
        model.model_setup(path)                # numbers the characters anew, as that model does
        x, y = [np.concatenate(side['valid'], axis=1) for side in (model.X, model.Y)]        # (20, pieces)
        print(f'{mean_cost(piece_costs(model, x, y)):.4f}  {path}', flush=True)


def piece_costs(model, x, y):
    """Yield the mean cost and the number of characters of each batch of pieces; x, y: (T, pieces)."""
    for start in range(0, x.shape[1], BATCH):
        batch = np.s_[:, start:start + BATCH]
        yield float(model.theano_check(x[batch], y[batch])[0]), y[batch].size


# ---------------------------------------------------------------- the command line

def build_parser():
    """Return the parser, with a subcommand for each of the four functions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(metavar='COMMAND', required=True)
    add = commands.add_parser('peers', help='CharLSTM and PyTorch on the same batches')
    add.set_defaults(function=peers)
    add.add_argument('novel', metavar='NOVEL', help='the text to learn')
    add.add_argument('--units', type=int, default=128, help='of each layer (default: %(default)s)')
    add.add_argument('--epochs', type=int, default=10, help='times to read the text (default: %(default)s)')
    add.add_argument('--seeds', type=int, default=3, help='runs of each side (default: %(default)s)')
    add.add_argument('--plain', action='store_true', help='start each batch from zero states, as the original does')
    add.add_argument('--no-torch', action='store_true', help='leave PyTorch out')
    add.add_argument('--torch-init', action='store_true', help='let PyTorch have its own initial values')
    add = commands.add_parser('recipes', help='runs of train.py')
    add.set_defaults(function=recipes)
    add.add_argument('novel', metavar='NOVEL', type=Path, help='the novel')
    add.add_argument('--results', metavar='DIR', type=Path, required=True, help='folder of the runs')
    add.add_argument('--only', metavar='PATTERN', default='*', help='only rows with such names, as "novel-*"')
    add.add_argument('--epochs', type=int, help='at most this many, for a quick look with a separate DIR')
    add.add_argument('--list', action='store_true', help='only print the rows and the commands that are still to run')
    add = commands.add_parser('published', help='runs of train.py on published splits')
    add.set_defaults(function=published)
    add.add_argument('name', metavar='NAME', nargs='?', choices=SPLITS, help=f'one of {", ".join(SPLITS)}')
    add.add_argument('files', metavar='FILE', nargs='*', type=Path, help='the text, or its parts, as published')
    add.add_argument('--results', metavar='DIR', type=Path, help='folder of the parts and the runs')
    add.add_argument('--only', metavar='PATTERN', default='*', help='only rows with such names, as "*-256"')
    add.add_argument('--epochs', type=int, help='at most this many')
    add.add_argument('--seeds', type=int, default=1, help='runs of each row (default: %(default)s)')
    add.add_argument('--precision', choices=table.ROWS['precision'].kind, default=table.DEFAULTS['precision'],
                     help='as of train.py (default: %(default)s)')
    add.add_argument('--list', action='store_true', help='only print what is published, where the text is from, and '
                                                         'the commands')
    add = commands.add_parser('beginnings', help='costs of the first 20 characters from zero states')
    add.set_defaults(function=beginnings)
    add.add_argument('novel', metavar='NOVEL', help='the novel, whose last 30 %% are read')
    add.add_argument('params', metavar='PARAMS', nargs='+', help='checkpoints')
    return parser


if __name__ == '__main__':
    arguments = build_parser().parse_args()
    sys.exit(arguments.function(arguments))
