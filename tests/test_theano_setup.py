"""The only importer of Theano: what is set before, what a user may have done before, and which module imports what."""
import ast
import glob
import os
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest

from charlstm import CharLSTM
from damage import write_checkpoint
from engine.backend import patches
from engine.kernel.ops import Kernel
from engine.kernel.scan import Scan
from engine.backend.theano_setup import CompilerError, compiling, theano
from numpy_model import NAMES
from produce_text import BUNDLED
from scripts import (FAST, PRODUCE, ROOT, SMALL, TEXT, TRAIN, assert_changes_nothing, assert_refused, contents,
                     environment, load, run, sequences, succeeded, without_privileges,
                     wrote)

MODULES = sorted(path for pattern in ('*.py', 'engine/*.py', 'engine/*/*.py', 'text_input/*.py') for path in ROOT.glob(pattern))
TWO_STEPS = '''
import charlstm
model = charlstm.CharLSTM(random_seed=1, kernel=False)
model.model_setup(char_dim=5, num_units1=3, num_units2=2)
print(float(model.theano_check([[0, 1], [2, 3]], [[1, 2], [3, 4]])[0]) > 1, model.p['c'].dtype)
'''


def python(code, flags=FAST, **changes):
    """Standard output and error of a process that runs code and ends well."""
    result = subprocess.run([sys.executable, '-c', code], cwd=str(ROOT), env=environment(flags, **changes),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8')
    assert result.returncode == 0, result.stderr
    return result.stdout, result.stderr


def imported(path):
    """The modules that a file imports, with what is taken from each."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from ('{}.{}'.format(node.module, alias.name) for alias in node.names)


# ---------------------------------------------------------------- who imports what

def test_one_module_imports_theano():
    importing = [path.name for path in MODULES if any(name.split('.')[0] == 'theano' for name in imported(path))]
    assert importing == ['theano_setup.py']


def test_imports_go_downwards_without_a_circle():
    """Scripts, class, engine: no module of the engine imports one above it, nor itself by way of others."""
    names = {path: '.'.join(path.relative_to(ROOT).with_suffix('').parts) for path in MODULES}
    below = {name: {other for other in names.values() if other in set(imported(path))} for path, name in names.items()}
    for name, others in below.items():
        if name.startswith('engine.'):
            assert all(other.startswith('engine.') for other in others), name

    def reached(name, seen=()):
        assert name not in seen, seen
        for other in below[name]:
            reached(other, seen + (name,))
    for name in below:
        reached(name)


@pytest.mark.parametrize('module', ['state.text', 'state.checkpoint', 'state.parameters', 'files', 'run.schedule', 'run.run',
                                    'run.options', 'report', 'commands', 'run.recipe', 'terminal'])
def test_module_that_needs_no_theano(module):
    out, _ = python('import sys, engine.{}; print("theano" in sys.modules)'.format(module))
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


# ---------------------------------------------------------------- the user's own import

by_itself = pytest.mark.skipif(patches.needed(), reason='Theano needs patches here to be imported')


@by_itself
def test_theano_imported_before(without):
    """With the one flag that it needs beside NumPy 1.22 and later; its settings stay, and what to do is said.

    It would import mpi4py, which fails outside of mpiexec where uv has installed it.
    """
    out, err = python('import theano\n' + TWO_STEPS, FAST + ',blas.ldflags=', **without('mpi4py'))
    ours = [line for line in err.splitlines() if line.startswith('charlstm: ')]
    assert out == 'True float64\n' and len(ours) == 1 and 'Traceback' not in err
    assert 'import charlstm first' in ours[0] and "theano.config.floatX = 'float32'" in ours[0]


@by_itself
def test_theano_imported_before_with_the_users_own_type(without):
    out, err = python('import theano\n' + TWO_STEPS, FAST + ',blas.ldflags=,floatX=float64', **without('mpi4py'))
    assert out == 'True float64\n' and 'charlstm: ' not in err


@pytest.mark.skipif(patches.NUMPY < (1, 22), reason='Theano can be imported by itself beside this NumPy')
def test_import_of_theano_failed_before(tmp_path):
    """As it does beside NumPy 1.22 or later without a flag; what is left of it does not get in the way.

    In an empty folder of compiled code: what an older NumPy compiled there could let the import succeed.
    """
    failing = (f'import os\nflags = os.environ["THEANO_FLAGS"]\nos.environ["THEANO_FLAGS"] = "base_compiledir={tmp_path}"\n'
               'try:\n    import theano\nexcept Exception as error:\n    print("failed")\n'
               'os.environ["THEANO_FLAGS"] = flags\n')
    out, err = python(failing + TWO_STEPS)
    assert out.endswith('failed\nTrue float32\n') and 'charlstm: ' not in err


@pytest.mark.skipif(patches.NUMPY < (1, 24), reason='beside this NumPy Theano needs no patches')
def test_theano_imported_without_the_patches_is_refused():
    """As it can be without a compiler: its numbers would be others."""
    out, _ = python('import sys\nsys.modules["theano"] = sys\ntry:\n    import charlstm\n'
                    'except ImportError as error:\n    print(error)')
    assert out == ('theano was imported before charlstm, without the patches that NumPy '
                   f'{np.__version__} needs: import charlstm first\n')


def test_theano_imported_after():
    out, _ = python('import charlstm, theano\nx = theano.tensor.vector()\n'
                    'print(theano is charlstm.theano, theano.function([x], x * 2)([1.5]))')
    assert out == 'True [3.]\n'


def test_flags_of_the_environment_are_as_before():
    out, _ = python('import os, charlstm; print(os.environ["THEANO_FLAGS"])')
    assert out.strip().endswith(FAST) and 'blas' not in out


@pytest.mark.parametrize('flags, expected', [
    (FAST, ['{home}/.theano/charlstm/', '30', '']),
    (FAST + ',base_compiledir={home}/mine,compile.timeout=7,blas.ldflags=-lm', ['{home}/mine/', '7', '-lm']),
    (FAST + ',compiledir={home}/this', ['{home}/this', '30', ''])], ids=['none', 'some', 'compiledir'])
def test_settings_where_the_user_has_none(tmp_path, flags, expected):
    """Where compiled code is kept, how long a dead process on another machine is waited for, and the BLAS."""
    out, _ = python('from engine.backend.theano_setup import theano\nc = theano.config\nprint(c.compiledir, '
                    'c.compile.timeout, c.blas.ldflags, sep="|")',
                    HOME=str(tmp_path), THEANO_FLAGS=flags.format(home=tmp_path))
    folder, timeout, blas = out.rstrip('\n').split('|')
    assert folder.startswith(expected[0].format(home=tmp_path)) and [timeout, blas] == expected[1:]


@pytest.mark.parametrize('way', ['THEANO_FLAGS', 'THEANORC', '.theanorc'])
def test_the_users_theano_settings_win(trained, tmp_path, way):
    (tmp_path / 't.txt').write_text(TEXT[:100])
    (tmp_path / '.theanorc').write_text('' if way == 'THEANO_FLAGS' else '[global]\nfloatX = float64\n')
    env = {'HOME': str(tmp_path), 'MPLCONFIGDIR': str(trained.folder / 'matplotlib'),
           'THEANORC': str(tmp_path / '.theanorc') if way == 'THEANORC' else '~/.theanorc'}
    flags = FAST + ',floatX=float64' * (way == 'THEANO_FLAGS')
    succeeded(run(TRAIN, tmp_path / 't.txt', 'r', *SMALL, '--epochs', 1, '--output-dir', tmp_path, flags=flags,
                  env=env))
    stored = load(tmp_path / 'r_t.txt_epoch1.npz')
    assert {stored[name].dtype for name in NAMES} == {np.dtype('float64')}


# ---------------------------------------------------------------- settings that cannot be met

@pytest.mark.parametrize('script', [TRAIN, PRODUCE], ids=['train', 'produce_text'])
@pytest.mark.parametrize('name, value', [('device', 'cuda'), ('device', 'opencl0:0'), ('init_gpu_device', 'cuda1'),
                                         ('contexts', 'dev0->cuda0')])
def test_device_that_cannot_be_had(folder, script, name, value):
    """Theano would go on without it, on the CPU."""
    arguments = ['t.txt', 'r', *SMALL, '--output-dir', 'results'] if script == TRAIN else [
        write_checkpoint('p.npz'), 'out']
    assert_changes_nothing(folder, run, script, *arguments, flags=f'{FAST},{name}={value}',
                           words=[f'{name}={value}', 'cannot be had', 'pygpu is not installed', 'THEANO_FLAGS='])


def test_device_set_in_a_file_that_its_library_does_not_find(tmp_path):
    """With a stub of pygpu, as Theano calls it."""
    (tmp_path / 'pygpu').mkdir()
    (tmp_path / 'pygpu' / '__init__.py').write_text(PYGPU)
    (tmp_path / 'pygpu' / 'gpuarray.py').write_text('')
    (tmp_path / 'rc').write_text('[global]\ndevice = cuda3\n')
    result = run('-c', 'import charlstm', cwd=ROOT, flags=FAST,
                 env={'THEANORC': str(tmp_path / 'rc'), 'PYTHONPATH': str(tmp_path)})
    assert result.stderr.splitlines()[-1].startswith(
        'ValueError: THEANO_FLAGS or .theanorc asks for device=cuda3, which cannot be had (')
    assert 'pygpu is not installed' not in result.stderr


PYGPU = """
__version__ = '0.7.6'
raise ImportError('libgpuarray.so.3: cannot open shared object file')
"""


@pytest.mark.parametrize('flags, rc, words', [
    ('floatX=float31', '', ['THEANO_FLAGS or ', 'float31', 'floatX']), ('device=gpu', '', ['device=cuda']),
    ("cxx='g++", '', ['THEANO_FLAGS cannot', 'No closing quotation']),
    ('', 'floatX = float64\n', ['/rc cannot', 'no section headers']),
    ('', '[global]\nmode = slow\n', ['/rc cannot', 'FAST_RUN']),
    ('', '[global]\nallow_gc = perhaps\n', ['/rc cannot', 'allow_gc']),
    ('', '[global]\nfloatX = float32\nfloatX = float64\n', ['/rc cannot', 'already exists']),
    ('', b'[global]\nmode = \xff\n', ['/rc cannot', '0xff'])], ids=repr)
def test_junk_in_the_settings_is_said_to_be_that(folder, tmp_path_factory, flags, rc, words):
    path = tmp_path_factory.mktemp('rc') / 'rc'
    path.write_bytes(rc if isinstance(rc, bytes) else rc.encode())
    write_checkpoint('p.npz')
    assert_changes_nothing(folder, run, PRODUCE, 'p.npz', 'out', flags=flags, env={'THEANORC': str(path)},
                           words=[*words, 'settings of Theano'])


def test_flag_with_a_comma_in_quotes_is_one(tmp_path):
    out, err = python(TWO_STEPS, f"{FAST},cxx=,base_compiledir='{tmp_path}/c,d'")
    assert out == 'True float32\n' and err.count('\n') == 1 and 'no C++ compiler' in err


def test_flags_that_theano_does_not_know_are_named():
    out, err = python(TWO_STEPS, FAST + ',devcie=cuda,fast_run')
    assert out == 'True float32\n'
    assert err == ('charlstm: THEANO_FLAGS has fast_run, devcie: Theano does not know that, and ignores it\n')


@pytest.mark.parametrize('flags, expected', [
    ('', 'the CPU, 3 threads, by the C kernel, in float32'),
    (',floatX=float64', 'the CPU, 3 threads, by the C kernel, in float64'),
    (',cxx=', 'the CPU, 3 threads, by theano.scan, many times slower than the C kernel, in float32')])
def test_start_says_what_it_computes_on(flags, expected):
    out, _ = python('from charlstm import CharLSTM; from engine.backend.theano_setup import computes_on; '
                    'print(computes_on(CharLSTM().runs_in_c()))', FAST + flags, OMP_NUM_THREADS='3')
    assert out == expected + '\n'


def test_training_says_what_it_computes_on(trained):
    said = [line for line in trained.result.stdout.splitlines() if line.startswith('computes on the CPU, ')]
    assert len(said) == 1 and said[0].endswith(' by the C kernel, in float32')


# ---------------------------------------------------------------- Pythons

def other_pythons():
    """The interpreters of this machine that are too old."""
    more = glob.glob(os.path.expanduser('~/.pyenv/versions/*/bin/python'))
    for path in [shutil.which(name) for name in ('python3.6', 'python3.7')] + more:
        asked = path and subprocess.run([path, '-c', 'import sys; print(sys.version_info[:2])'],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding='utf-8')
        version = ast.literal_eval(asked.stdout) if asked and asked.returncode == 0 else None
        if version and (3, 6) <= version < (3, 8):
            yield path


def pretended(version, script):
    """Arguments that make this Python run a script as another version of it."""
    older = 'import shlex; del shlex.join; ' * (version < (3, 8))              # which 3.7 does not have
    return ['-c', older + 'import runpy, sys; sys.version_info = {}; sys.path.insert(0, {!r}); '
                          'runpy.run_path({!r}, run_name="__main__")'.format(version, str(ROOT), str(script))]


@pytest.mark.parametrize('script', [TRAIN, PRODUCE], ids=['train', 'produce_text'])
def test_python_that_is_too_old(script, tmp_path):
    """A line says so, and does not advise to install for it what does not run on it."""
    here = tmp_path / 'here'
    here.mkdir()
    others = [[path, str(script)] for path in other_pythons()]
    for command in [[sys.executable, *pretended((3, 7, 0), script)], *others]:
        result = subprocess.run([*command, 'x y'], cwd=str(here), env=environment(PYTHONDONTWRITEBYTECODE='1'),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8')
        assert_refused(result, ': this is Python 3.', 'CharLSTM runs on Python 3.8 and later')
        assert 'install' not in result.stderr
    assert list(here.iterdir()) == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason='six, of that Python, cannot be imported as on another')
def test_python_that_was_not_tried(tmp_path):
    """It goes on, and says once that nobody has tried it."""
    result = run(*pretended((3, 14, 0, 'final', 0), PRODUCE), BUNDLED, tmp_path / 'out', '--count', 1, flags='cxx=')
    assert result.returncode == 0 and len(contents(tmp_path / 'out')) > 100
    assert result.stderr.count('this is Python 3.14: nobody has tried CharLSTM on it yet, and it goes on\n') == 1


def test_theano_that_cannot_be_imported(tmp_path):
    """As it may be on a Python or beside a NumPy of tomorrow: one line."""
    (tmp_path / 'theano').mkdir()
    (tmp_path / 'theano' / '__init__.py').write_text('import numpy\nnumpy.gone_tomorrow\n')
    result = run(PRODUCE, BUNDLED, tmp_path / 'out', env={'PYTHONPATH': str(tmp_path)})
    assert_refused(result, 'Theano 1.0.5 cannot be imported', 'gone_tomorrow', 'install -r')


# ---------------------------------------------------------------- no compiler

def test_no_compiler_is_said_in_one_line():
    out, err = python(TWO_STEPS, FAST + ',cxx=')
    assert out == 'True float32\n' and err.count('\n') == 1 and 'no C++ compiler' in err


def test_no_header_of_python_is_said_in_one_line():
    """As on Debian without python3-dev: a compiler alone does not help then."""
    out, err = python('import sysconfig; sysconfig.get_path = lambda *names, **more: "/no/such"\n' + TWO_STEPS)
    assert out == 'True float32\n' and err.count('\n') == 1
    package = 'python{}.{}-dev'.format(*sys.version_info)
    assert '/no/such/Python.h is missing' in err and package in err and 'conda and uv' in err


@pytest.mark.parametrize('flags, words', [
    ('cxx=' + str(shutil.which('false')), ['the C++ compiler does not work', 'g++', 'THEANO_FLAGS=cxx=']),
    ('base_compiledir=/dev/null/x', ['cannot keep compiled code', '/dev/null/x', 'THEANO_FLAGS=base_compiledir='])],
    ids=['compiler', 'folder'])
def test_compiler_or_folder_that_does_not_work(folder, tmp_path_factory, flags, words):
    """Where Theano's import already needs it; refused with what to do about it."""
    write_checkpoint('p.npz')
    cold = 'base_compiledir={},'.format(tmp_path_factory.mktemp('cold')) * flags.startswith('cxx')
    assert_changes_nothing(folder, run, PRODUCE, 'p.npz', 'out', env={'THEANO_FLAGS': cold + flags}, words=words)


@pytest.mark.parametrize('program, words', [(None, 'cannot be run'), ('true', 'compiles nothing'),
                                            ('false', 'Compilation failed')])
def test_compiler_that_fails_after_the_import(program, words, tmp_path, refused, capfd):
    """As with a folder of compiled code from when there was another."""
    cxx = shutil.which(program) if program else str(tmp_path / 'nonexistent')
    with theano.change_flags(cxx=cxx), refused(CompilerError, words), compiling():
        theano.gof.cmodule.GCC_compiler.compile_str('m', '', location=str(tmp_path))
    assert capfd.readouterr() == ('', '')


def test_without_a_compiler(tmp_path):
    (tmp_path / 't.txt').write_text(TEXT[:100])
    out = tmp_path / 'out'
    learned = run(TRAIN, tmp_path / 't.txt', 'r', *SMALL, '--epochs', 1, '--output-dir', tmp_path, flags='cxx=,' + FAST)
    assert learned.returncode == 0 and learned.stderr.count('\n') == 1
    written = run(PRODUCE, tmp_path / 'r_t.txt_epoch1.npz', out, flags='cxx=')
    assert wrote(written, out, warned=1) == '\n\n'.join(sequences(contents(out), 5, 100)) + '\n'
    for warning in (learned.stderr, written.stderr.splitlines()[0]):
        assert 'C++ compiler' in warning and 'install' in warning


def test_without_compiler_theano_scan_is_used():
    assert isinstance(CharLSTM()._ops(), Kernel)
    with theano.change_flags(cxx=''):
        assert isinstance(CharLSTM()._ops(), Scan)


def test_folder_of_compiled_code_that_may_not_be_written(tmp_path):
    """As one that another user made; it is not the compiler's fault."""
    folder = tmp_path / 'kept' / os.path.basename(theano.config.compiledir)
    folder.mkdir(0o500, parents=True)
    result = run(PRODUCE, BUNDLED, tmp_path / 'out', flags=f'base_compiledir={tmp_path / "kept"}',
                 preexec_fn=without_privileges)
    assert_refused(result, f'cannot keep compiled code in {tmp_path / "kept"}', 'permissions',
                   'THEANO_FLAGS=base_compiledir=')


def test_no_room_for_compiled_code(tmp_path):
    """No file may be larger than a kilobyte."""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    result = run(PRODUCE, BUNDLED, tmp_path / 'out', '--count', 1, flags=f'{FAST},base_compiledir={tmp_path / "kept"}',
                 preexec_fn=limit)
    assert (result.returncode, result.stdout) == (2, '')
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f'produce_text.py: cannot keep compiled code in {tmp_path / "kept"}: File too large')
