"""The metrics that a user requests for a run that exists, as a configuration."""

import copy
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from gan_runner.assembly.structure import OF_METRICS
from gan_runner.cli.compose import compose
from gan_runner.cli.places import choices_of
from gan_runner.cli.typed import quoted
from gan_runner.errors import ConfigError, nearest
from gan_runner.records.identity import differences, flatten
from gan_runner.records.scores import REPORT


class RequestedMetrics(NamedTuple):
    """Which metrics are computed, and how."""

    metric: Sequence[str] | None = None  # names; None: the metrics of the run
    split: str = REPORT
    n_fake: int | None = None
    n_real: int | None = None
    set: Sequence[str] = ()  # settings such as metric.fid.weights=


def configured(requested: RequestedMetrics, config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the run's configuration with the requested metrics. ConfigError if --set changes its result."""
    found = copy.deepcopy({**config, "metric": metrics(requested, config["metric"])})
    found["train"] |= {"select_by": None, "patience": None}
    found["metric"]["cache_dir"] = cache_folder(found)
    for setting in requested.set:
        assign(found, setting)
    changed = differences(config, found)
    if changed:
        raise ConfigError(f"--set would make another run of it: {'; '.join(changed)}.")
    return found


def cache_folder(config: Mapping[str, Any]) -> Any:
    """Returns the cache of this machine; the run may come from another one."""
    return os.environ.get("GAN_RUNNER_CACHE") or config["metric"].get("cache_dir")


def assign(config: dict[str, Any], setting: str) -> None:
    key, equals, value = setting.partition("=")
    known = flatten(config)
    if not equals or key not in known:
        raise ConfigError(f"--set {setting} is no setting=value of this run{nearest(key, known)}.")
    *path, last = key.split(".")
    for part in path:
        config = config[part]
    try:
        config[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {setting} cannot be read as YAML; put special characters in quotes.") from error


def metrics(requested: RequestedMetrics, own: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the group `metric`: all metrics of the run, or those that --metric names.

    A named metric has the run's settings, or those of its file in conf/metric/ if the run lacks it.
    """
    shared = {name: own[name] for name in OF_METRICS if name in own}
    nodes = {name: dict(node) for name, node in own.items() if name not in OF_METRICS}
    if requested.metric is not None:
        known = choices_of("metric")
        for name in requested.metric:
            if name not in (*known, *nodes):
                raise ConfigError(f"--metric {name} is none of {', '.join(known)}{nearest(name, known)}.")
        published_names = [name for name in requested.metric if name in known and name not in nodes]
        published = compose(
            [f"metric=[{','.join(published_names)}]", *(f"metric.{k}={quoted(v)}" for k, v in shared.items())]
        )
        nodes = {name: nodes[name] if name in nodes else published["metric"][name] for name in requested.metric}
    if not nodes:
        raise ConfigError("this run has no metrics of its own; name some with --metric, as --metric classifier_fid.")
    for name in ("n_fake", "n_real"):
        count = getattr(requested, name)
        if count is not None:
            shared[name] = count
            nodes = {key: {**node, name: count} if name in node else node for key, node in nodes.items()}
    return {**shared, **nodes}
