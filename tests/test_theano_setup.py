"""The one door to Theano: what is set before its import, what a user may have done before, and who goes through it."""
import ast
import subprocess
import sys

import pytest

from scripts import FAST, ROOT, environment

MODULES = sorted(path for pattern in ('*.py', 'engine/*.py', 'text_input/*.py') for path in ROOT.glob(pattern))
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


@pytest.mark.parametrize('module', ['text', 'checkpoint', 'parameters', 'files', 'schedule', 'run', 'options'])
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

def test_theano_imported_before():
    """With the one flag that it needs beside today's NumPy; floatX is ours all the same, and that is said."""
    out, err = python('import theano\n' + TWO_STEPS, FAST + ',blas.ldflags=')
    ours = [line for line in err.splitlines() if line.startswith('charlstm: ')]
    assert out == 'True float32\n' and len(ours) == 1 and 'floatX' in ours[0] and 'Traceback' not in err


def test_theano_imported_before_with_the_users_own_type():
    out, err = python('import theano\n' + TWO_STEPS, FAST + ',blas.ldflags=,floatX=float64')
    assert out == 'True float64\n' and 'charlstm: ' not in err


def test_import_of_theano_failed_before():
    """As it does beside NumPy 1.22 or later without a flag; what is left of it does not get in the way."""
    out, err = python('try:\n    import theano\nexcept Exception as error:\n    print(type(error).__name__)\n' + TWO_STEPS)
    assert out == 'AttributeError\nTrue float32\n' and 'charlstm: ' not in err


def test_flags_of_the_environment_are_as_before():
    out, _ = python('import os, charlstm; print(os.environ["THEANO_FLAGS"])')
    assert out.strip().endswith(FAST) and 'blas' not in out


@pytest.mark.parametrize('minor, wrong', [(7, True), (12, True), (13, True)])
def test_python_that_theano_does_not_run_on(minor, wrong):
    code = ('import sys\nsys.version_info = (3, {}, 1, "final", 0)\ntry:\n    import charlstm\n'
            'except ImportError as error:\n    print(error)').format(minor)
    out, _ = python(code)
    assert 'Python 3.{}'.format(minor) in out and '3.8 to 3.11' in out and out.count('\n') == 1


def test_no_compiler_is_said_in_one_line():
    out, err = python(TWO_STEPS, FAST + ',cxx=')
    assert out == 'True float32\n' and err.count('\n') == 1 and 'no C++ compiler' in err
