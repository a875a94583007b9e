"""Measure how good the models get, on published splits. Costs are nats a character.

    python tests/benchmarks/quality.py published NAME FILE [FILE ...] --results DIR
    python tests/benchmarks/quality.py table
    python tests/benchmarks/quality.py compressors NAME FILE [FILE ...]
    python tests/benchmarks/quality.py minutes FILE --nanogpt FOLDER --results DIR

published    runs of train.py on the split NAME. A finished run in DIR is only read, and another one is resumed. Each
             gets a small file in DIR, NAME-UNITS-seedN.json, for tests/benchmarks/results.
table        README's rows from the files in tests/benchmarks/results; fails if README has a row without them
compressors  what general compressors need for the last part of the split, after the parts before the validation part
minutes      the validation cost of CharLSTM, nanoGPT and PyTorch's nn.LSTM on tiny Shakespeare against minutes, as
             README's rows and as DIR/minutes.png. Finished runs in DIR are only read; another one starts anew.

FILE is the text, or its parts, as published. The commands fetch nothing: the README says where the texts are from.
"""
import argparse
import bz2
import json
import lzma
import math
import shlex
import sys
from pathlib import Path
from typing import Callable, NamedTuple

from common import print_head, table, trained, write_part
from minutes import cost_of_charlstm, minutes, minutes_row, read_curves
from engine.run.table import ROWS

HERE = Path(__file__).parent


# ---------------------------------------------------------------- splits

def without_marks(text):
    """Return a text of Mikolov's Penn Treebank with single spaces between words and lines that end in no space.

    It is distributed by characters (each is followed by a space, and _ means a space) and by words (each line has a
    space at its beginning and end). Both become the same text.
    """
    if set(text[1::2]) == {' '}:
        return text[::2].replace('_', ' ')
    return '\n'.join(line.strip(' ') for line in text.split('\n'))


def as_bytes(text):
    """Return a text as its bytes with CRLF line ends and a byte order mark, as in 2015: a character for each."""
    encoded = ('\ufeff' + text.rstrip('\n').replace('\n', '\r\n') + '\n').encode('utf-8')
    return encoded.decode('latin-1').replace('\r', '\xff')         # no byte of UTF-8, since train.py reads CRLF as LF


class Split(NamedTuple):
    """A text that is published with its parts."""
    title: str
    files: tuple                       # names of the files as they are distributed
    lengths: tuple                     # symbols of each file as published; those of Penn Treebank in thousands
    cuts: tuple                        # where to cut a single file: percent of its symbols
    plain: Callable = str              # from the text of a file to the text to train on
    unit: float = 1                    # of README's rows, in nats
    pieces: bool = False               # whether README has costs in pieces, too


SPLITS = {
    'shakespeare': Split('tiny Shakespeare, as nanoGPT splits it by characters', ('input.txt',), (1_115_394,), (90,),
                         pieces=True),
    'penn': Split('Penn Treebank by characters, as prepared by Mikolov',
                  ('ptb.char.train.txt', 'ptb.char.valid.txt', 'ptb.char.test.txt'), (5_017_000, 393_000, 442_000), (),
                  plain=without_marks, unit=math.log(2)),
    'warandpeace': Split('War and Peace, as in Karpathy, Johnson and Li 2015', ('warpeace_input.txt',), (3_258_246,),
                         (80, 90), plain=as_bytes)}


def cut(split, paths):
    """Return the texts of the parts of a split from its files. Print what is not as published.

    Raises ValueError and OSError.
    """
    if len(paths) != len(split.files):
        raise ValueError(f'got {len(paths)} files, expected {", ".join(split.files)}')
    texts = [split.plain(path.read_text(encoding='utf-8-sig')) for path in paths]
    for name, text, n in zip(split.files, texts, split.lengths):
        if len(text) // 1000 != n // 1000:
            print(f'not as published: {name} has {len(text):,} symbols, expected {n:,}')
    return [part for text in texts for part in pieces(text, split.cuts)]


