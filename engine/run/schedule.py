"""How far a run is, and what its costs lead to: the rate, the best epoch, patience, and when it is over."""
import dataclasses
import math

from engine.state.patterns import MOST, nats, nothing, number, whole


SAMPLED = 100      # steps between samples, at least

# When a run has diverged. One strange batch, or a stream in it, is no reason: it is over after a few steps.
JUMP, WORSE = 3, 1.5   # a step's cost is high above so many times the running mean, and the cost of the first step
LONG = 100             # steps of high cost, less the others since, until the run goes back,
CALM = 10              # and so few that a checkpoint is good to go back to
UNLEARNED = 0.4        # it also goes back where, at an epoch's end, this share of what was learned is lost
RISE = 1.25            # and the cost is above so many times the lowest
FIRST = 4.0            # nats, about the cost of the first step of a run that did not store it
FALLS = 5              # times that it goes back to one checkpoint, each time at half the rate, before it ends


# What a checkpoint keeps of a Schedule, as its progress; train.py's table of options checks the options.
COST = (nothing, nats)
PROGRESS = {'options': lambda value: isinstance(value, dict), 'epoch': lambda value: whole(value, MOST + 1),
            'batch': whole, 'cost_sum': nats, 'characters': whole, 'rate': lambda value: number(value) and value > 0,
            'mean_cost': COST, 'best_cost': COST, 'best_epoch': whole, 'stale': whole, 'trial_cost?': COST,
            'rate_factor?': lambda value: number(value) and value > 0, 'first_cost?': COST, 'lowest_cost?': COST,
            'high?': whole}


class Diverged(Exception):
    """The parameters are lost: the run has to go back to its last checkpoint."""


