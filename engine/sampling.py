"""Writing texts piece by piece, the choices of how their characters are drawn, and units that are held meanwhile."""
import copy
from typing import Any, Dict, Iterator, List, Optional, Union

import numpy as np

from engine.model import checks
from engine.backend.theano_setup import theano
from engine.compiled import Compiled
from engine.kernel.cell import HOLD, held_cell
from engine.model.parameters import NAMES, own_names
from engine.training import locked

# Characters that are drawn before they are shown: few at first, to show something soon, then
# more, since the kernel packs the weights again for each piece.
FIRST_PIECE, LONGEST_PIECE = 32, 1024


def checked_choice(temperature, top_k, top_p, V, dtype):
    """Return the three as the array that continue_texts takes; top_k None means V.

    Raises ValueError where one is out of range.
    """
    temperature = checks.temperature(temperature)
    checks.whole('top_k', V if top_k is None else top_k, 1, most=float('inf'))
    checks.real('top_p', top_p, 'above 0, at most 1', lambda v: 0 < v <= 1)
    return np.array([temperature, min(top_k or V, V), top_p], dtype)


def until(stop, before, string):
    """Return string up to the end of the first stop, and `before` for the string that follows.

    before: the end of the text before string, in which the stop may begin; None where the text has ended.
    """
    if before is None:
        return '', None
    at = (before + string).find(stop)
    if at >= 0:
        return string[:at + len(stop) - len(before)], None
    return string, (before + string)[max(0, len(before + string) - len(stop) + 1):]


# ---------------------------------------------------------------- units that are held

def hold_parameters(hold, units, dtype):
    """Return the parameters HOLD of both layers, name to array (H1,) or (H2,), for a hold such as {'C2': {44: 5.0}}.

    units: H1 and H2. Raises ValueError for a hold of another form, for units out of range, and for values that are no
    finite numbers in dtype.
    """
    if not isinstance(hold, dict):
        raise ValueError(f"hold is {hold!r}: expected a dict such as {{'C2': {{44: 5.0}}}}")
    arrays = {name: np.zeros(units[int(name[-1]) - 1], dtype) for name in own_names(HOLD)}
    for state, values in hold.items():
        if state not in ('C1', 'C2'):
            raise ValueError(f"hold has {state!r}: expected 'C1' or 'C2', the cell state of a layer")
        if not isinstance(values, dict):
            raise ValueError(f'hold has {values!r} for {state}: expected a dict such as {{44: 5.0}}, units to values')
        is_held, held_at = [arrays[name + state[1]] for name in HOLD]
        for unit, value in values.items():
            checks.whole(f'a unit of {state} to hold', unit, 0, len(is_held) - 1)
            is_held[unit] = 1
            held_at[unit] = checks.real(f'the value of {state} in unit {unit}', value, f'that {dtype} can hold',
                                        lambda v: abs(v) <= np.finfo(dtype).max)
    return arrays


# ---------------------------------------------------------------- the methods

METHODS = ('normal', 'argmax', 'max')      # of generate_text


