"""The options of a command line: as rows of a table, checked, and joined with those of a run that goes on."""
import argparse
import math
import os

from engine.checks import learning, shown
from engine.commands import spelled
from engine.run.recipe import ORIGINAL
from engine.state.patterns import MOST, boolean, file_name, matches, nothing, number, string

CHANGEABLE = ('epochs', 'save_every', 'patience')              # what a resumed run may have otherwise; lrate only less
BYTES = 12                     # of each parameter in a checkpoint: itself, its average and that of its squares
MUCH = 1e9                     # bytes of all checkpoints of a run that the start announces
NOT_STORED = ('resume', 'overwrite', 'init', 'output_dir')     # of one start of a run, and no part of it


def add(group, rows, suppress=False):
    """Add rows (name, kind, default, help) of options to an argparse group.

    kind: int, float, bool for a flag, a tuple of choices, how a string is named in the
    help, or a dict of argparse's own arguments. suppress: what is not given is left
    out of what is parsed, instead of set to its default.
    """
    for name, kind, default, text in rows:
        value = argparse.SUPPRESS if suppress else default
        text += '' if default is None or default == '' or kind is bool else f' (default: {default})'
        if kind is bool:
            group.add_argument('--' + name, action='store_true', default=value, help=text)
        elif isinstance(kind, dict):
            group.add_argument('--' + name, default=value, help=text, **kind)
        elif isinstance(kind, tuple):
            group.add_argument('--' + name, choices=kind, default=value, help=text)
        else:
            kind, metavar = (str, kind) if isinstance(kind, str) else (kind, {int: 'N', float: 'X'}[kind])
            group.add_argument('--' + name, type=kind, default=value, metavar=metavar, help=text)


def stored(options):
    """What a checkpoint keeps of options, a dict."""
    return {name: value for name, value in options.items() if name not in NOT_STORED}


def are_stored(options, table):
    """Whether options by name may be those that a checkpoint keeps; table: rows of all options by title, as for add."""
    kinds = {'input': string, 'run': file_name}
    for name, kind, default, _ in (row for rows in table.values() for row in rows):
        fits = {int: lambda value: type(value) is int, float: number, bool: boolean}.get(kind, string)
        if isinstance(kind, tuple):
            fits = kind.__contains__
        kinds[name.replace('-', '_')] = (fits, nothing) if default is None else fits
    for name in NOT_STORED:
        del kinds[name]
    return matches(options, {name if name in ('input', 'run') else name + '?': fits for name, fits in kinds.items()})


def join(defaults, progress, given):
    """All options by name: defaults, then those of the run that goes on, then those given; progress: its, or None.

    With --original its recipe replaces the defaults, as for what an older run had no option for.
    Raises ValueError for an option that contradicts that run.
    """
    if progress is None:
        return {**defaults, **(ORIGINAL if given.get('original') else {}), **given}
    path, before = given['resume'], {**defaults, **ORIGINAL, **progress['options']}
    folder = os.path.dirname(os.path.abspath(path))
    if given.get('init'):
        raise ValueError('--init and --resume are both given: expected one of them')
    if os.path.realpath(given.get('output_dir', folder)) != os.path.realpath(folder):
        raise ValueError(f'--output-dir is {given["output_dir"]}, but a run goes on in the folder of {path}')
    for name, value in stored(given).items():
        smaller = name == 'lrate' and value < before['lrate']
        if name not in CHANGEABLE + ('input',) and value != before.get(name) and not smaller:
            raise ValueError(
                f'{spelled(name)} is {value}, but the run in {path} had {before.get(name)}; only '
                f'{", ".join(map(spelled, CHANGEABLE))} may change when a run goes on, and --lrate become smaller')
    if 'input' in given:
        given = {**given, 'input': os.path.abspath(given['input'])}
    return {**before, **given, 'output_dir': folder}


def check(options):
    """Raise ValueError for what the class does not check itself; options by name."""
    for name, least in (('warmup', 0), ('epochs', 1), ('valid_every', 1), ('save_every', 1), ('lrate_decay_epoch', 1),
                        ('plateau', 0), ('patience', 0)):
        if options[name] is not None and not least <= options[name] <= MOST:
            raise ValueError(f'{spelled(name)} is {shown(options[name])}: expected at least {least}, at most {MOST:,}')
    learning(*[0 if options[name] is None else options[name] for name in (
        'lrate', 'drate', 'eps', 'bptt_maxdepth', 'l1', 'l2', 'dropout', 'grad_clip', 'dropconnect', 'reset',
        'average')])
    if not 0 < options['lrate_decay'] <= 1:
        raise ValueError(f'--lrate-decay is {options["lrate_decay"]}: expected a number above 0, at most 1')
    if not 1 < options['plateau_factor'] < math.inf:
        raise ValueError(f'--plateau-factor is {options["plateau_factor"]}: expected a number above 1')
    run = options['run']
    if not run or os.path.basename(run) != run or '\0' in run:
        raise ValueError(f'the run name {run!r} is part of file names: expected no path separators in it')


def summary(options, parameters):
    """Return a line for a person: what learns, how often, and how to repeat it; and one on the disk, if that matters.

    options: by name; parameters: how many there are. What else it learns with --info says.
    """
    begins = f', from the parameters of {options["init"]}' if options.get('init') else ''
    most = 'up to ' * bool(options['patience'])
    seed = '' if options['random_seed'] is None else f'; random seed {options["random_seed"]}'       # of older runs
    units = f'{options["num_units1"]} and {options["num_units2"]} units'
    files, size = options['epochs'] // options['save_every'], BYTES * parameters
    disk = (f'\nup to {files:,} checkpoints of {size / 1e6:.1f} MB, one every {options["save_every"]} epochs: a larger '
            '--save-every takes less of the disk') * (files * size > MUCH)
    return f'2 layers of {units}, {parameters:,} parameters{begins}; {most}{options["epochs"]} epochs{seed}{disk}'
