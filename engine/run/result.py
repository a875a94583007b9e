"""The result of a run: a file for programs, and the scores of the texts that were named to validate and to test with.

Such a text is scored once, when the run is finished, with the best model. It is read as one stream from zero states,
and the cost is the mean over all of its characters but the first.
"""
import json

from engine.model.files import base_name, named, write_whole
from engine.model.patterns import COST, matches, random_id, whole
from engine.terminal import bar, bits, nats_and_bits

RESULT = '_result.json'                # ending of the file
TITLES = {'train': 'text', 'valid': 'validation text', 'test': 'test text'}        # of a run's texts, by their role
LONGEST = 1 << 20                      # characters of the file, at most
# What is used of a result that is read: other fields may be those of any version.
STORED = {'...': None, 'id': random_id, 'epochs': whole, 'checkpoint_epoch': whole, 'best_valid_nats': COST,
          'valid_nats': COST, 'test_nats': COST, 'test_adapted_nats': COST}
LEFT_OUT = 'input', 'valid', 'test', 'run', 'random_seed'      # options: paths on this computer, and other fields


class _Stopped(Exception):
    """A stop was requested while a text is scored."""


def to_score(options):
    """Return what is scored at the end of a run, a dict: by name, the role of a text, and whether the model adapts."""
    found = {role: (role, False) for role in ('valid', 'test') if getattr(options, role) is not None}
    if options.test_adapt:
        found['test_adapted'] = 'test', True
    return found


def read(path, run_id):
    """Return the result of the run with that id from a file, a dict; {} where the file holds none."""
    try:
        with named('read', path), open(path, encoding='utf-8') as f:
            found = json.loads(f.read(LONGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if matches(found, STORED) and found['id'] == run_id else {}


def stored_scores(found, names, schedule):
    """Return the scores in a result by name, of the best model of a Schedule; {} unless it has all.

    found: what read returned. names: those of to_score.
    """
    best = epoch_of_best(schedule), schedule.best_cost
    same = (found.get('checkpoint_epoch'), found.get('best_valid_nats')) == best
    scores = {name: found.get(f'{name}_nats') for name in names} if same else {}
    return {} if None in scores.values() else scores


def epoch_of_best(schedule):
    """Return the epoch of the best model; without validation, the last one."""
    return schedule.best_epoch or schedule.epoch


def score(model, options, checkpoint):
    """Return the mean cost of each of to_score(options), in nats, by name; {} if a stop is requested meanwhile.

    checkpoint: the path of the one that the model was read from.
    """
    from engine.analysis import how_to_adapt           # late, so that --help does not wait for NumPy
    scores = {}
    for name, (role, adapts) in to_score(options).items():
        text, adapting = model.texts[role], how_to_adapt(checkpoint) if adapts else {}

        def count(costs):
            countdown.update(len(costs))
            if model.group.stop_requested:
                raise _Stopped

        try:
            with bar(len(text) - 1, f'scoring the {title(model, role, adapts)}', 'characters') as countdown:
                count([])                                  # also before the first characters
                scores[name] = float(model.score_text(text, progress=count, **adapting).mean(dtype='float64'))
        except _Stopped:
            return {}
    return scores


def title(model, role, adapts):
    """Return what a line calls a text. role: of a text of the model; adapts: whether the model adapts to it."""
    found = f'{TITLES[role]} {base_name(model.source(role)["path"])}'
    return f'{found}, adapting' if adapts else found


def lines(model, options, scores):
    """Yield a line for each score, in nats by name."""
    for name, (role, adapts) in to_score(options).items():
        yield (f'{title(model, role, adapts)}, {model.source(role)["characters"]:,} characters in one stream: '
               f'{nats_and_bits(scores[name])} a character')


def _costs(name, cost):
    """Return a cost in nats, or None, in both units by name."""
    return {f'{name}_nats': cost, f'{name}_bits': cost if cost is None else bits(cost)}


def fields(model, schedule, scores, **more):
    """Return what the file holds, a flat dict. scores: in nats by name; more: other fields.

    What does not exist or is not known is None.
    """
    found = dict(more, run=schedule.options.run, random_seed=schedule.options.random_seed,
                 parameters=sum(p.get_value(borrow=True).size for p in model.p.values()))
    for role in ('train', 'valid', 'test'):
        source = model.source(role) if model.has_text(role) else {}
        found.update({f'{role}_text': base_name(source['path']) if source else None,
                      f'{role}_characters': source.get('characters'), f'{role}_sha256': source.get('sha256')})
    found.update(epochs=schedule.epoch, best_epoch=schedule.best_epoch or None,
                 **_costs('best_valid', schedule.best_cost))
    found['checkpoint_epoch'] = epoch_of_best(schedule)
    for name in ('valid', 'test', 'test_adapted'):
        found.update(_costs(name, scores.get(name)))
    found.update({f'version_{name}': version for name, version in model.versions().items()})
    found.update({f'option_{name}': value for name, value in schedule.options.of_run().items()
                  if name not in LEFT_OUT})
    return found


def write(path, found):
    """Write a result, whole or not at all. Raises OSError when it cannot be written."""
    with write_whole(path) as f:
        f.write((json.dumps(found, indent=1) + '\n').encode('ascii'))
