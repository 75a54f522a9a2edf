"""From a configuration to a Run. The one place outside the doors that knows Hydra."""

import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from hydra.utils import get_object
from torch import nn

from gan_runner.assembly import rules as compat
from gan_runner.dataset.images import ImageDataset
from gan_runner.device import Device
from gan_runner.distributed.ranks import ALONE, Ranks
from gan_runner.errors import ConfigError, nearest
from gan_runner.evaluation.evaluator import REPORT, SELECTION, Evaluator, subject_of
from gan_runner.game.average import EMA
from gan_runner.game.player import Player, Scheduled, now
from gan_runner.metric.cache import Cache
from gan_runner.metric.view import Subject
from gan_runner.nn.normalisation import Weights
from gan_runner.protocols import DataDependent
from gan_runner.schedule import Progress, Schedule
from gan_runner.spec import Batch, ImageSpec
from gan_runner.training.run import Run, Settings

Config = Mapping[str, Any]
TOP_LEVEL = ("name", "study", "seed", "train", "model", "loss", "dataset", "augment", "optimizer", "metric", "device")
PARTS = {
    "model": ("latent", "generator", "discriminator"),
    "optimizer": ("generator", "discriminator", "schedule"),
}
OF_METRICS = ("n_real", "n_fake", "seed", "cache_dir")  # settings that all metrics share
MODEL = (*PARTS["model"], "weights")  # which may be left out
PLAIN = {bool, int, float, str, type(None)}
SCHEDULE = "gan_runner.schedule.Schedule"
SHOWN = 10_000  # training images, at most, that a network may be initialised from
END = 2**62  # a step after every schedule
FLOAT = 4  # bytes
COPIES = 5  # of the weights, in training: themselves, gradients, two of Adam, the average


# ---- one config node -> one object


def make(node: Any, path: str, **runtime: Any) -> Any:
    """Builds the object that a node with `_target_` describes, its children first.

    runtime: live objects for the constructor; those it does not ask for are left out.
    All mistakes below the node are reported together: unknown, missing and mistyped settings.
    """
    mistakes = find_mistakes(node, path, set(runtime))
    if not isinstance(node, Mapping) or "_target_" not in node:
        mistakes = [f"{path}._target_ is missing: it should name the class, as module.Class."]
    if mistakes:
        raise ConfigError(*mistakes)
    return construct(node, path, runtime)


