"""Write texts piece by piece, optionally with cell states held at fixed values."""
import copy
import math
import re

import numpy as np

from engine import checks
from engine.backend.theano_setup import theano
from engine.data.parameters import in_layers
from engine.data.text import encoded
from engine.graph.cell import HOLD, held_cell
from engine.model.compile import compiled
from engine.model.edits import cell_of_model, functions
from engine.model.score import read
from engine.model.state import finite, sizes, vocabulary_size, zero_states
from engine.run.table import READABLE

PIECE = 512                    # characters drawn before they are shown
NEAR = 180                     # most characters that a text may be shorter than asked for, to end with a sentence
# Where a sentence ends, but not after a title; where a line ends, and where a word.
SENTENCE = r'(?<!\bMr)(?<!\bMrs)(?<!\bDr)(?<!\bSt)[.!?]["\'”’»)_]*(?=\s)'
LINE, WORD = r'(?<=\S)(?=\s*\n)', r'(?<=\S)(?=\s)'


def generate_text(model, seed, text_length, method, count, **choice):
    """Return the texts of stream_text, or one string if count is None."""
    pieces = model.stream_text(seed, text_length, method, 1 if count is None else count, **choice)
    texts = [''.join(parts) for parts in zip(*pieces)]
    return texts[0] if count is None else texts


def sample(model, text_length):
    """Return a text as by for_readers, of at most default_length characters if text_length is None."""
    writer = copy.copy(model)
    writer.random = copy.deepcopy(model.random)
    return ''.join(piece for piece, in for_readers(writer, '', text_length or default_length(model), **READABLE))


