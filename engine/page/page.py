"""Write one page for a browser that shows a text by a model's costs and cells, and that contains the model itself."""
import base64
import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np

from engine.analysis import QUOTES
from engine.kernel.cell import held_cell, js_function, js_learning_functions, js_steps
from engine.model.parameters import FORMAT, METADATA, opened
from engine.model.files import base_name, write_whole
from engine.model.text import encoded
from engine.model.copies import share
from engine.run import info, logs, recipe, table
from engine.saving import other_program_cell
from engine.terminal import note
from engine.training import sizes

HERE = Path(__file__).resolve().parent
# Scripts that need no document: node or a Worker can run them.
MODEL = 'network', 'products', 'reading', 'learner'
SCRIPTS = MODEL + ('format', 'vocabulary', 'data', 'state', 'elements', 'colour', 'glyphs', 'expectations', 'curve',
                   'saving', 'text', 'copies', 'surprise', 'why', 'against', 'cells', 'inside', 'words', 'writing',
                   'guess', 'npz', 'learn', 'learning', 'about', 'views')
MOST_CHARACTERS = 10_000       # of a file, in a page
MOST_EPOCHS = 100              # that a page shows samples and costs of
ALTERNATIVES = 5               # most probable characters that a page shows
MOST_STATES, LEAST_UNITS = 1_200_000, 16       # bytes of cell states in a page, but at least so many units
EVERY = 500                    # characters from one stored state of the network to the next: views read from these
NAMED = 10                     # characters that are left out and that a line on them names


# ---------------------------------------------------------------- the data of a page

def array_for_json(array):
    """Return an array as a dict that array() in data.js reads."""
    return dict(type=array.dtype.name, base64=base64.b64encode(np.ascontiguousarray(array).tobytes()).decode())


def to_float16(array):
    """Return an array in float16. Numbers outside its range become its limits, at which a gate is as open or shut."""
    limit = np.finfo(np.float16).max
    return np.clip(array, -limit, limit).astype(np.float16)


def best_units(correlations, most):
    """Return at most `most` units by correlations (features, units): the best of each feature, then the second best."""
    best_first = np.argsort(-abs(correlations), axis=1, kind='stable').T.ravel()           # each unit once a feature
    return list(dict.fromkeys(best_first.tolist()))[:most]


