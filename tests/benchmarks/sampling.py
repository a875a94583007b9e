"""Measure writing text, CharLSTM beside PyTorch's fastest loop.

    python tests/benchmarks/sampling.py [--units 128 256] [--streams 1 32] [--length 2000] [--rounds 9] [--bfloat16]

They take turns, each in a separate process, and every number is from the median turn. PyTorch's loop reads a character,
and draws the next with softmax and multinomial. Of several ways to write this loop, the fastest on this machine is used
and named. The column before the last is CharLSTM's time for a character in a text of 10,000 over that in a text of 200.
No time includes compilation. CharLSTM's texts are not timed unless they cost the model in NumPy what they should.
"""
import argparse
from statistics import median

from common import ALPHABET, Worker, print_head, print_row, set_parameters, timed

LONG, SHORT = 10000, 200
SHORT_TEXTS = 20           # in a turn


def make_ours(units, streams, precision='float32'):
    import charlstm
    import judges
    import numpy as np
    import numpy_model
    model = charlstm.CharLSTM(random_seed=1, precision=precision)
    model.uchar = list(ALPHABET)
    model.model_setup(num_units1=units, num_units2=units)
    p = set_parameters(model)
    texts = model.generate_text('', SHORT, count=streams)                          # compiles
    text = np.array([[ALPHABET.index(ch) for ch in text] for text in texts]).T     # (n, B)
    rounded = judges.to_bfloat16 if precision == 'bfloat16' else numpy_model.same
    judges.assert_drawn(text[1:], numpy_model.forward(p, text[:-1], rounded=rounded)[0], 'what is timed')
    return lambda length, texts: median(timed(lambda: model.generate_text('', length, count=streams), texts + 1)[1:])


def pytorch_ways(units, streams):
    """Return ways to write the loop, by name: functions of length that return that many characters, int (length, B)."""
    import torch
    from torch import nn
    V = len(ALPHABET)

    class Cells(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell1, self.cell2 = nn.LSTMCell(V, units), nn.LSTMCell(units, units)
            self.output = nn.Linear(units, V)
            self.register_buffer('one_hot', torch.eye(V))

        def forward(self, x, length: int):
            h1 = C1 = h2 = C2 = torch.zeros(x.shape[0], self.cell1.hidden_size)
            text = [x]
            for _ in range(length - 1):
                h1, C1 = self.cell1(self.one_hot[x], (h1, C1))
                h2, C2 = self.cell2(h1, (h2, C2))
                x = torch.multinomial(torch.softmax(self.output(h2), 1), 1)[:, 0]
                text.append(x)
            return torch.stack(text)

    class Layers(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.output = nn.LSTM(V, units, num_layers=2), nn.Linear(units, V)
            self.register_buffer('one_hot', torch.eye(V))

        def forward(self, x, length: int):
            h, state = self.lstm(self.one_hot[x[None]])
            text = [x]
            for k in range(length - 1):
                x = torch.multinomial(torch.softmax(self.output(h[0]), 1), 1)[:, 0]
                text.append(x)
                if k < length - 2:
                    h, state = self.lstm(self.one_hot[x[None]], state)
            return torch.stack(text)

    first = torch.randint(V, (streams,))
    models = {'two LSTMCell': Cells(), 'nn.LSTM': Layers()}
    models.update({name + ', jit.script': torch.jit.script(model) for name, model in list(models.items())})

    def way(model, threads):
        def write(length):
            torch.set_num_threads(threads)
            with torch.inference_mode():
                return model(first, length)
        return write
    return {f'{name}, {threads} thread(s)': way(model, threads) for name, model in models.items()
            for threads in {1, torch.get_num_threads()}}


def make_pytorch(units, streams):
    ways = pytorch_ways(units, streams)
    seconds = {name: median(timed(lambda: write(SHORT), 8)[3:]) for name, write in ways.items()}   # jit compiles first
    best = min(seconds, key=seconds.get)

    def write_text(length):
        return [''.join([ALPHABET[k] for k in text]) for text in ways[best](length).T.tolist()]

    def turn(length):
        write_text(SHORT)
        return timed(lambda: write_text(length))[0], best
    return turn


def measure(units, streams, options):
    """Return the median seconds of ours, of PyTorch and, if asked for, of ours in bfloat16 (otherwise nan), the ratio
    of long to short texts, and the name of PyTorch's loop."""
    ours, pytorch = Worker(make_ours, units, streams), Worker(make_pytorch, units, streams)
    rounded = Worker(make_ours, units, streams, 'bfloat16') if options.bfloat16 else None
    workers = list(filter(None, (ours, pytorch, rounded)))
    for worker in workers:
        worker.ready()
    turns = []
    for _ in range(options.rounds):
        other, how = pytorch(options.length)
        ratio = ours(LONG, 1) / LONG / (ours(SHORT, SHORT_TEXTS) / SHORT)
        turns.append((ours(options.length, 1), other, rounded(options.length, 1) if rounded else float('nan'), ratio))
    for worker in workers:
        worker.close()
    return (*map(median, zip(*turns)), how)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--units', type=int, nargs='+', default=[128, 256])
    parser.add_argument('--streams', type=int, nargs='+', default=[1, 32])
    parser.add_argument('--length', type=int, default=2000, help='characters in a text (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=9, help='turns of each (default: %(default)s)')
    parser.add_argument('--bfloat16', action='store_true', help='add CharLSTM with that precision')
    options = parser.parse_args()
    print_head('torch')
    widths = (5, 7, 12, 12, 12, 14, 12)
    print(f'{"":>14}  {"characters/s":^26}')
    print_row(*zip(('units', 'streams', 'ours', 'PyTorch', 'ours over', '10,000 over', 'bfloat16'), widths))
    print_row(*zip(('', '', '', '', 'PyTorch', '200 characters', 'over ours'), widths))
    for units in options.units:
        for streams in options.streams:
            seconds, other, rounded, ratio, how = measure(units, streams, options)
            speeds = [f'{options.length * streams / s:,.0f}' for s in (seconds, other)]
            ratios = [f'{x:.2f}' if x == x else '-' for x in (other / seconds, ratio, seconds / rounded)]
            print_row(*zip([units, streams, *speeds, *ratios], widths), ('  PyTorch: ' + how, 0))


if __name__ == '__main__':
    main()
