"""Compute what a model predicts on a text, its states, and what its units follow: methods of CharLSTM."""
import numpy as np

from engine import checks
from engine.data.parameters import in_layers
from engine.data.text import encoded
from engine.model.compile import compiled, is_standard
from engine.model.edits import cell_of_model
from engine.model.state import arrays, reader_of, set_parameters, sizes, vocabulary_size, zero_states
from engine.model.step import as_batch, check, cost_weights
from engine.run.schedule import Validated

SCORED, ADAPTED = 2000, 20     # most characters scored at a time: without adapt, and with it
LINES = 64                     # most lines scored at a time
PIECE = 100                    # characters in a row of ablations


def mean_of(batches):
    """Return the means over all characters, by name, of what validation_costs yields; 'cost' is nan without any."""
    characters = sum(n for _, n in batches)
    names = batches[0][0] if batches else ()
    return {'cost': float('nan'), **{
        name: sum(means[name] * n for means, n in batches) / characters for name in names}}


def costs_of(logs, y):
    """Return the costs -log p[y] (T,B), in nats, of characters y (T,B). logs: log p (T*B,V)."""
    costs = -logs[np.arange(y.size), y.ravel()].reshape(y.shape)
    if not np.isfinite(costs).all():
        raise ValueError('the costs are not finite: use another checkpoint or, to adapt, a lower rate')
    return costs


# ---------------------------------------------------------------- the validation text

def validate(model):
    """Return the mean cost over all validation batches."""
    return mean_of(list(validation_costs(model)))['cost']


def validate_batch(model):
    """Return the mean cost of the next validation batch or, if not stateful, of a random one; nan if there are none."""
    n = model.n_batches.get('valid')
    if not n:
        return float('nan')
    states, index = model.validation
    i = index % n if model.stateful else model.random.integers(n)
    y = model.Y['valid'][i]
    means, _, after, _ = check(model, model.X['valid'][i], y, states if i else None)
    if model.stateful:
        model.validation = after, i + 1
    return model.group.mean(means, y.size)[0]['cost']


def validation_costs(model):
    """Yield the means and the number of characters of each validation batch in turn: 'cost' and metrics, by name."""
    if 'valid' not in model.X:
        raise ValueError('no text yet: call prepare_input first')
    states = None
    for x, y in zip(model.X['valid'], model.Y['valid']):
        means, _, after, _ = check(model, x, y, states)
        yield model.group.mean(means, y.size)
        states = after if model.stateful else None


def validating(model):
    """Yield Validated after each validation batch. Return mean_of all of them."""
    batches = []
    for each in validation_costs(model):
        batches.append(each)
        yield Validated()
    return mean_of(batches)


def passage_costs(model):
    """Return the cost in nats of each character of the text's passage except the first, float (n-1,)."""
    numbers = encoded(model.text.passage[1], model.uchar, 'the passage')
    return check(model, *as_batch(model, numbers[:-1], numbers[1:]))[-1][:, 0]


# ---------------------------------------------------------------- any text

def numbers_of(model, text):
    """Return a text, a string or numbers of uchar (n,), as int32 (n,1). Raises ValueError if n is below 2."""
    numbers = encoded(text, model.uchar, 'the text') if isinstance(text, str) else np.asarray(text)
    if numbers.ndim != 1 or len(numbers) < 2:
        raise ValueError(f'the text has shape {numbers.shape}: expected at least 2 characters, as a string or (n,)')
    return checks.characters('text', numbers, vocabulary_size(model))


def read(model, x, states=None):
    """Return log probabilities (T,B,V) of what follows each of x, and the states after x."""
    x = checks.characters('x', x, vocabulary_size(model))
    states = zero_states(model, x.shape[1]) if states is None else states
    return compiled(model, 'texts').read(x, *[np.array(state, model.p['c'].dtype, order='C') for state in states])


def in_pieces(model, numbers, length):
    """Run 'predict' on numbers (n,1) in pieces of that length, carrying the states along.

    Yields inputs x (T,1), targets y (T,1), the states before x, and log probabilities (T,V) after each of x.
    """
    states = zero_states(model, 1)
    compiled(model, 'texts')                               # raises ValueError if no text can be read in parts
    for start in range(0, len(numbers) - 1, length):
        piece = numbers[start:start + length + 1]
        logs, *after = compiled(model, 'predict')(piece[:-1], *states)
        yield piece[:-1], piece[1:], states, logs
        states = after


def score_text(model, text, adapt, progress, mean_squares):
    """Return the cost in nats of each character of a text except the first, float (n-1,).

    adapt: see adapt.py; 0: no training. With mean_squares, gradients are divided by their roots, and changes decay.
    """
    numbers, reader, length, end = numbers_of(model, text), model, SCORED, 0
    costs = np.empty(len(numbers) - 1, model.p['c'].dtype)
    if adapt:
        from engine.model.adapt import learner           # late: most texts are only scored
        (reader, learn), length = learner(model, adapt, mean_squares), ADAPTED
    for x, y, states, logs in in_pieces(reader, numbers, length):
        start, end = end, end + len(y)
        costs[start:end] = costs_of(logs, y)[:, 0]
        if progress:
            progress(costs[start:end])
        if adapt and end < len(costs):                     # nothing is scored after the last piece
            learn(x, y, *states, cost_weights(reader, x, 1))
    return costs


