"""The model on Theano's GPU backend: on CUDA, on OpenCL, or on OpenCL without a GPU (pocl).

test_every_way.py has its numbers, also of cells whose OpenCL code differs; this file has the scripts. The tests are
skipped if pygpu is not installed or finds no device. Each part runs in a separate process, which has one device.
"""
import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from scripts import PRODUCE, ROOT, TEXT, TRAIN, run

DEVICES = ('cuda', 'opencl0:0')


def device():
    """Return the first device that pygpu can use, or None."""
    for name in DEVICES if importlib.util.find_spec('pygpu') else ():
        tried = subprocess.run([sys.executable, '-c', f'import pygpu; pygpu.init("{name}")'], capture_output=True)
        if tried.returncode == 0:
            return name
    return None


DEVICE, WHY_NOT = device(), f'pygpu is not installed, or finds none of {", ".join(DEVICES)}'
pytestmark = pytest.mark.skipif(DEVICE is None, reason=WHY_NOT)


def output(result):
    assert result.returncode == 0, result.stderr
    return result.stdout


def on(device, code, *arguments):
    """Return the standard output of a program that computes on a device."""
    return output(run('-c', code, *arguments, cwd=ROOT, flags=f'device={device}'))


def test_the_scripts(tmp_path, text_file):
    """Resume a run on the other device, and write texts with it."""
    text, options = text_file(TEXT), '--num-units1 5 --num-units2 3 --batch-size 6 --seq-length 11 --random-seed 3'
    checkpoints = {}
    for name in (DEVICE, 'cpu'):
        said = output(run(TRAIN, text, name, *options.split(), '--output-dir', tmp_path, '--epochs', 1,
                          flags=f'device={name}'))
        half = checkpoints[name] = tmp_path / f'{name}_text.txt_epoch1.npz'
        assert name == 'cpu' or f'computes on {DEVICE} (' in said and 'by theano.scan, in float32' in said
        output(run(TRAIN, '--resume', half, '--epochs', 2))           # on the CPU
    mixed, cpu = [np.load(str(half).replace('epoch1', 'epoch2')) for half in checkpoints.values()]
    for name in cpu.files:
        if cpu[name].dtype.kind == 'f':
            np.testing.assert_allclose(mixed[name], cpu[name], rtol=1e-5, atol=1e-5, err_msg=name)
    assert f', device {DEVICE} (' in output(run(PRODUCE, checkpoints[DEVICE], '--info'))
    texts = [output(run(PRODUCE, checkpoints[DEVICE], tmp_path / f'{name[:3]}.out', '--random-seed', 1, '--length', 30,
                        flags=f'device={name}')) for name in (DEVICE, 'cpu')]
    assert texts[0] == texts[1]
