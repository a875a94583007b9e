"""The commands of the lesson: python -m engine.lesson --help"""
import importlib

from engine.terminal import Parser, main


class Commands(Parser):
    parse_intermixed_args = Parser.parse_args              # argparse intermixes no arguments of commands


def program(options):
    return importlib.import_module(f'engine.lesson.{options.command}').program(options)    # train needs no Theano


if __name__ == '__main__':
    parser = Commands(prog='engine.lesson', description='The commands of the lesson, engine/lesson/README.md.')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True, parser_class=Parser)

    def command(name, words):
        return commands.add_parser(name, help=words, description=words)

    command('ready', 'say whether this computer is ready for the lesson')
    added = command('train', 'train in NumPy on a short text; save after each epoch')
    added.add_argument('text', metavar='TEXT', help='text file to train on')
    added.add_argument('out', metavar='OUT', help='checkpoint to write (.npz), readable by all other programs')
    added.add_argument('--epochs', metavar='N', type=int, default=30, help='passes over the text (default: 30)')
    added.add_argument('--overwrite', action='store_true', help='replace OUT if it exists')
    added = command('gradient', 'print a cell, the gradient that Theano derives, and both in C')
    added.add_argument('cell', metavar='FILE:CLASS', nargs='?', help='as for train.py --cell (default: charlstm.py)')
    added = command('check', 'check a solution of an exercise: it is right, or has a wrong number')
    added.add_argument('name', metavar='NAME', help='the exercise: a function or class in FILE, such as coupled')
    added.add_argument('file', metavar='FILE', help='Python file with your solution')
    added = command('words', 'find words in a text without spaces, where the next letter surprises a model')
    added.add_argument('text', metavar='TEXT', help='text file to train on')
    main(parser, program)
