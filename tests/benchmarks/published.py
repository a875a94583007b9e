"""Train train.py's default recipe on published splits, and print its costs beside the published figures.

The command is `python tests/benchmarks/quality.py published`. It fetches nothing: SPLITS says where the texts are from.
"""
import math
from typing import Callable, NamedTuple

from common import print_head, trained

VALIDATION, TEST, ADAPTED = 'validation', 'test', 'test, adapted'      # adapted: to the test text as it is read


# ---------------------------------------------------------------- what is published

class Figure(NamedTuple):
    """A published cost per symbol: of what model, with how many parameters, on which part, in which unit."""
    model: str
    parameters: str
    cost: str              # as it was published
    source: str
    part: str = TEST
    unit: str = 'bits'


def without_marks(text):
    """Return a text of Mikolov's Penn Treebank with single spaces between words and lines that end in no space.

    It is distributed by characters (each is followed by a space, and _ means a space) and by words (each line has a
    space at its beginning and end). Both become the same text.
    """
    if set(text[1::2]) == {' '}:
        return text[::2].replace('_', ' ')
    return '\n'.join(line.strip(' ') for line in text.split('\n'))


class Split(NamedTuple):
    """A text that is published with its parts, and what was reported for it."""
    title: str
    origin: str            # where the text is from
    files: tuple           # names of the files as they are distributed
    lengths: tuple         # symbols of each file as published; those of Penn Treebank in thousands
    cuts: tuple            # where to cut a single file: percent of its symbols
    units: tuple           # sizes at which to train: units of each of the two layers
    figures: tuple
    in_bytes: bool = False             # whether the figures count bytes, with CRLF and a byte order mark
    plain: Callable = str              # from the text of a file to the text to learn


NANOGPT = 'nanoGPT, README, 2022', VALIDATION, 'nats'
KRAUSE = 'in Krause et al. 2016'
PROGRESS = 'in NLP-progress'
SPLITS = {
    'shakespeare': Split(
        'tiny Shakespeare, as nanoGPT splits it by characters: the first 90 % to learn, the rest to validate',
        'https://github.com/karpathy/char-rnn, data/tinyshakespeare/input.txt',
        ('input.txt',), (1_115_394,), (90,), (256, 512),
        (Figure('transformer, 6 layers of 384, context 256', '10.65 M', '1.4697', *NANOGPT),
         Figure('transformer, 4 layers of 128, context 64', '0.80 M', '1.88', *NANOGPT))),
    'penn': Split(
        'Penn Treebank by characters, as prepared by Mikolov: files to learn, to validate and to test',
        'simple-examples.tgz of http://www.fit.vutbr.cz/~imikolov/rnnlm, folder data; the files by words do as well',
        ('ptb.char.train.txt', 'ptb.char.valid.txt', 'ptb.char.test.txt'), (5_017_000, 393_000, 442_000), (),
        (256, 512),
        (Figure('LSTM, nothing against overfitting', '-', '1.38', 'Cooijmans et al. 2016, ' + KRAUSE),
         Figure('multiplicative LSTM, 700 units', '-', '1.35', 'Krause et al. 2016'),
         Figure('LSTM, batch normalisation', '-', '1.32', 'Cooijmans et al. 2016, ' + KRAUSE),
         Figure('LSTM, layer normalisation', '-', '1.267', 'Ha et al. 2016, in Laurent et al. 2017'),
         Figure('hierarchical LSTM, 512 units a layer', '-', '1.24', 'Chung et al. 2016'),
         Figure('HyperLSTM, 2 layers', '14.4 M', '1.219', f'Ha et al. 2016, {PROGRESS}'),
         Figure('AWD-LSTM, 3 layers of 1000', '13.8 M', '1.175', f'Merity et al. 2018, {PROGRESS}'),
         Figure('Mogrifier LSTM', '24 M', '1.120', f'Melis et al. 2019, {PROGRESS}'),
         Figure('Mogrifier LSTM', '24 M', '1.083', f'Melis et al. 2019, {PROGRESS}', ADAPTED)),
        plain=without_marks),
    'warandpeace': Split(
        'War and Peace, as in Karpathy, Johnson and Li 2015: 80 % to learn, 10 % to validate, 10 % to test',
        'https://cs.stanford.edu/people/karpathy/char-rnn/warpeace_input.txt',
        ('warpeace_input.txt',), (3_258_246,), (80, 90), (128, 256, 512),
        (Figure('best of RNN, LSTM and GRU, 1 to 3 layers', '-', '1.077', 'Karpathy et al. 2015, in Ismail 2016', TEST,
                'nats'),
         Figure('characters counted (20-gram)', '-', '1.195', 'Karpathy et al. 2015, in Ismail 2016', TEST, 'nats')),
        in_bytes=True)}


# ---------------------------------------------------------------- the parts of a text

class Part(NamedTuple):
    """A part as it is learned or scored, and how many of the published symbols it has."""
    text: str
    symbols: int

    @property
    def scale(self):
        """By what to multiply train.py's cost, a mean over the characters but the first, for one over the symbols."""
        return (len(self.text) - 1) / (self.symbols - 1)


