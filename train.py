"""Learn a text: python train.py [input] [run]

Readable for every Python from 2.7 on, like charlstm.py.
"""
import argparse
import importlib
import logging
import os
import re
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
DEFAULT_INPUT = os.path.join('text_input', 'prideandprejudice.txt')
QUIET = 30         # seconds between lines of progress where there is no terminal
INTERRUPTED = 130  # exit status of a program that Ctrl-C ended


def build_parser():
    parser = argparse.ArgumentParser(
        description='Learn to write text by reading one, character by character. Writes checkpoints, two logs and a '
                    'picture of the costs, under names that begin <run>_<input file name>.')
    parser.add_argument('input', nargs='?', help='text file to learn (default: {}, which is fetched where it is '
                                                 'missing)'.format(DEFAULT_INPUT))
    parser.add_argument('run', nargs='?', default='run0', help='name of this run (default: %(default)s)')

    def group(title, *options):
        added = parser.add_argument_group(title)
        for name, kind, default, text in options:
            shown = ' (default: %(default)s)' if default is not None else ''
            metavar = {int: 'N', float: 'X', str: 'NAME'}[kind]
            added.add_argument('--' + name, type=kind, default=default, metavar=metavar, help=text + shown)
        return added

    group('text',
          ('batch-size', int, 50, 'sequences in a batch'),
          ('seq-length', int, 50, 'characters in a sequence'),
          ('ratio-valid', float, 0.3, 'share of the text, at its end, kept for validation'),
          ('encoding', str, 'utf-8', 'encoding of the text file'))
    group('model',
          ('num-units1', int, 256, 'units of layer 1'),
          ('num-units2', int, 256, 'units of layer 2'))
    group('learning',
          ('lrate', float, 2e-3, 'learning rate'),
          ('lrate-decay', float, 0.97, 'factor on the rate at each epoch from --lrate-decay-epoch on'),
          ('lrate-decay-epoch', int, 10, 'first epoch with a smaller rate'),
          ('drate', float, 0.95, 'decay of the running averages of RMSprop'),
          ('eps', float, 1e-8, 'added to the divisor of RMSprop'),
          ('bptt-maxdepth', int, 50, 'steps at the end of each sequence that are learned from; -1: all'),
          ('l1', float, 0.0, 'weight of the sum of absolute parameters'),
          ('l2', float, 0.0, 'weight of the sum of squared parameters'),
          ('random-seed', int, None, 'whole number that makes a run repeatable (default: a new one each time)'))
    run = group('run',
                ('epochs', int, 75, 'times to read the training text'),
                ('valid-every', int, 10, 'training steps between costs of a random validation batch, each of which takes '
                                         'a third of the time of a step'),
                ('save-every', int, 10, 'epochs between checkpoints'))
    run.add_argument('--output-dir', metavar='DIR', default=os.path.join(HERE, 'training_results'),
                     help='folder for the results (default: training_results beside this script)')
    run.add_argument('--overwrite', action='store_true', help='replace the results of an earlier run of this name')
    return parser


def check(options):
    """Raise ValueError for what the class does not check itself."""
    for name in ('epochs', 'valid_every', 'save_every', 'lrate_decay_epoch'):
        if getattr(options, name) < 1:
            raise ValueError('--{} is {}: expected at least 1'.format(name.replace('_', '-'), getattr(options, name)))
    if not 0 < options.lrate_decay <= 1:
        raise ValueError('--lrate-decay is {}: expected a number above 0, at most 1'.format(options.lrate_decay))
    if not options.run or os.path.basename(options.run) != options.run or '\0' in options.run:
        raise ValueError('the run name {!r} is part of file names: expected no path separators in it'.format(
            options.run))


def input_path(options):
    """The text to learn; the default one is fetched where it is missing."""
    if options.input:
        return options.input
    sys.path.insert(0, os.path.join(HERE, 'text_input'))
    return os.path.relpath(importlib.import_module('fetch_novel').ensure_default_text(
        os.path.join(HERE, 'text_input')))