def pieces(text, cuts):
    """Cut a text at these shares of its length, in percent, rounded down. Return the pieces."""
    places = [0, *(len(text) * percent // 100 for percent in cuts), len(text)]
    return [text[start:end] for start, end in zip(places, places[1:])]


# ---------------------------------------------------------------- the commands

def published(options):
    """Train, resume or read the runs of a split. Write a file of each, and print their rows."""
    split, name, folder = SPLITS[options.name], options.name, options.results
    print_head()
    print(split.title)
    parts = cut(split, options.files)
    paths = [write_part(folder / f'{name}-{title}.txt', part)
             for title, part in zip(('train', 'valid', 'test'), parts)]
    more = ['--valid', paths[1], '--test', paths[-1], '--test-adapt', *options.options]
    for units in options.units or (256, 512):
        results = []
        for seed in range(1, options.seeds + 1):
            run = f'{name}-{units}-seed{seed}'
            result = trained(paths[0], run, folder, '--random-seed', seed, '--num-units1', units, *more)
            in_pieces = cost_of_charlstm(folder / f'{run}_{paths[0].name}_best.npz', parts[1])
            results.append(result | dict(valid_in_pieces_nats=in_pieces))
            (folder / f'{run}.json').write_text(json.dumps(results[-1], indent=1) + '\n')
        print(readme_row(name, results), flush=True)


# ---------------------------------------------------------------- README's rows

def readme_row(name, results):
    """Return the row in README.md of runs on a split that differ only in their random seed."""
    first, split = results[0], SPLITS[name]

    def costs(of):
        return [result[f'{of}nats'] / split.unit for result in results]

    def mean(of='test_'):
        return f'{sum(costs(of)) / len(results):.3f}'

    capped = all(result['epochs'] == first['option_epochs'] for result in results)
    alone = '' if results[1:] else f' (one seed, best after epoch {first["best_epoch"]})'
    length, default = first['option_seq_length'], ROWS['seq_length'].default
    units = first['units'].split()
    cells = [f'CharLSTM {len(units)}x{units[0]}' + (length != default) * f', sequences of {length}'
             + capped * f', {first["epochs"]} epochs',
             f'{first["parameters"] / 1e6:.2f} M', f'{mean()}; adapted {mean("test_adapted_")}{alone}']
    cells += [mean('valid_in_pieces_')] if split.pieces else []
    cells += ['mean of ' + ', '.join(f'{cost:.3f}' for cost in costs('test_')) if results[1:] else '']
    return f'| {" | ".join(cells)} |'


def compare(options):
    """Print README's rows from result files. Raises ValueError if it has a row without files."""
    runs, found = {}, [minutes_row(*each) for each in read_curves(options.results).items()]
    for path in sorted(options.results.glob('*-seed?.json')):
        runs.setdefault(path.name.split('-seed')[0], []).append(json.loads(path.read_text()))
    found += [readme_row(name.split('-')[0], results) for name, results in runs.items()]
    print('\n'.join(found))
    written = (HERE / 'README.md').read_text(encoding='utf-8').split('### Against minutes')[1]
    ours = [line for line in written.splitlines() if line.startswith(('| CharLSTM', '| PyTorch, ', '| nanoGPT'))]
    missing = [line for line in ours if line not in found]
    if missing:
        raise ValueError(f'{options.results} has no results for this row of README.md: {missing[0]}')


# ---------------------------------------------------------------- compressors

# zpaq's strongest models, for blocks of 16 MB. Its levels choose models by size: two sizes could not be subtracted.
ZPAQ = 'x4,0w2c0,1010,255i1c256ci1,1,1,1,1,1,2ac0,2,0,255i1c0,3,0,0,255i1c0,4,0,0,0,255i1mm16ts19t0'


def compressors(options):
    """Print the bits a symbol that the last part adds to a compressed training text. Raises ValueError and OSError."""
    import pyppmd
    import zpaq
    parts = cut(SPLITS[options.name], options.files)
    train, *_, last = [part.encode('latin-1').replace(b'\xff', b'\r') for part in parts]       # undoes as_bytes
    row = table('program', ' nats', ' bits')
    for name, compress in {
            'bzip2': bz2.compress, 'xz -9e': lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
            'PPMd': lambda data: pyppmd.compress(data, max_order=16, mem_size=1 << 28),
            'zpaq': lambda data: zpaq.compress(data, method=ZPAQ, threads=1)}.items():
        bits = 8 * (len(compress(train + last)) - len(compress(train))) / len(last)
        row(name, f'{bits * math.log(2):.3f}', f'{bits:.3f}')


# ---------------------------------------------------------------- the command line

def build_parser():
    """Return the parser, with a subcommand for each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(metavar='COMMAND', required=True)
    for function, text in ((published, 'runs of train.py on a published split'),
                           (compressors, 'compressed sizes of a published split')):
        add = commands.add_parser(function.__name__, help=text)
        add.set_defaults(function=function)
        add.add_argument('name', metavar='NAME', choices=SPLITS, help=f'one of {", ".join(SPLITS)}')
        add.add_argument('files', metavar='FILE', nargs='+', type=Path, help='the text, or its parts, as published')
    add = commands.add_parser('table', help="README's rows from result files")
    add.set_defaults(function=compare)
    add.add_argument('--results', metavar='DIR', type=Path, default=HERE / 'results', help='default: %(default)s')
    add = commands.choices['published']
    add.add_argument('--results', metavar='DIR', type=Path, required=True, help='folder of the parts and the runs')
    add.add_argument('--units', type=int, action='append', help='of each layer (default: 256 and 512)')
    add.add_argument('--seeds', type=int, default=1, help='runs of each size (default: %(default)s)')
    add.add_argument('--options', type=shlex.split, default=[], help='of train.py, such as "--epochs 20"')
    add = commands.add_parser('minutes', help='costs of CharLSTM, nanoGPT and PyTorch against minutes')
    add.set_defaults(function=lambda options: minutes(
        options, cut(SPLITS['shakespeare'], [options.file])))
    add.add_argument('file', metavar='FILE', type=Path, help='tiny Shakespeare')
    add.add_argument('--nanogpt', metavar='FOLDER', type=Path, required=True, help='a clone of nanoGPT')
    add.add_argument('--results', metavar='DIR', type=Path, required=True, help='folder of the runs')
    add.add_argument('--minutes', type=float, default=20, help='of each run (default: %(default)s)')
    return parser


def main():
    """Run the command line."""
    options = build_parser().parse_args()
    try:
        options.function(options)
    except (ValueError, OSError) as error:
        sys.exit(f'quality.py: {error}')


if __name__ == '__main__':
    main()
