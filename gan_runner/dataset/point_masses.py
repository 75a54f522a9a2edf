"""A distribution with all mass in one point, for which a discriminator's estimate has a closed form."""

import torch
from torch import Tensor

from gan_runner.dataset.points import Points
from gan_runner.errors import require


class PointMasses(Points):
    """Every sample is the point (distance, 0, ...), with `channels` coordinates.

    If the generator is fixed at the origin, the Wasserstein distance is `distance`.
    distance: of the point from the origin.
    channels: number of coordinates.
    """

    def __init__(self, distance: float = 2.0, channels: int = 2):
        require(distance >= 0, f"distance={distance} must be 0 or more")
        require(channels >= 1, f"channels={channels} must be at least 1")
        self.point = torch.zeros(channels)
        self.point[0] = distance
        super().__init__()

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        return self.point.repeat(count, 1)
