"""What a class or an edit has replaced, and what a checkpoint records to tell that it is read by the same model."""
import hashlib
import inspect
import io
import tokenize

from engine.methods.state import base_of, file_of, functions

# SHA-256 of charlstm.py's functions that C computes, with those that they call, as written() returns them.
STANDARD = dict(layer='5a71f0af2b5179dac7148f51b5c0354487030d4f31d91722c9b92f41a40cc9e7',
                network='220b81394e0dfa0b0c3e6a819f70f3fc27a257325ec68baf73e776877123bde9')
# What a run minimises, and how. The last two are no attributes of a class.
TRAINING = ('network', 'layer', 'objective', 'penalty', 'optimiser', 'optimiser_state', 'update',
            'running_averages')


def tokens(function):
    """Return the source of a function without comments, docstrings and spaces; '' if it has none."""
    kept, before = [], tokenize.INDENT
    try:
        for token in tokenize.generate_tokens(io.StringIO(inspect.getsource(function)).readline):
            if token.type in (tokenize.COMMENT, tokenize.NL):
                continue
            if not (token.type == tokenize.STRING and before in (tokenize.INDENT, tokenize.NEWLINE)):
                kept.append(token.string.strip())
            before = token.type
    except (OSError, SyntaxError, TypeError, tokenize.TokenError):     # not in a file, or a lambda in an expression
        pass
    return ''.join(kept)


def written(function):
    """Return the SHA-256 of the tokens of a function, and of the functions of its file that it calls."""
    found, waiting = {}, [function]
    while waiting:
        each = waiting.pop()
        found[each] = tokens(each)
        names = getattr(each, '__globals__', {})
        called = [names.get(name) for name in getattr(getattr(each, '__code__', None), 'co_names', ())]
        waiting += [other for other in called if inspect.isfunction(other) and other not in found
                    and other.__module__ == each.__module__]
    return hashlib.sha256('\n'.join(found.values()).encode()).hexdigest()


def written_functions(model):
    """Return written() of the functions with which a model trains, by name: as they are compiled, once."""
    made = functions(model)
    made.written = made.written or {
        name: written(getattr(model, name, None) or vars(file_of(model))[name]) for name in TRAINING}
    return made.written


def is_standard(model, *names):
    """Return whether functions of a model, of STANDARD, are those of charlstm.py as published."""
    base, found = base_of(model), written_functions(model)
    return all(getattr(model, name) is getattr(base, name) and found[name] == STANDARD[name] for name in names)
