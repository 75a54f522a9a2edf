"""All mass in one point of the plane: where a discriminator's estimate is known in closed form."""

import torch

from gan_runner.dataset.images import ImageDataset
from gan_runner.errors import require

COUNT = 1024


class PointMasses(ImageDataset):
    """Every sample is (distance, 0), as a 2-channel 1x1 image of unbounded range.

    A generator held at the origin is the other mass: the Wasserstein distance is `distance`.
    """

    def __init__(self, distance: float = 2.0):
        require(distance >= 0, f"distance={distance} must be 0 or more")
        point = torch.tensor([distance, 0.0]).view(1, 2, 1, 1)
        splits = {"train": COUNT, "validation": COUNT, "test": COUNT}
        super().__init__(point.repeat(3 * COUNT, 1, 1, 1), None, splits)
