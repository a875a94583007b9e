"""A character-level language model: an LSTM of one to nine layers, here two, written in Theano.

The model reads a text one character at a time and predicts the next one.
With x the character read, one-hot, h and C the hidden and cell state of a layer:

    a_r  = U[r].x + W[r].h_prev + b[r]      rows r = f, i, o, g (forget, input, output, cell update)
    h, C = lstm_cell(a_f, a_i, a_o, a_g, C_prev)

The second layer reads the h of the first, and softmax(p['V'].h2 + c) is the distribution of the next character
(Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000). Another cell has other rows: see CharLSTM.

The functions below are the whole model. Up to `update`, most take symbols, which stand for arrays: tt.tanh(a) computes
nothing yet. Theano derives the gradients (tt.grad), also the cell's; only the loop over time steps, products and the
softmax have theirs by hand, in engine/graph/. Edit a function, and training, prediction, writing and the cell's code
in C follow (an edited `layer` runs in Theano). The class CharLSTM trains and writes. engine/lesson/ derives the model.

Letters used for the sizes throughout, and the shapes of the parameters p of two layers, by name:

    T  steps in a sequence         V          characters in the vocabulary (the output's weights are p['V'] below)
    B  sequences in a batch        H, H1, H2  units of a layer, of layer 1 and of layer 2

    U1 (4,H1,V)    W1 (4,H1,H1)    b1 (4,H1)
    U2 (4,H2,H1)   W2 (4,H2,H2)    b2 (4,H2)      V (V,H2)    c (V,)
"""
import collections
import math
import time

import numpy as np

from engine.backend.theano_setup import theano, tt
from engine.data.parameters import NAMES, parameter_shapes, stacked
from engine.data.text import read_text
from engine.model.score import mean_of
from engine.model.state import begin, set_rate
from engine.run.checkpoint import read_about, read_checkpoint, read_mean_squares
from engine.run.schedule import Diverged, Epoch, Step, Validated
from engine.terminal import ctrl_c_delayed

__all__ = ['CharLSTM', 'NAMES', 'read_about', 'read_mean_squares', 'read_checkpoint', 'read_text', 'tt']


# ---------------------------------------------------------------- the model, as functions of symbols

def lstm_cell(a_f, a_i, a_o, a_g, C_prev):
    """Return h and C of a layer after one step, from its pre-activations and the previous C; all are (B,H)."""
    C = tt.nnet.sigmoid(a_f) * C_prev + tt.nnet.sigmoid(a_i) * tt.tanh(a_g)
    h = tt.nnet.sigmoid(a_o) * tt.tanh(C)
    return h, C


# What the network reads: characters x and the next ones y, int (T,B); before the first step, states, the pair h (B,H)
# and C (B,SH) of each layer (a cell has S states, lstm_cell one), and memory (B,n), if a class has any. To train (when
# predicting, the rest is None): cost_weights (T,B), 1 / (T*B), or 0 for steps that are not trained on; h_masks of
# dropout, for each layer (T,B,H) of 0 and 1 / share kept, or the number 1 without dropout; and W_masks of dropconnect,
# by name such as W1, like the weights.
Batch = collections.namedtuple('Batch', 'x y states memory cost_weights h_masks W_masks', defaults=4 * [None])

# A layer's h (T,B,H) and C (T,B,SH) after each step; the pair of them after the last, (B,H) and (B,SH); and h as the
# layer above reads it, in training with dropout (Zaremba et al. 2014).
Layer = collections.namedtuple('Layer', 'h C after dropped')

# What the network returns. costs: -log p of the targets, in nats, (T,B). best: the most probable characters, (T,B).
# probabilities: (T*B,V). spread: the mean of -log p over all characters, (T,B). layers: the Layers, from the first on.
# metrics: other numbers (T,B) by name, whose means over the validation text are reported. memory: after the last step.
Outputs = collections.namedtuple(
    'Outputs', 'costs best probabilities spread layers metrics memory', defaults=[{}, None])


def network(batch, p, ops, truncate=-1):
    """Return the Outputs of the whole model for a Batch.

    p: the parameters by name. ops: the operations whose gradients are by hand, and the cell: a Scan, whose layer is the
    function below, or a Kernel in C or NumPy (engine/graph/). truncate: the gradient flows through the last `truncate`
    steps of a sequence; -1: all.
    """
    h, layers = batch.x, []
    for k in range(1, 1 + len(batch.states)):
        layers.append(run_layer(k, h, batch, p, ops, truncate))
        h = layers[-1].dropped                                                 # (T, B, H)
    return output_layer(h, layers, batch, p, ops)


