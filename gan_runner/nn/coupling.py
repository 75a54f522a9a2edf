"""Several batches in one pass through a network: checks that the results equal those of separate passes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.parametrize import ParametrizationList
from torch.overrides import TorchFunctionMode

OURS = "gan_runner."
PLAIN = (  # layers of torch that treat images independently and have no state
    *(nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.Identity, ParametrizationList, _WeightNorm),
    *(nn.Linear, nn.Bilinear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d),
    *(nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Softplus, nn.Tanh, nn.Sigmoid),
    *(nn.LayerNorm, nn.GroupNorm, nn.Unflatten, nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle),
    *(nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.ZeroPad2d),
)


def sees_single_images(network: nn.Module) -> bool:
    """Returns True if the output for an image does not depend on other images, in the same pass or in other passes."""
    return all(is_known(layer) and not isinstance(layer, _BatchNorm) for layer in network.modules())


def sees_single_batches(network: nn.Module) -> bool:
    """As `sees_single_images`, for whole batches: batch norm is allowed, with statistics by `StatisticsPerBatch`."""
    return all(is_known(layer) for layer in network.modules())


def is_known(layer: nn.Module) -> bool:
    """Returns True for plain layers and batch norms; False for others, such as user classes and layers with hooks."""
    if layer._forward_hooks or layer._forward_pre_hooks:
        return False
    if type(layer).__module__.startswith(OURS):
        return not any(getattr(layer, name, False) for name in ("batch_coupled", "random")) and (
            not isinstance(layer, _BatchNorm)
        )
    if type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d):
        return layer.momentum is not None
    if isinstance(layer, nn.InstanceNorm2d):
        return not layer.track_running_stats
    if isinstance(layer, nn.Flatten):
        return layer.start_dim == 1
    return isinstance(layer, PLAIN) and type(layer).__module__.startswith("torch.nn.")


def batch_coupled(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Returns the layers in which a sample's output depends on other samples: batch norm, or `batch_coupled = True`.

    A layer's `cure` is the setting of its network that removes it.
    """
    return [
        (path, layer)
        for path, layer in network.named_modules()
        if isinstance(layer, _BatchNorm) or getattr(layer, "batch_coupled", False)
    ]


class StatisticsPerBatch(TorchFunctionMode):
    """While active, a batch norm takes the statistics of each of the `count` joined batches separately, in order."""

    def __init__(self, count: int):
        super().__init__()
        self.count = count

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is not functional.batch_norm:
            return function(*args, **(kwargs or {}))
        return self.batch_norm(*args, **(kwargs or {}))

    def batch_norm(self, input: Tensor, *settings: Any, **more: Any) -> Tensor:
        return torch.cat([functional.batch_norm(batch, *settings, **more) for batch in input.chunk(self.count)])
