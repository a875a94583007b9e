"""A character-level language model: a two-layer LSTM written in Theano.

The model reads a text one character at a time and predicts the next one.
With x the character read, h and C the hidden and cell state of a layer:

    a_k  = U[k].x + W[k].h_prev + b[k]      k = f, i, o, g (forget, input, output, cell update)
    h, C = lstm_cell(a_f, a_i, a_o, a_g, C_prev)

The second layer reads the h of the first, and softmax(V.h2 + c) is the distribution of the next character (Hochreiter
& Schmidhuber 1997, with the forget gate of Gers et al. 2000).

The functions below are the whole model but the loop over its steps, which is ops.layer (engine/kernel/scan.py has it
in Theano). All but initial_parameters take symbols, which stand for arrays: tt.tanh(a) computes nothing yet. From what
they return, Theano derives the gradient (tt.grad), and compiles training, prediction, writing and the cell in C. Edit
one, and all of these follow. smoothed, activation_penalty, clip, limited and running_averages are used only where their
options are above 0: by default in train.py, but not in model_setup.

The class CharLSTM trains it and writes with it. Its methods that are not in this file:

    engine/sampling.py      generate_text, stream_text, sample
    engine/analysis.py      validate, validate_batch, validation_costs, passage_costs, score_text,
                            score_lines, tune_temperature, alternatives, states, correlations
    engine/compiled.py      compile, runs_in_c, javascript, export
    engine/training.py      prepare_input, reset_states, save_params, load_params, resume, init_params,
                            in_vocabulary, source, has_text, fingerprint, passage, versions, finite

Letters used for the sizes throughout, and the shapes of the eight parameters:

    T  steps in a sequence         V       characters in the vocabulary
    B  sequences in a batch        H1, H2  units of layer 1 and of layer 2

    U1 (4,H1,V)    W1 (4,H1,H1)    b1 (4,H1)
    U2 (4,H2,H1)   W2 (4,H2,H2)    b2 (4,H2)      V (V,H2)    c (V,)
"""
import collections
import math
import time
from typing import Any, Iterator, List, Optional

from engine.backend.theano_setup import theano, tt             # first, as it refuses old Pythons

import numpy as np

from engine.model import checks
from engine.run import table
from engine.analysis import Analysis, mean_cost
from engine.terminal import ctrl_c_delayed
from engine.run import fit
from engine.run.schedule import Diverged, Schedule
from engine.sampling import Sampling
from engine.model.parameters import NAMES, check_initial, own_of_layer, parameter_shapes, read_about
from engine.run_state import checked_step, read_averages
from engine.training import Path, locked, read_checkpoint
from engine.model.text import read_text

__all__ = ['CharLSTM', 'NAMES', 'read_about', 'read_averages', 'read_checkpoint', 'read_text', 'tt']


# ---------------------------------------------------------------- the model, as functions of symbols

def lstm_cell(a_f, a_i, a_o, a_g, C_prev):
    """Return h and C of a layer after a step, from its pre-activations and the C before; all are (B,H).

    A unit should use only its own numbers. A mean over units, say, runs by theano.scan, not in C: many times slower.
    """
    C = tt.nnet.sigmoid(a_f) * C_prev + tt.nnet.sigmoid(a_i) * tt.tanh(a_g)
    h = tt.nnet.sigmoid(a_o) * tt.tanh(C)
    return h, C


def stacked(U):
    """Return weights U (4,H,n) with the four gates side by side, for one product: (n,4H)."""
    return U.reshape((-1, U.shape[2])).T


# What network returns. costs: -log probabilities[y] (T,B), in nats. best: the most probable characters, int (T,B).
# probabilities: (T*B,V). spread: the mean of -log probabilities over all characters, (T,B). states: h1, C1, h2, C2
# after each step, (T,B,H1) and (T,B,H2). after: the same after the last step, (B,H1) and (B,H2).
Outputs = collections.namedtuple('Outputs', 'costs best probabilities spread states after')


