"""How well a model expects the text of a file, said to a person."""
import math
import os

from engine.terminal import say_if_slow
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


def print_score(model, path, encoding, adapt):
    """Print how well the model expects a text, and where it is most surprised; adapt: as in score_text, or None."""
    text = read_known(model, path, encoding, print)
    with say_if_slow():
        model.compile('predict')
    costs = model.score_text(text)                                   # of text[1:]
    print_cost(path, costs)
    if adapt:
        with say_if_slow():
            print_cost(f'{path}, adapting at {adapt:g}', model.score_text(text, adapt=adapt))
    print('least expected:')
    for k in costs.argsort()[::-1][:SURPRISES]:
        before = text[max(0, k + 1 - CONTEXT):k + 1]
        print(f'{costs[k]:8.3f} nats at character {k + 1:,}: {text[k + 1]!r} after {before!r}')
