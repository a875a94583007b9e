"""Declare the options of train.py, CharLSTM.fit and model_setup, each once.

To add a learning parameter, add a row here, and use it in charlstm.py, where lp is read: all else reads the rows.
"""
import functools
import math
import os
from typing import Any, Callable, NamedTuple

from engine import checks
from engine.terminal import ROOT

# In a resumed run: see `resumed` below.
MAY_CHANGE = ('only --epochs, --save-every, --patience, --precision, --device may change, and --lrate may become '
              'smaller')
READABLE = dict(temperature=0.7, top_p=0.9)    # of what a person reads: of the scripts and a page
# Defaults that depend on the model and the text (recipe.py).
UNITS, LAYERS = 256, 2
RATE, HIGHEST = 0.012, 0.024   # with UNITS, and at most
LEAST_EPOCHS, LEAST_STEPS = 40, 7500           # a short text has few steps in an epoch, so it gets more epochs
PATIENCE, SAVE_EVERY = 6, 10   # in epochs
ADAPTING = 0.1, 1.2e-4         # rates for adapting to a text, without RMSprop's mean squares and with them
TITLES = {'train': 'text', 'valid': 'validation text', 'test': 'test text'}        # titles of a run's texts, by role


class Option(NamedTuple):
    """An option of a script. Its name has underscores here and dashes on the command line.

    kind: int, float, bool for a flag, a tuple of choices, the metavar of a string, or a dict of argparse's arguments
    default: None if it depends on other options and on the text
    fits: further arguments of the check for its kind, or a function that does all of it
    original, small: the value in these recipes; None for the default
    kept: where a checkpoint keeps it: 'run' (its progress), 'lp', 'text'; None: not kept
    of_fit: whether CharLSTM.fit takes it
    resumed: when a run is resumed, it is the 'same', 'any', 'smaller', or a file of the run that was 'moved'
    in_result: whether the result of a run has it as an option; others have fields of their own there
    """
    name: str
    kind: Any
    default: Any
    help: str
    fits: tuple | Callable = ()
    original: Any = None
    small: Any = None
    kept: str | None = 'run'
    of_fit: bool = True
    resumed: str = 'same'
    in_result: bool = True

    def checked(self, value):
        """Return a value as a plain Python type; a path becomes a string. Raise ValueError if it is out of range."""
        if callable(self.fits):
            return self.fits(self.name, value)
        if isinstance(self.kind, tuple):
            return checks.choice(self.name, value, self.kind)
        check = {int: checks.whole, float: checks.real, bool: checks.flag}.get(self.kind)
        return check(self.name, value, *self.fits) if check else os.fsdecode(value)


FROM_0 = 'of at least 0', lambda v: v >= 0
BELOW_1 = 'from 0 to below 1', lambda v: 0 <= v < 1
LEFT_OUT = 'from 0 to 0.9999', lambda v: 0 <= v <= 0.9999      # the rest is scaled by 1 / (1 - v)

_text = functools.partial(Option, kept='text')
_lp = functools.partial(Option, kept='lp')
_start = functools.partial(Option, kept=None, of_fit=False)

