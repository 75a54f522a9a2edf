"""Where a run is: counters, and everything that follows from them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from gan_runner.game.settings import End, Settings
from gan_runner.loss.objective import Objective
from gan_runner.records.identity import show
from gan_runner.schedule import Progress


class Now(NamedTuple):
    """One moment of the training, the same for all updates of a step."""

    step: int  # generator updates done
    updates: range  # the discriminator updates of this step, numbered over the whole run, warm-up included
    images: int  # real images that they show
    progress: Progress  # what schedules are a function of
    warm_up: bool = False  # discriminator updates before the first step, which no generator answers


class Clock:
    """Steps, warm-up updates, rollbacks and seconds so far, and the length that schedules run over."""

    def __init__(self, settings: Settings, objective: Objective):
        self.settings, self.objective = settings, objective
        self.steps = 0  # generator updates done
        self.warmed = 0  # discriminator updates done before the first of them
        self.rollbacks = 0  # returns to a checkpoint after a divergence
        self.seconds = 0.0  # of training, over all sessions; kept by the stopwatch
        self.length = self.steps_until(settings.schedule_end)  # of the first start

    def now(self) -> Now:
        return self.moment(range(self.updates(self.steps), self.updates(self.steps + 1)))

    def warm_up(self) -> Now:
        """The moment of the next warm-up update."""
        return self.moment(range(self.warmed, self.warmed + 1))._replace(warm_up=True)

    def moment(self, updates: range) -> Now:
        return Now(self.steps, updates, len(updates) * self.settings.batch_size, Progress(self.steps, self.length))

    def tick(self, now: Now) -> None:
        """`now` is over."""
        self.warmed += now.warm_up
        self.steps += not now.warm_up

    def updates(self, steps: int) -> int:
        """Discriminator updates up to the end of generator step `steps`."""
        return self.warmed + self.objective.discriminator_updates(steps)

    def spend(self, seconds: float) -> None:
        """seconds: of training so far, over all sessions."""
        self.seconds = seconds

    def roll_back(self, number: int) -> None:
        """After a checkpoint was loaded: from here on other noise is drawn."""
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
        """That of the step before, which log lines report."""
        return Progress(self.steps - 1, self.length)

    def progress(self) -> float:
        """Share of the run that is done; 1 or more at its end."""
        return self.settings.end.progress(self.steps, self.images, self.seconds)

    def ended_by(self) -> str:
        """The setting that ends the run, with its value."""
        shares = self.settings.end.shares(self.steps, self.images, self.seconds)
        name = max(shares, key=shares.__getitem__)
        if shares[name] < 1:
            name = "patience"
        return f"train.{name}={show(getattr(self.settings, name))}"

    def steps_until(self, end: End) -> int | None:
        """Generator updates until its totals; None where time alone ends it."""
        warm_up, size = self.settings.discriminator_warmup_steps, self.settings.batch_size
        return end.steps(lambda steps: (warm_up + self.objective.discriminator_updates(steps)) * size)

    @property
    def sample_is_due(self) -> bool:
        return self.is_due(self.settings.sample_every, self.settings.sample_every_images)

    @property
    def evaluation_is_due(self) -> bool:
        """Be this the last step or not."""
        return self.is_due(self.settings.evaluate_every, self.settings.evaluate_every_images)

    def is_due(self, every_steps: int, every_images: int | None) -> bool:
        """Did the last step reach a multiple?"""
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
