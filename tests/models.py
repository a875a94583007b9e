"""Models and their text, shared by several test modules."""
import contextlib
import math
from fractions import Fraction

import numpy as np
import pytest

from charlstm import CharLSTM
from engine.backend.theano_setup import theano
from engine.parallel import SingleProcess
from numpy_model import LETTERS, NAMES, random_parameters


def halves_up(x):
    """Return the whole number nearest to the exact value of x, which is at least 0; halves round up."""
    return math.floor(Fraction(x) + Fraction(1, 2))


# A text, and how it is cut into streams: the last batch of each part is shorter.
TEXT = ''.join(np.random.default_rng(1).choice(list(LETTERS), 263)) + LETTERS       # 274 characters
CODES = np.array([LETTERS.index(ch) for ch in TEXT])
B, S, RATIO = 3, 5, 0.4
SPLIT = halves_up((1 - RATIO) * (len(TEXT) // S)) * S       # training characters
PARTS = {'train': CODES[:SPLIT], 'valid': CODES[SPLIT:]}
PARTS = {part: codes[:len(codes) // B * B].reshape(B, -1) for part, codes in PARTS.items()}      # streams (B, L)
P = random_parameters(4, 'float32')


@contextlib.contextmanager
def default_mode(mode):
    """Compile in this mode instead of Theano's default."""
    # Theano does not read config.mode again after it has compiled a function.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theano.compile.mode, 'instantiated_default_mode', mode)
        yield


def prepared(path, **settings):
    """Return a model with a text and no parameters; by default, a batch is one pair of characters."""
    model = CharLSTM(random_seed=1)
    model.prepare_input(path, **dict(dict(ratio_valid=0, batch_size=1, seq_length=2, verbose=False), **settings))
    return model


def spelled(model, codes):
    """Return the string of some character codes."""
    return ''.join([model.uchar[k] for k in np.ravel(codes).tolist()])


def text_of(model):
    """Return the text of a model, reassembled from its batches (without a partial last sequence)."""
    return ''.join(spelled(model, np.vstack([x, y[-1:]]).T) for part in ('train', 'valid')
                   for x, y in zip(model.X[part], model.Y[part]))


def parameters_of(model):
    """Return the parameters, as arrays by name."""
    return {name: model.p[name].get_value() for name in NAMES}


def set_parameters(model, p=P):
    for name in NAMES:
        model.p[name].set_value(p[name].astype(theano.config.floatX))


def trained(model, start, end):
    """Train on some batches. Return the results of each step, as bytes."""
    batches = zip(model.X['train'][start:end], model.Y['train'][start:end])
    return [[np.asarray(value).tobytes() for value in model.theano_train_rmsprop(x, y)] for x, y in batches]


def as_new(model):
    """Reset a model that reads TEXT as streams to the parameters P and its first state, and return it."""
    set_parameters(model)
    model.carried = None
    model.validation = None, 0
    model.dyn_lrate.set_value(1e-30)                        # steps change nothing unless a test sets another rate
    model.random = np.random.default_rng(8)
    return model


def member(rank, size):
    """Return a stand-in for one process of a group, which only knows its own rows."""
    one = SingleProcess()
    one.rank, one.size = rank, size
    return one
