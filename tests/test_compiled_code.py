"""Compiled code that stays from start to start: where it is, what is removed before it is loaded, and what stays."""
import errno
import glob
import os
import pickle
import time

import pytest

from engine.backend import modules, theano_setup
from engine.backend.theano_setup import compiling, theano
from engine.terminal import BUNDLED
from scripts import FAST, PRODUCE, ROOT, run, start

HOME = '.theano/charlstm'
OTHERS = ['.theano/compiledir_x/tmp3/e.so', '.theano/compiledir_x/tmp3/key.pkl', '.theano/compiledir_x/cutils_ext/f.so']
OWN = ['compiledir_x/tmp1/a.so', 'compiledir_x/tmp1/key.pkl', 'compiledir_x/cutils_ext/cutils_ext.so',
       'compiledir_x/tmp2/d.so', 'compiledir_x/tmp2/key.pkl']


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Return the default folder with compiled code as Theano stores it. Beside it is that of other programs."""
    monkeypatch.setattr(theano_setup, 'USERS_FOLDER', None)
    monkeypatch.setattr(theano_setup, 'FOLDER', str(tmp_path / HOME))
    for name in OTHERS + [f'{HOME}/{name}' for name in OWN]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b'code' * 99)
    folder = tmp_path / HOME
    monkeypatch.setattr(theano.config.__class__.__dict__['compiledir'], 'val', str(folder / 'compiledir_x'))
    return folder


def files(folder):
    """Return the contents of the files below a folder, by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


NO_MEMORY, NOT_PERMITTED = [OSError(number, os.strerror(number)) for number in (errno.ENOMEM, errno.EPERM)]
NOT_LOADED = 'd.so: failed to map segment from shared object: {}'
DAMAGED = f'{HOME}/{OWN[3]}'


@pytest.mark.parametrize('users, module, why, kind, words', [
    (False, DAMAGED, 'too short', OSError, '{} was damaged and has been removed: start again (too short)'),
    (True, DAMAGED, 'too short', OSError, '{} is damaged: remove '),
    (False, OTHERS[0], 'too short', OSError, '{} is damaged: remove '),
    # As without enough memory, or in a folder from which programs may not run.
    (False, DAMAGED, NOT_LOADED.format(NO_MEMORY.strerror), MemoryError, NO_MEMORY.strerror),
    (False, DAMAGED, NOT_LOADED.format(NOT_PERMITTED.strerror), OSError, NOT_PERMITTED.strerror)])
def test_module_that_cannot_be_loaded(own, monkeypatch, refused, users, module, why, kind, words):
    """It is removed where it is damaged and in the default folder, and no other is."""
    home = own.parents[1]
    path, before = home / module, files(home)
    if users:
        monkeypatch.setattr(theano_setup, 'USERS_FOLDER', str(own))
    monkeypatch.setattr(theano.config.__class__.__dict__['compiledir'], 'val', str(path.parents[1]))
    with refused(kind, words.format(path)), compiling():
        raise ImportError(why, path=str(path))
    removed = 'has been removed' in words
    assert files(home) == {name: code for name, code in before.items()
                           if not removed or path.parent not in (home / name).parents}


def test_errors_that_are_not_of_compiled_code(own, refused):
    with refused(MemoryError, NO_MEMORY.strerror), compiling():
        raise NO_MEMORY
    with pytest.raises(ImportError), compiling():
        raise ImportError('no such module', path='/usr/lib/other.so')


def test_inconsistent_list_of_compiled_code():
    """Theano's list lacks a key that a module has, as after a disk was full: the compiler is not to blame."""
    key_data = theano.gof.cmodule.KeyData(keys={1}, module_hash='', key_pkl='', entry='')
    with pytest.raises(OSError, match=r'not as Theano expects it \(assert key not in self.keys\)') as error:
        with compiling():
            key_data.add_key(1)
    assert error.type is OSError


class Read:
    """A key of a module that, while it is written, lets another process's list of compiled code be read."""
    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        theano.gof.cmodule.ModuleCache(self.folder)
        return Read, (self.folder,)


def test_module_stays_while_another_process_reads_what_it_was_compiled_for(tmp_path):
    """Theano reads without a lock, and removes a module whose key.pkl has no end."""
    folder = tmp_path / 'tmp1'
    folder.mkdir()
    (folder / 'm.so').touch()
    key_data = theano.gof.cmodule.KeyData(set(), '', str(folder / 'key.pkl'), str(folder / 'm.so'))
    for key in (((1,), 'first'), ((1,), Read(tmp_path))):
        key_data.add_key(key)
    assert sorted(os.listdir(folder)) == ['key.pkl', 'm.so']
    with open(folder / 'key.pkl', 'rb') as f:
        assert len(pickle.load(f).keys) == 2


