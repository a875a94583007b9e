"""A character-level language model: an LSTM of one to nine layers, here two, written in Theano.

The model reads a text one character at a time and predicts the next one.
With x the character read, one-hot, h and C the hidden and cell state of a layer:

    a_r  = U[r].x + W[r].h_prev + b[r]      for the rows r = f, i, o, g: forget, input, output gate and cell update
    h, C = lstm_cell(a_f, a_i, a_o, a_g, C_prev)

The second layer reads the h of the first, and softmax(p['V'].h2 + c) is the distribution of the next character
(Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000). Another cell has other rows: see CharLSTM.

The functions below are the whole model. They take symbols, which stand for arrays: tt.tanh(a) computes nothing yet.
Theano derives the gradients (tt.grad, in `training_step`), also the cell's; only the loop over time steps, products and
the softmax have theirs by hand, in engine/graph/. Edit a function, and training, writing and the cell's C follow (an
edited `layer` runs in Theano). engine/lesson/ derives the model. A cost is a loss: -log p of what comes, in nats.

Letters used for the sizes throughout, and the shapes of the parameters p of two layers, by name:

    T  steps in a sequence         V          characters in the vocabulary; p['V'] are the weights of the output
    B  sequences in a batch        H, H1, H2  units of a layer, of layer 1 and of layer 2

    U1 (4,H1,V)    W1 (4,H1,H1)    b1 (4,H1)
    U2 (4,H2,H1)   W2 (4,H2,H2)    b2 (4,H2)      V (V,H2)    c (V,)
"""
import collections

import numpy as np

from engine.backend.theano_setup import theano, tt
from engine.data.parameters import initial_parameters, stacked
from engine.data.text import read_text
from engine.model import fit, sampling, saving, score, state, step
from engine.run.checkpoint import read_about, read_checkpoint, read_mean_squares
from engine.run.schedule import Diverged, Epoch, Step

__all__ = ['CharLSTM', 'Diverged', 'Epoch', 'read_about', 'read_mean_squares', 'read_checkpoint', 'read_text', 'tt']


def lstm_cell(a_f, a_i, a_o, a_g, C_prev):
    """Return h and C of a layer after one step, from its pre-activations and the previous C; all are (B,H)."""
    C = tt.nnet.sigmoid(a_f) * C_prev + tt.nnet.sigmoid(a_i) * tt.tanh(a_g)
    h = tt.nnet.sigmoid(a_o) * tt.tanh(C)
    return h, C


# What the network reads. The last three are None when predicting.
Batch = collections.namedtuple('Batch', (
    'x',                   # characters, int (T,B)
    'y',                   # the characters that come next, int (T,B)
    'states',              # before the first step: h (B,H) and C (B,SH) of each layer; lstm_cell has S = 1 state
    'memory',              # what a class's network keeps of earlier steps besides h and C, (B,n)
    'cost_weights',        # (T,B): 1 / (T*B), or 0 for steps that are not trained on
    'h_masks',             # of dropout, for each layer: (T,B,H) of 0 and 1 / (1 - dropout), or the number 1
    'W_masks',             # of dropconnect, by name such as W1, like the weights
), defaults=4 * [None])

# What a layer computes: h (T,B,H) and C (T,B,SH) after each step; the pair of them after the last one; and h as the
# layer above reads it, in training with dropout (Zaremba et al. 2014).
Layer = collections.namedtuple('Layer', 'h C after dropped')

# What the network returns.
Outputs = collections.namedtuple('Outputs', (
    'costs',               # -log p of the targets y, in nats, (T,B)
    'best',                # the most probable characters, (T,B)
    'probabilities',       # (T*B,V)
    'spread',              # the mean of -log p over all characters, (T,B)
    'layers',              # the Layers, from the first on
    'metrics',             # other numbers (T,B) by name, whose means over the validation text are reported
    'memory',              # after the last step
), defaults=[{}, None])


