"""Measure writing text, CharLSTM beside PyTorch's fastest loop.

    python tests/benchmarks/sampling.py [--units 128 256] [--streams 1 32] [--length 2000] [--rounds 9] [--bfloat16]
                                        [--avx2]

They take turns, each in a separate process, and every number is from the
median turn. PyTorch's loop reads a character, and draws the next with softmax
and multinomial. Of several ways to write this loop, the fastest on this machine
is used and named. The last column is CharLSTM's time for a character in a text
of 10,000 over that in a text of 200. No time includes compilation. CharLSTM's texts are not timed unless
they cost the model in NumPy what they should.
"""
import argparse

from common import ALPHABET, Worker, hold_to_avx2, median, print_head, print_row, set_parameters, timed

LONG, SHORT = 10000, 200
SHORT_TEXTS = 20           # in a turn


def make_ours(units, streams, precision='float32'):
    import charlstm
    model = charlstm.CharLSTM(random_seed=1, precision=precision)
    model.uchar = list(ALPHABET)
    model.model_setup(num_units1=units, num_units2=units)

    def write(length):
        texts = model.generate_text('', length, count=streams)
        assert [len(text) for text in texts] == [length] * streams
        return texts
    p = set_parameters(model)
    check_texts(write(SHORT), p, precision)                                        # compiles
    return lambda length, texts: median(timed(lambda: write(length), texts + 1)[1:])


def check_texts(texts, p, precision):
    """Raise AssertionError unless texts are drawn from the probabilities of the model in NumPy with parameters p."""
    import numpy as np
    import judges
    import numpy_model
    rounded = judges.to_bfloat16 if precision == 'bfloat16' else numpy_model.same
    text = np.array([[ALPHABET.index(ch) for ch in text] for text in texts]).T                     # (n, B)
    judges.assert_drawn(text[1:], numpy_model.forward(p, text[:-1], rounded=rounded)[0], 'what is timed')


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

    def way(model, context, threads):
        def write(length):
            torch.set_num_threads(threads)
            with context():
                return model(first, length)
        return write
    return {'{}, {}, {} thread(s)'.format(name, context.__name__, threads): way(model, context, threads)
            for name, model in models.items() for context in (torch.no_grad, torch.inference_mode)
            for threads in {1, torch.get_num_threads()}}


def make_pytorch(units, streams):
    ways = pytorch_ways(units, streams)
    for write in ways.values():
        write(SHORT)                                         # jit compiles at the first calls
    trials = {name: [] for name in ways}
    for _ in range(5):
        for name, write in ways.items():
            trials[name] += timed(lambda: write(SHORT), 2)[1:]
    best = min(ways, key=lambda name: median(trials[name]))

    def write_text(length):
        numbers = ways[best](length).T.tolist()
        return [''.join([ALPHABET[k] for k in text]) for text in numbers]

    def turn(length):
        write_text(SHORT)
        return timed(lambda: write_text(length))[0], best
    return turn


def measure(units, streams, options):
    """Return the seconds of ours, of PyTorch and, if asked for, of ours in bfloat16 (otherwise nan), the name of
    PyTorch's loop, and the ratio of long to short texts."""
    ours, pytorch = Worker(make_ours, units, streams), Worker(make_pytorch, units, streams)
    rounded = Worker(make_ours, units, streams, 'bfloat16') if options.bfloat16 else None
    for worker in filter(None, (ours, pytorch, rounded)):
        worker.ready()
    seconds, others, in_bfloat16, ratios = [], [], [], []
    for _ in range(options.rounds):
        seconds.append(ours(options.length, 1))
        in_bfloat16.append(rounded(options.length, 1) if rounded else float('nan'))
        other, how = pytorch(options.length)
        others.append(other)
        short = ours(SHORT, SHORT_TEXTS)
        ratios.append(ours(LONG, 1) / LONG / (short / SHORT))
    for worker in filter(None, (ours, pytorch, rounded)):
        worker.close()
    return median(seconds), median(others), median(in_bfloat16), how, median(ratios)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--units', type=int, nargs='+', default=[128, 256])
    parser.add_argument('--streams', type=int, nargs='+', default=[1, 32])
    parser.add_argument('--length', type=int, default=2000, help='characters in a text (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=9, help='turns of each (default: %(default)s)')
    parser.add_argument('--bfloat16', action='store_true', help='add CharLSTM with that precision')
    parser.add_argument('--avx2', action='store_true', help='hold both sides to AVX2')
    options = parser.parse_args()
    print_head('torch')
    if options.avx2:
        hold_to_avx2()
    widths = (5, 7, 12, 12, 12, 14, 12)
    print('{:>14}  {:^26}'.format('', 'characters/s'))
    print_row(*zip(('units', 'streams', 'ours', 'PyTorch', 'ours over', '10,000 over', 'bfloat16'), widths))
    print_row(*zip(('', '', '', '', 'PyTorch', '200 characters', 'over ours'), widths))
    for units in options.units:
        for streams in options.streams:
            seconds, other, rounded, how, ratio = measure(units, streams, options)
            speeds = ['{:,.0f}'.format(options.length * streams / s) for s in (seconds, other)]
            ratios = other / seconds, ratio, seconds / rounded
            cells = [units, streams] + speeds + ['{:.2f}'.format(x) if x == x else '-' for x in ratios]
            print_row(*zip(cells, widths), ('  PyTorch: ' + how, 0))


if __name__ == '__main__':
    main()
