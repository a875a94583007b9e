"""Learn a short text with NumPy alone: python -m engine.lesson TEXT OUT"""
import os

import numpy as np

from engine.lesson.numpy_lstm import learn, write
from engine.model.files import write_whole
from engine.model.parameters import parameter_shapes
from engine.model.text import read_text
from engine.terminal import Parser, main

UNITS, STREAMS = 64, 10


def program(options):
    """Run the whole program."""
    if os.path.exists(options.out) and not options.overwrite:
        raise ValueError(f'{options.out} exists already: choose another name, or --overwrite to replace it')
    codes, uchar, _ = read_text(options.text)
    if len(codes) <= STREAMS:
        raise ValueError(f'{options.text} has {len(codes)} characters: expected more than {STREAMS}')
    random, limit = np.random.default_rng(options.random_seed), UNITS ** -0.5
    p = {name: random.uniform(-limit, limit, shape)
         for name, shape in parameter_shapes(len(uchar), UNITS, UNITS).items()}
    for epoch, cost in enumerate(learn(p, codes, options.epochs, STREAMS), 1):
        with write_whole(options.out) as file:
            np.savez(file, uchar=np.array(list(uchar)), **p)
        sample = ''.join(uchar[write(p, random, 60)])
        print(f'epoch {epoch}/{options.epochs}: cost {cost:.4f} nats; it writes {sample!r}', flush=True)


if __name__ == '__main__':
    parser = Parser(prog='engine.lesson', description='Learn a short text with the model in NumPy, slowly. '
                    'The checkpoint is written after each epoch, so Ctrl-C loses only the last one.')
    parser.add_argument('text', metavar='TEXT', help='text file to learn')
    parser.add_argument('out', metavar='OUT', help='checkpoint to write (.npz), which all other programs read')
    parser.add_argument('--epochs', metavar='N', type=int, default=30, help='times to read the text (default: 30)')
    parser.add_argument('--random-seed', metavar='N', type=int, default=1, help='(default: 1)')
    parser.add_argument('--overwrite', action='store_true', help='replace OUT if it exists')
    main(parser, program)
