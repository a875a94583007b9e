"""Choose the options of a run, by default the best known recipe; set up and train a model with them."""
import contextlib
import math
import os
import secrets

import numpy as np

from engine.model import checks
from engine.model.files import base_name
from engine.model.parameters import Checkpoint, parameter_shapes, read_parameters, units
from engine.run import table
from engine.run.schedule import Epoch, Schedule
from engine.terminal import BUNDLED, ROOT, bar, layers_of_units, near, number_of, script, warn, words_of
from engine.training import cell_of_model

OF_FIT = [name for name, row in table.ROWS.items() if row.of_fit]
UNITS, LAYERS = 256, 2
# The rate times the number of units, and the highest rate. RMSprop's steps do not grow with the gradient, so the change
# of a unit's input grows with the number of units that it reads (Yang et al. 2022).
LRATE, HIGHEST = 0.012 * 256, 0.024

# A training text of fewer characters gains from the bundled model, if that model knows this share of them. Measured
# with a share of 0.99; a Thai text got worse.
SHORT, KNOWN = 350_000, 0.98

# A short text has few steps in an epoch, so it gets more epochs: enough for this number of steps.
EPOCHS, STEPS = 40, 7500
PATIENCE, PATIENT_STEPS = 6, 1150
SOONER = 1 / 3                             # factor on PATIENT_STEPS with --init: such a model reaches its best sooner
SAVE_EVERY, CHECKPOINTS = 10, 100          # epochs between checkpoints, or more, to write at most this number of them
BLOCK = 900_000                            # characters that bzip2 compresses at a time

# Dropout by the number of parameters per training character, interpolated linearly in the logarithm of that number.
# Each point except the last was the best, or as good as the best, of several shares (tests/benchmarks/README.md): the
# one at 1.3 on Python's library, the others on English texts.
DROPOUT = ((0.1, 0.02), (0.25, 0.05),  # 2x128 units and 2.6 million characters, and 1 million
           (0.35, 0.1),                # 2x256 and 2.6 million
           (0.87, 0.15), (1.3, 0.25),  # 2x256 and 1 million, and 0.7 million of Python's library
           (1.9, 0.25),                # 2x256 and half a million
           (4.8, 0.46), (16, 0.6))     # near 6.1: 2x128 and 42,000 characters of Python's language reference
LEARNED_BEFORE = 2 / 3                 # factor on dropout with --init
FEWER_EPOCHS = 1 / 4                   # without --init, factor for fewer epochs: (epochs / EPOCHS) ** FEWER_EPOCHS


class Options:
    """The options of a run as attributes; None: not chosen yet. typed: a dict of those that the user set."""

    def __init__(self, typed):
        """Set options from a dict. Raise ValueError if some are out of range or contradict each other."""
        self.typed = table.checked_options(typed)
        vars(self).update(table.DEFAULTS)
        for name, preset in table.PRESETS.items():
            vars(self).update(preset if typed.get(name) else {})
        vars(self).update(self.typed)
        if self.small and self.input is None:
            self.input = near(os.path.join(ROOT, 'text_input', 'coriolanus.txt'))
        if self.original and self.small or self.valid is not None and 'ratio_valid' in self.typed:
            raise ValueError('--original and --small exclude each other, and so do --valid and --ratio-valid')
        if self.test_adapt and self.test is None:
            raise ValueError('--test-adapt needs --test, the text to adapt to')
        if not self.run or os.path.basename(self.run) != self.run:
            raise ValueError(f'the run name {self.run!r} is part of file names: expected no path separators')
        if self.valid is not None:
            self.ratio_valid = 0.0                         # train on all of the input

    def kept(self, place):
        """Return a dict of the options that a checkpoint keeps in this place; see Option in table.py."""
        return {name: vars(self)[name] for name, row in table.ROWS.items() if row.kept == place}

    @property
    def units(self):
        """Return the units of each layer."""
        return self.num_units1, *[self.num_units2] * (self.layers - 1)

    @property
    def name(self):
        """Return the beginning of the names of the run's files."""
        return f'{os.path.basename(self.run)}_{base_name(self.input)}'     # basename: a checkpoint is untrusted

    def summary(self, parameters, validates):
        """Return two lines about the model and its training. validates: whether there are validation batches."""
        cell = f', of {self.cell}' if self.cell else ''
        begins = f', from the parameters of {self.init}' if self.init else ''
        most = 'up to ' if self.patience and validates else ''
        first = math.floor(round((1 - self.anneal) * self.epochs, 6)) + 1
        falling = f', falling from epoch {first} on' if first <= self.epochs else ''
        return (f'{layers_of_units(self.units)}{cell}, {parameters:,} parameters{begins}; '
                f'{most}{number_of(self.epochs, "epoch")}; random seed {self.random_seed}\n'
                f'learning rate {self.lrate:g}{falling}; dropout {self.dropout:g}, dropconnect {self.dropconnect:g}')


