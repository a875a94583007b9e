"""The options of train.py, of CharLSTM.fit and of model_setup, each declared once.

For a new learning parameter, add a row here, and use it where lp is read, in charlstm.py. --help, the checks, the
checkpoints, --info, fit, and model_setup all take it from the row. A checkpoint from before it has its value of
INITIAL: let that be the one with which training is as it was.
"""
import functools
import os
from typing import Any, Callable, NamedTuple, Optional

from engine.terminal import ROOT, spelled
from engine.model import checks
from engine.model.patterns import MOST

CHANGEABLE = ('epochs', 'save_every', 'patience')              # of a resumed run
MAY_CHANGE = f'only {", ".join(map(spelled, CHANGEABLE))} may change, and --lrate may become smaller'


class Option(NamedTuple):
    """An option of a script, whose name has dashes there, and underscores here.

    kind: int, float, bool for a flag, a tuple of choices, how a string is named in the help, or a dict of argparse's
    own arguments. default: None where there is none, or where it depends on other options and on the text. fits: a
    function of name and value, which returns the value as Python's own number or raises ValueError; None if what uses
    the value checks it. original: the value in the recipe of 2016, which is also the default of model_setup; None for
    that of `default`. small: the value with --small, in the same way. kept: where a checkpoint keeps it: 'run', the
    options in the progress of its run, 'lp', the learning parameters, 'text', the metadata of the text, 'model', what
    else says what the model is, or None, if it belongs to one start of the script. of_fit: whether CharLSTM.fit takes
    it.
    """
    name: str
    kind: Any
    default: Any
    help: str
    fits: Optional[Callable] = None
    original: Any = None
    small: Any = None
    kept: Optional[str] = 'run'
    of_fit: bool = True


def count(least):
    """Return what checks a whole number of at least `least`."""
    return functools.partial(checks.whole, least=least, most=MOST)


def _real(expected, fits):
    """Return what checks a number; expected: what it is, in words."""
    return functools.partial(checks.real32, expected=expected, fits=fits)


ABOVE_0, AT_LEAST_0 = _real('above 0', lambda v: v > 0), _real('of at least 0', lambda v: v >= 0)
BELOW_1 = _real('from 0 to below 1', lambda v: 0 <= v < 1)
LEFT_OUT = _real('0, or from 0.00001 to 0.9999', lambda v: v == 0 or 1e-5 <= v <= 0.9999)   # rounded to a 65,536th

_of_text = functools.partial(Option, kept='text')
_of_model = functools.partial(Option, kept='model')
_learning = functools.partial(Option, kept='lp')
_of_start = functools.partial(Option, kept=None, of_fit=False)

