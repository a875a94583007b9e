"""How far a run is, and what follows from its costs: the rate, the best epoch, patience, and when it is finished."""
import dataclasses
import math

SAMPLED = 100      # steps between samples, at least

ANNEALED = 0.05    # factor on the rate at the end of a run that anneals it
LEAST_RATE = 1e-30 # of an epoch, so that no rate of a step becomes 0 in float32

# When a run has diverged. One strange batch, or a stream in it, is no reason: it is over after a few steps.
JUMP, WORSE = 3, 1.5   # a step's cost is high above both JUMP times the running mean and WORSE times the first cost
LONG = 100             # high steps, less the others since, after which the run goes back to a checkpoint
RISING = 10            # high steps, less the others since, from which on no new checkpoint is one to return to
UNLEARNED = 0.4        # it also goes back if, at an epoch's end, this share of what was learned is lost,
RISE = 1.25            # and the cost is above RISE times the lowest
FALLS = 5              # times that it goes back to one checkpoint, each time at half the rate, before it ends


# What a checkpoint keeps of a Schedule, as its progress.
PROGRESS = {'epoch', 'batch', 'rate', 'best_cost', 'best_epoch', 'options', 'cost_sum', 'characters', 'mean_cost',
            'stale', 'valid_batch_cost', 'rate_factor', 'first_cost', 'lowest_cost', 'high_steps', 'fewer_epochs'}


def epochs_before_fall(epochs, anneal):
    """Return how many of all epochs, a whole number or not, come before those in which the rate falls."""
    return round((1 - anneal) * epochs, 6)                 # not 6.999999999999999


class Diverged(Exception):
    """Training has failed, so that the run has to go back to a checkpoint."""


