"""Describe a checkpoint: in one line, in the lines of --info, or as a dict for programs."""
import ntpath

from engine.data.parameters import units
from engine.files import base_name
from engine.run.checkpoint import opened, read_checkpoint
from engine.run.table import DEFAULTS, TITLES
from engine.terminal import bits, layers_of_units, nats_and_bits, number_of, printable, words_of


def facts(path, encoding='utf-8'):
    """Return a description of a checkpoint, a path or an open one, as a dict that can be written as JSON."""
    stored = opened(path)
    (p, uchar), metadata = read_checkpoint(stored, encoding, 'float32'), stored.metadata
    found = dict(units=units(p), characters=''.join(uchar), parameters=sum(array.size for array in p.values()),
                 learning=metadata.get('lp'),
                 **{name: metadata.get(name) for name in ('text', 'versions', 'precision', 'cell', 'class')})
    progress = metadata.get('progress') or {}
    if 'best_cost' in progress:                            # it is from train.py
        cost = progress['best_cost']
        found.update(
            options=progress.get('options'),
            progress={name: progress.get(name) for name in ('epoch', 'batch', 'rate', 'last_rate')},
            best_validation_cost=cost and dict(nats_per_character=cost, bits_per_character=bits(cost),
                                               epoch=progress['best_epoch']))
    return {name: value for name, value in found.items() if value}


def sizes(found):
    return f'{layers_of_units(found["units"])}, {found["parameters"]:,} parameters'


def without_folders(value, name=''):
    """Return metadata in which paths, of any operating system, are replaced by file names."""
    if isinstance(value, dict):
        return {key: without_folders(item, key) for key, item in value.items()}
    return ntpath.basename(value) if isinstance(value, str) and name in ('path', 'input', 'cell') else value


def summary(path):
    """Return one line about a checkpoint: the size of its model, its training text, and its validation cost."""
    found = facts(path)
    line = sizes(found)
    if 'text' in found:
        line += f', trained on {ntpath.basename(found["text"]["path"])} ({found["text"]["characters"]:,} characters)'
    if 'best_validation_cost' in found:
        line += f', validation cost {nats_and_bits(found["best_validation_cost"]["nats_per_character"])} a character'
    return printable(line)


def description(path, encoding='utf-8', folders=True):
    """Return several lines about a checkpoint. folders: whether to print the folders of files, too."""
    found = facts(path, encoding)
    if not folders:
        path, found = base_name(str(path)), without_folders(found)
    text, progress, best = [found.get(name, {}) for name in ('text', 'progress', 'best_validation_cost')]
    lines = [f'{path}: {sizes(found)}, {number_of(len(found["characters"]), "character")}: '
             f'{found["characters"]!r}']
    named = {'rate': 'learning rate before warm-up and annealing', 'last_rate': 'learning rate of the last step'}
    progress = {named.get(name, name): f'{value:.4g}' if name in named and value is not None else value
                for name, value in progress.items()}
    parts = {'text': {name: value for name, value in text.items() if name not in TITLES},
             TITLES['valid']: text.get('valid'), TITLES['test']: text.get('test'),
             'learning': {} if progress else found.get('learning'), 'versions': found.get('versions'),
             'precision': found.get('precision'), 'cell': found.get('cell', {}).get('formula') or 'the standard one',
             'class': found.get('class'), 'progress': progress}
    for title, part in parts.items():
        if isinstance(part, dict):
            part = ', '.join(f'{name} {value:,}' if type(value) is int else f'{name} {value}'
                             for name, value in part.items() if value is not None)
        if part:
            lines.append(f'{title}: {part}')
    if progress:
        options = found.get('options', {}) | found.get('learning', {})
        if 'run' in options:
            lines.append(f'run: {options.pop("run")}')
        for title, alike in (('options', False), ('options at their defaults', True)):
            words = words_of({name: value for name, value in options.items() if (value == DEFAULTS.get(name)) is alike})
            lines.append(f'{title}: {" ".join(map(str, words))}')
    if best:
        lines.append(f'best validation cost: {nats_and_bits(best["nats_per_character"])} a character, after epoch '
                     f'{best["epoch"]}')
    return '\n'.join(map(printable, lines))
