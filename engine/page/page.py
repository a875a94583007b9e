"""Write one HTML page that shows how a model reads a text, by its costs and cells, and that contains the model."""
import base64
import hashlib
import json
import ntpath
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.data.batches import characters_to_train
from engine.data.text import encoded, read_string
from engine.files import readable, write_whole
from engine.graph.formula import filled
from engine.model.edits import cell_of_model
from engine.model.saving import other_program_cell
from engine.model.state import arrays, sizes
from engine.page.cell import cell_for_page
from engine.run import info, logs, recipe, table
from engine.run.checkpoint import opened
from engine.terminal import layers_of_units, note

HERE = Path(__file__).resolve().parent
CELLS = HERE.parent / 'lesson' / 'cells.py'
LESSON = HERE.parent.parent / 'text_input' / 'coriolanus.txt'        # for training in a page
PRODUCTS = 'product_relaxed-simd', 'product_no-relaxed-simd'   # product.c in WebAssembly, the faster one first
MODEL = 'cell', 'network', 'learner', 'formula'        # scripts that need no document
SCRIPTS = MODEL + ('text', 'page', 'live', 'reader', 'surprise', 'why', 'cells', 'gallery', 'inside', 'training',
                   'learning', 'lab')
LEARNER_UNITS = 32, 64, 128            # units of a layer that is trained in a page
MOST_CHARACTERS = 10_000       # shown of a file
ALTERNATIVES = 5               # most probable characters shown at each place
HELD_OUT = '_held_out.txt'     # ending of a held-out text beside a checkpoint, whose training text may not be at hand
TEXTS = {'prideandprejudice.txt': 'Pride and Prejudice', 'coriolanus.txt': 'Coriolanus'}      # in text_input
# What a cell that follows a feature does, and what its values say at both ends.
FOLLOWERS = {
    'inside quotes': ('tracks whether a quotation is open', 'no quotation is open', 'one is open'),
    'inside brackets': ('tracks whether a bracket is open', 'no bracket is open', 'one is open'),
    'position in the line': ('counts the letters of the line', 'the line has just begun', 'it is long'),
    'position in the word': ('counts the letters of the word', 'the word has just begun', 'it is long'),
    'capital letters': ('notices capital letters', 'no capital', 'a capital'),
    'distance to the last full stop': ('counts the letters of the sentence', 'the sentence has just begun',
                                       'it is long')}
LSTM = '''# Long short-term memory: gates decide what is kept, added and shown.
cell(a_f, a_i, a_o, a_g, C_prev)
f = sigmoid(a_f)
i = sigmoid(a_i)
o = sigmoid(a_o)
g = tanh(a_g)
C = f * C_prev + i * g
h = o * tanh(C)'''
# Cells of lesson/cells.py that the laboratory begins with.
IN_LAB = dict(NoForgetGate='no forget gate', NoInputGate='coupled gates', Peepholes='peepholes', RNN='RNN', GRU='GRU',
              MinGRU='minGRU')
# Cut where several letters may follow, so that temperature has something to reshape.
OPENINGS = {'Pride and Prejudice': 'It is a truth universally ac'}


class Shown(NamedTuple):
    """The text of a page and its metadata."""
    text: str
    source: str                    # a line that says where the text comes from


# ---------------------------------------------------------------- the data of a page

def array_for_json(array):
    """Return an array as a dict that array() in text.js reads."""
    return dict(type=array.dtype.name, base64=base64.b64encode(np.ascontiguousarray(array).tobytes()).decode())


def to_float16(array):
    """Return an array in float16. Values beyond its range are clipped; gates are saturated there anyway."""
    limit = np.finfo(np.float16).max
    return np.clip(array, -limit, limit).astype(np.float16)


def cells(model, text, held_out):
    """Return the sizes of layers, and of each unit its correlations with features of a text and range in held_out."""
    states = model.states(text)
    of_range = states if held_out == text else model.states(held_out)
    names = [name for name in states if name[:-1] != 'h']
    correlations = {feature: np.concatenate([r[name] for name in names]).round(3).tolist()
                    for feature, r in model.correlations(text, states).items()}
    layers = layers_of_units(sizes(model))
    ranges = np.concatenate([[of_range[name].min(axis=0), of_range[name].max(axis=0)] for name in names], axis=1)
    return dict(sizes=sizes(model), layers=layers, correlations=correlations, followers=FOLLOWERS,
                without=without_followers(model, text, correlations),
                ranges=ranges.T.astype(float).round(4).tolist())