def network(x, y, states, p, ops, truncate=-1, masks=None):
    """Return the Outputs of the whole model for characters x (T,B) and targets y (T,B).

    states: h1, C1 (B,H1) and h2, C2 (B,H2) before the first step. p: the parameters by name. ops: the operations and
    the cell, a Kernel (engine/kernel/ops.py) or a Scan (engine/kernel/scan.py). truncate: how many steps, counted from
    the last, the gradient flows through; -1 for all. masks: of dropout, (T,B,H1) and (T,B,H2); they multiply h1 and h2
    on their way up, not on their way to the next step (Zaremba et al. 2014).
    """
    T, B = x.shape[0], x.shape[1]

    def layer(n, a, states):
        """Return h, C and the last states of layer n. a: U.x of all steps, (T*B,4H); ops.layer adds W.h_prev + b."""
        return ops.layer(a.reshape((T, B, -1)), p[f'W{n}'], p[f'b{n}'], own_of_layer(p, n), states, truncate)

    a1 = ops.columns(p['U1'], x.flatten())                                    # U1.x, for one-hot x: (T*B, 4H1)
    h1, C1, after1 = layer(1, a1, states[:2])                                 # (T, B, H1)
    up = h1 if masks is None else h1 * masks[0]
    a2 = ops.product(up.reshape((-1, up.shape[2])), stacked(p['U2']))         # (T*B, 4H2)
    h2, C2, after2 = layer(2, a2, states[2:])                                 # (T, B, H2)
    up = h2 if masks is None else h2 * masks[1]
    scores = ops.product(up.reshape((-1, up.shape[2])), p['V'].T)             # (T*B, V)
    costs, best, probabilities, spread = ops.cross_entropy(scores, p['c'], y)
    return Outputs(costs, best, probabilities, spread, [h1, C1, h2, C2], [*after1, *after2])


def smoothed(costs, spread, share):
    """Return the costs of targets of which a share is spread evenly over all characters (Szegedy et al. 2016).

    They keep a model from being too sure: it gives the target at most about 1 - share.
    """
    return (1 - share) * costs + share * spread


def activation_penalty(h, h_before, ar, tar):
    """Return the mean over the units of ar h^2 + tar (h - h_prev)^2, at each step: (T,B).

    It keeps the outputs h (T,B,H) of a layer, and their changes, small (AR and TAR, activation regularisation and the
    temporal one: Merity et al. 2017, where h is after dropout in AR). h_before: h before the first step, (B,H).
    """
    h_prev = tt.concatenate([h_before[None, :, :], h[:-1]])
    return (ar * tt.sqr(h) + tar * tt.sqr(h - h_prev)).mean(axis=2)


def penalty(parameters, l1, l2):
    """Return l1 * sum |p| + l2 * sum p^2 over all parameters; a term of weight 0 is left out."""
    return sum([l1 * abs(p).sum() for p in parameters if l1] + [l2 * tt.sqr(p).sum() for p in parameters if l2])


def clip(gradients, limit, ops):
    """Return gradients scaled so that their joint norm is at most limit (Pascanu et al. 2013)."""
    norm = tt.sqrt(sum(ops.sum_of_squares(g) for g in gradients))
    scale = tt.switch(norm > limit, limit / norm, 1)
    return [g * scale for g in gradients]


def sgd(gradients, parameters, state, lrate, lp):
    """Return the steps of gradient descent, one array to subtract from each parameter, and no state."""
    return [lrate * g for g in gradients], {}


def rmsprop(gradients, parameters, state, lrate, lp):
    """Return the steps of RMSprop with momentum and weight decay, and its new state: mean_squares m and sums v.

        m <- drate m + (1 - drate) g^2        step = lrate ((1 - momentum) v / (sqrt(m) + eps) + weight_decay p)
        v <- momentum v + g                   (Tieleman & Hinton 2012; decay apart from g: Loshchilov & Hutter 2019)
    """
    drate, momentum, decay = lp['drate'], lp['momentum'], lp['weight_decay']
    squares = [drate * m + (1 - drate) * tt.sqr(g) for m, g in zip(state['mean_squares'], gradients)]
    # No number multiplies g alone. Theano would move it into the product that makes g, and compute that product twice.
    sums = [momentum * v + g for v, g in zip(state['sums'], gradients)]
    steps = [lrate * ((1 - momentum) * (v / (tt.sqrt(m) + lp['eps'])) + decay * p)
             for m, v, p in zip(squares, sums, parameters)]
    return steps, dict(mean_squares=squares, sums=sums)


