"""Write files completely or not at all, lock a run, and report system errors in one line."""
import contextlib
import os

from engine.terminal import printable, warn_once


@contextlib.contextmanager
def named(action, path):
    """Turn an OSError in the block into one of the same type, with one line that names the action and the file."""
    try:
        yield
    except OSError as error:
        name = printable(str(path))[:200] or "''"          # it may be a text, passed instead of a path
        raise type(error)(f'cannot {action} {name}: {error.strerror or error}') from None


def readable(read, path, *arguments):
    """Return read(path, *arguments); None if there is no such file or folder, or, with a line, if it is damaged."""
    if os.path.isfile(path) or os.path.isdir(path):        # a checkpoint may name any file, such as /dev/zero
        try:
            return read(path, *arguments)
        except (OSError, OverflowError, TypeError, ValueError):
            warn_once(f'{path} cannot be read, and is left out')


def base_name(path):
    """Return the name of a file or folder without its parent folders, also for '.' and 'folder/'."""
    return os.path.basename(os.path.abspath(path))


PARTIAL = r'\.[0-9a-f]{12}\.part'          # ending of partial_name


def partial_name(path):
    """Return a new name for a file until it is complete."""
    return f'{path}.{os.urandom(6).hex()}.part'


@contextlib.contextmanager
def write_whole(path):
    """Open a binary file for writing, which gets its name only when it is complete. Raises OSError.

    After an error, an earlier file of that name is unchanged, and no partial file is left.
    """
    partial = partial_name(path)
    with named('write', path):
        try:
            with open(partial, 'xb') as f:
                yield f
                f.flush()
                os.fsync(f.fileno())   # the contents reach the disk before the name does
            os.replace(partial, path)  # Windows renames and removes no open file
        except BaseException:
            with contextlib.suppress(FileNotFoundError):       # Ctrl-C may arrive just after it got its name
                os.remove(partial)
            raise


def refuse_to_replace(path, overwrite, read=()):
    """Raise ValueError if path exists and overwrite is false, or if it is one of the files `read` (None: no file)."""
    for other in filter(None, read):
        if os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other):
            raise ValueError(f'{path} is an input, or a text of the training run: choose another name to write to')
    if os.path.exists(path) and not overwrite:
        raise ValueError(f'{path} exists already: choose another name, or --overwrite to replace it')


def open_to_append(path, follow=True):
    """Open a file for append_text; create it if it is missing. Raises OSError, for a link if follow is False."""
    no_link = 0 if follow else getattr(os, 'O_NOFOLLOW', 0)            # Windows has no such flag
    with named('write', path):
        return open(path, 'ab', buffering=0, opener=lambda path, flags: os.open(path, flags | no_link, 0o666))


def append_text(f, text):
    """Append a text in UTF-8 to a file from open_to_append. Raises OSError."""
    with named('write', f.name):
        rest = text.encode('utf-8', 'backslashreplace')
        while rest:
            rest = rest[f.write(rest):]


def lock(f):
    """Lock a file until this process ends, however it ends. Raises ValueError if another process holds the lock."""
    try:
        import fcntl
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(f'{f.name} is being written by another process: choose another run name, or wait') from None
    except (ImportError, OSError):
        pass                           # Windows and some network file systems have no such locks
