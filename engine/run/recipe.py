"""The best known recipe: the options that nobody set, by the text and the model; and what a run is compared with."""
import math

import numpy as np

from engine.data.parameters import units
from engine.run.checkpoint import read_mean_squares
from engine.run.table import ADAPTING, HIGHEST, LEAST_EPOCHS, LEAST_STEPS, PATIENCE, RATE, SAVE_EVERY, UNITS

PATIENT_STEPS = 1150                       # a short text has few steps in an epoch, so a run waits for more epochs
SOONER = 1 / 3                             # factor on PATIENT_STEPS with --init: such a model reaches its best sooner
CHECKPOINTS = 100                          # most checkpoints of a run
BLOCK = 1_000_000                          # characters that are counted at a time

# Dropout by the number of parameters per training character, interpolated linearly in the logarithm of that number.
# Each point except the last was the best, or as good as the best, of several shares: the one at 1.3 on Python's
# library, the others on English texts.
DROPOUT = ((0.1, 0.02), (0.25, 0.05),  # 2x128 units and 2.6 million characters, and 1 million
           (0.35, 0.1),                # 2x256 and 2.6 million
           (0.87, 0.15), (1.3, 0.25),  # 2x256 and 1 million, and 0.7 million of Python's library
           (1.9, 0.25),                # 2x256 and half a million
           (4.8, 0.46), (16, 0.6))     # near 6.1: 2x128 and 42,000 characters of Python's language reference
LEARNED_BEFORE = 2 / 3                 # factor on dropout with --init
FEWER_EPOCHS = 1 / 4                   # without --init, for fewer epochs, times (epochs / LEAST_EPOCHS) ** FEWER_EPOCHS


def dropout(characters, parameters):
    """Return the default dropout for these numbers of training characters and parameters."""
    ratios, shares = zip(*DROPOUT)
    return float(np.interp(math.log(parameters / characters), np.log(ratios), shares))


def lrate(units):
    """Return the default learning rate for layers of so many units each."""
    # RMSprop's steps do not grow with the gradient, so the change of a unit's input grows with the number of units that
    # it reads (Yang et al. 2022).
    return min(HIGHEST, float(f'{RATE * UNITS / max(units):.2g}'))


def complete(o, batches, parameters):
    """Set the options that are None. o: Options with units. batches: steps in an epoch. parameters: their number."""
    epochs = o.epochs or max(LEAST_EPOCHS, math.ceil(LEAST_STEPS / batches))
    share, patient_steps = dropout(batches * o.batch_size * o.seq_length, parameters), PATIENT_STEPS
    if o.init is None:
        share *= min(1, epochs / LEAST_EPOCHS) ** FEWER_EPOCHS
    else:
        share, patient_steps = share * LEARNED_BEFORE, patient_steps * SOONER
    share = round(share, 2) if o.dropout is None else o.dropout
    chosen = dict(epochs=epochs, dropout=share, dropconnect=round(share * 2 / 3, 2),
                  lrate=lrate(o.units), patience=max(PATIENCE, math.ceil(patient_steps / batches)),
                  save_every=SAVE_EVERY * math.ceil(epochs / (SAVE_EVERY * CHECKPOINTS)))
    vars(o).update({name: value for name, value in chosen.items() if vars(o)[name] is None})


def how_to_adapt(checkpoint, rate=True):
    """Return the arguments adapt and mean_squares of score_text. rate: a number, or True for the default."""
    mean_squares = read_mean_squares(checkpoint)
    default = ADAPTING[1] * min(1, UNITS / max(units(mean_squares))) if mean_squares else ADAPTING[0]
    return dict(adapt=default if rate is True else rate, mean_squares=mean_squares)


def compare(text):
    """Print and return what simple models cost on the validation part of a Text, in nats a character, by name.

    letter frequencies: of the training part, with each character counted once more, so that none is 0. Without a
    validation part, all is about the training part.
    """
    counts = {role: sum(np.bincount(block, minlength=len(text.uchar))              # in blocks, to save memory
                        for block in np.split(codes, range(BLOCK, len(codes), BLOCK)))
              for role, codes in text.parts.items()}
    role, more = 'valid' if len(text.parts['valid']) else 'train', counts['train'] + 1
    costs = {'guessing': math.log(len(more)),
             'letter frequencies': -(counts[role] @ np.log(more / more.sum())) / counts[role].sum()}
    shown = ', '.join(f'{cost:.2f} by {name}' for name, cost in costs.items())
    print(f'for comparison, in nats a character of the {text.passage[0]} text, less is better: {shown}')
    return costs
