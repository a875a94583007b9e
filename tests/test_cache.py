"""The code that Theano keeps: in which folder, what is removed before it is loaded, and what must stay."""
import errno
import glob
import os
import shutil
import time

import pytest

from engine.backend import cache
from engine.backend.theano_setup import CompilerError, compiling, theano
from produce_text import BUNDLED
from scripts import FAST, PRODUCE, run, start

OTHERS = ['.theano/compiledir_x/tmp3/e.so', '.theano/compiledir_x/tmp3/key.pkl', '.theano/compiledir_x/cutils_ext/f.so']
KEPT = ['compiledir_x/tmp1/a.so', 'compiledir_x/tmp1/key.pkl', 'compiledir_x/cutils_ext/cutils_ext.so',
        'compiledir_x/tmp4/being_compiled.so', 'compiledir_x/other/b.txt', 'mine/c.so', 'mine.so',
        'compiledir_x/tmp2/d.so', 'compiledir_x/tmp2/key.pkl']


def make(home):
    """The folders of compiled code in a home: other programs' and, of which it returns the path, ours."""
    for name in OTHERS + [f'.theano/charlstm/{name}' for name in KEPT]:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(b'code' * 99)
    return home / '.theano' / 'charlstm'


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Our folder with compiled code as Theano keeps it, the checksums of all that is finished, and other files."""
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('THEANORC', os.devnull)
    monkeypatch.setenv('THEANO_FLAGS', 'floatX=float64')
    folder = make(tmp_path)
    for name in ('tmp1/a.so', 'tmp2/d.so', 'cutils_ext/cutils_ext.so'):
        cache.remember(str(folder / 'compiledir_x' / name))
    return folder


def left(folder):
    """The files below a folder, but for checksums."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*')
                  if path.is_file() and path.suffix != cache.CHECKSUM)


def test_nothing_is_removed_where_nothing_is_wrong(kept):
    before = left(kept.parents[1])
    assert cache.remove_damaged() is None and left(kept.parents[1]) == before


@pytest.mark.parametrize('damage', [
    lambda code: b'', lambda code: code[:-1], lambda code: code[:100] + bytes(7) + code[107:], lambda code: bytes(396)],
    ids=['empty', 'cut', 'zeros inside', 'zeros'])
@pytest.mark.parametrize('name', ['tmp1/a.so', 'cutils_ext/cutils_ext.so'])
def test_damaged_module_is_removed_and_nothing_else(kept, name, damage):
    path = kept / 'compiledir_x' / name
    path.write_bytes(damage(path.read_bytes()))
    before = left(kept.parents[1])
    assert cache.remove_damaged().startswith(f'1 compiled files in {kept} ')
    assert left(kept.parents[1]) == [name for name in before if os.path.dirname(name) != os.path.join(
        '.theano', 'charlstm', str(path.parent.relative_to(kept)))]
    assert cache.remove_damaged() is None


def test_empty_module_without_a_checksum_is_removed_if_it_was_finished(kept):
    """A power cut may take both; what another process is compiling now is empty at first."""
    for name in ('tmp1/a.so', 'tmp4/being_compiled.so'):
        (kept / 'compiledir_x' / name).write_bytes(b'')
    (kept / 'compiledir_x' / 'tmp1' / ('a.so' + cache.CHECKSUM)).unlink()
    assert cache.remove_damaged().startswith('1 compiled files')
    assert not (kept / 'compiledir_x' / 'tmp1').exists() and (kept / 'compiledir_x' / 'tmp4').exists()


@pytest.mark.parametrize('option', ['base_compiledir={}/.theano', 'compiledir={}/.theano/compiledir_x'])
def test_in_a_folder_of_the_users_nothing_is_removed_or_written(kept, monkeypatch, option):
    home = kept.parents[1]
    for path in list(kept.rglob('*.so')) + [home / OTHERS[0]]:
        path.write_bytes(b'')
    monkeypatch.setenv('THEANO_FLAGS', option.format(home))
    before = {path: path.read_bytes() for path in home.rglob('*') if path.is_file()}
    assert cache.remove_damaged() is None
    cache.remember(str(home / OTHERS[0]))
    assert cache.discard(str(home / OTHERS[0])).endswith(f'is damaged: remove {(home / OTHERS[0]).parent}, and start '
                                                         'again')
    assert {path: path.read_bytes() for path in home.rglob('*') if path.is_file()} == before


def test_module_that_cannot_be_loaded_is_removed_and_no_other(kept, refused, monkeypatch):
    path = kept / 'compiledir_x' / 'tmp2' / 'd.so'
    monkeypatch.setattr(theano.config.__class__.__dict__['compiledir'], 'val', str(kept / 'compiledir_x'))
    before = left(kept)
    with refused(OSError, f'compiled code in {path} was damaged, and is removed: start again (too short)'), compiling():
        raise ImportError('too short', path=str(path))
    assert left(kept) == [name for name in before if 'tmp2' not in name]