def without_followers(model, text, correlations):
    """Return, by feature, a sentence on the characters that cost most more without the unit that follows it best."""
    if not cell_of_model(model).standard:
        return {}
    units = [(k, unit) for k, H in enumerate(sizes(model), 1) for unit in range(H)]
    rises = model.ablations(text, [[units[np.argmax(np.abs(r))]] for r in correlations.values()])
    said = {}
    for n, feature in enumerate(correlations):
        kind = max(rises, key=lambda kind: rises[kind][n])
        said[feature] = (f'Without it, {kind} cost {rises[kind][n]:.2f} nats more: they seem '
                         f'{np.exp(rises[kind][n]):.1f} times less probable.')
    return said


def formulas():
    """Return the formulas of cells for the laboratory, by name, as formula.js reads them."""
    source, found = CELLS.read_text(encoding='utf-8'), {'LSTM': LSTM}
    for name, body in re.findall(r'^class (\w+)\(CharLSTM\):\n(.*?)(?=^\S|\Z)', source, re.MULTILINE | re.DOTALL):
        if name in IN_LAB:
            said = re.match(r'    """(.*)"""', body)[1]
            lines = re.findall(r'remembers = .*|cell\(.*\)(?=:)|(?<=        )\S.*', body)
            found[IN_LAB[name]] = '\n'.join([f'# {said}', *lines])
    return found


def expected(model, text):
    """Return a model's vocabulary, a text, and the model's predictions for each character except the first."""
    costs, best, probabilities = model.alternatives(text, min(ALTERNATIVES, len(model.uchar)))
    numbers = encoded(text, model.uchar)
    return dict(uchar=list(model.uchar), text=array_for_json(numbers), best=array_for_json(best.astype(numbers.dtype)),
                costs=array_for_json(costs), chances=array_for_json(to_float16(probabilities)))


def logged_costs(checkpoint):
    """Return rows [epoch, training cost, validation cost] of the log next to a checkpoint, or []. nan becomes None."""
    rows = readable(logs.rows, logs.path_beside(checkpoint, logs.EPOCHS), len(logs.COLUMNS))
    rows = [] if rows is None else rows[:, :3].tolist()
    return [[cost if np.isfinite(cost) else None for cost in row] for row in rows]


def learning(checkpoint, rows):
    """Return the passage, its costs (epochs, n-1) and the samples in a run's logs, or None. rows: of logged_costs()."""
    samples = readable(logs.read_samples, logs.path_beside(checkpoint, logs.SAMPLES))
    of_text, passage, costs = readable(logs.read_passage, logs.path_beside(checkpoint, logs.PASSAGES)) or ('', '', {})
    epochs = sorted({epoch for epoch, *_ in rows} & set(samples or ()) & set(costs))
    if not epochs:
        return None
    return dict(passage=list(passage), about=f'the beginning of the {of_text} text', looks=[
        dict(time=epoch, training=training, valid=valid, sample=samples[epoch],
             costs=array_for_json(to_float16(costs[epoch]))) for epoch, training, valid in rows if epoch in epochs])


def for_learning():
    """Return what a page needs to train and write like the scripts: options, rates by number of units, and a text."""
    return dict(
        formulas=formulas(), temperature=table.READABLE['temperature'], recipe={name: table.DEFAULTS[name] for name in (
            'drate', 'eps', 'momentum', 'weight_decay', 'grad_clip', 'step_clip', 'average', 'warmup')},
        rates={H: recipe.lrate([H]) for H in LEARNER_UNITS}, text=LESSON.read_text(encoding='utf-8'),
        name=TEXTS[LESSON.name])


def title(checkpoint):
    """Return the title or file name of what the model of an open checkpoint was trained on, or its own file's name."""
    path = (checkpoint.metadata.get('text') or {}).get('path')
    name = ntpath.basename(path or str(checkpoint))
    return TEXTS.get(name, name)


