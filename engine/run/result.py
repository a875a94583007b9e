"""What a run leaves for people and for programs: the picture of its costs, and its result with the scores of texts.

The texts that were named to validate and to test with are scored once, when the run is finished, with the best model.
Each is read as one stream from zero states, and the cost is the mean over all of its characters but the first.
"""
import json
import logging
import warnings

import numpy as np

from engine.model.files import base_name, write_whole
from engine.model.run_state import how_to_adapt
from engine.run.logs import COLUMNS
from engine.run.table import OF_RUN, TITLES
from engine.terminal import bar, bits, nats_and_bits, printable

RESULT = '_result.json'                # ending of the file
LEFT_OUT = 'input', 'run', 'valid', 'test', 'random_seed'      # options: paths on this computer, or fields of their own


def draw_costs(path, title, steps, epochs):
    """Draw costs in nats a character against epochs, as a PNG. steps, epochs: rows as in Logs."""
    logging.getLogger('matplotlib').setLevel(logging.ERROR)      # it logs about its font cache
    from matplotlib.figure import Figure                         # pyplot would look for a backend
    width = max(1, len(steps) // 1000)                           # steps averaged to a point, so that lines show
    at, of_steps = np.array(steps[:len(steps) // width * width], float).reshape(-1, width, 2).mean(axis=1).T
    epoch, cost, valid_cost, *_ = np.array(epochs, float).reshape(-1, len(COLUMNS)).T
    figure = Figure(figsize=(8, 5))
    axes, dots = figure.subplots(), dict(marker='o', markersize=4)
    axes.plot(at, of_steps, color='#9ecae1', linewidth=1, label='training, a batch')
    axes.plot(epoch - 0.5, cost, color='#08519c', label='training, mean of an epoch, at its middle', **dots)
    if np.isfinite(valid_cost).any():
        axes.plot(epoch, valid_cost, color='#d94801', label='validation, all batches', **dots)
    axes.set(xlabel='epoch', ylabel='cost, nats per character', xlim=(0, None))
    axes.set_title(printable(title).replace('$', r'\$'))         # a bare $ begins a formula
    axes.grid(alpha=0.3)
    axes.legend()
    with warnings.catch_warnings(), write_whole(path) as f:
        warnings.filterwarnings('ignore', 'Glyph')               # of a character that the font lacks, drawn as a box
        figure.savefig(f, format='png', dpi=110, bbox_inches='tight')


def score(model, options, checkpoint, say):
    """Return the mean costs of the texts of a model, in nats by 'valid', 'test' and 'test_adapted', as far as named.

    checkpoint: of the best model, which is scored in float32 as by produce_text.py. say() gets a line on each text.
    """
    best, scores = type(model)(kernel=options.kernel == 'on'), {}
    best.load_params(checkpoint)
    named = dict(valid=options.valid, test=options.test, test_adapted=options.test_adapt)
    for name in filter(named.get, named):
        role, adapted = name.removesuffix('_adapted'), name == 'test_adapted'
        text, how = model.texts[role], how_to_adapt(checkpoint, rate=adapted)
        title = (f'{TITLES[role]} {base_name(model.source(role)["path"])}{", adapting" if adapted else ""}, '
                 f'{len(text):,} characters in one stream')
        with bar(len(text), f'scoring the {title}', 'characters') as shown:
            costs = best.score_text(text, progress=lambda costs: shown.update(len(costs)), **how)
        scores[name] = float(costs.mean(dtype='float64'))
        say(f'{title}: {nats_and_bits(scores[name])} a character')
    return scores


def write(path, model, schedule, scores, more):
    """Write a flat dict, in which missing values are None. scores: in nats by name; more: other fields, a dict."""
    options = schedule.options
    found = dict(more, id=schedule.id, run=options.run, random_seed=options.random_seed, epochs=schedule.epoch,
                 parameters=sum(p.get_value(borrow=True).size for p in model.p.values()),
                 best_epoch=schedule.best_epoch or None, checkpoint_epoch=schedule.best_epoch or schedule.epoch)
    for role in TITLES:
        source = model.source(role) if model.has_text(role) else {}
        found.update({f'{role}_text': base_name(source['path']) if source else None,
                      f'{role}_characters': source.get('characters'), f'{role}_sha256': source.get('sha256')})
    for name in ('best_valid', 'valid', 'test', 'test_adapted'):
        cost = schedule.best_cost if name == 'best_valid' else scores.get(name)
        found.update({f'{name}_nats': cost, f'{name}_bits': None if cost is None else bits(cost)})
    found.update({f'version_{name}': version for name, version in model.versions().items()})
    found.update({f'option_{name}': vars(options)[name] for name in OF_RUN if name not in LEFT_OUT})
    with write_whole(path) as f:
        f.write((json.dumps(found, indent=1) + '\n').encode('ascii'))
