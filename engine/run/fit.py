"""Let a model learn a text by the recipe of train.py: with its files, or in a program of one's own."""
from engine.run.options import Options
from engine.run.recipe import complete
from engine.run.schedule import Schedule
from engine.run.table import DEFAULTS, OPTIONS
from engine.state.parameters import parameter_count

RECIPES = 'default', 'original'
# Options of the files of a run, and those of CharLSTM itself.
NOT_OF_FIT = ('input', 'run', 'original', 'test', 'test_adapt', 'kernel', 'precision', 'random_seed', 'save_every',
              'output_dir', 'overwrite', 'init', 'resume')
OF_FIT = [name for name in DEFAULTS if name not in NOT_OF_FIT]


def set_up(model, o):
    """Let a model read its texts and get parameters by o, Options, which gets what depends on the length of the text.

    Return the number of parameters.
    """
    model.prepare_input(o.input, o.ratio_valid, o.batch_size, o.seq_length, encoding=o.encoding,
                        stateful=not o.no_stateful, valid=o.valid, test=o.test)
    parameters = parameter_count(len(model.uchar), o.num_units1, o.num_units2)
    complete(o, model.n_batches['train'], parameters)
    model.model_setup(**o.arguments_of(model.model_setup))
    return parameters


def begin(model, filepath, recipe, chosen):
    """Set a model up as CharLSTM.fit says. Return the Schedule of its training. chosen: options by name."""
    if recipe not in RECIPES:
        raise ValueError(f'recipe is {recipe!r}: expected one of {", ".join(map(repr, RECIPES))}')
    for name in chosen:
        if name not in OF_FIT:
            raise ValueError(f'fit has no option {name}: expected one of {", ".join(OF_FIT)}')
    original = {'original': True} if recipe == 'original' else {}
    o = Options(OPTIONS, DEFAULTS, {**chosen, **original, 'input': filepath})
    o.settle()
    set_up(model, o)
    return Schedule.resumed(o, {}, model.n_batches['train'])
