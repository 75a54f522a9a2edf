"""A dataset in memory: uint8 images, on the device when they fit, and indexed there."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from gan_runner.errors import choose, require
from gan_runner.noise import seed_of
from gan_runner.spec import Batch, ImageSpec

SHARE_OF_DEVICE = 0.5  # of the free memory of a GPU that the images may take


class ImageDataset:
    """Images (N, C, H, W), uint8 for pixels or float32 for unbounded points, and labels (N,) int64.

    splits: name -> number of images, in the order of the data: "train", "validation", "test".
    labels_per_class: training images of each class whose labels may be used, for semi-supervised learning; None: all.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor | None,
        splits: Mapping[str, int],
        class_names: tuple[str, ...] = (),
        labels_per_class: int | None = None,
    ):
        self.images, self.labels, self.splits = images, labels, dict(splits)
        self.labels_per_class = labels_per_class
        _, channels, height, width = images.shape
        pixels = images.dtype == torch.uint8
        self.spec = ImageSpec(
            channels, height, width, len(class_names), (-1.0, 1.0) if pixels else None, tuple(class_names)
        )
        self.check_labels()

    def check_labels(self) -> None:
        """ValueError unless every label has a name, and every class as many training images as are asked for."""
        names, asked = self.spec.num_classes, self.labels_per_class
        require(asked is None or asked >= 1, f"labels_per_class={asked} must be at least 1, or null for all")
        if self.labels is None or not len(self.labels):
            require(asked is None, f"labels_per_class={asked} needs labels and the dataset has none; use null")
            return
        low, high = int(self.labels.min()), int(self.labels.max())
        require(low >= 0 and high < names, f"labels={low}..{high} go beyond the {names} names of classes")
        fewest = int(torch.bincount(self.labels[self.rows("train")], minlength=names).min()) if asked else 0
        require((asked or 0) <= fewest, f"labels_per_class={asked} is more than a class has; use {fewest} or less")

    def rows(self, name: str) -> slice:
        """Of one split."""
        size = choose("split", name, self.splits)
        start = sum(self.splits[other] for other in list(self.splits)[: list(self.splits).index(name)])
        return slice(start, start + size)

    def __len__(self) -> int:
        return len(self.images)

    def split(self, name: str) -> "ImageDataset":
        """One split: select on "validation", report "test"."""
        rows = self.rows(name)
        labels = self.labels[rows] if self.labels is not None else None
        few = self.labels_per_class if name == "train" else None
        return ImageDataset(self.images[rows], labels, {name: self.splits[name]}, self.spec.class_names, few)

    def labelled(self, seed: int) -> "ImageDataset":
        """The images whose labels may be used: of each class as many, chosen by the seed."""
        if self.labels_per_class is None or self.labels is None:
            return self
        order = self.order(seed, 0)
        labels = self.labels[order]
        chosen = torch.cat([order[labels == k][: self.labels_per_class] for k in range(self.spec.num_classes)])
        return ImageDataset(self.images[chosen], self.labels[chosen], {"train": len(chosen)}, self.spec.class_names)

    def decode(self, images: Tensor) -> Tensor:
        """float32 in spec.value_range: 0 is its low end, 255 its high end, exactly."""
        if self.spec.value_range is None:
            return images
        low, high = self.spec.value_range
        return images.to(torch.float32).div_(255 / (high - low)).add_(low)

    def order(self, seed: int, epoch: int) -> Tensor:
        """The shuffled indices of one epoch."""
        generator = torch.Generator().manual_seed(seed_of(seed, "order", epoch))
        return torch.randperm(len(self), generator=generator)

    def batches(self, size: int, device: torch.device, start: int, seed: int) -> Iterator[Batch]:
        """Endless batches, every image once an epoch; `start` images have been handed out before."""
        home = device if fits(self.images, device) else torch.device("cpu")
        images = self.images.to(home)
        labels = self.labels.to(home) if self.labels is not None else None
        epoch, offset = divmod(start, len(self))
        indices = self.order(seed, epoch)[offset:].to(home)
        while True:
            while len(indices) < size:
                epoch += 1
                indices = torch.cat([indices, self.order(seed, epoch).to(home)])
            chosen, indices = indices[:size], indices[size:]
            yield Batch(
                self.decode(images[chosen].to(device, non_blocking=True)),
                labels[chosen].to(device, non_blocking=True) if labels is not None else None,
            )


def fits(images: Tensor, device: torch.device) -> bool:
    """May the whole tensor live on this device?"""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.numel() * images.element_size() < SHARE_OF_DEVICE * free