def score_batch(model, numbers, at, progress):
    """Return the costs (B,) of B lines, the longest first. numbers: int (n,). at: places of its line ends (B+1,)."""
    lengths, B, start = np.diff(at), len(at) - 1, 0
    costs, states = np.zeros(B), zero_states(model, B)
    while B:                                               # B lines still have characters to read
        T = min(lengths[0] - start, SCORED // B)
        steps = np.arange(start, start + T)[:, None]
        index = at[:B] + np.minimum(steps, lengths[:B] - 1)            # (T, B); its last index pads a shorter line
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
    """Return the cost of each of n lines in nats, float64 (n,), including the line end after it.

    lines: strings. Each is scored independently, from zero states after a line end, as stream_text('\\n', stop='\\n')
    writes them. progress: a function that is called with the number of characters just scored.
    """
    lines = list(lines)
    if any('\n' in line for line in lines):
        raise ValueError('a line has a line end in it: expected one line per string')
    costs, end = np.zeros(len(lines)), encoded('\n', model.uchar, 'each line end')[0]
    compiled(model, 'texts')                               # as in in_pieces
    by_length = sorted(range(len(lines)), key=lambda k: len(lines[k]), reverse=True)
    for start in range(0, len(lines), LINES):
        of_batch = by_length[start:start + LINES]
        numbers = encoded('\n'.join(['', *[lines[k] for k in of_batch], '']), model.uchar, 'a line')
        costs[of_batch] = score_batch(model, numbers, np.flatnonzero(numbers == end), progress)
    return costs


def alternatives(model, text, k=5):
    """Return the k best predictions for each character of a text except the first. text: as for score_text.

    Returns the costs (n-1,) in nats; the k most probable characters, int (n-1,k), the most probable first; and their
    probabilities (n-1,k).
    """
    checks.whole('k', k, 1, vocabulary_size(model))
    pieces = []
    for _, y, _, logs in in_pieces(model, numbers_of(model, text), SCORED):
        best = np.argsort(-logs, axis=1, kind='stable')[:, :k]
        pieces.append((costs_of(logs, y)[:, 0], best, np.exp(np.take_along_axis(logs, best, axis=1))))
    return tuple(map(np.concatenate, zip(*pieces)))


def states(model, text):
    """Return the states after each character of a text, from zero states: h1, C1, h2, C2 ... by name, (n,H) each."""
    x, after, pieces, cell = numbers_of(model, text), zero_states(model, 1), [], cell_of_model(model)
    layers = len(sizes(model))
    for start in range(0, len(x), SCORED):
        found = compiled(model, 'states')(x[start:start + SCORED], *after)
        of_steps, after = found[:2 * layers], found[2 * layers:]
        pieces.append([part[:, 0] for k, state in enumerate(of_steps)          # C has the states side by side
                       for part in np.split(state, cell.counts.S if k % 2 else 1, axis=2)])
    return dict(zip(in_layers(('h', *cell.states), layers), map(np.concatenate, zip(*pieces))))


def correlations(model, text, states):
    """Return how well each unit follows the FEATURES that vary in a text. states: the result of states(text).

    Returns, for each of them by name, a dict of Pearson correlations (H,), by the names of the states.
    """
    from engine.data.features import FEATURES, correlation             # late: few ask for them
    string = ''.join([model.uchar[k] for k in numbers_of(model, text)[:, 0]])
    features = {name: feature(string) for name, feature in FEATURES.items()}
    return {name: {of: correlation(feature, state) for of, state in states.items()}
            for name, feature in features.items() if np.ptp(feature)}


def ablations(model, text, groups=None):
    """Return how much more characters cost without some units, in nats: (groups,) by name of KINDS, those in the text.

    Instead of a unit's output h, both its own layer and the next one read its mean over the text (mean ablation: Gurnee
    et al. 2024). groups: lists of pairs, the layer, from 1 on, and the number of a unit, from 0 on; None: each unit
    alone, layer by layer. Each PIECE characters are read again from the states that the whole model has before them.
    Raises ValueError for another cell or network than the standard one.
    """
    from engine.data.features import KINDS
    if not (cell_of_model(model).standard and is_standard(model)):
        raise ValueError(f'units of {type(model).__name__} cannot be left out: expected the standard cell and network')
    numbers, states, p = numbers_of(model, text)[:, 0], model.states(text), arrays(model.p)
    if groups is None:
        groups = [[(k, unit)] for k, H in enumerate(sizes(model), 1) for unit in range(H)]
    T = min(PIECE, len(numbers) - 1)
    n = (len(numbers) - 1) // T * T
    x, y = [numbers[start:start + n].reshape(-1, T).T for start in (0, 1)]         # (T, B)
    before = [np.concatenate([np.zeros_like(state[:1]), state])[:n:T] for state in states.values()]        # (B, H)
    kinds = np.array([next(kind for kind, fits in KINDS.items() if fits(ch)) for ch in model.uchar])[y]
    present = [kind for kind in KINDS if kind in kinds]
    reader = reader_of(model, p, model.uchar)
    costs = []
    for group in ([], *groups):
        set_parameters(reader, without(p, states, group), model.uchar)
        batch = check(reader, *as_batch(model, x, y), before)[-1]
        costs.append([batch[kinds == kind].mean(dtype=float) for kind in present])
    return dict(zip(present, (np.array(costs[1:]) - costs[0]).T))


def without(p, states, group):
    """Return parameters for which the outputs of units have their means, (k, unit) each. states: of states(text)."""
    p = {name: array.copy() for name, array in p.items()}
    for k, unit in group:
        mean = states[f'h{k}'][:, unit].mean()
        for weights, bias in ((f'W{k}', f'b{k}'), (f'U{k + 1}', f'b{k + 1}') if f'U{k + 1}' in p else ('V', 'c')):
            p[bias] += p[weights][..., unit] * mean
            p[weights][..., unit] = 0
    return p