def pieces(symbols, cuts):
    """Cut a string or bytes at these shares of its length, in percent, rounded down. Return the pieces.

    Bytes are cut neither inside of a character nor between CR and LF.
    """
    places = [0]
    for percent in cuts:
        k = len(symbols) * percent // 100
        while isinstance(symbols, bytes) and (0x80 <= symbols[k] < 0xc0 or symbols[k - 1:k + 1] == b'\r\n'):
            k -= 1
        places.append(k)
    return [symbols[start:end] for start, end in zip(places, places[1:] + [len(symbols)])]


def part(piece):
    """Return the Part of a piece."""
    text = piece.decode('utf-8').replace('\r\n', '\n').removeprefix('\ufeff') if isinstance(piece, bytes) else piece
    return Part(text, len(piece))


def cut(split, paths):
    """Return the Parts of a split from its files, and lines on what is not as published. Raises ValueError, OSError."""
    if len(paths) != len(split.files):
        raise ValueError(f'got {len(paths)} files, expected {", ".join(split.files)} from {split.origin}')
    texts = [split.plain(path.read_text(encoding='utf-8-sig')) for path in paths]
    if split.in_bytes:         # as those of 2015; copies have other line ends, and some have none at the end
        texts = [('\ufeff' + text.rstrip('\n').replace('\n', '\r\n') + '\n').encode('utf-8') for text in texts]
    lines = [f'not as published: {name} has {len(text):,} symbols, expected {n:,}'
             for name, text, n in zip(split.files, texts, split.lengths) if len(text) // 1000 != n // 1000]
    return [part(piece) for text in texts for piece in pieces(text, split.cuts)], lines


# ---------------------------------------------------------------- the table

WIDTHS = 42, 11, 14, 8, 8, 0
COLUMNS = 'model', 'parameters', 'part', 'nats', 'bits', 'source, or of each seed'


def print_cells(cells):
    print('  '.join(f'{cell:<{width}}' for cell, width in zip(cells, WIDTHS)).rstrip(), flush=True)


def print_figures(split):
    """Print the head of the table and the published figures. The unit in which one was not published is in brackets."""
    print_cells(COLUMNS)
    for figure in split.figures:
        if figure.unit == 'nats':
            costs = figure.cost, f'({float(figure.cost) / math.log(2):.3f})'
        else:
            costs = f'({float(figure.cost) * math.log(2):.3f})', figure.cost
        print_cells([figure.model, figure.parameters, figure.part, *costs, figure.source])


def print_ours(name, results, field, title, scale):
    """Print a row of ours: the mean of the costs of runs, whose results these are."""
    costs = [result[f'{field}_nats'] * scale for result in results]
    mean = sum(costs) / len(costs)
    of_each = '; '.join(f'{cost:.4f}, epoch {result["best_epoch"]} of {result["epochs"]}'
                        for cost, result in zip(costs, results))
    print_cells([f'CharLSTM, {name}, default recipe', f'{results[0]["parameters"] / 1e6:.2f} M', title, f'{mean:.4f}',
                 f'{mean / math.log(2):.4f}', of_each])


# ---------------------------------------------------------------- the command

def print_list():
    """Print splits, their published figures, and the commands."""
    for name, split in SPLITS.items():
        print(f'{split.title}\n{", ".join(split.files)} from {split.origin}\n')
        print_figures(split)
        print(f'\npython tests/benchmarks/quality.py published {name} {" ".join(split.files)} --results DIR\n')


def published(options):
    """Train, resume or read the runs of a split, and print the table. Raises ValueError and OSError."""
    if options.list:
        return print_list()
    if not (options.name and options.results):
        raise ValueError(f'name a split, {", ".join(SPLITS)}, and a folder with --results; or --list')
    split, name, folder = SPLITS[options.name], options.name, options.results
    parts, lines = cut(split, options.files)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f'{name}-{title}.txt' for title, _ in zip(('train', 'valid', 'test'), parts)]
    for part, path in zip(parts, paths):
        if path.exists() and path.read_bytes() != part.text.encode('utf-8'):
            raise ValueError(f'{path} exists and is another text: choose another folder for --results')
        path.write_bytes(part.text.encode('utf-8'))
    more, costs = ['--valid', paths[1], '--precision', options.precision], [('valid', VALIDATION, parts[1])]
    if paths[2:]:
        more += ['--test', paths[2], '--test-adapt']
        costs += [('test', TEST, parts[2]), ('test_adapted', ADAPTED, parts[2])]
    if options.epochs:
        more += ['--epochs', options.epochs]
    print_head()
    print('\n'.join([split.title, *lines]), flush=True)
    results = {units: [trained(paths[0], f'{name}-{units}-seed{seed}', folder, '--random-seed', seed, '--num-units1',
                               units, *more) for seed in range(1, options.seeds + 1)]
               for units in options.units or split.units}
    print_figures(split)
    for units, of_row in results.items():
        for field, title, part in costs:
            print_ours(f'{name}-{units}', of_row, field, title, part.scale)
