"""Learn a text: python train.py [input] [run], or go on: python train.py --resume PARAMS

Readable for every Python from 2.7 on, like charlstm.py.
"""
import argparse
import importlib
import logging
import os
import re
import shlex
import signal
import sys
import time
import warnings

HERE = os.path.dirname(os.path.abspath(__file__))
DEFAULT_INPUT = os.path.join('text_input', 'prideandprejudice.txt')
CHANGEABLE = ('epochs', 'save_every', 'patience')       # what a resumed run may have otherwise
QUIET = 30         # seconds between lines of progress where there is no terminal
SAMPLE_LENGTH = 200
INTERRUPTED = 130  # exit status of a program that Ctrl-C ended


def build_parser(defaults=True):
    """The command line; without defaults, options that are not given are left out of what it parses."""
    parser = argparse.ArgumentParser(
        description='Learn to write text by reading one, character by character. Writes checkpoints, logs, samples and '
                    'a picture of the costs, under names that begin <run>_<input file name>.')

    def default(value):
        return value if defaults else argparse.SUPPRESS

    parser.add_argument('input', nargs='?', default=default(None),
                        help='text file to learn (default: {}, which is fetched where it is missing)'.format(
                            DEFAULT_INPUT))
    parser.add_argument('run', nargs='?', default=default('run0'), help='name of this run (default: run0)')

    def group(title, *options):
        added = parser.add_argument_group(title)
        for name, kind, value, text in options:
            if kind is bool:
                added.add_argument('--' + name, action='store_true', default=default(False), help=text)
                continue
            shown = ' (default: {})'.format(value) if value is not None else ''
            metavar = {int: 'N', float: 'X', str: 'NAME'}[kind]
            added.add_argument('--' + name, type=kind, default=default(value), metavar=metavar, help=text + shown)
        return added

    group('text',
          ('batch-size', int, 50, 'sequences in a batch'),
          ('seq-length', int, 50, 'characters in a sequence'),
          ('ratio-valid', float, 0.3, 'share of the text, at its end, kept for validation'),
          ('encoding', str, 'utf-8', 'encoding of the text file'),
          ('no-stateful', bool, None, 'start every batch from zero states, as the original does, instead of reading '
                                      'long pieces of the text on from batch to batch'))
    group('model',
          ('num-units1', int, 256, 'units of layer 1'),
          ('num-units2', int, 256, 'units of layer 2'),
          ('dropout', float, 0.0, 'share of the units that each training step leaves out'),
          ('random-seed', int, None, 'whole number that makes a run repeatable (default: a new one each time)'))
    group('learning',
          ('lrate', float, 2e-3, 'learning rate'),
          ('plateau', int, 0, 'divide the rate by --plateau-factor, and go back to the best parameters, when so many '
                              'epochs brought no better validation cost; 0: the decay below instead'),
          ('plateau-factor', float, 2.0, 'what the rate is divided by then'),
          ('lrate-decay', float, 0.97, 'factor on the rate at each epoch from --lrate-decay-epoch on'),
          ('lrate-decay-epoch', int, 10, 'first epoch with a smaller rate'),
          ('drate', float, 0.95, 'decay of the running averages of RMSprop'),
          ('eps', float, 1e-8, 'added to the divisor of RMSprop'),
          ('grad-clip', float, 0.0, 'largest norm of the gradient; 0: any'),
          ('bptt-maxdepth', int, 50, 'steps at the end of each sequence that are learned from; -1: all'),
          ('l1', float, 0.0, 'weight of the sum of absolute parameters'),
          ('l2', float, 0.0, 'weight of the sum of squared parameters'))
    run = group('run',
                ('epochs', int, 75, 'times to read the training text'),
                ('patience', int, 0, 'stop when so many epochs brought no better validation cost; 0: never'),
                ('valid-every', int, 10, 'training steps between costs of a random validation batch, each of which '
                                         'takes a third of the time of a step'),
                ('save-every', int, 10, 'epochs between checkpoints'))
    run.add_argument('--output-dir', metavar='DIR', default=default(os.path.join(HERE, 'training_results')),
                     help='folder for the results (default: training_results beside this script)')
    run.add_argument('--overwrite', action='store_true', help='replace the results of an earlier run of this name')
    run.add_argument('--init', metavar='PARAMS', help='start from the parameters of this checkpoint, of any text')
    run.add_argument('--resume', metavar='PARAMS',
                     help='go on from this checkpoint as if its run had never stopped; other options than {} are the '
                          "checkpoint's".format(', '.join('--' + name.replace('_', '-') for name in CHANGEABLE)))
    return parser


