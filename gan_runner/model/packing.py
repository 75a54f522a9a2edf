"""Packing (PacGAN, Lin et al. 2018): the discriminator scores several real or several fake images together."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from gan_runner.spec import ImageSpec


def packed_spec(spec: ImageSpec, pack: int) -> ImageSpec:
    """Returns the spec of the inner discriminator: `pack` images, concatenated along the channels."""
    return replace(spec, channels=pack * spec.channels)


class Packed(nn.Module):
    """images (B, C, H, W) -> raw scores (B,), from a discriminator of images (B / pack, pack * C, H, W).

    Each `pack` consecutive images are scored together, and each image gets the score of its pack, so that means over
    a batch equal those of the article. An incomplete last pack is filled up with the first images of the batch.
    """

    batch_coupled = True

    def __init__(self, discriminator: nn.Module, pack: int):
        super().__init__()
        self.discriminator, self.pack = discriminator, pack
        self.energy = getattr(discriminator, "energy", False)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Ignores labels; building a run with a conditional inner discriminator is an error."""
        lacking = -len(images) % self.pack
        if lacking:
            images = torch.cat([images, images[torch.arange(lacking) % len(images)]])
        packs = images.reshape(-1, self.pack * images.shape[1], *images.shape[2:])
        scores: Tensor = self.discriminator(packs, None).repeat_interleave(self.pack)
        return scores[: len(images) - lacking]
