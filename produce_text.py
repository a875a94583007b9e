"""Write text with a trained model: python produce_text.py [PARAMS] [OUT]"""
# /// script
# requires-python = ">=3.8"
# dependencies = ["Theano==1.0.5", "numpy>=1.20", "scipy", "matplotlib", "tqdm"]
# [tool.uv.sources]
# Theano = { path = "engine/backend/theano_wheel", marker = "python_version >= '3.12'" }
# ///
from engine import interrupts

if __name__ == '__main__':
    interrupts.end_at_once()           # before imports that take time

import contextlib
import itertools
import os
import re

from engine import commands, copies, report, scoring
from engine.files import append_text, is_archive, refuse_to_replace
from engine.run import options
from engine.run.recipe import BUNDLED
from engine.terminal import Parser, main, note

HERE = os.path.dirname(os.path.abspath(__file__))
ESCAPES = {r'\n': '\n', r'\t': '\t', r'\\': '\\'}
OPTIONS = {
    'writing': [
        ('length', int, None, 'characters in each sequence, without the prime (default: 100; in a page 2000)'),
        ('count', int, None, 'number of sequences; a page has one (default: 5)'),
        ('prime', 'TEXT', '', r'text to continue; \n: line end, \t: tab, \\: backslash (default: a random character)'),
        ('prime-file', 'FILE', None, 'file with the text to continue'),
        ('stop', 'TEXT', '', 'end a sequence after this text; escapes as in --prime (default: never)'),
        ('lines', bool, False, r'write one sequence per line, such as names; --prime and --stop default to "\n". With '
         '--score, print the cost of each line, read by itself after a line end: nats<TAB>characters<TAB>line, of its '
         'characters and of the line end after them'),
        ('hold', dict(action='append', type=str, metavar='STATE:UNIT=VALUE'), None,
         'hold the cell state of a unit at a value, such as C2:44=5.0 for unit 44 of layer 2; may be repeated'),
        ('precision', ('float32', 'bfloat16'), 'float32',
         'bfloat16: products of rounded numbers, which some processors compute faster, most of all for many sequences'),
        ('random-seed', int, None, 'whole number that makes the text repeatable (default: a new one each time)')],
    'choice of each character': [
        ('method', ('normal', 'argmax', 'max'), 'normal', 'draw from the distribution, or take the most probable'),
        ('temperature', float, 1.0, 'below 1: probable characters become more probable; above 1: less'),
        ('top-k', int, None, 'draw from only the N most probable characters (default: from all)'),
        ('top-p', float, 1.0, 'draw from the fewest characters that together have this probability')],
    'is it copying?': [
        ('copies', 'TEXT', None, 'say how much of what is written, or of the text of --score, stands in this text (a '
                                 'file or folder), and the longest such passage; in a page, underline the passages')],
    'instead of writing': [
        ('score', 'FILE', None, 'print how well the model predicts this text'),
        ('adapt', dict(type=float, nargs='?', const=True, metavar='RATE'), None,
         'with --score, score also with a copy of the model that learns from the text as it reads it (RATE: 0.0001 if '
         'PARAMS has the averages of RMSprop, as the checkpoints of train.py have, otherwise 0.1)'),
        ('tune-temperature', 'VALID', None, 'with --score, score also at the temperature that suits the text VALID'),
        ('json', bool, False, 'with --score or --info, print one object of JSON'),
        ('page', 'FILE', None, 'write a page for a browser: what the model expects and remembers in the text of '
                               '--score, or in one that it writes, and the model itself'),
        ('against', 'PARAMS2', None, 'with --page, compare the model with that of another checkpoint: which of the two '
                                     'was less surprised by each character of the text'),
        ('overwrite', bool, False, 'with --page, replace an existing file'),
        ('info', bool, False, 'print what is known of PARAMS: training text, options, progress and cost'),
        ('encoding', 'NAME', 'utf-8', 'encoding of all texts that are read, and of checkpoints with a '
                                      'vocabulary of bytes, which the original of this program wrote')]}

NEEDS = {'adapt': ['score'], 'tune-temperature': ['score'], 'json': ['score', 'info'], 'against': ['page'],
         'overwrite': ['page']}
ALONE = [('prime', 'prime-file'), ('info', 'score'), ('page', 'info'), ('page', 'tune-temperature'), ('page', 'json'),
         ('page', 'count'), ('page', 'precision'), ('copies', 'info'), ('lines', 'adapt'),
         ('lines', 'tune-temperature')]


def build_parser():
    """Return the parser of the command line."""
    parser = Parser(
        description='Write text with a model that train.py has trained, or score an existing text with it. '
                    'The text goes to standard output; everything else goes to standard error.')
    parser.add_argument('params', metavar='PARAMS', nargs='?', default=commands.near(BUNDLED),
                        help='checkpoint (.npz) of the model (default: the bundled one, of Pride and Prejudice)')
    parser.add_argument('out', metavar='OUT', nargs='?', help='file to append the text to (default: '
                        'text_output/<file name of PARAMS>.out in the folder of this script)')
    for title, rows in OPTIONS.items():
        options.add(parser.add_argument_group(title), rows)
    return parser


