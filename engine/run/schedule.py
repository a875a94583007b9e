"""What a run has done, and what follows from it: the rate, the best epoch, patience, and when it is finished."""
import dataclasses
import math
import secrets

SAMPLED = 100      # steps between samples, at least
ANNEALED = 0.05    # factor on the rate at the end of a run that anneals it


class Diverged(Exception):
    """A cost or a parameter is not finite, so that the run has to go back to a checkpoint."""


@dataclasses.dataclass
class Schedule:
    """What a run has done. A checkpoint holds it as its progress: besides the model, all that a run is resumed from."""
    options: object              # Options
    batches: int = SAMPLED       # of an epoch, which follows from the text
    epoch: int = 0               # whole epochs that were read
    batch: int = 0               # batches of the next epoch that were read
    cost_sum: float = 0.0        # of the characters of these batches
    characters: int = 0          # in these batches
    rate_factor: float = 1.0     # on the rate; halved each time that the run diverged
    best_cost: float = None      # of validation, after best_epoch
    best_epoch: int = 0
    stale: int = 0               # epochs since best_epoch
    fewer_epochs: int = None     # after which the run ends, if that is before options.epochs
    valid_batch_cost: float = math.nan       # of the last validation batch
    id: str = dataclasses.field(default_factory=lambda: secrets.token_hex(8))      # tells runs of one name apart
    logs: dict = dataclasses.field(default_factory=dict)       # their sizes in bytes, by ending

    @classmethod
    def resumed(cls, options, progress, batches):
        """Return the Schedule of a run that begins, {} for its progress, or that continues, maybe with other limits."""
        fields = [field for field in dataclasses.fields(cls)[2:] if progress.get(field.name) is not None]
        schedule = cls(options, batches, **{field.name: field.type(progress[field.name]) for field in fields})
        if options.epochs != progress.get('options', {}).get('epochs'):
            schedule.fewer_epochs = None
        schedule.begin_fall()
        return schedule

    def stored(self):
        """Return what a checkpoint keeps as the progress, without nan, which JSON does not have."""
        cost = self.valid_batch_cost if math.isfinite(self.valid_batch_cost) else None
        return {**vars(self), 'valid_batch_cost': cost, 'rate': self.rate_of(self.epoch),
                'options': {'run': self.options.run, **self.options.kept('run')}}

    def record_step(self, cost, characters):
        """Count a step. Raise Diverged for a cost that is not finite."""
        if not math.isfinite(cost):
            raise Diverged(f'the cost is {cost} in epoch {self.epoch + 1}')
        self.batch += 1
        self.cost_sum += cost * characters
        self.characters += characters

    def end_epoch(self, valid_cost):
        """Count an epoch and its validation cost, if that is finite. Return the mean training cost."""
        cost = self.cost_sum / max(self.characters, 1)
        self.epoch, self.batch, self.cost_sum, self.characters = self.epoch + 1, 0, 0.0, 0
        if math.isfinite(valid_cost):
            self.stale += 1
            if self.best_cost is None or valid_cost < self.best_cost:
                self.best_cost, self.best_epoch, self.stale = valid_cost, self.epoch, 0
        self.begin_fall()
        return cost

    def begin_fall(self):
        """Let the rate fall early if patience ends before it falls: as if --epochs were so few that it falls now."""
        if 0 < self.options.patience <= self.stale and self.epoch < self.epochs_before_fall:
            self.fewer_epochs = math.ceil(round(self.epoch / (1 - self.options.anneal), 6))

    @property
    def step(self):
        """Return the number of steps that the whole run has made."""
        return self.epoch * self.batches + self.batch

    @property
    def epochs(self):
        """Return after how many epochs the run ends, if patience does not end it."""
        return min(self.options.epochs, self.fewer_epochs or math.inf)

    @property
    def epochs_before_fall(self):
        """Return how many epochs, a whole number or not, come before those in which the rate falls; 0 if none does."""
        anneal = self.options.anneal
        return round((1 - anneal) * self.epochs, 6) if anneal else 0             # not 6.999999999999999

    @property
    def out_of_patience(self):
        """Return whether too many epochs brought no better validation cost, while the rate falls if it ever does."""
        return 0 < self.options.patience <= min(self.stale, self.epoch - math.ceil(self.epochs_before_fall))

    @property
    def finished(self):
        """Return whether no epoch is left to read."""
        return self.epoch >= self.epochs or self.out_of_patience

    @property
    def should_report(self):
        """Return whether the epoch that just ended gets a line, a sample and a picture. Few of the short epochs do."""
        return self.epoch % max(1, SAMPLED // self.batches) == 0 or self.epoch == 1 or self.finished

    def rate_of(self, epoch):
        """Return the rate of an epoch, counted from 0, without warm-up and annealing."""
        decays = max(0, epoch + 2 - self.options.lrate_decay_epoch)
        return self.options.lrate * self.options.lrate_decay ** decays * self.rate_factor

    def rate_at(self, step):
        """Return the rate at a step, counted from 0, of the whole run.

        It rises in the first `warmup` steps, and falls in a line to ANNEALED in the last ones, a share `anneal` of all.
        """
        steps, anneal = self.epochs * self.batches, self.options.anneal
        rising = min(1, (step + 1) / max(self.options.warmup, 1))
        left = (steps - step) / (anneal * steps) if anneal else 1      # of the steps that anneal; 1 and more: all
        return self.rate_of(step // self.batches) * rising * (ANNEALED + (1 - ANNEALED) * min(max(left, 0), 1))

    def larger_limits(self):
        """Return the options that a finished run needs to be resumed, as typed words."""
        words = []
        if self.epoch >= self.epochs:
            words += ['--epochs', str(2 * max(self.epoch, self.options.epochs))]
        if self.out_of_patience:
            words += ['--patience', str(self.stale + self.options.patience)]
        return words
