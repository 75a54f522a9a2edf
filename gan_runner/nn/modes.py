"""Contexts that use a network without a lasting change of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def restoring_buffers(network: nn.Module) -> Iterator[None]:
    """Restores the buffers afterwards, which forward passes in training mode change (batch norm, spectral norm)."""
    kept = [buffer.clone() for buffer in network.buffers()]
    try:
        yield
    finally:
        for buffer, value in zip(network.buffers(), kept, strict=True):
            buffer.copy_(value)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[Callable[..., Tensor]]:
    """Yields the network's forward in evaluation mode (not the call: torch.compile would compile once more for it)."""
    training = network.training
    network.eval()
    yield network.forward
    network.train(training)
