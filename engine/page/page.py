"""Write one page for a browser that shows a text by a model's costs and cells, and that contains the model itself."""
import base64
import contextlib
import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np

from engine import report
from engine.run import table
from engine.analysis import QUOTES
from engine.model.files import base_name, write_whole
from engine.page.logs import learning, logged_costs
from engine.run import recipe
from engine.model.checkpoint import FORMAT, opened
from engine.model.parameters import cell_of, units
from engine.model.text import encoded, smallest_type
from engine.terminal import note

HERE = Path(__file__).resolve().parent
# Scripts that need no document: node or a Worker can run them.
MODEL = 'network', 'products', 'reading', 'learner'
SCRIPTS = MODEL + ('format', 'vocabulary', 'data', 'state', 'elements', 'colour', 'glyphs', 'expectations', 'curve',
                   'saving', 'text', 'copies', 'surprise', 'why', 'against', 'cells', 'inside', 'words', 'writing',
                   'guess', 'npz', 'learn', 'learning', 'about', 'views')
OWN = 'A text that the model wrote itself.'
MOST_CHARACTERS = 10_000       # of a file, in a page
ALTERNATIVES = 5               # most probable characters that a page shows
MOST_STATES = 1_200_000        # bytes of cell states in a page,
LEAST_UNITS = 16               # but at least this many units, however long the text is
EVERY = 500                    # characters from one stored state of the network to the next: views read from these
NAMED = 10                     # characters that are left out and that a line on them names
LARGE = 20_000_000             # bytes of a page that may be too many to open and to mail


# ---------------------------------------------------------------- the data of a page

def array_for_json(array):
    """Return an array as a dict that array() in data.js reads."""
    return dict(type=array.dtype.name, base64=base64.b64encode(np.ascontiguousarray(array).tobytes()).decode())


def to_float16(array):
    """Return an array in float16. Numbers outside its range become its limits, at which a gate is as open or shut."""
    limit = np.finfo(np.float16).max
    return np.clip(array, -limit, limit).astype(np.float16)


def best_units(correlations, most):
    """Return the numbers of at most `most` units: the best of each feature, then the second best of each, and so on.

    correlations: (features, units).
    """
    best_first = np.argsort(-abs(correlations), axis=1, kind='stable').T.ravel()           # each unit once a feature
    _, first = np.unique(best_first, return_index=True)
    return best_first[np.sort(first)][:most]


