"""Several batches in one pass through a network: where that gives what as many passes give, up to rounding."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.overrides import TorchFunctionMode

KNOWN = ("torch.nn.", "gan_runner.")  # whose layers are known


def sees_single_images(network: nn.Module) -> bool:
    """Is what it gives for one image the same whatever passes with it, before it and after it?"""
    return all(is_fixed(layer) and not isinstance(layer, _BatchNorm) for layer in network.modules())


def sees_single_batches(network: nn.Module) -> bool:
    """The same of a batch, whose statistics `Batches` takes."""
    norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    return all(
        is_fixed(layer) and (type(layer) in norms or not isinstance(layer, _BatchNorm)) for layer in network.modules()
    )


def is_fixed(layer: nn.Module) -> bool:
    """Apart from a batch norm. Of a user's own layers nobody knows."""
    return (
        type(layer).__module__.startswith(KNOWN)
        and not isinstance(layer, _DropoutNd | _SpectralNorm)
        and not (getattr(layer, "batch_coupled", False) or getattr(layer, "random", False))
    )


class Batches(TorchFunctionMode):
    """While it is on, a batch norm takes the statistics of each of `count` batches by itself, one after the other."""

    def __init__(self, count: int):
        super().__init__()
        self.count = count

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is not functional.batch_norm:
            return function(*args, **(kwargs or {}))
        return self.batch_norm(*args, **(kwargs or {}))

    def batch_norm(self, input: Tensor, *settings: Any, **more: Any) -> Tensor:
        return torch.cat([functional.batch_norm(batch, *settings, **more) for batch in input.chunk(self.count)])
