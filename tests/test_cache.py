"""Damage in the code that Theano keeps: what is removed before it is loaded, and what must stay."""
import os
import subprocess
import sys

import pytest

from engine import cache
from produce_text import BUNDLED
from scripts import FAST, PRODUCE, ROOT, run


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Theano's folder with compiled code as it keeps it, and files of others' beside that."""
    monkeypatch.setenv('THEANO_FLAGS', f'floatX=float64,base_compiledir={tmp_path}')
    files = ['compiledir_x/tmp1/a.so', 'compiledir_x/tmp1/key.pkl', 'compiledir_x/cutils_ext/cutils_ext.so',
             'compiledir_x/other/b.so', 'mine/c.so', 'mine.so', 'compiledir_x/tmp2/d.so', 'compiledir_x/tmp2/key.pkl']
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b'code')
    return tmp_path


def left(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


def dead_process():
    process = subprocess.Popen([sys.executable, '-c', ''])
    process.wait()
    return process.pid


def test_nothing_is_removed_where_nothing_is_wrong(kept):
    before = left(kept)
    assert cache.mend() is None and left(kept) == before


def test_empty_files_are_removed_and_nothing_else(kept):
    before = left(kept)
    for name in ('compiledir_x/tmp1/a.so', 'compiledir_x/other/b.so', 'mine/c.so'):
        (kept / name).write_bytes(b'')
    assert str(kept) in cache.mend()
    assert left(kept) == [name for name in before if not name.startswith('compiledir_x/tmp1/')]


def test_all_compiled_code_is_removed_where_a_process_died_loading_it(kept):
    (kept / cache.MARK.format(dead_process())).write_bytes(b'')
    assert 'cleared' in cache.mend()
    assert left(kept) == ['compiledir_x/other/b.so', 'mine.so', 'mine/c.so']
    assert cache.mend() is None


@pytest.mark.parametrize('mark', [cache.MARK.format(os.getpid()), 'charlstm_elsewhere_{}.loading'],
                         ids=['of one that runs', 'of another machine'])
def test_code_that_others_may_be_loading_stays(kept, mark):
    (kept / mark.format(dead_process())).write_bytes(b'')
    before = left(kept)
    assert cache.mend() is None and left(kept) == before


def test_code_stays_where_one_of_two_died(kept):
    for process in (dead_process(), os.getpid()):
        (kept / cache.MARK.format(process)).write_bytes(b'')
    before = left(kept)
    assert cache.mend() is None and left(kept) == before


def test_mark_is_there_while_code_is_loaded(kept):
    mark = kept / cache.MARK.format(os.getpid())
    with pytest.raises(KeyError), cache.loading():
        with cache.loading():
            pass
        assert mark.exists()
        raise KeyError
    assert not mark.exists()


def test_code_that_cannot_be_loaded_is_removed_by_the_next_start(kept):
    start = """
from engine import cache
with cache.loading(), cache.loading():
    raise ImportError('damaged', path=cache.folder() + '/compiledir_x/tmp1/a.so')
"""
    failed = subprocess.run([sys.executable, '-c', start], cwd=str(ROOT), stderr=subprocess.PIPE, encoding='utf-8')
    assert failed.stderr.endswith('ImportError: damaged\n')
    assert 'cleared' in cache.mend()
    assert left(kept) == ['compiledir_x/other/b.so', 'mine.so', 'mine/c.so']


def test_folder_that_cannot_be_written_is_no_error_here(monkeypatch):
    monkeypatch.setenv('THEANO_FLAGS', 'base_compiledir=/proc/nowhere')
    with cache.loading():
        pass
    assert cache.mend() is None


@pytest.mark.parametrize('flags, expected', [
    ('', None), ('base_compiledir=/a', '/a'), ('base_compiledir=/a,base_compiledir=/b', '/b'),
    ('floatX=float64, base_compiledir=/c', '/c')])
def test_settings_of_theano(monkeypatch, tmp_path, flags, expected):
    monkeypatch.setenv('THEANO_FLAGS', flags)
    monkeypatch.setenv('THEANORC', str(tmp_path / 'rc'))
    assert cache.setting('base_compiledir') == expected
    (tmp_path / 'rc').write_text('[global]\nbase_compiledir = /rc\n[blas]\nldflags = -lx\n')
    assert cache.setting('base_compiledir') == (expected or '/rc') and cache.setting('blas.ldflags') == '-lx'


def test_start_after_a_power_cut(tmp_path):
    """Every compiled file is empty: one line, and all works; after that no line."""
    flags = f'{FAST},base_compiledir={tmp_path / "cache"}'
    results = []
    for turn in range(3):
        results.append(run(PRODUCE, BUNDLED, tmp_path / 'out', '--count', 1, '--length', 5, '--random-seed', 1,
                           flags=flags))
        for path in (tmp_path / 'cache').rglob('*.so') if turn == 0 else ():
            path.write_bytes(b'')
    assert [result.returncode for result in results] == [0, 0, 0]
    assert len({result.stdout for result in results}) == 1
    assert ['power cut' in result.stderr for result in results] == [False, True, False]
