"""Write text with a learned model: python produce_text.py [PARAMS] [OUT]"""
import argparse
import math
import os

from engine import options
from engine.files import append_text
from engine.terminal import main, say_if_slow

HERE = os.path.dirname(os.path.abspath(__file__))
BUNDLED = os.path.join('training_results', 'prideandprejudice.npz')        # beside this script
HEADING = '# sequence {}:\n'
SURPRISES = 10     # least expected places that --score shows,
CONTEXT = 30       # each with so many characters before it
OPTIONS = {
    'writing': [
        ('length', int, 100, 'characters in a sequence, prime included'),
        ('count', int, 5, 'sequences'),
        ('prime', 'TEXT', '', 'text to continue (default: a random character)'),
        ('prime-file', 'FILE', None, 'file with the text to continue'),
        ('stop', 'TEXT', '', 'a sequence ends where it has written this (default: never)'),
        ('random-seed', int, None, 'whole number that makes the text repeatable (default: a new one each time)')],
    'choice of each character': [
        ('method', ('normal', 'argmax'), 'normal', 'draw from the distribution, or take the most probable always'),
        ('temperature', float, 1.0, 'below 1 the probable becomes more so, above 1 less'),
        ('top-k', int, None, 'draw from the N most probable characters alone (default: from all)'),
        ('top-p', float, 1.0, 'draw from the fewest characters that have this probability together')],
    'instead of writing': [
        ('score', 'FILE', None, 'print how well the model expects this text'),
        ('adapt', dict(type=float, nargs='?', const=0.1, metavar='RATE'), None,
         'with --score, also let a copy of the model go on learning from what it has just scored (0.1 unless named)'),
        ('info', bool, False, 'print what PARAMS was trained on, with what, how far and how well'),
        ('encoding', 'NAME', 'utf-8', 'of the files of --prime-file and --score')]}


def build_parser():
    parser = argparse.ArgumentParser(
        description='Write text with parameters that train.py has learned, or judge with them a text that is there.')
    parser.add_argument('params', metavar='PARAMS', nargs='?', default=os.path.join(os.path.relpath(HERE), BUNDLED),
                        help='checkpoint (.npz) to write with (default: the bundled one, of Pride and Prejudice)')
    parser.add_argument('out', metavar='OUT', nargs='?', help='file that the text is appended to (default: '
                        'text_output/<name of PARAMS>.out beside this script)')
    for title, rows in OPTIONS.items():
        options.add(parser.add_argument_group(title), rows)
    return parser


def output_path(o):
    """Where the text goes; o: the options."""
    if o.out is not None:
        return o.out
    name = os.path.splitext(os.path.basename(o.params))[0] + '.out'
    return os.path.join(os.path.relpath(HERE), 'text_output', name)


def text_of(path, encoding):
    """The text of a file as a string, read as train.py reads it."""
    from engine.text import read_text
    codes, uchar, _ = read_text(path, encoding)
    return ''.join(uchar[codes])


def write(model, o):
    """Write the sequences, to the terminal while they grow and to the file when they are whole."""
    if o.length < 1:
        raise ValueError(f'--length is {o.length}: expected at least 1')
    if o.prime and o.prime_file:
        raise ValueError('--prime and --prime-file are both given: expected one of them')
    prime, path = text_of(o.prime_file, o.encoding) if o.prime_file else o.prime, output_path(o)
    stream = model.stream_text(prime, o.length, o.method, o.count, o.temperature, o.top_k, o.top_p, o.stop)
    texts = next(stream)
    append_text(path, '')            # says before the work, not after it, that the file cannot be written
    with say_if_slow():
        model.compile('sample')
    print(HEADING.format(0) + texts[0], end='', flush=True)
    for pieces in stream:
        print(pieces[0], end='', flush=True)
        texts = [text + piece for text, piece in zip(texts, pieces)]
    written = [HEADING.format(i) + text + '\n\n' for i, text in enumerate(texts)]
    print('\n\n' + ''.join(written[1:]), end='', flush=True)
    append_text(path, ''.join(written))
    print(f'appended to {path}')


def print_cost(what, costs):
    nats = float(costs.mean(dtype='float64'))
    print(f'{what}: {len(costs) + 1:,} characters, {nats:.4f} nats and {nats / math.log(2):.4f} bits per character, '
          f'perplexity {math.exp(nats):.3f}')


def score(model, o):
    """Print how well the model expects a text, and where it is most surprised."""
    text = text_of(o.score, o.encoding)
    with say_if_slow():
        model.compile('predict')
    costs = model.score_text(text)                                   # of text[1:]
    print_cost(o.score, costs)
    if o.adapt:
        with say_if_slow():
            print_cost(f'{o.score}, adapting at {o.adapt:g}', model.score_text(text, adapt=o.adapt))
    print('least expected:')
    for k in costs.argsort()[::-1][:SURPRISES]:
        before = text[max(0, k + 1 - CONTEXT):k + 1]
        print(f'{costs[k]:8.3f} nats at character {k + 1:,}: {text[k + 1]!r} after {before!r}')


def print_info(path):
    """Print what a checkpoint says of itself."""
    from engine.checkpoint import Checkpoint
    from engine.parameters import read_parameters, units
    with Checkpoint(path) as stored:
        (parameters, uchar), about = read_parameters(stored, 'float64'), stored.about
    print('{}: 2 layers of {} and {} units, {:,} parameters, {} characters: {}'.format(
        path, *units(parameters), sum(p.size for p in parameters.values()), len(uchar), ascii(''.join(uchar))))
    for name, title in (('text', 'text'), ('lp', 'learning'), ('versions', 'versions')):
        if about.get(name):
            print(f'{title}: ' + ', '.join('{} {}'.format(*item) for item in about[name].items()))
    progress = about.get('progress') or {}
    if {'epoch', 'batch', 'rate', 'best_cost', 'best_epoch'} <= set(progress):         # train.py's, not a user's own
        print(f'progress: {progress["epoch"]} epochs and {progress["batch"]} batches, rate {progress["rate"]:g}')
        if progress['best_cost'] is not None:
            print(f'best validation cost: {progress["best_cost"]:.4f} nats a character, after epoch '
                  f'{progress["best_epoch"]}')
    if not about:
        print('it holds parameters and characters alone, as the original of this program wrote them')


def program(o):
    """The whole program; o: the options."""
    if o.info:
        return print_info(o.params)
    from charlstm import CharLSTM          # here alone, late: Theano takes a second to import
    model = CharLSTM(o.random_seed)
    model.model_setup(o.params)
    (score if o.score else write)(model, o)


if __name__ == '__main__':
    main(build_parser(), program, less='a smaller --count needs')
