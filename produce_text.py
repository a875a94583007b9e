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
    end_at_once()                      # before imports that take time

import contextlib
import itertools

from engine import copies, report
from engine.model.files import append_text, base_name, open_to_append, refuse_to_change
from engine.terminal import BUNDLED, ROOT, Parser, load_class, main, near, note, number_of, raise_again


def build_parser():
    """Return the parser of the command line."""
    parser = Parser(description='Write text with a model that train.py has trained, or score a text with it. What was '
                                'asked for goes to standard output, all else to standard error.')
    parser.add_argument('params', metavar='PARAMS', nargs='?', default=near(BUNDLED), help='checkpoint (.npz) of the '
                        'model, or a file of PyTorch, .safetensors (default: the bundled one, of Pride and Prejudice)')
    parser.add_argument('out', metavar='OUT', nargs='?', help='file to append the text to (default: '
                        'text_output/<file name of PARAMS>.out in the folder of this script)')
    parser.add_options(report.OPTIONS)
    return parser


def load_model(cls, checkpoint, o):
    """Return a model of class cls with the parameters of an open checkpoint. o: the options.

    Raise ValueError if another cell was trained, unless --cell says that this one is meant; then model_setup warns.
    """
    from engine.model.parameters import cell_of
    from engine.saving import cell_difference
    model = cls(o.random_seed, precision=o.precision)
    difference = cell_difference(model, checkpoint, cell_of(checkpoint)['formula'])
    if difference and o.cell is None:
        raise ValueError(f'{difference}; {near(os.path.join(ROOT, "charlstm.py"))}:CharLSTM is the standard one')
    model.model_setup(checkpoint, encoding=o.encoding)
    return model


def sequences(model, o, prime):
    """Return an iterator over pieces of the sequences, each a list of strings, first the prime. o: the options."""
    from engine.model.text import encoded
    encoded(o.stop, model.uchar, '--stop')                     # raises ValueError if it would never come
    hold = {state: {unit: value for of, unit, value in o.hold if of == state} for state, *_ in o.hold or ()}
    length, count = (o.length or 2000, 1) if o.page else (o.length or 100, o.count or 5)
    pieces = model.stream_text(prime, len(prime) + length, o.method, count, o.temperature, o.top_k, o.top_p,
                               o.stop or ('\n' if o.lines else ''), hold or None)
    return itertools.chain([next(pieces)], pieces)             # raises ValueError if an option is wrong


def write(model, checkpoint, o, prime, original):
    """Print sequences, and append them to a file. o: the options. prime, original: as in program."""
    path = o.out or near(os.path.join(ROOT, 'text_output', os.path.basename(o.params) + '.out'))
    if path.lower().endswith(('.npz', '.safetensors')):
        raise ValueError(f'OUT is {path}, a checkpoint: expected the name of a text file')
    text = checkpoint.metadata.get('text', {})
    learned = [part['path'] for part in (text, text.get('valid'), text.get('test')) if part]
    refuse_to_change(path, [o.prime_file, o.copies, *learned], 'is a text that is read, or that the model learned')
    pieces = sequences(model, o, prime)
    note(f'{checkpoint}: {report.summary(checkpoint)}')
    model.compile('sample')
    texts, written = report.print_lines(pieces) if o.lines else report.print_texts(pieces)
    with open_to_append(path) as f:
        append_text(f, written)
    note(f'appended to {path}')
    if original:
        note('\n'.join(copies.compare([text[len(prime):] for text in texts], *original).lines()))


def write_page(model, checkpoint, o, prime, original, other=None):
    """Write a page on the text of --score, or on one that the model writes. o: the options.

    prime, original: as in program. other: the model to compare with, and its open checkpoint, or None.
    """
    from engine.page import page
    if o.score is not None:
        _, text, found = report.read(model, o.score, o.encoding, note)
        prime, unknown = '', found['unknown_characters']
    else:
        text, unknown = ''.join(piece[0] for piece in sequences(model, o, prime)), {}
        how = [f'after a beginning of {number_of(len(prime), "character")}'] if prime else []
        how += [f'with {state}:{unit} held at {value:g}' for state, unit, value in o.hold or ()]
        source = f'A text that the model wrote {", ".join(how)}.' if how else None
    if other:
        text, more = report.known(other[0], text, note, other[1])
        prime, unknown = report.known(other[0], prime, str)[0], unknown | more
    if o.score is not None:
        learned = checkpoint.metadata.get('text', {}).get('sha256') == found['sha256']
        text, source = page.beginning_of(text, o.score, unknown, learned)
    copied = copies.compare([text[len(prime):]], *original) if original else None
    page.write_page(o.page, model, checkpoint, text, source, other, copied)
    if copied:
        note('\n'.join(copied.lines()))


def program(o):
    """Run the whole program. o: the options."""
    report.check(o)
    if o.info:
        return report.print_info(o)
    from charlstm import CharLSTM              # after the options were checked: Theano takes a second to import
    from engine.model.checkpoint import Checkpoint
    from engine.model.parameters import cell_of
    from engine.model.text import read_string
    raise_again()
    cls = load_class(o.cell, CharLSTM)
    original = (read_string(o.copies, o.encoding), base_name(o.copies)) if o.copies is not None else None
    prime = o.prime if o.prime is not None else '\n' if o.lines else ''
    if o.prime_file is not None:
        prime = read_string(o.prime_file, o.encoding)
    with contextlib.ExitStack() as files:
        # Each is opened once: all that is read is then of one epoch, even while train.py replaces the file.
        checkpoints = [files.enter_context(Checkpoint(path)) for path in (o.params, o.against) if path is not None]
        # In a comparison --cell is the class of the models that have a cell of their own.
        models = [load_model(cls if cell_of(one)['formula'] or o.against is None else CharLSTM, one, o)
                  for one in checkpoints]
        (model, checkpoint), *other = zip(models, checkpoints)
        if o.export is not None:
            model.export(o.export)
            note(f'wrote {o.export}, {os.path.getsize(o.export) / 1e6:.1f} MB')
        elif o.page is not None:
            write_page(model, checkpoint, o, prime, original, *other)
        elif o.score is None:
            write(model, checkpoint, o, prime, original)
        elif o.lines:
            report.print_score_of_lines(model, checkpoint, o)
        else:
            report.print_score(model, checkpoint, o, original)


if __name__ == '__main__':
    main(build_parser(), program)
