"""Write text with a trained model: python produce_text.py [PARAMS] [OUT]"""
# /// script
# requires-python = ">=3.10"
# dependencies = ["Theano==1.0.5", "numpy>=2.0", "scipy", "matplotlib", "tqdm"]
# [tool.uv.sources]
# Theano = { path = "engine/backend/theano_wheel" }
# ///
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))        # where python -I does not look

from engine.terminal import end_at_once

if __name__ == '__main__':
    end_at_once()           # before imports that take time

import contextlib
import itertools

from engine import copies, report, scoring, writing
from engine.model.files import append_text, open_to_append, refuse_to_change
from engine.own_class import make_model
from engine.terminal import BUNDLED, Parser, main, near, note, number_of, one_line, raise_again

HERE = os.path.dirname(os.path.abspath(__file__))


def build_parser():
    """Return the parser of the command line."""
    parser = Parser(
        description='Write text with a model that train.py has trained, or score an existing text with it. '
                    'What was asked for goes to standard output; messages go to standard error.')
    parser.add_argument('params', metavar='PARAMS', nargs='?', default=near(BUNDLED),
                        help='checkpoint (.npz) of the model, or a file of PyTorch, .safetensors (default: the bundled '
                             'one, of Pride and Prejudice)')
    parser.add_argument('out', metavar='OUT', nargs='?', help='file to append the text to (default: '
                        'text_output/<file name of PARAMS>.out in the folder of this script)')
    parser.add_options(writing.OPTIONS)
    return parser


def default_of(o):
    """Return what --prime and --stop are by default: a line end with --lines, otherwise ''. o: the options."""
    return '\n' if o.lines else ''


def prime_of(o):
    """Return the text to continue, '' for a random character. o: the options. Raise ValueError for an empty file."""
    from engine.model.text import read_string
    if o.prime_file is None:
        return default_of(o) if o.prime is None else writing.unescaped(o.prime)
    prime = read_string(o.prime_file, o.encoding)
    if not prime:
        raise ValueError(f'{o.prime_file} is empty: expected the text to continue; leave out --prime-file to begin '
                         'with a random character')
    return prime


def sequences(model, o, prime):
    """Yield the sequences piece by piece, each piece a list of o.count strings, first the prime. o: the options."""
    from engine.model.text import encoded
    prime_length = len(encoded(prime, model.uchar, 'the prime'))
    stop = writing.unescaped(o.stop)
    encoded(stop, model.uchar, '--stop')          # raises ValueError where it would never come
    stop = stop or default_of(o)                           # also of a model that never writes a line end
    yield from model.stream_text(prime, prime_length + o.length, o.method, o.count, o.temperature, o.top_k, o.top_p,
                                 stop, writing.held(o.hold))


def original_of(o):
    """Return the Original of --copies, or None. o: the options."""
    return copies.read(o.copies, o.encoding, note) if o.copies is not None else None


def print_lines(pieces):
    """Print sequences, one a line, when they are complete. Return them, and what the file gets."""
    note('')
    texts = [''.join(parts) for parts in zip(*pieces)]
    written = ''.join(one_line(text.strip('\n')) + '\n' for text in texts)
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


def path_out(o, checkpoint):
    """Return the path of the file that texts are appended to. Raise ValueError for a text that is or was read.

    o: the options. checkpoint: the open checkpoint of the model.
    """
    from engine.model.checkpoint import sources          # late, so that --help does not wait for NumPy
    path = o.out or near(os.path.join(HERE, 'text_output', os.path.basename(o.params) + '.out'))
    learned = [source['path'] for source in sources(checkpoint.metadata.get('text', {})).values() if source]
    refuse_to_change(path, [o.prime_file, o.copies])
    refuse_to_change(path, learned, 'is a text of the run of this model, to be scored with --score')
    return path


def open_out(path):
    """Open the file that texts are appended to. Raise OSError."""
    try:
        return open_to_append(path)
    except OSError as error:
        raise OSError(f'{error}; name another file: OUT') from None


