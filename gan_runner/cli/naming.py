"""The name of a run: the typed overrides, without those that have no effect."""

import contextlib
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from gan_runner.cli.places import OUTPUTS
from gan_runner.cli.request import Request
from gan_runner.errors import ConfigError
from gan_runner.records.folder import RunFolder
from gan_runner.records.identity import (
    NAMED,
    NEW_DEFAULTS,
    changed,
    chosen_name,
    flatten,
    folder_name,
    identity,
    show,
)

PLAIN = r"[\w.\-\[\],]+"  # a value that needs no quotes


def run_path(request: Request) -> Path:
    """Returns the path of the run folder."""
    return OUTPUTS / study(request.config) / run_name(request)


def study(config: Mapping[str, Any]) -> str:
    if config.get("study") is None:
        return ""
    name = chosen_name("study", config["study"])
    if RunFolder(OUTPUTS / name).config.exists():
        raise ConfigError(f"study={name} is the name of a run in {OUTPUTS}; choose another.")
    return name


def run_name(request: Request) -> str:
    if request.config.get("name") is not None:
        return chosen_name("name", request.config["name"])
    return folder_name([setting(request.typed[key], request.composed) for key in with_effect(request)])


def check_defaults(folder: RunFolder, request: Request) -> None:
    """ConfigError if the folder was begun under other defaults than today's; its sentence gives the fix."""
    typed, config = request.typed, request.config
    found = changed(folder.read_config() or config, config)
    named = "name" in typed
    if not found or found.keys() & typed.keys() or (named and not found.keys() <= set(NEW_DEFAULTS)):
        return
    if "absent" in (was for was, _ in found.values()):
        return
    needed = {} if named else {"name": folder.path.name}
    needed |= {key: show(was) for key, (was, _) in found.items()}
    way = shlex.join(f"{key}={value if re.fullmatch(PLAIN, value) else doubly(value)}" for key, value in needed.items())
    phrases = [f"{key} was {show(was)}, the default is now {show(now)}" for key, (was, now) in found.items()]
    raise ConfigError(
        f"{folder.path} was begun under other defaults: {'; '.join(phrases)}; go on with `{way}`, or start over with "
        f"train.fresh=true."
    )


def doubly(value: str) -> str:
    """Returns the value in double quotes for Hydra, which can stand within the shell's single quotes."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def with_effect(request: Request) -> list[str]:
    """Returns the keys of the overrides with an effect: without one of them the identity of the run changes."""
    typed = request.typed.items()  # without the tracker, whose settings need it: dropped one by one, it would stay
    kept = {key: str(override.input_line) for key, override in typed if key.split(".")[0] != "tracker"}
    target = effect(request.recompose(kept.values()))
    for key in sorted(kept):
        without = [text for other, text in kept.items() if other != key]
        with contextlib.suppress(ConfigError):  # another override needs this one, so this one has an effect
            if effect(request.recompose(without)) == target:
                del kept[key]
    return list(kept)


def effect(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that are part of a name."""
    leaves = flatten(config)
    return identity(config) | {key: leaves.get(key) for key in NAMED}


def setting(override: Override, cfg: DictConfig) -> str:
    """Returns key=value with the composed value, so that 1e-4 and 0.0001 give the same text."""
    key = override.get_key_element().lstrip("+")
    if override.is_delete():
        return f"~{key.lstrip('~')}"
    value = OmegaConf.select(cfg, override.key_or_group)
    if value is None or OmegaConf.is_config(value):  # the override is a choice of a group, a list or a node
        value = override.value()
    return f"{key}={show(value)}"
