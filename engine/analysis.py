"""How a model reads a text: what it expects, what it remembers, and what its units follow. Methods of CharLSTM."""
import copy

import numpy as np

from engine.model import checks
from engine.model.text import encoded
from engine.parallel import SingleProcess
from engine.training import STATES, V, arrays, batch, check, compiled, cost_weights, set_parameters, sizes, zero_states

SCORED, ADAPTED = 2000, 20     # characters scored at a time, at most, and with adapt
PROBABILITIES = 1 << 20        # that scoring holds at a time, at most: V for each character, and one character at least
CLIPS = 1, 5                   # the largest gradient norm of a model that adapts without mean squares, and with them
DECAY = 0.001                  # with mean squares, the share of its way back to the checkpoint's value at each step
HIGH = 0.01                    # largest rate with mean squares: a higher one was meant for adapting without them
LINES = 64                     # lines scored at a time, at most


def mean_cost(costs):
    """Return the mean over all characters of (cost, number of characters) pairs; nan for no characters."""
    characters = sum(n for _, n in costs)
    return sum(cost * n for cost, n in costs) / characters if characters else float('nan')


def costs_of(logs, y):
    """Return the costs -log p[y] (T,B), in nats, of characters y (T,B), from the logarithms (T*B,V) of all p."""
    costs = -logs[np.arange(y.size), y.ravel()].reshape(y.shape)
    if not np.isfinite(costs).all():
        raise ValueError('the costs are not finite: take another checkpoint or, to adapt, a lower rate')
    return costs


# ---------------------------------------------------------------- the validation text

def validate(model):
    """Return the mean cost, in nats a character, over all validation batches; nan if there are none."""
    return mean_cost(list(validation_costs(model)))


def validate_batch(model):
    """Return the mean cost of a validation batch, the next or, without streams, a random one; nan if there is none."""
    n = model.n_batches.get('valid')
    if not n:
        return float('nan')
    states, index = model.validation
    i = index % n if model.stateful else model.random.integers(n)
    y = model.Y['valid'][i]
    cost, _, *after, _ = check(model, model.X['valid'][i], y, states if i else None)
    if model.stateful:
        model.validation = after, i + 1
    return model.group.mean(float(cost), y.size)[0]


def validation_costs(model):
    """Yield the mean cost and the number of characters of each validation batch in turn."""
    if 'valid' not in model.X:
        raise ValueError('no text yet: call prepare_input first')
    states = None
    for x, y in zip(model.X['valid'], model.Y['valid']):
        cost, _, *after, _ = check(model, x, y, states)
        yield model.group.mean(float(cost), y.size)
        states = after if model.stateful else None


def passage_costs(model):
    """Return the cost of each character of the text's passage but the first, in nats, float (n-1,)."""
    numbers = encoded(model.text.passage[1], model.uchar, 'the passage')
    return check(model, *batch(model, numbers[:-1], numbers[1:]))[-1][:, 0]


# ---------------------------------------------------------------- any text

def numbers_of(model, text):
    """Return a text, a string or numbers of uchar (n,), as int32 (n,1). Raises ValueError for fewer than two."""
    numbers = encoded(text, model.uchar, 'the text') if isinstance(text, str) else np.asarray(text)
    if numbers.ndim != 1 or len(numbers) < 2:
        raise ValueError(f'the text has shape {numbers.shape}: expected at least 2 characters, in a string or (n,)')
    return checks.characters('text', numbers, V(model))


