"""Batch norm over the joint batch of all ranks, on any device."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gan_runner.distributed.torchrun import summed
from gan_runner.spec import full_precision


class Summed(torch.autograd.Function):
    """y = sum of x over the ranks, on each rank; dx = sum of dy, since every rank's loss depends on every x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return summed(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        dx: Tensor = Summed.apply(*gradients)
        return dx


class SyncBatchNorm(_BatchNorm):
    """(x - E x) / sqrt(Var x + eps) gain + shift per channel, with E over the equal batches of all ranks.

    Its state and its evaluation mode are those of the batch norm that it replaces.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"batch norm needs (B, C, ...), not {tuple(x.shape)}")

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        self._check_input_dim(x)
        values = full_precision(x)
        mean, variance = moments(values)
        self.follow(mean.detach(), variance.detach(), dist.get_world_size() * x.numel() // x.shape[1])
        scale = torch.rsqrt(variance + self.eps) * (self.weight if self.affine else 1)
        shift = (self.bias if self.affine else 0) - mean * scale
        shape = (-1, *(1,) * (x.dim() - 2))
        return (values * scale.view(shape) + shift.view(shape)).to(x.dtype)

    @torch.no_grad()
    def follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Updates the running statistics, with the variance that is unbiased for `count` samples."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked.float() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * (count / max(1, count - 1)), share)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and biased variance (C,) of (B, C, ...) over all ranks.

    The values are combined from those of each rank, which avoids the cancellation of E x^2 - (E x)^2.
    """
    variance, mean = torch.var_mean(x, [d for d in range(x.dim()) if d != 1], correction=0)
    place = this_rank(dist.get_rank(), dist.get_world_size(), x)
    means, variances = Summed.apply(place * torch.stack([mean, variance])[:, None]).unbind()
    overall = means.mean(0)
    return overall, variances.mean(0) + (means - overall).square().mean(0)


def this_rank(rank: int, count: int, like: Tensor) -> Tensor:
    """Returns a column (ranks, 1) that is 1 for this rank and 0 for all others."""
    return (torch.arange(count, device=like.device) == rank).to(like.dtype)[:, None]


def synchronise(network: nn.Module) -> None:
    """Replaces each batch norm below `network` by a SyncBatchNorm with the same parameters and statistics."""
    for name, layer in network.named_children():
        if isinstance(layer, _BatchNorm) and not isinstance(layer, SyncBatchNorm):
            setattr(network, name, of(layer))
        else:
            synchronise(layer)


def of(norm: _BatchNorm) -> SyncBatchNorm:
    synced = SyncBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    for name, parameter in norm.named_parameters(recurse=False):
        setattr(synced, name, parameter)
    for name, buffer in norm.named_buffers(recurse=False):
        setattr(synced, name, buffer)
    return synced.train(norm.training)
