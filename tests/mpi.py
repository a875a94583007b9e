"""Functions that run scripts in several processes, with mpiexec as a user does."""
import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest

from scripts import FAST, environment, finish, subprocess

# mpiexec from the folder of the tests' Python, where pip installs it, or the system's.
MPIEXEC = shutil.which('mpiexec', path=os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']]))
MISSING = [name for name, found in (('mpi4py', importlib.util.find_spec('mpi4py')), ('mpiexec', MPIEXEC)) if not found]
needs_mpi = pytest.mark.skipif(bool(MISSING), reason=f"no {' and no '.join(MISSING)}: see engine/requirements-mpi.txt")


def start(processes, *words, flags=FAST, env=None, **options):
    """Start Python with arguments in several processes, which may outnumber the cores. env: environment changes."""
    changes = dict(env or {}, OMPI_ALLOW_RUN_AS_ROOT='1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM='1')       # for containers
    return subprocess.Popen(
        [MPIEXEC, '--bind-to', 'none', '--map-by', ':OVERSUBSCRIBE', '-n', str(processes),
         sys.executable, '-m', 'mpi4py', *map(str, words)], encoding='utf-8', env=environment(flags, **changes),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def run(processes, *words, timeout=300, **options):
    """Run Python as start() does and return its CompletedProcess."""
    return finish(start(processes, *words, **options), timeout)
