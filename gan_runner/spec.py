"""Definitions that all parts share: the shape and range of the data, and a batch of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

KEPT = {  # where the images of a dataset are kept during training
    "auto": "resident where they fit, else prefetched; on a CPU a mapped file is prefetched",
    "resident": "in the memory of the device, and indexed there",
    "mapped": "where they are: in a mapped file, or in the memory of the host",
    "prefetched": "where they are, and read ahead by a thread, into pinned memory for a GPU",
}

Scorer = Callable[[Tensor, Tensor | None], Tensor]  # a discriminator, or its forward


@dataclass(frozen=True)
class ImageSpec:
    """Shape, classes and range of the images. Points in the plane are 2-channel 1x1 images of unbounded range."""

    channels: int
    height: int
    width: int
    num_classes: int = 0  # 0: no labels
    value_range: tuple[float, float] | None = (-1.0, 1.0)  # None: unbounded
    class_names: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.channels, self.height, self.width)

    def names(self, labels: Tensor) -> list[str]:
        """Returns the class name of each label in `labels` (B,); its number if the class has no name."""
        return [(self.class_names[i : i + 1] or (str(i),))[0] for i in labels.tolist()]

    @property
    def drawable(self) -> bool:
        """Whether the images are gray or colour pictures."""
        return self.value_range is not None and self.channels in (1, 3)

    @property
    def kind(self) -> str:
        """What the data are, for a sentence."""
        return "points" if self.value_range is None else f"images of {self.channels} channels"

    @property
    def size(self) -> int:
        """The number of values in one image."""
        return self.channels * self.height * self.width


class Batch(NamedTuple):
    images: Tensor  # (B, C, H, W) float32 in spec.value_range, on the device
    labels: Tensor | None = None  # (B,) int64
    labelled: "Batch | None" = None  # semi-supervised: a second, labelled batch

    def split(self, parts: int) -> "list[Batch]":
        """Splits into equal parts, in order; the number of images must be a multiple of `parts`."""
        if parts == 1:
            return [self]
        images = self.images.chunk(parts)
        labels = self.labels.chunk(parts) if self.labels is not None else [None] * parts
        labelled = self.labelled.split(parts) if self.labelled is not None else [None] * parts
        return [Batch(*columns) for columns in zip(images, labels, labelled, strict=True)]


def joined(one: Batch, other: Batch) -> Batch:
    """Returns both batches concatenated, with labels if both have labels."""
    labels = torch.cat([one.labels, other.labels]) if one.labels is not None and other.labels is not None else None
    return Batch(torch.cat([one.images, other.images]), labels)


class Share(NamedTuple):
    """One of the equal, contiguous parts of a batch."""

    part: int = 0
    parts: int = 1

    def of(self, whole: Tensor) -> Tensor:
        return whole.chunk(self.parts)[self.part] if self.parts > 1 else whole


WHOLE = Share()


def full_precision(tensor: Tensor) -> Tensor:
    """Converts to float32 or wider: 16-bit results of autocast are too coarse for losses, pixels and norms."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def to_levels(images: Tensor, spec: ImageSpec) -> Tensor:
    """Images (N, C, H, W) in spec.value_range -> the nearest of 256 levels, uint8; points are returned unchanged."""
    if spec.value_range is None:
        return images
    low, high = spec.value_range
    return ((images.detach().float() - low) * (255 / (high - low))).round().clamp(0, 255).to(torch.uint8)


def scores(discriminator: Scorer, batch: Batch) -> Tensor:
    """Returns the raw scores (B,) of a batch."""
    return full_precision(discriminator(batch.images, batch.labels))
