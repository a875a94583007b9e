"""Training steps by PyTorch: on its CPU device, the numbers; what a GPU would do, without one.

The rows of PyTorch in the table of ways are tested here, where PyTorch is installed.
"""
import contextlib
import copy
import functools
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='PyTorch is not installed')

import cells  # noqa: E402
from charlstm import CharLSTM, tt  # noqa: E402
from engine.backend import compiler  # noqa: E402
from engine.backend.theano_setup import theano  # noqa: E402
from engine.graph import in_torch  # noqa: E402
from engine.graph.cell import Cell  # noqa: E402
from engine.lesson import cells as lesson_cells  # noqa: E402
from models import default_mode  # noqa: E402
from scripts import PRODUCE, STATEFUL, TEXT, TRAIN, assert_refused, run, succeeded  # noqa: E402
from test_every_way import CASES, TORCH, assert_right, pairs, way  # noqa: E402, F401 (a fixture)

DEVICE = 'torch:cpu'
ALL = dict(dropout=0.3, dropconnect=0.2, smoothing=0.1, ar=0.7, tar=1.3, l1=1e-4, l2=1e-4, average=0.99, reset=0.2,
           momentum=0.9, weight_decay=0.02, grad_clip=5, step_clip=2, bptt_maxdepth=-1)


@pytest.mark.parametrize('name, case', [
    (name, case) for name, case in pairs(TORCH) if case.cell != 'standard' or case == CASES[0]], ids=str)
def test_way(way, name, case):                             # noqa: F811
    assert_right(way, name, case)


def halved(a_x, W, *more):
    return CharLSTM.layer(a_x, 0.5 * W, *more)


class Delayed(CharLSTM):
    """An optimiser that keeps the state of the step before, the old value of another variable."""

    @staticmethod
    def optimiser_state(parameters):
        return dict(now=[0 * p for p in parameters], before=[0 * p for p in parameters])

    @staticmethod
    def optimiser(gradients, parameters, state, lrate, lp):
        steps = [lrate * (g + 0.1 * before) for g, before in zip(gradients, state['before'])]
        return steps, dict(now=gradients, before=state['now'])


def of_sizes(batch, p, *more):
    """Return a network's Outputs with conditions and arrays that depend on sizes, and bits of integers."""
    x, c = batch.x, p['c']
    c = tt.switch(x.shape[0] > 1, c, 2 * c) + tt.cast((x & 6).sum() | 1, c.dtype) / 99
    ones = tt.set_subtensor(tt.concatenate([tt.ones((1,), 'int32'), tt.zeros((1,), 'int32')])[1:], 1)
    return CharLSTM.network(batch, p | {'c': c * ones.sum() / p['c'].norm(2)}, *more)


def classes():
    """Return classes by name: cells, networks, an optimiser and a penalty of one's own, and another layer."""
    found = {**vars(lesson_cells), **cells.readme_classes()}
    # Other cells are rows of the table of ways.
    names = 'Normalised MLSTM Adam Fourth Residual Tied Learned Convolution Attention Mixture'
    found['Odd'] = type('Odd', (CharLSTM,), dict(cell=staticmethod(cells.products_cell)))
    found['Three'] = type('Three', (CharLSTM,), dict(cell=staticmethod(cells.three_states)))
    found['Sizes'] = type('Sizes', (CharLSTM,), dict(network=staticmethod(of_sizes)))
    found['Delayed'] = Delayed
    found['Halved'] = type('Halved', (CharLSTM,), dict(layer=staticmethod(halved)))
    return {name: found[name] for name in (*names.split(), 'CharLSTM', 'Odd', 'Three', 'Sizes', 'Delayed', 'Halved')}


def model_on(device, path, cls=CharLSTM, stateful=True, **settings):
    model = cls(random_seed=1, device=device)
    model.prepare_input(path, 0.4, 5, 9, verbose=False, stateful=stateful)
    lp = ALL if stateful else {}
    model.model_setup(**{**dict(num_units1=13, num_units2=13, initial='chrono'), **lp, **settings})
    return model


def trained(model, steps):
    """Take training steps. Return what they report, without update ratios of what is empty."""
    n = model.n_batches['train']
    found = [model.theano_train_rmsprop(model.X['train'][k % n], model.Y['train'][k % n]) for k in range(steps)]
    return np.nan_to_num([[cost, *ratios] for cost, _, *ratios in found])


@pytest.fixture
def path(text_file):
    return text_file(''.join(np.random.default_rng(1).choice(list('abcdefghijk'), 900)) + 'abcdefghijk')


