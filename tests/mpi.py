"""Running scripts in several processes, as a user's mpiexec does."""
import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest

import scripts
from scripts import FAST, environment, finish, subprocess

# Beside the Python of the tests, where pip puts it, or the system's.
MPIEXEC = shutil.which('mpiexec', path=os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']]))
LACKING = [what for what, there in (('mpi4py', importlib.util.find_spec('mpi4py')), ('mpiexec', MPIEXEC)) if not there]
WHY = f"no {' and no '.join(LACKING)}: engine/requirements-mpi.txt has them"
needs_mpi = pytest.mark.skipif(bool(LACKING), reason=WHY)


def start(processes, *words, flags=FAST, env=None, **options):
    """Python with these words in so many processes, more than the cores if need be; env: changes of the environment."""
    changes = dict(env or {}, OMPI_ALLOW_RUN_AS_ROOT='1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM='1')       # for containers
    return subprocess.Popen(
        [MPIEXEC, '--bind-to', 'none', '--map-by', ':OVERSUBSCRIBE', '-n', str(processes), sys.executable,
         *map(str, words)], encoding='utf-8', env=environment(flags, **changes), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def run(processes, *words, timeout=300, **options):
    """What comes of Python with these words in so many processes; with 1, in one that knows nothing of MPI."""
    if processes == 1:
        return scripts.run(*words, timeout=timeout, **{'flags': FAST, **options})
    return finish(start(processes, *words, **options), timeout)
