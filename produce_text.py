"""Write text with a trained model: python produce_text.py [PARAMS] [OUT]"""
# /// script
# requires-python = ">=3.10"
# dependencies = ["Theano==1.0.5", "numpy>=2.0", "scipy", "matplotlib", "tqdm"]
# [tool.uv.sources]
# Theano = { path = "engine/backend/theano_wheel" }
# ///
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))        # python -I leaves it out

from engine.output import report
from engine.terminal import BUNDLED, Parser, load_class, main, near, note, number_of


def build_parser():
    """Return the parser of the command line."""
    parser = Parser(usage='%(prog)s [OPTIONS] [PARAMS] [OUT]', description=(
        'Write text with a model that train.py has trained, or score a text with it. The result goes to standard '
        'output, everything else to standard error.'))
    parser.add_argument('params', metavar='PARAMS', nargs='?', default=near(BUNDLED), help='checkpoint (.npz) of the '
                        'model, or .safetensors file from PyTorch (default: the bundled model of Pride and Prejudice)')
    parser.add_argument('out', metavar='OUT', nargs='?', help='file to which the text is appended, as '
                        'in 2016 (default: text_output/<PARAMS>.out)')
    parser.add_options(report.OPTIONS, report.FIRST)
    return parser


def load_model(base, o):
    """Return a model with the parameters of a checkpoint, and the open checkpoint. base: CharLSTM. o: the options.

    Raise ValueError if another cell or network was trained than that of --cell.
    """
    from engine.run.checkpoint import Checkpoint
    checkpoint = Checkpoint(o.params)  # read once: all is from the same epoch, even if train.py replaces the file
    model = load_class(o.cell, base)(o.random_seed, precision=o.precision)
    texts = [source['path'] for source in checkpoint.sources.values()]
    report.refuse_to_replace(o.page or o.export or o.out or '', True, texts)
    model.load_params(checkpoint, o.encoding)
    return model, checkpoint


def write_page(model, checkpoint, o):
    """Write a page about the text of --score, held-out text of the run, or a text that the model writes."""
    from engine.page import page
    prime, _ = report.inputs(o)
    if o.score is not None:
        said = []
        whole, text, found = report.read(o, checkpoint, model.uchar, said.append)
        shown = page.beginning_of(text, len(whole), found, said)
    else:
        shown = None if report.non_defaults(o) & report.WRITING else page.held_out(checkpoint)
    if shown is None:
        how = [f'after a prime of {number_of(len(prime), "character")}'] if prime else []
        how += [f'with {state}:{unit} held at {value:g}' for state, unit, value in o.hold or ()]
        text = ''.join(piece[0] for piece in report.sequences(model, o, prime))
        shown = page.Shown(text, f'A text that the model wrote {", ".join(how) or "itself"}.')
    text, _ = report.known(shown.text, model.uchar, note)
    page.write_page(o.page, model, checkpoint, shown._replace(text=text))


def program(o):
    """Run the whole program. o: the options."""
    report.check(o)
    if o.info:
        return report.print_info(o)
    from charlstm import CharLSTM              # after checking the options: Theano takes a second to import
    model, checkpoint = load_model(CharLSTM, o)
    if o.export is not None:
        model.export(o.export)
        note(f'wrote {o.export}, {os.path.getsize(o.export) / 1e6:.1f} MB')
    elif o.page is not None:
        write_page(model, checkpoint, o)
    elif o.score is None:
        report.write(model, checkpoint, o)
    elif o.lines:
        report.print_score_of_lines(model, checkpoint, o)
    else:
        report.print_score(model, checkpoint, o)


if __name__ == '__main__':
    main(build_parser(), program)
