"""Datasets that are distributed as arrays of pixels, kept in memory."""

import contextlib
import pickle
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image

from gan_runner.dataset.cache import cores
from gan_runner.dataset.images import ImageDataset
from gan_runner.dataset.picture import Form, Pixels, fitted, sides
from gan_runner.errors import ConfigError, require

T = TypeVar("T")

# URLError is an OSError; ModuleNotFoundError: a package that only downloads need; the others: files of wrong content
UNREADABLE = (
    *(OSError, RuntimeError, ModuleNotFoundError, ValueError, LookupError, AssertionError, EOFError, OverflowError),
    *(pickle.UnpicklingError, zlib.error),
)


class LabelledImages(NamedTuple):
    """Images (N, C, H, W) uint8 and their labels (N,)."""

    images: Pixels
    labels: np.ndarray[Any, Any] | None


class ArrayDataset(ImageDataset):
    """The last `held_out` of the training images are the validation split."""

    def __init__(
        self,
        train: LabelledImages,
        test: LabelledImages,
        held_out: int,
        class_names: Sequence[str],
        size: int | Sequence[int] | None = None,
        labels_per_class: int | None = None,
        flip: bool = False,
    ):
        """size: side in pixels, or [height, width], to which the images are cropped and resized; None: unchanged."""
        images = np.concatenate([resized(part.images, size) for part in (train, test)])
        labels = [part.labels for part in (train, test) if part.labels is not None]
        splits = {"train": len(train.images) - held_out, "validation": held_out, "test": len(test.images)}
        super().__init__(
            torch.from_numpy(images),
            torch.from_numpy(np.concatenate(labels).astype(np.int64)) if labels else None,
            splits,
            tuple(class_names),
            labels_per_class,
            flip,
        )


def resized(images: Pixels, size: int | Sequence[int] | None) -> Pixels:
    """Crops and resizes images as `fit="crop"` of an image folder does."""
    count, channels, height, width = images.shape
    if size is None or sides(size) == (height, width):
        return images
    form = Form(*sides(size), channels, "crop")
    result = np.empty((count, channels, form.height, form.width), np.uint8)
    with ThreadPoolExecutor(cores()) as threads:  # Pillow releases Python's global lock when it resizes
        list(threads.map(partial(resize_into, result, images, form), np.array_split(np.arange(count), 64)))
    return result


def resize_into(result: Pixels, images: Pixels, form: Form, rows: np.ndarray[Any, Any]) -> None:
    for row in rows:
        image = Image.fromarray(images[row].transpose(1, 2, 0).squeeze())
        result[row] = np.asarray(fitted(image, form)).reshape(form.height, form.width, -1).transpose(2, 0, 1)


def found_or_downloaded(name: str, root: str, folder: Path, files: str, fetch: Callable[[], T]) -> T:
    """Returns fetch(), which loads `folder` below `root` or downloads it. ConfigError names the `files` it needs."""
    require(bool(root), "root='' names no folder; give one, or unset GAN_RUNNER_DATA for the usual one")
    absent = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        return fetch()
    except UNREADABLE as error:
        remove_empty(absent)
        reason = str(error).split("\n")[0]
        if not reason or isinstance(error, LookupError | AssertionError):
            reason = "a file is of another kind, perhaps a web page that was saved under its name"
        raise ConfigError(
            f"dataset.root={root}: {name} is not whole in {folder} and was not downloaded ({reason}); put {files} "
            f"there, or name the folder that has them with dataset.root= or GAN_RUNNER_DATA."
        ) from error


def remove_empty(folders: list[Path]) -> None:
    """Removes the empty folders that the failed download made."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
