"""How a run begins: with which options, and from which checkpoint and text where it goes on."""
import contextlib
import os
import secrets
from types import SimpleNamespace

from engine import commands
from engine.run import options
from engine.state.checkpoint import Checkpoint
from engine.run.recipe import set_units
from engine.run.run import RUN_PROGRESS, Run
from engine.state.patterns import matches


LAST = 'last'          # for --resume: the newest checkpoint of the run


@contextlib.contextmanager
def checkpoint_of(path, table, group):
    """The Checkpoint of a run that goes on, open in the first process, and its progress; None and None without a path.

    table: train.py's options, by which those of the run are checked, as data of a stranger.
    """
    def progress_of():
        nonlocal stored
        stored = opened.enter_context(Checkpoint(path))
        progress = stored.metadata.get('progress')
        if not (matches(progress, RUN_PROGRESS) and options.are_stored(progress['options'], table)):
            raise ValueError(f'{path} holds no run that can be resumed; --init starts a new one from its parameters')
        for name, array in (('num_units1', 'W1'), ('num_units2', 'W2')):       # before a model of that size is made
            if progress['options'].get(name) not in (None, *stored.shape(array)[-1:]):
                raise stored.refusal(f'{commands.spelled(name)} of its run is not the size of its {array}')
        return progress

    stored = None
    if path is None:
        yield None, None
        return
    with contextlib.ExitStack() as opened:
        progress = group.broadcast(progress_of)
        yield stored, progress


def resolve_last(given, defaults, there):
    """Return the options given with the newest checkpoint of their run for `--resume last` or, if none, without it."""
    name = run_name(SimpleNamespace(**{**defaults, **given, 'input': given.get('input') or there(None)}), None)
    run, others = Run(given.get('output_dir', defaults['output_dir']), name), dict(given)
    newest = run.newest()
    if newest is None:
        print(f'{run.path("")} has no checkpoint yet: a new run')
        del others['resume']
        return others
    init = others.pop('init', None)
    print(f'going on from {newest}' + f', which began from {init}' * bool(init))
    return {**others, 'resume': newest}


def chosen(defaults, there, given, stored, progress):
    """The options by attribute: those given, those of the run that goes on from an open checkpoint, or the defaults.

    The units and the random seed are set, and input is where the text is now, there(path)
    for a new run's. Raises ValueError and OSError.
    """
    o = SimpleNamespace(**options.join(defaults, progress, given))
    options.check(vars(o))
    set_units(o)
    if not progress and o.random_seed is None:
        o.random_seed = secrets.randbelow(10 ** 9)
    o.input = find_text(stored, o.input, given.get('input')) if progress else there(o.input)
    return o


def find_text(stored, path, given):
    """Where the text of the run in an open checkpoint is now: the path given or, where it has moved, near by.

    path: where it was. Raises ValueError where it is not found.
    """
    # No device that never ends, and no file of the system's own, which says that it is empty and may never end too.
    if given or os.path.isdir(path) or os.path.isfile(path) and os.path.getsize(path):
        return given or path
    folder, name = os.path.dirname(os.path.abspath(stored.path)), os.path.basename(path)
    for place in (folder, os.path.join(folder, os.pardir, 'text_input'), os.path.join(commands.ROOT, 'text_input'), ''):
        found = os.path.join(place, name)
        if os.path.isfile(found):
            print(f'{path} is gone: taking {commands.near(found)}')
            return found
    raise ValueError(f'{path}, the text of that run, is gone: name it where it is now, as in '
                     f'{commands.script("train.py", name, "--resume", str(stored.path))}')


def check_text(path, model, stored):
    """Raise ValueError where the text of a model is another than that of the run in an open checkpoint."""
    then, progress = stored.metadata.get('text'), stored.metadata['progress']
    if not then or model.fingerprint() != then['sha256']:
        had = f', which had {then["characters"]:,} characters and SHA-256 {then["sha256"]}' if then else ''
        raise ValueError(f'{path} is not the text of that run{had}; --init starts a new run on another text')
    if progress['batch'] > model.n_batches['train']:
        raise stored.refusal(f'it is at batch {progress["batch"]} of {model.n_batches["train"]}')


def run_name(o, progress):
    """What the names of a run's files begin with: that of the run that goes on, else of these options by attribute."""
    name, text = o.run, o.input
    if progress:
        name, text = progress['options']['run'], progress['options']['input']
    return (progress or {}).get('name') or f'{name}_{os.path.basename(os.path.abspath(text))}'
