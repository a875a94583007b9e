"""The ways to compute a model, each with a method answers(case), whose results test_every_way.py compares.

As a program it writes the answers of this process, such as one on a GPU: python ways.py OUT.
"""
import contextlib
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path[:0] = map(str, Path(__file__).resolve().parents[:2])

from cells import CELLS, LAB  # noqa: E402
from charlstm import CharLSTM, theano  # noqa: E402
from engine.graph.cell import Cell  # noqa: E402
from models import default_mode  # noqa: E402
from pages import context_of  # noqa: E402
from engine.model.state import optimiser_variables, zero_states  # noqa: E402
from numpy_model import declared, forward, lively_parameters, same, units_of  # noqa: E402

FIRST = 0x3041                         # the code of the first character
STEPS = 2                              # training steps
WRITTEN = 40                           # characters of each text
IMPROBABLE = 300                       # a score is lowered by this, so that its probability is 0 in float32
# All terms of the cost, with limits that are not reached. A large eps keeps the steps smooth near zero gradients.
SETTINGS = dict(lrate=0.5, drate=0.5, eps=1, momentum=0.4, weight_decay=0.3, bptt_maxdepth=-1, l1=0.03, l2=0.02,
                dropout=0.3, dropconnect=0.2, smoothing=0.1, ar=0.7, tar=1.3, grad_clip=1e3, step_clip=1e3, average=0.9)
# For the page, which trains without most terms. In some cases, the limits are reached.
OF_PAGE = dict(lrate=0.5, drate=0.5, eps=1, momentum=0.4, weight_decay=0.3, bptt_maxdepth=-1, grad_clip=1,
               step_clip=0.4, average=0.9)
STEPS_OF_PAGE = 5


class Case(NamedTuple):
    """The sizes of a model and a batch for it. cell: a key of CELLS. H2: units of all layers above the first,
    or of each of them."""
    V: int
    H1: int
    H2: int | tuple
    T: int
    B: int
    cell: str = 'standard'
    layers: int = 2

    @property
    def parameters(self):
        """Return the eight parameters and then the cell's own, as float32 arrays by name."""
        return lively_parameters(self.V, self.V, self.H1, self.H2, self.in_numpy, self.layers)

    @property
    def units(self):
        return units_of(self.H1, self.H2, self.layers)

    @property
    def in_numpy(self):
        return CELLS[self.cell][1]

    @property
    def states(self):
        """Return the sizes of all states by name: h1, C1 ... h2, C2 ..."""
        names = 'h', *declared(self.in_numpy)[1]
        return {f'{name}{k}': H for k, H in enumerate(self.units, 1) for name in names}

    def split(self, arrays):
        """Return states side by side in the last axis, such as h1, C1 ..., as a list of one array per state."""
        return np.split(arrays, np.cumsum([*self.states.values()])[:-1], axis=-1)

    @property
    def batch(self):
        """Return the characters x and the next characters y, int32 (T,B)."""
        characters = np.random.default_rng(1).integers(self.V, size=(self.T + 1, self.B), dtype=np.int32)
        return characters[:-1], characters[1:]

    @property
    def hold(self):
        """Return units to hold, including first and last ones."""
        last, H = [*self.states.items()][-1]
        return {'C1': {self.H1 - 1: 1.5}, f'C{self.layers}': {0: -2.0, H - 1: 0.75},
                **({} if last[0] == 'C' else {last: {0: 1.25, H - 2: 0.5}})}


# Sizes below, at and above one and two panels of the kernel, which have 16 columns (AVX2, or AVX-512 in float64) or 32;
# one row, two, and enough rows for several tiles; one step and many.
CASES = [
    Case(5, 1, 3, T=50, B=2), Case(31, 16, 33, T=1, B=33), Case(32, 31, 17, T=50, B=1), Case(33, 65, 32, T=50, B=33),
    Case(64, 32, 63, T=1, B=1), Case(65, 64, 97, T=1, B=50), Case(104, 70, 64, T=50, B=50),
    Case(11, 71, 5, T=25, B=33, cell='normalised'), Case(34, 64, 31, T=50, B=33, cell='three states'),
    Case(12, 33, 18, T=23, B=3, cell='RNN'), Case(13, 35, 66, T=19, B=34, cell='GRU'),
    Case(19, 65, 65, T=27, B=34, cell='GRU of 2014', layers=1),
    Case(18, 31, 34, T=23, B=1, cell='multiplicative LSTM', layers=3),
    Case(14, 67, 19, T=29, B=5, cell='minGRU'), Case(15, 37, 68, T=31, B=4, cell='sLSTM'),
    Case(16, 33, 33, T=21, B=4, layers=1), Case(17, 31, 34, T=27, B=3, cell='three states', layers=3),
    Case(20, 33, (65, 18), T=23, B=35, layers=3), Case(21, 37, (18, 65), T=21, B=5, cell='ordered', layers=3)]
