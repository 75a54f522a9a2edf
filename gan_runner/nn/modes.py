"""Contexts that use a network without a lasting change of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def restoring_buffers(network: nn.Module) -> Iterator[None]:
    """Restores the buffers afterwards, which forward passes in training mode change (batch norm, spectral norm)."""
    tables = [module._buffers for module in network.modules() if module._buffers]
    kept = [{name: buffer.clone() for name, buffer in table.items() if buffer is not None} for table in tables]
    try:
        yield
    finally:
        for table, values in zip(tables, kept, strict=True):
            for name, value in values.items():
                table[name].copy_(value)  # type: ignore[union-attr]


@contextmanager
def evaluating(network: nn.Module) -> Iterator[Callable[..., Tensor]]:
    """Yields the network's forward in evaluation mode (not the call: torch.compile would compile once more for it)."""
    training = network.training
    network.eval()
    yield network.forward
    network.train(training)
