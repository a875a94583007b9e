"""Learn a short text with NumPy alone: python -m engine.lesson TEXT OUT"""
import numpy as np

from engine.model import checks
from engine.model.files import refuse_to_replace, write_whole
from engine.lesson.numpy_lstm import learn, write
from engine.model.parameters import parameter_shapes, read_about, read_parameters, to_store
from engine.model.text import encoded, read_text
from engine.terminal import Parser, main

UNITS, STREAMS = 64, 10


def build_parser():
    """Return the parser of the command line."""
    parser = Parser(prog='engine.lesson', description='Learn a short text with the model in NumPy, slowly. '
                    'The checkpoint is written after each epoch, so Ctrl-C loses only the last one.')
    parser.add_argument('text', metavar='TEXT', help='text file to learn')
    parser.add_argument('out', metavar='OUT', help='checkpoint to write (.npz), for this program and all others')
    parser.add_argument('--init', metavar='PARAMS', help='checkpoint to begin with (default: 2x64 new units)')
    parser.add_argument('--epochs', metavar='N', type=int, default=30, help='times to read the text (default: 30)')
    parser.add_argument('--random-seed', metavar='N', type=int, default=1, help='(default: 1)')
    parser.add_argument('--overwrite', action='store_true', help='replace OUT if it exists')
    return parser


def begin(o, random):
    """Return the parameters, the text as numbers (n,), and the vocabulary (V,). o: the options.

    Raises OSError for files that cannot be read, and ValueError for those that cannot be used.
    """
    codes, uchar, _ = read_text(o.text)
    if len(codes) <= STREAMS:
        raise ValueError(f'{o.text} has {len(codes)} characters: expected more than {STREAMS}')
    if o.init is None:
        shapes, limit = parameter_shapes(len(uchar), UNITS, UNITS), UNITS ** -0.5
        return {name: random.uniform(-limit, limit, shape) for name, shape in shapes.items()}, codes, uchar
    about = read_about(o.init)
    if about and about['cell']['formula']:
        raise ValueError(f'{o.init} has another cell, {about["cell"]["formula"]}: expected that of charlstm.py')
    p, known = read_parameters(o.init, 'float64')
    return p, encoded(uchar[codes], known, o.text), known


def program(o):
    """Run the whole program. o: the options."""
    checks.whole('--epochs', o.epochs, 1)
    random = np.random.default_rng(checks.whole('--random-seed', o.random_seed, 0))
    if not o.out.endswith('.npz'):
        raise ValueError(f'OUT is {o.out}: expected the name of a checkpoint, such as x.npz')
    refuse_to_replace(o.out, o.overwrite, [o.text, o.init])
    p, codes, uchar = begin(o, random)
    for epoch, cost in enumerate(learn(p, codes, o.epochs, STREAMS), 1):
        with write_whole(o.out) as file:
            np.savez(file, uchar=to_store(uchar), **p)
        print(f'epoch {epoch}/{o.epochs}: cost {cost:.4f} nats; it writes {"".join(uchar[write(p, random, 60)])!r}',
              flush=True)


if __name__ == '__main__':
    main(build_parser(), program)
