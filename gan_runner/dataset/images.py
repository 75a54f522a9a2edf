"""Base class of datasets: uint8 images in memory, on the device or in a mapped file, in an order set by the seed."""

import functools
import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gan_runner.dataset.cache import Packed
from gan_runner.errors import choose, require
from gan_runner.noise import seed_of
from gan_runner.spec import WHOLE, Batch, ImageSpec, Share

SHARE_OF_DEVICE = 0.5  # the share of a GPU's free memory that the images may take
MAX_COMPARED = 100_000  # training images, at most, that `repeats` compares with held-out ones
AHEAD = 3  # batches that are read in advance


class Raw(NamedTuple):
    """A batch as it is stored."""

    images: Tensor
    labels: Tensor | None
    mirrored: Tensor | None  # (B,) bool


class ImageDataset:
    """Images (N, C, H, W), uint8 for pixels or float32 for unbounded points, and labels (N,) int64.

    splits: name -> number of images, in the order of the data: "train", "validation", "test".
    labels_per_class: labelled training images of each class, for semi-supervised learning; None: all.
    flip: training images are mirrored, left to right, with probability 1/2.
    packed: the set in the cache from which `images` is mapped.
    """

    endless = False  # whether the training stream is always new, and `images` only a sample of it
    left_out: Sequence[str] = ()  # files that are not in the dataset although they are in its folder, with reasons

    def __init__(
        self,
        images: Tensor,
        labels: Tensor | None,
        splits: Mapping[str, int],
        class_names: tuple[str, ...] = (),
        labels_per_class: int | None = None,
        flip: bool = False,
        packed: Packed | None = None,
    ):
        check_images(images, splits)
        labels = whole_numbers(labels, len(images))
        self.images, self.labels, self.splits = images, labels, dict(splits)
        self.labels_per_class, self.flip, self.packed = labels_per_class, flip, packed
        self.moved: tuple[Tensor, Tensor | None] | None = None  # copies in the memory of a device
        _, channels, height, width = images.shape
        pixels = images.dtype == torch.uint8
        self.spec = ImageSpec(
            channels, height, width, len(class_names), (-1.0, 1.0) if pixels else None, tuple(class_names)
        )
        self.check_labels()

    def check_labels(self) -> None:
        """ValueError unless every label has a name and every class at least `labels_per_class` training images."""
        names, required = self.spec.num_classes, self.labels_per_class
        require(required is None or required >= 1, f"labels_per_class={required} must be at least 1, or null for all")
        if self.labels is None or not len(self.labels):
            require(required is None, f"labels_per_class={required} needs labels and the dataset has none; use null")
            return
        low, high = int(self.labels.min()), int(self.labels.max())
        require(low >= 0 and high < names, f"labels={low}..{high} go beyond the {names} names of classes")
        if required is not None:
            counts = torch.bincount(self.labels[self.rows("train")], minlength=names)
            fewest, name = int(counts.min()), self.spec.class_names[int(counts.argmin())]
            way_out = f"use {fewest} or less" if fewest else "use null"
            require(
                required <= fewest, f"labels_per_class={required} is more than class {name} has to train on; {way_out}"
            )

    def rows(self, name: str) -> slice:
        """Returns the rows of one split."""
        size = choose("split", name, self.splits)
        start = sum(self.splits[other] for other in list(self.splits)[: list(self.splits).index(name)])
        return slice(start, start + size)

    @property
    def content(self) -> str | None:
        """A hash of the images and classes of packed files, which the user may change; None for fixed datasets."""
        if self.packed is None:
            return None
        labels = self.labels.numpy().tobytes() if self.labels is not None else b""
        return hashlib.sha256(repr((self.packed.content, self.spec.class_names)).encode() + labels).hexdigest()

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of all images and labels; that of packed images is known without reading them."""
        place = (self.content, self.images.storage_offset()) if self.packed is not None else None
        digest = hashlib.sha256(repr((self.spec, tuple(self.images.shape), place)).encode())
        if self.packed is None:
            digest.update(self.images.contiguous().numpy().data)
        if self.labels is not None:
            digest.update(self.labels.contiguous().numpy().data)
        return digest.hexdigest()[:20]

    def __len__(self) -> int:
        return len(self.images)

    def split(self, name: str) -> "ImageDataset":
        """Returns one split; "validation" is for selection, "test" for reported values."""
        rows, train = self.rows(name), name == "train"
        labels = self.labels[rows] if self.labels is not None else None
        few = self.labels_per_class if train else None
        names, flip = self.spec.class_names, self.flip and train
        return ImageDataset(self.images[rows], labels, {name: self.splits[name]}, names, few, flip, self.packed)

    def repeats(self, name: str) -> bool:
        """Whether every image of a split is also a training image; False for large or endless sets, unchecked."""
        train, held_out = self.images[self.rows("train")], self.images[self.rows(name)]
        if self.endless or len(train) > MAX_COMPARED or not (train == held_out[:1]).flatten(1).all(1).any():
            return False
        known = {image.numpy().tobytes() for image in train}
        return all(image.numpy().tobytes() in known for image in held_out)

    def labelled(self, seed: int) -> "ImageDataset":
        """Returns the images whose labels may be used: `labels_per_class` of each class, chosen by the seed."""
        if self.labels_per_class is None or self.labels is None:
            return self
        order = self.order(seed, 0)
        labels = self.labels[order]
        chosen = torch.cat([order[labels == k][: self.labels_per_class] for k in range(self.spec.num_classes)])
        names, splits = self.spec.class_names, {"train": len(chosen)}
        return ImageDataset(self.images[chosen], self.labels[chosen], splits, names, flip=self.flip)

    def decode(self, images: Tensor) -> Tensor:
        """Converts to float32 in spec.value_range: 0 becomes its low end, 255 its high end, exactly."""
        if self.spec.value_range is None:
            return images
        low, high = self.spec.value_range
        return images.to(torch.float32).div_(255 / (high - low)).add_(low)

    def order(self, seed: int, epoch: int) -> Tensor:
        """Returns the shuffled indices of one epoch."""
        generator = torch.Generator().manual_seed(seed_of(seed, "order", epoch))
        return torch.randperm(len(self), generator=generator)

    def mirrored(self, seed: int, epoch: int) -> Tensor:
        """Returns (N,) bool: which images of an epoch are flipped, in the order of the epoch."""
        generator = torch.Generator().manual_seed(seed_of(seed, "flip", epoch))
        return torch.rand(len(self), generator=generator) < 0.5

    def batches(
        self, size: int, device: torch.device, start: int, seed: int, keep: str = "auto", share: Share = WHOLE
    ) -> Iterator[Batch]:
        """Yields a share of endless batches, with every image once in an epoch, from the `start`-th image on.

        keep: where the images are kept, one of spec.KEPT; the batches do not depend on it.
        """
        for images, labels, mirrored in self.stored(size, device, start, seed, self.kept(keep, device), share):
            images = images.to(device, non_blocking=True)
            if mirrored is not None:
                mirrored = mirrored.to(device, non_blocking=True).view(-1, 1, 1, 1)
                images = torch.where(mirrored, images.flip(3), images)
            yield Batch(self.decode(images), labels.to(device, non_blocking=True) if labels is not None else None)

    def kept(self, keep: str, device: torch.device) -> str:
        if keep != "auto":
            return keep
        if device.type == "cpu":
            return "mapped" if self.packed is None else "prefetched"
        return "resident" if fits(self.images, device) else "prefetched"

    def stored(self, size: int, device: torch.device, start: int, seed: int, keep: str, share: Share) -> Iterator[Raw]:
        if keep == "resident":
            images, labels = self.resident(device)
            return (Raw(images[rows], at(labels, rows), m) for rows, m in self.drawn(size, start, seed, device, share))
        drawn = self.drawn(size, start, seed, torch.device("cpu"), share)
        if keep == "mapped":
            return (Raw(self.images[rows], at(self.labels, rows), m) for rows, m in drawn)
        pin = device.type == "cuda"
        return ahead(Raw(gathered(self.images, rows, pin), at(self.labels, rows), m) for rows, m in drawn)

    def resident(self, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Returns images and labels in the memory of the device, copied once for all streams."""
        if self.moved is None or self.moved[0].device != device:
            images = self.images.to(device, copy=self.packed is not None)
            self.moved = images, self.labels.to(device) if self.labels is not None else None
        return self.moved

    def drawn(
        self, size: int, start: int, seed: int, home: torch.device, share: Share
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yields the rows of a share of each batch, and which of them are mirrored."""
        epoch, offset = divmod(start, len(self))
        draws = [self.order] + [self.mirrored] * self.flip
        waiting = [sent(draw(seed, epoch)[offset:], home) for draw in draws]
        while True:
            while len(waiting[0]) < size:
                epoch += 1
                waiting = [
                    torch.cat([w, sent(draw(seed, epoch), home)]) for w, draw in zip(waiting, draws, strict=True)
                ]
            chosen, waiting = [w[:size] for w in waiting], [w[size:] for w in waiting]
            yield share.of(chosen[0]), share.of(chosen[1]) if self.flip else None


def check_images(images: object, splits: Mapping[str, int]) -> None:
    """ValueError unless the images have a type and shape of ImageDataset, and are enough for the splits."""
    kind = str(images.dtype).removeprefix("torch.") if isinstance(images, Tensor) else type(images).__name__
    shape = f" of shape {tuple(images.shape)}" if isinstance(images, Tensor) else ""
    require(
        isinstance(images, Tensor) and images.dtype in (torch.uint8, torch.float32) and images.dim() == 4,
        f"images should be a tensor (N, C, H, W), uint8 for pixels or float32 for points, and are {kind}{shape}",
    )
    assert isinstance(images, Tensor)
    sizes = ", ".join(f"{name} {size}" for name, size in splits.items())
    require("train" in splits or len(splits) == 1, f"splits ({sizes}) should have one named train")
    require(all(size >= 0 for size in splits.values()), f"splits ({sizes}) should all be 0 or more")
    require(
        sum(splits.values()) <= len(images),
        f"splits ({sizes}) are {sum(splits.values())} images, and there are {len(images)}; let them be as many",
    )


def whole_numbers(labels: Tensor | None, count: int) -> Tensor | None:
    """Returns labels as int64. ValueError unless there is one integer for each of `count` images."""
    if labels is None:
        return None
    kind = str(labels.dtype).removeprefix("torch.") if isinstance(labels, Tensor) else type(labels).__name__
    whole = isinstance(labels, Tensor) and not labels.is_floating_point() and labels.dtype != torch.bool
    require(whole, f"labels should be a tensor of whole numbers, and are {kind}")
    require(
        tuple(labels.shape) == (count,),
        f"labels of shape {tuple(labels.shape)} should be one for each of the {count} images, of shape ({count},)",
    )
    return labels.long()


def at(labels: Tensor | None, rows: Tensor) -> Tensor | None:
    return labels[rows] if labels is not None else None


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Copies a tensor to the device without a synchronisation."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def fits(images: Tensor, device: torch.device) -> bool:
    """Whether the whole tensor may be kept on this GPU."""
    free, _ = torch.cuda.mem_get_info(device)
    return images.numel() * images.element_size() < SHARE_OF_DEVICE * free


def gathered(images: Tensor, rows: Tensor, pin: bool) -> Tensor:
    """Returns images[rows], in this thread alone: torch's indexing would start more threads beside the training's."""
    chosen = torch.empty(len(rows), *images.shape[1:], dtype=images.dtype, pin_memory=pin)
    np.take(images.numpy(), rows.numpy(), axis=0, out=chosen.numpy(), mode="clip")
    return chosen


def ahead(batches: Iterator[Raw]) -> Iterator[Raw]:
    """Yields the same batches, which a thread reads in advance."""
    with ThreadPoolExecutor(1, "data") as reader:
        coming = deque(reader.submit(next, batches) for _ in range(AHEAD))
        while True:
            coming.append(reader.submit(next, batches))
            yield coming.popleft().result()


def mapped(packed: Packed) -> Tensor:
    """Returns (N, C, H, W) uint8, mapped from the file, so that pages are read on first access."""
    shape = packed.shape
    return torch.from_file(str(packed.pixels), size=int(np.prod(shape)), dtype=torch.uint8).view(shape)