def network(batch, p, ops, truncate=-1):
    """Return the Outputs of the whole model for a Batch.

    p: the parameters by name. ops: the operations whose gradients are by hand, and the cell: a Scan, whose layer is the
    function `layer`, or a Kernel in C or NumPy (engine/graph/). truncate: the gradient flows through the last
    `truncate` steps of a sequence; -1: all.
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
    costs, best, probabilities, spread = ops.cross_entropy(scores, p['c'], batch.y)
    return Outputs(costs, best, probabilities, spread, layers)


def layer(a_x, W, b, cell_parameters, before, truncate, cell, scan=theano.scan):
    """Return h, C and after of a Layer, by the loop over time steps. For lstm_cell, each step is

        a_f, a_i, a_o, a_g = the rows of a_x + h_prev.W + b
        h, C = lstm_cell(a_f, a_i, a_o, a_g, C_prev)

    This runs with kernel=False; the kernel computes the same many times faster. a_x (T,B,4H): the rows U[r].x.
    before: h and C before the first step. cell: lstm_cell as a Cell, which takes all its arguments in one list.
    """
    def one_step(a_x, h_prev, C_prev, W, b, *cell_parameters):         # a_x (B,4H), and W (H,4H) for all rows
        a = cell.pre_activations(a_x, tt.dot(h_prev, W), b)            # U[r].x + W[r].h_prev + b[r], (B,H) each
        h, *C = cell([*a, *cell.split(C_prev), *cell_parameters])
        return h, tt.concatenate(C, axis=1)

    # scan calls one_step with a_x of a time step, h and C of the step before, and non_sequences; _ are updates: none.
    (h, C), _ = scan(one_step, sequences=a_x, outputs_info=[*before], truncate_gradient=truncate,
                     non_sequences=[stacked(W), b, *[v if v.ndim == 2 else v[None, :] for v in cell_parameters]])
    return h, C, (h[-1], C[-1])


def objective(batch, p, ops, lp, network):
    """Return what a training step minimises (without the penalty), and the network's Outputs.

    p: the parameters that are trained, by name. lp: learning parameters. network: as above, or that of a class.
    """
    # DropConnect leaves out recurrent weights (Wan et al. 2013, Merity et al. 2018).
    p = {**p, **{name: p[name] * mask for name, mask in batch.W_masks.items()}}
    outputs = network(batch, p, ops, lp['bptt_maxdepth'])
    costs = outputs.costs
    if lp['smoothing']:                # a share of each target is spread over all characters (Szegedy et al. 2016), so
        costs = (1 - lp['smoothing']) * costs + lp['smoothing'] * outputs.spread       # that no probability nears 1
    if lp['ar'] or lp['tar']:          # large outputs of the last layer, and large changes of them (Merity et al. 2017)
        h, h_before = outputs.layers[-1].h, batch.states[-1][0]
        # The first step is separate, since prepending h_before to h would copy all of h, and its gradient.
        changes = tt.concatenate([tt.sqr(h[:1] - h_before).mean(axis=2), tt.sqr(h[1:] - h[:-1]).mean(axis=2)])
        costs = costs + (lp['ar'] * tt.sqr(h).mean(axis=2) + lp['tar'] * changes)
    return (costs * batch.cost_weights).sum(), outputs


def penalty(parameters, l1, l2):
    """Return l1 * sum |p| + l2 * sum p^2 over all parameters; a term of weight 0 is left out."""
    return sum([l1 * abs(p).sum() for p in parameters if l1] + [l2 * tt.sqr(p).sum() for p in parameters if l2])


def sgd(gradients, parameters, state, lrate, lp):
    """Return the steps of gradient descent, one array to subtract from each parameter, and no state."""
    return [lrate * g for g in gradients], {}


def rmsprop(gradients, parameters, state, lrate, lp):
    """Return the steps of RMSprop with momentum, and its new state: m (mean_squares) and v (sums) for each p.

        m <- drate m + (1 - drate) g^2        (Tieleman & Hinton 2012; decoupled decay: Loshchilov & Hutter 2019)
        v <- momentum v + g                   step = lrate ((1 - momentum) v / (sqrt(m) + eps) + weight_decay p)

    This is AdamW without bias correction: Adam's second moment is m here, and its first one (1 - momentum) v.
    """
    drate, momentum, decay = lp['drate'], lp['momentum'], lp['weight_decay']
    squares = [drate * m + (1 - drate) * tt.sqr(g) for m, g in zip(state['mean_squares'], gradients)]
    # Do not scale g here: Theano would move the factor into the product that makes g, and compute that product twice.
    sums = [momentum * v + g for v, g in zip(state['sums'], gradients)]
    steps = [lrate * ((1 - momentum) * (v / (tt.sqrt(m) + lp['eps'])) + decay * p)
             for m, v, p in zip(squares, sums, parameters)]
    return steps, dict(mean_squares=squares, sums=sums)


def rmsprop_state(parameters):
    """Return the state before the first step, by name: arrays, or lists of one for each of the parameters, arrays."""
    return {name: [np.zeros_like(p) for p in parameters] for name in ('mean_squares', 'sums')}


def update(gradients, parameters, state, lrate, lp, optimiser):
    """Return the steps, to subtract from the parameters, and the optimiser's new state. Limit gradients and steps."""
    if lp['grad_clip']:                # the largest joint norm of all gradients (Pascanu et al. 2013)
        norm = tt.sqrt(sum(tt.sqr(g).sum() for g in gradients))
        scale = tt.switch(norm > lp['grad_clip'], lp['grad_clip'] / norm, 1)
        gradients = [g * scale for g in gradients]
    steps, state = optimiser(gradients, parameters, state, lrate, lp)
    if lp['step_clip'] and optimiser is not sgd:
        # Unlimited, and without momentum, a gradient after many near zero makes a step of lrate / sqrt(1 - drate).
        limit = lp['step_clip'] * lrate
        steps = [tt.clip(step, -limit, limit) for step in steps]
    return steps, state