def check(options):
    """Raise ValueError for what the class does not check itself."""
    for name, least in (('epochs', 1), ('valid_every', 1), ('save_every', 1), ('lrate_decay_epoch', 1),
                        ('plateau', 0), ('patience', 0)):
        if getattr(options, name) < least:
            raise ValueError('--{} is {}: expected at least {}'.format(
                name.replace('_', '-'), getattr(options, name), least))
    if not 0 < options.lrate_decay <= 1:
        raise ValueError('--lrate-decay is {}: expected a number above 0, at most 1'.format(options.lrate_decay))
    if not 1 < options.plateau_factor < float('inf'):
        raise ValueError('--plateau-factor is {}: expected a number above 1'.format(options.plateau_factor))
    if not options.run or os.path.basename(options.run) != options.run or '\0' in options.run:
        raise ValueError('the run name {!r} is part of file names: expected no path separators in it'.format(
            options.run))


def resumed_options(parser, options):
    """The options of the run that goes on, with those given now where they may change; and that run's progress."""
    from charlstm import read_about
    progress = read_about(options.resume).get('progress')
    if not isinstance(progress, dict) or 'options' not in progress:
        raise ValueError('{} holds no run that can be resumed; --init starts a new one from its parameters'.format(
            options.resume))
    given = vars(build_parser(defaults=False).parse_args())
    if given['init']:
        raise ValueError('--init and --resume are both given: expected one of them')
    if os.path.realpath(given.get('output_dir', os.path.dirname(options.resume) or '.')) != os.path.realpath(
            os.path.dirname(options.resume) or '.'):
        raise ValueError('--output-dir is {}, but a run goes on in the folder of {}'.format(
            given['output_dir'], options.resume))
    given = {name: value for name, value in given.items()
             if name not in ('resume', 'overwrite', 'init', 'output_dir')}
    if 'input' in given:
        given['input'] = os.path.abspath(given['input'])
    for name, value in given.items():
        before = progress['options'].get(name)
        if name not in CHANGEABLE + ('input',) and value != before:
            raise ValueError('--{} is {}, but the run in {} had {}; only {} may change when a run goes on'.format(
                name.replace('_', '-'), value, options.resume, before, ', '.join(
                    '--' + name.replace('_', '-') for name in CHANGEABLE)))
    for name, value in list(progress['options'].items()) + list(given.items()):
        setattr(options, name, value)
    options.output_dir = os.path.dirname(os.path.abspath(options.resume))
    return options, progress


def input_path(options):
    """The text to learn; the default one is fetched where it is missing."""
    if options.input is not None:
        return options.input
    sys.path.insert(0, os.path.join(HERE, 'text_input'))
    return os.path.relpath(importlib.import_module('fetch_novel').ensure_default_text(
        os.path.join(HERE, 'text_input')))


LOGS = ('.out', '_epochs.out', '_samples.txt')


