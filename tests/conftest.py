"""Shared by several test modules: the repository's root on sys.path, and models and training runs that are made once.

The kernel is tested in Theano's default mode, as users run it. A scan takes more than a minute to compile in that
mode, and its C code is Theano's own. So it is tested without C, in test_every_way.py with Theano's optimisations.
"""
import contextlib
import functools
import http.server
import json
import math
import os
import runpy
import signal
import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

# Several workers share the cores: threads of NumPy's BLAS would lose more time waiting for each other than they save.
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')         # before NumPy is imported

import hypothesis  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

# Costs in bfloat16 differ from processor to processor; tests of it choose its instructions.
os.environ['CHARLSTM_BFLOAT16'] = 'no'

# If `uv run` started the tests, the commands that scripts print would name it instead of this Python.
os.environ.pop('UV', None)
for number, handler in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(number) == signal.SIG_IGN:         # nohup, or a shell script in the background
        signal.signal(number, handler)

# What the tests compile is kept apart from what the user's programs compile.
if 'compiledir' not in os.environ.get('THEANO_FLAGS', ''):
    folder = 'base_compiledir=' + os.path.expanduser('~/.theano/charlstm_tests')
    os.environ['THEANO_FLAGS'] = ','.join(filter(None, [os.environ.get('THEANO_FLAGS'), folder]))

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import models  # noqa: E402
import produce_text  # noqa: E402
from browser import CHROMIUM, Browser  # noqa: E402
from charlstm import CharLSTM, lstm_cell  # noqa: E402
from engine import terminal  # noqa: E402
from engine.backend.theano_setup import theano  # noqa: E402
from engine.graph.cell import Cell  # noqa: E402
from models import as_new, default_mode  # noqa: E402
from novel import PAGE, Handler  # noqa: E402
from numpy_model import H1, H2, LETTERS, V  # noqa: E402
from pages import HELPERS, context_of, write_page_of  # noqa: E402
from scripts import (FAST, ROOT, SMALL, STATEFUL, TEXT, TRAIN, WITH_COSTS, Compiling, copy_of_program, run,  # noqa: E402
                     succeeded)

terminal.QUIET = math.inf              # no lines on how far compiling is, which only a busy machine would print

