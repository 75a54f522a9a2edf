"""The settings of the group `train`: length of the run, batch sizes, and intervals of logs, samples and checkpoints."""

import bisect
import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from gan_runner.errors import choose, require
from gan_runner.records.averages import averages
from gan_runner.schedule import Schedule, check_schedulable

CAN_BE_OFF = ("ema_half_life_images", "evaluate_every", "discriminator_warmup_steps", "fresh")
PLAYERS = dict.fromkeys(("generator", "discriminator"))
TOTALS = ("total_steps", "total_images", "total_seconds")


class End(NamedTuple):
    """The end of a run: the first of three totals that is reached, or `patience` evaluations without improvement."""

    total_steps: int | None = None
    total_images: int | None = None
    total_seconds: float | None = None
    patience: int | None = None

    @classmethod
    def of(cls, train: Mapping[str, Any]) -> "End":
        """Reads the group `train` of a configuration, checked or not; values that are not numbers count as None."""
        numbers = {name: train[name] for name in cls._fields if isinstance(train.get(name), int | float)}
        return cls(**numbers)

    def progress(self, steps: int, images: int, seconds: float) -> float:
        """Returns the share of the run that is done; 1 or more at its end, 0 if there is no total."""
        return max(self.shares(steps, images, seconds).values(), default=0.0)

    def shares(self, steps: int, images: int, seconds: float) -> dict[str, float]:
        """Returns the share that is done of each total that is set, by the name of the setting."""
        totals = zip(TOTALS, self, (steps, images, seconds), strict=False)
        return {name: done / total for name, total, done in totals if total}

    def out_of_patience(self, without_gain: int) -> bool:
        return self.patience is not None and without_gain >= self.patience

    def steps(self, n_images: Callable[[int], int]) -> int | None:
        """Returns the generator updates until the first total; None if only time ends the run.

        n_images: returns the real images shown after a number of generator updates.
        """
        lengths = [self.total_steps] if self.total_steps else []
        if self.total_images:
            steps = range(min(self.total_images, sys.maxsize))
            lengths.append(bisect.bisect_left(steps, self.total_images, key=n_images))
        return min(lengths, default=None)


@dataclass(frozen=True)
class Settings:
    """The group `train`. The unit of `*_every` is generator updates, that of `*_every_images` real images."""

    total_steps: int | None = None  # generator updates; the first of the three totals that is reached ends the run
    total_images: int | None = None  # real images shown to the discriminator
    total_seconds: float | None = None  # training time over all sessions
    schedule_steps: int | None = None  # generator updates that schedules run over; by default the length of the run
    schedule_images: int | None = None  # the same length in real images
    batch_size: int = 64  # real images in one discriminator update, over all ranks
    generator_batch_size: int = 64  # samples in one generator update, over all ranks
    accumulate: int = 1  # micro-batches in a rank's share of a batch
    discriminator_warmup_steps: int = 0  # discriminator updates before the first generator update
    ema_half_life_images: float | list[float] | Schedule = 10_000.0  # of the generator's average; 0: off; or a list
    from_weights: str | None = None  # run folder, checkpoint, exported file or hf://owner/name whose weights are taken
    from_weights_hash: str | None = None  # hash of these weights, filled in at the start of the run
    freeze: Mapping[str, int] = field(default_factory=dict)  # player -> lowest blocks that are not trained
    log_every: int = 50  # generator updates between two log lines
    sample_every: int = 500  # generator updates between two sample grids
    sample_every_images: int | None = None  # replaces sample_every; real images shown to the discriminator
    checkpoint_every: int = 500  # generator updates between two checkpoints
    evaluate_every: int = 0  # generator updates between two evaluations of the metrics; 0: only at the end
    evaluate_every_images: int | None = None  # replaces evaluate_every; real images shown to the discriminator
    keep_checkpoints: int = 2  # newest checkpoints that are kept, beside best.pt
    grid: int = 64  # images in a sample grid
    select_by: str | None = None  # the metric that selects best.pt, on the validation split, and that searches optimise
    patience: int | None = None  # the run ends after this many evaluations without improvement
    on_divergence: str = "stop"  # or rollback: load the last good checkpoint, with other noise, at most three times
    fresh: bool = False  # move the old folder aside and start from the beginning

    def __post_init__(self) -> None:
        totals = (self.total_steps, self.total_images, self.total_seconds)
        require(
            totals != (None, None, None),
            "total_steps=null leaves the run without an end; give total_steps, _images or _seconds",
        )
        choose("on_divergence", self.on_divergence, {"stop": None, "rollback": None})
        for player, count in self.freeze.items():
            choose("freeze", player, PLAYERS)
            fits = isinstance(count, int) and not isinstance(count, bool) and count >= 0
            require(fits, f"freeze.{player}={count} should be a number of blocks, 0 or more")
        for half_life in self.half_lives.values():
            check_schedulable("ema_half_life_images", half_life)
        for setting in fields(self):
            value = getattr(self, setting.name)
            least = 0 if setting.name in CAN_BE_OFF else 1e-9
            if isinstance(value, int | float) and not value >= least:
                raise ValueError(f"{setting.name}={value} must be {'0 or more' if least == 0 else 'above 0'}")

    @functools.cached_property
    def end(self) -> End:
        return End(self.total_steps, self.total_images, self.total_seconds, self.patience)

    @functools.cached_property
    def half_lives(self) -> dict[str, float | Schedule]:
        """Returns the half-life of each average by its name. ValueError if a list is empty or has a value twice."""
        setting = self.ema_half_life_images
        values = setting if isinstance(setting, list) else [setting]
        require(len(values) > 0, "ema_half_life_images=[] has no half-life; 0 turns averages off")
        require(len(set(values)) == len(values), f"ema_half_life_images={values} has a half-life twice")
        return dict(zip(averages(setting), values, strict=True))

    @property
    def schedule_end(self) -> End:
        """The end that schedules run to: their own length if one is set, else the end of the run."""
        own = End(self.schedule_steps, self.schedule_images)
        return self.end if own == End() else own

    @property
    def evaluates(self) -> bool:
        """Whether metrics are computed before the end of the run."""
        return bool(self.evaluate_every_images or self.evaluate_every)
