"""All mass in one point: where a discriminator's estimate is known in closed form."""

import torch

from gan_runner.dataset.images import ImageDataset
from gan_runner.errors import require

COUNT = 1024


class PointMasses(ImageDataset):
    """Every sample is (distance, 0, ...), as a 1x1 image of unbounded range; channels=2 is the plane.

    A generator held at the origin is the other mass: the Wasserstein distance is `distance`.
    """

    def __init__(self, distance: float = 2.0, channels: int = 2):
        require(distance >= 0, f"distance={distance} must be 0 or more")
        require(channels >= 1, f"channels={channels} must be at least 1")
        point = torch.zeros(1, channels, 1, 1)
        point[:, 0] = distance
        splits = {"train": COUNT, "validation": COUNT, "test": COUNT}
        super().__init__(point.repeat(3 * COUNT, 1, 1, 1), None, splits)
