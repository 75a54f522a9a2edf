"""Curves in the plane with noise around them: data without modes, but with gaps between the branches."""

import math

import torch
from torch import Tensor

from gan_runner.dataset.points import Points
from gan_runner.errors import require


class Curve(Points):
    """Points uniform in the parameter of a curve, with Gaussian noise.

    noise: standard deviation of the noise, before the division by `scale`.
    scale: divisor of all coordinates.
    """

    def __init__(self, noise: float, scale: float):
        require(noise >= 0, f"noise={noise} must be 0 or more")
        require(scale > 0, f"scale={scale} must be above 0")
        self.noise, self.scale = noise, scale
        super().__init__()

    def curve(self, along: Tensor) -> Tensor:
        """Maps parameters (N,) in [0, 1) to points (N, 2)."""
        raise NotImplementedError

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        on_curve = self.curve(torch.rand(count, generator=generator))
        return (on_curve + self.noise * torch.randn(count, 2, generator=generator)) / self.scale


class SwissRoll(Curve):
    """One and a half turns of the spiral (t cos t, t sin t), t uniform from 1.5 pi to 4.5 pi.

    The first and the last coordinate of scikit-learn's make_swiss_roll; noise and scale of Gulrajani et al. 2017.
    """

    def __init__(self, noise: float = 0.25, scale: float = 7.5):
        super().__init__(noise, scale)

    def curve(self, along: Tensor) -> Tensor:
        t = 1.5 * math.pi * (1 + 2 * along)
        return torch.stack([t * t.cos(), t * t.sin()], dim=1)


class TwoMoons(Curve):
    """Two half circles, around (0, 0) and (1, 1/2), open towards each other, as scikit-learn's make_moons."""

    def __init__(self, noise: float = 0.05, scale: float = 1.0):
        super().__init__(noise, scale)

    def curve(self, along: Tensor) -> Tensor:
        lower = along >= 0.5
        t = 2 * math.pi * along  # 0 to pi is the upper half circle, pi to 2 pi the lower one
        return torch.stack([t.cos() + lower, t.sin() + 0.5 * lower], dim=1)