class Results(object):
    """The files of one run."""

    def __init__(self, options, path):
        self.directory = os.path.relpath(options.output_dir)
        self.name = '{}_{}'.format(options.run, os.path.basename(path))
        self.last_checkpoint = None

    def path(self, ending):
        return os.path.join(self.directory, self.name + ending)

    def clear(self, overwrite):
        """Make the folder; refuse results of an earlier run, or remove them where that was asked for."""
        if not os.path.isdir(self.directory):
            os.makedirs(self.directory)
        ours = re.compile(re.escape(self.name) + r'(_epoch\d+\.npz|_interrupted\.npz|\.out|_epochs\.out|\.png)')
        earlier = sorted(name for name in os.listdir(self.directory) if ours.fullmatch(name))
        if earlier and not overwrite:
            raise ValueError('{} exists already: choose another run name, or --overwrite to replace the results of '
                             'that run'.format(os.path.join(self.directory, earlier[0])))
        for name in earlier:
            os.remove(os.path.join(self.directory, name))

    def start_logs(self, parameter_names):
        ratios = ' '.join('ratio_' + name for name in parameter_names)
        self.steps = self._open('.out', 'epoch cost valid_cost ' + ratios)
        self.epochs = self._open('_epochs.out', 'epoch cost valid_cost lrate characters_per_second')

    def _open(self, ending, columns):
        log = open(self.path(ending), 'w')
        self._write(log, '# ' + columns)
        return log

    def row(self, log, numbers):
        self._write(log, ' '.join('{:.6g}'.format(float(number)) for number in numbers))

    def _write(self, log, line):
        try:
            log.write(line + '\n')
            log.flush()
        except OSError as error:
            raise OSError('cannot write {}: {}; {}'.format(log.name, error.strerror, self.rescue()))

    def rescue(self):
        if self.last_checkpoint:
            return 'the last checkpoint is {}'.format(self.last_checkpoint)
        return 'no checkpoint was written yet'

    def checkpoint(self, model, ending):
        try:
            self.last_checkpoint = model.save_params(self.path(ending))
        except OSError as error:
            raise OSError('{}; {}'.format(error, self.rescue()))
        return self.last_checkpoint

    def close(self):
        self.steps.close()
        self.epochs.close()


