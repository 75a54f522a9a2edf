"""Values that are recomputed for averaged weights instead of averaged: batch-norm statistics and spectral norms."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.spectral_norm import SpectralNorm

STATISTICS_BATCHES = 16  # batches for an estimate of the statistics of norms


@torch.no_grad()
def estimate_batch_statistics(network: nn.Module, inputs: Iterable[tuple[Tensor, Tensor | None]]) -> None:
    """Sets the running statistics of every norm to those of these inputs; the network is in eval mode afterwards."""
    tracking = [module for module in network.modules() if isinstance(module, _NormBase)]
    norms = [norm for norm in tracking if norm.track_running_stats]
    network.eval()
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    for number, (z, labels) in enumerate(inputs, 1):
        for norm in norms:
            norm.momentum = 1 / number  # the plain mean over the batches
        network(z, labels)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


@torch.no_grad()
def find_singular_vectors(network: nn.Module) -> None:
    """Sets the vectors of every spectral norm to the first singular vectors of its weight, so that sigma is exact."""
    for chain in network.modules():
        if isinstance(chain, ParametrizationList) and isinstance(chain[0], _SpectralNorm) and chain.original.dim() > 1:
            find_vectors(chain.original, chain[0].dim, chain[0]._u, chain[0]._v)
        for hook in chain._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):  # the older torch.nn.utils.spectral_norm
                weight, u, v = (getattr(chain, f"{hook.name}_{part}") for part in ("orig", "u", "v"))
                find_vectors(weight, hook.dim, u, v)


def find_vectors(weight: Tensor, dim: int, u: Tensor, v: Tensor) -> None:
    """Writes the first singular vectors of a weight to u and v. dim: the dimension that indexes its outputs."""
    left, _, right = torch.linalg.svd(weight.movedim(dim, 0).flatten(1), full_matrices=False)
    u.copy_(left[:, 0])
    v.copy_(right[0])
