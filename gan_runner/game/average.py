"""The averaged generator, which samples and metrics are computed with."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gan_runner.schedule import Progress, Schedule, valued

RAMP_UP = 0.05  # share of the images so far that limits a half-life without a schedule (StyleGAN2)


class EMA:
    """Exponential moving average of parameters: beta = 0.5^(images per step / half-life).

    Half-life 0 gives the live parameters. Buffers are copied from the live network, not averaged; the statistics of
    norms and the singular vectors of a spectral norm are recomputed for the averaged weights before each use.
    """

    def __init__(self, network: nn.Module, half_life_images: float | Schedule):
        self.source, self.network = network, copy.deepcopy(network).requires_grad_(False).eval()
        self.half_life_images = half_life_images
        self.averaged: list[Tensor] = list(self.network.parameters())
        self.live: list[Tensor] = list(network.parameters())

    @property
    def averages(self) -> bool:
        """Whether it differs from the live network."""
        return isinstance(self.half_life_images, Schedule) or self.half_life_images > 0

    def beta(self, images_per_step: int, images: int, progress: Progress) -> float:
        half_life = valued(self.half_life_images, progress)
        if not isinstance(self.half_life_images, Schedule):
            half_life = min(half_life, RAMP_UP * images)
        return 0.5 ** (images_per_step / half_life) if half_life > 0 else 0.0

    @torch.no_grad()
    def update(self, images_per_step: int, images: int, progress: Progress) -> None:
        """Updates the average after a step; images: real images shown so far."""
        torch._foreach_lerp_(self.averaged, self.live, 1 - self.beta(images_per_step, images, progress))

    def carry_buffers(self) -> nn.Module:
        """Copies the present buffers of the live network into the averaged network, and returns the latter."""
        for path, module in self.source.named_modules():
            averaged = self.network.get_submodule(path)
            for name, buffer in module.named_buffers(recurse=False):
                persistent = name not in module._non_persistent_buffers_set
                averaged.register_buffer(name, buffer.detach().clone(), persistent)
        return self.network

    def state_dict(self) -> dict[str, Any]:
        return self.carry_buffers().state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads strictly: RuntimeError if the keys or shapes differ from those of the network."""
        self.network.load_state_dict(state)
