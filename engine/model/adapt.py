"""A copy of a model that trains on a text while it scores it (dynamic evaluation: Krause et al. 2018)."""
import copy

import numpy as np

from engine import checks
from engine.model.compile import compiled
from engine.model.state import arrays, set_parameters, sizes, vocabulary_size
from engine.parallel import SingleProcess

CLIPS = 1, 5                   # largest gradient norm in adapting: without mean squares, and with them
SUMS = dict(fast=(1, 0.005), slow=(0.3, 0.0003))    # with mean squares: each sum's share of a step, and its decay
HIGH = 0.01                    # largest rate with mean squares; a higher one is meant for adapting without them


def divided(gradients, parameters, state, lrate, lp):
    """Return the steps of gradient descent with divided gradients into sums that decay, and the new state."""
    steps = [lrate * (g / divisor) for g, divisor in zip(gradients, state['divisors'])]
    changes = {name: [share * step - decay * total for step, total in zip(steps, state[name])]
               for name, (share, decay) in SUMS.items()}
    sums = {name: [total + change for total, change in zip(state[name], changes[name])] for name in SUMS}
    return [fast + slow for fast, slow in zip(*changes.values())], dict(state, **sums)


def learner(model, adapt, mean_squares):
    """Return a copy of the model that adapts at rate adapt, and its training step. mean_squares: as in score_text.

    With mean squares m, p is its value before the text minus two sums of steps adapt g / (r + mean(r) / 10), with
    r = sqrt(m): s <- (1 - decay) s + share step. mean(r), over the array, limits the steps of parameters that the
    training text hardly used. The fast sum follows the last few thousand characters, and the slow one what the whole
    text has in common; their decay limits the noise of many steps.
    """
    most = HIGH if mean_squares else np.inf
    checks.real('adapt', adapt, f'from 0 to {most}', lambda v: 0 <= v <= most)
    new = copy.copy(model)
    new.group, new.random = SingleProcess(), np.random.default_rng(0)              # does not draw from the model's
    new.p, new.weights, new.optimiser_variables, new.text = {}, {}, {}, None       # the copy shares the model's
    new.model_setup(char_dim=vocabulary_size(model), units=sizes(model), lrate=adapt,
                    grad_clip=CLIPS[bool(mean_squares)])
    set_parameters(new, arrays(model.p), model.uchar)
    if not mean_squares:
        return new, compiled(new, 'train_sgd')
    roots = [np.sqrt(mean_squares[name]) for name in model.p]
    divisors = [r + r.mean() / 10 for r in roots]
    new.optimiser = divided
    new.optimiser_state = lambda parameters: dict(divisors=divisors, **{
        name: [np.zeros_like(p) for p in parameters] for name in SUMS})
    return new, compiled(new, 'train_rmsprop')