hypothesis.settings.register_profile('several', max_examples=200, deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile('several')


# Slow files: if one of them came last, a single worker would run it while the others wait.
FIRST = 'process_group', 'every_way', 'run', 'export', 'edits', 'views', 'charlstm', 'train', 'result'


def pytest_configure(config):
    config.option.loadscopereorder = False        # pytest-xdist would begin with the files with the most tests
    # pytest overrides charlstm's warning filters: hide the warnings that only Theano could fix.
    config.addinivalue_line('filterwarnings', r'ignore:::theano\.')
    config.addinivalue_line('filterwarnings', 'ignore:invalid escape sequence')
    config.addinivalue_line('markers', 'browser: checks a page in a browser; the same for all Python versions')


def pytest_collection_modifyitems(items):
    first = [f'test_{name}.py' for name in FIRST]
    items.sort(key=lambda item: first.index(item.path.name) if item.path.name in first else len(first))
    for item in items:
        if 'browser' in item.fixturenames:
            item.add_marker('browser')


@pytest.fixture
def refused():
    """Return a context manager, refused(ValueError, 'word'), that expects an error of one line with these words."""
    @contextlib.contextmanager
    def refused(error, *words):
        with pytest.raises(error) as caught:
            yield
        message = str(caught.value)
        assert message and '\n' not in message and all(str(word) in message for word in words)
    return refused


# ---------------------------------------------------------------- how Theano compiles

@pytest.fixture
def interpreted():
    """Compile without C code and most optimisations: slow to run, but ready in a second."""
    with default_mode(theano.compile.mode.FAST_COMPILE):
        yield


@pytest.fixture
def float64():
    with theano.change_flags(floatX='float64'):
        yield


# ---------------------------------------------------------------- models

@pytest.fixture(scope='session')
def compiled_models():
    """Return a function from a type to a compiled model, made once, and the first values of its shared variables."""
    @functools.cache
    def get(floatX):
        model = CharLSTM(random_seed=3)
        with theano.change_flags(floatX=floatX):
            model.model_setup(char_dim=V, num_units1=H1, num_units2=H2)
            model.compile('predict', 'train_rmsprop', 'texts')
        shared = {*model.p.values(), *model.compiled('train_rmsprop').function.get_shared()}
        return model, {variable: variable.get_value() for variable in shared}
    return get


@pytest.fixture(scope='session')
def stateful_model(tmp_path_factory):
    path, model = tmp_path_factory.mktemp('text') / 't.txt', CharLSTM(random_seed=8)
    path.write_text(models.TEXT)
    model.prepare_input(str(path), models.RATIO, models.B, models.S, verbose=False, stateful=True)
    model.model_setup(num_units1=H1, num_units2=H2)
    model.compile('check', 'predict', 'texts', 'train_sgd')
    return model


@pytest.fixture
def stateful(stateful_model):
    """Return a model with the kernel that reads models.TEXT as streams."""
    return as_new(stateful_model)


@pytest.fixture
def lettered(text_file):
    """Return a small model with the vocabulary LETTERS and random parameters."""
    model = CharLSTM(random_seed=6)
    model.prepare_input(text_file(LETTERS * 2), ratio_valid=0, batch_size=2, seq_length=3, verbose=False)
    model.model_setup(num_units1=7, num_units2=4)
    return model


@pytest.fixture
def make_model(text_file):
    """Return a function that makes models with different seeds and the same text."""
    def make(seed, text=TEXT, kind=CharLSTM, **settings):
        model = kind(random_seed=seed)
        model.prepare_input(text_file(text), batch_size=3, seq_length=5, verbose=False, stateful=True)
        model.model_setup(num_units1=4, num_units2=2, **settings)
        return model
    return make


# ---------------------------------------------------------------- files

@pytest.fixture
def text_file(tmp_path):
    """Return a function that writes a text, or bytes, to a file and returns its path."""
    def write(text, encoding='utf-8', name='text.txt'):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return str(path)
    return write


@pytest.fixture
def path(tmp_path):
    """Return a path for a checkpoint."""
    return str(tmp_path / 'params.npz')


@pytest.fixture(scope='module')
def shared_folder(tmp_path_factory):
    """Return one folder for all examples of a property, as hypothesis requires."""
    return tmp_path_factory.mktemp('properties')


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return the current folder, with a text t.txt and the results of an earlier run named other."""
    (tmp_path / 't.txt').write_bytes(TEXT.encode('utf-8'))
    (tmp_path / 'results').mkdir()
    (tmp_path / 'results' / 'other_t.txt.out').write_bytes(b'earlier')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def with_text(tmp_path):
    """Return a folder with a text t.txt."""
    (tmp_path / 't.txt').write_text(TEXT, encoding='utf-8')
    return tmp_path


@pytest.fixture
def program(tmp_path):
    """Return the folder of a copy of the program."""
    return copy_of_program(tmp_path / 'program')


# ---------------------------------------------------------------- the scripts

@pytest.fixture
def in_process(monkeypatch, capfd):
    """Run a script's main() in this process until it would compile; a new process would take a second for Theano."""
    def compiling(*args, **kwargs):
        raise Compiling

    def call(script, *arguments):
        capfd.readouterr()
        monkeypatch.setattr(sys, 'argv', [str(script)] + [str(a) for a in arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(script), run_name='__main__')
        out, err = capfd.readouterr()
        return SimpleNamespace(returncode=end.value.code, stdout=out, stderr=err)

    monkeypatch.setattr(theano, 'function', compiling)
    return call


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
    """Train for three epochs. Return the result and the paths of the run."""
    folder = tmp_path_factory.mktemp('trained')
    text = folder / 'sentences.txt'
    text.write_bytes(TEXT.encode('utf-8'))
    options = SMALL + ('--initial original --lrate 0.002 --warmup 0 --anneal 0 --epochs 3 --save-every 2 --lrate-decay '
                       '0.5 --lrate-decay-epoch 2 --valid-every 6 --output-dir results').split()
    result = run(TRAIN, text, 'r1', *options, cwd=folder)
    results = folder / 'results'
    return SimpleNamespace(folder=folder, text=text, options=options, result=result, results=results,
                           checkpoint=results / 'r1_sentences.txt_epoch3.npz',
                           steps=results / 'r1_sentences.txt.out', epochs=results / 'r1_sentences.txt_epochs.out')


@pytest.fixture(scope='session')
def short_run(tmp_path_factory):
    """Train for five epochs with fixed validation costs, and save a checkpoint after each."""
    folder, costs = tmp_path_factory.mktemp('short_run'), np.array([3.5, 3.25, 3.375, 3.0, 3.125])
    (folder / 't.txt').write_text(TEXT, encoding='utf-8')
    succeeded(run('-c', WITH_COSTS, ROOT, ','.join(map(str, costs)), TRAIN, 't.txt', 'r', *STATEFUL,
                  '--output-dir', folder, '--lrate', 0.03, '--epochs', len(costs), '--save-every', 1,
                  cwd=folder, flags=FAST))
    return SimpleNamespace(folder=folder, costs=costs, best_epoch=4, checkpoint=folder / 'r_t.txt_epoch2.npz')


@pytest.fixture
def produce(monkeypatch, capfd, short_run):
    """Return a function that runs produce_text.py's main() in this process, with a checkpoint of `short_run`."""
    monkeypatch.chdir(short_run.folder)

    def call(*arguments, checkpoint='r_t.txt_best.npz'):
        capfd.readouterr()
        monkeypatch.setattr(sys, 'argv', ['produce_text.py', checkpoint] + [str(a) for a in arguments])
        status = 0
        try:
            with default_mode(theano.compile.mode.FAST_COMPILE):
                terminal.main(produce_text.build_parser(), produce_text.program)
        except SystemExit as end:
            status = end.code
        out, err = capfd.readouterr()
        return SimpleNamespace(returncode=status, stdout=out, stderr=err)
    return call


@pytest.fixture
def without(tmp_path):
    """Return a function that takes packages and returns changes to the environment that hide them from import."""
    def changes(*packages):
        (tmp_path / 'stubs').mkdir()
        for package in packages:
            (tmp_path / 'stubs' / f'{package}.py').write_text(
                f'raise ModuleNotFoundError("No module named {package}", name="{package}")')
        return {'PYTHONPATH': str(tmp_path / 'stubs')}
    return changes


# ---------------------------------------------------------------- the page

@pytest.fixture(scope='session')
def javascript():
    """Return a function that evaluates an expression after network.js and returns its value, which JSON must hold."""
    racer = pytest.importorskip('py_mini_racer')
    context = context_of(racer.MiniRacer, dict(standard=Cell(lstm_cell, 'float32')))
    context.eval(HELPERS)

    def value(expression, **data):
        names = ', '.join(data)
        call = f'JSON.stringify((({names}) => {expression})({", ".join(map(json.dumps, data.values()))}))'
        return json.loads(context.eval(call))
    yield value
    context.close()                                        # otherwise pytest hangs after a failure


@pytest.fixture(scope='session')
def written(short_run, tmp_path_factory):
    """Return the path of a page with the best checkpoint of short_run and the beginning of TEXT."""
    path = tmp_path_factory.mktemp('page') / 'page.html'
    return write_page_of(short_run.folder / 'r_t.txt_best.npz', path, TEXT[:700], 'some text')


@pytest.fixture(scope='session')
def chromium(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip('Chromium is missing: apt install chromium')
    browser = Browser(tmp_path_factory.mktemp('chromium'))
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium):
    """Yield a Browser in which a test opens pages. They must report no errors and fetch nothing else."""
    chromium.errors, chromium.requests, chromium.opened = [], [], []
    yield chromium
    chromium.value('0')                                    # read what was reported before
    assert chromium.errors == [] and chromium.requests == chromium.opened


# ---------------------------------------------------------------- the novel

@pytest.fixture
def server():
    """Serve `body` with `status`; `promised` is the Content-Length, or None to send none."""
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.status, server.body, server.promised = 200, PAGE, len(PAGE)
    server.requests = []
    server.url = 'http://127.0.0.1:%d/novel' % server.server_port
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def closed_url():
    """Yield an address that refuses connections: its port is bound, but nothing listens."""
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        yield 'http://127.0.0.1:%d/novel' % taken.getsockname()[1]
