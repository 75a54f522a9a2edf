"""Base class of distributions of points, which are drawn anew throughout training."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from gan_runner.dataset.images import ImageDataset
from gan_runner.noise import seed_of
from gan_runner.spec import WHOLE, Batch, Share

SPLITS = {"train": 10_000, "validation": 10_000, "test": 10_000}  # sizes of the fixed sample
BLOCK = 8192  # points drawn together


class Points(ImageDataset):
    """Points from `draw`, as 1x1 images of unbounded range with a channel for each coordinate.

    `images` is a fixed sample for pictures, metrics and the validation and test splits. Training uses other points, and
    each of them only once.
    """

    endless = True

    def __init__(self) -> None:
        points = self.draw(sum(SPLITS.values()), torch.Generator().manual_seed(0))
        super().__init__(as_images(points), None, SPLITS)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws points (count, coordinates), float32."""
        raise NotImplementedError

    def log_density(self, points: Tensor) -> Tensor | None:
        """Returns the log-density (N,) at `points` (N, coordinates); None if it has no closed form."""
        return None

    def split(self, name: str) -> ImageDataset:
        """Returns one split; only the training split is endless."""
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
        """Yields endless batches of new points, drawn on the CPU, so that they are the same on every device."""
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
