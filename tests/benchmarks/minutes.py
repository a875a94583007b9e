"""Train CharLSTM, nanoGPT and PyTorch's nn.LSTM on tiny Shakespeare, and draw the validation cost against minutes.

The command is `python tests/benchmarks/quality.py minutes`. Each program runs alone, and is stopped while one of its
checkpoints is scored, so that the minutes leave this out. They count from the start of its process.
"""
import contextlib
import copy
import functools
import itertools
import json
import os
import pickle
import shlex
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from common import ROOT, draw_curves, print_head

PIECE = 256                                # characters of a piece, which is predicted from its own beginning
SHOWN = 1, 5, 20                           # minutes
GPT = ('train.py config/train_shakespeare_char.py --device=cpu --compile=False --always_save_checkpoint=True '
       '--eval_iters=1 ')
SMALL = '--batch_size={} --block_size={} --n_layer=4 --n_head=4 --n_embd=128 --dropout=0.0 '
CURVES = {                 # by name: the label, and options of the program
    'charlstm-256-bfloat16': ('CharLSTM 2x256, bfloat16', 256, 'bfloat16'),
    'charlstm-256': ('CharLSTM 2x256', 256, 'float32'),
    'charlstm-128-bfloat16': ('CharLSTM 2x128, bfloat16', 128, 'bfloat16'),
    'charlstm-128': ('CharLSTM 2x128', 128, 'float32'),
    'pytorch-ours-bfloat16': ("PyTorch, CharLSTM's recipe, bfloat16", 'ours', 'bfloat16', 40),
    'pytorch-ours': ("PyTorch, CharLSTM's recipe", 'ours', 'float32', 40),
    'pytorch-own-bfloat16': ('PyTorch, AdamW, 15 epochs, bfloat16', 'own', 'bfloat16', 15),
    'pytorch-own': ('PyTorch, AdamW, 8 epochs', 'own', 'float32', 8),
    'nanogpt-readme': ('nanoGPT 0.80 M, context 64, untuned', GPT + SMALL.format(12, 64)
                       + '--max_iters=2000 --lr_decay_iters=2000 --eval_interval=250'),
    'nanogpt-small': ('nanoGPT 0.80 M, context 256, untuned', GPT + SMALL.format(16, 256)
                      + '--max_iters=6000 --lr_decay_iters=6000 --eval_interval=100'),
    'nanogpt-large': ('nanoGPT 10.65 M, untuned', GPT + '--eval_interval=25')}


# ---------------------------------------------------------------- scores

def in_pieces(numbers, length):
    """Return the inputs and targets of all whole pieces of a text, int32 (pieces, length) each."""
    n = (len(numbers) - 1) // length
    return [numbers[start:start + n * length].reshape(n, length).astype('int32') for start in (0, 1)]


@functools.cache
def empty_model():
    from charlstm import CharLSTM
    return CharLSTM(random_seed=1)


def cost_of_charlstm(path, text, length=PIECE):
    """Return the mean cost of a text by a checkpoint of CharLSTM, in nats, in pieces that start from zero states."""
    from engine.data.text import encoded
    model = empty_model()
    model.load_params(path)
    x, y = [each.T for each in in_pieces(encoded(text, model.uchar, 'the text'), length)]
    batches = [(x[:, k:k + 32], y[:, k:k + 32]) for k in range(0, x.shape[1], 32)]
    return sum(model.theano_check(a, b)[0] * a.size for a, b in batches) / x.size


def cost_in_torch(model, length, numbers):
    """Return the mean cost of numbers by a model in PyTorch, a function from (pieces, length) to scores, in pieces."""
    import torch
    x, y = [torch.from_numpy(each).long() for each in in_pieces(numbers, length)]
    with torch.inference_mode():
        costs = [torch.nn.functional.cross_entropy(model(a).flatten(0, 1), b.flatten(), reduction='sum')
                 for a, b in zip(x.split(32), y.split(32))]
    return float(sum(costs)) / y.numel()


