"""The result of a run: a file for programs, and the scores of the texts that were named to validate and to test with.

Such a text is scored once, when the run is finished, with the best model. It is read as one stream from zero states,
and the cost is the mean over all of its characters but the first.
"""
import json

from engine.model.files import base_name, write_whole
from engine.terminal import bar, bits, nats_and_bits

RESULT = '_result.json'                # ending of the file
TITLES = {'train': 'text', 'valid': 'validation text', 'test': 'test text'}        # of a run's texts, by their role
LEFT_OUT = 'valid', 'test', 'random_seed'      # options: paths on this computer, and a field of its own


def to_score(options):
    """Return the names of what is scored at the end of a run: the roles of texts, and 'test_adapted'."""
    named = dict(valid=options.valid is not None, test=options.test is not None, test_adapted=options.test_adapt)
    return [name for name in named if named[name]]


def read(path, run_id):
    """Return the result of the run with that id from a file, a dict; {} if there is none."""
    try:
        with open(path, encoding='utf-8') as f:
            found = json.load(f)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get('id') == run_id else {}


def _role(name):
    return name.removesuffix('_adapted')


def title(model, name):
    """Return what a line calls a text that is scored. name: as in to_score."""
    text = f'{TITLES[_role(name)]} {base_name(model.source(_role(name))["path"])}'
    return text if _role(name) == name else f'{text}, adapting'


def score(model, options, checkpoint, adapting):
    """Return the mean costs of the texts of a model that are scored, in nats by the names of to_score.

    checkpoint: of the best model; it is scored in float32, whatever precision it was trained with, as produce_text.py
    --score does. adapting: how score_text adapts, a dict.
    """
    best, scores = type(model)(kernel=options.kernel == 'on'), {}
    best.load_params(checkpoint)
    for name in to_score(options):
        text, how = model.texts[_role(name)], {} if name == _role(name) else adapting
        with bar(len(text), f'scoring the {title(model, name)}', 'characters') as shown:
            costs = best.score_text(text, progress=lambda costs: shown.update(len(costs)), **how)
        scores[name] = float(costs.mean(dtype='float64'))
    return scores


def lines(model, scores):
    """Yield a line for each score, in nats by name."""
    for name, nats in scores.items():
        yield (f'{title(model, name)}, {model.source(_role(name))["characters"]:,} characters in one stream: '
               f'{nats_and_bits(nats)} a character')


def fields(model, schedule, scores, **more):
    """Return what the file holds, a flat dict; missing values are None. scores: in nats by name; more: other fields."""
    options = schedule.options
    found = dict(more, id=schedule.id, run=options.run, random_seed=options.random_seed, epochs=schedule.epoch,
                 parameters=sum(p.get_value(borrow=True).size for p in model.p.values()),
                 best_epoch=schedule.best_epoch or None, checkpoint_epoch=schedule.best_epoch or schedule.epoch)
    for role in ('train', 'valid', 'test'):
        source = model.source(role) if model.has_text(role) else {}
        found.update({f'{role}_text': base_name(source['path']) if source else None,
                      f'{role}_characters': source.get('characters'), f'{role}_sha256': source.get('sha256')})
    for name in ('best_valid', 'valid', 'test', 'test_adapted'):
        cost = schedule.best_cost if name == 'best_valid' else scores.get(name)
        found.update({f'{name}_nats': cost, f'{name}_bits': None if cost is None else bits(cost)})
    found.update({f'version_{name}': version for name, version in model.versions().items()})
    found.update({f'option_{name}': value for name, value in options.kept('run', 'lp', 'text', 'model').items()
                  if name not in LEFT_OUT})
    return found


def write(path, found):
    """Write a result, whole or not at all. Raises OSError when it cannot be written."""
    with write_whole(path) as f:
        f.write((json.dumps(found, indent=1) + '\n').encode('ascii'))
