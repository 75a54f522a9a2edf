"""Mixtures of narrow Gaussians in the plane, where it can be counted which modes a generator found."""

import math

import torch
from torch import Tensor

from gan_runner.dataset.images import ImageDataset
from gan_runner.errors import require

MOST = 10_000  # modes, so that ten points at least are of each
SPLITS = {"train": 100_000, "validation": 10_000, "test": 10_000}  # as many as PacGAN trains on


class Gaussians(ImageDataset):
    """Points around `centers` (K, 2) with standard deviation `std`, all modes alike, as 2-channel 1x1 images."""

    def __init__(self, centers: Tensor, std: float):
        require(std >= 0, f"std={std} must be 0 or more")
        self.centers, self.std = centers, std
        count = sum(SPLITS.values())
        generator = torch.Generator().manual_seed(0)
        modes = torch.randint(len(centers), (count,), generator=generator)
        points = centers[modes] + std * torch.randn(count, 2, generator=generator)
        super().__init__(points.view(count, 2, 1, 1), None, SPLITS)


class Ring(Gaussians):
    """`modes` Gaussians evenly on a circle, the first at angle 0: VEEGAN's and PacGAN's ring by default.

    Gulrajani et al. 2017 have radius and deviation 1.414 times as large.
    """

    def __init__(self, modes: int = 8, radius: float = 1.0, std: float = 0.01):
        require(1 <= modes <= MOST, f"modes={modes} must be between 1 and {MOST}")
        angles = torch.arange(modes) * (2 * math.pi / modes)
        super().__init__(radius * torch.stack([angles.cos(), angles.sin()], dim=1), std)


class Grid(Gaussians):
    """`side` x `side` Gaussians, `spacing` apart, around the origin: VEEGAN's and PacGAN's grid by default.

    Gulrajani et al. 2017 have it 2.828 times as small, deviation included.
    """

    def __init__(self, side: int = 5, spacing: float = 2.0, std: float = 0.05):
        require(1 <= side**2 <= MOST, f"side={side} must be at least 1, and {MOST} modes at most")
        ticks = spacing * (torch.arange(side) - (side - 1) / 2)
        super().__init__(torch.cartesian_prod(ticks, ticks), std)