def cost_of_nanogpt(path, numbers):
    """Return the cost by a checkpoint of nanoGPT, in pieces of its context if that is shorter."""
    import torch
    from model import GPT, GPTConfig
    stored = torch.load(path)
    with contextlib.redirect_stdout(sys.stderr):                   # it prints its size
        model = GPT(GPTConfig(**stored['model_args']))
    model.load_state_dict(stored['model'])
    length = min(PIECE, model.config.block_size)
    return cost_in_torch(lambda x: model.eval()(x, x)[0], length, numbers)         # with targets it returns all scores


# ---------------------------------------------------------------- PyTorch's side

OWN = dict(B=50, T=50, dropout=0.25, dropconnect=0, smoothing=0, clip=1)
OURS = dict(B=25, T=100, dropout=0.15, dropconnect=0.1, smoothing=0.001, ar=2, tar=2, reset=0.05, clip=5)


def build_pytorch(V):
    """Return the layers of a network of CharLSTM's kind, by name, in a Module."""
    import torch
    from torch import nn
    return nn.ModuleDict(dict(one_hot=nn.Embedding.from_pretrained(torch.eye(V)),          # frozen: only copies rows
                              lstm1=nn.LSTM(V, 256), lstm2=nn.LSTM(256, 256), linear=nn.Linear(256, V)))


def scores(net, x, states=(None, None), dropout=0, dropconnect=0):
    """Return scores (T,B,V) after characters x (T,B), h of the last layer (T,B,H), and the new states."""
    import torch
    h, after = net.one_hot(x), []
    for layer, before in zip((net.lstm1, net.lstm2), states):
        U, W, *biases = layer.parameters()
        zeros = h.new_zeros(1, x.shape[1], layer.hidden_size)
        W = torch.nn.functional.dropout(W, dropconnect, net.training) if dropconnect else W
        out, *state = torch.lstm(h, before or (zeros, zeros), [U, W, *biases], True, 1, 0.0, net.training, False, False)
        after.append([each.detach() for each in state])
        h = torch.nn.functional.dropout(out, dropout, net.training)
    return net.linear(h), out, after


