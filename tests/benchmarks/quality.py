"""Measure how good the models get. Costs are nats a character; NOVEL is text_input/prideandprejudice.txt.

    python tests/benchmarks/quality.py peers NOVEL --epochs 10 --seeds 3
    python tests/benchmarks/quality.py recipes NOVEL --results DIR
    python tests/benchmarks/quality.py published NAME FILE [FILE ...] --results DIR

peers      CharLSTM and PyTorch, from the same initial values on the same batches: the full-validation cost after
           epochs 1, 3, 10 and the best, of each seed and the means
recipes    runs of train.py, by the table ROWS: the best full-validation cost (mean over the seeds, and each) and its
           epoch. DIR gets texts, logs and checkpoints.
published  runs of train.py on a published split, by SPLITS in published.py: their costs beside the published ones.
           FILE is the text, which the command does not fetch: --list says where it is from.

A finished run in DIR is only read, and another one is resumed, so Ctrl-C loses nothing.
"""
import argparse
import os
import sys
import sysconfig
from fnmatch import fnmatchcase
from pathlib import Path

from common import ROOT, copy_to_torch, print_head, trained
from published import SPLITS, published

SHOWN = (1, 3, 10)      # epochs


# ---------------------------------------------------------------- peers

def ours(options, seed):
    """Yield the validation cost after each epoch of CharLSTM."""
    from charlstm import CharLSTM
    model = CharLSTM(random_seed=seed)
    model.prepare_input(options.novel, verbose=False, stateful=True)
    model.model_setup(num_units1=options.units, num_units2=options.units)
    for _ in range(options.epochs):
        model.reset_states()
        for x, y in zip(model.X['train'], model.Y['train']):
            model.theano_train_rmsprop(x, y)
        yield model.validate()


def pytorch(options, seed):
    """Yield the validation cost after each epoch of nn.LSTM and RMSprop."""
    import torch
    from charlstm import CharLSTM
    from torch import nn
    text = CharLSTM(random_seed=seed)
    text.prepare_input(options.novel, verbose=False, stateful=True)
    V, H = len(text.uchar), options.units
    text.model_setup(num_units1=H, num_units2=H)
    lstm, out = nn.LSTM(V, H, num_layers=2), nn.Linear(H, V)
    copy_to_torch({name: value.get_value() for name, value in text.p.items()}, lstm, out)
    parameters = list(lstm.parameters()) + list(out.parameters())
    rmsprop = torch.optim.RMSprop(parameters, lr=2e-3, alpha=0.95, eps=1e-8)
    one_hot = torch.eye(V)

    def cost(x, y, state):
        h, state = lstm(one_hot[torch.from_numpy(x).long()], state)
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
    print(f'{name:24} {" ".join(shown)} {best:8.4f} (epoch {costs.index(best) + 1})', flush=True)


def peers(options):
    """Train both sides, one seed after the other, and print their costs."""
    print_head('torch')
    print(f'2x{options.units} units, batch 50, 50 characters, rate 2e-3')
    print(f'{"after epoch":24} {" ".join(f"{n:8}" for n in SHOWN)}     best')
    for name, train in (('CharLSTM', ours), ('PyTorch', pytorch)):
        runs = []
        for seed in range(1, options.seeds + 1):
            runs.append(list(train(options, seed)))
            print_costs(f'{name}, seed {seed}', runs[-1])
        print_costs(f'{name}, mean', [sum(costs) / len(costs) for costs in zip(*runs)])


# ---------------------------------------------------------------- recipes

NOVEL, BEGINNING, LIBRARY = 'novel', 'reference60k', 'library'
BFLOAT16 = '--precision', 'bfloat16'
BUNDLED = '--init', os.path.relpath(ROOT / 'training_results' / 'prideandprejudice.npz')      # 2x256
ROWS = {               # by name: the text, how many seeds, and the options of train.py
    'novel': (NOVEL, 3), 'novel-bfloat16': (NOVEL, 3, *BFLOAT16), 'novel-512': (NOVEL, 1, '--num-units1', 512),
    'novel-original': (NOVEL, 1, '--num-units1', 256, '--original'), 'novel-no-stateful': (NOVEL, 1, '--no-stateful'),
    'reference-128': (BEGINNING, 1, '--num-units1', 128, *BFLOAT16),
    'reference-init': (BEGINNING, 1, *BUNDLED, *BFLOAT16), 'library': (LIBRARY, 1, *BFLOAT16)}


