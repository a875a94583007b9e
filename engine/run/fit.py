"""Prepare a model to learn a text by the recipe of train.py, with its files or in a program of one's own."""
import math

from engine.model import checks
from engine.model.parameters import parameter_shapes
from engine.run.recipe import Options, complete, set_units
from engine.run.schedule import Schedule
from engine.run.table import PRESETS, ROWS, TITLES
from engine.terminal import bar, warn

OF_FIT = [name for name, row in ROWS.items() if row.of_fit]


def fit(model, filepath=None, recipe='default', verbose=True, **options):
    """Train on a text as train.py does. Return an iterator, which yields an Epoch after each epoch.

    filepath: as for prepare_input; training begins with new parameters, or those of the option init. None continues
    a fit that was left before its end. recipe: 'default', 'original' for that of 2016, or 'small' for that of
    --small, whose text filepath None then means. verbose: whether to print what is read and to show a bar. options:
    most of those of train.py, with underscores, such as num_units1=128 or init='params.npz'; the recipe has the
    others. A model that knows all characters keeps its vocabulary. After each epoch, the model can predict and
    write; at the end, it has the parameters of the best epoch, as the _best.npz of train.py. Raises ValueError for
    options out of range and for a text that is too short or not in its encoding; OSError where it cannot be read;
    Diverged where costs are no longer finite.
    """
    if filepath is None and recipe != 'small':
        if options or recipe != 'default' or model.schedule is None:
            raise ValueError('fit continues a run with its own options, and there is none: expected a text')
        return epochs(model, model.schedule, verbose)
    checks.choice('recipe', recipe, ('default', *PRESETS))
    unknown = options.keys() - OF_FIT
    if unknown:
        raise ValueError(f'fit has no option {min(unknown)}: expected one of {", ".join(OF_FIT)}')
    chosen = {name: value for name, value in options.items() if value is not None}
    o = Options({**chosen, 'original': recipe == 'original', 'small': recipe == 'small', 'input': filepath})
    o = model.group.broadcast(set_units, o)
    if model.p and model.schedule is None and o.init is None and model.group.first:
        warn('fit begins with new parameters, not with those that the model has: init=PARAMS begins with a checkpoint')
    set_up(model, o, verbose)
    model.schedule, model.best = Schedule.resumed(o, {}, model.n_batches['train']), None
    return epochs(model, model.schedule, verbose)


def set_up(model, o, verbose=True):
    """Let a model read its texts and get parameters by o, Options, which are completed. Return how many there are."""
    model.prepare_input(o.input, o.ratio_valid, o.batch_size, o.seq_length, verbose, o.encoding,
                        not o.no_stateful, o.valid, o.test)
    sources = model.text.sources
    for role in ('valid', 'test'):
        if model.group.first and role in sources and sources[role]['sha256'] == sources['train']['sha256']:
            warn(f'the {TITLES[role]} is the text that is learned: its costs say nothing about other texts')
    shapes = parameter_shapes(len(model.uchar), o.num_units1, o.num_units2)
    complete(o, model.n_batches['train'], sum(map(math.prod, shapes.values())))
    model.model_setup(num_units1=o.num_units1, num_units2=o.num_units2, initial=o.initial, **o.kept('lp'))
    if o.init is not None:
        model.init_params(o.init, o.encoding)
    return sum(p.get_value(borrow=True).size for p in model.p.values())


def epochs(model, schedule, verbose):
    """Train on by a Schedule, and yield each Epoch; at the end, give the model the parameters of the best one."""
    shown = None
    for event in model.training(schedule):
        if hasattr(event, 'ratios') and verbose and model.group.first:
            shown = shown or bar(schedule.batches, f'epoch {schedule.epoch + 1}/{schedule.epochs}', 'steps')
            shown.update(schedule.batch - shown.n)
        if hasattr(event, 'number'):
            shown = shown and shown.close()                # before the caller prints
            if schedule.best_epoch == schedule.epoch:
                model.best = {name: p.get_value() for name, p in model.p.items()}
            yield event
            if model.schedule is not schedule:
                raise ValueError('fit cannot continue: another text, other parameters or another fit ended it')
    for name, array in (model.best or {}).items():
        for variables in filter(None, (model.p, model.weights)):
            variables[name].set_value(array)
