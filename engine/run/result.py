"""The result of a run: a file for programs, and the scores of the texts that were named to validate and to test with.

Such a text is scored once, when the run is finished, with the best model. It is read as one stream from zero states,
and the cost is the mean over all of its characters but the first.
"""
import json

from engine.model.files import base_name, write_whole
from engine.run.table import TITLES
from engine.terminal import bar, bits

RESULT = '_result.json'                # ending of the file
LEFT_OUT = 'valid', 'test', 'random_seed'      # options: paths on this computer, and a field of its own


def to_score(options):
    """Return the names of what is scored at the end of a run: the roles of texts, and 'test_adapted'."""
    named = dict(valid=options.valid, test=options.test, test_adapted=options.test_adapt)
    return [name for name in named if named[name]]


def title(model, name):
    """Return what a line calls a text that is scored, and its length. name: as in to_score."""
    role, _, adapted = name.partition('_')
    source, how = model.text.sources[role], ', adapting' if adapted else ''
    return f'{TITLES[role]} {base_name(source["path"])}{how}, {source["characters"]:,} characters in one stream'


def score(model, options, checkpoint, adapting):
    """Return the mean costs of the texts of a model that are scored, in nats by the names of to_score.

    checkpoint: of the best model, which is scored in float32 as by produce_text.py. adapting: how score_text adapts.
    """
    best, scores = type(model)(kernel=options.kernel == 'on'), {}
    best.load_params(checkpoint)
    for name in to_score(options):
        text, how = model.texts[name.removesuffix('_adapted')], adapting if name == 'test_adapted' else {}
        with bar(len(text), f'scoring the {title(model, name)}', 'characters') as shown:
            costs = best.score_text(text, progress=lambda costs: shown.update(len(costs)), **how)
        scores[name] = float(costs.mean(dtype='float64'))
    return scores


def write(path, model, schedule, scores, more):
    """Write a flat dict, in which missing values are None. scores: in nats by name; more: other fields, a dict."""
    options = schedule.options
    found = dict(more, id=schedule.id, run=options.run, random_seed=options.random_seed, epochs=schedule.epoch,
                 parameters=sum(p.get_value(borrow=True).size for p in model.p.values()),
                 best_epoch=schedule.best_epoch or None, checkpoint_epoch=schedule.best_epoch or schedule.epoch)
    for role in TITLES:
        source = model.text.sources.get(role, {})
        found.update({f'{role}_text': base_name(source['path']) if source else None,
                      f'{role}_characters': source.get('characters'), f'{role}_sha256': source.get('sha256')})
    for name in ('best_valid', 'valid', 'test', 'test_adapted'):
        cost = schedule.best_cost if name == 'best_valid' else scores.get(name)
        found.update({f'{name}_nats': cost, f'{name}_bits': None if cost is None else bits(cost)})
    found.update({f'version_{name}': version for name, version in model.versions().items()})
    found.update({f'option_{name}': value for name, value in options.kept('run', 'lp', 'text', 'model').items()
                  if name not in LEFT_OUT})
    with write_whole(path) as f:
        f.write((json.dumps(found, indent=1) + '\n').encode('ascii'))