OPTIONS = {
    'text': [
        _text('batch_size', int, 25, 'sequences in a batch', (1,), 50, 50),
        _text('seq_length', int, 100, 'characters in a sequence', (2,), 50, 50),
        _text('ratio_valid', float, 0.3, 'share of the text, at its end, held out for validation', BELOW_1),
        _text('valid', 'FILE', None, 'validation text, a file or a folder, also scored like --test '
              '(default: the last part of the input)', resumed='moved', in_result=False),
        _text('test', 'FILE', None, 'test text, scored once, as one stream, with the best model of the finished run; '
              'until then only its vocabulary is used', of_fit=False, resumed='moved', in_result=False),
        Option('test_adapt', bool, False, 'also score the test text with a copy of the model that learns from it, as '
               'produce_text.py --adapt does', of_fit=False),
        _text('encoding', 'NAME', 'utf-8', 'encoding of the text files', checks.encoding),
        _text('no_stateful', bool, False, 'start every batch from zero states, as the original does, instead of '
              'carrying the states from batch to batch', original=True)],
    'model': [
        Option('units', dict(type=int, nargs='+', metavar='N'), None, 'units of each layer, the first one first '
               f'(default: those of --init, or {LAYERS} layers of {UNITS})', checks.units, small=[64, 64],
               in_result=False),
        Option('num_units1', int, None, 'units of layer 1 (default: see --units)', (1,), kept=None),
        Option('num_units2', int, None, 'units of each other layer (default: those of layer 1)', (1,), kept=None),
        Option('layers', int, None, 'number of layers (default: see --units)', (1, checks.MOST_LAYERS), kept=None),
        Option('cell', 'FILE:CLASS', None, 'subclass of CharLSTM with its own cell or optimiser, or CharLSTM in an '
               'edited copy of charlstm.py; name it again to resume its runs and to use its checkpoints (default: '
               'CharLSTM itself)', of_fit=False, resumed='moved'),
        Option('initial', ('original', 'chrono'), 'chrono', 'initial values; original: forget gates have bias 1; '
               'chrono: a quarter of the units remember for up to 100 characters', original='original'),
        _lp('dropout', float, None, 'share of the units that each training step leaves out (default: depends on '
            f'the length of the text and the number of units; less with --init or fewer than {LEAST_EPOCHS} epochs)',
            LEFT_OUT, 0.0),
        _lp('dropconnect', float, None, 'share of the recurrent weights that each training step leaves out '
            '(default: two thirds of --dropout)', LEFT_OUT, 0.0),
        _lp('smoothing', float, 0.001, 'share of each target that is spread over all characters; like --ar and --tar, '
            'it does not count in the printed costs', BELOW_1, 0.0),
        _lp('ar', float, 2.0, 'activation regularisation: weight of the mean squared outputs of the last layer', FROM_0,
            0.0),
        _lp('tar', float, 2.0, 'the same for the change of the outputs from step to step', FROM_0, 0.0),
        _lp('reset', float, 0.05, 'probability that a stream starts a batch from zero states', BELOW_1, 0.0),
        _lp('average', float, 0.999, 'decay of the running average of the parameters, which is validated, saved and '
            'used to write; smaller in the first 10,000 steps; 0: none', BELOW_1, 0.0),
        Option('kernel', ('on', 'off'), 'on', 'off: by Theano alone, which is many times slower',
               of_fit=False),
        Option('precision', ('auto', 'float32', 'bfloat16'), 'auto', 'bfloat16: round the inputs of matrix products, '
               'sum in float32; auto: so where that is faster, as with AMX or on Zen 4', original='float32',
               of_fit=False, resumed='any'),
        Option('device', 'NAME', None, "where PyTorch computes the training steps, such as cuda or cuda:1 "
               '(engine/README.md; default: here, by the kernel)', of_fit=False, resumed='any'),
        Option('random_seed', int, None, 'whole number that makes a run repeatable (default: a new one, which is '
               'printed and stored)', (0, math.inf), of_fit=False, in_result=False)],
    'learning': [
        _lp('lrate', float, None, f'learning rate (default: {RATE} if the largest layer has {UNITS} units, half that '
            f'if it has twice as many, and at most {HIGHEST})', ('above 0', lambda v: v > 0), 2e-3, resumed='smaller'),
        Option('warmup', int, 100, 'steps over which the rate rises to --lrate, at most a third of the run', (0,), 0),
        Option('anneal', float, 0.5, 'share of the epochs, at the end, over which the rate falls to a twentieth of '
               '--lrate', ('from 0 to 1', lambda v: 0 <= v <= 1), 0.0),
        Option('lrate_decay', float, 1.0, 'factor on the rate at each epoch from --lrate-decay-epoch on',
               ('above 0, at most 1', lambda v: 0 < v <= 1), 0.97),
        Option('lrate_decay_epoch', int, 10, 'first epoch with a smaller rate', (1,)),
        _lp('drate', float, 0.99, 'decay of the mean squares of RMSprop', BELOW_1, 0.95),
        _lp('eps', float, 1e-8, 'added to the denominator of RMSprop', ('above 1.2e-38', lambda v: v > 1.2e-38)),
        _lp('momentum', float, 0.9, 'decay of the running sum of gradients in the steps of RMSprop', BELOW_1, 0.0),
        _lp('weight_decay', float, 0.02, 'share of each parameter, times the rate, that a step subtracts', FROM_0, 0.0),
        _lp('grad_clip', float, 5.0, 'largest norm of the gradient; 0: no limit', FROM_0, 0.0),
        _lp('step_clip', float, 2.0, 'largest step of a parameter as a multiple of the rate; 0: no limit', FROM_0, 0.0),
        _lp('bptt_maxdepth', int, -1, 'last steps of each sequence that are trained on; -1: all',
            lambda name, value: -1 if value == -1 else checks.whole(name, value, 1), 50),
        _lp('l1', float, 0.0, 'weight of the sum of absolute values, divided by the characters in a batch', FROM_0),
        _lp('l2', float, 0.0, 'the same for the sum of squared parameters', FROM_0)],
    'run': [
        Option('epochs', int, None, f'times to read the training text (default: {LEAST_EPOCHS}, or more for a short '
               f'text or large batches: enough for {LEAST_STEPS:,} steps)', (1,), 75, 40, resumed='any'),
        Option('patience', int, None, 'after N epochs without a better validation cost, the rate falls early; if it is '
               f'already falling or never does, the run ends; 0: off (default: {PATIENCE}, or more for a short text)',
               (0,), 0, resumed='any'),
        Option('valid_every', int, 10, 'training steps between evaluations of a validation batch', (1,), 1),
        Option('save_every', int, None, f'epochs between checkpoints (default: {SAVE_EVERY}, or more with over 1,000 '
               'epochs)', (1,), of_fit=False, resumed='any'),
        Option('original', bool, False, 'the recipe of 2016, without later additions: 75 epochs of batches of 50 '
               'sequences of 50 characters, from zero states, at a rate of 0.002, times 0.97 per epoch from epoch 10 '
               'on, and the step log of 2016 (engine/README.md lists the remaining differences)', of_fit=False),
        Option('small', bool, False, 'a run of under a minute: 64 units in each layer and 40 epochs of batches of 50 '
               'sequences of 50 characters, on the beginning of Coriolanus unless an input is named', of_fit=False),
        _start('output_dir', 'DIR', None, 'folder for the results (default: training_results beside this script)'),
        _start('overwrite', bool, False, 'replace the results of an earlier run of this name'),
        _start('init', 'PARAMS', None, 'start from the parameters of a checkpoint, whatever its text, or of a '
               '.safetensors file', of_fit=True),
        _start('resume', 'PARAMS', None, 'resume the run of this checkpoint as if it had never stopped: '
               + MAY_CHANGE + '; "last": the newest checkpoint of this run or, if there is none, a new run')]}
FIRST = 'small', 'units', 'epochs', 'init', 'resume', 'valid', 'cell', 'random_seed'        # in --help
ROWS = {row.name: row for rows in OPTIONS.values() for row in rows}
DEFAULTS = {'input': None, 'run': 'run0', **{name: row.default for name, row in ROWS.items()},
            'output_dir': os.path.join(ROOT, 'training_results')}
OF_RUN = ['input', 'run', *(name for name, row in ROWS.items() if row.kept)]
PRESETS = {preset: {name: getattr(row, preset) for name, row in ROWS.items() if getattr(row, preset) is not None}
           for preset in ('original', 'small')}
LEARNING = {name: row for name, row in ROWS.items() if row.kept == 'lp'}       # lp of a model has these names
INITIAL = {name: PRESETS['original'].get(name, row.default) for name, row in LEARNING.items()}        # as in 2016


def checked_options(options):
    """Return a dict of options with their values as plain Python types. Raise ValueError if one is out of range."""
    return {name: value if name not in ROWS or value is ROWS[name].default else ROWS[name].checked(value)
            for name, value in options.items()}