@dataclasses.dataclass
class Schedule:
    """All that a run needs to be resumed, besides the model; a checkpoint holds it as its progress.

    options: the Options of the run, of which it uses epochs, save_every, valid_every, patience, original, lrate,
    warmup, anneal, lrate_decay and lrate_decay_epoch.
    """
    options: object
    epoch: int = 0               # whole epochs that were read
    batch: int = 0               # batches of the next epoch that were read
    cost_sum: float = 0.0        # of the characters of these batches
    characters: int = 0          # in these batches
    rate: float = 0.0            # learning rate of this epoch, without warm-up and annealing
    rate_factor: float = 1.0     # on the rate; halved each time that the run diverged
    first_cost: float = None     # of the first step of the run
    mean_cost: float = None      # running mean over about 100 steps, without those of high cost
    lowest_cost: float = None    # the lowest mean_cost at the end of an epoch
    high_steps: int = 0          # steps of high cost, less the others since
    best_cost: float = None      # of validation, after best_epoch
    best_epoch: int = 0
    stale: int = 0               # epochs since best_epoch
    fewer_epochs: int = None     # after which the run ends, if that is before options.epochs
    valid_batch_cost: float = math.nan       # of the last validation batch
    batches = SAMPLED            # in an epoch; not stored, as it follows from the text

    @classmethod
    def _fields(cls):
        return [field.name for field in dataclasses.fields(cls)]

    @classmethod
    def resumed(cls, options, progress, batches=SAMPLED):
        """Return the Schedule of a checkpoint's progress, {} for a new run. batches: how many an epoch has."""
        known = {name: progress[name] for name in cls._fields() if progress.get(name) is not None}
        schedule = cls(**{'rate': options.lrate, **known, 'options': options})
        schedule.batches = batches
        if options.epochs != progress.get('options', {}).get('epochs'):
            schedule.fewer_epochs = None
        schedule.begin_fall()                                   # with today's patience
        return schedule

    def progress(self, **more):
        """Return what a checkpoint keeps; None for numbers that are not finite, which JSON does not have."""
        fields = {name: getattr(self, name) for name in self._fields()}
        infinite = [name for name, value in fields.items() if isinstance(value, float) and not math.isfinite(value)]
        return {**fields, **dict.fromkeys(infinite), 'options': self.options.stored(), **more}

    @property
    def step(self):
        """Return the number of steps that the whole run has made."""
        return self.epoch * self.batches + self.batch

    def fall_back(self, progress):
        """Return to a checkpoint's progress, at half of today's rate. Return False if that has failed too often."""
        then = Schedule.resumed(self.options, progress, self.batches)
        factor = self.rate_factor / 2
        if factor < then.rate_factor / 2 ** FALLS:
            return False
        then.rate_factor = factor
        vars(self).update(vars(then))
        return True

    @property
    def epochs(self):
        """Return after how many epochs the run ends, if patience does not end it."""
        return min(self.options.epochs, self.fewer_epochs or math.inf)

    def should_validate(self, batches):
        """Return whether a validation batch is evaluated before the next step. batches: how many there are.

        The program of 2016 evaluated none where there was only one.
        """
        fewest = 2 if self.options.original else 1
        return batches >= fewest and self.step % self.options.valid_every == 0

    def row(self):
        """Return what the log has for a step besides its cost: epochs that were read, and the validation batch's cost.

        With --original they are as the program of 2016 wrote them: counted from 0, and -1 where there is no validation.
        """
        if self.options.original:
            cost = -1 if math.isnan(self.valid_batch_cost) else self.valid_batch_cost
            return self.epoch + (self.batch - 1) / self.batches, cost
        return self.epoch + self.batch / self.batches, self.valid_batch_cost

    @property
    def rising(self):
        """Return whether a long rise of the cost may have begun, which the running mean does not show."""
        return self.high_steps >= RISING

    @property
    def out_of_patience(self):
        """Return whether too many epochs brought no better validation cost, where the rate falls if it ever does."""
        stale, anneal = self.stale, self.options.anneal
        if anneal:
            stale = min(stale, self.epoch - math.ceil(epochs_before_fall(self.epochs, anneal)))
        return 0 < self.options.patience <= stale

    @property
    def finished(self):
        """Return whether no epoch is left to read."""
        return self.epoch >= self.epochs or self.out_of_patience

    @property
    def should_save(self):
        """Return whether the epoch that just ended gets a checkpoint."""
        return self.epoch % self.options.save_every == 0 or self.finished

    @property
    def should_report(self):
        """Return whether the epoch that just ended gets a line, a sample and a picture. Few of the short epochs do."""
        return self.epoch % max(1, SAMPLED // self.batches) == 0 or self.epoch == 1 or self.finished

    def larger_limits(self):
        """Return the options that a finished run needs to be resumed, as typed words; [] for a run that is not."""
        words = []
        if self.epoch >= self.epochs:
            twice = 2 * self.epoch
            words += ['--epochs', str(twice + 1 if twice == self.options.epochs else twice)]
        if self.out_of_patience:
            words += ['--patience', str(self.stale + self.options.patience)]
        return words

    def begin_epoch(self):
        """Set the rate of the epoch that begins or is resumed."""
        decays = max(0, self.epoch + 1 - self.options.lrate_decay_epoch + 1)
        rate = self.options.lrate * self.options.lrate_decay ** decays * self.rate_factor
        self.rate = max(rate, LEAST_RATE)

    def rate_at(self, step):
        """Return the rate at a step of this epoch, counted from the first step of the run.

        It rises in the first `warmup` steps, and falls in a line to ANNEALED in the last ones, a share `anneal` of all.
        """
        steps, anneal = self.epochs * self.batches, self.options.anneal
        rising = min(1, (step + 1) / max(self.options.warmup, 1))
        left = (steps - step) / (anneal * steps) if anneal else 1      # of the steps that anneal; 1 and more: all
        return self.rate * rising * (ANNEALED + (1 - ANNEALED) * min(max(left, 0), 1))

    def record_step(self, cost, characters):
        """Count a step. Raise Diverged for a cost that is not finite, or the last of many that were high.

        With --original, high costs do not count.
        """
        if not math.isfinite(cost):
            raise Diverged(f'the cost is {cost} in epoch {self.epoch + 1}')
        if self.first_cost is None:
            self.first_cost = cost
        mean = cost if self.mean_cost is None else self.mean_cost
        if cost > max(JUMP * mean, WORSE * self.first_cost) and not self.options.original:
            self.high_steps += 1
            if self.high_steps >= LONG:
                raise Diverged(f'the cost rose from about {mean:.4g} to {cost:.4g} in epoch {self.epoch + 1}')
        else:
            self.high_steps = max(self.high_steps - 1, 0)
            self.mean_cost = 0.99 * mean + 0.01 * cost
        self.batch += 1
        self.cost_sum += cost * characters
        self.characters += characters

    def end_epoch(self):
        """Count an epoch. Return its mean training cost.

        Raise Diverged if much of what was learned is lost, but not with --original.
        """
        mean, lowest = self.mean_cost, self.lowest_cost
        # Both are of the last steps of an epoch, which read the same text in each epoch.
        if lowest is not None and not self.options.original:
            if mean > max(lowest + UNLEARNED * (self.first_cost - lowest), RISE * lowest):
                raise Diverged(f'the cost rose from about {lowest:.4g} to {mean:.4g} in epoch {self.epoch + 1}')
        self.lowest_cost = mean if lowest is None else min(mean, lowest)
        cost = self.cost_sum / max(self.characters, 1)
        self.epoch, self.batch, self.cost_sum, self.characters = self.epoch + 1, 0, 0.0, 0
        return cost

    def begin_fall(self):
        """Let the rate fall early if patience ends before it falls. Return whether it does.

        The run then gets as many epochs as if its --epochs had been so few that the rate falls from here on.
        """
        anneal = self.options.anneal
        early = anneal > 0 and 0 < self.options.patience <= self.stale and (
            self.epoch < epochs_before_fall(self.epochs, anneal))
        if early:
            self.fewer_epochs = math.ceil(round(self.epoch / (1 - anneal), 6))
        return early

    def record_validation(self, valid_cost):
        """Record the validation cost of the epoch that ended. Return whether the rate falls early from here on.

        While costs rise, or where it is not finite, it does not count.
        """
        if math.isfinite(valid_cost) and not self.rising:
            if self.best_cost is None or valid_cost < self.best_cost:
                self.best_cost, self.best_epoch, self.stale = valid_cost, self.epoch, 0
            else:
                self.stale += 1
        return self.begin_fall()

    def forget_best(self):
        """Let the next epoch be the best so far, because the parameters of the best one are missing."""
        self.best_cost, self.best_epoch, self.stale = None, 0, 0
