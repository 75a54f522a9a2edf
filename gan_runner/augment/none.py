"""No augmentation."""

from torch import Tensor

from gan_runner.noise import Noise
from gan_runner.schedule import Progress


class NoAugmentation:
    """Returns the images unchanged."""

    def __call__(self, images: Tensor, noise: Noise, progress: Progress) -> Tensor:
        return images