def unescaped(text):
    """Return the text that an option with escapes stands for."""
    return re.sub(r'\\[nt\\]', lambda escape: ESCAPES[escape.group()], text)


def held(words):
    """Return what --hold asks for, as generate_text takes it; words: such as C2:44=5.0, or None."""
    if words is None:
        return None
    hold = {}
    for word in words:
        try:
            state, unit, value = re.fullmatch(r'(\w+):(\d+)=(\S+)', word).groups()
            unit, value = int(unit), float(value)
        except (AttributeError, ValueError):
            raise ValueError(f'--hold is {word}: expected STATE:UNIT=VALUE, such as C2:44=5.0') from None
        if unit in hold.setdefault(state, {}):
            raise ValueError(f'--hold has {state}:{unit} twice: expected one value for each unit')
        hold[state][unit] = value
    return hold


def prime_of(o):
    """Return the text to continue, '' for a random character. o: the options."""
    from engine.state.text import read_string
    if o.prime_file is not None:
        return read_string(o.prime_file, o.encoding)
    return unescaped(o.prime) or '\n' * o.lines


def sequences(model, o, prime):
    """Yield the sequences piece by piece, each piece a list of o.count strings, first the prime. o: the options."""
    from engine.state.text import encoded
    prime_length = len(encoded(model.in_vocabulary(prime), model.uchar, 'the prime'))
    yield from model.stream_text(prime, prime_length + o.length, o.method, o.count, o.temperature, o.top_k, o.top_p,
                                 unescaped(o.stop) or '\n' * o.lines, held(o.hold))


def original_of(o):
    """Return the Original of --copies, or None. o: the options."""
    return copies.read(o.copies, o.encoding, note) if o.copies is not None else None


def print_lines(pieces):
    """Print sequences, one a line, when they are complete. Return them, and what the file gets."""
    note('')
    texts = [''.join(parts) for parts in zip(*pieces)]
    written = ''.join(text.strip('\n') + '\n' for text in texts)
    print(written, end='', flush=True)
    return texts, written


def print_texts(pieces, count):
    """Print sequences, the first one while it is written. Return them, and what the file gets."""
    headings, texts = [f'# sequence {i}:' for i in range(1, count + 1)], [''] * count
    note('\n' + headings[0] if count > 1 else '')
    for piece in pieces:
        texts = [text + more for text, more in zip(texts, piece)]
        print(piece[0], end='', flush=True)
    for heading, text in zip(headings[1:], texts[1:]):
        print('\n')
        note(heading)
        print(text, end='')
    print()
    return texts, ''.join(f'{heading}\n{text}\n\n' for heading, text in zip(headings, texts))


def write(model, o, checkpoint):
    """Print the sequences, and append them to the file when they are complete.

    o: the options. checkpoint: the open checkpoint of the model.
    """
    prime, original = prime_of(o), original_of(o)
    pieces = sequences(model, o, prime)
    first = next(pieces)                               # raises ValueError where an option is wrong
    note(f'{checkpoint}: {report.summary(checkpoint)}')
    model.compile('sample')
    pieces = itertools.chain([first], pieces)
    texts, written = print_lines(pieces) if o.lines else print_texts(pieces, o.count)
    path = o.out or commands.near(os.path.join(HERE, 'text_output', os.path.basename(o.params) + '.out'))
    append_text(path, written)
    note(f'appended to {path}')
    if original:
        note('\n'.join(original.compare([text[len(prime):] for text in texts]).lines()))


def write_page(model, o, checkpoint, against):
    """Write the page of a file's beginning, or of a text that the model writes.

    o: the options. checkpoint, against: open checkpoints, of the model and of the one to compare, None without one.
    """
    from engine.page import page
    original = original_of(o)
    other = page.comparable(model, against, o.encoding) if against else None
    model.compile('predict', 'sample')
    prime, source = '', None
    if o.score is not None:
        text = scoring.read(model, o.score, o.encoding, note).known
    else:
        prime = prime_of(o)
        if o.hold:
            source = f'A text that the model wrote while units were held: {", ".join(o.hold)}.'
        text, _ = scoring.known(model, ''.join(piece[0] for piece in sequences(model, o, prime)), note)
    if other:
        text, _ = scoring.known(other, text, note, against)
        prime, _ = scoring.known(other, prime, lambda line: None)
    if o.score is not None:
        text, source = page.beginning_of(text, o.score)
    found = None
    if original:                                       # both in the model's characters, which may be bytes
        original = original._replace(text=model.in_vocabulary(original.text))
        found = original.compare([text[len(model.in_vocabulary(prime)):]])
    page.write_page(o.page, model, checkpoint, text, source, (other, against) if other else None, found)
    if found:
        note('\n'.join(found.lines()))


