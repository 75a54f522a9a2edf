"""The identity of a run: the settings that change its result, their hash, and its folder name."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from gan_runner.errors import ConfigError

# Settings that do not change the result: they are part of neither the name nor the identity of a run.
WITHOUT_EFFECT = (
    *(
        "train.total_*",
        "train.schedule_*",
        "train.*_every",
        "train.*_every_images",
        "train.keep_checkpoints",
        "train.grid",
        "train.select_by",
        "train.from_weights",
    ),
    "train.patience",
    *("train.on_divergence", "train.fresh", "dataset.root", "dataset.cache_dir", "device.kind", "device.data"),
    "device.graphs",
    *("metric", "metric.*", "tracker", "tracker.*", "study", "name", "hydra", "hydra.*"),
)
# Part of the name only: a dataset may move, and the checkpoint identifies the content of its images.
PLACES = ("dataset.path",)
NAMED = ("train.from_weights",)  # without effect, but part of the name: the hash of the weights has the effect
# Settings that older folders lack, with the value that keeps their behaviour. Every new setting belongs here, and its
# constructor has the same default.
ADDED: dict[str, Any] = {
    "train.discriminator_warmup_steps": 0,
    "loss.n_critic_burst": None,
    "loss.instance_noise": 0.0,
    "loss.simultaneous": False,
    "device.sync_batch_norm": False,
    "model.pack": 1,
    "train.from_weights_hash": None,
    "train.freeze.generator": 0,
    "train.freeze.discriminator": 0,
}
NEW_DEFAULTS = ("model.discriminator.norm",)  # settings with another default than in older folders
LONGEST = 200  # maximum bytes of a folder name; file systems allow 255
SAFE = "letters, digits and = , . _ + -"


def flatten(config: Any, path: str = "") -> dict[str, Any]:
    """Nested mappings -> dotted key: value. An empty mapping stays a value."""
    if not isinstance(config, Mapping) or not config:
        return {path: config}
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        leaves |= flatten(value, f"{path}.{key}" if path else str(key))
    return leaves


def canonical(value: Any) -> Any:
    """Returns an equal form for equal settings: 1 for 1.0, a list for a tuple."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    return value


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the resolved settings that change the result, by dotted key, completed by those in ADDED."""
    leaves = flatten(config)
    lacking = {key: value for key, value in ADDED.items() if isinstance(config.get(key.split(".")[0]), Mapping)}
    return {
        key: canonical(value)
        for key, value in sorted((lacking | leaves).items())
        if not any(fnmatchcase(key, pattern) for pattern in WITHOUT_EFFECT)
    }


def config_hash(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity(config), default=str).encode()).hexdigest()[:16]


def changed(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Returns key -> (stored value, requested value) for each setting that differs."""
    one, other = identity(stored), identity(requested)
    return {
        key: (one.get(key, "absent"), other.get(key, "absent"))
        for key in sorted(one.keys() | other.keys())
        if one.get(key, ...) != other.get(key, ...) and key not in PLACES
    }


def differences(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> list[str]:
    """Returns a phrase for each setting that differs."""
    return [f"{key} was {show(was)}, now {show(now)}" for key, (was, now) in changed(stored, requested).items()]


def show(value: Any) -> str:
    """Returns a value as typed on the command line; equal values have equal texts."""
    value = canonical(value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return f"[{','.join(show(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{show(item)}' for key, item in value.items())}}}"
    return str(value)


def folder_name(settings: list[str]) -> str:
    """Returns a safe file name from `key=value` strings; `default` if there are none."""
    name = escape(",".join(sorted(settings))) or "default"
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:10]
    return f"{name[: LONGEST - len(digest) - 1].rstrip('%')}-{digest}"


def escape(name: str) -> str:
    """Percent-encodes every byte outside letters, digits and =,._+- and a leading dot; distinct names stay distinct."""
    safe = re.sub(rb"[^A-Za-z0-9=,._+-]", lambda match: b"%%%02X" % ord(match[0]), os.fsencode(name)).decode()
    return re.sub(r"^\.", "%2E", safe)


def chosen_name(setting: str, value: Any) -> str:
    """Returns a folder name typed by the user; ConfigError if it is not safe (it is never changed)."""
    name = str(value)
    if not re.fullmatch(rf"(?!\.)[A-Za-z0-9=,._+-]{{1,{LONGEST}}}", name):
        raise ConfigError(
            f"{setting}={name[:80]!r} is no folder name; use 1 to {LONGEST} of {SAFE}, not beginning with a dot."
        )
    return name
