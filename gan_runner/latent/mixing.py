"""Mixtures of two classes in a conditional generator, through its embeddings or one-hot codes."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_runner.model.conditioning import JoinVector

SAME = 1e-4  # largest difference of a value, of images in [-1, 1], that rounding may cause


@contextlib.contextmanager
def mixed(network: nn.Module, others: Tensor, share: Tensor) -> Iterator[None]:
    """Moves everything that the network looks up for its labels (B,) by `share` (B,) towards that of `others` (B,).

    This covers embeddings (and gains and shifts of conditional norms) and the one-hot codes of `JoinVector`.
    """

    def of_embedding(layer: nn.Embedding, inputs: tuple[Tensor, ...], found: Tensor) -> Tensor:
        return torch.lerp(found, functional.embedding(others, layer.weight), share[:, None])

    def of_code(layer: JoinVector, inputs: tuple[Tensor, ...], found: Tensor) -> Tensor:
        return torch.lerp(found, layer.forward(inputs[0], others), share[:, None])

    hooks = []
    for layer in network.modules():
        if isinstance(layer, nn.Embedding):
            hooks.append(layer.register_forward_hook(of_embedding))
        elif isinstance(layer, JoinVector) and layer.one_hot:
            hooks.append(layer.register_forward_hook(of_code))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def can_mix(network: nn.Module, z: Tensor) -> bool:
    """Whether a full mixture of class 0 towards class 1 gives the images of class 1: no label is looked up elsewhere.

    z: (B, Z), the latents to try with.
    """
    first, second = (torch.full((len(z),), label, device=z.device) for label in (0, 1))
    with mixed(network, second, torch.ones(len(z), device=z.device)):
        mixture = network(z, first)
    return bool((mixture - network(z, second)).abs().max() <= SAME)
