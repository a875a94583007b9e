"""Write text with a learned model: python produce_text.py PARAMS [OUT]

Readable for every Python from 2.7 on, like charlstm.py.
"""
import argparse
import math
import os
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
HEADING = '# sequence {}:\n'
SURPRISES = 10     # least expected places that --score shows,
CONTEXT = 30       # each with so many characters before it


def build_parser():
    parser = argparse.ArgumentParser(
        description='Write text with parameters that train.py has learned, or judge with them a text that is there.')
    add = parser.add_argument
    add('params', metavar='PARAMS', help='checkpoint (.npz) to write with')
    add('out', metavar='OUT', nargs='?',
        help='file that the text is appended to (default: text_output/<name of PARAMS>.out beside this script)')
    add = parser.add_argument_group('writing').add_argument
    add('--length', type=int, metavar='N', default=100,
        help='characters in a sequence, prime included (default: %(default)s)')
    add('--count', type=int, metavar='N', default=5, help='sequences (default: %(default)s)')
    add('--prime', metavar='TEXT', default='', help='text to continue (default: a random character)')
    add('--prime-file', metavar='FILE', help='file with the text to continue')
    add('--stop', metavar='TEXT', default='', help='a sequence ends where it has written this (default: never)')
    add('--random-seed', type=int, metavar='N',
        help='whole number that makes the text repeatable (default: a new one each time)')
    add = parser.add_argument_group('choice of each character').add_argument
    add('--method', choices=('normal', 'argmax'), default='normal',
        help='normal: draw from the distribution; argmax: always the most probable character (default: %(default)s)')
    add('--temperature', type=float, metavar='X', default=1.0,
        help='below 1 the probable becomes more so, above 1 less (default: %(default)s)')
    add('--top-k', type=int, metavar='N', help='draw from the N most probable characters alone (default: from all)')
    add('--top-p', type=float, metavar='X', default=1.0,
        help='draw from the fewest characters that have this probability together (default: %(default)s)')
    add = parser.add_argument_group('instead of writing').add_argument
    add('--score', metavar='FILE', help='print how well the model expects this text')
    add('--info', action='store_true', help='print what PARAMS was trained on, with what, how far and how well')
    add('--encoding', metavar='NAME', default='utf-8', help='of the files of --prime-file and --score (default: utf-8)')
    return parser


def output_path(options):
    if options.out is not None:
        return options.out
    name = os.path.splitext(os.path.basename(options.params))[0]
    return os.path.join(os.path.relpath(HERE), 'text_output', name + '.out')


def append(path, text):
    """Append text to a file, all of it or nothing. Raises OSError."""
    from charlstm import append_whole
    new = not os.path.exists(path)
    try:
        with open(path, 'ab', buffering=0) as f:
            append_whole(f, text.encode('utf-8'))
    except OSError as error:
        raise OSError('cannot write {}: {}'.format(path, error.strerror) if error.strerror else str(error))
    finally:
        if new and os.path.exists(path) and os.path.getsize(path) == 0:
            os.remove(path)


def show(text):
    sys.stdout.write(text)
    sys.stdout.flush()


def text_of(path, encoding):
    """The text of a file as a string, read as train.py reads it."""
    from charlstm import read_text
    codes, uchar, _ = read_text(path, encoding)
    return ''.join(uchar[codes])


def produce(model, options):
    """Write the sequences, to the terminal while they grow and to the file when they are whole."""
    if options.length < 1:
        raise ValueError('--length is {}: expected at least 1'.format(options.length))
    if options.prime and options.prime_file:
        raise ValueError('--prime and --prime-file are both given: expected one of them')
    prime = text_of(options.prime_file, options.encoding) if options.prime_file else options.prime
    path = output_path(options)
    stream = model.stream_text(prime, options.length, options.method, options.count, temperature=options.temperature,
                               top_k=options.top_k, top_p=options.top_p, stop=options.stop)
    texts = next(stream)
    append(path, '')                 # says before the work, not after it, that the file cannot be written
    compile_model(model, 'sample')
    show(HEADING.format(0) + texts[0])
    for pieces in stream:
        show(pieces[0])
        texts = [text + piece for text, piece in zip(texts, pieces)]
    written = [HEADING.format(i) + text + '\n\n' for i, text in enumerate(texts)]
    show('\n\n' + ''.join(written[1:]))
    append(path, ''.join(written))
    print('appended to {}'.format(path))


def score(model, options):
    """Print how well the model expects a text, and where it is most surprised."""
    text = text_of(options.score, options.encoding)
    compile_model(model, 'predict')
    costs = model.score_text(text)                                   # of text[1:]
    nats = float(costs.mean(dtype='float64'))
    print('{}: {:,} characters, {:.4f} nats and {:.4f} bits per character, perplexity {:.3f}'.format(
        options.score, len(text), nats, nats / math.log(2), math.exp(nats)))
    print('least expected:')
    for k in costs.argsort()[::-1][:SURPRISES]:
        print('{:8.3f} nats at character {:,}: {!r} after {!r}'.format(
            float(costs[k]), k + 1, text[k + 1], text[max(0, k + 1 - CONTEXT):k + 1]))


def print_info(path):
    """Print what a checkpoint says of itself."""
    from charlstm import read_about, read_checkpoint
    parameters, uchar = read_checkpoint(path)
    about = read_about(path)
    print('{}: 2 layers of {} and {} units, {:,} parameters, {} characters: {}'.format(
        path, parameters['W1'].shape[-1], parameters['W2'].shape[-1], sum(p.size for p in parameters.values()),
        len(uchar), ascii(''.join(uchar))))
    for title in ('text', 'lp', 'versions'):
        if about.get(title):
            print('{}: {}'.format({'lp': 'learning'}.get(title, title),
                                  ', '.join('{} {}'.format(*item) for item in about[title].items())))
    progress = about.get('progress') or {}
    if {'epoch', 'batch', 'rate', 'best_cost', 'best_epoch'} <= set(progress):         # train.py's, not a user's own
        print('progress: {} epochs and {} batches, rate {:g}'.format(
            progress['epoch'], progress['batch'], progress['rate']))
        if progress['best_cost'] is not None:
            print('best validation cost: {:.4f} nats a character, after epoch {}'.format(
                progress['best_cost'], progress['best_epoch']))
    if not about:
        print('it holds parameters and characters alone, as the original of this program wrote them')


def compile_model(model, name):
    """Compile what is needed, and say so to a person where it takes more than a moment, as it does the first time."""
    notice = threading.Timer(2, sys.stderr.write, ['compiling, this first time only ...\n'])
    if sys.stderr.isatty():
        notice.start()
    try:
        model.compile(name)
    finally:
        notice.cancel()


def run(options):
    from charlstm import CharLSTM
    if options.info:
        return print_info(options.params)
    model = CharLSTM(random_seed=options.random_seed)
    model.model_setup(options.params)
    return score(model, options) if options.score else produce(model, options)


def main():
    parser = build_parser()
    options = parser.parse_args()
    try:
        if hasattr(sys.stdout, 'reconfigure'):
            sys.stdout.reconfigure(errors='replace')        # a terminal that lacks a character shows a mark
        run(options)
    except MemoryError as error:
        parser.exit(2, '{}: not enough memory: {}; a smaller --count needs less\n'.format(parser.prog, error))
    except (ImportError, OSError, ValueError) as error:
        parser.exit(2, '{}: {}\n'.format(parser.prog, error))
    except KeyboardInterrupt:
        parser.exit(130, 'produce_text.py: interrupted\n')


if __name__ == '__main__':
    main()
