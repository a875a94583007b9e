"""The code that Theano compiled and keeps from start to start: where, and what is damaged in it.

It is kept in a folder of our own, where the user has not set another. In that folder each
compiled module has its checksum beside it, and what is no longer as it was compiled is removed
before it is loaded. In a folder of the user's nothing is removed.
"""
import configparser
import contextlib
import glob
import os
import shlex
import shutil
import sys
import zlib

OURS = '~/.theano/charlstm'
CHECKSUM = '.crc32'        # after the name of a module's file


def flags():
    """Return what THEANO_FLAGS has between its commas, read as Theano does: it may have quotes."""
    text = os.environ.get('THEANO_FLAGS', '')
    words = shlex.shlex(text, posix=True)
    words.whitespace, words.whitespace_split, words.commenters = ',', True, ''
    try:
        return list(words)
    except ValueError:                             # which the import of Theano reports
        return text.split(',')


def setting(name):
    """Return what THEANO_FLAGS or a .theanorc sets an option of Theano's to, or None."""
    pairs = [flag.strip().split('=', 1) for flag in flags() if '=' in flag]
    rc = configparser.RawConfigParser(strict=False)
    with contextlib.suppress(configparser.Error, UnicodeDecodeError):
        rc.read([os.path.expanduser(path) for path in os.environ.get('THEANORC', '~/.theanorc').split(os.pathsep)])
    section, option = name.split('.') if '.' in name else ('global', name)
    return dict(pairs).get(name, rc.get(section, option, fallback=None))


def _set_by_user():
    return setting('compiledir') or setting('base_compiledir')


def folder():
    """Return the folder of compiled code."""
    return os.path.expanduser(_set_by_user() or OURS)


def _is_ours(path):
    """Return whether a file is in the folder of our own."""
    ours = os.path.join(os.path.realpath(os.path.expanduser(OURS)), '')
    return os.path.realpath(path).startswith(ours) and not _set_by_user()


def _checksum(path):
    """Return the checksum of a file, as text."""
    with open(path, 'rb') as f:
        return f'{zlib.crc32(f.read()):08x}'


def remember(path):
    """Keep the checksum of a module in our folder that was just compiled and loaded, where it has none."""
    if _is_ours(path) and not os.path.exists(path + CHECKSUM):
        with contextlib.suppress(OSError), open(path + CHECKSUM, 'w') as f:
            f.write(_checksum(path))


def remember_loaded():
    """Keep the checksums of those that are loaded: Theano compiles some while it is imported."""
    for module in list(sys.modules.values()):
        path = getattr(module, '__file__', None) or ''
        if path.endswith(('.so', '.pyd')):
            remember(path)


def _damaged(path):
    """Return whether a module is not as it was compiled, or empty; one that is just being compiled is not yet finished.

    A module without a checksum was finished if it has its key; those without key Theano compiles anew itself.
    """
    if os.path.exists(path + CHECKSUM):
        with open(path + CHECKSUM, errors='replace') as f:
            return f.read() != _checksum(path)
    return not os.path.getsize(path) and os.path.exists(os.path.join(os.path.dirname(path), 'key.pkl'))


def remove_damaged():
    """Remove those modules in our own folder that are damaged. Returns a line that says so, or None."""
    removed = 0
    for ending in () if _set_by_user() else ('*.so', '*.pyd'):
        for path in glob.glob(os.path.join(glob.escape(folder()), 'compiledir*', '*', ending)):
            with contextlib.suppress(OSError):         # another process may remove it too
                if _damaged(path):
                    shutil.rmtree(os.path.dirname(path))
                    removed += 1
    if removed:
        return (f'{removed} compiled files in {folder()} were damaged, as after a power cut: removed, to be compiled '
                'again')
    return None


def discard(path):
    """Remove a module that cannot be loaded, if it is in our own folder. Returns a line that says what to do."""
    place = os.path.dirname(path)
    if not _is_ours(path):
        return f'compiled code in {path} is damaged: remove {place}, and start again'
    shutil.rmtree(place, ignore_errors=True)
    return f'compiled code in {path} was damaged, and is removed: start again'