class Sampling(Compiled):
    """The methods of a CharLSTM that write texts."""

    @locked
    def generate_text(self, seed: str = '', text_length: int = 100, method: str = 'normal',
                      count: Optional[int] = None, **choice: Any) -> Union[str, List[str]]:
        """Continue seed, or a random character when it is empty, to text_length characters in all.

        method 'normal' draws each character from the predicted distribution, 'argmax' or 'max'
        takes the most probable one. A seed that is long enough is returned as it is. With count, the
        result is a list of that many texts, made together. temperature, top_k, top_p, stop, hold: as
        in stream_text. Raises ValueError for arguments out of range, or characters that the model
        does not know.
        """
        pieces = self.stream_text(seed, text_length, method, 1 if count is None else count, **choice)
        texts = [''.join(parts) for parts in zip(*pieces)]
        return texts[0] if count is None else texts

    def sample(self, text_length: int = 200) -> str:
        """Return a text of the model. Its generator stays, so that what it draws later does not change."""
        with self._lock:
            before = self.random.bit_generator.state
            try:
                return self.generate_text(text_length=text_length)
            finally:
                self.random.bit_generator.state = before

    def stream_text(self, seed: str = '', text_length: int = 100, method: str = 'normal', count: int = 1,
                    temperature: float = 1, top_k: Optional[int] = None, top_p: float = 1, stop: str = '',
                    hold: Optional[Dict[str, Dict[int, float]]] = None) -> Iterator[List[str]]:
        """Yield what generate_text returns piece by piece, each a list of count strings, the seed first.

        temperature: below 1 probable characters become more probable, above 1 less; 0 takes the most probable ones.
        top_k: draw from only the k most probable characters, and those as probable as the last of them. top_p: of
        these, draw from the fewest that have this share of their probability, and those as probable as the last. stop:
        a text ends with the first occurrence of this string after the seed, or after the random character. hold: cell
        states that stay at a value while the text is read and written, such as {'C2': {44: 5.0}} for unit 44 of layer
        2; h follows from them.
        Raises ValueError as generate_text does, and where a model of other sizes was set meanwhile.
        """
        if stop and not isinstance(stop, str):
            raise ValueError(f'stop is {stop!r}: expected a string')
        prime = self._prime(seed, text_length, method, count)
        if not self.finite():
            raise ValueError('the parameters are no finite numbers: take an earlier checkpoint')
        choice = checked_choice(temperature, top_k, top_p, len(self.uchar), theano.config.floatX)
        sample = self._of_these_sizes(self._sample if hold is None else self._sample_holding(hold))
        strings = self._text_decoder(count)
        yield strings(prime)
        states, ends = self._zero_states(count), [''] * count
        piece, left = FIRST_PIECE, text_length - len(prime)
        while left > 0 and any(end is not None for end in ends):
            n = min(piece, left)
            bits = self._bits(n if method == 'normal' and temperature else 0, count)
            text, *states = sample(prime, bits, n, choice, *states)                # (m+n, count)
            written = strings(text[len(prime):])
            if stop:
                written, ends = zip(*[until(stop, end, string) for end, string in zip(ends, written)])
            yield list(written)
            prime, left, piece = text[-1:], left - n, min(2 * piece, LONGEST_PIECE)

    @locked
    def _bits(self, n, count):
        """Return the random bits of n characters of each text, (n,count)."""
        return self.random.integers(2 ** 53, size=(n, count))

    @locked
    def _sample(self, *inputs):
        """Return texts and new states; arguments: those of continue_texts after predict."""
        return self._function('sample')(*inputs)

    @locked
    def _prime(self, seed, text_length, method, count):
        """Return the seed, or a random character, as numbers (m,count), after a check of the arguments."""
        checks.choice('method', method, METHODS)
        checks.whole('text_length', text_length, 0)
        checks.whole('count', count, 1)
        if not isinstance(seed, str):
            raise ValueError(f'the seed is of type {type(seed).__name__}: expected a string; the number of characters '
                             'is text_length')
        numbers = self._encode(seed, 'the seed')
        if not self.p:
            raise ValueError('no model yet: call model_setup first')
        if seed or not text_length:
            return np.repeat(numbers[:, None], count, axis=1)
        return self.random.integers(len(self.uchar), size=(1, count), dtype=np.int32)

    # ---- units that are held

    def _held_copy(self):
        """Return a copy of the model with a held cell. It shares the parameters, also while they are trained."""
        cell, units = held_cell(self._model_cell()), dict(zip('12', self._units()))
        held = copy.copy(self)
        held.cell, held.cell_parameters = cell.function, dict.fromkeys(cell.own, 0)
        held.p = {name: self.p[name] if name in self.p else theano.shared(np.zeros(units[name[-1]], cell.dtype), name)
                  for name in (*NAMES, *own_names(cell.own))}
        held._set_cell(cell)
        return held

    def _sample_holding(self, hold):
        """Return a function like _sample that writes with units held. hold: as for hold_parameters."""
        arrays = hold_parameters(hold, self._units(), theano.config.floatX)

        def sample(*inputs):
            with self._lock:
                self._checked_cell()                               # drops what was compiled with another cell
                if 'held' not in self._functions:
                    self._functions['held'] = self._held_copy()
                held = self._functions['held']
                for name, array in arrays.items():                 # each time: another text may be written meanwhile
                    held.p[name].set_value(array)
                return held._sample(*inputs)
        return sample