def page_data(model, checkpoint, shown):
    """Return all data of a page under the names that its scripts use. Arguments as for write_page."""
    epochs, stored, text = logged_costs(checkpoint), opened(checkpoint), shown.text
    titled, described = title(stored), info.description(stored, folders=False).split('\n')
    return dict(
        title=titled, line=OPENINGS.get(titled), **expected(model, text),
        source=shown.source, epochs=epochs,
        info=[line.partition(': ')[::2] for line in described], learning=learning(checkpoint, epochs),
        learner=for_learning(), **cells(model, text, (held_out(stored) or shown).text),
        parameters={name: array_for_json(to_float16(array))
                    for name, array in cell_of_model(model).with_constants(arrays(model.p)).items()})


# ---------------------------------------------------------------- the text of a page

def held_out(checkpoint):
    """Return held-out text of the run of an open checkpoint as a Shown, or None if none is available.

    It is the held-out text next to the checkpoint or the validation text. If that file is missing or has changed, it is
    the passage in the log.
    """
    beside = readable(read_string, logs.path_beside(checkpoint, HELD_OUT))
    if beside:
        return Shown(beside[0][:MOST_CHARACTERS],
                     f'From {title(checkpoint)}, the part on which the model was not trained.')
    of_train = checkpoint.metadata.get('text')
    file = of_train and of_train['valid'] or of_train
    found = file and readable(read_string, file['path'], of_train['encoding'])
    if found:
        text, sha256 = found
        first = 0 if file is not of_train else characters_to_train(len(text), file['seq_length'], file['ratio_valid'])
        if sha256 == file['sha256'] and first < len(text):
            return Shown(text[first:first + MOST_CHARACTERS],
                         f'Validation text from {ntpath.basename(file["path"])}, on which the model was not trained.')
    of_text, passage, _ = readable(logs.read_passage, logs.path_beside(checkpoint, logs.PASSAGES)) or ('', '', {})
    if of_text == 'validation':
        return Shown(passage, f'{len(passage)} characters of validation text, on which the model was not trained.')


def beginning_of(text, n, found, said):
    """Return the beginning of a text from a file of n characters as a Shown. found, said: of report.read."""
    shown = text[:MOST_CHARACTERS]
    lines = [f'{len(shown):,} of the {n:,} characters of {found["file"]}, from its beginning', *said]
    source = ' '.join(f'{line[0].upper()}{line[1:]}.' for line in lines)
    return Shown(shown, source)


# ---------------------------------------------------------------- the page

def file_of_page(name):
    return (HERE / name).read_text(encoding='utf-8')


def products():
    """Return product.c, compiled to WebAssembly, as a script."""
    in_base64 = [base64.b64encode((HERE / f'{name}.wasm').read_bytes()).decode() for name in PRODUCTS]
    return f'const PRODUCTS = {json.dumps(in_base64)};\n'


def fill_template(data):
    """Return the page in bytes: page.html with style sheet, scripts and data."""
    script = '\n' + '\n'.join([products(), *[file_of_page(f'{name}.js') for name in SCRIPTS]])
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()        # no other script may run
    as_json = json.dumps(data, allow_nan=False, separators=(',', ':'))          # in ASCII
    as_json = re.sub('[<>&]', lambda match: f'\\u{ord(match.group()):04x}', as_json)      # data cannot close <script>
    parts = dict(hash=f'sha256-{checksum}', style=file_of_page('page.css'), script=script, data=as_json)
    return filled(file_of_page('page.html'), parts).encode()


def write_page(path, model, checkpoint, shown):
    """Write the page of a model, its checkpoint (a path or an open one) and a text (a Shown).

    Raises ValueError if the page cannot compute the cell.
    """
    cell = cell_for_page(other_program_cell(model, 'a page'), LEARNER_UNITS)
    page = fill_template(dict(page_data(model, checkpoint, shown), cell=cell))
    with write_whole(path) as f:
        f.write(page)
    note(f'wrote {path}, {len(page) / 1e6:.1f} MB: open it in a browser')
