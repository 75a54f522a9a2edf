"""Normalisation of weights in every forward pass (spectral norm, weight norm), for any network."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from gan_runner.errors import ConfigError, choose


def outputs(layer: nn.Module) -> int:
    """Returns the dimension of a layer's weight that indexes its outputs."""
    return 1 if isinstance(layer, _ConvTransposeNd) else 0


# spectral: W / sigma(W), with the largest singular value sigma of W as (outputs, rest), from one power iteration per
# training forward (Miyato et al. 2018). weight: g v / |v| for each output (Salimans and Kingma 2016).
KINDS: dict[str, Callable[[nn.Module], nn.Module] | None] = {
    "none": None,
    "spectral": spectral_norm,
    "weight": lambda layer: weight_norm(layer, dim=outputs(layer)),
}


@dataclass(frozen=True)
class Normalisation:
    """The weight normalisation of each player's network; the group `model.weights`."""

    generator: str = "none"
    discriminator: str = "none"

    def __post_init__(self) -> None:
        for field in fields(self):
            choose(field.name, getattr(self, field.name), KINDS)

    def normalise(self, player: str, network: nn.Module) -> None:
        kind = getattr(self, player)
        if kind == "none":
            return
        off = f"model.weights.{player}=none"
        if not any(maps(network)):
            raise ConfigError(
                f"model.weights.{player}={kind}, but model.{player}={type(network).__name__} has no linear map, "
                f"convolution or embedding; set {off}."
            )
        normalise(network, kind, player, off)


def normalise(network: nn.Module, kind: str, player: str, off: str) -> None:
    """Normalises every linear map, convolution and embedding. off: the setting that switches this off, for errors."""
    parametrize = KINDS[kind]
    assert parametrize is not None
    for path, layer in list(maps(network)):
        where = f"{path or type(layer).__name__} of model.{player}"
        weight = dict(layer.named_parameters(recurse=False)).get("weight")
        if weight is None:
            raise ConfigError(
                f"{where} has a weight that is normalised already, and once is enough; set {off}, or "
                f"model.{player}.norm=none and model.weights.{player}=none where it was one of these."
            )
        if not weight.any():
            raise ConfigError(f"{where} begins at 0, which no norm can be divided out of; set {off}.")
        parametrize(layer)


def maps(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yields path and layer of every linear map, convolution and embedding, except the gains and shifts of norms."""
    gains = {layer for norm in network.modules() if getattr(norm, "is_norm", False) for layer in norm.children()}
    for path, layer in network.named_modules():
        if isinstance(layer, nn.Linear | nn.Embedding | _ConvNd) and layer not in gains:
            yield path, layer