def limited(steps, limit):
    """Return steps in which no number is above limit or below -limit.

    Without momentum, RMSprop's step is lrate / sqrt(1 - drate) where a gradient comes after many near 0, however small.
    """
    return [tt.clip(step, -limit, limit) for step in steps]


def running_averages(averages, parameters, weight):
    """Return running averages moved towards the parameters: averages + (1 - weight) (parameters - averages).

    The averages predict better than the parameters, which have the noise of the last steps (Polyak & Juditsky 1992).
    """
    return [average + (1 - weight) * (p - average) for average, p in zip(averages, parameters)]


def update_ratios(steps, parameters, ops):
    """Return ||step|| / ||p|| for each parameter, p before the step; inf or nan where p was 0."""
    return [tt.sqrt(ops.sum_of_squares(s)) / tt.sqrt(ops.sum_of_squares(p)) for s, p in zip(steps, parameters)]


def initial_parameters(V, H1, H2, random, initial='original', own={}):
    """Return the parameters of a new model, name to array.

    'original': weights uniform in +-1/sqrt(inputs), biases 0, and 1 for the forget gates, so that a new model
    remembers: a forget gate at sigmoid(0) halves the cell state at every step (Jozefowicz et al. 2015). 'chrono': all
    uniform in +-1/sqrt(units of their layer), those of the output in +-1/sqrt(H2), and U1, whose input has a single 1,
    in +-1. A quarter of the units of each layer remember for longer, in a new model for 2 to 100 steps: their biases of
    f are log(steps - 1), those of i the negative of that (Tallec & Ollivier 2018). own: the cell's own parameters,
    name to initial value; a name such as peep stands for peep1 (H1,) and peep2 (H2,).
    """
    if initial == 'original':
        sizes = dict(U1=V, W1=H1, U2=H1, W2=H2, V=H2)                                  # inputs of each
    else:
        sizes = dict(U1=1, W1=H1, b1=H1, U2=H2, W2=H2, b2=H2, V=H2, c=H2)              # units; for U1 the single 1
    p = {}
    for name, shape in parameter_shapes(V, H1, H2).items():
        limit = 1 / math.sqrt(sizes[name]) if name in sizes else 0
        p[name] = random.uniform(-limit, limit, shape).astype(theano.config.floatX)
    if initial == 'original':
        p['b1'][0] = p['b2'][0] = 1
    else:
        for b in (p['b1'], p['b2']):
            n = b.shape[1] // 4
            b[0, :n] = np.log(random.uniform(1, 99, n))
            b[1, :n] = -b[0, :n]
    for layer, H in (('1', H1), ('2', H2)):
        p.update({name + layer: np.full(H, value, theano.config.floatX) for name, value in own.items()})
    return p


# ---------------------------------------------------------------- CharLSTM

# What training yields: after a step its cost, in nats a character, the update ratios, and how many characters it read;
# after an epoch its number, the mean cost of its steps, the validation cost (nan without validation), the rate of its
# last step, and how many characters a second were learned from in its steps.
Step = collections.namedtuple('Step', 'cost ratios characters')
Epoch = collections.namedtuple('Epoch', 'number cost valid_cost rate speed')


