"""What produce_text.py prints about a checkpoint."""
import json
import math
import ntpath
import os
import posixpath

from engine.run import table
from engine.model.files import base_name
from engine.model.patterns import REACHED, matches
from engine.terminal import bits, nats_and_bits, number_of, printable, typed


def _read(path, encoding='utf-8'):
    """Return H1 and H2 of a checkpoint's model, its number of parameters, uchar, and metadata.

    Arguments: as for read_shapes.
    """
    from engine.model.checkpoint import opened               # late, so that --help does not wait for NumPy
    from engine.model.parameters import read_shapes, units
    with opened(path) as stored:
        shapes, uchar = read_shapes(stored, encoding)
        return units(shapes), sum(map(math.prod, shapes.values())), uchar, stored.metadata


def entry_name(uchar):
    """Return what a vocabulary has, and costs are counted in: 'byte' or 'character'."""
    from engine.model.parameters import are_bytes            # late, as in _read
    return 'byte' if are_bytes(uchar) else 'character'


def _sizes(units, parameters):
    """Return what a line says of the sizes of a model."""
    return '2 layers of {} and {} units, {:,} parameters'.format(*units, parameters)


def _reached(metadata):
    """Return how far a run of train.py was, from metadata; {} where it holds none, or a user's own progress."""
    progress = metadata.get('progress')
    return progress if matches(progress, {'...': None, **REACHED}) else {}


def summary(path):
    """Return a line on a checkpoint: the sizes of its model, the text that it learned from, and its validation cost."""
    *sizes, _, metadata = _read(path)
    line, text, cost = _sizes(*sizes), metadata.get('text'), _reached(metadata).get('best_cost')
    if text:
        line += f', learned from {base_name(_without_folders(text["path"]))} ({text["characters"]:,} characters)'
    if cost is not None:
        line += f', validation cost {nats_and_bits(cost)} a character'
    return printable(line)


def _options(options):
    """Return lines on a run and its options, a dict by name, as they are typed: first those unlike their defaults."""
    lines = [f'run: {options.pop("run")}'] if 'run' in options else []
    unlike = {name: value for name, value in options.items() if value != table.DEFAULTS.get(name)}
    alike = {name: value for name, value in options.items() if name not in unlike}
    for title, found in (('options', unlike), ('options as by default', alike)):
        words = typed(found)
        if words:
            lines.append(f'{title}: ' + ' '.join(map(str, words)))
    return lines


def _without_folders(value, is_path=False):
    """Return metadata with the names of files in place of their paths, whichever system these are of.

    A string is a path if it is absolute or is_path is true, as for the option cell, which is stored as it was typed.
    """
    if isinstance(value, dict):
        return {name: _without_folders(item, name == 'cell') for name, item in value.items()}
    for system in (posixpath, ntpath):
        if isinstance(value, str) and (is_path or system.isabs(value)):
            value = system.basename(system.normpath(value))
    return value


def description(path, encoding='utf-8', folders=True):
    """Return several lines on a checkpoint: all of its metadata that people read.

    encoding: as for read_shapes. folders: whether to name the folders that files are in.
    """
    *sizes, uchar, metadata = _read(path, encoding)
    if not folders:
        path, metadata = os.path.basename(str(path)), _without_folders(metadata)
    lines = [f'{path}: {_sizes(*sizes)}, {number_of(len(uchar), entry_name(uchar))}: {"".join(uchar)!r}']
    text = dict(metadata.get('text', {}))
    valid, test = text.pop('valid', None), text.pop('test', None)
    progress, lp = _reached(metadata), metadata.get('lp')
    for title, found in (('text', text), ('validation text', valid), ('test text', test),
                         ('learning', None if progress else lp), ('versions', metadata.get('versions'))):
        if found:
            lines.append(f'{title}: ' + ', '.join(f'{name} {value:,}' if type(value) is int else f'{name} {value}'
                                                  for name, value in found.items()))
    if metadata:
        lines.append(f'precision: {metadata["precision"]}')
    if metadata and metadata['cell']['formula']:
        lines.append('cell: ' + metadata['cell']['formula'])
    if progress:
        options = progress.get('options')
        lines += _options({**(options if isinstance(options, dict) else {}), **(lp or {})})
        lines.append(f'progress: {number_of(progress["epoch"], "epoch")} and '
                     f'{number_of(progress["batch"], "batch")}, rate {progress["rate"]:g} before warm-up and annealing')
        if progress['best_cost'] is not None:
            lines.append(f'best validation cost: {nats_and_bits(progress["best_cost"])} a character, after epoch '
                         f'{progress["best_epoch"]}')
    if not metadata:
        lines.append('it holds only parameters and characters: it is of the original of this program, of PyTorch, '
                     'or of --export')
    return '\n'.join(map(printable, lines))


def facts(path, encoding='utf-8'):
    """Return what description() says as a dict that JSON can hold; what the checkpoint lacks is not in it."""
    units, parameters, uchar, metadata = _read(path, encoding)
    progress = _reached(metadata)
    cost = progress.get('best_cost')
    found = dict(
        model=base_name(path), units=units, characters=''.join(uchar), parameters=parameters,
        text=metadata.get('text'), learning=metadata.get('lp'),
        versions=metadata.get('versions'), precision=metadata.get('precision'),
        cell=metadata.get('cell'), options=progress.get('options'),
        progress={name: progress[name] for name in ('epoch', 'batch', 'rate') if progress},
        best_validation_cost=None if cost is None else dict(nats_per_character=cost, epoch=progress['best_epoch'],
                                                            bits_per_character=bits(cost)))
    return {name: value for name, value in found.items() if value}


def print_json(found):
    """Print a dict as an object of JSON on one line, in ASCII."""
    print(json.dumps(found, allow_nan=False))


def print_info(path, encoding, as_json):
    """Print what is known of a checkpoint, as lines or as an object of JSON. encoding: as for read_shapes."""
    print_json(facts(path, encoding)) if as_json else print(description(path, encoding))
