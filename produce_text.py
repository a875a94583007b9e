"""Write text with a learned model: python produce_text.py PARAMS [OUT]

Readable for every Python from 2.7 on, like charlstm.py.
"""
import argparse
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
HEADING = '# sequence {}:\n'


def build_parser():
    parser = argparse.ArgumentParser(description='Write text with parameters that train.py has learned.')
    add = parser.add_argument
    add('params', metavar='PARAMS', help='checkpoint (.npz) to write with')
    add('out', metavar='OUT', nargs='?',
        help='file that the text is appended to (default: text_output/<name of PARAMS>.out beside this script)')
    add('--length', type=int, metavar='N', default=100,
        help='characters in a sequence, prime included (default: %(default)s)')
    add('--count', type=int, metavar='N', default=5, help='sequences (default: %(default)s)')
    add('--prime', metavar='TEXT', default='', help='text to continue (default: a random character)')
    add('--method', choices=('normal', 'argmax'), default='normal',
        help='normal: draw from the distribution; argmax: always the most probable character (default: %(default)s)')
    add('--random-seed', type=int, metavar='N',
        help='whole number that makes the text repeatable (default: a new one each time)')
    return parser


def output_path(options):
    if options.out:
        return options.out
    name = os.path.splitext(os.path.basename(options.params))[0]
    return os.path.join(os.path.relpath(HERE), 'text_output', name + '.out')


def append(path, text):
    """Append text to a file, all of it or nothing."""
    try:
        with open(path, 'ab') as f:
            size = f.tell()
            try:
                f.write(text.encode('utf-8'))
                f.flush()
            except OSError:
                os.truncate(path, size)
                raise
    except OSError as error:
        raise OSError('cannot write {}: {}'.format(path, error.strerror))


def show(text):
    sys.stdout.write(text)
    sys.stdout.flush()


def produce(options):
    from charlstm import CharLSTM
    if options.length < 1:
        raise ValueError('--length is {}: expected at least 1'.format(options.length))
    model = CharLSTM(random_seed=options.random_seed)
    model.model_setup(options.params)
    path = output_path(options)
    append(path, '')                 # says before the work, not after it, that the file cannot be written
    texts = [''] * options.count
    for pieces in model.stream_text(options.prime, options.length, options.method, options.count):
        show(pieces[0] if texts[0] else HEADING.format(0) + pieces[0])        # the first as it grows
        texts = [text + piece for text, piece in zip(texts, pieces)]
    written = [HEADING.format(i) + text + '\n\n' for i, text in enumerate(texts)]
    show('\n\n' + ''.join(written[1:]))
    append(path, ''.join(written))
    print('appended to {}'.format(path))


def main():
    parser = build_parser()
    options = parser.parse_args()
    try:
        if hasattr(sys.stdout, 'reconfigure'):
            sys.stdout.reconfigure(errors='replace')        # a terminal that lacks a character shows a mark
        produce(options)
    except (ImportError, OSError, ValueError) as error:
        parser.exit(2, 'produce_text.py: {}\n'.format(error))
    except KeyboardInterrupt:
        parser.exit(130, 'produce_text.py: interrupted\n')


if __name__ == '__main__':
    main()
