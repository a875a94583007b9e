"""Train train.py's default recipe on published splits, and print its costs beside the published figures.

The command is `python tests/benchmarks/quality.py published`. It fetches nothing: SPLITS says where the texts are from.
"""
import json
import math
import shlex
import sys
import textwrap
from pathlib import Path
from typing import Callable, NamedTuple

from common import print_head
from recipes import Row, Run, chosen, finish, print_commands, units, write

from engine.run import table
from engine.model.files import named
from engine.run.result import RESULT

# ---------------------------------------------------------------- what is published

VALIDATION, TEST, ADAPTED = 'validation', 'test', 'test, adapted'      # adapted: to the test text as it is read


class Figure(NamedTuple):
    """A published cost per symbol: of what model, with how many parameters, on which part, in which unit."""
    model: str
    parameters: str
    cost: str              # as it was published
    source: str
    part: str = TEST
    unit: str = 'bits'


def figures(*rows):
    return tuple(Figure(*row) for row in rows)


def as_it_is(text):
    return text


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
    parts: str             # how it is cut
    files: tuple           # names of the files as they are distributed
    symbols: str           # what the published figures count: 'characters', or 'bytes' with CRLF and a byte order mark
    lengths: tuple         # symbols of each file as published
    distinct: int          # distinct symbols in all files
    cuts: tuple            # where to cut a single file: percent of its symbols
    units: tuple           # sizes at which to train: units of each of the two layers
    figures: tuple
    notes: str = ''
    unit: int = 1          # lengths are published in these, rounded down
    plain: Callable = as_it_is         # from the text of a file to the text to learn


NANOGPT = 'nanoGPT, README, 2022', VALIDATION, 'nats'
KRAUSE = 'in Krause et al. 2016'
PROGRESS = 'in NLP-progress'
SPLITS = {
    'shakespeare': Split(
        'tiny Shakespeare, as nanoGPT splits it by characters',
        'https://github.com/karpathy/char-rnn, data/tinyshakespeare/input.txt',
        'the first 90 % to learn, the rest to validate; no test part',
        ('input.txt',), 'characters', (1_115_394,), 65, (90,), (256, 512),
        figures(
            ('transformer, 6 layers of 384, context 256', '10.65 M', '1.4697', *NANOGPT),
            ('transformer, 4 layers of 128, context 64', '0.80 M', '1.88', *NANOGPT)),
        "nanoGPT's losses are estimates from 200 random batches (the smaller model: 20), whose pieces are predicted "
        'from their own beginning on. The parameters follow from its configurations, without position embeddings. '
        'Either side chooses its best model by the part that is reported.'),
    'penn': Split(
        'Penn Treebank by characters, as prepared by Mikolov',
        'simple-examples.tgz of http://www.fit.vutbr.cz/~imikolov/rnnlm, folder data; the files by words do as well',
        'three files: to learn, to validate, to test',
        ('ptb.char.train.txt', 'ptb.char.valid.txt', 'ptb.char.test.txt'), 'characters', (5_017, 393, 442), 50,
        (), (256, 512),
        figures(
            ('LSTM, nothing against overfitting', '-', '1.38', 'Cooijmans et al. 2016, ' + KRAUSE),
            ('multiplicative LSTM, 700 units', '-', '1.35', 'Krause et al. 2016'),
            ('LSTM, batch normalisation', '-', '1.32', 'Cooijmans et al. 2016, ' + KRAUSE),
            ('LSTM, layer normalisation', '-', '1.267', 'Ha et al. 2016, in Laurent et al. 2017'),
            ('hierarchical LSTM, 512 units a layer', '-', '1.24', 'Chung et al. 2016'),
            ('HyperLSTM, 2 layers', '14.4 M', '1.219', f'Ha et al. 2016, {PROGRESS}'),
            ('AWD-LSTM, 3 layers of 1000', '13.8 M', '1.175', f'Merity et al. 2018, {PROGRESS}'),
            ('Mogrifier LSTM', '24 M', '1.120', f'Melis et al. 2019, {PROGRESS}'),
            ('Mogrifier LSTM', '24 M', '1.083', f'Melis et al. 2019, {PROGRESS}', ADAPTED)),
        unit=1000, plain=without_marks),
    'warandpeace': Split(
        'War and Peace, as Karpathy, Johnson and Li 2015 split it',
        'https://cs.stanford.edu/people/karpathy/char-rnn/warpeace_input.txt',
        'the first 80 % to learn, 10 % to validate, 10 % to test',
        ('warpeace_input.txt',), 'bytes', (3_258_246,), 87, (80, 90), (128, 256, 512),
        figures(
            ('best of RNN, LSTM and GRU, 1 to 3 layers', '-', '1.077', 'Karpathy et al. 2015, in Ismail 2016', TEST,
             'nats'),
            ('characters counted (20-gram)', '-', '1.195', 'Karpathy et al. 2015, in Ismail 2016', TEST, 'nats')),
        'The paper counts bytes of a text with CRLF line ends. Costs here are the nats of a part over its bytes: the '
        'LF after a CR is certain, so a model of bytes has the same total. The paper does not say how it rounds; here '
        'no part begins inside a character or a line end. Its table (arXiv 1506.02078) has test costs of LSTMs with '
        '1 to 3 layers of 64 to 512 units; only its best could be checked here, in slides about it.'),
    'text8': Split(
        'text8: the first 100 million letters and spaces of Wikipedia',
        'http://mattmahoney.net/dc/text8.zip, unpacked',
        'the first 90 million characters to learn, 5 million to validate, 5 million to test',
        ('text8',), 'characters', (100_000_000,), 27, (90, 95), (512,),
        figures(
            ('LSTM, 512 units', '-', '1.65', 'Zhang et al. 2016, ' + KRAUSE),
            ('LSTM', '-', '1.43', 'Cooijmans et al. 2016, ' + KRAUSE),
            ('multiplicative LSTM, 1900 units', '45 M', '1.40', f'Krause et al. 2016; parameters {PROGRESS}'),
            ('LSTM, batch normalisation', '16 M', '1.36', f'Cooijmans et al. 2016; parameters {PROGRESS}'),
            ('multiplicative LSTM with dropout', '45 M', '1.27', f'Krause et al. 2016, {PROGRESS}'),
            ('multiplicative LSTM with dropout', '45 M', '1.19', f'Krause et al. 2017, {PROGRESS}', ADAPTED)),
        'An epoch takes hours: see --epochs.')}
