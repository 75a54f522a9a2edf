"""The top level of a configuration: its groups and its other settings."""

from collections.abc import Mapping
from typing import Any

from gan_runner.errors import ConfigError, nearest

DESCRIBING = ("model", "loss", "dataset", "augment", "optimizer", "device", "experiment")  # choices that describe a run
CHOICES = (*DESCRIBING, "tracker")  # groups with one chosen option
NODES = ("train", "model", "loss", "dataset", "augment", "optimizer", "metric", "device")  # in every configuration
SETTINGS = "gan_runner.game.settings.Settings"  # the class of the group `train`
TOP_LEVEL = ("name", "study", "seed", *NODES, "tracker")
ADDED_LATER = ("tracker",)  # older configurations lack them


def check_groups(config: Mapping[str, Any]) -> None:
    """ConfigError unless the top level has exactly the known keys, and every group is a mapping."""
    mistakes = [
        f"{key!r} is no setting{nearest(key, TOP_LEVEL)}; at the top there are {', '.join(TOP_LEVEL)}."
        for key in config
        if key not in TOP_LEVEL
    ]
    mistakes += [f"{key} is missing." for key in TOP_LEVEL if key not in (*config, *ADDED_LATER)]
    groups = [key for key in (*NODES, "tracker") if key in config]
    mistakes += [
        f"{key}={config[key]} should be a group of settings." for key in groups if not isinstance(config[key], Mapping)
    ]
    if mistakes:
        raise ConfigError(*mistakes)
