"""A recorder that needs no GPU: it keeps the operations of a function and does them again on the same memory.

As in a CUDA graph, no Python runs in a replay, numbers that Python worked out stay what they were, and what a recording
returns holds nothing until it is replayed.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gan_runner.device import Device

T = TypeVar("T")
aten = torch.ops.aten
WAITING = (  # for the device, whose answer Python needs
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.equal.default,
    aten._unique2.default,
    aten.is_nonzero.default,
)


class GraphsOnCPU(Device):
    """All but the graphs themselves; fp16 too."""

    gpu_only = ("tf32",)
    graphed = ("cpu",)


GRAPHS = ("device._target_=tests.game.recording.GraphsOnCPU", "device.kind=cpu", "device.graphs=true")


class UncheckedLabels(TorchFunctionMode):
    """torch's one_hot without the range check of labels, which it only does on a CPU."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is functional.one_hot:
            labels, classes = args
            return (labels[..., None] == torch.arange(classes)).long()
        return function(*args, **(kwargs or {}))


def waits(operation: Any, args: tuple[Any, ...]) -> bool:
    chosen = args[1] if operation in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default) else ()
    return operation in WAITING or any(index is not None and index.dtype == torch.bool for index in chosen)


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for the device."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert not waits(operation, args), f"{operation} waits for the device"
        return operation(*args, **(kwargs or {}))


class Staying(TorchDispatchMode):
    """Refuses operations of several devices, which copies between them are. (A single number is part of a launch.)"""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        devices = {tensor.device for tensor in tensors((args, kwargs)) if tensor.dim()}
        if devices:
            devices |= {tensor.device for tensor in tensors(result)}
            assert len(devices) == 1, f"{operation} goes between {', '.join(sorted(map(str, devices)))}"
        return result


class Operations(TorchDispatchMode):
    """Records the operations that torch executes, below autograd."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if waits(operation, args) or kwargs.get("generator") is not None:
            raise RuntimeError(f"{operation} cannot be recorded")
        result = operation(*args, **kwargs)
        self.done.append((operation, args, kwargs, result))
        return result

    @torch.no_grad()
    def again(self) -> None:
        for operation, args, kwargs, result in self.done:
            found = operation(*args, **kwargs)
            known = {storage(tensor) for tensor in tensors((args, kwargs))}
            for own, new in zip(tensors(result), tensors(found), strict=True):
                if storage(own) not in known:  # not in place, and no view
                    own.copy_(new)


def tensors(nested: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(nested) if isinstance(leaf, Tensor))


def storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


class CPURecorder:
    """Replaces the CUDA recorder."""

    def rehearse(self, function: Callable[[], T]) -> T:
        return function()

    def record(self, function: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        with UncheckedLabels(), Operations() as operations:
            result = function()
        for tensor in tensors(result):
            tensor.detach().fill_(torch.nan)
        return result, operations.again
