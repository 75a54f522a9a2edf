"""Device, dataset, players and evaluator from a configuration."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from gan_runner.assembly.make import Config, make
from gan_runner.assembly.structure import OF_METRICS
from gan_runner.dataset.images import ImageDataset
from gan_runner.device import Device
from gan_runner.distributed.ranks import Ranks
from gan_runner.errors import ConfigError
from gan_runner.evaluation.evaluator import Evaluator
from gan_runner.game.player import Player, Scheduled, now
from gan_runner.metric.cache import Cache
from gan_runner.metric.inputs import Subject
from gan_runner.protocols import Tracker
from gan_runner.schedule import Progress, Schedule

SCHEDULE = "gan_runner.schedule.Schedule"
END = 2**62  # a step beyond the end of every schedule


def make_device(config: Config, ranks: Ranks) -> Device:
    device: Device = make(config["device"], "device", ranks=ranks)
    if device.ranks is not ranks:
        raise ConfigError(f"device: {type(device).__name__} should take `ranks` and give them to Device.")
    return device


def make_dataset(config: Config) -> ImageDataset:
    dataset = make(config["dataset"], "dataset")
    if not isinstance(dataset, ImageDataset):
        raise ConfigError(
            f"dataset: {type(dataset).__name__} is no ImageDataset; derive it from "
            f"gan_runner.dataset.images.ImageDataset, and give it images, labels and the sizes of the splits."
        )
    if not len(dataset.split("train")):
        raise ConfigError("dataset has no image in its training split; name one that has.")
    return dataset


def make_tracker(config: Config) -> Tracker | None:
    """Returns the tracker of the group `tracker`; None for tracker=none, and for an older configuration."""
    node = config.get("tracker")
    if not node:
        return None
    tracker = make(node, "tracker")
    if not isinstance(tracker, Tracker):
        raise ConfigError(
            f"tracker: {type(tracker).__name__} is no tracker: it lacks kind, open, holds, send or close."
        )
    return tracker


def make_player(config: Config, name: str, network: nn.Module, schedule: Any, device: Device) -> Player:
    path, node = f"optimizer.{name}", config["optimizer"][name]
    rate = node.get("lr")
    if isinstance(rate, Mapping):
        raise ConfigError(f"{path}.lr should be a number; optimizer.schedule multiplies it as training goes on.")
    if isinstance(rate, int | float) and not rate >= 0:
        raise ConfigError(f"{path}.lr={rate} must be 0 (which holds the {name}) or more.")
    scheduled = make_schedules(node, path)
    first, last = ({key: now(value, Progress(step, 1)) for key, value in scheduled.items()} for step in (0, END))
    if scheduled:  # builds a trial optimizer, so that an invalid end value is refused before training
        make({**node, **last}, path, params=[torch.zeros(1)])
    optimizer = make({**node, **first}, path, params=network.parameters())
    return Player(name, network, optimizer, schedule, device, scheduled)


def make_schedules(node: Config, path: str) -> dict[str, Scheduled]:
    """Returns the settings of an optimizer in which a schedule replaces a number."""
    found: dict[str, Scheduled] = {}
    for key, value in node.items():
        parts = value if isinstance(value, list) else [value]
        if any(isinstance(part, Mapping) for part in parts):
            made = [make(p, f"{path}.{key}") if isinstance(p, Mapping) else p for p in parts]
            if not all(isinstance(part, int | float | Schedule) for part in made):
                raise ConfigError(f"{path}.{key} should be a number, or a schedule: _target_: {SCHEDULE}.")
            found[key] = made if isinstance(value, list) else made[0]
    return found


def make_evaluator(
    config: Config,
    dataset: ImageDataset,
    subject: Subject,
    device: Device,
    precision: str,
    splits: Sequence[str],
) -> Evaluator | None:
    """Returns the evaluator of the metrics in the group `metric`; None if it has none."""
    shared = {name: config["metric"].get(name) for name in OF_METRICS}
    nodes = {name: node for name, node in config["metric"].items() if name not in OF_METRICS}
    seed = shared["seed"]
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ConfigError(f"metric.seed={seed!r} should be a whole number.")
    metrics = {name: make(node, f"metric.{name}") for name, node in nodes.items()}
    for name, metric in metrics.items():
        if not callable(metric):
            raise ConfigError(f"metric.{name}: {type(metric).__name__} is no metric: it lacks __call__(view).")
        for count in ("n_real", "n_fake"):
            images = getattr(metric, count, None) or 0
            device.require_memory(f"metric.{name}.{count}={images}", images * dataset.spec.size)
    if not metrics:
        return None
    cache = Cache(str(shared["cache_dir"] or ""))
    return Evaluator(metrics, dataset, subject, cache, seed, device.torch, precision, splits)
