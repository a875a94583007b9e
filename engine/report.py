"""What produce_text.py prints about a checkpoint, and about how well its model expects a text."""
import math
import os

from engine.progress import Countdown
from engine.state.patterns import matches
from engine.terminal import nats_and_bits, one_line

SURPRISES, CONTEXT = 10, 30        # least expected characters that are printed, and characters before each


# ---------------------------------------------------------------- a checkpoint

def _read(path, encoding='utf-8'):
    """Return a line on the sizes of a checkpoint's model, its uchar and its metadata. Arguments: as for read_shapes."""
    from engine.state.checkpoint import opened               # late, so that --help does not wait for NumPy
    from engine.state.parameters import read_shapes, units
    with opened(path) as stored:
        shapes, uchar = read_shapes(stored, encoding)
        H1, H2 = units(shapes)
        count = sum(map(math.prod, shapes.values()))
        return f'2 layers of {H1} and {H2} units, {count:,} parameters', uchar, stored.metadata


def _reached(metadata):
    """Return how far a run of train.py was, from metadata; {} where it holds none, or a user's own progress."""
    from engine.run.schedule import PROGRESS
    pattern = {name: PROGRESS[name] for name in ('epoch', 'batch', 'rate', 'best_cost', 'best_epoch')}
    progress = metadata.get('progress')
    return progress if matches(progress, {'...': None, **pattern}) else {}


def summary(path):
    """Return a line on a checkpoint: the sizes of its model, the text that it learned from, and its validation cost."""
    line, _, metadata = _read(path)
    text, cost = metadata.get('text'), _reached(metadata).get('best_cost')
    if text:
        line += f', learned from {os.path.basename(os.path.abspath(text["path"]))} ({text["characters"]:,} characters)'
    if cost is not None:
        line += f', validation cost {nats_and_bits(cost)} a character'
    return one_line(line)


def _without_folders(value):
    """Return metadata with the names of files in place of their absolute paths."""
    if isinstance(value, dict):
        return {name: _without_folders(item) for name, item in value.items()}
    return os.path.basename(os.path.normpath(value)) if isinstance(value, str) and os.path.isabs(value) else value


def description(path, encoding='utf-8', folders=True):
    """Return several lines on a checkpoint: all of its metadata that people read.

    encoding: as for read_shapes. folders: whether to name the folders that files are in.
    """
    sizes, uchar, metadata = _read(path, encoding)
    if not folders:
        path, metadata = os.path.basename(str(path)), _without_folders(metadata)
    lines = [f'{path}: {sizes}, {len(uchar)} characters: {"".join(uchar)!r}']
    text = dict(metadata.get('text', {}))
    valid, test = text.pop('valid', {}), text.pop('test', {})
    for title, found in (('text', text), ('validation text', valid), ('test text', test),
                         ('learning', metadata.get('lp')), ('versions', metadata.get('versions'))):
        if found:
            lines.append(f'{title}: ' + ', '.join('{} {}'.format(*item) for item in found.items()))
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
            lines.append(f'best validation cost: {nats_and_bits(progress["best_cost"])} a character, after epoch '
                         f'{progress["best_epoch"]}')
    if not metadata:
        lines.append('it holds only parameters and characters, as the original of this program wrote them')
    return '\n'.join(lines)


# ---------------------------------------------------------------- how well a model expects a text

def known(model, text, say):
    """Return a text in the model's characters, without those that it never saw; say() gets a line on these."""
    from engine.state.text import without_unknown
    text, unknown = without_unknown(model.in_vocabulary(text), model.uchar)
    if unknown:
        say(f'{sum(unknown.values()):,} characters that the model never saw are left out: '
            + ', '.join(f'{ch!r} ({n:,})' for ch, n in unknown.items()))
    return text


def read_known(model, path, encoding, say):
    """Return the text of a file or folder as known() does; say() gets a line on a folder, too. Raises as read_text."""
    from engine.state.text import read_files
    codes, uchar, _, files = read_files(path, encoding)
    if files:
        say(files)
    return known(model, ''.join(uchar[codes]), say)


def print_cost(name, costs):
    """Print a line on the mean of costs in nats, those of all characters of a text but the first."""
    nats = float(costs.mean(dtype='float64'))
    print(f'{name}: {len(costs) + 1:,} characters, {nats:.4f} nats and {nats / math.log(2):.4f} bits per character, '
          f'perplexity {math.exp(nats):.3f}')


def scored(model, text, name, adapt=0):
    """Return the costs of score_text, and show how much is left. Ctrl-C prints the cost of what was scored."""
    import numpy as np                                 # late, as in _read
    costs, countdown = [], Countdown('scoring ' + name, len(text) - 1, 'characters')

    def count(piece):
        costs.append(piece)
        countdown.add(len(piece))

    try:
        return model.score_text(text, adapt, count)
    except KeyboardInterrupt:
        countdown.close()
        if costs:
            print_cost(f'{name}, as far as it was scored', np.concatenate(costs))
        raise KeyboardInterrupt(f' after {countdown.done:,} of {len(text) - 1:,} characters were scored') from None
    finally:
        countdown.close()


def print_score(model, path, encoding, adapt):
    """Print how well the model expects a text, and its least expected characters; adapt: as in score_text, or None."""
    text = read_known(model, path, encoding, print)
    costs = scored(model, text, path)                                # of text[1:]
    print_cost(path, costs)
    if adapt:
        name = f'{path}, adapting at {adapt:g}'
        print_cost(name, scored(model, text, name, adapt))
    print('least expected:')
    for k in costs.argsort()[::-1][:SURPRISES]:
        before = text[max(0, k + 1 - CONTEXT):k + 1]
        print(f'{costs[k]:8.3f} nats at character {k + 1:,}: {text[k + 1]!r} after {before!r}')