@pytest.mark.parametrize('name, settings, dtype, rtol', [
    *[(name, settings, 'float64', 1e-11) for name, settings in (
        *[(name, {}) for name in classes()], ('CharLSTM', dict(layers=1)), ('CharLSTM', dict(units=[13, 7, 9])),
        ('CharLSTM', dict(stateful=False, initial='original', bptt_maxdepth=4)))],
    ('CharLSTM', dict(units=[13, 7, 9]), 'float32', 1e-5),
    *[(name, {}, 'float32', 1e-5) for name in ('CharLSTM', 'MLSTM', 'Residual')]], ids=str)
def test_twenty_steps_are_the_kernels(path, monkeypatch, name, settings, dtype, rtol):
    fast = functools.partial(default_mode, theano.compile.mode.FAST_COMPILE)
    monkeypatch.setattr(compiler, 'cxx', '')               # in NumPy, without compiling
    with theano.change_flags(floatX=dtype):
        ours, theirs = [model_on(device, path, classes()[name], **settings) for device in ('cpu', DEVICE)]
        with fast() if name == 'Halved' else contextlib.nullcontext():
            found = trained(theirs, 20)
        with fast():
            expected = trained(ours, 20)
        np.testing.assert_allclose(found[:, 0], expected[:, 0], rtol=rtol)
        np.testing.assert_allclose(found, expected, rtol=100 * rtol)               # and update ratios
        for each, p in ours.p.items():
            np.testing.assert_allclose(theirs.p[each].get_value(), p.get_value(), rtol=0, atol=rtol, err_msg=each)
        assert theirs.validate() == pytest.approx(ours.validate(), rel=rtol)


