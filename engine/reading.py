"""What a model makes of a text that it reads: what it expects, what it remembers, and what its units follow."""
import numpy as np

from engine import checks
from engine.features import NAMED, correlation
from engine.parameters import STATES, units
from engine.state import State, locked

SCORED, ADAPTED = 2000, 20     # characters scored at a time, at most; and before they are learned from
PROBABILITIES = 1 << 20        # that scoring holds at a time, if it can: V for each character


def costs_of(probabilities, y):
    """The costs -log p[y] (T,), in nats, of characters y (T,1) by the probabilities (T,V) of all."""
    expected = probabilities[np.arange(len(y)), y[:, 0]]
    # A probability too small for its type costs as much as the smallest there is.
    return -np.log(np.maximum(expected, np.finfo(expected.dtype).tiny))


class Reading(State):
    """What a CharLSTM, which has the functions that are compiled, makes of a text that it reads."""

    @locked
    def score_text(self, text, adapt=0, progress=None):
        """How well the model expects a text: the cost of each character but the first, in nats, float (n-1,).

        The text may be a string or numbers of uchar, int (n,), of any length; it
        is read once with the state carried along. adapt: the rate at which a copy of
        the model goes on learning from what it has just scored, by gradient descent
        (dynamic evaluation: Krause et al. 2018); this one stays as it is. 0: none does.
        progress: a function that is called with the costs of each piece as they come.
        Raises ValueError for fewer than two characters, or for some that the model
        does not have.
        """
        numbers, costs = self._at_least_two(text), []
        checks.real('adapt', adapt, 'of at least 0', lambda v: v >= 0)
        model, span = (self._copy(lrate=adapt, grad_clip=1), ADAPTED) if adapt else (self, self._scored())
        for x, y, states, probabilities in model._read(numbers, span):
            costs.append(costs_of(probabilities, y))
            if progress:
                progress(costs[-1])
            if adapt:
                model._function('train_sgd')(x, y, *states, model._weights(x))
        return np.concatenate(costs)

    def _at_least_two(self, text):
        """A text, a string or numbers, as numbers (n,); raises ValueError where there is nothing to predict."""
        numbers = self._numbers(text, 'the text') if isinstance(text, str) else np.asarray(text)
        if len(numbers) < 2:
            raise ValueError(f'the text to score has {len(numbers)} characters: at least 2 are needed')
        return numbers

    def _scored(self):
        """Return how many characters to score at a time, so that memory is bounded whatever V is."""
        return max(1, min(SCORED, PROBABILITIES // self._V()))

    def _read(self, numbers, span):
        """Read numbers (n,), so many at a time, with the state carried along.

        Yields characters x (T,1), those that follow them, y (T,1), the states before x, and the
        probabilities (T,V) of what follows each of x.
        """
        states = self._zero_states(1)
        for start in range(0, len(numbers) - 1, span):
            x, y = [checks.characters('text', numbers[start + shift:min(start + span, len(numbers) - 1) + shift],
                                      self._V()) for shift in (0, 1)]
            probabilities, *after = self._function('predict')(x, *states)
            yield x, y, states, probabilities
            states = after

    @locked
    def alternatives(self, text, k=5):
        """What the model expects at each character but the first of a text, as for score_text.

        Returns the costs (n-1,) in nats; the k most probable characters as numbers of uchar,
        int (n-1,k), the most probable first; and their probabilities (n-1,k). Raises as score_text.
        """
        checks.whole('k', k, 1, self._V())
        costs, best, of_best = [], [], []
        for _, y, _, probabilities in self._read(self._at_least_two(text), self._scored()):
            costs.append(costs_of(probabilities, y))
            best.append(np.argsort(-probabilities, axis=1, kind='stable')[:, :k])
            of_best.append(np.take_along_axis(probabilities, best[-1], axis=1))
        return np.concatenate(costs), np.concatenate(best), np.concatenate(of_best)

    @locked
    def states(self, text):
        """What the units hold after each character of a text, as for score_text, read from zero states.

        Returns a dict: h1, C1 (n,H1) and h2, C2 (n,H2).
        """
        x, after, found = checks.characters('text', self._at_least_two(text), self._V()), self._zero_states(1), []
        for start in range(0, len(x), SCORED):
            *states, h1, C1, h2, C2 = self._function('states')(x[start:start + SCORED], *after)
            found.append([state[:, 0] for state in states])
            after = h1, C1, h2, C2
        return dict(zip(STATES, map(np.concatenate, zip(*found))))

    def correlations(self, text, states):
        """How well each unit follows what can be named in a text: engine/features.py says what that is.

        states: what states(text) gave. Returns for each name that is there, such as 'inside
        quotes', a dict of Pearson's correlations: h1, C1 (H1,) and h2, C2 (H2,).
        """
        string = ''.join([self.uchar[k] for k in self._at_least_two(text)])
        features = {name: feature(string) for name, feature in NAMED.items()}
        return {name: {of: correlation(feature, states[of]) for of in STATES}
                for name, feature in features.items() if np.ptp(feature)}

    def _copy(self, **settings):
        """A model with parameters of its own that are these, to train with settings of model_setup."""
        copy, (H1, H2) = type(self)(kernel=self._kernel), units(self._arrays())
        vars(copy).update({name: vars(self)[name] for name in ('cell', 'cell_parameters') if name in vars(self)})
        copy._cell = self._cell                # so that nothing is said of it twice
        copy.model_setup(char_dim=self._V(), num_units1=H1, num_units2=H2, **settings)
        copy._set_parameters(self._arrays(), self.uchar)
        return copy
