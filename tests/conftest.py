"""What all tests share: the repository's root on sys.path, and models that are compiled once.

The model is there twice, with the kernel and with theano.scan. The
kernel is tested in Theano's default mode, as a user runs it. A scan takes more
than a minute to compile so, and its C code is Theano's own: it is tested with
Theano's optimisations but without C, or in a hurry with neither.
"""
import contextlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import charlstm  # noqa: E402
from charlstm import theano  # noqa: E402
from numpy_model import H1, H2, V  # noqa: E402


def pytest_configure(config):
    # pytest shows warnings whatever charlstm asks for: keep out those that only Theano can mend.
    config.addinivalue_line('filterwarnings', r'ignore:::theano\.')
    config.addinivalue_line('filterwarnings', 'ignore:invalid escape sequence')


@contextlib.contextmanager
def default_mode(mode):
    """Compile in another mode than Theano's default."""
    # Theano's own switch, config.mode, is not looked at once a function was compiled.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theano.compile.mode, 'instantiated_default_mode', mode)
        yield


@pytest.fixture
def interpreted():
    """Compile without C code and most optimisations: slow to run, but ready in a second."""
    with default_mode(theano.compile.mode.FAST_COMPILE):
        yield


@pytest.fixture
def float64():
    with theano.change_flags(floatX='float64'):
        yield


def compiled(floatX, kernel, **settings):
    """A model with all functions compiled, and the values now of the shared variables that these may change."""
    model = charlstm.CharLSTM(random_seed=3, kernel=kernel)
    with theano.change_flags(floatX=floatX):
        model.model_setup(char_dim=V, num_units1=H1, num_units2=H2, drate=0.7, eps=1e-3, l1=0.03, l2=0.02, **settings)
        with theano.change_flags(warn_float64='raise' if floatX == 'float32' else 'ignore'):
            model.compile('predict', 'check', 'train_rmsprop', 'train_sgd')
        model.compile('sample')
    shared = {variable for name in ('train_rmsprop', 'train_sgd') for variable in model._functions[name].get_shared()}
    return model, {variable: variable.get_value() for variable in shared}


@pytest.fixture(scope='session')
def compiled_models():
    """Makes each model when it is first asked for."""
    made = {}

    def get(name):
        if name not in made:
            if name == 'scan':
                with default_mode(theano.Mode(linker='py', optimizer='fast_run')):
                    made[name] = compiled('float32', kernel=False)
            else:
                made[name] = compiled(name, kernel=True, bptt_maxdepth=3 if name == 'float64' else 50)
        return made[name]
    return get


@pytest.fixture(params=['float32', 'float64', 'scan'])
def model(request, compiled_models):
    """A model as if it were new: the kernel in both types (in float64 truncated), and the scan in float32."""
    model, start = compiled_models(request.param)
    for variable, value in start.items():
        variable.set_value(value)
    with theano.change_flags(floatX='float64' if request.param == 'float64' else 'float32'):
        yield model


@pytest.fixture
def text_file(tmp_path):
    """Writes a text, or bytes, to a file and returns its path."""
    def write(text, encoding='utf-8', name='text.txt'):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return str(path)
    return write


@pytest.fixture
def refused():
    """`with refused(ValueError, 'word', path):` asserts such an error whose one line has these words."""
    @contextlib.contextmanager
    def refused(error, *words):
        with pytest.raises(error) as caught:
            yield
        message = str(caught.value)
        assert message and '\n' not in message
        for word in words:
            assert str(word) in message
    return refused
