"""The state of a model between two steps: its text, vocabulary, parameters and states, in memory and in checkpoints."""
import functools
import math
import os
import secrets
import sys
import threading
from typing import Any, Dict, Optional, Tuple, Union

import numpy as np

from engine.model import checks
from engine.backend.theano_setup import device, theano
from engine.model.files import base_name

from engine.model import checkpoint, dropout
from engine.model.batches import Text
from engine.model.parameters import NAMES, carry_over, cell_of, own_names, read_parameters, to_store, units
from engine.run_state import RunState, map_state, named_state, read_run
from engine.model.text import encoded, shown
from engine.run.table import ABOVE_0
from engine.terminal import printable, warn

Path = Union[str, os.PathLike, checkpoint.Checkpoint]      # of a file; of a checkpoint, also an open one
LONGEST_SHOWN = 200        # characters of a formula in a message


def locked(method):
    """Let only one thread at a time run the decorated methods of an object."""
    @functools.wraps(method)
    def call(self, *arguments, **settings):
        with self._lock:
            return method(self, *arguments, **settings)
    return call


def read_checkpoint(path, encoding='utf-8'):
    """Read and check a checkpoint.

    encoding: of the text, where the vocabulary is one of bytes, as the original of this program
    stored it. Returns parameters (name to array, in floatX) and uchar (V,). Raises
    OSError when the file cannot be read, ValueError when it is no checkpoint, and ImportError where the package
    safetensors, for a file of PyTorch, is missing.
    """
    return read_parameters(path, theano.config.floatX, encoding)


def _read_model(path, encoding='utf-8'):
    """Return what read_checkpoint returns, and the formula of the cell, '' for the standard one."""
    with checkpoint.opened(path) as stored:
        return (*read_checkpoint(stored, encoding), cell_of(stored)['formula'])


def _read_model_and_run(path, optimiser_state):
    """Return what _read_model returns, and then what read_run returns."""
    with checkpoint.opened(path) as stored:
        arrays, uchar, formula = _read_model(stored)
        return arrays, uchar, formula, *read_run(stored, arrays, optimiser_state)


def _values(variables):
    """Return the arrays of shared variables, both by name; not to be written to."""
    return {name: variable.get_value(borrow=True) for name, variable in variables.items()}


def _kinds(arrays):
    """Return the shapes and types of arrays by name."""
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def _updated(variables, arrays):
    """Return shared variables by name with these values: the same variables, unless a shape or a type changes."""
    if _kinds(_values(variables)) != _kinds(arrays):
        return {name: theano.shared(array, name) for name, array in arrays.items()}
    for name, array in arrays.items():
        variables[name].set_value(array)
    return variables


def _name_of_npz(filename):
    """Return the name of a checkpoint to write, with its ending. Raises ValueError for that of a folder, or of nothing.
    """
    filename = os.fsdecode(filename)
    if filename.endswith('.npz'):
        return filename
    if not os.path.basename(filename) or os.path.isdir(filename):
        raise ValueError(f'filename is {filename!r}: expected the name of a file, such as params.npz')
    return filename + '.npz'


