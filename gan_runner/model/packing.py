"""Packing (PacGAN, Lin et al. 2018): a discriminator that sees several images of one kind at once."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from gan_runner.spec import ImageSpec


def packed_spec(spec: ImageSpec, pack: int) -> ImageSpec:
    """The images that the discriminator within is made for: `pack` images as the channels of one."""
    return replace(spec, channels=pack * spec.channels)


class Packed(nn.Module):
    """images (B, C, H, W) -> raw scores (B,), by a discriminator of images (B / pack, pack * C, H, W).

    `pack` images that follow one another are scored together, and each of them gets the score of its pack, so that
    means over a batch are those of the article. A last pack that lacks images is completed with the first ones.
    """

    batch_coupled = True

    def __init__(self, discriminator: nn.Module, pack: int):
        super().__init__()
        self.discriminator, self.pack = discriminator, pack
        self.energy = getattr(discriminator, "energy", False)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """labels are not used; a conditional discriminator is refused when the run is built."""
        lacking = -len(images) % self.pack
        if lacking:
            images = torch.cat([images, images[torch.arange(lacking) % len(images)]])
        packs = images.reshape(-1, self.pack * images.shape[1], *images.shape[2:])
        scores: Tensor = self.discriminator(packs, None).repeat_interleave(self.pack)
        return scores[: len(images) - lacking]
