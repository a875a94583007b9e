"""The only importer of Theano: settings, what a user may have done before, errors, and which module imports what."""
import ast
import errno
import os
import resource
import shutil
import sys

import numpy as np
import pytest

from charlstm import CharLSTM
from damage import write_checkpoint
from engine.backend import patches
from engine.backend.theano_setup import CompilerError, compiling, computes_on, theano
from engine.terminal import BUNDLED
from scripts import (FAST, PRODUCE, ROOT, SMALL, TEXT, TRAIN, assert_changes_nothing, assert_refused, contents,
                     run, sequences, without_privileges, wrote)

MODULES = sorted(path for folder in ('.', 'engine', 'engine/*', 'text_input') for path in ROOT.glob(folder + '/*.py'))
PLAIN = FAST + ',cxx='                  # nothing is compiled
TWO_STEPS = '''
import charlstm
model = charlstm.CharLSTM(random_seed=1, kernel=False)
model.model_setup(char_dim=5, num_units1=3, num_units2=2)
print(float(model.theano_check([[0, 1], [2, 3]], [[1, 2], [3, 4]])[0]) > 1, model.p['c'].dtype)
'''


def python(code, flags=FAST, **changes):
    """Return standard output and errors of a process that runs code and ends well."""
    result = run('-c', code, cwd=ROOT, flags=flags, env=changes)
    assert result.returncode == 0, result.stderr
    return result.stdout, result.stderr


# ---------------------------------------------------------------- which module imports what

