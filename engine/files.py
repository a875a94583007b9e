"""Files that are whole or not there, the lock on a run, and the one line that an error of the system becomes."""
import contextlib
import os


@contextlib.contextmanager
def named(doing, path):
    """An OSError inside becomes one of its kind that says in one line what failed with which file."""
    try:
        yield
    except OSError as error:
        raise type(error)(f'cannot {doing} {path}: {error.strerror or error}') from None


@contextlib.contextmanager
def write_whole(path):
    """Open a binary file for writing that appears under its name only when it is complete.

    Whatever goes wrong, an earlier file of that name stays as it was and
    nothing half-written is left. Raises OSError.
    """
    partial = f'{path}.{os.getpid()}.part'
    try:
        with named('write', path):
            with open(partial, 'wb') as f:
                yield f
                f.flush()
                os.fsync(f.fileno())   # the contents reach the disk before the name does
            os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            os.remove(partial)


def refuse_to_replace(path, overwrite):
    """Raise ValueError where something of that name is there already, unless it is a file and overwrite is wanted."""
    if os.path.lexists(path) and not os.path.isfile(path):
        raise ValueError(f'{path} exists already and is no file: choose another name')
    if os.path.isfile(path) and not overwrite:
        raise ValueError(f'{path} exists already: choose another name, or --overwrite to replace it')


def append_whole(f, data):
    """Append bytes to a file opened as 'ab' with buffering=0: all of them or, with an OSError, none."""
    with named('write', f.name):
        size, rest = os.fstat(f.fileno()).st_size, memoryview(data)
        try:
            while rest:
                rest = rest[f.write(rest):]
        except OSError:
            with contextlib.suppress(OSError):         # of what is no file but a device
                f.truncate(size)
            raise


def append_text(path, text):
    """Append text to a file in UTF-8, all of it or nothing; a file that stays empty is not made. Raises OSError.

    Lone surrogates, which UTF-8 has not, are escaped.
    """
    new = not os.path.exists(path)
    try:
        with named('write', path):
            f = open(path, 'ab', buffering=0)
        with f:
            append_whole(f, text.encode('utf-8', 'backslashreplace'))
    finally:
        if new and os.path.exists(path) and os.path.getsize(path) == 0:
            os.remove(path)


def lock(f):
    """Keep other processes from a file. The system frees the lock when this process ends, however it ends.

    Raises ValueError where another one has it.
    """
    try:
        import fcntl
    except ImportError:                # Windows has no such locks
        return
    try:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ValueError(f'{f.name} is being written by another process: choose another run name, or wait') from None
