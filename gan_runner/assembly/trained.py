"""Networks of a trained run, from its folder or an exported file, without executing anything that these name."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hydra.utils import get_object
from torch import nn

from gan_runner.assembly.make import make
from gan_runner.assembly.networks import make_network
from gan_runner.assembly.opened import opened, use_chosen
from gan_runner.assembly.structure import check_structure
from gan_runner.assembly.trust import check_trust
from gan_runner.device import Device
from gan_runner.errors import ConfigError
from gan_runner.evaluation.placed import placed
from gan_runner.evaluation.sampler import Sampler
from gan_runner.metric.pools import CHUNK
from gan_runner.model.latent import Latent
from gan_runner.records.averages import MAIN, average_of, named
from gan_runner.records.checkpoint import DAMAGE, Checkpoint, reason
from gan_runner.records.scores import mapping
from gan_runner.records.weights import SUFFIX, Weights, read_weights
from gan_runner.spec import ImageSpec

T = TypeVar("T")


def use_weights(
    path: Path, trusted: Sequence[str], checkpoint: str, use: Callable[[Weights], T], average: str | None = None
) -> T:
    """Returns use(weights) of a checkpoint of a run folder, or of a file of `python -m gan_runner.export`.

    checkpoint: last, best or a step; if the last checkpoint cannot be used, the one before it is taken.
    average: the half-life in images of one of several averages; None: the selected one of best, else the main one.
    """
    if path.suffix == SUFFIX:
        if average is not None:
            raise ConfigError(f"--average={average} is of a run folder; {path} holds one average.")
        return use_file(path, trusted, checkpoint, use)
    folder, config = opened(path, list(trusted))
    found: list[T] = []

    def read(stored: Checkpoint) -> None:
        best = mapping(mapping(stored.state.get("selection")).get("best")) if checkpoint == "best" else {}
        half_life = average or best.get("half_life_images")
        name = average_of(config["train"].get("ema_half_life_images"), str(half_life)) if half_life else MAIN
        found.append(use(weights_of(path.name, config, stored.state, name)))

    use_chosen(folder.checkpoints, checkpoint, read)
    return found[0]


def use_file(path: Path, trusted: Sequence[str], checkpoint: str, use: Callable[[Weights], T]) -> T:
    weights = read_weights(path)
    if checkpoint not in ("last", str(weights.step)):
        raise ConfigError(f"--checkpoint={checkpoint} is of a run folder; {path} holds step {weights.step} alone.")
    try:
        check_structure(weights.config)
        check_trust(weights.config, trusted, get_object)
        return use(weights)
    except DAMAGE as error:
        raise ConfigError(f"{path} cannot be used ({reason(error)}); export it anew.") from error


def weights_of(name: str, config: dict[str, Any], state: dict[str, Any], average: str = MAIN) -> Weights:
    """Returns the averaged generator, and the discriminator: averaged if it is a classifier that has an average."""
    discriminator = state.get(named("classifier", average), state["discriminator"]["network"])
    networks = {"generator": state[named("ema", average)], "discriminator": discriminator}
    return Weights(networks, config, ImageSpec(**state["spec"]), state["counters"]["steps"], name, state.get("images"))


def make_sampler(weights: Weights, count: int = CHUNK, device: Device | None = None) -> Sampler:
    """Returns a sampler of the generator. count: images that will be in memory together; device: by default the CPU."""
    config, spec = weights.config, weights.spec
    latent = make(config["model"]["latent"], "model.latent")
    size = config["train"]["generator_batch_size"]
    check_count("train.generator_batch_size", size, spec, latent)
    check_count("--count", count, spec, latent)
    cpu = Device("cpu")
    generator = make_network(config, "generator", spec, latent, cpu).eval()
    generator.load_state_dict(weights.networks["generator"])
    network = generator if device is None else placed(generator, device)
    return Sampler(network, latent, spec, config["seed"], size, cpu.torch)


def make_discriminator(weights: Weights) -> nn.Module:
    """Returns the discriminator on the CPU, in evaluation mode."""
    latent = make(weights.config["model"]["latent"], "model.latent")
    network = make_network(weights.config, "discriminator", weights.spec, latent, Device("cpu")).eval()
    network.load_state_dict(weights.networks["discriminator"])
    return network


def check_count(setting: str, images: int, spec: ImageSpec, latent: Latent) -> None:
    """ConfigError if the memory does not suffice for so many images."""
    Device("cpu").require_memory(f"{setting}={images}", 4 * images * (spec.size + latent.dim))
