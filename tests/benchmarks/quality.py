"""How good the models get: validation costs of CharLSTM and of PyTorch, trained the same way on the same batches.

    python tests/benchmarks/quality.py text_input/prideandprejudice.txt --epochs 10 --seeds 3

Prints the full-validation cost, nats a character, after epochs 1, 3, 10 and the best of each seed and the means.
PyTorch begins with the same initial values, and has one bias a gate as CharLSTM has; --torch-init leaves it its own.
--plain starts each batch from zero states, as the original does; --no-torch leaves PyTorch out.
"""
import argparse
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))

from charlstm import CharLSTM

SHOWN = (1, 3, 10)      # epochs


def ours(options, seed):
    """Yield the validation cost after each epoch of CharLSTM."""
    model = CharLSTM(random_seed=seed)
    model.prepare_input(options.text, verbose=False, stateful=not options.plain)
    model.model_setup(num_units1=options.units, num_units2=options.units)
    for _ in range(options.epochs):
        model.reset_states()
        for x, y in zip(model.X['train'], model.Y['train']):
            model.theano_train_rmsprop(x, y)
        yield model.validate()


def copy_initial_values(model, lstm, out):
    """Give nn.LSTM and the output layer the parameters of a CharLSTM; its gates stand in the order i, f, g, o."""
    import torch
    p = {name: torch.from_numpy(value.get_value()) for name, value in model.p.items()}
    with torch.no_grad():
        for layer in (1, 2):
            for theirs, ours in (('weight_ih', 'U'), ('weight_hh', 'W'), ('bias_ih', 'b')):
                gates = p['{}{}'.format(ours, layer)][[1, 0, 3, 2]]
                getattr(lstm, '{}_l{}'.format(theirs, layer - 1)).copy_(gates.flatten(0, 1))
            second_bias = getattr(lstm, 'bias_hh_l{}'.format(layer - 1))
            second_bias.zero_()
            second_bias.requires_grad = False
        out.weight.copy_(p['V'])
        out.bias.copy_(p['c'])


def pytorch(options, seed):
    """Yield the validation cost after each epoch of nn.LSTM and RMSprop."""
    import torch
    from torch import nn
    torch.manual_seed(seed)
    text = CharLSTM(random_seed=seed)
    text.prepare_input(options.text, verbose=False, stateful=not options.plain)
    V, H = len(text.uchar), options.units
    lstm, out = nn.LSTM(V, H, num_layers=2), nn.Linear(H, V)
    if not options.torch_init:
        text.model_setup(num_units1=H, num_units2=H)
        copy_initial_values(text, lstm, out)
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


def row(name, costs):
    shown = ['{:8.4f}'.format(costs[n - 1]) if n <= len(costs) else 8 * ' ' for n in SHOWN]
    best = min(costs)
    print('{:24} {} {:8.4f} (epoch {})'.format(name, ' '.join(shown), best, costs.index(best) + 1), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('text')
    parser.add_argument('--units', type=int, default=128)
    parser.add_argument('--epochs', type=int, default=10)
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--plain', action='store_true')
    parser.add_argument('--no-torch', action='store_true')
    parser.add_argument('--torch-init', action='store_true')
    options = parser.parse_args()
    print('2x{} units, batch 50, 50 characters, rate 2e-3, {}'.format(
        options.units, 'zero states for each batch' if options.plain else 'states carried'))
    print('{:24} {}     best'.format('after epoch', ' '.join('{:8}'.format(n) for n in SHOWN)))
    for name, train in (('CharLSTM', ours), ('PyTorch', pytorch))[:1 if options.no_torch else 2]:
        runs = []
        for seed in range(1, options.seeds + 1):
            runs.append(list(train(options, seed)))
            row('{}, seed {}'.format(name, seed), runs[-1])
        row('{}, mean'.format(name), [sum(costs) / len(costs) for costs in zip(*runs)])


if __name__ == '__main__':
    main()