class State:
    """The state of a CharLSTM between two steps; the class CharLSTM adds the computations.

    Attributes: those that CharLSTM lists; group, a SingleProcess or a ProcessGroup: the processes that train
    the model together, each of which has its own rows (B) of a batch and of states; precision, of the operands of
    products; _initial_lp, lp as model_setup made it; _text, the Text that was prepared, or None; _optimiser_state, what
    optimiser_state returns, as shared variables, {} until it is needed; _weights, the weights that are trained, by
    name, where p is their running average, {} where p itself is trained; _averaged_steps, the steps in that average;
    _carried, the states before the next training batch, four arrays (B,H), or None; _validation_states, those before
    the next validation batch, and _validation_index, its index.
    """

    def __init__(self, random_seed, group, precision):
        self.group, self.precision, self._lock = group, precision, threading.RLock()
        seed = secrets.randbits(128) if random_seed is None else random_seed
        self.random = np.random.default_rng(group.broadcast(int, seed))          # the same numbers in all processes
        self.uchar = []
        self.batch_size = self._dyn_lrate = None
        self.X, self.Y, self.n_batches, self.texts = {}, {}, {}, {}
        self.p, self.lp, self._initial_lp, self._optimiser_state = {}, {}, {}, {}
        self._weights, self._averaged_steps = {}, 0
        self._functions = {}           # compiled, by name, from what the next three say
        self._cell = self._made_from = self._reads = None          # the Cell, attributes, and what functions read
        self._text = self.schedule = None
        self._carried, self._validation_states, self._validation_index = None, None, 0

    def __repr__(self):
        """Return a line on the sizes of the model and on its text."""
        parts = ['no model']
        if self.p:
            parameters = sum(math.prod(self._shape(name)) for name in self.p)
            parts = ['{} and {} units'.format(*self._units()), f'{self._V()} characters', f'{parameters:,} parameters']
            parts += [self.precision] if self.precision != 'float32' else []
        if self.has_text('train'):
            source = self.source()
            parts.append(f'text {base_name(source["path"])} of {source["characters"]:,} characters')
        else:
            parts.append('no text')
        return printable(f'{type(self).__name__}({", ".join(parts)})')

    def __getstate__(self):
        """Return what copy and pickle take: all but the lock and compiled functions, which are compiled again."""
        return dict(self.__dict__, _functions={}, _cell=None, _made_from=None, _reads=None, _lock=None)

    def __setstate__(self, state):
        self.__dict__.update(state, _lock=threading.RLock())

    @property
    def dyn_lrate(self):
        """The learning rate, a shared scalar; None before model_setup. It may be set to a number above 0."""
        return self._dyn_lrate

    @dyn_lrate.setter
    def dyn_lrate(self, rate):
        if self._dyn_lrate is None:
            raise ValueError('no model yet: call model_setup first')
        self._dyn_lrate.set_value(ABOVE_0('lrate', rate))

    def _warn(self, line):
        """Tell the user something, in the first process only."""
        if self.group.first:
            warn(line)

    # ---- the text

    @locked
    def prepare_input(self, filepath: Path, ratio_valid: float = 0.30, batch_size: int = 50, seq_length: int = 50,
                      verbose: bool = True, encoding: str = 'utf-8', stateful: bool = False,
                      valid: Optional[Path] = None, test: Optional[Path] = None) -> None:
        """Read a text and cut it into batches. A text is a file, or a folder of text files.

        The text is cut into consecutive sequences of seq_length characters (a last partial one is dropped), which give
        seq_length - 1 inputs and as many targets. Of n sequences the first (1 - ratio_valid) n, rounded, are for
        training, the others for validation. Consecutive ones fill the batches, and those that fill none are dropped.

        With stateful, the rows of a batch are batch_size long pieces of the training text (or of the validation text)
        that continue from batch to batch: T = seq_length, the last batch may be shorter, and every character is
        predicted. Training and validate then carry the states along.

        valid: a text to validate with. All of the first text is then for training, and ratio_valid is not used. The
        batches of a short one have fewer rows. test: a text to test with, of which only the vocabulary is used. uchar
        has the characters of all texts. Both are kept in the attribute texts, as numbers that score_text takes.

        Sets uchar, batch_size, texts, X, Y and n_batches: X['train'][i] are the inputs and Y['train'][i] the targets of
        the i-th batch, int32 (T,B) with T = seq_length - 1. If the object has parameters that know all characters of
        the texts, uchar stays as it is. If they do not know one, they are dropped, with a warning. What fit has begun
        ends.

        Raises OSError when the file cannot be read, and ValueError for arguments out of range, a wrong encoding, or a
        text too short for one batch.
        """
        checks.flag('verbose', verbose)
        text = Text(filepath, ratio_valid, batch_size, seq_length, encoding, stateful, self.group, valid, test)
        if self.p and not self.uchar and self._V() == len(text.uchar):   # set up by char_dim, for this text
            self.uchar = list(text.uchar)
        unknown = set(text.uchar) - set(self.uchar)
        if self.p and unknown:
            paths = ', '.join(source['path'] for source in text.sources.values())
            self._warn(f'the parameters do not know {shown(unknown)} of {paths} and were dropped; model_setup makes '
                       'new ones')
            self._set_parameters({}, text.uchar)
        elif self.p:
            text.renumber(self.uchar)
        self._set_text(text)
        self.schedule = None
        self.reset_states()
        self._warn_if_truncated()
        if verbose and self.group.first:
            print(text.summary())

    def in_vocabulary(self, text: str) -> str:
        """Return a string in the characters of uchar."""
        return text

    def _encode(self, text, name):
        """Return a string as numbers of uchar, int32 (n,).

        Raises ValueError where it has unknown characters; name: what the message calls the string.
        """
        if not self.uchar:
            raise ValueError('no vocabulary: call fit or prepare_input, or load a checkpoint, first')
        return encoded(self.in_vocabulary(text), self.uchar, name)

    def _text_decoder(self, count):
        """Return a function that decodes `count` texts piece by piece.

        It takes the next numbers (n,count) of the texts and returns a list of count strings.
        """
        def strings(numbers):
            return [''.join([self.uchar[k] for k in column]) for column in numbers.T.tolist()]

        return strings

    def _set_text(self, text):
        self._text, self.uchar, self.batch_size = text, list(text.uchar), text.batch_size
        self.X, self.Y, self.n_batches, self.texts = text.X, text.Y, text.n_batches, text.texts
        self._validation_states, self._validation_index = None, 0

    def _stateful(self):
        return self._text is not None and self._text.stateful

    def fingerprint(self, role: str = 'train') -> str:
        """Return the SHA-256, in hexadecimal, of the text that was prepared.

        role: 'valid' or 'test' for the text to validate or to test with. Raises ValueError where there is none.
        """
        return self.source(role)['sha256']

    def source(self, role: str = 'train') -> Dict[str, Any]:
        """Return the path of a text, its number of characters and its sha256, a dict. Argument as for fingerprint."""
        if not self.has_text(role):
            raise ValueError(f'no text to {role} with yet: call prepare_input with one first')
        return self._text.sources[role]

    def has_text(self, role: str) -> bool:
        """Return whether there is a text for that role. Argument as for fingerprint."""
        return self._text is not None and role in self._text.sources

    def passage(self) -> Tuple[str, str]:
        """Return the beginning of the validation text, by which a run shows what it learns: 'validation' and a string.

        Where there is none, it is 'training' and the beginning of that. Of several processes only the first has it.
        Raises ValueError in the others, and where no text was prepared.
        """
        if self._text is None:
            raise ValueError('no text yet: call prepare_input first')
        if not self._text.passage:
            raise ValueError('only the first process has the passage')
        (name, codes), = self._text.passage.items()
        return name, ''.join([self._text.uchar[k] for k in codes])

    def _warn_if_truncated(self):
        """Warn where sequences are longer than the gradient reaches."""
        depth = self.lp.get('bptt_maxdepth', -1)
        if self._text is not None and 0 < depth < self._text.steps:
            self._warn(f'only the last {depth} of the {self._text.steps} steps of a sequence are learned from: '
                       f'bptt_maxdepth is {depth}, seq_length {self._text.seq_length}; set them to one number unless '
                       'this is meant')

    @locked
    def reset_states(self) -> None:
        """Forget the states that training carries from batch to batch, as at the start of the text."""
        self._carried = None

    # ---- the parameters

    def _set_parameters(self, arrays, uchar):
        """Replace parameters and vocabulary, and end fit. Compiled functions stay where all shapes and types stay."""
        self.uchar, self.schedule, before = list(uchar), None, self.p
        self.p = _updated(self.p, arrays)
        if self.p is not before:
            self._functions, self._optimiser_state = {}, {}
        self._set_weights(arrays if self.lp.get('average') else {})
        self._validation_states, self._validation_index = None, 0
        self.reset_states()

    def _set_weights(self, arrays, averaged_steps=0):
        """Replace the weights, whose average over averaged_steps steps is p; arrays {}: p itself is trained."""
        self._weights, self._averaged_steps = _updated(self._weights, arrays), averaged_steps

    def _trained(self):
        """Return what training changes, as shared variables by name."""
        return self._weights or self.p

    def _training_state(self):
        """Return the optimiser's state as shared variables; the initial one if names or shapes are those of another."""
        initial = map_state(lambda value: np.asarray(value, self.p['c'].dtype),
                            self.optimiser_state(list(self._arrays().values())))
        now = _values(named_state(self._optimiser_state, self.p))
        if _kinds(now) != _kinds(named_state(initial, self.p)):
            self._optimiser_state = map_state(theano.shared, initial)
            for name, variable in named_state(self._optimiser_state, self.p).items():
                variable.name = name
        return self._optimiser_state

    def _arrays(self):
        return _values(self.p)

    def _shape(self, name):
        """Return the shape of a parameter. Raises ValueError where there are none."""
        if not self.p:
            raise ValueError('no model yet: call model_setup first')
        return self.p[name].get_value(borrow=True, return_internal_type=True).shape

    def _V(self):
        return self._shape('c')[0]

    def _units(self):
        """Return H1 and H2. Raises ValueError where there are no parameters."""
        return units({name: self._shape(name) for name in ('W1', 'W2')})

    def _zero_states(self, B):
        """Return the states h1, C1, h2, C2 before a text, (B,H1) and (B,H2)."""
        H1, H2 = self._units()
        return [np.zeros((B, H), theano.config.floatX) for H in (H1, H1, H2, H2)]

    def _vocabulary_size(self, char_dim):
        """Return V of a new model: char_dim, or that of the text for None. Raises ValueError where they differ."""
        if char_dim is None and not self.uchar:
            raise ValueError('no text yet: call prepare_input first, or give char_dim')
        if char_dim is None:
            return len(self.uchar)
        checks.whole('char_dim', char_dim, 1)
        if self.uchar and char_dim != len(self.uchar):
            raise ValueError(f'char_dim is {char_dim}: the vocabulary has {len(self.uchar)} characters')
        return char_dim

    # ---- the inputs of a training step

    def _step_inputs(self, x):
        """Return the inputs of a training step on x (T,B) after x and y: states, weights of the costs, then masks.

        Raises ValueError where x has not the rows of this process.
        """
        rows, B = self._rows(x)
        return [*self._states_before(x, rows), self._cost_weights(x, B), *self._masks(x, rows)]

    def _rows(self, x):
        """Return which rows of the whole batch x (T,B) has, a slice, and how many rows the whole batch has."""
        if self.group.size == 1:
            return slice(0, x.shape[1]), x.shape[1]
        if self.batch_size is None:
            raise ValueError('no text yet: call prepare_input first')
        rows = self.group.rows(self.batch_size)
        if x.shape[1] != rows.stop - rows.start:
            raise ValueError(f'x has {x.shape[1]} rows: expected {rows.stop - rows.start}, the share that this process '
                             f'has of batches of {self.batch_size}')
        return rows, self.batch_size

    def _states_before(self, x, rows):
        """Return the states before x: those carried, if any, with some rows reset to zeros."""
        if not (self._stateful() and self._carried is not None and len(self._carried[0]) == x.shape[1]):
            return self._zero_states(x.shape[1])
        if not self.lp['reset']:
            return self._carried
        kept = ~dropout.begins_anew(self.random, self.lp['reset'], rows)       # so that the model also sees beginnings
        return [state * kept[:, None].astype(state.dtype) for state in self._carried]

    def _cost_weights(self, x, B):
        """Return the weight of each cost of x in the gradient, (T,B): zero before the last bptt_maxdepth steps."""
        depth, weights = self.lp['bptt_maxdepth'], np.full(x.shape, 1 / (len(x) * B), theano.config.floatX)
        if depth != -1:
            weights[:-depth] = 0
        return weights

    def _masks(self, x, rows):
        """Return the masks of a step on x: of units for dropout, then of weights for DropConnect, if any."""
        H, dtype, masks = self._units(), theano.config.floatX, []
        if self.lp['dropout']:
            masks += dropout.unit_masks(self.random, self.lp['dropout'], rows, len(x), H, dtype)
        if self.lp['dropconnect']:
            masks += dropout.weight_masks(self.random, self.lp['dropconnect'], H, dtype)
        return masks

    # ---- checkpoints

    @locked
    def save_params(self, filename: Path, progress: Any = None) -> str:
        """Write the state of this object to an npz file, whole or not at all; '.npz' is added where it is missing.

        The file has the parameters and uchar, which load_params reads. For resume it also has the optimiser's state,
        the carried states, the generator, the learning parameters, and progress, a dict of the caller's that JSON can
        hold. Of several processes the first writes, with the states of all. Returns the file's name. Raises OSError
        when it cannot be written, and ValueError where there is nothing to save, for the name of a folder, where a
        number is not finite, or where the processes differ.
        """
        if not self.p or not self.uchar:
            raise ValueError('nothing to save: there are no parameters or no vocabulary yet')
        filename = self.group.broadcast(_name_of_npz, filename)
        p, weights = self._arrays(), _values(self._weights)
        optimiser = _values(named_state(self._training_state(), p))
        self.group.check_in_sync([*p.values(), *optimiser.values(), *weights.values()],
                                 self.random.bit_generator.state, self._model_cell().formula)
        carried, validation = [self.group.gather(states) for states in (self._carried, self._validation_states)]
        arrays = dict(p, **RunState(optimiser, weights, carried, validation).arrays())
        self.group.broadcast(self._write, filename, arrays, progress)
        return filename

    @staticmethod
    def versions() -> Dict[str, str]:
        """Return the versions of what computes, and the device, as strings by name."""
        return dict(python='.'.join(map(str, sys.version_info[:3])), numpy=np.__version__, theano=theano.__version__,
                    device=device())

    def finite(self) -> bool:
        """Return whether all parameters and the optimiser's state are finite numbers."""
        state = named_state(self._optimiser_state, self.p)
        return all(np.isfinite(array).all() for variables in (self.p, state, self._weights)
                   for array in _values(variables).values())

    def _write(self, filename, arrays, progress):
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError(f"{filename} was not written: the parameters or the optimiser's state are not finite any "
                             'more')
        cell = self._model_cell()
        metadata = dict(
            lp=self.lp, averaged_steps=self._averaged_steps, validation_index=self._validation_index,
            random=self.random.bit_generator.state, text=self._text.metadata() if self._text else {}, progress=progress,
            cell=dict(formula='' if cell.standard else cell.formula, parameters=list(cell.own)),
            optimiser=sorted(self._optimiser_state), precision=self.precision, versions=self.versions())
        checkpoint.write(filename, dict(arrays, uchar=to_store(self.uchar)), metadata)

    @locked
    def load_params(self, filename: Path, encoding: str = 'utf-8') -> Dict[str, np.ndarray]:
        """Replace parameters and uchar by those of a checkpoint, of this program, of its original, or of PyTorch.

        filename: a path, or an open Checkpoint; a path that ends in .safetensors is of PyTorch. encoding: of the text,
        where the vocabulary is one of bytes, as in the original. A text that was prepared before stays, and its batches
        are renumbered. Raises OSError when the file cannot be read, and ValueError when it is no checkpoint, does not
        know a character of the text, or lacks a parameter of the cell; and ImportError as read_checkpoint. Warns of a
        checkpoint with another cell. What fit has begun ends. Returns the parameters, name to array, in floatX, as the
        original did.
        """
        self._check_learning()
        return self._load(filename, encoding)

    def _load(self, filename, encoding):
        """Load parameters as load_params does, whatever was changed in lp: model_setup replaces it."""
        arrays, uchar, formula = self.group.broadcast(_read_model, filename, encoding)
        difference = self.cell_difference(filename, formula)
        if difference:
            self._warn(f'{difference}: with this one it predicts differently; --cell names the class of another')
        names = *NAMES, *own_names(self.cell_parameters)
        for name in names:
            if name not in arrays:
                raise ValueError(f'{filename} has no {name}, a parameter of the cell of this model; init_params or '
                                 '--init begins with its initial value')
        arrays = {name: arrays[name] for name in names}
        self._set_model(filename, arrays, uchar)
        return arrays

    def cell_difference(self, filename, formula):
        """Return a line on a checkpoint's cell of another formula than this model's; None where they are equal."""
        cell = self._current_cell()
        formulas = formula, '' if cell.standard else cell.formula
        if formulas[0] == formulas[1]:
            return None
        theirs, ours = [f'{text[:LONGEST_SHOWN]} ...' if len(text) > LONGEST_SHOWN else text or 'the standard one'
                        for text in formulas]
        return f'{filename} was trained with another cell ({theirs}) than this model has ({ours})'

    def _set_model(self, filename, arrays, uchar):
        """Replace parameters and vocabulary by a checkpoint's, and renumber the text.

        Raises ValueError where the text has other characters.
        """
        if self._text is not None:
            unknown = set(self.uchar) - set(uchar)
            if unknown:
                raise ValueError(f'{filename} does not know {shown(unknown)} of the text that was prepared')
            self._text.renumber(uchar)
            self._set_text(self._text)
        self._set_parameters(arrays, uchar)

    @locked
    def resume(self, filename: Path) -> Any:
        """Restore what save_params wrote, after prepare_input and model_setup with the same arguments as then.

        Training then continues as if it had never stopped, bit for bit, once dyn_lrate and lp are as they were, if they
        were changed since model_setup. Returns progress as JSON holds what save_params got. What fit has begun ends.
        Raises OSError when the file cannot be read, and ValueError for one that is no checkpoint, does not know a
        character of the text, lacks something that a run needs, is of another cell, optimiser or precision, or has an
        average where model_setup had none, or the reverse.
        """
        self._check_learning()
        arrays, uchar, formula, run, metadata = self.group.broadcast(
            _read_model_and_run, filename, self.optimiser_state)
        difference = self.cell_difference(filename, formula)
        if difference:
            raise ValueError(f'{difference}: a run is resumed with its own; --cell names its class')
        theirs = metadata['precision']
        if theirs != self.precision:
            raise ValueError(f'{filename} was trained with precision {theirs}, and this model has {self.precision}: a '
                             'run is resumed with its own')
        if bool(run.weights) != bool(self.lp.get('average')):
            raise ValueError(f'{filename} was trained {"with" if run.weights else "without"} an average of the '
                             'parameters: model_setup needs the same average')
        self._set_model(filename, arrays, uchar)
        self._set_weights(run.weights, metadata['averaged_steps'] if run.weights else 0)
        for name, variable in named_state(self._training_state(), self.p).items():
            variable.set_value(run.optimiser[name])
        self._carried, self._validation_states = [states and [state[self.group.rows(len(state))] for state in states]
                                                  for states in (run.carried, run.validation)]
        self._validation_index = metadata['validation_index']
        self.random.bit_generator.state = metadata['random']
        return metadata['progress']

    @locked
    def init_params(self, filename: Path, encoding: str = 'utf-8') -> None:
        """Start from the parameters of a checkpoint of another text, after prepare_input and model_setup.

        Characters that both texts have keep their rows and columns; the others
        stay as they are in a new model. encoding: as for load_params. Raises OSError when the file
        cannot be read, ValueError when it is no checkpoint, or when the units differ, and ImportError as
        read_checkpoint. Warns of a checkpoint with another cell. What fit has begun ends.
        """
        self._check_learning()
        ours = self._units()
        arrays, uchar, formula = self.group.broadcast(_read_model, filename, encoding)
        difference = self.cell_difference(filename, formula)
        if difference:
            self._warn(f'{difference}: training begins with its parameters all the same')
        theirs = units({name: array.shape for name, array in arrays.items()})
        if theirs != ours:
            raise ValueError('{} has {} and {} units, this model {} and {}: they must be the same'.format(
                filename, *theirs, *ours))
        new = {name: p.get_value() for name, p in self.p.items()}
        self._set_parameters(carry_over(arrays, uchar, new, self.uchar), self.uchar)
