"""Bounds on the discriminator's weights."""

import torch
from torch import Tensor, nn

from gan_runner.errors import require
from gan_runner.nn.normalisation import normalise


class WeightClipping:
    """Clamps every parameter to [-bound, bound], gains and biases too, after each update (Arjovsky et al. 2017).

    bound: largest absolute value of a weight.

    The authors' code clamps before each update; here the bound also holds for the discriminator after its last update.
    """

    def __init__(self, bound: float = 0.01):
        require(bound > 0, f"bound={bound} must be positive")
        self.bound = bound

    def prepare(self, discriminator: nn.Module) -> None:
        """Does nothing."""

    @torch.no_grad()
    def enforce(self, discriminator: nn.Module) -> None:
        parameters: list[Tensor] = list(discriminator.parameters())
        torch._foreach_clamp_min_(parameters, -self.bound)
        torch._foreach_clamp_max_(parameters, self.bound)


class SpectralNorm:
    """Divides the weight W of every linear map, convolution and embedding by its largest singular value sigma(W).

    sigma comes from one power iteration per training forward, on W as (outputs, rest) (Miyato et al. 2018).
    """

    def prepare(self, discriminator: nn.Module) -> None:
        normalise(discriminator, "spectral", "discriminator", "loss.constraint=null")

    def enforce(self, discriminator: nn.Module) -> None:
        """Does nothing: the forward pass divides by sigma."""
