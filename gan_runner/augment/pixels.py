"""Helpers of the augmentations: reading pixels at other places, and checking probabilities."""

import torch
from torch import Tensor

from gan_runner.errors import require
from gan_runner.schedule import Schedule, check_schedulable


def check_probability(name: str, value: float | Schedule) -> None:
    """ValueError unless the value, or both ends of a schedule, are from 0 to 1."""
    check_schedulable(name, value)
    numbers = {f"{name}.start": value.start, f"{name}.end": value.end} if isinstance(value, Schedule) else {name: value}
    for setting, number in numbers.items():
        require(number <= 1, f"{setting}={number} is a probability: use 0 to 1")


def whole(uniform: Tensor, low: int, high: int) -> Tensor:
    """Maps U[0, 1) to the integers from `low` to `high`, with equal probabilities."""
    return (uniform * (high - low + 1)).floor().long() + low


def take(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Returns (B, C, *S): the pixels of images (B, C, H, W) at rows and columns (B, *S).

    Uses indices, since the gradient of torch's grid_sample is not deterministic on a GPU, and not in every release of
    torch differentiable, as a gradient penalty requires.
    """
    channels, width = images.shape[1], images.shape[3]
    flat = (rows * width + columns).flatten(1)[:, None].expand(-1, channels, -1)
    taken: Tensor = images.flatten(2).gather(2, flat).unflatten(2, rows.shape[1:])
    return taken


def reflect(places: Tensor, size: int) -> Tensor:
    """Reflects places, integer or fractional, at the centres of the first and last pixel until they are inside."""
    last = max(size - 1, 1)
    return (last - (places.remainder(2 * last) - last).abs()).clamp(max=size - 1)


def inside(places: Tensor, size: int) -> Tensor:
    return (places >= 0) & (places < size)


def each(values: Tensor) -> Tensor:
    """Reshapes (B,), one value for each image, to (B, 1, 1, 1)."""
    return values[:, None, None, None]


def centred(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Returns the places of a row of pixels, in pixels from its middle."""
    return torch.arange(size, device=device, dtype=dtype) - (size - 1) / 2