def choose(typed, find_input):
    """Return the Options of a run, and the open checkpoint if it is resumed, otherwise None.

    find_input: a function from the typed input, or None, to the path of a new run's text.
    """
    o, checkpoint = Options(typed), None
    if o.resume in (None, 'last'):
        o.input = find_input(o.input)
    if o.resume == 'last':
        from engine.run.run import newest                  # late: fit needs no files of a run
        checkpoint = newest(o)
        print(f'resuming from {checkpoint}' if checkpoint else 'this run has no checkpoint yet: starting a new run')
        o.resume, o.init = (str(checkpoint), None) if checkpoint else (None, o.init)       # init is for a new run only
    elif o.resume:
        checkpoint = Checkpoint(o.resume)
    if o.resume:
        take_over(o, checkpoint)
    else:
        o.random_seed = secrets.randbelow(10 ** 9) if o.random_seed is None else o.random_seed
        set_units(o)
    for path in filter(None, (o.input, o.valid, o.test)):
        if o.resume and not (os.path.isfile(path) or os.path.isdir(path)):     # a checkpoint may name any device
            raise ValueError(f'{path}, a text of the run in {o.resume}, is no file or folder: give its new path')
        if os.path.isdir(path) and f'{os.path.realpath(o.output_dir)}/'.startswith(f'{os.path.realpath(path)}/'):
            raise ValueError(f'{o.output_dir} is inside of {path}, whose texts are read: choose another --output-dir, '
                             'or the samples of this run become texts of the next')
    return o, checkpoint


def take_over(o, checkpoint):
    """Complete Options from the run that they resume, in an open checkpoint. Raise ValueError if a typed one conflicts.

    A checkpoint keeps an option in one place: in the progress, the learning parameters, or the metadata of the text.
    """
    progress, lp, text = map(checkpoint.metadata.get, ('progress', 'lp', 'text'))
    if not (lp and text and progress and 'options' in progress):
        raise ValueError(f'{o.resume} holds no run that can be resumed; --init starts a new one from its parameters')
    train, valid, test = [source and source['path'] for source in (text, text['valid'], text['test'])]
    stored = {**table.DEFAULTS, 'layers': LAYERS, **lp, **text, **progress['options'], 'input': train, 'valid': valid,
              'test': test, 'no_stateful': not text['stateful']}
    before = table.checked_options({name: stored[name] for name in table.OF_RUN})
    folder = os.path.dirname(os.path.abspath(o.resume))
    if o.init or 'output_dir' in o.typed and os.path.realpath(o.output_dir) != os.path.realpath(folder):
        raise ValueError(f'a run is resumed in the folder of {o.resume}: leave out --init and --output-dir')
    if before['cell'] and not o.cell:
        raise ValueError(f'the run in {o.resume} was trained with --cell {before["cell"]}: name it again')
    changed = {name: value for name, value in o.typed.items() if name in table.OF_RUN}
    for name, value in changed.items():
        smaller = name == 'lrate' and value < before['lrate']
        moved = name in ('input', 'valid', 'test', 'cell') and before[name] is not None
        if name not in table.CHANGEABLE and not (value == before[name] or smaller or moved):
            raise ValueError(f'{name} is {value}, but the run in {o.resume} had {before[name]}: when a run is resumed, '
                             + table.MAY_CHANGE)
    vars(o).update({**before, **changed, 'output_dir': folder})


# ---------------------------------------------------------------- the recipe

