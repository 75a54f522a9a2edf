"""The blocks of a network, in the order of their computation, for freezing the lowest of them."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from gan_runner.nn.modes import evaluating, restoring_buffers

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def units(module: nn.Module) -> Iterator[nn.Module]:
    """Yields the parts of a network that have weights; containers are opened."""
    for part in weighted(module):
        yield from units(part) if isinstance(part, CONTAINERS) else [part]


def weighted(module: nn.Module) -> list[nn.Module]:
    return [child for child in module.children() if any(True for _ in child.parameters())]


def is_layer(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | _ConvNd | nn.Embedding)


def computes(unit: nn.Module) -> bool:
    """Whether it has a linear map or a convolution."""
    return any(isinstance(module, nn.Linear | _ConvNd) for module in unit.modules())


def blocks(network: nn.Module, forward: Callable[[], Any]) -> list[list[nn.Module]]:
    """Returns the blocks, the first computed one first. forward: computes the network once.

    A block is a layer, or a module of several layers, with the norms and embeddings behind it. Weights that the network
    holds itself, such as a learned constant, are in none of them.
    """
    body = network
    while len(parts := weighted(body)) == 1 and not is_layer(parts[0]):
        body = parts[0]
    found = list(units(body))
    order: list[nn.Module] = []
    hooks = [unit.register_forward_hook(lambda unit, inputs, output: order.append(unit)) for unit in found]
    try:
        with torch.no_grad(), restoring_buffers(network), evaluating(network):
            forward()
    finally:
        for hook in hooks:
            hook.remove()
    grouped: list[list[nn.Module]] = [[]]
    for unit in dict.fromkeys([*order, *found]):  # those that were not computed last
        if computes(unit) and any(map(computes, grouped[-1])):
            grouped.append([])
        grouped[-1].append(unit)
    return grouped


def freeze(network: nn.Module, trained: list[list[nn.Module]]) -> None:
    """Excludes all weights from training, except those of these blocks."""
    kept = {parameter for block in trained for unit in block for parameter in unit.parameters()}
    for parameter in network.parameters():
        if parameter not in kept:
            parameter.requires_grad_(False)
