"""How well a model expects the text of a file, said to a person."""
import math
import os

import numpy as np

from engine.terminal import Countdown
from engine.text import folder_summary, read_string, without_unknown

SURPRISES, CONTEXT = 10, 30        # least expected places that are shown, and characters before each


def known(model, text, say):
    """A text in the model's characters, without those that it never saw, of which say() gets a line."""
    text, unknown = without_unknown(model.in_vocabulary(text), model.uchar)
    if unknown:
        say(f'{sum(unknown.values()):,} characters that the model never saw are left out: '
            + ', '.join(f'{ch!r} ({n:,})' for ch, n in unknown.items()))
    return text


def read_known(model, path, encoding, say):
    """The text of a file, or of a folder of some, as known(). Raises as read_text."""
    if os.path.isdir(path):
        say(folder_summary(path, encoding))
    return known(model, read_string(path, encoding), say)


def print_cost(what, costs):
    """A line on the mean of costs in nats, those of all characters of a text but the first."""
    nats = float(costs.mean(dtype='float64'))
    print(f'{what}: {len(costs) + 1:,} characters, {nats:.4f} nats and {nats / math.log(2):.4f} bits per character, '
          f'perplexity {math.exp(nats):.3f}')


def scored(model, text, what, adapt=0):
    """The costs of score_text, with a bar or lines of what is left; Ctrl-C prints the cost of what was scored."""
    costs, countdown = [], Countdown('scoring ' + what, len(text) - 1, 'characters')

    def count(piece):
        costs.append(piece)
        countdown.add(len(piece))

    try:
        return model.score_text(text, adapt, count)
    except KeyboardInterrupt:
        countdown.close()
        if costs:
            print_cost(f'{what}, as far as it was scored', np.concatenate(costs))
        raise KeyboardInterrupt(f' after {countdown.done:,} of {len(text) - 1:,} characters were scored') from None
    finally:
        countdown.close()


def print_score(model, path, encoding, adapt):
    """Print how well the model expects a text, and where it is most surprised; adapt: as in score_text, or None."""
    text = read_known(model, path, encoding, print)
    costs = scored(model, text, path)                                # of text[1:]
    print_cost(path, costs)
    if adapt:
        what = f'{path}, adapting at {adapt:g}'
        print_cost(what, scored(model, text, what, adapt))
    print('least expected:')
    for k in costs.argsort()[::-1][:SURPRISES]:
        before = text[max(0, k + 1 - CONTEXT):k + 1]
        print(f'{costs[k]:8.3f} nats at character {k + 1:,}: {text[k + 1]!r} after {before!r}')
