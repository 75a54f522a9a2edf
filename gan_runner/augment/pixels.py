"""Images read at other places, and what the augmentations ask of their settings."""

import torch
from torch import Tensor

from gan_runner.errors import require
from gan_runner.schedule import Schedule, check_schedulable


def check_probability(name: str, value: float | Schedule) -> None:
    """ValueError unless it stays within 0 and 1."""
    check_schedulable(name, value)
    numbers = {f"{name}.start": value.start, f"{name}.end": value.end} if isinstance(value, Schedule) else {name: value}
    for setting, number in numbers.items():
        require(number <= 1, f"{setting}={number} is a probability: use 0 to 1")


def whole(uniform: Tensor, low: int, high: int) -> Tensor:
    """From U[0, 1) to the whole numbers low to high, each as likely."""
    return (uniform * (high - low + 1)).floor().long() + low


def take(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B, C, *S): of images (B, C, H, W), the pixels at rows and columns (B, *S).

    By index rather than by torch's grid_sample, whose gradient is not deterministic on a GPU, nor differentiable, as a
    penalty wants it, in every release of torch.
    """
    channels, width = images.shape[1], images.shape[3]
    flat = (rows * width + columns).flatten(1)[:, None].expand(-1, channels, -1)
    taken: Tensor = images.flatten(2).gather(2, flat).unflatten(2, rows.shape[1:])
    return taken


def reflect(places: Tensor, size: int) -> Tensor:
    """Places, whole or between pixels, mirrored at the centres of the first and last pixel until they are inside."""
    last = max(size - 1, 1)
    return (last - (places.remainder(2 * last) - last).abs()).clamp(max=size - 1)


def inside(places: Tensor, size: int) -> Tensor:
    return (places >= 0) & (places < size)


def each(values: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1), a number for each image."""
    return values[:, None, None, None]


def centred(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The places of a row of pixels, from its middle."""
    return torch.arange(size, device=device, dtype=dtype) - (size - 1) / 2
