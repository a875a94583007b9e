"""What a run learns with where its user did not say: the best recipe known here, or that of 2016."""
import math
import os

from engine import commands

# The program of 2016: batches from zero states, nothing left out, a rate that decays from epoch 10 on, and another
# validation batch at each step; Schedule.row says how it wrote them.
ORIGINAL = dict(no_stateful=True, dropout=0.0, dropconnect=0.0, reset=0.0, average=0.0, initial='original',
                grad_clip=0.0, valid_every=1, lrate=2e-3, warmup=0, lrate_decay=0.97, lrate_decay_epoch=10, plateau=0,
                epochs=75, patience=0)

UNITS = 256
SHORT = 350_000                # characters to learn from, of a text of 500,000, below which another's model helps,
KNOWN = 0.98                   # if it knows this share of them: measured with 0.99, while in a Thai text it did harm
BUNDLED = os.path.join(commands.ROOT, 'training_results', 'prideandprejudice.npz')

# In epochs but at least in so many steps, since the epochs of a short text are short.
EPOCHS, STEPS = 40, 7500
PATIENCE, PATIENT_STEPS = 6, 1150


def dropout(characters, parameters):
    """The share to leave out, for so many characters to learn from: more, the more parameters there are to each.

    The novel gave its two ends: 0.3 was best with 0.9 million parameters to half a
    million characters, and 0.5 was good with 3.4 million.
    """
    return round(min(max(0.2 + 0.1 * (math.log2(parameters) - math.log2(characters)), 0), 0.6), 2)


def set_units(o):
    """Set the units that are None, of options by attribute: those of the checkpoint to start from, else UNITS.

    Without such a checkpoint the second layer has as many as the first.

    Raises as read_shapes for that checkpoint.
    """
    theirs = UNITS, o.num_units1 or UNITS
    if o.init:
        from engine.state.parameters import read_shapes, units             # late, so that --help does not wait for NumPy
        theirs = units(read_shapes(o.init)[0])
    for name, number in zip(('num_units1', 'num_units2'), theirs):
        if getattr(o, name) is None:
            setattr(o, name, number)


def by_size(batches, batch_size, seq_length, parameters):
    """Return what is best for a text of so many batches: a dict of dropout and dropconnect, epochs, and patience.

    batches: training steps in an epoch; parameters: how many.
    """
    share = dropout(batches * batch_size * seq_length, parameters)
    epochs, patience = max(EPOCHS, math.ceil(STEPS / batches)), max(PATIENCE, math.ceil(PATIENT_STEPS / batches))
    return dict(dropout=share, dropconnect=round(share * 2 / 3, 2)), epochs, patience


def complete(o, batches, parameters):
    """Set what is None of o, options by attribute; batches: training steps in an epoch, parameters: how many."""
    shares, epochs, patience = by_size(batches, o.batch_size, o.seq_length, parameters)
    chosen = dict(shares, epochs=epochs, patience=patience)
    vars(o).update({name: value for name, value in chosen.items() if getattr(o, name) is None})


def known_share(model, uchar):
    """Return the share of the training text of a model whose characters are in uchar."""
    import numpy as np                 # late, as above
    counts = sum(np.bincount(x.ravel(), minlength=len(model.uchar)) for x in model.X['train'])
    return counts[np.isin(model.uchar, uchar)].sum() / counts.sum()


def advise(o, given, model):
    """For a short text, print the command that starts from what the bundled model learned, if it knows such characters.

    o: options by attribute; given: those that the user gave, by name; model: with the text.
    """
    short = model.n_batches['train'] * o.batch_size * o.seq_length < SHORT
    if o.init or o.original or not (short and os.path.exists(BUNDLED)):
        return
    from engine.state.parameters import read_shapes
    if known_share(model, read_shapes(BUNDLED)[1]) < KNOWN:
        return
    others = {name: value for name, value in given.items() if not name.startswith('num_units')}         # the bundled's
    words = commands.typed({**others, 'input': commands.near(o.input), 'run': f'{o.run}_init',
                            'init': commands.near(BUNDLED)})
    print(f'a text this short gains from what a model learned of another: {commands.script("train.py", *words)}')
