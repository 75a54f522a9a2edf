"""Inspection of both networks: python -m gan_runner.networks [overrides] shows layers and operations for an image.

The command composes a configuration as training does. It trains and writes nothing, but downloads missing data.
An operation is one multiplication or one addition of a matrix product or a convolution, so a multiply-add is two;
biases, norms, activations and embeddings are not counted.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import hydra
import torch
from omegaconf import DictConfig
from rich.table import Table
from torch import Tensor, nn

from gan_runner.assembly.make import make
from gan_runner.assembly.networks import networks
from gan_runner.assembly.objects import make_dataset
from gan_runner.assembly.structure import check_structure
from gan_runner.assembly.trial import UNFIT, first_line
from gan_runner.cli.entry import enter_alone, through_hydra
from gan_runner.cli.places import CONF
from gan_runner.cli.request import request_of_job
from gan_runner.errors import ConfigError
from gan_runner.nn.operations import counting
from gan_runner.noise import Noise
from gan_runner.records.console import Terminal, table

BATCH = 2


def main() -> None:
    enter_alone(job)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def job(cfg: DictConfig) -> None:
    with through_hydra():
        terminal = Terminal()
        for content in views(request_of_job(cfg).config):
            terminal.show(content)


def views(config: Mapping[str, Any]) -> Iterator[str | Table]:
    """Yields the views of the generator and of the discriminator, the latter after the loss has prepared it."""
    check_structure(config)
    device, objective = make(config["device"], "device"), make(config["loss"], "loss")
    spec = make_dataset(config).spec
    latent, generator, discriminator = networks(config, spec, device)
    objective.prepare(discriminator)
    z = latent.sample(Noise((config["seed"], "view"), BATCH, torch.device("cpu")))
    labels = torch.zeros(BATCH, dtype=torch.long) if spec.num_classes else None
    yield from view("generator", generator, z, labels)
    yield ""
    yield from view("discriminator", discriminator, torch.zeros(BATCH, *spec.shape), labels)


def view(player: str, network: nn.Module, given: Tensor, labels: Tensor | None) -> Iterator[str | Table]:
    """Yields a table with a row for each layer, in the order of the forward, and the totals."""
    sizes, shapes, modules = trainable(network), watched(network.eval()), dict(network.named_modules())
    try:
        cost = f"{operations(network, given, labels):,} operations an image forward"
        if player == "discriminator":
            cost += f", {operations(network, given, labels, backward=True):,} with backward to its weights"
    except UNFIT as error:
        reason = f"cannot be used on numbers of shape {shape(given)}: {first_line(error)}"
        raise ConfigError(f"model.{player}={type(network).__name__} {reason}.") from error
    rows = [
        (path or ".", type(modules[path]).__name__, shapes.get(path, "-"), f"{sizes[path]:,}")
        for path in dict.fromkeys((*shapes, *layers(network)))
    ]
    sums = f"{sum(p.numel() for p in network.parameters()):,} parameters ({sizes.total():,} trainable)"
    if buffers := sum(buffer.numel() for buffer in network.buffers()):
        sums += f", {buffers:,} numbers in buffers"
    yield f"{player}: {type(network).__name__}"
    yield table(("layer", "class", "output", "trainable"), rows, numbers=("output", "trainable"))
    yield sums
    yield cost


def trainable(network: nn.Module) -> Counter[str]:
    """Counts the trainable parameters by path of their layer (a parametrization of a weight belongs to the layer)."""
    sizes: Counter[str] = Counter()
    for name, parameter in network.named_parameters():
        path = f".{name}".rpartition(".")[0].partition(".parametrizations")[0][1:]
        sizes[path] += parameter.numel() * parameter.requires_grad
    return sizes


def layers(network: nn.Module) -> list[str]:
    """Returns the paths of modules with parameters or without submodules; parametrizations are no submodules here."""
    holders = trainable(network)
    return [
        path
        for path, module in network.named_modules()
        if path in holders or not ("parametrizations" in path or module._modules.keys() - {"parametrizations"})
    ]


def watched(network: nn.Module) -> dict[str, str]:
    """Returns a dictionary, path -> shape of a layer's output, which the next forward fills."""
    shapes: dict[str, str] = {}
    for path in layers(network):
        network.get_submodule(path).register_forward_hook(partial(note, shapes, path))
    return shapes


def note(shapes: dict[str, str], path: str, module: nn.Module, inputs: Any, output: Any) -> None:
    shapes[path] = shape(output) if isinstance(output, Tensor) else "-"


def shape(tensor: Tensor) -> str:
    """Returns the shape without the batch dimension, as text."""
    return "x".join(map(str, tensor.shape[1:])) or "1"


def operations(network: nn.Module, given: Tensor, labels: Tensor | None, backward: bool = False) -> int:
    """Returns the operations for one image; backward: with those of the gradient of the output to the weights."""
    with counting() as counter:
        result = network(given, labels)
        if backward:
            result.sum().backward()
    return int(counter.get_total_flops()) // BATCH


if __name__ == "__main__":
    main()
