"""Write text with a learned model: python produce_text.py [PARAMS] [OUT]"""
# /// script
# requires-python = ">=3.8"
# dependencies = ["Theano==1.0.5", "numpy>=1.20", "scipy", "matplotlib", "tqdm"]
# [tool.uv.sources]
# Theano = { path = "engine/backend/theano_wheel", marker = "python_version >= '3.12'" }
# ///
from engine import interrupts

if __name__ == '__main__':
    interrupts.end_at_once()           # before imports that take a while

import os
import re

from engine import commands, report
from engine.run import options
from engine.files import append_text, is_archive, refuse_to_replace
from engine.run.recipe import BUNDLED
from engine.terminal import Parser, main, note

HERE = os.path.dirname(os.path.abspath(__file__))
HEADING = '# sequence {}:'
ESCAPES = {r'\n': '\n', r'\t': '\t', r'\\': '\\'}
OPTIONS = {
    'writing': [
        ('length', int, None, 'characters to write in a sequence, after the prime (default: 100; in a page 2000)'),
        ('count', int, 5, 'sequences'),
        ('prime', 'TEXT', '', r'text to continue; \n: line end, \t: tab, \\: backslash (default: a random character)'),
        ('prime-file', 'FILE', None, 'file with the text to continue'),
        ('stop', 'TEXT', '', 'a sequence ends where it has written this, with the escapes of --prime (default: never)'),
        ('lines', bool, False, r'a line for each sequence, as for names: --prime and --stop are "\n" if not given'),
        ('random-seed', int, None, 'whole number that makes the text repeatable (default: a new one each time)')],
    'choice of each character': [
        ('method', ('normal', 'argmax', 'max'), 'normal', 'draw from the distribution, or take the most probable'),
        ('temperature', float, 1.0, 'below 1 the probable becomes more so, above 1 less'),
        ('top-k', int, None, 'draw from the N most probable characters alone (default: from all)'),
        ('top-p', float, 1.0, 'draw from the fewest characters that have this probability together')],
    'instead of writing': [
        ('score', 'FILE', None, 'print how well the model expects this text'),
        ('adapt', dict(type=float, nargs='?', const=0.1, metavar='RATE'), None,
         'with --score, also let a copy of the model go on learning from what it has just scored (0.1 unless named)'),
        ('page', 'FILE', None, 'write a page for a browser that shows what it expects and remembers in the text of '
                               '--score, or in one that it writes, and that has the model itself'),
        ('overwrite', bool, False, 'with --page, replace the file that is there'),
        ('info', bool, False, 'print what PARAMS was trained on, with what, how far and how well'),
        ('encoding', 'NAME', 'utf-8', 'of the files of --prime-file and --score, and of the bytes that a checkpoint of '
                                      'the original of this program learned')]}


def build_parser():
    parser = Parser(
        description='Write text with parameters that train.py has learned, or judge with them a text that is there. '
                    'Standard output gets the text alone, standard error what is said about it.')
    parser.add_argument('params', metavar='PARAMS', nargs='?', default=commands.near(BUNDLED),
                        help='checkpoint (.npz) to write with (default: the bundled one, of Pride and Prejudice)')
    parser.add_argument('out', metavar='OUT', nargs='?', help='file that the text is appended to (default: '
                        'text_output/<file name of PARAMS>.out beside this script)')
    for title, rows in OPTIONS.items():
        options.add(parser.add_argument_group(title), rows)
    return parser


def unescaped(text):
    """The text that an option with escapes means."""
    return re.sub(r'\\[nt\\]', lambda escape: ESCAPES[escape.group()], text)


def sequences(model, o):
    """Yield the sequences piece by piece, each a list of o.count strings, the prime first; o: the options."""
    from engine.state.text import encoded, read_string
    line_end = '\n' if o.lines else ''
    prime = read_string(o.prime_file, o.encoding) if o.prime_file else unescaped(o.prime) or line_end
    given = len(encoded(model.in_vocabulary(prime), model.uchar, 'the prime'))
    yield from model.stream_text(prime, given + o.length, o.method, o.count, o.temperature, o.top_k, o.top_p,
                                 unescaped(o.stop) or line_end)


def write(model, o):
    """Write the sequences, the first while it grows, and append them to the file when they are whole."""
    texts, headed = None, o.count > 1 and not o.lines
    for pieces in sequences(model, o):
        if texts is None:                              # the prime: nothing is wrong with what was asked for
            note(f'{o.params}: {report.summary(o.params)}')
            model.compile('sample')
            note(f'\n{HEADING.format(1)}' if headed else '')
        if not o.lines:
            print(pieces[0], end='', flush=True)
        texts = [text + piece for text, piece in zip(texts, pieces)] if texts else pieces
    if o.lines:
        written = [text.strip('\n') + '\n' for text in texts]
        print(''.join(written), end='', flush=True)
    else:
        written = [f'{HEADING.format(i)}\n{text}\n\n' for i, text in enumerate(texts, 1)]
        for i, text in enumerate(texts[1:], 2):
            print('\n')
            note(HEADING.format(i))
            print(text, end='')
        print()
    path = o.out or commands.near(os.path.join(HERE, 'text_output', os.path.basename(o.params) + '.out'))
    append_text(path, ''.join(written))
    note(f'appended to {path}')


def show(model, o):
    """Write the page of the beginning of a file, or of a text that the model writes."""
    from engine.page import page
    model.compile('predict', 'sample')
    if o.score:
        text, source = page.beginning(report.read_known(model, o.score, o.encoding, note), o.score)
    else:
        o.count = 1
        text = report.known(model, ''.join(pieces[0] for pieces in sequences(model, o)), note)
        source = 'A text that the model wrote itself.'
    page.write_page(o.page, model, o.params, text, source)


def program(o):
    """The whole program; o: the options."""
    if o.length is None:
        o.length = 100 if o.page is None else 2000
    for wrong, why in ((o.length < 1, f'--length is {o.length}: expected at least 1'),
                       (o.prime and o.prime_file, '--prime and --prime-file are both given: expected one of them'),
                       (o.adapt and not o.score, '--adapt is given without --score, the text to adapt to'),
                       (o.page is not None and (o.info or o.adapt), '--page is given with --info or --adapt: not both'),
                       (o.out is not None and is_archive(o.out), f'{o.out} is a checkpoint or a zip file, to which no '
                        'text is appended: give one PARAMS, and a text file as OUT'),
                       (o.out is not None and (o.score or o.info or o.page is not None),
                        f'OUT is {o.out}, but --score, --info and --page write no text to it: leave it out'),
                       (o.overwrite and o.page is None, '--overwrite is given without --page, the file to replace')):
        if wrong:
            raise ValueError(why)
    if o.info:
        return print(report.description(o.params, o.encoding))
    if o.page is not None:
        refuse_to_replace(o.page, o.overwrite)
    from charlstm import CharLSTM          # here alone, late: Theano takes a second to import
    interrupts.raise_again()
    model = CharLSTM(o.random_seed)
    model.model_setup(o.params, encoding=o.encoding)
    if o.page is not None:
        return show(model, o)
    if not o.score:
        return write(model, o)
    report.print_score(model, o.score, o.encoding, o.adapt)


def needs_less(o):
    """The options that take less memory where they are smaller, with their verb, or ''. o: the options.

    A text to score is read in pieces of bounded memory, so there it is the model that is too large.
    """
    if o.info or o.score:
        return ''
    return 'a smaller --length needs' if o.page is not None else 'a smaller --count or --length needs'


if __name__ == '__main__':
    main(build_parser(), program, needs_less)
