"""The code that Theano compiled and keeps from start to start; damage in it is found before it is loaded."""
import configparser
import contextlib
import glob
import os
import platform
import shutil

# In the folder while a process, by number, loads from there; homes may be shared by machines.
MARK = f'charlstm_{platform.node()}_{{}}.loading'


def setting(name):
    """What THEANO_FLAGS or a .theanorc sets an option of Theano's to, or None."""
    flags = [flag.strip().split('=', 1) for flag in os.environ.get('THEANO_FLAGS', '').split(',') if '=' in flag]
    rc = configparser.RawConfigParser(strict=False)
    with contextlib.suppress(configparser.Error, UnicodeDecodeError):
        rc.read([os.path.expanduser(path) for path in os.environ.get('THEANORC', '~/.theanorc').split(os.pathsep)])
    section, option = name.split('.') if '.' in name else ('global', name)
    return dict(flags).get(name, rc.get(section, option, fallback=None))


def folder():
    """Theano's folder of compiled code."""
    default = os.path.join(os.environ.get('LOCALAPPDATA', '~'), 'Theano') if os.name == 'nt' else '~/.theano'
    return os.path.expanduser(setting('compiledir') or setting('base_compiledir') or default)


def _runs(process):
    """Whether a process of that number runs."""
    if os.name == 'nt':
        return True                    # not to be asked there without harm
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _compiled(kept):
    """The files of compiled code in Theano's folder: each is alone in a folder of its own, beside its key."""
    for pattern in ('*', os.path.join('compiledir*', '*')):
        for path in glob.glob(os.path.join(glob.escape(kept), pattern, '*.so')):
            place = os.path.dirname(path)
            if place.endswith('_ext') or os.path.exists(os.path.join(place, 'key.pkl')):
                yield path


def mend():
    """Remove what a power cut left empty and, where a process died while it loaded code, all of it.

    Returns a line that says so, or None.
    """
    kept, said = folder(), None
    marks = {path: int(path.rsplit('_', 1)[1].split('.')[0])
             for path in glob.glob(os.path.join(glob.escape(kept), MARK.format('[0-9]*')))}
    dead = [path for path, process in marks.items() if not _runs(process)]
    all_of_it = dead and len(dead) == len(marks)           # and nobody loads from it now
    for path in _compiled(kept):
        if all_of_it or not os.path.getsize(path):
            shutil.rmtree(os.path.dirname(path), ignore_errors=True)
            said = f'{kept} held compiled files with nothing in them, as after a power cut: removed'
    if all_of_it:
        said = f'the last start could not load compiled code from {kept}: cleared, so it compiles again'
        for path in dead:
            with contextlib.suppress(OSError):
                os.remove(path)
    return said


def damaged(error):
    """Whether an error is that of compiled code which cannot be loaded."""
    return isinstance(error, ImportError) and (error.path or '').startswith(folder())


@contextlib.contextmanager
def loading():
    """Leave a mark in the folder for the time in which code is compiled and loaded, for ever where some is damaged."""
    mark = os.path.join(folder(), MARK.format(os.getpid()))
    there = os.path.exists(mark)       # of an outer one
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(mark), exist_ok=True)
        open(mark, 'w').close()
    try:
        yield
    except ImportError as error:
        there = there or damaged(error)
        raise
    finally:
        if not there:
            with contextlib.suppress(OSError):
                os.remove(mark)