def for_readers(model, seed, length, **choice):
    """Yield texts of at most `length` characters after the seed as stream_text does, but in whole sentences.

    Without a seed, they begin like a paragraph, a line or a sentence. They end with a sentence, if one ends in the last
    half, and in the last NEAR characters, else with a line or a word, unless choice has a `stop`.
    """
    prime = seed or opening(model)
    pieces = model.stream_text(prime, len(prime) + length, **choice)
    first = next(pieces)
    yield first if prime == seed else [''] * len(first)
    yield from pieces if choice.get('stop') else ended(pieces, length // 2, seed == '')


def default_length(model):
    """Return how many characters a text for readers has: fewer if no sentence can end, as in lists of names."""
    return 360 if {*'.!?'} & {*model.uchar} else 100


def opening(model):
    """Return a prime after which a paragraph begins or, in texts without empty lines, a line or a sentence."""
    known = [prime for prime in ('.\n', '\n', '. ', '') if {*prime} <= {*model.uchar}]
    if known[0] == '.\n':
        logs, _ = read(model, [model.uchar.index(ch) for ch in '.\n'])
        if logs[-1, 0, model.uchar.index('\n')] > math.log(0.5):       # an empty line is likely
            return '.\n\n'
    return known[known[0] == '.\n']


def ended(pieces, near, strip):
    """Yield pieces, lists of strings, without what follows the end of each text. near: as for end_of.

    strip: whether to leave out line ends at the beginning.
    """
    rests = None
    for piece in pieces:
        if strip:
            piece, strip = [text.lstrip('\n') for text in piece], False
        texts = [rest + more for rest, more in zip(rests or [''] * len(piece), piece)]
        yield [text[:-NEAR] for text in texts]
        rests = [text[-NEAR:] for text in texts]
    if rests:
        yield [text[:end_of(text, near)] for text in rests]


def end_of(text, near):
    """Return where a text ends: with a sentence or line of the last `near` characters, else with its last word."""
    for pattern in (SENTENCE, LINE, WORD):
        ends = [found.end() for found in re.finditer(pattern, text)]
        if ends and (pattern is WORD or ends[-1] >= len(text) - near):
            return ends[-1]
    return len(text)


def stream_text(model, seed, text_length, method, count, temperature, top_k, top_p, stop, hold):
    """Yield texts in pieces, each a list of count strings, the seed first. Arguments and errors: as for CharLSTM's.

    Characters as probable as the last one that top_k or top_p keeps stay, too. h is computed from held states.
    """
    most = vocabulary_size(model)
    checks.choice('method', method, ('normal', 'argmax', 'max'))
    checks.whole('text_length', text_length, 0)
    checks.whole('count', count, 1)
    prime = np.repeat(encoded(seed, model.uchar, 'the prime').astype(np.int32)[:, None], count, axis=1)   # (m, count)
    if text_length and not seed:
        prime = model.random.integers(most, size=(1, count), dtype=np.int32)
    if not finite(model):
        raise ValueError('the parameters are not finite: take an earlier checkpoint')
    top_k = most if top_k is None else checks.whole('top_k', top_k, 1)
    checks.real('top_p', top_p, 'above 0, at most 1', lambda v: 0 < v <= 1)
    checks.real('temperature', temperature, 'of at least 0', lambda v: v >= 0)
    # In float32, all temperatures below 1e-30 select the most probable character.
    choice = np.array([max(1e-30, temperature), min(top_k, most), top_p], theano.config.floatX)
    held = {} if hold is None else hold_parameters(hold, sizes(model), cell_of_model(model).states)
    compiled(held_copy(model, held) if held else model, 'texts').begin()           # before the caller prints anything
    yield strings(model, prime)
    states, ends, left = zero_states(model, count), [''] * count, text_length - len(prime)
    while left > 0 and any(end is not None for end in ends):
        n = min(PIECE, left)
        bits = model.random.integers(2 ** 53, size=(n if method == 'normal' and temperature else 0, count))
        writer = held_copy(model, held) if held else model
        text, *states = compiled(writer, 'texts').write(prime, bits, n, choice, *states)      # (m+n, count)
        written = strings(model, text[len(prime):])
        if stop:
            written, ends = zip(*[until(stop, end, string) for end, string in zip(ends, written)])
        yield list(written)
        prime, left = text[-1:], left - n


def strings(model, numbers):
    """Return numbers of uchar (n,count) as a list of count strings."""
    return [''.join([model.uchar[k] for k in column]) for column in numbers.T.tolist()]


def until(stop, before, string):
    """Return string up to the end of the first stop, and `before` for the string that follows.

    before: the end of the text before string, in which the stop may begin; None if the text has ended.
    """
    if before is None:
        return '', None
    at = (before + string).find(stop)
    if at >= 0:
        return string[:at + len(stop) - len(before)], None
    return string, (before + string)[max(0, len(before + string) - len(stop) + 1):]


def held_copy(model, values):
    """Return a copy of the model that shares its parameters and has a held cell. values: parameters HOLD by name."""
    made = functions(model)
    if made.held is None:
        cell, units, new = held_cell(cell_of_model(model)), sizes(model), copy.copy(model)
        new.lp = {}                                        # it cannot be trained
        new.cell = cell.function
        functions(new).found[cell.dtype] = cell            # set here, since a user's cell may not have its names
        new.p = {**{name: theano.shared(np.zeros(units[int(name[-1]) - 1], cell.dtype), name)
                    for name in in_layers(cell.parameters, len(units))}, **model.p}
        made.held = new
    for name, array in values.items():                     # each time, since another text may be in progress
        if not np.array_equal(made.held.p[name].get_value(borrow=True), array):        # else weights are packed again
            made.held.p[name].set_value(array)
    return made.held


def hold_parameters(hold, units, states):
    """Return the parameters HOLD of all layers, name to array, for a hold such as {'C2': {44: 5.0}}.

    units: of each layer. states: names of the cell's states.
    """
    named = in_layers(states, len(units))
    arrays = {f'{name} {state}': np.zeros(units[int(state[-1]) - 1], theano.config.floatX)
              for state in named for name in HOLD}
    for state, values in hold.items():
        checks.choice('the state to hold', state, named)
        is_held, held_at = [arrays[f'{name} {state}'] for name in HOLD]
        for unit, value in values.items():
            checks.whole(f'a unit of {state} to hold', unit, 0, len(is_held) - 1)
            is_held[unit] = 1
            held_at[unit] = checks.real(f'the value of {state} in unit {unit}', value, 'to hold', lambda v: True)
    return arrays