def run_layer(k, x, batch, p, ops, truncate):
    """Return the Layer k, with its parameters in p, for what it reads: characters x (T,B), or vectors x (T,B,n)."""
    if x.ndim == 2:
        a_x = ops.columns(p[f'U{k}'], x.flatten())         # (T*B, 4H): of each character, its column of U
    else:
        a_x = ops.product(x.reshape((-1, x.shape[2])), stacked(p[f'U{k}']))        # stacked: all gates, (n, 4H)
    a_x = a_x.reshape((x.shape[0], x.shape[1], -1))                            # (T, B, 4H)
    cell_parameters = [p[f'{name}{k}'] for name in ops.cell_parameters]        # of its own: none for lstm_cell
    h, C, after = ops.layer(a_x, p[f'W{k}'], p[f'b{k}'], cell_parameters, batch.states[k - 1], truncate)
    return Layer(h, C, after, h if batch.h_masks is None else h * batch.h_masks[k - 1])


def output_layer(h, layers, batch, p, ops):
    """Return the Outputs from the softmax of p['V'].h + c. h (T,B,H): of the last layer. layers: for Outputs."""
    scores = ops.product(h.reshape((-1, h.shape[2])), p['V'].T)                # (T*B, V)
    return Outputs(*ops.cross_entropy(scores, p['c'], batch.y), layers)


def layer(a_x, W, b, cell_parameters, before, truncate, cell):
    """Return h, C and after of a Layer, by the loop over time steps. For lstm_cell, each step is

        a_f, a_i, a_o, a_g = split(a_x + h_prev.W + b)
        h, C = lstm_cell(a_f, a_i, a_o, a_g, C_prev)

    This runs with kernel=False; the kernel computes the same many times faster. a_x (T,B,4H): the rows U[r].x.
    cell_parameters: (H,) each, and matrices (H,H). before: h and C before the first step. cell: a Cell, from Scan; it
    takes one list: the rows (those that read only x first, those that read only h last), states and cell_parameters.
    """
    H, counts = b.shape[1], cell.counts                    # of its rows of b, U and W, here 4, and its states S, here 1

    def split(array, count):
        return [array[:, k * H:(k + 1) * H] for k in range(count)]     # (B, count*H) to `count` of (B, H)

    def step(a_x, h_prev, C_prev, W_stacked, b, *cell_parameters):     # of one time step: a_x (B, 4H)
        of_x = split(a_x, counts.U) + [0] * (counts.b - counts.U)      # U[r].x
        of_h = [0] * (counts.b - counts.W) + split(tt.dot(h_prev, W_stacked), counts.W)        # W[r].h_prev
        a = [of_x[r] + of_h[r] + b[r] for r in range(counts.b)]        # (B, H) each
        h, *C = cell([*a, *split(C_prev, counts.S), *cell_parameters])
        return h, tt.concatenate(C, axis=1)

    # scan calls step with a_x of each time step, h and C of the step before, and non_sequences; _ are updates: none.
    wide = [v[None, :] if v.ndim == 1 else v for v in cell_parameters]             # (1, H) each, or a matrix
    (h, C), _ = theano.scan(step, sequences=a_x, outputs_info=[*before], truncate_gradient=truncate,
                            non_sequences=[stacked(W), b, *wide])
    return h, C, (h[-1], C[-1])


# ---------------------------------------------------------------- a training step, as functions of symbols

def smoothed(costs, spread, share):
    """Return the costs when a share of each target is spread evenly over all characters (Szegedy et al. 2016)."""
    # The cost is then least at a probability near 1 - share, not 1, which keeps the model from being too sure.
    return (1 - share) * costs + share * spread


def activation_penalty(h, h_before, ar, tar):
    """Return the mean over the units of ar h^2 + tar (h - h_prev)^2, at each step: (T,B).

    It penalises large outputs h (T,B,H) of a layer, here before dropout, and large changes: activation regularisation
    (AR, after dropout in the paper) and temporal activation regularisation (TAR; Merity et al. 2017). h_before: h
    before the first step, (B,H).
    """
    # The first step is separate, since prepending h_before to h would copy all of h, and its gradient.
    changes = tt.concatenate([tt.sqr(h[:1] - h_before).mean(axis=2), tt.sqr(h[1:] - h[:-1]).mean(axis=2)])
    return ar * tt.sqr(h).mean(axis=2) + tar * changes


