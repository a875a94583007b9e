"""train.py's loop with a stand-in for the model, whose validation costs a test says."""
from types import SimpleNamespace

import numpy as np

import train
from engine.state.checkpoint import Checkpoint, write
from engine.run.run import Run
from engine.run.schedule import Schedule
from engine.process_group import SingleProcess
from engine.interrupts import StopRequest
from engine.progress import ProgressBar
from scripts import log_rows


def about_of(path):
    """What a checkpoint says of itself."""
    with Checkpoint(path) as stored:
        return stored.metadata


class Learner:
    """Stands for CharLSTM in the loop: all it learns is the list of its epochs' rates, from which score makes its
    validation cost."""

    n_batches, batch_size = {'train': 1, 'valid': 1}, 3
    X = Y = {'train': [np.zeros((2, 3))], 'valid': [np.zeros((2, 3))]}

    def __init__(self, score):
        self.rates, self.score, self.random = [], score, SimpleNamespace(bit_generator=SimpleNamespace(state=0))
        self.dyn_lrate = SimpleNamespace(set_value=lambda rate: setattr(self, 'rate', rate))

    def theano_train_rmsprop(self, x, y):
        self.rates.append(self.rate)
        return [2.0, None] + [0.5] * 8

    def validate_batch(self):
        return 2.5

    def validation_costs(self):
        yield self.score(self.rates), 6

    def reset_states(self):
        pass

    def finite(self):
        return True

    def generate_text(self, text_length):
        return 'sample'

    def save_params(self, path, progress):
        write(path, {}, dict(progress=dict(progress, rates=list(self.rates))))
        return path

    def resume(self, path):
        progress = about_of(path)['progress']
        self.rates = progress.pop('rates')
        return progress


def learn(folder, score, *options, resume=None, stop=None, overwrite=False, interrupted=False):
    """Run train.py's loop with a Learner, as run r of t.txt. Returns it and where the schedule then is.

    interrupted: save a checkpoint as train.py does where it is stopped.
    """
    options = ['--warmup', 0, *options]                    # else no rate is what a test says before step 100
    given = vars(train.build_parser().parse_args(['t.txt', 'r', '--output-dir', str(folder), *map(str, options)]))
    model, progress = Learner(score), None
    if resume:
        progress = model.resume(resume)
    run = Run(str(folder), 'r_t.txt', resume, progress)
    run.draw = lambda: None
    run.check(overwrite=overwrite)
    now = Schedule.resumed({**train.DEFAULTS, 'epochs': 40, 'patience': 6, 'save_every': 10, **given}, progress or {},
                           model.n_batches['train'])
    with run.open(), run.rescuing():
        run.catch_up(model, now)
        bar = ProgressBar(now.options['epochs'], now.epoch)
        train.learn(model, run, now, bar, stop or StopRequest(SingleProcess()))
        if interrupted:
            run.save(model, now, run.INTERRUPTED)
    return model, now


def by_number(*values):
    """A score by how often it was asked: the n-th epoch of the whole run costs values[n]."""
    left = list(values)
    return lambda rates: left.pop(0)


def rising(rates):
    """A cost that each further rate lowers, and each further epoch at one rate raises."""
    return 10 - len(set(rates)) + 0.1 * rates.count(rates[-1])


def progress_in(folder, ending):
    """The progress in a checkpoint of a Learner's run."""
    return about_of(folder / ('r_t.txt' + ending))['progress']


def epochs_of(folder):
    """The rows of the log of the epochs of a run r of t.txt."""
    return log_rows(folder / 'r_t.txt_epochs.out')
