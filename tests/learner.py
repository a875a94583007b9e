"""train.py's loop with a stand-in for the model, whose validation costs are set by a test."""
from types import SimpleNamespace

import numpy as np

import train
from charlstm import CharLSTM
from damage import METADATA
from engine.data.parameters import NAMES
from engine.parallel import SingleProcess
from engine.run.checkpoint import Checkpoint, opened, write
from engine.run.options import Options, set_units
from engine.run.recipe import complete
from engine.run.results import Run
from engine.run.schedule import Schedule, Validated
from engine.terminal import bar
from scripts import log_rows


class Learner:
    """A stand-in for CharLSTM in the loop. It only records the learning rate of each step; score computes its
    validation cost from these rates."""

    n_batches, batch_size, p = {'train': 1, 'valid': 1}, 3, dict.fromkeys(NAMES)
    text, uchar = SimpleNamespace(passage=('validation', 'abc')), [*'abcdefghij']
    X = Y = {'train': [np.zeros((2, 3))], 'valid': [np.zeros((2, 3))]}

    def __init__(self, score):
        self.rates, self.score, self.random = [], score, SimpleNamespace(bit_generator=SimpleNamespace(state=0))
        self.group = SingleProcess()

    training = CharLSTM.training

    def compiled(self, name):
        pass

    def metrics(self):
        return []

    def theano_train_rmsprop(self, x, y):
        self.rates.append(self.dyn_lrate)
        return [2.0, None] + [0.5] * 8

    def validate_batch(self):
        return 2.5 if self.n_batches['valid'] else float('nan')

    def validating(self):
        yield Validated()
        return dict(cost=float(self.score(self.rates)))

    def finite(self):
        return True

    def sample(self, text_length=None):
        return 'sample'

    def passage_costs(self):
        return [2.5, 0.125]

    def save_params(self, path, progress):
        write(path, dict(rates=np.array(self.rates)), dict(METADATA, progress=progress))
        return path

    def resume(self, path):
        stored = opened(path)
        self.rates = stored['rates'].tolist()
        return stored.metadata['progress']


def options(*words):
    """Return the Options of run r of t.txt with these words on the command line."""
    return Options(vars(train.build_parser().parse_args(['t.txt', 'r', *map(str, words)])))


def settled(*words):
    """Return these options; those that depend on the length of the text are set as for a long one."""
    o = options(*words)
    set_units(o)
    complete(o, 200, 10 ** 6)
    return o


def run_of(folder, model, *words, resume=None):
    """Return the Run of a Learner, run r of t.txt, which may resume from a checkpoint."""
    o, progress = settled('--warmup', 0, '--anneal', 0, *words), model.resume(resume) if resume else {}
    o.output_dir, o.resume = str(folder), resume
    run = Run(model, Schedule.resumed(o, progress, model.n_batches['train']))
    run._draw = lambda: None
    return run


def learn(folder, score, *words, resume=None, group=None):
    """Run train.py's loop with a Learner, as run r of t.txt. Return the Learner and its Schedule."""
    model = Learner(score)
    run = run_of(folder, model, *words, resume=resume)
    run.check({})
    with run.open():
        schedule = run.schedule
        run.bar = model.bar = bar(schedule.epochs * schedule.batches - schedule.step, 'training', 'steps')
        train.learn(model, run, group or model.group)
    return model, run.schedule


def by_number(*values):
    """Return a score that ignores the rates: the n-th epoch of the whole run costs values[n]."""
    left = list(values)
    return lambda rates: left.pop(0)


def progress_of(path):
    """Return the progress in a checkpoint."""
    return Checkpoint(path).metadata['progress']


def epochs_of(folder):
    """Return the rows of the epoch log of run r of t.txt."""
    return log_rows(folder / 'r_t.txt_epochs.out')
