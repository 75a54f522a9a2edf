"""Checks of the keys of a configuration, before any object is built."""

from collections.abc import Mapping

from gan_runner.assembly.make import Config, find_mistakes, unknown_settings
from gan_runner.errors import ConfigError, nearest
from gan_runner.nn.normalisation import Normalisation
from gan_runner.records.groups import SETTINGS, check_groups

PARTS = {
    "model": ("latent", "generator", "discriminator"),
    "optimizer": ("generator", "discriminator", "schedule"),
}
MODEL = (*PARTS["model"], "weights", "pack")  # `weights` and `pack` are optional
OF_METRICS = ("n_real", "n_fake", "seed", "cache_dir")  # settings that all metrics share


def check_structure(config: Config) -> None:
    """ConfigError unless all keys at the top, and in groups of several objects, are known and complete."""
    check_groups(config)
    unknown = [key for key in config["model"] if key not in MODEL]
    mistakes = [f"model has no part {key!r}{nearest(key, MODEL)}." for key in unknown]
    for group, parts in PARTS.items():
        mistakes += [
            f"{group}.{part} is missing." for part in parts if not isinstance(config[group].get(part), Mapping)
        ]
    seed = config["seed"]
    if not isinstance(seed, int) or isinstance(seed, bool):
        mistakes.append(f"seed={seed!r} should be a whole number.")
    mistakes += find_mistakes({"_target_": SETTINGS, **config["train"]}, "train", set())
    weights, pack = config["model"].get("weights", {}), config["model"].get("pack", 1)
    mistakes += [
        f"metric.{name}={node} is neither a metric nor one of {', '.join(OF_METRICS)}."
        for name, node in config["metric"].items()
        if name not in OF_METRICS and not isinstance(node, Mapping)
    ]
    if isinstance(weights, Mapping):
        mistakes += unknown_settings(Normalisation, weights, "model.weights", set())
    else:
        mistakes.append(f"model.weights={weights} should be a group of settings.")
    if not isinstance(pack, int) or isinstance(pack, bool) or pack < 1:
        mistakes.append(f"model.pack={pack} should be a whole number, 1 or more.")
    if mistakes:
        raise ConfigError(*mistakes)
