"""How far a run is, and what its costs lead to: the rate, the best epoch, patience, and when it is over."""
import dataclasses
import math


SAMPLED = 100      # steps between samples, at least


def mean_cost(costs):
    """The mean of (cost, number of characters) pairs over all characters; nan where there are none."""
    total = characters = 0
    for cost, n in costs:
        total, characters = total + cost * n, characters + n
    return total / characters if characters else float('nan')


@dataclasses.dataclass
class Schedule:
    """All that a run must know to go on, beside the model; a checkpoint holds it as its progress.

    options: the run's, by name, of which it heeds epochs, save_every, patience, lrate,
    warmup, lrate_decay, lrate_decay_epoch, plateau and plateau_factor.
    """
    options: dict
    epoch: int = 0               # whole epochs that were read,
    batch: int = 0               # and batches of the next one,
    cost_sum: float = 0.0        # with the sum of their characters' costs
    characters: int = 0          # and the number of these
    rate: float = 0.0
    mean_cost: float = None      # running mean over about 100 steps
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
        now.batches = batches
        return now

    def progress(self, **more):
        """What a checkpoint keeps; None for what is nan, which JSON does not have."""
        fields = dataclasses.asdict(self)
        return dict({name: None if value != value else value for name, value in fields.items()}, **more)

    @property
    def out_of_patience(self):
        """Whether too many epochs brought no better validation cost."""
        return 0 < self.options['patience'] <= self.stale

    @property
    def finished(self):
        """Whether no epoch is left to read."""
        return self.epoch >= self.options['epochs'] or self.out_of_patience

    @property
    def due(self):
        """Whether the epoch that just ended gets a checkpoint and a sample."""
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
    def shows(self):
        """Whether the epoch that just ended is worth a line, a sample and a picture: a short one seldom is."""
        return self.epoch % max(1, SAMPLED // self.batches) == 0 or self.epoch == 1 or self.due

    def begin_epoch(self):
        """Set the rate of the epoch that begins or goes on; that of the plateau rule changes in judge."""
        if not self.options['plateau']:
            past = max(0, self.epoch + 1 - self.options['lrate_decay_epoch'] + 1)
            self.rate = self.options['lrate'] * self.options['lrate_decay'] ** past

    def warmth(self, step):
        """The factor on the rate at a step of the whole run, counted from 0: it rises to 1 while warming up."""
        return min(1, (step + 1) / max(self.options['warmup'], 1))

    def learned(self, cost, characters):
        """Count a step. Raises ValueError for a cost that is not finite or three times its running mean."""
        mean = self.mean_cost
        if not math.isfinite(cost) or (mean is not None and cost > 3 * mean):
            before = 'nothing' if mean is None else f'{mean:.4g}'
            raise ValueError(f'the cost jumped from about {before} to {cost:.4g} in epoch {self.epoch + 1}: stopped; a '
                             'smaller --lrate or a --grad-clip of 5 prevents that')
        self.mean_cost = cost if mean is None else 0.99 * mean + 0.01 * cost
        self.batch += 1
        self.cost_sum += cost * characters
        self.characters += characters

    def end_epoch(self):
        """Count an epoch. Returns its mean training cost."""
        cost = self.cost_sum / max(self.characters, 1)
        self.epoch, self.batch, self.cost_sum, self.characters = self.epoch + 1, 0, 0.0, 0
        return cost

    def judge(self, valid_cost):
        """Take in a validation cost; nan, where there is no validation text, is no judgement.

        Returns whether to go back to the best parameters, at the smaller rate that it has set.
        """
        if math.isnan(valid_cost):
            return False
        if self.best_cost is None or valid_cost < self.best_cost:
            self.best_cost, self.best_epoch, self.stale = valid_cost, self.epoch, 0
            return False
        self.stale += 1
        if self.options['plateau'] and self.stale % self.options['plateau'] == 0:
            self.rate /= self.options['plateau_factor']
            return True
        return False
