"""How a model reads a text: what it expects, what it remembers, and what its units follow."""
import collections.abc
import copy
from typing import Any, Callable, Dict, Iterable, Iterator, Optional, Tuple, Union

import numpy as np

from engine.model import checks
from engine.compiled import Compiled
from engine.parallel import SingleProcess
from engine.run_state import STATES, read_averages
from engine.training import locked
from engine.run.table import AT_LEAST_0
from engine.terminal import number_of

Text = Union[str, np.ndarray]  # a string, or numbers of uchar, int (n,)
SCORED, ADAPTED = 2000, 20     # characters scored at a time, at most, and with adapt
PROBABILITIES = 1 << 20        # that scoring holds at a time, at most: V for each character, and one character at least
# How a model adapts without averages of RMSprop, and with them: the default rate, and the largest norm of a gradient.
RATES, CLIPS = (0.1, 1e-4), (1, 5)
DECAY = 0.001                  # with averages, the share of its way back to the checkpoint's value at each step
HIGH = 0.01                    # largest rate with averages: a higher one was meant for adapting without them
LINES = 64                     # lines scored at a time, at most
TEMPERATURES = np.geomspace(1 / 4, 4, 25)      # among which tune_temperature searches


def mean_cost(costs):
    """Return the mean over all characters of (cost, number of characters) pairs; nan for no characters."""
    total = characters = 0
    for cost, n in costs:
        total, characters = total + cost * n, characters + n
    return total / characters if characters else float('nan')


def costs_of(logs, y):
    """Return the costs -log p[y] (T,), in nats, of characters y (T,1), from the logarithms (T,V) of all p.

    Raises ValueError where one is not finite.
    """
    costs = -logs[np.arange(len(y)), y[:, 0]]
    if not np.isfinite(costs).all():
        raise ValueError('the model gives no finite costs: its parameters are too large; take another checkpoint or, '
                         'if it adapts, a lower rate')
    return costs


def costs_at(temperatures, logs, y):
    """Return the costs (n,T) at n temperatures t, by the probabilities p^(1/t) / sum p^(1/t), in float64.

    logs, y: as for costs_of. Raises ValueError as that does.
    """
    below = logs - logs.max(axis=1, keepdims=True).astype(float)           # so that no sum is 0
    costs = costs_of(below, y)
    return np.array([np.log(np.exp(below / t).sum(axis=1)) + costs / t for t in temperatures])


def check_rate(adapt, averages):
    """Raise ValueError for a rate to adapt at that is out of range, or for averages that score_text does not take."""
    if adapt is True:                                  # which would count as 1
        raise ValueError(f'adapt is True: expected a rate, such as {RATES[0]}')
    AT_LEAST_0('adapt', adapt)
    if averages is not None and not isinstance(averages, collections.abc.Mapping):
        raise ValueError(f'averages is of type {type(averages).__name__}: expected a dict, as read_averages returns it')
    if averages:
        checks.real('adapt', adapt, f'of at most {HIGH} with the averages of RMSprop; the default is {RATES[1]}',
                    lambda v: v <= HIGH)


def how_to_adapt(checkpoint, rate=True):
    """Return what score_text needs to adapt, by name: the averages of RMSprop, {} if the checkpoint has none, the rate.

    rate: True for the default one. Raises ValueError for a rate out of range.
    """
    averages = read_averages(checkpoint)
    rate = RATES[bool(averages)] if rate is True else rate
    check_rate(rate, averages)
    return dict(adapt=rate, averages=averages)


def _divided(gradients, parameters, state, lrate, lp):
    """Return the steps of gradient descent with divided gradients, and with decay to the parameters before the text."""
    return [lrate * (g / divisor) + DECAY * (p - origin)
            for g, p, divisor, origin in zip(gradients, parameters, state['divisors'], state['origins'])], state