# A step (engine/model/compile.py): tt.grad of objective and penalty, update, p - step. lp is compiled in, as constants.
def objective(batch, p, ops, lp, network):
    """Return what a training step minimises (without the penalty) and the network's Outputs: the first half of a step.

    p: the parameters that are trained, by name. lp: learning parameters. network: as above, or that of a class.
    """
    # DropConnect leaves out recurrent weights (Wan et al. 2013, Merity et al. 2018).
    p = {**p, **{name: p[name] * mask for name, mask in batch.W_masks.items()}}
    outputs = network(batch, p, ops, lp['bptt_maxdepth'])
    costs = smoothed(outputs.costs, outputs.spread, lp['smoothing']) if lp['smoothing'] else outputs.costs
    if lp['ar'] or lp['tar']:
        h, h_before = outputs.layers[-1].h, batch.states[-1][0]                # of the last layer
        costs = costs + activation_penalty(h, h_before, lp['ar'], lp['tar'])
    return (costs * batch.cost_weights).sum(), outputs


def penalty(parameters, l1, l2):
    """Return l1 * sum |p| + l2 * sum p^2 over all parameters; a term of weight 0 is left out."""
    return sum([l1 * abs(p).sum() for p in parameters if l1] + [l2 * tt.sqr(p).sum() for p in parameters if l2])


def clip(gradients, limit):
    """Return gradients scaled so that their joint norm is at most limit (Pascanu et al. 2013)."""
    norm = tt.sqrt(sum(tt.sqr(g).sum() for g in gradients))
    scale = tt.switch(norm > limit, limit / norm, 1)
    return [g * scale for g in gradients]


def sgd(gradients, parameters, state, lrate, lp):
    """Return the steps of gradient descent, one array to subtract from each parameter, and no state."""
    return [lrate * g for g in gradients], {}


def rmsprop(gradients, parameters, state, lrate, lp):
    """Return the steps of RMSprop with momentum, and its new state: m (mean_squares) and v (sums) for each p.

        m <- drate m + (1 - drate) g^2        (Tieleman & Hinton 2012; decoupled decay: Loshchilov & Hutter 2019)
        v <- momentum v + g                   step = lrate ((1 - momentum) v / (sqrt(m) + eps) + weight_decay p)

    This is AdamW without bias correction, whose first moment is (1 - momentum) v here, and whose second one is m.
    """
    drate, momentum, decay = lp['drate'], lp['momentum'], lp['weight_decay']
    squares = [drate * m + (1 - drate) * tt.sqr(g) for m, g in zip(state['mean_squares'], gradients)]
    # Do not scale g here: Theano would move the factor into the product that makes g, and compute that product twice.
    sums = [momentum * v + g for v, g in zip(state['sums'], gradients)]
    steps = [lrate * ((1 - momentum) * (v / (tt.sqrt(m) + lp['eps'])) + decay * p)
             for m, v, p in zip(squares, sums, parameters)]
    return steps, dict(mean_squares=squares, sums=sums)


def rmsprop_state(parameters):
    """Return the state before the first step, by name: arrays, or lists of one array for each parameter (arrays)."""
    return {name: [np.zeros_like(p) for p in parameters] for name in ('mean_squares', 'sums')}


def limited(steps, limit):
    """Return steps with each number limited to -limit ... limit."""
    # Otherwise, without momentum, any gradient after a run of near-zero ones makes a step of lrate / sqrt(1 - drate).
    return [tt.clip(step, -limit, limit) for step in steps]


def running_averages(averages, parameters, weight):
    """Return running averages moved towards the parameters: averages + (1 - weight) (parameters - averages).

    The averages predict better than the parameters, which have the noise of the last steps (Polyak & Juditsky 1992).
    """
    return [average + (1 - weight) * (p - average) for average, p in zip(averages, parameters)]


def update(gradients, parameters, state, lrate, lp, optimiser):
    """Return the steps, to subtract from the parameters, and the optimiser's new state: the second half of a step."""
    if lp['grad_clip']:
        gradients = clip(gradients, lp['grad_clip'])
    steps, state = optimiser(gradients, parameters, state, lrate, lp)
    if lp['step_clip'] and optimiser is not sgd:
        steps = limited(steps, lp['step_clip'] * lrate)
    return steps, state


# ---------------------------------------------------------------- the parameters, as functions to arrays