OPTIONS = {
    'text': [
        _of_text('batch_size', int, 50, 'sequences in a batch'),
        _of_text('seq_length', int, 50, 'characters in a sequence'),
        _of_text('ratio_valid', float, 0.3, 'share of the text, at its end, kept for validation'),
        _of_text('valid', 'FILE', None,
                 'text to validate with, a file or a folder; the model then learns from all of the input, and '
                 'train.py at the end scores this text as that of --test (default: the end of the input)'),
        _of_text('test', 'FILE', None,
                 'text to test with, a file or a folder: it is scored once, as one stream, with the best model of the '
                 'finished run; before that, only its vocabulary is used: a model has the characters of all its texts',
                 of_fit=False),
        Option('test_adapt', bool, False,
               'score the test text also with a copy of the model that learns from it as it reads, as --adapt of '
               'produce_text.py does', of_fit=False),
        _of_text('encoding', 'NAME', 'utf-8', 'encoding of the text files', checks.encoding),
        _of_text('no_stateful', bool, False,
                 'start every batch from zero states, as the original does, instead of reading each long piece of the '
                 'text from batch to batch', checks.flag, original=True)],
    'model': [
        _of_model('num_units1', int, None, 'units of layer 1 (default: 256, or those of --init)', count(1), small=64),
        _of_model('num_units2', int, None, 'units of layer 2 (default: those of layer 1, or of --init)', count(1)),
        Option('cell', 'FILE:CLASS', None,
               'class in a file of Python, a subclass of CharLSTM with a cell or an optimiser of its own; to resume '
               'its runs and to use its checkpoints, name it again (default: the model of charlstm.py)', of_fit=False),
        Option('initial', ('original', 'chrono'), 'chrono',
               'initial values; original: biases of 1 for the forget gates; chrono: a quarter of the units remember '
               'for up to 100 characters', original='original'),
        _learning('dropout', float, None,
                  'share of the units that each training step leaves out (default: by the length of the text and the '
                  'number of units, and less with --init or with fewer than 40 epochs)', LEFT_OUT, 0.0),
        _learning('dropconnect', float, None,
                  'share of the recurrent weights that each training step leaves out (default: two thirds of '
                  '--dropout)', LEFT_OUT, 0.0),
        _learning('smoothing', float, 0.001,
                  'share of each target that is spread over all characters while training, so that the model is not '
                  'too sure; costs are printed without it', BELOW_1, 0.0),
        _learning('ar', float, 2.0,
                  'weight, in the cost while training, of the mean square of the outputs of layer 2, which keeps them '
                  'small (activation regularisation); costs are printed without it', AT_LEAST_0, 0.0),
        _learning('tar', float, 2.0,
                  'the same weight for the change of these outputs from step to step (temporal activation '
                  'regularisation)', AT_LEAST_0, 0.0),
        _learning('reset', float, 0.05, 'probability that a stream starts a batch from zero states', BELOW_1, 0.0),
        _learning('average', float, 0.999,
                  'weight at each step of the running average of the parameters, which is validated, saved and used '
                  'to write; smaller in the first steps, here 10,000; 0: the parameters themselves', BELOW_1, 0.0),
        Option('kernel', ('on', 'off'), 'on',
               'off: theano.scan instead of the C kernel, to compare, many times slower', of_fit=False),
        _of_model('precision', ('float32', 'bfloat16'), 'float32',
                  'bfloat16: products of rounded numbers, summed in float32, which is faster on some processors: on '
                  'one with AMX, large models train in less than half of the time', of_fit=False),
        Option('random_seed', int, None,
               'whole number that makes a run repeatable (default: a new one each time, which is printed and stored)',
               of_fit=False)],
    'learning': [
        _learning('lrate', float, None,
                  'learning rate (default: 0.012 for 256 units, half of that for twice as many in the larger layer, '
                  'and at most 0.024)', ABOVE_0, 2e-3),
        Option('warmup', int, 100, 'steps in which the rate rises to --lrate', count(0), 0),
        Option('anneal', float, 0.5,
               'share of all epochs, the last ones, in which the rate falls to a twentieth of --lrate',
               _real('from 0 to 1', lambda v: 0 <= v <= 1), 0.0),
        Option('lrate_decay', float, 1.0, 'factor on the rate at each epoch from --lrate-decay-epoch on',
               _real('above 0, at most 1', lambda v: 0 < v <= 1), 0.97),
        Option('lrate_decay_epoch', int, 10, 'first epoch with a smaller rate', count(1)),
        _learning('drate', float, 0.99, 'share that each running average of RMSprop keeps at a step', BELOW_1, 0.95),
        _learning('eps', float, 1e-8, 'added to the divisor of RMSprop',
                  _real('above 1.2e-38', lambda v: v > 1.2e-38)),
        _learning('momentum', float, 0.9, 'share that the sum of gradients, which RMSprop steps by, keeps at a step',
                  BELOW_1, 0.0),
        _learning('weight_decay', float, 0.02,
                  'share of each parameter, times the learning rate, that a step takes away', AT_LEAST_0, 0.0),
        _learning('grad_clip', float, 5.0, 'largest norm of the gradient; 0: any', AT_LEAST_0, 0.0),
        _learning('step_clip', float, 2.0,
                  'largest step of RMSprop for a number, as a multiple of the learning rate; 0: any', AT_LEAST_0, 0.0),
        _learning('bptt_maxdepth', int, 50, 'steps at the end of each sequence that are learned from; -1: all',
                  checks.depth),
        _learning('l1', float, 0.0,
                  'weight of the sum of absolute parameters, divided by the characters of a batch', AT_LEAST_0),
        _learning('l2', float, 0.0,
                  'weight of the sum of squared parameters, divided by the characters of a batch', AT_LEAST_0)],
    'run': [
        Option('epochs', int, None,
               'times to read the training text (default: 40, and more for a short text or large batches, until there '
               'are 7,500 steps)', count(1), 75, 40),
        Option('patience', int, None,
               'after N epochs without a better validation cost let the rate fall early or, where it has fallen for N '
               'epochs or never falls, end the run; 0: never (default: 6, and more for a short text; with --init a '
               'third of that, but at least 6)',
               count(0), 0),
        Option('valid_every', int, 10,
               'training steps between costs of a validation batch, each of which takes a third of the time of a step',
               count(1), 1),
        Option('save_every', int, None,
               'epochs between checkpoints (default: 10, and more in a run of over 1,000 epochs)', count(1),
               of_fit=False),
        Option('original', bool, False,
               'the recipe of 2016: 75 epochs of batches from zero states, at a rate of 0.002 that decays by 0.97 from '
               'epoch 10 on, and nothing that came later; the log of the steps is as that program wrote it '
               '(engine/README.md has what is still different)', of_fit=False),
        Option('small', bool, False,
               'a short run, to see all of it in under a minute: 64 units in each layer and 40 epochs, on the '
               'beginning of Coriolanus (text_input/coriolanus.txt) unless an input is named', of_fit=False),
        _of_start('output_dir', 'DIR', None,
                  'folder for the results (default: training_results beside this script)'),
        _of_start('overwrite', bool, False, 'replace the results of an earlier run of this name'),
        _of_start('init', 'PARAMS', None,
                  'start from the parameters of this checkpoint, of any text, or of PyTorch (.safetensors)',
                  of_fit=True),
        _of_start('resume', 'PARAMS', None,
                  'resume the run of this checkpoint as if it had never stopped: ' + MAY_CHANGE + '. "last" takes the '
                  'newest checkpoint of this run or, if there is none, begins the run')]}