def cells(model, text):
    """Return the units that follow the text best: names, C after each character from 0 (least) to 255, correlations."""
    states = model.states(text)
    correlations = {feature: np.concatenate([by_state['C1'], by_state['C2']])
                    for feature, by_state in model.correlations(text, states).items()}
    best = best_units(np.array(list(correlations.values())), max(LEAST_UNITS, MOST_STATES // len(text)))
    H1, C = states['C1'].shape[1], np.concatenate([states['C1'], states['C2']], axis=1)[:, best].T     # (units, n)
    least, most = C.min(axis=1, keepdims=True), C.max(axis=1, keepdims=True)
    levels = np.rint((C - least) / np.maximum(most - least, 1e-30) * 255).astype(np.uint8)
    units = [dict(layer=1 if u < H1 else 2, number=u if u < H1 else u - H1, least=float(low), most=float(high))
             for u, (low,), (high,) in zip(best, least, most)]
    return dict(units=units, states=array_for_json(levels),
                correlations={feature: r[best].round(4).tolist() for feature, r in correlations.items()})


def snapshots(model, text):
    """Return h1, C1, h2 and C2 of the page's network after each EVERY characters; none if the model is of bfloat16."""
    kept = {name: p.get_value() for name, p in model.p.items()}
    for name, p in model.p.items():                                        # as the page stores them
        p.set_value(to_float16(kept[name]).astype(kept[name].dtype))
    states = np.concatenate(list(model.states(text).values()), axis=1).astype('float32')
    for name, p in model.p.items():
        p.set_value(kept[name])
    H1, H2 = sizes(model)
    last = len(text) if model.precision == 'float32' else 0
    return dict(every=EVERY, sizes=[H1, H1, H2, H2], states=array_for_json(states[EVERY - 1:last:EVERY]))


def expected(model, checkpoint, text):
    """Return a model's names and vocabulary, the text, and what the model expected at each character but the first."""
    costs, best, probabilities = model.alternatives(text, min(ALTERNATIVES, len(model.uchar)))
    number = np.min_scalar_type(len(model.uchar))
    return dict(name=os.path.basename(str(checkpoint)), model=info.summary(checkpoint), uchar=list(model.uchar),
                text=array_for_json(encoded(text, model.uchar)),
                costs=array_for_json(to_float16(costs)), best=array_for_json(best.astype(number)),
                chances=array_for_json(to_float16(probabilities)))


def logged_costs(checkpoint):
    """Return rows [epoch, mean training cost, validation cost or None] of the log beside a run's checkpoint, or []."""
    path = logs.path_beside(checkpoint, logs.EPOCHS)
    rows = logs.rows(path)[:, :3].tolist() if os.path.isfile(path) else []
    return [[cost if np.isfinite(cost) else None for cost in row] for row in rows]


def learning(checkpoint, rows):
    """Return the passage, its costs (epochs, n-1) and samples of some epochs, by a run's logs, or None. rows: costs."""
    of_samples, of_passage = [logs.path_beside(checkpoint, ending) for ending in (logs.SAMPLES, logs.PASSAGE)]
    if not (os.path.isfile(of_samples) and os.path.isfile(of_passage)):
        return None
    samples, (of_text, passage, costs) = logs.read_samples(of_samples), logs.read_passage(of_passage)
    logged = sorted({int(epoch) for epoch, *_ in rows} & set(samples) & set(costs))
    if not logged:
        return None
    places = np.rint(np.linspace(0, len(logged) - 1, min(MOST_EPOCHS, len(logged)))).astype(int)
    epochs = [logged[place] for place in places]
    return dict(text=of_text, passage=list(passage), epochs=epochs, logged=len(logged),
                costs=array_for_json(to_float16(np.stack([costs[epoch] for epoch in epochs]))),
                samples=[samples[epoch] for epoch in epochs])


def for_learning(model, stored):
    """Return what a page needs to learn as train.py does, and to write a checkpoint. stored: an open checkpoint."""
    cell, (H1, H2), versions = stored.cell, sizes(model), dict(model.versions(), device='a browser')
    return dict(
        recipe={name: table.DEFAULTS[name] for name in (
            'drate', 'eps', 'momentum', 'weight_decay', 'grad_clip', 'step_clip', 'average', 'warmup')},
        rates={'model': recipe.lrate(H1, H2), **{str(H): recipe.lrate(H, H) for H in (32, 64, 128)}},
        own={name: float(value) for name, value in model.cell_parameters.items()}, formula=cell['formula'],
        quotes=QUOTES, about=dict(METADATA, format=FORMAT, cell=cell, versions=versions))


def marks(text, copies):
    """Return which passages of a text a page underlines, a dict with a line on them. copies: as for write_page."""
    longest, line = copies['longest'], share(copies) + '.'
    passages = copies['passages'] or ([longest] if longest else [])
    if longest:
        line += f' The longest, of {longest["length"]:,}, is underlined. Look at a passage to see where it stands.'
    begins = len(text) - copies['characters']
    return dict(name=copies['file'], line=line, passages=[
        dict(place, start=begins + place['start']) for place in passages])


def page_data(model, checkpoint, text, source, against=None, copies=None):
    """Return all data of a page, by the names that the scripts use. Arguments: as for write_page."""
    epochs, stored = logged_costs(checkpoint), opened(checkpoint)
    return dict(
        source=source or 'A text that the model wrote itself.', own=source is None, epochs=epochs,
        info=info.description(stored, folders=False).split('\n'),
        learning=learning(checkpoint, epochs), copies=marks(text, copies) if copies else None,
        **expected(model, stored, text), **cells(model, text), snapshots=snapshots(model, text),
        against=expected(*against, text) if against else None, learner=for_learning(model, stored),
        parameters={name: array_for_json(to_float16(p.get_value(borrow=True))) for name, p in model.p.items()})


# ---------------------------------------------------------------- the page

def beginning_of(text, path, left_out, learned=False):
    """Return as much of a file's text as a page shows, and a line on it. learned: whether the model learned from it.

    left_out: characters of the file that a model never saw, and how often the file has each.
    """
    shown, of_file = text[:MOST_CHARACTERS], len(text) + sum(left_out.values())
    line = f'{len(shown):,} of {of_file:,} characters of {base_name(path)}.'
    if len(shown) < len(text):
        line = 'The first ' + line
    if left_out:
        named = [f'{character!r} ({n:,})' for character, n in left_out.items()]
        named[NAMED:] = ['and others'] if len(named) > NAMED else []
        line += f' Left out of the file, since a model never saw them: {", ".join(named)}.'
    if learned:
        line += ' The model learned from this file, so it is less surprised than by a text that is new to it.'
    return shown, line


def file_of_page(name):
    return (HERE / name).read_text(encoding='utf-8')


def fill_template(cell, data):
    """Return the page in bytes: page.html with the looks, the scripts and the data. cell: the cell in JavaScript."""
    script = '\n' + '\n'.join([file_of_page(f'{name}.js') for name in SCRIPTS] + [cell])
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()        # no other script may run
    as_json = json.dumps(data, allow_nan=False)                                 # in ASCII
    as_json = re.sub('[<>&]', lambda match: f'\\u{ord(match.group()):04x}', as_json)      # cannot end its <script>
    parts = dict(hash=f'sha256-{checksum}', style=file_of_page('page.css'), script=script, data=as_json)
    return re.sub(r'{{(\w+)}}', lambda match: parts[match.group(1)], file_of_page('page.html')).encode()


def write_page(path, model, checkpoint, text, source=None, against=None, copies=None):
    """Write the page of a model, of a checkpoint (a path or an open one), and a text.

    source: a line on where the text is from; None if the model wrote it. against: another model, and its checkpoint.
    copies: what compare() of copies.py returned for the text or its end. Raises ValueError for a model that JavaScript
    cannot compute.
    """
    cell = other_program_cell(model, 'a page')
    script = '\n'.join([js_function(held_cell(cell).program), js_learning_functions(cell.program), js_steps(cell)])
    page = fill_template(script, page_data(model, checkpoint, text, source, against, copies))
    with write_whole(path) as f:
        f.write(page)
    note(f'wrote {path}, {len(page) / 1e6:.1f} MB: open it in a browser')
