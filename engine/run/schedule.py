"""Track what a run has done, and derive from it the rate, the best epoch, patience and the end of the run."""
import collections
import dataclasses
import math
import secrets
import time

from engine.terminal import ctrl_c_delayed, nats_and_bits

SAMPLED = 100      # least number of steps between samples
ANNEALED = 0.05    # factor on the rate at the end of annealing

# What CharLSTM.training yields. Step, after each step: cost in nats (with dropout but no penalties) and update ratios.
# Validated, after each validation batch at an epoch's end.
Step = collections.namedtuple('Step', 'cost ratios')
Validated = collections.namedtuple('Validated', '')


class Epoch(collections.namedtuple('Epoch', 'number cost valid_cost rate speed metrics', defaults=[math.nan, {}])):
    """What an epoch of training has brought: its number, and the means of its costs, in nats a character.

    cost, loss              of its training steps, with dropout
    valid_cost, valid_loss  of the validation text after it; nan without one
    rate, speed             the learning rate of its last step, and characters a second in its steps, nan if not timed
    metrics                 means of the network's other numbers on the validation text, by name
    """
    __slots__ = ()
    loss, valid_loss = property(lambda self: self.cost), property(lambda self: self.valid_cost)

    @property
    def said(self):
        """Return what a line of train.py says of it."""
        validation = 'no validation' if math.isnan(self.valid_cost) else f'validation {nats_and_bits(self.valid_cost)}'
        metrics = ''.join([f', {name} {value:.4g}' for name, value in self.metrics.items()])
        return (f'cost {nats_and_bits(self.cost)}, {validation}{metrics}, rate {self.rate:.4g}, '
                f'{self.speed:,.0f} characters/s')

    def __str__(self):
        return f'epoch {self.number}: {self.said}'


class Diverged(Exception):
    """A cost or a parameter is not finite, or guessing is better: the run has to return to a checkpoint."""