class Results(object):
    """The files of one run. While it lives no other process can have the same."""

    def __init__(self, options, path):
        self.directory = os.path.relpath(os.path.abspath(options.output_dir))
        self.name = '{}_{}'.format(options.run, os.path.basename(path))
        self.last_checkpoint = options.resume
        self.logs = {}

    def path(self, ending):
        return os.path.join(self.directory, self.name + ending)

    def check(self, overwrite):
        """Refuse results of an earlier run of this name, unless they are to be replaced."""
        earlier = self._earlier()
        if earlier and not overwrite:
            raise ValueError('{} exists already: choose another run name, --resume it, or --overwrite to replace the '
                             'results of that run'.format(os.path.join(self.directory, earlier[0])))
        try:
            os.makedirs(self.directory, exist_ok=True)
        except OSError as error:
            raise OSError('cannot make the folder {}: {}'.format(self.directory, error.strerror))

    def _earlier(self):
        ours = re.compile(re.escape(self.name) +
                          r'(_epoch\d+\.npz|_interrupted\.npz|_best\.npz|\.out|_epochs\.out|_samples\.txt|\.png)')
        there = os.listdir(self.directory) if os.path.isdir(self.directory) else []
        return sorted(name for name in there if ours.fullmatch(name))

    def open(self, parameter_names):
        """Begin the logs of a new run, and remove what is left of an earlier one."""
        self._open_logs({})
        for name in self._earlier():
            if not name.endswith(LOGS):
                os.remove(os.path.join(self.directory, name))
        ratios = ' '.join('ratio_' + name for name in parameter_names)
        self.write('.out', '# epoch cost valid_cost ' + ratios)
        self.write('_epochs.out', '# epoch cost valid_cost lrate characters_per_second')

    def reopen(self, sizes):
        """Go on with the logs as they were at a checkpoint; what was written after it is cut off."""
        for ending in LOGS:
            there = os.path.getsize(self.path(ending)) if os.path.exists(self.path(ending)) else 0
            if there < sizes.get(ending, 0):
                raise ValueError('{} is shorter than it was at {}: a run goes on where its logs are; --init starts '
                                 'a new one from its parameters'.format(self.path(ending), self.last_checkpoint))
        self._open_logs(sizes)

    def _open_logs(self, sizes):
        for ending in LOGS:
            try:
                log = self.logs[ending] = open(self.path(ending), 'ab', buffering=0)
                if ending == '.out':
                    lock(log, self.path(ending))
                log.truncate(min(sizes.get(ending, 0), log.tell()))
            except OSError as error:
                raise OSError('cannot write {}: {}'.format(self.path(ending), error.strerror or error))

    def sizes(self):
        return {ending: os.fstat(log.fileno()).st_size for ending, log in self.logs.items()}

    def row(self, ending, numbers):
        self.write(ending, ' '.join('{:.6g}'.format(float(number)) for number in numbers))

    def write(self, ending, line):
        from charlstm import append_whole
        try:
            append_whole(self.logs[ending], (line + '\n').encode('utf-8'))
        except OSError as error:
            raise OSError('{}; {}'.format(error, self.rescue()))

    def rescue(self):
        if self.last_checkpoint:
            return 'the last checkpoint is {}, go on with: python train.py --resume {}'.format(
                self.last_checkpoint, shlex.quote(self.last_checkpoint))
        return 'no checkpoint was written yet'

    def checkpoint(self, model, ending, progress):
        try:
            self.last_checkpoint = model.save_params(self.path(ending), progress)
        except (OSError, ValueError) as error:
            raise type(error)('{}; {}'.format(error, self.rescue()))
        return self.last_checkpoint

    def close(self):
        for log in self.logs.values():
            log.close()


def lock(log, path):
    """Keep other processes from the same run. The system frees the lock when this process ends, however it ends."""
    try:
        import fcntl
    except ImportError:            # Windows has no such locks
        return
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ValueError('{} is being written by another process: choose another run name, or wait'.format(path))


class Curves(object):
    """The costs so far, and their picture."""

    def __init__(self):
        self.steps, self.epochs = [], []       # rows (epoch, training cost), and the same with validation cost

    def reload(self, results):
        """Take the costs of a run that goes on from its logs."""
        import numpy as np
        for rows, ending, columns in ((self.steps, '.out', 2), (self.epochs, '_epochs.out', 3)):
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')        # of a log without rows yet
                rows.extend(np.loadtxt(results.path(ending), ndmin=2)[:, :columns].tolist())

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

    def __init__(self, total, done):
        from tqdm import tqdm
        self.total, self.done, self.first = total, done, done
        self.valid_cost = float('nan')         # the last one there was
        self.start = self.last_line = time.time()
        self.bar = tqdm(total=total, initial=done, file=sys.stdout, dynamic_ncols=True, smoothing=0.05,
                        bar_format='{desc}, {remaining} left |{bar}|', disable=not sys.stdout.isatty())

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
            left = (time.time() - self.start) / (self.done - self.first) * (self.total - self.done)
            self.line('{}, {} left'.format(state, duration(left)))


