"""What produce_text.py prints of a checkpoint, and of how well its model expects a text."""
import math
import os

from engine.state.patterns import matches
from engine.progress import Countdown
from engine.terminal import one_line

SURPRISES, CONTEXT = 10, 30        # least expected places that are shown, and characters before each


# ---------------------------------------------------------------- a checkpoint

def _read(path, encoding='utf-8'):
    """Parameters by name, vocabulary and about of a checkpoint. encoding, and what it raises: as read_parameters."""
    from engine.state.checkpoint import Checkpoint           # late, so that --help does not wait for NumPy
    from engine.state.parameters import read_parameters
    with Checkpoint(path) as stored:
        return (*read_parameters(stored, 'float64', encoding), stored.metadata)


def _reached(metadata):
    """Return how far a run of train.py was, from metadata; {} where it holds none, or a user's own progress."""
    from engine.run.schedule import PROGRESS
    pattern = {name: PROGRESS[name] for name in ('epoch', 'batch', 'rate', 'best_cost', 'best_epoch')}
    progress = metadata.get('progress')
    return progress if matches(progress, {'...': None, **pattern}) else {}


def _sizes(parameters):
    from engine.state.parameters import units
    return '2 layers of {} and {} units, {:,} parameters'.format(
        *units(parameters), sum(p.size for p in parameters.values()))


def credentials(path):
    """In a line: which file it is, and summary()."""
    return f'{path}: {summary(path)}'


def summary(path):
    """In a line: what model a checkpoint holds, what it learned from, and how good it is."""
    parameters, _, metadata = _read(path)
    line, text = _sizes(parameters), metadata.get('text')
    if text:
        line += f', learned from {os.path.basename(os.path.abspath(text["path"]))} ({text["characters"]:,} characters)'
    progress = _reached(metadata)
    if progress.get('best_cost') is not None:
        line += f', validation cost {progress["best_cost"]:.3f} nats a character'
    return one_line(line)


def description(path, encoding='utf-8'):
    """In several lines, all that a checkpoint says of itself. encoding: as for read_parameters."""
    parameters, uchar, metadata = _read(path, encoding)
    lines = [f'{path}: {_sizes(parameters)}, {len(uchar)} characters: {"".join(uchar)!r}']
    for name, title in (('text', 'text'), ('lp', 'learning'), ('versions', 'versions')):
        if metadata.get(name):
            lines.append(f'{title}: ' + ', '.join('{} {}'.format(*item) for item in metadata[name].items()))
    if metadata.get('cell'):
        lines.append('cell: ' + one_line(metadata['cell']['formula']))
    progress = _reached(metadata)
    if isinstance(progress.get('options'), dict):
        lines.append(one_line('options: ' + ', '.join(f'{name.replace("_", "-")} {value}'
                                                      for name, value in progress['options'].items())))
    if progress:
        lines.append(f'progress: {progress["epoch"]} epochs and {progress["batch"]} batches, rate '
                     f'{progress["rate"]:g}')
        if progress['best_cost'] is not None:
            lines.append(f'best validation cost: {progress["best_cost"]:.4f} nats a character, after epoch '
                         f'{progress["best_epoch"]}')
    if not metadata:
        lines.append('it holds parameters and characters alone, as the original of this program wrote them')
    return '\n'.join(lines)


# ---------------------------------------------------------------- how well a model expects a text

def known(model, text, say):
    """A text in the model's characters, without those that it never saw, of which say() gets a line."""
    from engine.state.text import without_unknown
    text, unknown = without_unknown(model.in_vocabulary(text), model.uchar)
    if unknown:
        say(f'{sum(unknown.values()):,} characters that the model never saw are left out: '
            + ', '.join(f'{ch!r} ({n:,})' for ch, n in unknown.items()))
    return text


def read_known(model, path, encoding, say):
    """The text of a file, or of a folder of some, as known(). Raises as read_text."""
    from engine.state.text import folder_summary, read_string
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
    import numpy as np                                 # late, as above
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
