"""The class of one's own that --cell names."""
import os
import sys
import types

from engine.model.files import named


def load_class(words, base):
    """Return the class that FILE:CLASS names, a subclass of base, which is CharLSTM.

    The file is run as Python imports one, and its errors are raised. Raise OSError if it cannot be read, and ValueError
    if it ends the program, or if it has no such class.
    """
    path, _, name = words.rpartition(':')
    if not (path and name.isidentifier()):
        raise ValueError(f'--cell is {words}: expected FILE:CLASS, such as mine.py:Coupled')
    found = getattr(_module(path), name, None)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f'{path} has no class {name} that is a subclass of CharLSTM: expected one such as Coupled in '
                         'README.md')
    return found


def make_model(words, base, *arguments, **settings):
    """Return an object of the class that FILE:CLASS names, made as CharLSTM is; of base, which is that, for None.

    Raise what load_class raises, and ValueError for the arguments.
    """
    if words is None:
        return base(*arguments, **settings)
    found = load_class(words, base)
    try:
        model = found(*arguments, **settings)
    except TypeError as error:
        raise ValueError(f'{words} cannot be made as CharLSTM is ({error}): expected an __init__ that takes the same '
                         'arguments') from error
    if not hasattr(model, 'group'):
        raise ValueError(f'{words} has an __init__ that does not call that of CharLSTM: expected '
                         'super().__init__(...) with its arguments')
    return model


def _module(path):
    """Run a file of Python, and return its module."""
    with named('read', path), open(path, 'rb') as f:
        source = f.read()
    if b'\0' in source:
        raise ValueError(f'{path} has NUL bytes, as a file in UTF-16 has: save it as UTF-8')
    name = os.path.splitext(os.path.basename(path))[0]
    module = types.ModuleType(name)
    module.__file__ = path = os.path.abspath(path)
    sys.modules.setdefault(name, module)
    sys.path.append(os.path.dirname(path))                 # it may import files beside it
    try:
        exec(compile(source, path, 'exec'), vars(module))
    except SystemExit as error:
        raise ValueError(f'{path} ends the program: expected a file with a class') from error
    return module