def piece_length(model):
    """Return how many characters to score at a time, so that memory is bounded for any V."""
    return max(1, min(SCORED, PROBABILITIES // V(model)))


def read(model, numbers, length):
    """Read numbers (n,1) in pieces of that length, with the states carried along, by the function 'predict'.

    Yields characters x (T,1), the next ones y (T,1), the states before x, and log probabilities (T,V) after each of x.
    """
    states = zero_states(model, 1)
    for start in range(0, len(numbers) - 1, length):
        piece = numbers[start:start + length + 1]
        logs, *after = compiled(model, 'predict')(piece[:-1], *states)
        yield piece[:-1], piece[1:], states, logs
        states = after


def divided(gradients, parameters, state, lrate, lp):
    """Return the steps of gradient descent with divided gradients, and with decay to the parameters before the text."""
    return [lrate * (g / divisor) + DECAY * (p - origin)
            for g, p, divisor, origin in zip(gradients, parameters, state['divisors'], state['origins'])], state


def learner(model, adapt, averages):
    """Return a model that learns at rate adapt, from the same parameters, and its step. averages: as in score_text.

    With mean squares m, the step from p is adapt g / (r + mean(r) / 10) + DECAY (p - p_0), with r = sqrt(m) and p_0
    from before the text. mean(r), over the array, limits the steps of what the training text hardly used. The decay
    limits the noise that the steps add up to in a long text.
    """
    most = HIGH if averages else np.inf
    checks.real('adapt', adapt, f'from 0 to {most}', lambda v: 0 <= v <= most)
    new, (H1, H2) = copy.copy(model), sizes(model)
    new.group, new.random = SingleProcess(), np.random.default_rng(0)              # no draws from the model's
    new.p, new.weights, new.optimiser_variables, new.text = {}, {}, {}, None       # the model's are shared
    new.model_setup(char_dim=V(model), num_units1=H1, num_units2=H2, lrate=adapt, grad_clip=CLIPS[bool(averages)])
    set_parameters(new, arrays(model.p), model.uchar)
    if not averages:
        return new, compiled(new, 'train_sgd')
    roots = [np.sqrt(averages[name]) for name in model.p]
    divisors = [r + r.mean() / 10 for r in roots]
    new.optimiser = divided
    new.optimiser_state = lambda parameters: dict(divisors=divisors, origins=parameters)
    return new, compiled(new, 'train_rmsprop')


def score_text(model, text, adapt=0, progress=None, averages=None):
    """Return the cost of each character of a text but the first, in nats, float (n-1,).

    text: a string or numbers of uchar, int (n,), at least two; it is read once with the states carried along. adapt:
    the rate at which a copy of the model learns from what it has just scored, by gradient descent (dynamic evaluation:
    Krause et al. 2018); 0: no learning. progress: a function that is called with the costs of each piece. averages:
    RMSprop's mean squares of gradients, of read_averages(checkpoint), by whose roots the copy then divides gradients;
    its parameters also decay to the model's. Good rates are 1e-4 with them and 0.1 without. Raises ValueError for
    unknown characters and costs that are not finite.
    """
    numbers, costs, reader, length = numbers_of(model, text), [], model, piece_length(model)
    if adapt:
        (reader, learn), length = learner(model, adapt, averages), ADAPTED
    for x, y, states, logs in read(reader, numbers, length):
        costs.append(costs_of(logs, y)[:, 0])
        if progress:
            progress(costs[-1])
        if adapt and sum(map(len, costs)) < len(numbers) - 1:          # nothing is scored after the last piece
            learn(x, y, *states, cost_weights(reader, x, 1))
    return np.concatenate(costs)


def score_batch(model, numbers, at, progress):
    """Return the costs (B,) of B lines, the longest first, in numbers (n,) between line ends, which are at (B+1,)."""
    lengths, B, start = np.diff(at), len(at) - 1, 0
    costs, states = np.zeros(B), zero_states(model, B)
    while B:                                               # lines that were not read to their ends
        T = max(1, min(lengths[0] - start, piece_length(model) // B))
        steps = np.arange(start, start + T)[:, None]
        index = at[:B] + np.minimum(steps, lengths[:B] - 1)            # (T, B); a line's last one fills its column
        logs, *states = compiled(model, 'predict')(numbers[index], *states)
        read = steps < lengths[:B]
        costs[:B] += np.where(read, costs_of(logs, numbers[index + 1]), 0).sum(axis=0, dtype=np.float64)
        if progress:
            progress(int(read.sum()))
        start += T
        B = np.count_nonzero(lengths > start)
        states = [state[:B] for state in states]
    return costs


def score_lines(model, lines, progress=None):
    """Return the cost of each of n lines in nats, float64 (n,): of its characters and of the line end after them.

    lines: strings. Each is read by itself, from zero states, after a line end, as stream_text('\\n', stop='\\n')
    writes them. progress: a function that is called with how many characters were just scored.
    """
    lines = list(lines)
    if any('\n' in line for line in lines):
        raise ValueError('a line has a line end in it: expected one line in each string')
    costs, end = np.zeros(len(lines)), encoded('\n', model.uchar, 'each line end')[0]
    by_length = sorted(range(len(lines)), key=lambda k: len(lines[k]), reverse=True)
    size = min(LINES, piece_length(model))
    for start in range(0, len(lines), size):
        of_batch = by_length[start:start + size]
        numbers = encoded('\n'.join(['', *[lines[k] for k in of_batch], '']), model.uchar, 'a line')
        costs[of_batch] = score_batch(model, numbers, np.flatnonzero(numbers == end), progress)
    return costs


def alternatives(model, text, k=5):
    """Return what the model expects at each character of a text but the first. text: as for score_text.

    Returns the costs (n-1,) in nats; the k most probable characters, int (n-1,k), the most probable first; and their
    probabilities (n-1,k).
    """
    checks.whole('k', k, 1, V(model))
    costs, best, of_best = [], [], []
    for _, y, _, logs in read(model, numbers_of(model, text), piece_length(model)):
        costs.append(costs_of(logs, y)[:, 0])
        best.append(np.argsort(-logs, axis=1, kind='stable')[:, :k])
        of_best.append(np.exp(np.take_along_axis(logs, best[-1], axis=1)))
    return np.concatenate(costs), np.concatenate(best), np.concatenate(of_best)


def states(model, text):
    """Return the states after each character of a text, from zero states: a dict of h1, C1 (n,H1) and h2, C2 (n,H2)."""
    x, after, pieces = numbers_of(model, text), zero_states(model, 1), []
    for start in range(0, len(x), SCORED):
        *of_steps, h1, C1, h2, C2 = compiled(model, 'states')(x[start:start + SCORED], *after)
        pieces.append([state[:, 0] for state in of_steps])
        after = h1, C1, h2, C2
    return dict(zip(STATES, map(np.concatenate, zip(*pieces))))


def correlations(model, text, states):
    """Return how well each unit follows the FEATURES that vary in a text. states: what states(text) returned.

    The result has for each of them, by name, a dict of Pearson's correlations: h1, C1 (H1,) and h2, C2 (H2,).
    """
    string = ''.join([model.uchar[k] for k in numbers_of(model, text)[:, 0]])
    features = {name: feature(string) for name, feature in FEATURES.items()}
    return {name: {of: correlation(feature, states[of]) for of in STATES}
            for name, feature in features.items() if np.ptp(feature)}


# ---------------------------------------------------------------- features: a number at each character of a text

QUOTES = '"\u201c\u201d\u201e\xab\xbb'          # all but single ones, which are apostrophes too
BRACKETS = {**dict.fromkeys('([{', 1), **dict.fromkeys(')]}', -1)}


def depths(text, step):
    """Return how deep each character is inside something, int (n,). step: from a depth and a character to the next.

    An empty line ends all depths: the next paragraph of a speech opens it again, and a mark may have been forgotten.
    """
    depth, found = 0, []
    for before, character in zip(' ' + text, text):
        depth = 0 if before == character == '\n' else step(depth, character)
        found.append(depth)
    return np.array(found)


def since(text, begins):
    """Return how many characters ago begins(character) was last true, counted from before the text on, int (n,)."""
    at = np.arange(len(text))
    return at - np.maximum.accumulate(np.where([begins(character) for character in text], at, -1))


FEATURES = {
    'inside quotes': lambda text: depths(text, lambda depth, ch: 1 - depth if ch in QUOTES else depth),
    'inside brackets': lambda text: depths(text, lambda depth, ch: max(0, depth + BRACKETS.get(ch, 0))).clip(max=1),
    'position in the line': lambda text: since(text, lambda ch: ch == '\n'),
    'position in the word': lambda text: since(text, lambda ch: not ch.isalnum()),
    'capital letters': lambda text: np.array([ch.isupper() for ch in text], int),
    'distance to the last full stop': lambda text: since(text, lambda ch: ch in '.\u3002')}


def correlation(feature, states):
    """Return Pearson's correlation (H,) of a feature (n,) with the states (n,H) of units, 0 for constant states."""
    feature, states = feature - feature.mean(), states - states.mean(axis=0, dtype=np.float64)
    spread = np.sqrt((feature ** 2).sum() * (states ** 2).sum(axis=0))
    return np.divide(feature.dot(states), spread, out=np.zeros_like(spread), where=spread > 0)