def text_of(name, options):
    """Return the path of a text, which is made unless it exists: another Python's would differ."""
    if name == NOVEL:
        return options.novel
    path = options.results / f'{name}.txt'
    if not path.exists() and name == BEGINNING:                # of Python's language reference
        from pydoc_data.topics import topics
        path.write_bytes('\n'.join(topics[key] for key in sorted(topics))[:60_000].encode('utf-8'))
    elif not path.exists():                                    # of the sources of the standard library, joined
        sources = sorted(Path(sysconfig.get_path('stdlib')).glob('*.py'))
        path.write_bytes('\n'.join(source.read_text(encoding='utf-8') for source in sources)[:1_000_000].encode())
    return path


def recipes(options):
    """Train, resume or read the runs of the rows whose names match, and print a line for each row."""
    options.results.mkdir(parents=True, exist_ok=True)
    print_head()
    for name, (text, seeds, *words) in ROWS.items():
        if not fnmatchcase(name, options.only):
            continue
        words += ['--epochs', options.epochs] if options.epochs else []
        results = [trained(text_of(text, options), f'{name}-seed{seed}', options.results, '--random-seed', seed, *words)
                   for seed in range(1, seeds + 1)]
        mean = sum(result['best_valid_nats'] for result in results) / len(results)
        each = ', '.join(f'{result["best_valid_nats"]:.4f} (epoch {result["best_epoch"]})' for result in results)
        print(f'{name:20} {mean:.4f}   {each}', flush=True)


# ---------------------------------------------------------------- the command line

def build_parser():
    """Return the parser, with a subcommand for each of the three functions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(metavar='COMMAND', required=True)
    add = commands.add_parser('peers', help='CharLSTM and PyTorch on the same batches')
    add.set_defaults(function=peers)
    add.add_argument('novel', metavar='NOVEL', help='the text to learn')
    add.add_argument('--units', type=int, default=128, help='of each layer (default: %(default)s)')
    add.add_argument('--epochs', type=int, default=10, help='times to read the text (default: %(default)s)')
    add.add_argument('--seeds', type=int, default=3, help='runs of each side (default: %(default)s)')
    add = commands.add_parser('recipes', help='runs of train.py')
    add.set_defaults(function=recipes)
    add.add_argument('novel', metavar='NOVEL', type=Path, help='the novel')
    add.add_argument('--results', metavar='DIR', type=Path, required=True, help='folder of the runs')
    add.add_argument('--only', metavar='PATTERN', default='*', help='only rows with such names, as "novel-*"')
    add.add_argument('--epochs', type=int, help='at most this many, for a quick look with a separate DIR')
    add = commands.add_parser('published', help='runs of train.py on published splits')
    add.set_defaults(function=published)
    add.add_argument('name', metavar='NAME', nargs='?', choices=SPLITS, help=f'one of {", ".join(SPLITS)}')
    add.add_argument('files', metavar='FILE', nargs='*', type=Path, help='the text, or its parts, as published')
    add.add_argument('--results', metavar='DIR', type=Path, help='folder of the parts and the runs')
    add.add_argument('--units', type=int, action='append', help='of each layer (default: several sizes)')
    add.add_argument('--epochs', type=int, help='at most this many')
    add.add_argument('--seeds', type=int, default=1, help='runs of each size (default: %(default)s)')
    add.add_argument('--precision', default='float32', help='as of train.py (default: %(default)s)')
    add.add_argument('--list', action='store_true', help='only print what is published, and the commands')
    return parser


def main():
    """Run the command line."""
    options = build_parser().parse_args()
    try:
        options.function(options)
        sys.stdout.flush()
    except BrokenPipeError:                                # the reader, such as `head`, is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError) as error:
        sys.exit(f'quality.py: {error}')


if __name__ == '__main__':
    main()