class Curves(object):
    """The costs so far, and their picture."""

    def __init__(self):
        self.steps, self.epochs = [], []       # rows (epoch, training cost), and the same with validation cost

    def draw(self, path, title):
        """Draw both costs against epochs."""
        from charlstm import write_whole
        logging.getLogger('matplotlib').setLevel(logging.ERROR)      # it speaks of its font cache
        import matplotlib
        matplotlib.use('Agg')
        from matplotlib import pyplot as plt
        import numpy as np
        figure, axes = plt.subplots(figsize=(8, 5))
        width = max(1, len(self.steps) // 1000)                      # steps averaged to a point, so that lines show
        steps = np.array(self.steps[:len(self.steps) // width * width]).reshape(-1, width, 2).mean(axis=1)
        epochs = np.array(self.epochs)
        axes.plot(steps[:, 0], steps[:, 1], color='#9ecae1', linewidth=1, label='training, a batch')
        axes.plot(epochs[:, 0] - 0.5, epochs[:, 1], color='#08519c', marker='o', markersize=4,
                  label='training, mean of an epoch, at its middle')
        if np.isfinite(epochs[:, 2]).any():
            axes.plot(epochs[:, 0], epochs[:, 2], color='#d94801', marker='o', markersize=4,
                      label='validation, all batches')
        axes.set(xlabel='epoch', ylabel='cost, nats per character', title=title, xlim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
        with write_whole(path) as f:
            figure.savefig(f, format='png', dpi=110, bbox_inches='tight')
        plt.close(figure)


class StopRequest(object):
    """Ctrl-C or SIGTERM asks to stop after the step at hand; a second one stops at once."""

    def __init__(self):
        self.asked = False

    def __enter__(self):
        self.before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _ask(self, number, frame):
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *error):
        for number, handler in self.before.items():
            signal.signal(number, handler)


class Progress(object):
    """A progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, total):
        from tqdm import tqdm
        self.total, self.done = total, 0
        self.valid_cost = float('nan')         # the last one there was
        self.start = self.last_line = time.time()
        self.bar = tqdm(total=total, file=sys.stdout, unit='step', dynamic_ncols=True, smoothing=0.05,
                        disable=not sys.stdout.isatty())

    def line(self, text):
        self.bar.clear()
        print(text)
        sys.stdout.flush()
        self.last_line = time.time()

    def step(self, epoch, epochs, cost, valid_cost, speed):
        self.done += 1
        if valid_cost == valid_cost:           # not nan
            self.valid_cost = valid_cost
        state = 'epoch {}/{}, cost {:.3f}, valid {:.3f}, {:,.0f} chars/s'.format(
            epoch, epochs, cost, self.valid_cost, speed)
        self.bar.set_description_str(state, refresh=False)
        self.bar.update()
        if self.bar.disable and time.time() - self.last_line > QUIET:
            left = (time.time() - self.start) / self.done * (self.total - self.done)
            self.line('{}, {} left'.format(state, duration(left)))


def duration(seconds):
    """Seconds as a person says them."""
    minutes, seconds = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return '{} h {} min'.format(hours, minutes)
    return '{} min {} s'.format(minutes, seconds) if minutes else '{} s'.format(seconds)


class Trainer(object):
    """The loop over epochs, with all that is printed and written."""

    def __init__(self, model, options, results):
        self.model, self.options, self.results = model, options, results
        self.curves = Curves()
        self.progress = Progress(options.epochs * model.n_batches['train'])

    def random_validation_cost(self):
        n = self.model.n_batches['valid']
        return self.validation_cost(self.model.random.integers(n)) if n else float('nan')

    def validation_cost(self, i):
        return float(self.model.theano_check(self.model.X['valid'][i], self.model.Y['valid'][i])[0])

    def full_validation_cost(self, stop):
        """The mean over all validation batches; nan without any, or when asked to stop."""
        costs = []
        for i in range(self.model.n_batches['valid']):
            if stop.asked:
                return float('nan')
            costs.append(self.validation_cost(i))
        return sum(costs) / len(costs) if costs else float('nan')

    def learning_rate(self, epoch):
        options = self.options
        return options.lrate * options.lrate_decay ** max(0, epoch - options.lrate_decay_epoch + 1)

    def run(self, stop):
        """All epochs. Returns the number of completed ones."""
        for epoch in range(1, self.options.epochs + 1):
            self.epoch(epoch, stop)
            if stop.asked:
                return epoch - 1
            if epoch % self.options.save_every == 0 or epoch == self.options.epochs:
                path = self.results.checkpoint(self.model, '_epoch{}.npz'.format(epoch))
                self.progress.line('saved {}'.format(path))
        return self.options.epochs

    def epoch(self, epoch, stop):
        """One reading of the training text; a request to stop ends it early and unreported."""
        model = self.model
        n = model.n_batches['train']
        rate = self.learning_rate(epoch)
        model.dyn_lrate.set_value(rate)
        costs, start = [], time.time()
        for i in range(n):
            x, y = model.X['train'][i], model.Y['train'][i]
            outputs = model.theano_train_rmsprop(x, y)
            cost, ratios = float(outputs[0]), outputs[2:]
            due = self.progress.done % self.options.valid_every == 0
            valid_cost = self.random_validation_cost() if due else float('nan')
            costs.append(cost)
            self.curves.steps.append((epoch - 1 + (i + 1.0) / n, cost))
            self.results.row(self.results.steps, self.curves.steps[-1] + (valid_cost,) + tuple(ratios))
            speed = x.size * len(costs) / (time.time() - start)
            self.progress.step(epoch, self.options.epochs, cost, valid_cost, speed)
            if stop.asked:
                return
        valid_cost = self.full_validation_cost(stop)
        if not stop.asked:
            self.report(epoch, sum(costs) / n, valid_cost, rate, speed, time.time() - start)

    def report(self, epoch, cost, valid_cost, rate, speed, seconds):
        """A line, a row and the picture at the end of an epoch."""
        self.curves.epochs.append((epoch, cost, valid_cost))
        self.results.row(self.results.epochs, (epoch, cost, valid_cost, rate, speed))
        self.curves.draw(self.results.path('.png'), self.results.name)
        self.progress.line('epoch {}/{}: cost {:.4f}, validation {:.4f}, rate {:.4g}, {:,.0f} characters/s, {}'.format(
            epoch, self.options.epochs, cost, valid_cost, rate, speed, duration(seconds)))


def make_model(options, path):
    from charlstm import CharLSTM
    model = CharLSTM(random_seed=options.random_seed)
    model.prepare_input(path, options.ratio_valid, options.batch_size, options.seq_length, encoding=options.encoding)
    model.model_setup(None, options.num_units1, options.num_units2, options.lrate, options.drate, options.eps,
                      options.bptt_maxdepth, options.l1, options.l2)
    return model


def print_summary(model, options):
    count = sum(p.get_value(borrow=True).size for p in model.p.values())
    print('2 layers of {} and {} units, {:,} parameters; RMSprop with rate {:g} (times {:g} an epoch from epoch {} on), '
          'decay {:g}, eps {:g}; bptt_maxdepth {}, l1 {:g}, l2 {:g}; random seed {}; {} epochs'.format(
              options.num_units1, options.num_units2, count, options.lrate, options.lrate_decay,
              options.lrate_decay_epoch, options.drate, options.eps, options.bptt_maxdepth, options.l1, options.l2,
              options.random_seed, options.epochs))


def compile_model(model):
    print('compiling: up to a minute the first time, about a second after that ...')
    sys.stdout.flush()
    start = time.time()
    model.compile('train_rmsprop', *['check'] * bool(model.n_batches['valid']))
    print('compiled in {}'.format(duration(time.time() - start)))
    sys.stdout.flush()


def train(options):
    """The whole program. Returns the exit status."""
    from charlstm import NAMES
    check(options)
    path = input_path(options)
    model = make_model(options, path)
    print_summary(model, options)
    results = Results(options, path)
    results.clear(options.overwrite)
    results.start_logs(NAMES)
    compile_model(model)
    with StopRequest() as stop:
        trainer = Trainer(model, options, results)
        done = trainer.run(stop)
        trainer.progress.bar.close()
        if stop.asked and done < options.epochs:
            print('interrupted in epoch {}; saved {}'.format(done + 1, results.checkpoint(model, '_interrupted.npz')))
    results.close()
    print('costs: {} and {}, drawn in {}'.format(results.path('.out'), results.path('_epochs.out'), results.path('.png')))
    print('next: python produce_text.py {}'.format(results.last_checkpoint))
    return INTERRUPTED if stop.asked else 0


def main():
    parser = build_parser()
    try:
        sys.exit(train(parser.parse_args()))
    except (ImportError, OSError, ValueError) as error:
        parser.exit(2, 'train.py: {}\n'.format(error))
    except KeyboardInterrupt:
        parser.exit(INTERRUPTED, 'train.py: interrupted\n')


if __name__ == '__main__':
    main()