@pytest.mark.parametrize('again', [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_train_on(path, again):
    model = model_on(DEVICE, path)
    trained(model, 3)
    other = again(model)
    np.testing.assert_array_equal(trained(other, 4), trained(model, 4))
    assert not any(other.p[name] is p for name, p in model.p.items())


@pytest.mark.parametrize('then, atol', [(DEVICE, 0), ('cpu', 1e-5)])
def test_resumed_training(path, tmp_path, then, atol):
    """Bit for bit there, and within rounding elsewhere."""
    model, other = [model_on(device, path) for device in (DEVICE, then)]
    trained(model, 3)
    other.resume(model.save_params(tmp_path / 'p.npz', progress={}))
    np.testing.assert_allclose(trained(other, 4)[:, 0], trained(model, 4)[:, 0], rtol=0, atol=atol)
    for name, p in model.p.items():
        np.testing.assert_allclose(other.p[name].get_value(), p.get_value(), rtol=0, atol=atol, err_msg=name)


def test_the_scripts(tmp_path, text_file):
    """A run of the CPU is resumed by PyTorch, which is said, and recorded."""
    succeeded(run(TRAIN, text_file(TEXT), 'r', *STATEFUL, '--output-dir', tmp_path, '--epochs', 1))
    said = succeeded(run(TRAIN, '--resume', tmp_path / 'r_text.txt_epoch1.npz', '--epochs', 2, '--device', DEVICE))
    assert 'computes on torch:cpu, by PyTorch' in said and 'by torch.lstm, in float32' in said
    assert ', device torch:cpu, by PyTorch' in succeeded(run(PRODUCE, tmp_path / 'r_text.txt_epoch2.npz', '--info'))


def test_what_a_device_cannot_do_is_refused(path, refused):
    for settings, words in ((dict(device='cuda:7'), ['cuda:7', 'not there', 'torch:cpu']),
                            (dict(device=DEVICE, kernel=False), ['kernel']),
                            (dict(device=DEVICE, comm=SimpleNamespace(Get_size=lambda: 2, Get_rank=lambda: 1)),
                             ['one process']),
                            (dict(device=DEVICE, precision='bfloat16'), ['float32'])):
        with refused(ValueError, *words):
            CharLSTM(**settings)
    assert_refused(run(TRAIN, path, '--device', 'cuda:7'), 'cuda:7', 'torch:cpu')


def test_flags_of_theano_say_the_same():
    code = 'from charlstm import CharLSTM, theano\nprint(CharLSTM().device, theano.config.device)'
    assert succeeded(run('-c', code, flags=f'device={DEVICE}')) == f'{DEVICE} cpu\n'


# ---------------------------------------------------------------- what a GPU would do

def part(x, index):
    """Return x[index]; PyTorch's own way needs a build for the device."""
    axis = 0
    for each in index if isinstance(index, tuple) else (index,):
        if isinstance(each, slice):
            x = torch.ops.aten.slice.Tensor(x, axis, each.start, each.stop, each.step or 1)
        elif each is None:
            x = x.unsqueeze(axis)
        else:
            x = torch.index_select(x, axis, each) if isinstance(each, torch.Tensor) else x.select(axis, int(each))
            axis -= not isinstance(each, torch.Tensor)
        axis += 1
    return x


@pytest.mark.parametrize('name, device', [('CharLSTM', 'meta'), *[
    (name, 'cuda:0') for name in ('CharLSTM', 'MLSTM', 'Normalised', 'Three')]])
def test_a_step_is_on_the_device_alone(path, monkeypatch, name, device):
    """Without numbers, on a GPU that is not there: a tensor elsewhere, or one that is read, raises an error.

    PyTorch's own gradient, of torch.lstm, needs a device that its build knows, such as meta.
    """
    from torch._subclasses import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode

    class Copies(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), settings=None):
            result = function(*arguments, **settings or {})
            tensors = [x for x in (result, *arguments) if isinstance(x, torch.Tensor)]
            assert {x.device.type for x in tensors} <= {device.split(':')[0]}, function
            assert torch.float64 not in [x.dtype for x in tensors], function           # which some devices lack
            return result

    def only_run(step, inputs):
        with Copies():
            step.run()
        return [np.zeros(tuple(shape), dtype) for shape, dtype in step.kinds]

    monkeypatch.setattr(torch.Tensor, 'copy_', lambda x, y: torch.ops.aten.copy_.default(x, y))
    monkeypatch.setattr(torch.Tensor, '__getitem__', part)
    monkeypatch.setattr(in_torch.OnDevice, 'get_value', lambda v, **more: np.zeros(tuple(v.tensor.shape), v.dtype))
    monkeypatch.setattr(in_torch, 'in_one_kernel', lambda function, name: function)
    monkeypatch.setattr(in_torch.Step, '__call__', only_run)
    if device == 'cuda:0':
        monkeypatch.setattr(torch, 'enable_grad', torch.no_grad)
        monkeypatch.setattr(torch.autograd, 'grad', lambda found, inputs, d, **more: [*map(torch.zeros_like, inputs)])
    with FakeTensorMode():
        model = model_on(device, path, classes()[name])
        trained(model, 1)
        assert ('WholeLayer' in str(model.functions['train_rmsprop']._graph._nodes)) == (name == 'CharLSTM')


def test_a_recorded_step_follows_the_rate_and_new_values(path):
    """A step that PyTorch has traced, tensors and all, is called again in place of its code, as on CUDA."""
    from torch.fx.experimental.proxy_tensor import make_fx
    models = [model_on(DEVICE, path) for _ in range(2)]
    for model in models:
        trained(model, 2)
    step, = models[1].functions['train_rmsprop']._steps.values()
    variables = models[1].functions['train_rmsprop']._graph.shared
    before = [v.tensor.clone() for v in variables]
    step.replay = make_fx(lambda: step.run())()            # tracing takes a step
    for v, tensor in zip(variables, before):
        v.tensor.copy_(tensor)
    for change in (lambda model: None, lambda model: setattr(model, 'dyn_lrate', 1e-4),
                   lambda model: model.weights['W1'].set_value(0.5 * model.weights['W1'].get_value())):
        for model in models:
            change(model)
        expected, found = [trained(model, 2) for model in models]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('name', ['MLSTM', 'Normalised'])
def test_a_compiled_cell_is_the_cell(monkeypatch, name):
    """As PyTorch traces it, for each of ten models. On CUDA, it makes kernels of the trace."""
    traced = []
    monkeypatch.setattr(torch, 'compile', functools.partial(torch.compile, backend=lambda graph, inputs: (
        traced.append(graph) or graph.forward)))
    cell = Cell(classes()[name].cell, 'float32')
    (b, _, _, S, cell_p, M), step = cell.counts, in_torch.DeviceProgramStep(cell.program)
    forward, backward = [in_torch.in_one_kernel(each, 'cell') for each in (step.forward, step.backward)]
    for B, H in ((3, 7), (5, 16)):
        a, before, dh, d_after = [torch.randn(n, B, H).unbind() for n in (b, S, 1, S)]
        p = [*torch.randn(cell_p, H), *torch.randn(M, H, H)]
        h, after, kept = step.forward(a, before, p)
        found = [*forward(a, before, p), *backward(kept, before, after, p, *dh, d_after)]
        for one, other in zip([h, after, kept, *step.backward(kept, before, after, p, *dh, d_after)], found):
            torch.testing.assert_close(one, other)
    traced.clear()
    for _ in range(10):
        in_torch.in_one_kernel(step.forward, 'cell')(a, before, p)
    assert len(traced) == 10


def test_pytorch_is_imported_only_for_a_device():
    code = 'import sys\nfrom charlstm import CharLSTM\nCharLSTM().model_setup(char_dim=3)\n'
    assert succeeded(run('-c', code + 'print("torch" in sys.modules)')) == 'False\n'
