"""What simple models would cost on a text, since a cost alone says little."""
import contextlib
import math

import numpy as np

PIECE = 1 << 20                # characters counted at a time, to save memory
COMPRESSED = 10 ** 7           # most characters compressed: in a second


def pieces(codes):
    """Return views of codes (n,), of at most PIECE numbers each."""
    return [codes[k:k + PIECE] for k in range(0, len(codes), PIECE)]


def baselines(text):
    """Return costs for the validation part of a Text, or else for the training part, in nats a character, by name.

    guessing: all characters are equally probable. letter frequencies: those of the training part, where each character
    is counted once more, so that none has probability 0. bzip2: size in UTF-8, compressed, of the first COMPRESSED.
    """
    train, valid, V = text.parts['train'], text.parts['valid'], len(text.uchar)
    part = valid if len(valid) else train
    counts, trained = [sum(np.bincount(piece, minlength=V) for piece in pieces(codes)) for codes in (part, train)]
    costs = {'guessing': math.log(V),
             'letter frequencies': -counts @ np.log((trained + 1) / (trained.sum() + V)) / len(part)}
    with contextlib.suppress(ImportError):                 # not every Python has bz2
        from bz2 import BZ2Compressor
        compressor, beginning = BZ2Compressor(), part[:COMPRESSED]
        written = [compressor.compress(''.join(text.uchar[piece]).encode('utf-8', 'surrogatepass'))
                   for piece in pieces(beginning)]
        size = len(b''.join([*written, compressor.flush()]))
        costs['bzip2'] = 8 * math.log(2) * size / len(beginning)
    return costs
