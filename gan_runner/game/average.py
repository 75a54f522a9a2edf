"""The averaged generator, which samples and metrics are taken from."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import ParametrizationList

from gan_runner.schedule import Progress, Schedule, valued

STATISTICS_BATCHES = 16  # from which batch-norm statistics are estimated
RAMP_UP = 0.05  # of the images so far: a half-life without a schedule grows until it is reached (StyleGAN2)


class EMA:
    """Exponential moving average of parameters: beta = 0.5^(images per step / half-life). Half-life 0: the live ones.

    Batch-norm statistics and the singular vectors of a spectral norm are not averaged; they are found anew for the
    averaged weights before each use.
    """

    def __init__(self, network: nn.Module, half_life_images: float | Schedule):
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.half_life_images = half_life_images
        self.averaged: list[Tensor] = list(self.network.parameters())
        self.live: list[Tensor] = list(network.parameters())

    def beta(self, images_per_step: int, images: int, progress: Progress) -> float:
        half_life = valued(self.half_life_images, progress)
        if not isinstance(self.half_life_images, Schedule):
            half_life = min(half_life, RAMP_UP * images)
        return 0.5 ** (images_per_step / half_life) if half_life > 0 else 0.0

    @torch.no_grad()
    def update(self, images_per_step: int, images: int, progress: Progress) -> None:
        """After a step: `images` real images have been shown by now."""
        torch._foreach_lerp_(self.averaged, self.live, 1 - self.beta(images_per_step, images, progress))

    def state_dict(self) -> dict[str, Any]:
        return {name: parameter.detach() for name, parameter in self.network.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        parameters = dict(self.network.named_parameters())
        if parameters.keys() != state.keys():
            raise KeyError(f"averaged parameters differ: {sorted(parameters.keys() ^ state.keys())}")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(state[name])


@torch.no_grad()
def estimate_batch_statistics(network: nn.Module, inputs: Iterable[tuple[Tensor, Tensor | None]]) -> None:
    """Sets the running statistics of every batch norm to those of these inputs; leaves the network in eval mode."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    network.eval()
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
        norm.train()
    for z, labels in inputs:
        network(z, labels)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


@torch.no_grad()
def find_singular_vectors(network: nn.Module) -> None:
    """Sets the vectors of every spectral norm to the first singular ones of its weight, so that sigma is exact."""
    for chain in network.modules():
        if isinstance(chain, ParametrizationList) and isinstance(chain[0], _SpectralNorm) and chain.original.dim() > 1:
            norm, weight = chain[0], chain.original.movedim(chain[0].dim, 0).flatten(1)
            left, _, right = torch.linalg.svd(weight, full_matrices=False)
            norm._u.copy_(left[:, 0])
            norm._v.copy_(right[0])