@dataclasses.dataclass
class Schedule:
    """All that a run must know to go on, beside the model; a checkpoint holds it as its progress.

    options: the run's, by name, of which it uses epochs, save_every, patience, original, lrate,
    warmup, lrate_decay, lrate_decay_epoch, plateau and plateau_factor.
    """
    options: dict
    epoch: int = 0               # whole epochs that were read,
    batch: int = 0               # and batches of the next one,
    cost_sum: float = 0.0        # with the sum of their characters' costs
    characters: int = 0          # and the number of these
    rate: float = 0.0
    rate_factor: float = 1.0     # of the rate, halved each time that the run diverged
    first_cost: float = None     # of the first step of the run
    mean_cost: float = None      # running mean over about 100 steps, without those of high cost
    lowest_cost: float = None    # the lowest mean_cost at the end of an epoch
    high: int = 0                # steps of high cost, less the others since
    best_cost: float = None      # of validation, after best_epoch
    best_epoch: int = 0
    stale: int = 0               # epochs since
    trial_cost: float = math.nan # of the last validation batch that was tried
    batches = SAMPLED            # in an epoch; no field, as the text says it

    @classmethod
    def resumed(cls, options, progress, batches=SAMPLED):
        """Where a checkpoint's progress is, with the options of now; batches: in an epoch."""
        names = {field.name for field in dataclasses.fields(cls)}
        known = {name: value for name, value in progress.items() if name in names and value is not None}
        now = cls(**{'rate': options['lrate'], **known, 'options': options})
        before = progress.get('options', {}).get('lrate', options['lrate'])
        now.rate *= options['lrate'] / before              # which may have become smaller
        now.batches = batches
        if now.first_cost is None and now.mean_cost is not None:
            now.first_cost = FIRST
        return now

    def progress(self, **more):
        """What a checkpoint keeps; None for numbers that are not finite, which JSON does not have."""
        fields = dataclasses.asdict(self)
        infinite = [name for name, value in fields.items() if isinstance(value, float) and not math.isfinite(value)]
        return {**fields, **dict.fromkeys(infinite), **more}

    @property
    def step(self):
        """The steps of the whole run that were made."""
        return self.epoch * self.batches + self.batch

    def fall_back(self, progress):
        """Return to a checkpoint's progress, with half the rate of now. Returns False where that failed too often."""
        then = Schedule.resumed(self.options, progress, self.batches)
        factor = self.rate_factor / 2
        if factor < then.rate_factor / 2 ** FALLS:
            return False
        then.rate *= factor / then.rate_factor             # as the plateau rule has it; begin_epoch sets the other
        then.rate_factor = factor
        vars(self).update(vars(then))
        return True

    @property
    def smaller_rate(self):
        """An --lrate that has not failed yet, for a run that diverged too often."""
        return min(self.options['lrate'] / 2 ** (FALLS + 1), 1e-3)

    def row(self):
        """Return what the log has for a step beside its cost: how many epochs were read, and the validation cost.

        With --original they are as the program of 2016 wrote them: counted from 0, and -1 where there is no validation.
        """
        if self.options['original']:
            return self.epoch + (self.batch - 1) / self.batches, -1 if math.isnan(self.trial_cost) else self.trial_cost
        return self.epoch + self.batch / self.batches, self.trial_cost

    @property
    def calm(self):
        """Whether the model is as good as it seems: no long rise of the cost has begun."""
        return self.high < CALM

    @property
    def out_of_patience(self):
        """Whether too many epochs brought no better validation cost."""
        return 0 < self.options['patience'] <= self.stale

    @property
    def finished(self):
        """Whether no epoch is left to read."""
        return self.epoch >= self.options['epochs'] or self.out_of_patience

    @property
    def should_save(self):
        """Whether the epoch that just ended gets a checkpoint."""
        return self.epoch % self.options['save_every'] == 0 or self.finished

    def more(self):
        """Options with which a run that is finished goes on, as they are typed; none for one that is not."""
        o, more = self.options, []
        if self.epoch >= o['epochs']:
            more += ['--epochs', str(2 * o['epochs'])]
        if self.out_of_patience:
            more += ['--patience', str(self.stale + o['patience'])]
        return more

    def forget_best(self):
        """Let the next epoch be the best so far, where the parameters of the best one are lost."""
        self.best_cost, self.best_epoch, self.stale = None, 0, 0

    @property
    def should_report(self):
        """Whether the epoch that just ended is worth a line, a sample and a picture: a short one seldom is."""
        return self.epoch % max(1, SAMPLED // self.batches) == 0 or self.epoch == 1 or self.finished

    def begin_epoch(self):
        """Set the rate of the epoch that begins or goes on; that of the plateau rule changes in judge."""
        if not self.options['plateau']:
            past = max(0, self.epoch + 1 - self.options['lrate_decay_epoch'] + 1)
            self.rate = self.options['lrate'] * self.options['lrate_decay'] ** past * self.rate_factor

    def warmup_factor(self, step):
        """The factor on the rate at a step of the whole run, counted from 0: it rises to 1 while warming up."""
        return min(1, (step + 1) / max(self.options['warmup'], 1))

    def record_step(self, cost, characters):
        """Count a step. Raises Diverged for a cost that is not finite, or the last of many that were high."""
        if not math.isfinite(cost):
            raise Diverged(f'the cost is {cost} in epoch {self.epoch + 1}')
        if self.first_cost is None:
            self.first_cost = cost
        mean = cost if self.mean_cost is None else self.mean_cost
        if cost > max(JUMP * mean, WORSE * self.first_cost):
            self.high += 1
            if self.high >= LONG:
                raise Diverged(f'the cost rose from about {mean:.4g} to {cost:.4g} in epoch {self.epoch + 1}')
        else:
            self.high = max(self.high - 1, 0)
            self.mean_cost = 0.99 * mean + 0.01 * cost
        self.batch += 1
        self.cost_sum += cost * characters
        self.characters += characters

    def end_epoch(self):
        """Count an epoch. Returns its mean training cost. Raises Diverged where much of what was learned is lost."""
        mean, lowest = self.mean_cost, self.lowest_cost
        if lowest is not None:         # both of the last steps of an epoch, which read the same characters each time
            if mean > max(lowest + UNLEARNED * (self.first_cost - lowest), RISE * lowest):
                raise Diverged(f'the cost rose from about {lowest:.4g} to {mean:.4g} in epoch {self.epoch + 1}')
        self.lowest_cost = mean if lowest is None else min(mean, lowest)
        cost = self.cost_sum / max(self.characters, 1)
        self.epoch, self.batch, self.cost_sum, self.characters = self.epoch + 1, 0, 0.0, 0
        return cost

    def update_best(self, valid_cost):
        """Take in a validation cost, if it is finite, as it is not where there is no validation text, and all is calm.

        Returns whether to go back to the best parameters, at the smaller rate that it has set.
        """
        if not (math.isfinite(valid_cost) and self.calm):
            return False
        if self.best_cost is None or valid_cost < self.best_cost:
            self.best_cost, self.best_epoch, self.stale = valid_cost, self.epoch, 0
            return False
        self.stale += 1
        if self.options['plateau'] and self.stale % self.options['plateau'] == 0:
            self.rate /= self.options['plateau_factor']
            return True
        return False
