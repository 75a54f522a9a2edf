"""Weights of a run folder, a checkpoint, an exported file or a model hub, read without executing anything."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from gan_runner.errors import ConfigError
from gan_runner.records import checkpoint
from gan_runner.records.weights import SUFFIX, content_hash, read_weights
from gan_runner.spec import ImageSpec
from gan_runner.storage.packages import require_packages

HUB = "hf://"
KINDS = f"a run folder, a checkpoint (.pt), a file of python -m gan_runner.export ({SUFFIX}), or {HUB}owner/name"
FOR_OTHERS = (".pt2", ".onnx")  # exported programs

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Source:
    """The networks of another run. Those that it lacks are not in `networks`."""

    networks: Mapping[str, State]  # generator, discriminator, ema -> state dict
    models: Mapping[str, Mapping[str, Any]]  # player -> its settings
    spec: ImageSpec
    title: str

    @cached_property
    def hash(self) -> str:
        """The hash of all weights, independent of the path."""
        return content_hash(self.networks)


def read_source(place: str) -> Source:
    """Reads `train.from_weights`. ConfigError if there is nothing usable."""
    path = downloaded(place) if place.startswith(HUB) else Path(place).expanduser()
    if path.is_dir():
        found = checkpoint.checkpoints(path / "checkpoints")
        if not found:
            raise ConfigError(f"train.from_weights={place} is no run folder with a checkpoint; it should be {KINDS}.")
        return from_checkpoint(found[-1], place)
    if not path.is_file():
        raise ConfigError(f"train.from_weights={place} is not there; it should be {KINDS}.")
    if path.suffix in FOR_OTHERS:
        raise ConfigError(f"train.from_weights={place} is for other programs, without layers; it should be {KINDS}.")
    return from_exported(path, place) if path.suffix == SUFFIX else from_checkpoint(path, place)


def from_exported(path: Path, place: str) -> Source:
    """The exported generator is an average: it is used for the generator and for the average."""
    found = read_weights(path)
    networks = {**found.networks, **({"ema": found.networks["generator"]} if "generator" in found.networks else {})}
    return Source(networks, models_of(found.config), found.spec, f"{place}, step {found.step}")


def from_checkpoint(path: Path, place: str) -> Source:
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of torch, about another pickle protocol
            found = checkpoint.load(path)
        players = {name: found.state[name]["network"] for name in ("generator", "discriminator")}
        step, spec = found.state["counters"]["steps"], ImageSpec(**found.state["spec"])
        return Source({**players, "ema": found.state["ema"]}, models_of(found.config), spec, f"{place}, step {step}")
    except checkpoint.DAMAGE as error:
        why = checkpoint.reason(error)
        raise ConfigError(f"train.from_weights={place}: {path} is no checkpoint of gan_runner ({why}).") from error


def models_of(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Returns the settings of each player's network."""
    return {name: dict(config["model"][name]) for name in ("generator", "discriminator")}


def downloaded(place: str) -> Path:
    """Downloads the only exported file of hf://owner/name[@REVISION], or hf://owner/name[@REVISION]/FILE."""
    require_packages(f"train.from_weights={place}", "huggingface_hub")
    from huggingface_hub import hf_hub_download, list_repo_files

    parts = place.removeprefix(HUB).split("/", 2)
    if len(parts) < 2:
        raise ConfigError(f"train.from_weights={place} should be {HUB}owner/name or {HUB}owner/name/FILE{SUFFIX}.")
    name, _, revision = parts[1].partition("@")
    repository, at = f"{parts[0]}/{name}", revision or None
    try:
        names = parts[2:] or [each for each in list_repo_files(repository, revision=at) if each.endswith(SUFFIX)]
        if len(names) != 1:
            there = ", ".join(names) or "none"
            raise ConfigError(f"train.from_weights={place} should name one {SUFFIX} file; there are {there}.")
        return Path(hf_hub_download(repository, names[0], revision=at))
    except ConfigError:
        raise
    except Exception as error:  # of the hub's HTTP client, whose package depends on the version of huggingface_hub
        why = checkpoint.reason(error)
        raise ConfigError(
            f"train.from_weights={place} cannot be downloaded ({why}); check the name and the network, or give the "
            f"path of a downloaded file."
        ) from error
