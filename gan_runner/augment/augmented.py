"""A discriminator whose input is augmented."""

from typing import Any

import torch
from torch import Tensor, nn

from gan_runner.augment.none import NoAugmentation
from gan_runner.noise import Noise
from gan_runner.protocols import Augmentation
from gan_runner.schedule import Progress
from gan_runner.spec import full_precision


def augmented(network: nn.Module, augment: Augmentation, noise: Noise, progress: Progress) -> nn.Module:
    """Returns the discriminator with augmented input, or itself without augmentation. noise: that of the update."""
    if isinstance(augment, NoAugmentation):
        return network
    return Augmented(network, augment, noise.scoped("augment"), progress)


class Augmented(nn.Module):
    """D(T(x)) for raw images x, so that gradients with respect to x pass through T. Every call draws new numbers.

    A call may have a multiple of the images that `noise` is for: each part then has its own draws.
    """

    def __init__(self, discriminator: nn.Module, augment: Augmentation, noise: Noise, progress: Progress):
        super().__init__()
        self.discriminator, self.augment, self.noise, self.progress = discriminator, augment, noise, progress
        self.draws = 0

    def __call__(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.discriminator(self.augmented(images), labels)  # type: ignore[no-any-return]

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The forward for penalties: calls the discriminator's forward, which is never compiled."""
        return self.discriminator.forward(self.augmented(images), labels)  # type: ignore[no-any-return]

    def heads(self, images: Tensor, labels: Tensor | None = None) -> Any:
        return self.discriminator.heads(self.augmented(images), labels)  # type: ignore[operator]

    def augmented(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            parts = full_precision(images).split(self.noise.size // self.noise.parts)
            return torch.cat([self.augment(part, self.draw(), self.progress) for part in parts])

    def draw(self) -> Noise:
        self.draws += 1
        return self.noise.scoped(str(self.draws))
