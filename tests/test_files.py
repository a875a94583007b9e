"""Files are complete or absent, even if a write fails."""
import errno
import os

import pytest

from engine import files


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
        assert str(caught.value) == f'cannot write {tmp_path / "x"}: no luck'
    assert (tmp_path / 'x').read_bytes() == b'earlier' and os.listdir(str(tmp_path)) == ['x']


def test_interrupt_just_after_a_file_got_its_name(tmp_path, monkeypatch):
    """The error is the interrupt, not that the partial file is missing."""
    def interrupted(*paths, replace=os.replace):
        replace(*paths)
        raise KeyboardInterrupt
    monkeypatch.setattr(os, 'replace', interrupted)
    with pytest.raises(KeyboardInterrupt), files.write_whole(str(tmp_path / 'x')) as f:
        f.write(b'abc')
    assert (tmp_path / 'x').read_bytes() == b'abc' and os.listdir(str(tmp_path)) == ['x']
