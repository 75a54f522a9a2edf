"""The name of a run: what was typed, without what changes nothing."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from gan_runner.cli.compose import compose, parse_overrides, quoted
from gan_runner.cli.places import OUTPUTS
from gan_runner.errors import ConfigError
from gan_runner.records.folder import RunFolder
from gan_runner.records.groups import CHOICES
from gan_runner.records.identity import chosen_name, flatten, folder_name, identity, show


def run_path(cfg: DictConfig, config: Mapping[str, Any]) -> Path:
    """The run folder; config: `cfg`, resolved."""
    return OUTPUTS / study(config) / run_name(cfg, config)


def study(config: Mapping[str, Any]) -> str:
    if config.get("study") is None:
        return ""
    name = chosen_name("study", config["study"])
    if RunFolder(OUTPUTS / name).config.exists():
        raise ConfigError(f"study={name} is the name of a run in {OUTPUTS}; choose another.")
    return name


def run_name(cfg: DictConfig, config: Mapping[str, Any]) -> str:
    if config.get("name") is not None:
        return chosen_name("name", config["name"])
    typed = typed_overrides()
    kept = with_effect({key: str(override.input_line) for key, override in typed.items()})
    return folder_name([setting(typed[key], cfg) for key in kept])


def typed_overrides() -> dict[str, Override]:
    """What was typed, by key, in its order; of a key that was typed twice, the last."""
    typed: dict[str, Override] = {}
    for override in parse_overrides(HydraConfig.get().overrides.task):
        for leaf in spread(override):
            typed.pop(leaf.key_or_group, None)
            typed[leaf.key_or_group] = leaf
    return typed


def spread(override: Override) -> list[Override]:
    """`train={batch_size:32}` is `train.batch_size=32`: Hydra merges a dictionary into what is there."""
    value = None if override.is_delete() else override.value()
    if isinstance(value, list) and override.key_or_group in CHOICES:
        raise ConfigError(f"{override.key_or_group}={show(value)} should be one choice.")
    if not isinstance(value, dict) or not value:
        return [override]
    return parse_overrides(f"++{override.key_or_group}.{key}={quoted(item)}" for key, item in flatten(value).items())


def with_effect(typed: dict[str, str]) -> list[str]:
    """The keys of the overrides without which another result-changing configuration is composed."""
    kept, primary = dict(typed), HydraConfig.get().job.config_name
    assert primary is not None  # every command names one
    target = identity(compose(kept.values(), primary))
    for key in sorted(kept):
        without = [text for other, text in kept.items() if other != key]
        with contextlib.suppress(ConfigError):  # another override depends on this one: it has an effect
            if identity(compose(without, primary)) == target:
                del kept[key]
    return list(kept)


def setting(override: Override, cfg: DictConfig) -> str:
    """key=value with the value as it was composed: 1e-4 and 0.0001 read alike."""
    key = override.get_key_element().lstrip("+")
    if override.is_delete():
        return f"~{key.lstrip('~')}"
    value = OmegaConf.select(cfg, override.key_or_group)
    if value is None or OmegaConf.is_config(value):  # the choice of a group, a list, a node
        value = override.value()
    return f"{key}={show(value)}"
