"""The options of a run that the user did not set, by the best recipe known."""
import math

import numpy as np

from engine.terminal import BUNDLED, near, script, typed
from engine.model.parameters import read_shapes, units

UNITS = 256
# The rate times the number of units. In steps whose size does not depend on that of the gradient, the change of a
# unit's input grows with the number of units that it reads (Yang et al. 2022).
LRATE, HIGHEST = 0.012 * 256, 0.024

# A text of fewer characters to train on gains from the bundled model, if that knows this share of them. Measured with
# 0.99; a Thai text became worse.
SHORT, KNOWN = 350_000, 0.98

# The epochs of a short text are short, so it gets more: at least so many that they have this number of steps.
EPOCHS, STEPS = 40, 7500
PATIENCE, PATIENT_STEPS = 6, 1150
SOONER = 1 / 3                             # of PATIENT_STEPS with --init: such a model is at its best sooner
SAVE_EVERY, CHECKPOINTS = 10, 100          # epochs between checkpoints, but more where there would be more checkpoints

# The share of units to leave out, by the parameters for each character to learn from: more, where a text could be
# learned by heart. Between the points it is interpolated, linearly in the logarithm of their number. Each point but the
# last was the best, or as good as the best, of several shares (tests/benchmarks/README.md): that at 1.3 on Python's
# library, the others on English texts.
DROPOUT = ((0.1, 0.02), (0.25, 0.05),  # 2x128 units and 2.6 million characters, and 1 million
           (0.35, 0.1),                # 2x256 and 2.6 million
           (0.87, 0.15), (1.3, 0.25),  # 2x256 and 1 million, and 0.7 million of Python's library
           (1.9, 0.25),                # 2x256 and half a million
           (4.8, 0.46), (16, 0.6))     # near 6.1: 2x128 and 42,000 characters of Python's language reference
LEARNED_BEFORE = 2 / 3                 # of that share with --init
FEWER_EPOCHS = 1 / 4                   # otherwise fewer epochs have that share times (epochs / EPOCHS) ** FEWER_EPOCHS


def dropout(characters, parameters):
    """Return the share of units to leave out, from the numbers of characters to learn from and of parameters."""
    ratios, shares = zip(*DROPOUT)
    return float(np.interp(math.log(parameters / characters), np.log(ratios), shares))


def set_units(o):
    """Set the numbers of units that were not typed in o, Options, by --init if that is set. Return o."""
    if o.init is not None:
        for name, size in zip(('num_units1', 'num_units2'), units(read_shapes(o.init)[0])):
            setattr(o, name, o.typed.get(name, size))
    o.num_units1 = o.num_units1 or UNITS
    o.num_units2 = o.num_units2 or o.num_units1
    return o


def lrate(num_units1, num_units2):
    """Return the learning rate for layers of these sizes."""
    return min(HIGHEST, float(f'{LRATE / max(num_units1, num_units2):.2g}'))


def complete(o, batches, parameters):
    """Set what is None in o, Options with units. batches: steps in an epoch. parameters: how many the model has."""
    epochs = o.epochs or max(EPOCHS, math.ceil(STEPS / batches))
    share, patient_steps = dropout(batches * o.batch_size * o.seq_length, parameters), PATIENT_STEPS
    if o.init is None:
        share *= min(1, epochs / EPOCHS) ** FEWER_EPOCHS
    else:
        share, patient_steps = share * LEARNED_BEFORE, patient_steps * SOONER
    share = round(share, 2) if o.dropout is None else o.dropout
    chosen = dict(
        dropout=share, dropconnect=round(share * 2 / 3, 2), epochs=epochs,
        patience=max(PATIENCE, math.ceil(patient_steps / batches)),
        save_every=SAVE_EVERY * math.ceil(epochs / (SAVE_EVERY * CHECKPOINTS)),
        lrate=lrate(o.num_units1, o.num_units2))
    for name, value in chosen.items():
        if getattr(o, name) is None:
            setattr(o, name, value)


def advise(o, model):
    """Print the command that starts from the bundled model, if the text is short and the model knows its characters."""
    short = model.n_batches['train'] * o.batch_size * o.seq_length < SHORT
    if short and not (o.init or o.cell or o.original or o.small):
        known = np.isin(model.uchar, read_shapes(BUNDLED)[1])
        if np.concatenate([known[x].ravel() for x in model.X['train']]).mean() >= KNOWN:
            words = typed({**o.typed, 'input': near(o.input), 'run': f'{o.run}_init', 'init': near(BUNDLED),
                           'num_units1': None, 'num_units2': None, 'initial': None, 'resume': None})
            print('a text this short gains from a model that has learned another one: ' + script('train.py', *words))