def duration(seconds):
    """Seconds as a person says them."""
    minutes, seconds = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return '{} h {} min'.format(hours, minutes)
    return '{} min {} s'.format(minutes, seconds) if minutes else '{} s'.format(seconds)


def per_second(count, start):
    """The speed since a time, also where the clock has not moved."""
    return count / max(time.time() - start, 1e-6)


class Trainer(object):
    """The loop over epochs, with all that is printed and written."""

    def __init__(self, model, options, results, progress):
        self.model, self.options, self.results = model, options, results
        self.batches = model.n_batches['train']
        self.curves = Curves()
        # All that a resumed run must know; it goes into each checkpoint.
        self.now = dict(options=stored_options(options), epoch=0, batch=0, cost_sum=0.0, characters=0,
                        rate=options.lrate, mean_cost=None, best_cost=None, best_epoch=0, stale=0)
        if progress:
            self.now.update(progress, options=stored_options(options))
            self.curves.reload(results)
        self.progress = Progress(options.epochs * self.batches, self.now['epoch'] * self.batches + self.now['batch'])

    def save(self, ending):
        path = self.results.checkpoint(self.model, ending, dict(self.now, log_sizes=self.results.sizes()))
        self.progress.line('saved {}'.format(path))

    def run(self, stop):
        """All epochs, or as many as patience allows."""
        now, options = self.now, self.options
        while now['epoch'] < options.epochs:
            self.epoch(stop)
            if now['batch']:                       # stopped before its end
                return
            out_of_patience = 0 < options.patience <= now['stale']
            due = now['epoch'] % options.save_every == 0 or now['epoch'] == options.epochs or out_of_patience
            if due:
                self.sample()
            if now['best_epoch'] == now['epoch']:  # after all of the epoch's rows and samples, to go on from there
                self.save('_best.npz')
            if due:
                self.save('_epoch{}.npz'.format(now['epoch']))
            self.draw()
            if out_of_patience:
                self.progress.line('no better validation cost in {} epochs; the best, {:.4f}, is from epoch {}'.format(
                    now['stale'], now['best_cost'], now['best_epoch']))
                return
            if stop.asked:
                return

    def draw(self):
        try:
            self.curves.draw(self.results.path('.png'), self.results.name)
        except OSError as error:
            raise OSError('{}; {}'.format(error, self.results.rescue()))

    def epoch(self, stop):
        """What is left of one reading of the training text; a request to stop ends it early and unreported."""
        model, now = self.model, self.now
        if not self.options.plateau:
            past = max(0, now['epoch'] + 1 - self.options.lrate_decay_epoch + 1)
            now['rate'] = self.options.lrate * self.options.lrate_decay ** past
        model.dyn_lrate.set_value(now['rate'])
        start, read = time.time(), 0
        for i in range(now['batch'], self.batches):
            x, y = model.X['train'][i], model.Y['train'][i]
            read += x.size
            self.step(x, y, per_second(read, start))
            if stop.asked:
                return
        speed = per_second(read, start)
        valid_cost = self.full_validation_cost(stop)
        if stop.asked:
            return
        cost = now['cost_sum'] / now['characters']
        now.update(epoch=now['epoch'] + 1, batch=0, cost_sum=0.0, characters=0)
        model.reset_states()
        self.report(cost, valid_cost, speed, time.time() - start)
        self.judge(valid_cost)

    def step(self, x, y, speed):
        """One training step, its row in the log, and the state of the bar."""
        now = self.now
        outputs = self.model.theano_train_rmsprop(x, y)
        cost, ratios = float(outputs[0]), outputs[2:]
        self.stop_if_exploded(cost)
        due = self.progress.done % self.options.valid_every == 0
        valid_cost = self.random_validation_cost() if due else float('nan')
        now.update(batch=now['batch'] + 1, cost_sum=now['cost_sum'] + cost * y.size,
                   characters=now['characters'] + y.size)
        self.curves.steps.append((now['epoch'] + now['batch'] / float(self.batches), cost))
        self.results.row('.out', self.curves.steps[-1] + (valid_cost,) + tuple(ratios))
        self.progress.step(now['epoch'] + 1, self.options.epochs, cost, valid_cost, speed)

    def stop_if_exploded(self, cost):
        """Raise ValueError for a cost that is not finite or three times its running mean, over about 100 steps."""
        mean = self.now['mean_cost']
        if not abs(cost) < float('inf') or (mean is not None and cost > 3 * mean):
            raise ValueError('the cost jumped from about {} to {:.4g} in epoch {}: stopped; {}; a smaller --lrate or a '
                             '--grad-clip of 5 prevents that'.format(
                                 'nothing' if mean is None else '{:.4g}'.format(mean), cost, self.now['epoch'] + 1,
                                 self.results.rescue()))
        self.now['mean_cost'] = cost if mean is None else 0.99 * mean + 0.01 * cost

    def random_validation_cost(self):
        n = self.model.n_batches['valid']
        if not n:
            return float('nan')
        i = self.model.random.integers(n)
        return float(self.model.theano_check(self.model.X['valid'][i], self.model.Y['valid'][i])[0])

    def full_validation_cost(self, stop):
        """The mean over the validation text; nan without one, or when asked to stop."""
        total = characters = 0
        for cost, n in self.model.validation_costs():
            total, characters = total + cost * n, characters + n
            if stop.asked:
                break
        return total / characters if characters else float('nan')

    def report(self, cost, valid_cost, speed, seconds):
        """A line and a row at the end of an epoch."""
        now = self.now
        self.curves.epochs.append((now['epoch'], cost, valid_cost))
        self.results.row('_epochs.out', (now['epoch'], cost, valid_cost, now['rate'], speed))
        self.progress.line('epoch {}/{}: cost {:.4f}, validation {:.4f}, rate {:.4g}, {:,.0f} characters/s, {}'.format(
            now['epoch'], self.options.epochs, cost, valid_cost, now['rate'], speed, duration(seconds)))

    def judge(self, valid_cost):
        """Keep the best parameters; go back to them at a smaller rate where the plateau rule says so."""
        now, options = self.now, self.options
        if valid_cost != valid_cost:           # nan: no validation text
            return
        if now['best_cost'] is None or valid_cost < now['best_cost']:
            now.update(best_cost=valid_cost, best_epoch=now['epoch'], stale=0)
            return
        now['stale'] += 1
        if options.plateau and now['stale'] % options.plateau == 0:
            now['rate'] /= options.plateau_factor
            best = self.results.path('_best.npz')
            if self.model.resume(best)['epoch'] != now['best_epoch']:
                raise ValueError('{0} is newer than the checkpoint that this run went on from: python train.py '
                                 '--resume {0}'.format(best))
            self.progress.line('no better validation cost in {} epochs: back to epoch {}, rate {:.4g}'.format(
                now['stale'], now['best_epoch'], now['rate']))

    def sample(self):
        """Print a short text of the model at hand, and keep it; the training's own chance is not touched."""
        before = self.model.random.bit_generator.state
        text = self.model.generate_text(text_length=SAMPLE_LENGTH)
        self.model.random.bit_generator.state = before
        self.results.write('_samples.txt', '# epoch {}:\n{}\n'.format(self.now['epoch'], text))
        self.progress.line(text)


