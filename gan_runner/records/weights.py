"""Weights of a run in one safetensors file: the tensors of its networks, and in the header all that rebuilds them.

The header's only entry, `gan_runner`, is JSON with `format`, `config` (as config.yaml), `spec`, `step`,
`folder` and `data`.
Names of tensors are those of the network's state dict behind the player: `generator.layers.0.weight`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gan_runner.errors import ConfigError
from gan_runner.spec import ImageSpec
from gan_runner.storage.files import storing, write_atomically
from gan_runner.storage.packages import require_packages

SUFFIX = ".safetensors"
KEY, FORMAT = "gan_runner", 1
PLAYERS = ("generator", "discriminator")

Networks = Mapping[str, Mapping[str, Tensor]]  # player -> state dict


class Weights(NamedTuple):
    """Networks of a run. `config` comes from the file and is not checked: check it before anything is built."""

    networks: Networks  # the averaged generator and, where exported, the discriminator
    config: dict[str, Any]
    spec: ImageSpec
    step: int
    folder: str  # name of the run folder
    data: str | None = None  # hash of the training images, if the run stores one


def content_hash(networks: Networks) -> str:
    """Returns a hash of names, types, shapes and values of all tensors, in hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(joined(networks).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def joined(networks: Networks) -> dict[str, Tensor]:
    return {f"{player}.{name}": tensor for player, state in networks.items() for name, tensor in state.items()}


def write_weights(path: Path, weights: Weights) -> None:
    """Writes the file atomically; equal weights give equal bytes."""
    require_packages(f"{path}", "safetensors")
    from safetensors.torch import save

    header = {"format": FORMAT, **weights._asdict(), "spec": asdict(weights.spec)}
    del header["networks"]
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in joined(weights.networks).items()}
    content = save(tensors, {KEY: json.dumps(header)})
    with storing(path.parent):
        write_atomically(path, lambda file: file.write(content))


def read_weights(path: Path) -> Weights:
    """Reads a file of `write_weights`; executes nothing. ConfigError if it is none, or damaged."""
    require_packages(f"{path}", "safetensors")
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ConfigError(f"{path} is no file; name one that python -m gan_runner.export wrote.")
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()} if header else {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path} is damaged, or no safetensors file ({error}); export it anew.") from error
    if header is None:
        raise ConfigError(
            f"{path} has weights of another program: its header lacks {KEY!r}; use one of python -m gan_runner.export."
        )
    try:
        return parsed(json.loads(header), tensors)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ConfigError(f"{path} has a damaged header ({error}); export it anew.") from error


def parsed(header: Any, tensors: Mapping[str, Tensor]) -> Weights:
    """Returns the weights of a parsed header. ValueError or the like if parts are missing or of another type."""
    if header["format"] != FORMAT:
        raise ValueError(f"format {header['format']}, and this version of gan_runner reads {FORMAT}")
    if not isinstance(header["config"], dict) or not isinstance(header["step"], int):
        raise ValueError("config or step is of another type")
    networks: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        player, _, below = name.partition(".")
        if player not in PLAYERS:
            raise ValueError(f"a tensor {name!r} of neither player")
        networks.setdefault(player, {})[below] = tensor
    return Weights(
        networks, header["config"], spec_of(header["spec"]), header["step"], str(header["folder"]), header.get("data")
    )


def spec_of(fields: Mapping[str, Any]) -> ImageSpec:
    """Returns a spec from JSON, where its tuples are lists."""
    content: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    spec = ImageSpec(**content)
    sizes = (spec.channels, spec.height, spec.width, spec.num_classes)
    if not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise ValueError(f"sizes {sizes} are no whole numbers")
    return spec