@pytest.mark.parametrize('number, kind', [(errno.ENOMEM, MemoryError), (errno.EPERM, OSError), (errno.EMFILE, OSError)])
def test_good_module_that_is_not_loaded_is_kept(kept, refused, monkeypatch, number, kind):
    """For want of memory, or in a folder that programs may not be run from."""
    monkeypatch.setattr(theano.config.__class__.__dict__['compiledir'], 'val', str(kept / 'compiledir_x'))
    before = left(kept)
    why = f'd.so: failed to map segment from shared object: {os.strerror(number)}'
    with refused(kind, why), compiling():
        raise ImportError(why, path=str(kept / 'compiledir_x' / 'tmp2' / 'd.so'))
    assert left(kept) == before


def test_want_of_memory_for_the_compiler_is_said_to_be_that(refused):
    with refused(MemoryError, os.strerror(errno.ENOMEM)), compiling():
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def test_error_of_another_import_is_not_called_damage(kept):
    with pytest.raises(ImportError), compiling():
        raise ImportError('no such module', path='/usr/lib/other.so')


def test_folder_that_cannot_be_written_is_no_error_here(monkeypatch, tmp_path):
    monkeypatch.setenv('THEANO_FLAGS', '')
    monkeypatch.setenv('THEANORC', os.devnull)
    monkeypatch.setenv('HOME', '/proc/nowhere')
    cache.remember('/proc/nowhere/.theano/charlstm/compiledir_x/a/a.so')
    cache.remember_loaded()
    assert cache.remove_damaged() is None


def test_failure_that_is_theanos_own_is_not_called_the_compilers(monkeypatch, refused):
    """Here its keys know one that its list does not know, as after a disk was full."""
    key_data = theano.gof.cmodule.KeyData(keys={1}, module_hash='', key_pkl='', entry='')
    with refused(OSError, 'contradicts itself (assert key not in self.keys)', 'start again'), compiling():
        key_data.add_key(1)
    with pytest.raises(OSError) as error, compiling():
        key_data.add_key(1)
    assert not isinstance(error.value, CompilerError)


@pytest.mark.parametrize('flags, expected', [
    ('', None), ('base_compiledir=/a', '/a'), ('base_compiledir=/a,base_compiledir=/b', '/b'),
    ('floatX=float64, base_compiledir=/c', '/c')])
def test_settings_of_theano(monkeypatch, tmp_path, flags, expected):
    monkeypatch.setenv('THEANO_FLAGS', flags)
    monkeypatch.setenv('THEANORC', str(tmp_path / 'rc'))
    assert cache.setting('base_compiledir') == expected
    (tmp_path / 'rc').write_text('[global]\nbase_compiledir = /rc\n[blas]\nldflags = -lx\n')
    assert cache.setting('base_compiledir') == (expected or '/rc') and cache.setting('blas.ldflags') == '-lx'


HOME = '.theano/charlstm'


def produce(home, flags=FAST, **options):
    """A start of produce_text.py by a user without settings of compiled code."""
    return run(PRODUCE, BUNDLED, home / 'out', '--count', 1, '--length', 5, '--random-seed', 1,
               env={'HOME': str(home), 'THEANO_FLAGS': flags}, **options)


def test_start_after_a_power_cut(tmp_path):
    """Some compiled files are empty, one has lost its end and one its middle: one line, and all works; then no line.

    What other programs have compiled stays, whatever it is.
    """
    make(tmp_path)
    shutil.rmtree(str(tmp_path / HOME))
    for name in OTHERS:
        (tmp_path / name).write_bytes(b'')
    results = []
    for turn in range(3):
        results.append(produce(tmp_path))
        modules = sorted((tmp_path / HOME).rglob('*.so'))
        for k, path in enumerate(modules if turn == 0 else ()):
            code = path.read_bytes()
            path.write_bytes([b'', code[:-5000], code[:4096] + bytes(4096) + code[8192:], code][k % 4])
    assert [result.returncode for result in results] == [0, 0, 0]
    assert len({result.stdout for result in results}) == 1
    removed = len(modules) - len(modules) // 4
    assert [f'{removed} compiled files in' in result.stderr for result in results] == [False, True, False]
    assert ['compiled files' in result.stderr for result in results] == [False, True, False]
    assert [name for name in OTHERS if (tmp_path / name).read_bytes() == b''] == OTHERS


def finished(home):
    """The modules that are compiled for good, also while folders beside them come and go."""
    return {os.path.dirname(path) for path in glob.glob(str(home / HOME / '**' / 'key.pkl'), recursive=True)}


def test_start_that_is_killed_again_and_again_gets_further_each_time(tmp_path):
    """Each is killed when it has compiled two more, of which it may not have finished the last; no other is lost."""
    counts = [0]
    while True:
        before = finished(tmp_path)
        process = start(PRODUCE, BUNDLED, '--score', __file__, env={'HOME': str(tmp_path), 'THEANO_FLAGS': ''})
        while process.poll() is None and len(finished(tmp_path)) < len(before) + 2:
            time.sleep(0.01)
        ended = process.poll() is not None
        process.kill()
        process.communicate()
        assert len(before - finished(tmp_path)) <= 1
        counts.append(len(finished(tmp_path)))
        if ended:
            break
    assert process.returncode == 0 and len(counts) > 3 and counts[:-1] == sorted(set(counts[:-1]))
