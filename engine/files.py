"""Files that are whole or not there, the lock on a run, and the one line that an error of the system becomes."""
import contextlib
import os
import zipfile


@contextlib.contextmanager
def named(doing, path):
    """An OSError inside becomes one of its kind that says in one line what failed with which file."""
    try:
        yield
    except OSError as error:
        raise type(error)(f'cannot {doing} {path}: {error.strerror or error}') from None


def partial_name(path):
    """Return the temporary name of a file that is being written: nobody can guess it, to put a link there."""
    return f'{path}.{os.urandom(6).hex()}.part'


@contextlib.contextmanager
def write_whole(path):
    """Open a binary file for writing that appears under its name only when it is complete.

    Whatever goes wrong, an earlier file of that name stays as it was and
    nothing half-written is left. Raises OSError.
    """
    partial = partial_name(path)
    with named('write', path):
        f = open(partial, 'xb')        # never a file that exists, nor through a link
        try:
            with f:
                yield f
                f.flush()
                os.fsync(f.fileno())   # the contents reach the disk before the name does
            os.replace(partial, path)
        finally:
            with contextlib.suppress(OSError):
                os.remove(partial)


def has_other_names(path):
    """Return whether a path is a link, symbolic or hard: what is written there changes a file of another name."""
    return os.path.islink(path) or (os.path.isfile(path) and os.stat(path).st_nlink > 1)


def open_log(path):
    """Open a file to read and append to, unbuffered; make it where it is missing.

    Raises OSError, also where the path is a link, which is not followed.
    """
    no_link = getattr(os, 'O_NOFOLLOW', 0)                 # Windows has none
    with named('write', path):
        f = open(path, 'a+b', buffering=0, opener=lambda path, flags: os.open(path, flags | no_link, 0o666))
    if has_other_names(path):
        f.close()
        raise OSError(f'cannot write {path}: it is a link')
    return f


def refuse_to_replace(path, overwrite):
    """Raise ValueError where something of that name is there already, unless it is a file and overwrite is wanted."""
    if os.path.lexists(path) and not os.path.isfile(path):
        raise ValueError(f'{path} exists already and is no file: choose another name')
    if os.path.isfile(path) and not overwrite:
        raise ValueError(f'{path} exists already: choose another name, or --overwrite to replace it')


def is_archive(path):
    """Return whether a path is that of an npz or zip file, by its ending or by what the file holds."""
    if path.lower().endswith(('.npz', '.zip')):
        return True
    with contextlib.suppress(OSError):
        if os.path.isfile(path):
            with open(path, 'rb') as f:
                return f.read(4) in (b'PK\3\4', b'PK\5\6') or zipfile.is_zipfile(f)      # the first also of a cut one
    return False


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
