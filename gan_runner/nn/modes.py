"""Using a network without leaving a trace in it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """What forwards in training mode change (batch statistics, spectral norm's vectors) is put back afterwards."""
    kept = [buffer.clone() for buffer in network.buffers()]
    try:
        yield
    finally:
        for buffer, value in zip(network.buffers(), kept, strict=True):
            buffer.copy_(value)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[Callable[..., Tensor]]:
    """Its forward (not the call, for which torch.compile would compile once more), in evaluation mode for a while."""
    training = network.training
    network.eval()
    yield network.forward
    network.train(training)
