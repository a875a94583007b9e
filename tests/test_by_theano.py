"""The runtime in the place of Theano's C++ (engine/graph/elementwise.py), judged by Theano's own tests."""
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.backend.theano_setup import theano
from scripts import ROOT, environment

FILES = [f'theano.{folder}.tests.test_{name}' for folder, names in (
    ('tensor', 'basic elemwise subtensor inc_subtensor var misc gc'),
    ('compile', 'function function_module pfunc shared misc ops modes builders'),
    ('gof', 'vm lazy link')) for name in names.split()]


@pytest.mark.skipif(not np.__version__.startswith('2.5.'), reason='its list of failures is for NumPy 2.5')
def test_theanos_own_tests():
    """All of these files but products, gradients, whose code is Theano's own, and what takes many seconds.

    theanos_tests.py lists what else fails.
    """
    env = environment('floatX=float64,unittests.rseed=1729', PYTHONPATH=str(ROOT / 'tests'), PYTEST_ADDOPTS='')
    result = subprocess.run(
        [sys.executable, '-m', 'pytest', '-p', 'theanos_tests', '-p', 'no:cacheprovider', '-c', os.devnull, '--rootdir',
         str(Path(theano.__file__).parent), '-q', '-n2', '--tb=short', '-k',
         'not (t_dot or tensordot or BatchedDot or shape_i_const or grad or test_perform or custom_dtype or test_tile)',
         '--pyargs', *FILES],
        cwd=ROOT, env=env, capture_output=True, encoding='utf-8')
    assert result.returncode == 0, result.stdout[-9000:]
    assert int(re.search(r'(\d+) passed', result.stdout)[1]) > 850
