"""A build backend (PEP 517) that builds the wheel of the unchanged Theano.

Theano's setup.py needs names that Python 3.12 has dropped. sitecustomize.py brings them back.
"""
import glob
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Let pip build the wheel in a folder. Return its file name."""
    # This backend's path is in such variables: pip would look there for Theano's backend, which is setuptools.
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(('PEP517_', '_PYPROJECT_HOOKS_'))}
    environment['PYTHONPATH'] = os.pathsep.join(filter(None, [HERE, os.environ.get('PYTHONPATH')]))
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '--no-build-isolation', '--no-deps', '--no-binary', 'Theano',
                    '--wheel-dir', wheel_directory, 'Theano==1.0.5'], env=environment, check=True)
    return os.path.basename(glob.glob(os.path.join(glob.escape(wheel_directory), '*.whl'))[0])
