"""The model on Theano's GPU backend: on CUDA, on OpenCL, or on OpenCL without a GPU (pocl).

Its numbers are a row of test_every_way.py; here are the scripts, a cell of one's own, and what stays on the device.
Skipped where pygpu is not installed or finds no device. A process computes on one device, which is
chosen when Theano is imported: each part runs in a process of its own.
"""
import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

from scripts import PRODUCE, ROOT, TEXT, TRAIN, assert_refused, environment, run

DEVICES = ('cuda', 'opencl0:0')


def device():
    """Return the first device that pygpu can use, or None, and why none can be used."""
    if importlib.util.find_spec('pygpu') is None:
        return None, 'pygpu is not installed'
    for name in DEVICES:
        tried = subprocess.run([sys.executable, '-c', f'import pygpu; pygpu.init("{name}")'], capture_output=True)
        if tried.returncode == 0:
            return name, ''
    return None, f'pygpu finds none of {", ".join(DEVICES)}'


DEVICE, WHY_NOT = device()
pytestmark = pytest.mark.skipif(DEVICE is None, reason=WHY_NOT)

# What a training step and its scans compute on the host in real numbers, or copy from the device to use there.
ON_HOST = '''
import json, sys
from charlstm import CharLSTM
from engine.backend.theano_setup import theano

def on_host(fgraph):
    for node in fgraph.toposort():
        if hasattr(node.op, 'fn'):
            yield from on_host(node.op.fn.maker.fgraph)
        readers = {reader for v in node.outputs for reader, _ in v.clients}
        if type(node.op).__name__ == 'HostFromGpu':                # of what the function returns
            yield from [str(node)] * (readers != {'output'})
        elif any(isinstance(v.type, theano.tensor.TensorType) and 'float' in v.dtype for v in node.outputs):
            yield str(node)

model = CharLSTM(random_seed=1)
model.model_setup(char_dim=9, num_units1=5, num_units2=3, dropout=0.2, dropconnect=0.1, grad_clip=0.3, step_clip=2,
                  average=0.9, l1=1e-3, l2=1e-3, ar=2, tar=2, smoothing=0.001)
model.compile('train_rmsprop')
print(json.dumps(list(on_host(model.functions['train_rmsprop'].maker.fgraph))))
'''

# A cell with operations whose OpenCL code differs.
CELL = '''
import sys
import numpy as np
from charlstm import CharLSTM, tt

class Model(CharLSTM):
    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        C = tt.maximum(tt.minimum(tt.nnet.sigmoid(a_f) * C_prev + tt.nnet.sigmoid(a_i) * tt.tanh(a_g), 0.5), -0.5)
        return tt.nnet.sigmoid(a_o) * C, C

model = Model(random_seed=1)
model.model_setup(char_dim=9, num_units1=5, num_units2=3)
x = np.arange(12).reshape(4, 3) % 9
costs = [model.theano_train_sgd(x, x[::-1])[0] for _ in range(3)]
np.savez(sys.argv[1], costs=costs, **{name: p.get_value() for name, p in model.p.items()})
'''


def on(device, code, *arguments):
    """Return the standard output of a program that computes on a device."""
    result = subprocess.run([sys.executable, '-c', code, *map(str, arguments)], cwd=ROOT, encoding='utf-8',
                            env=environment(f'device={device}'), capture_output=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_step_leaves_no_real_number_on_the_host():
    assert json.loads(on(DEVICE, ON_HOST)) == []


def test_a_cell_with_maximum_and_minimum(tmp_path):
    for name in ('cpu', DEVICE):
        on(name, CELL, tmp_path / f'{name[:3]}.npz')
    cpu, device = [dict(np.load(tmp_path / f'{name[:3]}.npz')) for name in ('cpu', DEVICE)]
    for name, value in cpu.items():
        np.testing.assert_allclose(device[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def learned_on(name, folder, text, *more):
    """Return the output of train.py on a device."""
    options = '--num-units1 5 --num-units2 3 --batch-size 6 --seq-length 11 --random-seed 3'.split()
    arguments = [text, 'r', *options, '--output-dir', folder] if text else []
    result = run(TRAIN, *arguments, *more, flags=f'device={name}', cwd=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_scripts(tmp_path, text_file):
    """A run that is resumed on the other device, and its texts."""
    text = text_file(TEXT)
    (tmp_path / 'mixed').mkdir()
    (tmp_path / 'cpu').mkdir()
    output = learned_on(DEVICE, tmp_path / 'mixed', text, '--epochs', 1)
    assert f'computes on {DEVICE} (' in output and 'by theano.scan, in float32' in output
    half = tmp_path / 'mixed' / 'r_text.txt_epoch1.npz'
    assert f', device {DEVICE} (' in run(PRODUCE, half, '--info', cwd=tmp_path).stdout
    learned_on('cpu', tmp_path / 'cpu', text, '--epochs', 1)
    for name in ('mixed', 'cpu'):                          # whose rate falls a second time
        learned_on('cpu', tmp_path / name, None, '--resume', tmp_path / name / 'r_text.txt_epoch1.npz', '--epochs', 2)
    mixed, cpu = [np.load(tmp_path / name / 'r_text.txt_epoch2.npz') for name in ('mixed', 'cpu')]
    for name in cpu.files:
        if cpu[name].dtype.kind == 'f':
            np.testing.assert_allclose(mixed[name], cpu[name], rtol=1e-5, atol=1e-5, err_msg=name)
    texts = [run(PRODUCE, half, tmp_path / f'{name[:3]}.out', '--random-seed', 1, '--length', 30, cwd=tmp_path,
                 flags=f'device={name}') for name in (DEVICE, 'cpu')]
    assert [result.returncode for result in texts] == [0, 0]
    assert texts[0].stdout == texts[1].stdout


def test_device_without_enough_memory(tmp_path, text_file):
    """One line, whatever the words of the driver are. POCL_MEMORY_LIMIT is in GB."""
    result = run(TRAIN, text_file(TEXT), 'r', '--num-units1', 12000, '--batch-size', 5, '--output-dir', tmp_path,
                 flags=f'device={DEVICE}', cwd=tmp_path, env={'POCL_MEMORY_LIMIT': '1'})
    if result.returncode == 0:
        pytest.skip('this device has that much memory')
    assert_refused(result, 'not enough memory')
