"""Distributions of points, drawn afresh for as long as training goes on."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from gan_runner.dataset.images import ImageDataset
from gan_runner.noise import seed_of
from gan_runner.spec import WHOLE, Batch, Share

SPLITS = {"train": 10_000, "validation": 10_000, "test": 10_000}  # of the sample that is held
BLOCK = 8192  # points drawn together


class Points(ImageDataset):
    """What `draw` draws, as 1x1 images of unbounded range with a channel for each coordinate.

    `images` is a fixed sample, which pictures, metrics and the validation and test splits use; training never sees it,
    nor any point twice.
    """

    endless = True

    def __init__(self) -> None:
        points = self.draw(sum(SPLITS.values()), torch.Generator().manual_seed(0))
        super().__init__(as_images(points), None, SPLITS)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, coordinates) float32."""
        raise NotImplementedError

    def log_density(self, points: Tensor) -> Tensor | None:
        """(N, coordinates) -> (N,); None where there is no closed form."""
        return None

    def split(self, name: str) -> ImageDataset:
        """The training split is endless, the others are not."""
        part = super().split(name)
        if name != "train":
            return part
        endless = copy.copy(self)
        vars(endless).update(images=part.images, splits=part.splits)
        return endless

    def block(self, seed: int, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed_of(seed, "points", number))
        return as_images(self.draw(BLOCK, generator))

    def batches(
        self, size: int, device: torch.device, start: int, seed: int, keep: str = "auto", share: Share = WHOLE
    ) -> Iterator[Batch]:
        """New points for ever, drawn on the CPU so that every device sees the same; none are kept."""
        number, offset = divmod(start, BLOCK)
        points = self.block(seed, number)[offset:].to(device)
        while True:
            while len(points) < size:
                number += 1
                points = torch.cat([points, self.block(seed, number).to(device)])
            chosen, points = points[:size], points[size:]
            yield Batch(share.of(chosen))


def as_images(points: Tensor) -> Tensor:
    return points[:, :, None, None]
