"""Train a model by the recipe, as train.py does."""
import contextlib
import math

from engine import checks
from engine.model.state import new_kinds
from engine.run import table
from engine.run.options import Options, set_units
from engine.run.recipe import complete
from engine.run.schedule import Epoch, Schedule, Validated, timed
from engine.terminal import bar, warn, warn_once

OF_FIT = [name for name, row in table.ROWS.items() if row.of_fit]


def fit(model, filepath, recipe, verbose, options):
    """Return the Epochs of training on a text. Arguments and errors: as for CharLSTM's."""
    options = {name: value for name, value in options.items() if value is not None}
    if filepath is None and recipe != 'small':
        if options or recipe != 'default' or model.schedule is None:
            raise ValueError('without a text, fit continues an earlier fit with its options: expected a text')
        return Epochs(epochs(model, model.schedule, verbose))
    checks.choice('recipe', recipe, ('default', *table.PRESETS))
    unknown = options.keys() - OF_FIT
    if unknown:
        raise ValueError(f'fit has no option {min(unknown)}: expected one of {", ".join(OF_FIT)}')
    o = Options({**options, 'original': recipe == 'original', 'small': recipe == 'small', 'input': filepath})
    o = model.group.broadcast(set_units, o)
    if model.p and model.schedule is None and o.init is None and model.group.first:
        warn('fit starts with new parameters, not with those of the model: init=PARAMS starts from a checkpoint')
    set_up(model, o, verbose)
    o.input, o.typed = None, {}        # the text may be an open file, which cannot be pickled
    model.schedule, model.best = Schedule.resumed(o, {}, model.n_batches['train']), None
    return Epochs(epochs(model, model.schedule, verbose))


class Epochs:
    """What fit returns: an iterator that warns if it is dropped before it has trained anything."""

    def __init__(self, generator):
        self.generator, self.is_unread = generator, True

    def __iter__(self):
        return self

    def __next__(self):
        self.is_unread = False
        return next(self.generator)

    def __del__(self):
        if self.is_unread:
            warn_once('fit has trained nothing, since no loop reads it: for epoch in model.fit(...): print(epoch)')


def set_up(model, o, verbose=True):
    """Read a model's texts, complete o, its Options, and make its parameters. Return their number."""
    model.prepare_input(o.input, o.ratio_valid, o.batch_size, o.seq_length, verbose, o.encoding,
                        not o.no_stateful, o.valid, o.test)
    sources = model.text.sources
    for role in ('valid', 'test'):
        if model.group.first and role in sources and sources[role]['sha256'] == sources['train']['sha256']:
            warn(f'the {table.TITLES[role]} is the training text: its costs say nothing about other texts')
    number = sum(math.prod(shape) for shape, _ in new_kinds(model, len(model.uchar), o.units).values())
    complete(o, model.n_batches['train'], number)
    model.model_setup(units=o.units, initial=o.initial, **o.kept('lp'))
    if o.init is not None:
        model.init_params(o.init, o.encoding)
    return number


def next_epoch(model, schedule, verbose):
    """Train to the end of an epoch, and return the Epoch. An interrupt removes the progress bar, too."""
    with contextlib.ExitStack() as shown:
        progress = None
        for event in timed(model, schedule):
            if isinstance(event, Epoch):
                return event
            if verbose and model.group.first:
                progress = progress or shown.enter_context(bar(schedule.batches, '', 'steps'))
                activity = ', validating' if isinstance(event, Validated) else ''
                progress.desc = f'epoch {schedule.epoch + 1}/{schedule.epochs}{activity}'
                progress.update(schedule.batch - progress.n)


def epochs(model, schedule, verbose):
    """Continue training by a Schedule, and yield each Epoch; at the end, set the parameters of the best one."""
    if verbose and model.group.first and not (model.kernel or schedule.finished):
        print('compiling by Theano alone, for half a minute or less ...', flush=True)
    while not schedule.finished:
        epoch = next_epoch(model, schedule, verbose)       # its bar is gone before the caller prints
        if schedule.best_epoch == schedule.epoch:
            model.best = {name: p.get_value() for name, p in model.p.items()}
        yield epoch
        if model.schedule is not schedule:
            raise ValueError('fit cannot continue: another text, other parameters or another fit ended it')
    for name, array in (model.best or {}).items():
        for variables in filter(None, (model.p, model.weights)):
            variables[name].set_value(array)
