"""A build backend (PEP 517) that builds the wheel of the unchanged Theano.

Theano's setup.py needs names that Python 3.12 has dropped. sitecustomize.py brings them back.
"""
import glob
import importlib.util
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def _pip(*words, **settings):
    """Run pip: that of the build or, without one, that of this Python, which the build hides but not from -I."""
    options = [] if importlib.util.find_spec('pip') else ['-I']
    return subprocess.call([sys.executable, *options, '-m', 'pip', *words], **settings)


def get_requires_for_build_wheel(config_settings=None):
    """Return what the build needs besides pyproject.toml's: pip, where this Python has none, as with uv."""
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return ['pip'] if _pip('--version', **quiet) else []


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Let pip build the wheel in a folder. Return its file name."""
    # This backend's path is in such variables: pip would look there for Theano's backend, which is setuptools.
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(('PEP517_', '_PYPROJECT_HOOKS_'))}
    environment['PYTHONPATH'] = os.pathsep.join(filter(None, [HERE, os.environ.get('PYTHONPATH')]))
    words = ['wheel', '--no-build-isolation', '--no-deps', '--no-binary', 'Theano', '--wheel-dir', wheel_directory]
    if _pip(*words, 'Theano==1.0.5', env=environment):
        raise SystemExit('pip could not build Theano 1.0.5: it says above why')
    return os.path.basename(glob.glob(os.path.join(glob.escape(wheel_directory), '*.whl'))[0])