def cells(model, text):
    """Return the units that follow a feature of the text best: names, C after each character, correlations by feature.

    C is stored in bytes: 0 is the least C that the unit has in this text, and 255 the most.
    """
    states = model.states(text)
    correlations = {feature: np.concatenate([by_state['C1'], by_state['C2']])
                    for feature, by_state in model.correlations(text, states).items()}
    units = best_units(np.array(list(correlations.values())), max(LEAST_UNITS, MOST_STATES // len(text)))
    H1, C = states['C1'].shape[1], np.concatenate([states['C1'], states['C2']], axis=1)[:, units].T   # (units, n)
    least, most = C.min(axis=1, keepdims=True), C.max(axis=1, keepdims=True)
    levels = np.rint((C - least) / np.maximum(most - least, 1e-30) * 255).astype(np.uint8)
    names = [dict(layer=1 if u < H1 else 2, number=u % H1 if u < H1 else u - H1, least=low, most=high)
             for u, low, high in zip(units.tolist(), least[:, 0].tolist(), most[:, 0].tolist())]
    return dict(units=names, states=array_for_json(levels),
                correlations={feature: r[units].round(4).tolist() for feature, r in correlations.items()})


@contextlib.contextmanager
def rounded(model):
    """Let a model compute with its parameters as a page stores them."""
    kept = {name: p.get_value() for name, p in model.p.items()}
    try:
        for name, p in model.p.items():
            p.set_value(to_float16(kept[name]).astype(kept[name].dtype))
        yield
    finally:
        for name, p in model.p.items():
            p.set_value(kept[name])


def snapshots(model, text):
    """Return the states of the page's network after each EVERY characters, so that a view need not read all before.

    states: float32 (n, sum of sizes); sizes: of h1, C1, h2 and C2. None are stored where the model rounds its products
    to bfloat16: the page does not.
    """
    with rounded(model):
        states = list(model.states(text).values())
    last = len(text) if model.precision == 'float32' else 0
    kept = [state[EVERY - 1:last:EVERY] for state in states]
    return dict(every=EVERY, sizes=[state.shape[1] for state in states],
                states=array_for_json(np.concatenate(kept, axis=1).astype('float32')))


def expected(model, checkpoint, text):
    """Return a model's names and vocabulary, the text, and what the model expected at each character but the first.

    checkpoint: as for write_page.
    """
    costs, best, probabilities = model.alternatives(text, min(ALTERNATIVES, len(model.uchar)))
    number = smallest_type(len(model.uchar))
    return dict(name=os.path.basename(str(checkpoint)), model=report.summary(checkpoint), uchar=list(model.uchar),
                bytes=False,
                text=array_for_json(encoded(text, model.uchar, 'the text').astype(number)),
                costs=array_for_json(to_float16(costs)), best=array_for_json(best.astype(number)),
                chances=array_for_json(to_float16(probabilities)))


def learning_for_json(learned):
    """Return what logs.learning returned in a form that JSON can hold; None for None."""
    return learned and dict(learned, costs=array_for_json(to_float16(learned['costs'])))


def for_learning(model, stored):
    """Return what a page needs to learn as train.py does, and to write a checkpoint. stored: an open checkpoint."""
    H1, H2 = units({name: p.get_value(borrow=True).shape for name, p in model.p.items()})
    cell = cell_of(stored)
    return dict(
        recipe={name: table.DEFAULTS[name] for name in (
            'drate', 'eps', 'momentum', 'weight_decay', 'grad_clip', 'step_clip', 'average', 'warmup')},
        rates={'model': recipe.lrate(H1, H2), **{str(H): recipe.lrate(H, H) for H in (32, 64, 128)}},
        own={name: float(value) for name, value in model.cell_parameters.items()}, formula=cell['formula'],
        quotes=QUOTES,
        about=dict(format=FORMAT, lp={}, averaged_steps=0, validation_index=0, random=None, text={}, progress=None,
                   cell=cell, optimiser=[], precision='float32', versions=dict(model.versions(), device='a browser')))


def readable(model, text):
    """Return a string of the model's characters as it is read."""
    return text


def marks(model, text, copies):
    """Return which passages of a text a page underlines, a dict with a line on them. copies: as for write_page."""
    if copies is None:
        return None
    passages, line = copies.passages, copies.share() + '.'
    if copies.whole:
        passages, line = [], f'{line} All is one passage, so nothing is underlined.'
    elif passages:
        line += f' These are underlined; the longest has {copies.longest.length:,}. Look at one to see where it stands.'
    elif copies.longest:
        passages = [copies.longest]
        line += f' The longest passage, of {copies.longest.length:,}, is underlined. Look at it to see where it stands.'
    places, begins = copies.places(passages), len(text) - len(copies.written)
    return dict(name=copies.original.name, line=line, passages=[
        dict(start=begins + place['start'], length=place['length'], line=place['line'],
             before=readable(model, place['before']), after=readable(model, place['after'])) for place in places])


def comparable(model, base, checkpoint, encoding='utf-8'):
    """Return the model of another checkpoint, whose costs of a text can be compared with the model's.

    base: CharLSTM, the class of a standard cell. checkpoint: a path or an open one. encoding: as for model_setup.
    Raises OSError when it cannot be read, ValueError when it is no checkpoint, or where one of them learned bytes, and
    the other characters beyond ASCII.
    """
    with opened(checkpoint) as stored:
        other = (type(model) if cell_of(stored)['formula'] else base)()
    other.model_setup(checkpoint, encoding=encoding)
    return other


def page_data(model, checkpoint, text, source, against=None, copies=None):
    """Return all data of a page, by the names that the scripts use. Arguments: as for write_page."""
    with opened(checkpoint) as stored:
        description, learner = report.description(stored, folders=False), for_learning(model, stored)
        ours = expected(model, stored, text)
    epochs = logged_costs(checkpoint)
    return dict(
        source=source or OWN, own=source is None, info=description.split('\n'), epochs=epochs,
        learning=learning_for_json(learning(checkpoint, epochs)), copies=marks(model, text, copies),
        **ours, **cells(model, text), snapshots=snapshots(model, text),
        against=expected(*against, text) if against else None, learner=learner,
        parameters={name: array_for_json(to_float16(p.get_value(borrow=True))) for name, p in model.p.items()})


# ---------------------------------------------------------------- the page

def beginning_of(text, path, left_out=None, learned=False, entry='character'):
    """Return as much of a file's text as a page shows, and a line that says how much that is.

    left_out: how often each character was in the file that is not in the text, since a model never saw it. learned:
    whether the model learned from this file. entry: what the model's vocabulary has, 'character' or 'byte'.
    """
    shown, name, left_out = text[:MOST_CHARACTERS], base_name(path), left_out or {}
    of_file = len(text) + sum(left_out.values())
    beginning = '' if len(shown) == len(text) else 'The first '
    if len(shown) == of_file:
        source = f'All {of_file:,} {entry}s of {name}.'
    else:
        source = f'{beginning}{len(shown):,} of {of_file:,} {entry}s of {name}.'
    if left_out:
        some = ', '.join(f'{character!r} ({n:,})' for character, n in list(left_out.items())[:NAMED])
        more = ' and others' if len(left_out) > NAMED else ''
        source += f' Left out of the file, since a model never saw them: {some}{more}.'
    if learned:
        source += ' The model learned from this file, so it is less surprised than by a text that is new to it.'
    return shown, source


def file_of_page(name):
    """Return the text of a file of this folder."""
    return (HERE / name).read_text(encoding='utf-8')


def fill_template(cell, data):
    """Return the page in bytes: page.html with the looks, the scripts and the data. cell: the cell in JavaScript.

    The scripts become one, which begins with 'use strict' of network.js. The page's policy has its checksum, so that
    no other script may run in it.
    """
    script = '\n' + '\n'.join([file_of_page(f'{name}.js') for name in SCRIPTS] + [cell])
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    as_json = json.dumps(data, allow_nan=False)                                 # in ASCII
    as_json = re.sub('[<>&]', lambda match: f'\\u{ord(match.group()):04x}', as_json)      # cannot end its <script>
    parts = dict(hash=f'sha256-{checksum}', style=file_of_page('page.css'), script=script, data=as_json)
    return re.sub(r'{{(\w+)}}', lambda match: parts[match.group(1)], file_of_page('page.html')).encode()


def write_page(path, model, checkpoint, text, source=None, against=None, copies=None):
    """Write the page of a model and a text.

    checkpoint: the one that the model was read from, a path or, where its file may be replaced meanwhile, an open one.
    text: in the model's characters. source: a line on where the text is from, or None if the model wrote all of it by
    itself. against: another model that knows these characters and its checkpoint, to compare; it may have other sizes,
    another vocabulary, and another cell. copies: what of the text, or of its end, stands in another text, as an
    engine.copies.Copies; None if it was not asked for. Raises OSError where the page cannot be written, and ValueError
    for a text of fewer than two characters or of characters that a model does not know, or a model that JavaScript
    would compute otherwise.
    """
    cell = model.javascript()
    with write_whole(path) as f:                           # first: it fails at once where the page cannot be written
        page = fill_template(cell, page_data(model, checkpoint, text, source, against, copies))
        f.write(page)
    note(f'wrote {path}, {len(page) / 1e6:.1f} MB: open it in a browser')
    if len(page) > LARGE:
        note(f'more than {LARGE / 1e6:.0f} MB are slow to open and hard to mail: take a shorter text, or a model of '
             'fewer units')
