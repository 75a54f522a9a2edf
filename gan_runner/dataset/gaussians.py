"""Mixtures of Gaussians, whose density and modes are known."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal

from gan_runner.dataset.points import Points
from gan_runner.errors import require

MOST = 10_000  # modes, at most, so that a training run has many points of each mode


class Gaussians(Points):
    """Points around `centers` (K, coordinates); all modes have equal weight.

    std: standard deviation of each mode.
    """

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
    """One Gaussian on the line, as in Figure 1 of Goodfellow et al. 2014.

    mean: centre of the Gaussian.
    """

    def __init__(self, mean: float = 1.0, std: float = 0.5):
        super().__init__(torch.tensor([[mean]]), std)


class Mixture(Points):
    """A mixture of Gaussians on the line, by default the one that Nowozin et al. 2016 (f-GAN) fit a Gaussian to.

    weights: share of each component, positive; their sum is normalised to 1.
    means, stds: mean and standard deviation of each component, in the same order.
    """

    def __init__(
        self,
        weights: Sequence[float] = (0.33, 0.67),
        means: Sequence[float] = (-1.0, 2.0),
        stds: Sequence[float] = (0.25, 1.4142135623730951),
    ):
        alike = 1 <= len(weights) == len(means) == len(stds)
        require(
            alike,
            f"weights, means and stds need one number for each component, not {len(weights)}, {len(means)} "
            f"and {len(stds)}",
        )
        require(min(weights) > 0, f"weights={list(weights)} must all be above 0")
        require(min(stds) > 0, f"stds={list(stds)} must all be above 0")
        self.weights, self.means, self.stds = (torch.tensor(list(each)) for each in (weights, means, stds))
        super().__init__()

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        components = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, generator=generator)
        return (self.means[components] + self.stds[components] * noise).unsqueeze(1)

    def log_density(self, points: Tensor) -> Tensor:
        mixture = MixtureSameFamily(Categorical(self.weights), Normal(self.means, self.stds))
        log_density: Tensor = mixture.log_prob(points.squeeze(1))
        return log_density


class Ring(Gaussians):
    """Gaussians at equal distances on a circle, the first at angle 0; default: ring of VEEGAN and PacGAN.

    modes: number of Gaussians.
    radius: of the circle.
    """

    def __init__(self, modes: int = 8, radius: float = 1.0, std: float = 0.01):
        require(1 <= modes <= MOST, f"modes={modes} must be between 1 and {MOST}")
        angles = torch.arange(modes) * (2 * math.pi / modes)
        super().__init__(radius * torch.stack([angles.cos(), angles.sin()], dim=1), std)


class Grid(Gaussians):
    """A square grid of Gaussians around the origin; default: grid of VEEGAN and PacGAN.

    side: Gaussians in a row.
    spacing: distance of neighbouring centres.
    """

    def __init__(self, side: int = 5, spacing: float = 2.0, std: float = 0.05):
        require(1 <= side**2 <= MOST, f"side={side} must be at least 1, and {MOST} modes at most")
        ticks = spacing * (torch.arange(side) - (side - 1) / 2)
        super().__init__(torch.cartesian_prod(ticks, ticks), std)
