"""Latent prior, generator and discriminator from a configuration."""

from typing import Any

import torch
from torch import nn

from gan_runner.assembly.make import Config, call, make
from gan_runner.assembly.trial import UNFIT, first_line
from gan_runner.dataset.images import ImageDataset
from gan_runner.device import Device
from gan_runner.errors import ConfigError
from gan_runner.game.settings import Settings
from gan_runner.model.packing import Packed, packed_spec
from gan_runner.nn.normalisation import Normalisation
from gan_runner.noise import Noise
from gan_runner.protocols import DataDependent
from gan_runner.records.averages import averages
from gan_runner.spec import Batch, ImageSpec

SHOWN = 60_000  # training images, at most, that a network may be initialised from: all of MNIST's
FLOAT = 4  # bytes
COPIES = 5  # arrays of the size of the weights: weights, gradients, two moments of Adam, moving average


def networks(config: Config, spec: ImageSpec, device: Device) -> tuple[Any, nn.Module, nn.Module]:
    """Returns latent prior, generator and discriminator; the initial weights of each depend on the seed alone."""
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
    """Builds one network and applies `model.weights` to it. ConfigError if its training exceeds the memory."""
    path, node, pack = f"model.{player}", config["model"][player], config["model"].get("pack", 1)
    packed = player == "discriminator" and pack > 1
    spec = packed_spec(spec, pack) if packed else spec
    copies = COPIES + len(averages(config["train"].get("ema_half_life_images"))) - 1
    device.require_memory(path, copies * FLOAT * count_parameters(node, path, spec=spec, latent=latent))
    device.seed(config["seed"], "initialization", player)
    network: nn.Module = make(node, path, spec=spec, latent=latent)
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{path}={type(network).__name__} is no network; derive it from torch.nn.Module.")
    if any(layer._forward_pre_hooks for layer in network.modules()):
        complete(network, player, spec, latent)
    if packed:
        check_unlabelled(network, pack)
        network = Packed(network, pack)
    call(Normalisation, "model.weights", config["model"].get("weights", {}), {}).normalise(player, network)
    return network


def check_unlabelled(discriminator: nn.Module, pack: int) -> None:
    """ConfigError for a discriminator that takes labels: the images of a pack would need one label."""
    if getattr(discriminator, "conditional", False):
        raise ConfigError(
            f"model.pack={pack} needs a discriminator without labels, and model.discriminator="
            f"{type(discriminator).__name__} takes them; set model.pack=1, or model.discriminator.conditioning=none."
        )


@torch.no_grad()
def complete(network: nn.Module, player: str, spec: ImageSpec, latent: Any) -> None:
    """Runs a first forward, in which lazy layers get their shapes, and old weight and spectral norms their weights."""
    labels = torch.zeros(2, dtype=torch.long) if spec.num_classes else None
    shown = latent.sample(Noise(("first forward",), 2, torch.device("cpu"))) if player == "generator" else None
    network.eval()
    try:
        network(torch.zeros(2, *spec.shape) if shown is None else shown, labels)
    except UNFIT as error:
        name = type(network).__name__
        raise ConfigError(f"model.{player}={name}: its first forward fails ({first_line(error)}).") from error
    network.train()


def count_parameters(node: Config, path: str, **runtime: Any) -> int:
    """Counts the parameters of a gan_runner network on the meta device; 0 for a user's class or an invalid node."""
    if not str(node.get("_target_")).startswith("gan_runner."):
        return 0
    try:
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in make(node, path, **runtime).parameters())
    except ConfigError:  # reported when the network is made
        return 0


def check_memory(settings: Settings, spec: ImageSpec, latent: Any, device: Device) -> None:
    for name in ("batch_size", "generator_batch_size", "grid"):
        count = getattr(settings, name)
        device.require_memory(f"train.{name}={count}", FLOAT * count * (spec.size + getattr(latent, "dim", 0)))
