"""A model whose functions are compiled when they are first used, in C where that is possible."""
import copy
import functools
from typing import Optional, TextIO

from engine.model import checks
from engine.backend import bfloat16
from engine.backend.theano_setup import CompilerError, compiling, kernel_runs, theano, tt
from engine.kernel.cell import Cell, held_cell, js_function, js_learning_functions, js_steps
from engine.kernel.data_parallel import DataParallelStep
from engine.kernel.drawing import continue_texts
from engine.kernel.edits import Reads
from engine.kernel import export
from engine.kernel.network import costs_follow, is_as_in_c, log_probabilities
from engine.kernel.ops import Kernel
from engine.kernel.scan import Scan
from engine.parallel import group_of
from engine.progress import Compilation
from engine.model.parameters import NAMES, own_names
from engine.training import Path, State, locked
from engine.run.table import changed_learning
from engine.terminal import warn

DRAWS = 'draws random numbers by Theano, which no checkpoint keeps: a resumed run draws others'


class Compiled(State):
    """The functions of a model, compiled by name, and its cell.

    A subclass has the graphs of symbols: _network, which is that of charlstm.py, and _gradient_graph and _update_graph,
    the halves of a training step; and cell, cell_parameters. What was compiled is dropped where anything that these
    read has changed.
    """

    def __init__(self, random_seed, kernel, comm, precision):
        """Take the arguments of CharLSTM, which says what they are and what is raised."""
        if random_seed is not None:
            checks.whole('random_seed', random_seed, 0, most=float('inf'))
        checks.flag('kernel', kernel)
        bfloat16.instructions(precision, kernel)               # refuse before a text is read
        super().__init__(random_seed, group_of(comm), precision)
        self._kernel = kernel and kernel_runs()

    # ---- the cell, and what runs it

    def _check_learning(self):
        """Raise ValueError for values of lp out of range, and for a change of lp that needs model_setup."""
        # Also where lp compares equal: np.float32(0) == 0, but a checkpoint cannot hold it.
        self.lp.update(changed_learning(self._initial_lp, self.lp))

    def _checked_cell(self):
        """Return the Cell as _current_cell does, after a check of lp. Raises ValueError as that and _check_learning."""
        self._check_learning()
        return self._current_cell()

    def _current_cell(self):
        """Return the Cell of the attributes cell and cell_parameters.

        Drop what was compiled from another cell, other functions of symbols, other learning parameters or other values
        that any of these read, than those of now. Raises ValueError for a function that cannot be a cell.
        """
        if self._made_from != self._attributes() or self._reads.differ():
            cell = Cell(self.cell, checks.cell_parameters(self.cell_parameters), theano.config.floatX)
            if self.precision == 'bfloat16' and not cell.program:
                raise ValueError(f'precision bfloat16 needs the C kernel, but the cell {cell.name} uses '
                                 f'{cell.unknown}, which is not in C: take float32')
            if self._cell is None or self._cell.formula != cell.formula:
                self._warn_of_cell(cell)
            self._set_cell(cell)
        return self._cell

    def _attributes(self):
        """Return the attributes that functions are compiled from, as they are now."""
        return [self.cell, copy.copy(self.cell_parameters), dict(self.lp), list(map(id, self.p.values())),
                self.optimiser]

    def _set_cell(self, cell):
        """Let cell be the Cell of the attribute cell, and drop compiled functions."""
        self._cell, self._functions = cell, {}
        self._made_from = self._attributes()
        self._reads = Reads([type(self)._network, type(self)._gradient_graph, type(self)._update_graph, self.cell,
                             self.optimiser, self.optimiser_state])

    def _warn_of_cell(self, cell):
        if self._kernel and not cell.program:
            self._warn(f'the cell {cell.name} uses {cell.unknown}, which is not in C: theano.scan runs it, many times '
                       'slower')
        if cell.draws:
            self._warn(f'the cell {cell.name} {DRAWS}')

    def _model_cell(self):
        """Return the Cell. Raises ValueError where the model does not have its parameters."""
        cell = self._checked_cell()
        if list(self.p)[len(NAMES):] != own_names(cell.own):
            raise ValueError(f'the cell {cell.name} has other parameters than the model: call model_setup after a '
                             'change of cell_parameters')
        return cell

    def _ops(self):
        """Return the operations of the network: a Kernel where possible, otherwise a Scan."""
        cell = self._model_cell()
        if not (self._kernel and cell.program):
            return Scan(cell)
        return Kernel(cell, bfloat16.instructions(self.precision))

    @locked
    def runs_in_c(self) -> bool:
        """Return whether the C kernel computes this model; otherwise theano.scan does."""
        return isinstance(self._ops(), Kernel)

    @locked
    def javascript(self) -> str:
        """Return the cell in JavaScript: a function for engine/page/network.js, whose units may be held, those of
        engine/page/learner.js, and its formula line by line for inside.js.

        Raises ValueError where JavaScript would compute another model than this one.
        """
        cell = self._cell_for('a page')
        return '\n'.join([js_function(held_cell(cell).program), js_learning_functions(cell.program), js_steps(cell)])

    @locked
    def export(self, path: Path) -> None:
        """Write the model for other programs, whole or not at all, by the ending: .safetensors (PyTorch), .c.

        A .safetensors has the standard cell only; it loads as a checkpoint does. Raises ValueError for another ending,
        and where there is no model or the file would have another; OSError when it cannot be written; and ImportError
        where the package safetensors is missing.
        """
        ending = export.format_of(path)
        if not (self.p and self.uchar):
            raise ValueError('nothing to export: there are no parameters or no vocabulary yet')
        cell = self._cell_for(export.FORMATS[ending])
        self.group.broadcast(export.write, path, cell, self._arrays(), self.uchar)

    def _cell_for(self, what):
        """Return the Cell. Raises ValueError where `what` would compute another model than this one."""
        self._units()                                          # raises where there is no model
        cell = self._model_cell()
        if not cell.program:
            raise ValueError(f'{what} cannot compute the cell {cell.name}: it uses {cell.unknown}')
        if not is_as_in_c(self._network, self.p, self._ops()):
            raise ValueError(f'{what} cannot compute this model: network in charlstm.py was edited, and {what} has the '
                             'network as it was')
        return cell

    # ---- functions

    @locked
    def compile(self, *names: str, file: Optional[TextIO] = None) -> None:
        """Compile functions now: 'predict', 'check', 'train_rmsprop', 'train_sgd', 'sample', 'states'.

        file: where lines go that say how far it is, if it takes longer than a second; None for standard error, if that
        is a terminal or a notebook. Where the C kernel does not compile, theano.scan takes its place with a warning.
        Raises OSError where that fails, too, and ValueError for another name, for a function that cannot be a cell,
        before model_setup, and where bfloat16 has no C kernel.
        """
        for name in names:
            self._function(name, file)

    def _function(self, name, file=None):
        """Return a compiled function; compile it first where needed. Raises CompilerError where that fails."""
        if not self.p:
            raise ValueError('no model yet: call model_setup first')
        if self.p['c'].dtype != theano.config.floatX:
            raise ValueError(f"the model is of {self.p['c'].dtype}, but theano.config.floatX is {theano.config.floatX} "
                             'now: set that back')
        self._checked_cell()
        if name not in self._functions:
            if name == 'sample' and not self._samples_in_c():
                self._functions[name] = functools.partial(continue_texts, self._function('predict'))
                return self._functions[name]
            builds = dict(predict=functools.partial(self._build_reading, lambda found: [log_probabilities(found)]),
                          check=self._build_check,
                          states=functools.partial(self._build_reading, lambda found: found.states),
                          sample=self._build_sample,
                          train_rmsprop=functools.partial(self._build_train, 'rmsprop'),
                          train_sgd=functools.partial(self._build_train, 'sgd'))
            if name not in builds:
                raise ValueError(f'there is no function {name!r}: expected one of {", ".join(builds)}')
            try:
                # In this order, since compiling() drops what is printed inside.
                with Compilation(name, file) as progress, compiling(progress.report):
                    self._functions[name] = builds[name]()
            except (CompilerError, NotImplementedError) as error:      # the latter: C lacks a gradient
                if self.precision == 'bfloat16':
                    raise ValueError(
                        f'precision bfloat16 needs the C kernel, which does not compile: {error}') from error
                if isinstance(self._ops(), Scan):
                    raise
                cell = self._model_cell()
                whose = '' if cell.standard else f' with the cell {cell.name}'
                warn(f'the C kernel{whose} does not compile, so the slower theano.scan takes its place: {error}')
                self._kernel, self._functions = False, {}      # not some in C and some not
                return self._function(name)
            if name == 'predict':
                self._warn_of_costs()
            elif name.startswith('train'):
                self._warn_of_draws(self._functions[name])
        return self._functions[name]

    @locked
    def _check(self, x, y, states=None):
        """Return the mean cost of y after x, the best characters and new states; states: None for zeros."""
        return self._function('check')(x, y, *states or self._zero_states(x.shape[1]))[:-1]

    def _of_these_sizes(self, function):
        """Return a function that raises ValueError once the model has other sizes than the states of a text."""
        p = self.p                     # which stays the same dict while all shapes stay

        def call(*arguments):
            if self.p is not p:
                raise ValueError('the model was replaced by another one while it read or wrote a text: begin again')
            return function(*arguments)
        return call

    @locked
    def _train(self, name, x, y):
        """Do a training step by a compiled function; arguments and results as for theano_train_rmsprop."""
        x, y = self._batch(x, y)
        if not self.lp:
            raise ValueError('no learning parameters yet: call model_setup before training')
        function = self._function(name)
        inputs = self._step_inputs(x)
        if self.lp['average']:
            self._averaged_steps += 1
            # At first the average is over about a tenth of the steps, so that it forgets the initial values.
            self._average_weight.set_value(min(self.lp['average'], 1 - 10 / (self._averaged_steps + 9)))
        cost, best, h1, C1, h2, C2, *ratios = function(x, y, *inputs)
        if self._stateful():
            self._carried = [h1, C1, h2, C2]
        return [float(cost), best, *map(float, ratios)]

    def _batch(self, x, y):
        """Return inputs and targets as int32 (T,B), after a check."""
        x, y = checks.characters('x', x, self._V()), checks.characters('y', y, self._V())
        if x.shape != y.shape:
            raise ValueError(f'x has shape {x.shape} and y {y.shape}: expected the same')
        return x, y

    def _samples_in_c(self):
        """Return whether engine/kernel/sampling.c computes this network; warn where an edit made it another one."""
        ops = self._ops()
        if isinstance(ops, Scan):
            return False
        same = is_as_in_c(self._network, self.p, ops)
        if not same:
            self._warn('network in charlstm.py was edited, and engine/kernel/sampling.c was not: texts are written a '
                       'step at a time, more slowly')
        return same

    def _warn_of_costs(self):
        """Warn where an edit of network made its costs other ones than those of the probabilities."""
        y, states = tt.imatrix('y'), tt.matrices('h1', 'C1', 'h2', 'C2')
        if not costs_follow(self._network(y, y, states, self.p, self._ops()), y):
            self._warn('network in charlstm.py was edited so that its costs are not -log p: training and validation '
                       'use them, but scores, alternatives and pages show -log p')

    def _warn_of_draws(self, step):
        """Warn where a training step draws random numbers that are not the cell's."""
        draws = any(getattr(variable, 'default_update', None) is not None for variable in step.get_shared())
        if draws and not self._cell.draws:
            self._warn(f'training {DRAWS}')

    def _build_reading(self, outputs):
        """Compile the function from characters (T,B) and states to `outputs` of the Outputs, and new states."""
        x, states, ops = tt.imatrix('x'), tt.matrices('h1', 'C1', 'h2', 'C2'), self._ops()
        found = self._network(x, x, states, self.p, ops)                 # the targets do not matter
        return theano.function([x] + states, outputs(found) + found.after, updates=ops.updates)

    def _build_check(self):
        """Compile the function from x, y (T,B) and states to mean cost, best characters, new states, costs (T,B)."""
        (x, y), states, ops = tt.imatrices('x', 'y'), tt.matrices('h1', 'C1', 'h2', 'C2'), self._ops()
        found = self._network(x, y, states, self.p, ops)
        outputs = [found.costs.mean(), found.best] + found.after + [found.costs]
        return theano.function([x, y] + states, outputs, updates=ops.updates)

    def _build_train(self, rule):
        """Compile a training step: inputs to the outputs of check and the update ratios. rule: 'rmsprop' or 'sgd'.

        One process has one function for both halves. Several sum their gradients between two.
        """
        ops = self._ops()
        inputs, outputs, gradients, size = self._gradient_graph(ops)
        unused = [name for name, gradient in zip(self.p, gradients) if gradient is None]
        if unused:
            raise ValueError(f'the costs do not depend on {", ".join(unused)}: use all parameters in network')
        if self.group.size == 1:               # one function does both
            ratios, updates = self._update_graph(gradients, size, rule, ops)
            return theano.function(inputs, outputs + ratios, updates=updates + list(ops.updates.items()))
        gradient = theano.function(inputs, outputs + [theano.Out(g, borrow=True) for g in gradients] + [size],
                                   updates=ops.updates)
        sums, size = [g.type() for g in gradients], tt.scalar('size')      # of the whole batch
        ratios, updates = self._update_graph(sums, size, rule, ops)
        update = theano.function(sums + [size], ratios, updates=updates, on_unused_input='ignore')
        return DataParallelStep(gradient, update, self.group)

    def _build_sample(self):
        """Compile the function from prime, bits, n, choice and states to texts (m+n,B) and new states."""
        prime, bits, n, choice = tt.imatrix('prime'), tt.lmatrix('bits'), tt.lscalar('n'), tt.vector('choice')
        states = tt.matrices('h1', 'C1', 'h2', 'C2')
        return theano.function([prime, bits, n, choice] + states,
                               self._ops().sample(prime, bits, n, choice, states, self.p))