def construct(node: Any, path: str, runtime: Config) -> Any:
    if isinstance(node, list):
        return [construct(item, f"{path}[{i}]", {}) for i, item in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    settings = {key: construct(value, f"{path}.{key}", {}) for key, value in node.items() if key != "_target_"}
    if "_target_" not in node:
        return settings
    return call(get_object(node["_target_"]), path, settings, runtime)


def call(target: Callable[..., Any], path: str, settings: Config, runtime: Config) -> Any:
    """target(settings, runtime), what its constructor refuses told as a mistake in the setting at `path`."""
    parameters, hints = signature(target)
    converted = {key: convert(value, hints.get(key))[0] for key, value in settings.items()}
    asked = {key: value for key, value in runtime.items() if key in parameters}
    try:
        return target(**converted, **asked)
    except (ValueError, TypeError, IndexError, RuntimeError) as error:
        sentence = str(error).split("\n")[0]
        named = re.split(r"[.=]", sentence)[0] in parameters
        raise ConfigError(f"{path}{'.' if named else ': '}{sentence}") from error


def find_mistakes(node: Any, path: str, runtime: set[str]) -> list[str]:
    """Sentences on every setting at or below `path` that its constructor would not understand."""
    if isinstance(node, list):
        return [m for i, item in enumerate(node) for m in find_mistakes(item, f"{path}[{i}]", set())]
    if not isinstance(node, Mapping):
        return []
    below = [m for key, value in node.items() for m in find_mistakes(value, f"{path}.{key}", set())]
    return below + (setting_mistakes(node, path, runtime) if "_target_" in node else [])


def setting_mistakes(node: Config, path: str, runtime: set[str]) -> list[str]:
    try:
        target = get_object(node["_target_"])
    except Exception as error:  # noqa: BLE001 (an import of the user's module can raise anything)
        reason = str(error.__cause__ or error).split("\n")[0]
        return [f"{path}._target_={node['_target_']} cannot be found ({reason}); it should be module.Class."]
    if not isinstance(target, type):
        return [f"{path}._target_={node['_target_']} is no class; name a class."]
    return unknown_settings(target, {k: v for k, v in node.items() if k != "_target_"}, path, runtime)


def unknown_settings(target: type, settings: Config, path: str, runtime: set[str]) -> list[str]:
    parameters, hints = signature(target)
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return []
    own = [name for name in parameters if name not in runtime]
    mistakes = [
        f"{path}: {target.__name__} has no setting {key!r}{nearest(key, own)}; it has {', '.join(own) or 'none'}."
        for key in settings
        if key not in own
    ]
    required = [name for name in own if parameters[name].default is inspect.Parameter.empty]
    mistakes += [f"{path}.{name} is missing: {target.__name__} needs it." for name in required if name not in settings]
    for key, value in settings.items():
        if isinstance(value, float) and not math.isfinite(value):
            mistakes.append(f"{path}.{key}={value} should be a finite number.")
        elif key in own and not convert(value, hints.get(key))[1]:
            mistakes.append(f"{path}.{key}={value!r} should be of type {spell(hints[key])}.")
    return mistakes


def signature(target: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    parameters = dict(inspect.signature(target).parameters)
    try:
        hints = typing.get_type_hints(target.__init__ if isinstance(target, type) else target)  # type: ignore[misc]
    except NameError:  # annotations that exist for the type checker alone
        hints = {}
    return parameters, hints


def convert(value: Any, hint: Any) -> tuple[Any, bool]:
    """The value as the annotation wants it, and whether it fits: 1 becomes 1.0 for a float, 1e4 becomes 10000."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, Mapping) and set(arguments or (hint,)) <= PLAIN:
        return value, False
    if isinstance(value, Mapping) or not isinstance(value, bool | int | float | str | list | None):
        return value, True  # a nested node or a live object: its own constructor judges
    if origin in (typing.Union, types.UnionType):
        return convert_union(value, arguments)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value), True
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value), True
    if hint in (bool, int, float, str):
        return value, type(value) is hint
    if isinstance(value, list) and origin in (list, tuple, Sequence):
        fixed = origin is tuple and ... not in arguments
        items, fits = convert_items(value, [a for a in arguments if a is not ...] or [Any])
        return items, fits and (not fixed or len(items) == len(arguments))
    if hint is type(None):
        return value, value is None
    return value, origin not in (list, tuple, Sequence)


def convert_union(value: Any, arguments: tuple[Any, ...]) -> tuple[Any, bool]:
    """The first alternative that takes the value as it is, else the first that converts it."""
    tried = [convert(value, argument) for argument in arguments if argument in (bool, int, float, str, type(None))]
    tried += [convert(value, a) for a in arguments if typing.get_origin(a) is not None and isinstance(value, list)]
    fitting = [result for result, fits in tried if fits]
    if not fitting:
        return value, False
    return next((r for r in fitting if type(r) is type(value) and r == value), fitting[0]), True


def convert_items(values: list[Any], arguments: list[Any]) -> tuple[list[Any], bool]:
    """Each item by its own annotation; the last one serves the rest."""
    padded = arguments + arguments[-1:] * len(values)
    items = [convert(value, argument) for value, argument in zip(values, padded, strict=False)]
    return [item for item, _ in items], all(fits for _, fits in items)


def spell(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "").replace("collections.abc.", "")


# ---- the run


def check_structure(config: Config) -> None:
    """Only known keys at the top and in the groups that are made of several objects."""
    mistakes = [
        f"{key!r} is no setting{nearest(key, TOP_LEVEL)}; at the top there are {', '.join(TOP_LEVEL)}."
        for key in config
        if key not in TOP_LEVEL
    ]
    mistakes += [f"{key} is missing." for key in TOP_LEVEL if key not in config]
    groups = [key for key in TOP_LEVEL[3:] if key in config]
    mistakes += [
        f"{key}={config[key]} should be a group of settings." for key in groups if not isinstance(config[key], Mapping)
    ]
    if mistakes:
        raise ConfigError(*mistakes)
    strange = [key for key in config["model"] if key not in MODEL]
    mistakes += [f"model has no part {key!r}{nearest(key, MODEL)}." for key in strange]
    for group, parts in PARTS.items():
        mistakes += [
            f"{group}.{part} is missing." for part in parts if not isinstance(config[group].get(part), Mapping)
        ]
    seed = config["seed"]
    if not isinstance(seed, int) or isinstance(seed, bool):
        mistakes.append(f"seed={seed!r} should be a whole number.")
    mistakes += find_mistakes({"_target_": "gan_runner.training.run.Settings", **config["train"]}, "train", set())
    weights = config["model"].get("weights", {})
    mistakes += [
        f"metric.{name}={node} is neither a metric nor one of {', '.join(OF_METRICS)}."
        for name, node in config["metric"].items()
        if name not in OF_METRICS and not isinstance(node, Mapping)
    ]
    if isinstance(weights, Mapping):
        mistakes += unknown_settings(Weights, weights, "model.weights", set())
    else:
        mistakes.append(f"model.weights={weights} should be a group of settings.")
    if mistakes:
        raise ConfigError(*mistakes)


def build(config: Config, ranks: Ranks = ALONE, judged: Sequence[str] = (SELECTION, REPORT)) -> Run:
    """The staged assembly: every stage needs the one before it. judged: the splits that metrics are taken on."""
    check_structure(config)
    settings = construct({"_target_": "gan_runner.training.run.Settings", **config["train"]}, "train", {})
    device = make_device(config, ranks)
    device.configure()
    objective = make(config["loss"], "loss")
    dataset = ranks.in_turn(partial(make_dataset, config))
    latent, generator, discriminator = networks(config, dataset.spec, device)
    check_memory(settings, dataset.spec, latent, device)
    initialize(dataset.split("train"), generator, discriminator)
    objective.prepare(discriminator)
    for network in (generator, discriminator):
        device.place(network)
    known = {"spec": dataset.spec, "device": device.torch, "batch_size": settings.batch_size}
    augment = make(config["augment"], "augment", **known)
    ema = EMA(generator, settings.ema_half_life_images)
    classifier = EMA(discriminator, settings.ema_half_life_images) if objective.semi_supervised else None
    schedule = make(config["optimizer"]["schedule"], "optimizer.schedule")
    players = {
        name: make_player(config, name, network, schedule, device)
        for name, network in (("generator", generator), ("discriminator", discriminator))
    }
    subject = subject_of(
        dataset,
        conditional=bool(getattr(generator, "conditional", False)),
        classifies=objective.semi_supervised,
        estimate=objective.adversarial.estimate,
    )
    averaged = isinstance(settings.ema_half_life_images, Schedule) or settings.ema_half_life_images > 0
    origin = {"weights": "ema" if averaged else "live", "precision": "tf32" if device.precision == "tf32" else "fp32"}
    run = Run(
        **players,
        objective=objective,
        latent=latent,
        dataset=dataset,
        augment=augment,
        ema=ema,
        classifier=classifier,
        evaluator=make_evaluator(config, dataset, subject, device, origin, judged),
        device=device,
        settings=settings,
        seed=config["seed"],
    )
    compat.check(run)
    if run.evaluator is not None:
        ranks.in_turn(run.evaluator.prepare)
    return run


def make_evaluator(
    config: Config,
    dataset: ImageDataset,
    subject: Subject,
    device: Device,
    origin: Mapping[str, Any],
    judged: Sequence[str],
) -> Evaluator | None:
    """None where no metric is wanted."""
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
    return Evaluator(metrics, dataset, subject, cache, seed, device.torch, origin, judged)


def make_device(config: Config, ranks: Ranks) -> Device:
    device: Device = make(config["device"], "device", ranks=ranks)
    if device.ranks is not ranks:
        raise ConfigError(f"device: {type(device).__name__} should take `ranks` and give them to Device.")
    return device


def make_dataset(config: Config) -> ImageDataset:
    dataset = make(config["dataset"], "dataset")
    if not isinstance(dataset, ImageDataset):
        raise ConfigError(f"dataset: {type(dataset).__name__} is no ImageDataset; derive it from that class.")
    return dataset


def networks(config: Config, spec: ImageSpec, device: Device) -> tuple[Any, nn.Module, nn.Module]:
    """Latent prior, generator and discriminator, each initialised from the seed alone."""
    latent = make(config["model"]["latent"], "model.latent")
    generator, discriminator = (
        make_network(config, player, spec, latent, device) for player in ("generator", "discriminator")
    )
    return latent, generator, discriminator


def initialize(real: ImageDataset, *networks: nn.Module) -> None:
    for network in networks:
        if isinstance(network, DataDependent) and len(real):
            some = slice(SHOWN)
            network.initialize(
                Batch(real.decode(real.images[some]), None if real.labels is None else real.labels[some])
            )


def make_network(config: Config, player: str, spec: ImageSpec, latent: Any, device: Device) -> nn.Module:
    """One network, if there is memory for it, its weights normalised if that is wanted."""
    path, node = f"model.{player}", config["model"][player]
    device.require_memory(path, COPIES * FLOAT * count_parameters(node, path, spec=spec, latent=latent))
    device.seed(config["seed"], "initialization", player)
    network: nn.Module = make(node, path, spec=spec, latent=latent)
    call(Weights, "model.weights", config["model"].get("weights", {}), {}).normalise(player, network)
    return network


def count_parameters(node: Config, path: str, **runtime: Any) -> int:
    """Of a network of ours, without the memory for them; 0 where that cannot be known beforehand."""
    if not str(node.get("_target_")).startswith("gan_runner."):
        return 0
    try:
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in make(node, path, **runtime).parameters())
    except ConfigError:  # told when the network is made
        return 0


def check_memory(settings: Settings, spec: ImageSpec, latent: Any, device: Device) -> None:
    for name in ("batch_size", "generator_batch_size", "grid"):
        count = getattr(settings, name)
        device.require_memory(f"train.{name}={count}", FLOAT * count * (spec.size + getattr(latent, "dim", 0)))


def make_player(config: Config, name: str, network: nn.Module, schedule: Any, device: Device) -> Player:
    path, node = f"optimizer.{name}", config["optimizer"][name]
    rate = node.get("lr")
    if isinstance(rate, Mapping):
        raise ConfigError(f"{path}.lr should be a number; optimizer.schedule multiplies it as training goes on.")
    if isinstance(rate, int | float) and not rate >= 0:
        raise ConfigError(f"{path}.lr={rate} must be 0 (which holds the {name}) or more.")
    scheduled = make_schedules(node, path)
    first, last = ({key: now(value, Progress(step, 1)) for key, value in scheduled.items()} for step in (0, END))
    if scheduled:  # what the end may not be is told before the beginning
        make({**node, **last}, path, params=[torch.zeros(1)])
    optimizer = make({**node, **first}, path, params=network.parameters())
    return Player(name, network, optimizer, schedule, device, scheduled)


def make_schedules(node: Config, path: str) -> dict[str, Scheduled]:
    """Of an optimizer's settings, those in which a schedule stands where a number stands."""
    found: dict[str, Scheduled] = {}
    for key, value in node.items():
        parts = value if isinstance(value, list) else [value]
        if any(isinstance(part, Mapping) for part in parts):
            made = [make(p, f"{path}.{key}") if isinstance(p, Mapping) else p for p in parts]
            if not all(isinstance(part, int | float | Schedule) for part in made):
                raise ConfigError(f"{path}.{key} should be a number, or a schedule: _target_: {SCHEDULE}.")
            found[key] = made if isinstance(value, list) else made[0]
    return found
