"""What a checkpoint says of itself, for a person."""
import os

from engine.schema import PROGRESS, matches
from engine.terminal import one_line

# Of train.py's progress what is shown, whatever else there is.
REACHED = {'...': None, **{name: PROGRESS[name] for name in ('epoch', 'batch', 'rate', 'best_cost', 'best_epoch')}}

def _read(path, encoding='utf-8'):
    """Parameters by name, vocabulary and about of a checkpoint. encoding, and what it raises: as read_parameters."""
    from engine.checkpoint import Checkpoint           # late, so that --help does not wait for NumPy
    from engine.parameters import read_parameters
    with Checkpoint(path) as stored:
        return (*read_parameters(stored, 'float64', encoding), stored.about)


def _sizes(parameters):
    from engine.parameters import units
    return '2 layers of {} and {} units, {:,} parameters'.format(
        *units(parameters), sum(p.size for p in parameters.values()))


def credentials(path):
    """In a line: which file it is, and summary()."""
    return f'{path}: {summary(path)}'


def summary(path):
    """In a line: what model a checkpoint holds, what it learned from, and how good it is."""
    parameters, _, about = _read(path)
    line, text = _sizes(parameters), about.get('text')
    if text:
        line += f', learned from {os.path.basename(os.path.abspath(text["path"]))} ({text["characters"]:,} characters)'
    progress = about.get('progress')
    if matches(progress, REACHED) and progress['best_cost'] is not None:
        line += f', validation cost {progress["best_cost"]:.3f} nats a character'
    return one_line(line)


def description(path, encoding='utf-8'):
    """In several lines, all that a checkpoint says of itself. encoding: as for read_parameters."""
    parameters, uchar, about = _read(path, encoding)
    lines = [f'{path}: {_sizes(parameters)}, {len(uchar)} characters: {"".join(uchar)!r}']
    for name, title in (('text', 'text'), ('lp', 'learning'), ('versions', 'versions')):
        if about.get(name):
            lines.append(f'{title}: ' + ', '.join('{} {}'.format(*item) for item in about[name].items()))
    if about.get('cell'):
        lines.append('cell: ' + one_line(about['cell']['formula']))
    progress = about.get('progress')
    if matches(progress, {**REACHED, 'options': PROGRESS['options']}):
        lines.append(one_line('options: ' + ', '.join(f'{name.replace("_", "-")} {value}'
                                                      for name, value in progress['options'].items())))
    if matches(progress, REACHED):                         # train.py's, not a user's own
        lines.append(f'progress: {progress["epoch"]} epochs and {progress["batch"]} batches, rate '
                     f'{progress["rate"]:g}')
        if progress['best_cost'] is not None:
            lines.append(f'best validation cost: {progress["best_cost"]:.4f} nats a character, after epoch '
                         f'{progress["best_epoch"]}')
    if not about:
        lines.append('it holds parameters and characters alone, as the original of this program wrote them')
    return '\n'.join(lines)
