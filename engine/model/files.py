"""Files that are complete or absent, the lock on a run, and system errors as one line."""
import contextlib
import os
import zipfile


@contextlib.contextmanager
def named(action, path):
    """Turn an OSError of the block into one of the same type whose message, one line, names the action and the file."""
    try:
        yield
    except OSError as error:
        raise type(error)(f'cannot {action} {str(path) or repr(path)}: {error.strerror or error}') from None


def base_name(path):
    """Return the name of a file or folder without the folders that it is in; '.' and 'folder/' have one, too."""
    return os.path.basename(os.path.abspath(path))


def partial_name(path):
    """Return a temporary name for a file that is being written. It is random: nobody can put a link there before."""
    return f'{path}.{os.urandom(6).hex()}.part'


@contextlib.contextmanager
def write_whole(path):
    """Open a binary file for writing that appears under its name only when it is complete.

    After an error, an earlier file of that name is unchanged, and no partial file is left. Raises OSError.
    """
    partial = partial_name(path)
    with named('write', path):
        f = open(partial, 'xb')        # never a file that exists, and never through a link
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
    """Return whether a path is a symbolic or hard link: writing to it would change a file of another name."""
    return os.path.islink(path) or (os.path.isfile(path) and os.stat(path).st_nlink > 1)


def open_log(path):
    """Open a file for reading and appending, unbuffered; create it if it is missing.

    Raises OSError, also if the path is a link.
    """
    no_link = getattr(os, 'O_NOFOLLOW', 0)                 # Windows has none
    with named('write', path):
        f = open(path, 'a+b', buffering=0, opener=lambda path, flags: os.open(path, flags | no_link, 0o666))
    if has_other_names(path):
        f.close()
        raise OSError(f'cannot write {path}: it is a link')
    return f


def refuse_to_change(path, others, why='is also read'):
    """Raise ValueError if the path is that of one of some other files, whose paths may be None; why: what they are."""
    for other in filter(None, others):
        if os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other):
            raise ValueError(f'{path} {why}: choose another name to write to')


def refuse_to_replace(path, overwrite, read=()):
    """Raise ValueError if the path exists, unless it is a file and overwrite is true, and as refuse_to_change."""
    refuse_to_change(path, read)
    if os.path.isfile(path):
        if not overwrite:
            raise ValueError(f'{path} exists already: choose another name, or --overwrite to replace it')
    elif os.path.lexists(path):
        raise ValueError(f'{path} exists already and is no file: remove it, or choose another name')


def is_archive(path):
    """Return whether a path is that of an npz, safetensors or zip file, by its ending or its contents."""
    if path.lower().endswith(('.npz', '.safetensors', '.zip')):
        return True
    if os.path.isfile(path):
        with contextlib.suppress(OSError), open(path, 'rb') as f:
            return f.read(4) in (b'PK\3\4', b'PK\5\6') or zipfile.is_zipfile(f)      # the first: even if it is cut off
    return False


def append_whole(f, data):
    """Append bytes to a file opened as 'ab' with buffering=0: all of them, or none and raise OSError."""
    with named('write', f.name):
        size, rest = os.fstat(f.fileno()).st_size, memoryview(data)
        try:
            while rest:
                rest = rest[f.write(rest):]
        except OSError:
            with contextlib.suppress(OSError):         # a device cannot be truncated
                f.truncate(size)
            raise


def open_to_append(path):
    """Open a file for append_text; create it if it is missing. Raises OSError."""
    with named('write', path):
        return open(path, 'ab', buffering=0)


def append_text(f, text):
    """Append text to a file of open_to_append, in UTF-8: all of it, or none and raise OSError.

    Lone surrogates, which UTF-8 cannot encode, are escaped.
    """
    append_whole(f, text.encode('utf-8', 'backslashreplace'))


def lock(f):
    """Lock a file against other processes until this one ends, in whatever way. Raises ValueError if another has it.

    Windows and some network file systems have no such locks: nothing is locked there.
    """
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise ValueError(f'{f.name} is being written by another process: choose another run name, or wait') from None
    except OSError:                    # a file system without locks
        pass