def stored_options(options):
    """What a checkpoint keeps of the options."""
    return {name: value for name, value in vars(options).items()
            if name not in ('resume', 'overwrite', 'init', 'output_dir')}


def make_model(options):
    from charlstm import CharLSTM
    model = CharLSTM(random_seed=options.random_seed)
    model.prepare_input(options.input, options.ratio_valid, options.batch_size, options.seq_length,
                        encoding=options.encoding, stateful=not options.no_stateful)
    model.model_setup(None, options.num_units1, options.num_units2, options.lrate, options.drate, options.eps,
                      options.bptt_maxdepth, options.l1, options.l2, dropout=options.dropout,
                      grad_clip=options.grad_clip)
    return model


def print_summary(model, options):
    count = sum(p.get_value(borrow=True).size for p in model.p.values())
    print('2 layers of {} and {} units, {:,} parameters; {} epochs'.format(
        options.num_units1, options.num_units2, count, options.epochs))
    for names in (('lrate', 'plateau', 'plateau_factor') if options.plateau else
                  ('lrate', 'lrate_decay', 'lrate_decay_epoch'),
                  ('drate', 'eps', 'grad_clip', 'dropout', 'l1', 'l2', 'bptt_maxdepth', 'random_seed')):
        print(', '.join('{} {}'.format(name.replace('_', '-'), getattr(options, name)) for name in names))


