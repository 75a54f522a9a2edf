"""A Dataset of torch as it is, such as one of torchvision or the user's own."""

import importlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gan_runner.dataset.own import Array, OwnImages, as_labels, as_tensor, check_held_out, held_out_order
from gan_runner.dataset.picture import Unreadable, eight_bits
from gan_runner.errors import ConfigError, require

log = logging.getLogger(__name__)


class TorchDataset(OwnImages):
    """Every item of a torch Dataset with a length, read once into memory: an image, or a pair of image and label.

    An image is a PIL image, an array (H, W) or (H, W, C), or a tensor (C, H, W): uint8, or floats from 0 to 1 or -1 to
    1. All have one shape. Random transforms of the Dataset are drawn once, when it is read.
    """

    def __init__(
        self,
        source: str | None,
        arguments: dict[str, Any] | None = None,
        flip: bool = False,
        held_out: float = 0.05,
        labels_per_class: int | None = None,
    ):
        """source: a class, or a function that returns a Dataset: module.Class. arguments: keywords of its call."""
        require(bool(source), "source=null names no Dataset; give one as mymodule.MyDataset")
        check_held_out(held_out)
        dataset = called(str(source), arguments or {})
        images, labels = stacked(str(source), dataset)
        order, sizes = held_out_order(len(images), held_out, ("validation", "test"))
        numbers, names = (None, ()) if labels is None else as_labels(labels, len(images))
        own = getattr(dataset, "classes", None)
        if names and isinstance(own, list | tuple) and len(own) >= len(names):
            names = tuple(map(str, own))
        super().__init__(
            images[order], numbers[order] if numbers is not None else None, sizes, names, labels_per_class, flip
        )


def called(source: str, arguments: dict[str, Any]) -> Any:
    """Returns the Dataset that the class or function `source` returns. ConfigError unless it has items by number."""
    dataset = in_users_code(source, "", lambda: located(source)(**arguments))
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise ConfigError(
            f"dataset.source={source} gives a {type(dataset).__name__}, which lacks __len__ or __getitem__; give a "
            f"Dataset with both."
        )
    if not len(dataset):
        raise ConfigError(f"dataset.source={source} has no item; give a Dataset with images.")
    return dataset


def located(source: str) -> Callable[..., Any]:
    """Returns the object that module.Class names. ConfigError if there is none."""
    module, _, name = source.rpartition(".")
    try:
        found = getattr(importlib.import_module(module or source), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"dataset.source={source} cannot be found ({error}); it should be module.Class.") from error
    if not callable(found):
        raise ConfigError(f"dataset.source={source} is no class and no function; name one that gives a Dataset.")
    call: Callable[..., Any] = found
    return call


def in_users_code(source: str, where: str, call: Callable[[], Any]) -> Any:
    """Returns call(). An exception becomes a ConfigError that names the source."""
    try:
        return call()
    except ConfigError:
        raise
    except Exception as error:
        reason = str(error).split("\n")[0]
        raise ConfigError(
            f"dataset.source={source}{where} raised {type(error).__name__}: {reason}; mend it, or dataset.arguments."
        ) from error


def stacked(source: str, dataset: Any) -> tuple[Tensor, Array | None]:
    """Returns all images, and their labels if items are pairs."""
    log.info("reading %s images of %s into memory", f"{len(dataset):,}", source)
    images: list[Array] = []
    labels: list[Any] = []
    for number, item in items(source, dataset):
        pair = isinstance(item, tuple | list)
        require(not pair or len(item) == 2, f"source={source}: item {number} should be an image, or image and label")
        image = as_array(source, number, item[0] if pair else item)
        first = images[0] if images else image
        require(
            image.shape == first.shape and image.dtype == first.dtype,
            f"source={source}: item {number} is {image.dtype} {image.shape} and item 0 is {first.dtype} {first.shape}; "
            f"let all be alike, with a transform",
        )
        images.append(image)
        labels += [label_of(source, number, item[1])] if pair else []
        require(len(labels) in (0, len(images)), f"source={source}: item {number} has no label, and others have one")
    return as_tensor(np.stack(images), "images"), np.array(labels) if labels else None


def items(source: str, dataset: Any) -> Iterator[tuple[int, Any]]:
    for number in range(len(dataset)):
        yield number, in_users_code(source, f": item {number}", lambda number=number: dataset[number])  # type: ignore[misc]


def as_array(source: str, number: int, image: Any) -> Array:
    """Returns an image as (H, W), (H, W, C) or (C, H, W); a point as (D,)."""
    if isinstance(image, Image.Image):
        try:
            return np.asarray(eight_bits(image))
        except Unreadable as error:
            raise ConfigError(f"dataset.source={source}: item {number}: {error}.") from error
    if isinstance(image, torch.Tensor):
        return image.detach().cpu().numpy()
    kind = type(image).__name__
    require(
        isinstance(image, np.ndarray),
        f"source={source}: item {number} is {kind}, not an image, array or tensor",
    )
    array: Array = image
    return array


def label_of(source: str, number: int, label: Any) -> int:
    """Returns the label of an item as a number."""
    found = np.asarray(label) if isinstance(label, int | np.integer | np.ndarray | torch.Tensor) else np.array(None)
    require(
        found.size == 1 and found.dtype.kind in "iu",
        f"source={source}: the label of item {number} is {label!r}, no whole number; give 0, 1, ...",
    )
    return int(found.item())
