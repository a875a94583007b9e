"""One page for a browser that shows what a model learned: a text by its costs and its cells, and the model itself."""
import base64
import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np

from engine import report
from engine.files import write_whole
from engine.state.parameters import are_bytes
from engine.run.run import EPOCHS, Run, log_rows
from engine.terminal import note, warn
from engine.state.text import encoded, smallest_type

HERE = Path(__file__).resolve().parent
LONGEST = 10_000               # characters of a file that are shown
ALTERNATIVES = 5               # most probable characters that are shown
STATES_SIZE, FEWEST = 1_600_000, 16        # bytes of states in a page, and units however long the text is
LARGE = 20_000_000             # bytes of a page that may be too many to open and to mail


def stored(array):
    """An array as JSON holds it, for array() in page.js."""
    return dict(type=array.dtype.name, base64=base64.b64encode(np.ascontiguousarray(array).tobytes()).decode())


def in_half(array):
    """An array in float16; what that cannot hold becomes the largest that it can, for which a gate is as open."""
    largest = np.finfo(np.float16).max
    return np.clip(array, -largest, largest).astype(np.float16)


# ---------------------------------------------------------------- what is in the page

def most_telling(correlations, most):
    """The numbers of at most so many units: by turns, the best of each feature. correlations: (features, units)."""
    turns = np.argsort(-abs(correlations), axis=1, kind='stable').T.ravel()
    _, first = np.unique(turns, return_index=True)
    return turns[np.sort(first)][:most]


def cells(model, text):
    """C of the units that follow something, after each character: units, states in bytes, correlations by feature.

    A byte of 0 is the least C that the unit has in this text, and 255 the most.
    """
    states = model.states(text)
    correlations = {name: np.concatenate([of['C1'], of['C2']])
                    for name, of in model.correlations(text, states).items()}
    chosen = most_telling(np.array(list(correlations.values())), max(FEWEST, STATES_SIZE // len(text)))
    H1, C = states['C1'].shape[1], np.concatenate([states['C1'], states['C2']], axis=1)[:, chosen].T   # (units, n)
    least, most = C.min(axis=1, keepdims=True), C.max(axis=1, keepdims=True)
    levels = np.rint((C - least) / np.maximum(most - least, 1e-30) * 255).astype(np.uint8)
    units = [dict(layer=1 if u < H1 else 2, number=u % H1 if u < H1 else u - H1, least=low, most=high)
             for u, low, high in zip(chosen.tolist(), least[:, 0].tolist(), most[:, 0].tolist())]
    return dict(units=units, states=stored(levels),
                correlations={name: of[chosen].round(4).tolist() for name, of in correlations.items()})


def surprises(model, text):
    """The costs of all characters of a text but the first, and what was most probable there."""
    costs, best, chances = model.alternatives(text, min(ALTERNATIVES, len(model.uchar)))
    number = smallest_type(len(model.uchar))
    return dict(text=stored(encoded(text, model.uchar, 'the text').astype(number)), costs=stored(in_half(costs)),
                best=stored(best.astype(number)), chances=stored(in_half(chances)))


def logged_costs(checkpoint):
    """Rows [epoch, mean training cost, validation cost or None] of the log beside a checkpoint of a run; else none."""
    endings = [re.escape(Run.BEST), re.escape(Run.INTERRUPTED), re.escape(Run.EPOCH).replace(r'\{\}', r'\d+')]
    path = re.sub(f'({"|".join(endings)})$', '', checkpoint) + EPOCHS
    if not os.path.isfile(path):
        return []
    try:
        rows = log_rows(path).reshape(-1, 5)[:, :3]
    except ValueError:
        warn(f'{path} is no log of costs, so the page has no picture of them')
        return []
    return [[cost if np.isfinite(cost) else None for cost in row] for row in rows.tolist()]


def contents(model, checkpoint, text, source):
    """All data of a page; text is in the model's characters, source says in a line where it is from."""
    return dict(
        name=os.path.basename(checkpoint), model=report.summary(checkpoint), source=source,
        info=report.description(checkpoint).split('\n'), epochs=logged_costs(checkpoint),
        uchar=list(model.uchar), bytes=are_bytes(model.uchar), **surprises(model, text), **cells(model, text),
        parameters={name: stored(in_half(p.get_value(borrow=True))) for name, p in model.p.items()})


# ---------------------------------------------------------------- the page

def beginning(text, path):
    """As much as a page shows of the text of a file, and a line on what that is."""
    name = os.path.basename(os.path.abspath(path))
    if len(text) <= LONGEST:
        return text, f'All {len(text):,} characters of {name}.'
    return text[:LONGEST], f'The first {LONGEST:,} of {len(text):,} characters of {name}.'


def as_data(value):
    """A value as JSON that is the same inside an element <script>, whatever texts it has: all ASCII, and no < > &."""
    return re.sub('[<>&]', lambda match: f'\\u{ord(match.group()):04x}', json.dumps(value, allow_nan=False))


def joined(cell, data):
    """The template with its script, that of the cell included, and data.

    Only this script may run in the page: its policy has the checksum.
    """
    script = '\n' + cell + ''.join((HERE / name).read_text(encoding='utf-8') for name in ('network.js', 'page.js'))
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = dict(hash=f'sha256-{checksum}', script=script, data=as_data(data))
    template = (HERE / 'page.html').read_text(encoding='utf-8')
    return re.sub(r'{{(\w+)}}', lambda match: parts[match.group(1)], template).encode()


def advice(size, parameters):
    """What makes a page of so many bytes shorter, so many of which are the parameters; None where it need not be."""
    if size <= LARGE:
        return None
    what = 'parameters: take a model of fewer units' if parameters > size / 2 else 'text: take a smaller --length'
    return f'more than {LARGE / 1e6:.0f} MB are slow to open and hard to mail; most of it is {what}'


def write_page(path, model, checkpoint, text, source):
    """Write the page of a model, read from that checkpoint, and of a text; text, source: as in contents().

    Raises OSError where it cannot be written, ValueError for a text of fewer than two characters, or a model that
    JavaScript would compute otherwise.
    """
    cell = model.javascript()
    with write_whole(path) as f:                           # before all that is computed, as it may fail
        data = contents(model, checkpoint, text, source)
        page = joined(cell, data)
        f.write(page)
    note(f'wrote {path}, {len(page) / 1e6:.1f} MB: open it in a browser')
    shorten = advice(len(page), len(as_data(data['parameters'])))
    if shorten:
        note(shorten)
