"""Mixtures of Gaussians, where density and modes are known."""

import math

import torch
from torch import Tensor

from gan_runner.dataset.points import Points
from gan_runner.errors import require

MOST = 10_000  # modes, so that a training run sees many points of each


class Gaussians(Points):
    """Points around `centers` (K, coordinates) with standard deviation `std`, all modes alike."""

    def __init__(self, centers: Tensor, std: float):
        require(std > 0, f"std={std} must be above 0; dataset=point_masses has all mass in one point")
        self.centers, self.std = centers, std
        super().__init__()

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        modes = torch.randint(len(self.centers), (count,), generator=generator)
        return self.centers[modes] + self.std * torch.randn(count, self.centers.shape[1], generator=generator)

    def log_density(self, points: Tensor) -> Tensor:
        modes, coordinates = self.centers.shape
        squares = torch.cdist(points, self.centers, compute_mode="donot_use_mm_for_euclid_dist").square()
        exponents = -squares / (2 * self.std**2)
        return exponents.logsumexp(dim=1) - coordinates / 2 * math.log(2 * math.pi * self.std**2) - math.log(modes)


class Line(Gaussians):
    """One Gaussian on the line, as in Figure 1 of Goodfellow et al. 2014."""

    def __init__(self, mean: float = 1.0, std: float = 0.5):
        super().__init__(torch.tensor([[mean]]), std)


class Ring(Gaussians):
    """`modes` Gaussians evenly on a circle, the first at angle 0: VEEGAN's and PacGAN's ring by default."""

    def __init__(self, modes: int = 8, radius: float = 1.0, std: float = 0.01):
        require(1 <= modes <= MOST, f"modes={modes} must be between 1 and {MOST}")
        angles = torch.arange(modes) * (2 * math.pi / modes)
        super().__init__(radius * torch.stack([angles.cos(), angles.sin()], dim=1), std)


class Grid(Gaussians):
    """`side` x `side` Gaussians, `spacing` apart, around the origin: VEEGAN's and PacGAN's grid by default."""

    def __init__(self, side: int = 5, spacing: float = 2.0, std: float = 0.05):
        require(1 <= side**2 <= MOST, f"side={side} must be at least 1, and {MOST} modes at most")
        ticks = spacing * (torch.arange(side) - (side - 1) / 2)
        super().__init__(torch.cartesian_prod(ticks, ticks), std)
