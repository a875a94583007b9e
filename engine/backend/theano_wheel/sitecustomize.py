"""Give back what Python 3.12 dropped and Theano's setup.py uses. Python imports this at its start."""
import configparser
import os
import sys

configparser.SafeConfigParser = configparser.ConfigParser
configparser.RawConfigParser.readfp = configparser.RawConfigParser.read_file

# This module hides another one of the same name, which pip's build environment has. Import that one, too.
sys.path.remove(os.path.dirname(os.path.abspath(__file__)))
del sys.modules[__name__]
try:
    import sitecustomize  # noqa: F401
except ImportError:
    pass
