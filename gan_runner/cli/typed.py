"""Rules that depend on which settings the user typed, and not only on their values."""

from collections.abc import Iterable, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from gan_runner.cli.places import choices_of
from gan_runner.errors import ConfigError
from gan_runner.game.settings import TOTALS
from gan_runner.records.groups import CHOICES
from gan_runner.records.identity import flatten, show

SHARED = "base/"  # the folder of a group with the files that its choices share
EITHER = (("train.sample_every", "train.sample_every_images"), ("train.evaluate_every", "train.evaluate_every_images"))


def parse_overrides(overrides: Iterable[str]) -> list[Override]:
    return list(OverridesParser.create().parse_overrides(list(overrides)))


def quoted(value: Any) -> str:
    """Returns a value as text for an override: strings in single quotes."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" if isinstance(value, str) else show(value)


def leaves(overrides: Sequence[Override]) -> dict[str, Override]:
    """Returns overrides of single settings by key, in the order of typing; the last override of a key wins."""
    found: dict[str, Override] = {}
    for override in overrides:
        for leaf in spread(override):
            found.pop(leaf.key_or_group, None)
            found[leaf.key_or_group] = leaf
    return found


def spread(override: Override) -> list[Override]:
    """Splits `train={batch_size:32}` into overrides such as `train.batch_size=32`, since Hydra merges a dictionary."""
    value = None if override.is_delete() else override.value()
    if isinstance(value, list) and override.key_or_group in CHOICES:
        raise ConfigError(f"{override.key_or_group}={show(value)} should be one choice.")
    if not isinstance(value, dict) or not value:
        return [override]
    return parse_overrides(f"++{override.key_or_group}.{key}={quoted(item)}" for key, item in flatten(value).items())


def check_names(overrides: Iterable[Override]) -> None:
    """ConfigError if the value of a group cannot be the name of a choice."""
    for override in overrides:
        group = override.key_or_group
        if group not in (*CHOICES, "metric") or override.is_delete() or override.is_sweep_override():
            continue
        value = override.value()
        names = value if isinstance(value, list) else [value]
        if isinstance(value, dict) or value is None or all(isinstance(name, str) for name in names):
            continue
        some = "one or several, as [a,b]," if group == "metric" else "one"
        raise ConfigError(f"{group}={show(value)} should be {some} of {', '.join(choices_of(group))}.")


def check_typed(typed: Iterable[str]) -> None:
    """ConfigError if a choice is a shared file of base/, which Hydra accepts, or if a pair of EITHER is set."""
    found = leaves(parse_overrides(typed))
    for group in CHOICES & found.keys():
        override = found[group]
        choice = None if override.is_delete() else override.value()
        if isinstance(choice, str) and choice.startswith(SHARED):
            raise ConfigError(f"{group}={choice} is none of {', '.join(choices_of(group))}.")
    for one, other in EITHER:
        if one in found and other in found:
            raise ConfigError(f"{one} and {other} say the same thing twice; give one of them.")


def keep_typed_totals(config: DictConfig, overrides: Sequence[Override]) -> None:
    """A typed `train.total_*` removes the totals that were not typed, those of an experiment included.

    If only seconds are typed, schedules keep the length that the removed totals gave them.
    """
    totals = {f"train.{name}": name for name in TOTALS}
    mine = {totals[key] for key, leaf in leaves(overrides).items() if key in totals and is_given(leaf)}
    train = config.get("train")
    if not mine or not isinstance(train, DictConfig):
        return
    if mine == {"total_seconds"} and train.get("schedule_steps") is train.get("schedule_images") is None:
        train["schedule_steps"], train["schedule_images"] = train.get("total_steps"), train.get("total_images")
    for name in set(TOTALS) - mine:
        train[name] = None


def is_given(override: Override) -> bool:
    return not override.is_delete() and override.value() is not None