# Between them, these run every line of the kernel and of the graph: without W, with rows of all kinds, any layers.
EVERY_LINE = [case for case in CASES if case.cell in ('standard', 'minGRU') or case.layers == 3]


class InNumPy:
    """The model in NumPy, in float64. rounded: as for numpy_model.forward."""

    def __init__(self, rounded=same):
        self.rounded = rounded

    def read(self, case, x, states=None, p=None, masks=None, hold={}):
        """Return the probabilities after x (T,B), and case.states after each step, (T,B,H) each.

        states: the states before x. p, masks, hold: as for numpy_model.forward.
        """
        p = p or case.parameters
        probabilities, after, n = [], [], len(case.states) // case.layers
        states = states and [np.concatenate([state.T for state in states[start:end]])
                             for first in range(0, len(states), n)
                             for start, end in ((first, first + 1), (first + 1, first + n))]
        for t, row in enumerate(x):
            masks_now = masks and [mask[t:t + 1] for mask in masks]
            p_now, states = forward(p, row[None], states, masks_now, case.in_numpy, hold, self.rounded)
            probabilities.append(p_now[0])
            after.append(np.concatenate(states).T)
        return np.array(probabilities), case.split(np.array(after))


class InTheano:
    """The model as computed by the class CharLSTM.

    settings: for CharLSTM. mode: a function that returns a context in which to compile. asked: the methods that answer.
    lp, steps: the learning parameters and the number of steps of training.
    """
    asked = 'predicted', 'written', 'trained'

    def __init__(self, mode=contextlib.nullcontext, asked=asked, lp=SETTINGS, steps=STEPS, **settings):
        self.mode, self.asked, self.settings, self.models = mode, asked, settings, {}
        self.lp, self.steps = lp, steps

    def model(self, case):
        """Return the model with the parameters of a case. Cases with the same cell and layers share one."""
        kind = case.cell, case.layers
        if kind not in self.models:
            model = self.models[kind] = CharLSTM(random_seed=1, **self.settings)
            model.cell = CELLS[case.cell][0]
            model.model_setup(char_dim=2, num_units1=1, num_units2=1, layers=case.layers, **self.lp)
        model = self.models[kind]
        model.uchar = [chr(FIRST + k) for k in range(case.V)]
        state = optimiser_variables(model)        # before the shapes change
        for (name, array), m, v in zip(case.parameters.items(), state['mean_squares'], state['sums']):
            array = array.astype(model.p[name].dtype)
            model.p[name].set_value(array)
            model.weights[name].set_value(array)
            m.set_value(0 * array)
            v.set_value(0 * array)
        model.averaged_steps, model.random, model.batch_size = 0, np.random.default_rng(7), case.B
        return model

    def answers(self, case):
        # Graphs are simplified alike for each cell, which takes seconds.
        quick = contextlib.nullcontext() if case in EVERY_LINE else default_mode(theano.compile.mode.FAST_COMPILE)
        with quick, self.mode():
            return {name: value for ask in self.asked
                    for name, value in getattr(self, ask)(self.model(case), case).items()}

    @staticmethod
    def predicted(model, case):
        """Return the predictions for the batch, and for its first row, from all methods that predict."""
        x, y = case.batch
        line = np.append(x[:, 0], y[-1, 0])
        found = dict(line=line, line_costs=model.score_text(line))
        found['probabilities'], found['best'] = model.theano_predict(x)
        (first, between), middle = model.read(x[:case.T // 3 + 1]), case.T // 3 + 1
        second, after = model.read(x[middle:], between) if middle < case.T else (first[:0], between)
        found['read'] = np.exp(np.concatenate([first, second]))
        found['states that were read'] = np.concatenate(after, axis=1)[0]
        found['mean'], found['best of check'] = model.theano_check(x, y)
        found['costs'] = model.compiled('check')(x, y, *zero_states(model, case.B))[-1]
        alternatives = model.alternatives(line, min(case.V, 3))
        found.update(zip(('costs of alternatives', 'alternatives', 'chances'), alternatives))
        found.update({name: state[:case.T] for name, state in model.states(line).items()})
        c = model.p['c'].get_value()
        c[y[0, 0]] -= IMPROBABLE
        model.p['c'].set_value(c)
        of_check = model.compiled('check')(x, y, *zero_states(model, case.B))[-1]
        costs = model.score_text(line)[0], model.alternatives(line, 1)[0][0], of_check[0, 0]
        return dict(found, improbable=np.array(costs))

    @staticmethod
    def written(model, case):
        """Return texts, as character codes (n,B)."""
        hows = dict(greedy=dict(method='argmax'), drawn={}, held=dict(method='argmax', hold=case.hold))
        texts = {name: model.generate_text(chr(FIRST + 1), 1 + WRITTEN, count=case.B, **how)
                 for name, how in hows.items()}
        return {name: np.array([[ord(ch) - FIRST for ch in text] for text in of_name]).T
                for name, of_name in texts.items()}

    def trained(self, model, case):
        """Return what training steps report, and the parameters and optimiser states after them."""
        (x, y), reported, found = case.batch, [], {}
        for step in range(1, 1 + self.steps):
            cost, _, *ratios = model.theano_train_rmsprop(x, y)
            reported.append([cost, *ratios])
            squares, sums = [dict(zip(model.p, optimiser_variables(model)[name])) for name in ('mean_squares', 'sums')]
            for kind, arrays in (('weights', model.weights), ('averages', model.p), ('squares', squares),
                                 ('sums', sums)):
                found.update({f'{kind} {name} {step}': value.get_value() for name, value in arrays.items()})
            self.between_steps(model, case)
        return dict(found, reported=np.array(reported, float))

    def between_steps(self, model, case):
        pass


class Resumed(InTheano):
    """Training that is resumed from a checkpoint after each step."""

    def __init__(self, path, **settings):
        super().__init__(asked=['trained'], **settings)
        self.path = str(path)

    def between_steps(self, model, case):
        checkpoint = model.save_params(self.path, progress={})
        self.model(case)                       # other parameters, averages and random numbers
        model.resume(checkpoint)


IN_JAVASCRIPT = '''
let p, cell;
const use = (name, arrays) => {
  cell = cells[name];
  p = Object.fromEntries(Object.entries(arrays).map(([name, values]) => [name, Float32Array.from(values)]));
};
const reading = (x, network = new Network(p, cell)) => x.map(k => {
  network.read(k);
  return [Array.from(network.logs(), Math.exp), Array.from(network.states())];
});
const writing = (n, choice, held, network = new Network(p, cell)) => {
  network.hold(held);
  const text = written(network, [1], choice);
  return Array.from({length: n}, () => text.next().value);
};
const atOnce = work => {
  for (;;) {
    const found = work.next();
    if (found.done) return found.value;
  }
};
const asLists = p => Object.fromEntries(Object.entries(p).map(([name, values]) => [name, Array.from(values)]));
const reach = (x, y, B) => atOnce(new Learner(p, cell, B, x.length / B, {}).reach(x, y));
const learning = (x, y, B, rate, recipe, steps) => {
  const learner = new Learner(p, cell, B, x.length / B, recipe), {network} = learner;
  return Array.from({length: steps}, () => {
    network.reset();
    const cost = atOnce(learner.step(x, y, rate)), {averages, squares, sums} = learner;
    return {cost, arrays: Object.entries({weights: network.numbers, averages, squares, sums}).map(([kind, of]) => (
      [kind, asLists(network.parameters(of))]))};
  });
};
'''


class InJavaScript:
    """The network of a page, in a JavaScript engine, for networks of all cells.

    MiniRacer: a class whose objects evaluate JavaScript. first: a script that it evaluates at first.
    """

    def __init__(self, MiniRacer, first=''):
        self.context = context_of(MiniRacer, {name: Cell(cell, 'float32') for name, (cell, _) in CELLS.items()})
        self.context.eval(first + IN_JAVASCRIPT)

    def value(self, case, expression):
        """Return the value of an expression for the parameters of a case."""
        p = Cell(CELLS[case.cell][0], 'float32').with_constants(case.parameters)
        arrays = {name: array.ravel().tolist() for name, array in p.items()}
        call = f'use("{case.cell}", {json.dumps(arrays)}); JSON.stringify({expression})'
        return json.loads(self.context.eval(call))

    def answers(self, case):
        """Return the predictions for three rows of the batch, and texts, from network.js."""
        def texts(temperature, seeds, hold=[]):
            choice = f'{{temperature: {temperature}, seed}}'
            return f'{[*seeds]}.map(seed => writing({1 + WRITTEN}, {choice}, {json.dumps(hold)}))'

        held = [dict(state=name[:-1], layer=int(name[-1]), number=unit, value=value)
                for name, values in case.hold.items() for unit, value in values.items()]
        read, *written = self.value(case, f'[{case.batch[0].T[:3].tolist()}.map(row => reading(row)), {texts(0, [1])}, '
                                          f'{texts(1, range(30))}, {texts(0, [1], held)}]')
        found = dict(probabilities=np.array([[step[0] for step in row] for row in read]).swapaxes(0, 1))
        found.update(zip(case.states, case.split(np.array([states for _, states in read[0]]))))
        return dict(found, **{name: np.array(text).T for name, text in zip(('greedy', 'drawn', 'held'), written)})


class InLearner(InJavaScript):
    """Training by learner.js."""

    def answers(self, case):
        x, y = [characters.ravel().tolist() for characters in case.batch]
        steps = self.value(case, f'learning({x}, {y}, {case.B}, {OF_PAGE["lrate"]}, {json.dumps(OF_PAGE)}, '
                                 f'{STEPS_OF_PAGE})')
        found = {f'{kind} {name} {step}': np.reshape(values, case.parameters[name].shape)
                 for step, left in enumerate(steps, 1) for kind, arrays in left['arrays']
                 for name, values in arrays.items() if name in case.parameters}
        return dict(found, reported=np.array([[left['cost']] for left in steps]))


class InLab(InLearner):
    """The same of cells that formula.js reads, with its gradients."""

    def __init__(self, MiniRacer):
        super().__init__(MiniRacer)
        self.context.eval(f'for (const [name, formula] of Object.entries({json.dumps(LAB)})) '
                          'cells[name] = cellOf(formula);')


READING_IN_C = '''
#define MODEL_ONLY
#include "model.c"
static void print(int n, const float *numbers) { for (int k = 0; k < n; k++) printf("%.9g ", numbers[k]); }
int main(void)
{
    model_state s = {{{0}}, {{0}}};
    float log_p[V];
    int x;
    while (scanf("%d", &x) == 1) {
        model_read(&s, x, log_p);
        print(V, log_p);
        for (int k = 0; k < LAYERS; k++) print(layers[k].H, s.h[k]), print(STATES * layers[k].H, s.C[k]);
    }
    return 0;
}
'''


class InExportedC:
    """The network of an exported model.c. compiled, numbers: functions of test_export.py."""

    def __init__(self, folder, compiled, numbers):
        self.folder, self.compiled, self.numbers, self.models = folder, compiled, numbers, InTheano()

    def answers(self, case):
        """Return the predictions for three rows of the batch."""
        self.models.model(case).export(self.folder / 'model.c')
        program = self.compiled(self.folder, READING_IN_C)
        rows = [self.numbers(program, row).reshape(case.T, -1) for row in case.batch[0].T[:3]]
        logs, states = np.split(np.stack(rows, axis=1), [case.V], axis=2)          # (T,rows,size) each
        return dict(probabilities=np.exp(logs), **dict(zip(case.states, case.split(states[:, 0]))))


def main():
    way = InTheano()
    for case in EVERY_LINE:
        np.savez(f'{sys.argv[1]}_{CASES.index(case)}.npz', **way.answers(case))


if __name__ == '__main__':
    main()