class Analysis(Compiled):
    """The methods of a CharLSTM that read a text."""

    # ---- the validation text

    @locked
    def validate(self) -> float:
        """Return the mean cost, in nats a character, over all validation batches; nan where there is none.

        Raises ValueError where no text was prepared, or without a model.
        """
        return mean_cost(self.validation_costs())

    @locked
    def validate_batch(self) -> float:
        """Return the mean cost of one validation batch; nan where there is none.

        In a stateful text it is the next batch, from the states after the one before; otherwise a
        random batch, from zero states.
        """
        n = self.n_batches.get('valid')
        if not n:
            return float('nan')
        i = self._validation_index % n if self._stateful() else self.random.integers(n)
        x, y = self.X['valid'][i], self.Y['valid'][i]
        before = self._validation_states if self._stateful() and i else None
        if before and len(before[0]) != x.shape[1]:
            before = None
        cost, _, *after = self._check(x, y, before)
        if self._stateful():
            self._validation_states, self._validation_index = after, i + 1
        return self.group.mean(float(cost), y.size)[0]

    def validation_costs(self) -> Iterator[Tuple[float, int]]:
        """Yield the mean cost and the number of characters of each validation batch in turn.

        Raises ValueError where no text was prepared, or where a model of other sizes was set meanwhile.
        """
        if 'valid' not in self.X:
            raise ValueError('no text yet: call prepare_input first')
        states, check = None, self._of_these_sizes(self._check)
        for x, y in zip(self.X['valid'], self.Y['valid']):
            cost, _, *after = check(x, y, states)
            yield self.group.mean(float(cost), y.size)
            if self._stateful():
                states = after

    @locked
    def passage_costs(self) -> np.ndarray:
        """Return the cost of each character of passage() but the first, in nats, float (n-1,), read from zero states.

        Raises ValueError where no text was prepared.
        """
        numbers = self._encode(self.passage()[1], 'the passage')
        x, y = self._batch(numbers[:-1], numbers[1:])
        return self._function('check')(x, y, *self._zero_states(1))[-1][:, 0]

    # ---- any text, character by character

    def _numbers(self, text):
        """Return a text as numbers (n,).

        Raises ValueError for what is no string and no numbers, and for fewer than two characters.
        """
        numbers = self._encode(text, 'the text') if isinstance(text, str) else np.asarray(text)
        if numbers.ndim != 1 or numbers.size and numbers.dtype.kind not in 'iu':
            raise ValueError(f'the text has type {numbers.dtype} and shape {numbers.shape}: expected a string, or '
                             'numbers of uchar of shape (n,)')
        if len(numbers) < 2:
            raise ValueError(f'the text to score has {number_of(len(numbers), "character")}: at least 2 are needed')
        return numbers

    def _piece_length(self):
        """Return how many characters to score at a time, so that memory is bounded for any V."""
        return max(1, min(SCORED, PROBABILITIES // self._V()))

    def _read(self, numbers, length):
        """Read numbers (n,) in pieces of that length, with the states carried along.

        Yields characters x (T,1), the characters that follow them, y (T,1), the states before x, and the
        logarithms (T,V) of the probabilities of what follows each of x.
        """
        states = self._zero_states(1)
        for start in range(0, len(numbers) - 1, length):
            piece = checks.characters('text', numbers[start:start + length + 1], self._V())             # (T+1, 1)
            x, y = piece[:-1], piece[1:]
            logs, *after = self._function('predict')(x, *states)
            yield x, y, states, logs
            states = after

    def _copy(self, **settings):
        """Return a model of one process with a copy of the parameters, to train with settings of model_setup."""
        new, (H1, H2) = copy.copy(self), self._units()
        new.group, new.random = SingleProcess(), np.random.default_rng(0)              # no draws from the model's
        new._cell = self._checked_cell()      # so that no warning about it is repeated
        new.p, new._weights, new._optimiser_state, new._text = {}, {}, {}, None        # the model's are shared
        new.model_setup(char_dim=self._V(), num_units1=H1, num_units2=H2, **settings)
        new._set_parameters(self._arrays(), self.uchar)
        return new

    def _learner(self, adapt, averages):
        """Return a copy of the model that learns at rate adapt, and its training step. averages: as in score_text.

        With averages m, the step from a parameter p is adapt g / (r + mean(r) / 10) + DECAY (p - p_0), with r = sqrt(m)
        and p_0 from before the text. Without mean(r), which is over the array, an element that the training text
        hardly used would move without limit. Without the decay, the noise of the steps adds up in a long text.
        """
        if not averages:
            learner = self._copy(lrate=adapt, grad_clip=CLIPS[0])
            return learner, learner._function('train_sgd')
        if any(np.shape(averages.get(name)) != array.shape for name, array in self._arrays().items()):
            raise ValueError('the averages are those of another model: expected an array for each parameter, of its '
                             'shape')
        learner = self._copy(lrate=adapt, grad_clip=CLIPS[1])
        roots = [np.sqrt(averages[name]) for name in self.p]
        divisors = [r + r.mean() / 10 for r in roots]
        learner.optimiser = _divided
        learner.optimiser_state = lambda parameters: dict(divisors=divisors, origins=parameters)
        return learner, learner._function('train_rmsprop')

    def _predictions(self, numbers, adapt, averages):
        """Yield the characters y (T,1) of a text but the first, in pieces, and logarithms (T,V), as _read does.

        adapt, averages: as in score_text; the copy of the model learns from a piece when the next one is asked for.
        """
        check_rate(adapt, averages)
        reader, length = self, self._piece_length()
        if adapt:
            (reader, learn), length = self._learner(adapt, averages), ADAPTED
        for x, y, states, logs in reader._read(numbers, length):
            yield y, logs
            if adapt:
                learn(x, y, *states, reader._cost_weights(x, 1))

    @locked
    def score_text(self, text: Text, adapt: float = 0, progress: Optional[Callable[[np.ndarray], Any]] = None,
                   temperature: float = 1, averages: Optional[Dict[str, np.ndarray]] = None) -> np.ndarray:
        """Return the cost of each character of a text but the first, in nats, float (n-1,).

        The text may be a string or numbers of uchar, int (n,), of any length; it
        is read once with the states carried along. adapt: the rate at which a copy of
        the model keeps learning from what it has just scored, by gradient descent
        (dynamic evaluation: Krause et al. 2018); the model itself does not change. 0: no learning.
        progress: a function that is called with the costs of each piece as they come.
        temperature: of the softmax that predicts, as tune_temperature finds it; the copy learns at 1.
        averages: RMSprop's of the squared gradients of the training text, as read_averages(checkpoint) returns them, by
        whose roots the copy then divides its gradients; its parameters also decay to the model's. 1e-4 is a good rate
        with them, and 0.1 without. Without adapt they are not used.
        Raises ValueError for fewer than two characters, for unknown ones, for a rate out of range, for a temperature
        that is not above 0, or where a cost is not finite.
        """
        numbers, costs = self._numbers(text), []
        temperature = checks.temperature(temperature)
        for y, logs in self._predictions(numbers, adapt, averages):
            costs.append(costs_of(logs, y) if temperature == 1 else costs_at([temperature], logs, y)[0])
            if progress:
                progress(costs[-1])
        return np.concatenate(costs)

    @locked
    def tune_temperature(self, text: Text, adapt: float = 0, progress: Optional[Callable[[np.ndarray], Any]] = None,
                         averages: Optional[Dict[str, np.ndarray]] = None) -> float:
        """Return the temperature of the softmax, from 1/4 to 4, at which score_text(text) costs least.

        The text should be one of validation: the temperature then holds for others like it. It is read once.
        Arguments and what is raised: as for score_text; progress gets the costs at temperature 1.
        """
        numbers, sums, half = self._numbers(text), np.zeros(len(TEMPERATURES)), len(TEMPERATURES) // 2
        for y, logs in self._predictions(numbers, adapt, averages):
            costs = costs_at(TEMPERATURES, logs, y)
            sums += costs.sum(axis=1, dtype=np.float64)
            if progress:
                progress(costs[half])
        best = sums.argmin()
        if best in (0, len(sums) - 1):
            return float(TEMPERATURES[best])
        # The cost is convex in 1/t: its least value is close to that of the parabola through the three around it.
        near = slice(best - 1, best + 2)
        square, linear, _ = np.polyfit(1 / TEMPERATURES[near], sums[near] / len(numbers), 2)
        return float(-2 * square / linear)

    # ---- lines, each by itself

    def _score_batch(self, numbers, at, progress):
        """Return the costs (B,) of B lines that stand in numbers (n,) between line ends, whose places are at (B+1,)."""
        lengths, costs, states, start = np.diff(at), np.zeros(len(at) - 1), self._zero_states(len(at) - 1), 0
        left = np.arange(len(costs))                           # lines that were not read to their ends
        while len(left):
            T = max(1, min(lengths[left].max() - start, self._piece_length() // len(left)))
            steps = np.arange(start, start + T)[:, None]
            index = at[left] + np.minimum(steps, lengths[left] - 1)        # (T, B); a line's last one fills its column
            logs, *states = self._function('predict')(numbers[index], *states)
            of_steps = costs_of(logs, numbers[index + 1].reshape(-1, 1)).reshape(index.shape)
            read = steps < lengths[left]
            costs[left] += np.where(read, of_steps, 0).sum(axis=0, dtype=np.float64)
            if progress:
                progress(int(read.sum()))
            start += T
            longer = lengths[left] > start
            left, states = left[longer], [state[longer] for state in states]
        return costs

    @locked
    def score_lines(self, lines: Iterable[str], progress: Optional[Callable[[int], Any]] = None) -> np.ndarray:
        """Return the cost of each of n lines in nats, float64 (n,): of its characters and of the line end after them.

        lines: strings without a line end. Each is read by itself, from zero states, after a line end, as lines are
        written by stream_text('\\n', stop='\\n'). Lines of similar length are read together. progress: a function that
        is called with the number of characters that were just scored. Raises ValueError for characters that the model
        never saw, line ends among them, for a line end in a line, and where a cost is not finite.
        """
        if isinstance(lines, str) or not isinstance(lines, collections.abc.Iterable):
            raise ValueError(f'lines is of type {type(lines).__name__}: expected a list of strings, one a line')
        if self.uchar and '\n' not in self.uchar:
            raise ValueError('the model never saw a line end, which each line begins after and ends with: it can score '
                             'texts, but no lines')
        lines = list(lines)
        for line in lines:
            if not isinstance(line, str):
                raise ValueError(f'a line is of type {type(line).__name__}: expected a string')
            if '\n' in line:
                raise ValueError(f'a line has a line end in it, {line[:30]!r}: expected one line in each string')
        costs, end = np.zeros(len(lines)), self._encode('\n', 'a line')[0]
        by_length = sorted(range(len(lines)), key=lambda k: len(lines[k]), reverse=True)
        size = min(LINES, self._piece_length())
        for start in range(0, len(lines), size):
            batch = by_length[start:start + size]
            numbers = self._encode('\n'.join(['', *[lines[k] for k in batch], '']), 'a line')
            costs[batch] = self._score_batch(numbers, np.flatnonzero(numbers == end), progress)
        return costs

    # ---- what it expects and remembers

    @locked
    def alternatives(self, text: Text, k: int = 5) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what the model expects at each character of a text but the first.

        text: as for score_text. Returns the costs (n-1,) in nats; the k most probable characters as numbers
        of uchar, int (n-1,k), the most probable first; and their probabilities (n-1,k). Raises
        ValueError as score_text does, and unless k is from 1 to V.
        """
        checks.whole('k', k, 1, self._V())
        costs, best, of_best = [], [], []
        for _, y, _, logs in self._read(self._numbers(text), self._piece_length()):
            costs.append(costs_of(logs, y))
            best.append(np.argsort(-logs, axis=1, kind='stable')[:, :k])
            of_best.append(np.exp(np.take_along_axis(logs, best[-1], axis=1)))
        return np.concatenate(costs), np.concatenate(best), np.concatenate(of_best)

    @locked
    def states(self, text: Text) -> Dict[str, np.ndarray]:
        """Return the states after each character of a text: a dict of h1, C1 (n,H1) and h2, C2 (n,H2).

        The text, as for score_text, is read from zero states. Raises ValueError as score_text does.
        """
        x, after, pieces = checks.characters('text', self._numbers(text), self._V()), self._zero_states(1), []
        for start in range(0, len(x), SCORED):
            *of_steps, h1, C1, h2, C2 = self._function('states')(x[start:start + SCORED], *after)
            pieces.append([state[:, 0] for state in of_steps])
            after = h1, C1, h2, C2
        return dict(zip(STATES, map(np.concatenate, zip(*pieces))))

    def correlations(self, text: Text, states: Dict[str, np.ndarray]) -> Dict[str, Dict[str, np.ndarray]]:
        """Return how well each unit follows the FEATURES of a text.

        text: as for score_text. states: what states(text) returned. The result is a dict. It has for each feature
        that varies in the text, such as 'inside quotes', a dict of Pearson's correlations: h1, C1 (H1,) and
        h2, C2 (H2,). Raises ValueError as score_text does, and for states of a text of another length.
        """
        numbers = checks.characters('text', self._numbers(text), len(self.uchar))[:, 0]
        named = isinstance(states, collections.abc.Mapping)        # also what np.load returns
        shapes = {of: np.shape(states[of]) for of in STATES if named and of in states}
        if [shape[:-1] for shape in shapes.values()] != len(STATES) * [(len(numbers),)]:
            raise ValueError(f'states has the shapes {shapes}: expected {", ".join(STATES)}, each with '
                             f'{len(numbers)} rows, one a character, as states(text) returns them')
        string = ''.join([self.uchar[k] for k in numbers])
        features = {name: feature(string) for name, feature in FEATURES.items()}
        return {name: {of: correlation(feature, states[of]) for of in STATES}
                for name, feature in features.items() if np.ptp(feature)}


# ---------------------------------------------------------------- features: a number at each character of a text

QUOTES = '"\u201c\u201d\u201e\xab\xbb'          # all but single ones, which are apostrophes too
BRACKETS = {**dict.fromkeys('([{', 1), **dict.fromkeys(')]}', -1)}


def depths(text, step):
    """Return how deep each character is inside something, 0 for outside, int (n,).

    step: a function of a depth and a character that returns the depth after the character. An empty
    line ends all depths: the next paragraph of a speech opens it again, and one mark that
    was forgotten would otherwise turn the rest of the text inside out.
    """
    depth, found = 0, []
    for before, character in zip(' ' + text, text):
        depth = 0 if before == character == '\n' else step(depth, character)
        found.append(depth)
    return np.array(found)


def in_quotes(text):
    """Return 1 from an opening quotation mark to before the closing one, otherwise 0, int (n,)."""
    return depths(text, lambda depth, character: 1 - depth if character in QUOTES else depth)


def in_brackets(text):
    """Return 1 from an opening bracket to before the one that closes it, otherwise 0, int (n,)."""
    return np.minimum(depths(text, lambda depth, character: max(0, depth + BRACKETS.get(character, 0))), 1)


def since(text, begins):
    """Return how many characters ago begins(character) was last true, counted from before the text on, int (n,)."""
    at = np.arange(len(text))
    return at - np.maximum.accumulate(np.where([begins(character) for character in text], at, -1))


FEATURES = {
    'inside quotes': in_quotes,
    'inside brackets': in_brackets,
    'position in the line': lambda text: since(text, lambda character: character == '\n'),
    'position in the word': lambda text: since(text, lambda character: not character.isalnum()),
    'capital letters': lambda text: np.array([character.isupper() for character in text], int),
    'distance to the last full stop': lambda text: since(text, lambda character: character in '.\u3002')}


def correlation(feature, states):
    """Return Pearson's correlation (H,) of a feature (n,) with the states (n,H) of units, 0 for constant states."""
    feature, states = feature - feature.mean(), states - states.mean(axis=0, dtype=np.float64)
    spread = np.sqrt((feature ** 2).sum() * (states ** 2).sum(axis=0))
    return np.divide(feature.dot(states), spread, out=np.zeros_like(spread), where=spread > 0)
