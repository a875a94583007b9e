"""Let a model learn a text by the recipe of train.py: with its files, or in a program of one's own."""
import math

from engine.model import checks
from engine.run.options import Options
from engine.run.recipe import complete
from engine.run.schedule import Schedule
from engine.model.parameters import parameter_shapes
from engine.run.table import PRESETS, ROWS

RECIPES = ('default', *PRESETS)
OF_FIT = [name for name, row in ROWS.items() if row.of_fit]


def set_up(model, o):
    """Let a model read its texts and get parameters by o, Options, which gets what depends on the length of the text.

    Return the number of parameters.
    """
    model.prepare_input(o.input, o.ratio_valid, o.batch_size, o.seq_length, encoding=o.encoding,
                        stateful=not o.no_stateful, valid=o.valid, test=o.test)
    shapes = parameter_shapes(len(model.uchar), o.num_units1, o.num_units2)
    complete(o, model.n_batches['train'], sum(map(math.prod, shapes.values())))
    model.model_setup(num_units1=o.num_units1, num_units2=o.num_units2, initial=o.initial, **o.learning())
    if o.init is not None:
        model.init_params(o.init, o.encoding)
    return sum(p.get_value(borrow=True).size for p in model.p.values())


def begin(model, filepath, recipe, chosen, verbose=True):
    """Set a model up as CharLSTM.fit says. Return the Schedule of its training. chosen: options by name."""
    checks.choice('recipe', recipe, RECIPES)
    if filepath is None and recipe != 'small':
        raise ValueError(f'recipe is {recipe!r}, but there is no text: expected one to begin with')
    for name, value in chosen.items():
        if value is None and ROWS.get(name) and ROWS[name].default is not None:
            raise ValueError(f'{name} is None: expected a value, or leave it out')
        if name not in OF_FIT:
            raise ValueError(f'fit has no option {name}: expected one of {", ".join(OF_FIT)}')
    preset = {recipe: True} if recipe in PRESETS else {}
    typed = {name: value for name, value in chosen.items() if value is not None}       # None: what the recipe has
    o = Options({**typed, **preset, 'input': filepath})
    vars(o).update(model.group.broadcast(o.settle))        # only the first process reads a checkpoint
    set_up(model, o)
    return Schedule.resumed(o, {}, model.n_batches['train'])


def epochs(model, schedule, verbose):
    """Train on by a Schedule, and yield each Epoch; at the end, give the model the parameters of the best one."""
    for event in model.training(schedule):
        if hasattr(event, 'number'):
            if schedule.best_epoch == schedule.epoch:
                model.best = {name: p.get_value() for name, p in model.p.items()}
            yield event
            if model.schedule is not schedule:
                raise ValueError('fit cannot continue: another text, other parameters or another fit ended it')
    for name, array in (model.best or {}).items():
        for variables in (model.p, model.weights):
            if variables:
                variables[name].set_value(array)