class CharLSTM(Sampling, Analysis):
    """A two-layer LSTM that learns to write text, character by character.

        model = CharLSTM(random_seed=1)
        for epoch in model.fit('text.txt', num_units1=128, epochs=6):
            print(epoch.cost, epoch.valid_cost)
        print(model.generate_text('It is ', 200))

    Attributes: uchar, a list of the V characters by number; batch_size; X, Y, n_batches, each a dict with the keys
    'train' and 'valid'; texts, a dict of the texts that prepare_input read for valid and test, as numbers (n,), by
    'valid' and 'test'; p, the parameters as Theano shared variables by name or, where lp['average'] is above 0, their
    running averages: load_params sets these and what is trained; lp, the learning parameters by name, which may be
    changed between steps; dyn_lrate, the learning rate as a shared scalar, which may be set between steps, also to a
    number, but not in fit; random, the NumPy generator of all random numbers: the same random_seed, text and machine
    give the same numbers; schedule, how far fit is, None before it; its rate_factor scales the rates.

    A subclass, or an object before model_setup, may set another cell, a function like lstm_cell. It may also set
    cell_parameters, a dict of names to initial values. The cell takes these parameters as further arguments; each has
    one number a unit of a layer, and is trained, saved and loaded like the other parameters. It may set another
    optimiser, too, a function like rmsprop, and optimiser_state, which returns its state before the first step. The
    state is saved and resumed with the parameters.

    Threads may share an object: their calls, and steps of fit, take turns. engine/lesson/ derives the model by hand.
    """
    cell_parameters = {}

    def __init__(self, random_seed: Optional[int] = None, kernel: bool = True, comm: Any = None,
                 precision: str = 'float32'):
        """Make a model without a text and without parameters.

        random_seed: a whole number, or None for a new one each time. kernel: whether to use the C kernel where a CPU
        and a compiler are present; False: theano.scan. comm: an mpi4py communicator whose processes train one model
        together. X and Y then have the rows of this process, of batches of batch_size. All processes must make the same
        calls in the same order, also of save_params and export. precision: 'bfloat16' to round what products multiply
        to it; they are summed in float32, which all other numbers stay in (Kalamkar et al. 2019). Raises ValueError for
        another random_seed or precision, and for bfloat16 where this processor does not multiply it faster.
        """
        super().__init__(random_seed, kernel, comm, precision)

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        """Return lstm_cell's h and C; a subclass may compute others."""
        return lstm_cell(a_f, a_i, a_o, a_g, C_prev)

    @staticmethod
    def optimiser(gradients, parameters, state, lrate, lp):
        """Return rmsprop's steps and new state; a subclass may compute others.

        gradients, parameters: lists of symbols, those of parameters named as in p. state: of optimiser_state, symbols.
        lrate: dyn_lrate. lp: the learning parameters. The steps are a list of what to subtract from each
        parameter. The new state has the names, shapes and types of the old one.
        """
        return rmsprop(gradients, parameters, state, lrate, lp)

    @staticmethod
    def optimiser_state(parameters):
        """Return the optimiser's state before the first step, a dict by name. parameters: a list of arrays.

        Each item is an array or a number, or a list of these, one for each parameter.
        """
        return {name: [np.zeros_like(p) for p in parameters] for name in ('mean_squares', 'sums')}

    @staticmethod
    def _network(*arguments):
        return network(*arguments)

    # ---- the model

    @locked
    def model_setup(self, mfile: Optional[Path] = None, num_units1: int = 128, num_units2: int = 128,
                    lrate: float = 2e-3, drate: float = 0.95, eps: float = 1e-8, bptt_maxdepth: int = 50,
                    l1: float = 0, l2: float = 0, char_dim: Optional[int] = None, initial: str = 'original',
                    encoding: str = 'utf-8', **learning: float) -> None:
        """Make a model with new parameters or, with mfile, with those of a checkpoint.

        num_units1, num_units2: H1 and H2. lrate, drate, eps: rate of RMSprop, decay of its averages, and an addend of
        its divisor. bptt_maxdepth: how many steps, counted from the end of a batch, are learned from; -1: all. l1, l2:
        weights of the penalties, divided by the characters of a batch. char_dim: V, where no text was prepared.
        initial: as in initial_parameters. With mfile, num_units1, num_units2, char_dim and initial are not used.
        encoding: as for load_params. learning: dropout, dropconnect, smoothing, ar, tar, reset, average, momentum,
        weight_decay, grad_clip and step_clip, which `python train.py --help` explains; 0, as in 2016, if left out.

        Sets p, lp and dyn_lrate, and ends what fit has begun. Functions are compiled when they are first used. Raises
        ValueError for arguments out of range and, of mfile, for no checkpoint; OSError where it cannot be read.
        """
        checks.whole('num_units1', num_units1, 1)
        checks.whole('num_units2', num_units2, 1)
        lp = table.learning({**table.INITIAL, **learning, **dict(
            lrate=lrate, drate=drate, eps=eps, bptt_maxdepth=bptt_maxdepth, l1=l1, l2=l2)})
        checks.choice('initial', initial, table.ROWS['initial'].kind)
        if mfile is not None:
            self._load(mfile, encoding)            # before anything changes, since it may fail
        else:
            V = self._vocabulary_size(char_dim)
            own = checks.cell_parameters(self.cell_parameters)
            p = initial_parameters(V, num_units1, num_units2, self.random, initial, own)
            self._set_parameters(check_initial(p, V, num_units1, num_units2, own, theano.config.floatX), self.uchar)
        self._functions, self._made_from, self._optimiser_state, self.lp, self._initial_lp = {}, None, {}, lp, dict(lp)
        self._set_weights(self._arrays() if lp['average'] else {})
        self._average_weight = theano.shared(np.zeros((), theano.config.floatX), 'average_weight', allow_downcast=True)
        self._dyn_lrate = theano.shared(np.asarray(lp['lrate'], theano.config.floatX), 'lrate', allow_downcast=True)
        if mfile is None:
            self._warn_if_truncated()

    def _gradient_graph(self, ops):
        """Return the first half of a training step: its inputs, outputs, gradients, and number of characters.

        The inputs are x, y, states, weights of the costs (T,B), 1/(T*B) where they are learned from and 0 elsewhere,
        and masks, if any. The outputs are the mean cost, the most probable characters and the states after. The
        gradients are of the weighted sum of the costs, smoothed and with the penalty on h2, and not of penalty.
        """
        (x, y), states = tt.imatrices('x', 'y'), tt.matrices('h1', 'C1', 'h2', 'C2')
        weights, p = tt.matrix('weights'), dict(self._trained())
        masks = tt.tensor3s('mask1', 'mask2') if self.lp['dropout'] else []
        connections = tt.tensor3s('connections1', 'connections2') if self.lp['dropconnect'] else []
        if connections:                        # DropConnect: Wan et al. 2013, on recurrent weights Merity et al. 2018
            p.update(W1=p['W1'] * connections[0], W2=p['W2'] * connections[1])
        found = network(x, y, states, p, ops, self.lp['bptt_maxdepth'], masks or None)
        costs = smoothed(found.costs, found.spread, self.lp['smoothing']) if self.lp['smoothing'] else found.costs
        if self.lp['ar'] or self.lp['tar']:
            costs = costs + activation_penalty(found.states[2], states[2], self.lp['ar'], self.lp['tar'])
        gradients = tt.grad((costs * weights).sum(), list(self._trained().values()), return_disconnected='None',
                            disconnected_inputs='ignore')      # what is not used is refused in compiled.py
        outputs = [found.costs.mean(), found.best] + found.after
        return [x, y] + states + [weights] + masks + connections, outputs, gradients, found.costs.size

    def _update_graph(self, gradients, size, rule, ops):
        """Return the second half of a training step, for gradients of `size` characters: update ratios and updates.

        Updates are pairs of a shared variable, an array that a compiled function may change, and its new value.
        """
        parameters = list(self._trained().values())
        penalties = penalty(parameters, self.lp['l1'], self.lp['l2'])
        if isinstance(penalties, theano.Variable):             # otherwise the number 0: no penalty
            more = tt.grad(penalties / tt.cast(size, theano.config.floatX), parameters, disconnected_inputs='ignore')
            gradients = [g + dp for g, dp in zip(gradients, more)]
        if self.lp['grad_clip']:
            gradients = clip(gradients, self.lp['grad_clip'], ops)
        optimiser, state = (sgd, {}) if rule == 'sgd' else (self.optimiser, self._training_state())
        steps, updates = checked_step(optimiser(gradients, parameters, state, self.dyn_lrate, self.lp), parameters,
                                      state)
        if self.lp['step_clip'] and rule != 'sgd':
            steps = limited(steps, self.lp['step_clip'] * self.dyn_lrate)
        new = [p - step for p, step in zip(parameters, steps)]
        if self.lp['average']:
            averages = list(self.p.values())
            updates += list(zip(averages, running_averages(averages, new, self._average_weight)))
        return update_ratios(steps, parameters, ops), updates + list(zip(parameters, new))

    # ---- predicting

    @locked
    def theano_predict(self, x: np.ndarray) -> List[np.ndarray]:
        """Predict the character after each of x, int (T,B) or (T,).

        Returns [probabilities (T,B,V), the most probable characters, int (T,B)]. Raises ValueError for unknown ones.
        """
        predict = self._function('predict')
        x = checks.characters('x', x, self._V())
        log_p = predict(x, *self._zero_states(x.shape[1]))[0]                      # (T*B, V)
        return [np.exp(log_p).reshape(x.shape + (-1,)), log_p.argmax(axis=1).reshape(x.shape)]

    @locked
    def theano_check(self, x: np.ndarray, y: np.ndarray) -> list:
        """Return the mean cost, in nats a character, of predicting y from x, int (T,B) or (T,), from zero states.

        The result is [cost, the most probable characters, int (T,B)]. Raises ValueError for unknown characters.
        """
        x, y = self._batch(x, y)
        cost, best, *_ = self._check(x, y)
        return [float(cost), best]

    # ---- training

    def fit(self, filepath: Optional[Path] = None, recipe: str = 'default', **options: Any) -> Iterator[Epoch]:
        """Learn a text as train.py does. Return an iterator, which yields an Epoch after each time that it was read.

        filepath: as for prepare_input; training begins with new parameters, or those of the option init. None continues
        what was left before its end, and not ended by another text or model. recipe: 'default', 'original' for that of
        2016, or 'small' for that of --small, whose text filepath None then means. options: most of those of train.py,
        with underscores, such as num_units1=128 or init='params.npz'; the recipe has the others. A model that knows all
        characters keeps its vocabulary. schedule says how far it is. After each epoch, the model can predict and write.
        Raises ValueError for options out of range, a text too short or not in its encoding, and where the loop sets
        another text, model or rate; OSError where it cannot be read; Diverged where costs are not finite or rise long.
        """
        if filepath is not None or recipe != 'default':
            self.schedule = fit.begin(self, filepath, recipe, options)
        elif options:
            raise ValueError('fit continues with the options that it had: expected none, or a text to begin with')
        elif self.schedule is None:
            raise ValueError('fit has nothing to continue, or another text or model ended it: expected a text')
        return (event for event in self.training(self.schedule) if isinstance(event, Epoch))

    def training(self, schedule: Schedule) -> Iterator:
        """Train until a Schedule (engine/run/schedule.py) is finished. Yield a Step after each step, an Epoch after
        each epoch, and None between validation batches: a caller may stop after each, and begin again there.

        Raises Diverged if a cost or a parameter is not finite.
        """
        while not schedule.finished:
            self.compile('train_rmsprop')       # here, since Ctrl-C is delayed during a step
            schedule.begin_epoch()
            seconds, characters = 0.0, 0
            for i in range(schedule.batch, self.n_batches['train']):
                self.dyn_lrate = schedule.rate_at(schedule.step)
                if schedule.should_validate(self.n_batches['valid']):      # before the step, as the training cost is
                    schedule.valid_batch_cost = self.validate_batch()
                start, x, y = time.perf_counter(), self.X['train'][i], self.Y['train'][i]
                with ctrl_c_delayed():          # so that a step is made and counted, or neither
                    cost, _, *ratios = self.theano_train_rmsprop(x, y)
                    schedule.record_step(cost, len(y) * self.batch_size)
                seconds, characters = seconds + time.perf_counter() - start, characters + len(y) * self.batch_size
                yield Step(cost, ratios, len(y) * self.batch_size)
            if not self.finite():
                raise Diverged(f'the parameters are no finite numbers any more after epoch {schedule.epoch + 1}')
            costs = []
            for one in self.validation_costs():
                costs.append(one)
                yield None
            cost, valid_cost, rate = schedule.end_epoch(), mean_cost(costs), schedule.rate_at(schedule.step - 1)
            self.reset_states()
            schedule.record_validation(valid_cost)
            yield Epoch(schedule.epoch, cost, valid_cost, rate, characters / max(seconds, 1e-6))

    def theano_train_rmsprop(self, x: np.ndarray, y: np.ndarray) -> list:
        """Do one step of the optimiser on a batch, x and y int (T,B) or (T,): of RMSprop unless you set another.

        In a stateful text the states are those after the last step, or zero in a share lp['reset'] of the rows and
        after reset_states; otherwise zero. Returns [cost, best characters, int (T,B)], both before the step, then the
        ratios ||step|| / ||p|| of U1 W1 b1 U2 W2 b2 V c and of the cell's own parameters. The cost is without
        penalties, with dropout where it is used. Raises ValueError for unknown characters, and before model_setup.
        """
        return self._train('train_rmsprop', x, y)

    def theano_train_sgd(self, x: np.ndarray, y: np.ndarray) -> list:
        """Do one step of gradient descent, with the arguments and results of theano_train_rmsprop."""
        return self._train('train_sgd', x, y)