def compile_model(model):
    print('compiling: up to a minute the first time, about a second after that ...')
    sys.stdout.flush()
    start = time.time()
    model.compile('train_rmsprop', *['check'] * bool(model.n_batches['valid']))
    print('compiled in {}'.format(duration(time.time() - start)))
    sys.stdout.flush()


def resume(model, options, progress):
    """Bring the model to where the checkpoint is; refuse another text."""
    from charlstm import read_about
    then = read_about(options.resume)['text']
    if model.fingerprint() != then['sha256']:
        raise ValueError('{} is not the text of that run, which had {:,} characters and SHA-256 {}; --init starts a '
                         'new run on another text'.format(options.input, then['characters'], then['sha256']))
    model.resume(options.resume)
    print('going on after epoch {}, batch {}'.format(progress['epoch'], progress['batch']))


def train(parser, options):
    """The whole program. Returns the exit status."""
    from charlstm import NAMES
    import importlib.util
    if importlib.util.find_spec('matplotlib') is None:     # before the first epoch, not after it
        raise ImportError('No module named matplotlib: run "pip install -r requirements.txt"')
    progress = None
    if options.resume:
        options, progress = resumed_options(parser, options)
    check(options)
    options.input = input_path(options)
    model = make_model(options)
    options.input = os.path.abspath(options.input)
    results = Results(options, options.input)
    if not progress:
        results.check(options.overwrite)
    if progress:
        resume(model, options, progress)
    elif options.init:
        model.init_params(options.init)
    print_summary(model, options)
    compile_model(model)
    try:
        if progress:
            results.reopen(progress['log_sizes'])
        else:
            results.open(NAMES)
        return run(model, options, results, progress)
    finally:
        results.close()


def run(model, options, results, progress):
    """Train, and say where everything is. Returns the exit status."""
    with StopRequest() as stop:
        trainer = Trainer(model, options, results, progress)
        trainer.run(stop)
        if stop.asked and trainer.now['epoch'] < options.epochs:
            trainer.progress.line('interrupted in epoch {}'.format(trainer.now['epoch'] + 1))
            trainer.save('_interrupted.npz')
        trainer.progress.bar.close()
    print('costs: {} and {}, drawn in {}'.format(*[results.path(ending) for ending in ('.out', '_epochs.out', '.png')]))
    best = results.path('_best.npz')
    write = best if os.path.exists(best) else results.last_checkpoint
    print('next: python produce_text.py {}'.format(shlex.quote(write)))
    print('to go on: python train.py --resume {}'.format(shlex.quote(results.last_checkpoint)))
    return INTERRUPTED if stop.asked else 0


def main():
    parser = build_parser()
    options = parser.parse_args()
    try:
        if hasattr(sys.stdout, 'reconfigure'):
            sys.stdout.reconfigure(errors='replace')        # a terminal that lacks a character shows a mark
        sys.exit(train(parser, options))
    except MemoryError as error:
        parser.exit(2, '{}: not enough memory: {}; smaller --num-units1, --num-units2 or --batch-size need '
                       'less\n'.format(parser.prog, error))
    except (ImportError, OSError, ValueError) as error:
        parser.exit(2, '{}: {}\n'.format(parser.prog, error))
    except KeyboardInterrupt:
        parser.exit(INTERRUPTED, 'train.py: interrupted\n')


if __name__ == '__main__':
    main()