PARTS = ('train', 'valid', 'test')


# ---------------------------------------------------------------- the parts of a text

class Part(NamedTuple):
    """A part as it is learned or scored, and how many of the published symbols it has."""
    text: str
    symbols: int

    @property
    def scale(self):
        """By what to multiply train.py's cost, a mean over the characters but the first, for one over the symbols."""
        return (len(self.text) - 1) / (self.symbols - 1)


def read(path):
    """Return the text of a file in UTF-8, with line ends as LF and without a byte order mark.

    Raises OSError when it cannot be read, ValueError when it is not in UTF-8.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f'{path} is no file')
    try:
        with named('read', path):
            return path.read_text(encoding='utf-8-sig')
    except UnicodeError as error:
        raise ValueError(f'{path} is not in UTF-8 ({error}): unpack it if it is an archive') from None


def in_bytes(text):
    """Return a text as the bytes of 2015: UTF-8 with a byte order mark and CRLF, and one LF at the end.

    Copies have other line ends, and some have none at the end.
    """
    return ('\ufeff' + text.rstrip('\n').replace('\n', '\r\n') + '\n').encode('utf-8')


def inside(symbols, k):
    """Return whether position k of bytes is inside a character or a CRLF; never in a string."""
    return isinstance(symbols, bytes) and (symbols[k:k + 1] > b'\x7f' and symbols[k] < 0xc0
                                           or symbols[k - 1:k + 1] == b'\r\n')


def pieces(symbols, cuts):
    """Cut a string or bytes at these shares of its length, in percent, rounded down. Return the pieces."""
    places = [0]
    for percent in cuts:
        k = len(symbols) * percent // 100
        while inside(symbols, k):
            k -= 1
        places.append(k)
    return [symbols[start:end] for start, end in zip(places, places[1:] + [len(symbols)])]


def part(piece):
    """Return the Part of a piece."""
    text = piece
    if isinstance(piece, bytes):
        text = piece.decode('utf-8').replace('\r\n', '\n')
        text = text[text[:1] == '\ufeff':]
    return Part(text, len(piece))


def length(split, n):
    """Return the length n of a file as it is published: 5,017 thousand, or 1,115,394."""
    return f'{n:,}' + ' thousand' * (split.unit == 1000)


def expected(split):
    """Return a line on the files of a split as they are published, and where they are from."""
    files = ', '.join(f'{name} ({length(split, n)} {split.symbols})' for name, n in zip(split.files, split.lengths))
    return f'{files}, {split.distinct} distinct; from {split.origin}'


def differences(split, texts):
    """Yield a line for each length of these texts, and for their alphabet, that is not as published."""
    for name, symbols, n in zip(split.files, texts, split.lengths):
        if len(symbols) // split.unit != n:
            yield f'{name} has {len(symbols):,} {split.symbols}, expected {length(split, n)}'
    distinct = len(set().union(*map(set, texts)))
    if distinct != split.distinct:
        yield f'the text has {distinct:,} distinct {split.symbols}, expected {split.distinct:,}'


def cut(split, paths):
    """Return the Parts of a split from its files, and a list of lines on what is not as published.

    Raises ValueError for another number of files and a text too short for all parts, and what read raises.
    """
    if len(paths) != len(split.files):
        raise ValueError(f'got {len(paths)} files, expected {len(split.files)}: {expected(split)}')
    texts = [split.plain(read(path)) for path in paths]
    if split.symbols == 'bytes':
        texts = [in_bytes(text) for text in texts]
    parts = [part(piece) for text in texts for piece in pieces(text, split.cuts)]
    if min(len(part.text) for part in parts) < 2:
        raise ValueError(f'got {sum(map(len, texts)):,} {split.symbols}, too few for all parts; expected '
                         f'{expected(split)}')
    return parts, list(differences(split, texts))


# ---------------------------------------------------------------- our runs

# Fields of the result that train.py writes at the end of a run, without _nats.
COSTS = (('valid', VALIDATION), ('test', TEST), ('test_adapted', ADAPTED))


class PublishedRun(Run):
    """A run whose result is read from the file that train.py writes when it has scored the parts."""

    def result(self):
        """Return the fields of the result, a dict; {} if there is none yet."""
        return next((json.loads(path.read_text(encoding='utf-8')) for path in self._files(RESULT)), {})

    def finished(self):
        """Return whether it has all its epochs, or ran out of patience before, and scored the parts."""
        return super().finished() and bool(self.result().get('finished'))

    def minutes(self):
        """Return how long its training steps took, by its log."""
        characters, (_, speeds) = self.result()['train_characters'], self.log()
        return sum(characters / speed for speed in speeds) / 60


def paths_of(name, split, folder):
    """Return the paths of the parts in the folder of the runs, in the order of PARTS."""
    count = len(split.cuts) + 1 if split.cuts else len(split.files)
    return [folder / f'{name}-{part}.txt' for part in PARTS[:count]]


def rows_of(name, split, paths, options):
    """Return a Row for each size of a split: the default recipe with its own texts to validate and to test."""
    more = ['--valid', str(paths[1])]
    if paths[2:]:
        more += ['--test', str(paths[2]), '--test-adapt']
    suffix = ''
    if options.precision != table.DEFAULTS['precision']:
        more += ['--precision', options.precision]
        suffix = f'-{options.precision}'
    seeds = tuple(range(1, options.seeds + 1))
    return [Row(f'{name}-{n}{suffix}', name, None, (*units(n), *more), seeds) for n in split.units]


def prepare(split, files, paths):
    """Write the parts of a split that do not exist yet. Return their scales, and lines on what is not as published.

    Raises ValueError for files that cannot be cut, and where another text has the name of a part.
    """
    parts, lines = cut(split, files)
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for part, path in zip(parts, paths):
        if not path.exists():
            write(path, part.text)
        elif path.read_bytes() != part.text.encode('utf-8'):
            raise ValueError(f'{path} exists and is another text: choose another folder for --results')
    return [part.scale for part in parts], [f'not as published: {line}' for line in lines]


# ---------------------------------------------------------------- the table

COLUMNS = (('model', 42), ('parameters', 11), ('part', 14), ('nats', 8), ('bits', 8), ('source, or of each seed', 0))


def print_cells(cells):
    print('  '.join(f'{cell:<{width}}' for cell, (_, width) in zip(cells, COLUMNS)).rstrip(), flush=True)


def figure_cells(figure):
    """Return the cells of a published figure; the unit in which it was not published is in brackets."""
    if figure.unit == 'nats':
        costs = figure.cost, f'({float(figure.cost) / math.log(2):.3f})'
    else:
        costs = f'({float(figure.cost) * math.log(2):.3f})', figure.cost
    return (figure.model, figure.parameters, figure.part, *costs, figure.source)


def our_cells(row, runs, field, title, scale):
    """Return the cells of a row for one of COSTS, the mean of its runs that are finished; scale: of its Part."""
    finished = [(run, run.result()) for run in runs if run.row is row and run.finished()]
    name = f'CharLSTM, {row.name}, default recipe'
    if not finished:
        return name, '-', title, '-', '-', 'no run is finished'
    costs = [result[f'{field}_nats'] * scale for _, result in finished]
    mean = sum(costs) / len(costs)
    of_each = '; '.join(f'{run.seed}: {cost:.4f}, epoch {result["best_epoch"]} of {result["epochs"]}, '
                        f'{run.minutes():.0f} min' for (run, result), cost in zip(finished, costs))
    return (name, f'{finished[0][1]["parameters"] / 1e6:.2f} M', title, f'{mean:.4f}', f'{mean / math.log(2):.4f}',
            of_each)


def print_figures(split):
    """Print the heading of the table, and the published figures."""
    print_cells([name for name, _ in COLUMNS])
    for figure in split.figures:
        print_cells(figure_cells(figure))


def print_ours(rows, runs, scales):
    """Print the lines of our runs; scales: of the Parts of the split, in the order of PARTS."""
    for row in rows:
        for (field, title), scale in zip(COSTS, [*scales[1:], *scales[2:]]):
            print_cells(our_cells(row, runs, field, title, scale))


def print_about(split):
    """Print what a split is."""
    for text in (f'{split.title}: {split.parts}', f'expected: {expected(split)}', split.notes):
        print(textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False))


# ---------------------------------------------------------------- the command

def runs_of(name, options, folder):
    """Return the rows of a split that match --only, and their runs in a folder."""
    split = SPLITS[name]
    paths = paths_of(name, split, folder)
    rows = chosen(rows_of(name, split, paths, options), options)
    return rows, [PublishedRun(row, seed, paths[0], folder) for row in rows for seed in row.seeds]


def print_list(names, options):
    """Print these splits, their published figures, and the commands."""
    folder = options.results or Path('DIR')
    for name in names:
        print_about(SPLITS[name])
        print_figures(SPLITS[name])
        files = options.files or SPLITS[name].files
        print('\n' + shlex.join(['python', 'tests/benchmarks/quality.py', 'published', name, *map(str, files),
                                 '--results', str(folder)]))
        rows, runs = runs_of(name, options, folder)
        for row in rows:
            print_commands(row, runs)
        print()
    return 0


def compare(name, options):
    """Train, finish or read the runs of a split and print the table. Returns 1 if one is not finished, otherwise 0.

    Raises ValueError for files that cannot be cut, and for a folder that has other parts.
    """
    split, folder = SPLITS[name], options.results
    rows, runs = runs_of(name, options, folder)
    scales, lines = prepare(split, options.files, paths_of(name, split, folder))
    print_head()
    print_about(split)
    for line in lines:
        print(line, flush=True)
    finish(runs)
    print()
    print_figures(split)
    print_ours(rows, runs, scales)
    for line in lines:
        print(line)                            # once more, next to the figures
    return 0 if all(run.finished() for run in runs) else 1


def published(options):
    """Run the command. Returns its exit status, 2 for a request that cannot be met."""
    try:
        if options.list:
            return print_list([options.name] if options.name else SPLITS, options)
        if not options.name:
            raise ValueError(f'name a split, {", ".join(SPLITS)}; --list describes them')
        if options.seeds < 1:
            raise ValueError(f'got --seeds {options.seeds}, expected at least 1')
        if not options.results:
            raise ValueError('name a folder for the parts and the runs with --results')
        return compare(options.name, options)
    except (ValueError, OSError) as error:
        print(f'quality.py published: {error}', file=sys.stderr)
        return 2