def imported(path):
    """Yield the modules that a file imports, and what it takes from each."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from ('{}.{}'.format(node.module, alias.name) for alias in node.names)


def test_one_module_imports_theano():
    importing = [path.name for path in MODULES if any(name.split('.')[0] == 'theano' for name in imported(path))]
    assert importing == ['theano_setup.py']


def test_imports_go_downwards_without_a_circle():
    """Nothing in engine/ imports the class or a script, and no module imports itself by way of others.

    Only the lesson, which nothing imports, may import the class.
    """
    names = {path: '.'.join(path.relative_to(ROOT).with_suffix('').parts) for path in MODULES}
    below = {name: set(names.values()) & set(imported(path)) for path, name in names.items()}
    lesson = {name for name in below if name.startswith('engine.lesson.')}
    for name in below:
        if name.startswith('engine.'):
            allowed = {'charlstm'} if name in lesson else set()
            assert all(other.startswith('engine.') or other in allowed for other in below[name]), name
        assert name in lesson or not below[name] & lesson, name
    while below:                                       # take away the modules that import none of the others
        lowest = {name for name in below if not below[name]}
        assert lowest, f'a circle in {sorted(below)}'
        below = {name: below[name] - lowest for name in below if name not in lowest}


def test_modules_that_need_no_theano():
    modules = ['state.text', 'state.checkpoint', 'state.parameters', 'files', 'run.schedule', 'run.run', 'run.options',
               'report', 'commands', 'run.recipe', 'terminal']
    out, _ = python('import sys, {}; print("theano" in sys.modules)'.format(
        ', '.join('engine.' + module for module in modules)))
    assert out == 'False\n'


@pytest.mark.parametrize('script', ['train', 'produce_text', 'text_input/fetch_novel'])
def test_help_imports_neither_numpy_nor_theano(script):
    """So that it answers at once."""
    code = ('import runpy, sys\nsys.argv = ["x.py", "--help"]\nsys.path.insert(0, ".")\ntry:\n    '
            'runpy.run_path("{}.py", run_name="__main__")\nexcept SystemExit as end:\n    '
            'print(end.code, {{"theano", "numpy"}} & set(sys.modules))').format(script)
    if script == 'text_input/fetch_novel':
        code = code.replace('"__main__"', '"other"') + '\nelse:\n    print(0, {"theano", "numpy"} & set(sys.modules))'
    assert python(code)[0].splitlines()[-1] == '0 set()'


# ---------------------------------------------------------------- an import of Theano before

@pytest.mark.skipif(patches.are_needed(), reason='Theano needs patches here to be imported')
@pytest.mark.parametrize('flags, warnings', [('', 1), (',floatX=float64', 0)])
def test_theano_imported_before(without, flags, warnings):
    """With the one flag that it needs with NumPy 1.22. Its settings stay, and a warning says what to do.

    It would import mpi4py, which fails outside of mpiexec where uv has installed it.
    """
    out, err = python('import theano\n' + TWO_STEPS, FAST + ',blas.ldflags=' + flags, **without('mpi4py'))
    lines = [line for line in err.splitlines() if line.startswith('charlstm: ')]
    assert out == 'True float64\n' and len(lines) == warnings and 'Traceback' not in err
    for line in lines:
        assert 'import charlstm first' in line and "theano.config.floatX = 'float32'" in line


@pytest.mark.skipif(patches.NUMPY < (1, 22), reason='Theano can be imported by itself with this NumPy')
def test_import_of_theano_failed_before(tmp_path):
    """As it does with NumPy 1.22 or later without a flag: what is left of it does no harm.

    It has an empty folder of compiled code: with what an older NumPy compiled, the import could succeed.
    """
    failing = ('import os\nflags = os.environ["THEANO_FLAGS"]\n'
               f'os.environ["THEANO_FLAGS"] = "base_compiledir={tmp_path}"\n'
               'try:\n    import theano\nexcept Exception as error:\n    print("failed")\n'
               'os.environ["THEANO_FLAGS"] = flags\n')
    out, err = python(failing + TWO_STEPS)
    assert out.endswith('failed\nTrue float32\n') and 'charlstm: ' not in err


@pytest.mark.skipif(patches.NUMPY < (1, 24), reason='with this NumPy Theano needs no patches')
def test_theano_imported_without_the_patches_is_refused():
    """As it can be without a compiler: its numbers would be others."""
    out, _ = python('import sys\nsys.modules["theano"] = sys\ntry:\n    import charlstm\n'
                    'except ImportError as error:\n    print(error)')
    assert out == ('theano was imported before charlstm, without the patches that NumPy '
                   f'{np.__version__} needs: import charlstm first\n')


# ---------------------------------------------------------------- settings

def test_environment_and_later_imports_of_theano():
    """THEANO_FLAGS are as before, and those that Theano does not know are named."""
    flags = FAST + ',devcie=cuda,fast_run'
    out, err = python('import os, charlstm, theano\nx = theano.tensor.vector()\nprint(os.environ["THEANO_FLAGS"])\n'
                      'print(theano is charlstm.theano, theano.function([x], x * 2)([1.5]))', flags)
    first, last = out.splitlines()
    assert first.endswith(flags) and 'blas' not in first and last == 'True [3.]'
    assert err == 'charlstm: THEANO_FLAGS has fast_run, devcie: Theano does not know that, and ignores it\n'


@pytest.mark.parametrize('flags, rc, expected', [
    ('', '', '{home}/.theano/charlstm/|30||float32'),
    (',base_compiledir=/a,base_compiledir={home}/mine,compile.timeout=7,blas.ldflags=-lm,floatX=float64', '',
     '{home}/mine/|7|-lm|float64'),
    ('', '[global]\nbase_compiledir = {home}/own\n[blas]\nldflags = -lx\n', '{home}/own/|30|-lx|float32')])
def test_settings_where_the_user_has_none_and_some(tmp_path, flags, rc, expected):
    """Where compiled code is, how long a process waits for a dead one on another machine, the BLAS and the type."""
    (tmp_path / 'rc').write_text(rc.format(home=tmp_path))
    out, _ = python('from engine.backend.theano_setup import theano\nc = theano.config\nprint(c.compiledir, '
                    'c.compile.timeout, c.blas.ldflags, c.floatX, sep="|")', HOME=str(tmp_path),
                    THEANORC=str(tmp_path / 'rc'), THEANO_FLAGS=PLAIN + flags.format(home=tmp_path))
    folder, *settings = expected.format(home=tmp_path).split('|')
    found, *values = out.rstrip('\n').split('|')
    assert found.startswith(folder) and values == settings


@pytest.mark.parametrize('variable', ['THEANORC', 'HOME'])
def test_settings_of_a_theanorc_take_precedence(tmp_path, variable):
    """With a comma in quotes in THEANO_FLAGS, and without a compiler, which is one line."""
    (tmp_path / '.theanorc').write_text('[global]\nfloatX = float64\n')
    path = str(tmp_path / '.theanorc') if variable == 'THEANORC' else '~/.theanorc'
    out, err = python(TWO_STEPS, f"{PLAIN},base_compiledir='{tmp_path}/c,d'", HOME=str(tmp_path), THEANORC=path)
    assert out == 'True float64\n' and err.count('\n') == 1 and 'no C++ compiler' in err


@pytest.mark.parametrize('script, name, value', [(TRAIN, 'device', 'cuda'), (PRODUCE, 'init_gpu_device', 'cuda1'),
                                                 (PRODUCE, 'contexts', 'dev0->cuda0')])
def test_device_that_cannot_be_used(folder, script, name, value):
    """Theano would continue without it, on the CPU."""
    arguments = ['t.txt', 'r', *SMALL, '--output-dir', 'results'] if script == TRAIN else [
        write_checkpoint('p.npz'), 'out']
    assert_changes_nothing(folder, run, script, *arguments, flags=f'{FAST},{name}={value}',
                           words=[f'{name}={value}', 'cannot be used', 'pygpu is not installed', 'THEANO_FLAGS='])


PYGPU = """
__version__ = '0.7.6'
raise ImportError('libgpuarray.so.3: cannot open shared object file')
"""


def test_device_set_in_a_file_that_its_library_does_not_find(tmp_path):
    """With a stub of pygpu, as Theano calls it."""
    (tmp_path / 'pygpu').mkdir()
    (tmp_path / 'pygpu' / '__init__.py').write_text(PYGPU)
    (tmp_path / 'pygpu' / 'gpuarray.py').write_text('')
    (tmp_path / 'rc').write_text('[global]\ndevice = cuda3\n')
    result = run('-c', 'import charlstm', cwd=ROOT, flags=FAST,
                 env={'THEANORC': str(tmp_path / 'rc'), 'PYTHONPATH': str(tmp_path)})
    assert result.stderr.splitlines()[-1].startswith(
        'ValueError: THEANO_FLAGS or .theanorc sets device=cuda3, which cannot be used (')
    assert 'pygpu is not installed' not in result.stderr


@pytest.mark.parametrize('flags, rc, words', [
    ('device=gpu', '', ['device=cuda']), ("cxx='g++", '', ['No closing quotation']),
    ('', 'floatX = float64\n', ['no section headers']), ('', '[global]\nallow_gc = perhaps\n', ['allow_gc']),
    ('', b'[global]\nmode = \xff\n', ['0xff'])], ids=repr)
def test_settings_that_theano_cannot_read(folder, tmp_path_factory, flags, rc, words):
    path = tmp_path_factory.mktemp('rc') / 'rc'
    path.write_bytes(rc if isinstance(rc, bytes) else rc.encode())
    write_checkpoint('p.npz')
    assert_changes_nothing(folder, run, PRODUCE, 'p.npz', 'out', flags=flags, env={'THEANORC': str(path)},
                           words=[*words, f'THEANO_FLAGS or {path} cannot be used as settings of Theano'])


@pytest.mark.parametrize('flags, expected', [
    ({}, 'the CPU, 3 threads, by the C kernel, in float32'),
    (dict(floatX='float64'), 'the CPU, 3 threads, by the C kernel, in float64'),
    (dict(cxx=''), 'the CPU, 3 threads, by theano.scan, many times slower than the C kernel, in float32')])
def test_computes_on(monkeypatch, flags, expected):
    """Without a compiler theano.scan replaces the kernel."""
    monkeypatch.setenv('OMP_NUM_THREADS', '3')
    with theano.change_flags(**flags):
        model = CharLSTM()
        assert model.runs_in_c() == (flags.get('cxx') != '')
        assert computes_on(model.runs_in_c()) == expected
        assert computes_on(model.runs_in_c(), 'AMX') == expected + ', products in bfloat16 (AMX)'


# ---------------------------------------------------------------- Pythons and packages

def pretended(version, script):
    """Return arguments that make this Python run a script as another version of it."""
    older = 'import shlex; del shlex.join; ' * (version < (3, 8))              # which 3.7 does not have
    return ['-c', older + 'import runpy, sys; sys.version_info = {}; sys.path.insert(0, {!r}); '
                          'runpy.run_path({!r}, run_name="__main__")'.format(version, str(ROOT), str(script))]


@pytest.mark.parametrize('script', [TRAIN, PRODUCE], ids=['train', 'produce_text'])
def test_python_that_is_too_old(script, tmp_path):
    """One line says so. It does not advise to install for it what does not run on it."""
    result = run(*pretended((3, 7, 0), script), 'x y', cwd=tmp_path, env={'PYTHONDONTWRITEBYTECODE': '1'})
    assert_refused(result, ': this is Python 3.', 'CharLSTM runs on Python 3.8 and later')
    assert 'install' not in result.stderr and list(tmp_path.iterdir()) == []


def test_what_runs_before_the_version_is_checked_has_no_newer_syntax():
    for path in [*ROOT.glob('*.py'), *ROOT.glob('engine/*.py'), *ROOT.glob('engine/run/*.py'),
                 ROOT / 'engine/backend/theano_setup.py']:
        ast.parse(path.read_text(encoding='utf-8'), feature_version=(3, 6))


@pytest.mark.skipif(sys.version_info < (3, 12), reason='six, of that Python, cannot be imported as on another')
def test_python_that_was_not_tested():
    _, err = python('import sys; sys.version_info = (3, 15, 0, "final", 0)\nimport charlstm')
    assert err.startswith('charlstm: this is Python 3.15, on which nobody has tested CharLSTM yet\n')


@pytest.mark.skipif(not shutil.which('clang++'), reason='clang++ is not installed')
def test_options_for_clang_are_added_to_those_of_the_user():
    """Also to options with commas and quotation marks."""
    flags = FAST + ',cxx=clang++,gcc.cxxflags="-Wl,-rpath,/x -DA=1"'
    out, _ = python('from engine.backend.theano_setup import theano\nprint(theano.config.gcc.cxxflags)', flags)
    assert out == '-Wl,-rpath,/x -DA=1 -Wno-c++11-narrowing\n'


def test_python_without_the_global_lock_is_refused():
    code = ('import sysconfig\nvalue = sysconfig.get_config_var\n'
            'sysconfig.get_config_var = lambda name: name == "Py_GIL_DISABLED" or value(name)\nimport charlstm')
    error = run('-c', code, cwd=ROOT).stderr.splitlines()[-1]
    assert error.startswith('ImportError: this is Python 3.') and 'without the global interpreter lock' in error


def test_python_without_docstrings(tmp_path):
    """Theano takes its own apart."""
    result = run(PRODUCE, BUNDLED, tmp_path / 'out', env={'PYTHONOPTIMIZE': '2', 'PYTHONDONTWRITEBYTECODE': '1'})
    assert_refused(result, 'started with -OO', 'docstrings: leave that out')


def test_theano_that_cannot_be_imported(tmp_path):
    """As with a Python or NumPy of the future: one line."""
    (tmp_path / 'theano').mkdir()
    (tmp_path / 'theano' / '__init__.py').write_text('import numpy\nnumpy.gone_tomorrow\n')
    result = run(PRODUCE, BUNDLED, tmp_path / 'out', env={'PYTHONPATH': str(tmp_path)})
    assert_refused(result, 'Theano 1.0.5 cannot be imported', 'gone_tomorrow', 'install -r')


# ---------------------------------------------------------------- no compiler, or no place for compiled code

def test_no_header_of_python_is_said_in_one_line():
    """As on Debian without python3-dev: a compiler by itself does not help then."""
    out, err = python('import sysconfig; sysconfig.get_path = lambda *names, **more: "/no/such"\n' + TWO_STEPS)
    assert out == 'True float32\n' and err.count('\n') == 1
    package = 'python{}.{}-dev'.format(*sys.version_info)
    assert '/no/such/Python.h is missing' in err and package in err and 'conda and uv' in err


@pytest.mark.parametrize('flags, words', [
    (f'cxx={shutil.which("false")}', ['the C++ compiler does not work', 'g++', 'THEANO_FLAGS=cxx=']),
    (f'base_compiledir={theano.config.base_compiledir},cxx=/no/such/g++',          # where there is compiled code
     ['the C++ compiler does not work (/no/such/g++ cannot be run)', 'apt install g++', 'THEANO_FLAGS=cxx=']),
    ('base_compiledir=/dev/null/x', ['cannot keep compiled code', '/dev/null/x', 'THEANO_FLAGS=base_compiledir='])],
    ids=['compiler', 'missing', 'folder'])
def test_compiler_or_folder_that_does_not_work(folder, tmp_path_factory, flags, words):
    """Theano's import already needs it. The line says what to do."""
    write_checkpoint('p.npz')
    cold = 'base_compiledir={},'.format(tmp_path_factory.mktemp('cold')) * flags.startswith('cxx')
    assert_changes_nothing(folder, run, PRODUCE, 'p.npz', 'out', env={'THEANO_FLAGS': cold + flags}, words=words)


