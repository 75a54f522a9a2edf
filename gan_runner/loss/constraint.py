"""Bounds on the discriminator's weights."""

import torch
from torch import Tensor, nn

from gan_runner.errors import require
from gan_runner.nn.normalisation import normalise


class WeightClipping:
    """Clamps every parameter to [-bound, bound], gains and biases too, after each update (Arjovsky et al. 2017).

    After, not before as in the authors' code, so that the discriminator that is read keeps the bound.
    """

    def __init__(self, bound: float = 0.01):
        require(bound > 0, f"bound={bound} must be positive")
        self.bound = bound

    def prepare(self, discriminator: nn.Module) -> None:
        """Nothing to prepare."""

    @torch.no_grad()
    def enforce(self, discriminator: nn.Module) -> None:
        parameters: list[Tensor] = list(discriminator.parameters())
        torch._foreach_clamp_min_(parameters, -self.bound)
        torch._foreach_clamp_max_(parameters, self.bound)


class SpectralNorm:
    """Every linear map, convolution and embedding becomes W / sigma(W), its largest singular value 1.

    sigma comes from one power iteration in each training forward, of W as (outputs, rest) (Miyato et al. 2018).
    """

    def prepare(self, discriminator: nn.Module) -> None:
        normalise(discriminator, "spectral", "discriminator", "loss.constraint=null")

    def enforce(self, discriminator: nn.Module) -> None:
        """Nothing to enforce: the forward does."""
