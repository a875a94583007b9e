"""Files that are complete or absent: writes that fail."""
import errno
import os

import pytest

from engine.model import files


# ---------------------------------------------------------------- write_whole

def test_file_has_its_name_only_when_it_is_complete(tmp_path):
    path = tmp_path / 'x'
    for earlier in (None, b'abc'):
        with files.write_whole(str(path)) as f:
            f.write(b'ab')
            f.flush()
            assert (path.read_bytes() if path.exists() else None) == earlier
            f.write(b'c')
        assert path.read_bytes() == b'abc' and os.listdir(str(tmp_path)) == ['x']


@pytest.mark.parametrize('place', ['in the file', 'fsync', 'replace'])
@pytest.mark.parametrize('error', [OSError(errno.ENOSPC, 'no luck'), KeyboardInterrupt()], ids=repr)
def test_error_while_a_file_is_written_leaves_the_earlier_one(tmp_path, monkeypatch, place, error):
    def fail(*arguments):
        raise error
    (tmp_path / 'x').write_bytes(b'earlier')
    if place != 'in the file':
        monkeypatch.setattr(os, place, fail)
    with pytest.raises(type(error)) as caught, files.write_whole(str(tmp_path / 'x')) as f:
        f.write(b'abc')
        if place == 'in the file':
            fail()
    if isinstance(error, OSError):
        assert str(caught.value) == 'cannot write {}: no luck'.format(tmp_path / 'x')
    assert (tmp_path / 'x').read_bytes() == b'earlier' and os.listdir(str(tmp_path)) == ['x']


def test_temporary_name_is_random_and_never_that_of_a_file(tmp_path, monkeypatch, refused):
    """So that nobody can put a link there before."""
    path, names = str(tmp_path / 'x'), set()
    for _ in range(9):
        with files.write_whole(path):
            names |= set(os.listdir(str(tmp_path))) - {'x'}
    assert len(names) == 9
    monkeypatch.setattr(os, 'urandom', lambda n: bytes(n))
    (tmp_path / 'mine').write_bytes(b'mine')
    os.symlink(str(tmp_path / 'mine'), files.partial_name(path))
    with refused(OSError, 'cannot write ' + path), files.write_whole(path):
        pass
    assert (tmp_path / 'mine').read_bytes() == b'mine' and os.path.islink(files.partial_name(path))


def test_path_that_cannot_be_written(lettered, tmp_path, refused):
    with refused(FileNotFoundError, tmp_path / 'missing' / 'params.npz'):
        lettered.save_params(tmp_path / 'missing' / 'params.npz')
    (tmp_path / 'folder.npz').mkdir()
    with refused(OSError, tmp_path / 'folder.npz'):
        lettered.save_params(tmp_path / 'folder.npz')
    assert sorted(os.listdir(str(tmp_path))) == ['folder.npz', 'text.txt']


# ---------------------------------------------------------------- append_whole and append_text

class FullDisk:
    """A file that accepts two bytes at a time, and `most` in all."""

    def __init__(self, f, most):
        self.f, self.left = f, most

    def __getattr__(self, name):
        return getattr(self.f, name)

    def write(self, data):
        if not self.left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        n = min(2, self.left, len(data))
        self.left -= n
        return self.f.write(data[:n])


@pytest.mark.parametrize('most', [0, 3])
def test_bytes_are_appended_all_or_none(tmp_path, refused, most):
    path = tmp_path / 'x'
    path.write_bytes(b'earlier')
    with open(str(path), 'ab', buffering=0) as f:
        with refused(OSError, 'cannot write ' + str(path), os.strerror(errno.ENOSPC)):
            files.append_whole(FullDisk(f, most), b'7 bytes')
        assert path.read_bytes() == b'earlier'
        files.append_whole(FullDisk(f, 7), b'7 bytes')
    assert path.read_bytes() == b'earlier7 bytes'


def test_text_is_appended(tmp_path, refused):
    path = tmp_path / 'x'
    for text in ('é\n', '', '\udce9'):
        with files.open_to_append(str(path)) as f:
            files.append_text(f, text)
    assert path.read_bytes() == 'é\n\\udce9'.encode('utf-8')
    with refused(IsADirectoryError, 'cannot write ' + str(tmp_path)):
        files.open_to_append(str(tmp_path))
