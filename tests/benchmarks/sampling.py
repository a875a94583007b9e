"""Measure writing text, CharLSTM beside PyTorch's fastest loop.

    python tests/benchmarks/sampling.py [--units 128 256] [--streams 1 32] [--length 2000] [--rounds 9]

They take turns, each in a separate process, and every number is from the median turn. PyTorch's loop reads a character,
and draws the next with softmax and multinomial. Of several ways to run this loop with nn.LSTMCell (nn.LSTM is slower
for one step), the fastest on this machine is used and named. No time includes compilation. CharLSTM is timed only if
its texts follow the distribution of the model in NumPy.
"""
import argparse
from statistics import median

from common import ALPHABET, Worker, print_head, set_parameters, table, timed
from training import take_turns

SHORT = 200                # characters of the texts that are checked, or choose PyTorch's loop


def make_ours(units, streams, length):
    import charlstm
    import judges
    import numpy as np
    import numpy_model
    model = charlstm.CharLSTM(random_seed=1)
    model.uchar = list(ALPHABET)
    model.model_setup(num_units1=units, num_units2=units)
    p = set_parameters(model)
    texts = model.generate_text('', SHORT, count=streams)                          # compiles
    text = np.array([[ALPHABET.index(ch) for ch in text] for text in texts]).T     # (n, B)
    judges.assert_drawn(text[1:], numpy_model.forward(p, text[:-1])[0], 'what is timed')
    return lambda: timed(lambda: model.generate_text('', length, count=streams), 2)[1:]


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

    first = torch.randint(V, (streams,))
    models = {'two LSTMCell': Cells(), 'two LSTMCell, jit.script': torch.jit.script(Cells())}

    def way(model, threads):
        def write(length):
            torch.set_num_threads(threads)
            with torch.inference_mode():
                return model(first, length)
        return write
    return {f'{name}, {threads} thread(s)': way(model, threads) for name, model in models.items()
            for threads in {1, torch.get_num_threads()}}


def make_pytorch(units, streams, length):
    ways = pytorch_ways(units, streams)
    seconds = {name: median(timed(lambda: write(SHORT), 8)[3:]) for name, write in ways.items()}   # jit compiles first
    best = min(seconds, key=seconds.get)

    def turn():
        return timed(lambda: [''.join([ALPHABET[k] for k in text]) for text in ways[best](length).T.tolist()], 2)[1:]
    turn.found = best
    return turn


def measure(units, streams, options):
    """Return the median seconds of CharLSTM and of PyTorch, and the name of PyTorch's loop."""
    workers = {make: Worker(make, units, streams, options.length) for make in (make_ours, make_pytorch)}
    _, how = [worker.ready() for worker in workers.values()]
    (ours, _), (pytorch, _) = take_turns(workers, options.rounds, 0).values()
    return ours, pytorch, how


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--units', type=int, nargs='+', default=[128, 256])
    parser.add_argument('--streams', type=int, nargs='+', default=[1, 32])
    parser.add_argument('--length', type=int, default=2000, help='characters in a text (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=9, help='turns of each (default: %(default)s)')
    options = parser.parse_args()
    print_head('torch')
    row = table('units', 'streams', 'ours, characters/s', 'PyTorch, characters/s', 'ours over PyTorch',
                "                       PyTorch's loop")
    for units in options.units:
        for streams in options.streams:
            ours, pytorch, how = measure(units, streams, options)
            row(units, streams, *[f'{options.length * streams / seconds:,.0f}' for seconds in (ours, pytorch)],
                f'{pytorch / ours:.2f}', how)


if __name__ == '__main__':
    main()
