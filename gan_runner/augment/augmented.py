"""A discriminator that sees augmented images."""

from typing import Any

import torch
from torch import Tensor, nn

from gan_runner.augment.none import NoAugmentation
from gan_runner.noise import Noise
from gan_runner.protocols import Augmentation
from gan_runner.schedule import Progress
from gan_runner.spec import full_precision


def augmented(network: nn.Module, augment: Augmentation, noise: Noise, progress: Progress) -> nn.Module:
    """The discriminator behind the augmentation, if there is one; `noise` is of the whole update."""
    if isinstance(augment, NoAugmentation):
        return network
    return Augmented(network, augment, noise.scoped("augment"), progress)


class Augmented(nn.Module):
    """D(T(x)): every call draws anew, for images that are raw, so that a gradient reaches those through T.

    A call may have a multiple of the images that `noise` is for: each multiple has draws of its own.
    """

    def __init__(self, discriminator: nn.Module, augment: Augmentation, noise: Noise, progress: Progress):
        super().__init__()
        self.discriminator, self.augment, self.noise, self.progress = discriminator, augment, noise, progress
        self.draws = 0

    def __call__(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.discriminator(self.augmented(images), labels)  # type: ignore[no-any-return]

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """What penalties call: that of the discriminator, which is never compiled."""
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
