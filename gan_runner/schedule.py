"""Schedules: values that change during training, such as a learning rate or the weight of a penalty."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from gan_runner.errors import choose, require


class Progress(NamedTuple):
    step: int  # generator updates done
    length: int | None  # generator updates of the run, fixed at its first start; None: only time ends the run


SHAPES = {
    "constant": lambda start, end, x: start,
    "linear": lambda start, end, x: start + (end - start) * x,
    "cosine": lambda start, end, x: end + (start - end) * (1 + math.cos(math.pi * x)) / 2,
    "exponential": lambda start, end, x: start * (end / start) ** x,
}


@dataclass(frozen=True)
class Schedule:
    """A value from `start` to `end` over `steps` generator updates (None: the whole run), after a warm-up from 0.

    start: the value after the warm-up; of optimizer.schedule a factor of the learning rate.
    warmup_steps: updates of the linear warm-up.
    hold_steps: updates for which the value stays at `start` after the warm-up.
    """

    start: float = 1.0
    end: float = 0.0  # the last value; not reached by shape=constant
    shape: str = "constant"  # constant, linear, cosine, exponential
    steps: int | None = None  # generator updates from start to end, after the warm-up and the hold; None: all
    warmup_steps: int = 0
    hold_steps: int = 0

    def __post_init__(self) -> None:
        choose("shape", self.shape, SHAPES)
        require(self.steps is None or self.steps > 0, f"steps={self.steps} must be positive, or null for the whole run")
        require(self.warmup_steps >= 0, f"warmup_steps={self.warmup_steps} must be 0 or more")
        require(self.hold_steps >= 0, f"hold_steps={self.hold_steps} must be 0 or more")
        require(self.start >= 0, f"start={self.start} must be 0 or more")
        require(self.end >= 0, f"end={self.end} must be 0 or more")
        require(
            self.shape != "exponential" or min(self.start, self.end) > 0,
            f"end={self.end} and start={self.start} must both be positive for shape=exponential",
        )

    @property
    def needs_length(self) -> bool:
        """Whether the schedule lasts for the whole run, so that it needs the length of the run."""
        return self.shape != "constant" and self.steps is None

    def __call__(self, progress: Progress) -> float:
        if progress.step < self.warmup_steps:
            return self.start * (progress.step + 1) / self.warmup_steps
        before = self.warmup_steps + self.hold_steps
        span = self.steps or max(1, (progress.length or 0) - before)
        x = min(1.0, max(0, progress.step - before) / span)
        return float(SHAPES[self.shape](self.start, self.end, x))


def valued(setting: float | Schedule, progress: Progress) -> float:
    """Returns a number unchanged, or the current value of a schedule."""
    return setting(progress) if isinstance(setting, Schedule) else setting


def check_schedulable(name: str, value: object) -> None:
    """ValueError unless `value` is a Schedule or a number that is at least 0."""
    if not isinstance(value, Schedule):
        number = isinstance(value, int | float)
        spelt = value if isinstance(value, int | float | str | dict) else type(value).__name__
        require(number, f"{name}={spelt} should be a number, or a schedule with _target_: gan_runner.schedule.Schedule")
        require(isinstance(value, int | float) and value >= 0, f"{name}={spelt} must be 0 or more")