@pytest.mark.parametrize('program, error, words', [
    (None, CompilerError, 'cannot be run'), ('false', CompilerError, 'failed (status 1'),
    ('true', CompilerError, 'failed (status 0')])
def test_compiler_that_fails_after_the_import(program, error, words, tmp_path, refused, capfd):
    """As with a folder of compiled code from when there was another one."""
    cxx = shutil.which(program) if program else str(tmp_path / 'nonexistent')
    with theano.change_flags(cxx=cxx), refused(error, words), compiling():
        theano.gof.cmodule.GCC_compiler.compile_str('m', '', location=str(tmp_path))
    assert capfd.readouterr() == ('', '')


def test_scripts_without_a_compiler(tmp_path):
    (tmp_path / 't.txt').write_text(TEXT[:100], encoding='utf-8')
    out, small = tmp_path / 'out', [*SMALL, '--epochs', 1, '--output-dir', tmp_path]
    trained = run(TRAIN, tmp_path / 't.txt', 'r', *small, flags=PLAIN)
    assert trained.returncode == 0 and trained.stderr.count('\n') == 1
    assert '\ncomputes on the CPU, ' in trained.stdout and ' by theano.scan, ' in trained.stdout
    written = run(PRODUCE, tmp_path / 'r_t.txt_epoch1.npz', out, '--length', 9, flags=PLAIN)
    assert wrote(written, out, warned=1) == '\n\n'.join(sequences(contents(out), 5, 9)) + '\n'
    for warning in (trained.stderr, written.stderr.splitlines()[0]):
        assert 'C++ compiler' in warning and 'install' in warning