def adamw(net, steps):
    """Return what takes a step of AdamW, at a rate that falls by a cosine, and the network to save."""
    import torch
    rule = torch.optim.AdamW(net.parameters(), lr=0.004, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(rule, steps)

    def learn():
        rule.step()
        schedule.step()
    return learn, net


def of_charlstm(net, steps):
    """Return what takes a step of CharLSTM's RMSprop at its rates, and the network of running averages."""
    import torch
    average, trained = copy.deepcopy(net), [p for p in net.parameters() if p.requires_grad]
    means = [p for p in average.parameters() if p.requires_grad]
    squares, sums = [[torch.zeros_like(p) for p in trained] for _ in range(2)]
    counter = itertools.count()

    @torch.no_grad()
    def learn():
        n = next(counter)
        rate = 0.012 * min(1, (n + 1) / 100) * (0.05 + 0.95 * min(1, 2 * (steps - n) / steps))
        for p, m, v, mean in zip(trained, squares, sums, means):
            m.mul_(0.99).addcmul_(p.grad, p.grad, value=0.01)
            v.mul_(0.9).add_(p.grad)
            step = 0.1 * v / (m.sqrt() + 1e-8) + 0.02 * p
            p.sub_(step.clamp_(-2, 2), alpha=rate)
            mean.lerp_(p, 1 - min(0.999, 1 - 10 / (n + 10)))
    return learn, average


def train_pytorch(folder, recipe, precision, epochs):
    """Train with AdamW or CharLSTM's recipe, on streams as it is. Save each epoch. precision: bfloat16 by autocast."""
    import torch
    from safetensors.torch import load_file
    text = torch.from_numpy(np.fromfile(folder / 'train.bin', np.uint16).astype('int64'))
    torch.manual_seed(1)
    net, o = build_pytorch(int(text.max()) + 1), dict(OWN if recipe == 'own' else OURS)
    B, T, ar, tar, reset = [o.get(name, 0) for name in ('B', 'T', 'ar', 'tar', 'reset')]
    if recipe == 'ours':
        net.load_state_dict(load_file(folder / 'start.safetensors'), strict=False)
        for bias in (net.lstm1.bias_hh_l0, net.lstm2.bias_hh_l0):                  # which only PyTorch has
            bias.requires_grad_(False)
    length = (len(text) - 1) // B                                                  # of a stream
    x, y = [text[start:start + B * length].view(B, length).T for start in (0, 1)]  # (length, B)
    learn, saved = (adamw if recipe == 'own' else of_charlstm)(net, epochs * -(-length // T))
    for _ in range(epochs):
        states = [[torch.zeros(1, B, 256)] * 2] * 2
        for a, b in zip(x.split(T), y.split(T)):
            keep = (torch.rand(1, B, 1) >= reset).float()
            states = [[state * keep for state in layer] for layer in states]
            with torch.autocast('cpu', torch.bfloat16, enabled=precision == 'bfloat16'):
                predicted, h, after = scores(net, a, states, o['dropout'], o['dropconnect'])
            cost = torch.nn.functional.cross_entropy(
                predicted.float().flatten(0, 1), b.flatten(), label_smoothing=o['smoothing'])
            if ar or tar:
                h, before = h.float(), states[1][0]
                cost = cost + ar * h.square().mean() + tar * torch.cat([before, h]).diff(dim=0).square().mean()
            states = after
            net.zero_grad()
            cost.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), o['clip'])
            learn()
        torch.save(saved.state_dict(), folder / 'pytorch.part')
        os.replace(folder / 'pytorch.part', folder / 'pytorch.pt')


def cost_of_pytorch(path, numbers):
    import torch
    stored = torch.load(path)
    net = build_pytorch(len(stored['linear.bias']))
    net.load_state_dict(stored)
    return cost_in_torch(lambda x: scores(net.eval(), x.T)[0].transpose(0, 1), PIECE, numbers)


# ---------------------------------------------------------------- curves

def curve(words, cwd, checkpoint, cost, seconds):
    """Run a command for so many seconds. Return the seconds and cost(checkpoint) of each new checkpoint."""
    print(shlex.join(words), file=sys.stderr, flush=True)
    points, seen, start = [], changed(checkpoint), time.time()     # start moves by the time that is not counted
    process = subprocess.Popen(words, cwd=cwd, stdout=subprocess.DEVNULL)
    try:
        while process.poll() is None and time.time() - start < seconds or changed(checkpoint) > seen:
            time.sleep(0.1)
            latest = changed(checkpoint)
            if latest > seen and time.time() - latest > 0.5:                               # it is written whole
                process.send_signal(signal.SIGSTOP)
                stopped, seen = time.time(), latest
                points.append([seen - start, cost(checkpoint)])
                print('{:6.0f} s  {:.4f}'.format(*points[-1]), file=sys.stderr, flush=True)
                start += time.time() - stopped
                process.send_signal(signal.SIGCONT)
    finally:
        process.kill()
    if process.wait() not in (0, -signal.SIGKILL):
        raise SystemExit(process.returncode)
    return points


def changed(path):
    return path.stat().st_mtime if path.exists() else 0


def run_of(name, folder, nanogpt, texts):
    """Return the first four arguments of curve for the run of this name."""
    _, first, *rest = CURVES[name]
    valid, numbers = texts[1].read_text(encoding='utf-8'), np.fromfile(folder / 'val.bin', np.uint16)
    if name.startswith('charlstm'):
        words = ['train.py', texts[0], name, '--valid', texts[1], '--output-dir', folder, '--num-units1', first,
                 '--precision', rest[0], '--random-seed', 1, '--overwrite']
        path = folder / f'{name}_{texts[0].name}_best.npz'
        return words, ROOT, path, lambda path: cost_of_charlstm(path, valid)
    if name.startswith('pytorch'):
        words = [__file__, folder, first, *rest]
        return words, ROOT, folder / 'pytorch.pt', lambda path: cost_of_pytorch(path, numbers)
    sys.path.insert(0, str(nanogpt))                                               # for cost_of_nanogpt
    words = [*first.split(), f'--dataset={folder}', f'--out_dir={folder / name}']
    return words, nanogpt, folder / name / 'ckpt.pt', lambda path: cost_of_nanogpt(path, numbers)


def prepare(folder, parts):
    """Write the two parts of the text for CharLSTM, and as nanoGPT reads them, and new parameters for PyTorch.

    Return the paths for CharLSTM.
    """
    from charlstm import CharLSTM
    from engine.data.text import encoded
    folder.mkdir(parents=True, exist_ok=True)
    uchar = sorted(set(''.join(parts)))
    (folder / 'meta.pkl').write_bytes(pickle.dumps({'vocab_size': len(uchar)}))
    paths = [folder / 'train.txt', folder / 'valid.txt']
    for path, name, part in zip(paths, ('train', 'val'), parts):
        path.write_text(part, encoding='utf-8')
        encoded(part, uchar, 'the text').astype(np.uint16).tofile(folder / f'{name}.bin')
    model = CharLSTM(random_seed=1)
    model.prepare_input(paths[0], valid=paths[1], verbose=False)
    model.model_setup(num_units1=256, num_units2=256, initial='chrono')
    model.export(folder / 'start.safetensors')
    return paths


def minutes(options, parts):
    """Make or read the curves, print README's rows, and draw them. parts: two."""
    from engine.backend.compiler import threads
    from engine.data.text import read_string
    folder = options.results.absolute()
    texts = prepare(folder, parts)
    checksums = {text.name: read_string(text)[1] for text in texts}
    print_head('torch')
    for name in CURVES:
        path = folder / f'{name}_curve.json'
        if not path.exists():
            words, *rest = run_of(name, folder, options.nanogpt.absolute(), texts)
            points = curve([sys.executable, *map(str, words)], *rest, 60 * options.minutes)
            result = dict(empty_model().versions(), torch=version('torch'), device=f'the CPU, {threads()} threads',
                          sha256=checksums, program=CURVES[name], points=points)
            path.write_text(json.dumps(result) + '\n')
    curves = read_curves(folder)
    print('\n'.join(minutes_row(*each) for each in curves.items()))
    draw(curves, folder / 'minutes.png')


def read_curves(folder):
    """Return the points of the curves in a folder, by name, in the order of CURVES."""
    paths = {name: folder / f'{name}_curve.json' for name in CURVES}
    return {name: json.loads(path.read_text())['points'] for name, path in paths.items() if path.exists()}


def minutes_row(name, points):
    """Return the row in README.md of a curve: the best cost after so many minutes, interpolated linearly."""
    seconds, costs = zip(*points)
    best = np.interp([60 * m for m in SHOWN], seconds, np.minimum.accumulate(costs), left=np.nan)
    return f'| {" | ".join([CURVES[name][0], *[f"{cost:.3f}" if cost > 0 else "" for cost in best]])} |'


def draw(curves, path):
    """Draw the best cost so far against minutes: a colour for each program, a line style for each of its runs."""
    colours = dict(charlstm=('tab:blue', ['-', '--', '-.', ':']), pytorch=('tab:red', ['-', '--', '-.', ':']),
                   nanogpt=('tab:grey', ['--', '-', ':']))
    lines, ticks = [], [0.1, 0.2, 0.5, 1, 2, 5, 10, 20]
    for name, points in curves.items():
        (seconds, costs), (colour, styles) = zip(*points), colours[name.split('-')[0]]
        lines.append((np.divide(seconds, 60), np.minimum.accumulate(costs), dict(
            linestyle=styles.pop(0), color=colour, label=CURVES[name][0])))
    draw_curves(path, lines, xscale='log', xlim=(0.1, 21), ylim=(1.3, 2.7), xticks=ticks, xticklabels=ticks,
                xlabel='minutes on two cores', ylabel='validation cost, nats a character')


if __name__ == '__main__':
    train_pytorch(Path(sys.argv[1]), *sys.argv[2:4], int(sys.argv[4]))