def write(model, o, checkpoint):
    """Print the sequences, and append them to the file when they are complete.

    o: the options. checkpoint: the open checkpoint of the model.
    """
    path, prime, original = path_out(o, checkpoint), prime_of(o), original_of(o)
    pieces = sequences(model, o, prime)
    first = next(pieces)                               # raises ValueError where an option is wrong
    note(f'{checkpoint}: {report.summary(checkpoint)}')
    model.compile('sample')
    pieces = itertools.chain([first], pieces)
    with open_out(path) as f:                          # before all is written, which takes longer
        texts, written = print_lines(pieces) if o.lines else print_texts(pieces, o.count)
        append_text(f, written)
    note(f'appended to {f.name}')
    if original:
        note('\n'.join(original.compare([text[len(prime):] for text in texts]).lines()))


def write_page(model, o, checkpoint, against):
    """Write the page of a file's beginning, or of a text that the model writes.

    o: the options. checkpoint, against: open checkpoints, of the model and of the one to compare, None without one.
    """
    from charlstm import CharLSTM
    from engine.model.parameters import cell_of
    from engine.page import page
    original, other, prime, source = original_of(o), None, '', None
    if against:
        other = (type(model) if cell_of(against)['formula'] else CharLSTM)()
        other.model_setup(against, encoding=o.encoding)
    model.compile('predict', 'sample')
    if o.score is not None:
        read = scoring.read(model, o.score, o.encoding, note)
        text = read.known
    else:
        prime = prime_of(o)
        held = f' while units were held: {", ".join(o.hold)}' if o.hold else ''
        if o.prime or o.prime_file:
            source = f'A text that the model wrote{held} after a beginning of {number_of(len(prime), "character")}.'
        elif held:
            source = f'A text that the model wrote{held}.'
        text, _ = scoring.known(model, ''.join(piece[0] for piece in sequences(model, o, prime)), note)
    left_out = {}
    if other:
        text, left_out = scoring.known(other, text, note, against)
        prime, _ = scoring.known(other, prime, lambda line: None)
    if o.score is not None:
        learned = checkpoint.metadata.get('text', {}).get('sha256') == read.sha256
        text, source = page.beginning_of(text, o.score, {**read.unknown, **left_out}, learned)
    found = original.compare([text[len(prime):]]) if original else None
    page.write_page(o.page, model, checkpoint, text, source, (other, against) if other else None, found)
    if found:
        note('\n'.join(found.lines()))


def program(o):
    """Run the whole program. o: the options."""
    writing.settle(o)
    if o.info:
        return report.print_info(o.params, o.encoding, o.json)
    if o.copies is not None and o.score is None:
        copies.refuse_many(o.count * o.length)
    from charlstm import CharLSTM          # late: Theano takes a second to import
    from engine.model.checkpoint import Checkpoint
    from engine.model.parameters import cell_of
    from engine.saving import cell_difference
    raise_again()
    model = make_model(o.cell, CharLSTM, o.random_seed, precision=o.precision)
    with contextlib.ExitStack() as files:
        # Each is opened once: all that is read is then of one epoch, even while train.py replaces the file.
        checkpoint, against = [None if path is None else files.enter_context(Checkpoint(path))
                               for path in (o.params, o.against)]
        model.model_setup(checkpoint, encoding=o.encoding)
        if o.export is not None:
            if cell_difference(model, checkpoint, cell_of(checkpoint)['formula']):
                raise ValueError(f'{o.export} would be another model than {checkpoint}: it was not written; add --cell')
            model.export(o.export)
            note(f'wrote {o.export}, {os.path.getsize(o.export) / 1e6:.1f} MB')
        elif o.page is not None:
            write_page(model, o, checkpoint, against)
        elif o.score is None:
            write(model, o, checkpoint)
        elif o.lines:
            scoring.print_lines(model, checkpoint, o.score, o.encoding, o.json)
        else:
            scoring.print_score(model, checkpoint, o.score, o.encoding, o.adapt, o.tune_temperature, o.json, o.copies)


if __name__ == '__main__':
    main(build_parser(), program)
