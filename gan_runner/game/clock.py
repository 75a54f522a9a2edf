"""The position of a run: its counters, and the values computed from them."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from gan_runner.game.settings import End, Settings
from gan_runner.loss.objective import Objective
from gan_runner.records.identity import show
from gan_runner.schedule import Progress


class Now(NamedTuple):
    """The position in the training; all updates of one step share it."""

    step: int  # generator updates done
    updates: range  # the discriminator updates of this step, numbered over the whole run, warm-up included
    images: int  # real images that these updates show to the discriminator
    progress: Progress  # the argument of schedules
    warm_up: bool = False  # True: a discriminator update before the first step, without a generator update


class Clock:
    """Counts steps, warm-up updates, rollbacks and seconds so far; holds the length that schedules run over."""

    def __init__(self, settings: Settings, objective: Objective):
        self.settings, self.objective = settings, objective
        self.steps = 0  # generator updates done
        self.warmed = 0  # warm-up updates of the discriminator done, before the first generator update
        self.rollbacks = 0  # returns to a checkpoint after a divergence
        self.seconds = 0.0  # training time over all sessions; set by the stopwatch
        steps = self.steps_until(settings.end)
        self.end_step = math.inf if steps is None else steps
        self.end_seconds = settings.total_seconds or math.inf
        self.length = self.steps_until(settings.schedule_end)  # generator updates; a resume keeps the first value

    def now(self) -> Now:
        return self.moment(range(self.updates(self.steps), self.updates(self.steps + 1)))

    def warm_up(self) -> Now:
        """Returns the position of the next warm-up update."""
        return self.moment(range(self.warmed, self.warmed + 1))._replace(warm_up=True)

    def moment(self, updates: range) -> Now:
        return Now(self.steps, updates, len(updates) * self.settings.batch_size, Progress(self.steps, self.length))

    def tick(self, now: Now) -> None:
        """Counts the step or warm-up update `now` as done."""
        self.warmed += now.warm_up
        self.steps += not now.warm_up

    def updates(self, steps: int) -> int:
        """Returns the discriminator updates in the first `steps` generator steps, plus the warm-up updates."""
        return self.warmed + self.objective.discriminator_updates(steps)

    def spend(self, seconds: float) -> None:
        """Sets the training time so far; seconds: summed over all sessions."""
        self.seconds = seconds

    def roll_back(self, number: int) -> None:
        """Sets the number of rollbacks after a checkpoint was loaded; the noise of later updates depends on it."""
        self.rollbacks = number

    @property
    def images(self) -> int:
        """Real images shown to the discriminator so far."""
        return self.updates(self.steps) * self.settings.batch_size

    @property
    def warming_up(self) -> bool:
        return self.warmed < self.settings.discriminator_warmup_steps

    @property
    def last(self) -> Progress:
        """The progress of the previous step, which log lines report."""
        return Progress(self.steps - 1, self.length)

    def progress(self) -> float:
        """Returns the share of the run that is done; 1 or more at its end."""
        return self.settings.end.progress(self.steps, self.images, self.seconds)

    def is_over(self) -> bool:
        """Whether `progress` is 1 or more after the warm-up, in the least time, since it is asked at every step."""
        return self.steps >= self.end_step or self.seconds >= self.end_seconds

    def ended_by(self) -> str:
        """Returns the setting that ends the run, with its value."""
        shares = self.settings.end.shares(self.steps, self.images, self.seconds)
        name = max(shares, key=shares.__getitem__)
        if shares[name] < 1:
            name = "patience"
        return f"train.{name}={show(getattr(self.settings, name))}"

    def steps_until(self, end: End) -> int | None:
        """Returns the generator updates until `end` is reached; None if only time ends the run."""
        warm_up, size = self.settings.discriminator_warmup_steps, self.settings.batch_size
        return end.steps(lambda steps: (warm_up + self.objective.discriminator_updates(steps)) * size)

    @property
    def sample_is_due(self) -> bool:
        return self.is_due(self.settings.sample_every, self.settings.sample_every_images)

    @property
    def evaluation_is_due(self) -> bool:
        """Whether the last step reached a regular evaluation; independent of the evaluation at the end of the run."""
        return self.is_due(self.settings.evaluate_every, self.settings.evaluate_every_images)

    def is_due(self, every_steps: int, every_images: int | None) -> bool:
        """Returns True if the last step reached a multiple of `every_steps`, or of `every_images` if given."""
        if every_images is None:
            return every_steps > 0 and self.steps % every_steps == 0
        before = self.updates(self.steps - 1) * self.settings.batch_size if self.steps else 0
        return self.images // every_images > before // every_images

    def state_dict(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "warmed": self.warmed,
            "rollbacks": self.rollbacks,
            "seconds": self.seconds,
            "length": self.length,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps, self.warmed, self.rollbacks = state["steps"], state["warmed"], state["rollbacks"]
        self.seconds, self.length = state["seconds"], state["length"]
