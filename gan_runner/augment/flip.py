"""Random mirroring of images."""

import torch
from torch import Tensor

from gan_runner.augment.pixels import check_probability
from gan_runner.noise import Noise
from gan_runner.schedule import Progress


class Flip:
    """Mirrors each image, left to right, with a probability.

    probability: of mirroring. At 0.5 the generator cannot learn the original orientation of the data; below 0.5 it can.
    """

    def __init__(self, probability: float = 0.5):
        check_probability("probability", probability)
        self.probability = probability

    def __call__(self, images: Tensor, noise: Noise, progress: Progress) -> Tensor:
        chosen = noise.uniform(1, 1, 1) < self.probability
        return torch.where(chosen, images.flip(3), images)