def initial_parameters(V, units, cell, initial, random):
    """Return the parameters of a new model: arrays by name. A class may have others, but needs c, b1 ... for the sizes.

    initial 'original': weights are uniform in +-1/sqrt(inputs), biases 0, but 1 for the forget gates, so that a new
    model remembers: a forget gate at sigmoid(0) halves the cell state at every step (Jozefowicz et al. 2015).
    'chrono': uniform in +-1/sqrt(units of the layer, for V and c the last), but U1 in +-1, since its input is
    one-hot. A quarter of the units of each layer remember for 2 to 100 steps: their biases of f are log(steps - 1),
    those of i the negative of that (Tallec & Ollivier 2018).

    units: of each layer, from the first on. cell: a Cell. cell.remembers: signs by the index of a row, {0: 1, 1: -1},
    from CharLSTM.remembers: a unit remembers if the bias of row 0, f, is large, and that of row 1, i, very negative.
    random: NumPy's generator. Parameters that the cell declares may be left out.
    """
    shapes = parameter_shapes(V, units, cell.counts.rows)
    if initial == 'original':
        p = uniform(shapes, {name: shape[-1] for name, shape in shapes.items() if name[0] in 'UWV'}, random)
        for k in range(1, len(units) + 1):
            for row, sign in cell.remembers.items():
                p[f'b{k}'][row] = max(0, sign)             # 1 for f, and 0 for i
        return p
    sizes = {f'{name}{k}': H for k, H in enumerate(units, start=1) for name in 'UWb'}
    p = uniform(shapes, {**sizes, 'U1': 1, 'V': units[-1], 'c': units[-1]}, random)
    for k, H in enumerate(units, start=1):
        biases = np.log(random.uniform(1, 99, H // 4))     # log(steps - 1)
        for row, sign in cell.remembers.items():
            p[f'b{k}'][row, :H // 4] = sign * biases
    return p


def uniform(shapes, sizes, random):
    """Return arrays by name, uniform in +-1/sqrt(size); 0 for names without a size."""
    limits = {name: 1 / math.sqrt(sizes.get(name, math.inf)) for name in shapes}
    return {name: random.uniform(-limits[name], limits[name], shape).astype(theano.config.floatX)
            for name, shape in shapes.items()}


# ---------------------------------------------------------------- CharLSTM

class CharLSTM:
    """An LSTM that learns to write text, character by character.

        model = CharLSTM(random_seed=1)
        for epoch in model.fit('text.txt', units=[128, 128], epochs=6):
            print(epoch.cost, epoch.valid_cost)
        print(model.generate_text('It is ', 200, temperature=0.7, top_p=0.9))

    Attributes (engine/model/state.py has others):
        uchar           list of the V characters, by number
        batch_size      sequences B in a batch
        X, Y, n_batches inputs, targets (int32 (T,B) each) and their number, by 'train' and 'valid'
        texts           prepare_input's valid and test texts as numbers (n,), by 'valid' and 'test'
        p               parameters by name, symbols with a value (get_value), to predict with; with lp['average'],
                        running averages, and `weights` has those that are trained
        lp              learning parameters by name, which may change between steps, except lrate and whether to average
        dyn_lrate       learning rate, a shared scalar, which may be set to a number between steps, but not in fit
        random          NumPy's generator of all random numbers: the same seed, text and machine give the same run
        schedule        progress of fit, None before it; its rate_factor scales the rates

    A subclass, or an object before model_setup, may replace each function below; only a cell has other arguments
    (engine/README.md). Checkpoints of another cell or network are read by its class alone. A cell takes symbols (B,H),
    and returns h and the states after the step, in the order of its arguments, whose names declare what it needs:

        a_NAME          a row of pre-activations, such as a gate: U[r].x + W[r].h_prev + b[r]
        x_NAME, h_NAME  a row that reads only the input, U[r].x + b[r], or only h, W[r].h_prev + b[r]
        NAME_prev       a state before the step, at least one (a GRU returns h twice); NAME_prev: 4 is a list of 4
        NAME=0.5        a parameter (1,H), trained: its initial value, or a function of H and NumPy's generator to (H,)
        M_NAME          a matrix (H,H) of the cell, initially like a row of W, for tt.dot(v, M_NAME) of any v (B,H)
        K_NAME=np.tri   a constant (1,H), or a matrix (H,H), not trained: a function of H that returns (H,) or (H,H)

    remembers has, by name of a row, 1 if a large bias makes a new model remember, -1 if a negative one does. A change
    to these, lp or functions above takes effect at the next call; after one to anything else that they read, such as a
    global number, call compile. Do not share an object between threads. copy.copy shares the parameters; copy.deepcopy
    and pickle keep all except compiled functions, so that training continues as it would have.
    """
    cell = staticmethod(lstm_cell)
    layer = staticmethod(layer)
    network = staticmethod(network)
    memory = staticmethod(lambda units: 0)     # numbers for each sequence that its network keeps of earlier steps
    objective = staticmethod(objective)
    penalty = staticmethod(penalty)
    optimiser = staticmethod(rmsprop)
    optimiser_state = staticmethod(rmsprop_state)
    initial_parameters = staticmethod(initial_parameters)
    remembers = {'f': 1, 'i': -1}

    def __init__(self, random_seed=None, kernel=True, comm=None, precision='float32', device=None):
        """Make a model without a text and without parameters.

        random_seed: a whole number, or None for a new one each time. kernel: whether to use the kernel, in C if there
        is a compiler, otherwise in NumPy; False: Theano alone, with the function layer, slowly. comm: an mpi4py
        communicator whose processes train one model together. X and Y then have this process's part of each batch. All
        processes must make the same calls in the same order, including save_params and export. precision: 'bfloat16' to
        round the inputs of matrix products to it (Kalamkar et al. 2019), 'auto' to do so where it is faster. device:
        where PyTorch computes the steps, such as 'cuda'. Raises ValueError for other values, and slow bfloat16.
        """
        begin(self, random_seed, kernel, comm, precision, device)

    # Methods, from engine/model/. See, for example, help(CharLSTM.fit).
    from engine.model.compile import compile, compiled, computes_on, metrics
    from engine.model.fit import fit
    from engine.model.sampling import generate_text, sample, stream_text
    from engine.model.saving import export, init_params, load_params, model_setup, resume, save_params, versions
    from engine.model.score import (ablations, alternatives, correlations, passage_costs, read, score_lines, score_text,
                                    states, validate, validate_batch, validation_costs)
    from engine.model.state import finite, prepare_input
    from engine.model.step import theano_check, theano_predict, theano_train_rmsprop, theano_train_sgd

    dyn_lrate = property(lambda self: self.rate, set_rate)

    def training(self, schedule):
        """Train on the training text, epoch by epoch: yield a Step after each step and an Epoch after each epoch.

        A caller may stop after each, also after each Validated batch at an epoch's end. schedule: a Schedule of
        engine/run/schedule.py, which says where training begins and ends and the rate of each step; it is updated.
        Raises Diverged if costs or parameters are not finite, or an epoch's cost rises to 0.1 nats above guessing.
        """
        while not schedule.finished:
            self.compiled('train_rmsprop')             # compile it now: within a step, below, Ctrl-C is delayed
            seconds = characters = 0
            for i in range(schedule.batch, self.n_batches['train']):
                self.dyn_lrate = schedule.rate_at(schedule.step)
                if schedule.step % schedule.options.valid_every == 0:      # before the step, like the training cost
                    schedule.valid_batch_cost = self.validate_batch()
                x, y, start = self.X['train'][i], self.Y['train'][i], time.perf_counter()
                read = len(y) * self.batch_size
                with ctrl_c_delayed():                 # so that a step is both made and counted, or neither
                    cost, _, *ratios = self.theano_train_rmsprop(x, y)             # its name of 2016: any optimiser
                    schedule.record_step(cost, read)
                seconds, characters = seconds + time.perf_counter() - start, characters + read
                yield Step(cost, ratios, read)
            if not self.finite():
                raise Diverged(f'the parameters are no longer finite after epoch {schedule.epoch + 1}')
            cost, guessing = schedule.mean_cost, math.log(len(self.uchar))
            if schedule.epoch and cost > max(guessing + 0.1, schedule.last_cost):      # random letters cost guessing
                raise Diverged(f'epoch {schedule.epoch + 1} costs {cost:.2f} nats, and guessing {guessing:.2f}')
            batches = []
            for each in self.validation_costs():
                batches.append(each)
                yield Validated()
            rate, means = schedule.rate_at(schedule.step - 1), mean_of(batches)
            valid_cost = means.pop('cost')             # others are metrics
            cost = schedule.end_epoch(valid_cost)
            self.carried = None                        # states between batches: the text begins again, from zeros
            yield Epoch(schedule.epoch, cost, valid_cost, rate, characters / max(seconds, 1e-6), means)