def training_step(model, batch, ops, characters, state, optimiser=None):
    """Return the Outputs of a Batch, the gradients of its cost, the steps, and new parameters, averages and state.

    The compiled function stores the new ones. model: a CharLSTM, whose lp are constants here. characters: how many the
    batch has, for the penalty. optimiser: that of the model, or None for sgd.
    """
    lp, trained = dict(model.lp), model.weights or model.p             # weights: if p are their running averages
    before = list(trained.values())
    cost, outputs = model.objective(batch, trained, ops, lp, model.network)
    gradients = tt.grad(cost, before, disconnected_inputs='ignore')
    penalised, weight_cost = gradients, model.penalty(before, lp['l1'], lp['l2'])      # of all characters together
    if isinstance(weight_cost, theano.Variable):                       # not the number 0
        weight_cost = weight_cost / tt.cast(characters, weight_cost.dtype)
        of_penalty = tt.grad(weight_cost, before, disconnected_inputs='ignore')
        penalised = [g + d for g, d in zip(gradients, of_penalty)]
    steps, state = update(penalised, before, state, model.rate, lp, optimiser or sgd)
    after = [p - step for p, step in zip(before, steps)]
    # The averages predict better, as parameters have the noise of the last steps (Polyak & Juditsky 1992).
    averages = [average + (1 - model.average_weight) * (p - average)
                for average, p in zip(model.p.values() if model.weights else [], after)]
    return outputs, gradients, steps, after, averages, state


