"""Layers that give a discriminator features of the variation within a batch, so that it can detect mode collapse."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gan_runner.errors import choose, require
from gan_runner.spec import full_precision

KERNELS, DIMENSIONS = 100, 5  # sizes in the authors' code of minibatch discrimination


class MinibatchDeviation(nn.Module):
    """x (B, F) -> (B, F + 1): appends the standard deviation over the batch, mean over features (Karras et al. 2018).

    The paper's 1e-8 under the square root is left out: torch sets the derivative to 0 if all samples are equal.
    """

    batch_coupled = True
    cure = "minibatch=none"

    def __init__(self, width: int):
        super().__init__()
        self.width = width + 1

    def forward(self, x: Tensor) -> Tensor:
        deviation = full_precision(x).std(dim=0, correction=0).mean()
        return torch.cat([x, deviation.to(x.dtype).expand(len(x), 1)], dim=1)


class MinibatchDiscrimination(nn.Module):
    """x (B, F) -> (B, F + K): o_b(x_i) = sum over j != i of exp(-|M_ib - M_jb|_1), M = x T (Salimans et al. 2016).

    T (F, K, 5) = exp(log_scale) theta / |theta|, with a learned norm of each column.
    """

    batch_coupled = True
    cure = "minibatch=none"

    def __init__(self, width: int, kernels: int = KERNELS):
        super().__init__()
        self.theta = nn.Parameter(0.05 * torch.randn(width, kernels, DIMENSIONS))
        self.log_scale = nn.Parameter(torch.zeros(kernels, DIMENSIONS))
        self.width = width + kernels

    def forward(self, x: Tensor) -> Tensor:
        weight = self.theta * (self.log_scale.exp() / self.theta.norm(dim=0))
        places = full_precision(x @ weight.flatten(1)).unflatten(1, self.log_scale.shape).transpose(0, 1)
        closeness = torch.exp(-torch.cdist(places, places, p=1)).sum(dim=2) - 1  # -1: the sample itself, distance 0
        return torch.cat([x, closeness.T.to(x.dtype)], dim=1)


LAYERS: dict[str, Callable[[int], MinibatchDeviation | MinibatchDiscrimination] | None] = {
    "none": None,
    "stddev": MinibatchDeviation,
    "discrimination": MinibatchDiscrimination,
}


def compared(minibatch: str, width: int) -> tuple[list[nn.Module], int]:
    """Returns the minibatch layers (none or one) after `width` features, and the resulting number of features."""
    make = choose("minibatch", minibatch, LAYERS)
    if make is None:
        return [], width
    layer = make(width)
    return [layer], layer.width


def check_alone(minibatch: str, output: str) -> None:
    """Requires minibatch=none: an autoencoder decodes each sample from its own features."""
    require(minibatch == "none", f"minibatch={minibatch} needs output=score; with output={output} use minibatch=none")
