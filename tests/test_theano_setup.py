"""The only importer of Theano: its settings, what cannot be used, and the imports of all modules."""
import ast
import graphlib
import resource
import shutil

import pytest

from scripts import FAST, ROOT, run

MODULES = sorted(path for folder in ('.', 'engine', 'engine/*', 'text_input') for path in ROOT.glob(folder + '/*.py'))
PLAIN = FAST + ',cxx='                  # nothing is compiled
TWO_STEPS = '''
import charlstm
model = charlstm.CharLSTM(random_seed=1, kernel=False)
model.model_setup(char_dim=5, num_units1=3, num_units2=2)
print(float(model.theano_check([[0, 1], [2, 3]], [[1, 2], [3, 4]])[0]) > 1, model.p['c'].dtype)
'''
IN_C = TWO_STEPS.replace('kernel=False', 'kernel=True')


def python(code, flags=FAST, **changes):
    """Return the standard output and error of a process that runs code, after asserting that it succeeded."""
    result = run('-c', code, cwd=ROOT, flags=flags, env=changes)
    assert result.returncode == 0, result.stderr
    return result.stdout, result.stderr


def imported(path):
    """Yield the modules that a file imports, and the names that it imports from them."""
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
    """Nothing in engine/ except the lesson imports the class or a script."""
    names = {path: '.'.join(path.relative_to(ROOT).with_suffix('').parts) for path in MODULES}
    below = {name: set(names.values()) & set(imported(path)) for path, name in names.items()}
    lesson = {name for name in below if name.startswith('engine.lesson.')}
    for name, others in below.items():
        if name.startswith('engine.') and name not in lesson:
            assert all(other.startswith('engine.') for other in others - lesson) and not others & lesson, name
    graphlib.TopologicalSorter(below).prepare()        # raises CycleError


@pytest.mark.parametrize('flags, rc, expected', [
    ('', '', ['.theano/charlstm/', '', 'float32']),
    (',base_compiledir="{home}/c,d é",blas.ldflags=-lm,floatX=float64', '', ['c,d é/', '-lm', 'float64']),
    (',compiledir={home}/mine', '[blas]\nldflags = -lx\n', ['mine', '-lx', 'float32']),
    (',floatX=float32', '[global]\nfloatX = float64\n', ['.theano/charlstm/', '', 'float32'])])
def test_settings_where_the_user_has_none_and_some(tmp_path, flags, rc, expected):
    """The BLAS, the type and the folder of compiled code."""
    (tmp_path / 'rc').write_text(rc)
    out, _ = python('from engine.backend.theano_setup import theano\nc = theano.config\nprint(c.compiledir, '
                    'c.blas.ldflags, c.floatX, sep="|")', HOME=str(tmp_path), THEANORC=str(tmp_path / 'rc'),
                    THEANO_FLAGS=PLAIN + flags.format(home=tmp_path))
    folder, *values = out.rstrip('\n').split('|')
    assert folder.startswith(f'{tmp_path}/{expected[0]}') and values == expected[1:]


def full_disk():
    """Imitate a full disk in this process, by a file size limit of a kilobyte."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


@pytest.mark.parametrize('flags, before, words', [
    ('cxx=/no/such/g++', None, ['/no/such/g++ cannot be run', 'apt install g++', 'THEANO_FLAGS=cxx=']),
    ('cxx={false},base_compiledir={folder}', None, ['compiler.CompilerError: the C++ compiler failed (1']),
    ('base_compiledir=/dev/null/x', None, ['OSError: cannot save', '/dev/null/x', '. Check the permissions; ']),
    ('base_compiledir={folder}', full_disk, ['OSError: cannot save compiled code', 'File too large'])])
def test_compiler_or_folder_that_cannot_be_used(tmp_path, flags, before, words):
    """Theano would continue without it, or fail in its own import. The last line says what to do."""
    names = dict(false=shutil.which('false'), folder=tmp_path)
    result = run('-c', IN_C, cwd=ROOT, preexec_fn=before,
                 env={'THEANO_FLAGS': flags.format(**names), 'PYTHONDONTWRITEBYTECODE': '1'})
    assert result.returncode == 1
    for word in words:
        assert word.format(**names) in result.stderr.splitlines()[-1]


@pytest.mark.parametrize('flags', [FAST, PLAIN])
def test_without_the_header_of_python_and_a_compiler(flags):
    """The header is missing on Debian without python3-dev. Neither is needed, and nothing is said."""
    before = 'import sysconfig; sysconfig.get_path = lambda *names, **more: "/no/such"'
    assert python(before + TWO_STEPS, flags=flags) == ('True float32\n', '')
