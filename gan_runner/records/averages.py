"""Names of the averages of one run, by their half-lives in images.

With several half-lives the first average is the main one: its checkpoint entry and its values have their plain names.
Those of another average end in its half-life: ema/100000, classifier_fid/100000.
"""

from typing import Any

from gan_runner.errors import ConfigError
from gan_runner.records.identity import show

MAIN = ""


def half_lives(setting: Any) -> list[str]:
    """Returns the half-lives of `train.ema_half_life_images` as text; [] for a schedule."""
    values = setting if isinstance(setting, list) else [setting]
    return [show(value) for value in values if isinstance(value, int | float)]


def averages(setting: Any) -> list[str]:
    """Returns the names of all averages, the main one first."""
    return [MAIN, *half_lives(setting)[1:]]


def average_of(setting: Any, half_life: str) -> str:
    """Returns the name of the average with this half-life. ConfigError if the run has none."""
    there = half_lives(setting)
    if half_life not in there:
        known = ", ".join(there) or "a schedule"
        raise ConfigError(f"--average={half_life} is no average of this run; its half-lives in images: {known}.")
    return averages(setting)[there.index(half_life)]


def named(name: str, average: str) -> str:
    """Returns the name of an entry or a value of this average."""
    return f"{name}/{average}" if average else name
