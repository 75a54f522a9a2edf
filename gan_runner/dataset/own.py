"""The user's own images in memory: conversion to what datasets hold, splits, and the identity of the images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_runner.dataset.images import ImageDataset
from gan_runner.errors import require
from gan_runner.noise import seed_of

Array = np.ndarray[Any, Any]
CHANNELS = (1, 3)
SHAPES = "(N, H, W), (N, H, W, C) or (N, C, H, W) for images with C 1 or 3, or (N, D) for points"
MOST_CLASSES = 10_000


class OwnImages(ImageDataset):
    """Images that the user may change, so that a run goes on only with those that it began with.

    held_out: share of the images for validation and for test each, where these splits are not given.
    """

    @property
    def content(self) -> str | None:
        return self.fingerprint

    def split(self, name: str) -> ImageDataset:
        part = super().split(name)
        names = self.spec.class_names
        return OwnImages(part.images, part.labels, part.splits, names, part.labels_per_class, part.flip)


def check_held_out(held_out: float) -> None:
    require(0 <= held_out < 0.5, f"held_out={held_out} must be 0 or more and below 0.5")


def held_out_order(count: int, held_out: float, absent: Sequence[str]) -> tuple[Tensor, dict[str, int]]:
    """Returns an order of the images, the same at every start, and the size of the training and the absent splits."""
    sizes = {name: int(held_out * count) for name in absent}
    train = count - sum(sizes.values())
    require(train > 0, f"held_out={held_out} leaves none of {count} images to train on; use 0, or give more images")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed_of("held out", count)))
    return order, {"train": train, **{name: size for name, size in sizes.items() if size}}


def as_tensor(images: Array, name: str) -> Tensor:
    """Converts to (N, C, H, W) uint8, or points (N, D) to (N, D, 1, 1) float32. ValueError for any other array."""
    shown = f"{name} of shape {images.shape} and type {images.dtype}"
    require(images.dtype.kind in "biuf", f"{shown} should hold numbers")
    require(images.ndim in (2, 3, 4) and images.size > 0, f"{shown} should have the shape {SHAPES}")
    require(images.dtype.kind != "f" or bool(np.isfinite(images).all()), f"{shown} holds numbers that are not finite")
    if images.ndim == 2:
        return torch.from_numpy(images.astype(np.float32))[:, :, None, None]
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[1] not in CHANNELS:
        require(images.shape[3] in CHANNELS, f"{shown} should have the shape {SHAPES}")
        images = images.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(levels(images, name)))


def levels(images: Array, name: str) -> Array:
    """Converts pixels to uint8: whole numbers from 0 to 255 as they are, floats from 0 to 1 or from -1 to 1."""
    if images.dtype == np.uint8:
        return images
    if images.dtype == bool:
        return images.astype(np.uint8) * np.uint8(255)
    low, high = float(images.min()), float(images.max())
    found = f"{name} of type {images.dtype} go from {low:g} to {high:g}"
    if images.dtype.kind in "iu":
        require(low >= 0 and high <= 255, f"{found}; whole numbers should be within 0 to 255")
        return images.astype(np.uint8)
    way_out = "; convert pixels from 0 to 255 with .astype('uint8')" if low >= 0 and 1 < high <= 255 else ""
    require(low >= -1 and high <= 1, f"{found}; floats should be within 0 to 1, or within -1 to 1{way_out}")
    scaled = images * 255 if low >= 0 else (images + 1) * 127.5
    return np.round(scaled).astype(np.uint8)


def as_labels(labels: Array, count: int, name: str = "labels") -> tuple[Tensor, tuple[str, ...]]:
    """Returns labels (N,) int64 and the names of the classes. Labels are whole numbers from 0 on, or names."""
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    require(labels.ndim == 1, f"{name} of shape {labels.shape} should be one number or name for each image")
    require(len(labels) == count, f"{name} are {len(labels)}, and the images are {count}; give one for each")
    if labels.dtype.kind in "US":
        names, numbers = np.unique(labels.astype(str), return_inverse=True)
        return torch.from_numpy(numbers.astype(np.int64)), tuple(map(str, names))
    require(labels.dtype.kind in "iu", f"{name} of type {labels.dtype} should be whole numbers from 0 on, or names")
    low, high = int(labels.min()), int(labels.max())
    require(low >= 0, f"{name} go from {low} to {high}; number the classes from 0 on")
    require(high < MOST_CLASSES, f"{name} go up to {high}; number the classes from 0 on, without gaps")
    return torch.from_numpy(labels.astype(np.int64)), tuple(str(number) for number in range(high + 1))