def test_folder_of_compiled_code_that_may_not_be_written(tmp_path):
    """As one that another user made. The compiler is not to blame."""
    folder = tmp_path / 'own' / os.path.basename(theano.config.compiledir)
    folder.mkdir(0o500, parents=True)
    result = run(PRODUCE, BUNDLED, tmp_path / 'out', flags=f'base_compiledir={tmp_path / "own"}',
                 preexec_fn=without_privileges)
    assert_refused(result, f'cannot keep compiled code in {tmp_path / "own"}', 'permissions',
                   'THEANO_FLAGS=base_compiledir=')


@pytest.mark.parametrize('number, room', [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EROFS, False),
                                          (errno.ENOENT, False)])
def test_advice_to_make_room_only_where_that_helps(number, room):
    with pytest.raises(OSError, match=f'cannot keep .*{os.strerror(number)}.* name another') as caught, compiling():
        raise OSError(number, os.strerror(number), 'module.so')
    assert ('make room' in str(caught.value)) == room


def test_no_room_for_compiled_code(tmp_path):
    """No file may be larger than a kilobyte."""
    result = run(PRODUCE, BUNDLED, tmp_path / 'out', '--count', 1, flags=f'{FAST},base_compiledir={tmp_path / "own"}',
                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)))
    assert (result.returncode, result.stdout) == (2, '')
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f'produce_text.py: cannot keep compiled code in {tmp_path / "own"}: File too large')