def refuse_input(o):
    """Raise ValueError if --page would replace a checkpoint, or a text that is read."""
    if is_archive(o.page):
        raise ValueError(f'--page is {o.page}, a checkpoint or a zip file: expected the name of a page, such as x.html')
    for path in filter(None, (o.params, o.score, o.copies, o.against, o.prime_file)):
        if os.path.exists(path) and os.path.exists(o.page) and os.path.samefile(path, o.page):
            raise ValueError(f'--page is {o.page}, which is also read: expected another name')


def check_names(o):
    """Raise ValueError where a file stands in the place of PARAMS that is no checkpoint."""
    if o.out is not None and is_archive(o.out) and not is_archive(o.params):
        raise ValueError(f'got {o.params} and then {o.out}: PARAMS, the checkpoint, comes first, as in '
                         f'{commands.script("produce_text.py", o.out, o.params)}')
    if os.path.isfile(o.params) and os.access(o.params, os.R_OK) and not is_archive(o.params):
        raise ValueError(f'{o.params} is no checkpoint: PARAMS comes first, as in '
                         f'{commands.script("produce_text.py", commands.near(BUNDLED), "--score", o.params)}')


def check(o):
    """Raise ValueError for options that are wrong or contradict each other."""
    typed = {name for rows in OPTIONS.values() for name, _, default, _ in rows
             if vars(o)[name.replace('-', '_')] != default}
    for name, needed in NEEDS.items():
        if name in typed and not typed & set(needed):
            raise ValueError(f'--{name} needs --{" or --".join(needed)}')
    for one, other in ALONE:
        if {one, other} <= typed:
            raise ValueError(f'got --{one} and --{other}: expected only one of them')
    reading = [f'--{name}' for name in ('info', 'score') if name in typed]
    for name, _, _, _ in OPTIONS['writing'] + OPTIONS['choice of each character']:
        if reading and name in typed and not (name == 'lines' and 'score' in typed and 'page' not in typed):
            raise ValueError(f'--{name} is for writing, but {reading[0]} writes no text: leave it out')
    for name in ('temperature', 'top-k', 'top-p'):
        if name in typed and o.method != 'normal':
            raise ValueError(f'--{name} is for drawing characters, but --method {o.method} takes the most probable '
                             'one: leave out one of them')
    for wrong, why in ((o.length is not None and o.length < 1, f'--length is {o.length}: expected at least 1'),
                       (o.adapt is not None and not o.adapt > 0, f'--adapt is {o.adapt}: expected a rate above 0'),
                       ({'page', 'adapt'} <= typed, '--adapt prints the cost of a model that learns as it reads, and '
                        '--page shows the model as it was saved: leave out one of them'),
                       ({'copies', 'lines', 'score'} <= typed, '--copies is of a text, and --score --lines prints the '
                        'cost of each line: leave out --copies or --lines'),
                       (o.out is not None and is_archive(o.out), f'{o.out} is a checkpoint or a zip file, to which no '
                        'text is appended: expected one PARAMS, and a text file as OUT'),
                       (o.out is not None and typed & {'score', 'info', 'page'},
                        f'OUT is {o.out}, but --score, --info and --page write no text to it: leave it out')):
        if wrong:
            raise ValueError(why)


def program(o):
    """Run the whole program. o: the options."""
    check_names(o)
    check(o)
    if o.info:
        return report.print_info(o.params, o.encoding, o.json)
    if o.page is not None:
        refuse_input(o)
        refuse_to_replace(o.page, o.overwrite)
    o.length = o.length or (100 if o.page is None else 2000)
    if o.count is None:
        o.count = 5 if o.page is None else 1
    if o.copies is not None and o.score is None:
        copies.refuse_many(o.count * o.length)
    from charlstm import CharLSTM          # late: Theano takes a second to import
    from engine.state.checkpoint import Checkpoint
    interrupts.raise_again()
    model = CharLSTM(o.random_seed, precision=o.precision)
    with contextlib.ExitStack() as files:
        # Each is opened once: all that is read is then of one epoch, even while train.py replaces the file.
        checkpoint, against = [None if path is None else files.enter_context(Checkpoint(path))
                               for path in (o.params, o.against)]
        model.model_setup(checkpoint, encoding=o.encoding)
        if o.page is not None:
            write_page(model, o, checkpoint, against)
        elif o.score is None:
            write(model, o, checkpoint)
        elif o.lines:
            scoring.print_lines(model, checkpoint, o.score, o.encoding, o.json)
        else:
            scoring.print_score(model, checkpoint, o.score, o.encoding, o.adapt, o.tune_temperature, o.json, o.copies)


def needs_less(o):
    """Return which options take less memory if they are smaller, with a verb, or ''. o: the options.

    --score reads its text in pieces of bounded memory, so there only a smaller model would help.
    """
    if o.info or o.score is not None:
        return ''
    return 'a smaller --length needs' if o.page is not None else 'a smaller --count or --length needs'


if __name__ == '__main__':
    main(build_parser(), program, needs_less)
