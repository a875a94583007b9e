"""Take training steps, and predict on batches."""
import numpy as np

from engine import checks
from engine.backend.theano_setup import theano
from engine.data.parameters import recurrent
from engine.model.compile import compiled, left_out
from engine.model.state import set_number, sizes, stored, vocabulary_size, zero_states
from engine.terminal import warn_once


def as_batch(model, x, y):
    """Return inputs and targets as int32 (T,B)."""
    x, y = checks.characters('x', x, vocabulary_size(model)), checks.characters('y', y, vocabulary_size(model))
    if x.shape != y.shape:
        raise ValueError(f'x has shape {x.shape} and y {y.shape}: expected the same')
    return x, y


def train(model, name, x, y):
    """Take a step on a batch by the compiled function of this name, and return what theano_train_rmsprop does."""
    x, y = as_batch(model, x, y)
    function = compiled(model, name)
    B = x.shape[1] if model.group.size == 1 else model.batch_size          # rows of the whole batch
    rows = model.group.rows(B)                                             # those of x, a slice
    before = states_before(model, x, rows)
    inputs = [*before, cost_weights(model, x, B), *kept_in_step(model, x, rows)]
    if model.lp['average']:
        model.averaged_steps += 1
        # At first the average covers about the last tenth of the steps, so that it forgets the initial values.
        set_number(model.average_weight, min(model.lp['average'], 1 - 10 / (model.averaged_steps + 9)))
    cost, best, *more = function(x, y, *inputs)
    after, ratios = more[:len(before)], more[len(before):]
    if model.stateful:
        model.carried = after
    return [float(cost), best, *map(float, ratios)]


def states_before(model, x, rows):
    """Return the states before x: those carried, if any, with some rows reset to zeros."""
    if model.carried is None or len(model.carried[0]) != x.shape[1]:
        return zero_states(model, x.shape[1])
    if not model.lp['reset']:
        return model.carried
    kept = ~begins_anew(model.random, model.lp['reset'], rows)     # so that it also trains on zero states
    return [state * kept[:, None].astype(state.dtype) for state in model.carried]


def cost_weights(model, x, B):
    """Return the weight of each cost of x in the gradient, (T,B): 0 before the last bptt_maxdepth steps."""
    depth, weights = model.lp['bptt_maxdepth'], np.full(x.shape, 1 / (len(x) * B), theano.config.floatX)
    if 0 < depth < len(x):
        warn_once(f'only the last {depth} of the {len(x)} steps of a sequence are trained on: set bptt_maxdepth, '
                  f'{depth}, to {len(x)}')
        weights[:-depth] = 0
    return weights


def kept_in_step(model, x, rows):
    """Return which units a step on x keeps, if lp has dropout, then which recurrent weights, if it has dropconnect."""
    random, dropout, dropconnect = model.random, model.lp['dropout'], model.lp['dropconnect']
    kept = kept_units(random, dropout, rows, len(x), sizes(model)) if dropout else []
    if dropconnect:
        kept += kept_weights(random, dropconnect, [stored(v).shape for v in recurrent(model.p).values()])
    return kept


def row_numbers(random, rows, n):
    """Return n random numbers for each row of the slice `rows` of a whole batch: uint64 (rows,n)."""
    bits = np.random.PCG64(int(random.integers(2 ** 63)))      # one draw for any rows: all processes stay in sync
    bits.advance(rows.start * n)
    return bits.random_raw((rows.stop - rows.start) * n).reshape(-1, n)


def kept_units(random, share, rows, T, units):
    """Return which units dropout keeps, all but a share: bool (T,B,H) for each H of units. rows: a slice of a batch."""
    numbers = row_numbers(random, rows, -(-T * sum(units) // 4)).view(np.uint16)   # four draws per uint64
    ends = T * np.cumsum(units)
    return [np.greater_equal(numbers[:, end - T * H:end].reshape(-1, T, H).transpose(1, 0, 2), left_out(share),
                             order='C') for end, H in zip(ends, units)]


def kept_weights(random, share, shapes):
    """Return which weights DropConnect keeps, all but a share: a bool array for each of the shapes."""
    return [random.integers(2 ** 16, size=shape, dtype=np.uint16) >= left_out(share) for shape in shapes]


def begins_anew(random, share, rows):
    """Return which rows of a slice start from zero states, each with probability share: bool (rows,)."""
    return (row_numbers(random, rows, 1)[:, 0] >> np.uint64(11)) * 2.0 ** -53 < share


def check(model, x, y, states=None):
    """Return what a model predicts of y: the means of 'cost' and of the network's metrics by name, floats; the most
    probable characters (T,B), new states and costs (T,B). states: those before x; None: zeros.
    """
    function, states = compiled(model, 'check'), states or zero_states(model, x.shape[1])
    cost, best, *more = function(x, y, *states)
    after, (costs, *metrics) = more[:len(states)], more[len(states):]
    return dict(zip(['cost', *function.metrics], map(float, [cost, *metrics]))), best, after, costs


def theano_predict(model, x):
    """Return [probabilities (T,B,V), most probable characters (T,B)] after each of x, int (T,B) or (T,)."""
    x = checks.characters('x', x, vocabulary_size(model))
    log_p = compiled(model, 'predict')(x, *zero_states(model, x.shape[1]))[0]      # (T*B, V)
    return [np.exp(log_p).reshape(x.shape + (-1,)), log_p.argmax(axis=1).reshape(x.shape)]


def theano_check(model, x, y):
    """Return [mean cost in nats, most probable characters (T,B)], from zero states; x and y int (T,B) or (T,)."""
    means, best, *_ = check(model, *as_batch(model, x, y))
    return [means['cost'], best]