def dropout(characters, parameters):
    """Return the default dropout for these numbers of training characters and parameters."""
    ratios, shares = zip(*DROPOUT)
    return float(np.interp(math.log(parameters / characters), np.log(ratios), shares))


def lrate(num_units1, num_units2):
    """Return the default learning rate for layers of these sizes."""
    return min(HIGHEST, float(f'{LRATE / max(num_units1, num_units2):.2g}'))


def set_units(o):
    """Set the numbers of units and layers that were not typed, from --init if it is set. Return o, the Options."""
    if o.init is not None:
        found = units(read_parameters(o.init, 'float32')[0])
        for name, number in dict(num_units1=found[0], num_units2=found[-1], layers=len(found)).items():
            setattr(o, name, o.typed.get(name, number))
    o.num_units1, o.layers = o.num_units1 or UNITS, o.layers or LAYERS
    if o.layers == 1 and 'num_units2' in o.typed:
        raise ValueError('num_units2 is for the layers above the first, but there is only one layer')
    o.num_units2 = o.num_units2 or o.num_units1
    return o


def complete(o, batches, parameters):
    """Set the options that are None. o: Options with units. batches: steps in an epoch. parameters: their number."""
    epochs = o.epochs or max(EPOCHS, math.ceil(STEPS / batches))
    share, patient_steps = dropout(batches * o.batch_size * o.seq_length, parameters), PATIENT_STEPS
    if o.init is None:
        share *= min(1, epochs / EPOCHS) ** FEWER_EPOCHS
    else:
        share, patient_steps = share * LEARNED_BEFORE, patient_steps * SOONER
    share = round(share, 2) if o.dropout is None else o.dropout
    chosen = dict(epochs=epochs, dropout=share, dropconnect=round(share * 2 / 3, 2),
                  lrate=lrate(o.num_units1, o.num_units2), patience=max(PATIENCE, math.ceil(patient_steps / batches)),
                  save_every=SAVE_EVERY * math.ceil(epochs / (SAVE_EVERY * CHECKPOINTS)))
    vars(o).update({name: value for name, value in chosen.items() if vars(o)[name] is None})


def advise(o, model):
    """Print the command that starts from the bundled model, if the text is short and that model knows its alphabet."""
    short = model.n_batches['train'] * o.batch_size * o.seq_length < SHORT
    if short and not (o.init or o.cell or o.original or o.small):
        known = np.isin(model.uchar, Checkpoint(BUNDLED, ['uchar']).vocabulary('utf-8'))
        if known[model.text.codes['train']].mean() >= KNOWN:
            words = words_of({**o.typed, 'input': near(o.input), 'run': f'{o.run}_init', 'init': near(BUNDLED),
                           'num_units1': None, 'num_units2': None, 'layers': None, 'initial': None, 'resume': None})
            print('tip (this run goes on): a text this short gains from starting with a trained model: '
                  + script('train.py', *words))


def compare(text):
    """Print and return what simple models cost on the validation part of a Text, in nats a character, by name.

    letter frequencies: of the training part, with each character counted once more, so that none is 0. bzip2: of the
    first ten blocks, which takes a second. Without a validation part, all is about the training part.
    """
    blocks = {role: np.split(codes, range(BLOCK, len(codes), BLOCK)) for role, codes in text.parts.items()}
    counts = {role: sum(np.bincount(codes, minlength=len(text.uchar)) for codes in each)
              for role, each in blocks.items()}
    role, more = 'valid' if len(text.parts['valid']) else 'train', counts['train'] + 1
    costs = {'guessing': math.log(len(more)),
             'letter frequencies': -(counts[role] @ np.log(more / more.sum())) / counts[role].sum()}
    with contextlib.suppress(ImportError):                 # not every Python has bz2
        import bz2
        strings = [''.join(text.uchar[codes]) for codes in blocks[role][:10]]
        size = sum(len(bz2.compress(string.encode('utf-8', 'surrogatepass'))) for string in strings)
        costs['bzip2'] = 8 * math.log(2) * size / sum(map(len, strings))
    shown = ', '.join(f'{cost:.2f} by {name}' for name, cost in costs.items())
    print(f'for comparison, in nats a character of the {text.passage[0]} text: {shown}')
    return costs