class CharLSTM:
    """An LSTM that learns to write text, character by character.

    Attributes (engine/model/state.py has others):
        uchar           list of the V characters, by number
        X, Y, n_batches inputs, targets (int32 (T,B) each) and their number, by 'train' and 'valid'
        p               parameters by name, symbols with a value (get_value), to predict with; with lp['average'],
                        running averages, and `weights` has those that are trained
        lp              learning parameters by name, which may change between steps, except lrate and whether to average
        dyn_lrate       learning rate, a shared scalar, which may be set to a number between steps, but not in fit
        random          NumPy's generator of all random numbers: the same seed, text and machine give the same run

    A subclass, or an object before model_setup, may replace the functions below; only a cell has other arguments
    (engine/README.md). Checkpoints of another cell or network are read by its class alone. A cell takes symbols (B,H),
    and returns h and the states after the step, in the order of its arguments, whose names declare what it needs:

        a_NAME          a row of pre-activations, such as a gate: U[r].x + W[r].h_prev + b[r]
        x_NAME, h_NAME  a row that reads only the input, U[r].x + b[r], or only h, W[r].h_prev + b[r]
        NAME_prev       a state before the step, at least one (a GRU returns h twice); NAME_prev: 4 is a list of 4
        NAME=0.5        a parameter (1,H), trained: its initial value, or a function of H and NumPy's generator to (H,)
        M_NAME          a matrix (H,H) of the cell, initially like a row of W, for tt.dot(v, M_NAME) of any v (B,H)
        K_NAME=np.tri   a constant (1,H), or a matrix (H,H), not trained: a function of H that returns (H,) or (H,H)

    A change to a function, lp or remembers (by row, the sign of the bias that makes a new model remember) takes effect
    at the next call; after one to what they read, such as a helper or a global number, call compile. copy.copy shares
    the parameters; copy.deepcopy and pickle keep all but compiled functions. Use an object in one thread at a time.
    """
    cell, layer, network = staticmethod(lstm_cell), staticmethod(layer), staticmethod(network)
    memory = staticmethod(lambda units: 0)     # numbers for each sequence that its network keeps of earlier steps
    objective, penalty = staticmethod(objective), staticmethod(penalty)
    optimiser, optimiser_state = staticmethod(rmsprop), staticmethod(rmsprop_state)
    initial_parameters = staticmethod(initial_parameters)
    remembers = {'f': 1, 'i': -1}
    Batch, training_step = Batch, staticmethod(training_step)          # to be edited above, not replaced in a class
    dyn_lrate = property(lambda self: self.rate, state.set_rate)

    def __init__(self, random_seed: int | None = None, kernel: bool = True, comm=None, precision: str = 'float32',
                 device: str | None = None):
        """Make a model without text and parameters. Raise ValueError for arguments out of range.

        random_seed: None for a new one each time. kernel: in C, or NumPy without a compiler; False: by Theano alone,
        with the function layer, slowly. comm: an mpi4py communicator, whose processes make the same calls and train one
        model. precision: of matrix products, 'bfloat16' (Kalamkar et al. 2019) or 'auto', where it is faster. device:
        where PyTorch computes the steps, such as 'cuda'.
        """
        state.begin(self, random_seed, kernel, comm, precision, device)

    def prepare_input(self, filepath, ratio_valid: float = 0.30, batch_size: int = 50, seq_length: int = 50,
                      verbose: bool = True, encoding: str = 'utf-8', stateful: bool = False, valid=None, test=None):
        """Read a text, and cut it into batches of `batch_size` sequences of seq_length characters.

        filepath: a file, an open text file or a folder; valid and test, too. The share ratio_valid at its end is for
        validation, or all of `valid`; of `test`, only the vocabulary counts. Targets Y are a character after inputs X.
        stateful: a sequence continues that of the batch before, and T is seq_length, not one less. Parameters
        that lack a character are dropped, with a warning. Raises OSError, and ValueError also for a short text.
            >>> model.prepare_input('book.txt', batch_size=5, verbose=False)
            >>> model.X['train'][0].shape
            (49, 5)
        """
        state.prepare_input(self, filepath, ratio_valid, batch_size, seq_length, verbose, encoding, stateful, valid,
                            test)

    def model_setup(self, mfile=None, num_units1: int = 128, num_units2: int = 128, lrate: float = 2e-3,
                    drate: float = 0.95, eps: float = 1e-8, bptt_maxdepth: int = 50, l1: float = 0, l2: float = 0,
                    char_dim: int | None = None, initial: str = 'original', encoding: str = 'utf-8', layers: int = 2,
                    units: list[int] | None = None, **learning):
        """Make new parameters, or load those of the checkpoint mfile as load_params does. Set p, lp and dyn_lrate.

        units: of each layer; or num_units1 of layer 1, and num_units2 of each other. char_dim: V, if there is no text.
        initial: 'original' or 'chrono'. learning: others of lp, such as dropout=0.2 (train.py --help). The defaults are
        those of 2016. Raises ValueError for arguments out of range.
            >>> model.model_setup(units=[30, 20], initial='chrono', dropout=0.1)
            >>> model.p['U2'].get_value().shape
            (4, 20, 30)
        """
        lp = dict(learning, lrate=lrate, drate=drate, eps=eps, bptt_maxdepth=bptt_maxdepth, l1=l1, l2=l2)
        saving.model_setup(self, mfile, units, (num_units1, num_units2, layers), lp, char_dim, initial, encoding)

    def fit(self, filepath=None, recipe: str = 'default', verbose: bool = True, units: list[int] | None = None,
            epochs: int | None = None, valid=None, init=None, dropout: float | None = None, lrate: float | None = None,
            batch_size: int | None = None, seq_length: int | None = None, patience: int | None = None, **options):
        """Return an iterator that trains on a text as train.py does, while a loop reads it: an Epoch after each epoch.

        filepath, valid: as for prepare_input; without filepath, continue an unfinished fit. recipe: 'default', 'small'
        or 'original'; it sets what is None. init: a checkpoint to start from. options: others of train.py --help, with
        underscores. The model can write after each epoch, and after the loop has the parameters of the best one.
        Raises OSError, ValueError for arguments and a short text, and, in the loop, Diverged.
            >>> losses = [e.valid_loss for e in model.fit('book.txt', epochs=2, units=[8], batch_size=5, verbose=False)]
        """
        return fit.fit(self, filepath, recipe, verbose, dict(
            options, units=units, epochs=epochs, valid=valid, init=init, dropout=dropout, lrate=lrate,
            batch_size=batch_size, seq_length=seq_length, patience=patience))

    def training(self, schedule):
        """Train on the training text: yield a Step after each step, Validated after a validation batch, and Epochs.

        schedule: a Schedule (engine/run/schedule.py), which is updated. Raises Diverged if costs or parameters are not
        finite, or an epoch's cost rises to 0.1 nats above a uniform prediction.
        """
        while not schedule.finished:
            for i in range(schedule.batch, self.n_batches['train']):
                self.dyn_lrate = schedule.rate_at(schedule.step)
                if schedule.step % schedule.options.valid_every == 0:          # before the step, like the training cost
                    schedule.valid_batch_cost = self.validate_batch()
                x, y = self.X['train'][i], self.Y['train'][i]
                cost, _, *ratios = self.theano_train_rmsprop(x, y)             # its name of 2016: any optimiser
                schedule.record_step(cost, len(y) * self.batch_size)
                yield Step(cost, ratios)
            schedule.check_epoch(self.finite(), len(self.uchar))
            means = yield from self.validating()
            self.carried = None                            # states between batches: the text begins again, from zeros
            yield schedule.end_epoch(means)

    def generate_text(self, seed: str = '', text_length: int = 100, method: str = 'normal', count: int | None = None,
                      **choice) -> str | list[str]:
        """Return seed (or a random character), continued to text_length characters, from the model's own distribution.

        produce_text.py writes more readable texts, with temperature=0.7 and top_p=0.9. method: 'argmax' or 'max' takes
        the most probable character. count: return a list of so many. choice: as for stream_text, with its errors.
            >>> text = model.generate_text('It is ', 40, temperature=0.7, top_p=0.9)
        """
        return sampling.generate_text(self, seed, text_length, method, count, **choice)

    def stream_text(self, seed: str = '', text_length: int = 100, method: str = 'normal', count: int = 1,
                    temperature: float = 1, top_k: int | None = None, top_p: float = 1, stop: str = '', hold=None):
        """Yield texts of the model's own distribution in pieces, lists of count strings, the seed first.

        temperature: below 1, probable characters become more probable; 0: take the most probable. top_k: draw from the
        k most probable; top_p: of these, from the fewest with this share of their probability. stop: end after this
        string. hold: fixed cell states, such as {'C2': {44: 5.0}} for unit 44 of layer 2. Raises ValueError for
        arguments out of range and characters that the model does not know.
            >>> pieces = list(model.stream_text('It is ', 40, stop='.'))
        """
        return sampling.stream_text(self, seed, text_length, method, count, temperature, top_k, top_p, stop, hold)

    def sample(self, text_length: int | None = None) -> str:
        """Return a text in whole sentences, with temperature 0.7 and top_p 0.9, as produce_text.py writes it.

        text_length: most characters; None: 360, or 100 without punctuation. model.random is left as it was.
            >>> text = model.sample(90)
        """
        return sampling.sample(self, text_length)

    def read(self, x, states=None):
        """Return log probabilities (T,B,V) of what follows each of x, int (T,B) or (T,), and the states after x.

        states: before x, as an earlier call returned them; None: zeros. They are h1, C1, h2, C2 ..., (B,H) each (C of a
        cell with several is wider), and a network's memory. Raises ValueError for unknown numbers and other shapes.
            >>> logs, states = model.read([3, 1, 2])
        """
        return score.read(self, x, states)

    def score_text(self, text, adapt: float = 0, progress=None, mean_squares: dict | None = None) -> np.ndarray:
        """Return the loss of each character of a text except the first, in nats, float (n-1,).

        text: a string or numbers of uchar (n,). adapt: the rate at which a copy of the model learns from what it has
        scored (dynamic evaluation: Krause et al. 2018), with mean_squares of read_mean_squares(checkpoint), or without.
        progress: is called with each piece of the result. Raises ValueError for unknown characters.
            >>> losses = model.score_text('It is a truth')
        """
        return score.score_text(self, text, adapt, progress, mean_squares)

    def validate(self) -> float:
        """Return the mean loss on the validation batches, in nats a character; nan without any.
            >>> loss = model.validate()
        """
        return score.validate(self)

    def theano_train_rmsprop(self, x, y) -> list:
        """Take a step of the optimiser on a batch: x and y int (T,B) or (T,). The names of four are of 2016.

        Return, from before the step, the cost (without penalties) and the most probable characters (T,B), and the
        ratios ||step|| / ||p|| of all parameters. With stateful, states continue; a share lp['reset'] begins anew.
            >>> cost, best, *ratios = model.theano_train_rmsprop(model.X['train'][0], model.Y['train'][0])
        """
        return step.train(self, 'train_rmsprop', x, y)

    def theano_train_sgd(self, x, y) -> list:
        """Take a step of gradient descent. Return what theano_train_rmsprop does."""
        return step.train(self, 'train_sgd', x, y)

    def theano_check(self, x, y) -> list:
        """Return [mean cost in nats, most probable characters (T,B)], from zero states."""
        return step.theano_check(self, x, y)

    def theano_predict(self, x) -> list:
        """Return [probabilities (T,B,V), most probable characters (T,B)] after each of x, from zero states."""
        return step.theano_predict(self, x)

    def save_params(self, filename, progress: dict | None = None) -> str:
        """Write a checkpoint (.npz) with all that resume needs, and progress, a dict for JSON. Return its name.

        Raises OSError, and ValueError if there is nothing to save or a number is not finite.
            >>> model.save_params('params')
            'params.npz'
        """
        return saving.save_params(self, filename, progress)

    def load_params(self, filename, encoding: str = 'utf-8') -> dict:
        """Replace p and uchar by those of a checkpoint, also a .safetensors of PyTorch. Return arrays by name.

        encoding: of the characters in a file of 2016. Raises OSError, and ValueError for a file that is damaged, of
        another class, or lacks a character of the prepared text.
            >>> p = model.load_params('params.npz')
        """
        return saving.load_params(self, filename, encoding)

    def resume(self, filename) -> dict | None:
        """Restore what save_params wrote, after the same prepare_input and model_setup. Return its progress.

        Training continues bit for bit, once dyn_lrate and lp are set as they were. Errors: as for load_params.
            >>> progress = model.resume('params.npz')
        """
        return saving.resume(self, filename)

    def export(self, path):
        """Write the model as a program (.c) or for PyTorch (.safetensors), if it has the network of this file.
            >>> model.export('model.c')
        """
        saving.export(self, path)

    # Others, from engine/model: analyses, other starts, and what the program calls. See, say, help(CharLSTM.states).
    from engine.model.compile import compile, compiled, computes_on, metrics
    from engine.model.saving import init_params, versions
    from engine.model.score import (ablations, alternatives, correlations, passage_costs, score_lines, states,
                                    validate_batch, validating)
    from engine.model.state import finite