ROWS = {row.name: row for rows in OPTIONS.values() for row in rows}
DEFAULTS = {'input': None, 'run': 'run0', **{name: row.default for name, row in ROWS.items()},
            'output_dir': os.path.join(ROOT, 'training_results')}
OF_RUN = ['input', 'run', *(name for name, row in ROWS.items() if row.kept)]
PRESETS = {preset: {name: getattr(row, preset) for name, row in ROWS.items() if getattr(row, preset) is not None}
           for preset in ('original', 'small')}
SMALL_TEXT = os.path.join(ROOT, 'text_input', 'coriolanus.txt')


# ---------------------------------------------------------------- learning parameters

LEARNING = {name: row for name, row in ROWS.items() if row.kept == 'lp'}       # lp of a model has these names
INITIAL = {name: PRESETS['original'].get(name, row.default) for name, row in LEARNING.items()}        # as in 2016


def learning(values):
    """Return learning parameters by name as Python's own numbers.

    Raise ValueError for another name, or where one is out of range.
    """
    for name in values:
        if name not in LEARNING:
            raise ValueError(f'{name} is no learning parameter: expected one of {", ".join(LEARNING)}')
    return {name: LEARNING[name].fits(name, value) for name, value in values.items()}


def changed_learning(before, after):
    """Return learning parameters that a user has changed, as Python's own numbers.

    before: those of model_setup. Raise ValueError for other names, for values out of range, and for a change that has
    no effect after model_setup.
    """
    if set(after) != set(before):
        raise ValueError(f'lp has or lacks {", ".join(sorted(map(str, set(before) ^ set(after))))}: expected '
                         f'{", ".join(before) or "nothing before model_setup"}')
    after = learning(after)
    if after.get('lrate') != before.get('lrate'):
        raise ValueError(f"lp['lrate'] is {after['lrate']}, but it was {before['lrate']} and is only the first rate: "
                         'set dyn_lrate instead or, in fit, schedule.rate_factor')
    if bool(after.get('average')) != bool(before.get('average')):
        raise ValueError(f"lp['average'] is {after['average']}, but it was {before['average']}: an average begins and "
                         'ends only with model_setup')
    return after