# ---------------------------------------------------------------- training by the recipe

def fit(model, filepath=None, recipe='default', verbose=True, **options):
    """Train on a text as train.py does. Return an iterator that yields an Epoch after each epoch.

    filepath: as for prepare_input. None: continue an unfinished fit or, with recipe 'small', read the text of --small.
    recipe: 'default', 'original' (of 2016) or 'small' (of --small); it sets all options that are left out.
    verbose: whether to print what is read and to show a progress bar.
    options: most of those of train.py, with underscores, such as num_units1=128 or init='params.npz'.

    Training starts with new parameters, or with those of init. After each epoch, the model can predict and write; at
    the end, it has the parameters of the best epoch. Raises ValueError if options are out of range, or if a text is too
    short or not in its encoding; OSError if it cannot be read; Diverged if costs are no longer finite.
    """
    if filepath is None and recipe != 'small':
        if options or recipe != 'default' or model.schedule is None:
            raise ValueError('without a text, fit continues an earlier fit with its options: expected a text')
        return epochs(model, model.schedule, verbose)
    checks.choice('recipe', recipe, ('default', *table.PRESETS))
    unknown = options.keys() - OF_FIT
    if unknown:
        raise ValueError(f'fit has no option {min(unknown)}: expected one of {", ".join(OF_FIT)}')
    chosen = {name: value for name, value in options.items() if value is not None}
    o = Options({**chosen, 'original': recipe == 'original', 'small': recipe == 'small', 'input': filepath})
    o = model.group.broadcast(set_units, o)
    if model.p and model.schedule is None and o.init is None and model.group.first:
        warn('fit starts with new parameters, not with those of the model: init=PARAMS starts from a checkpoint')
    set_up(model, o, verbose)
    o.input, o.typed = None, {}        # the text may be an open file, which cannot be pickled
    model.schedule, model.best = Schedule.resumed(o, {}, model.n_batches['train']), None
    return epochs(model, model.schedule, verbose)


def set_up(model, o, verbose=True):
    """Read a model's texts, complete o, its Options, and make its parameters. Return their number."""
    model.prepare_input(o.input, o.ratio_valid, o.batch_size, o.seq_length, verbose, o.encoding,
                        not o.no_stateful, o.valid, o.test)
    sources = model.text.sources
    for role in ('valid', 'test'):
        if model.group.first and role in sources and sources[role]['sha256'] == sources['train']['sha256']:
            warn(f'the {table.TITLES[role]} is the training text: its costs say nothing about other texts')
    cell = cell_of_model(model)
    shapes = parameter_shapes(len(model.uchar), o.units, cell.counts.rows, cell.own)
    complete(o, model.n_batches['train'], sum(map(math.prod, shapes.values())))
    initial = 'zeros' if o.resume else o.initial
    model.model_setup(num_units1=o.num_units1, num_units2=o.num_units2, layers=o.layers, initial=initial,
                      **o.kept('lp'))
    if o.init is not None:
        model.init_params(o.init, o.encoding)
    return sum(p.get_value(borrow=True).size for p in model.p.values())


def epochs(model, schedule, verbose):
    """Continue training by a Schedule, and yield each Epoch; at the end, set the parameters of the best one."""
    shown = None
    for event in model.training(schedule):
        if verbose and model.group.first and not isinstance(event, Epoch):
            shown = shown or bar(schedule.batches, '', 'steps')
            activity = ', validating' if event is None else ''             # None: between validation batches
            shown.desc = f'epoch {schedule.epoch + 1}/{schedule.epochs}{activity}'
            shown.update(schedule.batch - shown.n)
        if isinstance(event, Epoch):
            shown = shown and shown.close()                # before the caller prints
            if schedule.best_epoch == schedule.epoch:
                model.best = {name: p.get_value() for name, p in model.p.items()}
            yield event
            if model.schedule is not schedule:
                raise ValueError('fit cannot continue: another text, other parameters or another fit ended it')
    for name, array in (model.best or {}).items():
        for variables in filter(None, (model.p, model.weights)):
            variables[name].set_value(array)