TWO_FUNCTIONS = """
from engine.backend.theano_setup import compiling, theano
x = theano.tensor.vector()
with compiling():
    f = theano.function([x], theano.tensor.tanh(x) + 1)
print(f([0]), theano.function([x], theano.tensor.exp(x) + 2)([0]))
"""


def test_start_after_a_power_cut(tmp_path):
    """Modules that are empty, cut off or zeros are compiled again, also those of a user's own function.

    Of Theano's loop in C a line says that it was removed, and to start again. What other programs have compiled stays.
    """
    for name in OTHERS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b'')

    def start_one():
        return run('-c', TWO_FUNCTIONS, cwd=ROOT, env={'HOME': str(tmp_path), 'THEANO_FLAGS': ''})

    first = start_one()
    loop, *compiled = sorted((tmp_path / HOME).rglob('*.so'), key=lambda path: path.name != 'lazylinker_ext.so')
    assert first.stdout == '[1.] [3.]\n' and len(compiled) > 2
    for damage in (lambda code: b'', lambda code: bytes(len(code)), lambda code: code[:5000]):
        for path in compiled:
            path.write_bytes(damage(path.read_bytes()))
        again = start_one()
        assert (again.returncode, again.stdout, again.stderr) == (0, first.stdout, first.stderr)
        compiled = sorted(path for path in (tmp_path / HOME).rglob('*.so') if path != loop)
    for code in (b'', loop.read_bytes()[:5000]):
        loop.write_bytes(code)
        last = start_one().stderr.splitlines()[-1]
        assert last.startswith(f'OSError: compiled code in {loop} was damaged and has been removed: start again (')
        assert start_one().stdout == first.stdout
    assert [(tmp_path / name).read_bytes() for name in OTHERS] == [b''] * len(OTHERS)


def test_module_that_theano_does_not_compile_again(tmp_path):
    """Theano finds that its loop in C was compiled, and continues without it until a function is made."""
    module = tmp_path / os.path.basename(theano.config.compiledir) / 'lazylinker_ext' / 'lazylinker_ext.so'
    module.parent.mkdir(parents=True)
    (module.parent / '__init__.py').write_text('_version = 0.211\n')
    result = run('-c', 'import charlstm', cwd=ROOT, env={'THEANO_FLAGS': FAST + f',base_compiledir={tmp_path}'})
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f'OSError: compiled code in {module} is damaged: remove {module.parent}, and start')
    assert not module.exists()


def finished(home):
    """Return what was written last for each file that is compiled, also while other files come and go."""
    return {path for name in ('key.pkl', '*' + modules.SUM)
            for path in glob.glob(str(home / HOME / '**' / name), recursive=True)}


def test_start_that_is_killed_loses_nothing_that_was_finished(tmp_path):
    """Each start is killed after it has finished two files more."""
    for _ in range(2):
        before = finished(tmp_path)
        process = start(PRODUCE, BUNDLED, '--score', __file__, env={'HOME': str(tmp_path), 'THEANO_FLAGS': ''})
        while len(finished(tmp_path)) < len(before) + 2:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.communicate()
        assert before < finished(tmp_path)
    last = run(PRODUCE, BUNDLED, tmp_path / 'out', '--length', 1, env={'HOME': str(tmp_path), 'THEANO_FLAGS': FAST})
    assert last.returncode == 0


def test_folder_that_two_processes_clean_at_once(tmp_path, monkeypatch):
    """Theano removes old folders when a process ends. Another one may have removed them since it looked."""
    def gone(path):
        raise FileNotFoundError(path)
    cmodule = theano.gof.cmodule
    cache = cmodule.ModuleCache(str(tmp_path))
    (tmp_path / 'tmpx').mkdir()
    (tmp_path / 'tmpx' / 'mod.cpp').touch()
    monkeypatch.setattr(cmodule, 'last_access_time', gone)
    cache.clear_unversioned()


def test_folder_that_goes_while_it_is_read(tmp_path, monkeypatch):
    """Theano removes empty folders that it found. The process that compiled in one may have removed it since then."""
    cmodule = theano.gof.cmodule
    other = tmp_path / 'tmpx'
    other.mkdir()
    lock = cmodule.compilelock.lock_ctx

    def gone(*arguments, **settings):
        if other.exists():
            other.rmdir()
        return lock(*arguments, **settings)
    monkeypatch.setattr(cmodule.compilelock, 'lock_ctx', gone)
    cmodule.ModuleCache(str(tmp_path))
    assert not other.exists()