@dataclasses.dataclass
class Schedule:
    """What a run has done. A checkpoint stores it as its progress: with the model, it is all that resuming needs."""
    options: object              # Options
    batches: int = SAMPLED       # in an epoch; determined by the text
    epoch: int = 0               # completed epochs
    batch: int = 0               # batches read in the current epoch
    cost_sum: float = 0.0        # over the characters of these batches
    characters: int = 0          # in these batches
    last_cost: float = 0.0       # mean training cost of the epoch before
    rate_factor: float = 1.0     # on the rate; halved each time the run diverges
    best_cost: float | None = None           # best validation cost, after best_epoch
    best_epoch: int = 0
    stale: int = 0               # epochs since best_epoch
    fewer_epochs: int | None = None          # epochs of the run, if patience has shortened it
    valid_batch_cost: float | None = math.nan      # cost of the last validation batch
    id: str = dataclasses.field(default_factory=lambda: secrets.token_hex(8))      # tells runs of the same name apart
    logs: dict = dataclasses.field(default_factory=dict)       # sizes of the logs in bytes, by ending

    @classmethod
    def resumed(cls, options, progress, batches):
        """Return the Schedule of a new run (progress {}) or of a resumed one, whose limits may have changed."""
        names = [field.name for field in dataclasses.fields(cls)[2:] if progress.get(field.name) is not None]
        schedule = cls(options, batches, **{name: progress[name] for name in names})
        if options.epochs != progress.get('options', {}).get('epochs'):
            schedule.fewer_epochs = None
        schedule.begin_fall()
        return schedule

    def stored(self):
        """Return the progress as a checkpoint stores it, without nan, which JSON does not have."""
        cost = self.valid_batch_cost if math.isfinite(self.valid_batch_cost) else None
        return {**vars(self), 'valid_batch_cost': cost, 'rate': self.rate_of(self.epoch),
                'last_rate': self.rate_at(self.step - 1) if self.step else None,
                'options': {'run': self.options.run, **self.options.kept('run')}}

    def record_step(self, cost, characters):
        """Record a step. Raise Diverged if its cost is not finite."""
        if not math.isfinite(cost):
            raise Diverged(f'the cost is {cost} in epoch {self.epoch + 1}')
        self.batch += 1
        self.cost_sum += cost * characters
        self.characters += characters

    def check_epoch(self, finite, V):
        """Raise Diverged after an epoch if its parameters are not finite, or its cost is above that of guessing."""
        if not finite:
            raise Diverged(f'the parameters are no longer finite after epoch {self.epoch + 1}')
        cost, guessing = self.mean_cost, math.log(V)
        if self.epoch and cost > max(guessing + 0.1, self.last_cost):          # random letters cost guessing
            raise Diverged(f'epoch {self.epoch + 1} costs {cost:.2f} nats, and guessing {guessing:.2f}')

    @property
    def mean_cost(self):
        """Return the mean training cost of the current epoch so far."""
        return self.cost_sum / max(self.characters, 1)

    def end_epoch(self, means):
        """Record an epoch and return it. means: 'cost' of the validation text, nan without one, and metrics."""
        rate, cost, valid_cost = self.rate_at(self.step - 1), self.mean_cost, means['cost']
        self.epoch, self.batch, self.cost_sum, self.characters, self.last_cost = self.epoch + 1, 0, 0.0, 0, cost
        if math.isfinite(valid_cost):
            self.stale += 1
            if self.best_cost is None or valid_cost < self.best_cost:
                self.best_cost, self.best_epoch, self.stale = valid_cost, self.epoch, 0
        self.begin_fall()
        metrics = {name: mean for name, mean in means.items() if name != 'cost'}
        return Epoch(self.epoch, cost, valid_cost, rate, metrics=metrics)

    def begin_fall(self):
        """If patience runs out before the rate falls, shorten the run so that the rate falls from now on."""
        if 0 < self.options.patience <= self.stale and self.epoch < self.epochs_before_fall:
            self.fewer_epochs = math.ceil(round(self.epoch / (1 - self.options.anneal), 6))

    @property
    def step(self):
        """Return the number of steps since the start of the run."""
        return self.epoch * self.batches + self.batch

    @property
    def epochs(self):
        """Return the number of epochs after which the run ends, unless patience ends it earlier."""
        return min(self.options.epochs, self.fewer_epochs or math.inf)

    @property
    def epochs_before_fall(self):
        """Return the number of epochs, possibly fractional, before the rate falls; 0 if it never falls."""
        anneal = self.options.anneal
        return round((1 - anneal) * self.epochs, 6) if anneal else 0             # not 6.999999999999999

    @property
    def out_of_patience(self):
        """Return whether `patience` epochs have passed since the best one and, with annealing, since it began."""
        return 0 < self.options.patience <= min(self.stale, self.epoch - math.ceil(self.epochs_before_fall))

    @property
    def finished(self):
        """Return whether the run has ended: all epochs are done, or patience has run out."""
        return self.epoch >= self.epochs or self.out_of_patience

    @property
    def should_report(self):
        """Return whether to sample and plot after the epoch that just ended; not after every short one."""
        return self.epoch % max(1, SAMPLED // self.batches) == 0 or self.epoch == 1 or self.finished

    def rate_of(self, epoch):
        """Return the rate of an epoch, counted from 0, before warm-up and annealing."""
        decays = max(0, epoch + 2 - self.options.lrate_decay_epoch)
        return self.options.lrate * self.options.lrate_decay ** decays * self.rate_factor

    def rate_at(self, step):
        """Return the rate at a step, counted from 0 at the start of the run.

        It rises linearly over the first `warmup` steps, at most a third of all, and falls over the last share `anneal`.
        """
        steps, anneal = self.epochs * self.batches, self.options.anneal
        rising = min(1, (step + 1) / max(min(self.options.warmup, steps // 3), 1))
        left = (steps - step) / (anneal * steps) if anneal else 1      # share of the annealing; above 1 before
        return self.rate_of(step // self.batches) * rising * (ANNEALED + (1 - ANNEALED) * min(max(left, 0), 1))

    def larger_limits(self):
        """Return the options with which a finished run can be resumed, as words of a command line."""
        words = []
        if self.epoch >= self.epochs:
            words += ['--epochs', str(2 * max(self.epoch, self.options.epochs))]
        if self.out_of_patience:
            words += ['--patience', str(self.stale + self.options.patience)]
        return words


def timed(model, schedule):
    """Yield what model.training yields, an Epoch with its speed: characters a second in its steps."""
    model.compiled('train_rmsprop')                        # now, since Ctrl-C is delayed in a step, below
    training, before, characters, seconds = model.training(schedule), schedule.characters, 0, 0.0
    while True:
        start = time.perf_counter()
        with ctrl_c_delayed():                             # so that a step is both made and counted, or neither
            event = next(training, None)
        if event is None:
            return
        if isinstance(event, Step):
            characters, seconds = schedule.characters - before, seconds + time.perf_counter() - start
        elif isinstance(event, Epoch):
            event = event._replace(speed=characters / max(seconds, 1e-6))
            before, characters, seconds = 0, 0, 0.0
        yield event
