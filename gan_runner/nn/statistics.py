"""What is not averaged but found anew for averaged weights: batch-norm statistics and spectral norms."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import ParametrizationList

STATISTICS_BATCHES = 16  # from which batch-norm statistics are estimated


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
